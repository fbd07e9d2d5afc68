//! What frames of the ResourceManager mean to the ApplicationMasters: answers, pushes, rejects.
//! Owner: [`AmFleet`]. Called by: the QUIC driver and the simulator, per frame. Does not: write requests, or decide when the
//! next one is due, but for the time its answer gives.
//! Invariants: an answer counts once, and only for the request that is out; what cannot be read changes nothing and is counted.

use heddle_wire::application_master::{
    AllocateResponse, FinishApplicationMasterResponse, RegisterApplicationMasterResponse,
};
use heddle_wire::frame::Frame;
use heddle_wire::{Opcode, RejectCode, access, message};

use super::super::am::{Scope, Stage};
use super::super::{Note, NoteKind};
use super::{AmFleet, AmPace, EXIT_STATUS_FAILED};

/// Between two last words, microseconds. YARN's clients wait as long.
const FINISH_AGAIN_US: u64 = 100_000;

/// Most missed calls noted one by one after a silence.
const SKIPPED_NOTED_MAX: u64 = 600;

/// A wait for which the reject names no time, microseconds.
const WAIT_US: u64 = 1_000_000;

/// What a frame meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmAnswer {
    /// Whose it was; `None` where it fits none.
    pub slot: Option<u32>,
    /// The next request may be written at once.
    pub is_due: bool,
}

/// The first time after `at_us` at which a slot calls. Calls of slots are spread evenly over the interval, however many
/// there are: ApplicationMasters that came up in one burst would else call in one for ever.
const fn next_call_us(at_us: u64, phase: u32, slot: u32, interval_us: u64) -> u64 {
    /// 2³² divided by the golden ratio: each further slot falls into the widest gap there is.
    const SPREAD: u32 = 0x9e37_79b9;
    let share = phase.wrapping_add(slot.wrapping_mul(SPREAD)) as u64;
    let offset_us = ((share as u128 * interval_us as u128) >> 32) as u64;
    let since_us = (at_us + interval_us - offset_us) % interval_us;
    at_us + interval_us - since_us
}

impl AmFleet {
    /// Takes in a frame from the ResourceManager.
    pub fn handle_frame(&mut self, now_us: u64, frame: &Frame<'_>) -> AmAnswer {
        let header = &frame.header;
        if !header.flags.is_response() {
            return self.unexpected();
        }
        if header.flags.is_push() {
            return self.handle_push(now_us, frame);
        }
        let slot = (header.correlation_id & 0xffff_ffff) as u32;
        let Some(am) = self.slots.get(slot as usize).and_then(|slot| slot.am.as_deref()) else {
            // To one that is gone.
            return AmAnswer { slot: None, is_due: false };
        };
        if header.correlation_id != am.expected || !am.is_awaiting {
            // To a request that was repeated, or of the slot's former owner.
            return AmAnswer { slot: Some(slot), is_due: false };
        }
        if header.flags.is_reject() {
            return self.handle_reject(now_us, slot, frame);
        }
        let stage = am.stage;
        let is_taken = match (header.opcode, stage) {
            (Opcode::Allocate, Stage::Running) => self.handle_allocate(now_us, slot, frame),
            (Opcode::RegisterApplicationMaster, Stage::Registering) => {
                self.handle_registration(now_us, slot, frame)
            }
            (Opcode::FinishApplicationMaster, Stage::Finishing) => self.handle_finish(now_us, slot, frame),
            _ => false,
        };
        if !is_taken {
            self.counters.unexpected += 1;
        }
        let is_due = self.go_on(slot, now_us);
        AmAnswer { slot: Some(slot), is_due }
    }

    const fn unexpected(&mut self) -> AmAnswer {
        self.counters.unexpected += 1;
        AmAnswer { slot: None, is_due: false }
    }

    fn handle_push(&mut self, now_us: u64, frame: &Frame<'_>) -> AmAnswer {
        let Some(slot) = self.by_handle.get(&frame.header.routing_key).copied() else {
            // To one that is gone.
            return AmAnswer { slot: None, is_due: false };
        };
        let (Opcode::Allocate, Ok(push)) = (frame.header.opcode, access::<AllocateResponse>(frame.body()))
        else {
            return self.unexpected();
        };
        self.counters.pushes += 1;
        let mut is_due = false;
        if let Some(am) = self.slots[slot as usize].am.as_deref_mut()
            && am.stage == Stage::Running
        {
            let mut scope = Scope { now_us, counters: &mut self.counters, outbox: &mut self.outbox };
            am.take_events(&mut scope, push, true);
            if !am.is_awaiting {
                is_due = self.go_on_after_push(slot, now_us);
            }
        }
        AmAnswer { slot: Some(slot), is_due }
    }

    fn handle_allocate(&mut self, now_us: u64, slot: u32, frame: &Frame<'_>) -> bool {
        let Ok(answer) = access::<AllocateResponse>(frame.body()) else { return false };
        let Some(am) = self.slots[slot as usize].am.as_deref_mut() else { return false };
        let mut scope = Scope { now_us, counters: &mut self.counters, outbox: &mut self.outbox };
        if !am.answered(&mut scope, answer) {
            // Counted there. It goes on waiting: the call is repeated.
            return true;
        }
        if let AmPace::Every { interval_us } = self.spec.pace {
            let interval_us = interval_us.max(1);
            am.planned_us = next_call_us(am.planned_us, self.phase, slot, interval_us);
            let behind_us = now_us.saturating_sub(am.planned_us);
            if behind_us >= interval_us {
                // A real one does not send what it missed; it is noted as waited for, all the same.
                let skipped = behind_us / interval_us;
                for nth in 0..skipped.min(SKIPPED_NOTED_MAX) {
                    let since_us = am.planned_us + nth * interval_us;
                    self.outbox.notes.push(Note { kind: NoteKind::Allocate, since_us });
                }
                am.planned_us += skipped * interval_us;
                self.counters.allocates_skipped += skipped;
            }
        } else {
            am.planned_us = now_us;
        }
        true
    }

    fn handle_registration(&mut self, now_us: u64, slot: u32, frame: &Frame<'_>) -> bool {
        let Ok(answer) = access::<RegisterApplicationMasterResponse>(frame.body()) else { return false };
        let Some(am) = self.slots[slot as usize].am.as_deref_mut() else { return false };
        if answer.attempt_handle.to_native() != am.handle {
            self.counters.wrong_ids += 1;
        }
        let inherited = answer.containers_from_previous_attempts.iter();
        let mut scope = Scope { now_us, counters: &mut self.counters, outbox: &mut self.outbox };
        am.registered(&mut scope, inherited.map(|container| container.container_id.to_native()));
        true
    }

    fn handle_finish(&mut self, now_us: u64, slot: u32, frame: &Frame<'_>) -> bool {
        let Ok(answer) = access::<FinishApplicationMasterResponse>(frame.body()) else { return false };
        let Some(am) = self.slots[slot as usize].am.as_deref_mut() else { return false };
        am.is_awaiting = false;
        if answer.is_unregistered {
            self.counters.unregistered += 1;
            let mut scope = Scope { now_us, counters: &mut self.counters, outbox: &mut self.outbox };
            am.exit(&mut scope, 0);
        } else {
            am.planned_us = now_us.saturating_add(FINISH_AGAIN_US);
        }
        true
    }

    fn handle_reject(&mut self, now_us: u64, slot: u32, frame: &Frame<'_>) -> AmAnswer {
        let answer = AmAnswer { slot: Some(slot), is_due: false };
        let Ok(reject) = message::decode_reject(frame.header.opcode, frame.body()) else {
            self.counters.unexpected += 1;
            return answer;
        };
        self.counters.refusals.count(reject.code, &reject.message);
        let Some(am) = self.slots[slot as usize].am.as_deref_mut() else { return answer };
        let code = RejectCode::from_number(reject.code);
        let mut scope = Scope { now_us, counters: &mut self.counters, outbox: &mut self.outbox };
        match (code, am.stage) {
            (Some(code), _) if code.is_retryable() => {
                // Nothing was done with it: the same again, later.
                am.will_repeat = true;
                let wait_us = match reject.retry_after_ms {
                    0 => WAIT_US,
                    wait_ms => u64::from(wait_ms) * 1_000,
                };
                self.schedule(slot, Some(now_us.saturating_add(wait_us)));
                return answer;
            }
            (Some(RejectCode::ApplicationMasterNotRegistered), Stage::Running | Stage::Finishing) => {
                am.start_anew(now_us);
            }
            (Some(RejectCode::InvalidApplicationMasterRequest), Stage::Registering) => {
                am.registration_refused(&mut scope, &reject.message);
            }
            (
                Some(RejectCode::InvalidResourceRequest | RejectCode::InvalidLabelResourceRequest),
                Stage::Running,
            ) => {
                // It never gets what it needs.
                am.refused(&mut scope);
                am.finish(now_us, heddle_wire::record::FinalApplicationStatus::Failed);
            }
            (Some(RejectCode::ApplicationAttemptNotFound), _) => {
                scope.counters.killed += 1;
                am.exit(&mut scope, 0);
            }
            _ => am.exit(&mut scope, EXIT_STATUS_FAILED),
        }
        let is_due = self.go_on(slot, now_us);
        AmAnswer { is_due, ..answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_those_that_came_up_together_are_spread_over_the_interval() {
        let interval_us = 10_000;
        let mut calls: Vec<u64> = (0..100).map(|slot| next_call_us(5_000, 77, slot, interval_us)).collect();
        assert!(calls.iter().all(|at| (5_001..=15_000).contains(at)), "{calls:?}");
        for (slot, at_us) in calls.iter().enumerate() {
            assert_eq!(
                next_call_us(*at_us, 77, slot as u32, interval_us),
                at_us + interval_us,
                "its time stays"
            );
        }
        calls.sort_unstable();
        let widest = calls.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(300), "a hundred calls, {widest:?} us without any");
    }
}

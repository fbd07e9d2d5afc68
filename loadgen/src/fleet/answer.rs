//! What a NodeManager does with what the ResourceManager says: answers, orders, pushes, rejects.
//! Owner: [`Fleet`]. Called by: whoever reads frames for the fleet, on the thread that owns it.
//! Does not: trust the peer: a frame that fits nothing is counted, never a panic.
//! Invariants: only the answer to the request that is out moves a node on; orders are carried out at most once.

use heddle_wire::frame::Frame;
use heddle_wire::record::{
    ArchivedNodeAction, ArchivedSignalContainerCommand, ContainerLaunch, ContainerUpdate, NodeHandle,
};
use heddle_wire::resource_tracker::{
    ArchivedNodeCommands, ArchivedNodeUpdates, NodeHeartbeatResponse, RegisterNodeManagerResponse,
};
use heddle_wire::{Opcode, RejectCode, access, message};
use rkyv::rancor::BoxedError;

use super::containers::KILLED_BY_RESOURCEMANAGER;
use super::frame::COPY;
use super::host::place_of;
use super::row::{AWAITING, EXCUSED, FENCED, FULL_REPORT, REPEAT, STALE, Stage};
use super::{Fleet, Pace, RESPONSE_ID_MASK, to_ms};

/// Exit status after SIGTERM and SIGKILL.
const EXIT_STATUS_TERMINATED: i32 = 143;
const EXIT_STATUS_KILLED: i32 = 137;

/// A wait without a hint: RESYNC or a reject that names none.
const WAIT_MS: u32 = 1_000;

/// What a frame meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The node it was about; `None` where it fits none.
    pub node: Option<u32>,
    /// What it did.
    pub outcome: Outcome,
}

/// What a frame did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The node is registered.
    Registered,
    /// The beat that was out is answered.
    Accepted {
        /// When it was due: latency counts from here.
        planned_us: u64,
        /// Beats that fell due while it was out and were not sent.
        skipped: u32,
        /// Between them.
        interval_us: u64,
    },
    /// A copy sent on purpose was answered like its original.
    Copy,
    /// The beat was answered before.
    Duplicate,
    /// Orders without a beat.
    Pushed,
    /// Register again.
    Resync {
        /// The node beat in time, the ResourceManager was not restarted: this should not have happened.
        is_false_loss: bool,
    },
    /// The node is to stop.
    Shutdown,
    /// The request was refused with this code; it is repeated when that can help.
    Rejected(u16),
    /// It fits nothing that was asked.
    Unexpected,
}

impl Fleet {
    /// Takes in a frame from the ResourceManager.
    ///
    /// Cost: for an answer with nothing to do one check of its body and one row.
    #[inline]
    pub fn handle_frame(&mut self, now_us: u64, frame: &Frame<'_>) -> Answer {
        let header = &frame.header;
        if !header.flags.is_response() {
            return self.unexpected(None);
        }
        let node = (header.correlation_id & 0xffff_ffff) as u32;
        if header.flags.is_push() {
            return self.handle_push(now_us, frame);
        }
        if node >= self.len() {
            return self.unexpected(None);
        }
        if header.flags.is_reject() {
            return self.handle_reject(now_us, node, frame);
        }
        match header.opcode {
            Opcode::NodeHeartbeat => self.handle_heartbeat(now_us, node, frame),
            Opcode::RegisterNodeManager => self.handle_registration(now_us, node, frame),
            // The farewell's answer changes nothing: the node is stopped already.
            Opcode::UnRegisterNodeManager => Answer { node: Some(node), outcome: Outcome::Duplicate },
            _ => self.unexpected(Some(node)),
        }
    }

    fn unexpected(&mut self, node: Option<u32>) -> Answer {
        self.counters.unexpected += 1;
        Answer { node, outcome: Outcome::Unexpected }
    }

    fn wrong_id(&mut self, node: u32) -> Answer {
        self.counters.wrong_ids += 1;
        Answer { node: Some(node), outcome: Outcome::Unexpected }
    }

    fn handle_heartbeat(&mut self, now_us: u64, node: u32, frame: &Frame<'_>) -> Answer {
        let Ok(answer) = access::<NodeHeartbeatResponse>(frame.body()) else {
            return self.unexpected(Some(node));
        };
        let answered = |outcome| Answer { node: Some(node), outcome };
        let header = &frame.header;
        let row = &self.rows[node as usize];
        if row.stage == Stage::Stopped {
            return answered(Outcome::Duplicate);
        }
        if header.routing_key != row.handle {
            return self.wrong_id(node);
        }
        if row.stage != Stage::Registered {
            // Told RESYNC already by the answer to another copy.
            self.counters.duplicate_answers += 1;
            return answered(Outcome::Duplicate);
        }
        let asked = (header.correlation_id >> 32) as u32 & RESPONSE_ID_MASK;
        let expected = asked.wrapping_add(1) & RESPONSE_ID_MASK;
        let response_id = answer.response_id.to_native();
        let is_copy = header.correlation_id & COPY != 0;
        let was_stale = row.has(STALE) && row.has(AWAITING) && asked == row.response_id.wrapping_sub(2);
        match answer.node_action {
            ArchivedNodeAction::Normal => {}
            ArchivedNodeAction::Resync => {
                let wait_ms = answer.next_heartbeat_ms.to_native();
                let text = diagnostics(answer.updates.as_deref());
                return self.resync(now_us, node, was_stale, wait_ms, text);
            }
            ArchivedNodeAction::Shutdown => {
                return self.shutdown(node, diagnostics(answer.updates.as_deref()));
            }
        }
        let row = &self.rows[node as usize];
        if response_id != expected || was_stale {
            return self.wrong_id(node);
        }
        if is_copy {
            self.counters.copies_answered += 1;
            return answered(Outcome::Copy);
        }
        if !row.has(AWAITING) || asked != row.response_id {
            if response_id == row.response_id {
                self.counters.duplicate_answers += 1;
                return answered(Outcome::Duplicate);
            }
            return self.wrong_id(node);
        }
        let interval_ms = answer.heartbeat_interval_ms.to_native();
        let (next_ms, lease_ms) = (answer.next_heartbeat_ms.to_native(), answer.lease_ms.to_native());
        let wants_full_report = answer.is_full_report_requested;
        if wants_full_report {
            self.counters.full_reports += 1;
        }
        if answer.commands.is_some() || answer.updates.is_some() || !self.containers.is_empty() {
            self.settle(node);
            self.take_in(now_us, node, answer.commands.as_deref(), answer.updates.as_deref());
        }
        let row = &mut self.rows[node as usize];
        row.token_sequence = answer.token_sequence.to_native();
        if wants_full_report {
            row.flags |= FULL_REPORT;
        }
        self.accept(now_us, node, response_id, [interval_ms, next_ms, lease_ms])
    }

    /// The beat that was out is answered: the node goes on to the next one.
    #[inline]
    fn accept(&mut self, now_us: u64, node: u32, response_id: u32, told: [u32; 3]) -> Answer {
        let [interval_ms, next_ms, lease_ms] = told;
        self.counters.beats_answered += 1;
        self.interval_ms_max = self.interval_ms_max.max(interval_ms);
        let row = &mut self.rows[node as usize];
        let planned_us = row.planned_us;
        row.response_id = response_id;
        row.interval_ms = interval_ms;
        row.lease_ms = lease_ms;
        // Not from when it was last sent: a late answer may be to the first copy, and no other may have arrived.
        row.heard_ms = to_ms(planned_us);
        row.flags &= !(AWAITING | FENCED | EXCUSED | REPEAT);
        let interval_us = u64::from(interval_ms.max(1)) * 1_000;
        let mut skipped = 0;
        if self.spec.pace == Pace::Max {
            row.planned_us = now_us;
        } else {
            row.planned_us = planned_us + u64::from(next_ms) * 1_000;
            let behind_us = now_us.saturating_sub(row.planned_us);
            if behind_us >= interval_us {
                // A real agent does not send what it missed. The caller records it as waited for, all the same.
                skipped = u32::try_from(behind_us / interval_us).unwrap_or(u32::MAX);
                row.planned_us += u64::from(skipped) * interval_us;
                self.counters.beats_skipped += u64::from(skipped);
            }
            self.wheel.link(&mut self.rows, node);
        }
        Answer { node: Some(node), outcome: Outcome::Accepted { planned_us, skipped, interval_us } }
    }

    fn settle(&mut self, node: u32) {
        if let Some(containers) = self.containers.get_mut(node as usize) {
            containers.settle(self.host.as_deref_mut().map(|host| &mut host.handover().notes));
        }
    }

    fn resync(&mut self, now_us: u64, node: u32, was_stale: bool, wait_ms: u32, text: &str) -> Answer {
        let row = &mut self.rows[node as usize];
        let is_in_time = to_ms(now_us).saturating_sub(row.heard_ms) < row.lease_ms;
        let is_false_loss = !was_stale && is_in_time && row.epoch == self.epoch && !row.has(EXCUSED);
        self.counters.resyncs += 1;
        if was_stale {
            self.counters.stale_refused += 1;
        } else {
            self.counters.refusals.note(text);
        }
        if is_false_loss {
            self.counters.false_losses += 1;
        }
        if row.epoch == self.epoch {
            self.registered = self.registered.saturating_sub(1);
        }
        // The lease runs on: a beat under a dead handle is no sign of life for the registration that may follow it.
        row.stage = Stage::Registering;
        row.flags &= !(AWAITING | STALE | FULL_REPORT | FENCED | REPEAT);
        row.planned_us = now_us + u64::from(wait_ms) * 1_000;
        self.wheel.link(&mut self.rows, node);
        Answer { node: Some(node), outcome: Outcome::Resync { is_false_loss } }
    }

    fn shutdown(&mut self, node: u32, text: &str) -> Answer {
        self.counters.shutdowns += 1;
        self.counters.refusals.note(text);
        self.stop(node);
        Answer { node: Some(node), outcome: Outcome::Shutdown }
    }

    fn handle_registration(&mut self, now_us: u64, node: u32, frame: &Frame<'_>) -> Answer {
        let Ok(answer) = access::<RegisterNodeManagerResponse>(frame.body()) else {
            return self.unexpected(Some(node));
        };
        let row = &self.rows[node as usize];
        if row.stage != Stage::Registering || !row.has(AWAITING) {
            self.counters.duplicate_answers += 1;
            return Answer { node: Some(node), outcome: Outcome::Duplicate };
        }
        if answer.node_action != ArchivedNodeAction::Normal {
            return self.shutdown(node, &answer.diagnostics);
        }
        if !answer.diagnostics.is_empty() {
            self.counters.refusals.note(&answer.diagnostics);
        }
        self.counters.registrations += 1;
        self.registered += 1;
        self.forget_place(node);
        let interval_ms = answer.heartbeat_interval_ms.to_native();
        self.interval_ms_max = self.interval_ms_max.max(interval_ms);
        let key_id = |key: Option<&heddle_wire::record::ArchivedMasterKey>| {
            key.map_or(0, |key| key.key_id.to_native())
        };
        let row = &mut self.rows[node as usize];
        row.handle = answer.node_handle.0.to_native();
        row.stage = Stage::Registered;
        row.flags &= !(AWAITING | STALE | FENCED | FULL_REPORT | EXCUSED | REPEAT);
        row.epoch = self.epoch;
        // Orders are numbered anew for each registration.
        row.response_id = 0;
        row.acknowledged_command = 0;
        row.token_sequence = 0;
        row.interval_ms = interval_ms;
        row.lease_ms = answer.lease_ms.to_native();
        row.heard_ms = to_ms(row.planned_us);
        row.container_token_key_id = key_id(answer.container_token_master_key.as_ref());
        row.nm_token_key_id = key_id(answer.nm_token_master_key.as_ref());
        row.planned_us = now_us + u64::from(answer.next_heartbeat_ms.to_native()) * 1_000;
        self.by_place.insert(place_of(NodeHandle(row.handle)), node);
        self.settle(node);
        if let Some(host) = self.host.as_deref_mut() {
            if let Some(key) = answer.container_token_master_key.as_ref() {
                host.learn(key.key_id.to_native(), &key.bytes);
            }
            let capability = self.spec.capacities.of(self.spec.first_node + node).to_resource();
            host.registered(node, &capability, self.containers[node as usize].used());
        }
        if self.spec.pace == Pace::Told {
            self.wheel.link(&mut self.rows, node);
        } else {
            self.rows[node as usize].planned_us = now_us;
        }
        Answer { node: Some(node), outcome: Outcome::Registered }
    }

    fn handle_push(&mut self, now_us: u64, frame: &Frame<'_>) -> Answer {
        let handle = NodeHandle(frame.header.routing_key);
        // What was sent to an earlier registration is nothing to this one.
        let node = self.node_of(handle).filter(|node| self.rows[*node as usize].handle == handle.0);
        let (Some(node), Opcode::NodeHeartbeat) = (node, frame.header.opcode) else {
            return self.unexpected(node);
        };
        let Ok(push) = access::<NodeHeartbeatResponse>(frame.body()) else {
            return self.unexpected(Some(node));
        };
        self.counters.pushes += 1;
        match push.node_action {
            ArchivedNodeAction::Shutdown => return self.shutdown(node, diagnostics(push.updates.as_deref())),
            // A node acts on RESYNC at its next beat, which is told the same.
            ArchivedNodeAction::Normal | ArchivedNodeAction::Resync => {}
        }
        self.take_in(now_us, node, push.commands.as_deref(), push.updates.as_deref());
        Answer { node: Some(node), outcome: Outcome::Pushed }
    }

    fn handle_reject(&mut self, now_us: u64, node: u32, frame: &Frame<'_>) -> Answer {
        let Ok(reject) = message::decode_reject(frame.header.opcode, frame.body()) else {
            return self.unexpected(Some(node));
        };
        self.counters.refusals.count(reject.code, &reject.message);
        let outcome = Outcome::Rejected(reject.code);
        let row = &mut self.rows[node as usize];
        let is_current = row.has(AWAITING) && frame.header.correlation_id & COPY == 0;
        let is_live = matches!(row.stage, Stage::Registering | Stage::Registered);
        if is_current && is_live {
            // Nothing was done with it: the node asks again with the same ids. A refusal that will not change is asked
            // again too, but slowly: an operator may put it right.
            let can_help = RejectCode::from_number(reject.code).is_none_or(RejectCode::is_retryable);
            let wait_ms = match (reject.retry_after_ms, can_help) {
                (0, true) => WAIT_MS,
                (0, false) => WAIT_MS * 10,
                (wait_ms, _) => wait_ms,
            };
            // The repeat is found by the sweep once the request counts as unanswered for long enough.
            let asked_ms = u64::from(to_ms(now_us)) + u64::from(wait_ms);
            let sent_ms = asked_ms.saturating_sub(u64::from(self.spec.retry_after_ms));
            row.sent_ms = u32::try_from(sent_ms).unwrap_or(u32::MAX);
            row.flags |= REPEAT;
        }
        Answer { node: Some(node), outcome }
    }

    /// Orders and new facts, from an answer or a push.
    fn take_in(
        &mut self,
        now_us: u64,
        node: u32,
        commands: Option<&ArchivedNodeCommands>,
        updates: Option<&ArchivedNodeUpdates>,
    ) {
        if let Some(commands) = commands {
            self.carry_out(now_us, node, commands);
        }
        if let Some(updates) = updates {
            let row = &mut self.rows[node as usize];
            if let Some(key) = updates.container_token_master_key.as_ref() {
                row.container_token_key_id = key.key_id.to_native();
                if let Some(host) = self.host.as_deref_mut() {
                    host.learn(key.key_id.to_native(), &key.bytes);
                }
            }
            if let Some(key) = updates.nm_token_master_key.as_ref() {
                row.nm_token_key_id = key.key_id.to_native();
            }
            if !updates.diagnostics.is_empty() {
                self.counters.refusals.note(&updates.diagnostics);
            }
        }
    }

    fn carry_out(&mut self, now_us: u64, node: u32, commands: &ArchivedNodeCommands) {
        let row = &mut self.rows[node as usize];
        let acknowledged = row.acknowledged_command;
        row.acknowledged_command = acknowledged.max(commands.last_sequence.to_native());
        let Some(containers) = self.containers.get_mut(node as usize) else { return };
        let mut completed = 0;
        for id in commands.containers_to_cleanup.iter() {
            completed += u64::from(containers.kill(&id.to_native(), KILLED_BY_RESOURCEMANAGER));
        }
        for signal in commands.containers_to_signal.iter() {
            let exit_status = match signal.command {
                ArchivedSignalContainerCommand::OutputThreadDump => continue,
                ArchivedSignalContainerCommand::GracefulShutdown => EXIT_STATUS_TERMINATED,
                ArchivedSignalContainerCommand::ForcefulShutdown => EXIT_STATUS_KILLED,
            };
            // A signal is carried out once, however often it is told.
            if signal.sequence.to_native() > acknowledged {
                completed += u64::from(containers.kill(&signal.container_id.to_native(), exit_status));
            }
        }
        for update in commands.containers_to_update.iter() {
            if let Ok(update) = rkyv::deserialize::<ContainerUpdate, BoxedError>(update) {
                containers.update(update);
            }
        }
        for id in commands.containers_to_be_removed_from_nm.iter() {
            let id = id.to_native();
            if containers.remove(&id) {
                self.counters.containers_removed += 1;
                if let Some(host) = self.host.as_deref_mut() {
                    host.handover().removed.push(id);
                }
            }
        }
        for application in commands.applications_to_cleanup.iter() {
            completed += u64::from(containers.clean_up(application.to_native()));
        }
        self.counters.containers_completed += completed;
        for order in commands.containers_to_launch.iter() {
            // An order is carried out once, however often it is told.
            if order.sequence.to_native() > acknowledged
                && let Ok(order) = rkyv::deserialize::<ContainerLaunch, BoxedError>(order)
            {
                self.launch(now_us, node, order);
            }
        }
        self.tell_of_killed(node);
    }
}

fn diagnostics(updates: Option<&ArchivedNodeUpdates>) -> &str {
    updates.map_or("", |updates| &updates.diagnostics)
}

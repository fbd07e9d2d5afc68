//! The application manager as a role, with the state store beside it: frames of clients and administrators, the
//! scheduler's events and the store's acknowledgements in; answers, commands and log lines out.
//! Owns: the stepper, the store, and the ends of the rings to every net thread, the scheduler and the administration
//! service. Called by: a thread's duty cycle. Thread: `rm-app`, or the one it shares. Does not: contain a rule.
//!
//! The scheduler waits for this role to take its events, so this role never waits for the scheduler to do that: events
//! are taken even while commands find no room, and what follows from them is kept. That is bounded: an event is about an
//! attempt that exists, and few commands follow from one. Everything a peer or an administrator can send waits until the
//! commands have found room. See `scheduling_role` for the whole circle.
//!
//! Operations of a cycle are one group of the store, and nothing that depends on them is said before its acknowledgement:
//! that order is the application manager's, this role only carries it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::done::Done;
use super::idle::Sleeper;
use super::nets::{Nets, Unasked};
use super::outgoing::Outgoing;
use super::proxy::NetPort;
use crate::engine::application::{
    ApplicationCommand, ApplicationOutput, ApplicationReply, StoreEvent, StoreOperation,
};
use crate::engine::batch::{ANSWERS_SIZE_MAX, AnswerBatch, FrameBatch};
use crate::engine::scheduler::message::{ApplicationEvent, SchedulerCommand};
use crate::engine::time::Instant;
use crate::metrics::{ApplicationGauge, QueueDepths};
use crate::recorder::ApplicationStepper;
use crate::ring::{MpscQueue, SpscConsumer};
use crate::store::StateStore;

/// Events of the scheduler taken in a cycle.
const EVENTS_PER_CYCLE: usize = 4_096;

/// Groups of store operations in a cycle: an acknowledgement may lead to the next operation.
const GROUPS_PER_CYCLE: usize = 8;

/// What the role steps: the application manager with its tape, or a test's stand-in.
pub(super) trait ApplicationSteps {
    /// Frames of clients and administrators; returns how many were taken.
    fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize;
    /// What the scheduler says.
    fn handle_application_event(&mut self, now: Instant, event: ApplicationEvent);
    /// What the store says.
    fn handle_store_event(&mut self, now: Instant, event: StoreEvent);
    /// What the administration service says.
    fn handle_command(&mut self, now: Instant, command: ApplicationCommand);
    /// The deadline has come.
    fn handle_tick(&mut self, now: Instant);
    /// Ends a cycle of the recording.
    fn end_cycle(&mut self);
    /// What was said besides answers.
    fn output(&mut self) -> &mut ApplicationOutput;
    /// When time matters next.
    fn next_deadline(&self) -> Option<Instant>;
}

impl ApplicationSteps for ApplicationStepper {
    fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize {
        self.handle_frames(now, batch, first, answers)
    }

    fn handle_application_event(&mut self, now: Instant, event: ApplicationEvent) {
        self.handle_application_event(now, event);
    }

    fn handle_store_event(&mut self, now: Instant, event: StoreEvent) {
        self.handle_store_event(now, event);
    }

    fn handle_command(&mut self, now: Instant, command: ApplicationCommand) {
        self.handle_command(now, command);
    }

    fn handle_tick(&mut self, now: Instant) {
        self.handle_tick(now);
    }

    fn end_cycle(&mut self) {
        self.end_cycle();
    }

    fn output(&mut self) -> &mut ApplicationOutput {
        self.output()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.manager().next_deadline()
    }
}

/// The role's ends towards the scheduler.
pub(super) struct SchedulerLink {
    pub(super) commands: Outgoing<SchedulerCommand>,
    pub(super) events: SpscConsumer<ApplicationEvent>,
    pub(super) sleeper: Arc<Sleeper>,
    /// Commands of which everything that follows was said; written by the scheduler's thread.
    pub(super) finished: Arc<AtomicU64>,
    /// Told that nothing more comes from here.
    pub(super) done: Arc<Done>,
}

/// The ends an [`ApplicationRole`] is made of.
pub(super) struct ApplicationRoleParts<A, S> {
    pub(super) stepper: A,
    pub(super) store: S,
    pub(super) nets: Vec<NetPort>,
    pub(super) scheduler: SchedulerLink,
    pub(super) commands: MpscQueue<ApplicationCommand>,
    pub(super) replies: mpsc::Sender<ApplicationReply>,
}

/// See the module.
pub(super) struct ApplicationRole<A, S> {
    stepper: A,
    store: S,
    nets: Nets,
    scheduler: SchedulerLink,
    commands: MpscQueue<ApplicationCommand>,
    replies: mpsc::Sender<ApplicationReply>,
    /// Something was sent to or taken from the scheduler in this cycle.
    is_touched: bool,
    operations: Vec<StoreOperation>,
    acknowledgements: Vec<StoreEvent>,
}

impl<A: ApplicationSteps, S: StateStore> ApplicationRole<A, S> {
    pub(super) fn new(parts: ApplicationRoleParts<A, S>) -> Self {
        Self {
            stepper: parts.stepper,
            store: parts.store,
            nets: Nets::new(parts.nets, Unasked::LateAnswers),
            scheduler: parts.scheduler,
            commands: parts.commands,
            replies: parts.replies,
            is_touched: false,
            operations: Vec::new(),
            acknowledgements: Vec::new(),
        }
    }

    /// One cycle. Returns how many items were worked on.
    pub(super) fn do_work(&mut self, now: Instant) -> usize {
        self.send_waiting();
        let mut items = self.take_events(now);
        if !self.scheduler.commands.is_held_up() {
            while let Some(command) = self.commands.poll() {
                self.stepper.handle_command(now, command);
                items += 1;
            }
            let stepper = &mut self.stepper;
            items += self
                .nets
                .take_frames(|batch, first, answers| stepper.handle_frames(now, batch, first, answers));
            if self.next_deadline().is_some_and(|deadline| deadline <= now) {
                self.stepper.handle_tick(now);
                items += 1;
            }
        }
        items += self.store(now);
        if items > 0 {
            self.stepper.end_cycle();
            self.empty_output();
        }
        self.send_waiting();
        self.nets.send();
        if core::mem::take(&mut self.is_touched) {
            self.scheduler.sleeper.notify(false);
        }
        items
    }

    fn take_events(&mut self, now: Instant) -> usize {
        let mut items = 0;
        // An event may carry a page of a listing: what all that wait are answered would be more than a peer is kept.
        while items < EVENTS_PER_CYCLE && self.stepper.output().late_answers.size() <= ANSWERS_SIZE_MAX {
            let Some(event) = self.scheduler.events.poll() else { break };
            self.is_touched = true;
            self.stepper.handle_application_event(now, event);
            items += 1;
        }
        items
    }

    /// Hands the cycle's operations to the store, and its acknowledgements back. What is left goes with the next cycle.
    fn store(&mut self, now: Instant) -> usize {
        let mut items = 0;
        for _ in 0..GROUPS_PER_CYCLE {
            self.operations.append(&mut self.stepper.output().store_operations);
            if self.operations.is_empty() {
                break;
            }
            self.store.apply(&self.operations, &mut self.acknowledgements);
            items += self.operations.len();
            self.operations.clear();
            for event in self.acknowledgements.drain(..) {
                self.stepper.handle_store_event(now, event);
            }
        }
        items
    }

    fn empty_output(&mut self) {
        let output = self.stepper.output();
        self.nets.say(&mut output.late_answers);
        self.scheduler.commands.extend(output.scheduler_commands.drain(..));
        for reply in output.replies.drain(..) {
            if let Err(error) = self.replies.try_send(reply) {
                tracing::warn!(%error, "nobody takes the reply to an administrator's command");
            }
        }
        for line in output.summaries.drain(..) {
            tracing::info!(target: "application_summary", "{line}");
        }
        for line in output.audit.drain(..) {
            tracing::info!(target: "audit", "{line}");
        }
        for notice in output.notices.drain(..) {
            tracing::warn!("{notice}");
        }
    }

    fn send_waiting(&mut self) {
        // A scheduler that has ended by itself is a fault of its own: nothing can be commanded any more.
        self.is_touched |= self.scheduler.commands.send(|| false);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.stepper.next_deadline()
    }

    pub(super) fn has_work(&self) -> bool {
        if self.nets.can_send() || !self.scheduler.events.is_empty() {
            return true;
        }
        if self.scheduler.commands.is_held_up() {
            return self.scheduler.commands.can_send();
        }
        !self.commands.is_empty() || self.nets.has_work()
    }

    /// True when every frame was answered and nothing follows any more from what was said: the scheduler has finished
    /// all it was sent, and all it said to that was taken.
    pub(super) fn is_drained(&self) -> bool {
        let scheduler = &self.scheduler;
        // Partner: the store in `SchedulingRole::finish_commands`. Before the look into the ring, so that no event
        // comes in between.
        let is_answered = scheduler.finished.load(Ordering::Acquire) == scheduler.commands.sent()
            || scheduler.events.is_abandoned();
        let is_drained = self.nets.are_drained()
            && self.commands.is_empty()
            && is_answered
            && scheduler.events.is_empty()
            && (!scheduler.commands.is_held_up() || scheduler.commands.is_abandoned());
        if is_drained && scheduler.done.set() {
            scheduler.sleeper.notify(true);
        }
        is_drained
    }
}

impl<S: StateStore> ApplicationRole<ApplicationStepper, S> {
    /// Publishes counters, and does what is done now and then.
    pub(super) fn publish(&mut self, now: Instant, gauge: &ApplicationGauge) {
        self.stepper.flush_tape(now);
        gauge.publish(&self.stepper.manager().counters());
        let messages = self.scheduler.events.depth() + self.scheduler.commands.waiting();
        gauge.publish_depths(&QueueDepths {
            frame_batches: self.nets.depth() as u64,
            messages: messages as u64,
        });
    }
}

#[cfg(test)]
mod tests;

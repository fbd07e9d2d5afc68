//! The scheduler and the ApplicationMasters' door as a role: node events, commands and frames in; orders, application
//! events, answers and pushes out.
//! Owns: the stepper and its ends of the rings to every shard, every net thread and the application manager.
//! Called by: a thread's duty cycle. Thread: `rm-sched-0`, or the one it shares. Does not: contain a rule of the cluster.
//!
//! Who waits for whom. Every ring is bounded, and this role takes no input while it holds something that a ring had no
//! room for, so it waits: for shards (orders), for the application manager (events), for net threads (pushes). None of
//! them waits for it: a shard takes orders always and keeps its news folded per node; the application manager takes
//! events always and keeps what it has to command (see `application_role`); a net thread writes answers always and cuts
//! peers that do not read. So the graph of who waits has no circle, whatever is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::clock::Clock;
use super::done::Done;
use super::idle::Sleeper;
use super::nets::{Nets, Unasked};
use super::outgoing::Outgoing;
use super::proxy::NetPort;
use crate::engine::batch::{AnswerBatch, FrameBatch};
use crate::engine::event::{NodeCommand, NodeEvent, ShardCommand};
use crate::engine::scheduler::face::SchedulerOutput;
use crate::engine::scheduler::message::{ApplicationEvent, SchedulerCommand};
use crate::engine::time::Instant;
use crate::metrics::{Latencies, QueueDepths, SchedulerGauge};
use crate::recorder::SchedulingStepper;
use crate::ring::{MpscQueue, SpscConsumer};

/// Events taken from one shard in a cycle.
const EVENTS_PER_CYCLE: usize = 1_024;

/// Commands taken in a cycle.
const COMMANDS_PER_CYCLE: usize = 1_024;

/// What queues use is published with every tenth publication: once a second.
const PUBLICATIONS_PER_QUEUES: u64 = 10;

/// What the role steps: the scheduler with its tape, or a test's stand-in.
pub(super) trait SchedulingSteps {
    /// Frames of ApplicationMasters; returns how many were taken.
    fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize;
    /// What happened to a node.
    fn handle_node_event(&mut self, now: Instant, event: NodeEvent);
    /// A command of the application manager.
    fn handle_command(&mut self, now: Instant, command: SchedulerCommand);
    /// The deadline has come.
    fn handle_tick(&mut self, now: Instant);
    /// Places what events and commands made possible, and writes the pushes that follow from the whole step.
    fn end_step(&mut self, now: Instant, pushes: &mut AnswerBatch);
    /// Ends a cycle of the recording.
    fn end_cycle(&mut self);
    /// What was said besides answers and pushes.
    fn output(&mut self) -> &mut SchedulerOutput;
    /// When time matters next.
    fn next_deadline(&self) -> Option<Instant>;
    /// A step stopped at its bound: there is more to place.
    fn wants_step(&self) -> bool;
    /// Share of the cluster's virtual cores in use, thousandths.
    fn used_permille(&self) -> u16;
}

impl SchedulingSteps for SchedulingStepper {
    fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize {
        self.handle_frames(now, batch, first, answers)
    }

    fn handle_node_event(&mut self, now: Instant, event: NodeEvent) {
        self.handle_node_event(now, event);
    }

    fn handle_command(&mut self, now: Instant, command: SchedulerCommand) {
        self.handle_command(now, command);
    }

    fn handle_tick(&mut self, now: Instant) {
        self.handle_tick(now);
    }

    fn end_step(&mut self, now: Instant, pushes: &mut AnswerBatch) {
        self.end_step(now, pushes);
    }

    fn end_cycle(&mut self) {
        self.end_cycle();
    }

    fn output(&mut self) -> &mut SchedulerOutput {
        self.output()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.scheduling().next_deadline()
    }

    fn wants_step(&self) -> bool {
        self.scheduling().has_work()
    }

    fn used_permille(&self) -> u16 {
        self.scheduling().scheduler().totals().used_permille()
    }
}

/// The role's ends towards one shard.
pub(super) struct ShardLink {
    pub(super) events: SpscConsumer<NodeEvent>,
    pub(super) commands: Outgoing<NodeCommand>,
    /// Messages for the whole shard.
    pub(super) shard_commands: MpscQueue<ShardCommand>,
    pub(super) sleeper: Arc<Sleeper>,
    /// Set when the shard says nothing more.
    pub(super) done: Arc<Done>,
}

/// The role's ends towards the application manager.
pub(super) struct ApplicationLink {
    pub(super) commands: SpscConsumer<SchedulerCommand>,
    pub(super) events: Outgoing<ApplicationEvent>,
    pub(super) sleeper: Arc<Sleeper>,
    /// Commands taken of which everything that follows was said: written here, read by the application manager, which
    /// ends when that is all it sent.
    pub(super) finished: Arc<AtomicU64>,
    /// Set when the application manager says nothing more.
    pub(super) done: Arc<Done>,
}

struct Shard {
    link: ShardLink,
    /// The cluster's load as it was told last.
    told_permille: u16,
    /// Events were taken from it or orders sent to it in this cycle: if it sleeps, it has something to do.
    is_touched: bool,
}

struct Application {
    link: ApplicationLink,
    taken: u64,
    is_touched: bool,
}

/// See the module.
pub(super) struct SchedulingRole<S> {
    stepper: S,
    nets: Nets,
    shards: Vec<Shard>,
    application: Application,
    pushes: AnswerBatch,
    /// Input was taken since the last [`SchedulingSteps::end_step`].
    owes_step: bool,
    /// How long frames took from the net thread's hand to their answer.
    latencies: Latencies,
    clock: Option<Clock>,
    publications: u64,
}

impl<S: SchedulingSteps> SchedulingRole<S> {
    pub(super) fn new(
        stepper: S,
        nets: Vec<NetPort>,
        shards: Vec<ShardLink>,
        application: ApplicationLink,
    ) -> Self {
        let shard = |link| Shard { link, told_permille: 0, is_touched: false };
        Self {
            stepper,
            nets: Nets::new(nets, Unasked::Kept),
            shards: shards.into_iter().map(shard).collect(),
            application: Application { link: application, taken: 0, is_touched: false },
            pushes: AnswerBatch::default(),
            owes_step: false,
            latencies: Latencies::default(),
            clock: None,
            publications: 0,
        }
    }

    /// Has the latency of answers measured, by the clock that net threads use as well.
    pub(super) fn measure(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }

    /// One cycle. Returns how many items were worked on.
    pub(super) fn do_work(&mut self, now: Instant) -> usize {
        self.send_waiting();
        let mut items = self.take_commands(now);
        items += self.take_node_events(now);
        if !self.is_held_up() {
            let Self { stepper, latencies, clock, .. } = self;
            items += self.nets.take_frames(|batch, first, answers| {
                let taken = stepper.handle_frames(now, batch, first, answers);
                if let Some(clock) = clock {
                    latencies.add(clock.now().since(batch.began()), taken as u64);
                }
                taken
            });
            self.collect();
        }
        if !self.is_held_up() && self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.stepper.handle_tick(now);
            items += 1;
        }
        self.owes_step |= items > 0;
        let is_due = self.owes_step || self.stepper.wants_step();
        // Pushes that were written are the AMs': while a net thread is behind none are, and their events wait with the
        // sessions. Orders and events of a step need room too.
        if is_due && !self.nets.are_behind() && !self.is_held_up() {
            self.stepper.end_step(now, &mut self.pushes);
            self.owes_step = false;
            items += 1;
        }
        if items > 0 {
            self.stepper.end_cycle();
            self.collect();
            self.nets.say(&mut self.pushes);
        }
        self.nets.send();
        self.finish_commands();
        self.wake_touched();
        items
    }

    /// Something found no room, so what would make more of it waits: what is kept is one input's at most.
    fn is_held_up(&self) -> bool {
        self.application.link.events.is_held_up()
            || self.shards.iter().any(|shard| shard.link.commands.is_held_up())
    }

    fn take_commands(&mut self, now: Instant) -> usize {
        let mut items = 0;
        while items < COMMANDS_PER_CYCLE && !self.is_held_up() {
            let Some(command) = self.application.link.commands.poll() else { break };
            self.application.taken += 1;
            self.application.is_touched = true;
            self.stepper.handle_command(now, command);
            self.collect();
            items += 1;
        }
        items
    }

    fn take_node_events(&mut self, now: Instant) -> usize {
        let mut items = 0;
        for index in 0..self.shards.len() {
            for _ in 0..EVENTS_PER_CYCLE {
                if self.is_held_up() {
                    return items;
                }
                let Some(shard) = self.shards.get_mut(index) else { break };
                let Some(event) = shard.link.events.poll() else { break };
                shard.is_touched = true;
                items += 1;
                self.stepper.handle_node_event(now, event);
                self.collect();
            }
        }
        items
    }

    /// Moves what the stepper said to where it goes.
    fn collect(&mut self) {
        let output = self.stepper.output();
        for command in output.node_commands.drain(..) {
            if let Some(shard) = self.shards.get_mut(usize::from(command.node.shard())) {
                shard.link.commands.push(command);
            }
        }
        self.application.link.events.extend(output.application_events.drain(..));
        for notice in output.notices.drain(..) {
            tracing::warn!("{notice}");
        }
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        for Shard { link, is_touched, .. } in &mut self.shards {
            // The nodes of a shard that has ended are told again after their next registration.
            *is_touched |= link.commands.send(|| link.done.is_set());
        }
        let application = &mut self.application;
        application.is_touched |= application.link.events.send(|| false);
    }

    /// Tells the application manager up to which command all was said.
    fn finish_commands(&mut self) {
        let application = &mut self.application;
        if !application.link.events.is_held_up() && application.is_touched {
            // Partner: the load in `ApplicationRole::is_drained`; releases the events before it.
            application.link.finished.store(application.taken, Ordering::Release);
        }
    }

    fn wake_touched(&mut self) {
        for shard in &mut self.shards {
            if core::mem::take(&mut shard.is_touched) {
                shard.link.sleeper.notify(false);
            }
        }
        if core::mem::take(&mut self.application.is_touched) {
            self.application.link.sleeper.notify(false);
        }
    }

    /// Tells every shard how much of the cluster is in use, where that changed. Called now and then, not per event.
    pub(super) fn tell_load(&mut self) {
        let used_permille = self.stepper.used_permille();
        for shard in &mut self.shards {
            let command = ShardCommand::SetClusterLoad { used_permille };
            // A full queue is tried again the next time.
            if shard.told_permille != used_permille && shard.link.shard_commands.offer(command).is_ok() {
                shard.told_permille = used_permille;
                shard.link.sleeper.notify(false);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.stepper.next_deadline()
    }

    pub(super) fn has_work(&self) -> bool {
        if self.nets.can_send() {
            return true;
        }
        // What found no room has to go first: whoever makes room wakes us.
        if self.is_held_up() {
            return self.shards.iter().any(|shard| shard.link.commands.can_send())
                || self.application.link.events.can_send();
        }
        !self.application.link.commands.is_empty()
            || self.shards.iter().any(|shard| !shard.link.events.is_empty())
            || self.nets.has_work()
            || ((self.owes_step || self.stepper.wants_step()) && !self.nets.are_behind())
    }

    /// True when everybody who could say something has said the last of it, and it was taken: net threads, shards, and
    /// the application manager, which itself waits for the answers to what it sent.
    pub(super) fn is_drained(&self) -> bool {
        let application = &self.application.link;
        self.nets.are_drained()
            && (application.done.is_set() || application.commands.is_abandoned())
            && application.commands.is_empty()
            && self.shards.iter().all(|shard| {
                let link = &shard.link;
                (link.done.is_set() || link.events.is_abandoned()) && link.events.is_empty()
            })
    }
}

impl SchedulingRole<SchedulingStepper> {
    /// Publishes counters, and does what is done now and then.
    pub(super) fn publish(&mut self, now: Instant, gauge: &SchedulerGauge) {
        self.stepper.flush_tape(now);
        let scheduling = self.stepper.scheduling();
        gauge.publish(&scheduling.scheduler().totals(), &scheduling.application_master().counters());
        gauge.publish_latencies(&self.latencies);
        // A walk over the queues: not with every publication.
        self.publications += 1;
        if self.publications.is_multiple_of(PUBLICATIONS_PER_QUEUES) {
            gauge.publish_queues(scheduling.scheduler().queue_usage(SchedulerGauge::QUEUES_MAX));
        }
        let node_events: usize = self.shards.iter().map(|shard| shard.link.events.depth()).sum();
        gauge.publish_depths(&QueueDepths {
            frame_batches: self.nets.depth() as u64,
            messages: (node_events + self.application.link.commands.depth()) as u64,
        });
    }
}

#[cfg(test)]
mod tests;

//! The scheduler's thread as one value: the ApplicationMasters' door and the scheduler behind it.
//! Owns: both, and what they say. Called by: the duty cycle of `rm-sched-N`, recorder, simulators.
//! Does not: place or answer itself, read clocks, send anything.
//! Invariants: what a batch of frames asks for is placed once, before its answers are written; what else happens is
//! placed and pushed by [`Scheduling::end_step`]; the output is a function of the calls.

use super::application_master::ApplicationMasterService;
use super::batch::{AnswerBatch, FrameBatch};
use super::event::NodeEvent;
use super::scheduler::Scheduler;
use super::scheduler::face::{ResourceScheduler, SchedulerOutput};
use super::scheduler::message::SchedulerCommand;
use super::scheduler::settings::SchedulerSettings;
use super::time::Instant;

/// A scheduler as its thread steps it, besides what the door asks of it.
pub trait Schedule: ResourceScheduler {
    /// Something happened to a node.
    fn handle_node_event(&mut self, now: Instant, event: NodeEvent, out: &mut SchedulerOutput);

    /// The application manager or an administrator wants something.
    fn handle_command(&mut self, now: Instant, command: SchedulerCommand, out: &mut SchedulerOutput);

    /// Time has passed.
    fn handle_tick(&mut self, now: Instant, out: &mut SchedulerOutput);

    /// When [`Schedule::handle_tick`] has something to do next.
    fn next_deadline(&self) -> Option<Instant>;

    /// Whether [`ResourceScheduler::schedule`] would do something now.
    fn wants_to_schedule(&self) -> bool;
}

impl Schedule for Scheduler {
    fn handle_node_event(&mut self, now: Instant, event: NodeEvent, out: &mut SchedulerOutput) {
        self.handle_node_event(now, event, out);
    }

    fn handle_command(&mut self, now: Instant, command: SchedulerCommand, out: &mut SchedulerOutput) {
        self.handle_command(now, command, out);
    }

    fn handle_tick(&mut self, now: Instant, out: &mut SchedulerOutput) {
        self.handle_tick(now, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn wants_to_schedule(&self) -> bool {
        self.wants_to_schedule()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Scheduling<S> {
    scheduler: S,
    application_master: ApplicationMasterService,
    output: SchedulerOutput,
}

impl<S: Schedule> Scheduling<S> {
    /// A door with a scheduler behind it.
    #[must_use]
    pub fn new(settings: &SchedulerSettings, scheduler: S) -> Self {
        Self {
            scheduler,
            application_master: ApplicationMasterService::new(settings),
            output: SchedulerOutput::default(),
        }
    }

    /// Takes frames of ApplicationMasters in their order, from `first` on. Returns how many it took; fewer than all when
    /// it is to be called again for the rest, see [`ApplicationMasterService::handle_frames`].
    pub fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize {
        let Self { scheduler, application_master, output } = self;
        application_master.handle_frames(now, batch, first, answers, scheduler, output)
    }

    /// Takes in what happened to a node. It is placed and pushed by [`Scheduling::end_step`].
    pub fn handle_node_event(&mut self, now: Instant, event: NodeEvent) {
        self.scheduler.handle_node_event(now, event, &mut self.output);
    }

    /// Takes a command. It is placed and pushed by [`Scheduling::end_step`].
    pub fn handle_command(&mut self, now: Instant, command: SchedulerCommand) {
        self.scheduler.handle_command(now, command, &mut self.output);
    }

    /// Time has passed.
    pub fn handle_tick(&mut self, now: Instant) {
        self.scheduler.handle_tick(now, &mut self.output);
        self.application_master.handle_tick(now, &mut self.output);
    }

    /// Ends a step: places what can be placed, and writes pushes for what ApplicationMasters do not know yet. To be
    /// called after any number of the other calls; [`Scheduling::has_work`] says whether to go on at once.
    pub fn end_step(&mut self, now: Instant, pushes: &mut AnswerBatch) {
        let Self { scheduler, application_master, output } = self;
        if scheduler.wants_to_schedule() {
            scheduler.schedule(now, output);
        }
        application_master.handle_attempt_events(now, scheduler, output, pushes);
    }

    /// True when another [`Scheduling::end_step`] would do something, without anything new.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.scheduler.wants_to_schedule() || self.application_master.has_pushes()
    }

    /// When [`Scheduling::handle_tick`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.scheduler.next_deadline(), self.application_master.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// What both said: to be taken out after every step. Attempt events in it are the door's own.
    pub const fn output(&mut self) -> &mut SchedulerOutput {
        &mut self.output
    }

    /// The scheduler, for totals and queries.
    #[must_use]
    pub const fn scheduler(&self) -> &S {
        &self.scheduler
    }

    /// The scheduler, for what its thread tells it besides events and commands. What it says belongs into
    /// [`Scheduling::output`].
    pub const fn scheduler_mut(&mut self) -> &mut S {
        &mut self.scheduler
    }

    /// The door, for its counters.
    #[must_use]
    pub const fn application_master(&self) -> &ApplicationMasterService {
        &self.application_master
    }

    /// The door, for a roll-over of keys.
    pub const fn application_master_mut(&mut self) -> &mut ApplicationMasterService {
        &mut self.application_master
    }
}

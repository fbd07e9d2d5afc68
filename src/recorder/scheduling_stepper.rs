//! The scheduler with the ApplicationMasters' door, together with its tape.
//! Owns: [`SchedulingStepper`]. Called by: the scheduling role and by replay, so that both step it in the very same way.
//! Thread: the role's. Does not: hash or copy anything while nothing is recorded.

use super::stepper::Deck;
use super::tape::Record;
use super::writer::TapeWriter;
use crate::engine::batch::{AnswerBatch, FrameBatch};
use crate::engine::event::NodeEvent;
use crate::engine::scheduler::Scheduler;
use crate::engine::scheduler::face::SchedulerOutput;
use crate::engine::scheduler::message::SchedulerCommand;
use crate::engine::scheduler::settings::SchedulerSettings;
use crate::engine::scheduling::Scheduling;
use crate::engine::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct SchedulingStepper {
    scheduling: Scheduling<Scheduler>,
    deck: Deck,
}

impl SchedulingStepper {
    /// A scheduler that is recorded, or not.
    #[must_use]
    pub fn new(settings: SchedulerSettings, tape: Option<TapeWriter>) -> Self {
        Self::with_deck(settings, tape.map_or_else(Deck::default, Deck::recording))
    }

    /// A scheduler whose output is hashed.
    #[must_use]
    pub fn for_replay(settings: SchedulerSettings) -> Self {
        Self::with_deck(settings, Deck::replaying())
    }

    fn with_deck(settings: SchedulerSettings, deck: Deck) -> Self {
        Self { scheduling: Scheduling::new(&settings.clone(), Scheduler::new(settings)), deck }
    }

    /// [`Scheduling::handle_frames`].
    pub fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize {
        self.deck.frames(now, batch, first);
        let from = answers.len();
        let taken = self.step(|scheduling| scheduling.handle_frames(now, batch, first, answers));
        self.deck.answers(answers, from);
        taken
    }

    /// [`Scheduling::handle_node_event`].
    pub fn handle_node_event(&mut self, now: Instant, event: NodeEvent) {
        self.deck.input(|| Record::NodeEvent { now, event: Box::new(event.clone()) });
        self.step(|scheduling| scheduling.handle_node_event(now, event));
    }

    /// [`Scheduling::handle_command`].
    pub fn handle_command(&mut self, now: Instant, command: SchedulerCommand) {
        self.deck.input(|| Record::SchedulerCommand { now, command: Box::new(command.clone()) });
        self.step(|scheduling| scheduling.handle_command(now, command));
    }

    /// [`Scheduling::handle_tick`].
    pub fn handle_tick(&mut self, now: Instant) {
        self.deck.input(|| Record::Tick { now, busy_permille: 0 });
        self.step(|scheduling| scheduling.handle_tick(now));
    }

    /// [`Scheduling::end_step`].
    pub fn end_step(&mut self, now: Instant, pushes: &mut AnswerBatch) {
        self.deck.input(|| Record::EndStep { now });
        let from = pushes.len();
        self.step(|scheduling| scheduling.end_step(now, pushes));
        self.deck.answers(pushes, from);
    }

    /// Lets something happen, and hashes what was said because of it.
    fn step<T>(&mut self, act: impl FnOnce(&mut Scheduling<Scheduler>) -> T) -> T {
        if !self.deck.is_hashing() {
            return act(&mut self.scheduling);
        }
        let output = self.scheduling.output();
        let (commands, events, notices) =
            (output.node_commands.len(), output.application_events.len(), output.notices.len());
        let result = act(&mut self.scheduling);
        let output = self.scheduling.output();
        self.deck.outputs(output.node_commands.get(commands..));
        self.deck.outputs(output.application_events.get(events..));
        self.deck.outputs(output.notices.get(notices..));
        result
    }

    /// As [`ShardStepper::flush_tape`](super::ShardStepper::flush_tape).
    pub fn flush_tape(&mut self, now: Instant) {
        self.deck.flush_tape(now);
    }

    /// Ends a cycle. Returns the hash of everything so far, if hashing.
    pub fn end_cycle(&mut self) -> Option<u64> {
        self.deck.end_cycle()
    }

    /// What was said besides answers and pushes. The caller empties it.
    pub fn output(&mut self) -> &mut SchedulerOutput {
        self.scheduling.output()
    }

    /// The scheduler, to read.
    #[must_use]
    pub const fn scheduling(&self) -> &Scheduling<Scheduler> {
        &self.scheduling
    }
}

//! The application manager together with its tape.
//! Owns: [`ApplicationStepper`]. Called by: the application role and by replay, so that both step it in the very same
//! way. Thread: the role's. Does not: hash or copy anything while nothing is recorded, or know the store.

use super::stepper::Deck;
use super::tape::Record;
use super::writer::TapeWriter;
use crate::engine::application::{
    ApplicationCommand, ApplicationManager, ApplicationOutput, ApplicationSettings, StoreEvent,
};
use crate::engine::batch::{AnswerBatch, FrameBatch};
use crate::engine::scheduler::message::ApplicationEvent;
use crate::engine::scheduler::settings::QueueTree;
use crate::engine::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct ApplicationStepper {
    manager: ApplicationManager,
    output: ApplicationOutput,
    deck: Deck,
}

impl ApplicationStepper {
    /// An application manager that is recorded, or not.
    #[must_use]
    pub fn new(settings: ApplicationSettings, queues: QueueTree, tape: Option<TapeWriter>) -> Self {
        Self {
            manager: ApplicationManager::new(settings, queues),
            output: ApplicationOutput::default(),
            deck: tape.map_or_else(Deck::default, Deck::recording),
        }
    }

    /// An application manager whose output is hashed.
    #[must_use]
    pub fn for_replay(settings: ApplicationSettings, queues: QueueTree) -> Self {
        Self {
            manager: ApplicationManager::new(settings, queues),
            output: ApplicationOutput::default(),
            deck: Deck::replaying(),
        }
    }

    /// [`ApplicationManager::handle_frames`].
    pub fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize {
        self.deck.frames(now, batch, first);
        let from = answers.len();
        let taken = self.step(|manager, out| manager.handle_frames(now, batch, first, answers, out));
        self.deck.answers(answers, from);
        taken
    }

    /// [`ApplicationManager::handle_application_event`].
    pub fn handle_application_event(&mut self, now: Instant, event: ApplicationEvent) {
        self.deck.input(|| Record::ApplicationEvent { now, event: Box::new(event.clone()) });
        self.step(|manager, out| manager.handle_application_event(now, event, out));
    }

    /// [`ApplicationManager::handle_store_event`].
    pub fn handle_store_event(&mut self, now: Instant, event: StoreEvent) {
        self.deck.input(|| Record::StoreEvent { now, event: event.clone() });
        self.step(|manager, out| manager.handle_store_event(now, event, out));
    }

    /// [`ApplicationManager::handle_command`].
    pub fn handle_command(&mut self, now: Instant, command: ApplicationCommand) {
        self.deck.input(|| Record::ApplicationCommand { now, command: Box::new(command.clone()) });
        self.step(|manager, out| manager.handle_command(now, command, out));
    }

    /// [`ApplicationManager::handle_tick`].
    pub fn handle_tick(&mut self, now: Instant) {
        self.deck.input(|| Record::Tick { now, busy_permille: 0 });
        self.step(|manager, out| manager.handle_tick(now, out));
    }

    /// Lets something happen, and hashes what was said because of it: parts of the output are taken away in between.
    fn step<T>(&mut self, act: impl FnOnce(&mut ApplicationManager, &mut ApplicationOutput) -> T) -> T {
        let Self { manager, output, deck } = self;
        if !deck.is_hashing() {
            return act(manager, output);
        }
        let late = output.late_answers.len();
        let (commands, operations, replies) =
            (output.scheduler_commands.len(), output.store_operations.len(), output.replies.len());
        let (audit, summaries, notices) = (output.audit.len(), output.summaries.len(), output.notices.len());
        let result = act(manager, output);
        deck.answers(&output.late_answers, late);
        deck.outputs(output.scheduler_commands.get(commands..));
        deck.outputs(output.store_operations.get(operations..));
        deck.outputs(output.replies.get(replies..));
        deck.outputs(output.audit.get(audit..));
        deck.outputs(output.summaries.get(summaries..));
        deck.outputs(output.notices.get(notices..));
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

    /// What was said besides answers. The caller empties it.
    pub const fn output(&mut self) -> &mut ApplicationOutput {
        &mut self.output
    }

    /// The application manager, to read.
    #[must_use]
    pub const fn manager(&self) -> &ApplicationManager {
        &self.manager
    }
}

//! A role together with its tape: every input is recorded before it is taken, every output goes into the hash.
//! Owns: [`Deck`], the tape's side of every stepper, and [`ShardStepper`]. Called by: the roles of `runtime` and by replay, so that both step a role
//! in the very same way. Does not: hash or copy anything while nothing is recorded.

use xxhash_rust::xxh3::Xxh3;

use super::tape::Record;
use super::writer::TapeWriter;
use crate::engine::batch::{AnswerBatch, FrameBatch};
use crate::engine::event::{NodeCommand, NodeEvent, ShardCommand};
use crate::engine::settings::ShardSettings;
use crate::engine::shard::{Outbox, Shard};
use crate::engine::time::Instant;

/// Where records and hashes go. Nothing in a live run without `--record`; only the hash in a replay.
#[derive(Debug, Default)]
pub(super) struct Deck {
    tape: Option<TapeWriter>,
    hash: Option<Box<OutputHash>>,
    scratch: Vec<u8>,
}

/// Hash of everything a role said.
#[derive(Default)]
struct OutputHash(Xxh3);

impl core::fmt::Debug for OutputHash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "OutputHash({:016x})", self.0.digest())
    }
}

impl Deck {
    pub(super) fn recording(tape: TapeWriter) -> Self {
        Self { tape: Some(tape), hash: Some(Box::default()), scratch: Vec::new() }
    }

    pub(super) fn replaying() -> Self {
        Self { tape: None, hash: Some(Box::default()), scratch: Vec::new() }
    }

    /// Records an input that is cheap to make only when it is wanted.
    pub(super) fn input(&mut self, record: impl FnOnce() -> Record) {
        if let Some(tape) = &mut self.tape {
            tape.record(&record());
        }
    }

    /// Records the frames of a batch from `first` on. What is left of a batch is recorded again: other batches may have
    /// come in between.
    pub(super) fn frames(&mut self, now: Instant, batch: &FrameBatch, first: usize) {
        if let Some(tape) = &mut self.tape {
            tape.record_frames(now, batch, first);
        }
    }

    pub(super) const fn is_hashing(&self) -> bool {
        self.hash.is_some()
    }

    pub(super) fn output_bytes(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.hash {
            hash.0.update(&(bytes.len() as u64).to_le_bytes());
            hash.0.update(bytes);
        }
    }

    pub(super) fn output(&mut self, message: &impl serde::Serialize) {
        if self.hash.is_none() {
            return;
        }
        let mut scratch = core::mem::take(&mut self.scratch);
        scratch.clear();
        match postcard::to_extend(message, scratch) {
            Ok(bytes) => {
                self.output_bytes(&bytes);
                self.scratch = bytes;
            }
            Err(error) => unreachable!("a message did not serialise: {error}"),
        }
    }

    /// Messages one after the other, with their number.
    pub(super) fn outputs(&mut self, messages: Option<&[impl serde::Serialize]>) {
        let messages = messages.unwrap_or_default();
        if !messages.is_empty() {
            self.output(&messages);
        }
    }

    pub(super) fn answers(&mut self, answers: &AnswerBatch, from: usize) {
        if self.hash.is_none() {
            return;
        }
        for answer in answers.answers().iter().skip(from) {
            self.output(&answer.stream);
            self.output_bytes(answers.answer_bytes(answer));
        }
    }

    pub(super) fn flush_tape(&mut self, now: Instant) {
        if let Some(tape) = &mut self.tape {
            tape.flush(now);
        }
    }

    pub(super) fn end_cycle(&mut self) -> Option<u64> {
        let output = self.hash.as_ref()?.0.digest();
        if let Some(tape) = &mut self.tape {
            tape.end_cycle(output);
        }
        Some(output)
    }
}

/// A shard and its tape.
#[derive(Debug)]
pub struct ShardStepper {
    shard: Shard,
    outbox: Outbox,
    deck: Deck,
}

impl ShardStepper {
    /// A shard that is recorded, or not.
    #[must_use]
    pub fn new(settings: ShardSettings, tape: Option<TapeWriter>) -> Self {
        let deck = tape.map_or_else(Deck::default, Deck::recording);
        Self { shard: Shard::new(settings), outbox: Outbox::default(), deck }
    }

    /// A shard whose output is hashed.
    #[must_use]
    pub fn for_replay(settings: ShardSettings) -> Self {
        Self { shard: Shard::new(settings), outbox: Outbox::default(), deck: Deck::replaying() }
    }

    /// [`Shard::handle_frames`].
    pub fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize {
        self.deck.frames(now, batch, first);
        let from = answers.len();
        let taken = self.shard.handle_frames(now, batch, first, answers, &mut self.outbox);
        self.deck.answers(answers, from);
        taken
    }

    /// [`Shard::handle_shard_command`].
    pub fn handle_shard_command(&mut self, now: Instant, command: ShardCommand) {
        self.deck.input(|| Record::ShardCommand { now, command: command.clone() });
        self.shard.handle_shard_command(now, command, &mut self.outbox);
    }

    /// [`Shard::handle_node_command`].
    ///
    /// # Errors
    /// The command, when the node's list is full.
    pub fn handle_node_command(&mut self, now: Instant, command: NodeCommand) -> Result<(), NodeCommand> {
        self.deck.input(|| Record::NodeCommand { now, command: command.clone() });
        self.shard.handle_node_command(now, command, &mut self.outbox)
    }

    /// [`Shard::handle_tick`].
    pub fn handle_tick(&mut self, now: Instant, busy_permille: u16) {
        self.deck.input(|| Record::Tick { now, busy_permille });
        self.shard.handle_tick(now, busy_permille, &mut self.outbox);
    }

    /// [`Shard::poll_node_event`].
    pub fn poll_node_event(&mut self) -> Option<NodeEvent> {
        let event = self.shard.poll_node_event()?;
        // A poll that finds nothing changes nothing and is not worth a record.
        self.deck.input(|| Record::PollNodeEvent);
        self.deck.output(&event);
        Some(event)
    }

    /// Sends what is recorded to the disk now and then, so that a crash costs seconds of it. Called between cycles.
    pub fn flush_tape(&mut self, now: Instant) {
        self.deck.flush_tape(now);
    }

    /// Ends a cycle: what is in the outbox goes into the hash. Returns the hash of everything so far, if hashing.
    pub fn end_cycle(&mut self) -> Option<u64> {
        self.deck.answers(&self.outbox.pushes, 0);
        for reply in &self.outbox.replies {
            self.deck.output(reply);
        }
        for notice in &self.outbox.notices {
            self.deck.output_bytes(notice.text.as_bytes());
        }
        self.deck.end_cycle()
    }

    /// What the shard said besides answers. The caller empties it after [`ShardStepper::end_cycle`].
    pub const fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// The shard, to read.
    #[must_use]
    pub const fn shard(&self) -> &Shard {
        &self.shard
    }
}

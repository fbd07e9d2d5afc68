//! The ResourceManager of a run: its roles, the rings between them, its clock, its death.
//! Owns: [`ResourceManager`]: shards, inventory, rings. Called by: the simulation, which says when a role steps.
//! Does not: judge what comes out. Thread: the run's.
//! Invariants: rings are bounded; a frame that was taken in is processed once and in order; after death nothing is left.

use std::collections::VecDeque;

use crate::inventory::Inventory;
use heddle::engine::batch::{AnswerBatch, FrameBatch, PeerId, StreamRef};
use heddle::engine::event::{NodeCommand, NodeEvent, ShardCommand};
use heddle::engine::settings::ShardSettings;
use heddle::engine::shard::{ANSWERS_SIZE_MAX, Outbox, Shard, ShardCounters};
use heddle::engine::time::Instant;

use super::chance::Chance;
use super::coverage::{Coverage, Kind};

/// Frames that wait for one shard.
pub(crate) const INBOX_MAX: usize = 24;
/// Events that wait for the inventory.
const EVENT_RING_MAX: usize = 4;
/// Orders that wait for shards.
const COMMAND_RING_MAX: usize = 4_096;

/// The clock as the ResourceManager reads it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// When it started.
    started_us: u64,
    offset_us: i64,
}

impl Clock {
    pub(crate) fn now(&self, now_us: u64) -> Instant {
        let elapsed_us = i64::try_from(now_us - self.started_us).unwrap_or(i64::MAX);
        let us = u64::try_from(elapsed_us.saturating_add(self.offset_us)).unwrap_or(0);
        Instant::from_nanos(us * 1_000)
    }

    pub(crate) fn jump(&mut self, by_us: i64) {
        self.offset_us += by_us;
    }

    /// How long time may stand still since it went back.
    pub(crate) fn behind_us(&self) -> u64 {
        self.offset_us.min(0).unsigned_abs()
    }
}

/// A frame that waits for its shard.
pub(crate) struct Incoming {
    pub(crate) bytes: Vec<u8>,
    pub(crate) stream: StreamRef,
    pub(crate) peer: PeerId,
}

/// One shard with its ring and its reused batches.
pub(crate) struct ShardRole {
    pub(crate) shard: Shard,
    inbox: VecDeque<Incoming>,
    pub(crate) batch: FrameBatch,
    /// The first frame of `batch` that was not taken yet.
    pub(crate) first: usize,
    pub(crate) answers: AnswerBatch,
    /// The first answer of `answers` that belongs to the frames taken last.
    pub(crate) first_answer: usize,
    pub(crate) out: Outbox,
}

impl ShardRole {
    pub(crate) fn is_idle(&self) -> bool {
        self.inbox.is_empty() && self.first >= self.batch.len()
    }
}

/// See the module.
pub(crate) struct ResourceManager {
    pub(crate) roles: Vec<ShardRole>,
    pub(crate) inventory: Inventory,
    pub(crate) events: VecDeque<(usize, NodeEvent)>,
    pub(crate) commands: VecDeque<(usize, NodeCommand)>,
    pub(crate) clock: Clock,
    pub(crate) is_up: bool,
    /// How many there were.
    pub(crate) epoch: u64,
}

impl ResourceManager {
    pub(crate) fn new(now_us: u64, settings: &[ShardSettings], epoch: u64) -> Self {
        let role = |settings: &ShardSettings| ShardRole {
            shard: Shard::new(settings.clone()),
            inbox: VecDeque::new(),
            batch: FrameBatch::default(),
            first: 0,
            answers: AnswerBatch::default(),
            first_answer: 0,
            out: Outbox::default(),
        };
        Self {
            roles: settings.iter().map(role).collect(),
            inventory: Inventory::new(),
            events: VecDeque::new(),
            commands: VecDeque::new(),
            clock: Clock { started_us: now_us, offset_us: 0 },
            is_up: true,
            epoch,
        }
    }

    /// A frame arrives. Handed back when the shard's ring is full.
    pub(crate) fn offer(&mut self, shard: usize, frame: Incoming) -> Result<(), Incoming> {
        let inbox = &mut self.roles[shard].inbox;
        if inbox.len() >= INBOX_MAX {
            return Err(frame);
        }
        inbox.push_back(frame);
        Ok(())
    }

    /// Lets a shard take frames. Returns how many it took: they and their answers are in the role's batches.
    pub(crate) fn step(
        &mut self,
        now_us: u64,
        shard: usize,
        faults: StepFaults,
        chance: &mut Chance,
        coverage: &mut Coverage,
    ) -> usize {
        let now = self.clock.now(now_us);
        let role = &mut self.roles[shard];
        if role.first >= role.batch.len() {
            role.batch.clear();
            role.first = 0;
            if faults.has_first_offset && !role.inbox.is_empty() && chance.hits(100) {
                // Frames before `first` were processed earlier: touching them again would do harm that is seen.
                coverage.hit(Kind::FirstOffset);
                let again = &role.inbox[0];
                let mut bytes = again.bytes.clone();
                heddle_wire::frame::set_correlation_id(&mut bytes, u64::MAX);
                role.batch.push(&bytes, again.stream, again.peer);
                role.first = 1;
            }
            let size = chance.between(1, faults.batch_max.max(1)) as usize;
            for _ in 0..size {
                let Some(frame) = role.inbox.pop_front() else { break };
                role.batch.push(&frame.bytes, frame.stream, frame.peer);
            }
        }
        role.answers.clear();
        role.first_answer = 0;
        if role.first >= role.batch.len() {
            return 0;
        }
        role.out.pushes.clear();
        role.out.replies.clear();
        role.out.notices.clear();
        if faults.may_fill_answers && chance.hits(2) {
            // Answers that were not fetched yet leave room for one more frame, or for none.
            coverage.hit(Kind::AnswersFull);
            let room = if chance.hits(500) { 0 } else { 2 };
            let filler = vec![0; ANSWERS_SIZE_MAX + 1 - room];
            role.answers.push(StreamRef::NONE, &filler);
            role.first_answer = 1;
        }
        role.shard.handle_frames(now, &role.batch, role.first, &mut role.answers, &mut role.out)
    }

    /// Moves events to the inventory's ring, as far as there is room. `at` sees each.
    pub(crate) fn poll_events(
        &mut self,
        shard: usize,
        most: usize,
        coverage: &mut Coverage,
        mut at: impl FnMut(&NodeEvent, &mut Coverage) -> Result<(), String>,
    ) -> Result<(), String> {
        for _ in 0..most {
            if self.events.len() >= EVENT_RING_MAX {
                coverage.hit(Kind::EventRingFull);
                return Ok(());
            }
            let Some(event) = self.roles[shard].shard.poll_node_event() else { return Ok(()) };
            at(&event, coverage)?;
            self.events.push_back((shard, event));
        }
        Ok(())
    }

    /// Lets the inventory take events; its orders wait for their shards.
    pub(crate) fn step_inventory(&mut self, now_us: u64, most: usize) -> Result<(), String> {
        let now = self.clock.now(now_us);
        let mut orders = Vec::new();
        for _ in 0..most {
            let Some((shard, event)) = self.events.pop_front() else { break };
            self.inventory.handle_node_event(now, event, &mut orders);
            self.commands.extend(orders.drain(..).map(|order| (shard, order)));
        }
        self.inventory.handle_tick(now, &mut orders);
        self.commands.extend(orders.drain(..).map(|order| (usize::from(order.node.shard()), order)));
        if self.commands.len() > COMMAND_RING_MAX {
            return Err(format!("{} orders wait for shards", self.commands.len()));
        }
        Ok(())
    }

    pub(crate) fn command(&mut self, now_us: u64, shard: usize, command: ShardCommand) {
        let now = self.clock.now(now_us);
        let role = &mut self.roles[shard];
        role.out.pushes.clear();
        role.out.replies.clear();
        role.out.notices.clear();
        role.shard.handle_shard_command(now, command, &mut role.out);
    }

    pub(crate) fn counters(&self, shard: usize) -> ShardCounters {
        self.roles[shard].shard.counters()
    }
}

/// How a shard's duty cycle behaves in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepFaults {
    pub(crate) batch_max: u64,
    pub(crate) has_first_offset: bool,
    pub(crate) may_fill_answers: bool,
}

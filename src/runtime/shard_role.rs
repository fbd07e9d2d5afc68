//! A shard as a role: rings in, rings out, the recorder beside it.
//! Owns: the shard's stepper and its ends of every ring. Called by: the engine thread's duty cycle. Thread: `rm-engine-N`.
//! Does not: contain a rule of the cluster.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::idle::Sleeper;
use super::proxy::NetPort;
use crate::engine::batch::{AnswerBatch, FrameBatch};
use crate::engine::event::{CommandReply, NodeCommand, NodeEvent, ShardCommand};
use crate::engine::time::Instant;
use crate::metrics::{RoleCounters, ShardGauge};
use crate::recorder::ShardStepper;
use crate::ring::{Full, MpscQueue, SpscConsumer, SpscProducer};

/// Frame batches taken from one net thread in a cycle.
const BATCHES_PER_CYCLE: usize = 8;

/// Orders taken in a cycle.
const NODE_COMMANDS_PER_CYCLE: usize = 1_024;

/// Node events said in a cycle.
const NODE_EVENTS_PER_CYCLE: usize = 1_024;

/// Bytes of pushes kept while a net thread has no empty batch. Beyond it they are dropped: the next beat's answer
/// carries the same orders.
const PUSHES_SIZE_MAX: usize = 1024 * 1024;

/// A shard's end towards one net thread, and what is under way there.
struct Net {
    port: NetPort,
    /// A batch that was not taken whole: its answers filled a batch.
    in_hand: Option<(FrameBatch, usize)>,
    pushes: AnswerBatch,
    has_sent: bool,
}

impl Net {
    /// True when a cycle would get further: without an empty batch for answers it would not.
    fn has_work(&self) -> bool {
        let has_input = self.in_hand.is_some() || self.port.has_frames() || !self.pushes.is_empty();
        has_input && self.port.has_empty() && !self.port.is_gone()
    }

    /// True when all that came is answered, or nobody is there to be answered.
    fn is_drained(&self) -> bool {
        self.port.is_gone() || (self.in_hand.is_none() && self.pushes.is_empty() && self.port.is_drained())
    }
}

/// See the module.
pub(super) struct ShardRole {
    stepper: ShardStepper,
    nets: Vec<Net>,
    commands: MpscQueue<ShardCommand>,
    replies: mpsc::Sender<CommandReply>,
    node_commands: SpscConsumer<NodeCommand>,
    node_events: SpscProducer<NodeEvent>,
    /// Whom to wake for events, once that thread runs.
    inventory: Arc<OnceLock<Arc<Sleeper>>>,
    /// An event the ring had no room for.
    event_in_hand: Option<NodeEvent>,
    gauge: Arc<ShardGauge>,
    pushes_dropped: u64,
    commands_refused: u64,
}

/// The ends a [`ShardRole`] is made of.
pub(super) struct ShardRoleParts {
    pub(super) stepper: ShardStepper,
    pub(super) nets: Vec<NetPort>,
    pub(super) commands: MpscQueue<ShardCommand>,
    pub(super) replies: mpsc::Sender<CommandReply>,
    pub(super) node_commands: SpscConsumer<NodeCommand>,
    pub(super) node_events: SpscProducer<NodeEvent>,
    pub(super) inventory: Arc<OnceLock<Arc<Sleeper>>>,
    pub(super) gauge: Arc<ShardGauge>,
}

impl ShardRole {
    pub(super) fn new(parts: ShardRoleParts) -> Self {
        let nets = parts.nets.into_iter().map(|port| Net {
            port,
            in_hand: None,
            pushes: AnswerBatch::default(),
            has_sent: false,
        });
        Self {
            stepper: parts.stepper,
            nets: nets.collect(),
            commands: parts.commands,
            replies: parts.replies,
            node_commands: parts.node_commands,
            node_events: parts.node_events,
            inventory: parts.inventory,
            event_in_hand: None,
            gauge: parts.gauge,
            pushes_dropped: 0,
            commands_refused: 0,
        }
    }

    /// One cycle. Returns how many items were worked on.
    pub(super) fn do_work(&mut self, now: Instant, busy_permille: u16) -> usize {
        let mut items = self.take_commands(now);
        items += self.take_frames(now);
        if self.stepper.shard().next_deadline().is_some_and(|deadline| deadline <= now) {
            self.stepper.handle_tick(now, busy_permille);
            items += 1;
        }
        items += self.say_node_events();
        if items > 0 {
            self.stepper.end_cycle();
            self.empty_outbox();
        }
        self.send_pushes();
        for net in &mut self.nets {
            if core::mem::take(&mut net.has_sent) {
                net.port.wake();
            }
        }
        items
    }

    fn take_commands(&mut self, now: Instant) -> usize {
        let mut items = 0;
        while let Some(command) = self.commands.poll() {
            self.stepper.handle_shard_command(now, command);
            items += 1;
        }
        for _ in 0..NODE_COMMANDS_PER_CYCLE {
            let Some(command) = self.node_commands.poll() else { break };
            items += 1;
            if self.stepper.handle_node_command(now, command).is_err() {
                // The node does not acknowledge; what it still has it will report again, and be told again.
                self.commands_refused += 1;
            }
        }
        items
    }

    fn take_frames(&mut self, now: Instant) -> usize {
        let mut items = 0;
        for net in self.nets.iter_mut().filter(|net| !net.port.is_gone()) {
            for _ in 0..BATCHES_PER_CYCLE {
                if net.in_hand.is_none() && !net.port.has_frames() {
                    break;
                }
                // No empty batch: the net thread is behind with writing. It has to catch up first.
                let Some(mut answers) = net.port.poll_empty() else { break };
                let Some((batch, first)) =
                    net.in_hand.take().or_else(|| net.port.poll_frames().map(|batch| (batch, 0)))
                else {
                    break;
                };
                let taken = self.stepper.handle_frames(now, &batch, first, &mut answers);
                items += taken;
                net.port.offer_answers(answers);
                net.has_sent = true;
                if first + taken < batch.len() && taken > 0 {
                    net.in_hand = Some((batch, first + taken));
                } else {
                    net.port.return_frames(batch);
                }
            }
        }
        items
    }

    fn say_node_events(&mut self) -> usize {
        let items = self.offer_node_events();
        if let (true, Some(inventory)) = (items > 0, self.inventory.get()) {
            inventory.notify(false);
        }
        items
    }

    fn offer_node_events(&mut self) -> usize {
        let mut items = 0;
        for _ in 0..NODE_EVENTS_PER_CYCLE {
            if self.event_in_hand.is_none() && !self.node_events.has_room() {
                break;
            }
            let Some(event) = self.event_in_hand.take().or_else(|| self.stepper.poll_node_event()) else {
                break;
            };
            if let Err(Full(event)) = self.node_events.offer(event) {
                self.event_in_hand = Some(event);
                break;
            }
            items += 1;
        }
        items
    }

    fn empty_outbox(&mut self) {
        let outbox = self.stepper.outbox();
        for run in outbox.pushes.runs() {
            match self.nets.get_mut(usize::from(run.stream.net())) {
                Some(net) if net.pushes.size() < PUSHES_SIZE_MAX => net.pushes.push(run.stream, run.bytes),
                _ => self.pushes_dropped += u64::from(run.count),
            }
        }
        outbox.pushes.clear();
        for reply in outbox.replies.drain(..) {
            if let Err(error) = self.replies.try_send(reply) {
                tracing::warn!(%error, "nobody takes the reply to an administrator's command");
            }
        }
        for notice in outbox.notices.drain(..) {
            let node = notice.node.map(|node| node.to_string());
            if notice.is_warning {
                tracing::warn!(node, "{}", notice.text);
            } else {
                tracing::info!(node, "{}", notice.text);
            }
        }
    }

    fn send_pushes(&mut self) {
        for net in &mut self.nets {
            if net.pushes.is_empty() || net.port.is_gone() {
                continue;
            }
            if let Some(mut batch) = net.port.poll_empty() {
                core::mem::swap(&mut batch, &mut net.pushes);
                batch.mark_as_pushes();
                net.port.offer_answers(batch);
                net.has_sent = true;
            }
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.commands.is_empty()
            || !self.node_commands.is_empty()
            || self.nets.iter().any(Net::has_work)
            || (self.event_in_hand.is_some() && self.node_events.has_room())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.stepper.shard().next_deadline()
    }

    /// True when every net thread has sent its last frame, all are answered, and all that followed from them was said.
    pub(super) fn is_drained(&self) -> bool {
        self.nets.iter().all(Net::is_drained)
            && self.event_in_hand.is_none()
            && self.commands.is_empty()
            && self.node_commands.is_empty()
    }

    pub(super) fn publish(&mut self, now: Instant) {
        self.stepper.flush_tape(now);
        self.gauge.publish(&self.stepper.shard().counters());
        let frames: usize = self.nets.iter().map(|net| net.port.depth()).sum();
        self.gauge.publish_role(&RoleCounters {
            frame_batches: frames as u64,
            node_events: self.node_events.depth() as u64,
            node_commands: self.node_commands.depth() as u64,
            pushes_dropped: self.pushes_dropped,
            commands_refused: self.commands_refused,
        });
    }
}

#[cfg(test)]
mod tests;

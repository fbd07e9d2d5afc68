//! A shard as a role: rings in, rings out, the recorder beside it.
//! Owns: the shard's stepper and its ends of every ring. Called by: the engine thread's duty cycle. Thread: `rm-engine-N`.
//! Does not: contain a rule of the cluster.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::done::Done;
use super::idle::Sleeper;
use super::nets::{Nets, Unasked};
use super::proxy::NetPort;
use crate::engine::event::{CommandReply, NodeCommand, NodeEvent, ShardCommand};
use crate::engine::time::Instant;
use crate::metrics::{RoleCounters, ShardGauge};
use crate::recorder::ShardStepper;
use crate::ring::{Full, MpscQueue, SpscConsumer, SpscProducer};

/// Orders taken in a cycle.
const NODE_COMMANDS_PER_CYCLE: usize = 1_024;

/// Node events said in a cycle.
const NODE_EVENTS_PER_CYCLE: usize = 1_024;

/// See the module.
pub(super) struct ShardRole {
    stepper: ShardStepper,
    nets: Nets,
    commands: MpscQueue<ShardCommand>,
    replies: mpsc::Sender<CommandReply>,
    node_commands: SpscConsumer<NodeCommand>,
    node_events: SpscProducer<NodeEvent>,
    /// The scheduler's thread, to wake for events and for room.
    scheduler: Arc<Sleeper>,
    /// Told that no event follows any more.
    done: Arc<Done>,
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
    pub(super) scheduler: Arc<Sleeper>,
    pub(super) done: Arc<Done>,
    pub(super) gauge: Arc<ShardGauge>,
}

impl ShardRole {
    pub(super) fn new(parts: ShardRoleParts) -> Self {
        Self {
            stepper: parts.stepper,
            nets: Nets::new(parts.nets, Unasked::Droppable),
            commands: parts.commands,
            replies: parts.replies,
            node_commands: parts.node_commands,
            node_events: parts.node_events,
            scheduler: parts.scheduler,
            done: parts.done,
            event_in_hand: None,
            gauge: parts.gauge,
            pushes_dropped: 0,
            commands_refused: 0,
        }
    }

    /// One cycle. Returns how many items were worked on.
    pub(super) fn do_work(&mut self, now: Instant, busy_permille: u16) -> usize {
        let mut items = self.take_commands(now);
        // The nets are beside the stepper, so that both can be borrowed.
        let stepper = &mut self.stepper;
        items +=
            self.nets.take_frames(|batch, first, answers| stepper.handle_frames(now, batch, first, answers));
        if self.stepper.shard().next_deadline().is_some_and(|deadline| deadline <= now) {
            self.stepper.handle_tick(now, busy_permille);
            items += 1;
        }
        items += self.say_node_events();
        if items > 0 {
            self.stepper.end_cycle();
            self.empty_outbox();
        }
        self.nets.send();
        items
    }

    fn take_commands(&mut self, now: Instant) -> usize {
        let mut items = 0;
        while let Some(command) = self.commands.poll() {
            self.stepper.handle_shard_command(now, command);
            items += 1;
        }
        let mut taken = 0;
        for _ in 0..NODE_COMMANDS_PER_CYCLE {
            let Some(command) = self.node_commands.poll() else { break };
            taken += 1;
            if self.stepper.handle_node_command(now, command).is_err() {
                // The node does not acknowledge; what it still has it will report again, and be told again.
                self.commands_refused += 1;
            }
        }
        if taken > 0 {
            // There may be orders that found no room.
            self.scheduler.notify(false);
        }
        items + taken
    }

    fn say_node_events(&mut self) -> usize {
        let items = self.offer_node_events();
        if items > 0 {
            self.scheduler.notify(false);
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
        self.pushes_dropped += self.nets.say(&mut outbox.pushes);
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

    pub(super) fn has_work(&self) -> bool {
        !self.commands.is_empty()
            || !self.node_commands.is_empty()
            || self.nets.has_work()
            || (self.event_in_hand.is_some() && self.node_events.has_room())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.stepper.shard().next_deadline()
    }

    /// True when every net thread has sent its last frame, all are answered, and all that followed from them was said.
    /// The scheduler hears of it. Orders that come after it are for nodes that cannot be told any more.
    pub(super) fn is_drained(&self) -> bool {
        let is_heard = self.event_in_hand.is_none() && !self.stepper.shard().has_node_events();
        let is_drained = self.nets.are_drained()
            // A scheduler that has ended by itself hears nothing any more.
            && (is_heard || self.node_events.is_abandoned())
            && self.commands.is_empty()
            && self.node_commands.is_empty();
        if is_drained && self.done.set() {
            self.scheduler.notify(true);
        }
        is_drained
    }

    pub(super) fn publish(&mut self, now: Instant) {
        self.stepper.flush_tape(now);
        self.gauge.publish(&self.stepper.shard().counters());
        self.gauge.publish_role(&RoleCounters {
            frame_batches: self.nets.depth() as u64,
            node_events: self.node_events.depth() as u64,
            node_commands: self.node_commands.depth() as u64,
            pushes_dropped: self.pushes_dropped,
            commands_refused: self.commands_refused,
        });
    }
}

#[cfg(test)]
mod tests;

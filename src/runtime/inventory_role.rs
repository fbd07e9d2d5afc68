//! The inventory as a role: node events in, orders out.
//! Owns: the inventory's stepper and its ends of the rings to every shard. Called by: the duty cycle of the first engine
//! thread. Thread: `rm-engine-0`. Does not: contain a rule of the cluster.

use std::collections::VecDeque;
use std::sync::Arc;

use super::idle::Sleeper;
use crate::engine::event::{NodeCommand, NodeEvent, ShardCommand};
use crate::engine::inventory::Inventory;
use crate::engine::time::Instant;
use crate::recorder::InventoryStepper;
use crate::ring::{Full, MpscQueue, SpscConsumer, SpscProducer};

/// Events taken from one shard in a cycle.
const EVENTS_PER_CYCLE: usize = 1_024;

/// The inventory's ends towards one shard.
pub(super) struct ShardLink {
    pub(super) events: SpscConsumer<NodeEvent>,
    pub(super) commands: SpscProducer<NodeCommand>,
    /// Messages for the whole shard.
    pub(super) shard_commands: MpscQueue<ShardCommand>,
    pub(super) sleeper: Arc<Sleeper>,
    /// The cluster's load as this shard was told last.
    pub(super) told_permille: u16,
    /// Events were taken from it or orders sent to it in this cycle: if it sleeps, it has something to do.
    pub(super) is_touched: bool,
}

/// See the module.
pub(super) struct InventoryRole {
    stepper: InventoryStepper,
    links: Vec<ShardLink>,
    scratch: Vec<NodeCommand>,
    /// Orders a ring had no room for. No event is taken while there are any, so it holds one event's (or tick's) orders at most.
    waiting: VecDeque<NodeCommand>,
}

impl InventoryRole {
    pub(super) const fn new(stepper: InventoryStepper, links: Vec<ShardLink>) -> Self {
        Self { stepper, links, scratch: Vec::new(), waiting: VecDeque::new() }
    }

    /// One cycle. Returns how many events were worked on.
    pub(super) fn do_work(&mut self, now: Instant) -> usize {
        let mut items = 0;
        self.send_waiting();
        for index in 0..self.links.len() {
            for _ in 0..EVENTS_PER_CYCLE {
                if !self.waiting.is_empty() {
                    break;
                }
                let Some(event) = self.links.get_mut(index).and_then(|link| link.events.poll()) else {
                    break;
                };
                items += 1;
                if let Some(link) = self.links.get_mut(index) {
                    link.is_touched = true;
                }
                self.stepper.handle_node_event(now, event, &mut self.scratch);
                self.waiting.extend(self.scratch.drain(..));
                self.send_waiting();
            }
        }
        if self.waiting.is_empty() && self.next_deadline().is_some_and(|deadline| deadline <= now) {
            items += 1;
            self.stepper.handle_tick(now, &mut self.scratch);
            self.waiting.extend(self.scratch.drain(..));
            self.send_waiting();
        }
        if items > 0 {
            self.stepper.end_cycle();
        }
        for link in &mut self.links {
            if core::mem::take(&mut link.is_touched) {
                link.sleeper.notify(false);
            }
        }
        items
    }

    fn send_waiting(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            let Some(link) = self.links.get_mut(usize::from(command.node.shard())) else { continue };
            link.is_touched = true;
            if let Err(Full(command)) = link.commands.offer(command) {
                if link.commands.is_abandoned() {
                    // The shard has ended; its nodes are told again after the next registration.
                    continue;
                }
                self.waiting.push_front(command);
                return;
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.stepper.inventory().next_deadline()
    }

    /// Tells every shard how much of the cluster is in use, where that changed. Called now and then, not per event.
    pub(super) fn tell_load(&mut self) {
        let used_permille = self.stepper.inventory().totals().used_permille();
        for link in &mut self.links {
            let command = ShardCommand::SetClusterLoad { used_permille };
            // A full queue is tried again the next time.
            if link.told_permille != used_permille && link.shard_commands.offer(command).is_ok() {
                link.told_permille = used_permille;
                link.sleeper.notify(false);
            }
        }
    }

    pub(super) fn has_work(&self) -> bool {
        // With orders that found no room, events have to wait: the shard wakes us when it has taken some.
        self.waiting.is_empty() && self.links.iter().any(|link| !link.events.is_empty())
    }

    pub(super) fn flush_tape(&mut self, now: Instant) {
        self.stepper.flush_tape(now);
    }

    /// True when every other shard has ended and all that any said was taken.
    pub(super) fn is_drained(&self) -> bool {
        let (own, others) =
            self.links.split_first().map_or((None, &[][..]), |(own, others)| (Some(own), others));
        // Orders that still wait are for shards that have ended or are about to.
        own.is_none_or(|link| link.events.is_empty())
            && others.iter().all(|link| link.events.is_abandoned() && link.events.is_empty())
    }

    pub(super) const fn inventory(&self) -> &Inventory {
        self.stepper.inventory()
    }
}

#[cfg(test)]
mod tests;

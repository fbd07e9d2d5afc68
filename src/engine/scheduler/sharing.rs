//! Asks without a label on idle nodes of shared (non-exclusive) labels.
//! Owns: the guests of a partition. Called by: `demand` (an ask waited long enough, or is done), `placement` (when the
//! partition's own demand is served); on the scheduler's thread. Does not: apply to AM containers or asks for a place.
//! Invariants: a guest is an ask of the default partition; what it is given is charged to its queue in the partition it is
//! placed in; guests are served in the order they began to wait, after everybody who asked for the label.
//!
//! Source: YARN `IGNORE_EXCLUSIVITY`, where only the partition itself is the limit. Differs from YARN: the wait is a time,
//! not a number of passed opportunities; it begins anew when the key is given a container in the default partition.

use std::collections::BTreeSet;

use super::Scheduler;
use super::face::{SchedulerKey, SchedulerOutput};
use super::placement::Candidate;
use super::shape::Reach;
use super::walk::Search;
use crate::engine::time::Instant;

/// A guest's place in the order: since when it waits, its attempt, its key.
pub(super) type Guest = (Instant, u32, SchedulerKey);

impl Scheduler {
    /// Whether there is a label whose idle nodes others may use.
    pub(super) fn has_shared_labels(&self) -> bool {
        self.partitions.iter().skip(1).any(|partition| !partition.is_exclusive && !partition.is_removed)
    }

    /// The labels that are shared are others: what waits in the default partition becomes a guest of those that are.
    /// O(outstanding keys): an administrator's command.
    pub(super) fn invite_guests(&mut self, now: Instant) {
        let waiting = self.attempts.iter().flat_map(|attempt| {
            let asks = attempt.asks.iter().filter(|(_, ask)| ask.partition == 0 && ask.has_no_label);
            asks.map(|(key, _)| (attempt.handle.row(), *key))
        });
        let waiting: Vec<(u32, SchedulerKey)> = waiting.collect();
        for (row, key) in waiting {
            self.set_guest(now, row, key, false);
            self.refresh_key(now, row, key);
        }
    }

    /// A key becomes a guest of every shared label, or ceases to be.
    pub(super) fn set_guest(&mut self, now: Instant, row: u32, key: SchedulerKey, is_guest: bool) {
        let Some(ask) = self.attempts.get_mut(row).and_then(|attempt| attempt.asks.get_mut(&key)) else {
            return;
        };
        if is_guest != ask.guest_shapes.is_empty() {
            return;
        }
        let guest: Guest = (ask.shared_since, row, key);
        if !is_guest {
            for (number, shape) in core::mem::take(&mut ask.guest_shapes) {
                let partition = &mut self.partitions[usize::from(number)];
                partition.shapes.take_walk(shape, (row, true));
                if let Some(guests) = partition.guests.get_mut(&shape) {
                    guests.remove(&guest);
                    if guests.is_empty() {
                        partition.guests.remove(&shape);
                    }
                }
                partition.shapes.release(shape);
            }
            return;
        }
        for partition in self.partitions.iter_mut().skip(1) {
            if !partition.is_exclusive && !partition.is_removed {
                let shape = partition.shapes.hold(now, &ask.size, Reach::Any);
                partition.guests.entry(shape).or_default().insert(guest);
                partition.is_dirty = true;
                ask.guest_shapes.push((partition.number, shape));
            }
        }
    }

    /// Gives guests what the partition's own demand left.
    pub(super) fn place_guests(
        &mut self,
        now: Instant,
        number: usize,
        left: &mut u32,
        out: &mut SchedulerOutput,
    ) {
        // Guests whose blacklists leave them no node, or whose walk goes on with the next step.
        let mut passed: BTreeSet<Guest> = BTreeSet::new();
        while *left > 0 {
            let partition = &self.partitions[number];
            let open = partition.guests.iter().filter(|(shape, _)| partition.shapes.get(**shape).is_open);
            let next = open
                .filter_map(|(shape, guests)| {
                    guests.iter().find(|guest| !passed.contains(guest)).map(|it| (*it, *shape))
                })
                .min();
            let Some((guest, shape)) = next else { return };
            let (_, row, key) = guest;
            let Some(attempt) = self.attempts.get(row) else { return };
            let nodes = &self.nodes;
            let partition = &mut self.partitions[number];
            let nowhere = core::iter::empty();
            let found = if attempt.has_blacklist(false) {
                let mut accepts =
                    |node: u32| nodes.get(node).is_some_and(|node| attempt.accepts(node, false));
                partition.search((shape, (row, true)), false, nowhere, &mut accepts)
            } else {
                partition
                    .find_slot(shape, false, nowhere, &mut |_| true)
                    .map_or(Search::Nothing, Search::Found)
            };
            match found {
                Search::Found(slot) => {
                    let node = partition.node_at(slot);
                    let (queue, user) = (attempt.queue, attempt.leaf_user);
                    let candidate = Candidate { queue, user, row, key, shape, gives_up_reservation: false };
                    self.grant(now, &candidate, node, out);
                    *left -= 1;
                }
                Search::Nothing => partition.set_open(now, &self.queues, shape, false),
                Search::PutOff | Search::Avoided => {
                    partition.is_guest_put_off |= found == Search::PutOff;
                    passed.insert(guest);
                }
            }
        }
    }
}

//! Strict asks that hold nodes: asks for hosts or racks that no wait takes any further.
//! Owns: the list of them that each partition keeps, and the order in which they are looked at. Called by: `demand` (an ask
//! is strict, or is not any more), `reservation` (at the end of a step); on the scheduler's thread.
//! Does not: hold nodes for asks that only wait for a near one: those look further by themselves.
//! Invariants: a partition lists an ask exactly when it is outstanding, its attempt active, and the hosts and racks that it
//! may be placed on now are all it ever may; one step looks at no more than [`LOOKED_AT_MAX`] of them.

use super::Scheduler;
use super::attempt::AppKey;
use super::face::SchedulerKey;
use super::placement::Candidate;
use super::queue::QueueIndex;
use super::resource::ResourceVector;
use super::shape::ShapeId;
use crate::engine::time::Instant;

/// A strict ask: its attempt's row, its key.
pub(super) type StrictAsk = (u32, SchedulerKey);

/// Most strict asks that a step looks at; the next one goes on behind them.
const LOOKED_AT_MAX: usize = 1_024;

/// Most hosts and racks of one ask among which a node is looked for.
const PLACES_MAX: usize = 16;

impl Scheduler {
    /// Strict asks of a partition, those last in the order of applications first.
    pub(super) fn strict_asks(&mut self, number: usize) -> Vec<(AppKey, SchedulerKey)> {
        let partition = &mut self.partitions[number];
        let (strict, from) = (&partition.strict, partition.strict_from);
        let around = strict.range(from..).chain(strict.range(..from));
        let mut found: Vec<StrictAsk> = around.take(LOOKED_AT_MAX + 1).copied().collect();
        if found.len() > LOOKED_AT_MAX
            && let Some(next) = found.pop()
        {
            partition.strict_from = next;
        }
        let placed = found.into_iter().filter_map(|(row, key)| {
            let share = self.attempts.get(row)?.share(number as u16)?;
            Some((share.key, key))
        });
        let mut placed: Vec<_> = placed.collect();
        placed.sort_unstable_by(|a, b| b.cmp(a));
        placed
    }

    /// Holds a node for the last of these that may hold one; those behind it may not, and are taken off the list.
    pub(super) fn reserve_strict(
        &mut self,
        now: Instant,
        number: usize,
        asks: &mut Vec<(AppKey, SchedulerKey)>,
    ) -> bool {
        while let Some((app_key, key)) = asks.last().copied() {
            if let Some((candidate, node)) = self.strict_candidate(number, app_key.row, key) {
                let size = self.partitions[number].shapes.get(candidate.shape).size.clone();
                self.hold(now, number, &candidate, node, size);
                return true;
            }
            asks.pop();
        }
        false
    }

    /// A strict ask and the freest node that it may hold, if its places have no room and its queues and user have.
    fn strict_candidate(&mut self, number: usize, row: u32, key: SchedulerKey) -> Option<(Candidate, u32)> {
        let attempt = self.attempts.get(row)?;
        let ask = attempt.asks.get(&key)?;
        let (queue, user) = (attempt.queue, attempt.leaf_user);
        let partition = &mut self.partitions[number];
        let has_room = ask.shapes.iter().any(|shape| partition.shapes.get(*shape).is_open);
        if has_room
            || ask.reservations.len() as u32 >= ask.count
            || !partition.share(queue).capacity.is_accessible
            || partition.is_over_limit(&self.queues, &self.measures, queue, user)
        {
            return None;
        }
        let size = ask.size.clone();
        let places: Vec<ShapeId> = ask.shapes.iter().take(PLACES_MAX).copied().collect();
        for shape in places {
            let reach = self.partitions[number].shapes.get(shape).reach;
            if self.has_rival(number, shape)
                && let Some(node) = self.freest_node(number, &size, reach, (row, key))
                && self.is_within_bounds_when_drained(number, queue, &size, node)
            {
                return Some((Candidate { queue, user, row, key, shape, gives_up_reservation: false }, node));
            }
        }
        None
    }

    /// Whether a queue and those above it, but for the root, will have room below their bounds when what is to end on the
    /// node has ended. A full queue is kept back by its first ask for any place that is too large (`placement`); one for
    /// a single host is not first there, and waits for the queue's own containers on that host. O(containers on the node).
    fn is_within_bounds_when_drained(
        &self,
        number: usize,
        queue: QueueIndex,
        size: &ResourceVector,
        node: u32,
    ) -> bool {
        if self.is_within_bounds(number, queue, size) {
            return true;
        }
        let Some(node) = self.nodes.get(node) else { return false };
        let to_end = size.minus(&node.free());
        let bounded = self.queues.get(queue).chain.iter().filter(|queue| **queue != 0);
        bounded.copied().all(|above| {
            let mut own = ResourceVector::ZERO;
            for container in node.containers.iter().map(|index| self.containers.get(*index)) {
                let app = self.apps.get(container.app);
                if app.is_some_and(|app| self.queues.get(app.queue).chain.contains(&above)) {
                    own.add(&container.resource);
                }
            }
            let share = self.partitions[number].share(above);
            let used = share.used.minus(&own.component_min(&to_end)).plus(size);
            self.measures.calculator.fits_in(&used, &share.capacity.effective_max)
        })
    }
}

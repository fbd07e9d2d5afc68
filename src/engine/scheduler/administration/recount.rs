//! Whether what queues count and offer agrees with what is below them.
//! Owns: that part of [`Scheduler::inconsistencies`](super::super::Scheduler::inconsistencies). Called by: it, in tests and
//! simulators. Thread: the scheduler's. Does not: change anything. Invariants: every number is counted anew from
//! containers, reservations, asks, applications and nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Scheduler;
use super::super::attempt::AttemptState;
use super::super::partition::Partition;
use super::super::queue::QueueIndex;
use super::super::resource::ResourceVector;
use super::super::shape::ShapeId;

impl Scheduler {
    /// Adds what is not as it should be.
    pub(in crate::engine::scheduler) fn recount(&self, found: &mut Vec<String>) {
        self.recount_queues(found);
        for partition in &self.partitions {
            self.recount_leaves(partition, found);
            if !partition.is_resized {
                // Else what may ever fit is computed anew before the next placement.
                self.recount_offers(partition, found);
            }
            self.recount_nodes(partition, found);
        }
    }

    fn recount_queues(&self, found: &mut Vec<String>) {
        let count = self.queues.len();
        let (mut applications, mut running) = (vec![0; count], vec![0; count]);
        for (_, app) in self.apps.iter() {
            let name = app.application_id;
            for queue in &self.queues.get(app.queue).chain {
                applications[*queue as usize] += 1;
            }
            let user = self.queues.leaf(app.queue).and_then(|leaf| leaf.users.get(app.leaf_user as usize));
            if user.is_none_or(|user| user.name != Some(app.user)) {
                found.push(format!("application {name}: its leaf has another user in its place"));
            }
            let Some(attempt) = app.current.and_then(|row| self.attempts.get(row)) else { continue };
            if !app.left_blacklist.hosts.is_empty() || !app.left_blacklist.racks.is_empty() {
                found.push(format!("application {name}: its attempt did not take over the blacklist"));
            }
            if (attempt.queue, attempt.leaf_user) != (app.queue, app.leaf_user) {
                found.push(format!("application {name}: its attempt is in another queue"));
            }
            if !matches!(attempt.state, AttemptState::NotRunnable { .. }) {
                for queue in &self.queues.get(app.queue).chain {
                    running[*queue as usize] += 1;
                }
            }
        }
        for index in 0..count {
            let queue = self.queues.get(index as QueueIndex);
            if (queue.applications, queue.running) != (applications[index], running[index]) {
                found.push(format!(
                    "queue {}: {} applications, {} run; there are {}, {}",
                    self.queues.settings(index as QueueIndex).path,
                    queue.applications,
                    queue.running,
                    applications[index],
                    running[index]
                ));
            }
        }
    }

    fn recount_leaves(&self, partition: &Partition, found: &mut Vec<String>) {
        let number = partition.number;
        let mut containers: BTreeMap<QueueIndex, u32> = BTreeMap::new();
        for (_, app) in self.apps.iter() {
            let live = app.containers.in_order().into_iter().map(|index| self.containers.get(index));
            *containers.entry(app.queue).or_default() +=
                live.filter(|container| container.partition == number).count() as u32;
        }
        let mut reserved: BTreeMap<QueueIndex, ResourceVector> = BTreeMap::new();
        let mut reservations: BTreeMap<QueueIndex, u32> = BTreeMap::new();
        let mut pending: BTreeMap<QueueIndex, u64> = BTreeMap::new();
        for attempt in self.attempts.iter() {
            for ask in attempt.asks.values() {
                if ask.partition == number {
                    *pending.entry(attempt.queue).or_default() += u64::from(ask.count);
                }
                for reservation in ask.reservations.iter().filter_map(|index| self.reservations.get(*index)) {
                    if reservation.partition != number {
                        continue;
                    }
                    *reservations.entry(attempt.queue).or_default() += 1;
                    for queue in &self.queues.get(attempt.queue).chain {
                        reserved.entry(*queue).or_default().add(&reservation.size);
                    }
                }
            }
        }
        for (index, share) in partition.shares.iter().enumerate() {
            let index = index as QueueIndex;
            let path = &self.queues.settings(index).path;
            if share.reserved != reserved.remove(&index).unwrap_or_default() {
                found.push(format!(
                    "queue {path}: reserved {:?} is not what its reservations are",
                    share.reserved
                ));
            }
            let Some(leaf) = share.leaf.as_deref() else { continue };
            let held = reservations.get(&index).copied().unwrap_or(0);
            let live = containers.get(&index).copied().unwrap_or(0);
            let wanted = pending.get(&index).copied().unwrap_or(0);
            let kept = (leaf.containers, leaf.reservations, leaf.pending_containers);
            if kept != (live + held, held, wanted) {
                found.push(format!(
                    "queue {path}: counts {kept:?}, there are {:?}",
                    (live + held, held, wanted)
                ));
            }
        }
    }

    /// A leaf offers what its users below their limits want; a queue above what one below it offers.
    fn recount_offers(&self, partition: &Partition, found: &mut Vec<String>) {
        let mut offered: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); self.queues.len()];
        for (index, share) in partition.shares.iter().enumerate() {
            let Some(leaf) = share.leaf.as_deref() else { continue };
            let (possible, hopeless): (Vec<ShapeId>, Vec<ShapeId>) = leaf
                .demand
                .keys()
                .partition(|shape| partition.may_ever_fit(&self.measures, index as QueueIndex, **shape));
            if !leaf.hopeless.iter().eq(&hopeless) {
                let path = &self.queues.settings(index as QueueIndex).path;
                found.push(format!(
                    "queue {path}: {hopeless:?} can never be placed, kept {:?}",
                    leaf.hopeless
                ));
            }
            for bit in possible.iter().filter_map(|shape| partition.shapes.get(*shape).bit) {
                for queue in &self.queues.get(index as QueueIndex).chain {
                    offered[*queue as usize].insert(bit);
                }
            }
        }
        for (index, (share, offered)) in partition.shares.iter().zip(offered).enumerate() {
            if share.offers.iter().collect::<BTreeSet<_>>() != offered {
                let path = &self.queues.settings(index as QueueIndex).path;
                found.push(format!("queue {path}: offers other shapes than what is below it"));
            }
        }
        for (index, share) in partition.shares.iter().enumerate() {
            let (queue, Some(leaf)) = (index as QueueIndex, share.leaf.as_deref()) else { continue };
            let path = &self.queues.settings(queue).path;
            let offered = leaf.demand.keys().filter(|shape| !leaf.hopeless.contains(shape)).copied();
            let is_local = |shape: &ShapeId| partition.shapes.get(*shape).bit.is_none();
            let open = offered.filter(|shape| is_local(shape) && partition.shapes.get(*shape).is_open);
            if !leaf.open_local.iter().map(|(shape, _)| shape).eq(open) {
                found.push(format!("queue {path}: other shapes of racks and hosts are open than it keeps"));
            }
            for (shape, place) in leaf.open_local.iter() {
                if place.is_some() && place != self.local_place(usize::from(partition.number), queue, shape) {
                    found.push(format!("queue {path}: {shape:?} is not at its place: {place:?}"));
                }
            }
        }
        for (_, shape) in partition.shapes.iter() {
            if shape.leaves.iter().any(|leaf| self.queues.leaf(*leaf).is_none()) {
                found.push(format!("a shape of {:?} is wanted by a queue that is no leaf", shape.size));
            }
        }
    }

    fn recount_nodes(&self, partition: &Partition, found: &mut Vec<String>) {
        let of = |index: &u16| *index == partition.number;
        let nodes: Vec<_> =
            self.nodes.iter().map(|(_, node)| node).filter(|node| of(&node.partition)).collect();
        let counted = nodes.iter().filter(|node| node.is_counted).count() as u32;
        let large = partition.nodes_as_large(self.measures.calculator, &ResourceVector::ZERO);
        if (partition.nodes, large) != (counted, counted) {
            let kept = (partition.nodes, large);
            found.push(format!("partition {:?}: nodes {kept:?}, there are {counted}", partition.label));
        }
        if partition.is_removed && !nodes.is_empty() {
            found.push(format!("partition {:?} was removed and has nodes", partition.label));
        }
    }
}

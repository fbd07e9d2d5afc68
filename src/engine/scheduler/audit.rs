//! Whether the scheduler's sums agree with what they are sums of.
//! Owns: [`Scheduler::inconsistencies`](super::Scheduler::inconsistencies). Called by: tests and simulators after steps; by
//! no duty cycle, because it walks everything. Thread: the scheduler's. Does not: change anything.
//! Invariants: it computes every sum anew from nodes, containers, reservations and asks, never from another sum.

use std::collections::{BTreeMap, BTreeSet};

use super::Scheduler;
use super::attempt::AttemptState;
use super::queue::QueueIndex;
use super::resource::ResourceVector;
use super::resource_sum::ResourceSum;
use super::strict::StrictAsk;

impl Scheduler {
    /// Everything that is not as the invariants say, as text; empty when all is well. O(everything).
    #[must_use]
    pub fn inconsistencies(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.audit_nodes(&mut found);
        self.audit_queues(&mut found);
        self.audit_attempts(&mut found);
        self.recount(&mut found);
        found
    }

    fn audit_nodes(&self, found: &mut Vec<String>) {
        let mut totals = vec![ResourceVector::ZERO; self.partitions.len()];
        let mut usable = vec![0; self.partitions.len()];
        for (index, node) in self.nodes.iter() {
            let name = format!("node {}", node.handle);
            let mut used = ResourceVector::ZERO;
            for container in &node.containers {
                let container = self.containers.get(*container);
                used.add(&container.resource);
                if container.node != index {
                    found.push(format!("{name}: container {} is elsewhere", container.id));
                }
                if container.state.is_final() {
                    found.push(format!("{name}: container {} is {:?}", container.id, container.state));
                }
            }
            for size in node.details.leaving.values().chain(node.details.unknown.values()) {
                used.add(size);
            }
            if used != node.used {
                found.push(format!("{name}: used {:?}, its containers {used:?}", node.used));
            }
            let number = usize::from(node.partition);
            if node.is_counted {
                totals[number].add(&node.capability);
                usable[number] += u32::from(
                    node.usability == crate::engine::event::Usability::Usable && !node.capability.is_zero(),
                );
            }
            let placeable = self.placeable(index);
            if !self.partitions[number].is_published(node.slot, placeable.as_ref()) {
                found.push(format!("{name}: the index does not say that {placeable:?} is free"));
            }
            if let Some(reservation) = node.reservation
                && self.reservations.get(reservation).is_none_or(|reservation| reservation.node != index)
            {
                found.push(format!("{name}: its reservation is another node's"));
            }
        }
        for (number, partition) in self.partitions.iter().enumerate() {
            if partition.total != totals[number] || partition.usable_nodes != usable[number] {
                found.push(format!(
                    "partition {:?}: {:?} on {} usable nodes, its nodes {:?} on {}",
                    partition.label, partition.total, partition.usable_nodes, totals[number], usable[number]
                ));
            }
            found.append(&mut partition.forgotten_room());
            for (_, shape) in partition.shapes.iter().filter(|(_, shape)| !shape.is_open) {
                let fits = self.nodes.iter().any(|(index, node)| {
                    use super::shape::Reach;
                    usize::from(node.partition) == number
                        && match shape.reach {
                            Reach::Any => true,
                            Reach::Rack(rack) => rack == node.rack,
                            Reach::Host(host) => host == node.host,
                        }
                        && self
                            .placeable(index)
                            .is_some_and(|free| self.measures.calculator.fits_in(&shape.size, &free))
                });
                if fits {
                    found.push(format!("partition {:?}: closed {shape:?} fits", partition.label));
                }
            }
        }
    }

    fn audit_queues(&self, found: &mut Vec<String>) {
        // By partition and queue: used; by user of a leaf: used.
        let mut used: BTreeMap<(u16, QueueIndex), ResourceVector> = BTreeMap::new();
        let mut of_users: BTreeMap<(u16, QueueIndex, u32), ResourceVector> = BTreeMap::new();
        let mut charge = |number: u16, queue: QueueIndex, user: u32, size: &ResourceVector| {
            for queue in &self.queues.get(queue).chain {
                used.entry((number, *queue)).or_default().add(size);
            }
            of_users.entry((number, queue, user)).or_default().add(size);
        };
        for (_, app) in self.apps.iter() {
            for index in app.containers.in_order() {
                let container = self.containers.get(index);
                charge(container.partition, app.queue, app.leaf_user, &container.resource);
            }
        }
        for attempt in self.attempts.iter() {
            for reservation in attempt.asks.values().flat_map(|ask| &ask.reservations) {
                let Some(reservation) = self.reservations.get(*reservation) else { continue };
                charge(reservation.partition, attempt.queue, attempt.leaf_user, &reservation.size);
            }
        }
        for (number, partition) in self.partitions.iter().enumerate() {
            for (index, share) in partition.shares.iter().enumerate() {
                let key = (number as u16, index as QueueIndex);
                let path = &self.queues.settings(key.1).path;
                let expected = used.get(&key).cloned().unwrap_or_default();
                if share.used != expected {
                    found.push(format!("queue {path}: used {:?}, its containers {expected:?}", share.used));
                }
                if share.children.windows(2).any(|pair| pair[0] >= pair[1]) {
                    found.push(format!("queue {path}: its children are out of order"));
                }
                let Some(leaf) = share.leaf.as_deref() else { continue };
                for (user, of_user) in leaf.users.iter().enumerate() {
                    let key = (key.0, key.1, user as u32);
                    let expected = of_users.get(&key).cloned().unwrap_or_default();
                    if of_user.used != expected {
                        found.push(format!(
                            "queue {path}: user {user} used {:?}, its containers {expected:?}",
                            of_user.used
                        ));
                    }
                }
                let mut active = ResourceVector::ZERO;
                for user in leaf.users.iter().filter(|user| user.demanding > 0) {
                    active.add(&user.used);
                }
                if leaf.active_used != active {
                    found.push(format!("queue {path}: active users {active:?}, kept {:?}", leaf.active_used));
                }
            }
        }
    }

    fn audit_attempts(&self, found: &mut Vec<String>) {
        let mut pending_of: BTreeMap<(u16, QueueIndex), ResourceSum> = BTreeMap::new();
        let mut am_of: BTreeMap<(u16, QueueIndex), ResourceVector> = BTreeMap::new();
        let mut strict: Vec<BTreeSet<StrictAsk>> = vec![BTreeSet::new(); self.partitions.len()];
        let mut demanding: BTreeMap<(u16, QueueIndex), BTreeMap<u32, u32>> = BTreeMap::new();
        for attempt in self.attempts.iter() {
            for (key, ask) in &attempt.asks {
                if !ask.shapes.is_empty() && !ask.relax_locality && ask.deadline.is_none() {
                    strict[usize::from(ask.partition)].insert((attempt.handle.row(), *key));
                }
            }
            let name = format!("attempt {}", attempt.attempt_id);
            for (key, ask) in &attempt.asks {
                let shapes = &self.partitions[usize::from(ask.partition)].shapes;
                let mut registered: Vec<_> =
                    ask.shapes.iter().map(|shape| shapes.get(*shape).reach).collect();
                let mut reaches: Vec<_> = ask.reaches().collect();
                registered.sort_unstable();
                reaches.sort_unstable();
                let is_size = ask.shapes.iter().all(|shape| shapes.get(*shape).size == ask.size);
                if registered != reaches || !is_size {
                    found.push(format!("{name}: {key:?} is registered with other shapes than it reaches"));
                }
            }
            let places: usize = attempt.asks.values().map(|ask| ask.hosts.len() + ask.racks.len()).sum();
            if attempt.places != places {
                found.push(format!("{name}: names {} hosts and racks, its asks {places}", attempt.places));
            }
            if let Some(am) = attempt.am.as_ref().filter(|_| attempt.state == AttemptState::Active) {
                am_of.entry((am.partition, attempt.queue)).or_default().add(&am.size);
            }
            let order = self.app_key(attempt.handle.row());
            for share in &attempt.shares {
                if share.key != order {
                    found.push(format!("{name}: kept in the order as {:?}, it is {order:?}", share.key));
                }
                let mut pending = ResourceSum::default();
                for ask in attempt.asks.values().filter(|ask| ask.partition == share.partition) {
                    pending.add(&ask.size, u64::from(ask.count));
                    if ask.reservations.len() as u64 > u64::from(ask.count) {
                        found.push(format!("{name}: more reservations than containers outstanding"));
                    }
                    for reservation in ask.reservations.iter().filter_map(|of| self.reservations.get(*of)) {
                        let node = self.nodes.get(reservation.node);
                        if node.is_none_or(|node| !ask.may_be_placed_on(node.host, node.rack)) {
                            found.push(format!("{name}: a node is held that its ask does not allow"));
                        }
                    }
                }
                if share.pending != pending {
                    found.push(format!("{name}: pending {:?}, its asks {pending:?}", share.pending));
                }
                let key = (share.partition, attempt.queue);
                pending_of.entry(key).or_default().add_sum(&pending);
                let asks = attempt.asks.values();
                let keys = asks.filter(|ask| ask.partition == share.partition && ask.count > 0).count();
                if share.pending_keys as usize != keys {
                    found.push(format!("{name}: {} keys outstanding, there are {keys}", share.pending_keys));
                }
                if attempt.state == AttemptState::Active && keys > 0 {
                    *demanding.entry(key).or_default().entry(attempt.leaf_user).or_default() += 1;
                }
            }
        }
        let asks = self.attempts.iter().flat_map(|attempt| attempt.asks.values());
        let wanted: u64 = asks.map(|ask| u64::from(ask.count)).sum();
        if self.counts.pending != wanted {
            found.push(format!("{} containers pending, asks want {wanted}", self.counts.pending));
        }
        for (number, partition) in self.partitions.iter().enumerate() {
            if partition.strict != strict[number] {
                let (kept, there) = (partition.strict.len(), strict[number].len());
                let label = &partition.label;
                found.push(format!("partition {label:?}: lists {kept} strict asks, there are {there}"));
            }
            for (index, share) in partition.shares.iter().enumerate() {
                let Some(leaf) = share.leaf.as_deref() else { continue };
                let key = (number as u16, index as QueueIndex);
                let path = &self.queues.settings(key.1).path;
                let expected = pending_of.get(&key).cloned().unwrap_or_default();
                if leaf.pending != expected {
                    found.push(format!("queue {path}: pending {:?}, its asks {expected:?}", leaf.pending));
                }
                let expected = am_of.get(&key).cloned().unwrap_or_default();
                if leaf.am_used != expected {
                    found.push(format!("queue {path}: AM containers {:?}, kept {expected:?}", leaf.am_used));
                }
                let expected = demanding.remove(&key).unwrap_or_default();
                let of_users = leaf.users.iter().enumerate().filter(|(_, user)| user.demanding > 0);
                let kept: BTreeMap<u32, u32> =
                    of_users.map(|(user, of_user)| (user as u32, of_user.demanding)).collect();
                if kept != expected || leaf.active_users as usize != expected.len() {
                    found.push(format!(
                        "queue {path}: {} active users {kept:?}, its asks {expected:?}",
                        leaf.active_users
                    ));
                }
            }
        }
    }
}

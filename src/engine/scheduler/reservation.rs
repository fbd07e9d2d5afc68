//! Reservations: a node kept for an ask that fits on no node now, so that smaller asks do not take its room for ever.
//! Owns: [`Reservations`]; when one is made, fulfilled and given up. Called by: `placement`, `demand`, `node_events`; on the
//! scheduler's thread. Does not: look for strict asks (`strict`); apply to asks that wait for a near node, because those
//! look further by themselves.
//! Invariants: a node has at most one; a key has no more than it has outstanding; what is reserved is charged to queue, user
//! and attempt as used; a reserved node counts as having nothing free.
//!
//! Source: YARN's reservations, adapted to events. YARN makes one whenever the node that happens to be visited has no room
//! for the ask that comes first. Here nothing is visited: after everything that fits was placed, the asks that come first
//! among those that fit nowhere hold nodes, in the same order, and only where a smaller size is pending in the partition
//! that could take the room. The node is one with as much free as possible. It is given to its ask when it has room, with
//! no further check of the user's limit (as in YARN: it was checked when the node was held); bounds of queues hold. When
//! another node has room first, the ask goes there and gives the reservation up (YARN:
//! `reservations-continue-look-all-nodes`). At most a tenth of a partition's nodes are held at once.

use super::Scheduler;
use super::attempt::AppKey;
use super::demand::{AM_KEY, MAX_KEY, MIN_KEY};
use super::face::{SchedulerKey, SchedulerOutput};
use super::node_table::RmNode;
use super::placement::Candidate;
use super::queue::{LeafUserIndex, QueueIndex};
use super::resource::ResourceVector;
use super::shape::{Reach, ShapeId};
use super::share::UserShare;
use crate::engine::event::Usability;
use crate::engine::time::Instant;

/// A node held for an ask.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    /// The attempt.
    pub(super) row: u32,
    /// Its ask.
    pub(super) key: SchedulerKey,
    /// The node.
    pub(super) node: u32,
    /// The partition it is charged to.
    pub(super) partition: u16,
    /// The size.
    pub(super) size: ResourceVector,
    /// When it was made.
    pub(super) since: Instant,
}

/// Where the last look for a node to hold ended, of those for one size.
#[derive(Debug)]
pub(super) struct Look {
    size: ResourceVector,
    /// That much of it, in eighths, was free.
    eighth: u64,
    /// The slot behind the node that was found.
    from: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    slab: Vec<Option<Reservation>>,
    free: Vec<u32>,
    /// Nodes that have room for what is reserved on them.
    ready: Vec<u32>,
}

impl Reservations {
    /// One that is held.
    pub(super) fn get(&self, index: u32) -> Option<&Reservation> {
        self.slab.get(index as usize).and_then(Option::as_ref)
    }

    fn insert(&mut self, reservation: Reservation) -> u32 {
        if let Some(index) = self.free.pop() {
            self.slab[index as usize] = Some(reservation);
            return index;
        }
        self.slab.push(Some(reservation));
        self.slab.len() as u32 - 1
    }

    fn remove(&mut self, index: u32) -> Option<Reservation> {
        let reservation = self.slab.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(reservation)
    }

    /// A reserved node has more room now.
    pub(super) fn note_room(&mut self, reservation: u32) {
        self.ready.push(reservation);
    }
}

/// Most nodes that begin to be held in a partition in one step, about half a millisecond; the next step goes on.
pub(super) const HOLDS_PER_STEP: u32 = 512;

/// How many steps a search for the freest node takes: eighths of the size.
const EIGHTHS: u64 = 8;

/// Most steps between two walks that find nothing to hold a node for.
const PAUSE_MAX: u32 = 1_023;

/// Nodes that are too small in all, or held already, and that a search passes before it is content with less.
const REJECTED_MAX: u32 = 64;

impl Scheduler {
    /// Gives nodes that have room to the asks that hold them.
    pub(super) fn fulfil(&mut self, now: Instant, number: usize, left: &mut u32, out: &mut SchedulerOutput) {
        let mut ready = core::mem::take(&mut self.reservations.ready);
        ready.sort_unstable();
        ready.dedup();
        for index in ready {
            let Some(reservation) = self.reservations.get(index) else { continue };
            if usize::from(reservation.partition) != number || *left == 0 {
                self.reservations.ready.push(index);
                continue;
            }
            let (row, key, node_index) = (reservation.row, reservation.key, reservation.node);
            let Some(node) = self.nodes.get(node_index) else { continue };
            if !self.measures.calculator.fits_in(&reservation.size, &node.free()) {
                continue;
            }
            // The node may have come onto the blacklist meanwhile.
            let is_accepted =
                self.attempts.get(row).is_some_and(|attempt| attempt.accepts(node, key == AM_KEY));
            let number = usize::from(reservation.partition);
            self.unreserve(now, index);
            let Some(attempt) = self.attempts.get(row) else { continue };
            // The cluster may be smaller than when it was made.
            let Some(size) = attempt.asks.get(&key).map(|ask| &ask.size) else { continue };
            let is_within = self.is_within_bounds(number, attempt.queue, size);
            if !is_within || !is_accepted {
                continue;
            }
            let candidate = Candidate {
                queue: attempt.queue,
                user: attempt.leaf_user,
                row,
                key,
                shape: ShapeId(0),
                gives_up_reservation: false,
            };
            self.grant(now, &candidate, node_index, out);
            *left -= 1;
        }
    }

    /// Holds nodes for what comes first and fits nowhere, when everything that fits is placed.
    pub(super) fn reserve(&mut self, now: Instant, number: usize) {
        let partition = &mut self.partitions[number];
        if partition.shapes.closed_any().is_empty() && partition.strict.is_empty() {
            return;
        }
        if partition.reserve_after > 0 {
            partition.reserve_after -= 1;
            return;
        }
        let mut strict = self.strict_asks(number);
        while self.may_hold_more(number) {
            // In turn, so that neither kind waits for the other.
            let is_strict_next = &mut self.partitions[number].is_strict_next;
            let is_strict = core::mem::replace(is_strict_next, !*is_strict_next);
            let is_found = is_strict && self.reserve_strict(now, number, &mut strict)
                || self.reserve_any(now, number)
                || self.reserve_strict(now, number, &mut strict);
            if !is_found {
                // It walked all that is closed: not again in every step, unless something new is asked for.
                let partition = &mut self.partitions[number];
                partition.reserve_pause = (partition.reserve_pause * 2 + 1).min(PAUSE_MAX);
                partition.reserve_after = partition.reserve_pause;
                return;
            }
        }
    }

    /// Tries to hold a node for the ask that comes first among those that reach any; false where there is none.
    fn reserve_any(&mut self, now: Instant, number: usize) -> bool {
        let total = self.partitions[number].total.clone();
        let candidate = self.pick_for_reservation(number, 0, &total);
        if let Some(candidate) = &candidate {
            self.try_reserve(now, number, candidate);
        }
        candidate.is_some()
    }

    /// Whether a queue and those above it, but for the root, have room below their bounds.
    pub(super) fn is_within_bounds(&self, number: usize, queue: QueueIndex, size: &ResourceVector) -> bool {
        let mut chain = self.queues.get(queue).chain.iter().filter(|queue| **queue != 0);
        chain.all(|queue| {
            let share = self.partitions[number].share(*queue);
            self.measures.calculator.fits_in(&share.used.plus(size), &share.capacity.effective_max)
        })
    }

    /// Whether one more node of a partition may be held, and in this step: at most a tenth of them are at once.
    fn may_hold_more(&self, number: usize) -> bool {
        let partition = &self.partitions[number];
        partition.holds_left > 0 && partition.reserved_nodes < (partition.usable_nodes / 10).max(1)
    }

    /// Whether an ask that comes first and fits nowhere may hold one more node.
    pub(super) fn may_reserve(&self, number: usize, candidate: &Candidate) -> bool {
        let partition = &self.partitions[number];
        let shape = partition.shapes.get(candidate.shape);
        let ask = self.attempts.get(candidate.row).and_then(|attempt| attempt.asks.get(&candidate.key));
        !shape.is_open
            && shape.reach == Reach::Any
            && !candidate.gives_up_reservation
            && self.may_hold_more(number)
            && !partition.unreservable.contains(&candidate.shape)
            && ask.is_some_and(|ask| (ask.reservations.len() as u32) < ask.count)
            && self.has_rival(number, candidate.shape)
    }

    /// Holds a node, or remembers for this step that none can be.
    pub(super) fn try_reserve(&mut self, now: Instant, number: usize, candidate: &Candidate) {
        let size = self.partitions[number].shapes.get(candidate.shape).size.clone();
        match self.freest_node(number, &size, Reach::Any, (candidate.row, candidate.key)) {
            Some(node) => self.hold(now, number, candidate, node, size),
            None => self.partitions[number].unreservable.push(candidate.shape),
        }
    }

    /// Whether some other pending size could take the room this one waits for.
    pub(super) fn has_rival(&self, number: usize, shape: ShapeId) -> bool {
        let shapes = &self.partitions[number].shapes;
        let of = shapes.get(shape);
        let calculator = self.measures.calculator;
        let is_rival = |other| other != shape && !calculator.fits_in(&of.size, &shapes.get(other).size);
        let has_rival = |reach| shapes.of_reach(reach).any(is_rival);
        has_rival(Reach::Any)
            || match of.reach {
                Reach::Any => false,
                // Which hosts are on the rack is not looked up.
                Reach::Rack(_) => has_rival(of.reach) || shapes.has_host(),
                Reach::Host(host) => {
                    let node = self.nodes.on_host(host).first().and_then(|node| self.nodes.get(*node));
                    has_rival(of.reach) || node.is_some_and(|node| has_rival(Reach::Rack(node.rack)))
                }
            }
    }

    fn pick_for_reservation(
        &self,
        number: usize,
        queue: QueueIndex,
        headroom: &ResourceVector,
    ) -> Option<Candidate> {
        let partition = &self.partitions[number];
        let share = partition.share(queue);
        if !share.offers.meets(partition.shapes.closed_any()) || !share.capacity.is_accessible {
            return None;
        }
        // As in `placement`: the root's bound is the cluster, and a reservation takes nothing of it yet.
        let room = if queue == 0 {
            headroom.clone()
        } else {
            share.capacity.effective_max.minus(&share.used).component_min(headroom)
        };
        let Some(leaf) = share.leaf.as_deref() else {
            let mut children = share.children.iter();
            return children.find_map(|(_, child)| self.pick_for_reservation(number, *child, &room));
        };
        let calculator = self.measures.calculator;
        let limits = partition.limits(&self.queues, &self.measures, queue);
        let limit = match &leaf.user_limit {
            Some(limit) => limit.clone(),
            None => partition.compute_user_limit(&self.queues, &self.measures, queue),
        };
        // Not parked for it: who gives up a node may still be placed elsewhere (`placement`).
        let is_over_limit = |user: &UserShare| {
            let limit = limits.weighted_user_limit(&limit, user.weight);
            calculator.exceeds(&partition.total, &user.used, &limit)
        };
        let mut best: Option<(AppKey, SchedulerKey, LeafUserIndex, ShapeId)> = None;
        for bit in share.offers.iter().filter(|bit| partition.shapes.closed_any().has(*bit)) {
            let shape = partition.shapes.of_bit(bit);
            let size = &partition.shapes.get(shape).size;
            if partition.unreservable.contains(&shape)
                || !calculator.fits_in(size, &room)
                || !self.has_rival(number, shape)
            {
                continue;
            }
            // The first attempts are few where each has a node held already: those are bounded.
            for (_, user) in leaf.demand.get(&shape).into_iter().flatten() {
                let of_user = leaf.user(*user).filter(|user| !is_over_limit(user));
                let wanted = of_user.and_then(|user| user.wanted.get(&shape));
                let first = wanted.into_iter().flatten().find_map(|key| {
                    self.unreserved_key(number, key.row, shape).map(|of| (*key, of, *user, shape))
                });
                if let Some(first) = first
                    && best.is_none_or(|best| first < best)
                {
                    best = Some(first);
                }
            }
        }
        best.map(|(app_key, key, user, shape)| Candidate {
            queue,
            user,
            row: app_key.row,
            key,
            shape,
            gives_up_reservation: false,
        })
    }

    /// The first key of an attempt with fewer nodes held than containers outstanding.
    fn unreserved_key(&self, number: usize, row: u32, shape: ShapeId) -> Option<SchedulerKey> {
        let attempt = self.attempts.get(row)?;
        let wanted = &attempt.share(number as u16)?.wanted;
        wanted
            .range((shape, MIN_KEY)..=(shape, MAX_KEY))
            .map(|(_, key)| *key)
            .find(|key| attempt.asks.get(key).is_some_and(|ask| (ask.reservations.len() as u32) < ask.count))
    }

    /// A node that could hold `size` were it empty, is not held, and has as much free as possible, in eighths.
    pub(super) fn freest_node(
        &mut self,
        number: usize,
        size: &ResourceVector,
        reach: Reach,
        (row, key): (u32, SchedulerKey),
    ) -> Option<u32> {
        let calculator = self.measures.calculator;
        let attempt = self.attempts.get(row)?;
        let nodes = &self.nodes;
        let may_hold = |node: &RmNode| {
            node.reservation.is_none()
                && calculator.fits_in(size, &node.capability)
                && attempt.accepts(node, key == AM_KEY)
        };
        if let Reach::Host(host) = reach {
            let on_host = nodes.on_host(host).iter().take(REJECTED_MAX as usize);
            let known = on_host.filter_map(|index| nodes.get(*index).map(|node| (*index, node)));
            let usable = known.filter(|(_, node)| {
                usize::from(node.partition) == number && node.usability == Usability::Usable && may_hold(node)
            });
            return usable.max_by_key(|(_, node)| node.free().memory_mb()).map(|(index, _)| index);
        }
        // Looks that are alike go on where the last one of this step ended: holding a node makes none freer.
        let is_alike = reach == Reach::Any && !attempt.has_blacklist(key == AM_KEY);
        let looks = &self.partitions[number].looks;
        let last = looks.iter().position(|look| is_alike && look.size == *size);
        let (first, mut from) = last.map_or((EIGHTHS - 1, 0), |last| (looks[last].eighth, looks[last].from));
        for eighth in (0..=first).rev() {
            let part = size.map(|amount| (amount as u128 * u128::from(eighth) / u128::from(EIGHTHS)) as u64);
            let mut rejected = 0;
            let mut is_it = |node: u32| {
                let is_fit = rejected >= REJECTED_MAX || nodes.get(node).is_some_and(may_hold);
                rejected += u32::from(!is_fit);
                is_fit
            };
            let partition = &mut self.partitions[number];
            let found = match reach {
                Reach::Rack(rack) => partition.node_in_rack(rack, &part, &mut is_it),
                Reach::Any | Reach::Host(_) => partition.any_slot(&part, from, &mut is_it),
            };
            from = 0;
            let Some(node) = found.filter(|_| rejected < REJECTED_MAX) else { continue };
            if is_alike {
                let from = nodes.get(node).map_or(0, |node| node.slot as usize + 1);
                let look = Look { size: size.clone(), eighth, from };
                match last {
                    Some(last) => partition.looks[last] = look,
                    None => partition.looks.push(look),
                }
            }
            return Some(node);
        }
        None
    }

    pub(super) fn hold(
        &mut self,
        now: Instant,
        number: usize,
        candidate: &Candidate,
        node: u32,
        size: ResourceVector,
    ) {
        let Some(of) = self.nodes.get_mut(node) else { return };
        let Some(attempt) = self.attempts.get_mut(candidate.row) else { return };
        let partition = number as u16;
        let index = self.reservations.insert(Reservation {
            row: candidate.row,
            key: candidate.key,
            node,
            partition,
            size: size.clone(),
            since: now,
        });
        of.reservation = Some(index);
        if let Some(ask) = attempt.asks.get_mut(&candidate.key) {
            ask.reservations.push(index);
        }
        let slot = of.slot;
        let of = &mut self.partitions[number];
        of.lower_free(slot, None);
        of.close_outgrown(now, &self.queues, slot);
        of.reserved_nodes += 1;
        of.holds_left = of.holds_left.saturating_sub(1);
        self.charge_reservation((candidate.row, partition), (candidate.queue, candidate.user), &size, true);
        if !self.queues.tree.reservations_continue_look_all_nodes {
            self.refresh_key(now, candidate.row, candidate.key);
        }
    }

    /// What reservations in a partition count as used although containers on the same nodes use it, by leaf: a node held
    /// for 4 GB that has 1 GB free is used once over. What is told as used leaves it out, or a full cluster would be used
    /// by more than all of it. O(reservations): a tenth of the nodes at most.
    pub(super) fn counted_twice(&self, number: u16) -> impl Iterator<Item = (QueueIndex, ResourceVector)> {
        let has_any = self.partitions[usize::from(number)].reserved_nodes > 0;
        let all = has_any.then(|| self.reservations.slab.iter().flatten()).into_iter().flatten();
        all.filter(move |reservation| reservation.partition == number).filter_map(|reservation| {
            let node = self.nodes.get(reservation.node)?;
            let attempt = self.attempts.get(reservation.row)?;
            Some((attempt.queue, reservation.size.minus(&node.free())))
        })
    }

    /// The same by queue: leaves and those above them.
    pub(super) fn counted_twice_by_queue(&self, number: u16) -> Vec<ResourceVector> {
        let mut twice = vec![ResourceVector::ZERO; self.queues.len()];
        for (leaf, more) in self.counted_twice(number) {
            for queue in &self.queues.get(leaf).chain {
                twice[*queue as usize].add(&more);
            }
        }
        twice
    }

    /// Counts a reservation in or out: attempt, user, queues.
    pub(super) fn charge_reservation(
        &mut self,
        (row, number): (u32, u16),
        place: (QueueIndex, LeafUserIndex),
        size: &ResourceVector,
        is_more: bool,
    ) {
        let change =
            |amount: &mut ResourceVector| if is_more { amount.add(size) } else { amount.subtract(size) };
        if let Some(attempt) = self.attempts.get_mut(row) {
            let share = attempt.share_mut(number);
            change(&mut share.used);
            change(&mut share.reserved);
        }
        let partition = &mut self.partitions[usize::from(number)];
        for queue in &self.queues.get(place.0).chain {
            change(&mut partition.shares[*queue as usize].reserved);
        }
        if let Some(user) = partition.leaf_mut(place.0).and_then(|leaf| leaf.users.get_mut(place.1 as usize))
        {
            change(&mut user.reserved);
        }
        if let Some(leaf) = partition.leaf_mut(place.0) {
            leaf.reservations =
                if is_more { leaf.reservations + 1 } else { leaf.reservations.saturating_sub(1) };
        }
        partition.charge(&self.queues, &self.measures, place, size, is_more);
    }

    /// Gives up a reservation.
    pub(super) fn unreserve(&mut self, now: Instant, index: u32) {
        let Some(reservation) = self.reservations.remove(index) else { return };
        let number = usize::from(reservation.partition);
        self.partitions[number].reserved_nodes -= 1;
        if let Some(node) = self.nodes.get_mut(reservation.node) {
            node.reservation = None;
        }
        if let Some(attempt) = self.attempts.get_mut(reservation.row) {
            if let Some(ask) = attempt.asks.get_mut(&reservation.key) {
                ask.reservations.retain(|other| *other != index);
            }
            let place = (attempt.queue, attempt.leaf_user);
            self.charge_reservation(
                (reservation.row, reservation.partition),
                place,
                &reservation.size,
                false,
            );
        }
        self.publish_free(now, reservation.node);
        if !self.queues.tree.reservations_continue_look_all_nodes {
            self.refresh_key(now, reservation.row, reservation.key);
        }
    }

    /// Gives up those of a key whose nodes its rows do not allow any more: all where nothing is outstanding. How far it
    /// may look at the moment does not matter: one that was made when it might look further stays.
    pub(super) fn drop_reservations(&mut self, now: Instant, row: u32, key: SchedulerKey) {
        let Some(ask) = self.attempts.get(row).and_then(|attempt| attempt.asks.get(&key)) else { return };
        if ask.reservations.is_empty() {
            return;
        }
        let is_allowed = |index: &u32| {
            let node = self.reservations.get(*index).and_then(|of| self.nodes.get(of.node));
            node.is_some_and(|node| ask.count > 0 && ask.may_be_placed_on(node.host, node.rack))
        };
        let over = ask.reservations.iter().copied().filter(|index| !is_allowed(index));
        for index in over.collect::<Vec<_>>() {
            self.unreserve(now, index);
        }
    }

    /// Gives up one reservation of a key: another node has room.
    pub(super) fn give_up_one(&mut self, now: Instant, row: u32, key: SchedulerKey) {
        let ask = self.attempts.get(row).and_then(|attempt| attempt.asks.get(&key));
        if let Some(index) = ask.and_then(|ask| ask.reservations.last()).copied() {
            self.unreserve(now, index);
        }
    }
}

//! Placement: who is next, which node, and the grant.
//! Owns: [`Scheduler::schedule`](super::Scheduler::schedule) and the walk from the root to the ask that comes first.
//! Called by: the duty cycle after every batch of frames and events. Thread: the scheduler's.
//! Does not: allocate memory per grant beyond what the tables grow by; look at nodes that have no room.
//! Invariants: no node is given more than it has, no queue more than its bound, no user more than its limit and one
//! container; siblings and applications are served in their order; when it ends, nothing that may be placed is left.
//!
//! Source: YARN CapacityScheduler, ParentQueue and LeafQueue `assignContainers`, RegularContainerAllocator. Differs from
//! YARN: the walk starts from what may fit somewhere and ends with a node, not the other way round, so "this node has no
//! room" does not occur; what fits nowhere is passed over, and may hold a node (`reservation`).

use heddle_wire::record::ContainerId;

use super::Scheduler;
use super::attempt::AppKey;
use super::container::{Locality, RmContainer, RmContainerState};
use super::demand::{AM_KEY, MAX_KEY, MIN_KEY};
use super::face::{AttemptEvent, Granted, SchedulerKey, SchedulerOutput};
use super::local_order::LocalPlace;
use super::message::ApplicationEvent;
use super::queue::{LeafUserIndex, QueueIndex};
use super::reservation::HOLDS_PER_STEP;
use super::resource::ResourceVector;
use super::settings::NodePlacement;
use super::shape::{Reach, ShapeId};
use super::share::LimitBlock;
use super::walk::{REJECTED_PER_STEP, Search};
use crate::engine::time::Instant;

/// Who is next.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The leaf.
    pub(super) queue: QueueIndex,
    /// The user within it.
    pub(super) user: LeafUserIndex,
    /// The attempt.
    pub(super) row: u32,
    /// Its ask.
    pub(super) key: SchedulerKey,
    /// What it is placed as.
    pub(super) shape: ShapeId,
    /// One of its reservations has to be given up for it.
    pub(super) gives_up_reservation: bool,
}

/// What a queue answers.
enum Pick {
    /// This one.
    Found(Candidate),
    /// This one comes first and fits nowhere: it is to hold a node before those behind it take what is free.
    Reserve(Candidate),
    /// It has demand and its own bound keeps it back: this room is to be left for it.
    Limit(ResourceVector),
    /// Nothing.
    Nothing,
}

impl Scheduler {
    /// Places what can be placed: every partition that has something to do has its turn, of at most
    /// [`Scheduler::GRANTS_PER_TURN`] containers and its part of [`Scheduler::GRANTS_PER_STEP`]. What is left is placed by
    /// the next step. Turns begin with another partition each time.
    pub(super) fn place_all(&mut self, now: Instant, out: &mut SchedulerOutput) {
        let dirty = self.partitions.iter().filter(|partition| partition.is_dirty).count();
        let count = self.partitions.len();
        let of_each = Self::GRANTS_PER_STEP / u32::try_from(dirty.max(1)).unwrap_or(u32::MAX);
        let turn = of_each.clamp(1, Self::GRANTS_PER_TURN);
        let first = self.first_turn % count;
        self.first_turn = first + 1;
        for number in (first..count).chain(0..first) {
            if self.partitions[number].is_dirty {
                self.place_in(now, number, turn, out);
            }
        }
    }

    /// A partition's turn.
    fn place_in(&mut self, now: Instant, number: usize, mut left: u32, out: &mut SchedulerOutput) {
        self.bring_back(number);
        self.fulfil(now, number, &mut left, out);
        let partition = &mut self.partitions[number];
        partition.unreservable.clear();
        partition.looks.clear();
        partition.holds_left = HOLDS_PER_STEP;
        while left > 0 {
            let total = self.partitions[number].total.clone();
            match self.pick(now, number, 0, &total) {
                Pick::Found(candidate) => {
                    if self.place(now, number, &candidate, out) {
                        left -= 1;
                    }
                }
                Pick::Reserve(candidate) => self.try_reserve(now, number, &candidate),
                Pick::Limit(_) | Pick::Nothing => break,
            }
        }
        if left == 0 {
            return;
        }
        self.reserve(now, number);
        self.place_guests(now, number, &mut left, out);
        if left == 0 {
            return;
        }
        let partition = &mut self.partitions[number];
        partition.is_dirty =
            !partition.restored.is_empty() || partition.is_guest_put_off || partition.holds_left == 0;
    }

    /// Attempts whose walks go on, or that a node freed room for, come back into the order.
    fn bring_back(&mut self, number: usize) {
        let partition = &mut self.partitions[number];
        partition.rejections_left = REJECTED_PER_STEP;
        partition.is_guest_put_off = false;
        for (shape, row) in core::mem::take(&mut partition.restored) {
            let Some(attempt) = self.attempts.get(row) else { continue };
            let Some(share) = attempt.share(number as u16) else { continue };
            let Some((_, key)) = share.wanted.range((shape, MIN_KEY)..=(shape, MAX_KEY)).next() else {
                continue;
            };
            let is_am = *key == AM_KEY;
            let nodes = &self.nodes;
            let mut accepts = |node: u32| nodes.get(node).is_some_and(|node| attempt.accepts(node, is_am));
            let partition = &mut self.partitions[number];
            if partition.is_worth_a_look(shape, (row, false), &mut accepts) {
                partition.set_out(shape, row, false);
                let place = (attempt.queue, attempt.leaf_user);
                partition.want(&self.queues, &self.measures, place, (shape, share.key), true);
            }
        }
    }

    /// The ask that comes first below a queue, among those whose shape is open.
    fn pick(&mut self, now: Instant, number: usize, queue: QueueIndex, headroom: &ResourceVector) -> Pick {
        let share = self.partitions[number].share(queue);
        // The root's bound is the cluster itself: what its nodes have room for, not what reservations wait for.
        let own = if queue == 0 {
            headroom.clone()
        } else {
            share.capacity.effective_max.minus(&share.used).component_min(headroom)
        };
        if share.leaf.is_some() {
            return self.pick_in_leaf(now, number, queue, &own);
        }
        let calculator = self.measures.calculator;
        // No size that is offered is more: what fits no node is not.
        let partition = &self.partitions[number];
        let most = partition.shapes.largest().component_min(&partition.largest_node);
        let mut room = own;
        let mut kept: Option<ResourceVector> = None;
        for index in 0..share.children.len() {
            let partition = &self.partitions[number];
            let (_, child) = partition.share(queue).children[index];
            let of_child = partition.share(child);
            let may_fit = of_child.offers.meets(partition.shapes.open_any()) || of_child.open_local > 0;
            // What fits on no node may still be kept back by a bound, and then keeps back those behind it.
            let may_block = !may_fit && !of_child.offers.is_empty() && !calculator.fits_in(&most, &room);
            if !(may_fit || may_block) || !of_child.capacity.is_accessible {
                continue;
            }
            match self.pick(now, number, child, &room) {
                pick @ (Pick::Found(_) | Pick::Reserve(_)) => return pick,
                Pick::Limit(headroom) => {
                    // Siblings behind must not eat what this one waits for.
                    room.subtract(&headroom);
                    kept.get_or_insert(ResourceVector::ZERO).add(&headroom);
                }
                Pick::Nothing => {}
            }
        }
        kept.map_or(Pick::Nothing, Pick::Limit)
    }

    /// The first key of an attempt that wants a shape.
    pub(super) fn first_key(&self, number: usize, row: u32, shape: ShapeId) -> Option<SchedulerKey> {
        let wanted = &self.attempts.get(row)?.share(number as u16)?.wanted;
        wanted.range((shape, MIN_KEY)..=(shape, MAX_KEY)).next().map(|(_, key)| *key)
    }

    fn pick_in_leaf(
        &mut self,
        now: Instant,
        number: usize,
        queue: QueueIndex,
        room: &ResourceVector,
    ) -> Pick {
        loop {
            self.settle_local(number, queue);
            let partition = &self.partitions[number];
            let Some(leaf) = partition.leaf(queue) else { return Pick::Nothing };
            if leaf.limit_block.is_some() {
                return Pick::Limit(room.clone());
            }
            // `head` is first of all, `best` first of those that may fit somewhere.
            let mut head: Option<(AppKey, LeafUserIndex, ShapeId)> = None;
            let mut best: Option<(AppKey, LeafUserIndex, ShapeId)> = None;
            let nearer = |old: &Option<(AppKey, LeafUserIndex, ShapeId)>, key: AppKey, shape: ShapeId| {
                let Some((old_key, _, old_shape)) = *old else { return true };
                if old_key != key {
                    return key < old_key;
                }
                // Two shapes of one attempt: by its own order, then the nearer reach.
                let order = |shape: ShapeId| {
                    (self.first_key(number, key.row, shape), partition.shapes.get(shape).reach)
                };
                order(shape) < order(old_shape)
            };
            let open = partition.shapes.open_any();
            for bit in partition.share(queue).offers.iter() {
                let shape = partition.shapes.of_bit(bit);
                let Some((key, user)) = leaf.first(shape) else { continue };
                if nearer(&head, key, shape) {
                    head = Some((key, user, shape));
                }
                if open.has(bit) && nearer(&best, key, shape) {
                    best = Some((key, user, shape));
                }
            }
            if let Some(local) = leaf.open_local.first()
                && nearer(&best, local.app, local.shape)
            {
                best = Some((local.app, local.user, local.shape));
            }
            let mut chosen = None;
            let mut is_parked = false;
            for (place, of) in [head, best].into_iter().enumerate() {
                let Some((key, user, shape)) = of else { continue };
                if place == 0 && head == best {
                    continue;
                }
                match self.check(now, number, queue, (key.row, user, shape), room) {
                    Check::Over => {
                        self.partitions[number].park(now, &self.queues, &self.measures, queue, user);
                        is_parked = true;
                        break;
                    }
                    Check::NoRoom => return Pick::Limit(room.clone()),
                    Check::May(candidate) => {
                        if place == 0 && best.is_some() && self.may_reserve(number, &candidate) {
                            return Pick::Reserve(candidate);
                        }
                        chosen = Some(candidate);
                    }
                }
            }
            if is_parked {
                continue;
            }
            // Where head and best differ, the last one checked is the best.
            return match (best, chosen) {
                (Some(_), Some(candidate)) => Pick::Found(candidate),
                _ => Pick::Nothing,
            };
        }
    }

    /// Puts a leaf's open shapes of racks and hosts in order again, those that changed.
    fn settle_local(&mut self, number: usize, queue: QueueIndex) {
        let Some(leaf) = self.partitions[number].leaf_mut(queue) else { return };
        if leaf.open_local.is_settled() {
            return;
        }
        let changed = leaf.open_local.take_changed();
        for shape in &changed {
            let place = self.local_place(number, queue, *shape);
            if let Some(leaf) = self.partitions[number].leaf_mut(queue) {
                leaf.open_local.settle(*shape, place);
            }
        }
        if let Some(leaf) = self.partitions[number].leaf_mut(queue) {
            leaf.open_local.settled(changed);
        }
    }

    /// Where a shape of a rack or host stands in the order of a leaf.
    pub(super) fn local_place(&self, number: usize, queue: QueueIndex, shape: ShapeId) -> Option<LocalPlace> {
        let partition = &self.partitions[number];
        let (app, user) = partition.leaf(queue)?.first(shape)?;
        let key = self.first_key(number, app.row, shape)?;
        Some(LocalPlace { app, key, reach: partition.shapes.get(shape).reach, shape, user })
    }

    /// Whether user limit and bounds admit one container of a shape for an attempt.
    fn check(
        &mut self,
        now: Instant,
        number: usize,
        queue: QueueIndex,
        (row, user, shape): (u32, LeafUserIndex, ShapeId),
        room: &ResourceVector,
    ) -> Check {
        let Some(key) = self.first_key(number, row, shape) else { return Check::NoRoom };
        let ask = self.attempts.get(row).and_then(|attempt| attempt.asks.get(&key));
        let (reserved, count) = ask.map_or((0, 0), |ask| (ask.reservations.len() as u32, ask.count));
        let mut gives_up_reservation = reserved > 0 && reserved >= count;
        let partition = &mut self.partitions[number];
        if partition.is_over_limit(&self.queues, &self.measures, queue, user) {
            // YARN: it passes when giving up its reservation brings the user below the limit.
            let size = partition.shapes.get(shape).size.clone();
            let weight =
                partition.leaf(queue).and_then(|leaf| leaf.user(user)).map_or(1.0, |user| user.weight);
            let limit = partition.limit_of_user(&self.queues, &self.measures, queue, weight);
            let used =
                partition.leaf(queue).and_then(|leaf| leaf.user(user)).map(|user| user.used.minus(&size));
            let calculator = self.measures.calculator;
            let passes = reserved > 0
                && self.queues.tree.reservations_continue_look_all_nodes
                && used.is_some_and(|used| calculator.compare(&partition.total, &used, &limit).is_le());
            if !passes {
                return Check::Over;
            }
            gives_up_reservation = true;
        }
        let size = &partition.shapes.get(shape).size;
        let calculator = self.measures.calculator;
        let fits = calculator.fits_in(size, room);
        gives_up_reservation |= !fits && reserved > 0;
        // What is reserved counts as used, so giving it up for a container leaves the sums as they are. They may be beyond
        // bounds that became smaller since.
        let is_within = |queue: &QueueIndex| {
            let share = partition.share(*queue);
            calculator.fits_in(&share.used, &share.capacity.effective_max)
        };
        let chain = &self.queues.get(queue).chain;
        let may = fits || gives_up_reservation && chain.iter().filter(|queue| **queue != 0).all(is_within);
        if !may {
            let share = partition.share(queue);
            let own = share.capacity.effective_max.minus(&share.used);
            let is_own = !calculator.fits_in(size, &own);
            let block = is_own.then(|| LimitBlock { queue, wanted: size.clone(), since: now });
            if let Some(leaf) = partition.leaf_mut(queue) {
                leaf.short_since.get_or_insert(now);
                if block.is_some() {
                    leaf.limit_block = block;
                }
            }
            return Check::NoRoom;
        }
        Check::May(Candidate { queue, user, row, key, shape, gives_up_reservation })
    }

    /// Finds a node for a candidate and grants; otherwise closes its shape, or sets the attempt aside. True when granted.
    fn place(
        &mut self,
        now: Instant,
        number: usize,
        candidate: &Candidate,
        out: &mut SchedulerOutput,
    ) -> bool {
        let spread = self.queues.settings(candidate.queue).placement == NodePlacement::Spread;
        let Some(attempt) = self.attempts.get(candidate.row) else { return false };
        let is_am = candidate.key == AM_KEY;
        let nodes = &self.nodes;
        let partition = &mut self.partitions[number];
        let host = match partition.shapes.get(candidate.shape).reach {
            Reach::Host(host) => Some(host),
            _ => None,
        };
        let on_host = host.into_iter().flat_map(|host| nodes.on_host(host)).filter_map(|node| {
            nodes
                .get(*node)
                .filter(|node| usize::from(node.partition) == number)
                .map(|node| node.slot as usize)
        });
        let found = if attempt.has_blacklist(is_am) {
            let mut accepts = |node: u32| nodes.get(node).is_some_and(|node| attempt.accepts(node, is_am));
            let walker = (candidate.row, false);
            partition.search((candidate.shape, walker), spread, on_host, &mut accepts)
        } else {
            partition
                .find_slot(candidate.shape, spread, on_host, &mut |_| true)
                .map_or(Search::Nothing, Search::Found)
        };
        match found {
            Search::Found(slot) => {
                let node = partition.node_at(slot);
                if candidate.gives_up_reservation {
                    self.give_up_one(now, candidate.row, candidate.key);
                }
                self.grant(now, candidate, node, out);
                return true;
            }
            Search::Nothing => partition.set_open(now, &self.queues, candidate.shape, false),
            Search::PutOff | Search::Avoided => {
                // Others are served meanwhile.
                let place = (candidate.queue, candidate.user);
                let key = attempt.share(number as u16).map(|share| share.key).unwrap_or_default();
                partition.want(&self.queues, &self.measures, place, (candidate.shape, key), false);
                partition.set_out(candidate.shape, candidate.row, true);
                if found == Search::PutOff {
                    partition.restored.push((candidate.shape, candidate.row));
                }
            }
        }
        false
    }

    /// Grants one container on a node that has room for it.
    pub(super) fn grant(
        &mut self,
        now: Instant,
        candidate: &Candidate,
        node_index: u32,
        out: &mut SchedulerOutput,
    ) {
        let Some(attempt) = self.attempts.get_mut(candidate.row) else { return };
        let Some(ask) = attempt.asks.get_mut(&candidate.key) else { return };
        let Some(node) = self.nodes.get_mut(node_index) else { return };
        let Some(app) = self.apps.get_mut(attempt.app) else { return };
        let (number, before) = (ask.partition, ask.count);
        let locality = ask.locality(node.host, node.rack);
        let has_places = ask.has_places();
        let relaxed = ask.relaxed(node.rack);
        let size = ask.size.clone();
        let is_am = ask.is_am;
        let mut emptied = Vec::new();
        if has_places {
            ask.take(locality, node.host, node.rack, &mut emptied);
            attempt.places -= emptied.len();
            for (is_host, name) in &emptied {
                if *is_host {
                    self.hosts.release(*name);
                } else {
                    self.racks.release(*name);
                }
            }
            let resets = match locality {
                Locality::NodeLocal => true,
                Locality::RackLocal => self.queues.tree.rack_locality_full_reset,
                Locality::OffSwitch => false,
            };
            if resets {
                ask.waits_since = now;
            }
        } else {
            ask.count = ask.count.saturating_sub(1);
        }
        let after = ask.count;
        let is_guest = !ask.guest_shapes.is_empty();

        attempt.last_container += 1;
        attempt.allocated += 1;
        let id = ContainerId {
            application_attempt_id: attempt.attempt_id,
            container_id: (u64::from(self.settings.epoch) << 40) | attempt.last_container,
        };
        let index = self.containers.insert(RmContainer {
            id,
            resource: size.clone(),
            key: candidate.key,
            granted_at: now,
            app: attempt.app,
            node: node_index,
            partition: node.partition,
            state: RmContainerState::Allocated,
            locality,
            relaxed,
            is_am,
            ignores_exclusivity: node.partition != number,
        });
        node.containers.push(index);
        node.used.add(&size);
        app.containers.insert(&id, index);
        attempt.count_time(now, &size, true);
        attempt.share_mut(node.partition).used.add(&size);
        self.counts.granted += 1;

        let charged = node.partition;
        let partition = &mut self.partitions[usize::from(charged)];
        let free = node.free();
        partition.lower_free(node.slot, Some(&free));
        partition.close_outgrown(now, &self.queues, node.slot);
        let place = (candidate.queue, candidate.user);
        partition.charge(&self.queues, &self.measures, place, &size, true);

        if is_am {
            if let Some(am) = &mut attempt.am {
                am.container = Some(index);
            }
            out.application_events.push(ApplicationEvent::AmContainerAllocated {
                attempt_id: attempt.attempt_id,
                container_id: id,
                node: node.handle,
                node_id: node.details.node_id.clone(),
                http_port: node.details.http_port,
                resource: self.settings.resource_types.to_resource(&size),
            });
        } else {
            out.attempt_events.push(AttemptEvent::Granted(Granted {
                attempt: attempt.handle,
                container_id: id,
                node: node.handle,
                key: candidate.key,
                resource: size.clone(),
            }));
        }
        self.change_pending(candidate.row, number, &size, before, after);
        if charged == number && is_guest {
            // The default partition serves it: it waits anew before it is a guest again.
            self.set_guest(now, candidate.row, candidate.key, false);
            if let Some(attempt) = self.attempts.get_mut(candidate.row)
                && let Some(ask) = attempt.asks.get_mut(&candidate.key)
            {
                ask.shared_since = now;
            }
        }
        if after > 0 {
            for (is_host, name) in emptied {
                let reach = if is_host { Reach::Host(name) } else { Reach::Rack(name) };
                self.change_reach(now, candidate.row, candidate.key, reach, false);
            }
        }
        if after == 0 || has_places || (charged == number && is_guest) {
            self.refresh_key(now, candidate.row, candidate.key);
        }
        if self.is_fair(candidate.queue) {
            self.reorder(candidate.row);
        }
    }
}

/// See [`Scheduler::check`].
enum Check {
    /// It may be placed.
    May(Candidate),
    /// The user is over its limit.
    Over,
    /// The queue or one above it has no room for it.
    NoRoom,
}

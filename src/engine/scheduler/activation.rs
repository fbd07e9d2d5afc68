//! Which attempts may be given containers: applications in parallel, and the share of ApplicationMasters.
//! Owns: the pending and not-runnable lists of leaves, `am_used`. Called by: whatever adds or removes attempts or changes
//! the cluster; on the scheduler's thread. Does not: place. Invariants: `am_used` of leaf and user is the sum over their
//! active attempts; with room in the limits nobody that fits them stays pending.
//!
//! Source: YARN LeafQueue `activateApplications`. Differs from YARN: a user's limit is computed for that user, where YARN
//! uses that of the first user of the pass for all others of the same partition.

use super::Scheduler;
use super::attempt::{AttemptState, PendingReason};
use super::demand::{AM_KEY, Row, RowPlace};
use super::face::SchedulerOutput;
use super::message::AmAsk;
use super::names::NameId;
use super::partition::Partition;
use super::queue::{LeafUserIndex, QueueIndex};
use super::resource::ResourceVector;
use crate::engine::time::Instant;

impl Scheduler {
    /// Brings capacities up to date with the cluster, and activates the attempts for which there is room now.
    pub(super) fn activate(&mut self, now: Instant, _out: &mut SchedulerOutput) {
        let mut is_resized = false;
        for partition in &mut self.partitions {
            if core::mem::take(&mut partition.is_resized) {
                partition.refresh(&self.queues, &self.measures);
                is_resized = true;
            }
        }
        if is_resized {
            for queue in 0..self.queues.len() as QueueIndex {
                if self.queues.leaf(queue).is_some_and(|leaf| !leaf.pending.is_empty()) {
                    self.to_activate.insert(queue);
                }
            }
        }
        while let Some(queue) = self.to_activate.pop_first() {
            self.activate_in(now, queue);
        }
    }

    fn activate_in(&mut self, now: Instant, queue: QueueIndex) {
        let Some(leaf) = self.queues.leaf(queue) else { return };
        // A list of its own: activation changes the leaf's.
        let pending: Vec<u32> = leaf.pending.iter().map(|key| key.row).collect();
        for row in pending {
            let Some(attempt) = self.attempts.get(row) else { continue };
            // An ApplicationMaster outside of the cluster needs no room in a partition: anything in the cluster will do.
            let (number, size, has_capacity) = match &attempt.am {
                Some(am) => {
                    let partition = &self.partitions[usize::from(am.partition)];
                    (am.partition, am.size.clone(), !partition.total.is_zero())
                }
                None => (0, ResourceVector::ZERO, self.partitions.iter().any(|of| !of.total.is_zero())),
            };
            let place = (queue, attempt.leaf_user);
            let may_activate = if has_capacity {
                self.may_activate(place, number, &size)
            } else {
                Err(PendingReason::NoCapacity)
            };
            match may_activate {
                Ok(()) => self.activate_one(now, row, place, number, &size),
                Err(reason) => self.keep_pending(now, row, reason),
            }
        }
    }

    fn keep_pending(&mut self, now: Instant, row: u32, reason: PendingReason) {
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        let since = match attempt.state {
            AttemptState::Pending { since, reason: before } if before == reason => since,
            _ => now,
        };
        attempt.state = AttemptState::Pending { since, reason };
    }

    /// Most the leaf's ApplicationMasters may use in a partition, and most this user's may.
    pub(super) fn am_limits(
        &self,
        (queue, user): (QueueIndex, LeafUserIndex),
        number: u16,
    ) -> (ResourceVector, ResourceVector) {
        let partition = &self.partitions[usize::from(number)];
        let limits = partition.limits(&self.queues, &self.measures, queue);
        let current = (number == 0).then(|| limits.current_limit(&self.offered(partition, queue)));
        let am_limit = limits.am_limit(current.as_ref());
        let of_leaf = self.queues.leaf(queue);
        let waiting = of_leaf.map_or(0, |leaf| {
            leaf.users.iter().filter(|user| user.pending > 0 && user.active == 0).count() as u32
        });
        let active = partition.leaf(queue).map_or(0, |leaf| leaf.active_users) + waiting;
        let weight = of_leaf.and_then(|leaf| leaf.users.get(user as usize)).map_or(1.0, |user| user.weight);
        let user_am_limit = limits.user_am_limit(&am_limit, active, weight);
        (am_limit, user_am_limit)
    }

    /// What the queue's parents offer it now, what it uses included.
    pub(super) fn offered(&self, partition: &Partition, queue: QueueIndex) -> ResourceVector {
        let mut limit = partition.total.clone();
        let chain = &self.queues.get(queue).chain;
        for pair in chain.windows(2).rev() {
            let (child, parent) = (partition.share(pair[0]), partition.share(pair[1]));
            let most = limit.component_min(&parent.capacity.effective_max);
            limit = most.plus(&child.used).minus(&parent.used);
        }
        limit
    }

    fn may_activate(
        &self,
        place: (QueueIndex, LeafUserIndex),
        number: u16,
        size: &ResourceVector,
    ) -> Result<(), PendingReason> {
        let partition = &self.partitions[usize::from(number)];
        let Some(leaf) = partition.leaf(place.0) else { return Err(PendingReason::NoCapacity) };
        let is_first =
            self.queues.leaf(place.0).is_none_or(|leaf| leaf.active == 0) || leaf.am_used.is_zero();
        if is_first {
            return Ok(());
        }
        let (am_limit, user_am_limit) = self.am_limits(place, number);
        let calculator = self.measures.calculator;
        if !calculator.fits_in(&leaf.am_used.plus(size), &am_limit) {
            return Err(PendingReason::QueueAmLimit);
        }
        let of_user = leaf.user(place.1).map_or(ResourceVector::ZERO, |user| user.am_used.clone());
        if !calculator.fits_in(&of_user.plus(size), &user_am_limit) {
            return Err(PendingReason::UserAmLimit);
        }
        Ok(())
    }

    fn activate_one(
        &mut self,
        now: Instant,
        row: u32,
        place: (QueueIndex, LeafUserIndex),
        number: u16,
        size: &ResourceVector,
    ) {
        let key = self.pending_key(row);
        if let Some(leaf) = self.queues.leaf_mut(place.0) {
            leaf.pending.remove(&key);
            leaf.active += 1;
            let user = &mut leaf.users[place.1 as usize];
            user.pending -= 1;
            user.active += 1;
        }
        self.charge_am(place, number, size, true);
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        attempt.state = AttemptState::Active;
        self.count_demand(row, true);
        let Some(attempt) = self.attempts.get(row) else { return };
        let keys: Vec<_> = attempt.asks.keys().copied().collect();
        for key in keys {
            self.refresh_key(now, row, key);
        }
    }

    /// An attempt becomes active or ceases to be: its user begins or ceases to want what it asks for.
    pub(super) fn count_demand(&mut self, row: u32, is_more: bool) {
        let Some(attempt) = self.attempts.get(row) else { return };
        let place = (attempt.queue, attempt.leaf_user);
        for share in attempt.shares.iter().filter(|share| share.pending_keys > 0) {
            let partition = &mut self.partitions[usize::from(share.partition)];
            partition.count_demanding(&self.queues, &self.measures, place, is_more);
        }
    }

    /// Counts an AM container in or out.
    pub(super) fn charge_am(
        &mut self,
        (queue, user): (QueueIndex, LeafUserIndex),
        number: u16,
        size: &ResourceVector,
        is_more: bool,
    ) {
        let weight = self.queues.leaf(queue).map_or(1.0, |leaf| leaf.users[user as usize].weight);
        let Some(leaf) = self.partitions[usize::from(number)].leaf_mut(queue) else { return };
        if is_more {
            leaf.am_used.add(size);
            leaf.user_mut(user, weight).am_used.add(size);
        } else {
            leaf.am_used.subtract(size);
            leaf.user_mut(user, weight).am_used.subtract(size);
        }
    }

    /// Lets attempts become pending that a limit on applications in parallel kept back.
    pub(super) fn let_run(&mut self, now: Instant) {
        for queue in 0..self.queues.len() as QueueIndex {
            let Some(leaf) = self.queues.leaf(queue) else { continue };
            if leaf.not_runnable.is_empty() {
                continue;
            }
            let rows: Vec<u32> = leaf.not_runnable.iter().map(|key| key.row).collect();
            for row in rows {
                let Some(attempt) = self.attempts.get(row) else { continue };
                let Some(user) = self.apps.get(attempt.app).map(|app| app.user) else { continue };
                if let Some(limit) = self.parallel_limit(queue, user) {
                    if let Some(attempt) = self.attempts.get_mut(row)
                        && let AttemptState::NotRunnable { queue, .. } = &mut attempt.state
                    {
                        *queue = limit;
                    }
                    continue;
                }
                let key = self.pending_key(row);
                if let Some(leaf) = self.queues.leaf_mut(queue) {
                    leaf.not_runnable.remove(&key);
                }
                self.make_pending(now, row, queue, user);
            }
        }
    }

    /// The limit on applications in parallel that is reached: of a queue, or (`None`) of the user.
    #[expect(clippy::option_option, reason = "the outer one says whether, the inner one whose")]
    pub(super) fn parallel_limit(&self, queue: QueueIndex, user: NameId) -> Option<Option<QueueIndex>> {
        for index in &self.queues.get(queue).chain {
            if self.queues.get(*index).running >= self.queues.settings(*index).max_parallel_apps {
                return Some(Some(*index));
            }
        }
        let tree = &self.queues.tree;
        let of_user =
            tree.max_parallel_apps_of.get(self.users.name(user)).unwrap_or(&tree.user_max_parallel_apps);
        let running = self.running_of_user.get(&user).copied().unwrap_or(0);
        (running >= *of_user).then_some(None)
    }

    /// An attempt counts as running and waits to be activated.
    pub(super) fn make_pending(&mut self, now: Instant, row: u32, queue: QueueIndex, user: NameId) {
        self.queues.count(queue, |queue| queue.running += 1);
        *self.running_of_user.entry(user).or_default() += 1;
        let key = self.pending_key(row);
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        attempt.state = AttemptState::Pending { since: now, reason: PendingReason::NoCapacity };
        let leaf_user = attempt.leaf_user;
        if let Some(leaf) = self.queues.leaf_mut(queue) {
            leaf.pending.insert(key);
            leaf.users[leaf_user as usize].pending += 1;
        }
        self.to_activate.insert(queue);
    }

    /// Asks for an attempt's AM container.
    pub(super) fn ask_for_am(
        &mut self,
        now: Instant,
        row: u32,
        am: &AmAsk,
        number: u16,
        size: &ResourceVector,
    ) {
        let row_of = |place: RowPlace, relax_locality: bool| Row {
            place,
            partition: number,
            // An AM container never uses idle nodes of shared labels.
            has_no_label: false,
            size: size.clone(),
            count: 1,
            relax_locality,
            is_am: true,
        };
        for (name, is_rack, relax_locality) in &am.localities {
            let place = if *is_rack {
                RowPlace::Rack(self.racks.hold(name))
            } else {
                RowPlace::Host(self.hosts.hold(name))
            };
            self.set_row(now, row, AM_KEY, row_of(place, *relax_locality));
        }
        self.set_row(now, row, AM_KEY, row_of(RowPlace::Any, am.relax_locality));
    }
}

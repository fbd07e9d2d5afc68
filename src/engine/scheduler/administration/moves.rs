//! Moves of applications to other queues.
//! Owns: the check of a move, and its bookkeeping. Called by: `handle_command`, on the scheduler's thread.
//! Does not: ask who may move what; the application manager did. Invariants: a move that is refused changes nothing; one
//! that is done takes live containers, reservations and asks along, and queues above both ends see no net change.
//!
//! Source: YARN CapacityScheduler `moveApplication`: the application leaves its queue and joins the other one as a new one
//! does, so that limits on ApplicationMasters and on applications in parallel apply there. What it has, it keeps.

use heddle_wire::RejectCode;
use heddle_wire::record::ApplicationId;

use super::super::attempt::{AppIndex, AttemptState, PendingReason};
use super::super::face::SchedulerOutput;
use super::super::queue::{LeafUserIndex, QueueIndex};
use super::super::resource::ResourceVector;
use super::super::settings::FindQueueError;
use super::super::{Scheduler, done, refuse};
use crate::engine::time::Instant;

/// One amount of a queue that follows an application.
type Charge = (u16, ResourceVector);

impl Scheduler {
    /// Moves an application, or only checks whether it could be. Moving it to where it is is done already.
    pub(in crate::engine::scheduler) fn move_application(
        &mut self,
        now: Instant,
        token: u64,
        application_id: ApplicationId,
        queue: &str,
        is_check_only: bool,
        out: &mut SchedulerOutput,
    ) {
        let Some(index) = self.apps.find(&application_id) else {
            let text = format!("application {application_id} is not known to the scheduler");
            return refuse(out, token, RejectCode::ApplicationNotFound, text);
        };
        let target = match self.check_move(index, application_id, queue) {
            Ok(target) => target,
            Err((code, reason)) => return refuse(out, token, code, reason),
        };
        let source = self.apps.get(index).map(|app| app.queue);
        if !is_check_only && source != Some(target) {
            self.move_to(now, index, target);
        }
        done(out, token, 0);
    }

    fn check_move(
        &self,
        index: AppIndex,
        id: ApplicationId,
        queue: &str,
    ) -> Result<QueueIndex, (RejectCode, String)> {
        let target = self.queues.tree.find(queue).map_err(|error| match error {
            FindQueueError::Unknown => (
                RejectCode::NotFound,
                format!("queue {queue} is unknown: application {id} cannot be moved there"),
            ),
            FindQueueError::Ambiguous => (
                RejectCode::NotFound,
                format!("queue {queue} is ambiguous: use the full path to move application {id}"),
            ),
        })?;
        let settings = self.queues.settings(target);
        let wrong = |reason: String| (RejectCode::WrongState, reason);
        if !settings.is_leaf {
            let path = &settings.path;
            return Err(wrong(format!("queue {path} is not a leaf: application {id} cannot be moved there")));
        }
        let Some(app) = self.apps.get(index) else { return Ok(target) };
        if app.queue == target {
            return Ok(target);
        }
        if let Some(stopped) = self.queues.stopped(target) {
            let path = &self.queues.settings(stopped).path;
            return Err(wrong(format!("queue {path} is STOPPED: application {id} cannot be moved there")));
        }
        self.has_room_for_application(target, self.users.name(app.user))
            .map_err(|reason| wrong(format!("{reason} application {id} cannot be moved there")))?;
        let attempt = app.current.and_then(|row| self.attempts.get(row));
        let mut in_use: Vec<u16> = app
            .containers
            .in_order()
            .into_iter()
            .map(|container| self.containers.get(container).partition)
            .collect();
        for share in attempt.into_iter().flat_map(|attempt| &attempt.shares) {
            if !share.used.is_zero() || share.pending_keys > 0 {
                in_use.push(share.partition);
            }
        }
        in_use.sort_unstable();
        in_use.dedup();
        for number in in_use.into_iter().filter(|number| *number > 0) {
            let partition = &self.partitions[usize::from(number)];
            if !partition.share(target).capacity.is_accessible {
                return Err(wrong(format!(
                    "queue {} may not use node label {}, in which application {id} has or wants containers",
                    settings.path, partition.label
                )));
            }
        }
        Ok(target)
    }

    fn move_to(&mut self, now: Instant, index: AppIndex, target: QueueIndex) {
        let Some(app) = self.apps.get(index) else { return };
        let (source, user, row) = ((app.queue, app.leaf_user), app.user, app.current);
        if let Some(row) = row {
            self.withdraw(now, row);
        }
        let containers: Vec<Charge> = self
            .apps
            .get(index)
            .into_iter()
            .flat_map(|app| app.containers.in_order())
            .map(|container| self.containers.get(container))
            .map(|container| (container.partition, container.resource.clone()))
            .collect();
        let reservations: Vec<Charge> = row
            .and_then(|row| self.attempts.get(row))
            .into_iter()
            .flat_map(|attempt| attempt.asks.values().flat_map(|ask| &ask.reservations))
            .filter_map(|reservation| self.reservations.get(*reservation))
            .map(|reservation| (reservation.partition, reservation.size.clone()))
            .collect();

        self.charge_moved(source, row, &containers, &reservations, false);
        self.queues.count(source.0, |queue| queue.applications -= 1);
        if let Some(leaf) = self.queues.leaf_mut(source.0) {
            leaf.users[source.1 as usize].applications -= 1;
            leaf.forget_user(source.1);
        }

        let weight = self.queues.weight_of(target, self.users.name(user));
        let Some(leaf) = self.queues.leaf_mut(target) else { return };
        let leaf_user = leaf.user(user, weight);
        leaf.users[leaf_user as usize].applications += 1;
        self.queues.count(target, |queue| queue.applications += 1);
        // Where it was before it has been counted.
        let chain = self.queues.get(source.0).chain.clone();
        let entered: Vec<QueueIndex> =
            self.queues.get(target).chain.iter().copied().filter(|queue| !chain.contains(queue)).collect();
        entered.into_iter().for_each(|queue| self.queues.get_mut(queue).submitted += 1);
        if let Some(app) = self.apps.get_mut(index) {
            (app.queue, app.leaf_user) = (target, leaf_user);
        }
        if let Some(attempt) = row.and_then(|row| self.attempts.get_mut(row)) {
            (attempt.queue, attempt.leaf_user) = (target, leaf_user);
        }
        self.charge_moved((target, leaf_user), row, &containers, &reservations, true);
        let Some(row) = row else { return };
        self.set_app_key(row);
        match self.parallel_limit(target, user) {
            None => self.make_pending(now, row, target, user),
            Some(queue) => {
                let key = self.pending_key(row);
                if let Some(attempt) = self.attempts.get_mut(row) {
                    attempt.state = AttemptState::NotRunnable { since: now, queue };
                }
                if let Some(leaf) = self.queues.leaf_mut(target) {
                    leaf.not_runnable.insert(key);
                }
            }
        }
        // The source may let another one run in its place.
        self.let_run(now);
    }

    /// Takes an attempt out of its leaf's lists and order. Its asks and reservations stay, unseen by placement.
    fn withdraw(&mut self, now: Instant, row: u32) {
        self.leave_leaf(row);
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        attempt.state = AttemptState::Pending { since: now, reason: PendingReason::NoCapacity };
        let keys: Vec<_> = attempt.asks.keys().copied().collect();
        for key in keys {
            self.refresh_key(now, row, key);
        }
    }

    /// Charges a leaf, its parents and the user with all an application has and wants, or takes it off them. What the
    /// attempt itself knows of it stays the same.
    fn charge_moved(
        &mut self,
        place: (QueueIndex, LeafUserIndex),
        row: Option<u32>,
        containers: &[Charge],
        reservations: &[Charge],
        is_more: bool,
    ) {
        for (number, size) in containers.iter().chain(reservations) {
            let partition = &mut self.partitions[usize::from(*number)];
            partition.charge(&self.queues, &self.measures, place, size, is_more);
        }
        let change = |amount: &mut ResourceVector, by: &ResourceVector| {
            if is_more { amount.add(by) } else { amount.subtract(by) }
        };
        for (number, size) in reservations {
            let partition = &mut self.partitions[usize::from(*number)];
            for queue in &self.queues.get(place.0).chain {
                change(&mut partition.shares[*queue as usize].reserved, size);
            }
            if let Some(leaf) = partition.leaf_mut(place.0) {
                leaf.reservations =
                    if is_more { leaf.reservations + 1 } else { leaf.reservations.saturating_sub(1) };
                change(&mut leaf.users[place.1 as usize].reserved, size);
            }
        }
        let Some(attempt) = row.and_then(|row| self.attempts.get(row)) else { return };
        for share in attempt.shares.iter().filter(|share| share.pending_keys > 0) {
            let partition = &mut self.partitions[usize::from(share.partition)];
            if let Some(leaf) = partition.leaf_mut(place.0) {
                if is_more {
                    leaf.pending.add_sum(&share.pending);
                } else {
                    leaf.pending.subtract_sum(&share.pending);
                }
                let wanted = attempt.asks.values().filter(|ask| ask.partition == share.partition);
                let wanted: u64 = wanted.map(|ask| u64::from(ask.count)).sum();
                leaf.pending_containers = if is_more {
                    leaf.pending_containers + wanted
                } else {
                    leaf.pending_containers.saturating_sub(wanted)
                };
            }
        }
    }
}

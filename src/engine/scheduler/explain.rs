//! Why an application waits: for each of its pending asks the constraint that binds.
//! Owns: the order in which constraints are looked at, the summary. Called by: `query`, on the scheduler's thread.
//! Does not: search. What binds is what was kept as decisions were made: limits that were met (`share`), shapes that fit
//! nowhere (`shape`), users that are parked, reservations, waits. Invariants: every pending ask has exactly one reason; the
//! summary counts all of them; the work is that of the application's asks, whatever nodes and applications there are.

mod text;

use std::collections::BTreeMap;

use heddle_wire::RejectCode;
use heddle_wire::application_client::ExplainApplicationResponse;
use heddle_wire::limits::PENDING_ASKS_PER_ANSWER_MAX;
use heddle_wire::record::{
    ApplicationId, PartitionExplanation, PendingAsk, PendingReason, ReasonCount, YarnApplicationState,
};

use super::Scheduler;
use super::ask::{KeyAsk, Stage};
use super::attempt::{App, AppKey, AttemptRow, AttemptState, PendingReason as Inactive};
use super::demand::AM_KEY;
use super::face::SchedulerKey;
use super::query::{PAGE_SIZE_MAX, Refused};
use super::queue::QueueIndex;
use super::shape::{Reach, ShapeId};
use crate::engine::time::Instant;

/// Most applications named that come before another.
const NAMED_MAX: usize = 2;

/// What binds, with what its text needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The application is not active.
    NotActive,
    /// The label it asks in is not the cluster's any more.
    LabelRemoved,
    /// Its queue may not use the partition.
    NotAccessible,
    /// No node may be given containers.
    NoNodes,
    /// No node is that large.
    TooLarge,
    /// A node is held for it.
    Reserved(u32),
    /// The bound of this queue.
    Queue(QueueIndex),
    /// It is more than this queue's bound, and so it never fits.
    MoreThanQueue(QueueIndex),
    /// The user's limit.
    User,
    /// Every node with room is on the blacklist.
    Blacklist,
    /// It waits for the places it names.
    Locality,
    /// Nowhere is that much free.
    NoFree,
    /// Others are before it.
    Order,
    /// It is looked at with the next placement.
    Next,
}

/// The constraint of one ask.
#[derive(Clone, Copy, Debug)]
struct Finding {
    reason: PendingReason,
    since: Instant,
    why: Why,
}

/// One explanation in the making.
struct Explainer<'a> {
    scheduler: &'a Scheduler,
    now: Instant,
    app: &'a App,
    attempt: &'a AttemptRow,
    /// By shape: what was found for an ask that has only this one, besides its own age.
    known: BTreeMap<(u16, ShapeId), Finding>,
    /// By partition and shape: how many nodes are large enough.
    large: BTreeMap<(u16, ShapeId), u32>,
    /// By partition: applications that come first in the leaf, as far as they are before this one.
    before: BTreeMap<u16, Vec<ApplicationId>>,
    /// Elementary steps taken, for the test that they do not grow with the cluster.
    steps: u64,
}

impl Scheduler {
    /// Explains why an application waits; `limit` bounds the list, the summary counts all.
    pub(super) fn explain(
        &self,
        now: Instant,
        id: ApplicationId,
        limit: u32,
    ) -> Result<ExplainApplicationResponse, Refused> {
        self.explain_counted(now, id, limit).map(|(response, _)| response)
    }

    /// How many elementary steps an explanation of an application takes now: for tests, which count work rather than
    /// time. `None` = the application is not known.
    #[must_use]
    pub fn explanation_steps(&self, now: Instant, application_id: ApplicationId) -> Option<u64> {
        self.explain_counted(now, application_id, PENDING_ASKS_PER_ANSWER_MAX).ok().map(|(_, steps)| steps)
    }

    fn explain_counted(
        &self,
        now: Instant,
        id: ApplicationId,
        limit: u32,
    ) -> Result<(ExplainApplicationResponse, u64), Refused> {
        let app = self.apps.find(&id).and_then(|index| self.apps.get(index)).ok_or_else(|| {
            (RejectCode::ApplicationNotFound, format!("application {id} is not known to the scheduler"))
        })?;
        let mut response = ExplainApplicationResponse {
            application_id: id,
            // The application manager knows better.
            state: YarnApplicationState::Accepted,
            queue: self.queues.settings(app.queue).path.to_string(),
            application_reason: None,
            partitions: Vec::new(),
            summary: Vec::new(),
            pending: Vec::new(),
            pending_total: 0,
        };
        let Some(attempt) = app.current.and_then(|row| self.attempts.get(row)) else {
            response.application_reason = Some("it has no attempt now".to_owned());
            return Ok((response, 1));
        };
        let mut explainer = Explainer {
            scheduler: self,
            now,
            app,
            attempt,
            known: BTreeMap::new(),
            large: BTreeMap::new(),
            before: BTreeMap::new(),
            steps: 0,
        };
        response.application_reason = explainer.application_reason();
        let size = explainer.partitions(&mut response.partitions);
        explainer.list(limit, PAGE_SIZE_MAX - size, &mut response);
        Ok((response, explainer.steps))
    }
}

impl Explainer<'_> {
    fn list(&mut self, limit: u32, mut left: usize, response: &mut ExplainApplicationResponse) {
        let attempt = self.attempt;
        let limit = limit.min(PENDING_ASKS_PER_ANSWER_MAX) as usize;
        let mut is_listing = true;
        let mut counts: BTreeMap<PendingReason, ReasonCount> = BTreeMap::new();
        for (key, ask) in attempt.asks.iter().filter(|(_, ask)| ask.count > 0) {
            let finding = self.find(ask);
            let count = counts.entry(finding.reason).or_insert(ReasonCount {
                reason: finding.reason,
                asks: 0,
                containers: 0,
            });
            count.asks += 1;
            count.containers += u64::from(ask.count);
            response.pending_total += 1;
            if is_listing && response.pending.len() < limit {
                let pending = self.pending_ask(*key, ask, &finding);
                let size =
                    128 + pending.partition.len() + pending.text.len() + self.scheduler.size_of_resource();
                is_listing = size <= left;
                if is_listing {
                    left -= size;
                    response.pending.push(pending);
                }
            }
        }
        response.summary = counts.into_values().collect();
        response.summary.sort_by_key(|count| (core::cmp::Reverse(count.containers), count.reason));
    }

    /// What binds an ask. Asks of one size that go anywhere differ by their age only: one of them is looked at.
    fn find(&mut self, ask: &KeyAsk) -> Finding {
        self.steps += 1;
        let alike = match ask.shapes[..] {
            [shape] if !ask.is_am && !ask.has_places() && ask.reservations.is_empty() => {
                Some((ask.partition, shape))
            }
            _ => None,
        };
        let found = match alike.and_then(|alike| self.known.get(&alike)) {
            Some(found) => *found,
            None => {
                let found = self.look(ask);
                if let Some(alike) = alike {
                    self.known.insert(alike, found);
                }
                found
            }
        };
        Finding { since: found.since.max(ask.since), ..found }
    }

    /// First what no free node would change, then whether there is one.
    fn look(&mut self, ask: &KeyAsk) -> Finding {
        let scheduler = self.scheduler;
        let found = |reason, since: Instant, why| Finding { reason, since, why };
        if let Some((reason, since)) = self.inactive(ask.is_am) {
            return found(reason, since, Why::NotActive);
        }
        let partition = &scheduler.partitions[usize::from(ask.partition)];
        let share = partition.share(self.attempt.queue);
        let Some(leaf) = share.leaf.as_deref() else {
            return found(PendingReason::NotConsidered, Instant::ZERO, Why::Next);
        };
        if partition.is_removed {
            return found(PendingReason::LabelNotAccessible, Instant::ZERO, Why::LabelRemoved);
        }
        if !share.capacity.is_accessible {
            return found(PendingReason::LabelNotAccessible, Instant::ZERO, Why::NotAccessible);
        }
        if partition.usable_nodes == 0 {
            return found(PendingReason::NoNodes, Instant::ZERO, Why::NoNodes);
        }
        if self.large_nodes(ask) == 0 {
            return found(PendingReason::TooLarge, Instant::ZERO, Why::TooLarge);
        }
        let calculator = scheduler.measures.calculator;
        for queue in &scheduler.queues.get(self.attempt.queue).chain {
            self.steps += 1;
            if !calculator.fits_in(&ask.size, &partition.share(*queue).capacity.effective_max) {
                return found(PendingReason::QueueLimit, Instant::ZERO, Why::MoreThanQueue(*queue));
            }
        }
        if let Some(index) = ask.reservations.first()
            && let Some(reservation) = scheduler.reservations.get(*index)
        {
            return found(PendingReason::Reserved, reservation.since, Why::Reserved(*index));
        }
        for queue in &scheduler.queues.get(self.attempt.queue).chain {
            self.steps += 1;
            let of = partition.share(*queue);
            if !calculator.fits_in(&ask.size, &of.capacity.effective_max.minus(&of.used)) {
                // The root's bound is the partition: what is short there is room.
                if *queue == 0 {
                    break;
                }
                let block = leaf.limit_block.as_ref().map(|block| block.since);
                let since = leaf.short_since.or(block).unwrap_or(Instant::ZERO);
                return found(PendingReason::QueueLimit, since, Why::Queue(*queue));
            }
        }
        let user = leaf.user(self.attempt.leaf_user);
        if let Some((since, _)) = user.and_then(|user| user.parked) {
            return found(PendingReason::UserLimit, since, Why::User);
        }
        let shape_of = |id: &ShapeId| partition.shapes.get(*id);
        let walker = (self.attempt.handle.row(), false);
        let has_walked = |id: &ShapeId| {
            shape_of(id).walks.get(&walker).is_some_and(|walk| walk.is_out && walk.is_complete)
        };
        if ask.shapes.iter().any(has_walked) {
            return found(PendingReason::Blacklist, Instant::ZERO, Why::Blacklist);
        }
        let any = ask.shapes.iter().map(shape_of).find(|shape| shape.reach == Reach::Any);
        match any {
            Some(shape) if !shape.is_open => found(PendingReason::NoFreeCapacity, shape.since, Why::NoFree),
            None if !calculator.fits_in(&ask.size, &partition.most_free()) => {
                found(PendingReason::NoFreeCapacity, ask.waits_since, Why::NoFree)
            }
            None if ask.stage != Stage::Any || ask.has_places() => {
                found(PendingReason::Locality, ask.waits_since, Why::Locality)
            }
            _ if partition.is_dirty => found(PendingReason::NotConsidered, Instant::ZERO, Why::Next),
            _ => {
                let since = leaf.short_since.unwrap_or(Instant::ZERO);
                found(PendingReason::Order, since, Why::Order)
            }
        }
    }

    /// Whether the application itself is kept back, and since when.
    fn inactive(&self, is_am: bool) -> Option<(PendingReason, Instant)> {
        let (of_am, since) = match self.attempt.state {
            AttemptState::Active => (PendingReason::ApplicationNotActive, self.attempt.held_since?),
            AttemptState::NotRunnable { since, .. } => (PendingReason::MaxParallelApplications, since),
            AttemptState::Pending { since, reason } => {
                let of_am = match reason {
                    Inactive::NoCapacity => PendingReason::NoNodes,
                    Inactive::QueueAmLimit => PendingReason::AmLimit,
                    Inactive::UserAmLimit => PendingReason::UserAmLimit,
                };
                (of_am, since)
            }
        };
        Some((if is_am { of_am } else { PendingReason::ApplicationNotActive }, since))
    }

    /// How many nodes of its partition could hold an ask were they empty.
    fn large_nodes(&mut self, ask: &KeyAsk) -> u32 {
        let partition = &self.scheduler.partitions[usize::from(ask.partition)];
        let calculator = self.scheduler.measures.calculator;
        let Some(shape) = ask.shapes.first() else {
            self.steps += partition.size_count() as u64;
            return partition.nodes_as_large(calculator, &ask.size);
        };
        if let Some(count) = self.large.get(&(ask.partition, *shape)) {
            return *count;
        }
        self.steps += partition.size_count() as u64;
        let count = partition.nodes_as_large(calculator, &ask.size);
        self.large.insert((ask.partition, *shape), count);
        count
    }

    /// Applications that come before this one in its leaf, the first of them.
    fn before(&mut self, number: u16) -> Vec<ApplicationId> {
        if let Some(before) = self.before.get(&number) {
            return before.clone();
        }
        let scheduler = self.scheduler;
        let partition = &scheduler.partitions[usize::from(number)];
        let own = self.attempt.share(number).map_or(AppKey::default(), |share| share.key);
        let mut first: Vec<AppKey> = Vec::new();
        if let Some(leaf) = partition.leaf(self.attempt.queue) {
            // Sizes that reach any node: a few, however many ask.
            for bit in partition.share(self.attempt.queue).offers.iter() {
                self.steps += 1;
                let shape = partition.shapes.of_bit(bit);
                first.extend(leaf.first(shape).map(|(key, _)| key).filter(|key| *key < own));
            }
        }
        first.sort_unstable();
        first.dedup();
        let named: Vec<ApplicationId> = first
            .into_iter()
            .filter_map(|key| scheduler.attempts.get(key.row))
            .map(|attempt| attempt.attempt_id.application_id)
            .take(NAMED_MAX)
            .collect();
        self.before.insert(number, named.clone());
        named
    }

    fn pending_ask(&mut self, key: SchedulerKey, ask: &KeyAsk, finding: &Finding) -> PendingAsk {
        let partition = &self.scheduler.partitions[usize::from(ask.partition)];
        let is_am = key == AM_KEY;
        PendingAsk {
            priority: if is_am { 0 } else { key.priority },
            allocation_request_id: if is_am { -1 } else { key.allocation_request_id },
            partition: partition.label.to_string(),
            capability: self.scheduler.wire_resource(&ask.size),
            num_containers: ask.count.into(),
            reason: finding.reason,
            text: self.text(ask, finding.why),
            since_ms: self.now.as_millis().saturating_sub(finding.since.as_millis()),
            hosts: ask.hosts.len() as u32,
            racks: ask.racks.len() as u32,
            relax_locality: ask.relax_locality,
        }
    }

    /// What the application, its user and its queue have, by partition it has or wants something in. Returns the size.
    fn partitions(&mut self, told: &mut Vec<PartitionExplanation>) -> usize {
        let scheduler = self.scheduler;
        let (queue, user) = (self.attempt.queue, self.attempt.leaf_user);
        let mut size = 0;
        for partition in &scheduler.partitions {
            self.steps += 1;
            let own = self.attempt.share(partition.number);
            let is_used = own.is_some_and(|own| !own.used.is_zero() || own.pending_keys > 0);
            if partition.number > 0 && !is_used {
                continue;
            }
            let share = partition.share(queue);
            let Some(leaf) = share.leaf.as_deref() else { continue };
            let more = 64 + partition.label.len() + 12 * scheduler.size_of_resource();
            if size + more > PAGE_SIZE_MAX / 2 {
                break;
            }
            size += more;
            let of_user = leaf.user(user);
            let limits = partition.limits(&scheduler.queues, &scheduler.measures, queue);
            let limit = partition.compute_user_limit(&scheduler.queues, &scheduler.measures, queue);
            let weight = of_user.map_or(1.0, |user| user.weight);
            let wire = |amount: &_| scheduler.wire_resource(amount);
            told.push(PartitionExplanation {
                partition: partition.label.to_string(),
                used: own.map(|own| wire(&own.used.minus(&own.reserved))).unwrap_or_default(),
                reserved: own.map(|own| wire(&own.reserved)).unwrap_or_default(),
                pending: own.map(|own| wire(&own.pending.to_vector())).unwrap_or_default(),
                user_used: of_user.map(|user| wire(&user.used)).unwrap_or_default(),
                user_limit: wire(&limits.weighted_user_limit(&limit, weight)),
                queue_used: wire(&share.used),
                queue_guaranteed: wire(&share.capacity.effective_min),
                queue_maximum: wire(&share.capacity.effective_max),
                am_used: wire(&leaf.am_used),
                am_limit: wire(&scheduler.am_limits((queue, user), partition.number).0),
                nodes: partition.usable_nodes,
                free: wire(&partition.total.minus(&partition.share(0).used)),
            });
        }
        size
    }
}

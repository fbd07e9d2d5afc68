//! What queues and users of a partition use, and what follows: their order, the users' limits, who is over them.
//! Owns: every change of `used`. Called by: grants, ends, reservations, moves; on the scheduler's thread.
//! Does not: know containers; it is told amounts. Invariants: `used` of a queue is the sum over those below it; children
//! are in the order of what they use; a user that was found over its limit is out of the order until it is not.

use super::super::calculator::FixedShare;
use super::super::capacity::QueueOrderKey;
use super::super::limits::UserLimitInput;
use super::super::queue::{LeafUserIndex, QueueIndex, Queues};
use super::super::resource::ResourceVector;
use super::super::share::LeafShare;
use super::{Measures, Partition};
use crate::engine::time::Instant;

impl Partition {
    /// Charges a leaf and its parents, and the user, with `size` more or less.
    #[inline]
    pub(in crate::engine::scheduler) fn charge(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        (queue, user): (QueueIndex, LeafUserIndex),
        size: &ResourceVector,
        is_more: bool,
    ) {
        let calculator = measures.calculator;
        for index in &queues.get(queue).chain {
            let used = &mut self.shares[*index as usize].used;
            if is_more {
                used.add(size);
            } else {
                used.subtract(size);
            }
            // The root has no siblings to stand among.
            let Some(parent) = queues.settings(*index).parent else { continue };
            let key = self.order_key(queues, measures, *index);
            if let Some(before) = self.shares[*index as usize].order.replace(key) {
                reposition(&mut self.shares[parent as usize].children, (before, *index), (key, *index));
            }
        }
        let total = &self.total;
        let Some(leaf) = self.shares[queue as usize].leaf.as_deref_mut() else { return };
        if leaf.users.len() <= user as usize {
            leaf.user_mut(user, queues.leaf(queue).map_or(1.0, |leaf| leaf.users[user as usize].weight));
        }
        if is_more {
            leaf.containers += 1;
            leaf.short_since = None;
        } else {
            leaf.containers = leaf.containers.saturating_sub(1);
        }
        // Fields of the leaf are borrowed one by one from here on.
        let LeafShare { users, users_share, active_used, parked, .. } = &mut *leaf;
        let of_user = &mut users[user as usize];
        let is_active = of_user.demanding > 0;
        if is_more {
            of_user.used.add(size);
        } else {
            of_user.used.subtract(size);
        }
        let share = FixedShare::nearest(calculator.ratio(&of_user.used, total));
        let before = core::mem::replace(&mut of_user.share, share);
        users_share.subtract(before);
        users_share.add(share);
        if is_active {
            if is_more {
                active_used.add(size);
            } else {
                active_used.subtract(size);
            }
        }
        if let Some((since, before)) = of_user.parked {
            let key = park_key(measures, total, &of_user.used, of_user.weight);
            of_user.parked = Some((since, key));
            parked.remove(&(before, user));
            parked.insert((key, user));
        }
        leaf.user_limit = None;
        if !is_more {
            leaf.limit_block = None;
            leaf.user_limit_was = None;
            self.is_dirty = true;
        }
        if !leaf.parked.is_empty() {
            self.let_users_back(queues, measures, queue);
        }
    }

    /// A user's active attempts with outstanding asks are one more or one less.
    pub(in crate::engine::scheduler) fn count_demanding(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        (queue, user): (QueueIndex, LeafUserIndex),
        is_more: bool,
    ) {
        let weight = queues.leaf(queue).map_or(1.0, |leaf| leaf.users[user as usize].weight);
        let Some(leaf) = self.leaf_mut(queue) else { return };
        let of_user = leaf.user_mut(user, weight);
        let was_active = of_user.demanding > 0;
        of_user.demanding = if is_more { of_user.demanding + 1 } else { of_user.demanding.saturating_sub(1) };
        let is_active = of_user.demanding > 0;
        if was_active == is_active {
            return;
        }
        let used = of_user.used.clone();
        if is_active {
            leaf.active_used.add(&used);
            leaf.active_weight += weight;
            leaf.active_users += 1;
        } else {
            leaf.active_used.subtract(&used);
            leaf.active_users -= 1;
            // Exactly 0 where nobody is left: sums of fractions drift.
            leaf.active_weight = if leaf.active_users == 0 { 0.0 } else { leaf.active_weight - weight };
        }
        leaf.user_limit = None;
        leaf.user_limit_was = None;
        self.let_users_back(queues, measures, queue);
    }

    /// The limit of a user of weight 1 in a leaf, computed; not rounded up.
    fn exact_user_limit(&self, queues: &Queues, measures: &Measures, queue: QueueIndex) -> ResourceVector {
        let Some(leaf) = self.leaf(queue) else { return ResourceVector::ZERO };
        let input = UserLimitInput {
            users_share: leaf.users_share,
            active_used: &leaf.active_used,
            active_weight: leaf.active_weight.max(f64::MIN_POSITIVE),
            ignores_exclusivity: false,
        };
        self.limits(queues, measures, queue).exact_user_limit(&input)
    }

    /// The limit of a user of weight 1 in a leaf, computed.
    pub(in crate::engine::scheduler) fn compute_user_limit(
        &self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
    ) -> ResourceVector {
        let exact = self.exact_user_limit(queues, measures, queue);
        self.limits(queues, measures, queue).whole_user_limit(&exact)
    }

    /// The same, remembered until something it depends on changes.
    pub(in crate::engine::scheduler) fn user_limit(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
    ) -> ResourceVector {
        if let Some(limit) = self.leaf(queue).and_then(|leaf| leaf.user_limit.as_ref()) {
            return limit.clone();
        }
        let exact = self.exact_user_limit(queues, measures, queue);
        let limit = self.limits(queues, measures, queue).whole_user_limit(&exact);
        if let Some(leaf) = self.leaf_mut(queue) {
            leaf.user_limit = Some(limit.clone());
            leaf.user_limit_was = Some(exact);
        }
        limit
    }

    /// A user's own limit.
    pub(in crate::engine::scheduler) fn limit_of_user(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
        weight: f64,
    ) -> ResourceVector {
        let limit = self.user_limit(queues, measures, queue);
        self.limits(queues, measures, queue).weighted_user_limit(&limit, weight)
    }

    /// Whether a user uses more than its limit.
    #[inline]
    pub(in crate::engine::scheduler) fn is_over_limit(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
        user: LeafUserIndex,
    ) -> bool {
        let Some(leaf) = self.leaf(queue) else { return true };
        let Some(of_user) = leaf.user(user) else { return false };
        let (used, weight) = (&of_user.used, of_user.weight);
        if weight >= 1.0 {
            if measures.calculator.fits_in(used, &leaf.least_user_limit) {
                return false;
            }
            let was = leaf.user_limit_was.as_ref();
            if was.is_some_and(|was| !measures.calculator.exceeds(&self.total, used, was)) {
                return false;
            }
        }
        let used = used.clone();
        let limit = self.limit_of_user(queues, measures, queue, weight);
        measures.calculator.exceeds(&self.total, &used, &limit)
    }

    /// Takes a user that is over its limit out of the order.
    pub(in crate::engine::scheduler) fn park(
        &mut self,
        now: Instant,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
        user: LeafUserIndex,
    ) {
        let total = &self.total;
        let mut changes = core::mem::take(&mut self.changes);
        if let Some(leaf) = self.shares[queue as usize].leaf.as_deref_mut()
            && let Some(of_user) = leaf.user(user)
        {
            let key = park_key(measures, total, &of_user.used, of_user.weight);
            leaf.set_parked(user, Some((now, key)), &mut changes);
        }
        for (shape, is_offered) in changes.drain(..) {
            self.offer(queues, measures, queue, shape, is_offered);
        }
        self.changes = changes;
    }

    /// Lets users back into the order that are not over the limit any more.
    pub(in crate::engine::scheduler) fn let_users_back(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
    ) {
        if self.leaf(queue).is_none_or(|leaf| leaf.parked.is_empty()) {
            return;
        }
        let limit = self.user_limit(queues, measures, queue);
        // One more: a quotient may round down.
        let most = park_key(measures, &self.total, &limit, 1.0).saturating_add(1);
        let parked: Vec<LeafUserIndex> = match self.leaf(queue) {
            Some(leaf) => leaf.parked.range(..=(most, LeafUserIndex::MAX)).map(|(_, user)| *user).collect(),
            None => return,
        };
        let mut changes = core::mem::take(&mut self.changes);
        for user in parked {
            let Some((used, weight)) = self
                .leaf(queue)
                .and_then(|leaf| leaf.user(user))
                .map(|of_user| (of_user.used.clone(), of_user.weight))
            else {
                continue;
            };
            let limit = self.limits(queues, measures, queue).weighted_user_limit(&limit, weight);
            if measures.calculator.exceeds(&self.total, &used, &limit) {
                continue;
            }
            if let Some(leaf) = self.leaf_mut(queue) {
                leaf.set_parked(user, None, &mut changes);
            }
            self.is_dirty = true;
        }
        for (shape, is_offered) in changes.drain(..) {
            self.offer(queues, measures, queue, shape, is_offered);
        }
        self.changes = changes;
    }
}

/// Order of parked users: the share of the partition over the weight.
pub(super) fn park_key(
    measures: &Measures,
    total: &ResourceVector,
    used: &ResourceVector,
    weight: f64,
) -> u64 {
    (measures.calculator.max_share(total, used).value() / weight.max(f64::MIN_POSITIVE) * (1u64 << 32) as f64)
        as u64
}

/// Moves a child to its new place among its sorted siblings; children rarely move far.
#[inline]
fn reposition(
    children: &mut [(QueueOrderKey, QueueIndex)],
    before: (QueueOrderKey, QueueIndex),
    after: (QueueOrderKey, QueueIndex),
) {
    if before == after {
        return;
    }
    let Ok(place) = children.binary_search(&before) else { return };
    children[place] = after;
    if after > before {
        let end = place + 1 + children[place + 1..].partition_point(|other| *other < after);
        children[place..end].rotate_left(1);
    } else {
        let start = children[..place].partition_point(|other| *other < after);
        children[start..=place].rotate_right(1);
    }
}

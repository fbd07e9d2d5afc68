//! A queue's part in one partition: what it has, what it may have, what it wants.
//! Owns: [`QueueShare`], [`LeafShare`], [`UserShare`]. Called by: `partition`, which keeps them consistent with each other
//! and with shapes; read by placement, activation, queries, explain. Thread: the scheduler's.
//! Does not: know nodes, or other partitions.
//! Invariants: `used` of a parent is the sum of its children's, of a leaf the sum of its users'; a leaf offers the shapes
//! for which it has a user that is below its limit and that may be placed some day; a parent offers what a child offers.

use std::collections::{BTreeMap, BTreeSet};

use super::attempt::AppKey;
use super::calculator::FixedShare;
use super::capacity::{EffectiveCapacity, QueueOrderKey};
use super::local_order::LocalOrder;
use super::queue::{LeafUserIndex, QueueIndex};
use super::resource::ResourceVector;
use super::resource_sum::ResourceSum;
use super::shape::{ShapeId, ShapeSet};
use crate::engine::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct QueueShare {
    /// Live containers and reservations.
    pub(super) used: ResourceVector,
    /// Reservations.
    pub(super) reserved: ResourceVector,
    /// Guarantee, bound, and what is derived from them.
    pub(super) capacity: EffectiveCapacity,
    /// Its place among its siblings.
    pub(super) order: Option<QueueOrderKey>,
    /// Its children in order.
    pub(super) children: Vec<(QueueOrderKey, QueueIndex)>,
    /// Shapes that reach any node and that it offers.
    pub(super) offers: ShapeSet,
    /// By bit: how many children offer it.
    offering_children: Vec<u32>,
    /// Open shapes of racks and hosts that it offers, summed over its leaves.
    pub(super) open_local: u32,
    /// Of a leaf.
    pub(super) leaf: Option<Box<LeafShare>>,
}

impl QueueShare {
    /// Counts a child that begins or ceases to offer a shape; true where the queue itself does so now.
    pub(super) fn count_offer(&mut self, bit: u32, is_offered: bool) -> bool {
        let index = bit as usize;
        if self.offering_children.len() <= index {
            self.offering_children.resize(index + 1, 0);
        }
        let count = &mut self.offering_children[index];
        if is_offered {
            *count += 1;
            if *count > 1 {
                return false;
            }
        } else {
            *count -= 1;
            if *count > 0 {
                return false;
            }
        }
        self.offers.set(bit, is_offered);
        true
    }
}

/// Why a leaf is given nothing although it wants something, besides room on nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LimitBlock {
    /// The queue whose bound is reached: the leaf or one above it.
    pub(super) queue: QueueIndex,
    /// The size that does not fit below it.
    pub(super) wanted: ResourceVector,
    /// Since when.
    pub(super) since: Instant,
}

/// What only leaves have.
#[derive(Debug, Default)]
pub(super) struct LeafShare {
    /// Outstanding asks.
    pub(super) pending: ResourceSum,
    /// Containers outstanding asks want.
    pub(super) pending_containers: u64,
    /// Live containers and reservations.
    pub(super) containers: u32,
    /// Of them, reservations.
    pub(super) reservations: u32,
    /// Since when the queue's or a parent's bound keeps back what comes first; a grant in the leaf ends it.
    pub(super) short_since: Option<Instant>,
    /// AM containers.
    pub(super) am_used: ResourceVector,
    /// Users, by their index in the leaf.
    pub(super) users: Vec<UserShare>,
    /// By shape: the first attempt of each user that is below its limit.
    pub(super) demand: BTreeMap<ShapeId, BTreeSet<(AppKey, LeafUserIndex)>>,
    /// Of `demand`, what is not offered because it could never be placed: larger than the bound, or than every node.
    pub(super) hopeless: BTreeSet<ShapeId>,
    /// Open shapes of racks and hosts that are offered.
    pub(super) open_local: LocalOrder,
    /// Σ of the users' shares of the partition.
    pub(super) users_share: FixedShare,
    /// Σ used of users with demand.
    pub(super) active_used: ResourceVector,
    /// Σ weight of the same.
    pub(super) active_weight: f64,
    /// How many they are.
    pub(super) active_users: u32,
    /// Limit of a user of weight 1; `None` = to be computed.
    pub(super) user_limit: Option<ResourceVector>,
    /// What the limit never falls below while the partition stays as it is.
    pub(super) least_user_limit: ResourceVector,
    /// Users over their limit, by used share over weight.
    pub(super) parked: BTreeSet<(u64, LeafUserIndex)>,
    /// The bound that keeps the first of it back; stays until usage, demand or the bound changes.
    pub(super) limit_block: Option<LimitBlock>,
    /// What the limit of a user of weight 1 was, not rounded up. Until somebody uses less, or others want something, it
    /// only grows: who uses no more than this is not over it.
    pub(super) user_limit_was: Option<ResourceVector>,
    /// Emptied sets, with their memory: demand that comes and goes allocates nothing.
    spare_wanted: Vec<BTreeSet<AppKey>>,
    /// The same, of `demand`.
    spare_firsts: Vec<BTreeSet<(AppKey, LeafUserIndex)>>,
}

/// Most emptied sets a leaf keeps.
const SPARE_MAX: usize = 8;

/// A user's part in a leaf.
#[derive(Debug)]
pub(super) struct UserShare {
    /// Live containers and reservations.
    pub(super) used: ResourceVector,
    /// Reservations.
    pub(super) reserved: ResourceVector,
    /// AM containers.
    pub(super) am_used: ResourceVector,
    /// Its weight.
    pub(super) weight: f64,
    /// Its used share of the partition, as it went into the leaf's sum.
    pub(super) share: FixedShare,
    /// Active attempts with outstanding asks.
    pub(super) demanding: u32,
    /// Over its limit: since when, and the key it is parked under.
    pub(super) parked: Option<(Instant, u64)>,
    /// By shape: its attempts that want it, in the leaf's order.
    pub(super) wanted: BTreeMap<ShapeId, BTreeSet<AppKey>>,
}

impl Default for UserShare {
    fn default() -> Self {
        Self {
            used: ResourceVector::ZERO,
            reserved: ResourceVector::ZERO,
            am_used: ResourceVector::ZERO,
            weight: 1.0,
            share: FixedShare::ZERO,
            demanding: 0,
            parked: None,
            wanted: BTreeMap::new(),
        }
    }
}

impl LeafShare {
    /// A user's part; made where there is none.
    pub(super) fn user_mut(&mut self, user: LeafUserIndex, weight: f64) -> &mut UserShare {
        let index = user as usize;
        if self.users.len() <= index {
            self.users.resize_with(index + 1, UserShare::default);
        }
        let share = &mut self.users[index];
        share.weight = weight;
        share
    }

    /// A user's part.
    pub(super) fn user(&self, user: LeafUserIndex) -> Option<&UserShare> {
        self.users.get(user as usize)
    }

    /// The first attempt for a shape among users below their limit.
    #[inline]
    pub(super) fn first(&self, shape: ShapeId) -> Option<(AppKey, LeafUserIndex)> {
        self.demand.get(&shape).and_then(|firsts| firsts.first()).copied()
    }

    /// Changes what a user wants of one shape. Returns whether the leaf begins (`Some(true)`) or ceases to offer it.
    pub(super) fn change_wanted(
        &mut self,
        user: LeafUserIndex,
        shape: ShapeId,
        change: impl FnOnce(&mut BTreeSet<AppKey>),
    ) -> Option<bool> {
        let share = &mut self.users[user as usize];
        let spare = &mut self.spare_wanted;
        let wanted = share.wanted.entry(shape).or_insert_with(|| spare.pop().unwrap_or_default());
        let before = wanted.first().copied();
        change(wanted);
        let after = wanted.first().copied();
        if after.is_none()
            && let Some(emptied) = share.wanted.remove(&shape)
            && spare.len() < SPARE_MAX
        {
            spare.push(emptied);
        }
        if share.parked.is_some() || before == after {
            return None;
        }
        self.change_first(user, shape, before, after)
    }

    fn change_first(
        &mut self,
        user: LeafUserIndex,
        shape: ShapeId,
        before: Option<AppKey>,
        after: Option<AppKey>,
    ) -> Option<bool> {
        let spare = &mut self.spare_firsts;
        let firsts = self.demand.entry(shape).or_insert_with(|| spare.pop().unwrap_or_default());
        let was_offered = !firsts.is_empty();
        if let Some(before) = before {
            firsts.remove(&(before, user));
        }
        if let Some(after) = after {
            firsts.insert((after, user));
        }
        let is_offered = !firsts.is_empty();
        self.open_local.touch(shape);
        if !is_offered
            && let Some(emptied) = self.demand.remove(&shape)
            && spare.len() < SPARE_MAX
        {
            spare.push(emptied);
        }
        (was_offered != is_offered).then_some(is_offered)
    }

    /// Takes a user out of the order (`parked`) or back in; tells of each shape whose offer begins or ceases.
    pub(super) fn set_parked(
        &mut self,
        user: LeafUserIndex,
        parked: Option<(Instant, u64)>,
        changes: &mut Vec<(ShapeId, bool)>,
    ) {
        let share = &mut self.users[user as usize];
        if share.parked.is_some() == parked.is_some() {
            return;
        }
        let firsts: Vec<(ShapeId, AppKey)> = share
            .wanted
            .iter()
            .filter_map(|(shape, wanted)| wanted.first().map(|first| (*shape, *first)))
            .collect();
        if let Some((_, key)) = share.parked {
            self.parked.remove(&(key, user));
        }
        self.users[user as usize].parked = parked;
        if let Some((_, key)) = parked {
            self.parked.insert((key, user));
        }
        for (shape, first) in firsts {
            let (before, after) = if parked.is_some() { (Some(first), None) } else { (None, Some(first)) };
            if let Some(is_offered) = self.change_first(user, shape, before, after) {
                changes.push((shape, is_offered));
            }
        }
    }
}

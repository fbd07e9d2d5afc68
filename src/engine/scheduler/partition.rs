//! One partition of the cluster (a node label's nodes): its room, its queues' shares of it, what is wanted of it.
//! Owns: [`Partition`]. Called by: every part of the scheduler, one partition at a time; on its thread.
//! Does not: know other partitions, containers or asks; it is told amounts, shapes and places in the order.
//! Invariants: `total` is the sum of the capability of its counted nodes; every closed shape fits nowhere in it; a shape is
//! offered by a queue exactly when a leaf at or below it wants it for a user that is below its limit, and its bound and
//! some node are large enough.

mod nodes;
mod offers;
mod usage;

use std::collections::{BTreeMap, BTreeSet};

use super::calculator::{Calculator, FixedShare};
use super::capacity::{CapacityRules, QueueOrderKey};
use super::demand::MIN_KEY;
use super::limits::{QueueLimits, UserLimitInput};
use super::names::NameId;
use super::node_index::NodeIndex;
use super::queue::{LeafUserIndex, QueueIndex, Queues};
use super::reservation::Look;
use super::resource::ResourceVector;
use super::shape::{BySize, ShapeId, Shapes};
use super::share::{LeafShare, QueueShare};
use super::sharing::Guest;
use super::strict::StrictAsk;
use usage::park_key;

/// How amounts are compared, and the least container: the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Measures {
    /// Memory, or the dominant share.
    pub(super) calculator: Calculator,
    /// The least container, and the step of sizes.
    pub(super) minimum: ResourceVector,
    /// The largest container.
    pub(super) maximum: ResourceVector,
    /// Resource types.
    pub(super) types: usize,
}

/// The groups of slots that belong to a rack.
#[derive(Debug, Default)]
struct Rack {
    groups: Vec<u32>,
    free_slots: Vec<u32>,
    nodes: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Partition {
    /// Its number.
    pub(super) number: u16,
    /// The label; `""` = the default partition.
    pub(super) label: Box<str>,
    /// Whether only asks for the label may use its nodes.
    pub(super) is_exclusive: bool,
    /// Its label was removed from the cluster: it has no nodes, and what was asked in it waits for the label to return.
    pub(super) is_removed: bool,
    /// Capability of its nodes, without UNHEALTHY ones.
    pub(super) total: ResourceVector,
    /// Nodes counted in it.
    pub(super) nodes: u32,
    /// Of them, those that may be given containers.
    pub(super) usable_nodes: u32,
    /// Shapes of demand.
    pub(super) shapes: Shapes,
    /// By queue.
    pub(super) shares: Vec<QueueShare>,
    /// Its size changed: capacities are to be computed anew.
    pub(super) is_resized: bool,
    /// Something happened that may let something be placed.
    pub(super) is_dirty: bool,
    /// Attempts out of the order for shapes that they are to be looked at for again.
    pub(super) restored: Vec<(ShapeId, u32)>,
    /// Nodes that walks may still pass in this step.
    pub(super) rejections_left: u32,
    /// A guest's walk goes on with the next step.
    pub(super) is_guest_put_off: bool,
    /// Steps that are still passed before nodes are held again at the end of one.
    pub(super) reserve_after: u32,
    /// How many the next fruitless try is followed by.
    pub(super) reserve_pause: u32,
    /// Shapes for which no node could be held in this step.
    pub(super) unreservable: Vec<ShapeId>,
    /// Nodes that may still begin to be held in this step.
    pub(super) holds_left: u32,
    /// Looks for a node to hold, in this step.
    pub(super) looks: Vec<Look>,
    /// Asks that no wait takes further than some hosts or racks.
    pub(super) strict: BTreeSet<StrictAsk>,
    /// Where the next look at them begins.
    pub(super) strict_from: StrictAsk,
    /// The next node is held for one of them, if one may hold it.
    pub(super) is_strict_next: bool,
    /// Asks without a label that may use its idle nodes, by shape.
    pub(super) guests: BTreeMap<ShapeId, BTreeSet<Guest>>,
    /// Reservations on its nodes.
    pub(super) reserved_nodes: u32,
    /// How many of its counted nodes have which capability: sizes are few.
    sizes: BTreeMap<BySize, u32>,
    /// One of them went since capacities were computed.
    lost_size: bool,
    /// No container is more than this, type by type: the largest nodes, as of when capacities were computed.
    pub(super) largest_node: ResourceVector,
    index: NodeIndex,
    /// By slot: the node.
    slots: Vec<u32>,
    racks: BTreeMap<NameId, Rack>,
    free_groups: Vec<u32>,
    cursor: usize,
    /// Amounts that were free nowhere, each with every slot that may have as much since, ascending.
    scarce: Vec<(ResourceVector, Vec<u32>)>,
    rules: CapacityRules,
    /// Reused: offers that changed while a user was parked or came back.
    changes: Vec<(ShapeId, bool)>,
}

impl Partition {
    /// Without nodes.
    pub(super) fn new(
        number: u16,
        label: &str,
        is_exclusive: bool,
        queues: &Queues,
        measures: &Measures,
    ) -> Self {
        let types = match measures.calculator {
            Calculator::Memory => 1,
            Calculator::Dominant => measures.types,
        };
        let mut partition = Self {
            number,
            label: label.into(),
            is_exclusive,
            is_removed: false,
            total: ResourceVector::ZERO,
            nodes: 0,
            usable_nodes: 0,
            shapes: Shapes::default(),
            shares: Vec::new(),
            is_resized: false,
            is_dirty: false,
            restored: Vec::new(),
            rejections_left: 0,
            is_guest_put_off: false,
            reserve_after: 0,
            reserve_pause: 0,
            unreservable: Vec::new(),
            holds_left: 0,
            looks: Vec::new(),
            strict: BTreeSet::new(),
            strict_from: (0, MIN_KEY),
            is_strict_next: true,
            guests: BTreeMap::new(),
            reserved_nodes: 0,
            sizes: BTreeMap::new(),
            lost_size: false,
            largest_node: ResourceVector::ZERO,
            index: NodeIndex::new(types),
            slots: Vec::new(),
            racks: BTreeMap::new(),
            free_groups: Vec::new(),
            cursor: 0,
            scarce: Vec::new(),
            rules: CapacityRules::new(&queues.tree, label),
            changes: Vec::new(),
        };
        partition.shares.resize_with(queues.len(), QueueShare::default);
        for (index, share) in partition.shares.iter_mut().enumerate() {
            if queues.leaf(index as QueueIndex).is_some() {
                share.leaf = Some(Box::default());
            }
        }
        partition.refresh(queues, measures);
        partition
    }

    /// Looks for nodes to hold with the next step again: something is asked for, or possible, that the last look did not see.
    pub(super) const fn look_again_for_nodes_to_hold(&mut self) {
        (self.reserve_after, self.reserve_pause) = (0, 0);
    }

    /// Recomputes what depends on the partition's size and the queues' settings. O(queues × types).
    pub(super) fn refresh(&mut self, queues: &Queues, measures: &Measures) {
        let effective = self.rules.effective(measures.calculator, &self.total, &measures.minimum);
        self.largest_node =
            self.sizes.keys().fold(ResourceVector::ZERO, |largest, of| largest.component_max(&of.0));
        let has_lost = core::mem::take(&mut self.lost_size);
        let mut grown = Vec::with_capacity(self.shares.len());
        for (share, capacity) in self.shares.iter_mut().zip(effective) {
            grown.push(!has_lost && share.capacity.effective_max.fits_in(&capacity.effective_max));
            share.capacity = capacity;
            share.children.clear();
        }
        for index in 0..self.shares.len() as QueueIndex {
            let key = self.order_key(queues, measures, index);
            self.shares[index as usize].order = Some(key);
            if let Some(parent) = queues.settings(index).parent {
                self.shares[parent as usize].children.push((key, index));
            }
            self.refresh_leaf(queues, measures, index);
            self.reconsider(queues, measures, index, grown[index as usize]);
        }
        for share in &mut self.shares {
            share.children.sort_unstable();
        }
        self.is_dirty = true;
        self.look_again_for_nodes_to_hold();
    }

    fn refresh_leaf(&mut self, queues: &Queues, measures: &Measures, queue: QueueIndex) {
        let total = &self.total;
        let Some(leaf) = self.shares[queue as usize].leaf.as_deref_mut() else { return };
        leaf.users_share = FixedShare::ZERO;
        leaf.parked.clear();
        for (index, user) in leaf.users.iter_mut().enumerate() {
            user.share = FixedShare::nearest(measures.calculator.ratio(&user.used, total));
            leaf.users_share.add(user.share);
            if let Some((_, key)) = &mut user.parked {
                *key = park_key(measures, total, &user.used, user.weight);
                leaf.parked.insert((*key, index as LeafUserIndex));
            }
        }
        leaf.user_limit = None;
        leaf.user_limit_was = None;
        leaf.limit_block = None;
        let input = UserLimitInput {
            users_share: FixedShare::ZERO,
            active_used: &ResourceVector::ZERO,
            active_weight: f64::MAX,
            ignores_exclusivity: false,
        };
        let least = self.limits(queues, measures, queue).user_limit(&input);
        if let Some(leaf) = self.leaf_mut(queue) {
            leaf.least_user_limit = least;
        }
        self.let_users_back(queues, measures, queue);
    }

    /// The queues' settings were replaced; indices are those of the new tree.
    pub(super) fn set_rules(&mut self, queues: &Queues, measures: &Measures) {
        self.rules = CapacityRules::new(&queues.tree, &self.label);
        self.refresh(queues, measures);
    }

    /// The formulas of a queue's limits.
    pub(super) fn limits<'a>(
        &'a self,
        queues: &Queues,
        measures: &'a Measures,
        queue: QueueIndex,
    ) -> QueueLimits<'a> {
        let settings = queues.settings(queue);
        let capacity = &self.shares[queue as usize].capacity;
        QueueLimits {
            calculator: measures.calculator,
            partition: &self.total,
            minimum_allocation: &measures.minimum,
            effective_min: &capacity.effective_min,
            effective_max: &capacity.effective_max,
            maximum_am_resource_fraction: capacity.maximum_am_resource_fraction,
            minimum_user_limit_percent: settings.minimum_user_limit_percent,
            user_limit_factor: settings.user_limit_factor,
        }
    }

    #[inline]
    fn order_key(&self, queues: &Queues, measures: &Measures, queue: QueueIndex) -> QueueOrderKey {
        let share = &self.shares[queue as usize];
        let settings = queues.settings(queue);
        let order =
            settings.parent.map_or(settings.queue_order, |parent| queues.settings(parent).queue_order);
        let calculator = measures.calculator;
        let has_guarantee = share.capacity.absolute_capacity > 0.0;
        let used = if has_guarantee {
            share.capacity.used_capacity(calculator, &self.total, &share.used)
        } else {
            calculator.max_share(&self.total, &share.used)
        };
        QueueOrderKey::new(order, &share.capacity, settings.priority, used, used)
    }

    /// A queue's share.
    #[inline]
    pub(super) fn share(&self, queue: QueueIndex) -> &QueueShare {
        &self.shares[queue as usize]
    }

    /// A leaf's share.
    #[inline]
    pub(super) fn leaf(&self, queue: QueueIndex) -> Option<&LeafShare> {
        self.shares[queue as usize].leaf.as_deref()
    }

    /// A leaf's share.
    #[inline]
    pub(super) fn leaf_mut(&mut self, queue: QueueIndex) -> Option<&mut LeafShare> {
        self.shares[queue as usize].leaf.as_deref_mut()
    }
}

//! One partition of the cluster (a node label's nodes): its room, its queues' shares of it, what is wanted of it.
//! Owns: [`Partition`]. Called by: every part of the scheduler, one partition at a time; on its thread.
//! Does not: know other partitions, containers or asks; it is told amounts, shapes and places in the order.
//! Invariants: `total` is the sum of the capability of its counted nodes; every closed shape fits nowhere in it; a shape is
//! offered by a queue exactly when a leaf at or below it wants it for a user that is below its limit.

use std::collections::{BTreeMap, BTreeSet};

use super::attempt::AppKey;
use super::calculator::{Calculator, FixedShare};
use super::capacity::{CapacityRules, QueueOrderKey};
use super::limits::{QueueLimits, UserLimitInput};
use super::names::NameId;
use super::node_index::{FANOUT, NodeIndex};
use super::queue::{LeafUserIndex, QueueIndex, Queues};
use super::resource::ResourceVector;
use super::shape::{BySize, Reach, Shape, ShapeId, Shapes};
use super::share::{LeafShare, QueueShare};
use super::sharing::Guest;
use crate::engine::time::Instant;

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

/// Most amounts a partition remembers to be free nowhere.
const SCARCE_MAX: usize = 16;

/// Most slots that may have one of them since; beyond, it is looked for everywhere again.
const SCARCE_SLOTS_MAX: usize = 32;

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
    /// Attempts set aside for shapes that may be looked at again.
    pub(super) restored: Vec<(ShapeId, u32)>,
    /// Steps that are still passed before nodes are held again at the end of one.
    pub(super) reserve_after: u32,
    /// How many the next fruitless try is followed by.
    pub(super) reserve_pause: u32,
    /// Shapes for which no node could be held in this step.
    pub(super) unreservable: Vec<ShapeId>,
    /// Asks without a label that may use its idle nodes, by shape.
    pub(super) guests: BTreeMap<ShapeId, BTreeSet<Guest>>,
    /// Reservations on its nodes.
    pub(super) reserved_nodes: u32,
    /// How many of its counted nodes have which capability, for explanations: sizes are few.
    sizes: BTreeMap<BySize, u32>,
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
            reserve_after: 0,
            reserve_pause: 0,
            unreservable: Vec::new(),
            guests: BTreeMap::new(),
            reserved_nodes: 0,
            sizes: BTreeMap::new(),
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

    /// Recomputes what depends on the partition's size and the queues' settings. O(queues × types).
    pub(super) fn refresh(&mut self, queues: &Queues, measures: &Measures) {
        let effective = self.rules.effective(measures.calculator, &self.total, &measures.minimum);
        for (share, capacity) in self.shares.iter_mut().zip(effective) {
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
        }
        for share in &mut self.shares {
            share.children.sort_unstable();
        }
        self.is_dirty = true;
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

    // Nodes

    /// A slot for a node of a rack.
    pub(super) fn add_slot(&mut self, rack: NameId, node: u32) -> u32 {
        let of = self.racks.entry(rack).or_default();
        of.nodes += 1;
        if of.free_slots.is_empty() {
            let group = self.free_groups.pop().unwrap_or_else(|| {
                let first = self.index.add_group();
                self.slots.resize(first + FANOUT, u32::MAX);
                (first / FANOUT) as u32
            });
            of.groups.push(group);
            let first = group * FANOUT as u32;
            of.free_slots.extend((first..first + FANOUT as u32).rev());
        }
        let slot = of.free_slots.pop().unwrap_or_default();
        self.slots[slot as usize] = node;
        slot
    }

    /// Gives a slot back.
    pub(super) fn remove_slot(&mut self, rack: NameId, slot: u32) {
        self.index.set(slot as usize, None);
        self.slots[slot as usize] = u32::MAX;
        let Some(of) = self.racks.get_mut(&rack) else { return };
        of.nodes -= 1;
        of.free_slots.push(slot);
        if of.nodes == 0 {
            self.free_groups.append(&mut of.groups);
            self.racks.remove(&rack);
        }
    }

    /// Adds a node's capability to the sums, or takes it out.
    pub(super) fn count_node(&mut self, capability: &ResourceVector, is_in: bool) {
        let key = BySize(capability.clone());
        if is_in {
            self.total.add(capability);
            self.nodes += 1;
            *self.sizes.entry(key).or_default() += 1;
            return;
        }
        self.total.subtract(capability);
        self.nodes -= 1;
        if let Some(count) = self.sizes.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.sizes.remove(&key);
            }
        }
    }

    /// How many counted nodes could hold `size` were they empty. O(different capabilities).
    pub(super) fn nodes_as_large(&self, calculator: Calculator, size: &ResourceVector) -> u32 {
        let large = self.sizes.iter().filter(|(of, _)| calculator.fits_in(size, &of.0));
        large.map(|(_, count)| *count).sum()
    }

    /// How many different capabilities its counted nodes have.
    pub(super) fn size_count(&self) -> usize {
        self.sizes.len()
    }

    /// The most that is free of each counting type on a node that may be given containers. O(1).
    pub(super) fn most_free(&self) -> ResourceVector {
        self.index.most()
    }

    /// The node of a slot.
    #[inline]
    pub(super) fn node_at(&self, slot: usize) -> u32 {
        self.slots[slot]
    }

    /// What is free in a slot is less than before.
    #[inline]
    pub(super) fn lower_free(&mut self, slot: u32, free: Option<&ResourceVector>) {
        self.index.set(slot as usize, free);
    }

    /// What is free in a slot is more than before: opens the shapes that fit there.
    pub(super) fn raise_free(
        &mut self,
        now: Instant,
        queues: &Queues,
        slot: u32,
        (host, rack): (NameId, NameId),
        free: Option<&ResourceVector>,
    ) {
        self.index.set(slot as usize, free);
        if free.is_none() {
            return;
        }
        let fits = |partition: &Self, shape: ShapeId| {
            let shape = partition.shapes.get(shape);
            !shape.is_open && partition.index.fits(slot as usize, &shape.size)
        };
        let mut opened: Vec<ShapeId> = Vec::new();
        for bit in self.shapes.closed_any().iter() {
            let shape = self.shapes.of_bit(bit);
            if fits(self, shape) {
                opened.push(shape);
            }
        }
        for reach in [Reach::Host(host), Reach::Rack(rack)] {
            opened.extend(self.shapes.of_reach(reach).filter(|shape| fits(self, *shape)));
        }
        let mut again: Vec<ShapeId> = Vec::new();
        for shape in self.shapes.with_aside() {
            if self.index.fits(slot as usize, &self.shapes.get(shape).size) {
                again.push(shape);
            }
        }
        let index = &self.index;
        self.scarce.retain_mut(|(amount, slots)| {
            if !index.fits(slot as usize, amount) {
                return true;
            }
            if let Err(place) = slots.binary_search(&slot) {
                slots.retain(|slot| index.fits(*slot as usize, amount));
                slots.insert(place.min(slots.len()), slot);
                slots.sort_unstable();
            }
            slots.len() <= SCARCE_SLOTS_MAX
        });
        // What was opened by other slots may be placed here too.
        let hinted: Vec<ShapeId> = self
            .shapes
            .open_any()
            .iter()
            .map(|bit| self.shapes.of_bit(bit))
            .filter(|shape| {
                let shape = self.shapes.get(*shape);
                shape.is_hinted && self.index.fits(slot as usize, &shape.size)
            })
            .collect();
        for shape in opened {
            self.set_open(now, queues, shape, true);
            self.shapes.get_mut(shape).is_hinted = true;
            self.shapes.add_hint(shape, slot);
        }
        for shape in hinted {
            self.shapes.add_hint(shape, slot);
        }
        for shape in again {
            let rows = core::mem::take(&mut self.shapes.get_mut(shape).set_aside);
            self.restored.extend(rows.iter().map(|row| (shape, *row)));
            for row in rows {
                self.shapes.take_aside(shape, row);
            }
            self.shapes.take_aside(shape, u32::MAX);
        }
        self.is_dirty = true;
    }

    /// A slot with room for a shape on a node that `accepts`; the search goes on from where the last one ended
    /// (`spread`), or from the first slot. `on_host` are the slots of the shape's host, if it has one.
    #[inline]
    pub(super) fn find_slot(
        &mut self,
        shape: ShapeId,
        spread: bool,
        mut on_host: impl Iterator<Item = usize>,
        accepts: &mut impl FnMut(u32) -> bool,
    ) -> Option<usize> {
        let of = self.shapes.get(shape);
        let (index, slots, size) = (&self.index, &self.slots, &of.size);
        let mut accepts_slot = |slot: usize| accepts(slots[slot]);
        match of.reach {
            Reach::Any => {
                if of.is_hinted {
                    let mut hints = of.hints.iter().map(|slot| *slot as usize);
                    return hints.find(|slot| index.fits(*slot, size) && accepts_slot(*slot));
                }
                let from = if spread && self.cursor < index.len() { self.cursor } else { 0 };
                let found = index.next_fit(size, from, &mut accepts_slot).or_else(|| {
                    let mut accepts_before = |slot| slot < from && accepts_slot(slot);
                    (from > 0).then(|| index.next_fit(size, 0, &mut accepts_before)).flatten()
                });
                if let (Some(slot), true) = (found, spread) {
                    self.cursor = slot + 1;
                }
                found
            }
            Reach::Rack(rack) => {
                let groups = self.racks.get(&rack).map_or(&[] as &[u32], |rack| &rack.groups);
                let in_group =
                    |group: &u32| index.fit_in_group(size, *group as usize * FANOUT, &mut accepts_slot);
                groups.iter().find_map(in_group)
            }
            Reach::Host(_) => on_host.find(|slot| index.fits(*slot, size) && accepts_slot(*slot)),
        }
    }

    /// Whether the index says that this is free in a slot.
    pub(super) fn is_published(&self, slot: u32, free: Option<&ResourceVector>) -> bool {
        self.index.says(slot as usize, free)
    }

    /// What the remembered slots leave out although it has room; for audits. O(slots).
    pub(super) fn forgotten_room(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |what: String, size: &ResourceVector, known: &[u32]| {
            let is_unknown = |slot: &usize| self.index.fits(*slot, size) && !known.contains(&(*slot as u32));
            if let Some(slot) = (0..self.index.len()).find(is_unknown) {
                found.push(format!("partition {:?}: slot {slot} has room for {what}", self.label));
            }
        };
        let hinted = |shape: &Shape| shape.is_hinted && shape.reach == Reach::Any;
        for (_, shape) in self.shapes.iter().filter(|(_, shape)| hinted(shape)) {
            check(format!("{shape:?}"), &shape.size, &shape.hints);
        }
        for (amount, slots) in &self.scarce {
            check(format!("{amount:?}, which is free in {slots:?} only"), amount, slots);
        }
        found
    }

    /// The first node with this much free that `accepts`. What is free nowhere is remembered, so that a full partition is
    /// not searched again and again.
    pub(super) fn any_slot(
        &mut self,
        free: &ResourceVector,
        accepts: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let (index, nodes) = (&self.index, &self.slots);
        if let Some((_, slots)) = self.scarce.iter().find(|(amount, _)| amount.fits_in(free)) {
            let mut fitting = slots.iter().map(|slot| *slot as usize).filter(|slot| index.fits(*slot, free));
            return fitting.find(|slot| accepts(nodes[*slot])).map(|slot| nodes[slot]);
        }
        let mut seen: Vec<u32> = Vec::new();
        let found = index.next_fit(free, 0, &mut |slot| {
            if seen.len() <= SCARCE_SLOTS_MAX {
                seen.push(slot as u32);
            }
            accepts(nodes[slot])
        });
        if found.is_none() && seen.len() <= SCARCE_SLOTS_MAX {
            // It says all that the larger ones say.
            self.scarce.retain(|(amount, _)| !free.fits_in(amount));
            if self.scarce.len() == SCARCE_MAX {
                self.scarce.remove(0);
            }
            self.scarce.push((free.clone(), seen));
        }
        found.map(|slot| nodes[slot])
    }

    // Shapes and offers

    /// Opens or closes a shape.
    pub(super) fn set_open(&mut self, now: Instant, queues: &Queues, shape: ShapeId, is_open: bool) {
        if !self.shapes.set_open(now, shape, is_open) || self.shapes.get(shape).bit.is_some() {
            return;
        }
        for leaf in self.shapes.get(shape).leaves.clone() {
            self.count_open_local(queues, leaf, shape, is_open);
        }
    }

    fn count_open_local(&mut self, queues: &Queues, leaf: QueueIndex, shape: ShapeId, is_more: bool) {
        if let Some(leaf) = self.leaf_mut(leaf) {
            if is_more {
                leaf.open_local.insert(shape);
            } else {
                leaf.open_local.remove(&shape);
            }
        }
        for queue in &queues.get(leaf).chain {
            let count = &mut self.shares[*queue as usize].open_local;
            *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    fn offer(&mut self, queues: &Queues, queue: QueueIndex, shape: ShapeId, is_offered: bool) {
        let of = self.shapes.get_mut(shape);
        if let Some(bit) = of.bit {
            let mut chain = queues.get(queue).chain.iter();
            if let Some(leaf) = chain.next() {
                self.shares[*leaf as usize].offers.set(bit, is_offered);
            }
            for parent in chain {
                if !self.shares[*parent as usize].count_offer(bit, is_offered) {
                    break;
                }
            }
            return;
        }
        if is_offered {
            of.leaves.insert(queue);
        } else {
            of.leaves.remove(&queue);
        }
        if of.is_open {
            self.count_open_local(queues, queue, shape, is_offered);
        }
    }

    /// An attempt wants (or does not want any more) containers of a shape.
    pub(super) fn want(
        &mut self,
        queues: &Queues,
        queue: QueueIndex,
        user: LeafUserIndex,
        shape: ShapeId,
        key: AppKey,
        is_wanted: bool,
    ) {
        let Some(leaf) = self.leaf_mut(queue) else { return };
        let weight = queues.leaf(queue).map_or(1.0, |leaf| leaf.users[user as usize].weight);
        leaf.user_mut(user, weight);
        let change = leaf.change_wanted(user, shape, |wanted| {
            if is_wanted {
                wanted.insert(key);
            } else {
                wanted.remove(&key);
            }
        });
        leaf.limit_block = None;
        if let Some(is_offered) = change {
            self.offer(queues, queue, shape, is_offered);
        }
        self.is_dirty |= is_wanted;
        if is_wanted && !self.shapes.get(shape).is_open {
            (self.reserve_after, self.reserve_pause) = (0, 0);
        }
    }

    // Usage

    /// Charges a leaf and its parents, and the user, with `size` more or less.
    #[inline]
    pub(super) fn charge(
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
            self.is_dirty = true;
        }
        if !leaf.parked.is_empty() {
            self.let_users_back(queues, measures, queue);
        }
    }

    /// A user's attempts with outstanding asks are one more or one less.
    pub(super) fn count_demanding(
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
        self.let_users_back(queues, measures, queue);
    }

    /// The limit of a user of weight 1 in a leaf, computed.
    pub(super) fn compute_user_limit(
        &self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
    ) -> ResourceVector {
        let Some(leaf) = self.leaf(queue) else { return ResourceVector::ZERO };
        let input = UserLimitInput {
            users_share: leaf.users_share,
            active_used: &leaf.active_used,
            active_weight: leaf.active_weight.max(f64::MIN_POSITIVE),
            ignores_exclusivity: false,
        };
        self.limits(queues, measures, queue).user_limit(&input)
    }

    /// The same, remembered until something it depends on changes.
    pub(super) fn user_limit(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
    ) -> ResourceVector {
        if let Some(limit) = self.leaf(queue).and_then(|leaf| leaf.user_limit.as_ref()) {
            return limit.clone();
        }
        let limit = self.compute_user_limit(queues, measures, queue);
        if let Some(leaf) = self.leaf_mut(queue) {
            leaf.user_limit = Some(limit.clone());
        }
        limit
    }

    /// A user's own limit.
    pub(super) fn limit_of_user(
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
    pub(super) fn is_over_limit(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
        user: LeafUserIndex,
    ) -> bool {
        let Some(leaf) = self.leaf(queue) else { return true };
        let Some(of_user) = leaf.user(user) else { return false };
        let (used, weight) = (&of_user.used, of_user.weight);
        if weight >= 1.0 && measures.calculator.fits_in(used, &leaf.least_user_limit) {
            return false;
        }
        let used = used.clone();
        let limit = self.limit_of_user(queues, measures, queue, weight);
        measures.calculator.compare(&self.total, &used, &limit).is_gt()
    }

    /// Takes a user that is over its limit out of the order.
    pub(super) fn park(
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
            self.offer(queues, queue, shape, is_offered);
        }
        self.changes = changes;
    }

    /// Lets users back into the order that are not over the limit any more.
    pub(super) fn let_users_back(&mut self, queues: &Queues, measures: &Measures, queue: QueueIndex) {
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
            if measures.calculator.compare(&self.total, &used, &limit).is_gt() {
                continue;
            }
            if let Some(leaf) = self.leaf_mut(queue) {
                leaf.set_parked(user, None, &mut changes);
            }
            self.is_dirty = true;
        }
        for (shape, is_offered) in changes.drain(..) {
            self.offer(queues, queue, shape, is_offered);
        }
        self.changes = changes;
    }
}

/// Order of parked users: the share of the partition over the weight.
fn park_key(measures: &Measures, total: &ResourceVector, used: &ResourceVector, weight: f64) -> u64 {
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

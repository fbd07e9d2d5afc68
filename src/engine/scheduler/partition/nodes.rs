//! The nodes of a partition: their slots, their sums, and where something fits.
//! Owns: the slots by rack, what is known to be free nowhere. Called by: `node_events`, `completion`, `placement`; on the
//! scheduler's thread. Does not: know containers; it is told what is free. Invariants: `total` is the sum of the counted
//! nodes' capability; a slot names one node; what is remembered as scarce leaves out no slot that has room for it.

use super::super::calculator::Calculator;
use super::super::names::NameId;
use super::super::node_index::FANOUT;
use super::super::queue::Queues;
use super::super::resource::ResourceVector;
use super::super::shape::{BySize, Reach, Shape, ShapeId};
use super::Partition;
use crate::engine::time::Instant;

/// Most amounts a partition remembers to be free nowhere.
const SCARCE_MAX: usize = 16;

/// Most slots that may have one of them since; beyond, it is looked for everywhere again.
const SCARCE_SLOTS_MAX: usize = 32;

impl Partition {
    /// A slot for a node of a rack.
    pub(in crate::engine::scheduler) fn add_slot(&mut self, rack: NameId, node: u32) -> u32 {
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
    pub(in crate::engine::scheduler) fn remove_slot(&mut self, rack: NameId, slot: u32) {
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
    pub(in crate::engine::scheduler) fn count_node(&mut self, capability: &ResourceVector, is_in: bool) {
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
                self.lost_size = true;
            }
        }
    }

    /// Whether some counted node could hold `size` were it empty. O(log) where the largest nodes are large in all types.
    pub(in crate::engine::scheduler) fn has_node_for(
        &self,
        calculator: Calculator,
        size: &ResourceVector,
    ) -> bool {
        // By memory first: those before it have less.
        let least = BySize(ResourceVector::new(size.memory_mb(), 0));
        self.sizes.range(least..).rev().any(|(of, _)| calculator.fits_in(size, &of.0))
    }

    /// How many counted nodes could hold `size` were they empty. O(different capabilities).
    pub(in crate::engine::scheduler) fn nodes_as_large(
        &self,
        calculator: Calculator,
        size: &ResourceVector,
    ) -> u32 {
        let large = self.sizes.iter().filter(|(of, _)| calculator.fits_in(size, &of.0));
        large.map(|(_, count)| *count).sum()
    }

    /// How many different capabilities its counted nodes have.
    pub(in crate::engine::scheduler) fn size_count(&self) -> usize {
        self.sizes.len()
    }

    /// The most that is free of each counting type on a node that may be given containers. O(1).
    pub(in crate::engine::scheduler) fn most_free(&self) -> ResourceVector {
        self.index.most()
    }

    /// The node of a slot.
    #[inline]
    pub(in crate::engine::scheduler) fn node_at(&self, slot: usize) -> u32 {
        self.slots[slot]
    }

    /// What is free in a slot is less than before.
    #[inline]
    pub(in crate::engine::scheduler) fn lower_free(&mut self, slot: u32, free: Option<&ResourceVector>) {
        self.index.set(slot as usize, free);
    }

    /// A container or a reservation took room in a slot: shapes that were open for that room alone are closed, so that
    /// nobody is picked for them in vain.
    pub(in crate::engine::scheduler) fn close_outgrown(&mut self, now: Instant, queues: &Queues, slot: u32) {
        for place in 0..self.shapes.hinted_any().words() {
            for bit in self.shapes.hinted_any().in_word(place) {
                let id = self.shapes.of_bit(bit);
                let shape = self.shapes.get(id);
                let mut hints = shape.hints.iter();
                if shape.hints.contains(&slot)
                    && !hints.any(|slot| self.index.fits(*slot as usize, &shape.size))
                {
                    self.set_open(now, queues, id, false);
                }
            }
        }
    }

    /// What is free in a slot is more than before: opens the shapes that fit there.
    pub(in crate::engine::scheduler) fn raise_free(
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
        if self.shapes.has_local() {
            for reach in [Reach::Host(host), Reach::Rack(rack)] {
                opened.extend(self.shapes.of_reach(reach).filter(|shape| fits(self, *shape)));
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
            .hinted_any()
            .iter()
            .map(|bit| self.shapes.of_bit(bit))
            .filter(|shape| self.has_room(*shape, slot))
            .collect();
        for shape in opened {
            self.set_open(now, queues, shape, true);
            self.shapes.open_for(shape, slot);
        }
        for shape in hinted {
            self.shapes.add_hint(shape, slot);
        }
        let mut again = self.note_room(slot, (host, rack));
        self.restored.append(&mut again);
        self.is_dirty = true;
    }

    /// A slot with room for a shape on a node that `accepts`; the search goes on from where the last one ended
    /// (`spread`), or from the first slot. `on_host` are the slots of the shape's host, if it has one.
    #[inline]
    pub(in crate::engine::scheduler) fn find_slot(
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
                let from = if spread { self.spread_from() } else { 0 };
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

    /// A node of a rack with this much free that `accepts`.
    pub(in crate::engine::scheduler) fn node_in_rack(
        &self,
        rack: NameId,
        free: &ResourceVector,
        accepts: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut accepts_slot = |slot: usize| accepts(self.slots[slot]);
        let mut groups = self.racks.get(&rack)?.groups.iter();
        let found = groups
            .find_map(|group| self.index.fit_in_group(free, *group as usize * FANOUT, &mut accepts_slot));
        found.map(|slot| self.slots[slot])
    }

    /// Where a search begins that goes on from where the last one ended.
    pub(in crate::engine::scheduler) fn spread_from(&self) -> usize {
        if self.cursor < self.index.len() { self.cursor } else { 0 }
    }

    /// Where the next one begins.
    pub(in crate::engine::scheduler) const fn spread_to(&mut self, slot: usize) {
        self.cursor = slot;
    }

    /// How many positions there are for a shape of any place or of a rack: slots, or those of the rack's groups in turn.
    pub(in crate::engine::scheduler) fn positions(&self, shape: ShapeId) -> usize {
        match self.shapes.get(shape).reach {
            Reach::Rack(rack) => self.racks.get(&rack).map_or(0, |rack| rack.groups.len() * FANOUT),
            Reach::Any | Reach::Host(_) => self.index.len(),
        }
    }

    /// The first position from `from` up to `end` (of a rack: of the group that it is in) where a shape fits and that
    /// `accepts`, with its slot.
    pub(in crate::engine::scheduler) fn first_from(
        &self,
        shape: ShapeId,
        from: usize,
        end: usize,
        accepts: &mut impl FnMut(usize) -> bool,
    ) -> Option<(usize, usize)> {
        let of = self.shapes.get(shape);
        if let Reach::Rack(rack) = of.reach {
            let groups = &self.racks.get(&rack)?.groups;
            return groups.iter().enumerate().take(end.div_ceil(FANOUT)).skip(from / FANOUT).find_map(
                |(place, group)| {
                    let first = *group as usize * FANOUT;
                    let slot = self.index.fit_in_group(&of.size, first, accepts)?;
                    Some((place * FANOUT, slot))
                },
            );
        }
        let found = self.index.next_fit(&of.size, from, &mut |slot| slot >= end || accepts(slot))?;
        (found < end).then_some((found, found))
    }

    /// Whether a shape fits in a slot.
    pub(in crate::engine::scheduler) fn has_room(&self, shape: ShapeId, slot: u32) -> bool {
        self.index.fits(slot as usize, &self.shapes.get(shape).size)
    }

    /// Whether the index says that this is free in a slot.
    pub(in crate::engine::scheduler) fn is_published(
        &self,
        slot: u32,
        free: Option<&ResourceVector>,
    ) -> bool {
        self.index.says(slot as usize, free)
    }

    /// What the remembered slots leave out although it has room; for audits. O(slots).
    pub(in crate::engine::scheduler) fn forgotten_room(&self) -> Vec<String> {
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

    /// The first node from slot `from` on with this much free that `accepts`. What is free nowhere is remembered, so that a
    /// full partition is not searched again and again.
    pub(in crate::engine::scheduler) fn any_slot(
        &mut self,
        free: &ResourceVector,
        from: usize,
        accepts: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let (index, nodes) = (&self.index, &self.slots);
        if let Some((_, slots)) = self.scarce.iter().find(|(amount, _)| amount.fits_in(free)) {
            let mut fitting = slots.iter().map(|slot| *slot as usize).filter(|slot| index.fits(*slot, free));
            return fitting.find(|slot| accepts(nodes[*slot])).map(|slot| nodes[slot]);
        }
        let mut seen: Vec<u32> = Vec::new();
        let found = index.next_fit(free, from, &mut |slot| {
            if seen.len() <= SCARCE_SLOTS_MAX {
                seen.push(slot as u32);
            }
            accepts(nodes[slot])
        });
        if found.is_none() && from == 0 && seen.len() <= SCARCE_SLOTS_MAX {
            // It says all that the larger ones say.
            self.scarce.retain(|(amount, _)| !free.fits_in(amount));
            if self.scarce.len() == SCARCE_MAX {
                self.scarce.remove(0);
            }
            self.scarce.push((free.clone(), seen));
        }
        found.map(|slot| nodes[slot])
    }
}

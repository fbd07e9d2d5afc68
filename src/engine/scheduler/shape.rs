//! Shapes of demand in one partition: a size and a reach (any node, a rack, a host), shared by all asks that have them.
//! Owns: [`Shapes`], which knows of every shape whether some node has room for it ("open") or none has ("closed").
//! Called by: `demand` (asks come and go), `placement` (closes what fits nowhere), `partition` (opens what fits again).
//! Does not: look for nodes; know who asks. Thread: the scheduler's.
//! Invariants: a shape is held at least once; a closed shape fits on no node of its reach. Shapes that reach any node have
//! a bit each (dense: sizes are few), so that a queue knows with one test whether it wants something that may fit.
//!
//! This is what keeps a full cluster cheap: 100,000 pending asks are a handful of shapes, each found not to fit once. When
//! a node frees room, the shapes that fit it are opened, and only the queues that hold those are looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::names::NameId;
use super::resource::ResourceVector;
use super::walk::{Walk, Walker};
use crate::engine::time::Instant;

/// Where a container of a shape may be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reach {
    /// On one host. First, so that of two asks of one application the nearer wins.
    Host(NameId),
    /// On one rack.
    Rack(NameId),
    /// Anywhere.
    Any,
}

/// A size, in an order that has no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BySize(pub(super) ResourceVector);

impl Ord for BySize {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.0.cmp_amounts(&other.0)
    }
}

impl PartialOrd for BySize {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Most slots a shape remembers; beyond, it is looked for everywhere again.
const HINTS_MAX: usize = 16;

/// Names a shape of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ShapeId(pub(super) u32);

impl ShapeId {
    /// A dense index.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Size of a container.
    pub(super) size: ResourceVector,
    /// Where.
    pub(super) reach: Reach,
    /// Some node may have room for it.
    pub(super) is_open: bool,
    /// It was closed once: that it fits nowhere is no news.
    pub(super) was_closed: bool,
    /// Its bit, where it reaches any node.
    pub(super) bit: Option<u32>,
    /// Since when it is open or closed.
    pub(super) since: Instant,
    /// Where `is_hinted`: every slot that can have room for it, because it was closed before and only these freed some.
    pub(super) hints: Vec<u32>,
    /// Nothing but `hints` needs to be looked at.
    pub(super) is_hinted: bool,
    /// Leaves that want it.
    pub(super) leaves: BTreeSet<u32>,
    /// How far those came who do not want every node that has room.
    pub(super) walks: BTreeMap<Walker, Walk>,
    holders: u32,
}

/// A set of shapes that reach any node, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ShapeSet(Vec<u64>);

impl ShapeSet {
    /// Adds or removes one.
    pub(super) fn set(&mut self, bit: u32, is_in: bool) {
        let (word, bit) = (bit as usize / 64, 1 << (bit % 64));
        if self.0.len() <= word {
            if !is_in {
                return;
            }
            self.0.resize(word + 1, 0);
        }
        if is_in {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }

    /// Whether it is in.
    #[inline]
    pub(super) fn has(&self, bit: u32) -> bool {
        self.0.get(bit as usize / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    /// Whether both have one.
    #[inline]
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// Whether it is empty.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Its bits, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.words()).flat_map(|word| self.in_word(word))
    }

    /// How many words of 64 bits it has.
    #[inline]
    pub(super) const fn words(&self) -> usize {
        self.0.len()
    }

    /// The bits of a word, ascending, as they are now: the set may change meanwhile.
    #[inline]
    pub(super) fn in_word(&self, word: usize) -> impl Iterator<Item = u32> + use<> {
        let mut rest = self.0.get(word).copied().unwrap_or(0);
        core::iter::from_fn(move || {
            (rest != 0).then(|| {
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                word as u32 * 64 + bit
            })
        })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    slab: Vec<Shape>,
    free: Vec<ShapeId>,
    index: BTreeMap<(Reach, BySize), ShapeId>,
    /// Open shapes that reach any node.
    open_any: ShapeSet,
    /// Closed ones.
    closed_any: ShapeSet,
    /// Open ones of which every slot with room is known.
    hinted_any: ShapeSet,
    /// The shape of each bit.
    bits: Vec<ShapeId>,
    free_bits: Vec<u32>,
    /// Shapes with walks.
    walked: BTreeSet<ShapeId>,
    /// No size is more than this, type by type.
    largest: ResourceVector,
}

impl Shapes {
    /// A shape, held once more. A new one is open.
    pub(super) fn hold(&mut self, now: Instant, size: &ResourceVector, reach: Reach) -> ShapeId {
        let key = (reach, BySize(size.clone()));
        if let Some(&id) = self.index.get(&key) {
            self.slab[id.index()].holders += 1;
            return id;
        }
        if self.index.is_empty() {
            self.largest = ResourceVector::ZERO;
        }
        self.largest = self.largest.component_max(size);
        let bit = (reach == Reach::Any).then(|| {
            self.free_bits.pop().unwrap_or_else(|| {
                self.bits.push(ShapeId(0));
                self.bits.len() as u32 - 1
            })
        });
        let shape = Shape {
            size: size.clone(),
            reach,
            bit,
            is_open: true,
            was_closed: false,
            since: now,
            hints: Vec::new(),
            is_hinted: false,
            leaves: BTreeSet::new(),
            walks: BTreeMap::new(),
            holders: 1,
        };
        let id = if let Some(id) = self.free.pop() {
            self.slab[id.index()] = shape;
            id
        } else {
            self.slab.push(shape);
            ShapeId(self.slab.len() as u32 - 1)
        };
        self.index.insert(key, id);
        if let Some(bit) = bit {
            self.bits[bit as usize] = id;
            self.open_any.set(bit, true);
        }
        id
    }

    /// Holds a shape once less.
    pub(super) fn release(&mut self, id: ShapeId) {
        let shape = &mut self.slab[id.index()];
        shape.holders -= 1;
        if shape.holders == 0 {
            debug_assert!(shape.leaves.is_empty(), "a shape nobody holds is wanted by no leaf");
            self.index.remove(&(shape.reach, BySize(shape.size.clone())));
            if let Some(bit) = shape.bit {
                self.open_any.set(bit, false);
                self.closed_any.set(bit, false);
                self.hinted_any.set(bit, false);
                self.free_bits.push(bit);
            }
            self.walked.remove(&id);
            shape.walks.clear();
            self.free.push(id);
        }
    }

    /// The shape of a size and a reach, where somebody holds it.
    pub(super) fn find(&self, size: &ResourceVector, reach: Reach) -> Option<ShapeId> {
        self.index.get(&(reach, BySize(size.clone()))).copied()
    }

    /// A shape.
    #[inline]
    pub(super) fn get(&self, id: ShapeId) -> &Shape {
        &self.slab[id.index()]
    }

    /// A shape.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ShapeId) -> &mut Shape {
        &mut self.slab[id.index()]
    }

    /// The open ones that reach any node.
    #[inline]
    pub(super) const fn open_any(&self) -> &ShapeSet {
        &self.open_any
    }

    /// The closed ones that reach any node.
    pub(super) const fn closed_any(&self) -> &ShapeSet {
        &self.closed_any
    }

    /// The open ones that reach any node and of which every slot with room is known.
    #[inline]
    pub(super) const fn hinted_any(&self) -> &ShapeSet {
        &self.hinted_any
    }

    /// A bound of all sizes, type by type.
    #[inline]
    pub(super) const fn largest(&self) -> &ResourceVector {
        &self.largest
    }

    /// The shape of a bit in use.
    pub(super) fn of_bit(&self, bit: u32) -> ShapeId {
        self.bits[bit as usize]
    }

    /// Opens or closes a shape; false when it was so.
    pub(super) fn set_open(&mut self, now: Instant, id: ShapeId, is_open: bool) -> bool {
        let shape = &mut self.slab[id.index()];
        if shape.is_open == is_open {
            return false;
        }
        shape.is_open = is_open;
        shape.was_closed |= !is_open;
        shape.since = now;
        shape.hints.clear();
        shape.is_hinted = false;
        if let Some(bit) = shape.bit {
            self.open_any.set(bit, is_open);
            self.closed_any.set(bit, !is_open);
            self.hinted_any.set(bit, false);
        }
        true
    }

    /// A closed shape is open because of one slot.
    pub(super) fn open_for(&mut self, id: ShapeId, slot: u32) {
        let shape = &mut self.slab[id.index()];
        shape.is_hinted = true;
        shape.hints.push(slot);
        if let Some(bit) = shape.bit {
            self.hinted_any.set(bit, true);
        }
    }

    /// A slot has freed room that fits a shape; it is open.
    pub(super) fn add_hint(&mut self, id: ShapeId, slot: u32) {
        let shape = &mut self.slab[id.index()];
        if !shape.is_hinted || shape.hints.contains(&slot) {
            return;
        }
        if shape.hints.len() == HINTS_MAX {
            shape.is_hinted = false;
            shape.hints.clear();
            if let Some(bit) = shape.bit {
                self.hinted_any.set(bit, false);
            }
        } else {
            shape.hints.push(slot);
        }
    }

    /// Keeps how far a walker came.
    pub(super) fn keep_walk(&mut self, id: ShapeId, walker: Walker, walk: Walk) {
        self.slab[id.index()].walks.insert(walker, walk);
        self.walked.insert(id);
    }

    /// Takes it out.
    pub(super) fn take_walk(&mut self, id: ShapeId, walker: Walker) -> Option<Walk> {
        if self.walked.is_empty() {
            return None;
        }
        let shape = &mut self.slab[id.index()];
        let walk = shape.walks.remove(&walker);
        if shape.walks.is_empty() {
            self.walked.remove(&id);
        }
        walk
    }

    /// Shapes with walks.
    pub(super) fn walked(&self) -> impl Iterator<Item = ShapeId> + '_ {
        self.walked.iter().copied()
    }

    /// Whether some are of a rack or host.
    pub(super) fn has_local(&self) -> bool {
        self.index.first_key_value().is_some_and(|((reach, _), _)| *reach != Reach::Any)
    }

    /// Whether some are of a host.
    pub(super) fn has_host(&self) -> bool {
        self.index.first_key_value().is_some_and(|((reach, _), _)| matches!(reach, Reach::Host(_)))
    }

    /// The shapes of one reach, by any order of size.
    pub(super) fn of_reach(&self, reach: Reach) -> impl Iterator<Item = ShapeId> + '_ {
        let first = (reach, BySize(ResourceVector::ZERO));
        self.index.range(first..).take_while(move |((of, _), _)| *of == reach).map(|(_, id)| *id)
    }

    /// Every shape.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ShapeId, &Shape)> {
        self.index.values().map(|id| (*id, self.get(*id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_shared_and_goes_with_its_last_holder() {
        let mut shapes = Shapes::default();
        let (small, large) = (ResourceVector::new(1, 1), ResourceVector::new(2, 1));
        let a = shapes.hold(Instant::ZERO, &small, Reach::Any);
        assert_eq!(shapes.hold(Instant::ZERO, &small, Reach::Any), a);
        let b = shapes.hold(Instant::ZERO, &large, Reach::Any);
        assert!(shapes.set_open(Instant::from_millis(1), a, false));
        assert!(!shapes.set_open(Instant::from_millis(2), a, false));
        let named = |shapes: &Shapes, set: &ShapeSet| -> Vec<ShapeId> {
            set.iter().map(|bit| shapes.of_bit(bit)).collect()
        };
        assert_eq!(named(&shapes, shapes.closed_any()), [a]);
        assert_eq!(named(&shapes, shapes.open_any()), [b]);
        shapes.release(a);
        assert!(shapes.closed_any().has(0));
        shapes.release(a);
        shapes.release(b);
        assert!(shapes.open_any().is_empty() && shapes.closed_any().is_empty());
        assert_eq!(shapes.of_reach(Reach::Any).count(), 0);
    }
}

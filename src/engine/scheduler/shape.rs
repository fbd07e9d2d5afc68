//! Shapes of demand in one partition: a size and a reach (any node, a rack, a host), shared by all asks that have them.
//! Owns: [`Shapes`], which knows of every shape whether some node has room for it ("open") or none has ("closed").
//! Called by: `demand` (asks come and go), `placement` (closes what fits nowhere), `partition` (opens what fits again).
//! Does not: look for nodes; know who asks. Thread: the scheduler's.
//! Invariants: a shape is held at least once; a closed shape fits on no node of its reach; `open_any` has the bit of each
//! open shape that reaches any node.
//!
//! This is what keeps a full cluster cheap: 100,000 pending asks are a handful of shapes, each found not to fit once. When
//! a node frees room, the shapes that fit it are opened, and only the queues that hold those are looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::names::NameId;
use super::resource::ResourceVector;
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
struct BySize(ResourceVector);

impl Ord for BySize {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        let length = self.0.len().max(other.0.len());
        (0..length).map(|kind| self.0.get(kind)).cmp((0..length).map(|kind| other.0.get(kind)))
    }
}

impl PartialOrd for BySize {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

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
    /// Since when it is open or closed.
    pub(super) since: Instant,
    /// A slot that had room lately.
    pub(super) hint: Option<u32>,
    /// Leaves that want it.
    pub(super) leaves: BTreeSet<u32>,
    /// Attempts that may not use the nodes that have room (blacklists): looked at again when a node frees room.
    pub(super) set_aside: BTreeSet<u32>,
    holders: u32,
}

/// A set of shapes, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ShapeSet(Vec<u64>);

impl ShapeSet {
    /// Adds or removes one.
    pub(super) fn set(&mut self, shape: ShapeId, is_in: bool) {
        let (word, bit) = (shape.index() / 64, 1 << (shape.index() % 64));
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
    pub(super) fn has(&self, shape: ShapeId) -> bool {
        self.0.get(shape.index() / 64).is_some_and(|word| word & (1 << (shape.index() % 64)) != 0)
    }

    /// Whether both have one.
    #[inline]
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// Whether it is empty.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Its shapes, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = ShapeId> + '_ {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            core::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros();
                    rest &= rest - 1;
                    ShapeId(index as u32 * 64 + bit)
                })
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
    /// Open shapes.
    open: ShapeSet,
    /// Closed shapes that reach any node.
    closed_any: ShapeSet,
    /// Shapes with attempts set aside.
    aside: BTreeSet<ShapeId>,
}

impl Shapes {
    /// A shape, held once more. A new one is open.
    pub(super) fn hold(&mut self, now: Instant, size: &ResourceVector, reach: Reach) -> ShapeId {
        let key = (reach, BySize(size.clone()));
        if let Some(&id) = self.index.get(&key) {
            self.slab[id.index()].holders += 1;
            return id;
        }
        let shape = Shape {
            size: size.clone(),
            reach,
            is_open: true,
            since: now,
            hint: None,
            leaves: BTreeSet::new(),
            set_aside: BTreeSet::new(),
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
        self.open.set(id, true);
        id
    }

    /// Holds a shape once less.
    pub(super) fn release(&mut self, id: ShapeId) {
        let shape = &mut self.slab[id.index()];
        shape.holders -= 1;
        if shape.holders == 0 {
            debug_assert!(shape.leaves.is_empty(), "a shape nobody holds is wanted by no leaf");
            self.index.remove(&(shape.reach, BySize(shape.size.clone())));
            self.open.set(id, false);
            self.closed_any.set(id, false);
            self.aside.remove(&id);
            self.free.push(id);
        }
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

    /// The open ones.
    #[inline]
    pub(super) const fn open(&self) -> &ShapeSet {
        &self.open
    }

    /// The closed ones that reach any node.
    pub(super) const fn closed_any(&self) -> &ShapeSet {
        &self.closed_any
    }

    /// Opens or closes a shape; false when it was so.
    pub(super) fn set_open(&mut self, now: Instant, id: ShapeId, is_open: bool) -> bool {
        let shape = &mut self.slab[id.index()];
        if shape.is_open == is_open {
            return false;
        }
        shape.is_open = is_open;
        shape.since = now;
        let is_any = shape.reach == Reach::Any;
        self.open.set(id, is_open);
        self.closed_any.set(id, is_any && !is_open);
        true
    }

    /// Sets an attempt aside until a node frees room.
    pub(super) fn set_aside(&mut self, id: ShapeId, row: u32) {
        self.slab[id.index()].set_aside.insert(row);
        self.aside.insert(id);
    }

    /// Forgets that an attempt was set aside; false when it was not.
    pub(super) fn take_aside(&mut self, id: ShapeId, row: u32) -> bool {
        let shape = &mut self.slab[id.index()];
        let was = shape.set_aside.remove(&row);
        if shape.set_aside.is_empty() {
            self.aside.remove(&id);
        }
        was
    }

    /// Shapes with attempts set aside.
    pub(super) fn with_aside(&self) -> impl Iterator<Item = ShapeId> + '_ {
        self.aside.iter().copied()
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
        assert_eq!(shapes.closed_any().iter().collect::<Vec<_>>(), [a]);
        assert_eq!(shapes.open().iter().collect::<Vec<_>>(), [b]);
        shapes.release(a);
        assert!(shapes.closed_any().has(a));
        shapes.release(a);
        shapes.release(b);
        assert!(shapes.open().is_empty() && shapes.closed_any().is_empty());
        assert_eq!(shapes.of_reach(Reach::Any).count(), 0);
    }
}

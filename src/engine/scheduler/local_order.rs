//! The open shapes of racks and hosts that a leaf offers, in the order in which they are served.
//! Owns: [`LocalOrder`]. Called by: `offers` (a shape opens, closes, is offered or not), `share` and `demand` (who is first
//! for one is another), `placement` (settles what changed, asks for the first). Thread: the scheduler's.
//! Does not: know attempts: the place of a shape is told.
//! Invariant: after every changed shape was settled, the order has each shape for which somebody is first at the place that
//! its first attempt and key give it.
//!
//! An application may name every host of a cluster. To look through its shapes with each grant would cost by their number;
//! a grant changes a host, a rack and what is behind them.

use std::collections::{BTreeMap, BTreeSet};

use super::attempt::AppKey;
use super::face::SchedulerKey;
use super::queue::LeafUserIndex;
use super::shape::{Reach, ShapeId};

/// A shape's place: its first attempt, that one's first key, the nearer reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LocalPlace {
    pub(super) app: AppKey,
    pub(super) key: SchedulerKey,
    pub(super) reach: Reach,
    pub(super) shape: ShapeId,
    pub(super) user: LeafUserIndex,
}

/// What is known of a shape's place.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// It is among the changed.
    Changed,
    /// Nobody is first for it.
    Nowhere,
    /// It is in the order.
    At(LocalPlace),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LocalOrder {
    shapes: BTreeMap<ShapeId, Known>,
    order: BTreeSet<LocalPlace>,
    /// Shapes whose place has to be told; some may have gone meanwhile.
    changed: Vec<ShapeId>,
}

impl LocalOrder {
    /// A shape is open and offered.
    pub(super) fn insert(&mut self, shape: ShapeId) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.shapes.entry(shape) {
            entry.insert(Known::Changed);
            self.note(shape);
        }
    }

    /// A shape is closed, or not offered any more.
    pub(super) fn remove(&mut self, shape: ShapeId) {
        if let Some(Known::At(place)) = self.shapes.remove(&shape) {
            self.order.remove(&place);
        }
    }

    /// Who is first for a shape, or what for, may be another.
    #[inline]
    pub(super) fn touch(&mut self, shape: ShapeId) {
        if self.shapes.is_empty() {
            return;
        }
        let Some(known) = self.shapes.get_mut(&shape) else { return };
        match core::mem::replace(known, Known::Changed) {
            Known::Changed => {}
            Known::Nowhere => self.note(shape),
            Known::At(place) => {
                self.order.remove(&place);
                self.note(shape);
            }
        }
    }

    /// What has to be told before [`LocalOrder::first`], to be given back by [`LocalOrder::settled`].
    pub(super) fn take_changed(&mut self) -> Vec<ShapeId> {
        core::mem::take(&mut self.changed)
    }

    /// Whether there is something to be told.
    pub(super) const fn is_settled(&self) -> bool {
        self.changed.is_empty()
    }

    /// The place of a changed shape, `None` where nobody is first for it.
    pub(super) fn settle(&mut self, shape: ShapeId, place: Option<LocalPlace>) {
        let Some(known @ Known::Changed) = self.shapes.get_mut(&shape) else { return };
        *known = place.map_or(Known::Nowhere, Known::At);
        self.order.extend(place);
    }

    /// All is told. Keeps the list's memory.
    pub(super) fn settled(&mut self, mut changed: Vec<ShapeId>) {
        changed.clear();
        self.changed = changed;
    }

    /// What is served first.
    pub(super) fn first(&self) -> Option<LocalPlace> {
        self.order.first().copied()
    }

    /// Every shape, with its place where that is known and it has one. For checks.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ShapeId, Option<LocalPlace>)> + '_ {
        self.shapes.iter().map(|(shape, known)| match known {
            Known::At(place) => (*shape, Some(*place)),
            Known::Changed | Known::Nowhere => (*shape, None),
        })
    }

    /// A leaf that is never asked must not gather what went long ago.
    fn note(&mut self, shape: ShapeId) {
        if self.changed.len() > 2 * self.shapes.len() {
            self.changed.sort_unstable();
            self.changed.dedup();
            let shapes = &self.shapes;
            self.changed.retain(|shape| matches!(shapes.get(shape), Some(Known::Changed)));
        }
        self.changed.push(shape);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(shape: u32, app: u32, priority: i32) -> LocalPlace {
        LocalPlace {
            app: AppKey { row: app, ..AppKey::default() },
            key: SchedulerKey { priority, ..SchedulerKey::default() },
            reach: Reach::Any,
            shape: ShapeId(shape),
            user: 0,
        }
    }

    fn settle(order: &mut LocalOrder, place_of: impl Fn(u32) -> Option<LocalPlace>) -> usize {
        let changed = order.take_changed();
        changed.iter().for_each(|shape| order.settle(*shape, place_of(shape.0)));
        let count = changed.len();
        order.settled(changed);
        count
    }

    #[test]
    fn shapes_are_served_by_application_then_key_and_only_what_changed_is_told_again() {
        let mut order = LocalOrder::default();
        (0..4).for_each(|shape| order.insert(ShapeId(shape)));
        let of = |shape: u32| (shape != 3).then(|| place(shape, shape / 2, 2 - (shape % 2) as i32));
        assert_eq!(settle(&mut order, of), 4);
        assert_eq!(order.first(), Some(place(1, 0, 1)), "the second shape is of the more important key");
        order.touch(ShapeId(1));
        order.touch(ShapeId(1));
        assert_eq!(order.first(), Some(place(0, 0, 2)), "what changed is nowhere until it is told");
        assert_eq!(settle(&mut order, |shape| Some(place(shape, 9, 0))), 1);
        order.remove(ShapeId(0));
        assert_eq!(order.first(), Some(place(2, 1, 2)));
        order.touch(ShapeId(3));
        assert_eq!(
            settle(&mut order, |shape| Some(place(shape, 0, 0))),
            1,
            "nobody was first, now somebody is"
        );
        assert_eq!(order.first(), Some(place(3, 0, 0)));
    }

    #[test]
    fn a_leaf_that_is_never_asked_gathers_no_more_than_it_has() {
        let mut order = LocalOrder::default();
        order.insert(ShapeId(7));
        for shape in 0..10_000 {
            order.insert(ShapeId(shape % 5));
            order.remove(ShapeId(shape % 5));
        }
        assert!(order.changed.len() < 10);
        settle(&mut order, |shape| Some(place(shape, 0, 0)));
        assert_eq!(order.first(), Some(place(7, 0, 0)));
    }
}

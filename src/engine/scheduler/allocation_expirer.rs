//! Containers that were told and that no node has reported running: when they are taken back.
//! Owns: [`AllocationExpirer`]. Called by: acquisition, ends, node events and the tick, on the scheduler's thread.
//! Does not: end containers, or know how long they have. Invariants: it lists by time, and what is as late in the order it
//! came; it has room for as many as there are container indices, and allocates for nothing else.
//!
//! Source: YARN ContainerAllocationExpirer.

use super::container::ContainerIndex;
use crate::engine::time::Instant;

/// Names no container.
const NONE: u32 = u32::MAX;

/// A container's place in the list.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// `None` = it is not in the list.
    at: Option<Instant>,
    before: u32,
    after: u32,
}

/// A list that runs through the containers' indices. All have equally long, so who comes is last, and leaving touches two
/// neighbours that mostly came at the same time.
#[derive(Debug)]
pub(super) struct AllocationExpirer {
    /// By container index.
    links: Vec<Link>,
    first: u32,
    last: u32,
}

impl Default for AllocationExpirer {
    fn default() -> Self {
        Self { links: Vec::new(), first: NONE, last: NONE }
    }
}

impl AllocationExpirer {
    /// Watches a container that is not watched.
    pub(super) fn watch(&mut self, at: Instant, index: ContainerIndex) {
        if self.links.len() <= index.0 as usize {
            self.links.resize(index.0 as usize + 1, Link { at: None, before: NONE, after: NONE });
        }
        // None, unless somebody has less time than who came before.
        let mut before = self.last;
        while let Some(link) = self.links.get(before as usize)
            && link.at > Some(at)
        {
            before = link.before;
        }
        let after = core::mem::replace(self.after(before), index.0);
        *self.before(after) = index.0;
        self.links[index.0 as usize] = Link { at: Some(at), before, after };
    }

    /// Watches a container no longer.
    pub(super) fn forget(&mut self, index: ContainerIndex) {
        let Some(link) = self.links.get_mut(index.0 as usize) else { return };
        if link.at.take().is_some() {
            let Link { before, after, .. } = *link;
            *self.after(before) = after;
            *self.before(after) = before;
        }
    }

    /// The one that is due first.
    pub(super) fn first(&self) -> Option<(Instant, ContainerIndex)> {
        let at = self.links.get(self.first as usize)?.at?;
        Some((at, ContainerIndex(self.first)))
    }

    /// Who comes after one, or first of all.
    fn after(&mut self, before: u32) -> &mut u32 {
        self.links.get_mut(before as usize).map_or(&mut self.first, |link| &mut link.after)
    }

    /// Who comes before one, or last of all.
    fn before(&mut self, after: u32) -> &mut u32 {
        self.links.get_mut(after as usize).map_or(&mut self.last, |link| &mut link.before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As an ordered set does it.
        #[test]
        fn who_is_due_first_comes_first(
            steps in prop::collection::vec((0..20u32, prop::option::of(0..50u64)), 1..400),
        ) {
            let mut expirer = AllocationExpirer::default();
            let mut set: BTreeSet<(Instant, usize, u32)> = BTreeSet::new();
            for (number, (index, at)) in steps.into_iter().enumerate() {
                set.retain(|(.., other)| *other != index);
                expirer.forget(ContainerIndex(index));
                if let Some(at) = at {
                    expirer.watch(Instant::from_millis(at), ContainerIndex(index));
                    set.insert((Instant::from_millis(at), number, index));
                }
                let first = set.first().map(|(at, _, index)| (*at, ContainerIndex(*index)));
                prop_assert_eq!(expirer.first(), first);
            }
            while let Some((at, _, index)) = set.pop_first() {
                prop_assert_eq!(expirer.first(), Some((at, ContainerIndex(index))));
                expirer.forget(ContainerIndex(index));
            }
            prop_assert_eq!(expirer.first(), None);
            prop_assert_eq!(expirer.last, NONE);
        }
    }
}

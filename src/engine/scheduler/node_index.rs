//! Which node of a partition has room: a tree of maxima over the nodes' free amounts.
//! Owns: [`NodeIndex`]. Called by: `partition` (free amounts change), `placement` (looks for room); on the scheduler's
//! thread. Does not: know nodes, only slots; choose between nodes beyond "the next one from here".
//! Invariants: an entry of level n + 1 is, type by type, the maximum of its 16 entries of level n. A slot without a usable
//! node holds 0, another one its free amount + 1, so that nothing fits where no node is.
//!
//! A look-up is O(log n) where a node's types run out together. Maxima of several types may come from different nodes, so
//! a look-up can enter a branch in vain; one that finds nothing at all costs O(n) at worst, and its shape is then closed
//! until a node frees enough (see `shape`).

use super::resource::ResourceVector;

/// Children of an inner entry. 16 entries of two types are four cache lines.
pub(super) const FANOUT: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct NodeIndex {
    /// Types that count: one by memory, all by the dominant share.
    types: usize,
    /// `levels[0]` are the slots; each entry is `types` numbers.
    levels: Vec<Vec<u64>>,
}

impl NodeIndex {
    /// Without slots.
    pub(super) fn new(types: usize) -> Self {
        Self { types: types.max(1), levels: vec![Vec::new()] }
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.entries(0)
    }

    /// The most there is of each type, not necessarily in one slot.
    pub(super) fn most(&self) -> ResourceVector {
        let top = self.levels.last().map_or(&[] as &[u64], Vec::as_slice);
        let mut most = ResourceVector::ZERO;
        for kind in 0..self.types {
            let of_kind = top.iter().skip(kind).step_by(self.types).copied().max().unwrap_or(0);
            most.set(kind, of_kind.saturating_sub(1));
        }
        most
    }

    fn entries(&self, level: usize) -> usize {
        self.levels[level].len() / self.types
    }

    /// Adds a group of [`FANOUT`] empty slots; returns the first.
    pub(super) fn add_group(&mut self) -> usize {
        let first = self.len();
        let mut entries = first + FANOUT;
        self.levels[0].resize(entries * self.types, 0);
        let mut level = 0;
        while entries > FANOUT || level + 1 < self.levels.len() {
            entries = entries.div_ceil(FANOUT);
            level += 1;
            if level == self.levels.len() {
                self.levels.push(Vec::new());
                self.levels[level].resize(entries * self.types, 0);
                for entry in 0..entries {
                    for kind in 0..self.types {
                        self.levels[level][entry * self.types + kind] =
                            self.largest_child(level, entry, kind);
                    }
                }
            } else {
                self.levels[level].resize(entries * self.types, 0);
            }
        }
        first
    }

    /// Sets what is free in a slot; `None` = nothing may be placed there.
    #[inline]
    pub(super) fn set(&mut self, slot: usize, free: Option<&ResourceVector>) {
        for kind in 0..self.types {
            let amount = free.map_or(0, |free| free.get(kind).saturating_add(1));
            let before = core::mem::replace(&mut self.levels[0][slot * self.types + kind], amount);
            if before != amount {
                self.raise_or_lower(slot, kind, before, amount);
            }
        }
    }

    /// The amount of one type in a slot is `after` instead of `before`: the maxima above. Children are read only where
    /// the largest of them became less.
    #[inline]
    fn raise_or_lower(&mut self, slot: usize, kind: usize, mut before: u64, mut after: u64) {
        let types = self.types;
        let mut entry = slot;
        for level in 1..self.levels.len() {
            entry /= FANOUT;
            let maximum = self.levels[level][entry * types + kind];
            let new = match maximum {
                maximum if after >= maximum => after,
                maximum if before < maximum => return,
                _ => self.largest_child(level, entry, kind),
            };
            if new == maximum {
                return;
            }
            self.levels[level][entry * types + kind] = new;
            (before, after) = (maximum, new);
        }
    }

    /// The most of one type below an inner entry.
    #[inline]
    fn largest_child(&self, level: usize, entry: usize, kind: usize) -> u64 {
        let (types, children) = (self.types, &self.levels[level - 1]);
        let end = ((entry + 1) * FANOUT * types).min(children.len());
        let children = &children[entry * FANOUT * types..end];
        children.chunks_exact(types).map(|child| child[kind]).max().unwrap_or(0)
    }

    /// Whether `wanted` fits in a slot.
    #[inline]
    pub(super) fn fits(&self, slot: usize, wanted: &ResourceVector) -> bool {
        slot < self.len() && self.fits_at(0, slot, wanted)
    }

    /// Whether a slot holds this amount.
    pub(super) fn says(&self, slot: usize, free: Option<&ResourceVector>) -> bool {
        let amounts = &self.levels[0][slot * self.types..(slot + 1) * self.types];
        amounts
            .iter()
            .enumerate()
            .all(|(kind, amount)| *amount == free.map_or(0, |free| free.get(kind).saturating_add(1)))
    }

    #[inline]
    fn fits_at(&self, level: usize, entry: usize, wanted: &ResourceVector) -> bool {
        let amounts = &self.levels[level][entry * self.types..(entry + 1) * self.types];
        amounts.iter().enumerate().all(|(kind, amount)| wanted.get(kind) < *amount)
    }

    /// The first slot from `from` on in which `wanted` fits and that `accepts`.
    #[inline]
    pub(super) fn next_fit(
        &self,
        wanted: &ResourceVector,
        from: usize,
        accepts: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut entry = from;
        for level in 0..self.levels.len() {
            // The rest of the group `entry` is in, then the groups to the right of it, one level up.
            let group = entry / FANOUT;
            let end = ((group + 1) * FANOUT).min(self.entries(level));
            while entry < end {
                if let Some(slot) = self.first_below(level, entry, wanted, accepts) {
                    return Some(slot);
                }
                entry += 1;
            }
            entry = group + 1;
        }
        None
    }

    /// A slot of the group that begins with `first` in which `wanted` fits and that `accepts`.
    pub(super) fn fit_in_group(
        &self,
        wanted: &ResourceVector,
        first: usize,
        accepts: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        if self.levels.len() > 1 {
            return self.first_below(1, first / FANOUT, wanted, accepts);
        }
        (first..first + FANOUT).find_map(|slot| self.first_below(0, slot, wanted, accepts))
    }

    /// The first slot below an entry in which `wanted` fits and that `accepts`.
    pub(super) fn first_below(
        &self,
        level: usize,
        entry: usize,
        wanted: &ResourceVector,
        accepts: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        if !self.fits_at(level, entry, wanted) {
            return None;
        }
        let Some(below) = level.checked_sub(1) else { return accepts(entry).then_some(entry) };
        let end = ((entry + 1) * FANOUT).min(self.entries(below));
        (entry * FANOUT..end).find_map(|child| self.first_below(below, child, wanted, accepts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain list: the same answer from every start, after every change.
        #[test]
        fn finds_what_a_walk_finds(
            groups in 1usize..40,
            changes in prop::collection::vec((0usize..640, prop::option::of((0u64..20, 0u64..20))), 1..120),
            wanted in prop::collection::vec((0u64..20, 0u64..20, 0usize..700), 1..8),
        ) {
            let mut index = NodeIndex::new(2);
            for group in 0..groups {
                prop_assert_eq!(index.add_group(), group * FANOUT);
            }
            let mut plain = vec![None; groups * FANOUT];
            for (slot, free) in changes {
                let slot = slot % plain.len();
                plain[slot] = free.map(|(memory, cores)| ResourceVector::new(memory, cores));
                index.set(slot, plain[slot].as_ref());
            }
            for (memory, cores, from) in wanted {
                let wanted = ResourceVector::new(memory, cores);
                let expected = (from..plain.len())
                    .find(|slot| plain[*slot].as_ref().is_some_and(|free| wanted.fits_in(free)));
                prop_assert_eq!(index.next_fit(&wanted, from, &mut |_| true), expected);
                // The one after, when the first is not accepted.
                let second = expected.and_then(|first| (first + 1..plain.len())
                    .find(|slot| plain[*slot].as_ref().is_some_and(|free| wanted.fits_in(free))));
                prop_assert_eq!(index.next_fit(&wanted, from, &mut |slot| Some(slot) != expected), second);
            }
        }
    }
}

//! Sets of nodes: where an application has had containers, which nodes an attempt has a token of.
//! Owns: [`NodeSet`]. Called by: the scheduler and the ApplicationMasters' door, once per grant, on the scheduler's thread.
//! Does not: know of a node more than its handle.
//! Invariants: of a row one registration is in, the one that was put in last; blocks are in order and none is empty.

use heddle_wire::record::NodeHandle;

/// Neighbouring rows of a shard, by one generation.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// [`Block::place`], then the generation in the lowest 24 bits.
    key: u64,
    /// A bit for each of 64 rows.
    rows: u64,
}

impl Block {
    /// The shard, and which 64 of its rows.
    const fn place(self) -> u64 {
        self.key >> 24
    }
}

/// Nodes by shard and row, each under the registration it was last put in with.
///
/// Cost: 16 bytes per 64 neighbouring rows of which some are in, so a few containers cost as many blocks wherever they
/// are, thousands of them on 1,000 nodes 256 bytes; and a search through the blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeSet(Vec<Block>);

impl NodeSet {
    /// Puts a node in, in place of another registration of its row. False where it is in.
    pub(super) fn insert(&mut self, node: NodeHandle) -> bool {
        let place = u64::from(node.shard()) << 26 | u64::from(node.row() / 64);
        let key = place << 24 | u64::from(node.generation());
        let bit = 1 << (node.row() % 64);
        let at = self.0.partition_point(|block| block.key < key);
        match self.0.get_mut(at).filter(|block| block.key == key) {
            Some(block) if block.rows & bit != 0 => return false,
            Some(block) => block.rows |= bit,
            None => self.0.insert(at, Block { key, rows: bit }),
        }
        let is_same_place = |block: &&Block| block.place() == place;
        let before = self.0.iter().take(at).rev().take_while(is_same_place).count();
        let mut rows = self.0.iter().skip(at - before).take_while(is_same_place);
        let other = rows.position(|block| block.key != key && block.rows & bit != 0);
        if let Some(other) = other.map(|other| at - before + other)
            && let Some(block) = self.0.get_mut(other)
        {
            block.rows &= !bit;
            if block.rows == 0 {
                self.0.remove(other);
            }
        }
        true
    }

    /// All, by shard and row where they are of one generation.
    pub(super) fn iter(&self) -> impl Iterator<Item = NodeHandle> + '_ {
        self.0.iter().flat_map(|block| {
            let (shard, first) = ((block.place() >> 26) as u8, (block.place() << 6) as u32);
            let rows = (0..64).filter(|row| block.rows & 1 << row != 0);
            rows.map(move |row| NodeHandle::new(shard, first + row, block.key as u32))
        })
    }

    /// Takes all out.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Small rows, and the largest there are.
    fn row() -> impl Strategy<Value = u32> {
        prop_oneof![0..200u32, u32::MAX - 100..=u32::MAX]
    }

    proptest! {
        /// As a map from shard and row to generation does it, whatever comes and comes again.
        #[test]
        fn a_row_is_in_under_its_last_registration(
            nodes in prop::collection::vec(
                (prop_oneof![Just(0u8), Just(1), Just(255)], row(), prop_oneof![1..4u32, Just(0xff_ffff)]),
                1..400,
            ),
        ) {
            let (mut set, mut map) = (NodeSet::default(), BTreeMap::new());
            for (shard, row, generation) in nodes {
                let is_new = map.insert((shard, row), generation) != Some(generation);
                prop_assert_eq!(set.insert(NodeHandle::new(shard, row, generation)), is_new);
            }
            let mut found: Vec<_> = set.iter().map(|it| ((it.shard(), it.row()), it.generation())).collect();
            found.sort_unstable();
            prop_assert_eq!(found, map.into_iter().collect::<Vec<_>>());
            prop_assert!(set.0.iter().all(|block| block.rows != 0));
        }
    }

    /// A node that flaps for a year must not leave a block behind for each time.
    #[test]
    fn registrations_that_ended_take_no_room() {
        let mut set = NodeSet::default();
        (1..10_000).for_each(|generation| assert!(set.insert(NodeHandle::new(0, 7, generation))));
        assert_eq!(set.0.len(), 1);
    }
}

//! Changes of nodes' usefulness: one list for all ApplicationMasters, and a cursor in each session.
//! Owns: [`NodeUpdates`]. Called by: the door, on the scheduler's thread. Does not: know what a node has or runs; that is
//! asked of the scheduler when an answer is written.
//!
//! A node stands in it once, with its latest change. So a session that comes late is told how things are, not everything
//! that happened in between, and the list has at most as many entries as the cluster had rows for nodes.
//! Invariant: sequence numbers only grow; a change is told to a session at most once.

use core::ops::Bound;
use std::collections::BTreeMap;

use heddle_wire::record::{NodeHandle, NodeId};

/// The row of a node, which it keeps when it registers again: shard, then row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row(u8, u32);

/// Who a node is, kept for the time when the scheduler knows it no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) node_id: NodeId,
    pub(super) http_port: u16,
    pub(super) rack_name: Box<str>,
}

/// The latest change of a node.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) node: NodeHandle,
    /// YARN's number.
    pub(super) update_type: u8,
    sequence: u64,
    pub(super) identity: Option<Box<Identity>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NodeUpdates {
    last: u64,
    by_row: BTreeMap<Row, Change>,
    by_sequence: BTreeMap<u64, Row>,
}

impl NodeUpdates {
    /// Where a session that knows everything stands.
    pub(super) const fn cursor(&self) -> u64 {
        self.last
    }

    /// A node has changed. `identity` is `None` when the scheduler does not know it any more.
    pub(super) fn note(&mut self, node: NodeHandle, update_type: u8, identity: Option<Identity>) {
        self.last += 1;
        let row = Row(node.shard(), node.row());
        let identity = identity.map(Box::new);
        let change = Change { node, update_type, sequence: self.last, identity };
        let Some(former) = self.by_row.insert(row, change) else {
            self.by_sequence.insert(self.last, row);
            return;
        };
        self.by_sequence.remove(&former.sequence);
        self.by_sequence.insert(self.last, row);
        if let Some(change) = self.by_row.get_mut(&row)
            && change.identity.is_none()
        {
            change.identity = former.identity;
        }
    }

    /// Changes after `cursor`, oldest first, with where the cursor stands after each.
    pub(super) fn since(&self, cursor: u64) -> impl Iterator<Item = (u64, &Change)> {
        self.by_sequence
            .range((Bound::Excluded(cursor), Bound::Unbounded))
            .filter_map(|(sequence, row)| self.by_row.get(row).map(|change| (*sequence, change)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_session_is_told_the_latest_change_of_each_node() {
        let (a, b) = (NodeHandle::new(0, 1, 1), NodeHandle::new(0, 2, 1));
        let identity =
            Identity { node_id: NodeId::new("a", 1), http_port: 2, rack_name: "/default-rack".into() };
        let mut updates = NodeUpdates::default();
        updates.note(a, 0, Some(identity.clone()));
        updates.note(b, 0, None);
        updates.note(a, 1, None);
        let told: Vec<_> =
            updates.since(0).map(|(sequence, change)| (sequence, change.node, change.update_type)).collect();
        assert_eq!(told, [(2, b, 0), (3, a, 1)]);
        let (_, change) = updates.since(2).next().unwrap();
        assert_eq!(change.identity.as_deref(), Some(&identity), "its name outlives it");
        assert_eq!(updates.since(updates.cursor()).count(), 0);
    }
}

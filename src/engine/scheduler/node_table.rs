//! The nodes as the scheduler knows them: what each has, what is used of it, what runs there.
//! Owns: [`NodeTable`], [`RmNode`]. Called by: `node_events` (comes, goes, changes), `placement`, queries, the door; on the
//! scheduler's thread. Does not: decide liveness (shards do), or look for room (`node_index`).
//! Invariants: `used` is the sum of the node's live containers, of those it was ordered to kill and has not reported, and
//! of those it runs that nobody knows; a shard's row has at most one node.

use std::collections::BTreeMap;

use heddle_wire::record::{ContainerId, NodeHandle, NodeId};

use super::container::ContainerIndex;
use super::names::NameId;
use super::resource::ResourceVector;
use crate::engine::event::Usability;

/// Index of a node in [`NodeTable`].
pub(super) type NodeIndexInTable = u32;

/// A node.
#[derive(Debug)]
pub(super) struct RmNode {
    /// Its current registration.
    pub(super) handle: NodeHandle,
    /// Its host.
    pub(super) host: NameId,
    /// Its rack.
    pub(super) rack: NameId,
    /// Its partition.
    pub(super) partition: u16,
    /// Its slot there.
    pub(super) slot: u32,
    /// Whether it may be given containers.
    pub(super) usability: Usability,
    /// What it has.
    pub(super) capability: ResourceVector,
    /// What is used of it.
    pub(super) used: ResourceVector,
    /// Live containers on it.
    pub(super) containers: Vec<ContainerIndex>,
    /// What placement does not need: a grant or an end reads no cache line of it.
    pub(super) details: Box<NodeDetails>,
    /// The reservation on it.
    pub(super) reservation: Option<u32>,
    /// Counted in its partition's total.
    pub(super) is_counted: bool,
}

/// What is seldom needed of a node.
#[derive(Debug)]
pub(super) struct NodeDetails {
    /// Its name.
    pub(super) node_id: NodeId,
    /// Port of its web server.
    pub(super) http_port: u16,
    /// Containers it was ordered to kill, until it reports their end.
    pub(super) leaving: BTreeMap<ContainerId, ResourceVector>,
    /// Containers of applications nobody knows, where those are accepted.
    pub(super) unknown: BTreeMap<ContainerId, ResourceVector>,
}

impl RmNode {
    /// What is free of it.
    #[inline]
    pub(super) fn free(&self) -> ResourceVector {
        self.capability.minus(&self.used)
    }

    /// Containers on it, of any kind.
    pub(super) fn container_count(&self) -> u32 {
        (self.containers.len() + self.details.leaving.len() + self.details.unknown.len()) as u32
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    slab: Vec<Option<RmNode>>,
    free: Vec<NodeIndexInTable>,
    /// By shard, by row; `u32::MAX` = none.
    rows: Vec<Vec<u32>>,
    /// By host.
    hosts: BTreeMap<NameId, Vec<NodeIndexInTable>>,
    count: usize,
}

impl NodeTable {
    /// The node of a row, whatever its generation.
    #[inline]
    pub(super) fn find(&self, handle: NodeHandle) -> Option<NodeIndexInTable> {
        let row = self.rows.get(usize::from(handle.shard()))?.get(handle.row() as usize)?;
        (*row != u32::MAX).then_some(*row)
    }

    /// A node.
    #[inline]
    pub(super) fn get(&self, index: NodeIndexInTable) -> Option<&RmNode> {
        self.slab.get(index as usize).and_then(Option::as_ref)
    }

    /// A node.
    #[inline]
    pub(super) fn get_mut(&mut self, index: NodeIndexInTable) -> Option<&mut RmNode> {
        self.slab.get_mut(index as usize).and_then(Option::as_mut)
    }

    /// Adds the node of a row that has none.
    pub(super) fn insert(&mut self, node: RmNode) -> NodeIndexInTable {
        let (shard, row, host) = (usize::from(node.handle.shard()), node.handle.row() as usize, node.host);
        let index = if let Some(index) = self.free.pop() {
            self.slab[index as usize] = Some(node);
            index
        } else {
            self.slab.push(Some(node));
            self.slab.len() as u32 - 1
        };
        if self.rows.len() <= shard {
            self.rows.resize_with(shard + 1, Vec::new);
        }
        let rows = &mut self.rows[shard];
        if rows.len() <= row {
            rows.resize(row + 1, u32::MAX);
        }
        rows[row] = index;
        self.hosts.entry(host).or_default().push(index);
        self.count += 1;
        index
    }

    /// Takes a node out.
    pub(super) fn remove(&mut self, index: NodeIndexInTable) -> Option<RmNode> {
        let node = self.slab.get_mut(index as usize)?.take()?;
        self.free.push(index);
        if let Some(row) = self
            .rows
            .get_mut(usize::from(node.handle.shard()))
            .and_then(|rows| rows.get_mut(node.handle.row() as usize))
        {
            *row = u32::MAX;
        }
        if let Some(on_host) = self.hosts.get_mut(&node.host) {
            on_host.retain(|other| *other != index);
            if on_host.is_empty() {
                self.hosts.remove(&node.host);
            }
        }
        self.count -= 1;
        Some(node)
    }

    /// Nodes of a host.
    pub(super) fn on_host(&self, host: NameId) -> &[NodeIndexInTable] {
        self.hosts.get(&host).map_or(&[], Vec::as_slice)
    }

    /// How many.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Every node, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIndexInTable, &RmNode)> {
        self.slab
            .iter()
            .enumerate()
            .filter_map(|(index, node)| node.as_ref().map(|node| (index as u32, node)))
    }
}

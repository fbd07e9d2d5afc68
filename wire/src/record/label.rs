//! Node labels by node, and nodes by label.
//! Owns: those two pairs. Called by: client and administration protocols.
//! Does not: hold the cluster's labels; those are [`NodeLabel`](super::NodeLabel)s.

use rkyv::{Archive, Deserialize, Serialize};

use super::NodeId;

/// The labels of a node.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeIdToLabels {
    /// The node; in administration requests port 0 means every NodeManager of the host.
    pub node_id: NodeId,
    /// All its labels; empty = the default partition.
    pub node_labels: Vec<String>,
}

/// The nodes of a label.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LabelToNodeIds {
    /// The label.
    pub node_label: String,
    /// Its nodes.
    pub node_ids: Vec<NodeId>,
}

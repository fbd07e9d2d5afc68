//! Node labels: of nodes, of the cluster.
//! Owns: those records. Called by: the shard, `client`, the command line.
//! Does not: change labels; an administrator does.
//!
//! Differs from YARN: listings by node are paged, shard by shard, as GetClusterNodes is.

use rkyv::{Archive, Deserialize, Serialize};

use crate::check::{names, range};
use crate::error::DecodeError;
use crate::limits;
use crate::message::{Message, message};
use crate::opcode::Opcode;
use crate::record::{LabelToNodeIds, NodeIdToLabels, NodeLabel};

/// A page of nodes with their labels; nodes without are left out. The header's routing key is a
/// [`NodeHandle`](crate::record::NodeHandle) with only the shard set.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetNodeToLabelsRequest {
    /// First row to look at.
    pub start_row: u32,
    /// Most nodes wanted, 1 to [`NODES_PER_PAGE_MAX`](limits::NODES_PER_PAGE_MAX).
    pub limit: u32,
}

/// Answer to [`GetNodeToLabelsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetNodeToLabelsResponse {
    /// How many shards there are to ask.
    pub shard_count: u32,
    /// Where to go on in this shard; `None` at its end.
    pub next_row: Option<u32>,
    /// The nodes.
    pub node_to_labels: Vec<NodeIdToLabels>,
}

/// A page of labels with their nodes. The routing key is as for [`GetNodeToLabelsRequest`]; the client puts pages and
/// shards together.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetLabelsToNodesRequest {
    /// Labels wanted; empty = all.
    pub node_labels: Vec<String>,
    /// First row to look at.
    pub start_row: u32,
    /// Most nodes wanted, 1 to [`NODES_PER_PAGE_MAX`](limits::NODES_PER_PAGE_MAX).
    pub limit: u32,
}

/// Answer to [`GetLabelsToNodesRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetLabelsToNodesResponse {
    /// How many shards there are to ask.
    pub shard_count: u32,
    /// Where to go on in this shard; `None` at its end.
    pub next_row: Option<u32>,
    /// The labels that nodes of this page have.
    pub labels_to_nodes: Vec<LabelToNodeIds>,
}

/// The cluster's labels.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetClusterNodeLabelsRequest {}

/// Answer to [`GetClusterNodeLabelsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetClusterNodeLabelsResponse {
    /// The labels, without the default partition.
    pub node_labels: Vec<NodeLabel>,
}

message! {
    GetNodeToLabelsRequest => GetNodeToLabels, false;
    GetNodeToLabelsResponse => GetNodeToLabels, true;
    GetLabelsToNodesRequest => GetLabelsToNodes, false;
    GetLabelsToNodesResponse => GetLabelsToNodes, true;
    GetClusterNodeLabelsRequest => GetClusterNodeLabels, false;
    GetClusterNodeLabelsResponse => GetClusterNodeLabels, true;
}

impl ArchivedGetNodeToLabelsRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        range("limit", self.limit.to_native().into(), 1, limits::NODES_PER_PAGE_MAX.into())
    }
}

impl ArchivedGetLabelsToNodesRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        names("node_labels", &self.node_labels, limits::CLUSTER_LABELS_MAX)?;
        range("limit", self.limit.to_native().into(), 1, limits::NODES_PER_PAGE_MAX.into())
    }
}

impl ArchivedGetClusterNodeLabelsRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

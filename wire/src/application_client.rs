//! ApplicationClient: client → ResourceManager. Here the node queries; applications, containers, queues and labels below.
//! Owns: the records of GetClusterNodes and GetClusterMetrics. Called by: the shard, `client`, the command line.
//! Does not: hold security tokens, reservations and attributes yet; their opcodes are answered "not supported yet" by
//! name.
//!
//! Differs from YARN: a node listing is paged, shard by shard, so that one answer is bounded at a million nodes. The
//! client asks shard 0 from row 0, goes on at `next_row` until it is `None`, then asks the next shard.

use rkyv::{Archive, Deserialize, Serialize};

use crate::error::DecodeError;
use crate::limits;
use crate::message::{Message, message};
use crate::opcode::Opcode;
use crate::record::{NodeId, NodeReport, NodeState, Resource};
use crate::resource_tracker::{check_node_id, list};

mod application;
mod container;
mod label;
mod queue;

pub use application::*;
pub use container::*;
pub use label::*;
pub use queue::*;

/// A page of node reports. The header's routing key is a [`NodeHandle`](crate::record::NodeHandle) with only the shard
/// set.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetClusterNodesRequest {
    /// States wanted; empty = all.
    pub node_states: Vec<NodeState>,
    /// Nodes wanted (port 0 = every NodeManager of the host); empty = all.
    pub node_ids: Vec<NodeId>,
    /// First row to look at.
    pub start_row: u32,
    /// Most reports wanted, 1 to [`NODES_PER_PAGE_MAX`](limits::NODES_PER_PAGE_MAX).
    pub limit: u32,
}

/// Answer to [`GetClusterNodesRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetClusterNodesResponse {
    /// How many shards there are to ask.
    pub shard_count: u32,
    /// Where to go on in this shard; `None` at its end.
    pub next_row: Option<u32>,
    /// The reports.
    pub nodes: Vec<NodeReport>,
}

/// Node counts of one shard. The routing key is as for [`GetClusterNodesRequest`]; the client adds up.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetClusterMetricsRequest {}

/// Answer to [`GetClusterMetricsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetClusterMetricsResponse {
    /// How many shards there are to ask.
    pub shard_count: u32,
    /// Nodes by state, in the order of [`NodeState::ALL`].
    pub nodes_by_state: Vec<u32>,
    /// Active nodes that are suspect.
    pub suspect_nodes: u32,
    /// True while the brake holds back expiry.
    pub is_brake_engaged: bool,
    /// Containers that are not complete.
    pub running_containers: u64,
    /// Capability of RUNNING nodes.
    pub capability: Resource,
    /// Start of this ResourceManager, milliseconds since 1970.
    pub rm_identifier: u64,
    /// Its version.
    pub rm_version: String,
}

message! {
    GetClusterNodesRequest => GetClusterNodes, false;
    GetClusterNodesResponse => GetClusterNodes, true;
    GetClusterMetricsRequest => GetClusterMetrics, false;
    GetClusterMetricsResponse => GetClusterMetrics, true;
}

impl ArchivedGetClusterNodesRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        list("node_states", self.node_states.len(), NodeState::ALL.len())?;
        list("node_ids", self.node_ids.len(), limits::NODE_IDS_MAX)?;
        self.node_ids.iter().try_for_each(|node_id| check_node_id(node_id, 0))?;
        let found = self.limit.to_native();
        if found == 0 || found > limits::NODES_PER_PAGE_MAX {
            return Err(DecodeError::OutOfRange {
                field: "limit",
                found: u64::from(found),
                min: 1,
                max: u64::from(limits::NODES_PER_PAGE_MAX),
            });
        }
        Ok(())
    }
}

impl ArchivedGetClusterMetricsRequest {
    /// Checks every value a peer chooses: there is none.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

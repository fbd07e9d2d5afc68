//! Administration: administrator → ResourceManager. Here nodes; queues, labels, ACLs and priorities below.
//! Owns: the records of RefreshNodes, DecommissionNodes, RecommissionNodes. Called by: the shard, doors, the command line.
//! Invariant: a published record keeps its layout (held by the golden frames).
//! Does not: hold service ACLs, proxy users and attributes yet; their opcodes are answered "not supported yet" by name.

use rkyv::{Archive, Deserialize, Serialize};

use crate::error::DecodeError;
use crate::limits;
use crate::message::{Message, message};
use crate::opcode::Opcode;
use crate::record::NodeId;
use crate::resource_tracker::{check_node_id, list};

mod scheduler;

pub use scheduler::*;

/// How nodes leave.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum DecommissionType {
    /// At once.
    #[default]
    Normal = 1,
    /// After their work is done or a timeout has passed.
    Graceful = 2,
    /// At once, also nodes that are being emptied gracefully.
    Forceful = 3,
}

/// Reload the include and exclude lists and apply them.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshNodesRequest {
    /// How nodes that are not listed any more leave.
    pub decommission_type: DecommissionType,
    /// Seconds, for GRACEFUL: `None` = configured default, negative = for ever.
    pub decommission_timeout_s: Option<i32>,
}

/// Answer to [`RefreshNodesRequest`]: sent when every shard has applied the lists.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshNodesResponse {
    /// Hosts in the include list; 0 = every host may join.
    pub included_hosts: u32,
    /// Hosts in the exclude list.
    pub excluded_hosts: u32,
    /// Nodes that began to leave.
    pub affected_nodes: u32,
}

/// Decommission named nodes. The routing key has only the shard set; a client asks every shard in turn.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct DecommissionNodesRequest {
    /// The nodes; port 0 = every NodeManager of the host.
    pub node_ids: Vec<NodeId>,
    /// How they leave.
    pub decommission_type: DecommissionType,
    /// Seconds, for GRACEFUL: `None` = configured default, negative = for ever.
    pub decommission_timeout_s: Option<i32>,
}

/// Answer to [`DecommissionNodesRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct DecommissionNodesResponse {
    /// How many shards there are to ask.
    pub shard_count: u32,
    /// Nodes of this shard that began to leave or left.
    pub affected_nodes: Vec<NodeId>,
}

/// Bring DECOMMISSIONING nodes back. The routing key has only the shard set.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RecommissionNodesRequest {
    /// The nodes; port 0 = every NodeManager of the host.
    pub node_ids: Vec<NodeId>,
}

/// Answer to [`RecommissionNodesRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RecommissionNodesResponse {
    /// How many shards there are to ask.
    pub shard_count: u32,
    /// Nodes of this shard that are RUNNING again.
    pub affected_nodes: Vec<NodeId>,
}

message! {
    RefreshNodesRequest => RefreshNodes, false;
    RefreshNodesResponse => RefreshNodes, true;
    DecommissionNodesRequest => DecommissionNodes, false;
    DecommissionNodesResponse => DecommissionNodes, true;
    RecommissionNodesRequest => RecommissionNodes, false;
    RecommissionNodesResponse => RecommissionNodes, true;
}

impl ArchivedRefreshNodesRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedDecommissionNodesRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        list("node_ids", self.node_ids.len(), limits::NODE_IDS_MAX)?;
        self.node_ids.iter().try_for_each(|node_id| check_node_id(node_id, 0))
    }
}

impl ArchivedRecommissionNodesRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        list("node_ids", self.node_ids.len(), limits::NODE_IDS_MAX)?;
        self.node_ids.iter().try_for_each(|node_id| check_node_id(node_id, 0))
    }
}

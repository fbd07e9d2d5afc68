//! What an ApplicationMaster gets: grants, ended containers, news of nodes, notice of preemption.
//! Owns: those records. Called by: the ApplicationMaster protocol.
//! Does not: repeat a node's address in each grant; it travels once per attempt and node, in [`NmToken`](super::NmToken).

use std::borrow::Cow;

use rkyv::with::AsOwned;
use rkyv::{Archive, Deserialize, Serialize};

use super::{
    ContainerId, ContainerState, ExecutionType, NodeHandle, NodeId, NodeState, Resource, ResourceRequest,
    TokenMac,
};

/// A grant.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The container.
    pub container_id: ContainerId,
    /// Where; its address is in the [`NmToken`](super::NmToken) of this node, in the same or an earlier frame.
    pub node: NodeHandle,
    /// Its size, at least what was asked for.
    pub resource: Resource,
    /// Priority of the ask.
    pub priority: i32,
    /// Allocation request id of the ask; -1 for none.
    pub allocation_request_id: i64,
    /// The how-manieth grant of its priority and allocation request id this is, from 1. A number may come again after
    /// the grant that had it was void.
    pub grant_number: u64,
    /// Its execution type.
    pub execution_type: ExecutionType,
    /// Its version, from 0; grows with each accepted update.
    pub version: u32,
    /// After this the node refuses to start it, milliseconds since 1970.
    pub expires_at_ms: u64,
    /// Signature of the right to start it.
    pub token: TokenMac,
}

/// A container that ended.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct CompletedContainer {
    /// The container.
    pub container_id: ContainerId,
    /// Its state on the node: COMPLETE.
    pub state: ContainerState,
    /// Exit code 0–255, or one of YARN's negative values.
    pub exit_status: i32,
    /// Its execution type.
    pub execution_type: ExecutionType,
    /// What it had.
    pub capability: Resource,
    // Mostly a sentence of the ResourceManager's: telling it copies nothing.
    /// Text for people.
    #[rkyv(with = AsOwned)]
    pub diagnostics: Cow<'static, str>,
}

/// How a node's usefulness changed.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum NodeUpdateType {
    /// It may be used again.
    NodeUsable = 0,
    /// It may not be used: lost, unhealthy, decommissioned or shut down.
    NodeUnusable = 1,
    /// It is being emptied: nothing new is placed.
    NodeDecommissioning = 2,
}

/// News of a node.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdatedNode {
    /// The node as grants name it.
    pub node: NodeHandle,
    /// Identity.
    pub node_id: NodeId,
    /// State.
    pub state: NodeState,
    /// What changed.
    pub update_type: NodeUpdateType,
    /// Port of its web server, 0 for none.
    pub http_port: u16,
    /// Rack.
    pub rack_name: String,
    /// What it offers.
    pub capability: Resource,
    /// What its containers have.
    pub used: Resource,
    /// Containers that are not complete.
    pub num_containers: u32,
    /// What the node says of its health; empty where all is well.
    pub health_report: String,
    /// When it said so, milliseconds since 1970.
    pub last_health_report_time_ms: u64,
    /// Labels.
    pub node_labels: Vec<String>,
    /// Milliseconds until a DECOMMISSIONING node is taken out whatever runs on it; `None` for no deadline.
    pub decommissioning_remaining_ms: Option<u64>,
}

/// Notice of preemption.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct PreemptionMessage {
    /// Will be killed whatever the ApplicationMaster does.
    pub strict_contract: Vec<ContainerId>,
    /// Will be killed unless the same is given back otherwise.
    pub contract: Option<PreemptionContract>,
}

/// What would do instead.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct PreemptionContract {
    /// Giving back this much will do.
    pub resources: Vec<ResourceRequest>,
    /// Else these are killed.
    pub containers: Vec<ContainerId>,
}

/// How busy the whole cluster is, for ApplicationMasters that choose how much to ask for.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnhancedHeadroom {
    /// Containers that all applications together still want.
    pub total_pending_count: u64,
    /// Virtual cores of the cluster, used and free.
    pub total_active_cores: u64,
}

/// Where the application's timeline collector is.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct CollectorInfo {
    /// Its address.
    pub collector_addr: String,
    /// Its token, opaque to Heddle; empty for none.
    pub collector_token: Vec<u8>,
}

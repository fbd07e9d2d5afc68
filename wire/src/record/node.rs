//! What describes a node: state, health, labels, attributes, reports.
//! Owns: those records. Called by: resource tracker, client and administration protocols.
//! Does not: hold the node's state machine (that is the engine's).

use rkyv::{Archive, Deserialize, Serialize};

use super::{ApplicationId, NodeHandle, NodeId, Resource, ResourceUtilization};

/// What the ResourceManager wants of a NodeManager.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum NodeAction {
    /// Carry on.
    #[default]
    Normal = 0,
    /// Register again, keeping containers.
    Resync = 1,
    /// Stop.
    Shutdown = 2,
}

/// State of a node as YARN names it.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum NodeState {
    /// Known, not started.
    New = 1,
    /// In use.
    Running = 2,
    /// Reports itself unhealthy.
    Unhealthy = 3,
    /// Taken out by an administrator.
    Decommissioned = 4,
    /// Silent for too long.
    Lost = 5,
    /// Out of step with the ResourceManager, replaced when it registers again.
    Rebooted = 6,
    /// Being emptied before it is taken out.
    Decommissioning = 7,
    /// Said that it stops.
    Shutdown = 8,
}

impl NodeState {
    /// Every state, in YARN's order.
    pub const ALL: [Self; 8] = [
        Self::New,
        Self::Running,
        Self::Unhealthy,
        Self::Decommissioned,
        Self::Lost,
        Self::Rebooted,
        Self::Decommissioning,
        Self::Shutdown,
    ];

    /// YARN's text form, for example `RUNNING`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Running => "RUNNING",
            Self::Unhealthy => "UNHEALTHY",
            Self::Decommissioned => "DECOMMISSIONED",
            Self::Lost => "LOST",
            Self::Rebooted => "REBOOTED",
            Self::Decommissioning => "DECOMMISSIONING",
            Self::Shutdown => "SHUTDOWN",
        }
    }

    /// Reads the text form, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(text))
    }

    /// True for NEW, RUNNING, UNHEALTHY and DECOMMISSIONING: the node may beat.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::New | Self::Running | Self::Unhealthy | Self::Decommissioning)
    }
}

impl ArchivedNodeState {
    /// The state itself.
    #[must_use]
    pub const fn to_native(&self) -> NodeState {
        match self {
            Self::New => NodeState::New,
            Self::Running => NodeState::Running,
            Self::Unhealthy => NodeState::Unhealthy,
            Self::Decommissioned => NodeState::Decommissioned,
            Self::Lost => NodeState::Lost,
            Self::Rebooted => NodeState::Rebooted,
            Self::Decommissioning => NodeState::Decommissioning,
            Self::Shutdown => NodeState::Shutdown,
        }
    }
}

/// A node's opinion of itself.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeHealthStatus {
    /// False when a disk or the health script says so.
    pub is_node_healthy: bool,
    /// When that was found out, milliseconds since 1970.
    pub last_health_report_time_ms: u64,
    /// Text for people; empty where all is well.
    pub health_report: String,
}

impl Default for NodeHealthStatus {
    fn default() -> Self {
        Self { is_node_healthy: true, last_health_report_time_ms: 0, health_report: String::new() }
    }
}

/// A node label (partition).
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeLabel {
    /// Name.
    pub name: String,
    /// Whether only asks that name it may use the node.
    pub is_exclusive: bool,
}

/// A node attribute.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeAttribute {
    /// Prefix; a node may only report `nm.yarn.io`.
    pub prefix: String,
    /// Name.
    pub name: String,
    /// Value; may be empty. All attributes are of type STRING.
    pub value: String,
}

/// A secret with which tokens are made and checked.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct MasterKey {
    /// Its number.
    pub key_id: u32,
    /// The secret.
    pub bytes: Vec<u8>,
}

impl core::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MasterKey").field("key_id", &self.key_id).field("bytes", &"(secret)").finish()
    }
}

/// Where an application's timeline collector runs.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AppCollectorData {
    /// The application.
    pub application_id: ApplicationId,
    /// Address of the collector.
    pub collector_addr: String,
    /// Start of the ResourceManager that stamped it; 0 when not stamped yet.
    pub rm_identifier: u64,
    /// Version the ResourceManager gave it; 0 when not stamped yet.
    pub version: u64,
}

/// Credentials of an application, to be replaced on the node.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct SystemCredentials {
    /// The application.
    pub application_id: ApplicationId,
    /// The credentials, opaque to Heddle.
    pub credentials: Vec<u8>,
}

impl core::fmt::Debug for SystemCredentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SystemCredentials")
            .field("application_id", &self.application_id)
            .finish_non_exhaustive()
    }
}

/// Bound on a node's queue of opportunistic containers; exactly one of the two is set, the other is -1.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerQueuingLimit {
    /// Most containers queued.
    pub max_queue_length: i32,
    /// Longest estimated wait, milliseconds.
    pub max_queue_wait_time_ms: i32,
}

/// State of a node's queue of opportunistic containers.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpportunisticContainersStatus {
    /// Running.
    pub running_containers: u32,
    /// Memory they use, MiB.
    pub memory_used_mb: u64,
    /// Virtual cores they use.
    pub virtual_cores_used: u32,
    /// Queued.
    pub queued_containers: u32,
    /// Length of the wait queue.
    pub wait_queue_length: u32,
    /// Estimated wait, milliseconds; -1 for unknown.
    pub estimated_queue_wait_time_ms: i32,
    /// Capacity of the queue.
    pub queue_capacity: u32,
}

/// A node as clients see it.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Identity.
    pub node_id: NodeId,
    /// Handle of its current registration.
    pub handle: NodeHandle,
    /// Port of its web server.
    pub http_port: u16,
    /// Rack.
    pub rack_name: String,
    /// State.
    pub state: NodeState,
    /// True when the node is quieter than its class allows and may become LOST. Heddle's own.
    pub is_suspect: bool,
    /// Liveliness class it belongs to. Heddle's own.
    pub node_class: String,
    /// Since its last beat, milliseconds.
    pub last_seen_ms: u64,
    /// What its containers have, as the node reports them.
    pub used: Resource,
    /// What it offers.
    pub capability: Resource,
    /// Containers that are not complete.
    pub running_containers: u32,
    /// Applications with containers or keep-alives on it.
    pub running_applications: u32,
    /// What the node says of its health; empty where all is well.
    pub health_report: String,
    /// When it said so, milliseconds since 1970.
    pub last_health_report_time_ms: u64,
    /// Labels.
    pub node_labels: Vec<String>,
    /// Attributes.
    pub node_attributes: Vec<NodeAttribute>,
    /// Measured use of all containers.
    pub containers_utilization: ResourceUtilization,
    /// Measured use of the machine.
    pub node_utilization: ResourceUtilization,
    /// Version of the NodeManager.
    pub nm_version: String,
    /// Milliseconds until a DECOMMISSIONING node is taken out whatever runs on it; `None` for no deadline.
    pub decommissioning_remaining_ms: Option<u64>,
    /// What keeps a DECOMMISSIONING node from being taken out: texts such as
    /// `container_1700000000000_0001_01_000002` or `application_1700000000000_0001 (keep-alive)`, at most 32.
    pub decommissioning_blocked_by: Vec<String>,
}

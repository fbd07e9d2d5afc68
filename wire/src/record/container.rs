//! Containers as a NodeManager reports them, and as the ResourceManager talks about them to a NodeManager.
//! Owns: container states, statuses, the digest of a running set. Called by: resource tracker, engine door.
//! Does not: hold a container's life in the scheduler.

use rkyv::{Archive, Deserialize, Serialize};

use super::{ApplicationId, ContainerId, Resource};

/// Exit status of a container that still runs.
pub const EXIT_STATUS_INVALID: i32 = -1000;
/// Exit status of a container the ResourceManager ended: released, node lost, expired, running but not reported.
pub const EXIT_STATUS_ABORTED: i32 = -100;

/// State of a container on its node.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum ContainerState {
    /// Known, not started.
    New = 1,
    /// Everything between start and end.
    Running = 2,
    /// Ended.
    Complete = 3,
}

/// Finer state of a container on its node.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum ContainerSubState {
    /// Queued on the node.
    Scheduled = 1,
    /// Started.
    Running = 2,
    /// Paused.
    Paused = 3,
    /// Ending.
    Completing = 4,
    /// Ended.
    Done = 5,
}

/// Whether a container may be killed for others.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum ExecutionType {
    /// Runs on resources that are its own.
    #[default]
    Guaranteed = 1,
    /// Runs on what is left over.
    Opportunistic = 2,
}

/// A container's state in a heartbeat: sent when it changed, and while completed until acknowledged.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// The container.
    pub container_id: ContainerId,
    /// Its state.
    pub state: ContainerState,
    /// Its finer state.
    pub sub_state: ContainerSubState,
    /// Its execution type.
    pub execution_type: ExecutionType,
    /// Exit code 0–255, one of YARN's negative values, or [`EXIT_STATUS_INVALID`] while running.
    pub exit_status: i32,
    /// Its size.
    pub capability: Resource,
    /// Text for people.
    pub diagnostics: String,
    /// Free attributes; well-known keys are `IPS`, `HOST`, `PORTS`.
    pub attributes: Vec<StringPair>,
}

/// A key and a value.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct StringPair {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// A container as registration reports it: with everything needed to rebuild the ResourceManager's side of it.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NmContainerStatus {
    /// The container, with its epoch.
    pub container_id: ContainerId,
    /// Its state.
    pub container_state: ContainerState,
    /// Its execution type.
    pub execution_type: ExecutionType,
    /// Exit code when completed.
    pub exit_status: i32,
    /// Its size as the node knows it.
    pub capability: Resource,
    /// Its priority.
    pub priority: i32,
    /// Creation time from its token, milliseconds since 1970.
    pub creation_time_ms: u64,
    /// Version; grows with each accepted update.
    pub version: u32,
    /// The request that produced it; -1 for none.
    pub allocation_request_id: i64,
    /// Partition of the original request.
    pub node_label_expression: String,
    /// Tags for affinity.
    pub allocation_tags: Vec<String>,
    /// Text for people.
    pub diagnostics: String,
}

/// What runs on a node, in twelve bytes: both sides compare it at every beat.
///
/// `count` containers that are not complete; `hash` is the wrapping sum of their
/// [`ContainerId::digest_share`], so that order does not matter and one change costs one addition.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy))]
pub struct ContainersDigest {
    /// How many containers are not complete.
    pub count: u32,
    /// Sum of their shares.
    pub hash: u64,
}

impl ContainersDigest {
    /// A container appeared.
    pub const fn add(&mut self, container: &ContainerId) {
        self.count = self.count.wrapping_add(1);
        self.hash = self.hash.wrapping_add(container.digest_share());
    }

    /// A container is complete or gone.
    pub const fn remove(&mut self, container: &ContainerId) {
        self.count = self.count.wrapping_sub(1);
        self.hash = self.hash.wrapping_sub(container.digest_share());
    }
}

impl ArchivedContainersDigest {
    /// The record itself.
    #[must_use]
    #[inline]
    pub const fn to_native(&self) -> ContainersDigest {
        ContainersDigest { count: self.count.to_native(), hash: self.hash.to_native() }
    }
}

/// What to do to a container's process.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum SignalContainerCommand {
    /// Write a thread dump.
    OutputThreadDump = 1,
    /// Ask it to end.
    GracefulShutdown = 2,
    /// End it.
    ForcefulShutdown = 3,
}

/// A signal for a container.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalContainer {
    /// Its number among the commands of the node: a repeated delivery has the same, and is not carried out twice.
    pub sequence: u32,
    /// The container.
    pub container_id: ContainerId,
    /// What to do.
    pub command: SignalContainerCommand,
}

/// An update of a container to be enforced on the node: new size, new execution type, or both.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ContainerUpdate {
    /// The container.
    pub container_id: ContainerId,
    /// Its new version.
    pub version: u32,
    /// Its new size.
    pub capability: Resource,
    /// Its new execution type.
    pub execution_type: ExecutionType,
}

/// How far log aggregation of an application is, on one node.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum LogAggregationStatus {
    /// Off.
    Disabled = 1,
    /// Not begun.
    NotStart = 2,
    /// Under way.
    Running = 3,
    /// Done.
    Succeeded = 4,
    /// Failed.
    Failed = 5,
    /// Took too long.
    TimeOut = 6,
    /// Under way, with failures.
    RunningWithFailure = 7,
}

/// Log aggregation of one application on the reporting node.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LogAggregationReport {
    /// The application.
    pub application_id: ApplicationId,
    /// How far it is.
    pub status: LogAggregationStatus,
    /// Text for people.
    pub diagnostics: String,
}

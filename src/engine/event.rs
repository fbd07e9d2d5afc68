//! Messages between engine roles: closed types, grouped by who says them.
//! Owns: [`NodeEvent`] (shard → scheduler), [`NodeCommand`] and [`ShardCommand`] (→ shard), [`CommandReply`].
//! Called by: shard, scheduler, runtime, recorder, simulator. Does not: carry closures or references.

use heddle_wire::record::{
    ApplicationId, ContainerId, ContainerState, ExecutionType, NodeHandle, SignalContainerCommand,
};
use serde::{Deserialize, Serialize};

use super::settings::NodeLists;

/// An amount of every resource type, in the engine's own shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Virtual cores.
    pub virtual_cores: u32,
    /// Extended resources by name, sorted by name, with units.
    pub extended: Box<[ExtendedResource]>,
}

/// An amount of one extended resource type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExtendedResource {
    /// The type's name.
    pub name: Box<str>,
    /// How much, in `units`.
    pub value: u64,
    /// The unit.
    pub units: Box<str>,
}

/// Ids as the engine's messages carry them.
mod id {
    use heddle_wire::record as wire;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    macro_rules! as_parts {
        ($module:ident, $id:ty, $parts:ty, $to:expr, $from:expr) => {
            pub(super) mod $module {
                use super::*;

                pub(in crate::engine::event) fn serialize<S: Serializer>(
                    id: &$id,
                    serializer: S,
                ) -> Result<S::Ok, S::Error> {
                    let to: fn(&$id) -> $parts = $to;
                    to(id).serialize(serializer)
                }

                pub(in crate::engine::event) fn deserialize<'de, D: Deserializer<'de>>(
                    deserializer: D,
                ) -> Result<$id, D::Error> {
                    let from: fn($parts) -> $id = $from;
                    <$parts>::deserialize(deserializer).map(from)
                }
            }
        };
    }
    as_parts!(handle, wire::NodeHandle, u64, |handle| handle.0, wire::NodeHandle);
    as_parts!(application, wire::ApplicationId, (u64, u32), |id| (id.cluster_timestamp, id.id), |(
        cluster_timestamp,
        id,
    )| {
        wire::ApplicationId { cluster_timestamp, id }
    });
    as_parts!(
        container,
        wire::ContainerId,
        (u64, u32, u32, u64),
        |id| {
            let attempt = id.application_attempt_id;
            let application = attempt.application_id;
            (application.cluster_timestamp, application.id, attempt.attempt_id, id.container_id)
        },
        |(cluster_timestamp, id, attempt_id, container_id)| {
            let application_id = wire::ApplicationId { cluster_timestamp, id };
            let application_attempt_id = wire::ApplicationAttemptId { application_id, attempt_id };
            wire::ContainerId { application_attempt_id, container_id }
        }
    );
    as_parts!(state, wire::ContainerState, u8, |state| *state as u8, |number| match number {
        1 => wire::ContainerState::New,
        2 => wire::ContainerState::Running,
        _ => wire::ContainerState::Complete,
    });
    as_parts!(execution, wire::ExecutionType, u8, |kind| *kind as u8, |number| if number == 2 {
        wire::ExecutionType::Opportunistic
    } else {
        wire::ExecutionType::Guaranteed
    });
    as_parts!(signal, wire::SignalContainerCommand, u8, |signal| *signal as u8, |number| match number {
        1 => wire::SignalContainerCommand::OutputThreadDump,
        2 => wire::SignalContainerCommand::GracefulShutdown,
        _ => wire::SignalContainerCommand::ForcefulShutdown,
    });
}

/// Everything that happened to one node since the scheduler last heard of it: one outstanding event per node.
///
/// Fields are to be applied in their order. However slow the scheduler is, an event grows only up to the node's
/// containers, and nothing is lost: what would be a second event is folded into the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEvent {
    /// The node, by its current (or, when only `removed` is set, its last) registration.
    #[serde(with = "id::handle")]
    pub node: NodeHandle,
    /// Containers seen complete for the first time, with their exit status. First of all, so that the real status counts
    /// where the node is gone as well, and so that a container that came back after its end was told is live.
    pub completed: Vec<ContainerReport>,
    /// A registration the scheduler knows has ended: every container on it is gone.
    pub removed: Option<NodeRemoved>,
    /// The node is new to the scheduler under `node`.
    pub added: Option<Box<NodeAdded>>,
    /// The node was unusable at some moment since the last event: containers known before are gone.
    pub was_interrupted: bool,
    /// Whether containers may be placed on it now.
    pub usability: Option<Usability>,
    /// New capability.
    pub capability: Option<Resource>,
    /// The labels the node reports now, where they are others than it was added with.
    pub node_labels: Option<Box<[Box<str>]>>,
    /// Containers seen running for the first time that still run. One that began and ended since the last event is only
    /// in `completed`.
    pub launched: Vec<ContainerReport>,
    /// Containers whose resource increase is done on the node.
    #[serde(with = "containers")]
    pub increased: Vec<ContainerId>,
}

mod containers {
    use heddle_wire::record::ContainerId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Item(#[serde(with = "super::id::container")] ContainerId);

    pub(super) fn serialize<S: Serializer>(ids: &[ContainerId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(|id| Item(*id)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<ContainerId>, D::Error> {
        Ok(Vec::<Item>::deserialize(deserializer)?.into_iter().map(|item| item.0).collect())
    }
}

impl NodeEvent {
    /// An event in which nothing happened yet.
    #[must_use]
    pub const fn new(node: NodeHandle) -> Self {
        Self {
            node,
            completed: Vec::new(),
            removed: None,
            added: None,
            was_interrupted: false,
            usability: None,
            capability: None,
            node_labels: None,
            launched: Vec::new(),
            increased: Vec::new(),
        }
    }
}

/// The end of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRemoved {
    /// The registration.
    #[serde(with = "id::handle")]
    pub node: NodeHandle,
    /// Why.
    pub reason: RemovedReason,
}

/// Why a node is gone for the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RemovedReason {
    /// Silent for too long.
    Lost,
    /// Out of step.
    Rebooted,
    /// Taken out by an administrator.
    Decommissioned,
    /// Said that it stops.
    Shutdown,
    /// Registered again without containers: what ran before is gone.
    Reconnected,
}

/// A node the scheduler does not know yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAdded {
    /// Host.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
    /// Port of its web server.
    pub http_port: u16,
    /// Rack.
    pub rack_name: Box<str>,
    /// Labels.
    pub node_labels: Box<[Box<str>]>,
}

/// Whether a node may be given containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Usability {
    /// Yes.
    Usable,
    /// No new ones; what runs goes on: the node is quiet at the moment.
    Suspect,
    /// No new ones; what runs is let finish.
    Decommissioning,
    /// No, and what runs is written off.
    Unhealthy,
}

/// A container as its node reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// The container.
    #[serde(with = "id::container")]
    pub container_id: ContainerId,
    /// Its state.
    #[serde(with = "id::state")]
    pub state: ContainerState,
    /// Its execution type.
    #[serde(with = "id::execution")]
    pub execution_type: ExecutionType,
    /// Exit status; −1000 while running.
    pub exit_status: i32,
    /// Its size.
    pub capability: Resource,
    /// Text for people, at most 4 KiB.
    pub diagnostics: Box<str>,
}

/// An order for one node. Said by the scheduler, carried by the shard until the node acknowledges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCommand {
    /// The node. An order for a registration that has ended is dropped, counted.
    #[serde(with = "id::handle")]
    pub node: NodeHandle,
    /// What to do.
    pub order: NodeOrder,
    /// Send it now, without waiting for the next beat.
    pub is_urgent: bool,
}

/// What a [`NodeCommand`] orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeOrder {
    /// Kill a container.
    CleanupContainer(#[serde(with = "id::container")] ContainerId),
    /// An application has ended.
    CleanupApplication(#[serde(with = "id::application")] ApplicationId),
    /// The completion of a container was delivered: the node may forget it.
    RemoveContainer(#[serde(with = "id::container")] ContainerId),
    /// Signal a container.
    SignalContainer(
        #[serde(with = "id::container")] ContainerId,
        #[serde(with = "id::signal")] SignalContainerCommand,
    ),
    /// Enforce a container's new size or execution type.
    UpdateContainer {
        /// The container.
        #[serde(with = "id::container")]
        container_id: ContainerId,
        /// Its new version.
        version: u32,
        /// Its new size.
        capability: Resource,
        /// Its new execution type.
        #[serde(with = "id::execution")]
        execution_type: ExecutionType,
    },
    /// The node's capability was changed by an administrator.
    UpdateResource(Resource),
    /// Start a container: only AM containers are started by the ResourceManager.
    LaunchContainer(Box<LaunchOrder>),
}

/// Everything a node needs to start an AM container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchOrder {
    /// The container.
    pub container_id: ContainerId,
    /// The routing key of the ApplicationMaster's frames.
    pub attempt: u64,
    /// Who it runs as.
    pub user: Box<str>,
    /// Its size.
    pub resource: Resource,
    /// Its priority within the application.
    pub priority: i32,
    /// Proves to the node that the container was granted: key id and code.
    pub container_token: (u32, [u8; 32]),
    /// When that token ends, milliseconds since 1970.
    pub expires_at_ms: u64,
    /// Proves to the ResourceManager that the ApplicationMaster is this attempt's.
    pub am_rm_token: (u32, [u8; 32]),
    /// The archive of a `ContainerLaunchContext` record.
    pub launch_context: Box<[u8]>,
}

/// A message for a whole shard. Said by the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardCommand {
    // From the administration service:
    /// Replace the include and exclude lists; answered by [`CommandReply::NodeLists`].
    SetNodeLists {
        /// Names the answer.
        token: u64,
        /// The lists.
        lists: NodeLists,
        /// How nodes that are not valid any more leave.
        mode: DecommissionMode,
    },
    // From the token secret manager:
    /// Begin (or end) a roll-over of the keys: nodes that do not have `next` are sent it.
    SetMasterKeys {
        /// Keys for container tokens.
        container_token: KeyPair,
        /// Keys for NM tokens.
        nm_token: KeyPair,
    },
    // From the scheduler:
    /// How much of the cluster's virtual cores is in use, thousandths: for interval scaling.
    SetClusterLoad {
        /// Used / capability, 0 to 1000.
        used_permille: u16,
    },
}

/// The key in force and, while a roll-over is pending, the next one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// The key in force: id and secret.
    pub current: Option<(u32, Box<[u8]>)>,
    /// The next one.
    pub next: Option<(u32, Box<[u8]>)>,
}

impl core::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let id = |key: &Option<(u32, Box<[u8]>)>| key.as_ref().map(|key| key.0);
        f.debug_struct("KeyPair").field("current", &id(&self.current)).field("next", &id(&self.next)).finish()
    }
}

/// How nodes are taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecommissionMode {
    /// At once; nodes being emptied are left to finish.
    Normal,
    /// When empty, or after this many milliseconds; `None` = no deadline.
    Graceful(Option<u64>),
    /// At once, nodes being emptied too.
    Forceful,
}

/// A shard's answer to a [`ShardCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandReply {
    /// The lists are in force.
    NodeLists {
        /// From the command.
        token: u64,
        /// Nodes that began to leave.
        affected: u32,
    },
}

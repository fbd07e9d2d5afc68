//! What the scheduler hears and says: closed types, grouped by who says them.
//! Owns: [`SchedulerCommand`] (application manager, administration → scheduler), [`ApplicationEvent`] (scheduler →
//! application manager), [`Query`] and [`QueryReply`]. Called by: both roles, runtime, recorder, simulator.
//! Does not: carry references, closures or text for hot paths. Frames of ApplicationMasters do not come this way.

use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ContainerId, NodeHandle, NodeId, SignalContainerCommand,
};
use serde::{Deserialize, Serialize};

use super::settings::QueueTree;
use crate::engine::event::Resource;

/// The routing key of an ApplicationMaster's frames: scheduler thread (8 bits), generation (24), row (32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt(pub u64);

impl Attempt {
    /// A handle.
    #[must_use]
    pub const fn new(scheduler: u8, row: u32, generation: u32) -> Self {
        Self((scheduler as u64) << 56 | ((generation & 0xff_ffff) as u64) << 32 | row as u64)
    }

    /// Row of the attempt table.
    #[must_use]
    pub const fn row(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// How often the row was used, modulo 2^24.
    #[must_use]
    pub const fn generation(self) -> u32 {
        ((self.0 >> 32) & 0xff_ffff) as u32
    }

    /// The scheduler thread.
    #[must_use]
    pub const fn scheduler(self) -> u8 {
        (self.0 >> 56) as u8
    }
}

/// What the scheduler is told by the application manager and by administration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchedulerCommand {
    // From the application manager:
    /// An application is to be admitted to a queue; answered by [`ApplicationEvent::Accepted`] or
    /// [`ApplicationEvent::Rejected`].
    AddApplication(Box<AddApplication>),
    /// An attempt of an admitted application begins; answered by [`ApplicationEvent::AttemptAdded`] or
    /// [`ApplicationEvent::AttemptRejected`], and for a managed
    /// one by [`ApplicationEvent::AmContainerAllocated`] when its ApplicationMaster has a place.
    AddAttempt(Box<AddAttempt>),
    /// The attempt's AM container may be launched: its record is stored. The scheduler adds the tokens and orders it from
    /// the node; [`ApplicationEvent::Launched`] follows when the node reports it running.
    LaunchAm(Box<LaunchAm>),
    /// An unmanaged attempt is stored and may register.
    UnmanagedAttemptReady {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
    },
    /// The attempt has ended; answered by [`ApplicationEvent::AttemptRemoved`].
    RemoveAttempt {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// Containers that run stay for the next attempt.
        keep_containers: bool,
        /// The AM container is to be stopped as well (it may exit by itself otherwise).
        stop_am_container: bool,
    },
    /// The final state of an application is stored: FinishApplicationMaster is answered with `is_unregistered`.
    FinalStateStored {
        /// The application.
        application_id: ApplicationId,
    },
    /// The application has ended: its nodes are told, its queue forgets it. Its attempts were removed before.
    RemoveApplication {
        /// The application.
        application_id: ApplicationId,
    },
    /// Move to another queue; answered by [`QueryReply::Done`] or [`QueryReply::Refused`].
    MoveApplication {
        /// Names the answer.
        token: u64,
        /// The application.
        application_id: ApplicationId,
        /// The queue, by path or short name.
        queue: Box<str>,
        /// Only check whether it could be done.
        is_check_only: bool,
    },
    /// Change the priority of an application; answered by [`QueryReply::Done`].
    UpdatePriority {
        /// Names the answer.
        token: u64,
        /// The application.
        application_id: ApplicationId,
        /// Already capped and checked.
        priority: i32,
    },
    /// Signal a live container; answered by [`QueryReply::Done`] or [`QueryReply::Refused`].
    SignalContainer {
        /// Names the answer.
        token: u64,
        /// The container.
        container_id: ContainerId,
        /// What.
        command: SignalContainerCommand,
    },
    /// A question; answered by the [`QueryReply`] with its token.
    Query {
        /// Names the answer.
        token: u64,
        /// What is asked.
        query: Query,
    },
    // From administration:
    /// Replace the queues, whole or not at all; answered by [`QueryReply::Done`] or [`QueryReply::Refused`] with every
    /// reason.
    ReplaceQueues {
        /// Names the answer.
        token: u64,
        /// The new tree, checked in itself.
        queues: Box<QueueTree>,
    },
    /// Add labels to the cluster, or change whether they are exclusive while no node has them.
    AddNodeLabels {
        /// Names the answer.
        token: u64,
        /// Names and whether they are exclusive.
        labels: Vec<(Box<str>, bool)>,
    },
    /// Remove labels; refused while a queue lists one.
    RemoveNodeLabels {
        /// Names the answer.
        token: u64,
        /// Their names.
        labels: Vec<Box<str>>,
    },
    /// Replace the label of nodes; no label = the default partition. Port 0 = every NodeManager of the host.
    ReplaceLabelsOnNodes {
        /// Names the answer.
        token: u64,
        /// Nodes and labels.
        nodes: Vec<(Box<str>, u16, Option<Box<str>>)>,
        /// Refuse all when a node is not known.
        fail_on_unknown_nodes: bool,
    },
    /// Change the capability of nodes.
    UpdateNodeResource {
        /// Names the answer.
        token: u64,
        /// Nodes and their new capability.
        nodes: Vec<(Box<str>, u16, Resource)>,
    },
}

/// See [`SchedulerCommand::AddApplication`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddApplication {
    /// The application.
    pub application_id: ApplicationId,
    /// Its owner.
    pub user: Box<str>,
    /// Queue as asked for, path or short name.
    pub queue: Box<str>,
    /// Priority, its own or its queue's, already capped; higher is more important.
    pub priority: i32,
    /// Label of asks that name none.
    pub node_label_expression: Option<Box<str>>,
    /// When it was submitted, milliseconds since 1970.
    pub submit_time_ms: u64,
    /// Label its AM container is asked for in; `None` = the queue's default, or unmanaged.
    pub am_node_label: Option<Box<str>>,
}

/// See [`SchedulerCommand::AddAttempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddAttempt {
    /// The attempt.
    pub attempt_id: ApplicationAttemptId,
    /// The AM container's ask; `None` for an unmanaged one.
    pub am: Option<AmAsk>,
    /// Takes over the containers the former attempt left.
    pub transfer_from_previous: bool,
    /// Whether the application asked for containers to be kept: then it may register again when unmanaged, and release
    /// containers of earlier attempts.
    pub keep_containers: bool,
    /// Access control lists, told to the AM: access type number and text.
    pub acls: Vec<(u8, Box<str>)>,
}

/// The AM container's ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmAsk {
    /// Its size, checked and rounded.
    pub capability: Resource,
    /// Its label; `""` is the default partition.
    pub node_label: Box<str>,
    /// Hosts and racks it prefers (host or rack name, is a rack, relax locality); empty = any.
    pub localities: Vec<(Box<str>, bool, bool)>,
    /// Whether the `*` row relaxes locality.
    pub relax_locality: bool,
    /// Hosts where earlier attempts failed for the node's sake.
    pub blacklist: Vec<Box<str>>,
}

/// See [`SchedulerCommand::LaunchAm`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchAm {
    /// The attempt.
    pub attempt_id: ApplicationAttemptId,
    /// Its AM container.
    pub container_id: ContainerId,
    /// The launch context, as the archive of a `ContainerLaunchContext` record.
    pub launch_context: Box<[u8]>,
}

/// What the application manager is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ApplicationEvent {
    /// The queue takes it.
    Accepted {
        /// The application.
        application_id: ApplicationId,
        /// The queue's full path.
        queue: Box<str>,
    },
    /// The queue does not take it.
    Rejected {
        /// The application.
        application_id: ApplicationId,
        /// Why: names the queue, the value and what would be accepted.
        reason: Box<str>,
    },
    /// The attempt is known.
    AttemptAdded {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// The routing key of its frames.
        attempt: Attempt,
    },
    /// The attempt is not taken, and no later one of its application would be.
    AttemptRejected {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// Why: names the value and what would be accepted.
        reason: Box<str>,
    },
    /// The ApplicationMaster has a place.
    AmContainerAllocated {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// The container.
        container_id: ContainerId,
        /// Its node.
        node: NodeHandle,
        /// The node's name.
        node_id: NodeId,
        /// Port of the node's web server.
        http_port: u16,
        /// The container's size.
        resource: Resource,
    },
    /// The node reports the AM container running.
    Launched {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
    },
    /// RegisterApplicationMaster was accepted.
    Registered {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// Host the AM serves its clients on.
        host: Box<str>,
        /// Port; −1 = none.
        rpc_port: i32,
        /// Its web page.
        tracking_url: Box<str>,
    },
    /// Progress or tracking URL changed. At most one per attempt and second.
    StatusUpdate {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// 0 to 1.
        progress: f32,
        /// New tracking URL.
        tracking_url: Option<Box<str>>,
    },
    /// FinishApplicationMaster was accepted.
    Unregistered {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// YARN's number of the final status.
        final_status: u8,
        /// The end of what it said: as much as may ever be kept.
        diagnostics: Box<str>,
        /// Bytes it said before that.
        diagnostics_cut: u32,
        /// Final URL.
        tracking_url: Box<str>,
    },
    /// The ApplicationMaster was silent for too long.
    Expired {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
    },
    /// The AM container has ended, also when it never ran.
    AmContainerFinished {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// The container.
        container_id: ContainerId,
        /// Exit status.
        exit_status: i32,
        /// Text.
        diagnostics: Box<str>,
        /// Its node's host.
        host: Box<str>,
    },
    /// An attempt was removed.
    AttemptRemoved {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// What it used, from its first container on.
        usage: Usage,
    },
    /// The queues were replaced: for access control.
    QueuesReplaced {
        /// The tree in force.
        queues: Box<QueueTree>,
    },
    /// Answer to a command with a token.
    Reply {
        /// From the command.
        token: u64,
        /// The answer.
        reply: QueryReply,
    },
}

/// What an attempt used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// By resource type: amount × seconds.
    pub resource_seconds: Vec<(Box<str>, u64)>,
    /// Of it, in containers that were preempted.
    pub preempted_resource_seconds: Vec<(Box<str>, u64)>,
    /// Containers allocated.
    pub containers_allocated: u64,
    /// Containers that live.
    pub containers_running: u32,
    /// Containers reserved.
    pub containers_reserved: u32,
    /// What live containers use.
    pub used: Resource,
    /// What reservations hold.
    pub reserved: Resource,
    /// What is asked for and not granted.
    pub pending: Resource,
    /// Used share of the queue's guarantee, percent.
    pub queue_usage_percentage: f32,
    /// Used share of the cluster, percent.
    pub cluster_usage_percentage: f32,
}

/// A question to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// What applications use, in this order; unknown ones are answered with zeros.
    Usage(Vec<ApplicationId>),
    /// Live containers of an attempt (of any attempt of the application that left them to it), after `after`.
    Containers {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// The last one of the page before.
        after: Option<ContainerId>,
        /// Most of them.
        limit: u32,
    },
    /// One live container.
    Container(ContainerId),
    /// A queue, with its children when asked for.
    Queue {
        /// Path or short name.
        queue: Box<str>,
        /// Direct children too.
        with_children: bool,
        /// All below.
        is_recursive: bool,
        /// First place of the listing wanted.
        start: u32,
        /// Most queues listed.
        limit: u32,
    },
    /// Why an application waits.
    Explain {
        /// The application.
        application_id: ApplicationId,
        /// Most asks listed.
        limit: u32,
    },
    /// Labels by node.
    NodesToLabels,
    /// The cluster's labels.
    ClusterNodeLabels,
}

/// An answer of the scheduler. Lists of records are those of the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum QueryReply {
    /// It was done. The number says how much (nodes affected, the priority in force…).
    Done(i64),
    /// It was not; one reason per line.
    Refused {
        /// A `RejectCode` number.
        code: u16,
        /// Every reason.
        reasons: Box<str>,
    },
    /// To [`Query::Usage`].
    Usage(Vec<Usage>),
    /// To every other query: the answer's record, archived as it goes on the wire.
    Record(Box<[u8]>),
    /// To [`Query::NodesToLabels`]: host, port, label.
    NodesToLabels(Vec<(Box<str>, u16, Box<str>)>),
    /// To [`Query::ClusterNodeLabels`]: name, is exclusive.
    NodeLabels(Vec<(Box<str>, bool)>),
}

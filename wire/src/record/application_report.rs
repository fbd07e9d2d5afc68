//! Applications, attempts and containers as clients see them.
//! Owns: the three reports. Called by: the client protocol.
//! Does not: decide who may see what; who may not see gets a report with the fields of the attempt left empty.

use rkyv::{Archive, Deserialize, Serialize};

use super::{
    ApplicationAttemptId, ApplicationId, ApplicationTimeout, AttemptHandle, ContainerId, ContainerState,
    ExecutionType, FinalApplicationStatus, LogAggregationStatus, NodeId, Resource, TokenMac,
    YarnApplicationAttemptState, YarnApplicationState,
};

/// An amount of one resource type over time.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ResourceSeconds {
    /// The type: `memory-mb`, `vcores`, `yarn.io/gpu`, …
    pub name: String,
    /// Amount × seconds.
    pub seconds: u64,
}

/// What an application uses and has used.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ApplicationResourceUsageReport {
    /// Containers it has.
    pub num_used_containers: u32,
    /// Containers reserved for it.
    pub num_reserved_containers: u32,
    /// What they have.
    pub used_resources: Resource,
    /// What is reserved.
    pub reserved_resources: Resource,
    /// Used, reserved and wanted together.
    pub needed_resources: Resource,
    /// Used share of its queue, hundredths.
    pub queue_usage_percentage: f32,
    /// Used share of the cluster, hundredths.
    pub cluster_usage_percentage: f32,
    /// Used so far, by type; memory in MiB.
    pub resource_seconds: Vec<ResourceSeconds>,
    /// Of that, in containers that were preempted.
    pub preempted_resource_seconds: Vec<ResourceSeconds>,
}

/// An application.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ApplicationReport {
    /// Identity.
    pub application_id: ApplicationId,
    /// Its attempt; `None` before the first, and for one who may not see the application.
    pub current_application_attempt_id: Option<ApplicationAttemptId>,
    /// Who submitted it.
    pub user: String,
    /// The queue it is in, by path.
    pub queue: String,
    /// Name.
    pub name: String,
    /// Type.
    pub application_type: String,
    /// Tags.
    pub application_tags: Vec<String>,
    /// State. One that waits for the state store shows the one before.
    pub state: YarnApplicationState,
    /// How it ended.
    pub final_application_status: FinalApplicationStatus,
    /// 0 to 1.
    pub progress: f32,
    /// Host of its ApplicationMaster; empty where there is none.
    pub host: String,
    /// Port of its ApplicationMaster; -1 where there is none.
    pub rpc_port: i32,
    /// Where people look at it.
    pub tracking_url: String,
    /// The same as its ApplicationMaster gave it.
    pub original_tracking_url: String,
    /// Text for people.
    pub diagnostics: String,
    /// Submitted, milliseconds since 1970.
    pub submit_time_ms: u64,
    /// Began, milliseconds since 1970.
    pub start_time_ms: u64,
    /// Its first ApplicationMaster was started, milliseconds since 1970; 0 = not yet.
    pub launch_time_ms: u64,
    /// Ended, milliseconds since 1970; 0 = not yet.
    pub finish_time_ms: u64,
    /// What it uses; `None` for one who may not see it.
    pub resource_usage: Option<Box<ApplicationResourceUsageReport>>,
    /// Log aggregation.
    pub log_aggregation_status: LogAggregationStatus,
    /// Whether the ResourceManager starts no ApplicationMaster.
    pub is_unmanaged_am: bool,
    /// Priority.
    pub priority: i32,
    /// Partition of asks that name none; `None` = the queue's default.
    pub app_node_label_expression: Option<String>,
    /// Partition of its ApplicationMaster; `None` = the queue's default.
    pub am_node_label_expression: Option<String>,
    /// Lifetimes.
    pub application_timeouts: Vec<ApplicationTimeout>,
    /// The routing key with which the ApplicationMaster of an unmanaged application registers: for its owner, while the
    /// attempt is LAUNCHED.
    pub attempt_handle: Option<AttemptHandle>,
    /// What it registers with: for its owner, while the attempt is LAUNCHED.
    pub am_rm_token: Option<TokenMac>,
}

/// An attempt.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ApplicationAttemptReport {
    /// Identity.
    pub application_attempt_id: ApplicationAttemptId,
    /// State.
    pub state: YarnApplicationAttemptState,
    /// The container of its ApplicationMaster; `None` before there is one.
    pub am_container_id: Option<ContainerId>,
    /// Host of its ApplicationMaster; empty where there is none.
    pub host: String,
    /// Port of its ApplicationMaster; -1 where there is none.
    pub rpc_port: i32,
    /// Where people look at it.
    pub tracking_url: String,
    /// The same as its ApplicationMaster gave it.
    pub original_tracking_url: String,
    /// Text for people.
    pub diagnostics: String,
    /// Began, milliseconds since 1970.
    pub start_time_ms: u64,
    /// Ended, milliseconds since 1970; 0 = not yet.
    pub finish_time_ms: u64,
}

/// A container.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ContainerReport {
    /// Identity.
    pub container_id: ContainerId,
    /// Its size.
    pub resource: Resource,
    /// Where.
    pub node_id: NodeId,
    /// Port of its node's web server, 0 for none.
    pub node_http_port: u16,
    /// Its priority.
    pub priority: i32,
    /// Its allocation request id; -1 for none.
    pub allocation_request_id: i64,
    /// Its execution type.
    pub execution_type: ExecutionType,
    /// Its state.
    pub state: ContainerState,
    /// Exit code 0–255, one of YARN's negative values, or -1000 while it runs.
    pub exit_status: i32,
    /// Partition in which it was placed.
    pub partition: String,
    /// Created, milliseconds since 1970.
    pub creation_time_ms: u64,
    /// Ended, milliseconds since 1970; 0 = not yet.
    pub finish_time_ms: u64,
    /// Text for people.
    pub diagnostics: String,
    /// Where its logs are; empty when not known.
    pub log_url: String,
}

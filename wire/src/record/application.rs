//! Applications as they are submitted, and the words for their states.
//! Owns: the submission context and what it is made of, application enumerations. Called by: the client protocol.
//! Does not: hold reports (see `application_report`), nor an application's life in the engine.

use rkyv::{Archive, Deserialize, Serialize};

use super::{ApplicationId, ContainerLaunchContext, Resource, ResourceRequest, StringPair};

/// State of an application.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum YarnApplicationState {
    /// Known.
    New = 1,
    /// Being written to the state store.
    NewSaving = 2,
    /// Written, not yet accepted by the scheduler.
    Submitted = 3,
    /// Accepted, its ApplicationMaster has not registered.
    Accepted = 4,
    /// Its ApplicationMaster has registered.
    Running = 5,
    /// Done, with whatever its ApplicationMaster said.
    Finished = 6,
    /// Failed.
    Failed = 7,
    /// Killed.
    Killed = 8,
}

impl YarnApplicationState {
    /// Every state, in YARN's order.
    pub const ALL: [Self; 8] = [
        Self::New,
        Self::NewSaving,
        Self::Submitted,
        Self::Accepted,
        Self::Running,
        Self::Finished,
        Self::Failed,
        Self::Killed,
    ];
}

/// State of an attempt.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum YarnApplicationAttemptState {
    /// Known.
    New = 1,
    /// Given to the scheduler.
    Submitted = 2,
    /// Waits for its container.
    Scheduled = 3,
    /// Has one, being written to the state store.
    AllocatedSaving = 4,
    /// Has one.
    Allocated = 5,
    /// Its ApplicationMaster is started.
    Launched = 6,
    /// Failed.
    Failed = 7,
    /// Its ApplicationMaster has registered.
    Running = 8,
    /// Its ApplicationMaster has said its last word.
    Finishing = 9,
    /// Done.
    Finished = 10,
    /// Killed.
    Killed = 11,
}

/// How an application ended.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum FinalApplicationStatus {
    /// It has not, or nobody said.
    #[default]
    Undefined = 0,
    /// Well.
    Succeeded = 1,
    /// It failed.
    Failed = 2,
    /// It was killed.
    Killed = 3,
    /// Several ends in one.
    Ended = 4,
}

/// What an ACL is about.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum ApplicationAccessType {
    /// Seeing the application.
    ViewApp = 1,
    /// Changing it.
    ModifyApp = 2,
}

/// Who may do something with an application.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ApplicationAcl {
    /// What.
    pub access_type: ApplicationAccessType,
    /// Who: `*`, or users separated by commas, a space, groups separated by commas.
    pub acl: String,
}

/// Something that ends an application in time.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum ApplicationTimeoutType {
    /// Its age.
    Lifetime = 1,
}

/// A lifetime as it is submitted.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplicationTimeoutRequest {
    /// Which.
    pub timeout_type: ApplicationTimeoutType,
    /// From submission, seconds; more than 0.
    pub timeout_s: u64,
}

/// A lifetime as it is changed.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplicationTimeoutUpdate {
    /// Which.
    pub timeout_type: ApplicationTimeoutType,
    /// When it ends, milliseconds since 1970 (YARN: a text in ISO 8601).
    pub expires_at_ms: u64,
}

/// A lifetime as it is reported.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplicationTimeout {
    /// Which.
    pub timeout_type: ApplicationTimeoutType,
    /// When it ends, milliseconds since 1970; `None` for never (YARN: `UNLIMITED`).
    pub expires_at_ms: Option<u64>,
    /// What is left, milliseconds; `None` for ever (YARN: -1 s).
    pub remaining_ms: Option<u64>,
}

/// Which logs are aggregated, and when.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct LogAggregationContext {
    /// Files to keep at the end, a regular expression.
    pub include_pattern: String,
    /// Files not to keep at the end.
    pub exclude_pattern: String,
    /// Files to keep while the application runs.
    pub rolled_logs_include_pattern: String,
    /// Files not to keep while the application runs.
    pub rolled_logs_exclude_pattern: String,
    /// Policy by which containers are chosen; empty for the default.
    pub policy_class_name: String,
    /// Its parameters.
    pub policy_parameters: String,
}

/// Everything a client says of an application it submits.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ApplicationSubmissionContext {
    /// From [`GetNewApplication`](crate::application_client::GetNewApplicationResponse).
    pub application_id: ApplicationId,
    /// For people; empty = `N/A`.
    pub application_name: String,
    /// Empty = `YARN`; cut to 20 characters.
    pub application_type: String,
    /// Queue by name or path; empty = `default`.
    pub queue: String,
    /// `None` = the queue's default. Lowered to the cluster's maximum.
    pub priority: Option<i32>,
    /// How to start the ApplicationMaster; not used by unmanaged ones.
    pub am_container_spec: ContainerLaunchContext,
    /// Whether the ResourceManager starts no ApplicationMaster.
    pub is_unmanaged_am: bool,
    /// Whether credentials are cancelled at the end.
    pub cancel_tokens_when_complete: bool,
    /// Most attempts; 0 or more than the cluster's = the cluster's.
    pub max_app_attempts: u32,
    /// Size of the ApplicationMaster's container, used when `am_container_resource_requests` is empty.
    pub resource: Option<Resource>,
    /// Asks for the ApplicationMaster's container; exactly one for any place.
    pub am_container_resource_requests: Vec<ResourceRequest>,
    /// Whether containers outlive a failed attempt.
    pub keep_containers_across_application_attempts: bool,
    /// At most 10 of at most 100 printable ASCII characters.
    pub application_tags: Vec<String>,
    /// Failures older than this do not count, milliseconds; `None` = all count.
    pub attempt_failures_validity_interval_ms: Option<u64>,
    /// Partition of asks that name none; `None` = the queue's default.
    pub node_label_expression: Option<String>,
    /// Lifetimes.
    pub application_timeouts: Vec<ApplicationTimeoutRequest>,
    /// Hints for the scheduler.
    pub application_scheduling_properties: Vec<StringPair>,
    /// Which logs are aggregated; `None` = the cluster's default.
    pub log_aggregation_context: Option<LogAggregationContext>,
}

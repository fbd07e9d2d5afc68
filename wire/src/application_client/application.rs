//! Applications: a new id, submit, kill, move, change, report.
//! Owns: those records. Called by: the application manager, `client`, the command line.
//! Does not: carry what belongs to security tokens, reservations or node attributes.
//! Invariant: a listing is paged, so that one answer is bounded however many applications there are.

use rkyv::{Archive, Deserialize, Serialize};

use crate::check::{
    check_launch_context, check_pairs, check_resource, check_resource_requests, line, list, name, names,
    queue, range, text,
};
use crate::error::DecodeError;
use crate::limits;
use crate::message::{Message, message};
use crate::opcode::Opcode;
use crate::record::{
    ApplicationAttemptId, ApplicationAttemptReport, ApplicationId, ApplicationReport,
    ApplicationSubmissionContext, ApplicationTimeoutUpdate, Resource, YarnApplicationState,
};

/// A new application id. It is neither kept nor reserved.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetNewApplicationRequest {}

/// Answer to [`GetNewApplicationRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GetNewApplicationResponse {
    /// The id.
    pub application_id: ApplicationId,
    /// Largest container the cluster grants.
    pub maximum_capability: Resource,
}

/// Submit an application. One whose id is known already is answered as if it were new: a client may repeat it.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SubmitApplicationRequest {
    /// What it is.
    pub application_submission_context: ApplicationSubmissionContext,
}

/// Answer to [`SubmitApplicationRequest`]: it is taken in, and not yet stored. The report tells when it is ACCEPTED.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct SubmitApplicationResponse {}

/// Kill an application. Repeated until the answer says that it is done.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct KillApplicationRequest {
    /// Which.
    pub application_id: ApplicationId,
    /// Why, for people.
    pub diagnostics: Option<String>,
}

/// Answer to [`KillApplicationRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct KillApplicationResponse {
    /// False: under way, ask again.
    pub is_kill_completed: bool,
}

/// Fail an attempt; another follows by the usual rule.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct FailApplicationAttemptRequest {
    /// Which.
    pub application_attempt_id: ApplicationAttemptId,
}

/// Answer to [`FailApplicationAttemptRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct FailApplicationAttemptResponse {}

/// One application's report.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GetApplicationReportRequest {
    /// Which.
    pub application_id: ApplicationId,
}

/// Answer to [`GetApplicationReportRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct GetApplicationReportResponse {
    /// The report.
    pub application_report: ApplicationReport,
}

/// Which applications a listing looks at.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum ApplicationsRequestScope {
    /// All.
    #[default]
    All = 0,
    /// Those the caller may see.
    Viewable = 1,
    /// The caller's own.
    Own = 2,
}

/// A page of application reports, in the order of their ids. An empty list is no filter; filters go together.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetApplicationsRequest {
    /// Which to look at.
    pub scope: ApplicationsRequestScope,
    /// Types wanted, in any case.
    pub application_types: Vec<String>,
    /// States wanted.
    pub application_states: Vec<YarnApplicationState>,
    /// Users wanted.
    pub users: Vec<String>,
    /// Queues wanted, by name or path.
    pub queues: Vec<String>,
    /// Tags of which one is wanted.
    pub application_tags: Vec<String>,
    /// Name wanted.
    pub name: Option<String>,
    /// Begun at or after this, milliseconds since 1970.
    pub start_begin_ms: Option<u64>,
    /// Begun at or before this.
    pub start_end_ms: Option<u64>,
    /// Ended at or after this.
    pub finish_begin_ms: Option<u64>,
    /// Ended at or before this.
    pub finish_end_ms: Option<u64>,
    /// Go on after this one; `None` = from the first.
    pub after: Option<ApplicationId>,
    /// Most reports wanted, 1 to [`APPLICATIONS_PER_PAGE_MAX`](limits::APPLICATIONS_PER_PAGE_MAX).
    pub limit: u32,
}

/// Answer to [`GetApplicationsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct GetApplicationsResponse {
    /// `after` of the next page; `None` at the end.
    pub next: Option<ApplicationId>,
    /// The reports.
    pub applications: Vec<ApplicationReport>,
}

/// One attempt's report.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GetApplicationAttemptReportRequest {
    /// Which.
    pub application_attempt_id: ApplicationAttemptId,
}

/// Answer to [`GetApplicationAttemptReportRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GetApplicationAttemptReportResponse {
    /// The report.
    pub application_attempt_report: ApplicationAttemptReport,
}

/// A page of reports of an application's attempts, in their order.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GetApplicationAttemptsRequest {
    /// Which application.
    pub application_id: ApplicationId,
    /// Go on after this one; `None` = from the first.
    pub after: Option<ApplicationAttemptId>,
    /// Most reports wanted, 1 to [`ATTEMPTS_PER_PAGE_MAX`](limits::ATTEMPTS_PER_PAGE_MAX).
    pub limit: u32,
}

/// Answer to [`GetApplicationAttemptsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetApplicationAttemptsResponse {
    /// `after` of the next page; `None` at the end.
    pub next: Option<ApplicationAttemptId>,
    /// The reports.
    pub application_attempts: Vec<ApplicationAttemptReport>,
}

/// Move an application to another queue.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct MoveApplicationAcrossQueuesRequest {
    /// Which.
    pub application_id: ApplicationId,
    /// The queue, by name or path.
    pub target_queue: String,
}

/// Answer to [`MoveApplicationAcrossQueuesRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct MoveApplicationAcrossQueuesResponse {}

/// Change an application's priority.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdateApplicationPriorityRequest {
    /// Which.
    pub application_id: ApplicationId,
    /// To what.
    pub application_priority: i32,
}

/// Answer to [`UpdateApplicationPriorityRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateApplicationPriorityResponse {
    /// The priority now: lowered to the cluster's maximum where it was more.
    pub application_priority: i32,
}

/// Change an application's lifetimes.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdateApplicationTimeoutsRequest {
    /// Which.
    pub application_id: ApplicationId,
    /// To what; at least one.
    pub application_timeouts: Vec<ApplicationTimeoutUpdate>,
}

/// Answer to [`UpdateApplicationTimeoutsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateApplicationTimeoutsResponse {
    /// The lifetimes now: shortened to the queue's maximum where they were more.
    pub application_timeouts: Vec<ApplicationTimeoutUpdate>,
}

message! {
    GetNewApplicationRequest => GetNewApplication, false;
    GetNewApplicationResponse => GetNewApplication, true;
    SubmitApplicationRequest => SubmitApplication, false;
    SubmitApplicationResponse => SubmitApplication, true;
    KillApplicationRequest => KillApplication, false;
    KillApplicationResponse => KillApplication, true;
    FailApplicationAttemptRequest => FailApplicationAttempt, false;
    FailApplicationAttemptResponse => FailApplicationAttempt, true;
    GetApplicationReportRequest => GetApplicationReport, false;
    GetApplicationReportResponse => GetApplicationReport, true;
    GetApplicationsRequest => GetApplications, false;
    GetApplicationsResponse => GetApplications, true;
    GetApplicationAttemptReportRequest => GetApplicationAttemptReport, false;
    GetApplicationAttemptReportResponse => GetApplicationAttemptReport, true;
    GetApplicationAttemptsRequest => GetApplicationAttempts, false;
    GetApplicationAttemptsResponse => GetApplicationAttempts, true;
    MoveApplicationAcrossQueuesRequest => MoveApplicationAcrossQueues, false;
    MoveApplicationAcrossQueuesResponse => MoveApplicationAcrossQueues, true;
    UpdateApplicationPriorityRequest => UpdateApplicationPriority, false;
    UpdateApplicationPriorityResponse => UpdateApplicationPriority, true;
    UpdateApplicationTimeoutsRequest => UpdateApplicationTimeouts, false;
    UpdateApplicationTimeoutsResponse => UpdateApplicationTimeouts, true;
}

impl ArchivedGetNewApplicationRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedSubmitApplicationRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        let context = &self.application_submission_context;
        line("application_name", &context.application_name, limits::APPLICATION_NAME_MAX)?;
        name("application_type", &context.application_type)?;
        queue("queue", &context.queue)?;
        check_launch_context(&context.am_container_spec)?;
        if let Some(resource) = context.resource.as_ref() {
            check_resource(resource)?;
        }
        check_resource_requests(
            "am_container_resource_requests",
            &context.am_container_resource_requests,
            limits::AM_ASKS_MAX,
        )?;
        list("application_tags", context.application_tags.len(), limits::APPLICATION_TAGS_MAX)?;
        context.application_tags.iter().try_for_each(|tag| check_tag(tag))?;
        if let Some(label) = context.node_label_expression.as_ref() {
            name("node_label_expression", label)?;
        }
        list("application_timeouts", context.application_timeouts.len(), limits::TIMEOUTS_MAX)?;
        for timeout in context.application_timeouts.iter() {
            range("application_timeouts.timeout_s", timeout.timeout_s.to_native(), 1, limits::TIMEOUT_S_MAX)?;
        }
        check_pairs(
            "application_scheduling_properties",
            &context.application_scheduling_properties,
            limits::SCHEDULING_PROPERTIES_MAX,
        )?;
        let Some(logs) = context.log_aggregation_context.as_ref() else { return Ok(()) };
        text("log_aggregation_context.include_pattern", &logs.include_pattern)?;
        text("log_aggregation_context.exclude_pattern", &logs.exclude_pattern)?;
        text("log_aggregation_context.rolled_logs_include_pattern", &logs.rolled_logs_include_pattern)?;
        text("log_aggregation_context.rolled_logs_exclude_pattern", &logs.rolled_logs_exclude_pattern)?;
        name("log_aggregation_context.policy_class_name", &logs.policy_class_name)?;
        text("log_aggregation_context.policy_parameters", &logs.policy_parameters)
    }
}

impl ArchivedKillApplicationRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        let length = self.diagnostics.as_ref().map_or(0, |diagnostics| diagnostics.len());
        list("diagnostics", length, limits::DIAGNOSTICS_MAX)
    }
}

impl ArchivedFailApplicationAttemptRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedGetApplicationReportRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedGetApplicationsRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        names("application_types", &self.application_types, limits::FILTER_MAX)?;
        list("application_states", self.application_states.len(), YarnApplicationState::ALL.len())?;
        names("users", &self.users, limits::FILTER_MAX)?;
        list("queues", self.queues.len(), limits::FILTER_MAX)?;
        self.queues.iter().try_for_each(|path| queue("queues", path))?;
        names("application_tags", &self.application_tags, limits::FILTER_MAX)?;
        if let Some(application_name) = self.name.as_ref() {
            line("name", application_name, limits::APPLICATION_NAME_MAX)?;
        }
        range("limit", self.limit.to_native().into(), 1, limits::APPLICATIONS_PER_PAGE_MAX.into())
    }
}

impl ArchivedGetApplicationAttemptReportRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedGetApplicationAttemptsRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        range("limit", self.limit.to_native().into(), 1, limits::ATTEMPTS_PER_PAGE_MAX.into())
    }
}

impl ArchivedMoveApplicationAcrossQueuesRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        queue("target_queue", &self.target_queue)
    }
}

impl ArchivedUpdateApplicationPriorityRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedUpdateApplicationTimeoutsRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        list("application_timeouts", self.application_timeouts.len(), limits::TIMEOUTS_MAX)?;
        range(
            "application_timeouts.length",
            self.application_timeouts.len() as u64,
            1,
            limits::TIMEOUTS_MAX as u64,
        )
    }
}

/// Checks an application tag.
fn check_tag(tag: &str) -> Result<(), DecodeError> {
    list("application_tags", tag.len(), limits::APPLICATION_TAG_MAX)?;
    if tag.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        return Err(DecodeError::BadText {
            field: "application_tags",
            found: tag.chars().take(64).collect(),
            accepted: "printable ASCII characters",
        });
    }
    Ok(())
}

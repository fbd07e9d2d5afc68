//! Containers, resource types, and why an application waits.
//! Owns: those records. Called by: the application manager, the scheduler, `client`, the command line.
//! Does not: tell of containers that ended; a history server does.
//! Invariant: a listing is paged or bounded, so that one answer is.

use rkyv::{Archive, Deserialize, Serialize};

use crate::check::range;
use crate::error::DecodeError;
use crate::limits;
use crate::message::{Message, message};
use crate::opcode::Opcode;
use crate::record::{
    ApplicationAttemptId, ApplicationId, ContainerId, ContainerReport, PartitionExplanation, PendingAsk,
    ReasonCount, ResourceTypeInfo, SignalContainerCommand, YarnApplicationState,
};

/// One live container's report.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GetContainerReportRequest {
    /// Which.
    pub container_id: ContainerId,
}

/// Answer to [`GetContainerReportRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GetContainerReportResponse {
    /// The report.
    pub container_report: ContainerReport,
}

/// A page of reports of an attempt's live containers, in the order of their ids.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GetContainersRequest {
    /// Which attempt.
    pub application_attempt_id: ApplicationAttemptId,
    /// Go on after this one; `None` = from the first.
    pub after: Option<ContainerId>,
    /// Most reports wanted, 1 to [`CONTAINERS_PER_PAGE_MAX`](limits::CONTAINERS_PER_PAGE_MAX).
    pub limit: u32,
}

/// Answer to [`GetContainersRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetContainersResponse {
    /// `after` of the next page; `None` at the end.
    pub next: Option<ContainerId>,
    /// The reports.
    pub containers: Vec<ContainerReport>,
}

/// Signal a container. Delivered at most once.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SignalToContainerRequest {
    /// Which.
    pub container_id: ContainerId,
    /// What to do.
    pub command: SignalContainerCommand,
}

/// Answer to [`SignalToContainerRequest`]: it waits for the node.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalToContainerResponse {}

/// The resource types the cluster knows.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetResourceTypeInfoRequest {}

/// Answer to [`GetResourceTypeInfoRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetResourceTypeInfoResponse {
    /// The types, memory and virtual cores first.
    pub resource_types: Vec<ResourceTypeInfo>,
}

/// Why an application waits: for every pending ask what binds. Heddle's own.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ExplainApplicationRequest {
    /// Which.
    pub application_id: ApplicationId,
    /// Most asks wanted, 1 to [`PENDING_ASKS_PER_ANSWER_MAX`](limits::PENDING_ASKS_PER_ANSWER_MAX). The summary counts
    /// all.
    pub limit: u32,
}

/// Answer to [`ExplainApplicationRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ExplainApplicationResponse {
    /// Which.
    pub application_id: ApplicationId,
    /// Its state.
    pub state: YarnApplicationState,
    /// Its queue, by path.
    pub queue: String,
    /// Why the application itself is not active; `None` where it is.
    pub application_reason: Option<String>,
    /// What it, its user and its queue have, by partition.
    pub partitions: Vec<PartitionExplanation>,
    /// Asks by reason, most containers first.
    pub summary: Vec<ReasonCount>,
    /// Asks that wait, most important first.
    pub pending: Vec<PendingAsk>,
    /// How many asks wait, with those that `limit` left out.
    pub pending_total: u64,
}

message! {
    GetContainerReportRequest => GetContainerReport, false;
    GetContainerReportResponse => GetContainerReport, true;
    GetContainersRequest => GetContainers, false;
    GetContainersResponse => GetContainers, true;
    SignalToContainerRequest => SignalToContainer, false;
    SignalToContainerResponse => SignalToContainer, true;
    GetResourceTypeInfoRequest => GetResourceTypeInfo, false;
    GetResourceTypeInfoResponse => GetResourceTypeInfo, true;
    ExplainApplicationRequest => ExplainApplication, false;
    ExplainApplicationResponse => ExplainApplication, true;
}

impl ArchivedGetContainerReportRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedGetContainersRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        range("limit", self.limit.to_native().into(), 1, limits::CONTAINERS_PER_PAGE_MAX.into())
    }
}

impl ArchivedSignalToContainerRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedGetResourceTypeInfoRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedExplainApplicationRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        range("limit", self.limit.to_native().into(), 1, limits::PENDING_ASKS_PER_ANSWER_MAX.into())
    }
}

//! ApplicationMaster: ApplicationMaster → ResourceManager. Register, allocate, finish.
//! Owns: its six records and the checks of what an ApplicationMaster may send. Called by: the scheduler, clients, the
//! load generator. Does not: decide what an ask means; that is `engine::scheduler`.
//!
//! Differs from YARN: grants and completions are numbered events, so that they may also be pushed; an ask may say how
//! many grants its sender has seen; a grant names its node by handle, the address comes once in an
//! [`NmToken`]. The routing key of every frame is the attempt's handle.
//! Invariant: a published record keeps its layout (held by the golden frames).
//! Source of the fields: YARN ApplicationMasterProtocol.

use rkyv::{Archive, Deserialize, Serialize};

use crate::check::{
    check_placement_constraint, check_resource, check_resource_requests, check_scheduling_requests, list,
    name, url,
};
use crate::error::DecodeError;
use crate::limits;
use crate::message::{Message, message};
use crate::opcode::Opcode;
use crate::record::{
    ApplicationAcl, ApplicationAttemptId, AttemptHandle, CollectorInfo, CompletedContainer, Container,
    ContainerId, EnhancedHeadroom, FinalApplicationStatus, NmToken, PlacementConstraintMapEntry,
    PreemptionMessage, RejectedSchedulingRequest, Resource, ResourceRequest, ResourceTypeInfo,
    SchedulerResourceTypes, SchedulingRequest, TokenMac, UpdateContainerError, UpdateContainerRequest,
    UpdatedContainer, UpdatedNode,
};

/// Begins the text of the InvalidApplicationMasterRequest that says an ApplicationMaster that it registered before: where
/// that answer was lost it goes on. With another text its attempt is over. The words are YARN's.
pub const ALREADY_REGISTERED: &str = "Application Master is already registered";

/// An ApplicationMaster introduces itself, or again after it was told that it is not registered.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegisterApplicationMasterRequest {
    /// Which attempt it is; its handle is the header's routing key.
    pub application_attempt_id: ApplicationAttemptId,
    /// What it was given at launch, or an unmanaged one found in its report.
    pub am_rm_token: TokenMac,
    /// Host on which it serves its clients; may be empty.
    pub host: String,
    /// Port on which it serves its clients, -1 for none.
    pub rpc_port: i32,
    /// Where people look at it; empty or `N/A` for nowhere.
    pub tracking_url: String,
    /// Constraints by tags. Any is refused as not supported yet.
    pub placement_constraints: Vec<PlacementConstraintMapEntry>,
}

/// Answer to [`RegisterApplicationMasterRequest`]. The session begins: response id 0, event number 0.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegisterApplicationMasterResponse {
    /// The routing key from now on: the same as before.
    pub attempt_handle: AttemptHandle,
    /// Largest container the queue grants.
    pub maximum_capability: Resource,
    /// Smallest container; sizes are rounded up to it.
    pub minimum_capability: Resource,
    /// With which clients of the ApplicationMaster are authenticated; only where that is on.
    pub client_to_am_token_master_key: Option<Vec<u8>>,
    /// ACLs given at submission.
    pub application_acls: Vec<ApplicationAcl>,
    /// Live containers inherited from earlier attempts, at most
    /// [`RETAINED_CONTAINERS_MAX`](limits::RETAINED_CONTAINERS_MAX); others follow with the answers to allocate.
    pub containers_from_previous_attempts: Vec<Container>,
    /// One per node of those.
    pub nm_tokens_from_previous_attempts: Vec<NmToken>,
    /// The queue the application is in now.
    pub queue: String,
    /// Dimensions the scheduler looks at.
    pub scheduler_resource_types: Vec<SchedulerResourceTypes>,
    /// Every resource type of the cluster.
    pub resource_types: Vec<ResourceTypeInfo>,
    /// Start of this ResourceManager, milliseconds since 1970.
    pub cluster_timestamp: u64,
}

/// Ask, release, learn of grants and completions; with nothing in it, a sign of life.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct AllocateRequest {
    /// The id of the last answer taken in; 0 after registration.
    pub response_id: u32,
    /// Number of the last event taken in, whether answered or pushed; 0 after registration.
    pub events_seen: u64,
    /// 0 to 1. Not a number and less than 0 are taken as 0, more than 1 as 1.
    pub progress: f32,
    /// What is wanted.
    pub asks: Vec<ResourceRequest>,
    /// Containers given back.
    pub releases: Vec<ContainerId>,
    /// Hosts and racks not wanted any more.
    pub blacklist_additions: Vec<String>,
    /// Hosts and racks wanted again.
    pub blacklist_removals: Vec<String>,
    /// Containers to change.
    pub update_requests: Vec<UpdateContainerRequest>,
    /// Constraint-style asks.
    pub scheduling_requests: Vec<SchedulingRequest>,
    /// New place where people look at it; `None` = as before.
    pub tracking_url: Option<String>,
    /// Needed in the first frame on another stream than that of the registration.
    pub am_rm_token: Option<TokenMac>,
}

/// Answer to [`AllocateRequest`], or (with the `PUSH` flag) events sent without one.
///
/// A push repeats the `response_id` of the last answer. The events of a frame are `allocated_containers`, then
/// `completed_container_statuses`, in order, numbered from `first_event`.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocateResponse {
    /// `(last + 1) & 0x7fff_ffff`.
    pub response_id: u32,
    /// Number of the first event of this frame; where it has none, the number the next event will have.
    pub first_event: u64,
    /// Grants.
    pub allocated_containers: Vec<Container>,
    /// Containers that ended.
    pub completed_container_statuses: Vec<CompletedContainer>,
    /// What the application could still get in its queue.
    pub headroom: Resource,
    /// Nodes in use in the queue's default partition.
    pub num_cluster_nodes: u32,
    /// The application's priority now.
    pub application_priority: i32,
    /// For nodes of which the attempt has no token yet.
    pub nm_tokens: Vec<NmToken>,
    /// What an answer rarely carries.
    pub details: Option<Box<AllocateDetails>>,
}

/// The parts of an answer that are sent only when there is something to say.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocateDetails {
    /// Nodes whose usefulness changed.
    pub updated_nodes: Vec<UpdatedNode>,
    /// Replaces the token of the ApplicationMaster: keys roll.
    pub am_rm_token: Option<TokenMac>,
    /// Notice of preemption.
    pub preempt: Option<PreemptionMessage>,
    /// Updates that were not granted.
    pub update_errors: Vec<UpdateContainerError>,
    /// Updates that were.
    pub updated_containers: Vec<UpdatedContainer>,
    /// Inherited containers that were found after registration.
    pub containers_from_previous_attempts: Vec<Container>,
    /// Constraint-style asks that cannot be placed.
    pub rejected_scheduling_requests: Vec<RejectedSchedulingRequest>,
    /// How busy the whole cluster is.
    pub enhanced_headroom: Option<EnhancedHeadroom>,
    /// Where the timeline collector is, if that is new.
    pub collector_info: Option<CollectorInfo>,
}

/// The ApplicationMaster's last word. Repeated until the answer says that it is stored.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct FinishApplicationMasterRequest {
    /// Text for people, kept with the attempt.
    pub diagnostics: String,
    /// Where people look at it from now on.
    pub tracking_url: String,
    /// How it ended.
    pub final_application_status: FinalApplicationStatus,
    /// Needed in the first frame on another stream than that of the registration.
    pub am_rm_token: Option<TokenMac>,
}

/// Answer to [`FinishApplicationMasterRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct FinishApplicationMasterResponse {
    /// False: taken in, not stored yet, ask again. True: the ApplicationMaster may exit.
    pub is_unregistered: bool,
}

message! {
    RegisterApplicationMasterRequest => RegisterApplicationMaster, false;
    RegisterApplicationMasterResponse => RegisterApplicationMaster, true;
    AllocateRequest => Allocate, false;
    AllocateResponse => Allocate, true;
    FinishApplicationMasterRequest => FinishApplicationMaster, false;
    FinishApplicationMasterResponse => FinishApplicationMaster, true;
}

impl ArchivedRegisterApplicationMasterRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        name("host", &self.host)?;
        url("tracking_url", &self.tracking_url)?;
        list("placement_constraints", self.placement_constraints.len(), limits::PLACEMENT_CONSTRAINTS_MAX)?;
        self.placement_constraints.iter().try_for_each(check_placement_constraint)
    }
}

impl ArchivedAllocateRequest {
    /// Checks every value a peer chooses. Cost: a few comparisons for a sign of life.
    ///
    /// Counts and sizes against the queue's limits are the scheduler's to check: their errors have codes of their own.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        check_resource_requests("asks", &self.asks, limits::ASKS_MAX)?;
        list("releases", self.releases.len(), limits::RELEASES_MAX)?;
        list("blacklist_additions", self.blacklist_additions.len(), limits::BLACKLIST_MAX)?;
        self.blacklist_additions.iter().try_for_each(|place| name("blacklist_additions", place))?;
        list("blacklist_removals", self.blacklist_removals.len(), limits::BLACKLIST_MAX)?;
        self.blacklist_removals.iter().try_for_each(|place| name("blacklist_removals", place))?;
        list("update_requests", self.update_requests.len(), limits::UPDATE_REQUESTS_MAX)?;
        for update in self.update_requests.iter() {
            if let Some(capability) = update.capability.as_ref() {
                check_resource(capability)?;
            }
        }
        check_scheduling_requests(&self.scheduling_requests)?;
        self.tracking_url.as_ref().map_or(Ok(()), |tracking_url| url("tracking_url", tracking_url))
    }
}

impl ArchivedFinishApplicationMasterRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        list("diagnostics", self.diagnostics.len(), limits::DIAGNOSTICS_MAX)?;
        url("tracking_url", &self.tracking_url)
    }
}

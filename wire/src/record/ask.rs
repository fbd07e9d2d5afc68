//! What an ApplicationMaster wants: asks, constraint-style asks, updates of containers it has.
//! Owns: those records. Called by: the ApplicationMaster protocol and application submission.
//! Does not: decide whether an ask is within its queue's limits; that is the scheduler's.
//! Invariant: amounts are unsigned, so that a negative one cannot be written; counts are signed and checked by name.

use rkyv::{Archive, Deserialize, Serialize};

use super::{Container, ContainerId, ExecutionType, Resource};

/// Where an ask's containers may be placed.
///
/// An ask for a host goes with asks for its rack and for any place at the same priority; the count of `Any` is the
/// total.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ResourceName {
    /// Anywhere in the partition (YARN: `*`).
    #[default]
    Any = 0,
    /// On a node of this rack.
    Rack(String) = 1,
    /// On a node of this host.
    Host(String) = 2,
}

/// How many containers of one size are wanted, at one place and priority.
///
/// Key: priority and allocation request id; one size per key. What is sent replaces what was said before for the key
/// and place; what is not sent stays.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ResourceRequest {
    /// Smaller numbers are more important; counts only within the application.
    pub priority: i32,
    /// Chosen by the ApplicationMaster and given back with each grant; -1 for none.
    pub allocation_request_id: i64,
    /// Where.
    pub resource_name: ResourceName,
    /// Size of each container. Rounded up by the ResourceManager, so a grant may be larger.
    pub capability: Resource,
    /// How many are still wanted, counted from `grants_seen`; 0 cancels. Less than 0 is refused.
    pub num_containers: i32,
    /// Whether a wider place will do when this one has no room.
    pub relax_locality: bool,
    /// Partition; `None` = the application's default, then the queue's; empty = the default partition. Counts only
    /// with [`ResourceName::Any`].
    pub node_label_expression: Option<String>,
    /// Execution type wanted.
    pub execution_type: ExecutionType,
    /// Whether another execution type will not do.
    pub enforce_execution_type: bool,
    /// How many grants of this key the ApplicationMaster has seen, the highest
    /// [`grant_number`](Container::grant_number). `None` = YARN's plain absolute count: what is on its way comes on top.
    pub grants_seen: Option<u64>,
}

/// Size and number of a constraint-style ask.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ResourceSizing {
    /// How many containers.
    pub num_allocations: i32,
    /// Size of each.
    pub resources: Resource,
}

/// A constraint-style ask.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SchedulingRequest {
    /// Chosen by the ApplicationMaster and given back with each grant.
    pub allocation_request_id: i64,
    /// Smaller numbers are more important.
    pub priority: i32,
    /// Execution type wanted.
    pub execution_type: ExecutionType,
    /// Whether another execution type will not do.
    pub enforce_execution_type: bool,
    /// Tags the containers will have.
    pub allocation_tags: Vec<String>,
    /// Size and number.
    pub resource_sizing: ResourceSizing,
    /// The constraint in its text form; empty for none.
    pub placement_constraint: String,
}

/// A constraint that holds for every ask with these tags.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PlacementConstraintMapEntry {
    /// The tags.
    pub allocation_tags: Vec<String>,
    /// The constraint in its text form.
    pub placement_constraint: String,
}

/// Why a constraint-style ask was rejected.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum RejectionReason {
    /// No node satisfies the constraint.
    CouldNotPlaceOnNode = 1,
    /// The node chosen had no room after all.
    CouldNotScheduleOnNode = 2,
}

/// A constraint-style ask that cannot be placed.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RejectedSchedulingRequest {
    /// Why.
    pub reason: RejectionReason,
    /// The ask.
    pub request: SchedulingRequest,
}

/// What to change of a container.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum ContainerUpdateType {
    /// More.
    IncreaseResource = 0,
    /// Less.
    DecreaseResource = 1,
    /// Opportunistic to guaranteed.
    PromoteExecutionType = 2,
    /// Guaranteed to opportunistic.
    DemoteExecutionType = 3,
}

/// A wish to change a container.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdateContainerRequest {
    /// Version the ApplicationMaster believes is current.
    pub container_version: u32,
    /// The container.
    pub container_id: ContainerId,
    /// What to change.
    pub update_type: ContainerUpdateType,
    /// New size, for the two of size.
    pub capability: Option<Resource>,
    /// New execution type, for the other two.
    pub execution_type: Option<ExecutionType>,
}

/// A wish that was not granted.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdateContainerError {
    /// Why: begins with `INVALID_CONTAINER_ID`, `INCORRECT_CONTAINER_VERSION_ERROR`, `UPDATE_OUTSTANDING_ERROR`,
    /// `RESOURCE_OUTSIDE_ALLOWED_RANGE`, or, where nothing else is wrong with it, `NOT_SUPPORTED_YET`.
    pub reason: String,
    /// The wish.
    pub update_request: UpdateContainerRequest,
    /// The ResourceManager's version; `None` when it does not know the container (YARN: -1).
    pub current_container_version: Option<u32>,
}

/// A wish that was granted.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdatedContainer {
    /// What changed.
    pub update_type: ContainerUpdateType,
    /// The container with its new size, type, version and token.
    pub container: Container,
}

//! Why an application waits. Heddle's own: YARN has no such call.
//! Owns: the reasons and what is said of each ask. Called by: the client protocol (ExplainApplication).
//! Does not: find the reason; the scheduler keeps it as it decides.

use rkyv::{Archive, Deserialize, Serialize};

use super::Resource;

/// What keeps an ask from being granted: the constraint that binds.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum PendingReason {
    /// The scheduler has not looked at it yet.
    #[default]
    NotConsidered = 0,
    /// The application is not active; the answer's `application_reason` says why.
    ApplicationNotActive = 1,
    /// The queue, or one above it, has its maximum.
    QueueLimit = 2,
    /// The user has what a user may have of the queue.
    UserLimit = 3,
    /// ApplicationMasters have what they may have of the queue.
    AmLimit = 4,
    /// ApplicationMasters of the user have what they may have of the queue.
    UserAmLimit = 5,
    /// The queue is stopped.
    QueueStopped = 6,
    /// The partition has no node in use.
    NoNodes = 7,
    /// No node of the partition is large enough, even when empty.
    TooLarge = 8,
    /// Nodes are large enough, and none has that much free.
    NoFreeCapacity = 9,
    /// There is room elsewhere; the application waits for the places it named.
    Locality = 10,
    /// There is room only on nodes that the application does not want.
    Blacklist = 11,
    /// A node is reserved, and not yet free enough.
    Reserved = 12,
    /// The queue may not use the partition.
    LabelNotAccessible = 13,
    /// What is free goes to others first: queues further below their guarantee, applications earlier in the order.
    Order = 14,
    /// The application, user or queue has as many applications running as it may.
    MaxParallelApplications = 15,
}

/// An ask that waits.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PendingAsk {
    /// Its priority.
    pub priority: i32,
    /// Its allocation request id; -1 for none.
    pub allocation_request_id: i64,
    /// The partition it asks in; empty = the default one.
    pub partition: String,
    /// Size of each container, rounded as the scheduler does.
    pub capability: Resource,
    /// How many are wanted.
    pub num_containers: u64,
    /// What binds.
    pub reason: PendingReason,
    /// The same for people, with numbers: `queue root.etl at 100 % of its maximum 40 %: 812 of 812 GB`.
    pub text: String,
    /// For how long it has been so, milliseconds.
    pub since_ms: u64,
    /// Hosts named.
    pub hosts: u32,
    /// Racks named.
    pub racks: u32,
    /// Whether other places will do.
    pub relax_locality: bool,
}

/// How many asks wait for one reason.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// The reason.
    pub reason: PendingReason,
    /// Asks.
    pub asks: u64,
    /// Containers they want.
    pub containers: u64,
}

/// What an application, its user and its queue have of one partition.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionExplanation {
    /// The partition; empty = the default one.
    pub partition: String,
    /// The application's.
    pub used: Resource,
    /// Reserved for the application.
    pub reserved: Resource,
    /// Wanted by the application.
    pub pending: Resource,
    /// The user's, in the queue.
    pub user_used: Resource,
    /// What a user may have of the queue.
    pub user_limit: Resource,
    /// The queue's.
    pub queue_used: Resource,
    /// The queue's guarantee.
    pub queue_guaranteed: Resource,
    /// The queue's maximum.
    pub queue_maximum: Resource,
    /// The ApplicationMasters' of the queue.
    pub am_used: Resource,
    /// What ApplicationMasters may have of the queue.
    pub am_limit: Resource,
    /// The partition's nodes in use.
    pub nodes: u32,
    /// What they have that is free.
    pub free: Resource,
}

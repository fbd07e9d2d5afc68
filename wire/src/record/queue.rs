//! Queues as clients see them.
//! Owns: queue information, statistics, shares by partition, what a user may do. Called by: the client protocol.
//! Does not: hold a queue's configuration, nor nest: a tree is a list in which every queue names its parent's place.

use rkyv::{Archive, Deserialize, Serialize};

use super::Resource;

/// Whether a queue takes applications.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum QueueState {
    /// No.
    Stopped = 1,
    /// Yes.
    #[default]
    Running = 2,
    /// No, and it is stopped when those it has are done.
    Draining = 3,
}

/// What one may do in a queue.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum QueueAcl {
    /// Submit applications.
    SubmitApplications = 1,
    /// Administer the queue and what runs in it.
    AdministerQueue = 2,
}

/// A queue's share of one partition. Fractions are of 1.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct QueueConfigurations {
    /// The partition; empty = the default one.
    pub partition_name: String,
    /// Configured share of the parent.
    pub capacity: f32,
    /// Guaranteed share of the partition.
    pub absolute_capacity: f32,
    /// Configured maximum share of the parent.
    pub max_capacity: f32,
    /// Maximum share of the partition.
    pub absolute_max_capacity: f32,
    /// Used share of the partition.
    pub absolute_used_capacity: f32,
    /// Share that ApplicationMasters may have of the queue.
    pub max_am_share: f32,
    /// What is guaranteed.
    pub effective_min_capacity: Resource,
    /// What is the maximum.
    pub effective_max_capacity: Resource,
    /// Guarantee as configured, where it is configured as an amount.
    pub configured_min_capacity: Option<Resource>,
    /// Maximum as configured, where it is configured as an amount.
    pub configured_max_capacity: Option<Resource>,
    /// What containers have.
    pub used: Resource,
    /// What is reserved.
    pub reserved: Resource,
    /// What is still wanted.
    pub pending: Resource,
    /// What ApplicationMasters have.
    pub am_used: Resource,
}

/// Counts of a queue.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStatistics {
    /// Applications submitted since the start.
    pub applications_submitted: u64,
    /// Applications with a running attempt.
    pub applications_running: u64,
    /// Applications that wait to be activated.
    pub applications_pending: u64,
    /// Applications that finished.
    pub applications_completed: u64,
    /// Applications that were killed.
    pub applications_killed: u64,
    /// Applications that failed.
    pub applications_failed: u64,
    /// Users with something pending.
    pub active_users: u64,
    /// Containers that are allocated.
    pub allocated_containers: u64,
    /// Containers still wanted.
    pub pending_containers: u64,
    /// Containers reserved.
    pub reserved_containers: u64,
    /// What the queue has.
    pub allocated: Resource,
    /// What it could still get.
    pub available: Resource,
    /// What it still wants.
    pub pending: Resource,
    /// What is reserved for it.
    pub reserved: Resource,
}

/// A queue. Fractions are of 1 and of the default partition.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct QueueInfo {
    /// Its name.
    pub queue_name: String,
    /// Its path from the root, for example `root.etl.night`.
    pub queue_path: String,
    /// Place of its parent in the whole listing; `None` for the queue that was asked for.
    pub parent: Option<u32>,
    /// Whether it holds applications (and not queues).
    pub is_leaf: bool,
    /// Configured share of its parent.
    pub capacity: f32,
    /// Configured maximum share of its parent.
    pub maximum_capacity: f32,
    /// Used share of its guarantee.
    pub current_capacity: f32,
    /// Weight, where shares are given by weight; else -1.
    pub weight: f32,
    /// Whether it takes applications.
    pub state: QueueState,
    /// Labels its applications may use; `*` for all.
    pub accessible_node_labels: Vec<String>,
    /// Label of asks that name none; `None` for the default partition.
    pub default_node_label_expression: Option<String>,
    /// Counts.
    pub statistics: QueueStatistics,
    /// Shares by partition.
    pub configurations: Vec<QueueConfigurations>,
    /// Whether nothing is taken from it.
    pub is_preemption_disabled: bool,
    /// Whether nothing is taken from its applications for each other.
    pub is_intra_queue_preemption_disabled: bool,
    /// Most applications, running and pending.
    pub max_applications: u32,
    /// Most applications that run at once; `None` for no bound.
    pub max_parallel_applications: Option<u32>,
    /// Priority among its siblings.
    pub priority: i32,
    /// Least share of a user, hundredths.
    pub minimum_user_limit_percent: f32,
    /// Largest share of a user, as a factor of the queue's guarantee; -1 for no bound.
    pub user_limit_factor: f32,
    /// Order of its applications or queues: `fifo`, `fair`, `utilization`, …
    pub ordering_policy: String,
}

/// What the caller may do in a queue.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct QueueUserAclInfo {
    /// The queue's path.
    pub queue_name: String,
    /// What.
    pub user_acls: Vec<QueueAcl>,
}

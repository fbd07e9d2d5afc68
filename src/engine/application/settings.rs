//! What the application manager is told once: limits, attempts, expiries, groups.
//! Owns: [`ApplicationSettings`] with its defaults. Called by: config (makes and checks it), the application manager,
//! recorder, simulator. Thread: any; plain values.
//! Does not: read files. ACLs of the cluster and the highest priority come with the queues
//! ([`QueueTree`](crate::engine::scheduler::settings::QueueTree)) and change with them.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::event::KeyPair;
use crate::engine::scheduler::resource::{ResourceTypes, ResourceVector};
use crate::engine::scheduler::settings::Calculator;

/// Users and their groups; the first group of a user is its primary one.
pub type Groups = BTreeMap<Box<str>, Vec<Box<str>>>;

/// Longest diagnostics that may be asked for. A report's body has 64 KiB: the other texts of a report are below 8 KiB, and
/// its amounts of 32 resource types with names of 64 bytes below 24 KiB.
pub const DIAGNOSTICS_SIZE_MAX: u32 = 32 * 1024;

/// Everything the application manager is told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationSettings {
    /// Start of this ResourceManager, milliseconds since 1970: part of the ids it issues; wall-clock time is this plus
    /// the engine's time.
    pub rm_identifier: u64,
    /// Resource types of the cluster.
    pub resource_types: ResourceTypes,
    /// How amounts of several types are compared.
    pub calculator: Calculator,
    /// Least container; also the step that sizes are rounded up to.
    pub minimum_allocation: ResourceVector,
    /// Largest container.
    pub maximum_allocation: ResourceVector,
    /// Whether labels may be used at all (`yarn.node-labels.enabled`).
    pub node_labels_enabled: bool,
    /// Attempts of applications that say nothing (`yarn.resourcemanager.am.max-attempts`).
    pub am_max_attempts: u32,
    /// Most attempts an application may ask for (`yarn.resourcemanager.am.global.max-attempts`).
    pub global_am_max_attempts: u32,
    /// Label of AM containers whose submission names none (`yarn.resourcemanager.am.default-node-label`).
    pub am_default_node_label: Option<Box<str>>,
    /// Keep later attempts from hosts where an ApplicationMaster failed for the node's sake; off in YARN as well.
    pub am_blacklisting: Option<AmBlacklistSettings>,
    /// An ApplicationMaster that has finished and whose container goes on is stopped after this.
    pub am_finishing_expiry: Duration,
    /// How often lifetimes are looked at: they end on the next multiple of it.
    pub lifetime_check_interval: Duration,
    /// Completed applications kept for reports (`yarn.resourcemanager.max-completed-applications`).
    pub max_completed_applications: u32,
    /// Completed applications kept in the state store; never more than the ones kept for reports.
    pub store_max_completed_applications: u32,
    /// Most applications that have not completed. A submission beyond is refused. The scheduler's own limits
    /// (`maximum-applications`) are below it and produce FAILED applications, which this one does not.
    pub applications_max: u32,
    /// Most bytes of launch contexts kept for applications that have not completed. A submission beyond is refused.
    pub launch_context_bytes_max: u64,
    /// Attempts of one application kept in memory. Failures that do not count allow unlimited attempts: beyond this the
    /// oldest is forgotten. At least the attempts that count are kept.
    pub attempts_kept_max: u32,
    /// Longest diagnostics kept for an application or attempt, bytes: the end is kept. At most [`DIAGNOSTICS_SIZE_MAX`].
    pub diagnostics_size_max: u32,
    /// Questions to the scheduler that wait for an answer. A client's call beyond is answered Busy.
    pub queries_max: u32,
    /// A write of the state store that failed is tried again after this.
    pub store_retry_interval: Duration,
    /// Groups of users.
    pub groups: Groups,
    /// Keys of AMRM tokens: those of unmanaged ApplicationMasters are told to their owners.
    pub am_rm_token_keys: KeyPair,
}

/// Keeping ApplicationMasters from hosts where earlier ones failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmBlacklistSettings {
    /// Hosts named for one application at most; when one more fails, the list is emptied. YARN: a share (0.2) of the
    /// cluster's nodes, which only the scheduler knows.
    pub hosts_max: u32,
}

impl Default for ApplicationSettings {
    /// YARN's defaults; 10,000 completed applications, as YARN kept up to version 2.
    fn default() -> Self {
        Self {
            rm_identifier: 0,
            resource_types: ResourceTypes::default(),
            calculator: Calculator::Memory,
            minimum_allocation: ResourceVector::new(1_024, 1),
            maximum_allocation: ResourceVector::new(8_192, 4),
            node_labels_enabled: false,
            am_max_attempts: 2,
            global_am_max_attempts: 2,
            am_default_node_label: None,
            am_blacklisting: None,
            am_finishing_expiry: Duration::from_secs(600),
            lifetime_check_interval: Duration::from_secs(3),
            max_completed_applications: 10_000,
            store_max_completed_applications: 10_000,
            applications_max: 65_536,
            launch_context_bytes_max: 1 << 30,
            attempts_kept_max: 64,
            diagnostics_size_max: 16 * 1024,
            queries_max: 1_024,
            store_retry_interval: Duration::from_secs(1),
            groups: Groups::new(),
            am_rm_token_keys: KeyPair::default(),
        }
    }
}

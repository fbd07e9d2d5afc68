//! What the scheduler is told: limits of the cluster and the tree of queues, both as configured.
//! Owns: [`SchedulerSettings`], [`QueueTree`], [`QueueSettings`] with their defaults. Called by: config (makes and checks
//! them), the scheduler, the application manager (access control), recorder, simulator. Thread: any; plain values.
//! Does not: read files, compute effective capacities (they depend on the cluster, see `capacity`).
//! Invariants of a checked tree: `queues[0]` is `root`, parents come before their children, paths are distinct.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::resource::{ResourceTypes, ResourceVector};
use crate::engine::event::KeyPair;

/// Everything the scheduler is told once, and the first tree of queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerSettings {
    /// Index of the scheduler thread, the high byte of every attempt handle.
    pub index: u8,
    /// Start of this ResourceManager, milliseconds since 1970: wall-clock time is this plus the engine's time.
    pub rm_identifier: u64,
    /// Number of this start: the high bits of container ids (`epoch × 2^40 + sequence`).
    pub epoch: u32,
    /// Resource types of the cluster.
    pub resource_types: ResourceTypes,
    /// How amounts of several types are compared.
    pub calculator: Calculator,
    /// Least container; also the step that sizes are rounded up to.
    pub minimum_allocation: ResourceVector,
    /// Largest container.
    pub maximum_allocation: ResourceVector,
    /// The queues.
    pub queues: QueueTree,
    /// Labels the cluster knows besides the default partition, with whether each is exclusive.
    pub node_labels: BTreeMap<Box<str>, bool>,
    /// Whether labels may be used at all (`yarn.node-labels.enabled`).
    pub node_labels_enabled: bool,
    /// Whether a node's label is what the node reports (else: what an administrator set).
    pub distributed_labels: bool,
    /// A granted container that its node does not report within this time is taken back.
    pub allocation_expiry: Duration,
    /// A silent ApplicationMaster is failed after this.
    pub am_expiry: Duration,
    /// How long an ask waits for a node it names before its rack will do. YARN counts missed opportunities.
    pub node_locality_delay: Duration,
    /// How much longer before any node will do.
    pub rack_locality_additional_delay: Duration,
    /// How long an ask without a label waits before it may use idle nodes of a shared label.
    pub non_exclusive_delay: Duration,
    /// What becomes of containers of applications this ResourceManager does not know.
    pub unknown_containers: UnknownContainers,
    /// Most applications' attempts at once: rows of the attempt table.
    pub attempts_max: u32,
    /// Keys of container tokens.
    pub container_token_keys: KeyPair,
    /// Keys of NM tokens.
    pub nm_token_keys: KeyPair,
    /// Keys of AMRM tokens.
    pub am_rm_token_keys: KeyPair,
}

/// How amounts of several resource types are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Calculator {
    /// Memory only (YARN's `DefaultResourceCalculator`).
    #[default]
    Memory,
    /// By the dominant share (`DominantResourceCalculator`).
    Dominant,
}

/// What becomes of containers of applications this ResourceManager does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnknownContainers {
    /// Their nodes are ordered to kill them, as in YARN.
    #[default]
    CleanUp,
    /// They run on, count as used on their node and belong to no queue.
    Accept,
}

/// The queues as configured, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueTree {
    /// Every queue, parents before children, `root` first.
    pub queues: Vec<QueueSettings>,
    /// Most applications, running and pending, in the cluster.
    pub maximum_applications: u32,
    /// The same for every queue; `None` = by its share.
    pub global_queue_maximum_applications: Option<u32>,
    /// Whether an app's ask may look at other nodes while it holds a reservation.
    pub reservations_continue_look_all_nodes: bool,
    /// A grant on the rack resets the locality wait.
    pub rack_locality_full_reset: bool,
    /// Most applications that run at once for users without a setting of their own.
    pub user_max_parallel_apps: u32,
    /// The same by user.
    pub max_parallel_apps_of: BTreeMap<Box<str>, u32>,
    /// Highest priority of an application (`yarn.cluster.max-application-priority`). The application manager's: it settles
    /// every priority and has this refreshed by itself; the scheduler does not read it.
    pub max_application_priority: i32,
    /// Whether ACLs of queues and applications are enforced (`yarn.acl.enable`).
    pub acl_enabled: bool,
    /// Administrators of the cluster (`yarn.admin.acl`); enforced in any case.
    pub admin_acl: Acl,
}

// Capacities are finite by check, so equality is total.
impl Eq for QueueTree {}

/// One queue as configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// Full path, `root.a.b`.
    pub path: Box<str>,
    /// Index of the parent; `None` for root.
    pub parent: Option<u32>,
    /// Whether it has no children.
    pub is_leaf: bool,
    /// Whether it takes applications.
    pub state: QueueState,
    /// Its share, per partition; the default partition is `""`. A partition that is not named here has capacity 0.
    pub capacities: BTreeMap<Box<str>, PartitionCapacity>,
    /// Labels it may use, resolved from its parents. `None` = all.
    pub accessible_node_labels: Option<Vec<Box<str>>>,
    /// Label of asks that name none.
    pub default_node_label_expression: Option<Box<str>>,
    /// Order among siblings when the parent says `priority-utilization`.
    pub priority: i32,
    /// How its children are ordered.
    pub queue_order: QueueOrder,
    /// How its applications are ordered.
    pub application_order: ApplicationOrder,
    /// Least share of each user while others wait, percent of the queue.
    pub minimum_user_limit_percent: f32,
    /// How many times the queue's guarantee one user may have; `None` = no such limit (−1 in YARN).
    pub user_limit_factor: Option<f32>,
    /// Weight of users that differ from 1.
    pub user_weights: BTreeMap<Box<str>, f32>,
    /// Largest container in this queue, resolved from its parents.
    pub maximum_allocation: Option<ResourceVector>,
    /// Most applications; `None` = by its share.
    pub maximum_applications: Option<u32>,
    /// Most applications that run at once.
    pub max_parallel_apps: u32,
    /// Priority of applications that name none.
    pub default_application_priority: i32,
    /// Longest lifetime of an application, seconds; `None` = unlimited.
    pub maximum_application_lifetime_s: Option<u64>,
    /// Lifetime of applications that name none.
    pub default_application_lifetime_s: Option<u64>,
    /// Who may submit here.
    pub acl_submit_applications: Acl,
    /// Who may administer applications here.
    pub acl_administer_queue: Acl,
    /// How nodes are chosen.
    pub placement: NodePlacement,
}

/// A queue's share of one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionCapacity {
    /// Guaranteed.
    pub capacity: Capacity,
    /// Most.
    pub maximum: MaximumCapacity,
    /// Share of it for ApplicationMasters, 0 to 1.
    pub maximum_am_resource_percent: f32,
}

/// A guaranteed share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Capacity {
    /// Percent of the parent's, 0 to 100.
    Percent(f32),
    /// Weight among its siblings.
    Weight(f32),
    /// An amount.
    Absolute(ResourceVector),
}

/// A bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MaximumCapacity {
    /// Percent of the parent's bound, 0 to 100.
    Percent(f32),
    /// An amount.
    Absolute(ResourceVector),
}

/// Whether a queue takes applications, as configured. DRAINING is a STOPPED queue that is not empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum QueueState {
    /// Yes.
    #[default]
    Running,
    /// No; what is there runs on.
    Stopped,
}

/// Order among sibling queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum QueueOrder {
    /// Least used of its guarantee first.
    #[default]
    Utilization,
    /// Priority first among queues that are all under (or all over) their guarantee.
    PriorityUtilization,
}

/// Order among a leaf's applications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ApplicationOrder {
    /// Priority, then age.
    #[default]
    Fifo,
    /// Least used first.
    Fair {
        /// Weigh by the logarithm of the demand.
        size_based_weight: bool,
    },
}

/// How a node is chosen among those with room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodePlacement {
    /// Around the cluster.
    #[default]
    Spread,
    /// The first with room, so that others stay empty.
    BinPack,
}

/// An access control list: `users groups`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acl {
    /// Everybody (`*`).
    pub is_all: bool,
    /// Users, sorted.
    pub users: Box<[Box<str>]>,
    /// Groups, sorted.
    pub groups: Box<[Box<str>]>,
}

impl Acl {
    /// Everybody.
    #[must_use]
    pub fn all() -> Self {
        Self { is_all: true, ..Self::default() }
    }

    /// Reads `user1,user2 group1,group2`, `*`, or blanks for nobody.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::all();
        }
        let list = |part: Option<&str>| -> Box<[Box<str>]> {
            let mut names: Vec<Box<str>> = part
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(Into::into)
                .collect();
            names.sort();
            names.dedup();
            names.into()
        };
        // A leading blank means: no users, only groups.
        let (users, groups) = match text.split_once(' ') {
            Some((users, groups)) => (Some(users), Some(groups.trim())),
            None => (Some(text), None),
        };
        Self { is_all: false, users: list(users), groups: list(groups) }
    }

    /// Whether `user` or one of its groups is in it.
    #[must_use]
    pub fn admits(&self, user: &str, groups: &[Box<str>]) -> bool {
        self.is_all
            || self.users.binary_search_by(|name| (**name).cmp(user)).is_ok()
            || groups.iter().any(|group| self.groups.binary_search(group).is_ok())
    }
}

impl QueueTree {
    /// Index of a queue by full path, or by its last name where only one queue has it.
    ///
    /// # Errors
    /// Says whether it is unknown or ambiguous.
    pub fn find(&self, name: &str) -> Result<u32, FindQueueError> {
        let mut found = None;
        for (index, queue) in self.queues.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            if &*queue.path == name {
                return Ok(index);
            }
            if queue.name() == name {
                if found.is_some() {
                    return Err(FindQueueError::Ambiguous);
                }
                found = Some(index);
            }
        }
        found.ok_or(FindQueueError::Unknown)
    }

    /// A queue and its parents, root last.
    pub fn path(&self, queue: u32) -> impl Iterator<Item = (u32, &QueueSettings)> {
        let get = |index: u32| self.queues.get(index as usize).map(|queue| (index, queue));
        core::iter::successors(get(queue), move |(_, queue)| queue.parent.and_then(get))
    }
}

/// Why no queue was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindQueueError {
    /// There is none of that name.
    Unknown,
    /// Several have that last name.
    Ambiguous,
}

impl QueueSettings {
    /// The last part of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }
}

impl Default for QueueTree {
    /// `root` with one leaf, `default`, that may have everything; every other value is YARN's default.
    fn default() -> Self {
        let root = QueueSettings {
            acl_submit_applications: Acl::all(),
            acl_administer_queue: Acl::all(),
            is_leaf: false,
            ..QueueSettings::leaf("root", None, Capacity::Percent(100.0))
        };
        Self {
            queues: vec![root, QueueSettings::leaf("root.default", Some(0), Capacity::Percent(100.0))],
            maximum_applications: 10_000,
            global_queue_maximum_applications: None,
            reservations_continue_look_all_nodes: true,
            rack_locality_full_reset: true,
            user_max_parallel_apps: u32::MAX,
            max_parallel_apps_of: BTreeMap::new(),
            max_application_priority: 0,
            acl_enabled: false,
            admin_acl: Acl::all(),
        }
    }
}

impl QueueSettings {
    /// A leaf with YARN's defaults.
    #[must_use]
    pub fn leaf(path: &str, parent: Option<u32>, capacity: Capacity) -> Self {
        let capacity = PartitionCapacity {
            capacity,
            maximum: MaximumCapacity::Percent(100.0),
            maximum_am_resource_percent: 0.1,
        };
        Self {
            path: path.into(),
            parent,
            is_leaf: true,
            state: QueueState::Running,
            capacities: BTreeMap::from([("".into(), capacity)]),
            accessible_node_labels: Some(Vec::new()),
            default_node_label_expression: None,
            priority: 0,
            queue_order: QueueOrder::Utilization,
            application_order: ApplicationOrder::Fifo,
            minimum_user_limit_percent: 100.0,
            user_limit_factor: Some(1.0),
            user_weights: BTreeMap::new(),
            maximum_allocation: None,
            maximum_applications: None,
            max_parallel_apps: u32::MAX,
            default_application_priority: 0,
            maximum_application_lifetime_s: None,
            default_application_lifetime_s: None,
            acl_submit_applications: Acl::default(),
            acl_administer_queue: Acl::default(),
            placement: NodePlacement::Spread,
        }
    }
}

impl Default for SchedulerSettings {
    /// YARN's defaults, one queue.
    fn default() -> Self {
        Self {
            index: 0,
            rm_identifier: 0,
            epoch: 0,
            resource_types: ResourceTypes::default(),
            calculator: Calculator::Memory,
            minimum_allocation: ResourceVector::new(1_024, 1),
            maximum_allocation: ResourceVector::new(8_192, 4),
            queues: QueueTree::default(),
            node_labels: BTreeMap::new(),
            node_labels_enabled: false,
            distributed_labels: false,
            allocation_expiry: Duration::from_secs(600),
            am_expiry: Duration::from_secs(600),
            node_locality_delay: Duration::from_secs(3),
            rack_locality_additional_delay: Duration::from_secs(3),
            non_exclusive_delay: Duration::from_secs(5),
            unknown_containers: UnknownContainers::CleanUp,
            attempts_max: 1 << 20,
            container_token_keys: KeyPair::default(),
            nm_token_keys: KeyPair::default(),
            am_rm_token_keys: KeyPair::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_control_lists_are_users_then_groups() {
        let acl = Acl::parse("bob,alice ops");
        assert!(acl.admits("alice", &[]) && acl.admits("eve", &["ops".into()]));
        assert!(!acl.admits("ops", &[]) && !acl.admits("eve", &["alice".into()]));
        assert!(Acl::parse("*").admits("eve", &[]));
        assert!(!Acl::parse(" ").admits("", &[]) && Acl::parse(" ops").admits("x", &["ops".into()]));
    }

    #[test]
    fn a_short_name_finds_its_queue_unless_two_have_it() {
        let mut tree = QueueTree::default();
        assert_eq!(tree.find("default"), Ok(1));
        assert_eq!(tree.find("root.default"), Ok(1));
        assert_eq!(tree.find("nope"), Err(FindQueueError::Unknown));
        tree.queues.push(QueueSettings::leaf("root.a.default", Some(0), Capacity::Weight(1.0)));
        assert_eq!(tree.find("default"), Err(FindQueueError::Ambiguous));
        assert_eq!(tree.path(1).map(|(index, _)| index).collect::<Vec<_>>(), [1, 0]);
    }
}

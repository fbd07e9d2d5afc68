//! What a simulated cluster is asked to do: its nodes, its queues, its applications with their tasks.
//! Owns: [`Workload`], [`ApplicationSpec`], [`TaskGroup`] and their bounds. Called by: the command line (reads one), the
//! simulated clients and ApplicationMasters (play it), the simulator. Thread: any; plain values, cheap to clone.
//! Does not: submit, keep time, open connections. Readers of the formats are below, one module each.
//! Invariants of a workload that a reader gave: every bound of this module holds, `after` names earlier groups only, tasks
//! and amounts are positive, everything random is a function of a seed and an index.

pub mod durations;
mod dynoyarn;
pub mod error;
pub mod export;
mod grouping;
mod json;
mod openb;
mod queues;
pub mod reader;
mod rumen;
mod scenario;
mod sls;
pub mod summary;
mod synth;

use std::collections::BTreeSet;
use std::sync::Arc;

use heddle_wire::record::{ExecutionType, Resource};

pub use durations::{Distribution, Durations};
pub use error::WorkloadError;
pub use reader::{Format, ReadOptions, WorkloadReader, read_nodes};
pub use scenario::DEFAULT_SCENARIO;

/// Most applications of one workload that is held in memory. A reader that streams has no such bound.
pub const APPLICATIONS_MAX: usize = 4_000_000;

/// Most groups of tasks in one application.
pub const GROUPS_MAX: usize = 1_024;

/// Most tasks in one application. What one ApplicationMaster can ask for is bounded by its container ids anyway.
pub const TASKS_MAX: u64 = 10_000_000;

/// Most places one group names.
pub const LOCALITIES_MAX: usize = 100_000;

/// Most nodes a workload lists: the rows of one shard of the ResourceManager.
pub const NODES_MAX: usize = 1 << 20;

/// Latest moment and longest duration, milliseconds: a hundred years, so that sums of a few never wrap.
pub const TIME_MS_MAX: u64 = 100 * 366 * 86_400 * 1_000;

/// Most memory of one container or node, MiB (an exbibyte).
pub const MEMORY_MB_MAX: u64 = 1 << 40;

/// Most virtual cores of one container or node.
pub const VIRTUAL_CORES_MAX: u64 = 1 << 30;

/// Most of any other resource type.
pub const AMOUNT_MAX: u64 = 1 << 50;

/// Priorities are between this and its negative.
pub const PRIORITY_MAX: i64 = 1_000_000;

/// What a cluster is asked to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// The nodes, where the trace says something of them.
    pub nodes: Option<Vec<NodeSpec>>,
    /// The queues, where the trace says something of them.
    pub queues: Option<QueueTreeSpec>,
    /// The applications, by time of submission; the first is submitted at 0.
    pub applications: Vec<ApplicationSpec>,
    /// What of the trace is not used, and why; for a person. Bounded.
    pub notices: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Host name.
    pub host: Arc<str>,
    /// Rack, with a leading `/`.
    pub rack: Arc<str>,
    /// Its label; `None` = the default partition.
    pub label: Option<Arc<str>>,
    /// What it offers.
    pub resource: Resource,
}

/// The queues, as a queue file in Heddle's own TOML form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueTreeSpec {
    /// Text of the file: a table `[queues.root.…]` for each queue.
    pub toml: String,
    /// Full paths of the leaves, sorted.
    pub leaves: Vec<Arc<str>>,
}

/// An application: when it is submitted, by whom, where to, and what its ApplicationMaster asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApplicationSpec {
    /// When it is submitted, milliseconds since the workload's start.
    pub submit_ms: u64,
    /// Name for people. Not distinct.
    pub name: Arc<str>,
    /// Who submits it.
    pub user: Arc<str>,
    /// Queue, a full path or a leaf's name.
    pub queue: Arc<str>,
    /// Its type, for example `MAPREDUCE`.
    pub application_type: Arc<str>,
    /// Priority within its queue; more is first. `None` = the queue's default.
    pub priority: Option<i32>,
    /// Label its containers ask for, unless their group says otherwise.
    pub label: Option<Arc<str>>,
    /// Tags.
    pub tags: Arc<[Arc<str>]>,
    /// Longest it may take, seconds; it is killed then.
    pub lifetime_s: Option<u64>,
    /// Most attempts; `None` = the ResourceManager's default.
    pub attempts_max: Option<u32>,
    /// Whether containers outlive their attempt.
    pub keeps_containers: bool,
    /// Its ApplicationMaster.
    pub am: AmSpec,
    /// What the ApplicationMaster asks for. Empty: it does what it does in its own container.
    pub groups: Arc<[TaskGroup]>,
}

/// An ApplicationMaster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmSpec {
    /// Its container.
    pub resource: Resource,
    /// Between its container's start and its registration, milliseconds.
    pub start_ms: u64,
    /// It stays registered for at least this long, also when its tasks are done before, milliseconds.
    pub least_duration_ms: u64,
    /// Whether it runs outside of the cluster.
    pub is_unmanaged: bool,
}

impl Default for AmSpec {
    /// 1 GiB and one core, as SLS has it.
    fn default() -> Self {
        Self { resource: Resource::new(1_024, 1), start_ms: 0, least_duration_ms: 0, is_unmanaged: false }
    }
}

/// Tasks of one kind: one ask.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskGroup {
    /// For people, for example `map`.
    pub name: Arc<str>,
    /// Priority of the ask; less is first, as in YARN.
    pub priority: i32,
    /// Id of the ask: distinct among the application's groups of one priority, since a priority and an id have one size of
    /// container. −1 = none.
    pub allocation_request_id: i64,
    /// How many tasks, at least 1.
    pub count: u32,
    /// A task's container.
    pub resource: Resource,
    /// How long each runs.
    pub durations: Durations,
    /// Where they would like to run. The counts add up to no more than `count`.
    pub localities: Arc<[Locality]>,
    /// Whether another place will do.
    pub relax_locality: bool,
    /// Label; `None` = the application's.
    pub label: Option<Arc<str>>,
    /// What has to be done before these are asked for.
    pub after: Arc<[Dependency]>,
    /// They are asked for this long after that (or after registration), milliseconds.
    pub delay_ms: u64,
    /// Guaranteed or opportunistic.
    pub execution_type: ExecutionType,
    /// How often a task that did not succeed is asked for again. Containers lost with their node do not count.
    pub retries: u32,
}

impl Default for TaskGroup {
    /// One guaranteed task of 1 GiB and one core for no time at all, anywhere.
    fn default() -> Self {
        Self {
            name: "task".into(),
            priority: 20,
            allocation_request_id: -1,
            count: 1,
            resource: Resource::new(1_024, 1),
            durations: Durations::Constant(0),
            localities: Arc::default(),
            relax_locality: true,
            label: None,
            after: Arc::default(),
            delay_ms: 0,
            execution_type: ExecutionType::Guaranteed,
            retries: 3,
        }
    }
}

/// A place, and how many of a group's tasks would like to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locality {
    /// Host; `None` = anywhere on the rack.
    pub host: Option<Arc<str>>,
    /// Rack, with a leading `/`.
    pub rack: Arc<str>,
    /// How many.
    pub count: u32,
}

/// Something that has to be done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Index of an earlier group.
    pub group: u32,
    /// How much of it has to be completed, millionths: MapReduce's slow start.
    pub completed_ppm: u32,
}

impl Dependency {
    /// All of `group`.
    #[must_use]
    pub const fn all_of(group: u32) -> Self {
        Self { group, completed_ppm: 1_000_000 }
    }

    /// How many of a group of `count` have to be completed.
    #[must_use]
    pub const fn needed(self, count: u32) -> u32 {
        (count as u64 * self.completed_ppm as u64).div_ceil(1_000_000) as u32
    }
}

impl TaskGroup {
    /// Whether its tasks are due, once `completed(group)` of each earlier group are done.
    #[must_use]
    pub fn is_due(&self, groups: &[Self], completed: impl Fn(u32) -> u32) -> bool {
        self.after.iter().all(|dependency| {
            let count = groups.get(dependency.group as usize).map_or(0, |group| group.count);
            completed(dependency.group) >= dependency.needed(count)
        })
    }
}

impl ApplicationSpec {
    /// Tasks of all groups.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.groups.iter().map(|group| u64::from(group.count)).sum()
    }

    /// Every host its groups name, with its rack.
    pub fn hosts(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.groups
            .iter()
            .flat_map(|group| group.localities.iter())
            .filter_map(|place| place.host.as_ref().map(|host| (host, &place.rack)))
    }
}

impl Workload {
    /// The most of each resource type that one container asks for: what the ResourceManager's largest allocation has to be.
    #[must_use]
    pub fn largest_container(&self) -> Resource {
        let mut most = Resource::default();
        for spec in &self.applications {
            summary::widen(&mut most, &spec.am.resource);
            spec.groups.iter().for_each(|group| summary::widen(&mut most, &group.resource));
        }
        most
    }

    /// Queues the applications name, sorted.
    #[must_use]
    pub fn queue_names(&self) -> Vec<Arc<str>> {
        let names: BTreeSet<&Arc<str>> = self.applications.iter().map(|spec| &spec.queue).collect();
        names.into_iter().cloned().collect()
    }

    /// Users the applications name, sorted.
    #[must_use]
    pub fn user_names(&self) -> Vec<Arc<str>> {
        let names: BTreeSet<&Arc<str>> = self.applications.iter().map(|spec| &spec.user).collect();
        names.into_iter().cloned().collect()
    }
}

//! What a seed decides of a whole cluster before its run begins: nodes, queues, applications, settings, faults.
//! Owns: [`Plan`], [`Act`]. Called by: the cluster's simulation, once per run. Thread: the run's.
//! Does not: act. Invariants: each fault is on in some seeds and off in others; what is left when the faults end is
//! enough for every application.

use core::time::Duration;
use std::sync::Arc;

use heddle::engine::application::ApplicationSettings;
use heddle::engine::event::KeyPair;
use heddle::engine::scheduler::resource::ResourceVector;
use heddle::engine::scheduler::settings::{
    Acl, ApplicationOrder, Calculator, Capacity, MaximumCapacity, NodePlacement, QueueOrder, QueueSettings,
    QueueTree, SchedulerSettings,
};
use heddle::engine::settings::{BrakeSettings, HeartbeatSettings, NodeClass, ShardSettings};
use heddle_loadgen::application::AmPace;
use heddle_loadgen::workload::{AmSpec, ApplicationSpec, Dependency, Durations, Locality, TaskGroup};
use heddle_wire::record::Resource;

use crate::chance::Chance;
use crate::network::Weather;

/// Start of the ResourceManager, milliseconds since 1970.
pub(crate) const RM_IDENTIFIER: u64 = 1_700_000_000_000;

/// The rack of every node.
pub(crate) const RACK: &str = "/rack-0000";

/// A label that some runs use.
pub(crate) const LABEL: &str = "ssd";

/// Host of a node.
pub(crate) fn host_of(node: u32) -> String {
    format!("n{node}")
}

macro_rules! acts {
    ($($name:ident),* $(,)?) => {
        /// Something the run does to its cluster now and then.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Act { $($name),* }

        impl Act {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

acts! {
    KillNode, PauseNode, VanishMaster, CrashMaster, CutMaster, CutNode, CutClient, KillApplication, FailAttempt,
    MoveApplication, Resubmit, UpdatePriority, UpdateTimeout, SignalContainer, AskAround, ForeignFrame, AddLabels,
    ReplaceLabels, RemoveLabels, UpdateCapacity, ReplaceQueues, Decommission, Stranger,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: u32,
    /// So many are left in any case.
    pub(crate) nodes_least: u32,
    /// Queues have shares of the nodes with [`LABEL`], and some tasks run only there.
    pub(crate) has_labelled: bool,
    /// ApplicationMasters refuse hosts now and then, until the faults end.
    pub(crate) has_blacklists: bool,
    /// Applications are killed as they say that they are done.
    pub(crate) kills_finishing: bool,
    /// Memory of every node, MiB, and its cores.
    pub(crate) node_size: (u64, u32),
    pub(crate) shards: Vec<ShardSettings>,
    pub(crate) scheduler: SchedulerSettings,
    pub(crate) application: ApplicationSettings,
    pub(crate) applications: Arc<[Arc<ApplicationSpec>]>,
    pub(crate) node_weather: Weather,
    pub(crate) stream_weather: Weather,
    pub(crate) duplicate_ppm: u32,
    pub(crate) stale_ppm: u32,
    pub(crate) cancel_ppm: u32,
    pub(crate) pace: AmPace,
    pub(crate) acts: Vec<Act>,
    pub(crate) act_us_max: u64,
    pub(crate) heal_at_us: u64,
    pub(crate) batch_max: u64,
    pub(crate) step_us_max: u64,
    pub(crate) store_us_max: u64,
    pub(crate) store_fails_permille: u64,
    pub(crate) push_loss_permille: u64,
    pub(crate) late_permille: u64,
}

fn millis(chance: &mut Chance, low: u64, high: u64) -> Duration {
    Duration::from_millis(chance.between(low, high))
}

impl Plan {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let scheduler = scheduler_settings(chance);
        let has_labelled = scheduler.queues.queues[1].capacities.contains_key(LABEL);
        let nodes_least = if has_labelled { 3 } else { 2 };
        let nodes = chance.between(u64::from(nodes_least), 6) as u32;
        let share = *chance.pick(&[50, 200, 350, 500]);
        let on = |chance: &mut Chance| chance.hits(share);
        let node_weather = Weather {
            loss_permille: if on(chance) { chance.between(5, 80) } else { 0 },
            duplicate_permille: if on(chance) { chance.between(5, 100) } else { 0 },
            reorder_permille: if on(chance) { chance.between(10, 200) } else { 0 },
            slow_permille: if on(chance) { chance.between(10, 100) } else { 0 },
            slow_us_max: chance.between(20_000, 800_000),
            delay_us_max: chance.between(500, 30_000),
        };
        // Streams keep the order and lose nothing but by their own end.
        let stream_weather = Weather {
            slow_permille: if on(chance) { chance.between(10, 200) } else { 0 },
            slow_us_max: chance.between(20_000, 900_000),
            delay_us_max: chance.between(500, 30_000),
            ..Weather::default()
        };
        let node_size = *chance.pick(&[(8_192, 8), (12_288, 16), (16_384, 8)]);
        let application = application_settings(chance, &scheduler);
        let applications = chance.between(1, 4);
        let applications = (0..applications)
            .map(|number| Arc::new(application_spec(chance, number, nodes, &scheduler)))
            .collect::<Vec<_>>();
        let pace = match chance.below(3) {
            0 => AmPace::OnNews { idle_us: chance.between(300_000, 2_000_000) },
            _ => AmPace::Every { interval_us: chance.between(200_000, 1_000_000) },
        };
        let acts = Act::ALL.iter().copied().filter(|_| on(chance)).collect();
        Self {
            nodes,
            nodes_least,
            has_labelled,
            has_blacklists: on(chance),
            kills_finishing: on(chance),
            node_size,
            shards: shard_settings(chance, &scheduler),
            scheduler,
            application,
            applications: applications.into(),
            node_weather,
            stream_weather,
            duplicate_ppm: if on(chance) { 50_000 } else { 0 },
            stale_ppm: if on(chance) { 5_000 } else { 0 },
            cancel_ppm: if on(chance) { chance.between(50_000, 400_000) as u32 } else { 0 },
            pace,
            acts,
            act_us_max: *chance.pick(&[300_000, 1_000_000, 3_000_000]),
            heal_at_us: chance.between(4_000_000, 14_000_000),
            batch_max: *chance.pick(&[1, 4, 16]),
            step_us_max: *chance.pick(&[200, 3_000, 30_000]),
            store_us_max: if on(chance) { 800_000 } else { 2_000 },
            store_fails_permille: if on(chance) { 150 } else { 0 },
            push_loss_permille: if on(chance) { 200 } else { 0 },
            late_permille: if on(chance) { 500 } else { 0 },
        }
    }
}

fn keys() -> KeyPair {
    KeyPair { current: Some((1, Box::new([7; 32]))), next: None }
}

fn queues(chance: &mut Chance, has_labelled: bool) -> QueueTree {
    // A user's ApplicationMasters alone, four of a GiB where there are fewest nodes, have to be within its limit: nobody
    // would ever be given more, as in YARN.
    let factors = |share: f32| match share {
        100.0 => [None, Some(0.25), Some(0.5), Some(1.0)],
        _ => [None, Some(1.0), Some(1.5), Some(4.0)],
    };
    let leaf = |chance: &mut Chance, path: &str, parent: u32, share: f32| {
        let mut queue = QueueSettings::leaf(path, Some(parent), Capacity::Percent(share));
        for capacity in queue.capacities.values_mut() {
            capacity.maximum_am_resource_percent = *chance.pick(&[0.1, 0.5, 1.0]);
            // As much as four ApplicationMasters and the largest task where there are fewest nodes.
            capacity.maximum = MaximumCapacity::Percent(share.max(*chance.pick(&[50.0, 75.0, 100.0])));
        }
        queue.priority = chance.below(3) as i32;
        if has_labelled {
            let of_default = queue.capacities.values().next().cloned();
            queue.capacities.extend(of_default.map(|capacity| (LABEL.into(), capacity)));
        }
        queue.user_limit_factor = *chance.pick(&factors(share));
        queue.minimum_user_limit_percent = *chance.pick(&[25.0, 50.0, 100.0]);
        // At most so many times as much as others that all together have everything.
        let weight_max = 100.0 / queue.minimum_user_limit_percent;
        if weight_max > 1.0 && chance.hits(300) {
            queue.user_weights.insert("bob".into(), if chance.hits(500) { 1.5 } else { weight_max });
        }
        queue.application_order =
            *chance.pick(&[ApplicationOrder::Fifo, ApplicationOrder::Fair { size_based_weight: false }]);
        queue.placement = *chance.pick(&[NodePlacement::Spread, NodePlacement::BinPack]);
        queue.accessible_node_labels = None;
        queue.acl_submit_applications = Acl::parse("ada,bob");
        queue
    };
    let mut tree = QueueTree { max_application_priority: 10, ..QueueTree::default() };
    tree.acl_enabled = chance.hits(400);
    tree.admin_acl = Acl::parse("root");
    let order = *chance.pick(&[QueueOrder::Utilization, QueueOrder::PriorityUtilization]);
    tree.queues.truncate(1);
    tree.queues[0].queue_order = order;
    tree.queues[0].acl_submit_applications = Acl::default();
    tree.queues[0].acl_administer_queue = Acl::default();
    tree.queues[0].accessible_node_labels = None;
    if chance.hits(300) {
        tree.queues.push(leaf(chance, "root.default", 0, 100.0));
        return tree;
    }
    tree.queues.push(leaf(chance, "root.default", 0, 40.0));
    let mut parent = leaf(chance, "root.a", 0, 60.0);
    parent.is_leaf = false;
    parent.queue_order = order;
    for capacity in parent.capacities.values_mut() {
        capacity.maximum = MaximumCapacity::Percent(100.0);
    }
    tree.queues.push(parent);
    tree.queues.push(leaf(chance, "root.a.b", 2, 50.0));
    tree.queues.push(leaf(chance, "root.a.c", 2, 50.0));
    tree
}

fn scheduler_settings(chance: &mut Chance) -> SchedulerSettings {
    let has_labels = chance.hits(400);
    let has_labelled = has_labels && chance.hits(600);
    let node_labels = if has_labels { [(LABEL.into(), chance.hits(500))].into() } else { Default::default() };
    SchedulerSettings {
        rm_identifier: RM_IDENTIFIER,
        calculator: *chance.pick(&[Calculator::Memory, Calculator::Dominant]),
        minimum_allocation: ResourceVector::new(*chance.pick(&[512, 1_024]), 1),
        maximum_allocation: ResourceVector::new(4_096, 4),
        queues: queues(chance, has_labelled),
        node_labels,
        node_labels_enabled: has_labels,
        allocation_expiry: millis(chance, 6_000, 12_000),
        am_expiry: millis(chance, 10_000, 15_000),
        node_locality_delay: millis(chance, 0, 2_000),
        rack_locality_additional_delay: millis(chance, 0, 2_000),
        non_exclusive_delay: millis(chance, 0, 2_000),
        attempts_max: 256,
        container_token_keys: keys(),
        nm_token_keys: keys(),
        am_rm_token_keys: keys(),
        ..SchedulerSettings::default()
    }
}

fn application_settings(chance: &mut Chance, scheduler: &SchedulerSettings) -> ApplicationSettings {
    let kept = chance.between(1, 6) as u32;
    ApplicationSettings {
        rm_identifier: RM_IDENTIFIER,
        calculator: scheduler.calculator,
        minimum_allocation: scheduler.minimum_allocation.clone(),
        maximum_allocation: scheduler.maximum_allocation.clone(),
        node_labels_enabled: scheduler.node_labels_enabled,
        global_am_max_attempts: 4,
        am_finishing_expiry: millis(chance, 4_000, 10_000),
        lifetime_check_interval: millis(chance, 200, 3_000),
        max_completed_applications: kept,
        store_max_completed_applications: chance.between(0, u64::from(kept)) as u32,
        queries_max: *chance.pick(&[1, 16, 1_024]),
        store_retry_interval: millis(chance, 100, 1_000),
        am_rm_token_keys: keys(),
        ..ApplicationSettings::default()
    }
}

fn shard_settings(chance: &mut Chance, scheduler: &SchedulerSettings) -> Vec<ShardSettings> {
    let shard_count = chance.between(1, 2) as u16;
    let suspect_ms = chance.between(2_500, 3_500);
    let interval = millis(chance, 400, 1_000);
    let settings = ShardSettings {
        shard_count,
        rm_identifier: RM_IDENTIFIER,
        nodes_max: 64,
        heartbeat: HeartbeatSettings {
            interval,
            interval_min: interval / 2,
            interval_max: Duration::from_millis(1_200),
            scaling: None,
        },
        classes: Box::new([NodeClass {
            name: "all".into(),
            hosts: "*".into(),
            suspect_after: Duration::from_millis(suspect_ms),
            lost_after: millis(chance, suspect_ms + 500, suspect_ms + 2_000),
        }]),
        brake: BrakeSettings { suspects_permille: 0, suspects_min: 2, limit: Duration::from_secs(5) },
        container_token_keys: scheduler.container_token_keys.clone(),
        nm_token_keys: scheduler.nm_token_keys.clone(),
        ..ShardSettings::default()
    };
    (0..shard_count).map(|shard| ShardSettings { shard: shard as u8, ..settings.clone() }).collect()
}

fn task_group(chance: &mut Chance, number: u64, nodes: u32, has_labelled: bool) -> TaskGroup {
    let count = chance.between(1, 10) as u32;
    let mut localities = Vec::new();
    if chance.hits(300) {
        let host = host_of(chance.below(u64::from(nodes)) as u32);
        localities.push(Locality { host: Some(host.into()), rack: RACK.into(), count: 1 });
    }
    let durations = match chance.below(3) {
        0 => Durations::Constant(chance.between(0, 100)),
        1 => Durations::Constant(chance.between(300, 2_500)),
        _ => Durations::List((0..4).map(|_| chance.between(50, 4_000)).collect()),
    };
    let is_labelled = has_labelled && localities.is_empty() && chance.hits(500);
    TaskGroup {
        priority: *chance.pick(&[1, 10, 20]),
        allocation_request_id: number as i64,
        count,
        resource: Resource::new(*chance.pick(&[512, 1_024, 1_536, 3_072]), chance.between(1, 3) as u32),
        durations,
        localities: localities.into(),
        after: if number > 0 && chance.hits(500) {
            [Dependency { group: 0, completed_ppm: 500_000 }].into()
        } else {
            Arc::default()
        },
        delay_ms: chance.below(500),
        retries: 1_000,
        label: is_labelled.then(|| LABEL.into()),
        ..TaskGroup::default()
    }
}

fn application_spec(
    chance: &mut Chance,
    number: u64,
    nodes: u32,
    scheduler: &SchedulerSettings,
) -> ApplicationSpec {
    let leaves: Vec<&str> =
        scheduler.queues.queues.iter().filter(|queue| queue.is_leaf).map(|queue| &*queue.path).collect();
    let groups = chance.between(0, 2);
    let has_labelled = scheduler.queues.queues[1].capacities.contains_key(LABEL);
    ApplicationSpec {
        submit_ms: chance.below(5_000),
        name: format!("app-{number}").into(),
        user: (*chance.pick(&["ada", "bob"])).into(),
        queue: (*chance.pick(&leaves)).into(),
        application_type: "SIM".into(),
        priority: chance.hits(300).then(|| chance.between(0, 5) as i32),
        label: None,
        tags: Arc::new([]),
        lifetime_s: None,
        attempts_max: Some(chance.between(2, 4) as u32),
        keeps_containers: chance.hits(400),
        am: AmSpec {
            start_ms: chance.between(5, 800),
            least_duration_ms: chance.below(3_000),
            is_unmanaged: chance.hits(100),
            ..AmSpec::default()
        },
        groups: (0..groups).map(|group| task_group(chance, group, nodes, has_labelled)).collect(),
    }
}

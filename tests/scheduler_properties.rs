//! Random clusters: whatever happens in whatever order, the scheduler's promises hold after every step.
//! Owns: the driver's choices. Called by: the test harness. Does not: look inside; the audit of sums is the scheduler's own.
//! Invariants: one sequence of choices gives one run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

#[path = "scheduler_examples/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;

use cluster::{Cluster, GB, dominant, settings, size, tree};
use heddle::engine::event::{NodeEvent, Resource, Usability};
use heddle::engine::scheduler::face::{Place, ResourceScheduler, SchedulerKey};
use heddle::engine::scheduler::message::Attempt;
use heddle::engine::scheduler::settings::{ApplicationOrder, NodePlacement};
use heddle::engine::time::Duration;
use heddle_wire::record::NodeHandle;
use proptest::prelude::*;

const LEAVES: [(&str, u64); 4] = [("root.a.x", 30), ("root.a.y", 60), ("root.b", 50), ("root.c", 100)];
const NODES: u32 = 6;

#[derive(Clone, Debug)]
enum Step {
    Ask { app: usize, priority: i32, gb: u64, cores: u64, count: u32 },
    AskAt { app: usize, host: u32, count: u32, relax: bool },
    Acquire(usize),
    Launch(usize),
    Finish(usize),
    Release(usize),
    Lose(u32),
    Register { node: u32, gb: u64, cores: u32 },
    Usability { node: u32, usability: u8 },
    Resize { node: u32, gb: u64, cores: u32 },
    Blacklist { app: usize, host: u32, is_added: bool },
    EndApp(usize),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..8, 0i32..3, 1u64..9, 1u64..5, 0u32..12)
            .prop_map(|(app, priority, gb, cores, count)| Step::Ask { app, priority, gb, cores, count }),
        2 => (0usize..8, 0u32..NODES, 0u32..4, any::<bool>())
            .prop_map(|(app, host, count, relax)| Step::AskAt { app, host, count, relax }),
        4 => (0usize..64).prop_map(Step::Acquire),
        4 => (0usize..64).prop_map(Step::Launch),
        4 => (0usize..64).prop_map(Step::Finish),
        3 => (0usize..64).prop_map(Step::Release),
        1 => (0u32..NODES).prop_map(Step::Lose),
        2 => (0u32..NODES, 1u64..24, 1u32..16)
            .prop_map(|(node, gb, cores)| Step::Register { node, gb, cores }),
        1 => (0u32..NODES, 0u8..4).prop_map(|(node, usability)| Step::Usability { node, usability }),
        1 => (0u32..NODES, 1u64..24, 1u32..16)
            .prop_map(|(node, gb, cores)| Step::Resize { node, gb, cores }),
        1 => (0usize..8, 0u32..NODES, any::<bool>())
            .prop_map(|(app, host, is_added)| Step::Blacklist { app, host, is_added }),
        1 => (0usize..8).prop_map(Step::EndApp),
        2 => (0u64..8_000).prop_map(Step::Advance),
    ]
}

struct Run {
    cluster: Cluster,
    apps: Vec<Option<Attempt>>,
    up: BTreeMap<u32, NodeHandle>,
    next_app: u32,
    ids: Vec<u32>,
}

impl Run {
    fn new(is_dominant: bool, is_fair: bool, is_packing: bool) -> Self {
        let mut queues = tree(&[
            ("root.a", 50.0, 60.0),
            ("root.b", 30.0, 50.0),
            ("root.c", 20.0, 100.0),
            ("root.a.x", 40.0, 50.0),
            ("root.a.y", 60.0, 100.0),
        ]);
        for queue in &mut queues.queues {
            queue.maximum_applications = Some(100);
            queue.minimum_user_limit_percent = 50.0;
            queue.user_limit_factor = if &*queue.path == "root.c" { Some(2.0) } else { None };
            if is_fair {
                queue.application_order = ApplicationOrder::Fair { size_based_weight: true };
            }
            if is_packing {
                queue.placement = NodePlacement::BinPack;
            }
        }
        let settings = if is_dominant { dominant(queues) } else { settings(queues) };
        let mut run = Self {
            cluster: Cluster::new(settings),
            apps: vec![None; 8],
            up: BTreeMap::new(),
            next_app: 1,
            ids: vec![0; 8],
        };
        for place in 0..8 {
            run.start(place);
        }
        run
    }

    fn start(&mut self, place: usize) {
        let id = self.next_app;
        self.next_app += 1;
        let attempt = self.cluster.submit(id, ["u", "v", "w"][place % 3], LEAVES[place % LEAVES.len()].0);
        self.apps[place] = Some(attempt);
        self.ids[place] = id;
    }

    fn nth_live(&self, index: usize) -> Option<heddle_wire::record::ContainerId> {
        let live = &self.cluster.live;
        (!live.is_empty()).then(|| *live.keys().nth(index % live.len()).unwrap())
    }

    fn apply(&mut self, step: &Step) {
        let cluster = &mut self.cluster;
        match *step {
            Step::Ask { app, priority, gb, cores, count } => {
                let attempt = self.apps[app].unwrap();
                cluster.ask_at(attempt, priority, Place::Any, size(gb, cores), count, true);
            }
            Step::AskAt { app, host, count, relax } => {
                let attempt = self.apps[app].unwrap();
                let (host, rack) = (format!("n{host}"), format!("r{}", host % 2));
                cluster.ask_at(attempt, 1, Place::Host(&host), size(1, 1), count, true);
                cluster.ask_at(attempt, 1, Place::Rack(&rack), size(1, 1), count, relax);
                cluster.ask_at(attempt, 1, Place::Any, size(1, 1), count, relax);
            }
            Step::Acquire(index) => {
                if let Some(container) = self.nth_live(index) {
                    self.cluster.acquire(container);
                }
            }
            Step::Launch(index) => {
                if let Some(container) = self.nth_live(index)
                    && self.cluster.acquire(container)
                {
                    self.cluster.launch(container);
                }
            }
            Step::Finish(index) => {
                if let Some(container) = self.nth_live(index)
                    && self.cluster.acquire(container)
                {
                    self.cluster.launch(container);
                    self.cluster.finish(container);
                }
            }
            Step::Release(index) => {
                if let Some(container) = self.nth_live(index) {
                    self.cluster.release(container);
                }
            }
            Step::Lose(node) => {
                if let Some(handle) = self.up.remove(&node) {
                    self.cluster.lose(handle);
                }
            }
            Step::Register { node, gb, cores } => {
                if !self.up.contains_key(&node) {
                    let handle = NodeHandle::new(0, node, 1);
                    self.cluster.register(handle, &format!("r{}", node % 2), gb, cores);
                    self.up.insert(node, handle);
                }
            }
            Step::Usability { node, usability } => {
                if let Some(handle) = self.up.get(&node) {
                    let usability = [
                        Usability::Usable,
                        Usability::Suspect,
                        Usability::Decommissioning,
                        Usability::Unhealthy,
                    ][usize::from(usability)];
                    let event = NodeEvent {
                        was_interrupted: usability == Usability::Unhealthy,
                        usability: Some(usability),
                        ..NodeEvent::new(*handle)
                    };
                    self.cluster.event(event);
                }
            }
            Step::Resize { node, gb, cores } => {
                if let Some(handle) = self.up.get(&node) {
                    let capability =
                        Some(Resource { memory_mb: gb * GB, virtual_cores: cores, ..Resource::default() });
                    self.cluster.event(NodeEvent { capability, ..NodeEvent::new(*handle) });
                }
            }
            Step::Blacklist { app, host, is_added } => {
                let (attempt, host) = (self.apps[app].unwrap(), format!("n{host}"));
                let names: &[&str] = &[&host];
                let (additions, removals) = if is_added { (names, &[][..]) } else { (&[][..], names) };
                cluster.scheduler.update_blacklist(attempt, additions, removals);
            }
            Step::EndApp(app) => {
                cluster.remove(self.ids[app]);
                self.start(app);
            }
            Step::Advance(millis) => cluster.advance(Duration::from_millis(millis)),
        }
    }

    /// No new grant takes a node over what it has, or a queue over its maximum.
    fn check_grants(&self, before: usize, is_dominant: bool) {
        let total: u64 = self
            .up
            .values()
            .filter_map(|node| self.cluster.scheduler.node(*node))
            .filter(|node| node.state != 3)
            .map(|node| node.capability.memory_mb())
            .sum();
        for granted in &self.cluster.grants[before..] {
            let node = self.cluster.scheduler.node(granted.node).expect("granted on a node that is there");
            assert!(node.used.memory_mb() <= node.capability.memory_mb(), "{granted:?} on {node:?}");
            if is_dominant {
                assert!(node.used.virtual_cores() <= node.capability.virtual_cores(), "{node:?}");
            }
            assert_eq!(node.state, 2, "granted on a node that may not be used");
            let place =
                self.apps.iter().position(|app| *app == Some(granted.attempt)).unwrap() % LEAVES.len();
            let leaf = LEAVES[place].0;
            let used: u64 = self
                .cluster
                .live
                .values()
                .filter(|other| {
                    let place = self.apps.iter().position(|app| *app == Some(other.attempt));
                    place.is_some_and(|place| LEAVES[place % LEAVES.len()].0 == leaf)
                })
                .map(|other| other.resource.memory_mb())
                .sum();
            // a.x is bounded by half of the 60 of a.
            let percent = LEAVES[place].1;
            assert!(used * 100 <= total * percent, "{leaf} has {used} of {percent} % of {total}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_whatever_happens(
        is_dominant in any::<bool>(),
        is_fair in any::<bool>(),
        is_packing in any::<bool>(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut run = Run::new(is_dominant, is_fair, is_packing);
        for step in &steps {
            run.apply(step);
            run.cluster.verify();
            let before = run.cluster.grants.len();
            run.cluster.schedule();
            run.check_grants(before, is_dominant);
        }
        // Everything ends: nothing is left of anybody.
        for place in 0..8 {
            run.cluster.remove(run.ids[place]);
        }
        run.cluster.schedule();
        let totals = run.cluster.scheduler.totals();
        prop_assert_eq!(
            (totals.live_containers, totals.used_memory_mb, totals.pending_memory_mb, totals.reserved_containers),
            (0, 0, 0, 0)
        );
    }

    /// One queue, one size, no limits: what is left pending fits nowhere, and counts are exact.
    #[test]
    fn nothing_that_fits_stays_pending(
        nodes in prop::collection::vec((1u64..20, 1u32..20), 1..20),
        asks in prop::collection::vec((1u64..6, 1u64..6, 1u32..30), 1..6),
    ) {
        let mut cluster = Cluster::new(dominant(tree(&[("root.a", 100.0, 100.0)])));
        for (gb, cores) in &nodes {
            cluster.node_on("r0", *gb, *cores);
        }
        let mut wanted = 0;
        let apps: Vec<_> = (1..).zip(&asks).map(|(id, (gb, cores, count))| {
            let app = cluster.submit(id, "u", "a");
            cluster.ask_at(app, 0, Place::Any, size(*gb, *cores), *count, true);
            wanted += count;
            app
        }).collect();
        let granted = cluster.schedule().len() as u32;
        let key = SchedulerKey { priority: 0, allocation_request_id: -1 };
        let left: u32 = apps.iter().map(|app| cluster.scheduler.outstanding(*app, key)).sum();
        prop_assert_eq!(granted + left, wanted);
        let free: Vec<_> = (0..nodes.len() as u32).map(|row| {
            let node = cluster.scheduler.node(NodeHandle::new(0, row, 1)).unwrap();
            node.capability.minus(node.used)
        }).collect();
        // The first application that waits bounds those behind it only where the cluster has no room for it in all.
        let used = cluster.live.values().fold(size(0, 0), |sum, granted| sum.plus(&granted.resource));
        let total = nodes.iter().fold(size(0, 0), |sum, (gb, cores)| sum.plus(&size(*gb, u64::from(*cores))));
        let room = total.minus(&used);
        let first = apps.iter().zip(&asks).find(|(app, _)| cluster.scheduler.outstanding(**app, key) > 0);
        if let Some((_, (gb, cores, _))) = first
            && size(*gb, *cores).fits_in(&room)
            && cluster.scheduler.totals().reserved_containers == 0
        {
            for (app, (gb, cores, _)) in apps.iter().zip(&asks) {
                if cluster.scheduler.outstanding(*app, key) > 0 && size(*gb, *cores).fits_in(&room) {
                    prop_assert!(!free.iter().any(|free| size(*gb, *cores).fits_in(free)), "{:?}", free);
                } else if cluster.scheduler.outstanding(*app, key) > 0 {
                    break;
                }
            }
        }
    }

    /// Endless demand everywhere: no queue has more than its guarantee and one container, so none misses more of its own
    /// than one container for each of the others.
    #[test]
    fn shares_converge_to_guarantees(
        weights in prop::collection::vec(1u32..10, 2..8),
        nodes in 10u32..40,
    ) {
        let sum: u32 = weights.iter().sum();
        let paths: Vec<String> = (0..weights.len()).map(|index| format!("root.q{index}")).collect();
        let queues: Vec<_> = paths.iter().zip(&weights)
            .map(|(path, weight)| (path.as_str(), *weight as f32 * 100.0 / sum as f32, 100.0)).collect();
        let mut cluster = Cluster::new(settings(tree(&queues)));
        for _ in 0..nodes {
            cluster.node(16);
        }
        let apps: Vec<_> = (1..).zip(&paths).map(|(id, path)| cluster.submit(id, "u", path)).collect();
        for app in &apps {
            cluster.ask(*app, 1, 10_000);
        }
        cluster.schedule();
        let total = f64::from(nodes) * 16.0;
        for (app, weight) in apps.iter().zip(&weights) {
            let fair = total * f64::from(*weight) / f64::from(sum);
            let used = cluster.used_gb(*app) as f64;
            prop_assert!(used - fair <= 1.0, "{used} of {fair}");
            prop_assert!(fair - used <= (weights.len() - 1) as f64, "{used} of {fair}");
        }
    }
}

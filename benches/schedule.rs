//! What a grant costs: filling a cluster, one container for another at 90 %, and whether size matters.
//! 100 leaves in 3 levels, 1,000 applications of 500 users, dominant share, user limits on, eight sizes.
//! The same load once more in 1, 2, 8 and 64 partitions, all of them values of one scheduler on one thread; and in two
//! schedulers on two threads that share nothing: the most that a thread per partition could bring.
//! Owns: the numbers of the scheduler alone. Does not: go through frames or tokens (see `end_to_end`).
//! Invariant: every run is counted: a step that grants less than it should fails the bench.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails by panicking")]

use std::sync::Barrier;
use std::thread;
use std::time::{Duration as Wall, Instant as Clock};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heddle::engine::event::{NodeAdded, NodeEvent, Resource, Usability};
use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::face::{
    Ask, AttemptEvent, Place, ResourceScheduler, SchedulerKey, SchedulerOutput,
};
use heddle::engine::scheduler::message::{
    AddApplication, AddAttempt, ApplicationEvent, Attempt, SchedulerCommand,
};
use heddle::engine::scheduler::resource::ResourceVector;
use heddle::engine::scheduler::settings::{
    Calculator, Capacity, QueueSettings, QueueTree, SchedulerSettings,
};
use heddle::engine::time::Instant;
use heddle_wire::record::{ApplicationAttemptId, ApplicationId, ContainerId, NodeHandle};

/// As the daemon has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEY: SchedulerKey = SchedulerKey { priority: 0, allocation_request_id: -1 };

/// Five, four and five children: 100 leaves, the same shares of every label.
fn queues(labels: &[String]) -> QueueTree {
    let mut tree = QueueTree::default();
    tree.queues.truncate(1);
    tree.queues[0].accessible_node_labels = None;
    let mut level = vec![0u32];
    for width in [5u32, 4, 5] {
        let mut next = Vec::new();
        for parent in level {
            for child in 0..width {
                let path = format!("{}.q{child}", tree.queues[parent as usize].path);
                let mut queue =
                    QueueSettings::leaf(&path, Some(parent), Capacity::Percent(100.0 / width as f32));
                queue.is_leaf = next.len() < usize::MAX && width == 5 && parent != 0;
                queue.minimum_user_limit_percent = 25.0;
                queue.user_limit_factor = Some(2.0);
                queue.maximum_applications = Some(100);
                queue.accessible_node_labels = None;
                let share = queue.capacities[""].clone();
                queue.capacities.extend(labels.iter().map(|label| (label.as_str().into(), share.clone())));
                tree.queues.push(queue);
                next.push(tree.queues.len() as u32 - 1);
            }
        }
        level = next;
    }
    tree
}

/// The label of a node or application.
fn label_of(labels: &[String], place: usize) -> Option<&str> {
    labels.get(place % labels.len().max(1)).map(String::as_str)
}

struct Cluster {
    scheduler: Scheduler,
    out: SchedulerOutput,
    attempts: Vec<Attempt>,
    live: Vec<(Attempt, ContainerId)>,
    labels: Vec<String>,
}

impl Cluster {
    fn new(nodes: u32) -> Self {
        Self::with_labels(nodes, 0)
    }

    /// Nodes and applications are spread over so many labels; 0 = none.
    fn with_labels(nodes: u32, labels: usize) -> Self {
        let labels: Vec<String> = (0..labels).map(|label| format!("l{label}")).collect();
        let tree = queues(&labels);
        let leaves: Vec<String> =
            tree.queues.iter().filter(|queue| queue.is_leaf).map(|queue| queue.path.to_string()).collect();
        assert_eq!(leaves.len(), 100);
        let settings = SchedulerSettings {
            queues: tree,
            calculator: Calculator::Dominant,
            minimum_allocation: ResourceVector::new(1_024, 1),
            maximum_allocation: ResourceVector::new(64 * 1_024, 32),
            node_labels: labels.iter().map(|label| (label.as_str().into(), true)).collect(),
            node_labels_enabled: true,
            distributed_labels: true,
            ..SchedulerSettings::default()
        };
        let mut out = SchedulerOutput::default();
        let mut scheduler = Scheduler::new(settings);
        // Applications are active where the default partition has a node.
        for row in 0..nodes + u32::from(!labels.is_empty()) {
            let label = label_of(&labels, row as usize).filter(|_| row < nodes);
            let added = NodeAdded {
                host: format!("n{row}").into(),
                port: 1,
                http_port: 2,
                rack_name: format!("r{}", row / 40).into(),
                node_labels: label.map(Into::into).into_iter().collect(),
            };
            let event = NodeEvent {
                added: Some(Box::new(added)),
                usability: Some(Usability::Usable),
                capability: Some(Resource {
                    memory_mb: 64 * 1_024,
                    virtual_cores: 32,
                    ..Resource::default()
                }),
                ..NodeEvent::new(NodeHandle::new(0, row, 1))
            };
            scheduler.handle_node_event(Instant::ZERO, event, &mut out);
            if row == 0 {
                // Capacities follow the size once per event: the applications come first, to keep the setup short.
                out.attempt_events.clear();
            }
        }
        let mut attempts = Vec::new();
        for id in 1..=1_000u32 {
            let application_id = ApplicationId { cluster_timestamp: 1, id };
            let leaf = (id as usize - 1) % leaves.len();
            let user = format!("u{leaf}_{}", id as usize / leaves.len() % 5);
            let add = AddApplication {
                application_id,
                user: user.into(),
                queue: leaves[leaf].as_str().into(),
                priority: 0,
                node_label_expression: None,
                submit_time_ms: u64::from(id),
                am_node_label: None,
            };
            scheduler.handle_command(
                Instant::ZERO,
                SchedulerCommand::AddApplication(Box::new(add)),
                &mut out,
            );
            let add = AddAttempt {
                attempt_id: ApplicationAttemptId { application_id, attempt_id: 1 },
                am: None,
                transfer_from_previous: false,
                keep_containers: false,
                acls: Vec::new(),
            };
            scheduler.handle_command(Instant::ZERO, SchedulerCommand::AddAttempt(Box::new(add)), &mut out);
            match out.application_events.last() {
                Some(ApplicationEvent::AttemptAdded { attempt, .. }) => attempts.push(*attempt),
                other => panic!("{other:?}"),
            }
        }
        out.attempt_events.clear();
        out.application_events.clear();
        Self { scheduler, out, attempts, live: Vec::new(), labels }
    }

    /// One of eight sizes, by application.
    fn size(place: usize) -> ResourceVector {
        ResourceVector::new(1_024 * (1 + place as u64 % 4), 1 + (place as u64 / 4) % 2)
    }

    fn ask(&mut self, count: u32) {
        for (place, attempt) in self.attempts.iter().enumerate() {
            let count = self.scheduler.outstanding(*attempt, KEY) + count;
            let ask = Ask {
                key: KEY,
                place: Place::Any,
                capability: Self::size(place),
                count,
                relax_locality: true,
                node_label: label_of(&self.labels, place),
            };
            self.scheduler.update_ask(Instant::ZERO, *attempt, &ask);
        }
    }

    /// Gives back the containers granted last down to `live`, and takes back what is still asked for.
    fn give_back(&mut self, live: usize) {
        for (attempt, container) in self.live.split_off(live) {
            self.scheduler.release(Instant::ZERO, attempt, &container, &mut self.out);
        }
        for (place, attempt) in self.attempts.iter().enumerate() {
            let ask = Ask {
                key: KEY,
                place: Place::Any,
                capability: Self::size(place),
                count: 0,
                relax_locality: true,
                node_label: label_of(&self.labels, place),
            };
            self.scheduler.update_ask(Instant::ZERO, *attempt, &ask);
        }
        assert_eq!(self.schedule(usize::MAX), 0);
    }

    /// Places until nothing is left to place, or `most` were granted.
    fn schedule(&mut self, most: usize) -> usize {
        let mut granted = 0;
        while granted < most && self.scheduler.wants_to_schedule() {
            self.scheduler.schedule(Instant::ZERO, &mut self.out);
            for event in self.out.attempt_events.drain(..) {
                if let AttemptEvent::Granted(grant) = event {
                    self.live.push((grant.attempt, grant.container_id));
                    granted += 1;
                }
            }
        }
        granted
    }

    fn used(&self) -> f64 {
        let totals = self.scheduler.totals();
        (totals.used_memory_mb as f64 / totals.memory_mb as f64)
            .max(totals.used_virtual_cores as f64 / totals.virtual_cores as f64)
    }

    /// Fills to a share of the cluster, evenly.
    fn fill(&mut self, share: f64) {
        while self.used() < share {
            self.ask(2);
            assert!(self.schedule(usize::MAX) > 0, "full at {}", self.used());
        }
    }
}

/// Time for `count` grants into free room.
fn filling(cluster: &mut Cluster, count: u64) -> Wall {
    let each = (count / cluster.attempts.len() as u64).max(1) as u32;
    cluster.ask(each);
    let begin = Clock::now();
    let granted = cluster.schedule(usize::MAX);
    let took = begin.elapsed();
    let wanted = u64::from(each) * cluster.attempts.len() as u64;
    // Limits of users keep some back where it is full.
    let least = if cluster.used() < 0.9 { wanted } else { wanted / 2 };
    assert!((least..=wanted).contains(&(granted as u64)), "{granted} of {wanted}");
    // Per grant, whatever the count was rounded to.
    took * u32::try_from(count).unwrap() / u32::try_from(granted).unwrap()
}

/// Wall time for `count` grants by two schedulers on two threads, half of the nodes and of the grants each.
fn filling_on_two_threads(nodes: u32, count: u64) -> Wall {
    let ready = Barrier::new(2);
    let half = || {
        let mut cluster = Cluster::new(nodes / 2);
        ready.wait();
        filling(&mut cluster, count / 2)
    };
    thread::scope(|scope| {
        let other = scope.spawn(half);
        half().max(other.join().unwrap())
    })
}

/// Time for `count` times: one container ends, the application asks for one more, which is placed.
fn exchanging(cluster: &mut Cluster, count: u64) -> Wall {
    // A fixed stride visits containers of all applications and nodes.
    let stride = 7_919 % cluster.live.len().max(1);
    let mut at = 0;
    let begin = Clock::now();
    for _ in 0..count {
        at = (at + stride) % cluster.live.len();
        let (attempt, container) = cluster.live.swap_remove(at);
        let place = container.application_attempt_id.application_id.id as usize - 1;
        cluster.scheduler.release(Instant::ZERO, attempt, &container, &mut cluster.out);
        let ask = Ask {
            key: KEY,
            place: Place::Any,
            capability: Cluster::size(place),
            count: 1,
            relax_locality: true,
            node_label: None,
        };
        cluster.scheduler.update_ask(Instant::ZERO, attempt, &ask);
        assert_eq!(cluster.schedule(1), 1);
    }
    begin.elapsed()
}

/// Time for `count` times: the cluster is full, every application wants more, one container ends, another is granted.
fn handing_on(cluster: &mut Cluster, count: u64) -> Wall {
    let stride = 7_919;
    let mut at = 0;
    let mut granted = 0;
    let begin = Clock::now();
    for _ in 0..count {
        at = (at + stride) % cluster.live.len();
        let (attempt, container) = cluster.live.swap_remove(at);
        cluster.scheduler.release(Instant::ZERO, attempt, &container, &mut cluster.out);
        granted += cluster.schedule(usize::MAX) as u64;
    }
    let took = begin.elapsed();
    assert!(granted * 2 >= count, "{granted} of {count}");
    took
}

/// Time for grants to an application that names `hosts` hosts with room, a container on each, with their racks.
fn naming_hosts(cluster: &mut Cluster, hosts: u32, count: u64) -> Wall {
    let mut took = Wall::ZERO;
    let attempt = cluster.attempts[0];
    for _ in 0..count.div_ceil(u64::from(hosts)) {
        for is_wanted in [true, false] {
            let mut ask = |place: Place<'_>, count: u32| {
                let count = if is_wanted { count } else { 0 };
                let capability = ResourceVector::new(1_024, 1);
                let ask = Ask { key: KEY, place, capability, count, relax_locality: true, node_label: None };
                cluster.scheduler.update_ask(Instant::ZERO, attempt, &ask);
            };
            ask(Place::Any, hosts);
            for rack in 0..hosts.div_ceil(40) {
                ask(Place::Rack(&format!("r{rack}")), 40.min(hosts - rack * 40));
            }
            for host in 0..hosts {
                ask(Place::Host(&format!("n{host}")), 1);
            }
            if is_wanted {
                let start = Clock::now();
                assert_eq!(cluster.schedule(usize::MAX), hosts as usize);
                took += start.elapsed();
            }
        }
        cluster.give_back(0);
    }
    took.mul_f64(count as f64 / (count.next_multiple_of(u64::from(hosts)) as f64))
}

fn schedule(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schedule");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    let spread = |nodes: u32, labels: usize, share: f64, count: u64, time: fn(&mut Cluster, u64) -> Wall| {
        // As many as fit below the users' limits.
        let most = if labels > 0 { 20_000 } else { 100_000 };
        let mut left = count;
        let mut took = Wall::ZERO;
        while left > 0 {
            let part = left.min(most);
            let mut cluster = Cluster::with_labels(nodes, labels);
            cluster.fill(share);
            took += time(&mut cluster, part);
            left -= part;
        }
        took
    };
    let fresh = |nodes: u32, share: f64, count: u64, time: fn(&mut Cluster, u64) -> Wall| {
        spread(nodes, 0, share, count, time)
    };
    group.bench_function("fill/10k_nodes", |bencher| {
        bencher.iter_custom(|count| fresh(10_000, 0.0, count, filling));
    });
    // The same load on one thread, whatever the number of partitions.
    for labels in [1, 2, 8, 64] {
        group.bench_function(format!("fill/10k_nodes_{labels}_partitions"), |bencher| {
            bencher.iter_custom(|count| {
                let part = 20_000;
                spread(10_000, labels, 0.0, part, filling).mul_f64(count as f64 / part as f64)
            });
        });
    }
    group.bench_function("fill/10k_nodes_on_2_threads", |bencher| {
        bencher.iter_custom(|count| {
            let part = 20_000;
            filling_on_two_threads(10_000, part).mul_f64(count as f64 / part as f64)
        });
    });
    let mut at_90 = Cluster::new(10_000);
    at_90.fill(0.9);
    for hosts in [200, 2_000] {
        group.bench_function(format!("name_hosts/{hosts}_of_10k_nodes"), |bencher| {
            let mut cluster = Cluster::new(10_000);
            bencher.iter_custom(|count| naming_hosts(&mut cluster, hosts, count));
        });
    }
    group.bench_function("fill_from_90/10k_nodes", |bencher| {
        bencher.iter_custom(|count| {
            // Room for so many is left; it is filled again and again.
            let part = 4_000;
            let live = at_90.live.len();
            let rounds = count.div_ceil(part);
            let took: Wall = (0..rounds)
                .map(|_| {
                    let took = filling(&mut at_90, part);
                    at_90.give_back(live);
                    took
                })
                .sum();
            took.mul_f64(count as f64 / (rounds * part) as f64)
        });
    });
    group.bench_function("exchange_at_90/10k_nodes", |bencher| {
        bencher.iter_custom(|count| exchanging(&mut at_90, count));
    });
    // More than any number of rounds grants.
    at_90.ask(1_000_000);
    at_90.schedule(usize::MAX);
    group.bench_function("hand_on_when_full/10k_nodes", |bencher| {
        bencher.iter_custom(|count| handing_on(&mut at_90, count));
    });
    drop(at_90);
    let mut small = Cluster::new(1_000);
    small.fill(0.01);
    group.bench_function("exchange/1k_nodes_empty", |bencher| {
        bencher.iter_custom(|count| exchanging(&mut small, count));
    });
    let mut large = Cluster::new(100_000);
    while large.live.len() < 1_000_000 {
        large.ask(20);
        assert!(large.schedule(usize::MAX) > 0);
    }
    group.bench_function("exchange/100k_nodes_1m_containers", |bencher| {
        bencher.iter_custom(|count| exchanging(&mut large, count));
    });
    group.finish();
}

criterion_group!(benches, schedule);
criterion_main!(benches);

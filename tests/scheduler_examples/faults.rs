//! Where the scheduler was seen to differ from its specification: each test tells what YARN does.
//! Owns: nothing. Called by: the test harness. Does not: repeat the worked examples.
//! Invariant: each of them failed once, at its own assertion.

use std::collections::BTreeMap;

use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::face::{Ask, Granted, Place, ResourceScheduler, SchedulerKey};
use heddle::engine::scheduler::message::{AddApplication, ApplicationEvent, Attempt, SchedulerCommand};
use heddle::engine::scheduler::resource::ResourceVector;
use heddle::engine::scheduler::settings::{
    ApplicationOrder, Capacity, MaximumCapacity, PartitionCapacity, QueueOrder, QueueTree, SchedulerSettings,
};
use heddle::engine::time::Duration;
use heddle_wire::record::NodeHandle;

use crate::cluster::{Cluster, GB, application, attempt_id, settings, size, tree};

/// One leaf of everything, whose users have at least 25 % and at most all of it.
fn shared_leaf(maximum_am_resource_percent: f32) -> QueueTree {
    let mut queues = tree(&[("root.a", 100.0, 100.0)]);
    let leaf = &mut queues.queues[1];
    leaf.minimum_user_limit_percent = 25.0;
    leaf.user_limit_factor = Some(1.0);
    leaf.capacities.get_mut("").unwrap().maximum_am_resource_percent = maximum_am_resource_percent;
    queues
}

/// Settings with an exclusive label `x`, of which every leaf may have everything, reported by nodes.
fn with_label(mut queues: QueueTree) -> SchedulerSettings {
    for queue in &mut queues.queues {
        queue.accessible_node_labels = None;
        let all = PartitionCapacity {
            capacity: Capacity::Percent(100.0),
            maximum: MaximumCapacity::Percent(100.0),
            maximum_am_resource_percent: 1.0,
        };
        queue.capacities.insert("x".into(), all);
    }
    SchedulerSettings {
        node_labels: BTreeMap::from([("x".into(), true)]),
        node_labels_enabled: true,
        distributed_labels: true,
        ..settings(queues)
    }
}

fn ask_in(cluster: &mut Cluster, attempt: Attempt, label: &str, gb: u64, count: u32) {
    let ask = Ask {
        key: SchedulerKey { priority: 0, allocation_request_id: -1 },
        place: Place::Any,
        capability: size(gb, 1),
        count,
        relax_locality: true,
        node_label: Some(label),
    };
    cluster.scheduler.check_ask(attempt, &ask).unwrap();
    cluster.scheduler.update_ask(cluster.now, attempt, &ask);
}

fn strictly_on(cluster: &mut Cluster, attempt: Attempt, host: &str, capability: &ResourceVector) {
    for (place, relax_locality) in
        [(Place::Host(host), true), (Place::Rack("r0"), false), (Place::Any, false)]
    {
        cluster.ask_at(attempt, 0, place, capability.clone(), 1, relax_locality);
    }
}

fn of(attempt: Attempt) -> impl Fn(&&Granted) -> bool {
    move |granted| granted.attempt == attempt
}

/// An active user has an *active* application with asks outstanding (§7). Users whose only application waits for the
/// share of ApplicationMasters want nothing yet: they must not take a part of the others' limit while the cluster idles.
#[test]
fn users_whose_applications_are_not_active_leave_the_limit_of_others_alone() {
    let mut cluster = Cluster::new(settings(shared_leaf(0.01)));
    cluster.node(100);
    let one = cluster.submit_with(1, "u1", "a", None, Some(1));
    for (id, user) in [(2, "u2"), (3, "u3"), (4, "u4")] {
        cluster.submit_with(id, user, "a", None, Some(1));
    }
    cluster.schedule();
    assert_eq!(cluster.am_containers(), [1], "1 GB for ApplicationMasters");
    cluster.ask(one, 1, 1_000);
    cluster.schedule();
    assert_eq!(cluster.used_gb(one), 99, "nobody else could use it");
}

/// The same with applications that a limit on those in parallel keeps back.
#[test]
fn users_whose_applications_may_not_run_leave_the_limit_of_others_alone() {
    let mut queues = shared_leaf(1.0);
    queues.queues[1].max_parallel_apps = 1;
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(100);
    let one = cluster.submit_with(1, "u1", "a", None, Some(1));
    for (id, user) in [(2, "u2"), (3, "u3"), (4, "u4")] {
        cluster.submit_with(id, user, "a", None, Some(1));
    }
    cluster.schedule();
    cluster.ask(one, 1, 1_000);
    cluster.schedule();
    assert_eq!(cluster.used_gb(one), 99, "nobody else could use it");
}

/// §5: active users and users that have only pending applications, each once: 50 GB × 0.1 × 1/2 × 2 is 5 GB for a user.
#[test]
fn a_user_that_only_waits_counts_once_in_the_am_limit_of_users() {
    let mut queues = tree(&[("root.a", 25.0, 100.0), ("root.b", 75.0, 100.0)]);
    queues.queues[1].minimum_user_limit_percent = 10.0;
    queues.queues[1].user_limit_factor = Some(2.0);
    queues.queues[1].capacities.get_mut("").unwrap().maximum_am_resource_percent = 0.1;
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(200);
    let one = cluster.submit_with(1, "u1", "a", None, Some(2));
    cluster.schedule();
    // It wants more than any node has: its user stays active, and uses no more than its ApplicationMaster.
    cluster.ask(one, 201, 1);
    // Too large for the queue's 20 GB beside it.
    cluster.submit_with(2, "u2", "a", None, Some(30));
    cluster.submit_with(3, "u1", "a", None, Some(3));
    cluster.schedule();
    assert_eq!(cluster.am_containers(), [1, 3], "2 and 3 GB of 5");
}

/// A container that is lost before it was acquired is asked for again as it was asked for: on that host only.
#[test]
fn an_ask_that_comes_back_is_as_strict_as_it_was() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    let (wanted, _other) = (cluster.node(10), cluster.node(10));
    let app = cluster.submit(1, "u", "a");
    strictly_on(&mut cluster, app, "n0", &size(1, 1));
    assert_eq!(cluster.schedule()[0].node, wanted);
    cluster.lose(wanted);
    cluster.advance(Duration::from_secs(3_600));
    assert!(cluster.schedule().is_empty(), "the host is gone, and no other will do");
    let again = NodeHandle::new(0, 0, 2);
    cluster.register(again, "r0", 10, 10);
    assert_eq!(cluster.schedule()[0].node, again);
}

/// A count of 0 at any place removes the whole entry (protocols §4.5): what is asked next under the same key names no host.
#[test]
fn a_key_that_was_taken_back_forgets_its_places() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    cluster.node(10);
    let app = cluster.submit(1, "u", "a");
    for (place, count) in
        [(Place::Host("n7"), 2), (Place::Rack("r7"), 2), (Place::Any, 2), (Place::Any, 0), (Place::Any, 1)]
    {
        cluster.ask_at(app, 0, place, size(1, 1), count, true);
    }
    assert_eq!(cluster.schedule().len(), 1, "any node will do at once");
}

/// In YARN an ask for one host reserves that host like any other. Without, a stream of small asks that are younger keeps
/// it waiting for ever.
#[test]
fn a_large_ask_for_one_host_is_not_starved_by_small_ones() {
    is_not_starved(&[(Place::Host("n0"), true), (Place::Rack("r0"), false), (Place::Any, false)]);
}

#[test]
fn a_large_ask_for_one_rack_is_not_starved_by_small_ones() {
    is_not_starved(&[(Place::Rack("r0"), true), (Place::Any, false)]);
}

/// Two full nodes of 8 GB on two racks; what ends is followed by more of the same.
fn is_not_starved(rows: &[(Place<'_>, bool)]) {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    let wanted = cluster.node_on("r0", 8, 1_000);
    cluster.node_on("r1", 8, 1_000);
    let small = cluster.submit(1, "u", "a");
    cluster.ask(small, 1, 1_000);
    cluster.schedule();
    cluster.run_all();
    let large = cluster.submit_with(2, "v", "a", Some(1), None);
    for (place, relax_locality) in rows {
        cluster.ask_at(large, 0, *place, size(8, 1), 1, *relax_locality);
    }
    cluster.schedule();
    for _ in 0..64 {
        let oldest = cluster.live.values().find(of(small));
        if let Some(oldest) = oldest.map(|granted| granted.container_id) {
            cluster.finish(oldest);
        }
        cluster.schedule();
        cluster.run_all();
        if let Some(granted) = cluster.live.values().find(of(large)) {
            assert_eq!(granted.node, wanted);
            return;
        }
    }
    panic!("no room came together: {:?}", cluster.scheduler.totals());
}

/// An ask that is narrowed to a host while a node is held for it does not take that node: it would be off its host.
#[test]
fn a_reservation_ends_where_its_ask_may_not_be_placed_any_more() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    for _ in 0..3 {
        cluster.node(8);
    }
    let small = cluster.submit(1, "u", "a");
    cluster.ask(small, 5, 4);
    assert_eq!(cluster.schedule().len(), 3);
    cluster.run_all();
    let large = cluster.submit_with(2, "v", "a", Some(1), None);
    cluster.ask(large, 8, 1);
    cluster.schedule();
    cluster.ask(small, 5, 2);
    cluster.schedule();
    assert_eq!(cluster.scheduler.totals().reserved_containers, 1);
    strictly_on(&mut cluster, large, "n7", &size(8, 1));
    let running: Vec<_> =
        cluster.live.values().filter(of(small)).map(|granted| granted.container_id).collect();
    for container in running {
        cluster.finish(container);
    }
    cluster.schedule();
    assert_eq!(cluster.used_gb(large), 0, "it is to run on n7 or nowhere");
}

/// An ApplicationMaster outside of the cluster needs no room in the default partition, not even that it has a node.
#[test]
fn an_unmanaged_application_runs_where_every_node_has_a_label() {
    let mut cluster = Cluster::new(with_label(tree(&[("root.a", 100.0, 100.0)])));
    cluster.register_with(NodeHandle::new(0, 0, 1), "r0", 10, 10, &["x"]);
    let app = cluster.submit(1, "u", "a");
    ask_in(&mut cluster, app, "x", 1, 1);
    assert_eq!(cluster.schedule().len(), 1);
}

/// 0.7 of 10 GB are 7, not 6: numbers count as they are written, and not as the `f32` next to them.
#[test]
fn weights_of_users_count_as_written() {
    let mut queues = tree(&[("root.a", 10.0, 100.0), ("root.b", 90.0, 100.0)]);
    queues.queues[1].user_limit_factor = Some(1.0);
    queues.queues[1].user_weights.insert("u".into(), 0.7);
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(100);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 100);
    cluster.schedule();
    assert_eq!(cluster.used_gb(app), 8, "its limit of 7 and one container");
}

/// Reservations count as use: a user may pass its limit by one of them, not by as many as there are nodes to hold.
#[test]
fn reservations_stop_at_the_limit_of_their_user() {
    let mut queues = tree(&[("root.a", 50.0, 100.0), ("root.b", 50.0, 100.0)]);
    queues.queues[1].minimum_user_limit_percent = 5.0;
    queues.queues[1].user_limit_factor = Some(0.05);
    let mut cluster = Cluster::new(settings(queues));
    for _ in 0..60 {
        cluster.node(10);
    }
    let filler = cluster.submit(1, "v", "b");
    cluster.ask(filler, 6, 60);
    assert_eq!(cluster.schedule().len(), 60);
    // 5 % of 300 GB: a limit of 15. Two of 8 GB are 16.
    let app = cluster.submit(2, "u", "a");
    cluster.ask(app, 8, 10);
    cluster.ask(filler, 6, 10);
    cluster.schedule();
    let reserved = cluster.scheduler.totals().reserved_memory_mb / GB;
    assert!((8..=16).contains(&reserved), "{reserved} GB are reserved for a user that may have 15");
}

/// §12: what the parents offer is part of it. An ApplicationMaster that believes in room it cannot get waits for ever
/// instead of giving up reducers for maps.
#[test]
fn headroom_ends_where_a_parent_is_full() {
    let mut cluster = Cluster::new(settings(tree(&[
        ("root.p", 60.0, 60.0),
        ("root.q", 40.0, 100.0),
        ("root.p.a", 50.0, 100.0),
        ("root.p.b", 50.0, 100.0),
    ])));
    cluster.node(100);
    let (a, b) = (cluster.submit(1, "u", "root.p.a"), cluster.submit(2, "u", "root.p.b"));
    cluster.ask(b, 1, 100);
    cluster.schedule();
    assert_eq!(cluster.used_gb(b), 60);
    cluster.ask(a, 1, 1);
    assert!(cluster.schedule().is_empty());
    assert_eq!(cluster.scheduler.headroom(a).memory_mb(), 0, "the parent is full");
}

/// Headroom is that of the partitions the application asks in.
#[test]
fn headroom_is_that_of_the_label_that_is_asked_in() {
    let mut cluster = Cluster::new(with_label(tree(&[("root.a", 100.0, 100.0)])));
    cluster.register(NodeHandle::new(0, 0, 1), "r0", 4, 10);
    cluster.register_with(NodeHandle::new(0, 1, 1), "r0", 10, 10, &["x"]);
    let filler = cluster.submit(1, "v", "a");
    cluster.ask(filler, 1, 4);
    assert_eq!(cluster.schedule().len(), 4, "the default partition is full");
    let app = cluster.submit(2, "u", "a");
    ask_in(&mut cluster, app, "x", 3, 1);
    assert_eq!(cluster.scheduler.headroom(app).memory_mb(), 10 * GB);
    // Its queue may not use the label any more: what it asks waits, and there is no room for it.
    let queues = Box::new(tree(&[("root.a", 100.0, 100.0)]));
    cluster.command(SchedulerCommand::ReplaceQueues { token: 1, queues });
    assert_eq!(cluster.scheduler.headroom(app).memory_mb(), 0);
}

/// `num_cluster_nodes` is told for the partition the queue's asks go to by default.
#[test]
fn nodes_are_counted_in_the_default_partition_of_the_queue() {
    let mut queues = tree(&[("root.a", 100.0, 100.0)]);
    queues.queues[1].default_node_label_expression = Some("x".into());
    let mut cluster = Cluster::new(with_label(queues));
    cluster.register(NodeHandle::new(0, 0, 1), "r0", 4, 10);
    for row in 1..4 {
        cluster.register_with(NodeHandle::new(0, row, 1), "r0", 4, 10, &["x"]);
    }
    let app = cluster.submit(1, "u", "a");
    assert_eq!(cluster.scheduler.num_cluster_nodes(app), 3);
}

/// `enhanced_headroom` counts containers that applications still want, of whatever size.
#[test]
fn pending_containers_of_the_cluster_are_counted() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    cluster.node(4);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 4, 6);
    cluster.schedule();
    assert_eq!(cluster.scheduler.enhanced_headroom().unwrap().0, 5);
}

/// What an attempt blacklisted, the next one keeps where it keeps the containers.
#[test]
fn the_blacklist_goes_to_the_next_attempt_with_the_containers() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    cluster.node(10);
    cluster.submit_only(1, "u", "a", None).unwrap();
    let first = cluster.attempt(1, 1, None, true);
    cluster.scheduler.update_blacklist(first, &["n0"], &[]);
    cluster.command(SchedulerCommand::RemoveAttempt {
        attempt_id: attempt_id(1, 1),
        keep_containers: true,
        stop_am_container: true,
    });
    let second = cluster.attempt(1, 2, None, true);
    cluster.ask(second, 1, 1);
    assert!(cluster.schedule().is_empty(), "the only node is on the blacklist");
}

/// An ApplicationMaster's container minds the nodes where others of its application failed, and only those. One that had
/// blacklisted every node kept back its successor for ever (seeds 9934, 9342 and 8851 of the simulation).
#[test]
fn the_blacklist_of_an_application_is_not_for_its_application_master() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    cluster.node(10);
    cluster.submit_only(1, "u", "a", None).unwrap();
    let first = cluster.attempt(1, 1, None, true);
    cluster.scheduler.update_blacklist(first, &["n0"], &[]);
    cluster.command(SchedulerCommand::RemoveAttempt {
        attempt_id: attempt_id(1, 1),
        keep_containers: true,
        stop_am_container: true,
    });
    let second = cluster.attempt(1, 2, Some(1), true);
    cluster.schedule();
    assert_eq!(cluster.am_containers(), [1]);
    cluster.ask(second, 1, 1);
    assert!(cluster.schedule().is_empty(), "the others mind it");
}

/// Usage over log2(1 + demand): who wants much more than before comes sooner.
#[test]
fn size_based_weight_follows_the_demand() {
    let mut queues = tree(&[("root.a", 100.0, 100.0)]);
    queues.queues[1].application_order = ApplicationOrder::Fair { size_based_weight: true };
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(20);
    let (little, much) = (cluster.submit(1, "u", "a"), cluster.submit(2, "u", "a"));
    cluster.ask(little, 1, 10);
    cluster.ask(much, 1, 10);
    cluster.schedule();
    assert_eq!((cluster.used_gb(little), cluster.used_gb(much)), (10, 10));
    cluster.ask(little, 1, 1);
    cluster.ask(much, 1, 10_000);
    cluster.node(1);
    let order: Vec<_> = cluster.schedule().into_iter().map(|granted| granted.attempt).collect();
    assert_eq!(order, [much], "10 GB over a larger weight");
}

/// Fair is by everything an application uses, in whatever partition.
#[test]
fn fair_order_counts_what_is_used_in_every_partition() {
    let mut queues = tree(&[("root.a", 100.0, 100.0)]);
    queues.queues[1].application_order = ApplicationOrder::Fair { size_based_weight: false };
    let mut cluster = Cluster::new(with_label(queues));
    cluster.register(NodeHandle::new(0, 0, 1), "r0", 4, 10);
    cluster.register_with(NodeHandle::new(0, 1, 1), "r0", 8, 10, &["x"]);
    let (rich, poor) = (cluster.submit(1, "u", "a"), cluster.submit(2, "u", "a"));
    ask_in(&mut cluster, rich, "x", 8, 1);
    ask_in(&mut cluster, poor, "", 4, 1);
    assert_eq!(cluster.schedule().len(), 2);
    cluster.register(NodeHandle::new(0, 2, 1), "r0", 1, 10);
    ask_in(&mut cluster, rich, "", 1, 1);
    ask_in(&mut cluster, poor, "", 1, 1);
    let order: Vec<_> = cluster.schedule().into_iter().map(|granted| granted.attempt).collect();
    assert_eq!(order, [poor], "4 GB come before 8");
}

/// §4: also the priority that the queue gives is at most the cluster's highest; the queue file's check says so.
#[test]
fn the_default_priority_of_a_queue_is_at_most_the_clusters_highest() {
    let mut queues = tree(&[("root.a", 100.0, 100.0)]);
    queues.max_application_priority = 2;
    queues.queues[1].default_application_priority = 5;
    let mut cluster = Cluster::new(settings(queues));
    let add = AddApplication {
        application_id: application(1),
        user: "u".into(),
        queue: "a".into(),
        priority: None,
        node_label_expression: None,
        submit_time_ms: 1,
        am_node_label: None,
    };
    cluster.command(SchedulerCommand::AddApplication(Box::new(add)));
    let Some(ApplicationEvent::Accepted { priority, .. }) = cluster.told.last() else {
        panic!("{:?}", cluster.told)
    };
    assert_eq!(*priority, 2);
}

/// E5 with room left in the cluster, so that every row is decided: q1 and q2 are guaranteed 50 GB each, 100 are q3's.
#[test]
fn e05_every_row_decides_who_is_first() {
    for (q1, q2, first) in
        [((20, 1), (10, 0), 1), ((55, 1), (45, 0), 2), ((55, 0), (75, 1), 2), ((50, 5), (49, 0), 2)]
    {
        let mut queues =
            tree(&[("root.q1", 25.0, 100.0), ("root.q2", 25.0, 100.0), ("root.q3", 50.0, 100.0)]);
        queues.queues[0].queue_order = QueueOrder::PriorityUtilization;
        (queues.queues[1].priority, queues.queues[2].priority) = (q1.1, q2.1);
        let mut cluster = Cluster::new(settings(queues));
        cluster.node(200);
        let (one, two) = (cluster.submit(1, "u", "q1"), cluster.submit(2, "u", "q2"));
        cluster.ask(one, q1.0, 1);
        cluster.ask(two, q2.0, 1);
        assert_eq!(cluster.schedule().len(), 2);
        cluster.ask(one, 1, 1);
        cluster.ask(two, 1, 1);
        let order: Vec<_> = cluster.schedule().into_iter().map(|granted| granted.attempt).collect();
        assert_eq!(order[0], [one, two][first - 1], "{q1:?} {q2:?}");
    }
}

/// Partitions do not wait for each other: beside one with much to place, the others have their turns in the same step.
#[test]
fn a_small_partition_has_its_turn_beside_a_large_one() {
    let mut cluster = Cluster::new(with_label(tree(&[("root.a", 100.0, 100.0)])));
    for row in 0..10 {
        cluster.register(NodeHandle::new(0, row, 1), "r0", 10_000, 10_000);
    }
    cluster.register_with(NodeHandle::new(0, 10, 1), "r0", 1, 1, &["x"]);
    let (many, one) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    ask_in(&mut cluster, many, "", 1, 100_000);
    ask_in(&mut cluster, one, "x", 1, 1);
    let granted = cluster.schedule_once();
    let count = |attempt| granted.iter().filter(of(attempt)).count();
    assert_eq!((count(many), count(one)), (Scheduler::GRANTS_PER_TURN as usize, 1));
    assert!(cluster.scheduler.wants_to_schedule(), "the rest comes with the next steps");
    assert_eq!(cluster.schedule().len(), 100_000 - Scheduler::GRANTS_PER_TURN as usize);
}

//! Order of queues and applications: E3, E4, E5.

use heddle::engine::scheduler::settings::{ApplicationOrder, QueueOrder};

use crate::cluster::{Cluster, dominant, settings, size, tree};

/// Letters of the attempts in the order they were granted.
fn letters(cluster: &mut Cluster, of: &[(char, heddle::engine::scheduler::message::Attempt)]) -> String {
    let grants = cluster.schedule();
    let letter = |attempt| of.iter().find(|(_, other)| *other == attempt).unwrap().0;
    grants.iter().map(|granted| letter(granted.attempt)).collect()
}

#[test]
fn e03_utilisation_order() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 30.0, 100.0), ("root.b", 70.0, 100.0)])));
    cluster.node(100);
    let (a, b) = (cluster.submit(1, "u", "a"), cluster.submit(2, "u", "b"));
    cluster.ask(a, 1, 100);
    cluster.ask(b, 1, 100);
    let order = letters(&mut cluster, &[('a', a), ('b', b)]);
    assert_eq!(&order[..10], "babbabbabb");
    assert_eq!(order.len(), 100, "the cluster is full");
    assert_eq!((cluster.used_gb(a), cluster.used_gb(b)), (30, 70));

    let mut cluster = Cluster::new(settings(tree(&[("root.a", 25.0, 100.0), ("root.b", 75.0, 100.0)])));
    cluster.node(20);
    let (a, b) = (cluster.submit(1, "u", "a"), cluster.submit(2, "u", "b"));
    cluster.ask(a, 1, 100);
    cluster.ask(b, 1, 100);
    cluster.schedule();
    assert_eq!((cluster.used_gb(a), cluster.used_gb(b)), (5, 15));
}

#[test]
fn e04_the_dominant_share_orders_queues() {
    let queues = || tree(&[("root.a", 50.0, 100.0), ("root.b", 50.0, 100.0)]);
    for (settings, first) in [(dominant(queues()), 'b'), (settings(queues()), 'a')] {
        let is_dominant = first == 'b';
        let mut cluster = Cluster::new(settings);
        let node = cluster.node_on("r0", 100, 100);
        let (a, b) = (cluster.submit(1, "u", "a"), cluster.submit(2, "u", "b"));
        cluster.ask_at(a, 0, heddle::engine::scheduler::face::Place::Any, size(10, 40), 1, true);
        cluster.ask_at(b, 0, heddle::engine::scheduler::face::Place::Any, size(30, 5), 1, true);
        cluster.schedule();
        cluster.ask(a, 1, 1);
        cluster.ask(b, 1, 1);
        let order = letters(&mut cluster, &[('a', a), ('b', b)]);
        assert_eq!(order.chars().next(), Some(first), "dominant: {is_dominant}, {node}");
    }
}

#[test]
fn e05_priority_among_queues_that_are_all_under_or_all_over() {
    // (used GB of 50 guaranteed, priority) of q1 and q2, and who is first.
    for (q1, q2, first) in
        [((20, 1), (10, 0), '1'), ((55, 1), (45, 0), '2'), ((55, 0), (75, 1), '2'), ((50, 5), (49, 0), '2')]
    {
        let mut queues = tree(&[("root.q1", 50.0, 100.0), ("root.q2", 50.0, 100.0)]);
        queues.queues[0].queue_order = QueueOrder::PriorityUtilization;
        queues.queues[1].priority = q1.1;
        queues.queues[2].priority = q2.1;
        let mut cluster = Cluster::new(settings(queues));
        // Room for both to pass their guarantee: a second node comes when the usage is there.
        let (one, two) = (cluster.submit(1, "u", "q1"), cluster.submit(2, "u", "q2"));
        cluster.node(100);
        cluster.ask(one, q1.0, 1);
        cluster.schedule();
        let extra = (q1.0 + q2.0 > 100).then(|| cluster.node(100));
        cluster.ask(two, q2.0, 1);
        cluster.schedule();
        assert_eq!((cluster.used_gb(one), cluster.used_gb(two)), (q1.0, q2.0));
        if let Some(node) = extra {
            // Back to a cluster of 100: the guarantees are 50 again.
            let capability = heddle::engine::event::Resource {
                memory_mb: 100 * 1_024 - 100 * 1_024 / 2,
                virtual_cores: 1_000,
                ..Default::default()
            };
            let half = heddle::engine::event::NodeEvent {
                capability: Some(capability.clone()),
                ..heddle::engine::event::NodeEvent::new(node)
            };
            let other = heddle_wire::record::NodeHandle::new(0, 0, 1);
            cluster.event(half);
            cluster.event(heddle::engine::event::NodeEvent {
                capability: Some(capability),
                ..heddle::engine::event::NodeEvent::new(other)
            });
        }
        cluster.ask(one, 1, 1);
        cluster.ask(two, 1, 1);
        if q1.0 + q2.0 < 100 {
            let order = letters(&mut cluster, &[('1', one), ('2', two)]);
            assert_eq!(order.chars().next(), Some(first), "{q1:?} {q2:?}");
        }
    }
}

#[test]
fn e05_a_queue_without_guarantee_comes_last() {
    let mut queues = tree(&[("root.q1", 0.0, 100.0), ("root.q2", 100.0, 100.0)]);
    queues.queues[0].queue_order = QueueOrder::PriorityUtilization;
    // By its share it would take no applications at all.
    queues.queues[1].maximum_applications = Some(1);
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(100);
    let (one, two) = (cluster.submit(1, "u", "q1"), cluster.submit(2, "u", "q2"));
    cluster.ask(two, 90, 1);
    cluster.schedule();
    cluster.ask(one, 1, 1);
    cluster.ask(two, 1, 1);
    assert_eq!(letters(&mut cluster, &[('1', one), ('2', two)]), "21");
}

#[test]
fn fifo_serves_priority_then_age_and_fair_the_least_used() {
    let run = |order: ApplicationOrder| {
        let mut queues = tree(&[("root.a", 100.0, 100.0)]);
        queues.queues[1].application_order = order;
        let mut cluster = Cluster::new(settings(queues));
        cluster.node(4);
        let old = cluster.submit(1, "u", "a");
        let new = cluster.submit(2, "u", "a");
        let urgent = cluster.submit_with(3, "u", "a", 5, None);
        for attempt in [old, new, urgent] {
            cluster.ask(attempt, 1, 2);
        }
        letters(&mut cluster, &[('o', old), ('n', new), ('u', urgent)])
    };
    assert_eq!(run(ApplicationOrder::Fifo), "uuoo");
    assert_eq!(run(ApplicationOrder::Fair { size_based_weight: false }), "onuo");
}

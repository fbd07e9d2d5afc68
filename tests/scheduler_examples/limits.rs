//! Limits of users, queues, ApplicationMasters and applications: E6–E8, E10, E11, E17.

use heddle::engine::scheduler::settings::{Capacity, QueueState};

use crate::cluster::{Cluster, settings, tree};

/// One leaf of 50 % that may have everything, beside an empty sibling, on 100 GB.
fn half(minimum_user_limit_percent: f32, user_limit_factor: Option<f32>) -> Cluster {
    let mut queues = tree(&[("root.a", 50.0, 100.0), ("root.b", 50.0, 100.0)]);
    queues.queues[1].minimum_user_limit_percent = minimum_user_limit_percent;
    queues.queues[1].user_limit_factor = user_limit_factor;
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(100);
    cluster
}

#[test]
fn e06_one_user_and_the_user_limit_factor() {
    for (factor, expected) in [(Some(1.0), 51), (Some(2.0), 100), (None, 100)] {
        let mut cluster = half(25.0, factor);
        let app = cluster.submit(1, "u", "a");
        cluster.ask(app, 1, 1_000);
        cluster.schedule();
        assert_eq!(cluster.used_gb(app), expected, "{factor:?}");
    }
}

#[test]
fn e07_two_users() {
    let mut cluster = half(25.0, Some(1.0));
    let (one, two) = (cluster.submit(1, "u1", "a"), cluster.submit(2, "u2", "a"));
    cluster.ask(one, 1, 1_000);
    cluster.ask(two, 1, 1_000);
    cluster.schedule();
    assert_eq!((cluster.used_gb(one), cluster.used_gb(two)), (51, 49));

    // Half each, two times the guarantee: the half binds at 25 GB and one container.
    let mut cluster = half(50.0, Some(2.0));
    let (one, two) = (cluster.submit(1, "u1", "a"), cluster.submit(2, "u2", "a"));
    cluster.ask(one, 1, 1_000);
    cluster.ask(two, 1, 1_000);
    let grants = cluster.schedule();
    for (after, expected) in [(30, (26, 4)), (40, (26, 14)), (50, (26, 24))] {
        let of_one = grants[..after].iter().filter(|granted| granted.attempt == one).count();
        assert_eq!((of_one, after - of_one), expected, "after {after}");
    }
}

#[test]
fn e08_five_users() {
    let mut cluster = half(25.0, Some(1.0));
    let apps: Vec<_> =
        ["a", "b", "c", "d", "e"].iter().zip(1..).map(|(user, id)| cluster.submit(id, user, "a")).collect();
    for app in &apps {
        cluster.ask(*app, 1, 1_000);
    }
    cluster.schedule();
    let used: Vec<_> = apps.iter().map(|app| cluster.used_gb(*app)).collect();
    assert_eq!(used, [26, 26, 26, 22, 0]);
}

#[test]
fn e09_weights_of_users() {
    let mut queues = tree(&[("root.a", 70.0, 70.0), ("root.b", 30.0, 100.0)]);
    queues.queues[1].minimum_user_limit_percent = 33.0;
    queues.queues[1].user_limit_factor = Some(1.0);
    queues.queues[1].user_weights.insert("A".into(), 1.5);
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(100);
    let apps = [("A", 1), ("B", 2), ("C", 3)].map(|(user, id)| cluster.submit(id, user, "a"));
    for app in apps {
        cluster.ask(app, 1, 1_000);
    }
    cluster.schedule();
    assert_eq!(apps.map(|app| cluster.used_gb(app)), [37, 25, 8]);
}

#[test]
fn e10_limits_of_application_masters() {
    let mut queues = tree(&[("root.a", 25.0, 100.0), ("root.b", 75.0, 100.0)]);
    queues.queues[1].minimum_user_limit_percent = 50.0;
    queues.queues[1].user_limit_factor = Some(2.0);
    queues.queues[1].capacities.get_mut("").unwrap().maximum_am_resource_percent = 0.1;
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(200);
    for id in 1..=3 {
        cluster.submit_with(id, "u0", "a", 0, Some(4));
    }
    cluster.schedule();
    // The third would be 12 GB of the user's 10.
    assert_eq!(cluster.am_containers(), [1, 2]);
    // One more user: 4 + 8 = 12 of 20 for the queue, and the user's own half of 10.
    cluster.submit_with(4, "u2", "a", 0, Some(4));
    cluster.schedule();
    assert_eq!(cluster.am_containers(), [1, 2, 4]);
    // The oldest that waits starts when one of its user's ends.
    cluster.remove(1);
    cluster.schedule();
    assert_eq!(cluster.am_containers(), [1, 2, 4, 3]);
    // In an empty queue one may always start.
    cluster.submit_with(9, "u9", "b", 0, Some(30));
    cluster.schedule();
    assert_eq!(cluster.am_containers().last(), Some(&9));
}

#[test]
fn e11_limits_of_applications_name_what_is_reached() {
    let mut queues = tree(&[("root.a", 25.0, 100.0), ("root.b", 75.0, 100.0)]);
    queues.maximum_applications = 8;
    queues.queues[1].minimum_user_limit_percent = 50.0;
    queues.queues[1].user_limit_factor = Some(1.0);
    let mut cluster = Cluster::new(settings(queues.clone()));
    // 25 % of 8 is 2 for the queue, half of it for a user.
    cluster.submit_only(1, "u", "a", 0).unwrap();
    let reason = cluster.submit_only(2, "u", "a", 0).unwrap_err();
    assert!(reason.contains("root.a") && reason.contains("from user u of at most 1"), "{reason}");
    cluster.submit_only(2, "v", "a", 0).unwrap();
    let reason = cluster.submit_only(3, "w", "a", 0).unwrap_err();
    assert!(reason.contains("already has 2 applications of at most 2"), "{reason}");
    for id in 3..9 {
        cluster.submit_only(id, "u", "b", 0).unwrap();
    }
    let reason = cluster.submit_only(9, "u", "b", 0).unwrap_err();
    assert!(reason.contains("Maximum system application limit reached (8)"), "{reason}");
    cluster.remove(3);
    cluster.submit_only(9, "u", "b", 0).unwrap();

    let cases = [
        ("nope", "unknown queue: nope; accepted are leaf queues"),
        ("root", "non-leaf queue: root; accepted is a queue without children"),
    ];
    for (queue, expected) in cases {
        let mut cluster = Cluster::new(settings(queues.clone()));
        assert!(cluster.submit_only(1, "u", queue, 0).unwrap_err().contains(expected));
    }
    queues.queues[1].state = QueueState::Stopped;
    let mut cluster = Cluster::new(settings(queues));
    assert!(
        cluster.submit_only(1, "u", "a", 0).unwrap_err().contains("root.a is STOPPED, accepted is RUNNING")
    );
}

#[test]
fn applications_in_parallel_wait_for_each_other() {
    let mut queues = tree(&[("root.a", 100.0, 100.0)]);
    queues.queues[1].max_parallel_apps = 2;
    queues.max_parallel_apps_of.insert("busy".into(), 1);
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(100);
    cluster.submit_with(1, "busy", "a", 0, Some(1));
    cluster.submit_with(2, "busy", "a", 0, Some(1));
    cluster.submit_with(3, "u", "a", 0, Some(1));
    cluster.submit_with(4, "u", "a", 0, Some(1));
    cluster.schedule();
    assert_eq!(cluster.am_containers(), [1, 3]);
    cluster.remove(3);
    cluster.schedule();
    // The user's own limit still keeps 2 back.
    assert_eq!(cluster.am_containers(), [1, 3, 4]);
    cluster.remove(1);
    cluster.schedule();
    assert_eq!(cluster.am_containers(), [1, 3, 4, 2]);
}

#[test]
fn e17_head_of_line_keeps_its_room_from_later_applications_and_siblings() {
    let mut queues = tree(&[
        ("root.p", 60.0, 60.0),
        ("root.q", 40.0, 40.0),
        ("root.p.a", 60.0, 100.0),
        ("root.p.b", 40.0, 100.0),
    ]);
    queues.queues[3].priority = 1;
    let mut cluster = Cluster::new(settings(queues));
    cluster.node(100);
    let (a, b) = (cluster.submit(1, "u", "root.p.a"), cluster.submit(2, "u", "root.p.b"));
    cluster.ask(a, 30, 1);
    cluster.ask(b, 20, 1);
    cluster.schedule();
    assert_eq!((cluster.used_gb(a), cluster.used_gb(b)), (30, 20));
    // The parent has 10 of 60 left; the first of a wants 12. Nobody behind it takes the 10.
    let later = cluster.submit(3, "u", "root.p.a");
    cluster.ask(a, 12, 1);
    cluster.ask(later, 1, 5);
    cluster.ask(b, 1, 5);
    assert!(cluster.schedule().is_empty());
    // When b gives its containers back, the first is served, then the others.
    let of_b = cluster.live.values().find(|granted| granted.attempt == b).unwrap().container_id;
    cluster.release(of_b);
    let order: Vec<_> = cluster.schedule().into_iter().map(|granted| granted.attempt).collect();
    assert!(order.contains(&a) && order.contains(&later) && order.contains(&b));
}

/// Story: an application waited for more than was left below its queue's maximum, and an ApplicationMaster behind it for
/// less. The first one took its ask back, and nobody looked again: the other waited until something else happened in the
/// cluster.
#[test]
fn what_waited_behind_an_ask_goes_on_when_it_is_withdrawn() {
    // Its own maximum keeps the first back, or that of the queue above.
    for (of_parent, of_leaf) in [(100.0, 60.0), (60.0, 100.0)] {
        for is_removed in [false, true] {
            let mut cluster = Cluster::new(settings(tree(&[
                ("root.p", 60.0, of_parent),
                ("root.q", 40.0, 100.0),
                ("root.p.a", 60.0, of_leaf),
                ("root.p.b", 40.0, 100.0),
            ])));
            cluster.node(100);
            let (first, behind) = (cluster.submit(1, "u", "root.p.a"), cluster.submit(2, "u", "root.p.a"));
            let kept = cluster.submit(3, "u", "root.p.a");
            cluster.ask(kept, 50, 1);
            assert_eq!(cluster.schedule().len(), 1);
            cluster.ask(first, 12, 1);
            cluster.ask(behind, 1, 5);
            assert!(cluster.schedule().is_empty(), "the first one wants 12 of the 10 that are left");
            if is_removed {
                cluster.remove(1);
            } else {
                cluster.ask(first, 12, 0);
            }
            assert_eq!(cluster.schedule().len(), 5, "{of_parent} {of_leaf} {is_removed}");
        }
    }
}

/// Story: after a restart the applications that ran came back before any node did. Their queue was given as an amount, which is
/// no part of an empty cluster: at most 0 applications, and every one of them was rejected.
#[test]
fn a_queue_in_amounts_takes_applications_before_there_are_nodes() {
    let mut queues = tree(&[("root.a", 25.0, 100.0), ("root.b", 75.0, 100.0)]);
    queues.maximum_applications = 4;
    for (index, gb) in [(1, 25), (2, 75)] {
        let share = queues.queues[index].capacities.get_mut("").unwrap();
        share.capacity = Capacity::Absolute(crate::cluster::size(gb, gb));
    }
    let mut cluster = Cluster::new(settings(queues));
    for id in 1..=3 {
        cluster.submit(id, "u", "a");
    }
    cluster.node(100);
    let refused = cluster.submit_only(4, "u", "a", 0).unwrap_err();
    assert!(refused.contains("already has 3 applications of at most 1"), "a quarter of 4: {refused}");
    assert_eq!(cluster.submit_only(5, "u", "b", 0), Ok(()));
}

#[test]
fn a_queue_is_never_over_its_maximum() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 20.0, 35.0), ("root.b", 80.0, 100.0)])));
    cluster.node(100);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 2, 100);
    cluster.schedule();
    // 17 × 2 GB are 34 of 35: one more would be over.
    assert_eq!(cluster.used_gb(app), 34);
}

/// Story: two applications in one queue; the first task of the first asked for 999,999 MB of a cluster of two nodes. It came
/// first, its queue had no room for it below its maximum, and so nobody behind it was given anything, ever.
#[test]
fn an_ask_larger_than_its_queue_is_passed_over() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 20.0, 20.0), ("root.b", 80.0, 100.0)])));
    cluster.node(8);
    cluster.node(8);
    let (first, second) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    let other = cluster.submit(3, "w", "b");
    // More than any node has; then more than the queue may have, and no more than a node has.
    for too_much in [999, 9] {
        let big = crate::cluster::size(too_much, 1);
        cluster.ask_at(first, 0, heddle::engine::scheduler::face::Place::Any, big, 1, true);
        cluster.ask_at(
            first,
            1,
            heddle::engine::scheduler::face::Place::Any,
            crate::cluster::size(1, 1),
            1,
            true,
        );
        cluster.ask(second, 1, 1);
        cluster.ask(other, 1, 1);
        let order: Vec<_> = cluster.schedule().into_iter().map(|granted| granted.attempt).collect();
        assert_eq!(order.len(), 3, "{too_much} GB: {order:?}");
        if too_much == 999 {
            cluster.node(16);
        }
    }
    // A full queue is no reason either: what never fits keeps no room from others.
    cluster.ask(other, 1, 100);
    cluster.schedule();
    let freed = cluster.live.values().find(|granted| granted.attempt == other).unwrap().container_id;
    cluster.release(freed);
    assert_eq!(cluster.schedule().len(), 1);
    // It is given when the queue may have it: a larger cluster, as large a node.
    cluster.node(64);
    cluster.ask(other, 1, 0);
    let granted = cluster.schedule();
    assert!(
        granted.iter().any(|granted| granted.attempt == first && granted.resource.memory_mb() == 9 * 1_024)
    );
}

/// The ask becomes impossible while it waits, and possible again.
#[test]
fn what_fits_no_node_any_more_is_passed_over_until_one_comes_back() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    let (small, large) = (cluster.node(4), cluster.node(12));
    let (first, second) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    cluster.ask(second, 4, 1);
    cluster.ask(first, 10, 1);
    cluster.schedule();
    cluster.lose(large);
    cluster.run_all();
    let held = cluster.live.values().find(|granted| granted.node == small).unwrap().container_id;
    cluster.ask(second, 1, 3);
    cluster.finish(held);
    assert!(cluster.schedule().len() >= 3, "10 GB fit nowhere and keep back nobody");
    cluster.node(12);
    let granted = cluster.schedule();
    assert!(granted.iter().any(|granted| granted.attempt == first), "{granted:?}");
}

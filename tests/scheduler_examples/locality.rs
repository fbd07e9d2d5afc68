//! Hosts, racks, blacklists and reservations: E12–E16.

use heddle::engine::event::{NodeEvent, Resource};
use heddle::engine::scheduler::face::{Place, ResourceScheduler};
use heddle::engine::scheduler::message::Attempt;
use heddle::engine::time::Duration;
use heddle_wire::record::NodeHandle;

use crate::cluster::{Cluster, settings, size, tree};

fn one_queue() -> Cluster {
    Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])))
}

fn ask(cluster: &mut Cluster, attempt: Attempt, rows: &[(Place<'_>, u32, bool)]) {
    for (place, count, relax) in rows {
        cluster.ask_at(attempt, 0, *place, size(1, 1), *count, *relax);
    }
}

fn nodes(cluster: &mut Cluster) -> Vec<NodeHandle> {
    cluster.schedule().into_iter().map(|granted| granted.node).collect()
}

/// While an ApplicationMaster does not come, its asks keep how far they look; they do not begin to wait again.
#[test]
fn an_ask_that_was_held_looks_as_far_as_before() {
    let mut cluster = one_queue();
    let app = cluster.submit(1, "u", "a");
    cluster.node_on("r0", 10, 10);
    ask(
        &mut cluster,
        app,
        &[(Place::Host("n7"), 1, true), (Place::Rack("r7"), 1, true), (Place::Any, 1, true)],
    );
    assert!(nodes(&mut cluster).is_empty());
    cluster.scheduler.hold_grants(cluster.now, app, true);
    cluster.advance(Duration::from_secs(3_600));
    assert!(nodes(&mut cluster).is_empty());
    cluster.scheduler.hold_grants(cluster.now, app, false);
    assert_eq!(nodes(&mut cluster).len(), 1, "its waits are over");
}

/// YARN gives an ask for any place one container per node heartbeat by default. Here all that fits is placed at once.
#[test]
fn e12_asks_for_any_place_are_placed_at_once() {
    let mut cluster = one_queue();
    cluster.node(20);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 10);
    assert_eq!(cluster.schedule().len(), 10);
}

/// The waits of YARN count visits of other nodes; here they are times. The order is the same: the named host, then its
/// rack, then any node.
#[test]
fn e13_locality_waits_for_node_then_rack_then_gives_up() {
    let mut cluster = one_queue();
    let (h0, h1) = (cluster.node_on("r0", 1, 10), cluster.node_on("r0", 10, 10));
    let other = cluster.node_on("r1", 10, 10);
    let app = cluster.submit(1, "u", "a");
    ask(
        &mut cluster,
        app,
        &[(Place::Host("n0"), 4, true), (Place::Rack("r0"), 12, true), (Place::Any, 12, true)],
    );
    // The host has room for one.
    assert_eq!(nodes(&mut cluster), [h0]);
    cluster.advance(Duration::from_millis(2_999));
    assert!(nodes(&mut cluster).is_empty());
    cluster.advance(Duration::from_millis(1));
    // A grant on the rack begins the wait anew, so it is one at a time while that setting holds.
    assert_eq!(nodes(&mut cluster), [h1]);
    cluster.advance(Duration::from_secs(3));
    assert_eq!(nodes(&mut cluster), [h1]);
    // Without the rack, after both waits any node will do, for all that is left.
    ask(&mut cluster, app, &[(Place::Rack("r0"), 0, true)]);
    cluster.advance(Duration::from_secs(6));
    let rest = nodes(&mut cluster);
    assert_eq!(rest.len(), 9);
    assert!(rest.contains(&other));
}

#[test]
fn e14_strict_locality_never_leaves_its_node() {
    let mut cluster = one_queue();
    cluster.node_on("r1", 10, 10);
    cluster.node_on("r1", 10, 10);
    let app = cluster.submit(1, "u", "a");
    ask(
        &mut cluster,
        app,
        &[(Place::Host("n7"), 1, true), (Place::Rack("r1"), 1, false), (Place::Any, 1, false)],
    );
    assert!(cluster.schedule().is_empty());
    cluster.advance(Duration::from_secs(3_600));
    assert!(cluster.schedule().is_empty());
    let wanted = NodeHandle::new(0, 7, 1);
    cluster.register(wanted, "r1", 10, 10);
    assert_eq!(nodes(&mut cluster), [wanted]);
}

#[test]
fn a_blacklisted_node_gets_nothing_until_it_is_taken_off() {
    let mut cluster = one_queue();
    let bad = cluster.node(10);
    let app = cluster.submit(1, "u", "a");
    cluster.scheduler.update_blacklist(app, &["n0"], &[]);
    cluster.ask(app, 1, 2);
    assert!(cluster.schedule().is_empty());
    // Others may use it.
    let other = cluster.submit(2, "u", "a");
    cluster.ask(other, 1, 1);
    assert_eq!(nodes(&mut cluster), [bad]);
    let good = cluster.node(1);
    assert_eq!(nodes(&mut cluster), [good]);
    cluster.scheduler.update_blacklist(app, &[], &["n0"]);
    assert_eq!(nodes(&mut cluster), [bad]);
}

/// In YARN the visited node without room is reserved. Here an ask first looks at every node, so a node is reserved only
/// when none has room, and only where a smaller size is pending that could take the room.
#[test]
fn e15_a_large_ask_holds_a_node_and_gives_it_up_for_another() {
    let mut cluster = one_queue();
    let nodes = [cluster.node(10), cluster.node(10), cluster.node(10)];
    let small = cluster.submit(1, "u", "a");
    cluster.ask(small, 4, 6);
    cluster.schedule();
    cluster.run_all();
    let large = cluster.submit(2, "v", "a");
    cluster.ask(large, 6, 1);
    cluster.ask(small, 4, 1);
    assert!(cluster.schedule().is_empty(), "2 GB are free on each");
    let reserved = |cluster: &Cluster| cluster.scheduler.totals().reserved_memory_mb / 1_024;
    assert_eq!(reserved(&cluster), 6);
    // One container ends on each node. The node that is held goes to the ask that holds it, whoever is older.
    for node in nodes {
        let of_node = |granted: &&heddle::engine::scheduler::face::Granted| granted.node == node;
        let container = cluster.live.values().find(of_node).unwrap().container_id;
        cluster.finish(container);
    }
    let granted: Vec<_> = cluster.schedule().into_iter().map(|granted| granted.attempt).collect();
    assert_eq!(granted, [large, small]);
    assert_eq!(reserved(&cluster), 0);
}

#[test]
fn e15_a_held_node_is_given_up_when_another_has_room_first() {
    let mut cluster = one_queue();
    for _ in 0..3 {
        cluster.node(10);
    }
    let small = cluster.submit(1, "u", "a");
    cluster.ask(small, 4, 6);
    cluster.schedule();
    let large = cluster.submit(2, "v", "a");
    cluster.ask(large, 6, 1);
    cluster.ask(small, 4, 1);
    cluster.schedule();
    assert_eq!(cluster.scheduler.totals().reserved_containers, 1);
    let new = cluster.node(10);
    assert_eq!(nodes(&mut cluster), [new, new]);
    assert_eq!((cluster.used_gb(large), cluster.scheduler.totals().reserved_containers), (6, 0));
}

/// A node was held, the cluster became smaller than what its queue had, and then another node came with room. A held node
/// given up for a container leaves the queue's sum as it is, so its maximum was not looked at: the queue, already over it,
/// was given one container more.
#[test]
fn e15_a_queue_over_its_maximum_gets_nothing_for_a_held_node() {
    let mut cluster = one_queue();
    let first = [cluster.node(10), cluster.node(10), cluster.node(10)];
    let small = cluster.submit(1, "u", "a");
    cluster.ask(small, 4, 6);
    let held: Vec<_> = cluster.schedule().into_iter().map(|granted| granted.container_id).collect();
    cluster.run_all();
    let large = cluster.submit(2, "v", "a");
    cluster.ask(large, 6, 1);
    cluster.ask(small, 4, 1);
    cluster.schedule();
    let shrunk = Resource { memory_mb: 0, virtual_cores: 10, ..Resource::default() };
    for node in &first[1..] {
        cluster.event(NodeEvent { capability: Some(shrunk.clone()), ..NodeEvent::new(*node) });
    }
    assert_eq!(cluster.scheduler.totals().reserved_containers, 1, "the first is held");
    cluster.node(10);
    assert!(nodes(&mut cluster).is_empty(), "the queue has 24 of 20 GB");
    held.iter().take(3).for_each(|container| cluster.finish(*container));
    cluster.schedule();
    assert_eq!(cluster.used_gb(large), 6, "of 20 GB 12 were left in use");
}

/// A stream of small asks never lets 8 GB come together on one of two nodes by itself: first the bound keeps the later
/// application from the room the first one waits for, then a node is held.
#[test]
fn a_large_ask_is_not_starved_by_small_ones() {
    let mut cluster = one_queue();
    cluster.node(8);
    cluster.node(8);
    let small = cluster.submit(1, "u", "a");
    cluster.ask(small, 1, 1_000);
    cluster.schedule();
    cluster.run_all();
    let large = cluster.submit_with(2, "v", "a", 1, None);
    cluster.ask(large, 8, 1);
    cluster.schedule();
    for _ in 0..32 {
        let oldest = cluster.live.values().find(|granted| granted.attempt == small);
        if let Some(oldest) = oldest.map(|granted| granted.container_id) {
            cluster.finish(oldest);
        }
        cluster.schedule();
        cluster.run_all();
        if cluster.used_gb(large) == 8 {
            return;
        }
    }
    panic!("no room came together: {:?}", cluster.scheduler.totals());
}

/// A walk that found nothing to hold a node for is not repeated at once; what is new is looked at all the same, also where
/// nothing else happens in the partition.
#[test]
fn a_large_ask_holds_a_node_in_a_quiet_partition() {
    let mut cluster = one_queue();
    for _ in 0..20 {
        cluster.node(8);
    }
    let small = cluster.submit(1, "u", "a");
    cluster.ask(small, 5, 40);
    assert_eq!(cluster.schedule().len(), 20);
    for _ in 0..3 {
        // The walks of these steps are fruitless: each doubles the pause.
        let running = *cluster.live.keys().next().unwrap();
        cluster.release(running);
        cluster.schedule();
    }
    let held = |cluster: &Cluster| cluster.scheduler.totals().reserved_containers;
    let large = cluster.submit(2, "v", "a");
    cluster.ask(large, 8, 1);
    assert!(cluster.schedule().is_empty());
    assert_eq!(held(&cluster), 1, "one of a size that was not asked for before");
    cluster.ask(large, 8, 2);
    assert!(cluster.schedule().is_empty());
    assert_eq!(held(&cluster), 2, "one more of the same");
}

/// A step stays short where many nodes come to be held at once: it holds some, and the next goes on.
#[test]
fn many_nodes_are_held_over_several_steps() {
    let mut cluster = one_queue();
    for _ in 0..6_000 {
        cluster.node(8);
    }
    let small = cluster.submit(1, "u", "a");
    cluster.ask(small, 5, 7_000);
    assert_eq!(cluster.schedule().len(), 6_000);
    let large = cluster.submit(2, "v", "a");
    cluster.ask(large, 8, 1_000);
    let mut steps = Vec::new();
    while cluster.scheduler.wants_to_schedule() && steps.len() < 10 {
        assert!(cluster.schedule_once().is_empty());
        steps.push(cluster.scheduler.totals().reserved_containers);
    }
    assert_eq!(steps, [512, 600], "at most a tenth of the nodes are held");
}

/// E16 in short: the first user may not have more, because of what it reserved; the second is served all the same.
#[test]
fn e16_a_reservation_over_the_user_limit_does_not_block_other_users() {
    let mut queues = tree(&[("root.a", 100.0, 100.0)]);
    queues.queues[1].minimum_user_limit_percent = 25.0;
    queues.queues[1].user_limit_factor = Some(0.25);
    let mut cluster = Cluster::new(settings(queues));
    for _ in 0..3 {
        cluster.node(8);
    }
    let (u0, u1) = (cluster.submit(1, "u0", "a"), cluster.submit(2, "u1", "a"));
    for app in [u0, u1] {
        cluster.ask(app, 2, 1);
    }
    let filler = cluster.submit(3, "u2", "a");
    cluster.ask(filler, 2, 1);
    cluster.schedule();
    cluster.ask_at(u0, 1, Place::Any, size(8, 1), 2, true);
    cluster.ask_at(u1, 1, Place::Any, size(2, 1), 2, true);
    cluster.schedule();
    assert_eq!(cluster.used_gb(u0), 2, "8 GB fit nowhere");
    assert_eq!(cluster.used_gb(u1), 6);
}

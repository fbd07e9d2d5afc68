//! Applications that do not want every node: what a search costs, and that it ends.

use std::collections::BTreeSet;

use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::face::{Place, ResourceScheduler};
use heddle::engine::scheduler::message::Attempt;

use heddle::engine::time::Duration;

use crate::cluster::{Cluster, settings, size, tree};

/// Nodes of 2 GB on racks of 500, and an application that wants none of the first `avoided`.
fn picky(nodes: u32, avoided: u32) -> (Cluster, Attempt) {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    for row in 0..nodes {
        cluster.node_on(&format!("r{}", row / 500), 2, 10);
    }
    let app = cluster.submit(1, "u", "a");
    let names: Vec<String> = (0..avoided).map(|row| format!("n{row}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    cluster.scheduler.update_blacklist(app, &names, &[]);
    (cluster, app)
}

/// Steps until nothing is left to do.
fn steps(cluster: &mut Cluster) -> usize {
    let mut steps = 0;
    while cluster.scheduler.wants_to_schedule() {
        cluster.scheduler.schedule(cluster.now, &mut cluster.out);
        steps += 1;
    }
    // What was granted is collected.
    cluster.advance(Duration::ZERO);
    cluster.verify();
    steps
}

/// Story: an application had nearly every node on its blacklist, and each of its containers was looked for on all of them
/// within one step, while everybody waited.
#[test]
fn a_search_past_a_long_blacklist_goes_on_with_the_next_step_and_others_are_served() {
    let (mut cluster, app) = picky(3_000, 2_900);
    let other = cluster.submit(2, "v", "a");
    cluster.ask(app, 1, 150);
    cluster.ask(other, 1, 10);
    cluster.scheduler.schedule(cluster.now, &mut cluster.out);
    assert!(cluster.scheduler.wants_to_schedule(), "512 nodes were passed, 2,388 are left");
    let first: Vec<_> = core::mem::take(&mut cluster.out.attempt_events);
    assert_eq!(first.len(), 10, "the others have theirs in the first step");
    cluster.out.attempt_events = first;
    let more = steps(&mut cluster);
    // One way past them, for all 150.
    assert!((2_900 / 512..=8).contains(&more), "{more} steps");
    assert_eq!((cluster.used_gb(app), cluster.used_gb(other)), (150, 10));
    let nodes: BTreeSet<u32> =
        cluster.live.values().filter(|of| of.attempt == app).map(|of| of.node.row()).collect();
    assert!(nodes.iter().all(|row| *row >= 2_900));
}

#[test]
fn who_came_around_in_vain_is_given_the_first_node_that_frees_room() {
    let (mut cluster, app) = picky(2_000, 1_999);
    let other = cluster.submit(2, "v", "a");
    cluster.ask_at(other, 0, Place::Host("n1999"), size(2, 1), 1, true);
    cluster.ask_at(other, 0, Place::Rack("r3"), size(2, 1), 1, true);
    cluster.ask_at(other, 0, Place::Any, size(2, 1), 1, true);
    cluster.schedule();
    let blocker = cluster.grants[0].clone();
    assert_eq!(blocker.node.row(), 1_999);
    cluster.ask(app, 1, 2);
    steps(&mut cluster);
    assert_eq!(cluster.used_gb(app), 0);
    assert!(!cluster.scheduler.wants_to_schedule(), "nothing is left to look at");
    // A node it does not want is no news: one step, nothing found.
    cluster.ask(other, 1, 1);
    cluster.schedule();
    let unwanted = cluster.grants.last().unwrap().container_id;
    cluster.release(unwanted);
    assert!(steps(&mut cluster) <= 1);
    // The one it wants is, and so are nodes that come.
    cluster.release(blocker.container_id);
    cluster.schedule();
    assert_eq!(cluster.used_gb(app), 2);
    cluster.ask(app, 1, 1);
    steps(&mut cluster);
    assert_eq!(cluster.used_gb(app), 2);
    cluster.node(2);
    cluster.schedule();
    assert_eq!(cluster.used_gb(app), 3);
}

#[test]
fn room_freed_behind_a_walk_is_found_by_it() {
    let (mut cluster, app) = picky(2_000, 2_000);
    // The only node it wants is the first, which is full while the walk passes it.
    cluster.scheduler.update_blacklist(app, &[], &["n0"]);
    let other = cluster.submit(2, "v", "a");
    cluster.ask(other, 2, 1);
    cluster.schedule();
    let blocker = cluster.grants[0].clone();
    assert_eq!(blocker.node.row(), 0);
    cluster.ask(app, 1, 1);
    cluster.scheduler.schedule(cluster.now, &mut cluster.out);
    assert!(cluster.scheduler.wants_to_schedule());
    cluster.release(blocker.container_id);
    steps(&mut cluster);
    assert_eq!(cluster.used_gb(app), 1);
}

#[test]
fn a_rack_is_walked_in_pieces_too_and_an_emptied_blacklist_ends_it() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    for _ in 0..1_500 {
        cluster.node_on("r0", 2, 10);
    }
    let app = cluster.submit(1, "u", "a");
    let names: Vec<String> = (0..1_499).map(|row| format!("n{row}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    cluster.scheduler.update_blacklist(app, &names, &[]);
    cluster.ask_at(app, 0, Place::Rack("r0"), size(1, 1), 3, true);
    cluster.ask_at(app, 0, Place::Any, size(1, 1), 3, false);
    assert!(steps(&mut cluster) >= 1_499 / 512);
    assert_eq!(cluster.used_gb(app), 2, "the one node it wants holds two");
    cluster.scheduler.update_blacklist(app, &[], &names);
    cluster.schedule();
    assert_eq!(cluster.used_gb(app), 3);
}

/// Story: what was named beyond the bound was passed over without a word, and containers came on nodes that the
/// ApplicationMaster took to be excluded.
#[test]
fn a_blacklist_that_would_be_too_long_is_refused() {
    const MOST: u32 = Scheduler::BLACKLIST_MAX as u32;
    let (cluster, app) = picky(0, MOST - 1);
    let check = |additions: &[&str]| cluster.scheduler.check_blacklist(app, additions);
    check(&["x"]).unwrap();
    check(&["n0", "n1", "x"]).unwrap();
    let refusal = check(&["n0", "x", "y"]).unwrap_err();
    let text =
        "names 2 hosts and racks that are not on the blacklist, which has 16383, accepted are 16384 in all";
    assert!(refusal.message.contains(text), "{}", refusal.message);
}

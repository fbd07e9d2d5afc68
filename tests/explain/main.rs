//! Why an application waits: each constraint with its numbers and since when, and what it costs to say so.
//! Owns: nothing. Called by: the test harness. Does not: test placement; it makes each constraint bind and reads the text.
//! Invariants: an ask has one reason; the summary counts every ask; the work does not grow with the cluster.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

#[path = "../scheduler_examples/cluster.rs"]
mod cluster;

use cluster::{Cluster, application, dominant, settings, size, tree};
use heddle::engine::event::{NodeEvent, Usability};
use heddle::engine::scheduler::face::{Ask, Place, ResourceScheduler, SchedulerKey};
use heddle::engine::scheduler::message::{ApplicationEvent, Attempt, Query, QueryReply, SchedulerCommand};
use heddle::engine::scheduler::settings::{QueueTree, SchedulerSettings};
use heddle::engine::time::Duration;
use heddle_wire::application_client::ExplainApplicationResponse;
use heddle_wire::record::PendingReason;

fn queues() -> QueueTree {
    tree(&[("root.etl", 40.0, 40.0), ("root.a", 60.0, 100.0)])
}

impl Cluster {
    fn explain_at_most(&mut self, id: u32, limit: u32) -> ExplainApplicationResponse {
        let query = Query::Explain { application_id: application(id), limit };
        self.command(SchedulerCommand::Query { token: 1, query });
        match self.told.pop() {
            Some(ApplicationEvent::Reply { token: 1, reply: QueryReply::Record(body) }) => {
                assert!(body.len() <= heddle_wire::limits::BODY_MAX as usize);
                heddle_wire::decode(&body).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The one ask of an application: reason, text, since when in milliseconds.
    fn why(&mut self, id: u32) -> (PendingReason, String, u64) {
        let explained = self.explain_at_most(id, 100);
        assert_eq!(explained.pending.len(), 1, "{explained:#?}");
        let ask = &explained.pending[0];
        (ask.reason, ask.text.clone(), ask.since_ms)
    }

    fn wait(&mut self, millis: u64) {
        self.advance(Duration::from_millis(millis));
        self.schedule();
    }
}

#[test]
fn a_queue_at_its_maximum() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(2_030);
    let app = cluster.submit(1, "u", "etl");
    cluster.ask(app, 1, 2_000);
    cluster.wait(0);
    cluster.wait(1_500);
    let text = "queue root.etl at 100 % of its maximum 40 %: 812 of 812 GB";
    assert_eq!(cluster.why(1), (PendingReason::QueueLimit, text.into(), 1_500));
    let explained = cluster.explain_at_most(1, 1);
    assert_eq!((explained.summary[0].asks, explained.summary[0].containers), (1, 2_000 - 812));
    assert_eq!((explained.queue.as_str(), explained.application_reason), ("root.etl", None));
    let part = &explained.partitions[0];
    assert_eq!((part.used.memory_mb, part.queue_maximum.memory_mb), (812 * 1_024, 812 * 1_024));
    assert_eq!((part.free.memory_mb, part.nodes), ((2_030 - 812) * 1_024, 1));
}

#[test]
fn a_larger_container_does_not_fit_below_the_maximum() {
    let mut cluster = Cluster::new(dominant(queues()));
    cluster.node_on("r", 100, 100);
    let app = cluster.submit(1, "u", "etl");
    cluster.ask(app, 30, 2);
    cluster.schedule();
    let text = "queue root.etl at 75 % of its maximum 40 %: <memory:30720, vCores:1> of <memory:40960, vCores:40>, \
                <memory:30720, vCores:1> more does not fit";
    assert_eq!(cluster.why(1).1, text);
}

#[test]
fn a_queue_above_is_at_its_maximum() {
    let mut cluster = Cluster::new(settings(tree(&[
        ("root.p", 50.0, 50.0),
        ("root.p.x", 50.0, 100.0),
        ("root.p.y", 50.0, 100.0),
        ("root.q", 50.0, 100.0),
    ])));
    cluster.node(20);
    let (x, y) = (cluster.submit(1, "u", "x"), cluster.submit(2, "v", "y"));
    cluster.ask(x, 1, 7);
    cluster.schedule();
    cluster.ask(y, 1, 5);
    cluster.schedule();
    let (reason, text, _) = cluster.why(2);
    assert_eq!(
        (reason, text.as_str()),
        (PendingReason::QueueLimit, "queue root.p at 100 % of its maximum 50 %: 10 of 10 GB")
    );
}

#[test]
fn more_than_the_queue_may_ever_have() {
    let mut cluster = Cluster::new(dominant(queues()));
    cluster.node_on("r", 100, 100);
    let app = cluster.submit(1, "u", "etl");
    cluster.wait(100);
    cluster.ask(app, 50, 1);
    cluster.wait(0);
    cluster.wait(700);
    let text = "<memory:51200, vCores:1> is more than queue root.etl may have in all: its maximum is 40 % of the default \
                partition, <memory:40960, vCores:40>";
    assert_eq!(cluster.why(1), (PendingReason::QueueLimit, text.into(), 700));
    // It is not walked to either: nothing is left to do.
    assert!(!cluster.scheduler.wants_to_schedule());
}

#[test]
fn a_user_at_its_limit() {
    let mut tree = queues();
    let a = tree.find("root.a").unwrap() as usize;
    tree.queues[a].minimum_user_limit_percent = 50.0;
    tree.queues[a].user_limit_factor = Some(1.0);
    let mut cluster = Cluster::new(settings(tree));
    cluster.node(100);
    let (alice, bob) = (cluster.submit(1, "alice", "a"), cluster.submit(2, "bob", "a"));
    cluster.ask(alice, 1, 200);
    cluster.ask(bob, 40, 3);
    cluster.schedule();
    cluster.wait(3_000);
    let (reason, text, since) = cluster.why(1);
    assert_eq!((reason, since), (PendingReason::UserLimit, 3_000), "{text}");
    let part = cluster.explain_at_most(1, 1).partitions.remove(0);
    let (used, limit) = (part.user_used.memory_mb / 1_024, part.user_limit.memory_mb / 1_024);
    assert!(used > limit, "one container more than the limit: {used}, {limit}");
    let expected = format!(
        "user alice at its limit {limit} GB of queue root.a with {used} GB (guarantee 60 GB, 2 active users)"
    );
    assert_eq!(text, expected);
}

#[test]
fn no_node_has_that_much_free() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(8);
    cluster.node(8);
    cluster.node(4);
    let (small, big) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    cluster.ask(small, 3, 2);
    cluster.schedule();
    let where_: Vec<u32> = cluster.grants.iter().map(|grant| grant.node.row()).collect();
    assert_eq!(where_, [0, 1]);
    cluster.ask(big, 8, 1);
    cluster.schedule();
    cluster.wait(700);
    let text =
        "no node has <memory:8192, vCores:1> free: 2 nodes are that large, the most free of one node is 5 GB";
    assert_eq!(cluster.why(2), (PendingReason::NoFreeCapacity, text.into(), 700));
    cluster.ask(big, 0, 0);
    cluster.ask(big, 9, 1);
    cluster.schedule();
    let text =
        "no node of the default partition is as large as <memory:9216, vCores:1>, even when it is empty";
    assert_eq!(cluster.why(2).1, text);
}

#[test]
fn no_node_at_all() {
    let mut cluster = Cluster::new(settings(queues()));
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 1);
    cluster.schedule();
    assert_eq!(
        cluster.explain_at_most(1, 1).application_reason.as_deref(),
        Some("not active: the cluster has no capacity")
    );
    cluster.submit_with(2, "u", "a", 0, Some(1));
    assert_eq!(
        cluster.explain_at_most(2, 1).application_reason.as_deref(),
        Some("not active: the default partition has no capacity")
    );
    cluster.remove(2);
    let node = cluster.node(4);
    cluster.event(NodeEvent { usability: Some(Usability::Decommissioning), ..NodeEvent::new(node) });
    cluster.schedule();
    let (reason, text, _) = cluster.why(1);
    let expected = "none of the 1 nodes of the default partition may be given containers now";
    assert_eq!((reason, text.as_str()), (PendingReason::NoNodes, expected));
}

#[test]
fn a_host_then_its_rack_then_any_node() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node_on("r1", 4, 10);
    cluster.node_on("r2", 4, 10);
    let (first, app) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    cluster.ask_at(first, 0, Place::Host("n0"), size(4, 1), 1, true);
    cluster.ask(first, 4, 1);
    assert_eq!(cluster.schedule().len(), 1);
    cluster.ask_at(app, 0, Place::Host("n0"), size(4, 1), 1, true);
    cluster.ask_at(app, 0, Place::Rack("r1"), size(4, 1), 1, true);
    cluster.ask(app, 4, 1);
    cluster.schedule();
    cluster.wait(900);
    let text = "waits for host n0 for another 2.1 s, then its rack";
    assert_eq!(cluster.why(2), (PendingReason::Locality, text.into(), 900));
    cluster.wait(2_200);
    assert_eq!(cluster.why(2).1, "waits for host n0 or rack r1 for another 2.9 s, then any node");
    cluster.wait(3_000);
    assert_eq!(cluster.grants.last().unwrap().node.row(), 1);
    // One that takes no other place waits for as long as it takes.
    cluster.node_on("r2", 4, 10);
    cluster.ask_at(app, 0, Place::Host("n0"), size(4, 1), 1, true);
    cluster.ask(app, 4, 0);
    cluster.ask_at(app, 0, Place::Any, size(4, 1), 1, false);
    cluster.ask_at(app, 0, Place::Host("n0"), size(4, 1), 1, true);
    cluster.schedule();
    cluster.wait(60_000);
    let (reason, text, _) = cluster.why(2);
    assert_eq!(
        (reason, text.as_str()),
        (PendingReason::Locality, "waits for host n0 and takes no other place")
    );
}

#[test]
fn a_node_is_reserved() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(8);
    cluster.node(8);
    let (small, big) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    cluster.ask(small, 5, 2);
    cluster.schedule();
    cluster.ask(big, 6, 1);
    cluster.ask_at(small, 9, Place::Any, size(4, 1), 1, true);
    cluster.schedule();
    cluster.wait(400);
    let (reason, text, since) = cluster.why(2);
    assert_eq!((reason, since), (PendingReason::Reserved, 400), "{text}");
    let expected = "node n0:8041 is reserved for it until <memory:6144, vCores:1> is free there: \
                    <memory:3072, vCores:999> is now";
    assert_eq!(text, expected);
}

#[test]
fn nodes_with_room_are_on_the_blacklist() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(8);
    let app = cluster.submit(1, "u", "a");
    cluster.scheduler.update_blacklist(app, &["n0"], &[]);
    cluster.ask(app, 1, 1);
    cluster.schedule();
    let (reason, text, _) = cluster.why(1);
    assert_eq!(reason, PendingReason::Blacklist);
    let expected = "every node with <memory:1024, vCores:1> free is on the application's blacklist, which names 1 places";
    assert_eq!(text, expected);
}

#[test]
fn an_application_that_is_not_active_says_why() {
    let mut tree = queues();
    let a = tree.find("root.a").unwrap() as usize;
    tree.queues[a].capacities.get_mut("").unwrap().maximum_am_resource_percent = 0.1;
    tree.user_max_parallel_apps = 3;
    let mut cluster = Cluster::new(settings(tree));
    cluster.node(100);
    for (id, user) in [(1, "u"), (2, "v"), (3, "u")] {
        cluster.submit_with(id, user, "a", 0, Some(4));
    }
    cluster.schedule();
    cluster.wait(2_000);
    let explained = cluster.explain_at_most(3, 10);
    let reason = explained.application_reason.unwrap();
    assert!(reason.starts_with(
        "not active: Queue's AM resource limit exceeded: ApplicationMasters of queue root.a have"
    ));
    assert!(reason.ends_with(" GB, this one needs 4 GB"), "{reason}");
    let ask = &explained.pending[0];
    assert_eq!((ask.reason, ask.since_ms, ask.priority), (PendingReason::AmLimit, 2_000, 0));
    assert_eq!((&ask.text, ask.allocation_request_id), (&reason, -1));
    for id in 4..=5 {
        cluster.submit(id, "u", "etl");
    }
    let reason = cluster.explain_at_most(5, 10).application_reason.unwrap();
    assert_eq!(reason, "not active: user u runs 3 applications, at most 3 may run at once");
}

#[test]
fn an_application_master_that_does_not_come_is_said() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(5);
    cluster.node(5);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 3, 3);
    cluster.wait(0);
    cluster.wait(300);
    cluster.scheduler.hold_grants(cluster.now, app, true);
    cluster.wait(200);
    let explained = cluster.explain_at_most(1, 1);
    let text =
        "its ApplicationMaster does not come for what it was granted: nothing more is placed until it does";
    assert_eq!(explained.application_reason.as_deref(), Some(text));
    assert_eq!(explained.pending[0].reason, PendingReason::ApplicationNotActive);
    assert_eq!(explained.pending[0].since_ms, 200, "since it is held");
    // What keeps it back afterwards does so since then.
    cluster.scheduler.hold_grants(cluster.now, app, false);
    cluster.wait(0);
    cluster.wait(100);
    assert_eq!((cluster.why(1).0, cluster.why(1).2), (PendingReason::NoFreeCapacity, 100));
}

#[test]
fn an_unknown_application_is_refused() {
    let mut cluster = Cluster::new(settings(queues()));
    let query = Query::Explain { application_id: application(9), limit: 1 };
    cluster.command(SchedulerCommand::Query { token: 1, query });
    let reasons = format!("application {} is not known to the scheduler", application(9));
    let reply = QueryReply::Refused { code: 410, reasons: reasons.into() };
    assert_eq!(cluster.told.pop(), Some(ApplicationEvent::Reply { token: 1, reply }));
}

/// A cluster of `nodes` full nodes, an application with `asks` keys that wait, and others that wait as well.
fn crowded(nodes: u32, asks: i64, others: u32) -> (Cluster, Attempt) {
    let settings = SchedulerSettings { attempts_max: 100_000, ..settings(queues()) };
    let mut cluster = Cluster::new(settings);
    for node in 0..nodes {
        cluster.node_on(&format!("r{}", node / 40), 8, 8);
    }
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 8, nodes);
    cluster.schedule();
    for other in 0..others {
        let other = cluster.submit(2 + other, "v", "a");
        cluster.ask(other, 1, 5);
    }
    for id in 0..asks {
        let key = SchedulerKey { priority: 1 + (id % 7) as i32, allocation_request_id: id };
        let capability = size(1 + (id % 5).unsigned_abs(), 1);
        let ask =
            Ask { key, place: Place::Any, capability, count: 1, relax_locality: true, node_label: None };
        cluster.scheduler.update_ask(cluster.now, app, &ask);
    }
    while cluster.scheduler.wants_to_schedule() {
        cluster.scheduler.schedule(cluster.now, &mut cluster.out);
    }
    (cluster, app)
}

#[test]
fn the_work_is_that_of_the_asks_whatever_the_cluster_is() {
    let steps = |nodes, asks, others| {
        let (cluster, _) = crowded(nodes, asks, others);
        cluster.scheduler.explanation_steps(cluster.now, application(1)).unwrap()
    };
    let small = steps(50, 2_000, 10);
    assert!(small <= 2_000 * 5 + 100, "{small}");
    assert_eq!(steps(2_000, 2_000, 10), small, "forty times the nodes");
    assert_eq!(steps(50, 2_000, 400), small, "forty times the applications");
    let large = steps(50, 20_000, 10);
    assert!(large <= small * 10, "ten times the asks: {small}, {large}");
}

#[test]
fn a_hundred_thousand_asks_are_summarised_and_the_first_are_told() {
    let (mut cluster, _) = crowded(200, 100_000, 10);
    let explained = cluster.explain_at_most(1, 2_048);
    assert_eq!(explained.pending_total, 100_000);
    assert_eq!(explained.pending.len(), 2_048);
    assert_eq!(explained.summary.iter().map(|count| count.containers).sum::<u64>(), 100_000);
    let most: Vec<u64> = explained.summary.iter().map(|count| count.containers).collect();
    assert!(most.is_sorted_by(|left, right| left >= right), "{most:?}");
    assert!(explained.pending.is_sorted_by_key(|ask| (ask.priority, ask.allocation_request_id)));
    assert_eq!(cluster.explain_at_most(1, 3).pending.len(), 3);
}

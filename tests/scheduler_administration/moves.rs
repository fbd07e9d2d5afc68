//! Applications move to other queues. E24 and around it.

use heddle::engine::scheduler::face::{Place, ResourceScheduler};
use heddle::engine::scheduler::message::{Query, QueryReply, SchedulerCommand, Usage};
use heddle::engine::scheduler::settings::QueueTree;
use heddle_wire::RejectCode;

use crate::cluster::{Cluster, GB, application, settings, size, tree};
use crate::steps::{TOKEN, labelled, move_command, share, stop};

fn queues() -> QueueTree {
    tree(&[
        ("root.p", 50.0, 100.0),
        ("root.p.a", 50.0, 100.0),
        ("root.p.b", 50.0, 100.0),
        ("root.c", 50.0, 100.0),
    ])
}

impl Cluster {
    /// GB used and reserved by queue.
    fn used(&mut self) -> Vec<(u64, u64)> {
        let info = self.queue_info("root", true, true);
        let of = info.queues.iter().map(|queue| &queue.statistics);
        of.map(|it| (it.allocated.memory_mb / GB, it.reserved.memory_mb / GB)).collect()
    }

    pub(crate) fn usage(&mut self, id: u32) -> Usage {
        match self.query(Query::Usage(vec![application(id)])) {
            QueryReply::Usage(mut usages) => usages.remove(0),
            other => panic!("{other:?}"),
        }
    }
}

/// The application has 4 GB and holds a node for 2 GB more.
fn with_reservation(settings: heddle::engine::scheduler::settings::SchedulerSettings) -> Cluster {
    let mut cluster = Cluster::new(settings);
    cluster.node(5);
    let (app, other) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "c"));
    cluster.ask(app, 1, 4);
    cluster.schedule();
    cluster.ask(app, 2, 1);
    // Someone else could take the room bit by bit, so that a node is held.
    cluster.ask_at(other, 5, Place::Any, size(1, 1), 1, true);
    cluster.schedule();
    cluster
}

#[test]
fn e24_an_application_moves_with_what_it_has() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(6);
    let (app, other) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "c"));
    cluster.ask(other, 1, 2);
    cluster.schedule();
    cluster.ask(app, 1, 4);
    cluster.schedule();
    cluster.ask(app, 2, 1);
    cluster.ask(other, 1, 4);
    cluster.schedule();
    // root, p, a, b, c
    assert_eq!(cluster.used(), [(6, 2), (4, 2), (4, 2), (0, 0), (2, 0)]);
    let before = cluster.usage(1);
    assert_eq!(cluster.move_to(1, "b"), Ok(0));
    assert_eq!(cluster.used(), [(6, 2), (4, 2), (0, 0), (4, 2), (2, 0)]);
    assert_eq!(cluster.move_to(1, "root.c"), Ok(0));
    assert_eq!(cluster.used(), [(6, 2), (0, 0), (0, 0), (0, 0), (6, 2)]);
    let after = cluster.usage(1);
    assert_eq!((after.used, after.reserved, after.pending), (before.used, before.reserved, before.pending));
    // A move was counted at every queue above as well, root had three of the two.
    let queues = cluster.queue_info("root", true, true).queues;
    let submitted: Vec<u64> = queues.iter().map(|queue| queue.statistics.applications_submitted).collect();
    assert_eq!(submitted, [2, 1, 1, 1, 2], "each queue counts who was ever in it");
    // What it waits for it gets there.
    for grant in cluster.grants.clone().iter().filter(|grant| grant.attempt == other) {
        cluster.release(grant.container_id);
    }
    let granted = cluster.schedule();
    assert!(granted.iter().any(|grant| grant.attempt == app && grant.resource == size(2, 1)), "{granted:?}");
    cluster.remove(1);
    cluster.remove(2);
    cluster.verify();
    assert_eq!(cluster.used(), [(0, 0); 5]);
}

#[test]
fn a_move_that_cannot_be_done_changes_nothing() {
    let mut full = queues();
    let b = full.find("root.p.b").unwrap() as usize;
    full.queues[b].maximum_applications = Some(0);
    stop(&mut full, "root.c");
    let mut cluster = with_reservation(settings(queues()));
    cluster.replace(full).unwrap();
    let (used, usage) = (cluster.used(), cluster.usage(1));
    let id = application(1);
    let cases = [
        (
            "nope",
            RejectCode::NotFound,
            format!("queue nope is unknown: application {id} cannot be moved there"),
        ),
        (
            "p",
            RejectCode::WrongState,
            format!("queue root.p is not a leaf: application {id} cannot be moved there"),
        ),
        (
            "c",
            RejectCode::WrongState,
            format!("queue root.c is STOPPED: application {id} cannot be moved there"),
        ),
        (
            "b",
            RejectCode::WrongState,
            format!(
                "Queue root.p.b already has 0 applications of at most 0, application {id} cannot be moved there"
            ),
        ),
    ];
    for (queue, code, text) in cases {
        for is_check_only in [true, false] {
            assert_eq!(cluster.order(move_command(1, queue, is_check_only)), Err((code, text.clone())));
        }
    }
    assert_eq!((cluster.used(), cluster.usage(1)), (used, usage));
    let unknown = cluster.move_to(9, "a").unwrap_err();
    let text = format!("application {} is not known to the scheduler", application(9));
    assert_eq!(unknown, (RejectCode::ApplicationNotFound, text));
    assert_eq!(cluster.move_to(1, "a"), Ok(0), "it is there already");
}

#[test]
fn a_check_changes_nothing_either() {
    let mut cluster = with_reservation(settings(queues()));
    let used = cluster.used();
    assert_eq!(cluster.order(move_command(1, "b", true)), Ok(0));
    assert_eq!(cluster.used(), used);
}

#[test]
fn a_queue_that_may_not_use_a_label_takes_nobody_who_does() {
    let mut tree = queues();
    share(&mut tree, "root.p", "x", 100.0);
    share(&mut tree, "root.p.a", "x", 100.0);
    let mut cluster = Cluster::new(labelled(tree, &[("x", true)]));
    let app = cluster.submit(1, "u", "a");
    cluster.ask_in(app, "x", 1, 1);
    let text = format!(
        "queue root.p.b may not use node label x, in which application {} has or wants containers",
        application(1)
    );
    assert_eq!(cluster.move_to(1, "b"), Err((RejectCode::WrongState, text)));
    cluster.ask_in(app, "x", 1, 0);
    assert_eq!(cluster.move_to(1, "b"), Ok(0));
}

#[test]
fn the_limits_of_the_new_queue_apply() {
    let mut tree = queues();
    let c = tree.find("root.c").unwrap() as usize;
    tree.queues[c].max_parallel_apps = 1;
    let mut cluster = Cluster::new(settings(tree));
    cluster.node(10);
    let (one, two) = (cluster.submit(1, "u", "c"), cluster.submit(2, "v", "a"));
    cluster.ask(one, 1, 1);
    cluster.ask(two, 1, 1);
    assert_eq!(cluster.schedule().len(), 2);
    assert_eq!(cluster.move_to(2, "c"), Ok(0));
    cluster.ask(two, 1, 3);
    assert_eq!(cluster.schedule().len(), 0, "one runs there already");
    assert_eq!(
        cluster.explain(2).application_reason.unwrap(),
        "not active: queue root.c runs 1 applications, at most 1 may run at once"
    );
    cluster.remove(1);
    assert_eq!(cluster.schedule().len(), 3);
    // And leaving makes room for the next.
    let three = cluster.submit(3, "w", "c");
    cluster.ask(three, 1, 1);
    assert_eq!(cluster.schedule().len(), 0);
    assert_eq!(cluster.move_to(2, "a"), Ok(0));
    assert_eq!(cluster.schedule().len(), 1);
}

#[test]
fn priorities_change_the_order() {
    let mut cluster = Cluster::new(settings(queues()));
    let (one, two) = (cluster.submit(1, "u", "a"), cluster.submit(2, "u", "a"));
    cluster.ask(one, 1, 2);
    cluster.ask(two, 1, 2);
    let command = |id: u32| SchedulerCommand::UpdatePriority {
        token: TOKEN,
        application_id: application(id),
        priority: 7,
    };
    assert_eq!(cluster.order(command(2)), Ok(7));
    assert_eq!(cluster.scheduler.priority(two), 7);
    cluster.node(2);
    assert!(cluster.schedule().iter().all(|grant| grant.attempt == two));
    assert_eq!(cluster.order(command(9)).unwrap_err().0, RejectCode::ApplicationNotFound);
}

//! The queues are replaced while applications run.

use heddle::engine::scheduler::message::{ApplicationEvent, Query, QueryReply};
use heddle::engine::scheduler::settings::{ApplicationOrder, QueueTree};
use heddle_wire::RejectCode;
use heddle_wire::application_client::GetQueueInfoResponse;
use heddle_wire::record::QueueState;

use crate::cluster::{Cluster, settings, tree};
use crate::steps::{labelled, share, stop};

fn two() -> QueueTree {
    tree(&[("root.a", 50.0, 100.0), ("root.b", 50.0, 50.0)])
}

impl Cluster {
    pub(crate) fn state_of(&mut self, queue: &str) -> QueueState {
        let info = self.queue_info(queue, false, false);
        info.queues[0].state
    }

    pub(crate) fn queue_info(
        &mut self,
        queue: &str,
        with_children: bool,
        is_recursive: bool,
    ) -> GetQueueInfoResponse {
        let query = Query::Queue { queue: queue.into(), with_children, is_recursive, start: 0, limit: 512 };
        match self.query(query) {
            QueryReply::Record(body) => heddle_wire::decode(&body).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_reason_is_named_and_nothing_changes() {
    let mut cluster = Cluster::new(settings(tree(&[
        ("root.a", 40.0, 100.0),
        ("root.b", 30.0, 100.0),
        ("root.c", 30.0, 100.0),
        ("root.c.x", 100.0, 100.0),
    ])));
    cluster.submit(1, "u", "a");
    cluster.submit(2, "u", "a");
    // a goes, b becomes a parent, c a leaf; and d is open below a queue that is not.
    let mut new = tree(&[
        ("root.b", 30.0, 100.0),
        ("root.b.y", 100.0, 100.0),
        ("root.c", 40.0, 100.0),
        ("root.d", 30.0, 100.0),
        ("root.d.z", 100.0, 100.0),
    ]);
    stop(&mut new, "root.d");
    let before = cluster.scheduler.queue_tree().clone();
    let (code, reasons) = cluster.replace(new).unwrap_err();
    assert_eq!(code, RejectCode::ConfigurationRefused);
    assert_eq!(
        reasons.lines().collect::<Vec<_>>(),
        [
            "queue root.d.z is RUNNING and its parent root.d is STOPPED: accepted is STOPPED",
            "queue root.a is RUNNING: it has to be STOPPED before it can be removed",
            "queue root.a has 2 applications: it has to be empty before it can be removed",
            "queue root.b is RUNNING: it has to be STOPPED before it can become a parent",
            "queue root.c is RUNNING: it has to be STOPPED before it can become a leaf",
            "queue root.c.x is RUNNING: it has to be STOPPED before it can be removed",
        ]
    );
    assert_eq!(cluster.scheduler.queue_tree(), &before);
    assert!(!cluster.told.iter().any(|event| matches!(event, ApplicationEvent::QueuesReplaced { .. })));
}

#[test]
fn a_stopped_queue_drains_then_goes() {
    let mut cluster = Cluster::new(settings(two()));
    cluster.node(100);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 4);
    cluster.schedule();
    let mut stopped = two();
    stop(&mut stopped, "root.a");
    assert_eq!(cluster.replace(stopped.clone()), Ok(3));
    let replaced = cluster
        .told
        .iter()
        .any(|event| matches!(event, ApplicationEvent::QueuesReplaced { queues } if **queues == stopped));
    assert!(replaced);
    assert_eq!(cluster.state_of("a"), QueueState::Draining);
    let refused = cluster.submit_only(2, "u", "a", 0).unwrap_err();
    assert!(refused.contains("Queue root.a is STOPPED"), "{refused}");
    // What is there goes on.
    cluster.ask(app, 1, 2);
    assert_eq!(cluster.schedule().len(), 2);
    cluster.remove(1);
    assert_eq!(cluster.state_of("a"), QueueState::Stopped);
    assert_eq!(cluster.replace(tree(&[("root.b", 100.0, 100.0)])), Ok(2));
    let _ = cluster.submit(3, "u", "b");
    assert!(cluster.submit_only(4, "u", "a", 0).unwrap_err().contains("unknown queue"));
}

#[test]
fn running_applications_stay_where_they_are_and_have_what_they_have() {
    let mut cluster = Cluster::new(settings(two()));
    cluster.node(100);
    let (a, b) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "b"));
    cluster.ask(a, 1, 10);
    cluster.ask(b, 1, 90);
    assert_eq!(cluster.schedule().len(), 60, "b is bounded by 50 %");
    // Every queue has another index, another share and other siblings now.
    let new = tree(&[
        ("root.new", 10.0, 100.0),
        ("root.new.x", 100.0, 100.0),
        ("root.b", 60.0, 80.0),
        ("root.a", 30.0, 100.0),
    ]);
    assert_eq!(cluster.replace(new), Ok(5));
    assert_eq!(cluster.schedule().len(), 30, "the bound is 80 now");
    assert_eq!((cluster.used_gb(a), cluster.used_gb(b)), (10, 80));
    let info = cluster.queue_info("root", true, true);
    let paths: Vec<_> = info.queues.iter().map(|queue| queue.queue_path.as_str()).collect();
    assert_eq!(paths, ["root", "root.new", "root.new.x", "root.b", "root.a"]);
    let used: Vec<_> = info.queues.iter().map(|queue| queue.statistics.allocated.memory_mb / 1_024).collect();
    assert_eq!(used, [90, 0, 0, 80, 10]);
    cluster.remove(2);
    let x = cluster.submit(3, "w", "x");
    cluster.ask(x, 1, 200);
    assert_eq!(cluster.schedule().len(), 90);
}

#[test]
fn a_leaf_that_is_stopped_and_empty_becomes_a_parent_and_back() {
    let mut stopped = two();
    stop(&mut stopped, "root.a");
    let mut cluster = Cluster::new(settings(stopped.clone()));
    cluster.node(10);
    let mut parent = tree(&[("root.a", 50.0, 100.0), ("root.a.x", 100.0, 100.0), ("root.b", 50.0, 50.0)]);
    assert_eq!(cluster.replace(parent.clone()), Ok(4));
    let app = cluster.submit(1, "u", "x");
    cluster.ask(app, 1, 3);
    assert_eq!(cluster.schedule().len(), 3);
    stop(&mut parent, "root.a");
    stop(&mut parent, "root.a.x");
    assert_eq!(cluster.replace(parent), Ok(4));
    let (_, reasons) = cluster.replace(stopped.clone()).unwrap_err();
    assert_eq!(
        reasons.lines().collect::<Vec<_>>(),
        [
            "queue root.a has 1 applications: it has to be empty before it can become a leaf",
            "queue root.a.x has 1 applications: it has to be empty before it can be removed",
        ]
    );
    cluster.remove(1);
    assert_eq!(cluster.replace(stopped), Ok(3));
}

#[test]
fn orders_limits_and_weights_are_those_of_the_new_settings() {
    let mut cluster = Cluster::new(settings(two()));
    let (one, two_) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    cluster.node(10);
    cluster.ask(one, 1, 5);
    cluster.schedule();
    cluster.ask(one, 1, 10);
    cluster.ask(two_, 1, 10);
    let mut new = two();
    let a = new.find("root.a").unwrap() as usize;
    new.queues[a].application_order = ApplicationOrder::Fair { size_based_weight: false };
    assert_eq!(cluster.replace(new), Ok(3));
    // By age the first would have all; by fairness the second has what the first had already.
    assert_eq!(cluster.schedule().len(), 5);
    assert_eq!((cluster.used_gb(one), cluster.used_gb(two_)), (5, 5));
    // A limit on applications in parallel, then none: those kept back run.
    let mut narrow = two();
    narrow.queues[a].max_parallel_apps = 2;
    cluster.replace(narrow).unwrap();
    let three = cluster.submit(3, "w", "a");
    cluster.ask(three, 1, 1);
    cluster.remove(1);
    cluster.submit(4, "w", "a");
    cluster.schedule();
    let reason = cluster.explain(4).application_reason.unwrap();
    assert_eq!(reason, "not active: queue root.a runs 2 applications, at most 2 may run at once");
    cluster.replace(two()).unwrap();
    assert_eq!(cluster.explain(4).application_reason, None);
    cluster.verify();
}

#[test]
fn labels_that_are_not_the_clusters_are_refused() {
    let mut cluster = Cluster::new(labelled(two(), &[("gpu", true)]));
    let mut new = two();
    share(&mut new, "root.a", "gpu", 100.0);
    share(&mut new, "root.b", "ssd", 100.0);
    let refused = cluster.replace(new.clone()).unwrap_err();
    let text = "queue root.b names node label ssd, which is not a label of the cluster: add it first";
    assert_eq!(refused, (RejectCode::ConfigurationRefused, text.to_owned()));
    cluster.add_labels(&[("ssd", false)]).unwrap();
    assert_eq!(cluster.replace(new), Ok(3));
}

#[test]
fn a_tree_that_is_none_is_refused() {
    let mut cluster = Cluster::new(settings(two()));
    let mut new = two();
    new.queues[2].parent = Some(1);
    new.queues[1].parent = Some(9);
    let (_, reasons) = cluster.replace(new).unwrap_err();
    assert_eq!(
        reasons,
        "queue root.a has no parent before it\nqueue root.b is below root.a, which is a leaf"
    );
    let (_, reasons) = cluster.replace(QueueTree { queues: Vec::new(), ..two() }).unwrap_err();
    assert!(reasons.starts_with("the first queue is not root"), "{reasons}");
    let mut twice = two();
    twice.queues[2].path = "root.a".into();
    let (_, reasons) = cluster.replace(twice).unwrap_err();
    assert!(reasons.starts_with("queue root.a is given twice"), "{reasons}");
}

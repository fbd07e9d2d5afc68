//! Node labels: E23.

use heddle::engine::scheduler::message::{AddApplication, ApplicationEvent, SchedulerCommand};
use heddle::engine::time::Duration;
use heddle_wire::record::NodeHandle;

use crate::cluster::{Cluster, application, settings, tree};

/// Four full nodes without a label, and one idle node of a label.
fn cluster(is_exclusive: bool) -> Cluster {
    let mut settings = settings(tree(&[("root.a", 100.0, 100.0)]));
    settings.node_labels.insert("x".into(), is_exclusive);
    settings.node_labels_enabled = true;
    settings.distributed_labels = true;
    let mut cluster = Cluster::new(settings);
    for row in 0..4 {
        cluster.register(NodeHandle::new(0, row, 1), "r0", 1, 10);
    }
    cluster.register_with(NodeHandle::new(0, 4, 1), "r0", 2, 10, &["x"]);
    cluster
}

/// YARN counts passed opportunities up to the number of nodes; here the wait is a time.
#[test]
fn e23_an_ask_without_label_uses_idle_nodes_of_a_shared_label_after_a_wait() {
    let mut cluster = cluster(false);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 6);
    assert_eq!(cluster.schedule().len(), 4);
    cluster.advance(Duration::from_millis(4_999));
    assert!(cluster.schedule().is_empty());
    cluster.advance(Duration::from_millis(1));
    let granted = cluster.schedule();
    assert_eq!(granted.len(), 2);
    assert!(granted.iter().all(|granted| granted.node == NodeHandle::new(0, 4, 1)));
    // What is lost before it was acquired is asked for in the default partition again.
    cluster.lose(NodeHandle::new(0, 4, 1));
    assert_eq!(cluster.scheduler.totals().pending_memory_mb, 2 * 1_024);
    cluster.register(NodeHandle::new(0, 5, 1), "r0", 2, 10);
    assert_eq!(cluster.schedule().len(), 2);
    cluster.remove(1);
    cluster.schedule();
    let totals = cluster.scheduler.totals();
    assert_eq!((totals.used_memory_mb, totals.pending_memory_mb), (0, 0));
}

#[test]
fn e23_an_exclusive_label_is_never_shared_and_an_am_container_never_a_guest() {
    let mut exclusive = cluster(true);
    let app = exclusive.submit(1, "u", "a");
    exclusive.ask(app, 1, 5);
    assert_eq!(exclusive.schedule().len(), 4);
    exclusive.advance(Duration::from_secs(3_600));
    assert!(exclusive.schedule().is_empty());

    let mut shared = cluster(false);
    shared.submit_with(1, "u", "a", 0, Some(2));
    shared.schedule();
    shared.advance(Duration::from_secs(3_600));
    shared.schedule();
    assert!(shared.am_containers().is_empty(), "2 GB are free on the labelled node only");
}

/// Story: an ask waited in a full default partition, an administrator added a shared label to the cluster and gave it an
/// idle node, and the ask never got it: it had become a guest of the labels there were, once.
#[test]
fn a_label_that_is_shared_later_is_offered_to_those_who_wait() {
    let mut settings = settings(tree(&[("root.a", 100.0, 100.0)]));
    settings.node_labels_enabled = true;
    settings.node_labels.insert("first".into(), false);
    let mut cluster = Cluster::new(settings);
    cluster.register(NodeHandle::new(0, 0, 1), "r0", 1, 10);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 5);
    assert_eq!(cluster.schedule().len(), 1);
    cluster.advance(Duration::from_secs(60));
    assert!(cluster.schedule().is_empty(), "a guest of an empty label");
    let label = |cluster: &mut Cluster, row: u32, label: &str| {
        cluster.register(NodeHandle::new(0, row, 1), "r0", 1, 10);
        let nodes = vec![(format!("n{row}").into(), 0, Some(label.into()))];
        // Before anything is placed there as a node without a label.
        cluster.command(SchedulerCommand::ReplaceLabelsOnNodes {
            token: 1,
            nodes,
            fail_on_unknown_nodes: true,
        });
    };
    // Added, shared.
    cluster.command(SchedulerCommand::AddNodeLabels { token: 1, labels: vec![("second".into(), false)] });
    label(&mut cluster, 1, "second");
    assert_eq!(cluster.schedule().len(), 1);
    // Exclusive, then shared: it may change while no node has it.
    cluster.command(SchedulerCommand::AddNodeLabels { token: 1, labels: vec![("third".into(), true)] });
    assert!(cluster.schedule().is_empty());
    cluster.command(SchedulerCommand::AddNodeLabels { token: 1, labels: vec![("third".into(), false)] });
    label(&mut cluster, 2, "third");
    assert_eq!(cluster.schedule().len(), 1);
    // Removed, and added again.
    cluster.command(SchedulerCommand::RemoveNodeLabels { token: 1, labels: vec!["first".into()] });
    cluster.command(SchedulerCommand::AddNodeLabels { token: 1, labels: vec![("first".into(), false)] });
    label(&mut cluster, 3, "first");
    assert_eq!(cluster.schedule().len(), 1);
    // Exclusive from now on: guests are not welcome any more.
    cluster.command(SchedulerCommand::AddNodeLabels { token: 1, labels: vec![("fourth".into(), false)] });
    cluster.command(SchedulerCommand::AddNodeLabels { token: 1, labels: vec![("fourth".into(), true)] });
    label(&mut cluster, 4, "fourth");
    assert!(cluster.schedule().is_empty());
    cluster.remove(1);
    cluster.schedule();
}

/// Story: an application that asked for its AM container in a label the cluster does not have was accepted, and the container
/// came without a word in the default partition.
#[test]
fn an_am_container_in_a_label_that_is_none_is_refused() {
    let mut queues = tree(&[("root.a", 50.0, 100.0), ("root.b", 50.0, 100.0)]);
    queues.queues[1].accessible_node_labels = None;
    let mut settings = settings(queues);
    settings.node_labels.insert("x".into(), true);
    settings.node_labels_enabled = true;
    let mut cluster = Cluster::new(settings);
    let submit_to = |cluster: &mut Cluster, queue: &str, id: u32, label: Option<&str>| {
        let add = AddApplication {
            application_id: application(id),
            user: "u".into(),
            queue: queue.into(),
            priority: 0,
            node_label_expression: None,
            submit_time_ms: 1,
            am_node_label: label.map(Into::into),
        };
        cluster.command(SchedulerCommand::AddApplication(Box::new(add)));
        match cluster.told.last() {
            Some(ApplicationEvent::Accepted { .. }) => None,
            Some(ApplicationEvent::Rejected { reason, .. }) => Some(reason.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let submit = |cluster: &mut Cluster, id, label| submit_to(cluster, "a", id, label);
    for (id, label) in [(1, None), (2, Some("")), (3, Some("x"))] {
        assert_eq!(submit(&mut cluster, id, label), None);
    }
    let reason = submit(&mut cluster, 4, Some("gone")).unwrap();
    assert!(
        reason.contains("node label \"gone\", accepted is a label of the cluster that queue root.a may use"),
        "{reason}"
    );
    assert!(submit_to(&mut cluster, "b", 7, Some("x")).is_some(), "it may not use it");
    // Nor one that goes before it is taken.
    cluster.command(SchedulerCommand::RemoveNodeLabels { token: 1, labels: vec!["x".into()] });
    assert!(submit(&mut cluster, 5, Some("x")).is_some());
    assert_eq!(submit(&mut cluster, 6, Some("")), None);
}

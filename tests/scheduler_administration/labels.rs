//! Node labels: which there are, which node has which, and what moves with a node.

use heddle::engine::event::NodeEvent;
use heddle::engine::event::Resource;
use heddle::engine::scheduler::face::{Ask, Place, ResourceScheduler, SchedulerKey};
use heddle::engine::scheduler::message::{
    AddAttempt, AmAsk, ApplicationEvent, Attempt, Query, QueryReply, SchedulerCommand,
};
use heddle::engine::scheduler::settings::{QueueTree, SchedulerSettings};
use heddle_wire::RejectCode;
use heddle_wire::record::PendingReason;

use crate::cluster::{Cluster, attempt_id, settings, size, tree};
use crate::steps::{labelled, share};

/// Queue a may use x; b may not.
fn queues() -> QueueTree {
    let mut tree = tree(&[("root.a", 50.0, 100.0), ("root.b", 50.0, 100.0)]);
    share(&mut tree, "root.a", "x", 100.0);
    tree
}

fn cluster() -> Cluster {
    Cluster::new(labelled(queues(), &[("x", true)]))
}

impl Cluster {
    pub(crate) fn ask_in(&mut self, attempt: Attempt, label: &str, gb: u64, count: u32) {
        let key = SchedulerKey { priority: 0, allocation_request_id: -1 };
        let node_label = Some(label);
        let capability = size(gb, 1);
        let ask = Ask { key, place: Place::Any, capability, count, relax_locality: true, node_label };
        self.scheduler.check_ask(attempt, &ask).unwrap();
        self.scheduler.update_ask(self.now, attempt, &ask);
    }

    fn labels(&mut self) -> Vec<(Box<str>, bool)> {
        match self.query(Query::ClusterNodeLabels) {
            QueryReply::NodeLabels(labels) => labels,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn nodes_to_labels(&mut self) -> Vec<(Box<str>, u16, Box<str>)> {
        match self.query(Query::NodesToLabels) {
            QueryReply::NodesToLabels(nodes) => nodes,
            other => panic!("{other:?}"),
        }
    }

    /// GB a queue uses, by partition.
    fn used_of(&mut self, queue: &str) -> Vec<(String, u64)> {
        let info = self.queue_info(queue, false, false);
        let of = info.queues[0].configurations.iter();
        of.map(|it| (it.partition_name.clone(), it.used.memory_mb / 1_024)).collect()
    }
}

#[test]
fn a_node_moves_with_its_containers() {
    let mut cluster = cluster();
    cluster.node(10);
    cluster.node(10);
    let app = cluster.submit_with(1, "u", "a", 0, Some(2));
    assert_eq!(cluster.schedule().len(), 0, "the AM container is no grant");
    cluster.ask(app, 1, 12);
    assert_eq!(cluster.schedule().len(), 12);
    assert_eq!(cluster.used_of("a"), [("".into(), 14), ("x".into(), 0)]);
    let on_first = 2 + cluster.grants.iter().filter(|grant| grant.node.row() == 0).count() as u64;
    assert_eq!(cluster.label(&[("n0", 8_041, Some("x"))], true), Ok(1));
    assert_eq!(cluster.used_of("a"), [("".into(), 14 - on_first), ("x".into(), on_first)]);
    assert_eq!(cluster.nodes_to_labels(), [("n0".into(), 8_041, "x".into())]);
    // Room there is for those who ask for it.
    cluster.ask(app, 1, 20);
    let granted = cluster.schedule();
    assert!(granted.iter().all(|grant| grant.node.row() == 1));
    cluster.ask_in(app, "x", 1, 20);
    assert!(cluster.schedule().iter().all(|grant| grant.node.row() == 0));
    // Back, and all of it ends well.
    assert_eq!(cluster.label(&[("n0", 0, None)], true), Ok(1));
    assert_eq!(cluster.used_of("a"), [("".into(), 20), ("x".into(), 0)]);
    cluster.remove(1);
    cluster.verify();
    assert_eq!(cluster.used_of("a"), [("".into(), 0), ("x".into(), 0)]);
}

#[test]
fn the_reservation_on_a_node_that_moves_is_given_up() {
    let mut cluster = cluster();
    cluster.node(10);
    cluster.node(10);
    let (big, small) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    cluster.ask(small, 6, 2);
    cluster.schedule();
    cluster.ask(big, 8, 1);
    cluster.ask(small, 6, 1);
    cluster.schedule();
    assert_eq!(cluster.scheduler.totals().reserved_containers, 1);
    assert_eq!(cluster.label(&[("n0", 8_041, Some("x")), ("n1", 0, Some("x"))], true), Ok(2));
    assert_eq!(cluster.scheduler.totals().reserved_containers, 0);
    assert_eq!(cluster.scheduler.totals().reserved_memory_mb, 0);
}

#[test]
fn a_label_is_kept_over_registrations_also_of_nodes_that_are_not_there() {
    let mut cluster = cluster();
    assert_eq!(cluster.label(&[("n0", 8_041, Some("x")), ("n1", 0, Some("x"))], false), Ok(0));
    let node = cluster.node(10);
    cluster.node(10);
    cluster.node(10);
    let named = |names: &[&str]| -> Vec<(Box<str>, u16, Box<str>)> {
        names.iter().map(|name| ((*name).into(), 8_041, "x".into())).collect()
    };
    assert_eq!(cluster.nodes_to_labels(), named(&["n0", "n1"]));
    cluster.lose(node);
    assert_eq!(cluster.nodes_to_labels(), named(&["n1"]));
    cluster.register(node, "r0", 10, 10);
    assert_eq!(cluster.nodes_to_labels(), named(&["n0", "n1"]));
    // One node of a host is none of it.
    cluster.label(&[("n1", 8_041, None)], true).unwrap();
    assert_eq!(cluster.nodes_to_labels(), named(&["n0"]));
}

#[test]
fn nodes_say_their_labels_themselves_where_that_is_set() {
    let settings = SchedulerSettings { distributed_labels: true, ..labelled(queues(), &[("x", true)]) };
    let mut cluster = Cluster::new(settings);
    let node = cluster.node(10);
    let says = |label: &[&str]| NodeEvent {
        node_labels: Some(label.iter().map(|label| (*label).into()).collect()),
        ..NodeEvent::new(node)
    };
    cluster.event(says(&["x"]));
    assert_eq!(cluster.nodes_to_labels().len(), 1);
    cluster.event(says(&["unknown"]));
    assert_eq!(cluster.nodes_to_labels().len(), 1, "what is not known is ignored");
    cluster.event(says(&[]));
    assert_eq!(cluster.nodes_to_labels().len(), 0);
    let refused = cluster.label(&[("n0", 0, Some("x"))], true).unwrap_err();
    let text = "nodes report their labels themselves (yarn.node-labels.configuration-type is distributed)";
    assert_eq!(refused, (RejectCode::WrongState, text.to_owned()));
}

#[test]
fn wrong_labels_and_nodes_are_all_named() {
    let mut cluster = cluster();
    cluster.node(10);
    let refused = cluster.label(&[("n0", 0, Some("y")), ("n9", 0, Some("x")), ("n8", 1, None)], true);
    let text = "node label \"y\" of node n0 is not a label of the cluster\nnode n9 is not known\nnode n8:1 is not known";
    assert_eq!(refused, Err((RejectCode::NotFound, text.to_owned())));
    assert!(cluster.nodes_to_labels().is_empty(), "nothing of it was done");
    let refused = cluster.add_labels(&[("ok", true), ("a b", true), ("", false)]).unwrap_err();
    assert_eq!(refused.0, RejectCode::BadField);
    let accepted = "accepted are letters, digits, - and _, a letter or digit first, at most 255";
    assert_eq!(refused.1, format!("node label is \"a b\", {accepted}\nnode label is \"\", {accepted}"));
    assert_eq!(cluster.labels(), [("x".into(), true)]);
    let mut disabled = Cluster::new(settings(queues()));
    let text = "node labels are disabled: yarn.node-labels.enabled is false";
    assert_eq!(disabled.add_labels(&[("x", true)]), Err((RejectCode::WrongState, text.to_owned())));
    assert_eq!(disabled.remove_labels(&["x"]), Err((RejectCode::WrongState, text.to_owned())));
    assert_eq!(disabled.label(&[], true), Err((RejectCode::WrongState, text.to_owned())));
}

#[test]
fn exclusive_or_not_changes_while_no_node_has_the_label() {
    let mut cluster = cluster();
    assert_eq!(cluster.add_labels(&[("x", false), ("y", true)]), Ok(1));
    assert_eq!(cluster.labels(), [("x".into(), false), ("y".into(), true)]);
    cluster.node(10);
    cluster.label(&[("n0", 0, Some("x"))], true).unwrap();
    assert_eq!(cluster.add_labels(&[("x", false)]), Ok(0), "as it is");
    let text = "node label x is not exclusive and 1 nodes have it: that may change while no node has it";
    assert_eq!(cluster.add_labels(&[("x", true)]), Err((RejectCode::WrongState, text.to_owned())));
}

#[test]
fn a_label_in_use_by_a_queue_stays_and_one_that_goes_leaves_its_nodes_to_all() {
    let mut cluster = cluster();
    cluster.add_labels(&[("y", true)]).unwrap();
    cluster.node(10);
    cluster.label(&[("n0", 0, Some("y"))], true).unwrap();
    let refused = cluster.remove_labels(&["x", "y", "z"]).unwrap_err();
    assert_eq!(
        refused.1,
        "node label x is used by queue root.a: take it out there first\nnode label \"z\" is not a label of the cluster"
    );
    assert_eq!(cluster.nodes_to_labels().len(), 1);
    assert_eq!(cluster.remove_labels(&["y"]), Ok(1));
    assert_eq!((cluster.labels(), cluster.nodes_to_labels()), (vec![("x".into(), true)], vec![]));
    let app = cluster.submit(1, "u", "b");
    cluster.ask(app, 1, 10);
    assert_eq!(cluster.schedule().len(), 10);
}

#[test]
fn what_was_asked_in_a_label_that_went_waits_for_it_and_for_no_other() {
    let mut tree = queues();
    let a = tree.find("root.a").unwrap() as usize;
    tree.queues[a].accessible_node_labels = None;
    let mut cluster = Cluster::new(labelled(tree.clone(), &[("x", true)]));
    cluster.node(10);
    let app = cluster.submit(1, "u", "a");
    cluster.ask_in(app, "x", 1, 3);
    tree.queues[a].capacities.remove("x");
    cluster.replace(tree).unwrap();
    cluster.remove_labels(&["x"]).unwrap();
    let explained = cluster.explain(1);
    assert_eq!(explained.pending[0].reason, PendingReason::LabelNotAccessible);
    assert_eq!(explained.pending[0].text, "node label x was removed from the cluster");
    cluster.add_labels(&[("y", true)]).unwrap();
    cluster.label(&[("n0", 0, Some("y"))], true).unwrap();
    assert_eq!(cluster.schedule().len(), 0, "y is not x, whatever row of a table it has");
    cluster.add_labels(&[("x", true)]).unwrap();
    cluster.label(&[("n0", 0, Some("x"))], true).unwrap();
    assert_eq!(cluster.schedule().len(), 3);
}

/// An application asked for its AM container with a label that was removed while its first attempt ran: the next one ran
/// anywhere, on nodes it was to be kept from, and nobody was told.
#[test]
fn an_attempt_for_a_label_that_went_is_rejected_by_name() {
    let mut tree = queues();
    let a = tree.find("root.a").unwrap() as usize;
    tree.queues[a].accessible_node_labels = None;
    tree.queues[a].capacities.remove("x");
    let mut cluster = Cluster::new(labelled(tree, &[("x", true)]));
    cluster.node(10);
    cluster.submit_only(1, "u", "a", 0).unwrap();
    let add = |number| {
        SchedulerCommand::AddAttempt(Box::new(AddAttempt {
            attempt_id: attempt_id(1, number),
            am: Some(AmAsk {
                capability: Resource { memory_mb: 1_024, virtual_cores: 1, ..Resource::default() },
                node_label: "x".into(),
                localities: Vec::new(),
                relax_locality: true,
                blacklist: Vec::new(),
            }),
            transfer_from_previous: false,
            keep_containers: false,
            acls: Vec::new(),
        }))
    };
    let remove = |number| SchedulerCommand::RemoveAttempt {
        attempt_id: attempt_id(1, number),
        keep_containers: false,
        stop_am_container: true,
    };
    cluster.command(add(1));
    assert!(matches!(cluster.told.last(), Some(ApplicationEvent::AttemptAdded { .. })), "{:?}", cluster.told);
    cluster.command(remove(1));
    cluster.remove_labels(&["x"]).unwrap();
    cluster.command(add(2));
    let Some(ApplicationEvent::AttemptRejected { attempt_id: rejected, reason }) = cluster.told.last() else {
        panic!("{:?}", cluster.told);
    };
    assert_eq!(*rejected, attempt_id(1, 2));
    assert!(reason.contains("node label \"x\", which is not a label of the cluster"), "{reason}");
    assert_eq!(cluster.schedule().len(), 0);
    // It is not there to be removed, and that is said all the same: who sent it waits for that.
    cluster.command(remove(2));
    assert!(
        matches!(cluster.told.last(), Some(ApplicationEvent::AttemptRemoved { .. })),
        "{:?}",
        cluster.told
    );
    cluster.add_labels(&[("x", true)]).unwrap();
    cluster.command(add(3));
    assert!(matches!(cluster.told.last(), Some(ApplicationEvent::AttemptAdded { .. })), "{:?}", cluster.told);
    cluster.verify();
}

#[test]
fn labels_that_come_and_go_leave_nothing_behind() {
    let mut cluster = cluster();
    for round in 0..3_000 {
        let label = format!("l{round}");
        cluster.add_labels(&[(&label, true)]).unwrap();
        cluster.remove_labels(&[&label]).unwrap();
    }
    let many: Vec<String> = (0..1_024).map(|number| format!("m{number}")).collect();
    let many: Vec<(&str, bool)> = many.iter().map(|label| (label.as_str(), true)).collect();
    let text = "1024 new node labels beside 1 are more than 1024";
    assert_eq!(cluster.add_labels(&many), Err((RejectCode::BadField, text.to_owned())));
    assert_eq!(cluster.add_labels(&many[1..]), Ok(1_023));
}

//! Registration and un-registration: checks in order, and what an accepted one does.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use super::*;

// ---- Registration: checks, in order ----

#[test]
fn register_check_1_minimum_version() {
    let mut engine = Engine::with(|settings| settings.minimum.nm_version = Some("3.4.0".into()));
    let mut old = NodeBuilder::new("old").registering(|it| it.nm_version = "3.3.6".to_owned()).build();
    let answer = engine.register(&mut old);
    assert_eq!(answer.node_action, NodeAction::Shutdown);
    assert!(answer.diagnostics.contains("3.3.6"), "{}", answer.diagnostics);
    let mut silent = NodeBuilder::new("silent").registering(|it| it.nm_version = String::new()).build();
    assert_eq!(engine.register(&mut silent).node_action, NodeAction::Shutdown, "missing fails too");
    assert_eq!(engine.register(&mut node("new")).node_action, NodeAction::Normal);
}

#[test]
fn register_check_3_include_and_exclude_lists() {
    let mut engine = Engine::with(|settings| settings.lists = lists(&["a", "b"], &["b"]));
    assert_eq!(engine.register(&mut node("a")).node_action, NodeAction::Normal);
    for host in ["b", "c"] {
        let answer = engine.register(&mut node(host));
        assert_eq!(answer.node_action, NodeAction::Shutdown, "{host}");
        assert!(answer.diagnostics.starts_with("Disallowed NodeManager"), "{}", answer.diagnostics);
    }
}

#[test]
fn register_check_3_exempts_a_decommissioning_node() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    set_lists(&mut engine, lists(&[], &["a"]), DecommissionMode::Graceful(None));
    assert_eq!(engine.state("a"), NodeState::Decommissioning);
    a.register.running_applications = vec![application(1)];
    a.register.container_statuses = vec![nm_status(container(1, 1), ContainerState::Running)];
    assert_eq!(engine.register(&mut a).node_action, NodeAction::Normal);
    assert_eq!(engine.state("a"), NodeState::Decommissioning);
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Normal);
}

#[test]
fn register_check_5_minimum_allocation() {
    let mut engine = Engine::new();
    for capability in [Resource::new(1_023, 8), Resource::new(8_192, 0)] {
        let mut small = NodeBuilder::new("small").registering(|it| it.capability = capability).build();
        let answer = engine.register(&mut small);
        assert_eq!(answer.node_action, NodeAction::Shutdown);
        assert!(answer.diagnostics.contains("doesn't satisfy minimum allocations"), "{}", answer.diagnostics);
    }
    assert_eq!(engine.shard.counters().registrations_refused, 2);
    assert_eq!(engine.nodes(), []);
}

#[test]
fn register_checks_are_made_in_yarns_order() {
    let mut engine = Engine::with(|settings| {
        settings.minimum.nm_version = Some("4".into());
        settings.lists = lists(&[], &["a"]);
    });
    let mut a = NodeBuilder::new("a").registering(|it| it.capability = Resource::new(1, 0)).build();
    assert!(engine.register(&mut a).diagnostics.contains("version"));
    a.register.nm_version = "4.0.0".to_owned();
    assert!(engine.register(&mut a).diagnostics.contains("lists"));
    set_lists(&mut engine, lists(&[], &[]), DecommissionMode::Normal);
    assert!(engine.register(&mut a).diagnostics.contains("minimum"));
}

#[test]
fn a_rejection_carries_only_action_and_diagnostics() {
    let mut engine = Engine::with(|settings| {
        settings.lists = lists(&[], &["a"]);
        settings.container_token_keys.current = Some((1, Box::new([1; 16])));
    });
    let answer = engine.register(&mut node("a"));
    assert_eq!((answer.rm_identifier, answer.node_handle), (0, NodeHandle(0)));
    assert!(answer.rm_version.is_empty() && answer.container_token_master_key.is_none());
}

#[test]
fn a_full_table_refuses_and_reuses_the_oldest_inactive_row() {
    let mut engine = Engine::with(|settings| settings.nodes_max = 2);
    let (mut a, mut b, mut c) = (node("a"), node("b"), node("c"));
    engine.join(&mut a);
    engine.join(&mut b);
    assert_eq!(engine.register(&mut c).node_action, NodeAction::Shutdown);
    unregister(&mut engine, &a);
    assert_eq!(engine.nodes().len(), 2);
    engine.join(&mut c);
    let mut hosts: Vec<_> = engine.nodes().into_iter().map(|node| node.node_id.host).collect();
    hosts.sort();
    assert_eq!(hosts, ["b", "c"]);
    assert_eq!(
        engine.beat_raw(&a).heartbeat().node_action,
        NodeAction::Resync,
        "its handle died with the row"
    );
    assert_eq!(engine.beat(&mut b).node_action, NodeAction::Normal);
}

// ---- Registration: effect ----

#[test]
fn register_answers_with_handle_keys_identifier_lease_and_phase() {
    let mut engine = Engine::with(|settings| {
        settings.container_token_keys.current = Some((7, Box::new([1; 16])));
        settings.nm_token_keys.current = Some((8, Box::new([2; 16])));
    });
    let answer = engine.register(&mut node("a"));
    assert_eq!(answer.rm_identifier, 1_700_000_000_000);
    assert_eq!(answer.container_token_master_key.unwrap().key_id, 7);
    assert_eq!(answer.nm_token_master_key.unwrap().key_id, 8);
    assert_eq!((answer.heartbeat_interval_ms, answer.lease_ms), (1_000, 600_000));
    assert!((1..=1_000).contains(&answer.next_heartbeat_ms) && answer.phase_ms < 1_000);
    let first = (engine.now.as_millis() + u64::from(answer.next_heartbeat_ms)) % 1_000;
    assert_eq!(first, u64::from(answer.phase_ms), "the first beat is at the phase");
}

#[test]
fn register_absent_is_added_with_its_containers() {
    let mut engine = Engine::new();
    let running = container(1, 1);
    let done = container(1, 2);
    let mut a = NodeBuilder::new("a")
        .registering(|it| {
            it.container_statuses =
                vec![nm_status(running, ContainerState::Running), nm_status(done, ContainerState::Complete)];
            it.running_applications = vec![application(1)];
        })
        .build();
    a.beat.containers_digest.add(&running);
    engine.register(&mut a);
    let event = engine.event();
    let added = event.added.unwrap();
    assert_eq!((&*added.host, added.port, &*added.rack_name), ("a", 45_454, "/rack-1"));
    assert_eq!(event.usability, Some(Usability::Usable));
    assert_eq!(event.capability.unwrap().memory_mb, 8_192);
    assert_eq!(ids(&event.launched), [running]);
    assert_eq!(ids(&event.completed), [done]);
    assert!(!engine.beat(&mut a).is_full_report_requested, "both sides agree from the first beat");
}

#[test]
fn register_unhealthy_starts_unhealthy() {
    let mut engine = Engine::new();
    let status = NodeHealthStatus {
        is_node_healthy: false,
        last_health_report_time_ms: 5,
        health_report: "1/1 local-dirs are bad".to_owned(),
    };
    let mut a = NodeBuilder::new("a").registering(|it| it.node_status = Some(status)).build();
    engine.register(&mut a);
    let report = engine.node("a");
    assert_eq!(
        (report.state, report.health_report.as_str()),
        (NodeState::Unhealthy, "1/1 local-dirs are bad")
    );
    assert_eq!(engine.event().usability, Some(Usability::Unhealthy));
}

#[test]
fn register_returning_from_lost_does_not_hand_over_its_containers() {
    let (mut engine, mut a) = Engine::with_node("a");
    let survivor = container(1, 1);
    a.launch(survivor);
    engine.beat(&mut a);
    engine.events();
    engine.pass(Duration::from_secs(605));
    assert_eq!(engine.state("a"), NodeState::Lost);
    assert_eq!(engine.event().removed.unwrap().reason, RemovedReason::Lost);
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Resync, "a LOST node is not in the live table");

    a.register.container_statuses = vec![nm_status(survivor, ContainerState::Running)];
    engine.register(&mut a);
    let event = engine.event();
    assert!(event.added.is_some() && event.launched.is_empty());
    assert_eq!((engine.count(NodeState::Lost), engine.count(NodeState::Running)), (0, 1));
    assert!(engine.beat(&mut a).is_full_report_requested, "the digest gives the survivor away");
    a.beat.is_full_report = true;
    a.beat.container_statuses = vec![status(survivor, ContainerState::Running)];
    engine.beat(&mut a);
    assert_eq!(ids(&engine.event().launched), [survivor], "unknown to the scheduler, which cleans it up");
}

#[test]
fn register_present_without_applications_and_other_http_port_replaces_the_record() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    let old = a.handle();
    a.register.http_port = 8_043;
    a.beat.containers_digest = ContainersDigest::default();
    engine.join(&mut a);
    let event = engine.event();
    assert_eq!(event.removed, Some(NodeRemoved { node: old, reason: RemovedReason::Reconnected }));
    assert_eq!(event.added.unwrap().http_port, 8_043);
    assert_eq!(engine.node("a").running_containers, 0);
    assert_eq!(engine.nodes().len(), 1);
}

#[test]
fn register_present_without_applications_is_removed_and_added_again() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    let old = a.handle();
    a.register.capability = Resource::new(4_096, 4);
    a.beat.containers_digest = ContainersDigest::default();
    engine.join(&mut a);
    assert_ne!(a.handle(), old);
    let event = engine.event();
    assert_eq!((event.node, event.removed.unwrap().node), (a.handle(), old));
    assert!(event.added.is_some());
    assert_eq!(event.capability.unwrap().memory_mb, 4_096, "a changed capability is always adopted");
    assert_eq!(engine.shard.counters().running_containers, 0);
}

#[test]
fn register_present_with_applications_keeps_containers_and_adopts_capability_and_port() {
    let (mut engine, mut a) = Engine::with_node("a");
    let (kept, gone, new) = (container(1, 1), container(1, 2), container(1, 3));
    a.launch(kept);
    a.launch(gone);
    engine.beat(&mut a);
    engine.events();
    a.register.running_applications = vec![application(1)];
    a.register.http_port = 9_999;
    a.register.capability = Resource::new(4_096, 4);
    a.register.container_statuses =
        vec![nm_status(kept, ContainerState::Running), nm_status(new, ContainerState::Running)];
    a.beat.containers_digest.remove(&gone);
    a.beat.containers_digest.add(&new);
    engine.register(&mut a);
    let event = engine.event();
    assert_eq!((event.node, event.removed, event.added), (a.handle(), None, None));
    assert_eq!(event.capability.unwrap().memory_mb, 4_096);
    assert_eq!(ids(&event.launched), [new]);
    assert_eq!(ids(&event.completed), [gone], "running but not reported");
    assert_eq!(engine.node("a").http_port, 9_999);
    assert!(!engine.beat(&mut a).is_full_report_requested);
}

/// A node joined and reconnected with another capability before the scheduler had polled once. The event said the
/// first capability only, because a change was told for nodes the scheduler knew already. Found by the folding property.
#[test]
fn a_capability_changed_before_the_first_poll_is_in_the_event() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.register(&mut a);
    a.register.running_applications = vec![application(1)];
    a.register.capability = Resource::new(2_048, 4);
    engine.register(&mut a);
    let event = engine.event();
    assert!(event.added.is_some());
    assert_eq!((event.node, event.capability.unwrap().memory_mb), (a.handle(), 2_048));
}

#[test]
fn register_present_decommissioning_without_applications_is_decommissioned() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    decommission(&mut engine, "a", DecommissionType::Graceful, None);
    // The web port has changed too: YARN would take the node for a new one here.
    a.register.http_port = 1;
    engine.register(&mut a);
    assert_eq!(engine.state("a"), NodeState::Decommissioned);
    assert_eq!(engine.beat_raw(&a).heartbeat().node_action, NodeAction::Shutdown);
}

#[test]
fn register_with_another_port_is_another_node() {
    let (mut engine, _) = Engine::with_node("a");
    let mut other = NodeBuilder::new("a").registering(|it| it.node_id.port = 1_234).build();
    engine.join(&mut other);
    assert_eq!(engine.count(NodeState::Running), 2);
    engine.pass_beating(Duration::from_secs(610), core::slice::from_mut(&mut other));
    assert_eq!((engine.count(NodeState::Running), engine.count(NodeState::Lost)), (1, 1));
}

#[test]
fn register_makes_the_handle_before_it_dead() {
    let (mut engine, mut a) = Engine::with_node("a");
    let before = a.clone();
    engine.join(&mut a);
    assert_eq!(engine.beat_raw(&before).heartbeat().node_action, NodeAction::Resync);
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Normal, "and the new one is not harmed");
}

#[test]
fn register_labels_and_attributes_are_validated_and_replaced() {
    let mut engine = Engine::new();
    let label = |name: &str| NodeLabel { name: name.to_owned(), is_exclusive: true };
    let attribute = |prefix: &str, name: &str| NodeAttribute {
        prefix: prefix.to_owned(),
        name: name.to_owned(),
        value: "1".to_owned(),
    };
    let mut a = NodeBuilder::new("a")
        .registering(|it| {
            it.node_labels = Some(vec![label("gpu")]);
            it.node_attributes = Some(vec![attribute("nm.yarn.io", "os")]);
        })
        .build();
    let answer = engine.register(&mut a);
    assert!(answer.are_node_labels_accepted && answer.are_node_attributes_accepted);
    assert_eq!(engine.event().added.unwrap().node_labels, Box::from([Box::from("gpu")]));
    a.details().node_labels = Some(vec![label("-bad")]);
    a.details().node_attributes = Some(vec![attribute("rm.yarn.io", "os")]);
    let answer = engine.beat(&mut a);
    assert!(!answer.are_node_labels_accepted && !answer.are_node_attributes_accepted);
    let diagnostics = answer.updates.unwrap().diagnostics;
    assert!(diagnostics.contains("-bad") && diagnostics.contains("rm.yarn.io"), "{diagnostics}");
    let report = engine.node("a");
    assert_eq!(
        (report.node_labels, report.node_attributes.len()),
        (vec!["gpu".to_owned()], 1),
        "kept as it was"
    );
    a.details().node_labels = Some(Vec::new());
    assert!(engine.beat(&mut a).are_node_labels_accepted);
    assert_eq!(engine.node("a").node_labels, [""; 0], "set and empty removes all");
}

#[test]
fn labels_are_refused_where_they_are_set_centrally() {
    let mut engine = Engine::with(|settings| settings.distributed_labels = false);
    let labels = Some(vec![NodeLabel { name: "gpu".to_owned(), is_exclusive: false }]);
    let mut a = NodeBuilder::new("a").registering(|it| it.node_labels = labels).build();
    let answer = engine.register(&mut a);
    assert_eq!((answer.node_action, answer.are_node_labels_accepted), (NodeAction::Normal, false));
    assert!(answer.diagnostics.contains("centrally"));
}

// ---- Un-registration ----

#[test]
fn unregister_shuts_the_node_down() {
    let (mut engine, a) = Engine::with_node("a");
    engine.events();
    assert!(unregister(&mut engine, &a));
    assert_eq!(engine.state("a"), NodeState::Shutdown);
    assert_eq!(engine.event().removed.unwrap().reason, RemovedReason::Shutdown);
    assert_eq!(engine.beat_raw(&a).heartbeat().node_action, NodeAction::Resync);
}

#[test]
fn unregister_of_an_unknown_node_is_an_empty_success() {
    let mut engine = Engine::new();
    let mut ghost = node("ghost");
    ghost.beat.node_handle = NodeHandle::new(0, 3, 1);
    assert!(!unregister(&mut engine, &ghost));
}

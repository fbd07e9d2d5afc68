//! YARN's ResourceTracker behaviour, clause by clause, at the level of frames: bytes in, bytes out, virtual time.
//! Owns: one test per clause, named after it. Sources: YARN's ResourceTrackerService, RMNodeImpl, NMLivelinessMonitor,
//! NodesListManager, DecommissioningNodesWatcher. Does not: test wire formats (`heddle-wire`) or sockets (`tests/e2e.rs`).

mod common;

use core::time::Duration;

use common::*;
use heddle::engine::batch::{PeerId, StreamRef};
use heddle::engine::event::{
    CommandReply, ContainerReport, DecommissionMode, KeyPair, NodeCommand, NodeOrder, NodeRemoved,
    RemovedReason, ShardCommand, Usability,
};
use heddle::engine::settings::*;
use heddle_wire::administration::*;
use heddle_wire::record::*;
use heddle_wire::resource_tracker::*;
use heddle_wire::{RejectCode, decode};

const SECOND: Duration = Duration::from_secs(1);

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
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
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
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
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
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
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
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
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
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
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
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
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
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    let mut other = NodeBuilder::new("a").registering(|it| it.node_id.port = 1_234).build();
    engine.join(&mut other);
    assert_eq!(engine.count(NodeState::Running), 2);
    engine.pass_beating(Duration::from_secs(610), core::slice::from_mut(&mut other));
    assert_eq!((engine.count(NodeState::Running), engine.count(NodeState::Lost)), (1, 1));
}

#[test]
fn register_makes_the_handle_before_it_dead() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
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

// ---- Heartbeat: processing order ----

#[test]
fn heartbeat_1_of_a_node_that_is_not_valid_is_shut_down() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    set_lists(&mut engine, lists(&[], &["a"]), DecommissionMode::Normal);
    assert_eq!(engine.state("a"), NodeState::Decommissioned);
    let answer = engine.beat(&mut a);
    assert_eq!((answer.node_action, answer.response_id), (NodeAction::Shutdown, 0));
    assert!(answer.updates.unwrap().diagnostics.contains("Disallowed"));
}

#[test]
fn heartbeat_2_of_an_unknown_node_is_resynced_with_a_slot() {
    let mut engine = Engine::with(|settings| settings.resync_per_second = 10);
    let mut ghost = node("ghost");
    ghost.beat.node_handle = NodeHandle::new(0, 17, 3);
    let delays: Vec<u32> = (0..3).map(|_| engine.beat_raw(&ghost).heartbeat().next_heartbeat_ms).collect();
    assert_eq!(delays, [0, 100, 200], "spread by the rate");
    let answer = engine.beat_raw(&ghost).heartbeat();
    assert_eq!((answer.node_action, answer.response_id), (NodeAction::Resync, 0));
    assert!(answer.updates.unwrap().diagnostics.contains("not found"));
}

#[test]
fn heartbeat_3_pings_even_when_it_is_a_duplicate() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    let duplicate = TestNode { beat: NodeHeartbeatRequest { response_id: 0, ..a.beat.clone() }, ..a.clone() };
    for _ in 0..700 {
        engine.pass(SECOND);
        assert_eq!(engine.beat_raw(&duplicate).heartbeat().response_id, 1);
    }
    assert_eq!(engine.state("a"), NodeState::Running);
}

#[test]
fn heartbeat_6_of_a_drained_node_is_answered_shutdown_at_once() {
    let mut engine = Engine::with(|settings| settings.decommission_ignores_applications = true);
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    decommission(&mut engine, "a", DecommissionType::Graceful, None);
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Normal);
    a.complete(container(1, 1));
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Shutdown);
    assert_eq!(engine.state("a"), NodeState::Decommissioned);
    let event = engine.event();
    assert_eq!(event.removed.unwrap().reason, RemovedReason::Decommissioned);
    assert_eq!(ids(&event.completed), [container(1, 1)], "the last completion is not lost");
}

#[test]
fn heartbeat_10_sends_the_next_keys_while_a_rollover_is_pending() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    let key = |id: u32| Some((id, Box::from([3; 8])));
    engine.command(ShardCommand::SetMasterKeys {
        container_token: KeyPair { current: key(1), next: key(2) },
        nm_token: KeyPair { current: key(5), next: None },
    });
    let updates = engine.beat(&mut a).updates.unwrap();
    assert_eq!(updates.container_token_master_key.unwrap().key_id, 2);
    assert!(updates.nm_token_master_key.is_none());
    a.beat.container_token_key_id = 2;
    assert!(engine.beat(&mut a).updates.is_none(), "the node has it");
    a.beat.container_token_key_id = 1;
    engine.command(ShardCommand::SetMasterKeys {
        container_token: KeyPair { current: key(2), next: None },
        nm_token: KeyPair { current: key(5), next: None },
    });
    assert!(engine.beat(&mut a).updates.is_none(), "the roll-over is over");
}

#[test]
fn heartbeat_15_tells_a_changed_capability_once() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    engine.events();
    let capability =
        heddle::engine::event::Resource { memory_mb: 2_048, virtual_cores: 2, ..Default::default() };
    engine.order(&a, NodeOrder::UpdateResource(capability.clone()));
    assert_eq!(engine.event().capability, Some(capability));
    let before = a.clone();
    let answer = engine.beat(&mut a);
    assert_eq!(answer.updates.clone().unwrap().capability, Some(Resource::new(2_048, 2)));
    assert_eq!(engine.beat_raw(&before).heartbeat(), answer, "a duplicate gets it again");
    assert!(engine.beat(&mut a).updates.is_none(), "and the next beat does not");
    assert_eq!(engine.node("a").capability, Resource::new(2_048, 2));
}

#[test]
fn orders_caused_by_a_status_reach_the_node_one_beat_later() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    assert!(engine.beat(&mut a).commands.is_none());
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    assert_eq!(engine.beat(&mut a).commands.unwrap().containers_to_cleanup, [container(1, 1)]);
}

// ---- Response-id handshake ----

#[test]
fn response_id_starts_at_zero_and_counts() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.register(&mut a);
    for expected in 1..=5 {
        assert_eq!(engine.beat(&mut a).response_id, expected);
    }
}

#[test]
fn response_id_of_the_beat_before_gets_the_stored_answer_unchanged() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    // A fixed answer.
    let before = a.clone();
    let first = engine.beat_raw(&a);
    engine.pass(Duration::from_millis(370));
    assert_eq!(engine.beat_raw(&before).body(), first.body());
    a.take(&first.heartbeat());
    // One with orders, which the stored answer must carry again, in one piece.
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    let before = a.clone();
    let first = engine.beat_raw(&a);
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 2)));
    engine.pass(Duration::from_millis(370));
    let again = engine.beat_raw(&before);
    assert_eq!(again.body(), first.body());
    assert_eq!(again.heartbeat().commands.unwrap().containers_to_cleanup, [container(1, 1)]);
    assert_eq!(engine.shard.counters().heartbeats_duplicate, 2);
}

#[test]
fn response_id_duplicate_processes_nothing() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    let mut before = a.clone();
    engine.beat(&mut a);
    engine.events();
    before.launch(container(1, 1));
    before.beat.is_node_healthy = false;
    engine.beat_raw(&before);
    assert_eq!(engine.events(), []);
    assert_eq!((engine.state("a"), engine.shard.counters().running_containers), (NodeState::Running, 0));
}

#[test]
fn response_id_out_of_step_reboots_and_resyncs() {
    for response_id in [0, 1, 4, 1_000, 0x7fff_ffff, u32::MAX, 0x8000_0002] {
        let mut engine = Engine::new();
        let mut a = node("a");
        engine.register(&mut a);
        for _ in 0..3 {
            engine.beat(&mut a);
        }
        engine.events();
        a.beat.response_id = response_id;
        let answer = engine.beat_raw(&a).heartbeat();
        assert_eq!((answer.node_action, answer.response_id), (NodeAction::Resync, 0), "{response_id}");
        assert!(answer.updates.unwrap().diagnostics.contains("Too far behind"));
        assert_eq!(engine.state("a"), NodeState::Rebooted);
        assert_eq!(engine.event().removed.unwrap().reason, RemovedReason::Rebooted);
        engine.join(&mut a);
        assert_eq!((engine.count(NodeState::Rebooted), engine.count(NodeState::Running)), (0, 1));
    }
}

// ---- Container status processing ----

#[test]
fn status_3_running_is_launched_once() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    engine.events();
    a.launch(container(1, 1));
    engine.beat(&mut a);
    assert_eq!(ids(&engine.event().launched), [container(1, 1)]);
    a.beat.container_statuses = vec![status(container(1, 1), ContainerState::Running)];
    engine.beat(&mut a);
    assert_eq!(engine.events(), []);
    assert_eq!(engine.node("a").running_applications, 1);
    assert_eq!(engine.node("a").used, Resource::new(1_024, 1));
}

#[test]
fn status_4_complete_is_told_once_until_the_node_has_forgotten_it() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    a.complete(container(1, 1));
    engine.beat(&mut a);
    assert_eq!(ids(&engine.event().completed), [container(1, 1)]);
    let repeat = |engine: &mut Engine, a: &mut TestNode| {
        a.beat.container_statuses = vec![status(container(1, 1), ContainerState::Complete)];
        engine.beat(a)
    };
    repeat(&mut engine, &mut a);
    assert_eq!(engine.events(), [], "repeats are dropped");
    engine.order(&a, NodeOrder::RemoveContainer(container(1, 1)));
    a.beat.acknowledged_command = 0;
    let answer = repeat(&mut engine, &mut a);
    assert_eq!(answer.commands.unwrap().containers_to_be_removed_from_nm, [container(1, 1)]);
    assert_eq!(engine.events(), [], "ordered is not yet acknowledged");
    repeat(&mut engine, &mut a);
    assert_eq!(ids(&engine.event().completed), [container(1, 1)], "forgotten: heard of anew");
}

#[test]
fn status_4_complete_without_running_before_is_told_too() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    engine.events();
    a.beat.container_statuses = vec![status(container(1, 1), ContainerState::Complete)];
    assert!(!engine.beat(&mut a).is_full_report_requested);
    let event = engine.event();
    assert_eq!((ids(&event.launched), ids(&event.completed)), (vec![], vec![container(1, 1)]));
}

#[test]
fn status_5_running_but_not_reported_is_completed_with_minus_100() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    let (stays, vanishes) = (container(1, 1), container(1, 2));
    a.launch(stays);
    a.launch(vanishes);
    engine.beat(&mut a);
    engine.events();
    a.beat.containers_digest.remove(&vanishes);
    assert!(engine.beat(&mut a).is_full_report_requested);
    assert_eq!(engine.events(), []);
    a.beat.is_full_report = true;
    a.beat.container_statuses = vec![status(stays, ContainerState::Running)];
    assert!(!engine.beat(&mut a).is_full_report_requested);
    let completed = engine.event().completed;
    assert_eq!((completed[0].container_id, completed[0].exit_status), (vanishes, -100));
    assert!(completed[0].diagnostics.contains("running but not reported"), "{}", completed[0].diagnostics);
    assert_eq!(engine.shard.counters().running_containers, 1);
}

#[test]
fn a_full_report_may_go_over_several_beats() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    for id in 1..=4 {
        a.launch(container(1, id));
    }
    engine.beat(&mut a);
    engine.events();
    a.beat.containers_digest.remove(&container(1, 4));
    for part in [[1], [2], [3]] {
        a.beat.is_full_report = true;
        a.beat.is_continued = part != [3];
        a.beat.container_statuses = vec![status(container(1, part[0]), ContainerState::Running)];
        assert!(!engine.beat(&mut a).is_full_report_requested, "the digest is compared at the end only");
    }
    assert_eq!(ids(&engine.event().completed), [container(1, 4)]);
}

/// A container was written off as not reported, its node was out of step, came back and still had it. With completions
/// applied after launches the scheduler would have taken it for dead while it ran. Found by the folding property.
#[test]
fn a_container_that_comes_back_after_its_end_was_told_is_live() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    a.complete(container(1, 1));
    engine.beat(&mut a);
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    let mut inventory = heddle::engine::inventory::Inventory::new();
    let event = engine.event();
    assert_eq!((ids(&event.completed), ids(&event.launched)), (vec![container(1, 1)], vec![container(1, 1)]));
    inventory.handle_node_event(engine.now, event, &mut Vec::new());
    assert_eq!(inventory.totals().running_containers, 1);
}

#[test]
fn completions_the_scheduler_does_not_take_in_are_bounded() {
    let mut engine = Engine::new();
    let mut a = node("a");
    let mut next = 0;
    let is_busy = (0..40).any(|_| {
        // The digest of a node where everything is complete is empty, so every registration begins anew.
        engine.join(&mut a);
        for _ in 0..1_024 {
            next += 1;
            a.beat.container_statuses.push(status(container(1, next), ContainerState::Complete));
        }
        let reply = engine.beat_raw(&a);
        a.beat.container_statuses.clear();
        reply.reject_code() == Some(RejectCode::Busy)
    });
    assert!(is_busy, "put off at some point");
    let event = engine.event();
    assert!((8_192..=16_384).contains(&event.completed.len()), "{}", event.completed.len());
    engine.join(&mut a);
    a.beat.container_statuses.push(status(container(2, 1), ContainerState::Complete));
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Normal, "taken in, and it goes on");
}

#[test]
fn one_event_is_outstanding_per_node_and_grows() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    for id in 1..=10 {
        a.launch(container(1, id));
        engine.beat(&mut a);
    }
    let event = engine.event();
    assert!(event.added.is_some());
    assert_eq!(event.launched.len(), 10);
}

#[test]
fn unhealthy_is_interrupted_and_statuses_are_ignored_until_it_recovers() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    a.beat.is_node_healthy = false;
    a.details().health = Some(NodeHealthStatus {
        is_node_healthy: false,
        last_health_report_time_ms: 77,
        health_report: "disk".to_owned(),
    });
    a.launch(container(1, 2));
    engine.beat(&mut a);
    let event = engine.event();
    assert!(event.was_interrupted && event.launched.is_empty());
    assert_eq!(event.usability, Some(Usability::Unhealthy));
    let report = engine.node("a");
    assert_eq!((report.state, report.running_containers), (NodeState::Unhealthy, 0));
    assert_eq!((report.health_report.as_str(), report.last_health_report_time_ms), ("disk", 77));
    a.launch(container(1, 3));
    assert!(!engine.beat(&mut a).is_full_report_requested);
    assert_eq!(engine.events(), []);
    a.beat.is_node_healthy = true;
    assert!(engine.beat(&mut a).is_full_report_requested, "asked for everything it has");
    assert_eq!(engine.event().usability, Some(Usability::Usable));
    assert_eq!(engine.state("a"), NodeState::Running);
    a.beat.is_full_report = true;
    a.beat.container_statuses = (1..=3).map(|id| status(container(1, id), ContainerState::Running)).collect();
    engine.beat(&mut a);
    assert_eq!(engine.event().launched.len(), 3);
}

#[test]
fn decommissioning_stays_decommissioning_when_unhealthy() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    decommission(&mut engine, "a", DecommissionType::Graceful, None);
    a.beat.is_node_healthy = false;
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Normal);
    assert_eq!(engine.state("a"), NodeState::Decommissioning);
}

#[test]
fn increased_containers_are_passed_on_once() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    let update = |id| ContainerUpdate {
        container_id: container(1, id),
        version: 1,
        capability: Resource::new(2_048, 2),
        execution_type: ExecutionType::Guaranteed,
    };
    a.details().increased_containers = vec![update(1), update(1), update(9)];
    engine.beat(&mut a);
    assert_eq!(engine.event().increased, [container(1, 1)], "only of containers that run there");
}

#[test]
fn more_containers_than_a_node_may_have_are_refused_by_name() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    for chunk in 0..8_u64 {
        for id in 1..=1_024 {
            a.launch(container(1, chunk * 1_024 + id));
        }
        engine.beat(&mut a);
    }
    assert_eq!(engine.shard.counters().running_containers, 8_192);
    a.launch(container(2, 1));
    let reject = engine.beat_raw(&a).reject().unwrap();
    assert_eq!(RejectCode::from_number(reject.code), Some(RejectCode::BadField));
    assert!(reject.message.contains("8193") && reject.message.contains("8192"), "{}", reject.message);
    assert_eq!(engine.shard.counters().running_containers, 8_192, "nothing of the beat was applied");
}

// ---- Orders ----

#[test]
fn orders_are_repeated_until_acknowledged() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    engine.order(&a, NodeOrder::SignalContainer(container(1, 2), SignalContainerCommand::GracefulShutdown));
    for _ in 0..3 {
        let commands = engine.beat(&mut a).commands.unwrap();
        a.beat.acknowledged_command = 0;
        assert_eq!(commands.last_sequence, 2);
        assert_eq!(commands.containers_to_cleanup, [container(1, 1)]);
        assert_eq!(commands.containers_to_signal[0].sequence, 2, "a repeated signal is known by its number");
    }
    a.beat.acknowledged_command = 1;
    let commands = engine.beat(&mut a).commands.unwrap();
    assert_eq!((commands.containers_to_cleanup.len(), commands.containers_to_signal.len()), (0, 1));
    assert!(engine.beat(&mut a).commands.is_none());
}

#[test]
fn orders_beyond_an_answer_follow_with_the_next() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    for id in 1..=600 {
        engine.order(&a, NodeOrder::CleanupContainer(container(1, id)));
    }
    let commands = engine.beat(&mut a).commands.unwrap();
    assert_eq!((commands.containers_to_cleanup.len(), commands.last_sequence), (512, 512));
    let commands = engine.beat(&mut a).commands.unwrap();
    assert_eq!((commands.containers_to_cleanup.len(), commands.last_sequence), (88, 600));
    assert!(engine.beat(&mut a).commands.is_none());
}

#[test]
fn an_order_beyond_the_node_s_list_is_handed_back() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    for id in 1..=8_192 {
        engine.order(&a, NodeOrder::CleanupContainer(container(1, id)));
    }
    let order = NodeOrder::CleanupContainer(container(1, 9_999));
    let command = NodeCommand { node: a.handle(), order, is_urgent: false };
    let back = engine.shard.handle_node_command(engine.now, command.clone(), &mut engine.out);
    assert_eq!(back, Err(command));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_takes_only_what_was() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    a.beat.acknowledged_command = u32::MAX;
    assert!(engine.beat(&mut a).commands.is_some(), "not sent yet, so not acknowledged");
}

#[test]
fn urgent_orders_are_pushed_to_the_stream_of_the_last_beat() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.stream = StreamRef::new(0, 4_711, 2);
    engine.beat(&mut a);
    for id in 1..=3 {
        let order = NodeOrder::CleanupContainer(container(1, id));
        engine.order_of(NodeCommand { node: a.handle(), order, is_urgent: true });
    }
    engine.pass(Duration::from_millis(1));
    let pushes = engine.pushes();
    assert_eq!(pushes.len(), 2, "one at once, the others together");
    for push in &pushes {
        assert!(push.flags().is_push());
        assert_eq!(push.stream, a.stream);
        assert_eq!(push.heartbeat().response_id, a.beat.response_id, "a push changes no id");
    }
    let commands = pushes[1].heartbeat().commands.unwrap();
    assert_eq!((commands.last_sequence, commands.containers_to_cleanup.len()), (3, 3));
    a.beat.acknowledged_command = 3;
    assert!(engine.beat(&mut a).commands.is_none(), "carried out before the beat");
}

#[test]
fn orders_for_an_ended_registration_are_dropped_and_counted() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    let old = a.clone();
    engine.join(&mut a);
    engine.order(&old, NodeOrder::CleanupContainer(container(1, 1)));
    assert_eq!(engine.shard.counters().commands_dropped, 1);
    unregister(&mut engine, &a);
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    assert_eq!(engine.shard.counters().commands_dropped, 2);
}

#[test]
fn orders_for_a_node_that_reconnected_with_its_containers_still_hold() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    let old = a.clone();
    a.register.running_applications = vec![application(1)];
    a.register.container_statuses = vec![nm_status(container(1, 1), ContainerState::Running)];
    engine.register(&mut a);
    engine.order(&old, NodeOrder::CleanupApplication(application(1)));
    let commands = engine.beat(&mut a).commands.unwrap();
    assert_eq!(commands.last_sequence, 2, "numbered anew from 1");
    assert_eq!(commands.containers_to_cleanup, [container(1, 1)]);
    assert_eq!(commands.applications_to_cleanup, [application(1)]);
}

#[test]
fn an_order_the_state_has_no_row_for_is_counted_and_dropped() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    decommission(&mut engine, "a", DecommissionType::Graceful, None);
    engine.order(&a, NodeOrder::SignalContainer(container(1, 1), SignalContainerCommand::OutputThreadDump));
    assert_eq!(engine.shard.counters().invalid_transitions, 1);
    assert!(engine.beat(&mut a).commands.is_none());
}

// ---- Un-registration ----

#[test]
fn unregister_shuts_the_node_down() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
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

// ---- Decommissioning ----

#[test]
fn decommission_normal_spares_nodes_being_emptied_and_forceful_does_not() {
    let mut engine = Engine::new();
    let (mut a, mut b) = (node("a"), node("b"));
    for node in [&mut a, &mut b] {
        engine.join(node);
        node.launch(container(1, node.beat.node_handle.0));
        engine.beat(node);
    }
    set_lists(&mut engine, lists(&[], &["a"]), DecommissionMode::Graceful(None));
    set_lists(&mut engine, lists(&[], &["a", "b"]), DecommissionMode::Normal);
    assert_eq!(
        (engine.state("a"), engine.state("b")),
        (NodeState::Decommissioning, NodeState::Decommissioned)
    );
    set_lists(&mut engine, lists(&[], &["a", "b"]), DecommissionMode::Forceful);
    assert_eq!(engine.state("a"), NodeState::Decommissioned);
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Shutdown);
}

#[test]
fn decommission_graceful_lists_what_blocks_it_and_ends_at_the_deadline() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    a.launch(container(1, 1));
    a.details().keep_alive_applications = vec![application(2)];
    engine.beat(&mut a);
    engine.events();
    assert_eq!(decommission(&mut engine, "a", DecommissionType::Graceful, Some(60)), ["a"]);
    assert_eq!(engine.event().usability, Some(Usability::Decommissioning));
    let report = engine.node("a");
    assert_eq!(report.decommissioning_remaining_ms, Some(60_000));
    let expected = [container(1, 1).to_string(), format!("{} (keep-alive)", application(2))];
    assert_eq!(report.decommissioning_blocked_by, expected);
    let mut nodes = [a];
    engine.pass_beating(Duration::from_secs(59), &mut nodes);
    assert_eq!(engine.state("a"), NodeState::Decommissioning);
    engine.pass(Duration::from_millis(1_100));
    assert_eq!(engine.state("a"), NodeState::Decommissioned);
    assert_eq!(engine.beat(&mut nodes[0]).node_action, NodeAction::Shutdown);
}

#[test]
fn decommission_graceful_waits_for_applications_unless_told_otherwise() {
    for ignores in [false, true] {
        let mut engine = Engine::with(|settings| settings.decommission_ignores_applications = ignores);
        let mut a = node("a");
        engine.join(&mut a);
        a.launch(container(1, 1));
        engine.beat(&mut a);
        decommission(&mut engine, "a", DecommissionType::Graceful, Some(-1));
        assert_eq!(engine.node("a").decommissioning_remaining_ms, None, "negative is for ever");
        a.complete(container(1, 1));
        let action = engine.beat(&mut a).node_action;
        if ignores {
            assert_eq!(action, NodeAction::Shutdown);
            continue;
        }
        assert_eq!(action, NodeAction::Normal);
        assert_eq!(engine.node("a").decommissioning_blocked_by, [application(1).to_string()]);
        engine.order(&a, NodeOrder::CleanupApplication(application(1)));
        assert_eq!(engine.beat(&mut a).node_action, NodeAction::Shutdown);
    }
}

#[test]
fn decommission_graceful_of_an_empty_node_ends_with_its_next_beat() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    decommission(&mut engine, "a", DecommissionType::Graceful, None);
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Shutdown);
    assert_eq!(engine.state("a"), NodeState::Decommissioned);
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Shutdown, "also when the answer got lost");
}

#[test]
fn decommission_deadlines_come_from_the_host_then_the_request() {
    let mut engine = Engine::new();
    let (mut a, mut b) = (node("a"), node("b"));
    for node in [&mut a, &mut b] {
        engine.join(node);
    }
    let mut both = lists(&[], &["a", "b"]);
    both.exclude[0].timeout_s = Some(30);
    set_lists(&mut engine, both, DecommissionMode::Graceful(Some(90_000)));
    assert_eq!(engine.node("a").decommissioning_remaining_ms, Some(30_000));
    assert_eq!(engine.node("b").decommissioning_remaining_ms, Some(90_000));
    set_lists(&mut engine, lists(&[], &["a", "b"]), DecommissionMode::Graceful(Some(10_000)));
    assert_eq!(engine.node("a").decommissioning_remaining_ms, Some(10_000), "only the deadline changes");
}

#[test]
fn recommission_by_list_brings_back_what_the_lists_sent_away() {
    let mut engine = Engine::new();
    let (mut by_list, mut by_name) = (node("a"), node("b"));
    for node in [&mut by_list, &mut by_name] {
        engine.join(node);
        node.launch(container(1, node.beat.node_handle.0));
        engine.beat(node);
    }
    set_lists(&mut engine, lists(&[], &["a"]), DecommissionMode::Graceful(None));
    decommission(&mut engine, "b", DecommissionType::Graceful, None);
    engine.events();
    set_lists(&mut engine, lists(&[], &[]), DecommissionMode::Graceful(None));
    assert_eq!(engine.event().usability, Some(Usability::Usable));
    assert_eq!((engine.state("a"), engine.state("b")), (NodeState::Running, NodeState::Decommissioning));
    assert_eq!(recommission(&mut engine, "b"), ["b"]);
    assert_eq!(engine.state("b"), NodeState::Running);
    assert_eq!(engine.beat(&mut by_name).node_action, NodeAction::Normal);
    assert_eq!(recommission(&mut engine, "b"), [""; 0], "it is not leaving");
}

#[test]
fn a_decommissioned_host_that_is_valid_again_registers_again() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    set_lists(&mut engine, lists(&[], &["a"]), DecommissionMode::Normal);
    assert_eq!(engine.register(&mut a).node_action, NodeAction::Shutdown);
    set_lists(&mut engine, lists(&[], &[]), DecommissionMode::Normal);
    engine.join(&mut a);
    assert_eq!(engine.state("a"), NodeState::Running);
}

#[test]
fn excluded_hosts_that_never_registered_are_shown_decommissioned_with_port_0() {
    let mut engine = Engine::with(|settings| settings.lists = lists(&[], &["x"]));
    let mut a = node("a");
    engine.join(&mut a);
    set_lists(&mut engine, lists(&[], &["a", "x", "y"]), DecommissionMode::Normal);
    let mut placeholders: Vec<_> = engine
        .nodes()
        .into_iter()
        .filter(|node| node.node_id.port == 0)
        .map(|node| node.node_id.host)
        .collect();
    placeholders.sort();
    assert_eq!(placeholders, ["x", "y"], "a is known, so it has a record of its own");
    assert_eq!(engine.count(NodeState::Decommissioned), 3);
    set_lists(&mut engine, lists(&[], &["a"]), DecommissionMode::Normal);
    assert_eq!(engine.nodes().len(), 1);
    engine.join(&mut node("x"));
}

#[test]
fn untracked_inactive_nodes_are_forgotten() {
    let mut engine = Engine::with(|settings| settings.lists = lists(&["a", "b"], &[]));
    let (mut a, mut b) = (node("a"), node("b"));
    engine.join(&mut a);
    engine.join(&mut b);
    unregister(&mut engine, &a);
    unregister(&mut engine, &b);
    set_lists(&mut engine, lists(&["a"], &[]), DecommissionMode::Normal);
    engine.pass(Duration::from_secs(63));
    let hosts: Vec<_> = engine.nodes().into_iter().map(|node| node.node_id.host).collect();
    assert_eq!(hosts, ["a"]);
    assert_eq!(engine.count(NodeState::Shutdown), 1);
}

#[test]
fn refresh_answers_with_its_token_and_how_many_leave() {
    let mut engine = Engine::new();
    for host in ["a", "b", "c"] {
        engine.join(&mut node(host));
    }
    set_lists(&mut engine, lists(&["a"], &[]), DecommissionMode::Normal);
    assert_eq!(engine.out.replies, [CommandReply::NodeLists { token: 42, affected: 2 }]);
}

// ---- Liveliness ----

#[test]
fn liveliness_suspect_then_lost_by_class() {
    let mut engine = Engine::with(|settings| {
        let class = |name: &str, hosts: &str, suspect, lost| NodeClass {
            name: name.into(),
            hosts: hosts.into(),
            suspect_after: Duration::from_secs(suspect),
            lost_after: Duration::from_secs(lost),
        };
        settings.classes = Box::new([class("gpu", "gpu-*", 5, 20), class("default", "*", 30, 600)]);
    });
    let mut gpu = node("gpu-1");
    let mut cpu = node("cpu-1");
    assert_eq!(engine.register(&mut gpu).lease_ms, 20_000);
    assert_eq!(engine.register(&mut cpu).lease_ms, 600_000);
    engine.events();
    engine.pass(Duration::from_secs(4));
    assert!(!engine.node("gpu-1").is_suspect);
    engine.pass(Duration::from_secs(3));
    assert!(engine.node("gpu-1").is_suspect && !engine.node("cpu-1").is_suspect);
    assert_eq!(engine.event().usability, Some(Usability::Suspect));
    engine.beat(&mut gpu);
    assert_eq!(engine.event().usability, Some(Usability::Usable), "a beat clears the suspicion");
    engine.pass(Duration::from_secs(19));
    assert_eq!(engine.state("gpu-1"), NodeState::Running);
    engine.pass(Duration::from_secs(3));
    assert_eq!(engine.state("gpu-1"), NodeState::Lost, "once, within a sweep of the limit");
    assert_eq!(engine.state("cpu-1"), NodeState::Running);
    assert_eq!((engine.shard.counters().suspects_now, engine.shard.counters().losses), (0, 1));
}

#[test]
fn liveliness_registering_is_pinging() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.register(&mut a);
    for _ in 0..3 {
        engine.pass(Duration::from_secs(500));
        a.register.running_applications = vec![application(1)];
        engine.register(&mut a);
    }
    assert_eq!(engine.state("a"), NodeState::Running);
}

#[test]
fn liveliness_brake_holds_back_mass_expiry_and_says_so_once() {
    let mut engine = Engine::new();
    let mut nodes: Vec<TestNode> = (0..100).map(|number| node(&format!("n{number}"))).collect();
    nodes.iter_mut().for_each(|node| engine.join(node));
    engine.out.notices.clear();
    engine.pass(Duration::from_secs(1_000));
    let counters = engine.shard.counters();
    assert!(counters.is_brake_engaged);
    assert_eq!((counters.suspects_now, counters.losses, counters.brakes), (100, 0, 1));
    let brakes = engine.out.notices.iter().filter(|notice| notice.text.contains("brake")).count();
    assert_eq!(brakes, 1);
    // The cause is gone: all but two come back. The two get their full time from then on.
    let (quiet, back) = nodes.split_at_mut(2);
    back.iter_mut().for_each(|node| {
        engine.beat(node);
    });
    engine.pass_beating(Duration::from_secs(590), back);
    assert!(!engine.shard.counters().is_brake_engaged);
    assert_eq!(engine.shard.counters().losses, 0);
    engine.pass_beating(Duration::from_secs(15), back);
    assert_eq!(engine.shard.counters().losses, 2);
    assert_eq!(engine.state(&quiet[0].register.node_id.host), NodeState::Lost);
}

#[test]
fn liveliness_brake_gives_up_at_its_limit() {
    let mut engine = Engine::with(|settings| settings.brake.limit = Duration::from_secs(900));
    for number in 0..20 {
        engine.join(&mut node(&format!("n{number}")));
    }
    engine.pass(Duration::from_secs(900));
    assert_eq!(engine.count(NodeState::Lost), 0);
    engine.pass(Duration::from_secs(60));
    assert_eq!(engine.count(NodeState::Lost), 20);
    assert_eq!(engine.shard.counters().brakes, 1, "not engaged again for the same silence");
}

#[test]
fn liveliness_forgives_a_jump_of_the_clock() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    engine.now = engine.now + Duration::from_secs(10_000);
    engine.tick();
    engine.pass(Duration::from_secs(20));
    assert_eq!(engine.state("a"), NodeState::Running, "it was not the node that slept");
    assert_eq!(engine.shard.counters().clock_jumps, 1);
    engine.beat(&mut a);
    engine.pass(Duration::from_secs(605));
    assert_eq!(engine.state("a"), NodeState::Lost, "time counts again afterwards");
}

#[test]
fn liveliness_does_not_believe_a_clock_that_goes_back() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    engine.pass(Duration::from_secs(100));
    let before = engine.now;
    engine.now = engine.now - Duration::from_secs(50);
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Normal);
    engine.tick();
    assert_eq!(engine.shard.counters().clock_jumps, 1);
    assert_eq!(engine.node("a").last_seen_ms, 0, "the beat counts as of the time already reached");
    engine.now = before;
    engine.pass(Duration::from_secs(1));
    assert_eq!(engine.node("a").last_seen_ms, 1_000);
}

// ---- Pacing ----

#[test]
fn interval_scaling_follows_the_node_against_the_cluster() {
    let mut engine = Engine::with(|settings| {
        settings.heartbeat.interval_min = Duration::from_millis(500);
        settings.heartbeat.interval_max = Duration::from_secs(2);
        settings.heartbeat.scaling =
            Some(ScalingSettings { speedup_permille: 1_000, slowdown_permille: 1_000 });
    });
    let mut a = node("a");
    engine.join(&mut a);
    engine.command(ShardCommand::SetClusterLoad { used_permille: 500 });
    a.beat.node_utilization.cpu_millicores = 8_000;
    assert_eq!(engine.beat(&mut a).heartbeat_interval_ms, 1_500);
    a.beat.node_utilization.cpu_millicores = 2_000;
    assert_eq!(engine.beat(&mut a).heartbeat_interval_ms, 750);
    let mut unknown = NodeBuilder::new("b").registering(|it| it.physical_resource = None).build();
    engine.join(&mut unknown);
    assert_eq!(engine.beat(&mut unknown).heartbeat_interval_ms, 1_000, "without data the default");
}

#[test]
fn a_busy_shard_lengthens_the_interval_it_tells() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    for _ in 0..30 {
        engine.now = engine.now + SECOND;
        engine.shard.handle_tick(engine.now, 990, &mut engine.out);
    }
    assert_eq!(engine.beat(&mut a).heartbeat_interval_ms, 10_000);
}

#[test]
fn beats_are_led_to_the_node_s_phase() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    engine.pass(Duration::from_millis(617));
    let mut phase = 0;
    for _ in 0..5 {
        let answer = engine.beat(&mut a);
        phase = u64::from(answer.phase_ms);
        engine.pass(Duration::from_millis(u64::from(answer.next_heartbeat_ms)));
    }
    let error = (engine.now.as_millis() + 1_000 - phase) % 1_000;
    assert!(error <= 3 || error >= 997, "off by {error} ms");
}

// ---- Peers that do what they may not ----

#[test]
fn a_foreign_peer_is_refused_and_harms_nobody() {
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    let mut thief = a.clone();
    thief.peer = PeerId(666);
    thief.beat.response_id = 77;
    assert_eq!(engine.beat_raw(&thief).reject_code(), Some(RejectCode::NameNotAllowed));
    let frame = engine.frame(thief.register.node_id.routing_key(), &thief.register);
    assert_eq!(engine.send(&frame, thief.stream, thief.peer).reject_code(), Some(RejectCode::NameNotAllowed));
    let frame = engine.frame(
        thief.handle().0,
        &UnRegisterNodeManagerRequest { node_handle: thief.handle(), reason: String::new() },
    );
    assert_eq!(engine.send(&frame, thief.stream, thief.peer).reject_code(), Some(RejectCode::NameNotAllowed));
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Normal);
}

#[test]
fn frames_that_lead_elsewhere_are_refused_by_name() {
    let mut engine = Engine::with(|settings| settings.shard_count = 2);
    let mut mine = node("a");
    let mut number = 0;
    while !mine.register.node_id.routing_key().is_multiple_of(2) {
        number += 1;
        mine = node(&format!("a{number}"));
    }
    engine.join(&mut mine);
    let mut other = node("b");
    while other.register.node_id.routing_key().is_multiple_of(2) {
        number += 1;
        other = node(&format!("b{number}"));
    }
    let frame = engine.frame(other.register.node_id.routing_key(), &other.register);
    assert_eq!(engine.send(&frame, other.stream, other.peer).reject_code(), Some(RejectCode::WrongRoute));
    let frame = engine.frame(1, &mine.register);
    assert_eq!(engine.send(&frame, mine.stream, mine.peer).reject_code(), Some(RejectCode::WrongRoute));
    let mut lying = mine.clone();
    lying.beat.node_handle = NodeHandle(mine.handle().0 + 1);
    let frame = engine.frame(mine.handle().0, &lying.beat);
    assert_eq!(engine.send(&frame, mine.stream, mine.peer).reject_code(), Some(RejectCode::WrongRoute));
    lying.beat.node_handle = NodeHandle::new(1, 0, 1);
    assert_eq!(engine.beat_raw(&lying).reject_code(), Some(RejectCode::WrongRoute));
}

#[test]
fn answers_and_unknown_methods_are_refused_by_name() {
    use heddle_wire::{Flags, FrameHeader, Opcode, write_frame};
    let mut engine = Engine::new();
    let mut frame = Vec::new();
    write_frame(&mut frame, Flags::RESPONSE, 1, 1, &NodeHeartbeatResponse::default());
    let reply = engine.send(&frame, StreamRef::NONE, PeerId(1));
    assert_eq!(reply.reject_code(), Some(RejectCode::WrongDirection));
    let header = FrameHeader {
        opcode: Opcode::SubmitApplication,
        flags: Flags::REQUEST,
        body_length: 0,
        correlation_id: 5,
        routing_key: 0,
    };
    let reject = engine.send(&header.to_bytes(), StreamRef::NONE, PeerId(1)).reject().unwrap();
    assert_eq!(RejectCode::from_number(reject.code), Some(RejectCode::NotSupportedYet));
    assert!(reject.message.contains("SubmitApplication"));
}

#[test]
fn a_flood_of_refusals_does_not_flood_the_log() {
    let mut engine = Engine::with(|settings| settings.lists = lists(&["nobody"], &[]));
    for number in 0..10_000 {
        engine.register(&mut node(&format!("n{number}")));
    }
    assert!(engine.out.notices.len() <= 200, "{}", engine.out.notices.len());
    engine.pass(Duration::from_secs(2));
    assert!(engine.out.notices.iter().any(|notice| notice.text.contains("left out")));
    assert_eq!(engine.nodes(), []);
}

// ---- Queries ----

#[test]
fn listings_are_paged_and_filtered() {
    use heddle_wire::application_client::*;
    let mut engine = Engine::new();
    let mut nodes: Vec<TestNode> = (0..25).map(|number| node(&format!("n{number:02}"))).collect();
    nodes.iter_mut().for_each(|node| engine.join(node));
    unregister(&mut engine, &nodes[3]);
    let mut ask = |request: GetClusterNodesRequest| -> GetClusterNodesResponse {
        let frame = engine.frame(NodeHandle::new(0, 0, 0).0, &request);
        decode(&engine.send(&frame, StreamRef::NONE, PeerId(9)).body()).unwrap()
    };
    let page = ask(GetClusterNodesRequest { limit: 10, ..Default::default() });
    assert_eq!((page.nodes.len(), page.next_row, page.shard_count), (10, Some(10), 1));
    let page = ask(GetClusterNodesRequest { limit: 10, start_row: 20, ..Default::default() });
    assert_eq!((page.nodes.len(), page.next_row), (5, None));
    let shutdown =
        GetClusterNodesRequest { limit: 10, node_states: vec![NodeState::Shutdown], ..Default::default() };
    assert_eq!(ask(shutdown).nodes[0].node_id.host, "n03");
    let node_ids = vec![NodeId::new("n07", 0), NodeId::new("n09", 45_454), NodeId::new("nobody", 1)];
    let page = ask(GetClusterNodesRequest { limit: 10, node_ids, ..Default::default() });
    let hosts: Vec<_> = page.nodes.iter().map(|node| node.node_id.host.as_str()).collect();
    assert_eq!(hosts, ["n07", "n09"]);
    let frame = engine.frame(0, &GetClusterNodesRequest { limit: 0, ..Default::default() });
    let reply = engine.send(&frame, StreamRef::NONE, PeerId(9));
    assert_eq!(reply.reject_code(), Some(RejectCode::BadField));
}

#[test]
fn metrics_count_nodes_and_sum_capability() {
    use heddle_wire::application_client::*;
    let mut engine = Engine::new();
    let gpu = ResourceInformation { name: "yarn.io/gpu".to_owned(), value: 4, units: String::new() };
    let mut a = NodeBuilder::new("a").registering(|it| it.capability.extended = vec![gpu.clone()]).build();
    let mut b = node("b");
    let mut c = node("c");
    for node in [&mut a, &mut b, &mut c] {
        engine.join(node);
    }
    a.launch(container(1, 1));
    engine.beat(&mut a);
    unregister(&mut engine, &c);
    let frame = engine.frame(0, &GetClusterMetricsRequest {});
    let reply = engine.send(&frame, StreamRef::NONE, PeerId(9));
    let metrics: GetClusterMetricsResponse = decode(&reply.body()).unwrap();
    assert_eq!(metrics.nodes_by_state, [0, 2, 0, 0, 0, 0, 0, 1]);
    assert_eq!(metrics.capability, Resource { extended: vec![gpu], ..Resource::new(16_384, 16) });
    assert_eq!(metrics.running_containers, 1);
}

#[test]
fn a_batch_stops_where_the_answers_are_full_and_goes_on_from_there() {
    use heddle::engine::batch::{AnswerBatch, FrameBatch};
    use heddle::engine::shard::ANSWERS_SIZE_MAX;
    let mut engine = Engine::new();
    let mut a = node("a");
    engine.join(&mut a);
    let frame = engine.frame(a.handle().0, &a.beat);
    let mut batch = FrameBatch::default();
    let count = ANSWERS_SIZE_MAX / 64;
    for _ in 0..count {
        batch.push(&frame, a.stream, a.peer);
    }
    let (mut taken, mut answered) = (0, 0);
    while taken < count {
        let mut answers = AnswerBatch::default();
        let now = engine.now;
        let more = engine.shard.handle_frames(now, &batch, taken, &mut answers, &mut engine.out);
        assert!(more > 0 && answers.size() <= ANSWERS_SIZE_MAX + 4_096);
        assert_eq!(answers.len(), more, "one answer each");
        taken += more;
        answered += 1;
    }
    assert!(answered > 1, "it did stop");
    let counters = engine.shard.counters();
    assert_eq!((counters.heartbeats_fresh, counters.heartbeats_duplicate), (2, count as u64 - 1));
}

#[test]
fn placeholders_belong_to_one_shard() {
    let hosts: Vec<String> = (0..40).map(|number| format!("x{number}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let shown: Vec<usize> = (0..4)
        .map(|shard| {
            let mut engine = Engine::with(|settings| {
                settings.shard = shard;
                settings.shard_count = 4;
                settings.lists = lists(&[], &hosts);
            });
            engine.nodes().len()
        })
        .collect();
    assert_eq!(shown.iter().sum::<usize>(), 40, "{shown:?}");
    assert!(shown.iter().all(|count| *count > 0), "{shown:?}");
}

// ---- Helpers ----

fn ids(reports: &[ContainerReport]) -> Vec<ContainerId> {
    reports.iter().map(|report| report.container_id).collect()
}

fn set_lists(engine: &mut Engine, lists: NodeLists, mode: DecommissionMode) {
    engine.command(ShardCommand::SetNodeLists { token: 42, lists, mode });
}

fn unregister(engine: &mut Engine, node: &TestNode) -> bool {
    let request = UnRegisterNodeManagerRequest { node_handle: node.handle(), reason: "stop".to_owned() };
    let frame = engine.frame(node.handle().0, &request);
    let reply = engine.send(&frame, node.stream, node.peer);
    decode::<UnRegisterNodeManagerResponse>(&reply.body()).expect("an answer").was_known
}

fn decommission(
    engine: &mut Engine,
    host: &str,
    decommission_type: DecommissionType,
    decommission_timeout_s: Option<i32>,
) -> Vec<String> {
    let node_ids = vec![NodeId::new(host, 0)];
    let request = DecommissionNodesRequest { node_ids, decommission_type, decommission_timeout_s };
    let frame = engine.frame(0, &request);
    let reply = engine.send(&frame, StreamRef::NONE, PeerId(9));
    let response: DecommissionNodesResponse = decode(&reply.body()).expect("an answer");
    response.affected_nodes.into_iter().map(|node| node.host).collect()
}

fn recommission(engine: &mut Engine, host: &str) -> Vec<String> {
    let request = RecommissionNodesRequest { node_ids: vec![NodeId::new(host, 0)] };
    let frame = engine.frame(0, &request);
    let reply = engine.send(&frame, StreamRef::NONE, PeerId(9));
    let response: RecommissionNodesResponse = decode(&reply.body()).expect("an answer");
    response.affected_nodes.into_iter().map(|node| node.host).collect()
}

//! Heartbeats: processing order, the response-id handshake, interval and phase.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use super::*;

// ---- Heartbeat: processing order ----

#[test]
fn heartbeat_1_of_a_node_that_is_not_valid_is_shut_down() {
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
    for _ in 0..30 {
        engine.now = engine.now + SECOND;
        engine.shard.handle_tick(engine.now, 990, &mut engine.out);
    }
    assert_eq!(engine.beat(&mut a).heartbeat_interval_ms, 10_000);
}

#[test]
fn beats_are_led_to_the_node_s_phase() {
    let (mut engine, mut a) = Engine::with_node("a");
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

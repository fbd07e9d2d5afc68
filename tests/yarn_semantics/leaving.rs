//! How nodes leave: lists and decommission, silence and the brake.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use super::*;

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
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, mut a) = Engine::with_node("a");
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

//! Orders to start ApplicationMasters, carried like every other order, and labels that change.

use heddle::engine::event::LaunchOrder;
use heddle_wire::limits::{HEARTBEAT_BODY_MAX, LAUNCH_CONTEXT_MAX};
use heddle_wire::record::{AttemptHandle, ContainerLaunchContext, StringPair, TokenMac};

use super::*;

/// A launch whose context has about `size` bytes.
fn launch(id: u64, size: usize) -> LaunchOrder {
    let value = "x".repeat(size.min(30_000));
    let pair = |index: usize| StringPair { key: format!("K{index}"), value: value.clone() };
    let context = ContainerLaunchContext {
        commands: vec!["run".to_owned(), "it".to_owned()],
        environment: (0..size.div_ceil(30_000)).map(pair).collect(),
        ..ContainerLaunchContext::default()
    };
    let archive = rkyv::to_bytes::<rkyv::rancor::Error>(&context).expect("it serialises");
    LaunchOrder {
        container_id: container(1, id),
        attempt: 7,
        user: "alice".into(),
        resource: heddle::engine::event::Resource {
            memory_mb: 2_048,
            virtual_cores: 1,
            ..Default::default()
        },
        priority: 3,
        container_token: (11, [1; 32]),
        expires_at_ms: 99,
        am_rm_token: (12, [2; 32]),
        launch_context: archive.as_slice().into(),
    }
}

fn order(launch: LaunchOrder) -> NodeOrder {
    NodeOrder::LaunchContainer(Box::new(launch))
}

#[test]
fn a_launch_is_carried_with_everything_and_repeated_until_acknowledged() {
    let (mut engine, mut a) = Engine::with_node("a");
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 9)));
    engine.order(&a, order(launch(1, 100)));
    for _ in 0..2 {
        let commands = engine.beat(&mut a).commands.unwrap();
        a.beat.acknowledged_command = 1;
        assert_eq!(commands.last_sequence, 2);
        let launched = &commands.containers_to_launch[0];
        assert_eq!((launched.sequence, launched.container_id), (2, container(1, 1)));
        assert_eq!((launched.attempt_handle, &*launched.user), (AttemptHandle(7), "alice"));
        assert_eq!((launched.resource.memory_mb, launched.priority, launched.expires_at_ms), (2_048, 3, 99));
        assert_eq!(launched.token, TokenMac { key_id: 11, mac: [1; 32] });
        assert_eq!(launched.am_rm_token, TokenMac { key_id: 12, mac: [2; 32] });
        assert_eq!(launched.launch_context.commands, ["run", "it"]);
    }
    a.beat.acknowledged_command = 2;
    assert!(engine.beat(&mut a).commands.is_none());
}

#[test]
fn an_urgent_launch_is_pushed() {
    let (mut engine, a) = Engine::with_node("a");
    engine.order_of(NodeCommand { node: a.handle(), order: order(launch(1, 10)), is_urgent: true });
    engine.tick();
    let pushes = engine.pushes();
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].heartbeat().commands.unwrap().containers_to_launch.len(), 1);
}

#[test]
fn launches_beyond_an_answer_follow_with_the_next() {
    let (mut engine, mut a) = Engine::with_node("a");
    for id in 1..=5 {
        engine.order(&a, order(launch(id, 60_000)));
    }
    let mut ids = Vec::new();
    for _ in 0..5 {
        let reply = engine.beat_raw(&a);
        assert!(reply.body().len() <= HEARTBEAT_BODY_MAX as usize, "{} bytes", reply.body().len());
        let answer = reply.heartbeat();
        a.take(&answer);
        let Some(commands) = answer.commands else { break };
        ids.extend(commands.containers_to_launch.iter().map(|launch| launch.container_id));
    }
    assert_eq!(ids, (1..=5).map(|id| container(1, id)).collect::<Vec<_>>());
}

/// A node that does not acknowledge cannot make the shard keep contexts without end.
#[test]
fn the_launch_beyond_the_node_s_bound_is_handed_back() {
    let (mut engine, mut a) = Engine::with_node("a");
    for id in 1..=256 {
        engine.order(&a, order(launch(id, 10)));
    }
    let command = NodeCommand { node: a.handle(), order: order(launch(257, 10)), is_urgent: false };
    let back = engine.shard.handle_node_command(engine.now, command.clone(), &mut engine.out);
    assert_eq!(back, Err(command.clone()));
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 9)));
    engine.beat(&mut a);
    assert!(engine.beat(&mut a).commands.is_none(), "all were acknowledged");
    engine.order_of(command);
}

#[test]
fn a_context_that_is_none_or_too_large_is_not_sent() {
    let (mut engine, mut a) = Engine::with_node("a");
    let bad = [
        LaunchOrder { launch_context: Box::new([]), ..launch(1, 10) },
        LaunchOrder { launch_context: vec![0xff; 100].into(), ..launch(1, 10) },
        launch(1, LAUNCH_CONTEXT_MAX + 100),
    ];
    for launch in bad {
        engine.order(&a, order(launch));
    }
    assert_eq!(engine.shard.counters().commands_dropped, 3);
    assert!(engine.beat(&mut a).commands.is_none());
}

#[test]
fn a_launch_is_for_running_nodes_and_those_that_are_emptied() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    decommission(&mut engine, "a", DecommissionType::Graceful, None);
    engine.order(&a, order(launch(2, 10)));
    assert_eq!(engine.beat(&mut a).commands.unwrap().containers_to_launch.len(), 1);

    let mut b = node("b");
    engine.join(&mut b);
    b.beat.is_node_healthy = false;
    engine.beat(&mut b);
    engine.order(&b, order(launch(3, 10)));
    assert_eq!(engine.shard.counters().invalid_transitions, 1);
    assert!(engine.beat(&mut b).commands.is_none());
}

/// The answer to a launch may be lost together with the connection. What the node says it has is not launched again.
#[test]
fn after_a_reconnect_only_what_the_node_does_not_have_is_launched() {
    let (mut engine, mut a) = Engine::with_node("a");
    engine.order(&a, order(launch(1, 10)));
    engine.order(&a, order(launch(2, 10)));
    assert_eq!(engine.beat(&mut a).commands.unwrap().containers_to_launch.len(), 2);
    a.register.running_applications = vec![application(1)];
    a.register.container_statuses = vec![nm_status(container(1, 1), ContainerState::Running)];
    engine.register(&mut a);
    let commands = engine.beat(&mut a).commands.unwrap();
    let ids: Vec<_> = commands.containers_to_launch.iter().map(|launch| launch.container_id).collect();
    assert_eq!((commands.last_sequence, ids), (1, vec![container(1, 2)]));
}

#[test]
fn the_scheduler_hears_of_labels_that_change() {
    let (mut engine, mut a) = Engine::with_node("a");
    let labels = |names: &[&str]| {
        let label = |name: &&str| NodeLabel { name: (*name).to_owned(), is_exclusive: true };
        Some(names.iter().map(label).collect::<Vec<_>>())
    };
    // Not told of the node yet: the labels travel with it.
    a.details().node_labels = labels(&["gpu"]);
    engine.beat(&mut a);
    let event = engine.event();
    assert_eq!((event.added.unwrap().node_labels, event.node_labels), (Box::from(["gpu".into()]), None));
    engine.beat(&mut a);
    assert!(engine.events().is_empty(), "the same labels again are no news");
    a.details().node_labels = labels(&["fast"]);
    engine.beat(&mut a);
    a.details().node_labels = labels(&[]);
    engine.beat(&mut a);
    assert_eq!(engine.event().node_labels, Some(Box::from([])), "the last word counts");
}

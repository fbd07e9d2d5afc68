//! Peers that do what they may not, and queries about nodes.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use super::*;

// ---- Peers that do what they may not ----

#[test]
fn a_foreign_peer_is_refused_and_harms_nobody() {
    let (mut engine, mut a) = Engine::with_node("a");
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
    let (mut engine, a) = Engine::with_node("a");
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

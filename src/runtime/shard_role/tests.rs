//! The shard role at the bounds of its rings: what waits, what is dropped and counted, and that nothing else is lost.

use heddle_wire::application_client::GetClusterNodesRequest;
use heddle_wire::frame::Frame;
use heddle_wire::limits::{COMMANDS_PER_ANSWER_MAX, COMMANDS_PER_NODE_MAX};
use heddle_wire::record::{ApplicationAttemptId, ApplicationId, ContainerId, NodeHandle, NodeId, Resource};
use heddle_wire::resource_tracker::{
    NodeHeartbeatRequest, NodeHeartbeatResponse, RegisterNodeManagerRequest, RegisterNodeManagerResponse,
};
use heddle_wire::{Flags, decode, write_frame};

use super::*;
use crate::engine::batch::{AnswerBatch, PeerId, StreamRef};
use crate::engine::event::NodeOrder;
use crate::engine::settings::ShardSettings;
use crate::metrics::Metrics;
use crate::ring::spsc;
use crate::runtime::idle::Sleeper;
use crate::runtime::nets::WAITING_SIZE_MAX;
use crate::runtime::proxy::{BATCHES, RolePort, connect};

const PEER: PeerId = PeerId(1);

/// A role and the other end of everything it holds.
struct Bench {
    role: ShardRole,
    ports: Vec<RolePort>,
    node_commands: SpscProducer<NodeCommand>,
    node_events: SpscConsumer<NodeEvent>,
    metrics: Metrics,
    now: Instant,
}

/// An answer as it came: correlation id, body.
type Answer = (u64, Vec<u8>);

impl Bench {
    fn new(nets: usize, node_events: usize) -> Self {
        let metrics = Metrics::new();
        let sleeper = Arc::new(Sleeper::for_current_thread());
        let ends = (0..nets).map(|_| connect(Arc::clone(&sleeper), Arc::default()));
        let (ports, nets): (Vec<RolePort>, Vec<NetPort>) = ends.unzip();
        let (node_events, events) = spsc(node_events);
        let (orders, node_commands) = spsc(2 * COMMANDS_PER_NODE_MAX);
        let role = ShardRole::new(ShardRoleParts {
            stepper: ShardStepper::new(ShardSettings::default(), None),
            nets,
            commands: MpscQueue::new(1),
            replies: mpsc::channel(1).0,
            node_commands,
            node_events,
            scheduler: Arc::clone(&sleeper),
            done: Arc::default(),
            gauge: metrics.shard(0),
        });
        Self {
            role,
            ports,
            node_commands: orders,
            node_events: events,
            metrics,
            now: Instant::from_millis(1),
        }
    }

    fn step(&mut self) -> usize {
        self.now = self.now + std::time::Duration::from_millis(1);
        self.role.do_work(self.now, 0)
    }

    /// Sends frames as one batch of net thread 0.
    fn send(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.ports[0].offer_frame(frame, StreamRef::new(0, 0, 1), PEER).unwrap();
        }
        self.ports[0].flush();
    }

    /// What is in the next batch of answers, which is not given back.
    fn next_answers(&mut self) -> Option<(AnswerBatch, Vec<Answer>)> {
        let batch = self.ports[0].poll_answers()?;
        let answers = batch.answers().iter().map(|answer| {
            let frame = Frame::from_slice(batch.answer_bytes(answer)).unwrap();
            assert!(!frame.header.flags.is_reject());
            (frame.header.correlation_id, frame.body().to_vec())
        });
        let answers = answers.collect();
        Some((batch, answers))
    }

    /// Steps until nothing is left to do, giving every batch back.
    fn settle(&mut self) -> Vec<Answer> {
        let mut all = Vec::new();
        loop {
            let items = self.step();
            let mut is_idle = items == 0;
            while let Some((batch, answers)) = self.next_answers() {
                is_idle = false;
                all.extend(answers);
                self.ports[0].return_answers(batch);
            }
            if is_idle {
                return all;
            }
        }
    }

    fn register(&mut self, count: u64) -> Vec<NodeHandle> {
        let frames: Vec<_> = (0..count).map(registration).collect();
        let mut answers = Vec::new();
        for some in frames.chunks(32) {
            self.send(some);
            answers.extend(self.settle());
        }
        let handle = |answer: &Answer| decode::<RegisterNodeManagerResponse>(&answer.1).unwrap().node_handle;
        answers.iter().map(handle).collect()
    }

    /// Takes every empty batch of answers out of circulation.
    fn starve(&mut self) -> Vec<AnswerBatch> {
        let mut kept = Vec::new();
        while kept.len() < BATCHES {
            self.send(&[stray(0)]);
            assert_eq!(self.step(), 1);
            kept.extend(self.next_answers().map(|(batch, _)| batch));
        }
        kept
    }

    fn assert_exposed(&mut self, line: &str) {
        self.role.publish(self.now);
        let text = self.metrics.exposition().unwrap();
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

fn registration(index: u64) -> Vec<u8> {
    let node_id = NodeId::new(format!("node-{index}"), 1);
    let key = node_id.routing_key();
    let request = RegisterNodeManagerRequest {
        node_id,
        http_port: 8_042,
        protocol_minor: 0,
        features: 0,
        rack_name: "/default-rack".to_owned(),
        nm_version: "3.4.1".to_owned(),
        capability: Resource::new(4_096, 4),
        physical_resource: None,
        node_status: None,
        container_statuses: Vec::new(),
        running_applications: Vec::new(),
        node_labels: None,
        node_attributes: None,
        log_aggregation_reports: Vec::new(),
    };
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Flags::REQUEST, index, key, &request);
    bytes
}

fn beat(id: u64, node_handle: NodeHandle, response_id: u32, acknowledged_command: u32) -> Vec<u8> {
    let request = NodeHeartbeatRequest {
        node_handle,
        response_id,
        acknowledged_command,
        container_token_key_id: 0,
        nm_token_key_id: 0,
        token_sequence: 0,
        containers_digest: Default::default(),
        is_full_report: false,
        is_continued: false,
        is_node_healthy: true,
        containers_utilization: Default::default(),
        node_utilization: Default::default(),
        container_statuses: Vec::new(),
        details: None,
    };
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Flags::REQUEST, id, node_handle.0, &request);
    bytes
}

/// A beat of no node: answered RESYNC.
fn stray(id: u64) -> Vec<u8> {
    beat(id, NodeHandle::new(0, 1 << 20, 1), 0, 0)
}

/// A question with a large answer.
fn query(id: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let request = GetClusterNodesRequest { limit: 1_024, ..Default::default() };
    write_frame(&mut bytes, Flags::REQUEST, id, 0, &request);
    bytes
}

fn cleanup(node: NodeHandle, container_id: u64, is_urgent: bool) -> NodeCommand {
    let application_id = ApplicationId { cluster_timestamp: 1, id: 1 };
    let application_attempt_id = ApplicationAttemptId { application_id, attempt_id: 1 };
    let order = NodeOrder::CleanupContainer(ContainerId { application_attempt_id, container_id });
    NodeCommand { node, order, is_urgent }
}

#[test]
fn node_events_wait_for_room_in_their_order() {
    const NODES: u64 = 20;
    let mut bench = Bench::new(1, 3);
    let handles = bench.register(NODES);
    assert_eq!(handles.len() as u64, NODES);
    assert!(!bench.role.node_events.has_room());
    let mut told = Vec::new();
    while let Some(event) = bench.node_events.poll() {
        assert!(event.added.is_some());
        told.push(event.node);
        if bench.node_events.is_empty() {
            let expected = 3.min(NODES as usize - told.len());
            assert_eq!(bench.step(), expected, "said as many as there is room for");
        }
    }
    assert_eq!(told, handles);
}

#[test]
fn without_an_empty_answer_batch_frames_wait_and_none_is_lost() {
    let mut bench = Bench::new(1, 64);
    let total = 2 * BATCHES as u64;
    for id in 0..total / 2 {
        bench.send(&[stray(id)]);
    }
    while bench.step() > 0 {}
    // Every answer batch is at the net thread now, every frame batch came back.
    for id in total / 2..total {
        bench.send(&[stray(id)]);
    }
    assert!(bench.ports[0].offer_frame(&stray(0), StreamRef::new(0, 0, 1), PEER).is_err());
    assert_eq!((bench.step(), bench.ports[0].depth()), (0, BATCHES));
    assert!(!bench.role.is_drained());

    let mut ids = Vec::new();
    while let Some((batch, answers)) = bench.next_answers() {
        ids.extend(answers.iter().map(|(id, _)| *id));
        bench.ports[0].return_answers(batch);
        // One batch came back: one is taken.
        let left = bench.ports[0].depth();
        assert_eq!((bench.step(), bench.ports[0].depth()), (left.min(1), left.saturating_sub(1)));
    }
    assert_eq!(ids, (0..total).collect::<Vec<_>>());
}

#[test]
fn a_batch_whose_answers_fill_a_batch_goes_on_where_it_stopped() {
    const QUERIES: u64 = 60;
    let mut bench = Bench::new(1, 2_048);
    bench.register(1_024);
    let mut kept = bench.starve();
    bench.send(&(0..QUERIES).map(query).collect::<Vec<_>>());
    let mut ids = Vec::new();
    let mut parts = 0;
    loop {
        // A tick may be due.
        assert!(bench.step() <= 1);
        assert!(!bench.ports[0].has_answers(), "frames are taken without a batch for their answers");
        assert!(!bench.role.is_drained());
        bench.ports[0].return_answers(kept.pop().unwrap());
        assert!(bench.step() > 0);
        let (_, answers) = bench.next_answers().unwrap();
        ids.extend(answers.iter().map(|(id, _)| *id));
        parts += 1;
        if ids.len() as u64 == QUERIES {
            break;
        }
    }
    assert!(parts > 1, "all answers fit a batch: the case does not occur");
    assert_eq!(ids, (0..QUERIES).collect::<Vec<_>>());
    assert!(!bench.role.has_work());
}

#[test]
fn pushes_past_the_bound_are_dropped_and_counted_and_their_orders_are_not_lost() {
    const ORDERS: u64 = 600;
    let mut bench = Bench::new(1, 64);
    let handle = bench.register(1)[0];
    bench.send(&[beat(1, handle, 0, 0)]);
    assert_eq!(bench.settle().len(), 1);
    let kept = bench.starve();
    for id in 0..ORDERS {
        // Urgent, and not an end: ends go together, a few times a second.
        let NodeOrder::CleanupContainer(container) = cleanup(handle, id, true).order else { unreachable!() };
        let order = NodeOrder::RemoveContainer(container);
        bench.node_commands.offer(NodeCommand { node: handle, order, is_urgent: true }).unwrap();
        assert!(bench.step() > 0);
        // A push repeats what waits: it is past the bound by one at most.
        assert!(bench.role.nets.waiting_size(0) < WAITING_SIZE_MAX + 64 * 1_024);
    }
    let dropped = bench.role.pushes_dropped;
    assert!(dropped > 0, "{} bytes of pushes", bench.role.nets.waiting_size(0));
    bench.assert_exposed(&format!("heddle_pushes_dropped_total{{shard=\"0\"}} {dropped}"));

    for batch in kept {
        bench.ports[0].return_answers(batch);
    }
    let pushes = bench.settle();
    assert_eq!(pushes.len() as u64 + dropped, ORDERS);
    assert_eq!(bench.role.nets.waiting_size(0), 0);

    // What was dropped comes with the next answers.
    let mut told = Vec::new();
    for response_id in 1..=2 {
        bench.send(&[beat(1, handle, response_id, told.len() as u32)]);
        let (_, body) = bench.settle().pop().unwrap();
        let commands = decode::<NodeHeartbeatResponse>(&body).unwrap().commands.unwrap();
        let removed = commands.containers_to_be_removed_from_nm;
        assert!(removed.len() <= COMMANDS_PER_ANSWER_MAX);
        told.extend(removed.into_iter().map(|id| id.container_id));
        assert_eq!(commands.last_sequence as usize, told.len());
    }
    assert_eq!(told, (0..ORDERS).collect::<Vec<_>>());
}

#[test]
fn orders_past_a_nodes_list_are_refused_and_counted() {
    let mut bench = Bench::new(1, 64);
    let handle = bench.register(1)[0];
    for id in 0..COMMANDS_PER_NODE_MAX as u64 + 3 {
        bench.node_commands.offer(cleanup(handle, id, false)).unwrap();
    }
    assert_eq!(bench.step(), NODE_COMMANDS_PER_CYCLE, "a cycle has a bound");
    bench.settle();
    assert!(bench.role.node_commands.is_empty());
    assert_eq!(bench.role.commands_refused, 3);
    bench.assert_exposed("heddle_commands_refused_total{shard=\"0\"} 3");
    bench.send(&[beat(1, handle, 0, 0)]);
    let (_, body) = bench.settle().pop().unwrap();
    let commands = decode::<NodeHeartbeatResponse>(&body).unwrap().commands.unwrap();
    assert_eq!(commands.containers_to_cleanup.len(), COMMANDS_PER_ANSWER_MAX);
    assert_eq!(commands.containers_to_cleanup[0].container_id, 0);
}

#[test]
fn a_batch_that_goes_on_in_another_cycle_replays() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ShardSettings::default();
    let header =
        crate::recorder::Header::Shard { version: "test".to_owned(), settings: Box::new(settings.clone()) };
    let (mut tapes, _, thread) =
        crate::recorder::start(folder.path(), 1 << 30, &[("shard-0".to_owned(), header)]).unwrap();
    let mut bench = Bench::new(1, 2_048);
    bench.role.stepper = ShardStepper::new(settings, tapes.pop());
    bench.register(1_024);
    let mut kept = bench.starve();
    bench.send(&(0..60).map(query).collect::<Vec<_>>());
    bench.ports[0].return_answers(kept.pop().unwrap());
    assert!(bench.step() > 0);
    assert!(bench.role.nets.has_in_hand(0));
    for batch in kept {
        bench.ports[0].return_answers(batch);
    }
    bench.settle();
    drop(bench);
    thread.join();
    let report = crate::recorder::replay(folder.path()).unwrap();
    assert!(report.is_identical(), "{report:?}");
    assert_eq!(report.roles[0].end, Some(crate::recorder::TapeEnd::Clean));
}
/// A batch that was not taken whole went on after another net thread's frames; its replay went on in the other's batch.
#[test]
fn a_batch_that_goes_on_after_frames_of_another_net_thread_replays() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ShardSettings::default();
    let header =
        crate::recorder::Header::Shard { version: "test".to_owned(), settings: Box::new(settings.clone()) };
    let (mut tapes, _, thread) =
        crate::recorder::start(folder.path(), 1 << 30, &[("shard-0".to_owned(), header)]).unwrap();
    let mut bench = Bench::new(2, 2_048);
    bench.role.stepper = ShardStepper::new(settings, tapes.pop());
    bench.register(1_024);
    let mut kept = bench.starve();
    bench.send(&(0..60).map(query).collect::<Vec<_>>());
    bench.ports[0].return_answers(kept.pop().unwrap());
    assert!(bench.step() > 0);
    assert!(bench.role.nets.has_in_hand(0));
    bench.ports[1].offer_frame(&stray(1), StreamRef::new(1, 0, 1), PEER).unwrap();
    bench.ports[1].flush();
    assert_eq!(bench.step(), 1);
    for batch in kept {
        bench.ports[0].return_answers(batch);
    }
    bench.settle();
    drop(bench);
    thread.join();
    let report = crate::recorder::replay(folder.path()).unwrap();
    assert!(report.is_identical(), "{report:?}");
}

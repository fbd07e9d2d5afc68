//! What seeds found, each as the few frames that show it.
//! Owns: nothing. Called by: the test harness. Thread: any.
//! Does not: depend on a seed, so that these stay when plans change. Invariant: a test opens with its story.

use heddle::engine::batch::{AnswerBatch, FrameBatch, PeerId, StreamRef};
use heddle::engine::event::{DecommissionMode, NodeCommand, NodeEvent, NodeOrder, ShardCommand};
use heddle::engine::settings::{ExcludedHost, NodeLists, ShardSettings};
use heddle::engine::shard::{Outbox, Shard};
use heddle::engine::time::{Duration, Instant};
use heddle_loadgen::fleet::{Fleet, FleetSpec};
use heddle_wire::frame::Frame;
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ContainerId, ContainerState, ContainerStatus, ContainerSubState,
    ContainersDigest, ExecutionType, NodeAction, NodeHandle, NodeId, Resource, ResourceUtilization,
    SignalContainerCommand,
};
use heddle_wire::resource_tracker::{
    NodeHeartbeatRequest, NodeHeartbeatResponse, RegisterNodeManagerRequest, RegisterNodeManagerResponse,
};
use heddle_wire::{Flags, decode, write_frame};

const APPLICATION: ApplicationId = ApplicationId { cluster_timestamp: 1, id: 1 };

/// A shard and the time.
struct Door {
    shard: Shard,
    now: Instant,
    out: Outbox,
}

impl Door {
    fn new(rm_identifier: u64) -> Self {
        let settings = ShardSettings { rm_identifier, ..ShardSettings::default() };
        Self { shard: Shard::new(settings), now: Instant::from_millis(1_000), out: Outbox::default() }
    }

    fn ask(&mut self, frame: &[u8], peer: u64) -> Vec<u8> {
        let (mut batch, mut answers) = (FrameBatch::default(), AnswerBatch::default());
        batch.push(frame, StreamRef::new(0, 1, 1), PeerId(peer));
        assert_eq!(self.shard.handle_frames(self.now, &batch, 0, &mut answers, &mut self.out), 1);
        answers.bytes().to_vec()
    }

    fn register(&mut self, host: &str, peer: u64, memory_mb: u64) -> RegisterNodeManagerResponse {
        let node_id = NodeId::new(host, 1);
        let key = node_id.routing_key();
        let request = RegisterNodeManagerRequest {
            node_id,
            http_port: 8_042,
            protocol_minor: 0,
            features: 0,
            rack_name: String::new(),
            nm_version: "3.4.0".to_owned(),
            capability: Resource::new(memory_mb, 8),
            physical_resource: None,
            node_status: None,
            container_statuses: Vec::new(),
            running_applications: vec![APPLICATION],
            node_labels: None,
            node_attributes: None,
            log_aggregation_reports: Vec::new(),
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::REQUEST, 1, key, &request);
        let answer = self.ask(&frame, peer);
        decode(Frame::from_slice(&answer).unwrap().body()).unwrap()
    }

    /// Beats. `None` for a reject.
    fn beat(&mut self, beat: &NodeHeartbeatRequest, peer: u64) -> Option<NodeHeartbeatResponse> {
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::REQUEST, 1, beat.node_handle.0, beat);
        let answer = self.ask(&frame, peer);
        let answer = Frame::from_slice(&answer).unwrap();
        (!answer.header.flags.is_reject()).then(|| decode(answer.body()).unwrap())
    }

    fn events(&mut self) -> Vec<NodeEvent> {
        core::iter::from_fn(|| self.shard.poll_node_event()).collect()
    }
}

fn container(container_id: u64) -> ContainerId {
    let application_attempt_id = ApplicationAttemptId { application_id: APPLICATION, attempt_id: 1 };
    ContainerId { application_attempt_id, container_id }
}

fn beat(node_handle: NodeHandle, response_id: u32) -> NodeHeartbeatRequest {
    NodeHeartbeatRequest {
        node_handle,
        response_id,
        acknowledged_command: 0,
        container_token_key_id: 0,
        nm_token_key_id: 0,
        token_sequence: 0,
        containers_digest: ContainersDigest::default(),
        is_full_report: false,
        is_continued: false,
        is_node_healthy: true,
        containers_utilization: ResourceUtilization::default(),
        node_utilization: ResourceUtilization::default(),
        container_statuses: Vec::new(),
        details: None,
    }
}

fn complete(container_id: ContainerId) -> ContainerStatus {
    ContainerStatus {
        container_id,
        state: ContainerState::Complete,
        sub_state: ContainerSubState::Done,
        execution_type: ExecutionType::Guaranteed,
        exit_status: 0,
        capability: Resource::new(1_024, 1),
        diagnostics: String::new(),
        attributes: Vec::new(),
    }
}

/// A node registered, and again with another capability, before the scheduler polled: it was told the first for good.
#[test]
fn a_capability_changed_before_the_first_poll_is_told() {
    let mut door = Door::new(1);
    door.register("a", 7, 4_096);
    door.register("a", 7, 8_192);
    let events = door.events();
    assert_eq!(events.len(), 1);
    assert!(events[0].added.is_some());
    assert_eq!(events[0].capability.as_ref().unwrap().memory_mb, 8_192);
}

/// After a restart nodes come back in another order. The handle of one named the row of another: it was refused as a
/// foreigner, for ever.
#[test]
fn a_handle_of_an_earlier_resource_manager_is_told_resync() {
    let old = Door::new(1_700_000_000_000).register("a", 7, 4_096).node_handle;
    let mut door = Door::new(1_700_000_060_000);
    door.register("b", 8, 4_096);
    let answer = door.beat(&beat(old, 0), 7).expect("not a reject");
    assert_eq!(answer.node_action, NodeAction::Resync);
    // And behind a relay, where both come under one certificate, it is not taken for the other node.
    assert_eq!(door.beat(&beat(old, 0), 8).unwrap().node_action, NodeAction::Resync);
}

/// A row was forgotten and given to a placeholder of an excluded host; the node's old handle named the placeholder.
#[test]
fn a_placeholder_does_not_inherit_handles() {
    let mut door = Door::new(1);
    let old = door.register("a", 7, 4_096).node_handle;
    let include: Box<[Box<str>]> = Box::new(["z".into()]);
    let mode = DecommissionMode::Forceful;
    let lists = NodeLists { include: include.clone(), ..NodeLists::default() };
    door.shard.handle_shard_command(
        door.now,
        ShardCommand::SetNodeLists { token: 1, lists, mode },
        &mut door.out,
    );
    for _ in 0..100 {
        door.now = door.now + Duration::from_secs(1);
        door.shard.handle_tick(door.now, 0, &mut door.out);
    }
    let ghost = ExcludedHost { host: "ghost".into(), timeout_s: None };
    let lists = NodeLists { include, exclude: Box::new([ghost]) };
    door.shard.handle_shard_command(
        door.now,
        ShardCommand::SetNodeLists { token: 2, lists, mode },
        &mut door.out,
    );
    let answer = door.beat(&beat(old, 0), 7).expect("not a reject");
    assert_eq!(answer.node_action, NodeAction::Resync);
}

/// A node carried out a signal and registered again before it could acknowledge it: the signal came a second time,
/// under a new number.
#[test]
fn a_signal_is_not_sent_again_after_registering_again() {
    let mut door = Door::new(1);
    let node = door.register("a", 7, 4_096).node_handle;
    let order = NodeOrder::SignalContainer(container(1), SignalContainerCommand::OutputThreadDump);
    let command = NodeCommand { node, order, is_urgent: false };
    door.shard.handle_node_command(door.now, command, &mut door.out).unwrap();
    let order = NodeOrder::CleanupContainer(container(2));
    let command = NodeCommand { node, order, is_urgent: false };
    door.shard.handle_node_command(door.now, command, &mut door.out).unwrap();
    let commands = door.beat(&beat(node, 0), 7).unwrap().commands.unwrap();
    assert_eq!(commands.containers_to_signal.len(), 1);
    let node = door.register("a", 7, 4_096).node_handle;
    let commands = door.beat(&beat(node, 0), 7).unwrap().commands.unwrap();
    assert!(commands.containers_to_signal.is_empty());
    assert_eq!(commands.containers_to_cleanup, [container(2)], "orders to kill are sent until acknowledged");
}

/// Becoming UNHEALTHY forgot what was told as complete: it was told again after recovery.
#[test]
fn a_completion_is_told_once_whatever_the_health() {
    let mut door = Door::new(1);
    let node = door.register("a", 7, 4_096).node_handle;
    let mut told = Vec::new();
    for (response_id, is_node_healthy) in [true, false, true, true].into_iter().enumerate() {
        let mut beat = beat(node, response_id as u32);
        beat.is_node_healthy = is_node_healthy;
        beat.container_statuses.push(complete(container(1)));
        assert_eq!(door.beat(&beat, 7).unwrap().node_action, NodeAction::Normal);
        told.extend(door.events().into_iter().flat_map(|event| event.completed));
    }
    assert_eq!(told.len(), 1);
}

/// A fleet of one node with a container, registered with a lease of two seconds at 10 ms. Returns its handle.
fn leased(fleet: &mut Fleet) -> u64 {
    fleet.start(0, 0);
    step(fleet, 0);
    let handle = NodeHandle::new(0, 1, 1);
    let answer = RegisterNodeManagerResponse {
        node_action: NodeAction::Normal,
        node_handle: handle,
        rm_identifier: 1,
        rm_version: String::new(),
        protocol_minor: 0,
        features: 0,
        heartbeat_interval_ms: 500,
        next_heartbeat_ms: 500,
        phase_ms: 0,
        lease_ms: 2_000,
        container_token_master_key: None,
        nm_token_master_key: None,
        capability: None,
        are_node_labels_accepted: false,
        are_node_attributes_accepted: false,
        diagnostics: String::new(),
    };
    let mut frame = Vec::new();
    write_frame(&mut frame, Flags::RESPONSE, 0, 0, &answer);
    fleet.handle_frame(10_000, &Frame::from_slice(&frame).unwrap());
    handle.0
}

/// Lets the fleet send what is due.
fn step(fleet: &mut Fleet, now_us: u64) -> Vec<u8> {
    let (mut due, mut out) = (Vec::new(), Vec::new());
    fleet.due(now_us, 10, &mut due);
    for node in due {
        fleet.write(node, now_us, &mut out);
    }
    out
}

fn fleet() -> Fleet {
    Fleet::new(FleetSpec { containers_per_node: 1, retry_after_ms: 600, ..FleetSpec::default() }, 1)
}

/// RESYNC stopped the lease. A registration that was accepted and whose answer was lost starts the other side's clock.
#[test]
fn the_lease_runs_on_after_resync() {
    let mut fleet = fleet();
    let handle = leased(&mut fleet);
    let sent = step(&mut fleet, 520_000);
    let correlation = Frame::from_slice(&sent).unwrap().header.correlation_id;
    let answer =
        NodeHeartbeatResponse { node_action: NodeAction::Resync, ..NodeHeartbeatResponse::default() };
    let mut frame = Vec::new();
    write_frame(&mut frame, Flags::RESPONSE, correlation, handle, &answer);
    fleet.handle_frame(530_000, &Frame::from_slice(&frame).unwrap());
    (540..2_600).for_each(|ms| {
        step(&mut fleet, ms * 1_000);
    });
    assert_eq!(fleet.digest(0).count, 0, "stopped two seconds after the last answered request");
}

/// The answer to a beat's first copy came late. The lease was counted from the last repeat, which nobody had heard.
#[test]
fn the_lease_counts_from_the_first_copy() {
    let mut fleet = fleet();
    let handle = leased(&mut fleet);
    let sent = step(&mut fleet, 510_000);
    let correlation = Frame::from_slice(&sent).unwrap().header.correlation_id;
    let repeated: usize = (520..1_900).map(|ms| step(&mut fleet, ms * 1_000).len()).sum();
    assert!(repeated > 0);
    let answer = NodeHeartbeatResponse {
        response_id: 1,
        heartbeat_interval_ms: 500,
        next_heartbeat_ms: 500,
        lease_ms: 2_000,
        ..NodeHeartbeatResponse::default()
    };
    let mut frame = Vec::new();
    write_frame(&mut frame, Flags::RESPONSE, correlation, handle, &answer);
    fleet.handle_frame(1_900_000, &Frame::from_slice(&frame).unwrap());
    (1_901..2_400).for_each(|ms| {
        step(&mut fleet, ms * 1_000);
    });
    assert_eq!(fleet.digest(0).count, 1, "the lease lasts until 2,510 ms");
    (2_400..2_600).for_each(|ms| {
        step(&mut fleet, ms * 1_000);
    });
    assert_eq!(fleet.digest(0).count, 0);
}

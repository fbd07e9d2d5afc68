//! Builders and a driver for engine tests: frames in, frames out, virtual time, no sockets.
//! Owns: [`Engine`] (a shard with its clock), [`NodeBuilder`], [`TestNode`] (what an agent remembers).
//! Called by: `tests/yarn_semantics.rs`, `tests/allocations.rs`, `tests/shard_properties.rs`, `benches/heartbeat.rs`.
//! Does not: model a fleet; that is the load generator's.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part")]

use core::time::Duration;

use heddle::engine::batch::{AnswerBatch, FrameBatch, PeerId, StreamRef};
use heddle::engine::event::{NodeCommand, NodeEvent, NodeOrder, ShardCommand};
use heddle::engine::settings::{ExcludedHost, NodeLists, ShardSettings};
use heddle::engine::shard::{Outbox, Shard};
use heddle::engine::time::Instant;
use heddle_wire::frame::Frame;
use heddle_wire::message::decode_reject;
use heddle_wire::record::*;
use heddle_wire::resource_tracker::*;
use heddle_wire::{Flags, Opcode, Reject, RejectCode, WriteMessage, decode, write_frame};

/// What came back for one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The whole frame.
    pub frame: Vec<u8>,
    /// Where it went.
    pub stream: StreamRef,
}

impl Reply {
    fn parsed(&self) -> Frame<'_> {
        Frame::from_slice(&self.frame).expect("an answer is a frame")
    }

    /// The body as the opcode's answer.
    pub fn body(&self) -> Vec<u8> {
        self.parsed().body().to_vec()
    }

    /// Its flags.
    pub fn flags(&self) -> Flags {
        self.parsed().header.flags
    }

    /// The reject in it, if it is one.
    pub fn reject(&self) -> Option<Reject> {
        let frame = self.parsed();
        frame
            .header
            .flags
            .is_reject()
            .then(|| decode_reject(frame.header.opcode, frame.body()).expect("a reject decodes"))
    }

    /// The code of the reject in it.
    pub fn reject_code(&self) -> Option<RejectCode> {
        self.reject().and_then(|reject| RejectCode::from_number(reject.code))
    }

    /// The heartbeat answer in it.
    pub fn heartbeat(&self) -> NodeHeartbeatResponse {
        assert_eq!(self.reject(), None);
        assert_eq!(self.parsed().header.opcode, Opcode::NodeHeartbeat);
        decode(self.parsed().body()).expect("an answer decodes")
    }

    /// The registration answer in it.
    pub fn registration(&self) -> RegisterNodeManagerResponse {
        assert_eq!(self.reject(), None);
        assert_eq!(self.parsed().header.opcode, Opcode::RegisterNodeManager);
        decode(self.parsed().body()).expect("an answer decodes")
    }
}

/// A shard with its clock.
#[derive(Debug)]
pub struct Engine {
    /// The shard.
    pub shard: Shard,
    /// Its time.
    pub now: Instant,
    /// What it said besides answers, since the test last looked.
    pub out: Outbox,
    correlation_id: u64,
}

impl Engine {
    /// With YARN's defaults.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With changed settings.
    pub fn with(change: impl FnOnce(&mut ShardSettings)) -> Self {
        let mut settings = ShardSettings { rm_identifier: 1_700_000_000_000, ..ShardSettings::default() };
        change(&mut settings);
        let mut engine = Self {
            shard: Shard::new(settings),
            now: Instant::from_millis(1_000),
            out: Outbox::default(),
            correlation_id: 0,
        };
        engine.tick();
        engine
    }

    /// With YARN's defaults, and a node that has joined.
    pub fn with_node(host: &str) -> (Self, TestNode) {
        let (mut engine, mut node) = (Self::new(), node(host));
        engine.join(&mut node);
        (engine, node)
    }

    /// Sends bytes and returns every answer.
    pub fn send_all(&mut self, frame: &[u8], stream: StreamRef, peer: PeerId) -> Vec<Reply> {
        let mut batch = FrameBatch::default();
        batch.push(frame, stream, peer);
        let mut answers = AnswerBatch::default();
        assert_eq!(self.shard.handle_frames(self.now, &batch, 0, &mut answers, &mut self.out), 1);
        replies(&answers)
    }

    /// Sends bytes and returns the one answer.
    pub fn send(&mut self, frame: &[u8], stream: StreamRef, peer: PeerId) -> Reply {
        let mut replies = self.send_all(frame, stream, peer);
        assert_eq!(replies.len(), 1, "every request gets exactly one answer");
        replies.remove(0)
    }

    /// A frame with the next correlation id.
    pub fn frame<M>(&mut self, routing_key: u64, message: &M) -> Vec<u8>
    where
        M: WriteMessage,
    {
        self.correlation_id += 1;
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::REQUEST, self.correlation_id, routing_key, message);
        frame
    }

    /// Registers a node as it is; the node remembers the handle.
    pub fn register(&mut self, node: &mut TestNode) -> RegisterNodeManagerResponse {
        let frame = self.frame(node.register.node_id.routing_key(), &node.register);
        let answer = self.send(&frame, node.stream, node.peer).registration();
        if answer.node_action == NodeAction::Normal {
            node.beat.node_handle = answer.node_handle;
            node.beat.response_id = 0;
            node.beat.acknowledged_command = 0;
        }
        answer
    }

    /// Registers a node and beats once, both of which must go well.
    pub fn join(&mut self, node: &mut TestNode) {
        assert_eq!(self.register(node).node_action, NodeAction::Normal);
        assert_eq!(self.beat(node).node_action, NodeAction::Normal);
    }

    /// Sends the node's beat as it is and changes nothing in the node.
    pub fn beat_raw(&mut self, node: &TestNode) -> Reply {
        let frame = self.frame(node.beat.node_handle.0, &node.beat);
        self.send(&frame, node.stream, node.peer)
    }

    /// Beats as an agent does: takes in the id, carries out the orders, sends changes once.
    pub fn beat(&mut self, node: &mut TestNode) -> NodeHeartbeatResponse {
        let answer = self.beat_raw(node).heartbeat();
        node.take(&answer);
        answer
    }

    /// One tick now.
    pub fn tick(&mut self) {
        self.shard.handle_tick(self.now, 0, &mut self.out);
    }

    /// Lets time pass, with a tick at least every 100 ms.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = (self.now + Duration::from_millis(100)).min(end);
            self.tick();
        }
    }

    /// Lets time pass while these nodes beat every second.
    pub fn pass_beating(&mut self, duration: Duration, nodes: &mut [TestNode]) {
        let end = self.now + duration;
        while self.now < end {
            self.pass(Duration::from_secs(1).min(end.since(self.now)));
            for node in &mut *nodes {
                self.beat(node);
            }
        }
    }

    /// All events waiting.
    pub fn events(&mut self) -> Vec<NodeEvent> {
        core::iter::from_fn(|| self.shard.poll_node_event()).collect()
    }

    /// The only event waiting.
    pub fn event(&mut self) -> NodeEvent {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    /// Gives an order, which must be taken.
    pub fn order(&mut self, node: &TestNode, order: NodeOrder) {
        self.order_of(NodeCommand { node: node.handle(), order, is_urgent: false });
    }

    /// Gives an order as it is.
    pub fn order_of(&mut self, command: NodeCommand) {
        self.shard.handle_node_command(self.now, command, &mut self.out).expect("there is room");
    }

    /// A message for the shard.
    pub fn command(&mut self, command: ShardCommand) {
        self.shard.handle_shard_command(self.now, command, &mut self.out);
    }

    /// Pushes since the last look.
    pub fn pushes(&mut self) -> Vec<Reply> {
        let pushes = replies(&self.out.pushes);
        self.out.pushes.clear();
        pushes
    }

    /// How many nodes are in a state.
    pub fn count(&self, state: NodeState) -> u32 {
        self.shard.counters().nodes_by_state[state as usize - 1]
    }

    /// All reports, page by page.
    pub fn nodes(&mut self) -> Vec<NodeReport> {
        use heddle_wire::application_client::*;
        let mut request = GetClusterNodesRequest { limit: 100, ..GetClusterNodesRequest::default() };
        let mut nodes = Vec::new();
        loop {
            let frame = self.frame(NodeHandle::new(0, 0, 0).0, &request);
            let reply = self.send(&frame, StreamRef::new(0, 99, 1), PeerId(99));
            let page: GetClusterNodesResponse = decode(&reply.body()).expect("a page decodes");
            nodes.extend(page.nodes);
            match page.next_row {
                Some(row) => request.start_row = row,
                None => return nodes,
            }
        }
    }

    /// The report of one node.
    pub fn node(&mut self, host: &str) -> NodeReport {
        let mut nodes = self.nodes();
        nodes.retain(|node| node.node_id.host == host);
        assert_eq!(nodes.len(), 1, "{host}: {nodes:?}");
        nodes.remove(0)
    }

    /// The state of one node.
    pub fn state(&mut self, host: &str) -> NodeState {
        self.node(host).state
    }
}

fn replies(answers: &AnswerBatch) -> Vec<Reply> {
    let reply = |answer| {
        let frame = answers.answer_bytes(answer).to_vec();
        Reply { frame, stream: answer.stream }
    };
    answers.answers().iter().map(reply).collect()
}

/// Makes [`TestNode`]s.
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    register: RegisterNodeManagerRequest,
    peer: PeerId,
    stream: StreamRef,
}

impl NodeBuilder {
    /// `host:45454` with 8 GiB and 8 vcores, under a peer and a stream of its own.
    pub fn new(host: &str) -> Self {
        let node_id = NodeId::new(host, 45_454);
        let number = node_id.routing_key();
        Self {
            register: RegisterNodeManagerRequest {
                node_id,
                http_port: 8_042,
                protocol_minor: 0,
                features: 0,
                rack_name: "/rack-1".to_owned(),
                nm_version: "3.4.0".to_owned(),
                capability: Resource::new(8_192, 8),
                physical_resource: Some(Resource::new(16_384, 8)),
                node_status: None,
                container_statuses: Vec::new(),
                running_applications: Vec::new(),
                node_labels: None,
                node_attributes: None,
                log_aggregation_reports: Vec::new(),
            },
            peer: PeerId(number | 1),
            stream: StreamRef::new(0, number as u32, 1),
        }
    }

    /// Changes what it registers with.
    pub fn registering(mut self, change: impl FnOnce(&mut RegisterNodeManagerRequest)) -> Self {
        change(&mut self.register);
        self
    }

    /// The node.
    pub fn build(self) -> TestNode {
        TestNode {
            register: self.register,
            beat: NodeHeartbeatRequest {
                node_handle: NodeHandle(0),
                response_id: 0,
                acknowledged_command: 0,
                container_token_key_id: 0,
                nm_token_key_id: 0,
                token_sequence: 0,
                containers_digest: ContainersDigest::default(),
                is_full_report: false,
                is_continued: false,
                is_node_healthy: true,
                containers_utilization: ResourceUtilization::default(),
                node_utilization: ResourceUtilization {
                    physical_memory_mb: 1_024,
                    virtual_memory_mb: 2_048,
                    cpu_millicores: 500,
                },
                container_statuses: Vec::new(),
                details: None,
            },
            peer: self.peer,
            stream: self.stream,
        }
    }
}

/// A node with 8 GiB and 8 vcores.
pub fn node(host: &str) -> TestNode {
    NodeBuilder::new(host).build()
}

/// What an agent remembers between beats.
#[derive(Clone, Debug)]
pub struct TestNode {
    /// Its next registration.
    pub register: RegisterNodeManagerRequest,
    /// Its next beat.
    pub beat: NodeHeartbeatRequest,
    /// Its certificate.
    pub peer: PeerId,
    /// Its stream.
    pub stream: StreamRef,
}

impl TestNode {
    /// Its handle.
    pub fn handle(&self) -> NodeHandle {
        self.beat.node_handle
    }

    /// A container begins: told with the next beat.
    pub fn launch(&mut self, container_id: ContainerId) {
        self.beat.containers_digest.add(&container_id);
        self.beat.container_statuses.push(status(container_id, ContainerState::Running));
    }

    /// A container ends: told with the next beat.
    pub fn complete(&mut self, container_id: ContainerId) {
        self.beat.containers_digest.remove(&container_id);
        self.beat.container_statuses.push(status(container_id, ContainerState::Complete));
    }

    /// What a beat rarely carries.
    pub fn details(&mut self) -> &mut NodeHeartbeatDetails {
        self.beat.details.get_or_insert_default()
    }

    /// Takes in an answer.
    pub fn take(&mut self, answer: &NodeHeartbeatResponse) {
        if answer.node_action != NodeAction::Normal {
            return;
        }
        self.beat.response_id = answer.response_id;
        self.beat.container_statuses.clear();
        self.beat.details = None;
        self.beat.is_full_report = false;
        self.beat.is_continued = false;
        if let Some(commands) = &answer.commands {
            self.beat.acknowledged_command = commands.last_sequence;
        }
    }
}

/// An application.
pub fn application(id: u32) -> ApplicationId {
    ApplicationId { cluster_timestamp: 1_700_000_000_000, id }
}

/// A container of an application's first attempt.
pub fn container(application_number: u32, id: u64) -> ContainerId {
    let application_attempt_id =
        ApplicationAttemptId { application_id: application(application_number), attempt_id: 1 };
    ContainerId { application_attempt_id, container_id: id }
}

/// A container of 1 GiB and 1 vcore in a heartbeat.
pub fn status(container_id: ContainerId, state: ContainerState) -> ContainerStatus {
    let is_complete = state == ContainerState::Complete;
    ContainerStatus {
        container_id,
        state,
        sub_state: if is_complete { ContainerSubState::Done } else { ContainerSubState::Running },
        execution_type: ExecutionType::Guaranteed,
        exit_status: if is_complete { 0 } else { EXIT_STATUS_INVALID },
        capability: Resource::new(1_024, 1),
        diagnostics: String::new(),
        attributes: Vec::new(),
    }
}

/// The same in a registration.
pub fn nm_status(container_id: ContainerId, state: ContainerState) -> NmContainerStatus {
    NmContainerStatus {
        container_id,
        container_state: state,
        execution_type: ExecutionType::Guaranteed,
        exit_status: if state == ContainerState::Complete { 0 } else { EXIT_STATUS_INVALID },
        capability: Resource::new(1_024, 1),
        priority: 0,
        creation_time_ms: 0,
        version: 0,
        allocation_request_id: -1,
        node_label_expression: String::new(),
        allocation_tags: Vec::new(),
        diagnostics: String::new(),
    }
}

/// Include and exclude lists.
pub fn lists(include: &[&str], exclude: &[&str]) -> NodeLists {
    let mut include: Vec<Box<str>> = include.iter().map(|host| (*host).into()).collect();
    include.sort();
    let mut exclude: Vec<ExcludedHost> =
        exclude.iter().map(|host| ExcludedHost { host: (*host).into(), timeout_s: None }).collect();
    exclude.sort();
    NodeLists { include: include.into(), exclude: exclude.into() }
}

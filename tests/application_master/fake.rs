//! A scheduler that places on slots, and a driver that speaks to the door in frames.
//! Owns: [`FakeScheduler`] (nodes with so many slots, asks, containers), [`Door`] (both with a clock). Called by:
//! `tests/application_master`, `tests/exact_asks.rs`. Does not: know queues, sizes beyond a largest one, or time.
//! Invariant: a container is in one state, and the slots taken on a node are its containers.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet};

use heddle::engine::application_master::Counters;
use heddle::engine::batch::{AnswerBatch, FrameBatch, PeerId, StreamRef};
use heddle::engine::event::{KeyPair, NodeEvent};
use heddle::engine::scheduler::face::*;
use heddle::engine::scheduler::message::{ApplicationEvent, Attempt, SchedulerCommand};
use heddle::engine::scheduler::resource::{ResourceTypes, ResourceVector};
use heddle::engine::scheduler::settings::SchedulerSettings;
use heddle::engine::scheduling::{Schedule, Scheduling};
use heddle::engine::time::Instant;
use heddle_wire::application_master::*;
use heddle_wire::frame::Frame;
use heddle_wire::message::decode_reject;
use heddle_wire::record::*;
use heddle_wire::token::{AmRmTokenIdentifier, Identifier, TokenKey};
use heddle_wire::{Flags, HEADER_SIZE, Opcode, Reject, RejectCode, WriteMessage, decode, write_frame};

/// A node: its name and how many containers fit it.
#[derive(Clone, Debug)]
pub struct FakeNode {
    pub node_id: NodeId,
    pub rack: String,
    pub slots: u32,
    pub used: u32,
    pub capability: ResourceVector,
}

/// What is outstanding for a key.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    pub any: u32,
    pub hosts: BTreeMap<String, u32>,
    pub racks: BTreeMap<String, u32>,
    pub capability: ResourceVector,
}

/// A container.
#[derive(Clone, Debug)]
pub struct FakeContainer {
    pub attempt: Attempt,
    pub node: NodeHandle,
    pub key: SchedulerKey,
    pub resource: ResourceVector,
    pub is_acquired: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct FakeScheduler {
    pub types: ResourceTypes,
    pub nodes: BTreeMap<NodeHandle, FakeNode>,
    pub attempts: BTreeMap<Attempt, ApplicationAttemptId>,
    pub pending: BTreeMap<(Attempt, SchedulerKey), Pending>,
    pub containers: BTreeMap<ContainerId, FakeContainer>,
    pub transferred: Vec<Granted>,
    pub acknowledged: Vec<ContainerId>,
    pub voided: Vec<ContainerId>,
    pub held: BTreeSet<Attempt>,
    pub blacklist: BTreeSet<String>,
    pub schedules: u32,
    pub has_freed: bool,
    pub busy: Option<(u64, u64)>,
    /// The label of asks that name none is no label of the cluster any more: they change nothing.
    pub is_default_label_gone: bool,
    next_id: u64,
}

/// Largest container of every attempt.
pub const MAXIMUM: ResourceVector = ResourceVector::new(8_192, 4);

impl FakeScheduler {
    pub fn add_node(&mut self, row: u32, slots: u32) -> NodeHandle {
        let handle = NodeHandle::new(0, row, 1);
        let node = FakeNode {
            node_id: NodeId::new(format!("host-{row}"), 45_454),
            rack: format!("/rack-{}", row % 2),
            slots,
            used: 0,
            capability: ResourceVector::new(65_536, 64),
        };
        self.nodes.insert(handle, node);
        self.has_freed = true;
        handle
    }

    /// Containers of an attempt that are not void and have not ended.
    pub fn live(&self, attempt: Attempt) -> BTreeSet<ContainerId> {
        let of_attempt = self.containers.iter().filter(|(_, container)| container.attempt == attempt);
        of_attempt.map(|(id, _)| *id).collect()
    }

    fn take_out(&mut self, container_id: &ContainerId) -> Option<FakeContainer> {
        let container = self.containers.remove(container_id)?;
        if let Some(node) = self.nodes.get_mut(&container.node) {
            node.used -= 1;
            self.has_freed = true;
        }
        Some(container)
    }

    /// A container ends; one that was not acquired has its ask put back.
    pub fn end(&mut self, container_id: &ContainerId, exit_status: i32, out: &mut SchedulerOutput) {
        let Some(container) = self.take_out(container_id) else { return };
        if !container.is_acquired {
            self.pending.entry((container.attempt, container.key)).or_default().any += 1;
        }
        out.attempt_events.push(AttemptEvent::Finished(Finished {
            attempt: container.attempt,
            container_id: *container_id,
            node: container.node,
            exit_status,
            diagnostics: format!("exit {exit_status}").into(),
            resource: container.resource,
            was_restored: !container.is_acquired,
            is_on_node: container.is_acquired && exit_status >= 0,
        }));
    }

    /// A node is lost with everything on it.
    pub fn lose_node(&mut self, node: NodeHandle, out: &mut SchedulerOutput) {
        let on_it: Vec<_> = self
            .containers
            .iter()
            .filter(|(_, container)| container.node == node)
            .map(|(id, _)| *id)
            .collect();
        for container_id in on_it {
            self.end(&container_id, -100, out);
        }
        self.nodes.remove(&node);
        out.attempt_events.push(AttemptEvent::NodeUpdated { node, update_type: 1 });
    }
}

impl ResourceScheduler for FakeScheduler {
    fn resource_types(&self) -> &ResourceTypes {
        &self.types
    }

    fn limits(&self, attempt: Attempt) -> Option<(ResourceVector, ResourceVector, &str)> {
        self.attempts.get(&attempt).map(|_| (ResourceVector::new(1_024, 1), MAXIMUM, "root.default"))
    }

    fn check_ask(&self, _attempt: Attempt, ask: &Ask<'_>) -> Result<(), Refusal> {
        let refusal = |code, message: &str| Err(Refusal { code, message: message.to_owned() });
        if !ask.capability.fits_in(&MAXIMUM) {
            return refusal(
                RejectCode::InvalidResourceRequest,
                "GREATER_THEN_MAX_ALLOCATION: asks.capability",
            );
        }
        if ask.node_label.is_some_and(|label| label == "unknown") {
            return refusal(RejectCode::InvalidLabelResourceRequest, "asks.node_label_expression is unknown");
        }
        Ok(())
    }

    fn update_ask(&mut self, _now: Instant, attempt: Attempt, ask: &Ask<'_>) {
        if self.is_default_label_gone && ask.node_label.is_none() {
            return;
        }
        let pending = self.pending.entry((attempt, ask.key)).or_default();
        match ask.place {
            Place::Any => {
                pending.any = ask.count;
                pending.capability = ask.capability.clone();
            }
            Place::Rack(rack) => *pending.racks.entry(rack.to_owned()).or_default() = ask.count,
            Place::Host(host) => *pending.hosts.entry(host.to_owned()).or_default() = ask.count,
        }
    }

    fn hold_grants(&mut self, _now: Instant, attempt: Attempt, is_held: bool) {
        if is_held {
            self.held.insert(attempt);
        } else {
            self.held.remove(&attempt);
        }
    }

    fn outstanding(&self, attempt: Attempt, key: SchedulerKey) -> u32 {
        self.pending.get(&(attempt, key)).map_or(0, |pending| pending.any)
    }

    fn check_release(&self, attempt: Attempt, container_id: &ContainerId) -> Result<(), Refusal> {
        let own = self.attempts.get(&attempt).map(|id| id.application_id);
        if own == Some(container_id.application_id()) {
            return Ok(());
        }
        let message = format!("releases names {container_id}, which is another application's");
        Err(Refusal { code: RejectCode::InvalidContainerRelease, message })
    }

    fn release(
        &mut self,
        _now: Instant,
        _attempt: Attempt,
        container_id: &ContainerId,
        out: &mut SchedulerOutput,
    ) {
        self.end(container_id, -100, out);
    }

    fn void(
        &mut self,
        _now: Instant,
        _attempt: Attempt,
        container_id: &ContainerId,
        _out: &mut SchedulerOutput,
    ) {
        if self.take_out(container_id).is_some() {
            self.voided.push(*container_id);
        }
    }

    fn update_blacklist(&mut self, _attempt: Attempt, additions: &[&str], removals: &[&str]) {
        self.blacklist.extend(additions.iter().map(|place| (*place).to_owned()));
        self.blacklist.retain(|place| !removals.contains(&place.as_str()));
    }

    fn acquire(&mut self, _now: Instant, _attempt: Attempt, container_id: &ContainerId) -> bool {
        self.containers.get_mut(container_id).is_some_and(|container| {
            assert!(!container.is_acquired, "{container_id} is acquired twice");
            container.is_acquired = true;
            true
        })
    }

    fn acknowledge(&mut self, _node: NodeHandle, container_id: &ContainerId, _out: &mut SchedulerOutput) {
        self.acknowledged.push(*container_id);
    }

    fn has_container(&self, attempt: Attempt, container_id: &ContainerId) -> bool {
        self.containers.get(container_id).is_some_and(|container| container.attempt == attempt)
    }

    fn schedule(&mut self, _now: Instant, out: &mut SchedulerOutput) {
        self.schedules += 1;
        self.has_freed = false;
        for ((attempt, key), pending) in &mut self.pending {
            if self.held.contains(attempt) {
                continue;
            }
            while pending.any > 0 {
                let Some((handle, node)) = self.nodes.iter_mut().find(|(_, node)| node.used < node.slots)
                else {
                    return;
                };
                node.used += 1;
                pending.any -= 1;
                self.next_id += 1;
                let application_attempt_id = self.attempts[attempt];
                let container_id = ContainerId { application_attempt_id, container_id: self.next_id };
                let container = FakeContainer {
                    attempt: *attempt,
                    node: *handle,
                    key: *key,
                    resource: pending.capability.clone(),
                    is_acquired: false,
                };
                out.attempt_events.push(AttemptEvent::Granted(Granted {
                    attempt: *attempt,
                    container_id,
                    node: *handle,
                    key: *key,
                    resource: pending.capability.clone(),
                }));
                self.containers.insert(container_id, container);
            }
        }
    }

    fn headroom(&self, _attempt: Attempt) -> ResourceVector {
        ResourceVector::new(1_024, 1)
            .times(self.nodes.values().map(|node| u64::from(node.slots - node.used)).sum())
    }

    fn num_cluster_nodes(&self, _attempt: Attempt) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    fn enhanced_headroom(&self) -> Option<(u64, u64)> {
        self.busy
    }

    fn priority(&self, _attempt: Attempt) -> i32 {
        5
    }

    fn transferred_containers(&self, _attempt: Attempt) -> Vec<Granted> {
        self.transferred.clone()
    }

    fn node(&self, node: NodeHandle) -> Option<NodeView<'_>> {
        let mut nodes = self.nodes.iter();
        let of_row = nodes.find(|(handle, _)| (handle.shard(), handle.row()) == (node.shard(), node.row()));
        of_row.map(|(_, node)| NodeView {
            node_id: &node.node_id,
            http_port: 8_042,
            rack_name: &node.rack,
            node_label: "",
            capability: &node.capability,
            used: &ResourceVector::ZERO,
            containers: node.used,
            state: NodeState::Running as u8,
        })
    }
}

impl Schedule for FakeScheduler {
    fn handle_node_event(&mut self, _now: Instant, _event: NodeEvent, _out: &mut SchedulerOutput) {}

    fn handle_command(&mut self, _now: Instant, _command: SchedulerCommand, _out: &mut SchedulerOutput) {}

    fn handle_tick(&mut self, _now: Instant, _out: &mut SchedulerOutput) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn wants_to_schedule(&self) -> bool {
        self.has_freed
    }
}

/// A frame that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub stream: StreamRef,
    pub frame: Vec<u8>,
}

impl Reply {
    pub fn parsed(&self) -> Frame<'_> {
        Frame::from_slice(&self.frame).expect("an answer is a frame")
    }

    pub fn reject(&self) -> Option<Reject> {
        // Not by the whole header: the reject of half a frame has an opcode nobody knows.
        let is_reject = self.frame.get(8).is_some_and(|flags| *flags == 3);
        is_reject
            .then(|| decode_reject(Opcode::Allocate, &self.frame[HEADER_SIZE..]).expect("a reject decodes"))
    }

    pub fn code(&self) -> Option<RejectCode> {
        self.reject().and_then(|reject| RejectCode::from_number(reject.code))
    }

    /// The code of the reject it has to be, with a part of its text.
    pub fn expect_reject(&self, code: RejectCode, text: &str) {
        let reject = self.reject().unwrap_or_else(|| panic!("no reject, expected {code:?}"));
        assert_eq!(RejectCode::from_number(reject.code), Some(code), "{}", reject.message);
        assert!(reject.message.contains(text), "{} has no {text:?}", reject.message);
    }

    pub fn allocate(&self) -> AllocateResponse {
        assert_eq!(self.reject(), None);
        decode(self.parsed().body()).expect("an answer decodes")
    }

    pub fn register(&self) -> RegisterApplicationMasterResponse {
        assert_eq!(self.reject(), None);
        decode(self.parsed().body()).expect("an answer decodes")
    }

    pub fn finish(&self) -> bool {
        assert_eq!(self.reject(), None);
        let response: FinishApplicationMasterResponse =
            decode(self.parsed().body()).expect("an answer decodes");
        response.is_unregistered
    }
}

pub const STREAM: StreamRef = StreamRef::new(0, 1, 1);
pub const OTHER_STREAM: StreamRef = StreamRef::new(0, 2, 1);
pub const PEER: PeerId = PeerId(7);

pub fn secret(byte: u8) -> Option<(u32, Box<[u8]>)> {
    Some((u32::from(byte), vec![byte; 32].into()))
}

pub fn settings() -> SchedulerSettings {
    let keys = |byte| KeyPair { current: secret(byte), next: None };
    SchedulerSettings {
        rm_identifier: 1_000_000,
        container_token_keys: keys(1),
        nm_token_keys: keys(2),
        am_rm_token_keys: keys(3),
        ..SchedulerSettings::default()
    }
}

pub fn attempt_id(application: u32) -> ApplicationAttemptId {
    let application_id = ApplicationId { cluster_timestamp: 1_000_000, id: application };
    ApplicationAttemptId { application_id, attempt_id: 1 }
}

pub fn container_of(application: u32, id: u64) -> ContainerId {
    ContainerId { application_attempt_id: attempt_id(application), container_id: id }
}

/// The token of an attempt, made with the key of this byte.
pub fn am_rm_token(attempt: Attempt, attempt_id: ApplicationAttemptId, key: u8) -> TokenMac {
    let identifier =
        AmRmTokenIdentifier { application_attempt_id: attempt_id, attempt_handle: AttemptHandle(attempt.0) };
    identifier.sign(&TokenKey::new(u32::from(key), &[key; 32]), &mut Vec::new())
}

/// An ask for containers of 1 GiB anywhere.
pub fn ask(priority: i32, count: i32, grants_seen: Option<u64>) -> ResourceRequest {
    ResourceRequest {
        priority,
        allocation_request_id: -1,
        resource_name: ResourceName::Any,
        capability: Resource::new(1_024, 1),
        num_containers: count,
        relax_locality: true,
        node_label_expression: None,
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: false,
        grants_seen,
    }
}

/// The door, a scheduler behind it, and a clock.
#[derive(Debug)]
pub struct Door {
    pub scheduling: Scheduling<FakeScheduler>,
    pub now: Instant,
    correlation_id: u64,
}

impl Default for Door {
    fn default() -> Self {
        Self::new(&settings())
    }
}

impl Door {
    pub fn new(settings: &SchedulerSettings) -> Self {
        Self {
            scheduling: Scheduling::new(settings, FakeScheduler::default()),
            now: Instant::from_millis(1_000),
            correlation_id: 0,
        }
    }

    pub fn counters(&self) -> Counters {
        self.scheduling.application_master().counters()
    }

    /// Changes the scheduler as its own commands and nodes would; what it says goes to the door.
    pub fn scheduler(&mut self, change: impl FnOnce(&mut FakeScheduler, &mut SchedulerOutput)) {
        let mut out = core::mem::take(self.scheduling.output());
        change(self.scheduling.scheduler_mut(), &mut out);
        *self.scheduling.output() = out;
    }

    pub fn add_node(&mut self, row: u32, slots: u32) {
        self.scheduler(|scheduler, _| {
            scheduler.add_node(row, slots);
        });
    }

    pub fn say(&mut self, event: AttemptEvent) {
        self.scheduling.output().attempt_events.push(event);
    }

    /// An attempt whose AM may register; its session is in `row`.
    pub fn add_attempt(&mut self, row: u32, is_unmanaged: bool, keep_containers: bool) -> Am {
        let (attempt, attempt_id) = (Attempt::new(0, row, 1), attempt_id(row + 1));
        self.scheduler(|scheduler, _| {
            scheduler.attempts.insert(attempt, attempt_id);
        });
        self.say(AttemptEvent::Added {
            attempt_id,
            attempt,
            user: "ada".into(),
            is_unmanaged,
            keep_containers,
            acls: vec![(1, "*".into())],
        });
        Am { attempt, attempt_id, stream: STREAM, peer: PEER, response_id: 0, events_seen: 0 }
    }

    /// A managed attempt, ready and registered.
    pub fn registered(&mut self, row: u32) -> Am {
        let am = self.add_attempt(row, false, false);
        self.say(AttemptEvent::Ready(am.attempt));
        self.send(&am, &am.register()).register();
        am
    }

    pub fn frame<M>(&mut self, am: &Am, message: &M) -> Vec<u8>
    where
        M: WriteMessage,
    {
        self.correlation_id += 1;
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::REQUEST, self.correlation_id, am.attempt.0, message);
        frame
    }

    /// Sends a request and returns its answer.
    pub fn send<M>(&mut self, am: &Am, message: &M) -> Reply
    where
        M: WriteMessage,
    {
        let frame = self.frame(am, message);
        let mut replies = self.send_frames(&[(frame, am.stream, am.peer)]);
        assert_eq!(replies.len(), 1);
        let reply = replies.remove(0);
        assert_eq!(reply.stream, am.stream);
        assert_eq!(reply.parsed().header.correlation_id, self.correlation_id);
        assert!(reply.parsed().header.flags.is_response() && !reply.parsed().header.flags.is_push());
        reply
    }

    /// Sends frames in one batch and returns every answer.
    pub fn send_frames(&mut self, frames: &[(Vec<u8>, StreamRef, PeerId)]) -> Vec<Reply> {
        let mut batch = FrameBatch::default();
        frames.iter().for_each(|(frame, stream, peer)| batch.push(frame, *stream, *peer));
        let (mut replies, mut first) = (Vec::new(), 0);
        while first < batch.len() {
            let mut answers = AnswerBatch::default();
            let taken = self.scheduling.handle_frames(self.now, &batch, first, &mut answers);
            assert!(taken > 0, "a step takes at least one frame");
            assert_eq!(answers.len(), taken, "every frame is answered once");
            first += taken;
            replies.extend(replies_of(&answers));
        }
        replies
    }

    /// Ends the step and returns what is pushed.
    pub fn pushes(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        loop {
            let mut pushes = AnswerBatch::default();
            self.scheduling.end_step(self.now, &mut pushes);
            assert!(pushes.is_empty() || pushes.is_pushes());
            replies.extend(replies_of(&pushes));
            if !self.scheduling.has_work() {
                break;
            }
        }
        for reply in &replies {
            let header = reply.parsed().header;
            assert_eq!((header.flags, header.correlation_id), (Flags::PUSH, 0));
        }
        replies
    }

    pub fn advance(&mut self, seconds: u64) {
        self.now = self.now + core::time::Duration::from_secs(seconds);
    }

    pub fn tick(&mut self) {
        self.scheduling.handle_tick(self.now);
    }

    /// What the application manager was told since the last call.
    pub fn told(&mut self) -> Vec<ApplicationEvent> {
        core::mem::take(&mut self.scheduling.output().application_events)
    }
}

fn replies_of(batch: &AnswerBatch) -> Vec<Reply> {
    let reply = |answer: &heddle::engine::batch::AnswerRef| Reply {
        stream: answer.stream,
        frame: batch.answer_bytes(answer).to_vec(),
    };
    batch.answers().iter().map(reply).collect()
}

/// What an ApplicationMaster remembers.
#[derive(Clone, Debug)]
pub struct Am {
    pub attempt: Attempt,
    pub attempt_id: ApplicationAttemptId,
    pub stream: StreamRef,
    pub peer: PeerId,
    pub response_id: u32,
    pub events_seen: u64,
}

impl Am {
    pub fn token(&self) -> TokenMac {
        am_rm_token(self.attempt, self.attempt_id, 3)
    }

    pub fn register(&self) -> RegisterApplicationMasterRequest {
        RegisterApplicationMasterRequest {
            application_attempt_id: self.attempt_id,
            am_rm_token: self.token(),
            host: "am.example".to_owned(),
            rpc_port: 1_234,
            tracking_url: "http://am.example/".to_owned(),
            placement_constraints: Vec::new(),
        }
    }

    /// The next call, with these asks.
    pub fn allocate(&self, asks: Vec<ResourceRequest>) -> AllocateRequest {
        AllocateRequest {
            response_id: self.response_id,
            events_seen: self.events_seen,
            asks,
            ..AllocateRequest::default()
        }
    }

    /// Takes in an answer or push; returns the new events.
    pub fn take_in(&mut self, response: &AllocateResponse) -> (Vec<Container>, Vec<CompletedContainer>) {
        self.response_id = response.response_id;
        let mut number = response.first_event;
        if number > self.events_seen + 1 {
            return (Vec::new(), Vec::new());
        }
        let (mut grants, mut ends) = (Vec::new(), Vec::new());
        for grant in &response.allocated_containers {
            if number > self.events_seen {
                grants.push(grant.clone());
            }
            number += 1;
        }
        for end in &response.completed_container_statuses {
            if number > self.events_seen {
                ends.push(end.clone());
            }
            number += 1;
        }
        self.events_seen = self.events_seen.max(number - 1);
        (grants, ends)
    }
}

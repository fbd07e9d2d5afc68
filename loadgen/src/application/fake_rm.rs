//! A ResourceManager of two pages, for tests: applications, sessions with exact asks, grants while there is room.
//! Owner: the test that made it. Called by: the tests of this folder. Does not: queue fairly, expire or refuse.
//! Invariant: it asserts what an ApplicationMaster owes it, so that a test fails where the model breaks the protocol.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use heddle_wire::application_client::*;
use heddle_wire::application_master::*;
use heddle_wire::frame::Frame;
use heddle_wire::record::*;
use heddle_wire::token::{ContainerTokenIdentifier, Identifier, TokenKey};
use heddle_wire::{Flags, Message, Opcode, Reject, RejectCode, decode, write_frame};

use crate::fleet::Chance;
use crate::fleet::model::Model;

const SECRET: &[u8] = b"a secret of thirty-two bytes ...";
const USER: &str = "somebody";

/// An event of a session.
#[derive(Clone, Debug)]
enum Event {
    Grant(Container),
    End(ContainerId, i32),
    /// A grant that was taken back after it was sent.
    Void(ContainerId),
}

#[derive(Default)]
struct Key {
    granted: u64,
    target: u64,
    resource: Resource,
}

#[derive(Default)]
pub(crate) struct Session {
    is_registered: bool,
    response_id: u32,
    last_answer: Vec<u8>,
    /// Events above this number are kept.
    seen: u64,
    events: VecDeque<Event>,
    /// Of them, how many were sent once.
    sent: usize,
    keys: BTreeMap<(i32, i64), Key>,
    live: BTreeMap<ContainerId, u64>,
    next_container: u64,
    is_on_stream: bool,
}

/// An application.
pub(crate) struct App {
    pub context: ApplicationSubmissionContext,
    pub state: YarnApplicationState,
    pub session: Session,
    am: Option<(ContainerId, u64)>,
}

/// See the module.
pub(crate) struct FakeRm {
    pub model: Model,
    pub apps: Vec<App>,
    /// Containers each node still takes.
    room: BTreeMap<u64, u32>,
    per_node: u32,
    issued: u32,
    key: TokenKey,
    chance: Chance,
    /// Frames to ApplicationMasters: application and bytes.
    pub pushed: Vec<(usize, Vec<u8>)>,
    pub voided: u64,
    pub grants: u64,
    pub accepted_repeats: u64,
    is_fickle: bool,
}

pub(crate) fn reject(code: RejectCode, text: &str, frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let (correlation_id, key) = (frame.header.correlation_id, frame.header.routing_key);
    heddle_wire::message::write_reject(
        &mut out,
        frame.header.opcode,
        correlation_id,
        key,
        &Reject::new(code, text.to_owned()),
    );
    out
}

impl FakeRm {
    pub(crate) fn new(per_node: u32, seed: u64, is_fickle: bool) -> Self {
        Self {
            model: Model { secret: SECRET.to_vec(), ..Model::default() },
            apps: Vec::new(),
            room: BTreeMap::new(),
            per_node,
            issued: 0,
            key: TokenKey::new(1, SECRET),
            chance: Chance(seed),
            pushed: Vec::new(),
            voided: 0,
            grants: 0,
            accepted_repeats: 0,
            is_fickle,
        }
    }

    pub(crate) fn app_of(handle: u64) -> usize {
        (handle & 0xffff_ffff) as usize
    }

    fn token(&self, container: &mut Container) {
        let node_id = self.model.nodes[&container.node.0].node_id.as_ref().unwrap();
        let identifier = ContainerTokenIdentifier::of(container, node_id, USER);
        container.token = identifier.sign(&self.key, &mut Vec::new());
    }

    /// A frame of a node.
    pub(crate) fn node_frame(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.model.answer(bytes, &mut out);
        for (node, id, exit_status) in core::mem::take(&mut self.model.ended) {
            *self.room.entry(node).or_default() += 1;
            let app = id.application_id().id as usize;
            let app = &mut self.apps[app];
            if app.am.is_some_and(|am| am.0 == id) {
                let is_over = app.state == YarnApplicationState::Finished;
                app.state = if is_over { app.state } else { YarnApplicationState::Failed };
                self.order(node, |orders| orders.containers_to_be_removed_from_nm.push(id));
            } else if app.session.live.remove(&id).is_some() {
                app.session.events.push_back(Event::End(id, exit_status));
            }
        }
        out
    }

    fn order(&mut self, node: u64, order: impl FnOnce(&mut heddle_wire::resource_tracker::NodeCommands)) {
        let orders = &mut self.model.nodes.get_mut(&node).unwrap().orders;
        orders.last_sequence += 1;
        order(orders);
    }

    /// A node with room, at random.
    fn place(&mut self) -> Option<u64> {
        for node in self.model.nodes.keys() {
            self.room.entry(*node).or_insert(self.per_node);
        }
        let with_room: Vec<u64> =
            self.room.iter().filter(|(_, room)| **room > 0).map(|(node, _)| *node).collect();
        if with_room.is_empty() {
            return None;
        }
        let node = with_room[self.chance.below(with_room.len() as u32) as usize];
        *self.room.get_mut(&node).unwrap() -= 1;
        Some(node)
    }

    /// Launches, places, pushes.
    pub(crate) fn step(&mut self) {
        for index in 0..self.apps.len() {
            if self.apps[index].state == YarnApplicationState::Accepted && self.apps[index].am.is_none() {
                self.launch(index);
            }
            if self.apps[index].state == YarnApplicationState::Running {
                self.grant(index);
                let session = &self.apps[index].session;
                // Sometimes a push waits, so that polls find something too.
                if session.is_on_stream
                    && session.events.len() > session.sent
                    && (!self.is_fickle || self.chance.hits(300_000))
                {
                    let bytes = self.events_frame(index, None);
                    self.pushed.push((index, bytes));
                }
            }
        }
    }

    fn launch(&mut self, index: usize) {
        let Some(node) = self.place() else { return };
        let container_id = ContainerId { application_attempt_id: attempt(index), container_id: 1 };
        let resource = self.apps[index].context.resource.clone().unwrap();
        let mut container = container(container_id, node, resource.clone(), (0, -1), 0);
        self.token(&mut container);
        let launch_context = self.apps[index].context.am_container_spec.clone();
        let (token, am_rm_token) = (container.token, TokenMac { key_id: 9, mac: [index as u8; 32] });
        self.apps[index].am = Some((container_id, node));
        self.apps[index].session.next_container = 2;
        self.order(node, |orders| {
            orders.containers_to_launch.push(ContainerLaunch {
                sequence: orders.last_sequence,
                container_id,
                attempt_handle: AttemptHandle(index as u64),
                user: USER.to_owned(),
                resource,
                priority: 0,
                token,
                expires_at_ms: u64::MAX,
                am_rm_token,
                launch_context,
            });
        });
    }

    fn grant(&mut self, index: usize) {
        let keys: Vec<(i32, i64)> = self.apps[index].session.keys.keys().copied().collect();
        for key in keys {
            loop {
                let entry = &self.apps[index].session.keys[&key];
                if entry.granted >= entry.target || (self.is_fickle && self.chance.hits(200_000)) {
                    break;
                }
                let Some(node) = self.place() else { return };
                let session = &mut self.apps[index].session;
                let id = ContainerId {
                    application_attempt_id: attempt(index),
                    container_id: session.next_container,
                };
                session.next_container += 1;
                let entry = session.keys.get_mut(&key).unwrap();
                entry.granted += 1;
                let mut container = container(id, node, entry.resource.clone(), key, entry.granted);
                session.live.insert(id, node);
                self.token(&mut container);
                self.apps[index].session.events.push_back(Event::Grant(container));
                self.grants += 1;
            }
        }
    }

    /// Events of a session in a frame: all that were not sent with a push, all that are not known to be seen with an answer.
    fn events_frame(&mut self, index: usize, answer: Option<(u64, u32)>) -> Vec<u8> {
        let session = &mut self.apps[index].session;
        let from = if answer.is_some() { 0 } else { session.sent };
        let mut response = AllocateResponse {
            response_id: answer.map_or(session.response_id, |answer| answer.1),
            first_event: session.seen + 1 + from as u64,
            ..AllocateResponse::default()
        };
        for event in session.events.iter().skip(from) {
            match event {
                Event::Grant(container) if response.completed_container_statuses.is_empty() => {
                    response.allocated_containers.push(container.clone());
                }
                Event::Grant(_) => break,
                Event::End(id, exit_status) => {
                    response.completed_container_statuses.push(ended(*id, *exit_status));
                }
                Event::Void(id) => response.completed_container_statuses.push(ended(*id, -100)),
            }
        }
        let count = response.allocated_containers.len() + response.completed_container_statuses.len();
        session.sent = session.sent.max(from + count);
        let mut out = Vec::new();
        let flags = if answer.is_some() { Flags::RESPONSE } else { Flags::PUSH };
        write_frame(&mut out, flags, answer.map_or(0, |answer| answer.0), index as u64, &response);
        out
    }

    /// The ApplicationMaster's stream was lost.
    pub(crate) fn lose_stream(&mut self, index: usize) {
        self.apps[index].session.is_on_stream = false;
    }

    /// A frame of an ApplicationMaster.
    pub(crate) fn am_frame(&mut self, bytes: &[u8]) -> Vec<u8> {
        let frame = Frame::from_slice(bytes).unwrap();
        let (correlation_id, handle) = (frame.header.correlation_id, frame.header.routing_key);
        let index = Self::app_of(handle);
        let token = TokenMac { key_id: 9, mac: [index as u8; 32] };
        match frame.header.opcode {
            Opcode::RegisterApplicationMaster => {
                let request: RegisterApplicationMasterRequest = checked(&frame);
                assert_eq!((request.application_attempt_id, request.am_rm_token), (attempt(index), token));
                let app = &mut self.apps[index];
                if app.session.is_registered {
                    return reject(RejectCode::InvalidApplicationMasterRequest, ALREADY_REGISTERED, &frame);
                }
                app.state = YarnApplicationState::Running;
                app.session.is_registered = true;
                app.session.is_on_stream = true;
                let mut out = Vec::new();
                let answer = RegisterApplicationMasterResponse {
                    attempt_handle: AttemptHandle(handle),
                    maximum_capability: Resource::new(1 << 20, 64),
                    minimum_capability: Resource::new(1, 1),
                    client_to_am_token_master_key: None,
                    application_acls: Vec::new(),
                    containers_from_previous_attempts: Vec::new(),
                    nm_tokens_from_previous_attempts: Vec::new(),
                    queue: "root.default".to_owned(),
                    scheduler_resource_types: Vec::new(),
                    resource_types: Vec::new(),
                    cluster_timestamp: 1,
                };
                write_frame(&mut out, Flags::RESPONSE, correlation_id, handle, &answer);
                out
            }
            Opcode::Allocate => {
                let request: AllocateRequest = checked(&frame);
                let session = &mut self.apps[index].session;
                assert!(session.is_registered);
                if !session.is_on_stream {
                    assert_eq!(request.am_rm_token, Some(token), "another stream needs the token");
                    session.is_on_stream = true;
                }
                if request.response_id + 1 == session.response_id {
                    self.accepted_repeats += 1;
                    let mut stored = session.last_answer.clone();
                    heddle_wire::frame::set_correlation_id(&mut stored, correlation_id);
                    return stored;
                }
                assert_eq!(request.response_id, session.response_id);
                if self.is_fickle && self.chance.hits(50_000) {
                    return reject(RejectCode::Busy, "a full queue", &frame);
                }
                self.allocate(index, &request);
                let bytes = self.events_frame(index, Some((correlation_id, request.response_id + 1)));
                let session = &mut self.apps[index].session;
                session.response_id += 1;
                session.last_answer.clone_from(&bytes);
                bytes
            }
            Opcode::FinishApplicationMaster => {
                let request: FinishApplicationMasterRequest = checked(&frame);
                assert_eq!(request.final_application_status, FinalApplicationStatus::Succeeded);
                let is_unregistered = self.chance.hits(500_000);
                if is_unregistered {
                    self.apps[index].state = YarnApplicationState::Finished;
                }
                let mut out = Vec::new();
                let answer = FinishApplicationMasterResponse { is_unregistered };
                write_frame(&mut out, Flags::RESPONSE, correlation_id, handle, &answer);
                out
            }
            other => panic!("{}", other.name()),
        }
    }

    fn allocate(&mut self, index: usize, request: &AllocateRequest) {
        let session = &mut self.apps[index].session;
        let mut forgotten = Vec::new();
        assert!(request.events_seen <= session.seen + session.sent as u64, "seen what was never sent");
        while session.seen < request.events_seen {
            let event = session.events.pop_front().unwrap();
            (session.seen, session.sent) = (session.seen + 1, session.sent - 1);
            if let Event::End(id, _) = event {
                forgotten.push(id);
            }
        }
        let nodes: Vec<u64> = self.model.nodes.keys().copied().collect();
        for id in forgotten {
            for node in &nodes {
                if self.model.nodes[node].completed.contains(&id) {
                    self.order(*node, |orders| orders.containers_to_be_removed_from_nm.push(id));
                }
            }
        }
        for id in &request.releases {
            let session = &mut self.apps[index].session;
            let Some(node) = session.live.remove(id) else { continue };
            session.events.push_back(Event::End(*id, -100));
            self.order(node, |orders| orders.containers_to_cleanup.push(*id));
            *self.room.get_mut(&node).unwrap() += 1;
        }
        for ask in &request.asks {
            assert_eq!(ask.resource_name, ResourceName::Any);
            let session = &mut self.apps[index].session;
            let key = (ask.priority, ask.allocation_request_id);
            let entry = session.keys.entry(key).or_default();
            let seen = ask.grants_seen.unwrap();
            assert!(seen <= entry.granted, "seen more than was granted");
            entry.resource = ask.capability.clone();
            entry.target = seen + u64::from(u32::try_from(ask.num_containers).unwrap());
            let mut surplus = entry.granted.saturating_sub(entry.target);
            entry.granted -= surplus;
            let first_unsent = session.sent;
            for place in (0..session.events.len()).rev() {
                let Event::Grant(container) = &session.events[place] else { continue };
                if surplus == 0 || (container.priority, container.allocation_request_id) != key {
                    continue;
                }
                surplus -= 1;
                self.voided += 1;
                let (id, node) = (container.container_id, container.node.0);
                session.live.remove(&id);
                *self.room.get_mut(&node).unwrap() += 1;
                if place < first_unsent {
                    session.events[place] = Event::Void(id);
                } else {
                    session.events.remove(place);
                }
            }
            assert_eq!(surplus, 0, "what was seen cannot be void");
        }
        self.grant(index);
    }

    /// A frame of a client.
    pub(crate) fn client_frame(&mut self, bytes: &[u8]) -> Vec<u8> {
        let frame = Frame::from_slice(bytes).unwrap();
        let mut out = Vec::new();
        let correlation_id = frame.header.correlation_id;
        // Not submissions: they come in the order of their ids.
        let is_refusable = frame.header.opcode != Opcode::SubmitApplication;
        if is_refusable && self.is_fickle && self.chance.hits(50_000) {
            return reject(RejectCode::Busy, "a full queue", &frame);
        }
        match frame.header.opcode {
            Opcode::GetNewApplication => {
                let _: GetNewApplicationRequest = checked(&frame);
                let application_id = ApplicationId { cluster_timestamp: 1, id: self.issued };
                self.issued += 1;
                let answer = GetNewApplicationResponse {
                    application_id,
                    maximum_capability: Resource::new(1 << 20, 64),
                };
                write_frame(&mut out, Flags::RESPONSE, correlation_id, 0, &answer);
            }
            Opcode::SubmitApplication => {
                let request: SubmitApplicationRequest = checked(&frame);
                let context = request.application_submission_context;
                let is_known =
                    self.apps.iter().any(|app| app.context.application_id == context.application_id);
                assert!(!is_known, "nothing was lost on this path");
                assert_eq!(context.application_id.id as usize, self.apps.len());
                let (state, session) = (YarnApplicationState::Accepted, Session::default());
                self.apps.push(App { context, state, session, am: None });
                write_frame(&mut out, Flags::RESPONSE, correlation_id, 0, &SubmitApplicationResponse {});
            }
            Opcode::GetApplicationReport => {
                let request: GetApplicationReportRequest = checked(&frame);
                let app = &self.apps[request.application_id.id as usize];
                let answer = GetApplicationReportResponse { application_report: report(app) };
                write_frame(&mut out, Flags::RESPONSE, correlation_id, 0, &answer);
            }
            Opcode::GetQueueInfo => {
                let request: GetQueueInfoRequest = checked(&frame);
                // Two pages.
                let queue = |path: &str, is_leaf| QueueInfo {
                    queue_path: path.to_owned(),
                    is_leaf,
                    configurations: vec![QueueConfigurations {
                        absolute_capacity: 1.0,
                        absolute_used_capacity: 0.5,
                        ..QueueConfigurations::default()
                    }],
                    statistics: QueueStatistics { pending_containers: 3, ..QueueStatistics::default() },
                    ..QueueInfo::default()
                };
                let answer = if request.start == 0 {
                    GetQueueInfoResponse { next: Some(1), queues: vec![queue("root", false)] }
                } else {
                    GetQueueInfoResponse { next: None, queues: vec![queue("root.default", true)] }
                };
                write_frame(&mut out, Flags::RESPONSE, correlation_id, 0, &answer);
            }
            other => panic!("{}", other.name()),
        }
        out
    }

    /// What the sessions hold and the nodes' room add up.
    pub(crate) fn check(&self) {
        let live: usize = self.apps.iter().map(|app| app.session.live.len()).sum();
        let containers = BTreeSet::from_iter(self.apps.iter().flat_map(|app| app.session.live.keys()));
        assert_eq!(live, containers.len());
        assert!(self.room.values().all(|room| *room <= self.per_node));
    }
}

fn attempt(index: usize) -> ApplicationAttemptId {
    let application_id = ApplicationId { cluster_timestamp: 1, id: index as u32 };
    ApplicationAttemptId { application_id, attempt_id: 1 }
}

fn container(id: ContainerId, node: u64, resource: Resource, key: (i32, i64), number: u64) -> Container {
    Container {
        container_id: id,
        node: NodeHandle(node),
        resource,
        priority: key.0,
        allocation_request_id: key.1,
        grant_number: number,
        execution_type: ExecutionType::Guaranteed,
        version: 0,
        expires_at_ms: u64::MAX,
        token: TokenMac { key_id: 0, mac: [0; 32] },
    }
}

fn ended(container_id: ContainerId, exit_status: i32) -> CompletedContainer {
    CompletedContainer {
        container_id,
        state: ContainerState::Complete,
        exit_status,
        execution_type: ExecutionType::Guaranteed,
        capability: Resource::default(),
        diagnostics: "".into(),
    }
}

fn report(app: &App) -> ApplicationReport {
    let is_over = app.state == YarnApplicationState::Finished;
    let status = if is_over { FinalApplicationStatus::Succeeded } else { FinalApplicationStatus::Undefined };
    ApplicationReport {
        application_id: app.context.application_id,
        current_application_attempt_id: None,
        user: USER.to_owned(),
        queue: app.context.queue.clone(),
        name: String::new(),
        application_type: String::new(),
        application_tags: Vec::new(),
        state: app.state,
        final_application_status: status,
        progress: 0.0,
        host: String::new(),
        rpc_port: -1,
        tracking_url: String::new(),
        original_tracking_url: String::new(),
        diagnostics: String::new(),
        submit_time_ms: 1_000,
        start_time_ms: 1_000,
        launch_time_ms: 0,
        finish_time_ms: if is_over { 5_000 } else { 0 },
        resource_usage: None,
        log_aggregation_status: LogAggregationStatus::Disabled,
        is_unmanaged_am: false,
        priority: 0,
        app_node_label_expression: None,
        am_node_label_expression: None,
        application_timeouts: Vec::new(),
        attempt_handle: None,
        am_rm_token: None,
    }
}

/// The request of a frame, whole and within its limits.
fn checked<M>(frame: &Frame<'_>) -> M
where
    M: Message,
    M::Archived: rkyv::Portable
        + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rkyv::rancor::Failure>>
        + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rkyv::rancor::BoxedError>>
        + rkyv::Deserialize<M, rkyv::api::high::HighDeserializer<rkyv::rancor::BoxedError>>,
{
    decode::<M>(frame.body()).unwrap()
}

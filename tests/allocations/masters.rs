//! Memory of the allocate path: what a call of an ApplicationMaster allocates in steady state.
//! Owns: [`Masters`]: ApplicationMasters that ask and give back, over a real door and scheduler. Called by: the harness.
//! Does not: measure time. Invariant: what is counted is the engine's; frames are made before.

use heddle::engine::batch::{AnswerBatch, FrameBatch, PeerId, StreamRef};
use heddle::engine::event::{
    ContainerReport, ExtendedResource, KeyPair, NodeAdded, NodeEvent, Resource as Amounts, Usability,
};
use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::message::{
    AddApplication, AddAttempt, ApplicationEvent, Attempt, SchedulerCommand,
};
use heddle::engine::scheduler::resource::{ResourceType, ResourceTypes, ResourceVector};
use heddle::engine::scheduler::settings::SchedulerSettings;
use heddle::engine::scheduling::Scheduling;
use heddle::engine::time::Instant;
use heddle_wire::application_master::{AllocateRequest, AllocateResponse, RegisterApplicationMasterRequest};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, AttemptHandle, ContainerId, ContainerState, ExecutionType,
    NodeHandle, Resource, ResourceInformation, ResourceName, ResourceRequest,
};
use heddle_wire::token::{AmRmTokenIdentifier, Identifier, TokenKey};
use heddle_wire::{Flags, HEADER_SIZE, decode, write_frame};
use stats_alloc::Region;

use super::{ALLOCATOR, ALONE, PoisonError};

const SECRET: [u8; 32] = [7; 32];

/// Calls before anything is counted: tables and buffers have their size then.
const WARM_UP: u32 = 50;

/// Nodes there are.
const NODES: u32 = 64;

/// How containers end.
#[derive(Clone, Copy)]
enum End {
    /// Given back with the call after the one that brought them.
    GivenBack,
    /// Their nodes report them running before that call; they are given back with it, and the nodes report their end.
    GivenBackRunning,
    /// Their nodes report them running, and complete with this text, before the call.
    OnNode(&'static str),
}

struct Masters {
    /// Besides memory and virtual cores.
    types: Vec<ResourceType>,
    scheduling: Scheduling<Scheduler>,
    now: Instant,
    masters: Vec<(ApplicationAttemptId, Attempt)>,
    answers: AnswerBatch,
    pushes: AnswerBatch,
}

fn stream(index: usize) -> StreamRef {
    StreamRef::new(1, index as u32, 1)
}

impl Masters {
    /// `count` unmanaged ApplicationMasters that have registered, and nodes with room for all they want. Besides memory and
    /// virtual cores there are resource types with these names, and a container has one of each.
    fn new(count: u32, names: &[&str]) -> Self {
        let types: Vec<_> =
            names.iter().map(|name| ResourceType { name: (*name).into(), units: "".into() }).collect();
        let extended: Box<[_]> = types
            .iter()
            .map(|of| ExtendedResource { name: of.name.clone(), value: 1_024, units: of.units.clone() })
            .collect();
        let keys = || KeyPair { current: Some((1, Box::new(SECRET))), next: None };
        let settings = SchedulerSettings {
            container_token_keys: keys(),
            nm_token_keys: keys(),
            am_rm_token_keys: keys(),
            minimum_allocation: ResourceVector::new(1_024, 1),
            maximum_allocation: ResourceVector::from_amounts(&[8_192, 8, 1, 1]),
            resource_types: ResourceTypes::new(types.clone()),
            ..SchedulerSettings::default()
        };
        let mut of = Self {
            types,
            scheduling: Scheduling::new(&settings, Scheduler::new(settings.clone())),
            now: Instant::from_millis(1_000),
            masters: Vec::new(),
            answers: AnswerBatch::default(),
            pushes: AnswerBatch::default(),
        };
        for row in 0..NODES {
            let added = NodeAdded {
                host: format!("n{row}").into(),
                port: 1,
                http_port: 0,
                rack_name: "/r".into(),
                node_labels: Box::default(),
            };
            let mut event = NodeEvent::new(NodeHandle::new(0, row, 1));
            event.added = Some(Box::new(added));
            event.usability = Some(Usability::Usable);
            let extended = extended.clone();
            event.capability = Some(Amounts { memory_mb: 1 << 20, virtual_cores: 1_024, extended });
            of.scheduling.handle_node_event(of.now, event);
        }
        (1..=count).for_each(|number| of.admit(number));
        of
    }

    fn admit(&mut self, id: u32) {
        let application_id = ApplicationId { cluster_timestamp: 1, id };
        let attempt_id = ApplicationAttemptId { application_id, attempt_id: 1 };
        let add = AddApplication {
            application_id,
            user: "ada".into(),
            queue: "default".into(),
            priority: 0,
            node_label_expression: None,
            submit_time_ms: 0,
            am_node_label: None,
        };
        let attempt = AddAttempt {
            attempt_id,
            am: None,
            transfer_from_previous: false,
            keep_containers: false,
            acls: Vec::new(),
        };
        self.scheduling.handle_command(self.now, SchedulerCommand::AddApplication(Box::new(add)));
        self.scheduling.handle_command(self.now, SchedulerCommand::AddAttempt(Box::new(attempt)));
        self.scheduling.handle_command(self.now, SchedulerCommand::UnmanagedAttemptReady { attempt_id });
        let events = core::mem::take(&mut self.scheduling.output().application_events);
        let handle = events.iter().find_map(|event| match event {
            ApplicationEvent::AttemptAdded { attempt, .. } => Some(*attempt),
            _ => None,
        });
        self.masters.push((attempt_id, handle.expect("admitted")));
        let index = self.masters.len() - 1;
        let (attempt_id, handle) = self.masters[index];
        let identifier = AmRmTokenIdentifier {
            application_attempt_id: attempt_id,
            attempt_handle: AttemptHandle(handle.0),
        };
        let request = RegisterApplicationMasterRequest {
            application_attempt_id: attempt_id,
            am_rm_token: identifier.sign(&TokenKey::new(1, &SECRET), &mut Vec::new()),
            host: "am".to_owned(),
            rpc_port: 1,
            tracking_url: String::new(),
            placement_constraints: Vec::new(),
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::REQUEST, 1, handle.0, &request);
        let mut batch = FrameBatch::default();
        batch.push(&frame, stream(index), PeerId(1));
        self.step(&mut Vec::new(), &batch);
        let header = heddle_wire::frame::Frame::from_slice(self.answer(0)).expect("a frame").header;
        assert!(!header.flags.is_reject(), "{header:?}");
    }

    fn answer(&self, index: usize) -> &[u8] {
        self.answers.answer_bytes(&self.answers.answers()[index])
    }

    fn step(&mut self, events: &mut Vec<NodeEvent>, batch: &FrameBatch) {
        self.now = self.now + core::time::Duration::from_millis(100);
        self.answers.clear();
        self.pushes.clear();
        for event in events.drain(..) {
            self.scheduling.handle_node_event(self.now, event);
        }
        let taken = self.scheduling.handle_frames(self.now, batch, 0, &mut self.answers);
        assert_eq!(taken, batch.len());
        self.scheduling.end_step(self.now, &mut self.pushes);
        let output = self.scheduling.output();
        output.node_commands.clear();
        output.application_events.clear();
        assert!(output.notices.is_empty() && self.pushes.is_empty());
    }

    /// Runs `rounds` calls of everyone: what was granted last ends, and `count` more are asked for. Gives the allocations
    /// and deallocations of the engine in the rounds after the first [`WARM_UP`].
    ///
    /// With `is_keyed` each is asked for under an allocation request id of its own.
    fn churn(&mut self, rounds: u32, count: i32, is_keyed: bool, end: End) -> (usize, usize) {
        let mut capability = Resource::new(1_024, 1);
        capability.extended.extend(self.types.iter().map(|of| ResourceInformation {
            name: of.name.to_string(),
            value: 1,
            units: of.units.to_string(),
        }));
        let mut answers: Vec<AllocateResponse> = vec![AllocateResponse::default(); self.masters.len()];
        let (mut batch, mut frame) = (FrameBatch::default(), Vec::new());
        let mut given_back: Vec<Vec<ContainerId>> = vec![Vec::new(); NODES as usize];
        let mut sum = (0, 0);
        let (mut seen, mut ended) = (0, 0);
        for round in 0..WARM_UP + rounds {
            batch.clear();
            let mut events: Vec<NodeEvent> =
                (0..NODES).map(|row| NodeEvent::new(NodeHandle::new(0, row, 1))).collect();
            for (event, gone) in events.iter_mut().zip(&mut given_back) {
                event.completed = gone.drain(..).map(|id| report(id, ContainerState::Complete, "")).collect();
            }
            for (index, (_, handle)) in self.masters.iter().enumerate() {
                let last = &answers[index];
                let granted = last.allocated_containers.iter();
                for (id, row) in granted.clone().map(|of| (of.container_id, of.node.row() as usize)) {
                    match end {
                        End::GivenBack => {}
                        End::GivenBackRunning => {
                            events[row].launched.push(report(id, ContainerState::Running, ""));
                            given_back[row].push(id);
                        }
                        // One that began and ended between two beats is only told as complete.
                        End::OnNode(text) => {
                            events[row].completed.push(report(id, ContainerState::Complete, text));
                        }
                    }
                }
                let is_given_back = !matches!(end, End::OnNode(_));
                let keys = if is_keyed { count } else { 1 };
                let ask_of = |key: i32| ResourceRequest {
                    priority: 1,
                    allocation_request_id: if is_keyed {
                        i64::from(round) << 32 | i64::from(key)
                    } else {
                        -1
                    },
                    resource_name: ResourceName::Any,
                    capability: capability.clone(),
                    num_containers: count / keys.max(1),
                    relax_locality: true,
                    node_label_expression: None,
                    execution_type: ExecutionType::Guaranteed,
                    enforce_execution_type: false,
                    grants_seen: Some(if is_keyed { 0 } else { seen }),
                };
                let events_told = granted.len() + last.completed_container_statuses.len();
                let releases = granted.filter(|_| is_given_back).map(|of| of.container_id).collect();
                let request = AllocateRequest {
                    response_id: round,
                    events_seen: (last.first_event + events_told as u64).saturating_sub(1),
                    asks: (0..keys).filter(|_| count > 0).map(ask_of).collect(),
                    releases,
                    ..AllocateRequest::default()
                };
                frame.clear();
                write_frame(&mut frame, Flags::REQUEST, 1, handle.0, &request);
                batch.push(&frame, stream(index), PeerId(1));
            }
            let region = Region::new(ALLOCATOR);
            self.step(&mut events, &batch);
            let change = region.change();
            if round >= WARM_UP {
                sum.0 += change.allocations + change.reallocations;
                sum.1 += change.deallocations;
            }
            for (index, answer) in answers.iter_mut().enumerate() {
                *answer = decode(&self.answer(index)[HEADER_SIZE..]).expect("an answer");
                assert_eq!(answer.allocated_containers.len(), usize::try_from(count).unwrap_or(0));
                ended += answer.completed_container_statuses.len();
            }
            seen += u64::try_from(count).unwrap_or(0);
        }
        let expected = (WARM_UP + rounds - 1) as usize * usize::try_from(count).unwrap_or(0);
        assert_eq!(ended, expected * self.masters.len(), "every end was told");
        let live = self.scheduling.scheduler().totals().live_containers;
        assert_eq!(live, count as u64 * self.masters.len() as u64, "only what was granted last is live");
        sum
    }
}

/// A container as its node reports it.
fn report(container_id: ContainerId, state: ContainerState, text: &str) -> ContainerReport {
    ContainerReport {
        container_id,
        state,
        execution_type: ExecutionType::Guaranteed,
        exit_status: 0,
        capability: Amounts { memory_mb: 1_024, virtual_cores: 1, ..Amounts::default() },
        diagnostics: text.into(),
    }
}

#[test]
fn a_steady_allocate_without_news_allocates_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for types in [&[][..], &["yarn.io/gpu"]] {
        let mut masters = Masters::new(100, types);
        assert_eq!(masters.churn(20, 0, false, End::GivenBack), (0, 0));
        // Each look at the totals was a list of all queues per partition, and every cycle may look.
        let region = Region::new(ALLOCATOR);
        assert_eq!(masters.scheduling.scheduler().totals().nodes, 64);
        assert_eq!(region.change().allocations, 0);
    }
}

/// It took 1.2 allocations to grant a container and to be given it back: the text of its end in the answer, and a part of a
/// node of an ordered set, of what is to be launched in time; and more for the names of other resource types. An end on its
/// node took a part of a node of another one, of ends that were not acknowledged, and its text was copied twice.
#[test]
fn granting_and_ending_allocates_nothing() {
    const ROUNDS: u32 = 40;
    const COUNT: i32 = 410;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let allocations = |types: &[&str], end| Masters::new(1, types).churn(ROUNDS, COUNT, false, end).0;
    for types in [&[][..], &["yarn.io/gpu", "yarn.io/fpga"]] {
        assert_eq!(allocations(types, End::GivenBack), 0);
        assert_eq!(allocations(types, End::GivenBackRunning), 0);
        assert_eq!(allocations(types, End::OnNode("")), 0);
    }
    // What a node says is kept until it is acknowledged, so the answer has a copy.
    let copies = ROUNDS as usize * COUNT as usize;
    assert_eq!(allocations(&[], End::OnNode("Exit code 1")), copies);
}

/// A key of its own for each container takes a part of a node of the three ordered maps it stands in, where those of its
/// neighbours are not; it took a table of its own and a list of shapes as well, 2.2 together.
#[test]
fn asking_for_each_container_by_itself_allocates_little() {
    const ROUNDS: u32 = 40;
    const COUNT: i32 = 410;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (allocations, _) = Masters::new(1, &[]).churn(ROUNDS, COUNT, true, End::GivenBack);
    let per_container = allocations as f64 / f64::from(ROUNDS * COUNT.unsigned_abs());
    assert!(per_container < 0.6, "{per_container} allocations per container");
}

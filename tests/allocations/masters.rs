//! Memory of the allocate path: what a call of an ApplicationMaster allocates in steady state.
//! Owns: [`Masters`]: ApplicationMasters that ask and give back, over a real door and scheduler. Called by: the harness.
//! Does not: measure time. Invariant: what is counted is the engine's; frames are made before.

use heddle::engine::batch::{AnswerBatch, FrameBatch, PeerId, StreamRef};
use heddle::engine::event::{KeyPair, NodeAdded, NodeEvent, Resource as Amounts, Usability};
use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::message::{
    AddApplication, AddAttempt, ApplicationEvent, Attempt, SchedulerCommand,
};
use heddle::engine::scheduler::resource::ResourceVector;
use heddle::engine::scheduler::settings::SchedulerSettings;
use heddle::engine::scheduling::Scheduling;
use heddle::engine::time::Instant;
use heddle_wire::application_master::{AllocateRequest, AllocateResponse, RegisterApplicationMasterRequest};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, AttemptHandle, ExecutionType, NodeHandle, Resource, ResourceName,
    ResourceRequest,
};
use heddle_wire::token::{AmRmTokenIdentifier, Identifier, TokenKey};
use heddle_wire::{Flags, HEADER_SIZE, decode, write_frame};
use stats_alloc::Region;

use super::{ALLOCATOR, ALONE, PoisonError};

const SECRET: [u8; 32] = [7; 32];

/// Calls before anything is counted: tables and buffers have their size then.
const WARM_UP: u32 = 50;

struct Masters {
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
    /// `count` unmanaged ApplicationMasters that have registered, and nodes with room for all they want.
    fn new(count: u32) -> Self {
        let keys = || KeyPair { current: Some((1, Box::new(SECRET))), next: None };
        let settings = SchedulerSettings {
            container_token_keys: keys(),
            nm_token_keys: keys(),
            am_rm_token_keys: keys(),
            minimum_allocation: ResourceVector::new(1_024, 1),
            maximum_allocation: ResourceVector::new(8_192, 8),
            ..SchedulerSettings::default()
        };
        let mut of = Self {
            scheduling: Scheduling::new(&settings, Scheduler::new(settings.clone())),
            now: Instant::from_millis(1_000),
            masters: Vec::new(),
            answers: AnswerBatch::default(),
            pushes: AnswerBatch::default(),
        };
        for row in 0..64 {
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
            let capability = Amounts { memory_mb: 1 << 20, virtual_cores: 1_024, ..Amounts::default() };
            event.capability = Some(capability);
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
        self.step(&batch);
        let header = heddle_wire::frame::Frame::from_slice(self.answer(0)).expect("a frame").header;
        assert!(!header.flags.is_reject(), "{header:?}");
    }

    fn answer(&self, index: usize) -> &[u8] {
        self.answers.answer_bytes(&self.answers.answers()[index])
    }

    fn step(&mut self, batch: &FrameBatch) {
        self.now = self.now + core::time::Duration::from_millis(100);
        self.answers.clear();
        self.pushes.clear();
        let taken = self.scheduling.handle_frames(self.now, batch, 0, &mut self.answers);
        assert_eq!(taken, batch.len());
        self.scheduling.end_step(self.now, &mut self.pushes);
        let output = self.scheduling.output();
        output.node_commands.clear();
        output.application_events.clear();
        assert!(output.notices.is_empty() && self.pushes.is_empty());
    }

    /// Runs `rounds` calls of everyone: each gives back what it was granted last, and asks for `count` more. Gives the
    /// allocations and deallocations of the engine in the rounds after the first [`WARM_UP`].
    fn churn(&mut self, rounds: u32, count: i32) -> (usize, usize) {
        let mut answers: Vec<AllocateResponse> = vec![AllocateResponse::default(); self.masters.len()];
        let (mut batch, mut frame) = (FrameBatch::default(), Vec::new());
        let mut sum = (0, 0);
        let mut seen = 0;
        for round in 0..WARM_UP + rounds {
            batch.clear();
            for (index, (_, handle)) in self.masters.iter().enumerate() {
                let last = &answers[index];
                let asks = vec![ResourceRequest {
                    priority: 1,
                    allocation_request_id: -1,
                    resource_name: ResourceName::Any,
                    capability: Resource::new(1_024, 1),
                    num_containers: count,
                    relax_locality: true,
                    node_label_expression: None,
                    execution_type: ExecutionType::Guaranteed,
                    enforce_execution_type: false,
                    grants_seen: Some(seen),
                }];
                let events = last.allocated_containers.len() + last.completed_container_statuses.len();
                let request = AllocateRequest {
                    response_id: round,
                    events_seen: (last.first_event + events as u64).saturating_sub(1),
                    asks: if count > 0 { asks } else { Vec::new() },
                    releases: last.allocated_containers.iter().map(|granted| granted.container_id).collect(),
                    ..AllocateRequest::default()
                };
                frame.clear();
                write_frame(&mut frame, Flags::REQUEST, 1, handle.0, &request);
                batch.push(&frame, stream(index), PeerId(1));
            }
            let region = Region::new(ALLOCATOR);
            self.step(&batch);
            let change = region.change();
            if round >= WARM_UP {
                sum.0 += change.allocations + change.reallocations;
                sum.1 += change.deallocations;
            }
            for (index, answer) in answers.iter_mut().enumerate() {
                *answer = decode(&self.answer(index)[HEADER_SIZE..]).expect("an answer");
                assert_eq!(answer.allocated_containers.len(), usize::try_from(count).unwrap_or(0));
            }
            seen += u64::try_from(count).unwrap_or(0);
        }
        sum
    }
}

#[test]
fn a_steady_allocate_without_news_allocates_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut masters = Masters::new(100);
    assert_eq!(masters.churn(20, 0), (0, 0));
    // Each look at the totals was a list of all queues per partition, and every cycle may look.
    let region = Region::new(ALLOCATOR);
    assert_eq!(masters.scheduling.scheduler().totals().nodes, 64);
    assert_eq!(region.change().allocations, 0);
}

/// A grant takes memory that is there. What is left are the text of each end, once between scheduler and door and once in
/// the answer, and a part of a node of the ordered maps a container stands in.
///
/// The texts ought to be none as well: "released by application" is always the same.
#[test]
fn granting_and_giving_back_allocates_two_texts_and_little_else() {
    const ROUNDS: u32 = 40;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let per_call = |count: i32| {
        let (allocations, deallocations) = Masters::new(1).churn(ROUNDS, count);
        println!("{count} containers a call: {allocations} allocations, {deallocations} deallocations");
        assert_eq!(allocations, deallocations, "nothing is kept");
        allocations as f64 / f64::from(ROUNDS)
    };
    let (few, many) = (per_call(10), per_call(410));
    let per_container = (many - few) / 400.0;
    assert!(per_container < 2.5, "{per_container} allocations per container");
}

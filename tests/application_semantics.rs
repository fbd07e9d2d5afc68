//! The application manager, clause by clause: frames and messages in, answers and messages out, virtual time.
//! Owns: the driver ([`Rm`]) with a scripted scheduler and stores that hold back or fail. Sources: YARN's RMAppImpl,
//! RMAppAttemptImpl, RMAppManager, ClientRMService, AdminService. Called by: the test harness.
//! Does not: test the tables pair by pair (the modules do), wire formats, the real scheduler.

#[path = "application_semantics/access.rs"]
mod access;
#[path = "application_semantics/audit.rs"]
mod audit;
#[path = "application_semantics/changes.rs"]
mod changes;
#[path = "application_semantics/client.rs"]
mod client;
#[path = "application_semantics/diagnostics.rs"]
mod diagnostics;
#[path = "application_semantics/ended.rs"]
mod ended;
#[path = "application_semantics/hostile.rs"]
mod hostile;
#[path = "application_semantics/lifecycle.rs"]
mod lifecycle;
#[path = "application_semantics/random.rs"]
mod random;
#[path = "application_semantics/storing.rs"]
mod storing;
#[path = "common/submission.rs"]
mod submission;

use core::net::IpAddr;
use core::time::Duration;

use heddle::engine::application::message::*;
use heddle::engine::application::{ApplicationManager, ApplicationSettings};
use heddle::engine::batch::{AnswerBatch, Caller, FrameBatch, PeerId, StreamRef};
use heddle::engine::event::Resource as Amount;
use heddle::engine::scheduler::message::*;
use heddle::engine::scheduler::settings::{Acl, QueueTree};
use heddle::engine::time::Instant;
use heddle::store::{MemoryStore, StateStore};
use heddle_wire::application_client::*;
use heddle_wire::frame::Frame;
use heddle_wire::message::decode_reject;
use heddle_wire::record::*;
use heddle_wire::{Flags, Message, Reject, RejectCode, WriteMessage, decode, write_frame};
use submission::submission as context;

/// Start of the ResourceManager.
const RM: u64 = 1_700_000_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// A store that can be made to fail: every write of a kind, or all.
#[derive(Default)]
struct FailingStore {
    inner: MemoryStore,
    fails: Option<fn(&StoreOperation) -> Option<StoreError>>,
}

impl StateStore for FailingStore {
    fn apply(&mut self, group: &[StoreOperation], events: &mut Vec<StoreEvent>) {
        for operation in group {
            let Some(error) = self.fails.and_then(|fails| fails(operation)) else {
                self.inner.apply(core::slice::from_ref(operation), events);
                continue;
            };
            let result = Err(error.clone());
            events.push(match operation {
                StoreOperation::SaveApplication(record) => {
                    StoreEvent::ApplicationSaved { application_id: record.submission.application_id, result }
                }
                StoreOperation::UpdateApplication { state, purpose } => StoreEvent::ApplicationUpdated {
                    application_id: state.application_id,
                    purpose: *purpose,
                    result,
                },
                StoreOperation::SaveAttempt(record) => {
                    StoreEvent::AttemptSaved { attempt_id: record.attempt_id, result }
                }
                StoreOperation::UpdateAttempt { record, purpose } => {
                    StoreEvent::AttemptUpdated { attempt_id: record.attempt_id, purpose: *purpose, result }
                }
                StoreOperation::RemoveAttempt(id) => {
                    StoreEvent::RemoveFailed { application_id: id.application_id, error }
                }
                StoreOperation::RemoveApplication(id) => {
                    StoreEvent::RemoveFailed { application_id: *id, error }
                }
            });
        }
    }
}

/// An application manager with its clock, store and a scheduler that does as it is told.
struct Rm {
    manager: ApplicationManager,
    now: Instant,
    out: ApplicationOutput,
    store: FailingStore,
    /// The store does not answer; operations wait here.
    holds_store: bool,
    held: Vec<StoreOperation>,
    /// The scheduler does not answer.
    holds_scheduler: bool,
    /// Everything the scheduler was told.
    commands: Vec<SchedulerCommand>,
    /// What it was told and has not answered.
    unanswered: Vec<SchedulerCommand>,
    /// What it answers to commands with a token instead of Done(0).
    reply: fn(&SchedulerCommand) -> Option<QueryReply>,
    /// Why it rejects applications.
    rejects: Option<&'static str>,
    /// Why it rejects attempts.
    rejects_attempts: Option<&'static str>,
    queues: QueueTree,
    answers: Vec<Vec<u8>>,
    audit: Vec<String>,
    summaries: Vec<String>,
    notices: Vec<String>,
    replies: Vec<ApplicationReply>,
    correlation_id: u64,
    /// Where requests come from.
    address: Option<IpAddr>,
}

impl Rm {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    fn with(change: impl FnOnce(&mut ApplicationSettings, &mut QueueTree)) -> Self {
        let mut settings = ApplicationSettings { rm_identifier: RM, ..ApplicationSettings::default() };
        let mut queues = QueueTree::default();
        change(&mut settings, &mut queues);
        Self {
            manager: ApplicationManager::new(settings, queues.clone()),
            now: Instant::from_millis(1_000),
            out: ApplicationOutput::default(),
            store: FailingStore::default(),
            holds_store: false,
            held: Vec::new(),
            holds_scheduler: false,
            commands: Vec::new(),
            unanswered: Vec::new(),
            reply: |_| None,
            rejects: None,
            rejects_attempts: None,
            queues,
            answers: Vec::new(),
            audit: Vec::new(),
            summaries: Vec::new(),
            notices: Vec::new(),
            replies: Vec::new(),
            correlation_id: 0,
            address: None,
        }
    }

    /// Carries messages until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let late = core::mem::take(&mut self.out.late_answers);
            self.answers.extend(late.answers().iter().map(|answer| late.answer_bytes(answer).to_vec()));
            self.audit.append(&mut self.out.audit);
            self.summaries.append(&mut self.out.summaries);
            self.notices.append(&mut self.out.notices);
            self.replies.append(&mut self.out.replies);
            self.held.append(&mut self.out.store_operations);
            let commands = core::mem::take(&mut self.out.scheduler_commands);
            self.commands.extend(commands.iter().cloned());
            self.unanswered.extend(commands);
            let mut events = Vec::new();
            if !self.holds_store {
                let group = core::mem::take(&mut self.held);
                self.store.apply(&group, &mut events);
            }
            let commands =
                if self.holds_scheduler { Vec::new() } else { core::mem::take(&mut self.unanswered) };
            if events.is_empty() && commands.is_empty() {
                return;
            }
            for event in events {
                self.manager.handle_store_event(self.now, event, &mut self.out);
            }
            for command in commands {
                for event in self.scheduled(command) {
                    self.manager.handle_application_event(self.now, event, &mut self.out);
                }
            }
        }
    }

    /// What the scheduler says to a command.
    fn scheduled(&self, command: SchedulerCommand) -> Vec<ApplicationEvent> {
        let done = |token| {
            let reply = (self.reply)(&command).unwrap_or(QueryReply::Done(0));
            ApplicationEvent::Reply { token, reply }
        };
        match &command {
            SchedulerCommand::AddApplication(add) => {
                let application_id = add.application_id;
                if let Some(reason) = self.rejects {
                    return vec![ApplicationEvent::Rejected { application_id, reason: reason.into() }];
                }
                let index = self.queues.find(&add.queue).expect("a known queue");
                let queue = self.queues.queues[index as usize].path.clone();
                vec![ApplicationEvent::Accepted { application_id, queue }]
            }
            SchedulerCommand::AddAttempt(add) => {
                let attempt_id = add.attempt_id;
                if let Some(reason) = self.rejects_attempts {
                    return vec![ApplicationEvent::AttemptRejected { attempt_id, reason: reason.into() }];
                }
                let attempt = Attempt::new(0, attempt_id.application_id.id, attempt_id.attempt_id);
                vec![ApplicationEvent::AttemptAdded { attempt_id, attempt }]
            }
            SchedulerCommand::RemoveAttempt { attempt_id, .. } => {
                let usage = Usage {
                    resource_seconds: vec![("memory-mb".into(), 100), ("vcores".into(), 10)],
                    containers_allocated: 3,
                    ..Usage::default()
                };
                vec![ApplicationEvent::AttemptRemoved { attempt_id: *attempt_id, usage }]
            }
            SchedulerCommand::Query { token, query } => {
                let reply = (self.reply)(&command).unwrap_or_else(|| match query {
                    Query::Usage(ids) => QueryReply::Usage(ids.iter().map(live_usage).collect()),
                    _ => QueryReply::Done(0),
                });
                vec![ApplicationEvent::Reply { token: *token, reply }]
            }
            SchedulerCommand::ReplaceQueues { token, queues } => {
                let reply = done(*token);
                match &reply {
                    ApplicationEvent::Reply { reply: QueryReply::Done(_), .. } => {
                        vec![ApplicationEvent::QueuesReplaced { queues: queues.clone() }, reply]
                    }
                    _ => vec![reply],
                }
            }
            SchedulerCommand::MoveApplication { token, .. }
            | SchedulerCommand::SignalContainer { token, .. }
            | SchedulerCommand::AddNodeLabels { token, .. }
            | SchedulerCommand::RemoveNodeLabels { token, .. }
            | SchedulerCommand::ReplaceLabelsOnNodes { token, .. }
            | SchedulerCommand::UpdateNodeResource { token, .. } => vec![done(*token)],
            SchedulerCommand::UpdatePriority { token, priority, .. } => {
                let reply = (self.reply)(&command).unwrap_or_else(|| QueryReply::Done(i64::from(*priority)));
                vec![ApplicationEvent::Reply { token: *token, reply }]
            }
            SchedulerCommand::LaunchAm(_)
            | SchedulerCommand::UnmanagedAttemptReady { .. }
            | SchedulerCommand::FinalStateStored { .. }
            | SchedulerCommand::RemoveApplication { .. } => Vec::new(),
        }
    }

    fn event(&mut self, event: ApplicationEvent) {
        self.manager.handle_application_event(self.now, event, &mut self.out);
        self.settle();
    }

    fn command(&mut self, command: ApplicationCommand) -> ApplicationReply {
        self.manager.handle_command(self.now, command, &mut self.out);
        self.settle();
        assert_eq!(self.replies.len(), 1, "every command gets one reply");
        self.replies.remove(0)
    }

    /// Lets time pass, waking where the manager wants to be woken.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.manager.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.manager.handle_tick(self.now, &mut self.out);
            self.settle();
            assert!(self.manager.next_deadline() != Some(deadline), "a timer is used up by its tick");
        }
        self.now = end;
        self.manager.handle_tick(self.now, &mut self.out);
        self.settle();
    }

    /// Lets the store work on what it has held.
    fn release_store(&mut self) {
        self.holds_store = false;
        self.settle();
    }

    fn release_scheduler(&mut self) {
        self.holds_scheduler = false;
        self.settle();
    }

    /// Sends a request; answers may come later.
    fn send<M>(&mut self, user: &str, is_admin: bool, message: &M)
    where
        M: WriteMessage,
    {
        self.correlation_id += 1;
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::REQUEST, self.correlation_id, 0, message);
        let peer = PeerId(user.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte)));
        let mut batch = FrameBatch::default();
        let caller = Caller { address: self.address, ..Caller::new(peer, user, is_admin) };
        batch.push_from(&frame, StreamRef::new(0, 1, 1), &caller);
        let mut answers = AnswerBatch::default();
        let taken = self.manager.handle_frames(self.now, &batch, 0, &mut answers, &mut self.out);
        assert_eq!(taken, 1);
        self.answers.extend(answers.answers().iter().map(|answer| answers.answer_bytes(answer).to_vec()));
        self.settle();
    }

    /// The one answer that has come.
    fn answer<R>(&mut self) -> Result<R, Reject>
    where
        R: Message,
        R::Archived: rkyv::Portable
            + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rkyv::rancor::Failure>>
            + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rkyv::rancor::BoxedError>>
            + rkyv::Deserialize<R, rkyv::api::high::HighDeserializer<rkyv::rancor::BoxedError>>,
    {
        assert_eq!(self.answers.len(), 1, "every request gets exactly one answer");
        let bytes = self.answers.remove(0);
        let frame = Frame::from_slice(&bytes).expect("an answer is a frame");
        assert_eq!(frame.header.correlation_id, self.correlation_id);
        assert_eq!(frame.header.opcode, R::OPCODE);
        if frame.header.flags.is_reject() {
            return Err(decode_reject(frame.header.opcode, frame.body()).expect("a reject decodes"));
        }
        Ok(decode(frame.body()).expect("an answer decodes"))
    }

    fn submit_as(&mut self, user: &str, context: ApplicationSubmissionContext) -> Result<(), Reject> {
        self.send(user, false, &SubmitApplicationRequest { application_submission_context: context });
        self.answer::<SubmitApplicationResponse>().map(|_| ())
    }

    /// Submits an application of `ada`.
    fn submit(&mut self, change: impl FnOnce(&mut ApplicationSubmissionContext)) -> ApplicationId {
        let mut context = context(self.new_id());
        change(&mut context);
        let id = context.application_id;
        self.submit_as("ada", context).expect("it is taken");
        id
    }

    fn new_id(&mut self) -> ApplicationId {
        self.send("ada", false, &GetNewApplicationRequest {});
        self.answer::<GetNewApplicationResponse>().expect("an id").application_id
    }

    fn report_for(&mut self, user: &str, id: ApplicationId) -> Result<ApplicationReport, Reject> {
        self.send(user, false, &GetApplicationReportRequest { application_id: id });
        self.answer::<GetApplicationReportResponse>().map(|response| response.application_report)
    }

    fn report(&mut self, id: ApplicationId) -> ApplicationReport {
        self.report_for("ada", id).expect("a report")
    }

    fn state(&mut self, id: ApplicationId) -> YarnApplicationState {
        self.report(id).state
    }

    fn attempt_report(&mut self, id: ApplicationAttemptId) -> ApplicationAttemptReport {
        self.send("ada", false, &GetApplicationAttemptReportRequest { application_attempt_id: id });
        self.answer::<GetApplicationAttemptReportResponse>().expect("a report").application_attempt_report
    }

    fn attempt_state(&mut self, id: ApplicationAttemptId) -> YarnApplicationAttemptState {
        self.attempt_report(id).state
    }

    fn kill_as(&mut self, user: &str, id: ApplicationId) -> Result<bool, Reject> {
        self.send(user, false, &KillApplicationRequest { application_id: id, diagnostics: None });
        self.answer::<KillApplicationResponse>().map(|response| response.is_kill_completed)
    }

    fn kill(&mut self, id: ApplicationId) -> bool {
        self.kill_as("ada", id).expect("an answer")
    }

    // ---- What a scheduler, a node and an AM do ----

    fn allocate_am(&mut self, attempt_id: ApplicationAttemptId) {
        self.event(ApplicationEvent::AmContainerAllocated {
            attempt_id,
            container_id: am_container(attempt_id),
            node: NodeHandle::new(0, 1, 1),
            node_id: NodeId::new("host1", 45_454),
            http_port: 8_042,
            resource: Amount { memory_mb: 1_024, virtual_cores: 1, ..Amount::default() },
        });
    }

    fn launched(&mut self, attempt_id: ApplicationAttemptId) {
        self.event(ApplicationEvent::Launched { attempt_id });
    }

    fn register(&mut self, attempt_id: ApplicationAttemptId) {
        self.event(ApplicationEvent::Registered {
            attempt_id,
            host: "host1".into(),
            rpc_port: 4_711,
            tracking_url: "http://host1/ui".into(),
        });
    }

    /// From SCHEDULED to RUNNING.
    fn start_am(&mut self, attempt_id: ApplicationAttemptId) {
        self.allocate_am(attempt_id);
        self.launched(attempt_id);
        self.register(attempt_id);
    }

    fn unregister(&mut self, attempt_id: ApplicationAttemptId) {
        self.event(ApplicationEvent::Unregistered {
            attempt_id,
            final_status: FinalApplicationStatus::Succeeded as u8,
            diagnostics: "all done".into(),
            diagnostics_cut: 0,
            tracking_url: "http://host1/done".into(),
        });
    }

    fn end_am(&mut self, attempt_id: ApplicationAttemptId, exit_status: i32) {
        self.event(ApplicationEvent::AmContainerFinished {
            attempt_id,
            container_id: am_container(attempt_id),
            exit_status,
            diagnostics: "log says".into(),
            host: "host1".into(),
        });
    }

    /// A RUNNING application of `ada` and its first attempt.
    fn running(&mut self) -> (ApplicationId, ApplicationAttemptId) {
        let id = self.submit(|_| {});
        self.start_am(attempt(id, 1));
        assert_eq!(self.state(id), YarnApplicationState::Running);
        (id, attempt(id, 1))
    }

    /// An application that is through.
    fn finished(&mut self) -> ApplicationId {
        let (id, attempt) = self.running();
        self.unregister(attempt);
        self.end_am(attempt, 0);
        assert_eq!(self.state(id), YarnApplicationState::Finished);
        id
    }

    /// Names of what the scheduler was told since the last look.
    fn told(&mut self) -> Vec<&'static str> {
        let name = |command: SchedulerCommand| match command {
            SchedulerCommand::AddApplication(_) => "AddApplication",
            SchedulerCommand::AddAttempt(_) => "AddAttempt",
            SchedulerCommand::LaunchAm(_) => "LaunchAm",
            SchedulerCommand::UnmanagedAttemptReady { .. } => "UnmanagedAttemptReady",
            SchedulerCommand::RemoveAttempt { .. } => "RemoveAttempt",
            SchedulerCommand::FinalStateStored { .. } => "FinalStateStored",
            SchedulerCommand::RemoveApplication { .. } => "RemoveApplication",
            SchedulerCommand::MoveApplication { is_check_only: true, .. } => "CheckMove",
            SchedulerCommand::MoveApplication { .. } => "Move",
            SchedulerCommand::UpdatePriority { .. } => "UpdatePriority",
            SchedulerCommand::SignalContainer { .. } => "SignalContainer",
            SchedulerCommand::Query { .. } => "Query",
            SchedulerCommand::ReplaceQueues { .. } => "ReplaceQueues",
            SchedulerCommand::AddNodeLabels { .. } => "AddNodeLabels",
            SchedulerCommand::RemoveNodeLabels { .. } => "RemoveNodeLabels",
            SchedulerCommand::ReplaceLabelsOnNodes { .. } => "ReplaceLabelsOnNodes",
            SchedulerCommand::UpdateNodeResource { .. } => "UpdateNodeResource",
        };
        self.commands.drain(..).map(name).filter(|name| *name != "Query").collect()
    }

    /// The last RemoveAttempt: keeps containers, stops the AM container.
    fn removal(&self) -> (bool, bool) {
        let of = |command: &SchedulerCommand| match command {
            SchedulerCommand::RemoveAttempt { keep_containers, stop_am_container, .. } => {
                Some((*keep_containers, *stop_am_container))
            }
            _ => None,
        };
        self.commands.iter().rev().find_map(of).expect("an attempt was removed")
    }

    /// The last AddAttempt.
    fn addition(&self) -> AddAttempt {
        let of = |command: &SchedulerCommand| match command {
            SchedulerCommand::AddAttempt(add) => Some((**add).clone()),
            _ => None,
        };
        self.commands.iter().rev().find_map(of).expect("an attempt was added")
    }
}

fn attempt(application_id: ApplicationId, attempt_id: u32) -> ApplicationAttemptId {
    ApplicationAttemptId { application_id, attempt_id }
}

fn am_container(application_attempt_id: ApplicationAttemptId) -> ContainerId {
    ContainerId { application_attempt_id, container_id: 1 }
}

/// What a live application uses.
fn live_usage(id: &ApplicationId) -> Usage {
    Usage {
        containers_running: id.id,
        used: Amount { memory_mb: 2_048, virtual_cores: 2, ..Amount::default() },
        pending: Amount { memory_mb: 1_024, virtual_cores: 1, ..Amount::default() },
        resource_seconds: vec![("memory-mb".into(), 7)],
        ..Usage::default()
    }
}

fn code<T: core::fmt::Debug>(result: Result<T, Reject>) -> (RejectCode, String) {
    let reject = result.expect_err("it is refused");
    (RejectCode::from_number(reject.code).expect("a known code"), reject.message)
}

//! Simulated clients: submit the applications of a workload, watch them, and look at the queues now and then.
//! Owns: how far each application is as its client sees it, what ended how, the samples of the queues.
//! Called by: the QUIC driver and the simulator; one per run, on the thread that owns it.
//! Does not: read clocks, open sockets. Whose frame goes out under whose certificate is said by [`SimulatedClient::user_of`].
//! Invariants: an application is submitted once, under one id; at most one request about it is out; what is not answered is
//! repeated as it was.

mod look;

use std::collections::BTreeSet;
use std::sync::Arc;

use heddle_wire::application_client::{
    GetApplicationReportRequest, GetApplicationReportResponse, GetNewApplicationRequest,
    GetNewApplicationResponse, KillApplicationRequest, KillApplicationResponse, SubmitApplicationRequest,
};
use heddle_wire::frame::Frame;
use heddle_wire::limits::{APPLICATION_NAME_MAX, APPLICATION_TAGS_MAX};
use heddle_wire::record::{
    ApplicationId, ApplicationReport, ApplicationSubmissionContext, ApplicationTimeoutRequest,
    ApplicationTimeoutType, ContainerLaunchContext, StringPair, YarnApplicationState,
};
use heddle_wire::{Flags, Opcode, RejectCode, decode, message, write_frame};

use crate::counters::Refusals;
use crate::workload::ApplicationSpec;

use super::{APPLICATION_VARIABLE, Launched};
use look::{Look, QUEUES};
pub use look::{QueueSample, QueueShare};

/// Watching costs at most one request per application and so long times the applications that live: 2,000 a second.
const POLL_PER_LIVE_US: u64 = 500;

/// A wait for which the reject names no time, microseconds.
const WAIT_US: u64 = 1_000_000;

/// What kind of clients.
#[derive(Clone, Debug)]
pub struct ClientSpec {
    /// What they submit, by time of submission.
    pub applications: Arc<[Arc<ApplicationSpec>]>,
    /// Between two looks at an application, microseconds.
    pub poll_us: u64,
    /// Between two looks at the queues, microseconds; 0 = none.
    pub queues_us: u64,
    /// A request without an answer is repeated after this long, microseconds.
    pub retry_after_us: u64,
}

/// How an application ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// Well.
    Finished,
    /// It failed, or its ApplicationMaster said so.
    Failed,
    /// It was killed.
    Killed,
    /// It was not accepted.
    Rejected,
}

/// What happened to the applications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCounters {
    /// Submissions answered.
    pub submitted: u64,
    /// Applications that ended well.
    pub finished: u64,
    /// That failed.
    pub failed: u64,
    /// That were killed.
    pub killed: u64,
    /// That were not accepted.
    pub rejected: u64,
    /// Requests sent, with repeats.
    pub requests: u64,
    /// Requests repeated because no answer came in time.
    pub timeouts: u64,
    /// Frames that nobody expects, or that cannot be read.
    pub unexpected: u64,
    /// Rejects, and the first few texts that came with them; what failed applications say is among them.
    pub refusals: Refusals,
    /// From start to end of every application that ended, milliseconds, in the order in which it was noticed.
    pub run_times_ms: Vec<u64>,
    /// First submission and last end by the ResourceManager's clock, milliseconds since 1970.
    pub first_submit_ms: Option<u64>,
    /// See `first_submit_ms`.
    pub last_finish_ms: u64,
}

impl ClientCounters {
    /// From the first submission to the last end, milliseconds; `None` while nothing ended.
    #[must_use]
    pub fn makespan_ms(&self) -> Option<u64> {
        let first_ms = self.first_submit_ms?;
        (self.last_finish_ms > 0).then(|| self.last_finish_ms.saturating_sub(first_ms))
    }
}

/// How far an application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Planned,
    Naming,
    Submitting,
    Watching,
    Killing,
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    stage: Stage,
    is_awaiting: bool,
    /// Attempt whose unmanaged ApplicationMaster was started.
    unmanaged_attempt: u32,
    expected: u64,
    at_us: Option<u64>,
    id: ApplicationId,
}

/// The clients of a run. See the module.
#[derive(Clone, Debug)]
pub struct SimulatedClient {
    spec: ClientSpec,
    /// Who submits, sorted; index by application.
    users: Vec<Arc<str>>,
    user_of: Vec<u32>,
    rows: Vec<Row>,
    agenda: BTreeSet<(u64, u32)>,
    /// Next application to be submitted.
    next: usize,
    /// Time 0 of the workload.
    began_us: Option<u64>,
    live: u64,
    ended: u64,
    serial: u32,
    look: Look,
    samples: Vec<QueueSample>,
    counters: ClientCounters,
    /// Unmanaged ApplicationMasters to start; emptied by whoever drives this.
    pub launched: Vec<Launched>,
}

impl SimulatedClient {
    /// Clients that have not begun.
    #[must_use]
    pub fn new(spec: ClientSpec) -> Self {
        let names: BTreeSet<Arc<str>> = spec.applications.iter().map(|spec| Arc::clone(&spec.user)).collect();
        let users: Vec<Arc<str>> = names.into_iter().collect();
        let place = |user: &Arc<str>| u32::try_from(users.binary_search(user).unwrap_or(0)).unwrap_or(0);
        let user_of = spec.applications.iter().map(|spec| place(&spec.user)).collect();
        let row = Row {
            stage: Stage::Planned,
            is_awaiting: false,
            unmanaged_attempt: 0,
            expected: 0,
            at_us: None,
            id: ApplicationId { cluster_timestamp: 0, id: 0 },
        };
        let look = Look::new(spec.queues_us);
        Self {
            rows: vec![row; spec.applications.len()],
            users,
            user_of,
            agenda: BTreeSet::new(),
            next: 0,
            began_us: None,
            live: 0,
            ended: 0,
            serial: 0,
            look,
            samples: Vec::new(),
            counters: ClientCounters::default(),
            launched: Vec::new(),
            spec,
        }
    }

    /// Who submits, sorted.
    #[must_use]
    pub fn users(&self) -> &[Arc<str>] {
        &self.users
    }

    /// Whose certificate an application's frames go under: index of [`SimulatedClient::users`].
    #[must_use]
    pub fn user_of(&self, application: u32) -> u32 {
        self.user_of.get(application as usize).copied().unwrap_or(0)
    }

    /// What happened.
    #[must_use]
    pub const fn counters(&self) -> &ClientCounters {
        &self.counters
    }

    /// What the queues looked like.
    #[must_use]
    pub fn samples(&self) -> &[QueueSample] {
        &self.samples
    }

    /// Applications that are submitted and have not ended.
    #[must_use]
    pub const fn live(&self) -> u64 {
        self.live
    }

    /// Applications that ended, whatever way.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.ended
    }

    /// True when every application has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended == self.rows.len() as u64
    }

    /// True when more is to be submitted.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.next < self.rows.len()
    }

    /// The id of an application; zeros before it has one.
    #[must_use]
    pub fn id_of(&self, application: u32) -> ApplicationId {
        let none = ApplicationId { cluster_timestamp: 0, id: 0 };
        self.rows.get(application as usize).map_or(none, |row| row.id)
    }

    /// The ids of the applications that are submitted and have not ended.
    pub fn live_ids(&self) -> impl Iterator<Item = ApplicationId> {
        let is_live = |row: &&Row| matches!(row.stage, Stage::Watching | Stage::Killing);
        self.rows.iter().filter(is_live).map(|row| row.id)
    }

    /// Somebody says that an application changed: it is looked at now. Where time is virtual nobody has to ask every second.
    pub fn look_at(&mut self, application: u32, now_us: u64) {
        let row = self.rows.get(application as usize);
        if row.is_some_and(|row| row.stage == Stage::Watching && !row.is_awaiting) {
            self.schedule(application, Some(now_us));
        }
    }

    /// The workload begins now.
    pub const fn begin(&mut self, now_us: u64) {
        if self.began_us.is_none() {
            self.began_us = Some(now_us);
            self.look.begin(now_us);
        }
    }

    /// Nothing more is submitted, and what lives is killed.
    pub fn quit(&mut self, now_us: u64) {
        self.next = self.rows.len();
        for index in 0..self.rows.len() {
            let row = &mut self.rows[index];
            if matches!(row.stage, Stage::Watching) {
                row.stage = Stage::Killing;
                row.is_awaiting = false;
                self.schedule(index as u32, Some(now_us));
            }
        }
    }

    /// Names the applications that have something to send; at most `limit`.
    pub fn due(&mut self, now_us: u64, limit: usize, due: &mut Vec<u32>) {
        let Some(began_us) = self.began_us else { return };
        while due.len() < limit
            && let Some(spec) = self.spec.applications.get(self.next)
            && began_us.saturating_add(spec.submit_ms.saturating_mul(1_000)) <= now_us
        {
            self.rows[self.next].stage = Stage::Naming;
            self.live += 1;
            due.push(self.next as u32);
            self.next += 1;
        }
        while due.len() < limit
            && let Some(&(at_us, application)) = self.agenda.first()
            && at_us <= now_us
        {
            self.agenda.pop_first();
            self.rows[application as usize].at_us = None;
            due.push(application);
        }
    }

    /// When [`SimulatedClient::due`] or [`SimulatedClient::write_look`] has something to do.
    #[must_use]
    pub fn next_due_us(&self) -> Option<u64> {
        let began_us = self.began_us?;
        let next = self.spec.applications.get(self.next);
        let submit_us = next.map(|spec| began_us.saturating_add(spec.submit_ms.saturating_mul(1_000)));
        let look_us = self.look.next_us();
        [submit_us, self.agenda.first().map(|entry| entry.0), look_us].into_iter().flatten().min()
    }

    /// Writes what is to be said about an application, or what is out once more. False when there is nothing.
    pub fn write(&mut self, application: u32, now_us: u64, out: &mut Vec<u8>) -> bool {
        let Some(row) = self.rows.get_mut(application as usize) else { return false };
        if matches!(row.stage, Stage::Planned | Stage::Ended) {
            return false;
        }
        if row.is_awaiting {
            self.counters.timeouts += 1;
        } else {
            self.serial = self.serial.wrapping_add(1) & 0x7fff_ffff;
            row.expected = u64::from(self.serial) << 32 | u64::from(application);
            row.is_awaiting = true;
        }
        self.counters.requests += 1;
        let (correlation_id, application_id) = (row.expected, row.id);
        match row.stage {
            Stage::Naming => {
                write_frame(out, Flags::REQUEST, correlation_id, 0, &GetNewApplicationRequest {});
            }
            Stage::Submitting => {
                let context = submission(&self.spec.applications[application as usize], application, row.id);
                let request = SubmitApplicationRequest { application_submission_context: context };
                write_frame(out, Flags::REQUEST, correlation_id, 0, &request);
            }
            Stage::Killing => {
                let diagnostics = Some("the load test is over".to_owned());
                let request = KillApplicationRequest { application_id, diagnostics };
                write_frame(out, Flags::REQUEST, correlation_id, 0, &request);
            }
            Stage::Watching | Stage::Planned | Stage::Ended => {
                let request = GetApplicationReportRequest { application_id };
                write_frame(out, Flags::REQUEST, correlation_id, 0, &request);
            }
        }
        self.schedule(application, Some(now_us.saturating_add(self.spec.retry_after_us)));
        true
    }

    /// Applications of a user whose request is out: what is sent again on a new connection. Users beyond `users` share
    /// connections. The look, if it is out, is repeated in its time.
    pub fn awaiting(&self, user: u32, users: u32) -> impl Iterator<Item = u32> {
        let is_of = move |of: &u32| of % users.max(1) == user;
        let rows = (0_u32..).zip(&self.rows).zip(&self.user_of);
        rows.filter(move |((_, row), of)| row.is_awaiting && is_of(of))
            .map(|((application, _), _)| application)
    }

    /// Takes in a frame from the ResourceManager. Gives the application it was about.
    pub fn handle_frame(&mut self, now_us: u64, frame: &Frame<'_>) -> Option<u32> {
        let header = &frame.header;
        if !header.flags.is_response() || header.flags.is_push() {
            self.counters.unexpected += 1;
            return None;
        }
        if header.correlation_id & QUEUES != 0 {
            self.handle_look(now_us, frame);
            return None;
        }
        let application = (header.correlation_id & 0xffff_ffff) as u32;
        let Some(row) = self.rows.get_mut(application as usize) else {
            self.counters.unexpected += 1;
            return None;
        };
        if !row.is_awaiting || row.expected != header.correlation_id {
            // To a request that was repeated.
            return Some(application);
        }
        row.is_awaiting = false;
        let stage = row.stage;
        if header.flags.is_reject() {
            self.handle_reject(now_us, application, frame);
            return Some(application);
        }
        let is_taken = match (header.opcode, stage) {
            (Opcode::GetNewApplication, Stage::Naming) => self.named(now_us, application, frame),
            (Opcode::SubmitApplication, Stage::Submitting) => {
                self.counters.submitted += 1;
                self.rows[application as usize].stage = Stage::Watching;
                self.watch(now_us, application);
                true
            }
            (Opcode::GetApplicationReport, Stage::Watching) => self.reported(now_us, application, frame),
            (Opcode::KillApplication, Stage::Killing) => self.killed(now_us, application, frame),
            // To the question that was out when it was decided to kill it.
            (Opcode::GetApplicationReport, Stage::Killing) => true,
            _ => false,
        };
        if !is_taken {
            self.counters.unexpected += 1;
            self.watch(now_us, application);
        }
        Some(application)
    }

    fn named(&mut self, now_us: u64, application: u32, frame: &Frame<'_>) -> bool {
        let Ok(answer) = decode::<GetNewApplicationResponse>(frame.body()) else { return false };
        let row = &mut self.rows[application as usize];
        row.id = answer.application_id;
        row.stage = Stage::Submitting;
        self.schedule(application, Some(now_us));
        true
    }

    fn watch(&mut self, now_us: u64, application: u32) {
        let every_us = self.spec.poll_us.max(self.live * POLL_PER_LIVE_US).max(1);
        self.schedule(application, Some(now_us.saturating_add(every_us)));
    }

    fn reported(&mut self, now_us: u64, application: u32, frame: &Frame<'_>) -> bool {
        let Ok(answer) = decode::<GetApplicationReportResponse>(frame.body()) else { return false };
        let report = answer.application_report;
        let first_ms = self.counters.first_submit_ms.unwrap_or(u64::MAX);
        self.counters.first_submit_ms = Some(first_ms.min(report.submit_time_ms));
        let ended = match report.state {
            YarnApplicationState::Finished => {
                use heddle_wire::record::FinalApplicationStatus as Status;
                match report.final_application_status {
                    Status::Failed => Some(Ended::Failed),
                    Status::Killed => Some(Ended::Killed),
                    _ => Some(Ended::Finished),
                }
            }
            YarnApplicationState::Failed => Some(Ended::Failed),
            YarnApplicationState::Killed => Some(Ended::Killed),
            _ => None,
        };
        match ended {
            Some(ended) => {
                self.counters.run_times_ms.push(report.finish_time_ms.saturating_sub(report.start_time_ms));
                self.counters.last_finish_ms = self.counters.last_finish_ms.max(report.finish_time_ms);
                if ended == Ended::Failed {
                    self.counters.refusals.note(&report.diagnostics);
                }
                self.end(application, ended);
            }
            None => {
                self.start_unmanaged(application, &report);
                self.watch(now_us, application);
            }
        }
        true
    }

    fn start_unmanaged(&mut self, application: u32, report: &ApplicationReport) {
        let spec = &self.spec.applications[application as usize];
        let (Some(handle), Some(am_rm_token), Some(attempt_id), true) = (
            report.attempt_handle,
            report.am_rm_token,
            report.current_application_attempt_id,
            spec.am.is_unmanaged,
        ) else {
            return;
        };
        let row = &mut self.rows[application as usize];
        if row.unmanaged_attempt < attempt_id.attempt_id {
            row.unmanaged_attempt = attempt_id.attempt_id;
            let (user, spec) = (report.user.as_str().into(), Arc::clone(spec));
            self.launched.push(Launched { attempt_id, handle, am_rm_token, user, spec, container: None });
        }
    }

    fn killed(&mut self, now_us: u64, application: u32, frame: &Frame<'_>) -> bool {
        let Ok(answer) = decode::<KillApplicationResponse>(frame.body()) else { return false };
        if answer.is_kill_completed {
            self.end(application, Ended::Killed);
        } else {
            self.schedule(application, Some(now_us.saturating_add(100_000)));
        }
        true
    }

    fn end(&mut self, application: u32, ended: Ended) {
        self.schedule(application, None);
        self.rows[application as usize].stage = Stage::Ended;
        self.live = self.live.saturating_sub(1);
        self.ended += 1;
        match ended {
            Ended::Finished => self.counters.finished += 1,
            Ended::Failed => self.counters.failed += 1,
            Ended::Killed => self.counters.killed += 1,
            Ended::Rejected => self.counters.rejected += 1,
        }
    }

    fn handle_reject(&mut self, now_us: u64, application: u32, frame: &Frame<'_>) {
        let Ok(reject) = message::decode_reject(frame.header.opcode, frame.body()) else {
            self.counters.unexpected += 1;
            self.watch(now_us, application);
            return;
        };
        self.counters.refusals.count(reject.code, &reject.message);
        let can_help = RejectCode::from_number(reject.code).is_some_and(RejectCode::is_retryable);
        if can_help {
            let wait_us = match reject.retry_after_ms {
                0 => WAIT_US,
                wait_ms => u64::from(wait_ms) * 1_000,
            };
            self.schedule(application, Some(now_us.saturating_add(wait_us)));
            return;
        }
        match self.rows[application as usize].stage {
            Stage::Naming | Stage::Submitting => self.end(application, Ended::Rejected),
            // The ResourceManager does not know it: it was restarted, or has forgotten applications that ended.
            Stage::Watching | Stage::Killing => self.end(application, Ended::Killed),
            Stage::Planned | Stage::Ended => {}
        }
    }

    fn schedule(&mut self, application: u32, at_us: Option<u64>) {
        let row = &mut self.rows[application as usize];
        if let Some(known) = core::mem::replace(&mut row.at_us, at_us) {
            self.agenda.remove(&(known, application));
        }
        if let Some(at_us) = at_us {
            self.agenda.insert((at_us, application));
        }
    }
}

/// What is submitted for application `number` of the workload.
fn submission(
    spec: &ApplicationSpec,
    number: u32,
    application_id: ApplicationId,
) -> ApplicationSubmissionContext {
    let environment = vec![StringPair { key: APPLICATION_VARIABLE.to_owned(), value: number.to_string() }];
    let am_container_spec = ContainerLaunchContext {
        commands: vec!["simulated".to_owned()],
        environment,
        ..ContainerLaunchContext::default()
    };
    let lifetime = spec.lifetime_s.map(|timeout_s| ApplicationTimeoutRequest {
        timeout_type: ApplicationTimeoutType::Lifetime,
        timeout_s,
    });
    ApplicationSubmissionContext {
        application_id,
        application_name: cut(&spec.name, APPLICATION_NAME_MAX),
        application_type: spec.application_type.to_string(),
        queue: spec.queue.to_string(),
        priority: spec.priority,
        am_container_spec,
        is_unmanaged_am: spec.am.is_unmanaged,
        cancel_tokens_when_complete: true,
        max_app_attempts: spec.attempts_max.unwrap_or(0),
        resource: Some(spec.am.resource.clone()),
        am_container_resource_requests: Vec::new(),
        keep_containers_across_application_attempts: spec.keeps_containers,
        application_tags: spec.tags.iter().take(APPLICATION_TAGS_MAX).map(|tag| tag.to_string()).collect(),
        attempt_failures_validity_interval_ms: None,
        node_label_expression: spec.label.as_ref().map(|label| label.to_string()),
        application_timeouts: lifetime.into_iter().collect(),
        application_scheduling_properties: Vec::new(),
        log_aggregation_context: None,
    }
}

fn cut(text: &str, size: usize) -> String {
    text[..text.floor_char_boundary(size)].to_owned()
}

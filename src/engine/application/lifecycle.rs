//! What happens to applications and attempts: inputs, one after the other, through the tables.
//! Owns: [`Lifecycle`]: the queue of inputs, timers, counters. Called by: the application manager; every input ends in
//! `attempt_step` or `app_step`.
//! Does not: read frames, answer clients. Thread: `rm-app`.
//! Invariants: inputs are worked off in the order they came; what saves goes on only with its acknowledgement; every
//! terminal application leads to one RemoveApplication and one completion, when all of its attempts have been removed.

use std::collections::{BTreeSet, VecDeque};

use heddle_wire::record::{ApplicationAttemptId, ApplicationId, ContainerId, NodeId};

use super::access::Access;
use super::ended::EndedByQueue;
use super::message::{ApplicationCounters, ApplicationOutput, StoreOperation, UpdatePurpose};
use super::rm_app::RmApp;
use super::rm_app_state::{self, FinalTarget, RmAppAction, RmAppEvent, RmAppState, Step};
use super::settings::ApplicationSettings;
use crate::engine::scheduler::message::{AddApplication, Attempt, SchedulerCommand, Usage};
use crate::engine::time::{Duration, Instant};

/// Notices of one step; more are only counted.
const NOTICES_PER_STEP_MAX: usize = 64;

/// A timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A lifetime ends.
    Lifetime(ApplicationId),
    /// An AM that has finished goes on for too long.
    Finishing(ApplicationAttemptId),
    /// The final state of an application is to be written again.
    SaveApplication(ApplicationId),
    /// The final state of an attempt is to be written again.
    SaveAttempt(ApplicationAttemptId),
}

/// Something that happens.
#[derive(Debug)]
pub(super) enum Input {
    App(ApplicationId, AppInput),
    Attempt(ApplicationAttemptId, AttemptInput),
}

/// What happens to an application, with what is told.
#[derive(Debug)]
pub(super) enum AppInput {
    Start,
    Kill(String),
    Rejected(Box<str>),
    NewSaved,
    SaveFailed(String),
    Accepted { queue: Box<str> },
    AttemptRegistered,
    AttemptLaunched,
    AttemptFailed,
    AttemptFinished,
    AttemptKilled,
    AttemptUnregistered,
    UpdateSaved,
}

/// What happens to an attempt, with what is told.
#[derive(Debug)]
pub(super) enum AttemptInput {
    Start,
    Kill(String),
    Fail(String),
    Rejected(Box<str>),
    Added(Attempt),
    Allocated { container_id: ContainerId, node_id: NodeId },
    NewSaved,
    SaveFailed(String),
    Launched,
    Registered { host: Box<str>, rpc_port: i32, tracking_url: Box<str> },
    StatusUpdate { progress: f32, tracking_url: Option<Box<str>> },
    Unregistered { final_status: u8, diagnostics: Box<str>, diagnostics_cut: u32, tracking_url: Box<str> },
    Expire,
    AmContainerFinished { container_id: ContainerId, exit_status: i32, diagnostics: Box<str>, host: Box<str> },
    UpdateSaved,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lifecycle {
    pub(super) settings: ApplicationSettings,
    pub(super) access: Access,
    pub(super) now: Instant,
    pub(super) inputs: VecDeque<Input>,
    pub(super) timers: BTreeSet<(Instant, Timer)>,
    pub(super) counters: ApplicationCounters,
    pub(super) ended: EndedByQueue,
    /// Applications that are terminal and have left the scheduler: they are to be completed.
    pub(super) completing: Vec<ApplicationId>,
}

impl Lifecycle {
    pub(super) fn new(settings: ApplicationSettings, access: Access) -> Self {
        Self {
            settings,
            access,
            now: Instant::ZERO,
            inputs: VecDeque::new(),
            timers: BTreeSet::new(),
            counters: ApplicationCounters::default(),
            ended: EndedByQueue::default(),
            completing: Vec::new(),
        }
    }

    /// Wall-clock time, milliseconds since 1970.
    pub(super) const fn now_ms(&self) -> u64 {
        self.settings.rm_identifier.saturating_add(self.now.as_millis())
    }

    /// When a wall-clock time is, in the engine's time.
    const fn instant_of(&self, at_ms: u64) -> Instant {
        Instant::from_millis(at_ms.saturating_sub(self.settings.rm_identifier))
    }

    pub(super) const fn diagnostics_max(&self) -> usize {
        self.settings.diagnostics_size_max as usize
    }

    pub(super) fn app_input(&mut self, id: ApplicationId, input: AppInput) {
        self.inputs.push_back(Input::App(id, input));
    }

    pub(super) fn attempt_input(&mut self, id: ApplicationAttemptId, input: AttemptInput) {
        self.inputs.push_back(Input::Attempt(id, input));
    }

    pub(super) fn notice(&self, out: &mut ApplicationOutput, text: impl FnOnce() -> String) {
        if out.notices.len() < NOTICES_PER_STEP_MAX {
            out.notices.push(text());
        }
    }

    pub(super) fn impossible(
        &mut self,
        out: &mut ApplicationOutput,
        who: &dyn core::fmt::Display,
        state: &str,
        event: &dyn core::fmt::Debug,
    ) {
        self.counters.impossible_pairs += 1;
        self.notice(out, || format!("{who} in {state}: {event:?} is impossible, ignored"));
    }

    /// Keeps the counts by public state.
    pub(super) fn count_state(&mut self, app: &RmApp, is_there: bool) {
        let index = app.public_state() as usize - 1;
        if let Some(count) = self.counters.applications_by_state.get_mut(index) {
            *count = if is_there { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// One input of an application.
    pub(super) fn app_step(&mut self, app: &mut RmApp, input: AppInput, out: &mut ApplicationOutput) {
        let event = match &input {
            AppInput::Start => RmAppEvent::Start,
            AppInput::Kill(_) => RmAppEvent::Kill,
            AppInput::Rejected(_) => RmAppEvent::AppRejected,
            AppInput::NewSaved => RmAppEvent::AppNewSaved,
            AppInput::SaveFailed(_) => RmAppEvent::AppSaveFailed,
            AppInput::Accepted { .. } => RmAppEvent::AppAccepted,
            AppInput::AttemptRegistered => RmAppEvent::AttemptRegistered,
            AppInput::AttemptLaunched => RmAppEvent::AttemptLaunched,
            AppInput::AttemptFailed => RmAppEvent::AttemptFailed { may_retry: app.may_retry(self.now_ms()) },
            AppInput::AttemptFinished => RmAppEvent::AttemptFinished,
            AppInput::AttemptKilled => RmAppEvent::AttemptKilled,
            AppInput::AttemptUnregistered => RmAppEvent::AttemptUnregistered,
            AppInput::UpdateSaved => RmAppEvent::AppUpdateSaved,
        };
        let (next, action) = match rm_app_state::step(app.state, app.target, event) {
            Step::To(next, action) => (next, action),
            Step::Ignored => return,
            Step::Impossible => return self.impossible(out, &app.id(), app.state.name(), &event),
        };
        self.count_state(app, false);
        // What FINAL_SAVING and KILLING show is what was shown before them.
        if !matches!(app.state, RmAppState::Killing | RmAppState::FinalSaving) {
            app.before = app.state;
        }
        app.state = next;
        let diagnostics_max = self.diagnostics_max();
        let mut kill_text = String::new();
        match input {
            AppInput::Kill(text) => {
                app.diagnostics.append(&text, diagnostics_max);
                kill_text = text;
            }
            AppInput::Rejected(text) => app.diagnostics.append(&text, diagnostics_max),
            AppInput::SaveFailed(text) => {
                let text = format!("{} could not be stored: {text}", app.id());
                app.diagnostics.append(&text, diagnostics_max);
            }
            AppInput::Accepted { queue } => app.queue = queue,
            AppInput::AttemptFailed => {
                if matches!(action, RmAppAction::SaveFinal(_)) {
                    let text = self.failed_text(app);
                    app.diagnostics.append(&text, diagnostics_max);
                }
            }
            AppInput::AttemptUnregistered | AppInput::AttemptFinished => {
                let said = app.current_attempt().map(|attempt| attempt.diagnostics.as_str().to_owned());
                // Once: ATTEMPT_FINISHED follows ATTEMPT_UNREGISTERED.
                if let Some(said) = said.filter(|_| matches!(action, RmAppAction::SaveFinal(_))) {
                    app.diagnostics.append(&said, diagnostics_max);
                }
            }
            AppInput::Start
            | AppInput::NewSaved
            | AppInput::AttemptRegistered
            | AppInput::AttemptLaunched
            | AppInput::AttemptKilled
            | AppInput::UpdateSaved => {}
        }
        self.app_action(app, action, kill_text, out);
        self.count_state(app, true);
    }

    fn app_action(
        &mut self,
        app: &mut RmApp,
        action: RmAppAction,
        kill_text: String,
        out: &mut ApplicationOutput,
    ) {
        match action {
            RmAppAction::Nothing => {}
            RmAppAction::SaveNew => {
                let lifetime = self.lifetime_s(app);
                let expires_at_ms =
                    lifetime.map(|s| app.submit_time_ms.saturating_add(s.saturating_mul(1_000)));
                self.set_expiry(app, expires_at_ms);
                out.store_operations.push(StoreOperation::SaveApplication(Box::new(app.record())));
            }
            RmAppAction::AddToScheduler => {
                app.is_in_scheduler = true;
                out.scheduler_commands.push(SchedulerCommand::AddApplication(Box::new(AddApplication {
                    application_id: app.id(),
                    user: app.submission.user.clone(),
                    queue: app.queue.clone(),
                    priority: app.priority,
                    node_label_expression: app.submission.node_label_expression.clone(),
                    submit_time_ms: app.submit_time_ms,
                    am_node_label: app.submission.am.as_ref().and_then(|am| am.node_label.clone()),
                })));
            }
            RmAppAction::StartAttempt => self.start_attempt(app, out),
            RmAppAction::RememberLaunch => {
                if app.launch_time_ms == 0 {
                    app.launch_time_ms = self.now_ms();
                    let state = Box::new(app.state_record(false));
                    let purpose = UpdatePurpose::Note;
                    out.store_operations.push(StoreOperation::UpdateApplication { state, purpose });
                }
            }
            RmAppAction::KillAttempt => {
                if let Some(attempt) = app.current_attempt() {
                    let id = attempt.id;
                    self.attempt_input(id, AttemptInput::Kill(kill_text));
                }
            }
            RmAppAction::SaveFinal(target) => {
                app.target = target;
                app.finish_time_ms = self.now_ms();
                self.save_final(app, out);
            }
            RmAppAction::Retarget => app.target = FinalTarget::Finished,
            RmAppAction::ApplyTarget => {
                self.set_expiry(app, None);
                if app.is_in_scheduler {
                    let application_id = app.id();
                    out.scheduler_commands.push(SchedulerCommand::FinalStateStored { application_id });
                }
                if app.state.is_terminal() {
                    self.final_actions(app, out);
                }
            }
            RmAppAction::FinalActions => self.final_actions(app, out),
        }
    }

    /// Writes the final state (again).
    pub(super) fn save_final(&self, app: &RmApp, out: &mut ApplicationOutput) {
        let state = Box::new(app.state_record(true));
        let purpose = UpdatePurpose::Final;
        out.store_operations.push(StoreOperation::UpdateApplication { state, purpose });
    }

    fn final_actions(&mut self, app: &mut RmApp, out: &mut ApplicationOutput) {
        self.set_expiry(app, None);
        if app.finish_time_ms == 0 {
            app.finish_time_ms = self.now_ms();
        }
        if app.is_in_scheduler {
            app.is_in_scheduler = false;
            self.ended.count(app, &self.access);
            out.scheduler_commands.push(SchedulerCommand::RemoveApplication { application_id: app.id() });
        }
        // What is needed to launch is most of an application's memory.
        let size = core::mem::take(&mut app.submission.launch_context).len() as u64;
        self.counters.launch_context_bytes = self.counters.launch_context_bytes.saturating_sub(size);
        if app.removals_pending == 0 {
            self.completing.push(app.id());
        }
    }

    /// What the scheduler says of an attempt that was removed.
    pub(super) fn attempt_removed(
        &mut self,
        app: &mut RmApp,
        attempt_id: ApplicationAttemptId,
        usage: Usage,
        out: &mut ApplicationOutput,
    ) {
        if app.removals_pending == 0 {
            let state = app.state.name();
            return self.impossible(out, &attempt_id, state, &"AttemptRemoved");
        }
        app.removals_pending -= 1;
        app.used.add(&usage);
        if let Some(attempt) = app.attempt_index(attempt_id).and_then(|index| app.attempts.get_mut(index)) {
            attempt.usage = Some(Box::new(usage));
            let record = Box::new(attempt.record());
            let purpose = UpdatePurpose::Note;
            out.store_operations.push(StoreOperation::UpdateAttempt { record, purpose });
        }
        if app.state.is_terminal() && app.removals_pending == 0 {
            self.completing.push(app.id());
        }
    }

    /// The lifetime of a new application, seconds: as asked for, else the queue's default, at most the queue's maximum.
    fn lifetime_s(&self, app: &RmApp) -> Option<u64> {
        let queue = self.access.find(&app.queue);
        let queue = queue.and_then(|index| self.access.queues().queues.get(index as usize));
        let maximum = queue.and_then(|queue| queue.maximum_application_lifetime_s);
        let default = queue.and_then(|queue| queue.default_application_lifetime_s);
        let wanted = app.submission.lifetime_s.or(default);
        match (wanted, maximum) {
            (Some(wanted), Some(maximum)) => Some(wanted.min(maximum)),
            (wanted, maximum) => wanted.or(maximum),
        }
    }

    /// Sets (or takes away) the end of a lifetime. Timers end on multiples of the check interval, so that many
    /// applications share a wake.
    pub(super) fn set_expiry(&mut self, app: &mut RmApp, expires_at_ms: Option<u64>) {
        if let Some(deadline) = app.lifetime_deadline.take() {
            self.timers.remove(&(deadline, Timer::Lifetime(app.id())));
        }
        // A final application keeps what it had, for reports.
        if expires_at_ms.is_some() || !matches!(app.state, RmAppState::Finishing) && !app.state.is_terminal()
        {
            app.expires_at_ms = expires_at_ms;
        }
        let Some(expires_at_ms) = expires_at_ms else { return };
        let interval = self.settings.lifetime_check_interval.as_nanos().max(1);
        let due = u128::from(self.instant_of(expires_at_ms).as_nanos());
        let due = due.div_ceil(interval).saturating_mul(interval);
        let deadline = Instant::from_nanos(u64::try_from(due).unwrap_or(u64::MAX));
        app.lifetime_deadline = Some(deadline);
        self.timers.insert((deadline, Timer::Lifetime(app.id())));
    }

    pub(super) fn set_timer(&mut self, after: Duration, timer: Timer) -> Instant {
        let deadline = self.now + after;
        self.timers.insert((deadline, timer));
        deadline
    }

    /// Why an application fails with its attempt, in YARN's words: tools read them.
    fn failed_text(&self, app: &RmApp) -> String {
        let id = app.id();
        let last = app.current_attempt().map_or("", |attempt| attempt.diagnostics.as_str());
        if app.submission.is_unmanaged {
            return format!("Unmanaged application {id} failed due to {last}. Failing the application.");
        }
        let failures = app.failures(self.now_ms()).max(usize::from(app.max_attempts <= 1));
        let interval = match app.submission.failures_validity_interval_ms {
            None | Some(0) => String::new(),
            Some(interval) => format!(" in previous {interval} milliseconds"),
        };
        let global = self.settings.global_am_max_attempts;
        let limits = if app.max_attempts == global {
            String::new()
        } else {
            format!(" (global limit ={global}; local limit is ={})", app.max_attempts)
        };
        format!(
            "Application {id} failed {failures} times{interval}{limits} due to {last}. Failing the application."
        )
    }
}

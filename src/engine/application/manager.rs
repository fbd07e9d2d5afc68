//! The application manager: one value, stepped by a duty cycle.
//! Owns: [`ApplicationManager`]: the table of applications, the completed list, ids, timers. Called by: the duty cycle of
//! `rm-app` (frames, scheduler's and store's messages, commands, ticks), recorder, simulator.
//! Does not: wait, read clocks, write storage; it says what is to be stored and goes on when that is acknowledged.
//! Invariants: completed applications are at most the cap; every call of a client is answered once, now or by
//! `late_answers`; timers are an ordered set, nothing is scanned.

use std::collections::{BTreeMap, VecDeque};

use heddle_wire::record::{ApplicationAttemptId, ApplicationId};

use super::access::Access;
use super::audit;
use super::lifecycle::{AppInput, AttemptInput, Input, Lifecycle, Timer};
use super::message::{
    ApplicationCounters, ApplicationOutput, StoreError, StoreEvent, StoreOperation, UpdatePurpose,
};
use super::rm_app::RmApp;
use super::rm_app_attempt_state::RmAppAttemptState;
use super::rm_app_state::RmAppState;
use super::settings::ApplicationSettings;
use super::waiting::Waiting;
use crate::engine::scheduler::message::ApplicationEvent;
use crate::engine::scheduler::settings::QueueTree;
use crate::engine::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct ApplicationManager {
    /// Every application in memory: those under way and the completed ones that are kept.
    pub(super) apps: BTreeMap<ApplicationId, Box<RmApp>>,
    pub(super) life: Lifecycle,
    /// Completed ones, oldest end first; at most the cap.
    completed: VecDeque<ApplicationId>,
    /// How many of them, from the end, are in the state store.
    completed_in_store: u32,
    /// The last id that was issued.
    pub(super) last_application: u32,
    /// Clients' calls that wait for the scheduler or the store.
    pub(super) waiting: Waiting,
    /// Applications that listings of this call of `handle_frames` have looked at.
    pub(super) looked_at: usize,
}

impl ApplicationManager {
    /// Without applications.
    #[must_use]
    pub fn new(mut settings: ApplicationSettings, queues: QueueTree) -> Self {
        let groups = core::mem::take(&mut settings.groups);
        Self {
            apps: BTreeMap::new(),
            life: Lifecycle::new(settings, Access::new(queues, groups)),
            completed: VecDeque::new(),
            completed_in_store: 0,
            last_application: 0,
            waiting: Waiting::default(),
            looked_at: 0,
        }
    }

    /// Numbers for metrics.
    #[must_use]
    pub fn counters(&self) -> ApplicationCounters {
        let queries_outstanding = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        ApplicationCounters { queries_outstanding, ..self.life.counters }
    }

    /// When [`ApplicationManager::handle_tick`] has something to do; `None` = not of itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.life.timers.first().map(|(deadline, _)| *deadline)
    }

    /// Time has passed.
    pub fn handle_tick(&mut self, now: Instant, out: &mut ApplicationOutput) {
        self.advance(now);
        while let Some((deadline, timer)) = self.life.timers.first().copied() {
            if deadline > self.life.now {
                break;
            }
            self.life.timers.remove(&(deadline, timer));
            match timer {
                Timer::Lifetime(id) => {
                    if let Some(app) = self.apps.get_mut(&id) {
                        app.lifetime_deadline = None;
                    }
                    let text = format!(
                        "Application {id} is killed by ResourceManager as it has exceeded the lifetime period."
                    );
                    self.life.app_input(id, AppInput::Kill(text));
                }
                Timer::Finishing(id) => self.life.attempt_input(id, AttemptInput::Expire),
                Timer::SaveApplication(id) => {
                    if let Some(app) = self.apps.get(&id).filter(|app| app.state == RmAppState::FinalSaving) {
                        self.life.save_final(app, out);
                    }
                }
                Timer::SaveAttempt(id) => {
                    let app = self.apps.get(&id.application_id);
                    let attempt = app.and_then(|app| app.attempts.get(app.attempt_index(id)?));
                    if let Some(attempt) = attempt.filter(|it| it.state == RmAppAttemptState::FinalSaving) {
                        self.life.save_attempt(attempt, out);
                    }
                }
            }
        }
        self.run(out);
    }

    /// What the scheduler says.
    pub fn handle_application_event(
        &mut self,
        now: Instant,
        event: ApplicationEvent,
        out: &mut ApplicationOutput,
    ) {
        self.advance(now);
        match event {
            ApplicationEvent::Accepted { application_id, queue } => {
                self.life.app_input(application_id, AppInput::Accepted { queue });
            }
            ApplicationEvent::Rejected { application_id, reason } => {
                // What it does not know it is not told to forget.
                if let Some(app) = self.apps.get_mut(&application_id) {
                    app.is_in_scheduler = false;
                }
                self.life.app_input(application_id, AppInput::Rejected(reason));
            }
            ApplicationEvent::AttemptAdded { attempt_id, attempt } => {
                self.life.attempt_input(attempt_id, AttemptInput::Added(attempt));
            }
            ApplicationEvent::AttemptRejected { attempt_id, reason } => {
                self.life.attempt_input(attempt_id, AttemptInput::Rejected(reason));
            }
            ApplicationEvent::AmContainerAllocated { attempt_id, container_id, node_id, .. } => {
                self.life.attempt_input(attempt_id, AttemptInput::Allocated { container_id, node_id });
            }
            ApplicationEvent::Launched { attempt_id } => {
                self.life.attempt_input(attempt_id, AttemptInput::Launched);
            }
            ApplicationEvent::Registered { attempt_id, host, rpc_port, tracking_url } => {
                let input = AttemptInput::Registered { host, rpc_port, tracking_url };
                self.life.attempt_input(attempt_id, input);
            }
            ApplicationEvent::StatusUpdate { attempt_id, progress, tracking_url } => {
                let input = AttemptInput::StatusUpdate { progress, tracking_url };
                self.life.attempt_input(attempt_id, input);
            }
            ApplicationEvent::Unregistered {
                attempt_id,
                final_status,
                diagnostics,
                diagnostics_cut,
                tracking_url,
            } => {
                let input =
                    AttemptInput::Unregistered { final_status, diagnostics, diagnostics_cut, tracking_url };
                self.life.attempt_input(attempt_id, input);
            }
            ApplicationEvent::Expired { attempt_id } => {
                self.life.attempt_input(attempt_id, AttemptInput::Expire);
            }
            ApplicationEvent::AmContainerFinished {
                attempt_id,
                container_id,
                exit_status,
                diagnostics,
                host,
            } => {
                let input =
                    AttemptInput::AmContainerFinished { container_id, exit_status, diagnostics, host };
                self.life.attempt_input(attempt_id, input);
            }
            ApplicationEvent::AttemptRemoved { attempt_id, usage } => {
                match self.apps.get_mut(&attempt_id.application_id) {
                    Some(app) => self.life.attempt_removed(app, attempt_id, usage, out),
                    None => self.life.counters.unknown_events += 1,
                }
            }
            ApplicationEvent::QueuesReplaced { queues } => {
                self.life.access.set_queues(*queues);
                self.life.ended.keep_known(&self.life.access);
            }
            ApplicationEvent::Reply { token, reply } => self.handle_query_reply(token, reply, out),
        }
        self.run(out);
    }

    /// What the state store says.
    pub fn handle_store_event(&mut self, now: Instant, event: StoreEvent, out: &mut ApplicationOutput) {
        self.advance(now);
        match event {
            StoreEvent::ApplicationSaved { application_id, result } => {
                let input = match result {
                    Ok(()) => AppInput::NewSaved,
                    Err(error) => AppInput::SaveFailed(self.store_failed(&application_id, &error, out)),
                };
                self.life.app_input(application_id, input);
            }
            StoreEvent::ApplicationUpdated { application_id, purpose, result } => {
                self.application_updated(application_id, purpose, result, out);
            }
            StoreEvent::AttemptSaved { attempt_id, result } => {
                let input = match result {
                    Ok(()) => AttemptInput::NewSaved,
                    Err(error) => AttemptInput::SaveFailed(self.store_failed(&attempt_id, &error, out)),
                };
                self.life.attempt_input(attempt_id, input);
            }
            StoreEvent::AttemptUpdated { attempt_id, purpose, result } => {
                self.attempt_updated(attempt_id, purpose, result, out);
            }
            StoreEvent::RemoveFailed { application_id, error } => {
                self.store_failed(&application_id, &error, out);
            }
        }
        self.run(out);
    }

    fn application_updated(
        &mut self,
        id: ApplicationId,
        purpose: UpdatePurpose,
        result: Result<(), StoreError>,
        out: &mut ApplicationOutput,
    ) {
        let failure = result.err().map(|error| (self.store_failed(&id, &error, out), error));
        match (purpose, failure) {
            (UpdatePurpose::Final, None) => self.life.app_input(id, AppInput::UpdateSaved),
            // Nothing final is shown before it is durable: the store is asked until it works again.
            (UpdatePurpose::Final, Some((_, StoreError::Unavailable(_)))) => {
                self.life.set_timer(self.life.settings.store_retry_interval, Timer::SaveApplication(id));
            }
            // It will never be durable. The application ends all the same, and says so.
            (UpdatePurpose::Final, Some((text, _))) => {
                if let Some(app) = self.apps.get_mut(&id) {
                    let text = format!("The final state could not be stored: {text}");
                    app.diagnostics.append(&text, self.life.diagnostics_max());
                }
                self.life.app_input(id, AppInput::UpdateSaved);
            }
            (UpdatePurpose::Change(token), failure) => {
                self.change_stored(token, failure.map(|(text, _)| text), out);
            }
            (UpdatePurpose::Note, _) => {}
        }
    }

    fn attempt_updated(
        &mut self,
        id: ApplicationAttemptId,
        purpose: UpdatePurpose,
        result: Result<(), StoreError>,
        out: &mut ApplicationOutput,
    ) {
        let failure = result.err().map(|error| (self.store_failed(&id, &error, out), error));
        match (purpose, failure) {
            (UpdatePurpose::Final, Some((_, StoreError::Unavailable(_)))) => {
                self.life.set_timer(self.life.settings.store_retry_interval, Timer::SaveAttempt(id));
            }
            (UpdatePurpose::Final, _) => self.life.attempt_input(id, AttemptInput::UpdateSaved),
            (UpdatePurpose::Change(_) | UpdatePurpose::Note, _) => {}
        }
    }

    fn store_failed(
        &mut self,
        who: &dyn core::fmt::Display,
        error: &StoreError,
        out: &mut ApplicationOutput,
    ) -> String {
        self.life.counters.store_failures += 1;
        let text = error.to_string();
        self.life.notice(out, || format!("{who}: {text}"));
        text
    }

    /// Time does not go back.
    pub(super) fn advance(&mut self, now: Instant) {
        self.life.now = self.life.now.max(now);
    }

    /// Works off the inputs, then completes what is through.
    pub(super) fn run(&mut self, out: &mut ApplicationOutput) {
        while let Some(input) = self.life.inputs.pop_front() {
            match input {
                Input::App(id, input) => match self.apps.get_mut(&id) {
                    Some(app) => self.life.app_step(app, input, out),
                    None => self.life.counters.unknown_events += 1,
                },
                Input::Attempt(id, input) => {
                    let app = self.apps.get_mut(&id.application_id);
                    match app.and_then(|app| app.attempt_index(id).map(|index| (app, index))) {
                        Some((app, index)) => self.life.attempt_step(app, index, input, out),
                        None => self.life.counters.unknown_events += 1,
                    }
                }
            }
        }
        for id in core::mem::take(&mut self.life.completing) {
            self.complete(id, out);
        }
    }

    /// APP_COMPLETED: the completed list, the audit and summary lines, the caps.
    fn complete(&mut self, id: ApplicationId, out: &mut ApplicationOutput) {
        let Some(app) = self.apps.get_mut(&id).filter(|app| !app.is_completed) else { return };
        app.is_completed = true;
        let counters = &mut self.life.counters;
        match app.state {
            RmAppState::Finished => counters.finished += 1,
            RmAppState::Killed => counters.killed += 1,
            _ => counters.failed += 1,
        }
        out.audit.push(audit::completed(app));
        out.summaries.push(audit::summary(app));
        self.completed.push_back(id);
        self.completed_in_store += 1;
        let settings = &self.life.settings;
        let in_store = settings.store_max_completed_applications.min(settings.max_completed_applications);
        while self.completed_in_store > in_store {
            let index = self.completed.len().saturating_sub(self.completed_in_store as usize);
            self.completed_in_store -= 1;
            if let Some(oldest) = self.completed.get(index) {
                out.store_operations.push(StoreOperation::RemoveApplication(*oldest));
            }
        }
        let in_memory = settings.max_completed_applications as usize;
        while self.completed.len() > in_memory {
            let Some(oldest) = self.completed.pop_front() else { break };
            if let Some(app) = self.apps.remove(&oldest) {
                self.life.count_state(&app, false);
                self.life.counters.evicted += 1;
            }
        }
    }

    /// Applications that have not completed.
    pub(super) fn active(&self) -> usize {
        self.apps.len().saturating_sub(self.completed.len())
    }
}

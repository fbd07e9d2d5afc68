//! What happens to attempts: the second half of [`Lifecycle`].
//! Owns: the actions of the attempt's table. Called by: the application manager, for each input of an attempt.
//! Does not: decide whether another attempt follows; the application does.
//! Invariants: AddAttempt, then SaveAttempt, then LaunchAm, each with the acknowledgement of the one before; RemoveAttempt
//! once per attempt, before the application hears of its end.

use heddle_wire::record::ApplicationAttemptId;

use super::lifecycle::{AppInput, AttemptInput, Lifecycle, Timer};
use super::message::{ApplicationOutput, StoreOperation, UpdatePurpose};
use super::rm_app::RmApp;
use super::rm_app_attempt::RmAppAttempt;
use super::rm_app_attempt_state::{
    self, AttemptTarget, RmAppAttemptAction, RmAppAttemptEvent, RmAppAttemptState,
};
use super::rm_app_state::{RmAppState, Step};
use crate::engine::scheduler::message::{AddAttempt, AmAsk, LaunchAm, SchedulerCommand};

impl Lifecycle {
    /// Creates the next attempt of an application and starts it.
    pub(super) fn start_attempt(&mut self, app: &mut RmApp, out: &mut ApplicationOutput) {
        let id = ApplicationAttemptId { application_id: app.id(), attempt_id: app.next_attempt };
        app.next_attempt = app.next_attempt.saturating_add(1);
        self.counters.attempts += 1;
        self.forget_attempts(app, out);
        app.attempts.push(RmAppAttempt::new(id, self.now_ms()));
        self.attempt_input(id, AttemptInput::Start);
    }

    /// Forgets attempts that do not matter any more, so that failures which do not count cannot fill the memory. Those
    /// that fell out of the validity interval leave the state store as well.
    fn forget_attempts(&self, app: &mut RmApp, out: &mut ApplicationOutput) {
        let now_ms = self.now_ms();
        let has_interval = app.submission.failures_validity_interval_ms.is_some_and(|interval| interval > 0);
        let bound = if has_interval {
            app.max_attempts
        } else {
            self.settings.attempts_kept_max.max(app.max_attempts)
        };
        while app.attempts.len() > bound as usize {
            let is_old = |attempt: &RmAppAttempt| !app.is_failure(attempt, now_ms);
            let Some(index) = app.attempts.iter().position(is_old) else { break };
            out.store_operations.push(StoreOperation::RemoveAttempt(app.attempts.remove(index).id));
        }
    }

    /// One input of an attempt.
    pub(super) fn attempt_step(
        &mut self,
        app: &mut RmApp,
        index: usize,
        input: AttemptInput,
        out: &mut ApplicationOutput,
    ) {
        let is_unmanaged = app.submission.is_unmanaged;
        let Some(attempt) = app.attempts.get_mut(index) else { return };
        // Told of another container than its AM's: the end of one that an earlier attempt of the same number left.
        if let AttemptInput::AmContainerFinished { container_id, .. } = &input
            && attempt.am_container.is_some_and(|own| own != *container_id)
        {
            self.counters.unknown_events += 1;
            return;
        }
        let event = match &input {
            AttemptInput::Start => RmAppAttemptEvent::Start,
            AttemptInput::Kill(_) => RmAppAttemptEvent::Kill,
            AttemptInput::Fail(_) | AttemptInput::Rejected(_) => RmAppAttemptEvent::Fail,
            AttemptInput::Added(_) => RmAppAttemptEvent::AttemptAdded { is_unmanaged },
            AttemptInput::Allocated { .. } => RmAppAttemptEvent::ContainerAllocated,
            AttemptInput::NewSaved => RmAppAttemptEvent::AttemptNewSaved,
            AttemptInput::SaveFailed(_) => RmAppAttemptEvent::AttemptSaveFailed,
            AttemptInput::Launched => RmAppAttemptEvent::Launched,
            AttemptInput::Registered { .. } => RmAppAttemptEvent::Registered,
            AttemptInput::StatusUpdate { .. } => RmAppAttemptEvent::StatusUpdate,
            AttemptInput::Unregistered { .. } => RmAppAttemptEvent::Unregistered { is_unmanaged },
            AttemptInput::Expire => RmAppAttemptEvent::Expire,
            AttemptInput::AmContainerFinished { .. } => RmAppAttemptEvent::AmContainerFinished,
            AttemptInput::UpdateSaved => RmAppAttemptEvent::AttemptUpdateSaved,
        };
        let was = attempt.state;
        let row = rm_app_attempt_state::step(was, attempt.target, event);
        // Facts that hold whatever the state: the table only decides what follows from them.
        if let AttemptInput::AmContainerFinished { exit_status, .. } = &input {
            attempt.is_am_ended = true;
            if !attempt.state.is_terminal() && was != RmAppAttemptState::FinalSaving {
                attempt.am_exit_status = *exit_status;
            }
        }
        if let AttemptInput::Added(handle) = &input {
            attempt.handle = Some(*handle);
        }
        let (next, action) = match row {
            Step::To(next, action) => (next, action),
            Step::Ignored => return,
            Step::Impossible => {
                let id = attempt.id;
                return self.impossible(out, &id, was.name(), &event);
            }
        };
        if was != RmAppAttemptState::FinalSaving {
            attempt.before = was;
        }
        attempt.state = next;
        self.attempt_facts(app, index, was, input);
        self.attempt_action(app, index, action, out);
    }

    /// Remembers what an input says.
    fn attempt_facts(&self, app: &mut RmApp, index: usize, was: RmAppAttemptState, input: AttemptInput) {
        let size_max = self.diagnostics_max();
        let Some(attempt) = app.attempts.get_mut(index) else { return };
        match input {
            AttemptInput::Kill(text) | AttemptInput::Fail(text) => {
                attempt.diagnostics.append(&text, size_max);
            }
            AttemptInput::Rejected(text) => {
                attempt.is_rejected = true;
                attempt.diagnostics.append(&text, size_max);
            }
            AttemptInput::SaveFailed(text) => {
                let text = format!("{} could not be stored: {text}", attempt.id);
                attempt.diagnostics.append(&text, size_max);
            }
            AttemptInput::Allocated { container_id, node_id } => {
                attempt.am_container = Some(container_id);
                attempt.node_id = Some(node_id);
            }
            AttemptInput::Registered { host, rpc_port, tracking_url } => {
                if attempt.state == RmAppAttemptState::FinalSaving {
                    let text =
                        "The ApplicationMaster registered before the attempt was LAUNCHED. Failing it.";
                    attempt.diagnostics.append(text, size_max);
                } else {
                    attempt.host = host;
                    attempt.rpc_port = rpc_port;
                    attempt.original_tracking_url = tracking_url;
                }
            }
            AttemptInput::StatusUpdate { progress, tracking_url } => {
                attempt.progress = if progress.is_finite() { progress.clamp(0.0, 1.0) } else { 0.0 };
                if let Some(tracking_url) = tracking_url {
                    attempt.has_new_tracking_url = attempt.original_tracking_url != tracking_url;
                    attempt.original_tracking_url = tracking_url;
                }
            }
            AttemptInput::Unregistered { final_status, diagnostics, diagnostics_cut, tracking_url } => {
                attempt.final_status = Some(final_status);
                attempt.progress = 1.0;
                attempt.diagnostics.append_end(&diagnostics, diagnostics_cut as usize, size_max);
                if !tracking_url.is_empty() {
                    attempt.original_tracking_url = tracking_url;
                }
            }
            AttemptInput::Expire => {
                if attempt.state == RmAppAttemptState::FinalSaving && was != RmAppAttemptState::FinalSaving {
                    let text = format!("ApplicationMaster for attempt {} timed out", attempt.id);
                    attempt.diagnostics.append(&text, size_max);
                }
            }
            AttemptInput::AmContainerFinished { exit_status, diagnostics, host, .. } => {
                if was == RmAppAttemptState::FinalSaving || was == RmAppAttemptState::Finishing {
                    return;
                }
                let text = format!(
                    "AM Container for {} exited with exitCode: {exit_status}. Failing this attempt. Diagnostics: \
                     {diagnostics}",
                    attempt.id
                );
                attempt.diagnostics.append(&text, size_max);
                let hosts_max = self.settings.am_blacklisting.map(|settings| settings.hosts_max);
                app.note_am_exit(index, hosts_max, &host);
            }
            AttemptInput::Start
            | AttemptInput::Added(_)
            | AttemptInput::NewSaved
            | AttemptInput::Launched
            | AttemptInput::UpdateSaved => {}
        }
    }

    fn attempt_action(
        &mut self,
        app: &mut RmApp,
        index: usize,
        action: RmAppAttemptAction,
        out: &mut ApplicationOutput,
    ) {
        let application_id = app.id();
        let Some(attempt) = app.attempts.get_mut(index) else { return };
        let attempt_id = attempt.id;
        match action {
            RmAppAttemptAction::Nothing => {}
            RmAppAttemptAction::AddToScheduler => {
                let command = self.add_attempt(app, attempt_id);
                out.scheduler_commands.push(command);
            }
            RmAppAttemptAction::SaveNew | RmAppAttemptAction::TakeContainer => {
                out.store_operations.push(StoreOperation::SaveAttempt(Box::new(attempt.record())));
            }
            RmAppAttemptAction::Launch => {
                let Some(container_id) = attempt.am_container else { return };
                let launch_context = app.submission.launch_context.clone();
                let launch = LaunchAm { attempt_id, container_id, launch_context };
                out.scheduler_commands.push(SchedulerCommand::LaunchAm(Box::new(launch)));
            }
            RmAppAttemptAction::Ready => {
                out.scheduler_commands.push(SchedulerCommand::UnmanagedAttemptReady { attempt_id });
                self.app_input(application_id, AppInput::AttemptLaunched);
            }
            RmAppAttemptAction::TellLaunched => self.app_input(application_id, AppInput::AttemptLaunched),
            RmAppAttemptAction::Register => self.app_input(application_id, AppInput::AttemptRegistered),
            RmAppAttemptAction::LaunchedAndRegister => {
                self.app_input(application_id, AppInput::AttemptLaunched);
                self.app_input(application_id, AppInput::AttemptRegistered);
            }
            RmAppAttemptAction::UpdateStatus => {
                // Progress is not worth a write.
                if core::mem::take(&mut attempt.has_new_tracking_url) {
                    let record = Box::new(attempt.record());
                    let purpose = UpdatePurpose::Note;
                    out.store_operations.push(StoreOperation::UpdateAttempt { record, purpose });
                }
            }
            RmAppAttemptAction::SaveFinal(target) => {
                attempt.target = target;
                attempt.finish_time_ms = self.now_ms();
                self.save_attempt(attempt, out);
            }
            RmAppAttemptAction::Unregister(target) => {
                attempt.target = target;
                attempt.finish_time_ms = self.now_ms();
                // The application's record is written first: the AM waits for it, and an unmanaged attempt is removed
                // when its own is durable.
                self.app_step(app, AppInput::AttemptUnregistered, out);
                if let Some(attempt) = app.attempts.get(index) {
                    self.save_attempt(attempt, out);
                }
            }
            RmAppAttemptAction::Retarget => attempt.target = AttemptTarget::Finished,
            RmAppAttemptAction::ApplyTarget => {
                if attempt.state == RmAppAttemptState::Finishing {
                    let timer = Timer::Finishing(attempt_id);
                    attempt.finishing_deadline =
                        Some(self.set_timer(self.settings.am_finishing_expiry, timer));
                } else {
                    self.attempt_final_actions(app, index, out);
                }
            }
            RmAppAttemptAction::FinalActions => self.attempt_final_actions(app, index, out),
        }
    }

    /// Writes the final state of an attempt (again).
    pub(super) fn save_attempt(&self, attempt: &RmAppAttempt, out: &mut ApplicationOutput) {
        let record = Box::new(attempt.record());
        out.store_operations.push(StoreOperation::UpdateAttempt { record, purpose: UpdatePurpose::Final });
    }

    fn attempt_final_actions(&mut self, app: &mut RmApp, index: usize, out: &mut ApplicationOutput) {
        let now_ms = self.now_ms();
        let application_id = app.id();
        // The failed attempt is among those that are counted: its exit status is known.
        let may_transfer = app.submission.keep_containers
            && app.may_retry(now_ms)
            && !matches!(app.state, RmAppState::Killing | RmAppState::FinalSaving);
        let is_managed = !app.submission.is_unmanaged;
        let Some(attempt) = app.attempts.get_mut(index) else { return };
        if let Some(deadline) = attempt.finishing_deadline.take() {
            self.timers.remove(&(deadline, Timer::Finishing(attempt.id)));
        }
        let input = match attempt.state {
            RmAppAttemptState::Finished => AppInput::AttemptFinished,
            RmAppAttemptState::Killed => AppInput::AttemptKilled,
            _ => AppInput::AttemptFailed,
        };
        let is_failed = matches!(input, AppInput::AttemptFailed);
        if !matches!(input, AppInput::AttemptFinished) {
            attempt.host = Box::default();
            attempt.rpc_port = -1;
        }
        let keep_containers = is_failed && may_transfer;
        out.scheduler_commands.push(SchedulerCommand::RemoveAttempt {
            attempt_id: attempt.id,
            keep_containers,
            stop_am_container: is_managed && !attempt.is_am_ended,
        });
        self.counters.attempts_failed += u64::from(is_failed);
        app.transfers = keep_containers;
        app.removals_pending = app.removals_pending.saturating_add(1);
        self.app_input(application_id, input);
    }

    fn add_attempt(&self, app: &RmApp, attempt_id: ApplicationAttemptId) -> SchedulerCommand {
        let am = app.submission.am.as_ref().map(|am| {
            let queue = self.access.find(&app.queue);
            let queue = queue.and_then(|index| self.access.queues().queues.get(index as usize));
            let default = queue.and_then(|queue| queue.default_node_label_expression.clone());
            AmAsk {
                capability: am.capability.clone(),
                node_label: am.node_label.clone().or(default).unwrap_or_default(),
                localities: am.localities.clone(),
                relax_locality: am.relax_locality,
                blacklist: app.am_blacklist.clone(),
            }
        });
        SchedulerCommand::AddAttempt(Box::new(AddAttempt {
            attempt_id,
            am,
            transfer_from_previous: app.transfers,
            keep_containers: app.submission.keep_containers,
            acls: app.submission.acls.clone(),
        }))
    }
}

//! Changes of an application under way: its queue, its priority, the end of its lifetime.
//! Owns: their steps: checked here, by the scheduler where it has to know, stored, applied, answered.
//! Called by: `client` (requests), `reply` and the manager (what the scheduler and the store say). Thread: `rm-app`.
//! Does not: signal containers or end applications; those change no record.
//! Invariants: one change of an application at a time; it is applied after it is durable, and what the scheduler then refuses
//! is written back; every change is audited once, when it is over.

use heddle_wire::application_client::*;
use heddle_wire::record::ApplicationId;
use heddle_wire::{Reject, RejectCode};

use super::access::AccessType;
use super::call::{Call, request};
use super::client::operation_name;
use super::manager::ApplicationManager;
use super::message::{ApplicationOutput, StoreOperation, UpdatePurpose};
use super::reply::done;
use super::rm_app::RmApp;
use super::rm_app_state::RmAppState;
use super::waiting::{Change, ChangeStep, Wait, Waiter};
use crate::engine::batch::AnswerBatch;
use crate::engine::scheduler::message::{QueryReply, SchedulerCommand};

impl ApplicationManager {
    pub(super) fn move_application(
        &mut self,
        call: &Call,
        body: &[u8],
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(MoveApplicationAcrossQueuesRequest, body);
        let id = request.application_id.to_native();
        let target = request.target_queue.as_str();
        let result = self.check_move(call, id, target).and_then(|queue| {
            let change = Change::Queue(queue.clone());
            let wait = Wait::Change { application_id: id, change, step: ChangeStep::Checking };
            let command = |token| SchedulerCommand::MoveApplication {
                token,
                application_id: id,
                queue,
                is_check_only: true,
            };
            self.ask(call, wait, command, out)
        });
        self.begin_change(call, id, target, result, out)
    }

    fn check_move(&self, call: &Call, id: ApplicationId, target: &str) -> Result<Box<str>, Reject> {
        let app = self.app_for(call, id, AccessType::Modify)?;
        self.check_changeable(app, &[RmAppState::Accepted, RmAppState::Running], "moved")?;
        // A queue that is not known is the scheduler's to refuse: it says why.
        let Some(index) = self.life.access.find(target) else { return Ok(target.into()) };
        if !self.life.access.may_submit(call.user(), index) {
            let text = format!(
                "User {} does not have permission to submit {id} to queue {target}; accepted are its ACL \
                 submit-applications and its administrators",
                call.user()
            );
            return Err(Reject::new(RejectCode::AccessControl, text));
        }
        let queue = self.life.access.queues().queues.get(index as usize);
        Ok(queue.map_or_else(|| target.into(), |queue| queue.path.clone()))
    }

    /// Marks an application as changing, or audits why it is not changed.
    fn begin_change(
        &mut self,
        call: &Call,
        id: ApplicationId,
        queue: &str,
        result: Result<(), Reject>,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        match result {
            Ok(()) => {
                if let Some(app) = self.apps.get_mut(&id) {
                    app.is_changing = true;
                }
                Ok(())
            }
            Err(reject) => {
                let operation = operation_name(call.header.opcode);
                Self::audit::<()>(call, operation, id, queue, &Err(reject.clone()), out);
                Err(reject)
            }
        }
    }

    fn check_changeable(&self, app: &RmApp, accepted: &[RmAppState], what: &str) -> Result<(), Reject> {
        let id = app.id();
        if !accepted.contains(&app.state) {
            let names: Vec<&str> = accepted.iter().map(|state| state.name()).collect();
            let text = format!(
                "Application {id} is {}, accepted to be {what} is {}",
                app.state.name(),
                names.join(" or ")
            );
            return Err(Reject::new(RejectCode::WrongState, text));
        }
        if app.is_changing {
            let text = format!("Application {id} is being changed already, accepted is one change at a time");
            return Err(Reject::new(RejectCode::Busy, text).retry_after_ms(100));
        }
        Ok(())
    }

    pub(super) fn update_priority(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(UpdateApplicationPriorityRequest, body);
        let id = request.application_id.to_native();
        let maximum = self.life.access.queues().max_application_priority;
        let priority = request.application_priority.to_native().min(maximum);
        let result = self.app_for(call, id, AccessType::Modify).and_then(|app| {
            if app.state.is_final_stored() {
                return Ok(Some(app.priority));
            }
            self.check_changeable(app, &[RmAppState::Accepted, RmAppState::Running], "given a priority")?;
            Ok(None)
        });
        if let Ok(Some(application_priority)) = result {
            call.answer(answers, &UpdateApplicationPriorityResponse { application_priority });
            return Ok(());
        }
        let result = result.and_then(|_| self.store_change(call, id, Change::Priority(priority), out));
        self.begin_change(call, id, "", result, out)
    }

    pub(super) fn update_timeouts(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(UpdateApplicationTimeoutsRequest, body);
        let id = request.application_id.to_native();
        // There is one type; of several entries the last counts.
        let wanted_ms =
            request.application_timeouts.last().map_or(0, |update| update.expires_at_ms.to_native());
        let result = self.app_for(call, id, AccessType::Modify).and_then(|app| {
            if app.state.is_final_stored() {
                return Ok(None);
            }
            let accepted = [RmAppState::Submitted, RmAppState::Accepted, RmAppState::Running];
            self.check_changeable(app, &accepted, "given a lifetime")?;
            let now_ms = self.life.now_ms();
            if wanted_ms <= now_ms {
                let text = format!(
                    "application_timeouts.expires_at_ms is {wanted_ms}, accepted is a time after now, {now_ms}"
                );
                return Err(Reject::new(RejectCode::BadField, text));
            }
            let queue = self.life.access.find(&app.queue);
            let queue = queue.and_then(|index| self.life.access.queues().queues.get(index as usize));
            let maximum_s = queue.and_then(|queue| queue.maximum_application_lifetime_s);
            let maximum_ms = maximum_s.map_or(u64::MAX, |s| s.saturating_mul(1_000));
            Ok(Some(wanted_ms.min(app.submit_time_ms.saturating_add(maximum_ms))))
        });
        if let Ok(None) = result {
            call.answer(answers, &timeouts_response(wanted_ms));
            return Ok(());
        }
        let result = result
            .and_then(|until| self.store_change(call, id, Change::Expiry(until.unwrap_or(wanted_ms)), out));
        self.begin_change(call, id, "", result, out)
    }

    /// Writes a change; it is applied when it is durable.
    fn store_change(
        &mut self,
        call: &Call,
        id: ApplicationId,
        change: Change,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        self.waiting.check_room(self.life.settings.queries_max)?;
        let mut state = self.app(id)?.state_record(false);
        match &change {
            Change::Queue(queue) => state.queue = queue.clone(),
            Change::Priority(priority) => state.priority = *priority,
            Change::Expiry(until) => state.expires_at_ms = Some(*until),
        }
        let wait = Wait::Change { application_id: id, change, step: ChangeStep::Storing };
        let token = self.waiting.put(Waiter::Call(call.clone(), wait));
        let purpose = UpdatePurpose::Change(token);
        out.store_operations.push(StoreOperation::UpdateApplication { state: Box::new(state), purpose });
        Ok(())
    }

    /// The scheduler has checked or done a change.
    pub(super) fn change_answered(
        &mut self,
        call: &Call,
        id: ApplicationId,
        change: Change,
        step: ChangeStep,
        reply: QueryReply,
        out: &mut ApplicationOutput,
    ) {
        match (done(reply), step) {
            (Ok(_), ChangeStep::Checking) => {
                if let Err(reject) = self.check_still_changeable(id) {
                    return self.end_change(call, id, &change, Err(reject), out);
                }
                if let Err(reject) = self.store_change(call, id, change.clone(), out) {
                    self.end_change(call, id, &change, Err(reject), out);
                }
            }
            (Ok(_), _) => {
                if let Some(app) = self.apps.get_mut(&id) {
                    match &change {
                        Change::Queue(queue) => app.queue = queue.clone(),
                        Change::Priority(priority) => app.priority = *priority,
                        Change::Expiry(_) => {}
                    }
                }
                self.end_change(call, id, &change, Ok(()), out);
            }
            (Err(reject), step) => {
                // It is stored already: what was is written back. The final state has been written since, if there is one.
                if step == ChangeStep::Applying
                    && let Some(app) = self.apps.get(&id).filter(|app| !is_over(app.state))
                {
                    let state = Box::new(app.state_record(false));
                    let purpose = UpdatePurpose::Note;
                    out.store_operations.push(StoreOperation::UpdateApplication { state, purpose });
                }
                self.end_change(call, id, &change, Err(reject), out);
            }
        }
    }

    /// The store has written a change, or not.
    pub(super) fn change_stored(&mut self, token: u64, failure: Option<String>, out: &mut ApplicationOutput) {
        let Some(Waiter::Call(call, Wait::Change { application_id: id, change, .. })) =
            self.waiting.take(token)
        else {
            self.life.counters.unknown_events += 1;
            return;
        };
        if let Some(text) = failure {
            let reject = Reject::new(RejectCode::Internal, format!("nothing was changed: {text}"));
            return self.end_change(&call, id, &change, Err(reject), out);
        }
        if let Err(reject) = self.check_still_changeable(id) {
            return self.end_change(&call, id, &change, Err(reject), out);
        }
        let step = ChangeStep::Applying;
        let wait = Wait::Change { application_id: id, change: change.clone(), step };
        match change {
            Change::Queue(ref queue) => {
                let queue = queue.clone();
                let token = self.waiting.put(Waiter::Call(call, wait));
                out.scheduler_commands.push(SchedulerCommand::MoveApplication {
                    token,
                    application_id: id,
                    queue,
                    is_check_only: false,
                });
            }
            Change::Priority(priority) => {
                let token = self.waiting.put(Waiter::Call(call, wait));
                let command = SchedulerCommand::UpdatePriority { token, application_id: id, priority };
                out.scheduler_commands.push(command);
            }
            Change::Expiry(until) => {
                if let Some(app) = self.apps.get_mut(&id) {
                    self.life.set_expiry(app, Some(until));
                }
                self.end_change(&call, id, &change, Ok(()), out);
            }
        }
    }

    /// Between the steps of a change an application may have ended.
    fn check_still_changeable(&self, id: ApplicationId) -> Result<(), Reject> {
        let app = self.app(id)?;
        if !is_over(app.state) {
            return Ok(());
        }
        let text = format!("Application {id} has become {} meanwhile, nothing is changed", app.state.name());
        Err(Reject::new(RejectCode::WrongState, text))
    }

    fn end_change(
        &mut self,
        call: &Call,
        id: ApplicationId,
        change: &Change,
        result: Result<(), Reject>,
        out: &mut ApplicationOutput,
    ) {
        let app = self.apps.get_mut(&id);
        let priority = app.as_ref().map_or(0, |app| app.priority);
        let expires_at_ms = app.as_ref().and_then(|app| app.expires_at_ms).unwrap_or(0);
        if let Some(app) = app {
            app.is_changing = false;
        }
        let queue = if let Change::Queue(queue) = change { queue } else { "" };
        Self::audit(call, operation_name(call.header.opcode), id, queue, &result, out);
        let answers = &mut out.late_answers;
        match (result, change) {
            (Err(reject), _) => {
                self.count_reject(&reject);
                call.reject(&mut out.late_answers, &reject);
            }
            (Ok(()), Change::Queue(_)) => call.answer(answers, &MoveApplicationAcrossQueuesResponse {}),
            (Ok(()), Change::Priority(_)) => {
                call.answer(answers, &UpdateApplicationPriorityResponse { application_priority: priority });
            }
            (Ok(()), Change::Expiry(_)) => call.answer(answers, &timeouts_response(expires_at_ms)),
        }
    }
}

const fn is_over(state: RmAppState) -> bool {
    state.is_final_stored() || matches!(state, RmAppState::FinalSaving | RmAppState::Killing)
}

fn timeouts_response(expires_at_ms: u64) -> UpdateApplicationTimeoutsResponse {
    let timeout_type = heddle_wire::record::ApplicationTimeoutType::Lifetime;
    let update = heddle_wire::record::ApplicationTimeoutUpdate { timeout_type, expires_at_ms };
    UpdateApplicationTimeoutsResponse { application_timeouts: vec![update] }
}

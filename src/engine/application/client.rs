//! The door: which method a frame is for, and the methods that are about one application.
//! Owns: `handle_frames`. Called by: the duty cycle of `rm-app`, with batches of frames and their callers.
//! Does not: list applications (`listing`), change them (`changes`), administer (`administration`), submit (`submit`).
//! Invariants: every frame is answered once; access is checked before anything is told or done; what changes an application
//! is audited, refused or not.

use heddle_wire::application_client::*;
use heddle_wire::opcode::Protocol;
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ArchivedSignalContainerCommand, ContainerId, ResourceTypeInfo,
    SignalContainerCommand,
};
use heddle_wire::{Opcode, Reject, RejectCode};

use super::access::AccessType;
use super::audit::Line;
use super::call::{Call, request, resource_to};
use super::lifecycle::{AppInput, AttemptInput};
use super::manager::ApplicationManager;
use super::message::ApplicationOutput;
use super::rm_app::RmApp;
use super::rm_app_state::RmAppState;
use super::waiting::{Wait, Waiter};
use crate::engine::batch::{ANSWERS_SIZE_MAX, AnswerBatch, FrameBatch, FrameRef};
use crate::engine::scheduler::message::{Query, SchedulerCommand};
use crate::engine::time::Instant;

/// Applications that listings of one call of `handle_frames` look at, so that others wait for some ten milliseconds at
/// most.
const LOOKED_AT_MAX: usize = 65_536;

/// What the methods of the client protocol are the target of, in the audit log.
const TARGET: &str = "ClientRMService";

impl ApplicationManager {
    /// Takes frames of clients and administrators in their order, from `first` on, answering into `answers` what can be
    /// answered now. Returns how many it took: fewer than all when `answers` passed [`ANSWERS_SIZE_MAX`] or listings have
    /// looked at many applications; the rest is for the next call.
    pub fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> usize {
        self.advance(now);
        self.looked_at = 0;
        let mut taken = 0;
        for frame in batch.frames().get(first..).unwrap_or_default() {
            if answers.size() > ANSWERS_SIZE_MAX || self.looked_at > LOOKED_AT_MAX {
                break;
            }
            self.handle_frame(batch, frame, answers, out);
            taken += 1;
        }
        taken
    }

    fn handle_frame(
        &mut self,
        batch: &FrameBatch,
        frame_ref: &FrameRef,
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) {
        // Transport has read the header; a reference without a frame is nobody's call.
        let Some(frame) = batch.frame(frame_ref) else { return };
        let Some(caller) = batch.caller(frame_ref) else {
            self.life.counters.rejects += 1;
            let text = "the caller of the frame is not known, accepted are frames with their caller";
            let reject = Reject::new(RejectCode::Internal, text);
            answers.push_with(frame_ref.stream, |bytes| {
                let header = &frame.header;
                let (id, key) = (header.correlation_id, header.routing_key);
                heddle_wire::message::write_reject(bytes, header.opcode, id, key, &reject);
            });
            return;
        };
        let call = Call { stream: frame_ref.stream, header: frame.header, caller: caller.clone() };
        if let Err(reject) = self.dispatch(&call, frame.body(), answers, out) {
            self.count_reject(&reject);
            call.reject(answers, &reject);
        }
    }

    pub(super) const fn count_reject(&mut self, reject: &Reject) {
        self.life.counters.rejects += 1;
        if reject.code == RejectCode::AccessControl as u16 || reject.code == RejectCode::RoleNotAllowed as u16
        {
            self.life.counters.access_denied += 1;
        }
    }

    fn dispatch(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let opcode = call.header.opcode;
        if call.header.flags != heddle_wire::Flags::REQUEST {
            let text = format!("{} is an answer, accepted are requests", opcode.name());
            return Err(Reject::new(RejectCode::WrongDirection, text));
        }
        match opcode {
            Opcode::GetNewApplication => self.new_application(call, body, answers),
            Opcode::SubmitApplication => self.submit_application(call, body, answers, out),
            Opcode::KillApplication => self.kill_application(call, body, answers, out),
            Opcode::FailApplicationAttempt => self.fail_attempt(call, body, answers, out),
            Opcode::GetApplicationReport => self.application_report(call, body, answers, out),
            Opcode::GetApplications => self.applications(call, body, answers, out),
            Opcode::GetApplicationAttemptReport => self.attempt_report(call, body, answers),
            Opcode::GetApplicationAttempts => self.attempts(call, body, answers),
            Opcode::GetContainerReport => self.container_report(call, body, out),
            Opcode::GetContainers => self.containers(call, body, out),
            Opcode::GetQueueInfo => self.queue_info(call, body, out),
            Opcode::GetQueueUserAcls => self.queue_user_acls(call, body, answers),
            Opcode::MoveApplicationAcrossQueues => self.move_application(call, body, out),
            Opcode::UpdateApplicationPriority => self.update_priority(call, body, answers, out),
            Opcode::UpdateApplicationTimeouts => self.update_timeouts(call, body, answers, out),
            Opcode::SignalToContainer => self.signal_container(call, body, out),
            Opcode::GetResourceTypeInfo => self.resource_types(call, body, answers),
            Opcode::GetNodeToLabels => {
                let request = request!(GetNodeToLabelsRequest, body);
                let (start, limit) = (request.start_row.to_native(), request.limit.to_native());
                self.query(call, Wait::NodeToLabels { start, limit }, Query::NodesToLabels, out)
            }
            Opcode::GetLabelsToNodes => {
                let request = request!(GetLabelsToNodesRequest, body);
                let request = GetLabelsToNodesRequest {
                    node_labels: request.node_labels.iter().map(|label| label.to_string()).collect(),
                    start_row: request.start_row.to_native(),
                    limit: request.limit.to_native(),
                };
                self.query(call, Wait::LabelsToNodes(request), Query::NodesToLabels, out)
            }
            Opcode::GetClusterNodeLabels => {
                request!(GetClusterNodeLabelsRequest, body);
                self.query(call, Wait::ClusterNodeLabels, Query::ClusterNodeLabels, out)
            }
            Opcode::ExplainApplication => self.explain(call, body, answers, out),
            Opcode::GetClusterNodes | Opcode::GetClusterMetrics => {
                let text = format!("{} is answered by the shards, not here", opcode.name());
                Err(Reject::new(RejectCode::WrongRoute, text))
            }
            _ if opcode.protocol() == Protocol::Administration => self.administer(call, body, answers, out),
            _ => Err(Reject::new(
                RejectCode::NotSupportedYet,
                format!("{} is known and not supported yet", opcode.name()),
            )),
        }
    }

    /// Asks the scheduler; the call is answered when it has answered.
    pub(super) fn query(
        &mut self,
        call: &Call,
        wait: Wait,
        query: Query,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        self.ask(call, wait, |token| SchedulerCommand::Query { token, query }, out)
    }

    /// The same for any command that is answered.
    pub(super) fn ask(
        &mut self,
        call: &Call,
        wait: Wait,
        command: impl FnOnce(u64) -> SchedulerCommand,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        self.waiting.check_room(self.life.settings.queries_max)?;
        let token = self.waiting.put(Waiter::Call(call.clone(), wait));
        out.scheduler_commands.push(command(token));
        Ok(())
    }

    /// An application that `call` may do this with.
    pub(super) fn app_for(
        &self,
        call: &Call,
        id: ApplicationId,
        access: AccessType,
    ) -> Result<&RmApp, Reject> {
        let app = self.app(id)?;
        if self.life.access.may(call.user(), app, access) {
            return Ok(app);
        }
        let text = format!(
            "User {} cannot perform operation {} on {id}; accepted are its owner, those in its ACL, administrators of \
             queue {} and of the cluster",
            call.user(),
            access.name(),
            app.queue
        );
        Err(Reject::new(RejectCode::AccessControl, text))
    }

    pub(super) fn app(&self, id: ApplicationId) -> Result<&RmApp, Reject> {
        self.apps.get(&id).map(|app| &**app).ok_or_else(|| {
            let text = format!(
                "Application with id '{id}' doesn't exist in RM. Please check that the job submission was successful."
            );
            Reject::new(RejectCode::ApplicationNotFound, text)
        })
    }

    /// The audit line of an action on an application; `queue` is the one it is about, if any.
    pub(super) fn audit<T>(
        call: &Call,
        operation: &str,
        id: ApplicationId,
        queue: &str,
        result: &Result<T, Reject>,
        out: &mut ApplicationOutput,
    ) {
        let line = Line::of(&call.caller, operation, TARGET, result);
        out.audit.push(line.with("APPID", &id.to_string()).with("QUEUENAME", queue).finish());
    }

    fn new_application(&mut self, call: &Call, body: &[u8], answers: &mut AnswerBatch) -> Result<(), Reject> {
        request!(GetNewApplicationRequest, body);
        // Clients may submit under an id that nobody gave them: it is not given to somebody else then.
        let cluster_timestamp = self.life.settings.rm_identifier;
        let is_free = |id: &u32| !self.apps.contains_key(&ApplicationId { cluster_timestamp, id: *id });
        let next = self.last_application.checked_add(1).and_then(|first| (first..=u32::MAX).find(is_free));
        let Some(id) = next else {
            let text = format!("application ids of this start are used up, accepted are {}", u32::MAX);
            return Err(Reject::new(RejectCode::Internal, text));
        };
        self.last_application = id;
        let settings = &self.life.settings;
        let application_id = ApplicationId { cluster_timestamp, id };
        let maximum = settings.resource_types.to_resource(&settings.maximum_allocation);
        let maximum_capability = resource_to(&maximum);
        call.answer(answers, &GetNewApplicationResponse { application_id, maximum_capability });
        Ok(())
    }

    fn kill_application(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        const OPERATION: &str = "Kill Application Request";
        let request = request!(KillApplicationRequest, body);
        let id = request.application_id.to_native();
        let app = self.app_for(call, id, AccessType::Modify);
        let (state, is_unmanaged) = match app {
            Ok(app) => (app.state, app.submission.is_unmanaged),
            Err(reject) => {
                Self::audit::<()>(call, OPERATION, id, "", &Err(reject.clone()), out);
                return Err(reject);
            }
        };
        if state.is_final_stored() {
            call.answer(answers, &KillApplicationResponse { is_kill_completed: true });
            return Ok(());
        }
        // Clients repeat the call until it is done: only the first is news.
        if !matches!(state, RmAppState::Killing | RmAppState::FinalSaving) {
            Self::audit(call, OPERATION, id, "", &Ok(()), out);
            let reason = request.diagnostics.as_ref().map_or("", |text| text.as_str());
            // Of what is too long the beginning goes: a reason must not push out who gave it.
            let kept = reason.floor_char_boundary(self.life.diagnostics_max() / 2);
            let reason = match reason.split_at_checked(kept) {
                Some(("", _)) | None => String::new(),
                Some((reason, "")) => format!(" with diagnostic message: {reason}"),
                Some((start, rest)) => {
                    format!(" with diagnostic message: {start} ({} bytes more are not kept)", rest.len())
                }
            };
            let address = call.caller.address.map_or_else(String::new, |address| format!(" at {address}"));
            let text = format!("Application {id} was killed by user {}{address}{reason}", call.user());
            self.life.app_input(id, AppInput::Kill(text));
            self.run(out);
        }
        call.answer(answers, &KillApplicationResponse { is_kill_completed: is_unmanaged });
        Ok(())
    }

    fn fail_attempt(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(FailApplicationAttemptRequest, body);
        let attempt_id = request.application_attempt_id.to_native();
        let id = attempt_id.application_id;
        let result = self.app_for(call, id, AccessType::Modify).and_then(|app| {
            app.attempt_index(attempt_id).ok_or_else(|| attempt_not_found(attempt_id))?;
            Ok(app.state.is_final_stored())
        });
        let line = Line::of(&call.caller, "Fail Attempt Request", TARGET, &result)
            .with("APPID", &id.to_string())
            .with("APPATTEMPTID", &attempt_id.to_string());
        out.audit.push(line.finish());
        if !result? {
            let text = format!("Attempt failed by user {}.", call.user());
            self.life.attempt_input(attempt_id, AttemptInput::Fail(text));
            self.run(out);
        }
        call.answer(answers, &FailApplicationAttemptResponse {});
        Ok(())
    }

    fn signal_container(
        &mut self,
        call: &Call,
        body: &[u8],
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(SignalToContainerRequest, body);
        let container_id = request.container_id.to_native();
        let id = container_id.application_id();
        let command = match request.command {
            ArchivedSignalContainerCommand::OutputThreadDump => SignalContainerCommand::OutputThreadDump,
            ArchivedSignalContainerCommand::GracefulShutdown => SignalContainerCommand::GracefulShutdown,
            ArchivedSignalContainerCommand::ForcefulShutdown => SignalContainerCommand::ForcefulShutdown,
        };
        let result = self.app_for(call, id, AccessType::Modify).map(|_| ()).and_then(|()| {
            let signal = |token| SchedulerCommand::SignalContainer { token, container_id, command };
            self.ask(call, Wait::Signal(container_id), signal, out)
        });
        // What the scheduler is asked is audited when it has answered.
        if result.is_err() {
            Self::audit_signal(call, container_id, &result, out);
        }
        result
    }

    pub(super) fn audit_signal<T>(
        call: &Call,
        container_id: ContainerId,
        result: &Result<T, Reject>,
        out: &mut ApplicationOutput,
    ) {
        let line = Line::of(&call.caller, operation_name(Opcode::SignalToContainer), TARGET, result)
            .with("APPID", &container_id.application_id().to_string())
            .with("CONTAINERID", &container_id.to_string());
        out.audit.push(line.finish());
    }

    fn resource_types(&self, call: &Call, body: &[u8], answers: &mut AnswerBatch) -> Result<(), Reject> {
        request!(GetResourceTypeInfoRequest, body);
        let types = self.life.settings.resource_types.types().iter();
        let info =
            types.map(|kind| ResourceTypeInfo { name: kind.name.to_string(), units: kind.units.to_string() });
        call.answer(answers, &GetResourceTypeInfoResponse { resource_types: info.collect() });
        Ok(())
    }
}

/// YARN's name of an action in the audit log.
pub(super) const fn operation_name(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::MoveApplicationAcrossQueues => "Move Application Request",
        Opcode::UpdateApplicationPriority => "Update Application Priority",
        Opcode::UpdateApplicationTimeouts => "Update Application Timeouts",
        Opcode::SignalToContainer => "Signal Container Request",
        opcode => opcode.name(),
    }
}

pub(super) fn attempt_not_found(id: ApplicationAttemptId) -> Reject {
    let text =
        format!("Application attempt {id} doesn't exist in ApplicationMasterService or was forgotten.");
    Reject::new(RejectCode::ApplicationAttemptNotFound, text)
}

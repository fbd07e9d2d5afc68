//! FinishApplicationMaster: the last word, repeated until it is stored.
//! Owns: the rules of the call. Called by: the door's entry, on the scheduler's thread.
//! Does not: store anything or stop the container; the application manager is told once and says when it is stored.
//!
//! Differs from YARN: with the last word the asks end and grants that were not sent go back, so that nothing is held for
//! an ApplicationMaster that cannot come for it. Source: YARN ApplicationMasterService.finishApplicationMaster.
//! Invariant: UNREGISTERED is said once per attempt.

use heddle_wire::application_master::{FinishApplicationMasterRequest, FinishApplicationMasterResponse};
use heddle_wire::record::{ApplicationAttemptId, ArchivedFinalApplicationStatus};
use heddle_wire::{FrameHeader, Reject, RejectCode, access};

use super::session::{Session, SessionState};
use super::{ApplicationMasterService, Shown, refused};
use crate::engine::application::settings::DIAGNOSTICS_SIZE_MAX;
use crate::engine::batch::FrameRef;
use crate::engine::scheduler::face::{ResourceScheduler, SchedulerOutput};
use crate::engine::scheduler::message::{ApplicationEvent, Attempt};
use crate::engine::time::Instant;

impl ApplicationMasterService {
    pub(super) fn finish<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        header: &FrameHeader,
        frame: &FrameRef,
        body: &[u8],
        scheduler: &mut S,
        out: &mut SchedulerOutput,
    ) -> Result<FinishApplicationMasterResponse, Reject> {
        let attempt = self.attempt_of(header)?;
        let request = access::<FinishApplicationMasterRequest>(body).map_err(|error| Reject::from(&error))?;
        request.check().map_err(|error| Reject::from(&error))?;
        let token = request.am_rm_token.as_ref().map(|token| token.to_native());

        let Some(session) = self.sessions.find(attempt) else {
            let Some(ended) = self.sessions.ended(attempt) else {
                return Err(unknown(attempt));
            };
            let attempt_id = ended.attempt_id;
            let is_stored = ended.is_final_state_stored;
            let Some((stream, peer)) = ended.seen else {
                // Where it was is not known; its token tells all the same.
                return match &token {
                    Some(token) if !self.keys.verify_am_rm(attempt_id, attempt, token) => {
                        Err(super::invalid_token(attempt_id, token))
                    }
                    Some(_) if is_stored => Ok(FinishApplicationMasterResponse { is_unregistered: true }),
                    _ => Err(never_registered(attempt_id)),
                };
            };
            let shown = Shown { stream: frame.stream, peer: frame.peer, token };
            shown.check(stream, peer, attempt_id, attempt, &mut self.keys)?;
            if is_stored {
                return Ok(FinishApplicationMasterResponse { is_unregistered: true });
            }
            return Err(unknown(attempt));
        };
        let is_shown = Self::authenticate(session, &mut self.keys, frame, token)?;
        if session.state != SessionState::Opened {
            session.follow(frame.stream, token, session.state == SessionState::Finishing);
        }
        if session.is_final_state_stored && is_shown {
            return Ok(FinishApplicationMasterResponse { is_unregistered: true });
        }
        if is_shown {
            session.watch.ping(now);
        }
        match session.state {
            SessionState::Opened => return Err(super::not_registered(session.attempt_id)),
            SessionState::Finishing => {}
            SessionState::Registered => {
                let final_status = match request.final_application_status {
                    ArchivedFinalApplicationStatus::Undefined => 0,
                    ArchivedFinalApplicationStatus::Succeeded => 1,
                    ArchivedFinalApplicationStatus::Failed => 2,
                    ArchivedFinalApplicationStatus::Killed => 3,
                    ArchivedFinalApplicationStatus::Ended => 4,
                };
                session.state = SessionState::Finishing;
                self.liveliness.forget(attempt, &mut session.watch);
                if let Some(due) = session.status.due.take() {
                    self.status_due.remove(&(due, attempt));
                }
                end_allocation(now, session, scheduler, out);
                // What is cut here would not be kept there, and need not wait on the way.
                let said = request.diagnostics.as_str();
                let cut = said.ceil_char_boundary(said.len().saturating_sub(DIAGNOSTICS_SIZE_MAX as usize));
                out.application_events.push(ApplicationEvent::Unregistered {
                    attempt_id: session.attempt_id,
                    final_status,
                    diagnostics: said.get(cut..).unwrap_or_default().into(),
                    diagnostics_cut: u32::try_from(cut).unwrap_or(u32::MAX),
                    tracking_url: (*request.tracking_url).into(),
                });
                self.counters.finished += 1;
            }
        }
        Ok(FinishApplicationMasterResponse { is_unregistered: session.is_unmanaged })
    }
}

/// Takes back asks and grants that were not sent, and lets nodes forget containers whose end was to be told.
fn end_allocation<S: ResourceScheduler>(
    now: Instant,
    session: &mut Session,
    scheduler: &mut S,
    out: &mut SchedulerOutput,
) {
    super::register::withdraw_asks(now, session, scheduler);
    let attempt = session.attempt;
    let (mut voided, mut ended) = (Vec::new(), Vec::new());
    session.log.clear(
        |grant| voided.push(grant.container_id),
        |end| {
            if end.is_on_node {
                ended.push((end.node, end.container_id));
            }
        },
    );
    session.keys.clear();
    for container_id in &voided {
        scheduler.void(now, attempt, container_id, out);
    }
    for (node, container_id) in &ended {
        scheduler.acknowledge(*node, container_id, out);
    }
}

fn unknown(attempt: Attempt) -> Reject {
    let text = format!(
        "routing_key is {:#018x}, accepted are handles of attempts that live: the attempt of this one doesn't exist in cache",
        attempt.0
    );
    refused(RejectCode::InvalidApplicationMasterRequest, text)
}

fn never_registered(attempt_id: ApplicationAttemptId) -> Reject {
    let text = format!(
        "the attempt of routing_key is {attempt_id}, which ended and never registered, accepted are attempts that \
         registered: it doesn't exist in cache"
    );
    refused(RejectCode::InvalidApplicationMasterRequest, text)
}

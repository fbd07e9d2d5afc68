//! RegisterApplicationMaster: who is there, and what it needs to know to begin.
//! Owns: the rules of the call. Called by: the door's entry, on the scheduler's thread.
//! Does not: wait for the attempt to become RUNNING; the application manager is told, the answer goes out.
//!
//! Differs from YARN: constraints are refused before anything changes; an unmanaged ApplicationMaster that registers
//! again takes its former asks back, because it says all it wants anew. An unmanaged one is never too early: it is told its
//! token when it may register, and the word of that may be behind it on its way here. Source: YARN
//! ApplicationMasterService.registerApplicationMaster.
//! Invariant: a call that is refused changes nothing in the session.

use std::collections::BTreeSet;

use heddle_wire::application_master::{
    ALREADY_REGISTERED, RegisterApplicationMasterRequest, RegisterApplicationMasterResponse,
};
use heddle_wire::limits::RETAINED_CONTAINERS_MAX;
use heddle_wire::record::{
    ApplicationAccessType, ApplicationAcl, AttemptHandle, ResourceTypeInfo, SchedulerResourceTypes,
};
use heddle_wire::{FrameHeader, Reject, RejectCode, access};

use super::answer::{Room, wire_resource};
use super::session::{Session, SessionState};
use super::{ApplicationMasterService, refused};
use crate::engine::batch::FrameRef;
use crate::engine::scheduler::face::{Ask, Place, ResourceScheduler, SchedulerOutput};
use crate::engine::scheduler::message::{ApplicationEvent, Attempt};
use crate::engine::scheduler::settings::Calculator;
use crate::engine::time::Instant;

impl ApplicationMasterService {
    pub(super) fn register<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        header: &FrameHeader,
        frame: &FrameRef,
        body: &[u8],
        scheduler: &mut S,
        out: &mut SchedulerOutput,
    ) -> Result<RegisterApplicationMasterResponse, Reject> {
        let attempt = self.attempt_of(header)?;
        let request =
            access::<RegisterApplicationMasterRequest>(body).map_err(|error| Reject::from(&error))?;
        request.check().map_err(|error| Reject::from(&error))?;
        let attempt_id = request.application_attempt_id.to_native();
        let misuse = |text: String| Reject::new(RejectCode::InvalidApplicationMasterRequest, text);

        let Some(session) = self.sessions.find(attempt) else {
            let text = format!("application_attempt_id is {attempt_id}, which doesn't exist in cache");
            return Err(misuse(text));
        };
        if session.attempt_id != attempt_id {
            let text = format!(
                "application_attempt_id is {attempt_id}, accepted for this routing_key is {}",
                session.attempt_id
            );
            return Err(Reject::new(RejectCode::WrongRoute, text));
        }
        let token = request.am_rm_token.to_native();
        if !self.keys.verify_am_rm(attempt_id, attempt, &token) {
            return Err(super::invalid_token(attempt_id, &token));
        }
        session.watch.ping(now);
        if !request.placement_constraints.is_empty() {
            let text = format!(
                "placement_constraints has {} entries, accepted are none: they are not supported yet",
                request.placement_constraints.len()
            );
            return Err(Reject::new(RejectCode::Unsupported, text));
        }
        let registered = || ApplicationEvent::Registered {
            attempt_id,
            host: (*request.host).into(),
            rpc_port: request.rpc_port.to_native(),
            tracking_url: (*request.tracking_url).into(),
        };
        let is_again = session.state != SessionState::Opened;
        if is_again
            && !(session.state == SessionState::Registered && session.is_unmanaged && session.keep_containers)
        {
            let application_id = attempt_id.application_id;
            return Err(misuse(format!("{ALREADY_REGISTERED} : {application_id}")));
        }
        if !session.is_ready && !session.is_unmanaged {
            let text = format!("{attempt_id} must register after it reaches LAUNCHED state");
            return Err(misuse(text));
        }
        let Some((minimum, maximum, queue)) = scheduler.limits(attempt) else {
            return Err(Reject::new(
                RejectCode::Internal,
                format!("the scheduler does not know {attempt_id}"),
            ));
        };

        let types = scheduler.resource_types();
        let mut scheduler_resource_types = vec![SchedulerResourceTypes::Memory];
        if self.calculator == Calculator::Dominant {
            scheduler_resource_types.push(SchedulerResourceTypes::Cpu);
        }
        let mut response = RegisterApplicationMasterResponse {
            attempt_handle: AttemptHandle(attempt.0),
            maximum_capability: wire_resource(types, &maximum),
            minimum_capability: wire_resource(types, &minimum),
            client_to_am_token_master_key: None,
            application_acls: session
                .acls
                .iter()
                .filter_map(|(kind, acl)| application_acl(*kind, acl))
                .collect(),
            containers_from_previous_attempts: Vec::new(),
            nm_tokens_from_previous_attempts: Vec::new(),
            queue: queue.to_owned(),
            scheduler_resource_types,
            resource_types: types
                .types()
                .iter()
                .map(|kind| ResourceTypeInfo { name: kind.name.to_string(), units: kind.units.to_string() })
                .collect(),
            cluster_timestamp: self.rm_identifier,
        };
        if is_again {
            begin_anew(now, session, scheduler);
        }
        session.state = SessionState::Registered;
        (session.stream, session.peer) = (frame.stream, frame.peer);
        session.am_rm_key_id = token.key_id;
        session.response_id = 0;
        session.last_answer.clear();
        session.answered_up_to = 0;
        session.nodes_told.clear();
        session.nodes_told.roll(self.keys.nm_key_id());
        session.retained.clear();
        if session.keep_containers {
            // What waits in the log is told as an event.
            session.retained.extend(scheduler.transferred_containers(attempt));
            if is_again {
                let waiting: BTreeSet<_> =
                    session.log.unseen_grants().map(|grant| grant.container_id).collect();
                session.retained.retain(|retained| !waiting.contains(&retained.container_id));
            }
            let mut room = Room::of_frame();
            self.writer.write_retained(
                now,
                session,
                &mut self.keys,
                scheduler,
                &mut room,
                RETAINED_CONTAINERS_MAX,
                &mut response.containers_from_previous_attempts,
                Some(&mut response.nm_tokens_from_previous_attempts),
            );
        }
        self.liveliness.watch(now, attempt, &mut session.watch);
        if session.log.waiting() > 0 {
            self.mark_to_push(attempt);
        }
        self.counters.registrations += 1;
        out.application_events.push(registered());
        Ok(response)
    }

    /// The attempt a frame is about, where it is one of this thread's.
    pub(super) fn attempt_of(&self, header: &FrameHeader) -> Result<Attempt, Reject> {
        let attempt = Attempt(header.routing_key);
        if attempt.scheduler() == self.index {
            return Ok(attempt);
        }
        let text = format!(
            "routing_key is {:#018x}, accepted are handles of scheduler thread {}",
            header.routing_key, self.index
        );
        Err(refused(RejectCode::WrongRoute, text))
    }
}

/// Takes back what the former registration asked for, and numbers from 1 again what it has not taken in.
fn begin_anew<S: ResourceScheduler>(now: Instant, session: &mut Session, scheduler: &mut S) {
    withdraw_asks(now, session, scheduler);
    session.log.restart();
    session.keys.clear();
    let unsent: Vec<_> = session.log.unseen_grants().map(|grant| grant.key).collect();
    for key in unsent {
        session.keys.entry(key).unsent += 1;
    }
}

/// Nothing more is placed for the session.
pub(super) fn withdraw_asks<S: ResourceScheduler>(now: Instant, session: &mut Session, scheduler: &mut S) {
    for key in session.keys.keys() {
        let ask = Ask {
            key,
            place: Place::Any,
            capability: Default::default(),
            count: 0,
            relax_locality: true,
            // Not the application's or the queue's: that may be gone, and then nothing would be taken back.
            node_label: Some(""),
        };
        scheduler.update_ask(now, session.attempt, &ask);
    }
}

fn application_acl(kind: u8, acl: &str) -> Option<ApplicationAcl> {
    let access_type = match kind {
        1 => ApplicationAccessType::ViewApp,
        2 => ApplicationAccessType::ModifyApp,
        _ => return None,
    };
    Some(ApplicationAcl { access_type, acl: acl.to_owned() })
}

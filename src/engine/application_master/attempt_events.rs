//! What the scheduler says to the door: sessions open and close, containers are granted and end, AM containers start.
//! Owns: nothing. Called by: the door's entry before frames are applied and before events are pushed, on the scheduler's
//! thread. Does not: write frames; what is to be told lies in the sessions' logs afterwards.
//! Invariant: events are taken in in their order, those that follow from them included, before anything else happens.

use heddle_wire::record::{Container, ContainerId, ExecutionType, NodeHandle, Resource, TokenMac};

use super::answer::wire_resource;
use super::event_log::{End, EventLog, Grant};
use super::exact::KeyCounts;
use super::liveliness::Watch;
use super::node_updates::Identity;
use super::session::{NodesTold, Session, SessionState, Status};
use super::{ApplicationMasterService, HOLD_AT};
use crate::engine::batch::{PeerId, StreamRef};
use crate::engine::event::{LaunchOrder, NodeCommand, NodeOrder};
use crate::engine::scheduler::face::{AttemptEvent, Finished, Launch, ResourceScheduler, SchedulerOutput};
use crate::engine::scheduler::message::Attempt;
use crate::engine::time::Instant;

/// Most notices of one step.
const NOTICES_MAX: usize = 64;

impl ApplicationMasterService {
    /// Takes in what the scheduler said, until it says nothing more.
    pub(super) fn absorb<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        scheduler: &mut S,
        out: &mut SchedulerOutput,
    ) {
        let mut events = core::mem::take(&mut self.events);
        core::mem::swap(&mut events, &mut out.attempt_events);
        while !events.is_empty() {
            for event in events.drain(..) {
                self.handle_attempt_event(now, event, scheduler, out);
            }
            core::mem::swap(&mut events, &mut out.attempt_events);
        }
        self.events = events;
    }

    fn handle_attempt_event<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        event: AttemptEvent,
        scheduler: &mut S,
        out: &mut SchedulerOutput,
    ) {
        match event {
            AttemptEvent::Added { attempt_id, attempt, user, is_unmanaged, keep_containers, acls } => {
                let node_cursor = self.node_updates.cursor();
                let session = Box::new(Session {
                    attempt,
                    attempt_id,
                    user,
                    is_unmanaged,
                    keep_containers,
                    acls: acls.into(),
                    state: SessionState::Opened,
                    is_ready: false,
                    is_final_state_stored: false,
                    stream: StreamRef::NONE,
                    left: StreamRef::NONE,
                    peer: PeerId::default(),
                    am_rm_key_id: 0,
                    response_id: 0,
                    last_answer: Vec::new(),
                    answered_up_to: 0,
                    log: EventLog::default(),
                    keys: KeyCounts::default(),
                    nodes_told: NodesTold::default(),
                    retained: Default::default(),
                    update_errors: Vec::new(),
                    node_cursor,
                    status: Status::default(),
                    enhanced_headroom: (None, (0, 0)),
                    watch: Watch::default(),
                    is_to_push: false,
                    is_answer_due: false,
                    is_held: false,
                });
                if !self.sessions.open(session) {
                    note(out, format!("{attempt_id} has no session: row {} is not free", attempt.row()));
                }
            }
            AttemptEvent::Ready(attempt) => self.make_ready(now, attempt),
            AttemptEvent::Launch(launch) => self.launch(now, *launch, scheduler, out),
            AttemptEvent::Removed(attempt) => {
                if let Some(mut session) = self.sessions.close(attempt) {
                    self.liveliness.forget(attempt, &mut session.watch);
                    if let Some(due) = session.status.due {
                        self.status_due.remove(&(due, attempt));
                    }
                }
            }
            AttemptEvent::FinalStateStored(application_id) => {
                self.sessions.final_state_stored(application_id)
            }
            AttemptEvent::Granted(granted) => {
                let attempt = granted.attempt;
                let Some(session) = self.sessions.find(attempt) else { return };
                if session.state == SessionState::Finishing {
                    return scheduler.void(now, attempt, &granted.container_id, out);
                }
                session.keys.entry(granted.key).unsent += 1;
                session.log.push_grant(Grant::from(granted));
                if !session.is_held && session.log.unsent() > HOLD_AT {
                    session.is_held = true;
                    self.counters.held += 1;
                    scheduler.hold_grants(now, attempt, true);
                }
                if !core::mem::replace(&mut session.is_to_push, true) {
                    self.to_push.push(attempt);
                }
            }
            AttemptEvent::Finished(finished) => self.container_finished(finished, scheduler, out),
            AttemptEvent::NodeUpdated { node, update_type } => {
                let identity = scheduler.node(node).map(|view| Identity {
                    node_id: view.node_id.clone(),
                    http_port: view.http_port,
                    rack_name: view.rack_name.into(),
                });
                self.node_updates.note(node, update_type, identity);
            }
            // Every answer says it.
            AttemptEvent::Priority(..) => {}
        }
    }

    fn make_ready(&mut self, now: Instant, attempt: Attempt) {
        if let Some(session) = self.sessions.find(attempt) {
            session.is_ready = true;
            self.liveliness.watch(now, attempt, &mut session.watch);
        }
    }

    fn container_finished<S: ResourceScheduler>(
        &mut self,
        finished: Finished,
        scheduler: &mut S,
        out: &mut SchedulerOutput,
    ) {
        let attempt = finished.attempt;
        let Some(session) = self.sessions.find(attempt) else { return };
        if finished.was_restored {
            // Not there when it could not be acquired: then it is out of the log already.
            if let Some(grant) = session.log.forget_unsent(&finished.container_id) {
                let count = session.keys.entry(grant.key);
                count.unsent = count.unsent.saturating_sub(1);
                self.counters.grants_restored += 1;
            }
            return;
        }
        if session.state == SessionState::Finishing {
            if finished.is_on_node {
                scheduler.acknowledge(finished.node, &finished.container_id, out);
            }
            return;
        }
        session.log.push_end(End::from(finished));
        if !core::mem::replace(&mut session.is_to_push, true) {
            self.to_push.push(attempt);
        }
    }

    /// Orders an AM container from its node, with what it needs to show.
    fn launch<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        launch: Launch,
        scheduler: &S,
        out: &mut SchedulerOutput,
    ) {
        let attempt = launch.attempt;
        self.make_ready(now, attempt);
        let Some(session) = self.sessions.find(attempt) else {
            return note(out, format!("{} is to be launched and has no session", launch.container_id));
        };
        let types = scheduler.resource_types();
        let expires_at_ms = self.writer.expires_at_ms(now);
        let container = am_container(&launch, wire_resource(types, &launch.resource), expires_at_ms);
        let node_id = scheduler.node(launch.node).map(|view| view.node_id);
        let container_token = self.keys.sign_container(&container, node_id, &session.user);
        let am_rm_token = self.keys.sign_am_rm(session.attempt_id, attempt);
        let order = LaunchOrder {
            container_id: launch.container_id,
            attempt: attempt.0,
            user: session.user.clone(),
            resource: types.to_resource(&launch.resource),
            priority: launch.priority,
            container_token: (container_token.key_id, container_token.mac),
            expires_at_ms,
            am_rm_token: (am_rm_token.key_id, am_rm_token.mac),
            launch_context: launch.launch_context,
        };
        out.node_commands.push(NodeCommand {
            node: launch.node,
            order: NodeOrder::LaunchContainer(Box::new(order)),
            is_urgent: true,
        });
    }
}

fn am_container(launch: &Launch, resource: Resource, expires_at_ms: u64) -> Container {
    let (container_id, node): (ContainerId, NodeHandle) = (launch.container_id, launch.node);
    Container {
        container_id,
        node,
        resource,
        priority: launch.priority,
        allocation_request_id: -1,
        grant_number: 0,
        execution_type: ExecutionType::Guaranteed,
        version: 0,
        expires_at_ms,
        token: TokenMac { key_id: 0, mac: [0; 32] },
    }
}

fn note(out: &mut SchedulerOutput, text: String) {
    if out.notices.len() < NOTICES_MAX {
        out.notices.push(text);
    }
}

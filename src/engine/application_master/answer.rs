//! Answers and pushes of allocate: from a session's log to a frame, with the tokens that go with it.
//! Owns: [`Writer`], [`Room`]. Called by: the door's entry and registration, on the scheduler's thread.
//! Does not: decide who is answered or pushed to.
//!
//! The record is filled into lists that are kept from frame to frame, so a grant costs no allocation; one signature is
//! what it mostly costs.
//! Invariants: a frame is never larger than its opcode allows, whatever is waiting: what finds no room goes with the
//! next; a grant is acquired before it is written; every frame that names a node for the first time, or again on another
//! stream, carries its token.

use heddle_wire::application_master::{AllocateDetails, AllocateResponse};
use heddle_wire::limits::{
    BODY_MAX, COMPLETIONS_PER_ANSWER_MAX, GRANTS_PER_ANSWER_MAX, RETAINED_CONTAINERS_MAX, UPDATED_NODES_MAX,
};
use heddle_wire::message::write_reject;
use heddle_wire::record::{
    ArchivedCompletedContainer, ArchivedContainer, ArchivedNmToken, ArchivedResourceInformation,
    ArchivedUpdateContainerError, ArchivedUpdatedNode, CompletedContainer, Container, ContainerId,
    ContainerState, EXIT_STATUS_ABORTED, EnhancedHeadroom, ExecutionType, NmToken, NodeHandle, NodeState,
    NodeUpdateType, Resource, ResourceInformation, TokenMac, UpdatedNode,
};
use heddle_wire::{Flags, Opcode, Reject, RejectCode, try_write_frame};

use super::Counters;
use super::event_log::{End, Event};
use super::node_updates::{Change, NodeUpdates};
use super::session::{Session, SessionState};
use super::token::Keys;
use crate::engine::scheduler::face::{ResourceScheduler, SchedulerKey};
use crate::engine::scheduler::resource::{ResourceTypes, ResourceVector};
use crate::engine::time::{Duration, Instant};

/// Between two times a session is told how busy the cluster is.
const ENHANCED_HEADROOM_INTERVAL: Duration = Duration::from_secs(1);

/// A size as it goes on the wire. Cost: nothing but the two numbers where the cluster has no other types.
pub(super) fn wire_resource(types: &ResourceTypes, vector: &ResourceVector) -> Resource {
    let mut resource = Resource::default();
    set_resource(&mut resource, types, vector);
    resource
}

/// The same, in the memory of a former one.
fn set_resource(resource: &mut Resource, types: &ResourceTypes, vector: &ResourceVector) {
    resource.memory_mb = vector.memory_mb();
    resource.virtual_cores = u32::try_from(vector.virtual_cores()).unwrap_or(u32::MAX);
    let kinds = types.types().iter().enumerate().skip(2);
    let amounts = kinds.map(|(index, kind)| (kind, vector.get(index))).filter(|(_, value)| *value != 0);
    let extended = &mut resource.extended;
    let mut count = 0;
    for (kind, value) in amounts {
        if count == extended.len() {
            extended.push(ResourceInformation { name: String::new(), value, units: String::new() });
        }
        if let Some(information) = extended.get_mut(count) {
            kind.name.as_ref().clone_into(&mut information.name);
            kind.units.as_ref().clone_into(&mut information.units);
            information.value = value;
        }
        count += 1;
    }
    extended.truncate(count);
    // As the engine's messages have it, so that node and ResourceManager sign the same bytes.
    extended.sort_by(|left, right| left.name.cmp(&right.name));
}

/// The same, in the memory of a spare one where it needs any.
fn recycled(spare: &mut Vec<Resource>, types: &ResourceTypes, vector: &ResourceVector) -> Resource {
    let is_plain = (2..types.len()).all(|index| vector.get(index) == 0);
    let mut resource = if is_plain { None } else { spare.pop() }.unwrap_or_default();
    set_resource(&mut resource, types, vector);
    resource
}

fn size_of_resource(resource: &Resource) -> usize {
    let one = |extended: &ResourceInformation| {
        size_of::<ArchivedResourceInformation>() + extended.name.len() + extended.units.len()
    };
    resource.extended.iter().map(one).sum()
}

/// Bytes that may still go into a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room(usize);

impl Room {
    /// Of an empty frame. What is always there, and a registration's other lists, are below 64 KiB.
    pub(super) const fn of_frame() -> Self {
        Self(BODY_MAX as usize - 64 * 1024)
    }

    /// Takes `size` bytes; false where they are not there.
    fn take(&mut self, size: usize) -> bool {
        let is_there = size <= self.0;
        if is_there {
            self.0 -= size;
        }
        is_there
    }
}

/// What kind of frame is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The answer to a call.
    Answer {
        /// Of the call.
        correlation_id: u64,
    },
    /// Events nobody asked for.
    Push,
}

/// A container before it is signed.
struct Unsigned<'a> {
    container_id: ContainerId,
    node: NodeHandle,
    key: SchedulerKey,
    resource: &'a ResourceVector,
    grant_number: u64,
    expires_at_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    rm_identifier: u64,
    allocation_expiry: Duration,
    /// Its lists keep their memory.
    response: AllocateResponse,
    /// Sizes in other types than memory and virtual cores of former frames, for the memory of their texts.
    spare: Vec<Resource>,
}

impl Writer {
    pub(super) fn new(rm_identifier: u64, allocation_expiry: Duration) -> Self {
        Self { rm_identifier, allocation_expiry, response: AllocateResponse::default(), spare: Vec::new() }
    }

    /// What a token made now says, milliseconds since 1970.
    pub(super) fn expires_at_ms(&self, now: Instant) -> u64 {
        self.rm_identifier.saturating_add((now + self.allocation_expiry).as_millis())
    }

    /// Appends a frame with what is waiting for the session, as far as there is room.
    ///
    /// An answer is stored with the session. Without `has_events` it carries none: they follow.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the door")]
    pub(super) fn write<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        kind: Kind,
        has_events: bool,
        session: &mut Session,
        keys: &mut Keys,
        updates: &NodeUpdates,
        scheduler: &mut S,
        counters: &mut Counters,
        out: &mut Vec<u8>,
    ) {
        let attempt = session.attempt;
        self.clear();
        let mut room = Room::of_frame();
        let is_over = session.state == SessionState::Finishing || session.is_final_state_stored;
        session.nodes_told.roll(keys.nm_key_id());
        self.response.response_id = session.response_id;
        if kind != Kind::Push && !is_over {
            self.fill_details(now, session, keys, updates, scheduler, &mut room);
        }
        self.response.first_event = session.log.next_number();
        if has_events && !is_over {
            self.fill_events(now, session, keys, scheduler, &mut room, counters);
        }
        let headroom = if is_over { ResourceVector::ZERO } else { scheduler.headroom(attempt) };
        set_resource(&mut self.response.headroom, scheduler.resource_types(), &headroom);
        self.response.num_cluster_nodes = scheduler.num_cluster_nodes(attempt);
        self.response.application_priority = scheduler.priority(attempt);

        let start = out.len();
        let (flags, correlation_id) = match kind {
            Kind::Answer { correlation_id } => (Flags::RESPONSE, correlation_id),
            Kind::Push => (Flags::PUSH, 0),
        };
        let written = try_write_frame(out, flags, correlation_id, attempt.0, &self.response);
        if let (Err(error), Kind::Answer { .. }) = (written, kind) {
            let reject = Reject::new(RejectCode::Internal, error.to_string());
            write_reject(out, Opcode::Allocate, correlation_id, attempt.0, &reject);
        }
        if kind != Kind::Push {
            store(&mut session.last_answer, out.get(start..).unwrap_or_default());
            session.answered_up_to = session.log.last_sent();
        }
    }

    fn clear(&mut self) {
        let response = &mut self.response;
        let grants = response.allocated_containers.drain(..).map(|granted| granted.resource);
        let ends = response.completed_container_statuses.drain(..).map(|ended| ended.capability);
        self.spare.extend(grants.chain(ends).filter(|resource| !resource.extended.is_empty()));
        response.nm_tokens.clear();
        response.details = None;
    }

    /// What an answer carries rarely.
    fn fill_details<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        session: &mut Session,
        keys: &mut Keys,
        updates: &NodeUpdates,
        scheduler: &S,
        room: &mut Room,
    ) {
        let mut details = AllocateDetails::default();
        let mut has_details = false;
        for mut error in session.update_errors.drain(..) {
            let fixed = size_of::<ArchivedUpdateContainerError>() + error.reason.len();
            let capability = error.update_request.capability.as_ref().map_or(0, size_of_resource);
            // The sender knows what it wanted; that it was refused has to be said.
            if !room.take(fixed + capability) {
                error.update_request.capability = None;
                room.take(fixed);
            }
            details.update_errors.push(error);
            has_details = true;
        }
        if keys.next_am_rm_key_id().is_some_and(|key_id| key_id != session.am_rm_key_id) {
            details.am_rm_token = Some(keys.sign_am_rm(session.attempt_id, session.attempt));
            has_details = true;
        }
        if session.node_cursor < updates.cursor() {
            for (cursor, change) in updates.since(session.node_cursor) {
                if details.updated_nodes.len() == UPDATED_NODES_MAX {
                    break;
                }
                if let Some(node) = updated_node(change, scheduler) {
                    let texts = node.node_id.host.len()
                        + node.rack_name.len()
                        + node.node_labels.iter().map(|label| label.len() + 8).sum::<usize>();
                    let resources = size_of_resource(&node.capability) + size_of_resource(&node.used);
                    if !room.take(size_of::<ArchivedUpdatedNode>() + texts + resources) {
                        break;
                    }
                    details.updated_nodes.push(node);
                    has_details = true;
                }
                session.node_cursor = cursor;
            }
        }
        if !session.retained.is_empty() {
            self.write_retained(
                now,
                session,
                keys,
                scheduler,
                room,
                RETAINED_CONTAINERS_MAX,
                &mut details.containers_from_previous_attempts,
                None,
            );
            has_details = true;
        }
        let (told_at, former) = session.enhanced_headroom;
        if told_at.is_none_or(|at| now.since(at) >= ENHANCED_HEADROOM_INTERVAL)
            && let Some(told) = scheduler.enhanced_headroom()
        {
            session.enhanced_headroom = (Some(now), told);
            if told_at.is_none() || former != told {
                let (total_pending_count, total_active_cores) = told;
                details.enhanced_headroom =
                    Some(EnhancedHeadroom { total_pending_count, total_active_cores });
                has_details = true;
            }
        }
        if has_details {
            self.response.details = Some(Box::new(details));
        }
    }

    /// Events: first those to be sent again, then new ones.
    fn fill_events<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        session: &mut Session,
        keys: &mut Keys,
        scheduler: &mut S,
        room: &mut Room,
        counters: &mut Counters,
    ) {
        let mut has_ends = false;
        while let Some(event) = session.log.resend_front() {
            match event {
                Event::Grant(_) if has_ends => return,
                Event::Grant(grant) => {
                    let unsigned = Unsigned {
                        container_id: grant.container_id,
                        node: grant.node,
                        key: grant.key,
                        resource: &grant.resource,
                        grant_number: grant.number,
                        expires_at_ms: grant.expires_at_ms,
                    };
                    let container = signed(scheduler, &unsigned, &mut self.spare, &session.user, keys);
                    let node = grant.node;
                    if self.response.allocated_containers.len() == GRANTS_PER_ANSWER_MAX
                        || !room.take(size_of::<ArchivedContainer>() + size_of_resource(&container.resource))
                    {
                        return;
                    }
                    self.response.allocated_containers.push(container);
                    session.nodes_told.insert(node);
                    if !self.response.nm_tokens.iter().any(|token| token.node == node)
                        && let Some(token) = nm_token(session, node, keys, scheduler)
                    {
                        room.take(size_of_token(&token));
                        self.response.nm_tokens.push(token);
                    }
                }
                Event::End(end) => {
                    if !self.push_end(scheduler.resource_types(), end, room) {
                        return;
                    }
                    has_ends = true;
                }
                Event::Void(container_id) => {
                    let end = End {
                        container_id: *container_id,
                        node: NodeHandle(0),
                        exit_status: EXIT_STATUS_ABORTED,
                        diagnostics: "Taken back before it was seen: its ask was lowered".into(),
                        resource: ResourceVector::ZERO,
                        is_on_node: false,
                    };
                    if !self.push_end(scheduler.resource_types(), &end, room) {
                        return;
                    }
                    has_ends = true;
                }
            }
            session.log.advance_resend();
            counters.events_resent += 1;
        }
        if !has_ends {
            self.fill_grants(now, session, keys, scheduler, room, counters);
        }
        // The end of a container follows its grant, also where an ApplicationMaster begins anew and both wait.
        if session.log.front_grant().is_some_and(|grant| grant.is_acquired) {
            return;
        }
        while let Some(end) = session.log.front_end() {
            if !self.push_end(scheduler.resource_types(), end, room) {
                return;
            }
            session.log.end_sent();
            counters.ends_sent += 1;
        }
    }

    fn fill_grants<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        session: &mut Session,
        keys: &mut Keys,
        scheduler: &mut S,
        room: &mut Room,
        counters: &mut Counters,
    ) {
        let attempt = session.attempt;
        let expires_at_ms = self.expires_at_ms(now);
        while self.response.allocated_containers.len() < GRANTS_PER_ANSWER_MAX
            && let Some(grant) = session.log.front_grant()
        {
            // Before it is signed, so that a frame that is full costs no signature. Types have names of 255 bytes at most.
            let extended = scheduler.resource_types().len().saturating_sub(2);
            if room.0
                < size_of::<ArchivedContainer>() + extended * (size_of::<ArchivedResourceInformation>() + 512)
            {
                return;
            }
            let (container_id, node) = (grant.container_id, grant.node);
            let count = session.keys.entry(grant.key);
            count.unsent = count.unsent.saturating_sub(1);
            if !grant.is_acquired && !scheduler.acquire(now, attempt, &container_id) {
                // It ended meanwhile; the scheduler has put its ask back.
                session.log.drop_front_grant();
                continue;
            }
            count.sent += 1;
            grant.is_acquired = true;
            grant.number = count.sent;
            grant.expires_at_ms = expires_at_ms;
            let unsigned = Unsigned {
                container_id,
                node,
                key: grant.key,
                resource: &grant.resource,
                grant_number: grant.number,
                expires_at_ms,
            };
            let container = signed(scheduler, &unsigned, &mut self.spare, &session.user, keys);
            room.take(size_of::<ArchivedContainer>() + size_of_resource(&container.resource));
            self.response.allocated_containers.push(container);
            session.log.grant_sent();
            counters.grants_sent += 1;
            if session.nodes_told.insert(node)
                && let Some(token) = nm_token(session, node, keys, scheduler)
            {
                room.take(size_of_token(&token));
                self.response.nm_tokens.push(token);
            }
        }
    }

    /// Appends an end, where there is room.
    fn push_end(&mut self, types: &ResourceTypes, end: &End, room: &mut Room) -> bool {
        let list = &mut self.response.completed_container_statuses;
        if list.len() == COMPLETIONS_PER_ANSWER_MAX {
            return false;
        }
        let capability = recycled(&mut self.spare, types, &end.resource);
        let size =
            size_of::<ArchivedCompletedContainer>() + size_of_resource(&capability) + end.diagnostics.len();
        if !room.take(size) {
            return false;
        }
        list.push(CompletedContainer {
            container_id: end.container_id,
            state: ContainerState::Complete,
            exit_status: end.exit_status,
            execution_type: ExecutionType::Guaranteed,
            capability,
            diagnostics: end.diagnostics.clone(),
        });
        true
    }

    /// Appends inherited containers, and the tokens of nodes the attempt has none of. Where the caller has no list for
    /// tokens of its own they go with the answer's.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the door")]
    pub(super) fn write_retained<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        session: &mut Session,
        keys: &mut Keys,
        scheduler: &S,
        room: &mut Room,
        most: usize,
        containers: &mut Vec<Container>,
        tokens: Option<&mut Vec<NmToken>>,
    ) {
        let tokens = tokens.unwrap_or(&mut self.response.nm_tokens);
        let expires_at_ms = self.rm_identifier.saturating_add((now + self.allocation_expiry).as_millis());
        while containers.len() < most
            && let Some(retained) = session.retained.front()
        {
            let unsigned = Unsigned {
                container_id: retained.container_id,
                node: retained.node,
                key: retained.key,
                resource: &retained.resource,
                grant_number: 0,
                expires_at_ms,
            };
            let container = signed(scheduler, &unsigned, &mut self.spare, &session.user, keys);
            // A node's names are 508 bytes at most.
            let most = size_of::<ArchivedNmToken>() + 512;
            if room.0 < size_of::<ArchivedContainer>() + size_of_resource(&container.resource) + most {
                return;
            }
            room.take(size_of::<ArchivedContainer>() + size_of_resource(&container.resource));
            let node = retained.node;
            containers.push(container);
            session.retained.pop_front();
            if session.nodes_told.insert(node)
                && let Some(token) = nm_token(session, node, keys, scheduler)
            {
                room.take(size_of_token(&token));
                tokens.push(token);
            }
        }
    }
}

/// Keeps an answer for its repetition. Memory of a large one is not kept for small ones.
fn store(place: &mut Vec<u8>, answer: &[u8]) {
    place.clear();
    if place.capacity() > 4_096 && place.capacity() / 4 > answer.len() {
        place.shrink_to(answer.len());
    }
    place.extend_from_slice(answer);
}

fn size_of_token(token: &NmToken) -> usize {
    size_of::<ArchivedNmToken>() + token.node_id.host.len() + token.rack_name.len()
}

fn signed<S: ResourceScheduler>(
    scheduler: &S,
    unsigned: &Unsigned<'_>,
    spare: &mut Vec<Resource>,
    user: &str,
    keys: &mut Keys,
) -> Container {
    let mut container = Container {
        container_id: unsigned.container_id,
        node: unsigned.node,
        resource: recycled(spare, scheduler.resource_types(), unsigned.resource),
        priority: unsigned.key.priority,
        allocation_request_id: unsigned.key.allocation_request_id,
        grant_number: unsigned.grant_number,
        execution_type: ExecutionType::Guaranteed,
        version: 0,
        expires_at_ms: unsigned.expires_at_ms,
        token: TokenMac { key_id: 0, mac: [0; 32] },
    };
    let node_id = scheduler.node(unsigned.node).map(|view| view.node_id);
    container.token = keys.sign_container(&container, node_id, user);
    container
}

/// The token of a node that the scheduler knows.
fn nm_token<S: ResourceScheduler>(
    session: &Session,
    node: NodeHandle,
    keys: &mut Keys,
    scheduler: &S,
) -> Option<NmToken> {
    let view = scheduler.node(node)?;
    Some(NmToken {
        node,
        node_id: view.node_id.clone(),
        http_port: view.http_port,
        rack_name: view.rack_name.to_owned(),
        token: keys.sign_nm(session.attempt_id, view.node_id, &session.user),
    })
}

/// News of a node. Of one that the scheduler does not know any more the name is told, and that it is gone.
fn updated_node<S: ResourceScheduler>(change: &Change, scheduler: &S) -> Option<UpdatedNode> {
    let update_type = match change.update_type {
        0 => NodeUpdateType::NodeUsable,
        2 => NodeUpdateType::NodeDecommissioning,
        _ => NodeUpdateType::NodeUnusable,
    };
    let types = scheduler.resource_types();
    let mut node = UpdatedNode {
        node: change.node,
        node_id: heddle_wire::record::NodeId::new("", 0),
        state: NodeState::Lost,
        update_type,
        http_port: 0,
        rack_name: String::new(),
        capability: Resource::default(),
        used: Resource::default(),
        num_containers: 0,
        health_report: String::new(),
        last_health_report_time_ms: 0,
        node_labels: Vec::new(),
        decommissioning_remaining_ms: None,
    };
    if let Some(view) = scheduler.node(change.node) {
        node.node_id = view.node_id.clone();
        node.state =
            NodeState::ALL.into_iter().find(|state| *state as u8 == view.state).unwrap_or(NodeState::Running);
        node.http_port = view.http_port;
        view.rack_name.clone_into(&mut node.rack_name);
        node.capability = wire_resource(types, view.capability);
        node.used = wire_resource(types, view.used);
        node.num_containers = view.containers;
        if !view.node_label.is_empty() {
            node.node_labels.push(view.node_label.to_owned());
        }
    } else {
        let identity = change.identity.as_deref()?;
        node.node_id = identity.node_id.clone();
        node.http_port = identity.http_port;
        node.rack_name = identity.rack_name.to_string();
    }
    Some(node)
}

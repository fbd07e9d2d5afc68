//! Allocate: the response-id rule, then check everything, then apply everything.
//! Owns: the rules of the call up to its answer. Called by: the door's entry, on the scheduler's thread.
//! Does not: place or answer; both happen once per batch, after every call in it was applied.
//!
//! Differs from YARN: asks for enforced opportunistic containers are refused by name; container updates are answered
//! with an error by name; what the ApplicationMaster has taken in it says by event number, not by response id.
//! Source: YARN ApplicationMasterService.allocate, DefaultAMSProcessor, RMServerUtils.
//! Invariants: a call that is refused has changed nothing and may be corrected under the same response id; a repeated one
//! gets the same bytes; of two rows for the same key at any place the last counts, and only that.

use std::collections::BTreeSet;

use heddle_wire::application_master::{AllocateRequest, ArchivedAllocateRequest};
use heddle_wire::record::{
    ArchivedExecutionType, ArchivedResource, ArchivedResourceName, ArchivedResourceRequest,
    ContainerUpdateType, Resource, ResourceInformation, UpdateContainerError, UpdateContainerRequest,
};
use heddle_wire::{FrameHeader, Reject, RejectCode, access};

use super::event_log::Event;
use super::exact::{KEYS_MAX, Wanted};
use super::session::{Session, SessionState};
use super::{ApplicationMasterService, Counters, refused};
use crate::engine::batch::FrameRef;
use crate::engine::scheduler::face::{Ask, Place, Refusal, ResourceScheduler, SchedulerKey, SchedulerOutput};
use crate::engine::scheduler::message::{ApplicationEvent, Attempt};
use crate::engine::scheduler::resource::{ResourceTypes, ResourceVector, convert};
use crate::engine::time::{Duration, Instant};

/// Between two [`ApplicationEvent::StatusUpdate`]s of an attempt.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Most grants of a key that an ask may say it has seen. At a million a second that is nine years.
const GRANTS_SEEN_MAX: u64 = 1 << 48;

/// `(last + 1)`, kept positive as in YARN.
pub(super) const fn next_response_id(last: u32) -> u32 {
    last.wrapping_add(1) & 0x7fff_ffff
}

/// What becomes of a call that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allocated {
    /// It was applied; its answer is written after placement.
    Fresh,
    /// The stored answer goes out again.
    Duplicate,
}

/// A row of a call, checked.
#[derive(Clone, Debug)]
struct Row {
    key: SchedulerKey,
    capability: ResourceVector,
    wanted: u32,
    seen: Option<u64>,
    outstanding: u32,
    /// A later row of the call has the same key and place.
    is_superseded: bool,
}

/// Lists that are filled anew for each call.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    rows: Vec<Row>,
    /// Rows at any place: key and index.
    any: Vec<(SchedulerKey, u32)>,
}

impl ApplicationMasterService {
    pub(super) fn allocate<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        header: &FrameHeader,
        frame: &FrameRef,
        body: &[u8],
        scheduler: &mut S,
        out: &mut SchedulerOutput,
    ) -> Result<(Attempt, Allocated), Reject> {
        let attempt = self.attempt_of(header)?;
        let request = access::<AllocateRequest>(body).map_err(|error| Reject::from(&error))?;
        request.check().map_err(|error| Reject::from(&error))?;
        let Some(session) = self.sessions.find(attempt) else {
            let text = "the attempt of this routing_key doesn't exist in ApplicationMasterService cache";
            return Err(refused(RejectCode::ApplicationAttemptNotFound, text.to_owned()));
        };
        // Liveliness before anything that may refuse the call, but only of who has shown to be the ApplicationMaster.
        let token = request.am_rm_token.as_ref().map(|token| token.to_native());
        let is_shown = Self::authenticate(session, &mut self.keys, frame, token)?;
        if is_shown {
            session.watch.ping(now);
        }
        if session.state == SessionState::Opened {
            return Err(super::not_registered(session.attempt_id));
        }
        let (last, found) = (session.response_id, request.response_id.to_native());
        let is_duplicate = next_response_id(found) == last;
        if is_duplicate || found == last {
            // Not for what is out of step: that may come late, from a stream that is gone.
            session.follow(frame.stream, token, is_duplicate);
        }
        if is_duplicate {
            self.counters.allocates_duplicate += 1;
            if session.log.waiting() > 0 {
                self.mark_to_push(attempt);
            }
            return Ok((attempt, Allocated::Duplicate));
        }
        if found != last {
            let text = format!(
                "invalid response_id from {}, expect responseId to be {last} but get {found}",
                session.attempt_id
            );
            return Err(refused(RejectCode::InvalidApplicationMasterRequest, text));
        }

        let events_seen = request.events_seen.to_native();
        if events_seen > session.log.last_sent() {
            let text =
                format!("events_seen is {events_seen}, accepted are at most {}", session.log.last_sent());
            return Err(refused(RejectCode::BadField, text));
        }
        check(session, request, scheduler, &mut self.scratch)?;

        session.response_id = next_response_id(last);
        session.is_answer_due = true;
        self.counters.allocates_fresh += 1;
        acknowledge(session, events_seen, scheduler, out);
        let is_over = session.state == SessionState::Finishing || session.is_final_state_stored;
        if !is_over {
            let progress = sanitised(request.progress.to_native());
            session.status.progress = progress;
            if let Some(tracking_url) = request.tracking_url.as_ref() {
                session.status.tracking_url = Some((**tracking_url).into());
            }
            if let Some(due) = tell_status(now, session, out) {
                self.status_due.insert((due, attempt));
            }
            session.update_errors.clear();
            refuse_updates(session, request, scheduler);
            for container_id in request.releases.iter() {
                scheduler.release(now, attempt, &container_id.to_native(), out);
            }
            apply_asks(now, session, request, scheduler, &mut self.scratch, &mut self.counters, out);
            if !request.blacklist_additions.is_empty() || !request.blacklist_removals.is_empty() {
                let additions: Vec<&str> =
                    request.blacklist_additions.iter().map(|place| place.as_str()).collect();
                let removals: Vec<&str> =
                    request.blacklist_removals.iter().map(|place| place.as_str()).collect();
                scheduler.update_blacklist(attempt, &additions, &removals);
            }
        }
        Ok((attempt, Allocated::Fresh))
    }
}

/// NaN and what is below 0 is 0, what is above 1 is 1.
fn sanitised(progress: f32) -> f32 {
    if progress.is_nan() { 0.0 } else { progress.clamp(0.0, 1.0) }
}

/// Tells the application manager what changed, or returns when that may be done.
pub(super) fn tell_status(now: Instant, session: &mut Session, out: &mut SchedulerOutput) -> Option<Instant> {
    let status = &mut session.status;
    if status.tracking_url.is_none() && status.progress == status.told_progress {
        return None;
    }
    if now < status.next {
        let is_waiting = status.due.replace(status.next).is_some();
        return (!is_waiting).then_some(status.next);
    }
    status.next = now + STATUS_INTERVAL;
    status.told_progress = status.progress;
    out.application_events.push(ApplicationEvent::StatusUpdate {
        attempt_id: session.attempt_id,
        progress: status.progress,
        tracking_url: status.tracking_url.take(),
    });
    None
}

/// The ApplicationMaster has taken in every event up to a number; what it had an answer after and did not take in is
/// sent again.
fn acknowledge<S: ResourceScheduler>(
    session: &mut Session,
    events_seen: u64,
    scheduler: &mut S,
    out: &mut SchedulerOutput,
) {
    let keys = &mut session.keys;
    session.log.acknowledge(events_seen, |event| match event {
        Event::Grant(grant) => {
            let count = keys.entry(grant.key);
            count.seen = count.seen.max(grant.number);
        }
        Event::End(end) if end.is_on_node => scheduler.acknowledge(end.node, &end.container_id, out),
        Event::End(_) | Event::Void(_) => {}
    });
    if events_seen < session.answered_up_to {
        session.log.resend_from(events_seen + 1);
    }
}

fn invalid_ask(kind: &str, text: &str) -> Reject {
    refused(RejectCode::InvalidResourceRequest, format!("{kind}: {text}"))
}

fn key_of(ask: &ArchivedResourceRequest) -> SchedulerKey {
    SchedulerKey {
        priority: ask.priority.to_native(),
        allocation_request_id: ask.allocation_request_id.to_native(),
    }
}

fn ask_of<'a>(
    ask: &'a ArchivedResourceRequest,
    key: SchedulerKey,
    capability: ResourceVector,
    count: u32,
) -> Ask<'a> {
    let place = match &ask.resource_name {
        ArchivedResourceName::Any => Place::Any,
        ArchivedResourceName::Rack(rack) => Place::Rack(rack),
        ArchivedResourceName::Host(host) => Place::Host(host),
    };
    Ask {
        key,
        place,
        capability,
        count,
        relax_locality: ask.relax_locality,
        node_label: ask.node_label_expression.as_ref().map(|label| label.as_str()),
    }
}

/// A size as asked for. A type the cluster does not have is an error: nothing could ever be granted for it.
fn vector_of(types: &ResourceTypes, resource: &ArchivedResource) -> Result<ResourceVector, Reject> {
    let mut vector =
        ResourceVector::new(resource.memory_mb.to_native(), u64::from(resource.virtual_cores.to_native()));
    for extended in resource.extended.iter() {
        let Some(index) = types.index(&extended.name).filter(|index| *index >= 2) else {
            let accepted: Vec<&str> = types.types().iter().skip(2).map(|kind| &*kind.name).collect();
            let text = format!(
                "asks.capability names resource type {}, accepted besides memory_mb and virtual_cores are [{}]",
                &*extended.name,
                accepted.join(", ")
            );
            return Err(invalid_ask("UNKNOWN", &text));
        };
        let to = types.types().get(index).map_or("", |kind| &*kind.units);
        vector.set(index, convert(extended.value.to_native(), &extended.units, to));
    }
    Ok(vector)
}

/// Checks the whole call; fills the rows.
fn check<S: ResourceScheduler>(
    session: &mut Session,
    request: &ArchivedAllocateRequest,
    scheduler: &S,
    scratch: &mut Scratch,
) -> Result<(), Reject> {
    scratch.rows.clear();
    scratch.any.clear();
    let attempt = session.attempt;
    if !request.scheduling_requests.is_empty() {
        let text = format!(
            "scheduling_requests has {} entries, accepted are none: constraint-style asks are not supported yet",
            request.scheduling_requests.len()
        );
        return Err(refused(RejectCode::Unsupported, text));
    }
    let from_refusal = |refusal: Refusal| refused(refusal.code, refusal.message);
    let mut has_new_keys = false;
    for (index, ask) in request.asks.iter().enumerate() {
        let key = key_of(ask);
        let Ok(wanted) = u32::try_from(ask.num_containers.to_native()) else {
            let text = format!(
                "asks.num_containers is {} at priority {}, accepted is 0 to {}",
                ask.num_containers.to_native(),
                key.priority,
                i32::MAX
            );
            return Err(invalid_ask("LESS_THAN_ZERO", &text));
        };
        if ask.enforce_execution_type && ask.execution_type == ArchivedExecutionType::Opportunistic {
            let text = "asks.execution_type is an enforced OPPORTUNISTIC, accepted is GUARANTEED: opportunistic \
                        containers are not supported yet";
            return Err(refused(RejectCode::Unsupported, text.to_owned()));
        }
        let seen = ask.grants_seen.as_ref().map(|seen| seen.to_native());
        let seen_max = session.keys.seen_max(key);
        let accepted = seen_max.unwrap_or(GRANTS_SEEN_MAX);
        if let Some(seen) = seen.filter(|seen| *seen > accepted) {
            let text = format!(
                "asks.grants_seen is {seen} at priority {} and allocation_request_id {}, accepted are at most \
                 {accepted}",
                key.priority, key.allocation_request_id
            );
            return Err(invalid_ask("UNKNOWN", &text));
        }
        has_new_keys |= seen_max.is_none();
        let capability = vector_of(scheduler.resource_types(), &ask.capability)?;
        let checked = ask_of(ask, key, capability, wanted);
        scheduler.check_ask(attempt, &checked).map_err(from_refusal)?;
        if checked.place == Place::Any {
            scratch.any.push((key, u32::try_from(index).unwrap_or(u32::MAX)));
        }
        let capability = checked.capability;
        scratch.rows.push(Row { key, capability, wanted, seen, outstanding: wanted, is_superseded: false });
    }
    scratch.any.sort_unstable();
    for pair in scratch.any.windows(2) {
        if let [(former, index), (latter, _)] = pair
            && former == latter
            && let Some(row) = scratch.rows.get_mut(*index as usize)
        {
            row.is_superseded = true;
        }
    }
    if has_new_keys {
        let rows = scratch.any.iter().filter_map(|(_, index)| scratch.rows.get(*index as usize));
        let call = rows.filter(|row| !row.is_superseded).map(|row| Wanted {
            key: row.key,
            count: row.wanted,
            seen: row.seen,
        });
        let keys = session.keys.after(call, |key| scheduler.outstanding(attempt, key));
        if keys > KEYS_MAX {
            let text = format!(
                "asks would be outstanding under {keys} priorities and allocation_request_ids, accepted are {KEYS_MAX}"
            );
            return Err(invalid_ask("UNKNOWN", &text));
        }
    }
    if request.blacklist_additions.iter().any(|place| place.as_str() == "*") {
        let text = "blacklist_additions names *, accepted are hosts and racks";
        return Err(refused(RejectCode::InvalidResourceBlacklistRequest, text.to_owned()));
    }
    if !request.blacklist_additions.is_empty() {
        let additions: Vec<&str> = request.blacklist_additions.iter().map(|place| place.as_str()).collect();
        scheduler.check_blacklist(attempt, &additions).map_err(from_refusal)?;
    }
    for container_id in request.releases.iter() {
        scheduler.check_release(attempt, &container_id.to_native()).map_err(from_refusal)?;
    }
    Ok(())
}

/// Sets the rows of the call. Grants beyond what is wanted now are taken back.
fn apply_asks<S: ResourceScheduler>(
    now: Instant,
    session: &mut Session,
    request: &ArchivedAllocateRequest,
    scheduler: &mut S,
    scratch: &mut Scratch,
    counters: &mut Counters,
    out: &mut SchedulerOutput,
) {
    let attempt = session.attempt;
    for (_, index) in &scratch.any {
        let Some(row) = scratch.rows.get_mut(*index as usize).filter(|row| !row.is_superseded) else {
            continue;
        };
        let resolved = session.keys.resolve(row.key, row.wanted, row.seen);
        row.outstanding = resolved.outstanding;
        if resolved.surplus > 0 {
            let mut voided = BTreeSet::new();
            let unsent = session.log.void_last(row.key, resolved.surplus, |container_id| {
                voided.insert(*container_id);
                scheduler.void(now, attempt, container_id, out);
            });
            // Those that have ended by themselves meanwhile.
            session.log.forget_ends(&voided, |end| {
                if end.is_on_node {
                    scheduler.acknowledge(end.node, &end.container_id, out);
                }
            });
            let voided = voided.len() as u64;
            session.keys.void(row.key, voided, unsent);
            counters.grants_voided += voided;
        }
    }
    let has_places = scratch.any.len() < scratch.rows.len();
    if has_places && session.log.unseen_grants().next().is_some() {
        resolve_places(session, request, scheduler, scratch);
    }
    for (ask, row) in request.asks.iter().zip(&scratch.rows) {
        if !row.is_superseded {
            let ask = ask_of(ask, row.key, row.capability.clone(), row.outstanding);
            scheduler.update_ask(now, attempt, &ask);
        }
    }
}

/// Takes what is on its way to a host or rack off the count asked for there.
fn resolve_places<S: ResourceScheduler>(
    session: &Session,
    request: &ArchivedAllocateRequest,
    scheduler: &S,
    scratch: &mut Scratch,
) {
    // A grant that was not sent yet has no number: it comes after all that have one.
    let number = |number: u64| if number == 0 { u64::MAX } else { number };
    let (mut hosts, mut racks) = (Vec::new(), Vec::new());
    for grant in session.log.unseen_grants() {
        if let Some(view) = scheduler.node(grant.node) {
            hosts.push((grant.key, view.node_id.host.as_str(), number(grant.number)));
            racks.push((grant.key, view.rack_name, number(grant.number)));
        }
    }
    hosts.sort_unstable();
    racks.sort_unstable();
    for (ask, row) in request.asks.iter().zip(&mut scratch.rows) {
        let (on_their_way, name) = match &ask.resource_name {
            ArchivedResourceName::Any => continue,
            ArchivedResourceName::Rack(rack) => (&racks, rack.as_str()),
            ArchivedResourceName::Host(host) => (&hosts, host.as_str()),
        };
        let Some(seen) = row.seen else { continue };
        let first = on_their_way.partition_point(|grant| *grant <= (row.key, name, seen));
        let last = on_their_way.partition_point(|grant| *grant <= (row.key, name, u64::MAX));
        row.outstanding = row.wanted.saturating_sub(u32::try_from(last - first).unwrap_or(u32::MAX));
    }
}

/// Container updates are not supported yet. Each is answered with the first of YARN's reasons that applies, or that.
fn refuse_updates<S: ResourceScheduler>(
    session: &mut Session,
    request: &ArchivedAllocateRequest,
    scheduler: &S,
) {
    let Some((_, maximum, _)) = scheduler.limits(session.attempt) else { return };
    let types = scheduler.resource_types();
    let mut seen = Vec::with_capacity(request.update_requests.len());
    for update in request.update_requests.iter() {
        let container_id = update.container_id.to_native();
        let is_known = scheduler.has_container(session.attempt, &container_id);
        let is_too_large = update.capability.as_ref().is_some_and(|capability| {
            vector_of(types, capability).map_or(true, |capability| !capability.fits_in(&maximum))
        });
        let is_repeated = seen.contains(&container_id);
        let reason = if !is_known {
            "INVALID_CONTAINER_ID"
        } else if update.container_version.to_native() != 0 {
            "INCORRECT_CONTAINER_VERSION_ERROR"
        } else if is_repeated {
            "UPDATE_OUTSTANDING_ERROR"
        } else if is_too_large {
            "RESOURCE_OUTSIDE_ALLOWED_RANGE"
        } else {
            "NOT_SUPPORTED_YET: container updates are not supported yet"
        };
        seen.push(container_id);
        let update_request = UpdateContainerRequest {
            container_version: update.container_version.to_native(),
            container_id,
            update_type: match update.update_type as u8 {
                0 => ContainerUpdateType::IncreaseResource,
                1 => ContainerUpdateType::DecreaseResource,
                2 => ContainerUpdateType::PromoteExecutionType,
                _ => ContainerUpdateType::DemoteExecutionType,
            },
            capability: update.capability.as_ref().map(owned),
            execution_type: update.execution_type.as_ref().map(|kind| match kind {
                ArchivedExecutionType::Guaranteed => heddle_wire::record::ExecutionType::Guaranteed,
                ArchivedExecutionType::Opportunistic => heddle_wire::record::ExecutionType::Opportunistic,
            }),
        };
        session.update_errors.push(UpdateContainerError {
            reason: reason.to_owned(),
            update_request,
            current_container_version: is_known.then_some(0),
        });
    }
}

fn owned(resource: &ArchivedResource) -> Resource {
    Resource {
        memory_mb: resource.memory_mb.to_native(),
        virtual_cores: resource.virtual_cores.to_native(),
        extended: resource
            .extended
            .iter()
            .map(|extended| ResourceInformation {
                name: extended.name.as_str().to_owned(),
                value: extended.value.to_native(),
                units: extended.units.as_str().to_owned(),
            })
            .collect(),
    }
}

//! Heartbeats, in YARN's order: valid node, registered, liveliness ping, fresh or duplicate or behind, status, answer.
//! Owns: the rules of NodeHeartbeat. Called by: the shard's entry. Thread: the shard's.
//! Does not: allocate, hash, lock or log on the steady path; what is rare lies in [`Shard::apply_status`] and below.
//! Invariants: a beat is applied whole or not at all; a duplicate changes nothing but the ping and gets the same body
//! again; statuses of an UNHEALTHY node are not looked at. Source: YARN ResourceTrackerService.nodeHeartbeat.

use heddle_wire::frame::{Flags, HEADER_SIZE};
use heddle_wire::limits::CONTAINERS_PER_NODE_MAX;
use heddle_wire::record::{ContainerId, ContainersDigest, MasterKey, NodeAction, NodeHandle, NodeState};
use heddle_wire::resource_tracker::{
    ArchivedNodeHeartbeatDetails, ArchivedNodeHeartbeatRequest, NodeHeartbeatRequest, NodeHeartbeatResponse,
    NodeUpdates,
};
use heddle_wire::{FrameHeader, Opcode, Reject, RejectCode, access, write_frame};

use super::answer::Numbers;
use super::containers::{Change, Report};
use super::node_table::RowFlags;
use super::pacing;
use super::rm_node::RmNodeEvent;
use super::{Outbox, Shard, resource};
use crate::engine::batch::{AnswerBatch, FrameBatch, FrameRef};
use crate::engine::event::KeyPair;
use crate::engine::time::{Duration, Instant};

/// `(last + 1)`, kept positive as in YARN.
const fn next_response_id(last: u32) -> u32 {
    last.wrapping_add(1) & 0x7fff_ffff
}

/// Slots in which nodes come back: one every 1/rate second, over and over within the horizon.
#[derive(Debug)]
pub(super) struct ResyncSlots {
    next: Instant,
    step: Duration,
}

impl ResyncSlots {
    /// Farthest slot. 10 minutes hold 1.2 M registrations at the default rate; a peer that asks without end only moves
    /// the next slot around within it.
    const HORIZON: Duration = Duration::from_secs(600);

    pub(super) fn new(per_second: u32) -> Self {
        Self { next: Instant::ZERO, step: Duration::from_nanos(1_000_000_000 / u64::from(per_second.max(1))) }
    }

    /// Milliseconds from `now` to a slot of its own.
    fn take(&mut self, now: Instant) -> u32 {
        if self.next < now || self.next.since(now) >= Self::HORIZON {
            self.next = now;
        }
        let slot = self.next;
        self.next = slot + self.step;
        u32::try_from(slot.since(now).as_millis()).unwrap_or(u32::MAX)
    }
}

/// What an answer says besides its numbers, gathered while a status is applied.
#[derive(Default)]
struct Extra {
    is_full_report_requested: bool,
    are_node_labels_accepted: bool,
    are_node_attributes_accepted: bool,
    updates: Option<Box<NodeUpdates>>,
}

impl Extra {
    fn updates(&mut self) -> &mut NodeUpdates {
        self.updates.get_or_insert_default()
    }
}

impl Shard {
    #[inline]
    pub(super) fn heartbeat(
        &mut self,
        batch: &FrameBatch,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) {
        let handle = NodeHandle(header.routing_key);
        let row = handle.row();
        let Some(hot) = self.table.hot.get(row as usize).copied() else {
            return self.heartbeat_of_no_row(frame, header, answers);
        };
        if hot.generation != handle.generation()
            || handle.shard() != self.settings.shard
            || hot.flags.has(RowFlags::FREE)
        {
            return self.heartbeat_of_no_row(frame, header, answers);
        }
        if hot.peer != frame.peer {
            return self.reject_peer(header, frame, answers, row, out);
        }
        let body = match access::<NodeHeartbeatRequest>(super::body_of(batch, frame)) {
            Ok(body) => body,
            Err(error) => {
                return self.reject(Opcode::NodeHeartbeat, header, frame, answers, &Reject::from(&error));
            }
        };
        if body.node_handle.0.to_native() != handle.0 {
            let text = "node_handle is not the routing key of its frame";
            return self.reject(
                header.opcode,
                header,
                frame,
                answers,
                &Reject::new(RejectCode::WrongRoute, text),
            );
        }
        if let Err(error) = body.check() {
            return self.reject(Opcode::NodeHeartbeat, header, frame, answers, &Reject::from(&error));
        }

        // 1. Valid node. 2. Registered.
        let is_excused = hot.state == NodeState::Decommissioning;
        if !hot.state.is_active() || (hot.flags.has(RowFlags::INVALID) && !is_excused) {
            return self.heartbeat_of_no_node(row, frame, header, answers, out);
        }
        // 3. Liveliness ping.
        let live_now = self.live_now();
        let last = hot.response_id;
        {
            let hot = &mut self.table.hot[row as usize];
            hot.last_seen = live_now;
            hot.stream = frame.stream;
        }
        if hot.flags.has(RowFlags::SUSPECT) {
            self.clear_suspect(row);
        }
        // 5. Fresh, duplicate or behind.
        let found = body.response_id.to_native();
        if found != last {
            let is_duplicate = next_response_id(found) == last && hot.flags.has(RowFlags::ANSWERED);
            if is_duplicate && found <= 0x7fff_ffff {
                return self.replay_answer(row, frame, header, answers);
            }
            return self.heartbeat_behind(row, frame, header, answers, out);
        }
        // 13. Status: with nothing in it but a sign of life, nothing changes.
        let warm = &mut self.table.warm[row as usize];
        warm.containers_utilization = (&body.containers_utilization).into();
        warm.node_utilization = (&body.node_utilization).into();
        let has_nothing_to_say = body.container_statuses.is_empty()
            && body.details.is_none()
            && body.is_node_healthy
            && hot.state == NodeState::Running
            && !hot.flags.has(RowFlags::ATTENTION)
            && body.containers_digest.to_native() == digest(hot.digest_count, hot.digest_hash)
            && !body.is_full_report
            && !body.is_continued
            && !self.has_next_keys;
        if !has_nothing_to_say {
            return self.apply_status(row, body, frame, header, answers, out);
        }
        let numbers = self.fresh_numbers(row, hot.class, last);
        self.finish_answer(row, numbers);
        // A stored answer of an earlier beat is not the last one any more.
        self.table.hot[row as usize].flags.clear(RowFlags::STORED_ANSWER);
        let templates = &self.templates;
        answers.push_with(frame.stream, |bytes| templates.write_normal(bytes, header, numbers));
    }

    /// The numbers of the answer to a fresh beat.
    #[inline]
    fn fresh_numbers(&self, row: u32, class: u8, last: u32) -> Numbers {
        let interval_ms =
            if self.pacing.is_scaled() { self.scaled_interval_ms(row) } else { self.pacing.interval_ms() };
        let phase_ms = self.phase_ms(row, interval_ms);
        Numbers {
            response_id: next_response_id(last),
            interval_ms,
            next_ms: self.pacing.next_ms(interval_ms, phase_ms),
            phase_ms,
            lease_ms: self.lease_ms(class),
        }
    }

    fn scaled_interval_ms(&self, row: u32) -> u32 {
        let warm = &self.table.warm[row as usize];
        let physical_cores = self.table.resources.value(warm.physical).virtual_cores;
        self.pacing.scaled_ms(
            warm.node_utilization.cpu_millicores,
            physical_cores,
            self.cluster_load_permille,
        )
    }

    /// A node's place in an interval. Shards interleave, so that the cluster is spread as evenly as each shard.
    #[inline]
    pub(super) fn phase_ms(&self, row: u32, interval_ms: u32) -> u32 {
        let index = row
            .wrapping_mul(u32::from(self.settings.shard_count))
            .wrapping_add(u32::from(self.settings.shard));
        pacing::phase_ms(index, interval_ms)
    }

    /// Writes down what the answer said, so that a duplicate gets the same.
    #[inline]
    fn finish_answer(&mut self, row: u32, numbers: Numbers) {
        let hot = &mut self.table.hot[row as usize];
        hot.response_id = numbers.response_id;
        hot.interval_ms = numbers.interval_ms;
        hot.next_ms = numbers.next_ms;
        hot.flags.set(RowFlags::ANSWERED);
        self.counters.heartbeats_fresh += 1;
    }

    /// The stored answer, unchanged; only the header's correlation id is the repeated request's.
    #[cold]
    fn replay_answer(&mut self, row: u32, frame: &FrameRef, header: &FrameHeader, answers: &mut AnswerBatch) {
        self.counters.heartbeats_duplicate += 1;
        let hot = self.table.hot[row as usize];
        if hot.flags.has(RowFlags::STORED_ANSWER)
            && let Some(outbound) = self.table.cold(row).outbound.as_ref()
        {
            let answer = FrameHeader {
                opcode: Opcode::NodeHeartbeat,
                flags: Flags::RESPONSE,
                body_length: outbound.stored_answer.len() as u32,
                ..*header
            };
            answers.push_with(frame.stream, |bytes| {
                bytes.extend_from_slice(&answer.to_bytes());
                bytes.extend_from_slice(&outbound.stored_answer);
            });
            return;
        }
        let numbers = Numbers {
            response_id: hot.response_id,
            interval_ms: hot.interval_ms,
            next_ms: hot.next_ms,
            phase_ms: self.phase_ms(row, hot.interval_ms),
            lease_ms: self.lease_ms(hot.class),
        };
        let templates = &self.templates;
        answers.push_with(frame.stream, |bytes| templates.write_normal(bytes, header, numbers));
    }

    /// RESYNC for a handle that names no registration, with a slot to come back in.
    #[cold]
    fn heartbeat_of_no_row(&mut self, frame: &FrameRef, header: &FrameHeader, answers: &mut AnswerBatch) {
        let handle = NodeHandle(header.routing_key);
        if handle.shard() != self.settings.shard {
            let accepted = format!("a handle of shard {}", self.settings.shard);
            return self.reject_route(header, frame, answers, handle.0, &accepted);
        }
        let numbers = self.resync_numbers();
        let templates = &self.templates;
        answers.push_with(frame.stream, |bytes| templates.not_found.write(bytes, header, numbers));
    }

    fn resync_numbers(&mut self) -> Numbers {
        self.counters.heartbeats_resync += 1;
        Numbers {
            interval_ms: self.pacing.interval_ms(),
            next_ms: self.resync_slots.take(self.now),
            ..Numbers::default()
        }
    }

    /// A current handle whose node may not beat: SHUTDOWN where it is out by an administrator's will, else RESYNC.
    #[cold]
    fn heartbeat_of_no_node(
        &mut self,
        row: u32,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) {
        let hot = self.table.hot[row as usize];
        if hot.state.is_active() {
            // The lists changed without the state: cannot happen by SetNodeLists in a mode that takes nodes out, but a
            // NORMAL refresh spares nodes that were being emptied, and they may have come back since.
            self.raise(row, RmNodeEvent::Decommission, out);
        }
        let is_invalid = hot.flags.has(RowFlags::INVALID);
        if is_invalid || hot.state == NodeState::Decommissioned {
            self.counters.heartbeats_shutdown += 1;
            let numbers = Numbers { interval_ms: self.pacing.interval_ms(), ..Numbers::default() };
            let templates = &self.templates;
            let template = if is_invalid { &templates.disallowed } else { &templates.decommissioned };
            answers.push_with(frame.stream, |bytes| template.write(bytes, header, numbers));
            return;
        }
        let numbers = self.resync_numbers();
        let templates = &self.templates;
        answers.push_with(frame.stream, |bytes| templates.not_found.write(bytes, header, numbers));
    }

    /// The node is out of step: its record ends, and it registers again.
    #[cold]
    fn heartbeat_behind(
        &mut self,
        row: u32,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) {
        self.notice(out, true, Some(row), || "REBOOTED: response id out of step".to_owned());
        self.raise(row, RmNodeEvent::Rebooting, out);
        let numbers = self.resync_numbers();
        let templates = &self.templates;
        answers.push_with(frame.stream, |bytes| templates.too_far_behind.write(bytes, header, numbers));
    }

    /// Everything a beat may bring besides a sign of life.
    fn apply_status(
        &mut self,
        row: u32,
        body: &ArchivedNodeHeartbeatRequest,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) {
        let is_healthy = body.is_node_healthy
            && body
                .details
                .as_ref()
                .and_then(|details| details.health.as_ref())
                .is_none_or(|health| health.is_node_healthy);
        let state = self.table.hot[row as usize].state;
        // Not read: statuses of a node that is or becomes UNHEALTHY, and of one that just recovers (it is asked for all
        // of them instead). A DECOMMISSIONING node is heard whatever its health.
        let is_heard = state == NodeState::Decommissioning || (state == NodeState::Running && is_healthy);
        if is_heard && let Err(found) = self.check_room(row, body) {
            let text = format!(
                "container_statuses would bring the node to {found} containers, accepted are at most \
                 {CONTAINERS_PER_NODE_MAX}"
            );
            let reject = Reject::new(RejectCode::BadField, text);
            return self.reject(Opcode::NodeHeartbeat, header, frame, answers, &reject);
        }
        if is_heard && body.container_statuses.len() > self.completions_left(row) {
            let text = "the scheduler has not taken in this node's completed containers yet";
            let reject = Reject::new(RejectCode::Busy, text);
            return self.reject(Opcode::NodeHeartbeat, header, frame, answers, &reject);
        }
        self.acknowledge_commands(row, body.acknowledged_command.to_native());
        let mut extra = Extra::default();
        if let Some(details) = body.details.as_ref() {
            self.take_details(row, details, &mut extra);
        }
        let mut is_in_step = true;
        if is_heard {
            is_in_step = self.take_statuses(row, body);
        }
        let is_drained =
            state == NodeState::Decommissioning && is_in_step && !body.is_continued && self.is_drained(row);
        if !self.raise(row, RmNodeEvent::StatusUpdate { is_healthy, is_drained }, out) {
            return self.heartbeat_of_no_node(row, frame, header, answers, out);
        }
        let state = self.table.hot[row as usize].state;
        if state == NodeState::Decommissioned {
            self.notice(out, false, Some(row), || "decommissioned: nothing is left on it".to_owned());
            return self.heartbeat_of_no_node(row, frame, header, answers, out);
        }
        let hot = self.table.hot[row as usize];
        // While more of a report is to come the digests cannot agree; while UNHEALTHY nobody listens.
        if state != NodeState::Unhealthy && !body.is_continued {
            let is_same = body.containers_digest.to_native() == digest(hot.digest_count, hot.digest_hash);
            if !is_same {
                self.counters.full_reports_requested += 1;
                extra.is_full_report_requested = true;
            }
        }
        self.add_next_keys(body, &mut extra);
        if hot.flags.has(RowFlags::TELL_CAPABILITY) {
            extra.updates().capability = Some(resource::to_wire(self.table.capability(row)));
            // Once is enough: a fresh beat after it proves that the answer arrived, and a duplicate gets it again.
            self.table.hot[row as usize].flags.clear(RowFlags::TELL_CAPABILITY);
        }
        let numbers = self.fresh_numbers(row, hot.class, hot.response_id);
        self.finish_answer(row, numbers);
        let commands = if hot.flags.has(RowFlags::COMMANDS) { self.commands(row) } else { None };
        let has_nothing_to_say = commands.is_none()
            && extra.updates.is_none()
            && !extra.is_full_report_requested
            && !extra.are_node_labels_accepted
            && !extra.are_node_attributes_accepted;
        if has_nothing_to_say {
            self.table.hot[row as usize].flags.clear(RowFlags::STORED_ANSWER);
            let templates = &self.templates;
            answers.push_with(frame.stream, |bytes| templates.write_normal(bytes, header, numbers));
            return;
        }
        let response = NodeHeartbeatResponse {
            response_id: numbers.response_id,
            heartbeat_interval_ms: numbers.interval_ms,
            next_heartbeat_ms: numbers.next_ms,
            phase_ms: numbers.phase_ms,
            lease_ms: numbers.lease_ms,
            token_sequence: 0,
            node_action: NodeAction::Normal,
            is_full_report_requested: extra.is_full_report_requested,
            are_node_labels_accepted: extra.are_node_labels_accepted,
            are_node_attributes_accepted: extra.are_node_attributes_accepted,
            commands,
            updates: extra.updates,
        };
        answers.push_with(frame.stream, |bytes| {
            let start = bytes.len();
            write_frame(bytes, Flags::RESPONSE, header.correlation_id, header.routing_key, &response);
            // The whole answer, after everything was put in: a duplicate must get all of it.
            self.store_answer(row, bytes.get(start + HEADER_SIZE..).unwrap_or_default());
        });
    }

    /// How many containers the node would have if that is too many.
    fn check_room(&self, row: u32, body: &ArchivedNodeHeartbeatRequest) -> Result<(), usize> {
        let known = self.table.cold(row).containers.as_ref();
        let before = known.map_or(0, |containers| containers.len());
        if before + body.container_statuses.len() <= CONTAINERS_PER_NODE_MAX {
            return Ok(());
        }
        let is_new = |id| known.is_none_or(|containers| !containers.is_known(&id));
        let new = body.container_statuses.iter().filter(|status| is_new(status.container_id.to_native()));
        let after = before + new.count();
        if after > CONTAINERS_PER_NODE_MAX { Err(after) } else { Ok(()) }
    }

    /// Statuses as changes or as (a part of) a full report. True if what the node has is known now.
    fn take_statuses(&mut self, row: u32, body: &ArchivedNodeHeartbeatRequest) -> bool {
        let was_in_report = self.table.hot[row as usize].flags.has(RowFlags::IN_FULL_REPORT);
        if body.is_full_report && !was_in_report {
            self.begin_full_report(row);
        }
        if !body.container_statuses.is_empty() {
            self.take_reports(row, body.container_statuses.iter().map(Report::from));
        }
        // A beat of changes inside a full report means that the node began anew; the digest will tell.
        self.table.hot[row as usize]
            .flags
            .put(RowFlags::IN_FULL_REPORT, body.is_full_report && body.is_continued);
        if body.is_full_report && !body.is_continued {
            self.finish_full_report(row);
        }
        let hot = &self.table.hot[row as usize];
        body.containers_digest.to_native() == digest(hot.digest_count, hot.digest_hash)
    }

    /// Begins a full report of a node's containers.
    pub(super) fn begin_full_report(&mut self, row: u32) {
        if let Some(containers) = self.table.cold_mut(row).containers.as_mut() {
            containers.begin_full_report();
        }
    }

    /// Takes in what a node says of its containers.
    pub(super) fn take_reports<'a>(&mut self, row: u32, reports: impl Iterator<Item = Report<'a>>) {
        // Out of the row meanwhile: what follows from a report touches everything else of it.
        let mut containers = self.table.cold_mut(row).containers.take().unwrap_or_default();
        for report in reports {
            match containers.report(&report, &mut self.table.resources) {
                Change::None => {}
                Change::Launched => {
                    self.count_container(row, &report.container_id, true);
                    self.tell_launched(row, &report);
                }
                Change::Completed { was_live } => {
                    if was_live {
                        self.count_container(row, &report.container_id, false);
                    }
                    self.tell_completed(row, &report);
                }
            }
        }
        self.table.cold_mut(row).containers = (!containers.is_empty()).then_some(containers);
    }

    /// One live container more or less, in the digest and in the counters.
    fn count_container(&mut self, row: u32, container_id: &ContainerId, is_more: bool) {
        let hot = &mut self.table.hot[row as usize];
        let mut after = digest(hot.digest_count, hot.digest_hash);
        if is_more {
            after.add(container_id);
            self.counters.running_containers += 1;
        } else {
            after.remove(container_id);
            self.counters.running_containers -= 1;
        }
        (hot.digest_count, hot.digest_hash) = (after.count, after.hash);
    }

    /// Ends a full report: what it did not name is complete, "running but not reported".
    pub(super) fn finish_full_report(&mut self, row: u32) {
        let Some(mut containers) = self.table.cold_mut(row).containers.take() else { return };
        let lost = containers.finish_full_report(&mut self.table.resources);
        self.table.cold_mut(row).containers = Some(containers);
        for (container_id, execution_type, capability) in lost {
            self.count_container(row, &container_id, false);
            self.tell_not_reported(row, container_id, execution_type, capability);
        }
    }

    /// The parts of a beat that are sent only when there is something to say.
    fn take_details(&mut self, row: u32, details: &ArchivedNodeHeartbeatDetails, extra: &mut Extra) {
        if let Some(health) = details.health.as_ref() {
            self.set_health_report(row, &health.health_report, health.last_health_report_time_ms.to_native());
        }
        if !details.keep_alive_applications.is_empty() {
            let lost_after = self.settings.classes.get(self.table.hot[row as usize].class as usize);
            let until = self.now + lost_after.map_or(Duration::ZERO, |class| class.lost_after);
            let now = self.now;
            let containers = self.table.cold_mut(row).containers.get_or_insert_default();
            containers.expire_keep_alives(now);
            for application_id in details.keep_alive_applications.iter() {
                containers.keep_alive(application_id.to_native(), until);
            }
        }
        for update in details.increased_containers.iter() {
            let id = update.container_id.to_native();
            let containers = self.table.cold(row).containers.as_ref();
            if containers.is_some_and(|containers| containers.is_live(&id)) {
                self.tell_increased(row, id);
            }
        }
        let mut diagnostics = String::new();
        if let Some(labels) = details.node_labels.as_ref() {
            extra.are_node_labels_accepted = self.set_labels(row, labels, &mut diagnostics);
        }
        if let Some(attributes) = details.node_attributes.as_ref() {
            extra.are_node_attributes_accepted = self.set_attributes(row, attributes, &mut diagnostics);
        }
        if !diagnostics.is_empty() {
            extra.updates().diagnostics = diagnostics;
        }
    }

    /// While a roll-over is pending, the next key goes to every node that does not have it.
    fn add_next_keys(&self, body: &ArchivedNodeHeartbeatRequest, extra: &mut Extra) {
        if !self.has_next_keys {
            return;
        }
        let next = |keys: &KeyPair, has: u32| {
            let (key_id, bytes) = keys.next.as_ref()?;
            (*key_id != has).then(|| MasterKey { key_id: *key_id, bytes: bytes.to_vec() })
        };
        let container = next(&self.settings.container_token_keys, body.container_token_key_id.to_native());
        let nm = next(&self.settings.nm_token_keys, body.nm_token_key_id.to_native());
        if container.is_some() || nm.is_some() {
            let updates = extra.updates();
            updates.container_token_master_key = container;
            updates.nm_token_master_key = nm;
        }
    }
}

#[inline]
const fn digest(count: u32, hash: u64) -> ContainersDigest {
    ContainersDigest { count, hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_ids_wrap_as_yarns() {
        assert_eq!(next_response_id(0), 1);
        assert_eq!(next_response_id(0x7fff_ffff), 0);
    }

    #[test]
    fn slots_are_spread_and_bounded() {
        let mut slots = ResyncSlots::new(1_000);
        let now = Instant::from_millis(5_000);
        let taken: Vec<u32> = (0..5).map(|_| slots.take(now)).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        let later = Instant::from_millis(60_000);
        assert_eq!(slots.take(later), 0, "slots in the past are not given out");
        for _ in 0..1_000_000 {
            assert!(slots.take(later) < 600_000);
        }
    }
}

//! Registration: checks in YARN's order, then new, returning and reconnecting nodes; and un-registration.
//! Owns: the rules of RegisterNodeManager and UnRegisterNodeManager. Called by: the shard's entry. Thread: the shard's.
//! Does not: decide what a refused node does (it stops).
//! Invariants: every accepted registration has a new handle, and the one before is dead; a refused one changes nothing.
//! Source: YARN ResourceTrackerService.registerNodeManager, RMNodeImpl (Add, Reconnect).

use heddle_wire::limits::CONTAINERS_PER_NODE_MAX;
use heddle_wire::record::{
    ArchivedNmContainerStatus, ArchivedNodeAttribute, ArchivedNodeLabel, MasterKey, NodeAction, NodeHandle,
    NodeState, routing_key,
};
use heddle_wire::resource_tracker::{
    ArchivedRegisterNodeManagerRequest, RegisterNodeManagerRequest, RegisterNodeManagerResponse,
    UnRegisterNodeManagerRequest, UnRegisterNodeManagerResponse,
};
use heddle_wire::{FrameHeader, Opcode, PROTOCOL_MINOR, Reject, RejectCode, access};
use rkyv::vec::ArchivedVec;

use super::containers::Report;
use super::liveliness::class_of;
use super::node_table::{Attribute, Label, RowFlags, next_generation};
use super::rm_node::RmNodeEvent;
use super::{Outbox, Shard, resource};
use crate::engine::batch::{AnswerBatch, FrameBatch, FrameRef};
use crate::engine::event::{KeyPair, RemovedReason, Resource};

/// The only prefix a node may report attributes under.
const NM_ATTRIBUTE_PREFIX: &str = "nm.yarn.io";

/// How a registration relates to what the table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No record: new, or the ResourceManager was restarted.
    New,
    /// The record is inactive: what ran there was written off.
    Returning,
    /// The record is active, the node keeps applications.
    Reconnected,
    /// The record is active, the node comes back empty.
    ReconnectedEmpty,
    /// The record is active, the node comes back empty with another web port: as if it were another node.
    Replaced,
}

impl Shard {
    pub(super) fn register(
        &mut self,
        batch: &FrameBatch,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) {
        let body = super::body_of(batch, frame);
        let request = match access::<RegisterNodeManagerRequest>(body).and_then(|it| it.check().map(|()| it))
        {
            Ok(request) => request,
            Err(error) => {
                self.reject(Opcode::RegisterNodeManager, header, frame, answers, &Reject::from(&error));
                return;
            }
        };
        let (host, port): (&str, u16) = (&request.node_id.host, request.node_id.port.to_native());
        let key = routing_key(host, port);
        let shard_count = u64::from(self.settings.shard_count.max(1));
        if header.routing_key != key {
            let accepted = format!("{key:#018x}, FNV-1a of {host}:{port}");
            self.reject_route(header, frame, answers, header.routing_key, &accepted);
            return;
        }
        if key % shard_count != u64::from(self.settings.shard) {
            let accepted = format!("a key of shard {} of {shard_count}", self.settings.shard);
            self.reject_route(header, frame, answers, key, &accepted);
            return;
        }
        let existing = self.table.find(host, port);
        if let Some(row) = existing {
            let hot = &self.table.hot[row as usize];
            if hot.state.is_active() && hot.peer != frame.peer {
                self.reject_peer(header, frame, answers, row, out);
                return;
            }
        }
        if let Err(text) = self.check_registration(request, existing) {
            self.refuse_registration(header, frame, answers, host, port, text, out);
            return;
        }
        let kind = match existing {
            None => Kind::New,
            Some(row) => self.kind_of(row, request),
        };
        let row = match existing {
            Some(row) => row,
            None => {
                if self.table.is_full()
                    && let Some(oldest) = self.table.oldest_inactive()
                {
                    self.forget_inactive(oldest);
                }
                let Some(row) = self.table.insert(host, port) else {
                    let text = format!(
                        "the node table is full: {} rows, all of active nodes (nodes_max)",
                        self.table.len()
                    );
                    self.refuse_registration(header, frame, answers, host, port, text, out);
                    return;
                };
                self.begin_row(row);
                row
            }
        };
        let response = self.accept(row, kind, request, frame, out);
        self.counters.registrations += 1;
        self.answer(header, frame, answers, &response);
    }

    fn kind_of(&self, row: u32, request: &ArchivedRegisterNodeManagerRequest) -> Kind {
        let hot = &self.table.hot[row as usize];
        if !hot.state.is_active() {
            return Kind::Returning;
        }
        if !request.running_applications.is_empty() {
            return Kind::Reconnected;
        }
        let has_other_port = self.table.cold(row).http_port != request.http_port.to_native();
        // Differs from YARN: the exemption for DECOMMISSIONING nodes is applied to the record we have. YARN tests the
        // new one, which is never DECOMMISSIONING, and so brings a node back that is being emptied.
        if has_other_port && hot.state != NodeState::Decommissioning {
            Kind::Replaced
        } else {
            Kind::ReconnectedEmpty
        }
    }

    /// The checks, in YARN's order. The text is for the node's log.
    fn check_registration(
        &self,
        request: &ArchivedRegisterNodeManagerRequest,
        existing: Option<u32>,
    ) -> Result<(), String> {
        let host: &str = &request.node_id.host;
        let minimum = &self.settings.minimum;
        if let Some(least) = minimum.nm_version.as_deref() {
            let version: &str = &request.nm_version;
            if !is_version_at_least(version, least) {
                return Err(format!("Disallowed NodeManager version {version:?}, the minimum is {least}"));
            }
        }
        let is_draining =
            existing.is_some_and(|row| self.table.hot[row as usize].state == NodeState::Decommissioning);
        if !is_draining && !self.settings.lists.is_valid(host) {
            return Err(format!("Disallowed NodeManager from {host}, the lists do not allow it"));
        }
        let memory_mb = request.capability.memory_mb.to_native();
        let virtual_cores = request.capability.virtual_cores.to_native();
        if memory_mb < minimum.memory_mb || virtual_cores < minimum.virtual_cores {
            return Err(format!(
                "NodeManager from {host} doesn't satisfy minimum allocations: it offers {memory_mb} MiB and \
                 {virtual_cores} vcores, accepted are at least {} MiB and {} vcores",
                minimum.memory_mb, minimum.virtual_cores
            ));
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call site per refusal; a struct would only rename the list"
    )]
    fn refuse_registration(
        &mut self,
        header: &FrameHeader,
        frame: &FrameRef,
        answers: &mut AnswerBatch,
        host: &str,
        port: u16,
        text: String,
        out: &mut Outbox,
    ) {
        self.counters.registrations_refused += 1;
        self.notice(out, true, None, || format!("registration of {host}:{port} refused: {text}"));
        let response = RegisterNodeManagerResponse {
            node_action: NodeAction::Shutdown,
            node_handle: NodeHandle(0),
            rm_identifier: 0,
            rm_version: String::new(),
            protocol_minor: 0,
            features: 0,
            heartbeat_interval_ms: 0,
            next_heartbeat_ms: 0,
            phase_ms: 0,
            lease_ms: 0,
            container_token_master_key: None,
            nm_token_master_key: None,
            capability: None,
            are_node_labels_accepted: false,
            are_node_attributes_accepted: false,
            diagnostics: text,
        };
        self.answer(header, frame, answers, &response);
    }

    fn accept(
        &mut self,
        row: u32,
        kind: Kind,
        request: &ArchivedRegisterNodeManagerRequest,
        frame: &FrameRef,
        out: &mut Outbox,
    ) -> RegisterNodeManagerResponse {
        match kind {
            Kind::New | Kind::Reconnected => {}
            Kind::Returning => self.renew(row),
            Kind::ReconnectedEmpty | Kind::Replaced => {
                self.tell_removed(row, RemovedReason::Reconnected);
                self.drop_contents(row);
            }
        }
        self.clear_suspect(row);
        let (are_node_labels_accepted, are_node_attributes_accepted, diagnostics) =
            self.describe(row, kind, request, frame);
        let is_healthy = request.node_status.as_ref().is_none_or(|status| status.is_node_healthy);
        match kind {
            Kind::New | Kind::Returning | Kind::Replaced => {
                if kind == Kind::Replaced {
                    self.become_new(row);
                }
                self.raise(row, RmNodeEvent::Started { is_healthy }, out);
                self.remember_applications(row, request);
                self.tell_added(row);
                // A node that this ResourceManager wrote off, or that came back empty, is not believed: what still
                // runs there shows up by its first digest, unknown to the scheduler.
                if kind == Kind::New && is_healthy {
                    self.take_registered_containers(row, request, out);
                }
            }
            Kind::ReconnectedEmpty => {
                let event = RmNodeEvent::Reconnected { has_running_applications: false };
                self.raise(row, event, out);
                if self.table.hot[row as usize].state.is_active() {
                    self.tell_added(row);
                }
            }
            Kind::Reconnected => {
                self.restart_commands(row, |id| {
                    request.container_statuses.iter().any(|status| status.container_id.to_native() == *id)
                });
                let event = RmNodeEvent::Reconnected { has_running_applications: true };
                self.raise(row, event, out);
                self.remember_applications(row, request);
                if self.table.hot[row as usize].state != NodeState::Unhealthy {
                    self.take_registered_containers(row, request, out);
                }
                // At least the new handle.
                self.event(row);
            }
        }
        let hot = self.table.hot[row as usize];
        let interval_ms = self.pacing.interval_ms();
        let phase_ms = self.phase_ms(row, interval_ms);
        let next_heartbeat_ms = self.pacing.first_ms(interval_ms, phase_ms);
        let stored = &mut self.table.hot[row as usize];
        (stored.interval_ms, stored.next_ms) = (interval_ms, next_heartbeat_ms);
        RegisterNodeManagerResponse {
            node_action: NodeAction::Normal,
            node_handle: self.table.handle(row),
            rm_identifier: self.settings.rm_identifier,
            rm_version: self.settings.rm_version.to_string(),
            protocol_minor: lower(request.protocol_minor.to_native(), PROTOCOL_MINOR),
            features: 0,
            heartbeat_interval_ms: interval_ms,
            next_heartbeat_ms,
            phase_ms,
            lease_ms: self.lease_ms(hot.class),
            container_token_master_key: current_key(&self.settings.container_token_keys),
            nm_token_master_key: current_key(&self.settings.nm_token_keys),
            capability: None,
            are_node_labels_accepted,
            are_node_attributes_accepted,
            diagnostics,
        }
    }

    /// Writes down what the node says of itself, under a new handle. Returns what became of labels and attributes.
    fn describe(
        &mut self,
        row: u32,
        kind: Kind,
        request: &ArchivedRegisterNodeManagerRequest,
        frame: &FrameRef,
    ) -> (bool, bool, String) {
        let class = class_of(&self.settings.classes, &request.node_id.host);
        let last_seen = self.live_now();
        let hot = &mut self.table.hot[row as usize];
        hot.generation = next_generation(hot.generation);
        hot.peer = frame.peer;
        hot.stream = frame.stream;
        hot.last_seen = last_seen;
        hot.response_id = 0;
        hot.class = class;
        hot.flags.clear(RowFlags::ANSWERED.or(RowFlags::STORED_ANSWER).or(RowFlags::IN_FULL_REPORT));
        hot.flags.clear(RowFlags::TELL_CAPABILITY);
        self.mark_by_lists(row);

        let table = &mut self.table;
        let rack = table.texts.intern(&*request.rack_name, || (*request.rack_name).into());
        let version = table.texts.intern(&*request.nm_version, || (*request.nm_version).into());
        let cold = table.cold_mut(row);
        cold.http_port = request.http_port.to_native();
        let old = (core::mem::replace(&mut cold.rack, rack), core::mem::replace(&mut cold.version, version));
        table.texts.release(old.0);
        table.texts.release(old.1);
        let physical = request.physical_resource.as_ref().map(resource::from_archived).unwrap_or_default();
        let physical = table.resources.intern(&physical, || physical.clone());
        let old = core::mem::replace(&mut table.warm[row as usize].physical, physical);
        table.resources.release(old);
        if let Some(status) = request.node_status.as_ref() {
            self.set_health_report(row, &status.health_report, status.last_health_report_time_ms.to_native());
        }
        let capability = resource::from_archived(&request.capability);
        if *self.table.capability(row) != capability {
            self.set_capability(row, capability);
            // For every other kind `added` follows and says it.
            if kind == Kind::Reconnected {
                self.tell_capability(row);
            }
        }
        let mut diagnostics = String::new();
        let labels = request.node_labels.as_ref();
        let labels = labels.is_some_and(|labels| self.set_labels(row, labels, &mut diagnostics));
        let attributes = request.node_attributes.as_ref();
        let attributes =
            attributes.is_some_and(|attributes| self.set_attributes(row, attributes, &mut diagnostics));
        (labels, attributes, diagnostics)
    }

    /// Replaces a node's capability, keeping the totals right.
    pub(super) fn set_capability(&mut self, row: u32, capability: Resource) {
        let id = self.table.resources.intern(&capability, || capability.clone());
        let is_running = self.table.hot[row as usize].state == NodeState::Running;
        let old = core::mem::replace(&mut self.table.warm[row as usize].capability, id);
        if is_running {
            self.count_capability(old, false);
            self.count_capability(id, true);
        }
        self.table.resources.release(old);
    }

    /// Keeps what a node says of its health. An empty text costs no memory.
    pub(super) fn set_health_report(&mut self, row: u32, text: &str, time_ms: u64) {
        let cold = self.table.cold_mut(row);
        cold.health_time_ms = time_ms;
        if cold.health_report.as_ref().map_or("", |kept| kept.as_ref()) != text {
            cold.health_report = (!text.is_empty()).then(|| Box::new(text.into()));
        }
    }

    /// Replaces a node's labels, if it may report them and all are well-formed.
    pub(super) fn set_labels(
        &mut self,
        row: u32,
        labels: &ArchivedVec<ArchivedNodeLabel>,
        diagnostics: &mut String,
    ) -> bool {
        if !self.settings.distributed_labels {
            add(diagnostics, "node labels are set centrally, the node's are not used");
            return false;
        }
        if let Some(bad) = labels.iter().find(|label| !is_name(&label.name)) {
            add(
                diagnostics,
                &format!("label {:?} is not of the form [0-9a-zA-Z][0-9a-zA-Z_.-]*", &*bad.name),
            );
            return false;
        }
        let mut labels: Vec<Label> = labels
            .iter()
            .map(|label| Label { name: (*label.name).into(), is_exclusive: label.is_exclusive })
            .collect();
        labels.sort_by(|left, right| left.name.cmp(&right.name));
        labels.dedup_by(|later, earlier| later.name == earlier.name);
        let labels: Box<[Label]> = labels.into();
        let id = self.table.labels.intern(&labels, || labels.clone());
        let old = core::mem::replace(&mut self.table.cold_mut(row).labels, id);
        // Interned: equal sets have equal ids.
        if old != id {
            self.tell_labels(row);
        }
        self.table.labels.release(old);
        true
    }

    /// Replaces a node's attributes, if every one has the prefix `nm.yarn.io` and is well-formed.
    pub(super) fn set_attributes(
        &mut self,
        row: u32,
        attributes: &ArchivedVec<ArchivedNodeAttribute>,
        diagnostics: &mut String,
    ) -> bool {
        if !self.settings.distributed_labels {
            add(diagnostics, "node attributes are set centrally, the node's are not used");
            return false;
        }
        let is_good = |attribute: &ArchivedNodeAttribute| {
            attribute.prefix == NM_ATTRIBUTE_PREFIX
                && is_name(&attribute.name)
                && attribute.value.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if let Some(bad) = attributes.iter().find(|attribute| !is_good(attribute)) {
            let (prefix, name): (&str, &str) = (&bad.prefix, &bad.name);
            add(
                diagnostics,
                &format!(
                    "attribute {prefix:?}/{name:?}: accepted are prefix {NM_ATTRIBUTE_PREFIX}, a name of the form \
                     [0-9a-zA-Z][0-9a-zA-Z_.-]* and a visible ASCII value"
                ),
            );
            return false;
        }
        let mut attributes: Vec<Attribute> = attributes
            .iter()
            .map(|attribute| Attribute { name: (*attribute.name).into(), value: (*attribute.value).into() })
            .collect();
        attributes.sort_by(|left, right| left.name.cmp(&right.name));
        attributes.dedup_by(|later, earlier| later.name == earlier.name);
        let attributes: Box<[Attribute]> = attributes.into();
        let id = self.table.attributes.intern(&attributes, || attributes.clone());
        let old = core::mem::replace(&mut self.table.cold_mut(row).attributes, id);
        self.table.attributes.release(old);
        true
    }

    fn remember_applications(&mut self, row: u32, request: &ArchivedRegisterNodeManagerRequest) {
        if request.running_applications.is_empty() {
            return;
        }
        let containers = self.table.cold_mut(row).containers.get_or_insert_default();
        for application_id in request.running_applications.iter() {
            containers.remember_application(application_id.to_native());
        }
    }

    /// The container list of a registration is a full report. More than the shard keeps of a node is left out with a
    /// notice: the digest of the first beat brings it up again.
    fn take_registered_containers(
        &mut self,
        row: u32,
        request: &ArchivedRegisterNodeManagerRequest,
        out: &mut Outbox,
    ) {
        self.begin_full_report(row);
        let mut room = (CONTAINERS_PER_NODE_MAX - self.containers_known(row)).min(self.completions_left(row));
        let mut left_out = 0;
        // Looked up before any is taken in: an id that is named twice costs its room twice, and no more than that.
        let fits = |status: &&ArchivedNmContainerStatus| {
            let containers = self.table.cold(row).containers.as_ref();
            let is_known = containers.is_some_and(|it| it.is_known(&status.container_id.to_native()));
            if !is_known && room == 0 {
                left_out += 1;
                return false;
            }
            room -= usize::from(!is_known);
            true
        };
        let kept: Vec<_> = request.container_statuses.iter().filter(fits).collect();
        self.take_reports(row, kept.into_iter().map(Report::from));
        if left_out > 0 {
            self.notice(out, true, Some(row), || {
                format!("{left_out} containers beyond {CONTAINERS_PER_NODE_MAX} were left out")
            });
        }
        self.finish_full_report(row);
    }

    /// Containers the shard knows of a node, live and completed.
    fn containers_known(&self, row: u32) -> usize {
        let containers = self.table.cold(row).containers.as_ref();
        containers.map_or(0, |containers| containers.len()).min(CONTAINERS_PER_NODE_MAX)
    }

    pub(super) fn unregister(
        &mut self,
        batch: &FrameBatch,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) {
        let handle = NodeHandle(header.routing_key);
        if handle.shard() != self.settings.shard {
            let accepted = format!("a handle of shard {}", self.settings.shard);
            self.reject_route(header, frame, answers, handle.0, &accepted);
            return;
        }
        let body = super::body_of(batch, frame);
        let request =
            match access::<UnRegisterNodeManagerRequest>(body).and_then(|it| it.check().map(|()| it)) {
                Ok(request) => request,
                Err(error) => {
                    self.reject(Opcode::UnRegisterNodeManager, header, frame, answers, &Reject::from(&error));
                    return;
                }
            };
        if request.node_handle.0.to_native() != handle.0 {
            let text = "node_handle is not the routing key of its frame";
            self.reject(header.opcode, header, frame, answers, &Reject::new(RejectCode::WrongRoute, text));
            return;
        }
        let row = self.table.row_of(handle).filter(|row| {
            let hot = &self.table.hot[*row as usize];
            hot.generation == handle.generation() && hot.state.is_active()
        });
        if let Some(row) = row {
            if self.table.hot[row as usize].peer != frame.peer {
                self.reject_peer(header, frame, answers, row, out);
                return;
            }
            let reason: &str = &request.reason;
            self.notice(out, false, Some(row), || format!("un-registered: {reason}"));
            self.raise(row, RmNodeEvent::Shutdown, out);
        }
        let response = UnRegisterNodeManagerResponse { was_known: row.is_some() };
        self.answer(header, frame, answers, &response);
    }
}

/// The key in force, as it goes to a node.
fn current_key(keys: &KeyPair) -> Option<MasterKey> {
    keys.current.as_ref().map(|(key_id, bytes)| MasterKey { key_id: *key_id, bytes: bytes.to_vec() })
}

const fn lower(left: u16, right: u16) -> u16 {
    if left < right { left } else { right }
}

fn add(diagnostics: &mut String, text: &str) {
    if !diagnostics.is_empty() {
        diagnostics.push_str("; ");
    }
    diagnostics.push_str(text);
}

/// YARN's form of label and attribute names.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Compares `major.minor.patch` by its numbers; missing ones are 0. With equal numbers a version with a suffix
/// (`-SNAPSHOT`, `-alpha1`) is older than one without. What is not of this form is older than everything.
fn is_version_at_least(version: &str, least: &str) -> bool {
    let (Some(version), Some(least)) = (version_parts(version), version_parts(least)) else { return false };
    version >= least
}

fn version_parts(text: &str) -> Option<([u64; 4], bool)> {
    let (numbers, suffix) = text.split_once('-').map_or((text, ""), |(numbers, suffix)| (numbers, suffix));
    let mut parts = [0; 4];
    let mut places = parts.iter_mut();
    for number in numbers.split('.') {
        *places.next()? = number.parse().ok()?;
    }
    Some((parts, suffix.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (version, least, expected) in [
            ("3.4.0", "3.4.0", true),
            ("3.4.10", "3.4.9", true),
            ("3.3.6", "3.4.0", false),
            ("3.4", "3.4.0", true),
            ("4", "3.9.9", true),
            ("3.4.0-SNAPSHOT", "3.4.0", false),
            ("3.4.1-SNAPSHOT", "3.4.0", true),
            ("", "0.0.1", false),
            ("abc", "0", false),
            ("1.2.3.4.5", "0", false),
        ] {
            assert_eq!(is_version_at_least(version, least), expected, "{version} >= {least}");
        }
    }

    #[test]
    fn names_are_yarns() {
        for (name, expected) in [("gpu", true), ("a-b_c.d", true), ("", false), ("-a", false), ("a b", false)]
        {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }
}

//! What nodes send: registrations, beats, requests once more, farewells.
//! Owns: their writing. Called by: the driver's loop, with what [`Fleet::due`] named. Thread: the fleet's.
//! Does not: decide when a node is due, or take answers in. Invariant: a request that is out is repeated byte for byte.

use heddle_wire::record::{ContainersDigest, NodeAttribute, NodeId, NodeLabel};
use heddle_wire::resource_tracker::{RegisterNodeManagerRequest, UnRegisterNodeManagerRequest};
use heddle_wire::{Flags, write_frame};

use super::frame::{self, COPY, Plain, correlation_id};
use super::row::{AWAITING, FULL_REPORT, PAUSED, REPEAT, STALE, Stage};
use super::{Fleet, to_ms};

/// Container-management port of every simulated NodeManager.
const NM_PORT: u16 = 45_454;

/// Nodes of a rack.
const RACK_SIZE: u32 = 40;

/// What [`Fleet::write`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it was.
    pub kind: WrittenKind,
    /// How long after its planned time, microseconds.
    pub late_us: u64,
}

/// What kind of request was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenKind {
    /// Nothing: the node is stopped, paused or already waits for its answer.
    Nothing,
    /// A registration.
    Registration,
    /// A beat, for the first time.
    Beat,
    /// A request again, with the same ids.
    Retry,
}

impl Fleet {
    /// Writes what the node has to send: its registration, its next beat, or the request that is out once more.
    ///
    /// Cost: a copy of [`PLAIN_BEAT_SIZE`](super::PLAIN_BEAT_SIZE) bytes for a node with nothing to say.
    #[inline]
    pub fn write(&mut self, node: u32, now_us: u64, out: &mut Vec<u8>) -> Written {
        let row = &self.rows[node as usize];
        let late_us = now_us.saturating_sub(row.planned_us);
        let written = |kind| Written { kind, late_us };
        if row.has(PAUSED) {
            return written(WrittenKind::Nothing);
        }
        let is_retry = row.has(AWAITING);
        let kind = match row.stage {
            Stage::Unregistered | Stage::Stopped => return written(WrittenKind::Nothing),
            Stage::Registering => {
                self.write_registration(node, out);
                self.counters.registrations_sent += 1;
                if is_retry { WrittenKind::Retry } else { WrittenKind::Registration }
            }
            Stage::Registered if is_retry => {
                self.write_again(node, out);
                WrittenKind::Retry
            }
            Stage::Registered => {
                self.write_beat(node, now_us, out);
                WrittenKind::Beat
            }
        };
        let row = &mut self.rows[node as usize];
        if is_retry {
            self.counters.retries += 1;
            self.counters.timeouts += u64::from(!row.has(REPEAT));
            row.flags &= !REPEAT;
        }
        row.sent_ms = to_ms(now_us);
        row.flags |= AWAITING;
        written(kind)
    }

    fn write_beat(&mut self, node: u32, now_us: u64, out: &mut Vec<u8>) {
        self.counters.beats_sent += 1;
        let start = out.len();
        let row = &mut self.rows[node as usize];
        let mut response_id = row.response_id;
        if self.spec.stale_ppm > 0 && response_id > 2 && self.chance.hits(self.spec.stale_ppm) {
            response_id -= 2;
            row.flags |= STALE;
            self.counters.stale_sent += 1;
        }
        let correlation_id = correlation_id(node, response_id);
        if self.containers.is_empty() {
            let plain = Plain { correlation_id, response_id, digest: ContainersDigest::default() };
            self.template.write(row, plain, out);
        } else {
            if self.spec.churn_ppm > 0 {
                self.churn(node);
            }
            self.write_containers(node, correlation_id, response_id, out);
            if let Some(host) = self.host.as_deref_mut() {
                let freed = self.containers[node as usize].freed();
                if freed != (0, 0) {
                    host.freed(node, now_us, freed);
                }
            }
        }
        if self.spec.duplicate_ppm > 0 && self.chance.hits(self.spec.duplicate_ppm) {
            let end = out.len();
            out.extend_from_within(start..end);
            heddle_wire::frame::set_correlation_id(&mut out[end..], correlation_id | COPY);
            self.counters.copies_sent += 1;
        }
    }

    fn write_containers(&mut self, node: u32, correlation_id: u64, response_id: u32, out: &mut Vec<u8>) {
        let row = &mut self.rows[node as usize];
        let containers = &mut self.containers[node as usize];
        let is_full_report = row.has(FULL_REPORT) || containers.is_reporting();
        if !is_full_report && containers.has_nothing_to_say() {
            containers.fill_plain();
            let digest = containers.digest();
            self.template.write(row, Plain { correlation_id, response_id, digest }, out);
            return;
        }
        let beat = &mut self.scratch;
        let statuses = core::mem::take(&mut beat.container_statuses);
        *beat = frame::empty_beat(row, response_id, containers.digest());
        beat.container_statuses = statuses;
        containers.fill(is_full_report, beat);
        row.flags &= !FULL_REPORT;
        let start = out.len();
        write_frame(out, Flags::REQUEST, correlation_id, row.handle, beat);
        containers.in_flight.clear();
        containers.in_flight.extend_from_slice(&out[start..]);
    }

    fn write_again(&self, node: u32, out: &mut Vec<u8>) {
        let row = &self.rows[node as usize];
        let response_id = if row.has(STALE) { row.response_id - 2 } else { row.response_id };
        let containers = self.containers.get(node as usize);
        match containers.filter(|containers| !containers.in_flight.is_empty()) {
            Some(containers) => out.extend_from_slice(&containers.in_flight),
            None => {
                let digest =
                    containers.map_or_else(ContainersDigest::default, |known| known.digest_in_flight);
                let correlation_id = correlation_id(node, response_id);
                self.template.write(row, Plain { correlation_id, response_id, digest }, out);
            }
        }
    }

    /// What a node is called.
    pub(super) fn node_id(&self, node: u32) -> NodeId {
        NodeId::new(self.spec.capacities.host_of(self.spec.first_node + node), NM_PORT)
    }

    fn write_registration(&mut self, node: u32, out: &mut Vec<u8>) {
        let index = self.spec.first_node + node;
        let capacity = self.spec.capacities.of(index);
        let mut request = RegisterNodeManagerRequest {
            http_port: 8_042,
            protocol_minor: heddle_wire::PROTOCOL_MINOR,
            features: 0,
            rack_name: capacity
                .rack
                .as_ref()
                .map_or_else(|| format!("/rack-{:04}", index / RACK_SIZE), ToString::to_string),
            nm_version: env!("CARGO_PKG_VERSION").to_owned(),
            capability: capacity.to_resource(),
            physical_resource: None,
            node_status: None,
            container_statuses: Vec::new(),
            running_applications: Vec::new(),
            node_labels: capacity
                .label
                .as_ref()
                .map(|label| vec![NodeLabel { name: label.to_string(), is_exclusive: true }]),
            node_attributes: (!capacity.model.is_empty()).then(|| {
                let (prefix, name) = ("nm.yarn.io".to_owned(), "gpu-model".to_owned());
                vec![NodeAttribute { prefix, name, value: capacity.model.to_string() }]
            }),
            log_aggregation_reports: Vec::new(),
            node_id: self.node_id(node),
        };
        if let Some(containers) = self.containers.get_mut(node as usize) {
            containers.register(&mut request.container_statuses, &mut request.running_applications);
        }
        let routing_key = request.node_id.routing_key();
        write_frame(out, Flags::REQUEST, u64::from(node), routing_key, &request);
    }

    /// Writes the farewell of a registered node and stops it. False when there is nothing to say.
    pub fn write_unregistration(&mut self, node: u32, reason: &str, out: &mut Vec<u8>) -> bool {
        let row = self.rows[node as usize];
        if row.stage != Stage::Registered {
            return false;
        }
        let request = UnRegisterNodeManagerRequest {
            node_handle: heddle_wire::record::NodeHandle(row.handle),
            reason: reason.to_owned(),
        };
        write_frame(out, Flags::REQUEST, u64::from(node), row.handle, &request);
        self.stop(node);
        true
    }
}

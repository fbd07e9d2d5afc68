//! A ResourceManager of one page, for tests: response ids, deltas, digest, removal of what is complete.
//! Owner: the test that made it. Called by: the fleet's and the driver's tests. Does not: expire, refuse or schedule.
//! Invariant: it asserts what a NodeManager owes it, so that a test fails where the fleet breaks the protocol.

use std::collections::{BTreeMap, BTreeSet};

use heddle_wire::frame::Frame;
use heddle_wire::limits::CONTAINER_STATUSES_MAX;
use heddle_wire::record::{
    ContainerId, ContainerState, ContainersDigest, MasterKey, NodeAction, NodeHandle, NodeId,
};
use heddle_wire::resource_tracker::{
    NodeCommands, NodeHeartbeatRequest, NodeHeartbeatResponse, RegisterNodeManagerRequest,
    RegisterNodeManagerResponse, UnRegisterNodeManagerResponse,
};
use heddle_wire::{Flags, Opcode, decode, write_frame};

use super::RESPONSE_ID_MASK;

pub(crate) const INTERVAL_MS: u32 = 1_000;
pub(crate) const LEASE_MS: u32 = 20_000;

/// What the model keeps of one node.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) node_id: Option<NodeId>,
    pub(crate) response_id: u32,
    pub(crate) last_answer: Vec<u8>,
    pub(crate) running: BTreeSet<ContainerId>,
    pub(crate) completed: BTreeSet<ContainerId>,
    pub(crate) reported: BTreeSet<ContainerId>,
    pub(crate) is_reporting: bool,
    pub(crate) wants_full_report: bool,
    pub(crate) orders: NodeCommands,
    pub(crate) acknowledged: u32,
}

/// A ResourceManager of one page: response ids, deltas, digest, removal of what is complete.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) nodes: BTreeMap<u64, Known>,
    pub(crate) starts: u64,
    pub(crate) rows: u32,
    pub(crate) mismatches: u32,
    pub(crate) removes: bool,
    /// Secret of the key for container tokens, number 1; empty for none.
    pub(crate) secret: Vec<u8>,
    /// Containers reported complete for the first time: node, container, exit status. Kept where `removes` is off.
    pub(crate) ended: Vec<(u64, ContainerId, i32)>,
}

impl Model {
    pub(crate) fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let frame = Frame::from_slice(bytes).unwrap();
        let (correlation, key) = (frame.header.correlation_id, frame.header.routing_key);
        match frame.header.opcode {
            Opcode::RegisterNodeManager => {
                let request: RegisterNodeManagerRequest = decode(frame.body()).unwrap();
                assert_eq!(key, request.node_id.routing_key());
                assert_eq!(
                    heddle_wire::access::<RegisterNodeManagerRequest>(frame.body()).unwrap().check(),
                    Ok(())
                );
                self.rows += 1;
                let handle = NodeHandle::new(0, self.rows, self.starts as u32 + 1);
                let mut known = Known { node_id: Some(request.node_id), ..Known::default() };
                for status in &request.container_statuses {
                    let is_complete = status.container_state == ContainerState::Complete;
                    let set = if is_complete { &mut known.completed } else { &mut known.running };
                    assert!(set.insert(status.container_id));
                }
                self.nodes.insert(handle.0, known);
                let answer = RegisterNodeManagerResponse {
                    node_action: NodeAction::Normal,
                    node_handle: handle,
                    rm_identifier: self.starts,
                    rm_version: String::new(),
                    protocol_minor: 0,
                    features: 0,
                    heartbeat_interval_ms: INTERVAL_MS,
                    next_heartbeat_ms: (self.rows * 37) % INTERVAL_MS,
                    phase_ms: 0,
                    lease_ms: LEASE_MS,
                    container_token_master_key: (!self.secret.is_empty())
                        .then(|| MasterKey { key_id: 1, bytes: self.secret.clone() }),
                    nm_token_master_key: None,
                    capability: None,
                    are_node_labels_accepted: false,
                    are_node_attributes_accepted: false,
                    diagnostics: String::new(),
                };
                write_frame(out, Flags::RESPONSE, correlation, key, &answer);
            }
            Opcode::NodeHeartbeat => self.beat(&frame, out),
            Opcode::UnRegisterNodeManager => {
                let was_known = self.nodes.remove(&key).is_some();
                let answer = UnRegisterNodeManagerResponse { was_known };
                write_frame(out, Flags::RESPONSE, correlation, key, &answer);
            }
            other => panic!("{}", other.name()),
        }
    }

    fn beat(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let (correlation, key) = (frame.header.correlation_id, frame.header.routing_key);
        assert_eq!(heddle_wire::access::<NodeHeartbeatRequest>(frame.body()).unwrap().check(), Ok(()));
        let beat: NodeHeartbeatRequest = decode(frame.body()).unwrap();
        assert_eq!(beat.node_handle.0, key);
        let resync = NodeHeartbeatResponse {
            node_action: NodeAction::Resync,
            next_heartbeat_ms: 50,
            ..Default::default()
        };
        let Some(known) = self.nodes.get_mut(&key) else {
            write_frame(out, Flags::RESPONSE, correlation, key, &resync);
            return;
        };
        if beat.response_id.wrapping_add(1) & RESPONSE_ID_MASK == known.response_id {
            let mut stored = known.last_answer.clone();
            heddle_wire::frame::set_correlation_id(&mut stored, correlation);
            out.extend_from_slice(&stored);
            return;
        }
        if beat.response_id != known.response_id {
            self.nodes.remove(&key);
            write_frame(out, Flags::RESPONSE, correlation, key, &resync);
            return;
        }
        known.acknowledged = known.acknowledged.max(beat.acknowledged_command);
        if known.acknowledged >= known.orders.last_sequence {
            known.orders.containers_to_be_removed_from_nm.clear();
            known.orders.containers_to_cleanup.clear();
            known.orders.containers_to_launch.clear();
            known.orders.applications_to_cleanup.clear();
        }
        if beat.is_full_report && !known.is_reporting {
            known.is_reporting = true;
            known.reported.clear();
        }
        assert!(beat.container_statuses.len() <= CONTAINER_STATUSES_MAX);
        for status in &beat.container_statuses {
            known.reported.insert(status.container_id);
            if status.state == ContainerState::Complete {
                known.running.remove(&status.container_id);
                if known.completed.insert(status.container_id) && !self.removes {
                    self.ended.push((key, status.container_id, status.exit_status));
                }
            } else {
                known.running.insert(status.container_id);
            }
        }
        if known.is_reporting && !beat.is_continued {
            known.is_reporting = false;
            let reported = core::mem::take(&mut known.reported);
            known.running.retain(|id| reported.contains(id));
        }
        let mut digest = ContainersDigest::default();
        known.running.iter().for_each(|id| digest.add(id));
        known.wants_full_report = !beat.is_continued && digest != beat.containers_digest;
        self.mismatches += u32::from(known.wants_full_report);
        if self.removes && !known.completed.is_empty() {
            known.orders.last_sequence += 1;
            known.orders.containers_to_be_removed_from_nm.extend(core::mem::take(&mut known.completed));
        }
        known.response_id = (known.response_id + 1) & RESPONSE_ID_MASK;
        let orders = &known.orders;
        let has_orders = !orders.containers_to_be_removed_from_nm.is_empty()
            || !orders.containers_to_cleanup.is_empty()
            || !orders.containers_to_launch.is_empty()
            || !orders.applications_to_cleanup.is_empty();
        let answer = NodeHeartbeatResponse {
            response_id: known.response_id,
            heartbeat_interval_ms: INTERVAL_MS,
            next_heartbeat_ms: INTERVAL_MS,
            lease_ms: LEASE_MS,
            is_full_report_requested: known.wants_full_report,
            commands: has_orders.then(|| Box::new(orders.clone())),
            ..Default::default()
        };
        known.last_answer.clear();
        write_frame(&mut known.last_answer, Flags::RESPONSE, correlation, key, &answer);
        out.extend_from_slice(&known.last_answer);
    }
}

//! Answers: the ones with nothing to say are filled into a prepared frame, the rest are serialised.
//! Owns: [`Templates`]. Called by: `heartbeat`, the shard's entry. Thread: the shard's.
//! Does not: decide what to answer. Invariant: a filled frame is byte for byte what serialising the record gives.

use core::mem::offset_of;

use heddle_wire::frame::{Flags, HEADER_SIZE, offset};
use heddle_wire::message::write_reject;
use heddle_wire::record::NodeAction;
use heddle_wire::resource_tracker::{ArchivedNodeHeartbeatResponse, NodeHeartbeatResponse, NodeUpdates};
use heddle_wire::{FrameHeader, Opcode, Reject, RejectCode, WriteMessage, write_frame};

use super::{Outbox, Shard};
use crate::engine::batch::{AnswerBatch, FrameRef};

/// Size of a frame whose body is a heartbeat answer without commands and updates.
const FIXED_SIZE: usize = HEADER_SIZE + size_of::<ArchivedNodeHeartbeatResponse>();

/// The numbers of a heartbeat answer that differ from node to node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) response_id: u32,
    pub(super) interval_ms: u32,
    pub(super) next_ms: u32,
    pub(super) phase_ms: u32,
    pub(super) lease_ms: u32,
}

/// Prepared heartbeat answers.
#[derive(Debug)]
pub(super) struct Templates {
    normal: [u8; FIXED_SIZE],
    /// RESYNC: the handle names no registration.
    pub(super) not_found: Prepared,
    /// RESYNC: the response id is out of step.
    pub(super) too_far_behind: Prepared,
    /// SHUTDOWN: taken out by an administrator.
    pub(super) decommissioned: Prepared,
    /// SHUTDOWN: not in the lists.
    pub(super) disallowed: Prepared,
}

/// A prepared frame with more in it than the record's fixed part; the root lies at its end.
#[derive(Debug)]
pub(super) struct Prepared(Box<[u8]>);

impl Prepared {
    fn new(node_action: NodeAction, diagnostics: &str) -> Self {
        let updates = NodeUpdates { diagnostics: diagnostics.to_owned(), ..NodeUpdates::default() };
        let response = NodeHeartbeatResponse {
            node_action,
            updates: Some(Box::new(updates)),
            ..NodeHeartbeatResponse::default()
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::RESPONSE, 0, 0, &response);
        Self(frame.into())
    }

    /// Appends the frame with the header's and the record's numbers filled in.
    pub(super) fn write(&self, out: &mut Vec<u8>, header: &FrameHeader, numbers: Numbers) {
        let start = out.len();
        out.extend_from_slice(&self.0);
        let frame = &mut out[start..];
        let root = frame.len() - size_of::<ArchivedNodeHeartbeatResponse>();
        fill(frame, root, header, numbers);
    }
}

#[inline]
fn fill(frame: &mut [u8], root: usize, header: &FrameHeader, numbers: Numbers) {
    let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
    put(offset::CORRELATION_ID, &header.correlation_id.to_le_bytes());
    put(offset::ROUTING_KEY, &header.routing_key.to_le_bytes());
    put(root + offset_of!(ArchivedNodeHeartbeatResponse, response_id), &numbers.response_id.to_le_bytes());
    put(
        root + offset_of!(ArchivedNodeHeartbeatResponse, heartbeat_interval_ms),
        &numbers.interval_ms.to_le_bytes(),
    );
    put(root + offset_of!(ArchivedNodeHeartbeatResponse, next_heartbeat_ms), &numbers.next_ms.to_le_bytes());
    put(root + offset_of!(ArchivedNodeHeartbeatResponse, phase_ms), &numbers.phase_ms.to_le_bytes());
    put(root + offset_of!(ArchivedNodeHeartbeatResponse, lease_ms), &numbers.lease_ms.to_le_bytes());
}

impl Templates {
    pub(super) fn new() -> Self {
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::RESPONSE, 0, 0, &NodeHeartbeatResponse::default());
        let mut normal = [0; FIXED_SIZE];
        normal.copy_from_slice(&frame);
        Self {
            normal,
            not_found: Prepared::new(
                NodeAction::Resync,
                "Node not found, resyncing: the handle names no current registration",
            ),
            too_far_behind: Prepared::new(
                NodeAction::Resync,
                "Too far behind: the response id does not follow the last answer, resyncing",
            ),
            decommissioned: Prepared::new(NodeAction::Shutdown, "The node is decommissioned"),
            disallowed: Prepared::new(
                NodeAction::Shutdown,
                "Disallowed NodeManager: not in the include list, or in the exclude list",
            ),
        }
    }

    /// Appends a NORMAL answer with nothing to say. Cost: a copy of 72 bytes and seven stores.
    #[inline]
    pub(super) fn write_normal(&self, out: &mut Vec<u8>, header: &FrameHeader, numbers: Numbers) {
        let mut frame = self.normal;
        fill(&mut frame, HEADER_SIZE, header, numbers);
        out.extend_from_slice(&frame);
    }
}

impl Shard {
    /// Answers a frame with a reject, counted.
    #[cold]
    pub(super) fn reject(
        &mut self,
        opcode: Opcode,
        header: &FrameHeader,
        frame: &FrameRef,
        answers: &mut AnswerBatch,
        reject: &Reject,
    ) {
        self.counters.rejects += 1;
        answers.push_with(frame.stream, |out| {
            write_reject(out, opcode, header.correlation_id, header.routing_key, reject);
        });
    }

    /// Rejects a frame whose routing key does not lead here.
    #[cold]
    pub(super) fn reject_route(
        &mut self,
        header: &FrameHeader,
        frame: &FrameRef,
        answers: &mut AnswerBatch,
        found: u64,
        accepted: &str,
    ) {
        let text = format!("routing_key is {found:#018x}, accepted is {accepted}");
        self.reject(header.opcode, header, frame, answers, &Reject::new(RejectCode::WrongRoute, text));
    }

    /// Rejects a frame about a node that another peer registered.
    #[cold]
    pub(super) fn reject_peer(
        &mut self,
        header: &FrameHeader,
        frame: &FrameRef,
        answers: &mut AnswerBatch,
        row: u32,
        out: &mut Outbox,
    ) {
        let cold = self.table.cold(row);
        let text = format!("node {}:{} is registered under another certificate", cold.host, cold.port);
        self.notice(out, true, Some(row), || format!("refused {} from a foreign peer", header.opcode.name()));
        self.reject(header.opcode, header, frame, answers, &Reject::new(RejectCode::NameNotAllowed, text));
    }

    /// Answers with a record.
    pub(super) fn answer<M>(
        &self,
        header: &FrameHeader,
        frame: &FrameRef,
        answers: &mut AnswerBatch,
        message: &M,
    ) where
        M: WriteMessage,
    {
        answers.push_with(frame.stream, |out| {
            write_frame(out, Flags::RESPONSE, header.correlation_id, header.routing_key, message);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Numbers = Numbers {
        response_id: 0x7fff_fffe,
        interval_ms: 1_234,
        next_ms: 999,
        phase_ms: 777,
        lease_ms: 600_001,
    };
    const HEADER: FrameHeader = FrameHeader {
        opcode: Opcode::NodeHeartbeat,
        flags: Flags::REQUEST,
        body_length: 0,
        correlation_id: 0x0102_0304_0506_0708,
        routing_key: 0x1112_1314_1516_1718,
    };

    fn serialised(response: &NodeHeartbeatResponse) -> Vec<u8> {
        let response = NodeHeartbeatResponse {
            response_id: NUMBERS.response_id,
            heartbeat_interval_ms: NUMBERS.interval_ms,
            next_heartbeat_ms: NUMBERS.next_ms,
            phase_ms: NUMBERS.phase_ms,
            lease_ms: NUMBERS.lease_ms,
            ..response.clone()
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::RESPONSE, HEADER.correlation_id, HEADER.routing_key, &response);
        frame
    }

    #[test]
    fn the_filled_frame_is_the_serialised_one() {
        let mut out = vec![9; 5];
        Templates::new().write_normal(&mut out, &HEADER, NUMBERS);
        assert_eq!(&out[5..], serialised(&NodeHeartbeatResponse::default()));
    }

    #[test]
    fn prepared_frames_are_the_serialised_ones() {
        for node_action in [NodeAction::Resync, NodeAction::Shutdown] {
            let mut out = Vec::new();
            Prepared::new(node_action, "some text of any length").write(&mut out, &HEADER, NUMBERS);
            let updates =
                NodeUpdates { diagnostics: "some text of any length".to_owned(), ..NodeUpdates::default() };
            let response = NodeHeartbeatResponse {
                node_action,
                updates: Some(Box::new(updates)),
                ..NodeHeartbeatResponse::default()
            };
            assert_eq!(out, serialised(&response));
        }
    }
}

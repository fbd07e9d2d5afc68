//! The frames a NodeManager sends: the plain beat by copying and patching a template, everything else serialised.
//! Owner: [`Fleet`](super::Fleet). Called by: the fleet only, on the thread that owns it.
//! Does not: decide what is said. Invariant: a patched plain beat equals its serialisation, byte for byte (tested).

use core::mem::offset_of;

use heddle_wire::frame::offset;
use heddle_wire::record::{
    ArchivedContainersDigest, ArchivedResourceUtilization, ContainersDigest, NodeHandle, ResourceUtilization,
};
use heddle_wire::resource_tracker::{ArchivedNodeHeartbeatRequest, NodeHeartbeatRequest};
use heddle_wire::{Flags, HEADER_SIZE, write_frame};

use super::row::Row;

/// Size of a beat with nothing to say, bytes.
pub const PLAIN_BEAT_SIZE: usize = HEADER_SIZE + size_of::<ArchivedNodeHeartbeatRequest>();

/// Set in the correlation id of a copy that is sent on purpose.
pub(super) const COPY: u64 = 1 << 63;

/// Which node and which of its requests a frame is about: the copy mark, 31 bits of response id, 32 bits of node.
pub(super) const fn correlation_id(node: u32, response_id: u32) -> u64 {
    (response_id as u64) << 32 | node as u64
}

/// A beat of a node that has nothing to say, ready to be copied.
#[derive(Clone, Debug)]
pub(super) struct Template([u8; PLAIN_BEAT_SIZE]);

/// What differs between two plain beats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain {
    pub correlation_id: u64,
    pub response_id: u32,
    pub digest: ContainersDigest,
}

/// The use a node of so many containers reports: a made-up constant per container, so that it costs two products.
pub(super) const fn utilization(containers: u32) -> [ResourceUtilization; 2] {
    let physical_memory_mb = containers.saturating_mul(512);
    let cpu_millicores = containers.saturating_mul(500);
    [
        ResourceUtilization {
            physical_memory_mb,
            virtual_memory_mb: physical_memory_mb.saturating_mul(2),
            cpu_millicores,
        },
        ResourceUtilization {
            physical_memory_mb: physical_memory_mb.saturating_add(2_048),
            virtual_memory_mb: physical_memory_mb.saturating_mul(2).saturating_add(4_096),
            cpu_millicores: cpu_millicores.saturating_add(100),
        },
    ]
}

/// A beat of the node in `row` without statuses and details.
pub(super) fn empty_beat(row: &Row, response_id: u32, digest: ContainersDigest) -> NodeHeartbeatRequest {
    let [containers_utilization, node_utilization] = utilization(digest.count);
    NodeHeartbeatRequest {
        node_handle: NodeHandle(row.handle),
        response_id,
        acknowledged_command: row.acknowledged_command,
        container_token_key_id: row.container_token_key_id,
        nm_token_key_id: row.nm_token_key_id,
        token_sequence: row.token_sequence,
        containers_digest: digest,
        is_full_report: false,
        is_continued: false,
        is_node_healthy: true,
        containers_utilization,
        node_utilization,
        container_statuses: Vec::new(),
        details: None,
    }
}

impl Template {
    pub(super) fn new() -> Self {
        let mut bytes = Vec::with_capacity(PLAIN_BEAT_SIZE);
        let beat = empty_beat(&Row::new(), 0, ContainersDigest::default());
        write_frame(&mut bytes, Flags::REQUEST, 0, 0, &beat);
        let mut template = [0; PLAIN_BEAT_SIZE];
        // Equal lengths: nothing of a plain beat lies outside its root.
        template.copy_from_slice(&bytes);
        Self(template)
    }

    /// The bytes that are copied; for the floor, which echoes a real beat.
    pub(super) const fn bytes(&self) -> &[u8; PLAIN_BEAT_SIZE] {
        &self.0
    }

    /// Appends a plain beat. Cost: one copy of [`PLAIN_BEAT_SIZE`] bytes and a dozen stores.
    #[inline]
    pub(super) fn write(&self, row: &Row, plain: Plain, out: &mut Vec<u8>) {
        const BODY: usize = HEADER_SIZE;
        const DIGEST: usize = BODY + offset_of!(ArchivedNodeHeartbeatRequest, containers_digest);
        let mut frame = self.0;
        put(&mut frame, offset::CORRELATION_ID, plain.correlation_id.to_le_bytes());
        put(&mut frame, offset::ROUTING_KEY, row.handle.to_le_bytes());
        put(
            &mut frame,
            BODY + offset_of!(ArchivedNodeHeartbeatRequest, node_handle),
            row.handle.to_le_bytes(),
        );
        put(
            &mut frame,
            BODY + offset_of!(ArchivedNodeHeartbeatRequest, response_id),
            plain.response_id.to_le_bytes(),
        );
        put(
            &mut frame,
            BODY + offset_of!(ArchivedNodeHeartbeatRequest, acknowledged_command),
            row.acknowledged_command.to_le_bytes(),
        );
        put(
            &mut frame,
            BODY + offset_of!(ArchivedNodeHeartbeatRequest, container_token_key_id),
            row.container_token_key_id.to_le_bytes(),
        );
        put(
            &mut frame,
            BODY + offset_of!(ArchivedNodeHeartbeatRequest, nm_token_key_id),
            row.nm_token_key_id.to_le_bytes(),
        );
        put(
            &mut frame,
            BODY + offset_of!(ArchivedNodeHeartbeatRequest, token_sequence),
            row.token_sequence.to_le_bytes(),
        );
        if plain.digest.count != 0 {
            put(
                &mut frame,
                DIGEST + offset_of!(ArchivedContainersDigest, count),
                plain.digest.count.to_le_bytes(),
            );
            put(
                &mut frame,
                DIGEST + offset_of!(ArchivedContainersDigest, hash),
                plain.digest.hash.to_le_bytes(),
            );
            let [containers, node] = utilization(plain.digest.count);
            let at = BODY + offset_of!(ArchivedNodeHeartbeatRequest, containers_utilization);
            put_utilization(&mut frame, at, containers);
            let at = BODY + offset_of!(ArchivedNodeHeartbeatRequest, node_utilization);
            put_utilization(&mut frame, at, node);
        }
        out.extend_from_slice(&frame);
    }
}

fn put_utilization(frame: &mut [u8; PLAIN_BEAT_SIZE], at: usize, value: ResourceUtilization) {
    type Layout = ArchivedResourceUtilization;
    put(frame, at + offset_of!(Layout, physical_memory_mb), value.physical_memory_mb.to_le_bytes());
    put(frame, at + offset_of!(Layout, virtual_memory_mb), value.virtual_memory_mb.to_le_bytes());
    put(frame, at + offset_of!(Layout, cpu_millicores), value.cpu_millicores.to_le_bytes());
}

#[inline]
fn put<const N: usize>(frame: &mut [u8; PLAIN_BEAT_SIZE], at: usize, value: [u8; N]) {
    frame[at..at + N].copy_from_slice(&value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn patched_equals_serialised(
            numbers in any::<(u64, u64, u32, u32, u32)>(),
            response_id in 0..=0x7fff_ffff_u32,
            node in any::<u32>(),
            count in prop_oneof![Just(0), 0..10_000_u32],
            hash in any::<u64>(),
        ) {
            let (handle, token_sequence, acknowledged_command, container_token_key_id, nm_token_key_id) = numbers;
            let mut row = Row::new();
            (row.handle, row.token_sequence) = (handle, token_sequence);
            row.acknowledged_command = acknowledged_command;
            (row.container_token_key_id, row.nm_token_key_id) = (container_token_key_id, nm_token_key_id);
            let digest = ContainersDigest { count, hash: if count == 0 { 0 } else { hash } };
            let correlation_id = correlation_id(node, response_id);
            let (mut patched, mut serialised) = (vec![7; 3], vec![7; 3]);
            Template::new().write(&row, Plain { correlation_id, response_id, digest }, &mut patched);
            let beat = empty_beat(&row, response_id, digest);
            write_frame(&mut serialised, Flags::REQUEST, correlation_id, handle, &beat);
            prop_assert_eq!(patched, serialised);
        }
    }
}

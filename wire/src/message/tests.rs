//! Tests of frame writing: what was there stays, what does not fit is told.

use super::*;
use crate::application_client::GetClusterMetricsRequest;
use crate::frame::{Frame, FrameDecoder};
use crate::limits;
use crate::record::NodeHandle;
use crate::resource_tracker::{NodeHeartbeatResponse, NodeUpdates, UnRegisterNodeManagerRequest};

fn oversize() -> NodeHeartbeatResponse {
    let diagnostics = "x".repeat(limits::HEARTBEAT_BODY_MAX as usize);
    let updates = Some(Box::new(NodeUpdates { diagnostics, ..NodeUpdates::default() }));
    NodeHeartbeatResponse { updates, ..NodeHeartbeatResponse::default() }
}

#[test]
fn a_frame_reads_back_wherever_it_starts() {
    let message = UnRegisterNodeManagerRequest {
        node_handle: NodeHandle::new(1, 2, 3),
        reason: "a reason longer than eight bytes".to_owned(),
    };
    for before in 0..9 {
        let mut out = vec![0xee; before];
        let size = write_frame(&mut out, Flags::REQUEST, 5, 6, &message);
        assert_eq!(out.len(), before + size);
        assert!(out[..before].iter().all(|&byte| byte == 0xee));
        let frame = Frame::from_slice(&out[before..]).unwrap();
        assert_eq!((frame.header.correlation_id, frame.header.routing_key), (5, 6));
        assert_eq!(decode::<UnRegisterNodeManagerRequest>(frame.body()), Ok(message.clone()));
    }
}

#[test]
fn a_record_without_fields_has_an_empty_body() {
    let mut out = Vec::new();
    let size = write_frame(&mut out, Flags::REQUEST, 1, 2, &GetClusterMetricsRequest {});
    assert_eq!(size, HEADER_SIZE);
    let frame = Frame::from_slice(&out).unwrap();
    assert_eq!(decode::<GetClusterMetricsRequest>(frame.body()), Ok(GetClusterMetricsRequest {}));
}

#[test]
fn what_is_too_large_leaves_the_batch_alone_and_is_told() {
    let mut out = b"frames before".to_vec();
    let error = try_write_frame(&mut out, Flags::RESPONSE, 1, 2, &oversize()).unwrap_err();
    assert!(matches!(error, EncodeError::BodyTooLarge { opcode: Opcode::NodeHeartbeat, .. }), "{error}");
    assert_eq!(out, b"frames before");
    // A push has nobody who waits for it.
    assert_eq!(write_frame(&mut out, Flags::PUSH, 0, 2, &oversize()), 0);
    assert_eq!(out, b"frames before");
    // An answer has.
    let size = write_frame(&mut out, Flags::RESPONSE, 77, 2, &oversize());
    let frame = Frame::from_slice(&out[13..]).unwrap();
    assert_eq!(frame.bytes.len(), size);
    assert!(frame.header.flags.is_reject());
    assert_eq!(frame.header.correlation_id, 77);
    let reject = decode_reject(frame.header.opcode, frame.body()).unwrap();
    assert_eq!(RejectCode::from_number(reject.code), Some(RejectCode::Internal));
    assert!(reject.message.contains("accepted are at most 262144"), "{}", reject.message);
}

#[test]
fn the_reject_of_an_unknown_opcode_repeats_its_number() {
    let error = FrameError::UnknownOpcode { found: 0x0777, correlation_id: 9 };
    let mut out = b"before".to_vec();
    let size = write_frame_error(&mut out, &error);
    assert_eq!(out.len(), 6 + size);
    let frame = &mut out[6..];
    // Our own decoder does not know the number either, and goes on.
    let mut decoder = FrameDecoder::new();
    assert_eq!(decoder.next_frame(&mut &*frame), Err(error));
    // The peer does.
    frame[offset::OPCODE..offset::FLAGS].copy_from_slice(&0x0102_u16.to_le_bytes());
    let frame = Frame::from_slice(frame).unwrap();
    assert!(frame.header.flags.is_reject());
    let reject = decode_reject(frame.header.opcode, frame.body()).unwrap();
    assert_eq!(reject.code, 201);
    assert_eq!(reject.message, error.to_string());
}

#[test]
fn a_reject_is_cut_rather_than_lost() {
    let reject = Reject::new(RejectCode::BadField, "ü".repeat(limits::TEXT_MAX));
    assert_eq!(reject.message.len(), limits::TEXT_MAX);
    let by_hand = Reject { message: "x".repeat(1 << 20), ..reject.clone() };
    for (reject, length) in [(&reject, limits::TEXT_MAX), (&by_hand, 0)] {
        let mut out = Vec::new();
        write_reject(&mut out, Opcode::UnRegisterNodeManager, 1, 2, reject);
        let frame = Frame::from_slice(&out).unwrap();
        let read = decode_reject(frame.header.opcode, frame.body()).unwrap();
        assert_eq!((read.code, read.message.len()), (104, length));
    }
}

#[test]
fn an_error_names_positions_and_no_addresses() {
    // The library's own words name places in memory: not for a peer, and not the same in a replay.
    let told = |bytes: &[u8]| match access::<crate::resource_tracker::UnRegisterNodeManagerRequest>(bytes) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{bytes:?} is no record"),
    };
    for size in 0..16 {
        let (first, second) = (vec![0; size], vec![0; size]);
        assert!(!told(&first).contains("0x"), "{}", told(&first));
        assert_eq!(told(&first), told(&second));
    }
}

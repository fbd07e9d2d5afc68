//! Tests of the frame decoder: every boundary, every refusal, bounded memory.

use proptest::prelude::*;

use super::*;
use crate::error::RejectCode;

fn frame(opcode: u16, body_length: u32, body: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        opcode: Opcode::NodeHeartbeat,
        flags: Flags::REQUEST,
        body_length,
        correlation_id: u64::from(opcode),
        routing_key: u64::from(body_length),
    };
    let mut bytes = header.to_bytes().to_vec();
    bytes[offset::OPCODE..offset::FLAGS].copy_from_slice(&opcode.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn beat(body: &[u8]) -> Vec<u8> {
    frame(Opcode::NodeHeartbeat as u16, u32::try_from(body.len()).unwrap(), body)
}

/// A frame's bytes, or why there is none.
type Outcome = Result<Vec<u8>, FrameError>;

/// All frames and errors of a stream that arrives in these chunks, and how it ended.
fn run<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<Outcome>, Result<(), FrameError>) {
    let mut decoder = FrameDecoder::new();
    let mut results = Vec::new();
    for chunk in chunks {
        let mut input = chunk;
        loop {
            match decoder.next_frame(&mut input) {
                Ok(Some(frame)) => {
                    assert_eq!(frame.bytes.len(), HEADER_SIZE + frame.header.body_length as usize);
                    assert_eq!(Frame::from_slice(frame.bytes), Ok(frame));
                    results.push(Ok(frame.bytes.to_vec()));
                }
                Ok(None) => break,
                Err(error) => {
                    results.push(Err(error));
                    if error.is_fatal() {
                        assert_eq!(decoder.next_frame(&mut input), Err(error), "fatal errors stay");
                        assert_eq!(decoder.next_frame(&mut &[][..]), Err(error));
                        assert_eq!(decoder.finish(), Err(error));
                        return (results, Err(error));
                    }
                }
            }
            assert!(decoder.memory_size() <= FRAME_SIZE_MAX);
        }
        assert!(input.is_empty(), "all of a chunk is taken");
    }
    (results, decoder.finish())
}

#[test]
fn every_cut_of_a_stream_gives_the_same_frames() {
    let mut stream = beat(b"first");
    stream.extend(beat(b""));
    stream.extend(frame(0x7777, 3, b"???"));
    stream.extend(frame(0x7778, 0, b""));
    stream.extend(beat(b"last"));
    let whole = run([&stream[..]]);
    assert_eq!(whole.0.len(), 5);
    assert_eq!(whole.0[2], Err(FrameError::UnknownOpcode { found: 0x7777, correlation_id: 0x7777 }));
    assert_eq!(whole.0[3], Err(FrameError::UnknownOpcode { found: 0x7778, correlation_id: 0x7778 }));
    assert_eq!(whole.0[4], Ok(beat(b"last")));
    assert_eq!(whole.1, Ok(()));
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let parts = [&stream[..first], &stream[first..second], &[], &stream[second..]];
            assert_eq!(run(parts), whole, "cut at {first} and {second}");
        }
    }
    assert_eq!(run(stream.chunks(1)), whole);
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_truncated() {
    let stream = beat(b"body");
    for end in 1..stream.len() {
        let missing = if end < HEADER_SIZE { HEADER_SIZE } else { stream.len() } - end;
        let expected = Err(FrameError::Truncated { missing: missing as u32 });
        assert_eq!(run([&stream[..end]]), (vec![], expected), "end at {end}");
    }
    // Also inside a frame that is only passed over.
    let unknown = frame(0x7777, 10, b"12345");
    assert_eq!(run([&unknown[..]]).1, Err(FrameError::Truncated { missing: 5 }));
    assert_eq!(run([&[][..]]), (vec![], Ok(())));
}

#[test]
fn bytes_of_another_protocol_are_told_apart_from_a_cut_frame() {
    assert!(matches!(run([&b"GET / HTTP/1.1"[..]]).1, Err(FrameError::BadMagic { .. })));
    assert!(matches!(
        run([&b"GET / HTTP/1.1\r\nHost: somewhere.example\r\n"[..]]).1,
        Err(FrameError::BadMagic { .. })
    ));
}

#[test]
fn every_header_fault_has_its_own_error() {
    let fault = |at: usize, value: u8| {
        let mut bytes = beat(b"x");
        bytes[at] = value;
        run([&bytes[..]]).0.pop().unwrap().unwrap_err()
    };
    let correlation_id = u64::from(Opcode::NodeHeartbeat as u16);
    assert_eq!(fault(0, b'X').code(), RejectCode::BadMagic);
    assert_eq!(fault(offset::VERSION, 9), FrameError::UnsupportedVersion { found: 9, correlation_id });
    assert_eq!(fault(offset::OPCODE + 1, 9), FrameError::UnknownOpcode { found: 0x0902, correlation_id });
    for flags in [2, 4, 6, 7, 8, 0xff] {
        let flags_found = u16::from(flags);
        assert_eq!(
            fault(offset::FLAGS, flags),
            FrameError::BadHeader { flags: flags_found, reserved: 0, correlation_id }
        );
    }
    assert_eq!(
        fault(offset::RESERVED + 1, 1),
        FrameError::BadHeader { flags: 0, reserved: 256, correlation_id }
    );
    let accepted = Opcode::NodeHeartbeat.body_max();
    assert_eq!(
        fault(offset::BODY_LENGTH + 3, 1),
        FrameError::BodyTooLarge {
            opcode: Opcode::NodeHeartbeat,
            found: (1 << 24) + 1,
            accepted,
            correlation_id
        }
    );
}

#[test]
fn a_body_of_exactly_the_limit_is_accepted_and_one_more_is_not() {
    let limit = Opcode::NodeHeartbeat.body_max();
    let body = vec![7; limit as usize];
    let bytes = beat(&body);
    assert_eq!(run(bytes.chunks(1200)), (vec![Ok(bytes.clone())], Ok(())));
    let over = frame(Opcode::NodeHeartbeat as u16, limit + 1, b"");
    let error = run([&over[..]]).1.unwrap_err();
    assert_eq!(error.code(), RejectCode::BodyTooLarge);
    assert!(error.is_fatal());
}

#[test]
fn an_unknown_opcode_is_passed_over_only_up_to_the_largest_body() {
    let mut stream = frame(0x0999, BODY_MAX, &vec![0xaa; BODY_MAX as usize]);
    stream.extend(beat(b"next"));
    let (results, end) = run(stream.chunks(1400));
    assert_eq!(results.len(), 2);
    assert_eq!(results[1], Ok(beat(b"next")));
    assert_eq!(end, Ok(()));
    let over = frame(0x0999, BODY_MAX + 1, b"");
    let error =
        FrameError::UnknownBodyTooLarge { opcode: 0x0999, found: BODY_MAX + 1, correlation_id: 0x0999 };
    assert_eq!(run([&over[..]]), (vec![Err(error)], Err(error)));
}

#[test]
fn passing_over_a_large_frame_holds_no_memory() {
    let head = frame(0x0999, BODY_MAX, b"");
    let mut decoder = FrameDecoder::new();
    assert!(decoder.next_frame(&mut &head[..]).is_err());
    for _ in 0..100 {
        assert_eq!(decoder.next_frame(&mut &[0_u8; 1000][..]), Ok(None));
    }
    assert_eq!(decoder.gathered_size(), 0);
    assert!(decoder.memory_size() <= FrameDecoder::KEPT_MAX);
}

#[test]
fn memory_grows_with_what_arrived_and_falls_back() {
    let body = vec![1; BODY_MAX as usize];
    let bytes = frame(Opcode::RegisterNodeManager as u16, BODY_MAX, &body);
    let mut decoder = FrameDecoder::new();
    let mut arrived = 0;
    for chunk in bytes.chunks(1200) {
        let mut input = chunk;
        arrived += chunk.len();
        let is_whole = decoder.next_frame(&mut input).unwrap().is_some();
        assert_eq!(is_whole, arrived == bytes.len());
        assert!(decoder.memory_size() <= 2 * arrived.max(256), "{arrived} bytes arrived");
        assert!(decoder.memory_size() <= FRAME_SIZE_MAX);
    }
    assert_eq!(decoder.gathered_size(), 0);
    assert_eq!(decoder.next_frame(&mut &[][..]), Ok(None));
    assert!(decoder.memory_size() <= FrameDecoder::KEPT_MAX);
}

#[test]
fn a_frame_in_one_chunk_is_not_copied() {
    let bytes = [beat(b"one"), beat(b"two")].concat();
    let mut decoder = FrameDecoder::new();
    let mut input = &bytes[..];
    let mut at = bytes.as_ptr();
    while let Some(frame) = decoder.next_frame(&mut input).unwrap() {
        assert_eq!(frame.bytes.as_ptr(), at);
        at = at.wrapping_add(frame.bytes.len());
    }
    assert_eq!(decoder.memory_size(), 0);
}

#[test]
fn setters_touch_their_field_only() {
    let mut bytes = beat(b"body");
    set_routing_key(&mut bytes, 0x0102_0304_0506_0708);
    set_correlation_id(&mut bytes, 0x1112_1314_1516_1718);
    let frame = Frame::from_slice(&bytes).unwrap();
    assert_eq!(frame.header.routing_key, 0x0102_0304_0506_0708);
    assert_eq!(frame.header.correlation_id, 0x1112_1314_1516_1718);
    assert_eq!(frame.body(), b"body");
    set_body_length(&mut bytes, 2);
    assert_eq!(Frame::from_slice(&bytes).unwrap().body(), b"bo");
    // Too short a slice is left alone, whatever its length.
    for size in 0..HEADER_SIZE {
        let mut short = vec![0xee; size];
        set_routing_key(&mut short, 0);
        assert!(short.iter().all(|&byte| byte == 0xee), "{size}");
    }
}

/// A stream made of good frames, unknown opcodes, faults and plain noise.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..300).prop_map(|body| beat(&body)),
        2 => (any::<u16>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(opcode, body)| frame(opcode, u32::try_from(body.len()).unwrap(), &body)),
        1 => (any::<u32>(), any::<u16>()).prop_map(|(length, opcode)| frame(opcode, length, b"")),
        1 => prop::collection::vec(any::<u8>(), 0..100),
        1 => (0..HEADER_SIZE, any::<u8>()).prop_map(|(at, value)| {
            let mut bytes = beat(b"faulty");
            bytes[at] = value;
            bytes
        }),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_in_any_chunking_give_the_same_frames_or_a_named_error(
        stream in stream(),
        cuts in prop::collection::vec(1_usize..200, 1..40),
    ) {
        let whole = run([&stream[..]]);
        let mut chunks = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        prop_assert_eq!(&run(chunks), &whole);
        for result in &whole.0 {
            if let Err(error) = result {
                prop_assert!(!error.to_string().is_empty());
                prop_assert!(RejectCode::from_number(error.code() as u16).is_some());
            }
        }
    }

    #[test]
    fn any_header_reads_back_as_written(
        index in 0..Opcode::ALL.len(),
        bits in prop::sample::select(vec![0_u16, 1, 3, 5]),
        length in any::<u32>(),
        correlation_id in any::<u64>(),
        routing_key in any::<u64>(),
    ) {
        let opcode = Opcode::ALL[index];
        let body_length = length % (opcode.body_max() + 1);
        let flags = Flags::from_bits(bits).unwrap();
        let header = FrameHeader { opcode, flags, body_length, correlation_id, routing_key };
        prop_assert_eq!(FrameHeader::from_bytes(&header.to_bytes()), Ok(header));
    }
}

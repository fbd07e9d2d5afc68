//! Every record that is the body of a frame: bytes and back, and what becomes of bytes that are no record.
//! Owns: the property tests over all messages. Called by: `cargo test`. Does not: know fields (see `describe`).
//! Invariant tested: any byte string as a body gives a record or a named error, never a panic.

mod describe;

use describe::{Body, BodyVisitor, Entropy, Shape, for_each_body, layouts};
use heddle_wire::frame::Frame;
use heddle_wire::{AnyMessage, DecodeError, Flags, FrameHeader, HEADER_SIZE, Opcode, RejectCode};
use proptest::prelude::*;

fn flags_of<B: Body>() -> Flags {
    match B::opcode() {
        None => Flags::REJECT,
        Some((_, true)) => Flags::RESPONSE,
        Some((_, false)) => Flags::REQUEST,
    }
}

fn is_named(error: &DecodeError) -> bool {
    !error.to_string().is_empty() && RejectCode::from_number(error.code() as u16).is_some()
}

#[test]
fn every_method_with_a_record_is_listed_once() {
    struct Names(Vec<String>);
    impl BodyVisitor for Names {
        fn visit<B: Body>(&mut self) {
            self.0.push(B::type_name());
        }
    }
    let mut names = Names(Vec::new());
    for_each_body(&mut names);
    assert_eq!(names.0, AnyMessage::RECORD_NAMES);
}

#[test]
fn every_record_declared_as_a_message_is_in_the_list() {
    let mut declared = vec!["Reject"];
    for source in [
        include_str!("../src/resource_tracker.rs"),
        include_str!("../src/application_master.rs"),
        include_str!("../src/application_client.rs"),
        include_str!("../src/application_client/application.rs"),
        include_str!("../src/application_client/container.rs"),
        include_str!("../src/application_client/label.rs"),
        include_str!("../src/application_client/queue.rs"),
        include_str!("../src/administration.rs"),
        include_str!("../src/administration/scheduler.rs"),
    ] {
        // Lines of `message! { … }`: `Record => Opcode, is_response;`
        let lines = source.lines().filter(|line| line.ends_with(", false;") || line.ends_with(", true;"));
        declared.extend(lines.filter_map(|line| line.trim().split_once(" => ")).map(|(record, _)| record));
    }
    declared.sort_unstable();
    let mut listed = AnyMessage::RECORD_NAMES.to_vec();
    listed.sort_unstable();
    assert_eq!(declared, listed);
}

#[test]
fn records_have_neither_gaps_nor_overlaps() {
    for layout in layouts() {
        let Shape::Record(mut fields) = layout.shape else { continue };
        fields.sort_by_key(|field| (field.offset, field.size));
        let mut end = 0;
        for field in fields {
            assert_eq!(field.offset, end, "{}.{}", layout.name, field.name);
            end += field.size;
        }
        assert_eq!(end, layout.size, "{}", layout.name);
    }
}

#[test]
fn archived_enums_have_the_numbers_of_their_records() {
    for layout in layouts() {
        let Shape::Enum(variants) = layout.shape else { continue };
        assert_eq!(layout.size, 1, "{}", layout.name);
        for (variant, number, archived) in variants {
            assert_eq!(number, archived, "{}::{variant}", layout.name);
        }
    }
}

#[test]
fn methods_without_records_are_named_in_the_error() {
    let with_record: Vec<Opcode> = {
        struct Opcodes(Vec<Opcode>);
        impl BodyVisitor for Opcodes {
            fn visit<B: Body>(&mut self) {
                self.0.extend(B::opcode().map(|(opcode, _)| opcode));
            }
        }
        let mut opcodes = Opcodes(Vec::new());
        for_each_body(&mut opcodes);
        opcodes.0
    };
    for &opcode in Opcode::ALL {
        let header =
            FrameHeader { opcode, flags: Flags::REQUEST, body_length: 0, correlation_id: 0, routing_key: 0 };
        let bytes = header.to_bytes();
        let read = AnyMessage::read(&Frame::from_slice(&bytes).expect("a frame just written"));
        let is_missing = matches!(read, Err(DecodeError::NoRecord { .. }));
        assert_eq!(is_missing, !with_record.contains(&opcode), "{}", opcode.name());
        if let Err(error @ DecodeError::NoRecord { .. }) = read {
            assert!(error.to_string().contains(opcode.name()));
            assert_eq!(error.code(), RejectCode::NotSupportedYet);
        }
    }
}

/// Reads requests of which every text and every list in turn is too long.
struct EveryLimit {
    probed: usize,
}

impl BodyVisitor for EveryLimit {
    fn visit<B: Body>(&mut self) {
        let Some((opcode, false)) = B::opcode() else { return };
        let read = |entropy: &mut Entropy<'_>| {
            let body = B::generate(entropy).archive();
            let body_length = u32::try_from(body.len()).expect("below 4 GiB");
            let header =
                FrameHeader { opcode, flags: Flags::REQUEST, body_length, correlation_id: 1, routing_key: 2 };
            // Put together here, because some would not pass the frame's own limit: field limits hold without it.
            AnyMessage::read(&Frame { header, bytes: &[&header.to_bytes()[..], &body].concat() })
        };
        let accepted = read(&mut Entropy::probing(usize::MAX));
        assert!(accepted.is_ok(), "{}: {accepted:?}", B::type_name());
        for at in 0.. {
            let mut entropy = Entropy::probing(at);
            let result = read(&mut entropy);
            if !entropy.has_probed() {
                break;
            }
            self.probed += 1;
            assert!(
                matches!(
                    result,
                    Err(DecodeError::TooLong { found: describe::TOO_LONG | describe::TOO_LONG_TEXT, .. })
                ),
                "{}, text or list {at}: {:?}",
                B::type_name(),
                result.map(|message| message.record_name())
            );
        }
    }
}

#[test]
fn every_text_and_list_of_every_request_is_bounded() {
    let mut limits = EveryLimit { probed: 0 };
    for_each_body(&mut limits);
    // As many as there were when this was written: a walk that stops early would prove nothing.
    assert!(limits.probed >= 160, "{}", limits.probed);
}

/// Writes an arbitrary record of every type, reads it back, then reads damaged copies of it.
struct RoundTrip<'a> {
    entropy: &'a [u8],
    damage: &'a [(usize, u8)],
    end: usize,
}

impl BodyVisitor for RoundTrip<'_> {
    fn visit<B: Body>(&mut self) {
        let record = B::generate(&mut Entropy::new(self.entropy));
        let mut bytes = Vec::new();
        let size = record.write(&mut bytes, flags_of::<B>(), 1, 2);
        assert_eq!(size, bytes.len());
        let frame = Frame::from_slice(&bytes).expect("a frame just written");
        assert_eq!(B::read(frame.body()).as_ref(), Ok(&record));
        // Values a peer chooses may be refused, by name; what is accepted is the same record.
        match AnyMessage::read(&frame) {
            Ok(message) => {
                let mut again = Vec::new();
                message.write(&mut again, frame.header.flags, 1, 2).expect("it was written before");
                assert_eq!(again, bytes, "{}", B::type_name());
                assert_eq!(message.record_name(), B::type_name());
            }
            Err(error) => assert!(is_named(&error), "{error:?}"),
        }
        let mut body = frame.body().to_vec();
        let cut = self.end % (body.len() + 1);
        check_bytes::<B>(&body[..cut]);
        check_bytes::<B>(&body[cut..]);
        for &(at, value) in self.damage {
            let length = body.len().max(1);
            if let Some(byte) = body.get_mut(at % length) {
                *byte = value;
            }
            check_bytes::<B>(&body);
        }
    }
}

/// Any bytes: a record that can be written and read again, or a named error.
fn check_bytes<B: Body>(body: &[u8]) {
    match B::read(body) {
        Ok(record) => {
            let mut bytes = Vec::new();
            record.write(&mut bytes, flags_of::<B>(), 1, 2);
            let again = B::read(&bytes[HEADER_SIZE..]).expect("a record just written");
            // Bytes and not records: a damaged fraction may be no number, which is not equal to itself.
            let mut written = Vec::new();
            again.write(&mut written, flags_of::<B>(), 1, 2);
            assert_eq!(written, bytes, "{}", B::type_name());
        }
        Err(error) => assert!(is_named(&error), "{error:?}"),
    }
    let opcode = B::opcode().map_or(describe::REJECTED, |(opcode, _)| opcode);
    let body_length = u32::try_from(body.len()).expect("a short body");
    if body_length > opcode.body_max() {
        return;
    }
    let header =
        FrameHeader { opcode, flags: flags_of::<B>(), body_length, correlation_id: 1, routing_key: 2 };
    let bytes = [&header.to_bytes()[..], body].concat();
    if let Err(error) = AnyMessage::read(&Frame::from_slice(&bytes).expect("a frame just written")) {
        assert!(is_named(&error), "{error:?}");
    }
}

struct AnyBytes<'a>(&'a [u8]);

impl BodyVisitor for AnyBytes<'_> {
    fn visit<B: Body>(&mut self) {
        check_bytes::<B>(self.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_record_reads_back_and_its_damaged_copies_are_records_or_named_errors(
        entropy in prop::collection::vec(any::<u8>(), 0..2_000),
        damage in prop::collection::vec((any::<usize>(), any::<u8>()), 0..24),
        end in any::<usize>(),
    ) {
        for_each_body(&mut RoundTrip { entropy: &entropy, damage: &damage, end });
    }

    #[test]
    fn any_bytes_are_a_record_or_a_named_error(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            // Mostly zeros and small numbers: lengths and offsets that lead somewhere.
            prop::collection::vec(prop_oneof![8 => Just(0_u8), 3 => 0_u8..16, 1 => any::<u8>(), 1 => 0xf0_u8..=0xff], 0..600),
        ],
    ) {
        for_each_body(&mut AnyBytes(&body));
    }
}

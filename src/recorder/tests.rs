//! Tapes: what goes in comes out, and damage is named.

use std::io::Cursor;
use std::path::Path;

use super::*;
use crate::engine::batch::{AnswerBatch, FrameBatch, PeerId, StreamRef};
use crate::engine::settings::ShardSettings;
use crate::engine::time::Instant;

fn shard_header() -> Header {
    Header::Shard { version: "test".to_owned(), settings: Box::new(ShardSettings::default()) }
}

fn record(folder: &Path, cycles: u64) -> Vec<u8> {
    let (mut writers, statuses, thread) =
        start(folder, 1 << 30, &[("shard-0".to_owned(), shard_header())]).unwrap();
    let mut tape = writers.pop().unwrap();
    let mut batch = FrameBatch::default();
    for cycle in 0..cycles {
        batch.clear();
        for frame in 0..cycle % 5 {
            batch.push(&vec![cycle as u8; frame as usize], StreamRef::new(0, frame as u32, 1), PeerId(cycle));
        }
        tape.record_frames(Instant::from_millis(cycle), &batch, 0);
        tape.record(&Record::Tick { now: Instant::from_millis(cycle), busy_permille: 3 });
        tape.end_cycle(cycle * 7);
    }
    drop(tape);
    thread.join();
    assert_eq!(statuses[0].name(), "recording");
    std::fs::read(folder.join("shard-0.tape")).unwrap()
}

fn read(bytes: &[u8]) -> Result<(u64, Option<TapeEnd>), TapeError> {
    let (mut tape, header) = TapeReader::open(Cursor::new(bytes))?;
    assert_eq!(header, shard_header());
    let mut batch = FrameBatch::default();
    let mut cycles = 0;
    while let Some(record) = tape.next_record(&mut batch)? {
        match record {
            Record::Frames { now, frames, .. } => {
                assert_eq!(now, Instant::from_millis(cycles));
                assert_eq!(frames.len() as u64, cycles % 5);
                for (index, frame) in batch.frames().iter().enumerate() {
                    assert_eq!(batch.frame_bytes(frame), vec![cycles as u8; index]);
                }
            }
            Record::Tick { busy_permille, .. } => assert_eq!(busy_permille, 3),
            Record::CycleEnd { output } => {
                assert_eq!(output, cycles * 7);
                cycles += 1;
            }
            other => panic!("not written: {other:?}"),
        }
    }
    Ok((cycles, tape.end()))
}

#[test]
fn what_goes_in_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = record(folder.path(), 10_000);
    assert_eq!(read(&bytes).unwrap(), (10_000, Some(TapeEnd::Clean)));
}

#[test]
fn a_tape_cut_by_a_crash_gives_its_whole_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = record(folder.path(), 200_000);
    let (cycles, end) = read(&bytes[..bytes.len() - 100]).unwrap();
    assert!(cycles > 1_000 && cycles < 200_000, "{cycles}");
    assert_eq!(end, Some(TapeEnd::Cut));
}

#[test]
fn damage_is_named_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = record(folder.path(), 1_000);
    assert!(matches!(read(b"HDLTAPE9........"), Err(TapeError::BadMagic { .. })));
    let header_size = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let block = 12 + header_size;
    let mut longer = bytes.clone();
    longer[block..block + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read(&longer), Err(TapeError::BadLength { found: u32::MAX, .. })));
    for position in (block + 8..bytes.len() - 8).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x55;
        // Either LZ4 or a record notices, or the change hits a frame's content and an assertion of `read` would: that
        // one is the hash's business, so frames are not looked at here.
        let (mut tape, _) = TapeReader::open(Cursor::new(&damaged)).unwrap();
        let mut batch = FrameBatch::default();
        while let Ok(Some(_)) = tape.next_record(&mut batch) {}
    }
}

/// What cannot be compressed: 16 KiB that are different for every `seed`.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..2_048).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().collect()
}

/// The bound on a recording's size: the tape ends there, says so, and what is on it is whole and replays.
#[test]
fn a_tape_that_reached_its_bound_is_truncated_and_replays() {
    const SIZE_MAX: u64 = 5 * 1024 * 1024 / 2;
    const CYCLES: u64 = 320;
    let folder = tempfile::tempdir().unwrap();
    let (mut writers, statuses, thread) =
        start(folder.path(), SIZE_MAX, &[("shard-0".to_owned(), shard_header())]).unwrap();
    let mut shard = ShardStepper::new(ShardSettings::default(), writers.pop());
    let (mut batch, mut answers) = (FrameBatch::default(), AnswerBatch::default());
    for cycle in 0..CYCLES {
        let now = Instant::from_millis(cycle);
        // A beat of no node, answered RESYNC with a slot that depends on all before; and noise, answered with a reject.
        batch.clear();
        batch.push(&stray_beat(cycle), StreamRef::new(0, 1, 1), PeerId(1));
        batch.push(&noise(cycle), StreamRef::new(0, 2, 1), PeerId(2));
        answers.clear();
        assert_eq!(shard.handle_frames(now, &batch, 0, &mut answers), 2);
        assert_eq!(answers.len(), 2);
        shard.end_cycle();
    }
    drop(shard);
    thread.join();
    assert_eq!((statuses[0].name(), statuses[0].is_recording()), ("truncated", false));

    let path = folder.path().join("shard-0.tape");
    let size = std::fs::metadata(&path).unwrap().len();
    // Two blocks of a MiB, the third did not fit.
    assert!((2 * 1024 * 1024..SIZE_MAX).contains(&size), "{size} bytes");
    let report = replay(folder.path()).unwrap();
    let role = &report.roles[0];
    assert_eq!(role.end, Some(TapeEnd::Truncated));
    assert!(report.is_identical(), "{report:?}");
    // A block ends where it is large enough, which may be within a cycle: its input is there, its end is not.
    assert!(role.cycles >= 2 * 63 && role.cycles < CYCLES, "{} cycles", role.cycles);
    assert!((role.cycles..=role.cycles + 1).contains(&role.inputs), "{} inputs", role.inputs);
    assert_eq!(role.frames, 2 * role.inputs);

    // And it is the beginning of what happened: the hash is that of as many cycles.
    let mut shard = ShardStepper::for_replay(ShardSettings::default());
    let mut output = None;
    for cycle in 0..role.cycles {
        batch.clear();
        batch.push(&stray_beat(cycle), StreamRef::new(0, 1, 1), PeerId(1));
        batch.push(&noise(cycle), StreamRef::new(0, 2, 1), PeerId(2));
        answers.clear();
        shard.handle_frames(Instant::from_millis(cycle), &batch, 0, &mut answers);
        output = shard.end_cycle();
    }
    assert_eq!(output, Some(role.output));
}

fn stray_beat(id: u64) -> Vec<u8> {
    let handle = heddle_wire::record::NodeHandle::new(0, 7, 1);
    let header = heddle_wire::FrameHeader {
        opcode: heddle_wire::Opcode::NodeHeartbeat,
        flags: heddle_wire::Flags::REQUEST,
        body_length: 0,
        correlation_id: id,
        routing_key: handle.0,
    };
    header.to_bytes().to_vec()
}

#[test]
fn a_recording_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), 1);
    let error =
        start(folder.path(), 1 << 30, &[("shard-0".to_owned(), shard_header())]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("shard-0.tape"), "{error}");
}

#[test]
fn a_folder_without_tapes_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = replay(folder.path()).unwrap_err().to_string();
    assert!(error.contains("--record"), "{error}");
}

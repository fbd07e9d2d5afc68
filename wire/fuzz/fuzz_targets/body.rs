//! Any bytes as the body of any message: a record that can be written and read again, or a named error.
//! Owns: nothing. Called by: libFuzzer. Does not: cut streams (see `decoder.rs`).
//! Input: a frame; opcode and flags are read from its header, its length is set right, so that bodies can grow.
#![no_main]

use heddle_wire::frame::{self, Frame};
use heddle_wire::{AnyMessage, DecodeError, FrameError, HEADER_SIZE, RejectCode};
use libfuzzer_sys::fuzz_target;

fn is_named(error: &DecodeError) -> bool {
    let text = error.to_string();
    !text.is_empty() && text.len() < 2_000 && RejectCode::from_number(error.code() as u16).is_some()
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    if bytes.len() < HEADER_SIZE {
        return;
    }
    let body_length = u32::try_from(bytes.len() - HEADER_SIZE).expect("libFuzzer's inputs are small");
    frame::set_body_length(&mut bytes, body_length);
    let frame = match Frame::from_slice(&bytes) {
        Ok(frame) => frame,
        Err(FrameError::Truncated { .. }) => unreachable!("the length was set"),
        Err(_) => return,
    };
    let message = match AnyMessage::read(&frame) {
        Ok(message) => message,
        Err(error) => {
            assert!(is_named(&error), "{error:?}");
            return;
        }
    };
    // What was accepted is written again; never longer than it came, because no byte counts twice in an archive and
    // gaps are left out.
    let mut again = Vec::new();
    let header = frame.header;
    let size = message
        .write(&mut again, header.flags, header.correlation_id, header.routing_key)
        .expect("an accepted record fits its opcode");
    assert!(size <= bytes.len(), "{} bytes became {size}", bytes.len());
    let reread = Frame::from_slice(&again).expect("a frame just written");
    // Bytes and not records are compared: a fraction may be no number, which is not equal to itself.
    let reread = AnyMessage::read(&reread).expect("a record just written");
    let mut third = Vec::new();
    reread
        .write(&mut third, header.flags, header.correlation_id, header.routing_key)
        .expect("it was written before");
    assert_eq!(third, again);
});

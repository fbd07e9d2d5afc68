//! Any stream of bytes, cut into chunks in several ways: the same frames and errors each time, in bounded memory.
//! Owns: nothing. Called by: libFuzzer. Does not: look into bodies (see `body.rs`).
//! Input: the stream. Its last bytes also say where it is cut, so that a golden frame is a seed as it is.
#![no_main]

use heddle_wire::frame::{FRAME_SIZE_MAX, Frame, FrameDecoder};
use heddle_wire::{FrameError, HEADER_SIZE};
use libfuzzer_sys::fuzz_target;

type Outcome = Result<Vec<u8>, FrameError>;

fn run<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Outcome>, Result<(), FrameError>) {
    let mut decoder = FrameDecoder::new();
    let mut outcomes = Vec::new();
    let mut arrived = 0;
    for chunk in chunks {
        arrived += chunk.len();
        let mut input = chunk;
        loop {
            let before = input.len();
            match decoder.next_frame(&mut input) {
                Ok(Some(frame)) => {
                    assert_eq!(frame.bytes.len(), HEADER_SIZE + frame.header.body_length as usize);
                    assert_eq!(Frame::from_slice(frame.bytes), Ok(frame));
                    outcomes.push(Ok(frame.bytes.to_vec()));
                }
                Ok(None) => {
                    assert!(input.is_empty());
                    break;
                }
                Err(error) => {
                    outcomes.push(Err(error));
                    if error.is_fatal() {
                        assert_eq!(decoder.next_frame(&mut input), Err(error));
                        assert_eq!(decoder.finish(), Err(error));
                        return (outcomes, Err(error));
                    }
                }
            }
            assert!(input.len() <= before);
        }
        assert!(decoder.gathered_size() <= arrived);
        assert!(decoder.memory_size() <= FRAME_SIZE_MAX.min(2 * arrived.max(2_048)));
    }
    (outcomes, decoder.finish())
}

/// Chunks whose sizes repeat `sizes`; a size of 0 is an empty chunk.
fn cut<'a>(mut stream: &'a [u8], sizes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().copied().cycle();
    let mut empty = 0;
    std::iter::from_fn(move || {
        if stream.is_empty() {
            return None;
        }
        let size = usize::from(sizes.next().unwrap_or(1));
        // Only empty chunks would never end.
        empty = if size == 0 { empty + 1 } else { 0 };
        let size = if empty > 8 { 1 } else { size.min(stream.len()) };
        let (chunk, rest) = stream.split_at(size);
        stream = rest;
        Some(chunk)
    })
}

fuzz_target!(|stream: &[u8]| {
    let whole = run(std::iter::once(stream));
    let sizes = &stream[stream.len().saturating_sub(5)..];
    assert_eq!(run(cut(stream, sizes)), whole);
    assert_eq!(run(stream.chunks(1)), whole);
});

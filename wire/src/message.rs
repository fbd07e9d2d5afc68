//! From records to bodies and back: checked access, owned decoding, and writing whole frames.
//! Owns: the tie between a record and its opcode ([`Message`]). Called by: doors, clients, agents; on any thread.
//! Does not: check values; each protocol module has a `check` for what a peer may send.

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{BoxedError, Failure};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::{Archive, Deserialize, Serialize};

use crate::error::DecodeError;
use crate::frame::{Flags, FrameHeader, HEADER_SIZE, offset};
use crate::opcode::Opcode;

/// A record that is the body of a frame.
pub trait Message: Archive {
    /// Its method.
    const OPCODE: Opcode;
    /// True for answers.
    const IS_RESPONSE: bool;
}

/// Reads a body in place, after checking its structure: every offset, tag and UTF-8 text.
///
/// Ranges and list lengths are not checked here. Cost: 1–4 ns for a heartbeat without containers, 30 ns with twelve.
///
/// # Errors
/// [`DecodeError::Archive`] with the validator's reason.
#[inline]
pub fn access<M>(body: &[u8]) -> Result<&M::Archived, DecodeError>
where
    M: Message,
    M::Archived: rkyv::Portable
        + for<'a> CheckBytes<HighValidator<'a, Failure>>
        + for<'a> CheckBytes<HighValidator<'a, BoxedError>>,
{
    match rkyv::access::<M::Archived, Failure>(body) {
        Ok(archived) => Ok(archived),
        Err(Failure) => Err(archive_error::<M>(body)),
    }
}

/// A second, slow pass that finds out what to tell the peer.
#[cold]
fn archive_error<M>(body: &[u8]) -> DecodeError
where
    M: Message,
    M::Archived: rkyv::Portable + for<'a> CheckBytes<HighValidator<'a, BoxedError>>,
{
    let reason = match rkyv::access::<M::Archived, BoxedError>(body) {
        Ok(_) => "validation failed".to_owned(),
        Err(error) => {
            let mut text = error.to_string();
            text.truncate(text.floor_char_boundary(400));
            text
        }
    };
    DecodeError::Archive { opcode: M::OPCODE, size: body.len(), reason }
}

/// Reads a body into an owned record. For control messages, clients and tests; it allocates.
///
/// # Errors
/// As [`access`].
pub fn decode<M>(body: &[u8]) -> Result<M, DecodeError>
where
    M: Message,
    M::Archived: rkyv::Portable
        + for<'a> CheckBytes<HighValidator<'a, Failure>>
        + for<'a> CheckBytes<HighValidator<'a, BoxedError>>
        + Deserialize<M, HighDeserializer<BoxedError>>,
{
    let archived = access::<M>(body)?;
    rkyv::deserialize::<M, BoxedError>(archived).map_err(|error| DecodeError::Archive {
        opcode: M::OPCODE,
        size: body.len(),
        reason: error.to_string(),
    })
}

/// Appends a whole frame to `out`: header, then `message` archived. Returns the frame's size.
///
/// Cost: one serialisation into `out`, no copy afterwards.
pub fn write_frame<M>(
    out: &mut Vec<u8>,
    flags: Flags,
    correlation_id: u64,
    routing_key: u64,
    message: &M,
) -> usize
where
    M: Message + for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, BoxedError>>,
{
    append(out, M::OPCODE, flags, correlation_id, routing_key, message)
}

/// Appends a reject of a request of `opcode` to `out`. Returns the frame's size.
pub fn write_reject(
    out: &mut Vec<u8>,
    opcode: Opcode,
    correlation_id: u64,
    routing_key: u64,
    reject: &crate::Reject,
) -> usize {
    append(out, opcode, Flags::REJECT, correlation_id, routing_key, reject)
}

/// Reads the body of a frame with the `ERROR` flag.
///
/// # Errors
/// [`DecodeError::Archive`].
pub fn decode_reject(opcode: Opcode, body: &[u8]) -> Result<crate::Reject, DecodeError> {
    rkyv::from_bytes::<crate::Reject, BoxedError>(body).map_err(|error| DecodeError::Archive {
        opcode,
        size: body.len(),
        reason: error.to_string(),
    })
}

fn append<T>(
    out: &mut Vec<u8>,
    opcode: Opcode,
    flags: Flags,
    correlation_id: u64,
    routing_key: u64,
    value: &T,
) -> usize
where
    T: for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, BoxedError>>,
{
    let start = out.len();
    let header = FrameHeader { opcode, flags, body_length: 0, correlation_id, routing_key };
    out.extend_from_slice(&header.to_bytes());
    // Relative pointers make the archive independent of where in `out` it starts; `unaligned` of its alignment.
    let taken = core::mem::take(out);
    match rkyv::api::high::to_bytes_in::<_, BoxedError>(value, taken) {
        Ok(written) => *out = written,
        // Writing into a growing vector cannot fail, and records have no fallible parts.
        Err(error) => unreachable!("a record of {} did not serialise: {error}", opcode.name()),
    }
    let size = out.len() - start;
    let body_length = u32::try_from(size - HEADER_SIZE).unwrap_or(u32::MAX);
    out[start + offset::BODY_LENGTH..start + offset::BODY_LENGTH + 4]
        .copy_from_slice(&body_length.to_le_bytes());
    size
}

//! From records to bodies and back: checked access, owned decoding, and writing whole frames.
//! Owns: the tie between a record and its opcode ([`Message`]). Called by: doors, clients, agents; on any thread.
//! Does not: check values; each protocol module has a `check` for what a peer may send.
//! Invariants: no byte of a body is used before its structure is checked; a frame is appended whole or not at all.

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{BoxedError, Failure};
use rkyv::ser::Serializer;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::sharing::Share;
use rkyv::util::with_arena;
use rkyv::{Archive, Deserialize, Serialize};

use crate::error::{DecodeError, EncodeError, FrameError, Reject, RejectCode};
use crate::frame::{Flags, FrameHeader, HEADER_SIZE, offset, set_body_length};
use crate::limits::BODY_MAX;
use crate::opcode::Opcode;

/// A record that is the body of a frame.
pub trait Message: Archive {
    /// Its method.
    const OPCODE: Opcode;
    /// True for answers.
    const IS_RESPONSE: bool;
}

/// A message that can be written into a frame: any [`Message`] of this crate.
pub trait WriteMessage:
    Message + for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, BoxedError>>
{
}

impl<M> WriteMessage for M where
    M: Message + for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, BoxedError>>
{
}

/// Ties records to their opcodes.
macro_rules! message {
    ($($record:ty => $opcode:ident, $is_response:literal;)*) => { $(
        impl Message for $record {
            const OPCODE: Opcode = Opcode::$opcode;
            const IS_RESPONSE: bool = $is_response;
        }
    )* };
}
pub(crate) use message;

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
        Err(error) => shortened(&error, body),
    };
    DecodeError::Archive { opcode: M::OPCODE, size: body.len(), reason }
}

/// The first lines of what the archive library said: enough for a person, without a trace per nesting level.
///
/// The library names places by their address in memory. A peer must not learn those, and a replay must give the same
/// text: they become positions in `bytes`.
fn shortened(error: &BoxedError, bytes: &[u8]) -> String {
    let text = error.to_string();
    let base = bytes.as_ptr().addr();
    let mut parts = text.split("0x");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|digit: char| !digit.is_ascii_hexdigit()).unwrap_or(part.len());
        let (digits, rest) = part.split_at(end);
        // Past the bytes by at most a record's size where a pointer overran them; anything else is no place in them.
        match usize::from_str_radix(digits, 16).map(|address| address.wrapping_sub(base)) {
            Ok(position) if position <= bytes.len().saturating_add(BODY_MAX as usize) => {
                told.push_str(&position.to_string());
            }
            _ => told.push_str("outside"),
        }
        told.push_str(rest);
        if told.len() >= 400 {
            break;
        }
    }
    told.truncate(told.floor_char_boundary(400));
    told
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
        reason: shortened(&error, body),
    })
}

/// Appends a whole frame to `out`: header, then `message` archived. Returns the frame's size.
///
/// For records whose size is bounded by construction. Should one not become a frame all the same (see
/// [`try_write_frame`]), the peer of an answer is told with a [`RejectCode::Internal`] in its place; of a request or a
/// push nothing is appended and 0 returned. What was in `out` stays in any case.
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
    M: WriteMessage,
{
    match try_write_frame(out, flags, correlation_id, routing_key, message) {
        Ok(size) => size,
        Err(error) if flags == Flags::RESPONSE => {
            let reject = Reject::new(RejectCode::Internal, error.to_string());
            write_reject(out, M::OPCODE, correlation_id, routing_key, &reject)
        }
        Err(_) => 0,
    }
}

/// As [`write_frame`], for records that may be too large: a page of reports, a list that others filled.
///
/// # Errors
/// [`EncodeError::BodyTooLarge`] past [`Opcode::body_max`], so that the caller can send less; `out` is then as before.
pub fn try_write_frame<M>(
    out: &mut Vec<u8>,
    flags: Flags,
    correlation_id: u64,
    routing_key: u64,
    message: &M,
) -> Result<usize, EncodeError>
where
    M: WriteMessage,
{
    append(out, M::OPCODE, flags, correlation_id, routing_key, message)
}

/// Appends a reject of a request of `opcode` to `out`. Returns the frame's size.
pub fn write_reject(
    out: &mut Vec<u8>,
    opcode: Opcode,
    correlation_id: u64,
    routing_key: u64,
    reject: &Reject,
) -> usize {
    // A reject built by hand may carry a longer text than `Reject::new` lets through.
    append(out, opcode, Flags::REJECT, correlation_id, routing_key, reject).unwrap_or_else(|_| {
        let cut = Reject { message: String::new(), ..*reject };
        append(out, opcode, Flags::REJECT, correlation_id, routing_key, &cut).unwrap_or(0)
    })
}

/// Appends the reject of bytes that are no frame of ours to `out`. Returns the frame's size.
///
/// Opcode number and correlation id are those the peer sent, as far as they could be read; the routing key is 0. For a
/// [fatal](FrameError::is_fatal) error this is the last frame of the stream.
pub fn write_frame_error(out: &mut Vec<u8>, error: &FrameError) -> usize {
    let start = out.len();
    let size = write_reject(out, Opcode::NodeHeartbeat, error.correlation_id(), 0, &Reject::from(error));
    let number = start + offset::OPCODE..start + offset::FLAGS;
    if let Some(field) = out.get_mut(number) {
        field.copy_from_slice(&error.opcode_number().to_le_bytes());
    }
    size
}

/// Reads the body of a frame with the `REJECT` flag.
///
/// # Errors
/// [`DecodeError::Archive`].
pub fn decode_reject(opcode: Opcode, body: &[u8]) -> Result<Reject, DecodeError> {
    rkyv::from_bytes::<Reject, BoxedError>(body).map_err(|error| DecodeError::Archive {
        opcode,
        size: body.len(),
        reason: shortened(&error, body),
    })
}

fn append<T>(
    out: &mut Vec<u8>,
    opcode: Opcode,
    flags: Flags,
    correlation_id: u64,
    routing_key: u64,
    value: &T,
) -> Result<usize, EncodeError>
where
    T: for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, BoxedError>>,
{
    let start = out.len();
    let header = FrameHeader { opcode, flags, body_length: 0, correlation_id, routing_key };
    out.extend_from_slice(&header.to_bytes());
    // Relative pointers make the archive independent of where in `out` it starts; `unaligned` of its alignment.
    // The writer is taken back whether or not this works: other frames of the batch are in it.
    let taken = core::mem::take(out);
    let (result, taken) = with_arena(|arena| {
        let mut serializer = Serializer::new(taken, arena.acquire(), Share::new());
        let result = rkyv::api::serialize_using::<_, BoxedError>(value, &mut serializer);
        (result, serializer.into_writer())
    });
    *out = taken;
    let refused = match result {
        Err(error) => Some(EncodeError::Archive { opcode, reason: shortened(&error, &out[start..]) }),
        Ok(_) => {
            let found = out.len() - start - HEADER_SIZE;
            let accepted = opcode.body_max();
            match u32::try_from(found) {
                Ok(body_length) if body_length <= accepted => {
                    set_body_length(&mut out[start..], body_length);
                    None
                }
                _ => Some(EncodeError::BodyTooLarge { opcode, found, accepted }),
            }
        }
    };
    match refused {
        None => Ok(out.len() - start),
        Some(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;

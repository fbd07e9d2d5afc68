//! Frames: a fixed little-endian header of 32 bytes, then the body, an rkyv archive.
//! Owns: the header's layout and [`FrameDecoder`], which turns arbitrary chunks of a stream into frames.
//! Called by: doors, clients, the flight recorder, the load generator; on any thread.
//! Does not: read bodies (see [`crate::message`]), own sockets, or allocate per frame.
//! Invariants: `gathered` holds the first bytes of exactly one unfinished frame, or nothing; `skip` > 0 only while it is
//! empty; the sequence of frames and errors depends on the bytes of the stream alone, not on its chunks.

use crate::error::FrameError;
use crate::limits::BODY_MAX;
use crate::opcode::Opcode;

/// First four bytes of every frame, read little-endian: the ASCII text `HDL1`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"HDL1");

/// Size of the header, bytes.
pub const HEADER_SIZE: usize = size_of::<Layout>();

/// Largest frame: header and the largest body of any opcode.
pub const FRAME_SIZE_MAX: usize = HEADER_SIZE + BODY_MAX as usize;

/// The header as it lies on the wire. Only its offsets and size are used; no reference is ever cast to it.
#[repr(C)]
struct Layout {
    magic: [u8; 4],
    version: [u8; 2],
    opcode: [u8; 2],
    flags: [u8; 2],
    reserved: [u8; 2],
    body_length: [u8; 4],
    correlation_id: [u8; 8],
    routing_key: [u8; 8],
}

/// Offsets of the header's fields.
pub mod offset {
    use core::mem::offset_of;

    use super::Layout;

    /// `magic`, 4 bytes.
    pub const MAGIC: usize = offset_of!(Layout, magic);
    /// `version`, 2 bytes.
    pub const VERSION: usize = offset_of!(Layout, version);
    /// `opcode`, 2 bytes.
    pub const OPCODE: usize = offset_of!(Layout, opcode);
    /// `flags`, 2 bytes.
    pub const FLAGS: usize = offset_of!(Layout, flags);
    /// `reserved`, 2 bytes, zero.
    pub const RESERVED: usize = offset_of!(Layout, reserved);
    /// `body_length`, 4 bytes.
    pub const BODY_LENGTH: usize = offset_of!(Layout, body_length);
    /// `correlation_id`, 8 bytes.
    pub const CORRELATION_ID: usize = offset_of!(Layout, correlation_id);
    /// `routing_key`, 8 bytes.
    pub const ROUTING_KEY: usize = offset_of!(Layout, routing_key);
}

const _: () = {
    assert!(HEADER_SIZE == 32);
    assert!(offset::MAGIC == 0 && offset::VERSION == 4 && offset::OPCODE == 6 && offset::FLAGS == 8);
    assert!(offset::RESERVED == 10 && offset::BODY_LENGTH == 12);
    assert!(offset::CORRELATION_ID == 16 && offset::ROUTING_KEY == 24);
};

/// The header's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

impl Flags {
    /// A request.
    pub const REQUEST: Self = Self(0);
    /// An answer (bit 0).
    pub const RESPONSE: Self = Self(1);
    /// An answer whose body is a [`Reject`](crate::Reject) (bits 0 and 1).
    pub const REJECT: Self = Self(1 | 2);
    /// An answer nobody asked for: pushed by the ResourceManager (bits 0 and 2), correlation id 0.
    pub const PUSH: Self = Self(1 | 4);
    /// Every bit that may be set.
    pub const ALL: u16 = 1 | 2 | 4;

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Flags from bits; `None` for anything but the four combinations above: a bit outside [`Flags::ALL`], `REJECT` or
    /// `PUSH` without `RESPONSE`, or both of them.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            0 | 1 | 3 | 5 => Some(Self(bits)),
            _ => None,
        }
    }

    /// True for answers, rejects and pushes.
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.0 & 1 != 0
    }

    /// True for rejects.
    #[must_use]
    pub const fn is_reject(self) -> bool {
        self.0 & 2 != 0
    }

    /// True for pushes.
    #[must_use]
    pub const fn is_push(self) -> bool {
        self.0 & 4 != 0
    }
}

/// Magic, version, opcode, flags and reserved field of a heartbeat's request.
const HEARTBEAT_START: [u8; 12] = {
    let (magic, version) = (MAGIC.to_le_bytes(), crate::PROTOCOL_VERSION.to_le_bytes());
    let opcode = (Opcode::NodeHeartbeat as u16).to_le_bytes();
    let [a, b, c, d] = magic;
    [a, b, c, d, version[0], version[1], opcode[0], opcode[1], 0, 0, 0, 0]
};

/// A frame's header, decoded. `magic`, `version` and `reserved` are checked and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The method.
    pub opcode: Opcode,
    /// Request, answer, reject or push.
    pub flags: Flags,
    /// Length of the body, bytes; at most [`Opcode::body_max`].
    pub body_length: u32,
    /// Chosen by the requester, repeated in the answer. 0 in pushes.
    pub correlation_id: u64,
    /// Who owns what the frame is about: a [`NodeHandle`](crate::record::NodeHandle) after registration, before it
    /// [`NodeId::routing_key`](crate::record::NodeId::routing_key). Transport routes by it and never looks into bodies.
    pub routing_key: u64,
}

impl FrameHeader {
    /// The 32 bytes of this header.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        put(&mut bytes, offset::MAGIC, MAGIC.to_le_bytes());
        put(&mut bytes, offset::VERSION, crate::PROTOCOL_VERSION.to_le_bytes());
        put(&mut bytes, offset::OPCODE, (self.opcode as u16).to_le_bytes());
        put(&mut bytes, offset::FLAGS, self.flags.bits().to_le_bytes());
        put(&mut bytes, offset::BODY_LENGTH, self.body_length.to_le_bytes());
        put(&mut bytes, offset::CORRELATION_ID, self.correlation_id.to_le_bytes());
        put(&mut bytes, offset::ROUTING_KEY, self.routing_key.to_le_bytes());
        bytes
    }

    /// Reads and checks a header.
    ///
    /// # Errors
    /// The first rule broken, in the order magic, version, opcode, flags and reserved, body length.
    #[inline]
    pub fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Result<Self, FrameError> {
        // Nearly every frame is a heartbeat's request: its first 12 bytes are always the same, one comparison.
        let start: [u8; HEARTBEAT_START.len()] = take(bytes, offset::MAGIC);
        let body_length = u32::from_le_bytes(take(bytes, offset::BODY_LENGTH));
        if start == HEARTBEAT_START && body_length <= Opcode::NodeHeartbeat.body_max() {
            return Ok(Self {
                opcode: Opcode::NodeHeartbeat,
                flags: Flags::REQUEST,
                body_length,
                correlation_id: u64::from_le_bytes(take(bytes, offset::CORRELATION_ID)),
                routing_key: u64::from_le_bytes(take(bytes, offset::ROUTING_KEY)),
            });
        }
        Self::from_any_bytes(bytes)
    }

    fn from_any_bytes(bytes: &[u8; HEADER_SIZE]) -> Result<Self, FrameError> {
        let magic = u32::from_le_bytes(take(bytes, offset::MAGIC));
        if magic != MAGIC {
            return Err(FrameError::BadMagic { found: magic });
        }
        let correlation_id = u64::from_le_bytes(take(bytes, offset::CORRELATION_ID));
        let version = u16::from_le_bytes(take(bytes, offset::VERSION));
        if version != crate::PROTOCOL_VERSION {
            return Err(FrameError::UnsupportedVersion { found: version, correlation_id });
        }
        let body_length = u32::from_le_bytes(take(bytes, offset::BODY_LENGTH));
        let number = u16::from_le_bytes(take(bytes, offset::OPCODE));
        let Some(opcode) = Opcode::from_number(number) else {
            return Err(FrameError::UnknownOpcode { found: number, correlation_id });
        };
        let bits = u16::from_le_bytes(take(bytes, offset::FLAGS));
        let reserved = u16::from_le_bytes(take(bytes, offset::RESERVED));
        let flags = match Flags::from_bits(bits) {
            Some(flags) if reserved == 0 => flags,
            _ => return Err(FrameError::BadHeader { flags: bits, reserved, correlation_id }),
        };
        if body_length > opcode.body_max() {
            let accepted = opcode.body_max();
            return Err(FrameError::BodyTooLarge { opcode, found: body_length, accepted, correlation_id });
        }
        let routing_key = u64::from_le_bytes(take(bytes, offset::ROUTING_KEY));
        Ok(Self { opcode, flags, body_length, correlation_id, routing_key })
    }
}

// The setters below patch frames that were written before: a template of an answer or a beat, a relayed frame.

/// Overwrites the routing key of a frame that lies in `frame`, at its start. Does nothing on a shorter slice.
pub fn set_routing_key(frame: &mut [u8], routing_key: u64) {
    if let Some(field) = frame.get_mut(offset::ROUTING_KEY..HEADER_SIZE) {
        field.copy_from_slice(&routing_key.to_le_bytes());
    }
}

/// Overwrites the correlation id of a frame that lies in `frame`, at its start. Does nothing on a shorter slice.
pub fn set_correlation_id(frame: &mut [u8], correlation_id: u64) {
    if let Some(field) = frame.get_mut(offset::CORRELATION_ID..offset::ROUTING_KEY) {
        field.copy_from_slice(&correlation_id.to_le_bytes());
    }
}

/// Overwrites the body length of a frame that lies in `frame`, at its start. Does nothing on a shorter slice.
///
/// For whoever writes a body by hand behind a header; the length is not checked against the opcode's limit.
pub fn set_body_length(frame: &mut [u8], body_length: u32) {
    if let Some(field) = frame.get_mut(offset::BODY_LENGTH..offset::CORRELATION_ID) {
        field.copy_from_slice(&body_length.to_le_bytes());
    }
}

#[inline]
fn take<const N: usize>(bytes: &[u8; HEADER_SIZE], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[inline]
fn put<const N: usize>(bytes: &mut [u8; HEADER_SIZE], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// One whole frame, borrowed from the chunk it lay in or from the decoder's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    /// Header and body as they lay on the wire.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The body: exactly the archive.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(HEADER_SIZE..).unwrap_or_default()
    }

    /// The frame at the start of `bytes`; what follows it is left alone.
    ///
    /// # Errors
    /// A header's fault; [`FrameError::Truncated`] where the length does not fit.
    pub fn from_slice(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let Some(head) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(FrameError::Truncated { missing: missing(HEADER_SIZE, bytes.len()) });
        };
        let header = FrameHeader::from_bytes(head)?;
        let size = HEADER_SIZE + header.body_length as usize;
        match bytes.get(..size) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(FrameError::Truncated { missing: missing(size, bytes.len()) }),
        }
    }
}

fn missing(wanted: usize, found: usize) -> u32 {
    u32::try_from(wanted.saturating_sub(found)).unwrap_or(u32::MAX)
}

/// Turns the chunks of one stream into frames, without reading or waiting by itself.
///
/// A frame that lies in one chunk is yielded in place. One that straddles chunks is gathered into a buffer that is
/// kept for the next. The result does not depend on where the chunks are cut.
///
/// Memory: at most one frame, [`FRAME_SIZE_MAX`]. The buffer grows only with bytes that really arrived, never past the
/// frame, and falls back to [`FrameDecoder::KEPT_MAX`] when the frame was a large one.
///
/// ```
/// # use heddle_wire::frame::*;
/// # use heddle_wire::Opcode;
/// let header = FrameHeader { opcode: Opcode::NodeHeartbeat, flags: Flags::REQUEST, body_length: 2, correlation_id: 7, routing_key: 9 };
/// let mut stream = header.to_bytes().to_vec();
/// stream.extend_from_slice(b"hi");
/// stream.extend_from_within(..);
/// let mut decoder = FrameDecoder::new();
/// let mut bodies = Vec::new();
/// for chunk in stream.chunks(33) {
///     let mut input = chunk;
///     while let Some(frame) = decoder.next_frame(&mut input)? {
///         bodies.push(frame.body().to_vec());
///     }
/// }
/// decoder.finish()?;
/// assert_eq!(bodies, [b"hi", b"hi"]);
/// # Ok::<(), heddle_wire::FrameError>(())
/// ```
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// First bytes of an unfinished frame. Cleared at the call after the one that yielded it. After a fatal error: the
    /// faulty header, so that every later call fails in the same way.
    gathered: Vec<u8>,
    /// The gathered frame was yielded.
    yielded: bool,
    /// Bytes of a refused frame still to be passed over.
    skip: usize,
}

impl FrameDecoder {
    /// Capacity kept between gathered frames, bytes: the decoder's share of a connection's memory.
    pub const KEPT_MAX: usize = 4 * 1024;

    /// What the first gathered frame reserves: a beat with a container or two.
    const GATHER_MIN: usize = 256;

    /// A decoder at a frame boundary. Allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { gathered: Vec::new(), yielded: false, skip: 0 }
    }

    /// The next frame of the stream; `None` when `input` is used up. `input` is advanced past what was taken.
    ///
    /// Cost: one header check; a copy only for frames that straddle chunks.
    ///
    /// # Errors
    /// [`FrameError::UnknownOpcode`] is about one frame: the decoder passes over it, call again for the next. Any
    /// other error [is fatal](FrameError::is_fatal): frame boundaries are lost, the stream has to end, and every later
    /// call gives the same error again.
    #[inline]
    pub fn next_frame<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b [u8],
    ) -> Result<Option<Frame<'a>>, FrameError> {
        if self.yielded || self.skip > 0 || !self.gathered.is_empty() {
            return self.next_gathered(input);
        }
        match Measured::of(input) {
            Measured::Whole(header, size) => {
                let (bytes, rest) = input.split_at(size);
                *input = rest;
                Ok(Some(Frame { header, bytes }))
            }
            // Nothing is gathered yet, so this begins with an empty buffer.
            _ if input.is_empty() => Ok(None),
            _ => self.next_gathered(input),
        }
    }

    /// The slow path: something is left over from an earlier chunk, or the frame does not lie whole in this one.
    fn next_gathered<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b [u8],
    ) -> Result<Option<Frame<'a>>, FrameError> {
        if self.yielded {
            self.yielded = false;
            self.gathered.clear();
            self.gathered.shrink_to(Self::KEPT_MAX);
        }
        self.pass_over(input);
        if self.skip > 0 {
            return Ok(None);
        }
        if self.gathered.is_empty()
            && let Measured::Whole(header, size) = Measured::of(input)
        {
            let (bytes, rest) = input.split_at(size);
            *input = rest;
            return Ok(Some(Frame { header, bytes }));
        }
        // First up to a whole header, then up to the whole frame: never a byte past it.
        self.top_up(HEADER_SIZE, input);
        match Measured::of(&self.gathered) {
            Measured::Header => Ok(None),
            Measured::Whole(_, size) | Measured::Partial(size) => {
                self.top_up(size, input);
                if self.gathered.len() < size {
                    return Ok(None);
                }
                self.yielded = true;
                Frame::from_slice(&self.gathered).map(Some)
            }
            Measured::Unknown { size, error } => {
                self.skip = size.saturating_sub(self.gathered.len());
                self.gathered.clear();
                self.pass_over(input);
                Err(error)
            }
            Measured::Fatal(error) => Err(error),
        }
    }

    /// Called when the stream ends.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] where it ends inside a frame; [`FrameError::BadMagic`] where what stands there does
    /// not even begin like one; after a fatal error, that error.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.skip > 0 {
            return Err(FrameError::Truncated { missing: missing(self.skip, 0) });
        }
        if self.yielded || self.gathered.is_empty() {
            return Ok(());
        }
        if let Some(found) = self.gathered.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
            && found != MAGIC
        {
            return Err(FrameError::BadMagic { found });
        }
        match Measured::of(&self.gathered) {
            Measured::Header => {
                Err(FrameError::Truncated { missing: missing(HEADER_SIZE, self.gathered.len()) })
            }
            Measured::Partial(size) => {
                Err(FrameError::Truncated { missing: missing(size, self.gathered.len()) })
            }
            Measured::Fatal(error) | Measured::Unknown { error, .. } => Err(error),
            Measured::Whole(..) => Ok(()),
        }
    }

    /// Bytes held for an unfinished frame.
    #[must_use]
    pub fn gathered_size(&self) -> usize {
        if self.yielded { 0 } else { self.gathered.len() }
    }

    /// Memory held by the decoder, bytes: never above [`FRAME_SIZE_MAX`], between frames never above
    /// [`FrameDecoder::KEPT_MAX`] once the next chunk is looked at.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.gathered.capacity()
    }

    fn pass_over(&mut self, input: &mut &[u8]) {
        let count = self.skip.min(input.len());
        *input = input.get(count..).unwrap_or_default();
        self.skip -= count;
    }

    /// Gathers from `input` until `size` bytes are there or `input` is used up.
    fn top_up(&mut self, size: usize, input: &mut &[u8]) {
        let count = size.saturating_sub(self.gathered.len()).min(input.len());
        let needed = self.gathered.len() + count;
        if needed > self.gathered.capacity() {
            // Doubling, as a vector does by itself, but not past the frame: a peer that announces a large frame and
            // sends it byte by byte costs what it has sent, and never twice the limit.
            let wanted = needed.max(self.gathered.capacity() * 2).min(size).max(Self::GATHER_MIN);
            self.gathered.reserve_exact(wanted - self.gathered.len());
        }
        let (now, rest) = input.split_at(count);
        self.gathered.extend_from_slice(now);
        *input = rest;
    }
}

/// What the bytes at hand are the beginning of.
enum Measured {
    /// Less than a header.
    Header,
    /// A header, and less than its frame of this size.
    Partial(usize),
    /// A whole frame of this size.
    Whole(FrameHeader, usize),
    /// A frame of this size that can only be passed over.
    Unknown { size: usize, error: FrameError },
    /// Not a frame.
    Fatal(FrameError),
}

impl Measured {
    #[inline]
    fn of(bytes: &[u8]) -> Self {
        let Some(head) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Self::Header;
        };
        match FrameHeader::from_bytes(head) {
            Ok(header) => {
                let size = HEADER_SIZE + header.body_length as usize;
                if bytes.len() >= size { Self::Whole(header, size) } else { Self::Partial(size) }
            }
            Err(error) => Self::of_refused(head, error),
        }
    }

    #[cold]
    fn of_refused(head: &[u8; HEADER_SIZE], error: FrameError) -> Self {
        let FrameError::UnknownOpcode { found: opcode, correlation_id } = error else {
            return Self::Fatal(error);
        };
        let found = u32::from_le_bytes(take(head, offset::BODY_LENGTH));
        if found > BODY_MAX {
            // Too much to pass over on a peer's word.
            return Self::Fatal(FrameError::UnknownBodyTooLarge { opcode, found, correlation_id });
        }
        Self::Unknown { size: HEADER_SIZE + found as usize, error }
    }
}

#[cfg(test)]
#[path = "frame/tests.rs"]
mod tests;

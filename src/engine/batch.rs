//! Batches of frames into a role and of answers out of it: contiguous bytes and an index, both reused.
//! Owns: [`FrameBatch`], [`AnswerBatch`], and who is meant by [`StreamRef`] and [`PeerId`].
//! Called by: transport (fills and empties), engine roles (read and write), recorder, simulator.
//! Does not: parse bodies. Invariant: every index entry lies within `bytes` and names one whole frame.

use core::net::IpAddr;

use heddle_wire::frame::{FRAME_SIZE_MAX, Frame};
use serde::{Deserialize, Serialize};

use super::time::Instant;

/// Most bytes of answers after which a role stops taking frames, and says how far it came.
///
/// Of every kind of role, since a peer may ask any of them for pages.
pub const ANSWERS_SIZE_MAX: usize = 1024 * 1024;

/// Most bytes of answers that come for a stream at once: one more answer is written when there is room for any. At least so
/// much is kept for a peer that reads slowly, so that one piece never looks like that.
pub const PIECE_SIZE_MAX: usize = ANSWERS_SIZE_MAX + FRAME_SIZE_MAX;

/// A stream of a connection, as transport names it: net thread, slot, and how often the slot was used.
///
/// The engine only gives it back with answers. One that died in the meantime is dropped by transport, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamRef(u64);

impl StreamRef {
    /// No stream.
    pub const NONE: Self = Self(0);

    /// The stream in `slot` of net thread `net`; `generation` starts at 1.
    #[must_use]
    pub const fn new(net: u8, slot: u32, generation: u32) -> Self {
        Self((net as u64) << 56 | ((generation & 0xff_ffff) as u64) << 32 | slot as u64)
    }

    /// The net thread.
    #[must_use]
    pub const fn net(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The slot.
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// How often the slot was used, modulo 2^24.
    #[must_use]
    pub const fn generation(self) -> u32 {
        ((self.0 >> 32) & 0xff_ffff) as u32
    }
}

/// Who a peer is: the first 64 bits of the SHA-256 of its certificate's URI name. Equal across reconnects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub u64);

/// Who a peer is in words: for roles that decide by user names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// The same in 64 bits.
    pub peer: PeerId,
    /// The certificate's name: the user.
    pub name: Box<str>,
    /// The certificate's role is admin (else client).
    pub is_admin: bool,
    /// Where its connection comes from; `None` where there is no connection.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Somebody without a connection.
    #[must_use]
    pub fn new(peer: PeerId, name: &str, is_admin: bool) -> Self {
        Self { peer, name: name.into(), is_admin, address: None }
    }
}

/// Where a frame of a [`FrameBatch`] lies and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRef {
    /// Start within the batch's bytes.
    pub offset: u32,
    /// Size with header.
    pub size: u32,
    /// Where the answer goes.
    pub stream: StreamRef,
    /// Whose certificate it came under.
    pub peer: PeerId,
}

/// Frames for one role, checked as far as the header goes, in the order they arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameBatch {
    bytes: Vec<u8>,
    frames: Vec<FrameRef>,
    /// Peers named with [`FrameBatch::push_from`], and the offset of the first frame they are named for: each once, and
    /// again where its next frame comes from another address.
    callers: Vec<(u32, Caller)>,
    /// When its first frame was put in: for measurements, never for decisions.
    began: Instant,
}

impl FrameBatch {
    /// A batch that does not allocate until it is past this size.
    #[must_use]
    pub fn with_capacity(bytes: usize, frames: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), frames: Vec::with_capacity(frames), ..Self::default() }
    }

    /// Appends a frame (header and body).
    #[inline]
    pub fn push(&mut self, frame: &[u8], stream: StreamRef, peer: PeerId) {
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(frame);
        self.frames.push(FrameRef { offset, size: frame.len() as u32, stream, peer });
    }

    /// Appends a frame together with who sent it.
    pub fn push_from(&mut self, frame: &[u8], stream: StreamRef, caller: &Caller) {
        let known = self.callers.iter().rev().find(|(_, known)| known.peer == caller.peer);
        if known.is_none_or(|(_, known)| known.address != caller.address) {
            self.callers.push((self.bytes.len() as u32, caller.clone()));
        }
        self.push(frame, stream, caller.peer);
    }

    /// Who sent a frame of this batch, where it was pushed with its caller.
    #[must_use]
    pub fn caller(&self, frame: &FrameRef) -> Option<&Caller> {
        let is_of = |(first, caller): &&(u32, Caller)| caller.peer == frame.peer && *first <= frame.offset;
        self.callers.iter().rev().find(is_of).map(|(_, caller)| caller)
    }

    /// When its first frame was put in, as whoever fills it says.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// Says when its first frame was put in.
    pub const fn set_began(&mut self, began: Instant) {
        self.began = began;
    }

    /// Everybody named in it, each with the number of the first frame it is named for.
    pub fn callers(&self) -> impl Iterator<Item = (usize, &Caller)> {
        let number = |offset: u32| self.frames.partition_point(|frame| frame.offset < offset);
        self.callers.iter().map(move |(offset, caller)| (number(*offset), caller))
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.callers.clear();
    }

    /// How many frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// True without frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes of all frames.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The index.
    #[must_use]
    pub fn frames(&self) -> &[FrameRef] {
        &self.frames
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of a frame of this batch.
    #[must_use]
    #[inline]
    pub fn frame_bytes(&self, frame: &FrameRef) -> &[u8] {
        let start = frame.offset as usize;
        self.bytes.get(start..start + frame.size as usize).unwrap_or_default()
    }

    /// A frame of this batch, its header read again. `None` only for a reference of another batch.
    #[must_use]
    #[inline]
    pub fn frame(&self, frame: &FrameRef) -> Option<Frame<'_>> {
        Frame::from_slice(self.frame_bytes(frame)).ok()
    }
}

/// Where an answer of an [`AnswerBatch`] lies and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerRef {
    /// Start within the batch's bytes.
    pub offset: u32,
    /// Size with header.
    pub size: u32,
    /// Where it goes.
    pub stream: StreamRef,
}

/// Answers or pushes of a role, whole frames, in the order they are to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerBatch {
    bytes: Vec<u8>,
    answers: Vec<AnswerRef>,
    is_pushes: bool,
}

/// Neighbouring answers of an [`AnswerBatch`] for the same stream, to be written in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerRun<'a> {
    /// Where they go.
    pub stream: StreamRef,
    /// Their bytes.
    pub bytes: &'a [u8],
    /// How many there are.
    pub count: u32,
}

impl AnswerBatch {
    /// A batch that does not allocate until it is past this size.
    #[must_use]
    pub fn with_capacity(bytes: usize, answers: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), answers: Vec::with_capacity(answers), is_pushes: false }
    }

    /// Says that these are pushes: nobody waits for them.
    pub const fn mark_as_pushes(&mut self) {
        self.is_pushes = true;
    }

    /// True for pushes.
    #[must_use]
    pub const fn is_pushes(&self) -> bool {
        self.is_pushes
    }

    /// Appends an answer that `write` appends to the bytes it is given.
    #[inline]
    pub fn push_with(&mut self, stream: StreamRef, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let size = (self.bytes.len() - start) as u32;
        self.answers.push(AnswerRef { offset: start as u32, size, stream });
    }

    /// Appends an answer.
    #[inline]
    pub fn push(&mut self, stream: StreamRef, frame: &[u8]) {
        self.push_with(stream, |bytes| bytes.extend_from_slice(frame));
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.answers.clear();
        self.is_pushes = false;
    }

    /// How many answers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// True without answers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Bytes of all answers.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The index.
    #[must_use]
    pub fn answers(&self) -> &[AnswerRef] {
        &self.answers
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of an answer of this batch.
    #[must_use]
    #[inline]
    pub fn answer_bytes(&self, answer: &AnswerRef) -> &[u8] {
        let start = answer.offset as usize;
        self.bytes.get(start..start + answer.size as usize).unwrap_or_default()
    }

    /// Runs of neighbouring answers for the same stream.
    pub fn runs(&self) -> impl Iterator<Item = AnswerRun<'_>> {
        self.answers.chunk_by(|left, right| left.stream == right.stream).filter_map(|run| {
            let (first, last) = (run.first()?, run.last()?);
            let bytes = self.bytes.get(first.offset as usize..(last.offset + last.size) as usize)?;
            Some(AnswerRun { stream: first.stream, bytes, count: run.len() as u32 })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_neighbours_of_one_stream() {
        let (a, b) = (StreamRef::new(0, 1, 1), StreamRef::new(0, 2, 1));
        let mut batch = AnswerBatch::default();
        batch.push(a, b"1");
        batch.push(a, b"22");
        batch.push(b, b"3");
        batch.push(a, b"4");
        let runs: Vec<_> = batch.runs().map(|run| (run.stream, run.bytes, run.count)).collect();
        assert_eq!(runs, [(a, &b"122"[..], 2), (b, &b"3"[..], 1), (a, &b"4"[..], 1)]);
    }

    #[test]
    fn a_peer_is_named_once_and_again_from_another_address() {
        let at = |peer, last| Caller {
            address: Some([10, 0, 0, last].into()),
            ..Caller::new(PeerId(peer), "ada", false)
        };
        let sent = [at(1, 1), at(2, 1), at(1, 1), at(1, 2), at(2, 1), at(1, 1)];
        let mut batch = FrameBatch::default();
        for caller in &sent {
            batch.push_from(b"frame", StreamRef::new(0, 1, 1), caller);
        }
        let found: Vec<&Caller> = batch.frames().iter().filter_map(|frame| batch.caller(frame)).collect();
        assert_eq!(found, sent.iter().collect::<Vec<_>>());
        let named: Vec<usize> = batch.callers().map(|(first, _)| first).collect();
        assert_eq!(named, [0, 1, 3, 5], "not for every frame");
    }

    #[test]
    fn a_stream_reference_keeps_its_parts() {
        let stream = StreamRef::new(7, u32::MAX, 0xab_cdef);
        assert_eq!((stream.net(), stream.slot(), stream.generation()), (7, u32::MAX, 0xab_cdef));
        assert_ne!(StreamRef::new(0, 0, 1), StreamRef::NONE);
    }
}

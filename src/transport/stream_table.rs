//! Streams of one net thread by slot: where answers are written, and what happens when a peer does not read them.
//! Owns: [`StreamTable`], the sending half of every stream. Called by: the net thread's turn (answers) and its stream
//! tasks (open, close). Thread: one `rm-net-N`. Does not: read, parse, or wait; a peer that reads slowly gets a task of
//! its own that waits for it, up to a bound in bytes and time, and is cut at the bound.
//!
//! Invariant: a slot's generation changes whenever it is given to another stream, so an answer cannot reach a stranger.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use quinn::{Connection, SendStream, VarInt};
use tokio::sync::Notify;

use crate::engine::batch::StreamRef;
use heddle_wire::RejectCode;

/// What writing to a stream led to.
pub(super) enum Written {
    /// All bytes are QUIC's now.
    Whole,
    /// The peer's window is full; a flush task has to write the rest and hand it to [`StreamTable::flushed`].
    Blocked(Flush),
    /// Already waiting for the peer; the bytes were added to what is kept.
    Kept,
    /// The peer reads too slowly and was cut.
    Cut,
    /// The stream is gone.
    Gone,
}

enum Sender {
    Free,
    Ready(SendStream),
    /// A flush task has the stream.
    Flushing {
        /// Bytes that came meanwhile.
        kept: Vec<u8>,
        /// Rung when they are too many.
        cut: Rc<Notify>,
    },
    /// The peer was cut or is gone; the slot is free when the stream's task has noticed.
    Dead,
}

struct Slot {
    generation: u32,
    sender: Sender,
    connection: Option<Connection>,
    /// Answers of shards that came, written or not.
    answered: u64,
    /// The peer finished its side: rung when so many answers have come.
    last: Option<(u64, Rc<Notify>)>,
}

/// See the module.
pub(super) struct StreamTable {
    net: u8,
    slots: Vec<Slot>,
    free: Vec<u32>,
    kept_max: usize,
}

/// The sending half of a stream on its way to or from a flush task, with the bytes still to write.
pub(super) struct Flush {
    pub(super) send: SendStream,
    pub(super) bytes: Vec<u8>,
    /// Rung when the peer is to be cut.
    pub(super) cut: Rc<Notify>,
    pub(super) connection: Connection,
}

impl StreamTable {
    /// `kept_max`: bytes kept for a peer that does not read.
    pub(super) const fn new(net: u8, kept_max: usize) -> Self {
        Self { net, slots: Vec::new(), free: Vec::new(), kept_max }
    }

    /// Takes in a stream.
    pub(super) fn open(&mut self, connection: Connection, send: SendStream) -> StreamRef {
        let slot = self.free.pop().unwrap_or_else(|| {
            let connection = None;
            self.slots.push(Slot {
                generation: 0,
                sender: Sender::Free,
                connection,
                answered: 0,
                last: None,
            });
            (self.slots.len() - 1) as u32
        });
        let Some(entry) = self.slots.get_mut(slot as usize) else { return StreamRef::NONE };
        // Generation 0 is never given out, so that the first stream is not `StreamRef::NONE`.
        entry.generation = if entry.generation >= 0xff_ffff { 1 } else { entry.generation + 1 };
        entry.sender = Sender::Ready(send);
        entry.connection = Some(connection);
        entry.answered = 0;
        entry.last = None;
        StreamRef::new(self.net, slot, entry.generation)
    }

    /// Lets a stream go. Returns its sending half, if it is here.
    pub(super) fn close(&mut self, stream: StreamRef) -> Option<SendStream> {
        let entry = self.slot(stream)?;
        let sender = core::mem::replace(&mut entry.sender, Sender::Free);
        entry.connection = None;
        self.free.push(stream.slot());
        match sender {
            Sender::Ready(send) => Some(send),
            Sender::Free | Sender::Flushing { .. } | Sender::Dead => None,
        }
    }

    /// Notes that answers of a shard came for a stream.
    #[inline]
    pub(super) fn note_answers(&mut self, stream: StreamRef, count: u32) {
        if let Some(entry) = self.slot(stream) {
            entry.answered += u64::from(count);
            if let Some((last, rung)) = &entry.last
                && entry.answered >= *last
            {
                rung.notify_one();
            }
        }
    }

    /// What to wait for until the answers to `requests` requests, all there ever were, have come; `None` if they have.
    pub(super) fn wait_for_answers(&mut self, stream: StreamRef, requests: u64) -> Option<Rc<Notify>> {
        let entry = self.slot(stream).filter(|entry| entry.answered < requests)?;
        let rung = Rc::new(Notify::new());
        entry.last = Some((requests, Rc::clone(&rung)));
        Some(rung)
    }

    /// True while a flush task has a stream.
    pub(super) fn is_flushing(&self) -> bool {
        self.slots.iter().any(|entry| matches!(entry.sender, Sender::Flushing { .. }))
    }

    /// Writes whole frames to a stream, without waiting.
    #[inline]
    pub(super) fn write(&mut self, stream: StreamRef, bytes: &[u8]) -> Written {
        let kept_max = self.kept_max;
        let Some(entry) = self.slot(stream) else { return Written::Gone };
        match &mut entry.sender {
            Sender::Ready(send) => {
                // A context without a waker: if the peer's window is full a flush task registers its own.
                let mut context = Context::from_waker(Waker::noop());
                let mut rest = bytes;
                while !rest.is_empty() {
                    match Pin::new(&mut *send).poll_write(&mut context, rest) {
                        Poll::Ready(Ok(count)) => rest = rest.get(count..).unwrap_or_default(),
                        Poll::Ready(Err(_)) => return Written::Gone,
                        Poll::Pending => break,
                    }
                }
                if rest.is_empty() {
                    return Written::Whole;
                }
                let cut = Rc::new(Notify::new());
                let flushing = Sender::Flushing { kept: Vec::new(), cut: Rc::clone(&cut) };
                match (core::mem::replace(&mut entry.sender, flushing), &entry.connection) {
                    (Sender::Ready(send), Some(connection)) => Written::Blocked(Flush {
                        send,
                        bytes: rest.to_vec(),
                        cut,
                        connection: connection.clone(),
                    }),
                    _ => Written::Gone,
                }
            }
            Sender::Flushing { kept, cut } => {
                if kept.len() + bytes.len() > kept_max {
                    cut.notify_one();
                    entry.sender = Sender::Dead;
                    return Written::Cut;
                }
                kept.extend_from_slice(bytes);
                Written::Kept
            }
            Sender::Free | Sender::Dead => Written::Gone,
        }
    }

    /// A flush task wrote everything it had: here is more, or the stream is taken back.
    pub(super) fn flushed(&mut self, stream: StreamRef, mut flush: Flush) -> Option<Flush> {
        let entry = self.slot(stream)?;
        match &mut entry.sender {
            Sender::Flushing { kept, .. } if !kept.is_empty() => {
                flush.bytes = core::mem::take(kept);
                Some(flush)
            }
            Sender::Flushing { .. } => {
                entry.sender = Sender::Ready(flush.send);
                None
            }
            Sender::Free | Sender::Ready(_) | Sender::Dead => None,
        }
    }

    /// Nothing is written to this stream any more.
    pub(super) fn kill(&mut self, stream: StreamRef) {
        if let Some(entry) = self.slot(stream) {
            entry.sender = Sender::Dead;
        }
    }

    /// Every open stream, for shutdown.
    pub(super) fn take_all(&mut self) -> Vec<SendStream> {
        let mut all = Vec::new();
        for slot in 0..self.slots.len() {
            let entry = &self.slots[slot];
            let stream = StreamRef::new(self.net, slot as u32, entry.generation);
            if matches!(entry.sender, Sender::Ready(_)) {
                all.extend(self.close(stream));
            }
        }
        all
    }

    #[inline]
    fn slot(&mut self, stream: StreamRef) -> Option<&mut Slot> {
        self.slots
            .get_mut(stream.slot() as usize)
            .filter(|entry| entry.generation == stream.generation() && !matches!(entry.sender, Sender::Free))
    }
}

/// Longest reason of a close, bytes: it has to fit a packet with everything else.
const REASON_SIZE_MAX: usize = 256;

/// Closes a connection with a reject code as the application's error code, and the reason for people.
pub(super) fn close_for(connection: &Connection, code: RejectCode, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(REASON_SIZE_MAX)];
    connection.close(VarInt::from_u32(u32::from(code as u16)), reason.as_bytes());
}

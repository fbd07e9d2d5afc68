//! One connection of the load generator: bytes out, frames in.
//! Owner: [`Worker`]. Called by: its own task (reads, and writes what was blocked) and the worker's tick (writes).
//! Thread: the worker's. Does not: know when a node beats, or wait: everything here polls.
//! Invariants: `out[written..]` is what the stream has not taken yet, in order; it holds at most one request per node
//! of the connection (two where copies are sent on purpose).

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use heddle_wire::{FrameDecoder, FrameError};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream};
use thiserror::Error;

use super::applications::{Applications, Kind};
use super::control::Stage;
use super::worker::Worker;
use crate::fleet::{Outcome, Pace, WrittenKind};

/// Reads of one wake-up before others get their turn.
const READS_PER_WAKE: u32 = 16;

/// Capacity of an empty `out` that is kept, bytes; registrations make it larger for a moment.
const OUT_KEPT_MAX: usize = 64 * 1024;

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum LinkEnd {
    #[error("the ResourceManager closed the stream")]
    Closed,
    /// What became of the connection says more than that it is lost: reset, timed out, closed with a reason.
    #[error("{0}")]
    Lost(ConnectionError),
    #[error("{0}")]
    Read(ReadError),
    #[error("the ResourceManager sent no frame: {0}")]
    Frame(#[from] FrameError),
}

impl From<ReadError> for LinkEnd {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Lost(error),
            other => Self::Read(other),
        }
    }
}

impl LinkEnd {
    /// It carried nothing for so long that both sides let it go; or the path is dead, which looks the same.
    pub(super) const fn is_timeout(&self) -> bool {
        matches!(self, Self::Lost(ConnectionError::TimedOut))
    }
}

/// A connection's state. Exists before it is connected and after it is lost.
#[derive(Default)]
pub(super) struct Link {
    out: Vec<u8>,
    written: usize,
    send: Option<SendStream>,
    connection: Option<quinn::Connection>,
    /// Wakes the link's task, for when the tick found the stream blocked.
    waker: Option<Waker>,
    /// In the worker's list of links to flush.
    pub is_dirty: bool,
    /// It was connected once: its nodes are started.
    pub was_connected: bool,
    /// It is to be connected. Links of ApplicationMasters only once one lives there.
    pub is_wanted: bool,
    /// Failed attempts since it was connected last.
    pub attempts: u32,
    /// Nodes, ApplicationMasters or applications that fell due while it was not connected.
    pub waiting: Vec<u32>,
    /// Frames received and stream frames sent when the path was last seen alive, and since when nothing came although
    /// something was sent.
    received: u64,
    sent: u64,
    silent_since_us: Option<u64>,
}

impl Link {
    pub(super) const fn is_connected(&self) -> bool {
        self.send.is_some()
    }

    pub(super) fn connected(&mut self, connection: quinn::Connection, send: SendStream) {
        self.out.clear();
        self.written = 0;
        self.send = Some(send);
        self.connection = Some(connection);
        self.was_connected = true;
        self.attempts = 0;
        (self.received, self.sent) = (0, 0);
        self.silent_since_us = None;
    }

    pub(super) fn disconnected(&mut self) {
        self.send = None;
        self.connection = None;
        self.waker = None;
        self.out = Vec::new();
        self.written = 0;
    }

    pub(super) fn close(&self, reason: &str) {
        if let Some(connection) = &self.connection {
            connection.close(0_u32.into(), reason.as_bytes());
        }
    }

    /// Where frames to be sent are appended. [`Link::flush`] has to follow.
    pub(super) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Hands the stream what it takes. What it does not take now, the link's task hands over later.
    pub(super) fn flush(&mut self) {
        let context = &mut Context::from_waker(Waker::noop());
        // The task is woken so that it, and not nobody, waits for room.
        if self.poll_flush(context).is_pending()
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.written < self.out.len() {
            let Some(send) = self.send.as_mut() else { return Poll::Ready(()) };
            match Pin::new(send).poll_write(context, &self.out[self.written..]) {
                Poll::Ready(Ok(count)) => self.written += count,
                // The reader sees the connection's end as well, and it is the one who reports it.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out.clear();
        self.out.shrink_to(OUT_KEPT_MAX);
        self.written = 0;
        Poll::Ready(())
    }

    /// Looks whether the peer's side of the path is alive; to be called now and then. True when something was sent,
    /// and for `dead_after_us` not even an acknowledgement came back.
    ///
    /// A slow answer does not do: a peer that lives acknowledges within milliseconds, whatever its queues are like.
    pub(super) fn is_dead(&mut self, now_us: u64, dead_after_us: u64) -> bool {
        let Some(connection) = &self.connection else { return false };
        let stats = connection.stats();
        // Probes for a lost answer are PING or IMMEDIATE_ACK frames and carry no stream data: they count as sent, or a
        // beat that was out at the last look would hide a death.
        let sent = stats.frame_tx.stream + stats.frame_tx.ping + stats.frame_tx.immediate_ack;
        // Frames count only once they are decrypted: a restarted peer sends resets that this connection cannot read, and
        // they are no sign of life.
        let received = stats.frame_rx.acks + stats.frame_rx.stream;
        if received != self.received {
            (self.received, self.sent) = (received, sent);
            self.silent_since_us = None;
        }
        // Only these have to be acknowledged; without any, silence means nothing.
        if sent == self.sent {
            return false;
        }
        let since_us = *self.silent_since_us.get_or_insert(now_us);
        now_us.saturating_sub(since_us) > dead_after_us
    }
}

/// Serves a connection until it ends: reads frames, hands them to the fleet, writes what was blocked.
pub(super) async fn serve(worker: Rc<Worker>, index: usize, mut recv: RecvStream) -> LinkEnd {
    let mut decoder = FrameDecoder::new();
    poll_fn(|context| poll(&worker, index, &mut recv, &mut decoder, context)).await
}

fn poll(
    worker: &Worker,
    index: usize,
    recv: &mut RecvStream,
    decoder: &mut FrameDecoder,
    context: &mut Context<'_>,
) -> Poll<LinkEnd> {
    {
        let mut link = worker.link(index);
        if link.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            link.waker = Some(context.waker().clone());
        }
        // Pending here leaves our waker with the stream.
        let _ = link.poll_flush(context);
    }
    let mut buffer = worker.buffer.borrow_mut();
    for _ in 0..READS_PER_WAKE {
        match recv.poll_read(context, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(error.into()),
            Poll::Ready(Ok(0)) => return Poll::Ready(LinkEnd::Closed),
            Poll::Ready(Ok(count)) => {
                if let Err(error) = take_in(worker, index, &buffer[..count], decoder, context) {
                    return Poll::Ready(error.into());
                }
            }
        }
    }
    context.waker().wake_by_ref();
    Poll::Pending
}

/// Hands every frame of `bytes` to the fleet. In closed loop the next beats go out at once, in pieces.
fn take_in(
    worker: &Worker,
    index: usize,
    bytes: &[u8],
    decoder: &mut FrameDecoder,
    context: &mut Context<'_>,
) -> Result<(), FrameError> {
    let now_us = worker.control.now_us();
    if let Some(applications) = worker.applications.as_ref()
        && worker.kind(index) != Kind::Node
    {
        return take_in_other(worker, applications, index, bytes, decoder, context);
    }
    let goes_on =
        worker.plan.pace == Pace::Max && worker.is_kicked.get() && worker.control.stage() < Stage::Drain;
    let mut fleet = worker.fleet.borrow_mut();
    let mut recorder = worker.recorder.borrow_mut();
    let mut link = worker.link(index);
    recorder.bytes_received += bytes.len() as u64;
    let mut in_piece = 0;
    let mut at = 0;
    loop {
        let mut rest = &bytes[at..];
        let frame = match decoder.next_frame(&mut rest) {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error @ FrameError::UnknownOpcode { .. }) => {
                worker.note_error(&error.to_string());
                at = bytes.len() - rest.len();
                continue;
            }
            Err(error) => return Err(error),
        };
        let answer = fleet.handle_frame(now_us, &frame);
        at = bytes.len() - rest.len();
        let is_next_due = match answer.outcome {
            Outcome::Accepted { planned_us, skipped, interval_us } => {
                recorder.answered(now_us, planned_us, skipped, interval_us);
                true
            }
            Outcome::Registered => true,
            _ => false,
        };
        if goes_on
            && is_next_due
            && let Some(node) = answer.node
        {
            let before = link.out().len();
            let written = fleet.write(node, now_us, link.out());
            recorder.bytes_sent += (link.out().len() - before) as u64;
            in_piece += u32::from(written.kind != WrittenKind::Nothing);
            if in_piece >= worker.plan.batch {
                in_piece = 0;
                let _ = link.poll_flush(context);
            }
        }
    }
    if in_piece > 0 {
        let _ = link.poll_flush(context);
    }
    drop(link);
    if let Some(applications) = worker.applications.as_ref() {
        applications.exchange(worker, &mut fleet, &mut recorder, now_us);
    }
    Ok(())
}

/// Hands every frame of `bytes` to the ApplicationMasters or clients of the link.
fn take_in_other(
    worker: &Worker,
    applications: &Applications,
    index: usize,
    bytes: &[u8],
    decoder: &mut FrameDecoder,
    context: &mut Context<'_>,
) -> Result<(), FrameError> {
    let (now_us, kind) = (worker.control.now_us(), worker.kind(index));
    let goes_on = worker.control.stage() < Stage::Drain;
    {
        let mut link = worker.link(index);
        let mut rest = bytes;
        loop {
            match decoder.next_frame(&mut rest) {
                Ok(Some(frame)) => {
                    let out = goes_on.then(|| link.out());
                    applications.handle_frame(kind, now_us, &frame, out);
                }
                Ok(None) => break,
                Err(error @ FrameError::UnknownOpcode { .. }) => worker.note_error(&error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let _ = link.poll_flush(context);
    }
    let mut fleet = worker.fleet.borrow_mut();
    let mut recorder = worker.recorder.borrow_mut();
    recorder.bytes_received += bytes.len() as u64;
    applications.exchange(worker, &mut fleet, &mut recorder, now_us);
    Ok(())
}

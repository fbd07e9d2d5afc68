//! What one role holds of another: typed ends of rings, and the wake that goes with them.
//! Owns: [`RolePort`] (a net thread's end towards an engine role), [`NetPort`] (the role's end towards a net thread),
//! [`NetWaker`]. Called by: the thread that was given the end. Does not: decide what is sent.
//!
//! Batches circulate: a fixed number of empty ones is made per pair at start, filled at one end, emptied at the other,
//! and sent back. That number is the bound. Policy when none is left: the net thread stops reading the streams that want
//! to send to that role, so that QUIC's flow control slows the peers; the role stops taking frames of that net thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam::utils::CachePadded;
use tokio::sync::Notify;

use super::clock::Clock;
use super::idle::Sleeper;
use crate::engine::batch::{AnswerBatch, Caller, FrameBatch, PeerId, StreamRef};
use crate::ring::{Full, SpscConsumer, SpscProducer, spsc};

/// Batches in circulation between one net thread and one role, each way.
///
/// 32 × 256 KiB is 8 MiB each way and pair: 10 ms of beats at the highest rate measured, more than the longest nap. While
/// frames come one by one each turn of the net thread uses one, so a napping role is woken when half of them are on
/// their way.
pub const BATCHES: usize = 32;

/// Frames after which a batch is sent although more may follow, when the role has nothing else to do.
///
/// Each such batch may wake the role. 8 connections in closed loop, the two in turn: 64 gave 3.8 and 4.1 M beats/s, 256
/// gave 4.1 and 4.4 M.
pub const FRAMES_EAGER: usize = 256;

/// Frames after which a batch is sent in any case.
pub const FRAMES_MAX: usize = 1_024;

/// Bytes after which a batch is sent in any case.
pub const BATCH_SIZE: usize = 256 * 1024;

/// Wakes a net thread for answers, if it sleeps.
#[derive(Debug, Default)]
pub struct NetWaker {
    /// Written by the net thread before it parks, cleared by whoever wakes it.
    is_parked: CachePadded<AtomicBool>,
    notify: Notify,
}

impl NetWaker {
    /// Answers were published. Cost when the thread is awake: a fence and a load.
    pub fn wake(&self) {
        // Partner: the fence in `prepare_park`.
        fence(Ordering::SeqCst);
        if self.is_parked.load(Ordering::Relaxed) && self.is_parked.swap(false, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// The net thread is about to park; look for answers once more after this.
    pub fn prepare_park(&self) {
        self.is_parked.store(true, Ordering::Relaxed);
        // Partner: the fence in `wake`.
        fence(Ordering::SeqCst);
    }

    /// The net thread does not park after all.
    pub fn cancel_park(&self) {
        self.is_parked.store(false, Ordering::Relaxed);
    }

    /// Waits for a wake: the net thread's own task that makes its runtime turn.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// A net thread's end towards one role.
#[derive(Debug)]
pub struct RolePort {
    frames: SpscProducer<FrameBatch>,
    frames_back: SpscConsumer<FrameBatch>,
    answers: SpscConsumer<AnswerBatch>,
    answers_back: SpscProducer<AnswerBatch>,
    sleeper: Arc<Sleeper>,
    filling: Option<FrameBatch>,
    flags: Arc<Flags>,
    /// Says when a batch begins; `None` where nobody measures.
    clock: Option<Clock>,
}

/// What the two ends tell each other besides batches.
#[derive(Debug, Default)]
struct Flags {
    /// Written by the net thread: it will send nothing more.
    is_drained: AtomicBool,
    /// Written by the role (true) when it had no empty batch for answers, by the net thread (false) when it sent one.
    wants_empty: AtomicBool,
}

impl RolePort {
    /// Adds a frame to the batch being filled, and sends the batch if it is large enough.
    ///
    /// # Errors
    /// [`Full`] when every batch is on its way. Nothing was taken.
    #[inline]
    pub fn offer_frame(&mut self, frame: &[u8], stream: StreamRef, peer: PeerId) -> Result<(), Full<()>> {
        self.filling()?.push(frame, stream, peer);
        self.send_if_large();
        Ok(())
    }

    /// [`RolePort::offer_frame`] for roles that decide by user names.
    ///
    /// # Errors
    /// As there.
    pub fn offer_frame_from(
        &mut self,
        frame: &[u8],
        stream: StreamRef,
        caller: &Caller,
    ) -> Result<(), Full<()>> {
        self.filling()?.push_from(frame, stream, caller);
        self.send_if_large();
        Ok(())
    }

    #[inline]
    fn filling(&mut self) -> Result<&mut FrameBatch, Full<()>> {
        match &mut self.filling {
            Some(batch) => Ok(batch),
            empty => {
                let mut batch = self.frames_back.poll().ok_or(Full(()))?;
                if let Some(clock) = &self.clock {
                    batch.set_began(clock.now());
                }
                Ok(empty.insert(batch))
            }
        }
    }

    /// Has batches say when they began. Cost: a look at the clock per batch.
    pub fn measure(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }

    #[inline]
    fn send_if_large(&mut self) {
        let Some(batch) = &self.filling else { return };
        let is_eager = batch.len() >= FRAMES_EAGER && self.frames.depth() == 0;
        if is_eager || batch.len() >= FRAMES_MAX || batch.size() >= BATCH_SIZE {
            self.send(true);
        }
    }

    /// Sends what is being filled. The role is woken if it rests, or naps and the batch is large.
    pub fn flush(&mut self) {
        if self.filling.as_ref().is_some_and(|batch| !batch.is_empty()) {
            self.send(false);
        }
    }

    fn send(&mut self, is_large: bool) {
        if let Some(batch) = self.filling.take() {
            // The ring holds every batch in circulation.
            if let Err(Full(batch)) = self.frames.offer(batch) {
                self.filling = Some(batch);
            }
            self.sleeper.notify(is_large || self.frames.depth() >= BATCHES / 2);
        }
    }

    /// The role's next answers.
    pub fn poll_answers(&mut self) -> Option<AnswerBatch> {
        self.answers.poll()
    }

    /// Gives an answer batch back, emptied.
    pub fn return_answers(&mut self, mut batch: AnswerBatch) {
        batch.clear();
        let _ = self.answers_back.offer(batch);
        // Partner: the role says that it wants one before it publishes that it sleeps, and looks once more after.
        fence(Ordering::SeqCst);
        if self.flags.wants_empty.load(Ordering::Relaxed)
            && self.flags.wants_empty.swap(false, Ordering::AcqRel)
        {
            self.sleeper.notify(true);
        }
    }

    /// True when there are answers to take.
    #[must_use]
    #[inline]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// True when a frame can be offered.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.filling.is_some() || !self.frames_back.is_empty()
    }

    /// Nothing more will be sent.
    pub fn close(&mut self) {
        self.flush();
        // Partner: the load in `NetPort::is_drained`; releases the frames before it.
        self.flags.is_drained.store(true, Ordering::Release);
        self.sleeper.notify(true);
    }

    /// True when the role has ended and all its answers were taken.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.answers.is_abandoned() && self.answers.is_empty()
    }

    /// Batches on their way to the role.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.frames.depth()
    }
}

/// A role's end towards one net thread.
#[derive(Debug)]
pub struct NetPort {
    frames: SpscConsumer<FrameBatch>,
    frames_back: SpscProducer<FrameBatch>,
    answers: SpscProducer<AnswerBatch>,
    answers_back: SpscConsumer<AnswerBatch>,
    waker: Arc<NetWaker>,
    flags: Arc<Flags>,
}

impl NetPort {
    /// The next frames.
    pub fn poll_frames(&mut self) -> Option<FrameBatch> {
        self.frames.poll()
    }

    /// Gives a frame batch back, emptied.
    pub fn return_frames(&mut self, mut batch: FrameBatch) {
        batch.clear();
        let _ = self.frames_back.offer(batch);
    }

    /// An empty batch for answers; `None` when the net thread has them all. It wakes us when it gives one back.
    pub fn poll_empty(&mut self) -> Option<AnswerBatch> {
        let empty = self.answers_back.poll();
        if empty.is_none() {
            self.flags.wants_empty.store(true, Ordering::Relaxed);
        }
        empty
    }

    /// True when there is an empty batch for answers.
    #[must_use]
    pub fn has_empty(&self) -> bool {
        !self.answers_back.is_empty()
    }

    /// True when the net thread has ended: nothing can be answered any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.answers.is_abandoned()
    }

    /// Sends answers; [`NetPort::wake`] afterwards. The ring holds every batch in circulation, so there is room.
    pub fn offer_answers(&mut self, batch: AnswerBatch) {
        let offered = self.answers.offer(batch);
        debug_assert!(offered.is_ok(), "more answer batches than were made");
    }

    /// Wakes the net thread, if it sleeps.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// True when there are frames.
    #[must_use]
    pub fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Frame batches waiting.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.frames.depth()
    }

    /// True when the net thread sends nothing more and everything it sent was taken.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        // Partner: the store in `RolePort::close`.
        self.flags.is_drained.load(Ordering::Acquire) && self.frames.is_empty()
    }
}

/// The two ends between a net thread and a role.
#[must_use]
pub fn connect(sleeper: Arc<Sleeper>, waker: Arc<NetWaker>) -> (RolePort, NetPort) {
    let (frames, frames_in) = spsc(BATCHES);
    let (mut frames_back_in, frames_back) = spsc(BATCHES);
    let (answers_in, answers) = spsc(BATCHES);
    let (mut answers_back_in, answers_back) = spsc(BATCHES);
    for _ in 0..BATCHES {
        let filled = frames_back_in.offer(FrameBatch::default()).is_ok()
            && answers_back_in.offer(AnswerBatch::default()).is_ok();
        debug_assert!(filled);
    }
    let flags = Arc::new(Flags::default());
    let role_port = RolePort {
        frames,
        frames_back,
        answers,
        answers_back: answers_back_in,
        sleeper,
        filling: None,
        flags: Arc::clone(&flags),
        clock: None,
    };
    let net_port = NetPort {
        frames: frames_in,
        frames_back: frames_back_in,
        answers: answers_in,
        answers_back,
        waker,
        flags,
    };
    (role_port, net_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_rings_push_back_and_lose_nothing() {
        let sleeper = Arc::new(Sleeper::for_current_thread());
        let (mut role_port, mut net_port) = connect(sleeper, Arc::default());
        let (stream, peer) = (StreamRef::new(0, 1, 1), PeerId(1));
        let mut offered = 0_u32;
        while role_port.offer_frame(&offered.to_le_bytes(), stream, peer).is_ok() {
            offered += 1;
            assert!(offered < 1_000_000, "a ring without a bound");
        }
        assert!(!role_port.has_room());
        let mut taken = 0_u32;
        while let Some(batch) = net_port.poll_frames() {
            for frame in batch.frames() {
                assert_eq!(batch.frame_bytes(frame), taken.to_le_bytes());
                taken += 1;
            }
            net_port.return_frames(batch);
        }
        assert_eq!(taken, offered);
        assert!(role_port.has_room());
        assert!(role_port.offer_frame(b"again", stream, peer).is_ok());
        assert!(!net_port.is_drained());
        role_port.close();
        assert!(!net_port.is_drained(), "the last frames are still to be taken");
        assert_eq!(net_port.poll_frames().map(|batch| batch.len()), Some(1));
        assert!(net_port.is_drained());
        drop(net_port);
        assert!(role_port.is_finished());
    }
}

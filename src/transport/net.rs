//! One net thread's shared state and its turn: frames out to the engine's roles, answers in from them.
//! Owns: [`Net`]: the ports to every role, the stream table, the thread's counters. Called by: the stream tasks of this
//! thread and the runtime's before-park hook. Thread: one `rm-net-N`; nothing here is shared.
//! Does not: wait. Tasks that must wait for room do so on [`Net::wait_for_room`].
//!
//! The thread's natural batch is "whatever was ready": stream tasks add frames while there is input, and just before the
//! runtime would park, [`Net::turn`] sends what was collected and writes the answers that came. Writing makes connection
//! tasks ready, so the runtime does not park then but goes on. One wake per batch each way, never one per beat.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use heddle_wire::RejectCode;
use quinn::VarInt;
use tokio::sync::Notify;

use super::stream_table::{Flush, StreamTable, Written, close_for};
use crate::config::TransportSettings;
use crate::engine::batch::{Caller, PeerId, StreamRef};
use crate::engine::time::Instant;
use crate::metrics::{CycleStats, RoleMetrics, TransportMetrics};
use crate::ring::Full;
use crate::runtime::clock::Clock;
use crate::runtime::proxy::{NetWaker, RolePort};

/// Answer batches taken in one turn per role, so that reading goes on in between.
const BATCHES_PER_TURN: usize = 8;

/// Reads of streams after which frames are sent although the thread is busy: half of them at a frame a packet fill an
/// eager batch anyway.
const READS_PER_TURN: u32 = 128;

/// A park shorter than this was none.
const SLEEP_MIN: Duration = Duration::from_micros(3);

/// Between giving up a slow reader's answers and closing its connection: some round trips, so that packets under way are
/// acknowledged and do not hold back the reason.
const CUT_DELAY: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct Net {
    /// To every shard, to the scheduler, to the application manager.
    ports: RefCell<Vec<RolePort>>,
    shard_count: usize,
    pub(super) streams: RefCell<StreamTable>,
    pub(super) metrics: Arc<TransportMetrics>,
    waker: Arc<NetWaker>,
    /// By port: who waits for room there, and what is rung when batches came back.
    room: Vec<Room>,
    /// Reads since the last turn.
    reads: Cell<u32>,
    is_stopping: Cell<bool>,
    slow_reader_size: usize,
    slow_reader_timeout: Duration,
    clock: Clock,
    cycle: Cell<NetCycle>,
}

/// Streams that wait for a role to take more.
#[derive(Default)]
struct Room {
    waiting: Cell<u32>,
    rung: Notify,
}

/// The thread's duty cycle: from the end of a park to the next.
#[derive(Clone, Copy, Default)]
struct NetCycle {
    began: Instant,
    stats: CycleStats,
    /// Start of the window of `busy_permille`, and `busy` then.
    window: (Instant, Duration),
}

impl Net {
    /// `ports`: to every shard, then to the scheduler, last to the application manager.
    pub(crate) fn new(
        index: u8,
        ports: Vec<RolePort>,
        waker: Arc<NetWaker>,
        metrics: Arc<TransportMetrics>,
        settings: &TransportSettings,
        clock: Clock,
    ) -> Rc<Self> {
        Rc::new(Self {
            shard_count: ports.len().saturating_sub(2),
            room: ports.iter().map(|_| Room::default()).collect(),
            ports: RefCell::new(ports),
            streams: RefCell::new(StreamTable::new(index, settings.slow_reader_size)),
            metrics,
            waker,
            reads: Cell::new(0),
            is_stopping: Cell::new(false),
            slow_reader_size: settings.slow_reader_size,
            slow_reader_timeout: settings.slow_reader_timeout,
            clock,
            cycle: Cell::new(NetCycle { began: clock.now(), ..NetCycle::default() }),
        })
    }

    /// How many shards there are.
    #[inline]
    pub(super) const fn shard_count(&self) -> usize {
        self.shard_count
    }

    /// The port to scheduler thread `index`.
    pub(super) const fn scheduler_port(&self, index: usize) -> usize {
        self.shard_count + index
    }

    /// The port to the application manager.
    pub(super) const fn application_port(&self) -> usize {
        self.shard_count + 1
    }

    /// Sends a frame to the role behind a port: shards' ports are their numbers.
    ///
    /// # Errors
    /// [`Full`] when every batch to that role is on its way.
    #[inline]
    pub(super) fn offer(
        &self,
        port: usize,
        frame: &[u8],
        stream: StreamRef,
        peer: PeerId,
    ) -> Result<(), Full<()>> {
        match self.ports.borrow_mut().get_mut(port) {
            Some(port) => port.offer_frame(frame, stream, peer),
            None => Ok(()),
        }
    }

    /// [`Net::offer`] together with who sent it.
    ///
    /// # Errors
    /// As there.
    pub(super) fn offer_from(
        &self,
        port: usize,
        frame: &[u8],
        stream: StreamRef,
        caller: &Caller,
    ) -> Result<(), Full<()>> {
        match self.ports.borrow_mut().get_mut(port) {
            Some(port) => port.offer_frame_from(frame, stream, caller),
            None => Ok(()),
        }
    }

    /// Waits until the role behind `port` may take frames again. The caller stops reading meanwhile: flow control slows
    /// its peer.
    pub(super) async fn wait_for_room(self: &Rc<Self>, port: usize) {
        let Some(room) = self.room.get(port) else { return };
        self.metrics.backpressure_stalls.increment();
        room.waiting.set(room.waiting.get() + 1);
        loop {
            let rung = room.rung.notified();
            // A role that has ended takes nothing more: the frame is lost with it, and so is its connection soon.
            if self.ports.borrow().get(port).is_none_or(|port| port.has_room() || port.is_finished()) {
                break;
            }
            rung.await;
        }
        room.waiting.set(room.waiting.get() - 1);
    }

    /// Sends what was collected and writes the answers that came.
    pub(crate) fn turn(self: &Rc<Self>) {
        self.reads.set(0);
        for port in self.ports.borrow_mut().iter_mut() {
            port.flush();
        }
        self.write_answers();
    }

    /// Called before the runtime parks. Afterwards answers ring the waker.
    ///
    /// It does not decide whether to park: the runtime does not when a task is ready, and everything that is still to
    /// be done makes one ready.
    pub(crate) fn before_park(self: &Rc<Self>) {
        self.turn();
        self.end_cycle();
        self.waker.prepare_park();
        if self.has_answers() {
            self.waker.wake();
        }
        self.ring_room();
    }

    /// Called after the runtime parked: answers need not ring for a thread that runs.
    pub(crate) fn after_park(&self) {
        self.waker.cancel_park();
        let mut cycle = self.cycle.get();
        let now = self.clock.now();
        // The runtime also calls when it did not sleep after all.
        if now.since(cycle.began) >= SLEEP_MIN {
            cycle.stats.sleeps += 1;
        }
        cycle.began = now;
        self.cycle.set(cycle);
    }

    /// Counts what the thread did since it last slept.
    fn end_cycle(&self) {
        let mut cycle = self.cycle.get();
        let now = self.clock.now();
        let took = now.since(cycle.began);
        cycle.stats.cycles += 1;
        cycle.stats.busy += took;
        cycle.stats.longest = cycle.stats.longest.max(took);
        cycle.began = now;
        self.cycle.set(cycle);
    }

    /// Puts the thread's measurements where readers see them.
    pub(super) fn publish(&self, role: &RoleMetrics) {
        self.metrics.queue_depth.set(self.depth() as u64);
        let mut cycle = self.cycle.get();
        let now = self.clock.now();
        let window = now.since(cycle.window.0);
        if window >= Duration::from_secs(1) {
            let busy = cycle.stats.busy.saturating_sub(cycle.window.1);
            let permille = busy.as_nanos() * 1_000 / window.as_nanos().max(1);
            cycle.stats.busy_permille = u16::try_from(permille.min(1_000)).unwrap_or(1_000);
            cycle.window = (now, cycle.stats.busy);
        }
        cycle.stats.items = self.metrics.frames_in.get();
        role.publish(&cycle.stats);
        cycle.stats.longest = Duration::ZERO;
        self.cycle.set(cycle);
    }

    /// Between two reads of a busy stream: answers are written, and now and then frames are sent, without waiting for
    /// the end of the turn, which may be far away while there is always a task ready.
    #[inline]
    pub(super) fn after_read(self: &Rc<Self>) {
        let reads = self.reads.get() + 1;
        self.reads.set(reads);
        if reads >= READS_PER_TURN {
            self.turn();
        } else if self.has_answers() {
            self.write_answers();
        }
    }

    fn has_answers(&self) -> bool {
        self.ports.borrow().iter().any(RolePort::has_answers)
    }

    /// Lets those go on who wait for a role that has room again.
    fn ring_room(&self) {
        for (room, port) in self.room.iter().zip(self.ports.borrow().iter()) {
            if room.waiting.get() > 0 && (port.has_room() || port.is_finished()) {
                room.rung.notify_waiters();
            }
        }
    }

    fn write_answers(self: &Rc<Self>) {
        let mut any = false;
        for index in 0..self.room.len() {
            for _ in 0..BATCHES_PER_TURN {
                let Some(batch) = self.ports.borrow_mut().get_mut(index).and_then(RolePort::poll_answers)
                else {
                    break;
                };
                any = true;
                self.metrics.frames_out.add(batch.len() as u64);
                self.metrics.bytes_out.add(batch.size() as u64);
                for run in batch.runs() {
                    self.write(run.stream, run.bytes);
                    if !batch.is_pushes() {
                        self.streams.borrow_mut().note_answers(run.stream, run.count);
                    }
                }
                if let Some(port) = self.ports.borrow_mut().get_mut(index) {
                    port.return_answers(batch);
                }
            }
        }
        if any {
            self.ring_room();
        }
    }

    /// Writes whole frames to a stream of this thread.
    #[inline]
    pub(super) fn write(self: &Rc<Self>, stream: StreamRef, bytes: &[u8]) {
        let written = self.streams.borrow_mut().write(stream, bytes);
        match written {
            Written::Whole | Written::Kept => {}
            Written::Blocked(flush) => {
                tokio::task::spawn_local(Rc::clone(self).flush(stream, flush));
            }
            Written::Cut => self.metrics.slow_readers_cut.increment(),
            Written::Gone => self.metrics.answers_dropped.increment(),
        }
    }

    /// Waits for a peer that does not read, up to the time bound, and cuts it there or at the bound in bytes.
    async fn flush(self: Rc<Self>, stream: StreamRef, mut flush: Flush) {
        loop {
            let is_written = tokio::select! {
                written = tokio::time::timeout(self.slow_reader_timeout, flush.send.write_all(&flush.bytes)) => {
                    match written {
                        Ok(Ok(())) => true,
                        // The connection is gone; its tasks notice by themselves.
                        Ok(Err(_)) => return self.streams.borrow_mut().kill(stream),
                        Err(_) => {
                            self.metrics.slow_readers_cut.increment();
                            false
                        }
                    }
                }
                () = flush.cut.notified() => false,
            };
            if !is_written {
                break;
            }
            let next = self.streams.borrow_mut().flushed(stream, flush);
            match next {
                Some(more) => flush = more,
                None => return,
            }
        }
        self.streams.borrow_mut().kill(stream);
        // QUIC sends the reason only when nothing else waits to be sent, so what waits is given up first.
        let _ = flush.send.reset(VarInt::from_u32(RejectCode::SlowReader as u32));
        tokio::time::sleep(CUT_DELAY).await;
        let reason = format!(
            "answers were not read: more than {} bytes or {:?} behind",
            self.slow_reader_size, self.slow_reader_timeout
        );
        close_for(&flush.connection, RejectCode::SlowReader, &reason);
    }

    /// The thread is stopping: requests are answered `ShuttingDown` from now on.
    pub(crate) fn begin_stop(&self) {
        self.is_stopping.set(true);
        for port in self.ports.borrow_mut().iter_mut() {
            port.close();
        }
    }

    /// True after [`Net::begin_stop`].
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// True when every role has ended and its last answers were written.
    pub(crate) fn is_finished(&self) -> bool {
        self.ports.borrow().iter().all(RolePort::is_finished)
    }

    /// Batches on their way to the roles.
    fn depth(&self) -> usize {
        self.ports.borrow().iter().map(RolePort::depth).sum()
    }
}

//! How an engine thread waits, and how others wake it: rarely.
//! Owns: [`Sleeper`], shared by one sleeping thread and those who feed it. Called by: the duty-cycle runner (sleep), net
//! threads and services (wake). Does not: carry messages.
//!
//! A wake of a sleeping thread costs both sides microseconds and 25–70 µs of latency on a virtual machine, more than a
//! whole heartbeat. So there are two ways to sleep. A thread that messages reach seldom *rests*: the first message wakes
//! it, and latency is that wake. One that is reached more often than every [`SHORT`] *naps*: it sleeps [`NAP`] or [`NAP_SCHEDULER`] at a time
//! and nobody wakes it for less than a large batch. Under load it does not sleep at all.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;

/// How long a thread that is often reached sleeps. 10,000 beats a second make that five beats a nap.
pub const NAP: Duration = Duration::from_micros(500);

/// The same for a thread that carries the scheduler: somebody waits for the answer of an allocate call, nobody for a beat's.
/// 9,200 calls a second of 100 ApplicationMasters, each 10 containers: half of the calls were answered within 0.72 ms with
/// naps of 500 µs, 0.50 with 250, 0.40 with 100, for 70, 76 and 86 % of a core.
pub const NAP_SCHEDULER: Duration = Duration::from_micros(150);

/// A rest that ends sooner is short: messages come at more than 10,000 a second.
pub const SHORT: Duration = Duration::from_micros(100);

/// Short rests in a row after which the thread naps.
const SHORT_RESTS: u32 = 8;

/// Empty naps in a row after which it rests: below about 2,000 messages a second.
const EMPTY_NAPS: u32 = 2;

/// Turns of a thread with nothing to do before it sleeps: covers a message just being written by the other core. Each
/// costs a look at every ring; a hundred of them were 5 % of a core at 5,000 wakes a second.
const SPINS: u32 = 8;

const AWAKE: u8 = 0;
const NAPPING: u8 = 1;
const RESTING: u8 = 2;

/// Where a thread that may sleep says so.
#[derive(Debug)]
pub struct Sleeper {
    /// Written by the sleeping thread (before it sleeps) and by whoever wakes it. The padding keeps the wakers' line
    /// away from neighbours.
    state: CachePadded<AtomicU8>,
    /// Set once by the sleeping thread, before it sleeps for the first time.
    thread: OnceLock<Thread>,
}

impl Sleeper {
    /// A sleeper for a thread that does not run yet: what feeds it can be made first. The thread calls
    /// [`Sleeper::bind`] when it begins.
    #[must_use]
    pub fn unbound() -> Self {
        Self { state: CachePadded::new(AtomicU8::new(AWAKE)), thread: OnceLock::new() }
    }

    /// The calling thread is the one that sleeps. The first caller counts.
    pub fn bind(&self) {
        let _ = self.thread.set(thread::current());
    }

    /// A sleeper for the calling thread.
    #[must_use]
    pub fn for_current_thread() -> Self {
        let sleeper = Self::unbound();
        sleeper.bind();
        sleeper
    }

    /// A message was published. Wakes the thread if it rests, or naps and the message `is_large`.
    /// Returns true if it had to. Cost when it is awake: a fence and a load.
    pub fn notify(&self, is_large: bool) -> bool {
        // Partner: the fence in `Idle::wait`. Either we see that it sleeps or it sees our message.
        fence(Ordering::SeqCst);
        let state = self.state.load(Ordering::Relaxed);
        if state == AWAKE || (state == NAPPING && !is_large) {
            return false;
        }
        if self.state.swap(AWAKE, Ordering::AcqRel) == AWAKE {
            return false;
        }
        // A thread that has not begun is awake, so it was not asked for.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        true
    }
}

/// A thread's idle strategy.
#[derive(Debug)]
pub struct Idle {
    nap: Duration,
    spins: u32,
    is_napping: bool,
    short_rests: u32,
    empty_naps: u32,
}

impl Idle {
    /// Naps so long at a time.
    #[must_use]
    pub const fn new(nap: Duration) -> Self {
        Self { nap, spins: 0, is_napping: false, short_rests: 0, empty_naps: 0 }
    }

    /// There was work.
    pub const fn reset(&mut self) {
        self.spins = 0;
    }

    /// There was no work: spins, naps or rests, at most until `deadline` from now. `has_work` is asked once more after
    /// the intention to sleep was published, and after a nap. Returns true if it slept.
    pub fn wait(&mut self, sleeper: &Sleeper, deadline: Duration, has_work: impl Fn() -> bool) -> bool {
        if self.spins < SPINS {
            self.spins += 1;
            std::hint::spin_loop();
            return false;
        }
        sleeper.state.store(if self.is_napping { NAPPING } else { RESTING }, Ordering::Relaxed);
        // Partner: the fence in `Sleeper::notify`.
        fence(Ordering::SeqCst);
        if has_work() {
            sleeper.state.store(AWAKE, Ordering::Relaxed);
            return true;
        }
        if self.is_napping {
            thread::park_timeout(deadline.min(self.nap));
            sleeper.state.store(AWAKE, Ordering::Relaxed);
            self.after_nap(has_work());
        } else {
            let began = Instant::now();
            thread::park_timeout(deadline);
            sleeper.state.store(AWAKE, Ordering::Relaxed);
            self.after_rest(began.elapsed() < SHORT);
        }
        true
    }

    const fn after_nap(&mut self, has_work: bool) {
        self.empty_naps = if has_work { 0 } else { self.empty_naps + 1 };
        if self.empty_naps >= EMPTY_NAPS {
            self.is_napping = false;
            self.short_rests = 0;
        }
    }

    const fn after_rest(&mut self, was_short: bool) {
        self.short_rests = if was_short { self.short_rests + 1 } else { 0 };
        if self.short_rests >= SHORT_RESTS {
            self.is_napping = true;
            self.empty_naps = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32};
    use std::sync::mpsc;

    use super::*;

    /// The race that would hang: a message published between the last look and the sleep.
    #[test]
    fn no_message_is_slept_through() {
        const ROUNDS: u32 = 2_000;
        let published = Arc::new(AtomicU32::new(0));
        let (send, receive) = mpsc::sync_channel(1);
        let worker = {
            let published = Arc::clone(&published);
            thread::Builder::new()
                .spawn(move || {
                    let sleeper = Arc::new(Sleeper::for_current_thread());
                    send.send(Arc::clone(&sleeper)).unwrap();
                    let mut idle = Idle::new(NAP);
                    let mut taken = 0;
                    while taken < ROUNDS {
                        let seen = published.load(Ordering::Acquire);
                        if seen > taken {
                            taken = seen;
                            idle.reset();
                        } else {
                            // A rest without end: only `notify` ends it.
                            idle.is_napping = false;
                            idle.wait(&sleeper, Duration::from_secs(3_600), || {
                                published.load(Ordering::Acquire) > taken
                            });
                        }
                    }
                })
                .unwrap()
        };
        let sleeper = receive.recv().unwrap();
        for round in 1..=ROUNDS {
            published.store(round, Ordering::Release);
            sleeper.notify(false);
            if round % 7 == 0 {
                thread::yield_now();
            }
        }
        worker.join().unwrap();
    }

    #[test]
    fn a_nap_is_not_disturbed_by_a_small_message() {
        let sleeper = Sleeper::for_current_thread();
        assert!(!sleeper.notify(true), "awake threads are not woken");
        sleeper.state.store(NAPPING, Ordering::Relaxed);
        assert!(!sleeper.notify(false));
        assert!(sleeper.notify(true));
        sleeper.state.store(RESTING, Ordering::Relaxed);
        assert!(sleeper.notify(false));
        assert!(!sleeper.notify(false), "one wake is enough");
    }

    #[test]
    fn a_busy_thread_spins_before_it_sleeps() {
        let sleeper = Sleeper::for_current_thread();
        let mut idle = Idle::new(NAP);
        let asked = AtomicBool::new(false);
        for _ in 0..SPINS {
            assert!(!idle.wait(&sleeper, Duration::ZERO, || asked.swap(true, Ordering::Relaxed)));
        }
        assert!(!asked.load(Ordering::Relaxed));
        assert!(idle.wait(&sleeper, Duration::ZERO, || true));
    }

    #[test]
    fn messages_close_together_make_it_nap_and_silence_makes_it_rest() {
        let mut idle = Idle::new(NAP);
        for _ in 1..SHORT_RESTS {
            idle.after_rest(true);
        }
        idle.after_rest(false);
        assert!(!idle.is_napping, "one long rest and it counts again");
        for _ in 0..SHORT_RESTS {
            assert!(!idle.is_napping);
            idle.after_rest(true);
        }
        assert!(idle.is_napping);
        for _ in 1..EMPTY_NAPS {
            idle.after_nap(false);
            assert!(idle.is_napping);
        }
        idle.after_nap(true);
        for _ in 0..EMPTY_NAPS {
            assert!(idle.is_napping);
            idle.after_nap(false);
        }
        assert!(!idle.is_napping);
    }
}

//! How an engine thread waits, and how others wake it: rarely.
//! Owns: [`Sleeper`], shared by one sleeping thread and those who feed it. Called by: the duty-cycle runner (sleep), net
//! threads and services (wake). Does not: carry messages.
//!
//! A wake of a sleeping thread costs both sides microseconds and 25–70 µs of latency on a virtual machine, more than a
//! whole heartbeat. So a thread that worked lately naps for one [`NAP`] at a time and nobody wakes it for less than a
//! large batch; only a thread that found nothing for [`NAPS_BEFORE_REST`] naps rests until its deadline, and then
//! the first message wakes it. Under load it does not sleep at all.

use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam::utils::CachePadded;

/// How long a thread that worked lately sleeps. 10,000 beats a second make 200 µs worth of 2 beats a wake.
pub const NAP: Duration = Duration::from_micros(200);

/// Empty naps before a rest: 2 ms without a message.
pub const NAPS_BEFORE_REST: u32 = 10;

/// Turns of a thread with nothing to do before it naps: covers a message just being written by the other core.
const SPINS: u32 = 100;

const AWAKE: u8 = 0;
const NAPPING: u8 = 1;
const RESTING: u8 = 2;

/// Where a thread that may sleep says so.
#[derive(Debug)]
pub struct Sleeper {
    /// Written by the sleeping thread (before it sleeps) and by whoever wakes it. The padding keeps the wakers' line
    /// away from neighbours.
    state: CachePadded<AtomicU8>,
    thread: Thread,
}

impl Sleeper {
    /// A sleeper for the calling thread.
    #[must_use]
    pub fn for_current_thread() -> Self {
        Self { state: CachePadded::new(AtomicU8::new(AWAKE)), thread: thread::current() }
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
        self.thread.unpark();
        true
    }
}

/// A thread's idle strategy.
#[derive(Debug, Default)]
pub struct Idle {
    spins: u32,
    naps: u32,
}

impl Idle {
    /// There was work.
    pub const fn reset(&mut self) {
        self.spins = 0;
        self.naps = 0;
    }

    /// There was no work: spins, naps or rests, at most until `deadline` from now. `has_work` is asked once more after
    /// the intention to sleep was published. Returns true if it slept.
    pub fn wait(&mut self, sleeper: &Sleeper, deadline: Duration, has_work: impl FnOnce() -> bool) -> bool {
        if self.spins < SPINS {
            self.spins += 1;
            std::hint::spin_loop();
            return false;
        }
        let is_rest = self.naps >= NAPS_BEFORE_REST;
        self.naps = self.naps.saturating_add(1);
        sleeper.state.store(if is_rest { RESTING } else { NAPPING }, Ordering::Relaxed);
        // Partner: the fence in `Sleeper::notify`.
        fence(Ordering::SeqCst);
        if !has_work() {
            thread::park_timeout(if is_rest { deadline } else { deadline.min(NAP) });
        }
        sleeper.state.store(AWAKE, Ordering::Relaxed);
        true
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
                    let mut idle = Idle::default();
                    let mut taken = 0;
                    while taken < ROUNDS {
                        let seen = published.load(Ordering::Acquire);
                        if seen > taken {
                            taken = seen;
                            idle.reset();
                        } else {
                            // A rest without end: only `notify` ends it.
                            idle.naps = NAPS_BEFORE_REST;
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
        let mut idle = Idle::default();
        let asked = AtomicBool::new(false);
        for _ in 0..SPINS {
            assert!(!idle.wait(&sleeper, Duration::ZERO, || asked.swap(true, Ordering::Relaxed)));
        }
        assert!(!asked.load(Ordering::Relaxed));
        assert!(idle.wait(&sleeper, Duration::ZERO, || true));
    }
}

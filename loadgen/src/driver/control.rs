//! What the main thread and the client threads of a run tell each other.
//! Owns: [`Control`] (main writes, clients read) and [`Status`] (one client writes, main reads).
//! Called by: both sides, on their own threads. Does not: carry beats; nothing here is touched per beat.
//!
//! Every field is read and written relaxed: each is a fact on its own, and a millisecond's delay changes nothing.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    /// Nodes connect and register.
    Ramp = 0,
    /// Everything beats, nothing counts yet.
    Warm = 1,
    /// Beats planned from now on count.
    Measure = 2,
    /// No new beats; answers still count.
    Drain = 3,
    /// Over.
    Stop = 4,
}

/// Orders of the main thread to every client thread.
#[derive(Debug)]
pub(super) struct Control {
    /// Time 0 of the run.
    start: Instant,
    stage: AtomicU8,
    /// First and last planned time that counts, microseconds since `start`.
    pub from_us: AtomicU64,
    pub until_us: AtomicU64,
    /// How often the ResourceManager was restarted.
    pub restarts: AtomicU32,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            stage: AtomicU8::new(Stage::Ramp as u8),
            from_us: AtomicU64::new(u64::MAX),
            until_us: AtomicU64::new(u64::MAX),
            restarts: AtomicU32::new(0),
        }
    }

    /// Microseconds since the run started.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Ramp,
            1 => Stage::Warm,
            2 => Stage::Measure,
            3 => Stage::Drain,
            _ => Stage::Stop,
        }
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }
}

/// What one client thread says of itself, a few times a second.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub connected: AtomicU32,
    pub registered: AtomicU32,
    pub stopped: AtomicU32,
    /// Beats answered since the start.
    pub answered: AtomicU64,
    /// Grants since the start.
    pub grants: AtomicU64,
    /// ApplicationMasters that live and were registered.
    pub masters: AtomicU32,
    /// Applications that ended, as their clients see them, and whether all have.
    pub applications_ended: AtomicU64,
    pub is_done: AtomicBool,
    pub connects_failed: AtomicU64,
    pub connections_lost: AtomicU64,
}

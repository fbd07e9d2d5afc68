//! The one place where clocks are read: monotonic time as the engine's [`Instant`], and the wall clock for identities.
//! Owns: the start of time. Called by: duty-cycle runners once per cycle, net threads for admission. Thread: any.
//! Does not: go backwards (the operating system's monotonic clock does not; the engine checks all the same).

use std::time::SystemTime;

use crate::engine::time::Instant;

/// Monotonic time since the ResourceManager started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Milliseconds since 1970: the cluster timestamp of a ResourceManager that starts now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one reader of the wall clock")]
pub fn unix_time_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

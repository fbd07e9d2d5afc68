//! How fast one connection may send frames: a leaky bucket that makes its reader pause.
//! Owns: [`Pace`]. Called by: the tasks of a connection's streams after each read. Thread: one `rm-net-N`.
//! Does not: refuse frames. A peer past its rate is read more slowly, QUIC's flow control stops it, nothing is lost.

use std::time::Duration;

use tokio::time::Instant;

/// Frames a connection may be ahead of its rate: a tenth of a second's worth, and at least this many.
const BURST_MIN: u32 = 1_024;

/// See the module. 0 frames a second means no limit, and costs nothing.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u32,
    /// When everything taken so far is paid for.
    paid_until: Option<Instant>,
}

impl Pace {
    pub(super) const fn new(per_second: u32) -> Self {
        Self { per_second, paid_until: None }
    }

    /// `frames` were read. Returns how long to pause.
    pub(super) fn after(&mut self, frames: u32, now: impl FnOnce() -> Instant) -> Option<Duration> {
        if self.per_second == 0 || frames == 0 {
            return None;
        }
        let now = now();
        let cost = Duration::from_secs(1) * frames / self.per_second;
        let paid_until = self.paid_until.map_or(now, |until| until.max(now)) + cost;
        self.paid_until = Some(paid_until);
        let burst = Duration::from_secs(1) * (self.per_second / 10).max(BURST_MIN) / self.per_second;
        paid_until.checked_duration_since(now + burst).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_the_rate_is_read_at_the_rate() {
        let mut pace = Pace::new(10_000);
        let start = Instant::now();
        let mut now = start;
        for _ in 0..1_000 {
            // 100 frames every millisecond: 100,000 a second.
            now += Duration::from_millis(1);
            if let Some(wait) = pace.after(100, || now) {
                now += wait;
            }
        }
        let elapsed = now - start;
        assert!(elapsed >= Duration::from_millis(9_800), "100,000 frames at 10,000/s took {elapsed:?}");
        assert_eq!(Pace::new(0).after(1_000_000, || now), None);
    }

    #[test]
    fn a_peer_within_its_rate_never_pauses() {
        let mut pace = Pace::new(10_000);
        let mut now = Instant::now();
        for _ in 0..1_000 {
            now += Duration::from_millis(10);
            assert_eq!(pace.after(100, || now), None);
        }
    }
}

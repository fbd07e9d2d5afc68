//! How many handshakes a net thread takes on: a token bucket. A handshake costs 0.3–0.5 ms of the thread that also
//! carries beats, so a herd that comes back after a restart is let in at a rate and the rest waits or is turned away.
//! Owns: [`HandshakeBudget`]. Called by: the accept loop of one net thread. Does not: read a clock or hold connections.

use core::time::Duration;

use crate::engine::time::Instant;

/// A token bucket over handshakes.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandshakeBudget {
    per_second: u64,
    burst: u64,
    /// Thousandths of a token times a million: tokens × 10^9, so that one nanosecond at one per second is one.
    nano_tokens: u64,
    filled: Instant,
}

const TOKEN: u64 = 1_000_000_000;

impl HandshakeBudget {
    /// A full bucket. `per_second` and `burst` are at least 1.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = u64::from(burst.max(1));
        Self { per_second: u64::from(per_second.max(1)), burst, nano_tokens: burst * TOKEN, filled: now }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let elapsed = u64::try_from(now.since(self.filled).as_nanos()).unwrap_or(u64::MAX);
        self.filled = self.filled.max(now);
        self.nano_tokens =
            self.nano_tokens.saturating_add(elapsed.saturating_mul(self.per_second)).min(self.burst * TOKEN);
        if self.nano_tokens < TOKEN {
            return false;
        }
        self.nano_tokens -= TOKEN;
        true
    }

    /// How long until there is a token again.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_nanos(TOKEN.saturating_sub(self.nano_tokens).div_ceil(self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_the_rate_is_let_in_at_the_rate() {
        let mut budget = HandshakeBudget::new(100, 10, Instant::ZERO);
        let mut admitted = 0;
        for millis in 0..2_000 {
            admitted += u32::from(budget.take(Instant::from_millis(millis)));
        }
        assert!((200..=210).contains(&admitted), "{admitted} of 2,000 in 2 s at 100/s with a burst of 10");
    }

    #[test]
    fn waiting_as_long_as_told_is_enough_and_a_clock_that_steps_back_gives_nothing() {
        let mut budget = HandshakeBudget::new(3, 1, Instant::from_millis(50));
        assert!(budget.take(Instant::from_millis(50)));
        assert!(!budget.take(Instant::from_millis(10)));
        let later = Instant::from_millis(50) + budget.wait();
        assert!(budget.take(later));
    }
}

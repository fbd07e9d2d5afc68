//! Which ApplicationMasters are silent: deadlines in order, re-armed only when they come up.
//! Owns: [`Liveliness`]. Called by: the door on each frame and tick. Thread: the scheduler's.
//! Does not: look at a session that is not due; a ping is one store in the session.
//! Invariants: a watched session has exactly one deadline here, at most its last ping plus the expiry;
//! a session expires once. Source: YARN AMLivelinessMonitor.

use std::collections::BTreeSet;

use crate::engine::scheduler::message::Attempt;
use crate::engine::time::{Duration, Instant};

/// How late a tick may be before the ResourceManager takes itself, not the ApplicationMasters, to have been away.
const LATE: Duration = Duration::from_secs(5);

/// What a session keeps for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    last_ping: Instant,
    /// Its deadline in the order; `None` = not watched.
    due: Option<Instant>,
}

impl Watch {
    /// A sign of life. Of a session that is not watched it means nothing.
    #[inline]
    pub(super) fn ping(&mut self, now: Instant) {
        self.last_ping = self.last_ping.max(now);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Liveliness {
    expiry: Duration,
    deadlines: BTreeSet<(Instant, Attempt)>,
}

impl Liveliness {
    pub(super) const fn new(expiry: Duration) -> Self {
        Self { expiry, deadlines: BTreeSet::new() }
    }

    /// Begins to watch.
    pub(super) fn watch(&mut self, now: Instant, attempt: Attempt, watch: &mut Watch) {
        watch.ping(now);
        if watch.due.is_none() {
            let due = now + self.expiry;
            watch.due = Some(due);
            self.deadlines.insert((due, attempt));
        }
    }

    /// Ends watching.
    pub(super) fn forget(&mut self, attempt: Attempt, watch: &mut Watch) {
        if let Some(due) = watch.due.take() {
            self.deadlines.remove(&(due, attempt));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// The next session whose deadline has come; it is out of the order.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Attempt)> {
        let (due, attempt) = self.deadlines.first().copied()?;
        if due > now {
            return None;
        }
        self.deadlines.pop_first();
        Some((due, attempt))
    }

    /// True when the session that [`Liveliness::pop_due`] gave is silent; otherwise it has a new deadline.
    ///
    /// When this tick is late itself, everybody due gets a whole interval anew.
    pub(super) fn is_expired(
        &mut self,
        now: Instant,
        due: Instant,
        attempt: Attempt,
        watch: &mut Watch,
    ) -> bool {
        if now.since(due) > LATE {
            watch.ping(now);
        }
        let next = watch.last_ping + self.expiry;
        if next > now {
            watch.due = Some(next);
            self.deadlines.insert((next, attempt));
            return false;
        }
        watch.due = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Attempt = Attempt(1);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_ping_moves_the_deadline_when_it_comes_up_and_silence_ends_it() {
        let mut liveliness = Liveliness::new(Duration::from_secs(600));
        let mut watch = Watch::default();
        liveliness.watch(at(0), A, &mut watch);
        watch.ping(at(300));
        assert_eq!(liveliness.pop_due(at(599)), None);
        assert_eq!(liveliness.pop_due(at(600)), Some((at(600), A)));
        assert!(!liveliness.is_expired(at(600), at(600), A, &mut watch));
        assert_eq!(liveliness.next_deadline(), Some(at(900)));
        liveliness.pop_due(at(900));
        assert!(liveliness.is_expired(at(900), at(900), A, &mut watch));
        assert_eq!(liveliness.next_deadline(), None);
    }

    #[test]
    fn nobody_is_silent_because_we_slept() {
        let mut liveliness = Liveliness::new(Duration::from_secs(600));
        let mut watch = Watch::default();
        liveliness.watch(at(0), A, &mut watch);
        let (due, _) = liveliness.pop_due(at(606)).unwrap();
        assert!(!liveliness.is_expired(at(606), due, A, &mut watch));
        assert_eq!(liveliness.next_deadline(), Some(at(1_206)));
        liveliness.forget(A, &mut watch);
        assert_eq!(liveliness.next_deadline(), None);
    }
}

//! A role on a thread: step it, measure it, idle when there is nothing to do.
//! Owns: [`DutyCycle`] and the loop [`run`]. Called by: topology, which starts the threads.
//! Does not: know what a role does. The simulator and `heddle replay` step the same roles without it.

use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::idle::{Idle, NAP, Sleeper};
use crate::engine::time::Instant;
use crate::metrics::CycleStats;

/// A role that is stepped.
pub trait DutyCycle {
    /// Drains a bounded batch of every input, works, publishes. Returns how many items it worked on; 0 = idle.
    /// `busy_permille` is the share of time the thread worked lately.
    fn do_work(&mut self, now: Instant, busy_permille: u16) -> usize;

    /// True when an input has something, asked just before the thread sleeps.
    fn has_work(&self) -> bool;

    /// When [`DutyCycle::do_work`] wants to be called next at the latest.
    fn next_deadline(&self) -> Option<Instant>;

    /// How long the thread naps at a time when messages come often.
    fn nap(&self) -> Duration {
        NAP
    }

    /// True when the role has nothing left to do and may end: asked after its inputs' senders were told to stop.
    fn is_done(&self) -> bool;

    /// Publishes counters. Called every [`PUBLISH_EVERY`] and at the end.
    fn publish(&mut self, now: Instant, stats: &CycleStats);

    /// The last call.
    fn close(&mut self);
}

/// How often counters are published.
pub const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// Longest sleep, so that a lost wake can only cost this much.
const REST_MAX: Duration = Duration::from_millis(100);

/// Steps `role` until it is done. `sleeper` must be the calling thread's.
pub fn run(role: &mut impl DutyCycle, clock: &Clock, sleeper: &Arc<Sleeper>) -> CycleStats {
    let mut stats = CycleStats::default();
    let mut idle = Idle::new(role.nap());
    let mut published = clock.now();
    let mut window = (published, Duration::ZERO);
    let mut now = published;
    loop {
        let items = role.do_work(now, stats.busy_permille);
        let end = clock.now();
        if items > 0 {
            let took = end.since(now);
            stats.cycles += 1;
            stats.items += items as u64;
            stats.busy += took;
            stats.longest = stats.longest.max(took);
            idle.reset();
        }
        if end.since(window.0) >= Duration::from_secs(1) {
            let busy = stats.busy.saturating_sub(window.1).as_nanos() * 1_000
                / end.since(window.0).as_nanos().max(1);
            stats.busy_permille = u16::try_from(busy.min(1_000)).unwrap_or(1_000);
            window = (end, stats.busy);
        }
        if end.since(published) >= PUBLISH_EVERY {
            role.publish(end, &stats);
            stats.longest = Duration::ZERO;
            published = end;
        }
        now = end;
        if items == 0 {
            if role.is_done() {
                break;
            }
            let deadline = role.next_deadline().map_or(REST_MAX, |at| at.since(now).min(REST_MAX));
            if idle.wait(sleeper, deadline, || role.has_work()) {
                stats.sleeps += 1;
                now = clock.now();
            }
        }
    }
    role.publish(clock.now(), &stats);
    role.close();
    stats
}

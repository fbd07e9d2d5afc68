//! Liveliness: who is quiet, SUSPECT, LOST; the brake on mass expiry; and a clock that forgives jumps.
//! Owns: [`Sweep`], [`Brake`] and liveliness time. Called by: every `handle_*` (time), the tick (sweep).
//! Does not: keep a timer per node or look at connections: only beats count. Thread: the shard's.
//! Invariants: a node is LOST only after it was SUSPECT for a whole round of the sweep, so mass silence is seen before
//! anyone expires; liveliness time never runs backwards and does not run while the ResourceManager sleeps.
//! Source: YARN AbstractLivelinessMonitor; SUSPECT, classes and the brake are Heddle's.

use heddle_wire::record::NodeState;

use super::node_table::RowFlags;
use super::rm_node::RmNodeEvent;
use super::{Outbox, Shard};
use crate::engine::settings::{BrakeSettings, NodeClass};
use crate::engine::time::{Duration, Instant};

/// Time between two ticks wanted while there are nodes.
pub(super) const TICK_PERIOD: Duration = Duration::from_millis(100);
/// The rest of a tick waits until so long after the last.
const TICK_MIN: Duration = Duration::from_millis(10);
/// The whole table is looked at in this time. A tick does its share: 1 M rows are 6 ms of every second.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// Where the sweep is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    cursor: u32,
    pub(super) last_tick: Instant,
}

/// The brake on mass expiry.
///
/// It engages when too many nodes are suspect at once and releases when fewer than half as many are. Nodes that are
/// still quiet then get a fresh `lost_after`: their silence is counted from the release, because what held them back
/// held the others back too. When the limit passes first, expiry goes on as if there were no brake, until the suspects
/// have fallen below half the threshold once.
#[derive(Debug, Default)]
pub(super) struct Brake {
    engaged_at: Option<Instant>,
    /// The limit passed; not engaged again for the same silence.
    is_spent: bool,
    /// Silence is counted from here at the earliest.
    floor: Instant,
}

enum BrakeStep {
    Engaged,
    Cleared,
    LimitPassed,
}

impl Brake {
    pub(super) const fn is_engaged(&self) -> bool {
        self.engaged_at.is_some()
    }

    /// Suspects at which it engages, for so many live nodes; `None` where it is turned off.
    fn threshold(settings: &BrakeSettings, live: u32) -> Option<u64> {
        let share = (u64::from(live) * u64::from(settings.suspects_permille)).div_ceil(1_000);
        (settings.suspects_permille > 0).then(|| share.max(u64::from(settings.suspects_min)).max(1))
    }

    fn update(
        &mut self,
        now: Instant,
        settings: &BrakeSettings,
        suspects: u32,
        live: u32,
    ) -> Option<BrakeStep> {
        let threshold = Self::threshold(settings, live)?;
        let is_clear = u64::from(suspects) * 2 < threshold;
        self.is_spent &= !is_clear;
        match self.engaged_at {
            None if u64::from(suspects) >= threshold && !self.is_spent => {
                self.engaged_at = Some(now);
                Some(BrakeStep::Engaged)
            }
            Some(_) if is_clear => {
                self.engaged_at = None;
                self.floor = now;
                Some(BrakeStep::Cleared)
            }
            Some(since) if now.since(since) >= settings.limit => {
                self.engaged_at = None;
                self.is_spent = true;
                Some(BrakeStep::LimitPassed)
            }
            _ => None,
        }
    }
}

/// The class a host belongs to: the first whose pattern matches, else the last.
pub(super) fn class_of(classes: &[NodeClass], host: &str) -> u8 {
    let found = classes.iter().position(|class| matches(&class.hosts, host));
    u8::try_from(found.unwrap_or(classes.len().saturating_sub(1))).unwrap_or(u8::MAX)
}

fn matches(pattern: &str, host: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == host,
        Some((head, tail)) => {
            host.len() >= head.len() + tail.len() && host.starts_with(head) && host.ends_with(tail)
        }
    }
}

impl Shard {
    /// Takes in the time of a call. Backwards is not believed; a gap beyond [`Shard::CLOCK_JUMP`] while nodes are
    /// watched means that we slept: it is taken out of liveliness time, so nobody is lost by it.
    pub(super) fn advance(&mut self, now: Instant, out: &mut Outbox) {
        if now == self.now {
            self.told_now = now;
            return;
        }
        if now < self.now {
            if now < self.told_now {
                self.counters.clock_jumps += 1;
                let back = self.told_now.since(now);
                self.notice(out, true, None, || format!("clock went back by {back:?}; time stands still"));
            }
            self.told_now = now;
            return;
        }
        self.told_now = now;
        let gap = now.since(self.now);
        if gap > Self::CLOCK_JUMP && self.active > 0 {
            self.counters.clock_jumps += 1;
            self.slept += gap;
            self.notice(out, true, None, || {
                format!("{gap:?} passed without a step; nodes are not held to account for it")
            });
        }
        self.now = now;
        self.pacing.set_now(now);
    }

    /// Now, in liveliness time.
    #[inline]
    pub(super) fn live_now(&self) -> Instant {
        self.now - self.slept
    }

    /// The lease of a class, milliseconds.
    #[inline]
    pub(super) fn lease_ms(&self, class: u8) -> u32 {
        self.lease_ms.get(class as usize).copied().unwrap_or(u32::MAX)
    }

    /// Time has passed: pushes, deadlines, brake, this tick's share of the sweep, pacing. `busy_permille` is the share of time
    /// the shard's thread worked since the last tick.
    pub fn handle_tick(&mut self, now: Instant, busy_permille: u16, out: &mut Outbox) {
        self.advance(now, out);
        self.send_pushes(out);
        let now = self.now;
        let elapsed = now.since(self.sweep.last_tick);
        if elapsed < TICK_MIN {
            // Called for pushes alone. Each tick looks at a row at least, so these would hurry the sweep.
            return;
        }
        self.sweep.last_tick = now;
        self.pacing.observe(now, elapsed, busy_permille);
        self.renew_notice_budget(elapsed, out);
        self.expire_decommissioning(out);
        self.update_brake(out);
        let rows = self.table.len() as u128;
        let share = (rows * elapsed.as_nanos()).div_ceil(SWEEP_PERIOD.as_nanos()).min(rows);
        for _ in 0..share {
            if self.sweep.cursor as usize >= self.table.len() {
                self.sweep.cursor = 0;
            }
            self.look_at(self.sweep.cursor, out);
            self.sweep.cursor += 1;
        }
    }

    fn look_at(&mut self, row: u32, out: &mut Outbox) {
        let live_now = self.live_now();
        let hot = &self.table.hot[row as usize];
        if hot.flags.has(RowFlags::FREE) {
            return;
        }
        if !hot.state.is_active() {
            if hot.flags.has(RowFlags::UNTRACKED)
                && live_now.since(self.table.cold(row).changed_at) >= self.settings.untracked_timeout
            {
                self.forget_inactive(row);
            }
            return;
        }
        let Some(class) = self.settings.classes.get(hot.class as usize) else { return };
        let quiet = live_now.since(hot.last_seen);
        if quiet < class.suspect_after.min(class.lost_after) {
            return;
        }
        if !hot.flags.has(RowFlags::SUSPECT) {
            let is_running = hot.state == NodeState::Running;
            self.table.hot[row as usize].flags.set(RowFlags::SUSPECT);
            self.counters.suspects += 1;
            self.counters.suspects_now += 1;
            if is_running {
                self.tell_usability(row);
            }
            self.update_brake(out);
            return;
        }
        let is_lost = live_now.since(hot.last_seen.max(self.brake.floor)) >= class.lost_after;
        if is_lost && !self.brake.is_engaged() {
            let name = class.name.clone();
            self.counters.losses += 1;
            self.notice(out, true, Some(row), || format!("LOST: quiet for {quiet:?} (class {name})"));
            self.raise(row, RmNodeEvent::Expire, out);
        }
    }

    /// The node beat or registered: it is not suspect any more.
    pub(super) fn clear_suspect(&mut self, row: u32) {
        let hot = &mut self.table.hot[row as usize];
        if !hot.flags.has(RowFlags::SUSPECT) {
            return;
        }
        hot.flags.clear(RowFlags::SUSPECT);
        let is_running = hot.state == NodeState::Running;
        self.counters.suspects_now -= 1;
        if is_running {
            self.tell_usability(row);
        }
    }

    fn update_brake(&mut self, out: &mut Outbox) {
        let (suspects, live) = (self.counters.suspects_now, self.active);
        let Some(step) = self.brake.update(self.live_now(), &self.settings.brake, suspects, live) else {
            return;
        };
        let (is_warning, text) = match step {
            BrakeStep::Engaged => {
                self.counters.brakes += 1;
                (true, format!("brake engaged: {suspects} of {live} nodes are quiet at once; nobody expires"))
            }
            BrakeStep::Cleared => (
                false,
                format!(
                    "brake released: {suspects} of {live} nodes are quiet, each gets its full time from now"
                ),
            ),
            BrakeStep::LimitPassed => (
                true,
                format!(
                    "brake released: its limit passed with {suspects} of {live} nodes quiet; they expire"
                ),
            ),
        };
        self.notice_always(out, is_warning, text);
    }

    /// When [`Shard::handle_tick`] wants to be called next at the latest. `None` while there are no rows.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let period = if self.active > 0 { TICK_PERIOD } else { SWEEP_PERIOD };
        let sweep = (self.table.len() > 0).then(|| self.sweep.last_tick + period);
        sweep.into_iter().chain(self.pushes.next_deadline(self.now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_with_one_star() {
        for (pattern, host, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "anything", true),
            ("gpu-*", "gpu-1", true),
            ("gpu-*", "cpu-1", false),
            ("*.rack7", "n1.rack7", true),
            ("ab*ba", "aba", false),
            ("a*b", "ab", true),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn the_brake_engages_clears_and_gives_up() {
        let settings =
            BrakeSettings { suspects_permille: 100, suspects_min: 10, limit: Duration::from_secs(60) };
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut brake = Brake::default();
        assert!(brake.update(at(0), &settings, 99, 1_000).is_none());
        assert!(matches!(brake.update(at(1), &settings, 100, 1_000), Some(BrakeStep::Engaged)));
        assert!(brake.update(at(2), &settings, 50, 1_000).is_none(), "half is not below half");
        assert!(matches!(brake.update(at(3), &settings, 49, 1_000), Some(BrakeStep::Cleared)));
        assert_eq!(brake.floor, at(3));
        assert!(matches!(brake.update(at(10), &settings, 500, 1_000), Some(BrakeStep::Engaged)));
        assert!(matches!(brake.update(at(70), &settings, 500, 1_000), Some(BrakeStep::LimitPassed)));
        assert!(brake.update(at(71), &settings, 500, 1_000).is_none(), "not again for the same silence");
        assert!(brake.update(at(72), &settings, 40, 1_000).is_none());
        assert!(matches!(brake.update(at(73), &settings, 500, 1_000), Some(BrakeStep::Engaged)));
        let off = BrakeSettings { suspects_permille: 0, ..settings };
        assert!(Brake::default().update(at(0), &off, 1_000, 1_000).is_none());
        assert!(Brake::default().update(at(0), &settings, 9, 10).is_none(), "fewer than the least");
    }
}

//! Heartbeat pacing: the interval (load, YARN's scaling), each node's phase, and the next beat that leads to it.
//! Owns: [`Pacing`]. Called by: `heartbeat`, `registration`, `node_command`, the tick. Thread: the shard's.
//! Does not: judge liveliness. Invariants: a paced interval lies between the configured one and the most; whole numbers
//! only, so that every machine computes the same.

use crate::engine::settings::{HeartbeatSettings, ScalingSettings};
use crate::engine::time::{Duration, Instant};
use heddle_wire::limits::HEARTBEAT_INTERVAL_MS_MAX;

/// Above this share of busy time the interval is lengthened, thousandths.
const BUSY_HIGH_PERMILLE: u64 = 850;
/// Below this share, for [`CALM_WINDOWS`] windows, it is shortened again, thousandths.
const BUSY_LOW_PERMILLE: u64 = 600;
/// Windows of calm before one step back: a step down too early would be taken back and make nodes swing.
const CALM_WINDOWS: u32 = 5;
/// Load is judged over windows of this length.
const WINDOW: Duration = Duration::from_secs(1);
/// A node this close to its phase is left alone, milliseconds: less than a wake-up's jitter.
const DEAD_BAND_MS: i64 = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct Pacing {
    configured_ms: u32,
    min_ms: u32,
    max_ms: u32,
    scaling: Option<ScalingSettings>,
    /// The interval in force before scaling.
    interval_ms: u32,
    window_start: Instant,
    /// Busy permille × nanoseconds within the window.
    busy: u128,
    calm_windows: u32,
    /// Where `now` stands within the interval; computed once per cycle.
    position_ms: u32,
    now_ms: u64,
}

impl Pacing {
    /// Invalid bounds (not 0 < min ≤ interval ≤ max) make all three the interval, as in YARN.
    pub(super) fn new(settings: &HeartbeatSettings) -> Self {
        let ms = |duration: Duration| {
            u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).clamp(1, HEARTBEAT_INTERVAL_MS_MAX)
        };
        let configured_ms = ms(settings.interval);
        let (mut min_ms, mut max_ms) = (ms(settings.interval_min), ms(settings.interval_max));
        if min_ms > configured_ms || max_ms < configured_ms || settings.interval_min.is_zero() {
            (min_ms, max_ms) = (configured_ms, configured_ms);
        }
        Self {
            configured_ms,
            min_ms,
            max_ms,
            scaling: settings.scaling,
            interval_ms: configured_ms,
            window_start: Instant::ZERO,
            busy: 0,
            calm_windows: 0,
            position_ms: 0,
            now_ms: 0,
        }
    }

    /// Called once per cycle.
    #[inline]
    pub(super) fn set_now(&mut self, now: Instant) {
        self.now_ms = now.as_millis();
        self.position_ms = (self.now_ms % u64::from(self.interval_ms)) as u32;
    }

    /// The interval in force, before scaling.
    pub(super) const fn interval_ms(&self) -> u32 {
        self.interval_ms
    }

    /// True where a node's own load changes its interval.
    #[inline]
    pub(super) const fn is_scaled(&self) -> bool {
        self.scaling.is_some()
    }

    /// Takes in how busy the thread was for the `elapsed` time up to `now`.
    pub(super) fn observe(&mut self, now: Instant, elapsed: Duration, busy_permille: u16) {
        self.busy += elapsed.as_nanos() * u128::from(busy_permille.min(1_000));
        let window = now.since(self.window_start);
        if window < WINDOW {
            return;
        }
        let busy_permille = u64::try_from(self.busy / window.as_nanos().max(1)).unwrap_or(1_000);
        self.window_start = now;
        self.busy = 0;
        let interval = u64::from(self.interval_ms);
        if busy_permille > BUSY_HIGH_PERMILLE {
            self.calm_windows = 0;
            self.interval_ms = ((interval * 5).div_ceil(4)).min(u64::from(self.max_ms)) as u32;
        } else if busy_permille < BUSY_LOW_PERMILLE {
            self.calm_windows += 1;
            if self.calm_windows >= CALM_WINDOWS {
                self.calm_windows = 0;
                self.interval_ms = (interval * 9 / 10).max(u64::from(self.configured_ms)) as u32;
            }
        } else {
            self.calm_windows = 0;
        }
        self.set_now(now);
    }

    /// A node's interval by its CPU use against the cluster's: YARN's scaling, in thousandths.
    ///
    /// Without data (`cpu_millicores` or `physical_cores` 0) it is the interval in force, not clamped.
    /// Source: YARN RMNodeImpl.calculateHeartBeatInterval.
    pub(super) fn scaled_ms(&self, cpu_millicores: u32, physical_cores: u32, cluster_permille: u16) -> u32 {
        let Some(scaling) = self.scaling else { return self.interval_ms };
        if physical_cores == 0 || cpu_millicores == 0 {
            return self.interval_ms;
        }
        let node = (u64::from(cpu_millicores) / u64::from(physical_cores)).min(1_000);
        let cluster = u64::from(cluster_permille.min(1_000));
        let interval = u64::from(self.interval_ms);
        let scaled = if node > cluster {
            let more = (node - cluster) * u64::from(scaling.slowdown_permille);
            interval.saturating_add(interval.saturating_mul(more) / 1_000_000)
        } else {
            let less = (cluster - node) * u64::from(scaling.speedup_permille);
            interval.saturating_sub(interval.saturating_mul(less) / 1_000_000)
        };
        scaled.clamp(u64::from(self.min_ms), u64::from(self.max_ms)) as u32
    }

    /// Milliseconds from a beat answered now to the next: one interval, corrected towards the node's phase by at most a
    /// quarter of it.
    #[inline]
    pub(super) fn next_ms(&self, interval_ms: u32, phase_ms: u32) -> u32 {
        let interval = i64::from(interval_ms);
        let mut error = i64::from(self.position(interval_ms)) - i64::from(phase_ms);
        if error >= interval - interval / 2 {
            error -= interval;
        } else if error < -(interval / 2) {
            error += interval;
        }
        if error.abs() <= DEAD_BAND_MS {
            return interval_ms;
        }
        (interval - error.clamp(-(interval / 4), interval / 4)) as u32
    }

    /// Milliseconds from now until the node's phase comes round: for the first beat. 1 to one interval.
    pub(super) fn first_ms(&self, interval_ms: u32, phase_ms: u32) -> u32 {
        let position = self.position(interval_ms);
        if phase_ms > position { phase_ms - position } else { interval_ms - (position - phase_ms) }
    }

    #[inline]
    fn position(&self, interval_ms: u32) -> u32 {
        if interval_ms == self.interval_ms {
            self.position_ms
        } else {
            (self.now_ms % u64::from(interval_ms.max(1))) as u32
        }
    }
}

/// The place of the `index`-th node within an interval: multiples of the golden ratio, which divide a circle evenly for
/// every count of nodes.
#[inline]
pub(super) const fn phase_ms(index: u32, interval_ms: u32) -> u32 {
    let fraction = index.wrapping_mul(0x9e37_79b9);
    ((fraction as u64 * interval_ms as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(scaling: Option<ScalingSettings>) -> HeartbeatSettings {
        HeartbeatSettings {
            interval: Duration::from_secs(1),
            interval_min: Duration::from_millis(500),
            interval_max: Duration::from_secs(4),
            scaling,
        }
    }

    #[test]
    fn phases_are_spread_evenly() {
        for count in [7_u32, 100, 1_000, 12_345] {
            let mut buckets = [0_u32; 10];
            for index in 0..count {
                buckets[(phase_ms(index, 1_000) / 100) as usize] += 1;
            }
            let (least, most) = (buckets.iter().min().unwrap(), buckets.iter().max().unwrap());
            assert!(most - least <= 2 + count / 200, "{count}: {buckets:?}");
        }
    }

    #[test]
    fn a_node_is_led_to_its_phase_and_left_there() {
        let mut pacing = Pacing::new(&settings(None));
        for (start, phase) in [(0, 0), (17, 900), (990, 5), (500, 999), (250, 751)] {
            let mut now = 10_000 + start;
            for _ in 0..4 {
                pacing.set_now(Instant::from_millis(now));
                let next = pacing.next_ms(1_000, phase);
                assert!((750..=1_250).contains(&next), "{next}");
                now += u64::from(next);
            }
            let error = (now as i64 - i64::from(phase)).rem_euclid(1_000);
            assert!(error <= DEAD_BAND_MS || error >= 1_000 - DEAD_BAND_MS, "phase {phase}: off by {error}");
            pacing.set_now(Instant::from_millis(now));
            assert_eq!(pacing.next_ms(1_000, phase), 1_000);
        }
    }

    #[test]
    fn the_first_beat_is_at_the_phase() {
        let mut pacing = Pacing::new(&settings(None));
        for now in [0_u64, 1, 400, 999, 1_000] {
            for phase in [0_u32, 1, 400, 999] {
                pacing.set_now(Instant::from_millis(now));
                let first = pacing.first_ms(1_000, phase);
                assert!((1..=1_000).contains(&first));
                assert_eq!((now + u64::from(first)) % 1_000, u64::from(phase));
            }
        }
    }

    #[test]
    fn load_lengthens_the_interval_to_its_most_and_calm_shortens_it_back() {
        let mut pacing = Pacing::new(&settings(None));
        let mut now = Instant::ZERO;
        let mut step = |pacing: &mut Pacing, busy| {
            now = now + WINDOW;
            pacing.observe(now, WINDOW, busy);
            pacing.interval_ms()
        };
        assert_eq!(step(&mut pacing, 850), 1_000, "not above the mark");
        assert_eq!(step(&mut pacing, 900), 1_250);
        for _ in 0..20 {
            assert!(step(&mut pacing, 1_000) <= 4_000);
        }
        assert_eq!(step(&mut pacing, 1_000), 4_000);
        for _ in 1..CALM_WINDOWS {
            assert_eq!(step(&mut pacing, 100), 4_000);
        }
        assert_eq!(step(&mut pacing, 100), 3_600);
        assert_eq!(step(&mut pacing, 700), 3_600, "in between nothing changes");
        for _ in 0..200 {
            assert!(step(&mut pacing, 0) >= 1_000);
        }
        assert_eq!(step(&mut pacing, 0), 1_000);
    }

    #[test]
    fn scaling_is_yarns() {
        let scaling = ScalingSettings { speedup_permille: 1_000, slowdown_permille: 2_000 };
        let pacing = Pacing::new(&settings(Some(scaling)));
        assert_eq!(pacing.scaled_ms(4_000, 8, 500), 1_000, "as busy as the cluster");
        assert_eq!(pacing.scaled_ms(6_000, 8, 500), 1_500, "n > c: 1 + (0.75 - 0.5) * 2");
        assert_eq!(pacing.scaled_ms(2_000, 8, 500), 750, "1 - (0.5 - 0.25) * 1");
        assert_eq!(pacing.scaled_ms(1, 8, 1_000), 500, "clamped to the least");
        assert_eq!(pacing.scaled_ms(u32::MAX, 1, 0), 3_000, "use is clamped to all cores");
        assert_eq!(pacing.scaled_ms(0, 8, 500), 1_000, "no data");
        assert_eq!(pacing.scaled_ms(5_000, 0, 500), 1_000, "no data");
        assert_eq!(Pacing::new(&settings(None)).scaled_ms(8_000, 8, 0), 1_000, "off");
    }

    #[test]
    fn bounds_that_contradict_the_interval_are_not_used() {
        let bad = HeartbeatSettings { interval_min: Duration::from_secs(2), ..settings(None) };
        let pacing = Pacing::new(&bad);
        assert_eq!((pacing.min_ms, pacing.max_ms), (1_000, 1_000));
    }
}

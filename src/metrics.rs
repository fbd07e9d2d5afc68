//! Counters of every thread: written by one, read by the scraper.
//! Owns: [`Metrics`], the registry, and its parts by thread. Called by: net threads and engine threads (write),
//! `web` (read). Does not: take a lock on a hot path, hash, allocate per count, or invent time series per node.
//!
//! Invariant: each [`Count`] and each snapshot has exactly one writing thread, so an addition is a load and a store and
//! a scrape never sees half a snapshot. Units are in the names.

use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use heddle_wire::RejectCode;
use heddle_wire::record::NodeState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::engine::shard::ShardCounters;

mod scheduling;

pub use scheduling::{ApplicationGauge, Latencies, QueueDepths, SchedulerGauge};

/// A number with one writing thread.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds. Only the owning thread calls it. Cost: a load and a store.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Takes one away, not below 0.
    pub fn decrement(&self) {
        self.set(self.get().saturating_sub(1));
    }

    /// Replaces it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads it, from any thread.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One count per reject code, and one for other codes. An array of this length has no `Default` of its own.
#[derive(Debug)]
struct RejectCounts([Count; RejectCode::ALL.len() + 1]);

impl Default for RejectCounts {
    fn default() -> Self {
        Self(core::array::from_fn(|_| Count::default()))
    }
}

/// A net thread's numbers.
#[derive(Debug, Default)]
pub struct TransportMetrics {
    /// Open connections, with handshakes under way.
    pub connections: Count,
    /// Handshakes that led to a connection.
    pub handshakes_accepted: Count,
    /// Handshakes told to prove their address first.
    pub handshakes_retried: Count,
    /// Handshakes turned away for lack of room.
    pub handshakes_refused: Count,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: Count,
    /// Frames read.
    pub frames_in: Count,
    /// Frames written.
    pub frames_out: Count,
    /// Bytes of stream data read.
    pub bytes_in: Count,
    /// Bytes of stream data written.
    pub bytes_out: Count,
    /// Runs of answers for streams that were gone.
    pub answers_dropped: Count,
    /// Peers cut for not reading.
    pub slow_readers_cut: Count,
    /// Times a stream waited because every batch to a shard was on its way.
    pub backpressure_stalls: Count,
    /// Times a stream was read more slowly because it was past its rate.
    pub paced: Count,
    /// Batches on their way to the shards.
    pub queue_depth: Count,
    /// Requests refused by the door, by the place of their code in [`RejectCode::ALL`]; the last is for other codes.
    rejects: RejectCounts,
}

impl TransportMetrics {
    /// Counts a reject.
    pub fn reject(&self, code: u16) {
        let index =
            RejectCode::ALL.iter().position(|known| *known as u16 == code).unwrap_or(RejectCode::ALL.len());
        if let Some(count) = self.rejects.0.get(index) {
            count.increment();
        }
    }

    /// Rejects of one code.
    #[must_use]
    pub fn rejects(&self, code: RejectCode) -> u64 {
        let index = RejectCode::ALL.iter().position(|known| *known == code);
        index.and_then(|index| self.rejects.0.get(index)).map_or(0, Count::get)
    }
}

/// A shard's numbers, published as a whole.
#[derive(Debug, Default)]
pub struct ShardGauge {
    counters: ArcSwap<ShardCounters>,
    role: ArcSwap<RoleCounters>,
}

/// What a shard's role counts around the engine: its rings, and what did not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleCounters {
    /// Frame batches waiting.
    pub frame_batches: u64,
    /// Node events on their way to the scheduler.
    pub node_events: u64,
    /// Orders waiting.
    pub node_commands: u64,
    /// Pushes dropped; the next beat carries the same.
    pub pushes_dropped: u64,
    /// Orders for nodes whose list was full.
    pub commands_refused: u64,
}

impl ShardGauge {
    /// Publishes the engine's counters.
    pub fn publish(&self, counters: &ShardCounters) {
        if **self.counters.load() != *counters {
            self.counters.store(Arc::new(counters.clone()));
        }
    }

    /// Publishes what the role counts around the engine.
    pub fn publish_role(&self, counters: &RoleCounters) {
        self.role.store(Arc::new(*counters));
    }

    /// The last of those published.
    #[must_use]
    pub fn role(&self) -> RoleCounters {
        **self.role.load()
    }

    /// The last counters published.
    #[must_use]
    pub fn counters(&self) -> Arc<ShardCounters> {
        self.counters.load_full()
    }
}

/// What a thread's runner measured of its role since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CycleStats {
    /// Cycles that did work.
    pub cycles: u64,
    /// Items worked on.
    pub items: u64,
    /// Time in cycles that did work.
    pub busy: Duration,
    /// Longest cycle since the last publication.
    pub longest: Duration,
    /// Times the thread slept, and so was woken up.
    pub sleeps: u64,
    /// Share of time it worked, over about the last second, thousandths.
    pub busy_permille: u16,
}

/// What the runner measured of a role, published as a whole.
#[derive(Debug, Default)]
pub struct RoleMetrics {
    stats: ArcSwap<CycleStats>,
}

impl RoleMetrics {
    /// Publishes the runner's measurements.
    pub fn publish(&self, stats: &CycleStats) {
        self.stats.store(Arc::new(*stats));
    }

    /// The last measurements published.
    #[must_use]
    pub fn stats(&self) -> CycleStats {
        **self.stats.load()
    }
}

/// Parts by their thread's or role's name, in the order they were asked for.
type Named<T> = Mutex<Vec<(String, Arc<T>)>>;

#[derive(Debug, Default)]
struct Parts {
    transports: Named<TransportMetrics>,
    shards: Named<ShardGauge>,
    roles: Named<RoleMetrics>,
    scheduler: Arc<SchedulerGauge>,
    applications: Arc<ApplicationGauge>,
}

/// The registry. Clones share it. Parts are asked for at start and then written without it.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Parts>);

impl Metrics {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The numbers of net thread `index`.
    #[must_use]
    pub fn transport(&self, index: usize) -> Arc<TransportMetrics> {
        named(&self.0.transports, &index.to_string())
    }

    /// The numbers of shard `index`.
    #[must_use]
    pub fn shard(&self, index: usize) -> Arc<ShardGauge> {
        named(&self.0.shards, &index.to_string())
    }

    /// The numbers of the role or thread `name`.
    #[must_use]
    pub fn role(&self, name: &str) -> Arc<RoleMetrics> {
        named(&self.0.roles, name)
    }

    /// The scheduler's numbers.
    #[must_use]
    pub fn scheduler(&self) -> Arc<SchedulerGauge> {
        Arc::clone(&self.0.scheduler)
    }

    /// The application manager's numbers.
    #[must_use]
    pub fn applications(&self) -> Arc<ApplicationGauge> {
        Arc::clone(&self.0.applications)
    }

    /// Every shard's counters, by name.
    #[must_use]
    pub fn shards(&self) -> Vec<(String, Arc<ShardCounters>)> {
        all(&self.0.shards).into_iter().map(|(name, gauge)| (name, gauge.counters())).collect()
    }

    /// Every net thread's numbers, by name.
    #[must_use]
    pub fn transports(&self) -> Vec<(String, Arc<TransportMetrics>)> {
        all(&self.0.transports)
    }

    /// Every role's measurements, by name.
    #[must_use]
    pub fn roles(&self) -> Vec<(String, CycleStats)> {
        all(&self.0.roles).into_iter().map(|(name, role)| (name, role.stats())).collect()
    }

    /// The exposition, in the text format that every scraper reads ([`EXPOSITION_TYPE`]).
    ///
    /// # Errors
    /// Never in practice: formatting into a string.
    pub fn exposition(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("heddle");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(classic(&text))
    }
}

/// Content type of [`Metrics::exposition`].
pub const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics text as the older text format: there a counter's HELP and TYPE carry the `_total` of its samples, and
/// there is no end mark. `promtool` and every scraper read this one.
fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1024);
    // OpenMetrics puts HELP before TYPE, so a family's HELP waits for its kind to be known.
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                out.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn named<T: Default>(parts: &Named<T>, name: &str) -> Arc<T> {
    let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, part)) = parts.iter().find(|(known, _)| known == name) {
        return Arc::clone(part);
    }
    let part = Arc::<T>::default();
    parts.push((name.to_owned(), Arc::clone(&part)));
    part
}

fn all<T>(parts: &Named<T>) -> Vec<(String, Arc<T>)> {
    parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Writes families one after the other: name, help, then a sample per label.
struct Writer<'e, 'w> {
    encoder: &'w mut DescriptorEncoder<'e>,
}

impl Writer<'_, '_> {
    fn counter<'s, N: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl Iterator<Item = (&'s str, N)>,
    ) -> fmt::Result
    where
        ConstCounter<N>: EncodeMetric,
    {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in samples {
            ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }

    fn gauge<'s>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl Iterator<Item = (&'s str, f64)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, number) in samples {
            ConstGauge::new(number).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}

impl Writer<'_, '_> {
    /// A histogram of seconds without labels: upper bounds and counts of each bucket, the last one without a bound.
    fn histogram(&mut self, name: &str, help: &str, sum: f64, buckets: &[(f64, u64)]) -> fmt::Result {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        family.encode_histogram::<[(&str, &str); 0]>(sum, count, buckets, None)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer { encoder: &mut encoder };
        encode_transports(&mut writer, &self.transports())?;
        encode_shards(&mut writer, &self.shards(), &all(&self.0.shards))?;
        encode_roles(&mut writer, &self.roles())?;
        scheduling::encode_scheduler(&mut writer, &self.scheduler())?;
        scheduling::encode_applications(&mut writer, &self.applications())
    }
}

fn encode_transports(writer: &mut Writer<'_, '_>, nets: &[(String, Arc<TransportMetrics>)]) -> fmt::Result {
    type Read = fn(&TransportMetrics) -> &Count;
    let counters: [(&str, &str, Read); 12] = [
        ("handshakes_accepted", "Handshakes that led to a connection", |m| &m.handshakes_accepted),
        ("handshakes_retried", "Handshakes told to prove their address first", |m| &m.handshakes_retried),
        ("handshakes_refused", "Handshakes turned away for lack of room", |m| &m.handshakes_refused),
        ("handshakes_failed", "Handshakes that failed or took too long", |m| &m.handshakes_failed),
        ("frames_in", "Frames read", |m| &m.frames_in),
        ("frames_out", "Frames written", |m| &m.frames_out),
        ("stream_in_bytes", "Stream data read, bytes", |m| &m.bytes_in),
        ("stream_out_bytes", "Stream data written, bytes", |m| &m.bytes_out),
        ("answers_dropped", "Runs of answers for streams that were gone", |m| &m.answers_dropped),
        ("slow_readers_cut", "Peers cut for not reading their answers", |m| &m.slow_readers_cut),
        ("backpressure_stalls", "Times a stream waited for a shard", |m| &m.backpressure_stalls),
        ("paced", "Times a stream past its rate was read more slowly", |m| &m.paced),
    ];
    for (name, help, read) in counters {
        writer.counter(name, help, "net", nets.iter().map(|(net, m)| (net.as_str(), read(m).get())))?;
    }
    let gauges: [(&str, &str, Read); 2] = [
        ("connections", "Open connections, with handshakes under way", |m| &m.connections),
        ("net_queue_depth", "Batches on their way to the shards", |m| &m.queue_depth),
    ];
    for (name, help, read) in gauges {
        writer.gauge(name, help, "net", nets.iter().map(|(net, m)| (net.as_str(), read(m).get() as f64)))?;
    }
    let names: Vec<String> =
        RejectCode::ALL.iter().map(|code| format!("{code:?}")).chain(["Other".into()]).collect();
    let totals = names.iter().enumerate().map(|(index, name)| {
        let total: u64 = nets.iter().filter_map(|(_, m)| m.rejects.0.get(index)).map(Count::get).sum();
        (name.as_str(), total)
    });
    writer.counter("door_rejects", "Requests refused by the door, by code", "code", totals)
}

fn encode_shards(
    writer: &mut Writer<'_, '_>,
    shards: &[(String, Arc<ShardCounters>)],
    gauges: &[(String, Arc<ShardGauge>)],
) -> fmt::Result {
    type Read = fn(&ShardCounters) -> u64;
    let counters: [(&str, &str, Read); 14] = [
        ("heartbeats_fresh", "Heartbeats applied", |c| c.heartbeats_fresh),
        ("heartbeats_duplicate", "Heartbeats answered with the stored answer", |c| c.heartbeats_duplicate),
        ("heartbeats_resync", "Heartbeats answered RESYNC", |c| c.heartbeats_resync),
        ("heartbeats_shutdown", "Heartbeats answered SHUTDOWN", |c| c.heartbeats_shutdown),
        ("registrations", "Registrations accepted", |c| c.registrations),
        ("registrations_refused", "Registrations refused", |c| c.registrations_refused),
        ("shard_rejects", "Frames refused by the shard", |c| c.rejects),
        ("full_reports_requested", "Full container reports asked for", |c| c.full_reports_requested),
        ("invalid_transitions", "Pairs of node state and event that are not in the table", |c| {
            c.invalid_transitions
        }),
        ("nodes_suspected", "Times a node became SUSPECT", |c| c.suspects),
        ("nodes_lost", "Times a node became LOST", |c| c.losses),
        ("brakes", "Times the brake on mass expiry engaged", |c| c.brakes),
        ("commands_dropped", "Orders for registrations that had ended", |c| c.commands_dropped),
        ("clock_jumps", "Steps of the clock that were evened out", |c| c.clock_jumps),
    ];
    for (name, help, read) in counters {
        writer.counter(name, help, "shard", shards.iter().map(|(shard, c)| (shard.as_str(), read(c))))?;
    }
    let by_state = NodeState::ALL.iter().enumerate().map(|(index, state)| {
        let total: u32 = shards.iter().filter_map(|(_, c)| c.nodes_by_state.get(index)).sum();
        (state.name(), f64::from(total))
    });
    writer.gauge("nodes", "Nodes by state", "state", by_state)?;
    type ReadValue = fn(&ShardCounters) -> f64;
    let values: [(&str, &str, ReadValue); 3] = [
        ("nodes_suspect", "Active nodes that are SUSPECT now", |c| f64::from(c.suspects_now)),
        ("brake_engaged", "1 while the brake holds back expiry", |c| f64::from(u8::from(c.is_brake_engaged))),
        ("running_containers", "Containers that are not complete", |c| c.running_containers as f64),
    ];
    for (name, help, read) in values {
        writer.gauge(name, help, "shard", shards.iter().map(|(shard, c)| (shard.as_str(), read(c))))?;
    }
    type ReadRole = fn(&RoleCounters) -> u64;
    let roles: Vec<(&str, RoleCounters)> =
        gauges.iter().map(|(shard, gauge)| (shard.as_str(), gauge.role())).collect();
    let depths: [(&str, &str, ReadRole); 3] = [
        ("shard_queue_depth", "Frame batches waiting for the shard", |r| r.frame_batches),
        ("node_event_queue_depth", "Node events on their way to the scheduler", |r| r.node_events),
        ("node_command_queue_depth", "Orders waiting for the shard", |r| r.node_commands),
    ];
    for (name, help, read) in depths {
        writer.gauge(name, help, "shard", roles.iter().map(|(shard, role)| (*shard, read(role) as f64)))?;
    }
    let counters: [(&str, &str, ReadRole); 2] = [
        ("pushes_dropped", "Pushes dropped; the next beat carries the same", |r| r.pushes_dropped),
        ("commands_refused", "Orders for nodes whose list was full", |r| r.commands_refused),
    ];
    for (name, help, read) in counters {
        writer.counter(name, help, "shard", roles.iter().map(|(shard, role)| (*shard, read(role))))?;
    }
    Ok(())
}

fn encode_roles(writer: &mut Writer<'_, '_>, roles: &[(String, CycleStats)]) -> fmt::Result {
    type ReadCount = fn(&CycleStats) -> u64;
    type ReadValue = fn(&CycleStats) -> f64;
    let counters: [(&str, &str, ReadCount); 3] = [
        ("cycles", "Duty cycles that did work", |s| s.cycles),
        ("cycle_items", "Items worked on in duty cycles", |s| s.items),
        ("cycle_sleeps", "Times the thread slept", |s| s.sleeps),
    ];
    for (name, help, read) in counters {
        writer.counter(name, help, "role", roles.iter().map(|(role, stats)| (role.as_str(), read(stats))))?;
    }
    let busy = roles.iter().map(|(role, stats)| (role.as_str(), stats.busy.as_secs_f64()));
    writer.counter("cycle_busy_seconds", "Time spent in duty cycles that did work", "role", busy)?;
    let gauges: [(&str, &str, ReadValue); 2] = [
        ("cycle_longest_seconds", "Longest duty cycle of the last tenth of a second", |s| {
            s.longest.as_secs_f64()
        }),
        ("cycle_busy_ratio", "Share of the last second the thread worked", |s| {
            f64::from(s.busy_permille) / 1_000.0
        }),
    ];
    for (name, help, read) in gauges {
        writer.gauge(name, help, "role", roles.iter().map(|(role, stats)| (role.as_str(), read(stats))))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_has_every_family_with_its_help_and_type() {
        let metrics = Metrics::new();
        let net = metrics.transport(0);
        net.frames_in.add(3);
        net.reject(RejectCode::BadMagic as u16);
        net.reject(9_999);
        metrics.shard(1).publish(&ShardCounters { heartbeats_fresh: 7, ..ShardCounters::default() });
        metrics.role("rm-engine-0").publish(&CycleStats { cycles: 5, ..CycleStats::default() });
        let text = metrics.exposition().unwrap();
        for line in [
            "heddle_frames_in_total{net=\"0\"} 3",
            "heddle_door_rejects_total{code=\"BadMagic\"} 1",
            "heddle_door_rejects_total{code=\"Other\"} 1",
            "heddle_heartbeats_fresh_total{shard=\"1\"} 7",
            "heddle_cycles_total{role=\"rm-engine-0\"} 5",
            "heddle_nodes{state=\"RUNNING\"} 0.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        lint(&text);
        assert_eq!(net.rejects(RejectCode::BadMagic), 1);
    }

    /// What `promtool check metrics` objects to: samples without HELP and TYPE, a family in two places, a counter without
    /// `_total` and a gauge with it, units that are not base units, a sample twice, a value that is not a number.
    fn lint(text: &str) {
        let (mut helped, mut typed) = (Vec::new(), Vec::<(&str, &str)>::new());
        let mut samples = std::collections::BTreeSet::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty() && !helped.contains(&name), "{line}");
                helped.push(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(
                    helped.last() == Some(&name) && typed.iter().all(|(known, _)| *known != name),
                    "{line}"
                );
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                for unit in ["_ms", "_us", "_milliseconds", "_permille", "_mb", "_kb"] {
                    assert!(!name.trim_end_matches("_total").ends_with(unit), "{line}");
                }
                typed.push((name, kind));
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let name = if typed.last().is_some_and(|(_, kind)| *kind == "histogram") {
                    ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap()
                } else {
                    name
                };
                assert!(name.starts_with("heddle_"), "{line}");
                assert_eq!(typed.last().map(|(name, _)| *name), Some(name), "{line} is not in its family");
                assert!(value.parse::<f64>().is_ok() && samples.insert(series), "{line}");
            }
        }
        assert!(typed.len() > 30 && helped.len() == typed.len());
    }

    #[test]
    fn an_empty_registry_has_its_families_too() {
        lint(&Metrics::new().exposition().unwrap());
    }

    #[test]
    fn the_same_name_is_the_same_part() {
        let metrics = Metrics::new();
        metrics.transport(2).connections.increment();
        metrics.clone().transport(2).connections.increment();
        assert_eq!(metrics.transport(2).connections.get(), 2);
        metrics.transport(2).connections.decrement();
        assert_eq!(metrics.transport(2).connections.get(), 1);
    }
}

//! Numbers of the scheduler and of the application manager.
//! Owns: [`SchedulerGauge`], [`ApplicationGauge`] and how they are exposed. Called by: the threads that carry these roles
//! (write, now and then), `web` (read). Does not: invent time series per application, user or node.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::Writer;
use crate::engine::application::ApplicationCounters;
use crate::engine::application_master::Counters as MasterCounters;
use crate::engine::scheduler::{QueueUsage, Totals};

/// Public states of an application, in the order of `YarnApplicationState`.
const STATES: [&str; 8] =
    ["NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED", "RUNNING", "FINISHED", "FAILED", "KILLED"];

/// What waits for a role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepths {
    /// Batches of frames.
    pub frame_batches: u64,
    /// Messages of other roles, and to them.
    pub messages: u64,
}

/// How long requests took, in buckets whose bounds double from a microsecond to eight seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    buckets: [u64; Self::BUCKETS],
    sum: Duration,
}

impl Latencies {
    /// The last one holds everything longer.
    const BUCKETS: usize = 25;

    /// `count` requests took so long. Cost: a few nanoseconds.
    pub fn add(&mut self, took: Duration, count: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // 0 and 1 µs are in the first bucket, 2 in the second, 3 and 4 in the third.
        let index = (u64::BITS - micros.saturating_sub(1).leading_zeros()) as usize;
        if let Some(bucket) = self.buckets.get_mut(index.min(Self::BUCKETS - 1)) {
            *bucket += count;
        }
        self.sum = self.sum.saturating_add(took.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    /// Upper bounds in seconds and counts; the last bound is infinite.
    fn bounds(&self) -> [(f64, u64); Self::BUCKETS] {
        let mut index = 0;
        self.buckets.map(|count| {
            let is_last = index == Self::BUCKETS - 1;
            let bound = if is_last { f64::INFINITY } else { (1_u64 << index) as f64 / 1e6 };
            index += 1;
            (bound, count)
        })
    }
}

/// The scheduler's numbers, published as a whole.
#[derive(Debug, Default)]
pub struct SchedulerGauge {
    latencies: ArcSwap<Latencies>,
    queues: ArcSwap<Vec<QueueUsage>>,
    totals: ArcSwap<Totals>,
    masters: ArcSwap<MasterCounters>,
    depths: ArcSwap<QueueDepths>,
}

impl SchedulerGauge {
    /// Publishes the scheduler's totals and the door's counters.
    pub fn publish(&self, totals: &Totals, masters: &MasterCounters) {
        self.totals.store(Arc::new(*totals));
        self.masters.store(Arc::new(*masters));
    }

    /// Publishes what waits.
    pub fn publish_depths(&self, depths: &QueueDepths) {
        self.depths.store(Arc::new(*depths));
    }

    /// Most queues that are exposed, in the order of the tree: seven time series each.
    pub const QUEUES_MAX: usize = 1_024;

    /// Publishes what queues use.
    pub fn publish_queues(&self, queues: Vec<QueueUsage>) {
        if **self.queues.load() != queues {
            self.queues.store(Arc::new(queues));
        }
    }

    /// Publishes how long ApplicationMasters' requests took.
    pub fn publish_latencies(&self, latencies: &Latencies) {
        if **self.latencies.load() != *latencies {
            self.latencies.store(Arc::new(*latencies));
        }
    }

    /// The last totals published.
    #[must_use]
    pub fn totals(&self) -> Arc<Totals> {
        self.totals.load_full()
    }
}

/// The application manager's numbers, published as a whole.
#[derive(Debug, Default)]
pub struct ApplicationGauge {
    counters: ArcSwap<ApplicationCounters>,
    depths: ArcSwap<QueueDepths>,
}

impl ApplicationGauge {
    /// Publishes the counters.
    pub fn publish(&self, counters: &ApplicationCounters) {
        self.counters.store(Arc::new(*counters));
    }

    /// Publishes what waits.
    pub fn publish_depths(&self, depths: &QueueDepths) {
        self.depths.store(Arc::new(*depths));
    }

    /// The last counters published.
    #[must_use]
    pub fn counters(&self) -> Arc<ApplicationCounters> {
        self.counters.load_full()
    }
}

pub(super) fn encode_scheduler(writer: &mut Writer<'_, '_>, gauge: &SchedulerGauge) -> fmt::Result {
    let (totals, depths) = (gauge.totals(), gauge.depths.load_full());
    let bytes = |memory_mb: u64| memory_mb as f64 * 1_048_576.0;
    let gauges: [(&str, &str, f64); 12] = [
        ("usable_nodes", "Nodes that may be given containers", totals.usable_nodes as f64),
        ("capability_memory_bytes", "Memory of nodes that are not UNHEALTHY", bytes(totals.memory_mb)),
        (
            "capability_virtual_cores",
            "Virtual cores of nodes that are not UNHEALTHY",
            totals.virtual_cores as f64,
        ),
        ("scheduler_running_containers", "Containers that run", totals.running_containers as f64),
        (
            "used_memory_bytes",
            "Memory that is used: containers and reservations",
            bytes(totals.used_memory_mb),
        ),
        ("used_virtual_cores", "Virtual cores that are used", totals.used_virtual_cores as f64),
        ("live_containers", "Containers granted and not ended", totals.live_containers as f64),
        ("reserved_containers", "Reservations on nodes", totals.reserved_containers as f64),
        ("reserved_memory_bytes", "Memory held by reservations", bytes(totals.reserved_memory_mb)),
        ("pending_memory_bytes", "Memory asked for and not granted", bytes(totals.pending_memory_mb)),
        (
            "pending_virtual_cores",
            "Virtual cores asked for and not granted",
            totals.pending_virtual_cores as f64,
        ),
        ("scheduler_applications", "Applications the queues have", totals.applications as f64),
    ];
    for (name, help, value) in gauges {
        writer.gauge(name, help, "partition", std::iter::once(("default", value)))?;
    }
    let counters = [
        ("containers_granted", "Containers granted", totals.granted),
        (
            "scheduler_impossible_transitions",
            "Events for states of containers in which they cannot happen",
            totals.impossible_transitions,
        ),
        ("containers_launched", "Containers seen running", totals.launched),
        ("containers_completed", "Containers seen completed, or gone with their node", totals.completed),
    ];
    for (name, help, value) in counters {
        writer.counter(name, help, "partition", std::iter::once(("default", value)))?;
    }
    encode_queues(writer, &gauge.queues.load())?;
    encode_masters(writer, &gauge.masters.load())?;
    let latencies = gauge.latencies.load_full();
    writer.histogram(
        "allocate_latency_seconds",
        "From the net thread's hand to the answer, of ApplicationMasters' requests",
        latencies.sum.as_secs_f64(),
        &latencies.bounds(),
    )?;
    encode_depths(writer, "scheduler", &depths)
}

fn encode_queues(writer: &mut Writer<'_, '_>, queues: &[QueueUsage]) -> fmt::Result {
    type Read = fn(&QueueUsage) -> f64;
    let gauges: [(&str, &str, Read); 7] = [
        ("queue_used_memory_bytes", "Memory a queue uses", |queue| {
            queue.used.memory_mb() as f64 * 1_048_576.0
        }),
        ("queue_used_virtual_cores", "Virtual cores a queue uses", |queue| queue.used.virtual_cores() as f64),
        ("queue_guaranteed_memory_bytes", "Memory a queue is guaranteed", |queue| {
            queue.guaranteed.memory_mb() as f64 * 1_048_576.0
        }),
        ("queue_guaranteed_virtual_cores", "Virtual cores a queue is guaranteed", |queue| {
            queue.guaranteed.virtual_cores() as f64
        }),
        ("queue_pending_memory_bytes", "Memory asked for in a leaf and not granted", |queue| {
            queue.pending.memory_mb() as f64 * 1_048_576.0
        }),
        ("queue_pending_virtual_cores", "Virtual cores asked for in a leaf and not granted", |queue| {
            queue.pending.virtual_cores() as f64
        }),
        ("queue_containers", "Live containers and reservations of a leaf", |queue| {
            f64::from(queue.containers)
        }),
    ];
    for (name, help, read) in gauges {
        writer.gauge(name, help, "queue", queues.iter().map(|queue| (&*queue.path, read(queue))))?;
    }
    Ok(())
}

fn encode_masters(writer: &mut Writer<'_, '_>, masters: &MasterCounters) -> fmt::Result {
    let counters: [(&str, &str, u64); 13] = [
        ("masters_registered", "ApplicationMasters registered", masters.registrations),
        ("allocates_fresh", "Allocates applied", masters.allocates_fresh),
        ("allocates_duplicate", "Allocates answered with the stored answer", masters.allocates_duplicate),
        ("masters_finished", "ApplicationMasters that said their last word", masters.finished),
        ("master_rejects", "Requests of ApplicationMasters that were refused", masters.rejects),
        ("grants_sent", "Grants told", masters.grants_sent),
        ("container_ends_sent", "Ends of containers told", masters.ends_sent),
        ("master_events_resent", "Grants and ends told again on another stream", masters.events_resent),
        ("grants_voided", "Grants taken back because they were not wanted any more", masters.grants_voided),
        ("grants_restored", "Grants that ended before they were told", masters.grants_restored),
        ("master_pushes", "Pushes to ApplicationMasters", masters.pushes),
        ("masters_expired", "ApplicationMasters that were silent for too long", masters.expired),
        (
            "masters_held",
            "Times an ApplicationMaster that reads nothing was given nothing more",
            masters.held,
        ),
    ];
    for (name, help, value) in counters {
        writer.counter(name, help, "scheduler", std::iter::once(("0", value)))?;
    }
    Ok(())
}

pub(super) fn encode_applications(writer: &mut Writer<'_, '_>, gauge: &ApplicationGauge) -> fmt::Result {
    let (counters, depths) = (gauge.counters(), gauge.depths.load_full());
    let states = STATES.into_iter().zip(counters.applications_by_state.map(f64::from));
    writer.gauge("applications", "Applications in memory, by state", "state", states)?;
    let ended = [("FINISHED", counters.finished), ("FAILED", counters.failed), ("KILLED", counters.killed)];
    writer.counter("applications_ended", "Applications that ended, by state", "state", ended.into_iter())?;
    let only = |value: u64| std::iter::once(("rm-app", value));
    let numbers: [(&str, &str, u64); 8] = [
        ("applications_submitted", "Applications submitted and taken", counters.submitted),
        ("application_attempts", "Attempts begun", counters.attempts),
        ("application_attempts_failed", "Attempts that failed", counters.attempts_failed),
        ("applications_evicted", "Completed applications forgotten beyond the cap", counters.evicted),
        ("application_rejects", "Calls of clients and administrators that were refused", counters.rejects),
        ("application_access_denied", "Calls refused for access control", counters.access_denied),
        (
            "application_impossible_pairs",
            "Pairs of state and event that are in no table",
            counters.impossible_pairs,
        ),
        ("store_failures", "Writes of the state store that failed", counters.store_failures),
    ];
    for (name, help, value) in numbers {
        writer.counter(name, help, "role", only(value))?;
    }
    let gauges: [(&str, &str, u64); 2] = [
        (
            "application_queries",
            "Questions to the scheduler that wait for an answer",
            u64::from(counters.queries_outstanding),
        ),
        ("launch_context_bytes", "Launch contexts kept, bytes", counters.launch_context_bytes),
    ];
    for (name, help, value) in gauges {
        writer.gauge(name, help, "role", std::iter::once(("rm-app", value as f64)))?;
    }
    encode_depths(writer, "application", &depths)
}

fn encode_depths(writer: &mut Writer<'_, '_>, role: &str, depths: &QueueDepths) -> fmt::Result {
    for (what, help, depth) in [
        ("frame_batches", "Batches of frames that wait", depths.frame_batches),
        ("messages", "Messages of other roles that wait", depths.messages),
    ] {
        let name = format!("{role}_{what}_queue_depth");
        writer.gauge(&name, help, "role", std::iter::once((role, depth as f64)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_the_bucket_below_whose_bound_they_are() {
        let mut latencies = Latencies::default();
        for (micros, count) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (1_000, 7), (u64::MAX, 2)] {
            latencies.add(Duration::from_micros(micros), count);
        }
        let bounds = latencies.bounds();
        assert_eq!(bounds[0], (1e-6, 2));
        assert_eq!((bounds[1].1, bounds[2].1), (1, 2));
        assert_eq!(bounds[10], (1_024e-6, 7));
        assert_eq!(bounds[Latencies::BUCKETS - 1], (f64::INFINITY, 2));
        assert_eq!(bounds.iter().map(|(_, count)| count).sum::<u64>(), 14);
    }

    #[test]
    fn queues_are_exposed_by_their_path() {
        let metrics = crate::metrics::Metrics::new();
        let queue = QueueUsage { path: "root.a".into(), containers: 3, ..QueueUsage::default() };
        metrics.scheduler().publish_queues(vec![queue]);
        let text = metrics.exposition().unwrap();
        let line = "heddle_queue_containers{queue=\"root.a\"} 3.0";
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }

    #[test]
    fn a_histogram_is_exposed_with_running_sums() {
        let metrics = crate::metrics::Metrics::new();
        let mut latencies = Latencies::default();
        latencies.add(Duration::from_micros(1), 2);
        latencies.add(Duration::from_micros(100), 3);
        metrics.scheduler().publish_latencies(&latencies);
        let text = metrics.exposition().unwrap();
        for line in [
            "# TYPE heddle_allocate_latency_seconds histogram",
            "heddle_allocate_latency_seconds_bucket{le=\"0.000001\"} 2",
            "heddle_allocate_latency_seconds_bucket{le=\"0.000128\"} 5",
            "heddle_allocate_latency_seconds_bucket{le=\"+Inf\"} 5",
            "heddle_allocate_latency_seconds_count 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}

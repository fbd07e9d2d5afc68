//! Numbers of the scheduler and of the application manager.
//! Owns: [`SchedulerGauge`], [`ApplicationGauge`] and how they are exposed. Called by: the threads that carry these roles
//! (write, now and then), `web` (read). Does not: invent time series per application, user or node.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Writer;
use crate::engine::application::ApplicationCounters;
use crate::engine::inventory::Totals;

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

/// The scheduler's numbers, published as a whole.
#[derive(Debug, Default)]
pub struct SchedulerGauge {
    totals: ArcSwap<Totals>,
    depths: ArcSwap<QueueDepths>,
}

impl SchedulerGauge {
    /// Publishes the totals.
    pub fn publish(&self, totals: &Totals) {
        self.totals.store(Arc::new(*totals));
    }

    /// Publishes what waits.
    pub fn publish_depths(&self, depths: &QueueDepths) {
        self.depths.store(Arc::new(*depths));
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
    let gauges: [(&str, &str, f64); 6] = [
        ("usable_nodes", "Nodes that may be given containers", totals.usable_nodes as f64),
        ("capability_memory_bytes", "Memory of nodes that are not UNHEALTHY", bytes(totals.memory_mb)),
        (
            "capability_virtual_cores",
            "Virtual cores of nodes that are not UNHEALTHY",
            totals.virtual_cores as f64,
        ),
        ("scheduler_running_containers", "Containers that run", totals.running_containers as f64),
        ("used_memory_bytes", "Memory of containers that run", bytes(totals.used_memory_mb)),
        ("used_virtual_cores", "Virtual cores of containers that run", totals.used_virtual_cores as f64),
    ];
    for (name, help, value) in gauges {
        writer.gauge(name, help, "partition", std::iter::once(("default", value)))?;
    }
    let counters = [
        ("containers_launched", "Containers seen running", totals.launched),
        ("containers_completed", "Containers seen completed, or gone with their node", totals.completed),
    ];
    for (name, help, value) in counters {
        writer.counter(name, help, "partition", std::iter::once(("default", value)))?;
    }
    encode_depths(writer, "scheduler", &depths)
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

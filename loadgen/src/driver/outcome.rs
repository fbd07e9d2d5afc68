//! What a run measured.
//! Owns: [`RunOutcome`] and the sum over client threads. Called by: the driver, when the threads have ended.
//! Does not: measure, or know how a report looks. Thread: main.
//! Invariant: what several threads count is added, what each of them bounds is the largest of theirs.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::applications::ApplicationsOutcome;
use super::recorder::{self, ApplicationSeries, Slice};
use super::worker::WorkerResult;
use crate::fleet::FleetCounters;

/// One second of what the main thread saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds since the measurement began.
    pub at_s: f64,
    /// Beats answered per second.
    pub beats_per_second: f64,
    /// Cores the ResourceManager used.
    pub server_cores: f64,
    /// Cores the load generator used.
    pub client_cores: f64,
    /// Nodes registered.
    pub registered: u32,
    /// Grants per second.
    pub grants_per_second: f64,
    /// ApplicationMasters that live.
    pub masters: u32,
}

/// A kill of the ResourceManager.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// When, from the start of the measurement.
    pub at: Duration,
    /// Until every node was registered again; `None` = not all came back in the run.
    pub all_back: Option<Duration>,
}

/// What a run measured.
#[derive(Debug)]
pub struct RunOutcome {
    /// What happened to the fleet, from the first connection on.
    pub counters: FleetCounters,
    /// Latencies from the planned send time.
    pub latencies: Histogram<u64>,
    /// The same per slice of [`RunOutcome::slice`].
    pub slices: Vec<Slice>,
    /// Length of a slice.
    pub slice: Duration,
    /// Beats answered that count.
    pub beats: u64,
    /// Beats that fell due while an earlier one waited.
    pub skipped: u64,
    /// Beats sent more than 5 ms after their planned time.
    pub late_sends: u64,
    /// Answers that took longer than the interval.
    pub late_answers: u64,
    /// Beats without an answer, in time or at all.
    pub dropped: u64,
    /// How long was measured.
    pub measured: Duration,
    /// CPU time of the ResourceManager in it; zero where its process is not known.
    pub server_cpu: Duration,
    /// CPU time of the load generator in it.
    pub client_cpu: Duration,
    /// Busiest client thread, share of a core.
    pub client_thread_busy: f64,
    /// Resident memory of the ResourceManager before the first connection; `None` where it has no process of its own, its
    /// process is not known, or it never came to rest.
    pub server_rss_base: Option<u64>,
    /// The same at the end.
    pub server_rss: Option<u64>,
    /// Datagrams the machine dropped on full socket buffers in the measurement.
    pub socket_drops: u64,
    /// From the first connection to the last.
    pub time_to_all_connected: Duration,
    /// From the first connection to the last registration.
    pub time_to_all_registered: Duration,
    /// Connections lost without being asked to.
    pub connections_lost: u64,
    /// Handshakes that failed and were repeated.
    pub connects_failed: u64,
    /// Longest interval told, ms.
    pub interval_ms_max: u32,
    /// Nodes registered at the end.
    pub registered: u32,
    /// Bytes on the streams, sent and received, since the start.
    pub bytes: (u64, u64),
    /// Once a second.
    pub samples: Vec<Sample>,
    /// The kill, when there was one.
    pub restart: Option<Restart>,
    /// First few error texts.
    pub errors: Vec<String>,
    /// What applications gave, and when the window they are measured in began, microseconds.
    pub applications: Option<(ApplicationsOutcome, ApplicationSeries)>,
    /// When the measurement began, microseconds since the run's start: samples of the queues count from there.
    pub from_us: u64,
}

impl RunOutcome {
    /// Adds what a client thread measured.
    pub(super) fn merge(&mut self, result: WorkerResult) {
        self.counters.merge(&result.counters);
        self.beats += result.beats;
        self.skipped += result.skipped;
        self.late_sends += result.late_sends;
        self.late_answers += result.late_answers;
        self.dropped += result.unanswered + result.counters.timeouts;
        self.bytes.0 += result.bytes_sent;
        self.bytes.1 += result.bytes_received;
        self.interval_ms_max = self.interval_ms_max.max(result.interval_ms_max);
        // Same bounds on both sides: adding cannot fail.
        if let Err(error) = self.latencies.add(&result.latencies) {
            unreachable!("{error}");
        }
        recorder::merge_slices(&mut self.slices, &result.slices);
        if let Some((outcome, series)) = result.applications {
            let (sum, sums) = self.applications.get_or_insert_default();
            sum.merge(outcome);
            sums.merge(&series);
        }
        for text in result.errors {
            if !self.errors.contains(&text) {
                self.errors.push(text);
            }
        }
    }
}

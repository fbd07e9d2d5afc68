//! The report of a run: one JSON object with stable keys, a table for people, a verdict.
//! Owns: the names and units of every number. Called by: the command line, at the end. Does not: measure.
//! Invariants: keys are only ever added; times are microseconds unless the key says otherwise; what was lost is in the
//! verdict and in the exit code, never in small print.

mod applications;
mod table;

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::driver::{RunOutcome, RunSpec, Sample};
use crate::floor::{FloorOutcome, FloorSpec};
use crate::proc::Machine;

use applications::Faults;
pub use applications::{ApplicationsReport, QueueUse};
pub(crate) use table::{time_text, unit_of_time};

/// What the keys mean; a change that is more than an added key gets a new number.
pub const SCHEMA: &str = "heddle-loadgen/1";

/// A client thread busier than this share of a core is the limit of a run.
const BUSY_LIMIT: f64 = 0.9;

/// A thread that was busy for less than this share of its time limited nothing, whatever its part of the work was.
const IDLE_LIMIT: f64 = 0.25;

/// Latencies of a run, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: u64,
    /// 90 of 100 were faster.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
    /// How many.
    pub count: u64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
            count: histogram.len(),
        }
    }
}

/// A second of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since the measurement began.
    pub at_s: f64,
    /// Beats answered per second.
    pub beats_per_second: f64,
    /// Cores the ResourceManager used.
    pub server_cpu_cores: f64,
    /// Cores the load generator used.
    pub client_cpu_cores: f64,
    /// Nodes registered.
    pub registered: u32,
    /// Grants per second.
    #[serde(default)]
    pub grants_per_second: f64,
    /// ApplicationMasters that live.
    #[serde(default)]
    pub masters: u32,
}

impl From<&Sample> for Point {
    fn from(sample: &Sample) -> Self {
        Self {
            at_s: rounded(sample.at_s, 3),
            beats_per_second: rounded(sample.beats_per_second, 1),
            server_cpu_cores: rounded(sample.server_cores, 3),
            client_cpu_cores: rounded(sample.client_cores, 3),
            registered: sample.registered,
            grants_per_second: rounded(sample.grants_per_second, 1),
            masters: sample.masters,
        }
    }
}

/// The report. Its serialised form is the JSON object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The command that was run.
    pub command: String,
    /// When it ended, UTC.
    pub finished: String,
    /// Where.
    pub machine: Machine,
    /// Nodes.
    pub nodes: u32,
    /// Connections.
    pub connections: u32,
    /// `1s`, …, or `max` for closed loop.
    pub interval: String,
    /// Containers per node.
    pub containers_per_node: u32,
    /// How long was measured, seconds.
    pub duration_s: f64,
    /// Beats answered that were planned in that time.
    pub beats_total: u64,
    /// The same per second.
    pub beats_per_second: f64,
    /// From the planned send time to the answer, microseconds.
    pub latency_us: Latency,
    /// CPU time of the ResourceManager per beat, microseconds; `null` where its process is not known.
    pub server_cpu_us_per_beat: Option<f64>,
    /// CPU time of the load generator per beat, microseconds.
    pub client_cpu_us_per_beat: f64,
    /// Cores the ResourceManager used.
    pub server_cpu_cores: Option<f64>,
    /// Cores the load generator used.
    pub client_cpu_cores: f64,
    /// Share of a core the busiest client thread used.
    pub client_thread_busy: f64,
    /// Beats sent more than 5 ms after their planned time.
    pub late_sends: u64,
    /// Answers that took longer than the interval.
    pub late_answers: u64,
    /// Beats that fell due while an earlier one waited; they are in the latencies.
    pub skipped: u64,
    /// Beats without an answer, in time or at all.
    pub dropped: u64,
    /// Requests refused by the ResourceManager.
    pub rejected: u64,
    /// Nodes told that they were lost although they beat in time.
    pub false_losses: u64,
    /// Answers with ids that fit nothing that was asked.
    pub wrong_ids: u64,
    /// Frames nobody expects.
    pub unexpected: u64,
    /// Nodes told to stop.
    pub shutdowns: u64,
    /// Nodes that died by script, each once.
    #[serde(default)]
    pub killed: u64,
    /// Nodes told to register again, all causes.
    pub resyncs: u64,
    /// Leases that ran out.
    pub fences: u64,
    /// Copies of beats sent on purpose.
    pub duplicates_sent: u64,
    /// Beats with an old id sent on purpose.
    pub stale_sent: u64,
    /// Full reports asked for.
    pub full_reports: u64,
    /// Containers started.
    pub containers_started: u64,
    /// Containers completed and removed.
    pub containers_removed: u64,
    /// Connections lost without being asked to.
    pub connections_lost: u64,
    /// Handshakes that failed and were repeated.
    pub connects_failed: u64,
    /// Datagrams the machine dropped on full socket buffers.
    pub socket_drops: u64,
    /// Nodes registered at the end.
    pub registered: u32,
    /// Longest interval told by the ResourceManager, milliseconds.
    pub heartbeat_interval_ms_max: u32,
    /// Resident memory of the ResourceManager at the end; `null` where it has no process of its own or that is not known.
    pub server_rss_bytes: Option<u64>,
    /// The same before the first connection, once it listened and had come to rest.
    #[serde(default)]
    pub server_rss_base_bytes: Option<u64>,
    /// What it grew by from then on, per node.
    pub rss_bytes_per_node: Option<f64>,
    /// The same per connection.
    pub rss_bytes_per_connection: Option<f64>,
    /// Connections made per second, from the first to the last.
    pub handshakes_per_second: f64,
    /// From the first connection to the last registration, milliseconds.
    pub time_to_all_registered_ms: f64,
    /// From a kill of the ResourceManager until all nodes were back, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time_to_all_back_ms: Option<f64>,
    /// The ResourceManager was killed in this run.
    #[serde(skip_serializing_if = "core::ops::Not::not", default)]
    pub was_rm_killed: bool,
    /// Beats per second of a bare echo of the same shape; in a comparison that of the same round as every other number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub floor_beats_per_second: Option<f64>,
    /// Share of the floor that was reached: `beats_per_second` / `floor_beats_per_second`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub floor_ratio: Option<f64>,
    /// Share of each round, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub floor_ratios: Vec<f64>,
    /// CPU time of the echo server per frame, microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub floor_server_cpu_us_per_beat: Option<f64>,
    /// What was lost, one sentence each; empty = nothing.
    pub lost: Vec<String>,
    /// What limited the run, or `null`.
    pub limited_by: Option<String>,
    /// The first few texts of errors and refusals.
    pub errors: Vec<String>,
    /// Once a second.
    pub seconds: Vec<Point>,
    /// What is reported of applications, in the same object; absent in a run without any.
    #[serde(flatten, skip_serializing_if = "Option::is_none", default)]
    pub applications: Option<Box<ApplicationsReport>>,
}

/// Digits enough for people; a report is read more often than it is calculated with.
fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

fn us_per_beat(cpu: Duration, beats: u64) -> f64 {
    rounded(cpu.as_secs_f64() * 1e6 / beats.max(1) as f64, 3)
}

/// What a process grew by, for each of `count`.
fn growth(base: Option<u64>, end: Option<u64>, count: u32) -> Option<f64> {
    let bytes = end?.saturating_sub(base?);
    Some(rounded(bytes as f64 / f64::from(count.max(1)), 1))
}

/// One round of a comparison.
#[derive(Clone, Debug)]
pub struct Round {
    /// The echo.
    pub floor: FloorOutcome,
    /// The heartbeat run after it.
    pub report: Report,
}

impl Round {
    /// What the echo reached, as it is reported.
    #[must_use]
    pub fn floor_beats_per_second(&self) -> f64 {
        rounded(self.floor.beats as f64 / self.floor.measured.as_secs_f64().max(1e-9), 1)
    }

    /// The part of that which the heartbeat run reached: the quotient of the two numbers that are reported.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        rounded(self.report.beats_per_second / self.floor_beats_per_second().max(0.1), 3)
    }
}

impl Report {
    /// The report of a heartbeat run. `command` is how it was called, `finished` when it ended.
    #[must_use]
    pub fn of_run(
        spec: &RunSpec,
        outcome: &RunOutcome,
        has_server: bool,
        command: String,
        finished: String,
    ) -> Self {
        let counters = &outcome.counters;
        let seconds = outcome.measured.as_secs_f64().max(1e-9);
        // A driven ResourceManager counts only with the beats of the window, as its CPU time does.
        let beats = outcome.beats;
        let connected_s = outcome.time_to_all_connected.as_secs_f64().max(1e-9);
        let connections = spec.connections.min(spec.nodes);
        let mut errors = outcome.errors.clone();
        errors.extend(counters.refusals.texts.iter().cloned());
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            command,
            finished,
            machine: Machine::read(),
            nodes: spec.nodes,
            connections,
            interval: spec.interval.to_string(),
            containers_per_node: spec.containers_per_node,
            duration_s: rounded(seconds, 3),
            beats_total: beats,
            beats_per_second: rounded(beats as f64 / seconds, 1),
            latency_us: Latency::from(&outcome.latencies),
            server_cpu_us_per_beat: has_server.then(|| us_per_beat(outcome.server_cpu, beats)),
            client_cpu_us_per_beat: us_per_beat(outcome.client_cpu, beats),
            server_cpu_cores: has_server.then(|| rounded(outcome.server_cpu.as_secs_f64() / seconds, 3)),
            client_cpu_cores: rounded(outcome.client_cpu.as_secs_f64() / seconds, 3),
            client_thread_busy: rounded(outcome.client_thread_busy, 3),
            late_sends: outcome.late_sends,
            late_answers: outcome.late_answers,
            skipped: outcome.skipped,
            dropped: outcome.dropped,
            rejected: counters.refusals.total(),
            false_losses: counters.false_losses,
            wrong_ids: counters.wrong_ids,
            unexpected: counters.unexpected,
            shutdowns: counters.shutdowns,
            killed: counters.killed,
            resyncs: counters.resyncs,
            fences: counters.fences,
            duplicates_sent: counters.copies_sent,
            stale_sent: counters.stale_sent,
            full_reports: counters.full_reports,
            containers_started: counters.containers_started,
            containers_removed: counters.containers_removed,
            connections_lost: outcome.connections_lost,
            connects_failed: outcome.connects_failed,
            socket_drops: outcome.socket_drops,
            registered: outcome.registered,
            heartbeat_interval_ms_max: outcome.interval_ms_max,
            server_rss_bytes: outcome.server_rss,
            server_rss_base_bytes: outcome.server_rss_base,
            rss_bytes_per_node: growth(outcome.server_rss_base, outcome.server_rss, spec.nodes),
            rss_bytes_per_connection: growth(outcome.server_rss_base, outcome.server_rss, connections),
            handshakes_per_second: rounded(f64::from(connections) / connected_s, 1),
            time_to_all_registered_ms: rounded(outcome.time_to_all_registered.as_secs_f64() * 1e3, 1),
            time_to_all_back_ms: outcome
                .restart
                .and_then(|restart| restart.all_back)
                .map(|back| rounded(back.as_secs_f64() * 1e3, 1)),
            was_rm_killed: outcome.restart.is_some(),
            floor_beats_per_second: None,
            floor_ratio: None,
            floor_ratios: Vec::new(),
            floor_server_cpu_us_per_beat: None,
            lost: Vec::new(),
            limited_by: None,
            errors,
            seconds: outcome.samples.iter().map(Point::from).collect(),
            applications: None,
        };
        if let Some(applications) = &outcome.applications {
            let (masters, clients) = (&applications.0.masters.refusals, &applications.0.clients.refusals);
            report.errors.extend(masters.texts.iter().chain(&clients.texts).cloned());
            report.applications = Some(Box::new(ApplicationsReport::of(outcome, applications)));
        }
        report.judge(spec);
        if let (Some(numbers), Some((seen, _))) = (&report.applications, &outcome.applications) {
            report.lost.extend(numbers.losses(spec, seen.is_done, Faults::of(seen)));
        }
        report
    }

    /// The report of the floor alone: the keys that mean something for an echo, the others 0.
    #[must_use]
    pub fn of_floor(spec: &FloorSpec, outcome: &FloorOutcome, command: String, finished: String) -> Self {
        let seconds = outcome.measured.as_secs_f64().max(1e-9);
        let connected_s = outcome.time_to_all_connected.as_secs_f64().max(1e-9);
        let rate = rounded(outcome.beats as f64 / seconds, 1);
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            command,
            finished,
            machine: Machine::read(),
            nodes: spec.connections.saturating_mul(spec.outstanding),
            connections: spec.connections,
            interval: "max".to_owned(),
            containers_per_node: 0,
            duration_s: rounded(seconds, 3),
            beats_total: outcome.beats,
            beats_per_second: rate,
            latency_us: Latency::from(&outcome.latencies),
            server_cpu_us_per_beat: Some(us_per_beat(outcome.server_cpu, outcome.beats)),
            client_cpu_us_per_beat: us_per_beat(outcome.client_cpu, outcome.beats),
            server_cpu_cores: Some(rounded(outcome.server_cpu.as_secs_f64() / seconds, 3)),
            client_cpu_cores: rounded(outcome.client_cpu.as_secs_f64() / seconds, 3),
            client_thread_busy: rounded(outcome.client_thread_busy, 3),
            late_sends: 0,
            late_answers: 0,
            skipped: 0,
            dropped: 0,
            rejected: 0,
            false_losses: 0,
            wrong_ids: 0,
            unexpected: 0,
            shutdowns: 0,
            killed: 0,
            resyncs: 0,
            fences: 0,
            duplicates_sent: 0,
            stale_sent: 0,
            full_reports: 0,
            containers_started: 0,
            containers_removed: 0,
            connections_lost: 0,
            connects_failed: 0,
            socket_drops: outcome.socket_drops,
            registered: 0,
            heartbeat_interval_ms_max: 0,
            server_rss_bytes: outcome.server_rss,
            server_rss_base_bytes: outcome.server_rss_base,
            rss_bytes_per_node: None,
            rss_bytes_per_connection: growth(outcome.server_rss_base, outcome.server_rss, spec.connections),
            handshakes_per_second: rounded(f64::from(spec.connections) / connected_s, 1),
            time_to_all_registered_ms: 0.0,
            time_to_all_back_ms: None,
            was_rm_killed: false,
            floor_beats_per_second: Some(rate),
            floor_ratio: None,
            floor_ratios: Vec::new(),
            floor_server_cpu_us_per_beat: Some(us_per_beat(outcome.server_cpu, outcome.beats)),
            lost: Vec::new(),
            limited_by: None,
            errors: Vec::new(),
            seconds: Vec::new(),
            applications: None,
        };
        report.limited_by = report.limit();
        report
    }

    /// The report of several rounds against a bare echo of the same shape: that of the round with the median ratio, so
    /// that every figure in it belongs to every other; and what was lost in any of them. Also says which round it is,
    /// from 0; `None` without rounds.
    #[must_use]
    pub fn of_rounds(rounds: &[Round]) -> Option<(usize, Self)> {
        let ratios: Vec<f64> = rounds.iter().map(Round::ratio).collect();
        let mut order: Vec<usize> = (0..ratios.len()).collect();
        order.sort_by(|left, right| ratios[*left].total_cmp(&ratios[*right]));
        // Of an even number the lower one of the two in the middle: the mean of both would belong to no round.
        let middle = *order.get(order.len().checked_sub(1)? / 2)?;
        let round = &rounds[middle];
        let mut report = round.report.clone();
        report.floor_ratio = Some(ratios[middle]);
        report.floor_beats_per_second = Some(round.floor_beats_per_second());
        report.floor_server_cpu_us_per_beat = Some(us_per_beat(round.floor.server_cpu, round.floor.beats));
        report.floor_ratios = ratios;
        report.lost = (1..)
            .zip(rounds)
            .flat_map(|(number, round)| {
                round.report.lost.iter().map(move |text| format!("round {number}: {text}"))
            })
            .collect();
        Some((middle, report))
    }

    /// The report of the three runs of `allocate`: that of the first, with latencies of calls from the second and of free
    /// capacity from the third; and what was lost in any of them.
    #[must_use]
    pub fn of_allocate(closed: Self, opened: Self, full: Self) -> Self {
        let mut report = closed;
        let parts = [("closed loop", &report), ("open loop", &opened), ("full cluster", &full)];
        let lost = parts
            .iter()
            .flat_map(|(name, part)| part.lost.iter().map(move |text| format!("{name}: {text}")))
            .collect();
        let errors = parts
            .iter()
            .flat_map(|(_, part)| part.errors.iter().cloned())
            .collect::<std::collections::BTreeSet<_>>();
        (report.lost, report.errors) = (lost, errors.into_iter().collect());
        if let (Some(sum), Some(opened), Some(full)) =
            (report.applications.as_mut(), opened.applications, full.applications)
        {
            sum.take_latencies(&opened, &full);
        }
        report
    }

    /// Says what was lost and who was the limit.
    fn judge(&mut self, spec: &RunSpec) {
        let missing = u64::from(spec.nodes.saturating_sub(self.registered)).saturating_sub(self.killed);
        // With stale beats some node is always on its way back.
        let on_the_way = self.stale_sent.min(u64::from(spec.nodes));
        let is_cut_short = self.was_rm_killed && self.time_to_all_back_ms.is_none();
        let mut lose = |count: u64, text: &str| {
            if count > 0 {
                self.lost.push(format!("{count} {text}"));
            }
        };
        lose(self.dropped, "beats without an answer in time");
        lose(self.false_losses, "nodes told that they were lost although they beat in time");
        lose(self.wrong_ids, "answers with ids that fit nothing that was asked");
        lose(self.unexpected, "frames that fit nothing");
        lose(self.shutdowns, "nodes told to stop");
        lose(missing.saturating_sub(on_the_way), "nodes not registered at the end");
        if is_cut_short {
            self.lost.push("not all nodes were back after the kill".to_owned());
        }
        self.limited_by = self.limit();
    }

    fn limit(&self) -> Option<String> {
        if self.client_thread_busy > BUSY_LIMIT {
            return Some(format!(
                "the load generator: its thread was busy {:.0} % of the time",
                self.client_thread_busy * 100.0
            ));
        }
        if self.client_thread_busy < IDLE_LIMIT {
            return None;
        }
        let server = self.server_cpu_us_per_beat.filter(|server| *server > 0.0)?;
        let client = self.client_cpu_us_per_beat;
        (client > server).then(|| {
            format!("possibly the load generator: it used {client:.2} µs of CPU per beat, the server {server:.2} µs")
        })
    }

    /// True when nothing was lost.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.lost.is_empty()
    }

    /// The last line for people.
    #[must_use]
    pub fn verdict(&self) -> String {
        let limit =
            self.limited_by.as_ref().map(|limit| format!(" The limit was {limit}.")).unwrap_or_default();
        if self.is_good() {
            format!("Nothing was lost.{limit}")
        } else {
            format!("LOST: {}.{limit}", self.lost.join("; "))
        }
    }
}

/// Latencies at the usual percentiles, as HdrHistogram's tools print them; milliseconds.
#[must_use]
pub fn percentile_text(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for value in histogram.iter_quantiles(5) {
        total += value.count_since_last_iteration();
        let quantile = value.quantile_iterated_to();
        let inverse =
            if quantile < 1.0 { format!("{:.2}", 1.0 / (1.0 - quantile)) } else { "inf".to_owned() };
        let ms = value.value_iterated_to() as f64 / 1e3;
        text.push_str(&format!("{ms:>12.3} {quantile:>14.12} {total:>10} {inverse:>14}\n"));
    }
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    text.push_str(&format!("#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]\n"));
    let (max, count) = (histogram.max() as f64 / 1e3, histogram.len());
    text.push_str(&format!("#[Max     = {max:>12.3}, TotalCount     = {count:>12}]\n"));
    text
}

#[cfg(test)]
mod tests;

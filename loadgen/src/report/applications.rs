//! The part of a report that is about applications: grants, queues, run times, and what was lost of them.
//! Owner: [`Report`](super::Report), whose JSON object has these keys beside its own. Called by: it, at the end of a run.
//! Does not: measure. Invariants: as the report's; shares are of the whole cluster, 0 to 1.

use std::collections::BTreeMap;
use std::sync::Arc;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::table::{time_text, times_text, with_commas};
use super::{Latency, rounded};
use crate::application::QueueSample;
use crate::driver::{ApplicationSeries, ApplicationsOutcome, RunOutcome, RunSpec};

/// Queues whose shares over time are kept: those that used most.
const QUEUES_OVER_TIME: usize = 12;

/// A queue of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueUse {
    /// Its path.
    pub name: String,
    /// Guaranteed share of the cluster.
    pub guaranteed: f64,
    /// Used share, mean over time.
    pub used_mean: f64,
    /// Used share at most.
    pub used_max: f64,
    /// Containers wanted and not granted, mean over time.
    pub pending_mean: f64,
    /// Used share at each of `queue_times_s`; kept for the queues that used most.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub used: Vec<f64>,
}

/// What is reported of applications.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApplicationsReport {
    /// Submissions answered.
    pub applications_submitted: u64,
    /// Applications that ended well.
    pub applications_finished: u64,
    /// That failed.
    pub applications_failed: u64,
    /// That were killed.
    pub applications_killed: u64,
    /// That were not accepted.
    pub applications_rejected: u64,
    /// ApplicationMasters launched.
    pub masters_launched: u64,
    /// ApplicationMasters that lived at the end.
    pub masters_live: u64,
    /// Grants in the measured time.
    pub grants_total: u64,
    /// The same per second.
    pub grants_per_second: f64,
    /// Grants per second of the run in open loop, whose latencies are reported; in the report of `allocate`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub open_loop_grants_per_second: Option<f64>,
    /// Share of all grants that were pushed.
    pub grants_pushed_share: f64,
    /// Allocate calls per second.
    pub allocates_per_second: f64,
    /// An allocate call, from its planned time to its answer.
    pub allocate_latency_us: Latency,
    /// From the planned time of the call that asked to the grant.
    pub ask_to_grant_latency_us: Latency,
    /// From the beat that reported a container's end to the grant that it made room for, where the node had none before.
    pub free_to_grant_latency_us: Latency,
    /// From the grant to the answered beat that reported the container running.
    pub container_start_latency_us: Latency,
    /// Grants beyond what was asked for.
    pub over_granted: u64,
    /// Grants and completions that never came.
    pub lost_containers: u64,
    /// Containers granted twice or ended twice.
    pub duplicated_containers: u64,
    /// Grants dropped because the request on its way took them back.
    pub voided_grants: u64,
    /// Events that came by push and by answer, taken in once.
    pub repeated_events: u64,
    /// Allocate calls without an answer, in time or at all.
    pub allocates_dropped: u64,
    /// Tokens of containers that nodes checked.
    pub tokens_checked: u64,
    /// Of them wrong.
    pub tokens_wrong: u64,
    /// Containers whose grant was too old when they were to be started.
    pub starts_late: u64,
    /// Run times of applications that ended, milliseconds.
    pub application_run_time_ms: Latency,
    /// From the first submission to the last end; `null` while none ended.
    pub makespan_ms: Option<u64>,
    /// Used share of the cluster, mean over time.
    pub utilisation_mean: f64,
    /// Used share of the cluster at most.
    pub utilisation_max: f64,
    /// Leaf queues.
    pub queues: Vec<QueueUse>,
    /// When the queues were looked at, seconds since the measurement began.
    pub queue_times_s: Vec<f64>,
    /// Used share of the cluster at these times.
    pub utilisation: Vec<f64>,
    /// Containers wanted and not granted at these times.
    pub pending: Vec<u64>,
}

impl ApplicationsReport {
    pub(super) fn of(outcome: &RunOutcome, applications: &(ApplicationsOutcome, ApplicationSeries)) -> Self {
        let (applications, series) = applications;
        let (masters, clients) = (&applications.masters, &applications.clients);
        let seconds = outcome.measured.as_secs_f64().max(1e-9);
        let mut report = Self {
            applications_submitted: clients.submitted,
            applications_finished: clients.finished,
            applications_failed: clients.failed,
            applications_killed: clients.killed,
            applications_rejected: clients.rejected,
            masters_launched: masters.launched,
            masters_live: applications.masters_live,
            grants_total: applications.grants,
            grants_per_second: rounded(applications.grants as f64 / seconds, 1),
            grants_pushed_share: rounded(masters.grants_pushed as f64 / masters.grants.max(1) as f64, 3),
            allocates_per_second: rounded(series.allocate.latencies.len() as f64 / seconds, 1),
            allocate_latency_us: Latency::from(&series.allocate.latencies),
            ask_to_grant_latency_us: Latency::from(&series.ask_to_grant.latencies),
            free_to_grant_latency_us: Latency::from(&series.free_to_grant.latencies),
            container_start_latency_us: Latency::from(&series.container_start.latencies),
            over_granted: masters.over_granted,
            lost_containers: masters.lost,
            duplicated_containers: masters.duplicated,
            voided_grants: masters.voided,
            repeated_events: masters.repeated,
            allocates_dropped: applications.unanswered + masters.timeouts,
            tokens_checked: outcome.counters.tokens_checked,
            tokens_wrong: outcome.counters.tokens_wrong + outcome.counters.tokens_missing,
            starts_late: outcome.counters.starts_late,
            application_run_time_ms: run_times(&clients.run_times_ms),
            makespan_ms: clients.makespan_ms(),
            ..Self::default()
        };
        report.look_at_queues(&applications.samples, outcome.from_us);
        report
    }

    fn look_at_queues(&mut self, samples: &[QueueSample], from_us: u64) {
        let samples: Vec<&QueueSample> = samples.iter().filter(|sample| sample.at_us >= from_us).collect();
        if samples.is_empty() {
            return;
        }
        let count = samples.len() as f64;
        let mut queues: BTreeMap<Arc<str>, QueueUse> = BTreeMap::new();
        for (index, sample) in samples.iter().enumerate() {
            self.queue_times_s.push(rounded((sample.at_us - from_us) as f64 / 1e6, 3));
            let root = sample.queues.first();
            self.utilisation.push(root.map_or(0.0, |root| rounded(f64::from(root.used), 4)));
            let leaves = || sample.queues.iter().filter(|queue| queue.is_leaf);
            self.pending.push(leaves().map(|queue| queue.pending).sum());
            for share in leaves() {
                let queue = queues.entry(Arc::clone(&share.path)).or_default();
                let used = f64::from(share.used);
                queue.guaranteed = rounded(f64::from(share.guaranteed), 4);
                queue.used_mean += used / count;
                queue.used_max = queue.used_max.max(used);
                queue.pending_mean += share.pending as f64 / count;
                // A queue that came later used nothing before.
                queue.used.resize(index, 0.0);
                queue.used.push(rounded(used, 4));
            }
        }
        let mut list: Vec<QueueUse> = queues
            .into_iter()
            .map(|(name, queue)| QueueUse {
                name: name.to_string(),
                used_mean: rounded(queue.used_mean, 4),
                used_max: rounded(queue.used_max, 4),
                pending_mean: rounded(queue.pending_mean, 1),
                ..queue
            })
            .collect();
        list.sort_by(|left, right| {
            right.used_mean.total_cmp(&left.used_mean).then_with(|| left.name.cmp(&right.name))
        });
        list.iter_mut().for_each(|queue| queue.used.resize(samples.len(), 0.0));
        list.iter_mut().skip(QUEUES_OVER_TIME).for_each(|queue| queue.used.clear());
        self.queues = list;
        self.utilisation_mean = rounded(self.utilisation.iter().sum::<f64>() / count, 4);
        self.utilisation_max = self.utilisation.iter().copied().fold(0.0, f64::max);
    }

    /// Takes the latencies of runs made for them: calls from `opened`, free capacity from `full`; and counts what went
    /// wrong in them.
    pub(super) fn take_latencies(&mut self, opened: &Self, full: &Self) {
        self.open_loop_grants_per_second = Some(opened.grants_per_second);
        self.allocate_latency_us = opened.allocate_latency_us;
        self.ask_to_grant_latency_us = opened.ask_to_grant_latency_us;
        self.free_to_grant_latency_us = full.free_to_grant_latency_us;
        self.container_start_latency_us = full.container_start_latency_us;
        for part in [opened, full] {
            self.over_granted += part.over_granted;
            self.lost_containers += part.lost_containers;
            self.duplicated_containers += part.duplicated_containers;
            self.allocates_dropped += part.allocates_dropped;
        }
    }

    /// What of this was lost, one sentence each.
    pub(super) fn losses(&self, spec: &RunSpec, is_done: bool, faults: Faults) -> Vec<String> {
        let mut lost = Vec::new();
        let mut lose = |count: u64, text: &str| {
            if count > 0 {
                lost.push(format!("{count} {text}"));
            }
        };
        lose(self.over_granted, "containers granted that nobody asked for");
        lose(self.lost_containers, "grants or completions that never came");
        lose(self.duplicated_containers, "containers granted or ended twice");
        lose(self.allocates_dropped, "allocate calls without an answer in time");
        lose(faults.wrong_ids, "answers to ApplicationMasters with ids that fit nothing");
        lose(faults.unexpected, "frames to ApplicationMasters or clients that fit nothing");
        lose(self.tokens_wrong, "containers with a wrong token");
        lose(self.applications_rejected, "applications that were not accepted");
        if spec.faults.is_empty() && spec.kill_rm_at.is_none() {
            lose(self.applications_failed, "applications that failed");
        }
        let load = spec.applications.as_ref();
        if load.is_some_and(|load| load.until_done) && !is_done {
            let ended = self.applications_finished + self.applications_failed + self.applications_killed;
            let all = load.map_or(0, |load| load.applications.len() as u64);
            let left = all.saturating_sub(ended + self.applications_rejected);
            lose(left, "applications that had not ended when the time was over");
        }
        lost
    }

    /// Name and value of every line of the table.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let share = |share: f64| format!("{:.1} %", share * 100.0);
        let mut lines = vec![
            ("applications submitted", with_commas(self.applications_submitted)),
            ("applications finished", with_commas(self.applications_finished)),
            ("applications failed", with_commas(self.applications_failed)),
            ("grants", with_commas(self.grants_total)),
            ("grants/s", with_commas(self.grants_per_second.round() as u64)),
            ("grants pushed", share(self.grants_pushed_share)),
            ("allocate calls/s", with_commas(self.allocates_per_second.round() as u64)),
            ("allocate p50 / p99 / p99.9", in_three(&self.allocate_latency_us)),
            ("ask to grant p50 / p99 / p99.9", in_three(&self.ask_to_grant_latency_us)),
            ("free to grant p50 / p99 / p99.9", in_three(&self.free_to_grant_latency_us)),
            ("container start p50 / p99 / p99.9", in_three(&self.container_start_latency_us)),
            ("containers over-granted", with_commas(self.over_granted)),
            ("containers lost", with_commas(self.lost_containers)),
            ("containers duplicated", with_commas(self.duplicated_containers)),
        ];
        if !self.utilisation.is_empty() {
            let used = format!("{} / {}", share(self.utilisation_mean), share(self.utilisation_max));
            lines.push(("cluster used mean / max", used));
        }
        let times = &self.application_run_time_ms;
        if times.count > 0 {
            let text = times_text(&[times.p50, times.p99, times.max].map(|ms| ms as f64));
            lines.push(("application run time p50 / p99 / max", text));
        }
        if let Some(makespan_ms) = self.makespan_ms {
            lines.push(("makespan", time_text(makespan_ms as f64)));
        }
        lines
    }
}

/// Faults that are counted outside of the numbers above.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub wrong_ids: u64,
    pub unexpected: u64,
}

impl Faults {
    pub(super) const fn of(applications: &ApplicationsOutcome) -> Self {
        Self {
            wrong_ids: applications.masters.wrong_ids,
            unexpected: applications.masters.unexpected + applications.clients.unexpected,
        }
    }
}

/// Above it a latency is a wait of a trace, and microseconds of it say nothing.
const LATENCY_MS_MAX: f64 = 10e3;

fn in_three(latency: &Latency) -> String {
    if latency.count == 0 {
        return "–".to_owned();
    }
    let times = [latency.p50, latency.p99, latency.p999].map(|us| us as f64 / 1e3);
    if times[2] > LATENCY_MS_MAX {
        return times_text(&times);
    }
    format!("{:.3} / {:.3} / {:.3} ms", times[0], times[1], times[2])
}

fn run_times(times_ms: &[u64]) -> Latency {
    // A histogram that grows by itself would not: what is recorded saturating stays within its first bounds.
    let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, 1 << 42, 3) else {
        return Latency::default();
    };
    times_ms.iter().for_each(|ms| histogram.saturating_record(*ms));
    Latency::from(&histogram)
}

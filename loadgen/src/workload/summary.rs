//! What a trace has in it, in numbers: for `trace inspect`, and for whoever sizes a cluster for it.
//! Owns: [`Summary`]. Called by: the command line. Thread: the caller's. Does not: print.
//! Invariant: memory is bounded by the distinct queues, users and kinds, of which at most [`NAMES_MAX`] each are kept; the
//! others are one entry.

use std::collections::BTreeMap;

use heddle_wire::record::Resource;
use serde::Serialize;

use super::{ApplicationSpec, Durations, NodeSpec, WorkloadError};

/// Most queues, users or kinds that are listed one by one.
pub const NAMES_MAX: usize = 10_000;

/// Name of those that are not.
const OTHERS: &str = "(others)";

/// Tasks whose durations are looked at one by one in a group; more are sampled.
const LOOKED_AT_MAX: u32 = 4_096;

/// Amounts over time of some applications.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sums {
    /// Applications.
    pub applications: u64,
    /// Tasks, without the ApplicationMasters.
    pub tasks: u64,
    /// Task durations times memory, MiB × hours.
    pub memory_mb_hours: f64,
    /// Task durations times virtual cores, hours.
    pub core_hours: f64,
    /// The same of every other resource type.
    pub other_hours: BTreeMap<String, f64>,
}

/// What a trace has in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Everything.
    pub total: Sums,
    /// Groups of tasks.
    pub groups: u64,
    /// Groups that name hosts or racks.
    pub local_groups: u64,
    /// First submission, milliseconds, in the trace's own time.
    pub first_submit_ms: Option<u64>,
    /// Last submission.
    pub last_submit_ms: Option<u64>,
    /// Longest task, milliseconds, of those that were looked at.
    pub longest_task_ms: u64,
    /// Mean duration of tasks, milliseconds.
    pub mean_task_ms: f64,
    /// Most memory of a container, MiB.
    pub largest_memory_mb: u64,
    /// Most virtual cores of a container.
    pub largest_vcores: u32,
    /// Mean use over the time from the first submission to the last, were everything started when it is submitted; 0 where
    /// there is no such time.
    pub mean_memory_mb: f64,
    /// The same in virtual cores.
    pub mean_vcores: f64,
    /// By queue.
    pub queues: BTreeMap<String, Sums>,
    /// By user.
    pub users: BTreeMap<String, Sums>,
    /// By type of application.
    pub types: BTreeMap<String, Sums>,
    /// Nodes.
    pub nodes: u64,
    /// Their racks.
    pub racks: u64,
    /// What they offer: memory, MiB.
    pub nodes_memory_mb: u64,
    /// What they offer: virtual cores.
    pub nodes_vcores: u64,
    /// What they offer of every other type.
    pub nodes_other: BTreeMap<String, u64>,
}

/// Raises every amount of `most` to that of `other`.
pub(crate) fn widen(most: &mut Resource, other: &Resource) {
    most.memory_mb = most.memory_mb.max(other.memory_mb);
    most.virtual_cores = most.virtual_cores.max(other.virtual_cores);
    for amount in &other.extended {
        match most.extended.iter_mut().find(|known| known.name == amount.name) {
            Some(known) => known.value = known.value.max(amount.value),
            None => most.extended.push(amount.clone()),
        }
    }
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.applications += other.applications;
        self.tasks += other.tasks;
        self.memory_mb_hours += other.memory_mb_hours;
        self.core_hours += other.core_hours;
        for (name, hours) in &other.other_hours {
            *self.other_hours.entry(name.clone()).or_default() += hours;
        }
    }
}

fn add_to(map: &mut BTreeMap<String, Sums>, name: &str, sums: &Sums) {
    let name = if map.len() < NAMES_MAX || map.contains_key(name) { name } else { OTHERS };
    map.entry(name.to_owned()).or_default().add(sums);
}

/// Durations of `count` tasks: their sum, and the longest that was looked at, milliseconds.
fn durations(durations: &Durations, count: u32) -> (f64, u64) {
    match durations {
        Durations::Constant(ms) => (*ms as f64 * f64::from(count), *ms),
        _ => {
            let looked_at = match durations {
                Durations::Drawn { .. } => count.min(LOOKED_AT_MAX),
                _ => count,
            };
            let (mut sum, mut longest) = (0.0, 0);
            for index in 0..looked_at {
                let ms = durations.ms(index);
                sum += ms as f64;
                longest = longest.max(ms);
            }
            (sum / f64::from(looked_at.max(1)) * f64::from(count), longest)
        }
    }
}

impl Summary {
    /// Goes through a whole trace.
    ///
    /// # Errors
    /// The first one of the trace's.
    pub fn of(
        nodes: Option<&[NodeSpec]>,
        applications: impl Iterator<Item = Result<ApplicationSpec, WorkloadError>>,
    ) -> Result<Self, WorkloadError> {
        let mut summary = Self::default();
        let mut task_ms = 0.0;
        for spec in applications {
            task_ms += summary.add(&spec?);
        }
        summary.mean_task_ms =
            if summary.total.tasks > 0 { task_ms / summary.total.tasks as f64 } else { 0.0 };
        let span_ms = summary.last_submit_ms.unwrap_or(0) - summary.first_submit_ms.unwrap_or(0);
        if span_ms > 0 {
            let hours = span_ms as f64 / 3_600e3;
            summary.mean_memory_mb = summary.total.memory_mb_hours / hours;
            summary.mean_vcores = summary.total.core_hours / hours;
        }
        let mut racks = std::collections::BTreeSet::new();
        for node in nodes.unwrap_or_default() {
            summary.nodes += 1;
            racks.insert(&node.rack);
            summary.nodes_memory_mb += node.resource.memory_mb;
            summary.nodes_vcores += u64::from(node.resource.virtual_cores);
            for amount in &node.resource.extended {
                *summary.nodes_other.entry(amount.name.clone()).or_default() += amount.value;
            }
        }
        summary.racks = racks.len() as u64;
        Ok(summary)
    }

    /// Adds an application; the sum of its tasks' durations, milliseconds.
    fn add(&mut self, spec: &ApplicationSpec) -> f64 {
        let mut sums = Sums { applications: 1, ..Sums::default() };
        let mut all_ms = 0.0;
        let mut most = spec.am.resource.clone();
        for group in spec.groups.iter() {
            let (ms, longest) = durations(&group.durations, group.count);
            let hours = ms / 3_600e3;
            all_ms += ms;
            sums.tasks += u64::from(group.count);
            sums.memory_mb_hours += hours * group.resource.memory_mb as f64;
            sums.core_hours += hours * f64::from(group.resource.virtual_cores);
            for amount in &group.resource.extended {
                *sums.other_hours.entry(amount.name.clone()).or_default() += hours * amount.value as f64;
            }
            self.groups += 1;
            self.local_groups += u64::from(!group.localities.is_empty());
            self.longest_task_ms = self.longest_task_ms.max(longest);
            widen(&mut most, &group.resource);
        }
        self.largest_memory_mb = self.largest_memory_mb.max(most.memory_mb);
        self.largest_vcores = self.largest_vcores.max(most.virtual_cores);
        let at = spec.submit_ms;
        self.first_submit_ms = Some(self.first_submit_ms.map_or(at, |first| first.min(at)));
        self.last_submit_ms = Some(self.last_submit_ms.map_or(at, |last| last.max(at)));
        self.total.add(&sums);
        add_to(&mut self.queues, &spec.queue, &sums);
        add_to(&mut self.users, &spec.user, &sums);
        add_to(&mut self.types, &spec.application_type, &sums);
        all_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{ReadOptions, Workload};

    #[test]
    fn sums_are_those_of_the_tasks() {
        let text = include_str!("../../samples/sls-jobs.json");
        let workload = Workload::from_text("jobs.json", text, &ReadOptions::default()).unwrap();
        let largest = workload.largest_container();
        assert_eq!((largest.memory_mb, largest.virtual_cores, largest.extended[0].value), (4_096, 2, 1));
        let nodes = workload.nodes.clone().unwrap();
        let summary = Summary::of(Some(&nodes), workload.applications.into_iter().map(Ok)).unwrap();
        assert_eq!((summary.total.applications, summary.total.tasks, summary.nodes), (5, 3 + 3 * 22 + 8, 3));
        // Maps and reduces of the first; three times 20 × 5 s and 2 × 8 s × 2 cores; 8 × 3 s.
        let seconds = 15.0 + 18.0 + 30.0 + 3.0 * (100.0 + 32.0) + 24.0;
        assert!((summary.total.core_hours - seconds / 3_600.0).abs() < 1e-9);
        assert_eq!((summary.first_submit_ms, summary.last_submit_ms), (Some(0), Some(15_000)));
        assert_eq!((summary.largest_memory_mb, summary.longest_task_ms), (4_096, 30_000));
        assert_eq!(summary.queues["adhoc"].applications, 4);
        assert_eq!(summary.racks, 2);
        let tasks: u64 = summary.users.values().map(|sums| sums.tasks).sum();
        assert_eq!(tasks, summary.total.tasks);
    }

    #[test]
    fn an_empty_trace_has_nothing_in_it() {
        assert_eq!(Summary::of(None, std::iter::empty()).unwrap(), Summary::default());
    }
}

//! How applications ended, by queue.
//! Owns: [`EndedByQueue`], the counts GetQueueInfo shows beside what the scheduler counts. Called by: `lifecycle` (an end,
//! new queues), `reply` (a page of queues). Thread: `rm-app`.
//! Does not: count submissions or what runs; those are the scheduler's.
//! Invariants: an end is counted once, in the queue the application was in then and in every queue above it; forgetting the
//! application changes nothing; a queue that goes takes its own counts with it and leaves those above.

use std::collections::BTreeMap;

use heddle_wire::record::QueueInfo;

use super::access::Access;
use super::rm_app::RmApp;
use super::rm_app_state::RmAppState;

/// Counts of a queue since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    completed: u64,
    killed: u64,
    failed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct EndedByQueue {
    /// By full path.
    queues: BTreeMap<Box<str>, Ended>,
}

impl EndedByQueue {
    /// An application the scheduler had taken is terminal.
    pub(super) fn count(&mut self, app: &RmApp, access: &Access) {
        let Some(queue) = access.find(&app.queue) else { return };
        for (_, queue) in access.queues().path(queue) {
            // Looked up first: the key is made once per queue, not once per application.
            if !self.queues.contains_key(&queue.path) {
                self.queues.insert(queue.path.clone(), Ended::default());
            }
            let Some(ended) = self.queues.get_mut(&queue.path) else { continue };
            // As in YARN: what the AM says of its work is not asked, one that finished has completed.
            match app.state {
                RmAppState::Killed => ended.killed += 1,
                RmAppState::Failed => ended.failed += 1,
                _ => ended.completed += 1,
            }
        }
    }

    /// Other queues are in force.
    pub(super) fn keep_known(&mut self, access: &Access) {
        self.queues.retain(|path, _| access.find(path).is_some());
    }

    /// Completes what the scheduler tells of a queue.
    pub(super) fn fill(&self, queue: &mut QueueInfo) {
        let ended = self.queues.get(queue.queue_path.as_str()).copied().unwrap_or_default();
        queue.statistics.applications_completed = ended.completed;
        queue.statistics.applications_killed = ended.killed;
        queue.statistics.applications_failed = ended.failed;
    }
}

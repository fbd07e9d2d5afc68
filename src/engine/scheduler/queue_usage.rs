//! What each queue uses, for metrics.
//! Owns: [`QueueUsage`]. Called by: the duty cycle, now and then; on the scheduler's thread.
//! Does not: walk applications or nodes. Invariants: as many rows as asked for at most, in the order of the queue tree.

use super::Scheduler;
use super::resource::ResourceVector;
use super::resource_sum::ResourceSum;

/// A queue's amounts, over all partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueUsage {
    /// Full path.
    pub path: Box<str>,
    /// Live containers, and what is free on reserved nodes as far as it is reserved.
    pub used: ResourceVector,
    /// What is guaranteed.
    pub guaranteed: ResourceVector,
    /// What is asked for and not granted; of a leaf.
    pub pending: ResourceVector,
    /// Live containers and reservations; of a leaf.
    pub containers: u32,
}

impl Scheduler {
    /// The first `most` queues of the tree, parents before children. O(queues × partitions + reservations).
    #[must_use]
    pub fn queue_usage(&self, most: usize) -> Vec<QueueUsage> {
        let twice: Vec<_> =
            self.partitions.iter().map(|partition| self.counted_twice_by_queue(partition.number)).collect();
        let queues = self.queue_tree().queues.iter().take(most);
        let usage = queues.enumerate().map(|(index, queue)| {
            let mut usage = QueueUsage { path: queue.path.clone(), ..QueueUsage::default() };
            let mut pending = ResourceSum::default();
            for (partition, twice) in self.partitions.iter().zip(&twice) {
                let Some(share) = partition.shares.get(index) else { continue };
                usage.used.add(&share.used.minus(&twice[index]));
                usage.guaranteed.add(&share.capacity.effective_min);
                if let Some(leaf) = share.leaf.as_deref() {
                    pending.add_sum(&leaf.pending);
                    usage.containers += leaf.containers;
                }
            }
            usage.pending = pending.to_vector();
            usage
        });
        usage.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::scheduler::settings::SchedulerSettings;

    #[test]
    fn as_many_queues_as_asked_for_are_told_parents_first() {
        let scheduler = Scheduler::new(SchedulerSettings::default());
        let paths: Vec<Box<str>> = scheduler.queue_usage(9).into_iter().map(|usage| usage.path).collect();
        assert_eq!(paths, ["root".into(), "root.default".into()]);
        assert_eq!(scheduler.queue_usage(1).len(), 1);
    }
}

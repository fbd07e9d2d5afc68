//! Sums over the cluster, for metrics and pacing.
//! Owns: [`Totals`], and the counters that only grow. Called by: the duty cycle, after its steps; on the scheduler's thread.
//! Does not: walk nodes or containers. Invariants: amounts are those of the partitions' roots; counters never fall.

use super::Scheduler;
use super::resource::ResourceVector;
use super::resource_sum::ResourceSum;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) granted: u64,
    pub(super) launched: u64,
    pub(super) completed: u64,
    pub(super) impossible: u64,
    /// Containers of unknown applications that run now, where they are accepted.
    pub(super) unknown: u64,
    /// Their memory.
    pub(super) unknown_memory_mb: u64,
    /// Their virtual cores.
    pub(super) unknown_virtual_cores: u64,
    /// Known containers that run now.
    pub(super) running: u64,
    /// Containers outstanding asks want now, over all leaves and partitions.
    pub(super) pending: u64,
}

/// Sums over the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes known.
    pub nodes: u64,
    /// Nodes on which containers may be placed.
    pub usable_nodes: u64,
    /// Memory of all nodes that are not UNHEALTHY, MiB.
    pub memory_mb: u64,
    /// Virtual cores of the same.
    pub virtual_cores: u64,
    /// Containers their nodes report running.
    pub running_containers: u64,
    /// Containers granted and live.
    pub live_containers: u64,
    /// Memory of live containers, accepted unknown ones, and what is free on reserved nodes as far as it is reserved, MiB.
    pub used_memory_mb: u64,
    /// Virtual cores of the same.
    pub used_virtual_cores: u64,
    /// Memory that is reserved on nodes, MiB.
    pub reserved_memory_mb: u64,
    /// Virtual cores of the same.
    pub reserved_virtual_cores: u64,
    /// Memory of outstanding asks, MiB.
    pub pending_memory_mb: u64,
    /// Virtual cores of the same.
    pub pending_virtual_cores: u64,
    /// Reservations.
    pub reserved_containers: u64,
    /// Containers granted since the start.
    pub granted: u64,
    /// Containers seen running since the start.
    pub launched: u64,
    /// Containers that ended since the start, for whatever reason.
    pub completed: u64,
    /// Events for states in which they cannot happen.
    pub impossible_transitions: u64,
    /// Applications admitted.
    pub applications: u64,
}

impl Totals {
    /// Virtual cores used of those there are, thousandths: for
    /// [`ShardCommand::SetClusterLoad`](crate::engine::event::ShardCommand::SetClusterLoad).
    #[must_use]
    pub fn used_permille(&self) -> u16 {
        let used = u128::from(self.used_virtual_cores) * 1_000;
        let permille = used.checked_div(u128::from(self.virtual_cores)).unwrap_or(0);
        u16::try_from(permille.min(1_000)).unwrap_or(1_000)
    }
}

impl Scheduler {
    /// The cluster's totals. O(queues + reservations).
    #[must_use]
    pub fn totals(&self) -> Totals {
        let (mut total, mut used, mut reserved, mut pending) =
            (ResourceVector::ZERO, ResourceVector::ZERO, ResourceVector::ZERO, ResourceSum::default());
        let (mut usable, mut reserved_nodes) = (0, 0);
        for partition in &self.partitions {
            total.add(&partition.total);
            let root = partition.share(0);
            let mut twice = ResourceVector::ZERO;
            self.counted_twice(partition.number).for_each(|(_, more)| twice.add(&more));
            used.add(&root.used.minus(&twice));
            reserved.add(&root.reserved);
            for leaf in partition.shares.iter().filter_map(|share| share.leaf.as_deref()) {
                pending.add_sum(&leaf.pending);
            }
            usable += u64::from(partition.usable_nodes);
            reserved_nodes += u64::from(partition.reserved_nodes);
        }
        let pending = pending.to_vector();
        let counts = &self.counts;
        Totals {
            nodes: self.nodes.len() as u64,
            usable_nodes: usable,
            memory_mb: total.memory_mb(),
            virtual_cores: total.virtual_cores(),
            running_containers: counts.running + counts.unknown,
            live_containers: self.containers.len() as u64,
            used_memory_mb: used.memory_mb() + counts.unknown_memory_mb,
            used_virtual_cores: used.virtual_cores() + counts.unknown_virtual_cores,
            reserved_memory_mb: reserved.memory_mb(),
            reserved_virtual_cores: reserved.virtual_cores(),
            pending_memory_mb: pending.memory_mb(),
            pending_virtual_cores: pending.virtual_cores(),
            reserved_containers: reserved_nodes,
            granted: counts.granted,
            launched: counts.launched,
            completed: counts.completed,
            impossible_transitions: counts.impossible,
            applications: self.apps.len() as u64,
        }
    }
}

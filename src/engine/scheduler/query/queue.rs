//! Queues as clients see them.
//! Owns: pages of a queue and those below it, in the records of the wire. Called by: `query`. Thread: the scheduler's.
//! Does not: change anything. Invariants: parents come before their children, depth first; numbers of a parent are the sums
//! over its leaves; a page ends before its frame would be too large.

use heddle_wire::RejectCode;
use heddle_wire::application_client::GetQueueInfoResponse;
use heddle_wire::limits::QUEUES_PER_PAGE_MAX;
use heddle_wire::record::{QueueConfigurations, QueueInfo, QueueState as WireState, QueueStatistics};

use super::super::Scheduler;
use super::super::partition::Partition;
use super::super::queue::QueueIndex;
use super::super::resource::ResourceVector;
use super::super::resource_sum::ResourceSum;
use super::super::settings::{
    ApplicationOrder, Capacity, FindQueueError, MaximumCapacity, QueueOrder, QueueState,
};
use super::{PAGE_SIZE_MAX, Refused};

/// Sums over the leaves at and below a queue.
#[derive(Clone, Debug, Default)]
struct Sums {
    running: u64,
    pending: u64,
    active_users: u64,
    containers: u64,
    reservations: u64,
    pending_containers: u64,
}

impl Scheduler {
    /// A page of a queue and `depth` levels below it.
    pub(super) fn queue_page(
        &self,
        name: &str,
        depth: u32,
        start: u32,
        limit: u32,
    ) -> Result<GetQueueInfoResponse, Refused> {
        let top = self.queues.tree.find(name).map_err(|error| match error {
            FindQueueError::Unknown => (RejectCode::NotFound, format!("queue {name} is unknown")),
            FindQueueError::Ambiguous => {
                (RejectCode::NotFound, format!("queue {name} is ambiguous, accepted is its full path"))
            }
        })?;
        let mut listing: Vec<(QueueIndex, Option<u32>)> = Vec::new();
        let mut open = vec![(top, None, 0)];
        while let Some((queue, parent, level)) = open.pop() {
            let place = listing.len() as u32;
            listing.push((queue, parent));
            if level < depth {
                let children = self.queues.get(queue).children.iter().rev();
                open.extend(children.map(|child| (*child, Some(place), level + 1)));
            }
        }
        let limit = limit.clamp(1, QUEUES_PER_PAGE_MAX) as usize;
        let sums = self.sums();
        let twice: Vec<_> =
            self.partitions.iter().map(|partition| self.counted_twice_by_queue(partition.number)).collect();
        let mut page = GetQueueInfoResponse::default();
        let mut left = PAGE_SIZE_MAX;
        for (place, (queue, parent)) in listing.iter().enumerate().skip(start as usize) {
            let (info, size) = self.queue_info(*queue, *parent, &sums[*queue as usize], &twice);
            if page.queues.len() == limit || (size > left && !page.queues.is_empty()) {
                page.next = Some(place as u32);
                break;
            }
            left = left.saturating_sub(size);
            page.queues.push(info);
        }
        Ok(page)
    }

    /// By queue. O(leaves × (levels + partitions)).
    fn sums(&self) -> Vec<Sums> {
        let mut sums = vec![Sums::default(); self.queues.len()];
        for index in 0..self.queues.len() as QueueIndex {
            let Some(leaf) = self.queues.leaf(index) else { continue };
            let mut own = Sums {
                running: u64::from(leaf.active),
                pending: (leaf.pending.len() + leaf.not_runnable.len()) as u64,
                ..Sums::default()
            };
            for share in self.partitions.iter().filter_map(|partition| partition.leaf(index)) {
                own.active_users = own.active_users.max(u64::from(share.active_users));
                own.containers += u64::from(share.containers);
                own.reservations += u64::from(share.reservations);
                own.pending_containers += share.pending_containers;
            }
            for queue in &self.queues.get(index).chain {
                let of = &mut sums[*queue as usize];
                of.running += own.running;
                of.pending += own.pending;
                of.active_users += own.active_users;
                of.containers += own.containers;
                of.reservations += own.reservations;
                of.pending_containers += own.pending_containers;
            }
        }
        sums
    }

    /// What leaves at and below a queue want in a partition, and what their `ApplicationMaster`s use.
    fn wanted_below(&self, partition: &Partition, queue: QueueIndex) -> (ResourceSum, ResourceVector) {
        let (mut pending, mut am_used) = (ResourceSum::default(), ResourceVector::ZERO);
        let mut open = vec![queue];
        while let Some(queue) = open.pop() {
            if let Some(leaf) = partition.leaf(queue) {
                pending.add_sum(&leaf.pending);
                am_used.add(&leaf.am_used);
            }
            open.extend(&self.queues.get(queue).children);
        }
        (pending, am_used)
    }

    /// `twice`: by partition and queue, what is left out of what is used ([`Scheduler::counted_twice_by_queue`]).
    fn queue_info(
        &self,
        index: QueueIndex,
        parent: Option<u32>,
        sums: &Sums,
        twice: &[Vec<ResourceVector>],
    ) -> (QueueInfo, usize) {
        let queue = self.queues.get(index);
        let settings = self.queues.settings(index);
        let default = &self.partitions[0];
        let share = default.share(index);
        let capacities = settings.capacities.get("");
        let (capacity, maximum) = self.configured_shares(default, index);
        let used = share.used.minus(&twice[0][index as usize]);
        let used = share.capacity.used_capacity(self.measures.calculator, &default.total, &used).value();
        let accessible: Vec<String> = match &settings.accessible_node_labels {
            None => vec!["*".to_owned()],
            Some(labels) => labels.iter().map(ToString::to_string).collect(),
        };
        let mut size =
            512 + 2 * settings.path.len() + accessible.iter().map(|label| 16 + label.len()).sum::<usize>();
        let mut statistics = QueueStatistics {
            applications_submitted: queue.submitted,
            applications_running: sums.running,
            applications_pending: sums.pending,
            active_users: sums.active_users,
            allocated_containers: sums.containers.saturating_sub(sums.reservations),
            pending_containers: sums.pending_containers,
            reserved_containers: sums.reservations,
            ..QueueStatistics::default()
        };
        let (mut allocated, mut available, mut pending, mut reserved) =
            (ResourceVector::ZERO, ResourceVector::ZERO, ResourceSum::default(), ResourceVector::ZERO);
        let mut configurations = Vec::new();
        for (partition, twice) in self.partitions.iter().zip(twice).filter(|(of, _)| !of.is_removed) {
            let share = partition.share(index);
            if !share.capacity.is_accessible && share.used.is_zero() {
                continue;
            }
            let (wanted, am_used) = self.wanted_below(partition, index);
            allocated.add(&share.used.minus(&share.reserved));
            reserved.add(&share.reserved);
            pending.add_sum(&wanted);
            let free = partition.total.minus(&partition.share(0).used.minus(&twice[0]));
            available.add(&share.capacity.effective_max.minus(&share.used).component_min(&free));
            let more = 96 + partition.label.len() + 10 * self.size_of_resource();
            // The default partition comes first; with hundreds of labels those that do not fit one frame are left out.
            if size + more <= PAGE_SIZE_MAX {
                size += more;
                configurations.push(self.configuration(
                    partition,
                    index,
                    &twice[index as usize],
                    [&wanted.to_vector(), &am_used],
                ));
            }
        }
        statistics.allocated = self.wire_resource(&allocated);
        statistics.available = self.wire_resource(&available);
        statistics.pending = self.wire_resource(&pending.to_vector());
        statistics.reserved = self.wire_resource(&reserved);
        size += 4 * self.size_of_resource();
        let info = QueueInfo {
            queue_name: settings.name().to_owned(),
            queue_path: settings.path.to_string(),
            parent,
            is_leaf: settings.is_leaf,
            capacity,
            maximum_capacity: maximum,
            current_capacity: finite(used),
            weight: match capacities.map(|of| &of.capacity) {
                Some(Capacity::Weight(weight)) => *weight,
                _ => -1.0,
            },
            state: match settings.state {
                QueueState::Running => WireState::Running,
                QueueState::Stopped if queue.applications > 0 => WireState::Draining,
                QueueState::Stopped => WireState::Stopped,
            },
            accessible_node_labels: accessible,
            default_node_label_expression: settings.default_node_label_expression.as_deref().map(Into::into),
            statistics,
            configurations,
            // Nothing is taken from anybody yet.
            is_preemption_disabled: true,
            is_intra_queue_preemption_disabled: true,
            max_applications: self.max_applications(index),
            max_parallel_applications: (settings.max_parallel_apps < u32::MAX)
                .then_some(settings.max_parallel_apps),
            priority: settings.priority,
            minimum_user_limit_percent: settings.minimum_user_limit_percent,
            user_limit_factor: settings.user_limit_factor.unwrap_or(-1.0),
            ordering_policy: match (settings.is_leaf, settings.application_order, settings.queue_order) {
                (true, ApplicationOrder::Fifo, _) => "fifo",
                (true, ApplicationOrder::Fair { .. }, _) => "fair",
                (false, _, QueueOrder::Utilization) => "utilization",
                (false, _, QueueOrder::PriorityUtilization) => "priority-utilization",
            }
            .to_owned(),
        };
        (info, size)
    }

    /// Guarantee and bound as shares of the parent's: as written where they are percentages, else as they come out.
    fn configured_shares(&self, partition: &Partition, index: QueueIndex) -> (f32, f32) {
        let settings = self.queues.settings(index);
        let Some(parent) = settings.parent else { return (1.0, 1.0) };
        let (of, above) = (&partition.share(index).capacity, &partition.share(parent).capacity);
        let share = settings.capacities.get(&partition.label);
        let part = |of: f64, above: f64| if above > 0.0 { finite(of / above) } else { 0.0 };
        let capacity = match share.map(|share| &share.capacity) {
            Some(Capacity::Percent(percent)) => percent / 100.0,
            Some(_) => part(of.absolute_capacity, above.absolute_capacity),
            None => 0.0,
        };
        let maximum = match share.map(|share| &share.maximum) {
            Some(MaximumCapacity::Percent(percent)) => percent / 100.0,
            Some(_) => part(of.absolute_maximum_capacity, above.absolute_maximum_capacity),
            None => 1.0,
        };
        (capacity, maximum)
    }

    fn configuration(
        &self,
        partition: &Partition,
        index: QueueIndex,
        twice: &ResourceVector,
        [pending, am_used]: [&ResourceVector; 2],
    ) -> QueueConfigurations {
        let share = partition.share(index);
        let settings = self.queues.settings(index).capacities.get(&partition.label);
        let (capacity, max_capacity) = self.configured_shares(partition, index);
        let used = self.measures.calculator.max_share(&partition.total, &share.used.minus(twice)).value();
        QueueConfigurations {
            partition_name: partition.label.to_string(),
            capacity,
            absolute_capacity: finite(share.capacity.absolute_capacity),
            max_capacity,
            absolute_max_capacity: finite(share.capacity.absolute_maximum_capacity),
            absolute_used_capacity: finite(used),
            max_am_share: finite(share.capacity.maximum_am_resource_fraction),
            effective_min_capacity: self.wire_resource(&share.capacity.effective_min),
            effective_max_capacity: self.wire_resource(&share.capacity.effective_max),
            configured_min_capacity: match settings.map(|of| &of.capacity) {
                Some(Capacity::Absolute(amount)) => Some(self.wire_resource(amount)),
                _ => None,
            },
            configured_max_capacity: match settings.map(|of| &of.maximum) {
                Some(MaximumCapacity::Absolute(amount)) => Some(self.wire_resource(amount)),
                _ => None,
            },
            used: self.wire_resource(&share.used.minus(&share.reserved)),
            reserved: self.wire_resource(&share.reserved),
            pending: self.wire_resource(pending),
            am_used: self.wire_resource(am_used),
        }
    }
}

/// A share as it is told; of nothing it is 0.
fn finite(share: f64) -> f32 {
    if share.is_finite() { share as f32 } else { 0.0 }
}

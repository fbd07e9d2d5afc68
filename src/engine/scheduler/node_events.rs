//! What shards say of nodes: they come, go, change, and report containers.
//! Owns: the order in which an event's fields are applied. Called by: the duty cycle, per event; on the scheduler's thread.
//! Does not: decide liveness. Invariants: a node that is gone leaves nothing behind: its containers have ended with −100,
//! its reservation is given up, its partition is smaller; every completion is acknowledged to its node, here or when the
//! ApplicationMaster has seen it.

use heddle_wire::record::{ContainerId, NodeHandle, NodeId};

use super::Scheduler;
use super::completion::{ABORTED, Ending, forget_on_node};
use super::container::{RmContainerEvent, RmContainerState, Transition};
use super::face::{AttemptEvent, SchedulerOutput};
use super::message::ApplicationEvent;
use super::node_table::{NodeDetails, RmNode};
use super::partition::Partition;
use super::resource::ResourceVector;
use super::settings::UnknownContainers;
use crate::engine::event::{ContainerReport, NodeAdded, NodeCommand, NodeEvent, NodeOrder, Usability};
use crate::engine::time::Instant;

/// Text of containers that ended with their node.
const LOST: &str = "Container released on a *lost* node";

impl Scheduler {
    /// Takes in what happened to a node. Places nothing: call `schedule` after a batch.
    pub fn handle_node_event(&mut self, now: Instant, mut event: NodeEvent, out: &mut SchedulerOutput) {
        for report in event.completed.drain(..) {
            self.complete(now, event.node, report, out);
        }
        if event.removed.is_some()
            && let Some(index) = self.nodes.find(event.node)
        {
            self.remove_node(now, index, out);
        }
        if let Some(added) = &event.added {
            if let Some(index) = self.nodes.find(event.node) {
                self.remove_node(now, index, out);
            }
            self.add_node(event.node, added);
        }
        let Some(index) = self.nodes.find(event.node) else { return };
        if let Some(node) = self.nodes.get_mut(index) {
            node.handle = event.node;
        }
        if event.was_interrupted {
            self.end_all(now, index, out);
        }
        if let Some(labels) = &event.node_labels
            && self.settings.distributed_labels
        {
            self.set_label(now, index, labels.first().map_or("", |label| label), out);
        }
        if event.usability.is_some() || event.capability.is_some() {
            let capability = event.capability.as_ref().map(|it| self.settings.resource_types.to_vector(it));
            self.change_node(now, index, event.usability, capability, out);
        }
        for report in &event.launched {
            self.launched(now, index, report, out);
        }
        if event.added.is_some() || event.usability.is_some() {
            self.tell_node(index, out);
        }
        self.activate(now, out);
    }

    fn tell_node(&self, index: u32, out: &mut SchedulerOutput) {
        let Some(node) = self.nodes.get(index) else { return };
        let update_type = match node.usability {
            Usability::Usable | Usability::Suspect => 0,
            Usability::Unhealthy => 1,
            Usability::Decommissioning => 2,
        };
        out.attempt_events.push(AttemptEvent::NodeUpdated { node: node.handle, update_type });
    }

    fn add_node(&mut self, handle: NodeHandle, added: &NodeAdded) {
        let label = if self.settings.distributed_labels {
            added.node_labels.first().map(|label| &**label)
        } else {
            self.labels.get(&added.host, added.port)
        };
        let number = label.and_then(|label| self.partition_of(label)).unwrap_or(0);
        let (host, rack) = (self.hosts.hold(&added.host), self.racks.hold(&added.rack_name));
        let index = self.nodes.insert(RmNode {
            handle,
            host,
            rack,
            partition: number,
            slot: 0,
            usability: Usability::Usable,
            capability: ResourceVector::ZERO,
            used: ResourceVector::ZERO,
            containers: Vec::new(),
            details: Box::new(NodeDetails {
                node_id: NodeId { host: (*added.host).into(), port: added.port },
                http_port: added.http_port,
                leaving: std::collections::BTreeMap::new(),
                unknown: std::collections::BTreeMap::new(),
            }),
            reservation: None,
            is_counted: false,
        });
        let slot = self.partitions[usize::from(number)].add_slot(rack, index);
        if let Some(node) = self.nodes.get_mut(index) {
            node.slot = slot;
        }
        self.count_node(index, true);
    }

    /// Number of the partition of a label.
    pub(super) fn partition_of(&self, label: &str) -> Option<u16> {
        let is_it = |partition: &&Partition| !partition.is_removed && &*partition.label == label;
        self.partitions.iter().find(is_it).map(|partition| partition.number)
    }

    /// Adds a node to its partition's sums or takes it out. The queues' capacities follow.
    fn count_node(&mut self, index: u32, is_in: bool) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let partition = &mut self.partitions[usize::from(node.partition)];
        if node.is_counted {
            partition.count_node(&node.capability, false);
            node.is_counted = false;
        }
        if is_in && node.usability != Usability::Unhealthy {
            partition.count_node(&node.capability, true);
            node.is_counted = true;
        }
    }

    /// What may be placed on a node; `None` = nothing.
    pub(super) fn placeable(&self, index: u32) -> Option<ResourceVector> {
        let node = self.nodes.get(index)?;
        (node.usability == Usability::Usable && node.reservation.is_none()).then(|| node.free())
    }

    /// A node's capability or usability is another: sums, queues' capacities, the index, its reservation.
    pub(super) fn change_node(
        &mut self,
        now: Instant,
        index: u32,
        usability: Option<Usability>,
        capability: Option<ResourceVector>,
        out: &mut SchedulerOutput,
    ) {
        let Some(node) = self.nodes.get(index) else { return };
        let number = usize::from(node.partition);
        let (was_usable, had) =
            (node.usability == Usability::Usable && node.is_counted, node.capability.clone());
        let had_usable = was_usable && !had.is_zero();
        let before = (node.usability, node.capability.clone());
        let after = (usability.unwrap_or(before.0), capability.unwrap_or_else(|| before.1.clone()));
        if before == after {
            return;
        }
        self.count_node(index, false);
        if let Some(node) = self.nodes.get_mut(index) {
            (node.usability, node.capability) = after.clone();
        }
        self.count_node(index, true);
        let partition = &mut self.partitions[number];
        let has_usable = after.0 == Usability::Usable && !after.1.is_zero();
        partition.usable_nodes = partition.usable_nodes + u32::from(has_usable) - u32::from(had_usable);
        if before.0 == Usability::Unhealthy || after.0 == Usability::Unhealthy || before.1 != after.1 {
            self.note_size(number);
        }
        if after.0 == Usability::Unhealthy {
            self.end_all(now, index, out);
        }
        let reservation = self.nodes.get(index).and_then(|node| node.reservation);
        if let Some(reservation) = reservation {
            let fits = self
                .reservations
                .get(reservation)
                .is_some_and(|reservation| self.measures.calculator.fits_in(&reservation.size, &after.1));
            if after.0 != Usability::Usable || !fits {
                self.unreserve(now, reservation);
            }
        }
        self.publish_free(now, index);
    }

    /// A partition has another size: capacities are computed anew before the next placement.
    pub(super) fn note_size(&mut self, number: usize) {
        self.partitions[number].is_resized = true;
        self.partitions[number].is_dirty = true;
    }

    fn remove_node(&mut self, now: Instant, index: u32, out: &mut SchedulerOutput) {
        self.end_all(now, index, out);
        let Some(node) = self.nodes.get(index) else { return };
        let (number, handle) = (usize::from(node.partition), node.handle);
        if let Some(reservation) = node.reservation {
            self.unreserve(now, reservation);
        }
        let was_usable = self
            .nodes
            .get(index)
            .is_some_and(|node| node.usability == Usability::Usable && !node.capability.is_zero());
        self.count_node(index, false);
        let Some(node) = self.nodes.remove(index) else { return };
        let partition = &mut self.partitions[number];
        partition.remove_slot(node.rack, node.slot);
        partition.usable_nodes -= u32::from(was_usable);
        self.hosts.release(node.host);
        self.racks.release(node.rack);
        self.note_size(number);
        out.attempt_events.push(AttemptEvent::NodeUpdated { node: handle, update_type: 1 });
    }

    /// Everything on a node has ended with it.
    fn end_all(&mut self, now: Instant, index: u32, out: &mut SchedulerOutput) {
        // What is free there is no news: the node goes, or is unusable, or its usability follows.
        while let Some(container) = self.nodes.get(index).and_then(|node| node.containers.last()).copied() {
            let ending = Ending {
                event: RmContainerEvent::Kill,
                exit_status: ABORTED,
                diagnostics: LOST.into(),
                is_node_gone: true,
                is_silent: false,
            };
            if !self.end(now, container, ending, out)
                && let Some(node) = self.nodes.get_mut(index)
            {
                node.containers.pop();
            }
        }
        let Some(node) = self.nodes.get_mut(index) else { return };
        node.details.leaving.clear();
        let unknown = core::mem::take(&mut node.details.unknown);
        node.used = ResourceVector::ZERO;
        for size in unknown.values() {
            self.count_unknown(size, false);
        }
        self.publish_free(now, index);
    }

    /// Moves a node to the partition of a label.
    pub(super) fn set_label(&mut self, now: Instant, index: u32, label: &str, out: &mut SchedulerOutput) {
        let (Some(after), Some(node)) = (self.partition_of(label), self.nodes.get(index)) else {
            out.notices.push(format!("node label {label:?} is not known to the cluster: ignored"));
            return;
        };
        let (before, rack, slot) = (node.partition, node.rack, node.slot);
        if before == after {
            return;
        }
        if let Some(reservation) = node.reservation {
            self.unreserve(now, reservation);
        }
        let containers = self.nodes.get(index).map(|node| node.containers.clone()).unwrap_or_default();
        for container in containers {
            self.move_charge(container, after);
        }
        let is_usable = self
            .nodes
            .get(index)
            .is_some_and(|node| node.usability == Usability::Usable && !node.capability.is_zero());
        self.count_node(index, false);
        self.partitions[usize::from(before)].remove_slot(rack, slot);
        self.partitions[usize::from(before)].usable_nodes -= u32::from(is_usable);
        let slot = self.partitions[usize::from(after)].add_slot(rack, index);
        self.partitions[usize::from(after)].usable_nodes += u32::from(is_usable);
        if let Some(node) = self.nodes.get_mut(index) {
            (node.partition, node.slot) = (after, slot);
        }
        self.count_node(index, true);
        self.note_size(usize::from(before));
        self.note_size(usize::from(after));
        self.publish_free(now, index);
    }

    /// A live container is charged to another partition: its node has another label now.
    fn move_charge(&mut self, index: super::container::ContainerIndex, after: u16) {
        let container = self.containers.get_mut(index);
        let (before, size, app) = (container.partition, container.resource.clone(), container.app);
        container.partition = after;
        let Some(app) = self.apps.get(app) else { return };
        let (place, owner) = ((app.queue, app.leaf_user), app.current);
        for (number, is_more) in [(before, false), (after, true)] {
            let partition = &mut self.partitions[usize::from(number)];
            partition.charge(&self.queues, &self.measures, place, &size, is_more);
        }
        if let Some(attempt) = owner.and_then(|row| self.attempts.get_mut(row)) {
            attempt.share_mut(before).used.subtract(&size);
            attempt.share_mut(after).used.add(&size);
            let is_active = attempt.is_active();
            if let Some(am) = attempt.am.as_mut().filter(|am| am.container == Some(index)) {
                let from = core::mem::replace(&mut am.partition, after);
                let size = am.size.clone();
                // One that was moved to another queue may wait there, its AM container running: it is not counted yet.
                if is_active {
                    self.charge_am(place, from, &size, false);
                    self.charge_am(place, after, &size, true);
                }
            }
        }
        if let Some(row) = owner {
            self.reorder(row);
        }
    }

    fn count_unknown(&mut self, size: &ResourceVector, is_more: bool) {
        let counts = &mut self.counts;
        let change = |sum: &mut u64, amount: u64| {
            *sum = if is_more { *sum + amount } else { sum.saturating_sub(amount) };
        };
        change(&mut counts.unknown, 1);
        change(&mut counts.unknown_memory_mb, size.memory_mb());
        change(&mut counts.unknown_virtual_cores, size.virtual_cores());
    }

    fn find_container(&self, id: &ContainerId) -> Option<super::container::ContainerIndex> {
        let app = self.apps.find(&id.application_id())?;
        self.apps.get(app)?.containers.get(id)
    }

    /// A node reports the end of a container.
    fn complete(
        &mut self,
        now: Instant,
        handle: NodeHandle,
        report: ContainerReport,
        out: &mut SchedulerOutput,
    ) {
        let (at, id) = (self.nodes.find(handle), report.container_id);
        if let Some(container) = self.find_container(&id) {
            // Only the node it runs on may end it.
            if at == Some(self.containers.get(container).node) {
                let ending = Ending {
                    event: RmContainerEvent::Finish,
                    exit_status: report.exit_status,
                    diagnostics: report.diagnostics.into_string().into(),
                    is_node_gone: false,
                    is_silent: false,
                };
                if self.end(now, container, ending, out) {
                    return;
                }
            }
        } else if let Some((index, node)) = at.and_then(|at| self.nodes.get_mut(at).map(|node| (at, node))) {
            if let Some(size) = node.details.leaving.remove(&id) {
                node.used.subtract(&size);
                self.publish_free(now, index);
            } else if let Some(size) = node.details.unknown.remove(&id) {
                node.used.subtract(&size);
                self.counts.completed += 1;
                self.count_unknown(&size, false);
                self.publish_free(now, index);
            }
        }
        // Whoever waited for it was told before, or nobody does.
        forget_on_node(handle, id, out);
    }

    /// A node reports a container running.
    fn launched(&mut self, now: Instant, index: u32, report: &ContainerReport, out: &mut SchedulerOutput) {
        let id = report.container_id;
        let Some(node) = self.nodes.get_mut(index) else { return };
        let handle = node.handle;
        if let Some(found) = self.find_container(&id)
            && self.containers.get(found).node == index
        {
            let container = self.containers.get_mut(found);
            if container.state == RmContainerState::Running {
                return;
            }
            let Transition::To(state) = container.state.on(RmContainerEvent::Launch) else {
                let state = container.state;
                self.counts.impossible += 1;
                out.notices.push(format!("container {id} is {state:?} and reported running: ignored"));
                return;
            };
            container.state = state;
            self.expirer.forget(found);
            self.counts.launched += 1;
            self.counts.running += 1;
            if self.containers.get(found).is_am {
                let attempt_id = id.application_attempt_id;
                out.application_events.push(ApplicationEvent::Launched { attempt_id });
            }
            return;
        }
        let Some(node) = self.nodes.get_mut(index) else { return };
        if node.details.leaving.contains_key(&id) || node.details.unknown.contains_key(&id) {
            return;
        }
        let size = self.settings.resource_types.to_vector(&report.capability);
        node.used.add(&size);
        match self.settings.unknown_containers {
            UnknownContainers::CleanUp => {
                node.details.leaving.insert(id, size);
                let order = NodeOrder::CleanupContainer(id);
                out.node_commands.push(NodeCommand { node: handle, order, is_urgent: true });
            }
            UnknownContainers::Accept => {
                node.details.unknown.insert(id, size.clone());
                self.counts.launched += 1;
                self.count_unknown(&size, true);
            }
        }
        let _ = now;
        let free = self.placeable(index);
        if let Some(node) = self.nodes.get(index) {
            self.partitions[usize::from(node.partition)].lower_free(node.slot, free.as_ref());
        }
    }
}

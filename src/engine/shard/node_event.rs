//! Events for the scheduler: one outstanding per node, later news folded into it.
//! Owns: the queue of nodes with an event. Called by: every file of the shard that changes what the scheduler sees.
//! Does not: send; the duty cycle polls. Thread: the shard's.
//! Invariants: a node is in the queue exactly while its DIRTY bit is set; an event is bounded by the node's containers;
//! folding loses nothing: the scheduler's view after one folded event is the view after all of them.

use std::collections::VecDeque;

use heddle_wire::limits::CONTAINERS_PER_NODE_MAX;
use heddle_wire::record::{ContainerId, ContainerState, EXIT_STATUS_ABORTED, ExecutionType, NodeState};

use super::Shard;
use super::containers::Report;
use super::node_table::RowFlags;
use super::resource;
use crate::engine::event::{
    ContainerReport, NodeAdded, NodeEvent, NodeRemoved, RemovedReason, Resource, Usability,
};

/// Completions in one event from which beats that bring more are put off: twice what one registration can have.
const COMPLETIONS_MAX: usize = 2 * CONTAINERS_PER_NODE_MAX;

/// Rows with an event, oldest first.
#[derive(Debug, Default)]
pub(super) struct DirtyRows(VecDeque<u32>);

impl DirtyRows {
    /// Capacity kept when the queue runs empty, rows.
    const KEPT_MAX: usize = 4_096;

    fn pop(&mut self) -> Option<u32> {
        let row = self.0.pop_front();
        if row.is_none() && self.0.capacity() > Self::KEPT_MAX {
            // After the whole cluster registered at once; not again per beat, 4 Ki rows are a usual batch.
            self.0.shrink_to(Self::KEPT_MAX);
        }
        row
    }

    pub(super) fn heap_size(&self) -> usize {
        self.0.capacity() * size_of::<u32>()
    }
}

impl Shard {
    /// The next node's event, oldest first.
    pub fn poll_node_event(&mut self) -> Option<NodeEvent> {
        loop {
            let row = self.dirty.pop()?;
            self.table.hot[row as usize].flags.clear(RowFlags::DIRTY);
            let Some(event) = self.table.cold_mut(row).event.take() else { continue };
            if event.removed.is_some() {
                self.table.hot[row as usize].flags.clear(RowFlags::KNOWN);
            }
            if event.added.is_some() {
                self.table.hot[row as usize].flags.set(RowFlags::KNOWN);
            }
            let nothing = NodeEvent::new(event.node);
            // An event in which nothing is said still tells a known node's new handle.
            if *event != nothing || self.table.hot[row as usize].flags.has(RowFlags::KNOWN) {
                return Some(*event);
            }
        }
    }

    /// True when [`Shard::poll_node_event`] may have something to say.
    #[must_use]
    pub fn has_node_events(&self) -> bool {
        !self.dirty.0.is_empty()
    }

    /// The node's pending event, begun if there is none.
    pub(super) fn event(&mut self, row: u32) -> &mut NodeEvent {
        let handle = self.table.handle(row);
        let flags = &mut self.table.hot[row as usize].flags;
        if !flags.has(RowFlags::DIRTY) {
            flags.set(RowFlags::DIRTY);
            self.dirty.0.push_back(row);
        }
        let event = self.table.cold_mut(row).event.get_or_insert_with(|| Box::new(NodeEvent::new(handle)));
        event.node = handle;
        event
    }

    /// The node is new to the scheduler under its current handle.
    pub(super) fn tell_added(&mut self, row: u32) {
        let cold = self.table.cold(row);
        let labels = self.table.labels.value(cold.labels);
        let added = NodeAdded {
            host: cold.host.as_str().into(),
            port: cold.port,
            http_port: cold.http_port,
            rack_name: self.table.texts.value(cold.rack).clone(),
            node_labels: labels.iter().map(|label| label.name.clone()).collect(),
        };
        let capability = self.table.capability(row).clone();
        let usability = self.usability(row);
        let event = self.event(row);
        event.added = Some(Box::new(added));
        event.was_interrupted = false;
        event.usability = Some(usability);
        event.capability = Some(capability);
        event.node_labels = None;
        let handle = self.table.handle(row);
        self.table.cold_mut(row).added_generation = handle.generation();
    }

    /// The registration the scheduler knows has ended. Completions it was not told yet stay: they happened.
    pub(super) fn tell_removed(&mut self, row: u32, reason: RemovedReason) {
        let hot = &self.table.hot[row as usize];
        let is_known = hot.flags.has(RowFlags::KNOWN);
        let handle = self.table.handle(row);
        let event = self.event(row);
        event.added = None;
        event.was_interrupted = false;
        event.usability = None;
        event.capability = None;
        event.node_labels = None;
        event.launched.clear();
        event.increased.clear();
        // A `removed` that is still in the event is about the registration the scheduler knows.
        if is_known && event.removed.is_none() {
            event.removed = Some(NodeRemoved { node: handle, reason });
        }
    }

    /// Containers known before are gone from the scheduler's point of view.
    pub(super) fn tell_interrupted(&mut self, row: u32) {
        let event = self.event(row);
        event.was_interrupted = true;
        event.launched.clear();
        event.increased.clear();
    }

    /// Whether containers may be placed on the node has changed.
    pub(super) fn tell_usability(&mut self, row: u32) {
        let usability = self.usability(row);
        self.event(row).usability = Some(usability);
    }

    /// The node's capability has changed.
    pub(super) fn tell_capability(&mut self, row: u32) {
        let capability = self.table.capability(row).clone();
        self.event(row).capability = Some(capability);
    }

    /// The node reports other labels. Those of a node that the scheduler is not told of yet travel with it.
    pub(super) fn tell_labels(&mut self, row: u32) {
        let is_known = self.table.hot[row as usize].flags.has(RowFlags::KNOWN);
        let event = self.table.cold(row).event.as_ref();
        if !is_known && event.is_none_or(|event| event.added.is_none()) {
            return;
        }
        let labels = self.table.labels.value(self.table.cold(row).labels);
        let names: Box<[Box<str>]> = labels.iter().map(|label| label.name.clone()).collect();
        let event = self.event(row);
        match &mut event.added {
            Some(added) => added.node_labels = names,
            None => event.node_labels = Some(names),
        }
    }

    /// A container was seen running for the first time.
    pub(super) fn tell_launched(&mut self, row: u32, report: &Report<'_>) {
        let report = container_report(report);
        self.event(row).launched.push(report);
    }

    /// A container was seen complete for the first time.
    pub(super) fn tell_completed(&mut self, row: u32, report: &Report<'_>) {
        let report = container_report(report);
        self.push_completed(row, report);
    }

    /// Completions are applied before launches, so a launch that was not told yet is not told any more.
    fn push_completed(&mut self, row: u32, report: ContainerReport) {
        let event = self.event(row);
        if let Some(index) = event.launched.iter().rposition(|it| it.container_id == report.container_id) {
            event.launched.remove(index);
        }
        event.completed.push(report);
    }

    /// How many more completions the node's event takes. It is used up only by a node that registers again and again
    /// with new ones while the scheduler does not poll; one registration's are bounded by its containers.
    pub(super) fn completions_left(&self, row: u32) -> usize {
        let waiting = self.table.cold(row).event.as_ref().map_or(0, |event| event.completed.len());
        COMPLETIONS_MAX.saturating_sub(waiting)
    }

    /// A container that should be running was not in a full report.
    pub(super) fn tell_not_reported(
        &mut self,
        row: u32,
        container_id: ContainerId,
        execution_type: ExecutionType,
        capability: Resource,
    ) {
        let cold = self.table.cold(row);
        let text =
            format!("Container {container_id} was running but not reported from {}:{}", cold.host, cold.port);
        let report = ContainerReport {
            container_id,
            state: ContainerState::Complete,
            execution_type,
            exit_status: EXIT_STATUS_ABORTED,
            capability,
            diagnostics: text.into(),
        };
        self.push_completed(row, report);
    }

    /// A live container's increase is done on the node. Said once per event, in the order of ids.
    pub(super) fn tell_increased(&mut self, row: u32, container_id: ContainerId) {
        let increased = &mut self.event(row).increased;
        if let Err(index) = increased.binary_search(&container_id) {
            increased.insert(index, container_id);
        }
    }

    fn usability(&self, row: u32) -> Usability {
        let hot = &self.table.hot[row as usize];
        match hot.state {
            NodeState::Decommissioning => Usability::Decommissioning,
            NodeState::Running if hot.flags.has(RowFlags::SUSPECT) => Usability::Suspect,
            NodeState::Running => Usability::Usable,
            _ => Usability::Unhealthy,
        }
    }
}

fn container_report(report: &Report<'_>) -> ContainerReport {
    ContainerReport {
        container_id: report.container_id,
        state: report.state,
        execution_type: report.execution_type,
        exit_status: report.exit_status,
        capability: resource::from_archived(report.capability),
        diagnostics: report.diagnostics.into(),
    }
}

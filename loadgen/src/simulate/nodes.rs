//! The nodes of a simulation: what runs on them and when it ends.
//! Owner: [`World`](super::World). Called by: it, with what the scheduler orders and ApplicationMasters start.
//! Does not: beat, register, decide. What happens on a node is a [`NodeEvent`] at the same moment.
//! Invariants: a container that runs ends once: by its time, by an order, or with its ApplicationMaster; ends are in the
//! order of time, those of one moment in the order of their starts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use heddle::engine::event::{
    ContainerReport, ExtendedResource, NodeAdded, NodeEvent, Resource as EngineResource, Usability,
};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ContainerId, ContainerState, ExecutionType, NodeHandle, NodeId,
    Resource, ResourceInformation,
};

use crate::fleet::Capacities;

/// Exit status of a container that runs.
const EXIT_STATUS_INVALID: i32 = -1_000;

/// Nodes that share a rack where the list says nothing of racks. As in the simulated fleet.
const RACK_SIZE: u32 = 40;

/// Port of every NodeManager and of its web server. Hosts differ, so that ports need not.
const PORTS: (u16, u16) = (8_041, 8_042);

/// A container that ends at its time: when, the order of starts, its node's row, itself.
type End = Reverse<(u64, u64, u32, ContainerId)>;

/// A container that runs.
#[derive(Clone, Debug)]
struct Running {
    /// Number of its start; an end of another start is void.
    serial: u64,
    capability: EngineResource,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    running: BTreeMap<(u32, ContainerId), Running>,
    ends: BinaryHeap<End>,
    serial: u64,
    /// Containers started.
    pub(super) started: u64,
    /// Containers that ended, however.
    pub(super) completed: u64,
}

impl Nodes {
    /// What node `index` is called.
    pub(super) fn node_id(capacities: &Capacities, index: u32) -> NodeId {
        NodeId::new(capacities.host_of(index), PORTS.0)
    }

    /// The event with which node `index` comes to the cluster.
    pub(super) fn added(capacities: &Capacities, index: u32) -> NodeEvent {
        let capacity = capacities.of(index);
        let rack = capacity.rack.clone();
        let mut event = NodeEvent::new(NodeHandle::new(0, index, 1));
        event.added = Some(Box::new(NodeAdded {
            host: capacities.host_of(index).into(),
            port: PORTS.0,
            http_port: PORTS.1,
            rack_name: rack.unwrap_or_else(|| format!("/rack-{:04}", index / RACK_SIZE).into()),
            node_labels: capacity.label.iter().cloned().collect(),
        }));
        event.usability = Some(Usability::Usable);
        event.capability = Some(to_engine(&capacity.to_resource()));
        event
    }

    /// A container begins, and ends by itself at `end_us`, where it does. `None` where it runs already.
    pub(super) fn start(
        &mut self,
        node: NodeHandle,
        id: ContainerId,
        capability: EngineResource,
        end_us: Option<u64>,
    ) -> Option<NodeEvent> {
        let key = (node.row(), id);
        if self.running.contains_key(&key) {
            return None;
        }
        self.serial += 1;
        self.started += 1;
        if let Some(end_us) = end_us {
            self.ends.push(Reverse((end_us, self.serial, key.0, id)));
        }
        let mut event = NodeEvent::new(node);
        event.launched.push(report(id, ContainerState::Running, EXIT_STATUS_INVALID, capability.clone()));
        self.running.insert(key, Running { serial: self.serial, capability });
        Some(event)
    }

    /// A container is ended. `None` where it does not run.
    pub(super) fn end(&mut self, node: NodeHandle, id: ContainerId, exit_status: i32) -> Option<NodeEvent> {
        let running = self.running.remove(&(node.row(), id))?;
        self.completed += 1;
        let mut event = NodeEvent::new(node);
        event.completed.push(report(id, ContainerState::Complete, exit_status, running.capability));
        Some(event)
    }

    /// The containers of an application on a node.
    pub(super) fn of_application(&self, node: NodeHandle, application_id: ApplicationId) -> Vec<ContainerId> {
        let at = |attempt_id, container_id| {
            let application_attempt_id = ApplicationAttemptId { application_id, attempt_id };
            (node.row(), ContainerId { application_attempt_id, container_id })
        };
        self.running.range(at(0, 0)..=at(u32::MAX, u64::MAX)).map(|((_, id), _)| *id).collect()
    }

    /// The next container whose time is over.
    pub(super) fn next_ended(&mut self, now_us: u64) -> Option<NodeEvent> {
        while let Some(&Reverse((at_us, serial, row, id))) = self.ends.peek() {
            if at_us > now_us {
                return None;
            }
            self.ends.pop();
            if self.running.get(&(row, id)).is_some_and(|running| running.serial == serial) {
                return self.end(NodeHandle::new(0, row, 1), id, 0);
            }
        }
        None
    }

    /// When a container's time is over next.
    pub(super) fn next_end_us(&self) -> Option<u64> {
        self.ends.peek().map(|Reverse(end)| end.0)
    }
}

fn report(
    container_id: ContainerId,
    state: ContainerState,
    exit_status: i32,
    capability: EngineResource,
) -> ContainerReport {
    ContainerReport {
        container_id,
        state,
        execution_type: ExecutionType::Guaranteed,
        exit_status,
        capability,
        diagnostics: Box::default(),
    }
}

/// A resource as the engine has it.
pub(super) fn to_engine(resource: &Resource) -> EngineResource {
    let mut extended: Vec<ExtendedResource> = resource
        .extended
        .iter()
        .map(|other| ExtendedResource {
            name: other.name.as_str().into(),
            value: other.value,
            units: other.units.as_str().into(),
        })
        .collect();
    extended.sort();
    EngineResource {
        memory_mb: resource.memory_mb,
        virtual_cores: resource.virtual_cores,
        extended: extended.into(),
    }
}

/// A resource as the wire has it.
pub(super) fn to_wire(resource: &EngineResource) -> Resource {
    let extended = resource.extended.iter().map(|other| ResourceInformation {
        name: other.name.to_string(),
        value: other.value,
        units: other.units.to_string(),
    });
    Resource {
        memory_mb: resource.memory_mb,
        virtual_cores: resource.virtual_cores,
        extended: extended.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(application: u32, number: u64) -> ContainerId {
        let application_id = ApplicationId { cluster_timestamp: 1, id: application };
        let application_attempt_id = ApplicationAttemptId { application_id, attempt_id: 1 };
        ContainerId { application_attempt_id, container_id: number }
    }

    #[test]
    fn a_container_ends_once_and_ends_are_in_order() {
        let mut nodes = Nodes::default();
        let node = NodeHandle::new(0, 3, 1);
        let size = to_engine(&Resource::new(1_024, 1));
        for (number, end_us) in [(1, Some(50)), (2, Some(20)), (3, Some(20)), (4, None)] {
            assert!(nodes.start(node, container(1, number), size.clone(), end_us).is_some());
        }
        assert!(nodes.start(node, container(1, 1), size.clone(), None).is_none(), "it runs already");
        assert!(nodes.end(node, container(1, 3), -106).is_some());
        assert!(nodes.end(node, container(1, 3), -106).is_none(), "it has ended");
        // Started again: the end of its first start is void.
        assert!(nodes.start(node, container(1, 3), size, Some(90)).is_some());
        let mut ended = Vec::new();
        for now_us in [10, 20, 60, 100] {
            while let Some(event) = nodes.next_ended(now_us) {
                ended.push((now_us, event.completed[0].container_id.container_id));
            }
        }
        assert_eq!(ended, [(20, 2), (60, 1), (100, 3)]);
        assert_eq!((nodes.started, nodes.completed, nodes.next_end_us()), (5, 4, None));
        assert_eq!(
            nodes.of_application(node, container(1, 0).application_attempt_id.application_id).len(),
            1
        );
        assert!(nodes.of_application(node, container(2, 0).application_attempt_id.application_id).is_empty());
    }
}

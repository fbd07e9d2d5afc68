//! Inventory: the smallest role that can hear of every node, for runs that are about nodes only.
//! Owns: the cluster's totals. Called by: the simulated ResourceManager (events in, orders out).
//! Does not: place containers, know queues or applications (the scheduler does), send anything itself.
//! Invariants: totals are sums over the nodes it was told of; every completion is acknowledged with one RemoveContainer.
//!
//! Every container is accepted, so that fleets may invent theirs; an application is over, as far as a node is concerned,
//! when nothing of it has run there for [`Inventory::CLEANUP_AFTER`].

use std::collections::{BTreeMap, VecDeque};

use heddle_wire::record::{ApplicationAttemptId, ApplicationId, ContainerId, NodeHandle};

use heddle::engine::event::{ContainerReport, NodeCommand, NodeEvent, NodeOrder, Usability};
use heddle::engine::time::{Duration, Instant};

/// Containers by id, with memory and virtual cores.
type Containers = BTreeMap<ContainerId, (u64, u32)>;

/// One node: 24 bytes where nothing runs.
#[derive(Debug, Default)]
struct Node {
    memory_mb: u64,
    containers: Option<Box<Containers>>,
    virtual_cores: u32,
    /// `None` while the row has no node.
    usability: Option<Usability>,
}

/// Sums over the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Nodes known.
    pub(crate) nodes: u64,
    /// Nodes on which containers may be placed.
    pub(crate) usable_nodes: u64,
    /// Memory of all nodes that are not UNHEALTHY, MiB.
    pub(crate) memory_mb: u64,
    /// Virtual cores of the same.
    pub(crate) virtual_cores: u64,
    /// Containers that run.
    pub(crate) running_containers: u64,
    /// Their memory, MiB.
    pub(crate) used_memory_mb: u64,
    /// Their virtual cores.
    pub(crate) used_virtual_cores: u64,
    /// Containers seen running since the start; one that began and ended between two events only counts as completed.
    pub(crate) launched: u64,
    /// Containers seen completed since the start, with those that went down with their node.
    pub(crate) completed: u64,
}

impl Totals {
    /// Virtual cores used of those there are, thousandths: for
    /// [`ShardCommand::SetClusterLoad`](heddle::engine::event::ShardCommand::SetClusterLoad).
    #[must_use]
    pub(crate) fn used_permille(&self) -> u16 {
        let used = u128::from(self.used_virtual_cores) * 1_000;
        let permille = used.checked_div(u128::from(self.virtual_cores)).unwrap_or(0);
        u16::try_from(permille.min(1_000)).unwrap_or(1_000)
    }
}

/// An application whose last container on a node is complete.
#[derive(Clone, Copy, Debug)]
struct IdleApplication {
    due: Instant,
    node: NodeHandle,
    application_id: ApplicationId,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// By shard and row: the identity that stays while a node registers again and keeps its containers.
    shards: Vec<Vec<Node>>,
    totals: Totals,
    /// By due time, oldest first.
    idle: VecDeque<IdleApplication>,
}

impl Inventory {
    /// How long nothing of an application must have run on a node before the node is told that it is over.
    ///
    /// Not at once: a node that comes back reports what completed before it has reported what runs, and an order in
    /// between killed containers that were alive (found by the simulator). Ten seconds are several beats and a full report.
    pub(crate) const CLEANUP_AFTER: Duration = Duration::from_secs(10);

    /// Most applications waiting for that. Beyond it the oldest is forgotten: its node keeps the application's files,
    /// and a graceful decommission waits for its deadline.
    pub(crate) const IDLE_MAX: usize = 65_536;

    /// Without nodes.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The cluster's totals.
    #[must_use]
    pub(crate) const fn totals(&self) -> Totals {
        self.totals
    }

    /// Takes in what happened to a node, and appends the orders that follow from it.
    pub(crate) fn handle_node_event(
        &mut self,
        now: Instant,
        event: NodeEvent,
        commands: &mut Vec<NodeCommand>,
    ) {
        let (shard, row) = (usize::from(event.node.shard()), event.node.row() as usize);
        if self.shards.len() <= shard {
            self.shards.resize_with(shard + 1, Vec::new);
        }
        let nodes = &mut self.shards[shard];
        if nodes.len() <= row {
            // As the node table grows: a doubling would be the larger part of a node's memory.
            let missing = row + 1 - nodes.len();
            if nodes.capacity() <= row {
                nodes.reserve_exact(missing.max(nodes.len() / 16).max(64));
            }
            nodes.resize_with(row + 1, Node::default);
        }
        let node = &mut nodes[row];
        let totals = &mut self.totals;
        for report in &event.completed {
            totals.complete(node, &report.container_id);
        }
        if event.removed.is_some() {
            totals.drop_containers(node);
            totals.count(node, false);
            *node = Node::default();
        }
        if event.added.is_some() {
            totals.drop_containers(node);
            totals.count(node, false);
            *node = Node { usability: Some(Usability::Usable), ..Node::default() };
            totals.count(node, true);
        }
        if event.was_interrupted {
            totals.drop_containers(node);
        }
        if node.usability.is_some() {
            totals.count(node, false);
            if let Some(usability) = event.usability {
                node.usability = Some(usability);
            }
            if let Some(capability) = &event.capability {
                node.memory_mb = capability.memory_mb;
                node.virtual_cores = capability.virtual_cores;
            }
            totals.count(node, true);
            for report in &event.launched {
                totals.launch(node, report);
            }
        }
        for report in &event.completed {
            let order = NodeOrder::RemoveContainer(report.container_id);
            commands.push(NodeCommand { node: event.node, order, is_urgent: false });
            let application_id = report.container_id.application_id();
            if node.usability.is_some() && !has_containers_of(node, application_id) {
                if self.idle.len() >= Self::IDLE_MAX {
                    self.idle.pop_front();
                }
                self.idle.push_back(IdleApplication {
                    due: now + Self::CLEANUP_AFTER,
                    node: event.node,
                    application_id,
                });
            }
        }
    }

    /// Time has passed: tells nodes which applications are over. One whose registration has ended since is dropped by
    /// its shard.
    pub(crate) fn handle_tick(&mut self, now: Instant, commands: &mut Vec<NodeCommand>) {
        while let Some(idle) = self.idle.pop_front_if(|idle| idle.due <= now) {
            let node = self
                .shards
                .get(usize::from(idle.node.shard()))
                .and_then(|nodes| nodes.get(idle.node.row() as usize));
            if node
                .is_some_and(|node| node.usability.is_some() && !has_containers_of(node, idle.application_id))
            {
                let order = NodeOrder::CleanupApplication(idle.application_id);
                commands.push(NodeCommand { node: idle.node, order, is_urgent: false });
            }
        }
    }

    /// When [`Inventory::handle_tick`] has something to do next.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.idle.front().map(|idle| idle.due)
    }

    /// What runs on a node, in the order of ids.
    pub(crate) fn containers(&self, node: NodeHandle) -> impl Iterator<Item = ContainerId> + '_ {
        let node =
            self.shards.get(usize::from(node.shard())).and_then(|nodes| nodes.get(node.row() as usize));
        node.and_then(|node| node.containers.as_deref()).into_iter().flat_map(|it| it.keys().copied())
    }
}

fn has_containers_of(node: &Node, application_id: ApplicationId) -> bool {
    let first = ContainerId {
        application_attempt_id: ApplicationAttemptId { application_id, attempt_id: 0 },
        container_id: 0,
    };
    let next = node.containers.as_ref().and_then(|containers| containers.range(first..).next());
    next.is_some_and(|(id, _)| id.application_id() == application_id)
}

impl Totals {
    /// Adds or takes away a node's share of what does not depend on containers.
    fn count(&mut self, node: &Node, is_more: bool) {
        let Some(usability) = node.usability else { return };
        let put = |total: &mut u64, share: u64| {
            *total = if is_more { *total + share } else { total.saturating_sub(share) };
        };
        put(&mut self.nodes, 1);
        put(&mut self.usable_nodes, u64::from(usability == Usability::Usable));
        if usability != Usability::Unhealthy {
            put(&mut self.memory_mb, node.memory_mb);
            put(&mut self.virtual_cores, u64::from(node.virtual_cores));
        }
    }

    fn launch(&mut self, node: &mut Node, report: &ContainerReport) {
        let size = (report.capability.memory_mb, report.capability.virtual_cores);
        let containers = node.containers.get_or_insert_default();
        if containers.insert(report.container_id, size).is_none() {
            self.launched += 1;
            self.running_containers += 1;
            self.used_memory_mb += size.0;
            self.used_virtual_cores += u64::from(size.1);
        }
    }

    fn complete(&mut self, node: &mut Node, container_id: &ContainerId) {
        self.completed += 1;
        let Some(containers) = node.containers.as_mut() else { return };
        if let Some(size) = containers.remove(container_id) {
            self.end(size);
        }
        if containers.is_empty() {
            node.containers = None;
        }
    }

    fn drop_containers(&mut self, node: &mut Node) {
        for (_, size) in node.containers.take().into_iter().flat_map(|containers| *containers) {
            self.completed += 1;
            self.end(size);
        }
    }

    fn end(&mut self, (memory_mb, virtual_cores): (u64, u32)) {
        self.running_containers = self.running_containers.saturating_sub(1);
        self.used_memory_mb = self.used_memory_mb.saturating_sub(memory_mb);
        self.used_virtual_cores = self.used_virtual_cores.saturating_sub(u64::from(virtual_cores));
    }
}

#[cfg(test)]
mod tests {
    use heddle_wire::record::{ContainerState, ExecutionType};

    use super::*;
    use heddle::engine::event::{NodeAdded, NodeRemoved, RemovedReason, Resource};

    const NODE: NodeHandle = NodeHandle::new(1, 7, 1);

    fn container(application: u32, id: u64) -> ContainerId {
        let application_id = ApplicationId { cluster_timestamp: 1, id: application };
        ContainerId {
            application_attempt_id: ApplicationAttemptId { application_id, attempt_id: 1 },
            container_id: id,
        }
    }

    fn report(container_id: ContainerId, state: ContainerState) -> ContainerReport {
        let capability = Resource { memory_mb: 512, virtual_cores: 2, ..Resource::default() };
        ContainerReport {
            container_id,
            state,
            execution_type: ExecutionType::Guaranteed,
            exit_status: 0,
            capability,
            diagnostics: "".into(),
        }
    }

    fn added() -> NodeEvent {
        let added = NodeAdded {
            host: "a".into(),
            port: 1,
            http_port: 2,
            rack_name: "".into(),
            node_labels: Box::new([]),
        };
        NodeEvent {
            added: Some(Box::new(added)),
            usability: Some(Usability::Usable),
            capability: Some(Resource { memory_mb: 4_096, virtual_cores: 8, ..Resource::default() }),
            ..NodeEvent::new(NODE)
        }
    }

    fn step(inventory: &mut Inventory, event: NodeEvent) -> Vec<NodeOrder> {
        let mut commands = Vec::new();
        inventory.handle_node_event(Instant::ZERO, event, &mut commands);
        commands.into_iter().map(|command| command.order).collect()
    }

    #[test]
    fn totals_follow_the_nodes() {
        let mut inventory = Inventory::new();
        step(&mut inventory, added());
        let (a, b) = (container(1, 1), container(1, 2));
        let launched = vec![report(a, ContainerState::Running), report(b, ContainerState::Running)];
        assert!(step(&mut inventory, NodeEvent { launched, ..NodeEvent::new(NODE) }).is_empty());
        let totals = inventory.totals();
        assert_eq!((totals.nodes, totals.usable_nodes, totals.virtual_cores), (1, 1, 8));
        assert_eq!(
            (totals.running_containers, totals.used_virtual_cores, totals.used_permille()),
            (2, 4, 500)
        );

        let completed = vec![report(a, ContainerState::Complete)];
        let orders = step(&mut inventory, NodeEvent { completed, ..NodeEvent::new(NODE) });
        assert_eq!(orders, [NodeOrder::RemoveContainer(a)]);
        let completed = vec![report(b, ContainerState::Complete)];
        let orders = step(&mut inventory, NodeEvent { completed, ..NodeEvent::new(NODE) });
        assert_eq!(orders, [NodeOrder::RemoveContainer(b)]);
        // Nothing of the application is left on the node, and stays away.
        let due = inventory.next_deadline().unwrap();
        let mut commands = Vec::new();
        inventory.handle_tick(due - Duration::from_millis(1), &mut commands);
        assert!(commands.is_empty());
        inventory.handle_tick(due, &mut commands);
        let orders: Vec<_> = commands.into_iter().map(|command| command.order).collect();
        assert_eq!(orders, [NodeOrder::CleanupApplication(b.application_id())]);
        assert_eq!(inventory.next_deadline(), None);
        assert_eq!(inventory.totals().used_permille(), 0);

        let unhealthy = NodeEvent {
            was_interrupted: true,
            usability: Some(Usability::Unhealthy),
            ..NodeEvent::new(NODE)
        };
        step(&mut inventory, unhealthy);
        assert_eq!((inventory.totals().usable_nodes, inventory.totals().virtual_cores), (0, 0));
        let removed = Some(NodeRemoved { node: NODE, reason: RemovedReason::Lost });
        step(&mut inventory, NodeEvent { removed, ..NodeEvent::new(NODE) });
        let expected = Totals { launched: 2, completed: 2, ..Totals::default() };
        assert_eq!(inventory.totals(), expected);
    }

    #[test]
    fn a_node_that_goes_takes_its_containers_with_it() {
        let mut inventory = Inventory::new();
        step(&mut inventory, added());
        let launched = vec![report(container(1, 1), ContainerState::Running)];
        step(&mut inventory, NodeEvent { launched, ..NodeEvent::new(NODE) });
        let removed = Some(NodeRemoved { node: NODE, reason: RemovedReason::Reconnected });
        let again = NodeEvent { removed, ..added() };
        step(&mut inventory, again);
        let totals = inventory.totals();
        assert_eq!((totals.nodes, totals.running_containers, totals.completed), (1, 0, 1));
        assert_eq!(inventory.containers(NODE).count(), 0);
    }

    /// A node comes back; its first beat completes one container, its full report a beat later names another of the same
    /// application. The application was taken for over in between, and the second container was killed.
    #[test]
    fn an_application_is_not_over_while_a_node_is_still_reporting() {
        let mut inventory = Inventory::new();
        step(&mut inventory, added());
        let completed = vec![report(container(1, 1), ContainerState::Complete)];
        let orders = step(&mut inventory, NodeEvent { completed, ..NodeEvent::new(NODE) });
        assert_eq!(orders, [NodeOrder::RemoveContainer(container(1, 1))]);
        let launched = vec![report(container(1, 2), ContainerState::Running)];
        step(&mut inventory, NodeEvent { launched, ..NodeEvent::new(NODE) });
        let mut commands = Vec::new();
        inventory.handle_tick(Instant::from_millis(3_600_000), &mut commands);
        assert!(commands.is_empty(), "{commands:?}");
    }

    #[test]
    fn an_empty_cluster_is_not_loaded() {
        assert_eq!(Inventory::new().totals().used_permille(), 0);
    }
}

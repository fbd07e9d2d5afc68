//! A scheduler with a cluster around it, for tests: nodes, applications without AM containers, asks, and what came of them.
//! Owns: [`Cluster`]. Called by: the worked examples and the property tests. Thread: the test's.
//! Does not: go through frames; it speaks to the scheduler as the door and the shards do.
//! Invariants: time moves only when told; after every step the scheduler's sums are recomputed and compared.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;

use heddle::engine::event::{
    ContainerReport, NodeAdded, NodeEvent, NodeRemoved, RemovedReason, Resource, Usability,
};
use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::face::{
    Ask, AttemptEvent, Finished, Granted, Place, ResourceScheduler, SchedulerKey, SchedulerOutput,
};
use heddle::engine::scheduler::message::{
    AddApplication, AddAttempt, AmAsk, ApplicationEvent, Attempt, LaunchAm, SchedulerCommand,
};
use heddle::engine::scheduler::resource::ResourceVector;
use heddle::engine::scheduler::settings::{
    Acl, Calculator, Capacity, MaximumCapacity, PartitionCapacity, QueueSettings, QueueTree,
    SchedulerSettings,
};
use heddle::engine::time::{Duration, Instant};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ContainerId, ContainerState, ExecutionType, NodeHandle,
};

/// MiB of a GB as the examples count.
pub(crate) const GB: u64 = 1_024;

/// `gb` of memory and `cores`.
pub(crate) fn size(gb: u64, cores: u64) -> ResourceVector {
    ResourceVector::new(gb * GB, cores)
}

/// A tree of percentages: path, capacity, maximum. Parents first; `root` is there.
pub(crate) fn tree(queues: &[(&str, f32, f32)]) -> QueueTree {
    let mut tree = QueueTree::default();
    tree.queues.truncate(1);
    for (path, capacity, maximum) in queues {
        let parent = path.rsplit_once('.').and_then(|(parent, _)| tree.find(parent).ok()).unwrap();
        tree.queues[parent as usize].is_leaf = false;
        let mut queue = QueueSettings::leaf(path, Some(parent), Capacity::Percent(*capacity));
        queue.capacities.insert(
            "".into(),
            PartitionCapacity {
                capacity: Capacity::Percent(*capacity),
                maximum: MaximumCapacity::Percent(*maximum),
                maximum_am_resource_percent: 1.0,
            },
        );
        queue.acl_submit_applications = Acl::all();
        // The examples' users are bounded where they say so.
        queue.user_limit_factor = None;
        tree.queues.push(queue);
    }
    tree
}

/// Settings for a tree: least container 1 GB, memory only, largest container 1 TB.
pub(crate) fn settings(queues: QueueTree) -> SchedulerSettings {
    SchedulerSettings {
        queues,
        minimum_allocation: ResourceVector::new(GB, 1),
        maximum_allocation: ResourceVector::new(1_024 * GB, 1_024),
        ..SchedulerSettings::default()
    }
}

/// The same, by the dominant share.
pub(crate) fn dominant(queues: QueueTree) -> SchedulerSettings {
    SchedulerSettings { calculator: Calculator::Dominant, ..settings(queues) }
}

/// See the module.
pub(crate) struct Cluster {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Instant,
    /// What was said last, not yet looked at.
    pub(crate) out: SchedulerOutput,
    /// Grants by container, until their end.
    pub(crate) live: BTreeMap<ContainerId, Granted>,
    /// Every grant in order.
    pub(crate) grants: Vec<Granted>,
    /// Every end in order.
    pub(crate) ends: Vec<Finished>,
    /// What the application manager was told.
    pub(crate) told: Vec<ApplicationEvent>,
    /// Orders to nodes.
    pub(crate) orders: Vec<heddle::engine::event::NodeCommand>,
    nodes: u32,
}

impl Cluster {
    pub(crate) fn new(settings: SchedulerSettings) -> Self {
        Self {
            scheduler: Scheduler::new(settings),
            now: Instant::ZERO,
            out: SchedulerOutput::default(),
            live: BTreeMap::new(),
            grants: Vec::new(),
            ends: Vec::new(),
            told: Vec::new(),
            orders: Vec::new(),
            nodes: 0,
        }
    }

    /// Adds a node `nK` on a rack.
    pub(crate) fn node_on(&mut self, rack: &str, gb: u64, cores: u32) -> NodeHandle {
        let handle = NodeHandle::new(0, self.nodes, 1);
        self.nodes += 1;
        self.register(handle, rack, gb, cores);
        handle
    }

    pub(crate) fn register(&mut self, handle: NodeHandle, rack: &str, gb: u64, cores: u32) {
        self.register_with(handle, rack, gb, cores, &[]);
    }

    pub(crate) fn register_with(
        &mut self,
        handle: NodeHandle,
        rack: &str,
        gb: u64,
        cores: u32,
        labels: &[&str],
    ) {
        let added = NodeAdded {
            host: format!("n{}", handle.row()).into(),
            port: 8_041,
            http_port: 8_042,
            rack_name: rack.into(),
            node_labels: labels.iter().map(|label| (*label).into()).collect(),
        };
        let capability = Resource { memory_mb: gb * GB, virtual_cores: cores, ..Resource::default() };
        let event = NodeEvent {
            added: Some(Box::new(added)),
            usability: Some(Usability::Usable),
            capability: Some(capability),
            ..NodeEvent::new(handle)
        };
        self.event(event);
    }

    pub(crate) fn node(&mut self, gb: u64) -> NodeHandle {
        self.node_on("r0", gb, 1_000)
    }

    pub(crate) fn event(&mut self, event: NodeEvent) {
        self.scheduler.handle_node_event(self.now, event, &mut self.out);
        self.collect();
    }

    pub(crate) fn lose(&mut self, node: NodeHandle) {
        let removed = Some(NodeRemoved { node, reason: RemovedReason::Lost });
        self.event(NodeEvent { removed, ..NodeEvent::new(node) });
    }

    pub(crate) fn command(&mut self, command: SchedulerCommand) {
        self.scheduler.handle_command(self.now, command, &mut self.out);
        self.collect();
    }

    /// Submits an application; `None` = it was not admitted.
    pub(crate) fn submit_only(
        &mut self,
        id: u32,
        user: &str,
        queue: &str,
        priority: i32,
    ) -> Result<(), String> {
        let add = AddApplication {
            application_id: application(id),
            user: user.into(),
            queue: queue.into(),
            priority,
            node_label_expression: None,
            submit_time_ms: u64::from(id),
            am_node_label: None,
        };
        self.command(SchedulerCommand::AddApplication(Box::new(add)));
        match self.told.last() {
            Some(ApplicationEvent::Accepted { .. }) => Ok(()),
            Some(ApplicationEvent::Rejected { reason, .. }) => Err(reason.to_string()),
            other => panic!("{other:?}"),
        }
    }

    /// An application without an AM container that may ask at once.
    pub(crate) fn submit(&mut self, id: u32, user: &str, queue: &str) -> Attempt {
        self.submit_with(id, user, queue, 0, None)
    }

    pub(crate) fn submit_with(
        &mut self,
        id: u32,
        user: &str,
        queue: &str,
        priority: i32,
        am_gb: Option<u64>,
    ) -> Attempt {
        self.submit_only(id, user, queue, priority).unwrap();
        self.attempt(id, 1, am_gb, false)
    }

    pub(crate) fn attempt(&mut self, id: u32, number: u32, am_gb: Option<u64>, transfer: bool) -> Attempt {
        let am = am_gb.map(|gb| AmAsk {
            capability: Resource { memory_mb: gb * GB, virtual_cores: 1, ..Resource::default() },
            node_label: "".into(),
            localities: Vec::new(),
            relax_locality: true,
            blacklist: Vec::new(),
        });
        let add = AddAttempt {
            attempt_id: attempt_id(id, number),
            am,
            transfer_from_previous: transfer,
            keep_containers: transfer,
            acls: Vec::new(),
        };
        self.command(SchedulerCommand::AddAttempt(Box::new(add)));
        let attempts = self.told.iter().rev().find_map(|event| match event {
            ApplicationEvent::AttemptAdded { attempt, .. } => Some(*attempt),
            _ => None,
        });
        attempts.unwrap()
    }

    /// Sets the row for any place.
    pub(crate) fn ask(&mut self, attempt: Attempt, gb: u64, count: u32) {
        self.ask_at(attempt, 0, Place::Any, size(gb, 1), count, true);
    }

    pub(crate) fn ask_at(
        &mut self,
        attempt: Attempt,
        priority: i32,
        place: Place<'_>,
        capability: ResourceVector,
        count: u32,
        relax_locality: bool,
    ) {
        let key = SchedulerKey { priority, allocation_request_id: -1 };
        let ask = Ask { key, place, capability, count, relax_locality, node_label: None };
        self.scheduler.check_ask(attempt, &ask).unwrap();
        self.scheduler.update_ask(self.now, attempt, &ask);
    }

    /// Places all that can be placed; returns the grants in their order.
    pub(crate) fn schedule(&mut self) -> Vec<Granted> {
        let before = self.grants.len();
        while self.scheduler.wants_to_schedule() {
            self.scheduler.schedule(self.now, &mut self.out);
            self.collect();
        }
        self.verify();
        self.grants[before..].to_vec()
    }

    /// One step; returns its grants in their order.
    pub(crate) fn schedule_once(&mut self) -> Vec<Granted> {
        let before = self.grants.len();
        self.scheduler.schedule(self.now, &mut self.out);
        self.collect();
        self.verify();
        self.grants[before..].to_vec()
    }

    pub(crate) fn verify(&self) {
        let found = self.scheduler.inconsistencies();
        assert!(found.is_empty(), "{found:#?}");
    }

    /// Time passes.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
        self.scheduler.handle_tick(self.now, &mut self.out);
        self.collect();
    }

    fn collect(&mut self) {
        for event in self.out.attempt_events.drain(..) {
            match event {
                AttemptEvent::Granted(granted) => {
                    let before = self.live.insert(granted.container_id, granted.clone());
                    assert_eq!(before, None, "granted twice");
                    self.grants.push(granted);
                }
                AttemptEvent::Finished(finished) => {
                    assert!(self.live.remove(&finished.container_id).is_some(), "{finished:?} ended twice");
                    self.ends.push(finished);
                }
                _ => {}
            }
        }
        self.told.append(&mut self.out.application_events);
        self.orders.append(&mut self.out.node_commands);
        self.out.notices.clear();
    }

    /// The ApplicationMaster hears of a grant.
    pub(crate) fn acquire(&mut self, container: ContainerId) -> bool {
        let attempt = self.live[&container].attempt;
        self.scheduler.acquire(self.now, attempt, &container)
    }

    /// The node reports a container running.
    pub(crate) fn launch(&mut self, container: ContainerId) {
        let granted = self.live[&container].clone();
        let launched = vec![report(container, &granted.resource, ContainerState::Running)];
        self.event(NodeEvent { launched, ..NodeEvent::new(granted.node) });
    }

    /// Grant, told, running.
    pub(crate) fn run_all(&mut self) {
        let new: Vec<_> = self.live.keys().copied().collect();
        for container in new {
            if self.acquire(container) {
                self.launch(container);
            }
        }
    }

    /// A container comes to its own end.
    pub(crate) fn finish(&mut self, container: ContainerId) {
        let granted = self.live[&container].clone();
        let completed = vec![report(container, &granted.resource, ContainerState::Complete)];
        self.event(NodeEvent { completed, ..NodeEvent::new(granted.node) });
    }

    /// Completes a container that the AM does not know any more: by id, node and size.
    pub(crate) fn report_end(&mut self, granted: &Granted) {
        let completed = vec![report(granted.container_id, &granted.resource, ContainerState::Complete)];
        self.event(NodeEvent { completed, ..NodeEvent::new(granted.node) });
    }

    pub(crate) fn release(&mut self, container: ContainerId) {
        let attempt = self.live[&container].attempt;
        self.scheduler.release(self.now, attempt, &container, &mut self.out);
        self.collect();
    }

    pub(crate) fn launch_am(&mut self, id: u32, container_id: ContainerId) {
        let launch = LaunchAm { attempt_id: attempt_id(id, 1), container_id, launch_context: Box::default() };
        self.command(SchedulerCommand::LaunchAm(Box::new(launch)));
    }

    pub(crate) fn remove_attempt(&mut self, id: u32) {
        self.command(SchedulerCommand::RemoveAttempt {
            attempt_id: attempt_id(id, 1),
            keep_containers: false,
            stop_am_container: true,
        });
        self.live.retain(|container, _| container.application_id() != application(id));
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.remove_attempt(id);
        self.command(SchedulerCommand::RemoveApplication { application_id: application(id) });
    }

    /// GB a queue's applications have, by attempt.
    pub(crate) fn used_gb(&self, attempt: Attempt) -> u64 {
        let of = self.live.values().filter(|granted| granted.attempt == attempt);
        of.map(|granted| granted.resource.memory_mb()).sum::<u64>() / GB
    }

    /// AM containers placed, by application number, in order.
    pub(crate) fn am_containers(&self) -> Vec<u32> {
        let ids = self.told.iter().filter_map(|event| match event {
            ApplicationEvent::AmContainerAllocated { attempt_id, .. } => Some(attempt_id.application_id.id),
            _ => None,
        });
        ids.collect()
    }
}

fn report(container_id: ContainerId, resource: &ResourceVector, state: ContainerState) -> ContainerReport {
    ContainerReport {
        container_id,
        state,
        execution_type: ExecutionType::Guaranteed,
        exit_status: 0,
        capability: Resource {
            memory_mb: resource.memory_mb(),
            virtual_cores: u32::try_from(resource.virtual_cores()).unwrap(),
            ..Resource::default()
        },
        diagnostics: "".into(),
    }
}

pub(crate) fn application(id: u32) -> ApplicationId {
    ApplicationId { cluster_timestamp: 1, id }
}

pub(crate) fn attempt_id(id: u32, number: u32) -> ApplicationAttemptId {
    ApplicationAttemptId { application_id: application(id), attempt_id: number }
}

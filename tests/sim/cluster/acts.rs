//! What happens to a whole cluster besides its work: faults, meddling clients, administrators who change their minds.
//! Owns: the part of [`World`] that acts. Called by: the run's loop, now and then. Thread: the run's.
//! Does not: check. Invariants: what is done to an application that may cost it its success is noted; when the faults end,
//! capacity, labels and queues are as they were.

use heddle::engine::application::ApplicationCommand;
use heddle::engine::batch::{Caller, PeerId};
use heddle::engine::event::{DecommissionMode, ShardCommand};
use heddle::engine::scheduler::settings::{Capacity, MaximumCapacity, QueueState};
use heddle::engine::settings::{ExcludedHost, NodeLists};
use heddle_loadgen::application::AmExit;
use heddle_wire::administration::{
    AddToClusterNodeLabelsRequest, NodeResource, RemoveFromClusterNodeLabelsRequest,
    ReplaceLabelsOnNodesRequest, UpdateNodeResourceRequest,
};
use heddle_wire::application_client::{
    ExplainApplicationRequest, FailApplicationAttemptRequest, GetApplicationReportRequest,
    GetContainersRequest, GetQueueInfoRequest, KillApplicationRequest, MoveApplicationAcrossQueuesRequest,
    SignalToContainerRequest, SubmitApplicationRequest, UpdateApplicationPriorityRequest,
    UpdateApplicationTimeoutsRequest,
};
use heddle_wire::application_master::{AllocateRequest, FinishApplicationMasterRequest};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ApplicationSubmissionContext, ApplicationTimeoutType,
    ApplicationTimeoutUpdate, ContainerId, ContainerLaunchContext, FinalApplicationStatus, NodeHandle,
    NodeId, NodeIdToLabels, NodeLabel, Resource, SignalContainerCommand, TokenMac,
};
use heddle_wire::{Flags, Opcode, write_frame};

use super::kinds::Happening;
use super::plan::{Act, LABEL, RM_IDENTIFIER, host_of};
use super::roles::Role;
use super::world::{Event, Link, World, tell};
use crate::describe;
use crate::node::NM_PORT;

macro_rules! ask {
    ($world:expr, $opcode:ident, $key:expr, $request:expr) => {{
        $world.serial += 1;
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Flags::REQUEST, $world.serial, $key, &$request);
        $world.ask_admin(Opcode::$opcode, bytes)
    }};
}

impl World {
    fn some_application(&mut self) -> ApplicationId {
        // One more than there are: an id nobody has.
        let id = self.chance.between(1, self.plan.applications.len() as u64 + 1) as u32;
        ApplicationId { cluster_timestamp: RM_IDENTIFIER, id }
    }

    /// Something goes wrong, or somebody meddles.
    pub(super) fn act(&mut self) -> Result<(), String> {
        if self.plan.acts.is_empty() {
            return Ok(());
        }
        let act = *self.chance.pick(&self.plan.acts);
        tell!(self, "act: {act:?}");
        let node = self.chance.below(u64::from(self.plan.nodes)) as u32;
        let application_id = self.some_application();
        match act {
            Act::KillNode => self.kill_node(node),
            Act::PauseNode => {
                self.tally.hit(Happening::NodePaused);
                self.fleet.pause(node);
                let after_us = self.chance.between(500_000, 9_000_000);
                self.after(after_us, Event::Resume(node));
            }
            Act::VanishMaster => self.end_master(false),
            Act::CrashMaster => self.end_master(true),
            Act::CutMaster => {
                if self.masters.slots() > 0 {
                    let slot = self.chance.below(u64::from(self.masters.slots())) as u32;
                    self.tally.hit(Happening::MasterStreamCut);
                    self.cut(Link::Master(slot));
                }
            }
            Act::CutNode => {
                self.tally.hit(Happening::NodeStreamCut);
                self.cut(Link::Node(node));
            }
            Act::CutClient => {
                let user = self.chance.below(self.client.users().len() as u64) as u32;
                self.tally.hit(Happening::ClientStreamCut);
                self.cut(Link::Client(user));
            }
            Act::KillApplication => self.kill_application(application_id)?,
            Act::FailAttempt => {
                self.seen.touch(application_id);
                let attempt_id = self.chance.between(1, 2) as u32;
                let application_attempt_id = ApplicationAttemptId { application_id, attempt_id };
                let request = FailApplicationAttemptRequest { application_attempt_id };
                ask!(self, FailApplicationAttempt, 0, request)?;
            }
            Act::MoveApplication => {
                let queues = ["root.default", "root.a.b", "root.a.c", "root.a", "nowhere"];
                let target_queue = (*self.chance.pick(&queues)).to_owned();
                let request = MoveApplicationAcrossQueuesRequest { application_id, target_queue };
                ask!(self, MoveApplicationAcrossQueues, 0, request)?;
            }
            Act::Resubmit => self.resubmit(application_id)?,
            Act::UpdatePriority => {
                let application_priority = self.chance.between(0, 12) as i32;
                let request = UpdateApplicationPriorityRequest { application_id, application_priority };
                ask!(self, UpdateApplicationPriority, 0, request)?;
            }
            Act::UpdateTimeout => {
                self.seen.touch(application_id);
                let expires_at_ms = RM_IDENTIFIER + self.now_us / 1_000 + self.chance.between(1, 8_000);
                let update = ApplicationTimeoutUpdate {
                    timeout_type: ApplicationTimeoutType::Lifetime,
                    expires_at_ms,
                };
                let request =
                    UpdateApplicationTimeoutsRequest { application_id, application_timeouts: vec![update] };
                ask!(self, UpdateApplicationTimeouts, 0, request)?;
            }
            Act::SignalContainer => {
                if let Some(container_id) = self.some_container() {
                    let command = *self.chance.pick(&[
                        SignalContainerCommand::OutputThreadDump,
                        SignalContainerCommand::GracefulShutdown,
                        SignalContainerCommand::ForcefulShutdown,
                    ]);
                    ask!(self, SignalToContainer, 0, SignalToContainerRequest { container_id, command })?;
                }
            }
            Act::AskAround => self.ask_around(application_id)?,
            Act::ForeignFrame => self.foreign_frame()?,
            Act::AddLabels => {
                let label = NodeLabel { name: LABEL.to_owned(), is_exclusive: self.chance.hits(500) };
                let request = AddToClusterNodeLabelsRequest { node_labels: vec![label] };
                ask!(self, AddToClusterNodeLabels, 0, request)?;
            }
            Act::ReplaceLabels => {
                let label = self.chance.hits(600).then(|| LABEL.to_owned());
                let fails = self.chance.hits(500);
                self.replace_labels(vec![(node, label)], fails)?;
            }
            Act::RemoveLabels => {
                let request = RemoveFromClusterNodeLabelsRequest { node_labels: vec![LABEL.to_owned()] };
                ask!(self, RemoveFromClusterNodeLabels, 0, request)?;
            }
            Act::UpdateCapacity => {
                let memory_mb = *self.chance.pick(&[0, 2_048, 4_096, 20_480]);
                let cores = self.chance.between(0, 12) as u32;
                self.update_capacity(node, Resource::new(memory_mb, cores))?;
            }
            Act::ReplaceQueues => self.replace_queues(),
            Act::Decommission => self.decommission(node)?,
            Act::Stranger => self.act_as_stranger(application_id)?,
        }
        self.exchange()
    }

    /// True when the cluster can do without the node, which it then has to.
    fn give_up_node(&mut self, node: u32) -> bool {
        let left = self.plan.nodes as usize - self.killed_nodes.len();
        left > self.plan.nodes_least as usize && self.killed_nodes.insert(node)
    }

    fn kill_node(&mut self, node: u32) {
        if self.give_up_node(node) {
            self.tally.hit(Happening::NodeKilled);
            self.fleet.kill(node);
        }
    }

    /// An administrator takes a node out, at once or when it is empty.
    fn decommission(&mut self, node: u32) -> Result<(), String> {
        if !self.give_up_node(node) {
            return Ok(());
        }
        self.tally.hit(Happening::Decommissioned);
        let mode = *self.chance.pick(&[
            DecommissionMode::Normal,
            DecommissionMode::Forceful,
            DecommissionMode::Graceful(Some(3_000)),
            DecommissionMode::Graceful(None),
        ]);
        self.excluded.insert(host_of(node));
        let excluded = self.excluded.iter();
        let exclude = excluded.map(|host| ExcludedHost { host: host.as_str().into(), timeout_s: None });
        let lists = NodeLists { include: Box::default(), exclude: exclude.collect() };
        tell!(self, "{} is taken out, {mode:?}", host_of(node));
        self.command_shards(|token| ShardCommand::SetNodeLists { token, lists: lists.clone(), mode })
    }

    pub(super) fn kill_application(&mut self, application_id: ApplicationId) -> Result<(), String> {
        self.seen.touch(application_id);
        let request = KillApplicationRequest { application_id, diagnostics: Some("enough".into()) };
        ask!(self, KillApplication, 0, request)
    }

    /// Somebody who owns nothing and is in no list tries what others may.
    fn act_as_stranger(&mut self, application_id: ApplicationId) -> Result<(), String> {
        if !self.plan.scheduler.queues.acl_enabled {
            return Ok(());
        }
        self.serial += 1;
        let serial = self.serial;
        let mut bytes = Vec::new();
        macro_rules! write {
            ($opcode:ident, $request:expr) => {{
                write_frame(&mut bytes, Flags::REQUEST, serial, 0, &$request);
                Opcode::$opcode
            }};
        }
        let opcode = match self.chance.below(4) {
            0 => write!(KillApplication, KillApplicationRequest { application_id, diagnostics: None }),
            1 => write!(GetApplicationReport, GetApplicationReportRequest { application_id }),
            2 => {
                let target_queue = "root.default".to_owned();
                write!(
                    MoveApplicationAcrossQueues,
                    MoveApplicationAcrossQueuesRequest { application_id, target_queue }
                )
            }
            _ => {
                let application_id = ApplicationId { id: 1_000_000, ..application_id };
                let application_submission_context = a_submission(application_id, "root.default");
                write!(SubmitApplication, SubmitApplicationRequest { application_submission_context })
            }
        };
        tell!(self, "stranger -> {}", describe::frame(&bytes));
        self.seen.admin_asked(serial, opcode);
        self.send_to_rm(Link::Stranger, bytes)
    }

    /// An ApplicationMaster falls silent, or its process dies.
    fn end_master(&mut self, is_crash: bool) {
        let attempts: Vec<ApplicationAttemptId> = self.masters.ams().map(|am| am.attempt_id()).collect();
        if attempts.is_empty() {
            return;
        }
        let attempt = *self.chance.pick(&attempts);
        let Some(Some((container_id, node))) = self.seen.masters.get(&attempt).copied() else { return };
        if is_crash {
            return self.crash_master(container_id, node);
        }
        tell!(self, "the master of {attempt} vanishes");
        self.seen.touch(attempt.application_id);
        self.masters.container_killed(&container_id);
        self.tally.hit(Happening::MasterVanished);
    }

    fn crash_master(&mut self, container_id: ContainerId, node: NodeHandle) {
        tell!(self, "the master in {container_id} crashes");
        self.seen.touch(container_id.application_id());
        self.masters.container_killed(&container_id);
        self.tally.hit(Happening::MasterCrashed);
        self.fleet.exit(&AmExit { node, container_id, exit_status: 1 });
    }

    /// ApplicationMasters that were on a node before it had its label are charged there, where each wants its tasks. Two
    /// may fill a queue so that neither gets any, and wait for good.
    fn leave_labelled_node(&mut self) {
        let labelled = self.nodes_left().first().copied();
        let attempts: Vec<ApplicationAttemptId> = self.masters.ams().map(|am| am.attempt_id()).collect();
        for attempt in attempts {
            if let Some(Some((container_id, node))) = self.seen.masters.get(&attempt).copied()
                && self.fleet.node_of(node) == labelled
            {
                self.crash_master(container_id, node);
            }
        }
    }

    fn resubmit(&mut self, application_id: ApplicationId) -> Result<(), String> {
        // Nothing is said about an id that was not taken: it would become an application of its own.
        if !self.rm.store.applications().contains_key(&application_id) {
            return Ok(());
        }
        self.tally.hit(Happening::Resubmitted);
        // Known, it is answered as if it had been taken; forgotten meanwhile, it is refused for its queue.
        self.seen.touch(application_id);
        let request = SubmitApplicationRequest {
            application_submission_context: a_submission(application_id, "root.nowhere"),
        };
        ask!(self, SubmitApplication, 0, request)
    }

    fn ask_around(&mut self, application_id: ApplicationId) -> Result<(), String> {
        match self.chance.below(3) {
            0 => {
                let request = GetQueueInfoRequest {
                    queue_name: "root".to_owned(),
                    include_child_queues: true,
                    is_recursive: true,
                    start: 0,
                    limit: 10,
                };
                ask!(self, GetQueueInfo, 0, request)
            }
            1 => {
                let application_attempt_id = ApplicationAttemptId { application_id, attempt_id: 1 };
                let request = GetContainersRequest { application_attempt_id, after: None, limit: 10 };
                ask!(self, GetContainers, 0, request)
            }
            _ => ask!(self, ExplainApplication, 0, ExplainApplicationRequest { application_id, limit: 10 }),
        }
    }

    /// Somebody speaks for an attempt that is not his.
    fn foreign_frame(&mut self) -> Result<(), String> {
        let handles: Vec<u64> = self.seen.handles().collect();
        let key = if handles.is_empty() { 77 } else { *self.chance.pick(&handles) };
        self.tally.hit(Happening::ForeignFrame);
        let token = TokenMac { key_id: 1, mac: [9; 32] };
        if self.chance.hits(500) {
            let request = AllocateRequest { am_rm_token: Some(token), ..AllocateRequest::default() };
            ask!(self, Allocate, key, request)
        } else {
            let request = FinishApplicationMasterRequest {
                diagnostics: String::new(),
                tracking_url: String::new(),
                final_application_status: FinalApplicationStatus::Succeeded,
                am_rm_token: self.chance.hits(500).then_some(token),
            };
            ask!(self, FinishApplicationMaster, key, request)
        }
    }

    fn replace_labels(
        &mut self,
        labels: Vec<(u32, Option<String>)>,
        fail_on_unknown_nodes: bool,
    ) -> Result<(), String> {
        let labels = labels.into_iter().map(|(node, label)| NodeIdToLabels {
            node_id: NodeId::new(host_of(node), NM_PORT),
            node_labels: label.into_iter().collect(),
        });
        let request = ReplaceLabelsOnNodesRequest { node_to_labels: labels.collect(), fail_on_unknown_nodes };
        ask!(self, ReplaceLabelsOnNodes, 0, request)
    }

    fn update_capacity(&mut self, node: u32, capability: Resource) -> Result<(), String> {
        let node_id = NodeId::new(host_of(node), NM_PORT);
        let resource = NodeResource { node_id, capability, over_commit_timeout_ms: None };
        ask!(self, UpdateNodeResource, 0, UpdateNodeResourceRequest { node_resources: vec![resource] })
    }

    /// Other queues are in force: stopped ones, other shares.
    fn replace_queues(&mut self) {
        let mut queues = self.plan.scheduler.queues.clone();
        for queue in queues.queues.iter_mut().filter(|queue| queue.is_leaf) {
            if self.chance.hits(300) {
                self.tally.hit(Happening::QueueStopped);
                queue.state = QueueState::Stopped;
            }
        }
        let shares = [[40.0, 60.0], [10.0, 90.0], [75.0, 25.0]];
        let share = self.chance.pick(&shares);
        for queue in queues.queues.iter_mut().filter(|queue| queue.parent == Some(0)) {
            let share = if &*queue.path == "root.default" { share[0] } else { share[1] };
            for capacity in queue.capacities.values_mut() {
                if self.plan.scheduler.queues.queues.len() > 2 {
                    capacity.capacity = Capacity::Percent(share);
                }
                capacity.maximum = MaximumCapacity::Percent(100.0);
            }
        }
        self.seen.queues_touched = true;
        self.put_queues(queues);
    }

    fn put_queues(&mut self, queues: heddle::engine::scheduler::settings::QueueTree) {
        self.serial += 1;
        let caller = Caller::new(PeerId(3), "root", true);
        let command =
            ApplicationCommand::ReplaceQueues { token: self.serial, caller, queues: Box::new(queues) };
        self.rm.commands.push_back(command);
        self.plan_step(Role::Application);
    }

    fn nodes_left(&self) -> Vec<u32> {
        (0..self.plan.nodes).filter(|node| !self.killed_nodes.contains(node)).collect()
    }

    /// Where labelled tasks are, the first node there is has the label; no other has one.
    pub(super) fn label_nodes(&mut self) -> Result<(), String> {
        let mut label = self.plan.has_labelled.then(|| LABEL.to_owned());
        let labels = self.nodes_left().into_iter().map(|node| (node, label.take())).collect();
        self.replace_labels(labels, false)
    }

    /// What administrators changed is as it was: there is room for everybody.
    pub(super) fn restore(&mut self) -> Result<(), String> {
        if self.plan.acts.contains(&Act::ReplaceQueues) {
            self.put_queues(self.plan.scheduler.queues.clone());
        }
        if self.plan.has_labelled || self.plan.acts.contains(&Act::ReplaceLabels) {
            self.label_nodes()?;
        }
        if self.plan.has_labelled {
            self.leave_labelled_node();
        }
        for node in self.nodes_left() {
            if self.plan.acts.contains(&Act::UpdateCapacity) {
                let (memory_mb, cores) = self.plan.node_size;
                self.update_capacity(node, Resource::new(memory_mb, cores))?;
            }
        }
        Ok(())
    }
}

/// A submission that nothing is wrong with.
fn a_submission(application_id: ApplicationId, queue: &str) -> ApplicationSubmissionContext {
    ApplicationSubmissionContext {
        application_id,
        application_name: "another".to_owned(),
        application_type: "SIM".to_owned(),
        queue: queue.to_owned(),
        priority: None,
        am_container_spec: ContainerLaunchContext::default(),
        is_unmanaged_am: false,
        cancel_tokens_when_complete: true,
        max_app_attempts: 1,
        resource: Some(Resource::new(1_024, 1)),
        am_container_resource_requests: Vec::new(),
        keep_containers_across_application_attempts: false,
        application_tags: Vec::new(),
        attempt_failures_validity_interval_ms: None,
        node_label_expression: None,
        application_timeouts: Vec::new(),
        application_scheduling_properties: Vec::new(),
        log_aggregation_context: None,
    }
}

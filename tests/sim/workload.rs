//! What happens to a cluster while a run lasts: faults, administrators, the scheduler's orders, peers that misbehave.
//! Owns: nothing; it is the part of [`Simulation`] that acts. Called by: the run's loop. Thread: the run's.
//! Does not: judge. Invariant: what is cut, paused or suspended comes back by itself after a while.

use heddle::engine::batch::PeerId;
use heddle::engine::event::{DecommissionMode, KeyPair, NodeCommand, NodeOrder, Resource, ShardCommand};
use heddle::engine::settings::{ExcludedHost, NodeLists};
use heddle_wire::administration::{
    DecommissionNodesRequest, DecommissionNodesResponse, DecommissionType, RecommissionNodesRequest,
    RecommissionNodesResponse,
};
use heddle_wire::frame::{FrameHeader, HEADER_SIZE, set_routing_key};
use heddle_wire::limits::COMMANDS_PER_NODE_MAX;
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ContainerId, ExecutionType, NodeHandle, NodeId, NodeState,
    SignalContainerCommand,
};
use heddle_wire::resource_tracker::UnRegisterNodeManagerRequest;
use heddle_wire::{Flags, Opcode, write_frame};

use crate::checkers::Cause;
use crate::coverage::Kind;
use crate::network::Direction;
use crate::node::{NM_PORT, host_of};
use crate::plan::Action;
use crate::simulation::{Event, FOREIGN, STRANGER_SLOT, Simulation, trace};

/// Commands of the wire, for chance to pick from.
const SIGNALS: [SignalContainerCommand; 3] = [
    SignalContainerCommand::OutputThreadDump,
    SignalContainerCommand::GracefulShutdown,
    SignalContainerCommand::ForcefulShutdown,
];

impl Simulation {
    /// One of the things this run does.
    pub(crate) fn act(&mut self) -> Result<(), String> {
        if self.plan.actions.is_empty() {
            return Ok(());
        }
        let action = *self.chance.pick(&self.plan.actions);
        let node = self.chance.below(self.nodes.len() as u64) as usize;
        trace!(self, "{action:?} (node {node})");
        match action {
            Action::CutToRm => self.cut(node, true, false),
            Action::CutToNode => self.cut(node, false, true),
            Action::CutBoth => self.cut(node, true, true),
            Action::DropConnection => {
                self.drop_connection(node);
                Ok(())
            }
            Action::KillRm => {
                if self.chance.hits(300) {
                    self.kill_rm();
                }
                Ok(())
            }
            Action::SuspendRm | Action::ClockForward | Action::ClockSmallForward | Action::ClockBackward => {
                self.disturb_clock(action)
            }
            Action::KillNode => {
                if !self.nodes[node].is_dead {
                    self.coverage.hit(Kind::NodeDeath);
                    self.nodes[node].die();
                    self.network.drop_connection(node);
                    self.revive_later(node);
                }
                Ok(())
            }
            Action::RestartNode => self.restart_node(node),
            Action::ChangeWebPort => {
                self.nodes[node].http_port += 1;
                self.restart_node(node)
            }
            Action::PauseNode => {
                self.coverage.hit(Kind::Pause);
                self.pause(node);
                Ok(())
            }
            Action::PauseMany => {
                self.coverage.hit(Kind::PauseOfMany);
                for node in 0..self.nodes.len() {
                    if self.chance.hits(700) {
                        self.pause(node);
                    }
                }
                Ok(())
            }
            Action::FlipHealth => {
                self.nodes[node].is_healthy = !self.nodes[node].is_healthy;
                Ok(())
            }
            Action::UnRegister => self.un_register(node),
            Action::ForeignBeat | Action::ForeignUnRegister => self.speak_for(node, action),
            Action::Garbage | Action::WrongDirection | Action::NotSupported | Action::WrongRoute => {
                self.misbehave(node, action)
            }
            _ if !self.rm.is_up || self.now_us < self.suspended_until_us => Ok(()),
            Action::DecommissionNormal => {
                self.coverage.hit(Kind::DecommissionNormal);
                self.decommission(node, DecommissionType::Normal)
            }
            Action::DecommissionGraceful => {
                self.coverage.hit(Kind::DecommissionGraceful);
                self.decommission(node, DecommissionType::Graceful)
            }
            Action::DecommissionForceful => {
                self.coverage.hit(Kind::DecommissionForceful);
                self.decommission(node, DecommissionType::Forceful)
            }
            Action::Recommission => {
                self.coverage.hit(Kind::Recommission);
                let shard = self.nodes[node].shard;
                let request = RecommissionNodesRequest { node_ids: vec![self.name(node)] };
                let _: RecommissionNodesResponse = self.ask(shard, &request)?;
                self.after_call(shard, Cause::Admin)
            }
            Action::Lists => self.change_lists(),
            Action::MasterKeys => self.roll_keys(),
            Action::Order => self.give_orders(),
            Action::Flood => self.flood(),
        }
    }

    /// A node's id; now and then every NodeManager of its host.
    fn name(&mut self, node: usize) -> NodeId {
        let port = if self.chance.hits(200) { 0 } else { NM_PORT };
        NodeId::new(host_of(node), port)
    }

    fn cut(&mut self, node: usize, to_rm: bool, to_node: bool) -> Result<(), String> {
        let until_us = self.now_us + self.chance.between(100_000, 14_000_000);
        if to_rm {
            self.network.cut(node, Direction::ToRm, until_us);
        }
        if to_node {
            self.network.cut(node, Direction::ToNode, until_us);
        }
        Ok(())
    }

    fn disturb_clock(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::SuspendRm => {
                self.coverage.hit(Kind::RmSuspend);
                // Short ones are a busy machine; long ones must be told from silence of the nodes.
                let for_us = if self.chance.hits(500) {
                    self.chance.between(50_000, 800_000)
                } else {
                    self.chance.between(5_500_000, 12_000_000)
                };
                self.suspended_until_us = self.now_us + for_us;
            }
            Action::ClockForward => {
                self.coverage.hit(Kind::ClockForward);
                self.rm.clock.jump(self.chance.between(5_100_000, 4_000_000_000) as i64);
            }
            Action::ClockSmallForward => {
                self.coverage.hit(Kind::ClockSmallForward);
                self.jumped_at_us = Some(self.now_us);
                self.rm.clock.jump(self.chance.between(1_000, 800_000) as i64);
            }
            _ => {
                self.coverage.hit(Kind::ClockBackward);
                self.rm.clock.jump(-(self.chance.between(1_000, 3_000_000) as i64));
            }
        }
        Ok(())
    }

    fn pause(&mut self, node: usize) {
        if !self.nodes[node].is_paused && !self.nodes[node].is_gone() {
            self.nodes[node].pause();
            let after_us = self.chance.between(200_000, 15_000_000);
            self.schedule(after_us, Event::Resume(node));
        }
    }

    fn revive_later(&mut self, node: usize) {
        if self.chance.hits(700) {
            let after_us = self.chance.between(1_000, 15_000_000);
            self.schedule(after_us, Event::Revive(node));
        }
    }

    fn un_register(&mut self, node: usize) -> Result<(), String> {
        let mut bytes = Vec::new();
        if !self.nodes[node].is_paused && self.nodes[node].fleet.write_unregistration(0, "stops", &mut bytes)
        {
            self.send_to_rm(node, vec![bytes])?;
            self.revive_later(node);
        }
        Ok(())
    }

    /// Somebody else says what the node said, or says farewell in its name.
    fn speak_for(&mut self, node: usize, action: Action) -> Result<(), String> {
        let Some(handle) = self.nodes[node].last_handle() else { return Ok(()) };
        let mut bytes = Vec::new();
        if action == Action::ForeignBeat {
            bytes.extend_from_slice(&self.nodes[node].last_frame);
        } else {
            let request = UnRegisterNodeManagerRequest { node_handle: handle, reason: "not mine".to_owned() };
            write_frame(&mut bytes, Flags::REQUEST, 1, handle.0, &request);
        }
        let through = self.chance.below(self.nodes.len() as u64) as usize;
        let own = self.nodes[through].peer;
        let is_own = own == self.nodes[node].peer || self.chance.hits(500);
        // A node answers to its fleet: what is said in another's name is not awaited by anybody.
        let peer: PeerId = if is_own { FOREIGN } else { own };
        self.send_as(through, STRANGER_SLOT, bytes, peer)
    }

    fn misbehave(&mut self, node: usize, action: Action) -> Result<(), String> {
        let Some(handle) = self.nodes[node].last_handle() else { return Ok(()) };
        let peer = self.nodes[node].peer;
        let header = |opcode, flags, routing_key, body_length| FrameHeader {
            opcode,
            flags,
            body_length,
            correlation_id: 77,
            routing_key,
        };
        let bytes = match action {
            Action::Garbage => {
                let size = *self.chance.pick(&[0, 1, 40, 118, 160, 900]) as u32;
                let opcode = *self.chance.pick(&[
                    Opcode::NodeHeartbeat,
                    Opcode::RegisterNodeManager,
                    Opcode::UnRegisterNodeManager,
                ]);
                // The farewell is the smallest record: random bytes of the right size could be one.
                let size = if opcode == Opcode::UnRegisterNodeManager { size.min(1) } else { size };
                let key = match opcode {
                    Opcode::RegisterNodeManager => self.nodes[node].shard as u64,
                    _ => handle.0,
                };
                let mut bytes = header(opcode, Flags::REQUEST, key, size).to_bytes().to_vec();
                (0..size).for_each(|_| bytes.push(self.chance.next() as u8));
                bytes
            }
            Action::WrongDirection => {
                header(Opcode::NodeHeartbeat, Flags::RESPONSE, handle.0, 0).to_bytes().to_vec()
            }
            Action::NotSupported => header(Opcode::Allocate, Flags::REQUEST, handle.0, 0).to_bytes().to_vec(),
            _ => {
                // The right shard's door, another shard's handle inside.
                let mut bytes = self.nodes[node].last_frame.clone();
                let other =
                    NodeHandle::new(handle.shard().wrapping_add(self.models.len() as u8), handle.row(), 1);
                if bytes.len() > HEADER_SIZE {
                    set_routing_key(&mut bytes, other.0);
                }
                bytes
            }
        };
        self.send_as(node, STRANGER_SLOT, bytes, peer)
    }

    fn decommission(&mut self, node: usize, decommission_type: DecommissionType) -> Result<(), String> {
        let shard = self.nodes[node].shard;
        let decommission_timeout_s = *self.chance.pick(&[None, Some(-1), Some(0), Some(3)]);
        let request = DecommissionNodesRequest {
            node_ids: vec![self.name(node)],
            decommission_type,
            decommission_timeout_s,
        };
        let _: DecommissionNodesResponse = self.ask(shard, &request)?;
        self.after_call(shard, Cause::Admin)
    }

    fn change_lists(&mut self) -> Result<(), String> {
        let mut lists = NodeLists::default();
        if self.chance.hits(700) {
            let mut exclude = Vec::new();
            for node in 0..self.nodes.len() {
                if self.chance.hits(200) {
                    let timeout_s = *self.chance.pick(&[None, Some(-1), Some(2)]);
                    exclude.push(ExcludedHost { host: host_of(node).into(), timeout_s });
                }
            }
            if self.chance.hits(500) {
                exclude.push(ExcludedHost { host: "ghost-1".into(), timeout_s: None });
            }
            exclude.sort();
            lists.exclude = exclude.into();
        }
        if self.chance.hits(300) {
            self.coverage.hit(Kind::ListsInclude);
            let mut include: Vec<Box<str>> = Vec::new();
            for node in 0..self.nodes.len() {
                if self.chance.hits(800) {
                    include.push(host_of(node).into());
                }
            }
            include.sort();
            lists.include = include.into();
        }
        let mode = match self.chance.below(3) {
            0 => {
                self.coverage.hit(Kind::ListsNormal);
                DecommissionMode::Normal
            }
            1 => {
                self.coverage.hit(Kind::ListsGraceful);
                DecommissionMode::Graceful(*self.chance.pick(&[None, Some(0), Some(4_000)]))
            }
            _ => {
                self.coverage.hit(Kind::ListsForceful);
                DecommissionMode::Forceful
            }
        };
        self.set_lists(lists, mode)
    }

    fn roll_keys(&mut self) -> Result<(), String> {
        self.coverage.hit(Kind::MasterKeys);
        let number = self.chance.between(1, 100) as u32;
        let key = |number: u32| Some((number, vec![number as u8; 16].into_boxed_slice()));
        let next = if self.chance.hits(700) { key(number + 1) } else { None };
        let pair = KeyPair { current: key(number), next };
        for shard in 0..self.models.len() {
            let now = self.rm.clock.now(self.now_us);
            self.models[shard].observe_time(now);
            let command =
                ShardCommand::SetMasterKeys { container_token: pair.clone(), nm_token: pair.clone() };
            self.rm.command(self.now_us, shard, command);
            let used_permille = self.rm.inventory.totals().used_permille();
            self.rm.command(self.now_us, shard, ShardCommand::SetClusterLoad { used_permille });
            self.after_call(shard, Cause::Frames)?;
        }
        Ok(())
    }

    /// A container of some node as the scheduler knows it; now and then one nobody knows.
    fn target(&mut self) -> Option<(usize, NodeHandle, ContainerId)> {
        let at = self.chance.below(self.view.nodes.len().max(1) as u64) as usize;
        let entry = self.view.nodes.values().nth(at)?;
        let (shard, handle) = (usize::from(entry.handle.shard()), entry.handle);
        let count = entry.running.len() as u64;
        let nth = if count == 0 { 0 } else { self.chance.below(count) };
        let entry = self.view.nodes.values().nth(at)?;
        let unknown = ContainerId {
            application_attempt_id: ApplicationAttemptId {
                application_id: ApplicationId { cluster_timestamp: 1, id: 1 },
                attempt_id: 1,
            },
            container_id: self.chance.next(),
        };
        let container = entry.running.iter().nth(nth as usize).copied().unwrap_or(unknown);
        Some((shard, handle, container))
    }

    fn give_orders(&mut self) -> Result<(), String> {
        for _ in 0..self.chance.between(1, 4) {
            let Some((shard, mut node, id)) = self.target() else { return Ok(()) };
            let size = Resource {
                memory_mb: self.chance.between(1_024, 4_096),
                virtual_cores: 1,
                ..Resource::default()
            };
            let (kind, order) = match self.chance.below(7) {
                0 => (Kind::CleanupContainer, NodeOrder::CleanupContainer(id)),
                1 => (Kind::CleanupApplication, NodeOrder::CleanupApplication(id.application_id())),
                2 => {
                    let Some(id) = self.view.seen.iter().next().copied() else { continue };
                    (Kind::RemoveContainer, NodeOrder::RemoveContainer(id))
                }
                3 | 4 => (Kind::SignalContainer, NodeOrder::SignalContainer(id, *self.chance.pick(&SIGNALS))),
                5 => {
                    let execution_type = ExecutionType::Guaranteed;
                    let version = self.chance.between(1, 9) as u32;
                    let order = NodeOrder::UpdateContainer {
                        container_id: id,
                        version,
                        capability: size,
                        execution_type,
                    };
                    (Kind::UpdateContainer, order)
                }
                _ => (Kind::UpdateResource, NodeOrder::UpdateResource(size)),
            };
            self.coverage.hit(kind);
            let is_urgent = self.chance.hits(500);
            if is_urgent {
                self.coverage.hit(Kind::Urgent);
            }
            if self.chance.hits(50) && node.generation() > 1 {
                self.coverage.hit(Kind::OldHandle);
                node = NodeHandle::new(node.shard(), node.row(), node.generation() - 1);
            }
            self.order(shard, NodeCommand { node, order, is_urgent })?;
        }
        Ok(())
    }

    /// More orders for one node than it may have waiting.
    fn flood(&mut self) -> Result<(), String> {
        if !self.chance.hits(30) {
            return Ok(());
        }
        let Some((shard, node, id)) = self.target() else { return Ok(()) };
        let now = self.rm.clock.now(self.now_us);
        self.models[shard].observe_time(now);
        let entry = self.view.nodes.get(&(node.shard(), node.row())).map(|entry| entry.node);
        let state = entry.and_then(|node| self.models[shard].state(node));
        if state != Some(NodeState::Running) || self.models[shard].handle(entry.unwrap_or(0)) != Some(node) {
            return Ok(());
        }
        let role = &mut self.rm.roles[shard];
        role.out.pushes.clear();
        role.out.notices.clear();
        let mut taken = 0;
        loop {
            let order = NodeOrder::CleanupApplication(id.application_id());
            let command = NodeCommand { node, order, is_urgent: false };
            if role.shard.handle_node_command(now, command, &mut role.out).is_err() {
                break;
            }
            taken += 1;
            if taken > COMMANDS_PER_NODE_MAX {
                return Err(format!("{taken} orders wait for {node}"));
            }
        }
        self.coverage.hit(Kind::ListFull);
        self.after_call(shard, Cause::Frames)
    }
}

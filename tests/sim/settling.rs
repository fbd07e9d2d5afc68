//! The end of a run: faults stop, everything settles, and what the parts believe is compared.
//! Owns: nothing; it is the last part of [`Simulation`]. Called by: the run's loop. Thread: the run's.
//! Does not: cause faults. Invariants checked here: every node that lives is RUNNING and beats, every queue is empty,
//! shard, scheduler and node agree on what runs, no completion was lost, no order to kill was lost.

use heddle::engine::event::{DecommissionMode, NodeCommand, NodeOrder, ShardCommand, Usability};
use heddle::engine::settings::NodeLists;
use heddle_loadgen::fleet::NodeState as FleetState;
use heddle_wire::administration::{RecommissionNodesRequest, RecommissionNodesResponse};
use heddle_wire::limits::{COMMANDS_PER_NODE_MAX, TEXT_MAX};
use heddle_wire::record::{NodeId, NodeState};

use crate::checkers::{Cause, is_active};
use crate::coverage::Kind;
use crate::node::{NM_PORT, host_of, signal_number};
use crate::simulation::{Event, Simulation, trace};

/// What one shard of a simulated cluster may hold: twelve nodes with a full list of orders each, and some more.
const HEAP_MAX: usize = 16 * (COMMANDS_PER_NODE_MAX * 120 + TEXT_MAX + (1 << 16));

impl Simulation {
    /// The faults end.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        trace!(self, "the faults end");
        self.is_healed = true;
        self.network.heal();
        if !self.rm.is_up {
            self.schedule(1_000, Event::StartRm);
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].is_healthy = true;
            self.nodes[node].fleet.quieten();
            let after_us = self.chance.between(1_000, 500_000);
            self.schedule(after_us, Event::Connect(node));
            self.resume(node)?;
            if self.nodes[node].is_gone() && self.chance.hits(700) {
                let after_us = self.chance.between(1_000, 2_000_000);
                self.schedule(after_us, Event::Revive(node));
            }
        }
        if self.rm.is_up {
            self.set_lists(NodeLists::default(), DecommissionMode::Normal)?;
            let node_ids: Vec<NodeId> =
                (0..self.nodes.len()).map(|node| NodeId::new(host_of(node), NM_PORT)).collect();
            for shard in 0..self.models.len() {
                let request = RecommissionNodesRequest { node_ids: node_ids.clone() };
                let _: RecommissionNodesResponse = self.ask(shard, &request)?;
                self.after_call(shard, Cause::Admin)?;
            }
        }
        Ok(())
    }

    /// New lists for every shard.
    pub(crate) fn set_lists(&mut self, lists: NodeLists, mode: DecommissionMode) -> Result<(), String> {
        for settings in &mut self.plan.settings {
            settings.lists = lists.clone();
        }
        for shard in 0..self.models.len() {
            let now = self.rm.clock.now(self.now_us);
            self.models[shard].observe_time(now);
            self.models[shard].set_lists(lists.clone());
            let token = self.now_us;
            self.rm.command(
                self.now_us,
                shard,
                ShardCommand::SetNodeLists { token, lists: lists.clone(), mode },
            );
            let replies = core::mem::take(&mut self.rm.roles[shard].out.replies);
            if replies.len() != 1 {
                return Err(format!("{} replies to one command", replies.len()));
            }
            self.after_call(shard, Cause::Admin)?;
        }
        Ok(())
    }

    /// Gives a shard an order, as the inventory or the scheduler does. One it hands back is given again later.
    pub(crate) fn order(&mut self, shard: usize, command: NodeCommand) -> Result<(), String> {
        let now = self.rm.clock.now(self.now_us);
        self.models[shard].observe_time(now);
        let entry = self.view.nodes.get(&(command.node.shard(), command.node.row()));
        let of = entry.map(|entry| (entry.node, entry.lineage));
        let state = of.and_then(|(node, _)| self.models[shard].state(node));
        let order = command.order.clone();
        let dropped = self.rm.counters(shard).commands_dropped;
        trace!(self, "shard {shard} is ordered {command:?}");
        let role = &mut self.rm.roles[shard];
        role.out.pushes.clear();
        role.out.notices.clear();
        if let Err(command) = role.shard.handle_node_command(now, command, &mut role.out) {
            self.coverage.hit(Kind::ListFull);
            self.rm.commands.push_back((shard, command));
            return self.after_call(shard, Cause::Frames);
        }
        if self.rm.counters(shard).commands_dropped > dropped {
            return self.after_call(shard, Cause::Frames);
        }
        let has_row = match &order {
            NodeOrder::UpdateContainer { .. } => state == Some(NodeState::Running),
            NodeOrder::SignalContainer(..) => {
                matches!(state, Some(NodeState::Running | NodeState::Unhealthy))
            }
            _ => true,
        };
        if !has_row {
            self.models[shard].invalid_expected += 1;
            return self.after_call(shard, Cause::Frames);
        }
        match order {
            NodeOrder::SignalContainer(id, command) => {
                *self.signals.entry((id, signal_number(command))).or_default() += 1;
            }
            NodeOrder::CleanupContainer(id) => {
                if let Some((node, lineage)) = of {
                    self.cleanups.push((lineage, node, self.nodes[node].incarnation, id));
                }
            }
            NodeOrder::UpdateResource(capability) => {
                if let Some((node, _)) = of {
                    self.models[shard].set_memory(node, capability.memory_mb);
                }
            }
            _ => {}
        }
        self.after_call(shard, Cause::Frames)
    }

    /// Whether everything has come to rest, and if not, what has not. `is_empty`: nothing waits between the roles.
    pub(crate) fn check_settled(&mut self, is_empty: bool) -> Result<(), String> {
        if !self.rm.is_up {
            return Err("the ResourceManager is down".to_owned());
        }
        if !is_empty {
            return Err("the rings do not run empty".to_owned());
        }
        for node in 0..self.nodes.len() {
            if self.view.all_of(node).count() > 1 {
                return Err(format!("node {node} is several for the scheduler"));
            }
            let agent = &self.nodes[node];
            let state = self.models[agent.shard].state(node);
            if agent.is_gone() {
                if state.is_some_and(is_active) {
                    return Err(format!("node {node} is gone and {state:?}"));
                }
                if self.view.of(node).is_some() {
                    return Err(format!("node {node} is gone and the scheduler has it"));
                }
                continue;
            }
            let at = agent.fleet.state(0);
            if at != FleetState::Beating {
                return Err(format!("node {node} lives, is {at:?} and listed as {state:?}"));
            }
            if state != Some(NodeState::Running) || self.models[agent.shard].is_suspect(node) {
                return Err(format!("node {node} beats and is listed as {state:?}"));
            }
            let Some(entry) = self.view.of(node) else {
                return Err(format!("node {node} is RUNNING and the scheduler does not have it"));
            };
            if entry.usability != Usability::Usable {
                return Err(format!("node {node} is RUNNING and {:?} for the scheduler", entry.usability));
            }
            if self.models[agent.shard].handle(node) != Some(entry.handle) {
                return Err(format!("node {node} is {} for the scheduler", entry.handle));
            }
            if agent.fleet.completed(0) > 0 {
                return Err(format!("node {node} keeps {} completed containers", agent.fleet.completed(0)));
            }
            if entry.digest() != agent.fleet.digest(0) {
                let (seen, runs) = (entry.running.len(), agent.fleet.digest(0).count);
                return Err(format!(
                    "node {node} runs {runs} containers, the scheduler has {seen}, or others"
                ));
            }
        }
        for shard in 0..self.models.len() {
            let counters = self.rm.counters(shard);
            if counters.is_brake_engaged || counters.suspects_now > 0 {
                return Err(format!("shard {shard} has {} suspects", counters.suspects_now));
            }
            if let Some(id) = self.models[shard].owed(&self.view.seen).next() {
                return Err(format!("{id} was reported complete and the scheduler has not seen it"));
            }
        }
        for (lineage, node, incarnation, id) in &self.cleanups {
            let is_same = self.view.of(*node).is_some_and(|entry| entry.lineage == *lineage);
            let agent = &self.nodes[*node];
            if is_same && agent.incarnation == *incarnation && !agent.cleaned_up.contains_key(id) {
                return Err(format!("node {node} was not told to kill {id}"));
            }
        }
        Ok(())
    }

    /// When everything has settled: shards list what the scheduler and the nodes have, and totals add up.
    pub(crate) fn check_end(&mut self) -> Result<(), String> {
        let (mut running, mut digests) = (0, 0);
        for shard in 0..self.models.len() {
            for report in self.list(shard)? {
                if report.state != NodeState::Running {
                    continue;
                }
                let Some(node) = crate::node::node_of(&report.node_id.host) else { continue };
                let Some(entry) = self.view.of(node) else { continue };
                let digest = self.nodes[node].fleet.digest(0);
                if report.running_containers != digest.count {
                    let found = report.running_containers;
                    return Err(format!(
                        "node {node} is listed with {found} containers, it runs {}",
                        digest.count
                    ));
                }
                if report.capability.memory_mb != entry.capability.memory_mb {
                    let (listed, seen) = (report.capability.memory_mb, entry.capability.memory_mb);
                    return Err(format!("node {node} is listed with {listed} MiB, the scheduler has {seen}"));
                }
                running += u64::from(digest.count);
                digests += 1;
            }
            let heap_size = self.rm.roles[shard].shard.heap_size();
            if heap_size > HEAP_MAX {
                return Err(format!("shard {shard} holds {heap_size} bytes"));
            }
        }
        let totals = self.rm.inventory.totals();
        if totals.running_containers != running || totals.nodes != digests {
            return Err(format!("{digests} nodes run {running} containers, the inventory has {totals:?}"));
        }
        if self.plan.is_gentle() {
            for (node, agent) in self.nodes.iter().enumerate() {
                let counters = agent.fleet.counters();
                if counters.false_losses > 0 || counters.wrong_ids > 0 || counters.unexpected > 0 {
                    return Err(format!("node {node}: {counters:?}"));
                }
            }
        }
        Ok(())
    }
}

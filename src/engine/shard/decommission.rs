//! Leaving: include and exclude lists, normal, graceful and forceful decommission, recommission, placeholders.
//! Owns: [`Draining`], the deadlines of DECOMMISSIONING nodes. Called by: the shard's entry, `heartbeat`, the tick.
//! Does not: read the lists from files. Thread: the shard's.
//! Invariants: a row has an entry here exactly while it is DECOMMISSIONING; a refresh of the lists brings back only
//! nodes that the lists sent away, an administrator's word by name holds until he takes it back.
//! Source: YARN NodesListManager, DecommissioningNodesWatcher.

use std::collections::{BTreeMap, BTreeSet};

use heddle_wire::administration::{
    ArchivedDecommissionType, DecommissionNodesRequest, DecommissionNodesResponse, RecommissionNodesRequest,
    RecommissionNodesResponse,
};
use heddle_wire::record::{ArchivedNodeId, NodeId, NodeState, routing_key};
use heddle_wire::{FrameHeader, Opcode, Reject, access};
use rkyv::vec::ArchivedVec;

use super::node_table::{RowFlags, next_generation};
use super::rm_node::RmNodeEvent;
use super::{Outbox, Shard};
use crate::engine::batch::{AnswerBatch, FrameBatch, FrameRef};
use crate::engine::event::{CommandReply, DecommissionMode};
use crate::engine::settings::NodeLists;
use crate::engine::time::{Duration, Instant};

/// Most bytes of node ids in one answer: under its body limit of 64 KiB. Beyond it nodes leave all the same and are
/// not listed.
const LISTED_SIZE_MAX: usize = 48 * 1024;

/// Deadlines of nodes being emptied.
#[derive(Debug, Default)]
pub(super) struct Draining {
    deadlines: BTreeMap<u32, Option<Instant>>,
    by_time: BTreeSet<(Instant, u32)>,
}

impl Draining {
    fn set(&mut self, row: u32, deadline: Option<Instant>) {
        self.remove(row);
        self.deadlines.insert(row, deadline);
        if let Some(deadline) = deadline {
            self.by_time.insert((deadline, row));
        }
    }

    pub(super) fn remove(&mut self, row: u32) {
        if let Some(Some(deadline)) = self.deadlines.remove(&row) {
            self.by_time.remove(&(deadline, row));
        }
    }

    /// The deadline of a DECOMMISSIONING node, if it has one.
    pub(super) fn deadline(&self, row: u32) -> Option<Instant> {
        self.deadlines.get(&row).copied().flatten()
    }

    fn first_due(&self, now: Instant) -> Option<u32> {
        self.by_time.first().filter(|(deadline, _)| *deadline <= now).map(|(_, row)| *row)
    }
}

fn duration_of(seconds: i32) -> Option<Duration> {
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

impl Shard {
    /// Replaces the lists and lets nodes that are not valid any more leave. Cost: a walk over all rows, ≈ 0.1 µs each.
    pub(super) fn set_node_lists(
        &mut self,
        token: u64,
        lists: NodeLists,
        mode: DecommissionMode,
        out: &mut Outbox,
    ) {
        self.settings.lists = lists;
        let mut affected = 0;
        let mut is_known = vec![false; self.settings.lists.exclude.len()];
        for row in 0..self.table.len() as u32 {
            if self.table.hot[row as usize].flags.has(RowFlags::FREE) {
                continue;
            }
            let host = self.table.cold(row).host.clone();
            if let Ok(index) = self.settings.lists.exclude.binary_search_by(|item| (*item.host).cmp(&host)) {
                is_known[index] = true;
            }
            affected += u32::from(self.apply_lists(row, mode, out));
        }
        for (index, is_known) in is_known.into_iter().enumerate() {
            if !is_known {
                let host = self.settings.lists.exclude[index].host.clone();
                self.add_placeholder(&host, out);
            }
        }
        out.replies.push(CommandReply::NodeLists { token, affected });
    }

    /// Applies the lists to one row. True if its node began to leave or left.
    fn apply_lists(&mut self, row: u32, mode: DecommissionMode, out: &mut Outbox) -> bool {
        self.mark_by_lists(row);
        let hot = self.table.hot[row as usize];
        let is_valid = !hot.flags.has(RowFlags::INVALID);
        if hot.flags.has(RowFlags::PLACEHOLDER) {
            if self.settings.lists.excluded(&self.table.cold(row).host).is_none() {
                self.forget_inactive(row);
            }
            return false;
        }
        if !hot.state.is_active() {
            return false;
        }
        let is_draining = hot.state == NodeState::Decommissioning;
        if is_valid {
            if is_draining && !hot.flags.has(RowFlags::DRAINED_BY_NAME) {
                self.raise(row, RmNodeEvent::Recommission, out);
            }
            return false;
        }
        match mode {
            DecommissionMode::Normal if is_draining => false,
            DecommissionMode::Normal | DecommissionMode::Forceful => {
                self.raise(row, RmNodeEvent::Decommission, out)
            }
            DecommissionMode::Graceful(timeout_ms) => {
                let own = self.settings.lists.excluded(&self.table.cold(row).host);
                let timeout = match own.and_then(|host| host.timeout_s) {
                    Some(seconds) => duration_of(seconds),
                    None => timeout_ms.map(Duration::from_millis),
                };
                self.drain(row, timeout, false, out);
                !is_draining
            }
        }
    }

    /// Sets the bits that say what the lists think of a row's host.
    pub(super) fn mark_by_lists(&mut self, row: u32) {
        let host = &self.table.cold(row).host;
        let lists = &self.settings.lists;
        let is_excluded = lists.excluded(host).is_some();
        let is_included = lists.include.binary_search_by(|item| (**item).cmp(host)).is_ok();
        let is_valid = lists.is_valid(host);
        let flags = &mut self.table.hot[row as usize].flags;
        flags.put(RowFlags::INVALID, !is_valid);
        flags.put(RowFlags::UNTRACKED, !lists.include.is_empty() && !is_included && !is_excluded);
    }

    /// Shows an excluded host that never registered as a DECOMMISSIONED node with port 0. The shard to which
    /// `host:0` leads does it.
    pub(super) fn add_placeholder(&mut self, host: &str, out: &mut Outbox) {
        let owner = routing_key(host, 0) % u64::from(self.settings.shard_count.max(1));
        if owner != u64::from(self.settings.shard) || self.table.find(host, 0).is_some() {
            return;
        }
        let Some(row) = self.table.insert(host, 0) else {
            self.notice(out, true, None, || format!("no row left to show the excluded host {host}"));
            return;
        };
        self.begin_row(row);
        let hot = &mut self.table.hot[row as usize];
        hot.flags.set(RowFlags::PLACEHOLDER);
        // No registration has it: handles of nodes that had the row before are dead.
        hot.generation = next_generation(hot.generation);
        self.mark_by_lists(row);
        self.raise(row, RmNodeEvent::Decommission, out);
    }

    /// Begins to empty a node, or changes its deadline.
    fn drain(&mut self, row: u32, timeout: Option<Duration>, is_by_name: bool, out: &mut Outbox) -> bool {
        if !self.raise(row, RmNodeEvent::GracefulDecommission, out) {
            return false;
        }
        self.draining.set(row, timeout.map(|timeout| self.now + timeout));
        if is_by_name {
            self.table.hot[row as usize].flags.set(RowFlags::DRAINED_BY_NAME);
        }
        true
    }

    /// Takes out nodes whose deadline has passed, whatever runs there. They hear of it with their next beat.
    pub(super) fn expire_decommissioning(&mut self, out: &mut Outbox) {
        while let Some(row) = self.draining.first_due(self.now) {
            self.notice(out, true, Some(row), || "decommissioned: the deadline passed".to_owned());
            // Leaving the state takes the row out; the second removal only keeps this loop finite whatever happens.
            self.raise(row, RmNodeEvent::Decommission, out);
            self.draining.remove(row);
        }
    }

    /// True where nothing keeps a DECOMMISSIONING node: what it reports agrees with what we know, and that is nothing.
    pub(super) fn is_drained(&self, row: u32) -> bool {
        let ignore = self.settings.decommission_ignores_applications;
        let containers = self.table.cold(row).containers.as_ref();
        containers.is_none_or(|containers| containers.is_drained(self.now, ignore))
    }

    /// Rows of the named nodes that may be active; port 0 names every NodeManager of the host.
    pub(super) fn rows_of(&self, node_ids: &ArchivedVec<ArchivedNodeId>) -> Vec<u32> {
        let mut rows = BTreeSet::new();
        let mut hosts: Vec<&str> = Vec::new();
        for node_id in node_ids.iter() {
            match node_id.port.to_native() {
                0 => hosts.push(&node_id.host),
                port => rows.extend(self.table.find(&node_id.host, port)),
            }
        }
        if !hosts.is_empty() {
            hosts.sort_unstable();
            rows.extend((0..self.table.len() as u32).filter(|row| {
                let is_free = self.table.hot[*row as usize].flags.has(RowFlags::FREE);
                !is_free && hosts.binary_search(&self.table.cold(*row).host.as_str()).is_ok()
            }));
        }
        rows.into_iter().collect()
    }

    pub(super) fn decommission_nodes(
        &mut self,
        batch: &FrameBatch,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) {
        let body = super::body_of(batch, frame);
        let request = match access::<DecommissionNodesRequest>(body).and_then(|it| it.check().map(|()| it)) {
            Ok(request) => request,
            Err(error) => {
                self.reject(Opcode::DecommissionNodes, header, frame, answers, &Reject::from(&error));
                return;
            }
        };
        let timeout = match request.decommission_timeout_s.as_ref() {
            Some(seconds) => duration_of(seconds.to_native()),
            None => self.settings.decommission_timeout,
        };
        let mut affected = Listed::default();
        for row in self.rows_of(&request.node_ids) {
            let state = self.table.hot[row as usize].state;
            if !state.is_active() {
                continue;
            }
            let has_left = match request.decommission_type {
                ArchivedDecommissionType::Normal if state == NodeState::Decommissioning => false,
                ArchivedDecommissionType::Normal | ArchivedDecommissionType::Forceful => {
                    self.raise(row, RmNodeEvent::Decommission, out)
                }
                ArchivedDecommissionType::Graceful => self.drain(row, timeout, true, out),
            };
            if has_left {
                affected.push(self.node_id(row));
            }
        }
        let response = DecommissionNodesResponse {
            shard_count: u32::from(self.settings.shard_count),
            affected_nodes: affected.nodes,
        };
        self.answer(header, frame, answers, &response);
    }

    pub(super) fn recommission_nodes(
        &mut self,
        batch: &FrameBatch,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) {
        let body = super::body_of(batch, frame);
        let request = match access::<RecommissionNodesRequest>(body).and_then(|it| it.check().map(|()| it)) {
            Ok(request) => request,
            Err(error) => {
                self.reject(Opcode::RecommissionNodes, header, frame, answers, &Reject::from(&error));
                return;
            }
        };
        let mut affected = Listed::default();
        for row in self.rows_of(&request.node_ids) {
            // A node that the lists do not allow would be told to stop with its next beat: it stays as it is.
            let hot = &self.table.hot[row as usize];
            if hot.state == NodeState::Decommissioning
                && !hot.flags.has(RowFlags::INVALID)
                && self.raise(row, RmNodeEvent::Recommission, out)
            {
                affected.push(self.node_id(row));
            }
        }
        let response = RecommissionNodesResponse {
            shard_count: u32::from(self.settings.shard_count),
            affected_nodes: affected.nodes,
        };
        self.answer(header, frame, answers, &response);
    }

    pub(super) fn node_id(&self, row: u32) -> NodeId {
        let cold = self.table.cold(row);
        NodeId { host: cold.host.to_string(), port: cold.port }
    }
}

/// Node ids for an answer, up to its limit.
#[derive(Default)]
struct Listed {
    nodes: Vec<NodeId>,
    size: usize,
}

impl Listed {
    fn push(&mut self, node_id: NodeId) {
        let size = node_id.host.len() + 16;
        if self.size + size <= LISTED_SIZE_MAX {
            self.size += size;
            self.nodes.push(node_id);
        }
    }
}

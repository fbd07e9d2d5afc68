//! What a shard must answer to a frame: the response-id handshake, registration, who may speak for a node.
//! Owns: nothing; it is the part of [`ShardModel`] that reads frames and answers. Called by: the simulation, for every
//! frame a shard took. Does not: know more than the two frames and what came before. Thread: the run's.
//! Invariants checked here: one answer per request, with its ids; a duplicate gets the recorded earlier answer byte for
//! byte; a peer cannot speak for another's node; a new handle is new.

use heddle::engine::batch::PeerId;
use heddle_wire::frame::Frame;
use heddle_wire::limits::COMMANDS_PER_ANSWER_MAX;
use heddle_wire::record::{ContainerState, NodeAction, NodeHandle, NodeState};
use heddle_wire::resource_tracker::{
    ArchivedNodeHeartbeatRequest, NodeCommands, NodeHeartbeatRequest, NodeHeartbeatResponse,
    RegisterNodeManagerRequest, RegisterNodeManagerResponse, UnRegisterNodeManagerRequest,
    UnRegisterNodeManagerResponse,
};
use heddle_wire::{Opcode, access, decode};

use super::ShardModel;
use super::is_active;
use super::shard_model::Known;
use crate::coverage::{Coverage, Kind};
use crate::node::node_of;

const fn next_id(id: u32) -> u32 {
    (id + 1) & 0x7fff_ffff
}

/// Lists of an answer are bounded.
pub(crate) fn check_commands(commands: Option<&NodeCommands>) -> Result<(), String> {
    let Some(commands) = commands else { return Ok(()) };
    let most = [
        commands.containers_to_cleanup.len(),
        commands.applications_to_cleanup.len(),
        commands.containers_to_be_removed_from_nm.len(),
        commands.containers_to_signal.len(),
        commands.containers_to_update.len(),
    ];
    match most.into_iter().max() {
        Some(found) if found > COMMANDS_PER_ANSWER_MAX => {
            Err(format!("{found} orders of one kind in one answer"))
        }
        _ => Ok(()),
    }
}

impl ShardModel {
    /// Takes in a frame the shard took and the answer it gave.
    pub(crate) fn observe_answer(
        &mut self,
        frame: &[u8],
        peer: PeerId,
        answer: &[u8],
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        coverage.frames += 1;
        let answer = Frame::from_slice(answer).map_err(|error| format!("an answer is no frame: {error}"))?;
        let Ok(frame) = Frame::from_slice(frame) else {
            let is_reject = answer.header.flags.is_reject();
            return if is_reject { Ok(()) } else { Err("bytes that are no frame were accepted".to_owned()) };
        };
        let (asked, told) = (&frame.header, &answer.header);
        if !told.flags.is_response() || told.flags.is_push() {
            return Err(format!("the answer has flags {:#x}", told.flags.bits()));
        }
        let ids =
            |header: &heddle_wire::FrameHeader| (header.opcode, header.correlation_id, header.routing_key);
        if ids(asked) != ids(told) {
            return Err(format!("asked as {:?}, answered as {:?}", ids(asked), ids(told)));
        }
        if asked.flags.is_response() {
            coverage.hit(Kind::WrongDirection);
            return expect_reject(&answer, "an answer where a request was expected");
        }
        match asked.opcode {
            Opcode::RegisterNodeManager => self.registration(&frame, peer, &answer, coverage),
            Opcode::NodeHeartbeat => self.heartbeat(&frame, peer, &answer, coverage),
            Opcode::UnRegisterNodeManager => self.unregistration(&frame, peer, &answer, coverage),
            Opcode::GetClusterNodes
            | Opcode::GetClusterMetrics
            | Opcode::DecommissionNodes
            | Opcode::RecommissionNodes => Ok(()),
            _ => {
                coverage.hit(Kind::NotSupported);
                expect_reject(&answer, "a method that is not supported")
            }
        }
    }

    /// The node a handle names now, if it is a current one.
    fn node_of_handle(&self, handle: u64) -> Option<usize> {
        self.known.iter().position(|known| known.as_ref().is_some_and(|known| known.handle.0 == handle))
    }

    fn registration(
        &mut self,
        frame: &Frame<'_>,
        peer: PeerId,
        answer: &Frame<'_>,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        let request =
            access::<RegisterNodeManagerRequest>(frame.body()).and_then(|it| it.check().map(|()| it));
        if request.is_err() {
            coverage.hit(Kind::Garbage);
            return expect_reject(answer, "a registration that is none");
        }
        let request: RegisterNodeManagerRequest = decode(frame.body()).map_err(|error| error.to_string())?;
        let name = &request.node_id;
        let key = name.routing_key();
        let shard = key % u64::from(self.settings.shard_count);
        if frame.header.routing_key != key || shard != u64::from(self.settings.shard) {
            coverage.hit(Kind::WrongRoute);
            return expect_reject(answer, "a registration under a wrong key");
        }
        let node = node_of(&name.host).ok_or_else(|| format!("{name} is not ours"))?;
        let before = self.known[node].clone();
        let is_known = before.as_ref().is_some_and(|known| is_active(known.state));
        if before.as_ref().is_some_and(|known| is_active(known.state) && known.peer != peer) {
            return expect_reject(answer, "a registration of another peer's node");
        }
        if answer.header.flags.is_reject() {
            return Err(format!("the registration of {name} was rejected"));
        }
        let told: RegisterNodeManagerResponse = decode(answer.body()).map_err(|error| error.to_string())?;
        let is_draining = before.as_ref().is_some_and(|known| known.state == NodeState::Decommissioning);
        let minimum = &self.settings.minimum;
        let is_acceptable = (is_draining || self.lists.is_valid(&name.host))
            && request.capability.memory_mb >= minimum.memory_mb
            && request.capability.virtual_cores >= minimum.virtual_cores;
        if (told.node_action == NodeAction::Normal) != is_acceptable {
            return Err(format!("{name} was told {:?}: {}", told.node_action, told.diagnostics));
        }
        if !is_acceptable {
            coverage.hit(Kind::RegistrationRefused);
            return Ok(());
        }
        if told.node_handle.shard() != self.settings.shard || !self.handles.insert(told.node_handle.0) {
            return Err(format!("{name} was given {} again", told.node_handle));
        }
        if told.rm_identifier != self.settings.rm_identifier {
            return Err(format!("{name} was told rm_identifier {}", told.rm_identifier));
        }
        if u64::from(told.lease_ms) != self.class(&name.host).1 {
            return Err(format!("{name} was told a lease of {} ms", told.lease_ms));
        }
        let is_healthy = request.node_status.as_ref().is_none_or(|status| status.is_node_healthy);
        let started = if is_healthy { NodeState::Running } else { NodeState::Unhealthy };
        let has_applications = !request.running_applications.is_empty();
        let mut takes_containers = false;
        let state = match &before {
            None => {
                coverage.hit(Kind::RegistrationNew);
                takes_containers = is_healthy;
                started
            }
            Some(_) if !is_known => {
                coverage.hit(Kind::RegistrationReturning);
                started
            }
            Some(known) if has_applications => {
                coverage.hit(Kind::RegistrationReconnected);
                takes_containers = known.state != NodeState::Unhealthy;
                known.state
            }
            Some(known) if known.state == NodeState::Decommissioning => {
                coverage.edge(known.state, NodeState::Decommissioned);
                NodeState::Decommissioned
            }
            Some(known) if known.http_port != request.http_port => {
                coverage.hit(Kind::WebPortChange);
                started
            }
            Some(known) => {
                coverage.hit(Kind::RegistrationReconnectedEmpty);
                known.state
            }
        };
        if before.as_ref().is_none_or(|known| !is_active(known.state)) {
            coverage.edge(NodeState::New, state);
        }
        if takes_containers {
            let complete = request.container_statuses.iter();
            let complete = complete.filter(|status| status.container_state == ContainerState::Complete);
            self.owed.extend(complete.map(|status| status.container_id));
        }
        self.known[node] = Some(Known {
            handle: told.node_handle,
            peer,
            state,
            is_suspect: before.is_some_and(|known| known.is_suspect),
            http_port: request.http_port,
            last_id: 0,
            last_body: None,
            last_seen_ms: self.clock.live_ms(),
            memory_mb: request.capability.memory_mb,
            may_drain: true,
            is_fresh: true,
        });
        Ok(())
    }

    fn heartbeat(
        &mut self,
        frame: &Frame<'_>,
        peer: PeerId,
        answer: &Frame<'_>,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        let handle = NodeHandle(frame.header.routing_key);
        if handle.shard() != self.settings.shard {
            coverage.hit(Kind::WrongRoute);
            return expect_reject(answer, "a beat of another shard's node");
        }
        let Some(node) = self.node_of_handle(handle.0) else {
            // Of a body that does not matter any more nothing is read: RESYNC in any case.
            coverage.hit(Kind::AnswerResyncUnknown);
            return expect_action(answer, NodeAction::Resync, "a beat under a dead handle").map(|_| ());
        };
        let host = crate::node::host_of(node);
        let is_allowed = self.lists.is_valid(&host);
        let Some(known) = self.known[node].as_mut() else { return Ok(()) };
        if known.peer != peer {
            coverage.hit(Kind::ForeignBeat);
            return expect_reject(answer, "a beat of a foreign peer");
        }
        let beat: &ArchivedNodeHeartbeatRequest =
            match access::<NodeHeartbeatRequest>(frame.body()).and_then(|it| it.check().map(|()| it)) {
                Ok(beat) if beat.node_handle.0.to_native() == handle.0 => beat,
                _ => {
                    coverage.hit(Kind::Garbage);
                    return expect_reject(answer, "a beat that is none");
                }
            };
        let is_excused = known.state == NodeState::Decommissioning;
        if !is_active(known.state) {
            let is_out = known.state == NodeState::Decommissioned || !is_allowed;
            let action = if is_out { NodeAction::Shutdown } else { NodeAction::Resync };
            coverage.hit(if is_out { Kind::AnswerShutdown } else { Kind::AnswerResyncUnknown });
            return expect_action(answer, action, "a beat of an inactive node").map(|_| ());
        }
        if !is_allowed && !is_excused {
            coverage.hit(Kind::AnswerShutdown);
            coverage.edge(known.state, NodeState::Decommissioned);
            known.state = NodeState::Decommissioned;
            return expect_action(answer, NodeAction::Shutdown, "a beat of a node that is not allowed")
                .map(|_| ());
        }
        known.last_seen_ms = self.clock.live_ms();
        let id = beat.response_id.to_native();
        if id == known.last_id {
            return self.fresh(node, beat, answer, coverage);
        }
        let is_duplicate = next_id(id) == known.last_id && known.last_body.is_some();
        if is_duplicate {
            coverage.hit(Kind::AnswerDuplicate);
            if known.last_body.as_deref() != Some(answer.body()) || answer.header.flags.is_reject() {
                return Err(format!("{host}: the answer to beat {id} is not repeated byte for byte"));
            }
            return Ok(());
        }
        coverage.hit(Kind::AnswerResyncBehind);
        coverage.edge(known.state, NodeState::Rebooted);
        known.state = NodeState::Rebooted;
        known.is_suspect = false;
        expect_action(answer, NodeAction::Resync, "a beat out of step").map(|_| ())
    }

    fn fresh(
        &mut self,
        node: usize,
        beat: &ArchivedNodeHeartbeatRequest,
        answer: &Frame<'_>,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        let Some(known) = self.known[node].as_mut() else { return Ok(()) };
        if answer.header.flags.is_reject() {
            return Err(format!("node {node}: a fresh beat was rejected"));
        }
        let told: NodeHeartbeatResponse = decode(answer.body()).map_err(|error| error.to_string())?;
        check_commands(told.commands.as_deref())?;
        let is_healthy = beat.is_node_healthy;
        let is_heard =
            known.state == NodeState::Decommissioning || known.state == NodeState::Running && is_healthy;
        let is_drained =
            told.node_action == NodeAction::Shutdown && known.state == NodeState::Decommissioning;
        if told.node_action != NodeAction::Normal && !is_drained {
            return Err(format!("node {node}: a fresh beat was answered {:?}", told.node_action));
        }
        if is_heard {
            for status in beat.container_statuses.iter() {
                if status.state == heddle_wire::record::ArchivedContainerState::Complete {
                    self.owed.insert(status.container_id.to_native());
                }
            }
        }
        if is_drained {
            coverage.hit(Kind::AnswerShutdown);
            coverage.edge(known.state, NodeState::Decommissioned);
            known.state = NodeState::Decommissioned;
            known.is_suspect = false;
            return Ok(());
        }
        if told.response_id != next_id(known.last_id) {
            return Err(format!(
                "node {node}: beat {} was answered with id {}",
                known.last_id, told.response_id
            ));
        }
        coverage.hit(Kind::AnswerFresh);
        if told.is_full_report_requested {
            coverage.hit(Kind::AnswerFullReport);
        }
        known.last_id = told.response_id;
        known.last_body = Some(answer.body().to_vec());
        let next = match (known.state, is_healthy) {
            (NodeState::Running, false) => NodeState::Unhealthy,
            (NodeState::Unhealthy, true) => NodeState::Running,
            (state, _) => state,
        };
        if next != known.state {
            coverage.edge(known.state, next);
            known.state = next;
        }
        Ok(())
    }

    fn unregistration(
        &mut self,
        frame: &Frame<'_>,
        peer: PeerId,
        answer: &Frame<'_>,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        let handle = frame.header.routing_key;
        let request =
            access::<UnRegisterNodeManagerRequest>(frame.body()).and_then(|it| it.check().map(|()| it));
        let is_whole = request.is_ok_and(|request| request.node_handle.0.to_native() == handle);
        let Some(node) = self.node_of_handle(handle).filter(|_| is_whole) else {
            if answer.header.flags.is_reject() {
                return Ok(());
            }
            let told: UnRegisterNodeManagerResponse =
                decode(answer.body()).map_err(|error| error.to_string())?;
            return if told.was_known { Err("an unknown node was un-registered".to_owned()) } else { Ok(()) };
        };
        let Some(known) = self.known[node].as_mut() else { return Ok(()) };
        if known.peer != peer && is_active(known.state) {
            coverage.hit(Kind::ForeignUnRegister);
            return expect_reject(answer, "a farewell by a foreign peer");
        }
        if answer.header.flags.is_reject() {
            return Err(format!("node {node}: its farewell was rejected"));
        }
        let told: UnRegisterNodeManagerResponse = decode(answer.body()).map_err(|error| error.to_string())?;
        if told.was_known != is_active(known.state) {
            return Err(format!("node {node} is {} and was_known is {}", known.state.name(), told.was_known));
        }
        if told.was_known {
            coverage.hit(Kind::UnRegister);
            coverage.edge(known.state, NodeState::Shutdown);
            known.state = NodeState::Shutdown;
            known.is_suspect = false;
        }
        Ok(())
    }
}

fn expect_reject(answer: &Frame<'_>, what: &str) -> Result<(), String> {
    if answer.header.flags.is_reject() { Ok(()) } else { Err(format!("{what} was not rejected")) }
}

fn expect_action(
    answer: &Frame<'_>,
    action: NodeAction,
    what: &str,
) -> Result<NodeHeartbeatResponse, String> {
    if answer.header.flags.is_reject() {
        let reject = heddle_wire::message::decode_reject(answer.header.opcode, answer.body());
        return Err(format!("{what} was rejected ({reject:?}), {action:?} was expected"));
    }
    let told: NodeHeartbeatResponse = decode(answer.body()).map_err(|error| error.to_string())?;
    if told.node_action == action {
        Ok(told)
    } else {
        Err(format!("{what} was answered {:?}, {action:?} was expected", told.node_action))
    }
}

//! Administration: frames of administrators, and commands of the service that reads their files.
//! Owns: those methods. Called by: `client` (frames), the duty cycle of `rm-app` (commands). Thread: `rm-app`.
//! Does not: read files, know labels or nodes: the scheduler does, and refuses whole or not at all.
//! Invariants: every method needs the role admin and the administrators' ACL, also where the ACLs of applications and queues
//! are off, and those of the shards as well (transport asks for them); every call is audited.

use heddle_wire::administration::*;
use heddle_wire::{Opcode, Reject, RejectCode, access};
use rkyv::rancor::BoxedError;

use super::audit::{Line, nodes_in_words};
use super::call::{Call, request, resource_of};
use super::manager::ApplicationManager;
use super::message::{ApplicationCommand, ApplicationOutput, ApplicationReply};
use super::waiting::{Wait, Waiter};
use crate::engine::batch::{AnswerBatch, Caller};
use crate::engine::event::Resource;
use crate::engine::scheduler::message::SchedulerCommand;
use crate::engine::scheduler::settings::QueueTree;
use crate::engine::time::Instant;

/// What the methods of the administration protocol are the target of, in the audit log.
pub(super) const TARGET: &str = "AdminService";

/// How far an administrator's command is when it was taken.
enum CarriedOut {
    /// It is in force, and audited now.
    Here,
    /// The scheduler answers whether it is.
    SchedulerAsked,
    /// Somebody else does it, and has it audited.
    ByOthers,
}

impl ApplicationManager {
    /// What the administration service has read from files.
    pub fn handle_command(&mut self, now: Instant, command: ApplicationCommand, out: &mut ApplicationOutput) {
        self.advance(now);
        let token = command.token();
        let caller = command.caller().clone();
        let operation = command.opcode().map_or("unknown", operation_name);
        let nodes: Box<str> = command.nodes().into();
        let line = |result: &Result<(), Reject>| {
            Line::of(&caller, operation, TARGET, result).with("NODES", &nodes).finish()
        };
        let carried_out = match command {
            ApplicationCommand::Audit { failure, .. } => {
                let result = failure.map_or(Ok(()), |text| Err(Reject::new(RejectCode::Internal, text)));
                out.audit.push(line(&result));
                Ok(CarriedOut::ByOthers)
            }
            command => self
                .check_admin(&caller, operation)
                .and_then(|()| self.carry_out(token, &caller, command, out)),
        };
        match carried_out {
            Ok(CarriedOut::SchedulerAsked) => return,
            Ok(CarriedOut::ByOthers) => {}
            Ok(CarriedOut::Here) => out.audit.push(line(&Ok(()))),
            Err(reject) => {
                self.count_reject(&reject);
                let result = Err(reject);
                out.audit.push(line(&result));
                let Err(Reject { code, message, .. }) = result else { return };
                return out.replies.push(ApplicationReply::Refused { token, code, reasons: message.into() });
            }
        }
        out.replies.push(ApplicationReply::Done { token });
    }

    fn carry_out(
        &mut self,
        token: u64,
        caller: &Caller,
        command: ApplicationCommand,
        out: &mut ApplicationOutput,
    ) -> Result<CarriedOut, Reject> {
        let access = &mut self.life.access;
        match command {
            ApplicationCommand::ReplaceQueues { queues, .. } => {
                self.replace_queues(token, caller, queues, out)?;
                return Ok(CarriedOut::SchedulerAsked);
            }
            ApplicationCommand::ReplaceAdminAcl { admin_acl, .. } => access.set_admin_acl(admin_acl),
            ApplicationCommand::ReplaceGroups { groups, .. } => access.set_groups(groups),
            ApplicationCommand::ReplaceClusterMaxPriority { maximum, .. } => access.set_max_priority(maximum),
            ApplicationCommand::CheckAccess { .. } | ApplicationCommand::Audit { .. } => {
                return Ok(CarriedOut::ByOthers);
            }
        }
        Ok(CarriedOut::Here)
    }

    /// Asks the scheduler, which answers whether they are in force.
    fn replace_queues(
        &mut self,
        token: u64,
        caller: &Caller,
        queues: Box<QueueTree>,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        self.waiting.check_room(self.life.settings.queries_max)?;
        let (added, removed, changed) = self.life.access.difference(&queues);
        let count = u32::try_from(queues.queues.len()).unwrap_or(u32::MAX);
        let caller = caller.clone();
        let waiter = Waiter::ReplaceQueues { token, caller, queues: count, added, removed, changed };
        let token = self.waiting.put(waiter);
        out.scheduler_commands.push(SchedulerCommand::ReplaceQueues { token, queues });
        Ok(())
    }

    fn check_admin(&self, caller: &Caller, operation: &str) -> Result<(), Reject> {
        if !caller.is_admin {
            let text = format!("the certificate's role is client, accepted for {operation} is admin");
            return Err(Reject::new(RejectCode::RoleNotAllowed, text));
        }
        if !self.life.access.is_admin(&caller.name) {
            let text = format!(
                "User {} doesn't have permission to call '{operation}'; accepted are the administrators of the \
                 cluster (yarn.admin.acl)",
                caller.name
            );
            return Err(Reject::new(RejectCode::AccessControl, text));
        }
        Ok(())
    }

    /// A frame of an administrator.
    pub(super) fn administer(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let nodes = named_nodes(call.header.opcode, body);
        let result = self.check_admin(&call.caller, operation_name(call.header.opcode)).and_then(|()| {
            match call.header.opcode {
                Opcode::RefreshClusterMaxPriority => {
                    request!(RefreshClusterMaxPriorityRequest, body);
                    // It is read together with the queues.
                    let cluster_max_priority = self.life.access.queues().max_application_priority;
                    call.answer(answers, &RefreshClusterMaxPriorityResponse { cluster_max_priority });
                    Ok(true)
                }
                Opcode::GetGroupsForUser => {
                    let user = &request!(GetGroupsForUserRequest, body).user;
                    let groups = self.life.access.groups_of(user).iter().map(ToString::to_string);
                    call.answer(answers, &GetGroupsForUserResponse { groups: groups.collect() });
                    Ok(true)
                }
                Opcode::AddToClusterNodeLabels => {
                    let request = request!(AddToClusterNodeLabelsRequest, body);
                    let label = |label: &heddle_wire::record::ArchivedNodeLabel| {
                        (label.name.as_str().into(), label.is_exclusive)
                    };
                    let labels = request.node_labels.iter().map(label).collect();
                    let command = |token| SchedulerCommand::AddNodeLabels { token, labels };
                    self.ask(call, Wait::AddNodeLabels, command, out).map(|()| false)
                }
                Opcode::RemoveFromClusterNodeLabels => {
                    let request = request!(RemoveFromClusterNodeLabelsRequest, body);
                    let mut labels: Vec<Box<str>> =
                        request.node_labels.iter().map(|label| label.as_str().into()).collect();
                    labels.sort();
                    labels.dedup();
                    let wait = Wait::RemoveNodeLabels { labels: u32::try_from(labels.len()).unwrap_or(0) };
                    let command = |token| SchedulerCommand::RemoveNodeLabels { token, labels };
                    self.ask(call, wait, command, out).map(|()| false)
                }
                Opcode::ReplaceLabelsOnNodes => {
                    self.replace_labels(call, body, nodes.clone(), out).map(|()| false)
                }
                Opcode::UpdateNodeResource => {
                    self.update_node_resource(call, body, nodes.clone(), out).map(|()| false)
                }
                opcode => Err(Reject::new(
                    RejectCode::NotSupportedYet,
                    format!("{} is known and not supported yet", opcode.name()),
                )),
            }
        });
        // What waits is audited when it is done.
        match result {
            Ok(false) => Ok(()),
            Ok(true) => {
                Self::audit_administration(call, &nodes, &Ok(0), out);
                Ok(())
            }
            Err(reject) => {
                Self::audit_administration(call, &nodes, &Err(reject.clone()), out);
                Err(reject)
            }
        }
    }

    pub(super) fn audit_administration(
        call: &Call,
        nodes: &str,
        result: &Result<i64, Reject>,
        out: &mut ApplicationOutput,
    ) {
        let operation = operation_name(call.header.opcode);
        out.audit.push(Line::of(&call.caller, operation, TARGET, result).with("NODES", nodes).finish());
    }

    fn replace_labels(
        &mut self,
        call: &Call,
        body: &[u8],
        named: Box<str>,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(ReplaceLabelsOnNodesRequest, body);
        let mut nodes = Vec::with_capacity(request.node_to_labels.len());
        for node in request.node_to_labels.iter() {
            let (host, port) = (&node.node_id.host, node.node_id.port.to_native());
            if node.node_labels.len() > 1 {
                let text = format!(
                    "node_to_labels.node_labels of {host}:{port} has {} labels, accepted is at most 1: a node is in one \
                     partition",
                    node.node_labels.len()
                );
                return Err(Reject::new(RejectCode::BadField, text));
            }
            let label = node.node_labels.first().map(|label| label.as_str().into());
            nodes.push((host.as_str().into(), port, label));
        }
        let fail_on_unknown_nodes = request.fail_on_unknown_nodes;
        let command = |token| SchedulerCommand::ReplaceLabelsOnNodes { token, nodes, fail_on_unknown_nodes };
        self.ask(call, Wait::ReplaceLabelsOnNodes { nodes: named }, command, out)
    }

    fn update_node_resource(
        &mut self,
        call: &Call,
        body: &[u8],
        named: Box<str>,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(UpdateNodeResourceRequest, body);
        let mut nodes: Vec<(Box<str>, u16, Resource)> = Vec::with_capacity(request.node_resources.len());
        for node in request.node_resources.iter() {
            let (host, port) = (&node.node_id.host, node.node_id.port.to_native());
            if let Some(timeout) = node.over_commit_timeout_ms.as_ref() {
                let text = format!(
                    "over_commit_timeout_ms of {host}:{port} is {timeout}, accepted is none: containers beyond the new \
                     capability are left alone, taking them back is not supported yet"
                );
                return Err(Reject::new(RejectCode::Unsupported, text));
            }
            let capability = rkyv::deserialize::<heddle_wire::record::Resource, BoxedError>(&node.capability)
                .map_err(|error| Reject::new(RejectCode::BadBody, error.to_string()))?;
            nodes.push((host.as_str().into(), port, resource_of(&capability)));
        }
        let command = |token| SchedulerCommand::UpdateNodeResource { token, nodes };
        self.ask(call, Wait::UpdateNodeResource { nodes: named }, command, out)
    }
}

/// The nodes a call names, for its audit line; of a call that names none, or is not well-formed, nothing.
fn named_nodes(opcode: Opcode, body: &[u8]) -> Box<str> {
    match opcode {
        Opcode::ReplaceLabelsOnNodes => access::<ReplaceLabelsOnNodesRequest>(body)
            .ok()
            .filter(|request| request.check().is_ok())
            .map(|request| nodes_in_words(request.node_to_labels.iter().map(|node| &node.node_id))),
        Opcode::UpdateNodeResource => access::<UpdateNodeResourceRequest>(body)
            .ok()
            .filter(|request| request.check().is_ok())
            .map(|request| nodes_in_words(request.node_resources.iter().map(|node| &node.node_id))),
        _ => None,
    }
    .unwrap_or_default()
}

/// YARN's name of an action in the audit log.
const fn operation_name(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::RefreshQueues => "refreshQueues",
        Opcode::RefreshAdminAcls => "refreshAdminAcls",
        Opcode::RefreshUserToGroupsMappings => "refreshUserToGroupsMappings",
        Opcode::RefreshClusterMaxPriority => "refreshClusterMaxPriority",
        Opcode::GetGroupsForUser => "getGroupsForUser",
        Opcode::RefreshNodes => "refreshNodes",
        Opcode::DecommissionNodes => "decommissionNodes",
        Opcode::RecommissionNodes => "recommissionNodes",
        Opcode::UpdateNodeResource => "updateNodeResource",
        Opcode::AddToClusterNodeLabels => "addToClusterNodeLabels",
        Opcode::RemoveFromClusterNodeLabels => "removeFromClusterNodeLabels",
        Opcode::ReplaceLabelsOnNodes => "replaceLabelsOnNodes",
        opcode => opcode.name(),
    }
}

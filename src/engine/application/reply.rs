//! Answers of the scheduler and the store to what calls wait for.
//! Owns: their turning into answers of calls. Called by: the application manager, for each reply.
//! Does not: ask. Thread: `rm-app`.
//! Invariants: every call that waited is answered once; a change is applied after it is durable, and what the scheduler
//! then refuses is written back.

use std::collections::BTreeMap;

use heddle_wire::administration::*;
use heddle_wire::application_client::*;
use heddle_wire::record::{ApplicationId, LabelToNodeIds, NodeId, NodeIdToLabels, NodeLabel};
use heddle_wire::{Reject, RejectCode, decode};

use super::administration;
use super::audit::Line;
use super::call::{Call, Record};
use super::client::{operation_name, timeouts_response};
use super::manager::ApplicationManager;
use super::message::{ApplicationOutput, ApplicationReply, StoreOperation, UpdatePurpose};
use super::rm_app_state::RmAppState;
use super::waiting::{Change, ChangeStep, Wait, Waiter};
use crate::engine::scheduler::message::{QueryReply, SchedulerCommand};

impl ApplicationManager {
    /// The scheduler has answered a token.
    pub(super) fn handle_query_reply(&mut self, token: u64, reply: QueryReply, out: &mut ApplicationOutput) {
        match self.waiting.take(token) {
            Some(Waiter::Call(call, wait)) => {
                if let Err(reject) = self.answer_waiting(&call, wait, reply, out) {
                    self.count_reject(&reject);
                    call.reject(&mut out.late_answers, &reject);
                }
            }
            Some(Waiter::ReplaceQueues { token, caller, queues, added, removed, changed }) => {
                let result = done(reply);
                let line = Line::of(&caller, "refreshQueues", administration::TARGET, &result);
                out.audit.push(line.finish());
                out.replies.push(match result {
                    Ok(_) => ApplicationReply::QueuesReplaced { token, queues, added, removed, changed },
                    Err(reject) => {
                        let (code, reasons) = (reject.code, reject.message.into());
                        ApplicationReply::Refused { token, code, reasons }
                    }
                });
            }
            None => {
                self.life.counters.unknown_events += 1;
                self.life
                    .notice(out, || format!("the scheduler answered token {token}, nobody waits for it"));
            }
        }
    }

    fn answer_waiting(
        &mut self,
        call: &Call,
        wait: Wait,
        reply: QueryReply,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        match wait {
            Wait::Report(id) => {
                let usages = usages(reply)?;
                let application_report = self.life.report(self.app(id)?, call.user(), usages.first());
                call.answer(&mut out.late_answers, &GetApplicationReportResponse { application_report });
            }
            Wait::Applications { ids, live, next } => {
                let usages = usages(reply)?;
                self.answer_applications(call, &ids, &live, &usages, next, &mut out.late_answers);
            }
            Wait::Record => call.answer_archived(&mut out.late_answers, &record(reply)?),
            Wait::QueueInfo => match reply {
                // An unknown queue is no error in YARN.
                QueryReply::Refused { .. } => {
                    call.answer(&mut out.late_answers, &GetQueueInfoResponse::default());
                }
                reply => {
                    let mut response: GetQueueInfoResponse = decode(&record(reply)?).map_err(not_archived)?;
                    response.queues.iter_mut().for_each(|queue| self.life.ended.fill(queue));
                    try_answer(call, &response, out)?;
                }
            },
            Wait::Explain(id) => {
                let mut response: ExplainApplicationResponse =
                    decode(&record(reply)?).map_err(not_archived)?;
                response.state = self.app(id)?.public_state();
                try_answer(call, &response, out)?;
            }
            Wait::Signal(container_id) => {
                let result = done(reply);
                Self::audit_signal(call, container_id, &result, out);
                result?;
                call.answer(&mut out.late_answers, &SignalToContainerResponse {});
            }
            Wait::NodeToLabels { start, limit } => {
                let (page, next_row) = page(nodes(reply)?, start, limit, |_| true);
                let entry = |(host, port, label): LabelledNode| NodeIdToLabels {
                    node_id: NodeId::new(host, port),
                    node_labels: vec![label.into()],
                };
                let node_to_labels = page.into_iter().map(entry).collect();
                let response = GetNodeToLabelsResponse { shard_count: 1, next_row, node_to_labels };
                call.answer(&mut out.late_answers, &response);
            }
            Wait::LabelsToNodes(request) => {
                let is_wanted = |node: &LabelledNode| {
                    request.node_labels.is_empty()
                        || request.node_labels.iter().any(|label| **label == *node.2)
                };
                let (page, next_row) = page(nodes(reply)?, request.start_row, request.limit, is_wanted);
                let mut by_label: BTreeMap<Box<str>, Vec<NodeId>> = BTreeMap::new();
                for (host, port, label) in page {
                    by_label.entry(label).or_default().push(NodeId::new(host, port));
                }
                let entry =
                    |(label, node_ids): (Box<str>, _)| LabelToNodeIds { node_label: label.into(), node_ids };
                let labels_to_nodes = by_label.into_iter().map(entry).collect();
                let response = GetLabelsToNodesResponse { shard_count: 1, next_row, labels_to_nodes };
                call.answer(&mut out.late_answers, &response);
            }
            Wait::ClusterNodeLabels => match reply {
                QueryReply::NodeLabels(labels) => {
                    let entry = |(name, is_exclusive): (Box<str>, bool)| NodeLabel {
                        name: name.into(),
                        is_exclusive,
                    };
                    let node_labels = labels.into_iter().map(entry).collect();
                    call.answer(&mut out.late_answers, &GetClusterNodeLabelsResponse { node_labels });
                }
                reply => return Err(unexpected(reply)),
            },
            Wait::AddNodeLabels
            | Wait::RemoveNodeLabels { .. }
            | Wait::ReplaceLabelsOnNodes
            | Wait::UpdateNodeResource => return self.answer_administration(call, &wait, reply, out),
            Wait::Change { application_id, change, step } => {
                self.change_answered(call, application_id, change, step, reply, out);
            }
        }
        Ok(())
    }

    fn answer_administration(
        &mut self,
        call: &Call,
        wait: &Wait,
        reply: QueryReply,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let result = done(reply);
        self.audit_administration(call, &result, out);
        let number = u32::try_from(result?).unwrap_or(0);
        let answers = &mut out.late_answers;
        match wait {
            Wait::AddNodeLabels => {
                call.answer(answers, &AddToClusterNodeLabelsResponse { added_labels: number });
            }
            Wait::RemoveNodeLabels { labels } => {
                let response =
                    RemoveFromClusterNodeLabelsResponse { removed_labels: *labels, affected_nodes: number };
                call.answer(answers, &response);
            }
            Wait::ReplaceLabelsOnNodes => {
                call.answer(answers, &ReplaceLabelsOnNodesResponse { affected_nodes: number });
            }
            _ => call.answer(answers, &UpdateNodeResourceResponse { affected_nodes: number }),
        }
        Ok(())
    }

    /// The scheduler has checked or done a change.
    fn change_answered(
        &mut self,
        call: &Call,
        id: ApplicationId,
        change: Change,
        step: ChangeStep,
        reply: QueryReply,
        out: &mut ApplicationOutput,
    ) {
        match (done(reply), step) {
            (Ok(_), ChangeStep::Checking) => {
                if let Err(reject) = self.check_still_changeable(id) {
                    return self.end_change(call, id, &change, Err(reject), out);
                }
                if let Err(reject) = self.store_change(call, id, change.clone(), out) {
                    self.end_change(call, id, &change, Err(reject), out);
                }
            }
            (Ok(number), _) => {
                if let Some(app) = self.apps.get_mut(&id) {
                    match &change {
                        Change::Queue(queue) => app.queue = queue.clone(),
                        Change::Priority(wanted) => {
                            app.priority = Some(i32::try_from(number).unwrap_or(*wanted));
                        }
                        Change::Expiry(_) => {}
                    }
                }
                self.end_change(call, id, &change, Ok(()), out);
            }
            (Err(reject), step) => {
                // It is stored already: what was is written back. The final state has been written since, if there is one.
                if step == ChangeStep::Applying
                    && let Some(app) = self.apps.get(&id).filter(|app| !is_over(app.state))
                {
                    let state = Box::new(app.state_record(false));
                    let purpose = UpdatePurpose::Note;
                    out.store_operations.push(StoreOperation::UpdateApplication { state, purpose });
                }
                self.end_change(call, id, &change, Err(reject), out);
            }
        }
    }

    /// The store has written a change, or not.
    pub(super) fn change_stored(&mut self, token: u64, failure: Option<String>, out: &mut ApplicationOutput) {
        let Some(Waiter::Call(call, Wait::Change { application_id: id, change, .. })) =
            self.waiting.take(token)
        else {
            self.life.counters.unknown_events += 1;
            return;
        };
        if let Some(text) = failure {
            let reject = Reject::new(RejectCode::Internal, format!("nothing was changed: {text}"));
            return self.end_change(&call, id, &change, Err(reject), out);
        }
        if let Err(reject) = self.check_still_changeable(id) {
            return self.end_change(&call, id, &change, Err(reject), out);
        }
        let step = ChangeStep::Applying;
        let wait = Wait::Change { application_id: id, change: change.clone(), step };
        match change {
            Change::Queue(ref queue) => {
                let queue = queue.clone();
                let token = self.waiting.put(Waiter::Call(call, wait));
                out.scheduler_commands.push(SchedulerCommand::MoveApplication {
                    token,
                    application_id: id,
                    queue,
                    is_check_only: false,
                });
            }
            Change::Priority(priority) => {
                let token = self.waiting.put(Waiter::Call(call, wait));
                let command = SchedulerCommand::UpdatePriority { token, application_id: id, priority };
                out.scheduler_commands.push(command);
            }
            Change::Expiry(until) => {
                if let Some(app) = self.apps.get_mut(&id) {
                    self.life.set_expiry(app, Some(until));
                }
                self.end_change(&call, id, &change, Ok(()), out);
            }
        }
    }

    /// Between the steps of a change an application may have ended.
    fn check_still_changeable(&self, id: ApplicationId) -> Result<(), Reject> {
        let app = self.app(id)?;
        if !is_over(app.state) {
            return Ok(());
        }
        let text = format!("Application {id} has become {} meanwhile, nothing is changed", app.state.name());
        Err(Reject::new(RejectCode::WrongState, text))
    }

    fn end_change(
        &mut self,
        call: &Call,
        id: ApplicationId,
        change: &Change,
        result: Result<(), Reject>,
        out: &mut ApplicationOutput,
    ) {
        let app = self.apps.get_mut(&id);
        let priority = app.as_ref().and_then(|app| app.priority).unwrap_or(0);
        let expires_at_ms = app.as_ref().and_then(|app| app.expires_at_ms).unwrap_or(0);
        if let Some(app) = app {
            app.is_changing = false;
        }
        let queue = if let Change::Queue(queue) = change { queue } else { "" };
        Self::audit(call, operation_name(call.header.opcode), id, queue, &result, out);
        let answers = &mut out.late_answers;
        match (result, change) {
            (Err(reject), _) => {
                self.count_reject(&reject);
                call.reject(&mut out.late_answers, &reject);
            }
            (Ok(()), Change::Queue(_)) => call.answer(answers, &MoveApplicationAcrossQueuesResponse {}),
            (Ok(()), Change::Priority(_)) => {
                call.answer(answers, &UpdateApplicationPriorityResponse { application_priority: priority });
            }
            (Ok(()), Change::Expiry(_)) => call.answer(answers, &timeouts_response(expires_at_ms)),
        }
    }
}

const fn is_over(state: RmAppState) -> bool {
    state.is_final_stored() || matches!(state, RmAppState::FinalSaving | RmAppState::Killing)
}

fn internal(text: &str) -> Reject {
    Reject::new(RejectCode::Internal, text)
}

fn not_archived(error: heddle_wire::DecodeError) -> Reject {
    internal(&error.to_string())
}

/// Answers with what another role has written and this one completed.
fn try_answer<M: Record>(call: &Call, response: &M, out: &mut ApplicationOutput) -> Result<(), Reject> {
    call.try_answer(&mut out.late_answers, response)
        .map_err(|error| internal(&format!("{error}; ask for less")))
}

fn unexpected(reply: QueryReply) -> Reject {
    match reply {
        QueryReply::Refused { code, reasons } => {
            let code = RejectCode::from_number(code).unwrap_or(RejectCode::Internal);
            Reject::new(code, reasons)
        }
        _ => internal("the scheduler answered something else than what it was asked"),
    }
}

fn done(reply: QueryReply) -> Result<i64, Reject> {
    match reply {
        QueryReply::Done(number) => Ok(number),
        reply => Err(unexpected(reply)),
    }
}

fn usages(reply: QueryReply) -> Result<Vec<crate::engine::scheduler::message::Usage>, Reject> {
    match reply {
        QueryReply::Usage(usages) => Ok(usages),
        reply => Err(unexpected(reply)),
    }
}

fn record(reply: QueryReply) -> Result<Box<[u8]>, Reject> {
    match reply {
        QueryReply::Record(body) => Ok(body),
        reply => Err(unexpected(reply)),
    }
}

/// Host, port, label.
type LabelledNode = (Box<str>, u16, Box<str>);

fn nodes(reply: QueryReply) -> Result<Vec<LabelledNode>, Reject> {
    match reply {
        QueryReply::NodesToLabels(nodes) => Ok(nodes),
        reply => Err(unexpected(reply)),
    }
}

/// A page of the nodes that have a label and are wanted, and where the next begins.
fn page(
    nodes: Vec<LabelledNode>,
    start: u32,
    limit: u32,
    is_wanted: impl Fn(&LabelledNode) -> bool,
) -> (Vec<LabelledNode>, Option<u32>) {
    let total = nodes.len();
    let end = (start as usize).saturating_add(limit as usize);
    let page = nodes.into_iter().take(end).skip(start as usize);
    let page = page.filter(|node| !node.2.is_empty() && is_wanted(node)).collect();
    (page, (end < total).then(|| u32::try_from(end).unwrap_or(u32::MAX)))
}

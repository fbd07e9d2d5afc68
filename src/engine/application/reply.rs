//! Answers of the scheduler and the store to what calls wait for.
//! Owns: their turning into answers of calls. Called by: the application manager, for each reply.
//! Does not: ask. Thread: `rm-app`.
//! Invariant: every call that waited is answered once.

use std::collections::BTreeMap;

use heddle_wire::administration::*;
use heddle_wire::application_client::*;
use heddle_wire::record::{LabelToNodeIds, NodeId, NodeIdToLabels, NodeLabel};
use heddle_wire::{Reject, RejectCode, WriteMessage, decode};

use super::administration;
use super::audit::Line;
use super::call::Call;
use super::manager::ApplicationManager;
use super::message::{ApplicationOutput, ApplicationReply};
use super::waiting::{Wait, Waiter};
use crate::engine::scheduler::message::QueryReply;

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
            | Wait::ReplaceLabelsOnNodes { .. }
            | Wait::UpdateNodeResource { .. } => return self.answer_administration(call, &wait, reply, out),
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
        let nodes = match wait {
            Wait::ReplaceLabelsOnNodes { nodes } | Wait::UpdateNodeResource { nodes } => nodes,
            _ => "",
        };
        Self::audit_administration(call, nodes, &result, out);
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
            Wait::ReplaceLabelsOnNodes { .. } => {
                call.answer(answers, &ReplaceLabelsOnNodesResponse { affected_nodes: number });
            }
            _ => call.answer(answers, &UpdateNodeResourceResponse { affected_nodes: number }),
        }
        Ok(())
    }
}

fn internal(text: &str) -> Reject {
    Reject::new(RejectCode::Internal, text)
}

fn not_archived(error: heddle_wire::DecodeError) -> Reject {
    internal(&error.to_string())
}

/// Answers with what another role has written and this one completed.
fn try_answer<M: WriteMessage>(call: &Call, response: &M, out: &mut ApplicationOutput) -> Result<(), Reject> {
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

pub(super) fn done(reply: QueryReply) -> Result<i64, Reject> {
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

//! Questions to the scheduler, answered from its tables as they are.
//! Owns: the answers of usage, containers and labels; `queue` below has those of queues, `explain` why something waits.
//! Called by: `handle_command`, on the scheduler's thread. Does not: check who asks, or change anything. Invariants: an
//! answer that is a record fits a frame; a page that had to end early says where to go on.

mod queue;

use heddle_wire::RejectCode;
use heddle_wire::application_client::{GetContainerReportResponse, GetContainersResponse};
use heddle_wire::limits::{BODY_MAX, CONTAINERS_PER_PAGE_MAX};
use heddle_wire::record::{
    self as wire, ApplicationAttemptId, ApplicationId, ContainerId, ContainerReport, ContainerState,
    ExecutionType,
};
use rkyv::Serialize;
use rkyv::api::high::HighSerializer;
use rkyv::rancor::BoxedError;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;

use super::container::{ContainerIndex, RmContainerState};
use super::demand::AM_KEY;
use super::face::SchedulerOutput;
use super::message::{ApplicationEvent, Query, QueryReply, Usage};
use super::resource::ResourceVector;
use super::{Scheduler, refuse};
use crate::engine::time::Instant;

/// A page ends here, so that its frame is below the limit whatever the estimates are off by.
pub(super) const PAGE_SIZE_MAX: usize = BODY_MAX as usize * 3 / 4;

impl Scheduler {
    /// Answers a question.
    pub(super) fn answer_query(&mut self, now: Instant, token: u64, query: Query, out: &mut SchedulerOutput) {
        let reply = match query {
            Query::Usage(ids) => {
                Ok(QueryReply::Usage(ids.iter().map(|id| self.usage_of(now, *id)).collect()))
            }
            Query::Containers { attempt_id, after, limit } => {
                self.containers_page(attempt_id, after, limit).and_then(|page| archived(&page))
            }
            Query::Container(id) => self.container_report(&id).and_then(|report| archived(&report)),
            Query::Queue { queue, with_children, is_recursive, start, limit } => {
                let depth = if is_recursive { u32::MAX } else { u32::from(with_children) };
                self.queue_page(&queue, depth, start, limit).and_then(|page| archived(&page))
            }
            Query::Explain { application_id, limit } => {
                self.explain(now, application_id, limit).and_then(|answer| archived(&answer))
            }
            Query::NodesToLabels => Ok(QueryReply::NodesToLabels(self.nodes_to_labels())),
            Query::ClusterNodeLabels => {
                let label = |of: &super::partition::Partition| (of.label.clone(), of.is_exclusive);
                Ok(QueryReply::NodeLabels(self.cluster_labels().map(label).collect()))
            }
        };
        match reply {
            Ok(reply) => out.application_events.push(ApplicationEvent::Reply { token, reply }),
            Err((code, reason)) => refuse(out, token, code, reason),
        }
    }

    fn usage_of(&self, now: Instant, id: ApplicationId) -> Usage {
        let Some(app) = self.apps.find(&id).and_then(|index| self.apps.get(index)) else {
            return Usage::default();
        };
        if let Some(row) = app.current {
            return self.usage(now, row);
        }
        // Between two attempts: what the former left to the next.
        let mut used = ResourceVector::ZERO;
        for index in app.containers.in_order() {
            used.add(&self.containers.get(index).resource);
        }
        Usage {
            containers_running: app.containers.len() as u32,
            used: self.settings.resource_types.to_resource(&used),
            ..Usage::default()
        }
    }

    fn container_report(&self, id: &ContainerId) -> Result<GetContainerReportResponse, Refused> {
        let app = self.apps.find(&id.application_id()).and_then(|index| self.apps.get(index));
        let index = app
            .and_then(|app| app.containers.get(id))
            .ok_or_else(|| (RejectCode::ContainerNotFound, format!("container {id} is not live")))?;
        Ok(GetContainerReportResponse { container_report: self.report(index) })
    }

    fn containers_page(
        &self,
        attempt_id: ApplicationAttemptId,
        after: Option<ContainerId>,
        limit: u32,
    ) -> Result<GetContainersResponse, Refused> {
        let id = attempt_id.application_id;
        let app = self.apps.find(&id).and_then(|index| self.apps.get(index)).ok_or_else(|| {
            (RejectCode::ApplicationNotFound, format!("application {id} is not known to the scheduler"))
        })?;
        let current = app.current.and_then(|row| self.attempts.get(row));
        let mut page = GetContainersResponse::default();
        // What earlier attempts left is the current one's now; they have nothing any more.
        if current.is_none_or(|current| current.attempt_id != attempt_id) {
            return Ok(page);
        }
        let limit = limit.clamp(1, CONTAINERS_PER_PAGE_MAX) as usize;
        let mut size = 0;
        let mut last = None;
        for index in app.containers.page(after.as_ref(), limit + 1) {
            let report = self.report(index);
            size += size_of_report(&report);
            if page.containers.len() == limit || (size > PAGE_SIZE_MAX && last.is_some()) {
                page.next = last;
                break;
            }
            last = Some(report.container_id);
            page.containers.push(report);
        }
        Ok(page)
    }

    fn report(&self, index: ContainerIndex) -> ContainerReport {
        let container = self.containers.get(index);
        let node = self.nodes.get(container.node);
        let node_id = node.map_or_else(|| wire::NodeId::new("", 0), |node| node.details.node_id.clone());
        let http_port = node.map_or(0, |node| node.details.http_port);
        let is_am = container.key == AM_KEY;
        let user = self.apps.get(container.app).map_or("", |app| self.users.name(app.user));
        let log_url = if http_port == 0 {
            String::new()
        } else {
            format!("http://{}:{http_port}/node/containerlogs/{}/{user}", node_id.host, container.id)
        };
        ContainerReport {
            container_id: container.id,
            resource: self.wire_resource(&container.resource),
            node_id,
            node_http_port: http_port,
            priority: if is_am { 0 } else { container.key.priority },
            allocation_request_id: if is_am { -1 } else { container.key.allocation_request_id },
            execution_type: ExecutionType::Guaranteed,
            state: match container.state {
                RmContainerState::Running => ContainerState::Running,
                state if state.is_final() => ContainerState::Complete,
                _ => ContainerState::New,
            },
            exit_status: wire::EXIT_STATUS_INVALID,
            partition: self.partitions[usize::from(container.partition)].label.to_string(),
            creation_time_ms: self.settings.rm_identifier.saturating_add(container.granted_at.as_millis()),
            finish_time_ms: 0,
            diagnostics: String::new(),
            log_url,
        }
    }

    /// Nodes that have a label, by host and port.
    fn nodes_to_labels(&self) -> Vec<(Box<str>, u16, Box<str>)> {
        let mut nodes: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.partition > 0)
            .map(|(_, node)| {
                let label = &self.partitions[usize::from(node.partition)].label;
                (node.details.node_id.host.as_str().into(), node.details.node_id.port, label.clone())
            })
            .collect();
        nodes.sort_unstable();
        nodes
    }

    /// An amount as it goes on the wire.
    pub(super) fn wire_resource(&self, amount: &ResourceVector) -> wire::Resource {
        let resource = self.settings.resource_types.to_resource(amount);
        let extended = resource.extended.iter().map(|item| wire::ResourceInformation {
            name: item.name.to_string(),
            value: item.value,
            units: item.units.to_string(),
        });
        wire::Resource {
            memory_mb: resource.memory_mb,
            virtual_cores: resource.virtual_cores,
            extended: extended.collect(),
        }
    }

    /// Most bytes an amount has in an archive.
    pub(super) fn size_of_resource(&self) -> usize {
        let extended = self.settings.resource_types.types().iter().skip(2);
        32 + extended.map(|kind| 32 + kind.name.len() + kind.units.len()).sum::<usize>()
    }
}

/// Why a question is not answered.
pub(super) type Refused = (RejectCode, String);

fn size_of_report(report: &ContainerReport) -> usize {
    let extended = report.resource.extended.iter().map(|item| 32 + item.name.len() + item.units.len());
    let texts = report.node_id.host.len() + report.partition.len() + report.log_url.len();
    192 + texts + extended.sum::<usize>()
}

/// A record as the body of a frame.
fn archived<R>(record: &R) -> Result<QueryReply, Refused>
where
    R: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, BoxedError>>,
{
    match rkyv::to_bytes::<BoxedError>(record) {
        Ok(body) => Ok(QueryReply::Record(body.as_slice().into())),
        Err(error) => Err((RejectCode::Internal, format!("the answer cannot be written: {error}"))),
    }
}

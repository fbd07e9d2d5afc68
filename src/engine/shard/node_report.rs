//! Queries about nodes: a page of reports, and the shard's counts.
//! Owns: the rules of GetClusterNodes and GetClusterMetrics. Called by: the shard's entry. Thread: the shard's.
//! Does not: know other shards; the client asks each in turn. Invariants: a page is bounded in reports, in bytes, and in
//! the rows looked at, so that no query holds up beats for long.

use heddle_wire::application_client::{
    ArchivedGetClusterNodesRequest, GetClusterMetricsRequest, GetClusterMetricsResponse,
    GetClusterNodesRequest, GetClusterNodesResponse,
};
use heddle_wire::limits::BODY_MAX;
use heddle_wire::record::{
    ArchivedNodeId, NodeAttribute, NodeReport, Resource as WireResource, ResourceInformation,
};
use heddle_wire::{FrameHeader, Opcode, Reject, access};
use rkyv::vec::ArchivedVec;

use super::node_table::RowFlags;
use super::{Shard, resource};
use crate::engine::batch::{AnswerBatch, FrameBatch, FrameRef};
use crate::engine::time::Instant;

/// Rows looked at for one page: ≈ 1 ms of work. A filter that matches few nodes then takes several pages.
const ROWS_PER_PAGE_MAX: u32 = 65_536;
/// A page stops growing past this size. A report is at most ≈ 110 KiB (128 attributes of two names), so it stays
/// below the body limit.
const PAGE_SIZE_MAX: usize = BODY_MAX as usize * 3 / 4;
/// Lines of a report that say what a node waits for.
const BLOCKERS_MAX: usize = 32;

impl Shard {
    pub(super) fn cluster_nodes(
        &mut self,
        batch: &FrameBatch,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
    ) {
        let body = super::body_of(batch, frame);
        let request = match access::<GetClusterNodesRequest>(body).and_then(|it| it.check().map(|()| it)) {
            Ok(request) => request,
            Err(error) => {
                self.reject(Opcode::GetClusterNodes, header, frame, answers, &Reject::from(&error));
                return;
            }
        };
        let mut response = GetClusterNodesResponse {
            shard_count: u32::from(self.settings.shard_count),
            ..Default::default()
        };
        let start = request.start_row.to_native();
        let by_host = Wanted::new(&request.node_ids);
        if by_host.is_exact() {
            let rows = self.rows_of(&request.node_ids);
            self.fill_page(request, &mut response, rows.into_iter().filter(|row| *row >= start));
        } else {
            let end = self.table.len() as u32;
            let last = end.min(start.saturating_add(ROWS_PER_PAGE_MAX));
            let is_named =
                |row: &u32| by_host.is_named(&self.table.cold(*row).host, self.table.cold(*row).port);
            self.fill_page(request, &mut response, (start..last).filter(is_named));
            if response.next_row.is_none() && last < end {
                response.next_row = Some(last);
            }
        }
        self.answer(header, frame, answers, &response);
    }

    fn fill_page(
        &self,
        request: &ArchivedGetClusterNodesRequest,
        response: &mut GetClusterNodesResponse,
        rows: impl Iterator<Item = u32>,
    ) {
        let limit = request.limit.to_native() as usize;
        let mut size = 0;
        for row in rows {
            let hot = &self.table.hot[row as usize];
            let is_wanted = request.node_states.is_empty()
                || request.node_states.iter().any(|state| state.to_native() == hot.state);
            if hot.flags.has(RowFlags::FREE) || !is_wanted {
                continue;
            }
            if response.nodes.len() >= limit || size >= PAGE_SIZE_MAX {
                response.next_row = Some(row);
                return;
            }
            let report = self.node_report(row);
            size += size_of_report(&report);
            response.nodes.push(report);
        }
    }

    fn node_report(&self, row: u32) -> NodeReport {
        let hot = &self.table.hot[row as usize];
        let warm = &self.table.warm[row as usize];
        let cold = self.table.cold(row);
        let containers = cold.containers.as_deref();
        let (memory_mb, virtual_cores) = containers.map_or((0, 0), |containers| containers.used());
        let class = self.settings.classes.get(hot.class as usize);
        let deadline = self.draining.deadline(row);
        let ignore = self.settings.decommission_ignores_applications;
        let is_draining = hot.state == heddle_wire::record::NodeState::Decommissioning;
        let blockers =
            containers.filter(|_| is_draining).map(|it| it.blockers(self.now, ignore, BLOCKERS_MAX));
        let millis = |duration: core::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let is_placeholder = hot.flags.has(RowFlags::PLACEHOLDER);
        NodeReport {
            node_id: self.node_id(row),
            handle: self.table.handle(row),
            http_port: cold.http_port,
            rack_name: self.table.texts.value(cold.rack).to_string(),
            state: hot.state,
            is_suspect: hot.flags.has(RowFlags::SUSPECT),
            node_class: class.map(|class| class.name.to_string()).unwrap_or_default(),
            last_seen_ms: if is_placeholder {
                u64::MAX
            } else {
                millis(self.live_now().since(hot.last_seen))
            },
            used: WireResource::new(memory_mb, u32::try_from(virtual_cores).unwrap_or(u32::MAX)),
            capability: resource::to_wire(self.table.capability(row)),
            running_containers: hot.digest_count,
            running_applications: containers.map_or(0, |it| it.application_count() as u32),
            health_report: cold.health_report.as_ref().map(|text| text.to_string()).unwrap_or_default(),
            last_health_report_time_ms: cold.health_time_ms,
            node_labels: self.table.labels.value(cold.labels).iter().map(|it| it.name.to_string()).collect(),
            node_attributes: self
                .table
                .attributes
                .value(cold.attributes)
                .iter()
                .map(|attribute| NodeAttribute {
                    prefix: "nm.yarn.io".to_owned(),
                    name: attribute.name.to_string(),
                    value: attribute.value.to_string(),
                })
                .collect(),
            containers_utilization: warm.containers_utilization.into(),
            node_utilization: warm.node_utilization.into(),
            nm_version: self.table.texts.value(cold.version).to_string(),
            decommissioning_remaining_ms: deadline.map(|deadline: Instant| millis(deadline.since(self.now))),
            decommissioning_blocked_by: blockers.unwrap_or_default(),
        }
    }

    pub(super) fn cluster_metrics(
        &mut self,
        batch: &FrameBatch,
        frame: &FrameRef,
        header: &FrameHeader,
        answers: &mut AnswerBatch,
    ) {
        if let Err(error) = access::<GetClusterMetricsRequest>(super::body_of(batch, frame)) {
            self.reject(Opcode::GetClusterMetrics, header, frame, answers, &Reject::from(&error));
            return;
        }
        let response = GetClusterMetricsResponse {
            shard_count: u32::from(self.settings.shard_count),
            nodes_by_state: self.counters.nodes_by_state.to_vec(),
            suspect_nodes: self.counters.suspects_now,
            is_brake_engaged: self.brake.is_engaged(),
            running_containers: self.counters.running_containers,
            capability: self.running_capability(),
            rm_identifier: self.settings.rm_identifier,
            rm_version: self.settings.rm_version.to_string(),
        };
        self.answer(header, frame, answers, &response);
    }

    /// What all RUNNING nodes offer. Of extended types at most as many as one record may carry are summed, by name.
    fn running_capability(&self) -> WireResource {
        let mut sum = WireResource::default();
        let mut extended: std::collections::BTreeMap<(&str, &str), u64> = std::collections::BTreeMap::new();
        for (id, count) in self.running_by_capability.iter() {
            let capability = self.table.resources.value(*id);
            let count = u64::from(*count);
            sum.memory_mb = sum.memory_mb.saturating_add(capability.memory_mb.saturating_mul(count));
            let cores = u64::from(sum.virtual_cores) + u64::from(capability.virtual_cores) * count;
            sum.virtual_cores = u32::try_from(cores).unwrap_or(u32::MAX);
            for item in &capability.extended {
                let total = extended.entry((&item.name, &item.units)).or_default();
                *total = total.saturating_add(item.value.saturating_mul(count));
            }
        }
        let limit = heddle_wire::limits::EXTENDED_RESOURCES_MAX;
        sum.extended = extended
            .into_iter()
            .take(limit)
            .map(|((name, units), value)| ResourceInformation {
                name: name.to_owned(),
                value,
                units: units.to_owned(),
            })
            .collect();
        sum
    }
}

/// The nodes a listing is about. Whole hosts are looked for page by page, like everything else.
struct Wanted<'a> {
    hosts: Vec<&'a str>,
    nodes: Vec<(&'a str, u16)>,
}

impl<'a> Wanted<'a> {
    fn new(node_ids: &'a ArchivedVec<ArchivedNodeId>) -> Self {
        let mut wanted = Self { hosts: Vec::new(), nodes: Vec::new() };
        for node_id in node_ids.iter() {
            match node_id.port.to_native() {
                0 => wanted.hosts.push(&node_id.host),
                port => wanted.nodes.push((&node_id.host, port)),
            }
        }
        wanted.hosts.sort_unstable();
        wanted.nodes.sort_unstable();
        wanted
    }

    /// True where every node is named with its port, so that the index finds it.
    fn is_exact(&self) -> bool {
        self.hosts.is_empty() && !self.nodes.is_empty()
    }

    fn is_named(&self, host: &str, port: u16) -> bool {
        (self.hosts.is_empty() && self.nodes.is_empty())
            || self.hosts.binary_search(&host).is_ok()
            || self.nodes.binary_search(&(host, port)).is_ok()
    }
}

/// An upper estimate of a report's share of the archive.
fn size_of_report(report: &NodeReport) -> usize {
    let texts = report.node_id.host.len()
        + report.rack_name.len()
        + report.node_class.len()
        + report.health_report.len()
        + report.nm_version.len();
    let extended: usize =
        report.capability.extended.iter().map(|item| item.name.len() + item.units.len() + 24).sum();
    let labels: usize = report.node_labels.iter().map(|label| label.len() + 8).sum();
    let attributes: usize = report
        .node_attributes
        .iter()
        .map(|attribute| attribute.prefix.len() + attribute.name.len() + attribute.value.len() + 24)
        .sum();
    let blockers: usize = report.decommissioning_blocked_by.iter().map(|text| text.len() + 8).sum();
    256 + texts + extended + labels + attributes + blockers
}

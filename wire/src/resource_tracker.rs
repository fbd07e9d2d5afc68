//! ResourceTracker: NodeManager → ResourceManager. Register, beat, un-register.
//! Owns: its six records and the checks of what a NodeManager may send. Called by: the shard, agents, the load generator.
//! Does not: decide what a report means; that is `engine::shard`.
//!
//! Differs from YARN: container statuses are changes since the last answered beat plus a digest of what runs; phase and
//! lease are told; commands carry a sequence number that the node acknowledges, so that they may also be pushed.
//! Invariant: a published record keeps its layout (held by the golden frames).
//! Source of the fields: YARN ResourceTracker protocol, register, heartbeat and un-register.

use rkyv::{Archive, Deserialize, Serialize};

use crate::error::DecodeError;
use crate::limits;
use crate::message::{Message, message};
use crate::opcode::Opcode;
use crate::record::{
    AppCollectorData, ApplicationId, ArchivedNodeAttribute, ArchivedNodeId, ArchivedResource, ContainerId,
    ContainerLaunch, ContainerQueuingLimit, ContainerStatus, ContainerUpdate, ContainersDigest,
    LogAggregationReport, MasterKey, NmContainerStatus, NodeAction, NodeAttribute, NodeHandle,
    NodeHealthStatus, NodeId, NodeLabel, OpportunisticContainersStatus, Resource, ResourceUtilization,
    SignalContainer, SystemCredentials,
};

/// A NodeManager joins or comes back. The header's routing key is [`NodeId::routing_key`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegisterNodeManagerRequest {
    /// Identity.
    pub node_id: NodeId,
    /// Port of the web server, 0 for none.
    pub http_port: u16,
    /// Minor protocol version the node speaks.
    pub protocol_minor: u16,
    /// Feature bits the node understands; none are defined yet, send 0.
    pub features: u64,
    /// Rack, for example `/rack-17`; empty for the default rack.
    pub rack_name: String,
    /// Version of the NodeManager.
    pub nm_version: String,
    /// What it offers.
    pub capability: Resource,
    /// Physical memory and cores; zero where unknown.
    pub physical_resource: Option<Resource>,
    /// Initial health; `None` = healthy.
    pub node_status: Option<NodeHealthStatus>,
    /// Every container the node knows: running, queued, and completed but not acknowledged.
    pub container_statuses: Vec<NmContainerStatus>,
    /// Applications for which the node keeps state.
    pub running_applications: Vec<ApplicationId>,
    /// Labels; `None` = not reported by the node.
    pub node_labels: Option<Vec<NodeLabel>>,
    /// Attributes; `None` = not reported by the node.
    pub node_attributes: Option<Vec<NodeAttribute>>,
    /// Log aggregation the node knows of.
    pub log_aggregation_reports: Vec<LogAggregationReport>,
}

/// Answer to [`RegisterNodeManagerRequest`]. On SHUTDOWN only `node_action` and `diagnostics` mean anything.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RegisterNodeManagerResponse {
    /// NORMAL or SHUTDOWN.
    pub node_action: NodeAction,
    /// The routing key from now on.
    pub node_handle: NodeHandle,
    /// Start of this ResourceManager, milliseconds since 1970.
    pub rm_identifier: u64,
    /// Its version.
    pub rm_version: String,
    /// The lower of both sides' minor versions.
    pub protocol_minor: u16,
    /// Feature bits both sides understand.
    pub features: u64,
    /// Interval between beats, milliseconds.
    pub heartbeat_interval_ms: u32,
    /// Milliseconds from this answer to the first beat: places the node at its phase.
    pub next_heartbeat_ms: u32,
    /// The node's place within the interval, milliseconds.
    pub phase_ms: u32,
    /// A node that heard nothing for this long since it sent its last answered beat must stop its containers.
    pub lease_ms: u32,
    /// Key for container tokens.
    pub container_token_master_key: Option<MasterKey>,
    /// Key for NM tokens.
    pub nm_token_master_key: Option<MasterKey>,
    /// Set when the ResourceManager overrides the node's capability.
    pub capability: Option<Resource>,
    /// True if labels were sent and accepted.
    pub are_node_labels_accepted: bool,
    /// True if attributes were sent and accepted.
    pub are_node_attributes_accepted: bool,
    /// Why the node was rejected, or why labels or attributes were not accepted.
    pub diagnostics: String,
}

/// The periodic report of a node. The header's routing key is the node's handle.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeHeartbeatRequest {
    /// The node's handle, the same as the header's routing key.
    pub node_handle: NodeHandle,
    /// The id of the last answer the node took in; 0 for the first beat after registration.
    pub response_id: u32,
    /// Highest command sequence the node has carried out.
    pub acknowledged_command: u32,
    /// Id of the container-token key the node has; 0 for none.
    pub container_token_key_id: u32,
    /// Id of the NM-token key the node has; 0 for none.
    pub nm_token_key_id: u32,
    /// Sequence number of the system credentials the node has.
    pub token_sequence: u64,
    /// Digest of every container on the node that is not complete, after `container_statuses`.
    pub containers_digest: ContainersDigest,
    /// True when `container_statuses` are all containers of the node and not only changes. A report that does not fit
    /// one beat goes over several: all but the last have `is_continued`.
    pub is_full_report: bool,
    /// True when more statuses follow with the next beat; the digest is not compared until the last.
    pub is_continued: bool,
    /// False when a disk or the health script says so.
    pub is_node_healthy: bool,
    /// Measured use of all containers together.
    pub containers_utilization: ResourceUtilization,
    /// Measured use of the machine.
    pub node_utilization: ResourceUtilization,
    /// Changes since the last answered beat, and completed containers until they are acknowledged.
    pub container_statuses: Vec<ContainerStatus>,
    /// What a beat rarely carries.
    pub details: Option<Box<NodeHeartbeatDetails>>,
}

/// The parts of a heartbeat that are sent only when there is something to say.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeHeartbeatDetails {
    /// Health, when it changed, and at least every ten minutes.
    pub health: Option<NodeHealthStatus>,
    /// Applications whose tokens must not be cancelled yet.
    pub keep_alive_applications: Vec<ApplicationId>,
    /// Containers whose resource increase is done.
    pub increased_containers: Vec<ContainerUpdate>,
    /// Queue state for opportunistic containers.
    pub opportunistic_containers_status: Option<OpportunisticContainersStatus>,
    /// Labels; `None` = unchanged, empty = remove all.
    pub node_labels: Option<Vec<NodeLabel>>,
    /// Attributes; `None` = unchanged, empty = remove all.
    pub node_attributes: Option<Vec<NodeAttribute>>,
    /// Reports not yet confirmed by an answered beat.
    pub log_aggregation_reports: Vec<LogAggregationReport>,
    /// Timeline collectors that are new on this node.
    pub registering_collectors: Vec<AppCollectorData>,
}

/// Answer to a beat, or (with the `PUSH` flag) commands sent without one.
///
/// A push repeats the `response_id` of the last answer and changes nothing but the commands and updates it carries.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeHeartbeatResponse {
    /// `(last + 1) & 0x7fff_ffff`. 0 on RESYNC and SHUTDOWN.
    pub response_id: u32,
    /// Interval between beats, milliseconds.
    pub heartbeat_interval_ms: u32,
    /// Milliseconds from the planned time of the answered beat to the next one. On RESYNC: from now to registration.
    pub next_heartbeat_ms: u32,
    /// The node's place within the interval, milliseconds.
    pub phase_ms: u32,
    /// As in [`RegisterNodeManagerResponse::lease_ms`].
    pub lease_ms: u32,
    /// Sequence number of the system credentials the ResourceManager has.
    pub token_sequence: u64,
    /// NORMAL, RESYNC or SHUTDOWN.
    pub node_action: NodeAction,
    /// The digest did not match: send all containers with the next beat.
    pub is_full_report_requested: bool,
    /// True if labels were sent and accepted.
    pub are_node_labels_accepted: bool,
    /// True if attributes were sent and accepted.
    pub are_node_attributes_accepted: bool,
    /// Orders for the node, until acknowledged.
    pub commands: Option<Box<NodeCommands>>,
    /// New facts for the node.
    pub updates: Option<Box<NodeUpdates>>,
}

/// Orders for a node. Every list may repeat what an earlier answer or push said; all but signals are idempotent.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeCommands {
    /// The highest sequence among these. The node acknowledges it when all are carried out.
    pub last_sequence: u32,
    /// Kill these.
    pub containers_to_cleanup: Vec<ContainerId>,
    /// Ended applications: kill leftovers, aggregate logs, delete files.
    pub applications_to_cleanup: Vec<ApplicationId>,
    /// Completed containers whose completion was delivered: forget them.
    pub containers_to_be_removed_from_nm: Vec<ContainerId>,
    /// Signals.
    pub containers_to_signal: Vec<SignalContainer>,
    /// Updates of size or execution type.
    pub containers_to_update: Vec<ContainerUpdate>,
    /// Containers to start: those of ApplicationMasters.
    pub containers_to_launch: Vec<ContainerLaunch>,
}

/// Facts that changed on the ResourceManager's side.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeUpdates {
    /// Next container-token key, while a roll-over is pending and the node does not have it.
    pub container_token_master_key: Option<MasterKey>,
    /// Next NM-token key, likewise.
    pub nm_token_master_key: Option<MasterKey>,
    /// New capability set by an administrator; the node adopts it.
    pub capability: Option<Resource>,
    /// Bound on the queue of opportunistic containers.
    pub container_queuing_limit: Option<ContainerQueuingLimit>,
    /// Collectors of applications that run on the node.
    pub app_collectors: Vec<AppCollectorData>,
    /// Credentials, on a sequence mismatch.
    pub system_credentials: Vec<SystemCredentials>,
    /// Why RESYNC or SHUTDOWN, or why labels or attributes were not accepted.
    pub diagnostics: String,
}

/// A NodeManager leaves for good.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UnRegisterNodeManagerRequest {
    /// The node's handle, the same as the header's routing key.
    pub node_handle: NodeHandle,
    /// Why, for people; may be empty.
    pub reason: String,
}

/// Answer to [`UnRegisterNodeManagerRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct UnRegisterNodeManagerResponse {
    /// False when the ResourceManager did not know the node; nothing was done then.
    pub was_known: bool,
}

message! {
    RegisterNodeManagerRequest => RegisterNodeManager, false;
    RegisterNodeManagerResponse => RegisterNodeManager, true;
    NodeHeartbeatRequest => NodeHeartbeat, false;
    NodeHeartbeatResponse => NodeHeartbeat, true;
    UnRegisterNodeManagerRequest => UnRegisterNodeManager, false;
    UnRegisterNodeManagerResponse => UnRegisterNodeManager, true;
}

impl ArchivedRegisterNodeManagerRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        check_node_id(&self.node_id, 1)?;
        name("rack_name", &self.rack_name)?;
        name("nm_version", &self.nm_version)?;
        check_resource(&self.capability)?;
        if let Some(physical) = self.physical_resource.as_ref() {
            check_resource(physical)?;
        }
        if let Some(status) = self.node_status.as_ref() {
            text("node_status.health_report", &status.health_report)?;
        }
        list("container_statuses", self.container_statuses.len(), limits::REGISTER_CONTAINERS_MAX)?;
        for status in self.container_statuses.iter() {
            check_resource(&status.capability)?;
            name("container_statuses.node_label_expression", &status.node_label_expression)?;
            text("container_statuses.diagnostics", &status.diagnostics)?;
            list(
                "container_statuses.allocation_tags",
                status.allocation_tags.len(),
                limits::CONTAINER_ATTRIBUTES_MAX,
            )?;
            status
                .allocation_tags
                .iter()
                .try_for_each(|tag| name("container_statuses.allocation_tags", tag))?;
        }
        list("running_applications", self.running_applications.len(), limits::APPLICATIONS_MAX)?;
        check_labels(self.node_labels.as_ref())?;
        check_attributes(self.node_attributes.as_ref())?;
        list("log_aggregation_reports", self.log_aggregation_reports.len(), limits::REPORTS_MAX)?;
        self.log_aggregation_reports
            .iter()
            .try_for_each(|report| text("log_aggregation_reports.diagnostics", &report.diagnostics))
    }
}

impl ArchivedNodeHeartbeatRequest {
    /// Checks every value a peer chooses. Cost: two comparisons for a beat without containers and details.
    ///
    /// # Errors
    /// The first field outside its range.
    #[inline]
    pub fn check(&self) -> Result<(), DecodeError> {
        if self.container_statuses.is_empty() && self.details.is_none() {
            return Ok(());
        }
        self.check_contents()
    }

    fn check_contents(&self) -> Result<(), DecodeError> {
        list("container_statuses", self.container_statuses.len(), limits::CONTAINER_STATUSES_MAX)?;
        for status in self.container_statuses.iter() {
            check_resource(&status.capability)?;
            text("container_statuses.diagnostics", &status.diagnostics)?;
            list("container_statuses.attributes", status.attributes.len(), limits::CONTAINER_ATTRIBUTES_MAX)?;
            for attribute in status.attributes.iter() {
                name("container_statuses.attributes.key", &attribute.key)?;
                text("container_statuses.attributes.value", &attribute.value)?;
            }
        }
        let Some(details) = self.details.as_ref() else { return Ok(()) };
        if let Some(health) = details.health.as_ref() {
            text("details.health.health_report", &health.health_report)?;
        }
        list(
            "details.keep_alive_applications",
            details.keep_alive_applications.len(),
            limits::APPLICATIONS_MAX,
        )?;
        list("details.increased_containers", details.increased_containers.len(), limits::REPORTS_MAX)?;
        details.increased_containers.iter().try_for_each(|update| check_resource(&update.capability))?;
        check_labels(details.node_labels.as_ref())?;
        check_attributes(details.node_attributes.as_ref())?;
        list("details.log_aggregation_reports", details.log_aggregation_reports.len(), limits::REPORTS_MAX)?;
        for report in details.log_aggregation_reports.iter() {
            text("details.log_aggregation_reports.diagnostics", &report.diagnostics)?;
        }
        list("details.registering_collectors", details.registering_collectors.len(), limits::REPORTS_MAX)?;
        details.registering_collectors.iter().try_for_each(|collector| {
            text("details.registering_collectors.collector_addr", &collector.collector_addr)
        })
    }
}

impl ArchivedUnRegisterNodeManagerRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        text("reason", &self.reason)
    }
}

/// Checks a node id; `port_min` is 1, or 0 where 0 means every NodeManager of the host.
///
/// # Errors
/// The field outside its form.
pub fn check_node_id(node_id: &ArchivedNodeId, port_min: u16) -> Result<(), DecodeError> {
    let host: &str = &node_id.host;
    list("node_id.host", host.len(), limits::HOST_MAX)?;
    if host.is_empty() || host.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b':') {
        return Err(DecodeError::BadText {
            field: "node_id.host",
            found: host.chars().take(64).collect(),
            accepted: "1 to 253 visible ASCII characters without ':'",
        });
    }
    let port = node_id.port.to_native();
    if port < port_min {
        return Err(DecodeError::OutOfRange {
            field: "node_id.port",
            found: u64::from(port),
            min: u64::from(port_min),
            max: 65_535,
        });
    }
    Ok(())
}

/// Largest amount of memory a resource may name, MiB: 2^43 bytes × 2^20, far beyond any machine, far below overflow.
pub const MEMORY_MB_MAX: u64 = 1 << 43;

/// Checks an amount.
///
/// # Errors
/// The field outside its range.
pub fn check_resource(resource: &ArchivedResource) -> Result<(), DecodeError> {
    let found = resource.memory_mb.to_native();
    if found > MEMORY_MB_MAX {
        return Err(DecodeError::OutOfRange {
            field: "capability.memory_mb",
            found,
            min: 0,
            max: MEMORY_MB_MAX,
        });
    }
    list("capability.extended", resource.extended.len(), limits::EXTENDED_RESOURCES_MAX)?;
    for information in resource.extended.iter() {
        name("capability.extended.name", &information.name)?;
        name("capability.extended.units", &information.units)?;
        let found = information.value.to_native();
        if found > MEMORY_MB_MAX {
            let field = "capability.extended.value";
            return Err(DecodeError::OutOfRange { field, found, min: 0, max: MEMORY_MB_MAX });
        }
    }
    Ok(())
}

fn check_labels(
    labels: Option<&rkyv::vec::ArchivedVec<crate::record::ArchivedNodeLabel>>,
) -> Result<(), DecodeError> {
    let Some(labels) = labels else { return Ok(()) };
    list("node_labels", labels.len(), limits::LABELS_MAX)?;
    labels.iter().try_for_each(|label| name("node_labels.name", &label.name))
}

fn check_attributes(
    attributes: Option<&rkyv::vec::ArchivedVec<ArchivedNodeAttribute>>,
) -> Result<(), DecodeError> {
    let Some(attributes) = attributes else { return Ok(()) };
    list("node_attributes", attributes.len(), limits::ATTRIBUTES_MAX)?;
    for attribute in attributes.iter() {
        name("node_attributes.prefix", &attribute.prefix)?;
        name("node_attributes.name", &attribute.name)?;
        name("node_attributes.value", &attribute.value)?;
    }
    Ok(())
}

/// Checks a name: its length, and that it stays on one line of a log or a listing.
pub(crate) fn name(field: &'static str, value: &str) -> Result<(), DecodeError> {
    list(field, value.len(), limits::NAME_MAX)?;
    if value.chars().any(char::is_control) {
        return Err(DecodeError::BadText {
            field,
            found: value.chars().take(64).collect(),
            accepted: "a text without control characters",
        });
    }
    Ok(())
}

pub(crate) fn text(field: &'static str, value: &str) -> Result<(), DecodeError> {
    list(field, value.len(), limits::TEXT_MAX)
}

pub(crate) fn list(field: &'static str, found: usize, accepted: usize) -> Result<(), DecodeError> {
    if found > accepted { Err(DecodeError::TooLong { field, found, accepted }) } else { Ok(()) }
}

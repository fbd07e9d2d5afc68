//! The records behind the golden frames: every message, every field used at least once and left out at least once.
//! Owns: their values. Called by: `golden.rs`. Thread: any.
//! Does not: change. A published frame keeps its bytes; a new shape gets a new opcode and a new case here.

use heddle_wire::administration::*;
use heddle_wire::application_client::*;
use heddle_wire::error::RejectCode;
use heddle_wire::record::*;
use heddle_wire::resource_tracker::*;
use heddle_wire::{Flags, Opcode, Reject};

use super::Cases;

pub(crate) const RM_IDENTIFIER: u64 = 1_763_625_600_000;
pub(crate) const CORRELATION_ID: u64 = 0x0102_0304_0506_0708;

pub(crate) const fn application(id: u32) -> ApplicationId {
    ApplicationId { cluster_timestamp: RM_IDENTIFIER, id }
}

pub(crate) const fn container(application_id: u32, container_id: u64) -> ContainerId {
    let application_attempt_id =
        ApplicationAttemptId { application_id: application(application_id), attempt_id: 1 };
    ContainerId { application_attempt_id, container_id }
}

/// A container of a ResourceManager that was restarted 17 times.
pub(crate) const fn later_container() -> ContainerId {
    ContainerId {
        application_attempt_id: ApplicationAttemptId {
            application_id: application(4_000_000_000),
            attempt_id: 2,
        },
        container_id: (17 << 40) + 3,
    }
}

pub(crate) const fn handle() -> NodeHandle {
    NodeHandle::new(3, 70_000, 5)
}

pub(crate) fn node_id() -> NodeId {
    NodeId::new("node-0042.rack-17.example", 45_454)
}

pub(crate) fn with_gpus(memory_mb: u64, virtual_cores: u32) -> Resource {
    let information = |name: &str, value, units: &str| ResourceInformation {
        name: name.to_owned(),
        value,
        units: units.to_owned(),
    };
    Resource {
        memory_mb,
        virtual_cores,
        extended: vec![information("yarn.io/gpu", 8, ""), information("memory-bandwidth", 400, "Gi")],
    }
}

pub(crate) fn label(name: &str, is_exclusive: bool) -> NodeLabel {
    NodeLabel { name: name.to_owned(), is_exclusive }
}

pub(crate) fn label_names() -> Vec<String> {
    vec!["gpu".to_owned()]
}

fn attribute(name: &str, value: &str) -> NodeAttribute {
    NodeAttribute { prefix: "nm.yarn.io".to_owned(), name: name.to_owned(), value: value.to_owned() }
}

fn aggregation(id: u32, status: LogAggregationStatus, diagnostics: &str) -> LogAggregationReport {
    LogAggregationReport { application_id: application(id), status, diagnostics: diagnostics.to_owned() }
}

fn collector(id: u32, version: u64) -> AppCollectorData {
    AppCollectorData {
        application_id: application(id),
        collector_addr: "node-0042.rack-17.example:8048".to_owned(),
        rm_identifier: if version == 0 { 0 } else { RM_IDENTIFIER },
        version,
    }
}

const fn utilization(factor: u32) -> ResourceUtilization {
    ResourceUtilization {
        physical_memory_mb: 1_024 * factor,
        virtual_memory_mb: 2_048 * factor,
        cpu_millicores: 1_500 * factor,
    }
}

fn master_key(key_id: u32) -> MasterKey {
    MasterKey { key_id, bytes: (0..32).map(|byte| byte * 7 + key_id as u8).collect() }
}

fn status(container_id: ContainerId) -> ContainerStatus {
    ContainerStatus {
        container_id,
        state: ContainerState::Running,
        sub_state: ContainerSubState::Running,
        execution_type: ExecutionType::Guaranteed,
        exit_status: EXIT_STATUS_INVALID,
        capability: Resource::new(2_048, 2),
        diagnostics: String::new(),
        attributes: Vec::new(),
    }
}

fn register_request() -> RegisterNodeManagerRequest {
    let reported = |container_id, container_state, exit_status| NmContainerStatus {
        container_id,
        container_state,
        execution_type: ExecutionType::Guaranteed,
        exit_status,
        capability: Resource::new(4_096, 4),
        priority: 1,
        creation_time_ms: RM_IDENTIFIER + 5_000,
        version: 0,
        allocation_request_id: -1,
        node_label_expression: String::new(),
        allocation_tags: Vec::new(),
        diagnostics: String::new(),
    };
    RegisterNodeManagerRequest {
        node_id: node_id(),
        http_port: 8_042,
        protocol_minor: 0,
        features: 0x8000_0000_0000_0001,
        rack_name: "/rack-17".to_owned(),
        nm_version: "0.1.0".to_owned(),
        capability: with_gpus(262_144, 64),
        physical_resource: Some(with_gpus(271_000, 72)),
        node_status: Some(NodeHealthStatus {
            is_node_healthy: false,
            last_health_report_time_ms: RM_IDENTIFIER - 1,
            health_report: "1/4 local-dirs are bad: /data/3 — Eingabe-/Ausgabefehler".to_owned(),
        }),
        container_statuses: vec![
            reported(container(7, 1), ContainerState::Running, EXIT_STATUS_INVALID),
            reported(container(7, 2), ContainerState::New, EXIT_STATUS_INVALID),
            NmContainerStatus {
                execution_type: ExecutionType::Opportunistic,
                capability: with_gpus(1_024, 1),
                priority: -5,
                version: 3,
                allocation_request_id: 9_000_000_000,
                node_label_expression: "gpu".to_owned(),
                allocation_tags: vec!["hbase".to_owned(), "region-server".to_owned()],
                diagnostics: "Exception from container-launch.".to_owned(),
                ..reported(later_container(), ContainerState::Complete, 143)
            },
        ],
        running_applications: vec![application(7), application(4_000_000_000)],
        node_labels: Some(vec![label("gpu", true), label("shared-pool", false)]),
        node_attributes: Some(vec![attribute("os", "debian-12"), attribute("has-avx512", "")]),
        log_aggregation_reports: vec![
            aggregation(1, LogAggregationStatus::Disabled, ""),
            aggregation(2, LogAggregationStatus::NotStart, ""),
            aggregation(3, LogAggregationStatus::Running, "half way"),
            aggregation(4, LogAggregationStatus::Succeeded, ""),
            aggregation(5, LogAggregationStatus::Failed, "remote directory is full"),
            aggregation(6, LogAggregationStatus::TimeOut, ""),
            aggregation(7, LogAggregationStatus::RunningWithFailure, ""),
        ],
    }
}

fn register_request_minimal() -> RegisterNodeManagerRequest {
    RegisterNodeManagerRequest {
        node_id: NodeId::new("n", 1),
        http_port: 0,
        protocol_minor: 0,
        features: 0,
        rack_name: String::new(),
        nm_version: String::new(),
        capability: Resource::new(8_192, 8),
        physical_resource: None,
        node_status: None,
        container_statuses: Vec::new(),
        running_applications: Vec::new(),
        node_labels: None,
        node_attributes: None,
        log_aggregation_reports: Vec::new(),
    }
}

fn register_response() -> RegisterNodeManagerResponse {
    RegisterNodeManagerResponse {
        node_action: NodeAction::Normal,
        node_handle: handle(),
        rm_identifier: RM_IDENTIFIER,
        rm_version: "0.1.0-rc.1+golden".to_owned(),
        protocol_minor: 0,
        features: 1,
        heartbeat_interval_ms: 1_000,
        next_heartbeat_ms: 1_618,
        phase_ms: 618,
        lease_ms: 600_000,
        container_token_master_key: Some(master_key(1)),
        nm_token_master_key: Some(master_key(2)),
        capability: Some(with_gpus(131_072, 32)),
        are_node_labels_accepted: true,
        are_node_attributes_accepted: true,
        diagnostics: "capability was overridden by an administrator".to_owned(),
    }
}

fn register_response_minimal() -> RegisterNodeManagerResponse {
    RegisterNodeManagerResponse {
        node_action: NodeAction::Normal,
        node_handle: NodeHandle::new(0, 0, 1),
        rm_identifier: RM_IDENTIFIER,
        rm_version: "0.1.0".to_owned(),
        protocol_minor: 0,
        features: 0,
        heartbeat_interval_ms: 1_000,
        next_heartbeat_ms: 1,
        phase_ms: 0,
        lease_ms: 600_000,
        container_token_master_key: None,
        nm_token_master_key: None,
        capability: None,
        are_node_labels_accepted: false,
        are_node_attributes_accepted: false,
        diagnostics: String::new(),
    }
}

fn register_response_shutdown() -> RegisterNodeManagerResponse {
    RegisterNodeManagerResponse {
        node_action: NodeAction::Shutdown,
        node_handle: NodeHandle(0),
        rm_identifier: 0,
        rm_version: String::new(),
        heartbeat_interval_ms: 0,
        next_heartbeat_ms: 0,
        lease_ms: 0,
        diagnostics: "Disallowed NodeManager node-0042.rack-17.example".to_owned(),
        ..register_response_minimal()
    }
}

/// A beat with nothing to say.
fn heartbeat_request_idle() -> NodeHeartbeatRequest {
    NodeHeartbeatRequest {
        node_handle: handle(),
        response_id: 0,
        acknowledged_command: 0,
        container_token_key_id: 0,
        nm_token_key_id: 0,
        token_sequence: 0,
        containers_digest: ContainersDigest::default(),
        is_full_report: false,
        is_continued: false,
        is_node_healthy: true,
        containers_utilization: ResourceUtilization::default(),
        node_utilization: ResourceUtilization::default(),
        container_statuses: Vec::new(),
        details: None,
    }
}

/// A beat of the usual kind: one container began, one ended.
fn heartbeat_request_containers() -> NodeHeartbeatRequest {
    let mut containers_digest = ContainersDigest::default();
    containers_digest.add(&container(7, 1));
    NodeHeartbeatRequest {
        response_id: 41,
        acknowledged_command: 3,
        container_token_key_id: 1,
        nm_token_key_id: 2,
        token_sequence: 1,
        containers_digest,
        containers_utilization: utilization(2),
        node_utilization: utilization(3),
        container_statuses: vec![
            status(container(7, 1)),
            ContainerStatus {
                state: ContainerState::Complete,
                sub_state: ContainerSubState::Done,
                exit_status: 0,
                ..status(container(7, 2))
            },
        ],
        ..heartbeat_request_idle()
    }
}

/// A full report that is continued, with every detail.
fn heartbeat_request_full() -> NodeHeartbeatRequest {
    let mut containers_digest = ContainersDigest::default();
    for running in [container(7, 1), container(7, 3), container(7, 4), container(7, 5), later_container()] {
        containers_digest.add(&running);
    }
    let pair = |key: &str, value: &str| StringPair { key: key.to_owned(), value: value.to_owned() };
    let update = |container_id, version| ContainerUpdate {
        container_id,
        version,
        capability: with_gpus(8_192, 4),
        execution_type: ExecutionType::Guaranteed,
    };
    NodeHeartbeatRequest {
        response_id: 0x7fff_ffff,
        acknowledged_command: u32::MAX,
        container_token_key_id: 11,
        nm_token_key_id: 12,
        token_sequence: u64::MAX,
        containers_digest,
        is_full_report: true,
        is_continued: true,
        is_node_healthy: false,
        containers_utilization: utilization(20),
        node_utilization: utilization(30),
        container_statuses: vec![
            ContainerStatus {
                diagnostics: "Container is starting; a text longer than eight bytes: üöä".to_owned(),
                attributes: vec![
                    pair("IPS", "10.0.0.1,fd00::1"),
                    pair("HOST", "node-0042"),
                    pair("PORTS", ""),
                ],
                ..status(container(7, 1))
            },
            ContainerStatus { sub_state: ContainerSubState::Paused, ..status(container(7, 3)) },
            ContainerStatus { sub_state: ContainerSubState::Completing, ..status(container(7, 4)) },
            ContainerStatus {
                state: ContainerState::New,
                sub_state: ContainerSubState::Scheduled,
                execution_type: ExecutionType::Opportunistic,
                capability: with_gpus(1_024, 1),
                ..status(container(7, 5))
            },
            status(later_container()),
            ContainerStatus {
                state: ContainerState::Complete,
                sub_state: ContainerSubState::Done,
                exit_status: EXIT_STATUS_ABORTED,
                diagnostics: "killed by the ResourceManager".to_owned(),
                ..status(container(7, 2))
            },
        ],
        details: Some(Box::new(NodeHeartbeatDetails {
            health: Some(NodeHealthStatus {
                is_node_healthy: false,
                last_health_report_time_ms: RM_IDENTIFIER + 60_000,
                health_report: "ERROR the health script said so".to_owned(),
            }),
            keep_alive_applications: vec![application(5), application(6)],
            increased_containers: vec![update(container(7, 1), 2)],
            opportunistic_containers_status: Some(OpportunisticContainersStatus {
                running_containers: 4,
                memory_used_mb: 4_096,
                virtual_cores_used: 5,
                queued_containers: 6,
                wait_queue_length: 7,
                estimated_queue_wait_time_ms: -1,
                queue_capacity: 8,
            }),
            node_labels: Some(vec![label("gpu", true)]),
            node_attributes: Some(vec![attribute("os", "debian-13")]),
            log_aggregation_reports: vec![aggregation(5, LogAggregationStatus::Succeeded, "")],
            registering_collectors: vec![collector(7, 0)],
        })),
        ..heartbeat_request_idle()
    }
}

/// Details that say "remove all", which is not the same as saying nothing.
fn heartbeat_request_removes() -> NodeHeartbeatRequest {
    NodeHeartbeatRequest {
        response_id: 1,
        details: Some(Box::new(NodeHeartbeatDetails {
            node_labels: Some(Vec::new()),
            node_attributes: Some(Vec::new()),
            ..NodeHeartbeatDetails::default()
        })),
        ..heartbeat_request_idle()
    }
}

/// Details of a node that is well again.
fn heartbeat_request_healthy() -> NodeHeartbeatRequest {
    NodeHeartbeatRequest {
        response_id: 2,
        details: Some(Box::new(NodeHeartbeatDetails {
            health: Some(NodeHealthStatus {
                last_health_report_time_ms: RM_IDENTIFIER + 120_000,
                ..NodeHealthStatus::default()
            }),
            ..NodeHeartbeatDetails::default()
        })),
        ..heartbeat_request_idle()
    }
}

fn heartbeat_response_idle() -> NodeHeartbeatResponse {
    NodeHeartbeatResponse {
        response_id: 42,
        heartbeat_interval_ms: 1_000,
        next_heartbeat_ms: 1_000,
        phase_ms: 618,
        lease_ms: 600_000,
        ..NodeHeartbeatResponse::default()
    }
}

fn commands() -> NodeCommands {
    let signal = |sequence, command| SignalContainer { sequence, container_id: container(7, 1), command };
    NodeCommands {
        last_sequence: 12,
        containers_to_cleanup: vec![container(7, 3), later_container()],
        applications_to_cleanup: vec![application(5)],
        containers_to_be_removed_from_nm: vec![container(7, 2)],
        containers_to_signal: vec![
            signal(6, SignalContainerCommand::OutputThreadDump),
            signal(7, SignalContainerCommand::GracefulShutdown),
            signal(8, SignalContainerCommand::ForcefulShutdown),
        ],
        containers_to_update: vec![ContainerUpdate {
            container_id: container(7, 1),
            version: 2,
            capability: Resource::new(8_192, 4),
            execution_type: ExecutionType::Opportunistic,
        }],
        containers_to_launch: super::application_master::launches(9),
    }
}

fn heartbeat_response_full() -> NodeHeartbeatResponse {
    NodeHeartbeatResponse {
        response_id: 0x7fff_ffff,
        token_sequence: 2,
        is_full_report_requested: true,
        are_node_labels_accepted: true,
        are_node_attributes_accepted: true,
        commands: Some(Box::new(commands())),
        updates: Some(Box::new(NodeUpdates {
            container_token_master_key: Some(master_key(3)),
            nm_token_master_key: Some(master_key(4)),
            capability: Some(with_gpus(65_536, 16)),
            container_queuing_limit: Some(ContainerQueuingLimit {
                max_queue_length: 10,
                max_queue_wait_time_ms: -1,
            }),
            app_collectors: vec![collector(7, 1)],
            system_credentials: vec![SystemCredentials {
                application_id: application(7),
                credentials: b"opaque credentials".to_vec(),
            }],
            diagnostics: "attribute has-avx512 has no value".to_owned(),
        })),
        ..heartbeat_response_idle()
    }
}

fn heartbeat_response_resync() -> NodeHeartbeatResponse {
    NodeHeartbeatResponse {
        node_action: NodeAction::Resync,
        heartbeat_interval_ms: 1_000,
        next_heartbeat_ms: 2_750,
        updates: Some(Box::new(NodeUpdates {
            diagnostics: "Node not found, register again".to_owned(),
            ..NodeUpdates::default()
        })),
        ..NodeHeartbeatResponse::default()
    }
}

fn heartbeat_response_shutdown() -> NodeHeartbeatResponse {
    NodeHeartbeatResponse { node_action: NodeAction::Shutdown, ..NodeHeartbeatResponse::default() }
}

/// A push: one container is to be killed now. The response id is that of the last answer.
fn heartbeat_push() -> NodeHeartbeatResponse {
    NodeHeartbeatResponse {
        commands: Some(Box::new(NodeCommands {
            last_sequence: 10,
            containers_to_cleanup: vec![container(7, 1)],
            ..NodeCommands::default()
        })),
        ..heartbeat_response_idle()
    }
}

fn report() -> NodeReport {
    NodeReport {
        node_id: node_id(),
        handle: handle(),
        http_port: 8_042,
        rack_name: "/rack-17".to_owned(),
        state: NodeState::Decommissioning,
        is_suspect: true,
        node_class: "gpu-nodes".to_owned(),
        last_seen_ms: 31_000,
        used: Resource::new(4_096, 4),
        capability: with_gpus(262_144, 64),
        running_containers: 2,
        running_applications: 1,
        health_report: "all is well".to_owned(),
        last_health_report_time_ms: RM_IDENTIFIER,
        node_labels: vec!["gpu".to_owned()],
        node_attributes: vec![attribute("os", "debian-12")],
        containers_utilization: utilization(1),
        node_utilization: utilization(2),
        nm_version: "0.1.0".to_owned(),
        decommissioning_remaining_ms: Some(3_599_000),
        decommissioning_blocked_by: vec![
            container(7, 1).to_string(),
            format!("{} (keep-alive)", application(7)),
        ],
    }
}

fn report_of_a_lost_node() -> NodeReport {
    NodeReport {
        node_id: NodeId::new("lost", 1),
        handle: NodeHandle::new(0, 1, 1),
        http_port: 0,
        rack_name: String::new(),
        state: NodeState::Lost,
        is_suspect: false,
        node_class: String::new(),
        last_seen_ms: 0,
        used: Resource::default(),
        capability: Resource::new(1_024, 1),
        running_containers: 0,
        running_applications: 0,
        health_report: String::new(),
        last_health_report_time_ms: 0,
        node_labels: Vec::new(),
        node_attributes: Vec::new(),
        containers_utilization: ResourceUtilization::default(),
        node_utilization: ResourceUtilization::default(),
        nm_version: String::new(),
        decommissioning_remaining_ms: None,
        decommissioning_blocked_by: Vec::new(),
    }
}

/// Adds every case.
pub(crate) fn add(cases: &mut Cases) {
    let before = node_id().routing_key();
    let key = handle().0;
    let (request, response) = (Flags::REQUEST, Flags::RESPONSE);
    let shard = NodeHandle::new(3, 0, 0).0;
    let mut with = |variant, flags, routing_key, record: &dyn super::Golden| {
        let correlation_id = if flags == Flags::PUSH { 0 } else { CORRELATION_ID };
        cases.add(variant, flags, correlation_id, routing_key, record);
    };

    with("full", request, before, &register_request());
    with("minimal", request, NodeId::new("n", 1).routing_key(), &register_request_minimal());
    with("full", response, before, &register_response());
    with("minimal", response, NodeId::new("n", 1).routing_key(), &register_response_minimal());
    with("shutdown", response, before, &register_response_shutdown());

    with("idle", request, key, &heartbeat_request_idle());
    with("containers", request, key, &heartbeat_request_containers());
    with("full", request, key, &heartbeat_request_full());
    with("removes", request, key, &heartbeat_request_removes());
    with("healthy", request, key, &heartbeat_request_healthy());
    with("idle", response, key, &heartbeat_response_idle());
    with("full", response, key, &heartbeat_response_full());
    with("resync", response, key, &heartbeat_response_resync());
    with("shutdown", response, key, &heartbeat_response_shutdown());
    with("commands", Flags::PUSH, key, &heartbeat_push());

    let reason = "stopped by its operator".to_owned();
    with("full", request, key, &UnRegisterNodeManagerRequest { node_handle: handle(), reason });
    let reason = String::new();
    with("minimal", request, key, &UnRegisterNodeManagerRequest { node_handle: handle(), reason });
    with("known", response, key, &UnRegisterNodeManagerResponse { was_known: true });
    with("unknown", response, key, &UnRegisterNodeManagerResponse { was_known: false });

    with("", request, shard, &GetClusterMetricsRequest {});
    let metrics = GetClusterMetricsResponse {
        shard_count: 4,
        nodes_by_state: vec![0, 9_990, 3, 2, 5, 0, 1, 4],
        suspect_nodes: 17,
        is_brake_engaged: true,
        running_containers: 123_456,
        capability: with_gpus(2_618_818_560, 639_360),
        rm_identifier: RM_IDENTIFIER,
        rm_version: "0.1.0".to_owned(),
    };
    with("full", response, shard, &metrics);
    with("minimal", response, shard, &GetClusterMetricsResponse::default());

    let all = GetClusterNodesRequest {
        node_states: NodeState::ALL.to_vec(),
        node_ids: vec![node_id(), NodeId::new("every-port.example", 0)],
        start_row: 1_024,
        limit: 1_024,
    };
    with("full", request, shard, &all);
    with(
        "minimal",
        request,
        shard,
        &GetClusterNodesRequest { limit: 1, ..GetClusterNodesRequest::default() },
    );
    let nodes = vec![report(), report_of_a_lost_node()];
    with("full", response, shard, &GetClusterNodesResponse { shard_count: 4, next_row: Some(2_048), nodes });
    with("last", response, shard, &GetClusterNodesResponse { shard_count: 1, ..Default::default() });

    let graceful = RefreshNodesRequest {
        decommission_type: DecommissionType::Graceful,
        decommission_timeout_s: Some(-1),
    };
    with("graceful", request, 0, &graceful);
    with("normal", request, 0, &RefreshNodesRequest::default());
    let refreshed = RefreshNodesResponse { included_hosts: 10_000, excluded_hosts: 12, affected_nodes: 3 };
    with("full", response, 0, &refreshed);
    with("nothing", response, 0, &RefreshNodesResponse::default());

    let decommission = DecommissionNodesRequest {
        node_ids: vec![node_id(), NodeId::new("n", 0)],
        decommission_type: DecommissionType::Forceful,
        decommission_timeout_s: Some(3_600),
    };
    with("full", request, shard, &decommission);
    with("minimal", request, shard, &DecommissionNodesRequest::default());
    let affected_nodes = vec![node_id()];
    with("full", response, shard, &DecommissionNodesResponse { shard_count: 4, affected_nodes });
    with("minimal", response, shard, &DecommissionNodesResponse::default());

    with("full", request, shard, &RecommissionNodesRequest { node_ids: vec![node_id()] });
    with("minimal", request, shard, &RecommissionNodesRequest::default());
    let affected_nodes = vec![node_id()];
    with("full", response, shard, &RecommissionNodesResponse { shard_count: 4, affected_nodes });
    with("minimal", response, shard, &RecommissionNodesResponse::default());

    let busy = Reject::new(RejectCode::Busy, "the shard's queue is full").retry_after_ms(250);
    with("busy", Flags::REJECT, key, &(Opcode::NodeHeartbeat, busy));
    let refused = Reject::new(RejectCode::NameNotAllowed, "");
    with("name", Flags::REJECT, before, &(Opcode::RegisterNodeManager, refused));
}

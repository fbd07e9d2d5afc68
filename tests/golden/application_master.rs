//! Golden frames of the ApplicationMaster protocol, and the launch of an ApplicationMaster.
//! Owns: their values. Called by: `golden.rs`. Thread: any.
//! Does not: change. A published frame keeps its bytes; a new shape gets a new opcode and a new case here.

use heddle_wire::application_master::*;
use heddle_wire::error::RejectCode;
use heddle_wire::record::*;
use heddle_wire::{Flags, Opcode, Reject};

use super::Cases;
use super::cases::{
    CORRELATION_ID, RM_IDENTIFIER, container, handle, label_names, later_container, node_id, with_gpus,
};

/// The handle of the attempt in these frames.
pub(crate) const fn attempt_handle() -> AttemptHandle {
    AttemptHandle::new(2, 1_234, 9)
}

/// A signature that is easy to see in a dump.
pub(crate) fn token(key_id: u32) -> TokenMac {
    TokenMac { key_id, mac: core::array::from_fn(|at| at as u8 * 3 + key_id as u8) }
}

pub(crate) fn acls() -> Vec<ApplicationAcl> {
    let acl = |access_type, acl: &str| ApplicationAcl { access_type, acl: acl.to_owned() };
    vec![acl(ApplicationAccessType::ViewApp, "*"), acl(ApplicationAccessType::ModifyApp, "ada,bob operators")]
}

pub(crate) fn launch_context() -> ContainerLaunchContext {
    let pair = |key: &str, value: &str| StringPair { key: key.to_owned(), value: value.to_owned() };
    let file = |key: &str, resource_type, visibility| LocalResource {
        key: key.to_owned(),
        url: format!("hdfs://namenode.example:8020/apps/{key}"),
        size: 123_456_789,
        timestamp_ms: RM_IDENTIFIER - 86_400_000,
        resource_type,
        visibility,
        pattern: String::new(),
        should_be_uploaded_to_shared_cache: false,
    };
    ContainerLaunchContext {
        commands: vec!["exec ./launch.sh 1>stdout 2>stderr".to_owned()],
        environment: vec![pair("CLASSPATH", "./*:./lib/*"), pair("DEBUG", "")],
        local_resources: vec![
            file("lib.tar.gz", LocalResourceType::Archive, LocalResourceVisibility::Public),
            file("job.xml", LocalResourceType::File, LocalResourceVisibility::Private),
            LocalResource {
                pattern: "classes/.*".to_owned(),
                should_be_uploaded_to_shared_cache: true,
                ..file("job.jar", LocalResourceType::Pattern, LocalResourceVisibility::Application)
            },
        ],
        service_data: vec![ServiceData { key: "shuffle".to_owned(), value: b"opaque".to_vec() }],
        tokens: b"opaque credentials".to_vec(),
        application_acls: acls(),
        container_retry_context: Some(ContainerRetryContext {
            retry_policy: ContainerRetryPolicy::RetryOnSpecificErrorCodes,
            error_codes: vec![137, -104],
            max_retries: -1,
            retry_interval_ms: 1_000,
            failures_validity_interval_ms: Some(600_000),
        }),
    }
}

/// The launch of an ApplicationMaster, with everything, and with as little as there may be.
pub(crate) fn launches(first_sequence: u32) -> Vec<ContainerLaunch> {
    let launch = |at: u32, launch_context| ContainerLaunch {
        sequence: first_sequence + at,
        container_id: container(7 + at, 1),
        attempt_handle: attempt_handle(),
        user: "ada".to_owned(),
        resource: Resource::new(2_048, 1),
        priority: 0,
        token: token(3),
        expires_at_ms: RM_IDENTIFIER + 600_000,
        am_rm_token: token(1),
        launch_context,
    };
    let retry = |retry_policy, failures_validity_interval_ms| ContainerLaunchContext {
        container_retry_context: Some(ContainerRetryContext {
            retry_policy,
            failures_validity_interval_ms,
            ..ContainerRetryContext::default()
        }),
        ..ContainerLaunchContext::default()
    };
    vec![
        ContainerLaunch { priority: -1, ..launch(0, launch_context()) },
        launch(1, ContainerLaunchContext::default()),
        launch(2, retry(ContainerRetryPolicy::NeverRetry, None)),
        launch(3, retry(ContainerRetryPolicy::RetryOnAllErrors, Some(1))),
    ]
}

fn register_request() -> RegisterApplicationMasterRequest {
    RegisterApplicationMasterRequest {
        application_attempt_id: container(7, 1).application_attempt_id,
        am_rm_token: token(1),
        host: "node-0042.rack-17.example".to_owned(),
        rpc_port: 40_123,
        tracking_url: "http://node-0042.rack-17.example:4040".to_owned(),
        placement_constraints: Vec::new(),
    }
}

fn constraint() -> PlacementConstraintMapEntry {
    PlacementConstraintMapEntry {
        allocation_tags: vec!["hbase-rs".to_owned()],
        placement_constraint: "notin,node,hbase-rs".to_owned(),
    }
}

fn grant(sequence: u64, grant_number: u64) -> Container {
    Container {
        container_id: container(7, sequence),
        node: handle(),
        resource: Resource::new(4_096, 2),
        priority: 10,
        allocation_request_id: 3,
        grant_number,
        execution_type: ExecutionType::Guaranteed,
        version: 0,
        expires_at_ms: RM_IDENTIFIER + 660_000,
        token: token(3),
    }
}

fn nm_token() -> NmToken {
    NmToken {
        node: handle(),
        node_id: node_id(),
        http_port: 8_042,
        rack_name: "/rack-17".to_owned(),
        token: token(2),
    }
}

fn register_response() -> RegisterApplicationMasterResponse {
    let information =
        |name: &str, units: &str| ResourceTypeInfo { name: name.to_owned(), units: units.to_owned() };
    RegisterApplicationMasterResponse {
        attempt_handle: attempt_handle(),
        maximum_capability: with_gpus(262_144, 64),
        minimum_capability: Resource::new(1_024, 1),
        client_to_am_token_master_key: Some((0..32).collect()),
        application_acls: acls(),
        containers_from_previous_attempts: vec![grant(5, 1)],
        nm_tokens_from_previous_attempts: vec![nm_token()],
        queue: "root.etl.night".to_owned(),
        scheduler_resource_types: vec![SchedulerResourceTypes::Memory, SchedulerResourceTypes::Cpu],
        resource_types: vec![
            information("memory-mb", "Mi"),
            information("vcores", ""),
            information("yarn.io/gpu", ""),
        ],
        cluster_timestamp: RM_IDENTIFIER,
    }
}

fn register_response_minimal() -> RegisterApplicationMasterResponse {
    RegisterApplicationMasterResponse {
        minimum_capability: Resource::default(),
        maximum_capability: Resource::new(8_192, 4),
        client_to_am_token_master_key: None,
        application_acls: Vec::new(),
        containers_from_previous_attempts: Vec::new(),
        nm_tokens_from_previous_attempts: Vec::new(),
        queue: String::new(),
        scheduler_resource_types: Vec::new(),
        resource_types: Vec::new(),
        cluster_timestamp: 0,
        ..register_response()
    }
}

/// One ask in three levels, and one of every other kind.
pub(crate) fn asks() -> Vec<ResourceRequest> {
    let any = ResourceRequest {
        priority: 10,
        allocation_request_id: 3,
        resource_name: ResourceName::Any,
        capability: Resource::new(4_096, 2),
        num_containers: 20,
        relax_locality: true,
        node_label_expression: None,
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: false,
        grants_seen: Some(4),
    };
    let rack = ResourceName::Rack("/rack-17".to_owned());
    let host = ResourceName::Host("node-0042.rack-17.example".to_owned());
    vec![
        any.clone(),
        ResourceRequest { resource_name: rack, num_containers: 8, ..any.clone() },
        ResourceRequest { resource_name: host, num_containers: 8, relax_locality: false, ..any.clone() },
        // Another partition, plain absolute count, no id.
        ResourceRequest {
            priority: 1,
            allocation_request_id: -1,
            capability: with_gpus(16_384, 8),
            num_containers: 1,
            node_label_expression: Some("gpu".to_owned()),
            execution_type: ExecutionType::Opportunistic,
            enforce_execution_type: true,
            grants_seen: None,
            ..any.clone()
        },
        // The default partition by name, and a count that the ResourceManager refuses by name.
        ResourceRequest {
            priority: -5,
            num_containers: -1,
            node_label_expression: Some(String::new()),
            ..any
        },
    ]
}

fn scheduling_request() -> SchedulingRequest {
    SchedulingRequest {
        allocation_request_id: 12,
        priority: 2,
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: true,
        allocation_tags: vec!["hbase-rs".to_owned()],
        resource_sizing: ResourceSizing { num_allocations: 3, resources: Resource::new(2_048, 1) },
        placement_constraint: "notin,node,hbase-rs".to_owned(),
    }
}

fn update(update_type: ContainerUpdateType) -> UpdateContainerRequest {
    let is_of_size =
        matches!(update_type, ContainerUpdateType::IncreaseResource | ContainerUpdateType::DecreaseResource);
    UpdateContainerRequest {
        container_version: 1,
        container_id: container(7, 2),
        update_type,
        capability: is_of_size.then(|| Resource::new(8_192, 4)),
        execution_type: (!is_of_size).then_some(ExecutionType::Opportunistic),
    }
}

fn allocate_request() -> AllocateRequest {
    AllocateRequest {
        response_id: 41,
        events_seen: 17,
        progress: 0.25,
        asks: asks(),
        releases: vec![container(7, 2), later_container()],
        blacklist_additions: vec!["node-0013.rack-02.example".to_owned()],
        blacklist_removals: vec!["/rack-03".to_owned()],
        update_requests: vec![
            update(ContainerUpdateType::IncreaseResource),
            update(ContainerUpdateType::DecreaseResource),
            update(ContainerUpdateType::PromoteExecutionType),
            update(ContainerUpdateType::DemoteExecutionType),
        ],
        scheduling_requests: vec![scheduling_request()],
        tracking_url: Some("http://node-0042.rack-17.example:4040/new".to_owned()),
        am_rm_token: Some(token(1)),
    }
}

fn completed(sequence: u64, exit_status: i32, diagnostics: &str) -> CompletedContainer {
    CompletedContainer {
        container_id: container(7, sequence),
        state: ContainerState::Complete,
        exit_status,
        execution_type: ExecutionType::Guaranteed,
        capability: Resource::new(4_096, 2),
        diagnostics: diagnostics.to_owned().into(),
    }
}

/// The usual answer: two grants on a node that is new to the attempt, and one end.
fn allocate_response() -> AllocateResponse {
    AllocateResponse {
        response_id: 42,
        first_event: 18,
        allocated_containers: vec![grant(8, 5), grant(9, 6)],
        completed_container_statuses: vec![completed(3, 0, "")],
        headroom: Resource::new(1_048_576, 512),
        num_cluster_nodes: 9_990,
        application_priority: 4,
        nm_tokens: vec![nm_token()],
        details: None,
    }
}

fn updated_node(state: NodeState, update_type: NodeUpdateType) -> UpdatedNode {
    UpdatedNode {
        node: handle(),
        node_id: node_id(),
        state,
        update_type,
        http_port: 8_042,
        rack_name: "/rack-17".to_owned(),
        capability: with_gpus(262_144, 64),
        used: Resource::new(4_096, 2),
        num_containers: 1,
        health_report: String::new(),
        last_health_report_time_ms: RM_IDENTIFIER,
        node_labels: label_names(),
        decommissioning_remaining_ms: None,
    }
}

fn allocate_response_full() -> AllocateResponse {
    let error = |reason: &str, current_container_version| UpdateContainerError {
        reason: reason.to_owned(),
        update_request: update(ContainerUpdateType::IncreaseResource),
        current_container_version,
    };
    let grown = Container { version: 2, execution_type: ExecutionType::Opportunistic, ..grant(2, 1) };
    AllocateResponse {
        response_id: 0x7fff_ffff,
        completed_container_statuses: vec![
            completed(3, EXIT_STATUS_ABORTED, "Container released by application"),
            completed(4, -102, "Container preempted by scheduler"),
        ],
        details: Some(Box::new(AllocateDetails {
            updated_nodes: vec![
                updated_node(NodeState::Running, NodeUpdateType::NodeUsable),
                UpdatedNode {
                    health_report: "disk full".to_owned(),
                    ..updated_node(NodeState::Unhealthy, NodeUpdateType::NodeUnusable)
                },
                UpdatedNode {
                    decommissioning_remaining_ms: Some(3_599_000),
                    ..updated_node(NodeState::Decommissioning, NodeUpdateType::NodeDecommissioning)
                },
            ],
            am_rm_token: Some(token(4)),
            preempt: Some(PreemptionMessage {
                strict_contract: vec![container(7, 5)],
                contract: Some(PreemptionContract {
                    resources: asks().into_iter().take(1).collect(),
                    containers: vec![container(7, 6)],
                }),
            }),
            update_errors: vec![
                error("INCORRECT_CONTAINER_VERSION_ERROR", Some(2)),
                error("INVALID_CONTAINER_ID", None),
            ],
            updated_containers: vec![UpdatedContainer {
                update_type: ContainerUpdateType::DemoteExecutionType,
                container: grown,
            }],
            containers_from_previous_attempts: vec![grant(1, 1)],
            rejected_scheduling_requests: vec![
                RejectedSchedulingRequest {
                    reason: RejectionReason::CouldNotPlaceOnNode,
                    request: scheduling_request(),
                },
                RejectedSchedulingRequest {
                    reason: RejectionReason::CouldNotScheduleOnNode,
                    request: scheduling_request(),
                },
            ],
            enhanced_headroom: Some(EnhancedHeadroom {
                total_pending_count: 12_345,
                total_active_cores: 639_360,
            }),
            collector_info: Some(CollectorInfo {
                collector_addr: "node-0042.rack-17.example:8048".to_owned(),
                collector_token: b"opaque".to_vec(),
            }),
        })),
        ..allocate_response()
    }
}

/// Adds every case.
pub(crate) fn add(cases: &mut Cases) {
    let key = attempt_handle().0;
    let (request, response) = (Flags::REQUEST, Flags::RESPONSE);
    let mut with = |variant, flags, record: &dyn super::Golden| {
        let correlation_id = if flags == Flags::PUSH { 0 } else { CORRELATION_ID };
        cases.add(variant, flags, correlation_id, key, record);
    };

    with("normal", request, &register_request());
    let constrained = RegisterApplicationMasterRequest {
        host: String::new(),
        rpc_port: -1,
        tracking_url: String::new(),
        placement_constraints: vec![constraint()],
        ..register_request()
    };
    with("constrained", request, &constrained);
    with("full", response, &register_response());
    with("minimal", response, &register_response_minimal());

    with(
        "idle",
        request,
        &AllocateRequest { response_id: 40, events_seen: 17, progress: 0.125, ..Default::default() },
    );
    with("full", request, &allocate_request());
    let idle = AllocateResponse {
        allocated_containers: Vec::new(),
        completed_container_statuses: Vec::new(),
        nm_tokens: Vec::new(),
        ..allocate_response()
    };
    with("idle", response, &idle);
    with("grants", response, &allocate_response());
    with("full", response, &allocate_response_full());
    let quiet = AllocateDetails { preempt: Some(PreemptionMessage::default()), ..AllocateDetails::default() };
    with(
        "quiet",
        response,
        &AllocateResponse { details: Some(Box::new(AllocateDetails::default())), ..idle.clone() },
    );
    with("preempt", response, &AllocateResponse { details: Some(Box::new(quiet)), ..idle.clone() });
    // The response id is that of the last answer.
    let push = AllocateResponse { first_event: 21, allocated_containers: vec![grant(10, 7)], ..idle };
    with("grant", Flags::PUSH, &push);

    let finish = FinishApplicationMasterRequest {
        diagnostics: "all stages are done".to_owned(),
        tracking_url: "http://history.example:18080/7".to_owned(),
        final_application_status: FinalApplicationStatus::Succeeded,
        am_rm_token: Some(token(1)),
    };
    with("full", request, &finish);
    with("minimal", request, &FinishApplicationMasterRequest::default());
    with("done", response, &FinishApplicationMasterResponse { is_unregistered: true });
    with("again", response, &FinishApplicationMasterResponse { is_unregistered: false });

    let unknown = Reject::new(RejectCode::ApplicationMasterNotRegistered, "register first");
    with("unregistered", Flags::REJECT, &(Opcode::Allocate, unknown));
    let refused = Reject::new(
        RejectCode::InvalidResourceRequest,
        "LESS_THAN_ZERO: asks.num_containers is -1, accepted are 0 to 2147483647",
    );
    with("negative", Flags::REJECT, &(Opcode::Allocate, refused));
}

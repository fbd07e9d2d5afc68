//! Golden frames of the client protocol, but for the node queries: applications, containers, queues, labels, reasons.
//! Owns: their values. Called by: `golden.rs`. Thread: any.
//! Does not: change. A published frame keeps its bytes; a new shape gets a new opcode and a new case here.

use heddle_wire::application_client::*;
use heddle_wire::error::RejectCode;
use heddle_wire::record::*;
use heddle_wire::{Flags, Opcode, Reject};

use super::Cases;
use super::application_master::{asks, attempt_handle, launch_context, token};
use super::cases::{
    CORRELATION_ID, RM_IDENTIFIER, application, container, handle, label, label_names, later_container,
    node_id, with_gpus,
};

const ATTEMPT_STATES: [YarnApplicationAttemptState; 11] = [
    YarnApplicationAttemptState::New,
    YarnApplicationAttemptState::Submitted,
    YarnApplicationAttemptState::Scheduled,
    YarnApplicationAttemptState::AllocatedSaving,
    YarnApplicationAttemptState::Allocated,
    YarnApplicationAttemptState::Launched,
    YarnApplicationAttemptState::Failed,
    YarnApplicationAttemptState::Running,
    YarnApplicationAttemptState::Finishing,
    YarnApplicationAttemptState::Finished,
    YarnApplicationAttemptState::Killed,
];

const FINAL_STATUSES: [FinalApplicationStatus; 5] = [
    FinalApplicationStatus::Undefined,
    FinalApplicationStatus::Succeeded,
    FinalApplicationStatus::Failed,
    FinalApplicationStatus::Killed,
    FinalApplicationStatus::Ended,
];

const REASONS: [PendingReason; 16] = [
    PendingReason::NotConsidered,
    PendingReason::ApplicationNotActive,
    PendingReason::QueueLimit,
    PendingReason::UserLimit,
    PendingReason::AmLimit,
    PendingReason::UserAmLimit,
    PendingReason::QueueStopped,
    PendingReason::NoNodes,
    PendingReason::TooLarge,
    PendingReason::NoFreeCapacity,
    PendingReason::Locality,
    PendingReason::Blacklist,
    PendingReason::Reserved,
    PendingReason::LabelNotAccessible,
    PendingReason::Order,
    PendingReason::MaxParallelApplications,
];

fn submission() -> ApplicationSubmissionContext {
    ApplicationSubmissionContext {
        application_id: application(7),
        application_name: "nightly load of the warehouse".to_owned(),
        application_type: "SPARK".to_owned(),
        queue: "root.etl.night".to_owned(),
        priority: Some(3),
        am_container_spec: launch_context(),
        is_unmanaged_am: true,
        cancel_tokens_when_complete: true,
        max_app_attempts: 2,
        resource: Some(with_gpus(2_048, 1)),
        am_container_resource_requests: asks(),
        keep_containers_across_application_attempts: true,
        application_tags: vec!["nightly".to_owned(), "team:warehouse".to_owned()],
        attempt_failures_validity_interval_ms: Some(600_000),
        node_label_expression: Some("gpu".to_owned()),
        application_timeouts: vec![ApplicationTimeoutRequest {
            timeout_type: ApplicationTimeoutType::Lifetime,
            timeout_s: 86_400,
        }],
        application_scheduling_properties: vec![StringPair {
            key: "hint".to_owned(),
            value: "a value of more than eight bytes".to_owned(),
        }],
        log_aggregation_context: Some(LogAggregationContext {
            include_pattern: ".*".to_owned(),
            exclude_pattern: "core\\..*".to_owned(),
            rolled_logs_include_pattern: "stdout|stderr".to_owned(),
            rolled_logs_exclude_pattern: "gc.*".to_owned(),
            policy_class_name: "AllContainerLogAggregationPolicy".to_owned(),
            policy_parameters: "MR:0.5".to_owned(),
        }),
    }
}

fn submission_minimal() -> ApplicationSubmissionContext {
    ApplicationSubmissionContext {
        application_id: application(1),
        application_name: String::new(),
        application_type: String::new(),
        queue: String::new(),
        priority: None,
        am_container_spec: ContainerLaunchContext::default(),
        is_unmanaged_am: false,
        cancel_tokens_when_complete: false,
        max_app_attempts: 0,
        resource: None,
        am_container_resource_requests: Vec::new(),
        keep_containers_across_application_attempts: false,
        application_tags: Vec::new(),
        attempt_failures_validity_interval_ms: None,
        node_label_expression: None,
        application_timeouts: Vec::new(),
        application_scheduling_properties: Vec::new(),
        log_aggregation_context: None,
    }
}

fn report() -> ApplicationReport {
    let seconds = |name: &str, seconds| ResourceSeconds { name: name.to_owned(), seconds };
    ApplicationReport {
        application_id: application(7),
        current_application_attempt_id: Some(container(7, 1).application_attempt_id),
        user: "ada".to_owned(),
        queue: "root.etl.night".to_owned(),
        name: "nightly load of the warehouse".to_owned(),
        application_type: "SPARK".to_owned(),
        application_tags: vec!["nightly".to_owned()],
        state: YarnApplicationState::Running,
        final_application_status: FinalApplicationStatus::Undefined,
        progress: 0.5,
        host: "node-0042.rack-17.example".to_owned(),
        rpc_port: 40_123,
        tracking_url: "http://resourcemanager.example:8088/proxy/7".to_owned(),
        original_tracking_url: "http://node-0042.rack-17.example:4040".to_owned(),
        diagnostics: "running".to_owned(),
        submit_time_ms: RM_IDENTIFIER + 1,
        start_time_ms: RM_IDENTIFIER + 2,
        launch_time_ms: RM_IDENTIFIER + 3,
        finish_time_ms: RM_IDENTIFIER + 4,
        resource_usage: Some(Box::new(ApplicationResourceUsageReport {
            num_used_containers: 21,
            num_reserved_containers: 1,
            used_resources: with_gpus(86_016, 42),
            reserved_resources: Resource::new(4_096, 2),
            needed_resources: Resource::new(131_072, 64),
            queue_usage_percentage: 12.5,
            cluster_usage_percentage: 0.25,
            resource_seconds: vec![seconds("memory-mb", 123_456_789), seconds("vcores", 60_000)],
            preempted_resource_seconds: vec![seconds("memory-mb", 4_096)],
        })),
        log_aggregation_status: LogAggregationStatus::NotStart,
        is_unmanaged_am: true,
        priority: 3,
        app_node_label_expression: Some("gpu".to_owned()),
        am_node_label_expression: Some("am".to_owned()),
        application_timeouts: vec![
            ApplicationTimeout {
                timeout_type: ApplicationTimeoutType::Lifetime,
                expires_at_ms: Some(RM_IDENTIFIER + 86_400_000),
                remaining_ms: Some(86_000_000),
            },
            ApplicationTimeout {
                timeout_type: ApplicationTimeoutType::Lifetime,
                expires_at_ms: None,
                remaining_ms: None,
            },
        ],
        attempt_handle: Some(attempt_handle()),
        am_rm_token: Some(token(1)),
    }
}

/// What one sees who may not see the application.
fn report_sanitised(
    state: YarnApplicationState,
    final_application_status: FinalApplicationStatus,
) -> ApplicationReport {
    ApplicationReport {
        current_application_attempt_id: None,
        application_tags: Vec::new(),
        state,
        final_application_status,
        progress: 0.0,
        host: "N/A".to_owned(),
        rpc_port: -1,
        tracking_url: "N/A".to_owned(),
        original_tracking_url: "N/A".to_owned(),
        diagnostics: "N/A".to_owned(),
        resource_usage: None,
        is_unmanaged_am: false,
        app_node_label_expression: None,
        am_node_label_expression: None,
        application_timeouts: Vec::new(),
        attempt_handle: None,
        am_rm_token: None,
        ..report()
    }
}

fn attempt_report(state: YarnApplicationAttemptState) -> ApplicationAttemptReport {
    ApplicationAttemptReport {
        application_attempt_id: container(7, 1).application_attempt_id,
        state,
        am_container_id: (state != YarnApplicationAttemptState::New).then(|| container(7, 1)),
        host: "node-0042.rack-17.example".to_owned(),
        rpc_port: 40_123,
        tracking_url: "http://resourcemanager.example:8088/proxy/7".to_owned(),
        original_tracking_url: "http://node-0042.rack-17.example:4040".to_owned(),
        diagnostics: "AM container exited with 1".to_owned(),
        start_time_ms: RM_IDENTIFIER + 2,
        finish_time_ms: RM_IDENTIFIER + 4,
    }
}

fn container_report() -> ContainerReport {
    ContainerReport {
        container_id: container(7, 2),
        resource: Resource::new(4_096, 2),
        node_id: node_id(),
        node_http_port: 8_042,
        priority: 10,
        allocation_request_id: 3,
        execution_type: ExecutionType::Guaranteed,
        state: ContainerState::Running,
        exit_status: EXIT_STATUS_INVALID,
        partition: "gpu".to_owned(),
        creation_time_ms: RM_IDENTIFIER + 5,
        finish_time_ms: RM_IDENTIFIER + 6,
        diagnostics: "started".to_owned(),
        log_url: "http://node-0042.rack-17.example:8042/logs/7".to_owned(),
    }
}

fn queue_share() -> QueueConfigurations {
    QueueConfigurations {
        partition_name: "gpu".to_owned(),
        capacity: 0.4,
        absolute_capacity: 0.2,
        max_capacity: 0.75,
        absolute_max_capacity: 0.5,
        absolute_used_capacity: 0.125,
        max_am_share: 0.1,
        effective_min_capacity: with_gpus(209_715, 51),
        effective_max_capacity: with_gpus(524_288, 128),
        configured_min_capacity: Some(Resource::new(200_000, 50)),
        configured_max_capacity: Some(Resource::new(500_000, 128)),
        used: Resource::new(131_072, 32),
        reserved: Resource::new(4_096, 1),
        pending: Resource::new(8_192, 2),
        am_used: Resource::new(2_048, 1),
    }
}

fn queues() -> Vec<QueueInfo> {
    let etl = QueueInfo {
        queue_name: "etl".to_owned(),
        queue_path: "root.etl".to_owned(),
        parent: None,
        is_leaf: false,
        capacity: 0.4,
        maximum_capacity: 0.75,
        current_capacity: 1.25,
        weight: -1.0,
        state: QueueState::Running,
        accessible_node_labels: vec!["*".to_owned()],
        default_node_label_expression: Some("gpu".to_owned()),
        statistics: QueueStatistics {
            applications_submitted: 1_000,
            applications_running: 20,
            applications_pending: 3,
            applications_completed: 950,
            applications_killed: 20,
            applications_failed: 7,
            active_users: 5,
            allocated_containers: 4_000,
            pending_containers: 123,
            reserved_containers: 2,
            allocated: with_gpus(16_384_000, 8_000),
            available: Resource::new(1_000_000, 500),
            pending: Resource::new(503_808, 246),
            reserved: Resource::new(8_192, 4),
        },
        configurations: vec![
            queue_share(),
            QueueConfigurations { absolute_capacity: 0.4, ..QueueConfigurations::default() },
        ],
        is_preemption_disabled: true,
        is_intra_queue_preemption_disabled: true,
        max_applications: 10_000,
        max_parallel_applications: Some(100),
        priority: 2,
        minimum_user_limit_percent: 25.0,
        user_limit_factor: 1.0,
        ordering_policy: "priority-utilization".to_owned(),
    };
    let child = |name: &str, state| QueueInfo {
        queue_name: name.to_owned(),
        queue_path: format!("root.etl.{name}"),
        parent: Some(0),
        is_leaf: true,
        weight: 3.0,
        state,
        default_node_label_expression: None,
        max_parallel_applications: None,
        ordering_policy: "fifo".to_owned(),
        configurations: Vec::new(),
        ..etl.clone()
    };
    let below = QueueInfo {
        queue_path: "root.etl.night.late".to_owned(),
        parent: Some(1),
        ..child("late", QueueState::Running)
    };
    let night = QueueInfo { is_leaf: false, ..child("night", QueueState::Draining) };
    let children = [night, below, child("day", QueueState::Stopped)];
    [etl].into_iter().chain(children).collect()
}

fn pending_ask() -> PendingAsk {
    PendingAsk {
        priority: 10,
        allocation_request_id: 3,
        partition: "gpu".to_owned(),
        capability: Resource::new(4_096, 2),
        num_containers: 16,
        reason: PendingReason::QueueLimit,
        text: "queue root.etl at 100 % of its maximum 40 %: 812 of 812 GB".to_owned(),
        since_ms: 93_000,
        hosts: 2,
        racks: 1,
        relax_locality: true,
    }
}

fn explanation() -> ExplainApplicationResponse {
    let count = |reason: &PendingReason| ReasonCount { reason: *reason, asks: 2, containers: 32 };
    ExplainApplicationResponse {
        application_id: application(7),
        state: YarnApplicationState::Accepted,
        queue: "root.etl.night".to_owned(),
        application_reason: Some("queue root.etl.night: ApplicationMasters have 81 of 81 GB".to_owned()),
        partitions: vec![PartitionExplanation {
            partition: "gpu".to_owned(),
            used: Resource::new(86_016, 42),
            reserved: Resource::new(4_096, 2),
            pending: Resource::new(65_536, 32),
            user_used: Resource::new(90_112, 44),
            user_limit: Resource::new(209_715, 51),
            queue_used: Resource::new(831_488, 406),
            queue_guaranteed: Resource::new(415_744, 203),
            queue_maximum: Resource::new(831_488, 406),
            am_used: Resource::new(2_048, 1),
            am_limit: Resource::new(83_148, 40),
            nodes: 120,
            free: with_gpus(1_000_000, 500),
        }],
        summary: REASONS.iter().map(count).collect(),
        pending: vec![pending_ask()],
        pending_total: 32,
    }
}

fn applications(cases: &mut Cases) {
    let (request, response) = (Flags::REQUEST, Flags::RESPONSE);
    let mut with =
        |variant, flags, record: &dyn super::Golden| cases.add(variant, flags, CORRELATION_ID, 0, record);
    let id = application(7);
    let attempt = container(7, 1).application_attempt_id;

    with("", request, &GetNewApplicationRequest {});
    let new = GetNewApplicationResponse { application_id: id, maximum_capability: with_gpus(262_144, 64) };
    with("", response, &new);
    with("full", request, &SubmitApplicationRequest { application_submission_context: submission() });
    let minimal = SubmitApplicationRequest { application_submission_context: submission_minimal() };
    with("minimal", request, &minimal);
    with("", response, &SubmitApplicationResponse {});
    let diagnostics = Some("not needed any more".to_owned());
    with("reason", request, &KillApplicationRequest { application_id: id, diagnostics });
    with("bare", request, &KillApplicationRequest { application_id: id, diagnostics: None });
    with("done", response, &KillApplicationResponse { is_kill_completed: true });
    with("again", response, &KillApplicationResponse { is_kill_completed: false });
    with("", request, &FailApplicationAttemptRequest { application_attempt_id: attempt });
    with("", response, &FailApplicationAttemptResponse {});

    with("", request, &GetApplicationReportRequest { application_id: id });
    with("full", response, &GetApplicationReportResponse { application_report: report() });
    let sanitised = report_sanitised(YarnApplicationState::Accepted, FinalApplicationStatus::Undefined);
    with("sanitised", response, &GetApplicationReportResponse { application_report: sanitised });
    let all = GetApplicationsRequest {
        scope: ApplicationsRequestScope::Own,
        application_types: vec!["spark".to_owned()],
        application_states: YarnApplicationState::ALL.to_vec(),
        users: vec!["ada".to_owned()],
        queues: vec!["root.etl".to_owned(), "night".to_owned()],
        application_tags: vec!["nightly".to_owned()],
        name: Some("nightly load of the warehouse".to_owned()),
        start_begin_ms: Some(RM_IDENTIFIER),
        start_end_ms: Some(RM_IDENTIFIER + 1),
        finish_begin_ms: Some(RM_IDENTIFIER + 2),
        finish_end_ms: Some(RM_IDENTIFIER + 3),
        after: Some(application(6)),
        limit: 1_024,
    };
    with("full", request, &all);
    let first = GetApplicationsRequest { limit: 1, ..GetApplicationsRequest::default() };
    with("minimal", request, &first);
    let viewable = GetApplicationsRequest { scope: ApplicationsRequestScope::Viewable, ..first };
    with("viewable", request, &viewable);
    let states = YarnApplicationState::ALL.into_iter().zip(FINAL_STATUSES.into_iter().cycle());
    let applications = states.map(|(state, status)| report_sanitised(state, status)).collect();
    with("page", response, &GetApplicationsResponse { next: Some(application(7)), applications });
    with("end", response, &GetApplicationsResponse::default());
    let unknown = Reject::new(RejectCode::ApplicationNotFound, "application_1763625600000_0099 is not known");
    cases.add("unknown", Flags::REJECT, CORRELATION_ID, 0, &(Opcode::GetApplicationReport, unknown));
    let refused =
        Reject::new(RejectCode::ApplicationRejected, "queue root.etl holds queues, accepted is a leaf");
    cases.add("parent", Flags::REJECT, CORRELATION_ID, 0, &(Opcode::SubmitApplication, refused));
}

fn attempts_and_changes(cases: &mut Cases) {
    let (request, response) = (Flags::REQUEST, Flags::RESPONSE);
    let mut with =
        |variant, flags, record: &dyn super::Golden| cases.add(variant, flags, CORRELATION_ID, 0, record);
    let id = application(7);
    let attempt = container(7, 1).application_attempt_id;

    with("", request, &GetApplicationAttemptReportRequest { application_attempt_id: attempt });
    let application_attempt_report = attempt_report(YarnApplicationAttemptState::Running);
    with("", response, &GetApplicationAttemptReportResponse { application_attempt_report });
    with(
        "next",
        request,
        &GetApplicationAttemptsRequest { application_id: id, after: Some(attempt), limit: 256 },
    );
    with("first", request, &GetApplicationAttemptsRequest { application_id: id, after: None, limit: 1 });
    let application_attempts = ATTEMPT_STATES.map(attempt_report).to_vec();
    with("page", response, &GetApplicationAttemptsResponse { next: Some(attempt), application_attempts });
    with("end", response, &GetApplicationAttemptsResponse::default());

    let target_queue = "root.etl.day".to_owned();
    with("", request, &MoveApplicationAcrossQueuesRequest { application_id: id, target_queue });
    with("", response, &MoveApplicationAcrossQueuesResponse {});
    with("", request, &UpdateApplicationPriorityRequest { application_id: id, application_priority: 9 });
    with("", response, &UpdateApplicationPriorityResponse { application_priority: 5 });
    let application_timeouts = vec![ApplicationTimeoutUpdate {
        timeout_type: ApplicationTimeoutType::Lifetime,
        expires_at_ms: RM_IDENTIFIER + 86_400_000,
    }];
    let timeouts = application_timeouts.clone();
    with("", request, &UpdateApplicationTimeoutsRequest { application_id: id, application_timeouts });
    with("", response, &UpdateApplicationTimeoutsResponse { application_timeouts: timeouts });

    with("", request, &GetContainerReportRequest { container_id: container(7, 2) });
    with("", response, &GetContainerReportResponse { container_report: container_report() });
    let next =
        GetContainersRequest { application_attempt_id: attempt, after: Some(container(7, 2)), limit: 1_024 };
    with("next", request, &next);
    with("first", request, &GetContainersRequest { after: None, limit: 1, ..next });
    let containers =
        vec![container_report(), ContainerReport { container_id: later_container(), ..container_report() }];
    with("page", response, &GetContainersResponse { next: Some(later_container()), containers });
    with("end", response, &GetContainersResponse::default());
    let command = SignalContainerCommand::GracefulShutdown;
    with("", request, &SignalToContainerRequest { container_id: container(7, 2), command });
    with("", response, &SignalToContainerResponse {});
    with("", request, &GetResourceTypeInfoRequest {});
    let resource_types = vec![ResourceTypeInfo { name: "memory-mb".to_owned(), units: "Mi".to_owned() }];
    with("", response, &GetResourceTypeInfoResponse { resource_types });
    with("", request, &ExplainApplicationRequest { application_id: id, limit: 2_048 });
    with("waits", response, &explanation());
    let active = ExplainApplicationResponse {
        state: YarnApplicationState::Running,
        application_reason: None,
        partitions: Vec::new(),
        summary: Vec::new(),
        pending: Vec::new(),
        pending_total: 0,
        ..explanation()
    };
    with("nothing", response, &active);
}

fn queues_and_labels(cases: &mut Cases) {
    let (request, response) = (Flags::REQUEST, Flags::RESPONSE);
    let shard = NodeHandle::new(handle().shard(), 0, 0).0;
    let mut with = |variant, flags, key, record: &dyn super::Golden| {
        cases.add(variant, flags, CORRELATION_ID, key, record)
    };

    let tree = GetQueueInfoRequest {
        queue_name: "root.etl".to_owned(),
        include_child_queues: true,
        is_recursive: true,
        start: 1,
        limit: 512,
    };
    with("tree", request, 0, &tree);
    let one =
        GetQueueInfoRequest { include_child_queues: false, is_recursive: false, start: 0, limit: 1, ..tree };
    with("one", request, 0, &one);
    with("tree", response, 0, &GetQueueInfoResponse { next: Some(4), queues: queues() });
    with("unknown", response, 0, &GetQueueInfoResponse::default());
    with("", request, 0, &GetQueueUserAclsRequest { start: 2, limit: 512 });
    let acls =
        |queue_name: &str, user_acls| QueueUserAclInfo { queue_name: queue_name.to_owned(), user_acls };
    let both = vec![QueueAcl::SubmitApplications, QueueAcl::AdministerQueue];
    let queue_user_acls = vec![acls("root.etl.night", both), acls("root.adhoc", Vec::new())];
    with("page", response, 0, &GetQueueUserAclsResponse { next: Some(4), queue_user_acls });
    with("end", response, 0, &GetQueueUserAclsResponse::default());

    with("", request, shard, &GetNodeToLabelsRequest { start_row: 1_024, limit: 1_024 });
    let node_to_labels = vec![NodeIdToLabels { node_id: node_id(), node_labels: label_names() }];
    let page = GetNodeToLabelsResponse { shard_count: 4, next_row: Some(2_048), node_to_labels };
    with("page", response, shard, &page);
    with("end", response, shard, &GetNodeToLabelsResponse { shard_count: 4, ..Default::default() });
    let node_labels = label_names();
    with("", request, shard, &GetLabelsToNodesRequest { node_labels, start_row: 1_024, limit: 1_024 });
    let labels_to_nodes = vec![LabelToNodeIds { node_label: "gpu".to_owned(), node_ids: vec![node_id()] }];
    let page = GetLabelsToNodesResponse { shard_count: 4, next_row: Some(2_048), labels_to_nodes };
    with("page", response, shard, &page);
    with("end", response, shard, &GetLabelsToNodesResponse { shard_count: 4, ..Default::default() });
    with("", request, 0, &GetClusterNodeLabelsRequest {});
    let node_labels = vec![label("gpu", true), label("fast", false)];
    with("", response, 0, &GetClusterNodeLabelsResponse { node_labels });
}

/// Adds every case.
pub(crate) fn add(cases: &mut Cases) {
    applications(cases);
    attempts_and_changes(cases);
    queues_and_labels(cases);
}

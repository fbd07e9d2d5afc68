//! The lists behind [`super::Describe`]: every record with its fields, every enum with its variants.
//! Owns: those lists. Called by: `describe`. Thread: any.
//! Does not: trust itself. A field or variant that is missing in a list below does not compile.

use heddle_wire::Reject;
use heddle_wire::administration::*;
use heddle_wire::application_client::*;
use heddle_wire::application_master::*;
use heddle_wire::record::*;
use heddle_wire::resource_tracker::*;

use super::*;

bodies! {
    RegisterNodeManagerRequest RegisterNodeManagerResponse
    NodeHeartbeatRequest NodeHeartbeatResponse
    UnRegisterNodeManagerRequest UnRegisterNodeManagerResponse
    RegisterApplicationMasterRequest RegisterApplicationMasterResponse
    AllocateRequest AllocateResponse
    FinishApplicationMasterRequest FinishApplicationMasterResponse
    GetNewApplicationRequest GetNewApplicationResponse
    SubmitApplicationRequest SubmitApplicationResponse
    KillApplicationRequest KillApplicationResponse
    FailApplicationAttemptRequest FailApplicationAttemptResponse
    GetApplicationReportRequest GetApplicationReportResponse
    GetApplicationsRequest GetApplicationsResponse
    GetApplicationAttemptReportRequest GetApplicationAttemptReportResponse
    GetApplicationAttemptsRequest GetApplicationAttemptsResponse
    GetContainerReportRequest GetContainerReportResponse
    GetContainersRequest GetContainersResponse
    GetClusterMetricsRequest GetClusterMetricsResponse
    GetClusterNodesRequest GetClusterNodesResponse
    GetQueueInfoRequest GetQueueInfoResponse
    GetQueueUserAclsRequest GetQueueUserAclsResponse
    MoveApplicationAcrossQueuesRequest MoveApplicationAcrossQueuesResponse
    UpdateApplicationPriorityRequest UpdateApplicationPriorityResponse
    UpdateApplicationTimeoutsRequest UpdateApplicationTimeoutsResponse
    SignalToContainerRequest SignalToContainerResponse
    GetResourceTypeInfoRequest GetResourceTypeInfoResponse
    GetNodeToLabelsRequest GetNodeToLabelsResponse
    GetLabelsToNodesRequest GetLabelsToNodesResponse
    GetClusterNodeLabelsRequest GetClusterNodeLabelsResponse
    ExplainApplicationRequest ExplainApplicationResponse
    RefreshQueuesRequest RefreshQueuesResponse
    RefreshNodesRequest RefreshNodesResponse
    RefreshUserToGroupsMappingsRequest RefreshUserToGroupsMappingsResponse
    RefreshAdminAclsRequest RefreshAdminAclsResponse
    GetGroupsForUserRequest GetGroupsForUserResponse
    UpdateNodeResourceRequest UpdateNodeResourceResponse
    AddToClusterNodeLabelsRequest AddToClusterNodeLabelsResponse
    RemoveFromClusterNodeLabelsRequest RemoveFromClusterNodeLabelsResponse
    ReplaceLabelsOnNodesRequest ReplaceLabelsOnNodesResponse
    RefreshClusterMaxPriorityRequest RefreshClusterMaxPriorityResponse
    DecommissionNodesRequest DecommissionNodesResponse
    RecommissionNodesRequest RecommissionNodesResponse
}

records! {
    RegisterNodeManagerRequest {
        node_id, http_port, protocol_minor, features, rack_name, nm_version, capability, physical_resource,
        node_status, container_statuses, running_applications, node_labels, node_attributes,
        log_aggregation_reports,
    }
    RegisterNodeManagerResponse {
        node_action, node_handle, rm_identifier, rm_version, protocol_minor, features,
        heartbeat_interval_ms, next_heartbeat_ms, phase_ms, lease_ms, container_token_master_key,
        nm_token_master_key, capability, are_node_labels_accepted, are_node_attributes_accepted,
        diagnostics,
    }
    NodeHeartbeatRequest {
        node_handle, response_id, acknowledged_command, container_token_key_id, nm_token_key_id,
        token_sequence, containers_digest, is_full_report, is_continued, is_node_healthy,
        containers_utilization, node_utilization, container_statuses, details,
    }
    NodeHeartbeatDetails {
        health, keep_alive_applications, increased_containers, opportunistic_containers_status,
        node_labels, node_attributes, log_aggregation_reports, registering_collectors,
    }
    NodeHeartbeatResponse {
        response_id, heartbeat_interval_ms, next_heartbeat_ms, phase_ms, lease_ms, token_sequence,
        node_action, is_full_report_requested, are_node_labels_accepted, are_node_attributes_accepted,
        commands, updates,
    }
    NodeCommands {
        last_sequence, containers_to_cleanup, applications_to_cleanup, containers_to_be_removed_from_nm,
        containers_to_signal, containers_to_update, containers_to_launch,
    }
    NodeUpdates {
        container_token_master_key, nm_token_master_key, capability, container_queuing_limit,
        app_collectors, system_credentials, diagnostics,
    }
    UnRegisterNodeManagerRequest { node_handle, reason }
    UnRegisterNodeManagerResponse { was_known }
    RegisterApplicationMasterRequest {
        application_attempt_id, am_rm_token, host, rpc_port, tracking_url, placement_constraints,
    }
    RegisterApplicationMasterResponse {
        attempt_handle, maximum_capability, minimum_capability, client_to_am_token_master_key,
        application_acls, containers_from_previous_attempts, nm_tokens_from_previous_attempts, queue,
        scheduler_resource_types, resource_types, cluster_timestamp,
    }
    AllocateRequest {
        response_id, events_seen, progress, asks, releases, blacklist_additions, blacklist_removals,
        update_requests, scheduling_requests, tracking_url, am_rm_token,
    }
    AllocateResponse {
        response_id, first_event, allocated_containers, completed_container_statuses, headroom,
        num_cluster_nodes, application_priority, nm_tokens, details,
    }
    AllocateDetails {
        updated_nodes, am_rm_token, preempt, update_errors, updated_containers,
        containers_from_previous_attempts, rejected_scheduling_requests, enhanced_headroom, collector_info,
    }
    FinishApplicationMasterRequest { diagnostics, tracking_url, final_application_status, am_rm_token }
    FinishApplicationMasterResponse { is_unregistered }
    GetClusterNodesRequest { node_states, node_ids, start_row, limit }
    GetClusterNodesResponse { shard_count, next_row, nodes }
    GetClusterMetricsRequest {}
    GetClusterMetricsResponse {
        shard_count, nodes_by_state, suspect_nodes, is_brake_engaged, running_containers, capability,
        rm_identifier, rm_version,
    }
    GetNewApplicationRequest {}
    GetNewApplicationResponse { application_id, maximum_capability }
    SubmitApplicationRequest { application_submission_context }
    SubmitApplicationResponse {}
    KillApplicationRequest { application_id, diagnostics }
    KillApplicationResponse { is_kill_completed }
    FailApplicationAttemptRequest { application_attempt_id }
    FailApplicationAttemptResponse {}
    GetApplicationReportRequest { application_id }
    GetApplicationReportResponse { application_report }
    GetApplicationsRequest {
        scope, application_types, application_states, users, queues, application_tags, name,
        start_begin_ms, start_end_ms, finish_begin_ms, finish_end_ms, after, limit,
    }
    GetApplicationsResponse { next, applications }
    GetApplicationAttemptReportRequest { application_attempt_id }
    GetApplicationAttemptReportResponse { application_attempt_report }
    GetApplicationAttemptsRequest { application_id, after, limit }
    GetApplicationAttemptsResponse { next, application_attempts }
    MoveApplicationAcrossQueuesRequest { application_id, target_queue }
    MoveApplicationAcrossQueuesResponse {}
    UpdateApplicationPriorityRequest { application_id, application_priority }
    UpdateApplicationPriorityResponse { application_priority }
    UpdateApplicationTimeoutsRequest { application_id, application_timeouts }
    UpdateApplicationTimeoutsResponse { application_timeouts }
    GetContainerReportRequest { container_id }
    GetContainerReportResponse { container_report }
    GetContainersRequest { application_attempt_id, after, limit }
    GetContainersResponse { next, containers }
    SignalToContainerRequest { container_id, command }
    SignalToContainerResponse {}
    GetResourceTypeInfoRequest {}
    GetResourceTypeInfoResponse { resource_types }
    ExplainApplicationRequest { application_id, limit }
    ExplainApplicationResponse {
        application_id, state, queue, application_reason, partitions, summary, pending, pending_total,
    }
    GetQueueInfoRequest { queue_name, include_child_queues, is_recursive, start, limit }
    GetQueueInfoResponse { next, queues }
    GetQueueUserAclsRequest { start, limit }
    GetQueueUserAclsResponse { next, queue_user_acls }
    GetNodeToLabelsRequest { start_row, limit }
    GetNodeToLabelsResponse { shard_count, next_row, node_to_labels }
    GetLabelsToNodesRequest { node_labels, start_row, limit }
    GetLabelsToNodesResponse { shard_count, next_row, labels_to_nodes }
    GetClusterNodeLabelsRequest {}
    GetClusterNodeLabelsResponse { node_labels }
    RefreshNodesRequest { decommission_type, decommission_timeout_s }
    RefreshNodesResponse { included_hosts, excluded_hosts, affected_nodes }
    DecommissionNodesRequest { node_ids, decommission_type, decommission_timeout_s }
    DecommissionNodesResponse { shard_count, affected_nodes }
    RecommissionNodesRequest { node_ids }
    RecommissionNodesResponse { shard_count, affected_nodes }
    RefreshQueuesRequest {}
    RefreshQueuesResponse { queues, added_queues, removed_queues, changed_queues, warnings }
    RefreshAdminAclsRequest {}
    RefreshAdminAclsResponse {}
    RefreshClusterMaxPriorityRequest {}
    RefreshClusterMaxPriorityResponse { cluster_max_priority }
    RefreshUserToGroupsMappingsRequest {}
    RefreshUserToGroupsMappingsResponse {}
    GetGroupsForUserRequest { user }
    GetGroupsForUserResponse { groups }
    NodeResource { node_id, capability, over_commit_timeout_ms }
    UpdateNodeResourceRequest { node_resources }
    UpdateNodeResourceResponse { affected_nodes }
    AddToClusterNodeLabelsRequest { node_labels }
    AddToClusterNodeLabelsResponse { added_labels }
    RemoveFromClusterNodeLabelsRequest { node_labels }
    RemoveFromClusterNodeLabelsResponse { removed_labels, affected_nodes }
    ReplaceLabelsOnNodesRequest { node_to_labels, fail_on_unknown_nodes }
    ReplaceLabelsOnNodesResponse { affected_nodes }
    Reject { code, retry_after_ms, message }
    ApplicationAcl { access_type, acl }
    ApplicationTimeoutRequest { timeout_type, timeout_s }
    ApplicationTimeoutUpdate { timeout_type, expires_at_ms }
    ApplicationTimeout { timeout_type, expires_at_ms, remaining_ms }
    LogAggregationContext {
        include_pattern, exclude_pattern, rolled_logs_include_pattern, rolled_logs_exclude_pattern,
        policy_class_name, policy_parameters,
    }
    ApplicationSubmissionContext {
        application_id, application_name, application_type, queue, priority, am_container_spec,
        is_unmanaged_am, cancel_tokens_when_complete, max_app_attempts, resource,
        am_container_resource_requests, keep_containers_across_application_attempts, application_tags,
        attempt_failures_validity_interval_ms, node_label_expression, application_timeouts,
        application_scheduling_properties, log_aggregation_context,
    }
    ResourceSeconds { name, seconds }
    ApplicationResourceUsageReport {
        num_used_containers, num_reserved_containers, used_resources, reserved_resources, needed_resources,
        queue_usage_percentage, cluster_usage_percentage, resource_seconds, preempted_resource_seconds,
    }
    ApplicationReport {
        application_id, current_application_attempt_id, user, queue, name, application_type,
        application_tags, state, final_application_status, progress, host, rpc_port, tracking_url,
        original_tracking_url, diagnostics, submit_time_ms, start_time_ms, launch_time_ms, finish_time_ms,
        resource_usage, log_aggregation_status, is_unmanaged_am, priority, app_node_label_expression,
        am_node_label_expression, application_timeouts, attempt_handle, am_rm_token,
    }
    ApplicationAttemptReport {
        application_attempt_id, state, am_container_id, host, rpc_port, tracking_url,
        original_tracking_url, diagnostics, start_time_ms, finish_time_ms,
    }
    ContainerReport {
        container_id, resource, node_id, node_http_port, priority, allocation_request_id, execution_type,
        state, exit_status, partition, creation_time_ms, finish_time_ms, diagnostics, log_url,
    }
    ResourceRequest {
        priority, allocation_request_id, resource_name, capability, num_containers, relax_locality,
        node_label_expression, execution_type, enforce_execution_type, grants_seen,
    }
    ResourceSizing { num_allocations, resources }
    SchedulingRequest {
        allocation_request_id, priority, execution_type, enforce_execution_type, allocation_tags,
        resource_sizing, placement_constraint,
    }
    PlacementConstraintMapEntry { allocation_tags, placement_constraint }
    RejectedSchedulingRequest { reason, request }
    UpdateContainerRequest { container_version, container_id, update_type, capability, execution_type }
    UpdateContainerError { reason, update_request, current_container_version }
    UpdatedContainer { update_type, container }
    ContainerStatus {
        container_id, state, sub_state, execution_type, exit_status, capability, diagnostics, attributes,
    }
    StringPair { key, value }
    NmContainerStatus {
        container_id, container_state, execution_type, exit_status, capability, priority, creation_time_ms,
        version, allocation_request_id, node_label_expression, allocation_tags, diagnostics,
    }
    ContainersDigest { count, hash }
    SignalContainer { sequence, container_id, command }
    ContainerUpdate { container_id, version, capability, execution_type }
    LogAggregationReport { application_id, status, diagnostics }
    PendingAsk {
        priority, allocation_request_id, partition, capability, num_containers, reason, text, since_ms,
        hosts, racks, relax_locality,
    }
    ReasonCount { reason, asks, containers }
    PartitionExplanation {
        partition, used, reserved, pending, user_used, user_limit, queue_used, queue_guaranteed,
        queue_maximum, am_used, am_limit, nodes, free,
    }
    Container {
        container_id, node, resource, priority, allocation_request_id, grant_number, execution_type,
        version, expires_at_ms, token,
    }
    CompletedContainer { container_id, state, exit_status, execution_type, capability, diagnostics }
    UpdatedNode {
        node, node_id, state, update_type, http_port, rack_name, capability, used, num_containers,
        health_report, last_health_report_time_ms, node_labels, decommissioning_remaining_ms,
    }
    PreemptionMessage { strict_contract, contract }
    PreemptionContract { resources, containers }
    EnhancedHeadroom { total_pending_count, total_active_cores }
    CollectorInfo { collector_addr, collector_token }
    ApplicationId { cluster_timestamp, id }
    ApplicationAttemptId { application_id, attempt_id }
    ContainerId { application_attempt_id, container_id }
    NodeId { host, port }
    NodeIdToLabels { node_id, node_labels }
    LabelToNodeIds { node_label, node_ids }
    LocalResource {
        key, url, size, timestamp_ms, resource_type, visibility, pattern,
        should_be_uploaded_to_shared_cache,
    }
    ContainerRetryContext {
        retry_policy, error_codes, max_retries, retry_interval_ms, failures_validity_interval_ms,
    }
    ServiceData { key, value }
    ContainerLaunchContext {
        commands, environment, local_resources, service_data, tokens, application_acls,
        container_retry_context,
    }
    ContainerLaunch {
        sequence, container_id, attempt_handle, user, resource, priority, token, expires_at_ms,
        am_rm_token, launch_context,
    }
    NodeHealthStatus { is_node_healthy, last_health_report_time_ms, health_report }
    NodeLabel { name, is_exclusive }
    NodeAttribute { prefix, name, value }
    MasterKey { key_id, bytes }
    AppCollectorData { application_id, collector_addr, rm_identifier, version }
    SystemCredentials { application_id, credentials }
    ContainerQueuingLimit { max_queue_length, max_queue_wait_time_ms }
    OpportunisticContainersStatus {
        running_containers, memory_used_mb, virtual_cores_used, queued_containers, wait_queue_length,
        estimated_queue_wait_time_ms, queue_capacity,
    }
    NodeReport {
        node_id, handle, http_port, rack_name, state, is_suspect, node_class, last_seen_ms, used,
        capability, running_containers, running_applications, health_report, last_health_report_time_ms,
        node_labels, node_attributes, containers_utilization, node_utilization, nm_version,
        decommissioning_remaining_ms, decommissioning_blocked_by,
    }
    QueueConfigurations {
        partition_name, capacity, absolute_capacity, max_capacity, absolute_max_capacity,
        absolute_used_capacity, max_am_share, effective_min_capacity, effective_max_capacity,
        configured_min_capacity, configured_max_capacity, used, reserved, pending, am_used,
    }
    QueueStatistics {
        applications_submitted, applications_running, applications_pending, applications_completed,
        applications_killed, applications_failed, active_users, allocated_containers, pending_containers,
        reserved_containers, allocated, available, pending, reserved,
    }
    QueueInfo {
        queue_name, queue_path, parent, is_leaf, capacity, maximum_capacity, current_capacity, weight,
        state, accessible_node_labels, default_node_label_expression, statistics, configurations,
        is_preemption_disabled, is_intra_queue_preemption_disabled, max_applications,
        max_parallel_applications, priority, minimum_user_limit_percent, user_limit_factor,
        ordering_policy,
    }
    QueueUserAclInfo { queue_name, user_acls }
    Resource { memory_mb, virtual_cores, extended }
    ResourceInformation { name, value, units }
    ResourceTypeInfo { name, units }
    ResourceUtilization { physical_memory_mb, virtual_memory_mb, cpu_millicores }
    TokenMac { key_id, mac }
    NmToken { node, node_id, http_port, rack_name, token }
}

enums! {
    ApplicationsRequestScope { All, Viewable, Own }
    DecommissionType { Normal, Graceful, Forceful }
    YarnApplicationState { New, NewSaving, Submitted, Accepted, Running, Finished, Failed, Killed }
    YarnApplicationAttemptState {
        New, Submitted, Scheduled, AllocatedSaving, Allocated, Launched, Failed, Running, Finishing,
        Finished, Killed
    }
    FinalApplicationStatus { Undefined, Succeeded, Failed, Killed, Ended }
    ApplicationAccessType { ViewApp, ModifyApp }
    ApplicationTimeoutType { Lifetime }
    RejectionReason { CouldNotPlaceOnNode, CouldNotScheduleOnNode }
    ContainerUpdateType { IncreaseResource, DecreaseResource, PromoteExecutionType, DemoteExecutionType }
    ContainerState { New, Running, Complete }
    ContainerSubState { Scheduled, Running, Paused, Completing, Done }
    ExecutionType { Guaranteed, Opportunistic }
    SignalContainerCommand { OutputThreadDump, GracefulShutdown, ForcefulShutdown }
    LogAggregationStatus { Disabled, NotStart, Running, Succeeded, Failed, TimeOut, RunningWithFailure }
    PendingReason {
        NotConsidered, ApplicationNotActive, QueueLimit, UserLimit, AmLimit, UserAmLimit, QueueStopped,
        NoNodes, TooLarge, NoFreeCapacity, Locality, Blacklist, Reserved, LabelNotAccessible, Order,
        MaxParallelApplications
    }
    NodeUpdateType { NodeUsable, NodeUnusable, NodeDecommissioning }
    LocalResourceVisibility { Public, Private, Application }
    LocalResourceType { Archive, File, Pattern }
    ContainerRetryPolicy { NeverRetry, RetryOnAllErrors, RetryOnSpecificErrorCodes }
    NodeAction { Normal, Resync, Shutdown }
    NodeState { New, Running, Unhealthy, Decommissioned, Lost, Rebooted, Decommissioning, Shutdown }
    QueueState { Stopped, Running, Draining }
    QueueAcl { SubmitApplications, AdministerQueue }
    SchedulerResourceTypes { Memory, Cpu }
}

unions! {
    ResourceName { Any, Rack(String), Host(String) }
}

//! The largest records that the limits allow are frames: the sums in `limits.rs`, held against real archives.
//! Owns: those records. Called by: `cargo test`. Thread: any.
//! Does not: repeat the checks of what peers send (see `records.rs`); answers are ours to keep small.
//! Invariant tested: whoever fills an answer up to its limits need not fear that it becomes no frame.

use heddle_wire::application_client::{
    ExplainApplicationResponse, KillApplicationRequest, SubmitApplicationRequest,
};
use heddle_wire::application_master::{
    AllocateDetails, AllocateRequest, AllocateResponse, FinishApplicationMasterRequest,
    RegisterApplicationMasterResponse,
};
use heddle_wire::limits::*;
use heddle_wire::record::*;
use heddle_wire::resource_tracker::{NodeCommands, NodeHeartbeatResponse};
use heddle_wire::{AnyMessage, DecodeError, Flags, HEADER_SIZE, WriteMessage, decode, try_write_frame};

const HANDLE: AttemptHandle = AttemptHandle::new(1, 2, 3);
const NODE: NodeHandle = NodeHandle::new(1, 2, 3);
const TOKEN: TokenMac = TokenMac { key_id: 1, mac: [7; 32] };

const fn container_id(container_id: u64) -> ContainerId {
    let application_id = ApplicationId { cluster_timestamp: 1_763_625_600_000, id: 7 };
    ContainerId {
        application_attempt_id: ApplicationAttemptId { application_id, attempt_id: 1 },
        container_id,
    }
}

/// Two extended types, as on a cluster with accelerators.
fn resource() -> Resource {
    let information =
        |name: &str| ResourceInformation { name: name.to_owned(), value: 8, units: String::new() };
    Resource {
        memory_mb: 4_096,
        virtual_cores: 2,
        extended: vec![information("yarn.io/gpu"), information("yarn.io/fpga")],
    }
}

fn grant(resource: Resource) -> Container {
    Container {
        container_id: container_id(1),
        node: NODE,
        resource,
        priority: 1,
        allocation_request_id: -1,
        grant_number: 1,
        execution_type: ExecutionType::Guaranteed,
        version: 0,
        expires_at_ms: 1,
        token: TOKEN,
    }
}

fn nm_token() -> NmToken {
    NmToken {
        node: NODE,
        node_id: NodeId::new("node-0042.rack-17.datacenter-3.example", 45_454),
        http_port: 8_042,
        rack_name: "/datacenter-3/rack-17".to_owned(),
        token: TOKEN,
    }
}

fn body_size<M>(record: &M) -> usize
where
    M: WriteMessage,
{
    let mut bytes = Vec::new();
    let flags = if M::IS_RESPONSE { Flags::RESPONSE } else { Flags::REQUEST };
    try_write_frame(&mut bytes, flags, 1, 2, record).expect("it is a frame") - HEADER_SIZE
}

#[test]
fn a_sign_of_life_and_its_answer_are_small() {
    // An ApplicationMaster polls every second, and most of the time neither side has something to say.
    assert!(body_size(&AllocateRequest::default()) <= 120);
    assert!(body_size(&AllocateResponse::default()) <= 80);
    let one =
        AllocateResponse { allocated_containers: vec![grant(Resource::new(1, 1))], ..Default::default() };
    assert!(body_size(&one) - body_size(&AllocateResponse::default()) <= 128, "{}", body_size(&one));
}

#[test]
fn a_full_answer_to_allocate_is_a_frame() {
    let completed = CompletedContainer {
        container_id: container_id(1),
        state: ContainerState::Complete,
        exit_status: 1,
        execution_type: ExecutionType::Guaranteed,
        capability: resource(),
        diagnostics: "x".repeat(256).into(),
    };
    let updated_node = UpdatedNode {
        node: NODE,
        node_id: NodeId::new("node-0042.rack-17.datacenter-3.example", 45_454),
        state: NodeState::Unhealthy,
        update_type: NodeUpdateType::NodeUnusable,
        http_port: 8_042,
        rack_name: "/datacenter-3/rack-17".to_owned(),
        capability: resource(),
        used: resource(),
        num_containers: 1,
        health_report: "x".repeat(128),
        last_health_report_time_ms: 1,
        node_labels: vec!["accelerators".to_owned()],
        decommissioning_remaining_ms: None,
    };
    let response = AllocateResponse {
        allocated_containers: vec![grant(resource()); GRANTS_PER_ANSWER_MAX],
        completed_container_statuses: vec![completed; COMPLETIONS_PER_ANSWER_MAX],
        nm_tokens: vec![nm_token(); GRANTS_PER_ANSWER_MAX],
        details: Some(Box::new(AllocateDetails {
            updated_nodes: vec![updated_node; UPDATED_NODES_MAX],
            ..AllocateDetails::default()
        })),
        ..AllocateResponse::default()
    };
    assert!(body_size(&response) <= BODY_MAX as usize);
}

#[test]
fn a_registration_that_inherits_is_a_frame() {
    let response = RegisterApplicationMasterResponse {
        attempt_handle: HANDLE,
        maximum_capability: resource(),
        minimum_capability: resource(),
        client_to_am_token_master_key: None,
        application_acls: Vec::new(),
        containers_from_previous_attempts: vec![grant(Resource::new(1, 1)); RETAINED_CONTAINERS_MAX],
        nm_tokens_from_previous_attempts: vec![nm_token(); RETAINED_NODES_MAX],
        queue: "q".repeat(QUEUE_PATH_MAX),
        scheduler_resource_types: Vec::new(),
        resource_types: Vec::new(),
        cluster_timestamp: 1,
    };
    assert!(body_size(&response) <= BODY_MAX as usize);
}

fn launch(launch_context: ContainerLaunchContext) -> ContainerLaunch {
    ContainerLaunch {
        sequence: 1,
        container_id: container_id(1),
        attempt_handle: HANDLE,
        user: "u".repeat(NAME_MAX),
        resource: resource(),
        priority: 0,
        token: TOKEN,
        expires_at_ms: 1,
        am_rm_token: TOKEN,
        launch_context,
    }
}

/// Just as large as a launch context may be: many small parts, which have the largest overhead.
fn largest_context() -> ContainerLaunchContext {
    let mut context = ContainerLaunchContext::default();
    while context.size() + 600 < LAUNCH_CONTEXT_MAX && context.environment.len() < LAUNCH_ENVIRONMENT_MAX {
        let key = format!("VARIABLE_{}", context.environment.len());
        context.environment.push(StringPair { key, value: "a value".to_owned() });
    }
    let rest = LAUNCH_CONTEXT_MAX - context.size();
    context.tokens = vec![0; rest];
    assert_eq!(context.size(), LAUNCH_CONTEXT_MAX);
    context
}

fn submission(am_container_spec: ContainerLaunchContext) -> SubmitApplicationRequest {
    SubmitApplicationRequest {
        application_submission_context: ApplicationSubmissionContext {
            application_id: container_id(1).application_id(),
            application_name: "n".repeat(APPLICATION_NAME_MAX),
            application_type: "SPARK".to_owned(),
            queue: "q".repeat(QUEUE_PATH_MAX),
            priority: None,
            am_container_spec,
            is_unmanaged_am: false,
            cancel_tokens_when_complete: true,
            max_app_attempts: 0,
            resource: Some(resource()),
            am_container_resource_requests: Vec::new(),
            keep_containers_across_application_attempts: false,
            application_tags: vec!["t".repeat(APPLICATION_TAG_MAX); APPLICATION_TAGS_MAX],
            attempt_failures_validity_interval_ms: None,
            node_label_expression: None,
            application_timeouts: Vec::new(),
            application_scheduling_properties: Vec::new(),
            log_aggregation_context: None,
        },
    }
}

fn read(request: &SubmitApplicationRequest) -> Result<(), DecodeError> {
    let mut bytes = Vec::new();
    try_write_frame(&mut bytes, Flags::REQUEST, 1, 0, request).expect("it is a frame");
    let frame = heddle_wire::frame::Frame::from_slice(&bytes).expect("a frame just written");
    AnyMessage::read(&frame).map(|_| ())
}

#[test]
fn a_launch_context_is_limited_as_a_whole_and_what_is_accepted_reaches_the_node() {
    let mut context = largest_context();
    assert_eq!(read(&submission(context.clone())), Ok(()));
    // What was accepted goes out with as many commands of the other kinds as one answer has.
    let response = NodeHeartbeatResponse {
        commands: Some(Box::new(NodeCommands {
            containers_to_cleanup: vec![container_id(1); COMMANDS_PER_ANSWER_MAX],
            applications_to_cleanup: vec![container_id(1).application_id(); COMMANDS_PER_ANSWER_MAX],
            containers_to_be_removed_from_nm: vec![container_id(1); COMMANDS_PER_ANSWER_MAX],
            containers_to_launch: vec![
                launch(context.clone());
                LAUNCH_BYTES_PER_ANSWER_MAX / LAUNCH_CONTEXT_MAX
            ],
            ..NodeCommands::default()
        })),
        ..NodeHeartbeatResponse::default()
    };
    assert!(body_size(&response) <= HEARTBEAT_BODY_MAX as usize);
    context.tokens.push(0);
    let found = LAUNCH_CONTEXT_MAX + 1;
    let accepted = LAUNCH_CONTEXT_MAX;
    assert_eq!(
        read(&submission(context)),
        Err(DecodeError::TooLong { field: "launch_context", found, accepted })
    );
}

#[test]
fn the_size_of_a_launch_context_is_at_least_its_bytes() {
    let files = |key: &str| LocalResource {
        key: key.to_owned(),
        url: "hdfs://namenode.example/file".to_owned(),
        pattern: "classes/.*".to_owned(),
        ..LocalResource::default()
    };
    let acl =
        ApplicationAcl { access_type: ApplicationAccessType::ViewApp, acl: "a user and a group".to_owned() };
    let context = ContainerLaunchContext {
        commands: vec!["exec ./launch.sh".to_owned(), "short".to_owned()],
        environment: vec![StringPair { key: "A_LONG_VARIABLE".to_owned(), value: "v".repeat(500) }],
        local_resources: vec![files("a"), files("a file of more than eight bytes")],
        service_data: vec![ServiceData { key: "shuffle".to_owned(), value: vec![1; 40] }],
        tokens: vec![1; 99],
        application_acls: vec![acl],
        container_retry_context: Some(ContainerRetryContext {
            error_codes: vec![1, 2, 3],
            ..ContainerRetryContext::default()
        }),
    };
    for context in [context, ContainerLaunchContext::default(), largest_context()] {
        let bytes = rkyv::to_bytes::<rkyv::rancor::BoxedError>(&context).expect("it serialises");
        assert!(context.size() >= bytes.len(), "{} bytes, {} said", bytes.len(), context.size());
        let archived = rkyv::access::<ArchivedContainerLaunchContext, rkyv::rancor::BoxedError>(&bytes);
        assert_eq!(archived.expect("just written").size(), context.size());
    }
}

#[test]
fn a_full_explanation_is_a_frame() {
    let ask = PendingAsk {
        priority: 1,
        allocation_request_id: 1,
        partition: "accelerators".to_owned(),
        capability: resource(),
        num_containers: 1,
        reason: PendingReason::QueueLimit,
        text: "x".repeat(100),
        since_ms: 1,
        hosts: 0,
        racks: 0,
        relax_locality: true,
    };
    let response = ExplainApplicationResponse {
        application_id: container_id(1).application_id(),
        state: YarnApplicationState::Running,
        queue: String::new(),
        application_reason: None,
        partitions: Vec::new(),
        summary: Vec::new(),
        pending: vec![ask; PENDING_ASKS_PER_ANSWER_MAX as usize],
        pending_total: 1,
    };
    assert!(body_size(&response) <= BODY_MAX as usize);
}

#[test]
fn the_longest_last_word_is_a_frame() {
    let finish = FinishApplicationMasterRequest {
        diagnostics: "x".repeat(DIAGNOSTICS_MAX),
        tracking_url: "u".repeat(URL_MAX),
        final_application_status: FinalApplicationStatus::Failed,
        am_rm_token: Some(TOKEN),
    };
    assert!(body_size(&finish) <= DIAGNOSTICS_BODY_MAX as usize);
    let kill = KillApplicationRequest {
        application_id: container_id(1).application_id(),
        diagnostics: Some(finish.diagnostics),
    };
    assert!(body_size(&kill) <= DIAGNOSTICS_BODY_MAX as usize);
}

#[test]
fn a_negative_count_is_readable_and_a_negative_amount_cannot_be_written() {
    let ask = ResourceRequest {
        priority: -1,
        allocation_request_id: -1,
        resource_name: ResourceName::Any,
        capability: Resource::new(0, 0),
        num_containers: i32::MIN,
        relax_locality: true,
        node_label_expression: None,
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: false,
        grants_seen: None,
    };
    let request = AllocateRequest { asks: vec![ask], progress: f32::NAN, ..AllocateRequest::default() };
    let mut bytes = Vec::new();
    try_write_frame(&mut bytes, Flags::REQUEST, 1, HANDLE.0, &request).expect("it is a frame");
    // The scheduler names both: one with a code of its own, the other is taken as 0.
    let read: AllocateRequest = decode(&bytes[HEADER_SIZE..]).expect("it is readable");
    assert_eq!(read.asks[0].num_containers, i32::MIN);
    assert!(read.progress.is_nan());
    assert!(
        heddle_wire::access::<AllocateRequest>(&bytes[HEADER_SIZE..])
            .is_ok_and(|request| request.check().is_ok())
    );
}

//! Values of requests that are refused by name: ranges and forms, beside the lengths of `records.rs`.
//! Owns: one case per range and form of the client and administration protocols. Called by: `cargo test`. Thread: any.
//! Does not: repeat what the cluster decides: whether a queue exists, whether a size may be granted.

use heddle_wire::administration::{AddToClusterNodeLabelsRequest, NodeResource, UpdateNodeResourceRequest};
use heddle_wire::application_client::*;
use heddle_wire::frame::Frame;
use heddle_wire::limits::*;
use heddle_wire::record::*;
use heddle_wire::resource_tracker::MEMORY_MB_MAX;
use heddle_wire::{AnyMessage, DecodeError, Flags, WriteMessage, try_write_frame};

const APPLICATION: ApplicationId = ApplicationId { cluster_timestamp: 1_763_625_600_000, id: 7 };

fn read<M>(request: &M) -> Result<(), DecodeError>
where
    M: WriteMessage,
{
    let mut bytes = Vec::new();
    try_write_frame(&mut bytes, Flags::REQUEST, 1, 0, request).expect("it is a frame");
    AnyMessage::read(&Frame::from_slice(&bytes).expect("a frame just written")).map(|_| ())
}

/// The error is of this field, and its text names the field.
fn assert_refused(result: Result<(), DecodeError>, expected: &str) {
    let error = result.expect_err(expected);
    let field = match &error {
        DecodeError::OutOfRange { field, .. } | DecodeError::BadText { field, .. } => *field,
        other => panic!("{expected}: {other}"),
    };
    assert_eq!(field, expected, "{error}");
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn a_page_has_one_item_at_least_and_the_limit_at_most() {
    let attempt = ApplicationAttemptId { application_id: APPLICATION, attempt_id: 1 };
    let pages = |limit: u32| {
        [
            (read(&GetApplicationsRequest { limit, ..Default::default() }), APPLICATIONS_PER_PAGE_MAX),
            (
                read(&GetApplicationAttemptsRequest { application_id: APPLICATION, after: None, limit }),
                ATTEMPTS_PER_PAGE_MAX,
            ),
            (
                read(&GetContainersRequest { application_attempt_id: attempt, after: None, limit }),
                CONTAINERS_PER_PAGE_MAX,
            ),
            (read(&GetQueueInfoRequest { limit, ..Default::default() }), QUEUES_PER_PAGE_MAX),
            (read(&GetQueueUserAclsRequest { start: 0, limit }), QUEUES_PER_PAGE_MAX),
            (read(&GetNodeToLabelsRequest { start_row: 0, limit }), NODES_PER_PAGE_MAX),
            (read(&GetLabelsToNodesRequest { limit, ..Default::default() }), NODES_PER_PAGE_MAX),
            (
                read(&ExplainApplicationRequest { application_id: APPLICATION, limit }),
                PENDING_ASKS_PER_ANSWER_MAX,
            ),
        ]
    };
    for (result, _) in pages(0) {
        assert_refused(result, "limit");
    }
    for (at, (result, _)) in pages(1).into_iter().enumerate() {
        assert_eq!(result, Ok(()), "{at}");
    }
    for (at, (_, most)) in pages(1).into_iter().enumerate() {
        assert_eq!(pages(most)[at].0, Ok(()), "{at}");
        assert_refused(pages(most + 1)[at].0.clone(), "limit");
    }
}

#[test]
fn labels_that_are_to_be_have_yarns_form() {
    let add = |name: &str| {
        let node_labels = vec![NodeLabel { name: name.to_owned(), is_exclusive: true }];
        read(&AddToClusterNodeLabelsRequest { node_labels })
    };
    for accepted in ["a", "gpu-2", "0_x"] {
        assert_eq!(add(accepted), Ok(()), "{accepted}");
    }
    for refused in ["", "-a", "_a", "a b", "a.b", "ä", "a\n", "*"] {
        assert_refused(add(refused), "node_labels.name");
    }
}

#[test]
fn lifetimes_are_positive_and_there_is_one_at_least() {
    let none =
        UpdateApplicationTimeoutsRequest { application_id: APPLICATION, application_timeouts: Vec::new() };
    assert_refused(read(&none), "application_timeouts.length");
    let submit = |timeout_s, tag: &str| {
        let timeout = ApplicationTimeoutRequest { timeout_type: ApplicationTimeoutType::Lifetime, timeout_s };
        read(&SubmitApplicationRequest {
            application_submission_context: ApplicationSubmissionContext {
                application_id: APPLICATION,
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
                application_tags: vec![tag.to_owned()],
                attempt_failures_validity_interval_ms: None,
                node_label_expression: None,
                application_timeouts: vec![timeout],
                application_scheduling_properties: Vec::new(),
                log_aggregation_context: None,
            },
        })
    };
    assert_eq!(submit(1, "a tag ~"), Ok(()));
    assert_eq!(submit(TIMEOUT_S_MAX, ""), Ok(()));
    assert_refused(submit(0, ""), "application_timeouts.timeout_s");
    assert_refused(submit(TIMEOUT_S_MAX + 1, ""), "application_timeouts.timeout_s");
    for tag in ["ä", "a\tb", "\u{7f}"] {
        assert_refused(submit(1, tag), "application_tags");
    }
}

#[test]
fn names_and_paths_stay_on_one_line() {
    let target_queue = "root.a\nroot.b".to_owned();
    let request = MoveApplicationAcrossQueuesRequest { application_id: APPLICATION, target_queue };
    assert_refused(read(&request), "target_queue");
    let users = vec!["ada\u{1b}[2J".to_owned()];
    assert_refused(read(&GetApplicationsRequest { users, limit: 1, ..Default::default() }), "users");
}

#[test]
fn a_capability_is_a_named_nodes_and_within_range() {
    let update = |port, memory_mb| {
        let node_id = NodeId::new("node", port);
        let capability = Resource::new(memory_mb, 1);
        let node = NodeResource { node_id, capability, over_commit_timeout_ms: None };
        read(&UpdateNodeResourceRequest { node_resources: vec![node] })
    };
    assert_eq!(update(1, MEMORY_MB_MAX), Ok(()));
    assert_refused(update(0, 1), "node_id.port");
    assert_refused(update(1, MEMORY_MB_MAX + 1), "capability.memory_mb");
}

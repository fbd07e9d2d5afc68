//! What a peer may put into a frame at its extremes: every field of every call of clients and administrators.
//! Owns: those frames. Called by: the test harness. Does not: send bytes that are no record; `wire/tests` and the fuzzers do.

use super::*;
use heddle_wire::WriteMessage;
use heddle_wire::administration::*;
use heddle_wire::limits;

/// Ids that are nobody's, the ends of their ranges among them.
fn strangers() -> Vec<ApplicationId> {
    let id = |cluster_timestamp, id| ApplicationId { cluster_timestamp, id };
    vec![id(0, 0), id(RM, 0), id(RM, u32::MAX), id(u64::MAX, u32::MAX), id(RM + 1, 1)]
}

/// Sends a request: it gets one answer, now or late, whatever it says.
fn send<M>(rm: &mut Rm, message: &M)
where
    M: WriteMessage,
{
    for is_admin in [false, true] {
        rm.send("mallory", is_admin, message);
        assert_eq!(rm.answers.len(), 1, "{} is answered once", M::OPCODE.name());
        rm.answers.clear();
    }
}

fn about(rm: &mut Rm, application_id: ApplicationId) {
    for target_queue in ["", ".", "root", "root.default", &"q".repeat(limits::QUEUE_PATH_MAX + 1)] {
        send(
            rm,
            &MoveApplicationAcrossQueuesRequest { application_id, target_queue: target_queue.to_owned() },
        );
    }
    for application_priority in [i32::MIN, -1, 0, i32::MAX] {
        send(rm, &UpdateApplicationPriorityRequest { application_id, application_priority });
    }
    let update = |expires_at_ms| ApplicationTimeoutUpdate {
        timeout_type: ApplicationTimeoutType::Lifetime,
        expires_at_ms,
    };
    for (expires_at_ms, count) in [(0, 1), (RM, 4), (u64::MAX, 1), (u64::MAX, 5), (RM, 0)] {
        let application_timeouts = vec![update(expires_at_ms); count];
        send(rm, &UpdateApplicationTimeoutsRequest { application_id, application_timeouts });
    }
    send(rm, &GetApplicationReportRequest { application_id });
    for limit in [0, 1, u32::MAX] {
        send(rm, &ExplainApplicationRequest { application_id, limit });
        let after = Some(attempt(application_id, u32::MAX));
        send(rm, &GetApplicationAttemptsRequest { application_id, after, limit });
    }
    for number in [0, 1, u32::MAX] {
        let application_attempt_id = attempt(application_id, number);
        send(rm, &FailApplicationAttemptRequest { application_attempt_id });
        send(rm, &GetApplicationAttemptReportRequest { application_attempt_id });
        for container_id in [0, u64::MAX] {
            let container_id = ContainerId { application_attempt_id, container_id };
            send(rm, &GetContainerReportRequest { container_id });
            let command = SignalContainerCommand::ForcefulShutdown;
            send(rm, &SignalToContainerRequest { container_id, command });
            let after = Some(container_id);
            send(rm, &GetContainersRequest { application_attempt_id, after, limit: u32::MAX });
        }
    }
    let text = "x\n\t\r\u{1b}".repeat(512);
    for diagnostics in [None, Some(String::new()), Some(text)] {
        send(rm, &KillApplicationRequest { application_id, diagnostics });
    }
}

fn listings(rm: &mut Rm) {
    for number in [0, 1, u32::MAX] {
        let many = vec!["x".repeat(limits::NAME_MAX); limits::FILTER_MAX];
        let request = GetApplicationsRequest {
            application_types: many.clone(),
            application_states: vec![YarnApplicationState::New; 8],
            users: many.clone(),
            queues: many.clone(),
            application_tags: many,
            start_begin_ms: Some(u64::MAX),
            start_end_ms: Some(0),
            after: Some(ApplicationId { cluster_timestamp: u64::MAX, id: number }),
            limit: number,
            ..GetApplicationsRequest::default()
        };
        send(rm, &request);
        send(rm, &GetApplicationsRequest { limit: number, ..GetApplicationsRequest::default() });
        let queue_name = "root".to_owned();
        let queue =
            GetQueueInfoRequest { queue_name, start: number, limit: 1, ..GetQueueInfoRequest::default() };
        send(rm, &queue);
        send(rm, &GetQueueUserAclsRequest { start: number, limit: 1 });
        send(rm, &GetNodeToLabelsRequest { start_row: number, limit: 1 });
        let labels =
            GetLabelsToNodesRequest { start_row: number, limit: number, node_labels: vec![String::new(); 9] };
        send(rm, &labels);
    }
}

fn administration(rm: &mut Rm) {
    send(rm, &GetGroupsForUserRequest { user: "x".repeat(limits::NAME_MAX) });
    for name in ["", "-", &"x".repeat(limits::NAME_MAX)] {
        let label = NodeLabel { name: name.to_owned(), is_exclusive: true };
        send(rm, &AddToClusterNodeLabelsRequest { node_labels: vec![label; 3] });
        send(rm, &RemoveFromClusterNodeLabelsRequest { node_labels: vec![name.to_owned(); 3] });
        for port in [0, u16::MAX] {
            let node_id = NodeId::new(name, port);
            let node_labels = vec![name.to_owned()];
            let node = NodeIdToLabels { node_id: node_id.clone(), node_labels };
            send(
                rm,
                &ReplaceLabelsOnNodesRequest { node_to_labels: vec![node; 3], fail_on_unknown_nodes: false },
            );
            for amount in [0, u64::MAX] {
                let mut capability = Resource::new(amount, u32::MAX);
                let one =
                    ResourceInformation { name: name.to_owned(), value: amount, units: "Pi".to_owned() };
                capability.extended = vec![one; 3];
                let node = NodeResource {
                    node_id: node_id.clone(),
                    capability,
                    over_commit_timeout_ms: Some(u32::MAX),
                };
                send(rm, &UpdateNodeResourceRequest { node_resources: vec![node; 3] });
            }
        }
    }
}

/// A submission with everything at its end that is accepted.
fn extreme(application_id: ApplicationId) -> ApplicationSubmissionContext {
    let mut context = context(application_id);
    context.application_name = "n,=\\ ".repeat(limits::APPLICATION_NAME_MAX / 5);
    context.application_type = "é".repeat(limits::NAME_MAX / 2);
    context.application_tags = vec!["~".repeat(limits::APPLICATION_TAG_MAX); limits::APPLICATION_TAGS_MAX];
    context.priority = Some(i32::MIN);
    context.max_app_attempts = u32::MAX;
    context.attempt_failures_validity_interval_ms = Some(u64::MAX);
    let timeout_type = ApplicationTimeoutType::Lifetime;
    let timeout = ApplicationTimeoutRequest { timeout_type, timeout_s: limits::TIMEOUT_S_MAX };
    context.application_timeouts = vec![timeout; limits::TIMEOUTS_MAX];
    let mut capability = Resource::new(0, 0);
    let one = ResourceInformation {
        name: "memory-mb".to_owned(),
        value: u64::from(u32::MAX),
        units: "p".to_owned(),
    };
    capability.extended = vec![one; limits::EXTENDED_RESOURCES_MAX];
    let row = |resource_name| ResourceRequest {
        priority: i32::MIN,
        allocation_request_id: i64::MIN,
        resource_name,
        capability: capability.clone(),
        num_containers: i32::MIN,
        relax_locality: true,
        node_label_expression: None,
        execution_type: ExecutionType::Opportunistic,
        enforce_execution_type: true,
        grants_seen: Some(u64::MAX),
    };
    let host = || ResourceName::Host("h".repeat(limits::NAME_MAX));
    context.am_container_resource_requests = (1..limits::AM_ASKS_MAX).map(|_| row(host())).collect();
    context.am_container_resource_requests.push(row(ResourceName::Any));
    let acl = |access_type| ApplicationAcl { access_type, acl: ",".repeat(limits::ACL_MAX) };
    context.am_container_spec.application_acls = vec![acl(ApplicationAccessType::ViewApp); 2];
    context
}

#[test]
fn calls_at_the_ends_of_every_range_are_answered_once_and_harm_nobody() {
    let mut rm = Rm::new();
    let bystander = rm.submit(|_| {});
    let finished = rm.finished();
    for id in strangers() {
        about(&mut rm, id);
    }
    // Nobody may touch it: it is not asked about, only listed.
    listings(&mut rm);
    administration(&mut rm);
    about(&mut rm, finished);
    // Submitted under ids that nobody gave out; they live, are changed and end as others do.
    for (number, id) in strangers().into_iter().enumerate() {
        rm.submit_as("mallory", extreme(id)).expect("it is taken");
        send(&mut rm, &SubmitApplicationRequest { application_submission_context: extreme(id) });
        if number % 2 == 0 {
            rm.start_am(attempt(id, 1));
        }
        listings(&mut rm);
        about(&mut rm, id);
        rm.pass(Duration::from_secs(1));
    }
    rm.pass(Duration::from_secs(3_600));
    assert_eq!(rm.state(bystander), YarnApplicationState::Accepted);
    assert_eq!(rm.new_id().id, finished.id + 1, "ids go on where they were");
    let counters = rm.manager.counters();
    assert_eq!((counters.queries_outstanding, counters.impossible_pairs), (0, 0), "{:?}", rm.notices);
    for line in rm.audit.iter().chain(&rm.summaries) {
        assert!(!line.contains(['\n', '\r']), "one line: {line:?}");
    }
}

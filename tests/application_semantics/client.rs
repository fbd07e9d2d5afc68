//! Clients' calls: submission and its checks, listings, questions to the scheduler.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use super::*;
use YarnApplicationState as S;
use heddle::engine::event::ExtendedResource;
use heddle::engine::scheduler::resource::{ResourceType, ResourceTypes, ResourceVector};
use heddle::engine::scheduler::settings::{Calculator, Capacity, QueueSettings};
use heddle_wire::Opcode;
use heddle_wire::WriteMessage;
use heddle_wire::resource_tracker::UnRegisterNodeManagerRequest;

fn refused(rm: &mut Rm, change: impl FnOnce(&mut ApplicationSubmissionContext)) -> (RejectCode, String) {
    let mut context = context(rm.new_id());
    change(&mut context);
    let id = context.application_id;
    let found = code(rm.submit_as("ada", context));
    assert_eq!(code(rm.report_for("ada", id)).0, RejectCode::ApplicationNotFound, "nothing is left behind");
    found
}

fn row(resource_name: ResourceName) -> ResourceRequest {
    ResourceRequest {
        priority: 9,
        allocation_request_id: -1,
        resource_name,
        capability: Resource::new(2_000, 1),
        num_containers: 5,
        relax_locality: false,
        node_label_expression: None,
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: false,
        grants_seen: None,
    }
}

fn list(rm: &mut Rm, change: impl FnOnce(&mut GetApplicationsRequest)) -> Vec<u32> {
    let mut request = GetApplicationsRequest { limit: 1_000, ..GetApplicationsRequest::default() };
    change(&mut request);
    rm.send("ada", false, &request);
    let page = rm.answer::<GetApplicationsResponse>().expect("a page");
    page.applications.iter().map(|report| report.application_id.id).collect()
}

#[test]
fn ids_are_the_start_of_the_resource_manager_and_a_counter() {
    let mut rm = Rm::new();
    assert_eq!(rm.new_id(), ApplicationId { cluster_timestamp: RM, id: 1 });
    rm.send("ada", false, &GetNewApplicationRequest {});
    let response = rm.answer::<GetNewApplicationResponse>().expect("an id");
    assert_eq!((response.application_id.id, response.maximum_capability.memory_mb), (2, 8_192));
}

/// An id that a client had made up was given out later: the submission under it was taken for a repetition and its
/// application never existed.
#[test]
fn an_id_that_is_in_use_is_not_given_out() {
    let mut rm = Rm::new();
    for id in [1, 2, 4] {
        rm.submit_as("eve", context(ApplicationId { cluster_timestamp: RM, id })).expect("it is taken");
    }
    assert_eq!([rm.new_id().id, rm.new_id().id, rm.new_id().id], [3, 5, 6]);
}

#[test]
fn a_known_id_is_success_whoever_asks_and_whatever_it_says() {
    let mut rm = Rm::new();
    let id = rm.submit(|_| {});
    rm.told();
    let again = ApplicationSubmissionContext { queue: "nope".to_owned(), resource: None, ..context(id) };
    rm.submit_as("eve", again).expect("success");
    let report = rm.report(id);
    assert_eq!((report.user.as_str(), report.queue.as_str()), ("ada", "root.default"));
    assert_eq!(rm.told(), [""; 0]);
    assert_eq!(rm.manager.counters().submitted, 1);
    rm.kill(id);
    rm.submit_as("ada", context(id)).expect("also when it has ended");
    assert_eq!(rm.state(id), S::Killed);
}

#[test]
fn what_is_not_said_has_yarns_defaults() {
    let mut rm = Rm::new();
    let id = rm.submit(|context| {
        context.application_name = String::new();
        context.application_tags = vec!["Nightly".to_owned()];
    });
    let report = rm.report(id);
    assert_eq!((report.name.as_str(), report.application_type.as_str()), ("N/A", "YARN"));
    assert_eq!(report.application_tags, ["nightly"]);
    let long = rm.submit(|context| context.application_type = "ä".repeat(30));
    assert_eq!(rm.report(long).application_type, "ä".repeat(20), "characters, not bytes");
}

#[test]
fn the_am_container_is_asked_for_as_submitted() {
    let mut rm = Rm::with(|settings, queues| {
        settings.calculator = Calculator::Dominant;
        settings.node_labels_enabled = true;
        queues.queues[1].accessible_node_labels = Some(vec!["x".into(), "y".into()]);
        queues.queues[1].default_node_label_expression = Some("y".into());
    });
    rm.submit(|context| {
        let any = ResourceRequest { relax_locality: true, ..row(ResourceName::Any) };
        let host = row(ResourceName::Host("h1".to_owned()));
        let rack = row(ResourceName::Rack("r1".to_owned()));
        context.am_container_resource_requests = vec![host, any, rack];
        context.resource = None;
        context.node_label_expression = Some("x".to_owned());
    });
    let am = rm.addition().am.expect("a managed attempt");
    assert_eq!((am.capability.memory_mb, am.capability.virtual_cores), (2_048, 1), "rounded up");
    assert_eq!((&*am.node_label, am.relax_locality), ("x", true), "the application's label");
    let localities: Vec<_> =
        am.localities.iter().map(|(name, is_rack, relax)| (&**name, *is_rack, *relax)).collect();
    assert_eq!(localities, [("h1", false, false), ("r1", true, false)]);
    rm.submit(|_| {});
    assert_eq!(&*rm.addition().am.expect("one").node_label, "y", "the queue's label");
    rm.submit(|context| {
        let any = ResourceRequest { node_label_expression: Some(String::new()), ..row(ResourceName::Any) };
        context.am_container_resource_requests = vec![any];
    });
    assert_eq!(&*rm.addition().am.expect("one").node_label, "", "the default partition, said by name");
}

#[test]
fn bad_submissions_are_refused_by_name_and_leave_nothing() {
    let mut rm = Rm::with(|settings, _| {
        settings.resource_types =
            ResourceTypes::new([ResourceType { name: "yarn.io/gpu".into(), units: "".into() }]);
        settings.maximum_allocation = ResourceVector::from_amounts(&[8_192, 4, 2]);
    });
    type Change = Box<dyn FnOnce(&mut ApplicationSubmissionContext)>;
    let gpus = |name: &str, value| {
        let extended = vec![ResourceInformation { name: name.to_owned(), value, units: String::new() }];
        Some(Resource { memory_mb: 1_024, virtual_cores: 1, extended })
    };
    let cases: Vec<(Change, RejectCode, &str)> = vec![
        (Box::new(|c| c.resource = None), RejectCode::InvalidResourceRequest, "neither resource nor"),
        (
            Box::new(|c| {
                c.am_container_resource_requests = vec![row(ResourceName::Any), row(ResourceName::Any)]
            }),
            RejectCode::InvalidResourceRequest,
            "has 2 rows for any place, accepted is exactly 1",
        ),
        (
            Box::new(|c| c.am_container_resource_requests = vec![row(ResourceName::Host("h".to_owned()))]),
            RejectCode::InvalidResourceRequest,
            "has 0 rows for any place, accepted is exactly 1",
        ),
        (
            Box::new(|c| c.resource = Some(Resource::new(8_193, 1))),
            RejectCode::InvalidResourceRequest,
            "GREATER_THEN_MAX_ALLOCATION: resource memory-mb is 8193, accepted is at most 8192",
        ),
        (
            Box::new(move |c| c.resource = gpus("yarn.io/gpu", 3)),
            RejectCode::InvalidResourceRequest,
            "GREATER_THEN_MAX_ALLOCATION: resource yarn.io/gpu is 3, accepted is at most 2",
        ),
        (
            Box::new(move |c| c.resource = gpus("yarn.io/fpga", 1)),
            RejectCode::InvalidResourceRequest,
            "UNKNOWN: resource type \"yarn.io/fpga\" is not known, accepted are memory-mb, vcores, yarn.io/gpu",
        ),
        (
            Box::new(|c| c.node_label_expression = Some("x".to_owned())),
            RejectCode::InvalidLabelResourceRequest,
            "node labels are not enabled",
        ),
        (
            Box::new(|c| c.application_tags = vec!["no\ttab".to_owned()]),
            RejectCode::BadField,
            "printable ASCII",
        ),
        (
            Box::new(|c| c.application_tags = vec![String::new(); 11]),
            RejectCode::BadField,
            "application_tags",
        ),
        (
            Box::new(|c| {
                let timeout_type = ApplicationTimeoutType::Lifetime;
                c.application_timeouts = vec![ApplicationTimeoutRequest { timeout_type, timeout_s: 0 }];
            }),
            RejectCode::BadField,
            "timeout_s",
        ),
        (
            Box::new(|c| {
                c.am_container_spec.service_data =
                    (0..5).map(|n| ServiceData { key: n.to_string(), value: vec![0; 16 * 1024] }).collect();
            }),
            RejectCode::BadField,
            "launch_context",
        ),
    ];
    for (change, expected, words) in cases {
        let (found, text) = refused(&mut rm, change);
        assert_eq!(found, expected, "{text}");
        assert!(text.contains(words), "{text} does not say {words}");
    }
    assert_eq!(rm.manager.counters().applications_by_state, [0; 8]);
    assert_eq!(rm.told(), [""; 0]);
}

#[test]
fn labels_must_be_the_queues_and_one_at_a_time() {
    let mut rm = Rm::with(|settings, queues| {
        settings.node_labels_enabled = true;
        queues.queues[1].accessible_node_labels = Some(vec!["x".into()]);
    });
    let (found, text) = refused(&mut rm, |context| context.node_label_expression = Some("z".to_owned()));
    assert_eq!(found, RejectCode::InvalidLabelResourceRequest);
    assert!(text.contains("\"z\", accepted is one that queue root.default may use: x"), "{text}");
    let (_, text) = refused(&mut rm, |context| context.node_label_expression = Some("x&&y".to_owned()));
    assert!(text.contains("accepted is one label"), "{text}");
}

#[test]
fn applications_and_launch_contexts_are_bounded() {
    let mut rm = Rm::with(|settings, _| settings.applications_max = 2);
    let first = rm.submit(|_| {});
    rm.submit(|_| {});
    let (found, text) = refused(&mut rm, |_| {});
    assert_eq!(found, RejectCode::Busy);
    assert_eq!(text, "2 applications have not completed, accepted are at most 2");
    rm.kill(first);
    rm.submit(|_| {});

    let mut rm = Rm::with(|settings, _| settings.launch_context_bytes_max = 3_000);
    let large = |context: &mut ApplicationSubmissionContext| {
        context.am_container_spec.commands = vec!["x".repeat(2_000)];
    };
    let first = rm.submit(large);
    let (found, text) = refused(&mut rm, large);
    assert!(found == RejectCode::Busy && text.contains("accepted are at most 3000"), "{text}");
    rm.kill(first);
    rm.submit(large);
}

#[test]
fn a_listing_is_filtered_and_paged() {
    let mut rm = Rm::new();
    let a = rm.submit(|context| context.application_tags = vec!["Blue".to_owned()]).id;
    rm.pass(Duration::from_secs(10));
    let b = rm.finished().id;
    rm.pass(Duration::from_secs(10));
    let other = rm.new_id();
    let mut spark = context(other);
    spark.application_type = "SPARK".to_owned();
    spark.application_name = "other".to_owned();
    rm.submit_as("bob", spark).expect("it is taken");
    let c = other.id;
    assert_eq!(list(&mut rm, |_| {}), [a, b, c]);
    assert_eq!(list(&mut rm, |request| request.scope = ApplicationsRequestScope::Own), [a, b]);
    assert_eq!(list(&mut rm, |request| request.application_types = vec!["spark".to_owned()]), [c]);
    assert_eq!(list(&mut rm, |request| request.application_states = vec![S::Finished, S::Killed]), [b]);
    assert_eq!(list(&mut rm, |request| request.users = vec!["bob".to_owned(), "eve".to_owned()]), [c]);
    assert_eq!(list(&mut rm, |request| request.queues = vec!["default".to_owned()]), [a, b, c]);
    assert_eq!(list(&mut rm, |request| request.queues = vec!["root.nope".to_owned()]), [0_u32; 0]);
    assert_eq!(list(&mut rm, |request| request.application_tags = vec!["BLUE".to_owned()]), [a]);
    assert_eq!(list(&mut rm, |request| request.name = Some("other".to_owned())), [c]);
    assert_eq!(list(&mut rm, |request| request.start_begin_ms = Some(RM + 11_000)), [b, c]);
    assert_eq!(list(&mut rm, |request| request.start_end_ms = Some(RM + 11_000)), [a, b]);
    assert_eq!(list(&mut rm, |request| request.finish_begin_ms = Some(1)), [b]);
    // Pages in the order of ids, with the usage of each.
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let request = GetApplicationsRequest { limit: 2, after, ..GetApplicationsRequest::default() };
        rm.send("ada", false, &request);
        let page = rm.answer::<GetApplicationsResponse>().expect("a page");
        for report in &page.applications {
            let usage = report.resource_usage.as_deref().expect("everybody sees usage where ACLs are off");
            let running = if report.application_id.id == b { 0 } else { report.application_id.id };
            assert_eq!(usage.num_used_containers, running, "of the right application");
            seen.push(report.application_id.id);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [a, b, c]);
}

/// Story: where two queues had the same last name, filtering by that name found nothing; and an application that its queue
/// never took was not found under the queue's path.
#[test]
fn a_listing_is_filtered_by_the_last_name_of_queues_also_where_several_have_it() {
    let mut rm = Rm::with(|_, queues| {
        let mut parent = QueueSettings::leaf("root.etl", Some(0), Capacity::Percent(0.0));
        parent.is_leaf = false;
        queues.queues.push(parent);
        queues.queues.push(QueueSettings::leaf("root.etl.default", Some(2), Capacity::Percent(100.0)));
    });
    let in_queue = |rm: &mut Rm, queue: &str| rm.submit(|context| context.queue = queue.to_owned()).id;
    let by_queue = |rm: &mut Rm, queue: &str| list(rm, |request| request.queues = vec![queue.to_owned()]);
    let a = in_queue(&mut rm, "root.default");
    let b = in_queue(&mut rm, "root.etl.default");
    assert_eq!(by_queue(&mut rm, "default"), [a, b]);
    assert_eq!(by_queue(&mut rm, "root.default"), [a]);
    assert_eq!(by_queue(&mut rm, "root.etl.default"), [b]);
    assert_eq!(by_queue(&mut rm, "etl"), [0_u32; 0]);

    let mut rm = Rm::new();
    rm.rejects = Some("no room");
    let a = in_queue(&mut rm, "default");
    assert_eq!(rm.report(ApplicationId { cluster_timestamp: RM, id: a }).queue, "default");
    assert_eq!((by_queue(&mut rm, "root.default"), by_queue(&mut rm, "default")), (vec![a], vec![a]));
}

#[test]
fn a_page_of_long_reports_fits_a_body() {
    let mut rm = Rm::new();
    for _ in 0..150 {
        let (_, first) = rm.running();
        rm.event(ApplicationEvent::Unregistered {
            attempt_id: first,
            final_status: 2,
            diagnostics: "x".repeat(16 * 1024).into(),
            diagnostics_cut: 0,
            tracking_url: "".into(),
        });
        rm.end_am(first, 0);
    }
    let (mut count, mut pages, mut after) = (0, 0, None);
    loop {
        let request = GetApplicationsRequest { limit: 1_000, after, ..GetApplicationsRequest::default() };
        rm.send("ada", false, &request);
        let page = rm.answer::<GetApplicationsResponse>().expect("a page");
        count += page.applications.len();
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(count == 150 && pages >= 3, "{count} in {pages}");
}

#[test]
fn questions_to_the_scheduler_are_bounded_and_answered_late() {
    let mut rm = Rm::with(|settings, _| settings.queries_max = 2);
    let (id, first) = rm.running();
    rm.holds_scheduler = true;
    for _ in 0..3 {
        rm.send("ada", false, &GetApplicationReportRequest { application_id: id });
    }
    assert_eq!(rm.answers.len(), 1, "the third is refused at once");
    let (found, text) = code(rm.answer::<GetApplicationReportResponse>());
    assert_eq!(found, RejectCode::Busy);
    assert_eq!(text, "2 calls wait for the scheduler, accepted are at most 2");
    assert_eq!(rm.manager.counters().queries_outstanding, 2);
    rm.release_scheduler();
    assert_eq!((rm.answers.len(), rm.manager.counters().queries_outstanding), (2, 0));
    rm.answers.clear();
    // A scheduler that answers something else is no reason to answer nothing.
    rm.reply = |_| Some(QueryReply::NodeLabels(Vec::new()));
    let request = GetContainersRequest { application_attempt_id: first, after: None, limit: 1 };
    rm.send("ada", false, &request);
    assert_eq!(code(rm.answer::<GetContainersResponse>()).0, RejectCode::Internal);
}

#[test]
fn records_of_the_scheduler_are_answers() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.reply = |command| {
        let SchedulerCommand::Query { query: Query::Explain { application_id, limit }, .. } = command else {
            return None;
        };
        let response = ExplainApplicationResponse {
            application_id: *application_id,
            state: S::New,
            queue: "root.default".to_owned(),
            application_reason: None,
            partitions: Vec::new(),
            summary: Vec::new(),
            pending: Vec::new(),
            pending_total: u64::from(*limit),
        };
        Some(QueryReply::Record(archive(&response)))
    };
    rm.send("ada", false, &ExplainApplicationRequest { application_id: id, limit: 7 });
    let response = rm.answer::<ExplainApplicationResponse>().expect("an answer");
    assert_eq!((response.state, response.pending_total), (S::Running, 7), "the state is ours");
    rm.reply = |command| match command {
        SchedulerCommand::Query { query: Query::Queue { start, limit, .. }, .. } => {
            let response = GetQueueInfoResponse { next: Some(start + limit), queues: Vec::new() };
            Some(QueryReply::Record(archive(&response)))
        }
        _ => None,
    };
    let request =
        GetQueueInfoRequest { queue_name: "root".to_owned(), start: 3, limit: 4, ..Default::default() };
    rm.send("ada", false, &request);
    assert_eq!(rm.answer::<GetQueueInfoResponse>().expect("an answer").next, Some(7));
    rm.reply = |_| {
        let code = RejectCode::NotFound as u16;
        Some(QueryReply::Refused { code, reasons: "it is not there".into() })
    };
    rm.send("ada", false, &request);
    let response = rm.answer::<GetQueueInfoResponse>().expect("an unknown queue is no error");
    assert_eq!(response, GetQueueInfoResponse::default());
    rm.send("ada", false, &GetContainerReportRequest { container_id: am_container(first) });
    assert_eq!(
        code(rm.answer::<GetContainerReportResponse>()),
        (RejectCode::NotFound, "it is not there".into())
    );
    // One that has ended is explained without the scheduler.
    let done = rm.finished_quietly();
    rm.send("ada", false, &ExplainApplicationRequest { application_id: done, limit: 7 });
    let response = rm.answer::<ExplainApplicationResponse>().expect("an answer");
    assert_eq!(response.application_reason.as_deref(), Some("it has ended"));
}

#[test]
fn labels_of_nodes_are_listed_by_page() {
    let mut rm = Rm::new();
    rm.reply = |command| match command {
        SchedulerCommand::Query { query: Query::NodesToLabels, .. } => Some(QueryReply::NodesToLabels(vec![
            ("a".into(), 1, "x".into()),
            ("b".into(), 1, "".into()),
            ("c".into(), 1, "y".into()),
        ])),
        SchedulerCommand::Query { query: Query::ClusterNodeLabels, .. } => {
            Some(QueryReply::NodeLabels(vec![("x".into(), true)]))
        }
        _ => None,
    };
    rm.send("ada", false, &GetNodeToLabelsRequest { start_row: 0, limit: 2 });
    let page = rm.answer::<GetNodeToLabelsResponse>().expect("a page");
    assert_eq!((page.shard_count, page.next_row, page.node_to_labels.len()), (1, Some(2), 1));
    rm.send("ada", false, &GetNodeToLabelsRequest { start_row: 2, limit: 2 });
    let page = rm.answer::<GetNodeToLabelsResponse>().expect("a page");
    assert_eq!((page.next_row, page.node_to_labels[0].node_id.host.as_str()), (None, "c"));
    let request = GetLabelsToNodesRequest { node_labels: vec!["y".to_owned()], start_row: 0, limit: 10 };
    rm.send("ada", false, &request);
    let page = rm.answer::<GetLabelsToNodesResponse>().expect("a page");
    let expected = LabelToNodeIds { node_label: "y".to_owned(), node_ids: vec![NodeId::new("c", 1)] };
    assert_eq!((page.next_row, page.labels_to_nodes), (None, vec![expected]));
    rm.send("ada", false, &GetClusterNodeLabelsRequest {});
    let labels = rm.answer::<GetClusterNodeLabelsResponse>().expect("an answer").node_labels;
    assert_eq!(labels, [NodeLabel { name: "x".to_owned(), is_exclusive: true }]);
}

#[test]
fn what_does_not_exist_is_named_and_what_is_not_there_yet_too() {
    let mut rm = Rm::new();
    let unknown = ApplicationId { cluster_timestamp: RM, id: 99 };
    let (found, text) = code(rm.report_for("ada", unknown));
    assert_eq!(found, RejectCode::ApplicationNotFound);
    assert!(text.starts_with(&format!("Application with id '{unknown}' doesn't exist in RM.")), "{text}");
    assert_eq!(code(rm.kill_as("ada", unknown)).0, RejectCode::ApplicationNotFound);
    let id = rm.submit(|_| {});
    rm.send("ada", false, &FailApplicationAttemptRequest { application_attempt_id: attempt(id, 2) });
    assert_eq!(code(rm.answer::<FailApplicationAttemptResponse>()).0, RejectCode::ApplicationAttemptNotFound);
    rm.send("ada", false, &GetApplicationAttemptReportRequest { application_attempt_id: attempt(id, 2) });
    assert_eq!(
        code(rm.answer::<GetApplicationAttemptReportResponse>()).0,
        RejectCode::ApplicationAttemptNotFound
    );
    for opcode in Opcode::ALL.iter().copied().filter(|opcode| (*opcode as u16) >> 8 >= 3) {
        // An empty body: refused as a body, as a method, or (nothing to say) answered; never silent.
        let header = heddle_wire::FrameHeader {
            opcode,
            flags: Flags::REQUEST,
            body_length: 0,
            correlation_id: 1,
            routing_key: 0,
        };
        let mut batch = FrameBatch::default();
        let caller = Caller::new(PeerId(1), "root", true);
        batch.push_from(&header.to_bytes(), StreamRef::new(0, 1, 1), &caller);
        let mut answers = AnswerBatch::default();
        rm.manager.handle_frames(rm.now, &batch, 0, &mut answers, &mut rm.out);
        rm.settle();
        let late = rm.answers.len();
        rm.answers.clear();
        assert_eq!(answers.len() + late, 1, "{}", opcode.name());
    }
    // A frame that is no client's, and one whose sender is not known.
    let handle = NodeHandle::new(0, 1, 1);
    let request = UnRegisterNodeManagerRequest { node_handle: handle, reason: String::new() };
    rm.send("ada", false, &request);
    let frame = rm.answers.remove(0);
    assert!(Frame::from_slice(&frame).expect("a frame").header.flags.is_reject());
    let mut batch = FrameBatch::default();
    batch.push(&frame, StreamRef::new(0, 1, 1), PeerId(5));
    let mut answers = AnswerBatch::default();
    assert_eq!(rm.manager.handle_frames(rm.now, &batch, 0, &mut answers, &mut rm.out), 1);
    assert_eq!(answers.len(), 1);
}

#[test]
fn an_attempt_that_its_owner_fails_is_followed_by_another() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.send("ada", false, &FailApplicationAttemptRequest { application_attempt_id: first });
    rm.answer::<FailApplicationAttemptResponse>().expect("success");
    let line = rm.audit.last().expect("a line");
    assert!(line.ends_with(&format!("RESULT=SUCCESS\tAPPID={id}\tAPPATTEMPTID={first}")), "{line}");
    assert_eq!(rm.attempt_report(first).diagnostics, "Attempt failed by user ada.");
    assert_eq!(rm.attempt_state(attempt(id, 2)), YarnApplicationAttemptState::Scheduled);
    assert_eq!(rm.removal(), (false, true));
    let done = rm.finished();
    rm.send("ada", false, &FailApplicationAttemptRequest { application_attempt_id: attempt(done, 1) });
    rm.answer::<FailApplicationAttemptResponse>().expect("success without effect");
    assert_eq!(rm.state(done), S::Finished);
}

#[test]
fn resource_types_are_told_memory_first() {
    let mut rm = Rm::with(|settings, _| {
        let gpu = ResourceType { name: "yarn.io/gpu".into(), units: "".into() };
        settings.resource_types = ResourceTypes::new([gpu]);
        let amount = ExtendedResource { name: "yarn.io/gpu".into(), value: 1, units: "".into() };
        assert_eq!(
            settings
                .resource_types
                .to_vector(&Amount { extended: [amount].into(), ..Amount::default() })
                .get(2),
            1
        );
    });
    rm.send("ada", false, &GetResourceTypeInfoRequest {});
    let types = rm.answer::<GetResourceTypeInfoResponse>().expect("an answer").resource_types;
    let names: Vec<&str> = types.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["memory-mb", "vcores", "yarn.io/gpu"]);
}

/// The archive of a record, as the scheduler makes it.
pub(super) fn archive<M>(message: &M) -> Box<[u8]>
where
    M: WriteMessage,
{
    let mut frame = Vec::new();
    write_frame(&mut frame, Flags::RESPONSE, 0, 0, message);
    frame[heddle_wire::HEADER_SIZE..].into()
}

impl Rm {
    /// As [`Rm::finished`], for a scheduler that answers nothing useful.
    fn finished_quietly(&mut self) -> ApplicationId {
        let reply = core::mem::replace(&mut self.reply, |_| None);
        let id = self.finished();
        self.reply = reply;
        id
    }
}

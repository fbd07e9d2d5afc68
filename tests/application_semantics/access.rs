//! Who may do what, and what administrators change.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use super::*;
use heddle::engine::event::KeyPair;
use heddle::engine::scheduler::settings::{Capacity, QueueSettings};
use heddle_wire::administration::*;

/// ACLs on; `root` closed, `root.default` open to `ada` and group `etl`, administered by `queen`.
fn closed(settings: &mut ApplicationSettings, queues: &mut QueueTree) {
    settings.groups.insert("gus".into(), vec!["watchers".into()]);
    settings.groups.insert("eli".into(), vec!["etl".into()]);
    queues.acl_enabled = true;
    queues.admin_acl = Acl::parse("root operators");
    settings.groups.insert("olga".into(), vec!["operators".into()]);
    queues.queues[0].acl_submit_applications = Acl::parse(" ");
    queues.queues[0].acl_administer_queue = Acl::parse("king");
    queues.queues[1].acl_submit_applications = Acl::parse("ada etl");
    queues.queues[1].acl_administer_queue = Acl::parse("queen");
    queues.queues.push(QueueSettings::leaf("root.b", Some(0), Capacity::Percent(0.0)));
}

fn acls(context: &mut ApplicationSubmissionContext) {
    let acl = |access_type, acl: &str| ApplicationAcl { access_type, acl: acl.to_owned() };
    context.am_container_spec.application_acls = vec![
        acl(ApplicationAccessType::ViewApp, "vera watchers"),
        acl(ApplicationAccessType::ModifyApp, "mo"),
    ];
}

fn may_view(rm: &mut Rm, user: &str, id: ApplicationId) -> bool {
    rm.send(user, false, &GetApplicationAttemptReportRequest { application_attempt_id: attempt(id, 1) });
    match rm.answer::<GetApplicationAttemptReportResponse>() {
        Ok(_) => true,
        Err(reject) => {
            assert_eq!(reject.code, RejectCode::AccessControl as u16, "{}", reject.message);
            false
        }
    }
}

/// Asks for what does not exist: whether the caller may is decided before.
fn may_modify(rm: &mut Rm, user: &str, id: ApplicationId) -> bool {
    rm.send(user, false, &FailApplicationAttemptRequest { application_attempt_id: attempt(id, 99) });
    let (found, text) = code(rm.answer::<FailApplicationAttemptResponse>());
    match found {
        RejectCode::ApplicationAttemptNotFound => true,
        RejectCode::AccessControl => {
            assert!(
                text.starts_with(&format!("User {user} cannot perform operation MODIFY_APP on {id}")),
                "{text}"
            );
            false
        }
        other => panic!("{other:?} {text}"),
    }
}

#[test]
fn who_may_see_and_change_an_application() {
    let mut rm = Rm::with(closed);
    let id = rm.submit(acls);
    // User, may view, may modify.
    let matrix = [
        ("ada", true, true),        // owner
        ("vera", true, false),      // view ACL, user
        ("gus", true, false),       // view ACL, group
        ("mo", false, true),        // modify ACL
        ("queen", true, true),      // administers the queue
        ("king", true, true),       // administers the queue above
        ("root", true, true),       // administrator, user
        ("olga", true, true),       // administrator, group
        ("eli", false, false),      // may submit to the queue, no more
        ("eve", false, false),      // nobody
        ("watchers", false, false), // a group is no user
    ];
    for (user, view, modify) in matrix {
        assert_eq!((may_view(&mut rm, user, id), may_modify(&mut rm, user, id)), (view, modify), "{user}");
    }
    assert!(rm.manager.counters().access_denied >= 8);
    let plain = rm.submit(|_| {});
    assert!(!may_view(&mut rm, "vera", plain), "without ACLs of its own: owner and administrators");
    assert!(may_view(&mut rm, "queen", plain));
}

#[test]
fn everybody_may_where_acls_are_off() {
    let mut rm = Rm::with(|settings, queues| {
        closed(settings, queues);
        queues.acl_enabled = false;
    });
    let id = rm.submit(acls);
    assert!(may_view(&mut rm, "eve", id) && may_modify(&mut rm, "eve", id));
    let other = rm.new_id();
    rm.submit_as("eve", context(other)).expect("to any queue");
}

#[test]
fn stars_and_blanks() {
    let mut rm = Rm::with(closed);
    let with = |text: &'static str| {
        move |context: &mut ApplicationSubmissionContext| {
            let acl = text.to_owned();
            let access_type = ApplicationAccessType::ViewApp;
            context.am_container_spec.application_acls = vec![ApplicationAcl { access_type, acl }];
        }
    };
    for (text, expected) in [("*", true), (" ", false), ("", false), ("eve", true), (" eve", false)] {
        let id = rm.submit(with(text));
        assert_eq!(may_view(&mut rm, "eve", id), expected, "{text:?}");
    }
}

#[test]
fn submission_and_moves_need_the_queue() {
    let mut rm = Rm::with(closed);
    for (user, may) in
        [("ada", true), ("eli", true), ("queen", true), ("king", true), ("root", true), ("eve", false)]
    {
        let id = rm.new_id();
        let result = rm.submit_as(user, context(id));
        assert_eq!(result.is_ok(), may, "{user}");
        if let Err(reject) = result {
            assert_eq!(reject.code, RejectCode::AccessControl as u16);
            assert!(
                reject.message.contains("does not have permission to submit application_"),
                "{}",
                reject.message
            );
            assert_eq!(
                code(rm.report_for("root", id)).0,
                RejectCode::ApplicationNotFound,
                "nothing is left behind"
            );
            assert!(
                rm.audit
                    .last()
                    .expect("a line")
                    .contains("RESULT=FAILURE\tDESCRIPTION=Unauthorized user\tPERMISSIONS=User eve does not")
            );
        }
    }
    let (id, _) = rm.running();
    let request =
        MoveApplicationAcrossQueuesRequest { application_id: id, target_queue: "root.b".to_owned() };
    rm.send("ada", false, &request);
    let (found, text) = code(rm.answer::<MoveApplicationAcrossQueuesResponse>());
    assert_eq!(found, RejectCode::AccessControl, "{text}");
    rm.send("king", false, &request);
    rm.answer::<MoveApplicationAcrossQueuesResponse>().expect("the king may");
}

#[test]
fn one_who_may_not_see_gets_a_sanitised_report() {
    let mut rm = Rm::with(|settings, queues| {
        closed(settings, queues);
        settings.am_rm_token_keys = KeyPair { current: Some((1, Box::from([1; 32]))), next: None };
    });
    let id = rm.submit(acls);
    rm.start_am(attempt(id, 1));
    rm.event(ApplicationEvent::StatusUpdate {
        attempt_id: attempt(id, 1),
        progress: 0.7,
        tracking_url: None,
    });
    let full = rm.report(id);
    assert_eq!((full.host.as_str(), full.resource_usage.is_some()), ("host1", true));
    let report = rm.report_for("eve", id).expect("it is still answered");
    assert_eq!((report.host.as_str(), report.rpc_port, report.tracking_url.as_str()), ("N/A", -1, "N/A"));
    assert_eq!((report.diagnostics.as_str(), report.original_tracking_url.as_str()), ("N/A", "N/A"));
    assert_eq!((report.resource_usage, report.progress, report.am_rm_token), (None, 0.0, None));
    assert_eq!(
        (full.current_application_attempt_id, report.current_application_attempt_id),
        (Some(attempt(id, 1)), None)
    );
    // Identity, state and times stay.
    assert_eq!(
        (report.user.as_str(), report.queue.as_str(), report.name.as_str()),
        ("ada", "root.default", "wordcount")
    );
    assert_eq!((report.state, report.start_time_ms), (YarnApplicationState::Running, full.start_time_ms));
    // A listing does the same, and VIEWABLE leaves it out.
    let list = |rm: &mut Rm, scope| {
        let request = GetApplicationsRequest { scope, limit: 10, ..GetApplicationsRequest::default() };
        rm.send("eve", false, &request);
        rm.answer::<GetApplicationsResponse>().expect("a page").applications
    };
    let all = list(&mut rm, ApplicationsRequestScope::All);
    assert_eq!((all.len(), all[0].host.as_str(), &all[0].resource_usage), (1, "N/A", &None));
    assert_eq!(list(&mut rm, ApplicationsRequestScope::Viewable), []);
    // What is not sanitised is refused.
    rm.send("eve", false, &ExplainApplicationRequest { application_id: id, limit: 1 });
    assert_eq!(code(rm.answer::<ExplainApplicationResponse>()).0, RejectCode::AccessControl);
    rm.send("eve", false, &GetContainerReportRequest { container_id: am_container(attempt(id, 1)) });
    assert_eq!(code(rm.answer::<GetContainerReportResponse>()).0, RejectCode::AccessControl);
    let command = SignalContainerCommand::ForcefulShutdown;
    rm.send("eve", false, &SignalToContainerRequest { container_id: am_container(attempt(id, 1)), command });
    assert_eq!(code(rm.answer::<SignalToContainerResponse>()).0, RejectCode::AccessControl);
    assert_eq!(code(rm.kill_as("eve", id)).0, RejectCode::AccessControl);
    assert!(rm.audit.last().expect("a line").starts_with("USER=eve\tOPERATION=Kill Application Request"));
    assert_eq!(rm.state(id), YarnApplicationState::Running);
}

#[test]
fn what_a_user_may_do_in_which_queue_is_listed_by_page() {
    let mut rm = Rm::with(closed);
    let list = |rm: &mut Rm, user: &str, start, limit| {
        rm.send(user, false, &GetQueueUserAclsRequest { start, limit });
        let page = rm.answer::<GetQueueUserAclsResponse>().expect("a page");
        let entry = |info: QueueUserAclInfo| (info.queue_name, info.user_acls);
        (page.next, page.queue_user_acls.into_iter().map(entry).collect::<Vec<_>>())
    };
    let both = vec![QueueAcl::SubmitApplications, QueueAcl::AdministerQueue];
    let (next, page) = list(&mut rm, "ada", 0, 2);
    assert_eq!(next, Some(2));
    assert_eq!(page[0], ("root".to_owned(), vec![]));
    let (next, rest) = list(&mut rm, "ada", 2, 2);
    assert_eq!((next, page.len() + rest.len()), (None, 3));
    let all: Vec<_> = page.into_iter().chain(rest).collect();
    assert!(all.contains(&("root.default".to_owned(), vec![QueueAcl::SubmitApplications])));
    assert!(list(&mut rm, "root", 0, 10).1.iter().all(|(_, acls)| *acls == both));
    assert!(list(&mut rm, "king", 0, 10).1.iter().all(|(_, acls)| *acls == [QueueAcl::AdministerQueue]));
}

#[test]
fn administration_needs_the_role_and_the_acl() {
    let mut rm = Rm::with(closed);
    let request = GetGroupsForUserRequest { user: "eli".to_owned() };
    for (user, is_admin, expected) in [
        ("root", true, None),
        ("olga", true, None),
        ("root", false, Some(RejectCode::RoleNotAllowed)),
        ("eve", true, Some(RejectCode::AccessControl)),
    ] {
        rm.send(user, is_admin, &request);
        match (rm.answer::<GetGroupsForUserResponse>(), expected) {
            (Ok(response), None) => assert_eq!(response.groups, ["etl"]),
            (result, Some(expected)) => assert_eq!(code(result).0, expected, "{user}"),
            (result, expected) => panic!("{user}: {result:?}, not {expected:?}"),
        }
    }
    assert_eq!(rm.audit.len(), 4, "every call is audited: {:#?}", rm.audit);
    assert!(
        rm.audit[3].starts_with("USER=eve\tOPERATION=getGroupsForUser\tTARGET=AdminService\tRESULT=FAILURE")
    );
    let caller = Caller::new(PeerId(1), "eve", true);
    let reply = rm.command(ApplicationCommand::ReplaceAdminAcl { token: 5, caller, admin_acl: Acl::all() });
    let ApplicationReply::Refused { token: 5, code, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(code, RejectCode::AccessControl as u16);
}

/// Story: where ACLs of applications and queues were off, so was the list of administrators: whoever had an administrator's
/// certificate could refresh and resize. In YARN the switch is for applications and queues only.
#[test]
fn the_list_of_administrators_holds_where_other_acls_are_off() {
    let mut rm = Rm::with(|_, queues| {
        assert!(!queues.acl_enabled);
        queues.admin_acl = Acl::parse("root");
    });
    let request = GetGroupsForUserRequest { user: "eli".to_owned() };
    rm.send("eve", true, &request);
    let (found, text) = code(rm.answer::<GetGroupsForUserResponse>());
    assert_eq!(found, RejectCode::AccessControl, "{text}");
    let admin_acl = Acl::all();
    let replace = |user: &str, admin_acl| {
        let caller = Caller::new(PeerId(1), user, true);
        ApplicationCommand::ReplaceAdminAcl { token: 5, caller, admin_acl }
    };
    let reply = rm.command(replace("eve", admin_acl.clone()));
    assert!(matches!(reply, ApplicationReply::Refused { token: 5, .. }), "{reply:?}");
    assert_eq!(rm.command(replace("root", admin_acl)), ApplicationReply::Done { token: 5 });
    rm.send("eve", true, &request);
    rm.answer::<GetGroupsForUserResponse>().expect("everybody is on the list");
    // Applications are everybody's, as before.
    let id = rm.submit(|_| {});
    assert!(may_modify(&mut rm, "mallory", id));
}

#[test]
fn files_that_were_read_are_put_in_force() {
    let mut rm = Rm::with(closed);
    let caller = || Caller::new(PeerId(1), "root", true);
    let id = rm.submit(|_| {});
    assert!(!may_view(&mut rm, "eve", id));
    let admin_acl = Acl::parse("root,eve");
    let reply = rm.command(ApplicationCommand::ReplaceAdminAcl { token: 1, caller: caller(), admin_acl });
    assert_eq!(reply, ApplicationReply::Done { token: 1 });
    assert!(may_view(&mut rm, "eve", id) && !may_view(&mut rm, "olga", id));
    let groups = [("mia".into(), vec!["etl".into()])].into();
    rm.command(ApplicationCommand::ReplaceGroups { token: 2, caller: caller(), groups });
    let other = rm.new_id();
    assert!(rm.submit_as("eli", context(other)).is_err());
    rm.submit_as("mia", context(other)).expect("mia is in the group now");
    rm.command(ApplicationCommand::ReplaceClusterMaxPriority { token: 3, caller: caller(), maximum: 7 });
    rm.send("root", true, &RefreshClusterMaxPriorityRequest {});
    let response = rm.answer::<RefreshClusterMaxPriorityResponse>().expect("an answer");
    assert_eq!(response.cluster_max_priority, 7);

    let mut queues = rm.queues.clone();
    queues.queues.truncate(2);
    queues.queues[1].acl_administer_queue = Acl::parse("vera");
    queues.queues.push(QueueSettings::leaf("root.c", Some(0), Capacity::Percent(0.0)));
    let command = |token, queues: &QueueTree| ApplicationCommand::ReplaceQueues {
        token,
        caller: caller(),
        queues: Box::new(queues.clone()),
    };
    let reply = rm.command(command(4, &queues));
    assert_eq!(
        reply,
        ApplicationReply::QueuesReplaced { token: 4, queues: 3, added: 1, removed: 1, changed: 1 }
    );
    assert!(may_view(&mut rm, "vera", id) && !may_view(&mut rm, "queen", id), "ACLs are the new ones");
    rm.reply = |_| {
        let code = RejectCode::ConfigurationRefused as u16;
        Some(QueryReply::Refused { code, reasons: "queue root.c is not empty\nqueue root.d too".into() })
    };
    let reply = rm.command(command(5, &QueueTree::default()));
    let reasons = "queue root.c is not empty\nqueue root.d too".into();
    assert_eq!(
        reply,
        ApplicationReply::Refused { token: 5, code: RejectCode::ConfigurationRefused as u16, reasons }
    );
    let line = rm.audit.last().expect("a line");
    assert!(
        line.ends_with("\tDESCRIPTION=queue root.c is not empty\\nqueue root.d too\tPERMISSIONS=UNKNOWN"),
        "{line}"
    );
}

#[test]
fn labels_and_capabilities_are_the_schedulers_to_change() {
    let mut rm = Rm::new();
    rm.reply = |_| Some(QueryReply::Done(2));
    let label = |name: &str| NodeLabel { name: name.to_owned(), is_exclusive: false };
    rm.send("root", true, &AddToClusterNodeLabelsRequest { node_labels: vec![label("x"), label("y")] });
    assert_eq!(rm.answer::<AddToClusterNodeLabelsResponse>().expect("an answer").added_labels, 2);
    rm.send("root", true, &RemoveFromClusterNodeLabelsRequest { node_labels: vec!["x".into(), "x".into()] });
    let response = rm.answer::<RemoveFromClusterNodeLabelsResponse>().expect("an answer");
    assert_eq!((response.removed_labels, response.affected_nodes), (1, 2));
    let on_node = |labels: &[&str]| ReplaceLabelsOnNodesRequest {
        node_to_labels: vec![NodeIdToLabels {
            node_id: NodeId::new("h", 0),
            node_labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        }],
        fail_on_unknown_nodes: true,
    };
    rm.send("root", true, &on_node(&["x"]));
    assert_eq!(rm.answer::<ReplaceLabelsOnNodesResponse>().expect("an answer").affected_nodes, 2);
    rm.send("root", true, &on_node(&["x", "y"]));
    let (found, text) = code(rm.answer::<ReplaceLabelsOnNodesResponse>());
    assert!(found == RejectCode::BadField && text.contains("has 2 labels, accepted is at most 1"), "{text}");
    let resize = |over_commit_timeout_ms| UpdateNodeResourceRequest {
        node_resources: vec![NodeResource {
            node_id: NodeId::new("h", 1),
            capability: Resource::new(4_096, 4),
            over_commit_timeout_ms,
        }],
    };
    rm.send("root", true, &resize(None));
    assert_eq!(rm.answer::<UpdateNodeResourceResponse>().expect("an answer").affected_nodes, 2);
    rm.send("root", true, &resize(Some(5)));
    assert_eq!(code(rm.answer::<UpdateNodeResourceResponse>()).0, RejectCode::Unsupported);
    rm.reply = |_| {
        let code = RejectCode::NotFound as u16;
        Some(QueryReply::Refused { code, reasons: "node h:1 is not known".into() })
    };
    rm.send("root", true, &resize(None));
    assert_eq!(
        code(rm.answer::<UpdateNodeResourceResponse>()),
        (RejectCode::NotFound, "node h:1 is not known".into())
    );
    let nodes: Vec<_> =
        rm.audit.iter().map(|line| line.split_once("\tNODES=").map_or("", |(_, nodes)| nodes)).collect();
    assert_eq!(nodes, ["", "", "h", "h", "h:1", "h:1", "h:1"], "{:#?}", rm.audit);
}

/// The log said that somebody had changed what nodes offer, and not which nodes.
#[test]
fn whose_labels_or_capability_were_to_be_changed_is_audited_by_name() {
    let mut rm = Rm::with(closed);
    let node = |index: usize| NodeIdToLabels {
        node_id: NodeId::new(format!("n{index}"), 45_454),
        node_labels: vec!["x".to_owned()],
    };
    let request = ReplaceLabelsOnNodesRequest {
        node_to_labels: (0..1_024).map(node).collect(),
        fail_on_unknown_nodes: true,
    };
    for user in ["root", "eve"] {
        rm.send(user, true, &request);
        let named: Vec<String> = (0..10).map(|index| format!("n{index}:45454")).collect();
        let line = rm.audit.last().expect("a line");
        assert!(line.ends_with(&format!("\tNODES={} and 1014 more", named.join(","))), "{line}");
    }
    assert!(
        rm.audit[0].contains("RESULT=SUCCESS") && rm.audit[1].contains("RESULT=FAILURE"),
        "{:#?}",
        rm.audit
    );
    // Names that are none are not written down.
    let mut bad = request;
    bad.node_to_labels[0].node_id.host = "x".repeat(100_000);
    rm.send("root", true, &bad);
    assert!(rm.audit[2].len() < 300, "{}", rm.audit[2].len());
}

//! From submission to the end, and every way in which it goes wrong.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use super::*;
use YarnApplicationAttemptState as A;
use YarnApplicationState as S;

#[test]
fn an_application_from_submission_to_its_end() {
    let mut rm = Rm::new();
    let id = rm.submit(|context| context.application_tags = vec!["ETL".to_owned()]);
    let first = attempt(id, 1);
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Accepted, A::Scheduled));
    assert_eq!(rm.told(), ["AddApplication", "AddAttempt"]);
    rm.allocate_am(first);
    assert_eq!(rm.attempt_state(first), A::Allocated);
    assert_eq!(rm.told(), ["LaunchAm"]);
    rm.pass(SECOND);
    rm.launched(first);
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Accepted, A::Launched));
    rm.register(first);
    let report = rm.report(id);
    assert_eq!((report.state, report.host.as_str(), report.rpc_port), (S::Running, "host1", 4_711));
    assert_eq!(report.final_application_status, FinalApplicationStatus::Undefined);
    assert_eq!((report.start_time_ms, report.launch_time_ms), (RM + 1_000, RM + 2_000));
    rm.event(ApplicationEvent::StatusUpdate { attempt_id: first, progress: 0.5, tracking_url: None });
    let report = rm.report(id);
    assert!((report.progress - 0.5).abs() < 1e-6);
    let usage = report.resource_usage.expect("the owner sees usage");
    assert_eq!((usage.num_used_containers, usage.needed_resources.memory_mb), (id.id, 3_072));
    assert_eq!(rm.told(), [""; 0]);
    rm.unregister(first);
    assert_eq!(rm.told(), ["FinalStateStored"], "the AM's finish is answered now");
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Finished, A::Finishing));
    assert_eq!(rm.summaries, [""; 0], "its container has not ended");
    rm.end_am(first, 0);
    assert_eq!(rm.removal(), (false, false), "the AM container has ended by itself");
    assert_eq!(rm.told(), ["RemoveAttempt", "RemoveApplication"]);
    let report = rm.report(id);
    assert_eq!(report.final_application_status, FinalApplicationStatus::Succeeded);
    assert_eq!(
        (report.tracking_url.as_str(), report.diagnostics.as_str()),
        ("http://host1/done", "all done")
    );
    assert_eq!(report.resource_usage.expect("usage").resource_seconds[0].seconds, 100, "what it used in all");
    assert_eq!(
        rm.summaries,
        [format!(
            "appId={id},name=wordcount,user=ada,queue=root.default,state=FINISHED,trackingUrl=http://host1/done,\
             appMasterHost=host1,submitTime={},startTime={0},launchTime={},finishTime={1},finalStatus=SUCCEEDED,\
             memorySeconds=100,vcoreSeconds=10,preemptedMemorySeconds=0,preemptedVcoreSeconds=0,\
             preemptedAMContainers=0,preemptedNonAMContainers=0,preemptedResources=<memory:0\\, vCores:0>,\
             applicationType=YARN,resourceSeconds=100 MB-seconds\\, 10 vcore-seconds,\
             preemptedResourceSeconds=0 MB-seconds\\, 0 vcore-seconds,applicationTags=etl,applicationNodeLabel=,\
             diagnostics=all done,totalAllocatedContainers=3",
            RM + 1_000,
            RM + 2_000,
        )]
    );
    assert_eq!(
        rm.audit,
        [
            format!(
                "USER=ada\tOPERATION=Submit Application Request\tTARGET=ClientRMService\tRESULT=SUCCESS\tAPPID={id}\t\
                 QUEUENAME=default"
            ),
            format!(
                "USER=ada\tOPERATION=Application Finished - Succeeded\tTARGET=RMAppManager\tRESULT=SUCCESS\tAPPID={id}"
            ),
        ]
    );
    let stored = &rm.store.inner.applications()[&id];
    assert_eq!(stored.record.state.final_state, Some(S::Finished as u8));
    assert_eq!(stored.attempts[&1].final_state, Some(A::Finished as u8));
    assert_eq!((stored.attempts[&1].containers_allocated, stored.attempts[&1].am_exit_status), (3, 0));
    assert_eq!(rm.notices, [""; 0]);
    let counters = rm.manager.counters();
    assert_eq!((counters.submitted, counters.finished, counters.impossible_pairs), (1, 1, 0));
    assert_eq!(counters.applications_by_state, [0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(counters.launch_context_bytes, 0, "what is needed to launch is not kept");
}

#[test]
fn an_am_that_fails_is_retried_until_the_maximum() {
    let mut rm = Rm::with(|settings, _| {
        (settings.am_max_attempts, settings.global_am_max_attempts) = (3, 3);
    });
    let id = rm.submit(|context| context.max_app_attempts = 2);
    rm.start_am(attempt(id, 1));
    rm.told();
    rm.end_am(attempt(id, 1), 13);
    assert_eq!(rm.told(), ["RemoveAttempt", "AddAttempt"]);
    assert_eq!((rm.state(id), rm.attempt_state(attempt(id, 1))), (S::Accepted, A::Failed));
    let report = rm.attempt_report(attempt(id, 1));
    assert_eq!((report.host.as_str(), report.rpc_port), ("N/A", -1), "a dead AM is nowhere");
    let urls = (report.tracking_url.as_str(), report.original_tracking_url.as_str());
    assert_eq!(urls, ("N/A", "N/A"), "and not pointed at");
    assert!(report.diagnostics.contains("exited with exitCode: 13"), "{}", report.diagnostics);
    assert_eq!(rm.attempt_state(attempt(id, 2)), A::Scheduled);
    rm.start_am(attempt(id, 2));
    rm.told();
    rm.end_am(attempt(id, 2), 1);
    assert_eq!(rm.told(), ["RemoveAttempt", "FinalStateStored", "RemoveApplication"]);
    let report = rm.report(id);
    assert_eq!((report.state, report.final_application_status), (S::Failed, FinalApplicationStatus::Failed));
    let text = &report.diagnostics;
    assert!(
        text.starts_with(&format!(
            "Application {id} failed 2 times (global limit =3; local limit is =2) due to "
        )) && text.ends_with("Failing the application."),
        "{text}"
    );
    assert_eq!(report.resource_usage.expect("usage").resource_seconds[0].seconds, 200, "of both attempts");
    let last = rm.audit.last().expect("a line");
    let expected = format!(
        "RESULT=FAILURE\tDESCRIPTION=App failed with state: FAILED\tPERMISSIONS=Application {id} failed 2 times"
    );
    assert!(last.contains(&expected), "{last}");
    assert_eq!(rm.manager.counters().attempts_failed, 2);
}

/// Such a failure does not go away by trying again, and would be tried for ever where failures are soon forgotten.
#[test]
fn an_attempt_that_the_scheduler_rejects_fails_its_application_by_name() {
    let mut rm = Rm::with(|settings, _| {
        (settings.am_max_attempts, settings.global_am_max_attempts) = (3, 3);
    });
    let id = rm.submit(|context| context.attempt_failures_validity_interval_ms = Some(1));
    rm.start_am(attempt(id, 1));
    rm.rejects_attempts = Some("node label \"x\" is not a label of the cluster");
    rm.told();
    rm.end_am(attempt(id, 1), 13);
    assert_eq!(
        rm.told(),
        ["RemoveAttempt", "AddAttempt", "RemoveAttempt", "FinalStateStored", "RemoveApplication"]
    );
    assert_eq!((rm.state(id), rm.attempt_state(attempt(id, 2))), (S::Failed, A::Failed));
    let text = rm.report(id).diagnostics;
    assert!(text.contains("is not a label of the cluster. Failing the application."), "{text}");
    assert_eq!(
        rm.attempt_report(attempt(id, 2)).diagnostics,
        "node label \"x\" is not a label of the cluster"
    );
    assert!(rm.notices.is_empty(), "{:?}", rm.notices);
}

#[test]
fn failures_that_are_nobodys_fault_do_not_count_and_do_not_fill_the_memory() {
    let mut rm = Rm::with(|settings, _| settings.attempts_kept_max = 5);
    let id = rm.submit(|_| {});
    let statuses = [-100, -101, -102, -106];
    for number in 1..=40 {
        rm.start_am(attempt(id, number));
        rm.end_am(attempt(id, number), statuses[number as usize % 4]);
        assert_eq!(rm.state(id), S::Accepted, "after attempt {number}");
    }
    rm.send("ada", false, &GetApplicationAttemptsRequest { application_id: id, after: None, limit: 100 });
    let kept = rm.answer::<GetApplicationAttemptsResponse>().expect("a page").application_attempts;
    assert_eq!(kept.len(), 6, "five and the current one");
    assert_eq!(kept.last().expect("one").application_attempt_id, attempt(id, 41));
    assert_eq!(rm.store.inner.applications()[&id].attempts.len(), 5, "the store forgets them as well");
    // Two that count end it.
    rm.end_am(attempt(id, 41), 1);
    assert_eq!(rm.state(id), S::Accepted);
    rm.end_am(attempt(id, 42), 1);
    assert_eq!(rm.state(id), S::Failed);
    let _ = rm.report(id);
    rm.pass(SECOND);
    assert!(rm.summaries[0].contains("preemptedAMContainers=10,"), "{}", rm.summaries[0]);
}

#[test]
fn with_one_attempt_nothing_is_retried_whatever_the_fault() {
    let mut rm = Rm::new();
    let id = rm.submit(|context| context.max_app_attempts = 1);
    rm.start_am(attempt(id, 1));
    rm.end_am(attempt(id, 1), -100);
    assert_eq!(rm.state(id), S::Failed);
}

#[test]
fn failures_older_than_the_validity_interval_do_not_count() {
    let mut rm = Rm::new();
    let id = rm.submit(|context| context.attempt_failures_validity_interval_ms = Some(10_000));
    for number in 1..=6 {
        rm.start_am(attempt(id, number));
        rm.end_am(attempt(id, number), 1);
        assert_eq!(rm.state(id), S::Accepted, "after attempt {number}");
        rm.pass(Duration::from_secs(11));
    }
    assert!(rm.store.inner.applications()[&id].attempts.len() <= 2, "old ones leave the store");
    rm.end_am(attempt(id, 7), 1);
    rm.pass(Duration::from_secs(9));
    rm.end_am(attempt(id, 8), 1);
    let report = rm.report(id);
    assert_eq!(report.state, S::Failed, "two within ten seconds");
    let text = "failed 2 times in previous 10000 milliseconds due to";
    assert!(report.diagnostics.contains(text), "{}", report.diagnostics);
}

#[test]
fn a_silent_am_fails_and_is_stopped() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.event(ApplicationEvent::Expired { attempt_id: first });
    assert_eq!(rm.attempt_state(first), A::Failed);
    assert_eq!(rm.removal(), (false, true), "it may still run");
    let text = rm.attempt_report(first).diagnostics;
    assert_eq!(text, format!("ApplicationMaster for attempt {first} timed out"));
    assert_eq!(rm.state(id), S::Accepted, "another follows");
    // Its container ends: no news.
    rm.end_am(first, -105);
    assert_eq!(rm.manager.counters().impossible_pairs, 0);
}

/// An ApplicationMaster is watched from the order to launch it on. Its node said nothing of it for longer than that: the
/// expiry was taken for impossible, and nobody watched the attempt any more if it was launched later.
#[test]
fn an_am_that_nobody_saw_launched_fails_when_it_expires() {
    let mut rm = Rm::new();
    let id = rm.submit(|context| context.max_app_attempts = 2);
    let first = attempt(id, 1);
    rm.allocate_am(first);
    rm.event(ApplicationEvent::Expired { attempt_id: first });
    assert_eq!(rm.attempt_state(first), A::Failed);
    assert_eq!(rm.removal(), (false, true), "it may be launched yet");
    assert_eq!(rm.state(id), S::Accepted, "another follows");
    assert_eq!(rm.manager.counters().impossible_pairs, 0);
}

#[test]
fn an_am_that_finishes_and_goes_on_is_stopped() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.unregister(first);
    rm.pass(Duration::from_secs(599));
    assert_eq!(rm.attempt_state(first), A::Finishing);
    rm.pass(SECOND);
    assert_eq!(rm.attempt_state(first), A::Finished);
    assert_eq!(rm.removal(), (false, true));
    assert_eq!((rm.state(id), rm.summaries.len()), (S::Finished, 1));
    assert_eq!(rm.manager.next_deadline(), None);
}

#[test]
fn a_container_that_ends_before_the_final_state_is_stored_skips_finishing() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.holds_store = true;
    rm.unregister(first);
    rm.end_am(first, 0);
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Running, A::Running));
    rm.release_store();
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Finished, A::Finished));
    assert_eq!(rm.summaries.len(), 1);
    assert_eq!(rm.manager.next_deadline(), None, "nothing waits for an end that was");
}

#[test]
fn what_never_registered_fails_with_its_container() {
    for steps in 0..3 {
        let mut rm = Rm::new();
        let id = rm.submit(|context| context.max_app_attempts = 1);
        if steps > 0 {
            rm.allocate_am(attempt(id, 1));
        }
        if steps > 1 {
            rm.launched(attempt(id, 1));
        }
        rm.end_am(attempt(id, 1), 127);
        assert_eq!((rm.state(id), rm.attempt_state(attempt(id, 1))), (S::Failed, A::Failed), "{steps}");
    }
}

#[test]
fn an_am_may_register_before_its_node_reports_it() {
    let mut rm = Rm::new();
    let id = rm.submit(|_| {});
    rm.allocate_am(attempt(id, 1));
    rm.register(attempt(id, 1));
    let report = rm.report(id);
    assert_eq!((report.state, report.launch_time_ms), (S::Running, RM + 1_000));
    rm.launched(attempt(id, 1));
    assert_eq!(rm.manager.counters().impossible_pairs, 0);
}

#[test]
fn kill_in_every_state() {
    // How far the application got, and what the scheduler is told after the kill.
    let cases: [(&str, &[&str]); 7] = [
        ("NEW_SAVING", &[]),
        ("SUBMITTED", &["AddApplication", "FinalStateStored", "RemoveApplication"]),
        ("SCHEDULED", &["RemoveAttempt", "FinalStateStored", "RemoveApplication"]),
        ("ALLOCATED_SAVING", &["RemoveAttempt", "FinalStateStored", "RemoveApplication"]),
        ("ALLOCATED", &["RemoveAttempt", "FinalStateStored", "RemoveApplication"]),
        ("LAUNCHED", &["RemoveAttempt", "FinalStateStored", "RemoveApplication"]),
        ("RUNNING", &["RemoveAttempt", "FinalStateStored", "RemoveApplication"]),
    ];
    for (far, expected) in cases {
        let mut rm = Rm::new();
        rm.holds_store = far == "NEW_SAVING";
        rm.holds_scheduler = far == "SUBMITTED";
        let id = rm.submit(|_| {});
        let first = attempt(id, 1);
        if far == "ALLOCATED_SAVING" {
            rm.holds_store = true;
        }
        if matches!(far, "ALLOCATED_SAVING" | "ALLOCATED" | "LAUNCHED" | "RUNNING") {
            rm.allocate_am(first);
        }
        if matches!(far, "LAUNCHED" | "RUNNING") {
            rm.launched(first);
        }
        if far == "RUNNING" {
            rm.register(first);
        }
        if far != "SUBMITTED" {
            rm.told();
        }
        let before = rm.report_for("eve", id).expect("a report").state;
        assert!(!rm.kill(id), "{far}");
        rm.holds_store = false;
        rm.release_scheduler();
        assert_eq!(rm.told(), expected, "{far}, shown as {before:?}");
        let report = rm.report(id);
        assert_eq!(
            (report.state, report.final_application_status),
            (S::Killed, FinalApplicationStatus::Killed)
        );
        assert_eq!(report.diagnostics, format!("Application {id} was killed by user ada"));
        assert!(rm.kill(id), "{far}: repeated, it is done");
        assert_eq!(rm.summaries.len(), 1, "{far}");
        assert_eq!(rm.manager.counters().impossible_pairs, 0, "{far}: {:?}", rm.notices);
        // The scheduler's and the node's belated words change nothing.
        rm.event(ApplicationEvent::Launched { attempt_id: first });
        rm.end_am(first, -106);
        assert_eq!(rm.state(id), S::Killed, "{far}");
    }
}

#[test]
fn a_kill_shows_the_state_before_until_it_is_stored_and_is_audited_once() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.holds_store = true;
    for _ in 0..5 {
        assert!(!rm.kill(id));
    }
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Running, A::Running));
    rm.release_store();
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Killed, A::Killed));
    assert!(rm.kill(id));
    assert_eq!(rm.audit.iter().filter(|line| line.contains("Kill Application Request")).count(), 1);
    assert_eq!(rm.removal(), (false, true));
}

#[test]
fn a_finish_that_is_being_stored_wins_over_a_kill_and_the_reverse() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.holds_store = true;
    rm.unregister(first);
    assert!(!rm.kill(id));
    rm.release_store();
    assert_eq!(rm.report(id).final_application_status, FinalApplicationStatus::Succeeded);
    assert!(rm.kill(id), "FINISHING counts as done");
    rm.end_am(first, 0);
    assert_eq!(rm.state(id), S::Finished);

    let (id, first) = rm.running();
    rm.holds_store = true;
    assert!(!rm.kill(id));
    rm.unregister(first);
    rm.release_store();
    assert_eq!(rm.report(id).final_application_status, FinalApplicationStatus::Killed);
    assert_eq!(rm.summaries.len(), 2);
    assert_eq!(rm.manager.counters().impossible_pairs, 0, "{:?}", rm.notices);
}

/// Story: an ApplicationMaster that said UNDEFINED of its work was reported as one that failed. Only an end without its
/// word is a failure.
#[test]
fn what_an_am_says_of_its_work_is_passed_on_undefined_too() {
    use FinalApplicationStatus as F;
    for said in [F::Undefined, F::Succeeded, F::Failed, F::Killed, F::Ended] {
        let mut rm = Rm::new();
        let (id, first) = rm.running();
        rm.event(ApplicationEvent::Unregistered {
            attempt_id: first,
            final_status: said as u8,
            diagnostics: Box::default(),
            diagnostics_cut: 0,
            tracking_url: Box::default(),
        });
        rm.end_am(first, 0);
        let report = rm.report(id);
        assert_eq!((report.state, report.final_application_status), (S::Finished, said));
        let name = format!("{said:?}").to_uppercase();
        assert!(rm.summaries[0].contains(&format!("finalStatus={name},")), "{}", rm.summaries[0]);
    }
}

#[test]
fn a_kill_racing_with_a_failure_ends_killed_where_a_retry_was_due_else_failed() {
    for (attempts, expected) in [(2, S::Killed), (1, S::Failed)] {
        let mut rm = Rm::new();
        let id = rm.submit(|context| context.max_app_attempts = attempts);
        rm.start_am(attempt(id, 1));
        rm.holds_store = true;
        rm.end_am(attempt(id, 1), 1);
        assert!(!rm.kill(id));
        rm.release_store();
        assert_eq!(rm.state(id), expected);
    }
}

#[test]
fn finish_twice_and_register_twice_change_nothing() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.register(first);
    rm.unregister(first);
    rm.unregister(first);
    rm.end_am(first, 0);
    rm.end_am(first, 0);
    rm.unregister(first);
    assert_eq!((rm.state(id), rm.summaries.len()), (S::Finished, 1));
    assert_eq!(rm.manager.counters().impossible_pairs, 0);
}

#[test]
fn an_unmanaged_am_registers_with_what_its_owner_is_told() {
    let mut rm = Rm::with(|settings, _| {
        settings.am_rm_token_keys.current = Some((9, Box::from([5; 32])));
    });
    let id = rm.submit(|context| context.is_unmanaged_am = true);
    let first = attempt(id, 1);
    assert_eq!(rm.addition().am, None);
    assert_eq!(rm.told(), ["AddApplication", "AddAttempt", "UnmanagedAttemptReady"]);
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Accepted, A::Launched));
    let report = rm.report(id);
    let handle = report.attempt_handle.expect("where it registers");
    let token = report.am_rm_token.expect("what it registers with");
    let identifier =
        heddle_wire::token::AmRmTokenIdentifier { application_attempt_id: first, attempt_handle: handle };
    let key = heddle_wire::token::TokenKey::new(9, &[5; 32]);
    assert!(heddle_wire::token::Identifier::verify(&identifier, &key, &token, &mut Vec::new()));
    assert_eq!(rm.report_for("eve", id).expect("a report").am_rm_token, None, "nobody else is told");
    rm.register(first);
    assert_eq!(rm.report(id).am_rm_token, None, "it has it");
    rm.told();
    rm.unregister(first);
    assert_eq!(rm.told(), ["FinalStateStored", "RemoveAttempt", "RemoveApplication"], "in this order");
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Finished, A::Finished), "there is no container");
}

#[test]
fn an_unmanaged_am_that_fails_is_not_retried_and_one_that_is_early_fails() {
    let mut rm = Rm::new();
    let id = rm.submit(|context| context.is_unmanaged_am = true);
    rm.register(attempt(id, 1));
    rm.event(ApplicationEvent::Expired { attempt_id: attempt(id, 1) });
    let report = rm.report(id);
    assert_eq!(report.state, S::Failed);
    assert!(report.diagnostics.starts_with(&format!("Unmanaged application {id} failed due to ")));

    // The scheduler knows the attempt, and its record is not stored yet.
    rm.holds_scheduler = true;
    let early = rm.submit(|context| context.is_unmanaged_am = true);
    rm.holds_store = true;
    rm.release_scheduler();
    rm.holds_scheduler = true;
    assert_eq!(rm.attempt_state(attempt(early, 1)), A::AllocatedSaving);
    rm.register(attempt(early, 1));
    rm.holds_store = false;
    rm.release_scheduler();
    let report = rm.report(early);
    assert_eq!(report.state, S::Failed, "{}", report.diagnostics);
    assert!(
        report.diagnostics.contains("registered before the attempt was LAUNCHED"),
        "{}",
        report.diagnostics
    );
}

#[test]
fn a_lifetime_ends_on_the_next_check() {
    let mut rm = Rm::new();
    let timeout = ApplicationTimeoutRequest { timeout_type: ApplicationTimeoutType::Lifetime, timeout_s: 60 };
    let id = rm.submit(|context| context.application_timeouts = vec![timeout]);
    rm.start_am(attempt(id, 1));
    let lifetime = rm.report(id).application_timeouts[0];
    assert_eq!((lifetime.expires_at_ms, lifetime.remaining_ms), (Some(RM + 61_000), Some(60_000)));
    assert_eq!(rm.manager.next_deadline(), Some(Instant::from_millis(63_000)), "a multiple of three seconds");
    rm.pass(Duration::from_millis(61_999));
    assert_eq!(rm.state(id), S::Running);
    rm.pass(Duration::from_millis(1));
    let report = rm.report(id);
    assert_eq!(report.state, S::Killed);
    assert!(report.diagnostics.contains("as it has exceeded the lifetime period"), "{}", report.diagnostics);
    assert_eq!(rm.manager.next_deadline(), None);
    let other = rm.submit(|context| context.application_timeouts = vec![timeout]);
    rm.kill(other);
    assert_eq!(rm.manager.next_deadline(), None, "the timer of one that ended early is gone");
    assert_eq!(rm.report(other).application_timeouts[0].expires_at_ms, Some(RM + 63_000 + 60_000));
}

#[test]
fn queues_bound_lifetimes_and_give_defaults() {
    let mut rm = Rm::with(|_, queues| {
        queues.queues[1].maximum_application_lifetime_s = Some(100);
        queues.queues[1].default_application_lifetime_s = Some(50);
    });
    let timeout =
        ApplicationTimeoutRequest { timeout_type: ApplicationTimeoutType::Lifetime, timeout_s: 600 };
    let long = rm.submit(|context| context.application_timeouts = vec![timeout]);
    assert_eq!(rm.report(long).application_timeouts[0].remaining_ms, Some(100_000));
    let silent = rm.submit(|_| {});
    assert_eq!(rm.report(silent).application_timeouts[0].remaining_ms, Some(50_000));
}

#[test]
fn containers_are_kept_where_the_application_asked_and_another_attempt_follows() {
    let mut rm = Rm::new();
    let id = rm.submit(|context| context.keep_containers_across_application_attempts = true);
    assert!(!rm.addition().transfer_from_previous && rm.addition().keep_containers);
    rm.start_am(attempt(id, 1));
    rm.end_am(attempt(id, 1), 1);
    assert_eq!(rm.removal(), (true, false));
    assert!(rm.addition().transfer_from_previous);
    rm.start_am(attempt(id, 2));
    rm.end_am(attempt(id, 2), 1);
    assert_eq!(rm.removal(), (false, false), "no further attempt: nothing to keep them for");
    // A kill keeps nothing.
    let id = rm.submit(|context| context.keep_containers_across_application_attempts = true);
    rm.start_am(attempt(id, 1));
    rm.kill(id);
    assert_eq!(rm.removal(), (false, true));
}

#[test]
fn hosts_where_the_am_failed_are_avoided_when_that_is_on() {
    for (is_on, exit_status, expected) in [(false, 1, 0), (true, 1, 1), (true, -104, 0), (true, -1_000, 1)] {
        let mut rm = Rm::with(|settings, _| {
            if is_on {
                settings.am_blacklisting =
                    Some(heddle::engine::application::settings::AmBlacklistSettings { hosts_max: 2 });
            }
        });
        let id = rm.submit(|_| {});
        rm.start_am(attempt(id, 1));
        rm.end_am(attempt(id, 1), exit_status);
        let blacklist = rm.addition().am.expect("a managed attempt").blacklist;
        assert_eq!(blacklist.len(), expected, "{is_on} {exit_status}");
    }
}

#[test]
fn what_the_scheduler_rejects_is_failed_and_visible() {
    let mut rm = Rm::new();
    rm.rejects = Some("queue nope is not known, accepted are root.default");
    let id = rm.submit(|context| context.queue = "nope".to_owned());
    let report = rm.report(id);
    assert_eq!((report.state, report.diagnostics.as_str()), (S::Failed, rm.rejects.expect("a reason")));
    assert_eq!(rm.told(), ["AddApplication"], "it is not told to forget what it does not know");
    assert_eq!(rm.summaries.len(), 1);
}

#[test]
fn impossible_pairs_are_counted_and_noted_and_change_nothing() {
    let mut rm = Rm::new();
    let id = rm.submit(|_| {});
    rm.launched(attempt(id, 1));
    assert_eq!(rm.attempt_state(attempt(id, 1)), A::Scheduled);
    assert_eq!(rm.manager.counters().impossible_pairs, 1);
    let text = format!("{} in SCHEDULED: Launched is impossible, ignored", attempt(id, 1));
    assert_eq!(rm.notices, [text]);
    // Of what is not known: counted.
    rm.launched(attempt(id, 2));
    rm.launched(attempt(ApplicationId { cluster_timestamp: 1, id: 1 }, 1));
    rm.event(ApplicationEvent::Reply { token: 4_711, reply: QueryReply::Done(0) });
    assert_eq!(rm.manager.counters().unknown_events, 3);
    // The end of another container than the AM's.
    rm.allocate_am(attempt(id, 1));
    rm.event(ApplicationEvent::AmContainerFinished {
        attempt_id: attempt(id, 1),
        container_id: ContainerId { application_attempt_id: attempt(id, 1), container_id: 77 },
        exit_status: 1,
        diagnostics: "".into(),
        host: "h".into(),
    });
    assert_eq!(rm.attempt_state(attempt(id, 1)), A::Allocated);
}

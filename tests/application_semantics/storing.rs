//! Nothing is visible before it is durable, and what the store refuses.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use super::*;
use YarnApplicationAttemptState as A;
use YarnApplicationState as S;

fn unavailable() -> StoreError {
    StoreError::Unavailable("disk full".into())
}

#[test]
fn nothing_is_visible_or_ordered_before_its_record_is_acknowledged() {
    let mut rm = Rm::new();
    rm.holds_store = true;
    let id = rm.submit(|_| {});
    let first = attempt(id, 1);
    assert_eq!((rm.state(id), rm.told()), (S::NewSaving, Vec::new()));
    assert!(matches!(rm.held[..], [StoreOperation::SaveApplication(_)]));
    rm.release_store();
    assert_eq!((rm.state(id), rm.told()), (S::Accepted, vec!["AddApplication", "AddAttempt"]));

    rm.holds_store = true;
    rm.allocate_am(first);
    assert_eq!((rm.attempt_state(first), rm.told()), (A::AllocatedSaving, Vec::new()), "no launch");
    rm.release_store();
    assert_eq!((rm.attempt_state(first), rm.told()), (A::Allocated, vec!["LaunchAm"]));

    rm.launched(first);
    rm.register(first);
    rm.holds_store = true;
    rm.unregister(first);
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Running, A::Running));
    assert_eq!(rm.report(id).final_application_status, FinalApplicationStatus::Undefined);
    assert!(rm.report(id).finish_time_ms > 0, "the end is known when the write begins");
    assert_eq!(rm.told(), [""; 0], "the AM's finish is not answered yet");
    // The application's record goes first: the AM waits for it.
    let finals: Vec<bool> = rm
        .held
        .iter()
        .map(|operation| {
            matches!(operation, StoreOperation::UpdateApplication { purpose: UpdatePurpose::Final, .. })
        })
        .collect();
    assert_eq!(finals, [true, false]);
    rm.release_store();
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Finished, A::Finishing));
    assert_eq!(rm.told(), ["FinalStateStored"]);
}

#[test]
fn an_application_that_cannot_be_stored_fails_by_name() {
    let mut rm = Rm::new();
    rm.store.inner = MemoryStore::with_record_size_max(600);
    let id = rm.submit(|context| context.am_container_spec.commands = vec!["x".repeat(1_000)]);
    let report = rm.report(id);
    assert_eq!(report.state, S::Failed);
    assert!(
        report.diagnostics.contains("could not be stored: the record has")
            && report.diagnostics.contains("at most 600"),
        "{}",
        report.diagnostics
    );
    assert_eq!(rm.told(), [""; 0], "the scheduler never hears of it");
    assert_eq!((rm.notices.len(), rm.manager.counters().store_failures), (1, 1));
}

#[test]
fn an_attempt_that_cannot_be_stored_fails_by_name() {
    let mut rm = Rm::new();
    let id = rm.submit(|_| {});
    rm.store.fails = Some(|operation| match operation {
        StoreOperation::SaveAttempt(record) if record.attempt_id.attempt_id == 1 => Some(unavailable()),
        _ => None,
    });
    rm.told();
    rm.allocate_am(attempt(id, 1));
    assert_eq!(rm.attempt_state(attempt(id, 1)), A::Failed);
    let text = rm.attempt_report(attempt(id, 1)).diagnostics;
    assert!(text.ends_with("could not be stored: the state store does not work: disk full"), "{text}");
    assert_eq!(rm.removal(), (false, true), "its container is given back");
    assert_eq!(rm.told(), ["RemoveAttempt", "AddAttempt"], "it was never launched; another follows");
}

#[test]
fn a_final_state_is_written_until_it_is_durable_and_not_shown_before() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.store.fails = Some(|_| Some(unavailable()));
    rm.unregister(first);
    rm.end_am(first, 0);
    rm.pass(Duration::from_secs(5));
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Running, A::Running));
    assert!(rm.notices.len() >= 10, "every failure is noted: {}", rm.notices.len());
    assert_eq!(rm.summaries, [""; 0]);
    rm.store.fails = None;
    rm.pass(SECOND);
    assert_eq!((rm.state(id), rm.attempt_state(first)), (S::Finished, A::Finished));
    assert_eq!(rm.summaries.len(), 1);
    assert_eq!(rm.store.inner.applications()[&id].record.state.final_state, Some(S::Finished as u8));
    assert_eq!(rm.manager.next_deadline(), None);
}

#[test]
fn a_final_state_that_will_never_be_stored_ends_the_application_and_says_so() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.store.fails = Some(|operation| match operation {
        StoreOperation::UpdateApplication { purpose: UpdatePurpose::Final, .. } => {
            Some(StoreError::TooLarge { size: 9, accepted: 8 })
        }
        _ => None,
    });
    rm.unregister(first);
    rm.end_am(first, 0);
    let report = rm.report(id);
    assert_eq!(report.state, S::Finished);
    let text =
        "The final state could not be stored: the record has 9 bytes, the state store accepts at most 8";
    assert!(report.diagnostics.contains(text), "{}", report.diagnostics);
}

#[test]
fn a_kill_that_overtakes_a_failing_save_ends_all_the_same() {
    let mut rm = Rm::new();
    rm.holds_store = true;
    rm.store.fails = Some(|operation| {
        matches!(operation, StoreOperation::SaveApplication(_))
            .then(|| StoreError::TooLarge { size: 9, accepted: 8 })
    });
    let id = rm.submit(|_| {});
    assert!(!rm.kill(id));
    rm.release_store();
    assert_eq!(rm.state(id), S::Killed);
    assert!(rm.kill(id));
}

#[test]
fn completed_applications_are_kept_up_to_the_caps_oldest_first() {
    let mut rm = Rm::with(|settings, _| {
        settings.max_completed_applications = 3;
        settings.store_max_completed_applications = 2;
    });
    let (running, _) = rm.running();
    let ids: Vec<ApplicationId> = (0..5).map(|_| rm.finished()).collect();
    for id in &ids[..2] {
        assert_eq!(code(rm.report_for("ada", *id)).0, RejectCode::ApplicationNotFound);
    }
    assert_eq!(rm.state(ids[2]), S::Finished);
    assert_eq!(rm.state(running), S::Running, "what runs is not evicted");
    let stored: Vec<ApplicationId> = rm.store.inner.applications().keys().copied().collect();
    assert_eq!(stored, [running, ids[3], ids[4]], "the store keeps fewer");
    let counters = rm.manager.counters();
    assert_eq!((counters.evicted, counters.applications_by_state), (2, [0, 0, 0, 0, 1, 3, 0, 0]));
}

#[test]
fn an_application_completes_when_the_scheduler_has_accounted_for_its_attempts() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    rm.unregister(first);
    rm.holds_scheduler = true;
    rm.end_am(first, 0);
    // Without the scheduler a report would wait: look without View.
    assert_eq!(rm.summaries, [""; 0]);
    rm.release_scheduler();
    assert_eq!(rm.summaries.len(), 1, "the summary has what the last attempt used");
    assert!(rm.summaries[0].contains("memorySeconds=100,"));
    assert_eq!(rm.state(id), S::Finished);
}

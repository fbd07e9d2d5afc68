//! The memory store keeps to the contract of [`StateStore`].
//! Owns: those tests. Called by: the test harness. Does not: test when the application manager writes.

use super::*;
use crate::engine::application::message::{ApplicationStateRecord, Submission, UpdatePurpose};
use crate::engine::scheduler::settings::Acl;

const ID: ApplicationId = ApplicationId { cluster_timestamp: 1, id: 1 };

fn state(queue: &str) -> ApplicationStateRecord {
    ApplicationStateRecord {
        application_id: ID,
        final_state: None,
        queue: queue.into(),
        priority: 0,
        expires_at_ms: None,
        submit_time_ms: 1,
        start_time_ms: 1,
        launch_time_ms: 0,
        finish_time_ms: 0,
        diagnostics: "".into(),
    }
}

fn save(context: usize) -> StoreOperation {
    let submission = Submission {
        application_id: ID,
        user: "ada".into(),
        name: "n".into(),
        application_type: "YARN".into(),
        queue: "default".into(),
        priority: 0,
        is_unmanaged: false,
        max_attempts: 0,
        am: None,
        keep_containers: false,
        tags: Box::default(),
        failures_validity_interval_ms: None,
        node_label_expression: None,
        lifetime_s: None,
        view_acl: Acl::default(),
        modify_acl: Acl::default(),
        acls: Vec::new(),
        launch_context: vec![0; context].into(),
    };
    StoreOperation::SaveApplication(Box::new(ApplicationRecord { submission, state: state("default") }))
}

fn attempt(number: u32) -> Box<AttemptRecord> {
    Box::new(AttemptRecord {
        attempt_id: ApplicationAttemptId { application_id: ID, attempt_id: number },
        am_container: None,
        final_state: None,
        final_status: 0,
        am_exit_status: -1_000,
        tracking_url: "".into(),
        diagnostics: "".into(),
        start_time_ms: 1,
        finish_time_ms: 0,
        resource_seconds: Vec::new(),
        preempted_resource_seconds: Vec::new(),
        containers_allocated: 0,
    })
}

fn apply(store: &mut MemoryStore, group: &[StoreOperation]) -> Vec<Result<(), StoreError>> {
    let mut events = Vec::new();
    store.apply(group, &mut events);
    let result = |event| match event {
        StoreEvent::ApplicationSaved { result, .. }
        | StoreEvent::ApplicationUpdated { result, .. }
        | StoreEvent::AttemptSaved { result, .. }
        | StoreEvent::AttemptUpdated { result, .. } => result,
        StoreEvent::RemoveFailed { error, .. } => Err(error),
    };
    events.into_iter().map(result).collect()
}

#[test]
fn a_group_is_acknowledged_in_order_and_may_be_repeated() {
    let mut store = MemoryStore::default();
    let purpose = UpdatePurpose::Final;
    let group = [save(10), StoreOperation::SaveAttempt(attempt(1))];
    assert_eq!(apply(&mut store, &group), [Ok(()), Ok(())]);
    assert_eq!(apply(&mut store, &group), [Ok(()), Ok(())], "repeated");
    let update = StoreOperation::UpdateApplication { state: Box::new(state("root.b")), purpose };
    assert_eq!(apply(&mut store, core::slice::from_ref(&update)), [Ok(())]);
    assert_eq!(&*store.applications()[&ID].record.state.queue, "root.b");
    assert!(matches!(apply(&mut store, &[save(10)])[..], [Err(StoreError::Conflict(_))]), "it has changed");
    // An attempt that was never saved is written by its update.
    let second = StoreOperation::UpdateAttempt { record: attempt(2), purpose };
    assert_eq!(apply(&mut store, &[second]), [Ok(())]);
    assert_eq!(store.applications()[&ID].attempts.len(), 2);
}

#[test]
fn what_has_no_application_is_a_conflict_and_what_is_too_large_is_named() {
    let mut store = MemoryStore::with_record_size_max(1_000);
    assert!(matches!(
        apply(&mut store, &[StoreOperation::SaveAttempt(attempt(1))])[..],
        [Err(StoreError::Conflict(_))]
    ));
    let found = apply(&mut store, &[save(2_000)]);
    let Err(error) = &found[0] else { panic!("it is too large") };
    let text = error.to_string();
    assert!(text.contains("the state store accepts at most 1000"), "{text}");
    assert!(store.applications().is_empty());
}

#[test]
fn an_application_is_removed_with_its_attempts() {
    let mut store = MemoryStore::default();
    apply(&mut store, &[save(10), StoreOperation::SaveAttempt(attempt(1))]);
    assert_eq!(apply(&mut store, &[StoreOperation::RemoveApplication(ID)]), []);
    assert!(store.applications().is_empty());
    assert_eq!(apply(&mut store, &[StoreOperation::RemoveApplication(ID)]), [], "again");
}

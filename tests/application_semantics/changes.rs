//! Moves, priorities, lifetimes, signals: changes of an application under way.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use super::*;
use heddle::engine::scheduler::settings::{Capacity, QueueSettings};

fn two_queues(_: &mut ApplicationSettings, queues: &mut QueueTree) {
    queues.queues.push(QueueSettings::leaf("root.b", Some(0), Capacity::Percent(0.0)));
    queues.max_application_priority = 10;
}

fn move_to(rm: &mut Rm, id: ApplicationId, queue: &str) -> Result<(), Reject> {
    rm.send(
        "ada",
        false,
        &MoveApplicationAcrossQueuesRequest { application_id: id, target_queue: queue.to_owned() },
    );
    rm.answer::<MoveApplicationAcrossQueuesResponse>().map(|_| ())
}

fn prioritise(rm: &mut Rm, id: ApplicationId, priority: i32) -> Result<i32, Reject> {
    rm.send(
        "ada",
        false,
        &UpdateApplicationPriorityRequest { application_id: id, application_priority: priority },
    );
    rm.answer::<UpdateApplicationPriorityResponse>().map(|response| response.application_priority)
}

fn live_until(rm: &mut Rm, id: ApplicationId, expires_at_ms: u64) -> Result<u64, Reject> {
    let update = ApplicationTimeoutUpdate { timeout_type: ApplicationTimeoutType::Lifetime, expires_at_ms };
    let request = UpdateApplicationTimeoutsRequest { application_id: id, application_timeouts: vec![update] };
    rm.send("ada", false, &request);
    let response = rm.answer::<UpdateApplicationTimeoutsResponse>();
    response.map(|response| response.application_timeouts[0].expires_at_ms)
}

#[test]
fn a_move_is_checked_stored_and_done_in_this_order() {
    let mut rm = Rm::with(two_queues);
    let (id, _) = rm.running();
    rm.told();
    rm.holds_store = true;
    let request = MoveApplicationAcrossQueuesRequest { application_id: id, target_queue: "b".to_owned() };
    rm.send("ada", false, &request);
    assert_eq!((rm.told(), rm.answers.len()), (vec!["CheckMove"], 0));
    assert!(rm.report_for("eve", id).is_ok());
    rm.release_store();
    // The answer is that of the move: it was the only request that waited.
    assert_eq!(rm.told(), ["Move"]);
    assert_eq!(rm.answers.len(), 1);
    rm.answers.clear();
    assert_eq!(rm.report(id).queue, "root.b");
    assert_eq!(&*rm.store.inner.applications()[&id].record.state.queue, "root.b");
    assert!(
        rm.audit
            .last()
            .expect("a line")
            .contains("OPERATION=Move Application Request\tTARGET=ClientRMService\tRESULT=SUCCESS")
    );
}

#[test]
fn a_move_that_is_refused_changes_nothing() {
    let mut rm = Rm::with(two_queues);
    let (id, _) = rm.running();
    rm.reply = |command| match command {
        SchedulerCommand::MoveApplication { is_check_only: true, .. } => Some(QueryReply::Refused {
            code: RejectCode::WrongState as u16,
            reasons: "queue root.b is STOPPED, accepted is RUNNING".into(),
        }),
        _ => None,
    };
    rm.told();
    let (found, text) = code(move_to(&mut rm, id, "root.b"));
    assert_eq!(
        (found, text.as_str()),
        (RejectCode::WrongState, "queue root.b is STOPPED, accepted is RUNNING")
    );
    assert_eq!(rm.told(), ["CheckMove"]);
    assert_eq!(&*rm.store.inner.applications()[&id].record.state.queue, "root.default");
    // Refused after it was stored: written back.
    rm.reply = |command| match command {
        SchedulerCommand::MoveApplication { is_check_only: false, .. } => Some(QueryReply::Refused {
            code: RejectCode::WrongState as u16,
            reasons: "queue root.b is full".into(),
        }),
        _ => None,
    };
    assert_eq!(code(move_to(&mut rm, id, "root.b")).1, "queue root.b is full");
    assert_eq!(&*rm.store.inner.applications()[&id].record.state.queue, "root.default");
    assert_eq!(rm.report(id).queue, "root.default");
    // And again, with success: nothing is left over.
    rm.reply = |_| None;
    move_to(&mut rm, id, "root.b").expect("it is moved");
}

#[test]
fn a_change_that_cannot_be_stored_is_not_done() {
    let mut rm = Rm::with(two_queues);
    let (id, _) = rm.running();
    rm.store.fails = Some(|_| Some(StoreError::Unavailable("disk full".into())));
    rm.told();
    let (found, text) = code(move_to(&mut rm, id, "root.b"));
    assert_eq!(found, RejectCode::Internal);
    assert_eq!(text, "nothing was changed: the state store does not work: disk full");
    assert_eq!(code(prioritise(&mut rm, id, 3)).0, RejectCode::Internal);
    assert_eq!(code(live_until(&mut rm, id, RM + 900_000)).0, RejectCode::Internal);
    assert_eq!(rm.told(), ["CheckMove"]);
    let report = rm.report(id);
    assert_eq!((report.queue.as_str(), report.priority), ("root.default", 0));
    assert_eq!(report.application_timeouts[0].expires_at_ms, None);
}

#[test]
fn one_change_at_a_time() {
    let mut rm = Rm::with(two_queues);
    let (id, _) = rm.running();
    rm.holds_store = true;
    rm.send("ada", false, &UpdateApplicationPriorityRequest { application_id: id, application_priority: 3 });
    assert_eq!(rm.answers.len(), 0);
    assert_eq!(code(move_to(&mut rm, id, "root.b")).0, RejectCode::Busy);
    rm.release_store();
    assert_eq!(rm.answers.len(), 1);
    rm.answers.clear();
    move_to(&mut rm, id, "root.b").expect("now it is");
}

#[test]
fn a_change_that_the_end_overtakes_is_refused() {
    let mut rm = Rm::with(two_queues);
    let (id, _) = rm.running();
    rm.holds_store = true;
    rm.send("ada", false, &UpdateApplicationPriorityRequest { application_id: id, application_priority: 3 });
    rm.send("bob", false, &KillApplicationRequest { application_id: id, diagnostics: None });
    rm.answers.clear();
    rm.release_store();
    assert_eq!(rm.answers.len(), 1, "refused, and answered");
    let frame = Frame::from_slice(&rm.answers[0]).expect("a frame");
    assert!(frame.header.flags.is_reject());
    rm.answers.clear();
    assert_eq!(rm.state(id), YarnApplicationState::Killed);
}

/// What a queue gives is settled at submission, by the maximum in force then.
#[test]
fn the_default_priority_of_a_queue_is_capped_too() {
    let mut rm = Rm::with(|settings, queues| {
        two_queues(settings, queues);
        queues.queues[1].default_application_priority = 20;
    });
    let id = rm.submit(|_| {});
    assert_eq!(rm.report(id).priority, 10);
    let caller = Caller::new(PeerId(1), "root", true);
    let reply = rm.command(ApplicationCommand::ReplaceClusterMaxPriority { token: 1, caller, maximum: 15 });
    assert_eq!(reply, ApplicationReply::Done { token: 1 });
    let id = rm.submit(|_| {});
    assert_eq!(rm.report(id).priority, 15, "as it was refreshed, apart from the queues");
}

#[test]
fn priorities_are_capped_stored_and_applied() {
    let mut rm = Rm::with(two_queues);
    let id = rm.submit(|context| context.priority = Some(99));
    assert_eq!(rm.report(id).priority, 10, "capped when it is submitted");
    assert_eq!(prioritise(&mut rm, id, 3), Ok(3));
    assert_eq!(rm.report(id).priority, 3);
    assert_eq!(rm.store.inner.applications()[&id].record.state.priority, 3);
    assert_eq!(prioritise(&mut rm, id, 1_000), Ok(10));
    let done = rm.finished();
    rm.told();
    assert_eq!(prioritise(&mut rm, done, 5), Ok(0), "one that has ended echoes what it had");
    assert_eq!(rm.told(), [""; 0]);
}

#[test]
fn changes_need_their_states() {
    let mut rm = Rm::with(two_queues);
    rm.holds_store = true;
    let id = rm.submit(|_| {});
    let (found, text) = code(move_to(&mut rm, id, "root.b"));
    assert_eq!(found, RejectCode::WrongState);
    assert_eq!(text, format!("Application {id} is NEW_SAVING, accepted to be moved is ACCEPTED or RUNNING"));
    assert_eq!(code(prioritise(&mut rm, id, 1)).0, RejectCode::WrongState);
    assert_eq!(code(live_until(&mut rm, id, RM + 900_000)).0, RejectCode::WrongState);
    rm.release_store();
    let done = rm.finished();
    assert_eq!(code(move_to(&mut rm, done, "root.b")).0, RejectCode::WrongState);
    assert_eq!(live_until(&mut rm, done, 5), Ok(5), "one that has ended echoes the request");
}

#[test]
fn lifetimes_are_set_anew_in_the_future_and_within_the_queues_maximum() {
    let mut rm = Rm::with(|_, queues| queues.queues[1].maximum_application_lifetime_s = Some(1_000));
    let (id, _) = rm.running();
    assert_eq!(code(live_until(&mut rm, id, RM + 999)).0, RejectCode::BadField, "it has passed");
    assert_eq!(live_until(&mut rm, id, RM + 30_000), Ok(RM + 30_000));
    assert_eq!(live_until(&mut rm, id, RM + 9_000_000), Ok(RM + 1_001_000), "cut to the queue's maximum");
    rm.pass(Duration::from_secs(60));
    assert_eq!(rm.state(id), YarnApplicationState::Running, "the former end does not count any more");
    assert_eq!(live_until(&mut rm, id, RM + 70_000), Ok(RM + 70_000));
    rm.pass(Duration::from_secs(15));
    assert_eq!(rm.state(id), YarnApplicationState::Killed);
}

#[test]
fn signals_go_to_live_containers_of_known_applications() {
    let mut rm = Rm::new();
    let (id, first) = rm.running();
    let signal = |rm: &mut Rm, container_id| {
        let command = SignalContainerCommand::GracefulShutdown;
        rm.send("ada", false, &SignalToContainerRequest { container_id, command });
        rm.answer::<SignalToContainerResponse>().map(|_| ())
    };
    rm.told();
    signal(&mut rm, am_container(first)).expect("it is sent");
    assert_eq!(rm.told(), ["SignalContainer"]);
    let line = rm.audit.last().expect("a line");
    assert!(
        line.ends_with(&format!("RESULT=SUCCESS\tAPPID={id}\tCONTAINERID={}", am_container(first))),
        "{line}"
    );
    let unknown = am_container(attempt(ApplicationId { cluster_timestamp: 1, id: 1 }, 1));
    assert_eq!(code(signal(&mut rm, unknown)).0, RejectCode::ApplicationNotFound);
    rm.reply = |_| {
        let code = RejectCode::ContainerNotFound as u16;
        Some(QueryReply::Refused { code, reasons: "it is not live".into() })
    };
    assert_eq!(
        code(signal(&mut rm, am_container(first))),
        (RejectCode::ContainerNotFound, "it is not live".into())
    );
    // It was audited as a success before the scheduler had said that there is no such container.
    let line = rm.audit.last().expect("a line");
    assert!(line.contains("RESULT=FAILURE\tDESCRIPTION=it is not live\t"), "{line}");
    let signals = rm.audit.iter().filter(|line| line.contains("Signal Container Request")).count();
    assert_eq!(signals, 3, "{:#?}", rm.audit);
}

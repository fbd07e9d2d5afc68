//! Every cell of the session table: register, allocate and finish without a session, before and after registration, and
//! after the last word; liveliness; who may speak for an attempt.

use heddle::engine::application::settings::DIAGNOSTICS_SIZE_MAX;
use heddle::engine::batch::PeerId;
use heddle::engine::scheduler::face::{AttemptEvent, Launch, ResourceScheduler, SchedulerKey};
use heddle::engine::scheduler::message::{ApplicationEvent, Attempt};
use heddle::engine::scheduler::resource::ResourceVector;
use heddle_wire::RejectCode::*;
use heddle_wire::application_master::{AllocateRequest, FinishApplicationMasterRequest};
use heddle_wire::limits::DIAGNOSTICS_MAX;
use heddle_wire::record::*;

use super::fake::*;

fn finish() -> FinishApplicationMasterRequest {
    FinishApplicationMasterRequest {
        diagnostics: "done".to_owned(),
        tracking_url: "http://history/".to_owned(),
        final_application_status: FinalApplicationStatus::Succeeded,
        am_rm_token: None,
    }
}

#[test]
fn without_a_session_each_call_has_its_own_error() {
    let mut door = Door::default();
    let mut am = door.add_attempt(0, false, false);
    am.attempt = Attempt::new(0, 0, 2);
    door.send(&am, &am.register()).expect_reject(InvalidApplicationMasterRequest, "doesn't exist in cache");
    door.send(&am, &am.allocate(vec![])).expect_reject(ApplicationAttemptNotFound, "doesn't exist");
    door.send(&am, &finish()).expect_reject(InvalidApplicationMasterRequest, "doesn't exist in cache");
    am.attempt = Attempt::new(9, 0, 1);
    for reply in
        [door.send(&am, &am.register()), door.send(&am, &am.allocate(vec![])), door.send(&am, &finish())]
    {
        reply.expect_reject(WrongRoute, "routing_key");
    }
    assert_eq!(door.counters().rejects, 6);
}

#[test]
fn before_registration_only_register_is_accepted() {
    let mut door = Door::default();
    let am = door.add_attempt(0, false, false);
    door.say(AttemptEvent::Ready(am.attempt));
    door.send(&am, &am.allocate(vec![])).expect_reject(ApplicationMasterNotRegistered, "register again");
    door.send(&am, &finish()).expect_reject(ApplicationMasterNotRegistered, "register again");
    let response = door.send(&am, &am.register()).register();
    assert_eq!(response.queue, "root.default");
    assert_eq!(response.maximum_capability, Resource::new(8_192, 4));
    assert_eq!(response.cluster_timestamp, 1_000_000);
    assert_eq!(response.attempt_handle.0, am.attempt.0);
    let acl = ApplicationAcl { access_type: ApplicationAccessType::ViewApp, acl: "*".to_owned() };
    assert_eq!(response.application_acls, [acl]);
    assert_eq!(response.scheduler_resource_types, [SchedulerResourceTypes::Memory]);
    let told = door.told();
    assert!(
        matches!(&told[..], [ApplicationEvent::Registered { host, rpc_port: 1_234, .. }] if &**host == "am.example"),
        "{told:?}"
    );
}

/// The attempt ended before its ApplicationMaster came: its last word was refused as one of another certificate, though
/// nobody had ever registered with any.
#[test]
fn the_last_word_of_an_attempt_that_ended_without_registering_is_refused_by_its_name() {
    let mut door = Door::default();
    let am = door.add_attempt(0, false, false);
    door.say(AttemptEvent::Ready(am.attempt));
    door.say(AttemptEvent::Removed(am.attempt));
    let last_word = |token| FinishApplicationMasterRequest { am_rm_token: token, ..finish() };
    let text = "appattempt_1000000_0001_000001, which ended and never registered, accepted are attempts that registered";
    door.send(&am, &last_word(None)).expect_reject(InvalidApplicationMasterRequest, text);
    door.send(&am, &last_word(Some(am.token()))).expect_reject(InvalidApplicationMasterRequest, text);
    let false_token = TokenMac { key_id: 3, mac: [9; 32] };
    door.send(&am, &last_word(Some(false_token))).expect_reject(InvalidToken, "does not prove");
    // As in YARN it may go once its application's end is stored; only who has its token is told.
    door.say(AttemptEvent::FinalStateStored(am.attempt_id.application_id));
    door.send(&am, &last_word(None)).expect_reject(InvalidApplicationMasterRequest, text);
    assert!(door.send(&am, &last_word(Some(am.token()))).finish());
}

#[test]
fn a_second_registration_is_refused_and_changes_nothing() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    am.take_in(&door.send(&am, &am.allocate(vec![])).allocate());
    let reply = door.send(&am, &am.register());
    reply.expect_reject(InvalidApplicationMasterRequest, "already registered : application_1000000_0001");
    assert_eq!(door.send(&am, &am.allocate(vec![])).allocate().response_id, 2);
    door.send(&am, &finish());
    door.send(&am, &am.register()).expect_reject(InvalidApplicationMasterRequest, "already registered");
}

#[test]
fn an_unmanaged_am_with_kept_containers_registers_again() {
    let mut door = Door::default();
    door.add_node(1, 4);
    for keeps in [false, true] {
        let mut am = door.add_attempt(u32::from(keeps), true, keeps);
        door.say(AttemptEvent::Ready(am.attempt));
        door.send(&am, &am.register()).register();
        // One grant was taken in, one is on its way, one ask is open.
        let response = door.send(&am, &am.allocate(vec![ask(1, 1, Some(0))])).allocate();
        let (first, _) = am.take_in(&response);
        let response = door.send(&am, &am.allocate(vec![ask(1, 1, Some(1))])).allocate();
        let unseen = response.allocated_containers[0].container_id;
        let again = door.send(&am, &am.register());
        if !keeps {
            again.expect_reject(InvalidApplicationMasterRequest, "already registered");
            continue;
        }
        let attempt = am.attempt;
        door.scheduler(|scheduler, _| {
            assert_eq!(
                scheduler.outstanding(attempt, SchedulerKey { priority: 1, allocation_request_id: -1 }),
                0
            );
            for (id, container) in scheduler.containers.clone() {
                if container.attempt == attempt {
                    scheduler.transferred.push(heddle::engine::scheduler::face::Granted {
                        attempt,
                        container_id: id,
                        node: container.node,
                        key: container.key,
                        resource: container.resource,
                    });
                }
            }
        });
        let again = door.send(&am, &am.register()).register();
        let retained: Vec<_> =
            again.containers_from_previous_attempts.iter().map(|container| container.container_id).collect();
        assert_eq!(retained, [first[0].container_id], "what it has not seen comes as an event");
        assert_eq!(again.nm_tokens_from_previous_attempts.len(), 1);
        (am.response_id, am.events_seen) = (0, 0);
        let response = door.send(&am, &am.allocate(vec![])).allocate();
        assert_eq!((response.first_event, response.response_id), (1, 1));
        let grant = &response.allocated_containers[0];
        assert_eq!((grant.container_id, grant.grant_number), (unseen, 1));
    }
}

/// The label an application asks in by default may be removed while it waits: what it asked is taken back all the same.
#[test]
fn asks_end_with_the_last_word_whatever_became_of_their_label() {
    let mut door = Door::default();
    let am = door.registered(0);
    door.send(&am, &am.allocate(vec![ask(1, 5, Some(0))])).allocate();
    let attempt = am.attempt;
    let key = SchedulerKey { priority: 1, allocation_request_id: -1 };
    door.scheduler(|scheduler, _| {
        assert_eq!(scheduler.outstanding(attempt, key), 5);
        scheduler.is_default_label_gone = true;
    });
    door.send(&am, &finish());
    door.scheduler(|scheduler, _| assert_eq!(scheduler.outstanding(attempt, key), 0));
}

#[test]
fn registration_before_the_launch_is_refused() {
    let mut door = Door::default();
    let managed = door.add_attempt(0, false, false);
    door.send(&managed, &managed.register())
        .expect_reject(InvalidApplicationMasterRequest, "must register after it reaches LAUNCHED");
    assert!(door.told().is_empty());
}

/// Story: an unmanaged ApplicationMaster read its token in the report and registered before the word that it may had come
/// through the scheduler's full ring of commands. It was refused for good, and its application waited for it until it
/// expired. The token is told in LAUNCHED only: who shows it is not too early.
#[test]
fn an_unmanaged_am_that_overtakes_the_word_that_it_may_register_is_registered() {
    let mut door = Door::default();
    let am = door.add_attempt(0, true, false);
    let mut forged = am.register();
    forged.am_rm_token.mac[0] ^= 1;
    door.send(&am, &forged).expect_reject(InvalidToken, "am_rm_token");
    assert!(door.told().is_empty());
    door.send(&am, &am.register()).register();
    let told = door.told();
    assert!(
        matches!(&told[..], [ApplicationEvent::Registered { attempt_id, .. }] if *attempt_id == am.attempt_id)
    );
    door.say(AttemptEvent::Ready(am.attempt));
    assert_eq!(door.send(&am, &am.allocate(vec![])).allocate().response_id, 1);
    door.send(&am, &am.register()).expect_reject(InvalidApplicationMasterRequest, "already registered");
}

#[test]
fn constraints_are_refused_by_name_and_change_nothing() {
    let mut door = Door::default();
    let am = door.add_attempt(0, false, false);
    door.say(AttemptEvent::Ready(am.attempt));
    let mut register = am.register();
    register.placement_constraints =
        vec![PlacementConstraintMapEntry { allocation_tags: vec![], placement_constraint: "x".to_owned() }];
    door.send(&am, &register).expect_reject(Unsupported, "placement_constraints");
    door.send(&am, &am.register()).register();
}

#[test]
fn the_last_word_counts_once_and_is_repeated_until_it_is_stored() {
    let mut door = Door::default();
    door.add_node(1, 1);
    let mut am = door.registered(0);
    // One granted and taken in, one open.
    am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 2, Some(0))])).allocate());
    door.told();
    assert!(!door.send(&am, &finish()).finish());
    assert!(!door.send(&am, &finish()).finish());
    let told = door.told();
    assert!(
        matches!(&told[..], [ApplicationEvent::Unregistered { final_status: 1, diagnostics, .. }]
            if &**diagnostics == "done"),
        "{told:?}"
    );
    // Its asks have ended with it, and its calls are answered with nothing.
    let attempt = am.attempt;
    door.scheduler(|scheduler, _| {
        assert_eq!(
            scheduler.outstanding(attempt, SchedulerKey { priority: 1, allocation_request_id: -1 }),
            0
        );
        scheduler.add_node(2, 5);
    });
    assert!(door.pushes().is_empty());
    let response = door.send(&am, &am.allocate(vec![ask(1, 5, Some(1))])).allocate();
    assert_eq!((response.response_id, response.allocated_containers.len()), (2, 0));
    assert_eq!(response.headroom, Resource::default());
    door.say(AttemptEvent::FinalStateStored(am.attempt_id.application_id));
    assert!(door.send(&am, &finish()).finish());
    // Also when the session is gone, but not on another stream without the token.
    door.say(AttemptEvent::Removed(am.attempt));
    assert!(door.send(&am, &finish()).finish());
    am.stream = OTHER_STREAM;
    door.send(&am, &finish()).expect_reject(InvalidToken, "am_rm_token");
    assert!(
        door.send(&am, &FinishApplicationMasterRequest { am_rm_token: Some(am.token()), ..finish() })
            .finish()
    );
    door.send(&am, &am.allocate(vec![])).expect_reject(ApplicationAttemptNotFound, "doesn't exist");
    assert_eq!(door.counters().sessions, 0);
}

#[test]
fn the_end_may_be_stored_after_the_session_is_gone() {
    let mut door = Door::default();
    let am = door.registered(0);
    door.send(&am, &finish());
    door.say(AttemptEvent::Removed(am.attempt));
    door.send(&am, &finish()).expect_reject(InvalidApplicationMasterRequest, "doesn't exist in cache");
    door.say(AttemptEvent::FinalStateStored(am.attempt_id.application_id));
    assert!(door.send(&am, &finish()).finish());
}

#[test]
fn an_unmanaged_am_is_unregistered_at_once() {
    let mut door = Door::default();
    let am = door.add_attempt(0, true, false);
    door.say(AttemptEvent::Ready(am.attempt));
    door.send(&am, &am.register()).register();
    assert!(door.send(&am, &finish()).finish());
}

#[test]
fn a_handle_of_another_generation_names_no_session() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    door.say(AttemptEvent::Removed(am.attempt));
    let attempt = Attempt::new(0, 0, 2);
    door.say(AttemptEvent::Added {
        attempt_id: attempt_id(9),
        attempt,
        user: "eve".into(),
        is_unmanaged: false,
        keep_containers: false,
        acls: vec![],
    });
    door.send(&am, &am.allocate(vec![])).expect_reject(ApplicationAttemptNotFound, "doesn't exist");
    // The token of the former attempt is of no use for the new one.
    am.attempt = attempt;
    door.send(&am, &am.register()).expect_reject(WrongRoute, "application_attempt_id");
}

#[test]
fn a_silent_am_expires_once_and_any_call_of_it_counts_as_a_sign_of_life() {
    let mut door = Door::default();
    let am = door.registered(0);
    let expired = |door: &mut Door| {
        door.tick();
        door.told().iter().filter(|event| matches!(event, ApplicationEvent::Expired { .. })).count()
    };
    door.advance(599);
    assert_eq!(expired(&mut door), 0);
    // A call that is refused counts.
    door.send(&am, &AllocateRequest { response_id: 77, ..am.allocate(vec![]) })
        .expect_reject(InvalidApplicationMasterRequest, "expect responseId to be 0 but get 77");
    door.advance(2);
    assert_eq!(expired(&mut door), 0);
    door.now = door.scheduling.next_deadline().unwrap();
    assert_eq!(door.now.as_millis(), 600_000 + 600_000);
    assert_eq!(expired(&mut door), 1);
    door.advance(2_000);
    assert_eq!(expired(&mut door), 0);
    // After the last word it is the application manager's to wait for its end.
    let other = door.registered(1);
    door.send(&other, &finish());
    door.told();
    door.advance(2_000);
    assert_eq!(expired(&mut door), 0);
    assert_eq!(door.scheduling.next_deadline(), None);
}

#[test]
fn an_am_that_never_registers_expires_from_its_launch_on() {
    let mut door = Door::default();
    let am = door.add_attempt(0, false, false);
    assert!(door.pushes().is_empty());
    assert_eq!(door.scheduling.next_deadline(), None);
    let launch = Launch {
        attempt: am.attempt,
        container_id: container_of(1, 1),
        node: NodeHandle::new(0, 1, 1),
        resource: ResourceVector::new(2_048, 1),
        priority: 0,
        launch_context: Box::new([1, 2, 3]),
    };
    door.say(AttemptEvent::Launch(Box::new(launch)));
    assert!(door.pushes().is_empty());
    door.now = door.scheduling.next_deadline().unwrap();
    door.tick();
    assert!(matches!(&door.told()[..], [ApplicationEvent::Expired { .. }]));
}

#[test]
fn another_stream_needs_the_token_and_another_certificate_is_refused() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    am.peer = PeerId(8);
    door.send(&am, &am.allocate(vec![])).expect_reject(NameNotAllowed, "another certificate");
    am.peer = PEER;
    am.stream = OTHER_STREAM;
    door.send(&am, &am.allocate(vec![])).expect_reject(InvalidToken, "am_rm_token is not there");
    door.send(&am, &finish()).expect_reject(InvalidToken, "am_rm_token is not there");
    let mut false_token = am.token();
    false_token.mac[31] ^= 1;
    let with = |token| AllocateRequest { am_rm_token: Some(token), ..am.allocate(vec![]) };
    door.send(&am, &with(false_token)).expect_reject(InvalidToken, "made with key 3");
    door.send(&am, &with(am.token())).allocate();
    // From now on this stream is the session's, and the former one is not.
    am.response_id = 1;
    door.send(&am, &am.allocate(vec![])).allocate();
    am.stream = STREAM;
    door.send(&am, &am.allocate(vec![])).expect_reject(InvalidToken, "am_rm_token is not there");
}

/// Story: a connection broke, its ApplicationMaster went on over the next one, and then a call of the broken one was read.
/// It was out of step and refused, but the session followed it: what was pushed went nowhere, and the next call of the
/// stream that lives was refused as InvalidToken.
#[test]
fn a_late_call_of_a_stream_that_is_gone_takes_nothing_away_from_the_one_that_lives() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    let call = |am: &Am| AllocateRequest { am_rm_token: Some(am.token()), ..am.allocate(vec![]) };
    let late = call(&am);
    am.stream = OTHER_STREAM;
    am.take_in(&door.send(&am, &call(&am)).allocate());
    am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 1, Some(0))])).allocate());
    am.stream = STREAM;
    door.send(&am, &late).expect_reject(InvalidApplicationMasterRequest, "to be 2 but get 0");
    door.add_node(1, 1);
    let pushes = door.pushes();
    assert_eq!(pushes.iter().map(|push| push.stream).collect::<Vec<_>>(), [OTHER_STREAM]);
    am.stream = OTHER_STREAM;
    assert_eq!(am.take_in(&pushes[0].allocate()).0.len(), 1);
    assert_eq!(door.send(&am, &am.allocate(vec![])).allocate().first_event, 2, "nothing is sent again");
}

/// The same with a call that is not out of step, but the one that was said again on the next stream: it was taken for the
/// newest, and the living stream lost its session until its ApplicationMaster gave up.
#[test]
fn a_late_call_that_was_said_again_does_not_bring_the_session_back() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    let call = AllocateRequest { am_rm_token: Some(am.token()), ..am.allocate(vec![]) };
    let last_word = FinishApplicationMasterRequest { am_rm_token: Some(am.token()), ..finish() };
    am.stream = OTHER_STREAM;
    let answer = door.send(&am, &call).allocate();
    am.stream = STREAM;
    assert_eq!(door.send(&am, &call).allocate(), answer, "answered all the same");
    am.take_in(&answer);
    am.stream = OTHER_STREAM;
    assert_eq!(door.send(&am, &am.allocate(vec![])).allocate().response_id, 2);
    assert!(!door.send(&am, &last_word).finish());
    am.stream = STREAM;
    assert!(!door.send(&am, &last_word).finish());
    am.stream = OTHER_STREAM;
    assert!(!door.send(&am, &finish()).finish());
}

#[test]
fn a_false_token_does_not_register_and_keeps_nobody_alive() {
    let mut door = Door::default();
    let am = door.add_attempt(0, false, false);
    door.say(AttemptEvent::Ready(am.attempt));
    door.pushes();
    door.advance(599);
    let mut register = am.register();
    register.am_rm_token = am_rm_token(am.attempt, am.attempt_id, 9);
    door.send(&am, &register).expect_reject(InvalidToken, "made with key 9");
    door.send(&am, &am.allocate(vec![])).expect_reject(ApplicationMasterNotRegistered, "");
    door.advance(2);
    door.tick();
    assert!(matches!(&door.told()[..], [ApplicationEvent::Expired { .. }]));
}

#[test]
fn an_attempt_without_a_free_row_is_noted() {
    let mut door = Door::default();
    door.registered(0);
    door.add_attempt(0, false, false);
    door.add_attempt(settings().attempts_max, false, false);
    door.pushes();
    assert_eq!(door.scheduling.output().notices.len(), 2);
    assert_eq!(door.counters().sessions, 1);
}

/// A failing ApplicationMaster sends the stack trace that it failed with. One of more than 4 KiB was refused, so that its
/// attempt never ended by its own word and was tried again; YARN takes it and keeps the end.
#[test]
fn a_long_last_word_is_taken_and_its_end_goes_on() {
    let mut door = Door::default();
    let am = door.registered(0);
    door.told();
    let too_long = "€".repeat(DIAGNOSTICS_MAX / 3 + 1);
    let last_word = |diagnostics: String| FinishApplicationMasterRequest { diagnostics, ..finish() };
    door.send(&am, &last_word(too_long)).expect_reject(BadField, "diagnostics");
    assert!(door.told().is_empty());

    let longest = "€".repeat(DIAGNOSTICS_MAX / 3);
    assert!(!door.send(&am, &last_word(longest.clone())).finish());
    let told = door.told();
    let [ApplicationEvent::Unregistered { diagnostics, diagnostics_cut, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(longest.ends_with(&**diagnostics));
    assert_eq!(diagnostics.len() + *diagnostics_cut as usize, longest.len());
    let kept_max = DIAGNOSTICS_SIZE_MAX as usize;
    assert!((kept_max - 3..=kept_max).contains(&diagnostics.len()), "{}", diagnostics.len());
}

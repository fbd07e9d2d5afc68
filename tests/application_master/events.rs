//! Events: pushed or polled, numbered, once; again only on another stream or when they did not come; bounded.

use heddle::engine::application_master::HOLD_AT;
use heddle::engine::scheduler::face::AttemptEvent;
use heddle_wire::application_master::AllocateRequest;
use heddle_wire::limits::EVENTS_PUSHED_MAX;
use heddle_wire::record::*;
use proptest::prelude::*;

use super::fake::*;

#[test]
fn what_happens_between_calls_is_pushed_in_one_frame() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 5, Some(0))])).allocate());
    door.add_node(1, 3);
    let pushes = door.pushes();
    assert_eq!(pushes.len(), 1);
    let push = pushes[0].allocate();
    assert_eq!((push.response_id, push.first_event, push.allocated_containers.len()), (1, 1, 3));
    assert_eq!(push.nm_tokens.len(), 1);
    let (grants, _) = am.take_in(&push);
    assert_eq!(grants.iter().map(|grant| grant.grant_number).collect::<Vec<_>>(), [1, 2, 3]);
    // Polled, it is not there again, and the ends that come are numbered after.
    let container_id = grants[0].container_id;
    door.scheduler(|scheduler, out| scheduler.end(&container_id, 0, out));
    let response = door.send(&am, &am.allocate(vec![])).allocate();
    // The slot that became free went to the open ask within the same step.
    assert_eq!((response.first_event, response.allocated_containers.len()), (4, 1));
    assert_eq!(response.completed_container_statuses.len(), 1);
    let (_, ends) = am.take_in(&response);
    assert_eq!((ends[0].container_id, ends[0].exit_status), (container_id, 0));
    assert!(door.pushes().is_empty());
    // The node may forget it as soon as the AM has said that it knows.
    door.scheduler(|scheduler, _| assert!(scheduler.acknowledged.is_empty()));
    door.send(&am, &am.allocate(vec![])).allocate();
    door.scheduler(|scheduler, _| assert_eq!(scheduler.acknowledged, [container_id]));
}

#[test]
fn a_grant_that_comes_to_nothing_before_it_is_sent_leaves_no_trace() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 2, Some(0))])).allocate());
    let node = NodeHandle::new(0, 1, 1);
    // Granted and lost within a step, before anything is pushed.
    door.scheduler(|scheduler, out| {
        scheduler.add_node(1, 2);
        heddle::engine::scheduler::face::ResourceScheduler::schedule(
            scheduler,
            heddle::engine::time::Instant::ZERO,
            out,
        );
        scheduler.lose_node(node, out);
    });
    assert!(door.pushes().is_empty());
    door.add_node(2, 9);
    let (grants, ends) = am.take_in(&door.pushes()[0].allocate());
    assert_eq!(grants.iter().map(|grant| grant.grant_number).collect::<Vec<_>>(), [1, 2]);
    assert!(ends.is_empty());
    assert_eq!(door.counters().grants_restored, 2);
}

/// A node is lost with 1,000 containers the AM has: 1,000 ends, in as many frames as it takes.
#[test]
fn a_node_is_lost_with_a_thousand_containers() {
    let mut door = Door::default();
    door.add_node(1, 1_000);
    let mut am = door.registered(0);
    let (grants, _) = am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 1_000, Some(0))])).allocate());
    assert_eq!(grants.len(), 1_000);
    door.scheduler(|scheduler, out| scheduler.lose_node(NodeHandle::new(0, 1, 1), out));
    let mut ends = Vec::new();
    for push in door.pushes() {
        ends.extend(am.take_in(&push.allocate()).1);
    }
    assert_eq!(ends.len(), 1_000);
    assert!(ends.iter().all(|end| end.exit_status == -100));
}

#[test]
fn on_another_stream_everything_not_taken_in_comes_again_with_its_number_and_token() {
    let mut door = Door::default();
    door.add_node(1, 2);
    let mut am = door.registered(0);
    am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 6, Some(0))])).allocate());
    door.add_node(2, 2);
    let lost = door.pushes()[0].allocate();
    am.stream = OTHER_STREAM;
    let request = AllocateRequest { am_rm_token: Some(am.token()), ..am.allocate(vec![]) };
    let response = door.send(&am, &request).allocate();
    assert_eq!(response.first_event, 3);
    assert_eq!(response.allocated_containers, lost.allocated_containers);
    assert_eq!(response.nm_tokens, lost.nm_tokens);
    assert!(door.pushes().is_empty());
    assert_eq!(door.counters().events_resent, 2);
    am.take_in(&response);
    assert_eq!(am.events_seen, 4);
}

#[test]
fn a_push_that_was_lost_on_the_same_stream_comes_after_the_next_call() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 4, Some(0))])).allocate());
    door.add_node(1, 2);
    let lost = door.pushes()[0].allocate();
    // This call was sent before the push came: nothing is wrong so far.
    door.add_node(2, 1);
    let response = door.send(&am, &am.allocate(vec![])).allocate();
    assert_eq!((response.first_event, response.allocated_containers.len()), (3, 1));
    let (grants, _) = am.take_in(&response);
    assert!(grants.is_empty(), "passed over: 1 and 2 are missing");
    let response = door.send(&am, &am.allocate(vec![])).allocate();
    let (grants, _) = am.take_in(&response);
    assert_eq!(grants.iter().map(|grant| grant.grant_number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(grants[..2], lost.allocated_containers);
}

#[test]
fn a_void_grant_that_comes_again_comes_as_an_end() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 3, Some(0))])).allocate());
    door.add_node(1, 3);
    let lost = door.pushes()[0].allocate();
    am.stream = OTHER_STREAM;
    let request = AllocateRequest { am_rm_token: Some(am.token()), ..am.allocate(vec![ask(1, 1, Some(0))]) };
    let response = door.send(&am, &request).allocate();
    assert_eq!(response.allocated_containers, lost.allocated_containers[..1]);
    let ended: Vec<_> = response.completed_container_statuses.iter().map(|end| end.container_id).collect();
    let void: Vec<_> = lost.allocated_containers[1..].iter().map(|grant| grant.container_id).collect();
    assert_eq!(ended, void);
    am.take_in(&response);
    assert_eq!(am.events_seen, 3);
    // The number of a void grant is given again.
    let response = door.send(&am, &am.allocate(vec![ask(1, 1, Some(1))])).allocate();
    assert_eq!((response.first_event, response.allocated_containers[0].grant_number), (4, 2));
}

/// Story: a push with a grant was lost, the container ended, and the ask was lowered. Its ApplicationMaster, which never had
/// it, was told twice that it had ended: for the grant that was taken back, and once more, by itself.
#[test]
fn a_void_grant_that_has_ended_comes_as_one_end() {
    for is_on_node in [false, true] {
        let mut door = Door::default();
        let mut am = door.registered(0);
        am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 2, Some(0))])).allocate());
        door.add_node(1, 2);
        let lost = door.pushes()[0].allocate();
        let void = lost.allocated_containers[1].container_id;
        door.scheduler(|scheduler, out| {
            if is_on_node {
                scheduler.end(&void, 0, out);
            } else {
                scheduler.lose_node(NodeHandle::new(0, 1, 1), out);
            }
        });
        // The end waits for the frame that has the call's answer.
        am.stream = OTHER_STREAM;
        let request =
            AllocateRequest { am_rm_token: Some(am.token()), ..am.allocate(vec![ask(1, 1, Some(0))]) };
        let response = door.send(&am, &request).allocate();
        let (_, ends) = am.take_in(&response);
        assert_eq!(ends.iter().filter(|end| end.container_id == void).count(), 1);
        assert!(door.pushes().is_empty());
        door.scheduler(|scheduler, _| assert_eq!(scheduler.acknowledged.contains(&void), is_on_node));
    }
}

#[test]
fn a_session_that_does_not_call_is_pushed_so_much_and_granted_so_much() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 100_000, Some(0))])).allocate());
    let all = u32::try_from(EVENTS_PUSHED_MAX + HOLD_AT + 5_000).unwrap();
    door.add_node(1, all);
    let first: Vec<_> = door.pushes().iter().map(|push| push.allocate()).collect();
    let pushed: usize = first.iter().map(|push| push.allocated_containers.len()).sum();
    assert_eq!((pushed, first.len()), (EVENTS_PUSHED_MAX, 4));
    assert_eq!(door.counters().held, 1);
    let attempt = am.attempt;
    door.scheduler(|scheduler, _| assert!(scheduler.held.contains(&attempt)));
    for push in &first {
        am.take_in(push);
    }
    let mut granted = pushed;
    while granted < all as usize {
        let response = door.send(&am, &am.allocate(vec![])).allocate();
        let got = am.take_in(&response).0.len();
        assert!(got > 0, "{granted} of {all}");
        granted += got;
        for push in door.pushes() {
            granted += am.take_in(&push.allocate()).0.len();
        }
    }
    assert_eq!(granted, all as usize);
    door.scheduler(|scheduler, _| assert!(scheduler.held.is_empty()));
}

#[test]
fn ends_with_long_texts_fill_frames_and_none_is_lost() {
    let mut door = Door::default();
    door.add_node(1, 1_000);
    let mut am = door.registered(0);
    let (grants, _) = am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 1_000, Some(0))])).allocate());
    for grant in &grants {
        door.say(AttemptEvent::Finished(heddle::engine::scheduler::face::Finished {
            attempt: am.attempt,
            container_id: grant.container_id,
            node: grant.node,
            exit_status: 1,
            diagnostics: "x".repeat(4_096).into(),
            resource: heddle::engine::scheduler::resource::ResourceVector::ZERO,
            was_restored: false,
            is_on_node: true,
        }));
    }
    let pushes = door.pushes();
    assert_eq!(pushes.len(), 5);
    let ends: usize = pushes.iter().map(|push| am.take_in(&push.allocate()).1.len()).sum();
    assert_eq!(ends, 1_000);
}

/// What a network does to one step of the session.
#[derive(Clone, Debug)]
enum Step {
    /// A call; its answer and the pushes after it come or are lost.
    Call { count: u8, is_lost: bool, are_pushes_lost: bool },
    /// The same call again.
    Repeat { is_lost: bool },
    /// The connection breaks: another stream from now on.
    Reconnect,
    /// Room for so many more.
    Room(u8),
    /// The n-th container the AM has ends.
    End(u8),
    /// A push comes or is lost.
    Pushes { are_lost: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let lost = prop::bool::weighted(0.3);
    prop_oneof![
        (0..4_u8, lost, lost).prop_map(|(count, is_lost, are_pushes_lost)| Step::Call {
            count,
            is_lost,
            are_pushes_lost
        }),
        lost.prop_map(|is_lost| Step::Repeat { is_lost }),
        Just(Step::Reconnect),
        (1..5_u8).prop_map(Step::Room),
        any::<u8>().prop_map(Step::End),
        lost.prop_map(|are_lost| Step::Pushes { are_lost }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is lost, repeated or reconnected: every grant and every end is taken in once, in order.
    #[test]
    fn nothing_is_delivered_twice_or_lost(steps in prop::collection::vec(step(), 1..60)) {
        let mut door = Door::default();
        let mut am = door.registered(0);
        let (mut wanted, mut seen, mut row, mut slot) = (0_u64, 0_u64, 0_u32, 1_u32);
        let (mut granted, mut ended) = (Vec::new(), Vec::new());
        let mut last: Option<AllocateRequest> = None;
        let mut in_doubt = false;
        let mut token = None;
        let take_in = |am: &mut Am, response: &_, granted: &mut Vec<ContainerId>, ended: &mut Vec<ContainerId>| {
            let (grants, ends) = am.take_in(response);
            granted.extend(grants.iter().map(|grant| grant.container_id));
            ended.extend(ends.iter().map(|end| end.container_id));
            u64::try_from(grants.len()).unwrap()
        };
        // At the end everything is polled over a network that loses nothing.
        let quiet = (0..8).map(|_| Step::Call { count: 0, is_lost: false, are_pushes_lost: false });
        let closing = core::iter::once(Step::Repeat { is_lost: false }).chain(quiet);
        for step in steps.into_iter().chain(closing) {
            match step {
                Step::Call { count, is_lost, are_pushes_lost } => {
                    if in_doubt {
                        continue; // one call at a time
                    }
                    wanted += u64::from(count);
                    let outstanding = i32::try_from(wanted - seen).unwrap();
                    let mut request = am.allocate(vec![ask(1, outstanding, Some(seen))]);
                    request.am_rm_token = token;
                    let reply = door.send(&am, &request).allocate();
                    last = Some(request);
                    in_doubt = is_lost;
                    if !is_lost {
                        token = None;
                        seen += take_in(&mut am, &reply, &mut granted, &mut ended);
                    }
                    for push in door.pushes() {
                        if !are_pushes_lost {
                            seen += take_in(&mut am, &push.allocate(), &mut granted, &mut ended);
                        }
                    }
                }
                Step::Repeat { is_lost } => {
                    let Some(request) = last.as_mut().filter(|_| in_doubt) else { continue };
                    request.am_rm_token = token;
                    let reply = door.send(&am, request).allocate();
                    if !is_lost {
                        (in_doubt, token) = (false, None);
                        seen += take_in(&mut am, &reply, &mut granted, &mut ended);
                    }
                }
                Step::Reconnect => {
                    slot += 1;
                    am.stream = heddle::engine::batch::StreamRef::new(0, slot, 1);
                    token = Some(am.token());
                }
                Step::Room(count) => {
                    row += 1;
                    door.add_node(row, u32::from(count));
                }
                Step::End(which) => {
                    let running: Vec<_> = granted.iter().filter(|id| !ended.contains(id)).copied().collect();
                    if let Some(id) = running.get(usize::from(which) % running.len().max(1)) {
                        door.scheduler(|scheduler, out| scheduler.end(id, 0, out));
                    }
                }
                Step::Pushes { are_lost } => {
                    for push in door.pushes() {
                        // What goes to a former stream never comes.
                        if !are_lost && push.stream == am.stream {
                            seen += take_in(&mut am, &push.allocate(), &mut granted, &mut ended);
                        }
                    }
                }
            }
            let distinct = |ids: &[ContainerId]| ids.iter().collect::<std::collections::BTreeSet<_>>().len();
            prop_assert_eq!(distinct(&granted), granted.len(), "a grant twice");
            prop_assert_eq!(distinct(&ended), ended.len(), "an end twice");
        }
        let attempt = am.attempt;
        let mut live = None;
        door.scheduler(|scheduler, _| live = Some(scheduler.live(attempt)));
        let held: std::collections::BTreeSet<_> =
            granted.iter().filter(|id| !ended.contains(id)).copied().collect();
        prop_assert_eq!(live, Some(held));
        prop_assert_eq!(ended.iter().all(|id| granted.contains(id)), true);
    }
}

//! Container statuses and orders: what a node reports, and what it is told until it acknowledges.
//! Owns: those clauses. Called by: the test harness. Does not: hold helpers; they are in the parent.

use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::face::SchedulerOutput;
use heddle::engine::scheduler::settings::{SchedulerSettings, UnknownContainers};

use super::*;

// ---- Container status processing ----

#[test]
fn status_3_running_is_launched_once() {
    let (mut engine, mut a) = Engine::with_node("a");
    engine.events();
    a.launch(container(1, 1));
    engine.beat(&mut a);
    assert_eq!(ids(&engine.event().launched), [container(1, 1)]);
    a.beat.container_statuses = vec![status(container(1, 1), ContainerState::Running)];
    engine.beat(&mut a);
    assert_eq!(engine.events(), []);
    assert_eq!(engine.node("a").running_applications, 1);
    assert_eq!(engine.node("a").used, Resource::new(1_024, 1));
}

#[test]
fn status_4_complete_is_told_once_until_the_node_has_forgotten_it() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    a.complete(container(1, 1));
    engine.beat(&mut a);
    assert_eq!(ids(&engine.event().completed), [container(1, 1)]);
    let repeat = |engine: &mut Engine, a: &mut TestNode| {
        a.beat.container_statuses = vec![status(container(1, 1), ContainerState::Complete)];
        engine.beat(a)
    };
    repeat(&mut engine, &mut a);
    assert_eq!(engine.events(), [], "repeats are dropped");
    engine.order(&a, NodeOrder::RemoveContainer(container(1, 1)));
    a.beat.acknowledged_command = 0;
    let answer = repeat(&mut engine, &mut a);
    assert_eq!(answer.commands.unwrap().containers_to_be_removed_from_nm, [container(1, 1)]);
    assert_eq!(engine.events(), [], "ordered is not yet acknowledged");
    repeat(&mut engine, &mut a);
    assert_eq!(ids(&engine.event().completed), [container(1, 1)], "forgotten: heard of anew");
}

#[test]
fn status_4_complete_without_running_before_is_told_too() {
    let (mut engine, mut a) = Engine::with_node("a");
    engine.events();
    a.beat.container_statuses = vec![status(container(1, 1), ContainerState::Complete)];
    assert!(!engine.beat(&mut a).is_full_report_requested);
    let event = engine.event();
    assert_eq!((ids(&event.launched), ids(&event.completed)), (vec![], vec![container(1, 1)]));
}

#[test]
fn status_5_running_but_not_reported_is_completed_with_minus_100() {
    let (mut engine, mut a) = Engine::with_node("a");
    let (stays, vanishes) = (container(1, 1), container(1, 2));
    a.launch(stays);
    a.launch(vanishes);
    engine.beat(&mut a);
    engine.events();
    a.beat.containers_digest.remove(&vanishes);
    assert!(engine.beat(&mut a).is_full_report_requested);
    assert_eq!(engine.events(), []);
    a.beat.is_full_report = true;
    a.beat.container_statuses = vec![status(stays, ContainerState::Running)];
    assert!(!engine.beat(&mut a).is_full_report_requested);
    let completed = engine.event().completed;
    assert_eq!((completed[0].container_id, completed[0].exit_status), (vanishes, -100));
    assert!(completed[0].diagnostics.contains("running but not reported"), "{}", completed[0].diagnostics);
    assert_eq!(engine.shard.counters().running_containers, 1);
}

#[test]
fn a_full_report_may_go_over_several_beats() {
    let (mut engine, mut a) = Engine::with_node("a");
    for id in 1..=4 {
        a.launch(container(1, id));
    }
    engine.beat(&mut a);
    engine.events();
    a.beat.containers_digest.remove(&container(1, 4));
    for part in [[1], [2], [3]] {
        a.beat.is_full_report = true;
        a.beat.is_continued = part != [3];
        a.beat.container_statuses = vec![status(container(1, part[0]), ContainerState::Running)];
        assert!(!engine.beat(&mut a).is_full_report_requested, "the digest is compared at the end only");
    }
    assert_eq!(ids(&engine.event().completed), [container(1, 4)]);
}

/// A container was written off as not reported, its node was out of step, came back and still had it. With completions
/// applied after launches the scheduler would have taken it for dead while it ran. Found by the folding property.
#[test]
fn a_container_that_comes_back_after_its_end_was_told_is_live() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    a.complete(container(1, 1));
    engine.beat(&mut a);
    engine.join(&mut a);
    a.launch(container(1, 1));
    engine.beat(&mut a);
    let unknown_containers = UnknownContainers::Accept;
    let mut scheduler =
        Scheduler::new(SchedulerSettings { unknown_containers, ..SchedulerSettings::default() });
    let event = engine.event();
    assert_eq!((ids(&event.completed), ids(&event.launched)), (vec![container(1, 1)], vec![container(1, 1)]));
    scheduler.handle_node_event(engine.now, event, &mut SchedulerOutput::default());
    assert_eq!(scheduler.totals().running_containers, 1);
}

#[test]
fn completions_the_scheduler_does_not_take_in_are_bounded() {
    let mut engine = Engine::new();
    let mut a = node("a");
    let mut next = 0;
    let is_busy = (0..40).any(|_| {
        // The digest of a node where everything is complete is empty, so every registration begins anew.
        engine.join(&mut a);
        for _ in 0..1_024 {
            next += 1;
            a.beat.container_statuses.push(status(container(1, next), ContainerState::Complete));
        }
        let reply = engine.beat_raw(&a);
        a.beat.container_statuses.clear();
        reply.reject_code() == Some(RejectCode::Busy)
    });
    assert!(is_busy, "put off at some point");
    let event = engine.event();
    assert!((8_192..=16_384).contains(&event.completed.len()), "{}", event.completed.len());
    engine.join(&mut a);
    a.beat.container_statuses.push(status(container(2, 1), ContainerState::Complete));
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Normal, "taken in, and it goes on");
}

#[test]
fn one_event_is_outstanding_per_node_and_grows() {
    let (mut engine, mut a) = Engine::with_node("a");
    for id in 1..=10 {
        a.launch(container(1, id));
        engine.beat(&mut a);
    }
    let event = engine.event();
    assert!(event.added.is_some());
    assert_eq!(event.launched.len(), 10);
}

#[test]
fn unhealthy_is_interrupted_and_statuses_are_ignored_until_it_recovers() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    a.beat.is_node_healthy = false;
    a.details().health = Some(NodeHealthStatus {
        is_node_healthy: false,
        last_health_report_time_ms: 77,
        health_report: "disk".to_owned(),
    });
    a.launch(container(1, 2));
    engine.beat(&mut a);
    let event = engine.event();
    assert!(event.was_interrupted && event.launched.is_empty());
    assert_eq!(event.usability, Some(Usability::Unhealthy));
    let report = engine.node("a");
    assert_eq!((report.state, report.running_containers), (NodeState::Unhealthy, 0));
    assert_eq!((report.health_report.as_str(), report.last_health_report_time_ms), ("disk", 77));
    a.launch(container(1, 3));
    assert!(!engine.beat(&mut a).is_full_report_requested);
    assert_eq!(engine.events(), []);
    a.beat.is_node_healthy = true;
    assert!(engine.beat(&mut a).is_full_report_requested, "asked for everything it has");
    assert_eq!(engine.event().usability, Some(Usability::Usable));
    assert_eq!(engine.state("a"), NodeState::Running);
    a.beat.is_full_report = true;
    a.beat.container_statuses = (1..=3).map(|id| status(container(1, id), ContainerState::Running)).collect();
    engine.beat(&mut a);
    assert_eq!(engine.event().launched.len(), 3);
}

#[test]
fn decommissioning_stays_decommissioning_when_unhealthy() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    decommission(&mut engine, "a", DecommissionType::Graceful, None);
    a.beat.is_node_healthy = false;
    assert_eq!(engine.beat(&mut a).node_action, NodeAction::Normal);
    assert_eq!(engine.state("a"), NodeState::Decommissioning);
}

#[test]
fn increased_containers_are_passed_on_once() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.events();
    let update = |id| ContainerUpdate {
        container_id: container(1, id),
        version: 1,
        capability: Resource::new(2_048, 2),
        execution_type: ExecutionType::Guaranteed,
    };
    a.details().increased_containers = vec![update(1), update(1), update(9)];
    engine.beat(&mut a);
    assert_eq!(engine.event().increased, [container(1, 1)], "only of containers that run there");
}

#[test]
fn more_containers_than_a_node_may_have_are_refused_by_name() {
    let (mut engine, mut a) = Engine::with_node("a");
    for chunk in 0..8_u64 {
        for id in 1..=1_024 {
            a.launch(container(1, chunk * 1_024 + id));
        }
        engine.beat(&mut a);
    }
    assert_eq!(engine.shard.counters().running_containers, 8_192);
    a.launch(container(2, 1));
    let reject = engine.beat_raw(&a).reject().unwrap();
    assert_eq!(RejectCode::from_number(reject.code), Some(RejectCode::BadField));
    assert!(reject.message.contains("8193") && reject.message.contains("8192"), "{}", reject.message);
    assert_eq!(engine.shard.counters().running_containers, 8_192, "nothing of the beat was applied");
}

// ---- Orders ----

#[test]
fn orders_are_repeated_until_acknowledged() {
    let (mut engine, mut a) = Engine::with_node("a");
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    engine.order(&a, NodeOrder::SignalContainer(container(1, 2), SignalContainerCommand::GracefulShutdown));
    for _ in 0..3 {
        let commands = engine.beat(&mut a).commands.unwrap();
        a.beat.acknowledged_command = 0;
        assert_eq!(commands.last_sequence, 2);
        assert_eq!(commands.containers_to_cleanup, [container(1, 1)]);
        assert_eq!(commands.containers_to_signal[0].sequence, 2, "a repeated signal is known by its number");
    }
    a.beat.acknowledged_command = 1;
    let commands = engine.beat(&mut a).commands.unwrap();
    assert_eq!((commands.containers_to_cleanup.len(), commands.containers_to_signal.len()), (0, 1));
    assert!(engine.beat(&mut a).commands.is_none());
}

#[test]
fn orders_beyond_an_answer_follow_with_the_next() {
    let (mut engine, mut a) = Engine::with_node("a");
    for id in 1..=600 {
        engine.order(&a, NodeOrder::CleanupContainer(container(1, id)));
    }
    let commands = engine.beat(&mut a).commands.unwrap();
    assert_eq!((commands.containers_to_cleanup.len(), commands.last_sequence), (512, 512));
    let commands = engine.beat(&mut a).commands.unwrap();
    assert_eq!((commands.containers_to_cleanup.len(), commands.last_sequence), (88, 600));
    assert!(engine.beat(&mut a).commands.is_none());
}

#[test]
fn an_order_beyond_the_node_s_list_is_handed_back() {
    let (mut engine, a) = Engine::with_node("a");
    for id in 1..=8_192 {
        engine.order(&a, NodeOrder::CleanupContainer(container(1, id)));
    }
    let order = NodeOrder::CleanupContainer(container(1, 9_999));
    let command = NodeCommand { node: a.handle(), order, is_urgent: false };
    let back = engine.shard.handle_node_command(engine.now, command.clone(), &mut engine.out);
    assert_eq!(back, Err(command));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_takes_only_what_was() {
    let (mut engine, mut a) = Engine::with_node("a");
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    a.beat.acknowledged_command = u32::MAX;
    assert!(engine.beat(&mut a).commands.is_some(), "not sent yet, so not acknowledged");
}

#[test]
fn urgent_orders_are_pushed_to_the_stream_of_the_last_beat() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.stream = StreamRef::new(0, 4_711, 2);
    engine.beat(&mut a);
    for id in 1..=3 {
        let order = NodeOrder::CleanupContainer(container(1, id));
        engine.order_of(NodeCommand { node: a.handle(), order, is_urgent: true });
    }
    assert_eq!(engine.shard.next_deadline(), Some(engine.now), "the cycle ends with a tick");
    engine.tick();
    let pushes = engine.pushes();
    assert_eq!(pushes.len(), 1, "the orders of a cycle go together");
    let push = &pushes[0];
    assert!(push.flags().is_push());
    assert_eq!(push.stream, a.stream);
    assert_eq!(push.heartbeat().response_id, a.beat.response_id, "a push changes no id");
    let commands = push.heartbeat().commands.unwrap();
    assert_eq!((commands.last_sequence, commands.containers_to_cleanup.len()), (3, 3));
    a.beat.acknowledged_command = 3;
    assert!(engine.beat(&mut a).commands.is_none(), "carried out before the beat");
}

/// At 180,000 ends a second on 1,000 nodes each end was a push of its own, with everything since the node's last beat
/// again: most of what the ResourceManager sent, and nodes were cut as slow readers.
#[test]
fn many_ends_make_few_pushes_and_hold_up_nothing_that_somebody_waits_for() {
    let (mut engine, mut a) = Engine::with_node("a");
    let interval = Duration::from_millis(u64::from(engine.beat(&mut a).heartbeat_interval_ms));
    let (step, began) = (Duration::from_millis(10), engine.now);
    let (mut told, mut ends_pushed_at) = (0, Vec::new());
    for id in 1..=99 {
        let order = NodeOrder::CleanupContainer(container(1, id));
        engine.order_of(NodeCommand { node: a.handle(), order, is_urgent: true });
        engine.pass(step);
        let due = engine.shard.next_deadline().unwrap();
        assert!(due > engine.now && due <= engine.now + Duration::from_millis(100), "it sleeps until then");
        for push in engine.pushes() {
            told = push.heartbeat().commands.unwrap().containers_to_cleanup.len() as u64;
            assert_eq!(told, id, "everything that waits");
            ends_pushed_at.push(engine.now);
        }
    }
    let quarters: Vec<u128> =
        ends_pushed_at.iter().map(|at| at.since(began).as_nanos() / (interval / 4).as_nanos()).collect();
    assert_eq!(quarters, [0, 1, 2, 3], "one in each quarter of the interval");

    let last = *ends_pushed_at.last().unwrap();
    let order = NodeOrder::SignalContainer(container(1, 1), SignalContainerCommand::GracefulShutdown);
    engine.order_of(NodeCommand { node: a.handle(), order, is_urgent: true });
    engine.tick();
    let pushes = engine.pushes();
    assert!(engine.now.since(last) < interval / 4);
    assert_eq!(pushes.len(), 1, "a signal goes at once");

    // What an answer has carried is not pushed once more.
    let order = NodeOrder::CleanupContainer(container(1, 100));
    engine.order_of(NodeCommand { node: a.handle(), order, is_urgent: true });
    a.beat.acknowledged_command = told as u32;
    assert_eq!(engine.beat_raw(&a).heartbeat().commands.unwrap().last_sequence, 101);
    engine.pass(interval);
    assert!(engine.pushes().is_empty());
}

#[test]
fn orders_for_an_ended_registration_are_dropped_and_counted() {
    let (mut engine, mut a) = Engine::with_node("a");
    let old = a.clone();
    engine.join(&mut a);
    engine.order(&old, NodeOrder::CleanupContainer(container(1, 1)));
    assert_eq!(engine.shard.counters().commands_dropped, 1);
    unregister(&mut engine, &a);
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    assert_eq!(engine.shard.counters().commands_dropped, 2);
}

#[test]
fn orders_for_a_node_that_reconnected_with_its_containers_still_hold() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    engine.order(&a, NodeOrder::CleanupContainer(container(1, 1)));
    let old = a.clone();
    a.register.running_applications = vec![application(1)];
    a.register.container_statuses = vec![nm_status(container(1, 1), ContainerState::Running)];
    engine.register(&mut a);
    engine.order(&old, NodeOrder::CleanupApplication(application(1)));
    let commands = engine.beat(&mut a).commands.unwrap();
    assert_eq!(commands.last_sequence, 2, "numbered anew from 1");
    assert_eq!(commands.containers_to_cleanup, [container(1, 1)]);
    assert_eq!(commands.applications_to_cleanup, [application(1)]);
}

#[test]
fn an_order_the_state_has_no_row_for_is_counted_and_dropped() {
    let (mut engine, mut a) = Engine::with_node("a");
    a.launch(container(1, 1));
    engine.beat(&mut a);
    decommission(&mut engine, "a", DecommissionType::Graceful, None);
    engine.order(&a, NodeOrder::SignalContainer(container(1, 1), SignalContainerCommand::OutputThreadDump));
    assert_eq!(engine.shard.counters().invalid_transitions, 1);
    assert!(engine.beat(&mut a).commands.is_none());
}

//! Containers and nodes: E18 and the races of the issue.

use heddle::engine::event::{NodeEvent, NodeOrder, Usability};
use heddle::engine::scheduler::face::ResourceScheduler;
use heddle::engine::scheduler::message::{ApplicationEvent, SchedulerCommand};
use heddle::engine::time::Duration;

use crate::cluster::{Cluster, application, attempt_id, settings, tree};

fn one_queue() -> Cluster {
    Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])))
}

/// YARN proposes in parallel and one proposal loses its commit. Here one thread decides, so the second ask finds the node
/// without room, and keeps its count.
#[test]
fn e18_two_asks_for_the_same_room() {
    let mut cluster = one_queue();
    cluster.node(8);
    let (one, two) = (cluster.submit(1, "u", "a"), cluster.submit(2, "u", "a"));
    cluster.ask(one, 6, 1);
    cluster.ask(two, 6, 1);
    assert_eq!(cluster.schedule().len(), 1);
    let key = heddle::engine::scheduler::face::SchedulerKey { priority: 0, allocation_request_id: -1 };
    assert_eq!((cluster.scheduler.outstanding(one, key), cluster.scheduler.outstanding(two, key)), (0, 1));
    let first = cluster.grants[0].container_id;
    cluster.release(first);
    assert_eq!(cluster.schedule()[0].attempt, two);
}

#[test]
fn a_lost_node_ends_its_containers_and_asks_again_for_those_nobody_knew() {
    let mut cluster = one_queue();
    let node = cluster.node(1_000);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 1_000);
    let granted = cluster.schedule();
    for granted in &granted[..400] {
        assert!(cluster.acquire(granted.container_id));
    }
    cluster.lose(node);
    assert_eq!(cluster.ends.len(), 1_000);
    assert!(cluster.ends.iter().all(|end| end.exit_status == -100));
    assert_eq!(cluster.ends.iter().filter(|end| end.was_restored).count(), 600);
    cluster.verify();
    // Those are asked for again, exactly.
    cluster.node(2_000);
    assert_eq!(cluster.schedule().len(), 600);
    assert!(!cluster.acquire_unknown(&granted[0]));
}

impl Cluster {
    fn acquire_unknown(&mut self, granted: &heddle::engine::scheduler::face::Granted) -> bool {
        self.scheduler.acquire(self.now, granted.attempt, &granted.container_id)
    }
}

#[test]
fn a_container_nobody_launches_is_taken_back() {
    let mut cluster = one_queue();
    cluster.node(2);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 2);
    let granted = cluster.schedule();
    for granted in &granted {
        cluster.acquire(granted.container_id);
    }
    cluster.launch(granted[0].container_id);
    assert_eq!(cluster.scheduler.next_deadline(), Some(cluster.now + Duration::from_secs(600)));
    cluster.advance(Duration::from_secs(600));
    assert_eq!(cluster.ends.len(), 1);
    assert_eq!(cluster.ends[0].container_id, granted[1].container_id);
    assert_eq!((cluster.ends[0].exit_status, cluster.ends[0].was_restored), (-100, false));
    let clean_up = NodeOrder::CleanupContainer(granted[1].container_id);
    assert!(cluster.orders.iter().any(|order| order.order == clean_up));
    cluster.verify();
}

#[test]
fn a_released_container_keeps_its_nodes_room_until_the_node_reports_its_end() {
    let mut cluster = one_queue();
    cluster.node(1);
    let (one, two) = (cluster.submit(1, "u", "a"), cluster.submit(2, "u", "a"));
    cluster.ask(one, 1, 1);
    let granted = cluster.schedule().remove(0);
    cluster.run_all();
    cluster.ask(two, 1, 1);
    cluster.release(granted.container_id);
    assert_eq!(cluster.scheduler.totals().used_memory_mb, 0, "the queue is free at once");
    assert!(cluster.schedule().is_empty(), "the node is not");
    cluster.report_end(&granted);
    assert_eq!(cluster.schedule()[0].attempt, two);
    // Its end is of no interest to anybody any more.
    let forget = NodeOrder::RemoveContainer(granted.container_id);
    assert!(cluster.orders.iter().any(|order| order.order == forget));
}

#[test]
fn an_end_is_acknowledged_when_the_application_master_has_seen_it_or_is_gone() {
    let mut cluster = one_queue();
    cluster.node(2);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 2);
    let granted = cluster.schedule();
    cluster.run_all();
    for granted in &granted {
        cluster.finish(granted.container_id);
    }
    let forgotten = |cluster: &Cluster, place: usize| {
        let forget = NodeOrder::RemoveContainer(granted[place].container_id);
        cluster.orders.iter().filter(|order| order.order == forget).count()
    };
    assert_eq!((forgotten(&cluster, 0), forgotten(&cluster, 1)), (0, 0));
    let mut out = core::mem::take(&mut cluster.out);
    cluster.scheduler.acknowledge(granted[0].node, &granted[0].container_id, &mut out);
    cluster.scheduler.acknowledge(granted[0].node, &granted[0].container_id, &mut out);
    cluster.orders.append(&mut out.node_commands);
    assert_eq!((forgotten(&cluster, 0), forgotten(&cluster, 1)), (1, 0));
    cluster.remove(1);
    assert_eq!((forgotten(&cluster, 0), forgotten(&cluster, 1)), (1, 1));
    let over = NodeOrder::CleanupApplication(application(1));
    assert_eq!(cluster.orders.iter().filter(|order| order.order == over).count(), 1);
}

#[test]
fn an_unhealthy_node_is_as_a_lost_one_until_it_recovers() {
    let mut cluster = one_queue();
    let node = cluster.node(4);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 4);
    cluster.schedule();
    cluster.run_all();
    cluster.ask(app, 1, 4);
    cluster.event(NodeEvent {
        was_interrupted: true,
        usability: Some(Usability::Unhealthy),
        ..NodeEvent::new(node)
    });
    assert_eq!(cluster.ends.len(), 4);
    assert!(cluster.schedule().is_empty());
    assert_eq!(cluster.scheduler.totals().memory_mb, 0);
    cluster.event(NodeEvent { usability: Some(Usability::Usable), ..NodeEvent::new(node) });
    assert_eq!(cluster.schedule().len(), 4);
}

#[test]
fn an_application_master_is_placed_launched_and_its_end_told() {
    let mut cluster = one_queue();
    cluster.node(8);
    cluster.submit_with(1, "u", "a", 0, Some(2));
    cluster.schedule();
    let container_id = cluster
        .told
        .iter()
        .find_map(|event| match event {
            ApplicationEvent::AmContainerAllocated { container_id, .. } => Some(*container_id),
            _ => None,
        })
        .unwrap();
    assert_eq!(container_id.container_id, 1);
    cluster.launch_am(1, container_id);
    cluster.advance(Duration::from_secs(600));
    let finished = cluster.told.iter().any(|event| {
        matches!(event,
        ApplicationEvent::AmContainerFinished { exit_status: -100, attempt_id: of, .. }
            if *of == attempt_id(1, 1))
    });
    assert!(finished, "never launched: {:?}", cluster.told);
    cluster.verify();
}

#[test]
fn the_next_attempt_takes_over_what_runs() {
    let mut cluster = one_queue();
    cluster.node(8);
    let first = cluster.submit(1, "u", "a");
    cluster.ask(first, 1, 3);
    let granted = cluster.schedule();
    cluster.acquire(granted[0].container_id);
    cluster.launch(granted[0].container_id);
    cluster.acquire(granted[1].container_id);
    cluster.command(SchedulerCommand::RemoveAttempt {
        attempt_id: attempt_id(1, 1),
        keep_containers: true,
        stop_am_container: true,
    });
    assert_eq!(cluster.scheduler.totals().live_containers, 1, "only what runs stays");
    let second = cluster.attempt(1, 2, None, true);
    let transferred = cluster.scheduler.transferred_containers(second);
    assert_eq!(transferred.len(), 1);
    assert_eq!(transferred[0].container_id, granted[0].container_id);
    cluster.verify();
    cluster.live.retain(|id, _| *id == granted[0].container_id);
    cluster.finish(granted[0].container_id);
    assert_eq!(cluster.ends.last().unwrap().attempt, second);
    cluster.verify();
}

//! Questions: usage, containers, queues.

use heddle::engine::scheduler::message::{Query, QueryReply};
use heddle::engine::scheduler::settings::{Capacity, QueueTree};
use heddle::engine::time::Duration;
use heddle_wire::RejectCode;
use heddle_wire::application_client::{
    ExplainApplicationResponse, GetContainerReportResponse, GetContainersResponse,
};
use heddle_wire::record::{ApplicationId, ContainerId, ContainerState};

use crate::cluster::{Cluster, GB, application, attempt_id, settings, tree};

fn queues() -> QueueTree {
    let mut tree = tree(&[
        ("root.p", 60.0, 80.0),
        ("root.p.a", 50.0, 100.0),
        ("root.p.b", 50.0, 100.0),
        ("root.c", 40.0, 100.0),
    ]);
    let c = tree.find("root.c").unwrap() as usize;
    tree.queues[c].max_parallel_apps = 5;
    tree.queues[c].priority = 3;
    tree
}

impl Cluster {
    pub(crate) fn explain(&mut self, id: u32) -> ExplainApplicationResponse {
        match self.query(Query::Explain { application_id: application(id), limit: 100 }) {
            QueryReply::Record(body) => heddle_wire::decode(&body).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn containers(&mut self, id: u32, after: Option<ContainerId>, limit: u32) -> GetContainersResponse {
        let attempt_id = attempt_id(id, 1);
        match self.query(Query::Containers { attempt_id, after, limit }) {
            QueryReply::Record(body) => heddle_wire::decode(&body).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn usage_is_resources_times_seconds_and_what_there_is_now() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(100);
    let app = cluster.submit(1, "u", "c");
    cluster.ask(app, 2, 3);
    cluster.schedule();
    cluster.advance(Duration::from_secs(10));
    let first = cluster.grants[0].container_id;
    cluster.release(first);
    cluster.advance(Duration::from_secs(5));
    cluster.ask(app, 4, 50);
    let usage = cluster.usage(1);
    let seconds = (3 * 2 * 10 + 2 * 2 * 5) * GB;
    let resource_seconds = vec![("memory-mb".into(), seconds), ("vcores".into(), 3 * 10 + 2 * 5)];
    assert_eq!(usage.resource_seconds, resource_seconds);
    assert_eq!((usage.containers_allocated, usage.containers_running), (3, 2));
    assert_eq!((usage.used.memory_mb, usage.pending.memory_mb), (4 * GB, 200 * GB));
    assert_eq!((usage.queue_usage_percentage, usage.cluster_usage_percentage), (10.0, 4.0));
    let unknown = Query::Usage(vec![ApplicationId { cluster_timestamp: 9, id: 9 }, application(1)]);
    let QueryReply::Usage(usages) = cluster.query(unknown) else { panic!() };
    assert_eq!((usages[0].containers_allocated, usages[1].containers_allocated), (0, 3));
}

#[test]
fn containers_come_in_pages_in_the_order_of_their_ids() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(100);
    let app = cluster.submit_with(1, "u", "c", 0, Some(1));
    cluster.schedule();
    cluster.advance(Duration::from_millis(1_500));
    cluster.ask(app, 2, 10);
    cluster.schedule();
    let id = cluster.grants[3].container_id;
    cluster.acquire(id);
    cluster.launch(id);
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = cluster.containers(1, after, 4);
        assert!(page.containers.len() <= 4);
        all.extend(page.containers);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all.len(), 11);
    assert!(all.windows(2).all(|pair| pair[0].container_id < pair[1].container_id));
    assert_eq!((all[0].priority, all[0].allocation_request_id, all[0].creation_time_ms), (0, -1, 0));
    assert_eq!(all.iter().filter(|it| it.state == ContainerState::Running).count(), 1);
    let QueryReply::Record(body) = cluster.query(Query::Container(id)) else { panic!() };
    let report = heddle_wire::decode::<GetContainerReportResponse>(&body).unwrap().container_report;
    assert_eq!((report.container_id, report.state), (id, ContainerState::Running));
    assert_eq!((report.resource.memory_mb, report.creation_time_ms), (2 * GB, 1_500));
    assert_eq!((report.node_id.host.as_str(), report.node_http_port), ("n0", 8_042));
    assert_eq!(report.log_url, format!("http://n0:8042/node/containerlogs/{id}/u"));
    cluster.release(id);
    let text = format!("container {id} is not live");
    let code = RejectCode::ContainerNotFound as u16;
    let refused = QueryReply::Refused { code, reasons: text.into() };
    assert_eq!(cluster.query(Query::Container(id)), refused);
}

#[test]
fn what_earlier_attempts_left_is_the_current_ones() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(100);
    let app = cluster.submit(1, "u", "c");
    cluster.ask(app, 2, 3);
    cluster.schedule();
    cluster.run_all();
    cluster.command(heddle::engine::scheduler::message::SchedulerCommand::RemoveAttempt {
        attempt_id: attempt_id(1, 1),
        keep_containers: true,
        stop_am_container: true,
    });
    assert_eq!(cluster.usage(1).containers_running, 3, "between attempts, too");
    cluster.attempt(1, 2, None, true);
    assert_eq!(cluster.containers(1, None, 10).containers.len(), 0);
    let query = Query::Containers { attempt_id: attempt_id(1, 2), after: None, limit: 10 };
    let QueryReply::Record(body) = cluster.query(query) else { panic!() };
    assert_eq!(heddle_wire::decode::<GetContainersResponse>(&body).unwrap().containers.len(), 3);
}

#[test]
fn a_queue_is_told_with_those_below_it_by_partition() {
    let mut cluster = Cluster::new(settings(queues()));
    cluster.node(100);
    let (app, other) = (cluster.submit_with(1, "u", "a", 0, Some(2)), cluster.submit(2, "v", "b"));
    cluster.schedule();
    cluster.ask(app, 4, 5);
    cluster.ask(other, 1, 8);
    cluster.schedule();
    cluster.ask(app, 100, 2);
    cluster.schedule();
    let info = cluster.queue_info("root", true, true);
    let listed: Vec<_> =
        info.queues.iter().map(|queue| (queue.queue_path.as_str(), queue.parent, queue.is_leaf)).collect();
    assert_eq!(
        listed,
        [
            ("root", None, false),
            ("root.p", Some(0), false),
            ("root.p.a", Some(1), true),
            ("root.p.b", Some(1), true),
            ("root.c", Some(0), true),
        ]
    );
    assert_eq!(cluster.queue_info("root", true, false).queues.len(), 3);
    assert_eq!(cluster.queue_info("p", false, false).queues.len(), 1);
    let p = &info.queues[1];
    assert_eq!((p.capacity, p.maximum_capacity, p.current_capacity), (0.6, 0.8, 0.5));
    assert_eq!((p.statistics.applications_running, p.statistics.allocated_containers), (2, 14));
    assert_eq!((p.statistics.pending_containers, p.statistics.pending.memory_mb), (2, 200 * GB));
    assert_eq!((p.statistics.available.memory_mb, p.statistics.active_users), (50 * GB, 1));
    assert_eq!((p.statistics.applications_submitted, p.ordering_policy.as_str()), (2, "utilization"));
    let of = &p.configurations[0];
    assert_eq!((of.absolute_capacity, of.absolute_max_capacity, of.absolute_used_capacity), (0.6, 0.8, 0.3));
    assert_eq!(of.effective_min_capacity.memory_mb, 60 * GB);
    assert_eq!(of.effective_max_capacity.memory_mb, 80 * GB);
    assert_eq!((of.used.memory_mb, of.am_used.memory_mb), (30 * GB, 2 * GB));
    let c = &info.queues[4];
    assert_eq!((c.max_parallel_applications, c.priority, c.ordering_policy.as_str()), (Some(5), 3, "fifo"));
    assert_eq!((c.user_limit_factor, c.weight, c.max_applications), (-1.0, -1.0, 4_000));
}

#[test]
fn weights_are_told_with_the_share_they_come_to() {
    let mut tree = tree(&[("root.a", 0.0, 100.0), ("root.b", 0.0, 100.0)]);
    for (path, weight) in [("root.a", 1.0), ("root.b", 3.0)] {
        let queue = tree.find(path).unwrap() as usize;
        tree.queues[queue].capacities.get_mut("").unwrap().capacity = Capacity::Weight(weight);
    }
    let mut cluster = Cluster::new(settings(tree));
    cluster.node(8);
    let info = cluster.queue_info("b", false, false);
    assert_eq!((info.queues[0].weight, info.queues[0].capacity), (3.0, 0.75));
}

#[test]
fn listings_come_in_pages() {
    let names: Vec<String> = (0..40).map(|number| format!("root.q{number}")).collect();
    let queues: Vec<_> = names.iter().map(|name| (name.as_str(), 2.5, 100.0)).collect();
    let mut cluster = Cluster::new(settings(tree(&queues)));
    let (mut paths, mut start) = (Vec::new(), 0);
    loop {
        let query =
            Query::Queue { queue: "root".into(), with_children: true, is_recursive: false, start, limit: 15 };
        let QueryReply::Record(body) = cluster.query(query) else { panic!() };
        let page: heddle_wire::application_client::GetQueueInfoResponse = heddle_wire::decode(&body).unwrap();
        assert!(page.queues.len() <= 15);
        paths.extend(page.queues.into_iter().map(|queue| queue.queue_path));
        match page.next {
            Some(next) => start = next,
            None => break,
        }
    }
    assert_eq!(paths.len(), 41);
    assert_eq!((paths[0].as_str(), paths[40].as_str()), ("root", "root.q39"));
    let query = |queue: &str, start| Query::Queue {
        queue: queue.into(),
        with_children: true,
        is_recursive: true,
        start,
        limit: 15,
    };
    let QueryReply::Record(body) = cluster.query(query("root", u32::MAX)) else { panic!() };
    let page: heddle_wire::application_client::GetQueueInfoResponse = heddle_wire::decode(&body).unwrap();
    assert_eq!((page.queues.len(), page.next), (0, None));
    let refused = QueryReply::Refused { code: 403, reasons: "queue nope is unknown".into() };
    assert_eq!(cluster.query(query("nope", 0)), refused);
}

/// Story: a cluster that was full read 101 %: a node that was held for a larger container counted with all of that
/// container, beside what ran there.
#[test]
fn a_node_that_is_used_and_reserved_is_used_once() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 50.0, 100.0), ("root.b", 50.0, 100.0)])));
    cluster.node(8);
    cluster.node(8);
    let (first, big) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "b"));
    let behind = cluster.submit(3, "w", "b");
    cluster.ask(first, 5, 2);
    cluster.schedule();
    cluster.ask(big, 8, 1);
    cluster.ask(behind, 3, 1);
    cluster.schedule();
    let totals = cluster.scheduler.totals();
    assert_eq!((totals.reserved_containers, totals.reserved_memory_mb), (1, 8 * GB));
    // 2 × 5, and 3 on one node; of the other, which is held, the 3 that are free are used up as well.
    assert_eq!((totals.used_memory_mb, totals.memory_mb), (16 * GB, 16 * GB));
    let query =
        Query::Queue { queue: "root".into(), with_children: true, is_recursive: true, start: 0, limit: 100 };
    let QueryReply::Record(body) = cluster.query(query) else { panic!() };
    let page: heddle_wire::application_client::GetQueueInfoResponse = heddle_wire::decode(&body).unwrap();
    let told: Vec<_> =
        page.queues.iter().map(|queue| queue.configurations[0].absolute_used_capacity).collect();
    // All; 10 of 16; 3 and 3 of 16, for 5 of the 8 that are held are used by the other queue.
    assert_eq!(told, [1.0, 0.625, 0.375]);
    assert_eq!((page.queues[0].current_capacity, page.queues[2].current_capacity), (1.0, 0.75));
    assert_eq!(page.queues[2].configurations[0].reserved.memory_mb, 8 * GB);
    let usage = cluster.scheduler.queue_usage(9);
    let used: Vec<u64> = usage.iter().map(|of| of.used.memory_mb() / GB).collect();
    assert_eq!(used, [16, 10, 6]);
    // What ran there ends: all of the node is reserved now, or given.
    let held = cluster.live.values().find(|of| of.attempt == first).unwrap().container_id;
    cluster.release(held);
    cluster.schedule();
    let totals = cluster.scheduler.totals();
    assert!(totals.used_memory_mb <= totals.memory_mb, "{totals:?}");
}

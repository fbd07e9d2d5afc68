//! Nodes get another capability; containers are signalled.

use heddle::engine::event::{ExtendedResource, NodeOrder, Resource};
use heddle::engine::scheduler::message::SchedulerCommand;
use heddle_wire::RejectCode;
use heddle_wire::record::{ContainerId, NodeHandle, SignalContainerCommand};

use crate::cluster::{Cluster, GB, attempt_id, settings, tree};
use crate::steps::{Done, TOKEN};

fn one_queue() -> Cluster {
    Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])))
}

fn of_gb(gb: u64) -> Resource {
    Resource { memory_mb: gb * GB, virtual_cores: 100, ..Resource::default() }
}

impl Cluster {
    fn resize(&mut self, nodes: &[(&str, u16, Resource)]) -> Done {
        let nodes =
            nodes.iter().map(|(host, port, resource)| ((*host).into(), *port, resource.clone())).collect();
        self.order(SchedulerCommand::UpdateNodeResource { token: TOKEN, nodes })
    }
}

#[test]
fn a_node_that_is_larger_is_used_and_one_that_is_too_small_gets_nothing() {
    let mut cluster = one_queue();
    let node = cluster.node(4);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 20);
    assert_eq!(cluster.schedule().len(), 4);
    assert_eq!(cluster.resize(&[("n0", 8_041, of_gb(6))]), Ok(1));
    let order = cluster.orders.last().unwrap();
    assert_eq!((order.node, &order.order), (node, &NodeOrder::UpdateResource(of_gb(6))));
    assert_eq!(cluster.schedule().len(), 2);
    assert_eq!(cluster.scheduler.totals().memory_mb, 6 * GB);
    // Less than it uses: what runs stays, nothing more comes until it is below.
    assert_eq!(cluster.resize(&[("n0", 0, of_gb(3))]), Ok(1));
    let live: Vec<ContainerId> = cluster.live.keys().copied().collect();
    assert_eq!(live.len(), 6);
    for container in &live[..3] {
        cluster.release(*container);
        assert_eq!(cluster.schedule().len(), 0);
    }
    cluster.release(live[3]);
    assert_eq!(cluster.schedule().len(), 1);
    assert_eq!(cluster.resize(&[("n0", 0, of_gb(3))]), Ok(0), "it is so already");
}

#[test]
fn a_reservation_that_a_smaller_node_cannot_hold_is_given_up() {
    let mut cluster = one_queue();
    cluster.node(10);
    cluster.node(10);
    let (small, big) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    cluster.ask(small, 6, 2);
    cluster.schedule();
    cluster.ask(big, 8, 1);
    cluster.ask(small, 6, 1);
    cluster.schedule();
    assert_eq!(cluster.scheduler.totals().reserved_containers, 1);
    assert_eq!(cluster.resize(&[("n0", 0, of_gb(7)), ("n1", 0, of_gb(7))]), Ok(2));
    assert_eq!(cluster.scheduler.totals().reserved_containers, 0);
}

#[test]
fn unknown_nodes_and_types_refuse_the_whole() {
    let mut cluster = one_queue();
    cluster.node(4);
    let gpu = ExtendedResource { name: "gpu".into(), value: 1, units: "".into() };
    let with_gpu = Resource { extended: Box::new([gpu]), ..of_gb(5) };
    let refused = cluster.resize(&[("n0", 0, of_gb(5)), ("n7", 1, of_gb(5)), ("n0", 0, with_gpu)]);
    let text = "node n7:1 is not known\nresource type \"gpu\" of node n0 is not one of the cluster's";
    assert_eq!(refused, Err((RejectCode::BadField, text.to_owned())));
    assert_eq!(cluster.resize(&[("n7", 0, of_gb(5))]).unwrap_err().0, RejectCode::NotFound);
    assert_eq!((cluster.scheduler.totals().memory_mb, cluster.orders.len()), (4 * GB, 0));
}

/// As in YARN: who is named has to be registered. What is said of a node that is away is refused, not kept for it, and it
/// comes back with what it has itself.
#[test]
fn a_node_that_is_away_refuses_the_whole_and_comes_back_as_it_is() {
    let mut cluster = one_queue();
    let away = cluster.node(4);
    cluster.node(4);
    assert_eq!(cluster.resize(&[("n0", 8_041, of_gb(6))]), Ok(1));
    cluster.lose(away);
    cluster.orders.clear();
    let refused = cluster.resize(&[("n0", 8_041, of_gb(8)), ("n1", 8_041, of_gb(8))]);
    assert_eq!(refused, Err((RejectCode::NotFound, "node n0:8041 is not known".to_owned())));
    assert_eq!((cluster.scheduler.totals().memory_mb, cluster.orders.len()), (4 * GB, 0));
    let back = NodeHandle::new(0, away.row(), 2);
    cluster.register(back, "r0", 4, 100);
    assert_eq!(cluster.scheduler.totals().memory_mb, 8 * GB, "neither 6 GB for it nor 8 GB for the other");
    assert_eq!(cluster.resize(&[("n0", 8_041, of_gb(8)), ("n1", 8_041, of_gb(8))]), Ok(2));
    assert!(cluster.orders.iter().any(|order| order.node == back), "its order names what it is now");
}

#[test]
fn signals_reach_the_node_of_a_live_container() {
    let mut cluster = one_queue();
    let node = cluster.node(4);
    let app = cluster.submit(1, "u", "a");
    cluster.ask(app, 1, 1);
    let container_id = cluster.schedule()[0].container_id;
    let command = SignalContainerCommand::OutputThreadDump;
    let signal = |container_id| SchedulerCommand::SignalContainer { token: TOKEN, container_id, command };
    assert_eq!(cluster.order(signal(container_id)), Ok(1));
    let order = cluster.orders.last().unwrap();
    assert_eq!((order.node, &order.order), (node, &NodeOrder::SignalContainer(container_id, command)));
    let other = ContainerId { application_attempt_id: attempt_id(1, 1), container_id: 99 };
    let text = format!("container {other} is not live");
    assert_eq!(cluster.order(signal(other)), Err((RejectCode::ContainerNotFound, text)));
}

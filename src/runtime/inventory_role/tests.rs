//! The inventory role at the bounds of its rings: orders wait in their order, and events wait behind them.

use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ContainerId, ContainerState, ExecutionType, NodeHandle,
};

use super::*;
use crate::engine::event::{ContainerReport, NodeAdded, NodeOrder, Resource, Usability};
use crate::ring::spsc;

/// A shard's ends of the rings.
struct Shard {
    events: SpscProducer<NodeEvent>,
    commands: SpscConsumer<NodeCommand>,
    shard_commands: MpscQueue<ShardCommand>,
}

impl Shard {
    /// Containers whose completion is acknowledged, as far as the ring holds orders.
    fn take(&mut self) -> Vec<u64> {
        let mut ids = Vec::new();
        while let Some(command) = self.commands.poll() {
            match command.order {
                NodeOrder::RemoveContainer(id) => ids.push(id.container_id),
                other => panic!("not expected: {other:?}"),
            }
        }
        ids
    }
}

/// An inventory of some shards with rings for so many events and orders each.
fn inventory(shards: usize, events: usize, commands: usize) -> (InventoryRole, Vec<Shard>) {
    let (mut links, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..shards {
        let (event_sender, events) = spsc(events);
        let (commands, orders) = spsc(commands);
        let shard_commands = MpscQueue::new(1);
        ends.push(Shard { events: event_sender, commands: orders, shard_commands: shard_commands.clone() });
        let sleeper = Arc::new(Sleeper::for_current_thread());
        links.push(ShardLink {
            events,
            commands,
            shard_commands,
            sleeper,
            told_permille: 0,
            is_touched: false,
        });
    }
    (InventoryRole::new(InventoryStepper::new(None), links), ends)
}

fn report(container_id: u64, state: ContainerState) -> ContainerReport {
    let application_id = ApplicationId { cluster_timestamp: 1, id: 1 };
    let application_attempt_id = ApplicationAttemptId { application_id, attempt_id: 1 };
    ContainerReport {
        container_id: ContainerId { application_attempt_id, container_id },
        state,
        execution_type: ExecutionType::Guaranteed,
        exit_status: 0,
        capability: Resource { memory_mb: 1_024, virtual_cores: 1, ..Resource::default() },
        diagnostics: "".into(),
    }
}

/// Containers of a node complete: one order each.
fn completed(shard: u8, ids: std::ops::Range<u64>) -> NodeEvent {
    let completed = ids.map(|id| report(id, ContainerState::Complete)).collect();
    NodeEvent { completed, ..NodeEvent::new(NodeHandle::new(shard, 0, 1)) }
}

#[test]
fn orders_wait_for_room_in_their_order_and_events_wait_behind_them() {
    let (mut role, mut shards) = inventory(1, 8, 4);
    for first in [0, 10, 20] {
        shards[0].events.offer(completed(0, first..first + 10)).unwrap();
    }
    assert_eq!(role.do_work(Instant::ZERO), 1, "one event's orders fill the ring");
    assert_eq!((role.waiting.len(), shards[0].events.depth()), (6, 2));
    assert_eq!(role.do_work(Instant::ZERO), 0, "an event was taken while orders wait");
    assert!(!role.is_drained());

    let mut told = Vec::new();
    for _ in 0..100 {
        let some = shards[0].take();
        assert!(some.len() <= 4);
        told.extend(some);
        assert!(role.waiting.len() <= 10, "more than one event's orders wait");
        role.do_work(Instant::ZERO);
    }
    assert_eq!(told, (0..30).collect::<Vec<_>>());
    assert!(role.is_drained());
}

#[test]
fn a_tick_waits_behind_orders_too() {
    let (mut role, mut shards) = inventory(1, 8, 1);
    let added = NodeAdded {
        host: "a".into(),
        port: 1,
        http_port: 2,
        rack_name: "".into(),
        node_labels: Box::new([]),
    };
    let event = NodeEvent {
        added: Some(Box::new(added)),
        usability: Some(Usability::Usable),
        ..NodeEvent::new(NodeHandle::new(0, 0, 1))
    };
    shards[0].events.offer(event).unwrap();
    shards[0].events.offer(completed(0, 0..2)).unwrap();
    assert_eq!(role.do_work(Instant::ZERO), 2);
    assert_eq!(role.waiting.len(), 1);
    let due = role.next_deadline().unwrap();
    assert_eq!(role.do_work(due), 0, "ticked although orders wait");
    assert_eq!(shards[0].take(), [0]);
    // Room for one: the order that waited has it, and the tick's own wait in turn.
    assert_eq!(role.do_work(due), 1);
    assert_eq!(shards[0].take(), [1]);
    role.do_work(due);
    let order = shards[0].commands.poll().map(|command| command.order);
    assert!(matches!(order, Some(NodeOrder::CleanupApplication(_))), "{order:?}");
}

#[test]
fn orders_of_several_shards_are_all_delivered() {
    let (mut role, mut shards) = inventory(2, 8, 2);
    for first in [0, 5] {
        shards[0].events.offer(completed(0, first..first + 5)).unwrap();
        shards[1].events.offer(completed(1, first..first + 5)).unwrap();
    }
    let mut told = [Vec::new(), Vec::new()];
    for _ in 0..100 {
        role.do_work(Instant::ZERO);
        for (shard, told) in shards.iter_mut().zip(&mut told) {
            told.extend(shard.take());
        }
    }
    for told in told {
        assert_eq!(told, (0..10).collect::<Vec<_>>());
    }
    assert!(!role.is_drained(), "another shard may still say something");
    drop(shards);
    assert!(role.is_drained());
}

#[test]
fn a_shard_that_could_not_be_told_the_load_is_told_later() {
    let (mut role, mut shards) = inventory(1, 8, 8);
    let node = NodeHandle::new(0, 0, 1);
    let added = NodeAdded {
        host: "a".into(),
        port: 1,
        http_port: 2,
        rack_name: "".into(),
        node_labels: Box::new([]),
    };
    let event = NodeEvent {
        added: Some(Box::new(added)),
        usability: Some(Usability::Usable),
        capability: Some(Resource { memory_mb: 4_096, virtual_cores: 4, ..Resource::default() }),
        launched: vec![report(1, ContainerState::Running)],
        ..NodeEvent::new(node)
    };
    shards[0].events.offer(event).unwrap();
    role.do_work(Instant::ZERO);
    let other = ShardCommand::SetClusterLoad { used_permille: 7 };
    shards[0].shard_commands.offer(other.clone()).unwrap();
    role.tell_load();
    assert_eq!(shards[0].shard_commands.poll(), Some(other), "the queue was full");
    role.tell_load();
    assert_eq!(shards[0].shard_commands.poll(), Some(ShardCommand::SetClusterLoad { used_permille: 250 }));
    role.tell_load();
    assert_eq!(shards[0].shard_commands.poll(), None, "told twice");
}
/// Orders for a shard that has ended were kept for ever, and with them the thread: a stop did not end.
#[test]
fn orders_for_a_shard_that_has_ended_do_not_hold_back_the_end() {
    let (mut role, mut shards) = inventory(2, 8, 1);
    shards[1].events.offer(completed(1, 0..3)).unwrap();
    drop(shards.pop());
    role.do_work(Instant::ZERO);
    role.do_work(Instant::ZERO);
    assert!(role.is_drained(), "{:?}", role.waiting);
}

//! Properties of the shard: folding events loses nothing, the handshake holds under duplication and reordering, any
//! bytes get one answer and no panic, the same input gives the same output.
//! Owns: the random operations and the scheduler's model view. Does not: model a network; `tests/sim` does.

mod common;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use common::*;
use heddle::engine::batch::{PeerId, StreamRef};
use heddle::engine::event::{DecommissionMode, NodeCommand, NodeEvent, NodeOrder, ShardCommand, Usability};
use heddle::engine::settings::NodeClass;
use heddle_wire::frame::HEADER_SIZE;
use heddle_wire::record::*;
use heddle_wire::{Flags, FrameHeader, Opcode};
use proptest::prelude::*;

/// Something that happens to one of three nodes, or to all.
#[derive(Clone, Debug)]
enum Step {
    Register { node: usize, has_applications: bool, http_port: u16, is_small: bool, has_containers: u8 },
    Beat { node: usize, launch: Option<u8>, complete: Option<u8>, is_healthy: bool },
    Wrong { node: usize, behind: u32 },
    FullReport { node: usize, mask: u8, is_continued: bool },
    Unregister { node: usize },
    Pass { millis: u64 },
    Lists { excluded: u8, mode: u8 },
    UpdateResource { node: usize, memory_mb: u64 },
    Remove { node: usize, id: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..3_usize;
    prop_oneof![
        3 => (node.clone(), any::<bool>(), 1..3_u16, any::<bool>(), any::<u8>()).prop_map(
            |(node, has_applications, http_port, is_small, has_containers)| Step::Register {
                node, has_applications, http_port, is_small, has_containers
            }
        ),
        8 => (node.clone(), prop::option::of(0..8_u8), prop::option::of(0..8_u8), prop::bool::weighted(0.85))
            .prop_map(|(node, launch, complete, is_healthy)| Step::Beat { node, launch, complete, is_healthy }),
        1 => (node.clone(), 0..4_u32).prop_map(|(node, behind)| Step::Wrong { node, behind }),
        2 => (node.clone(), any::<u8>(), any::<bool>())
            .prop_map(|(node, mask, is_continued)| Step::FullReport { node, mask, is_continued }),
        1 => node.clone().prop_map(|node| Step::Unregister { node }),
        3 => (1..6_000_u64).prop_map(|millis| Step::Pass { millis }),
        1 => (0..8_u8, 0..3_u8).prop_map(|(excluded, mode)| Step::Lists { excluded, mode }),
        1 => (node.clone(), 1..5_u64).prop_map(|(node, gib)| Step::UpdateResource { node, memory_mb: gib * 1_024 }),
        2 => (node, 0..8_u8).prop_map(|(node, id)| Step::Remove { node, id }),
    ]
}

const HOSTS: [&str; 3] = ["a", "b", "c"];

/// Three nodes at one engine. Two tables have rows fewer than nodes, so rows are reused.
struct World {
    engine: Engine,
    nodes: [TestNode; 3],
    /// Every byte that came out.
    answers: Vec<Vec<u8>>,
}

impl World {
    fn new(rows: u32) -> Self {
        let engine = Engine::with(|settings| {
            settings.nodes_max = rows;
            settings.classes = Box::new([NodeClass {
                name: "quick".into(),
                hosts: "*".into(),
                suspect_after: Duration::from_secs(2),
                lost_after: Duration::from_secs(5),
            }]);
        });
        Self { engine, nodes: HOSTS.map(node), answers: Vec::new() }
    }

    fn beat(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let reply = self.engine.beat_raw(node);
        if reply.reject().is_none() {
            node.take(&reply.heartbeat());
        }
        node.beat.container_statuses.clear();
        node.beat.is_full_report = false;
        node.beat.is_continued = false;
        self.answers.push(reply.frame);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Register { node: index, has_applications, http_port, is_small, has_containers } => {
                let node = &mut self.nodes[index];
                node.register.http_port = http_port;
                node.register.capability = Resource::new(if is_small { 2_048 } else { 8_192 }, 4);
                node.register.running_applications =
                    if has_applications { vec![application(1)] } else { Vec::new() };
                node.register.container_statuses = (0..8)
                    .filter(|bit| has_containers >> bit & 1 == 1)
                    .map(|bit| nm_status(id_of(index, bit), ContainerState::Running))
                    .collect();
                let answer = self.engine.register(node);
                self.answers.push(format!("{answer:?}").into_bytes());
            }
            Step::Beat { node: index, launch, complete, is_healthy } => {
                let node = &mut self.nodes[index];
                node.beat.is_node_healthy = is_healthy;
                if let Some(id) = launch {
                    node.launch(id_of(index, id));
                }
                if let Some(id) = complete {
                    node.complete(id_of(index, id));
                }
                self.beat(index);
            }
            Step::Wrong { node: index, behind } => {
                let beat = &mut self.nodes[index].beat;
                beat.response_id = beat.response_id.wrapping_sub(behind);
                self.beat(index);
            }
            Step::FullReport { node: index, mask, is_continued } => {
                let node = &mut self.nodes[index];
                node.beat.is_full_report = true;
                node.beat.is_continued = is_continued;
                node.beat.container_statuses = (0..8)
                    .filter(|bit| mask >> bit & 1 == 1)
                    .map(|bit| status(id_of(index, bit), ContainerState::Running))
                    .collect();
                self.beat(index);
            }
            Step::Unregister { node: index } => {
                let node = &self.nodes[index];
                let request = heddle_wire::resource_tracker::UnRegisterNodeManagerRequest {
                    node_handle: node.handle(),
                    reason: String::new(),
                };
                let frame = self.engine.frame(node.handle().0, &request);
                let reply = self.engine.send(&frame, node.stream, node.peer);
                self.answers.push(reply.frame);
            }
            Step::Pass { millis } => self.engine.pass(Duration::from_millis(millis)),
            Step::Lists { excluded, mode } => {
                let hosts: Vec<&str> =
                    (0..3).filter(|bit| excluded >> bit & 1 == 1).map(|bit| HOSTS[bit]).collect();
                let mode = match mode {
                    0 => DecommissionMode::Normal,
                    1 => DecommissionMode::Graceful(Some(3_000)),
                    _ => DecommissionMode::Forceful,
                };
                self.engine.command(ShardCommand::SetNodeLists { token: 1, lists: lists(&[], &hosts), mode });
            }
            Step::UpdateResource { node, memory_mb } => {
                let capability =
                    heddle::engine::event::Resource { memory_mb, virtual_cores: 2, ..Default::default() };
                self.order(node, NodeOrder::UpdateResource(capability));
            }
            Step::Remove { node, id } => self.order(node, NodeOrder::RemoveContainer(id_of(node, id))),
        }
        self.check();
    }

    fn order(&mut self, index: usize, order: NodeOrder) {
        self.engine.order_of(NodeCommand {
            node: self.nodes[index].handle(),
            order,
            is_urgent: order_is_urgent(index),
        });
    }

    /// What must hold whatever happened.
    fn check(&mut self) {
        let counters = self.engine.shard.counters();
        let reports = self.engine.nodes();
        for (index, state) in NodeState::ALL.into_iter().enumerate() {
            let listed = reports.iter().filter(|report| report.state == state).count();
            assert_eq!(counters.nodes_by_state[index] as usize, listed, "{state:?}");
        }
        let suspects = reports.iter().filter(|report| report.is_suspect).count();
        assert_eq!(counters.suspects_now as usize, suspects);
        let running: u64 = reports.iter().map(|report| u64::from(report.running_containers)).sum();
        assert_eq!(counters.running_containers, running);
        for report in &reports {
            assert_eq!(report.used.memory_mb, 1_024 * u64::from(report.running_containers), "{report:?}");
            assert!(report.state.is_active() || report.running_containers == 0, "{report:?}");
            assert_ne!(report.state, NodeState::New);
        }
    }
}

fn order_is_urgent(index: usize) -> bool {
    index == 0
}

fn id_of(node: usize, id: u8) -> ContainerId {
    container(1 + node as u32, u64::from(id) + 1)
}

/// What a scheduler knows of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeView {
    host: Box<str>,
    handle: NodeHandle,
    usability: Option<Usability>,
    memory_mb: u64,
    live: BTreeSet<ContainerId>,
}

/// What a scheduler knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct View {
    nodes: BTreeMap<u32, NodeView>,
    completed: BTreeSet<ContainerId>,
}

impl View {
    /// As `NodeEvent` says: its fields in their order.
    fn apply(&mut self, event: NodeEvent) {
        let row = event.node.row();
        for report in event.completed {
            if let Some(node) = self.nodes.get_mut(&row) {
                node.live.remove(&report.container_id);
            }
            self.completed.insert(report.container_id);
        }
        if let Some(removed) = event.removed {
            assert_eq!(removed.node.row(), row);
            assert!(self.nodes.remove(&row).is_some(), "removed what the scheduler does not know");
        }
        if let Some(added) = event.added {
            let view = NodeView {
                host: added.host,
                handle: event.node,
                usability: None,
                memory_mb: 0,
                live: BTreeSet::new(),
            };
            assert_eq!(self.nodes.insert(row, view), None, "added twice");
        }
        if let Some(node) = self.nodes.get_mut(&row) {
            node.handle = event.node;
            if event.was_interrupted {
                node.live.clear();
            }
            if let Some(usability) = event.usability {
                node.usability = Some(usability);
            }
            if let Some(capability) = event.capability {
                node.memory_mb = capability.memory_mb;
            }
            for report in &event.launched {
                assert!(node.live.insert(report.container_id), "launched twice");
            }
        } else {
            assert!(event.launched.is_empty(), "launched on an unknown node");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn folded_events_give_the_view_of_all_events(
        steps in prop::collection::vec((step(), 0..4_u8), 1..60),
        rows in 1..4_u32,
    ) {
        let (mut often, mut seldom) = (World::new(rows), World::new(rows));
        let (mut expected, mut view) = (View::default(), View::default());
        for (step, polls) in &steps {
            often.step(step);
            seldom.step(step);
            often.engine.events().into_iter().for_each(|event| expected.apply(event));
            // None, one, or (by chance) all of what waits.
            for _ in 0..*polls {
                if let Some(event) = seldom.engine.shard.poll_node_event() {
                    view.apply(event);
                }
            }
        }
        seldom.engine.events().into_iter().for_each(|event| view.apply(event));
        prop_assert_eq!(view, expected);
        prop_assert_eq!(often.answers, seldom.answers, "polling changes no answer");
        prop_assert_eq!(often.engine.out.notices, seldom.engine.out.notices);
    }

    #[test]
    fn the_same_input_gives_the_same_output(steps in prop::collection::vec(step(), 1..60)) {
        let (mut first, mut second) = (World::new(2), World::new(2));
        for step in &steps {
            first.step(step);
            second.step(step);
        }
        prop_assert_eq!(first.engine.events(), second.engine.events());
        prop_assert_eq!(first.engine.out.pushes, second.engine.out.pushes);
        prop_assert_eq!(first.engine.shard.counters(), second.engine.shard.counters());
        prop_assert_eq!(first.answers, second.answers);
    }

    /// An agent behind a network that repeats, delays and reorders its beats.
    #[test]
    fn the_handshake_holds_under_duplication_and_reordering(
        // What is delivered next: 0 = the agent's current beat, n = the one n before it.
        deliveries in prop::collection::vec((prop_oneof![5 => Just(0_usize), 2 => Just(1), 1 => 2..5_usize], any::<bool>()), 1..80)
    ) {
        let mut engine = Engine::new();
        let mut agent = node("a");
        engine.join(&mut agent);
        let mut sent: Vec<(TestNode, Option<Vec<u8>>)> = Vec::new();
        let mut launched = 0;
        for (back, has_order) in deliveries {
            if has_order {
                engine.order(&agent, NodeOrder::CleanupContainer(container(9, launched)));
            }
            if back == 0 || back > sent.len() {
                launched += 1;
                agent.launch(container(1, launched));
                let beat = agent.clone();
                let reply = engine.beat_raw(&agent);
                agent.take(&reply.heartbeat());
                prop_assert_eq!(reply.heartbeat().node_action, NodeAction::Normal);
                sent.push((beat, Some(reply.body())));
            } else {
                let (beat, answer) = sent[sent.len() - back].clone();
                let reply = engine.beat_raw(&beat);
                if back == 1 {
                    prop_assert_eq!(Some(reply.body()), answer, "a duplicate gets the stored answer");
                } else {
                    prop_assert_eq!(reply.heartbeat().node_action, NodeAction::Resync);
                    prop_assert_eq!(engine.state("a"), NodeState::Rebooted);
                    agent.beat.containers_digest = ContainersDigest::default();
                    engine.join(&mut agent);
                    sent.clear();
                    launched = 0;
                }
            }
            prop_assert_eq!(engine.shard.counters().running_containers, launched, "each beat counts once");
        }
    }

    #[test]
    fn any_body_gets_one_answer_and_harms_nobody(
        opcode in prop::sample::select(Opcode::ALL),
        body in prop::collection::vec(any::<u8>(), 0..300),
        key in prop_oneof![Just(0_u64), any::<u64>(), (0..3_u64, 0..3_u64).prop_map(|(row, generation)| generation << 32 | row)],
        peer in 0..3_u64,
    ) {
        let mut engine = Engine::new();
        let mut healthy = node("a");
        engine.join(&mut healthy);
        let header = FrameHeader {
            opcode,
            flags: Flags::REQUEST,
            body_length: body.len() as u32,
            correlation_id: 7,
            routing_key: key,
        };
        let mut frame = header.to_bytes().to_vec();
        frame.extend_from_slice(&body);
        engine.send(&frame, StreamRef::NONE, PeerId(peer));
        prop_assert_eq!(engine.beat(&mut healthy).node_action, NodeAction::Normal);
    }

    /// Closer to the truth than random bytes: a real request with a few bytes changed, from the node itself.
    #[test]
    fn a_damaged_request_gets_one_answer(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        is_registration in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut engine = Engine::new();
        let mut a = node("a");
        engine.join(&mut a);
        a.launch(container(1, 1));
        a.details().keep_alive_applications = vec![application(1)];
        a.details().node_labels = Some(vec![NodeLabel { name: "x".to_owned(), is_exclusive: true }]);
        a.register.container_statuses = vec![nm_status(container(1, 1), ContainerState::Running)];
        a.register.running_applications = vec![application(1)];
        let mut frame = if is_registration {
            engine.frame(a.register.node_id.routing_key(), &a.register)
        } else {
            engine.frame(a.handle().0, &a.beat)
        };
        for (index, byte) in changes {
            let at = HEADER_SIZE + index.index(frame.len() - HEADER_SIZE);
            frame[at] = byte;
        }
        if let Some(cut) = cut {
            frame.truncate(HEADER_SIZE + cut.index(frame.len() - HEADER_SIZE));
            let length = (frame.len() - HEADER_SIZE) as u32;
            frame[12..16].copy_from_slice(&length.to_le_bytes());
        }
        engine.send(&frame, a.stream, a.peer);
        let mut b = node("b");
        engine.join(&mut b);
    }
}

//! The fleet against a small model of a ResourceManager, over a lossy and repeating path in virtual time.

use heddle_wire::frame::Frame;
use heddle_wire::record::NodeHandle;
use heddle_wire::resource_tracker::{NodeCommands, NodeHeartbeatResponse};
use heddle_wire::{Flags, FrameDecoder, Opcode, Reject, RejectCode, write_frame};
use proptest::prelude::*;

use super::model::{LEASE_MS, Model};
use super::*;

/// What the path does to frames, per million.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    lose_ppm: u32,
    repeat_ppm: u32,
}

struct Run {
    fleet: Fleet,
    model: Model,
    chance: Chance,
    path: Path,
    now_us: u64,
    /// FNV-1a of everything the fleet sent.
    sent_hash: u64,
    outcomes: Vec<Outcome>,
}

impl Run {
    fn new(spec: FleetSpec, seed: u64, path: Path) -> Self {
        let mut fleet = Fleet::new(spec, seed);
        (0..fleet.len()).for_each(|node| fleet.start(node, u64::from(node) * 100));
        let model = Model { removes: true, ..Model::default() };
        let (chance, sent_hash, outcomes) = (Chance(seed ^ 1), 0xcbf2_9ce4_8422_2325, Vec::new());
        Self { fleet, model, chance, path, now_us: 0, sent_hash, outcomes }
    }

    fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    fn step(&mut self) {
        let mut due = Vec::new();
        self.fleet.due(self.now_us, usize::MAX, &mut due);
        for node in due {
            let mut sent = Vec::new();
            self.fleet.write(node, self.now_us, &mut sent);
            for byte in &sent {
                self.sent_hash = (self.sent_hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            self.deliver(&sent);
        }
        self.now_us += 1_000;
    }

    fn deliver(&mut self, sent: &[u8]) {
        let (mut decoder, mut at) = (FrameDecoder::new(), 0);
        loop {
            let mut input = &sent[at..];
            let Some(frame) = decoder.next_frame(&mut input).unwrap() else { break };
            at = sent.len() - input.len();
            for _ in 0..self.copies() {
                let mut answers = Vec::new();
                self.model.answer(frame.bytes, &mut answers);
                for _ in 0..self.copies() {
                    let answer =
                        self.fleet.handle_frame(self.now_us + 300, &Frame::from_slice(&answers).unwrap());
                    self.outcomes.push(answer.outcome);
                }
            }
        }
    }

    fn copies(&mut self) -> u32 {
        if self.chance.hits(self.path.lose_ppm) {
            0
        } else {
            1 + u32::from(self.chance.hits(self.path.repeat_ppm))
        }
    }

    fn check_all_beating(&self) {
        for node in 0..self.fleet.len() {
            let state = self.fleet.state(node);
            assert!(
                matches!(state, NodeState::Beating | NodeState::AwaitingAnswer),
                "node {node} is {state:?}"
            );
        }
    }
}

fn churning(nodes: u32) -> FleetSpec {
    FleetSpec {
        nodes,
        containers_per_node: 5,
        churn_ppm: 300_000,
        retry_after_ms: 500,
        ..FleetSpec::default()
    }
}

#[test]
fn a_quiet_fleet_beats_once_an_interval() {
    let mut run = Run::new(FleetSpec { nodes: 200, ..FleetSpec::default() }, 1, Path::default());
    run.run_ms(11_000);
    run.check_all_beating();
    let counters = run.fleet.counters();
    assert_eq!(counters.registrations, 200);
    assert!((200 * 10..=200 * 11).contains(&counters.beats_answered), "{}", counters.beats_answered);
    assert_eq!(counters.beats_answered, counters.beats_sent);
    assert_eq!((counters.retries, counters.wrong_ids, counters.unexpected, counters.resyncs), (0, 0, 0, 0));
    assert_eq!(run.fleet.registered(), 200);
}

#[test]
fn deltas_agree_with_the_digest_and_completions_are_removed() {
    let mut run = Run::new(churning(20), 2, Path::default());
    run.run_ms(20_000);
    let counters = run.fleet.counters();
    assert_eq!(run.model.mismatches, 0);
    assert!(counters.containers_completed > 300, "{}", counters.containers_completed);
    let waiting: usize = (0..20).map(|node| run.fleet.completed(node)).sum();
    assert_eq!(counters.containers_removed + waiting as u64, counters.containers_completed);
    assert!((0..20).all(|node| run.fleet.digest(node).count == 5));
}

#[test]
fn completions_are_repeated_until_they_are_removed() {
    let mut run = Run::new(churning(1), 3, Path::default());
    run.model.removes = false;
    run.run_ms(10_000);
    let completed = run.fleet.counters().containers_completed as usize;
    assert!(completed > 3);
    assert_eq!(run.fleet.completed(0), completed);
    assert_eq!(run.fleet.counters().containers_removed, 0);
    run.model.removes = true;
    run.run_ms(3_000);
    assert!(run.fleet.counters().containers_removed as usize >= completed);
}

#[test]
fn response_ids_wrap_at_31_bits() {
    let mut run = Run::new(FleetSpec::default(), 4, Path::default());
    run.run_ms(1_000);
    run.fleet.rows[0].response_id = RESPONSE_ID_MASK - 2;
    for known in run.model.nodes.values_mut() {
        known.response_id = RESPONSE_ID_MASK - 2;
    }
    run.run_ms(6_000);
    assert!((1..10).contains(&run.fleet.rows[0].response_id));
    assert_eq!((run.fleet.counters().wrong_ids, run.fleet.counters().resyncs), (0, 0));
}

#[test]
fn a_large_node_reports_in_parts() {
    let spec = FleetSpec { containers_per_node: 2_500, churn_ppm: 1_000, ..churning(1) };
    let mut run = Run::new(spec, 5, Path::default());
    run.run_ms(2_000);
    // The model forgets everything: only a full report in three parts can mend that.
    run.model.nodes.values_mut().for_each(|known| known.running.clear());
    run.run_ms(10_000);
    assert_eq!(run.fleet.counters().full_reports, u64::from(run.model.mismatches));
    assert!((1..=2).contains(&run.model.mismatches), "{}", run.model.mismatches);
    let known = run.model.nodes.values().next().unwrap();
    assert_eq!(known.running.len(), 2_500);
}

#[test]
fn orders_are_carried_out_once_and_acknowledged() {
    let mut run = Run::new(FleetSpec { containers_per_node: 4, ..FleetSpec::default() }, 6, Path::default());
    run.run_ms(1_500);
    let known = run.model.nodes.values_mut().next().unwrap();
    let victim = *known.running.first().unwrap();
    known.orders.last_sequence += 1;
    known.orders.containers_to_cleanup.push(victim);
    run.run_ms(5_000);
    assert_eq!(run.fleet.digest(0).count, 3);
    assert_eq!(run.fleet.counters().containers_completed, 1);
    let known = run.model.nodes.values().next().unwrap();
    assert!(known.acknowledged >= 1 && !known.running.contains(&victim));
    assert_eq!(run.model.mismatches, 0);
}

#[test]
fn a_push_is_carried_out_without_a_beat() {
    let mut run = Run::new(FleetSpec { containers_per_node: 2, ..FleetSpec::default() }, 7, Path::default());
    run.run_ms(1_500);
    let (&handle, known) = run.model.nodes.iter().next().unwrap();
    let commands = NodeCommands {
        last_sequence: 9,
        containers_to_cleanup: known.running.iter().copied().collect(),
        ..NodeCommands::default()
    };
    let response_id = known.response_id;
    let push =
        NodeHeartbeatResponse { response_id, commands: Some(Box::new(commands)), ..Default::default() };
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Flags::PUSH, 0, handle, &push);
    let answer = run.fleet.handle_frame(run.now_us, &Frame::from_slice(&bytes).unwrap());
    assert_eq!(answer, Answer { node: Some(0), outcome: Outcome::Pushed });
    assert_eq!(run.fleet.digest(0).count, 0);
    run.run_ms(2_000);
    assert_eq!(run.model.nodes.values().next().unwrap().acknowledged, 9);
}

#[test]
fn a_lease_that_runs_out_stops_the_containers() {
    let mut run = Run::new(FleetSpec { containers_per_node: 3, ..FleetSpec::default() }, 8, Path::default());
    run.run_ms(2_500);
    run.path.lose_ppm = 1_000_000;
    run.run_ms(u64::from(LEASE_MS) - 2_000);
    assert_eq!(run.fleet.counters().fences, 0);
    run.run_ms(4_000);
    assert_eq!(run.fleet.state(0), NodeState::Fenced);
    assert_eq!((run.fleet.counters().fences, run.fleet.digest(0).count), (1, 0));
    assert_eq!(run.fleet.completed(0), 3);
    run.path.lose_ppm = 0;
    run.run_ms(8_000);
    run.check_all_beating();
    assert_eq!(run.fleet.counters().containers_removed, 3);
}

#[test]
fn resync_registers_again_and_keeps_containers() {
    let mut run = Run::new(churning(10), 9, Path::default());
    run.run_ms(3_000);
    run.fleet.note_restart();
    run.model.nodes.clear();
    run.model.starts += 1;
    run.run_ms(3_000);
    run.check_all_beating();
    assert_eq!(run.fleet.registered(), 10);
    assert_eq!(run.model.mismatches, 0);
    let counters = run.fleet.counters();
    assert_eq!((counters.resyncs, counters.false_losses, counters.registrations), (10, 0, 20));
    assert!((0..10).all(|node| run.fleet.digest(node).count == 5));
}

/// An ApplicationMaster that was granted a container before its node registered again starts it afterwards. It was not found,
/// and what should have ended there ran for ever.
#[test]
fn a_handle_of_an_earlier_registration_finds_its_node() {
    let mut run = Run::new(FleetSpec { nodes: 10, ..FleetSpec::default() }, 9, Path::default());
    run.run_ms(2_000);
    let now = NodeHandle(run.fleet.rows[3].handle);
    let before = NodeHandle::new(now.shard(), now.row(), now.generation() + 7);
    assert_eq!((run.fleet.node_of(now), run.fleet.node_of(before)), (Some(3), Some(3)));
    let mut sent = Vec::new();
    run.fleet.write_unregistration(3, "it leaves", &mut sent);
    assert_eq!((run.fleet.node_of(now), run.fleet.node_of(before)), (None, None));
}

#[test]
fn a_resync_without_a_cause_is_a_false_loss() {
    let mut run = Run::new(FleetSpec { nodes: 10, ..FleetSpec::default() }, 10, Path::default());
    run.run_ms(2_000);
    let first = *run.model.nodes.keys().next().unwrap();
    run.model.nodes.remove(&first);
    run.run_ms(2_000);
    assert_eq!(run.fleet.counters().false_losses, 1);
}

#[test]
fn a_paused_node_that_is_lost_is_no_false_loss() {
    let mut run = Run::new(FleetSpec { nodes: 2, ..FleetSpec::default() }, 11, Path::default());
    run.run_ms(2_000);
    let sent = run.fleet.counters().beats_sent;
    run.fleet.pause(0);
    run.fleet.pause(1);
    run.run_ms(5_000);
    assert_eq!(run.fleet.counters().beats_sent, sent);
    run.model.nodes.clear();
    run.fleet.resume(0, run.now_us);
    run.fleet.resume(1, run.now_us);
    run.run_ms(2_000);
    run.check_all_beating();
    assert_eq!((run.fleet.counters().resyncs, run.fleet.counters().false_losses), (2, 0));
}

#[test]
fn stopped_nodes_stay_silent() {
    let mut run = Run::new(FleetSpec { nodes: 3, ..FleetSpec::default() }, 12, Path::default());
    run.run_ms(2_000);
    run.fleet.kill(0);
    let mut bytes = Vec::new();
    assert!(run.fleet.write_unregistration(1, "done", &mut bytes));
    run.deliver(&bytes);
    assert!(!run.fleet.write_unregistration(1, "done", &mut bytes));
    let sent = run.fleet.counters().beats_sent;
    run.run_ms(4_000);
    assert_eq!(run.fleet.counters().beats_sent - sent, 4);
    assert_eq!((run.fleet.stopped(), run.fleet.registered()), (2, 1));
}

#[test]
fn a_reject_is_asked_again_when_that_can_help() {
    let mut run = Run::new(FleetSpec { retry_after_ms: 3_000, ..FleetSpec::default() }, 13, Path::default());
    run.run_ms(1_500);
    let mut beat = Vec::new();
    while beat.is_empty() {
        let mut due = Vec::new();
        run.fleet.due(run.now_us, 10, &mut due);
        for node in due {
            run.fleet.write(node, run.now_us, &mut beat);
        }
        run.now_us += 1_000;
    }
    let header = Frame::from_slice(&beat).unwrap().header;
    let (mut bytes, reject) =
        (Vec::new(), Reject { retry_after_ms: 20, ..Reject::new(RejectCode::Busy, "full") });
    heddle_wire::message::write_reject(
        &mut bytes,
        header.opcode,
        header.correlation_id,
        header.routing_key,
        &reject,
    );
    let answer = run.fleet.handle_frame(run.now_us, &Frame::from_slice(&bytes).unwrap());
    assert_eq!(answer.outcome, Outcome::Rejected(RejectCode::Busy as u16));
    let answered = run.fleet.counters().beats_answered;
    run.run_ms(1_100);
    assert_eq!(run.fleet.counters().retries, 1);
    assert!(run.fleet.counters().beats_answered > answered);
    assert_eq!(run.fleet.counters().refusals.texts, ["full"]);
}

#[test]
fn copies_and_stale_beats_are_answered_by_the_rule() {
    let spec = FleetSpec { nodes: 20, duplicate_ppm: 200_000, stale_ppm: 50_000, ..FleetSpec::default() };
    let mut run = Run::new(spec, 14, Path::default());
    run.run_ms(30_000);
    let counters = run.fleet.counters();
    assert!(counters.copies_sent > 50 && counters.stale_sent > 10, "{counters:?}");
    assert_eq!(counters.stale_refused, counters.stale_sent);
    // A copy of a stale beat is told RESYNC as well, or finds the node gone.
    assert!(counters.copies_answered + 2 * counters.stale_sent >= counters.copies_sent, "{counters:?}");
    assert_eq!((counters.wrong_ids, counters.unexpected, counters.false_losses), (0, 0, 0));
}

#[test]
fn a_slow_answer_skips_beats_instead_of_piling_them_up() {
    let mut run = Run::new(FleetSpec::default(), 15, Path::default());
    run.run_ms(1_500);
    let mut beat = Vec::new();
    while beat.is_empty() {
        let mut due = Vec::new();
        run.fleet.due(run.now_us, 10, &mut due);
        for node in due {
            run.fleet.write(node, run.now_us, &mut beat);
        }
        run.now_us += 1_000;
    }
    let mut answer = Vec::new();
    run.model.answer(&beat, &mut answer);
    let planned_us = run.fleet.planned_us(0);
    run.now_us = planned_us + 3_400_000;
    let outcome = run.fleet.handle_frame(run.now_us, &Frame::from_slice(&answer).unwrap()).outcome;
    assert_eq!(outcome, Outcome::Accepted { planned_us, skipped: 2, interval_us: 1_000_000 });
    assert_eq!(run.fleet.planned_us(0), planned_us + 3_000_000);
    let mut due = Vec::new();
    run.fleet.due(run.now_us + 1_000, 10, &mut due);
    assert_eq!(due, [0]);
}

#[test]
fn the_same_seed_sends_the_same_bytes() {
    let spec = FleetSpec { duplicate_ppm: 100_000, stale_ppm: 20_000, ..churning(30) };
    let path = Path { lose_ppm: 100_000, repeat_ppm: 50_000 };
    let hash = |seed| {
        let mut run = Run::new(spec.clone(), seed, path);
        run.run_ms(8_000);
        run.sent_hash
    };
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is lost or repeated on the way, the digests agree and no completion is forgotten.
    #[test]
    fn nothing_is_lost_on_a_bad_path(
        seed in any::<u64>(),
        lose_ppm in 0..400_000_u32,
        repeat_ppm in 0..400_000_u32,
        restart in any::<bool>(),
    ) {
        let mut run = Run::new(churning(5), seed, Path { lose_ppm, repeat_ppm });
        run.run_ms(6_000);
        if restart {
            run.fleet.note_restart();
            run.model.nodes.clear();
            run.model.starts += 1;
        }
        run.run_ms(6_000);
        run.path = Path::default();
        run.run_ms(4_000);
        prop_assert_eq!(run.model.mismatches, 0);
        prop_assert_eq!(run.fleet.registered(), 5);
        let counters = run.fleet.counters();
        prop_assert_eq!((counters.wrong_ids, counters.unexpected, counters.false_losses), (0, 0, 0));
        let waiting: usize = (0..5).map(|node| run.fleet.completed(node)).sum();
        prop_assert_eq!(counters.containers_removed + waiting as u64, counters.containers_completed);
    }

    /// No frame a peer makes up breaks the fleet.
    #[test]
    fn any_answer_is_survived(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        correlation_id in any::<u64>(),
        flags in prop_oneof![Just(Flags::RESPONSE), Just(Flags::PUSH), Just(Flags::REJECT), Just(Flags::REQUEST)],
        opcode in prop_oneof![Just(Opcode::NodeHeartbeat), Just(Opcode::RegisterNodeManager), Just(Opcode::Allocate)],
        is_known in any::<bool>(),
    ) {
        let mut run = Run::new(FleetSpec { containers_per_node: 1, ..FleetSpec::default() }, 1, Path::default());
        run.run_ms(1_200);
        let routing_key = if is_known { run.fleet.rows[0].handle } else { correlation_id };
        let correlation_id = if is_known { correlation_id & !0xffff_ffff } else { correlation_id };
        let header = heddle_wire::FrameHeader {
            opcode, flags, body_length: body.len() as u32, correlation_id, routing_key,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&body);
        run.fleet.handle_frame(run.now_us, &Frame::from_slice(&bytes).unwrap());
        run.run_ms(10_000);
        prop_assert!(matches!(run.fleet.state(0), NodeState::Beating | NodeState::AwaitingAnswer | NodeState::Stopped));
    }
}

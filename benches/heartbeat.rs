//! What one validated heartbeat costs the shard, answer included: frames in random order over 10 k, 100 k and 1 M nodes.
//! Owns: the shapes steady (nothing to say), 4 and 12 containers, and churn (every tenth beat brings a change).
//! Called by: `cargo bench --bench heartbeat`. Does not: go through QUIC; `end_to_end` does.
//! Times are CPU time of the thread: the work is CPU-bound, and a busy machine must not count as a slow engine.
//! Invariant: every answer of a round is checked before the shape is timed.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Duration;

use common::{container, status};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use heddle::engine::batch::{AnswerBatch, FrameBatch};
use heddle::engine::event::NodeOrder;
use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::face::SchedulerOutput;
use heddle::engine::scheduler::settings::{SchedulerSettings, UnknownContainers};
use heddle::engine::settings::ShardSettings;
use heddle::engine::shard::{Outbox, Shard};
use heddle::engine::time::Instant;
use heddle_wire::record::ContainerState;
use heddle_wire::resource_tracker::{
    NodeHeartbeatRequest, NodeHeartbeatResponse, RegisterNodeManagerResponse,
};
use heddle_wire::{Flags, HEADER_SIZE, decode, write_frame};

/// Frames handed to the shard at once, as a full ring chunk would.
const BATCH: usize = 4_096;

/// What the beats of a shape carry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A sign of life.
    Steady,
    /// So many running containers, all of them reported with every beat.
    Containers(u64),
    /// Every tenth node's beat starts or ends a container, acknowledged by a scheduler.
    Churn,
}

struct Fleet {
    shard: Shard,
    scheduler: Scheduler,
    now: Instant,
    beats: Vec<NodeHeartbeatRequest>,
    nodes: Vec<(heddle::engine::batch::StreamRef, heddle::engine::batch::PeerId)>,
    order: Vec<u32>,
    batches: Vec<FrameBatch>,
    /// Where each frame's response id lies, to be patched from round to round.
    answers: AnswerBatch,
    out: Outbox,
    round: u32,
}

impl Fleet {
    fn new(count: u32, shape: Shape) -> Self {
        let mut shard = Shard::new(ShardSettings::default());
        let mut out = Outbox::default();
        let mut beats = Vec::new();
        let mut nodes = Vec::new();
        let mut now = Instant::from_millis(1_000);
        let mut answers = AnswerBatch::default();
        for chunk in (0..count).collect::<Vec<_>>().chunks(BATCH) {
            let mut batch = FrameBatch::default();
            for number in chunk {
                let node = common::NodeBuilder::new(&format!("node-{number:07}.dc1")).build();
                let mut frame = Vec::new();
                write_frame(
                    &mut frame,
                    Flags::REQUEST,
                    1,
                    node.register.node_id.routing_key(),
                    &node.register,
                );
                batch.push(&frame, node.stream, node.peer);
                nodes.push((node.stream, node.peer));
                let mut beat = node.beat;
                if let Shape::Containers(per_node) = shape {
                    for id in 0..per_node {
                        let id = container(1 + number % 1_000, u64::from(*number) * 100 + id + 1);
                        beat.containers_digest.add(&id);
                        beat.container_statuses.push(status(id, ContainerState::Running));
                    }
                }
                beats.push(beat);
            }
            answers.clear();
            assert_eq!(shard.handle_frames(now, &batch, 0, &mut answers, &mut out), chunk.len());
            for (number, answer) in chunk.iter().zip(answers.answers()) {
                let body = &answers.answer_bytes(answer)[HEADER_SIZE..];
                let answer: RegisterNodeManagerResponse = decode(body).expect("registered");
                beats[*number as usize].node_handle = answer.node_handle;
            }
            now = now + Duration::from_millis(1);
        }
        // A fixed linear congruence: the same "random" order in every run.
        let mut order: Vec<u32> = (0..count).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for index in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(index, (state >> 33) as usize % (index + 1));
        }
        let unknown_containers = UnknownContainers::Accept;
        let scheduler =
            Scheduler::new(SchedulerSettings { unknown_containers, ..SchedulerSettings::default() });
        let batches = Vec::new();
        let mut fleet = Self { shard, scheduler, now, beats, nodes, order, batches, answers, out, round: 0 };
        fleet.drain_events();
        fleet.prepare(shape);
        fleet
    }

    /// The frames of the next round: every node once.
    fn prepare(&mut self, shape: Shape) {
        self.batches.clear();
        for chunk in self.order.chunks(BATCH) {
            let mut batch = FrameBatch::with_capacity(BATCH * 160, BATCH);
            let mut frame = Vec::new();
            for &number in chunk {
                let beat = &mut self.beats[number as usize];
                beat.response_id = self.round;
                if shape == Shape::Churn {
                    beat.container_statuses.clear();
                    // Everything that was ever sent: the shard knows what that was.
                    beat.acknowledged_command = u32::MAX;
                    if number % 10 == self.round % 10 {
                        let id =
                            container(1, u64::from(number) + 1 + u64::from(self.round / 20) * 10_000_000);
                        let (state, is_new) = if (self.round / 10).is_multiple_of(2) {
                            (ContainerState::Running, true)
                        } else {
                            (ContainerState::Complete, false)
                        };
                        if is_new {
                            beat.containers_digest.add(&id);
                        } else {
                            beat.containers_digest.remove(&id);
                        }
                        beat.container_statuses.push(status(id, state));
                    }
                }
                frame.clear();
                write_frame(&mut frame, Flags::REQUEST, u64::from(number), beat.node_handle.0, beat);
                let (stream, peer) = self.nodes[number as usize];
                batch.push(&frame, stream, peer);
            }
            self.batches.push(batch);
        }
    }

    fn drain_events(&mut self) {
        let mut output = SchedulerOutput::default();
        while let Some(event) = self.shard.poll_node_event() {
            self.scheduler.handle_node_event(self.now, event, &mut output);
            output.attempt_events.clear();
        }
        for command in output.node_commands {
            debug_assert!(!matches!(command.order, NodeOrder::SignalContainer(..)));
            self.shard.handle_node_command(self.now, command, &mut self.out).expect("room");
        }
    }

    /// One round: every node beats once. Only the shard's work is timed.
    fn run(&mut self) -> Duration {
        let mut elapsed = Duration::ZERO;
        for batch in core::mem::take(&mut self.batches) {
            self.answers.clear();
            let start = cpu_time();
            let taken =
                self.shard.handle_frames(self.now, black_box(&batch), 0, &mut self.answers, &mut self.out);
            elapsed += cpu_time().saturating_sub(start);
            assert_eq!((taken, self.answers.len()), (batch.len(), batch.len()));
        }
        self.round += 1;
        self.now = self.now + Duration::from_millis(1_000);
        self.shard.handle_tick(self.now, 0, &mut self.out);
        elapsed
    }

    /// Runs rounds and checks that every answer is NORMAL with the next id.
    fn check(&mut self, shape: Shape) {
        for _ in 0..3 {
            let fresh = self.shard.counters().heartbeats_fresh;
            let batches = self.batches.clone();
            for batch in &batches {
                self.answers.clear();
                self.shard.handle_frames(self.now, batch, 0, &mut self.answers, &mut self.out);
                for answer in self.answers.answers() {
                    let body = &self.answers.answer_bytes(answer)[HEADER_SIZE..];
                    let answer: NodeHeartbeatResponse = decode(body).expect("an answer");
                    assert_eq!(answer.response_id, self.round + 1);
                    assert!(!answer.is_full_report_requested);
                }
            }
            assert_eq!(self.shard.counters().heartbeats_fresh - fresh, self.beats.len() as u64);
            assert_eq!(self.shard.counters().rejects, 0);
            self.round += 1;
            self.now = self.now + Duration::from_millis(1_000);
            self.drain_events();
            if let Shape::Containers(per_node) = shape {
                let expected = per_node * self.beats.len() as u64;
                assert_eq!(self.shard.counters().running_containers, expected);
            }
            self.prepare(shape);
        }
    }
}

/// CPU time of this thread. Read once per batch of 4,096 beats: 0.1 ns a beat.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn heartbeat(criterion: &mut Criterion) {
    let shapes: [(&str, Shape, &[u32]); 4] = [
        ("steady", Shape::Steady, &[10_000, 100_000, 1_000_000]),
        ("4_containers", Shape::Containers(4), &[10_000, 100_000]),
        ("12_containers", Shape::Containers(12), &[10_000]),
        ("churn", Shape::Churn, &[10_000, 100_000]),
    ];
    let mut group = criterion.benchmark_group("heartbeat");
    for (name, shape, counts) in shapes {
        for &count in counts {
            let size = if count >= 1_000_000 {
                format!("{}m_nodes", count / 1_000_000)
            } else {
                format!("{}k_nodes", count / 1_000)
            };
            group.throughput(Throughput::Elements(u64::from(count)));
            group.sample_size(10);
            group.measurement_time(Duration::from_secs(2));
            group.warm_up_time(Duration::from_millis(500));
            let mut fleet = None;
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                // Built when the filter lets the shape run, once.
                let fleet = fleet.get_or_insert_with(|| {
                    let mut fleet = Fleet::new(count, shape);
                    fleet.check(shape);
                    fleet
                });
                bencher.iter_custom(|rounds| {
                    let mut elapsed = Duration::ZERO;
                    for _ in 0..rounds {
                        fleet.drain_events();
                        fleet.prepare(shape);
                        elapsed += fleet.run();
                    }
                    elapsed
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, heartbeat);
criterion_main!(benches);

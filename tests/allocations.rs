//! Memory of the engine: no allocation per steady beat, and bytes per idle node, both counted by the allocator.
//! Owns: the counting allocator of this test binary. Does not: measure connections; the load generator does.

mod common;
#[path = "allocations/masters.rs"]
mod masters;

use core::time::Duration;
use std::alloc::System;
use std::sync::{Mutex, PoisonError};

use common::{NodeBuilder, container, status};
use heddle::engine::batch::{AnswerBatch, FrameBatch};
use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::face::SchedulerOutput;
use heddle::engine::scheduler::settings::{SchedulerSettings, UnknownContainers};
use heddle::engine::settings::ShardSettings;
use heddle::engine::shard::{Outbox, Shard};
use heddle::engine::time::Instant;
use heddle_wire::record::ContainerState;
use heddle_wire::resource_tracker::{NodeHeartbeatRequest, RegisterNodeManagerResponse};
use heddle_wire::{Flags, HEADER_SIZE, decode, write_frame};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The counters are the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Fleet {
    shard: Shard,
    /// Hears the shard's events; `None` = nobody does.
    scheduler: Option<Scheduler>,
    now: Instant,
    nodes: Vec<common::TestNode>,
    out: Outbox,
}

impl Fleet {
    fn new(count: u32) -> Self {
        Self {
            shard: Shard::new(ShardSettings::default()),
            scheduler: None,
            now: Instant::from_millis(1_000),
            nodes: (0..count)
                .map(|number| NodeBuilder::new(&format!("node-{number:07}.dc1")).build())
                .collect(),
            out: Outbox::default(),
        }
    }

    /// With a scheduler that takes the containers nodes invent as they are.
    fn with_scheduler(count: u32) -> Self {
        let unknown_containers = UnknownContainers::Accept;
        let settings = SchedulerSettings { unknown_containers, ..SchedulerSettings::default() };
        Self { scheduler: Some(Scheduler::new(settings)), ..Self::new(count) }
    }

    fn register(&mut self) {
        let mut answers = AnswerBatch::default();
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let mut frame = Vec::new();
            write_frame(&mut frame, Flags::REQUEST, 1, node.register.node_id.routing_key(), &node.register);
            let mut batch = FrameBatch::default();
            batch.push(&frame, node.stream, node.peer);
            answers.clear();
            self.shard.handle_frames(self.now, &batch, 0, &mut answers, &mut self.out);
            let body = &answers.answer_bytes(&answers.answers()[0])[HEADER_SIZE..];
            node.beat.node_handle =
                decode::<RegisterNodeManagerResponse>(body).expect("registered").node_handle;
            if index % 1_024 == 0 {
                self.drain();
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        let mut output = SchedulerOutput::default();
        while let Some(event) = self.shard.poll_node_event() {
            if let Some(scheduler) = &mut self.scheduler {
                scheduler.handle_node_event(self.now, event, &mut output);
                output.attempt_events.clear();
            }
        }
        for command in output.node_commands {
            self.shard.handle_node_command(self.now, command, &mut self.out).expect("there is room");
        }
    }

    fn batch(&self, change: impl Fn(&mut NodeHeartbeatRequest)) -> FrameBatch {
        let mut batch = FrameBatch::default();
        let mut frame = Vec::new();
        for node in &self.nodes {
            let mut beat = node.beat.clone();
            change(&mut beat);
            frame.clear();
            write_frame(&mut frame, Flags::REQUEST, 1, beat.node_handle.0, &beat);
            batch.push(&frame, node.stream, node.peer);
        }
        batch
    }

    fn step(&mut self, batch: &FrameBatch, answers: &mut AnswerBatch) {
        self.now = self.now + Duration::from_secs(1);
        answers.clear();
        assert_eq!(self.shard.handle_frames(self.now, batch, 0, answers, &mut self.out), batch.len());
        self.shard.handle_tick(self.now, 500, &mut self.out);
        assert!(self.shard.poll_node_event().is_none());
    }
}

#[test]
fn a_steady_beat_allocates_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for containers in [0, 4] {
        let mut fleet = Fleet::with_scheduler(1_000);
        fleet.register();
        for node in &mut fleet.nodes {
            for id in 0..containers {
                let id = container(1, node.beat.node_handle.0 * 100 + id);
                node.beat.containers_digest.add(&id);
                node.beat.container_statuses.push(status(id, ContainerState::Running));
            }
        }
        let mut answers = AnswerBatch::default();
        let warm_up = fleet.batch(|_| {});
        assert_eq!(fleet.shard.handle_frames(fleet.now, &warm_up, 0, &mut answers, &mut fleet.out), 1_000);
        fleet.drain();
        let rounds: Vec<FrameBatch> =
            (1..=5).map(|round| fleet.batch(|beat| beat.response_id = round)).collect();
        let region = Region::new(ALLOCATOR);
        for batch in &rounds {
            fleet.step(batch, &mut answers);
        }
        let change = region.change();
        assert_eq!(
            (change.allocations, change.reallocations, change.deallocations),
            (0, 0, 0),
            "with {containers} containers"
        );
        assert_eq!(fleet.shard.counters().heartbeats_fresh, 6_000);
        assert_eq!(fleet.shard.counters().running_containers, containers * 1_000);
    }
}

#[test]
fn an_idle_node_costs_at_most_256_bytes() {
    const NODES: u32 = 100_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut fleet = Fleet::new(NODES);
    let region = Region::new(ALLOCATOR);
    fleet.register();
    let change = region.change();
    // A reallocation's growth is in `bytes_allocated` already.
    let held = change.bytes_allocated as i64 - change.bytes_deallocated as i64;
    let out = fleet.out.notices.capacity() * size_of::<heddle::engine::shard::Notice>();
    let per_node = (held - out as i64) / i64::from(NODES);
    println!("{per_node} bytes per node in the shard, {} by its own estimate", {
        fleet.shard.heap_size() / NODES as usize
    });
    assert!((64..=256).contains(&per_node), "{per_node} bytes per node");
    let estimate = fleet.shard.heap_size() as i64;
    assert!(estimate <= held && held - estimate <= i64::from(NODES) * 40, "estimate {estimate} of {held}");
}

/// The scheduler keeps what it has of a node beside the shard: names, capability, what is free, its place in the index.
#[test]
fn an_idle_node_costs_the_scheduler_at_most_a_kilobyte() {
    const NODES: u32 = 20_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let held = |mut fleet: Fleet| {
        let region = Region::new(ALLOCATOR);
        fleet.register();
        let change = region.change();
        let nodes = fleet.scheduler.as_ref().map_or(0, |scheduler| scheduler.totals().nodes);
        (change.bytes_allocated as i64 - change.bytes_deallocated as i64, nodes)
    };
    let (without, _) = held(Fleet::new(NODES));
    let (with, nodes) = held(Fleet::with_scheduler(NODES));
    assert_eq!(nodes, u64::from(NODES));
    let per_node = (with - without) / i64::from(NODES);
    println!("{per_node} bytes per node in the scheduler");
    assert!((16..=1_024).contains(&per_node), "{per_node} bytes per node");
}

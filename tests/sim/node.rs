//! A simulated NodeManager: a fleet of one, and what the simulator adds to it.
//! Owns: [`SimNode`]: the fleet, health, ports, pauses, what was carried out. Called by: the simulation.
//! Does not: decide what goes wrong. Thread: the run's.
//! Invariants: a paused node neither reads nor writes; each incarnation has its own applications, so that a container
//! id is never used twice; signals are counted as the wire's rules say they are carried out.

use core::mem::offset_of;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use heddle::engine::batch::PeerId;
use heddle_loadgen::fleet::{Capacities, Fleet, FleetSpec, NodeState as FleetState, Outcome, Pace};
use heddle_wire::frame::Frame;
use heddle_wire::record::{ContainerId, NodeHandle, NodeHealthStatus, SignalContainerCommand};
use heddle_wire::resource_tracker::{
    ArchivedNodeHeartbeatRequest, NodeHeartbeatResponse, RegisterNodeManagerRequest,
};
use heddle_wire::{Flags, Opcode, decode, write_frame};

use super::chance::Chance;
use super::coverage::{Coverage, Kind};

/// Most nodes of a run, and most lives of one.
pub(crate) const NODES_MAX: usize = 12;
const INCARNATIONS_MAX: u32 = 24;

/// Container-management port of every node, as the fleet has it.
pub(crate) const NM_PORT: u16 = 45_454;

/// Messages kept for a paused node, as its socket would.
const HELD_MAX: usize = 64;

/// The incarnation whose machine is too small to be accepted, of every eight.
const TOO_SMALL: u32 = 5;

/// Applications are per 64 nodes: an incarnation takes 64 numbers for itself.
const NUMBERS: u32 = 64;

/// Host of a node: two liveliness classes by its name.
pub(crate) fn host_of(node: usize) -> String {
    if node.is_multiple_of(3) { format!("fast-{node:02}") } else { format!("slow-{node:02}") }
}

/// The node of a host name, if it is one of ours.
pub(crate) fn node_of(host: &str) -> Option<usize> {
    let number: usize = host.get(5..)?.parse().ok()?;
    (number < NODES_MAX && host_of(number) == host).then_some(number)
}

/// One list for all runs: entry `64 × (incarnation × NODES_MAX + node)` is that life of that node.
fn capacities() -> Capacities {
    static LIST: OnceLock<Capacities> = OnceLock::new();
    let list = LIST.get_or_init(|| {
        let mut text = "sn,cpu_milli,memory_mib,gpu,model\n".to_owned();
        for number in 0..INCARNATIONS_MAX * NODES_MAX as u32 {
            let (incarnation, node) = (number / NODES_MAX as u32, number as usize % NODES_MAX);
            let memory_mb =
                if incarnation % 8 == TOO_SMALL { 512 } else { 65_536 + 1_024 * (incarnation % 3) };
            let line = format!("{},16000,{memory_mb},{},\n", host_of(node), incarnation % 2);
            (0..NUMBERS).for_each(|_| text.push_str(&line));
        }
        Capacities::read_csv(text.as_bytes()).unwrap()
    });
    list.clone()
}

/// How a run's nodes behave.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) containers: u32,
    pub(crate) churn_ppm: u32,
    pub(crate) duplicate_ppm: u32,
    pub(crate) stale_ppm: u32,
    pub(crate) retry_after_ms: u32,
}

/// See the module.
pub(crate) struct SimNode {
    pub(crate) shard: usize,
    pub(crate) peer: PeerId,
    pub(crate) fleet: Fleet,
    pub(crate) is_healthy: bool,
    pub(crate) http_port: u16,
    pub(crate) is_paused: bool,
    /// The process is gone.
    pub(crate) is_dead: bool,
    /// It heard an answer to a registration in this life, so it knows its lease.
    pub(crate) was_registered: bool,
    pub(crate) incarnation: u32,
    index: usize,
    habits: Habits,
    held: Vec<Vec<u8>>,
    /// The handle orders are counted for, and the highest carried out.
    handle: u64,
    acknowledged: u32,
    /// Signals carried out.
    pub(crate) signalled: BTreeMap<(ContainerId, u8), u32>,
    /// Orders to kill that arrived.
    pub(crate) cleaned_up: BTreeMap<ContainerId, u32>,
    /// The last request, for those who replay it.
    pub(crate) last_frame: Vec<u8>,
    scratch: Vec<u8>,
    due: Vec<u32>,
}

/// What a node made of a message.
pub(crate) struct Taken {
    pub(crate) outcome: Outcome,
    /// Completed containers it was told to forget.
    pub(crate) removed: Vec<ContainerId>,
}

impl SimNode {
    pub(crate) fn new(
        index: usize,
        shard_count: u16,
        peer: PeerId,
        habits: &Habits,
        chance: &mut Chance,
    ) -> Self {
        let host = host_of(index);
        let key = heddle_wire::record::routing_key(&host, NM_PORT);
        Self {
            shard: (key % u64::from(shard_count)) as usize,
            fleet: Self::fleet(index, 0, habits, chance.next()),
            peer,
            is_healthy: true,
            http_port: 8_042,
            is_paused: false,
            is_dead: false,
            was_registered: false,
            incarnation: 0,
            index,
            habits: habits.clone(),
            held: Vec::new(),
            handle: 0,
            acknowledged: 0,
            signalled: BTreeMap::new(),
            cleaned_up: BTreeMap::new(),
            last_frame: Vec::new(),
            scratch: Vec::new(),
            due: Vec::new(),
        }
    }

    fn fleet(index: usize, incarnation: u32, habits: &Habits, seed: u64) -> Fleet {
        let spec = FleetSpec {
            nodes: 1,
            first_node: NUMBERS * (incarnation * NODES_MAX as u32 + index as u32),
            containers_per_node: habits.containers,
            churn_ppm: habits.churn_ppm,
            duplicate_ppm: habits.duplicate_ppm,
            stale_ppm: habits.stale_ppm,
            capacities: capacities(),
            pace: Pace::Told,
            retry_after_ms: habits.retry_after_ms,
            runs_applications: false,
            start_time_ms: None,
        };
        Fleet::new(spec, seed)
    }

    /// The process starts anew, with other containers and another capability. False when it has no more lives.
    pub(crate) fn restart(&mut self, now_us: u64, chance: &mut Chance, coverage: &mut Coverage) -> bool {
        if self.incarnation + 1 >= INCARNATIONS_MAX {
            return false;
        }
        self.incarnation += 1;
        coverage.hit(Kind::NodeRestart);
        coverage.hit(Kind::CapabilityChange);
        if self.incarnation % 8 == TOO_SMALL {
            coverage.hit(Kind::TooSmall);
        }
        let mut habits = self.habits.clone();
        // Some come back empty.
        if chance.hits(400) {
            habits.containers = 0;
        }
        self.fleet = Self::fleet(self.index, self.incarnation, &habits, chance.next());
        self.fleet.start(0, now_us);
        self.is_dead = false;
        self.is_paused = false;
        self.is_healthy = true;
        self.was_registered = false;
        self.held.clear();
        self.handle = 0;
        self.acknowledged = 0;
        true
    }

    /// No fault of the node's own from here on: no copies, nothing stale.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_dead || self.fleet.state(0) == FleetState::Stopped
    }

    /// Lets the node do what is due. Returns the frames it sends.
    pub(crate) fn wake(&mut self, now_us: u64, coverage: &mut Coverage) -> Vec<Vec<u8>> {
        self.due.clear();
        let mut frames = Vec::new();
        if self.is_dead {
            return frames;
        }
        let fences = self.fleet.counters().fences;
        // Paused, it stops its containers all the same when it can: a real one does so before anything else.
        self.fleet.due(now_us, 4, &mut self.due);
        if self.fleet.counters().fences > fences {
            coverage.hit(Kind::Fenced);
        }
        for _ in 0..self.due.len() {
            self.write(now_us, coverage, &mut frames);
        }
        frames
    }

    /// The connection is new: what waits for an answer is asked again.
    pub(crate) fn reconnect(&mut self, now_us: u64, coverage: &mut Coverage) -> Vec<Vec<u8>> {
        self.due.clear();
        let mut frames = Vec::new();
        if !self.is_dead {
            self.fleet.reconnect(0, now_us, &mut self.due);
            for _ in 0..self.due.len() {
                self.write(now_us, coverage, &mut frames);
            }
        }
        frames
    }

    fn write(&mut self, now_us: u64, coverage: &mut Coverage, frames: &mut Vec<Vec<u8>>) {
        let (copies, stale) = (self.fleet.counters().copies_sent, self.fleet.counters().stale_sent);
        self.scratch.clear();
        self.fleet.write(0, now_us, &mut self.scratch);
        if self.fleet.counters().copies_sent > copies {
            coverage.hit(Kind::DuplicateBeat);
        }
        if self.fleet.counters().stale_sent > stale {
            coverage.hit(Kind::StaleBeat);
        }
        let mut rest = &self.scratch[..];
        while let Ok(frame) = Frame::from_slice(rest) {
            rest = &rest[frame.bytes.len()..];
            let bytes = self.dressed(&frame, coverage);
            self.last_frame.clone_from(&bytes);
            frames.push(bytes);
        }
    }

    /// The frame as this node sends it: the fleet's, with the node's health and web port.
    fn dressed(&self, frame: &Frame<'_>, coverage: &mut Coverage) -> Vec<u8> {
        let mut bytes = frame.bytes.to_vec();
        match frame.header.opcode {
            Opcode::NodeHeartbeat if !self.is_healthy => {
                coverage.hit(Kind::UnhealthyBeat);
                let root = bytes.len() - size_of::<ArchivedNodeHeartbeatRequest>();
                bytes[root + offset_of!(ArchivedNodeHeartbeatRequest, is_node_healthy)] = 0;
            }
            Opcode::RegisterNodeManager if !self.is_healthy || self.http_port != 8_042 => {
                let mut request: RegisterNodeManagerRequest = decode(frame.body()).unwrap();
                request.http_port = self.http_port;
                request.node_status = (!self.is_healthy).then(|| NodeHealthStatus {
                    is_node_healthy: false,
                    health_report: "1/1 local-dirs are bad".to_owned(),
                    last_health_report_time_ms: 0,
                });
                bytes.clear();
                let header = &frame.header;
                write_frame(&mut bytes, Flags::REQUEST, header.correlation_id, header.routing_key, &request);
            }
            _ => {}
        }
        bytes
    }

    /// Its process is killed; what waited in its socket is gone.
    pub(crate) fn die(&mut self) {
        self.is_dead = true;
        self.held.clear();
        self.fleet.kill(0);
    }

    /// A message for the node. A paused one takes it in when it goes on.
    pub(crate) fn hear(&mut self, now_us: u64, bytes: Vec<u8>) -> Vec<Taken> {
        if self.is_dead {
            return Vec::new();
        }
        if self.is_paused {
            if self.held.len() < HELD_MAX {
                self.held.push(bytes);
            }
            return Vec::new();
        }
        vec![self.take_in(now_us, &bytes)]
    }

    fn take_in(&mut self, now_us: u64, bytes: &[u8]) -> Taken {
        let frame = Frame::from_slice(bytes).unwrap();
        let outcome = self.fleet.handle_frame(now_us, &frame).outcome;
        let mut taken = Taken { outcome, removed: Vec::new() };
        match outcome {
            Outcome::Registered => {
                self.was_registered = true;
                self.handle = 0;
                self.acknowledged = 0;
            }
            Outcome::Accepted { .. } | Outcome::Pushed => self.count_orders(&frame, &mut taken),
            _ => {}
        }
        taken
    }

    /// What the wire says a node does with orders, counted beside the fleet.
    fn count_orders(&mut self, frame: &Frame<'_>, taken: &mut Taken) {
        let Ok(answer) = decode::<NodeHeartbeatResponse>(frame.body()) else { return };
        let Some(commands) = answer.commands else { return };
        if self.handle != frame.header.routing_key {
            self.handle = frame.header.routing_key;
            self.acknowledged = 0;
        }
        for signal in &commands.containers_to_signal {
            if signal.sequence > self.acknowledged {
                *self.signalled.entry((signal.container_id, signal_number(signal.command))).or_default() += 1;
            }
        }
        for id in &commands.containers_to_cleanup {
            *self.cleaned_up.entry(*id).or_default() += 1;
        }
        taken.removed = commands.containers_to_be_removed_from_nm;
        self.acknowledged = self.acknowledged.max(commands.last_sequence);
    }

    pub(crate) fn pause(&mut self) {
        self.is_paused = true;
        self.fleet.pause(0);
    }

    /// Goes on: its lease first, then what came in the meantime, then its own requests.
    pub(crate) fn resume(&mut self, now_us: u64, coverage: &mut Coverage) -> (Vec<Taken>, Vec<Vec<u8>>) {
        let mut frames = self.wake(now_us, coverage);
        self.is_paused = false;
        let held = core::mem::take(&mut self.held);
        let taken = held.iter().map(|bytes| self.take_in(now_us, bytes)).collect();
        self.fleet.resume(0, now_us);
        frames.extend(self.wake(now_us, coverage));
        (taken, frames)
    }

    /// When it wants to be woken again.
    pub(crate) fn next_wake_us(&self, now_us: u64) -> Option<u64> {
        match self.fleet.state(0) {
            FleetState::Stopped | FleetState::Unregistered => None,
            _ if self.is_dead => None,
            _ if self.is_paused || self.fleet.is_awaiting(0) => Some(now_us + 200_000),
            // The wheel counts whole milliseconds, rounded up; leases want a look now and then.
            _ => Some(self.fleet.planned_us(0).div_ceil(1_000) * 1_000)
                .map(|at_us| at_us.clamp(now_us + 1_000, now_us + 700_000)),
        }
    }

    /// The handle it beats with, from its last beat.
    pub(crate) fn last_handle(&self) -> Option<NodeHandle> {
        let frame = Frame::from_slice(&self.last_frame).ok()?;
        (frame.header.opcode == Opcode::NodeHeartbeat).then_some(NodeHandle(frame.header.routing_key))
    }
}

pub(crate) const fn signal_number(command: SignalContainerCommand) -> u8 {
    command as u8
}

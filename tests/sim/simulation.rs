//! One run: a ResourceManager and its nodes in virtual time, stepped event by event, checked after every step.
//! Owns: [`Simulation`]: the time, the queue of what is to happen, everything that takes part. Called by: the tests.
//! Does not: use threads, clocks or sockets. Thread: the run's.
//! Invariants: one seed, one run: all chance comes from [`Chance`], nothing is iterated in the order of a hash; time
//! never goes back; after the faults end everything settles within a bounded time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use heddle::engine::batch::{PeerId, StreamRef};
use heddle::engine::settings::ShardSettings;
use heddle_loadgen::fleet::Outcome;
use heddle_wire::Opcode;
use heddle_wire::frame::Frame;
use heddle_wire::record::ContainerId;

use crate::chance::Chance;
use crate::checkers::{SchedulerView, ShardModel};
use crate::coverage::{Coverage, Kind};
use crate::describe;
use crate::network::{Direction, Network};
use crate::node::{SimNode, Taken};
use crate::plan::Plan;
use crate::resource_manager::ResourceManager;

/// Lines of the story of a run that are kept.
const TRACE_MAX: usize = 4000;

/// The administrator's certificate.
pub(crate) const ADMIN: PeerId = PeerId(1);
/// The certificate of a node that has no business here.
pub(crate) const FOREIGN: PeerId = PeerId(666);
/// The administrator's stream, beyond those of nodes.
pub(crate) const ADMIN_SLOT: u32 = 1_000;
/// The stream of those who misbehave: a node would take the answers for its own.
pub(crate) const STRANGER_SLOT: u32 = 1_001;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// `slot` is the stream's: the node's own, or one on which nobody waits for an answer.
    ToRm {
        node: usize,
        slot: u32,
        generation: u32,
        bytes: Vec<u8>,
        peer: PeerId,
    },
    ToNode {
        node: usize,
        generation: u32,
        bytes: Vec<u8>,
    },
    Wake(usize),
    Step(usize),
    Tick,
    Inventory,
    Act,
    Heal,
    Connect(usize),
    StartRm,
    Resume(usize),
    Revive(usize),
}

struct Entry {
    at_us: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.sequence).cmp(&(self.at_us, self.sequence))
    }
}

/// What a run found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) coverage: Coverage,
    /// Hash of every byte that was sent, in order.
    pub(crate) hash: u64,
    pub(crate) steps: u64,
}

/// A rule that did not hold.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) text: String,
    pub(crate) trace: Vec<String>,
}

/// See the module.
pub(crate) struct Simulation {
    pub(crate) now_us: u64,
    sequence: u64,
    queue: BinaryHeap<Entry>,
    pub(crate) chance: Chance,
    pub(crate) plan: Plan,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) wake_at_us: Vec<u64>,
    pub(crate) rm: ResourceManager,
    pub(crate) models: Vec<ShardModel>,
    pub(crate) view: SchedulerView,
    pub(crate) coverage: Coverage,
    pub(crate) step_is_planned: Vec<bool>,
    pub(crate) suspended_until_us: u64,
    /// When the ResourceManager's clock last ran ahead in a way it cannot tell.
    pub(crate) jumped_at_us: Option<u64>,
    pub(crate) is_healed: bool,
    /// Signals ordered, by container and command.
    pub(crate) signals: BTreeMap<(ContainerId, u8), u32>,
    /// Orders to kill: scheduler's lineage, node, its life, container.
    pub(crate) cleanups: Vec<(u64, usize, u32, ContainerId)>,
    pub(crate) trace: Option<VecDeque<String>>,
    hash: u64,
    steps: u64,
}

macro_rules! trace {
    ($simulation:expr, $($text:tt)*) => {
        if $simulation.is_traced() {
            let line = format!($($text)*);
            $simulation.say(line);
        }
    };
}
pub(crate) use trace;

impl Simulation {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::new(&mut chance);
        let shard_count = plan.settings.len();
        let nodes: Vec<SimNode> = (0..plan.nodes)
            .map(|node| {
                let peer = if plan.is_relay { PeerId(100) } else { PeerId(100 + node as u64) };
                SimNode::new(node, shard_count as u16, peer, &plan.habits, &mut chance)
            })
            .collect();
        Self {
            now_us: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            network: Network::new(nodes.len(), plan.weather.clone()),
            wake_at_us: vec![u64::MAX; nodes.len()],
            rm: ResourceManager::new(0, &plan.settings, 0),
            models: plan.settings.iter().map(ShardModel::new).collect(),
            view: SchedulerView::default(),
            coverage: Coverage::default(),
            step_is_planned: vec![false; shard_count],
            suspended_until_us: 0,
            jumped_at_us: None,
            is_healed: false,
            signals: BTreeMap::new(),
            cleanups: Vec::new(),
            trace: is_traced.then(VecDeque::new),
            hash: seed,
            steps: 0,
            nodes,
            chance,
            plan,
        }
    }

    /// Runs a seed to its end.
    pub(crate) fn run(seed: u64, is_traced: bool) -> Result<Report, Violation> {
        let mut simulation = Self::new(seed, is_traced);
        match simulation.run_all() {
            Ok(()) => {
                Ok(Report { coverage: simulation.coverage, hash: simulation.hash, steps: simulation.steps })
            }
            Err(text) => Err(Violation {
                text: format!("at {} µs: {text}", simulation.now_us),
                trace: simulation.trace.unwrap_or_default().into(),
            }),
        }
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.trace.is_some()
    }

    pub(crate) fn say(&mut self, line: String) {
        let now_us = self.now_us;
        if let Some(trace) = self.trace.as_mut() {
            if trace.len() == TRACE_MAX {
                trace.pop_front();
            }
            trace.push_back(format!("{:>10} {line}", now_us));
        }
    }

    pub(crate) fn schedule(&mut self, after_us: u64, event: Event) {
        self.schedule_at(self.now_us + after_us, event);
    }

    fn schedule_at(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Entry { at_us, sequence: self.sequence, event });
    }

    fn run_all(&mut self) -> Result<(), String> {
        trace!(self, "{:?}", self.plan);
        if self.plan.is_relay {
            self.coverage.hit(Kind::Relay);
        }
        for node in 0..self.nodes.len() {
            let at_us = self.chance.below(1_500_000);
            self.nodes[node].fleet.start(0, at_us);
            self.plan_wake(node);
        }
        self.schedule(1_000, Event::Tick);
        self.schedule(1_000, Event::Inventory);
        self.schedule(1_000, Event::Act);
        let heal_at_us = self.plan.heal_at_us;
        self.schedule(heal_at_us, Event::Heal);
        // What may have to pass one after the other: a lost node's time, the brake's limit, refusals that are asked
        // again after ten seconds, slots to come back in.
        let longest = |settings: &ShardSettings| {
            let lost = settings.classes.iter().map(|class| class.lost_after).max().unwrap_or_default();
            (lost + settings.brake.limit).as_micros() as u64
        };
        let deadline_us = heal_at_us + 2 * self.plan.settings.first().map_or(0, longest) + 30_000_000;
        let mut look_at_us = 0;
        let mut reason = String::new();
        while let Some(entry) = self.queue.pop() {
            self.now_us = entry.at_us;
            self.steps += 1;
            self.happen(entry.event)?;
            if self.is_healed && self.now_us >= look_at_us {
                look_at_us = self.now_us + 250_000;
                let is_empty = self.rm.is_up && self.drain_rings()?;
                match self.check_settled(is_empty) {
                    Ok(()) => return self.check_end(),
                    // A beat may be on its way at any time: what kept it from settling is more worth telling.
                    Err(text) if !text.contains("AwaitingAnswer") || reason.is_empty() => reason = text,
                    Err(_) => {}
                }
                if self.now_us > deadline_us + self.rm.clock.behind_us() {
                    return Err(format!("does not settle: {reason}"));
                }
            }
        }
        Err("nothing is left to happen".to_owned())
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        let is_rm = matches!(event, Event::Step(_) | Event::Tick | Event::Inventory);
        if is_rm && self.now_us < self.suspended_until_us {
            let at_us = self.suspended_until_us;
            self.schedule_at(at_us, event);
            return Ok(());
        }
        match event {
            Event::ToRm { node, slot, generation, bytes, peer } => {
                if self.network.arrive(node, generation) {
                    self.arrive_at_rm(StreamRef::new(0, slot, generation), bytes, peer)?;
                }
            }
            Event::ToNode { node, generation, bytes } => {
                if self.network.arrive(node, generation) {
                    self.arrive_at_node(node, bytes)?;
                }
            }
            Event::Wake(node) => {
                if self.wake_at_us[node] == self.now_us {
                    self.wake(node)?;
                }
            }
            Event::Step(shard) => self.step(shard)?,
            Event::Tick => {
                self.tick()?;
                let after_us = self.chance.between(20_000, self.plan.tick_us_max);
                self.schedule(after_us, Event::Tick);
            }
            Event::Inventory => {
                self.step_inventory()?;
                let most_us = if self.is_healed { 50_000 } else { self.plan.inventory_us_max };
                let after_us = self.chance.between(1_000, most_us);
                self.schedule(after_us, Event::Inventory);
            }
            Event::Act => {
                if !self.is_healed {
                    self.act()?;
                    let after_us = self.chance.between(10_000, self.plan.act_us_max);
                    self.schedule(after_us, Event::Act);
                }
            }
            Event::Heal => self.heal()?,
            Event::Connect(node) => {
                if self.rm.is_up && !self.network.is_up(node) {
                    self.network.connect(node);
                    trace!(self, "node {node} connects");
                    if !self.nodes[node].is_paused {
                        let frames = self.nodes[node].reconnect(self.now_us, &mut self.coverage);
                        self.send_to_rm(node, frames)?;
                    }
                }
            }
            Event::StartRm => self.start_rm(),
            Event::Resume(node) => self.resume(node)?,
            Event::Revive(node) => {
                if self.nodes[node].is_gone() {
                    self.restart_node(node)?;
                }
            }
        }
        Ok(())
    }

    // Nodes.

    /// Lets a node do what is due.
    pub(crate) fn wake(&mut self, node: usize) -> Result<(), String> {
        let frames = self.nodes[node].wake(self.now_us, &mut self.coverage);
        self.send_to_rm(node, frames)?;
        self.plan_wake(node);
        Ok(())
    }

    pub(crate) fn plan_wake(&mut self, node: usize) {
        let Some(at_us) = self.nodes[node].next_wake_us(self.now_us) else { return };
        if self.wake_at_us[node] != at_us {
            self.wake_at_us[node] = at_us;
            self.schedule_at(at_us, Event::Wake(node));
        }
    }

    pub(crate) fn send_to_rm(&mut self, node: usize, frames: Vec<Vec<u8>>) -> Result<(), String> {
        for bytes in frames {
            let peer = self.nodes[node].peer;
            let is_registration = opcode_of(&bytes) == Some(Opcode::RegisterNodeManager);
            trace!(self, "node {node} sends {}", describe::frame(&bytes));
            self.send_as(node, node as u32, bytes, peer)?;
            if is_registration
                && !self.is_healed
                && self.chance.hits(self.plan.drop_at_registration_permille / 2)
            {
                self.coverage.hit(Kind::DropBeforeRegistration);
                self.drop_connection(node);
            }
        }
        Ok(())
    }

    /// Sends under any certificate, over the node's link.
    pub(crate) fn send_as(
        &mut self,
        node: usize,
        slot: u32,
        bytes: Vec<u8>,
        peer: PeerId,
    ) -> Result<(), String> {
        self.note(&bytes);
        let generation = self.network.generation(node);
        let (network, chance) = (&mut self.network, &mut self.chance);
        let copies = network.send(self.now_us, node, Direction::ToRm, chance, &mut self.coverage)?;
        for at_us in copies.into_iter().flatten() {
            self.schedule_at(at_us, Event::ToRm { node, slot, generation, bytes: bytes.clone(), peer });
        }
        Ok(())
    }

    pub(crate) fn send_to_node(&mut self, stream: StreamRef, bytes: &[u8]) -> Result<(), String> {
        self.note(bytes);
        let node = stream.slot() as usize;
        if node >= self.nodes.len() || stream.generation() != self.network.generation(node) {
            return Ok(());
        }
        let generation = self.network.generation(node);
        let (network, chance) = (&mut self.network, &mut self.chance);
        let copies = network.send(self.now_us, node, Direction::ToNode, chance, &mut self.coverage)?;
        for at_us in copies.into_iter().flatten() {
            self.schedule_at(at_us, Event::ToNode { node, generation, bytes: bytes.to_vec() });
        }
        let is_registration = opcode_of(bytes) == Some(Opcode::RegisterNodeManager);
        if is_registration && !self.is_healed && self.chance.hits(self.plan.drop_at_registration_permille / 2)
        {
            self.coverage.hit(Kind::DropAfterRegistration);
            self.drop_connection(node);
        }
        Ok(())
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.hash ^ self.now_us);
    }

    pub(crate) fn drop_connection(&mut self, node: usize) {
        self.coverage.hit(Kind::ConnectionDrop);
        self.network.drop_connection(node);
        trace!(self, "node {node} loses its connection");
        let after_us = self.chance.between(1_000, 3_000_000);
        self.schedule(after_us, Event::Connect(node));
    }

    fn arrive_at_node(&mut self, node: usize, bytes: Vec<u8>) -> Result<(), String> {
        trace!(self, "node {node} hears {}", describe::frame(&bytes));
        let taken = self.nodes[node].hear(self.now_us, bytes);
        self.check_taken(node, &taken)?;
        self.plan_wake(node);
        Ok(())
    }

    pub(crate) fn resume(&mut self, node: usize) -> Result<(), String> {
        if !self.nodes[node].is_paused {
            return Ok(());
        }
        trace!(self, "node {node} goes on");
        let (taken, frames) = self.nodes[node].resume(self.now_us, &mut self.coverage);
        self.check_taken(node, &taken)?;
        self.send_to_rm(node, frames)?;
        self.plan_wake(node);
        Ok(())
    }

    pub(crate) fn restart_node(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].restart(self.now_us, &mut self.chance, &mut self.coverage) {
            trace!(self, "node {node} starts anew");
            if self.is_healed {
                self.nodes[node].fleet.quieten();
            }
            // A new process has a new connection.
            self.network.drop_connection(node);
            self.schedule(2_000, Event::Connect(node));
            self.wake(node)?;
        }
        Ok(())
    }

    fn check_taken(&mut self, node: usize, taken: &[Taken]) -> Result<(), String> {
        for Taken { outcome, removed } in taken {
            trace!(self, "node {node}: {outcome:?}");
            if let Some(id) = removed.iter().find(|id| !self.view.ever_seen.contains(id)) {
                return Err(format!("node {node} is told to forget {id}, which the scheduler has not seen"));
            }
            if *outcome == Outcome::Pushed {
                self.coverage.hit(Kind::Push);
            }
        }
        for (key, count) in &self.nodes[node].signalled {
            let ordered = self.signals.get(key).copied().unwrap_or(0);
            if *count > ordered {
                let (container, command) = key;
                return Err(format!(
                    "node {node}: signal {command} for {container} was carried out {count} times, ordered {ordered}"
                ));
            }
        }
        Ok(())
    }
}

pub(crate) fn opcode_of(bytes: &[u8]) -> Option<Opcode> {
    Frame::from_slice(bytes).ok().map(|frame| frame.header.opcode)
}

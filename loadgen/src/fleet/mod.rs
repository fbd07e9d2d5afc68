//! The fleet: many simulated NodeManagers as one value. Pure: the time is an argument, chance comes from a seed.
//! Owns: every node's state, its containers, the plan of its next beat, and the count of what went wrong.
//! Called by: the QUIC driver (one fleet per client thread) and the simulator; never shared between threads.
//! Does not: read clocks, open sockets, start threads.
//! Invariants: at most one request of a node is out; an answer is taken in once; a request without an answer is
//! repeated with the same response id; same seed and same calls give the same bytes.
//!
//! A driver's loop: [`Fleet::due`] names the nodes that have something to send, [`Fleet::write`] writes it,
//! [`Fleet::handle_frame`] takes in what comes back. Units: microseconds since the run started.

mod answer;
mod capacity;
mod containers;
mod counters;
mod frame;
mod host;
#[cfg(test)]
pub(crate) mod model;
mod row;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use heddle_wire::record::{ApplicationAttemptId, ApplicationId, ContainerId, ContainersDigest};
use heddle_wire::resource_tracker::NodeHeartbeatRequest;

pub use answer::{Answer, Outcome};
pub use capacity::{Capacities, Capacity, CapacityError, GPU};
pub use counters::FleetCounters;
pub use frame::PLAIN_BEAT_SIZE;
pub use host::Handover;
pub use row::NodeState;
pub use write::{Written, WrittenKind};

use containers::Containers;
use frame::Template;
use host::Host;
use row::{AWAITING, EXCUSED, FENCED, PAUSED, REPEAT, Row, Stage, Wheel};

/// Response ids are 31 bits wide.
const RESPONSE_ID_MASK: u32 = 0x7fff_ffff;

/// Where the containers of the simulated cluster come from: applications of this cluster timestamp.
pub const CLUSTER_TIMESTAMP: u64 = 1_700_000_000_000;

/// Nodes that share an application. Fleets of one cluster start at multiples of it.
pub const APPLICATION_NODES: u32 = 64;

/// When a node beats again after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When the ResourceManager told it to: open loop.
    Told,
    /// At once: closed loop. The driver writes the next beat after each accepted answer.
    Max,
}

/// What kind of fleet.
#[derive(Clone, Debug)]
pub struct FleetSpec {
    /// How many nodes.
    pub nodes: u32,
    /// Number of this fleet's first node in the whole cluster, a multiple of [`APPLICATION_NODES`]: host names and
    /// container ids follow from it.
    pub first_node: u32,
    /// Containers each node starts with and keeps.
    pub containers_per_node: u32,
    /// Share of a node's containers that end and are replaced with each beat, millionths.
    pub churn_ppm: u32,
    /// Share of beats sent twice, millionths.
    pub duplicate_ppm: u32,
    /// Share of beats sent with an old response id, millionths.
    pub stale_ppm: u32,
    /// What the nodes offer.
    pub capacities: Capacities,
    /// When they beat again.
    pub pace: Pace,
    /// A request without an answer is repeated after this long, ms.
    pub retry_after_ms: u32,
    /// Containers are not invented: they are ordered by the ResourceManager and started by ApplicationMasters.
    pub runs_applications: bool,
    /// Time 0 of the run, milliseconds since 1970, where grants expire by it.
    pub start_time_ms: Option<u64>,
}

impl Default for FleetSpec {
    fn default() -> Self {
        Self {
            nodes: 1,
            first_node: 0,
            containers_per_node: 0,
            churn_ppm: 0,
            duplicate_ppm: 0,
            stale_ppm: 0,
            capacities: Capacities::default(),
            pace: Pace::Told,
            retry_after_ms: 5_000,
            runs_applications: false,
            start_time_ms: None,
        }
    }
}

/// Chance from a seed: splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) const fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * bound as u64) >> 32) as u32
    }

    pub(crate) const fn hits(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < ppm
    }
}

/// Many simulated NodeManagers. See the module.
#[derive(Clone, Debug)]
pub struct Fleet {
    spec: FleetSpec,
    rows: Vec<Row>,
    /// By node; empty while no node ever had a container.
    containers: Vec<Containers>,
    wheel: Wheel,
    template: Template,
    chance: Chance,
    counters: FleetCounters,
    /// Which node has which handle; read for pushed answers only.
    /// By handle without generation.
    by_place: BTreeMap<u64, u32>,
    /// Next container sequence of this fleet.
    next_container: u64,
    /// Next row the sweep looks at, and up to when it has looked.
    sweep_at: usize,
    swept_ms: u64,
    /// Starts of the ResourceManager the fleet was told of, modulo 256.
    epoch: u8,
    /// Nodes registered with the present ResourceManager.
    registered: u32,
    /// Nodes that will not come back: told to stop or dead by script.
    stopped: u32,
    /// Longest interval told, ms.
    interval_ms_max: u32,
    scratch: NodeHeartbeatRequest,
    /// Containers that really run; `None` where they are invented.
    host: Option<Box<Host>>,
}

impl Fleet {
    /// A fleet of nodes that are not started. Nodes have numbers from 0.
    #[must_use]
    pub fn new(spec: FleetSpec, seed: u64) -> Self {
        let rows = vec![Row::new(); spec.nodes as usize];
        let mut fleet = Self {
            rows,
            containers: Vec::new(),
            wheel: Wheel::new(),
            template: Template::new(),
            chance: Chance(seed),
            counters: FleetCounters::default(),
            by_place: BTreeMap::new(),
            next_container: 1,
            sweep_at: 0,
            swept_ms: 0,
            epoch: 0,
            registered: 0,
            stopped: 0,
            interval_ms_max: 0,
            scratch: frame::empty_beat(&Row::new(), 0, ContainersDigest::default()),
            host: spec.runs_applications.then(|| Box::new(Host::new(spec.nodes))),
            spec,
        };
        if fleet.spec.containers_per_node > 0 || fleet.host.is_some() {
            fleet.containers.resize_with(fleet.rows.len(), Containers::default);
            for node in 0..fleet.spec.nodes {
                (0..fleet.spec.containers_per_node).for_each(|_| fleet.start_container(node));
            }
        }
        fleet
    }

    /// How many nodes.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.spec.nodes
    }

    /// True without nodes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.spec.nodes == 0
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &FleetCounters {
        &self.counters
    }

    /// Nodes registered with the present ResourceManager.
    #[must_use]
    pub const fn registered(&self) -> u32 {
        self.registered
    }

    /// Nodes that will not come back.
    #[must_use]
    pub const fn stopped(&self) -> u32 {
        self.stopped
    }

    /// Longest interval the ResourceManager told a node, ms.
    #[must_use]
    pub const fn interval_ms_max(&self) -> u32 {
        self.interval_ms_max
    }

    /// Where a node is in its life.
    #[must_use]
    pub fn state(&self, node: u32) -> NodeState {
        self.rows[node as usize].state()
    }

    /// What runs on a node.
    #[must_use]
    pub fn digest(&self, node: u32) -> ContainersDigest {
        self.containers.get(node as usize).map_or_else(ContainersDigest::default, Containers::digest)
    }

    /// Completed containers of a node that the ResourceManager has not named for removal.
    #[must_use]
    pub fn completed(&self, node: u32) -> usize {
        self.containers.get(node as usize).map_or(0, Containers::completed)
    }

    /// When the node's next request is due, or when the one that is out was due.
    #[must_use]
    pub fn planned_us(&self, node: u32) -> u64 {
        self.rows[node as usize].planned_us
    }

    /// True while a request of the node is out.
    #[must_use]
    pub fn is_awaiting(&self, node: u32) -> bool {
        self.rows[node as usize].has(AWAITING)
    }

    /// Beats that are out now and were planned before `until_us`: what is lost if nothing more comes.
    pub fn outstanding(&self, until_us: u64) -> impl Iterator<Item = u32> {
        let is_out = move |row: &Row| {
            row.stage == Stage::Registered
                && row.has(AWAITING)
                && !row.has(PAUSED)
                && row.planned_us < until_us
        };
        (0_u32..).zip(&self.rows).filter(move |(_, row)| is_out(row)).map(|(node, _)| node)
    }

    /// The bytes of a plain beat: what the transport's floor is measured with.
    #[must_use]
    pub fn plain_beat() -> [u8; PLAIN_BEAT_SIZE] {
        *Template::new().bytes()
    }

    /// Starts a node: it registers at `at_us`.
    pub fn start(&mut self, node: u32, at_us: u64) {
        let row = &mut self.rows[node as usize];
        if row.stage == Stage::Unregistered {
            row.stage = Stage::Registering;
            row.planned_us = at_us;
            self.wheel.link(&mut self.rows, node);
        }
    }

    /// The node's connection is new: what was out on the old one is sent again at once.
    pub fn reconnect(&mut self, node: u32, now_us: u64, due: &mut Vec<u32>) {
        let row = &mut self.rows[node as usize];
        if row.has(AWAITING) {
            row.sent_ms = to_ms(now_us);
            row.flags |= REPEAT;
            due.push(node);
        }
    }

    /// The ResourceManager was restarted: nodes it does not know any more are not falsely lost.
    pub const fn note_restart(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.registered = 0;
    }

    /// From here on nothing goes wrong by script: no churn, copies or stale beats. For a run that is to settle.
    pub const fn quieten(&mut self) {
        self.spec.churn_ppm = 0;
        self.spec.duplicate_ppm = 0;
        self.spec.stale_ppm = 0;
    }

    /// The node dies without a word.
    pub fn kill(&mut self, node: u32) {
        self.counters.killed += u64::from(self.state(node) != NodeState::Stopped);
        self.stop(node);
    }

    /// The node falls silent until [`Fleet::resume`].
    pub fn pause(&mut self, node: u32) {
        self.rows[node as usize].flags |= PAUSED | EXCUSED;
    }

    /// The node goes on where it was, its next request due now.
    pub fn resume(&mut self, node: u32, now_us: u64) {
        let row = &mut self.rows[node as usize];
        if row.has(PAUSED) && row.stage != Stage::Stopped {
            row.flags &= !PAUSED;
            if !row.has(AWAITING) {
                // The pause is the script's doing and not latency.
                row.planned_us = row.planned_us.max(now_us);
                self.wheel.link(&mut self.rows, node);
            }
        }
    }

    /// Names the nodes that have something to send: beats and registrations that are due, requests to be repeated.
    /// At most about `limit`; the rest comes with the next call.
    ///
    /// Cost: the nodes named, and a thousandth of the rows per millisecond for leases and retries.
    pub fn due(&mut self, now_us: u64, limit: usize, due: &mut Vec<u32>) {
        self.end_due(now_us);
        self.wheel.fire(&mut self.rows, now_us, limit, due);
        self.sweep(now_us, limit, due);
    }

    /// When [`Fleet::due`] has something to name at the earliest; leases and retries are looked at every millisecond
    /// that `due` is called for and are not part of it.
    #[must_use]
    pub fn next_due_us(&self) -> Option<u64> {
        let end_us = self.host.as_deref().and_then(Host::next_end_us);
        [self.wheel.next_us(), end_us].into_iter().flatten().min()
    }

    /// Looks at every row once a second: requests without an answer, leases.
    fn sweep(&mut self, now_us: u64, limit: usize, due: &mut Vec<u32>) {
        let elapsed_ms = (now_us / 1_000).saturating_sub(self.swept_ms).min(1_000);
        if elapsed_ms == 0 || self.rows.is_empty() {
            return;
        }
        self.swept_ms = now_us / 1_000;
        let now_ms = to_ms(now_us);
        let count = (self.rows.len() * elapsed_ms as usize).div_ceil(1_000).min(self.rows.len());
        for _ in 0..count {
            let node = self.sweep_at;
            self.sweep_at = if node + 1 == self.rows.len() { 0 } else { node + 1 };
            let row = &mut self.rows[node];
            // Also while it registers again: the ResourceManager may have accepted a registration whose answer was lost.
            // Before the first one there is no lease.
            if matches!(row.stage, Stage::Registered | Stage::Registering)
                && now_ms.saturating_sub(row.heard_ms) > row.lease_ms
                && !row.has(FENCED)
            {
                row.flags |= FENCED;
                self.counters.fences += 1;
                if let Some(containers) = self.containers.get_mut(node) {
                    self.counters.containers_completed += u64::from(containers.kill_all());
                    if let Some(host) = self.host.as_deref_mut() {
                        containers.take_killed(&mut host.handover().killed);
                    }
                }
            }
            if row.has(AWAITING)
                && !row.has(PAUSED)
                && now_ms.saturating_sub(row.sent_ms) > self.spec.retry_after_ms
                && due.len() < limit
            {
                due.push(node as u32);
            }
        }
    }

    fn churn(&mut self, node: u32) {
        let running = self.digest(node).count;
        // The whole part is certain, the rest by chance, so that the mean is right for any share.
        let expected = u64::from(running) * u64::from(self.spec.churn_ppm);
        let by_chance = self.chance.hits((expected % 1_000_000) as u32);
        for _ in 0..(expected / 1_000_000) + u64::from(by_chance) {
            let running = self.digest(node).count;
            if running == 0 {
                return;
            }
            let nth = self.chance.below(running);
            self.containers[node as usize].finish_nth(nth);
            self.counters.containers_completed += 1;
            self.start_container(node);
        }
    }

    fn start_container(&mut self, node: u32) {
        let index = self.spec.first_node + node;
        // An application never spans two fleets, so that counting containers per fleet keeps their ids distinct.
        let application_id =
            ApplicationId { cluster_timestamp: CLUSTER_TIMESTAMP, id: 1 + index / APPLICATION_NODES };
        let application_attempt_id = ApplicationAttemptId { application_id, attempt_id: 1 };
        let id = ContainerId { application_attempt_id, container_id: self.next_container };
        self.next_container += 1;
        self.containers[node as usize].start(id, 2_048, 1);
        self.counters.containers_started += 1;
    }

    /// The node ends: nothing is sent any more.
    fn stop(&mut self, node: u32) {
        let row = &mut self.rows[node as usize];
        if row.stage == Stage::Stopped {
            return;
        }
        if row.stage == Stage::Registered && row.epoch == self.epoch {
            self.registered = self.registered.saturating_sub(1);
        }
        row.stage = Stage::Stopped;
        row.flags &= !(AWAITING | FENCED);
        self.forget_place(node);
        self.stopped += 1;
        if let Some(containers) = self.containers.get_mut(node as usize) {
            self.counters.containers_completed += u64::from(containers.kill_all());
        }
        self.tell_of_killed(node);
    }
}

/// Milliseconds as the rows keep them: 49 days.
fn to_ms(now_us: u64) -> u32 {
    u32::try_from(now_us / 1_000).unwrap_or(u32::MAX)
}

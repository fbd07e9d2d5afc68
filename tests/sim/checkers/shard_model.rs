//! A model of one shard's nodes, built from what was sent and answered, and compared with what the shard lists.
//! Owns: [`ShardModel`]: per node the expected state, last answer, last sign of life. Called by: the simulation.
//! Does not: ask the engine anything but its listing and counters. Thread: the run's.
//! Invariants checked here: one row per `host:port`, on its shard; states move along the table and each move has its
//! cause; SUSPECT and LOST neither too early nor too late; counters agree with the listing.

use std::collections::BTreeSet;

use heddle::engine::batch::PeerId;
use heddle::engine::settings::{NodeLists, ShardSettings};
use heddle::engine::shard::{Shard, ShardCounters};
use heddle::engine::time::Instant;
use heddle_wire::record::{ContainerId, NodeHandle, NodeReport, NodeState};

use super::{is_active, is_edge};
use crate::coverage::{Coverage, Kind, index_of};
use crate::node::{NM_PORT, NODES_MAX, node_of};

/// What led to a listing: it limits what may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Frames,
    Tick,
    /// An administrator's frame or command, or an order.
    Admin,
}

/// Time as nodes are judged by: the ResourceManager's, without what it slept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LiveClock {
    now_ns: u64,
    slept_ns: u64,
}

impl LiveClock {
    fn observe(&mut self, now: Instant, has_active: bool) {
        let now_ns = now.as_nanos();
        if now_ns <= self.now_ns {
            return;
        }
        let gap_ns = now_ns - self.now_ns;
        if u128::from(gap_ns) > Shard::CLOCK_JUMP.as_nanos() && has_active {
            self.slept_ns += gap_ns;
        }
        self.now_ns = now_ns;
    }

    pub(super) const fn live_ms(&self) -> u64 {
        (self.now_ns - self.slept_ns) / 1_000_000
    }
}

/// One node as the shard should know it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) handle: NodeHandle,
    pub(super) peer: PeerId,
    pub(super) state: NodeState,
    pub(super) is_suspect: bool,
    pub(super) http_port: u16,
    pub(super) last_id: u32,
    pub(super) last_body: Option<Vec<u8>>,
    pub(super) last_seen_ms: u64,
    pub(super) memory_mb: u64,
    /// A drained node may be taken out with any beat.
    pub(super) may_drain: bool,
    /// The registration is one that was not listed yet.
    pub(super) is_fresh: bool,
}

/// See the module.
pub(crate) struct ShardModel {
    pub(super) settings: ShardSettings,
    pub(super) lists: NodeLists,
    pub(super) known: Vec<Option<Known>>,
    pub(super) clock: LiveClock,
    pub(super) counters: ShardCounters,
    /// Every handle given out by this ResourceManager.
    pub(super) handles: BTreeSet<u64>,
    /// Completed containers that were reported and heard: the scheduler has to see each.
    pub(super) owed: BTreeSet<ContainerId>,
    /// When the last tick was, and the last that came late.
    ticked_ms: u64,
    late_tick_ms: u64,
    /// The brake held before the last call, and after it.
    is_held: bool,
    /// When the brake was last seen engaged.
    brake_seen_ms: u64,
    /// Pairs of state and order without a row, caused on purpose.
    pub(crate) invalid_expected: u64,
}

impl ShardModel {
    pub(crate) fn new(settings: &ShardSettings) -> Self {
        Self {
            settings: settings.clone(),
            lists: settings.lists.clone(),
            known: vec![None; NODES_MAX],
            clock: LiveClock::default(),
            counters: ShardCounters::default(),
            handles: BTreeSet::new(),
            owed: BTreeSet::new(),
            ticked_ms: 0,
            late_tick_ms: 0,
            is_held: false,
            brake_seen_ms: 0,
            invalid_expected: 0,
        }
    }

    /// To be called before every call into the shard, with its time.
    pub(crate) fn observe_time(&mut self, now: Instant) {
        let active: u32 = NodeState::ALL
            .iter()
            .filter(|state| is_active(**state))
            .map(|state| self.counters.nodes_by_state[index_of(*state)])
            .sum();
        self.clock.observe(now, active > 0);
    }

    /// The lists were replaced.
    pub(crate) fn set_lists(&mut self, lists: NodeLists) {
        self.lists = lists;
    }

    /// State of a node as last expected or listed.
    pub(crate) fn state(&self, node: usize) -> Option<NodeState> {
        self.known[node].as_ref().map(|known| known.state)
    }

    pub(crate) fn is_suspect(&self, node: usize) -> bool {
        self.known[node].as_ref().is_some_and(|known| known.is_suspect)
    }

    pub(crate) fn handle(&self, node: usize) -> Option<NodeHandle> {
        self.known[node].as_ref().map(|known| known.handle)
    }

    /// Completions heard that the scheduler was not shown.
    pub(crate) fn owed<'a>(
        &'a self,
        seen: &'a BTreeSet<ContainerId>,
    ) -> impl Iterator<Item = &'a ContainerId> + 'a {
        self.owed.difference(seen)
    }

    pub(super) fn class(&self, host: &str) -> (u64, u64) {
        let classes = &self.settings.classes;
        let class = classes
            .iter()
            .find(|class| class.hosts.strip_suffix('*').is_some_and(|head| host.starts_with(head)))
            .or_else(|| classes.last())
            .unwrap();
        let ms = |duration: core::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        (ms(class.suspect_after), ms(class.lost_after))
    }

    /// True when something may have changed that a listing shows.
    pub(crate) fn wants_listing(&self, counters: &ShardCounters) -> bool {
        counters.nodes_by_state != self.counters.nodes_by_state
            || counters.suspects_now != self.counters.suspects_now
            || counters.registrations != self.counters.registrations
            || counters.suspects != self.counters.suspects
            || counters.losses != self.counters.losses
    }

    /// Counters after a step.
    pub(crate) fn observe_counters(
        &mut self,
        counters: ShardCounters,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        if counters.invalid_transitions != self.invalid_expected {
            return Err(format!(
                "{} pairs of state and event were not in the table, {} were expected",
                counters.invalid_transitions, self.invalid_expected
            ));
        }
        // It may also have been released and engaged again within the call; that counts as another time.
        self.is_held = counters.is_brake_engaged
            && self.counters.is_brake_engaged
            && counters.brakes == self.counters.brakes;
        if counters.is_brake_engaged {
            self.brake_seen_ms = self.clock.live_ms();
        }
        if counters.is_brake_engaged && !self.counters.is_brake_engaged {
            coverage.hit(Kind::BrakeEngaged);
        }
        if !counters.is_brake_engaged && self.counters.is_brake_engaged {
            self.brake_seen_ms = self.clock.live_ms();
            coverage.hit(Kind::BrakeReleased);
        }
        self.counters = counters;
        Ok(())
    }

    /// Compares a whole listing with the model. Returns nodes that are newly LOST.
    pub(crate) fn observe_listing(
        &mut self,
        nodes: &[NodeReport],
        cause: Cause,
        coverage: &mut Coverage,
    ) -> Result<Vec<usize>, String> {
        coverage.listings += 1;
        let (mut by_state, mut suspects, mut running) = ([0_u32; 8], 0, 0);
        let mut listed = [false; NODES_MAX];
        let mut ids = BTreeSet::new();
        let mut lost = Vec::new();
        for report in nodes {
            let name = &report.node_id;
            if !ids.insert((name.host.clone(), name.port)) {
                return Err(format!("{name} is listed twice"));
            }
            let shard = name.routing_key() % u64::from(self.settings.shard_count);
            if shard != u64::from(self.settings.shard) {
                return Err(format!("{name} is listed by shard {}, it is {shard}'s", self.settings.shard));
            }
            by_state[index_of(report.state)] += 1;
            running += u64::from(report.running_containers);
            if report.is_suspect {
                suspects += 1;
                if !is_active(report.state) {
                    return Err(format!("{name} is suspect and {}", report.state.name()));
                }
            }
            if report.state == NodeState::New {
                return Err(format!("{name} stays NEW after a step"));
            }
            if name.port == 0 {
                if report.state != NodeState::Decommissioned || self.lists.excluded(&name.host).is_none() {
                    return Err(format!("placeholder {name} is {}", report.state.name()));
                }
                continue;
            }
            let node = node_of(&name.host).filter(|_| name.port == NM_PORT);
            let Some(node) = node else { return Err(format!("{name} never registered")) };
            listed[node] = true;
            if self.observe_node(node, report, cause, coverage)? {
                lost.push(node);
            }
        }
        for (node, listed) in listed.into_iter().enumerate() {
            // Inactive records may be forgotten; active ones may not.
            if !listed && self.known[node].take().is_some_and(|known| is_active(known.state)) {
                return Err(format!("node {node} is not listed any more and was active"));
            }
        }
        let counters = &self.counters;
        if by_state != counters.nodes_by_state || suspects != counters.suspects_now {
            return Err(format!(
                "listed {by_state:?} and {suspects} suspects, counted {:?} and {}",
                counters.nodes_by_state, counters.suspects_now
            ));
        }
        if running != counters.running_containers {
            return Err(format!("listed {running} containers, counted {}", counters.running_containers));
        }
        Ok(lost)
    }

    fn observe_node(
        &mut self,
        node: usize,
        report: &NodeReport,
        cause: Cause,
        coverage: &mut Coverage,
    ) -> Result<bool, String> {
        let name = &report.node_id;
        let (suspect_after_ms, lost_after_ms) = self.class(&name.host);
        let live_ms = self.clock.live_ms();
        let is_allowed = self.lists.is_valid(&name.host);
        let is_held = self.is_held;
        let Some(known) = self.known[node].as_mut() else {
            return Err(format!("{name} is {} and never registered", report.state.name()));
        };
        if known.handle != report.handle {
            return Err(format!("{name} is listed as {}, it was told {}", report.handle, known.handle));
        }
        if known.memory_mb != report.capability.memory_mb {
            let (found, expected) = (report.capability.memory_mb, known.memory_mb);
            return Err(format!("{name} is listed with {found} MiB, it offered or was given {expected}"));
        }
        let (from, to) = (known.state, report.state);
        let silent_ms = live_ms - known.last_seen_ms;
        let mut is_newly_lost = false;
        if from != to {
            if !is_edge(from, to) {
                return Err(format!("{name}: {} -> {} is not in the table", from.name(), to.name()));
            }
            coverage.edge(from, to);
            // What frames do is in the model already: here only what happens by itself or by an administrator.
            let is_caused = match to {
                NodeState::Lost => cause == Cause::Tick,
                NodeState::Decommissioned => {
                    from == NodeState::Decommissioning && (cause == Cause::Tick || known.may_drain)
                        || cause == Cause::Admin
                        || !is_allowed
                }
                NodeState::Decommissioning => cause == Cause::Admin,
                NodeState::Running => from == NodeState::Decommissioning && cause == Cause::Admin,
                _ => false,
            };
            if !is_caused {
                return Err(format!(
                    "{name}: {} -> {} without a cause, by {cause:?}",
                    from.name(),
                    to.name()
                ));
            }
            if to == NodeState::Lost {
                coverage.hit(Kind::Lost);
                if silent_ms < lost_after_ms {
                    return Err(format!(
                        "{name} is LOST after {silent_ms} ms, its class has {lost_after_ms}"
                    ));
                }
                if is_held {
                    return Err(format!("{name} is LOST while the brake holds"));
                }
                if !known.is_suspect {
                    return Err(format!("{name} is LOST and was not SUSPECT before"));
                }
                is_newly_lost = true;
            }
            known.state = to;
        }
        if report.is_suspect && !known.is_suspect {
            coverage.hit(Kind::Suspect);
            if silent_ms < suspect_after_ms {
                return Err(format!(
                    "{name} is SUSPECT after {silent_ms} ms, its class has {suspect_after_ms}"
                ));
            }
        }
        if !report.is_suspect && known.is_suspect && is_active(to) && silent_ms > 100 && !known.is_fresh {
            return Err(format!("{name} is not SUSPECT any more and was not heard for {silent_ms} ms"));
        }
        known.is_suspect = report.is_suspect;
        known.may_drain = false;
        known.is_fresh = false;
        Ok(is_newly_lost)
    }

    /// After a tick and the listing it may have led to: nobody is silent for longer than the bounds allow.
    pub(crate) fn check_silence(&mut self, tick_gap_ms: u64) -> Result<(), String> {
        // A whole sweep takes a second of ticks; being LOST takes a second visit, and the tick after the time is up.
        let bound_ms = 1_000 + tick_gap_ms;
        let live_ms = self.clock.live_ms();
        if live_ms - self.ticked_ms > tick_gap_ms {
            self.late_tick_ms = live_ms;
        }
        self.ticked_ms = live_ms;
        if live_ms < self.late_tick_ms + 2 * bound_ms {
            // Silence grew by a leap: the sweeps that notice it are still to come.
            return Ok(());
        }
        for (node, known) in self.known.iter().enumerate() {
            let Some(known) = known.as_ref().filter(|known| is_active(known.state)) else { continue };
            let (suspect_after_ms, lost_after_ms) = self.class(&crate::node::host_of(node));
            let silent_ms = live_ms - known.last_seen_ms;
            if silent_ms > suspect_after_ms + bound_ms && !known.is_suspect {
                return Err(format!("node {node} is silent for {silent_ms} ms and not SUSPECT"));
            }
            let since_ms = live_ms - known.last_seen_ms.max(self.brake_seen_ms);
            if since_ms > lost_after_ms + 2 * bound_ms && !self.counters.is_brake_engaged {
                return Err(format!("node {node} is silent for {silent_ms} ms and not LOST"));
            }
        }
        Ok(())
    }

    /// An administrator, or an order, gave the node another capability.
    pub(crate) fn set_memory(&mut self, node: usize, memory_mb: u64) {
        if let Some(known) = self.known[node].as_mut() {
            known.memory_mb = memory_mb;
        }
    }
}

//! The simulated ApplicationMasters of a client thread: who speaks when, and whose frame is whose.
//! Owns: every [`SimulatedAm`], the agenda of their next requests, their counters and [`Outbox`].
//! Called by: the QUIC driver and the simulator; one per client thread, never shared.
//! Does not: read clocks, open sockets, run containers: that is the [`Fleet`](crate::fleet::Fleet)'s. What frames of the
//! ResourceManager mean is in `am_fleet/answer.rs`.
//! Invariants: an ApplicationMaster stands in the agenda at most once; its slot is given to another only when it is gone;
//! a correlation id is used for one request, so that an answer that comes late is known as such.

mod answer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use heddle_wire::record::{
    ApplicationAttemptId, AttemptHandle, ContainerId, ContainerLaunch, NodeHandle, Resource, ResourceRequest,
    TokenMac,
};

use crate::fleet::Chance;
use crate::workload::ApplicationSpec;

use super::am::{SimulatedAm, Stage};
use super::ask::plain_ask;
use super::{APPLICATION_VARIABLE, AmCounters, AmExit, Outbox};

pub use answer::AmAnswer;

/// Exit status of an ApplicationMaster that cannot go on.
const EXIT_STATUS_FAILED: i32 = 1;

/// When an ApplicationMaster in closed loop looks by itself, in case nothing is pushed, microseconds.
const CLOSED_LOOP_POLL_US: u64 = 1_000_000;

/// When an ApplicationMaster calls again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmPace {
    /// Open loop: this often, whatever there is to say.
    Every {
        /// Between calls, microseconds.
        interval_us: u64,
    },
    /// Closed loop: as soon as everything asked for is there.
    Max,
    /// When there is something to say, and after this long anyway: for virtual time.
    OnNews {
        /// The longest silence, microseconds.
        idle_us: u64,
    },
}

impl AmPace {
    /// The longest time between two calls of one that lives.
    #[must_use]
    pub const fn silence(self) -> Duration {
        match self {
            Self::Every { interval_us } => Duration::from_micros(interval_us),
            Self::Max => Duration::ZERO,
            Self::OnNews { idle_us } => Duration::from_micros(idle_us),
        }
    }
}

/// ApplicationMasters that ask for containers and give them back with the next call, for ever.
#[derive(Clone, Debug, PartialEq)]
pub struct Churn {
    /// Containers per call.
    pub batch: u32,
    /// The ask; its count and grants seen are filled in.
    pub(super) ask: ResourceRequest,
}

impl Churn {
    /// Asks for `batch` containers of one size with each call.
    #[must_use]
    pub fn new(batch: u32, resource: Resource) -> Self {
        Self { batch, ask: plain_ask(resource) }
    }
}

/// What kind of ApplicationMasters.
#[derive(Clone, Debug)]
pub struct AmFleetSpec {
    /// When they call.
    pub pace: AmPace,
    /// They churn instead of running their application's tasks.
    pub churn: Option<Churn>,
    /// A request without an answer is repeated after this long, microseconds.
    pub retry_after_us: u64,
    /// Share of calls that take part of an ask back until the next call, millionths.
    pub cancel_ppm: u32,
    /// Their applications, by the number in the launch context.
    pub applications: Arc<[Arc<ApplicationSpec>]>,
}

/// An ApplicationMaster that begins to live.
#[derive(Clone, Debug)]
pub struct Launched {
    /// Its attempt.
    pub attempt_id: ApplicationAttemptId,
    /// Routing key of its frames.
    pub handle: AttemptHandle,
    /// What it proves itself with.
    pub am_rm_token: TokenMac,
    /// Its user.
    pub user: Arc<str>,
    /// The application it plays.
    pub spec: Arc<ApplicationSpec>,
    /// Its own container and the node it runs on; `None` for an unmanaged one.
    pub container: Option<(ContainerId, NodeHandle)>,
}

/// What [`AmFleet::write`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmWritten {
    /// Nothing: there is nobody.
    Nothing,
    /// A request, so long after its planned time.
    Request {
        /// Microseconds.
        late_us: u64,
    },
    /// A request again.
    Retry,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    am: Option<Box<SimulatedAm>>,
    /// Where it stands in the agenda.
    at_us: Option<u64>,
}

/// Many simulated ApplicationMasters. See the module.
#[derive(Clone, Debug)]
pub struct AmFleet {
    spec: AmFleetSpec,
    slots: Vec<Slot>,
    free: Vec<u32>,
    agenda: BTreeSet<(u64, u32)>,
    by_handle: BTreeMap<u64, u32>,
    by_container: BTreeMap<ContainerId, u32>,
    by_attempt: BTreeMap<ApplicationAttemptId, u32>,
    /// Serial of the last request: the upper half of its correlation id.
    serial: u32,
    /// Where the first slot's calls fall in the interval, of 2³².
    phase: u32,
    chance: Chance,
    counters: AmCounters,
    /// What they want of the world; emptied by whoever drives them.
    pub outbox: Outbox,
}

impl AmFleet {
    /// Nobody yet.
    #[must_use]
    pub fn new(spec: AmFleetSpec, seed: u64) -> Self {
        Self {
            spec,
            slots: Vec::new(),
            free: Vec::new(),
            agenda: BTreeSet::new(),
            by_handle: BTreeMap::new(),
            by_container: BTreeMap::new(),
            by_attempt: BTreeMap::new(),
            serial: 0,
            phase: (seed >> 32) as u32 ^ seed as u32,
            chance: Chance(seed),
            counters: AmCounters::default(),
            outbox: Outbox::default(),
        }
    }

    /// What happened.
    #[must_use]
    pub const fn counters(&self) -> &AmCounters {
        &self.counters
    }

    /// How many live.
    #[must_use]
    pub fn live(&self) -> u32 {
        u32::try_from(self.slots.len() - self.free.len()).unwrap_or(u32::MAX)
    }

    /// One past the highest slot ever used.
    #[must_use]
    pub fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Who lives in a slot.
    #[must_use]
    pub fn am(&self, slot: u32) -> Option<&SimulatedAm> {
        self.slots.get(slot as usize)?.am.as_deref()
    }

    /// Those that live.
    pub fn ams(&self) -> impl Iterator<Item = &SimulatedAm> {
        self.slots.iter().filter_map(|slot| slot.am.as_deref())
    }

    /// From here on nobody changes his mind. For a run that is to settle.
    pub const fn quieten(&mut self) {
        self.spec.cancel_ppm = 0;
    }

    /// Another pace, from each one's next answer on.
    pub const fn set_pace(&mut self, pace: AmPace) {
        self.spec.pace = pace;
    }

    /// When an allocate call that is out was due, of those planned before `until_us`: what is lost if nothing more comes.
    pub fn outstanding(&self, until_us: u64) -> impl Iterator<Item = u64> {
        self.ams()
            .filter(move |am| am.is_awaiting && am.stage == Stage::Running && am.planned_us < until_us)
            .map(|am| am.planned_us)
    }

    /// A node starts the ApplicationMaster of `order`. Gives its slot; `None` where the order names no application of
    /// ours: its container exits at once then.
    pub fn launch(&mut self, now_us: u64, node: NodeHandle, order: &ContainerLaunch) -> Option<u32> {
        let variables = &order.launch_context.environment;
        let number = variables
            .iter()
            .find(|pair| pair.key == APPLICATION_VARIABLE)
            .and_then(|pair| pair.value.parse::<usize>().ok());
        let Some(spec) = number.and_then(|number| self.spec.applications.get(number)) else {
            self.counters.unexpected += 1;
            let exit = AmExit { node, container_id: order.container_id, exit_status: EXIT_STATUS_FAILED };
            self.outbox.exits.push(exit);
            return None;
        };
        let launched = Launched {
            attempt_id: order.container_id.application_attempt_id,
            handle: order.attempt_handle,
            am_rm_token: order.am_rm_token,
            user: order.user.as_str().into(),
            spec: Arc::clone(spec),
            container: Some((order.container_id, node)),
        };
        Some(self.start(now_us, launched))
    }

    /// An ApplicationMaster begins to live. One with the same attempt that lives already is the same one.
    pub fn start(&mut self, now_us: u64, launched: Launched) -> u32 {
        if let Some(slot) = self.by_attempt.get(&launched.attempt_id) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots() - 1
        });
        self.counters.launched += 1;
        self.by_handle.insert(launched.handle.0, slot);
        self.by_attempt.insert(launched.attempt_id, slot);
        if let Some((container_id, _)) = launched.container {
            self.by_container.insert(container_id, slot);
        }
        let start_us = launched.spec.am.start_ms.saturating_mul(1_000);
        let mut am = SimulatedAm::new(launched, self.spec.churn.clone());
        am.planned_us = now_us.saturating_add(start_us);
        let at_us = am.planned_us;
        self.slots[slot as usize].am = Some(Box::new(am));
        self.schedule(slot, Some(at_us));
        slot
    }

    /// The container ended by another's hand: if it was an ApplicationMaster's, it is gone.
    pub fn container_killed(&mut self, container_id: &ContainerId) {
        if let Some(slot) = self.by_container.get(container_id).copied() {
            self.counters.killed += 1;
            self.remove(slot);
        }
    }

    /// A node was told to forget a container that ended: its ApplicationMaster, if it lives, must have been told.
    pub fn container_removed(&mut self, container_id: &ContainerId) {
        let slot = self.by_attempt.get(&container_id.application_attempt_id);
        if slot.and_then(|slot| self.am(*slot)).is_some_and(|am| am.is_untold(container_id.container_id)) {
            self.counters.lost += 1;
        }
    }

    /// The connection of a slot is new: what was out on the old one is sent again at once.
    pub fn reconnect(&mut self, slot: u32, due: &mut Vec<u32>) {
        let Some(am) = self.slots.get_mut(slot as usize).and_then(|slot| slot.am.as_deref_mut()) else {
            return;
        };
        am.needs_token = true;
        if am.is_awaiting {
            am.will_repeat = true;
            due.push(slot);
        }
    }

    /// The first frame of a slot on a stream: it has to bring its token.
    pub fn connected(&mut self, slot: u32) {
        if let Some(am) = self.slots.get_mut(slot as usize).and_then(|slot| slot.am.as_deref_mut()) {
            am.needs_token = true;
        }
    }

    /// A slot calls now, whatever it has to say: the call tells which events it has.
    pub fn call_now(&mut self, slot: u32, now_us: u64) {
        let Some(am) = self.slots.get_mut(slot as usize).and_then(|slot| slot.am.as_deref_mut()) else {
            return;
        };
        if am.stage == Stage::Running && !am.is_awaiting {
            am.planned_us = now_us;
            self.schedule(slot, Some(now_us));
        }
    }

    /// Names those that have something to send; at most `limit`, the rest with the next call.
    ///
    /// Cost: logarithmic for each.
    pub fn due(&mut self, now_us: u64, limit: usize, due: &mut Vec<u32>) {
        while due.len() < limit
            && let Some(&(at_us, slot)) = self.agenda.first()
            && at_us <= now_us
        {
            self.agenda.pop_first();
            self.slots[slot as usize].at_us = None;
            due.push(slot);
        }
    }

    /// When [`AmFleet::due`] has something to name.
    #[must_use]
    pub fn next_due_us(&self) -> Option<u64> {
        self.agenda.first().map(|entry| entry.0)
    }

    /// True while a request of the slot is out.
    #[must_use]
    pub fn is_awaiting(&self, slot: u32) -> bool {
        self.am(slot).is_some_and(|am| am.is_awaiting)
    }

    /// Writes what the slot has to say, or what is out once more.
    pub fn write(&mut self, slot: u32, now_us: u64, out: &mut Vec<u8>) -> AmWritten {
        let cancels = self.chance.hits(self.spec.cancel_ppm);
        let serial = self.serial.wrapping_add(1);
        let Some(am) = self.slots.get_mut(slot as usize).and_then(|slot| slot.am.as_deref_mut()) else {
            return AmWritten::Nothing;
        };
        let written = if am.is_awaiting {
            self.counters.retries += 1;
            self.counters.timeouts += u64::from(!am.will_repeat);
            am.will_repeat = false;
            am.write(now_us, None, out);
            AmWritten::Retry
        } else {
            if am.stage == Stage::Running
                && let Some(status) = am.wants_to_finish(now_us)
            {
                am.finish(now_us, status);
            }
            self.serial = serial;
            am.expected = u64::from(serial) << 32 | u64::from(slot);
            self.counters.allocates_sent += u64::from(am.stage == Stage::Running);
            am.write(now_us, cancels.then_some(&mut self.chance), out);
            am.is_awaiting = true;
            AmWritten::Request { late_us: now_us.saturating_sub(am.planned_us) }
        };
        am.sent_us = now_us;
        self.schedule(slot, Some(now_us.saturating_add(self.spec.retry_after_us)));
        written
    }

    /// Plans the next request after an answer. True when it may be written at once.
    fn go_on(&mut self, slot: u32, now_us: u64) -> bool {
        let Some(am) = self.slots[slot as usize].am.as_deref_mut() else { return false };
        if am.is_awaiting {
            return false;
        }
        if am.stage == Stage::Gone {
            self.remove(slot);
            return false;
        }
        if am.stage != Stage::Running {
            let at_us = am.planned_us;
            self.schedule(slot, Some(at_us));
            return at_us <= now_us;
        }
        if am.wants_to_finish(now_us).is_some() {
            am.planned_us = now_us;
            self.schedule(slot, Some(now_us));
            return true;
        }
        let at_us = match self.spec.pace {
            AmPace::Every { .. } if am.has_much_to_tell() => now_us,
            AmPace::Every { .. } => am.planned_us,
            AmPace::Max if am.has_news() => now_us,
            AmPace::Max => now_us.saturating_add(CLOSED_LOOP_POLL_US),
            AmPace::OnNews { .. } if am.has_news() => now_us,
            AmPace::OnNews { idle_us } => {
                // From its own last call: what it is pushed does not tell the ResourceManager that it lives.
                let mut at_us = am.sent_us.saturating_add(idle_us).max(now_us.saturating_add(1));
                if let Some(unlock_us) = am.unlock_us {
                    at_us = at_us.min(unlock_us.max(now_us));
                }
                let least_end_us = am.least_end_us();
                if least_end_us > now_us { at_us.min(least_end_us) } else { at_us }
            }
        };
        am.planned_us = at_us;
        self.schedule(slot, Some(at_us));
        at_us <= now_us
    }

    fn go_on_after_push(&mut self, slot: u32, now_us: u64) -> bool {
        match (self.spec.pace, self.am(slot)) {
            // Its call comes in its time; only its last word does not wait for it, nor room for more pushes.
            (AmPace::Every { .. }, Some(am))
                if am.wants_to_finish(now_us).is_none() && !am.has_much_to_tell() =>
            {
                false
            }
            (AmPace::Max, Some(am)) if !am.has_news() => false,
            (_, Some(_)) => self.go_on(slot, now_us),
            (_, None) => false,
        }
    }

    fn schedule(&mut self, slot: u32, at_us: Option<u64>) {
        let entry = &mut self.slots[slot as usize];
        if let Some(known) = core::mem::replace(&mut entry.at_us, at_us) {
            self.agenda.remove(&(known, slot));
        }
        if let Some(at_us) = at_us {
            self.agenda.insert((at_us, slot));
        }
    }

    fn remove(&mut self, slot: u32) {
        self.schedule(slot, None);
        if let Some(am) = self.slots[slot as usize].am.take() {
            self.by_handle.remove(&am.handle.0);
            self.by_attempt.remove(&am.attempt_id);
            if let Some((container_id, _)) = am.container {
                self.by_container.remove(&container_id);
            }
            self.free.push(slot);
        }
    }
}

//! A whole cluster in virtual time: nodes, ApplicationMasters, clients, the ResourceManager's roles, and what happens next.
//! Owns: [`World`]: everybody who takes part, the agenda, the story. Called by: the tests, once per seed. Thread: the run's.
//! Does not: judge (`checks`, `books`), step roles (`roles`), speak for peers (`peers`), decide what goes wrong (`acts`).
//! Invariants: events happen in the order of their time, then of their planning; all chance comes from the seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use heddle::engine::batch::{Caller, StreamRef};
use heddle::engine::scheduler::message::{ApplicationEvent, Query, QueryReply, SchedulerCommand};
use heddle_loadgen::application::{AmFleet, AmFleetSpec, ClientSpec, SimulatedClient};
use heddle_loadgen::fleet::{Capacities, Fleet, FleetSpec};
use heddle_wire::application_client::ExplainApplicationResponse;
use heddle_wire::frame::Frame;
use heddle_wire::record::{ApplicationId, ContainerId};
use heddle_wire::{Opcode, decode};

use super::books::Books;
use super::checks::Seen;
use super::kinds::{Happening, Tally};
use super::plan::{Plan, RM_IDENTIFIER, host_of};
use super::roles::{ResourceManager, Role, instant};
use crate::chance::Chance;
use crate::coverage::Coverage;
use crate::describe;
use crate::network::{Direction, Network};

/// ApplicationMasters that live at once, at most: slots are used again.
const MASTERS_MAX: usize = 32;
/// Links of clients come behind those of ApplicationMasters, then the administrator's.
const CLIENTS_MAX: usize = 4;
/// And a stranger's.
const LINKS: usize = MASTERS_MAX + CLIENTS_MAX + 2;

/// How long the cluster may take to come to rest after the faults, microseconds.
const REST_US_MAX: u64 = 240_000_000;
const STEPS_MAX: u64 = 600_000;
/// Between two looks for what waits and need not.
const QUIET_EVERY_US: u64 = 50_000;
/// Lines kept of the story.
const STORY_MAX: usize = 2_000;

/// A path between a peer and the ResourceManager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    Node(u32),
    Master(u32),
    Client(u32),
    Admin,
    /// Somebody who owns nothing and may nothing.
    Stranger,
}

impl Link {
    /// The name of the link's stream.
    fn stream(self, generation: u32) -> StreamRef {
        match self {
            Self::Node(node) => StreamRef::new(0, node, generation),
            Self::Master(slot) => StreamRef::new(1, slot, generation),
            Self::Client(user) => StreamRef::new(2, user, generation),
            Self::Admin => StreamRef::new(3, 0, generation),
            Self::Stranger => StreamRef::new(4, 0, generation),
        }
    }

    pub(super) const fn of(stream: StreamRef) -> Self {
        match stream.net() {
            0 => Self::Node(stream.slot()),
            1 => Self::Master(stream.slot()),
            2 => Self::Client(stream.slot()),
            3 => Self::Admin,
            _ => Self::Stranger,
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Node(node) => node as usize,
            Self::Master(slot) => slot as usize,
            Self::Client(user) => MASTERS_MAX + user as usize,
            Self::Admin => MASTERS_MAX + CLIENTS_MAX,
            Self::Stranger => LINKS - 1,
        }
    }
}

#[derive(Debug)]
pub(super) enum Event {
    ToRm {
        link: Link,
        generation: u32,
        caller: Caller,
        bytes: Vec<u8>,
    },
    FromRm {
        link: Link,
        generation: u32,
        bytes: Vec<u8>,
    },
    Step(Role),
    Reconnect(Link),
    Resume(u32),
    Act,
    Heal,
    /// An administrator says again what could not be taken in: its frame.
    AskAgain(u64, Opcode, Vec<u8>),
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) hash: u64,
}

/// See the module.
pub(crate) struct World {
    pub(super) now_us: u64,
    sequence: u64,
    agenda: BTreeMap<(u64, u64), Event>,
    pub(super) chance: Chance,
    pub(super) plan: Plan,
    pub(super) rm: ResourceManager,
    pub(super) fleet: Fleet,
    pub(super) masters: AmFleet,
    pub(super) client: SimulatedClient,
    pub(super) node_paths: Network,
    pub(super) stream_paths: Network,
    pub(super) seen: Seen,
    pub(super) books: Books,
    pub(super) tally: Tally,
    coverage: Coverage,
    pub(super) is_healed: bool,
    /// What an administrator said since the faults ended and is not answered; it repeats what was refused as Busy.
    restoring: BTreeMap<u64, Vec<u8>>,
    pub(super) killed_nodes: BTreeSet<u32>,
    /// Hosts that were taken out.
    pub(super) excluded: BTreeSet<String>,
    pub(super) serial: u64,
    pub(super) swept_us: u64,
    quiet_us: u64,
    hash: u64,
    story: Option<VecDeque<String>>,
}

macro_rules! tell {
    ($world:expr, $($text:tt)*) => {
        if $world.is_told() {
            let line = format!($($text)*);
            $world.say(line);
        }
    };
}
pub(super) use tell;

fn capacities(plan: &Plan) -> Result<Capacities, String> {
    let mut text = "sn,cpu_milli,memory_mib,gpu,model\n".to_owned();
    let (memory_mb, cores) = plan.node_size;
    (0..plan.nodes)
        .for_each(|node| text.push_str(&format!("{},{},{memory_mb},0,\n", host_of(node), cores * 1_000)));
    Capacities::read_csv(text.as_bytes()).map_err(|error| error.to_string())
}

impl World {
    pub(crate) fn new(seed: u64, is_told: bool) -> Result<Self, String> {
        let mut chance = Chance::new(seed ^ 0x5eed_c105_7e50_0000);
        let plan = Plan::new(&mut chance);
        let fleet = FleetSpec {
            nodes: plan.nodes,
            capacities: capacities(&plan)?,
            duplicate_ppm: plan.duplicate_ppm,
            stale_ppm: plan.stale_ppm,
            retry_after_ms: 900,
            runs_applications: true,
            start_time_ms: Some(RM_IDENTIFIER),
            ..FleetSpec::default()
        };
        let masters = AmFleetSpec {
            pace: plan.pace,
            churn: None,
            retry_after_us: 2_000_000,
            cancel_ppm: plan.cancel_ppm,
            applications: plan.applications.clone(),
        };
        let client = ClientSpec {
            applications: plan.applications.clone(),
            poll_us: chance.between(200_000, 900_000),
            queues_us: if chance.hits(300) { 2_000_000 } else { 0 },
            retry_after_us: 2_500_000,
        };
        let mut world = Self {
            now_us: 0,
            sequence: 0,
            agenda: BTreeMap::new(),
            rm: ResourceManager::new(&plan),
            fleet: Fleet::new(fleet, chance.next()),
            masters: AmFleet::new(masters, chance.next()),
            client: SimulatedClient::new(client),
            node_paths: Network::new(plan.nodes as usize, plan.node_weather.clone()),
            stream_paths: Network::new(LINKS, plan.stream_weather.clone()),
            seen: Seen::new(plan.applications.len()),
            books: Books::new(&plan.scheduler),
            tally: Tally::default(),
            coverage: Coverage::default(),
            is_healed: false,
            restoring: BTreeMap::new(),
            killed_nodes: BTreeSet::new(),
            excluded: BTreeSet::new(),
            serial: 0,
            swept_us: 0,
            quiet_us: 0,
            hash: seed,
            story: is_told.then(VecDeque::new),
            chance,
            plan,
        };
        for node in 0..world.plan.nodes {
            let at_us = world.chance.below(1_500_000);
            world.fleet.start(node, at_us);
        }
        if world.plan.has_labelled {
            world.label_nodes()?;
        }
        world.client.begin(0);
        world.after(world.plan.heal_at_us, Event::Heal);
        world.plan_act();
        Ok(world)
    }

    /// Runs a seed to its end; an error is the rule that did not hold, with the end of the story if it is told.
    pub(crate) fn run(seed: u64, is_told: bool) -> Result<Outcome, (String, Vec<String>)> {
        let mut world = Self::new(seed, is_told).map_err(|text| (text, Vec::new()))?;
        match world.run_all() {
            Ok(()) => {
                world.tally.virtual_us = world.now_us;
                Ok(Outcome { tally: world.tally, hash: world.hash })
            }
            Err(text) => {
                let text = format!("at {} µs: {text}", world.now_us);
                Err((text, world.story.unwrap_or_default().into()))
            }
        }
    }

    fn run_all(&mut self) -> Result<(), String> {
        loop {
            self.tally.steps += 1;
            let late_us = self.plan.heal_at_us + REST_US_MAX;
            if self.tally.steps > STEPS_MAX || self.now_us > late_us {
                let waiting: Vec<ApplicationId> =
                    self.masters.ams().map(|am| am.attempt_id().application_id).collect();
                let reasons: Vec<String> = waiting.into_iter().map(|id| self.explain(id)).collect();
                let (unrest, reasons) = (self.unrest().join("; "), reasons.join("; "));
                return Err(format!("the cluster does not come to rest: {unrest}; the scheduler: {reasons}"));
            }
            self.now_us = self.next_us().max(self.now_us + 1);
            while let Some(entry) = self.agenda.first_entry()
                && entry.key().0 <= self.now_us
            {
                let event = entry.remove();
                self.handle(event)?;
            }
            self.step_peers()?;
            self.check_quiet()?;
            self.plan_deadlines();
            if self.is_healed && self.client.is_done() && self.unrest().is_empty() {
                return self.check_end();
            }
        }
    }

    /// Now and then, when no role has anything to do: what is pending has to wait.
    fn check_quiet(&mut self) -> Result<(), String> {
        if self.now_us < self.quiet_us || !self.rm.is_idle() || self.rm.is_planned(Role::Scheduler) {
            return Ok(());
        }
        self.quiet_us = self.now_us + QUIET_EVERY_US;
        // What is held is kept from others, and counts as used by whom it is held for.
        if self.rm.holds_nodes {
            return Ok(());
        }
        let settings = &self.plan.scheduler;
        let waits = settings.node_locality_delay + settings.rack_locality_additional_delay;
        match self.books.stranded(self.now_us, waits.as_micros() as u64 + 1_000, &mut self.tally) {
            Some((application, text)) => Err(format!("{text}; the scheduler: {}", self.explain(application))),
            None => Ok(()),
        }
    }

    /// What the scheduler says why an application waits.
    fn explain(&mut self, application_id: ApplicationId) -> String {
        let query = Query::Explain { application_id, limit: 10 };
        let command = SchedulerCommand::Query { token: 0, query };
        self.rm.scheduling.handle_command(instant(self.now_us), command);
        match self.rm.scheduling.output().application_events.pop() {
            Some(ApplicationEvent::Reply { reply: QueryReply::Record(body), .. }) => {
                format!("{:?}", decode::<ExplainApplicationResponse>(&body))
            }
            other => format!("{other:?}"),
        }
    }

    fn next_us(&self) -> u64 {
        let peers = [self.fleet.next_due_us(), self.masters.next_due_us(), self.client.next_due_us()];
        let next_us = self.agenda.first_key_value().map(|((at_us, _), _)| *at_us);
        let swept_us = Some(self.swept_us + 200_000);
        let all = peers.into_iter().chain([next_us, swept_us, self.rm.next_deadline_us()]);
        all.flatten().min().unwrap_or(self.now_us)
    }

    fn plan_deadlines(&mut self) {
        for role in self.rm.due_roles(self.now_us) {
            self.plan_step(role);
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::ToRm { link, generation, caller, bytes } => {
                self.arrive_at_rm(link, generation, caller, bytes)
            }
            Event::FromRm { link, generation, bytes } => self.arrive_at_peer(link, generation, &bytes),
            Event::Step(role) => self.step(role),
            Event::Reconnect(link) => self.reconnect(link),
            Event::Resume(node) => {
                self.fleet.resume(node, self.now_us);
                Ok(())
            }
            Event::Act => {
                if !self.is_healed {
                    self.act()?;
                    self.plan_act();
                }
                Ok(())
            }
            Event::Heal => self.heal(),
            Event::AskAgain(id, opcode, bytes) => self.ask_admin_as(id, opcode, bytes),
        }
    }

    fn plan_act(&mut self) {
        let after_us = self.chance.between(1_000, self.plan.act_us_max);
        self.after(after_us, Event::Act);
    }

    pub(super) fn after(&mut self, after_us: u64, event: Event) {
        self.sequence += 1;
        self.agenda.insert((self.now_us + after_us, self.sequence), event);
    }

    pub(super) fn plan_step(&mut self, role: Role) {
        if self.rm.wake(role) {
            let store_us_max = if self.is_healed { 2_000 } else { self.plan.store_us_max };
            let step_us_max = if role == Role::Store { store_us_max } else { self.plan.step_us_max };
            if step_us_max > 100_000 {
                self.tally.hit(Happening::StoreSlow);
            }
            let after_us = self.chance.between(20, step_us_max);
            self.after(after_us, Event::Step(role));
        }
    }

    pub(super) const fn is_told(&self) -> bool {
        self.story.is_some()
    }

    pub(super) fn say(&mut self, line: String) {
        let now_us = self.now_us;
        if let Some(story) = self.story.as_mut() {
            if story.len() == STORY_MAX {
                story.pop_front();
            }
            let line: String = line.chars().take(6_000).collect();
            story.push_back(format!("{now_us:>10} {line}"));
        }
    }

    pub(super) fn paths(&mut self, link: Link) -> &mut Network {
        if matches!(link, Link::Node(_)) { &mut self.node_paths } else { &mut self.stream_paths }
    }

    /// Whether a stream is its peer's last one.
    pub(super) fn is_current(&mut self, stream: StreamRef) -> bool {
        let link = Link::of(stream);
        stream == link.stream(self.paths(link).generation(link.index()))
    }

    /// A peer sends a frame.
    pub(super) fn send_to_rm(&mut self, link: Link, bytes: Vec<u8>) -> Result<(), String> {
        if link.index() >= LINKS {
            return Err(format!("{link:?} is one too many"));
        }
        self.absorb(&bytes);
        let caller = self.caller(link);
        let Self { node_paths, stream_paths, chance, coverage, .. } = self;
        let paths = if matches!(link, Link::Node(_)) { node_paths } else { stream_paths };
        let generation = paths.generation(link.index());
        let copies = paths.send(self.now_us, link.index(), Direction::ToRm, chance, coverage)?;
        for at_us in copies.into_iter().flatten() {
            let event = Event::ToRm { link, generation, caller: caller.clone(), bytes: bytes.clone() };
            self.after(at_us - self.now_us, event);
        }
        Ok(())
    }

    /// The ResourceManager sends a frame; one for a stream that is gone is dropped, as transport does.
    pub(super) fn send_to_peer(&mut self, stream: StreamRef, bytes: &[u8]) -> Result<(), String> {
        self.absorb(bytes);
        let (link, now_us) = (Link::of(stream), self.now_us);
        if !self.is_current(stream) {
            self.tally.hit(Happening::AnswerToOldStream);
            return Ok(());
        }
        let is_push = Frame::from_slice(bytes).is_ok_and(|frame| frame.header.flags.is_push());
        if is_push
            && matches!(link, Link::Master(_))
            && !self.is_healed
            && self.chance.hits(self.plan.push_loss_permille)
        {
            self.tally.hit(Happening::PushLost);
            return Ok(());
        }
        let Self { node_paths, stream_paths, chance, coverage, .. } = self;
        let paths = if matches!(link, Link::Node(_)) { node_paths } else { stream_paths };
        let generation = paths.generation(link.index());
        let copies = paths.send(now_us, link.index(), Direction::ToNode, chance, coverage)?;
        for at_us in copies.into_iter().flatten() {
            let event = Event::FromRm { link, generation, bytes: bytes.to_vec() };
            self.after(at_us - now_us, event);
        }
        Ok(())
    }

    fn absorb(&mut self, bytes: &[u8]) {
        let mut hash = self.hash ^ self.now_us;
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.hash = hash;
    }

    fn arrive_at_rm(
        &mut self,
        link: Link,
        generation: u32,
        caller: Caller,
        bytes: Vec<u8>,
    ) -> Result<(), String> {
        let is_alive = self.paths(link).arrive(link.index(), generation);
        if !is_alive {
            // Another net thread may still have it in its hands when the next connection's frames are read.
            let is_late = matches!(link, Link::Master(_) | Link::Client(_))
                && !self.is_healed
                && self.chance.hits(self.plan.late_permille);
            if !is_late {
                return Ok(());
            }
            self.tally.hit(Happening::LateFromOldStream);
        }
        self.take_frame(caller, link.stream(generation), bytes)
    }

    fn arrive_at_peer(&mut self, link: Link, generation: u32, bytes: &[u8]) -> Result<(), String> {
        if !self.paths(link).arrive(link.index(), generation) {
            return Ok(());
        }
        tell!(self, "{link:?} <- {}", describe::frame(bytes));
        let frame = Frame::from_slice(bytes).map_err(|error| error.to_string())?;
        match link {
            Link::Node(_) => {
                self.fleet.handle_frame(self.now_us, &frame);
                self.exchange()
            }
            Link::Master(_) => {
                let answer = self.masters.handle_frame(self.now_us, &frame);
                self.exchange()?;
                match answer.slot {
                    Some(slot) if answer.is_due => self.write_master(slot),
                    _ => Ok(()),
                }
            }
            Link::Client(_) => {
                self.client.handle_frame(self.now_us, &frame);
                for launched in core::mem::take(&mut self.client.launched) {
                    self.tally.hit(Happening::MasterLaunched);
                    self.seen.note_master(launched.attempt_id, None);
                    let slot = self.masters.start(self.now_us, launched);
                    self.renew(slot);
                }
                Ok(())
            }
            Link::Admin => {
                let (id, opcode) = (frame.header.correlation_id, frame.header.opcode);
                let asked = self.restoring.remove(&id);
                if frame.header.flags.is_reject() {
                    let reject = heddle_wire::message::decode_reject(opcode, frame.body());
                    let busy = heddle_wire::RejectCode::Busy as u16;
                    if let Some(reject) = reject.ok().filter(|reject| reject.code == busy) {
                        self.tally.hit(Happening::Busy);
                        if let Some(asked) = asked {
                            self.after(
                                u64::from(reject.retry_after_ms) * 1_000,
                                Event::AskAgain(id, opcode, asked),
                            );
                        }
                    }
                }
                self.seen.admin_answered(id, opcode)
            }
            Link::Stranger => self.seen.stranger_answered(&frame, &mut self.tally),
        }
    }

    /// The faults are over.
    fn heal(&mut self) -> Result<(), String> {
        tell!(self, "the faults end");
        self.is_healed = true;
        self.node_paths.heal();
        self.stream_paths.heal();
        self.fleet.quieten();
        self.masters.quieten();
        for node in 0..self.plan.nodes {
            self.fleet.resume(node, self.now_us);
        }
        self.restore()
    }

    pub(super) fn ask_admin(&mut self, opcode: Opcode, bytes: Vec<u8>) -> Result<(), String> {
        self.ask_admin_as(self.serial, opcode, bytes)
    }

    fn ask_admin_as(&mut self, id: u64, opcode: Opcode, bytes: Vec<u8>) -> Result<(), String> {
        tell!(self, "admin -> {}", describe::frame(&bytes));
        self.seen.admin_asked(id, opcode);
        if self.is_healed {
            self.restoring.insert(id, bytes.clone());
        }
        self.send_to_rm(Link::Admin, bytes)
    }

    /// A container id that may or may not live.
    pub(super) fn some_container(&mut self) -> Option<ContainerId> {
        let ids: Vec<ContainerId> = self.seen.granted().collect();
        (!ids.is_empty()).then(|| *self.chance.pick(&ids))
    }
}

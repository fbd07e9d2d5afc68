//! The run's own books of a cluster: nodes, queues, asks and containers, kept from what roles say to each other.
//! Owns: [`Books`], one entry per message; what follows from them is in `rules`.
//! Called by: the run, for every message the scheduler hears and says. Thread: the run's.
//! Does not: read a sum of the engine's. Invariants: a container is in the books no longer than it is the scheduler's, so
//! that a limit passed here was passed there; where the books cannot tell, they do not complain.

use std::collections::{BTreeMap, BTreeSet};

use heddle::engine::event::{NodeEvent, Usability};
use heddle::engine::scheduler::message::{ApplicationEvent, QueryReply, SchedulerCommand};
use heddle::engine::scheduler::settings::{Calculator, QueueTree, SchedulerSettings};
use heddle_wire::application_master::{AllocateRequest, AllocateResponse};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ContainerId, NodeHandle, Resource, ResourceName,
};

/// Memory, MiB, and cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount(pub(super) u64, pub(super) u64);

impl Amount {
    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0, self.1 + other.1)
    }

    pub(super) const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0), self.1.saturating_sub(other.1))
    }

    pub(super) fn times(self, share: f64) -> Self {
        let part = |amount: u64| (amount as f64 * share + 1e-6) as u64;
        Self(part(self.0), part(self.1))
    }

    /// To the nearest whole.
    pub(super) fn rounded_times(self, share: f64) -> Self {
        let part = |amount: u64| (amount as f64 * share + 0.5) as u64;
        Self(part(self.0), part(self.1))
    }

    /// One of so many parts, up to the whole.
    pub(super) fn divided_up(self, parts: f64) -> Self {
        let part = |amount: u64| (amount as f64 / parts - 1e-9).ceil() as u64;
        Self(part(self.0), part(self.1))
    }

    /// Up to whole steps.
    pub(super) const fn up_to(self, step: Self) -> Self {
        Self(self.0.next_multiple_of(step.0), self.1.next_multiple_of(step.1))
    }

    /// Down to whole steps.
    pub(super) const fn down_to(self, step: Self) -> Self {
        Self(self.0 / step.0 * step.0, self.1 / step.1 * step.1)
    }

    /// YARN's `compare`: memory, or the largest share of the whole first and the other after it.
    pub(super) fn is_more(self, other: Self, whole: Self, calculator: Calculator) -> bool {
        if matches!(calculator, Calculator::Memory) {
            return self.0 > other.0;
        }
        let shares = |of: Self| {
            let (memory, cores) =
                (u128::from(of.0) * u128::from(whole.1), u128::from(of.1) * u128::from(whole.0));
            [memory.max(cores), memory.min(cores)]
        };
        shares(self) > shares(other)
    }

    /// Cores count only where the calculator looks at them.
    pub(super) const fn fits(self, room: Self, calculator: Calculator) -> bool {
        self.0 <= room.0 && (matches!(calculator, Calculator::Memory) || self.1 <= room.1)
    }
}

impl From<&Resource> for Amount {
    fn from(resource: &Resource) -> Self {
        Self(resource.memory_mb, u64::from(resource.virtual_cores))
    }
}

/// A row of a shard: a node, whatever its registration.
pub(super) type Row = (u8, u32);

const fn row_of(node: NodeHandle) -> Row {
    (node.shard(), node.row())
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) handle: NodeHandle,
    pub(super) host: String,
    pub(super) rack: String,
    pub(super) capability: Amount,
    pub(super) usability: Usability,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) node: Row,
    pub(super) size: Amount,
    /// The label its ask named.
    pub(super) label: String,
    pub(super) is_running: bool,
    /// Of an ApplicationMaster: it may run on when its attempt is over.
    pub(super) is_master: bool,
}

/// Priority and allocation request id.
type Key = (i32, i64);

#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Grants there may be in all, by the last call that was answered.
    pub(super) target: u64,
    /// Highest number granted and not taken back.
    pub(super) highest: u64,
    pub(super) size: Amount,
    pub(super) label: String,
    pub(super) relaxes: bool,
    /// It names hosts or racks, or did: it may wait for them.
    pub(super) has_places: bool,
    /// When the ask or what it got last changed.
    pub(super) changed_us: u64,
}

impl Wanted {
    /// Something is outstanding.
    pub(super) const fn is_open(&self) -> bool {
        self.target > self.highest
    }
}

/// An attempt's own container: what it takes of the limits for ApplicationMasters.
#[derive(Debug)]
pub(super) struct Master {
    pub(super) size: Amount,
    pub(super) label: String,
    pub(super) blacklist: BTreeSet<String>,
    /// There is no container yet.
    pub(super) is_waiting: bool,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: ApplicationAttemptId,
    pub(super) response_id: u32,
    pub(super) last_event: u64,
    pub(super) wanted: BTreeMap<Key, Wanted>,
    /// Who was granted under which number, to be taken back by it.
    pub(super) numbers: BTreeMap<(Key, u64), ContainerId>,
    pub(super) blacklist: BTreeSet<String>,
    /// It was granted something: the limits for ApplicationMasters do not keep it back.
    pub(super) is_active: bool,
    /// It was moved when nodes were held, perhaps for it: what it is granted there it may be granted without being active.
    pub(super) may_hold: bool,
    pub(super) is_finishing: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Books {
    pub(super) tree: QueueTree,
    pub(super) calculator: Calculator,
    pub(super) minimum: Amount,
    pub(super) nodes: BTreeMap<Row, Node>,
    /// By host.
    pub(super) labels: BTreeMap<String, String>,
    /// Queue and user, of all there ever were; and those the scheduler still has.
    pub(super) applications: BTreeMap<ApplicationId, (String, String)>,
    pub(super) live: BTreeSet<ApplicationId>,
    pub(super) attempts: BTreeMap<u64, Attempt>,
    /// Blacklists of attempts that left containers behind: they go to the next one with them.
    pub(super) left_blacklists: BTreeMap<ApplicationId, BTreeSet<String>>,
    /// Of every attempt there is that has one in the cluster.
    pub(super) masters: BTreeMap<ApplicationAttemptId, Master>,
    pub(super) held: BTreeMap<ContainerId, Held>,
    /// Ended for queue and user; their nodes have not said so.
    pub(super) leaving: BTreeMap<ContainerId, Held>,
    /// ApplicationMasters whose attempts are over: whether queue and user still have them the books cannot tell.
    pub(super) parting: BTreeMap<ContainerId, Held>,
    /// Commands that are not answered yet.
    pub(super) asked: BTreeMap<u64, SchedulerCommand>,
    /// Granted since the last check.
    pub(super) fresh: Vec<ContainerId>,
    /// Ended since the last check, perhaps after something was granted.
    pub(super) ended: Vec<(ContainerId, Held)>,
    /// Limits may be others than those under which nodes were held.
    pub(super) has_resized: bool,
    /// Nodes were held after the last step.
    pub(super) is_held: bool,
}

pub(super) fn error(text: impl core::fmt::Display) -> String {
    text.to_string()
}

impl Books {
    pub(super) fn new(settings: &SchedulerSettings) -> Self {
        let minimum = &settings.minimum_allocation;
        Self {
            tree: settings.queues.clone(),
            calculator: settings.calculator,
            minimum: Amount(minimum.memory_mb(), minimum.virtual_cores()),
            nodes: BTreeMap::new(),
            labels: BTreeMap::new(),
            applications: BTreeMap::new(),
            live: BTreeSet::new(),
            attempts: BTreeMap::new(),
            left_blacklists: BTreeMap::new(),
            masters: BTreeMap::new(),
            held: BTreeMap::new(),
            leaving: BTreeMap::new(),
            parting: BTreeMap::new(),
            asked: BTreeMap::new(),
            fresh: Vec::new(),
            ended: Vec::new(),
            has_resized: false,
            is_held: false,
        }
    }

    // What the scheduler hears:

    pub(super) fn node_event(&mut self, event: &NodeEvent) {
        let row = row_of(event.node);
        for report in &event.completed {
            self.held.remove(&report.container_id);
            self.leaving.remove(&report.container_id);
            self.parting.remove(&report.container_id);
        }
        self.has_resized |= event.removed.is_some() || event.added.is_some();
        self.has_resized |= event.usability.is_some() || event.capability.is_some();
        if event.removed.is_some() || event.added.is_some() {
            self.clear_node(row);
            self.nodes.remove(&row);
        }
        if let Some(added) = &event.added {
            let (host, rack) = (added.host.to_string(), added.rack_name.to_string());
            let (capability, usability) = (Amount::default(), Usability::Usable);
            self.nodes.insert(row, Node { handle: event.node, host, rack, capability, usability });
        }
        if event.was_interrupted || event.usability == Some(Usability::Unhealthy) {
            self.clear_node(row);
        }
        let Some(node) = self.nodes.get_mut(&row) else { return };
        node.usability = event.usability.unwrap_or(node.usability);
        if let Some(capability) = &event.capability {
            node.capability = Amount(capability.memory_mb, u64::from(capability.virtual_cores));
        }
        for report in &event.launched {
            let size = Amount(report.capability.memory_mb, u64::from(report.capability.virtual_cores));
            let id = &report.container_id;
            match self.held.get_mut(id).or_else(|| self.parting.get_mut(id)) {
                Some(held) => held.is_running = true,
                // Nobody's: it uses its node until it is gone.
                None => {
                    let label = String::new();
                    let held = Held { node: row, size, label, is_running: true, is_master: false };
                    self.leaving.insert(*id, held);
                }
            }
        }
    }

    fn clear_node(&mut self, row: Row) {
        self.held.retain(|_, held| held.node != row);
        self.leaving.retain(|_, held| held.node != row);
        self.parting.retain(|_, held| held.node != row);
    }

    pub(super) fn command(&mut self, command: &SchedulerCommand) {
        match command {
            SchedulerCommand::AddApplication(add) => {
                let entry = (add.queue.to_string(), add.user.to_string());
                self.applications.insert(add.application_id, entry);
            }
            SchedulerCommand::AddAttempt(add) => {
                if let Some(am) = &add.am {
                    let size = Amount(am.capability.memory_mb, u64::from(am.capability.virtual_cores));
                    let blacklist = am.blacklist.iter().map(|host| host.to_string()).collect();
                    let label = am.node_label.to_string();
                    let master = Master { size, label, blacklist, is_waiting: true };
                    self.masters.insert(add.attempt_id, master);
                }
            }
            SchedulerCommand::RemoveAttempt { attempt_id, keep_containers, .. } => {
                self.masters.remove(attempt_id);
                let application = attempt_id.application_id;
                let left = self.attempts.extract_if(.., |_, attempt| attempt.id == *attempt_id);
                if let Some((_, left)) = left.last().filter(|_| *keep_containers) {
                    self.left_blacklists.insert(application, left.blacklist);
                }
                let is_over = |id: &ContainerId, held: &Held| {
                    let stays = *keep_containers && held.is_running && !held.is_master;
                    id.application_id() == application && !stays
                };
                let over: Vec<ContainerId> =
                    self.held.iter().filter(|(id, held)| is_over(id, held)).map(|(id, _)| *id).collect();
                for id in over {
                    if self.held.get(&id).is_some_and(|held| held.is_master) {
                        self.parting.extend(self.held.remove_entry(&id));
                    }
                    self.end(&id);
                }
            }
            SchedulerCommand::RemoveApplication { application_id } => {
                self.live.remove(application_id);
                self.left_blacklists.remove(application_id);
                let parting = |id: &ContainerId, _: &mut Held| id.application_id() == *application_id;
                let parted = self.parting.extract_if(.., parting).filter(|(_, held)| held.is_running);
                self.leaving.extend(parted);
                let over: Vec<ContainerId> =
                    self.held.keys().filter(|id| id.application_id() == *application_id).copied().collect();
                over.iter().for_each(|id| self.end(id));
            }
            SchedulerCommand::MoveApplication { token, is_check_only: false, .. }
            | SchedulerCommand::ReplaceQueues { token, .. }
            | SchedulerCommand::RemoveNodeLabels { token, .. }
            | SchedulerCommand::ReplaceLabelsOnNodes { token, .. }
            | SchedulerCommand::UpdateNodeResource { token, .. } => {
                self.asked.insert(*token, command.clone());
            }
            _ => {}
        }
    }

    /// A command was carried out.
    fn done(&mut self, command: SchedulerCommand) {
        self.has_resized = true;
        match command {
            SchedulerCommand::MoveApplication { application_id, queue, .. } => {
                let path =
                    self.tree.find(&queue).map_or(&*queue, |index| &*self.tree.queues[index as usize].path);
                if let Some(entry) = self.applications.get_mut(&application_id) {
                    entry.0 = path.to_owned();
                }
                // The other queue's limits for ApplicationMasters may keep it back.
                for attempt in self.attempts.values_mut() {
                    if attempt.id.application_id == application_id {
                        attempt.is_active = false;
                        attempt.may_hold |= self.is_held;
                    }
                }
            }
            SchedulerCommand::ReplaceQueues { queues, .. } => self.tree = *queues,
            SchedulerCommand::RemoveNodeLabels { labels, .. } => {
                self.labels.retain(|_, label| !labels.iter().any(|gone| **gone == **label));
            }
            SchedulerCommand::ReplaceLabelsOnNodes { nodes, .. } => {
                for (host, _, label) in nodes {
                    self.labels.insert(host.into(), label.map(String::from).unwrap_or_default());
                }
            }
            SchedulerCommand::UpdateNodeResource { nodes, .. } => {
                for (host, _, resource) in nodes {
                    for node in self.nodes.values_mut().filter(|node| *node.host == *host) {
                        node.capability = Amount(resource.memory_mb, u64::from(resource.virtual_cores));
                    }
                }
            }
            _ => {}
        }
    }

    /// A call that was answered and not refused: what it says is in force.
    pub(super) fn allocated(&mut self, now_us: u64, key: u64, request: &AllocateRequest) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        if request.response_id != attempt.response_id {
            return;
        }
        attempt.response_id = (request.response_id + 1) & 0x7fff_ffff;
        if attempt.is_finishing {
            return;
        }
        let mut over: Vec<ContainerId> = request.releases.clone();
        for ask in &request.asks {
            let key = (ask.priority, ask.allocation_request_id);
            let wanted = attempt.wanted.entry(key).or_default();
            wanted.changed_us = now_us;
            if ask.resource_name != ResourceName::Any {
                wanted.has_places = true;
                continue;
            }
            wanted.target = ask.grants_seen.unwrap_or(0) + u64::try_from(ask.num_containers).unwrap_or(0);
            wanted.size = Amount::from(&ask.capability);
            wanted.label = ask.node_label_expression.clone().unwrap_or_default();
            wanted.relaxes = ask.relax_locality;
            while wanted.highest > wanted.target {
                over.extend(attempt.numbers.remove(&(key, wanted.highest)));
                wanted.highest -= 1;
            }
        }
        attempt.blacklist.extend(request.blacklist_additions.iter().cloned());
        request.blacklist_removals.iter().for_each(|place| {
            attempt.blacklist.remove(place);
        });
        over.iter().for_each(|id| self.end(id));
    }

    pub(super) fn finishing(&mut self, key: u64) {
        if let Some(attempt) = self.attempts.get_mut(&key) {
            attempt.is_finishing = true;
        }
    }

    // What it says:

    pub(super) fn said(&mut self, event: &ApplicationEvent) {
        match event {
            ApplicationEvent::Accepted { application_id, queue, .. } => {
                self.live.insert(*application_id);
                if let Some(entry) = self.applications.get_mut(application_id) {
                    entry.0 = queue.to_string();
                }
            }
            ApplicationEvent::AttemptAdded { attempt_id, attempt } => {
                let entry = Attempt {
                    id: *attempt_id,
                    response_id: 0,
                    last_event: 0,
                    wanted: BTreeMap::new(),
                    numbers: BTreeMap::new(),
                    blacklist: self.left_blacklists.remove(&attempt_id.application_id).unwrap_or_default(),
                    is_active: false,
                    may_hold: false,
                    is_finishing: false,
                };
                self.attempts.insert(attempt.0, entry);
            }
            ApplicationEvent::AmContainerAllocated { attempt_id, container_id, node, resource, .. } => {
                let master = self.masters.get_mut(attempt_id);
                let label = master.map_or_else(String::new, |master| {
                    master.is_waiting = false;
                    master.label.clone()
                });
                let size = Amount(resource.memory_mb, u64::from(resource.virtual_cores));
                self.hold(*container_id, *node, size, label, true);
            }
            ApplicationEvent::AmContainerFinished { container_id, .. } => self.end_late(container_id),
            ApplicationEvent::Reply { token, reply } => {
                if let Some(command) = self.asked.remove(token)
                    && matches!(reply, QueryReply::Done(_))
                {
                    self.done(command);
                }
            }
            _ => {}
        }
    }

    fn hold(&mut self, id: ContainerId, node: NodeHandle, size: Amount, label: String, is_master: bool) {
        for attempt in self.attempts.values_mut() {
            attempt.is_active |= attempt.id == id.application_attempt_id && !attempt.may_hold;
        }
        self.held.insert(id, Held { node: row_of(node), size, label, is_running: false, is_master });
        self.fresh.push(id);
    }

    /// A container is its application's no more.
    fn end(&mut self, id: &ContainerId) {
        if let Some(held) = self.held.remove(id).filter(|held| held.is_running) {
            self.leaving.insert(*id, held);
        }
    }

    /// The same, said by the scheduler: something may have been granted before.
    fn end_late(&mut self, id: &ContainerId) {
        self.ended.extend(self.held.get(id).map(|held| (*id, held.clone())));
        self.leaving.extend(self.parting.remove_entry(id).filter(|(_, held)| held.is_running));
        self.end(id);
    }

    /// Grants and ends, answered or pushed: every key is granted what it wants, one number after the other.
    pub(super) fn told(&mut self, now_us: u64, key: u64, answer: &AllocateResponse) -> Result<(), String> {
        let mut number = answer.first_event;
        for container in &answer.allocated_containers {
            let (id, event) = (container.container_id, number);
            number += 1;
            let node = self.nodes.get(&row_of(container.node));
            if container.token.key_id == 0 && node.is_some_and(|node| node.handle == container.node) {
                return Err(error(format_args!("{id} is granted without a token, and its node is there")));
            }
            let Some(attempt) = self.attempts.get_mut(&key) else { continue };
            if event <= attempt.last_event {
                continue;
            }
            attempt.last_event = event;
            let ask = (container.priority, container.allocation_request_id);
            let who = attempt.id;
            let Some(wanted) = attempt.wanted.get_mut(&ask) else {
                return Err(error(format_args!("{who} is granted {id} and never asked for {ask:?}")));
            };
            let granted = container.grant_number;
            if granted > wanted.target {
                let target = wanted.target;
                return Err(error(format_args!(
                    "{who} is granted {id} as number {granted} of {ask:?}, wanted are {target}"
                )));
            }
            if granted != wanted.highest + 1 {
                let next = wanted.highest + 1;
                return Err(error(format_args!(
                    "{who} is granted {id} as number {granted} of {ask:?}, the next is {next}"
                )));
            }
            (wanted.highest, wanted.changed_us) = (granted, now_us);
            let size = Amount::from(&container.resource);
            if !wanted.size.fits(size, self.calculator) {
                return Err(error(format_args!(
                    "{who} is granted {id} of {size:?}, wanted are {:?}",
                    wanted.size
                )));
            }
            let label = wanted.label.clone();
            attempt.numbers.insert((ask, granted), id);
            self.hold(id, container.node, size, label, false);
        }
        for status in &answer.completed_container_statuses {
            let event = number;
            number += 1;
            let Some(attempt) = self.attempts.get_mut(&key) else { continue };
            if event > attempt.last_event {
                attempt.last_event = event;
                self.end_late(&status.container_id);
            }
        }
        Ok(())
    }
}

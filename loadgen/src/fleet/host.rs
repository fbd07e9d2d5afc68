//! Containers that really run on the simulated nodes: ordered by the ResourceManager, or started by an ApplicationMaster.
//! Owner: [`Fleet`](super::Fleet), when its spec says so. Called by: the fleet, and by whoever drives fleet and
//! ApplicationMasters together, who carries orders and ends between them.
//! Does not: decide what runs; it starts what a valid token allows, ends it in its time, and reports it with beats.
//! Invariants: a container ends once; what is reported complete gives its room back with the beat that says so first;
//! keys are those the ResourceManager told the nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use heddle_wire::record::{
    Container, ContainerId, ContainerLaunch, ExecutionType, NodeHandle, NodeId, Resource,
};
use heddle_wire::token::{ContainerTokenIdentifier, Identifier, TokenKey};

use super::{Fleet, NodeState};
use crate::application::{AmExit, ContainerStart, Note, NoteKind};

/// Keys kept: the one in use, the next, and a few that containers of before may still be signed with.
const KEYS_MAX: usize = 8;

/// Of so many containers started one has its token checked; of ApplicationMasters every one. A check costs half a
/// microsecond, which at 100,000 starts a second would be the load generator's largest part.
const CHECKED_ONE_OF: u64 = 16;

/// Room on a node as its ResourceManager knows it from beats.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    memory_mb: i64,
    virtual_cores: i64,
}

impl Room {
    fn fits(self, resource: &Resource) -> bool {
        let wanted = Self::of(resource);
        self.memory_mb >= wanted.memory_mb && self.virtual_cores >= wanted.virtual_cores
    }

    fn of(resource: &Resource) -> Self {
        Self {
            memory_mb: i64::try_from(resource.memory_mb).unwrap_or(i64::MAX),
            virtual_cores: i64::from(resource.virtual_cores),
        }
    }

    const fn add(&mut self, other: Self) {
        self.memory_mb = self.memory_mb.saturating_add(other.memory_mb);
        self.virtual_cores = self.virtual_cores.saturating_add(other.virtual_cores);
    }

    const fn take(&mut self, other: Self) {
        self.memory_mb = self.memory_mb.saturating_sub(other.memory_mb);
        self.virtual_cores = self.virtual_cores.saturating_sub(other.virtual_cores);
    }
}

/// What a node's room was like when ends were last reported.
#[derive(Clone, Copy, Debug, Default)]
struct NodeRoom {
    now: Room,
    /// Before the ends that the beat at `freed_us` reported.
    before: Room,
    /// `None` until a beat has reported an end.
    freed_us: Option<u64>,
}

/// What goes from the nodes to the ApplicationMasters. Emptied by whoever drives both.
#[derive(Clone, Debug, Default)]
pub struct Handover {
    /// ApplicationMasters to begin: the node and its order.
    pub launches: Vec<(NodeHandle, ContainerLaunch)>,
    /// Containers of ApplicationMasters that were ended by another's hand.
    pub killed: Vec<ContainerId>,
    /// Containers that ended and were forgotten on the ResourceManager's word.
    pub removed: Vec<ContainerId>,
    /// What took time.
    pub notes: Vec<Note>,
}

/// The running containers of a fleet.
#[derive(Clone, Debug)]
pub(super) struct Host {
    keys: BTreeMap<u32, TokenKey>,
    /// Ends to come: time, order of start, node, container.
    ends: BinaryHeap<Reverse<(u64, u64, u32, ContainerId)>>,
    rooms: Vec<NodeRoom>,
    started: u64,
    scratch: Vec<u8>,
    handover: Handover,
}

impl Host {
    pub(super) fn new(nodes: u32) -> Self {
        Self {
            keys: BTreeMap::new(),
            ends: BinaryHeap::new(),
            rooms: vec![NodeRoom::default(); nodes as usize],
            started: 0,
            scratch: Vec::with_capacity(256),
            handover: Handover::default(),
        }
    }

    /// A key to check container tokens with.
    pub(super) fn learn(&mut self, key_id: u32, secret: &[u8]) {
        self.keys.entry(key_id).or_insert_with(|| TokenKey::new(key_id, secret));
        while self.keys.len() > KEYS_MAX {
            self.keys.pop_first();
        }
    }

    /// The node registered: what it offers, without what runs on it.
    pub(super) fn registered(&mut self, node: u32, capability: &Resource, running: (u64, u64)) {
        let mut now = Room::of(capability);
        now.take(Room::from(running));
        self.rooms[node as usize] = NodeRoom { now, before: now, freed_us: None };
    }

    /// A beat reports ends for the first time, of containers of so much memory and so many cores together.
    pub(super) fn freed(&mut self, node: u32, now_us: u64, amount: (u64, u64)) {
        let room = &mut self.rooms[node as usize];
        room.before = room.now;
        room.now.add(Room::from(amount));
        room.freed_us = Some(now_us);
    }

    pub(super) const fn handover(&mut self) -> &mut Handover {
        &mut self.handover
    }

    pub(super) fn next_end_us(&self) -> Option<u64> {
        self.ends.peek().map(|Reverse(end)| end.0)
    }

    fn verify(&mut self, container: &Container, node_id: &NodeId, user: &str) -> bool {
        let Some(key) = self.keys.get(&container.token.key_id) else { return false };
        let identifier = ContainerTokenIdentifier::of(container, node_id, user);
        identifier.verify(key, &container.token, &mut self.scratch)
    }
}

/// A handle without its generation.
pub(super) const fn place_of(handle: NodeHandle) -> u64 {
    NodeHandle::new(handle.shard(), handle.row(), 0).0
}

impl From<(u64, u64)> for Room {
    fn from((memory_mb, virtual_cores): (u64, u64)) -> Self {
        Self {
            memory_mb: i64::try_from(memory_mb).unwrap_or(i64::MAX),
            virtual_cores: i64::try_from(virtual_cores).unwrap_or(i64::MAX),
        }
    }
}

impl Fleet {
    /// What the nodes hand to the ApplicationMasters; `None` for a fleet that invents its containers.
    pub fn handover(&mut self) -> Option<&mut Handover> {
        self.host.as_deref_mut().map(Host::handover)
    }

    /// The node of this fleet with a handle, of this registration or an earlier one: who was granted a container there speaks
    /// to the node, whatever became of the registration.
    #[must_use]
    pub fn node_of(&self, handle: NodeHandle) -> Option<u32> {
        self.by_place.get(&place_of(handle)).copied()
    }

    /// The place of a node at its ResourceManager is another's from now on, perhaps.
    pub(super) fn forget_place(&mut self, node: u32) {
        let place = place_of(NodeHandle(self.rows[node as usize].handle));
        if self.by_place.get(&place) == Some(&node) {
            self.by_place.remove(&place);
        }
    }

    /// An ApplicationMaster starts a container it was granted. False when its node is not one of this fleet.
    ///
    /// A node refuses what it has no right to start: a token that does not fit, or that came too late. It says nothing of it
    /// to the ResourceManager, which takes the container back when its time is over.
    pub fn start_task(&mut self, now_us: u64, start: &ContainerStart) -> bool {
        let Some(node) = self.node_of(start.container.node) else { return false };
        self.note_room(node, start);
        if self.may_start(now_us, node, &start.container, &start.user, false) {
            let end_us = now_us.saturating_add(start.duration_us);
            self.run_container(node, &start.container, start.granted_us, Some(end_us));
        }
        true
    }

    /// An ApplicationMaster ends by itself.
    pub fn exit(&mut self, exit: &AmExit) {
        let Some(node) = self.node_of(exit.node) else { return };
        if let Some(containers) = self.containers.get_mut(node as usize) {
            containers.disown(&exit.container_id);
            self.counters.containers_completed +=
                u64::from(containers.kill(&exit.container_id, exit.exit_status));
        }
    }

    /// The ResourceManager orders an ApplicationMaster's container.
    pub(super) fn launch(&mut self, now_us: u64, node: u32, order: ContainerLaunch) {
        let handle = NodeHandle(self.rows[node as usize].handle);
        let container = Container {
            container_id: order.container_id,
            node: handle,
            resource: order.resource.clone(),
            priority: order.priority,
            allocation_request_id: -1,
            grant_number: 0,
            execution_type: ExecutionType::Guaranteed,
            version: 0,
            expires_at_ms: order.expires_at_ms,
            token: order.token,
        };
        if !self.may_start(now_us, node, &container, &order.user, true) {
            return;
        }
        self.counters.masters_launched += 1;
        self.run_container(node, &container, 0, None);
        if let Some(containers) = self.containers.get_mut(node as usize) {
            containers.own(order.container_id);
        }
        if let Some(host) = self.host.as_deref_mut() {
            host.handover.launches.push((handle, order));
        }
    }

    fn may_start(
        &mut self,
        now_us: u64,
        node: u32,
        container: &Container,
        user: &str,
        is_master: bool,
    ) -> bool {
        let is_up = !matches!(self.state(node), NodeState::Stopped | NodeState::Fenced);
        let started = self.host.as_ref().map_or(0, |host| host.started + 1);
        let is_checked = is_master || started.is_multiple_of(CHECKED_ONE_OF);
        let node_id = is_checked.then(|| self.node_id(node));
        let Some(host) = self.host.as_deref_mut() else { return false };
        host.started = started;
        let is_late = self
            .spec
            .start_time_ms
            .is_some_and(|start_ms| start_ms.saturating_add(now_us / 1_000) > container.expires_at_ms);
        let is_genuine = node_id.is_none_or(|node_id| host.verify(container, &node_id, user));
        self.counters.tokens_checked += u64::from(is_checked);
        let is_signed = container.token.key_id != 0;
        self.counters.tokens_wrong += u64::from(!is_genuine && is_signed);
        self.counters.tokens_missing += u64::from(!is_genuine && !is_signed);
        self.counters.starts_late += u64::from(is_late);
        self.counters.starts_refused += u64::from(!is_up);
        is_up && is_genuine && !is_late
    }

    fn run_container(&mut self, node: u32, container: &Container, granted_us: u64, end_us: Option<u64>) {
        let Some(host) = self.host.as_deref_mut() else { return };
        host.rooms[node as usize].now.take(Room::of(&container.resource));
        if let Some(end_us) = end_us {
            host.ends.push(Reverse((end_us, host.started, node, container.container_id)));
        }
        self.containers[node as usize].start_granted(container.container_id, &container.resource, granted_us);
        self.counters.containers_started += 1;
    }

    /// Whether this grant had to wait for an end that a beat reported: it was asked for before, and there was no room.
    ///
    /// Judged by the room of its node alone: in a run where limits of queues bind, a grant may have waited for the end of a
    /// container elsewhere. In the benchmark, where only nodes are full, it is exact.
    fn note_room(&mut self, node: u32, start: &ContainerStart) {
        let Some(host) = self.host.as_deref_mut() else { return };
        let room = &mut host.rooms[node as usize];
        if room.before.fits(&start.container.resource) {
            room.before.take(Room::of(&start.container.resource));
        } else if let Some(freed_us) = room.freed_us
            && start.asked_us < freed_us
            && freed_us <= start.granted_us
        {
            host.handover.notes.push(Note { kind: NoteKind::FreeToGrant, since_us: freed_us });
        }
    }

    /// Ends the containers whose time is over.
    pub(super) fn end_due(&mut self, now_us: u64) {
        while let Some(host) = self.host.as_deref_mut()
            && host.next_end_us().is_some_and(|end_us| end_us <= now_us)
            && let Some(Reverse((_, _, node, id))) = host.ends.pop()
        {
            let ended = self.containers[node as usize].kill(&id, 0);
            self.counters.containers_completed += u64::from(ended);
        }
    }

    /// Tells of ApplicationMasters that were ended by another's hand.
    pub(super) fn tell_of_killed(&mut self, node: u32) {
        if let (Some(host), Some(containers)) =
            (self.host.as_deref_mut(), self.containers.get_mut(node as usize))
        {
            containers.take_killed(&mut host.handover.killed);
        }
    }
}

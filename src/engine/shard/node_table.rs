//! Node table of one shard: a hot row of one cache line per node, a warm row beside it, cold facts apart.
//! Owned by: `Shard`. Called by: every file of the shard, on the shard's thread.
//! Does not: decide anything, send anything, read clocks, know what a state means for the scheduler.
//! Invariants: the three columns have one length; a host:port has at most one row; a row is in exactly one of: active,
//! the list of inactive rows (oldest change first), the list of free rows.

use compact_str::CompactString;
use hashbrown::HashTable;
use heddle_wire::record::{
    ArchivedResourceUtilization, NodeHandle, NodeState, ResourceUtilization, routing_key,
};

use super::containers::NodeContainers;
use super::interner::{Interned, Interner};
use super::node_command::Outbound;
use crate::engine::batch::{PeerId, StreamRef};
use crate::engine::event::{NodeEvent, Resource};
use crate::engine::time::Instant;

/// What is true of a row, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowFlags(u16);

impl RowFlags {
    /// Quieter than its class allows.
    pub(super) const SUSPECT: Self = Self(1);
    /// Not allowed by the include and exclude lists.
    pub(super) const INVALID: Self = Self(1 << 1);
    /// In neither list while an include list is in use.
    pub(super) const UNTRACKED: Self = Self(1 << 2);
    /// Orders wait for the node.
    pub(super) const COMMANDS: Self = Self(1 << 3);
    /// The last answer was not a fixed one; its body is kept.
    pub(super) const STORED_ANSWER: Self = Self(1 << 4);
    /// A beat of this registration was answered.
    pub(super) const ANSWERED: Self = Self(1 << 5);
    /// In the queue of nodes with an event.
    pub(super) const DIRTY: Self = Self(1 << 6);
    /// The scheduler was told of the node.
    pub(super) const KNOWN: Self = Self(1 << 7);
    /// The row belongs to nobody.
    pub(super) const FREE: Self = Self(1 << 8);
    /// The next answer carries the capability.
    pub(super) const TELL_CAPABILITY: Self = Self(1 << 9);
    /// Inside a full report that goes over several beats.
    pub(super) const IN_FULL_REPORT: Self = Self(1 << 10);
    /// Stands for an excluded host that never registered.
    pub(super) const PLACEHOLDER: Self = Self(1 << 11);
    /// Is pushed to with the next tick.
    pub(super) const PUSH_DUE: Self = Self(1 << 12);
    /// It is being emptied because an administrator named it, not because of the lists.
    pub(super) const DRAINED_BY_NAME: Self = Self(1 << 13);
    /// Is pushed to a while after the last push.
    pub(super) const PUSH_LATER: Self = Self(1 << 14);

    /// Any of these keeps a beat off the short path.
    pub(super) const ATTENTION: Self = Self(
        Self::SUSPECT.0
            | Self::INVALID.0
            | Self::COMMANDS.0
            | Self::TELL_CAPABILITY.0
            | Self::IN_FULL_REPORT.0
            | Self::FREE.0,
    );

    /// True if any bit of `other` is set.
    #[inline]
    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Sets the bits of `other`.
    #[inline]
    pub(super) const fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Clears the bits of `other`.
    #[inline]
    pub(super) const fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// Sets or clears the bits of `other`.
    pub(super) const fn put(&mut self, other: Self, value: bool) {
        if value { self.set(other) } else { self.clear(other) }
    }

    /// Both.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Everything a steady beat reads and writes, in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct HotRow {
    /// Whose certificate registered it.
    pub(super) peer: PeerId,
    /// Where its last frame came from.
    pub(super) stream: StreamRef,
    /// When it last beat, in liveliness time (`liveliness`).
    pub(super) last_seen: Instant,
    /// Sum of the shares of its live containers.
    pub(super) digest_hash: u64,
    /// How many live containers.
    pub(super) digest_count: u32,
    /// Generation of the current registration, 1 to 2^24 − 1.
    pub(super) generation: u32,
    /// Id of the last answer.
    pub(super) response_id: u32,
    /// Interval of the last answer, milliseconds.
    pub(super) interval_ms: u32,
    /// `next_heartbeat_ms` of the last answer.
    pub(super) next_ms: u32,
    /// State.
    pub(super) state: NodeState,
    /// Index of its liveliness class.
    pub(super) class: u8,
    /// Bits.
    pub(super) flags: RowFlags,
}
const _: () = assert!(size_of::<HotRow>() == 64 && align_of::<HotRow>() == 64);

/// Measured use, in the engine's own shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Utilization {
    pub(super) physical_memory_mb: u32,
    pub(super) virtual_memory_mb: u32,
    pub(super) cpu_millicores: u32,
}

impl From<&ArchivedResourceUtilization> for Utilization {
    #[inline]
    fn from(archived: &ArchivedResourceUtilization) -> Self {
        Self {
            physical_memory_mb: archived.physical_memory_mb.to_native(),
            virtual_memory_mb: archived.virtual_memory_mb.to_native(),
            cpu_millicores: archived.cpu_millicores.to_native(),
        }
    }
}

impl From<Utilization> for ResourceUtilization {
    fn from(value: Utilization) -> Self {
        Self {
            physical_memory_mb: value.physical_memory_mb,
            virtual_memory_mb: value.virtual_memory_mb,
            cpu_millicores: value.cpu_millicores,
        }
    }
}

/// What every beat writes and nothing of the beat's rules reads: half a cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub(super) struct WarmRow {
    /// Use of all containers.
    pub(super) containers_utilization: Utilization,
    /// Use of the machine.
    pub(super) node_utilization: Utilization,
    /// What it offers.
    pub(super) capability: Interned,
    /// Physical memory and cores.
    pub(super) physical: Interned,
}
const _: () = assert!(size_of::<WarmRow>() == 32);

/// A label as a node reported it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label {
    pub(super) name: Box<str>,
    pub(super) is_exclusive: bool,
}

/// An attribute as a node reported it; its prefix is always `nm.yarn.io`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attribute {
    pub(super) name: Box<str>,
    pub(super) value: Box<str>,
}

/// What a beat seldom touches.
#[derive(Debug)]
pub(super) struct ColdRow {
    /// Host.
    pub(super) host: CompactString,
    /// When the state last changed, in liveliness time.
    pub(super) changed_at: Instant,
    /// When the node said something about its health, milliseconds since 1970.
    pub(super) health_time_ms: u64,
    /// What it said; `None` for nothing.
    pub(super) health_report: Option<Box<Box<str>>>,
    /// What the scheduler was not told yet.
    pub(super) event: Option<Box<NodeEvent>>,
    /// Containers and applications.
    pub(super) containers: Option<Box<NodeContainers>>,
    /// Orders and the stored answer.
    pub(super) outbound: Option<Box<Outbound>>,
    /// Neighbours in the list of inactive or free rows.
    previous: u32,
    next: u32,
    /// Rack, version, labels, attributes.
    pub(super) rack: Interned,
    pub(super) version: Interned,
    pub(super) labels: Interned,
    pub(super) attributes: Interned,
    /// Generation under which the scheduler knows what runs there: orders for it and later ones are accepted.
    pub(super) added_generation: u32,
    /// Port; 0 for a placeholder.
    pub(super) port: u16,
    /// Port of its web server.
    pub(super) http_port: u16,
}
const _: () = assert!(size_of::<ColdRow>() <= 104);

const NONE: u32 = u32::MAX;

/// The generation after this one; 0 is never given out.
pub(super) const fn next_generation(generation: u32) -> u32 {
    if generation >= NodeHandle::GENERATION_MAX { 1 } else { generation + 1 }
}

/// Starts of ResourceManagers, spread over the generations; 0 for 0. Two starts share one with a chance of 2^-24.
const fn first_generation(rm_identifier: u64) -> u32 {
    // The finaliser of splitmix64: neighbouring times end far apart.
    let mut z = rm_identifier;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % NodeHandle::GENERATION_MAX as u64) as u32
}

/// A list through the rows, oldest first.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE };
}

/// See the module.
#[derive(Debug)]
pub(super) struct NodeTable {
    /// One line per node.
    pub(super) hot: Vec<HotRow>,
    /// Beside it.
    pub(super) warm: Vec<WarmRow>,
    cold: Vec<ColdRow>,
    index: HashTable<u32>,
    inactive: List,
    free: List,
    rows_max: u32,
    shard: u8,
    /// Generation before the first of every row.
    first_generation: u32,
    /// Texts: racks and versions.
    pub(super) texts: Interner<Box<str>>,
    /// Capabilities and container sizes.
    pub(super) resources: Interner<Resource>,
    /// Sets of labels.
    pub(super) labels: Interner<Box<[Label]>>,
    /// Sets of attributes.
    pub(super) attributes: Interner<Box<[Attribute]>>,
}

impl NodeTable {
    /// Least step of growth, rows.
    const GROWTH_MIN: usize = 64;

    /// `rm_identifier` decides where generations begin: a handle that an earlier ResourceManager gave out then names
    /// nothing here. Were they to begin at 1 each time, it would name whichever node now has the row, and its owner
    /// would be refused as a foreigner instead of being told RESYNC, or, behind one relay, be taken for the other node.
    pub(super) fn new(shard: u8, rows_max: u32, rm_identifier: u64) -> Self {
        Self {
            first_generation: first_generation(rm_identifier),
            hot: Vec::new(),
            warm: Vec::new(),
            cold: Vec::new(),
            index: HashTable::new(),
            inactive: List::EMPTY,
            free: List::EMPTY,
            rows_max,
            shard,
            texts: Interner::new(),
            resources: Interner::new(),
            labels: Interner::new(),
            attributes: Interner::new(),
        }
    }

    /// Rows, in use or not.
    pub(super) const fn len(&self) -> usize {
        self.hot.len()
    }

    /// The row's handle.
    pub(super) fn handle(&self, row: u32) -> NodeHandle {
        NodeHandle::new(self.shard, row, self.hot[row as usize].generation)
    }

    /// The row a handle of any registration names, if it has one.
    pub(super) fn row_of(&self, handle: NodeHandle) -> Option<u32> {
        let row = handle.row();
        let is_known = handle.shard() == self.shard
            && self.hot.get(row as usize).is_some_and(|hot| !hot.flags.has(RowFlags::FREE));
        is_known.then_some(row)
    }

    /// Cold facts of a row.
    pub(super) fn cold(&self, row: u32) -> &ColdRow {
        &self.cold[row as usize]
    }

    /// Cold facts of a row, to change.
    pub(super) fn cold_mut(&mut self, row: u32) -> &mut ColdRow {
        &mut self.cold[row as usize]
    }

    /// What the node offers.
    pub(super) fn capability(&self, row: u32) -> &Resource {
        self.resources.value(self.warm[row as usize].capability)
    }

    /// The row of `host:port`. Cost: one hash of the text; registration and administration only.
    pub(super) fn find(&self, host: &str, port: u16) -> Option<u32> {
        let same = |row: &u32| {
            self.cold.get(*row as usize).is_some_and(|cold| cold.port == port && cold.host == host)
        };
        self.index.find(routing_key(host, port), same).copied()
    }

    /// True when [`NodeTable::insert`] would find no row.
    pub(super) const fn is_full(&self) -> bool {
        self.free.first == NONE && self.hot.len() >= self.rows_max as usize
    }

    /// The row that has been inactive for longest.
    pub(super) fn oldest_inactive(&self) -> Option<u32> {
        (self.inactive.first != NONE).then_some(self.inactive.first)
    }

    /// A row in state NEW for `host:port`, which has none: a free one or a new one. `None` when the table is full.
    ///
    /// What the scheduler still has to be told of a row's last owner stays with the row.
    pub(super) fn insert(&mut self, host: &str, port: u16) -> Option<u32> {
        let row = if self.free.first != NONE {
            let row = self.free.first;
            self.unlink(row, true);
            row
        } else if self.hot.len() < self.rows_max as usize {
            self.push_row()
        } else {
            return None;
        };
        let hot = &mut self.hot[row as usize];
        hot.flags.clear(RowFlags::FREE);
        hot.state = NodeState::New;
        let cold = &mut self.cold[row as usize];
        cold.host = CompactString::new(host);
        cold.port = port;
        let columns = &self.cold;
        self.index.insert_unique(routing_key(host, port), row, |row| {
            columns.get(*row as usize).map_or(0, |cold| routing_key(&cold.host, cold.port))
        });
        Some(row)
    }

    /// Gives an inactive row back: its node is forgotten.
    pub(super) fn remove_inactive(&mut self, row: u32) {
        self.unlink(row, false);
        self.forget(row);
        self.hot[row as usize].flags.set(RowFlags::FREE);
        self.link(row, true);
    }

    /// Puts a row that just became inactive at the end of the list.
    pub(super) fn enlist_inactive(&mut self, row: u32) {
        self.link(row, false);
    }

    /// Takes a row whose node returned out of the list.
    pub(super) fn delist_inactive(&mut self, row: u32) {
        self.unlink(row, false);
    }

    /// Drops what is shared and owned by the row's node, and its place in the index. The pending event stays.
    fn forget(&mut self, row: u32) {
        let cold = &self.cold[row as usize];
        let hash = routing_key(&cold.host, cold.port);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == row) {
            entry.remove();
        }
        self.drop_contents(row);
        let cold = &mut self.cold[row as usize];
        cold.host = CompactString::const_new("");
        cold.health_report = None;
        cold.health_time_ms = 0;
        self.texts.release(core::mem::take(&mut cold.rack));
        self.texts.release(core::mem::take(&mut cold.version));
        self.labels.release(core::mem::take(&mut cold.labels));
        self.attributes.release(core::mem::take(&mut cold.attributes));
        let warm = core::mem::take(&mut self.warm[row as usize]);
        self.resources.release(warm.capability);
        self.resources.release(warm.physical);
    }

    /// Drops containers, orders and the stored answer. Returns how many live containers there were.
    pub(super) fn drop_contents(&mut self, row: u32) -> u32 {
        let live = self.drop_containers(row);
        self.cold[row as usize].outbound = None;
        self.hot[row as usize].flags.clear(RowFlags::COMMANDS.or(RowFlags::STORED_ANSWER));
        live
    }

    /// Drops containers and applications. Returns how many live containers there were.
    pub(super) fn drop_containers(&mut self, row: u32) -> u32 {
        let hot = &mut self.hot[row as usize];
        let live = hot.digest_count;
        hot.digest_count = 0;
        hot.digest_hash = 0;
        hot.flags.clear(RowFlags::IN_FULL_REPORT);
        if let Some(containers) = self.cold[row as usize].containers.take() {
            containers.release(&mut self.resources);
        }
        live
    }

    /// Drops what runs and applications, not what is complete. Returns how many live containers there were.
    pub(super) fn interrupt_containers(&mut self, row: u32) -> u32 {
        let containers = self.cold[row as usize].containers.take();
        let live = self.drop_containers(row);
        if let Some(mut containers) = containers {
            containers.interrupt(&mut self.resources);
            self.cold[row as usize].containers = Some(containers);
        }
        live
    }

    fn push_row(&mut self) -> u32 {
        if self.hot.len() == self.hot.capacity() {
            // Doubling would leave up to half of it unused. A sixteenth keeps a node below 256 bytes at every size, for
            // 17 copies of 200 bytes in a node's life: less than its registration costs otherwise.
            let step = (self.hot.len() / 16).max(Self::GROWTH_MIN);
            self.hot.reserve_exact(step);
            self.warm.reserve_exact(step);
            self.cold.reserve_exact(step);
        }
        self.hot.push(HotRow {
            peer: PeerId(0),
            stream: StreamRef::NONE,
            last_seen: Instant::ZERO,
            digest_hash: 0,
            digest_count: 0,
            generation: self.first_generation,
            response_id: 0,
            interval_ms: 0,
            next_ms: 0,
            state: NodeState::New,
            class: 0,
            flags: RowFlags::default(),
        });
        self.warm.push(WarmRow::default());
        self.cold.push(ColdRow {
            host: CompactString::const_new(""),
            changed_at: Instant::ZERO,
            health_time_ms: 0,
            health_report: None,
            event: None,
            containers: None,
            outbound: None,
            previous: NONE,
            next: NONE,
            rack: Interned::DEFAULT,
            version: Interned::DEFAULT,
            labels: Interned::DEFAULT,
            attributes: Interned::DEFAULT,
            added_generation: 0,
            port: 0,
            http_port: 0,
        });
        (self.hot.len() - 1) as u32
    }

    fn link(&mut self, row: u32, is_free: bool) {
        let list = if is_free { &mut self.free } else { &mut self.inactive };
        let last = core::mem::replace(&mut list.last, row);
        if last == NONE {
            list.first = row;
        } else {
            self.cold[last as usize].next = row;
        }
        let cold = &mut self.cold[row as usize];
        (cold.previous, cold.next) = (last, NONE);
    }

    fn unlink(&mut self, row: u32, is_free: bool) {
        let cold = &mut self.cold[row as usize];
        let (previous, next) = (cold.previous, cold.next);
        (cold.previous, cold.next) = (NONE, NONE);
        let list = if is_free { &mut self.free } else { &mut self.inactive };
        if previous == NONE {
            list.first = next;
        } else {
            self.cold[previous as usize].next = next;
        }
        if next == NONE {
            list.last = previous;
        } else {
            self.cold[next as usize].previous = previous;
        }
    }

    /// Heap of the table, with what the rows own. Cost: a walk over all rows.
    pub(super) fn heap_size(&self) -> usize {
        let columns = self.hot.capacity() * size_of::<HotRow>()
            + self.warm.capacity() * size_of::<WarmRow>()
            + self.cold.capacity() * size_of::<ColdRow>()
            + self.index.allocation_size();
        let shared = self.texts.heap_size()
            + self.resources.heap_size()
            + self.labels.heap_size()
            + self.attributes.heap_size();
        let owned: usize = self
            .cold
            .iter()
            .map(|cold| {
                let host = if cold.host.is_heap_allocated() { cold.host.capacity() } else { 0 };
                let report = cold.health_report.as_ref().map_or(0, |text| text.len() + size_of::<Box<str>>());
                host + report
                    + cold.event.as_ref().map_or(0, |_| size_of::<NodeEvent>())
                    + cold.containers.as_ref().map_or(0, |containers| containers.heap_size())
                    + cold.outbound.as_ref().map_or(0, |outbound| outbound.heap_size())
            })
            .sum();
        columns + shared + owned
    }
}

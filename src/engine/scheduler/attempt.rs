//! Applications and their attempts as the scheduler knows them.
//! Owns: [`Apps`], [`Attempts`] and what they hold: asks, live containers by id, what was used. Called by: every part of
//! the scheduler; on its thread. Does not: know life cycles (those are the application manager's), or sessions.
//! Invariants: an attempt's handle names it until the row is used again; `pending`, `used` and `reserved` of a share are
//! the sums over its asks, containers and reservations.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use heddle_wire::record::{ApplicationAttemptId, ApplicationId, ContainerId, NodeHandle};
use rustc_hash::FxBuildHasher;

use super::ask::KeyAsk;
use super::container::ContainerIndex;
use super::face::SchedulerKey;
use super::message::Attempt;
use super::names::NameId;
use super::node_table::RmNode;
use super::queue::{LeafUserIndex, QueueIndex};
use super::resource::ResourceVector;
use super::resource_sum::ResourceSum;
use super::shape::ShapeId;
use crate::engine::node_set::NodeSet;
use crate::engine::time::Instant;

/// Index of an application in [`Apps`].
pub(super) type AppIndex = u32;

/// Place of an attempt in the order of its leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AppKey {
    /// By fifo: the priority, most important first. By fair: what is used, least first.
    pub(super) first: u64,
    /// By fifo: the start of the ResourceManager that named the application. By fair: when it was submitted.
    pub(super) second: u64,
    /// The application's number.
    pub(super) third: u32,
    /// The attempt's row.
    pub(super) row: u32,
}

impl AppKey {
    /// By priority, then age.
    pub(super) fn fifo(priority: i32, application_id: ApplicationId, row: u32) -> Self {
        // Descending: i32::MAX becomes 0.
        let first = (i64::from(i32::MAX) - i64::from(priority)).unsigned_abs();
        Self { first, second: application_id.cluster_timestamp, third: application_id.id, row }
    }
}

/// An application.
#[derive(Debug)]
pub(super) struct App {
    /// Its id.
    pub(super) application_id: ApplicationId,
    /// Its owner.
    pub(super) user: NameId,
    /// Its leaf.
    pub(super) queue: QueueIndex,
    /// Its owner within the leaf.
    pub(super) leaf_user: LeafUserIndex,
    /// Higher is more important.
    pub(super) priority: i32,
    /// Label of asks that name none.
    pub(super) node_label: Option<Box<str>>,
    /// When it was submitted, milliseconds since 1970.
    pub(super) submit_time_ms: u64,
    /// Its current attempt.
    pub(super) current: Option<u32>,
    /// What the attempt before wanted nothing on, for one that takes its containers over.
    pub(super) left_blacklist: Blacklist,
    /// Its live containers.
    pub(super) containers: LiveContainers,
    /// Nodes one of its containers was told to its ApplicationMaster on: they hear of its end. Of no generation: by shard and row.
    pub(super) nodes: NodeSet,
}

/// An application's live containers, by attempt number and container number.
///
/// Hashed: every grant and every end comes here, and a tree of a thousand entries is three or four cache lines deep. What
/// is told is sorted when it is told.
#[derive(Debug, Default)]
pub(super) struct LiveContainers(HashMap<(u32, u64), ContainerIndex, FxBuildHasher>);

impl LiveContainers {
    /// A live one.
    #[inline]
    pub(super) fn get(&self, id: &ContainerId) -> Option<ContainerIndex> {
        self.0.get(&Self::key(id)).copied()
    }

    /// Adds one.
    #[inline]
    pub(super) fn insert(&mut self, id: &ContainerId, index: ContainerIndex) {
        self.0.insert(Self::key(id), index);
    }

    /// Takes one out.
    #[inline]
    pub(super) fn remove(&mut self, id: &ContainerId) -> Option<ContainerIndex> {
        self.0.remove(&Self::key(id))
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All, by id. O(n log n).
    pub(super) fn in_order(&self) -> Vec<ContainerIndex> {
        self.page(None, usize::MAX)
    }

    /// The first `most` after one, by id. O(n + most log most).
    pub(super) fn page(&self, after: Option<&ContainerId>, most: usize) -> Vec<ContainerIndex> {
        let after = after.map(Self::key);
        let mut found: Vec<_> =
            self.0.iter().map(|(key, index)| (*key, *index)).filter(|(key, _)| Some(*key) > after).collect();
        if found.len() > most {
            found.select_nth_unstable(most);
            found.truncate(most);
        }
        found.sort_unstable();
        found.into_iter().map(|(_, index)| index).collect()
    }

    #[inline]
    const fn key(id: &ContainerId) -> (u32, u64) {
        (id.application_attempt_id.attempt_id, id.container_id)
    }
}

/// Ends that were told, and the nodes that remember them until the ApplicationMaster has acknowledged them. Hashed, as the
/// live ones are.
pub(super) type Unacknowledged = HashMap<ContainerId, NodeHandle, FxBuildHasher>;

/// Whether an attempt may be given containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptState {
    /// A limit on applications in parallel keeps it back: that of this queue, or of its user.
    NotRunnable {
        /// Since when.
        since: Instant,
        /// The queue; `None` = the user's.
        queue: Option<QueueIndex>,
    },
    /// It waits for its ApplicationMaster's share of the queue.
    Pending {
        /// Since when.
        since: Instant,
        /// What is exhausted.
        reason: PendingReason,
    },
    /// It may.
    Active,
}

/// Why an attempt is not active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PendingReason {
    /// Its partition has no capacity yet; of an unmanaged one, the cluster.
    NoCapacity,
    /// The queue's share for ApplicationMasters.
    QueueAmLimit,
    /// The user's part of it.
    UserAmLimit,
}

/// An attempt's part in one partition.
#[derive(Debug, Default)]
pub(super) struct AttemptShare {
    /// The partition.
    pub(super) partition: u16,
    /// Live containers and reservations.
    pub(super) used: ResourceVector,
    /// Reservations.
    pub(super) reserved: ResourceVector,
    /// Outstanding asks.
    pub(super) pending: ResourceSum,
    /// Keys with outstanding asks.
    pub(super) pending_keys: u32,
    /// What may be placed now, if a node has room: by shape.
    pub(super) wanted: BTreeSet<(ShapeId, SchedulerKey)>,
    /// Its place in the leaf's order.
    pub(super) key: AppKey,
}

/// The AM container of a managed attempt.
#[derive(Clone, Debug)]
pub(super) struct AmContainer {
    /// Its size.
    pub(super) size: ResourceVector,
    /// Its partition.
    pub(super) partition: u16,
    /// It, while it lives.
    pub(super) container: Option<ContainerIndex>,
}

/// Hosts and racks an application wants nothing on; it holds their names.
#[derive(Debug, Default)]
pub(super) struct Blacklist {
    /// Hosts.
    pub(super) hosts: BTreeSet<NameId>,
    /// Racks.
    pub(super) racks: BTreeSet<NameId>,
}

impl Blacklist {
    /// Whether a node's host or rack is on it.
    fn names(&self, node: &RmNode) -> bool {
        self.hosts.contains(&node.host) || self.racks.contains(&node.rack)
    }
}

/// An attempt.
#[derive(Debug)]
pub(super) struct AttemptRow {
    /// Its handle.
    pub(super) handle: Attempt,
    /// Its id.
    pub(super) attempt_id: ApplicationAttemptId,
    /// Its application.
    pub(super) app: AppIndex,
    /// Its leaf.
    pub(super) queue: QueueIndex,
    /// Its owner within the leaf.
    pub(super) leaf_user: LeafUserIndex,
    /// Whether it may be given containers.
    pub(super) state: AttemptState,
    /// Containers of earlier attempts are its own.
    pub(super) keeps_containers: bool,
    /// Since when its ApplicationMaster does not come for what it was granted: nothing more is placed for it.
    pub(super) held_since: Option<Instant>,
    /// Its AM container.
    pub(super) am: Option<AmContainer>,
    /// What it asks for.
    pub(super) asks: BTreeMap<SchedulerKey, Box<KeyAsk>>,
    /// Hosts and racks that its asks name, each as often as it is named.
    pub(super) places: usize,
    /// Partitions its ApplicationMaster has asked in: its headroom is their sum.
    pub(super) asked_in: Vec<u16>,
    /// By partition, in the order they were first used.
    pub(super) shares: Vec<AttemptShare>,
    /// Where nothing is to be placed.
    pub(super) blacklist: Blacklist,
    /// Hosts its AM container is not to be placed on.
    pub(super) am_blacklist: BTreeSet<NameId>,
    /// Number of the last container granted to it.
    pub(super) last_container: u64,
    /// Containers allocated so far.
    pub(super) allocated: u64,
    /// Amount × milliseconds, by type; of live containers without what is to come: see [`AttemptRow::used_until`].
    pub(super) resource_millis: Vec<i128>,
    /// Ends told and not acknowledged.
    pub(super) unacknowledged: Unacknowledged,
}

impl AttemptRow {
    /// Its part in a partition.
    #[inline]
    pub(super) fn share(&self, partition: u16) -> Option<&AttemptShare> {
        self.shares.iter().find(|share| share.partition == partition)
    }

    /// Its part in a partition, made where there is none.
    #[inline]
    pub(super) fn share_mut(&mut self, partition: u16) -> &mut AttemptShare {
        let place = self.shares.iter().position(|share| share.partition == partition);
        let place = place.unwrap_or_else(|| {
            self.shares.push(AttemptShare { partition, ..AttemptShare::default() });
            self.shares.len() - 1
        });
        &mut self.shares[place]
    }

    /// Whether there are nodes it does not want. Its AM container minds those where ApplicationMasters of the application
    /// failed, the others what the ApplicationMaster blacklisted: one that named every host must not keep back its successor.
    #[inline]
    pub(super) fn has_blacklist(&self, is_am: bool) -> bool {
        if is_am {
            !self.am_blacklist.is_empty()
        } else {
            !self.blacklist.hosts.is_empty() || !self.blacklist.racks.is_empty()
        }
    }

    /// Whether it wants a node.
    pub(super) fn accepts(&self, node: &RmNode, is_am: bool) -> bool {
        let is_listed =
            if is_am { self.am_blacklist.contains(&node.host) } else { self.blacklist.names(node) };
        !is_listed
    }

    /// Whether it may be given containers.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.state == AttemptState::Active && self.held_since.is_none()
    }

    /// Amount × milliseconds of type `kind` until `now`.
    pub(super) fn used_until(&self, now: Instant, kind: usize) -> u128 {
        let live: u128 = self
            .shares
            .iter()
            .map(|share| u128::from(share.used.get(kind).saturating_sub(share.reserved.get(kind))))
            .sum();
        let so_far = self.resource_millis.get(kind).copied().unwrap_or(0);
        let more = i128::try_from(live.saturating_mul(u128::from(now.as_millis()))).unwrap_or(i128::MAX);
        u128::try_from(so_far.saturating_add(more)).unwrap_or(0)
    }

    /// A container of this size begins (`is_begin`) or ends.
    #[inline]
    pub(super) fn count_time(&mut self, now: Instant, size: &ResourceVector, is_begin: bool) {
        let millis = i128::from(now.as_millis());
        for (kind, sum) in self.resource_millis.iter_mut().enumerate() {
            let amount = i128::from(size.get(kind)) * millis;
            *sum += if is_begin { -amount } else { amount };
        }
    }
}

/// Applications by index and id.
#[derive(Debug, Default)]
pub(super) struct Apps {
    slab: Vec<Option<App>>,
    free: Vec<AppIndex>,
    by_id: BTreeMap<ApplicationId, AppIndex>,
}

impl Apps {
    /// Adds an application that is not there yet.
    pub(super) fn insert(&mut self, app: App) -> AppIndex {
        let id = app.application_id;
        let index = if let Some(index) = self.free.pop() {
            self.slab[index as usize] = Some(app);
            index
        } else {
            self.slab.push(Some(app));
            self.slab.len() as AppIndex - 1
        };
        self.by_id.insert(id, index);
        index
    }

    /// The index of an application.
    #[inline]
    pub(super) fn find(&self, id: &ApplicationId) -> Option<AppIndex> {
        self.by_id.get(id).copied()
    }

    /// An application.
    #[inline]
    pub(super) fn get(&self, index: AppIndex) -> Option<&App> {
        self.slab.get(index as usize).and_then(Option::as_ref)
    }

    /// An application.
    #[inline]
    pub(super) fn get_mut(&mut self, index: AppIndex) -> Option<&mut App> {
        self.slab.get_mut(index as usize).and_then(Option::as_mut)
    }

    /// Takes an application out.
    pub(super) fn remove(&mut self, index: AppIndex) -> Option<App> {
        let app = self.slab.get_mut(index as usize)?.take()?;
        self.by_id.remove(&app.application_id);
        self.free.push(index);
        Some(app)
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Every application, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AppIndex, &App)> {
        self.by_id.values().filter_map(|index| self.get(*index).map(|app| (*index, app)))
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    attempt: Option<Box<AttemptRow>>,
}

/// Attempts by row.
#[derive(Debug)]
pub(super) struct Attempts {
    scheduler: u8,
    most: u32,
    rows: Vec<Slot>,
    free: Vec<u32>,
}

impl Attempts {
    /// Without attempts.
    pub(super) const fn new(scheduler: u8, most: u32) -> Self {
        Self { scheduler, most, rows: Vec::new(), free: Vec::new() }
    }

    /// A row for a new attempt; `None` when every row is taken.
    pub(super) fn reserve(&mut self) -> Option<Attempt> {
        let row = match self.free.pop() {
            Some(row) => row,
            None if (self.rows.len() as u64) < u64::from(self.most) => {
                self.rows.push(Slot::default());
                self.rows.len() as u32 - 1
            }
            None => return None,
        };
        let slot = &mut self.rows[row as usize];
        // 0 is no generation, so that a handle of zeros names nothing.
        slot.generation = (slot.generation + 1) & 0xff_ffff;
        if slot.generation == 0 {
            slot.generation = 1;
        }
        Some(Attempt::new(self.scheduler, row, slot.generation))
    }

    /// Puts an attempt into the row reserved for it.
    pub(super) fn insert(&mut self, attempt: AttemptRow) {
        let row = attempt.handle.row() as usize;
        self.rows[row].attempt = Some(Box::new(attempt));
    }

    /// The attempt of a row.
    #[inline]
    pub(super) fn get(&self, row: u32) -> Option<&AttemptRow> {
        self.rows.get(row as usize).and_then(|slot| slot.attempt.as_deref())
    }

    /// The attempt of a row.
    #[inline]
    pub(super) fn get_mut(&mut self, row: u32) -> Option<&mut AttemptRow> {
        self.rows.get_mut(row as usize).and_then(|slot| slot.attempt.as_deref_mut())
    }

    /// The attempt of a handle.
    pub(super) fn by_handle(&self, handle: Attempt) -> Option<&AttemptRow> {
        self.get(handle.row()).filter(|attempt| attempt.handle == handle)
    }

    /// Takes an attempt out; its row is used again.
    pub(super) fn remove(&mut self, row: u32) -> Option<AttemptRow> {
        let attempt = self.rows.get_mut(row as usize)?.attempt.take()?;
        self.free.push(row);
        Some(*attempt)
    }

    /// Every attempt, by row.
    pub(super) fn iter(&self) -> impl Iterator<Item = &AttemptRow> {
        self.rows.iter().filter_map(|slot| slot.attempt.as_deref())
    }
}

/// A node's identity that outlives its registrations: shard and row.
pub(super) const fn node_place(node: NodeHandle) -> NodeHandle {
    NodeHandle::new(node.shard(), node.row(), 0)
}

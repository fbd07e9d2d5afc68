//! The tree of queues as it is walked: who is whose child, who runs where, how many.
//! Owns: [`Queues`], [`Queue`]. Called by: admission, activation, placement, queries; on the scheduler's thread.
//! Does not: know amounts; those are by partition, in `share`. The settings stay in [`QueueTree`], by the same index.
//! Invariants: `chain` begins with the queue and ends with the root; counts of a parent are the sums of its children's.

use std::collections::{BTreeMap, BTreeSet};

use super::attempt::AppKey;
use super::capacity::written;
use super::names::NameId;
use super::settings::{QueueSettings, QueueState, QueueTree};

/// Index of a queue in its [`QueueTree`].
pub(super) type QueueIndex = u32;

/// Index of a user within a leaf; the same in every partition.
pub(super) type LeafUserIndex = u32;

/// A queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Itself, its parent, and so on to the root.
    pub(super) chain: Box<[QueueIndex]>,
    /// Its children, in the order of the settings.
    pub(super) children: Vec<QueueIndex>,
    /// Applications admitted here and below since the start, or moved here.
    pub(super) submitted: u64,
    /// Applications here and below.
    pub(super) applications: u32,
    /// Applications here and below whose attempt counts as running: not kept back by a limit on those in parallel.
    pub(super) running: u32,
    /// Of a leaf.
    pub(super) leaf: Option<Box<Leaf>>,
}

/// What only leaves have.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    /// Users with applications here, by index.
    pub(super) users: Vec<LeafUser>,
    by_name: BTreeMap<NameId, LeafUserIndex>,
    free_users: Vec<LeafUserIndex>,
    /// Attempts that wait for room for their ApplicationMaster, in the order they are activated.
    pub(super) pending: BTreeSet<AppKey>,
    /// Attempts kept back by a limit on applications in parallel, in the same order.
    pub(super) not_runnable: BTreeSet<AppKey>,
    /// Attempts that may be given containers.
    pub(super) active: u32,
}

/// A user in a leaf.
#[derive(Clone, Debug, Default)]
pub(super) struct LeafUser {
    /// Its name; `None` = the index is free.
    pub(super) name: Option<NameId>,
    /// Its weight.
    pub(super) weight: f64,
    /// Its applications here.
    pub(super) applications: u32,
    /// Of them, those whose attempt waits to be activated.
    pub(super) pending: u32,
    /// Of them, those with an active attempt.
    pub(super) active: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// The settings, by the same index.
    pub(super) tree: QueueTree,
    queues: Vec<Queue>,
}

impl Queues {
    /// The queues of a checked tree, empty.
    pub(super) fn new(tree: QueueTree) -> Self {
        let mut queues: Vec<Queue> = Vec::with_capacity(tree.queues.len());
        for (index, settings) in tree.queues.iter().enumerate() {
            let index = index as QueueIndex;
            let mut chain = vec![index];
            if let Some(parent) = settings.parent.filter(|parent| *parent < index) {
                queues[parent as usize].children.push(index);
                chain.extend(&*queues[parent as usize].chain);
            }
            let leaf = settings.is_leaf.then(Box::default);
            queues.push(Queue { chain: chain.into(), leaf, ..Queue::default() });
        }
        Self { tree, queues }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    /// A queue.
    #[inline]
    pub(super) fn get(&self, queue: QueueIndex) -> &Queue {
        &self.queues[queue as usize]
    }

    /// A queue.
    #[inline]
    pub(super) fn get_mut(&mut self, queue: QueueIndex) -> &mut Queue {
        &mut self.queues[queue as usize]
    }

    /// A queue's settings.
    #[inline]
    pub(super) fn settings(&self, queue: QueueIndex) -> &QueueSettings {
        &self.tree.queues[queue as usize]
    }

    /// A user's weight in a leaf, as it was written.
    pub(super) fn weight_of(&self, queue: QueueIndex, user: &str) -> f64 {
        self.settings(queue).user_weights.get(user).map_or(1.0, |weight| written(*weight))
    }

    /// A leaf's own part.
    #[inline]
    pub(super) fn leaf(&self, queue: QueueIndex) -> Option<&Leaf> {
        self.get(queue).leaf.as_deref()
    }

    /// A leaf's own part.
    #[inline]
    pub(super) fn leaf_mut(&mut self, queue: QueueIndex) -> Option<&mut Leaf> {
        self.get_mut(queue).leaf.as_deref_mut()
    }

    /// The first queue from `queue` upwards that takes no applications.
    pub(super) fn stopped(&self, queue: QueueIndex) -> Option<QueueIndex> {
        let is_stopped = |queue: &&QueueIndex| self.settings(**queue).state == QueueState::Stopped;
        self.get(queue).chain.iter().find(is_stopped).copied()
    }

    /// Changes the counts of a queue and those above it.
    pub(super) fn count(&mut self, queue: QueueIndex, mut change: impl FnMut(&mut Queue)) {
        for index in 0..self.get(queue).chain.len() {
            let of = self.get(queue).chain[index];
            change(self.get_mut(of));
        }
    }
}

impl Leaf {
    /// The index of a user, made where there is none.
    pub(super) fn user(&mut self, name: NameId, weight: f64) -> LeafUserIndex {
        if let Some(index) = self.by_name.get(&name) {
            return *index;
        }
        let user = LeafUser { name: Some(name), weight, ..LeafUser::default() };
        let index = if let Some(index) = self.free_users.pop() {
            self.users[index as usize] = user;
            index
        } else {
            self.users.push(user);
            self.users.len() as LeafUserIndex - 1
        };
        self.by_name.insert(name, index);
        index
    }

    /// The index of a user with applications here.
    pub(super) fn find_user(&self, name: NameId) -> Option<LeafUserIndex> {
        self.by_name.get(&name).copied()
    }

    /// Forgets a user without applications; true when that is so.
    pub(super) fn forget_user(&mut self, index: LeafUserIndex) -> bool {
        let user = &mut self.users[index as usize];
        if user.applications > 0 {
            return false;
        }
        if let Some(name) = user.name.take() {
            self.by_name.remove(&name);
            self.free_users.push(index);
        }
        true
    }
}

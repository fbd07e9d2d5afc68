//! What a run really met: faults, actions, states and changes of state, kinds of answers.
//! Owns: [`Kind`], [`Coverage`]. Called by: every part of the simulator; summed over seeds by the tests.
//! Does not: judge a run. Invariant: a kind is counted where it takes effect, not where it is planned.

use heddle_wire::record::NodeState;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// Something that can happen to a cluster.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($(#[doc = $doc])* $name),* }

        impl Kind {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

kinds! {
    // The network:
    Loss, Delay, Duplication, Reordering, PartitionToRm, PartitionToNode, ConnectionDrop,
    /// A connection dropped before its registration was answered.
    DropBeforeRegistration,
    /// A connection dropped while the answer to a registration was on its way.
    DropAfterRegistration,
    // The ResourceManager:
    RmDeath, RmSuspend, ClockForward, ClockSmallForward, ClockBackward, BusyThread, RingFullDrop, RingFullBusy,
    FirstOffset, AnswersFull, EventRingFull, SlowInventory,
    // Nodes:
    NodeDeath, NodeRestart, Pause, PauseOfMany, DuplicateBeat, StaleBeat, UnhealthyBeat, CapabilityChange,
    WebPortChange, UnRegister, ForeignBeat, ForeignUnRegister, Garbage, WrongDirection, NotSupported, WrongRoute,
    TooSmall, Relay,
    // Administrators and the scheduler:
    DecommissionNormal, DecommissionGraceful, DecommissionForceful, Recommission, ListsNormal, ListsGraceful,
    ListsForceful, ListsInclude, MasterKeys, CleanupContainer, CleanupApplication, SignalContainer,
    UpdateContainer, UpdateResource, RemoveContainer, Urgent, ListFull, OldHandle,
    // Outcomes:
    AnswerFresh, AnswerDuplicate, AnswerResyncUnknown, AnswerResyncBehind, AnswerShutdown, AnswerFullReport,
    RegistrationNew, RegistrationReturning, RegistrationReconnected, RegistrationReconnectedEmpty,
    RegistrationRefused, Push, Suspect, Lost, Fenced, BrakeEngaged, BrakeReleased, LostUnderLease,
    Interrupted, Launched, Completed, Increased, Folded,
}

/// Changes of state seen, `[from][to]` by place in `NodeState::ALL`.
type Edges = [[u64; 8]; 8];

/// How often each kind was met.
#[derive(Clone, Debug)]
pub(crate) struct Coverage {
    kinds: Vec<u64>,
    edges: Edges,
    pub(crate) frames: u64,
    pub(crate) events: u64,
    pub(crate) listings: u64,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { kinds: vec![0; Kind::ALL.len()], edges: [[0; 8]; 8], frames: 0, events: 0, listings: 0 }
    }
}

/// Place of a state in `NodeState::ALL`.
pub(crate) fn index_of(state: NodeState) -> usize {
    NodeState::ALL.iter().position(|other| *other == state).unwrap_or(0)
}

impl Coverage {
    pub(crate) fn hit(&mut self, kind: Kind) {
        self.kinds[kind as usize] += 1;
    }

    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize]
    }

    pub(crate) fn edge(&mut self, from: NodeState, to: NodeState) {
        self.edges[index_of(from)][index_of(to)] += 1;
    }

    pub(crate) fn edges_count(&self, from: NodeState, to: NodeState) -> u64 {
        self.edges[index_of(from)][index_of(to)]
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.kinds.iter_mut().zip(&other.kinds) {
            *sum += count;
        }
        for (sums, counts) in self.edges.iter_mut().zip(&other.edges) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        self.frames += other.frames;
        self.events += other.events;
        self.listings += other.listings;
    }

    /// A table for people.
    pub(crate) fn report(&self) -> String {
        let mut text =
            format!("{} frames, {} events, {} listings\n", self.frames, self.events, self.listings);
        for kind in Kind::ALL {
            text.push_str(&format!("{:>12}  {kind:?}\n", self.count(*kind)));
        }
        for from in NodeState::ALL {
            for to in NodeState::ALL {
                let count = self.edges_count(from, to);
                if count > 0 {
                    text.push_str(&format!("{count:>12}  {} -> {}\n", from.name(), to.name()));
                }
            }
        }
        text
    }
}

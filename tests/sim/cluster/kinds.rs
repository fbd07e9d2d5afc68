//! What runs of whole clusters really met: faults, calls, outcomes.
//! Owns: [`Happening`], [`Tally`]. Called by: every part of the cluster's simulation; summed over seeds by the tests.
//! Does not: judge a run. Invariant: a happening is counted where it takes effect, not where it is planned.

macro_rules! happenings {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// Something that can happen to a cluster that runs applications.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Happening { $($(#[doc = $doc])* $name),* }

        impl Happening {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

happenings! {
    // Paths:
    MasterStreamCut, NodeStreamCut, ClientStreamCut, PushLost,
    /// A frame of a stream that is gone is read after its successor's.
    LateFromOldStream,
    /// An answer or push for a stream that is gone.
    AnswerToOldStream,
    // Nodes and ApplicationMasters:
    NodeKilled, NodePaused, MasterVanished, MasterCrashed, MasterLaunched, MasterExpired, SecondAttempt,
    ContainersKept,
    // Asks:
    Granted, GrantPushed, GrantVoided, EventRepeated, EventGap, ContainerLost, ContainerReleased, Reserved,
    // Clients and administrators:
    Killed, AttemptFailed, Moved, Resubmitted, PriorityUpdated, TimeoutUpdated, Signalled, Queried, ForeignFrame,
    LabelsAdded, LabelsReplaced, LabelsRemoved, CapacityUpdated, QueuesReplaced, QueueStopped, Busy,
    Decommissioned, Blacklisted, KilledFinishing,
    /// A stranger is refused, or shown what everybody may see.
    Denied, Sanitised,
    /// Granted on a node with the label that was asked for, and on one with a shared label that was not.
    GrantedOnLabel, GrantedAsGuest,
    /// The user limit was known at the moment of a grant; and was passed by it.
    UserLimitJudged, UserLimitPassed,
    /// Something was pending at a quiet moment, no limit was in its way, and every node was looked at for it; the same of
    /// an ApplicationMaster's container; and while a user limit, or a queue's bound, kept back something else in the label.
    PendingJudged, MasterJudged, JudgedBesideUserLimit, JudgedBesideQueue,
    /// What was in the way of something pending at a quiet moment: its user's limit, or a queue's bound.
    KeptByUserLimit, KeptByQueue,
    /// A cluster in which a user limit was passed, and then in the way of something.
    LimitedUsers,
    /// It is too large for its queue or every node, and nobody waits for it.
    PassedOver,
    // The state store:
    StoreSlow, StoreFailed,
    // Ends:
    Finished, Failed, KilledEnd, Evicted,
}

/// How often each was met.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    counts: Vec<u64>,
    pub(crate) steps: u64,
    pub(crate) virtual_us: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: vec![0; Happening::ALL.len()], steps: 0, virtual_us: 0 }
    }
}

impl Tally {
    pub(crate) fn hit(&mut self, happening: Happening) {
        self.add(happening, 1);
    }

    pub(crate) fn add(&mut self, happening: Happening, count: u64) {
        self.counts[happening as usize] += count;
    }

    pub(crate) fn count(&self, happening: Happening) -> u64 {
        self.counts[happening as usize]
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.steps += other.steps;
        self.virtual_us += other.virtual_us;
    }

    /// A table for people.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("{} steps, {} s of virtual time\n", self.steps, self.virtual_us / 1_000_000);
        for happening in Happening::ALL {
            text.push_str(&format!("{:>12}  {happening:?}\n", self.count(*happening)));
        }
        text
    }
}

//! What happened to the simulated ApplicationMasters of a thread.
//! Owner: [`AmFleet`](super::AmFleet). Called by: it counts, the driver reads at the end.
//! Does not: judge; the report does. Invariant: every field is only ever added to.

use std::collections::BTreeMap;

/// Texts of rejects kept for the report.
const TEXTS_MAX: usize = 8;

/// What happened, summed over the ApplicationMasters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AmCounters {
    /// Launched by a node.
    pub launched: u64,
    /// Registrations accepted, again after a restart too.
    pub registered: u64,
    /// Told that they are unregistered.
    pub unregistered: u64,
    /// Killed with their container, or told that their attempt is gone.
    pub killed: u64,
    /// Allocate calls sent for the first time.
    pub allocates_sent: u64,
    /// Allocate calls answered, each once.
    pub allocates_answered: u64,
    /// Calls whose time passed while an earlier one waited; they were not sent.
    pub allocates_skipped: u64,
    /// Requests repeated because no answer came in time, on a connection that was there.
    pub timeouts: u64,
    /// Requests repeated, for any cause.
    pub retries: u64,
    /// Frames pushed.
    pub pushes: u64,
    /// Grants taken in.
    pub grants: u64,
    /// Of them in pushes.
    pub grants_pushed: u64,
    /// Grants dropped because the request that was out took them back.
    pub voided: u64,
    /// Grants of what was not wanted any more when they came; released.
    pub unwanted: u64,
    /// Grants beyond what was ever asked for.
    pub over_granted: u64,
    /// Containers granted twice or ended twice, under numbers of their own.
    pub duplicated: u64,
    /// Grants whose numbers were left out, and containers that nodes were told to forget before their ApplicationMaster was
    /// told that they ended.
    pub lost: u64,
    /// Frames passed over because events before theirs had not come.
    pub gaps: u64,
    /// Events that came again, by push and by answer; dropped by their numbers.
    pub repeated: u64,
    /// Containers told to have ended.
    pub completed: u64,
    /// Of them not by themselves: lost nodes, preemption, kills.
    pub aborted: u64,
    /// Containers released.
    pub released: u64,
    /// Ends of containers the ApplicationMaster never had.
    pub unknown_completions: u64,
    /// Answers with an id or a key that fits nothing that was asked.
    pub wrong_ids: u64,
    /// Frames that nobody expects, or that cannot be read.
    pub unexpected: u64,
    /// Rejects by code.
    pub rejects: BTreeMap<u16, u64>,
    /// The first few texts that came with them.
    pub texts: Vec<String>,
}

impl AmCounters {
    /// All rejects.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejects.values().sum()
    }

    pub(super) fn note(&mut self, text: &str) {
        if self.texts.len() < TEXTS_MAX && !text.is_empty() && !self.texts.iter().any(|known| known == text) {
            self.texts.push(text.chars().take(400).collect());
        }
    }

    /// Adds another thread's counters.
    pub fn merge(&mut self, other: &Self) {
        macro_rules! add {
            ($($field:ident),*) => { $( self.$field += other.$field; )* };
        }
        add!(
            launched,
            registered,
            unregistered,
            killed,
            allocates_sent,
            allocates_answered,
            allocates_skipped,
            timeouts,
            retries,
            pushes,
            grants,
            grants_pushed,
            voided,
            unwanted,
            over_granted,
            duplicated,
            lost,
            gaps,
            repeated,
            completed,
            aborted,
            released,
            unknown_completions,
            wrong_ids,
            unexpected
        );
        for (code, count) in &other.rejects {
            *self.rejects.entry(*code).or_default() += count;
        }
        other.texts.iter().for_each(|text| self.note(text));
    }
}

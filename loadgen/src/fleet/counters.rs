//! What happened to a fleet, in numbers.
//! Owns: [`FleetCounters`]. Called by: the fleet (counts), the driver (sums over threads), reports.
//! Does not: judge. Thread: the fleet's. Invariants: counts only grow; texts are few and short.

use std::collections::BTreeMap;

/// Texts of rejects kept for the report.
const TEXTS_MAX: usize = 8;

/// What happened, summed over the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetCounters {
    /// Registrations sent, with repeats.
    pub registrations_sent: u64,
    /// Registrations accepted.
    pub registrations: u64,
    /// Beats sent for the first time.
    pub beats_sent: u64,
    /// Beats answered NORMAL, each once.
    pub beats_answered: u64,
    /// Beats whose time passed while an earlier one waited for its answer; they were not sent.
    pub beats_skipped: u64,
    /// Requests repeated, for any cause.
    pub retries: u64,
    /// Requests repeated because no answer came in time, on a connection that was there.
    pub timeouts: u64,
    /// Copies sent on purpose, and those of them answered like the original.
    pub copies_sent: u64,
    /// Copies answered with the original's answer.
    pub copies_answered: u64,
    /// Stale beats sent on purpose.
    pub stale_sent: u64,
    /// Stale beats told RESYNC, as they must be.
    pub stale_refused: u64,
    /// Answers to a beat that was already answered.
    pub duplicate_answers: u64,
    /// Answers with an id or a key that fits nothing that was asked.
    pub wrong_ids: u64,
    /// Frames that are no answer a NodeManager expects, or cannot be read.
    pub unexpected: u64,
    /// RESYNC, all causes.
    pub resyncs: u64,
    /// RESYNC for nodes that beat in time at a ResourceManager that was not restarted.
    pub false_losses: u64,
    /// SHUTDOWN.
    pub shutdowns: u64,
    /// Nodes that died by script, each once.
    pub killed: u64,
    /// Leases that ran out.
    pub fences: u64,
    /// Pushed answers taken in.
    pub pushes: u64,
    /// Full reports asked for.
    pub full_reports: u64,
    /// Containers started.
    pub containers_started: u64,
    /// Containers ended, any cause.
    pub containers_completed: u64,
    /// Completed containers the ResourceManager named for removal.
    pub containers_removed: u64,
    /// ApplicationMasters started.
    pub masters_launched: u64,
    /// Tokens of containers checked: of every ApplicationMaster, and of some others.
    pub tokens_checked: u64,
    /// Of them wrong; what they were for was not started.
    pub tokens_wrong: u64,
    /// Containers not started because their grant was too old.
    pub starts_late: u64,
    /// Containers not started because their node was down.
    pub starts_refused: u64,
    /// Rejects by code.
    pub rejects: BTreeMap<u16, u64>,
    /// The first few texts that came with rejects, SHUTDOWN and RESYNC.
    pub texts: Vec<String>,
}

impl FleetCounters {
    /// All rejects.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejects.values().sum()
    }

    /// Keeps a text, if there is room and it is a new one.
    pub(super) fn note(&mut self, text: &str) {
        if self.texts.len() < TEXTS_MAX && !text.is_empty() && !self.texts.iter().any(|known| known == text) {
            self.texts.push(text.chars().take(400).collect());
        }
    }

    /// Adds another fleet's counters.
    pub fn merge(&mut self, other: &Self) {
        macro_rules! add {
            ($($field:ident),*) => { $( self.$field += other.$field; )* };
        }
        add!(
            registrations_sent,
            registrations,
            beats_sent,
            beats_answered,
            beats_skipped,
            retries,
            timeouts,
            copies_sent,
            copies_answered,
            stale_sent,
            stale_refused,
            duplicate_answers,
            wrong_ids,
            unexpected,
            resyncs,
            false_losses,
            shutdowns,
            killed,
            fences,
            pushes,
            full_reports,
            containers_started,
            containers_completed,
            containers_removed,
            masters_launched,
            tokens_checked,
            tokens_wrong,
            starts_late,
            starts_refused
        );
        for (code, count) in &other.rejects {
            *self.rejects.entry(*code).or_default() += count;
        }
        other.texts.iter().for_each(|text| self.note(text));
    }
}

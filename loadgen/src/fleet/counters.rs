//! What happened to a fleet, in numbers.
//! Owns: [`FleetCounters`]. Called by: the fleet (counts), the driver (sums over threads), reports.
//! Does not: judge. Thread: the fleet's. Invariant: counts only grow.

use crate::counters::counters;

counters! {
    /// What happened, summed over the fleet.
    pub struct FleetCounters {
        /// Registrations sent, with repeats.
        pub registrations_sent,
        /// Registrations accepted.
        pub registrations,
        /// Beats sent for the first time.
        pub beats_sent,
        /// Beats answered NORMAL, each once.
        pub beats_answered,
        /// Beats whose time passed while an earlier one waited for its answer; they were not sent.
        pub beats_skipped,
        /// Requests repeated, for any cause.
        pub retries,
        /// Requests repeated because no answer came in time, on a connection that was there.
        pub timeouts,
        /// Copies sent on purpose, and those of them answered like the original.
        pub copies_sent,
        /// Copies answered with the original's answer.
        pub copies_answered,
        /// Stale beats sent on purpose.
        pub stale_sent,
        /// Stale beats told RESYNC, as they must be.
        pub stale_refused,
        /// Answers to a beat that was already answered.
        pub duplicate_answers,
        /// Answers with an id or a key that fits nothing that was asked.
        pub wrong_ids,
        /// Frames that are no answer a NodeManager expects, or cannot be read.
        pub unexpected,
        /// RESYNC, all causes.
        pub resyncs,
        /// RESYNC for nodes that beat in time at a ResourceManager that was not restarted.
        pub false_losses,
        /// SHUTDOWN.
        pub shutdowns,
        /// Nodes that died by script, each once.
        pub killed,
        /// Leases that ran out.
        pub fences,
        /// Pushed answers taken in.
        pub pushes,
        /// Full reports asked for.
        pub full_reports,
        /// Containers started.
        pub containers_started,
        /// Containers ended, any cause.
        pub containers_completed,
        /// Completed containers the ResourceManager named for removal.
        pub containers_removed,
        /// ApplicationMasters started.
        pub masters_launched,
        /// Tokens of containers checked: of every ApplicationMaster, and of some others.
        pub tokens_checked,
        /// Of them wrong; what they were for was not started.
        pub tokens_wrong,
        /// Of them signed with nothing, for a node that was gone when its grant was sent again; not started either.
        pub tokens_missing,
        /// Containers not started because their grant was too old.
        pub starts_late,
        /// Containers not started because their node was down.
        pub starts_refused,
    }
}

//! What happened to the simulated ApplicationMasters of a thread.
//! Owner: [`AmFleet`](super::AmFleet). Called by: it counts, the driver reads at the end.
//! Does not: judge; the report does. Invariant: every field is only ever added to.

use crate::counters::counters;

counters! {
    /// What happened, summed over the ApplicationMasters.
    pub struct AmCounters {
        /// Launched by a node.
        pub launched,
        /// Registrations accepted, again after a restart too.
        pub registered,
        /// Told that they are unregistered.
        pub unregistered,
        /// Killed with their container, or told that their attempt is gone.
        pub killed,
        /// Allocate calls sent for the first time.
        pub allocates_sent,
        /// Allocate calls answered, each once.
        pub allocates_answered,
        /// Calls whose time passed while an earlier one waited; they were not sent.
        pub allocates_skipped,
        /// Requests repeated because no answer came in time, on a connection that was there.
        pub timeouts,
        /// Requests repeated, for any cause.
        pub retries,
        /// Frames pushed.
        pub pushes,
        /// Grants taken in.
        pub grants,
        /// Of them in pushes.
        pub grants_pushed,
        /// Grants dropped because the request that was out took them back.
        pub voided,
        /// Grants of what was not wanted any more when they came; released.
        pub unwanted,
        /// Grants beyond what was ever asked for.
        pub over_granted,
        /// Containers granted twice or ended twice, under numbers of their own.
        pub duplicated,
        /// Grants whose numbers were left out, and containers that nodes were told to forget before their ApplicationMaster was
        /// told that they ended.
        pub lost,
        /// Frames passed over because events before theirs had not come.
        pub gaps,
        /// Events that came again, by push and by answer; dropped by their numbers.
        pub repeated,
        /// Containers told to have ended.
        pub completed,
        /// Of them not by themselves: lost nodes, preemption, kills.
        pub aborted,
        /// Containers released.
        pub released,
        /// Ends of containers the ApplicationMaster never had.
        pub unknown_completions,
        /// Answers with an id or a key that fits nothing that was asked.
        pub wrong_ids,
        /// Frames that nobody expects, or that cannot be read.
        pub unexpected,
    }
}

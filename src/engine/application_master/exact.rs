//! Exact asks: how many containers of a key are outstanding, when grants are on their way that its ApplicationMaster has
//! not seen.
//! Owns: [`KeyCounts`], the counts of one session's keys. Called by: `allocate`, `event_log`'s users, on the scheduler's
//! thread. Does not: place anything, or know where containers are.
//!
//! An ask says how many containers are wanted and how many grants of its key its sender has seen: together the target.
//! Grants beyond the target are void, the latest first; what is missing to the target is outstanding. Without the number
//! of grants seen the count is outstanding as it stands, as in YARN, and what is on its way comes on top.
//!
//! Invariants: grants of a key are numbered from 1 without gaps, void ones give their number back; a key that is at rest
//! (nothing outstanding, nothing unseen) may be forgotten, because its next ask then tells the number it stands at.

use std::collections::BTreeMap;

use crate::engine::scheduler::face::SchedulerKey;

/// Most keys of one session that are not at rest. Ask for 16,384 priorities at once, and you have a queue of your own.
pub(super) const KEYS_MAX: usize = 16_384;

/// Keys after which those at rest are looked for, to begin with.
const SWEEP_FROM: usize = 1_024;

/// How far a key has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyCount {
    /// Number of the last grant that was sent.
    pub(super) sent: u64,
    /// Grants that were not sent yet.
    pub(super) unsent: u32,
    /// Number of the last grant that was taken in.
    pub(super) seen: u64,
}

impl KeyCount {
    /// Grants made, void ones not counted.
    pub(super) const fn granted(&self) -> u64 {
        self.sent + self.unsent as u64
    }

    const fn has_unseen(&self) -> bool {
        self.unsent > 0 || self.sent > self.seen
    }
}

/// What follows from an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// To be placed from now on.
    pub(super) outstanding: u32,
    /// Grants to be taken back, the latest first.
    pub(super) surplus: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct KeyCounts {
    keys: BTreeMap<SchedulerKey, KeyCount>,
    /// Beyond so many keys those at rest are looked for.
    sweep_at: usize,
}

impl Default for KeyCounts {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), sweep_at: SWEEP_FROM }
    }
}

impl KeyCounts {
    pub(super) fn entry(&mut self, key: SchedulerKey) -> &mut KeyCount {
        self.keys.entry(key).or_default()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = SchedulerKey> + '_ {
        self.keys.keys().copied()
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.sweep_at = SWEEP_FROM;
    }

    /// How many keys there would be with `more`. Forgets keys at rest when there are many.
    pub(super) fn with_more(&mut self, more: usize, outstanding: impl Fn(SchedulerKey) -> u32) -> usize {
        let wanted = self.keys.len() + more;
        if wanted > self.sweep_at.min(KEYS_MAX) {
            self.keys.retain(|key, count| count.has_unseen() || outstanding(*key) > 0);
            self.sweep_at = (2 * self.keys.len()).max(SWEEP_FROM);
        }
        self.keys.len() + more
    }

    /// The number of grants seen that an ask may name at most; `None` = any, the key is not known.
    pub(super) fn seen_max(&self, key: SchedulerKey) -> Option<u64> {
        self.keys.get(&key).map(|count| count.sent)
    }

    /// What an ask at any place comes to. The surplus is taken off the counts by [`KeyCounts::void`].
    pub(super) fn resolve(&mut self, key: SchedulerKey, wanted: u32, seen: Option<u64>) -> Resolved {
        let Some(seen) = seen else {
            self.entry(key);
            return Resolved { outstanding: wanted, surplus: 0 };
        };
        let count = *self.keys.entry(key).or_insert(KeyCount { sent: seen, unsent: 0, seen });
        let target = seen.saturating_add(u64::from(wanted));
        // What was taken in cannot be taken back, whatever the ask says it has seen.
        let surplus = count.granted().saturating_sub(target.max(count.seen));
        let missing = target.saturating_sub(count.granted() - surplus);
        Resolved { outstanding: u32::try_from(missing).unwrap_or(u32::MAX), surplus }
    }

    /// `count` grants were taken back, `unsent` of which had not been sent.
    pub(super) fn void(&mut self, key: SchedulerKey, count: u64, unsent: u32) {
        let entry = self.entry(key);
        entry.unsent = entry.unsent.saturating_sub(unsent);
        entry.sent = entry.sent.saturating_sub(count - u64::from(unsent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SchedulerKey = SchedulerKey { priority: 1, allocation_request_id: -1 };

    fn counts(sent: u64, unsent: u32, seen: u64) -> KeyCounts {
        let mut counts = KeyCounts::default();
        *counts.entry(KEY) = KeyCount { sent, unsent, seen };
        counts
    }

    #[test]
    fn an_ask_counts_from_what_its_sender_has_seen() {
        let resolved = |counts: &mut KeyCounts, wanted, seen| {
            let Resolved { outstanding, surplus } = counts.resolve(KEY, wanted, seen);
            (outstanding, surplus)
        };
        assert_eq!(resolved(&mut counts(3, 2, 1), 10, Some(1)), (6, 0));
        assert_eq!(resolved(&mut counts(3, 2, 1), 3, Some(1)), (0, 1));
        assert_eq!(resolved(&mut counts(3, 2, 1), 0, Some(1)), (0, 4));
        assert_eq!(resolved(&mut counts(3, 2, 3), 0, Some(1)), (0, 2), "taken in is taken in");
        assert_eq!(resolved(&mut counts(3, 2, 1), 4, None), (4, 0), "YARN's count");
        assert_eq!(resolved(&mut KeyCounts::default(), 4, Some(7)), (4, 0), "a key that was at rest");
        assert_eq!(resolved(&mut counts(0, 0, 0), u32::MAX, Some(u64::MAX)), (u32::MAX, 0));
    }

    #[test]
    fn void_grants_give_their_numbers_back() {
        let mut counts = counts(5, 2, 2);
        counts.void(KEY, 4, 2);
        assert_eq!(counts.keys.get(&KEY), Some(&KeyCount { sent: 3, unsent: 0, seen: 2 }));
    }

    #[test]
    fn keys_at_rest_are_forgotten_when_there_are_many() {
        let mut counts = KeyCounts::default();
        for priority in 0..1_024 {
            *counts.entry(SchedulerKey { priority, ..KEY }) = KeyCount { sent: 9, unsent: 0, seen: 9 };
        }
        counts.entry(SchedulerKey { priority: 7, ..KEY }).unsent = 1;
        assert_eq!(counts.with_more(1, |key| u32::from(key.priority == 8)), 3);
        assert_eq!(counts.keys().map(|key| key.priority).collect::<Vec<_>>(), [7, 8]);
    }
}

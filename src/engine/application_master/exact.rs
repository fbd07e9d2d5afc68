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
    /// Of a key that is not known: it stands where its ask says.
    fn at_rest(seen: Option<u64>) -> Self {
        let seen = seen.unwrap_or(0);
        Self { sent: seen, unsent: 0, seen }
    }

    /// Grants made, void ones not counted.
    pub(super) const fn granted(&self) -> u64 {
        self.sent + self.unsent as u64
    }

    const fn has_unseen(&self) -> bool {
        self.unsent > 0 || self.sent > self.seen
    }

    /// What an ask at any place comes to.
    fn resolve(&self, wanted: u32, seen: Option<u64>) -> Resolved {
        let Some(seen) = seen else { return Resolved { outstanding: wanted, surplus: 0 } };
        let target = seen.saturating_add(u64::from(wanted));
        // What was taken in cannot be taken back, whatever the ask says it has seen.
        let surplus = self.granted().saturating_sub(target.max(self.seen));
        let missing = target.saturating_sub(self.granted() - surplus);
        Resolved { outstanding: u32::try_from(missing).unwrap_or(u32::MAX), surplus }
    }
}

/// What a call wants of a key at any place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) key: SchedulerKey,
    pub(super) count: u32,
    /// Grants its sender says it has seen.
    pub(super) seen: Option<u64>,
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

    /// How many keys will not be at rest after a call that names each key of `call` once; where that is far from the bound,
    /// something more. Forgets keys at rest when there are many.
    pub(super) fn after(
        &mut self,
        call: impl Iterator<Item = Wanted> + Clone,
        outstanding: impl Fn(SchedulerKey) -> u32,
    ) -> usize {
        let new = call.clone().filter(|wanted| !self.keys.contains_key(&wanted.key)).count();
        if self.keys.len() + new <= self.sweep_at.min(KEYS_MAX) {
            return self.keys.len() + new;
        }
        self.keys.retain(|key, count| count.has_unseen() || outstanding(*key) > 0);
        self.sweep_at = (2 * self.keys.len()).max(SWEEP_FROM);
        call.fold(self.keys.len(), |keys, Wanted { key, count, seen }| {
            let known = self.keys.get(&key).copied();
            let state = known.unwrap_or_else(|| KeyCount::at_rest(seen));
            let Resolved { outstanding, surplus } = state.resolve(count, seen);
            let stays = outstanding > 0 || state.granted() - surplus > state.seen;
            keys + usize::from(stays) - usize::from(known.is_some())
        })
    }

    /// The number of grants seen that an ask may name at most; `None` = any, the key is not known.
    pub(super) fn seen_max(&self, key: SchedulerKey) -> Option<u64> {
        self.keys.get(&key).map(|count| count.sent)
    }

    /// What an ask at any place comes to. The surplus is taken off the counts by [`KeyCounts::void`].
    pub(super) fn resolve(&mut self, key: SchedulerKey, wanted: u32, seen: Option<u64>) -> Resolved {
        self.keys.entry(key).or_insert_with(|| KeyCount::at_rest(seen)).resolve(wanted, seen)
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
        let new = Wanted { key: SchedulerKey { priority: 1_024, ..KEY }, count: 1, seen: None };
        assert_eq!(counts.after([new].into_iter(), |key| u32::from(key.priority == 8)), 3);
        assert_eq!(counts.keys().map(|key| key.priority).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn near_the_bound_what_a_call_ends_makes_room_for_what_it_begins() {
        let mut counts = KeyCounts::default();
        let key = |priority| SchedulerKey { priority, ..KEY };
        for priority in 0..KEYS_MAX as i32 {
            *counts.entry(key(priority)) = KeyCount { sent: 9, unsent: 0, seen: 9 };
        }
        *counts.entry(key(0)) = KeyCount { sent: 9, unsent: 2, seen: 8 };
        let mut after = |call: &[(i32, u32, Option<u64>)]| {
            let wanted = |(priority, count, seen): &(i32, u32, _)| Wanted {
                key: key(*priority),
                count: *count,
                seen: *seen,
            };
            counts.after(call.iter().map(wanted), |_| 1)
        };
        let new = KEYS_MAX as i32;
        assert_eq!(after(&[(new, 1, None)]), KEYS_MAX + 1);
        assert_eq!(after(&[(new, 0, None), (new + 1, 0, Some(7))]), KEYS_MAX, "nothing is wanted of them");
        assert_eq!(after(&[(new, 1, Some(7)), (1, 0, Some(9)), (2, 0, None)]), KEYS_MAX - 1);
        assert_eq!(after(&[(new, 1, None), (1, 3, Some(9))]), KEYS_MAX + 1, "that one goes on");
        // Three are on their way to the first: told of none it keeps them, else they are taken back.
        assert_eq!(after(&[(new, 1, None), (0, 0, None)]), KEYS_MAX + 1);
        assert_eq!(after(&[(new, 1, None), (0, 0, Some(8))]), KEYS_MAX);
        assert_eq!(after(&[(new, 1, None), (0, 0, Some(9))]), KEYS_MAX + 1, "one of them is kept");
    }
}

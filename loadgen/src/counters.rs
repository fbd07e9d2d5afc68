//! How simulated peers count: sums that every thread keeps of its own, and what they were refused with.
//! Owns: the macro `counters!`, by which a struct of sums is declared together with its merge, and [`Refusals`].
//! Called by: the fleet, the ApplicationMasters and the clients (count), the driver (adds up threads), reports.
//! Does not: judge. Thread: any. Invariants: every sum of a struct is in its merge; sums only grow; texts are few and short.

use std::collections::BTreeMap;

/// Texts kept for the report.
const TEXTS_MAX: usize = 8;

/// Longest text kept, characters.
const TEXT_MAX: usize = 400;

/// Rejects, and the first few texts that came with them or say what went wrong otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Rejects by code.
    pub by_code: BTreeMap<u16, u64>,
    /// Texts, each once.
    pub texts: Vec<String>,
}

impl Refusals {
    /// All rejects.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_code.values().sum()
    }

    /// Counts a reject.
    pub(crate) fn count(&mut self, code: u16, text: &str) {
        *self.by_code.entry(code).or_default() += 1;
        self.note(text);
    }

    /// Keeps a text, if there is room and it is a new one.
    pub(crate) fn note(&mut self, text: &str) {
        if self.texts.len() < TEXTS_MAX && !text.is_empty() && !self.texts.iter().any(|known| known == text) {
            self.texts.push(text.chars().take(TEXT_MAX).collect());
        }
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        for (code, count) in &other.by_code {
            *self.by_code.entry(*code).or_default() += count;
        }
        other.texts.iter().for_each(|text| self.note(text));
    }
}

/// Declares a struct of sums with [`Refusals`] beside them, and `merge`, which adds another thread's.
macro_rules! counters {
    ($(#[$of_struct:meta])* pub struct $name:ident { $($(#[$of_field:meta])* pub $field:ident,)* }) => {
        $(#[$of_struct])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$of_field])* pub $field: u64,)*
            /// Rejects, and the first few texts.
            pub refusals: $crate::counters::Refusals,
        }

        impl $name {
            /// Adds another thread's counters.
            pub fn merge(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
                self.refusals.merge(&other.refusals);
            }
        }
    };
}

pub(crate) use counters;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetCounters;

    #[test]
    fn threads_are_added_up_and_texts_stay_few() {
        let mut sum = FleetCounters { registrations: 1, ..FleetCounters::default() };
        for thread in 0..3 {
            let mut of = FleetCounters { registrations: 10, killed: thread, ..FleetCounters::default() };
            of.refusals.count(7, "the same everywhere");
            (0..5).for_each(|nth| of.refusals.note(&format!("{thread} {nth}")));
            of.refusals.note("");
            sum.merge(&of);
        }
        assert_eq!((sum.registrations, sum.killed, sum.refusals.total()), (31, 3, 3));
        assert_eq!(sum.refusals.by_code, BTreeMap::from([(7, 3)]));
        assert_eq!(sum.refusals.texts.len(), TEXTS_MAX);
        assert_eq!(sum.refusals.texts.iter().filter(|text| text.contains("same")).count(), 1);
    }
}

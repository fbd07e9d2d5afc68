//! What waits when a simulation ends, and why: counted from the scheduler's own explanations.
//! Owns: [`Waiting`]. Called by: [`World`](super::World) at the end, and by reports. Does not: find reasons.
//! Invariants: every application that has not ended is counted once for each reason it has; reasons are those of
//! `heddle application explain`.

use std::collections::BTreeMap;
use std::fmt;

use heddle_wire::application_client::ExplainApplicationResponse;
use serde::{Deserialize, Serialize};

/// Applications and containers that wait for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The reason, as it is called by `ExplainApplication`.
    pub reason: String,
    /// Applications.
    pub applications: u64,
    /// Containers they want.
    pub containers: u64,
    /// The first one's words, with numbers.
    pub example: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, applications, containers, example } = self;
        write!(formatter, "{applications} applications wait for {containers} containers: {reason}")?;
        if example.is_empty() { Ok(()) } else { write!(formatter, " (for example {example})") }
    }
}

/// Counts explanations.
#[derive(Debug, Default)]
pub(super) struct Reasons(BTreeMap<String, Waiting>);

impl Reasons {
    pub(super) fn count(&mut self, explanation: &ExplainApplicationResponse) {
        for count in &explanation.summary {
            let example = explanation.pending.iter().find(|ask| ask.reason == count.reason);
            let inactive = explanation.application_reason.as_deref();
            let text = example.map(|ask| ask.text.as_str()).or(inactive).unwrap_or_default();
            self.add(&format!("{:?}", count.reason), count.containers, text);
        }
        if explanation.summary.is_empty() {
            match &explanation.application_reason {
                Some(text) => self.add("ApplicationNotActive", 0, text),
                None => self.add("nothing is asked for", 0, ""),
            }
        }
    }

    /// One the scheduler does not know.
    pub(super) fn count_unknown(&mut self) {
        self.add("not admitted", 0, "");
    }

    fn add(&mut self, reason: &str, containers: u64, example: &str) {
        let waiting = self
            .0
            .entry(reason.to_owned())
            .or_insert_with(|| Waiting { reason: reason.to_owned(), ..Waiting::default() });
        waiting.applications += 1;
        waiting.containers += containers;
        if waiting.example.is_empty() {
            example.clone_into(&mut waiting.example);
        }
    }

    /// Most containers first.
    pub(super) fn into_list(self) -> Vec<Waiting> {
        let mut list: Vec<Waiting> = self.0.into_values().collect();
        list.sort_by(|left, right| {
            let key = |waiting: &Waiting| (waiting.containers, waiting.applications);
            key(right).cmp(&key(left)).then_with(|| left.reason.cmp(&right.reason))
        });
        list
    }
}

//! One application, as the application manager keeps it.
//! Owns: [`RmApp`] with its attempts; the retry rule; what is shown and stored of it. Called by: `lifecycle`, `client`,
//! `report`, on the application manager's thread.
//! Does not: decide transitions (`rm_app_state`), send messages.
//! Invariants: attempts are in the order of their ids, the last is the current one; the launch context is dropped with the
//! final state.

use std::collections::BTreeMap;

use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, FinalApplicationStatus, YarnApplicationState,
};

use super::diagnostics::Diagnostics;
use super::message::{ApplicationRecord, ApplicationStateRecord, Submission};
use super::rm_app_attempt::{RmAppAttempt, exit};
use super::rm_app_state::{FinalTarget, RmAppState};
use crate::engine::scheduler::message::Usage;
use crate::engine::time::Instant;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct RmApp {
    pub(super) submission: Submission,
    pub(super) state: RmAppState,
    /// The state before FINAL_SAVING or KILLING.
    pub(super) before: RmAppState,
    /// Counts in FINAL_SAVING.
    pub(super) target: FinalTarget,
    /// The queue: as asked for, from ACCEPTED on its full path.
    pub(super) queue: Box<str>,
    /// Settled here: at submission, and where a client changes it.
    pub(super) priority: i32,
    pub(super) submit_time_ms: u64,
    pub(super) start_time_ms: u64,
    /// 0 = not yet.
    pub(super) launch_time_ms: u64,
    /// 0 = not yet. Fixed when the write of the final state begins.
    pub(super) finish_time_ms: u64,
    pub(super) diagnostics: Diagnostics,
    pub(super) attempts: Vec<RmAppAttempt>,
    pub(super) next_attempt: u32,
    /// Attempts it may have.
    pub(super) max_attempts: u32,
    /// The scheduler knows it.
    pub(super) is_in_scheduler: bool,
    /// Attempts whose removal the scheduler has not answered yet.
    pub(super) removals_pending: u32,
    /// The failed attempt's containers stay for the next.
    pub(super) transfers: bool,
    /// When its lifetime ends, milliseconds since 1970.
    pub(super) expires_at_ms: Option<u64>,
    /// The timer of that.
    pub(super) lifetime_deadline: Option<Instant>,
    /// Hosts its AMs are kept from.
    pub(super) am_blacklist: Vec<Box<str>>,
    /// Used by attempts that were removed.
    pub(super) used: UsageTotals,
    /// AM containers that were preempted.
    pub(super) preempted_am_containers: u32,
    /// A change of queue, priority or lifetime is under way: another waits its turn at the client.
    pub(super) is_changing: bool,
    /// It counts as completed: summary, audit line and caps are done.
    pub(super) is_completed: bool,
}

/// Sums over attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct UsageTotals {
    pub(super) resource_seconds: BTreeMap<Box<str>, u64>,
    pub(super) preempted_resource_seconds: BTreeMap<Box<str>, u64>,
    pub(super) containers_allocated: u64,
}

impl UsageTotals {
    pub(super) fn add(&mut self, usage: &Usage) {
        for (name, seconds) in &usage.resource_seconds {
            let sum = self.resource_seconds.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*seconds);
        }
        for (name, seconds) in &usage.preempted_resource_seconds {
            let sum = self.preempted_resource_seconds.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*seconds);
        }
        self.containers_allocated = self.containers_allocated.saturating_add(usage.containers_allocated);
    }
}

impl RmApp {
    pub(super) fn new(submission: Submission, now_ms: u64, max_attempts: u32) -> Self {
        Self {
            queue: submission.queue.clone(),
            priority: submission.priority,
            submission,
            state: RmAppState::New,
            before: RmAppState::New,
            target: FinalTarget::Failed,
            submit_time_ms: now_ms,
            start_time_ms: now_ms,
            launch_time_ms: 0,
            finish_time_ms: 0,
            diagnostics: Diagnostics::default(),
            attempts: Vec::new(),
            next_attempt: 1,
            max_attempts,
            is_in_scheduler: false,
            removals_pending: 0,
            transfers: false,
            expires_at_ms: None,
            lifetime_deadline: None,
            am_blacklist: Vec::new(),
            used: UsageTotals::default(),
            preempted_am_containers: 0,
            is_changing: false,
            is_completed: false,
        }
    }

    pub(super) const fn id(&self) -> ApplicationId {
        self.submission.application_id
    }

    /// What clients see.
    pub(super) const fn public_state(&self) -> YarnApplicationState {
        self.state.public(self.before)
    }

    /// The attempt under way, or the last one.
    pub(super) fn current_attempt(&self) -> Option<&RmAppAttempt> {
        self.attempts.last()
    }

    /// Where an attempt is among those that are kept.
    pub(super) fn attempt_index(&self, id: ApplicationAttemptId) -> Option<usize> {
        self.attempts.binary_search_by_key(&id.attempt_id, |attempt| attempt.id.attempt_id).ok()
    }

    /// Failures that count, of every attempt kept: the exit status says so, and it is not older than the interval.
    pub(super) fn failures(&self, now_ms: u64) -> usize {
        self.attempts.iter().filter(|attempt| self.is_failure(attempt, now_ms)).count()
    }

    /// Whether a failed attempt counts (still).
    pub(super) fn is_failure(&self, attempt: &RmAppAttempt, now_ms: u64) -> bool {
        let is_ended = attempt.finish_time_ms > 0;
        let is_recent = match self.submission.failures_validity_interval_ms {
            None | Some(0) => true,
            Some(interval) => attempt.finish_time_ms.saturating_add(interval) > now_ms,
        };
        is_ended && is_recent && attempt.counts()
    }

    /// The retry rule: whether another attempt may follow the failed one, which is among the attempts.
    pub(super) fn may_retry(&self, now_ms: u64) -> bool {
        !self.submission.is_unmanaged
            && self.max_attempts > 1
            && self.current_attempt().is_none_or(|attempt| !attempt.is_rejected)
            && self.failures(now_ms) < self.max_attempts as usize
    }

    /// The AM's word where there is one, else by the state.
    pub(super) fn final_status(&self) -> FinalApplicationStatus {
        if !self.state.is_final_stored() {
            return FinalApplicationStatus::Undefined;
        }
        let said = self.current_attempt().and_then(|attempt| attempt.final_status);
        match (self.state, said) {
            (RmAppState::Failed, _) => FinalApplicationStatus::Failed,
            (RmAppState::Killed, _) => FinalApplicationStatus::Killed,
            (_, Some(0)) => FinalApplicationStatus::Undefined,
            (_, Some(1)) => FinalApplicationStatus::Succeeded,
            (_, Some(3)) => FinalApplicationStatus::Killed,
            (_, Some(4)) => FinalApplicationStatus::Ended,
            (_, _) => FinalApplicationStatus::Failed,
        }
    }

    /// The part of its record that changes, as it is now; with `is_final` as FINAL_SAVING writes it.
    pub(super) fn state_record(&self, is_final: bool) -> ApplicationStateRecord {
        ApplicationStateRecord {
            application_id: self.id(),
            final_state: is_final.then(|| self.target.stored() as u8),
            queue: self.queue.clone(),
            priority: self.priority,
            expires_at_ms: self.expires_at_ms,
            submit_time_ms: self.submit_time_ms,
            start_time_ms: self.start_time_ms,
            launch_time_ms: self.launch_time_ms,
            finish_time_ms: self.finish_time_ms,
            diagnostics: self.diagnostics.as_str().into(),
        }
    }

    /// Its whole record.
    pub(super) fn record(&self) -> ApplicationRecord {
        ApplicationRecord { submission: self.submission.clone(), state: self.state_record(false) }
    }

    /// Remembers the end of the current attempt's AM container: whose fault, and which host to avoid.
    pub(super) fn note_am_exit(&mut self, index: usize, hosts_max: Option<u32>, host: &str) {
        let Some(attempt) = self.attempts.get(index) else { return };
        if attempt.am_exit_status == exit::PREEMPTED {
            self.preempted_am_containers = self.preempted_am_containers.saturating_add(1);
        }
        let Some(hosts_max) = hosts_max else { return };
        if host.is_empty() || !attempt.blames_node() || self.am_blacklist.iter().any(|known| **known == *host)
        {
            return;
        }
        // More hosts than that are the application's fault rather than theirs.
        if self.am_blacklist.len() >= hosts_max as usize {
            self.am_blacklist.clear();
        } else {
            self.am_blacklist.push(host.into());
        }
    }
}

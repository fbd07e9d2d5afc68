//! One attempt of an application, as the application manager keeps it.
//! Owns: [`RmAppAttempt`]. Called by: `rm_app`, `lifecycle`, `report`, on the application manager's thread.
//! Does not: decide transitions (`rm_app_attempt_state`), know sessions or containers besides the AM's.
//! Invariant: `finish_time_ms` is set when the final state is written, not when it is durable.

use heddle_wire::record::{ApplicationAttemptId, ContainerId, NodeId, YarnApplicationAttemptState};

use super::diagnostics::Diagnostics;
use super::message::AttemptRecord;
use super::rm_app_attempt_state::{AttemptTarget, RmAppAttemptState};
use crate::engine::scheduler::message::{Attempt, Usage};
use crate::engine::time::Instant;

/// Exit statuses of AM containers that are nobody's fault of the application's: YARN does not count them.
const NOT_COUNTED: [i32; 4] =
    [exit::PREEMPTED, exit::ABORTED, exit::DISKS_FAILED, exit::KILLED_BY_RESOURCEMANAGER];

/// Exit statuses, YARN's numbers.
pub(super) mod exit {
    pub(in crate::engine::application) const SUCCESS: i32 = 0;
    pub(in crate::engine::application) const INVALID: i32 = -1_000;
    pub(in crate::engine::application) const ABORTED: i32 = -100;
    pub(in crate::engine::application) const DISKS_FAILED: i32 = -101;
    pub(in crate::engine::application) const PREEMPTED: i32 = -102;
    pub(in crate::engine::application) const KILLED_EXCEEDED_VMEM: i32 = -103;
    pub(in crate::engine::application) const KILLED_EXCEEDED_PMEM: i32 = -104;
    pub(in crate::engine::application) const KILLED_BY_APPMASTER: i32 = -105;
    pub(in crate::engine::application) const KILLED_BY_RESOURCEMANAGER: i32 = -106;
    pub(in crate::engine::application) const KILLED_AFTER_APP_COMPLETION: i32 = -107;
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct RmAppAttempt {
    pub(super) id: ApplicationAttemptId,
    /// The routing key of its AM's frames, once the scheduler knows it.
    pub(super) handle: Option<Attempt>,
    pub(super) state: RmAppAttemptState,
    /// The state before FINAL_SAVING.
    pub(super) before: RmAppAttemptState,
    /// Counts in FINAL_SAVING.
    pub(super) target: AttemptTarget,
    pub(super) am_container: Option<ContainerId>,
    pub(super) node_id: Option<NodeId>,
    /// The AM container has ended, or never will have begun.
    pub(super) is_am_ended: bool,
    /// The scheduler did not take it, and would take no other.
    pub(super) is_rejected: bool,
    /// Empty where there is none.
    pub(super) host: Box<str>,
    /// −1 = none.
    pub(super) rpc_port: i32,
    /// As the AM gave it; empty = none.
    pub(super) original_tracking_url: Box<str>,
    /// It changed and was not written to the store yet.
    pub(super) has_new_tracking_url: bool,
    pub(super) progress: f32,
    pub(super) diagnostics: Diagnostics,
    /// What the AM said of its work: YARN's number of the final status. `None` = nothing.
    pub(super) final_status: Option<u8>,
    pub(super) am_exit_status: i32,
    pub(super) start_time_ms: u64,
    /// 0 = not yet.
    pub(super) finish_time_ms: u64,
    /// What it used, from its removal from the scheduler on.
    pub(super) usage: Option<Box<Usage>>,
    /// When an AM that finished and goes on is stopped.
    pub(super) finishing_deadline: Option<Instant>,
}

impl RmAppAttempt {
    pub(super) fn new(id: ApplicationAttemptId, start_time_ms: u64) -> Self {
        Self {
            id,
            handle: None,
            state: RmAppAttemptState::New,
            before: RmAppAttemptState::New,
            target: AttemptTarget::Failed,
            am_container: None,
            node_id: None,
            is_am_ended: false,
            is_rejected: false,
            host: Box::default(),
            rpc_port: -1,
            original_tracking_url: Box::default(),
            has_new_tracking_url: false,
            progress: 0.0,
            diagnostics: Diagnostics::default(),
            final_status: None,
            am_exit_status: exit::INVALID,
            start_time_ms,
            finish_time_ms: 0,
            usage: None,
            finishing_deadline: None,
        }
    }

    /// What clients see.
    pub(super) const fn public_state(&self) -> YarnApplicationAttemptState {
        self.state.public(self.before)
    }

    /// Whether its failure counts by its exit status.
    pub(super) fn counts(&self) -> bool {
        !NOT_COUNTED.contains(&self.am_exit_status)
    }

    /// Whether its failure points at its node: every exit but those that say whose fault it was.
    pub(super) const fn blames_node(&self) -> bool {
        !matches!(
            self.am_exit_status,
            exit::SUCCESS
                | exit::ABORTED
                | exit::DISKS_FAILED
                | exit::PREEMPTED
                | exit::KILLED_EXCEEDED_VMEM
                | exit::KILLED_EXCEEDED_PMEM
                | exit::KILLED_BY_APPMASTER
                | exit::KILLED_BY_RESOURCEMANAGER
                | exit::KILLED_AFTER_APP_COMPLETION
        )
    }

    /// As stored.
    pub(super) fn record(&self) -> AttemptRecord {
        let is_final = matches!(self.state, RmAppAttemptState::FinalSaving | RmAppAttemptState::Finishing)
            || self.state.is_terminal();
        let usage = self.usage.as_deref();
        AttemptRecord {
            attempt_id: self.id,
            am_container: self.am_container,
            final_state: is_final.then(|| self.target.stored() as u8),
            final_status: self.final_status.unwrap_or(0),
            am_exit_status: self.am_exit_status,
            tracking_url: self.original_tracking_url.clone(),
            diagnostics: self.diagnostics.as_str().into(),
            start_time_ms: self.start_time_ms,
            finish_time_ms: self.finish_time_ms,
            resource_seconds: usage.map_or_else(Vec::new, |usage| usage.resource_seconds.clone()),
            preempted_resource_seconds: usage
                .map_or_else(Vec::new, |usage| usage.preempted_resource_seconds.clone()),
            containers_allocated: usage.map_or(0, |usage| usage.containers_allocated),
        }
    }
}

//! What the application manager hears and says besides frames and the scheduler's messages: closed types.
//! Owns: [`StoreOperation`] and [`StoreEvent`] (state store), [`ApplicationCommand`] and [`ApplicationReply`]
//! (administration service), [`ApplicationOutput`], and the records that are stored. Called by: runtime, store, recorder,
//! simulator. Thread: any; plain values.
//! Does not: carry references. Invariant: what is stored is enough to build the application again.

use heddle_wire::Opcode;
use heddle_wire::record::{ApplicationAttemptId, ApplicationId, ContainerId};
use serde::{Deserialize, Serialize};

use super::settings::Groups;
use crate::engine::batch::{AnswerBatch, Caller};
use crate::engine::event::Resource;
use crate::engine::scheduler::message::SchedulerCommand;
use crate::engine::scheduler::settings::{Acl, QueueTree};

/// What one step of the application manager said, appended to by every call and emptied by the duty cycle.
#[derive(Debug, Default)]
pub struct ApplicationOutput {
    /// Answers to frames of earlier calls: they waited for the scheduler or the store.
    pub late_answers: AnswerBatch,
    /// To the scheduler.
    pub scheduler_commands: Vec<SchedulerCommand>,
    /// To the state store, in order; everything of one step may be one group.
    pub store_operations: Vec<StoreOperation>,
    /// To the administration service.
    pub replies: Vec<ApplicationReply>,
    /// Lines of the audit log.
    pub audit: Vec<String>,
    /// Application summary lines.
    pub summaries: Vec<String>,
    /// Lines for the operator's log: impossible pairs, failed writes. Bounded by the step.
    pub notices: Vec<String>,
}

impl ApplicationOutput {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.late_answers.clear();
        self.scheduler_commands.clear();
        self.store_operations.clear();
        self.replies.clear();
        self.audit.clear();
        self.summaries.clear();
        self.notices.clear();
    }
}

/// A write of the state store. Operations about one application are carried out in the order they are given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StoreOperation {
    /// A new application; acknowledged by [`StoreEvent::ApplicationSaved`].
    SaveApplication(Box<ApplicationRecord>),
    /// The part of an application that changes; acknowledged by [`StoreEvent::ApplicationUpdated`].
    UpdateApplication {
        /// What is written.
        state: Box<ApplicationStateRecord>,
        /// What for; repeated in the acknowledgement.
        purpose: UpdatePurpose,
    },
    /// A new attempt; acknowledged by [`StoreEvent::AttemptSaved`].
    SaveAttempt(Box<AttemptRecord>),
    /// An attempt again; acknowledged by [`StoreEvent::AttemptUpdated`].
    UpdateAttempt {
        /// What is written.
        record: Box<AttemptRecord>,
        /// What for; repeated in the acknowledgement.
        purpose: UpdatePurpose,
    },
    /// An attempt that is not needed any more; not acknowledged, a failure is [`StoreEvent::RemoveFailed`].
    RemoveAttempt(ApplicationAttemptId),
    /// A completed application beyond the cap, with its attempts; not acknowledged, a failure is
    /// [`StoreEvent::RemoveFailed`].
    RemoveApplication(ApplicationId),
}

/// What an update is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UpdatePurpose {
    /// The final state: it becomes visible when this is acknowledged.
    Final,
    /// A client's change (queue, priority, lifetime): applied when this is acknowledged.
    Change(u64),
    /// A note (launch time, tracking URL, usage) nobody waits for.
    Note,
}

/// An acknowledgement of the state store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreEvent {
    /// To [`StoreOperation::SaveApplication`].
    ApplicationSaved {
        /// The application.
        application_id: ApplicationId,
        /// Whether it is durable.
        result: Result<(), StoreError>,
    },
    /// To [`StoreOperation::UpdateApplication`].
    ApplicationUpdated {
        /// The application.
        application_id: ApplicationId,
        /// From the operation.
        purpose: UpdatePurpose,
        /// Whether it is durable.
        result: Result<(), StoreError>,
    },
    /// To [`StoreOperation::SaveAttempt`].
    AttemptSaved {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// Whether it is durable.
        result: Result<(), StoreError>,
    },
    /// To [`StoreOperation::UpdateAttempt`].
    AttemptUpdated {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// From the operation.
        purpose: UpdatePurpose,
        /// Whether it is durable.
        result: Result<(), StoreError>,
    },
    /// A removal failed: the record stays.
    RemoveFailed {
        /// The application.
        application_id: ApplicationId,
        /// Why.
        error: StoreError,
    },
}

/// Why a write failed. It is not durable then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StoreError {
    /// The record is larger than the store takes; trying again does not help.
    TooLarge {
        /// Its size, bytes.
        size: u64,
        /// The largest that is accepted, bytes.
        accepted: u64,
    },
    /// It is there already (a save), or not (an update).
    Conflict(Box<str>),
    /// The store does not work at the moment.
    Unavailable(Box<str>),
}

impl core::fmt::Display for StoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLarge { size, accepted } => {
                write!(f, "the record has {size} bytes, the state store accepts at most {accepted}")
            }
            Self::Conflict(text) => write!(f, "the state store disagrees: {text}"),
            Self::Unavailable(text) => write!(f, "the state store does not work: {text}"),
        }
    }
}

/// An application as stored when it is submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationRecord {
    /// What was submitted, checked.
    pub submission: Submission,
    /// The part that changes.
    pub state: ApplicationStateRecord,
}

/// The part of a stored application that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationStateRecord {
    /// The application.
    pub application_id: ApplicationId,
    /// Final state: YARN's number of `YarnApplicationState` (6 FINISHED, 7 FAILED, 8 KILLED); `None` while it goes on.
    pub final_state: Option<u8>,
    /// Its queue.
    pub queue: Box<str>,
    /// Its priority.
    pub priority: i32,
    /// When its lifetime ends, milliseconds since 1970; `None` = never.
    pub expires_at_ms: Option<u64>,
    /// Submitted, milliseconds since 1970.
    pub submit_time_ms: u64,
    /// Began, milliseconds since 1970.
    pub start_time_ms: u64,
    /// First ApplicationMaster launched, milliseconds since 1970; 0 = not yet.
    pub launch_time_ms: u64,
    /// Ended, milliseconds since 1970; 0 = not yet.
    pub finish_time_ms: u64,
    /// Text.
    pub diagnostics: Box<str>,
}

/// A submission, checked and in the engine's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Chosen by the client, from GetNewApplication.
    pub application_id: ApplicationId,
    /// Its owner.
    pub user: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Type.
    pub application_type: Box<str>,
    /// Queue as asked for.
    pub queue: Box<str>,
    /// Priority, its own or its queue's, capped.
    pub priority: i32,
    /// The ResourceManager starts no ApplicationMaster.
    pub is_unmanaged: bool,
    /// Attempts asked for; 0 = the default.
    pub max_attempts: u32,
    /// The AM container; `None` for an unmanaged application.
    pub am: Option<AmRequest>,
    /// Containers outlive a failed attempt.
    pub keep_containers: bool,
    /// Lower-case, as YARN keeps them.
    pub tags: Box<[Box<str>]>,
    /// Failures older than this do not count, milliseconds.
    pub failures_validity_interval_ms: Option<u64>,
    /// Label of asks that name none.
    pub node_label_expression: Option<Box<str>>,
    /// Lifetime asked for, seconds.
    pub lifetime_s: Option<u64>,
    /// Who may see it.
    pub view_acl: Acl,
    /// Who may change it.
    pub modify_acl: Acl,
    /// Both as text, as the AM is told them: access type number and text.
    pub acls: Vec<(u8, Box<str>)>,
    /// How to start the AM: the archive of a `ContainerLaunchContext` record. Empty for an unmanaged application.
    pub launch_context: Box<[u8]>,
}

/// The AM container as submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmRequest {
    /// Its size, rounded.
    pub capability: Resource,
    /// Its label; `None` = the queue's default when the attempt begins.
    pub node_label: Option<Box<str>>,
    /// Hosts and racks it prefers: name, is a rack, relaxes locality.
    pub localities: Vec<(Box<str>, bool, bool)>,
    /// Whether the row for any place relaxes locality.
    pub relax_locality: bool,
}

/// An attempt as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The attempt.
    pub attempt_id: ApplicationAttemptId,
    /// Its AM container; `None` for an unmanaged one.
    pub am_container: Option<ContainerId>,
    /// Final state: YARN's number of `YarnApplicationAttemptState` (7 FAILED, 10 FINISHED, 11 KILLED); `None` while it
    /// goes on.
    pub final_state: Option<u8>,
    /// What its AM said: YARN's number of `FinalApplicationStatus`.
    pub final_status: u8,
    /// Exit status of the AM container.
    pub am_exit_status: i32,
    /// Final tracking URL.
    pub tracking_url: Box<str>,
    /// Text.
    pub diagnostics: Box<str>,
    /// Began, milliseconds since 1970.
    pub start_time_ms: u64,
    /// Ended, milliseconds since 1970; 0 = not yet.
    pub finish_time_ms: u64,
    /// Amount × seconds by resource type.
    pub resource_seconds: Vec<(Box<str>, u64)>,
    /// Of it, in containers that were preempted.
    pub preempted_resource_seconds: Vec<(Box<str>, u64)>,
    /// Containers allocated.
    pub containers_allocated: u64,
}

/// What the administration service, which reads the files, tells the application manager. Every command is answered by
/// one [`ApplicationReply`] with its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplicationCommand {
    /// RefreshQueues: the queue file as read, checked in itself.
    ReplaceQueues {
        /// Names the answer.
        token: u64,
        /// Who asked.
        caller: Caller,
        /// The queues.
        queues: Box<QueueTree>,
    },
    /// RefreshAdminAcls.
    ReplaceAdminAcl {
        /// Names the answer.
        token: u64,
        /// Who asked.
        caller: Caller,
        /// Administrators of the cluster.
        admin_acl: Acl,
    },
    /// RefreshUserToGroupsMappings.
    ReplaceGroups {
        /// Names the answer.
        token: u64,
        /// Who asked.
        caller: Caller,
        /// Groups of users.
        groups: Groups,
    },
    /// RefreshClusterMaxPriority, where its file was read.
    ReplaceClusterMaxPriority {
        /// Names the answer.
        token: u64,
        /// Who asked.
        caller: Caller,
        /// The highest priority.
        maximum: i32,
    },
    /// Whether somebody may call a method of administration that others carry out: the shards, or the service itself.
    /// A refusal is audited; what becomes of one who may is told with [`ApplicationCommand::Audit`].
    CheckAccess {
        /// Names the answer.
        token: u64,
        /// Who asks.
        caller: Caller,
        /// Number of the method's `Opcode`.
        opcode: u16,
        /// Nodes it names, for the audit log; empty = none.
        nodes: Box<str>,
    },
    /// Such a method was carried out, or not.
    Audit {
        /// Names the answer.
        token: u64,
        /// Who asked.
        caller: Caller,
        /// Number of the method's `Opcode`.
        opcode: u16,
        /// Nodes it names, for the audit log; empty = none.
        nodes: Box<str>,
        /// Why it was not.
        failure: Option<Box<str>>,
    },
}

impl ApplicationCommand {
    /// The token its answer will have.
    #[must_use]
    pub const fn token(&self) -> u64 {
        match self {
            Self::ReplaceQueues { token, .. }
            | Self::ReplaceAdminAcl { token, .. }
            | Self::ReplaceGroups { token, .. }
            | Self::ReplaceClusterMaxPriority { token, .. }
            | Self::CheckAccess { token, .. }
            | Self::Audit { token, .. } => *token,
        }
    }

    /// Who asked.
    pub(super) const fn caller(&self) -> &Caller {
        match self {
            Self::ReplaceQueues { caller, .. }
            | Self::ReplaceAdminAcl { caller, .. }
            | Self::ReplaceGroups { caller, .. }
            | Self::ReplaceClusterMaxPriority { caller, .. }
            | Self::CheckAccess { caller, .. }
            | Self::Audit { caller, .. } => caller,
        }
    }

    /// The method it is about; `None` for a number that is none.
    pub(super) const fn opcode(&self) -> Option<Opcode> {
        match self {
            Self::ReplaceQueues { .. } => Some(Opcode::RefreshQueues),
            Self::ReplaceAdminAcl { .. } => Some(Opcode::RefreshAdminAcls),
            Self::ReplaceGroups { .. } => Some(Opcode::RefreshUserToGroupsMappings),
            Self::ReplaceClusterMaxPriority { .. } => Some(Opcode::RefreshClusterMaxPriority),
            Self::CheckAccess { opcode, .. } | Self::Audit { opcode, .. } => Opcode::from_number(*opcode),
        }
    }

    /// Nodes it names, for the audit log; empty = none.
    pub(super) fn nodes(&self) -> &str {
        match self {
            Self::CheckAccess { nodes, .. } | Self::Audit { nodes, .. } => nodes,
            _ => "",
        }
    }
}

/// An answer to an [`ApplicationCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplicationReply {
    /// The queues are in force.
    QueuesReplaced {
        /// From the command.
        token: u64,
        /// Queues there are now.
        queues: u32,
        /// Queues that are new.
        added: u32,
        /// Queues that are gone.
        removed: u32,
        /// Queues with other settings.
        changed: u32,
    },
    /// It is in force.
    Done {
        /// From the command.
        token: u64,
    },
    /// It is not; nothing was changed.
    Refused {
        /// From the command.
        token: u64,
        /// A `RejectCode` number.
        code: u16,
        /// One reason per line.
        reasons: Box<str>,
    },
}

/// Numbers for metrics: gauges of now, and counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationCounters {
    /// Applications in memory by public state, in the order of `YarnApplicationState::ALL`.
    pub applications_by_state: [u32; 8],
    /// Applications submitted and taken.
    pub submitted: u64,
    /// Applications that ended FINISHED.
    pub finished: u64,
    /// Applications that ended FAILED.
    pub failed: u64,
    /// Applications that ended KILLED.
    pub killed: u64,
    /// Attempts begun.
    pub attempts: u64,
    /// Attempts that failed.
    pub attempts_failed: u64,
    /// Completed applications that were forgotten, beyond the cap.
    pub evicted: u64,
    /// Questions to the scheduler that wait for an answer.
    pub queries_outstanding: u32,
    /// Bytes of launch contexts kept.
    pub launch_context_bytes: u64,
    /// Calls that were rejected, for whatever reason.
    pub rejects: u64,
    /// Calls that were refused for access control, of those.
    pub access_denied: u64,
    /// Pairs of state and event that have no row in the tables.
    pub impossible_pairs: u64,
    /// Events about applications or attempts that are not known (any more).
    pub unknown_events: u64,
    /// Writes of the state store that failed.
    pub store_failures: u64,
}

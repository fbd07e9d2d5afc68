//! The states of an attempt and what every event does in each: YARN's table of RMAppAttempt.
//! Owns: [`RmAppAttemptState`], [`RmAppAttemptEvent`], [`step`]. Called by: `lifecycle`, on the application manager's
//! thread.
//! Does not: carry anything out; the row names the action. Containers besides the AM's are the ApplicationMasters' door's;
//! a launch that failed is heard of as the end of the AM container.
//! Invariants: every pair has a row, is ignored by name, or is impossible (counted and noted); no row leaves a terminal
//! state; ALLOCATED and LAUNCHED are entered only when the attempt's record is durable.
//!
//! Added to YARN's table: a record that cannot be stored fails the attempt. Ignored here and without a row in YARN,
//! because roles hear of each other by messages that a kill or failure overtakes: REGISTERED in FINAL_SAVING, ATTEMPT_ADDED
//! in FAILED, a failed save in FINAL_SAVING, the end of the AM container in terminal states.

use heddle_wire::record::YarnApplicationAttemptState;

use super::rm_app_state::Step;

/// State of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RmAppAttemptState {
    /// Known.
    New,
    /// Given to the scheduler.
    Submitted,
    /// Its AM container is asked for.
    Scheduled,
    /// It has one; being written to the state store.
    AllocatedSaving,
    /// Written; the launch is ordered.
    Allocated,
    /// The AM runs (or, unmanaged, may register).
    Launched,
    /// The AM has registered.
    Running,
    /// The final state is being written.
    FinalSaving,
    /// The AM has finished and its container has not ended.
    Finishing,
    /// Done.
    Finished,
    /// Failed.
    Failed,
    /// Killed.
    Killed,
    /// Unmanaged; being written to the state store.
    LaunchedUnmanagedSaving,
}

/// What FINAL_SAVING leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptTarget {
    /// FINISHING; stored as FINISHED.
    Finishing,
    /// FINISHED.
    Finished,
    /// FAILED.
    Failed,
    /// KILLED.
    Killed,
}

/// What happens to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RmAppAttemptEvent {
    /// It begins.
    Start,
    /// It is to be killed.
    Kill,
    /// It is to be failed, by its owner.
    Fail,
    /// The scheduler knows it.
    AttemptAdded {
        /// It has no AM container.
        is_unmanaged: bool,
    },
    /// Its AM container has a place.
    ContainerAllocated,
    /// Its record is durable.
    AttemptNewSaved,
    /// Its record cannot be stored.
    AttemptSaveFailed,
    /// Its AM container runs.
    Launched,
    /// Its AM has registered.
    Registered,
    /// Its AM told progress or tracking URL.
    StatusUpdate,
    /// Its AM has finished.
    Unregistered {
        /// It has no AM container.
        is_unmanaged: bool,
    },
    /// Its AM was silent for too long, or its container goes on for too long after the end.
    Expire,
    /// Its AM container has ended.
    AmContainerFinished,
    /// Its final state is durable.
    AttemptUpdateSaved,
}

/// What is to be done with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RmAppAttemptAction {
    /// Nothing.
    Nothing,
    /// Give it to the scheduler.
    AddToScheduler,
    /// Write its record.
    SaveNew,
    /// Remember the AM container, write the record.
    TakeContainer,
    /// Order the launch.
    Launch,
    /// An unmanaged AM may register: tell the scheduler and the application.
    Ready,
    /// Tell the application that it was launched.
    TellLaunched,
    /// Remember where the AM is, tell the application.
    Register,
    /// Both.
    LaunchedAndRegister,
    /// Remember progress and tracking URL.
    UpdateStatus,
    /// Remember the target and write the final state.
    SaveFinal(AttemptTarget),
    /// Tell the application that the AM has finished, then as [`RmAppAttemptAction::SaveFinal`].
    Unregister(AttemptTarget),
    /// The target is FINISHED now.
    Retarget,
    /// Do what the target needs.
    ApplyTarget,
    /// Leave the scheduler, tell the application.
    FinalActions,
}

impl RmAppAttemptState {
    /// Every state, in YARN's order.
    pub const ALL: [Self; 13] = [
        Self::New,
        Self::Submitted,
        Self::Scheduled,
        Self::AllocatedSaving,
        Self::Allocated,
        Self::Launched,
        Self::Running,
        Self::FinalSaving,
        Self::Finishing,
        Self::Finished,
        Self::Failed,
        Self::Killed,
        Self::LaunchedUnmanagedSaving,
    ];

    /// FINISHED, FAILED or KILLED.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }

    /// What clients see; `before` is the state before FINAL_SAVING.
    #[must_use]
    pub const fn public(self, before: Self) -> YarnApplicationAttemptState {
        const fn of(state: RmAppAttemptState) -> YarnApplicationAttemptState {
            use RmAppAttemptState as S;
            use YarnApplicationAttemptState as P;
            match state {
                S::New | S::FinalSaving => P::New,
                S::Submitted => P::Submitted,
                S::Scheduled => P::Scheduled,
                S::AllocatedSaving | S::LaunchedUnmanagedSaving => P::AllocatedSaving,
                S::Allocated => P::Allocated,
                S::Launched => P::Launched,
                S::Running => P::Running,
                S::Finishing => P::Finishing,
                S::Finished => P::Finished,
                S::Failed => P::Failed,
                S::Killed => P::Killed,
            }
        }
        match self {
            Self::FinalSaving => of(before),
            state => of(state),
        }
    }

    /// YARN's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Submitted => "SUBMITTED",
            Self::Scheduled => "SCHEDULED",
            Self::AllocatedSaving => "ALLOCATED_SAVING",
            Self::Allocated => "ALLOCATED",
            Self::Launched => "LAUNCHED",
            Self::Running => "RUNNING",
            Self::FinalSaving => "FINAL_SAVING",
            Self::Finishing => "FINISHING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
            Self::LaunchedUnmanagedSaving => "LAUNCHED_UNMANAGED_SAVING",
        }
    }
}

impl AttemptTarget {
    /// The state it leads to.
    #[must_use]
    pub const fn state(self) -> RmAppAttemptState {
        match self {
            Self::Finishing => RmAppAttemptState::Finishing,
            Self::Finished => RmAppAttemptState::Finished,
            Self::Failed => RmAppAttemptState::Failed,
            Self::Killed => RmAppAttemptState::Killed,
        }
    }

    /// The state that is stored.
    #[must_use]
    pub const fn stored(self) -> YarnApplicationAttemptState {
        match self {
            Self::Finishing | Self::Finished => YarnApplicationAttemptState::Finished,
            Self::Failed => YarnApplicationAttemptState::Failed,
            Self::Killed => YarnApplicationAttemptState::Killed,
        }
    }
}

/// The row of a pair. `target` counts in FINAL_SAVING only.
#[must_use]
pub const fn step(
    state: RmAppAttemptState,
    target: AttemptTarget,
    event: RmAppAttemptEvent,
) -> Step<RmAppAttemptState, RmAppAttemptAction> {
    use RmAppAttemptAction as A;
    use RmAppAttemptEvent as E;
    use RmAppAttemptState as S;
    const fn save(target: AttemptTarget) -> Step<RmAppAttemptState, RmAppAttemptAction> {
        Step::To(S::FinalSaving, A::SaveFinal(target))
    }
    match (state, event) {
        (S::New, E::Start) => Step::To(S::Submitted, A::AddToScheduler),
        (
            S::New
            | S::Submitted
            | S::Scheduled
            | S::AllocatedSaving
            | S::Allocated
            | S::Launched
            | S::Running
            | S::LaunchedUnmanagedSaving,
            E::Kill,
        ) => save(AttemptTarget::Killed),
        (
            S::New
            | S::Submitted
            | S::Scheduled
            | S::AllocatedSaving
            | S::Allocated
            | S::Launched
            | S::Running
            | S::LaunchedUnmanagedSaving,
            E::Fail,
        )
        | (S::New | S::Submitted | S::LaunchedUnmanagedSaving, E::Registered)
        | (
            S::Scheduled | S::AllocatedSaving | S::Allocated | S::Launched | S::Running,
            E::AmContainerFinished,
        )
        | (S::AllocatedSaving | S::LaunchedUnmanagedSaving, E::AttemptSaveFailed)
        // Ours: the ApplicationMaster is watched from the order to launch it on, and its node may say nothing of it.
        | (S::Allocated, E::Expire)
        | (S::Launched | S::Running, E::Expire) => save(AttemptTarget::Failed),
        (S::Submitted, E::AttemptAdded { is_unmanaged: false }) => Step::To(S::Scheduled, A::Nothing),
        (S::Submitted, E::AttemptAdded { is_unmanaged: true }) => {
            Step::To(S::LaunchedUnmanagedSaving, A::SaveNew)
        }
        (S::Scheduled, E::ContainerAllocated) => Step::To(S::AllocatedSaving, A::TakeContainer),
        (S::AllocatedSaving, E::AttemptNewSaved) => Step::To(S::Allocated, A::Launch),
        (S::LaunchedUnmanagedSaving, E::AttemptNewSaved) => Step::To(S::Launched, A::Ready),
        (S::Allocated, E::Launched) => Step::To(S::Launched, A::TellLaunched),
        (S::Allocated, E::Registered) => Step::To(S::Running, A::LaunchedAndRegister),
        (S::Launched, E::Registered) => Step::To(S::Running, A::Register),
        (S::Running, E::Unregistered { is_unmanaged: false }) => {
            Step::To(S::FinalSaving, A::Unregister(AttemptTarget::Finishing))
        }
        (S::Running, E::Unregistered { is_unmanaged: true }) => {
            Step::To(S::FinalSaving, A::Unregister(AttemptTarget::Finished))
        }
        (S::Running, E::StatusUpdate) => Step::To(S::Running, A::UpdateStatus),
        (S::FinalSaving, E::AttemptUpdateSaved) => Step::To(target.state(), A::ApplyTarget),
        (S::FinalSaving, E::AmContainerFinished | E::Expire) => match target {
            AttemptTarget::Finishing => Step::To(S::FinalSaving, A::Retarget),
            AttemptTarget::Finished | AttemptTarget::Failed | AttemptTarget::Killed => Step::Ignored,
        },
        (S::Finishing, E::AmContainerFinished | E::Expire) => Step::To(S::Finished, A::FinalActions),
        (S::Running, E::Launched | E::Registered | E::ContainerAllocated)
        | (
            S::FinalSaving,
            E::Unregistered { .. }
            | E::StatusUpdate
            | E::Launched
            | E::Registered
            | E::ContainerAllocated
            | E::AttemptNewSaved
            | E::AttemptSaveFailed
            | E::Kill
            | E::Fail
            | E::AttemptAdded { .. },
        )
        | (
            S::Finishing,
            E::Launched
            | E::Unregistered { .. }
            | E::StatusUpdate
            | E::ContainerAllocated
            | E::Kill
            | E::Fail,
        )
        | (
            S::Failed,
            E::Launched
            | E::Expire
            | E::Kill
            | E::Fail
            | E::Registered
            | E::Unregistered { .. }
            | E::StatusUpdate
            | E::ContainerAllocated
            | E::AttemptAdded { .. }
            | E::AmContainerFinished,
        )
        | (
            S::Finished,
            E::Launched
            | E::Expire
            | E::Unregistered { .. }
            | E::ContainerAllocated
            | E::Kill
            | E::Fail
            | E::AmContainerFinished,
        )
        | (
            S::Killed,
            E::AttemptAdded { .. }
            | E::Launched
            | E::Expire
            | E::Registered
            | E::ContainerAllocated
            | E::Unregistered { .. }
            | E::Kill
            | E::Fail
            | E::StatusUpdate
            | E::AmContainerFinished,
        ) => Step::Ignored,
        (S::New, _)
        | (S::Submitted, _)
        | (S::Scheduled, _)
        | (S::AllocatedSaving, _)
        | (S::Allocated, _)
        | (S::Launched, _)
        | (S::Running, _)
        | (S::FinalSaving, _)
        | (S::Finishing, _)
        | (S::Finished, _)
        | (S::Failed, _)
        | (S::Killed, _)
        | (S::LaunchedUnmanagedSaving, _) => Step::Impossible,
    }
}

#[cfg(test)]
#[path = "rm_app_attempt_state/tests.rs"]
mod tests;

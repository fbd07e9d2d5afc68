//! The states of an application and what every event does in each: YARN's table of RMApp.
//! Owns: [`RmAppState`], [`RmAppEvent`], [`step`]. Called by: `lifecycle`, on the application manager's thread.
//! Does not: carry anything out; the row names the action, `lifecycle` does it. NODE_UPDATE and APP_RUNNING_ON_NODE are
//! not here: the scheduler and the ApplicationMasters' door know nodes and clean them up.
//! Invariants: every pair has a row, is ignored by name, or is impossible (counted and noted); no row leaves a terminal
//! state; FINISHING and the terminal states but that of a record that cannot be stored are entered from FINAL_SAVING.
//!
//! Ignored here and without a row in YARN, because roles hear of each other by messages: APP_ACCEPTED and APP_REJECTED in
//! FINAL_SAVING (a kill overtook the scheduler's answer), APP_SAVE_FAILED in FINAL_SAVING (a kill overtook the store's),
//! ATTEMPT_LAUNCHED in RUNNING (the AM registered before its node reported it).

use heddle_wire::record::YarnApplicationState;

/// State of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RmAppState {
    /// Known.
    New,
    /// Being written to the state store.
    NewSaving,
    /// Written; the scheduler is asked.
    Submitted,
    /// The scheduler took it; an attempt is under way.
    Accepted,
    /// The current attempt's AM has registered.
    Running,
    /// The final state is being written.
    FinalSaving,
    /// The AM has finished and its container has not ended.
    Finishing,
    /// Done.
    Finished,
    /// Failed.
    Failed,
    /// The current attempt is being killed.
    Killing,
    /// Killed.
    Killed,
}

/// What FINAL_SAVING leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinalTarget {
    /// FINISHING; stored as FINISHED.
    Finishing,
    /// FINISHED.
    Finished,
    /// FAILED.
    Failed,
    /// KILLED.
    Killed,
}

/// What happens to an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RmAppEvent {
    /// It was submitted.
    Start,
    /// It is to be killed.
    Kill,
    /// The scheduler does not take it.
    AppRejected,
    /// Its record is durable.
    AppNewSaved,
    /// Its record cannot be stored.
    AppSaveFailed,
    /// The scheduler takes it.
    AppAccepted,
    /// The current attempt's AM has registered.
    AttemptRegistered,
    /// The current attempt's AM was launched.
    AttemptLaunched,
    /// The current attempt failed.
    AttemptFailed {
        /// By the retry rule another may follow.
        may_retry: bool,
    },
    /// The current attempt finished.
    AttemptFinished,
    /// The current attempt was killed.
    AttemptKilled,
    /// The current attempt's AM has finished.
    AttemptUnregistered,
    /// The final state is durable.
    AppUpdateSaved,
}

/// What is to be done with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RmAppAction {
    /// Nothing.
    Nothing,
    /// Determine the lifetime, write the record.
    SaveNew,
    /// Ask the scheduler.
    AddToScheduler,
    /// Create the next attempt and start it.
    StartAttempt,
    /// Remember when the first AM was launched.
    RememberLaunch,
    /// Kill the current attempt.
    KillAttempt,
    /// Remember the target and write the final state.
    SaveFinal(FinalTarget),
    /// The target is FINISHED now.
    Retarget,
    /// Drop timers and do what the target needs.
    ApplyTarget,
    /// Leave scheduler, counts and memory.
    FinalActions,
}

/// A row of a transition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step<S, A> {
    /// To this state, doing this.
    To(S, A),
    /// The pair is known and means nothing.
    Ignored,
    /// The pair has no row: a fault of ours or of another role. Counted and noted, nothing changes.
    Impossible,
}

impl RmAppState {
    /// Every state, in YARN's order.
    pub const ALL: [Self; 11] = [
        Self::New,
        Self::NewSaving,
        Self::Submitted,
        Self::Accepted,
        Self::Running,
        Self::FinalSaving,
        Self::Finishing,
        Self::Finished,
        Self::Failed,
        Self::Killing,
        Self::Killed,
    ];

    /// FINISHED, FAILED or KILLED.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }

    /// FINISHING or terminal.
    #[must_use]
    pub const fn is_final_stored(self) -> bool {
        self.is_terminal() || matches!(self, Self::Finishing)
    }

    /// What clients see; `before` is the state before FINAL_SAVING or KILLING.
    #[must_use]
    pub const fn public(self, before: Self) -> YarnApplicationState {
        match self {
            Self::New => YarnApplicationState::New,
            Self::NewSaving => YarnApplicationState::NewSaving,
            Self::Submitted => YarnApplicationState::Submitted,
            Self::Accepted => YarnApplicationState::Accepted,
            Self::Running => YarnApplicationState::Running,
            Self::Finishing | Self::Finished => YarnApplicationState::Finished,
            Self::Failed => YarnApplicationState::Failed,
            Self::Killed => YarnApplicationState::Killed,
            Self::FinalSaving | Self::Killing => match before {
                Self::New | Self::FinalSaving | Self::Killing => YarnApplicationState::New,
                Self::NewSaving => YarnApplicationState::NewSaving,
                Self::Submitted => YarnApplicationState::Submitted,
                Self::Accepted => YarnApplicationState::Accepted,
                Self::Running => YarnApplicationState::Running,
                Self::Finishing | Self::Finished => YarnApplicationState::Finished,
                Self::Failed => YarnApplicationState::Failed,
                Self::Killed => YarnApplicationState::Killed,
            },
        }
    }

    /// YARN's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::NewSaving => "NEW_SAVING",
            Self::Submitted => "SUBMITTED",
            Self::Accepted => "ACCEPTED",
            Self::Running => "RUNNING",
            Self::FinalSaving => "FINAL_SAVING",
            Self::Finishing => "FINISHING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killing => "KILLING",
            Self::Killed => "KILLED",
        }
    }
}

impl FinalTarget {
    /// The state it leads to.
    #[must_use]
    pub const fn state(self) -> RmAppState {
        match self {
            Self::Finishing => RmAppState::Finishing,
            Self::Finished => RmAppState::Finished,
            Self::Failed => RmAppState::Failed,
            Self::Killed => RmAppState::Killed,
        }
    }

    /// The state that is stored.
    #[must_use]
    pub const fn stored(self) -> YarnApplicationState {
        match self {
            Self::Finishing | Self::Finished => YarnApplicationState::Finished,
            Self::Failed => YarnApplicationState::Failed,
            Self::Killed => YarnApplicationState::Killed,
        }
    }
}

/// The row of a pair. `target` counts in FINAL_SAVING only.
#[must_use]
pub const fn step(
    state: RmAppState,
    target: FinalTarget,
    event: RmAppEvent,
) -> Step<RmAppState, RmAppAction> {
    use RmAppAction as A;
    use RmAppEvent as E;
    use RmAppState as S;
    const fn save(target: FinalTarget) -> Step<RmAppState, RmAppAction> {
        Step::To(S::FinalSaving, A::SaveFinal(target))
    }
    match (state, event) {
        (S::New, E::Start) => Step::To(S::NewSaving, A::SaveNew),
        (S::New, E::Kill) => Step::To(S::Killed, A::FinalActions),
        (S::NewSaving, E::AppNewSaved) => Step::To(S::Submitted, A::AddToScheduler),
        (S::NewSaving, E::AppSaveFailed) => Step::To(S::Failed, A::FinalActions),
        (S::NewSaving | S::Submitted, E::Kill) => save(FinalTarget::Killed),
        (S::New | S::NewSaving | S::Submitted, E::AppRejected) => save(FinalTarget::Failed),
        (S::Submitted, E::AppAccepted) => Step::To(S::Accepted, A::StartAttempt),
        (S::Accepted, E::AttemptRegistered) => Step::To(S::Running, A::Nothing),
        (S::Accepted, E::AttemptLaunched) => Step::To(S::Accepted, A::RememberLaunch),
        (S::Accepted | S::Running, E::AttemptFailed { may_retry: true }) => {
            Step::To(S::Accepted, A::StartAttempt)
        }
        (S::Accepted | S::Running, E::AttemptFailed { may_retry: false }) => save(FinalTarget::Failed),
        (S::Accepted, E::AttemptFinished) => save(FinalTarget::Finished),
        (S::Accepted, E::AttemptKilled) => save(FinalTarget::Killed),
        (S::Accepted | S::Running, E::Kill) => Step::To(S::Killing, A::KillAttempt),
        (S::Running | S::Killing, E::AttemptUnregistered) => save(FinalTarget::Finishing),
        (S::Running | S::Killing, E::AttemptFinished) => Step::To(S::Finished, A::FinalActions),
        (S::FinalSaving, E::AppUpdateSaved) => Step::To(target.state(), A::ApplyTarget),
        (S::FinalSaving, E::AttemptFinished) => match target {
            FinalTarget::Finishing => Step::To(S::FinalSaving, A::Retarget),
            FinalTarget::Finished | FinalTarget::Failed | FinalTarget::Killed => Step::Ignored,
        },
        (S::Finishing, E::AttemptFinished) => Step::To(S::Finished, A::FinalActions),
        (S::Killing, E::AttemptKilled) => save(FinalTarget::Killed),
        (S::Killing, E::AttemptFailed { may_retry: true }) => save(FinalTarget::Killed),
        (S::Killing, E::AttemptFailed { may_retry: false }) => save(FinalTarget::Failed),
        (S::FinalSaving, E::Kill | E::AppNewSaved | E::AppSaveFailed | E::AppAccepted | E::AppRejected)
        | (S::Running, E::AttemptLaunched)
        | (S::Finishing | S::Failed, E::Kill)
        | (S::Killing, E::AttemptRegistered | E::AppUpdateSaved | E::Kill)
        | (S::Finished, E::AttemptUnregistered | E::AttemptFinished | E::Kill)
        | (
            S::Killed,
            E::AppAccepted
            | E::AppRejected
            | E::Kill
            | E::AttemptFinished
            | E::AttemptFailed { .. }
            | E::Start,
        ) => Step::Ignored,
        (S::New, _)
        | (S::NewSaving, _)
        | (S::Submitted, _)
        | (S::Accepted, _)
        | (S::Running, _)
        | (S::FinalSaving, _)
        | (S::Finishing, _)
        | (S::Finished, _)
        | (S::Failed, _)
        | (S::Killing, _)
        | (S::Killed, _) => Step::Impossible,
    }
}

#[cfg(test)]
#[path = "rm_app_state/tests.rs"]
mod tests;

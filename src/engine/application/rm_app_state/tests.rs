//! Every pair of the application's table, against a table written by hand.
//! Owns: that table. Called by: the test harness. Does not: test what actions do.

use super::*;

/// Columns of [`TABLE`].
const EVENTS: [RmAppEvent; 14] = [
    RmAppEvent::Start,
    RmAppEvent::Kill,
    RmAppEvent::AppRejected,
    RmAppEvent::AppNewSaved,
    RmAppEvent::AppSaveFailed,
    RmAppEvent::AppAccepted,
    RmAppEvent::AttemptRegistered,
    RmAppEvent::AttemptLaunched,
    RmAppEvent::AttemptFailed { may_retry: true },
    RmAppEvent::AttemptFailed { may_retry: false },
    RmAppEvent::AttemptFinished,
    RmAppEvent::AttemptKilled,
    RmAppEvent::AttemptUnregistered,
    RmAppEvent::AppUpdateSaved,
];

/// `.` ignored, `!` impossible, `=` the target; `>x` FINAL_SAVING with target x.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 14]); 11] = [
    //              START         KILL      REJECTED NEW_SAVED   SAVE_FAIL ACCEPTED   REGISTER   LAUNCHED    FAILED+     FAILED   FINISHED    KILLED   UNREG     UPDATED
    ("NEW",          ["NEW_SAVING", "KILLED", ">F",  "!",        "!",      "!",       "!",       "!",        "!",        "!",     "!",        "!",     "!",      "!"]),
    ("NEW_SAVING",   ["!",          ">K",     ">F",  "SUBMITTED", "FAILED", "!",      "!",       "!",        "!",        "!",     "!",        "!",     "!",      "!"]),
    ("SUBMITTED",    ["!",          ">K",     ">F",  "!",        "!",      "ACCEPTED", "!",      "!",        "!",        "!",     "!",        "!",     "!",      "!"]),
    ("ACCEPTED",     ["!",          "KILLING", "!",  "!",        "!",      "!",       "RUNNING", "ACCEPTED", "ACCEPTED", ">F",    ">D",       ">K",    "!",      "!"]),
    ("RUNNING",      ["!",          "KILLING", "!",  "!",        "!",      "!",       "!",       ".",        "ACCEPTED", ">F",    "FINISHED", "!",     ">G",     "!"]),
    ("FINAL_SAVING", ["!",          ".",      ".",   ".",        ".",      ".",       "!",       "!",        "!",        "!",     "FINAL_SAVING", "!", "!",      "="]),
    ("FINISHING",    ["!",          ".",      "!",   "!",        "!",      "!",       "!",       "!",        "!",        "!",     "FINISHED", "!",     "!",      "!"]),
    ("FINISHED",     ["!",          ".",      "!",   "!",        "!",      "!",       "!",       "!",        "!",        "!",     ".",        "!",     ".",      "!"]),
    ("FAILED",       ["!",          ".",      "!",   "!",        "!",      "!",       "!",       "!",        "!",        "!",     "!",        "!",     "!",      "!"]),
    ("KILLING",      ["!",          ".",      "!",   "!",        "!",      "!",       ".",       "!",        ">K",       ">F",    "FINISHED", ">K",    ">G",     "."]),
    ("KILLED",       [".",          ".",      ".",   "!",        "!",      ".",       "!",       "!",        ".",        ".",     ".",        "!",     "!",      "!"]),
];

fn told(step: Step<RmAppState, RmAppAction>) -> String {
    match step {
        Step::Ignored => ".".to_owned(),
        Step::Impossible => "!".to_owned(),
        Step::To(RmAppState::FinalSaving, RmAppAction::SaveFinal(target)) => match target {
            FinalTarget::Finishing => ">G".to_owned(),
            FinalTarget::Finished => ">D".to_owned(),
            FinalTarget::Failed => ">F".to_owned(),
            FinalTarget::Killed => ">K".to_owned(),
        },
        Step::To(state, RmAppAction::ApplyTarget) => {
            assert_eq!(state, RmAppState::Finishing, "the target the table is read with");
            "=".to_owned()
        }
        Step::To(state, _) => state.name().to_owned(),
    }
}

#[test]
fn every_pair_is_as_in_the_table() {
    for (state, (name, row)) in RmAppState::ALL.into_iter().zip(TABLE) {
        assert_eq!(state.name(), name);
        for (event, expected) in EVENTS.into_iter().zip(row) {
            assert_eq!(told(step(state, FinalTarget::Finishing, event)), expected, "{name} {event:?}");
        }
    }
}

#[test]
fn the_end_of_the_attempt_while_saving_changes_only_a_target_of_finishing() {
    for target in [FinalTarget::Finished, FinalTarget::Failed, FinalTarget::Killed] {
        assert_eq!(step(RmAppState::FinalSaving, target, RmAppEvent::AttemptFinished), Step::Ignored);
        let saved = step(RmAppState::FinalSaving, target, RmAppEvent::AppUpdateSaved);
        assert_eq!(saved, Step::To(target.state(), RmAppAction::ApplyTarget));
    }
}

#[test]
fn terminal_states_are_never_left() {
    for state in RmAppState::ALL.into_iter().filter(|state| state.is_terminal()) {
        for event in EVENTS {
            let step = step(state, FinalTarget::Finishing, event);
            assert!(!matches!(step, Step::To(..)), "{state:?} {event:?} {step:?}");
        }
    }
}

#[test]
fn saving_and_killing_show_the_state_before() {
    use YarnApplicationState as P;
    assert_eq!(RmAppState::FinalSaving.public(RmAppState::Running), P::Running);
    assert_eq!(RmAppState::Killing.public(RmAppState::Accepted), P::Accepted);
    assert_eq!(RmAppState::Finishing.public(RmAppState::Running), P::Finished);
    assert_eq!(RmAppState::Killed.public(RmAppState::Running), P::Killed);
}

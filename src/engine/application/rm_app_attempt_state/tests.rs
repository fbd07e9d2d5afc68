//! Every pair of the attempt's table, against a table written by hand.
//! Owns: that table. Called by: the test harness. Does not: test what actions do.

use super::*;

/// Columns of [`TABLE`].
const EVENTS: [RmAppAttemptEvent; 14] = [
    RmAppAttemptEvent::Start,
    RmAppAttemptEvent::Kill,
    RmAppAttemptEvent::Fail,
    RmAppAttemptEvent::AttemptAdded { is_unmanaged: false },
    RmAppAttemptEvent::ContainerAllocated,
    RmAppAttemptEvent::AttemptNewSaved,
    RmAppAttemptEvent::AttemptSaveFailed,
    RmAppAttemptEvent::Launched,
    RmAppAttemptEvent::Registered,
    RmAppAttemptEvent::StatusUpdate,
    RmAppAttemptEvent::Unregistered { is_unmanaged: false },
    RmAppAttemptEvent::Expire,
    RmAppAttemptEvent::AmContainerFinished,
    RmAppAttemptEvent::AttemptUpdateSaved,
];

/// `.` ignored, `!` impossible, `=` the target; `>x` FINAL_SAVING with target x.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 14]); 13] = [
    //                            START        KILL  FAIL  ADDED        ALLOCATED           SAVED        SAVEFAIL LAUNCHED REGISTERED STATUS    UNREG EXPIRE         AM_END         UPDATED
    ("NEW",                       ["SUBMITTED", ">K", ">F", "!",         "!",                "!",         "!",  "!",        ">F",      "!",       "!",  "!",           "!",           "!"]),
    ("SUBMITTED",                 ["!",         ">K", ">F", "SCHEDULED", "!",                "!",         "!",  "!",        ">F",      "!",       "!",  "!",           "!",           "!"]),
    ("SCHEDULED",                 ["!",         ">K", ">F", "!",         "ALLOCATED_SAVING", "!",         "!",  "!",        "!",       "!",       "!",  "!",           ">F",          "!"]),
    ("ALLOCATED_SAVING",          ["!",         ">K", ">F", "!",         "!",                "ALLOCATED", ">F", "!",        "!",       "!",       "!",  "!",           ">F",          "!"]),
    ("ALLOCATED",                 ["!",         ">K", ">F", "!",         "!",                "!",         "!",  "LAUNCHED", "RUNNING", "!",       "!",  ">F",          ">F",          "!"]),
    ("LAUNCHED",                  ["!",         ">K", ">F", "!",         "!",                "!",         "!",  "!",        "RUNNING", "!",       "!",  ">F",          ">F",          "!"]),
    ("RUNNING",                   ["!",         ">K", ">F", "!",         ".",                "!",         "!",  ".",        ".",       "RUNNING", ">G", ">F",          ">F",          "!"]),
    ("FINAL_SAVING",              ["!",         ".",  ".",  ".",         ".",                ".",         ".",  ".",        ".",       ".",       ".",  "FINAL_SAVING", "FINAL_SAVING", "="]),
    ("FINISHING",                 ["!",         ".",  ".",  "!",         ".",                "!",         "!",  ".",        "!",       ".",       ".",  "FINISHED",    "FINISHED",    "!"]),
    ("FINISHED",                  ["!",         ".",  ".",  "!",         ".",                "!",         "!",  ".",        "!",       "!",       ".",  ".",           ".",           "!"]),
    ("FAILED",                    ["!",         ".",  ".",  ".",         ".",                "!",         "!",  ".",        ".",       ".",       ".",  ".",           ".",           "!"]),
    ("KILLED",                    ["!",         ".",  ".",  ".",         ".",                "!",         "!",  ".",        ".",       ".",       ".",  ".",           ".",           "!"]),
    ("LAUNCHED_UNMANAGED_SAVING", ["!",         ">K", ">F", "!",         "!",                "LAUNCHED",  ">F", "!",        ">F",      "!",       "!",  "!",           "!",           "!"]),
];

fn told(step: Step<RmAppAttemptState, RmAppAttemptAction>) -> String {
    use RmAppAttemptAction as A;
    match step {
        Step::Ignored => ".".to_owned(),
        Step::Impossible => "!".to_owned(),
        Step::To(RmAppAttemptState::FinalSaving, A::SaveFinal(target) | A::Unregister(target)) => {
            match target {
                AttemptTarget::Finishing => ">G".to_owned(),
                AttemptTarget::Finished => ">D".to_owned(),
                AttemptTarget::Failed => ">F".to_owned(),
                AttemptTarget::Killed => ">K".to_owned(),
            }
        }
        Step::To(state, A::ApplyTarget) => {
            assert_eq!(state, RmAppAttemptState::Finishing, "the target the table is read with");
            "=".to_owned()
        }
        Step::To(state, _) => state.name().to_owned(),
    }
}

#[test]
fn every_pair_is_as_in_the_table() {
    for (state, (name, row)) in RmAppAttemptState::ALL.into_iter().zip(TABLE) {
        assert_eq!(state.name(), name);
        for (event, expected) in EVENTS.into_iter().zip(row) {
            assert_eq!(told(step(state, AttemptTarget::Finishing, event)), expected, "{name} {event:?}");
        }
    }
}

#[test]
fn unmanaged_attempts_have_rows_of_their_own() {
    let added = RmAppAttemptEvent::AttemptAdded { is_unmanaged: true };
    let step_of = |state, event| step(state, AttemptTarget::Finished, event);
    assert_eq!(
        step_of(RmAppAttemptState::Submitted, added),
        Step::To(RmAppAttemptState::LaunchedUnmanagedSaving, RmAppAttemptAction::SaveNew)
    );
    assert_eq!(
        step_of(RmAppAttemptState::Running, RmAppAttemptEvent::Unregistered { is_unmanaged: true }),
        Step::To(RmAppAttemptState::FinalSaving, RmAppAttemptAction::Unregister(AttemptTarget::Finished))
    );
}

#[test]
fn a_container_that_ends_while_saving_changes_only_a_target_of_finishing() {
    for target in [AttemptTarget::Finished, AttemptTarget::Failed, AttemptTarget::Killed] {
        for event in [RmAppAttemptEvent::AmContainerFinished, RmAppAttemptEvent::Expire] {
            assert_eq!(step(RmAppAttemptState::FinalSaving, target, event), Step::Ignored);
        }
        let saved = step(RmAppAttemptState::FinalSaving, target, RmAppAttemptEvent::AttemptUpdateSaved);
        assert_eq!(saved, Step::To(target.state(), RmAppAttemptAction::ApplyTarget));
    }
}

#[test]
fn terminal_states_are_never_left() {
    for state in RmAppAttemptState::ALL.into_iter().filter(|state| state.is_terminal()) {
        for event in EVENTS {
            let step = step(state, AttemptTarget::Finishing, event);
            assert!(!matches!(step, Step::To(..)), "{state:?} {event:?} {step:?}");
        }
    }
}

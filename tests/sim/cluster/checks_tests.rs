//! That [`Seen`] complains: words that must not be said, each with the rule it breaks.
//! Owns: those words. Called by: the test harness. Thread: each test's.
//! Does not: run a cluster. Invariant: without its last word each history is good.

use heddle::engine::batch::StreamRef;
use heddle::engine::event::{LaunchOrder, NodeCommand, NodeOrder, Resource as Amounts};
use heddle::engine::scheduler::message::{ApplicationEvent, Attempt};
use heddle_wire::application_client::{GetApplicationReportResponse, KillApplicationResponse};
use heddle_wire::application_master::{AllocateRequest, AllocateResponse};
use heddle_wire::frame::Frame;
use heddle_wire::message::write_reject;
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ApplicationReport, CompletedContainer, Container, ContainerId,
    ContainerState, ExecutionType, FinalApplicationStatus, LogAggregationStatus, NodeHandle, Resource,
    TokenMac, YarnApplicationState,
};
use heddle_wire::{Flags, Opcode, Reject, RejectCode, write_frame};

use super::checks::Seen;
use super::kinds::{Happening, Tally};

const APPLICATION: ApplicationId = ApplicationId { cluster_timestamp: 1, id: 1 };
const ATTEMPT: ApplicationAttemptId = ApplicationAttemptId { application_id: APPLICATION, attempt_id: 1 };
const KEY: u64 = 7;

const fn id(number: u64) -> ContainerId {
    ContainerId { application_attempt_id: ATTEMPT, container_id: number }
}

fn seen() -> Seen {
    let mut seen = Seen::new(1);
    let event = ApplicationEvent::AttemptAdded { attempt_id: ATTEMPT, attempt: Attempt(KEY) };
    seen.said(&event, &mut Tally::default());
    seen
}

#[track_caller]
fn complains(result: Result<(), String>, of: &str) {
    let text = result.unwrap_err();
    assert!(text.contains(of), "{text}");
}

/// A push: `granted` and `ended` containers, the first under event `first`.
fn push(first: u64, granted: &[u64], ended: &[u64]) -> Vec<u8> {
    let grant = |number: &u64| Container {
        container_id: id(*number),
        node: NodeHandle(1),
        resource: Resource::new(1_024, 1),
        priority: 1,
        allocation_request_id: -1,
        grant_number: *number,
        execution_type: ExecutionType::Guaranteed,
        version: 0,
        expires_at_ms: 0,
        token: TokenMac { key_id: 0, mac: [0; 32] },
    };
    let end = |number: &u64| CompletedContainer {
        container_id: id(*number),
        state: ContainerState::Complete,
        exit_status: 0,
        execution_type: ExecutionType::Guaranteed,
        capability: Resource::new(1_024, 1),
        diagnostics: "".into(),
    };
    let answer = AllocateResponse {
        first_event: first,
        allocated_containers: granted.iter().map(grant).collect(),
        completed_container_statuses: ended.iter().map(end).collect(),
        ..AllocateResponse::default()
    };
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Flags::PUSH, 0, KEY, &answer);
    bytes
}

#[test]
fn an_event_has_one_number_and_an_end_a_grant() {
    let mut tally = Tally::default();
    let mut seen = seen();
    seen.pushed(&push(1, &[1, 2], &[1]), &mut tally).unwrap();
    seen.pushed(&push(1, &[1, 2], &[1]), &mut tally).unwrap();
    assert_eq!(tally.count(Happening::EventRepeated), 3);
    complains(seen.pushed(&push(4, &[2], &[]), &mut tally), "granted as event 2 and again as 4");
    complains(seen.pushed(&push(5, &[], &[1]), &mut tally), "ends as event 3 and again as 5");
    complains(seen.pushed(&push(6, &[], &[9]), &mut tally), "was never granted");
}

#[test]
fn what_was_taken_back_is_granted_no_more_and_ends_once_more_at_most() {
    let mut tally = Tally::default();
    let mut seen = seen();
    seen.pushed(&push(1, &[1, 2], &[1]), &mut tally).unwrap();
    seen.pushed(&push(1, &[], &[1, 2, 1]), &mut tally).unwrap();
    seen.pushed(&push(1, &[], &[1, 2, 1]), &mut tally).unwrap();
    complains(seen.pushed(&push(4, &[], &[1]), &mut tally), "ends as event 3 and again as 4");
    complains(seen.pushed(&push(5, &[], &[2]), &mut tally), "was taken back, and ends as event 5");
    complains(seen.pushed(&push(2, &[2], &[]), &mut tally), "was taken back, and is granted as event 2");
}

#[test]
fn a_call_out_of_step_is_refused_only_where_nobody_hears_it() {
    let (mut asked, mut refused) = (Vec::new(), Vec::new());
    write_frame(&mut asked, Flags::REQUEST, 3, KEY, &AllocateRequest::default());
    let reject = Reject::new(RejectCode::InvalidApplicationMasterRequest, "out of step");
    write_reject(&mut refused, Opcode::Allocate, 3, KEY, &reject);
    let (mut seen, stream) = (seen(), StreamRef::new(1, 0, 1));
    let mut answered =
        |is_gone| seen.master_answered(stream, is_gone, &asked, &refused, &mut Tally::default());
    answered(true).unwrap();
    complains(answered(false), "out of step");
}

#[test]
fn nothing_is_launched_before_its_attempt_is_stored() {
    let order = LaunchOrder {
        container_id: id(1),
        attempt: KEY,
        user: "ada".into(),
        resource: Amounts::default(),
        priority: 0,
        container_token: (0, [0; 32]),
        expires_at_ms: 0,
        am_rm_token: (0, [0; 32]),
        launch_context: Box::default(),
    };
    let order = NodeOrder::LaunchContainer(Box::new(order));
    let command = NodeCommand { node: NodeHandle(1), order, is_urgent: true };
    complains(seen().ordered(&command), "is launched and not stored");
}

fn report(state: YarnApplicationState, host: &str) -> Vec<u8> {
    let text = || "N/A".to_owned();
    let application_report = ApplicationReport {
        application_id: APPLICATION,
        current_application_attempt_id: None,
        user: "ada".to_owned(),
        queue: "root.default".to_owned(),
        name: "app-0".to_owned(),
        application_type: "SIM".to_owned(),
        application_tags: Vec::new(),
        state,
        final_application_status: FinalApplicationStatus::Undefined,
        progress: 0.0,
        host: host.to_owned(),
        rpc_port: -1,
        tracking_url: text(),
        original_tracking_url: text(),
        diagnostics: text(),
        submit_time_ms: 0,
        start_time_ms: 0,
        launch_time_ms: 0,
        finish_time_ms: 0,
        resource_usage: None,
        log_aggregation_status: LogAggregationStatus::Disabled,
        is_unmanaged_am: false,
        priority: 0,
        app_node_label_expression: None,
        am_node_label_expression: None,
        application_timeouts: Vec::new(),
        attempt_handle: None,
        am_rm_token: None,
    };
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Flags::RESPONSE, 1, 0, &GetApplicationReportResponse { application_report });
    bytes
}

#[test]
fn nothing_is_shown_before_it_is_stored() {
    let mut tally = Tally::default();
    let mut shown = |state| seen().client_answered(&report(state, ""), &mut tally);
    shown(YarnApplicationState::NewSaving).unwrap();
    complains(shown(YarnApplicationState::Accepted), "is shown Accepted and not stored");
    complains(shown(YarnApplicationState::Running), "is shown Running and not stored");
    complains(shown(YarnApplicationState::Finished), "is shown Finished, stored is None");
}

#[test]
fn what_is_asked_is_answered_once() {
    let mut seen = seen();
    complains(seen.admin_answered(1, Opcode::KillApplication), "asked was None");
    seen.admin_asked(1, Opcode::KillApplication);
    seen.admin_answered(1, Opcode::KillApplication).unwrap();
    complains(seen.admin_answered(1, Opcode::KillApplication), "asked was None");
}

#[test]
fn a_stranger_may_nothing_and_sees_nothing() {
    let mut tally = Tally::default();
    let mut told = |opcode, bytes: &[u8]| {
        let mut seen = seen();
        seen.admin_asked(1, opcode);
        seen.stranger_answered(&Frame::from_slice(bytes).unwrap(), &mut tally)
    };
    told(Opcode::GetApplicationReport, &report(YarnApplicationState::Running, "N/A")).unwrap();
    let open = report(YarnApplicationState::Running, "n1");
    complains(told(Opcode::GetApplicationReport, &open), "a stranger is shown");
    let mut killed = Vec::new();
    write_frame(&mut killed, Flags::RESPONSE, 1, 0, &KillApplicationResponse { is_kill_completed: true });
    complains(told(Opcode::KillApplication, &killed), "a stranger's KillApplication is carried out");
}

//! That the books and the checks complain: bad histories, each with the rule it breaks.
//! Owns: those histories. Called by: the test harness. Thread: each test's.
//! Does not: run a cluster. Invariant: each history is good up to its last message.

use heddle::engine::event::{
    NodeAdded, NodeEvent, NodeRemoved, RemovedReason, Resource as Amounts, Usability,
};
use heddle::engine::scheduler::message::{
    AddApplication, ApplicationEvent, Attempt, QueryReply, SchedulerCommand,
};
use heddle::engine::scheduler::resource::ResourceVector;
use heddle::engine::scheduler::settings::{
    Calculator, Capacity, MaximumCapacity, QueueSettings, QueueTree, SchedulerSettings,
};
use heddle_wire::application_master::{AllocateRequest, AllocateResponse};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, CompletedContainer, Container, ContainerId, ContainerState,
    ExecutionType, NodeHandle, Resource, ResourceName, ResourceRequest, TokenMac,
};

use super::books::Books;
use super::kinds::{Happening, Tally};

pub(super) const GB: u64 = 1_024;
const KEY: u64 = 7;

pub(super) const fn application(number: u32) -> ApplicationId {
    ApplicationId { cluster_timestamp: 1, id: number }
}

const fn attempt() -> ApplicationAttemptId {
    ApplicationAttemptId { application_id: application(1), attempt_id: 1 }
}

pub(super) const fn node(number: u32) -> NodeHandle {
    NodeHandle::new(0, number, 1)
}

pub(super) fn gb(memory: u64) -> Resource {
    Resource::new(memory * GB, 1)
}

pub(super) fn amounts(memory: u64) -> Amounts {
    Amounts { memory_mb: memory * GB, virtual_cores: 16, ..Amounts::default() }
}

/// `root.a` may have half, `root.b` all; two nodes of 8 GiB, `n1` with a label; an application in `root.a` with an attempt.
fn books() -> Books {
    let leaf = |path: &str, maximum: f32| {
        let mut queue = QueueSettings::leaf(path, Some(0), Capacity::Percent(50.0));
        queue.user_limit_factor = None;
        for capacity in queue.capacities.values_mut() {
            capacity.maximum = MaximumCapacity::Percent(maximum);
        }
        queue
    };
    let mut queues = QueueTree::default();
    queues.queues.truncate(1);
    queues.queues.extend([leaf("root.a", 50.0), leaf("root.b", 100.0)]);
    let settings = SchedulerSettings {
        queues,
        calculator: Calculator::Dominant,
        minimum_allocation: ResourceVector::new(GB, 1),
        ..SchedulerSettings::default()
    };
    let mut books = Books::new(&settings);
    (0..2).for_each(|number| add_node(&mut books, number));
    admit(&mut books, 1, "root.a", "ada");
    books.said(&ApplicationEvent::AttemptAdded { attempt_id: attempt(), attempt: Attempt(KEY) });
    books
}

/// A node of 8 GiB.
pub(super) fn add_node(books: &mut Books, number: u32) {
    let added = NodeAdded {
        host: format!("n{number}").into(),
        port: 1,
        http_port: 0,
        rack_name: "/r".into(),
        node_labels: Box::default(),
    };
    let mut event = NodeEvent::new(node(number));
    (event.added, event.capability) = (Some(Box::new(added)), Some(amounts(8)));
    books.node_event(&event);
}

pub(super) fn admit(books: &mut Books, number: u32, queue: &str, user: &str) {
    books.command(&SchedulerCommand::AddApplication(Box::new(AddApplication {
        application_id: application(number),
        user: user.into(),
        queue: queue.into(),
        priority: 0,
        node_label_expression: None,
        submit_time_ms: 0,
        am_node_label: None,
    })));
    let (application_id, queue) = (application(number), queue.into());
    books.said(&ApplicationEvent::Accepted { application_id, queue });
}

/// The label of `n1` is `ssd` from now on.
pub(super) fn label(books: &mut Books) {
    let nodes = vec![("n1".into(), 1, Some("ssd".into()))];
    let token = 5;
    books.command(&SchedulerCommand::ReplaceLabelsOnNodes { token, nodes, fail_on_unknown_nodes: true });
    books.said(&ApplicationEvent::Reply { token, reply: QueryReply::Done(1) });
}

/// Asks for `count` of `memory` GiB beyond `seen`.
fn ask(books: &mut Books, response_id: u32, count: i32, seen: u64, memory: u64, on: Option<&str>) {
    let ask = ResourceRequest {
        priority: 1,
        allocation_request_id: 0,
        resource_name: ResourceName::Any,
        capability: gb(memory),
        num_containers: count,
        relax_locality: true,
        node_label_expression: on.map(Into::into),
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: false,
        grants_seen: Some(seen),
    };
    books.allocated(0, KEY, &AllocateRequest { response_id, asks: vec![ask], ..AllocateRequest::default() });
}

fn id(number: u64) -> ContainerId {
    ContainerId { application_attempt_id: attempt(), container_id: number }
}

/// A grant of container `number` as event and grant `number`.
fn grant(books: &mut Books, number: u64, on: u32, memory: u64) -> Result<(), String> {
    grant_as(books, number, number, on, memory)
}

fn grant_as(books: &mut Books, number: u64, grant_number: u64, on: u32, memory: u64) -> Result<(), String> {
    grant_signed(books, (number, grant_number), on, memory, 1)
}

fn grant_signed(
    books: &mut Books,
    (number, grant_number): (u64, u64),
    on: u32,
    memory: u64,
    key_id: u32,
) -> Result<(), String> {
    let container = Container {
        container_id: id(number),
        node: node(on),
        resource: gb(memory),
        priority: 1,
        allocation_request_id: 0,
        grant_number,
        execution_type: ExecutionType::Guaranteed,
        version: 0,
        expires_at_ms: 0,
        token: TokenMac { key_id, mac: [0; 32] },
    };
    let answer = AllocateResponse {
        first_event: number,
        allocated_containers: vec![container],
        ..AllocateResponse::default()
    };
    books.told(0, KEY, &answer)?;
    books.check_grants((false, false), &mut Tally::default())
}

fn end(books: &mut Books, event: u64, number: u64) {
    let status = CompletedContainer {
        container_id: id(number),
        state: ContainerState::Complete,
        exit_status: 0,
        execution_type: ExecutionType::Guaranteed,
        capability: gb(1),
        diagnostics: "".into(),
    };
    let answer = AllocateResponse {
        first_event: event,
        completed_container_statuses: vec![status],
        ..AllocateResponse::default()
    };
    books.told(0, KEY, &answer).unwrap();
}

#[track_caller]
pub(super) fn complains(result: Result<(), String>, of: &str) {
    let text = result.unwrap_err();
    assert!(text.contains(of), "{text}");
}

#[test]
fn what_is_wanted_is_granted_and_a_repeated_event_is_one() {
    let mut books = books();
    ask(&mut books, 0, 3, 0, 2, None);
    grant(&mut books, 1, 0, 2).unwrap();
    grant(&mut books, 1, 0, 2).unwrap();
    grant(&mut books, 2, 1, 2).unwrap();
    // Fewer are wanted: the one under way is void, and its number comes again.
    ask(&mut books, 1, 0, 1, 2, None);
    ask(&mut books, 2, 1, 1, 2, None);
    grant_as(&mut books, 3, 2, 1, 2).unwrap();
}

#[test]
fn one_too_many_is_noticed() {
    let mut books = books();
    ask(&mut books, 0, 1, 0, 2, None);
    grant(&mut books, 1, 0, 2).unwrap();
    complains(grant(&mut books, 2, 0, 2), "as number 2 of (1, 0), wanted are 1");
}

#[test]
fn a_grant_without_a_token_is_noticed_while_its_node_is_there() {
    let mut books = books();
    ask(&mut books, 0, 2, 0, 2, None);
    complains(grant_signed(&mut books, (1, 1), 0, 2, 0), "without a token");
    grant(&mut books, 1, 0, 2).unwrap();
    let mut gone = NodeEvent::new(node(0));
    gone.removed = Some(NodeRemoved { node: node(0), reason: RemovedReason::Lost });
    books.node_event(&gone);
    grant_signed(&mut books, (1, 1), 0, 2, 0).unwrap();
}

#[test]
fn a_grant_that_was_taken_back_is_not_granted_again() {
    let mut books = books();
    ask(&mut books, 0, 3, 0, 2, None);
    grant(&mut books, 1, 0, 2).unwrap();
    ask(&mut books, 1, 0, 1, 2, None);
    complains(grant(&mut books, 2, 0, 2), "wanted are 1");
}

#[test]
fn one_left_out_and_one_given_twice_are_noticed() {
    let mut books = books();
    ask(&mut books, 0, 3, 0, 2, None);
    complains(grant_as(&mut books, 1, 2, 0, 2), "as number 2 of (1, 0), the next is 1");
    grant_as(&mut books, 2, 1, 0, 2).unwrap();
    complains(grant_as(&mut books, 3, 1, 0, 2), "as number 1 of (1, 0), the next is 2");
}

#[test]
fn what_nobody_asked_for_and_what_is_too_small_is_noticed() {
    let mut books = books();
    complains(grant(&mut books, 1, 0, 2), "never asked for");
    ask(&mut books, 0, 1, 0, 2, None);
    complains(grant_as(&mut books, 2, 1, 0, 1), "wanted are Amount(2048, 1)");
}

#[test]
fn a_node_that_is_over_is_noticed_and_one_that_was_emptied_is_not() {
    let mut books = books();
    admit(&mut books, 1, "root.b", "ada");
    ask(&mut books, 0, 5, 0, 4, None);
    grant(&mut books, 1, 0, 4).unwrap();
    grant(&mut books, 2, 0, 4).unwrap();
    end(&mut books, 3, 1);
    grant_as(&mut books, 4, 3, 0, 4).unwrap();
    complains(
        grant_as(&mut books, 5, 4, 0, 4),
        "n0, Usable, that has Amount(8192, 16) and is used Amount(12288, 3)",
    );
}

#[test]
fn a_grant_on_a_node_that_may_not_be_used_is_noticed() {
    let mut books = books();
    ask(&mut books, 0, 2, 0, 1, None);
    books.node_event(&NodeEvent { usability: Some(Usability::Decommissioning), ..NodeEvent::new(node(0)) });
    complains(grant(&mut books, 1, 0, 1), "n0, Decommissioning");
    complains(grant(&mut books, 2, 9, 1), "a node that is not there");
}

#[test]
fn a_queue_over_its_maximum_is_noticed_in_the_label_it_is_in() {
    let mut books = books();
    ask(&mut books, 0, 5, 0, 4, None);
    // Half of 16 GiB are two.
    grant(&mut books, 1, 0, 4).unwrap();
    grant(&mut books, 2, 1, 4).unwrap();
    complains(
        grant(&mut books, 3, 0, 4),
        "queue root.a uses Amount(12288, 3) of Amount(8192, 16) of label \"\"",
    );

    let mut books = self::books();
    label(&mut books);
    ask(&mut books, 0, 5, 0, 3, None);
    // Half of the 8 GiB that are left without a label are one.
    grant(&mut books, 1, 0, 3).unwrap();
    complains(grant(&mut books, 2, 0, 3), "of Amount(4096, 8) of label \"\"");
}

#[test]
fn a_label_that_was_asked_for_is_kept_to_and_a_guest_is_not_charged_by_its_queue() {
    let mut books = books();
    label(&mut books);
    ask(&mut books, 0, 5, 0, 3, None);
    grant(&mut books, 1, 1, 3).unwrap();
    grant(&mut books, 2, 1, 3).unwrap();
    ask(&mut books, 1, 5, 2, 1, Some("ssd"));
    complains(grant(&mut books, 3, 0, 1), "wants label \"ssd\" and is granted on \"\"");
}

#[test]
fn what_waits_and_would_fit_is_noticed() {
    let stranded = |books: &Books, now_us| books.stranded(now_us, 1_000, &mut Tally::default());
    let mut books = books();
    ask(&mut books, 0, 3, 0, 2, None);
    assert!(stranded(&books, 5_000).is_some(), "the first of its queue may run");
    grant(&mut books, 1, 0, 2).unwrap();
    let (who, text) = stranded(&books, 5_000).unwrap();
    assert!(who == application(1) && text.contains("waits for 2 of Amount(2048, 1)"), "{text}");
    // Up to its queue's maximum there is room, beyond it is not.
    ask(&mut books, 1, 3, 1, 6, None);
    assert!(stranded(&books, 5_000).is_some());
    ask(&mut books, 2, 3, 1, 7, None);
    assert_eq!(stranded(&books, 5_000), None);
    ask(&mut books, 3, 3, 1, 2, None);
    assert!(stranded(&books, 5_000).is_some());
    for number in 0..2 {
        books.node_event(&NodeEvent { usability: Some(Usability::Suspect), ..NodeEvent::new(node(number)) });
    }
    assert_eq!(stranded(&books, 5_000), None, "no node may be used");
}

#[test]
fn a_blacklist_and_room_that_is_not_free_yet_keep_an_ask_waiting() {
    let stranded = |books: &Books| books.stranded(5_000, 1_000, &mut Tally::default()).is_some();
    let mut books = books();
    ask(&mut books, 0, 2, 0, 1, None);
    grant(&mut books, 1, 0, 1).unwrap();
    assert!(stranded(&books));
    let hosts = vec!["n0".to_owned(), "n1".to_owned()];
    let refuses =
        AllocateRequest { response_id: 1, blacklist_additions: hosts.clone(), ..Default::default() };
    books.allocated(0, KEY, &refuses);
    assert!(!stranded(&books));
    let accepts = AllocateRequest { response_id: 2, blacklist_removals: hosts, ..Default::default() };
    books.allocated(0, KEY, &accepts);
    assert!(stranded(&books));
    // What is nobody's runs there until its node says that it is gone.
    for number in 0..2 {
        let stranger = ContainerId {
            application_attempt_id: ApplicationAttemptId { application_id: application(9), attempt_id: 1 },
            container_id: u64::from(number),
        };
        let mut event = NodeEvent::new(node(number));
        event.launched.push(heddle::engine::event::ContainerReport {
            container_id: stranger,
            state: ContainerState::Running,
            execution_type: ExecutionType::Guaranteed,
            exit_status: -1_000,
            capability: amounts(8),
            diagnostics: "".into(),
        });
        books.node_event(&event);
    }
    assert!(!stranded(&books));
}

#[test]
fn a_tally_tells_what_was_judged() {
    let mut tally = Tally::default();
    let mut books = books();
    ask(&mut books, 0, 2, 0, 1, None);
    grant(&mut books, 1, 0, 1).unwrap();
    assert!(books.stranded(5_000, 1_000, &mut tally).is_some());
    assert_eq!(tally.count(Happening::PendingJudged), 1);
}

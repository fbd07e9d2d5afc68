//! That the books complain where a user limit is passed, and where something waits beside a limit that is not its own.
//! Owns: those histories. Called by: the test harness. Thread: each test's.
//! Does not: run a cluster. Invariant: each history is good up to its last message.

use heddle::engine::event::NodeEvent;
use heddle::engine::scheduler::message::{AddAttempt, AmAsk, ApplicationEvent, Attempt, SchedulerCommand};
use heddle::engine::scheduler::resource::ResourceVector;
use heddle::engine::scheduler::settings::{
    Calculator, Capacity, MaximumCapacity, QueueSettings, QueueTree, SchedulerSettings,
};
use heddle_wire::application_master::{AllocateRequest, AllocateResponse};
use heddle_wire::record::{
    ApplicationAttemptId, Container, ContainerId, ExecutionType, NodeId, ResourceName, ResourceRequest,
    TokenMac,
};

use super::books::Books;
use super::books_tests::{GB, add_node, admit, amounts, application, complains, gb, label, node};
use super::kinds::{Happening, Tally};

/// The least share of a user, percent, and how many times the guarantee one may have.
#[derive(Clone, Copy)]
struct Limits(f32, Option<f32>);

/// Books of two nodes of 8 GiB; `root.a` is guaranteed half and may have all, `root.b` may have no more than its half.
struct Case {
    books: Books,
    tally: Tally,
    /// Calls and events of each application's attempt, its grants.
    counts: Vec<(u32, u64, u64)>,
}

const fn attempt_of(number: u32) -> ApplicationAttemptId {
    ApplicationAttemptId { application_id: application(number), attempt_id: 1 }
}

impl Case {
    fn new(Limits(percent, factor): Limits) -> Self {
        let leaf = |path: &str, maximum: f32| {
            let mut queue = QueueSettings::leaf(path, Some(0), Capacity::Percent(50.0));
            (queue.minimum_user_limit_percent, queue.user_limit_factor) = (percent, factor);
            for capacity in queue.capacities.values_mut() {
                capacity.maximum = MaximumCapacity::Percent(maximum);
            }
            queue
        };
        let mut queues = QueueTree::default();
        queues.queues.truncate(1);
        queues.queues.extend([leaf("root.a", 100.0), leaf("root.b", 50.0)]);
        let settings = SchedulerSettings {
            queues,
            calculator: Calculator::Memory,
            minimum_allocation: ResourceVector::new(GB, 1),
            ..SchedulerSettings::default()
        };
        let mut books = Books::new(&settings);
        (0..2).for_each(|number| add_node(&mut books, number));
        Self { books, tally: Tally::default(), counts: Vec::new() }
    }

    /// The next application, with an attempt; its ApplicationMaster is outside of the cluster unless it has a size.
    fn submit(&mut self, queue: &str, user: &str, am_gb: Option<u64>) -> u32 {
        self.counts.push((0, 0, 0));
        let number = self.counts.len() as u32;
        admit(&mut self.books, number, queue, user);
        self.books.command(&SchedulerCommand::AddAttempt(Box::new(AddAttempt {
            attempt_id: attempt_of(number),
            am: am_gb.map(|memory| AmAsk {
                capability: amounts(memory),
                node_label: "".into(),
                localities: Vec::new(),
                relax_locality: true,
                blacklist: Vec::new(),
            }),
            transfer_from_previous: false,
            keep_containers: false,
            acls: Vec::new(),
        })));
        let (attempt_id, attempt) = (attempt_of(number), Attempt(u64::from(number)));
        self.books.said(&ApplicationEvent::AttemptAdded { attempt_id, attempt });
        number
    }

    /// Asks for `count` more of `memory` GiB.
    fn ask(&mut self, number: u32, count: i32, memory: u64) {
        let (response_id, _, granted) = &mut self.counts[number as usize - 1];
        let ask = ResourceRequest {
            priority: 1,
            allocation_request_id: 0,
            resource_name: ResourceName::Any,
            capability: gb(memory),
            num_containers: count,
            relax_locality: true,
            node_label_expression: None,
            execution_type: ExecutionType::Guaranteed,
            enforce_execution_type: false,
            grants_seen: Some(*granted),
        };
        let request =
            AllocateRequest { response_id: *response_id, asks: vec![ask], ..AllocateRequest::default() };
        *response_id += 1;
        self.books.allocated(0, u64::from(number), &request);
    }

    /// Tells of a grant.
    fn give(&mut self, number: u32, on: u32, memory: u64) {
        let (_, event, granted) = &mut self.counts[number as usize - 1];
        (*event, *granted) = (*event + 1, *granted + 1);
        let container = Container {
            container_id: ContainerId {
                application_attempt_id: attempt_of(number),
                container_id: *event + 1,
            },
            node: node(on),
            resource: gb(memory),
            priority: 1,
            allocation_request_id: 0,
            grant_number: *granted,
            execution_type: ExecutionType::Guaranteed,
            version: 0,
            expires_at_ms: 0,
            token: TokenMac { key_id: 1, mac: [0; 32] },
        };
        let answer = AllocateResponse {
            first_event: *event,
            allocated_containers: vec![container],
            ..AllocateResponse::default()
        };
        self.books.told(0, u64::from(number), &answer).unwrap();
    }

    /// A step ends; whether nodes were held for somebody when it began.
    fn step(&mut self, was_held: bool) -> Result<(), String> {
        self.books.check_grants((was_held, was_held), &mut self.tally)
    }

    /// A step with one grant.
    fn grant(&mut self, number: u32, on: u32, memory: u64) -> Result<(), String> {
        self.give(number, on, memory);
        self.step(false)
    }

    /// The ApplicationMaster's container.
    fn start(&mut self, number: u32, on: u32, memory: u64) {
        self.books.said(&ApplicationEvent::AmContainerAllocated {
            attempt_id: attempt_of(number),
            container_id: ContainerId { application_attempt_id: attempt_of(number), container_id: 1 },
            node: node(on),
            node_id: NodeId::new(format!("n{on}"), 1),
            http_port: 0,
            resource: amounts(memory),
        });
        self.step(false).unwrap();
    }

    fn stranded(&mut self) -> Option<String> {
        self.books.stranded(5_000, 1_000, &mut self.tally).map(|(_, text)| text)
    }
}

/// 8 GiB are guaranteed: `ada` stops one container beyond half of them.
#[test]
fn a_user_over_its_factor_is_noticed() {
    let mut case = Case::new(Limits(100.0, Some(0.5)));
    let app = case.submit("root.a", "ada", None);
    case.ask(app, 9, 2);
    for _ in 0..3 {
        case.grant(app, 0, 2).unwrap();
    }
    assert_eq!(case.tally.count(Happening::UserLimitPassed), 1);
    complains(
        case.grant(app, 0, 2),
        "uses Amount(8192, 4) of label \"\" in root.a, its bound is Amount(4096",
    );
}

#[test]
fn several_grants_of_a_step_are_one_after_the_other() {
    let given = |count| {
        let mut case = Case::new(Limits(100.0, Some(0.5)));
        let app = case.submit("root.a", "ada", None);
        case.ask(app, 9, 2);
        (0..count).for_each(|_| case.give(app, 0, 2));
        case.step(false)
    };
    given(3).unwrap();
    complains(given(4), "its bound is Amount(4096");
}

/// What is held counts as used and the books do not know it: only the factor's bound is left, which nothing moves.
#[test]
fn a_user_over_its_factor_is_noticed_while_nodes_are_held() {
    let held = |resizes: bool| {
        let mut case = Case::new(Limits(100.0, Some(0.5)));
        let app = case.submit("root.a", "ada", None);
        case.ask(app, 9, 2);
        case.step(false).unwrap();
        for _ in 0..3 {
            case.give(app, 0, 2);
            case.step(true).unwrap();
        }
        case.give(app, 0, 2);
        if resizes {
            let capability = Some(amounts(8));
            case.books.node_event(&NodeEvent { capability, ..NodeEvent::new(node(1)) });
        }
        case.step(true)
    };
    complains(held(false), "its bound is Amount(4096, ");
    held(true).expect("what was held before the cluster changed is given all the same");
}

/// Of two who want something neither may have more than half of what both use and a container.
#[test]
fn a_user_before_another_who_waits_is_noticed() {
    let fourth = |bob: bool, is_finishing: bool| {
        let mut case = Case::new(Limits(25.0, None));
        let (ada, other) = (case.submit("root.a", "ada", None), case.submit("root.a", "bob", None));
        case.ask(ada, 9, 2);
        for _ in 0..3 {
            case.grant(ada, 0, 2).unwrap();
        }
        if bob {
            case.ask(other, 1, 2);
        }
        if is_finishing {
            case.books.finishing(u64::from(other));
        }
        case.grant(ada, 0, 2)
    };
    fourth(false, false).unwrap();
    complains(fourth(true, false), "certain: {\"ada\", \"bob\"}");
    fourth(true, true).expect("whether one that finishes wants something the books cannot tell");
}

/// One who counts three times may have three times as much.
#[test]
fn weights_count() {
    let second = |weight: Option<f32>| {
        let mut case = Case::new(Limits(25.0, None));
        let weights = weight.map(|weight| ("bob".into(), weight)).into_iter().collect();
        case.books.tree.queues[1].user_weights = weights;
        let (ada, bob) = (case.submit("root.a", "ada", None), case.submit("root.a", "bob", None));
        case.ask(ada, 1, 2);
        case.ask(bob, 9, 2);
        for _ in 0..3 {
            case.give(bob, 0, 2);
        }
        // The order of one step's grants is known of one attempt only.
        case.step(false)?;
        case.grant(bob, 0, 2)
    };
    second(Some(3.0)).unwrap();
    complains(second(None), "over its limit");
}

#[test]
fn labels_have_limits_of_their_own() {
    let mut case = Case::new(Limits(100.0, Some(0.5)));
    let app = case.submit("root.a", "ada", None);
    case.ask(app, 9, 2);
    for _ in 0..3 {
        case.grant(app, 0, 2).unwrap();
    }
    label(&mut case.books);
    // A guest of the label is bounded by it alone.
    for _ in 0..4 {
        case.grant(app, 1, 2).unwrap();
    }
    complains(case.grant(app, 0, 2), "of label \"\"");
}

#[test]
fn who_is_over_the_limit_waits_and_others_do_not_wait_for_it() {
    let mut case = Case::new(Limits(25.0, None));
    let (ada, bob) = (case.submit("root.a", "ada", None), case.submit("root.a", "bob", None));
    case.ask(ada, 9, 2);
    for _ in 0..3 {
        case.grant(ada, 0, 2).unwrap();
    }
    assert!(case.stranded().unwrap().contains("waits for 6"), "alone it may have more");
    case.ask(bob, 1, 9);
    assert_eq!(case.stranded(), None, "one who wants what no node has wants something");
    case.ask(bob, 1, 8);
    assert!(case.stranded().unwrap().contains("_0002_"), "the other has a node to itself");
    assert!(case.tally.count(Happening::KeptByUserLimit) > 0);
    case.give(bob, 1, 8);
    assert_eq!(case.step(false), Ok(()));
    let text = case.stranded().expect("n0 has 2 GiB left, and the other wants nothing");
    assert!(text.contains("_0001_") && text.contains("n0 has"), "{text}");
}

/// `root.b` uses 6 of its 8 GiB and waits for 4: 2 are left for it.
#[test]
fn beside_a_queue_at_its_maximum_what_is_left_for_it_stays_free() {
    let beside = |used_by_a: u64, wanted: u64| {
        let mut case = Case::new(Limits(100.0, None));
        let (a, b) = (case.submit("root.a", "ada", None), case.submit("root.b", "bob", None));
        case.ask(b, 1, 6);
        case.grant(b, 0, 6).unwrap();
        case.ask(b, 1, 4);
        assert_eq!(case.stranded(), None, "beyond its maximum");
        if used_by_a > 0 {
            case.ask(a, 1, used_by_a);
            case.grant(a, 0, used_by_a).unwrap();
        }
        case.ask(a, 1, wanted);
        case.stranded()
    };
    let text = beside(0, 8).unwrap();
    assert!(text.contains("_0001_") && text.contains("waits for 1 of Amount(8192"), "{text}");
    assert_eq!(beside(1, 8), None);
    assert!(beside(1, 7).is_some());
}

#[test]
fn behind_what_its_queue_has_no_room_for_everything_waits_but_nothing_behind_the_impossible() {
    let behind = |first: u64| {
        let mut case = Case::new(Limits(100.0, None));
        let (one, other) = (case.submit("root.b", "bob", None), case.submit("root.b", "bob", None));
        case.ask(one, 1, 6);
        case.grant(one, 0, 6).unwrap();
        case.ask(one, 1, first);
        case.ask(other, 1, 1);
        case.stranded()
    };
    assert_eq!(behind(4), None);
    assert!(behind(9).unwrap().contains("_0002_"), "9 GiB are more than its queue may ever have");
}

#[test]
fn an_application_master_that_its_limits_admit_is_missed() {
    let second = |percent: f32, user: &str| {
        let mut case = Case::new(Limits(50.0, Some(1.0)));
        for capacity in case.books.tree.queues[1].capacities.values_mut() {
            capacity.maximum_am_resource_percent = percent;
        }
        let first = case.submit("root.a", "ada", Some(2));
        assert!(case.stranded().unwrap().contains("to start waits for 1"), "the first one always may");
        case.start(first, 0, 2);
        assert_eq!(case.stranded(), None);
        case.submit("root.a", user, Some(2));
        case.stranded()
    };
    assert_eq!(second(0.25, "bob"), None, "2 GiB are all that ApplicationMasters may have");
    assert_eq!(second(0.5, "ada"), second(0.5, "bob"), "4 GiB, whoever they are while one user is alone");
    assert!(second(0.5, "bob").is_some());
    assert_eq!(second(0.25, "ada"), None);
    let mut case = Case::new(Limits(50.0, Some(0.25)));
    case.books.tree.queues[1].capacities.values_mut().for_each(|of| of.maximum_am_resource_percent = 1.0);
    let first = case.submit("root.a", "ada", Some(2));
    case.start(first, 0, 2);
    case.submit("root.a", "ada", Some(1));
    assert_eq!(case.stranded(), None, "2 of 8 GiB are all that one user's may have");
}

/// Whether an ApplicationMaster whose attempt is over is still its user's, only the scheduler knows.
#[test]
fn what_may_still_be_charged_is_not_counted_on() {
    let mut case = Case::new(Limits(100.0, Some(0.5)));
    let (one, other) = (case.submit("root.a", "ada", Some(5)), case.submit("root.a", "ada", None));
    case.start(one, 0, 5);
    case.ask(other, 1, 2);
    assert_eq!(case.stranded(), None, "5 of 4 GiB");
    let remove = SchedulerCommand::RemoveAttempt {
        attempt_id: attempt_of(one),
        keep_containers: false,
        stop_am_container: false,
    };
    case.books.command(&remove);
    assert_eq!(case.stranded(), None);
    case.books.command(&SchedulerCommand::RemoveApplication { application_id: application(one) });
    assert!(case.stranded().is_some());
}

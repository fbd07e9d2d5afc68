//! Allocate: the response-id rule, what is refused whole, and what an answer says.

use heddle::engine::scheduler::face::{AttemptEvent, ResourceScheduler, SchedulerKey};
use heddle::engine::scheduler::message::ApplicationEvent;
use heddle_wire::RejectCode::*;
use heddle_wire::application_master::AllocateRequest;
use heddle_wire::frame::{HEADER_SIZE, set_correlation_id};
use heddle_wire::record::*;
use heddle_wire::{Flags, Opcode, RejectCode};

use super::fake::*;

const KEY: SchedulerKey = SchedulerKey { priority: 1, allocation_request_id: -1 };

#[test]
fn a_repeated_call_gets_the_same_bytes_and_does_nothing() {
    let mut door = Door::default();
    door.add_node(1, 10);
    let mut am = door.registered(0);
    let request = am.allocate(vec![ask(1, 3, Some(0))]);
    let first = door.send(&am, &request);
    let again = door.send(&am, &request);
    let mut patched = first.frame.clone();
    set_correlation_id(&mut patched, again.parsed().header.correlation_id);
    assert_eq!(again.frame, patched);
    assert_eq!(first.allocate().allocated_containers.len(), 3);
    let attempt = am.attempt;
    door.scheduler(|scheduler, _| assert_eq!(scheduler.live(attempt).len(), 3));
    am.take_in(&first.allocate());
    assert_eq!(door.send(&am, &am.allocate(vec![])).allocate().allocated_containers.len(), 0);
    assert_eq!((door.counters().allocates_fresh, door.counters().allocates_duplicate), (2, 1));
    assert!(door.pushes().is_empty());
}

#[test]
fn a_repeated_call_in_the_same_batch_waits_for_its_answer() {
    let mut door = Door::default();
    door.add_node(1, 10);
    let (am, other) = (door.registered(0), door.registered(1));
    let request = am.allocate(vec![ask(1, 3, Some(0))]);
    let frames = [
        (door.frame(&am, &request), am.stream, am.peer),
        (door.frame(&other, &other.allocate(vec![])), other.stream, other.peer),
        (door.frame(&am, &request), am.stream, am.peer),
    ];
    let replies = door.send_frames(&frames);
    assert_eq!(replies[0].frame[HEADER_SIZE..], replies[2].frame[HEADER_SIZE..]);
    assert_eq!(replies[0].allocate().allocated_containers.len(), 3);
}

#[test]
fn response_ids_go_around_and_anything_else_is_refused_with_what_is_expected() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    // YARN's stored answer after registration is an empty one.
    let repeated = AllocateRequest { response_id: 0x7fff_ffff, ..am.allocate(vec![]) };
    assert_eq!(door.send(&am, &repeated).allocate().response_id, 0);
    for _ in 0..3 {
        am.take_in(&door.send(&am, &am.allocate(vec![])).allocate());
    }
    for found in [0, 1, 4, u32::MAX] {
        let request = AllocateRequest { response_id: found, ..am.allocate(vec![]) };
        let text = format!("expect responseId to be 3 but get {found}");
        door.send(&am, &request).expect_reject(InvalidApplicationMasterRequest, &text);
    }
    assert_eq!(door.send(&am, &am.allocate(vec![])).allocate().response_id, 4);
}

/// Each of these is refused by name, changes nothing, and may be corrected under the same id.
#[test]
fn a_call_with_one_fault_is_refused_whole() {
    let mut door = Door::default();
    door.add_node(1, 0);
    let am = door.registered(0);
    let attempt = am.attempt;
    let good = || ask(1, 2, Some(0));
    let bad = |change: fn(&mut ResourceRequest)| {
        let mut ask = good();
        change(&mut ask);
        am.allocate(vec![good(), ask])
    };
    let gpu = |name: &str| ResourceInformation { name: name.to_owned(), value: 1, units: String::new() };
    let mut unknown_type = am.allocate(vec![good(), good()]);
    unknown_type.asks[1].capability.extended.push(gpu("yarn.io/gpu"));
    let scheduling = SchedulingRequest {
        allocation_request_id: 1,
        priority: 1,
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: false,
        allocation_tags: vec![],
        resource_sizing: ResourceSizing { num_allocations: 1, resources: Resource::new(1, 1) },
        placement_constraint: String::new(),
    };
    let plain = || am.allocate(vec![good()]);
    let cases: Vec<(AllocateRequest, RejectCode, &str)> = vec![
        (
            bad(|ask| ask.num_containers = -1),
            InvalidResourceRequest,
            "LESS_THAN_ZERO: asks.num_containers is -1",
        ),
        (
            bad(|ask| ask.capability.memory_mb = 8_193),
            InvalidResourceRequest,
            "GREATER_THEN_MAX_ALLOCATION: asks.capability",
        ),
        (unknown_type, InvalidResourceRequest, "UNKNOWN: asks.capability names resource type yarn.io/gpu"),
        (
            bad(|ask| ask.node_label_expression = Some("unknown".to_owned())),
            InvalidLabelResourceRequest,
            "asks.node_label_expression",
        ),
        (
            bad(|ask| {
                (ask.execution_type, ask.enforce_execution_type) = (ExecutionType::Opportunistic, true)
            }),
            Unsupported,
            "asks.execution_type",
        ),
        (bad(|ask| ask.grants_seen = Some(u64::MAX)), InvalidResourceRequest, "UNKNOWN: asks.grants_seen"),
        (
            AllocateRequest { blacklist_additions: vec!["h".to_owned(), "*".to_owned()], ..plain() },
            InvalidResourceBlacklistRequest,
            "blacklist_additions names *",
        ),
        (
            AllocateRequest { releases: vec![container_of(1, 1), container_of(2, 1)], ..plain() },
            InvalidContainerRelease,
            "another application's",
        ),
        (
            AllocateRequest { scheduling_requests: vec![scheduling], ..plain() },
            Unsupported,
            "scheduling_requests",
        ),
        (AllocateRequest { events_seen: 1, ..plain() }, BadField, "events_seen is 1, accepted are at most 0"),
    ];
    for (request, code, text) in cases {
        door.send(&am, &request).expect_reject(code, text);
        door.scheduler(|scheduler, _| {
            assert_eq!(scheduler.outstanding(attempt, KEY), 0, "{text}");
            assert!(scheduler.blacklist.is_empty());
        });
    }
    assert_eq!(door.send(&am, &plain()).allocate().response_id, 1);
    door.scheduler(|scheduler, _| assert_eq!(scheduler.outstanding(attempt, KEY), 2));
}

#[test]
fn unknown_containers_are_released_without_a_word_and_own_ones_end() {
    let mut door = Door::default();
    door.add_node(1, 2);
    let mut am = door.registered(0);
    let (grants, _) = am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 1, Some(0))])).allocate());
    let releases = vec![grants[0].container_id, container_of(1, 999)];
    let response = door.send(&am, &AllocateRequest { releases, ..am.allocate(vec![]) }).allocate();
    let (_, ends) = am.take_in(&response);
    assert_eq!(ends.len(), 1);
    assert_eq!((ends[0].container_id, ends[0].exit_status), (grants[0].container_id, -100));
}

#[test]
fn of_two_rows_for_any_place_the_last_counts_and_the_first_takes_nothing_back() {
    let mut door = Door::default();
    door.add_node(1, 3);
    let am = door.registered(0);
    door.send(&am, &am.allocate(vec![ask(1, 3, Some(0))]));
    let next =
        AllocateRequest { response_id: 1, ..am.allocate(vec![ask(1, 0, Some(0)), ask(1, 5, Some(0))]) };
    door.send(&am, &next).allocate();
    let attempt = am.attempt;
    door.scheduler(|scheduler, _| {
        assert!(scheduler.voided.is_empty());
        assert_eq!(scheduler.outstanding(attempt, KEY), 2);
    });
}

#[test]
fn rows_of_hosts_and_racks_count_what_is_on_its_way_there() {
    let mut door = Door::default();
    door.add_node(1, 2);
    let am = door.registered(0);
    let at = |resource_name, count, seen| ResourceRequest { resource_name, ..ask(1, count, seen) };
    let rows = |seen| {
        vec![
            at(ResourceName::Host("host-1".to_owned()), 3, seen),
            at(ResourceName::Host("host-2".to_owned()), 3, seen),
            at(ResourceName::Rack("/rack-1".to_owned()), 3, seen),
            ask(1, 6, seen),
        ]
    };
    door.send(&am, &am.allocate(rows(Some(0)))).allocate();
    let attempt = am.attempt;
    for (response_id, seen, expected) in [(1, Some(0), (4, 1, 3, 1)), (2, None, (6, 3, 3, 3))] {
        door.send(&am, &AllocateRequest { response_id, ..am.allocate(rows(seen)) }).allocate();
        door.scheduler(|scheduler, _| {
            let pending = &scheduler.pending[&(attempt, KEY)];
            let found =
                (pending.any, pending.hosts["host-1"], pending.hosts["host-2"], pending.racks["/rack-1"]);
            assert_eq!(found, expected);
        });
    }
}

/// Story: a container that had ended, or never was, was answered as one whose update is not supported.
#[test]
fn container_updates_are_answered_by_name() {
    let mut door = Door::default();
    door.add_node(1, 3);
    let mut am = door.registered(0);
    am.take_in(&door.send(&am, &am.allocate(vec![ask(1, 3, Some(0))])).allocate());
    let update = |id, application, version, memory_mb| UpdateContainerRequest {
        container_version: version,
        container_id: container_of(application, id),
        update_type: ContainerUpdateType::IncreaseResource,
        capability: Some(Resource::new(memory_mb, 1)),
        execution_type: None,
    };
    let update_requests = vec![
        update(1, 2, 0, 1_024),
        update(4, 1, 0, 1_024),
        update(1, 1, 1, 1_024),
        update(2, 1, 0, 1_024),
        update(2, 1, 0, 2_048),
        update(3, 1, 0, 9_000),
    ];
    let request = AllocateRequest { update_requests: update_requests.clone(), ..am.allocate(vec![]) };
    let details = door.send(&am, &request).allocate().details.unwrap();
    let reasons: Vec<_> = details
        .update_errors
        .iter()
        .map(|error| (error.reason.split(':').next().unwrap(), error.current_container_version))
        .collect();
    let expected = [
        ("INVALID_CONTAINER_ID", None),
        ("INVALID_CONTAINER_ID", None),
        ("INCORRECT_CONTAINER_VERSION_ERROR", Some(0)),
        ("NOT_SUPPORTED_YET", Some(0)),
        ("UPDATE_OUTSTANDING_ERROR", Some(0)),
        ("RESOURCE_OUTSIDE_ALLOWED_RANGE", Some(0)),
    ];
    assert_eq!(reasons, expected);
    let echoed: Vec<_> = details.update_errors.into_iter().map(|error| error.update_request).collect();
    assert_eq!(echoed, update_requests);
    // Only once.
    let next = AllocateRequest { response_id: 2, ..am.allocate(vec![]) };
    assert_eq!(door.send(&am, &next).allocate().details, None);
}

#[test]
fn progress_is_sanitised_and_told_at_most_once_a_second() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    door.told();
    let mut told = Vec::new();
    let mut call = |door: &mut Door, progress, tracking_url: Option<&str>| {
        let tracking_url = tracking_url.map(str::to_owned);
        let request = AllocateRequest { progress, tracking_url, ..am.allocate(vec![]) };
        am.take_in(&door.send(&am, &request).allocate());
        for event in door.told() {
            let ApplicationEvent::StatusUpdate { progress, tracking_url, .. } = event else {
                panic!("{event:?}")
            };
            told.push((progress, tracking_url));
        }
        core::mem::take(&mut told)
    };
    assert_eq!(call(&mut door, f32::NAN, None), [], "0 is what it was");
    assert_eq!(call(&mut door, f32::INFINITY, None), [(1.0, None)]);
    assert_eq!(call(&mut door, -3.0, None), []);
    assert_eq!(call(&mut door, 0.25, Some("http://b/")), []);
    door.now = door.scheduling.next_deadline().unwrap();
    assert_eq!(door.now.as_millis(), 2_000);
    door.tick();
    let event = door.told().remove(0);
    assert!(
        matches!(&event, ApplicationEvent::StatusUpdate { progress: 0.25, tracking_url: Some(url), .. } if &**url == "http://b/"),
        "{event:?}"
    );
    door.advance(5);
    assert_eq!(call(&mut door, 0.25, None), [], "nothing new");
    assert_eq!(call(&mut door, 0.5, None), [(0.5, None)]);
}

#[test]
fn an_answer_says_headroom_nodes_priority_and_how_busy_the_cluster_is() {
    let mut door = Door::default();
    door.scheduler(|scheduler, _| {
        scheduler.add_node(1, 4);
        scheduler.busy = Some((10, 640));
    });
    let mut am = door.registered(0);
    let response = door.send(&am, &am.allocate(vec![ask(1, 1, Some(0))])).allocate();
    assert_eq!((response.num_cluster_nodes, response.application_priority), (1, 5));
    assert_eq!(response.headroom, Resource::new(3 * 1_024, 3));
    let busy = response.details.as_ref().unwrap().enhanced_headroom.unwrap();
    assert_eq!((busy.total_pending_count, busy.total_active_cores), (10, 640));
    am.take_in(&response);
    // Not with every answer.
    door.scheduler(|scheduler, _| scheduler.busy = Some((11, 640)));
    let response = door.send(&am, &am.allocate(vec![])).allocate();
    assert_eq!(response.details, None);
    am.take_in(&response);
    door.advance(1);
    assert!(door.send(&am, &am.allocate(vec![])).allocate().details.unwrap().enhanced_headroom.is_some());
}

#[test]
fn news_of_nodes_is_told_once_to_each_session_and_a_page_at_a_time() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    let mut late = door.registered(1);
    door.scheduler(|scheduler, out| {
        for row in 0..300 {
            let node = scheduler.add_node(row, 1);
            out.attempt_events.push(AttemptEvent::NodeUpdated { node, update_type: 0 });
        }
    });
    let first = door.send(&am, &am.allocate(vec![])).allocate();
    am.take_in(&first);
    let second = door.send(&am, &am.allocate(vec![])).allocate();
    am.take_in(&second);
    let (first, second) = (first.details.unwrap().updated_nodes, second.details.unwrap().updated_nodes);
    assert_eq!((first.len(), second.len()), (256, 44));
    assert_eq!(first[7].node_id.host, "host-7");
    assert_eq!((first[7].state, first[7].update_type), (NodeState::Running, NodeUpdateType::NodeUsable));
    assert_eq!(door.send(&am, &am.allocate(vec![])).allocate().details, None);
    // A node that is gone is still told by its name, and instead of what it was before.
    door.scheduler(|scheduler, out| scheduler.lose_node(NodeHandle::new(0, 7, 1), out));
    let mut nodes = Vec::new();
    while let Some(details) = {
        let response = door.send(&late, &late.allocate(vec![])).allocate();
        late.take_in(&response);
        response.details
    } {
        nodes.extend(details.updated_nodes);
    }
    assert_eq!(nodes.len(), 300);
    let last = nodes.last().unwrap();
    assert_eq!((last.node_id.host.as_str(), last.update_type), ("host-7", NodeUpdateType::NodeUnusable));
    assert!(nodes[..299].iter().all(|node| node.node_id.host != "host-7"));
}

#[test]
fn frames_that_are_no_call_of_an_am_are_refused() {
    let mut door = Door::default();
    let am = door.registered(0);
    let mut frame = door.frame(&am, &am.allocate(vec![]));
    frame[8] = Flags::RESPONSE.bits().to_le_bytes()[0];
    let mut beat = door.frame(&am, &am.allocate(vec![]));
    beat[6..8].copy_from_slice(&(Opcode::NodeHeartbeat as u16).to_le_bytes());
    let mut cut = door.frame(&am, &am.allocate(vec![]));
    cut.truncate(20);
    let mut broken = door.frame(&am, &am.allocate(vec![]));
    let size = broken.len();
    broken[HEADER_SIZE..size].fill(0xff);
    let frames = [frame, beat, cut, broken].map(|frame| (frame, am.stream, am.peer));
    let codes: Vec<_> = door.send_frames(&frames).iter().map(|reply| reply.code().unwrap()).collect();
    assert_eq!(codes, [WrongDirection, NotSupportedYet, Truncated, BadBody]);
}

/// An AM that asks under ever new ids is bounded by what is open, and what is done costs nothing.
#[test]
fn keys_at_rest_are_forgotten_and_open_ones_bounded() {
    let mut door = Door::default();
    door.add_node(1, 0);
    let mut am = door.registered(0);
    let mut id = 0;
    let mut asks = |count, number| -> Vec<ResourceRequest> {
        (0..number)
            .map(|_| {
                id += 1;
                ResourceRequest { allocation_request_id: id, ..ask(1, count, Some(0)) }
            })
            .collect()
    };
    for _ in 0..20 {
        am.take_in(&door.send(&am, &am.allocate(asks(0, 1_024))).allocate());
    }
    for _ in 0..16 {
        am.take_in(&door.send(&am, &am.allocate(asks(1, 1_024))).allocate());
    }
    door.send(&am, &am.allocate(asks(1, 1)))
        .expect_reject(InvalidResourceRequest, "asks would be outstanding under 16385 priorities");
    // Two in one call, of which the second is one too many.
    door.send(&am, &am.allocate(vec![ask(1, 0, None), ask(2, 1, None)]))
        .expect_reject(InvalidResourceRequest, "accepted are 16384");
}

/// Close to as many keys as an ApplicationMaster may have, rows for hosts and racks counted as keys of their own, and what a
/// call withdrew made no room for what it asked for: a call that fits was refused.
#[test]
fn close_to_the_most_keys_a_call_is_counted_exactly() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    let first = 1_000;
    for call in 0..16 {
        let asks = (0..1_024).map(|index| ask(first + call * 1_024 + index, 1, Some(0))).collect();
        am.take_in(&door.send(&am, &am.allocate(asks)).allocate());
    }
    let full = first + 16 * 1_024;
    let said = "under 16385 priorities and allocation_request_ids, accepted are 16384";
    door.send(&am, &am.allocate(vec![ask(full, 1, Some(0))])).expect_reject(InvalidResourceRequest, said);
    // One goes and one comes, in rows for a host, its rack and anywhere.
    let at = |resource_name| ResourceRequest { resource_name, ..ask(full, 1, Some(0)) };
    let asks = vec![
        ask(first, 0, Some(0)),
        at(ResourceName::Host("n1".to_owned())),
        at(ResourceName::Rack("r1".to_owned())),
        at(ResourceName::Any),
    ];
    am.take_in(&door.send(&am, &am.allocate(asks)).allocate());
    // What nobody wants anything of is no key.
    am.take_in(&door.send(&am, &am.allocate(vec![ask(full + 1, 0, Some(0))])).allocate());
    let asks = vec![ask(first + 1, 0, Some(0)), ask(full + 1, 1, Some(0)), ask(full + 2, 1, Some(0))];
    door.send(&am, &am.allocate(asks)).expect_reject(InvalidResourceRequest, said);
}

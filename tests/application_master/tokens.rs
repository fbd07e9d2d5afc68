//! Tokens: of containers, nodes and ApplicationMasters; keys that roll; what a node is told to launch.

use heddle::engine::event::{KeyPair, NodeOrder};
use heddle::engine::scheduler::face::{AttemptEvent, Launch};
use heddle::engine::scheduler::resource::ResourceVector;
use heddle_wire::RejectCode::InvalidToken;
use heddle_wire::application_master::AllocateRequest;
use heddle_wire::record::*;
use heddle_wire::token::{
    AmRmTokenIdentifier, ContainerTokenIdentifier, Identifier, NmTokenIdentifier, TokenKey,
};

use super::fake::*;

fn key(byte: u8) -> TokenKey {
    TokenKey::new(u32::from(byte), &[byte; 32])
}

#[test]
fn grants_and_nodes_come_with_tokens_that_hold_and_nodes_once() {
    let mut door = Door::default();
    let node = NodeHandle::new(0, 1, 1);
    door.add_node(1, 10);
    let mut am = door.registered(0);
    let response = door.send(&am, &am.allocate(vec![ask(1, 2, Some(0))])).allocate();
    let (scratch, node_id) = (&mut Vec::new(), NodeId::new("host-1", 45_454));
    for container in &response.allocated_containers {
        assert_eq!(container.expires_at_ms, 1_000_000 + 1_000 + 600_000);
        assert!(ContainerTokenIdentifier::of(container, &node_id, "ada").verify(
            &key(1),
            &container.token,
            scratch
        ));
        assert!(!ContainerTokenIdentifier::of(container, &node_id, "eve").verify(
            &key(1),
            &container.token,
            scratch
        ));
    }
    let [token] = &response.nm_tokens[..] else { panic!("{:?}", response.nm_tokens) };
    assert_eq!((token.node, token.node_id.host.as_str(), token.http_port), (node, "host-1", 8_042));
    let identifier =
        NmTokenIdentifier { application_attempt_id: am.attempt_id, node_id: &node_id, user: "ada" };
    assert!(identifier.verify(&key(2), &token.token, scratch));
    am.take_in(&response);
    let response = door.send(&am, &am.allocate(vec![ask(1, 1, Some(2))])).allocate();
    assert_eq!((response.allocated_containers.len(), response.nm_tokens.len()), (1, 0), "it has one");
    am.take_in(&response);
    // The node registers anew: it has another handle.
    door.scheduler(|scheduler, _| {
        let former = scheduler.nodes.remove(&node).unwrap();
        scheduler.nodes.insert(NodeHandle::new(0, 1, 2), former);
    });
    let response = door.send(&am, &am.allocate(vec![ask(1, 1, Some(3))])).allocate();
    assert_eq!(response.nm_tokens.len(), 1);
    am.take_in(&response);
    // The key of NM tokens rolls.
    let keys = |current, next| KeyPair { current: secret(current), next };
    door.scheduling.application_master_mut().set_keys(&keys(1, None), &keys(5, None), &keys(3, None));
    let response = door.send(&am, &am.allocate(vec![ask(1, 1, Some(4))])).allocate();
    assert_eq!(response.nm_tokens[0].token.key_id, 5);
}

#[test]
fn a_roll_over_gives_the_am_a_new_token_until_it_has_shown_it() {
    let mut door = Door::default();
    let mut am = door.registered(0);
    let keys = |current, next| KeyPair { current: secret(current), next };
    door.scheduling.application_master_mut().set_keys(&keys(1, None), &keys(2, None), &keys(3, secret(4)));
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let response = door.send(&am, &am.allocate(vec![])).allocate();
        tokens.push(response.details.as_ref().unwrap().am_rm_token.unwrap());
        am.take_in(&response);
    }
    assert_eq!(tokens[0], tokens[1]);
    assert_eq!(tokens[0], am_rm_token(am.attempt, am.attempt_id, 4));
    // It shows it on another stream, or on the same one.
    let request = AllocateRequest { am_rm_token: Some(tokens[0]), ..am.allocate(vec![]) };
    let response = door.send(&am, &request).allocate();
    assert_eq!(response.details, None);
    am.take_in(&response);
    // The next key is in force: the former token does not hold any more.
    door.scheduling.application_master_mut().set_keys(&keys(1, None), &keys(2, None), &keys(4, None));
    am.stream = OTHER_STREAM;
    let old = AllocateRequest { am_rm_token: Some(am.token()), ..am.allocate(vec![]) };
    door.send(&am, &old).expect_reject(InvalidToken, "made with key 3");
    let new = AllocateRequest { am_rm_token: Some(tokens[0]), ..am.allocate(vec![]) };
    door.send(&am, &new).allocate();
}

#[test]
fn without_keys_nobody_registers() {
    let mut settings = settings();
    settings.am_rm_token_keys = KeyPair::default();
    let mut door = Door::new(&settings);
    let am = door.add_attempt(0, false, false);
    door.say(AttemptEvent::Ready(am.attempt));
    let mut register = am.register();
    register.am_rm_token = TokenMac { key_id: 0, mac: [0; 32] };
    door.send(&am, &register).expect_reject(InvalidToken, "made with key 0");
}

#[test]
fn a_launch_carries_both_tokens_to_the_node() {
    let mut door = Door::default();
    // The node registers anew while the launch is on its way, or the answer to that is lost: the token names the node, not
    // a registration. It named the handle, and the node refused an order that was rightly its own.
    let node = NodeHandle::new(0, 1, 1);
    door.scheduler(|scheduler, _| {
        let handle = scheduler.add_node(1, 10);
        let added = scheduler.nodes.remove(&handle).unwrap();
        scheduler.nodes.insert(NodeHandle::new(0, 1, 2), added);
    });
    let am = door.add_attempt(0, false, false);
    let launch = Launch {
        attempt: am.attempt,
        container_id: container_of(1, 1),
        node,
        resource: ResourceVector::new(2_048, 1),
        priority: 0,
        launch_context: Box::new([1, 2, 3]),
    };
    door.say(AttemptEvent::Launch(Box::new(launch)));
    door.pushes();
    let commands = core::mem::take(&mut door.scheduling.output().node_commands);
    let [command] = &commands[..] else { panic!("{commands:?}") };
    let NodeOrder::LaunchContainer(order) = &command.order else { panic!("{command:?}") };
    assert_eq!((command.node, command.is_urgent), (node, true));
    assert_eq!((order.attempt, &*order.user, &*order.launch_context), (am.attempt.0, "ada", &[1, 2, 3][..]));
    let mac = |(key_id, mac): (u32, [u8; 32])| TokenMac { key_id, mac };
    let identifier = ContainerTokenIdentifier {
        container_id: order.container_id,
        node_id: &NodeId::new("host-1", 45_454),
        resource: &Resource::new(2_048, 1),
        priority: 0,
        allocation_request_id: -1,
        version: 0,
        execution_type: ExecutionType::Guaranteed,
        user: "ada",
        expires_at_ms: order.expires_at_ms,
    };
    assert!(identifier.verify(&key(1), &mac(order.container_token), &mut Vec::new()));
    let identifier = AmRmTokenIdentifier {
        application_attempt_id: am.attempt_id,
        attempt_handle: AttemptHandle(am.attempt.0),
    };
    assert!(identifier.verify(&key(3), &mac(order.am_rm_token), &mut Vec::new()));
    // With it the AM registers.
    let mut register = am.register();
    register.am_rm_token = mac(order.am_rm_token);
    door.send(&am, &register).register();
}

/// A node that has gone has no name to sign: what is ordered from it is signed with nothing, which nobody accepts.
#[test]
fn for_a_node_that_has_gone_nothing_is_signed() {
    let mut door = Door::default();
    let am = door.add_attempt(0, false, false);
    let launch = Launch {
        attempt: am.attempt,
        container_id: container_of(1, 1),
        node: NodeHandle::new(0, 1, 1),
        resource: ResourceVector::new(2_048, 1),
        priority: 0,
        launch_context: Box::new([]),
    };
    door.say(AttemptEvent::Launch(Box::new(launch)));
    door.pushes();
    let commands = core::mem::take(&mut door.scheduling.output().node_commands);
    let NodeOrder::LaunchContainer(order) = &commands[0].order else { panic!("{commands:?}") };
    assert_eq!(order.container_token, (0, [0; 32]));
}

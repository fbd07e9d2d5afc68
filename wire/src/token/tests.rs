//! Tokens: what one key signed, no other identifier and no other key confirms.

use std::collections::BTreeSet;

use super::*;
use crate::record::{ApplicationId, NodeHandle, ResourceInformation};

fn attempt_id(id: u32, attempt_id: u32) -> ApplicationAttemptId {
    ApplicationAttemptId {
        application_id: ApplicationId { cluster_timestamp: 1_763_625_600_000, id },
        attempt_id,
    }
}

fn gpus(name: &str, value: u64, units: &str) -> Resource {
    let extended = vec![ResourceInformation { name: name.to_owned(), value, units: units.to_owned() }];
    Resource { memory_mb: 4_096, virtual_cores: 2, extended }
}

fn node(host: &str, port: u16) -> NodeId {
    NodeId::new(host, port)
}

fn container<'a>(node_id: &'a NodeId, resource: &'a Resource) -> ContainerTokenIdentifier<'a> {
    ContainerTokenIdentifier {
        container_id: ContainerId { application_attempt_id: attempt_id(7, 1), container_id: 3 },
        node_id,
        resource,
        priority: 1,
        allocation_request_id: -1,
        version: 0,
        execution_type: ExecutionType::Guaranteed,
        user: "ada",
        expires_at_ms: 1_763_625_600_000,
    }
}

fn bytes(identifier: &dyn Identifier) -> Vec<u8> {
    let mut out = Vec::new();
    identifier.write(&mut out);
    out
}

/// Every field changed once, and neighbours whose bytes would be the same without lengths.
fn all_different() -> Vec<Vec<u8>> {
    let (plain, other) = (Resource::new(4_096, 2), Resource::new(4_097, 2));
    let more_cores = Resource::new(4_096, 3);
    let resources = [
        gpus("yarn.io/gpu", 1, ""),
        gpus("yarn.io/gpu", 2, ""),
        gpus("yarn.io/gp", 1, "u"),
        gpus("yarn.io/gpu", 1, "k"),
    ];
    let (host, other_host, other_port) = (node("n1", 7), node("n2", 7), node("n1", 8));
    let base = container(&host, &plain);
    let other_container = ContainerId { container_id: 4, ..base.container_id };
    let other_attempt = ContainerId { application_attempt_id: attempt_id(7, 2), container_id: 3 };
    let mut all: Vec<Vec<u8>> = [
        base,
        ContainerTokenIdentifier { container_id: other_container, ..base },
        ContainerTokenIdentifier { container_id: other_attempt, ..base },
        ContainerTokenIdentifier { node_id: &other_host, ..base },
        ContainerTokenIdentifier { node_id: &other_port, ..base },
        ContainerTokenIdentifier { resource: &other, ..base },
        ContainerTokenIdentifier { resource: &more_cores, ..base },
        ContainerTokenIdentifier { priority: 2, ..base },
        ContainerTokenIdentifier { allocation_request_id: 0, ..base },
        ContainerTokenIdentifier { version: 1, ..base },
        ContainerTokenIdentifier { execution_type: ExecutionType::Opportunistic, ..base },
        ContainerTokenIdentifier { user: "adb", ..base },
        ContainerTokenIdentifier { user: "", ..base },
        ContainerTokenIdentifier { expires_at_ms: 0, ..base },
    ]
    .iter()
    .map(|identifier| bytes(identifier))
    .collect();
    all.extend(resources.iter().map(|resource| bytes(&container(&host, resource))));
    let handle = 0x0102_0304_0506_0708;
    for id in [attempt_id(7, 1), attempt_id(7, 2), attempt_id(8, 1)] {
        all.push(bytes(&AmRmTokenIdentifier {
            application_attempt_id: id,
            attempt_handle: AttemptHandle(handle),
        }));
        for (node_id, user) in [(&host, ""), (&host, "ada"), (&other_host, "ada"), (&other_port, "ada")] {
            all.push(bytes(&NmTokenIdentifier { application_attempt_id: id, node_id, user }));
        }
    }
    all
}

#[test]
fn different_identifiers_have_different_bytes() {
    let all = all_different();
    let distinct: BTreeSet<&Vec<u8>> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn what_was_signed_is_confirmed_and_nothing_else() {
    let (key, other) = (TokenKey::new(5, &[7; 32]), TokenKey::new(5, &[8; 32]));
    let all = all_different();
    for (at, identifier) in all.iter().enumerate() {
        let token = key.sign(identifier);
        assert_eq!(token.key_id, 5);
        for (against, candidate) in all.iter().enumerate() {
            assert_eq!(key.verify(candidate, &token), at == against, "{at} against {against}");
        }
        assert!(!other.verify(identifier, &token), "another secret");
        assert!(!key.verify(identifier, &TokenMac { key_id: 6, ..token }), "another number");
        let mut damaged = token;
        damaged.mac[31] ^= 1;
        assert!(!key.verify(identifier, &damaged), "a damaged signature");
    }
}

#[test]
fn the_scratch_buffer_may_hold_anything_before() {
    let key = TokenKey::new(1, b"secret");
    let identifier =
        AmRmTokenIdentifier { application_attempt_id: attempt_id(1, 1), attempt_handle: AttemptHandle(9) };
    let mut scratch = vec![0xee; 500];
    let token = identifier.sign(&key, &mut scratch);
    assert_eq!(token, key.sign(&bytes(&identifier)));
    scratch.insert(0, 1);
    assert!(identifier.verify(&key, &token, &mut scratch));
}

#[test]
fn a_grants_token_is_about_the_grant() {
    let key = TokenKey::new(1, b"secret");
    let resource = gpus("yarn.io/gpu", 1, "");
    let node_id = node("n1", 7);
    let expected = container(&node_id, &resource);
    let mut grant = Container {
        container_id: expected.container_id,
        node: NodeHandle::new(1, 2, 3),
        resource: resource.clone(),
        priority: expected.priority,
        allocation_request_id: expected.allocation_request_id,
        grant_number: 1,
        execution_type: expected.execution_type,
        version: expected.version,
        expires_at_ms: expected.expires_at_ms,
        token: TokenMac { key_id: 0, mac: [0; 32] },
    };
    let mut scratch = Vec::new();
    grant.token = ContainerTokenIdentifier::of(&grant, &node_id, "ada").sign(&key, &mut scratch);
    assert!(expected.verify(&key, &grant.token, &mut scratch));
    // The node registered again: what was granted before may be started all the same.
    grant.node = NodeHandle::new(1, 2, 4);
    assert!(ContainerTokenIdentifier::of(&grant, &node_id, "ada").verify(&key, &grant.token, &mut scratch));
    let elsewhere = node("n2", 7);
    assert!(!ContainerTokenIdentifier::of(&grant, &elsewhere, "ada").verify(
        &key,
        &grant.token,
        &mut scratch
    ));
    grant.resource.memory_mb += 1;
    assert!(!ContainerTokenIdentifier::of(&grant, &node_id, "ada").verify(&key, &grant.token, &mut scratch));
}

#[test]
fn signatures_are_not_printed() {
    let token = TokenMac { key_id: 7, mac: [0xab; 32] };
    assert_eq!(format!("{token:?}"), "TokenMac { key_id: 7, mac: \"(secret)\" }");
    let key = format!("{:?}", TokenKey::new(7, b"hunter2"));
    assert!(!key.contains("hunter2") && !key.contains("104, 117"), "{key}");
}

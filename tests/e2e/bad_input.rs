//! What a peer may do wrong with bytes and certificates: it is told what was wrong, and others do not notice.

use std::sync::Arc;

use heddle::config::RmConfig;
use heddle::pki::{Authority, Role, SERVER_NAME};
use heddle_wire::frame::{Flags, FrameHeader, MAGIC, offset};
use heddle_wire::record::{NodeAction, NodeHandle, NodeId};
use heddle_wire::{Opcode, RejectCode, write_frame};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, TransportErrorCode};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::cluster::{Cluster, Setup, block_on, list_nodes, until};
use crate::peer::{Peer, Pki, client_endpoint, ending, heartbeat, refusal, registration};

fn frame(handle: NodeHandle) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Flags::REQUEST, 77, handle.0, &heartbeat(handle, 0));
    bytes
}

/// Sends bytes that end the connection, and returns what the peer was told and the code it was closed with.
async fn fatal(cluster: &Cluster, pki: &Pki, bytes: &[u8]) -> (u16, String, u64) {
    let mut peer = Peer::connect(cluster.address(), &pki.issue(Role::Node, "bad")).await;
    peer.send(bytes).await;
    let reject = peer.expect().await.reject();
    assert!(peer.next().await.is_none(), "the stream goes on");
    let closed = match peer.connection.closed().await {
        ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
        other => panic!("closed by {other}"),
    };
    (reject.code, reject.message, closed)
}

#[test]
fn bytes_that_are_no_frame_end_the_connection_with_a_reason() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        let mut healthy = Peer::connect(cluster.address(), &pki.issue(Role::Node, "good")).await;
        let handle = healthy.register(NodeId::new("good", 1)).await.node_handle;
        let good = frame(handle);
        let changed = |at: usize, bytes: &[u8]| {
            let mut frame = good.clone();
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        let cases = [
            (changed(offset::MAGIC, b"HTTP"), RejectCode::BadMagic, "magic"),
            (changed(offset::VERSION, &9_u16.to_le_bytes()), RejectCode::UnsupportedVersion, "version is 9"),
            (changed(offset::FLAGS, &0x80_u16.to_le_bytes()), RejectCode::BadHeader, "0x0080"),
            (changed(offset::RESERVED, &1_u16.to_le_bytes()), RejectCode::BadHeader, "reserved"),
            (changed(offset::BODY_LENGTH, &u32::MAX.to_le_bytes()), RejectCode::BodyTooLarge, "4294967295"),
        ];
        for (bytes, code, text) in cases {
            let (number, message, closed) = fatal(&cluster, &pki, &bytes).await;
            assert_eq!((number, closed), (code as u16, u64::from(code as u16)), "{message}");
            assert!(message.contains(text) && message.contains("accepted"), "{message}");
        }
        assert_ne!(MAGIC, u32::from_le_bytes(*b"HTTP"));
        assert_eq!(healthy.beat(handle, 0).await.node_action, NodeAction::Normal);
    });
    cluster.rm.stop();
}

#[test]
fn a_frame_that_cannot_be_carried_out_is_refused_and_the_stream_goes_on() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        let mut peer = Peer::connect(cluster.address(), &pki.issue(Role::Node, "n1")).await;
        let handle = peer.register(NodeId::new("n1", 1)).await.node_handle;
        let good = frame(handle);

        // An opcode of a later version: passed over, body and all.
        let mut unknown = good.clone();
        unknown[offset::OPCODE..offset::OPCODE + 2].copy_from_slice(&0x7777_u16.to_le_bytes());
        peer.send(&unknown).await;
        let refused = peer.expect().await;
        assert_eq!(refused.reject().code, RejectCode::UnknownOpcode as u16);
        assert_eq!((refused.header.correlation_id, refused.opcode_number), (77, 0x7777));

        // A body that is not the record: every byte set.
        let mut broken = good.clone();
        broken[32..].fill(0xff);
        peer.send(&broken).await;
        let reject = peer.expect().await.reject();
        assert_eq!(reject.code, RejectCode::BadBody as u16, "{}", reject.message);
        assert!(reject.message.contains("NodeHeartbeat"), "{}", reject.message);

        // A body of another length than the record has, down to none.
        for size in [0, 1, good.len() - 33] {
            let mut short = good[..32 + size].to_vec();
            short[offset::BODY_LENGTH..offset::BODY_LENGTH + 4].copy_from_slice(&(size as u32).to_le_bytes());
            peer.send(&short).await;
            let reject = peer.expect().await.reject();
            let accepted =
                [RejectCode::BadBody as u16, RejectCode::WrongRoute as u16, RejectCode::BadField as u16];
            assert!(accepted.contains(&reject.code), "{size} bytes: {reject:?}");
        }

        // A method of another role, and one that is not there yet.
        let mut other = good.clone();
        other[offset::OPCODE..offset::OPCODE + 2]
            .copy_from_slice(&(Opcode::DecommissionNodes as u16).to_le_bytes());
        peer.send(&other).await;
        let reject = peer.expect().await.reject();
        assert_eq!(reject.code, RejectCode::RoleNotAllowed as u16);
        assert!(reject.message.contains("heddle://node/n1"), "{}", reject.message);

        // In one piece, and byte by byte: the same answers.
        peer.send(&good).await;
        assert!(!peer.expect().await.header.flags.is_reject());
        let mut next = Vec::new();
        write_frame(&mut next, Flags::REQUEST, 78, handle.0, &heartbeat(handle, 1));
        for byte in &next {
            peer.send(&[*byte]).await;
        }
        let answer = peer.expect().await;
        assert_eq!((answer.header.correlation_id, answer.header.flags.is_reject()), (78, false));
    });
    cluster.rm.stop();
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_told_how_much_is_missing() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        let mut peer = Peer::connect(cluster.address(), &pki.issue(Role::Node, "n1")).await;
        let header = FrameHeader {
            opcode: Opcode::NodeHeartbeat,
            flags: Flags::REQUEST,
            body_length: 100,
            correlation_id: 1,
            routing_key: 1,
        };
        peer.send(&header.to_bytes()).await;
        peer.send.finish().unwrap();
        let reject = peer.expect().await.reject();
        assert_eq!(reject.code, RejectCode::Truncated as u16);
        assert!(reject.message.contains("100"), "{}", reject.message);
    });
    cluster.rm.stop();
}

/// A client that writes its requests and finishes its side at once was answered nothing: the stream was let go before the
/// shard had the frames.
#[test]
fn a_peer_that_finishes_is_answered_all_it_asked() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        let mut peer = Peer::connect(cluster.address(), &pki.issue(Role::Node, "n1")).await;
        let handle = peer.register(NodeId::new("n1", 1)).await.node_handle;
        let mut bytes = Vec::new();
        for _ in 0..100 {
            write_frame(&mut bytes, Flags::REQUEST, 1, handle.0, &heartbeat(handle, 0));
        }
        peer.send(&bytes).await;
        peer.send.finish().unwrap();
        let mut answers = 0;
        while let Some(frame) = peer.next().await {
            assert!(!frame.header.flags.is_reject());
            answers += 1;
        }
        assert_eq!(answers, 100, "then the stream ends, finished by the ResourceManager");
        assert!(peer.connection.close_reason().is_none());
    });
    cluster.rm.stop();
}

#[test]
fn a_handle_of_another_node_or_generation_does_no_harm() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        let mut owner = Peer::connect(cluster.address(), &pki.issue(Role::Node, "n1")).await;
        let handle = owner.register(NodeId::new("n1", 1)).await.node_handle;
        owner.beat(handle, 0).await;

        let mut stranger = Peer::connect(cluster.address(), &pki.issue(Role::Node, "n2")).await;
        stranger.send(&frame(handle)).await;
        let reject = stranger.expect().await.reject();
        let accepted = [RejectCode::NameNotAllowed as u16, RejectCode::WrongRoute as u16];
        assert!(accepted.contains(&reject.code), "{reject:?}");

        // The header says one of a relay's nodes, the body another.
        let mut relay = Peer::connect(cluster.address(), &pki.issue(Role::Node, "r*")).await;
        let first = relay.register(NodeId::new("r1", 1)).await.node_handle;
        let second = relay.register(NodeId::new("r2", 1)).await.node_handle;
        assert_ne!(first, second);
        for (header, body) in [(first, second), (second, first), (first, handle)] {
            let mut mixed = frame(body);
            heddle_wire::frame::set_routing_key(&mut mixed, header.0);
            relay.send(&mixed).await;
            let reject = relay.expect().await.reject();
            assert_eq!(reject.code, RejectCode::WrongRoute as u16, "{}", reject.message);
        }
        // None of them was moved on by it.
        for node in [first, second] {
            let answer = relay.beat(node, 0).await;
            assert_eq!((answer.node_action, answer.response_id), (NodeAction::Normal, 1));
        }

        // Another generation: RESYNC for whoever holds it.
        let dead = NodeHandle::new(handle.shard(), handle.row(), handle.generation() + 1);
        assert_eq!(owner.beat(dead, 0).await.node_action, NodeAction::Resync);

        // A shard that does not exist.
        let nowhere = NodeHandle::new(200, 0, 1);
        owner.send(&frame(nowhere)).await;
        assert_eq!(owner.expect().await.reject().code, RejectCode::WrongRoute as u16);

        assert_eq!(owner.beat(handle, 1).await.node_action, NodeAction::Normal, "the owner goes on unharmed");
    });
    cluster.rm.stop();
}

/// A client with a certificate of `foreign` that trusts the authority of `pki`, which `Identity` does not let itself be.
fn foreign_client(foreign: &Pki, pki: &Pki) -> quinn::ClientConfig {
    let folder = tempfile::tempdir().unwrap();
    let identity = foreign.issue(Role::Node, "n1");
    let files = identity.save(folder.path(), "n1").unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pki.authority.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            identity.certificates().to_vec(),
            PrivateKeyDer::from_pem_file(&files.key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![heddle_wire::ALPN.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}

#[test]
fn certificates_of_another_authority_are_refused_by_both_sides() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    // One of another name is unknown, one that calls itself as ours has another key: TLS has an alert for each.
    let (unknown_ca, decrypt_error) = (TransportErrorCode::crypto(48), TransportErrorCode::crypto(51));
    let another = Pki { authority: Authority::create("another").unwrap() };
    block_on(async {
        for (foreign, alert) in [(another, unknown_ca), (Pki::new(), decrypt_error)] {
            // By the door.
            let endpoint = client_endpoint(&pki.issue(Role::Node, "n1"), &RmConfig::default().transport);
            let config = foreign_client(&foreign, &pki);
            let connecting = endpoint.connect_with(config, cluster.address(), SERVER_NAME).unwrap();
            match ending(connecting).await {
                ConnectionError::ConnectionClosed(closed) => assert_eq!(closed.error_code, alert, "{closed}"),
                other => panic!("a certificate of another authority was not refused: {other}"),
            }
            // By a client that trusts another authority than the door's.
            match refusal(cluster.address(), &foreign.issue(Role::Node, "n1")).await {
                ConnectionError::TransportError(error) => assert_eq!(error.code, alert, "{error}"),
                other => panic!("a ResourceManager of another authority was trusted: {other}"),
            }
        }
        let door = &cluster.metrics.transports()[0].1;
        until(door, |door| door.handshakes_failed.get(), 4).await;
        assert_eq!((door.handshakes_accepted.get(), door.connections.get()), (0, 0));
    });
    cluster.rm.stop();
}

#[test]
fn certificates_of_another_role_or_host_are_refused_with_a_reason() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        // Of a ResourceManager: it is not a client.
        match refusal(cluster.address(), &pki.issue(Role::ResourceManager, "rm2")).await {
            ConnectionError::ApplicationClosed(closed) => {
                assert_eq!(closed.error_code.into_inner(), RejectCode::RoleNotAllowed as u64);
                let reason = String::from_utf8_lossy(&closed.reason);
                assert!(reason.contains("heddle://resourcemanager/rm2"), "{reason}");
            }
            other => panic!("not refused with a reason: {other}"),
        }

        // Of a client, which asks for what nodes may: each is refused, and the stream goes on.
        let node_id = NodeId::new("n1", 1);
        let mut client = Peer::connect(cluster.address(), &pki.issue(Role::Client, "alice")).await;
        client.request(3, node_id.routing_key(), &registration(node_id)).await;
        client.send(&frame(NodeHandle::new(0, 0, 1))).await;
        for method in ["RegisterNodeManager", "NodeHeartbeat"] {
            let reject = client.expect().await.reject();
            assert_eq!(reject.code, RejectCode::RoleNotAllowed as u16);
            assert!(
                reject.message.contains("heddle://client/alice") && reject.message.contains(method),
                "{}",
                reject.message
            );
        }
        assert_eq!(list_nodes(&mut client).await, []);

        // Of another host.
        let mut peer = Peer::connect(cluster.address(), &pki.issue(Role::Node, "rack1-*")).await;
        let node_id = NodeId::new("rack2-a", 1);
        peer.request(3, node_id.routing_key(), &registration(node_id)).await;
        let reject = peer.expect().await.reject();
        assert_eq!(reject.code, RejectCode::NameNotAllowed as u16);
        assert!(
            reject.message.contains("rack2-a") && reject.message.contains("rack1-*"),
            "{}",
            reject.message
        );
        let registered = peer.register(NodeId::new("rack1-a", 1)).await;
        assert_eq!(registered.node_action, NodeAction::Normal);
    });
    let door = &cluster.metrics.transports()[0].1;
    assert_eq!(door.rejects(RejectCode::RoleNotAllowed), 3, "refusals are counted");
    assert_eq!(door.rejects(RejectCode::NameNotAllowed), 1, "refusals are counted");
    cluster.rm.stop();
}

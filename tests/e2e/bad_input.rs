//! What a peer may do wrong with bytes and certificates: it is told what was wrong, and others do not notice.

use heddle::pki::Role;
use heddle_wire::frame::{Flags, FrameHeader, MAGIC, offset};
use heddle_wire::record::{NodeAction, NodeHandle, NodeId};
use heddle_wire::{Opcode, RejectCode, write_frame};
use quinn::ConnectionError;

use crate::cluster::{Cluster, Setup, block_on};
use crate::peer::{Peer, Pki, heartbeat, registration};

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

        // The header says one node, the body another.
        let mut mixed = frame(handle);
        heddle_wire::frame::set_routing_key(
            &mut mixed,
            NodeHandle::new(0, handle.row(), handle.generation()).0 ^ 1,
        );
        owner.send(&mixed).await;
        let answer = owner.expect().await;
        if !answer.header.flags.is_reject() {
            let answer: heddle_wire::resource_tracker::NodeHeartbeatResponse =
                heddle_wire::decode(&answer.body).unwrap();
            assert_eq!(answer.node_action, NodeAction::Resync, "an unknown row is out of sync, nothing else");
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

#[test]
fn foreign_certificates_are_refused_with_a_reason() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        // Of another authority: no connection. The client notices when it first uses it at the latest.
        let foreign = Pki::new().issue(Role::Node, "n1");
        let refused = match Peer::try_connect(cluster.address(), &foreign).await {
            Err(_) => true,
            Ok(peer) => matches!(peer.connection.closed().await, ConnectionError::ConnectionClosed(_)),
        };
        assert!(refused, "a certificate of another authority was let in");

        // Of a ResourceManager: it is not a client.
        let own = pki.issue(Role::ResourceManager, "rm2");
        if let Ok(peer) = Peer::try_connect(cluster.address(), &own).await {
            let closed = peer.connection.closed().await;
            assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed}");
        }

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
    let rejects = cluster.metrics.transports()[0].1.rejects(RejectCode::NameNotAllowed);
    assert_eq!(rejects, 1, "refusals are counted");
    cluster.rm.stop();
}

//! Peers that come in herds, do not read, go too fast or vanish half-way; and a recording of it all, replayed.

use std::time::{Duration, Instant};

use heddle::config::{RmConfig, TransportSettings};
use heddle::pki::{Role, SERVER_NAME};
use heddle::recorder::replay;
use heddle_wire::record::{NodeAction, NodeHandle, NodeId, NodeState};
use heddle_wire::resource_tracker::{NodeHeartbeatResponse, RegisterNodeManagerResponse};
use heddle_wire::{Flags, decode, write_frame};

use crate::cluster::{Setup, block_on, list_nodes};
use crate::peer::{Bystander, PATIENCE, Peer, Pki, client_endpoint, heartbeat, registration};

#[test]
fn a_peer_that_never_reads_is_cut_and_others_do_not_notice() {
    let pki = Pki::new();
    let mut setup = Setup::new();
    setup.options.transport.slow_reader_size = 16 * 1024;
    setup.options.transport.send_window = 16 * 1024;
    let cluster = setup.start(&pki);
    block_on(async {
        let mut healthy = Peer::connect(cluster.address(), &pki.issue(Role::Node, "good")).await;
        let good = healthy.register(NodeId::new("good", 1)).await.node_handle;
        let mut deaf = Peer::connect(cluster.address(), &pki.issue(Role::Node, "deaf")).await;
        let handle = deaf.register(NodeId::new("deaf", 1)).await.node_handle;
        // Duplicates of one beat: each is answered, nothing is read. The peer's window is a megabyte.
        let mut beats = Vec::new();
        for _ in 0..1_000 {
            write_frame(&mut beats, Flags::REQUEST, 1, handle.0, &heartbeat(handle, 0));
        }
        let deadline = Instant::now() + PATIENCE;
        let mut response_id = 0;
        loop {
            assert!(Instant::now() < deadline, "a peer that never reads is served for ever");
            if deaf.send.write_all(&beats).await.is_err() {
                break;
            }
            assert_eq!(healthy.beat(good, response_id).await.node_action, NodeAction::Normal);
            response_id += 1;
        }
        let closed = match deaf.connection.closed().await {
            quinn::ConnectionError::ApplicationClosed(closed) => closed,
            other => panic!("not cut with a reason: {other}"),
        };
        assert_eq!(closed.error_code.into_inner(), heddle_wire::RejectCode::SlowReader as u64);
        let reason = String::from_utf8_lossy(&closed.reason);
        assert!(reason.contains("16384 bytes"), "{reason}");
        healthy.beat(good, response_id).await;
    });
    assert_eq!(cluster.metrics.transports()[0].1.slow_readers_cut.get(), 1);
    cluster.rm.stop();
}

/// A peer may be far below the bound in bytes and still hold its answers for ever: time cuts it. One that reads, however
/// small its window, is served.
#[test]
fn a_peer_that_reads_nothing_for_too_long_is_cut_by_time() {
    const BEATS: usize = 200;
    let timeout = Duration::from_secs(1);
    let pki = Pki::new();
    let mut setup = Setup::new();
    setup.options.transport.slow_reader_size = 1 << 30;
    setup.options.transport.slow_reader_timeout = timeout;
    let cluster = setup.start(&pki);
    block_on(async {
        let bystander = Bystander::start(cluster.address(), &pki, "good").await;
        // A window of some thirty answers.
        let narrow = TransportSettings { stream_receive_window: 4_096, ..RmConfig::default().transport };
        let mut peers = Vec::new();
        for name in ["deaf", "reads"] {
            let identity = pki.issue(Role::Node, name);
            let mut peer = Peer::try_connect_with(cluster.address(), &identity, &narrow).await.unwrap();
            let handle = peer.register(NodeId::new(name, 1)).await.node_handle;
            let mut beats = Vec::new();
            for _ in 0..BEATS {
                write_frame(&mut beats, Flags::REQUEST, 1, handle.0, &heartbeat(handle, 0));
            }
            peers.push((peer, beats));
        }
        let (mut reads, beats) = peers.pop().unwrap();
        reads.send(&beats).await;
        for _ in 0..BEATS {
            let answer: NodeHeartbeatResponse = decode(&reads.expect().await.body).unwrap();
            assert_eq!(answer.response_id, 1);
        }
        let (mut deaf, beats) = peers.pop().unwrap();
        let began = Instant::now();
        deaf.send(&beats).await;
        let closed = match deaf.connection.closed().await {
            quinn::ConnectionError::ApplicationClosed(closed) => closed,
            other => panic!("not cut with a reason: {other}"),
        };
        assert!(began.elapsed() >= timeout, "cut after {:?} of {timeout:?}", began.elapsed());
        assert_eq!(closed.error_code.into_inner(), heddle_wire::RejectCode::SlowReader as u64);
        let reason = String::from_utf8_lossy(&closed.reason);
        assert!(reason.contains("behind"), "{reason}");
        bystander.stop().await;
        reads.send(&beats[..beats.len() / BEATS]).await;
        reads.expect().await;
    });
    assert_eq!(cluster.metrics.transports()[0].1.slow_readers_cut.get(), 1);
    cluster.rm.stop();
}

#[test]
fn ten_times_the_admitted_rate_is_slowed_and_nothing_is_lost() {
    let pki = Pki::new();
    let mut setup = Setup::new();
    setup.options.transport.frames_per_second = 2_000;
    let cluster = setup.start(&pki);
    let witness = block_on(async {
        let bystander = Bystander::start(cluster.address(), &pki, "good").await;
        let mut fast = Peer::connect(cluster.address(), &pki.issue(Role::Node, "fast")).await;
        let handle = fast.register(NodeId::new("fast", 1)).await.node_handle;
        // One fresh beat and its repetitions, all at once: five seconds' worth at the admitted rate, with its burst.
        let count = 6_000_u64;
        let mut beats = Vec::new();
        for _ in 0..count {
            write_frame(&mut beats, Flags::REQUEST, 1, handle.0, &heartbeat(handle, 0));
        }
        let start = Instant::now();
        fast.send(&beats).await;
        for _ in 0..count {
            let answer: NodeHeartbeatResponse = decode(&fast.expect().await.body).unwrap();
            assert_eq!((answer.response_id, answer.node_action), (1, NodeAction::Normal));
        }
        // Slower is fine on a busy machine; faster would mean that the bound does not hold.
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(2_000), "{took:?}");
        assert!(cluster.metrics.transports()[0].1.paced.get() > 0);
        let witness = bystander.stop().await;
        assert!(witness.slowest < took / 2, "stood in the other's queue: {witness:?} of {took:?}");
        witness
    });
    let metrics = cluster.metrics.clone();
    cluster.rm.stop();
    let counters = &metrics.shards()[0].1;
    assert_eq!(counters.heartbeats_fresh, u64::from(witness.beats) + 1);
    assert_eq!((counters.heartbeats_resync, counters.losses, counters.rejects), (0, 0, 0));
}

#[test]
fn a_connection_may_drop_at_every_step_of_registration() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    let identity = pki.issue(Role::Node, "n*");
    block_on(async {
        let node_id = NodeId::new("n1", 1);
        let mut frame = Vec::new();
        write_frame(&mut frame, Flags::REQUEST, 1, node_id.routing_key(), &registration(node_id.clone()));

        // While the handshake is under way.
        let endpoint = client_endpoint(&identity, &RmConfig::default().transport);
        for _ in 0..5 {
            drop(endpoint.connect(cluster.address(), SERVER_NAME).unwrap());
        }
        // Before a stream, and after each part of the frame: nothing, a piece of the header, all but a byte, all.
        drop(endpoint.connect(cluster.address(), SERVER_NAME).unwrap().await.unwrap());
        for sent in [0, 1, 16, 32, frame.len() - 1, frame.len()] {
            let mut peer = Peer::connect(cluster.address(), &identity).await;
            peer.send(&frame[..sent]).await;
            peer.connection.close(0_u32.into(), b"gone");
        }
        // After the answer, before the first beat.
        let mut peer = Peer::connect(cluster.address(), &identity).await;
        let first = peer.register(node_id.clone()).await;
        peer.connection.close(0_u32.into(), b"gone");

        let mut peer = Peer::connect(cluster.address(), &identity).await;
        let second = peer.register(node_id.clone()).await;
        assert_eq!((first.node_action, second.node_action), (NodeAction::Normal, NodeAction::Normal));
        assert_ne!(first.node_handle, second.node_handle);
        assert_eq!(peer.beat(second.node_handle, 0).await.response_id, 1);
        // And a beat of the same registration over yet another connection.
        let mut other = Peer::connect(cluster.address(), &identity).await;
        assert_eq!(other.beat(second.node_handle, 1).await.response_id, 2);
        let mut client = Peer::connect(cluster.address(), &pki.issue(Role::Client, "alice")).await;
        assert_eq!(list_nodes(&mut client).await, [(node_id, NodeState::Running)]);
    });
    assert_eq!(cluster.totals().2, 0, "invalid transitions");
    cluster.rm.stop();
}

/// Ten thousand agents of a ResourceManager that was restarted, all at once through the forty connections of a relay's
/// certificate: each is told RESYNC, registers, and beats. Nobody is lost, nobody refused, and a node that is no part of
/// it does not notice.
#[test]
fn ten_thousand_agents_come_back_at_once() {
    const PEERS: usize = 40;
    const NODES: usize = 250;
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    let identity = pki.issue(Role::Node, "*");
    let witness = block_on(async {
        let bystander = Bystander::start(cluster.address(), &pki, "good").await;
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..PEERS {
            let (identity, address) = (identity.clone(), cluster.address());
            tasks.spawn(async move {
                let mut peer = Peer::connect(address, &identity).await;
                // Handles of the ResourceManager before. Most name rows that other agents, and the bystander, have by now;
                // the generation tells them apart, whoever's certificate it is.
                let mut bytes = Vec::new();
                for node in 0..NODES {
                    let old = NodeHandle::new(0, (index * NODES + node) as u32, 1);
                    write_frame(&mut bytes, Flags::REQUEST, node as u64, old.0, &heartbeat(old, 41));
                }
                peer.send(&bytes).await;
                let mut resync = 0;
                bytes.clear();
                for _ in 0..NODES {
                    let frame = peer.expect().await;
                    assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
                    let answer: NodeHeartbeatResponse = decode(&frame.body).unwrap();
                    resync += usize::from(answer.node_action == NodeAction::Resync);
                    let node_id = NodeId::new(format!("n{index}-{}", frame.header.correlation_id), 1);
                    let key = node_id.routing_key();
                    write_frame(
                        &mut bytes,
                        Flags::REQUEST,
                        frame.header.correlation_id,
                        key,
                        &registration(node_id),
                    );
                }
                assert_eq!(resync, NODES);
                peer.send(&bytes).await;
                bytes.clear();
                for _ in 0..NODES {
                    let answer: RegisterNodeManagerResponse = decode(&peer.expect().await.body).unwrap();
                    assert_eq!(answer.node_action, NodeAction::Normal, "{}", answer.diagnostics);
                    let handle = answer.node_handle;
                    write_frame(&mut bytes, Flags::REQUEST, 1, handle.0, &heartbeat(handle, 0));
                }
                peer.send(&bytes).await;
                for _ in 0..NODES {
                    let answer: NodeHeartbeatResponse = decode(&peer.expect().await.body).unwrap();
                    assert_eq!(answer.response_id, 1);
                }
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        bystander.stop().await
    });
    let metrics = cluster.metrics.clone();
    cluster.rm.stop();
    let (counters, agents) = (&metrics.shards()[0].1, (PEERS * NODES) as u64);
    assert_eq!((counters.registrations, counters.registrations_refused), (agents + 1, 0));
    assert_eq!(counters.heartbeats_fresh, agents + u64::from(witness.beats));
    assert_eq!((counters.heartbeats_resync, counters.losses, counters.rejects), (agents, 0, 0));
}

/// Four hundred agents of a ResourceManager that was restarted, each with a certificate, a socket and a connection of its
/// own: handshake, the old handle, RESYNC, registration and a fresh beat, all at the same time.
#[test]
fn four_hundred_connections_come_back_at_once() {
    const PEERS: u32 = 400;
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    let witness = block_on(async {
        let bystander = Bystander::start(cluster.address(), &pki, "good").await;
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..PEERS {
            let (identity, address) = (pki.issue(Role::Node, &format!("n{index}")), cluster.address());
            tasks.spawn(async move {
                let mut peer = Peer::connect(address, &identity).await;
                // The row may be another certificate's by now: RESYNC all the same, not a refusal.
                let old = NodeHandle::new(0, index, 1);
                assert_eq!(peer.beat(old, 41).await.node_action, NodeAction::Resync);
                let registered = peer.register(NodeId::new(format!("n{index}"), 1)).await;
                assert_eq!(registered.node_action, NodeAction::Normal, "{}", registered.diagnostics);
                let answer = peer.beat(registered.node_handle, 0).await;
                assert_eq!((answer.node_action, answer.response_id), (NodeAction::Normal, 1));
                (peer, registered.node_handle)
            });
        }
        let mut peers = Vec::new();
        while let Some(result) = tasks.join_next().await {
            peers.push(result.unwrap());
        }
        // `connections` also counts handshakes that a late copy of a first packet began and nobody will end.
        assert_eq!(cluster.metrics.transports()[0].1.handshakes_accepted.get(), u64::from(PEERS) + 1);
        // Everybody is still there.
        for (peer, handle) in &mut peers {
            assert_eq!(peer.beat(*handle, 1).await.response_id, 2);
        }
        bystander.stop().await
    });
    let metrics = cluster.metrics.clone();
    cluster.rm.stop();
    let door = &metrics.transports()[0].1;
    // Failed ones are copies of first packets that came late; on a loaded machine there are some.
    let accepted = (door.handshakes_accepted.get(), door.handshakes_refused.get());
    assert_eq!(accepted, (u64::from(PEERS) + 1, 0));
    let counters = &metrics.shards()[0].1;
    assert_eq!((counters.registrations, counters.registrations_refused), (u64::from(PEERS) + 1, 0));
    assert_eq!(counters.heartbeats_fresh, u64::from(2 * PEERS + witness.beats));
    assert_eq!((counters.heartbeats_resync, counters.losses, counters.rejects), (u64::from(PEERS), 0, 0));
}

/// More connections at once than the budget admits: the rest proves its address, waits its turn, and gets in.
#[test]
fn a_herd_of_handshakes_is_admitted_at_the_budgeted_rate() {
    const PEERS: usize = 120;
    let pki = Pki::new();
    let mut setup = Setup::new();
    setup.options.transport.handshakes_per_second = 60;
    setup.options.transport.handshake_burst = 10;
    let cluster = setup.start(&pki);
    let identity = pki.issue(Role::Node, "*");
    block_on(async {
        let bystander = Bystander::start(cluster.address(), &pki, "good").await;
        let endpoint = client_endpoint(&identity, &RmConfig::default().transport);
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..PEERS {
            let connecting = endpoint.connect(cluster.address(), SERVER_NAME).unwrap();
            tasks.spawn(async move { connecting.await.map(drop) });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap().unwrap();
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(1_800), "120 at 60/s took {took:?}");
        let witness = bystander.stop().await;
        assert!(witness.slowest < took / 2, "waited for the herd: {witness:?} of {took:?}");
    });
    let (_, losses, _) = cluster.totals();
    assert_eq!(losses, 0);
    let door = &cluster.metrics.transports()[0].1;
    assert!(door.handshakes_retried.get() > 0);
    assert_eq!(door.handshakes_refused.get(), 0);
    cluster.rm.stop();
}

#[test]
fn a_run_under_load_with_faults_replays_to_the_same_bytes() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().unwrap();
    let cluster = Setup::new()
        .threads(1, 2)
        .patience(Duration::from_millis(400), Duration::from_millis(800))
        .record(folder.path())
        .start(&pki);
    let identity = pki.issue(Role::Node, "*");
    block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..8_u32 {
            let (identity, address) = (identity.clone(), cluster.address());
            tasks.spawn(async move {
                let mut peer = Peer::connect(address, &identity).await;
                let mut handles = Vec::new();
                for node in 0..20 {
                    handles.push(peer.register(NodeId::new(format!("n{index}-{node}"), 1)).await.node_handle);
                }
                for round in 0..150_u32 {
                    let mut bytes = Vec::new();
                    let mut sent = 0;
                    for (node, handle) in handles.iter().enumerate() {
                        // Some fall silent (too few for the brake), some repeat themselves, some are out of step, some send rubbish.
                        if node == 3 && index < 4 && round > 10 {
                            continue;
                        }
                        let id = if node % 7 == 4 && round == 30 { 9_999 } else { round };
                        let copies = 1 + usize::from(node % 5 == 1);
                        for _ in 0..copies {
                            write_frame(&mut bytes, Flags::REQUEST, 1, handle.0, &heartbeat(*handle, id));
                            sent += 1;
                        }
                        if node == 6 {
                            let start = bytes.len();
                            write_frame(&mut bytes, Flags::REQUEST, 1, handle.0, &heartbeat(*handle, id));
                            bytes[start + 40..].fill(0xee);
                            sent += 1;
                        }
                    }
                    peer.send(&bytes).await;
                    for _ in 0..sent {
                        peer.expect().await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
    });
    let metrics = cluster.metrics.clone();
    cluster.rm.stop();
    let losses: u64 = metrics.shards().iter().map(|(_, counters)| counters.losses).sum();
    let duplicates: u64 = metrics.shards().iter().map(|(_, counters)| counters.heartbeats_duplicate).sum();
    assert!(losses > 0 && duplicates > 0, "no faults in the run: {losses} lost, {duplicates} duplicates");

    let report = replay(folder.path()).unwrap();
    assert_eq!(report.roles.len(), 4, "{report:?}");
    assert!(report.is_identical(), "{report:?}");
    let frames: u64 = report.roles.iter().map(|role| role.frames).sum();
    assert!(frames > 8 * 20 * 140, "{frames} frames on the tapes");
    assert_eq!(report, replay(folder.path()).unwrap(), "a replay is repeatable");
}

//! Who does not get in: past the bound on connections, with half a handshake, with noise. Others do not notice.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use heddle::config::RmConfig;
use heddle::pki::{Role, SERVER_NAME};
use heddle_wire::record::{NodeAction, NodeId};
use quinn::{ConnectionError, TransportErrorCode};

use crate::cluster::{Setup, block_on, until};
use crate::peer::{Bystander, PATIENCE, Peer, Pki, client_endpoint, refusal};

#[test]
fn a_connection_past_the_bound_is_refused_until_one_leaves() {
    let pki = Pki::new();
    let mut setup = Setup::new();
    setup.options.transport.connections_max = 2;
    let cluster = setup.start(&pki);
    let door = &cluster.metrics.transports()[0].1;
    block_on(async {
        let bystander = Bystander::start(cluster.address(), &pki, "good").await;
        let mut second = Peer::connect(cluster.address(), &pki.issue(Role::Node, "n2")).await;
        second.register(NodeId::new("n2", 1)).await;

        let late = pki.issue(Role::Node, "n3");
        for refusals in 1..=3 {
            match refusal(cluster.address(), &late).await {
                ConnectionError::ConnectionClosed(closed) => {
                    assert_eq!(closed.error_code, TransportErrorCode::CONNECTION_REFUSED, "{closed}");
                }
                other => panic!("not refused: {other}"),
            }
            assert_eq!(door.handshakes_refused.get(), refusals);
        }
        assert_eq!((door.connections.get(), door.handshakes_accepted.get()), (2, 2));

        second.connection.close(0_u32.into(), b"gone");
        until(door, |door| door.connections.get(), 1).await;
        let mut third = Peer::connect(cluster.address(), &late).await;
        let handle = third.register(NodeId::new("n3", 1)).await.node_handle;
        assert_eq!(third.beat(handle, 0).await.node_action, NodeAction::Normal);
        assert_eq!((door.connections.get(), door.handshakes_refused.get()), (2, 3));
        bystander.stop().await;
    });
    cluster.rm.stop();
}

/// Clients whose first packet arrives and of whom nothing is heard again: they fell, or they mean to fill us up.
#[test]
fn half_a_handshake_is_given_up_in_time() {
    const CLIENTS: usize = 20;
    let timeout = Duration::from_millis(300);
    let pki = Pki::new();
    let mut setup = Setup::new();
    setup.options.transport.handshake_timeout = timeout;
    let cluster = setup.start(&pki);
    let door = &cluster.metrics.transports()[0].1;
    block_on(async {
        let bystander = Bystander::start(cluster.address(), &pki, "good").await;
        let identity = pki.issue(Role::Node, "n*");
        // Stands where clients believe the ResourceManager to be.
        let middle = UdpSocket::bind("127.0.0.1:0").unwrap();
        middle.set_nonblocking(true).unwrap();
        let mut packet = [0; 2_048];
        let (mut began, deadline) = (None, Instant::now() + PATIENCE);
        for _ in 0..CLIENTS {
            let endpoint = client_endpoint(&identity, &RmConfig::default().transport);
            let connecting = endpoint.connect(middle.local_addr().unwrap(), SERVER_NAME).unwrap();
            let client = endpoint.local_addr().unwrap();
            // Its driver sends while this task yields.
            let size = loop {
                tokio::task::yield_now().await;
                assert!(Instant::now() < deadline, "a client sends nothing");
                match middle.recv_from(&mut packet) {
                    Ok((size, from)) if from == client => break size,
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
            };
            began.get_or_insert_with(Instant::now);
            middle.send_to(&packet[..size], cluster.address()).unwrap();
            drop(connecting);
        }
        until(door, |door| door.handshakes_failed.get(), CLIENTS as u64).await;
        assert!(began.unwrap().elapsed() >= timeout, "given up after {:?}", began.unwrap().elapsed());
        let witness = bystander.stop().await;
        assert!(witness.beats > 1, "{witness:?}");
    });
    assert_eq!((door.handshakes_accepted.get(), door.handshakes_refused.get()), (1, 0));
    cluster.rm.stop();
}

/// Packets that look like the first of a connection and are none, of every size and many versions.
#[test]
fn noise_at_the_door_harms_nobody() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        let bystander = Bystander::start(cluster.address(), &pki, "good").await;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for index in 0..2_000_usize {
            let mut packet: Vec<u8> = (0..1 + index * 37 % 1_472)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                })
                .collect();
            if index % 2 == 0 && packet.len() > 30 {
                // A long header of version 1, Initial, with connection ids of 8 bytes and no token.
                packet[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
                packet[14] = 8;
                packet[23] = 0;
                let rest = (packet.len() - 26) as u16;
                packet[24..26].copy_from_slice(&(0x4000 | rest).to_be_bytes());
            }
            socket.send_to(&packet, cluster.address()).unwrap();
            if index % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let mut late = Peer::connect(cluster.address(), &pki.issue(Role::Node, "late")).await;
        let handle = late.register(NodeId::new("late", 1)).await.node_handle;
        assert_eq!(late.beat(handle, 0).await.node_action, NodeAction::Normal);
        bystander.stop().await;
    });
    let door = &cluster.metrics.transports()[0].1;
    assert_eq!(door.handshakes_accepted.get(), 2);
    assert!(door.handshakes_failed.get() > 0, "no packet came as far as a handshake");
    cluster.rm.stop();
}

/// Handshakes under way, or waiting for the budget, were not counted: a herd went past the bound.
#[test]
fn the_bound_on_connections_holds_for_a_herd() {
    const PEERS: usize = 40;
    let pki = Pki::new();
    let mut setup = Setup::new();
    setup.options.transport.connections_max = 4;
    setup.options.transport.handshake_burst = 10;
    setup.options.transport.handshakes_per_second = 100;
    let cluster = setup.start(&pki);
    let identity = pki.issue(Role::Node, "*");
    block_on(async {
        let endpoint = client_endpoint(&identity, &RmConfig::default().transport);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..PEERS {
            let connecting = endpoint.connect(cluster.address(), SERVER_NAME).unwrap();
            tasks.spawn(connecting.into_future());
        }
        let mut connections = Vec::new();
        while let Some(result) = tasks.join_next().await {
            connections.extend(result.unwrap());
        }
        let door = &cluster.metrics.transports()[0].1;
        assert_eq!((connections.len(), door.handshakes_refused.get()), (4, 36));
    });
    cluster.rm.stop();
}

//! The driver over real QUIC on loopback, against the model ResourceManager.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

use heddle::pki::Identity;
use heddle_wire::FrameDecoder;

use super::*;
use crate::fleet::model::Model;
use crate::rm::{EphemeralPki, free_address};

/// A model ResourceManager behind a QUIC endpoint, on a thread of its own. `kill_and_restart` forgets all nodes and
/// drops every connection.
struct Server {
    address: SocketAddr,
    restart: Arc<AtomicBool>,
}

impl Server {
    fn start(pki: &EphemeralPki) -> Self {
        let file = |name: &str| pki.directory().join(name);
        let identity =
            Identity::load(&file("resourcemanager.pem"), &file("resourcemanager.key"), &file("ca.pem"))
                .unwrap();
        let (address, restart) = (free_address().unwrap(), Arc::new(AtomicBool::new(false)));
        let (ready, is_ready) = sync_channel(1);
        let order = Arc::clone(&restart);
        std::thread::Builder::new()
            .name("rm-model".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(tokio::runtime::LocalOptions::default())
                    .unwrap();
                runtime.block_on(async {
                    let config = quic::server_config(&identity).unwrap();
                    let endpoint = quic::endpoint(address, Some(config)).unwrap();
                    ready.send(()).unwrap();
                    let model = Rc::new(RefCell::new(Model { removes: true, ..Model::default() }));
                    while let Some(incoming) = endpoint.accept().await {
                        tokio::task::spawn_local(serve(incoming, Rc::clone(&model), Arc::clone(&order)));
                    }
                });
            })
            .unwrap();
        is_ready.recv().unwrap();
        Self { address, restart }
    }
}

async fn serve(incoming: quinn::Incoming, model: Rc<RefCell<Model>>, order: Arc<AtomicBool>) {
    let connection = incoming.await.unwrap();
    let (mut send, mut recv) = connection.accept_bi().await.unwrap();
    let mut decoder = FrameDecoder::new();
    while let Ok(Some(chunk)) = recv.read_chunk(1 << 16, true).await {
        if order.swap(false, Relaxed) {
            model.borrow_mut().nodes.clear();
            model.borrow_mut().starts += 1;
            connection.close(1_u32.into(), b"restart");
            return;
        }
        let mut answers = Vec::new();
        let mut rest = &chunk.bytes[..];
        while let Some(frame) = decoder.next_frame(&mut rest).unwrap() {
            model.borrow_mut().answer(frame.bytes, &mut answers);
        }
        if send.write_all(&answers).await.is_err() {
            return;
        }
    }
}

impl Target for Server {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> Option<u32> {
        Some(std::process::id())
    }

    fn is_server_thread(&self, name: &str) -> bool {
        name.starts_with("rm-")
    }

    fn kill_and_restart(&mut self) -> io::Result<()> {
        self.restart.store(true, Relaxed);
        Ok(())
    }

    fn ended(&mut self) -> Option<String> {
        None
    }
}

#[derive(Default)]
struct Seen {
    ramps: u32,
    measures: u32,
    notes: Vec<String>,
}

impl Progress for Seen {
    fn ramp(&mut self, _connected: u32, _registered: u32, _nodes: u32) {
        self.ramps += 1;
    }

    fn measure(&mut self, _elapsed: Duration, _duration: Duration, _rate: f64, _registered: u32) {
        self.measures += 1;
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

fn spec() -> RunSpec {
    RunSpec {
        nodes: 40,
        connections: 40,
        interval: Interval::Every(Duration::from_secs(1)),
        batch: 64,
        duration: Duration::from_secs(2),
        containers_per_node: 0,
        churn_ppm: 0,
        capacities: Capacities::default(),
        client_threads: 1,
        handshakes: 16,
        reach_within: Duration::from_secs(20),
        faults: Vec::new(),
        duplicate_ppm: 0,
        stale_ppm: 0,
        kill_rm_at: None,
        seed: 1,
        unregisters: false,
        applications: None,
    }
}

fn identities(pki: &EphemeralPki) -> Identities {
    Identities { nodes: pki.nodes().unwrap(), clients: Vec::new() }
}

fn run_it(spec: &RunSpec) -> (RunOutcome, Seen) {
    let pki = EphemeralPki::create().unwrap();
    let (mut server, mut seen) = (Server::start(&pki), Seen::default());
    let outcome = run(spec, &identities(&pki), &mut server, &mut seen).unwrap();
    assert!(seen.ramps > 0 && seen.measures > 0);
    (outcome, seen)
}

#[test]
fn open_loop_beats_once_an_interval_on_a_connection_each() {
    let (outcome, _) = run_it(&spec());
    assert!((70..=90).contains(&outcome.beats), "{}", outcome.beats);
    assert_eq!((outcome.dropped, outcome.registered, outcome.connections_lost), (0, 40, 0));
    assert_eq!((outcome.counters.wrong_ids, outcome.counters.unexpected), (0, 0));
    assert_eq!(outcome.latencies.len(), outcome.beats + outcome.skipped);
    assert_eq!(
        outcome.slices.iter().map(|slice| slice.latencies.len()).sum::<u64>(),
        outcome.latencies.len()
    );
    assert!(outcome.server_cpu > Duration::ZERO && outcome.client_cpu > Duration::ZERO);
}

#[test]
fn closed_loop_keeps_every_node_busy_over_few_connections_and_threads() {
    let spec = RunSpec {
        connections: 3,
        nodes: 300,
        interval: Interval::Max,
        duration: Duration::from_secs(1),
        containers_per_node: 2,
        churn_ppm: 100_000,
        client_threads: 2,
        ..spec()
    };
    let (outcome, _) = run_it(&spec);
    assert!(outcome.beats > 3_000, "{}", outcome.beats);
    assert_eq!((outcome.dropped, outcome.registered), (0, 300));
    assert!(outcome.counters.containers_removed > 0);
    assert_eq!(outcome.counters.full_reports, 0);
}

#[test]
fn faults_are_survived_and_counted() {
    let kill = Fault { nodes: 5, at: Duration::from_millis(200), pause: None };
    let pause = Fault { nodes: 7, at: Duration::from_millis(300), pause: Some(Duration::from_millis(900)) };
    let spec = RunSpec {
        connections: 4,
        faults: vec![kill, pause],
        duplicate_ppm: 200_000,
        stale_ppm: 100_000,
        duration: Duration::from_secs(6),
        ..spec()
    };
    let (outcome, _) = run_it(&spec);
    let counters = &outcome.counters;
    assert!(counters.copies_sent > 0 && counters.stale_sent > 0, "{counters:?}");
    assert_eq!((outcome.dropped, counters.false_losses, counters.wrong_ids), (0, 0, 0), "{counters:?}");
    assert_eq!(counters.stale_refused, counters.stale_sent);
}

#[test]
fn every_kill_hits_nodes_that_live() {
    let kill = |nodes, ms| Fault { nodes, at: Duration::from_millis(ms), pause: None };
    let pause = Fault { nodes: 10, at: Duration::from_millis(200), pause: Some(Duration::from_millis(300)) };
    let faults = vec![kill(10, 200), kill(10, 400), kill(15, 600), kill(10, 60_000), pause];
    // Two threads, so that each has its own part of the nodes.
    let spec = RunSpec { nodes: 200, connections: 4, client_threads: 2, faults, ..spec() };
    let (outcome, _) = run_it(&spec);
    assert_eq!((outcome.counters.killed, outcome.registered, outcome.dropped), (35, 165, 0));
    assert_eq!((outcome.server_rss_base, outcome.server_rss), (None, None), "the model is in this process");
}

#[test]
fn nodes_come_back_after_a_restart() {
    let spec = RunSpec {
        connections: 1,
        kill_rm_at: Some(Duration::from_millis(500)),
        duration: Duration::from_secs(5),
        ..spec()
    };
    let (outcome, seen) = run_it(&spec);
    let restart = outcome.restart.unwrap();
    assert!(restart.all_back.is_some(), "{:?} {:?}", outcome.counters, outcome.errors);
    assert_eq!(outcome.registered, 40);
    assert_eq!(outcome.counters.false_losses, 0);
    assert_eq!(seen.notes.len(), 2);
    assert!(outcome.connections_lost >= 1);
}

#[test]
fn nobody_there_is_unreachable() {
    let pki = EphemeralPki::create().unwrap();
    let mut nobody = crate::rm::Remote::new(free_address().unwrap(), None);
    let spec = RunSpec { reach_within: Duration::from_millis(500), ..spec() };
    let error = run(&spec, &identities(&pki), &mut nobody, &mut Seen::default()).unwrap_err();
    assert!(matches!(error, RunError::Unreachable { .. }), "{error}");
}

//! The driver over real QUIC on loopback, against the model ResourceManager.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

use heddle::pki::Identity;
use heddle_wire::FrameDecoder;

use super::*;
use crate::application::fake_rm::FakeRm;
use crate::application::{AmPace, Churn};
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

    fn measure(&mut self, _so_far: &SoFar) {
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

/// The ResourceManager of the applications' tests behind a QUIC endpoint, on a thread of its own.
fn start_fake(pki: &EphemeralPki, idle: Option<Duration>) -> Server {
    let file = |name: &str| pki.directory().join(name);
    let identity =
        Identity::load(&file("resourcemanager.pem"), &file("resourcemanager.key"), &file("ca.pem")).unwrap();
    let (address, restart) = (free_address().unwrap(), Arc::new(AtomicBool::new(false)));
    let (ready, is_ready) = sync_channel(1);
    std::thread::Builder::new()
        .name("rm-fake".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
                .unwrap();
            runtime.block_on(async {
                let mut config = quic::server_config(&identity).unwrap();
                if let Some(idle) = idle {
                    let mut transport = quinn::TransportConfig::default();
                    transport.max_idle_timeout(Some(idle.try_into().unwrap()));
                    config.transport_config(Arc::new(transport));
                }
                let endpoint = quic::endpoint(address, Some(config)).unwrap();
                ready.send(()).unwrap();
                let fake = Rc::new(RefCell::new(Fake { rm: FakeRm::new(8, 1, false), streams: Vec::new() }));
                while let Some(incoming) = endpoint.accept().await {
                    tokio::task::spawn_local(serve_fake(incoming, Rc::clone(&fake)));
                }
            });
        })
        .unwrap();
    is_ready.recv().unwrap();
    Server { address, restart }
}

struct Fake {
    rm: FakeRm,
    /// By application: where its pushes go.
    streams: Vec<Option<tokio::sync::mpsc::Sender<Vec<u8>>>>,
}

async fn serve_fake(incoming: quinn::Incoming, fake: Rc<RefCell<Fake>>) {
    let connection = incoming.await.unwrap();
    let (mut send, mut recv) = connection.accept_bi().await.unwrap();
    let (out, mut queue) = tokio::sync::mpsc::channel::<Vec<u8>>(1 << 16);
    tokio::task::spawn_local(async move {
        while let Some(bytes) = queue.recv().await {
            if send.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut decoder = FrameDecoder::new();
    while let Ok(Some(chunk)) = recv.read_chunk(1 << 16, true).await {
        let fake = &mut *fake.borrow_mut();
        let mut rest = &chunk.bytes[..];
        while let Some(frame) = decoder.next_frame(&mut rest).unwrap() {
            let number = frame.header.opcode as u16;
            let answer = match number >> 8 {
                1 => fake.rm.node_frame(frame.bytes),
                2 => {
                    let app = FakeRm::app_of(frame.header.routing_key);
                    let count = fake.streams.len().max(app + 1);
                    fake.streams.resize(count, None);
                    fake.streams[app] = Some(out.clone());
                    fake.rm.am_frame(frame.bytes)
                }
                _ => fake.rm.client_frame(frame.bytes),
            };
            out.try_send(answer).unwrap();
        }
        fake.rm.step();
        for (app, bytes) in core::mem::take(&mut fake.rm.pushed) {
            if let Some(Some(stream)) = fake.streams.get(app) {
                // To a connection that is gone by now: its ApplicationMaster asks again.
                let _ = stream.try_send(bytes);
            }
        }
    }
}

fn applications(am_connections: u32) -> ApplicationLoad {
    let one = |nth: u64| Arc::new(crate::application::tests::application(nth * 50, 30, 5));
    ApplicationLoad {
        applications: (0..6).map(one).collect(),
        am_connections,
        pace: crate::application::AmPace::Every { interval_us: 100_000 },
        churn: None,
        cancel_ppm: 100_000,
        masters_before: 0,
        until_done: true,
    }
}

fn run_applications(spec: &RunSpec) -> RunOutcome {
    run_applications_at(spec, None)
}

/// Connections that carry nothing for `idle` are let go.
fn run_applications_at(spec: &RunSpec, idle: Option<Duration>) -> RunOutcome {
    let pki = EphemeralPki::create().unwrap();
    let (mut server, mut seen) = (start_fake(&pki, idle), Seen::default());
    let identities =
        Identities { nodes: pki.nodes().unwrap(), clients: vec![pki.client("somebody").unwrap()] };
    run(spec, &identities, &mut server, &mut seen).unwrap()
}

#[test]
fn applications_run_beside_the_beats_on_connections_of_their_own_and_shared() {
    for (am_connections, client_threads) in [(100, 1), (2, 1), (100, 2)] {
        let spec = RunSpec {
            nodes: 128,
            connections: 4,
            client_threads,
            duration: Duration::from_secs(40),
            applications: Some(applications(am_connections)),
            ..spec()
        };
        let outcome = run_applications(&spec);
        let (seen, series) = outcome.applications.as_ref().unwrap();
        let (masters, clients) = (&seen.masters, &seen.clients);
        assert!(seen.is_done, "{masters:?} {clients:?} {:?}", outcome.errors);
        assert_eq!((clients.submitted, clients.finished), (6, 6));
        assert_eq!((masters.over_granted, masters.lost, masters.duplicated), (0, 0, 0), "{masters:?}");
        assert_eq!((masters.wrong_ids, masters.unexpected, masters.timeouts), (0, 0, 0), "{masters:?}");
        assert_eq!((masters.grants, masters.registered, masters.unregistered), (210, 6, 6), "{masters:?}");
        assert_eq!((seen.grants, series.ask_to_grant.latencies.len()), (210, 210));
        assert!(series.allocate.latencies.len() > 6 && series.container_start.latencies.len() > 150);
        assert!(outcome.measured < Duration::from_secs(39), "it is over when they are");
        assert_eq!((outcome.dropped, outcome.counters.tokens_wrong), (0, 0));
        assert!(outcome.counters.tokens_checked >= 6 && !seen.samples.is_empty());
    }
}

/// In a run of five minutes 117 connections were told as lost, and nothing else was: ApplicationMasters had ended, no other
/// had come, and their connections were let go by their idle timeout.
#[test]
fn a_connection_that_nobody_needs_any_more_is_not_lost() {
    let one = |submit_ms| Arc::new(crate::application::tests::application(submit_ms, 4, 2));
    let load = ApplicationLoad { applications: [0, 9_000].map(one).into(), ..applications(1) };
    let spec = RunSpec {
        nodes: 16,
        connections: 2,
        interval: Interval::Every(Duration::from_millis(200)),
        duration: Duration::from_secs(60),
        applications: Some(load),
        ..spec()
    };
    let outcome = run_applications_at(&spec, Some(Duration::from_secs(5)));
    let (seen, _) = outcome.applications.as_ref().unwrap();
    assert_eq!((outcome.connections_lost, &outcome.errors[..]), (0, &[][..]));
    // The second one lives where the first did, on a connection that was made again for it.
    assert_eq!((seen.clients.finished, seen.masters.registered, seen.masters.timeouts), (2, 2, 0));
}

#[test]
fn churning_masters_are_measured_once_they_are_all_there() {
    for pace in [AmPace::Max, AmPace::Every { interval_us: 20_000 }] {
        let load = ApplicationLoad {
            pace,
            churn: Some(Churn::new(5, heddle_wire::record::Resource::new(1_024, 1))),
            masters_before: 6,
            until_done: false,
            cancel_ppm: 0,
            ..applications(100)
        };
        let spec = RunSpec { nodes: 64, connections: 2, applications: Some(load), ..spec() };
        let outcome = run_applications(&spec);
        let (seen, series) = outcome.applications.as_ref().unwrap();
        let masters = &seen.masters;
        assert!(seen.grants > 1_000, "{masters:?}");
        assert_eq!((masters.over_granted, masters.lost, masters.duplicated), (0, 0, 0), "{masters:?}");
        assert_eq!((masters.wrong_ids, masters.unexpected, seen.unanswered), (0, 0, 0), "{masters:?}");
        assert!(masters.released + 200 > masters.grants / 2, "{masters:?}");
        assert!(series.allocate.latencies.len() > 200);
        assert_eq!(seen.masters_live, 6);
    }
}

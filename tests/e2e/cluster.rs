//! A ResourceManager inside the test's process, and nodes that live with it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use heddle::config::{RecorderSettings, RmConfig, RuntimeSettings};
use heddle::engine::event::KeyPair;
use heddle::engine::settings::{NodeClass, NodeLists};
use heddle::metrics::{Metrics, TransportMetrics};
use heddle::pki::Role;
use heddle::runtime::{Options, ResourceManager};
use heddle_wire::administration::{DecommissionNodesRequest, DecommissionNodesResponse, DecommissionType};
use heddle_wire::application_client::{GetClusterNodesRequest, GetClusterNodesResponse};
use heddle_wire::decode;
use heddle_wire::record::{NodeAction, NodeId, NodeState};

use crate::peer::{PATIENCE, Peer, Pki};

/// What a test changes of a ResourceManager.
pub(crate) struct Setup {
    pub(crate) options: Options,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let config = RmConfig::default();
        let mut options = Options::new(&config, 1_700_000_000_000, NodeLists::default());
        options.listen = "127.0.0.1:0".parse().unwrap();
        let key = |byte| KeyPair { current: Some((1, Box::new([byte; 32]))), next: None };
        options.set_token_keys(&key(1), &key(2), &key(3));
        // The largest share for ApplicationMasters, so that one starts on the smallest cluster.
        for queue in &mut options.scheduler.queues.queues {
            for capacity in queue.capacities.values_mut() {
                capacity.maximum_am_resource_percent = 1.0;
            }
        }
        options.threads = RuntimeSettings { net_threads: 1, engine_threads: 1, scheduler_threads: 1 };
        Self { options }
    }

    pub(crate) fn threads(mut self, net: usize, engine: usize) -> Self {
        self.options.threads =
            RuntimeSettings { net_threads: net, engine_threads: engine, scheduler_threads: 2 };
        self
    }

    /// Threads of scheduler and application manager; 0 = with the shard.
    pub(crate) fn scheduler_threads(mut self, count: usize) -> Self {
        self.options.threads.scheduler_threads = count;
        self
    }

    pub(crate) fn record(mut self, folder: &Path) -> Self {
        self.options.recorder = Some(RecorderSettings { dir: folder.to_owned(), size_max: 1 << 30 });
        self
    }

    pub(crate) fn patience(mut self, suspect_after: Duration, lost_after: Duration) -> Self {
        self.options.shard.classes =
            Box::new([NodeClass { name: "default".into(), hosts: "*".into(), suspect_after, lost_after }]);
        self
    }

    pub(crate) fn start(self, pki: &Pki) -> Cluster {
        let identity = pki.issue(Role::ResourceManager, "rm1");
        let metrics = Metrics::new();
        let rm = ResourceManager::start(&self.options, &identity, metrics.clone());
        Cluster { rm: rm.unwrap(), metrics }
    }
}

pub(crate) struct Cluster {
    pub(crate) rm: ResourceManager,
    pub(crate) metrics: Metrics,
}

impl Cluster {
    pub(crate) fn address(&self) -> SocketAddr {
        self.rm.address()
    }

    /// Every shard's counters, added up as far as tests look at them: (fresh beats, losses, invalid transitions).
    pub(crate) fn totals(&self) -> (u64, u64, u64) {
        self.metrics.shards().iter().fold((0, 0, 0), |sum, (_, counters)| {
            (sum.0 + counters.heartbeats_fresh, sum.1 + counters.losses, sum.2 + counters.invalid_transitions)
        })
    }
}

/// Lets others run until a number of the door's is `wanted`: what a peer sees and what is counted are a moment apart.
pub(crate) async fn until(door: &TransportMetrics, read: fn(&TransportMetrics) -> u64, wanted: u64) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while read(door) != wanted {
        assert!(std::time::Instant::now() < deadline, "{} never became {wanted}", read(door));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs on a runtime of the test's own.
pub(crate) fn block_on<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run)
}

/// All nodes, page by page, shard by shard, as the command line asks for them.
pub(crate) async fn list_nodes(peer: &mut Peer) -> Vec<(NodeId, NodeState)> {
    let mut nodes = Vec::new();
    let (mut shard, mut shard_count) = (0_u32, 1);
    while shard < shard_count {
        let mut start_row = Some(0);
        while let Some(row) = start_row {
            let request = GetClusterNodesRequest { start_row: row, limit: 3, ..Default::default() };
            peer.request(5, u64::from(shard) << 56, &request).await;
            let frame = peer.expect().await;
            assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
            let page: GetClusterNodesResponse = decode(&frame.body).unwrap();
            nodes.extend(page.nodes.into_iter().map(|node| (node.node_id, node.state)));
            (start_row, shard_count) = (page.next_row, page.shard_count);
        }
        shard += 1;
    }
    nodes.sort();
    nodes
}

#[test]
fn nodes_live_through_several_net_and_engine_threads() {
    let pki = Pki::new();
    let cluster = Setup::new().threads(2, 3).start(&pki);
    let identity = pki.issue(Role::Node, "*");
    block_on(async {
        let mut peers = Vec::new();
        for index in 0..12_u16 {
            let mut peer = Peer::connect(cluster.address(), &identity).await;
            let registered = peer.register(NodeId::new(format!("node-{index}"), 45_454)).await;
            assert_eq!(registered.node_action, NodeAction::Normal, "{}", registered.diagnostics);
            peers.push((peer, registered.node_handle));
        }
        let shards: std::collections::BTreeSet<u8> = peers.iter().map(|(_, handle)| handle.shard()).collect();
        assert_eq!(shards.len(), 3, "twelve nodes on three shards: {shards:?}");
        for response_id in 0..5 {
            for (peer, handle) in &mut peers {
                assert_eq!(peer.beat(*handle, response_id).await.response_id, response_id + 1);
            }
        }
        let mut client = Peer::connect(cluster.address(), &pki.issue(Role::Client, "alice")).await;
        let nodes = list_nodes(&mut client).await;
        assert_eq!(nodes.len(), 12);
        assert!(nodes.iter().all(|(_, state)| *state == NodeState::Running), "{nodes:?}");
    });
    cluster.rm.stop();
}

#[test]
fn an_administrator_takes_a_node_out_and_its_next_beat_says_so() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        let mut node = Peer::connect(cluster.address(), &pki.issue(Role::Node, "n1")).await;
        let handle = node.register(NodeId::new("n1", 1)).await.node_handle;
        assert_eq!(node.beat(handle, 0).await.node_action, NodeAction::Normal);
        let mut admin = Peer::connect(cluster.address(), &pki.issue(Role::Admin, "root")).await;
        let request = DecommissionNodesRequest {
            node_ids: vec![NodeId::new("n1", 0)],
            decommission_type: DecommissionType::Normal,
            decommission_timeout_s: None,
        };
        admin.request(9, 0, &request).await;
        let frame = admin.expect().await;
        assert_eq!(frame.header.correlation_id, 9);
        let answer: DecommissionNodesResponse = decode(&frame.body).unwrap();
        assert_eq!(answer.affected_nodes, [NodeId::new("n1", 1)]);
        assert_eq!(list_nodes(&mut admin).await, [(NodeId::new("n1", 1), NodeState::Decommissioned)]);
        let answer = node.beat(handle, 1).await;
        assert_ne!(answer.node_action, NodeAction::Normal, "a node that was taken out must not carry on");
    });
    cluster.rm.stop();
}

#[test]
fn a_silent_node_is_lost_and_told_to_register_again() {
    let pki = Pki::new();
    let cluster = Setup::new().patience(Duration::from_millis(300), Duration::from_millis(900)).start(&pki);
    block_on(async {
        let mut client = Peer::connect(cluster.address(), &pki.issue(Role::Client, "alice")).await;
        let mut node = Peer::connect(cluster.address(), &pki.issue(Role::Node, "n1")).await;
        let registered = node.register(NodeId::new("n1", 1)).await;
        assert_eq!(registered.lease_ms, 900);
        node.beat(registered.node_handle, 0).await;
        let deadline = std::time::Instant::now() + PATIENCE;
        while list_nodes(&mut client).await != [(NodeId::new("n1", 1), NodeState::Lost)] {
            assert!(std::time::Instant::now() < deadline, "a silent node is never lost");
        }
        assert_eq!(node.beat(registered.node_handle, 1).await.node_action, NodeAction::Resync);
        let again = node.register(NodeId::new("n1", 1)).await;
        assert_ne!(again.node_handle, registered.node_handle);
        assert_eq!(node.beat(again.node_handle, 0).await.node_action, NodeAction::Normal);
    });
    let (_, losses, invalid) = {
        let metrics = cluster.metrics.clone();
        cluster.rm.stop();
        metrics.shards().iter().fold((0, 0, 0), |sum: (u64, u64, u64), (_, counters)| {
            (sum.0, sum.1 + counters.losses, sum.2 + counters.invalid_transitions)
        })
    };
    assert_eq!((losses, invalid), (1, 0));
}

/// A relay's nodes share a certificate, and rows are given out in the order of registration. After a restart a node that
/// still held its old handle was taken for the node that had its row now, which was pushed out of step.
#[test]
fn a_handle_from_before_a_restart_is_nobodys() {
    let pki = Pki::new();
    let identity = pki.issue(Role::Node, "*");
    let before = Setup::new().start(&pki);
    let old = block_on(async {
        let mut relay = Peer::connect(before.address(), &identity).await;
        let old = relay.register(NodeId::new("n1", 1)).await.node_handle;
        relay.beat(old, 0).await;
        old
    });
    before.rm.stop();
    let mut setup = Setup::new();
    setup.options.shard.rm_identifier += 1;
    let after = setup.start(&pki);
    block_on(async {
        let mut relay = Peer::connect(after.address(), &identity).await;
        let other = relay.register(NodeId::new("n2", 1)).await.node_handle;
        assert_eq!(other.row(), old.row(), "the case is about one row");
        assert_eq!(relay.beat(old, 1).await.node_action, NodeAction::Resync);
        let answer = relay.beat(other, 0).await;
        assert_eq!((answer.node_action, answer.response_id), (NodeAction::Normal, 1));
    });
    after.rm.stop();
}

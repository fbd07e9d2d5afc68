//! Beats through the whole front door: QUIC, TLS, net thread, rings, shard, and back, in one process.
//!
//! A round is one write of frames and all their answers, so its time is a latency as a client sees it; per element it is
//! the cost of a beat when that many share a write. The load generator measures the same with many connections.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use heddle::config::{RmConfig, RuntimeSettings};
use heddle::engine::settings::NodeLists;
use heddle::metrics::Metrics;
use heddle::pki::{Authority, Role, SERVER_NAME};
use heddle::runtime::{Options, ResourceManager};
use heddle_wire::record::{NodeHandle, NodeId, Resource};
use heddle_wire::resource_tracker::{
    NodeHeartbeatRequest, NodeHeartbeatResponse, RegisterNodeManagerRequest, RegisterNodeManagerResponse,
};
use heddle_wire::{Flags, FrameDecoder, decode, write_frame};
use quinn::{RecvStream, SendStream};
use tokio::runtime::{Builder, Runtime};

/// A relay with some nodes on one stream.
struct Relay {
    send: SendStream,
    recv: RecvStream,
    decoder: FrameDecoder,
    nodes: Vec<(NodeHandle, u32)>,
    bytes: Vec<u8>,
}

impl Relay {
    /// Takes `count` answers.
    async fn answers(&mut self, count: usize, mut take: impl FnMut(&[u8])) {
        let mut taken = 0;
        while taken < count {
            let chunk = self.recv.read_chunk(1 << 16, true).await.expect("connected").expect("open");
            let mut rest: &[u8] = &chunk.bytes;
            while let Some(frame) = self.decoder.next_frame(&mut rest).expect("frames") {
                assert!(!frame.header.flags.is_reject());
                take(frame.body());
                taken += 1;
            }
        }
    }

    async fn register(&mut self, count: usize) {
        for index in 0..count {
            let node_id = NodeId::new(format!("node-{index}"), 45_454);
            let key = node_id.routing_key();
            let request = RegisterNodeManagerRequest {
                node_id,
                http_port: 8042,
                protocol_minor: 0,
                features: 0,
                rack_name: String::new(),
                nm_version: String::new(),
                capability: Resource::new(65_536, 32),
                physical_resource: None,
                node_status: None,
                container_statuses: Vec::new(),
                running_applications: Vec::new(),
                node_labels: None,
                node_attributes: None,
                log_aggregation_reports: Vec::new(),
            };
            write_frame(&mut self.bytes, Flags::REQUEST, 0, key, &request);
        }
        self.send.write_all(&self.bytes).await.expect("connected");
        let mut handles = Vec::new();
        self.answers(count, |body| {
            let answer: RegisterNodeManagerResponse = decode(body).expect("a registration's answer");
            handles.push((answer.node_handle, 0));
        })
        .await;
        self.nodes = handles;
    }

    async fn round(&mut self) {
        let mut bytes = core::mem::take(&mut self.bytes);
        bytes.clear();
        for (handle, response_id) in &mut self.nodes {
            let request = NodeHeartbeatRequest {
                node_handle: *handle,
                response_id: *response_id,
                acknowledged_command: 0,
                container_token_key_id: 0,
                nm_token_key_id: 0,
                token_sequence: 0,
                containers_digest: Default::default(),
                is_full_report: false,
                is_continued: false,
                is_node_healthy: true,
                containers_utilization: Default::default(),
                node_utilization: Default::default(),
                container_statuses: Vec::new(),
                details: None,
            };
            write_frame(&mut bytes, Flags::REQUEST, 0, handle.0, &request);
            *response_id += 1;
        }
        self.send.write_all(&bytes).await.expect("connected");
        self.bytes = bytes;
        self.answers(self.nodes.len(), |body| {
            black_box(heddle_wire::access::<NodeHeartbeatResponse>(body).is_ok());
        })
        .await;
    }
}

fn rounds(criterion: &mut Criterion) {
    heddle::pki::install_crypto_provider();
    let authority = Authority::create("bench").expect("an authority");
    let config = RmConfig::default();
    let mut options = Options::new(&config, 1, NodeLists::default());
    options.listen = "127.0.0.1:0".parse().expect("an address");
    options.threads = RuntimeSettings { net_threads: 1, engine_threads: 1, scheduler_threads: 1 };
    let identity = authority.issue(Role::ResourceManager, "rm").expect("a certificate");
    let rm = ResourceManager::start(&options, &identity, Metrics::new()).expect("a ResourceManager");
    let client = authority.issue(Role::Node, "*").expect("a certificate");
    let runtime: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");

    let mut group = criterion.benchmark_group("end_to_end/round");
    for count in [1, 64, 512] {
        group.throughput(Throughput::Elements(count as u64));
        let (mut relay, endpoint) = runtime.block_on(async {
            let (socket, _) =
                heddle::transport::bind("127.0.0.1:0".parse().expect("an address"), 4 << 20, false)
                    .expect("a socket");
            let mut endpoint = heddle::transport::endpoint(socket, None, None).expect("an endpoint");
            endpoint.set_default_client_config(
                heddle::transport::client_config(&client, &config.transport).expect("a configuration"),
            );
            let connection =
                endpoint.connect(rm.address(), SERVER_NAME).expect("an address").await.expect("a connection");
            let (send, recv) = connection.open_bi().await.expect("a stream");
            let (decoder, nodes, bytes) = Default::default();
            let mut relay = Relay { send, recv, decoder, nodes, bytes };
            relay.register(count).await;
            (relay, endpoint)
        });
        group.bench_with_input(
            BenchmarkId::from_parameter(format!("{count}_nodes")),
            &count,
            |bencher, _| {
                bencher.iter(|| runtime.block_on(relay.round()));
            },
        );
        runtime.block_on(async {
            endpoint.close(0_u32.into(), b"done");
            endpoint.wait_idle().await;
        });
    }
    group.finish();
    rm.stop();
}

criterion_group!(benches, rounds);
criterion_main!(benches);

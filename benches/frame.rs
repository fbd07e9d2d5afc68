//! What a frame costs: reading, writing, lying across chunks, and the way from the net thread to a shard.
//! Owns: the questions `frame/decode`, `frame/encode`, `frame/straddle`, `frame/handoff`. Called by: `cargo bench`.
//! Does not: touch sockets or tables. prost reads and writes an equal message beside rkyv, for comparison.
//! Invariant: every shape is read back and compared before it is timed.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use heddle::engine::batch::{FrameBatch, PeerId, StreamRef};
use heddle_wire::frame::{Frame, offset};
use heddle_wire::record::*;
use heddle_wire::resource_tracker::{ArchivedNodeHeartbeatRequest, NodeHeartbeatRequest};
use heddle_wire::{Flags, FrameDecoder, HEADER_SIZE, access, write_frame};
use prost::Message as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHAPES: [usize; 3] = [0, 4, 12];

/// The same beat as a protobuf message: fixed-width where the record is and where protobuf is faster with it.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Utilization {
        #[prost(uint32, tag = "1")]
        pub(crate) physical_memory_mb: u32,
        #[prost(uint32, tag = "2")]
        pub(crate) virtual_memory_mb: u32,
        #[prost(uint32, tag = "3")]
        pub(crate) cpu_millicores: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ContainerStatus {
        #[prost(fixed64, tag = "1")]
        pub(crate) cluster_timestamp: u64,
        #[prost(uint32, tag = "2")]
        pub(crate) application_id: u32,
        #[prost(uint32, tag = "3")]
        pub(crate) attempt_id: u32,
        #[prost(uint64, tag = "4")]
        pub(crate) container_id: u64,
        #[prost(uint32, tag = "5")]
        pub(crate) state: u32,
        #[prost(uint32, tag = "6")]
        pub(crate) sub_state: u32,
        #[prost(uint32, tag = "7")]
        pub(crate) execution_type: u32,
        #[prost(sint32, tag = "8")]
        pub(crate) exit_status: i32,
        #[prost(uint64, tag = "9")]
        pub(crate) memory_mb: u64,
        #[prost(uint32, tag = "10")]
        pub(crate) virtual_cores: u32,
        #[prost(string, tag = "11")]
        pub(crate) diagnostics: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct NodeHeartbeatRequest {
        #[prost(fixed64, tag = "1")]
        pub(crate) node_handle: u64,
        #[prost(uint32, tag = "2")]
        pub(crate) response_id: u32,
        #[prost(uint32, tag = "3")]
        pub(crate) acknowledged_command: u32,
        #[prost(uint32, tag = "4")]
        pub(crate) container_token_key_id: u32,
        #[prost(uint32, tag = "5")]
        pub(crate) nm_token_key_id: u32,
        #[prost(uint64, tag = "6")]
        pub(crate) token_sequence: u64,
        #[prost(uint32, tag = "7")]
        pub(crate) digest_count: u32,
        #[prost(fixed64, tag = "8")]
        pub(crate) digest_hash: u64,
        #[prost(bool, tag = "9")]
        pub(crate) is_full_report: bool,
        #[prost(bool, tag = "10")]
        pub(crate) is_node_healthy: bool,
        #[prost(message, optional, tag = "11")]
        pub(crate) containers_utilization: Option<Utilization>,
        #[prost(message, optional, tag = "12")]
        pub(crate) node_utilization: Option<Utilization>,
        #[prost(message, repeated, tag = "13")]
        pub(crate) container_statuses: Vec<ContainerStatus>,
    }
}

fn beat(containers: usize) -> NodeHeartbeatRequest {
    let utilization = ResourceUtilization {
        physical_memory_mb: 96_000,
        virtual_memory_mb: 192_000,
        cpu_millicores: 31_500,
    };
    let statuses = (1..).take(containers).map(|container_id| ContainerStatus {
        container_id: ContainerId {
            application_attempt_id: ApplicationAttemptId {
                application_id: ApplicationId { cluster_timestamp: 1_763_625_600_000, id: 7 },
                attempt_id: 1,
            },
            container_id,
        },
        state: ContainerState::Complete,
        sub_state: ContainerSubState::Done,
        execution_type: ExecutionType::Guaranteed,
        exit_status: 143,
        capability: Resource::new(4_096, 2),
        diagnostics: "Container killed on request.".to_owned(),
        attributes: Vec::new(),
    });
    NodeHeartbeatRequest {
        node_handle: NodeHandle::new(0, 4_711, 3),
        response_id: 1_234,
        acknowledged_command: 17,
        container_token_key_id: 1,
        nm_token_key_id: 1,
        token_sequence: 1,
        containers_digest: ContainersDigest { count: 20, hash: 0x0123_4567_89ab_cdef },
        is_full_report: false,
        is_continued: false,
        is_node_healthy: true,
        containers_utilization: utilization,
        node_utilization: utilization,
        container_statuses: statuses.collect(),
        details: None,
    }
}

fn proto_beat(beat: &NodeHeartbeatRequest) -> proto::NodeHeartbeatRequest {
    let utilization = |of: &ResourceUtilization| proto::Utilization {
        physical_memory_mb: of.physical_memory_mb,
        virtual_memory_mb: of.virtual_memory_mb,
        cpu_millicores: of.cpu_millicores,
    };
    let status = |status: &ContainerStatus| {
        let attempt = status.container_id.application_attempt_id;
        proto::ContainerStatus {
            cluster_timestamp: attempt.application_id.cluster_timestamp,
            application_id: attempt.application_id.id,
            attempt_id: attempt.attempt_id,
            container_id: status.container_id.container_id,
            state: status.state as u32,
            sub_state: status.sub_state as u32,
            execution_type: status.execution_type as u32,
            exit_status: status.exit_status,
            memory_mb: status.capability.memory_mb,
            virtual_cores: status.capability.virtual_cores,
            diagnostics: status.diagnostics.clone(),
        }
    };
    proto::NodeHeartbeatRequest {
        node_handle: beat.node_handle.0,
        response_id: beat.response_id,
        acknowledged_command: beat.acknowledged_command,
        container_token_key_id: beat.container_token_key_id,
        nm_token_key_id: beat.nm_token_key_id,
        token_sequence: beat.token_sequence,
        digest_count: beat.containers_digest.count,
        digest_hash: beat.containers_digest.hash,
        is_full_report: beat.is_full_report,
        is_node_healthy: beat.is_node_healthy,
        containers_utilization: Some(utilization(&beat.containers_utilization)),
        node_utilization: Some(utilization(&beat.node_utilization)),
        container_statuses: beat.container_statuses.iter().map(status).collect(),
    }
}

fn frame_of(beat: &NodeHeartbeatRequest) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Flags::REQUEST, 42, beat.node_handle.0, beat);
    bytes
}

/// What a shard does with every beat before it looks at its tables, and a touch of each container.
#[inline]
fn read(frame: &Frame<'_>) -> u64 {
    let Ok(beat) = access::<NodeHeartbeatRequest>(frame.body()) else { return 0 };
    if beat.check().is_err() || beat.node_handle.0.to_native() != frame.header.routing_key {
        return 0;
    }
    touch(beat)
}

#[inline]
fn touch(beat: &ArchivedNodeHeartbeatRequest) -> u64 {
    let containers =
        beat.container_statuses.iter().map(|status| status.container_id.container_id.to_native());
    u64::from(beat.response_id.to_native())
        + beat.containers_digest.hash.to_native()
        + containers.sum::<u64>()
}

fn proto_touch(beat: &proto::NodeHeartbeatRequest) -> u64 {
    let containers = beat.container_statuses.iter().map(|status| status.container_id);
    u64::from(beat.response_id) + beat.digest_hash + containers.sum::<u64>()
}

#[allow(clippy::print_stderr, reason = "sizes belong to the result; criterion has no place for them")]
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame/decode");
    group.throughput(Throughput::Elements(1));
    for containers in SHAPES {
        let size = format!("{containers}_containers");
        let record = beat(containers);
        let frame = frame_of(&record);
        let proto = proto_beat(&record);
        let proto_bytes = proto.encode_to_vec();
        let expected = read(&Frame::from_slice(&frame).expect("a frame"));
        assert_ne!(expected, 0);
        let proto_read = proto::NodeHeartbeatRequest::decode(&proto_bytes[..]).expect("a message");
        assert_eq!(proto_read, proto);
        assert_eq!(proto_touch(&proto_read), expected);
        assert_eq!(heddle_wire::decode::<NodeHeartbeatRequest>(&frame[HEADER_SIZE..]), Ok(record));
        eprintln!(
            "{size}: rkyv frame {} bytes, of which body {}; prost body {} bytes",
            frame.len(),
            frame.len() - HEADER_SIZE,
            proto_bytes.len()
        );

        // Header, validated access, field checks, a touch of every container.
        group.bench_function(BenchmarkId::new("rkyv", &size), |bencher| {
            bencher.iter(|| {
                let mut decoder = FrameDecoder::new();
                let mut input = black_box(&frame[..]);
                decoder.next_frame(&mut input).ok().flatten().map_or(0, |frame| read(&frame))
            });
        });
        group.bench_function(BenchmarkId::new("rkyv_owned", &size), |bencher| {
            bencher.iter(|| heddle_wire::decode::<NodeHeartbeatRequest>(black_box(&frame[HEADER_SIZE..])));
        });
        // The body alone: a protobuf frame would need the header on top.
        group.bench_function(BenchmarkId::new("prost", &size), |bencher| {
            bencher.iter(|| {
                proto::NodeHeartbeatRequest::decode(black_box(&proto_bytes[..]))
                    .map_or(0, |beat| proto_touch(&beat))
            });
        });
    }
    let frame = frame_of(&beat(0));
    group.bench_function("header", |bencher| {
        bencher.iter(|| Frame::from_slice(black_box(&frame)).map(|frame| frame.header.routing_key));
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame/encode");
    group.throughput(Throughput::Elements(1));
    for containers in SHAPES {
        let size = format!("{containers}_containers");
        let record = beat(containers);
        let proto = proto_beat(&record);
        let mut out = Vec::with_capacity(64 * 1024);
        group.bench_function(BenchmarkId::new("rkyv", &size), |bencher| {
            bencher.iter(|| {
                out.clear();
                write_frame(&mut out, Flags::REQUEST, 42, record.node_handle.0, black_box(&record))
            });
        });
        assert_eq!(out, frame_of(&record));
        group.bench_function(BenchmarkId::new("prost", &size), |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&proto).encode(&mut out)
            });
        });
        assert_eq!(proto::NodeHeartbeatRequest::decode(&out[..]).expect("a message"), proto);
    }
    // The way of the steady path: a frame written once, three fields of it patched.
    let mut record = beat(0);
    let template = frame_of(&record);
    let at = HEADER_SIZE + core::mem::offset_of!(ArchivedNodeHeartbeatRequest, response_id);
    let mut out = Vec::with_capacity(64 * 1024);
    let patch = |out: &mut Vec<u8>, response_id: u32| {
        out.clear();
        out.extend_from_slice(&template);
        heddle_wire::frame::set_correlation_id(out, 42);
        heddle_wire::frame::set_routing_key(out, 4_711);
        out[at..at + 4].copy_from_slice(&response_id.to_le_bytes());
    };
    patch(&mut out, 77);
    record.response_id = 77;
    assert_eq!(out[offset::ROUTING_KEY + 8..], frame_of(&record)[offset::ROUTING_KEY + 8..]);
    group.bench_function("patched/0_containers", |bencher| {
        bencher.iter(|| {
            patch(&mut out, black_box(78));
            out.len()
        });
    });
    group.finish();
}

/// 64 beats that arrive whole, or in chunks of a datagram's payload, where about every tenth lies across two.
fn straddle(criterion: &mut Criterion) {
    const BEATS: usize = 64;
    let mut group = criterion.benchmark_group("frame/straddle");
    group.throughput(Throughput::Elements(BEATS as u64));
    for containers in [0, 4] {
        let stream = frame_of(&beat(containers)).repeat(BEATS);
        for (name, chunk_size) in [("whole", stream.len()), ("1200", 1_200), ("100", 100)] {
            let mut decoder = FrameDecoder::new();
            let mut run = || {
                let mut count = 0;
                let mut sum = 0_u64;
                for chunk in black_box(&stream).chunks(chunk_size) {
                    let mut input = chunk;
                    while let Ok(Some(frame)) = decoder.next_frame(&mut input) {
                        sum = sum.wrapping_add(read(&frame));
                        count += 1;
                    }
                }
                (count, sum)
            };
            assert_eq!(run().0, BEATS);
            group.bench_function(format!("{name}/{containers}_containers"), |bencher| bencher.iter(&mut run));
        }
    }
    group.finish();
}

/// Frames of one hand-over, as one batch of the product has them.
const HANDOFF: usize = 512;

/// The net thread's half: what it does with a chunk that just came.
trait Carrier: Default + Send + 'static {
    /// Takes every frame of `chunk`.
    fn take(&mut self, chunk: Bytes, decoder: &mut FrameDecoder);
    /// The shard's half: reads every frame, gives back what it was lent, and stays reusable.
    fn consume(&mut self) -> u64;
}

/// Frames are copied behind each other into one buffer; the chunk is given back at once, on the thread it came on.
#[derive(Default)]
struct Copied(FrameBatch);

impl Carrier for Copied {
    fn take(&mut self, chunk: Bytes, decoder: &mut FrameDecoder) {
        let mut input = &chunk[..];
        while let Ok(Some(frame)) = decoder.next_frame(&mut input) {
            self.0.push(frame.bytes, StreamRef::new(0, 1, 1), PeerId(7));
        }
    }
    fn consume(&mut self) -> u64 {
        let frames = self.0.frames().iter().filter_map(|frame| self.0.frame(frame));
        let sum = frames.fold(0, |sum: u64, frame| sum.wrapping_add(read(&frame)));
        self.0.clear();
        sum
    }
}

/// Every frame is a slice that keeps its chunk alive; the last one of a chunk gives it back, on the shard's thread.
#[derive(Default)]
struct Kept(Vec<(Bytes, StreamRef, PeerId)>);

impl Carrier for Kept {
    fn take(&mut self, chunk: Bytes, decoder: &mut FrameDecoder) {
        let mut input = &chunk[..];
        while let Ok(Some(frame)) = decoder.next_frame(&mut input) {
            self.0.push((chunk.slice_ref(frame.bytes), StreamRef::new(0, 1, 1), PeerId(7)));
        }
    }
    fn consume(&mut self) -> u64 {
        let mut sum = 0_u64;
        for (bytes, ..) in self.0.drain(..) {
            sum = sum.wrapping_add(Frame::from_slice(&bytes).map_or(0, |frame| read(&frame)));
        }
        sum
    }
}

/// Fills `carrier` with `HANDOFF` frames that come as chunks of their own memory, as quinn hands them out.
fn fill<C: Carrier>(carrier: &mut C, chunk: &[u8], per_chunk: usize) {
    let mut decoder = FrameDecoder::new();
    for _ in 0..HANDOFF / per_chunk {
        carrier.take(Bytes::copy_from_slice(black_box(chunk)), &mut decoder);
    }
}

/// A consumer thread, and a few carriers on their way round.
fn across<C: Carrier>(rounds: u64, chunk: &[u8], per_chunk: usize, expected: u64) -> Duration {
    let (there, work): (SyncSender<C>, Receiver<C>) = sync_channel(4);
    let (back, home): (SyncSender<C>, Receiver<C>) = sync_channel(4);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(mut carrier) = work.recv() {
                assert_eq!(carrier.consume(), expected);
                if back.send(carrier).is_err() {
                    break;
                }
            }
        });
        let mut free: Vec<C> = (0..4).map(|_| C::default()).collect();
        let mut out = 0;
        let begin = Instant::now();
        for _ in 0..rounds {
            let mut carrier = match free.pop() {
                Some(carrier) => carrier,
                None => {
                    out -= 1;
                    home.recv().expect("the consumer lives")
                }
            };
            fill(&mut carrier, chunk, per_chunk);
            there.send(carrier).expect("the consumer lives");
            out += 1;
        }
        for _ in 0..out {
            home.recv().expect("the consumer lives");
        }
        let spent = begin.elapsed();
        drop(there);
        spent
    })
}

fn handoff(criterion: &mut Criterion) {
    fn case<C: Carrier>(criterion: &mut Criterion, name: &str, containers: usize, per_chunk: usize) {
        let chunk = frame_of(&beat(containers)).repeat(per_chunk);
        let one = read(&Frame::from_slice(&chunk).expect("a frame"));
        let expected = (0..HANDOFF).fold(0_u64, |sum, _| sum.wrapping_add(one));
        let mut carrier = C::default();
        fill(&mut carrier, &chunk, per_chunk);
        assert_eq!(carrier.consume(), expected);

        let mut group = criterion.benchmark_group("frame/handoff");
        group.throughput(Throughput::Elements(HANDOFF as u64));
        let size = format!("{containers}_containers_{per_chunk}_per_chunk");
        group.bench_function(format!("{name}_one_thread/{size}"), |bencher| {
            bencher.iter(|| {
                fill(&mut carrier, &chunk, per_chunk);
                carrier.consume()
            });
        });
        group.bench_function(format!("{name}_two_threads/{size}"), |bencher| {
            bencher.iter_custom(|rounds| across::<C>(rounds, &chunk, per_chunk, expected));
        });
        group.finish();
    }
    for (containers, per_chunk) in [(0, 1), (0, 8), (4, 2), (12, 1)] {
        case::<Copied>(criterion, "copied", containers, per_chunk);
        case::<Kept>(criterion, "kept", containers, per_chunk);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = decode, encode, straddle, handoff
}
criterion_main!(benches);

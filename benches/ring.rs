//! What handing frames from a net thread to a shard costs: in batches, and one by one.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heddle::engine::batch::{PeerId, StreamRef};
use heddle::ring::{MpscQueue, spsc};
use heddle::runtime::idle::Sleeper;
use heddle::runtime::proxy::connect;

/// Size of a heartbeat frame without containers, about.
const FRAME: [u8; 140] = [7; 140];

/// A frame through the port of a net thread into a batch, taken by the shard's port on the same thread: the cost of the
/// hand-off itself, copy included.
fn same_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/frames");
    const COUNT: u64 = 1_024;
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function("batched/same_thread", |bencher| {
        let (mut role_port, mut net_port) = connect(Arc::new(Sleeper::for_current_thread()), Arc::default());
        bencher.iter(|| {
            for _ in 0..COUNT {
                let offered = role_port.offer_frame(&FRAME, StreamRef::new(0, 1, 1), PeerId(1));
                assert!(offered.is_ok());
            }
            role_port.flush();
            let mut taken = 0;
            while let Some(batch) = net_port.poll_frames() {
                for frame in batch.frames() {
                    taken += u64::from(black_box(batch.frame_bytes(frame)).len() == FRAME.len());
                }
                net_port.return_frames(batch);
            }
            assert_eq!(taken, COUNT);
        });
    });
    group.finish();
}

/// Items between two threads: the single-producer ring and the queue for many.
fn two_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/items");
    const COUNT: u64 = 10_000;
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function("spsc/two_threads", |bencher| {
        let (mut producer, mut consumer) = spsc::<u64>(1_024);
        let stop = Arc::new(AtomicBool::new(false));
        let consumer_stop = Arc::clone(&stop);
        let (done, mut finished) = spsc::<u64>(16);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut done, mut count) = (done, 0);
                while !consumer_stop.load(Ordering::Relaxed) {
                    while consumer.poll().is_some() {
                        count += 1;
                        if count % COUNT == 0 {
                            assert!(done.offer(count).is_ok());
                        }
                    }
                    std::thread::yield_now();
                }
            });
            bencher.iter(|| {
                for item in 0..COUNT {
                    let mut item = item;
                    while let Err(full) = producer.offer(item) {
                        item = full.0;
                        std::thread::yield_now();
                    }
                }
                while finished.poll().is_none() {
                    std::thread::yield_now();
                }
            });
            stop.store(true, Ordering::Relaxed);
        });
    });
    group.bench_function("mpsc/same_thread", |bencher| {
        let queue = MpscQueue::new(COUNT as usize);
        bencher.iter(|| {
            for item in 0..COUNT {
                assert!(queue.offer(item).is_ok());
            }
            let mut taken = 0;
            while queue.poll().is_some() {
                taken += 1;
            }
            assert_eq!(taken, COUNT);
        });
    });
    group.finish();
}

criterion_group!(benches, same_thread, two_threads);
criterion_main!(benches);

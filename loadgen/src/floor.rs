//! The floor: a bare QUIC echo, so that a run can say what part of the transport's own ceiling it reaches.
//! Owns: the echo server and the client that keeps a fixed number of heartbeat frames out per connection.
//! Called by: the command line; the server in a child process, both on one current-thread runtime each.
//! Does not: parse a byte. Invariant: sockets, transport settings, frame size, pieces and what is outstanding are those
//! of the heartbeat run it is compared with.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hdrhistogram::Histogram;
use heddle::pki::{Identity, PkiError, SERVER_NAME};
use jiff::Timestamp;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use thiserror::Error;

use crate::driver::{CLIENT_THREAD, Target, latency_histogram, memory, memory_at_rest, quic};
use crate::fleet::{Fleet, PLAIN_BEAT_SIZE};
use crate::proc;

/// Handshakes at a time.
const HANDSHAKES: usize = 64;

/// Chunks echoed at once.
const CHUNKS: usize = 64;

/// How often a connection is tried for before the floor gives up.
const ATTEMPTS: u32 = 20;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct FloorSpec {
    /// Connections.
    pub connections: u32,
    /// Frames per write.
    pub batch: u32,
    /// Frames out per connection.
    pub outstanding: u32,
    /// How long.
    pub duration: Duration,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct FloorOutcome {
    /// Frames echoed.
    pub beats: u64,
    /// In this time.
    pub measured: Duration,
    /// From write to echo.
    pub latencies: Histogram<u64>,
    /// CPU time of the server.
    pub server_cpu: Duration,
    /// CPU time of the client.
    pub client_cpu: Duration,
    /// Share of a core the client thread was busy.
    pub client_thread_busy: f64,
    /// From the first connection to the last.
    pub time_to_all_connected: Duration,
    /// When the measurement began.
    pub began: SystemTime,
    /// Resident memory of the server before the first connection; `None` where that is not known.
    pub server_rss_base: Option<u64>,
    /// The same at the end.
    pub server_rss: Option<u64>,
    /// Datagrams the machine dropped on full socket buffers.
    pub socket_drops: u64,
}

/// A floor that gives no numbers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FloorError {
    /// A runtime or thread.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// A socket.
    #[error(transparent)]
    Endpoint(#[from] quic::EndpointError),
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A connection that does not come about.
    #[error("cannot connect to the echo server at {address}: {reason}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A connection that ended.
    #[error("a connection ended: {0}")]
    Lost(String),
    /// The client thread panicked.
    #[error("the client thread panicked")]
    Panicked,
}

/// Echoes whatever comes, until the process ends.
///
/// # Errors
/// The socket cannot be opened, or the certificates are not accepted.
pub fn serve(address: SocketAddr, identity: &Identity) -> Result<(), FloorError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let config = quic::server_config(identity)?;
    runtime.block_on(async {
        let endpoint = quic::endpoint(address, Some(config))?;
        while let Some(incoming) = endpoint.accept().await {
            tokio::task::spawn_local(async move {
                if let Ok(connection) = incoming.await {
                    while let Ok((send, recv)) = connection.accept_bi().await {
                        tokio::task::spawn_local(echo(send, recv));
                    }
                }
            });
        }
        Ok(())
    })
}

async fn echo(mut send: SendStream, mut recv: RecvStream) {
    let mut chunks: [Bytes; CHUNKS] = [const { Bytes::new() }; CHUNKS];
    while let Ok(Some(count)) = recv.read_chunks(&mut chunks).await {
        if send.write_all_chunks(&mut chunks[..count]).await.is_err() {
            return;
        }
    }
}

/// Measures the floor of the echo server `target`.
///
/// # Errors
/// [`FloorError`].
pub fn run(
    spec: &FloorSpec,
    identity: &Identity,
    target: &mut dyn Target,
) -> Result<FloorOutcome, FloorError> {
    let (address, pid) = (target.address(), target.pid());
    let client = quic::client_config(identity, spec.outstanding, Duration::ZERO)?;
    let spec = *spec;
    let server_rss_base = memory_at_rest(target);
    let thread = std::thread::Builder::new()
        .name(format!("{CLIENT_THREAD}-0"))
        .spawn(move || measure(spec, address, pid, client))?;
    let outcome = thread.join().map_err(|_| FloorError::Panicked)??;
    Ok(FloorOutcome { server_rss_base, ..outcome })
}

/// What the connections of the client share.
struct Shared {
    start: Instant,
    latencies: Histogram<u64>,
    beats: u64,
    is_counting: bool,
    buffer: Box<[u8]>,
    /// As many frames as one write takes.
    piece: Box<[u8]>,
    failed: Option<String>,
}

fn measure(
    spec: FloorSpec,
    address: SocketAddr,
    pid: Option<u32>,
    client: quinn::ClientConfig,
) -> Result<FloorOutcome, FloorError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let own = std::process::id();
    let batch = spec.batch.clamp(1, spec.outstanding.max(1)) as usize;
    runtime.block_on(async {
        let endpoints = (0..quic::endpoint_count(spec.connections as usize))
            .map(|_| quic::endpoint(quic::local_for(address), None))
            .collect::<Result<Vec<_>, _>>()?;
        let ramp = Instant::now();
        let links = connect_all(&endpoints, &client, address, spec.connections).await?;
        let time_to_all_connected = ramp.elapsed();
        let shared = Rc::new(RefCell::new(Shared {
            start: Instant::now(),
            latencies: latency_histogram(),
            beats: 0,
            is_counting: false,
            buffer: vec![0; 64 * 1024].into_boxed_slice(),
            piece: Fleet::plain_beat().repeat(batch).into_boxed_slice(),
            failed: None,
        }));
        // The connections are kept: dropping the last handle would close them.
        let mut connections = Vec::new();
        for (connection, send, recv) in links {
            connections.push(connection);
            let mut link = FloorLink::new(send, recv, spec.outstanding);
            let shared = Rc::clone(&shared);
            tokio::task::spawn_local(async move {
                poll_fn(|context| link.poll(&mut shared.borrow_mut(), context)).await;
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let read = || {
            let server = pid.map_or(Duration::ZERO, |pid| proc::cpu_time(pid, |_| true));
            let client = proc::cpu_time(own, |_| true);
            (server, client, proc::cpu_time(own, |name| name.starts_with(CLIENT_THREAD)))
        };
        let (drops, before, begin) = (proc::udp_receive_buffer_errors(), read(), Instant::now());
        let began = Timestamp::now().into();
        shared.borrow_mut().is_counting = true;
        tokio::time::sleep(spec.duration).await;
        shared.borrow_mut().is_counting = false;
        let (measured, after) = (begin.elapsed(), read());
        let shared = shared.borrow();
        if let Some(reason) = &shared.failed {
            return Err(FloorError::Lost(reason.clone()));
        }
        Ok(FloorOutcome {
            beats: shared.beats,
            measured,
            latencies: shared.latencies.clone(),
            server_cpu: after.0.saturating_sub(before.0),
            client_cpu: after.1.saturating_sub(before.1),
            client_thread_busy: after.2.saturating_sub(before.2).as_secs_f64() / measured.as_secs_f64(),
            time_to_all_connected,
            began,
            server_rss_base: None,
            server_rss: memory(pid),
            socket_drops: proc::udp_receive_buffer_errors().saturating_sub(drops),
        })
    })
}

type Open = (Connection, SendStream, RecvStream);

async fn connect_all(
    endpoints: &[Endpoint],
    client: &quinn::ClientConfig,
    address: SocketAddr,
    connections: u32,
) -> Result<Vec<Open>, FloorError> {
    let mut links = Vec::with_capacity(connections as usize);
    let mut tasks = tokio::task::JoinSet::new();
    let mut next = 0;
    while next < connections || !tasks.is_empty() {
        while next < connections && tasks.len() < HANDSHAKES {
            let endpoint = endpoints[next as usize % endpoints.len()].clone();
            tasks.spawn(connect(endpoint, client.clone(), address));
            next += 1;
        }
        match tasks.join_next().await {
            Some(Ok(Ok(link))) => links.push(link),
            Some(Ok(Err(reason))) => return Err(FloorError::Connect { address, reason }),
            Some(Err(_)) => return Err(FloorError::Panicked),
            None => {}
        }
    }
    Ok(links)
}

async fn connect(
    endpoint: Endpoint,
    client: quinn::ClientConfig,
    address: SocketAddr,
) -> Result<Open, String> {
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        let connecting =
            endpoint.connect_with(client.clone(), address, SERVER_NAME).map_err(|error| error.to_string())?;
        // The first attempts may find a server that is not up yet.
        match tokio::time::timeout(Duration::from_secs(5), connecting).await {
            Ok(Ok(connection)) => match connection.open_bi().await {
                Ok((send, recv)) => return Ok((connection, send, recv)),
                Err(error) => last = error.to_string(),
            },
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => "no handshake within 5 s".clone_into(&mut last),
        }
        tokio::time::sleep(Duration::from_millis(50 * u64::from(attempt + 1))).await;
    }
    Err(last)
}

/// One connection that keeps its number of frames out.
struct FloorLink {
    send: SendStream,
    recv: RecvStream,
    /// Frames that may go out now.
    credit: u32,
    /// Bytes of the present piece still to be written: where in the piece, up to where.
    piece: (usize, usize),
    /// Bytes of a frame whose rest has not come back.
    partial: usize,
    /// When how many frames were written: echoes come back in order.
    sent: VecDeque<(u64, u32)>,
}

impl FloorLink {
    const fn new(send: SendStream, recv: RecvStream, outstanding: u32) -> Self {
        Self { send, recv, credit: outstanding, piece: (0, 0), partial: 0, sent: VecDeque::new() }
    }

    fn poll(&mut self, shared: &mut Shared, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..16 {
            if let Err(reason) = self.write(shared, context) {
                shared.failed.get_or_insert(reason);
                return Poll::Ready(());
            }
            match self.recv.poll_read(context, &mut shared.buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if count > 0 => self.take_in(shared, count),
                Poll::Ready(Ok(_)) => {
                    shared.failed.get_or_insert_with(|| "the server closed a stream".to_owned());
                    return Poll::Ready(());
                }
                Poll::Ready(Err(error)) => {
                    shared.failed.get_or_insert_with(|| error.to_string());
                    return Poll::Ready(());
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes pieces as long as there is credit and room.
    fn write(&mut self, shared: &Shared, context: &mut Context<'_>) -> Result<(), String> {
        loop {
            if self.piece.0 == self.piece.1 {
                let frames = self.credit.min((shared.piece.len() / PLAIN_BEAT_SIZE) as u32);
                if frames == 0 {
                    return Ok(());
                }
                self.credit -= frames;
                self.piece = (0, frames as usize * PLAIN_BEAT_SIZE);
                self.sent.push_back((now_us(shared), frames));
            }
            let bytes = &shared.piece[self.piece.0..self.piece.1];
            match Pin::new(&mut self.send).poll_write(context, bytes) {
                Poll::Ready(Ok(count)) => self.piece.0 += count,
                Poll::Ready(Err(error)) => return Err(error.to_string()),
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn take_in(&mut self, shared: &mut Shared, count: usize) {
        let total = self.partial + count;
        self.partial = total % PLAIN_BEAT_SIZE;
        let frames = (total / PLAIN_BEAT_SIZE) as u32;
        self.credit += frames;
        if shared.is_counting {
            shared.beats += u64::from(frames);
        }
        let now_us = now_us(shared);
        let mut left = frames;
        while left > 0
            && let Some((sent_us, out)) = self.sent.front_mut()
        {
            let now = left.min(*out);
            if shared.is_counting {
                let latency_us = now_us.saturating_sub(*sent_us).max(1);
                shared.latencies.saturating_record_n(latency_us, u64::from(now));
            }
            left -= now;
            *out -= now;
            if *out == 0 {
                self.sent.pop_front();
            }
        }
    }
}

fn now_us(shared: &Shared) -> u64 {
    u64::try_from(shared.start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rm::{EphemeralPki, Remote, free_address};

    #[test]
    fn the_echo_is_measured() {
        let pki = EphemeralPki::create().unwrap();
        let file = |name: &str| pki.directory().join(name);
        let server =
            Identity::load(&file("resourcemanager.pem"), &file("resourcemanager.key"), &file("ca.pem"))
                .unwrap();
        let address = free_address().unwrap();
        std::thread::Builder::new().name("echo".to_owned()).spawn(move || serve(address, &server)).unwrap();
        // CPU time is counted in ticks of 10 ms: long enough for some also where the machine is busy with others.
        let spec =
            FloorSpec { connections: 3, batch: 4, outstanding: 10, duration: Duration::from_millis(1_500) };
        let outcome = run(&spec, &pki.nodes().unwrap(), &mut Remote::new(address, None)).unwrap();
        assert!(outcome.beats > 30, "{}", outcome.beats);
        assert_eq!(outcome.latencies.len(), outcome.beats);
        assert!(outcome.client_cpu > Duration::ZERO);
    }
}

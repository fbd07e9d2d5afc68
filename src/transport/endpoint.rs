//! The door itself: QUIC settings by role, and the loop that admits connections at a budgeted rate.
//! Owns: [`server_config`], [`transport_config`], the accept loop. Called by: net threads, clients, the load generator.
//! Does not: read streams.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use heddle_wire::RejectCode;
use quinn::congestion::CubicConfig;
use quinn::{
    AckFrequencyConfig, Connection, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TransportConfig,
    VarInt,
};
use quinn_proto::RandomConnectionIdGenerator;
use rustls::pki_types::CertificateDer;

use super::connection::{Doors, Peer, serve};
use super::net::Net;
use super::pace::Pace;
use super::stream_table::close_for;
use crate::config::TransportSettings;
use crate::engine::batch::Caller;
use crate::engine::time::Instant;
use crate::pki::{Identity, PeerIdentity, PkiError, Role};
use crate::runtime::clock::Clock;
use crate::transport::admission::HandshakeBudget;

/// Size of connection ids, bytes, all of them random.
const CONNECTION_ID_SIZE: usize = 8;

/// Connections that wait for the budget, in a queue. Behind it they are refused and come back by themselves.
const WAITING_MAX: usize = 1_024;

/// Packets that are acknowledged together. A relay's are by tens: −20 % CPU per beat. One beat a second per connection does
/// not notice.
const ACKED_TOGETHER: u32 = 10;

/// What may be on its way before anything was acknowledged, bytes. It has to be well above [`ACKED_TOGETHER`] packets: QUIC's
/// recommended 12,000 are eight, so that whoever was sent more than that in one answer, sixty grants, waited for the peer's
/// timer of 25 ms to get the rest.
const INITIAL_WINDOW: u64 = 64 * 1024;
const _: () = assert!(INITIAL_WINDOW > 3 * ACKED_TOGETHER as u64 * 1_452);

/// Limits and timers of a connection, for both sides.
///
/// Memory per idle connection is dominated by the streams a peer may open, so there are few; windows only bound what a
/// peer may make us hold. `min_mtu` stays at QUIC's 1,200 and discovery goes up to 1,452.
#[must_use]
pub fn transport_config(settings: &TransportSettings) -> TransportConfig {
    let mut config = TransportConfig::default();
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACKED_TOGETHER));
    let mut cubic = CubicConfig::default();
    cubic.initial_window(INITIAL_WINDOW);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(settings.streams_per_connection))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(IdleTimeout::try_from(settings.idle_timeout).ok())
        .stream_receive_window(window(settings.stream_receive_window))
        .receive_window(window(settings.client_receive_window))
        .send_window(settings.send_window as u64)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        // In a data centre a lost first packet must not cost a second.
        .initial_rtt(Duration::from_millis(10))
        .crypto_buffer_size(16 * 1024)
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(Arc::new(cubic))
        .enable_segmentation_offload(settings.is_segmentation_offload);
    config
}

fn window(size: usize) -> VarInt {
    VarInt::from_u64(size as u64).unwrap_or(VarInt::MAX)
}

/// The server's side: mutual TLS, our limits, no migration (a connection stays with the socket of its net thread).
///
/// # Errors
/// [`PkiError`] where the identity does not make a TLS configuration.
pub fn server_config(identity: &Identity, settings: &TransportSettings) -> Result<ServerConfig, PkiError> {
    let mut config = ServerConfig::with_crypto(Arc::new(identity.server_crypto()?));
    config
        .transport_config(Arc::new(transport_config(settings)))
        .migration(false)
        .max_incoming(WAITING_MAX * 2)
        .incoming_buffer_size(16 * 1024)
        .incoming_buffer_size_total(32 * 1024 * 1024);
    Ok(config)
}

/// The client's side: the same limits, a long-lived connection.
///
/// # Errors
/// [`PkiError`] where the identity does not make a TLS configuration.
pub fn client_config(
    identity: &Identity,
    settings: &TransportSettings,
) -> Result<quinn::ClientConfig, PkiError> {
    let mut config = quinn::ClientConfig::new(Arc::new(identity.client_crypto()?));
    config.transport_config(Arc::new(transport_config(settings)));
    Ok(config)
}

/// An endpoint over a bound socket, on the current runtime. `secret` is what a server's restarts have in common.
///
/// # Errors
/// The operating system's.
pub fn endpoint(
    socket: std::net::UdpSocket,
    server: Option<ServerConfig>,
    secret: Option<&ResetSecret>,
) -> io::Result<quinn::Endpoint> {
    let config = secret.map_or_else(EndpointConfig::default, ResetSecret::endpoint_config);
    quinn::Endpoint::new(config, server, socket, Arc::new(quinn::TokioRuntime))
}

/// Shared by every endpoint of one identity, before and after a restart: it lets a ResourceManager that was killed tell
/// the peers of its predecessor at once that their connections are gone, instead of leaving them to their timers.
#[derive(Clone)]
pub struct ResetSecret([u8; 32]);

impl ResetSecret {
    /// Least time between resets: none. QUIC's default of one every 20 ms would take minutes for 10,000 peers, and any
    /// interval drops all but one of a batch of packets. A reset is smaller than the packet that asked for it, so it
    /// amplifies nothing and ends by itself between two that send them to each other.
    const INTERVAL_MIN: Duration = Duration::ZERO;

    /// Derived from the identity's private key.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        Self(identity.derive_secret("heddle stateless reset"))
    }

    fn endpoint_config(&self) -> EndpointConfig {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &self.0);
        let mut config = EndpointConfig::new(Arc::new(key));
        // QUIC's default ids are three random bytes and a keyed hash. Ids of a predecessor would be dropped as noise; and
        // of 10,000 peers sent a Retry at once some were given an id that a connection had, and waited for their timeout.
        config
            .cid_generator(|| Box::new(RandomConnectionIdGenerator::new(CONNECTION_ID_SIZE)))
            .min_reset_interval(Self::INTERVAL_MIN);
        config
    }
}

impl core::fmt::Debug for ResetSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ResetSecret")
    }
}

/// Admits connections until the task is dropped.
pub(super) struct Acceptor {
    pub(super) net: Rc<Net>,
    pub(super) endpoint: quinn::Endpoint,
    pub(super) settings: Rc<TransportSettings>,
    pub(super) doors: Doors,
    pub(super) clock: Clock,
}

/// Those who were not let in at once.
#[derive(Default)]
struct Line {
    /// They have proved their address, and wait for the budget.
    waiting: VecDeque<(Incoming, Instant)>,
    /// When somebody was last told to prove it.
    retried: Option<Instant>,
}

impl Acceptor {
    /// How long copies of a first packet may come after its Retry: a few of a client's repetitions.
    const COPIES_FOR: Duration = Duration::from_secs(1);

    pub(super) async fn run(self) {
        let settings = &self.settings;
        let mut budget =
            HandshakeBudget::new(settings.handshakes_per_second, settings.handshake_burst, self.clock.now());
        let mut line = Line::default();
        loop {
            self.admit_waiting(&mut budget, &mut line.waiting);
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.decide(incoming, &mut budget, &mut line),
                    None => return,
                },
                () = tokio::time::sleep(budget.wait()), if !line.waiting.is_empty() => {}
            }
        }
    }

    /// Lets in whoever waits, as far as the budget goes. Asked at every turn: under a flood of new ones the timer alone
    /// would never fire.
    fn admit_waiting(&self, budget: &mut HandshakeBudget, waiting: &mut VecDeque<(Incoming, Instant)>) {
        while let Some((_, since)) = waiting.front() {
            let now = self.clock.now();
            // It has given up by itself; a handshake would be for nobody.
            let is_stale = now.since(*since) >= self.settings.handshake_timeout;
            if !is_stale && !budget.take(now) {
                return;
            }
            let Some((incoming, _)) = waiting.pop_front() else { return };
            if is_stale {
                self.net.metrics.handshakes_failed.increment();
                incoming.ignore();
            } else if self.is_full() {
                self.net.metrics.handshakes_refused.increment();
                incoming.refuse();
            } else {
                self.admit(incoming);
            }
        }
    }

    /// Within the budget: in. Beyond it: prove the address first, then wait in line, then be refused.
    fn decide(&self, incoming: Incoming, budget: &mut HandshakeBudget, line: &mut Line) {
        let metrics = &self.net.metrics;
        let now = self.clock.now();
        // A peer repeats its first packet until it has read our Retry. While Retries are about, a packet without a
        // token may be such a copy: let in, it would hold a place until its timeout, for nobody.
        let is_copy = !incoming.remote_address_validated()
            && line.retried.is_some_and(|at| now.since(at) < Self::COPIES_FOR);
        if self.is_full() {
            metrics.handshakes_refused.increment();
            incoming.refuse();
        } else if line.waiting.is_empty() && !is_copy && budget.take(now) {
            self.admit(incoming);
        } else if incoming.may_retry() && !incoming.remote_address_validated() {
            metrics.handshakes_retried.increment();
            line.retried = Some(now);
            if incoming.retry().is_err() {
                metrics.handshakes_refused.increment();
            }
        } else if line.waiting.len() < WAITING_MAX {
            line.waiting.push_back((incoming, now));
        } else {
            metrics.handshakes_refused.increment();
            incoming.refuse();
        }
    }

    fn is_full(&self) -> bool {
        self.net.metrics.connections.get() >= self.settings.connections_max as u64
    }

    fn admit(&self, incoming: Incoming) {
        // Handshakes under way hold a place too: the bound is on what a herd may make us keep.
        self.net.metrics.connections.increment();
        let (net, settings, doors) = (Rc::clone(&self.net), Rc::clone(&self.settings), self.doors.clone());
        // The handshake's future is large and short-lived; a box keeps it out of the connection's long-lived task.
        let handshake = Box::pin(handshake(Rc::clone(&net), incoming, settings.handshake_timeout));
        tokio::task::spawn_local(async move {
            let Some((connection, identity)) = handshake.await else {
                net.metrics.connections.decrement();
                return;
            };
            connection.set_receive_window(window(settings.receive_window(identity.role)));
            let pace = RefCell::new(Pace::new(settings.frames_per_second));
            let caller = Caller {
                peer: identity.id,
                name: identity.name.as_str().into(),
                is_admin: identity.role == Role::Admin,
                // A socket for both families shows addresses of the fourth as ones of the sixth. Nobody migrates.
                address: Some(connection.remote_address().ip().to_canonical()),
            };
            let peer =
                Rc::new(Peer { identity, caller, connection, doors, pace, node_calls: RefCell::default() });
            drop(settings);
            serve(Rc::clone(&net), peer).await;
            net.metrics.connections.decrement();
        });
    }
}

async fn handshake(
    net: Rc<Net>,
    incoming: Incoming,
    timeout: Duration,
) -> Option<(Connection, PeerIdentity)> {
    let address = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => {
            net.metrics.handshakes_failed.increment();
            tracing::debug!(%address, %error, "handshake not begun");
            return None;
        }
    };
    let connection = match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            net.metrics.handshakes_failed.increment();
            tracing::info!(%address, %error, "handshake failed");
            return None;
        }
        Err(_) => {
            net.metrics.handshakes_failed.increment();
            tracing::info!(%address, ?timeout, "handshake took too long");
            return None;
        }
    };
    match identify(&connection) {
        Ok(identity) if identity.role != Role::ResourceManager => {
            net.metrics.handshakes_accepted.increment();
            Some((connection, identity))
        }
        Ok(identity) => {
            refuse(&net, &connection, &format!("{} is not a client's certificate", identity.uri()));
            None
        }
        Err(reason) => {
            refuse(&net, &connection, &reason);
            None
        }
    }
}

fn refuse(net: &Net, connection: &Connection, reason: &str) {
    net.metrics.reject(RejectCode::RoleNotAllowed as u16);
    tracing::warn!(address = %connection.remote_address(), reason, "connection refused");
    close_for(connection, RejectCode::RoleNotAllowed, reason);
}

/// Who is at the other end, by its certificate.
fn identify(connection: &Connection) -> Result<PeerIdentity, String> {
    let certificates = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or("the peer showed no certificate")?;
    let leaf = certificates.first().ok_or("the peer showed no certificate")?;
    PeerIdentity::from_certificate(leaf).map_err(|error| error.to_string())
}

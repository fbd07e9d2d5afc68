//! Sockets, endpoints and transport settings of the load generator, for both its traffic and the floor.
//! Owns: the numbers that shape a connection. Called by: driver and floor when they start; on their threads.
//! Does not: send heartbeats. Invariant: heartbeat run and floor use the same settings, or a ratio means nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use heddle::pki::{Identity, PkiError};
use quinn::congestion::CubicConfig;
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// Socket buffers asked for, bytes. With the system's default of 212 KiB a thousand nodes lose packets and p99 becomes
/// seconds; 10,000 answers of ≈ 1.3 KiB bookkeeping each need 13 MiB.
const SOCKET_BUFFER_SIZE: usize = 16 * 1024 * 1024;

/// Longest UDP payload on the path, bytes: 1,452 + 48 bytes of IPv6 and UDP headers fit Ethernet.
const MTU_MAX: u16 = 1_452;

/// A connection of the floor that carries nothing for this long is gone.
const FLOOR_IDLE_TIMEOUT_MS: u32 = 60_000;

/// Who is silent for longer than this keeps its connection alive, and this often: a third of the idle timeout of a
/// ResourceManager that was told nothing else.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Connections per socket: one socket's receive buffer then holds a beat of each several times over.
const CONNECTIONS_PER_ENDPOINT: usize = 500;

/// At least this many sockets, so that one does not become the limit.
const ENDPOINTS_MIN: usize = 4;

/// An endpoint that cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The socket.
    #[error("cannot open a UDP socket on {address}: {source}")]
    Socket {
        /// Local address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The certificate or key.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// How many endpoints `connections` are spread over.
#[must_use]
pub const fn endpoint_count(connections: usize) -> usize {
    let wanted = connections.div_ceil(CONNECTIONS_PER_ENDPOINT);
    let least = if connections < ENDPOINTS_MIN { connections } else { ENDPOINTS_MIN };
    if wanted > least { wanted } else { least }
}

/// Transport settings of both sides. `bidi_streams` is how many the peer may open.
fn transport(bidi_streams: u32, window: u32, idle: Option<IdleTimeout>) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_MAX);
    // Answers acknowledge beats; a separate acknowledgement every tenth packet is enough (-20 % CPU for relays).
    let mut ack_frequency = AckFrequencyConfig::default();
    ack_frequency.ack_eliciting_threshold(VarInt::from_u32(10));
    // Above what is acknowledged together, as the ResourceManager's: below it a burst ends in a wait for a timer.
    let mut cubic = CubicConfig::default();
    cubic.initial_window(64 * 1024);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(bidi_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(window))
        .receive_window(VarInt::from_u32(window.saturating_mul(2)))
        .send_window(u64::from(window) * 2)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(idle)
        // The default of 333 ms makes a lost first packet cost a second; inside a data centre it is below 1 ms.
        .initial_rtt(Duration::from_millis(10))
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(cubic))
        .ack_frequency_config(Some(ack_frequency));
    transport
}

/// How NodeManagers, ApplicationMasters and clients connect: answers for all nodes of a connection fit its window.
///
/// How long a connection may carry nothing is the ResourceManager's to say, who knows the longest interval between two
/// beats. Whoever is silent for longer by its own choice names its longest silence.
///
/// # Errors
/// A key or certificate that TLS refuses.
pub fn client_config(
    identity: &Identity,
    nodes_per_connection: u32,
    silence: Duration,
) -> Result<ClientConfig, PkiError> {
    let window = nodes_per_connection.saturating_mul(256).clamp(64 * 1024, 4 * 1024 * 1024);
    let mut config = ClientConfig::new(Arc::new(identity.client_crypto()?));
    let mut transport = transport(4, window, None);
    transport.keep_alive_interval(keep_alive(silence));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// How often a connection that is otherwise silent for so long is kept alive.
fn keep_alive(silence: Duration) -> Option<Duration> {
    (silence > KEEP_ALIVE).then_some(KEEP_ALIVE)
}

/// How the floor's server accepts.
///
/// # Errors
/// A key or certificate that TLS refuses.
pub fn server_config(identity: &Identity) -> Result<ServerConfig, PkiError> {
    let mut config = ServerConfig::with_crypto(Arc::new(identity.server_crypto()?));
    let idle = IdleTimeout::from(VarInt::from_u32(FLOOR_IDLE_TIMEOUT_MS));
    config.migration(false).transport_config(Arc::new(transport(4, 4 * 1024 * 1024, Some(idle))));
    Ok(config)
}

/// An endpoint on `address`, with large socket buffers. Must be called inside a tokio runtime.
///
/// # Errors
/// The socket.
pub fn endpoint(address: SocketAddr, server: Option<ServerConfig>) -> Result<Endpoint, EndpointError> {
    let failed = |source| EndpointError::Socket { address, source };
    let socket = bind(address).map_err(failed)?;
    let mut config = EndpointConfig::default();
    // The largest payload we accept; the path's limit is found by discovery.
    if config.max_udp_payload_size(MTU_MAX).is_err() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "UDP payload size")));
    }
    Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).map_err(failed)
}

/// A local address of the same family as `remote`, any port.
#[must_use]
pub const fn local_for(remote: SocketAddr) -> SocketAddr {
    let ip = match remote {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The forced form passes the system's maximum and needs a privilege; without it the maximum is what we get.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_SIZE).is_err() {
        socket.set_recv_buffer_size(SOCKET_BUFFER_SIZE)?;
    }
    if rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER_SIZE).is_err() {
        socket.set_send_buffer_size(SOCKET_BUFFER_SIZE)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ApplicationMasters that called every 70 s lost their connections between two calls.
    #[test]
    fn who_is_silent_for_long_is_kept_alive() {
        let of = |seconds| keep_alive(Duration::from_secs(seconds));
        assert_eq!([of(0), of(1), of(20)], [None; 3], "a ping is worth nothing beside a call");
        assert_eq!([of(21), of(600)], [Some(KEEP_ALIVE); 2]);
    }

    #[test]
    fn endpoints_follow_the_connections() {
        assert_eq!([1, 3, 4, 8, 2_000, 2_001, 10_000].map(endpoint_count), [1, 3, 4, 4, 4, 5, 20]);
    }
}

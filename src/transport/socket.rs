//! UDP sockets with buffers large enough for thousands of nodes, and the truth about what the kernel gave.
//! Owns: [`bind`]. Called by: net threads at start, clients, the load generator. Does not: read or write packets.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// What was asked for and what the kernel gave, bytes. The kernel reports twice the usable size; these are usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// Asked for, each way.
    pub wanted: usize,
    /// Given for receiving.
    pub receive: usize,
    /// Given for sending.
    pub send: usize,
}

impl SocketBuffers {
    /// What an operator should do, where the kernel gave less than asked for.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let mut settings = Vec::new();
        if self.receive < self.wanted {
            settings.push(format!(
                "net.core.rmem_max={} (receive buffer is {} bytes)",
                self.wanted, self.receive
            ));
        }
        if self.send < self.wanted {
            settings.push(format!("net.core.wmem_max={} (send buffer is {} bytes)", self.wanted, self.send));
        }
        if settings.is_empty() {
            return None;
        }
        Some(format!(
            "the kernel gave less socket buffer than the {} bytes asked for; packets are lost when thousands of nodes \
             beat at once. Set with sysctl -w: {}",
            self.wanted,
            settings.join(", ")
        ))
    }
}

/// Binds a UDP socket. With `is_shared`, several sockets may share the address and the kernel spreads peers over them.
///
/// Buffers: tries the privileged option first (`SO_RCVBUFFORCE`), then the ordinary one, which the kernel cuts to
/// `net.core.rmem_max` without saying so.
///
/// # Errors
/// The operating system's, with the address in the text.
pub fn bind(
    address: SocketAddr,
    buffer_size: usize,
    is_shared: bool,
) -> io::Result<(UdpSocket, SocketBuffers)> {
    let in_context = |what: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("{what} UDP socket {address}: {error}"))
    };
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
        .map_err(|error| in_context("cannot open", error))?;
    if is_shared {
        socket.set_reuse_port(true).map_err(|error| in_context("cannot share", error))?;
    }
    socket.set_nonblocking(true).map_err(|error| in_context("cannot set up", error))?;
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, buffer_size).is_err() {
        socket.set_recv_buffer_size(buffer_size).map_err(|error| in_context("cannot size", error))?;
    }
    if rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, buffer_size).is_err() {
        socket.set_send_buffer_size(buffer_size).map_err(|error| in_context("cannot size", error))?;
    }
    let buffers = SocketBuffers {
        wanted: buffer_size,
        receive: socket.recv_buffer_size().map_err(|error| in_context("cannot read", error))? / 2,
        send: socket.send_buffer_size().map_err(|error| in_context("cannot read", error))? / 2,
    };
    socket.bind(&SockAddr::from(address)).map_err(|error| in_context("cannot bind", error))?;
    Ok((socket.into(), buffers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sockets_share_an_address_only_when_asked() {
        let (first, buffers) = bind("127.0.0.1:0".parse().unwrap(), 64 * 1024, true).unwrap();
        assert!(buffers.receive >= 64 * 1024, "{buffers:?}");
        let address = first.local_addr().unwrap();
        assert!(bind(address, 64 * 1024, true).is_ok());
        let error = bind(address, 64 * 1024, false).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn advice_names_the_sysctl() {
        let advice = SocketBuffers { wanted: 100, receive: 50, send: 100 }.advice().unwrap();
        assert!(advice.contains("net.core.rmem_max=100") && !advice.contains("wmem_max"), "{advice}");
        assert_eq!(SocketBuffers { wanted: 100, receive: 100, send: 200 }.advice(), None);
    }
}

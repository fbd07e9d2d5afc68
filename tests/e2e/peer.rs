//! A peer made of bytes: it can do everything a well-behaved agent does, and everything else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use heddle::config::{RmConfig, TransportSettings};
use heddle::pki::{Authority, Identity, Role, SERVER_NAME};
use heddle_wire::frame::{Flags, Frame, FrameHeader, HEADER_SIZE, offset};
use heddle_wire::message::decode_reject;
use heddle_wire::record::{NodeAction, NodeHandle, NodeId, Resource};
use heddle_wire::resource_tracker::{
    NodeHeartbeatRequest, NodeHeartbeatResponse, RegisterNodeManagerRequest, RegisterNodeManagerResponse,
};
use heddle_wire::{Opcode, Reject, WriteMessage, decode, write_frame};
use quinn::{Connecting, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Longest wait for anything; far beyond what a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An authority and what it issued.
pub(crate) struct Pki {
    pub(crate) authority: Authority,
}

impl Pki {
    pub(crate) fn new() -> Self {
        heddle::pki::install_crypto_provider();
        Self { authority: Authority::create("e2e").unwrap() }
    }

    pub(crate) fn issue(&self, role: Role, name: &str) -> Identity {
        self.authority.issue(role, name).unwrap()
    }
}

/// A frame as it came: header, body.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// As it stands in the header, also where it is in no table.
    pub(crate) opcode_number: u16,
    pub(crate) header: FrameHeader,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn reject(&self) -> Reject {
        assert!(self.header.flags.is_reject(), "not a reject: {:?}", self.header);
        decode_reject(self.header.opcode, &self.body).unwrap()
    }
}

/// A connection with one stream.
pub(crate) struct Peer {
    _endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    bytes: Vec<u8>,
    received: std::collections::VecDeque<Received>,
}

/// An endpoint for clients on a free port.
pub(crate) fn client_endpoint(identity: &Identity, settings: &TransportSettings) -> Endpoint {
    let (socket, _) = heddle::transport::bind("127.0.0.1:0".parse().unwrap(), 4 << 20, false).unwrap();
    let mut endpoint = heddle::transport::endpoint(socket, None, None).unwrap();
    endpoint.set_default_client_config(heddle::transport::client_config(identity, settings).unwrap());
    endpoint
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr, identity: &Identity) -> Self {
        Self::try_connect(address, identity).await.unwrap()
    }

    pub(crate) async fn try_connect(
        address: SocketAddr,
        identity: &Identity,
    ) -> Result<Self, ConnectionError> {
        Self::try_connect_with(address, identity, &RmConfig::default().transport).await
    }

    /// With limits of its own on the peer's side, for example a window that is soon full.
    pub(crate) async fn try_connect_with(
        address: SocketAddr,
        identity: &Identity,
        settings: &TransportSettings,
    ) -> Result<Self, ConnectionError> {
        let endpoint = client_endpoint(identity, settings);
        let connecting = endpoint.connect(address, SERVER_NAME).unwrap();
        let connection =
            tokio::time::timeout(PATIENCE, connecting).await.expect("no answer to a handshake")?;
        let (send, recv) = connection.open_bi().await?;
        let (bytes, received) = Default::default();
        Ok(Self { _endpoint: endpoint, connection, send, recv, bytes, received })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.send.write_all(bytes))
            .await
            .expect("a write took too long")
            .unwrap();
    }

    pub(crate) async fn request(
        &mut self,
        correlation_id: u64,
        routing_key: u64,
        message: &impl WriteMessage,
    ) {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Flags::REQUEST, correlation_id, routing_key, message);
        self.send(&bytes).await;
    }

    /// The next frame; `None` when the stream or connection ended.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        loop {
            if let Some(frame) = self.received.pop_front() {
                return Some(frame);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.recv.read_chunk(1 << 16, true))
                .await
                .expect("no answer")
                .ok()??;
            self.bytes.extend_from_slice(&chunk.bytes);
            while let Some(frame) = self.take_frame() {
                self.received.push_back(frame);
            }
        }
    }

    /// The next whole frame of what came. Read by hand: a reject of a frame that could not be read repeats an opcode
    /// number that is in no table.
    fn take_frame(&mut self) -> Option<Received> {
        let number = |at: usize| u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
        if self.bytes.len() < HEADER_SIZE {
            return None;
        }
        let size =
            u32::from_le_bytes(self.bytes[offset::BODY_LENGTH..offset::CORRELATION_ID].try_into().unwrap());
        let end = HEADER_SIZE + size as usize;
        if self.bytes.len() < end {
            return None;
        }
        let opcode_number = number(offset::OPCODE);
        let opcode = Opcode::from_number(opcode_number).unwrap_or(Opcode::NodeHeartbeat);
        self.bytes[offset::OPCODE..offset::FLAGS].copy_from_slice(&(opcode as u16).to_le_bytes());
        let frame = Frame::from_slice(&self.bytes[..end]).unwrap();
        let received = Received { opcode_number, header: frame.header, body: frame.body().to_vec() };
        self.bytes.drain(..end);
        Some(received)
    }

    pub(crate) async fn expect(&mut self) -> Received {
        self.next().await.expect("the stream ended")
    }

    pub(crate) async fn register(&mut self, node_id: NodeId) -> RegisterNodeManagerResponse {
        self.request(1, node_id.routing_key(), &registration(node_id)).await;
        let frame = self.expect().await;
        assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
        decode(&frame.body).unwrap()
    }

    pub(crate) async fn beat(&mut self, handle: NodeHandle, response_id: u32) -> NodeHeartbeatResponse {
        self.request(u64::from(response_id) + 10, handle.0, &heartbeat(handle, response_id)).await;
        loop {
            let frame = self.expect().await;
            assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
            if frame.header.flags.is_push() {
                continue;
            }
            return decode(&frame.body).unwrap();
        }
    }
}

/// The words a connection that is not let in ends with, during its handshake or after it.
pub(crate) async fn refusal(address: SocketAddr, identity: &Identity) -> ConnectionError {
    let endpoint = client_endpoint(identity, &RmConfig::default().transport);
    ending(endpoint.connect(address, SERVER_NAME).unwrap()).await
}

/// The same for a connection that is being made.
pub(crate) async fn ending(connecting: Connecting) -> ConnectionError {
    let ended = async {
        match connecting.await {
            Ok(connection) => connection.closed().await,
            Err(error) => error,
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the connection was let in")
}

/// A node that does everything right, beside whatever a test does to others: it beats a hundred times a second, and a
/// beat that is refused, told RESYNC or answered with another number fails the test.
pub(crate) struct Bystander {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Witness>,
}

/// What a [`Bystander`] saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness {
    pub(crate) beats: u32,
    /// The longest it waited for an answer.
    pub(crate) slowest: Duration,
}

impl Bystander {
    /// Connects and registers `host`; it beats from now on.
    pub(crate) async fn start(address: SocketAddr, pki: &Pki, host: &str) -> Self {
        let mut peer = Peer::connect(address, &pki.issue(Role::Node, host)).await;
        let handle = peer.register(NodeId::new(host, 1)).await.node_handle;
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut witness = Witness { beats: 0, slowest: Duration::ZERO };
            loop {
                let began = Instant::now();
                let answer = peer.beat(handle, witness.beats).await;
                witness.slowest = witness.slowest.max(began.elapsed());
                witness.beats += 1;
                assert_eq!((answer.node_action, answer.response_id), (NodeAction::Normal, witness.beats));
                tokio::select! {
                    _ = &mut stopped => return witness,
                    _ = tick.tick() => {}
                }
            }
        });
        Self { stop, task }
    }

    /// Ends it after its beat under way.
    pub(crate) async fn stop(self) -> Witness {
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }
}

pub(crate) fn registration(node_id: NodeId) -> RegisterNodeManagerRequest {
    RegisterNodeManagerRequest {
        node_id,
        http_port: 8042,
        protocol_minor: 0,
        features: 0,
        rack_name: "/default-rack".to_owned(),
        nm_version: "3.4.1".to_owned(),
        capability: Resource::new(65_536, 32),
        physical_resource: None,
        node_status: None,
        container_statuses: Vec::new(),
        running_applications: Vec::new(),
        node_labels: None,
        node_attributes: None,
        log_aggregation_reports: Vec::new(),
    }
}

pub(crate) fn heartbeat(node_handle: NodeHandle, response_id: u32) -> NodeHeartbeatRequest {
    NodeHeartbeatRequest {
        node_handle,
        response_id,
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
    }
}

//! A peer made of bytes: it can do everything a well-behaved agent does, and everything else.

use std::net::SocketAddr;
use std::time::Duration;

use heddle::config::{RmConfig, TransportSettings};
use heddle::pki::{Authority, Identity, Role, SERVER_NAME};
use heddle_wire::frame::{Flags, Frame, FrameHeader, HEADER_SIZE, offset};
use heddle_wire::message::decode_reject;
use heddle_wire::record::{NodeHandle, NodeId, Resource};
use heddle_wire::resource_tracker::{
    NodeHeartbeatRequest, NodeHeartbeatResponse, RegisterNodeManagerRequest, RegisterNodeManagerResponse,
};
use heddle_wire::{Message, Opcode, Reject, decode, write_frame};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};

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
        let endpoint = client_endpoint(identity, &RmConfig::default().transport);
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

    pub(crate) async fn request<M>(&mut self, correlation_id: u64, routing_key: u64, message: &M)
    where
        M: Message
            + for<'a> rkyv::Serialize<
                rkyv::api::high::HighSerializer<
                    Vec<u8>,
                    rkyv::ser::allocator::ArenaHandle<'a>,
                    rkyv::rancor::BoxedError,
                >,
            >,
    {
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

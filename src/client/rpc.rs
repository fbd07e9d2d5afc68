//! One connection to a ResourceManager and one stream on it: a request goes out, its answer comes back.
//! Owns: the endpoint, the connection, the stream, the correlation ids. Called by: `AdminClient`; one task at a time.
//! Does not: retry, reconnect, or know what a record means.
//! Invariant: at most one request is outstanding; an answer to one that was given up is passed over by its id.

use core::time::Duration;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use heddle_wire::frame::Frame;
use heddle_wire::message::decode_reject;
use heddle_wire::{DecodeError, Flags, FrameDecoder, FrameError, Message, Opcode, RejectCode, WriteMessage};
use quinn::{ConnectError, ConnectionError, Endpoint, ReadError, RecvStream, SendStream, VarInt, WriteError};
use rkyv::api::high::{HighDeserializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{BoxedError, Failure};
use rkyv::{Deserialize, Portable};
use thiserror::Error;

use crate::pki::{Identity, PkiError, SERVER_NAME};

/// Most bytes taken from the stream at a time.
const CHUNK_SIZE_MAX: usize = 64 * 1024;

/// What the ResourceManager may have in flight towards us: one largest frame and some.
const RECEIVE_WINDOW: u32 = 2 * 1024 * 1024;

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Longest wait for the connection, and for each answer.
    pub timeout: Duration,
}

impl Default for ClientOptions {
    /// Ten seconds: a busy ResourceManager answers within one, a `Retry` under a reconnect storm may take a few.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10) }
    }
}

impl ClientOptions {
    /// These options with another timeout.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Why a call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Our own certificate or key cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// No local socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(std::io::Error),
    /// The address cannot be used at all.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The ResourceManager's address.
        address: SocketAddr,
        /// Why.
        source: ConnectError,
    },
    /// The ResourceManager cannot be reached, or the handshake failed.
    #[error("no connection to the ResourceManager at {address}: {source}")]
    Unreachable {
        /// The ResourceManager's address.
        address: SocketAddr,
        /// Why.
        source: ConnectionError,
    },
    /// Nobody answers there. A UDP port without a listener is silence, so this is also what "not running" looks like.
    #[error("no ResourceManager answers at {address} (waited {:.1} s)", after.as_secs_f64())]
    Silent {
        /// The address.
        address: SocketAddr,
        /// How long we waited.
        after: Duration,
    },
    /// TLS or the ResourceManager does not accept who we are (or we not who it is).
    #[error(
        "the ResourceManager at {address} and this identity do not accept each other: {reason}; check that both certificates come from the same authority"
    )]
    NotTrusted {
        /// The ResourceManager's address.
        address: SocketAddr,
        /// What TLS said.
        reason: String,
    },
    /// No answer in time.
    #[error("no answer from {address} to {what} within {:.1} s", after.as_secs_f64())]
    TimedOut {
        /// The ResourceManager's address.
        address: SocketAddr,
        /// What was being done.
        what: &'static str,
        /// How long we waited.
        after: Duration,
    },
    /// The ResourceManager closed the connection and said why.
    #[error("the ResourceManager at {address} closed the connection: {reason} (code {code})")]
    Closed {
        /// The ResourceManager's address.
        address: SocketAddr,
        /// Its code: a [`RejectCode`] number where it is one of those.
        code: u64,
        /// Its words.
        reason: String,
    },
    /// The connection broke while a call was going on.
    #[error("connection to {address} lost during {what}: {reason}")]
    Lost {
        /// The ResourceManager's address.
        address: SocketAddr,
        /// What was being done.
        what: &'static str,
        /// How.
        reason: String,
    },
    /// The ResourceManager refused the request.
    #[error("{} refused: {message} (code {code})", opcode.name())]
    Rejected {
        /// The method.
        opcode: Opcode,
        /// A [`RejectCode`] number.
        code: u16,
        /// Milliseconds after which it may be tried again; 0 = not, or at once.
        retry_after_ms: u32,
        /// Its words.
        message: String,
    },
    /// The answer is not a frame.
    #[error("the ResourceManager's answer is not a frame: {0}")]
    Frame(#[from] FrameError),
    /// The answer is not the record it should be.
    #[error("the ResourceManager's answer cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// The answer is well formed and makes no sense.
    #[error("the ResourceManager's answer to {} makes no sense: {reason}", opcode.name())]
    Unexpected {
        /// The method.
        opcode: Opcode,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// The reject code, where the ResourceManager gave one that we know.
    #[must_use]
    pub fn reject_code(&self) -> Option<RejectCode> {
        match self {
            Self::Rejected { code, .. } => RejectCode::from_number(*code),
            Self::Closed { code, .. } => RejectCode::from_number(u16::try_from(*code).ok()?),
            _ => None,
        }
    }
}

/// A connection to a ResourceManager with one open stream.
#[derive(Debug)]
pub struct RpcClient {
    endpoint: Endpoint,
    connection: quinn::Connection,
    send: SendStream,
    recv: RecvStream,
    decoder: FrameDecoder,
    /// Bytes received and not looked at yet.
    pending: Bytes,
    /// The request being written; its memory is kept.
    request: Vec<u8>,
    last_correlation_id: u64,
    address: SocketAddr,
    timeout: Duration,
}

impl RpcClient {
    /// Connects to the ResourceManager at `address` and opens a stream. Needs a running tokio runtime.
    ///
    /// # Errors
    /// Nobody there, nobody we trust, or no answer within `options.timeout`.
    pub async fn connect(
        identity: &Identity,
        address: SocketAddr,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let local: SocketAddr = if address.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let endpoint = Endpoint::client(local).map_err(ClientError::Socket)?;
        let config = client_config(identity, options.timeout)?;
        let timeout = options.timeout;
        let opening = async {
            let connecting = endpoint
                .connect_with(config, address, SERVER_NAME)
                .map_err(|source| ClientError::Connect { address, source })?;
            let connection = connecting.await.map_err(|source| unreachable_error(address, source))?;
            let (send, recv) =
                connection.open_bi().await.map_err(|source| unreachable_error(address, source))?;
            Ok::<_, ClientError>((connection, send, recv))
        };
        let (connection, send, recv) = match tokio::time::timeout(timeout, opening).await {
            Ok(opened) => opened?,
            Err(_) => return Err(ClientError::Silent { address, after: timeout }),
        };
        Ok(Self {
            endpoint,
            connection,
            send,
            recv,
            decoder: FrameDecoder::new(),
            pending: Bytes::new(),
            request: Vec::new(),
            last_correlation_id: 0,
            address,
            timeout,
        })
    }

    /// The ResourceManager's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with the ResourceManager's reason; a broken connection; no answer in time. After a
    /// timeout the client can be used again: the late answer is passed over.
    pub async fn call<Req, Resp>(&mut self, routing_key: u64, request: &Req) -> Result<Resp, ClientError>
    where
        Req: WriteMessage,
        Resp: Message,
        Resp::Archived: Portable
            + for<'a> CheckBytes<HighValidator<'a, Failure>>
            + for<'a> CheckBytes<HighValidator<'a, BoxedError>>
            + Deserialize<Resp, HighDeserializer<BoxedError>>,
    {
        self.last_correlation_id += 1;
        let id = self.last_correlation_id;
        let (address, what, after) = (self.address, Req::OPCODE.name(), self.timeout);
        self.request.clear();
        heddle_wire::write_frame(&mut self.request, Flags::REQUEST, id, routing_key, request);
        let exchange = async {
            if let Err(error) = self.send.write_all(&self.request).await {
                return Err(self.broken(what, &error));
            }
            self.answer::<Resp>(id).await
        };
        match tokio::time::timeout(after, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::TimedOut { address, what, after }),
        }
    }

    /// Says goodbye and waits until the ResourceManager can have heard it.
    pub async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"done");
        // Bounded: the ResourceManager may be gone.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.endpoint.wait_idle()).await;
    }

    async fn answer<Resp>(&mut self, id: u64) -> Result<Resp, ClientError>
    where
        Resp: Message,
        Resp::Archived: Portable
            + for<'a> CheckBytes<HighValidator<'a, Failure>>
            + for<'a> CheckBytes<HighValidator<'a, BoxedError>>
            + Deserialize<Resp, HighDeserializer<BoxedError>>,
    {
        let what = Resp::OPCODE.name();
        loop {
            let mut rest: &[u8] = &self.pending;
            let answer = match self.decoder.next_frame(&mut rest) {
                Ok(Some(frame)) => judge::<Resp>(&frame, id),
                Ok(None) => None,
                Err(error) => Some(Err(error.into())),
            };
            let rest = rest.len();
            let is_used_up = rest == 0;
            self.pending.advance(self.pending.len() - rest);
            if let Some(answer) = answer {
                return answer;
            }
            if is_used_up {
                self.pending = match self.recv.read_chunk(CHUNK_SIZE_MAX, true).await {
                    Ok(Some(chunk)) => chunk.bytes,
                    Ok(None) => {
                        let reason = "the stream ended".to_owned();
                        return Err(ClientError::Lost { address: self.address, what, reason });
                    }
                    Err(error) => return Err(self.broken(what, &error)),
                };
            }
        }
    }

    /// What to say about a stream that failed: the connection knows more than the stream.
    fn broken(&self, what: &'static str, error: &dyn StreamError) -> ClientError {
        let address = self.address;
        match self.connection.close_reason() {
            Some(ConnectionError::ApplicationClosed(close)) => {
                let reason = String::from_utf8_lossy(&close.reason).into_owned();
                ClientError::Closed { address, code: close.error_code.into_inner(), reason }
            }
            Some(source) => match unreachable_error(address, source) {
                ClientError::Unreachable { source, .. } => {
                    ClientError::Lost { address, what, reason: source.to_string() }
                }
                other => other,
            },
            None => match error.code() {
                Some(code) => {
                    let reason = "it stopped the stream".to_owned();
                    ClientError::Closed { address, code: code.into_inner(), reason }
                }
                None => ClientError::Lost { address, what, reason: error.to_string() },
            },
        }
    }
}

/// What a frame means to the call with this id: its result, or nothing.
fn judge<Resp>(frame: &Frame<'_>, id: u64) -> Option<Result<Resp, ClientError>>
where
    Resp: Message,
    Resp::Archived: Portable
        + for<'a> CheckBytes<HighValidator<'a, Failure>>
        + for<'a> CheckBytes<HighValidator<'a, BoxedError>>
        + Deserialize<Resp, HighDeserializer<BoxedError>>,
{
    let header = frame.header;
    let is_reject = header.flags.is_reject();
    // A reject without an id is about bytes whose header could not be read: ours, as nobody else writes here.
    let is_ours = header.correlation_id == id || (is_reject && header.correlation_id == 0);
    if header.flags.is_push() || !is_ours {
        return None;
    }
    if is_reject {
        return Some(match decode_reject(header.opcode, frame.body()) {
            Ok(reject) => Err(ClientError::Rejected {
                opcode: Resp::OPCODE,
                code: reject.code,
                retry_after_ms: reject.retry_after_ms,
                message: reject.message,
            }),
            Err(error) => Err(error.into()),
        });
    }
    if !header.flags.is_response() || header.opcode != Resp::OPCODE {
        let kind = if header.flags.is_response() { "an answer" } else { "a request" };
        let reason = format!("it is {kind} of {}", header.opcode.name());
        return Some(Err(ClientError::Unexpected { opcode: Resp::OPCODE, reason }));
    }
    Some(heddle_wire::decode::<Resp>(frame.body()).map_err(ClientError::from))
}

/// Sorts a failed connection: TLS trouble is about certificates, a close is the peer's decision, the rest is reach.
fn unreachable_error(address: SocketAddr, source: ConnectionError) -> ClientError {
    match source {
        ConnectionError::TransportError(error) if (0x100..0x200).contains(&u64::from(error.code)) => {
            ClientError::NotTrusted { address, reason: error.to_string() }
        }
        ConnectionError::ConnectionClosed(close) if (0x100..0x200).contains(&u64::from(close.error_code)) => {
            ClientError::NotTrusted { address, reason: close.to_string() }
        }
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            ClientError::Closed { address, code: close.error_code.into_inner(), reason }
        }
        source => ClientError::Unreachable { address, source },
    }
}

/// Reading and writing fail alike.
trait StreamError: core::fmt::Display {
    /// The code with which the peer gave up this stream.
    fn code(&self) -> Option<VarInt>;
}

impl StreamError for WriteError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::Stopped(code) => Some(*code),
            _ => None,
        }
    }
}

impl StreamError for ReadError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::Reset(code) => Some(*code),
            _ => None,
        }
    }
}

fn client_config(identity: &Identity, timeout: Duration) -> Result<quinn::ClientConfig, PkiError> {
    let mut transport = quinn::TransportConfig::default();
    // The ResourceManager opens no streams towards a client.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    transport.stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    // Idle means dead: twice the longest wait for an answer. A duration too long for QUIC is no limit.
    transport.max_idle_timeout(timeout.saturating_mul(2).try_into().ok());
    let mut config = quinn::ClientConfig::new(Arc::new(identity.client_crypto()?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

#[cfg(test)]
mod tests;

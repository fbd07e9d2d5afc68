//! Heddle's wire: bytes on one side, YARN's records on the other.
//! Owns: the frame layout, the opcode table, every record, every limit, every reject code.
//! Called by: the ResourceManager, agents, clients and the load generator, on any thread.
//! Does not: open sockets, read clocks, start threads, or know what a record means to a cluster.
//!
//! | module | what is in it |
//! |---|---|
//! | [`frame`] | the fixed header, [`FrameDecoder`], frame writing |
//! | [`opcode`] | one number per protocol method |
//! | [`limits`] | every bound, with its reason |
//! | [`error`] | errors sorted by blame, and their codes on the wire |
//! | [`record`] | the shared vocabulary: ids, resources, containers, nodes, applications, queues |
//! | [`resource_tracker`] | NodeManager → ResourceManager |
//! | [`application_master`] | ApplicationMaster → ResourceManager |
//! | [`application_client`] | client → ResourceManager |
//! | [`token`] | what tokens sign, and how |
//! | [`any`] | a frame of any method, for tools that look into all of them |
//! | [`administration`] | administrator → ResourceManager |
//!
//! The bytes are described, for readers in any language, in `wire/PROTOCOL.md`.
#![forbid(unsafe_code)]

pub mod administration;
pub mod any;
pub mod application_client;
pub mod application_master;
mod check;
pub mod error;
pub mod frame;
pub mod limits;
pub mod message;
pub mod opcode;
pub mod record;
pub mod resource_tracker;
pub mod token;

pub use any::AnyMessage;
pub use error::{DecodeError, EncodeError, FrameError, Reject, RejectCode};
pub use frame::{Flags, FrameDecoder, FrameHeader, HEADER_SIZE};
pub use message::{Message, WriteMessage, access, decode, try_write_frame, write_frame};
pub use opcode::Opcode;

/// Major protocol version: the `version` of every frame header, and named by [`ALPN`].
///
/// A frame of another major version is refused with [`RejectCode::UnsupportedVersion`]; nothing of its body is read.
pub const PROTOCOL_VERSION: u16 = 1;

/// Minor protocol version: counts additions that an older peer can ignore. Exchanged at registration; the lower of
/// the two sides holds for the session.
pub const PROTOCOL_MINOR: u16 = 0;

/// The ALPN protocol name both sides offer in the TLS handshake.
pub const ALPN: &[u8] = b"heddle/1";

// The archive format is part of the protocol. A feature unified away by another crate must not compile.
const _: () = assert!(align_of::<rkyv::Archived<u64>>() == 1);
const _: () = assert!(size_of::<rkyv::Archived<Vec<u8>>>() == 8);

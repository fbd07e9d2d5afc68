//! The native front door: YARN's protocols as frames over QUIC with mutual TLS.
//! Owns: net threads (`rm-net-N`), each one endpoint, one single-threaded runtime, its connections and streams.
//! Called by: `runtime::topology`, which starts the threads. Does not: decide anything about nodes or applications; frames go to their
//! owner by routing key and role, answers come back in batches.
//!
//! The seam is narrow on purpose: (stream, frames) → role → (stream, answers). Another loop over QUIC can take this
//! one's place without the engine noticing.

mod administered_nodes;
mod admission;
mod connection;
mod endpoint;
mod files_service;
mod net;
mod net_thread;
mod node_lists_service;
mod pace;
mod router;
mod socket;
mod stream_table;

pub(crate) use connection::Doors;
pub use endpoint::{ResetSecret, client_config, endpoint, server_config, transport_config};
pub(crate) use files_service::files_service;
pub use files_service::{NoFiles, SchedulerFiles};
pub(crate) use net_thread::{NetThread, NetThreadParts};
pub(crate) use node_lists_service::{ShardCommandPort, node_lists_service};
pub use socket::{SocketBuffers, bind};

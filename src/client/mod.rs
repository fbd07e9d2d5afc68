//! Clients of a ResourceManager: what the command line and tools connect with.
//! Owns: request and answer over one QUIC stream, and the walk over shards and pages that a whole answer takes.
//! Called by: `cli`, tests, tools; on a tokio runtime. Does not: read configuration or print.
//! Invariant: an answer is only ever given to the call whose correlation id it carries.

mod admin;
mod application;
mod rpc;

pub use admin::{AdminClient, ClusterMetrics, Deadline, Refreshed};
pub use application::ApplicationClient;
pub use rpc::{ClientError, ClientOptions, RpcClient};

//! The runtime: threads, rings, clocks around the pure roles of the engine.
//! Owns: which role runs where, how threads wait and wake, how everything starts and stops.
//! Called by: the command line, the load generator, end-to-end tests. Does not: contain a rule of the cluster.

mod application_role;
pub mod clock;
mod done;
pub mod duty_cycle;
mod engine_threads;
pub mod idle;
mod nets;
mod outgoing;
pub mod proxy;
mod scheduling_role;
mod shard_role;
mod topology;

pub use crate::transport::{NoFiles, SchedulerFiles};
pub(crate) use engine_threads::ApplicationCommandPort;
pub use topology::{Options, ResourceManager, StartError};

//! The runtime: threads, rings, clocks around the pure roles of the engine.
//! Owns: which role runs where, how threads wait and wake, how everything starts and stops.
//! Called by: the command line, the load generator, end-to-end tests. Does not: contain a rule of the cluster.

pub mod clock;
pub mod duty_cycle;
pub mod idle;
mod inventory_role;
pub mod proxy;
mod shard_role;
mod topology;

pub use topology::{Options, ResourceManager, StartError};

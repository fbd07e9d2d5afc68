//! Drives large simulated clusters against a Heddle ResourceManager and reports latency histograms.
//!
//! | module | what is in it |
//! |---|---|
//! | [`fleet`] | the NodeManagers, pure; shared with the simulator |
//! | [`driver`] | the fleet against a ResourceManager over QUIC |
//! | [`floor`] | a bare QUIC echo to compare with |
//! | [`rm`] | the ResourceManager to drive: remote, a child process, embedded |
//! | [`proc`] | CPU time, memory and lost datagrams, from the kernel |
#![forbid(unsafe_code)]

pub mod driver;
pub mod fleet;
pub mod floor;
pub mod proc;
pub mod rm;

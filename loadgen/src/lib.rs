//! Drives large simulated clusters against a Heddle ResourceManager and reports latency histograms.
//!
//! | module | what is in it |
//! |---|---|
//! | [`application`] | the ApplicationMasters and clients, pure |
//! | [`cli`] | the commands and their flags |
//! | [`counters`] | how these count |
//! | [`fleet`] | the NodeManagers, pure; shared with the simulator |
//! | [`driver`] | the fleet against a ResourceManager over QUIC |
//! | [`floor`] | a bare QUIC echo to compare with |
//! | [`rm`] | the ResourceManager to drive: remote, a child process, embedded |
//! | [`report`], [`html`], [`hlog`] | what a run gives: JSON and table, page, histogram log |
//! | [`workload`] | what the cluster is asked to do: traces of many formats, scenarios |
//! | [`simulate`] | the ResourceManager's own engine in virtual time, with the same applications |
//! | [`proc`] | CPU time, memory and lost datagrams, from the kernel |
#![forbid(unsafe_code)]

pub mod application;
pub mod cli;
pub mod counters;
pub mod driver;
pub mod fleet;
pub mod floor;
pub mod hlog;
pub mod html;
pub mod proc;
pub mod report;
pub mod rm;
pub mod simulate;
pub mod workload;

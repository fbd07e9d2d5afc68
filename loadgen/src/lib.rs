//! Drives large simulated clusters against a Heddle ResourceManager and reports latency histograms.
//!
//! | module | what is in it |
//! |---|---|
//! | [`fleet`] | the NodeManagers, pure; shared with the simulator |
#![forbid(unsafe_code)]

pub mod fleet;

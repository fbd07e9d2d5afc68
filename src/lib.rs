//! Heddle: a cluster ResourceManager. YARN's protocols as zero-copy rkyv frames over QUIC.
//!
//! Start with [`engine`] for the rules, [`transport`] for the door, [`runtime`] for the threads. `ARCHITECTURE.md` has
//! the picture.
#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod config;
pub mod engine;
pub mod metrics;
pub mod pki;
pub mod recorder;
pub mod ring;
pub mod runtime;
pub mod store;
pub mod transport;
pub mod web;

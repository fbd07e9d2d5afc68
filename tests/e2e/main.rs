//! A few real runs over QUIC on loopback: the door, its bounds, its words to those who break its rules, and its end.
//! Rules of the cluster are tested without sockets in `tests/yarn_semantics.rs` and `tests/sim`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod applications;
mod bad_input;
mod cluster;
mod faults;
mod handshakes;
mod masters;
mod peer;
mod process;
#[path = "../common/submission.rs"]
mod submission;
mod yarn;

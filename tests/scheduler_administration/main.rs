//! What administrators and clients ask of a running scheduler: queues, labels, moves, nodes, questions.
//! Owns: nothing. Called by: the test harness. Does not: go through frames; commands are what the application manager says.
//! Invariants: after every step every sum is recomputed and compared.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

#[path = "../scheduler_examples/cluster.rs"]
mod cluster;
mod labels;
mod moves;
mod nodes;
mod property;
mod queries;
mod queues;
mod steps;

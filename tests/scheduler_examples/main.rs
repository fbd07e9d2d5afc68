//! The worked examples of the scheduler's specification, by number.
//! Owns: nothing. Called by: the test harness. Does not: repeat examples that are pure formulas (beside those).
//! Invariants: where Heddle places on events instead of node heartbeats, the test says what is different and why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod blacklist;
mod cluster;
mod extremes;
mod faults;
mod labels;
mod lifecycle;
mod limits;
mod locality;
mod order;
mod places;

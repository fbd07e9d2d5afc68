//! The scheduler: capacity of the cluster, who may have it, and what is granted.
//! Owns: queues, users, asks, grants, free capacity of nodes, container states. Called by: the duty cycle of `rm-sched-N`,
//! the ApplicationMasters' door on the same thread, the simulator, benches.
//! Does not: know frames, sessions or clocks. Thread: its own.
//! Invariant: its output is a function of its input sequence.

pub mod calculator;
pub mod capacity;
pub mod face;
pub mod limits;
pub mod message;
pub mod resource;
pub mod settings;

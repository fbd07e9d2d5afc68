//! The engine: the rules of the cluster as pure state machines. Time is an argument, messages go in and out.
//! Owns: every table. Called by: the runtime's duty cycles, the simulator, `heddle replay`, benches.
//! Does not: open sockets, read clocks, start threads, take locks, draw random numbers, touch files.
//! Invariant: a role's output is a function of its input sequence (a recording replays to the same bytes).

pub mod application;
pub mod application_master;
pub mod batch;
pub mod event;
mod node_set;
pub mod scheduler;
pub mod scheduling;
pub mod settings;
pub mod shard;
pub mod time;

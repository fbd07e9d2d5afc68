//! The shared vocabulary of the four protocols, in YARN's words.
//! Owns: ids, resources, containers and what describes a node. Called by: the protocol modules, the engine's doors.
//! Does not: carry behaviour of the cluster; tables hold plain engine types, not these records.

mod container;
mod id;
mod node;
mod resource;

pub use container::*;
pub use id::*;
pub use node::*;
pub use resource::*;

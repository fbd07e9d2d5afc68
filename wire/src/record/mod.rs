//! The shared vocabulary of the four protocols, in YARN's words.
//! Owns: ids, resources, containers, applications, queues and what describes a node. Called by: the protocol modules,
//! the engine's doors.
//! Does not: carry behaviour of the cluster; tables hold plain engine types, not these records.

mod application;
mod application_report;
mod ask;
mod container;
mod explain;
mod grant;
mod id;
mod label;
mod launch;
mod node;
mod queue;
mod resource;
mod token;

pub use application::*;
pub use application_report::*;
pub use ask::*;
pub use container::*;
pub use explain::*;
pub use grant::*;
pub use id::*;
pub use label::*;
pub use launch::*;
pub use node::*;
pub use queue::*;
pub use resource::*;
pub use token::*;

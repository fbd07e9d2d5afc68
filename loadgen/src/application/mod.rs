//! Simulated ApplicationMasters and clients: what runs beside the NodeManagers of a simulated cluster.
//! Owns: [`SimulatedAm`] and the many of them in an [`AmFleet`], [`SimulatedClient`], what they count and note.
//! Called by: the QUIC driver (one of each per client thread) and the simulator; never shared between threads.
//! Does not: read clocks, open sockets, know histograms. Time is an argument, microseconds since the run started.
//! Invariants: at most one request of an ApplicationMaster is out; an event is taken in once; an ApplicationMaster never
//! has a container more or fewer than it asked for without counting it; same seed and same calls give the same bytes.
//!
//! The seam is frames: `due` names who has something to send, `write` writes it, `handle_frame` takes in what came. What
//! an ApplicationMaster wants of the nodes (start a container, its own exit) is in its [`Outbox`]; whoever drives both
//! hands it to the [`Fleet`](crate::fleet::Fleet), and hands launches and deaths back.

mod am;
mod am_fleet;
mod ask;
mod client;
mod counters;
#[cfg(test)]
pub(crate) mod fake_rm;
mod ledger;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use heddle_wire::record::{Container, ContainerId, NodeHandle};

pub use am::SimulatedAm;
pub use am_fleet::{AmAnswer, AmFleet, AmFleetSpec, AmPace, AmWritten, Churn, Launched};
pub use client::{ClientCounters, ClientSpec, Ended, QueueSample, QueueShare, SimulatedClient};
pub use counters::AmCounters;
pub use ledger::{AskLedger, Grant};
pub use tasks::{Running, TaskPlan, TaskStart};

/// Environment variable of a launch context that says which application of the workload an ApplicationMaster plays.
pub const APPLICATION_VARIABLE: &str = "HEDDLE_LOADGEN_APPLICATION";

/// A container an ApplicationMaster starts on a node: stands for ContainerManagementProtocol.startContainers.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStart {
    /// The grant with its token.
    pub container: Container,
    /// User it runs as: part of what its token proves.
    pub user: Arc<str>,
    /// It ends by itself after this long.
    pub duration_us: u64,
    /// When its ask was to be sent.
    pub asked_us: u64,
    /// When the ApplicationMaster held the grant.
    pub granted_us: u64,
}

/// An ApplicationMaster that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmExit {
    /// Its node.
    pub node: NodeHandle,
    /// Its container.
    pub container_id: ContainerId,
    /// Its exit status.
    pub exit_status: i32,
}

/// Something that took time, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub kind: NoteKind,
    /// Since when, microseconds: the planned time of what began it.
    pub since_us: u64,
}

/// What took time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// An allocate call, from its planned time to its answer.
    Allocate,
    /// From the planned time of the call that asked to the grant.
    AskToGrant,
    /// From the beat that reported a container's end to the grant that its end made room for.
    FreeToGrant,
    /// From the grant to the answered beat that reported the container running.
    ContainerStart,
}

/// What ApplicationMasters want of the world around them. Emptied by whoever drives them.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// Containers to start.
    pub starts: Vec<ContainerStart>,
    /// ApplicationMasters that end.
    pub exits: Vec<AmExit>,
    /// What took time.
    pub notes: Vec<Note>,
}

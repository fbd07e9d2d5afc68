//! The checkers: what has to hold after every step of a run, whatever happened.
//! Owns: one [`ShardModel`] per shard and the [`SchedulerView`]. Called by: the simulation, after every step.
//! Does not: look into the engine: it reads frames, answers, events, listings and counters, as a peer would.
//! Invariant: a violation names the node, what was seen and what would have been right.

mod responses;
mod scheduler_view;
mod shard_model;
mod tests;

pub(crate) use scheduler_view::SchedulerView;
pub(crate) use shard_model::{Cause, ShardModel};

use heddle_wire::record::NodeState;

/// True where the table of `lifecycle.md` §4.3 leads from one state to the other under one registration, in one step.
///
/// Kept apart from the engine's table on purpose: this one is read off the specification.
pub(crate) const fn is_edge(from: NodeState, to: NodeState) -> bool {
    use NodeState as S;
    match from {
        S::New => matches!(to, S::Running | S::Unhealthy | S::Decommissioned),
        S::Running => matches!(
            to,
            S::Unhealthy | S::Decommissioning | S::Decommissioned | S::Lost | S::Rebooted | S::Shutdown
        ),
        S::Unhealthy => matches!(
            to,
            S::Running | S::Decommissioning | S::Decommissioned | S::Lost | S::Rebooted | S::Shutdown
        ),
        S::Decommissioning => {
            matches!(to, S::Running | S::Decommissioned | S::Lost | S::Rebooted | S::Shutdown)
        }
        S::Decommissioned | S::Lost | S::Rebooted | S::Shutdown => false,
    }
}

/// True for states in which a node may beat.
pub(crate) const fn is_active(state: NodeState) -> bool {
    matches!(state, NodeState::New | NodeState::Running | NodeState::Unhealthy | NodeState::Decommissioning)
}

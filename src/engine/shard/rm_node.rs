//! RmNode: the state machine of a node as the ResourceManager sees it, as one exhaustive table.
//! Owns: [`RmNodeEvent`] and [`transition`]. Called by: the other files of the shard, on the shard's thread.
//! Does not: carry out anything; the caller asks for the next state first and acts when there is one.
//! Invariants: a pair without a row has no effect on a node and is counted; an inactive node never becomes active again
//! under the same registration. Source: YARN RMNodeImpl.

use heddle_wire::record::NodeState;

/// What happens to a node, in YARN's words. What decides between two next states is part of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RmNodeEvent {
    // From the resource tracker:
    /// It registered and had no record.
    Started {
        /// What it says of itself.
        is_healthy: bool,
    },
    /// It beat.
    StatusUpdate {
        /// What it says of itself.
        is_healthy: bool,
        /// Nothing keeps a DECOMMISSIONING node any more.
        is_drained: bool,
    },
    /// It registered again while it had a record.
    Reconnected {
        /// It still keeps state of applications.
        has_running_applications: bool,
    },
    /// Its response id is out of step.
    Rebooting,
    /// It said that it stops.
    Shutdown,
    // From the liveliness monitor:
    /// It was silent for too long.
    Expire,
    // From the node lists and administrators:
    /// Take it out now.
    Decommission,
    /// Take it out when it is empty.
    GracefulDecommission,
    /// Keep it after all.
    Recommission,
    /// Its capability was changed.
    ResourceUpdate,
    // From the scheduler and the applications:
    /// An application has ended.
    CleanupApplication,
    /// A container is to be killed.
    CleanupContainer,
    /// Completions were delivered.
    FinishedContainersPulledByAm,
    /// A container gets a new size or type.
    UpdateContainer,
    /// A container is signalled.
    SignalContainer,
    /// An AM container is to be started. Differs from YARN: there the launcher speaks to the node by itself.
    LaunchContainer,
}

#[cfg(test)]
impl RmNodeEvent {
    /// One of each, with every deciding detail: for tests that walk the table.
    pub(super) const ALL: [Self; 21] = [
        Self::Started { is_healthy: true },
        Self::Started { is_healthy: false },
        Self::StatusUpdate { is_healthy: true, is_drained: false },
        Self::StatusUpdate { is_healthy: true, is_drained: true },
        Self::StatusUpdate { is_healthy: false, is_drained: false },
        Self::StatusUpdate { is_healthy: false, is_drained: true },
        Self::Reconnected { has_running_applications: true },
        Self::Reconnected { has_running_applications: false },
        Self::Rebooting,
        Self::Shutdown,
        Self::Expire,
        Self::Decommission,
        Self::GracefulDecommission,
        Self::Recommission,
        Self::ResourceUpdate,
        Self::CleanupApplication,
        Self::CleanupContainer,
        Self::FinishedContainersPulledByAm,
        Self::UpdateContainer,
        Self::SignalContainer,
        Self::LaunchContainer,
    ];
}

/// The state that follows; `None` where the table has no row, and nothing may be done.
///
/// Source: `lifecycle.md` §4.3. The rows that YARN lacks by design (no signal for a DECOMMISSIONING node, no update for
/// an UNHEALTHY one) are lacking here too.
#[must_use]
pub(super) const fn transition(state: NodeState, event: RmNodeEvent) -> Option<NodeState> {
    use NodeState as S;
    use RmNodeEvent as E;
    match (state, event) {
        (S::New, E::Started { is_healthy: true }) => Some(S::Running),
        (S::New, E::Started { is_healthy: false }) => Some(S::Unhealthy),
        (S::New, E::Decommission) => Some(S::Decommissioned),
        (S::New, E::ResourceUpdate | E::FinishedContainersPulledByAm) => Some(S::New),
        (S::New, _) => None,

        (S::Running | S::Unhealthy, E::StatusUpdate { is_healthy: true, .. }) => Some(S::Running),
        (S::Running | S::Unhealthy, E::StatusUpdate { is_healthy: false, .. }) => Some(S::Unhealthy),
        (S::Decommissioning, E::StatusUpdate { is_drained: true, .. }) => Some(S::Decommissioned),
        (S::Decommissioning, E::StatusUpdate { is_drained: false, .. }) => Some(S::Decommissioning),

        (S::Running | S::Unhealthy, E::Reconnected { .. }) => Some(state),
        (S::Decommissioning, E::Reconnected { has_running_applications: true }) => Some(S::Decommissioning),
        (S::Decommissioning, E::Reconnected { has_running_applications: false }) => Some(S::Decommissioned),

        (S::Running | S::Unhealthy | S::Decommissioning, E::Decommission) => Some(S::Decommissioned),
        (S::Running | S::Unhealthy | S::Decommissioning, E::GracefulDecommission) => Some(S::Decommissioning),
        (S::Decommissioning, E::Recommission) => Some(S::Running),
        (S::Running | S::Unhealthy | S::Decommissioning, E::Expire) => Some(S::Lost),
        (S::Running | S::Unhealthy | S::Decommissioning, E::Rebooting) => Some(S::Rebooted),
        (S::Running | S::Unhealthy | S::Decommissioning, E::Shutdown) => Some(S::Shutdown),
        (S::Running | S::Unhealthy | S::Decommissioning, E::CleanupApplication | E::CleanupContainer) => {
            Some(state)
        }
        (
            S::Running | S::Unhealthy | S::Decommissioning | S::Decommissioned | S::Lost | S::Shutdown,
            E::FinishedContainersPulledByAm,
        ) => Some(state),
        // Every state but NEW (above) keeps itself: YARN has a row for each of the seven.
        (_, E::ResourceUpdate) => Some(state),
        (S::Running, E::UpdateContainer) => Some(S::Running),
        (S::Running | S::Unhealthy, E::SignalContainer) => Some(state),
        // What was granted before a node began to leave is let run.
        (S::Running | S::Decommissioning, E::LaunchContainer) => Some(state),

        (
            S::Running
            | S::Unhealthy
            | S::Decommissioning
            | S::Decommissioned
            | S::Lost
            | S::Rebooted
            | S::Shutdown,
            _,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeState as S;
    use RmNodeEvent as E;

    /// The table of `lifecycle.md` §4.3 once more, as rows: (states, event, next state or `None` for "same").
    fn rows() -> Vec<(Vec<S>, E, Option<S>)> {
        let live = vec![S::Running, S::Unhealthy, S::Decommissioning];
        let up = vec![S::Running, S::Unhealthy];
        let draining = vec![S::Decommissioning];
        let mut rows = vec![
            (vec![S::New], E::Started { is_healthy: true }, Some(S::Running)),
            (vec![S::New], E::Started { is_healthy: false }, Some(S::Unhealthy)),
            (vec![S::New], E::Decommission, Some(S::Decommissioned)),
            (vec![S::New], E::ResourceUpdate, None),
            (vec![S::New], E::FinishedContainersPulledByAm, None),
            (live.clone(), E::Decommission, Some(S::Decommissioned)),
            (live.clone(), E::GracefulDecommission, Some(S::Decommissioning)),
            (draining.clone(), E::Recommission, Some(S::Running)),
            (live.clone(), E::Expire, Some(S::Lost)),
            (live.clone(), E::Rebooting, Some(S::Rebooted)),
            (live.clone(), E::Shutdown, Some(S::Shutdown)),
            (live.clone(), E::CleanupApplication, None),
            (live.clone(), E::CleanupContainer, None),
            (live, E::FinishedContainersPulledByAm, None),
            (vec![S::Decommissioned, S::Lost, S::Shutdown], E::FinishedContainersPulledByAm, None),
            (vec![S::Running, S::Decommissioning], E::ResourceUpdate, None),
            (
                vec![S::Unhealthy, S::Rebooted, S::Decommissioned, S::Lost, S::Shutdown],
                E::ResourceUpdate,
                None,
            ),
            (vec![S::Running], E::UpdateContainer, None),
            (up.clone(), E::SignalContainer, None),
            (vec![S::Running, S::Decommissioning], E::LaunchContainer, None),
            (draining.clone(), E::Reconnected { has_running_applications: true }, None),
            (draining.clone(), E::Reconnected { has_running_applications: false }, Some(S::Decommissioned)),
        ];
        for has_running_applications in [false, true] {
            rows.push((up.clone(), E::Reconnected { has_running_applications }, None));
        }
        for is_drained in [false, true] {
            rows.push((up.clone(), E::StatusUpdate { is_healthy: true, is_drained }, Some(S::Running)));
            rows.push((up.clone(), E::StatusUpdate { is_healthy: false, is_drained }, Some(S::Unhealthy)));
            for is_healthy in [false, true] {
                let next = if is_drained { S::Decommissioned } else { S::Decommissioning };
                rows.push((draining.clone(), E::StatusUpdate { is_healthy, is_drained }, Some(next)));
            }
        }
        rows
    }

    #[test]
    fn every_pair_is_as_in_the_table() {
        let rows = rows();
        for state in S::ALL {
            for event in E::ALL {
                let expected = rows
                    .iter()
                    .find(|(states, of, _)| states.contains(&state) && *of == event)
                    .map(|(_, _, next)| next.unwrap_or(state));
                assert_eq!(transition(state, event), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn an_inactive_node_stays_inactive() {
        for state in S::ALL.into_iter().filter(|state| !state.is_active()) {
            for event in E::ALL {
                assert!(transition(state, event).is_none_or(|next| next == state), "{state:?} {event:?}");
            }
        }
    }
}

//! What `/health` says: one look at whether this ResourceManager does its work, and what is unusual about it.
//! Owns: [`Health`] and how it is judged. Called by: the HTTP door per request, on `rm-http`.
//! Does not: measure anything; it reads what roles published.
//! Invariant: 200 exactly while requests are served; a held brake or a truncated recording is shown and does not fail a
//! probe, because restarting would make either worse.

use std::collections::BTreeMap;

use heddle_wire::record::NodeState;
use serde::Serialize;

use crate::metrics::Metrics;

/// Where a ResourceManager is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Threads are being started.
    #[default]
    Starting,
    /// The door is open.
    Running,
    /// It was told to stop and answers what it had accepted.
    Stopping,
    /// A role's thread has ended by itself.
    Failed,
}

/// What the runtime says of itself when asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Where it is.
    pub stage: Stage,
    /// The tapes of a recording; empty where nothing is recorded.
    pub recordings: Vec<RecordingHealth>,
}

/// A tape of the flight recorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordingHealth {
    /// Its name.
    pub tape: String,
    /// `recording`, `truncated`, …
    pub state: String,
    /// True where a part of the input is not on it.
    pub is_truncated: bool,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoleHealth {
    /// Its thread's name.
    pub name: String,
    /// Share of the last second it worked, 0 to 1.
    pub busy_ratio: f64,
    /// Its longest duty cycle of late, milliseconds.
    pub longest_cycle_ms: f64,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    /// `ok`, `degraded` (it works and something needs a look), `starting`, `stopping`, `failed`.
    pub status: &'static str,
    /// Why it is degraded or worse; empty where all is well.
    pub reasons: Vec<String>,
    /// Version of the program.
    pub version: &'static str,
    /// Roles that publish.
    pub roles: Vec<RoleHealth>,
    /// Nodes by state, those that are not zero.
    pub nodes: BTreeMap<&'static str, u64>,
    /// Active nodes that are SUSPECT.
    pub suspect_nodes: u64,
    /// True while a shard's brake holds back expiry.
    pub is_brake_engaged: bool,
    /// Tapes of the flight recorder.
    pub recordings: Vec<RecordingHealth>,
}

impl Health {
    /// Judges what was published.
    #[must_use]
    pub fn judge(condition: Condition, metrics: &Metrics) -> Self {
        let mut nodes = BTreeMap::new();
        let (mut suspect_nodes, mut braked) = (0, Vec::new());
        for (name, counters) in metrics.shards() {
            for (state, count) in NodeState::ALL.iter().zip(counters.nodes_by_state) {
                if count > 0 {
                    *nodes.entry(state.name()).or_default() += u64::from(count);
                }
            }
            suspect_nodes += u64::from(counters.suspects_now);
            if counters.is_brake_engaged {
                braked.push(name);
            }
        }
        let mut reasons = Vec::new();
        if !braked.is_empty() {
            reasons.push(format!(
                "many nodes went quiet at once: expiry is held back on shards {}",
                braked.join(", ")
            ));
        }
        for recording in condition.recordings.iter().filter(|recording| recording.is_truncated) {
            reasons.push(format!("recording {} is truncated", recording.tape));
        }
        let status = match condition.stage {
            Stage::Starting => "starting",
            Stage::Stopping => "stopping",
            Stage::Failed => {
                reasons.push("a role's thread has ended by itself; see the log".to_owned());
                "failed"
            }
            Stage::Running if reasons.is_empty() => "ok",
            Stage::Running => "degraded",
        };
        let roles = metrics.roles().into_iter().map(|(name, stats)| RoleHealth {
            name,
            busy_ratio: f64::from(stats.busy_permille) / 1_000.0,
            longest_cycle_ms: stats.longest.as_secs_f64() * 1_000.0,
        });
        Self {
            status,
            reasons,
            version: env!("CARGO_PKG_VERSION"),
            roles: roles.collect(),
            nodes,
            suspect_nodes,
            is_brake_engaged: !braked.is_empty(),
            recordings: condition.recordings,
        }
    }

    /// Whether requests are served: what a probe asks.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self.status, "ok" | "degraded")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::shard::ShardCounters;

    fn judge(stage: Stage, counters: ShardCounters, is_truncated: bool) -> Health {
        let metrics = Metrics::new();
        metrics.shard(0).publish(&counters);
        let tape = "shard-0".to_owned();
        let recordings = vec![RecordingHealth { tape, state: "x".to_owned(), is_truncated }];
        Health::judge(Condition { stage, recordings }, &metrics)
    }

    #[test]
    fn only_a_running_resourcemanager_serves() {
        for (stage, status) in [
            (Stage::Starting, "starting"),
            (Stage::Running, "ok"),
            (Stage::Stopping, "stopping"),
            (Stage::Failed, "failed"),
        ] {
            let health = judge(stage, ShardCounters::default(), false);
            assert_eq!((health.status, health.is_serving()), (status, stage == Stage::Running));
        }
    }

    #[test]
    fn brake_and_truncated_recording_are_told_and_do_not_fail_a_probe() {
        let counters = ShardCounters {
            is_brake_engaged: true,
            suspects_now: 3,
            nodes_by_state: [0, 7, 0, 0, 2, 0, 0, 0],
            ..ShardCounters::default()
        };
        let health = judge(Stage::Running, counters, true);
        assert_eq!(health.status, "degraded");
        assert!(health.is_serving() && health.is_brake_engaged);
        assert_eq!(health.reasons.len(), 2, "{:?}", health.reasons);
        assert_eq!(health.nodes, BTreeMap::from([("RUNNING", 7), ("LOST", 2)]));
        assert_eq!(health.suspect_nodes, 3);
    }
}

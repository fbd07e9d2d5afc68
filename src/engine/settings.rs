//! Settings of a shard: checked by `config`, immutable afterwards, part of a recording's header.
//! Owns: [`ShardSettings`] and its parts with their defaults. Called by: config, shard, recorder, simulator.
//! Does not: read files or the environment.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::KeyPair;

/// Everything a shard is told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSettings {
    /// This shard's index.
    pub shard: u8,
    /// How many shards there are, 1 to 256.
    pub shard_count: u16,
    /// Start of this ResourceManager, milliseconds since 1970: the cluster timestamp.
    pub rm_identifier: u64,
    /// Version told to nodes.
    pub rm_version: Box<str>,
    /// Most rows of the node table. A registration beyond it is refused with SHUTDOWN.
    pub nodes_max: u32,
    /// Heartbeat pacing.
    pub heartbeat: HeartbeatSettings,
    /// Liveliness classes; the first whose `hosts` matches is used. The last matches every host.
    pub classes: Box<[NodeClass]>,
    /// The brake on mass expiry.
    pub brake: BrakeSettings,
    /// What a node must offer.
    pub minimum: MinimumSettings,
    /// Hosts that may join, and that may not.
    pub lists: NodeLists,
    /// Default deadline of a graceful decommission; `None` = no deadline.
    pub decommission_timeout: Option<Duration>,
    /// A DECOMMISSIONING node without containers is taken out although applications still name it.
    pub decommission_ignores_applications: bool,
    /// Registrations told to come back after a restart are spread to this many a second.
    pub resync_per_second: u32,
    /// Keys for container tokens at start.
    pub container_token_keys: KeyPair,
    /// Keys for NM tokens at start.
    pub nm_token_keys: KeyPair,
    /// Whether labels and attributes that nodes report are accepted.
    pub distributed_labels: bool,
    /// Inactive records of hosts in neither list are forgotten after this, when an include list is in use.
    pub untracked_timeout: Duration,
}

/// Heartbeat pacing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatSettings {
    /// Interval told to nodes when all is well.
    pub interval: Duration,
    /// Least, by scaling.
    pub interval_min: Duration,
    /// Most, by scaling or under load.
    pub interval_max: Duration,
    /// Scale by a node's CPU use against the cluster's.
    pub scaling: Option<ScalingSettings>,
}

/// Interval scaling: YARN's speed-up and slow-down factors, thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingSettings {
    /// Speed-up of nodes less busy than the cluster, thousandths.
    pub speedup_permille: u32,
    /// Slow-down of nodes busier than the cluster, thousandths.
    pub slowdown_permille: u32,
}

/// How patient to be with a kind of node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeClass {
    /// Name, for reports.
    pub name: Box<str>,
    /// Hosts it holds for: exact, or with one `*` standing for anything (`gpu-*`, `*.rack7`, `*`).
    pub hosts: Box<str>,
    /// Quiet for this long: SUSPECT, nothing new is placed.
    pub suspect_after: Duration,
    /// Quiet for this long: LOST. It is also the lease the agent is told.
    pub lost_after: Duration,
}

/// When many nodes go quiet at once it is more likely our side or the network than the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrakeSettings {
    /// Share of the shard's live nodes that must be suspect at once, thousandths. 0 turns the brake off.
    pub suspects_permille: u32,
    /// And at least this many.
    pub suspects_min: u32,
    /// Longest time expiry is held back; after it, nodes expire as usual.
    pub limit: Duration,
}

/// What a node must be to be accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinimumSettings {
    /// Least memory, MiB.
    pub memory_mb: u64,
    /// Least virtual cores.
    pub virtual_cores: u32,
    /// Least version (`major.minor.patch`); `None` = any. A missing version then fails.
    pub nm_version: Option<Box<str>>,
}

/// Include and exclude lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLists {
    /// Hosts that may join, sorted; empty = every host.
    pub include: Box<[Box<str>]>,
    /// Hosts that may not, sorted by host.
    pub exclude: Box<[ExcludedHost]>,
}

/// A host that may not join.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExcludedHost {
    /// The host.
    pub host: Box<str>,
    /// Its own deadline for graceful decommission, seconds; negative = for ever.
    pub timeout_s: Option<i32>,
}

impl NodeLists {
    /// True where the include list is empty or names `host`, and the exclude list does not.
    #[must_use]
    pub fn is_valid(&self, host: &str) -> bool {
        let included =
            self.include.is_empty() || self.include.binary_search_by(|item| (**item).cmp(host)).is_ok();
        included && self.excluded(host).is_none()
    }

    /// The exclude list's entry for `host`.
    #[must_use]
    pub fn excluded(&self, host: &str) -> Option<&ExcludedHost> {
        let index = self.exclude.binary_search_by(|item| (*item.host).cmp(host)).ok()?;
        self.exclude.get(index)
    }
}

impl Default for ShardSettings {
    /// One shard with YARN's defaults, liveliness as in Heddle's configuration page.
    fn default() -> Self {
        Self {
            shard: 0,
            shard_count: 1,
            rm_identifier: 0,
            rm_version: env!("CARGO_PKG_VERSION").into(),
            nodes_max: 1 << 20,
            heartbeat: HeartbeatSettings {
                interval: Duration::from_secs(1),
                interval_min: Duration::from_secs(1),
                interval_max: Duration::from_secs(10),
                scaling: None,
            },
            classes: Box::new([NodeClass {
                name: "default".into(),
                hosts: "*".into(),
                suspect_after: Duration::from_secs(30),
                lost_after: Duration::from_secs(600),
            }]),
            brake: BrakeSettings {
                suspects_permille: 100,
                suspects_min: 10,
                limit: Duration::from_secs(1_800),
            },
            minimum: MinimumSettings { memory_mb: 1_024, virtual_cores: 1, nm_version: None },
            lists: NodeLists::default(),
            decommission_timeout: Some(Duration::from_secs(3_600)),
            decommission_ignores_applications: false,
            resync_per_second: 2_000,
            container_token_keys: KeyPair::default(),
            nm_token_keys: KeyPair::default(),
            distributed_labels: true,
            untracked_timeout: Duration::from_secs(60),
        }
    }
}

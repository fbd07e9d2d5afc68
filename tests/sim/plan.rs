//! What a seed decides before its run begins: the size of the cluster, its settings, and which faults are switched on.
//! Owns: [`Plan`], [`Action`]. Called by: the simulation, once per run. Thread: the run's.
//! Does not: act. Invariant: every seed has some faults on and others off, so that rare ones meet calm surroundings too.

use core::time::Duration;

use heddle::engine::event::KeyPair;
use heddle::engine::settings::{
    BrakeSettings, HeartbeatSettings, MinimumSettings, NodeClass, NodeLists, ScalingSettings, ShardSettings,
};

use crate::chance::Chance;
use crate::network::Weather;
use crate::node::{Habits, NODES_MAX};

macro_rules! actions {
    ($($name:ident),* $(,)?) => {
        /// Something the run does to its cluster now and then.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Action { $($name),* }

        impl Action {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

actions! {
    CutToRm, CutToNode, CutBoth, DropConnection, KillRm, SuspendRm, ClockForward, ClockSmallForward, ClockBackward,
    KillNode, PauseNode, PauseMany, FlipHealth, ChangeWebPort, UnRegister, RestartNode, ForeignBeat,
    ForeignUnRegister, Garbage, WrongDirection, NotSupported, WrongRoute, DecommissionNormal,
    DecommissionGraceful, DecommissionForceful, Recommission, Lists, MasterKeys, Order, Flood,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) settings: Vec<ShardSettings>,
    pub(crate) weather: Weather,
    pub(crate) habits: Habits,
    pub(crate) actions: Vec<Action>,
    /// Longest time between two actions.
    pub(crate) act_us_max: u64,
    /// When the faults end.
    pub(crate) heal_at_us: u64,
    pub(crate) batch_max: u64,
    pub(crate) has_first_offset: bool,
    pub(crate) may_fill_answers: bool,
    /// Longest time a shard takes to look at its ring.
    pub(crate) step_us_max: u64,
    pub(crate) tick_us_max: u64,
    /// Longest time between two looks of the inventory at its ring, and most events it takes.
    pub(crate) inventory_us_max: u64,
    pub(crate) inventory_most: u64,
    /// A full ring is told to the node.
    pub(crate) answers_busy: bool,
    pub(crate) busy_permille_max: u64,
    /// Connections dropped around a registration, per thousand registrations.
    pub(crate) drop_at_registration_permille: u64,
    /// All nodes come under one certificate, as behind a relay.
    pub(crate) is_relay: bool,
}

fn millis(chance: &mut Chance, low: u64, high: u64) -> Duration {
    Duration::from_millis(chance.between(low, high))
}

impl Plan {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let nodes = chance.between(3, NODES_MAX as u64) as usize;
        let shard_count = chance.between(1, 3) as u16;
        // Each kind of fault is on in its share of the seeds; some seeds have next to none.
        let share = *chance.pick(&[50, 200, 350, 500]);
        let on = |chance: &mut Chance| chance.hits(share);
        let weather = Weather {
            loss_permille: if on(chance) { chance.between(5, 150) } else { 0 },
            duplicate_permille: if on(chance) { chance.between(5, 100) } else { 0 },
            reorder_permille: if on(chance) { chance.between(10, 300) } else { 0 },
            slow_permille: if on(chance) { chance.between(10, 150) } else { 0 },
            slow_us_max: chance.between(20_000, 3_000_000),
            delay_us_max: chance.between(500, 30_000),
        };
        let habits = Habits {
            containers: chance.between(0, 4) as u32 * chance.between(1, 3) as u32,
            churn_ppm: if on(chance) { chance.between(10_000, 400_000) as u32 } else { 0 },
            duplicate_ppm: if on(chance) { chance.between(5_000, 200_000) as u32 } else { 0 },
            stale_ppm: if on(chance) { chance.between(2_000, 30_000) as u32 } else { 0 },
            retry_after_ms: chance.between(800, 2_500) as u32,
        };
        let actions = Action::ALL.iter().copied().filter(|_| on(chance)).collect();
        Self {
            nodes,
            settings: Self::settings(chance, shard_count),
            weather,
            habits,
            actions,
            act_us_max: *chance.pick(&[400_000, 1_500_000, 4_000_000]),
            heal_at_us: chance.between(6_000_000, 30_000_000),
            batch_max: *chance.pick(&[1, 3, 16]),
            has_first_offset: on(chance),
            may_fill_answers: on(chance),
            step_us_max: *chance.pick(&[200, 5_000, 60_000]),
            tick_us_max: *chance.pick(&[100_000, 300_000]),
            inventory_us_max: *chance.pick(&[5_000, 200_000, 2_500_000]),
            inventory_most: *chance.pick(&[1, 4, 64]),
            answers_busy: on(chance),
            busy_permille_max: if on(chance) { 1_000 } else { 500 },
            drop_at_registration_permille: if on(chance) { 300 } else { 0 },
            is_relay: chance.hits(200),
        }
    }

    fn settings(chance: &mut Chance, shard_count: u16) -> Vec<ShardSettings> {
        let fast_suspect_ms = chance.between(2_600, 4_500);
        let slow_suspect_ms = chance.between(4_000, 7_000);
        let class = |chance: &mut Chance, name: &str, suspect_ms: u64| NodeClass {
            name: name.into(),
            hosts: if name == "fast" { "fast-*" } else { "*" }.into(),
            suspect_after: Duration::from_millis(suspect_ms),
            lost_after: millis(chance, suspect_ms + 500, suspect_ms + 6_000),
        };
        let interval = millis(chance, 500, 1_000);
        let settings = ShardSettings {
            shard_count,
            rm_identifier: 1_700_000_000_000,
            nodes_max: chance.between(16, 40) as u32,
            heartbeat: HeartbeatSettings {
                interval,
                interval_min: interval / 2,
                interval_max: Duration::from_millis(1_500),
                scaling: chance
                    .hits(200)
                    .then_some(ScalingSettings { speedup_permille: 500, slowdown_permille: 1_000 }),
            },
            classes: Box::new([
                class(chance, "fast", fast_suspect_ms),
                class(chance, "slow", slow_suspect_ms),
            ]),
            brake: BrakeSettings {
                suspects_permille: *chance.pick(&[0, 300, 600]),
                suspects_min: chance.between(2, 3) as u32,
                limit: millis(chance, 4_000, 15_000),
            },
            minimum: MinimumSettings { memory_mb: 1_024, virtual_cores: 1, nm_version: None },
            lists: NodeLists::default(),
            decommission_timeout: chance.hits(700).then(|| millis(chance, 500, 10_000)),
            decommission_ignores_applications: chance.hits(500),
            resync_per_second: *chance.pick(&[5, 50, 2_000]),
            container_token_keys: KeyPair { current: Some((1, Box::new([7; 16]))), next: None },
            untracked_timeout: millis(chance, 1_000, 8_000),
            ..ShardSettings::default()
        };
        (0..shard_count).map(|shard| ShardSettings { shard: shard as u8, ..settings.clone() }).collect()
    }

    /// True where neither the network nor the ResourceManager does anything that could cost a node its registration.
    pub(crate) fn is_gentle(&self) -> bool {
        let weather = &self.weather;
        let rough = [
            Action::CutToRm,
            Action::CutToNode,
            Action::CutBoth,
            Action::DropConnection,
            Action::KillRm,
            Action::SuspendRm,
            Action::ClockSmallForward,
            // A node that is in no list is forgotten, and told RESYNC before it is refused.
            Action::Lists,
        ];
        weather.loss_permille == 0
            && weather.duplicate_permille == 0
            && weather.reorder_permille == 0
            && weather.slow_permille == 0
            && self.drop_at_registration_permille == 0
            && self.habits.stale_ppm == 0
            && !self.actions.iter().any(|action| rough.contains(action))
    }
}

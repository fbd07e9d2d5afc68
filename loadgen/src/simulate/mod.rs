//! A whole cluster in virtual time: the engine's own roles, stepped without network, threads or clock.
//! Owns: [`SimulationSpec`], [`simulate`], what it gives. Called by: the command line and tests, on one thread.
//! Does not: read files or clocks, write anything, measure speed: a step takes no time, so latencies are waits.
//! Invariants: same spec, same outcome, whatever machine; time never goes back; an ApplicationMaster speaks when it has
//! something to say, so that the cost is that of what happens and not of the time in between.
//!
//! The roles are those of a ResourceManager: [`Scheduling`](heddle::engine::scheduling::Scheduling), [`ApplicationManager`](heddle::engine::application::ApplicationManager)
//! and the state store in memory. ApplicationMasters and clients are the load generator's, and speak in frames. Between
//! scheduler and nodes there are no shards: what happens on a node is told at the same moment, as nodes never fail here.

mod nodes;
mod series;
mod waiting;
mod world;

use std::sync::Arc;
use std::time::Duration;

use heddle::engine::application::ApplicationSettings;
use heddle::engine::event::KeyPair;
use heddle::engine::scheduler::settings::SchedulerSettings;

use crate::driver::{ApplicationLoad, ApplicationsOutcome, Interval, RunOutcome, RunSpec, latency_histogram};
use crate::fleet::{Capacities, Chance, FleetCounters};
use crate::workload::ApplicationSpec;

pub use waiting::Waiting;
use world::World;

/// When the simulated ResourceManager starts, milliseconds since 1970: the beginning of 2020. Any fixed moment would do.
pub const BEGIN_MS: u64 = 1_577_836_800_000;

/// The longest silence of an ApplicationMaster.
const IDLE: Duration = Duration::from_secs(86_400);

/// When a silent ApplicationMaster is failed: none is ever that silent.
const AM_EXPIRY: Duration = Duration::from_secs(3 * 86_400);

/// What is simulated.
#[derive(Clone, Debug)]
pub struct SimulationSpec {
    /// The applications, by time of submission.
    pub applications: Arc<[Arc<ApplicationSpec>]>,
    /// How many nodes.
    pub nodes: u32,
    /// What they are.
    pub capacities: Capacities,
    /// The scheduler's settings, with its queues. Start, expiry of ApplicationMasters and keys are set here.
    pub scheduler: SchedulerSettings,
    /// The application manager's, likewise.
    pub manager: ApplicationSettings,
    /// Share of allocate calls that take part of an ask back, millionths.
    pub cancel_ppm: u32,
    /// Ends after so much virtual time; `None` = when every application has ended, or nothing can happen any more.
    pub until: Option<Duration>,
    /// Seed of everything random, keys too.
    pub seed: u64,
}

/// What a simulation gives.
#[derive(Debug)]
pub struct SimulationOutcome {
    /// The same as a measured run's, for the same report.
    pub run: RunOutcome,
    /// What it would be called as a measured run, for the same report.
    pub spec: RunSpec,
    /// What waits at the end, by reason, most containers first.
    pub waiting: Vec<Waiting>,
    /// The first few lines the roles said to their operator: there are none when all is well.
    pub notices: Vec<String>,
    /// Moments at which something happened.
    pub steps: u64,
}

/// Runs a cluster from the first submission to the end.
#[must_use]
pub fn simulate(spec: &SimulationSpec) -> SimulationOutcome {
    let mut world = World::new(spec);
    world.run();
    world.finish()
}

impl SimulationSpec {
    /// Tells both roles when they start and the keys they sign with.
    fn settings(&self) -> (SchedulerSettings, ApplicationSettings, KeyPair) {
        let mut chance = Chance(self.seed ^ 0x6b65_7973);
        let mut key = || {
            let secret: Vec<u8> = (0..4).flat_map(|_| chance.next().to_le_bytes()).collect();
            KeyPair { current: Some((1, secret.into())), next: None }
        };
        let (container_token_keys, nm_token_keys, am_rm_token_keys) = (key(), key(), key());
        let scheduler = SchedulerSettings {
            rm_identifier: BEGIN_MS,
            am_expiry: AM_EXPIRY,
            container_token_keys: container_token_keys.clone(),
            nm_token_keys,
            am_rm_token_keys: am_rm_token_keys.clone(),
            ..self.scheduler.clone()
        };
        let manager =
            ApplicationSettings { rm_identifier: BEGIN_MS, am_rm_token_keys, ..self.manager.clone() };
        (scheduler, manager, container_token_keys)
    }

    /// As the spec of a measured run: what the settings of a ResourceManager are made of.
    #[must_use]
    pub fn as_run(&self) -> RunSpec {
        self.to_run(Duration::ZERO, self.until.is_none())
    }

    fn to_run(&self, measured: Duration, until_done: bool) -> RunSpec {
        RunSpec {
            nodes: self.nodes,
            connections: 0,
            interval: Interval::Every(Duration::from_secs(1)),
            batch: 1,
            duration: measured,
            containers_per_node: 0,
            churn_ppm: 0,
            capacities: self.capacities.clone(),
            client_threads: 1,
            handshakes: 1,
            reach_within: Duration::ZERO,
            faults: Vec::new(),
            duplicate_ppm: 0,
            stale_ppm: 0,
            kill_rm_at: None,
            seed: self.seed,
            unregisters: false,
            applications: Some(ApplicationLoad {
                applications: Arc::clone(&self.applications),
                am_connections: 0,
                pace: crate::application::AmPace::OnNews { idle_us: micros(IDLE) },
                churn: None,
                cancel_ppm: self.cancel_ppm,
                masters_before: 0,
                until_done,
            }),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A measured run in which no node beat.
fn outcome_of(
    counters: FleetCounters,
    nodes: u32,
    measured: Duration,
    recorder: series::Recorder,
    mut applications: ApplicationsOutcome,
) -> RunOutcome {
    applications.grants = recorder.grants();
    let (slice, samples) = (recorder.slice(), recorder.samples(nodes));
    RunOutcome {
        counters,
        latencies: latency_histogram(),
        slices: Vec::new(),
        slice,
        beats: 0,
        skipped: 0,
        late_sends: 0,
        late_answers: 0,
        dropped: 0,
        measured,
        server_cpu: Duration::ZERO,
        client_cpu: Duration::ZERO,
        client_thread_busy: 0.0,
        server_rss_base: None,
        server_rss: None,
        socket_drops: 0,
        time_to_all_connected: Duration::ZERO,
        time_to_all_registered: Duration::ZERO,
        connections_lost: 0,
        connects_failed: 0,
        interval_ms_max: 0,
        registered: nodes,
        bytes: (0, 0),
        samples,
        restart: None,
        errors: Vec::new(),
        applications: Some((applications, recorder.into_series())),
        from_us: 0,
    }
}

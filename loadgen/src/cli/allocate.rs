//! `allocate`: what the allocate path can do, in three runs that become one report.
//! Owns: its flags and the shape of the three runs. Called by: [`super::run`]. Thread: main.
//! Does not: measure. Each run has a ResourceManager of its own, so that none inherits from the one before.
//!
//! 1. Closed loop: every ApplicationMaster asks for a batch and gives it back as soon as it is there: grants per second.
//! 2. Open loop at half of that: the latency of a call when capacity is free.
//! 3. A full cluster whose containers end all the time: from the report of an end to the grant it made room for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use heddle_wire::record::Resource;

use super::heartbeat::{Log, REACH_WITHIN};
use super::progress::Shown;
use super::run::{client_identities, open, settings_of};
use super::{FileArgs, LoadArgs, TargetArgs, TargetKind, output, positive_duration, whole};
use crate::application::{AmPace, Churn};
use crate::driver::{self, ApplicationLoad, ApplicationSeries, Interval, RunOutcome, RunSpec};
use crate::fleet::Capacities;
use crate::report::Report;
use crate::rm::EphemeralPki;
use crate::workload::{ApplicationSpec, Distribution, Durations, QueueTreeSpec, TaskGroup, Workload};

/// Between two calls of an ApplicationMaster of the third run.
const AM_INTERVAL_US: u64 = 1_000_000;

/// Tasks that each ApplicationMaster of the third run has: more than end within it.
const TASKS: u32 = 1_000_000;

#[derive(Clone, Debug, Args)]
pub(super) struct AllocateArgs {
    /// ApplicationMasters
    #[arg(long, value_parser = whole::<u32>(1..=10_000), default_value_t = 100)]
    masters: u32,
    /// Containers each asks for with a call
    #[arg(long, value_parser = whole::<u32>(1..=1_024), default_value_t = 10)]
    batch: u32,
    /// Connections the ApplicationMasters share; up to so many have their own
    #[arg(long, value_parser = whole::<u32>(1..=10_000), default_value_t = 10_000)]
    am_connections: u32,
    /// Nodes of the first two runs; the third has a tenth of them
    #[arg(long, value_parser = whole::<u32>(10..=100_000), default_value_t = 1_000)]
    nodes: u32,
    /// Connections the nodes share
    #[arg(long, value_parser = whole::<u32>(1..=100_000), default_value_t = 8)]
    connections: u32,
    /// How long to measure each
    #[arg(long, value_parser = positive_duration, default_value = "10s")]
    duration: Duration,
    /// Only one of the three runs; the second at so many grants a second
    #[arg(long, value_parser = rate, value_name = "GRANTS/S")]
    rate: Option<f64>,
    /// Only the third of the three runs
    #[arg(long, conflicts_with = "rate")]
    full: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    files: FileArgs,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1.0..=1e9).contains(&rate) => Ok(rate),
        _ => Err("accepted is a number from 1 to 1000000000".to_owned()),
    }
}

/// One of the three runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    Closed,
    Open { grants_per_second: f64 },
    Full,
}

/// What a run of `part` looks like.
pub(super) fn spec_of(args: &AllocateArgs, part: Part) -> RunSpec {
    let nodes = if part == Part::Full { (args.nodes / 10).max(1) } else { args.nodes };
    // An eighth of the nodes' shape in memory, so that cores are what is full.
    let size = Resource::new(1_024, 1);
    let groups: Arc<[TaskGroup]> = match part {
        Part::Full => [TaskGroup {
            count: TASKS,
            resource: size.clone(),
            durations: Durations::Drawn {
                distribution: Distribution::uniform(500.0, 3_500.0),
                seed: args.load.seed,
            },
            ..TaskGroup::default()
        }]
        .into(),
        Part::Closed | Part::Open { .. } => Arc::default(),
    };
    let application = Arc::new(ApplicationSpec {
        submit_ms: 0,
        name: "allocate".into(),
        user: "loadgen".into(),
        queue: "root.default".into(),
        application_type: "LOADGEN".into(),
        priority: None,
        label: None,
        tags: Arc::default(),
        lifetime_s: None,
        attempts_max: Some(1),
        keeps_containers: false,
        am: crate::workload::AmSpec::default(),
        groups,
    });
    let pace = match part {
        Part::Closed => AmPace::Max,
        Part::Open { grants_per_second } => {
            let calls_per_second = (grants_per_second / f64::from(args.batch)).max(1e-3);
            AmPace::Every { interval_us: (f64::from(args.masters) / calls_per_second * 1e6).max(1.0) as u64 }
        }
        Part::Full => AmPace::Every { interval_us: AM_INTERVAL_US },
    };
    let churn = (part != Part::Full).then(|| Churn::new(args.batch, size));
    let load = ApplicationLoad {
        applications: vec![application; args.masters as usize].into(),
        am_connections: args.am_connections.min(args.masters),
        pace,
        churn,
        cancel_ppm: 0,
        masters_before: args.masters,
        until_done: false,
    };
    RunSpec {
        nodes,
        connections: args.connections.min(nodes),
        interval: Interval::Every(Duration::from_secs(1)),
        batch: 64,
        duration: args.duration,
        containers_per_node: 0,
        churn_ppm: 0,
        capacities: Capacities::default(),
        client_threads: args.load.client_threads,
        handshakes: args.load.handshakes,
        reach_within: REACH_WITHIN,
        faults: Vec::new(),
        duplicate_ppm: 0,
        stale_ppm: 0,
        kill_rm_at: None,
        seed: args.load.seed,
        unregisters: false,
        applications: Some(load),
    }
}

fn run_part(args: &AllocateArgs, part: Part, shown: &mut Shown) -> Result<(Report, RunOutcome)> {
    let spec = spec_of(args, part);
    let pki = EphemeralPki::create()?;
    let identities = client_identities(&spec, &pki)?;
    let workload =
        Workload { queues: Some(QueueTreeSpec::of_names(["root.default"])), ..Workload::default() };
    let mut settings = settings_of(&workload, &spec, None, pki.directory())?;
    // Half of the cluster may be ApplicationMasters: the third run has as many of them as the others on a tenth of the nodes.
    settings.extend_from_slice(&args.target.rm_set);
    let mut target = open(&args.target, &spec, &settings, &pki)?;
    let result = driver::run(&spec, &identities, &mut *target, shown);
    shown.finish();
    let outcome = result?;
    let report = Report::of_run(&spec, &outcome, true, output::command_line(), output::now());
    Ok((report, outcome))
}

/// `allocate`.
pub(super) fn run(args: &AllocateArgs) -> Result<bool> {
    if matches!(args.target.rm, TargetKind::Address(_)) {
        let error = anyhow::anyhow!("allocate starts its ResourceManagers: --rm spawn or --rm inprocess");
        output::refuse(&error);
    }
    let mut shown = Shown::new();
    let open_only = args.rate.map(|grants_per_second| Part::Open { grants_per_second });
    if let Some(part) = open_only.or(args.full.then_some(Part::Full)) {
        let (report, outcome) = run_part(args, part, &mut shown)?;
        let log = Log::of(outcome, &shown);
        output::give(&report, &args.files, &log.latencies, &log.hlog())?;
        return Ok(report.is_good());
    }
    let (closed, closed_outcome) = run_part(args, Part::Closed, &mut shown)?;
    let Some(grants_per_second) = closed.applications.as_ref().map(|it| it.grants_per_second) else {
        bail!("the first run gave no numbers");
    };
    output::say(&format!("closed loop: {grants_per_second:.0} grants/s"));
    let (opened, opened_outcome) =
        run_part(args, Part::Open { grants_per_second: grants_per_second / 2.0 }, &mut shown)?;
    let (full, full_outcome) = run_part(args, Part::Full, &mut shown)?;
    let series = merged(&opened_outcome, &full_outcome);
    let report = Report::of_allocate(closed, opened, full);
    let mut log = Log::of(closed_outcome, &shown);
    log.series = series;
    output::give(&report, &args.files, &log.latencies, &log.hlog())?;
    Ok(report.is_good())
}

/// The latencies that the report takes from the second and third run.
fn merged(opened: &RunOutcome, full: &RunOutcome) -> Option<ApplicationSeries> {
    let (opened, full) = (opened.applications.as_ref()?, full.applications.as_ref()?);
    let (opened, full) = (opened.1.clone(), full.1.clone());
    Some(ApplicationSeries {
        allocate: opened.allocate,
        ask_to_grant: opened.ask_to_grant,
        free_to_grant: full.free_to_grant,
        container_start: full.container_start,
    })
}

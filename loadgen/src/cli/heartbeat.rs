//! `heartbeat` and `compare`: from flags to a run, from a run to its report.
//! Owns: how flags become a [`RunSpec`], what does not go together. Called by: [`super::run`]. Thread: main.
//! Does not: measure or print numbers itself.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use heddle::pki::Identity;

use super::output::{self, Hlog};
use super::progress::Shown;
use super::{CompareArgs, FileArgs, HeartbeatArgs, NODES, NODES_MAX, TargetArgs, TargetKind};
use crate::driver::{
    self, ApplicationSeries, Fault, Identities, Interval, RunOutcome, RunSpec, Slice, Target,
};
use crate::fleet::Capacities;
use crate::floor::{self, FloorSpec};
use crate::report::{Report, Round};
use crate::rm::{self, EphemeralPki, Remote};

/// Where the files of a run without arguments go.
const REPORT: &str = "heddle-loadgen-report";

/// Without any connection for this long the ResourceManager counts as unreachable.
pub(super) const REACH_WITHIN: Duration = Duration::from_secs(15);

/// Shortest and longest interval between beats.
pub(super) const INTERVALS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(600));

pub(super) fn spec_of(args: &HeartbeatArgs) -> Result<RunSpec> {
    let capacities = match &args.nodes_from {
        None => Capacities::default(),
        Some(path) => read_capacities(path)?,
    };
    let listed = args.nodes_from.is_some().then(|| u32::try_from(capacities.len()).unwrap_or(NODES_MAX));
    let nodes = args.nodes.or(listed).unwrap_or(NODES);
    let connections = args.connections.unwrap_or(nodes);
    if connections > nodes {
        bail!("--connections is {connections}, accepted are at most as many as --nodes, {nodes}");
    }
    if let Interval::Every(interval) = args.interval
        && !(INTERVALS.0..=INTERVALS.1).contains(&interval)
    {
        bail!("--interval is {interval:?}, accepted are 10ms to 600s, or max");
    }
    if args.kill_rm_at.is_some() && args.target.rm != TargetKind::Spawn {
        bail!("--kill-rm-at needs --rm spawn: another's ResourceManager is not killed");
    }
    if args.kill_rm_at.is_some_and(|at| at >= args.duration) {
        bail!(
            "--kill-rm-at is past the end of the run, accepted is less than --duration, {:?}",
            args.duration
        );
    }
    let is_address = check_target(&args.target)?;
    let faults: Vec<Fault> = args.kill_nodes.iter().chain(&args.pause_nodes).copied().collect();
    check_faults(&faults, args.duration)?;
    Ok(RunSpec {
        nodes,
        connections,
        interval: args.interval,
        batch: args.batch,
        duration: args.duration,
        containers_per_node: args.containers_per_node,
        churn_ppm: args.churn,
        capacities,
        client_threads: args.load.client_threads,
        handshakes: args.load.handshakes,
        reach_within: REACH_WITHIN,
        faults,
        duplicate_ppm: args.duplicate,
        stale_ppm: args.stale,
        kill_rm_at: args.kill_rm_at,
        seed: args.load.seed,
        unregisters: is_address,
        applications: None,
    })
}

/// Whether the ResourceManager runs already, and whether the flags fit that.
pub(super) fn check_target(target: &TargetArgs) -> Result<bool> {
    let is_address = matches!(target.rm, TargetKind::Address(_));
    if is_address && target.certificate.is_none() {
        bail!(
            "--rm with an address needs --certificate, --key and --ca: a certificate that speaks for the nodes"
        );
    }
    if !is_address && target.certificate.is_some() {
        bail!(
            "--certificate, --key and --ca are for --rm with an address; a ResourceManager that is started has its own"
        );
    }
    if !is_address && target.rm_pid.is_some() {
        bail!("--rm-pid is for --rm with an address; the process of one that is started is known");
    }
    if is_address && !target.rm_set.is_empty() {
        bail!("--rm-set is for a ResourceManager that is started: --rm spawn or --rm inprocess");
    }
    Ok(is_address)
}

/// Faults past the end of a run are mistakes.
pub(super) fn check_faults(faults: &[Fault], duration: Duration) -> Result<()> {
    if let Some(late) = faults.iter().find(|fault| fault.at >= duration) {
        let flag = if late.pause.is_some() { "--pause-nodes" } else { "--kill-nodes" };
        bail!(
            "{flag} at {:?} is past the end of the run, accepted is less than --duration, {:?}",
            late.at,
            duration
        );
    }
    Ok(())
}

fn read_capacities(path: &Path) -> Result<Capacities> {
    let file = File::open(path).with_context(|| format!("--nodes-from {}", path.display()))?;
    Capacities::read_csv(file).with_context(|| format!("--nodes-from {}", path.display()))
}

/// `heartbeat`.
pub(super) fn run(args: HeartbeatArgs) -> Result<bool> {
    // Everything said so far is about flags: the same exit code as clap's.
    let spec = spec_of(&args).unwrap_or_else(|error| output::refuse(&error));
    let pki = EphemeralPki::create()?;
    let (mut target, identity) = open(&args.target, &spec, &pki)?;
    let has_server = target.pid().is_some();
    let mut shown = Shown::new();
    let identities = Identities { nodes: identity, clients: Vec::new() };
    let result = driver::run(&spec, &identities, &mut *target, &mut shown);
    shown.finish();
    let outcome = result?;
    let report = Report::of_run(&spec, &outcome, has_server, output::command_line(), output::now());
    let log = Log::of(outcome, &shown);
    output::give(&report, &args.files, &log.latencies, &log.hlog())?;
    Ok(report.is_good())
}

pub(super) fn default_files(files: &mut FileArgs) {
    files.json.get_or_insert_with(|| format!("{REPORT}.json").into());
    files.hlog.get_or_insert_with(|| format!("{REPORT}.hlog").into());
    files.html.get_or_insert_with(|| format!("{REPORT}.html").into());
}

/// The interval a started ResourceManager is configured with.
pub(super) fn interval_ms(spec: &RunSpec) -> u32 {
    match spec.interval {
        Interval::Every(interval) => u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
        Interval::Max => 1_000,
    }
}

/// These nodes invent their containers: they are not to be killed as nobody's. What is set by hand wins.
fn with_accept(extra: &[(String, String)]) -> Vec<(String, String)> {
    let accept = (rm::UNKNOWN_CONTAINERS.to_owned(), "accept".to_owned());
    core::iter::once(accept).chain(extra.iter().cloned()).collect()
}

fn open(args: &TargetArgs, spec: &RunSpec, pki: &EphemeralPki) -> Result<(Box<dyn Target>, Identity)> {
    if let (TargetKind::Address(address), Some(certificate), Some(key), Some(ca)) =
        (args.rm, &args.certificate, &args.key, &args.ca)
    {
        let identity = Identity::load(certificate, key, ca)?;
        return Ok((Box::new(Remote::new(address, args.rm_pid)), identity));
    }
    let address = rm::free_address()?;
    let settings = rm::settings(address, pki.directory(), interval_ms(spec), &with_accept(&args.rm_set));
    let target: Box<dyn Target> = if args.rm == TargetKind::InProcess {
        Box::new(rm::embed(&settings)?)
    } else {
        Box::new(rm::spawn(&settings, address, pki.directory())?)
    };
    Ok((target, pki.nodes()?))
}

/// `compare`: floor and heartbeat in turn, so that whatever else the machine does hits both.
pub(super) fn compare(args: &CompareArgs) -> Result<bool> {
    let shape = &args.shape;
    let nodes = shape.nodes();
    let outstanding = nodes.div_ceil(shape.connections);
    // One node per connection has nothing to pack.
    let batch = if outstanding == 1 { 1 } else { shape.batch };
    let spec = RunSpec {
        nodes,
        connections: shape.connections,
        interval: Interval::Max,
        batch,
        duration: shape.duration,
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
        applications: None,
    };
    let floor_spec =
        FloorSpec { connections: shape.connections, batch, outstanding, duration: shape.duration };
    let pki = EphemeralPki::create()?;
    let identity = pki.nodes()?;
    let identities = Identities { nodes: identity.clone(), clients: Vec::new() };
    let mut shown = Shown::new();
    let (mut rounds, mut logs) = (Vec::new(), Vec::new());
    for number in 1..=args.rounds {
        let floor = {
            let mut echo = rm::spawn_echo(rm::free_address()?, pki.directory())?;
            floor::run(&floor_spec, &identity, &mut echo).context("the floor could not be measured")?
        };
        let outcome = {
            let address = rm::free_address()?;
            let settings =
                rm::settings(address, pki.directory(), interval_ms(&spec), &with_accept(&args.rm_set));
            let mut target = rm::spawn(&settings, address, pki.directory())?;
            let result = driver::run(&spec, &identities, &mut target, &mut shown);
            shown.finish();
            result?
        };
        let report = Report::of_run(&spec, &outcome, true, output::command_line(), output::now());
        let round = Round { floor, report };
        output::say(&format!(
            "round {number}: floor {:.0}/s, heartbeat {:.0}/s, ratio {:.3}",
            round.floor_beats_per_second(),
            round.report.beats_per_second,
            round.ratio()
        ));
        rounds.push(round);
        logs.push(Log::of(outcome, &shown));
    }
    let Some((middle, report)) = Report::of_rounds(&rounds) else { bail!("--rounds is 0") };
    let log = &logs[middle];
    output::give(&report, &args.files, &log.latencies, &log.hlog())?;
    Ok(report.is_good())
}

/// Latencies of a run, for its files.
pub(super) struct Log {
    pub latencies: Histogram<u64>,
    slices: Vec<Slice>,
    pub series: Option<ApplicationSeries>,
    slice: Duration,
    base: SystemTime,
}

impl Log {
    /// Those of the run that `shown` showed last.
    pub(super) fn of(outcome: RunOutcome, shown: &Shown) -> Self {
        let RunOutcome { latencies, slices, slice, applications, .. } = outcome;
        let series = applications.map(|(_, series)| series);
        Self { latencies, slices, series, slice, base: shown.measured_from() }
    }

    pub(super) fn hlog(&self) -> Hlog<'_> {
        Hlog {
            what: output::HEARTBEATS,
            slices: &self.slices,
            series: self.series.as_ref(),
            base: self.base,
            slice: self.slice,
        }
    }
}

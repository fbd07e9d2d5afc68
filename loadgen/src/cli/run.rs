//! `run`: a trace or scenario played against a ResourceManager over QUIC; also the run without arguments.
//! Owns: its flags, how a workload and a cluster become a [`RunSpec`], what a started ResourceManager is told of queues and
//! sizes. Called by: [`super::run`]. Thread: main. Does not: measure, read formats, or print numbers itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use heddle::pki::Identity;
use heddle_wire::record::Resource;

use super::heartbeat::{self, INTERVALS, Log, REACH_WITHIN};
use super::output;
use super::progress::Shown;
use super::{FileArgs, LoadArgs, NODES, NODES_MAX, TargetArgs, TargetKind, positive_duration, share, whole};
use crate::application::AmPace;
use crate::driver::{
    self, ApplicationLoad, Fault, Identities, Interval, RunSpec, Target, parse_kill, parse_pause,
};
use crate::fleet::Capacities;
use crate::report::Report;
use crate::rm::{self, EphemeralPki, Remote};
use crate::workload::{ApplicationSpec, DEFAULT_SCENARIO, Format, ReadOptions, Workload};

/// How long the bundled scenario is measured unless told otherwise.
const DURATION: Duration = Duration::from_secs(60);

/// A trace is over when its applications are, or after this.
const DURATION_MAX: Duration = Duration::from_secs(7 * 86_400);

/// ApplicationMasters with a connection of their own unless told otherwise; more of them share these.
const AM_CONNECTIONS: u32 = 1_000;

/// Most users with a certificate of their own.
const USERS_MAX: usize = 4_096;

/// What is played.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    /// A trace of any format, or a scenario [default: the bundled scenario]
    #[arg(value_name = "TRACE")]
    pub trace: Option<PathBuf>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// How, and on which cluster.
#[derive(Clone, Debug, Args)]
pub(super) struct ClusterArgs {
    /// The trace's format [default: by its name and its beginning]
    #[arg(long)]
    format: Option<Format>,
    /// Nodes [default: those of the trace, or 10000]
    #[arg(long, value_parser = whole(1..=NODES_MAX))]
    pub nodes: Option<u32>,
    /// What the nodes are: an SLS node file, a Rumen topology, a scenario, or CSV with the header sn,cpu_milli,memory_mib,gpu,model
    #[arg(long, value_name = "FILE")]
    nodes_from: Option<PathBuf>,
    /// Connections the nodes share [default: one each]
    #[arg(long, value_parser = whole(1..=NODES_MAX))]
    connections: Option<u32>,
    /// Connections the ApplicationMasters share; up to so many have their own
    #[arg(long, value_parser = whole::<u32>(1..=100_000), default_value_t = AM_CONNECTIONS)]
    am_connections: u32,
    /// How often a node beats
    #[arg(long, default_value = "1s")]
    interval: Interval,
    /// How often an ApplicationMaster calls
    #[arg(long, default_value = "1s")]
    am_interval: Interval,
    /// How long to measure [default: 60s of the bundled scenario; a trace until all of its applications ended]
    #[arg(long, value_parser = positive_duration)]
    duration: Option<Duration>,
    /// So many times faster than in the trace: times of submission, tasks and delays
    #[arg(long, value_parser = speed, default_value = "1")]
    speed: f64,
    /// At most so many applications of the trace, the first ones
    #[arg(long, value_parser = whole::<usize>(1..=usize::MAX))]
    applications: Option<usize>,
    /// Share of allocate calls that take part of an ask back until the next call, 0 to 1
    #[arg(long, value_parser = share, default_value = "0")]
    cancel: u32,
    /// The queues of a ResourceManager that is started: capacity-scheduler.xml or TOML [default: those of the trace]
    #[arg(long, value_name = "FILE")]
    queues: Option<PathBuf>,
    #[command(flatten)]
    pub target: TargetArgs,
    /// Certificate of a client, for a ResourceManager that runs already; every application is its user's
    #[arg(long, requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// N@T: N nodes die at T, for example 100@10s
    #[arg(long, value_parser = parse_kill, value_name = "N@T")]
    kill_nodes: Vec<Fault>,
    /// N@T:D: N nodes fall silent at T for D, for example 100@10s:5s
    #[arg(long, value_parser = parse_pause, value_name = "N@T:D")]
    pause_nodes: Vec<Fault>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    files: FileArgs,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (1e-3..=1e9).contains(&speed) => Ok(speed),
        _ => Err("accepted is a number from 0.001 to 1000000000".to_owned()),
    }
}

/// What a run plays, with the flags it came from.
pub(super) struct Play {
    pub spec: RunSpec,
    pub workload: Workload,
}

/// Reads the trace and puts the run together.
pub(super) fn play_of(args: &RunArgs) -> Result<Play> {
    let cluster = &args.cluster;
    let options = ReadOptions {
        format: cluster.format,
        seed: Some(cluster.load.seed),
        nodes: cluster.nodes_from.clone(),
    };
    let mut workload = match &args.trace {
        Some(path) => Workload::read(path, &options)?,
        None => Workload::from_text("default-scenario.toml", DEFAULT_SCENARIO, &options)?,
    };
    if let Some(most) = cluster.applications {
        workload.applications.truncate(most);
    }
    let duration = match (cluster.duration, &args.trace) {
        (Some(duration), _) => duration,
        (None, None) => DURATION,
        (None, Some(_)) => DURATION_MAX,
    };
    let applications: Arc<[Arc<ApplicationSpec>]> = workload
        .applications
        .iter()
        // What the measurement never gets to is not kept twice.
        .filter(|spec| spec.submit_ms as f64 / cluster.speed <= duration.as_millis() as f64)
        .map(|spec| Arc::new(faster(spec, cluster.speed)))
        .collect();
    if applications.is_empty() {
        bail!("the trace has no applications");
    }
    let listed = workload.nodes.as_deref().and_then(Capacities::of_nodes);
    let count = listed.as_ref().map_or(NODES, |list| u32::try_from(list.len()).unwrap_or(NODES_MAX));
    let nodes = cluster.nodes.unwrap_or(count);
    let connections = cluster.connections.unwrap_or(nodes).min(nodes);
    let (Interval::Every(interval), Interval::Every(am_interval)) = (cluster.interval, cluster.am_interval)
    else {
        bail!(
            "--interval and --am-interval max are for the commands heartbeat and allocate; accepted are 10ms to 600s"
        );
    };
    if let Some(wrong) =
        [interval, am_interval].into_iter().find(|it| !(INTERVALS.0..=INTERVALS.1).contains(it))
    {
        bail!("an interval is {wrong:?}, accepted are 10ms to 600s");
    }
    let is_address = heartbeat::check_target(&cluster.target)?;
    if is_address && cluster.client_certificate.is_none() {
        bail!("--rm with an address needs --client-certificate and --client-key: the user who submits");
    }
    if is_address && cluster.queues.is_some() {
        bail!("--queues is for a ResourceManager that is started: --rm spawn or --rm inprocess");
    }
    let faults: Vec<Fault> = cluster.kill_nodes.iter().chain(&cluster.pause_nodes).copied().collect();
    heartbeat::check_faults(&faults, duration)?;
    let load = ApplicationLoad {
        applications,
        am_connections: cluster.am_connections,
        pace: AmPace::Every { interval_us: am_interval.as_micros() as u64 },
        churn: None,
        cancel_ppm: cluster.cancel,
        masters_before: 0,
        until_done: cluster.duration.is_none() && args.trace.is_some(),
    };
    let spec = RunSpec {
        nodes,
        connections,
        interval: cluster.interval,
        batch: 64,
        duration,
        containers_per_node: 0,
        churn_ppm: 0,
        capacities: listed.unwrap_or_default(),
        client_threads: cluster.load.client_threads,
        handshakes: cluster.load.handshakes,
        reach_within: REACH_WITHIN,
        faults,
        duplicate_ppm: 0,
        stale_ppm: 0,
        kill_rm_at: None,
        seed: cluster.load.seed,
        unregisters: is_address,
        applications: Some(load),
    };
    Ok(Play { spec, workload })
}

/// The same application in a world that is so many times faster.
fn faster(spec: &ApplicationSpec, speed: f64) -> ApplicationSpec {
    let mut spec = spec.clone();
    if (speed - 1.0).abs() < f64::EPSILON {
        return spec;
    }
    let scaled = |ms: u64| (ms as f64 / speed).round() as u64;
    spec.submit_ms = scaled(spec.submit_ms);
    spec.am.start_ms = scaled(spec.am.start_ms);
    spec.am.least_duration_ms = scaled(spec.am.least_duration_ms);
    spec.groups = spec
        .groups
        .iter()
        .map(|group| {
            let mut group = group.clone();
            group.delay_ms = scaled(group.delay_ms);
            group.durations = group.durations.faster(speed);
            group
        })
        .collect();
    spec
}

/// `run`, and the run without arguments, which `writes_reports` by itself.
pub(super) fn run(mut args: RunArgs, writes_reports: bool) -> Result<bool> {
    let Play { spec, workload } = play_of(&args).unwrap_or_else(|error| output::refuse(&error));
    if writes_reports {
        heartbeat::default_files(&mut args.cluster.files);
    }
    workload.notices.iter().for_each(|text| output::say(&format!("note: {text}")));
    let pki = EphemeralPki::create()?;
    let identities = identities(&args.cluster, &spec, &pki)?;
    let mut settings = settings_of(&workload, &spec, args.cluster.queues.as_deref(), pki.directory())?;
    settings.extend_from_slice(&args.cluster.target.rm_set);
    let mut target = open(&args.cluster.target, &spec, &settings, &pki)?;
    let has_server = target.pid().is_some();
    let mut shown = Shown::new();
    let result = driver::run(&spec, &identities, &mut *target, &mut shown);
    shown.finish();
    let outcome = result?;
    let report = Report::of_run(&spec, &outcome, has_server, output::command_line(), output::now());
    let log = Log::of(outcome, &shown);
    output::give(&report, &args.cluster.files, &log.latencies, &log.hlog())?;
    Ok(report.is_good())
}

fn identities(args: &ClusterArgs, spec: &RunSpec, pki: &EphemeralPki) -> Result<Identities> {
    let target = &args.target;
    if let (Some(certificate), Some(key), Some(ca), Some(client), Some(client_key)) =
        (&target.certificate, &target.key, &target.ca, &args.client_certificate, &args.client_key)
    {
        let nodes = Identity::load(certificate, key, ca)?;
        return Ok(Identities { nodes, clients: vec![Identity::load(client, client_key, ca)?] });
    }
    client_identities(spec, pki)
}

/// A certificate for every user of a run.
pub(super) fn client_identities(spec: &RunSpec, pki: &EphemeralPki) -> Result<Identities> {
    let applications = spec.applications.iter().flat_map(|load| load.applications.iter());
    let users: BTreeSet<&Arc<str>> = applications.map(|spec| &spec.user).collect();
    if users.len() > USERS_MAX {
        bail!("the trace has {} users, accepted are at most {USERS_MAX}", users.len());
    }
    let clients = users.into_iter().map(|user| {
        pki.client(user).with_context(|| format!("user {user:?} of the trace gets no certificate"))
    });
    Ok(Identities { nodes: pki.nodes()?, clients: clients.collect::<Result<_>>()? })
}

/// What a ResourceManager that is started is told: queues, largest sizes, labels, other resource types.
pub(super) fn settings_of(
    workload: &Workload,
    spec: &RunSpec,
    queues: Option<&Path>,
    directory: &Path,
) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    let mut set = |key: &str, value: String| settings.push((key.to_owned(), value));
    let file = match queues {
        Some(path) => path.to_owned(),
        None => {
            let path = directory.join("queues.toml");
            std::fs::write(&path, workload.queue_tree().toml)
                .with_context(|| format!("cannot write {}", path.display()))?;
            path
        }
    };
    set(rm::QUEUES_FILE, file.display().to_string());
    set("scheduler.resource_calculator", "dominant".to_owned());
    let applications = || spec.applications.iter().flat_map(|load| load.applications.iter());
    let sizes = || {
        let asks = applications()
            .flat_map(|spec| spec.groups.iter().map(|group| &group.resource).chain([&spec.am.resource]));
        asks.collect::<Vec<&Resource>>()
    };
    let memory_mb = sizes().iter().map(|size| size.memory_mb).max().unwrap_or(0).max(8_192);
    let virtual_cores = sizes().iter().map(|size| size.virtual_cores).max().unwrap_or(0).max(4);
    // Sizes are rounded up to whole gibibytes; the largest one has to stay below the limit all the same.
    set("scheduler.maximum_allocation_mb", memory_mb.next_multiple_of(1_024).to_string());
    set("scheduler.maximum_allocation_vcores", virtual_cores.to_string());
    // An ApplicationMaster that calls rarely is not over between two calls.
    let silence_ms = spec.applications.as_ref().map_or(0, |load| load.pace.silence().as_millis());
    if 3 * silence_ms > 600_000 {
        set("applications.am_expiry_ms", (3 * silence_ms).to_string());
    }
    let nodes = workload.nodes.as_deref().unwrap_or_default();
    let labels: BTreeSet<&str> = nodes.iter().filter_map(|node| node.label.as_deref()).collect();
    if !labels.is_empty() {
        set("scheduler.node_labels_enabled", "true".to_owned());
        set("scheduler.node_labels_from", "nodes".to_owned());
        set("scheduler.node_labels", labels.into_iter().collect::<Vec<_>>().join(","));
    }
    let types: BTreeSet<&str> = nodes
        .iter()
        .map(|node| &node.resource)
        .chain(sizes())
        .flat_map(|size| size.extended.iter().map(|other| other.name.as_str()))
        .collect();
    if !types.is_empty() {
        let path = directory.join("yarn-site.xml");
        std::fs::write(&path, yarn_site(&types))
            .with_context(|| format!("cannot write {}", path.display()))?;
        set("scheduler.yarn_site", path.display().to_string());
    }
    Ok(settings)
}

/// A `yarn-site.xml` that names resource types. They are names of types, without a character that XML minds.
fn yarn_site(types: &BTreeSet<&str>) -> String {
    let list = types.iter().copied().collect::<Vec<_>>().join(",");
    format!(
        "<configuration>\n  <property>\n    <name>yarn.resource-types</name>\n    <value>{}</value>\n  </property>\n</configuration>\n",
        list.replace('&', "&amp;").replace('<', "&lt;")
    )
}

/// The ResourceManager of a run with applications.
pub(super) fn open(
    args: &TargetArgs,
    spec: &RunSpec,
    extra: &[(String, String)],
    pki: &EphemeralPki,
) -> Result<Box<dyn Target>> {
    if let TargetKind::Address(address) = args.rm {
        return Ok(Box::new(Remote::new(address, args.rm_pid)));
    }
    let address = rm::free_address()?;
    let settings = rm::settings(address, pki.directory(), heartbeat::interval_ms(spec), extra);
    Ok(if args.rm == TargetKind::InProcess {
        Box::new(rm::embed(&settings)?)
    } else {
        Box::new(rm::spawn(&settings, address, pki.directory())?)
    })
}

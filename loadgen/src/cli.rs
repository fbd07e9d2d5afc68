//! The command line: its grammar, and what each command does with the parts.
//! Owns: flags, their defaults, exit codes, which files are written. Called by: `main`. Thread: main.
//! Does not: measure. Exit codes: 0 nothing lost, 1 something lost or failed, 2 usage, 5 unreachable.

mod allocate;
mod heartbeat;
mod output;
mod progress;
mod run;
mod simulate;
mod trace;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use heddle::cli::number::whole;
use heddle::pki::Identity;

use crate::driver::{Fault, Interval, RunError, Slice, parse_duration, parse_kill, parse_pause};
use crate::floor::{self, FloorOutcome, FloorSpec};
use crate::report::Report;
use crate::rm;
use output::Hlog;

/// Exit code of a run in which something was lost, and of one that failed.
const LOST: u8 = 1;
/// Exit code of a run that found nobody.
const UNREACHABLE: u8 = 5;

/// Nodes unless told otherwise.
const NODES: u32 = 10_000;

/// With fewer connections than this they are meant to be shared by many nodes.
const RELAYS_MAX: u32 = 100;

/// Most nodes of one run: the rows of one shard of the ResourceManager.
const NODES_MAX: u32 = 1 << 20;

/// Drives a simulated cluster against a Heddle ResourceManager and reports latencies.
///
/// Without arguments: the bundled scenario on 10,000 NodeManagers, a connection each, with a hundred queues' worth of
/// applications, against a ResourceManager started for the purpose: nodes beat and ApplicationMasters call once a second,
/// measured for a minute. A table is printed; JSON, histogram log and HTML page go to heddle-loadgen-report.*.
#[derive(Debug, Parser)]
#[command(name = "heddle-loadgen", version, max_term_width = 110, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    cluster: run::ClusterArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A trace or scenario: applications on a cluster, from submission to their end.
    Run(Box<run::RunArgs>),
    /// A trace or scenario in virtual time: the engine itself, without network, faster than real time.
    ///
    /// Nodes never fail and a step takes no time, so that latencies are waits. The answer is a function of trace, flags and
    /// seed, to the byte; how long it took is said on standard error.
    Simulate(Box<simulate::SimulateArgs>),
    /// Grants per second, the latency of allocate calls, and how fast freed capacity is granted again.
    Allocate(Box<allocate::AllocateArgs>),
    /// NodeManagers that beat, in open or closed loop.
    Heartbeat(Box<HeartbeatArgs>),
    /// A bare QUIC echo of the same bytes: what the transport alone can do.
    Floor(FloorArgs),
    /// Floor and heartbeat in turn, and the ratio.
    ///
    /// Every number of the report is from one round, the one with the median ratio (of an even number of rounds the lower
    /// one of the two in the middle), so that floor_ratio is beats_per_second / floor_beats_per_second. floor_ratios has the
    /// ratios of all rounds in their order. What any round lost is lost.
    Compare(CompareArgs),
    /// Traces and scenarios: what is in them, and in other forms.
    #[command(subcommand)]
    Trace(trace::TraceCommand),
    /// The floor's server.
    #[command(hide = true)]
    Echo(EchoArgs),
}

#[derive(Clone, Debug, Args)]
struct HeartbeatArgs {
    /// Nodes [default: 10000, or as many as --nodes-from lists]
    #[arg(long, value_parser = whole(1..=NODES_MAX))]
    nodes: Option<u32>,
    /// Connections the nodes share [default: one each]
    #[arg(long, value_parser = whole(1..=NODES_MAX))]
    connections: Option<u32>,
    /// How often a node beats: 1s, 250ms, …, or max for the next beat as soon as the answer came
    #[arg(long, default_value = "1s")]
    interval: Interval,
    /// How long to measure
    #[arg(long, value_parser = positive_duration, default_value = "30s")]
    duration: Duration,
    /// Containers each node runs
    #[arg(long, value_parser = whole::<u32>(0..=4_096), default_value_t = 0)]
    containers_per_node: u32,
    /// Share of a node's containers that end and are replaced with each beat, 0 to 1
    #[arg(long, value_parser = share, default_value = "0")]
    churn: u32,
    /// Real capacities: CSV with the header sn,cpu_milli,memory_mib,gpu,model
    #[arg(long, value_name = "CSV")]
    nodes_from: Option<PathBuf>,
    /// Most beats per write with --interval max
    #[arg(long, value_parser = whole::<u32>(1..=65_536), default_value_t = 64)]
    batch: u32,
    #[command(flatten)]
    target: TargetArgs,
    /// N@T: N nodes die at T, for example 100@10s
    #[arg(long, value_parser = parse_kill, value_name = "N@T")]
    kill_nodes: Vec<Fault>,
    /// N@T:D: N nodes fall silent at T for D, for example 100@10s:5s
    #[arg(long, value_parser = parse_pause, value_name = "N@T:D")]
    pause_nodes: Vec<Fault>,
    /// Share of beats sent twice, 0 to 1
    #[arg(long, value_parser = share, default_value = "0")]
    duplicate: u32,
    /// Share of beats sent with an old response id, 0 to 1
    #[arg(long, value_parser = share, default_value = "0")]
    stale: u32,
    /// Kill the ResourceManager at T and start it again; needs --rm spawn
    #[arg(long, value_parser = parse_duration, value_name = "T")]
    kill_rm_at: Option<Duration>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    files: FileArgs,
}

/// Where the ResourceManager is.
#[derive(Clone, Debug, Args)]
struct TargetArgs {
    /// spawn (a process of its own), inprocess, or host:port of one that runs; that needs --certificate, --key and --ca
    #[arg(long, default_value = "spawn", value_parser = target, value_name = "ADDR|spawn|inprocess")]
    rm: TargetKind,
    /// Its process id, where it runs on this machine: its CPU and memory are measured then
    #[arg(long, value_parser = whole::<u32>(1..=u32::MAX), value_name = "PID")]
    rm_pid: Option<u32>,
    /// A setting for a ResourceManager that is started, section.key=value
    #[arg(long, value_parser = assignment, value_name = "KEY=VALUE")]
    rm_set: Vec<(String, String)>,
    /// Certificate of the nodes, for one that runs already; it has to allow every node's name
    #[arg(long, requires_all = ["key", "ca"])]
    certificate: Option<PathBuf>,
    /// Its key
    #[arg(long)]
    key: Option<PathBuf>,
    /// The authority's certificate
    #[arg(long)]
    ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetKind {
    Spawn,
    InProcess,
    Address(SocketAddr),
}

/// How the load is made.
#[derive(Clone, Debug, Args)]
struct LoadArgs {
    /// Threads the load is made with
    #[arg(long, value_parser = whole::<u32>(1..=64), default_value_t = 1)]
    client_threads: u32,
    /// Handshakes at a time while nodes come up
    #[arg(long, value_parser = whole::<u32>(1..=4_096), default_value_t = 64)]
    handshakes: u32,
    /// Seed of everything random
    #[arg(long, value_parser = whole::<u64>(0..=u64::MAX), default_value_t = 1)]
    seed: u64,
}

/// Which files are written.
#[derive(Clone, Debug, Default, Args)]
struct FileArgs {
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as an HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the latencies as a histogram log
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Write the latencies by percentile, as text
    #[arg(long, value_name = "FILE")]
    percentiles: Option<PathBuf>,
}

/// Shape of a floor.
#[derive(Clone, Debug, Args)]
struct ShapeArgs {
    /// Connections
    #[arg(long, value_parser = whole::<u32>(1..=100_000), default_value_t = 8)]
    connections: u32,
    /// Nodes [default: one per connection, 10000 with fewer than 100 connections]
    #[arg(long, value_parser = whole(1..=NODES_MAX))]
    nodes: Option<u32>,
    /// Frames per write
    #[arg(long, value_parser = whole::<u32>(1..=65_536), default_value_t = 64)]
    batch: u32,
    /// How long to measure each
    #[arg(long, value_parser = positive_duration, default_value = "10s")]
    duration: Duration,
}

impl ShapeArgs {
    fn nodes(&self) -> u32 {
        let few = if self.connections < RELAYS_MAX { NODES } else { 0 };
        self.nodes.unwrap_or(few).max(self.connections)
    }
}

#[derive(Clone, Debug, Args)]
struct FloorArgs {
    #[command(flatten)]
    shape: ShapeArgs,
    /// Frames out per connection [default: nodes per connection]
    #[arg(long, value_parser = whole::<u32>(1..=1_000_000))]
    outstanding: Option<u32>,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Clone, Debug, Args)]
struct CompareArgs {
    #[command(flatten)]
    shape: ShapeArgs,
    /// How often each is run; the report is that of the round with the median ratio
    #[arg(long, value_parser = whole::<u32>(1..=99), default_value_t = 3)]
    rounds: u32,
    /// A setting for the ResourceManager, section.key=value
    #[arg(long, value_parser = assignment, value_name = "KEY=VALUE")]
    rm_set: Vec<(String, String)>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Clone, Debug, Args)]
struct EchoArgs {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    pki_dir: PathBuf,
}

fn share(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok((share * 1e6).round() as u32),
        _ => Err("accepted is a number from 0 to 1".to_owned()),
    }
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    let accepted = Duration::from_millis(100)..=Duration::from_secs(7 * 86_400);
    if accepted.contains(&duration) { Ok(duration) } else { Err("accepted are 100ms to 168h".to_owned()) }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("accepted is section.key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn target(text: &str) -> Result<TargetKind, String> {
    match text {
        "spawn" => Ok(TargetKind::Spawn),
        "inprocess" => Ok(TargetKind::InProcess),
        address => resolve(address).map(TargetKind::Address).map_err(|reason| {
            format!(
                "{reason}; accepted are spawn, inprocess, or host:port of one that runs, such as rm.example:8031, with \
                 --certificate, --key and --ca"
            )
        }),
    }
}

/// The address `host:port` names. Of a name's addresses an IPv4 one, if it has any: a ResourceManager listens on one
/// unless told otherwise, and with datagrams nobody says that the wrong one was tried.
fn resolve(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = text.to_socket_addrs().map_err(|error| error.to_string())?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| "the name has no address".to_owned())
}

/// Parses the process's arguments, runs what they say, prints, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // Hidden: the ResourceManager itself, so that a run needs no other program. Same code as `heddle resourcemanager`.
    if std::env::args_os().nth(1).is_some_and(|word| word == "resourcemanager") {
        return match rm::end_with_parent() {
            Ok(()) => heddle::cli::main(),
            Err(_) => ExitCode::FAILURE,
        };
    }
    heddle::pki::install_crypto_provider();
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(LOST),
        Err(error) => {
            output::say(&format!("heddle-loadgen: {error:#}"));
            let is_unreachable =
                matches!(error.downcast_ref::<RunError>(), Some(RunError::Unreachable { .. }));
            ExitCode::from(if is_unreachable { UNREACHABLE } else { LOST })
        }
    }
}

fn run(cli: Cli) -> Result<bool> {
    match cli.command {
        None => run::run(run::RunArgs { trace: None, cluster: cli.cluster }, true),
        Some(Command::Run(args)) => run::run(*args, false),
        Some(Command::Simulate(args)) => simulate::run(&args),
        Some(Command::Allocate(args)) => allocate::run(&args),
        Some(Command::Heartbeat(args)) => heartbeat::run(*args),
        Some(Command::Floor(args)) => run_floor(&args),
        Some(Command::Compare(args)) => heartbeat::compare(&args),
        Some(Command::Trace(command)) => trace::run(&command),
        Some(Command::Echo(args)) => {
            rm::end_with_parent()?;
            let file = |name: &str| args.pki_dir.join(name);
            let identity = Identity::load(
                &file("resourcemanager.pem"),
                &file("resourcemanager.key"),
                &file(heddle::pki::CA_CERTIFICATE_FILE),
            )?;
            floor::serve(args.listen, &identity)?;
            Ok(true)
        }
    }
}

fn run_floor(args: &FloorArgs) -> Result<bool> {
    let shape = &args.shape;
    let outstanding = args.outstanding.unwrap_or_else(|| shape.nodes().div_ceil(shape.connections));
    let spec = FloorSpec {
        connections: shape.connections,
        batch: shape.batch,
        outstanding,
        duration: shape.duration,
    };
    let pki = rm::EphemeralPki::create()?;
    let mut echo = rm::spawn_echo(rm::free_address()?, pki.directory())?;
    output::say(&format!("floor: {} connections, {outstanding} frames out on each", shape.connections));
    let outcome = floor::run(&spec, &pki.nodes()?, &mut echo).context("the floor could not be measured")?;
    give_floor(&spec, &outcome, &args.files)?;
    Ok(true)
}

fn give_floor(spec: &FloorSpec, outcome: &FloorOutcome, files: &FileArgs) -> Result<()> {
    let report = Report::of_floor(spec, outcome, output::command_line(), output::now());
    // One slice: the echo's latencies are not told apart by time.
    let slices = [Slice { index: 0, latencies: outcome.latencies.clone() }];
    let hlog = Hlog {
        what: output::ECHOES,
        slices: &slices,
        series: None,
        base: outcome.began,
        slice: outcome.measured,
    };
    output::give(&report, files, &outcome.latencies, &hlog)
}

#[cfg(test)]
mod tests;

//! `simulate`: a trace or scenario in virtual time, with the ResourceManager's own engine and without network.
//! Owns: its flags, how a trace becomes a simulation, the form of the answer. Called by: [`super::run`]. Thread: main.
//! Does not: simulate. Invariant: what goes to standard output and to files is a function of trace, flags and seed; how long
//! it took is said on standard error only.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use heddle::config::{ConfigSources, RmConfig};
use serde::Serialize;

use super::run::settings_of;
use super::{FileArgs, NODES, NODES_MAX, output, share, whole};
use crate::driver::{RunOutcome, RunSpec, latency_histogram, parse_duration};
use crate::fleet::Capacities;
use crate::proc::Machine;
use crate::report::{Report, percentile_text, time_text};
use crate::simulate::{BEGIN_MS, SimulationOutcome, SimulationSpec, Waiting, simulate};
use crate::workload::{ApplicationSpec, DEFAULT_SCENARIO, Format, ReadOptions, Workload};
use crate::{hlog, html};

/// Reasons named in the words for people.
const REASONS_MAX: usize = 10;

/// What is simulated, and what of it is told.
#[derive(Clone, Debug, Args)]
pub(super) struct SimulateArgs {
    /// A trace of any format, or a scenario [default: the bundled scenario]
    #[arg(value_name = "TRACE")]
    trace: Option<PathBuf>,
    /// The trace's format [default: by its name and its beginning]
    #[arg(long)]
    format: Option<Format>,
    /// Nodes [default: those of the trace, or 10000]
    #[arg(long, value_parser = whole(1..=NODES_MAX))]
    nodes: Option<u32>,
    /// What the nodes are: an SLS node file, a Rumen topology, a scenario, or CSV with the header sn,cpu_milli,memory_mib,gpu,model
    #[arg(long, value_name = "FILE")]
    nodes_from: Option<PathBuf>,
    /// Seed of everything random
    #[arg(long, value_parser = whole::<u64>(0..=u64::MAX), default_value_t = 1)]
    seed: u64,
    /// capacity-scheduler.xml or TOML [default: the queues of the trace]
    #[arg(long, value_name = "FILE")]
    queues: Option<PathBuf>,
    /// Ends after so much of the trace's time, for example 90m or 30d [default: when every application has ended]
    #[arg(long, value_parser = trace_time)]
    until: Option<Duration>,
    /// At most so many applications of the trace, the first ones
    #[arg(long, value_parser = whole::<usize>(1..=usize::MAX))]
    applications: Option<usize>,
    /// Share of allocate calls that take part of an ask back until the next call, 0 to 1
    #[arg(long, value_parser = share, default_value = "0")]
    cancel: u32,
    /// Form of the answer
    #[arg(short, long, default_value = "table")]
    output: Form,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Json,
}

/// Traces take days, which other durations of the command line do not.
fn trace_time(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|number| number.parse::<f64>().ok());
    let duration = match days {
        Some(days) => Duration::try_from_secs_f64(days * 86_400.0).map_err(|error| error.to_string())?,
        None => parse_duration(text).map_err(|error| error.to_string())?,
    };
    if (Duration::from_millis(1)..=Duration::from_secs(36_600 * 86_400)).contains(&duration) {
        Ok(duration)
    } else {
        Err("accepted are 1ms to 36600d".to_owned())
    }
}

/// The report with what only a simulation knows.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// What waited at the end, by reason.
    waiting: &'a [Waiting],
}

/// Reads trace, nodes and queues.
fn spec_of(args: &SimulateArgs) -> Result<(SimulationSpec, Vec<String>)> {
    let options = ReadOptions { format: args.format, seed: Some(args.seed), nodes: args.nodes_from.clone() };
    let mut workload = match &args.trace {
        Some(path) => Workload::read(path, &options)?,
        None => Workload::from_text("default-scenario.toml", DEFAULT_SCENARIO, &options)?,
    };
    workload.applications.truncate(args.applications.unwrap_or(usize::MAX));
    let until_ms = args.until.map_or(u64::MAX, |until| u64::try_from(until.as_millis()).unwrap_or(u64::MAX));
    workload.applications.retain(|spec| spec.submit_ms <= until_ms);
    if workload.applications.is_empty() {
        bail!("the trace has no applications");
    }
    let listed = workload.nodes.as_deref().and_then(Capacities::of_nodes);
    let count = listed.as_ref().map_or(NODES, |list| u32::try_from(list.len()).unwrap_or(NODES_MAX));
    let applications: Arc<[Arc<ApplicationSpec>]> =
        workload.applications.iter().map(|spec| Arc::new(spec.clone())).collect();
    let mut spec = SimulationSpec {
        applications,
        nodes: args.nodes.unwrap_or(count),
        capacities: listed.unwrap_or_default(),
        scheduler: Default::default(),
        manager: Default::default(),
        cancel_ppm: args.cancel,
        until: args.until,
        seed: args.seed,
    };
    configure(&mut spec, &workload, args.queues.as_deref())?;
    Ok((spec, workload.notices))
}

/// The same settings as those of a ResourceManager that `run` starts for the trace.
fn configure(spec: &mut SimulationSpec, workload: &Workload, queues: Option<&Path>) -> Result<()> {
    let directory = tempfile::TempDir::with_prefix("heddle-loadgen-").context("cannot make a directory")?;
    let like_run = spec.as_run();
    let settings = settings_of(workload, &like_run, queues, directory.path())?;
    let flags = settings.into_iter().map(|(key, value)| (key, value, "--queues")).collect();
    let config = RmConfig::load(&ConfigSources { flags, ..ConfigSources::default() })?;
    spec.scheduler = config.scheduler_settings(BEGIN_MS);
    spec.manager = config.application_settings(BEGIN_MS);
    Ok(())
}

/// `simulate`.
pub(super) fn run(args: &SimulateArgs) -> Result<bool> {
    let (spec, notices) = spec_of(args).unwrap_or_else(|error| output::refuse(&error));
    notices.iter().for_each(|text| output::say(&format!("note: {text}")));
    let began = Instant::now();
    let SimulationOutcome { run, spec: like_run, waiting, notices, steps } = simulate(&spec);
    let took = began.elapsed();
    let report = report_of(args, &like_run, &run, &notices);
    give(args, &report, &waiting, &run)?;
    output::say(&format!(
        "simulated {} in {:.2} s: {steps} moments at which something happened",
        time_text(run.measured.as_secs_f64() * 1e3),
        took.as_secs_f64()
    ));
    Ok(report.is_good())
}

fn report_of(args: &SimulateArgs, spec: &RunSpec, run: &RunOutcome, notices: &[String]) -> Report {
    let ended_ms = i64::try_from(u128::from(BEGIN_MS) + run.measured.as_millis()).unwrap_or(i64::MAX);
    let ended = jiff::Timestamp::from_millisecond(ended_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let ended = ended.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut report = Report::of_run(spec, run, false, command(args), ended);
    // Nothing of a machine is in the numbers.
    report.machine = Machine {
        cpus: 0,
        cpu_model: "virtual time".to_owned(),
        memory_bytes: 0,
        system: "simulation".to_owned(),
    };
    "none".clone_into(&mut report.interval);
    report.limited_by = None;
    report.errors.extend(notices.iter().cloned());
    report
}

/// What gives the same answer again: without names of files it is written to.
fn command(args: &SimulateArgs) -> String {
    let mut words = vec!["heddle-loadgen".to_owned(), "simulate".to_owned()];
    words.extend(args.trace.iter().map(|path| path.display().to_string()));
    let mut flag = |name: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|value| [format!("--{name}"), value]));
    };
    flag("format", args.format.map(|format| format.to_string()));
    flag("nodes", args.nodes.map(|nodes| nodes.to_string()));
    flag("nodes-from", args.nodes_from.as_ref().map(|path| path.display().to_string()));
    flag("seed", Some(args.seed.to_string()));
    flag("queues", args.queues.as_ref().map(|path| path.display().to_string()));
    flag("until", args.until.map(|until| format!("{}ms", until.as_millis())));
    flag("applications", args.applications.map(|count| count.to_string()));
    flag("cancel", (args.cancel > 0).then(|| (f64::from(args.cancel) / 1e6).to_string()));
    words.join(" ")
}

fn give(args: &SimulateArgs, report: &Report, waiting: &[Waiting], run: &RunOutcome) -> Result<()> {
    let json = || -> Result<String> { Ok(serde_json::to_string_pretty(&Answer { report, waiting })? + "\n") };
    let text = match args.output {
        Form::Json => json()?,
        Form::Table => format!("{}\n{}\n", table(report), report.verdict()),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    waiting.iter().take(REASONS_MAX).for_each(|waiting| output::say(&format!("note: {waiting}")));
    report.errors.iter().for_each(|text| output::say(&format!("note: {text}")));
    let files = &args.files;
    let series = run.applications.as_ref().map(|(_, series)| series);
    let none = latency_histogram();
    // What percentiles are asked of here: how long asks waited.
    let waits = series.map_or(&none, |series| &series.ask_to_grant.latencies);
    let percentiles = percentile_text(waits);
    if let Some(path) = &files.json {
        write(path, json()?.as_bytes())?;
    }
    if let Some(path) = &files.html {
        write(path, html::page(report, &none, series, &percentiles)?.as_bytes())?;
    }
    if let Some(path) = &files.hlog {
        let mut bytes = Vec::new();
        let base = SystemTime::UNIX_EPOCH + Duration::from_millis(BEGIN_MS);
        hlog::write(&mut bytes, "Heddle in virtual time: waits", &run.slices, series, base, run.slice)?;
        write(path, &bytes)?;
    }
    if let Some(path) = &files.percentiles {
        write(path, percentiles.as_bytes())?;
    }
    Ok(())
}

/// Lines of the table about what takes no time in virtual time.
const INSTANT: [&str; 2] = ["allocate p50 / p99 / p99.9", "container start p50 / p99 / p99.9"];

/// The table without what is about beats: there are none.
fn table(report: &Report) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    let mut row = |name: &str, value: String| {
        let value = comfy_table::Cell::new(value).set_alignment(comfy_table::CellAlignment::Right);
        table.add_row([comfy_table::Cell::new(name), value]);
    };
    row("nodes", report.nodes.to_string());
    row("virtual time", time_text(report.duration_s * 1e3));
    row("containers started", report.containers_started.to_string());
    let lines = report.applications.as_ref().map(|applications| applications.lines()).unwrap_or_default();
    let told = lines.into_iter().filter(|(name, _)| !INSTANT.contains(name));
    told.for_each(|(name, value)| row(name, value));
    table.to_string()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    output::say(&format!("wrote {}", path.display()));
    Ok(())
}

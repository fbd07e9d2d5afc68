//! `heddle-loadgen trace`: what is in a trace, the same in another form, the queues it needs.
//! Owns: flags and tables of these commands. Called by: `cli`. Thread: main. Does not: read formats or add up.
//! Invariant: a trace streams by, so that one larger than memory is inspected and converted as well.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::{output, whole};
use crate::report::time_text;
use crate::workload::summary::{Summary, Sums};
use crate::workload::{DEFAULT_SCENARIO, Format, QueueTreeSpec, ReadOptions, WorkloadReader, export};

/// Rows of one table; the rest is one line.
const ROWS_MAX: usize = 20;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum TraceCommand {
    /// What is in a trace: applications, tasks, resources, times, users, queues.
    Inspect(InspectArgs),
    /// The same applications in another form, to standard output.
    Convert(ConvertArgs),
    /// A queue file with every queue the trace needs, to standard output.
    Queues(TraceArgs),
}

/// Which trace, and how it is read.
#[derive(Clone, Debug, Args)]
pub(super) struct TraceArgs {
    /// The trace [default: the scenario that a run without arguments plays]
    file: Option<PathBuf>,
    /// Its format [default: by its name and its beginning]
    #[arg(long)]
    format: Option<Format>,
    /// Its nodes: an SLS node file, a Rumen topology, a scenario, or CSV with the header sn,cpu_milli,memory_mib,gpu,model
    #[arg(long, value_name = "FILE")]
    nodes_from: Option<PathBuf>,
    /// Seed of what the trace leaves to chance [default: its own]
    #[arg(long, value_parser = whole::<u64>(0..=u64::MAX))]
    seed: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    trace: TraceArgs,
    /// Form of the answer
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ConvertArgs {
    #[command(flatten)]
    trace: TraceArgs,
    /// Form of the result
    #[arg(long)]
    to: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The Scheduler Load Simulator's JSON; what is drawn is drawn
    Sls,
}

impl TraceArgs {
    fn open(&self) -> Result<WorkloadReader> {
        let options = ReadOptions { format: self.format, seed: self.seed, nodes: self.nodes_from.clone() };
        Ok(match &self.file {
            Some(path) => WorkloadReader::open(path, &options)?,
            None => WorkloadReader::from_text("default-scenario.toml", DEFAULT_SCENARIO, &options)?,
        })
    }

    fn name(&self) -> String {
        self.file
            .as_ref()
            .map_or_else(|| "the default scenario".to_owned(), |path| path.display().to_string())
    }
}

pub(super) fn run(command: &TraceCommand) -> Result<bool> {
    match command {
        TraceCommand::Inspect(args) => inspect(args),
        TraceCommand::Convert(args) => convert(args),
        TraceCommand::Queues(args) => queues(args),
    }?;
    Ok(true)
}

/// Writes, and ends quietly when nobody listens any more.
fn give(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let result = write(&mut out).and_then(|()| Ok(out.flush()?));
    let is_closed = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    match result {
        Err(error) if !is_closed(&error) => Err(error),
        _ => Ok(()),
    }
}

fn inspect(args: &InspectArgs) -> Result<()> {
    let mut reader = args.trace.open()?;
    let nodes = reader.nodes.take();
    let summary = Summary::of(nodes.as_deref(), reader.by_ref())?;
    if summary.total.applications == 0 {
        anyhow::bail!("{}: there are no applications in it", args.trace.name());
    }
    let text = match args.output {
        Output::Json => {
            let mut json = serde_json::to_value(&summary)?;
            json["format"] = reader.format.name().into();
            json["notices"] = reader.notices().into();
            serde_json::to_string_pretty(&json)? + "\n"
        }
        Output::Table => text(&args.trace.name(), reader.format, &summary),
    };
    give(|out| Ok(out.write_all(text.as_bytes())?))?;
    reader.notices().iter().for_each(|text| output::say(&format!("note: {text}")));
    Ok(())
}

fn convert(args: &ConvertArgs) -> Result<()> {
    let reader = args.trace.open()?;
    let Target::Sls = args.to;
    give(|out| {
        for spec in reader {
            serde_json::to_writer(&mut *out, &export::sls_job(&spec?))?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

fn queues(args: &TraceArgs) -> Result<()> {
    let mut reader = args.open()?;
    let tree = match reader.queues.take() {
        Some(tree) => tree,
        None => {
            let mut names = std::collections::BTreeSet::new();
            for spec in reader {
                names.insert(spec?.queue);
            }
            QueueTreeSpec::of_names(names.iter().map(|name| &**name))
        }
    };
    give(|out| Ok(out.write_all(tree.toml.as_bytes())?))
}

/// MiB as people say them.
fn memory(mb: f64) -> String {
    match mb {
        mb if mb < 10_240.0 => format!("{mb:.0} MiB"),
        mb if mb < 10_240.0 * 1_024.0 => format!("{:.1} GiB", mb / 1_024.0),
        mb => format!("{:.1} TiB", mb / (1_024.0 * 1_024.0)),
    }
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn by_name(what: &str, sums: &BTreeMap<String, Sums>, total: &Sums) -> String {
    let mut rows: Vec<(&String, &Sums)> = sums.iter().collect();
    // Most work first; the same by name.
    rows.sort_by(|(_, a), (_, b)| b.core_hours.total_cmp(&a.core_hours));
    let mut table = plain(&[what, "applications", "tasks", "core hours", "share"]);
    let share =
        |sums: &Sums| if total.core_hours > 0.0 { 100.0 * sums.core_hours / total.core_hours } else { 0.0 };
    for (name, sums) in rows.iter().take(ROWS_MAX) {
        table.add_row([
            crate::workload::error::cut(name),
            sums.applications.to_string(),
            sums.tasks.to_string(),
            format!("{:.1}", sums.core_hours),
            format!("{:.1} %", share(sums)),
        ]);
    }
    let more = rows.len().saturating_sub(ROWS_MAX);
    let more = if more > 0 { format!("and {more} more\n") } else { String::new() };
    format!("\n{}\n{more}", table.trim_fmt())
}

fn text(name: &str, format: Format, summary: &Summary) -> String {
    let total = &summary.total;
    let mut table = plain(&["trace", name]);
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    let span = summary.last_submit_ms.unwrap_or(0) - summary.first_submit_ms.unwrap_or(0);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("format", format.to_string());
    row("applications", format!("{} within {}", total.applications, time_text(span as f64)));
    row(
        "tasks",
        format!("{} in {} groups, {} of them with places", total.tasks, summary.groups, summary.local_groups),
    );
    row(
        "a task takes",
        format!(
            "{} on average, {} at most",
            time_text(summary.mean_task_ms),
            time_text(summary.longest_task_ms as f64)
        ),
    );
    row(
        "largest container",
        format!("{}, {} cores", memory(summary.largest_memory_mb as f64), summary.largest_vcores),
    );
    row("work", format!("{:.1} core hours", total.core_hours));
    for (name, hours) in &total.other_hours {
        row("", format!("{hours:.1} hours of {name}"));
    }
    // A trace that is shorter than its tasks has no steady state to speak of.
    let is_long = span > 0 && span as f64 >= summary.mean_task_ms;
    if is_long {
        row("mean demand", format!("{:.0} cores, {}", summary.mean_vcores, memory(summary.mean_memory_mb)));
    }
    if summary.nodes > 0 {
        row("nodes", format!("{} in {} racks", summary.nodes, summary.racks));
        row(
            "they offer",
            format!("{} cores, {}", summary.nodes_vcores, memory(summary.nodes_memory_mb as f64)),
        );
        for (name, value) in &summary.nodes_other {
            row("", format!("{value} of {name}"));
        }
        if is_long {
            let share = |part: f64, whole: u64| 100.0 * part / whole.max(1) as f64;
            row(
                "of that wanted",
                format!(
                    "{:.1} % of the cores, {:.1} % of the memory",
                    share(summary.mean_vcores, summary.nodes_vcores),
                    share(summary.mean_memory_mb, summary.nodes_memory_mb)
                ),
            );
        }
    }
    format!(
        "{}\n{}{}{}",
        table.trim_fmt(),
        by_name("queue", &summary.queues, total),
        by_name("user", &summary.users, total),
        by_name("type", &summary.types, total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_in_a_trace() {
        let args = TraceArgs { file: None, format: None, nodes_from: None, seed: None };
        let mut reader = args.open().unwrap();
        let nodes = reader.nodes.take();
        let summary = Summary::of(nodes.as_deref(), reader.by_ref().take(4_000)).unwrap();
        let text = text("x", reader.format, &summary);
        for expected in ["10000 in 250 racks", "320000 cores", "SPARK", "and 80 more", "scenario"] {
            assert!(text.contains(expected), "{text} should contain {expected:?}");
        }
        assert!(text.lines().all(|line| line.chars().count() < 110), "{text}");
    }

    #[test]
    fn amounts_are_said_as_people_say_them() {
        assert_eq!(
            [memory(1_536.0), memory(131_072.0), memory(1.5e9)],
            ["1536 MiB", "128.0 GiB", "1430.5 TiB"]
        );
    }
}

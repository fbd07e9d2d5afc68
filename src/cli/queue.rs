//! `heddle queue`: what a queue file says, and what is wrong with it; below it the queues of a running ResourceManager.
//! Owns: the report of a file. Called by: `cli::main`. Thread: main. Does not: judge queues (`config` does).
//! Invariant: the same file gives the same report, whatever Heddle's own configuration and environment say.

mod live;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::error::{CliError, Exit};
use super::number::whole;
use super::output::{self, Format};
use crate::config::{ConfigSources, ConfigWarning, QueueReading, RmConfig};
use crate::engine::scheduler::capacity::{CapacityRules, EffectiveCapacity};
use crate::engine::scheduler::limits::{max_applications, max_applications_per_user};
use crate::engine::scheduler::resource::{ResourceTypes, ResourceVector};
use crate::engine::scheduler::settings::{
    ApplicationOrder, Calculator, Capacity, MaximumCapacity, QueueOrder, QueueSettings, QueueState,
    QueueTree, SchedulerSettings,
};

/// `heddle queue …`
#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List a queue and all below it: shares, use, applications.
    List(live::ListArgs),
    /// All there is to know about a queue, partition by partition.
    Status(live::StatusArgs),
    /// Show what a queue file means, and everything that is wrong or has no effect. Exit code 1 if it would be refused.
    Validate(ValidateArgs),
}

/// `heddle queue validate`
#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// capacity-scheduler.xml, or a queue file in TOML (.toml).
    file: PathBuf,
    /// The yarn-site.xml it belongs to: largest container, resource types, labels.
    #[arg(long, value_name = "FILE")]
    yarn_site: Option<PathBuf>,
    /// Memory of the cluster, MiB: shows guarantees and bounds as amounts.
    #[arg(long, value_name = "MIB", value_parser = whole(0..=u64::MAX), requires = "vcores")]
    memory: Option<u64>,
    /// Virtual cores of the cluster.
    #[arg(long, value_name = "COUNT", value_parser = whole(0..=u64::MAX), requires = "memory")]
    vcores: Option<u64>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl QueueCommand {
    pub(super) fn format(&self) -> Format {
        match self {
            Self::List(args) => args.format(),
            Self::Status(args) => args.format(),
            Self::Validate(args) => args.output,
        }
    }
}

/// Runs the command.
pub(super) fn run(command: QueueCommand) -> Result<(), CliError> {
    match command {
        QueueCommand::List(args) => live::list(&args),
        QueueCommand::Status(args) => live::status(&args),
        QueueCommand::Validate(args) => validate(&args),
    }
}

fn validate(args: &ValidateArgs) -> Result<(), CliError> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut flags = vec![("scheduler.queues_file".to_owned(), text(&args.file), "FILE")];
    if let Some(site) = &args.yarn_site {
        flags.push(("scheduler.yarn_site".to_owned(), text(site), "--yarn-site"));
    }
    // For ${env.…}; Heddle's own variables are another matter.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !name.starts_with("HEDDLE_"));
    let sources = ConfigSources { file: None, environment: environment.collect(), flags };
    let (config, reading) = RmConfig::examine(&sources);
    let settings =
        config.map_or_else(|_| SchedulerSettings::default(), |config| config.scheduler_settings(0));
    let size = args.memory.zip(args.vcores).map(|(memory, vcores)| ResourceVector::new(memory, vcores));
    let report = Report::new(&reading, &settings, size);
    let print = match args.output {
        Format::Json => output::print_json(&report.json(&args.file)),
        Format::Table => output::print(&report.text()),
    };
    print?;
    let summary = format!(
        "{}: {}, {}",
        args.file.display(),
        count(reading.errors.len(), "error"),
        count(reading.warnings.len(), "warning")
    );
    match (reading.errors.is_empty(), args.output) {
        (false, _) => Err(CliError::new(Exit::Failed, summary)),
        (true, Format::Json) => Ok(()),
        (true, Format::Table) => output::print(&output::plain(&summary)),
    }
}

fn count(number: usize, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

struct Report<'a> {
    reading: &'a QueueReading,
    settings: &'a SchedulerSettings,
    /// Size of the cluster, where it was given.
    size: Option<ResourceVector>,
    /// What each queue may count on, by partition; the default one, `""`, first.
    effective: BTreeMap<&'a str, Vec<EffectiveCapacity>>,
}

impl<'a> Report<'a> {
    fn new(reading: &'a QueueReading, settings: &'a SchedulerSettings, size: Option<ResourceVector>) -> Self {
        // Without a size the shares are right all the same, except those of amounts, which are not shown then.
        let total = size.clone().unwrap_or_else(|| ResourceVector::new(1 << 40, 1 << 40));
        let partitions: BTreeSet<&str> = reading
            .tree
            .queues
            .iter()
            .flat_map(|queue| queue.capacities.keys())
            .map(|label| &**label)
            .collect();
        let effective = |partition: &str| {
            let rules = CapacityRules::new(&reading.tree, partition);
            rules.effective(settings.calculator, &total, &settings.minimum_allocation)
        };
        let effective = partitions.into_iter().map(|partition| (partition, effective(partition))).collect();
        Self { reading, settings, size, effective }
    }

    fn tree(&self) -> &QueueTree {
        &self.reading.tree
    }

    /// Whether the share of the cluster is known.
    fn is_share_known(&self, queue: usize, partition: &str) -> bool {
        let index = u32::try_from(queue).unwrap_or(u32::MAX);
        let is_amount = |queue: &QueueSettings| {
            queue
                .capacities
                .get(partition)
                .is_some_and(|share| matches!(share.capacity, Capacity::Absolute(_)))
        };
        self.size.is_some() || !self.tree().path(index).any(|(_, queue)| is_amount(queue))
    }

    fn is_bound_known(&self, queue: usize, partition: &str) -> bool {
        let index = u32::try_from(queue).unwrap_or(u32::MAX);
        let is_amount = |queue: &QueueSettings| {
            queue
                .capacities
                .get(partition)
                .is_some_and(|share| matches!(share.maximum, MaximumCapacity::Absolute(_)))
        };
        self.size.is_some() || !self.tree().path(index).any(|(_, queue)| is_amount(queue))
    }

    /// Most applications of a leaf, and of one user in it.
    fn applications(&self, index: usize, queue: &QueueSettings) -> Option<(u32, u32)> {
        if !queue.is_leaf || !self.is_share_known(index, "") {
            return None;
        }
        let of_partitions = self.effective.values().filter_map(|queues| queues.get(index));
        let shares = of_partitions.map(|effective| effective.absolute_capacity);
        let most = max_applications(self.tree(), queue, shares);
        Some((most, max_applications_per_user(queue, most)))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Of a file that could not be read there are no queues to show, whatever those of no file are.
        let shown = if self.reading.is_read { Some(&self.effective) } else { None };
        for (partition, effective) in shown.into_iter().flatten() {
            if !partition.is_empty() {
                text.push_str(&format!("\n\nLabel {}\n", output::plain(partition)));
            }
            text.push_str(&self.table(partition, effective));
        }
        if !self.reading.errors.is_empty() {
            text.push_str("\n\nErrors\n");
            for error in &self.reading.errors {
                text.push_str(&format!("  {}\n", output::plain(&error.to_string())));
            }
        }
        if !self.reading.warnings.is_empty() {
            text.truncate(text.trim_end().len());
            text.push_str("\n\nWarnings\n");
            text.push_str(&warnings(&self.reading.warnings));
        }
        text.trim().to_owned()
    }

    fn table(&self, partition: &str, effective: &[EffectiveCapacity]) -> String {
        let is_default = partition.is_empty();
        let mut headings = vec!["Queue", "Capacity", "Of cluster", "At most"];
        headings.extend(self.size.is_some().then_some(["Guaranteed", "Maximum"]).into_iter().flatten());
        if is_default {
            headings.extend(["State", "Apps", "Per user", "User limit", "AM share", "Order"]);
        }
        let mut table = output::table(&headings);
        for (index, (queue, effective)) in self.tree().queues.iter().zip(effective).enumerate() {
            let share = queue.capacities.get(partition);
            if !is_default && share.is_none() {
                continue;
            }
            let known = |is_known: bool, share: f64| if is_known { percent(share) } else { "-".to_owned() };
            let types = &self.settings.resource_types;
            let mut row = vec![
                output::plain(&queue.path),
                share.map_or_else(|| "0 %".to_owned(), |share| capacity(&share.capacity, types)),
                known(self.is_share_known(index, partition), effective.absolute_capacity),
                known(self.is_bound_known(index, partition), effective.absolute_maximum_capacity),
            ];
            if self.size.is_some() {
                row.push(amounts(&effective.effective_min, types, self.settings.calculator));
                row.push(amounts(&effective.effective_max, types, self.settings.calculator));
            }
            if is_default {
                let applications = self.applications(index, queue);
                let number =
                    |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
                row.push(state(queue.state).to_owned());
                row.push(number(applications.map(|(most, _)| most)));
                row.push(number(applications.map(|(_, of_user)| of_user)));
                row.push(if queue.is_leaf { user_limit(queue) } else { String::new() });
                row.push(share.filter(|_| queue.is_leaf).map_or_else(String::new, |share| {
                    percent(output::as_written(share.maximum_am_resource_percent))
                }));
                row.push(order(queue).to_owned());
            }
            table.add_row(row);
        }
        output::lines(&table)
    }

    fn json(&self, file: &Path) -> Value {
        let types = &self.settings.resource_types;
        let shown = if self.reading.is_read { &*self.tree().queues } else { &[] };
        let queues = shown.iter().enumerate().map(|(index, queue)| {
            let partitions = queue.capacities.iter().map(|(label, share)| {
                let effective = self.effective.get(&**label).and_then(|all| all.get(index));
                let of = |is_known: bool, share: Option<f64>| share.filter(|_| is_known);
                let amount = |vector: Option<&ResourceVector>| {
                    self.size.as_ref().and(vector).map(|vector| json_amounts(vector, types))
                };
                let value = json!({
                    "capacity": capacity(&share.capacity, types),
                    "maximum_capacity": maximum(&share.maximum, types),
                    "absolute_capacity":
                        of(self.is_share_known(index, label), effective.map(|one| one.absolute_capacity)),
                    "absolute_maximum_capacity":
                        of(self.is_bound_known(index, label), effective.map(|one| one.absolute_maximum_capacity)),
                    "guaranteed": amount(effective.map(|one| &one.effective_min)),
                    "maximum": amount(effective.map(|one| &one.effective_max)),
                    "maximum_am_resource_percent": output::as_written(share.maximum_am_resource_percent),
                });
                (label.to_string(), value)
            });
            let applications = self.applications(index, queue);
            json!({
                "path": queue.path,
                "is_leaf": queue.is_leaf,
                "state": state(queue.state),
                "partitions": partitions.collect::<Map<_, _>>(),
                "accessible_node_labels": queue.accessible_node_labels,
                "maximum_applications": applications.map(|(most, _)| most),
                "maximum_applications_per_user": applications.map(|(_, of_user)| of_user),
                "minimum_user_limit_percent": output::as_written(queue.minimum_user_limit_percent),
                "user_limit_factor": queue.user_limit_factor.map(output::as_written),
                "ordering_policy": order(queue),
                "priority": queue.priority,
            })
        });
        let errors = self.reading.errors.iter().map(|error| Value::String(error.to_string()));
        let warnings = self.reading.warnings.iter().map(|warning| {
            json!({
                "key": warning.key,
                "value": warning.value,
                "origin": warning.origin.to_string(),
                "text": warning.text,
            })
        });
        json!({
            "file": file.to_string_lossy(),
            "is_valid": self.reading.errors.is_empty(),
            "queues": queues.collect::<Vec<_>>(),
            "errors": errors.collect::<Vec<_>>(),
            "warnings": warnings.collect::<Vec<_>>(),
        })
    }
}

/// Warnings by what is said, so that thirty keys with one reason are read once.
fn warnings(warnings: &[ConfigWarning]) -> String {
    let mut by_text: Vec<(&str, Vec<&ConfigWarning>)> = Vec::new();
    for warning in warnings {
        match by_text.iter_mut().find(|(text, _)| *text == warning.text) {
            Some((_, same)) => same.push(warning),
            None => by_text.push((&warning.text, vec![warning])),
        }
    }
    let mut lines = String::new();
    for (text, same) in by_text {
        for warning in same {
            let line = format!("{}  {} = {:?}", warning.origin, warning.key, warning.value);
            lines.push_str(&format!("  {}\n", output::plain(&line)));
        }
        lines.push_str(&format!("      {}\n", output::plain(text)));
    }
    lines
}

fn capacity(capacity: &Capacity, types: &ResourceTypes) -> String {
    match capacity {
        Capacity::Percent(number) => format!("{number} %"),
        Capacity::Weight(number) => format!("{number}w"),
        Capacity::Absolute(amount) => amounts(amount, types, Calculator::Dominant),
    }
}

fn maximum(maximum: &MaximumCapacity, types: &ResourceTypes) -> String {
    match maximum {
        MaximumCapacity::Percent(number) => format!("{number} %"),
        MaximumCapacity::Absolute(amount) => amounts(amount, types, Calculator::Dominant),
    }
}

/// `memory-mb=1024,vcores=2`; what is not bounded is left out, and what does not count as well.
fn amounts(vector: &ResourceVector, types: &ResourceTypes, calculator: Calculator) -> String {
    let parts = types
        .types()
        .iter()
        .enumerate()
        .filter(|(index, _)| calculator.counts(*index))
        .map(|(index, kind)| (vector.get(index), &kind.name))
        .filter(|(amount, _)| *amount != u64::MAX)
        .map(|(amount, name)| format!("{name}={amount}"));
    output::plain(&parts.collect::<Vec<_>>().join(","))
}

fn json_amounts(vector: &ResourceVector, types: &ResourceTypes) -> Value {
    let amounts = types.types().iter().enumerate();
    Value::Object(amounts.map(|(index, kind)| (kind.name.to_string(), json!(vector.get(index)))).collect())
}

/// A share as a percentage of at most 2 places.
fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn user_limit(queue: &QueueSettings) -> String {
    let least = queue.minimum_user_limit_percent;
    match queue.user_limit_factor {
        Some(factor) => format!("{least} %, at most {factor}x"),
        None => format!("{least} %"),
    }
}

const fn state(state: QueueState) -> &'static str {
    match state {
        QueueState::Running => "RUNNING",
        QueueState::Stopped => "STOPPED",
    }
}

const fn order(queue: &QueueSettings) -> &'static str {
    if queue.is_leaf {
        match queue.application_order {
            ApplicationOrder::Fifo => "fifo",
            ApplicationOrder::Fair { size_based_weight: false } => "fair",
            ApplicationOrder::Fair { size_based_weight: true } => "fair by size",
        }
    } else {
        match queue.queue_order {
            QueueOrder::Utilization => "utilization",
            QueueOrder::PriorityUtilization => "priority-utilization",
        }
    }
}

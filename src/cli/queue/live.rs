//! `heddle queue list` and `status`: the queues of a running ResourceManager, in YARN's words.
//! Owns: their columns and lines. Called by: `queue`. Thread: main.
//! Does not: change queues; an administrator edits the file and refreshes. Invariant: every name passes `output::plain`.

use clap::Args;
use comfy_table::CellAlignment;
use heddle_wire::record::{QueueInfo, QueueState, Resource};
use serde_json::{Value, json};

use crate::cli::connection::ConnectionArgs;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{self, Format, as_written, plain};

/// Options of both.
#[derive(Debug, Args)]
struct Common {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `heddle queue list`
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// The queue whose children are listed, by path or name, itself first.
    #[arg(default_value = "root")]
    queue: String,
    #[command(flatten)]
    common: Common,
}

/// `heddle queue status`
#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    /// The queue, by path or name.
    queue: String,
    #[command(flatten)]
    common: Common,
}

impl ListArgs {
    pub(super) const fn format(&self) -> Format {
        self.common.output
    }
}

impl StatusArgs {
    pub(super) const fn format(&self) -> Format {
        self.common.output
    }
}

/// Runs `list`.
pub(super) fn list(args: &ListArgs) -> Result<(), CliError> {
    let queues = ask(&args.common, &args.queue, true)?;
    match args.common.output {
        Format::Json => output::print_json(&queues.iter().map(queue_json).collect::<Vec<_>>()),
        Format::Table => output::print(&list_text(&queues)),
    }
}

/// Runs `status`.
pub(super) fn status(args: &StatusArgs) -> Result<(), CliError> {
    let queues = ask(&args.common, &args.queue, false)?;
    let Some(queue) = queues.first() else { return Err(unknown(&args.queue)) };
    match args.common.output {
        Format::Json => output::print_json(&queue_json(queue)),
        Format::Table => output::print(&status_text(queue)),
    }
}

fn ask(common: &Common, queue: &str, with_those_below: bool) -> Result<Vec<QueueInfo>, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let mut client = common.connection.connect_application().await?;
        let result = client.queues(queue, with_those_below, with_those_below).await;
        client.close().await;
        let queues = result?;
        if queues.is_empty() { Err(unknown(queue)) } else { Ok(queues) }
    })
}

fn unknown(queue: &str) -> CliError {
    CliError::new(Exit::NotFound, format!("cannot get queue from RM by queueName = {queue}"))
        .with_hint("`heddle queue list` shows every queue")
}

const fn state(state: QueueState) -> &'static str {
    match state {
        QueueState::Stopped => "STOPPED",
        QueueState::Running => "RUNNING",
        QueueState::Draining => "DRAINING",
    }
}

fn percent(share: f32) -> String {
    format!("{:.2}%", share * 100.0)
}

/// Queues by percentage and amount have none.
fn weight(queue: &QueueInfo) -> String {
    if queue.weight < 0.0 { "-".to_owned() } else { format!("{:.2}", queue.weight) }
}

/// `<memory:8192, vCores:8, yarn.io/gpu:2>`, as YARN writes it.
fn resource(resource: &Resource) -> String {
    let extended =
        resource.extended.iter().map(|item| format!(", {}:{}{}", item.name, item.value, item.units));
    let extended: String = extended.collect();
    plain(&format!("<memory:{}, vCores:{}{extended}>", resource.memory_mb, resource.virtual_cores))
}

fn partition(name: &str) -> String {
    if name.is_empty() { "<DEFAULT_PARTITION>".to_owned() } else { plain(name) }
}

fn list_text(queues: &[QueueInfo]) -> String {
    let mut table = output::table(&[
        "Queue Path",
        "State",
        "Capacity",
        "Current Capacity",
        "Maximum Capacity",
        "Weight",
        "Running",
        "Pending",
        "Containers",
        "Waiting",
    ]);
    for queue in queues {
        let statistics = &queue.statistics;
        table.add_row(vec![
            plain(&queue.queue_path),
            state(queue.state).to_owned(),
            percent(queue.capacity),
            percent(queue.current_capacity),
            percent(queue.maximum_capacity),
            weight(queue),
            statistics.applications_running.to_string(),
            statistics.applications_pending.to_string(),
            statistics.allocated_containers.to_string(),
            statistics.pending_containers.to_string(),
        ]);
    }
    for column in 2..10 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let noun = if queues.len() == 1 { "queue was" } else { "queues were" };
    format!("{} {noun} found :\n{}", queues.len(), output::lines(&table))
}

fn status_text(queue: &QueueInfo) -> String {
    let is_disabled = |is_disabled: bool| if is_disabled { "disabled" } else { "enabled" };
    let statistics = &queue.statistics;
    let labels: Vec<String> = queue.accessible_node_labels.iter().map(|label| plain(label)).collect();
    let parallel = queue.max_parallel_applications.map_or("unlimited".to_owned(), |most| most.to_string());
    let lines = [
        ("Queue Name", plain(&queue.queue_name)),
        ("Queue Path", plain(&queue.queue_path)),
        ("State", state(queue.state).to_owned()),
        ("Capacity", percent(queue.capacity)),
        ("Current Capacity", percent(queue.current_capacity)),
        ("Maximum Capacity", percent(queue.maximum_capacity)),
        ("Weight", weight(queue)),
        ("Maximum Parallel Apps", parallel),
        ("Maximum Applications", queue.max_applications.to_string()),
        ("Ordering Policy", plain(&queue.ordering_policy)),
        ("Priority", queue.priority.to_string()),
        (
            "Default Node Label expression",
            partition(queue.default_node_label_expression.as_deref().unwrap_or_default()),
        ),
        ("Accessible Node Labels", labels.join(",")),
        ("Preemption", is_disabled(queue.is_preemption_disabled).to_owned()),
        ("Intra-queue Preemption", is_disabled(queue.is_intra_queue_preemption_disabled).to_owned()),
        ("Submitted Applications", statistics.applications_submitted.to_string()),
        ("Running Applications", statistics.applications_running.to_string()),
        ("Pending Applications", statistics.applications_pending.to_string()),
        ("Completed Applications", statistics.applications_completed.to_string()),
        ("Killed Applications", statistics.applications_killed.to_string()),
        ("Failed Applications", statistics.applications_failed.to_string()),
        ("Active Users", statistics.active_users.to_string()),
        ("Allocated Containers", statistics.allocated_containers.to_string()),
        ("Pending Containers", statistics.pending_containers.to_string()),
        ("Reserved Containers", statistics.reserved_containers.to_string()),
        ("Available", resource(&statistics.available)),
    ];
    let mut text = "Queue Information :".to_owned();
    for (name, value) in lines {
        text.push_str(&format!("\n\t{name} : {value}"));
    }
    let mut table = output::table(&[
        "Partition",
        "Used",
        "Share",
        "Reserved",
        "Pending",
        "Guaranteed",
        "Maximum",
        "ApplicationMasters",
    ]);
    for of in &queue.configurations {
        table.add_row(vec![
            partition(&of.partition_name),
            resource(&of.used),
            percent(of.absolute_used_capacity),
            resource(&of.reserved),
            resource(&of.pending),
            format!("{} {}", resource(&of.effective_min_capacity), percent(of.absolute_capacity)),
            format!("{} {}", resource(&of.effective_max_capacity), percent(of.absolute_max_capacity)),
            resource(&of.am_used),
        ]);
    }
    format!("{text}\n\n{}", output::lines(&table))
}

fn resource_json(resource: &Resource) -> Value {
    let extended = resource.extended.iter();
    let extended: Vec<Value> =
        extended.map(|item| json!({ "name": item.name, "value": item.value, "units": item.units })).collect();
    json!({ "memory_mb": resource.memory_mb, "virtual_cores": resource.virtual_cores, "extended": extended })
}

fn queue_json(queue: &QueueInfo) -> Value {
    let statistics = &queue.statistics;
    let configurations: Vec<Value> = queue
        .configurations
        .iter()
        .map(|of| {
            json!({
                "partition": of.partition_name,
                "capacity": as_written(of.capacity),
                "absolute_capacity": as_written(of.absolute_capacity),
                "maximum_capacity": as_written(of.max_capacity),
                "absolute_maximum_capacity": as_written(of.absolute_max_capacity),
                "absolute_used_capacity": as_written(of.absolute_used_capacity),
                "maximum_am_share": as_written(of.max_am_share),
                "guaranteed": resource_json(&of.effective_min_capacity),
                "maximum": resource_json(&of.effective_max_capacity),
                "used": resource_json(&of.used),
                "reserved": resource_json(&of.reserved),
                "pending": resource_json(&of.pending),
                "am_used": resource_json(&of.am_used),
            })
        })
        .collect();
    json!({
        "queue_name": queue.queue_name,
        "queue_path": queue.queue_path,
        "is_leaf": queue.is_leaf,
        "state": state(queue.state),
        "capacity": as_written(queue.capacity),
        "maximum_capacity": as_written(queue.maximum_capacity),
        "current_capacity": as_written(queue.current_capacity),
        "weight": as_written(queue.weight),
        "accessible_node_labels": queue.accessible_node_labels,
        "default_node_label_expression": queue.default_node_label_expression,
        "ordering_policy": queue.ordering_policy,
        "priority": queue.priority,
        "max_applications": queue.max_applications,
        "max_parallel_applications": queue.max_parallel_applications,
        "minimum_user_limit_percent": as_written(queue.minimum_user_limit_percent),
        "user_limit_factor": as_written(queue.user_limit_factor),
        "applications_submitted": statistics.applications_submitted,
        "applications_running": statistics.applications_running,
        "applications_pending": statistics.applications_pending,
        "applications_completed": statistics.applications_completed,
        "applications_killed": statistics.applications_killed,
        "applications_failed": statistics.applications_failed,
        "active_users": statistics.active_users,
        "allocated_containers": statistics.allocated_containers,
        "pending_containers": statistics.pending_containers,
        "reserved_containers": statistics.reserved_containers,
        "available": resource_json(&statistics.available),
        "partitions": configurations,
    })
}

#[cfg(test)]
mod tests {
    use heddle_wire::record::{QueueConfigurations, QueueStatistics};

    use super::*;

    fn queue() -> QueueInfo {
        QueueInfo {
            queue_name: "etl".into(),
            queue_path: "root.etl".into(),
            capacity: 0.4,
            maximum_capacity: 0.5,
            current_capacity: 1.25,
            weight: -1.0,
            state: QueueState::Draining,
            statistics: QueueStatistics {
                applications_submitted: 9,
                applications_running: 2,
                applications_pending: 1,
                applications_completed: 3,
                applications_killed: 1,
                applications_failed: 2,
                ..QueueStatistics::default()
            },
            configurations: vec![QueueConfigurations {
                partition_name: "gpu\u{1b}".into(),
                used: Resource::new(2_048, 2),
                effective_min_capacity: Resource::new(4_096, 4),
                absolute_capacity: 0.25,
                ..QueueConfigurations::default()
            }],
            ..QueueInfo::default()
        }
    }

    #[test]
    fn a_status_has_yarns_lines_and_a_table_by_partition() {
        let text = status_text(&queue());
        for line in [
            "Queue Information :",
            "\tQueue Name : etl",
            "\tState : DRAINING",
            "\tCapacity : 40.00%",
            "\tCurrent Capacity : 125.00%",
            "\tWeight : -",
            "\tMaximum Parallel Apps : unlimited",
            "\tDefault Node Label expression : <DEFAULT_PARTITION>",
            "\tSubmitted Applications : 9",
            "\tCompleted Applications : 3",
            "\tKilled Applications : 1",
            "\tFailed Applications : 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
        let row = text.lines().last().unwrap();
        assert!(row.contains("gpu?") && row.contains("<memory:2048, vCores:2>"), "{row}");
        assert!(row.contains("<memory:4096, vCores:4> 25.00%"), "{row}");
    }

    #[test]
    fn a_list_has_a_line_per_queue() {
        let text = list_text(&[queue(), queue()]);
        assert!(text.starts_with("2 queues were found :\n"), "{text}");
        assert_eq!(
            text.lines().filter(|line| line.contains("root.etl") && line.contains("40.00%")).count(),
            2
        );
        let json = queue_json(&queue());
        assert_eq!(json["partitions"][0]["guaranteed"]["memory_mb"], 4_096);
        // It was 0.4000000059604645.
        assert_eq!(json["capacity"].to_string(), "0.4");
    }
}

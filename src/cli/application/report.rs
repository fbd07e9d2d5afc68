//! Reports of applications, attempts, containers and waiting asks as text in YARN's words, and as JSON.
//! Owns: the columns and lines. Called by: `application`. Thread: main.
//! Does not: ask for reports. Invariant: every text of a user passes `output::plain` on its way into a table or line.

use comfy_table::CellAlignment;
use heddle_wire::application_client::ExplainApplicationResponse;
use heddle_wire::record::{
    ApplicationAttemptReport, ApplicationReport, ContainerReport, ContainerState, FinalApplicationStatus,
    PendingReason, Resource, ResourceSeconds, YarnApplicationAttemptState, YarnApplicationState,
};
use serde_json::{Value, json};

use crate::cli::output::{self, plain};

/// Every state an application shows.
pub(super) const STATES: [YarnApplicationState; 8] = [
    YarnApplicationState::New,
    YarnApplicationState::NewSaving,
    YarnApplicationState::Submitted,
    YarnApplicationState::Accepted,
    YarnApplicationState::Running,
    YarnApplicationState::Finished,
    YarnApplicationState::Failed,
    YarnApplicationState::Killed,
];

/// YARN's name of a state.
pub(super) const fn state(state: YarnApplicationState) -> &'static str {
    match state {
        YarnApplicationState::New => "NEW",
        YarnApplicationState::NewSaving => "NEW_SAVING",
        YarnApplicationState::Submitted => "SUBMITTED",
        YarnApplicationState::Accepted => "ACCEPTED",
        YarnApplicationState::Running => "RUNNING",
        YarnApplicationState::Finished => "FINISHED",
        YarnApplicationState::Failed => "FAILED",
        YarnApplicationState::Killed => "KILLED",
    }
}

const fn final_status(status: FinalApplicationStatus) -> &'static str {
    match status {
        FinalApplicationStatus::Undefined => "UNDEFINED",
        FinalApplicationStatus::Succeeded => "SUCCEEDED",
        FinalApplicationStatus::Failed => "FAILED",
        FinalApplicationStatus::Killed => "KILLED",
        FinalApplicationStatus::Ended => "ENDED",
    }
}

const fn attempt_state(state: YarnApplicationAttemptState) -> &'static str {
    match state {
        YarnApplicationAttemptState::New => "NEW",
        YarnApplicationAttemptState::Submitted => "SUBMITTED",
        YarnApplicationAttemptState::Scheduled => "SCHEDULED",
        YarnApplicationAttemptState::AllocatedSaving => "ALLOCATED_SAVING",
        YarnApplicationAttemptState::Allocated => "ALLOCATED",
        YarnApplicationAttemptState::Launched => "LAUNCHED",
        YarnApplicationAttemptState::Failed => "FAILED",
        YarnApplicationAttemptState::Running => "RUNNING",
        YarnApplicationAttemptState::Finishing => "FINISHING",
        YarnApplicationAttemptState::Finished => "FINISHED",
        YarnApplicationAttemptState::Killed => "KILLED",
    }
}

const fn container_state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::New => "NEW",
        ContainerState::Running => "RUNNING",
        ContainerState::Complete => "COMPLETE",
    }
}

/// The name of a reason, for programs and the summary.
const fn reason(reason: PendingReason) -> &'static str {
    match reason {
        PendingReason::NotConsidered => "NOT_CONSIDERED_YET",
        PendingReason::ApplicationNotActive => "APPLICATION_NOT_ACTIVE",
        PendingReason::QueueLimit => "QUEUE_LIMIT",
        PendingReason::UserLimit => "USER_LIMIT",
        PendingReason::AmLimit => "AM_LIMIT",
        PendingReason::UserAmLimit => "USER_AM_LIMIT",
        PendingReason::QueueStopped => "QUEUE_STOPPED",
        PendingReason::NoNodes => "NO_NODES",
        PendingReason::TooLarge => "TOO_LARGE",
        PendingReason::NoFreeCapacity => "NO_FREE_CAPACITY",
        PendingReason::Locality => "LOCALITY",
        PendingReason::Blacklist => "BLACKLIST",
        PendingReason::Reserved => "RESERVED",
        PendingReason::LabelNotAccessible => "LABEL_NOT_ACCESSIBLE",
        PendingReason::Order => "OTHERS_FIRST",
        PendingReason::MaxParallelApplications => "MAX_PARALLEL_APPLICATIONS",
    }
}

/// `<memory:8192, vCores:8, yarn.io/gpu:2>`, as YARN writes it.
fn resource(resource: &Resource) -> String {
    let extended =
        resource.extended.iter().map(|item| format!(", {}:{}{}", item.name, item.value, item.units));
    let extended: String = extended.collect();
    format!("<memory:{}, vCores:{}{extended}>", resource.memory_mb, resource.virtual_cores)
}

fn resource_json(resource: &Resource) -> Value {
    json!({
        "memory_mb": resource.memory_mb,
        "virtual_cores": resource.virtual_cores,
        "extended": resource.extended.iter()
            .map(|item| json!({ "name": item.name, "value": item.value, "units": item.units }))
            .collect::<Vec<_>>(),
    })
}

/// A time of the wall clock, UTC; `N/A` for 0.
pub(super) fn time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match time {
        Some(time) if milliseconds > 0 => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        _ => "N/A".to_owned(),
    }
}

/// A duration as people say it: `850 ms`, `12 s`, `3 min`, `2.5 h`.
fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..120_000 => format!("{} s", milliseconds / 1_000),
        120_000..7_200_000 => format!("{} min", milliseconds / 60_000),
        _ => format!("{:.1} h", milliseconds as f64 / 3_600_000.0),
    }
}

/// `yarn application -list`: the total, then a line per application.
pub(super) fn list(
    applications: &[ApplicationReport],
    types: &[String],
    states: &[YarnApplicationState],
    tags: &[String],
) -> String {
    let states: Vec<_> = states.iter().map(|wanted| state(*wanted)).collect();
    let total = format!(
        "Total number of applications (application-types: [{}], states: [{}] and tags: [{}]):{}",
        types.join(", "),
        states.join(", "),
        tags.join(", "),
        applications.len()
    );
    let headings = [
        "Application-Id",
        "Application-Name",
        "Application-Type",
        "User",
        "Queue",
        "State",
        "Final-State",
        "Progress",
        "Tracking-URL",
    ];
    let mut table = output::table(&headings);
    if let Some(column) = table.column_mut(7) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for application in applications {
        table.add_row([
            application.application_id.to_string(),
            plain(&application.name),
            plain(&application.application_type),
            plain(&application.user),
            plain(&application.queue),
            state(application.state).to_owned(),
            final_status(application.final_application_status).to_owned(),
            format!("{}%", (application.progress * 100.0).round()),
            plain(&application.original_tracking_url),
        ]);
    }
    format!("{total}\n{}", output::lines(&table))
}

fn seconds(list: &[ResourceSeconds]) -> String {
    if list.is_empty() {
        return "0 MB-seconds, 0 vcore-seconds".to_owned();
    }
    let text = |item: &ResourceSeconds| match item.name.as_str() {
        "memory-mb" => format!("{} MB-seconds", item.seconds),
        "vcores" => format!("{} vcore-seconds", item.seconds),
        name => format!("{} {name}-seconds", item.seconds),
    };
    list.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// `yarn application -status`: name and value, a line each.
pub(super) fn status(report: &ApplicationReport) -> String {
    let usage = report.resource_usage.as_deref();
    let mut lines = vec![
        ("Application-Id", report.application_id.to_string()),
        ("Application-Name", report.name.clone()),
        ("Application-Type", report.application_type.clone()),
        ("User", report.user.clone()),
        ("Queue", report.queue.clone()),
        ("Application Priority", report.priority.to_string()),
        ("Start-Time", time(report.start_time_ms)),
        ("Finish-Time", time(report.finish_time_ms)),
        ("Progress", format!("{}%", (report.progress * 100.0).round())),
        ("State", state(report.state).to_owned()),
        ("Final-State", final_status(report.final_application_status).to_owned()),
        ("Tracking-URL", report.original_tracking_url.clone()),
        ("RPC Port", report.rpc_port.to_string()),
        ("AM Host", report.host.clone()),
    ];
    if let Some(usage) = usage {
        lines.extend([
            ("Aggregate Resource Allocation", seconds(&usage.resource_seconds)),
            ("Aggregate Resource Preempted", seconds(&usage.preempted_resource_seconds)),
            (
                "Containers",
                format!("{} running, {} reserved", usage.num_used_containers, usage.num_reserved_containers),
            ),
            ("Used Resources", resource(&usage.used_resources)),
            ("Reserved Resources", resource(&usage.reserved_resources)),
            ("Needed Resources", resource(&usage.needed_resources)),
            (
                "Share of Queue and Cluster",
                format!("{:.1} %, {:.1} %", usage.queue_usage_percentage, usage.cluster_usage_percentage),
            ),
        ]);
    }
    lines.extend([
        ("Diagnostics", report.diagnostics.clone()),
        ("Unmanaged Application", report.is_unmanaged_am.to_string()),
        ("Application Node Label Expression", label(report.app_node_label_expression.as_deref())),
        ("AM container Node Label Expression", label(report.am_node_label_expression.as_deref())),
        ("Application Tags", report.application_tags.join(",")),
    ]);
    for timeout in &report.application_timeouts {
        let text = match (timeout.expires_at_ms, timeout.remaining_ms) {
            (Some(at), remaining) => {
                format!("LIFETIME ends {} (in {})", time(at), duration(remaining.unwrap_or(0)))
            }
            (None, _) => "LIFETIME unlimited".to_owned(),
        };
        lines.push(("Timeout", text));
    }
    if let Some(handle) = report.attempt_handle {
        lines.push(("Attempt Handle", handle.0.to_string()));
    }
    named("Application Report :", lines)
}

fn label(expression: Option<&str>) -> String {
    match expression {
        None => "<Not set>".to_owned(),
        Some("") => "<DEFAULT_PARTITION>".to_owned(),
        Some(label) => label.to_owned(),
    }
}

fn named(title: &str, lines: Vec<(&str, String)>) -> String {
    let lines: Vec<_> =
        lines.into_iter().map(|(name, value)| format!("\t{name} : {}", plain(&value))).collect();
    format!("{title}\n{}", lines.join("\n"))
}

/// One object with stable keys; units last in the name.
pub(super) fn json(report: &ApplicationReport) -> Value {
    let seconds = |list: &[ResourceSeconds]| -> Value {
        list.iter()
            .map(|item| (item.name.clone(), Value::from(item.seconds)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!({
        "application_id": report.application_id.to_string(),
        "attempt_id": report.current_application_attempt_id.map(|id| id.to_string()),
        "name": report.name,
        "type": report.application_type,
        "tags": report.application_tags,
        "user": report.user,
        "queue": report.queue,
        "priority": report.priority,
        "state": state(report.state),
        "final_status": final_status(report.final_application_status),
        "progress": output::as_written(report.progress),
        "host": report.host,
        "rpc_port": report.rpc_port,
        "tracking_url": report.original_tracking_url,
        "diagnostics": report.diagnostics,
        "submit_time_ms": report.submit_time_ms,
        "start_time_ms": report.start_time_ms,
        "launch_time_ms": report.launch_time_ms,
        "finish_time_ms": report.finish_time_ms,
        "is_unmanaged": report.is_unmanaged_am,
        "attempt_handle": report.attempt_handle.map(|handle| handle.0),
        "usage": report.resource_usage.as_deref().map(|usage| json!({
            "containers": usage.num_used_containers,
            "reserved_containers": usage.num_reserved_containers,
            "used": resource_json(&usage.used_resources),
            "reserved": resource_json(&usage.reserved_resources),
            "needed": resource_json(&usage.needed_resources),
            "queue_usage_percent": output::as_written(usage.queue_usage_percentage),
            "cluster_usage_percent": output::as_written(usage.cluster_usage_percentage),
            "resource_seconds": seconds(&usage.resource_seconds),
            "preempted_resource_seconds": seconds(&usage.preempted_resource_seconds),
        })),
        "timeouts": report.application_timeouts.iter()
            .map(|timeout| json!({ "expires_at_ms": timeout.expires_at_ms, "remaining_ms": timeout.remaining_ms }))
            .collect::<Vec<_>>(),
    })
}

/// `yarn applicationattempt -list`.
pub(super) fn attempts(attempts: &[ApplicationAttemptReport]) -> String {
    let mut table = output::table(&["ApplicationAttempt-Id", "State", "AM-Container-Id", "Tracking-URL"]);
    for attempt in attempts {
        table.add_row([
            attempt.application_attempt_id.to_string(),
            attempt_state(attempt.state).to_owned(),
            attempt.am_container_id.map_or_else(|| "N/A".to_owned(), |id| id.to_string()),
            plain(&attempt.original_tracking_url),
        ]);
    }
    format!("Total number of application attempts :{}\n{}", attempts.len(), output::lines(&table))
}

/// `yarn applicationattempt -status`.
pub(super) fn attempt(attempt: &ApplicationAttemptReport) -> String {
    named(
        "Application Attempt Report :",
        vec![
            ("ApplicationAttempt-Id", attempt.application_attempt_id.to_string()),
            ("State", attempt_state(attempt.state).to_owned()),
            ("AMContainer", attempt.am_container_id.map_or_else(|| "N/A".to_owned(), |id| id.to_string())),
            ("Tracking-URL", attempt.original_tracking_url.clone()),
            ("RPC Port", attempt.rpc_port.to_string()),
            ("AM Host", attempt.host.clone()),
            ("Start-Time", time(attempt.start_time_ms)),
            ("Finish-Time", time(attempt.finish_time_ms)),
            ("Diagnostics", attempt.diagnostics.clone()),
        ],
    )
}

/// One object with stable keys.
pub(super) fn attempt_json(attempt: &ApplicationAttemptReport) -> Value {
    json!({
        "attempt_id": attempt.application_attempt_id.to_string(),
        "state": attempt_state(attempt.state),
        "am_container_id": attempt.am_container_id.map(|id| id.to_string()),
        "host": attempt.host,
        "rpc_port": attempt.rpc_port,
        "tracking_url": attempt.original_tracking_url,
        "diagnostics": attempt.diagnostics,
        "start_time_ms": attempt.start_time_ms,
        "finish_time_ms": attempt.finish_time_ms,
    })
}

/// `yarn container -list`.
pub(super) fn containers(containers: &[ContainerReport]) -> String {
    let headings =
        ["Container-Id", "Start Time", "Finish Time", "State", "Host", "Node Http Address", "LOG-URL"];
    let mut table = output::table(&headings);
    for container in containers {
        table.add_row([
            container.container_id.to_string(),
            time(container.creation_time_ms),
            time(container.finish_time_ms),
            container_state(container.state).to_owned(),
            plain(&container.node_id.to_string()),
            plain(&format!("{}:{}", container.node_id.host, container.node_http_port)),
            plain(&container.log_url),
        ]);
    }
    format!("Total number of containers :{}\n{}", containers.len(), output::lines(&table))
}

/// `yarn container -status`.
pub(super) fn container(container: &ContainerReport) -> String {
    named(
        "Container Report :",
        vec![
            ("Container-Id", container.container_id.to_string()),
            ("Start-Time", time(container.creation_time_ms)),
            ("Finish-Time", time(container.finish_time_ms)),
            ("State", container_state(container.state).to_owned()),
            ("Resource", resource(&container.resource)),
            ("Priority", container.priority.to_string()),
            ("Partition", label(Some(&container.partition))),
            ("LOG-URL", container.log_url.clone()),
            ("Host", container.node_id.to_string()),
            ("NodeHttpAddress", format!("{}:{}", container.node_id.host, container.node_http_port)),
            ("Diagnostics", container.diagnostics.clone()),
        ],
    )
}

/// One object with stable keys.
pub(super) fn container_json(container: &ContainerReport) -> Value {
    json!({
        "container_id": container.container_id.to_string(),
        "state": container_state(container.state),
        "resource": resource_json(&container.resource),
        "node_id": container.node_id.to_string(),
        "priority": container.priority,
        "allocation_request_id": container.allocation_request_id,
        "partition": container.partition,
        "exit_status": container.exit_status,
        "creation_time_ms": container.creation_time_ms,
        "finish_time_ms": container.finish_time_ms,
        "diagnostics": container.diagnostics,
    })
}

/// Why an application waits: itself, then by reason, then ask by ask.
pub(super) fn explanation(explanation: &ExplainApplicationResponse) -> String {
    let mut text = format!(
        "{} is {} in queue {}",
        explanation.application_id,
        state(explanation.state),
        plain(&explanation.queue)
    );
    let ended = [YarnApplicationState::Finished, YarnApplicationState::Failed, YarnApplicationState::Killed];
    if ended.contains(&explanation.state) {
        text.push_str("\nIt has ended: nothing waits.");
        return text;
    }
    if let Some(reason) = &explanation.application_reason {
        text.push_str(&format!("\nThe application waits: {}", plain(reason)));
    }
    if explanation.summary.is_empty() {
        text.push_str("\nNothing it asked for is waiting.");
        if explanation.state == YarnApplicationState::Accepted && explanation.application_reason.is_none() {
            text.push_str(" Its ApplicationMaster has not registered yet.");
        }
        return text;
    }
    let mut summary = output::table(&["Reason", "Asks", "Containers"]);
    for count in &explanation.summary {
        summary.add_row([
            reason(count.reason).to_owned(),
            count.asks.to_string(),
            count.containers.to_string(),
        ]);
    }
    text.push_str(&format!("\n\n{}\n\n", output::lines(&summary)));
    let mut table = output::table(&["Priority", "Request", "Size", "Containers", "Since", "Why"]);
    for ask in &explanation.pending {
        let request = match ask.allocation_request_id {
            -1 => String::new(),
            id => id.to_string(),
        };
        let size = match ask.partition.as_str() {
            "" => resource(&ask.capability),
            partition => format!("{} on {}", resource(&ask.capability), plain(partition)),
        };
        table.add_row([
            ask.priority.to_string(),
            request,
            size,
            ask.num_containers.to_string(),
            duration(ask.since_ms),
            plain(&ask.text),
        ]);
    }
    text.push_str(&output::lines(&table));
    let shown = explanation.pending.len() as u64;
    if explanation.pending_total > shown {
        text.push_str(&format!("\n… and {} more (--limit)", explanation.pending_total - shown));
    }
    text
}

/// The same with stable keys.
pub(super) fn explanation_json(explanation: &ExplainApplicationResponse) -> Value {
    json!({
        "application_id": explanation.application_id.to_string(),
        "state": state(explanation.state),
        "queue": explanation.queue,
        "application_reason": explanation.application_reason,
        "summary": explanation.summary.iter()
            .map(|count| json!({ "reason": reason(count.reason), "asks": count.asks, "containers": count.containers }))
            .collect::<Vec<_>>(),
        "pending_total": explanation.pending_total,
        "pending": explanation.pending.iter().map(|ask| json!({
            "priority": ask.priority,
            "allocation_request_id": ask.allocation_request_id,
            "partition": ask.partition,
            "capability": resource_json(&ask.capability),
            "containers": ask.num_containers,
            "reason": reason(ask.reason),
            "text": ask.text,
            "since_ms": ask.since_ms,
        })).collect::<Vec<_>>(),
        "partitions": explanation.partitions.iter().map(|part| json!({
            "partition": part.partition,
            "used": resource_json(&part.used),
            "reserved": resource_json(&part.reserved),
            "pending": resource_json(&part.pending),
            "user_used": resource_json(&part.user_used),
            "user_limit": resource_json(&part.user_limit),
            "queue_used": resource_json(&part.queue_used),
            "queue_guaranteed": resource_json(&part.queue_guaranteed),
            "queue_maximum": resource_json(&part.queue_maximum),
            "am_used": resource_json(&part.am_used),
            "am_limit": resource_json(&part.am_limit),
            "nodes": part.nodes,
            "free": resource_json(&part.free),
        })).collect::<Vec<_>>(),
    })
}

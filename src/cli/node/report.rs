//! Node reports as text in YARN's words, and as JSON.
//! Owns: the columns and lines. Called by: `node`. Thread: main.
//! Does not: ask for reports. Invariant: every text of a node passes `output::plain` on its way into a table or line.

use comfy_table::CellAlignment;
use heddle_wire::record::{NodeReport, Resource, ResourceUtilization};
use serde_json::{Value, json};

use crate::cli::output::{self, plain};

/// `yarn node -list`: the total, then a line per node, each with its details below where asked.
pub(super) fn list(nodes: &[NodeReport], show_details: bool) -> String {
    let total = format!("Total Nodes:{}", nodes.len());
    let headings = ["Node-Id", "Node-State", "Node-Http-Address", "Number-of-Running-Containers"];
    let row = |node: &NodeReport| {
        [
            plain(&node.node_id.to_string()),
            node.state.name().to_owned(),
            plain(&http_address(node)),
            node.running_containers.to_string(),
        ]
    };
    if !show_details {
        let mut table = output::table(&headings);
        if let Some(column) = table.column_mut(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        nodes.iter().for_each(|node| {
            table.add_row(row(node));
        });
        return format!("{total}\n{}", output::lines(&table));
    }
    let rows: Vec<[String; 4]> = nodes.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |[id, state, http, containers]: [&str; 4]| {
        let [ids, states, https, counts] = widths;
        format!("\n{id:<ids$}  {state:<states$}  {http:<https$}  {containers:>counts$}")
    };
    let mut text = total + &line(headings);
    for (node, row) in nodes.iter().zip(&rows) {
        text.push_str(&line(row.each_ref().map(String::as_str)));
        text.push_str("\nDetailed Node Information :");
        for (name, value) in details(node) {
            text.push_str(&format!("\n\t{name} : {}", plain(&value)));
        }
    }
    text
}

fn details(node: &NodeReport) -> [(&'static str, String); 5] {
    [
        ("Configured Resources", resource(&node.capability)),
        ("Allocated Resources", resource(&node.used)),
        ("Resource Utilization by Node", utilization(&node.node_utilization)),
        ("Resource Utilization by Containers", utilization(&node.containers_utilization)),
        ("Node-Labels", node.node_labels.join(",")),
    ]
}

/// `yarn node -status`: name and value, a line each; what only Heddle knows at the end.
pub(super) fn status(node: &NodeReport) -> String {
    let mut lines = vec![
        ("Node-Id", node.node_id.to_string()),
        ("Rack", node.rack_name.clone()),
        ("Node-State", node.state.name().to_owned()),
        ("Node-Http-Address", http_address(node)),
        ("Last-Health-Update", time(node.last_health_report_time_ms)),
        ("Health-Report", node.health_report.clone()),
        ("Containers", node.running_containers.to_string()),
        ("Memory-Used", format!("{}MB", node.used.memory_mb)),
        ("Memory-Capacity", format!("{}MB", node.capability.memory_mb)),
        ("CPU-Used", format!("{} vcores", node.used.virtual_cores)),
        ("CPU-Capacity", format!("{} vcores", node.capability.virtual_cores)),
    ];
    for item in &node.capability.extended {
        let used =
            node.used.extended.iter().find(|other| other.name == item.name).map_or(0, |other| other.value);
        lines.push(("Resource", format!("{} {used} of {}{}", item.name, item.value, item.units)));
    }
    let attributes = node.node_attributes.iter().map(|a| format!("{}/{}={}", a.prefix, a.name, a.value));
    lines.extend([
        ("Node-Labels", node.node_labels.join(",")),
        ("Node Attributes", attributes.collect::<Vec<_>>().join(",")),
        ("Resource Utilization by Node", utilization(&node.node_utilization)),
        ("Resource Utilization by Containers", utilization(&node.containers_utilization)),
        ("NodeManager-Version", node.nm_version.clone()),
        ("Last-Heartbeat", format!("{:.1} s ago", node.last_seen_ms as f64 / 1_000.0)),
        ("Node-Class", node.node_class.clone()),
        ("Suspect", if node.is_suspect { "yes" } else { "no" }.to_owned()),
    ]);
    if let Some(remaining_ms) = node.decommissioning_remaining_ms {
        lines.push(("Decommissioned-In", format!("{} s", remaining_ms.div_ceil(1_000))));
    }
    if !node.decommissioning_blocked_by.is_empty() {
        lines.push(("Decommissioning-Blocked-By", node.decommissioning_blocked_by.join(", ")));
    }
    let lines: Vec<_> =
        lines.into_iter().map(|(name, value)| format!("\t{name} : {}", plain(&value))).collect();
    format!("Node Report :\n{}", lines.join("\n"))
}

/// One object with stable keys; units last in the name.
pub(super) fn json(node: &NodeReport) -> Value {
    let resource = |resource: &Resource| {
        let extended = resource.extended.iter();
        json!({
            "memory_mb": resource.memory_mb,
            "virtual_cores": resource.virtual_cores,
            "extended": extended
                .map(|item| json!({ "name": item.name, "value": item.value, "units": item.units }))
                .collect::<Vec<_>>(),
        })
    };
    let utilization = |used: &ResourceUtilization| {
        json!({
            "physical_memory_mb": used.physical_memory_mb,
            "virtual_memory_mb": used.virtual_memory_mb,
            "cpu_millicores": used.cpu_millicores,
        })
    };
    let attributes = node.node_attributes.iter();
    json!({
        "node_id": node.node_id.to_string(),
        "state": node.state.name(),
        "is_suspect": node.is_suspect,
        "node_class": node.node_class,
        "rack": node.rack_name,
        "http_address": http_address(node),
        "running_containers": node.running_containers,
        "running_applications": node.running_applications,
        "used": resource(&node.used),
        "capability": resource(&node.capability),
        "containers_utilization": utilization(&node.containers_utilization),
        "node_utilization": utilization(&node.node_utilization),
        "health_report": node.health_report,
        "last_health_report_time_ms": node.last_health_report_time_ms,
        "last_seen_ms": node.last_seen_ms,
        "node_labels": node.node_labels,
        "node_attributes": attributes
            .map(|item| json!({ "prefix": item.prefix, "name": item.name, "value": item.value }))
            .collect::<Vec<_>>(),
        "nm_version": node.nm_version,
        "decommissioning_remaining_ms": node.decommissioning_remaining_ms,
        "decommissioning_blocked_by": node.decommissioning_blocked_by,
        "handle": node.handle.to_string(),
    })
}

fn http_address(node: &NodeReport) -> String {
    format!("{}:{}", node.node_id.host, node.http_port)
}

/// `<memory:8192, vCores:8, yarn.io/gpu:2>`, as YARN writes it.
fn resource(resource: &Resource) -> String {
    let extended =
        resource.extended.iter().map(|item| format!(", {}:{}{}", item.name, item.value, item.units));
    let extended: String = extended.collect();
    format!("<memory:{}, vCores:{}{extended}>", resource.memory_mb, resource.virtual_cores)
}

fn utilization(used: &ResourceUtilization) -> String {
    let ResourceUtilization { physical_memory_mb, virtual_memory_mb, cpu_millicores } = *used;
    let cores = f64::from(cpu_millicores) / 1_000.0;
    format!("PMem:{physical_memory_mb} MB, VMem:{virtual_memory_mb} MB, VCores:{cores}")
}

/// A time of the wall clock, UTC; `never` for 0.
fn time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match time {
        Some(time) if milliseconds > 0 => time.strftime("%a %d/%b/%y %I:%M:%S%p UTC").to_string(),
        _ => "never".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use heddle_wire::record::{NodeHandle, NodeId, NodeState, ResourceInformation};

    use super::*;

    fn node() -> NodeReport {
        let gpu = ResourceInformation { name: "yarn.io/gpu".into(), value: 2, units: String::new() };
        NodeReport {
            node_id: NodeId::new("n1", 45_454),
            handle: NodeHandle::new(0, 1, 1),
            http_port: 8_042,
            rack_name: "/rack1".into(),
            state: NodeState::Running,
            is_suspect: true,
            node_class: "default".into(),
            last_seen_ms: 1_500,
            used: Resource::new(1_024, 1),
            capability: Resource { extended: vec![gpu], ..Resource::new(8_192, 8) },
            running_containers: 1,
            running_applications: 1,
            health_report: "disk \u{1b}[31mfull".into(),
            last_health_report_time_ms: 1_700_000_000_000,
            node_labels: vec!["gpu".into()],
            node_attributes: Vec::new(),
            containers_utilization: ResourceUtilization::default(),
            node_utilization: ResourceUtilization { cpu_millicores: 1_500, ..Default::default() },
            nm_version: "3.4.0".into(),
            decommissioning_remaining_ms: Some(1_500),
            decommissioning_blocked_by: vec!["container_1_0001_01_000001".into()],
        }
    }

    #[test]
    fn a_report_has_yarns_lines_and_no_escape_sequences() {
        let text = status(&node());
        for line in [
            "Node Report :",
            "\tNode-Id : n1:45454",
            "\tRack : /rack1",
            "\tNode-State : RUNNING",
            "\tNode-Http-Address : n1:8042",
            "\tLast-Health-Update : Tue 14/Nov/23 10:13:20PM UTC",
            "\tHealth-Report : disk ?[31mfull",
            "\tMemory-Capacity : 8192MB",
            "\tCPU-Used : 1 vcores",
            "\tResource : yarn.io/gpu 0 of 2",
            "\tResource Utilization by Node : PMem:0 MB, VMem:0 MB, VCores:1.5",
            "\tLast-Heartbeat : 1.5 s ago",
            "\tSuspect : yes",
            "\tDecommissioned-In : 2 s",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn details_follow_each_line() {
        let text = list(&[node(), node()], true);
        let lines: Vec<&str> = text.lines().collect();
        let state = lines[1].find("Node-State").expect("a column");
        assert_eq!(
            (lines[0], lines[1].len(), lines[2].find("RUNNING")),
            ("Total Nodes:2", lines[2].len(), Some(state))
        );
        assert_eq!(text.matches("Configured Resources : <memory:8192, vCores:8, yarn.io/gpu:2>").count(), 2);
    }

    #[test]
    fn times_beyond_the_calendar_do_no_harm() {
        assert_eq!((time(0), time(u64::MAX)), ("never".to_owned(), "never".to_owned()));
    }
}

//! Traces of the Scheduler Load Simulator: one JSON object per job, before them perhaps one with the number of nodes; and
//! its node files, one JSON object per rack.
//! Owns: what their keys mean here. Called by: `reader`. Thread: the reader's. Does not: open files.
//!
//! | key of the job | becomes |
//! |---|---|
//! | `job.start.ms`, `job.queue.name`, `job.user`, `job.label.expression` | submission, queue, user, label |
//! | `job.count` | that many equal applications |
//! | `am.type` | the order of the tasks: `mapreduce` (default) asks for reduces when all maps are done, `stream` lasts until `job.end.ms`, others ask for everything at once |
//! | `am.memory-mb`, `am.vcores`, `am.`(type) | the ApplicationMaster's container |
//! | `container.duration.ms` or `duration.ms`, else `container.end.ms` − `container.start.ms` | a task's duration |
//! | `count`, `container.host`, `.priority`, `.type`, `.memory-mb`, `.vcores`, `.execution.type`, `.allocation.id`, `.request.delay.ms` | what they say |
//! | `container.`(other) with a number | an amount of another resource type, for example `container.yarn.io/gpu` |

use std::io::BufRead;
use std::sync::Arc;

use heddle_wire::limits::NAME_MAX;
use heddle_wire::record::{ExecutionType, Resource, ResourceInformation};

use super::grouping::{DEFAULT_RACK, Excess, Grouping, Likeness, Order, rack_and_host};
use super::json::{
    Amount, Inner, JsonStream, Kind, Many, Name, One, OptionalName, Scalar, Time, Whole, known, record,
};
use super::reader::{Applications, Notices, Repeated};
use super::{
    AMOUNT_MAX, AmSpec, ApplicationSpec, MEMORY_MB_MAX, NODES_MAX, NodeSpec, PRIORITY_MAX, TASKS_MAX,
    VIRTUAL_CORES_MAX, WorkloadError,
};

/// Longest path of a queue.
pub(crate) const QUEUE_MAX: usize = 1_024;

/// Most equal applications one entry stands for.
pub(crate) const COPIES_MAX: i64 = 1_000_000;

/// What a node offers unless the file says (SLS's own default).
pub(crate) const NODE: (u64, u32) = (10_240, 10);

pub(crate) type Text = One<Name<NAME_MAX>>;
pub(crate) type Maybe = One<OptionalName<NAME_MAX>>;
pub(crate) type Queue = One<Name<QUEUE_MAX>>;
pub(crate) type Moment = One<Time>;
pub(crate) type Memory = One<Whole<1, { MEMORY_MB_MAX as i64 }>>;
pub(crate) type Cores = One<Whole<0, { VIRTUAL_CORES_MAX as i64 }>>;
pub(crate) type Priority = One<Whole<{ -PRIORITY_MAX }, PRIORITY_MAX>>;

record! {
    /// A job, or the line before the jobs.
    struct Job {
        nodes: One<Whole<1, { NODES_MAX as i64 }>> = "num.nodes",
        racks: One<Whole<1, { NODES_MAX as i64 }>> = "num.racks",
        am_type: Text = "am.type",
        start_ms: Moment = "job.start.ms",
        end_ms: Moment = "job.end.ms",
        queue: Queue = "job.queue.name",
        id: Text = "job.id",
        user: Text = "job.user",
        label: Maybe = "job.label.expression",
        priority: Priority = "job.priority",
        count: One<Whole<0, COPIES_MAX>> = "job.count",
        am_memory_mb: Memory = "am.memory-mb",
        am_vcores: Cores = "am.vcores",
        tasks: Many<Inner<Task>, { TASKS_MAX as usize }> = "job.tasks",
    }
}

record! {
    /// A task, or several equal ones.
    struct Task {
        count: One<Whole<0, { TASKS_MAX as i64 }>> = "count",
        host: Maybe = "container.host",
        start_ms: Moment = "container.start.ms",
        end_ms: Moment = "container.end.ms",
        duration_ms: Moment = "container.duration.ms",
        old_duration_ms: Moment = "duration.ms",
        delay_ms: Moment = "container.request.delay.ms",
        priority: Priority = "container.priority",
        kind: Text = "container.type",
        execution_type: Text = "container.execution.type",
        allocation_id: One<Whole<-1, { i32::MAX as i64 }>> = "container.allocation.id",
        memory_mb: Memory = "container.memory-mb",
        vcores: Cores = "container.vcores",
    }
}

record! {
    /// A rack of a node file.
    struct Rack {
        rack: Text = "rack",
        nodes: Many<Inner<Node>, NODES_MAX> = "nodes",
    }
}

record! {
    /// A node of it.
    struct Node {
        node: Text = "node",
        labels: Maybe = "labels",
        memory_mb: Memory = "memory-mb",
        vcores: Cores = "vcores",
    }
}

/// Amounts of other resource types among fields nobody knows: those that begin with `prefix` and are numbers.
fn extended(extra: &[(String, Scalar)], prefix: &str, notices: &mut Notices) -> Vec<ResourceInformation> {
    let mut found = Vec::new();
    for (key, value) in extra {
        let amount = Amount::take(value).and_then(|amount| u64::try_from(amount).ok());
        match (key.strip_prefix(prefix), amount) {
            (Some(name), Some(value)) if !name.is_empty() && found.len() < 30 => {
                found.push(ResourceInformation {
                    name: name.to_owned(),
                    value: value.min(AMOUNT_MAX),
                    units: String::new(),
                });
            }
            _ => notices.say_of(key, || format!("the key {key:?} is not used")),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    found
}

pub(crate) fn resource(memory_mb: Option<i64>, vcores: Option<i64>, default: (u64, u32)) -> Resource {
    let memory_mb = memory_mb.and_then(|value| u64::try_from(value).ok()).unwrap_or(default.0);
    let vcores = vcores.and_then(|value| u32::try_from(value).ok()).unwrap_or(default.1);
    Resource::new(memory_mb, vcores)
}

/// Guaranteed or opportunistic, in YARN's words.
pub(crate) fn execution_type(name: &str) -> Option<ExecutionType> {
    match name.to_ascii_uppercase().as_str() {
        "GUARANTEED" => Some(ExecutionType::Guaranteed),
        "OPPORTUNISTIC" => Some(ExecutionType::Opportunistic),
        _ => None,
    }
}

/// The jobs of a trace. The first item tells of the nodes, if the trace does.
pub(crate) fn read(
    file: Arc<str>,
    input: Box<dyn BufRead + Send>,
    notices: Notices,
) -> Result<(Option<Vec<NodeSpec>>, Applications), WorkloadError> {
    let mut values = JsonStream::<Job>::new(&file, input).peekable();
    let mut nodes = None;
    if let Some(Ok((_, job))) = values.peek()
        && let Some(count) = job.nodes
    {
        nodes = Some(nodes_of(count as usize, job.racks.unwrap_or(1) as usize));
        values.next();
    }
    let mut number = 0_u64;
    let mut notices = notices;
    let applications = values.map(move |item| {
        let (line, job) = item?;
        number += 1;
        application(&file, line, number - 1, job, &mut notices)
    });
    Ok((nodes, Box::new(Repeated::new(applications))))
}

/// `count` equal nodes on `racks` racks.
pub(crate) fn nodes_of(count: usize, racks: usize) -> Vec<NodeSpec> {
    let racks = racks.clamp(1, count.max(1));
    let names: Vec<Arc<str>> = (0..racks).map(|rack| format!("/rack{rack}").into()).collect();
    let resource = Resource::new(NODE.0, NODE.1);
    (0..count)
        .map(|index| NodeSpec {
            host: format!("node{index}").into(),
            rack: Arc::clone(&names[index % racks]),
            label: None,
            resource: resource.clone(),
        })
        .collect()
}

fn application(
    file: &str,
    line: u64,
    number: u64,
    job: Job,
    notices: &mut Notices,
) -> Result<(ApplicationSpec, u32), WorkloadError> {
    let wrong = |field: &str, found: &str, accepted: &str| {
        Err(WorkloadError::value(file, line, field, found, accepted))
    };
    let Some(submit_ms) = known(job.start_ms) else {
        return wrong("job.start.ms", "nothing", "a number of milliseconds from 0");
    };
    let am_type = job.am_type.unwrap_or_else(|| "mapreduce".into());
    let end_ms = known(job.end_ms);
    if let Some(end_ms) = end_ms.filter(|end_ms| *end_ms > 0 && *end_ms < submit_ms) {
        return wrong("job.end.ms", &end_ms.to_string(), "a time that is not before job.start.ms");
    }
    let tasks = job.tasks.unwrap_or_default();
    if tasks.is_empty() {
        return wrong("job.tasks", "nothing", "a list of at least one task");
    }
    let is_stream = am_type.eq_ignore_ascii_case("stream");
    let order = match am_type.to_ascii_lowercase().as_str() {
        // SLS asks for reduces when all maps are done.
        "mapreduce" => Order::MapReduce(1_000_000),
        "dag" | "stream" => Order::Independent,
        _ => {
            notices.say_of(&am_type, || {
                format!("am.type {am_type:?} is not known: everything is asked for at once")
            });
            Order::Independent
        }
    };
    let mut grouping = Grouping::default();
    for task in tasks {
        let took = match (known(task.start_ms), known(task.end_ms)) {
            (Some(start), Some(end)) if end < start => {
                return wrong(
                    "container.end.ms",
                    &end.to_string(),
                    "a time that is not before container.start.ms",
                );
            }
            (Some(start), Some(end)) => Some(end - start),
            _ => None,
        };
        let duration_ms = known(task.duration_ms).or(known(task.old_duration_ms)).or(took);
        // What a stream runs, it runs until its end.
        let lasts = end_ms.filter(|_| is_stream).map(|end_ms| end_ms.saturating_sub(submit_ms));
        let Some(duration_ms) = lasts.or(duration_ms) else {
            return wrong(
                "job.tasks",
                "a task without a duration",
                "container.duration.ms, or container.start.ms and container.end.ms",
            );
        };
        let place = match &task.host.flatten() {
            Some(path) => match rack_and_host(path) {
                Some(place) => Some(place),
                None => {
                    return wrong(
                        "container.host",
                        path,
                        "a host of visible ASCII characters, with or without /rack/ before it",
                    );
                }
            },
            None => None,
        };
        let name = task.kind.unwrap_or_else(|| "map".into());
        let execution_type = match &task.execution_type {
            Some(name) => match execution_type(name) {
                Some(execution_type) => execution_type,
                None => return wrong("container.execution.type", name, "GUARANTEED or OPPORTUNISTIC"),
            },
            None => ExecutionType::Guaranteed,
        };
        let mut capability = resource(task.memory_mb, task.vcores, (1_024, 1));
        capability.extended = extended(&task.extra, "container.", notices);
        let likeness = Likeness {
            name,
            priority: task.priority.unwrap_or(20) as i32,
            allocation_request_id: task.allocation_id.unwrap_or(-1),
            resource: capability,
            execution_type,
            delay_ms: known(task.delay_ms).unwrap_or(0),
        };
        // SLS takes a count below 1 as 1.
        let count = task.count.unwrap_or(1).max(1) as u32;
        grouping.add(likeness, count, duration_ms, place).map_err(|Excess { what, max }| {
            WorkloadError::TooMany { file: file.to_owned(), line, what, max }
        })?;
    }
    let mut am = resource(job.am_memory_mb, job.am_vcores, (1_024, 1));
    am.extended = extended(&job.extra, "am.", notices);
    let copies = job.count.unwrap_or(1).max(1) as u32;
    let spec = ApplicationSpec {
        submit_ms,
        name: job.id.filter(|_| copies == 1).unwrap_or_else(|| format!("job_{number}").into()),
        user: job.user.unwrap_or_else(|| "default".into()),
        queue: job.queue.unwrap_or_else(|| "default".into()),
        application_type: am_type.to_ascii_uppercase().into(),
        priority: job.priority.map(|priority| priority as i32),
        label: job.label.flatten(),
        am: AmSpec { resource: am, ..AmSpec::default() },
        groups: grouping.finish(order),
        ..ApplicationSpec::default()
    };
    Ok((spec, copies))
}

/// The nodes of a node file.
pub(crate) fn read_nodes(
    file: &Arc<str>,
    input: Box<dyn BufRead + Send>,
    notices: &mut Notices,
) -> Result<Vec<NodeSpec>, WorkloadError> {
    let mut nodes = Vec::new();
    for item in JsonStream::<Rack>::new(file, input) {
        let (line, rack) = item?;
        let wrong = |field: &str, found: &str, accepted: &str| {
            Err(WorkloadError::value(file, line, field, found, accepted))
        };
        let name = rack.rack.unwrap_or_else(|| DEFAULT_RACK.into());
        let name: Arc<str> = format!("/{}", name.trim_matches('/')).into();
        for node in rack.nodes.unwrap_or_default() {
            let Some(host) = node.node else { return wrong("node", "nothing", "the name of a host") };
            let Some((_, host)) = rack_and_host(&host).filter(|_| !host.contains('/')) else {
                return wrong("node", &host, "a host of visible ASCII characters without ':' and '/'");
            };
            if nodes.len() == NODES_MAX {
                return Err(WorkloadError::TooMany {
                    file: file.to_string(),
                    line,
                    what: "nodes",
                    max: NODES_MAX as u64,
                });
            }
            let mut offered = resource(node.memory_mb, node.vcores, NODE);
            offered.extended = extended(&node.extra, "", notices);
            let label = node.labels.flatten().and_then(|labels| {
                // A node has one label; "(exclusive=false)" belongs to the label, not to the node.
                let first = labels.split(',').next().unwrap_or_default();
                let name = first.split('(').next().unwrap_or_default().trim();
                if labels.contains(',') {
                    notices
                        .say_of("labels", || format!("a node has one label: of {labels:?} it is {name:?}"));
                }
                (!name.is_empty()).then(|| name.into())
            });
            nodes.push(NodeSpec { host, rack: Arc::clone(&name), label, resource: offered });
        }
    }
    if nodes.is_empty() {
        Err(WorkloadError::Empty { file: file.to_string(), what: "nodes" })
    } else {
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests;

//! Job history as Rumen writes it: one JSON object per job; and its topology, one tree of JSON objects.
//! Owns: what their keys mean here. Called by: `reader`. Thread: the reader's. Does not: open files.
//!
//! | key | becomes |
//! |---|---|
//! | `submitTime`, `jobID`, `user`, `queue`, `priority`, `jobtype` | what they say; times are milliseconds |
//! | `jobMapMB`, `jobReduceMB` | size of maps and reduces |
//! | `mapTasks`, `reduceTasks` | two groups; a task is as long as its last attempt was, and wants the host that ran on |
//!
//! Reduces are asked for when all maps are done, as the Scheduler Load Simulator plays these traces: what Rumen records of a
//! reduce includes no waiting for maps then. Failed attempts are not played.

use std::io::BufRead;
use std::sync::Arc;

use heddle_wire::record::ExecutionType;
use serde::Deserialize;

use super::grouping::{DEFAULT_RACK, Excess, Grouping, Likeness, Order, rack_and_host};
use super::json::{Inner, JsonStream, Many, One, Time, Whole, known, record, text_error};
use super::reader::{Applications, Notices};
use super::sls::{Maybe, Moment, NODE, resource};
use super::{AmSpec, ApplicationSpec, MEMORY_MB_MAX, NODES_MAX, NodeSpec, TASKS_MAX, WorkloadError};

/// Most attempts of a task that are looked at.
const ATTEMPTS_MAX: usize = 10_000;

/// −1 is "unknown".
type Size = One<Whole<-1, { MEMORY_MB_MAX as i64 }>>;

record! {
    /// A job.
    struct Job {
        id: Maybe = "jobID",
        kind: Maybe = "jobtype",
        user: Maybe = "user",
        queue: Maybe = "queue",
        priority: Maybe = "priority",
        submit_ms: Moment = "submitTime",
        map_mb: Size = "jobMapMB",
        reduce_mb: Size = "jobReduceMB",
        maps: Many<Inner<Task>, { TASKS_MAX as usize }> = "mapTasks",
        reduces: Many<Inner<Task>, { TASKS_MAX as usize }> = "reduceTasks",
    }
}

record! {
    /// A task.
    struct Task {
        start_ms: One<Time> = "startTime",
        finish_ms: One<Time> = "finishTime",
        attempts: Many<Inner<Attempt>, ATTEMPTS_MAX> = "attempts",
    }
}

record! {
    /// One try of it.
    struct Attempt {
        host: Maybe = "hostName",
        start_ms: One<Time> = "startTime",
        finish_ms: One<Time> = "finishTime",
    }
}

/// A node, a rack or the whole, by how deep it is. Depth is bounded by the parser.
#[derive(Debug, Deserialize)]
struct Place {
    name: Option<String>,
    children: Option<Vec<Self>>,
}

/// The jobs of a trace.
pub(crate) fn read(file: Arc<str>, input: Box<dyn BufRead + Send>, notices: Notices) -> Applications {
    let mut notices = notices;
    Box::new(JsonStream::<Job>::new(&file, input).map(move |item| {
        let (line, job) = item?;
        application(&file, line, job, &mut notices)
    }))
}

fn application(
    file: &str,
    line: u64,
    job: Job,
    notices: &mut Notices,
) -> Result<ApplicationSpec, WorkloadError> {
    let wrong = |field: &str, found: &str, accepted: &str| {
        Err(WorkloadError::value(file, line, field, found, accepted))
    };
    let Some(submit_ms) = known(job.submit_ms) else {
        return wrong("submitTime", "nothing", "a number of milliseconds from 0");
    };
    let priority = match job.priority.flatten() {
        None => None,
        // MapReduce's words and what it makes of them on YARN.
        Some(name) => match name.to_ascii_uppercase().as_str() {
            "VERY_HIGH" => Some(5),
            "HIGH" => Some(4),
            "NORMAL" => Some(3),
            "LOW" => Some(2),
            "VERY_LOW" => Some(1),
            "DEFAULT" | "UNDEFINED_PRIORITY" => None,
            _ => return wrong("priority", &name, "VERY_HIGH, HIGH, NORMAL, LOW, VERY_LOW or DEFAULT"),
        },
    };
    let mut grouping = Grouping::default();
    let kinds = [("map", 20, job.map_mb, job.maps), ("reduce", 10, job.reduce_mb, job.reduces)];
    for (name, priority, memory_mb, tasks) in kinds {
        let likeness = Likeness {
            name: name.into(),
            priority,
            allocation_request_id: -1,
            resource: resource(memory_mb.filter(|memory_mb| *memory_mb > 0), None, (1_024, 1)),
            execution_type: ExecutionType::Guaranteed,
            delay_ms: 0,
        };
        for task in tasks.unwrap_or_default() {
            let last = task.attempts.and_then(|mut attempts| attempts.pop());
            let took = |start: Option<i64>, finish: Option<i64>| known(finish)?.checked_sub(known(start)?);
            let duration_ms = last.as_ref().and_then(|last| took(last.start_ms, last.finish_ms));
            let Some(duration_ms) = duration_ms.or_else(|| took(task.start_ms, task.finish_ms)) else {
                notices.say_of("attempts", || "tasks without a start and a finish are left out".to_owned());
                continue;
            };
            let place = last.and_then(|last| last.host.flatten()).and_then(|host| rack_and_host(&host));
            grouping.add(likeness.clone(), 1, duration_ms, place).map_err(|Excess { what, max }| {
                WorkloadError::TooMany { file: file.to_owned(), line, what, max }
            })?;
        }
    }
    Ok(ApplicationSpec {
        submit_ms,
        name: job.id.flatten().unwrap_or_else(|| format!("job-{line}").into()),
        user: job.user.flatten().unwrap_or_else(|| "default".into()),
        queue: job.queue.flatten().unwrap_or_else(|| "default".into()),
        application_type: job
            .kind
            .flatten()
            .map_or_else(|| "MAPREDUCE".into(), |kind| kind.to_ascii_uppercase().into()),
        priority,
        am: AmSpec::default(),
        groups: grouping.finish(Order::MapReduce(1_000_000)),
        ..ApplicationSpec::default()
    })
}

/// The nodes of a topology: its leaves, with what is above them as their rack.
pub(crate) fn read_topology(
    file: &Arc<str>,
    input: Box<dyn BufRead + Send>,
) -> Result<Vec<NodeSpec>, WorkloadError> {
    // A tree is one value; a million nodes are some 60 MB of text.
    let limited = std::io::Read::take(input, super::json::OBJECT_BYTES_MAX);
    let tree: Place = serde_json::from_reader(limited).map_err(|error| text_error(file, &error))?;
    let mut nodes = Vec::new();
    let resource = resource(None, None, NODE);
    // Depth first, in the order of the file; the root's name is no part of a rack's.
    let mut open: Vec<(String, Place)> = vec![(String::new(), Place { name: None, ..tree })];
    while let Some((rack, place)) = open.pop() {
        let name = place.name.unwrap_or_default();
        let children = place.children.unwrap_or_default();
        if children.is_empty() {
            if name.is_empty() {
                continue;
            }
            let Some((_, host)) = rack_and_host(&name).filter(|_| !name.contains('/')) else {
                return Err(WorkloadError::value(
                    file,
                    1,
                    "name",
                    &name,
                    "a host of visible ASCII characters without ':' and '/'",
                ));
            };
            if nodes.len() == NODES_MAX {
                return Err(WorkloadError::TooMany {
                    file: file.to_string(),
                    line: 1,
                    what: "nodes",
                    max: NODES_MAX as u64,
                });
            }
            let rack = if rack.is_empty() { DEFAULT_RACK.into() } else { rack.into() };
            nodes.push(NodeSpec { host, rack, label: None, resource: resource.clone() });
            continue;
        }
        let path = if name.is_empty() { rack } else { format!("{rack}/{}", name.trim_matches('/')) };
        open.extend(children.into_iter().rev().map(|child| (path.clone(), child)));
    }
    if nodes.is_empty() {
        Err(WorkloadError::Empty { file: file.to_string(), what: "nodes" })
    } else {
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Durations, ReadOptions, Workload};

    const SAMPLE: &str = include_str!("../../samples/rumen.json");
    const TOPOLOGY: &str = include_str!("../../samples/rumen-topology.json");

    fn read_text(text: &str) -> Result<Workload, String> {
        let options = ReadOptions { format: Some(crate::workload::Format::Rumen), ..ReadOptions::default() };
        Workload::from_text("t", text.to_owned(), &options).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sample_is_read() {
        let workload = Workload::from_text("rumen.json", SAMPLE, &ReadOptions::default()).unwrap();
        let jobs = &workload.applications;
        assert_eq!(jobs.len(), 2);
        assert_eq!((&*jobs[0].user, &*jobs[0].queue, jobs[0].priority), ("ana", "etl", Some(3)));
        assert_eq!((jobs[0].submit_ms, jobs[1].submit_ms), (0, 30_000));
        let [maps, reduces] = &*jobs[0].groups else { panic!("{:?}", jobs[0].groups) };
        assert_eq!((maps.count, reduces.count, maps.resource.memory_mb), (3, 1, 1_536));
        // The second map failed once: its last attempt counts.
        assert_eq!(maps.durations, Durations::List([12_000, 9_000, 15_000].into()));
        assert_eq!(reduces.after.len(), 1);
        assert_eq!(workload.nodes.unwrap().len(), 3);
    }

    #[test]
    fn the_topology_is_read() {
        let nodes = read_topology(&"t".into(), Box::new(TOPOLOGY.as_bytes())).unwrap();
        let names: Vec<_> = nodes.iter().map(|node| (&*node.rack, &*node.host)).collect();
        assert_eq!(names, [("/rack-a", "node-1"), ("/rack-a", "node-2"), ("/rack-b", "node-3")]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(expected), "{error:?} should contain {expected:?}");
        };
        check("", "there are no applications");
        check("{\"jobID\":\"a\"}", "t:1: submitTime");
        check("\n\n{\"submitTime\":1,\n\"priority\":\"ODD\"}", "t:3: priority: \"ODD\"");
        check("{\"submitTime\":\"soon\"}", "t:1: submitTime: \"soon\" is not accepted");
        check("{\"submitTime\":1e300}", "submitTime: 1e300");
        check("{\"submitTime\":1,\"mapTasks\":7}", "mapTasks");
        check("{\"submitTime\":1", "t:1: EOF");
        let error = read_topology(&"t".into(), Box::new(&b"{\"name\":\"r\"}"[..])).unwrap_err().to_string();
        assert!(error.contains("no nodes"), "{error}");
        let deep = "{\"children\":[".repeat(100_000);
        assert!(read_topology(&"t".into(), Box::new(std::io::Cursor::new(deep))).is_err());
    }
}

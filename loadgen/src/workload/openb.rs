//! The lists of Alibaba's GPU trace of 2023 ("openb"): tasks and nodes, as CSV with a header.
//! Owns: what their columns mean here. Called by: `reader`. Thread: the reader's. Does not: open files.
//!
//! A task of the trace is an application here: a small ApplicationMaster (1 GiB, one core) that asks for one container.
//!
//! | column | becomes |
//! |---|---|
//! | `creation_time`, `deletion_time`, `scheduled_time` (seconds) | submission; the duration is deletion − scheduled, for tasks that were never scheduled deletion − creation |
//! | `cpu_milli`, `memory_mib` | virtual cores, rounded up; memory |
//! | `num_gpu`, `gpu_milli` | `yarn.io/gpu` in **thousandths**: 1,000 is a whole GPU, on nodes as well as in asks |
//! | `qos` | the queue below root, in small letters; a task without one goes to `root.default` |
//! | `gpu_spec` | nothing: an ask names one label, not several models |
//!
//! A node's GPUs are one amount: that a part of one GPU does not fit with a part of another is not seen.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use csv::StringRecord;
use heddle_wire::limits::NAME_MAX;
use heddle_wire::record::{Resource, ResourceInformation};

use super::json::is_name;
use super::reader::{Applications, Notices};
use super::{
    AmSpec, ApplicationSpec, Durations, MEMORY_MB_MAX, NODES_MAX, NodeSpec, TIME_MS_MAX, TaskGroup,
    WorkloadError,
};
use crate::fleet::GPU;

/// Longest line, bytes.
const LINE_MAX: usize = 64 * 1024;

/// Nodes of one rack, since the trace does not say.
const RACK_SIZE: usize = 40;

const TASK_COLUMNS: [&str; 7] =
    ["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time"];
const TASK_HEADER: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time";
const NODE_COLUMNS: [&str; 4] = ["sn", "cpu_milli", "memory_mib", "gpu"];
const NODE_HEADER: &str = "sn,cpu_milli,memory_mib,gpu,model";

/// A reader that ends lines that are too long.
struct Lines<R> {
    inner: R,
    length: usize,
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(LINE_MAX);
        let count = self.inner.read(&mut buffer[..length])?;
        match buffer[..count].iter().rposition(|byte| *byte == b'\n') {
            Some(at) => self.length = count - at - 1,
            None => self.length += count,
        }
        if self.length > LINE_MAX {
            return Err(io::Error::other(format!("a line is longer than {LINE_MAX} bytes")));
        }
        Ok(count)
    }
}

type Csv = csv::Reader<Lines<Box<dyn BufRead + Send>>>;

fn csv(input: Box<dyn BufRead + Send>) -> Csv {
    // Without quotes a record is a line, and lines are bounded.
    csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .quoting(false)
        .from_reader(Lines { inner: input, length: 0 })
}

fn csv_error(file: &str, error: &csv::Error) -> WorkloadError {
    let line = error.position().map_or(1, csv::Position::line);
    WorkloadError::Text { file: file.to_owned(), line, reason: error.to_string() }
}

fn position(headers: &StringRecord, column: &str) -> Option<usize> {
    headers.iter().position(|header| header == column)
}

fn columns<const N: usize>(
    file: &str,
    headers: &StringRecord,
    names: [&str; N],
    all: &str,
) -> Result<[usize; N], WorkloadError> {
    let mut at = [0; N];
    for (index, name) in at.iter_mut().zip(names) {
        *index = position(headers, name).ok_or_else(|| {
            let found = headers.iter().collect::<Vec<_>>().join(",");
            WorkloadError::value(file, 1, format!("column {name}"), &found, format!("the header {all}"))
        })?;
    }
    Ok(at)
}

/// One line of a list.
struct Row<'a> {
    file: &'a str,
    record: &'a StringRecord,
}

impl Row<'_> {
    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    fn text(&self, index: usize) -> &str {
        self.record.get(index).unwrap_or_default()
    }

    fn whole(&self, index: usize, name: &str, min: u64, max: u64) -> Result<u64, WorkloadError> {
        let found = self.text(index);
        let value = found.parse::<u64>().ok().filter(|value| (min..=max).contains(value));
        value.ok_or_else(|| self.wrong(name, found, &format!("a whole number from {min} to {max}")))
    }

    fn wrong(&self, name: &str, found: &str, accepted: &str) -> WorkloadError {
        WorkloadError::value(self.file, self.line(), name, found, accepted)
    }
}

fn capability(cpu_milli: u64, memory_mb: u64, gpu_milli: u64) -> Resource {
    let virtual_cores = u32::try_from(cpu_milli.div_ceil(1_000)).unwrap_or(u32::MAX);
    let mut resource = Resource::new(memory_mb, virtual_cores);
    if gpu_milli > 0 {
        resource.extended.push(ResourceInformation {
            name: GPU.to_owned(),
            value: gpu_milli,
            units: String::new(),
        });
    }
    resource
}

/// The tasks of a list.
pub(crate) fn read(
    file: Arc<str>,
    input: Box<dyn BufRead + Send>,
    notices: Notices,
) -> Result<Applications, WorkloadError> {
    let mut notices = notices;
    let mut csv = csv(input);
    let headers = csv.headers().map_err(|error| csv_error(&file, &error))?.clone();
    let at = columns(&file, &headers, TASK_COLUMNS, TASK_HEADER)?;
    let optional = ["scheduled_time", "qos", "gpu_spec"].map(|column| position(&headers, column));
    Ok(Box::new(csv.into_records().map(move |record| {
        let record = record.map_err(|error| csv_error(&file, &error))?;
        task(&Row { file: &file, record: &record }, &at, optional, &mut notices)
    })))
}

fn task(
    row: &Row<'_>,
    at: &[usize; 7],
    optional: [Option<usize>; 3],
    notices: &mut Notices,
) -> Result<ApplicationSpec, WorkloadError> {
    const SECONDS_MAX: u64 = TIME_MS_MAX / 1_000;
    let [name, cpu, memory, gpus, gpu_milli, created, deleted] = *at;
    let name = row.text(name);
    if !is_name(name, NAME_MAX) {
        return Err(row.wrong("name", name, "1 to 255 bytes without control characters"));
    }
    let cpu_milli = row.whole(cpu, "cpu_milli", 0, 1 << 32)?;
    let memory_mb = row.whole(memory, "memory_mib", 0, MEMORY_MB_MAX)?.max(1);
    let gpu_milli = row.whole(gpus, "num_gpu", 0, 1_024)? * row.whole(gpu_milli, "gpu_milli", 0, 1_000)?;
    let created_s = row.whole(created, "creation_time", 0, SECONDS_MAX)?;
    let deleted_s = row.whole(deleted, "deletion_time", created_s, SECONDS_MAX)?;
    let [scheduled, qos, gpu_spec] = optional;
    let scheduled_s = match scheduled.filter(|index| !row.text(*index).is_empty()) {
        Some(index) => row.whole(index, "scheduled_time", created_s, deleted_s)?,
        None => {
            notices.say_of("scheduled_time", || {
                "tasks that were never scheduled run for as long as they waited".to_owned()
            });
            created_s
        }
    };
    if gpu_spec.is_some_and(|index| !row.text(index).is_empty()) {
        notices.say_of("gpu_spec", || "gpu_spec is not used: any model of GPU will do".to_owned());
    }
    let class = qos.map(|index| row.text(index).to_ascii_lowercase()).filter(|qos| !qos.is_empty());
    let class = class.unwrap_or_else(|| "default".to_owned());
    if class.len() > NAME_MAX
        || !class.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    {
        return Err(row.wrong("qos", &class, "letters, digits, '-' and '_'"));
    }
    let group = TaskGroup {
        allocation_request_id: 0,
        resource: capability(cpu_milli, memory_mb, gpu_milli),
        durations: Durations::Constant((deleted_s - scheduled_s) * 1_000),
        ..TaskGroup::default()
    };
    Ok(ApplicationSpec {
        submit_ms: created_s * 1_000,
        name: name.into(),
        user: "openb".into(),
        queue: format!("root.{class}").into(),
        application_type: "OPENB".into(),
        am: AmSpec::default(),
        groups: [group].into(),
        ..ApplicationSpec::default()
    })
}

/// The nodes of a list, in made-up racks of forty.
pub(crate) fn read_nodes(
    file: &Arc<str>,
    input: Box<dyn BufRead + Send>,
) -> Result<Vec<NodeSpec>, WorkloadError> {
    let mut csv = csv(input);
    let headers = csv.headers().map_err(|error| csv_error(file, &error))?.clone();
    let [name, cpu, memory, gpus] = columns(file, &headers, NODE_COLUMNS, NODE_HEADER)?;
    let mut nodes = Vec::new();
    for record in csv.records() {
        let record = record.map_err(|error| csv_error(file, &error))?;
        let row = Row { file, record: &record };
        let Some((_, host)) =
            super::grouping::rack_and_host(row.text(name)).filter(|_| !row.text(name).contains('/'))
        else {
            return Err(row.wrong(
                "sn",
                row.text(name),
                "1 to 240 visible ASCII characters without ':' and '/'",
            ));
        };
        if nodes.len() == NODES_MAX {
            return Err(WorkloadError::TooMany {
                file: file.to_string(),
                line: row.line(),
                what: "nodes",
                max: NODES_MAX as u64,
            });
        }
        let cpu_milli = row.whole(cpu, "cpu_milli", 1_000, 1 << 32)?;
        let memory_mb = row.whole(memory, "memory_mib", 1, MEMORY_MB_MAX)?;
        let gpus = row.whole(gpus, "gpu", 0, 1_024)?;
        nodes.push(NodeSpec {
            host,
            rack: format!("/rack{}", nodes.len() / RACK_SIZE).into(),
            label: None,
            // What a node offers is rounded down, what is asked for up.
            resource: capability(cpu_milli / 1_000 * 1_000, memory_mb, gpus * 1_000),
        });
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
    use crate::workload::{ReadOptions, Workload};

    const SAMPLE: &str = include_str!("../../samples/openb-tasks.csv");
    const NODES: &str = include_str!("../../samples/nodes.csv");

    #[test]
    fn the_sample_is_read() {
        let workload = Workload::from_text("tasks.csv", SAMPLE, &ReadOptions::default()).unwrap();
        let tasks = &workload.applications;
        assert_eq!(tasks.len(), 5);
        assert_eq!((tasks[0].submit_ms, tasks[1].submit_ms), (0, 60_000));
        assert_eq!((&*tasks[0].queue, &*tasks[2].queue), ("root.ls", "root.be"));
        let resource = &tasks[1].groups[0].resource;
        // 3,152 thousandths of a core are four cores; 460 thousandths of a GPU stay what they are.
        assert_eq!((resource.memory_mb, resource.virtual_cores), (5_600, 4));
        assert_eq!((resource.extended[0].name.as_str(), resource.extended[0].value), (GPU, 460));
        assert_eq!(tasks[2].groups[0].resource.extended[0].value, 8_000);
        assert_eq!(tasks[1].groups[0].durations, Durations::Constant(590_000));
        // Never scheduled.
        assert_eq!(tasks[4].groups[0].durations, Durations::Constant(42_000));
        assert_eq!(workload.notices.len(), 2, "{:?}", workload.notices);
        let nodes = read_nodes(&"n".into(), Box::new(NODES.as_bytes())).unwrap();
        assert_eq!((nodes.len(), nodes[2].resource.extended[0].value), (8, 8_000));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            let error = Workload::from_text("t.csv", text.to_owned(), &ReadOptions::default()).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(expected), "{error:?} should contain {expected:?}");
        };
        let head = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time,scheduled_time\n";
        check("", "t.csv:1: column name");
        check(head, "there are no applications");
        check(&format!("{head}a,1,1,0,0,5,9,5\nb,x,1,0,0,5,9,5\n"), "t.csv:3: cpu_milli: \"x\"");
        check(&format!("{head}a,1,1,0,0,5,4,5\n"), "t.csv:2: deletion_time: \"4\"");
        check(&format!("{head}a,1,1,0,0,5,9,10\n"), "t.csv:2: scheduled_time: \"10\"");
        check(&format!("{head}a,1,1,0,1001,5,9,5\n"), "t.csv:2: gpu_milli");
        check(&format!("{head}a,1,1,0,0,5,99999999999999999999,5\n"), "deletion_time");
        check(&format!("{head}a,1,1\n"), "t.csv:2:");
        check(&"x".repeat(LINE_MAX * 3), "longer than");
        let nodes =
            |text: &'static str| read_nodes(&"n".into(), Box::new(text.as_bytes())).unwrap_err().to_string();
        assert!(nodes("sn,cpu_milli,memory_mib,gpu\n").contains("no nodes"));
        assert!(nodes("sn,cpu_milli,memory_mib,gpu\na/b,1000,1,0\n").contains("n:2: sn"));
    }
}

//! Applications in other tools' forms.
//! Owns: [`sls_job`]. Called by: `trace convert`. Thread: the caller's. Does not: write files.
//! Invariant: what is exported to SLS and read again has the same tasks with the same durations and sizes. What SLS has no
//! word for is left out: dependencies other than reduces after maps, lifetimes, attempts, tags, labels of groups, retries.

use serde_json::{Map, Value, json};

use super::{ApplicationSpec, TaskGroup};
use heddle_wire::record::{ExecutionType, Resource};

/// Amounts as fields of a job or a task.
fn put_resource(out: &mut Map<String, Value>, prefix: &str, resource: &Resource) {
    out.insert(format!("{prefix}memory-mb"), resource.memory_mb.into());
    out.insert(format!("{prefix}vcores"), resource.virtual_cores.into());
    for amount in &resource.extended {
        out.insert(format!("{prefix}{}", amount.name), amount.value.into());
    }
}

/// A job as the Scheduler Load Simulator reads it.
#[must_use]
pub fn sls_job(spec: &ApplicationSpec) -> Value {
    let mut job = Map::new();
    // An order of SLS's own: reduces after all maps, or everything at once (and nothing in between).
    let waits = |group: &TaskGroup| !group.after.is_empty();
    let is_map_reduce = spec.groups.iter().any(waits) && spec.groups.iter().any(|group| !waits(group));
    job.insert("am.type".to_owned(), if is_map_reduce { "mapreduce" } else { "dag" }.into());
    put_resource(&mut job, "am.", &spec.am.resource);
    job.insert("job.start.ms".to_owned(), spec.submit_ms.into());
    job.insert("job.queue.name".to_owned(), spec.queue.as_ref().into());
    job.insert("job.id".to_owned(), spec.name.as_ref().into());
    job.insert("job.user".to_owned(), spec.user.as_ref().into());
    if let Some(label) = &spec.label {
        job.insert("job.label.expression".to_owned(), label.as_ref().into());
    }
    if let Some(priority) = spec.priority {
        job.insert("job.priority".to_owned(), priority.into());
    }
    let mut tasks = Vec::new();
    for group in spec.groups.iter() {
        let kind = if is_map_reduce && waits(group) { "reduce" } else { "map" };
        tasks.extend(sls_tasks(group, kind));
    }
    if tasks.is_empty() {
        // SLS refuses a job without tasks.
        tasks.push(json!({ "container.duration.ms": spec.am.least_duration_ms }));
    }
    job.insert("job.tasks".to_owned(), tasks.into());
    job.into()
}

/// A group's tasks: those that follow each other and are alike are one entry.
fn sls_tasks(group: &TaskGroup, kind: &str) -> Vec<Value> {
    let mut base = Map::new();
    base.insert("container.type".to_owned(), kind.into());
    base.insert("container.priority".to_owned(), group.priority.into());
    put_resource(&mut base, "container.", &group.resource);
    if group.allocation_request_id >= 0 {
        base.insert("container.allocation.id".to_owned(), group.allocation_request_id.into());
    }
    if group.delay_ms > 0 {
        base.insert("container.request.delay.ms".to_owned(), group.delay_ms.into());
    }
    if group.execution_type == ExecutionType::Opportunistic {
        base.insert("container.execution.type".to_owned(), "OPPORTUNISTIC".into());
    }
    // The first tasks are those that name a host, in the order of the places.
    let mut places = group
        .localities
        .iter()
        .filter_map(|place| Some((format!("{}/{}", place.rack, place.host.as_ref()?), place.count)));
    let mut place = places.next();
    let mut entries: Vec<(u64, Option<String>, u32)> = Vec::new();
    for index in 0..group.count {
        let ms = group.durations.ms(index);
        let host = match &mut place {
            Some((host, left)) => {
                let host = host.clone();
                *left -= 1;
                if *left == 0 {
                    place = places.next();
                }
                Some(host)
            }
            None => None,
        };
        match entries.last_mut() {
            Some((last_ms, last_host, count)) if *last_ms == ms && *last_host == host => *count += 1,
            _ => entries.push((ms, host, 1)),
        }
    }
    let entry = |(ms, host, count): (u64, Option<String>, u32)| {
        let mut task = base.clone();
        task.insert("count".to_owned(), count.into());
        task.insert("container.duration.ms".to_owned(), ms.into());
        task.extend(host.map(|host| ("container.host".to_owned(), host.into())));
        Value::from(task)
    };
    entries.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Format, ReadOptions, Workload};

    #[test]
    fn what_is_exported_is_read_again() {
        let samples = [
            ("a.toml", include_str!("../../samples/scenario.toml")),
            ("a.json", include_str!("../../samples/sls-jobs.json")),
            ("a.json", include_str!("../../samples/dynoyarn.jsonl")),
            ("a.csv", include_str!("../../samples/openb-tasks.csv")),
        ];
        for (name, text) in samples {
            let one = Workload::from_text(name, text, &ReadOptions::default()).unwrap();
            let lines: Vec<String> = one.applications.iter().map(|spec| sls_job(spec).to_string()).collect();
            let options = ReadOptions { format: Some(Format::Sls), ..ReadOptions::default() };
            let other = Workload::from_text("out", lines.join("\n"), &options).unwrap();
            assert_eq!(one.applications.len(), other.applications.len());
            for (a, b) in one.applications.iter().zip(&other.applications) {
                assert_eq!(
                    (a.submit_ms, &a.user, &a.queue, &a.name),
                    (b.submit_ms, &b.user, &b.queue, &b.name)
                );
                let tasks = |spec: &ApplicationSpec| {
                    let mut tasks: Vec<_> = spec
                        .groups
                        .iter()
                        .flat_map(|group| {
                            (0..group.count)
                                .map(|index| (group.durations.ms(index), format!("{:?}", group.resource)))
                        })
                        .collect();
                    tasks.sort();
                    tasks
                };
                assert_eq!(tasks(a), tasks(b), "{}", a.name);
            }
        }
    }
}

//! DynoYARN's workloads: one application per line, as JSON.
//! Owns: what their keys mean here. Called by: `reader`. Thread: the reader's. Does not: open files.
//!
//! | key | becomes |
//! |---|---|
//! | `submitTime`, `appId`, `appType`, `queue`, `user`, `nodeLabel`, `applicationTags` | what they say; times are milliseconds |
//! | `amResourceRequest` | the ApplicationMaster's container |
//! | `resourceRequestSpecs` | groups in series: each is asked for when the one before is completed, as DynoYARN does |
//! | `numInstances`, else the length of `runtimes` | how many tasks |
//! | `averageRuntime` unless 0, else `runtimes` (from its beginning again when there are more tasks) | their durations |
//! | `resource.gpus` | an amount of `yarn.io/gpu` |
//! | `utilizations` | nothing: simulated containers use what they are given |

use std::io::BufRead;
use std::sync::Arc;

use heddle_wire::record::{Resource, ResourceInformation};

use super::json::{Inner, JsonStream, Many, One, Real, Time, Whole, known, record};
use super::reader::{Applications, Notices};
use super::sls::{Cores, Maybe, Memory, Moment, Priority, Queue, Text, resource};
use super::{
    AMOUNT_MAX, AmSpec, ApplicationSpec, Dependency, Durations, GROUPS_MAX, TASKS_MAX, TaskGroup,
    WorkloadError,
};
use crate::fleet::GPU;

/// Most tags of one application (YARN's limit).
const TAGS_MAX: usize = 10;

record! {
    /// A line.
    struct App {
        id: Text = "appId",
        kind: Text = "appType",
        queue: Queue = "queue",
        user: Text = "user",
        submit_ms: Moment = "submitTime",
        label: Maybe = "nodeLabel",
        tags: Many<Text, TAGS_MAX> = "applicationTags",
        am: Inner<Amounts> = "amResourceRequest",
        asks: Many<Inner<Ask>, GROUPS_MAX> = "resourceRequestSpecs",
    }
}

record! {
    /// What a container has.
    struct Amounts {
        memory_mb: Memory = "memoryMB",
        vcores: Cores = "vcores",
        gpus: One<Whole<0, { AMOUNT_MAX as i64 }>> = "gpus",
    }
}

record! {
    /// A group of tasks.
    struct Ask {
        delay_ms: Moment = "delay",
        count: One<Whole<0, { TASKS_MAX as i64 }>> = "numInstances",
        priority: Priority = "priority",
        runtimes: Many<One<Time>, { TASKS_MAX as usize }> = "runtimes",
        average_ms: One<Real> = "averageRuntime",
        resource: Inner<Amounts> = "resource",
        utilizations: One<super::json::Anything> = "utilizations",
    }
}

impl Amounts {
    fn to_resource(&self) -> Resource {
        let mut resource = resource(self.memory_mb, self.vcores, (1_024, 1));
        if let Some(value) = self.gpus.and_then(|gpus| u64::try_from(gpus).ok()).filter(|gpus| *gpus > 0) {
            resource.extended.push(ResourceInformation { name: GPU.to_owned(), value, units: String::new() });
        }
        resource
    }
}

/// The applications of a workload.
pub(crate) fn read(file: Arc<str>, input: Box<dyn BufRead + Send>, notices: Notices) -> Applications {
    let mut notices = notices;
    Box::new(JsonStream::<App>::new(&file, input).map(move |item| {
        let (line, app) = item?;
        application(&file, line, app, &mut notices)
    }))
}

fn application(
    file: &str,
    line: u64,
    app: App,
    notices: &mut Notices,
) -> Result<ApplicationSpec, WorkloadError> {
    let wrong = |field: &str, found: &str, accepted: &str| {
        Err(WorkloadError::value(file, line, field, found, accepted))
    };
    let Some(submit_ms) = known(app.submit_ms) else {
        return wrong("submitTime", "nothing", "a number of milliseconds from 0");
    };
    for (key, _) in &app.extra {
        notices.say_of(key, || format!("the key {key:?} is not used"));
    }
    let mut groups: Vec<TaskGroup> = Vec::new();
    let mut tasks = 0;
    for ask in app.asks.unwrap_or_default() {
        if ask.utilizations.is_some() {
            notices.say_of("utilizations", || {
                "utilizations are not used: containers use what they are given".to_owned()
            });
        }
        let runtimes: Vec<u64> =
            ask.runtimes.unwrap_or_default().into_iter().map(|ms| u64::try_from(ms).unwrap_or(0)).collect();
        let average = ask.average_ms.filter(|ms| *ms > 0.0);
        let count =
            ask.count.filter(|count| *count > 0).map_or(runtimes.len() as u64, |count| count.unsigned_abs());
        if count == 0 {
            notices.say_of("numInstances", || "requests without instances are left out".to_owned());
            continue;
        }
        tasks += count;
        if tasks > TASKS_MAX {
            return Err(WorkloadError::TooMany {
                file: file.to_owned(),
                line,
                what: "tasks in one application",
                max: TASKS_MAX,
            });
        }
        let durations = match average {
            Some(ms) => Durations::Constant((ms.round() as u64).min(super::TIME_MS_MAX)),
            None if runtimes.is_empty() => {
                return wrong("runtimes", "nothing", "a list of milliseconds, or averageRuntime");
            }
            None => {
                if runtimes.len() as u64 != count {
                    notices.say_of("runtimes", || {
                        "numInstances is how many tasks there are, also where runtimes lists more or fewer".to_owned()
                    });
                }
                Durations::of_list(runtimes)
            }
        };
        let index = groups.len();
        groups.push(TaskGroup {
            name: format!("request-{index}").into(),
            priority: ask.priority.unwrap_or(20) as i32,
            allocation_request_id: index as i64,
            count: count as u32,
            resource: ask.resource.as_ref().map_or_else(|| Resource::new(1_024, 1), Amounts::to_resource),
            durations,
            after: index.checked_sub(1).map(|before| Dependency::all_of(before as u32)).into_iter().collect(),
            delay_ms: known(ask.delay_ms).unwrap_or(0),
            ..TaskGroup::default()
        });
    }
    Ok(ApplicationSpec {
        submit_ms,
        name: app.id.unwrap_or_else(|| format!("application-{line}").into()),
        user: app.user.unwrap_or_else(|| "default".into()),
        queue: app.queue.unwrap_or_else(|| "default".into()),
        application_type: app.kind.unwrap_or_else(|| "YARN".into()),
        label: app.label.flatten(),
        tags: app.tags.unwrap_or_default().into(),
        am: AmSpec {
            resource: app.am.as_ref().map_or_else(|| Resource::new(1_024, 1), Amounts::to_resource),
            ..AmSpec::default()
        },
        groups: groups.into(),
        ..ApplicationSpec::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{ReadOptions, Workload};

    const SAMPLE: &str = include_str!("../../samples/dynoyarn.jsonl");

    #[test]
    fn the_sample_is_read() {
        let workload = Workload::from_text("w.jsonl", SAMPLE, &ReadOptions::default()).unwrap();
        let apps = &workload.applications;
        assert_eq!(apps.len(), 2);
        assert_eq!((apps[0].submit_ms, apps[1].submit_ms), (0, 3_500));
        assert_eq!((&*apps[0].application_type, &*apps[0].tags[0]), ("MAPREDUCE", "nightly"));
        let [first, second] = &*apps[0].groups else { panic!("{:?}", apps[0].groups) };
        assert_eq!((first.count, first.durations.ms(1), first.after.len()), (3, 12_500, 0));
        // DynoYARN asks for one request after the other.
        assert_eq!((second.durations.ms(0), second.delay_ms, second.after[0].group), (20_000, 1_000, 0));
        let executors = &apps[1].groups[0];
        assert_eq!((apps[1].label.as_deref(), executors.count), (Some("gpu"), 8));
        // Two listed for eight: they take turns.
        assert_eq!((executors.durations.ms(6), executors.durations.ms(7)), (60_000, 90_000));
        assert_eq!(executors.resource.extended[0].name, GPU);
        assert_eq!(workload.notices.len(), 2, "{:?}", workload.notices);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            let options =
                ReadOptions { format: Some(crate::workload::Format::DynoYarn), ..ReadOptions::default() };
            let error = Workload::from_text("t", text.to_owned(), &options).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should contain {expected:?}");
        };
        let ask = |rest: &str| format!("{{\"submitTime\":1,\"resourceRequestSpecs\":[{rest}]}}");
        check("", "there are no applications");
        check("{\"submitTime\":1}\n{}", "t:2: submitTime: \"nothing\"");
        check("{\"submitTime\":-2}", "t:1: submitTime: -2");
        check(&ask("{\"numInstances\":1}"), "runtimes: \"nothing\"");
        check(&ask("{\"numInstances\":10000001}"), "numInstances: 10000001");
        check(&ask("{\"runtimes\":[1,\"x\"]}"), "runtimes: \"x\"");
        check(&ask("{\"runtimes\":[1],\"resource\":{\"memoryMB\":0}}"), "memoryMB: 0");
        check(&ask(&"{\"runtimes\":[1]},".repeat(2_000)), "resourceRequestSpecs: more than 1024 entries");
    }
}

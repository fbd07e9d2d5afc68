//! The Scheduler Load Simulator's synthetic workloads (SYNTH): one JSON object of distributions that jobs are drawn from.
//! Owns: what its keys mean here. Called by: `reader`. Thread: the reader's. Does not: draw the numbers Hadoop would draw
//! for the same seed (its generator is Java's); distributions, weights and time buckets are the same.
//! Invariant: job `i` is a function of the seed and `i`.
//!
//! Both forms are read: `tasks` with samples (`{"val": 5, "std": 1, "dist": "LOGNORM"}`, `{"discrete": […], "weights": […]}`),
//! and the older one with `mtasks_avg`, `mtasks_stddev` and so on. Times are seconds. Reservations and deadlines are not used.

use std::io::{BufRead, Read};
use std::sync::Arc;

use heddle_wire::record::{ExecutionType, Resource};
use serde::Deserialize;

use super::durations::{Distribution, Shape, pick, seed_of, sums};
use super::json::{Anything, Inner, Many, OBJECT_BYTES_MAX, One, Real, Whole, record, text_error};
use super::reader::{Applications, Notices};
use super::sls::{Maybe, Priority, Queue, Text, execution_type, nodes_of};
use super::{
    APPLICATIONS_MAX, AmSpec, ApplicationSpec, Dependency, Durations, GROUPS_MAX, MEMORY_MB_MAX, NODES_MAX,
    NodeSpec, TIME_MS_MAX, TaskGroup, VIRTUAL_CORES_MAX, WorkloadError,
};
use crate::fleet::Chance;

/// Most workloads, classes, buckets of time, and values of one sample.
const LIST_MAX: usize = 10_000;

/// Most tasks one group is drawn to have.
const COUNT_MAX: f64 = 1_000_000.0;

/// Least container, as Hadoop has it.
const LEAST: (f64, f64) = (1_024.0, 1.0);

type Number = One<Real>;

record! {
    /// The whole.
    struct Trace {
        description: One<Anything> = "description",
        nodes: One<Whole<0, { NODES_MAX as i64 }>> = "num_nodes",
        nodes_per_rack: One<Whole<0, { NODES_MAX as i64 }>> = "nodes_per_rack",
        jobs: One<Whole<1, { APPLICATIONS_MAX as i64 }>> = "num_jobs",
        seed: One<Whole<{ i64::MIN }, { i64::MAX }>> = "rand_seed",
        workloads: Many<Inner<Load>, LIST_MAX> = "workloads",
    }
}

record! {
    /// Jobs of one queue.
    struct Load {
        name: One<Anything> = "workload_name",
        description: One<Anything> = "description",
        weight: Number = "workload_weight",
        queue: Queue = "queue_name",
        classes: Many<Inner<Class>, LIST_MAX> = "job_classes",
        times: Many<Inner<Bucket>, LIST_MAX> = "time_distribution",
    }
}

record! {
    /// From here to the next bucket's time.
    struct Bucket {
        time_s: One<Whole<0, { (TIME_MS_MAX / 1_000) as i64 }>> = "time",
        weight: Number = "weight",
        jobs: One<Anything> = "jobs",
    }
}

record! {
    /// Jobs of one kind.
    struct Class {
        name: Text = "class_name",
        user: Maybe = "user_name",
        weight: Number = "class_weight",
        kind: Maybe = "type",
        duration: Inner<Sample> = "duration",
        tasks: Many<Inner<Kindred>, GROUPS_MAX> = "tasks",
        reservation: One<Anything> = "reservation" | "chance_of_reservation",
        deadline: One<Anything> = "deadline_factor" | "deadline_factor_avg" | "deadline_factor_stddev",
        params: One<Anything> = "params",
        dur_avg: Number = "dur_avg",
        dur_stddev: Number = "dur_stddev",
        mtasks_avg: Number = "mtasks_avg",
        mtasks_stddev: Number = "mtasks_stddev",
        rtasks_avg: Number = "rtasks_avg",
        rtasks_stddev: Number = "rtasks_stddev",
        mtime_avg: Number = "mtime_avg",
        mtime_stddev: Number = "mtime_stddev",
        rtime_avg: Number = "rtime_avg",
        rtime_stddev: Number = "rtime_stddev",
        map_memory: Number = "map_max_memory_avg",
        map_memory_stddev: Number = "map_max_memory_stddev",
        reduce_memory: Number = "reduce_max_memory_avg",
        reduce_memory_stddev: Number = "reduce_max_memory_stddev",
        map_vcores: Number = "map_max_vcores_avg",
        map_vcores_stddev: Number = "map_max_vcores_stddev",
        reduce_vcores: Number = "reduce_max_vcores_avg",
        reduce_vcores_stddev: Number = "reduce_max_vcores_stddev",
        map_execution_type: Maybe = "map_execution_type",
        reduce_execution_type: Maybe = "reduce_execution_type",
    }
}

record! {
    /// Tasks of one kind.
    struct Kindred {
        kind: Maybe = "type",
        priority: Priority = "priority",
        count: Inner<Sample> = "count",
        time_s: Inner<Sample> = "time",
        memory: Inner<Sample> = "max_memory",
        vcores: Inner<Sample> = "max_vcores",
        execution_type: Maybe = "execution_type",
    }
}

record! {
    /// A sample as it is written.
    struct RawSample {
        val: Number = "val",
        std: Number = "std",
        dist: Text = "dist",
        discrete: Many<Number, LIST_MAX> = "discrete",
        weights: Many<Number, LIST_MAX> = "weights",
    }
}

/// Something to draw.
#[derive(Clone, Debug)]
enum Sample {
    Spread(Shape),
    /// Values with the sum of the weights up to each.
    Discrete(Vec<(f64, f64)>),
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let raw = RawSample::deserialize(input)?;
        match (raw.val, raw.std, raw.dist, raw.discrete) {
            (Some(mean), Some(deviation), dist, None) if raw.weights.is_none() => {
                let dist = dist.unwrap_or_else(|| "LOGNORM".into());
                match dist.to_ascii_uppercase().as_str() {
                    "LOGNORM" => Ok(Self::Spread(lognormal(mean, deviation))),
                    "NORM" => Ok(Self::Spread(Shape::Normal { mean, deviation })),
                    _ => Err(D::Error::custom(format!(
                        "dist: {dist:?} is not accepted, accepted is LOGNORM or NORM"
                    ))),
                }
            }
            (Some(value), None, None, None) if raw.weights.is_none() => {
                Ok(Self::Spread(Shape::Constant(value)))
            }
            (None, None, None, Some(values)) if !values.is_empty() => {
                let weights = raw.weights.unwrap_or_else(|| vec![1.0; values.len()]);
                if weights.len() != values.len() {
                    return Err(D::Error::custom("weights: there have to be as many as values in discrete"));
                }
                let sums = sums(weights)
                    .ok_or_else(|| D::Error::custom("weights: all are 0, accepted is at least one above"))?;
                Ok(Self::Discrete(values.into_iter().zip(sums).collect()))
            }
            _ => Err(D::Error::custom(
                "a sample is {\"val\"}, {\"val\", \"std\", \"dist\"} or {\"discrete\", \"weights\"}",
            )),
        }
    }
}

/// Without a deviation, or around 0, it is always the same.
fn lognormal(mean: f64, deviation: f64) -> Shape {
    if mean <= 0.0 || deviation <= 0.0 { Shape::Constant(mean) } else { Shape::LogNormal { mean, deviation } }
}

impl Sample {
    fn draw(&self, min: f64, max: f64, chance: &mut Chance) -> f64 {
        match self {
            Self::Spread(shape) => Distribution { shape: *shape, min, max }.draw(chance),
            Self::Discrete(values) => {
                let sums: Vec<f64> = values.iter().map(|(_, sum)| *sum).collect();
                values.get(pick(&sums, chance)).map_or(min, |(value, _)| value.clamp(min, max))
            }
        }
    }

    /// Durations in milliseconds of `count` tasks, from seconds.
    fn durations(&self, count: u32, chance: &mut Chance) -> Durations {
        const MAX: f64 = TIME_MS_MAX as f64;
        match self {
            Self::Spread(Shape::Constant(s)) => Durations::Constant((s * 1e3).clamp(0.0, MAX).round() as u64),
            Self::Spread(shape) => {
                let shape = match *shape {
                    Shape::LogNormal { mean, deviation } => {
                        Shape::LogNormal { mean: mean * 1e3, deviation: deviation * 1e3 }
                    }
                    Shape::Normal { mean, deviation } => {
                        Shape::Normal { mean: mean * 1e3, deviation: deviation * 1e3 }
                    }
                    other => other,
                };
                Durations::Drawn {
                    distribution: Distribution { shape, min: 0.0, max: MAX },
                    seed: chance.next(),
                }
            }
            Self::Discrete(_) => {
                let one = |_| (self.draw(0.0, MAX / 1e3, chance) * 1e3).round() as u64;
                Durations::of_list((0..count).map(one).collect())
            }
        }
    }
}

/// A class, checked.
struct JobClass {
    name: Arc<str>,
    user: Arc<str>,
    kind: Arc<str>,
    duration: Sample,
    tasks: Vec<TaskClass>,
}

struct TaskClass {
    name: Arc<str>,
    priority: i32,
    count: Sample,
    time_s: Sample,
    memory: Sample,
    vcores: Sample,
    execution_type: ExecutionType,
}

/// A workload, checked.
struct JobSource {
    queue: Arc<str>,
    classes: Vec<JobClass>,
    class_sums: Vec<f64>,
    times: Vec<u64>,
    time_sums: Vec<f64>,
}

/// The nodes and the jobs, these by time of submission.
pub(crate) fn read(
    file: &Arc<str>,
    input: Box<dyn BufRead + Send>,
    seed: Option<u64>,
    notices: &mut Notices,
) -> Result<(Option<Vec<NodeSpec>>, Applications), WorkloadError> {
    let trace: Trace =
        serde_json::from_reader(input.take(OBJECT_BYTES_MAX)).map_err(|error| text_error(file, &error))?;
    // One object: where in it a value stands is not known any more once it is checked against others.
    let wrong =
        |field: &str, found: &str, accepted: &str| WorkloadError::value(file, 1, field, found, accepted);
    for (key, _) in &trace.extra {
        notices.say_of(key, || format!("the key {key:?} is not used"));
    }
    let workloads = trace.workloads.unwrap_or_default();
    let weights = workloads.iter().map(|load| load.weight.unwrap_or(1.0));
    let sums_of_all = sums(weights)
        .ok_or_else(|| wrong("workload_weight", "0 in every workload", "at least one above 0"))?;
    let sources = workloads
        .into_iter()
        .enumerate()
        .map(|(index, load)| source(file, index, load, notices))
        .collect::<Result<Vec<_>, _>>()?;
    let jobs = trace.jobs.ok_or_else(|| wrong("num_jobs", "nothing", "how many jobs there are"))? as u64;
    let seed = seed.unwrap_or_else(|| trace.seed.map_or(1, |seed| seed as u64));
    // When each is submitted, and of which workload it is.
    let mut plan: Vec<(u64, u32, u32)> = (0..jobs)
        .map(|job| {
            let mut chance = Chance(seed_of(seed, job));
            let load = pick(&sums_of_all, &mut chance);
            let submit_ms = sources.get(load).map_or(0, |source| source.submit_ms(&mut chance));
            (submit_ms, job as u32, load as u32)
        })
        .collect();
    plan.sort_unstable();
    let applications = plan.into_iter().filter_map(move |(submit_ms, job, load)| {
        // Another part of the seed than what the plan was drawn with.
        let mut chance = Chance(seed_of(!seed, u64::from(job)));
        sources.get(load as usize).map(|source| Ok(source.application(submit_ms, job, &mut chance)))
    });
    let nodes = trace.nodes.filter(|nodes| *nodes > 0).map(|nodes| {
        let per_rack = trace.nodes_per_rack.unwrap_or(40).max(1);
        nodes_of(nodes as usize, (nodes as u64).div_ceil(per_rack as u64) as usize)
    });
    Ok((nodes, Box::new(applications)))
}

fn source(file: &str, index: usize, load: Load, notices: &mut Notices) -> Result<JobSource, WorkloadError> {
    let at = |key: &str| format!("workloads[{index}].{key}");
    let wrong =
        |key: &str, found: &str, accepted: &str| WorkloadError::value(file, 1, at(key), found, accepted);
    let classes = load.classes.unwrap_or_default();
    let class_sums = sums(classes.iter().map(|class| class.weight.unwrap_or(1.0)))
        .ok_or_else(|| wrong("job_classes", "none with a class_weight above 0", "at least one"))?;
    let buckets = load.times.unwrap_or_default();
    let times: Vec<u64> = buckets.iter().map(|bucket| bucket.time_s.unwrap_or(0).unsigned_abs()).collect();
    if !times.is_sorted() {
        return Err(wrong("time_distribution", "times that go back", "times in ascending order"));
    }
    let time_sums = sums(buckets.iter().map(|bucket| bucket.weight.unwrap_or(0.0)))
        .ok_or_else(|| wrong("time_distribution", "none with a weight above 0", "at least one"))?;
    let classes = classes
        .into_iter()
        .enumerate()
        .map(|(number, class)| job_class(file, &at(&format!("job_classes[{number}]")), class, notices))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(JobSource {
        queue: load.queue.unwrap_or_else(|| "default".into()),
        classes,
        class_sums,
        times,
        time_sums,
    })
}

fn job_class(file: &str, path: &str, class: Class, notices: &mut Notices) -> Result<JobClass, WorkloadError> {
    let wrong = |key: &str, found: &str, accepted: &str| {
        WorkloadError::value(file, 1, format!("{path}.{key}"), found, accepted)
    };
    for (key, _) in &class.extra {
        notices.say_of(key, || format!("the key {key:?} is not used"));
    }
    if class.reservation.is_some() || class.deadline.is_some() {
        notices.say_of("reservation", || "reservations and deadlines are not used".to_owned());
    }
    let named = |key: &str, name: Option<Arc<str>>| match name {
        None => Ok(ExecutionType::Guaranteed),
        Some(name) => execution_type(&name).ok_or_else(|| wrong(key, &name, "GUARANTEED or OPPORTUNISTIC")),
    };
    let old = |mean: Option<f64>, deviation: Option<f64>| {
        Sample::Spread(lognormal(mean.unwrap_or(0.0), deviation.unwrap_or(0.0)))
    };
    let tasks = match class.tasks {
        Some(tasks) => tasks
            .into_iter()
            .enumerate()
            .map(|(index, task)| {
                let missing = |key: &str| wrong(&format!("tasks[{index}].{key}"), "nothing", "a sample");
                Ok(TaskClass {
                    name: task.kind.flatten().unwrap_or_else(|| "map".into()),
                    priority: task.priority.unwrap_or(20) as i32,
                    count: task.count.ok_or_else(|| missing("count"))?,
                    time_s: task.time_s.ok_or_else(|| missing("time"))?,
                    memory: task.memory.ok_or_else(|| missing("max_memory"))?,
                    vcores: task.vcores.ok_or_else(|| missing("max_vcores"))?,
                    execution_type: named(
                        &format!("tasks[{index}].execution_type"),
                        task.execution_type.flatten(),
                    )?,
                })
            })
            .collect::<Result<Vec<_>, WorkloadError>>()?,
        None => vec![
            TaskClass {
                name: "map".into(),
                priority: 20,
                count: old(class.mtasks_avg, class.mtasks_stddev),
                time_s: old(class.mtime_avg, class.mtime_stddev),
                memory: old(class.map_memory, class.map_memory_stddev),
                vcores: old(class.map_vcores, class.map_vcores_stddev),
                execution_type: named("map_execution_type", class.map_execution_type.flatten())?,
            },
            TaskClass {
                name: "reduce".into(),
                priority: 10,
                count: old(class.rtasks_avg, class.rtasks_stddev),
                time_s: old(class.rtime_avg, class.rtime_stddev),
                memory: old(class.reduce_memory, class.reduce_memory_stddev),
                vcores: old(class.reduce_vcores, class.reduce_vcores_stddev),
                execution_type: named("reduce_execution_type", class.reduce_execution_type.flatten())?,
            },
        ],
    };
    Ok(JobClass {
        name: class.name.unwrap_or_else(|| "class".into()),
        user: class.user.flatten().unwrap_or_else(|| "default".into()),
        kind: class.kind.flatten().unwrap_or_else(|| "mapreduce".into()),
        duration: class.duration.unwrap_or_else(|| old(class.dur_avg, class.dur_stddev)),
        tasks,
    })
}

impl JobSource {
    fn submit_ms(&self, chance: &mut Chance) -> u64 {
        let bucket = pick(&self.time_sums, chance);
        let start = self.times.get(bucket).copied().unwrap_or(0);
        // The last bucket has no end: all of its jobs start together.
        let end = self.times.get(bucket + 1).copied().unwrap_or(start);
        let uniform = Distribution { shape: Shape::Uniform, min: start as f64, max: end as f64 };
        (uniform.draw(chance) * 1e3).round() as u64
    }

    fn application(&self, submit_ms: u64, job: u32, chance: &mut Chance) -> ApplicationSpec {
        let index = pick(&self.class_sums, chance);
        let Some(class) = self.classes.get(index) else { return ApplicationSpec::default() };
        let duration_ms = (class.duration.draw(0.0, TIME_MS_MAX as f64 / 1e3, chance) * 1e3).round() as u64;
        let is_stream = class.kind.eq_ignore_ascii_case("stream");
        let mut groups: Vec<TaskGroup> = Vec::new();
        for task in &class.tasks {
            let count = task.count.draw(0.0, COUNT_MAX, chance).round() as u32;
            let memory_mb = task.memory.draw(LEAST.0, MEMORY_MB_MAX as f64, chance).round() as u64;
            let vcores = task.vcores.draw(LEAST.1, VIRTUAL_CORES_MAX as f64, chance).round() as u32;
            let durations = task.time_s.durations(count, chance);
            if count == 0 {
                continue;
            }
            let is_reduce =
                class.kind.eq_ignore_ascii_case("mapreduce") && task.name.eq_ignore_ascii_case("reduce");
            let maps =
                groups.iter().enumerate().filter(|(_, group)| !group.name.eq_ignore_ascii_case("reduce"));
            let after = if is_reduce {
                maps.map(|(group, _)| Dependency::all_of(group as u32)).collect()
            } else {
                Arc::default()
            };
            groups.push(TaskGroup {
                name: Arc::clone(&task.name),
                priority: task.priority,
                allocation_request_id: groups.len() as i64,
                count,
                resource: Resource::new(memory_mb, vcores),
                durations: if is_stream { Durations::Constant(duration_ms) } else { durations },
                after,
                execution_type: task.execution_type,
                ..TaskGroup::default()
            });
        }
        ApplicationSpec {
            submit_ms,
            name: format!("{}_{job:06}", class.name).into(),
            user: Arc::clone(&class.user),
            queue: Arc::clone(&self.queue),
            application_type: class.kind.to_ascii_uppercase().into(),
            am: AmSpec::default(),
            groups: groups.into(),
            ..ApplicationSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {

    use crate::workload::{ReadOptions, Workload};

    const SAMPLE: &str = include_str!("../../samples/synth.json");
    const OLD: &str = include_str!("../../samples/synth-averages.json");

    fn read_text(text: &str, seed: Option<u64>) -> Result<Workload, String> {
        let options =
            ReadOptions { seed, format: Some(crate::workload::Format::Synth), ..ReadOptions::default() };
        Workload::from_text("t", text.to_owned(), &options).map_err(|error| error.to_string())
    }

    #[test]
    fn both_samples_are_read() {
        for (text, jobs, nodes) in [(SAMPLE, 200, 40), (OLD, 50, 20)] {
            let workload = read_text(text, None).unwrap();
            assert_eq!(workload.applications.len(), jobs);
            assert_eq!(workload.nodes.as_ref().unwrap().len(), nodes);
            assert!(workload.applications.is_sorted_by_key(|spec| spec.submit_ms));
            for spec in &workload.applications {
                for group in spec.groups.iter() {
                    assert!(group.count > 0 && group.resource.memory_mb >= 1_024, "{group:?}");
                }
            }
        }
        let workload = read_text(SAMPLE, None).unwrap();
        assert_eq!(workload.queue_names().len(), 2);
        // Two thirds of the weight are the first workload's.
        let first = workload.applications.iter().filter(|spec| &*spec.queue == "etl").count();
        assert!((100..=165).contains(&first), "{first}");
        let reduces = workload
            .applications
            .iter()
            .flat_map(|spec| spec.groups.iter())
            .filter(|group| &*group.name == "reduce");
        assert!(reduces.clone().count() > 50 && reduces.clone().all(|group| !group.after.is_empty()));
        // A discrete count is one of its values.
        let streams = workload.applications.iter().filter(|spec| &*spec.application_type == "STREAM");
        assert!(streams.clone().all(|spec| [2, 4, 8].contains(&spec.groups[0].count)));
        assert!(streams.count() > 0);
    }

    #[test]
    fn a_seed_gives_the_same_jobs_again() {
        let one = read_text(SAMPLE, Some(5)).unwrap();
        assert_eq!(one, read_text(SAMPLE, Some(5)).unwrap());
        assert_ne!(one, read_text(SAMPLE, Some(6)).unwrap());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(SAMPLE.contains(from), "{from}");
            let error = read_text(&SAMPLE.replacen(from, to, 1), None).unwrap_err();
            assert!(error.contains(expected), "{error:?} should contain {expected:?}");
        };
        check(
            "\"num_jobs\": 200",
            "\"num_jobs\": 1e99",
            "t:5: num_jobs: 1e99 is not accepted, accepted is a whole number from 1",
        );
        check("\"num_jobs\": 200,", "", "num_jobs: \"nothing\"");
        check("\"dist\": \"NORM\"", "\"dist\": \"CAUCHY\"", "dist: \"CAUCHY\" is not accepted");
        check("\"val\": 40, \"std\": 20", "\"val\": -40, \"std\": 20", "val: -40");
        check("\"time\": 600", "\"time\": 1", "workloads[0].time_distribution");
        assert!(read_text("{}", None).is_err_and(|error| error.contains("workload_weight")));
        assert!(read_text("", None).is_err());
    }
}

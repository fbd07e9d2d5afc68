//! Tests of the scenarios' reader and generator, on the samples a reader of the documentation sees.

use super::*;
use crate::workload::{Format, ReadOptions, Workload, WorkloadReader};

const SAMPLE: &str = include_str!("../../../samples/scenario.toml");

fn read_text(text: &str, seed: Option<u64>) -> Result<Workload, String> {
    let options = ReadOptions { seed, format: Some(Format::Scenario), ..ReadOptions::default() };
    Workload::from_text("t", text.to_owned(), &options).map_err(|error| error.to_string())
}

#[test]
fn the_annotated_sample_is_read() {
    let workload = read_text(SAMPLE, None).unwrap();
    let nodes = workload.nodes.as_ref().unwrap();
    assert_eq!(nodes.len(), 100);
    assert_eq!((&*nodes[0].host, &*nodes[1].rack), ("node000000", "/noderack0001"));
    assert_eq!((nodes[99].label.as_deref(), nodes[99].resource.extended[0].value), (Some("gpu"), 8));
    assert_eq!(workload.queues.as_ref().unwrap().leaves.len(), 6);
    assert!(workload.queues.as_ref().unwrap().toml.contains("maximum_capacity = \"80%\""));
    let of = |kind: &str| {
        workload.applications.iter().filter(|spec| spec.name.starts_with(kind)).collect::<Vec<_>>()
    };
    let (loads, queries, services) = (of("load"), of("query"), of("service"));
    // 6 a minute for 20 minutes; 2 × 5 a minute for 14 minutes.
    assert!((90..=150).contains(&loads.len()), "{}", loads.len());
    assert!((80..=200).contains(&queries.len()) && queries.len().is_multiple_of(5), "{}", queries.len());
    assert_eq!(services.len(), 2);
    for spec in &loads {
        let [maps, reduces] = &*spec.groups else { panic!("{spec:?}") };
        let local: u32 = maps.localities.iter().map(|place| place.count).sum();
        assert_eq!(local, (f64::from(maps.count) * 0.7).round() as u32);
        assert_eq!(reduces.after[0].completed_ppm, 800_000);
        assert!((1..=8).contains(&reduces.count));
        assert!((0..maps.count).all(|index| maps.durations.ms(index) >= 1_000));
    }
    assert!(queries.iter().all(|spec| spec.priority == Some(5) && spec.user.starts_with("analyst")));
    let service = services[0];
    assert_eq!(
        (service.lifetime_s, service.attempts_max, service.keeps_containers),
        (Some(1_800), Some(3), true)
    );
    assert_eq!((service.groups[0].label.as_deref(), service.groups[0].retries), (Some("gpu"), 10));
}

#[test]
fn a_seed_gives_the_same_applications_again() {
    let one = read_text(SAMPLE, Some(5)).unwrap();
    assert_eq!(one, read_text(SAMPLE, Some(5)).unwrap());
    assert_ne!(one.applications, read_text(SAMPLE, Some(6)).unwrap().applications);
    // The scenario's own seed is 7.
    assert_eq!(read_text(SAMPLE, None), read_text(SAMPLE, Some(7)));
}

#[test]
fn applications_come_by_time_and_within_it() {
    let reader = WorkloadReader::from_text("s.toml", SAMPLE, &ReadOptions::default()).unwrap();
    let times: Vec<u64> = reader.map(|spec| spec.unwrap().submit_ms).collect();
    assert!(times.is_sorted() && *times.last().unwrap() < 20 * 60_000);
}

#[test]
fn the_default_scenario_keeps_its_cluster_busy() {
    let workload = read_text(DEFAULT_SCENARIO, None).unwrap();
    let nodes = workload.nodes.as_ref().unwrap();
    assert_eq!((nodes.len(), workload.queues.as_ref().unwrap().leaves.len()), (10_000, 100));
    assert_eq!(workload.queue_names().len(), 100);
    let (mut cores, mut memory, mut tasks) = (0.0, 0.0, 0_u64);
    let (from_ms, until_ms) = (60_000, 600_000);
    for spec in workload.applications.iter().filter(|spec| spec.submit_ms >= from_ms) {
        for group in spec.groups.iter() {
            let ms: u64 = (0..group.count).map(|index| group.durations.ms(index)).sum();
            cores += ms as f64 * f64::from(group.resource.virtual_cores);
            memory += ms as f64 * group.resource.memory_mb as f64;
            tasks += u64::from(group.count);
        }
    }
    let span = (until_ms - from_ms) as f64;
    let share = |used: f64, offered: f64| used / span / offered;
    let cores = share(cores, nodes.iter().map(|node| f64::from(node.resource.virtual_cores)).sum());
    let memory = share(memory, nodes.iter().map(|node| node.resource.memory_mb as f64).sum());
    let starts = tasks as f64 / span * 1e3;
    assert!((0.78..=0.90).contains(&cores), "{cores} of the cores, {memory} of memory, {starts} starts/s");
    assert!(
        memory < cores && starts > 3_000.0,
        "{cores} of the cores, {memory} of memory, {starts} starts/s"
    );
}

#[test]
fn what_is_wrong_is_named() {
    let check = |from: &str, to: &str, expected: &str| {
        assert!(SAMPLE.contains(from), "{from}");
        let error = read_text(&SAMPLE.replacen(from, to, 1), None).unwrap_err();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    };
    let line = |what: &str| {
        let at = SAMPLE.find(what).unwrap();
        format!("t:{}: ", SAMPLE[..at].lines().count() + 1)
    };
    check("seed = 7", "sede = 7", "unknown field `sede`");
    check(
        "duration = \"20m\"",
        "duration = \"20 weeks\"",
        "\"20 weeks\" is not accepted, accepted is a time",
    );
    check("duration = \"20m\"", "duration = \"20 weeks\"", &line("duration = \"20m\""));
    check(
        "count = 90",
        "count = 0",
        "nodes[0].count: \"0\" is not accepted, accepted is a whole number from 1 to",
    );
    check("count = 90", "count = 99999999999", "nodes[0].count");
    check("count = 90", "count = -1", "t:");
    check("prefix = \"gpu\"", "prefix = \"node\"", "nodes[1].prefix");
    check("count = 3\nskew", "count = 300000\nskew", "queue_levels[1].count");
    check("skew = 1.0               #", "skew = nan #", "queue_levels[1].skew");
    check(
        "after = [{ tasks = \"map\", completed = 0.8 }]",
        "after = [\"shuffle\"]",
        "tasks[1].after: \"shuffle\" is not accepted, accepted is tasks listed before these: map",
    );
    check("completed = 0.8", "completed = 1.8", "after.completed");
    check("local = 0.7", "local = -0.7", "tasks[0].local");
    check("name = \"reduce\"", "name = \"map\"", "tasks[1].name");
    check("arrivals = { per_minute = 6.0 }", "arrivals = {}", "applications[0].arrivals");
    check("arrivals = { per_minute = 6.0 }", "arrivals = { per_minute = 9000000.0 }", "at most 4000000");
    check("users = [\"ana\", \"ben\"]", "users = []", "applications[0].users");
    check(
        "memory_mb = 2048\nvcores = 1\nlocal",
        "memory_mb = 0\nvcores = 1\nlocal",
        "tasks[0].memory_mb: \"0\"",
    );
    check("queues = [\"root.team0.line0\"]", "queues = []", "applications[2].queues");
    assert!(read_text("", None).unwrap_err().contains("missing field"));
    let error =
        Workload::from_text("t.toml", b"seed = 1\n\xff".to_vec(), &ReadOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "t.toml:2: this is not UTF-8");
}

#[test]
fn queues_may_be_listed_one_by_one() {
    let listed = "duration = \"1m\"\n[queues.root]\ncapacity = \"100%\"\n[queues.root.a]\ncapacity = \"1w\"\n\
        [queues.root.b.c]\ncapacity = { memory_mb = 1024, vcores = 1 }\n[queues.root.a.users.u]\nweight = 2\n\
        [[applications]]\nname = \"x\"\nusers = [\"u\"]\nqueues = [\"root.a\"]\narrivals = { process = \"regular\", per_minute = 3 }\n";
    let workload = read_text(listed, None).unwrap();
    // At 20 and 40 seconds; the first of a workload is at 0.
    assert_eq!(workload.applications.iter().map(|spec| spec.submit_ms).collect::<Vec<_>>(), [0, 20_000]);
    let queues = workload.queues.unwrap();
    assert_eq!(queues.leaves, ["root.a".into(), "root.b.c".into()]);
    let file: toml::Table = queues.toml.parse().unwrap();
    assert_eq!(file["queues"]["root"]["a"]["capacity"].as_str(), Some("1w"));
}

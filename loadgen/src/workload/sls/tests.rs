//! Tests of the reader of SLS traces. They live beside it because they need its parts.

use super::*;
use crate::workload::{Durations, Format, Locality, ReadOptions, Workload};

const SAMPLE: &str = include_str!("../../../samples/sls-jobs.json");
const NODES: &str = include_str!("../../../samples/sls-nodes.json");

fn read_text(text: &str) -> Result<Workload, String> {
    let options = ReadOptions { format: Some(Format::Sls), ..ReadOptions::default() };
    Workload::from_text("t", text.to_owned(), &options).map_err(|error| error.to_string())
}

#[test]
fn the_sample_is_read() {
    let workload = Workload::from_text("jobs.json", SAMPLE, &ReadOptions::default()).unwrap();
    let jobs = &workload.applications;
    assert_eq!(jobs.len(), 5);
    assert_eq!((&*jobs[0].name, &*jobs[0].user, &*jobs[0].queue), ("job_nightly", "ana", "etl"));
    let [maps, reduces] = &*jobs[0].groups else { panic!("{:?}", jobs[0].groups) };
    assert_eq!(maps.durations, Durations::List([15_000, 18_000].into()));
    assert_eq!(
        maps.localities[1],
        Locality { host: Some("node-2".into()), rack: "/rack-a".into(), count: 1 }
    );
    assert_eq!((maps.priority, reduces.priority, reduces.after.len()), (20, 10, 1));
    // Three copies of the second.
    assert!(jobs[1..4].iter().all(|job| job.submit_ms == 10_000 && job.tasks() == 22));
    assert_eq!(jobs[1].am.resource, Resource::new(2_048, 2));
    assert_eq!(jobs[1].label, None);
    let reduce = &jobs[1].groups[1].resource;
    assert_eq!((reduce.memory_mb, reduce.extended[0].name.as_str()), (4_096, "yarn.io/gpu"));
    let [now, later] = &*jobs[4].groups else { panic!("{:?}", jobs[4].groups) };
    assert_eq!((now.delay_ms, later.delay_ms, later.allocation_request_id), (0, 2_000, 7));
    assert_ne!(now.allocation_request_id, 7);
    assert_eq!(later.execution_type, ExecutionType::Opportunistic);
    // The nodes are those that tasks name.
    let hosts: Vec<_> = workload.nodes.unwrap().iter().map(|node| node.host.to_string()).collect();
    assert_eq!(hosts, ["node-1", "node-2", "node-3"]);
    assert_eq!(workload.notices, Vec::<String>::new());
}

#[test]
fn the_node_file_is_read() {
    let nodes = read_nodes(&"t".into(), Box::new(NODES.as_bytes()), &mut Notices::default()).unwrap();
    assert_eq!(nodes.len(), 3);
    assert_eq!((&*nodes[0].rack, nodes[0].resource.memory_mb), ("/rack-a", 10_240));
    assert_eq!(nodes[1].label.as_deref(), Some("gpu"));
    assert_eq!((nodes[1].resource.virtual_cores, nodes[1].resource.extended[0].value), (32, 4));
    assert_eq!(
        (&*nodes[2].rack, nodes[2].resource.memory_mb, nodes[2].resource.virtual_cores),
        ("/rack-b", 32_768, 10)
    );
}

#[test]
fn the_number_of_nodes_may_come_first() {
    let job = "{\"job.start.ms\":7,\"job.tasks\":[{\"duration.ms\":1}]}";
    let workload = read_text(&format!("{{\"num.nodes\":3,\"num.racks\":2}}\n{job}")).unwrap();
    let racks: Vec<_> = workload.nodes.unwrap().iter().map(|node| node.rack.to_string()).collect();
    assert_eq!(racks, ["/rack0", "/rack1", "/rack0"]);
    assert_eq!(workload.applications[0].submit_ms, 0);
}

#[test]
fn what_is_wrong_is_named() {
    let check = |text: &str, expected: &str| {
        let error = read_text(text).unwrap_err();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    };
    let job = |rest: &str| format!("\n{{\"job.start.ms\": 5,\n{rest}}}");
    check("", "there are no applications");
    check("{\"num.nodes\":1}", "there are no applications");
    check("{\"num.nodes\":0}", "num.nodes: 0 is not accepted, accepted is a whole number from 1 to 1048576");
    check("{}", "t:1: job.start.ms: \"nothing\"");
    check(&job("\"job.queue.name\":\"a\""), "t:2: job.tasks: \"nothing\"");
    check(&job("\"job.tasks\":{}"), "t:3:");
    check(&job("\"job.tasks\":[{\"duration.ms\":-7}]"), "t:3: duration.ms: -7 is not accepted");
    check(&job("\"job.tasks\":[{\"duration.ms\":99999999999999999999}]"), "duration.ms: 1e20");
    check(
        &job("\"job.tasks\":[{\"container.start.ms\":9,\"container.end.ms\":8}]"),
        "t:2: container.end.ms: \"8\"",
    );
    check(&job("\"job.tasks\":[{\"count\":2}]"), "a task without a duration");
    check(
        &job("\"job.tasks\":[{\"duration.ms\":1,\"count\":10000000},{\"duration.ms\":2}]"),
        "more than 10000000 tasks",
    );
    check(&job("\"job.tasks\":[{\"duration.ms\":1,\"container.host\":\"/a/\"}]"), "container.host: \"/a/\"");
    check(
        &job("\"job.tasks\":[{\"duration.ms\":1,\"container.execution.type\":\"X\"}]"),
        "container.execution.type",
    );
    check(&job("\"job.user\":\"a\\u0000\""), "t:3: job.user");
    check("{\"job.start.ms\":1} trailing", "t:1: ");
    check(&"[".repeat(10_000), "t:1: ");
    let error = read_nodes(&"t".into(), Box::new(&b"{\"rack\":\"a\"}"[..]), &mut Notices::default());
    assert!(error.unwrap_err().to_string().contains("no nodes"));
}

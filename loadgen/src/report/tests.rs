//! The report: keys, verdict, page.

use super::*;
use crate::driver::{Interval, latency_histogram};
use crate::fleet::{Capacities, FleetCounters};

/// The keys people's scripts read: a name that goes missing here breaks them.
const KEYS: [&str; 22] = [
    "schema",
    "command",
    "machine",
    "nodes",
    "connections",
    "duration_s",
    "beats_total",
    "beats_per_second",
    "latency_us",
    "server_cpu_us_per_beat",
    "client_cpu_us_per_beat",
    "server_cpu_cores",
    "late_sends",
    "dropped",
    "rejected",
    "false_losses",
    "server_rss_bytes",
    "server_rss_base_bytes",
    "rss_bytes_per_node",
    "handshakes_per_second",
    "time_to_all_registered_ms",
    "seconds",
];

fn spec() -> RunSpec {
    RunSpec {
        nodes: 100,
        connections: 100,
        interval: Interval::Every(Duration::from_secs(1)),
        batch: 64,
        duration: Duration::from_secs(10),
        containers_per_node: 0,
        churn_ppm: 0,
        capacities: Capacities::default(),
        client_threads: 1,
        handshakes: 64,
        reach_within: Duration::from_secs(1),
        faults: Vec::new(),
        duplicate_ppm: 0,
        stale_ppm: 0,
        kill_rm_at: None,
        seed: 1,
        unregisters: false,
        applications: None,
    }
}

fn outcome() -> RunOutcome {
    let mut latencies = latency_histogram();
    (1..=1_000).for_each(|ms| latencies.record(ms * 10).unwrap());
    let sample = |at_s| Sample {
        grants_per_second: 0.0,
        masters: 0,
        at_s,
        beats_per_second: 100.0,
        server_cores: 0.2,
        client_cores: 0.1,
        registered: 100,
    };
    RunOutcome {
        counters: FleetCounters::default(),
        latencies,
        slices: Vec::new(),
        slice: Duration::from_secs(1),
        beats: 1_000,
        skipped: 0,
        late_sends: 2,
        late_answers: 0,
        dropped: 0,
        measured: Duration::from_secs(10),
        server_cpu: Duration::from_millis(20),
        client_cpu: Duration::from_millis(10),
        client_thread_busy: 0.001,
        server_rss_base: Some(10 << 20),
        server_rss: Some(14 << 20),
        socket_drops: 0,
        time_to_all_connected: Duration::from_millis(500),
        time_to_all_registered: Duration::from_millis(700),
        connections_lost: 0,
        connects_failed: 0,
        interval_ms_max: 1_000,
        registered: 100,
        bytes: (0, 0),
        samples: vec![sample(1.0), sample(2.0), sample(3.0)],
        restart: None,
        errors: Vec::new(),
        applications: None,
        from_us: 0,
    }
}

fn report(change: impl FnOnce(&mut RunOutcome)) -> Report {
    let mut outcome = outcome();
    change(&mut outcome);
    Report::of_run(&spec(), &outcome, true, "heddle-loadgen".to_owned(), "now".to_owned())
}

#[test]
fn the_keys_are_there() {
    let json = serde_json::to_value(report(|_| {})).unwrap();
    for key in KEYS {
        assert!(json.get(key).is_some(), "{key}");
    }
    for key in ["p50", "p90", "p99", "p999", "max", "count"] {
        assert!(json["latency_us"][key].is_u64(), "{key}");
    }
    assert_eq!(json["schema"], "heddle-loadgen/1");
    assert_eq!(json["beats_per_second"], 100.0);
    assert_eq!(json["server_cpu_us_per_beat"], 20.0);
    assert_eq!(json["rss_bytes_per_node"], 41_943.0);
    assert_eq!(json["handshakes_per_second"], 200.0);
    assert!(json.get("floor_ratio").is_none());
}

#[test]
fn a_report_is_read_back() {
    let mut written = report(|_| {});
    written.floor_ratio = Some(0.85);
    let text = serde_json::to_string(&written).unwrap();
    assert!(text.contains("\"floor_ratio\":0.85"));
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), written);
}

fn round(floor_beats: u64, beats: u64) -> Round {
    let floor = FloorOutcome {
        beats: floor_beats,
        measured: Duration::from_secs(10),
        latencies: latency_histogram(),
        server_cpu: Duration::from_millis(floor_beats),
        client_cpu: Duration::ZERO,
        client_thread_busy: 0.0,
        time_to_all_connected: Duration::ZERO,
        began: std::time::SystemTime::UNIX_EPOCH,
        server_rss_base: None,
        server_rss: None,
        socket_drops: 0,
    };
    Round { floor, report: report(|outcome| outcome.beats = beats) }
}

#[test]
fn a_comparison_is_the_round_with_the_median_share() {
    // The medians of both rates, 1,100 and 900, belong to different rounds.
    let mut rounds =
        vec![round(1_000, 800), round(2_000, 1_800), round(1_100, 935), round(3_000, 900), round(900, 864)];
    let check = |rounds: &[Round], middle: usize, rates: (f64, f64), ratio: f64| {
        let (which, report) = Report::of_rounds(rounds).unwrap();
        assert_eq!(which, middle);
        let floor = report.floor_beats_per_second.unwrap();
        assert_eq!((floor, report.beats_per_second), rates);
        assert_eq!(report.floor_ratio, Some(ratio));
        assert_eq!(ratio, rounded(report.beats_per_second / floor, 3));
        assert_eq!(report.floor_server_cpu_us_per_beat, Some(1_000.0));
        assert_eq!(report.floor_ratios.len(), rounds.len());
        assert_eq!(report.floor_ratios[middle], ratio);
    };
    check(&rounds, 2, (110.0, 93.5), 0.85);
    rounds.pop();
    // 0.3, 0.8, 0.85, 0.9: the lower one of the middle.
    check(&rounds, 0, (100.0, 80.0), 0.8);
    assert!(Report::of_rounds(&[]).is_none());
    rounds[3].report.lost.push("3 beats".to_owned());
    let (_, lost) = Report::of_rounds(&rounds).unwrap();
    assert_eq!(lost.lost, ["round 4: 3 beats"]);
}

#[test]
fn memory_that_is_not_the_servers_alone_is_not_reported() {
    let known = report(|_| {});
    assert_eq!((known.server_rss_bytes, known.server_rss_base_bytes), (Some(14 << 20), Some(10 << 20)));
    assert_eq!(known.rss_bytes_per_connection, Some(41_943.0));
    for (base, end) in [(None, None), (None, Some(14 << 20))] {
        let unknown = report(|outcome| (outcome.server_rss_base, outcome.server_rss) = (base, end));
        let json = serde_json::to_value(&unknown).unwrap();
        for key in ["server_rss_base_bytes", "rss_bytes_per_node", "rss_bytes_per_connection"] {
            assert_eq!(json.get(key), Some(&serde_json::Value::Null), "{key}");
        }
        assert_eq!(json["server_rss_bytes"], serde_json::json!(end));
        let lines = unknown.lines();
        assert!(lines.contains(&("memory per node", "–".to_owned())), "{lines:?}");
        assert!(lines.contains(&("memory per connection", "–".to_owned())), "{lines:?}");
    }
}

#[test]
fn nodes_that_died_by_script_are_not_missing_and_hide_none() {
    assert!(report(|outcome| (outcome.registered, outcome.counters.killed) = (90, 10)).is_good());
    let hidden = report(|outcome| (outcome.registered, outcome.counters.killed) = (80, 10));
    assert!(hidden.verdict().contains("10 nodes not registered"), "{}", hidden.verdict());
}

#[test]
fn what_is_lost_is_said() {
    let check = |change: fn(&mut RunOutcome), expected: &str| {
        let report = report(change);
        assert!(!report.is_good());
        assert!(report.verdict().contains(expected), "{}", report.verdict());
    };
    assert_eq!(report(|_| {}).verdict(), "Nothing was lost.");
    check(|outcome| outcome.dropped = 3, "LOST: 3 beats without an answer");
    check(|outcome| outcome.counters.false_losses = 1, "1 nodes told that they were lost");
    check(|outcome| outcome.counters.wrong_ids = 1, "1 answers with ids");
    check(|outcome| outcome.registered = 90, "10 nodes not registered");
    check(|outcome| outcome.counters.shutdowns = 2, "2 nodes told to stop");
}

#[test]
fn the_load_generator_says_when_it_is_the_limit() {
    let busy = report(|outcome| outcome.client_thread_busy = 0.95);
    assert!(busy.verdict().contains("busy 95 %"), "{}", busy.verdict());
    let dear = report(|outcome| {
        (outcome.client_cpu, outcome.client_thread_busy) = (Duration::from_millis(30), 0.5);
    });
    assert!(dear.verdict().contains("30.00 µs"), "{}", dear.verdict());
    let idle = report(|outcome| {
        (outcome.client_cpu, outcome.client_thread_busy) = (Duration::from_millis(30), 0.1);
    });
    assert!(!idle.verdict().contains("limit"), "{}", idle.verdict());
    assert!(busy.is_good() && dear.is_good());
}

#[test]
fn the_page_has_plots_and_no_foreign_markup() {
    let written = report(|outcome| outcome.errors.push("<script>alert(1)</script>".to_owned()));
    let latencies = outcome().latencies;
    let page = crate::html::page(&written, &latencies, None, &percentile_text(&latencies)).unwrap();
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
    for expected in ["p99.9", "99.9 %", "Beats answered per second", "#[Max"] {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn the_table_is_for_people() {
    let table = report(|outcome| outcome.beats = 1_234_567).table();
    for expected in ["1,234,567", "latency p99.9", "false losses", "memory per node", "40.96 KiB"] {
        assert!(table.contains(expected), "{expected}\n{table}");
    }
}

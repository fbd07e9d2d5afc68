//! Flags: what is accepted, and what is said of what is not.

use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("heddle-loadgen").chain(line.split_whitespace()))
}

fn heartbeat(line: &str) -> HeartbeatArgs {
    match parse(line).unwrap().command {
        Some(Command::Heartbeat(args)) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn without_arguments_it_is_the_main_job() {
    let cli = parse("").unwrap();
    assert!(cli.command.is_none());
    let args = super::run::RunArgs { trace: None, cluster: cli.cluster };
    let play = super::run::play_of(&args).unwrap();
    assert_eq!((play.spec.nodes, play.spec.connections), (10_000, 10_000));
    assert_eq!(play.spec.interval, Interval::Every(Duration::from_secs(1)));
    assert_eq!(play.spec.duration, Duration::from_secs(60));
    let load = play.spec.applications.unwrap();
    assert!(load.applications.len() > 1_000 && !load.until_done);
    assert_eq!(play.workload.queue_tree().leaves.len(), 100);
}

/// An application of this trace asks for a label that only the nodes of a scenario have.
#[test]
fn nodes_of_a_scenario_serve_another_trace() {
    let samples = format!("{}/samples", env!("CARGO_MANIFEST_DIR"));
    let line = format!("run {samples}/dynoyarn.jsonl --nodes-from {samples}/scenario.toml");
    let play = super::run::play_of(&run_args(&line)).unwrap();
    assert_eq!(play.spec.nodes, 100);
    let directory = tempfile::TempDir::new().unwrap();
    let settings = super::run::settings_of(&play.workload, &play.spec, None, directory.path()).unwrap();
    assert!(
        settings.iter().any(|(key, value)| key == "scheduler.node_labels" && value == "gpu"),
        "{settings:?}"
    );
}

fn run_args(line: &str) -> super::run::RunArgs {
    match parse(line).unwrap().command {
        Some(Command::Run(args)) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trace_of_each_format_becomes_a_run() {
    for (file, flags) in [
        ("sls-jobs.json", "--nodes 10"),
        ("rumen.json", "--applications 1"),
        ("synth.json", "--speed 10"),
        ("dynoyarn.jsonl", ""),
        ("openb-tasks.csv", "--speed 1000"),
        ("scenario.toml", "--duration 5s"),
    ] {
        let path = format!("{}/samples/{file}", env!("CARGO_MANIFEST_DIR"));
        let play = super::run::play_of(&run_args(&format!("run {path} {flags}"))).unwrap();
        let load = play.spec.applications.as_ref().unwrap();
        assert!(!load.applications.is_empty(), "{file}");
        assert_eq!(load.until_done, !flags.contains("--duration"), "{file}");
        let directory = tempfile::TempDir::new().unwrap();
        let settings = super::run::settings_of(&play.workload, &play.spec, None, directory.path()).unwrap();
        let queues = settings.iter().find(|(key, _)| key == crate::rm::QUEUES_FILE).unwrap();
        assert!(std::fs::read_to_string(&queues.1).unwrap().contains("[queues.root"), "{file}");
    }
}

#[test]
fn a_faster_world_keeps_its_proportions() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/sls-jobs.json");
    let slow = super::run::play_of(&run_args(&format!("run {sample}"))).unwrap();
    let fast = super::run::play_of(&run_args(&format!("run {sample} --speed 10"))).unwrap();
    let (slow, fast) = (slow.spec.applications.unwrap(), fast.spec.applications.unwrap());
    assert_eq!(slow.applications.len(), fast.applications.len());
    for (slow, fast) in slow.applications.iter().zip(fast.applications.iter()) {
        assert_eq!(fast.submit_ms, (slow.submit_ms as f64 / 10.0).round() as u64);
        for (slow, fast) in slow.groups.iter().zip(fast.groups.iter()) {
            assert_eq!(slow.count, fast.count);
            let ms = (slow.durations.ms(0) as f64 / 10.0).round() as u64;
            assert_eq!(fast.durations.ms(0), ms);
        }
    }
}

#[test]
fn what_does_not_go_together_in_a_run_is_refused() {
    let check = |line: &str, expected: &str| {
        let error = super::run::play_of(&run_args(line)).err().unwrap().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    };
    check("run does-not-exist.json", "does-not-exist.json");
    check("run --am-interval max", "--am-interval");
    check("run --interval 1ms", "10ms to 600s");
    check("run --rm 127.0.0.1:1 --certificate a --key b --ca c", "--client-certificate");
    check("run --kill-nodes 1@2m", "--kill-nodes at 120s is past the end");
    assert!(parse("run --speed 0").unwrap_err().to_string().contains("0.001"));
    assert!(parse("allocate --batch 0").unwrap_err().to_string().contains("from 1 to 1024"));
}

#[test]
fn allocate_is_three_runs() {
    use super::allocate::{Part, spec_of};
    let args = match parse("allocate --masters 50 --batch 20 --nodes 200").unwrap().command {
        Some(Command::Allocate(args)) => *args,
        other => panic!("{other:?}"),
    };
    let closed = spec_of(&args, Part::Closed).applications.unwrap();
    assert_eq!((closed.applications.len(), closed.masters_before, closed.am_connections), (50, 50, 50));
    assert_eq!(closed.pace, crate::application::AmPace::Max);
    assert_eq!(closed.churn.unwrap().batch, 20);
    let opened = spec_of(&args, Part::Open { grants_per_second: 50_000.0 }).applications.unwrap();
    // 2,500 calls a second of 50 ApplicationMasters.
    assert_eq!(opened.pace, crate::application::AmPace::Every { interval_us: 20_000 });
    let full = spec_of(&args, Part::Full);
    assert_eq!(full.nodes, 20);
    let full = full.applications.unwrap();
    assert!(full.churn.is_none() && full.applications[0].tasks() >= 100_000);
}

#[test]
fn documented_commands_are_read() {
    for line in [
        "--nodes 100",
        "heartbeat --nodes 300000 --connections 64",
        "heartbeat --nodes 1000 --kill-rm-at 10s",
        "heartbeat --interval max --batch 64 --connections 8 --duration 5m",
        "heartbeat --containers-per-node 10 --churn 0.05 --json a --html b --hlog c --percentiles d",
        "heartbeat --kill-nodes 10@5s --kill-nodes 1@6s --pause-nodes 5@1s:2s --duplicate 0.1 --stale 0.01",
        "heartbeat --rm 127.0.0.1:8031 --certificate a --key b --ca c --rm-pid 7",
        "heartbeat --rm inprocess --rm-set nodes.max=5",
        "floor --connections 8 --batch 64",
        "floor --connections 1000 --batch 1 --outstanding 1",
        "compare --connections 8 --batch 64 --rounds 5",
        "compare --nodes 10000 --connections 10000",
        "trace inspect",
        "trace inspect a.csv --format openb --nodes-from b.csv -o json",
        "trace convert a.json --to sls --seed 7",
        "trace queues a.toml",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_is_refused_is_named_with_what_is_accepted() {
    let check = |line: &str, expected: &[&str]| {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        expected.iter().for_each(|word| assert!(error.to_string().contains(word), "{line}: {error}"));
    };
    check("heartbeat --nodes 0", &["--nodes", "'0'", "from 1 to 1048576"]);
    check("heartbeat --interval 5", &["--interval", "\"5\"", "250ms"]);
    check("heartbeat --churn 1.5", &["--churn", "1.5", "0 to 1"]);
    check("heartbeat --kill-nodes 10", &["--kill-nodes", "N@T"]);
    check("heartbeat --pause-nodes 10@1s", &["--pause-nodes", "N@T:D"]);
    check("heartbeat --rm localhost", &["--rm", "spawn, inprocess", "host:port", "--certificate", "--ca"]);
    check("heartbeat --rm [::1", &["--rm", "host:port"]);
    check("heartbeat --rm localhost:99999", &["--rm", "host:port"]);
    check("heartbeat --duration 1us", &["--duration", "100ms"]);
    check("compare --rm-set a", &["--rm-set", "section.key=value"]);
    check("heartbeat --certificate a", &["--key"]);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let check = |line: &str, expected: &str| {
        let error = super::heartbeat::spec_of(&heartbeat(line)).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    };
    check("heartbeat --nodes 10 --connections 11", "--connections is 11");
    check("heartbeat --interval 1ms", "--interval is 1ms");
    check("heartbeat --rm inprocess --kill-rm-at 1s", "--kill-rm-at needs --rm spawn");
    check("heartbeat --kill-rm-at 30s", "past the end");
    check("heartbeat --rm 127.0.0.1:1", "needs --certificate, --key and --ca");
    check("heartbeat --rm localhost:1", "needs --certificate, --key and --ca");
    check("heartbeat --certificate a --key b --ca c", "--rm with an address");
    check("heartbeat --rm-pid 7", "--rm with an address");
    check("heartbeat --kill-nodes 1@1s --kill-nodes 1@30s", "--kill-nodes at 30s is past the end");
    check("heartbeat --pause-nodes 1@40s:1s", "--pause-nodes at 40s is past the end");
    check("heartbeat --nodes-from does-not-exist.csv", "--nodes-from");
}

#[test]
fn a_running_resourcemanager_has_a_name_or_an_address() {
    let rm = |text: &str| heartbeat(&format!("heartbeat --rm {text}")).target.rm;
    assert_eq!(rm("127.0.0.1:8031"), TargetKind::Address(([127, 0, 0, 1], 8031).into()));
    assert_eq!(rm("[::1]:8031"), TargetKind::Address((std::net::Ipv6Addr::LOCALHOST, 8031).into()));
    assert!(matches!(rm("localhost:8031"), TargetKind::Address(address) if address.ip().is_loopback()));
}

#[test]
fn the_floor_writes_every_file_it_has_a_flag_for() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = |name: &str| Some(directory.path().join(name));
    let files =
        FileArgs { json: file("json"), html: file("html"), hlog: file("hlog"), percentiles: file("text") };
    let mut latencies = crate::driver::latency_histogram();
    latencies.record_n(1_000, 10).unwrap();
    let outcome = crate::floor::FloorOutcome {
        beats: 10,
        measured: Duration::from_secs(1),
        latencies,
        server_cpu: Duration::ZERO,
        client_cpu: Duration::ZERO,
        client_thread_busy: 0.0,
        time_to_all_connected: Duration::ZERO,
        began: std::time::SystemTime::UNIX_EPOCH,
        server_rss_base: None,
        server_rss: None,
        socket_drops: 0,
    };
    let spec = FloorSpec { connections: 1, batch: 1, outstanding: 1, duration: Duration::from_secs(1) };
    give_floor(&spec, &outcome, &files).unwrap();
    for name in ["json", "html", "text"] {
        assert!(std::fs::metadata(directory.path().join(name)).unwrap().len() > 0, "{name}");
    }
    let log = std::fs::read_to_string(directory.path().join("hlog")).unwrap();
    assert!(
        log.contains("bare QUIC echo") && log.lines().any(|line| line.starts_with("0.000,1.000,")),
        "{log}"
    );
}

#[test]
fn capacities_come_from_the_file() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/nodes.csv");
    let spec = super::heartbeat::spec_of(&heartbeat(&format!("heartbeat --nodes-from {sample}"))).unwrap();
    assert_eq!((spec.nodes, spec.capacities.of(2).gpus), (8, 8));
    let spec = super::heartbeat::spec_of(&heartbeat(&format!("heartbeat --nodes-from {sample} --nodes 20")))
        .unwrap();
    assert_eq!(spec.nodes, 20);
}

#[test]
fn nodes_of_a_shape() {
    let shape = |line: &str| match parse(line).unwrap().command {
        Some(Command::Floor(args)) => args.shape.nodes(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shape("floor"), 10_000);
    assert_eq!(shape("floor --connections 1000"), 1_000);
    assert_eq!(shape("floor --connections 8 --nodes 80"), 80);
}

/// Of a number that is none it was said "invalid digit found in string".
#[test]
fn a_number_that_is_none_is_told_what_is_accepted() {
    for (line, said) in [
        ("--nodes many", "1 to 1048576"),
        ("--am-connections 0", "1 to 100000"),
        ("--seed=-x", "0 to 18446744073709551615"),
        ("--applications 1e3", "1 to "),
        ("--client-threads 65", "1 to 64"),
        ("heartbeat --connections 1.5", "1 to 1048576"),
        ("heartbeat --containers-per-node 4097", "0 to 4096"),
        ("heartbeat --batch none", "1 to 65536"),
        ("heartbeat --rm-pid self", "1 to 4294967295"),
        ("heartbeat --handshakes 4097", "1 to 4096"),
        ("simulate --seed 18446744073709551616", "0 to 18446744073709551615"),
        ("allocate --masters 10k", "1 to 10000"),
        ("floor --outstanding 0", "1 to 1000000"),
        ("compare --rounds 100", "1 to 99"),
        ("trace inspect --seed x", "0 to 18446744073709551615"),
    ] {
        let value = line.rsplit([' ', '=']).next().unwrap();
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(&format!("invalid value '{value}'")), "{line}: {error}");
        assert!(error.contains(&format!("accepted is a whole number from {said}")), "{line}: {error}");
    }
    let error = parse("allocate --rate fast").unwrap_err().to_string();
    assert!(error.contains("accepted is a number from 1 to 1000000000"), "{error}");
    // And each is of the type that the flag has.
    for line in [
        "run t --nodes 5 --connections 2 --am-connections 3 --applications 7 --seed 9 --client-threads 2",
        "heartbeat --nodes 5 --containers-per-node 1 --batch 2 --handshakes 3 --rm-pid 4",
        "allocate --masters 5 --batch 1 --am-connections 2 --nodes 30 --connections 4 --rate 1e5",
        "simulate --nodes 5 --seed 1 --applications 2",
        "floor --connections 5 --nodes 6 --batch 1 --outstanding 2",
        "compare --rounds 5",
        "trace inspect --seed 1",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

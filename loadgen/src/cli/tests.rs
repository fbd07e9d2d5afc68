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
    let spec = super::heartbeat::spec_of(&cli.heartbeat).unwrap();
    assert_eq!((spec.nodes, spec.connections), (10_000, 10_000));
    assert_eq!(spec.interval, Interval::Every(Duration::from_secs(1)));
    assert_eq!(spec.duration, Duration::from_secs(30));
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
    check("heartbeat --nodes 0", &["--nodes", "0", "1..="]);
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

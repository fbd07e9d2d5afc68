//! A whole cluster in virtual time: shards, inventory and nodes, a network that misbehaves, checkers after every step.
//! Owns: the tests over many seeds. Called by: `cargo test --test sim`. Thread: each seed runs on one.
//! Does not: open sockets, read clocks. Invariant: a seed that fails once fails always, with the command that is printed.
//!
//! | file | what is in it |
//! |---|---|
//! | `plan` | what a seed decides: settings, which faults are on |
//! | `simulation`, `roles`, `workload`, `settling` | the run: its loop, what happens to the cluster, how it comes to rest |
//! | `network`, `node`, `resource_manager` | those that take part |
//! | `checkers` | what has to hold |
//! | `coverage`, `describe` | what was really met, and how it is told |
//! | `regressions` | what seeds found, without the seeds |
//! | `cluster` | whole clusters: applications, scheduler and store as well |
//!
//! `SIM_SEED=n` runs one seed and prints its story when it fails; `SIM_SEEDS=n` (and `SIM_FIRST=n`) runs so many.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and tells its story"
)]

mod chance;
mod checkers;
mod cluster;
mod coverage;
mod describe;
mod network;
mod node;
mod plan;
mod regressions;
mod resource_manager;
mod roles;
mod settling;
mod simulation;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};

use coverage::{Coverage, Kind};
use heddle_wire::record::NodeState;
use simulation::{Report, Simulation};

/// Seeds run by default.
const SEEDS: u64 = 10_000;

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs a seed; a violation, or a panic of anything that takes part, becomes a text that says how to repeat it.
fn run(seed: u64) -> Result<Report, String> {
    let repeat = format!("repeat with: SIM_SEED={seed} cargo test --test sim -- --nocapture one_seed");
    match catch_unwind(AssertUnwindSafe(|| Simulation::run(seed, false))) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(violation)) => Err(format!("seed {seed}: {}\n{repeat}", violation.text)),
        Err(_) => Err(format!("seed {seed}: panicked\n{repeat}")),
    }
}

/// Runs seeds on as many threads as there are cores.
fn run_all(first: u64, count: u64) -> (Coverage, Vec<String>) {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let mut coverage = Coverage::default();
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let (mut coverage, mut failures) = (Coverage::default(), Vec::new());
            for seed in (first + thread..first + count).step_by(threads as usize) {
                match run(seed) {
                    Ok(report) => coverage.merge(&report.coverage),
                    Err(text) => failures.push(text),
                }
                if failures.len() >= 10 {
                    break;
                }
            }
            (coverage, failures)
        };
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        for handle in handles {
            let (part, texts) = handle.join().unwrap();
            coverage.merge(&part);
            failures.extend(texts);
        }
    });
    (coverage, failures)
}

/// One seed, with its story.
#[test]
fn one_seed() {
    let seed = number("SIM_SEED").unwrap_or(1);
    match Simulation::run(seed, true) {
        Ok(report) => {
            println!(
                "seed {seed}: {} steps, hash {:016x}\n{}",
                report.steps,
                report.hash,
                report.coverage.report()
            );
        }
        Err(violation) => {
            for line in &violation.trace {
                println!("{line}");
            }
            panic!("seed {seed}: {}", violation.text);
        }
    }
}

#[test]
fn same_seed_same_bytes() {
    for seed in 0..100 {
        let run = || Simulation::run(seed, false).map(|report| (report.hash, report.steps));
        let (first, second) = (run(), run());
        assert_eq!(first.unwrap(), second.unwrap(), "seed {seed}");
    }
}

#[test]
fn ten_thousand_seeds() {
    let count = number("SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_FIRST").unwrap_or(0);
    let (coverage, failures) = run_all(first, count);
    println!("{}", coverage.report());
    assert!(failures.is_empty(), "{} seeds failed, for example\n{}", failures.len(), failures.join("\n"));
    if count >= SEEDS {
        check_coverage(&coverage);
    }
}

/// Over all seeds everything was really met: each kind of fault and outcome, each change of state of the table.
fn check_coverage(coverage: &Coverage) {
    let missing: Vec<_> = Kind::ALL.iter().filter(|kind| coverage.count(**kind) == 0).collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
    let missing: Vec<_> = NodeState::ALL
        .into_iter()
        .flat_map(|from| NodeState::ALL.map(|to| (from, to)))
        .filter(|(from, to)| checkers::is_edge(*from, *to))
        // A placeholder is made and taken out within one step: no listing shows it as NEW.
        .filter(|edge| *edge != (NodeState::New, NodeState::Decommissioned))
        .filter(|(from, to)| coverage.edges_count(*from, *to) == 0)
        .collect();
    assert!(missing.is_empty(), "never taken: {missing:?}");
}

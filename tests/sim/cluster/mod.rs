//! Whole clusters in virtual time: the real roles, nodes, ApplicationMasters and clients, on paths that misbehave.
//! Owns: the tests over many seeds. Called by: `cargo test --test sim`. Thread: each seed runs on one.
//! Does not: open sockets, read clocks. Invariant: a seed that fails once fails always, with the command that is printed.
//!
//! | file | what is in it |
//! |---|---|
//! | `plan` | what a seed decides: nodes, queues, applications, settings, which faults are on |
//! | `world` | the run: its loop and the paths |
//! | `peers` | nodes, ApplicationMasters and clients |
//! | `roles` | the ResourceManager: its roles and what is between them |
//! | `acts` | what goes wrong, and who meddles |
//! | `checks` | what has to hold |
//! | `books` | what was granted and what is pending, counted without the engine |
//! | `rules`, `user_limits`, `progress` | what may be granted, and what need not wait, by the books |
//! | `kinds` | what was really met |
//!
//! `SIM_SEED`, `SIM_SEEDS` and `SIM_FIRST` work as for nodes alone; these tests begin with `cluster::`.

mod acts;
mod books;
mod books_tests;
mod checks;
mod checks_tests;
mod kinds;
mod limits_tests;
mod peers;
mod plan;
mod progress;
mod roles;
mod rules;
mod user_limits;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::number;
use kinds::{Happening, Tally};
use world::{Outcome, World};

/// Seeds run by default: 17 ms each of one core in a test build, a minute and a half on two.
const SEEDS: u64 = 10_000;

/// In one of so many clusters at least a user is to come to its limit and to wait there.
const LIMITED_PART: u64 = 6;

/// Lines of the story that are shown of a run that failed.
const STORY_SHOWN: usize = 40;

/// Runs a seed; a violation, or a panic of anything that takes part, becomes a text that says how to repeat it.
fn run(seed: u64) -> Result<Outcome, String> {
    let repeat =
        format!("repeat with: SIM_SEED={seed} cargo test --test sim -- --nocapture cluster::one_seed");
    match catch_unwind(AssertUnwindSafe(|| World::run(seed, false))) {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err((text, _))) => Err(format!("seed {seed}: {text}\n{repeat}")),
        Err(_) => Err(format!("seed {seed}: panicked\n{repeat}")),
    }
}

/// The same seed once more, with the end of its story.
fn story(seed: u64) -> String {
    let told = catch_unwind(AssertUnwindSafe(|| World::run(seed, true)));
    let Ok(Err((_, lines))) = told else { return String::new() };
    let first = lines.len().saturating_sub(STORY_SHOWN);
    lines[first..].join("\n")
}

fn run_all(first: u64, count: u64) -> (Tally, Vec<(u64, String)>) {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let (mut tally, mut failures) = (Tally::default(), Vec::new());
            for seed in (first + thread..first + count).step_by(threads as usize) {
                match run(seed) {
                    Ok(outcome) => tally.merge(&outcome.tally),
                    Err(text) => failures.push((seed, text)),
                }
                if failures.len() >= 20 {
                    break;
                }
            }
            (tally, failures)
        };
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        for handle in handles {
            let (part, texts) = handle.join().unwrap();
            tally.merge(&part);
            failures.extend(texts);
        }
    });
    (tally, failures)
}

/// One seed, with its story.
#[test]
fn one_seed() {
    let seed = number("SIM_SEED").unwrap_or(1);
    match World::run(seed, true) {
        Ok(outcome) => {
            println!("seed {seed}: hash {:016x}\n{}", outcome.hash, outcome.tally.report());
        }
        Err((text, lines)) => {
            for line in &lines {
                println!("{line}");
            }
            panic!("seed {seed}: {text}");
        }
    }
}

#[test]
fn same_seed_same_bytes() {
    for seed in 0..60 {
        let run = || World::run(seed, false).map(|outcome| (outcome.hash, outcome.tally.steps));
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn ten_thousand_clusters() {
    let count = number("SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_FIRST").unwrap_or(0);
    let (tally, failures) = run_all(first, count);
    println!("{}", tally.report());
    if let Some((seed, _)) = failures.first() {
        println!("{}", story(*seed));
    }
    let texts: Vec<&str> = failures.iter().map(|(_, text)| &**text).collect();
    assert!(failures.is_empty(), "{} seeds failed, for example\n{}", failures.len(), texts.join("\n"));
    if count >= SEEDS {
        let missing: Vec<_> = Happening::ALL.iter().filter(|kind| tally.count(**kind) == 0).collect();
        assert!(missing.is_empty(), "never met: {missing:?}");
        let limited = tally.count(Happening::LimitedUsers);
        assert!(limited >= count / LIMITED_PART, "user limits bind in {limited} of {count} clusters");
    }
}

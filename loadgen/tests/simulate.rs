//! `heddle-loadgen simulate` as a person calls it: every format to its end, the same bytes again, and what cannot end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn sample(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name).display().to_string()
}

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heddle-loadgen")).arg("simulate").args(arguments).output().unwrap()
}

/// The report, and whether the exit code says that nothing was lost.
fn report(arguments: &[&str]) -> (Value, bool, String) {
    let output = simulate(&[arguments, &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (json, output.status.success(), said)
}

/// Asserts that nothing went wrong, and gives how many applications ended.
fn check(json: &Value) -> u64 {
    for key in [
        "over_granted",
        "lost_containers",
        "duplicated_containers",
        "tokens_wrong",
        "unexpected",
        "wrong_ids",
    ] {
        assert_eq!(json[key], 0, "{key}: {json:#}");
    }
    assert_eq!(json["applications_rejected"], 0, "{json:#}");
    json["applications_finished"].as_u64().unwrap()
}

#[test]
fn a_sample_of_each_format_runs_to_its_end_and_twice_the_same() {
    let traces: [(&str, &[&str]); 8] = [
        ("sls-jobs.json", &["--nodes-from", "nodes.csv"]),
        ("rumen.json", &["--nodes", "4"]),
        ("synth.json", &["--nodes", "20", "--applications", "20"]),
        ("synth-averages.json", &["--nodes", "20", "--applications", "20"]),
        ("dynoyarn.jsonl", &["--nodes-from", "sls-nodes.json", "--nodes", "8"]),
        ("openb-tasks.csv", &["--nodes-from", "nodes.csv"]),
        ("scenario.toml", &["--applications", "60"]),
        ("scenario.toml", &["--applications", "60", "--cancel", "0.3"]),
    ];
    for (trace, arguments) in traces {
        let path = sample(trace);
        // Nodes are samples, too.
        let is_file = |word: &str| word.ends_with(".csv") || word.ends_with(".json");
        let arguments: Vec<String> = arguments
            .iter()
            .map(|word| if is_file(word) { sample(word) } else { (*word).to_owned() })
            .collect();
        let arguments: Vec<&str> =
            [&*path, "--seed", "7"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let (json, is_good, said) = report(&arguments);
        let finished = check(&json);
        assert!(is_good && finished > 0, "{trace}: {said}\n{json:#}");
        assert_eq!(json["applications_submitted"], finished, "{trace}: {said}");
        assert_eq!(json["waiting"], Value::Array(Vec::new()), "{trace}");
        assert_eq!(report(&arguments).0, json, "{trace}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let directory = tempfile::tempdir().unwrap();
    let trace = sample("scenario.toml");
    let files = |name: &str, seed: &str| -> Vec<Vec<u8>> {
        let paths: Vec<PathBuf> = ["json", "hlog", "html", "txt"]
            .map(|extension| directory.path().join(format!("{name}.{extension}")))
            .into();
        let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let output = simulate(&[
            &trace,
            "--applications",
            "40",
            "--seed",
            seed,
            "--json",
            &shown[0],
            "--hlog",
            &shown[1],
            "--html",
            &shown[2],
            "--percentiles",
            &shown[3],
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut bytes: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
        bytes.push(output.stdout);
        bytes
    };
    let first = files("first", "3");
    assert!(first.iter().all(|bytes| !bytes.is_empty()));
    assert!(first == files("second", "3"), "the same seed");
    let other = files("other", "4");
    assert!(first[0] != other[0] && first[1] != other[1], "another seed");
}

#[test]
fn what_can_never_run_is_told_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("large.json");
    // The task is larger than every node, the ApplicationMaster is not.
    let job = r#"{"job.start.ms": 0, "job.end.ms": 9000, "job.queue.name": "default", "job.id": "job_1", "job.user": "ana",
        "job.tasks": [{"container.start.ms": 0, "container.end.ms": 5000, "container.priority": 20,
                       "container.memory-mb": 999999, "container.vcores": 1, "container.type": "map"}]}"#;
    std::fs::write(&trace, job).unwrap();
    let trace = trace.display().to_string();
    let (json, is_good, said) = report(&[&trace, "--format", "sls", "--nodes", "2"]);
    assert!(!is_good, "{json:#}");
    assert_eq!(check(&json), 0);
    assert_eq!(json["waiting"][0]["reason"], "TooLarge", "{said}\n{json:#}");
    assert_eq!(json["waiting"][0]["containers"], 1);
    assert!(json["lost"][0].as_str().unwrap().contains("had not ended"), "{json:#}");
    assert!(said.contains("1 applications wait for 1 containers: TooLarge"), "{said}");
    // Cut off on purpose it is no loss, and waits all the same.
    let (json, is_good, said) = report(&[&trace, "--format", "sls", "--nodes", "2", "--until", "0.5h"]);
    assert!(is_good, "{said}\n{json:#}");
    assert_eq!(
        (json["duration_s"].as_f64(), &json["waiting"][0]["reason"]),
        (Some(1_800.0), &"TooLarge".into())
    );
}

/// Looks at an application that waits once counted as progress: where something could still happen after more than a week,
/// the next weekly look came first, and the simulation went on to the end of time, 584 years later.
#[test]
fn looks_and_signs_of_life_are_no_progress() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("late.json");
    let job = r#"{"job.start.ms": 0, "job.queue.name": "default", "job.id": "job_1", "job.user": "ana", "job.tasks": [
        {"count": 1, "container.duration.ms": 5000, "container.request.delay.ms": 864000000},
        {"count": 1, "container.duration.ms": 5000, "container.memory-mb": 999999}]}"#;
    std::fs::write(&trace, job).unwrap();
    let (json, is_good, said) = report(&[&trace.display().to_string(), "--format", "sls", "--nodes", "2"]);
    assert!(!is_good, "{json:#}");
    assert_eq!(json["waiting"][0]["reason"], "TooLarge", "{said}");
    assert_eq!(json["grants_total"], 1, "what comes after ten days is waited for: {json:#}");
    let days = json["duration_s"].as_f64().unwrap() / 86_400.0;
    assert!((10.0..11.0).contains(&days), "it ends with the last thing that happened: {days} days");
}

#[test]
fn time_that_is_none_is_refused() {
    let output = simulate(&["--until", "5parsecs"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--until"));
}

//! `heddle queue validate` as operators meet it: output and exit codes, with the files they have.
//! Owns: the sample files beside it. Called by: `cargo test`. Does not: test single rules; `src/config/queues/tests.rs` does.
#![allow(clippy::unwrap_used, reason = "a test may end where something it needs is missing")]

use std::process::Command;

#[track_caller]
fn check(line: &str, exit: i32) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heddle"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(line.split_whitespace());
    // Heddle's own configuration must not matter.
    let output = command.env("HEDDLE_SCHEDULER__QUEUES_FILE", "elsewhere").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{line}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

const GOOD: &str =
    "queue validate tests/queue_config/capacity-scheduler.xml --yarn-site tests/queue_config/yarn-site.xml";

#[test]
fn a_good_file_is_shown_as_a_table_with_what_has_no_effect() {
    let (stdout, stderr) = check(GOOD, 0);
    assert!(stderr.is_empty(), "{stderr}");
    let row = |path: &str| -> Vec<&str> {
        let row = stdout.lines().find(|line| line.starts_with(&format!("{path} "))).unwrap();
        row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    };
    assert_eq!(row("root.etl")[..7], ["root.etl", "40 %", "40 %", "60 %", "RUNNING", "4000", "4000"]);
    assert_eq!(row("root.adhoc.small")[..4], ["root.adhoc.small", "3w", "26.62 %", "100 %"]);
    assert!(stdout.contains("\nLabel gpu\n") && stdout.contains("queue mapping rules are not supported yet"));
    assert!(stdout.trim_end().ends_with("no errors, 10 warnings"), "{stdout}");

    let (stdout, _) = check(&format!("{GOOD} --memory 102400 --vcores 100"), 0);
    assert!(stdout.contains("memory-mb=40960,vcores=40"), "{stdout}");
}

#[test]
fn json_says_the_same() {
    let (stdout, _) = check(&format!("{GOOD} --memory 102400 --vcores 100 -o json"), 0);
    let shown: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown["is_valid"], true);
    let etl = &shown["queues"][1];
    assert_eq!((etl["path"].as_str(), etl["maximum_applications"].as_u64()), (Some("root.etl"), Some(4_000)));
    assert_eq!(etl["partitions"][""]["guaranteed"]["memory-mb"], 40_960);
    assert_eq!(etl["partitions"][""]["maximum_am_resource_percent"], 0.2);
    assert_eq!(shown["warnings"].as_array().unwrap().len(), 10);
}

#[test]
fn a_file_that_is_wrong_is_shown_as_far_as_it_goes() {
    let (stdout, stderr) = check("queue validate tests/queue_config/broken.xml", 1);
    assert!(stdout.contains("root.c.x") && stdout.contains("add up to 90 %"), "{stdout}");
    assert!(stderr.contains("15 errors, 1 warning"), "{stderr}");
    let (stdout, _) = check("queue validate tests/queue_config/broken.xml -o json", 1);
    let shown: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((shown["is_valid"].as_bool(), shown["errors"].as_array().unwrap().len()), (Some(false), 15));

    let (stdout, stderr) = check("queue validate tests/queue_config/none.xml", 1);
    assert!(stdout.contains("cannot read tests/queue_config/none.xml"), "{stdout}");
    assert!(stderr.contains("1 error, no warnings"), "{stderr}");
    check("queue validate", 2);
    check("queue validate x.xml --memory 5", 2);
}

#[test]
fn the_annotated_example_is_a_good_file() {
    let (stdout, _) =
        check("queue validate tests/queue_config/../../src/config/queues/queues.toml.example", 1);
    assert!(stdout.contains("is not XML"), "a name that does not end in .toml is read as XML: {stdout}");
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("queues.toml");
    std::fs::copy("src/config/queues/queues.toml.example", &copy).unwrap();
    let (stdout, _) = check(&format!("queue validate {}", copy.display()), 0);
    assert!(stdout.contains("root.adhoc.large"), "{stdout}");
}

//! Readers of traces against anything: whatever a file holds, a reader gives applications within the bounds or one error.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

use heddle_loadgen::workload::{
    Format, PRIORITY_MAX, ReadOptions, TASKS_MAX, TIME_MS_MAX, Workload, WorkloadReader,
};
use proptest::prelude::*;

const SAMPLES: [(Format, &str); 8] = [
    (Format::Sls, include_str!("../samples/sls-jobs.json")),
    (Format::Sls, include_str!("../samples/sls-nodes.json")),
    (Format::Rumen, include_str!("../samples/rumen.json")),
    (Format::Synth, include_str!("../samples/synth.json")),
    (Format::Synth, include_str!("../samples/synth-averages.json")),
    (Format::DynoYarn, include_str!("../samples/dynoyarn.jsonl")),
    (Format::OpenB, include_str!("../samples/openb-tasks.csv")),
    (Format::Scenario, include_str!("../samples/scenario.toml")),
];

/// What numbers are replaced by: what breaks arithmetic most often.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1",
    "1e308",
    "-1e308",
    "0.5",
    "9223372036854775807",
    "18446744073709551615",
    "99999999999999999999999",
    "1048577",
    "null",
    "\"7\"",
];

/// Reads a text as far as it goes and checks what comes out. At most some thousand applications are looked at.
fn check(format: Format, text: Vec<u8>) {
    let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
    let Ok(mut reader) = WorkloadReader::from_text("any", text, &options) else { return };
    let mut errors = 0;
    for item in reader.by_ref().take(2_000) {
        let Ok(spec) = item else {
            errors += 1;
            continue;
        };
        assert!(spec.submit_ms <= TIME_MS_MAX && spec.tasks() <= TASKS_MAX);
        assert!(spec.am.resource.memory_mb > 0);
        let mut ids = std::collections::BTreeSet::new();
        for (index, group) in spec.groups.iter().enumerate() {
            assert!(group.count > 0 && group.resource.memory_mb > 0, "{group:?}");
            assert!(i64::from(group.priority).abs() <= PRIORITY_MAX);
            assert!(group.after.iter().all(
                |dependency| (dependency.group as usize) < index && dependency.completed_ppm <= 1_000_000
            ));
            assert!(
                group.localities.iter().map(|place| u64::from(place.count)).sum::<u64>()
                    <= u64::from(group.count)
            );
            for task in [0, group.count / 2, group.count - 1] {
                assert!(group.durations.ms(task) <= TIME_MS_MAX);
            }
            // What SLS files name themselves may be anything; what readers choose is distinct.
            if format != Format::Sls {
                assert!(ids.insert((group.priority, group.allocation_request_id)), "{group:?}");
            }
        }
    }
    assert!(errors <= 1, "a reader ends after its first error");
    assert!(reader.notices().len() <= 32);
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::ALL.to_vec())
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(format in format(), bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        check(format, bytes);
    }

    #[test]
    fn any_text_is_read_or_refused(format in format(), text in "[\\[\\]{}\",:0-9a-z.\\-\\n =]{0,256}") {
        check(format, text.into_bytes());
    }

    /// Numbers become other numbers, pieces go missing: deeper into the readers than noise gets.
    #[test]
    fn a_broken_sample_is_read_or_refused(
        sample in 0..SAMPLES.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..NUMBERS.len() + 2), 1..4),
    ) {
        let (format, text) = SAMPLES[sample];
        let mut bytes = text.as_bytes().to_vec();
        for (at, edit) in edits {
            let at = at.index(bytes.len());
            let is_digit = u8::is_ascii_digit;
            match NUMBERS.get(edit) {
                Some(number) => {
                    let Some(start) = bytes[at..].iter().position(is_digit).map(|offset| at + offset) else { continue };
                    let end = bytes[start..].iter().position(|byte| !is_digit(byte)).map_or(bytes.len(), |offset| start + offset);
                    bytes.splice(start..end, number.bytes());
                }
                None if edit == NUMBERS.len() => bytes.truncate(at.max(1)),
                None => {
                    let end = (at + 7).min(bytes.len());
                    bytes.drain(at..end);
                    if bytes.is_empty() {
                        bytes.push(b' ');
                    }
                }
            }
        }
        check(format, bytes);
    }
}

#[test]
fn every_sample_is_told_by_its_name_and_beginning() {
    let check = |name: &str, text: &str, expected: Format| {
        assert_eq!(Format::detect(name, text.as_bytes()), Some(expected), "{name}");
    };
    for (format, text) in SAMPLES {
        let name = match format {
            Format::OpenB => "a.csv",
            Format::Scenario => "a.toml",
            _ => "a.json",
        };
        if !text.contains("\"rack\"") {
            check(name, text, format);
        }
    }
    let error = Workload::from_text("notes.txt", "hello", &ReadOptions::default()).unwrap_err().to_string();
    assert!(
        error.starts_with("notes.txt: ") && error.contains("--format") && error.contains("dynoyarn"),
        "{error}"
    );
    let error = Workload::read("/nowhere/x.json".as_ref(), &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/x.json: "), "{error}");
}

#[test]
fn the_resource_manager_takes_the_queues_of_every_trace() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = ("default.toml", heddle_loadgen::workload::DEFAULT_SCENARIO);
    let samples = SAMPLES.iter().filter(|(_, text)| !text.contains("\"rack\""));
    let names = samples.map(|(format, text)| {
        let name = if *format == Format::OpenB { "a.csv" } else { "a.json" };
        (if *format == Format::Scenario { "a.toml" } else { name }, *text)
    });
    for (name, text) in names.chain([scenario]) {
        let workload = Workload::from_text(name, text, &ReadOptions::default()).unwrap();
        let tree = workload.queue_tree();
        let path = folder.path().join("queues.toml");
        std::fs::write(&path, &tree.toml).unwrap();
        let mut files = heddle::config::QueueFiles::default();
        files.path = Some(path);
        let read = files.read().unwrap_or_else(|errors| panic!("{name}: {errors}"));
        let leaves = |path: &str| read.queues.iter().any(|queue| queue.is_leaf && &*queue.path == path);
        assert!(tree.leaves.iter().all(|leaf| leaves(leaf)), "{name}");
        // Whoever submits finds the queue, by its path or its name.
        for queue in workload.queue_names() {
            let found = read.find(&queue).unwrap_or_else(|error| panic!("{name}: {queue}: {error:?}"));
            assert!(read.queues[found as usize].is_leaf, "{name}: {queue}");
        }
    }
}

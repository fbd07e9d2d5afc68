//! The tree itself: module docs, what each folder may name, and that the documents speak of what exists.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each module of `heddle` may name of the others. `heddle_wire` is open to all but `ring`.
const MAY_NAME: &[(&str, &[&str])] = &[
    (
        "cli",
        &["cli", "client", "config", "engine", "metrics", "pki", "recorder", "runtime", "transport", "web"],
    ),
    ("client", &["client", "engine", "pki", "runtime", "transport"]),
    ("config", &["config", "engine", "pki"]),
    ("engine", &["engine"]),
    ("metrics", &["engine", "metrics"]),
    ("pki", &["engine", "pki"]),
    ("recorder", &["engine", "recorder", "ring"]),
    ("ring", &["ring"]),
    ("runtime", &["config", "engine", "metrics", "pki", "recorder", "ring", "runtime", "transport"]),
    ("transport", &["config", "engine", "metrics", "pki", "ring", "runtime", "transport"]),
    ("web", &["config", "metrics", "web"]),
];

/// What the engine must not name: it is told the time and handed messages.
const IMPURE: &[&str] = &[
    "tokio",
    "quinn",
    "std::net",
    "std::thread",
    "std::fs",
    "std::io",
    "std::env",
    "Mutex",
    "RwLock",
    "Atomic",
    "Instant::now",
    "SystemTime",
    "RandomState",
    "HashMap::new()",
    "HashSet::new()",
    "thread_local",
    "rand::",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no source");
    found
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Code lines: without comments and without what follows `#[cfg(test)]`.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.contains("#[cfg(test)]") || line.contains("mod tests;"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

fn is_test_file(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests")
        || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn every_module_opens_with_its_doc() {
    for folder in ["src", "wire/src", "loadgen/src", "benches", "tests"] {
        for path in sources(folder) {
            let text = read(&path);
            assert!(text.starts_with("//!"), "{} does not open with a module doc", name(&path));
        }
    }
}

#[test]
fn the_engine_is_pure() {
    for path in sources("src/engine").into_iter().filter(|path| !is_test_file(path)) {
        for (line, text) in code(&read(&path)) {
            for impure in IMPURE {
                assert!(!text.contains(impure), "{}:{line} names {impure}: {text}", name(&path));
            }
        }
    }
}

#[test]
fn modules_name_only_what_they_may() {
    let known: BTreeSet<&str> = MAY_NAME.iter().map(|(module, _)| *module).collect();
    for path in sources("src").into_iter().filter(|path| !is_test_file(path)) {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let (_, allowed) = MAY_NAME
            .iter()
            .find(|(known, _)| *known == module)
            .unwrap_or_else(|| panic!("{} is not in MAY_NAME: decide what it may name", name(&path)));
        for (line, text) in code(&read(&path)) {
            for (index, _) in text.match_indices("crate::") {
                let named: String =
                    text[index + 7..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if known.contains(named.as_str()) {
                    assert!(
                        allowed.contains(&named.as_str()),
                        "{}:{line} names crate::{named}, {module} may name {allowed:?}",
                        name(&path)
                    );
                }
            }
        }
    }
}

#[test]
fn wire_and_the_engine_stand_on_no_runtime() {
    let tree = cargo_tree(&["--package", "heddle-wire", "--edges", "normal"]);
    assert!(tree.contains("rkyv"), "{tree}");
    for runtime in ["tokio", "quinn", "async-std", "futures", "rustls"] {
        assert!(!names(&tree, runtime), "wire stands on {runtime}");
    }
    let tree = cargo_tree(&["--workspace"]);
    assert!(names(&tree, "aws-lc-rs") && !names(&tree, "ring"), "one crypto provider, and not ring");
}

fn cargo_tree(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none"])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn names(tree: &str, package: &str) -> bool {
    tree.lines().any(|line| line.split(' ').next() == Some(package))
}

/// Words in backticks that look like paths of this tree.
fn paths_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter_map(|word| {
        let word = word.split("::").next()?.trim_end_matches('/');
        let is_path =
            word.contains('/') || word.ends_with(".rs") || word.ends_with(".md") || word.ends_with(".toml");
        let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let starts_here = ["src/", "wire/", "loadgen/", "benches/", "tests/", ".ci/"];
        let is_ours = starts_here.iter().any(|start| word.starts_with(start)) || !word.contains('/');
        (is_path && is_plain && is_ours && !word.starts_with('.') || word == ".ci/run").then_some(word)
    })
}

#[test]
fn the_documents_name_files_that_exist() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(document);
        let mut count = 0;
        for path in paths_in(&text) {
            // Files that a user writes.
            if ["heddle.toml", "capacity-scheduler.xml"].contains(&path) {
                continue;
            }
            count += 1;
            assert!(root().join(path).exists(), "{document} names {path}, which does not exist");
        }
        assert!(count > 0, "{document} names no file at all");
    }
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let text = read("ARCHITECTURE.md");
    let section = text.split("## Invariants").nth(1).expect("ARCHITECTURE.md has a section Invariants");
    let section = section.split("\n## ").next().unwrap();
    let invariants: Vec<&str> = section.lines().filter(|line| line.starts_with("- ")).collect();
    assert!(invariants.len() >= 8, "{} invariants", invariants.len());
    for invariant in invariants {
        let test = invariant
            .rsplit_once("Held by `")
            .and_then(|(_, rest)| rest.split('`').next())
            .unwrap_or_else(|| panic!("names no test: {invariant}"));
        let (file, function) =
            test.split_once("::").unwrap_or_else(|| panic!("{test} is not file::function"));
        assert!(read(file).contains(&format!("fn {function}")), "{file} has no {function}");
    }
}

#[test]
fn the_two_commands_are_the_ones_that_run() {
    let readme = read("README.md");
    for command in ["cargo run --release -p heddle-loadgen", "cargo test --workspace"] {
        assert!(readme.contains(command), "README.md does not give {command}");
    }
    assert!(read(".ci/run").contains("cargo test --workspace"), ".ci/run does not run the README's tests");
}

#[test]
fn the_changelog_has_an_unreleased_section() {
    assert!(read("CHANGELOG.md").contains("## Unreleased"));
}

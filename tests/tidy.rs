//! The tree itself: module docs, what each folder may name, and that the documents speak of what exists.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each module of `heddle` may name of the others. `heddle_wire` is open to all but `ring`.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("cli", &["cli", "client", "config", "engine", "metrics", "pki", "recorder", "runtime", "web"]),
    ("client", &["client", "pki"]),
    ("config", &["config", "engine", "pki"]),
    ("engine", &["engine"]),
    ("metrics", &["engine", "metrics"]),
    ("pki", &["engine", "pki"]),
    ("recorder", &["engine", "recorder", "ring"]),
    ("ring", &["ring"]),
    ("store", &["engine", "store"]),
    ("runtime", &["config", "engine", "metrics", "pki", "recorder", "ring", "runtime", "store", "transport"]),
    ("transport", &["config", "engine", "metrics", "pki", "ring", "runtime", "transport"]),
    ("web", &["config", "metrics", "web"]),
];

/// What the load generator may name of `heddle`: its command line's words, and what it takes to run and to join a
/// ResourceManager. Never the engine: agents and ResourceManager share the wire only.
const LOADGEN_MAY_NAME: &[&str] = &["cli", "config", "metrics", "pki", "runtime"];

/// What only the load generator's simulation may name besides: it steps the ResourceManager's own roles in virtual time.
const SIMULATION_MAY_NAME: &[&str] = &["engine", "store"];

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

/// Code lines with their numbers: without comments, and without the items behind `#[cfg(test)]`.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.trim() == "#[cfg(test)]" {
            skip_item(indent, &mut lines);
        } else if !line.trim_start().starts_with("//") {
            kept.push((index + 1, line));
        }
    }
    kept
}

/// Passes over one item, formatted as rustfmt does: it ends on its first line, or with a bracket as far to the left as it.
fn skip_item<'a>(indent: &str, lines: &mut impl Iterator<Item = (usize, &'a str)>) {
    let is_end = |line: &str| {
        line.strip_prefix(indent).is_some_and(|rest| matches!(rest, "}" | "};" | "];" | ");" | "})" | "});"))
    };
    // Further attributes and docs belong to the item.
    let Some((_, first)) = lines.find(|(_, line)| !line.trim_start().starts_with(['#', '/'])) else { return };
    if !first.trim_end().ends_with([';', '}']) {
        lines.find(|(_, line)| is_end(line));
    }
}

/// What code names under `prefix` (such as `crate::`), with the line: `crate::a::B`, and each of `crate::{a::B, c}`.
fn named(code: &[(usize, &str)], prefix: &str) -> Vec<(usize, String)> {
    let text: String = code.iter().flat_map(|(_, line)| [*line, "\n"]).collect();
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut found = Vec::new();
    for (index, _) in text.match_indices(prefix) {
        if text[..index].ends_with(|c: char| c.is_ascii_alphanumeric() || "_:$".contains(c)) {
            continue;
        }
        let line = code[text[..index].matches('\n').count()].0;
        let rest = &text[index + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push((line, word(rest)));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    found.push((line, word(&group[start..at])));
                    start = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

#[test]
fn code_and_names_are_found_where_they_are() {
    let text = "use crate::{\n    a::{X, Y},\n    b,\n};\n#[cfg(test)]\n#[expect(x)]\nimpl A {\n    fn f() {\n    }\n}\n\
                fn g() { crate::c::h($crate::n) }\n// crate::n\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod t {\n\
                    use crate::n;\n}\nconst D: crate::d::D = 1;\n    #[cfg(test)]\n    fn n() -> n {\n    }\n    crate::e";
    let found = named(&code(text), "crate::");
    let expected = [(1, "a"), (1, "b"), (11, "c"), (19, "d"), (23, "e")];
    assert_eq!(found, expected.map(|(line, name)| (line, name.to_owned())));
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
fn clocks_are_read_in_two_places() {
    let readers = ["src/runtime/clock.rs", "src/runtime/idle.rs"];
    for path in sources("src").into_iter().filter(|path| !is_test_file(path)) {
        let text = read(&path);
        let reads = code(&text).into_iter().find(|(_, text)| {
            // A timer of the runtime's is no clock of ours.
            text.replace("tokio::time::Instant::now", "").contains("Instant::now")
        });
        let is_reader = readers.contains(&name(&path).as_str());
        assert!(
            is_reader || reads.is_none(),
            "{} reads a clock: {reads:?}; it is told the time",
            name(&path)
        );
        assert!(!is_reader || reads.is_some(), "{} reads no clock any more", name(&path));
    }
}

#[test]
fn modules_name_only_what_they_may() {
    let known: BTreeSet<&str> = MAY_NAME.iter().map(|(module, _)| *module).collect();
    for path in sources("src").into_iter().filter(|path| !is_test_file(path)) {
        let relative = path.strip_prefix(root().join("src")).unwrap().with_extension("");
        let parts: Vec<_> = relative.iter().filter(|part| *part != "mod").collect();
        let module = parts[0].to_string_lossy().into_owned();
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let (_, allowed) = MAY_NAME
            .iter()
            .find(|(known, _)| *known == module)
            .unwrap_or_else(|| panic!("{} is not in MAY_NAME: decide what it may name", name(&path)));
        let text = read(&path);
        let code = code(&text);
        // From the root, and up to the root.
        let up = "super::".repeat(parts.len());
        for (line, named) in named(&code, "crate::").into_iter().chain(named(&code, &up)) {
            if known.contains(named.as_str()) {
                assert!(
                    allowed.contains(&named.as_str()),
                    "{}:{line} names crate::{named}, {module} may name {allowed:?}",
                    name(&path)
                );
            }
        }
        if module == "ring" {
            let wire = code.iter().find(|(_, text)| text.contains("heddle_wire"));
            assert!(wire.is_none(), "{} names the wire: {wire:?}", name(&path));
        }
    }
}

#[test]
fn the_wire_names_nothing_of_ours_and_the_load_generator_little() {
    for path in sources("wire/src") {
        let text = read(&path);
        let ours =
            code(&text).into_iter().find(|(_, line)| line.contains("heddle::") || line.contains("loadgen"));
        assert!(ours.is_none(), "{} names {ours:?}", name(&path));
    }
    for path in sources("loadgen/src").into_iter().filter(|path| !is_test_file(path)) {
        let text = read(&path);
        let is_simulation = path.starts_with(root().join("loadgen/src/simulate"));
        for (line, named) in named(&code(&text), "heddle::") {
            let is_allowed = LOADGEN_MAY_NAME.contains(&named.as_str())
                || (is_simulation && SIMULATION_MAY_NAME.contains(&named.as_str()));
            assert!(
                is_allowed,
                "{}:{line} names heddle::{named}, the load generator may name {LOADGEN_MAY_NAME:?}",
                name(&path)
            );
        }
    }
    let tree = cargo_tree(&["--package", "heddle-wire", "--edges", "normal,build"]);
    assert!(!names(&tree, "heddle") && !names(&tree, "heddle-loadgen"), "{tree}");
    let tree = cargo_tree(&["--package", "heddle", "--edges", "normal,build"]);
    assert!(!names(&tree, "heddle-loadgen"), "{tree}");
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

/// A heading as its anchor.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Lines of a document that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

#[test]
fn links_between_and_within_the_documents_lead_somewhere() {
    let mut count = 0;
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(document);
        for link in prose(&text).flat_map(|line| line.split("](").skip(1)) {
            let target = link.split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            count += 1;
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { document } else { file };
            assert!(root().join(file).exists(), "{document} links {target}: there is no {file}");
            if !fragment.is_empty() {
                let text = read(file);
                let found = prose(&text).any(|line| line.starts_with('#') && anchor(line) == fragment);
                assert!(found, "{document} links {target}: {file} has no such heading");
            }
        }
    }
    assert!(count > 0, "no links at all");
}

#[test]
fn the_architecture_has_its_sections() {
    let text = read("ARCHITECTURE.md");
    for section in ["## Deviations from YARN", "## Decisions", "## Numbers"] {
        assert!(prose(&text).any(|line| line == section), "ARCHITECTURE.md has no section {section:?}");
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

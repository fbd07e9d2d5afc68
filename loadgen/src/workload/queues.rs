//! Queue files for workloads: of the queues a scenario describes by levels, and of those a trace's applications name.
//! Owns: how such a tree is written. Called by: scenarios, the command line, the simulator. Thread: any.
//! Does not: check what a queue's settings mean; the ResourceManager's own reader does.
//! Invariants: parents come before their children; every queue has a capacity; a queue that has children is no leaf.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{QueueTreeSpec, Workload};

/// Most queues of one tree.
pub(crate) const QUEUES_MAX: usize = 10_000;

/// One level of a tree: every queue above has this many children.
#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    /// Names are this and a number from 0.
    pub(crate) prefix: String,
    pub(crate) count: usize,
    /// How unequal their shares are: child `i` has the weight 1 ⁄ (i + 1)^skew.
    pub(crate) skew: f64,
    /// Settings of each, as they stand in the queue file.
    pub(crate) settings: toml::Table,
}

/// A text as a key of TOML.
fn key(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_bare {
        return name.to_owned();
    }
    // A text of JSON is one of TOML, but for this one character, which JSON leaves as it is.
    serde_json::Value::from(name).to_string().replace('\u{7f}', "\\u007f")
}

/// A queue with what is set for it.
fn table(out: &mut String, path: &str, settings: &toml::Table) {
    use std::fmt::Write as _;
    let path: Vec<String> = path.split('.').map(key).collect();
    let _ = writeln!(out, "[queues.{}]", path.join("."));
    for (name, value) in settings {
        let _ = writeln!(out, "{} = {value}", key(name));
    }
    out.push('\n');
}

impl QueueTreeSpec {
    /// A tree of equal levels below `root`; how many queues there are was checked by the caller.
    pub(crate) fn of_levels(root: &toml::Table, levels: &[Level]) -> Self {
        let mut toml = String::new();
        table(&mut toml, "root", root);
        let mut above = vec!["root".to_owned()];
        for level in levels {
            let mut here = Vec::new();
            for parent in &above {
                for index in 0..level.count {
                    let path = format!("{parent}.{}{index}", level.prefix);
                    let mut settings = level.settings.clone();
                    // In thousandths, so that the file reads the same everywhere.
                    let weight = (1e3 * (index as f64 + 1.0).powf(-level.skew)).round() / 1e3;
                    settings.entry("capacity").or_insert_with(|| format!("{}w", weight.max(0.001)).into());
                    table(&mut toml, &path, &settings);
                    here.push(path);
                }
            }
            above = here;
        }
        above.sort();
        Self { toml, leaves: above.into_iter().map(Into::into).collect() }
    }

    /// A tree with every queue that `names` has, all with the same weight. A name without dots is a queue below root.
    #[must_use]
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut paths: BTreeSet<String> = BTreeSet::new();
        for name in names {
            let name = name.trim_matches('.');
            let full = if name == "root" || name.starts_with("root.") {
                name.to_owned()
            } else {
                format!("root.{name}")
            };
            let parts: Vec<&str> = full.split('.').filter(|part| !part.is_empty()).collect();
            for length in 1..=parts.len() {
                if paths.len() < QUEUES_MAX {
                    paths.insert(parts[..length].join("."));
                }
            }
        }
        if paths.len() < 2 {
            paths.extend(["root".to_owned(), "root.default".to_owned()]);
        }
        let parents: BTreeSet<&str> =
            paths.iter().filter_map(|path| Some(path.rsplit_once('.')?.0)).collect();
        let leaves = paths
            .iter()
            .filter(|path| !parents.contains(path.as_str()))
            .map(|path| path.as_str().into())
            .collect();
        let mut toml = String::new();
        for path in &paths {
            let capacity = if path == "root" { "100%" } else { "1w" };
            let mut settings = toml::Table::new();
            settings.insert("capacity".to_owned(), capacity.into());
            table(&mut toml, path, &settings);
        }
        Self { toml, leaves }
    }
}

impl Workload {
    /// The queues of the trace, or else a tree of those that its applications name.
    #[must_use]
    pub fn queue_tree(&self) -> QueueTreeSpec {
        self.queues
            .clone()
            .unwrap_or_else(|| QueueTreeSpec::of_names(self.queue_names().iter().map(|name| &**name)))
    }

    /// Applications by queue, sorted by name.
    #[must_use]
    pub fn applications_by_queue(&self) -> BTreeMap<Arc<str>, u64> {
        let mut counts = BTreeMap::new();
        for spec in &self.applications {
            *counts.entry(Arc::clone(&spec.queue)).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_a_tree() {
        let tree = QueueTreeSpec::of_names(["root.a.b", "adhoc", "root.a.c", "adhoc"]);
        let leaves: Vec<&str> = tree.leaves.iter().map(|leaf| &**leaf).collect();
        assert_eq!(leaves, ["root.a.b", "root.a.c", "root.adhoc"]);
        let file: toml::Table = tree.toml.parse().unwrap();
        let root = file["queues"]["root"].as_table().unwrap();
        assert_eq!(root["a"]["b"]["capacity"].as_str(), Some("1w"));
        assert_eq!(root["adhoc"]["capacity"].as_str(), Some("1w"));
        assert_eq!(&*QueueTreeSpec::of_names([]).leaves[0], "root.default");
        // Whatever a queue is called, the file stays TOML.
        let odd = QueueTreeSpec::of_names(["root.a\"]\nb", "..", "ü"]);
        assert!(odd.toml.parse::<toml::Table>().is_ok(), "{}", odd.toml);
    }

    #[test]
    fn levels_multiply() {
        let level = |prefix: &str, count, skew| Level {
            prefix: prefix.to_owned(),
            count,
            skew,
            settings: toml::Table::new(),
        };
        let tree = QueueTreeSpec::of_levels(&toml::Table::new(), &[level("a", 2, 0.0), level("b", 3, 1.0)]);
        assert_eq!(tree.leaves.len(), 6);
        let file: toml::Table = tree.toml.parse().unwrap();
        let leaf = |index: usize| {
            file["queues"]["root"]["a1"][&format!("b{index}")]["capacity"].as_str().unwrap().to_owned()
        };
        assert_eq!([leaf(0), leaf(1), leaf(2)], ["1w", "0.5w", "0.333w"]);
    }
}

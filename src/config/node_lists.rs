//! The include and exclude lists: files of hosts, one per line.
//! Owns: their syntax and bounds. Called by: the runtime at start and on every refresh, off the net and engine threads.
//! Does not: apply them (shards do). Invariant: the lists it gives are sorted and free of doubles, as shards need them.

use std::collections::BTreeMap;
use std::path::Path;

use heddle_wire::limits::HOST_MAX;

use super::error::ConfigError;
use super::settings::NodeListFiles;
use crate::engine::settings::{ExcludedHost, NodeLists};

/// Largest list file, bytes: a million hosts of 60 characters.
const FILE_SIZE_MAX: u64 = 64 * 1024 * 1024;

const INCLUDE_LINE: &str = "a host name of 1 to 253 visible characters without a colon";
const EXCLUDE_LINE: &str = "a host name of 1 to 253 visible characters without a colon, and optionally a timeout in seconds, -1 = for ever";

impl NodeListFiles {
    /// As [`read_node_lists`], of these files.
    ///
    /// # Errors
    /// As [`read_node_lists`].
    pub fn read(&self) -> Result<NodeLists, ConfigError> {
        read_node_lists(self.include.as_deref(), self.exclude.as_deref())
    }
}

/// Reads both lists; `None` = an empty one. Blank lines and everything from a `#` on do not count. As in YARN, an include
/// list that names nobody lets everybody in.
///
/// # Errors
/// A file that cannot be read; a line that is not a host. Nothing is applied then.
pub fn read_node_lists(
    include_path: Option<&Path>,
    exclude_path: Option<&Path>,
) -> Result<NodeLists, ConfigError> {
    let mut include = Vec::new();
    if let Some(path) = include_path {
        for (line, text) in lines(&read(path)?) {
            let host = host(path, line, text, INCLUDE_LINE)?;
            include.push(host.into());
        }
        include.sort_unstable();
        include.dedup();
    }
    let mut exclude = BTreeMap::new();
    if let Some(path) = exclude_path {
        for (line, text) in lines(&read(path)?) {
            let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            let name = host(path, line, name, EXCLUDE_LINE)?;
            let timeout_s = match rest.trim() {
                "" => None,
                rest => Some(rest.parse::<i32>().map_err(|_| bad(path, line, text, EXCLUDE_LINE))?),
            };
            // A host named twice keeps its last line, as a later key of the configuration would.
            exclude.insert(name.into(), timeout_s);
        }
    }
    let exclude = exclude.into_iter().map(|(host, timeout_s)| ExcludedHost { host, timeout_s });
    Ok(NodeLists { include: include.into(), exclude: exclude.collect() })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_SIZE_MAX {
        return Err(unreadable(format!("it has {size} bytes, accepted are at most {FILE_SIZE_MAX}")));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

/// Lines that say something, counted from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let without_comment = |line: &'_ str| line.find('#').unwrap_or(line.len());
    text.lines()
        .enumerate()
        .map(move |(index, line)| (index + 1, line[..without_comment(line)].trim()))
        .filter(|(_, line)| !line.is_empty())
}

fn host<'a>(path: &Path, line: usize, text: &'a str, accepted: &'static str) -> Result<&'a str, ConfigError> {
    let is_host = (1..=HOST_MAX).contains(&text.len())
        && text.chars().all(|char| !char.is_whitespace() && !char.is_control() && char != ':');
    if is_host { Ok(text) } else { Err(bad(path, line, text, accepted)) }
}

fn bad(path: &Path, line: usize, text: &str, accepted: &'static str) -> ConfigError {
    let found = text.chars().take(80).collect();
    ConfigError::BadListLine { path: path.to_owned(), line, found, accepted }
}

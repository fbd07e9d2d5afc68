//! The file of groups: who belongs to which group, one user per line.
//! Owns: its syntax and bounds. Called by: `RmConfig::load` at start, the administration on RefreshUserToGroupsMappings,
//! on a thread that may read files. Does not: ask the system or a directory for groups.
//! Invariant: a user's groups are in the order of the file, the primary one first, each once.

use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::hadoop;
use crate::engine::application::settings::Groups;

const LINE: &str = "user: group1,group2 (names without blanks, the primary group first)";

/// Where groups of users are read from, at start and on every refresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupsFile {
    /// The file; `None` = nobody is in a group.
    pub path: Option<PathBuf>,
}

impl GroupsFile {
    /// Reads the groups. Blank lines and everything from a `#` on do not count; of a user's lines the last one does.
    ///
    /// # Errors
    /// A file that cannot be read; a line of another form.
    pub fn read(&self) -> Result<Groups, ConfigError> {
        match &self.path {
            None => Ok(Groups::new()),
            Some(path) => parse(path, &hadoop::read_text(path)?),
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<Groups, ConfigError> {
    let mut groups = Groups::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let bad = || ConfigError::BadListLine {
            path: path.to_owned(),
            line: index + 1,
            found: line.chars().take(80).collect(),
            accepted: LINE,
        };
        let (user, list) = line.split_once(':').ok_or_else(bad)?;
        let user = user.trim();
        let mut of_user: Vec<Box<str>> = Vec::new();
        for group in list.split(',').map(str::trim).filter(|group| !group.is_empty()) {
            if !is_name(group) {
                return Err(bad());
            }
            if !of_user.iter().any(|known| **known == *group) {
                of_user.push(group.into());
            }
        }
        if !is_name(user) {
            return Err(bad());
        }
        groups.insert(user.into(), of_user);
    }
    Ok(groups)
}

fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.chars().any(|char| char.is_whitespace() || char.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_in_order_and_bad_lines_are_named() {
        let read = |text: &str| parse(Path::new("groups"), text);
        let groups = read("# people\nalice: staff, ops,staff # on call\n\nbob:\nalice: ops\n").unwrap();
        assert_eq!(groups.get("alice").unwrap(), &[Box::<str>::from("ops")]);
        assert!(groups.get("bob").unwrap().is_empty());
        let groups = read("eve: b,a,b\n").unwrap();
        assert_eq!(groups.get("eve").unwrap().join(","), "b,a");
        for bad in ["alice staff", ": ops", "a b: ops", "alice: o p"] {
            let told = read(&format!("ok: x\n{bad}\n")).unwrap_err().to_string();
            assert!(told.contains("groups:2") && told.contains("user: group1"), "{told}");
        }
    }
}

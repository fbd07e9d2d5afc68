//! The queue file: `capacity-scheduler.xml` as it is, or Heddle's own TOML, checked into a [`QueueTree`].
//! Owns: [`QueueFiles`], the report of what is wrong. Called by: `RmConfig::load` at start, the administration on
//! RefreshQueues, `heddle queue validate`. Thread: one that may read files; never the engine's.
//! Does not: know what runs (whether a queue may go is the scheduler's to say).
//! Invariant: a tree that is given out has passed every check; everything that is wrong is told at once, in the order of the
//! file and the tree.

mod check;
pub(super) mod keys;
#[cfg(test)]
mod tests;
mod toml_form;
mod tree;
pub(super) mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ConfigErrors, ConfigWarning, shortened};
use super::hadoop::{self, Properties, Property};
use super::source::Origin;
use crate::engine::scheduler::resource::{ResourceTypes, ResourceVector};
use crate::engine::scheduler::settings::{Acl, QueueTree};

/// What the queue file is read against.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct QueueContext {
    pub(super) resource_types: ResourceTypes,
    pub(super) minimum_allocation: ResourceVector,
    pub(super) maximum_allocation: ResourceVector,
    pub(super) node_labels_enabled: bool,
    pub(super) node_labels: BTreeMap<Box<str>, bool>,
    /// Without a queue file it is in force as it is; with one, what the file does not say is taken from it.
    pub(super) tree: QueueTree,
}

/// Where the queues are read from, at start and on every refresh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueFiles {
    /// The queue file, `.toml` or else XML; `None` = one queue, `root.default`.
    pub path: Option<PathBuf>,
    pub(super) context: QueueContext,
    /// What `${…}` may name besides the file's own properties.
    pub(super) variables: Properties,
    pub(super) environment: Vec<(String, String)>,
}

impl QueueFiles {
    /// Reads the queues again. What other files say (resource types, access control lists of the cluster) is as it was at
    /// start.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn read(&self) -> Result<QueueTree, ConfigErrors> {
        let reading = self.read_all();
        if reading.errors.is_empty() { Ok(reading.tree) } else { Err(ConfigErrors(reading.errors)) }
    }

    /// The same, with what could be read of a file that is wrong, and with warnings.
    #[must_use]
    pub fn read_all(&self) -> QueueReading {
        let Some(path) = &self.path else {
            return QueueReading { tree: self.context.tree.clone(), ..QueueReading::default() };
        };
        let mut report = Report::of(path);
        match properties(path, &self.variables, &self.environment, &mut report.warnings) {
            Ok(properties) => {
                let mut reading = read(&properties, &self.context, report);
                reading.sort();
                reading
            }
            Err(errors) => {
                let of_no_file = report.into_reading(self.context.tree.clone());
                QueueReading { errors: errors.0, is_read: false, ..of_no_file }
            }
        }
    }
}

/// A queue file as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueReading {
    /// The queues; what could not be read has its default.
    pub tree: QueueTree,
    /// The file was read and is one of queues; else the tree is that of no file.
    pub is_read: bool,
    /// Everything that is wrong. The tree may be used only where this is empty.
    pub errors: Vec<ConfigError>,
    /// Everything that has no effect or another than in YARN.
    pub warnings: Vec<ConfigWarning>,
}

impl QueueReading {
    /// In the order in which one would put things right: by file and line.
    pub(super) fn sort(&mut self) {
        self.errors.sort_by_cached_key(|error| match error {
            ConfigError::BadValue { origin, .. } | ConfigError::UnknownKey { origin, .. } => place(origin),
            ConfigError::Impossible { values, .. } => values.first().and_then(|(_, _, origin)| place(origin)),
            _ => None,
        });
        self.warnings.sort_by_cached_key(|warning| place(&warning.origin));
    }
}

fn place(origin: &Origin) -> Option<(PathBuf, usize)> {
    match origin {
        Origin::File(path, line) => Some((path.clone(), *line)),
        Origin::Property(place) => Some((place.path.clone(), place.line)),
        _ => None,
    }
}

/// The properties of a queue file, expanded.
pub(super) fn properties(
    path: &Path,
    variables: &Properties,
    environment: &[(String, String)],
    warnings: &mut Vec<ConfigWarning>,
) -> Result<Properties, ConfigErrors> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
        return toml_form::read(path);
    }
    let mut properties = hadoop::read(path, warnings)?;
    properties.expand(Some(variables), environment, warnings);
    Ok(properties)
}

/// Makes and checks the tree.
pub(super) fn read(properties: &Properties, context: &QueueContext, mut report: Report) -> QueueReading {
    let (tree, drafts) = tree::build(properties, context, &mut report);
    check::check(&tree, &drafts, context, &mut report);
    drop(drafts);
    report.into_reading(tree)
}

/// What is wrong, and what is only odd.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<ConfigWarning>,
    /// The file that all is about, for what is not in it.
    path: PathBuf,
}

impl Report {
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    fn into_reading(self, tree: QueueTree) -> QueueReading {
        QueueReading { tree, is_read: true, errors: self.errors, warnings: self.warnings }
    }

    /// A value, if the property is there and right; if it is wrong, that is told.
    fn read<T>(
        &mut self,
        property: Option<&Property>,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.parse(property, |text| parse(text).ok_or_else(|| accepted.to_owned()))
    }

    /// The same, where the parser says what is accepted.
    fn parse<T>(
        &mut self,
        property: Option<&Property>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let property = property?;
        parse(property.trimmed()).map_err(|accepted| self.bad(property, &accepted)).ok()
    }

    fn bad(&mut self, property: &Property, accepted: &str) {
        let (key, value, origin) = told(property);
        let value = format!("{value:?}");
        self.errors.push(ConfigError::BadValue { key, value, origin, accepted: accepted.to_owned() });
    }

    fn missing(&mut self, key: &str, accepted: &str) {
        let (value, origin) = ("missing".to_owned(), Origin::File(self.path.clone(), 1));
        self.errors.push(ConfigError::BadValue {
            key: key.to_owned(),
            value,
            origin,
            accepted: accepted.to_owned(),
        });
    }

    fn impossible(&mut self, properties: Vec<&Property>, rule: &str) {
        let values = properties.into_iter().map(told).collect();
        self.errors.push(ConfigError::Impossible { values, rule: rule.to_owned() });
    }

    fn warn(&mut self, property: &Property, text: impl Into<String>) {
        self.warnings.push(ConfigWarning::new(property, text));
    }
}

fn told(property: &Property) -> (String, String, Origin) {
    (property.shown().to_owned(), shortened(property.trimmed()), property.origin.clone())
}

const ACL: &str = "* for everybody, a blank for nobody, or users and groups: user1,user2 group1,group2";

/// Refuses what would silently mean something else than it looks like.
fn check_acl(property: &Property, report: &mut Report) {
    if !is_acl(&property.value) {
        report.bad(property, ACL);
    }
}

/// Whether a text is an access control list: at most one blank between users and groups, none after a comma.
pub(super) fn is_acl(text: &str) -> bool {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let is_list = |part: &str| part.split(',').all(|name| !name.is_empty()) || part == "*";
    parts.len() <= 2
        && parts.iter().all(|part| is_list(part))
        && !text.trim().chars().any(char::is_control)
        && Acl::parse(text) == Acl::parse(&normal(text, &parts))
}

/// The list as [`Acl::parse`] reads it whatever blanks surround it.
fn normal(text: &str, parts: &[&str]) -> String {
    let begins_blank = text.starts_with(char::is_whitespace);
    match parts {
        [groups] if begins_blank && *groups != "*" => format!(" {groups}"),
        parts => parts.join(" "),
    }
}

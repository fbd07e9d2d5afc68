//! What can be wrong with configuration, always with the key, the value, where it came from and what is accepted.
//! Owns: [`ConfigError`], [`ConfigErrors`], [`ConfigWarning`]. Called by: everything in `config`, and `cli` to show them. Thread: any.
//! Does not: decide what is accepted.

use core::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::hadoop::Property;
use super::source::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A file that is not of its format.
    #[error("{}:{line} is not {format}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// TOML or XML.
        format: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// A key that is not in the table.
    #[error("{key} ({origin}) is not a key{}", hint(nearest.as_deref()))]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A value of another kind, or outside its range.
    #[error("{key} is {value} ({origin}), accepted is {accepted}")]
    BadValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// What would be accepted.
        accepted: String,
    },
    /// Values that are fine alone and not together.
    #[error("{}: {rule}", list(values))]
    Impossible {
        /// The values: key, value, origin.
        values: Vec<(String, String, Origin)>,
        /// The rule they break.
        rule: String,
    },
    /// A line of a host list.
    #[error("{}:{line} is {found:?}, accepted is {accepted}", path.display())]
    BadListLine {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What stands there, shortened.
        found: String,
        /// What would be accepted.
        accepted: &'static str,
    },
}

/// Something that is not wrong and not what its writer may think either: a key that has no effect, a value that is
/// converted, a name that is ambiguous.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key} is {value:?} ({origin}): {text}")]
#[non_exhaustive]
pub struct ConfigWarning {
    /// Where it stands.
    pub origin: Origin,
    /// The key, as its writer knows it.
    pub key: String,
    /// Its value, shortened.
    pub value: String,
    /// What becomes of it, and what to write instead.
    pub text: String,
}

impl ConfigWarning {
    pub(super) fn new(property: &Property, text: impl Into<String>) -> Self {
        Self {
            origin: property.origin.clone(),
            key: property.shown().to_owned(),
            value: shortened(property.trimmed()),
            text: text.into(),
        }
    }
}

/// What is told of a value: long ones are cut.
pub(super) fn shortened(value: &str) -> String {
    const CHARS_MAX: usize = 100;
    let mut text: String = value.chars().take(CHARS_MAX).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}

/// Everything that is wrong, so that it can be put right in one go. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `heddle config show` lists them all".to_owned(),
        |nearest| format!("; did you mean {nearest}?"),
    )
}

fn list(values: &[(String, String, Origin)]) -> String {
    let texts = values.iter().map(|(key, value, origin)| format!("{key} is {value} ({origin})"));
    texts.collect::<Vec<_>>().join(" and ")
}

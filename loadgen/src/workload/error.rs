//! Why a trace cannot be used, and where it is wrong.
//! Owner: the caller of a reader. Called by: every reader. Thread: any. Does not: end the process or print.
//! Invariant: a text from a file is cut before it is repeated.

use std::io;

use thiserror::Error;

/// Most characters of a wrong value that are repeated.
const FOUND_MAX: usize = 64;

/// A trace that cannot be used, and where it is wrong. Lines count from 1.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// The file cannot be read.
    #[error("{file}: {error}")]
    Io {
        /// Its name.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The text is not of its format, or a value in it is out of range.
    #[error("{file}:{line}: {reason}")]
    Text {
        /// Name of the file.
        file: String,
        /// Line.
        line: u64,
        /// What is wrong, as the parser of the format says it.
        reason: String,
    },
    /// A value is wrong.
    #[error("{file}:{line}: {field}: {found:?} is not accepted, accepted is {accepted}")]
    Value {
        /// Name of the file.
        file: String,
        /// Line.
        line: u64,
        /// What the value is called.
        field: String,
        /// What stands there.
        found: String,
        /// What would be accepted.
        accepted: String,
    },
    /// There is more than can be used.
    #[error("{file}:{line}: more than {max} {what}")]
    TooMany {
        /// Name of the file.
        file: String,
        /// Line of the first too many.
        line: u64,
        /// Of what.
        what: &'static str,
        /// Most.
        max: u64,
    },
    /// The file has nothing of what is looked for.
    #[error("{file}: there are no {what} in it")]
    Empty {
        /// Name of the file.
        file: String,
        /// What is looked for.
        what: &'static str,
    },
    /// Nobody knows what it is.
    #[error("{file}: neither its name nor its beginning tells the format; say --format, one of {accepted}")]
    UnknownFormat {
        /// Name of the file.
        file: String,
        /// The formats there are.
        accepted: String,
    },
}

impl WorkloadError {
    /// A wrong value.
    #[must_use]
    pub fn value(
        file: &str,
        line: u64,
        field: impl Into<String>,
        found: &str,
        accepted: impl Into<String>,
    ) -> Self {
        Self::Value {
            file: file.to_owned(),
            line,
            field: field.into(),
            found: cut(found),
            accepted: accepted.into(),
        }
    }
}

/// The beginning of a text, short enough to be repeated.
#[must_use]
pub fn cut(text: &str) -> String {
    text.chars().take(FOUND_MAX).collect()
}

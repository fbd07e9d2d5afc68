//! Log lines: text or JSON, on standard error.
//! Owns: the process's subscriber. Called by: commands that run roles, once. Thread: main.
//! Does not: write files or rotate them; whoever supervises the process keeps standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt};

use super::error::{CliError, Exit};
use crate::config::{LogFormat, LogSettings};

/// Begins to log.
pub(super) fn start(settings: &LogSettings) -> Result<(), CliError> {
    let failed = |error: String| CliError::new(Exit::Failed, format!("cannot begin to log: {error}"));
    let filter: Targets = settings.level.parse().map_err(|error| failed(format!("log.level: {error}")))?;
    let is_coloured =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let layer = fmt::layer().with_writer(io::stderr).with_ansi(is_coloured);
    let layer = match settings.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    Registry::default().with(layer.with_filter(filter)).try_init().map_err(|error| failed(error.to_string()))
}

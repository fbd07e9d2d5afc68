//! Where words, tables and files go: data to standard output, words to standard error.
//! Owns: writing. Called by: the commands. Thread: main. Does not: know what the numbers mean.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use jiff::Timestamp;

use super::FileArgs;
use crate::driver::{ApplicationSeries, Slice};
use crate::report::{Report, percentile_text};
use crate::{hlog, html};

/// Exit code of wrong usage, as clap's.
const USAGE: i32 = 2;

/// A line for people. Whoever has closed standard error does not want it.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says what is wrong with the flags, and ends.
pub(super) fn refuse(error: &anyhow::Error) -> ! {
    say(&format!("error: {error:#}"));
    std::process::exit(USAGE)
}

/// How this process was called.
pub(super) fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name =
        Path::new(&program).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

/// Now, in UTC, to the second.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What a histogram log of a heartbeat run holds.
pub(super) const HEARTBEATS: &str = "Heddle heartbeat latencies from the planned send time";

/// What that of a floor holds.
pub(super) const ECHOES: &str = "Latencies of a bare QUIC echo from write to echo";

/// What a histogram log is made of.
pub(super) struct Hlog<'a> {
    pub what: &'static str,
    pub slices: &'a [Slice],
    /// Of applications, where there were any.
    pub series: Option<&'a ApplicationSeries>,
    pub base: SystemTime,
    pub slice: Duration,
}

/// Prints the table and the verdict, writes the files that are wanted.
pub(super) fn give(
    report: &Report,
    files: &FileArgs,
    latencies: &Histogram<u64>,
    log: &Hlog<'_>,
) -> Result<()> {
    let text = format!("{}\n{}\n", report.table(), report.verdict());
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    report.errors.iter().for_each(|text| say(&format!("note: {text}")));
    if let Some(path) = &files.json {
        let mut json = serde_json::to_string_pretty(report)?;
        json.push('\n');
        write(path, json.as_bytes())?;
    }
    let percentiles = percentile_text(latencies);
    if let Some(path) = &files.html {
        write(path, html::page(report, latencies, log.series, &percentiles)?.as_bytes())?;
    }
    if let Some(path) = &files.hlog {
        let mut bytes = Vec::new();
        hlog::write(&mut bytes, log.what, log.slices, log.series, log.base, log.slice)?;
        write(path, &bytes)?;
    }
    if let Some(path) = &files.percentiles {
        write(path, percentiles.as_bytes())?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}

//! Tables for people, JSON for programs, and nothing in between that a peer could smuggle in.
//! Owns: how data reaches standard output. Called by: every command that shows something. Thread: main.
//! Does not: decide what is shown. Invariant: no control character of a peer's text reaches a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::error::CliError;

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON value.
    Json,
}

/// A table with these headings: lines between rows and columns on a terminal, bare columns where it is piped.
pub(super) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    if io::stdout().is_terminal() {
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.load_style(presets::NOTHING);
        table.force_no_tty();
    }
    table.set_header(headings.to_vec());
    if !io::stdout().is_terminal() {
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
    }
    table
}

/// Writes text and a line's end. A reader that has gone away (`| head`) is not an error.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Writes a JSON value, indented.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    print(&text)
}

/// The table's lines without spaces at their ends.
pub(super) fn lines(table: &Table) -> String {
    table.trim_fmt()
}

/// The number as it was written, not the `f32` next to it: 0.1 and not 0.10000000149….
pub(super) fn as_written(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_default()
}

/// A text that somebody else wrote, safe for a terminal: control characters (escape sequences among them) become `?`.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() && char != '\t' { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        assert_eq!(plain("disk \u{1b}[2Jfull\r\nnow\u{9b}x"), "disk ?[2Jfull??now?x");
        assert_eq!(plain("größe\tok"), "größe\tok");
    }
}

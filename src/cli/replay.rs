//! `heddle replay`: a recording, stepped again, compared cycle by cycle.
//! Owns: the command and its table. Called by: `cli::main`. Thread: main. Does not: step roles (`recorder` does).

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::error::{CliError, Exit};
use super::output::{self, Format};
use crate::recorder::{ReplayError, ReplayReport, RoleReport, TapeEnd, replay};

/// `heddle replay`
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Directory of the recording.
    dir: PathBuf,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Runs the command. Ends with 1 where a role said something else than recorded.
pub(super) fn run(args: &ReplayArgs) -> Result<(), CliError> {
    let report = replay(&args.dir).map_err(|error| {
        let exit = if matches!(error, ReplayError::NoTapes { .. } | ReplayError::Folder { .. }) {
            Exit::NotFound
        } else {
            Exit::Failed
        };
        CliError::new(exit, error.to_string())
    })?;
    match args.output {
        Format::Table => output::print(&table(&report))?,
        Format::Json => output::print_json(&json!({
            "is_identical": report.is_identical(),
            "roles": report.roles.iter().map(role_json).collect::<Vec<_>>(),
        }))?,
    }
    match report.roles.iter().find_map(|role| Some((role, role.divergence?))) {
        None => Ok(()),
        Some((role, divergence)) => Err(CliError::new(
            Exit::Failed,
            format!(
                "{} said something else in cycle {} at {}: output hash {:016x}, recorded {:016x}{}",
                role.role,
                divergence.cycle,
                divergence.at,
                divergence.replayed,
                divergence.recorded,
                if role.version == env!("CARGO_PKG_VERSION") {
                    String::new()
                } else {
                    format!(
                        "; it was recorded by version {}, this is {}",
                        role.version,
                        env!("CARGO_PKG_VERSION")
                    )
                }
            ),
        )),
    }
}

fn table(report: &ReplayReport) -> String {
    let header = ["Role", "Cycles", "Inputs", "Frames", "Until", "Tape", "Output", "Identical"];
    let mut table = output::table(&header);
    for role in &report.roles {
        table.add_row([
            role.role.clone(),
            role.cycles.to_string(),
            role.inputs.to_string(),
            role.frames.to_string(),
            role.until.to_string(),
            end(role.end).to_owned(),
            format!("{:016x}", role.output),
            if role.divergence.is_none() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    output::lines(&table)
}

fn role_json(role: &RoleReport) -> serde_json::Value {
    json!({
        "role": role.role,
        "version": role.version,
        "cycles": role.cycles,
        "inputs": role.inputs,
        "frames": role.frames,
        "until_ms": role.until.as_millis(),
        "tape": end(role.end),
        "output": format!("{:016x}", role.output),
        "is_identical": role.divergence.is_none(),
        "divergence": role.divergence.map(|divergence| json!({
            "cycle": divergence.cycle,
            "at_ms": divergence.at.as_millis(),
            "recorded": format!("{:016x}", divergence.recorded),
            "replayed": format!("{:016x}", divergence.replayed),
        })),
    })
}

const fn end(end: Option<TapeEnd>) -> &'static str {
    match end {
        Some(TapeEnd::Clean) => "whole",
        Some(TapeEnd::Truncated) => "truncated",
        Some(TapeEnd::Cut) => "cut by a crash",
        None => "not read to its end",
    }
}

//! `heddle replay`: a recording, stepped again.
//! Owns: the command. Called by: `cli::main`. Thread: main. Does not: step roles (`recorder` does).

use std::path::PathBuf;

use clap::Args;

use super::error::{CliError, Exit};

/// `heddle replay`
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Directory of the recording.
    dir: PathBuf,
}

/// Runs the command.
pub(super) fn run(args: ReplayArgs) -> Result<(), CliError> {
    if !args.dir.is_dir() {
        let text = format!("{} is not a directory with a recording", args.dir.display());
        return Err(CliError::new(Exit::NotFound, text));
    }
    replay(&args)
}

/// The one call into the recorder.
fn replay(args: &ReplayArgs) -> Result<(), CliError> {
    let text = format!("cannot replay {}: this build has no recorder", args.dir.display());
    Err(CliError::new(Exit::Failed, text))
}

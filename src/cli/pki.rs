//! `heddle pki`: an authority and what it issues.
//! Owns: where files go and what is said about them. Called by: `cli::main`. Thread: main.
//! Does not: overwrite anything, or send a key anywhere.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::error::CliError;
use super::number::whole;
use super::output;
use crate::pki::{Authority, LEAF_VALIDITY_DAYS, LEAF_VALIDITY_DAYS_MAX, Role, SavedFiles};

/// Name of the identities that `init` issues besides the authority.
const FIRST_RESOURCEMANAGER: &str = "rm1";
const FIRST_ADMIN: &str = "admin";

/// `heddle pki …`
#[derive(Debug, Subcommand)]
pub(super) enum PkiCommand {
    /// Make an authority, and with it certificates for a first ResourceManager and administrator.
    Init(InitArgs),
    /// Issue a certificate.
    Issue(IssueArgs),
}

/// `heddle pki init`
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Directory to make it in.
    #[arg(long, env = "HEDDLE_PKI_DIR", default_value = "pki")]
    dir: PathBuf,
    /// Name of the authority, for people.
    #[arg(long, default_value = "Heddle cluster authority")]
    name: String,
    /// Only the authority, no certificates.
    #[arg(long)]
    ca_only: bool,
}

/// `heddle pki issue`
#[derive(Debug, Args)]
pub(super) struct IssueArgs {
    /// What the holder is.
    role: RoleArg,
    /// Its name. For a node: its host name, or a pattern with one * for a relay of many hosts.
    name: String,
    /// Directory of the authority.
    #[arg(long, env = "HEDDLE_PKI_DIR", default_value = "pki")]
    dir: PathBuf,
    /// Directory to write to [default: the authority's].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Days it is valid.
    #[arg(long, default_value_t = LEAF_VALIDITY_DAYS, value_parser = whole(1..=LEAF_VALIDITY_DAYS_MAX))]
    days: u32,
}

/// A role, as an argument.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleArg {
    /// A NodeManager, or a relay.
    Node,
    /// Whoever may look and submit.
    Client,
    /// Whoever may administrate.
    Admin,
    /// A ResourceManager.
    #[value(name = "resourcemanager")]
    ResourceManager,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Node => Self::Node,
            RoleArg::Client => Self::Client,
            RoleArg::Admin => Self::Admin,
            RoleArg::ResourceManager => Self::ResourceManager,
        }
    }
}

/// Runs the command.
pub(super) fn run(command: PkiCommand) -> Result<(), CliError> {
    match command {
        PkiCommand::Init(args) => init(&args),
        PkiCommand::Issue(args) => issue(&args),
    }
}

fn init(args: &InitArgs) -> Result<(), CliError> {
    let authority = Authority::create(&args.name)?;
    authority.save(&args.dir)?;
    output::print(&format!("authority           {}/ca.pem, ca.key (keep ca.key safe)", args.dir.display()))?;
    if args.ca_only {
        return Ok(());
    }
    for (role, name) in [(Role::ResourceManager, FIRST_RESOURCEMANAGER), (Role::Admin, FIRST_ADMIN)] {
        // The first of each is stored under its role: that is where the other commands look by themselves.
        let files = authority.issue(role, name)?.save(&args.dir, role.name())?;
        say(role, name, &files)?;
    }
    Ok(())
}

fn issue(args: &IssueArgs) -> Result<(), CliError> {
    let role = Role::from(args.role);
    let identity = Authority::load(&args.dir)?.issue_for_days(role, &args.name, args.days)?;
    let files = identity.save(args.out.as_ref().unwrap_or(&args.dir), &stem(&args.name))?;
    say(role, &args.name, &files)
}

fn say(role: Role, name: &str, files: &SavedFiles) -> Result<(), CliError> {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    output::print(&format!("{:<19} {certificate}, {key}", format!("{role} {name}")))
}

/// File name of a certificate: its name, with what a shell or a path would read otherwise replaced.
fn stem(name: &str) -> String {
    let stem: String = name
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '_' })
        .collect();
    // `ca` is the authority's; a leading dash would be taken for a flag.
    if stem == "ca" || stem.starts_with('-') { format!("_{stem}") } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_harmless_file_names() {
        for (name, wanted) in [
            ("n1.rack7", "n1.rack7"),
            ("*.rack7", "_.rack7"),
            ("ops@x", "ops_x"),
            ("ca", "_ca"),
            ("-rf", "_-rf"),
        ] {
            assert_eq!(stem(name), wanted);
        }
    }
}

//! `heddle config`, and the flags with which configuration is given to any command.
//! Owns: [`ConfigArgs`]. Called by: `cli::main`, `resourcemanager`. Thread: main.
//! Does not: check values (`config` does).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::error::CliError;
use super::output::{self, Format};
use crate::config::{self, ConfigSources, Origin, RmConfig};

/// Flags of configuration. They win over the environment (`HEDDLE_SECTION__KEY`), which wins over the file.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Configuration file.
    #[arg(long, env = "HEDDLE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// UDP address of the QUIC door (listen.address).
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// TCP address of /metrics and /health, or off (http.address).
    #[arg(long, value_name = "IP:PORT")]
    http: Option<String>,
    /// Directory of certificate, key and authority (pki.dir; also HEDDLE_PKI_DIR).
    #[arg(long, value_name = "DIR")]
    pki_dir: Option<String>,
    /// Record every engine role's input into this directory (recorder.dir).
    #[arg(long, value_name = "DIR")]
    record: Option<String>,
    /// text or json (log.format).
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged (log.level).
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any key, for example --set heartbeat.interval_ms=3000. May be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl ConfigArgs {
    /// Reads and checks everything.
    pub(super) fn load(&self) -> Result<RmConfig, CliError> {
        Ok(RmConfig::load(&self.sources())?)
    }

    /// Where everything is read from. The environment is as it is now.
    pub(super) fn sources(&self) -> ConfigSources {
        let dedicated = [
            ("listen.address", &self.listen, "--listen"),
            ("http.address", &self.http, "--http"),
            ("pki.dir", &self.pki_dir, "--pki-dir"),
            ("recorder.dir", &self.record, "--record"),
            ("log.format", &self.log_format, "--log-format"),
            ("log.level", &self.log_level, "--log-level"),
        ];
        let set = self.set.iter().map(|(key, value)| (key.clone(), value.clone(), "--set"));
        let flags = dedicated
            .into_iter()
            .filter_map(|(key, value, flag)| Some((key.to_owned(), value.clone()?, flag)));
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        ConfigSources {
            file: self.config.clone(),
            environment: environment.collect(),
            flags: set.chain(flags).collect(),
        }
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("accepted is section.key=value")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// `heddle config …`
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Every key with its value.
    Show(ShowArgs),
    /// A configuration file with every key, its default and what it is for.
    Example,
}

/// `heddle config show`
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also where each value came from.
    #[arg(long)]
    origin: bool,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl ConfigCommand {
    pub(super) fn format(&self) -> Format {
        match self {
            Self::Show(args) => args.output,
            Self::Example => Format::Table,
        }
    }
}

/// Runs the command.
pub(super) fn run(command: ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Show(args) => show(&args),
        ConfigCommand::Example => output::print(config::example().trim_end()),
    }
}

fn show(args: &ShowArgs) -> Result<(), CliError> {
    let config = args.config.load()?;
    if args.output == Format::Json {
        let entries = config.entries().iter().map(|entry| {
            let mut value = json!({ "value": entry.value, "unit": entry.unit });
            if args.origin {
                value["origin"] = Value::String(entry.origin.to_string());
                value["is_default"] = Value::Bool(entry.origin == Origin::Default);
            }
            (entry.key.clone(), value)
        });
        return output::print_json(&entries.collect::<Map<_, _>>());
    }
    let mut headings = vec!["Key", "Value", "Unit"];
    headings.extend(args.origin.then_some("Origin"));
    let mut table = output::table(&headings);
    for entry in config.entries() {
        let value = if entry.value.is_empty() { "(none)" } else { entry.value.as_str() };
        let mut row = vec![entry.key.clone(), output::plain(value), entry.unit.to_owned()];
        row.extend(args.origin.then(|| output::plain(&entry.origin.to_string())));
        table.add_row(row);
    }
    output::print(&output::lines(&table))
}

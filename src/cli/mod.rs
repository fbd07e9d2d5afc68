//! The command line: noun, verb, options.
//! Owns: its grammar, its exit codes, how things are printed. Called by: `main` only, on the main thread.
//! Does not: contain what the commands do beyond asking and printing. One file per noun.
//!
//! Data goes to standard output, words to standard error. Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 not
//! found, 4 refused, 5 unreachable, 124 timed out.

mod admin;
mod application;
mod config;
mod connection;
mod error;
mod log;
mod node;
pub mod number;
mod output;
mod pki;
mod queue;
mod replay;
mod resourcemanager;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A cluster ResourceManager: YARN's protocols as rkyv frames over QUIC.
#[derive(Debug, Parser)]
#[command(name = "heddle", version, max_term_width = 110, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a certificate authority, and certificates for nodes and people.
    #[command(subcommand)]
    Pki(pki::PkiCommand),
    /// Show the configuration: every key, its value, and where that came from.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look at applications and why they wait; submit, kill and move them.
    #[command(subcommand)]
    Application(application::ApplicationCommand),
    /// Look at attempts of applications; fail one.
    #[command(subcommand)]
    Attempt(application::AttemptCommand),
    /// Look at live containers; signal one.
    #[command(subcommand)]
    Container(application::ContainerCommand),
    /// Look at nodes; take them out and bring them back.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Look at queues; see what a queue file means, and what is wrong with it.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Labels of nodes: list, add, remove, put on nodes.
    #[command(subcommand)]
    Label(admin::LabelCommand),
    /// Have the ResourceManager read its files again; groups of users; what a node offers.
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Run the ResourceManager.
    #[command(name = "resourcemanager")]
    ResourceManager(resourcemanager::ResourceManagerArgs),
    /// Step a recording again and compare what comes out.
    Replay(replay::ReplayArgs),
}

/// Parses the process's arguments and runs the command they name.
#[must_use]
pub fn main() -> ExitCode {
    crate::pki::install_crypto_provider();
    let cli = Cli::parse();
    let format = match &cli.command {
        Command::Config(command) => command.format(),
        Command::Application(command) => command.format(),
        Command::Attempt(command) => command.format(),
        Command::Container(command) => command.format(),
        Command::Node(command) => command.format(),
        Command::Queue(command) => command.format(),
        Command::Label(command) => command.format(),
        Command::Admin(command) => command.format(),
        _ => output::Format::Table,
    };
    let result = match cli.command {
        Command::Pki(command) => pki::run(command),
        Command::Config(command) => config::run(command),
        Command::Application(command) => application::run(command),
        Command::Attempt(command) => application::run_attempt(command),
        Command::Container(command) => application::run_container(command),
        Command::Node(command) => node::run(command),
        Command::Queue(command) => queue::run(command),
        Command::Label(command) => admin::run_label(command),
        Command::Admin(command) => admin::run(command),
        Command::ResourceManager(args) => resourcemanager::run(args),
        Command::Replay(args) => replay::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(format),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_read_as_they_are_documented() {
        for line in [
            "pki init",
            "pki init --dir d --ca-only",
            "pki issue node n1 --dir d --out o --days 30",
            "pki issue admin ops",
            "config show --origin -o json --set nodes.max=5",
            "application list --states RUNNING,accepted --users a,b --queues root.a -o json",
            "application list --all",
            "application status application_1700000000000_0001",
            "application explain application_1700000000000_0001 --limit 5",
            "application submit --name x --queue root.a --am-memory 2048 -- sleep 10",
            "application submit --unmanaged",
            "application kill application_1_1 application_1_2 --reason enough",
            "application move application_1_1 --queue root.b",
            "application priority application_1_1 -3",
            "application lifetime application_1_1 3600",
            "attempt list application_1_1",
            "attempt fail appattempt_1_0001_000001",
            "container list appattempt_1_0001_000001",
            "container signal container_1_0001_01_000001 FORCEFUL_SHUTDOWN",
            "node list",
            "node list --states RUNNING,lost --show-details",
            "node list --all -o json",
            "node status n1:45454",
            "node decommission n1 n2:1 --graceful --timeout 600",
            "node decommission n1 --graceful --timeout -1",
            "node recommission n1",
            "node refresh --graceful",
            "queue list",
            "queue list root.a -o json",
            "queue status a",
            "queue validate capacity-scheduler.xml",
            "queue validate queues.toml --yarn-site yarn-site.xml --memory 102400 --vcores 100 -o json",
            "label list -o json",
            "label add gpu fast:shared",
            "label remove gpu",
            "label set n1=gpu n2:45454= --fail-on-unknown-nodes",
            "admin refresh-queues",
            "admin refresh-admin-acls",
            "admin refresh-groups",
            "admin groups alice",
            "admin update-node n1:45454 --memory 8192 --vcores 8",
            "resourcemanager --config heddle.toml --listen 0.0.0.0:8031 --record d --set a.b=c --set d.e=f",
            "replay d",
        ] {
            let arguments = std::iter::once("heddle").chain(line.split(' '));
            assert!(Cli::try_parse_from(arguments).is_ok(), "{line}");
        }
        for line in [
            "",
            "pki issue pilot n1",
            "application submit",
            "application submit --unmanaged -- sleep",
            "application status app_1",
            "application lifetime application_1_1 0",
            "container signal container_1_0001_01_000001 HUP",
            "node list --states RUNNING --all",
            "node list --states WALKING",
            "node decommission",
            "node decommission n1 --timeout 600",
            "node decommission n1 --graceful --forceful",
            "node decommission n1 --graceful --timeout -2",
            "queue validate",
            "queue status",
            "queue list a b",
            "queue validate a.xml --memory 1",
            "label add gpu:sometimes",
            "label set n1",
            "admin update-node n1 --memory 1",
            "resourcemanager --set nodes.max",
            "replay",
        ] {
            let arguments = std::iter::once("heddle").chain(line.split(' '));
            assert!(Cli::try_parse_from(arguments).is_err(), "{line}");
        }
    }
}

//! `heddle node`: YARN's node commands, and the two of ours that take nodes out and bring them back by name.
//! Owns: what is asked and what the answers mean for the exit code. Called by: `cli::main`. Thread: main.
//! Does not: format reports (`report` does), or talk to shards (`client` does).

mod report;

use core::time::Duration;

use clap::{Args, Subcommand};
use heddle_wire::administration::DecommissionType;
use heddle_wire::limits::HOST_MAX;
use heddle_wire::record::{NodeId, NodeReport, NodeState};
use serde_json::json;

use super::connection::ConnectionArgs;
use super::error::{CliError, Exit};
use super::number::whole;
use super::output::{self, Format};
use crate::client::{AdminClient, Deadline};

/// `heddle node …`
#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// List nodes: those that are RUNNING, unless asked otherwise.
    List(ListArgs),
    /// All there is to know about a node.
    Status(StatusArgs),
    /// Take nodes out: at once, or when their work is done.
    Decommission(DecommissionArgs),
    /// Bring DECOMMISSIONING nodes back.
    Recommission(RecommissionArgs),
    /// Have the ResourceManager read its include and exclude lists again.
    Refresh(RefreshArgs),
}

/// Options of every node command.
#[derive(Debug, Args)]
struct Common {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `heddle node list`
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// States wanted: NEW, RUNNING, UNHEALTHY, DECOMMISSIONED, LOST, REBOOTED, DECOMMISSIONING, SHUTDOWN, or ALL.
    #[arg(long, value_delimiter = ',', value_parser = states, conflicts_with = "all", value_name = "STATE,…")]
    states: Vec<Vec<NodeState>>,
    /// Every state.
    #[arg(long)]
    all: bool,
    /// Resources, use and labels of each node below its line.
    #[arg(long)]
    show_details: bool,
    #[command(flatten)]
    common: Common,
}

/// `heddle node status`
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// HOST:PORT, or HOST for every NodeManager there.
    #[arg(value_parser = node_id)]
    node: NodeId,
    #[command(flatten)]
    common: Common,
}

/// How nodes leave.
#[derive(Debug, Args)]
struct Leaving {
    /// When their work is done, or the time is over.
    #[arg(long)]
    graceful: bool,
    /// At once, also nodes that are leaving gracefully.
    #[arg(long, conflicts_with = "graceful")]
    forceful: bool,
    /// Seconds a graceful decommission may take, -1 = for ever [default: as the ResourceManager is configured].
    #[arg(long, requires = "graceful", value_name = "SECONDS", allow_negative_numbers = true,
          value_parser = whole(-1..=i32::MAX))]
    timeout: Option<i32>,
}

impl Leaving {
    fn kind(&self) -> DecommissionType {
        match (self.graceful, self.forceful) {
            (true, _) => DecommissionType::Graceful,
            (_, true) => DecommissionType::Forceful,
            _ => DecommissionType::Normal,
        }
    }

    fn deadline(&self) -> Deadline {
        match self.timeout.map(u64::try_from) {
            None => Deadline::Configured,
            Some(Ok(seconds)) => Deadline::After(Duration::from_secs(seconds)),
            Some(Err(_)) => Deadline::Never,
        }
    }
}

/// `heddle node decommission`
#[derive(Debug, Args)]
pub(super) struct DecommissionArgs {
    /// HOST:PORT, or HOST for every NodeManager there.
    #[arg(required = true, value_parser = node_id, value_name = "NODE")]
    nodes: Vec<NodeId>,
    #[command(flatten)]
    leaving: Leaving,
    #[command(flatten)]
    common: Common,
}

/// `heddle node recommission`
#[derive(Debug, Args)]
pub(super) struct RecommissionArgs {
    /// HOST:PORT, or HOST for every NodeManager there.
    #[arg(required = true, value_parser = node_id, value_name = "NODE")]
    nodes: Vec<NodeId>,
    #[command(flatten)]
    common: Common,
}

/// `heddle node refresh`
#[derive(Debug, Args)]
pub(super) struct RefreshArgs {
    #[command(flatten)]
    leaving: Leaving,
    #[command(flatten)]
    common: Common,
}

impl NodeCommand {
    fn common(&self) -> &Common {
        match self {
            Self::List(args) => &args.common,
            Self::Status(args) => &args.common,
            Self::Decommission(args) => &args.common,
            Self::Recommission(args) => &args.common,
            Self::Refresh(args) => &args.common,
        }
    }

    pub(super) fn format(&self) -> Format {
        self.common().output
    }
}

/// One state, or `ALL`.
fn states(text: &str) -> Result<Vec<NodeState>, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(NodeState::ALL.to_vec());
    }
    let state = NodeState::parse(text.trim()).ok_or_else(|| {
        let names: Vec<_> = NodeState::ALL.iter().map(|state| state.name()).collect();
        format!("accepted are {}, ALL", names.join(", "))
    })?;
    Ok(vec![state])
}

pub(super) fn node_id(text: &str) -> Result<NodeId, String> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port > 0)),
        None => (text, Some(0)),
    };
    let is_host = (1..=HOST_MAX).contains(&host.len())
        && host.chars().all(|char| !char.is_whitespace() && !char.is_control());
    match port {
        Some(port) if is_host => Ok(NodeId::new(host, port)),
        _ => Err("accepted is HOST:PORT, or HOST for every NodeManager there".to_owned()),
    }
}

/// Runs the command.
pub(super) fn run(command: NodeCommand) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let mut client = command.common().connection.connect().await?;
        let result = match &command {
            NodeCommand::List(args) => list(&mut client, args).await,
            NodeCommand::Status(args) => status(&mut client, args).await,
            NodeCommand::Decommission(args) => decommission(&mut client, args).await,
            NodeCommand::Recommission(args) => recommission(&mut client, args).await,
            NodeCommand::Refresh(args) => refresh(&mut client, args).await,
        };
        client.close().await;
        result
    })
}

async fn list(client: &mut AdminClient, args: &ListArgs) -> Result<(), CliError> {
    let states = match (args.all, args.states.concat()) {
        (true, _) => NodeState::ALL.to_vec(),
        (false, states) if states.is_empty() => vec![NodeState::Running],
        (false, states) => states,
    };
    let mut nodes = client.nodes(&states, &[]).await?;
    nodes.sort_by(|a, b| a.node_id.cmp(&b.node_id));
    if args.common.output == Format::Json {
        return output::print_json(&nodes.iter().map(report::json).collect::<Vec<_>>());
    }
    output::print(&report::list(&nodes, args.show_details))
}

async fn status(client: &mut AdminClient, args: &StatusArgs) -> Result<(), CliError> {
    let mut nodes = client.nodes(&[], core::slice::from_ref(&args.node)).await?;
    nodes.sort_by(|a, b| a.node_id.cmp(&b.node_id));
    if nodes.is_empty() {
        return Err(unknown(&args.node));
    }
    if args.common.output == Format::Json {
        return output::print_json(&nodes.iter().map(report::json).collect::<Vec<_>>());
    }
    let texts: Vec<_> = nodes.iter().map(report::status).collect();
    output::print(&texts.join("\n\n"))
}

fn unknown(node: &NodeId) -> CliError {
    let text = format!("could not find the node report for node id : {}", named(node));
    CliError::new(Exit::NotFound, text).with_hint("`heddle node list --all` shows every node")
}

/// A node id as it was given.
fn named(node: &NodeId) -> String {
    if node.port == 0 { node.host.clone() } else { node.to_string() }
}

fn is_meant(wanted: &NodeId, found: &NodeId) -> bool {
    wanted.host == found.host && (wanted.port == 0 || wanted.port == found.port)
}

async fn decommission(client: &mut AdminClient, args: &DecommissionArgs) -> Result<(), CliError> {
    let (kind, deadline) = (args.leaving.kind(), args.leaving.deadline());
    let affected = client.decommission(&args.nodes, kind, deadline).await?;
    let verb = if kind == DecommissionType::Graceful { "decommissioning" } else { "decommissioned" };
    let done = [NodeState::Decommissioned, NodeState::Decommissioning];
    conclude(client, &args.common, &args.nodes, affected, verb, &done).await
}

async fn recommission(client: &mut AdminClient, args: &RecommissionArgs) -> Result<(), CliError> {
    let affected = client.recommission(&args.nodes).await?;
    conclude(client, &args.common, &args.nodes, affected, "running", &[NodeState::Running]).await
}

/// Says what became of each node that was named. One that already is where it should be is no fault.
async fn conclude(
    client: &mut AdminClient,
    common: &Common,
    wanted: &[NodeId],
    mut affected: Vec<NodeId>,
    verb: &str,
    done: &[NodeState],
) -> Result<(), CliError> {
    affected.sort();
    let is_silent = |wanted: &&NodeId| affected.iter().all(|found| !is_meant(wanted, found));
    let silent: Vec<NodeId> = wanted.iter().filter(is_silent).cloned().collect();
    let reports = if silent.is_empty() { Vec::new() } else { client.nodes(&[], &silent).await? };
    let (mut already, mut refused, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for node in &silent {
        let of_node: Vec<&NodeReport> =
            reports.iter().filter(|found| is_meant(node, &found.node_id)).collect();
        let is_done = of_node.iter().all(|found| done.contains(&found.state));
        match (of_node.is_empty(), is_done) {
            (true, _) => missing.push(named(node)),
            (false, true) => {
                already.extend(of_node.iter().map(|found| (found.node_id.to_string(), found.state)))
            }
            (false, false) => {
                refused.extend(of_node.iter().map(|found| (found.node_id.to_string(), found.state)))
            }
        }
    }
    if common.output == Format::Json {
        let states = |list: &[(String, NodeState)]| {
            list.iter()
                .map(|(node, state)| json!({ "node": node, "state": state.name() }))
                .collect::<Vec<_>>()
        };
        output::print_json(&json!({
            "affected": affected.iter().map(NodeId::to_string).collect::<Vec<_>>(),
            "already": states(&already), "refused": states(&refused), "not_found": missing,
        }))?;
    } else {
        for node in &affected {
            output::print(&output::plain(&format!("{node} {verb}")))?;
        }
        for (node, state) in &already {
            output::print(&output::plain(&format!("{node} already {}", state.name())))?;
        }
    }
    let told = |list: &[(String, NodeState)]| {
        list.iter().map(|(node, state)| format!("{node} is {}", state.name())).collect::<Vec<_>>().join(", ")
    };
    if !missing.is_empty() {
        return Err(CliError::new(Exit::NotFound, format!("no such node: {}", missing.join(", ")))
            .with_hint("`heddle node list --all` shows every node"));
    }
    if !refused.is_empty() {
        return Err(CliError::new(Exit::Refused, format!("nothing was done: {}", told(&refused))));
    }
    Ok(())
}

async fn refresh(client: &mut AdminClient, args: &RefreshArgs) -> Result<(), CliError> {
    let done = client.refresh(args.leaving.kind(), args.leaving.deadline()).await?;
    if args.common.output == Format::Json {
        return output::print_json(&json!({
            "included_hosts": done.included_hosts,
            "excluded_hosts": done.excluded_hosts,
            "affected_nodes": done.affected_nodes,
        }));
    }
    let included = match done.included_hosts {
        0 => "every host may join".to_owned(),
        count => format!("{count} hosts may join"),
    };
    let (excluded, affected) = (done.excluded_hosts, done.affected_nodes);
    output::print(&format!("{included}, {excluded} are excluded; {affected} nodes began to leave"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_by_host_or_host_and_port() {
        assert_eq!(node_id("n1:45454").unwrap(), NodeId::new("n1", 45_454));
        assert_eq!(node_id("n1").unwrap(), NodeId::new("n1", 0));
        for bad in ["", ":1", "n1:", "n1:0", "n1:65536", "a b", "n1:1:2", &"x".repeat(254)] {
            assert!(node_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_means_every_nodemanager_there() {
        let found = NodeId::new("n1", 2);
        assert!(is_meant(&NodeId::new("n1", 0), &found) && is_meant(&NodeId::new("n1", 2), &found));
        assert!(!is_meant(&NodeId::new("n1", 3), &found) && !is_meant(&NodeId::new("n2", 0), &found));
    }
}

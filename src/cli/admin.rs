//! `heddle label` and `heddle admin`: what YARN's rmadmin does for the scheduler.
//! Owns: what is asked and said. Called by: `cli::main`. Thread: main.
//! Does not: take nodes out (`node` does), or check what the ResourceManager checks.

use clap::{Args, Subcommand};
use heddle_wire::administration::NodeResource;
use heddle_wire::record::{NodeId, NodeIdToLabels, NodeLabel, Resource};
use serde_json::{Value, json};

use super::application::{Common, with_client};
use super::error::{CliError, Exit};
use super::node::node_id;
use super::number::whole;
use super::output::{self, Format};
use crate::client::ClientError;

/// `heddle label …`
#[derive(Debug, Subcommand)]
pub(super) enum LabelCommand {
    /// The labels of the cluster.
    List(PlainArgs),
    /// Add labels to the cluster.
    Add(AddLabelsArgs),
    /// Remove labels; one that a queue names stays.
    Remove(RemoveLabelsArgs),
    /// Put labels on nodes, or take them off.
    Set(SetLabelsArgs),
}

/// `heddle admin …`
#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// Read the queue file again: all of it is taken over, or nothing.
    RefreshQueues(PlainArgs),
    /// Read again who administrates.
    RefreshAdminAcls(PlainArgs),
    /// Read again who is in which group.
    RefreshGroups(PlainArgs),
    /// Read again what the highest priority of an application is.
    RefreshMaxPriority(PlainArgs),
    /// The groups of a user, as the ResourceManager knows them.
    Groups(GroupsArgs),
    /// Change what a node offers.
    UpdateNode(UpdateNodeArgs),
}

/// Nothing but the options every command has.
#[derive(Debug, Args)]
pub(super) struct PlainArgs {
    #[command(flatten)]
    common: Common,
}

/// `heddle label add`
#[derive(Debug, Args)]
pub(super) struct AddLabelsArgs {
    /// NAME for a partition of its own, NAME:shared for one whose idle nodes others may use.
    #[arg(required = true, value_parser = label, value_name = "LABEL")]
    labels: Vec<NodeLabel>,
    #[command(flatten)]
    common: Common,
}

/// `heddle label remove`
#[derive(Debug, Args)]
pub(super) struct RemoveLabelsArgs {
    /// The labels.
    #[arg(required = true, value_name = "LABEL")]
    labels: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// `heddle label set`
#[derive(Debug, Args)]
pub(super) struct SetLabelsArgs {
    /// HOST=LABEL or HOST:PORT=LABEL; nothing after the `=` is the default partition.
    #[arg(required = true, value_parser = node_label, value_name = "NODE=LABEL")]
    nodes: Vec<NodeIdToLabels>,
    /// Do nothing at all where a node is not known.
    #[arg(long)]
    fail_on_unknown_nodes: bool,
    #[command(flatten)]
    common: Common,
}

/// `heddle admin groups`
#[derive(Debug, Args)]
pub(super) struct GroupsArgs {
    /// The user.
    user: String,
    #[command(flatten)]
    common: Common,
}

/// `heddle admin update-node`
#[derive(Debug, Args)]
pub(super) struct UpdateNodeArgs {
    /// HOST:PORT, or HOST for every NodeManager there.
    #[arg(value_parser = node_id)]
    node: NodeId,
    /// Memory, MiB.
    #[arg(long, value_parser = whole(0..=u64::MAX), value_name = "MIB")]
    memory: u64,
    /// Virtual cores.
    #[arg(long, value_parser = whole(0..=u32::MAX), value_name = "COUNT")]
    vcores: u32,
    #[command(flatten)]
    common: Common,
}

impl LabelCommand {
    const fn common(&self) -> &Common {
        match self {
            Self::List(args) => &args.common,
            Self::Add(args) => &args.common,
            Self::Remove(args) => &args.common,
            Self::Set(args) => &args.common,
        }
    }

    pub(super) const fn format(&self) -> Format {
        self.common().output
    }
}

impl AdminCommand {
    const fn common(&self) -> &Common {
        match self {
            Self::RefreshQueues(args)
            | Self::RefreshAdminAcls(args)
            | Self::RefreshGroups(args)
            | Self::RefreshMaxPriority(args) => &args.common,
            Self::Groups(args) => &args.common,
            Self::UpdateNode(args) => &args.common,
        }
    }

    pub(super) const fn format(&self) -> Format {
        self.common().output
    }
}

fn label(text: &str) -> Result<NodeLabel, String> {
    let (name, is_exclusive) = match text.split_once(':') {
        None => (text, true),
        Some((name, "exclusive")) => (name, true),
        Some((name, "shared")) => (name, false),
        Some(_) => return Err("accepted is NAME, NAME:exclusive or NAME:shared".to_owned()),
    };
    Ok(NodeLabel { name: name.to_owned(), is_exclusive })
}

fn node_label(text: &str) -> Result<NodeIdToLabels, String> {
    let (node, label) =
        text.split_once('=').ok_or("accepted is NODE=LABEL, or NODE= for the default partition")?;
    let node_labels = if label.is_empty() { Vec::new() } else { vec![label.to_owned()] };
    Ok(NodeIdToLabels { node_id: node_id(node)?, node_labels })
}

/// Says what was done: a line for people, an object for programs.
fn tell(common: &Common, text: &str, value: &Value) -> Result<(), CliError> {
    if common.output == Format::Json {
        return output::print_json(value);
    }
    output::print(text)
}

/// Runs a label command.
pub(super) fn run_label(command: LabelCommand) -> Result<(), CliError> {
    let common = command.common();
    with_client(common, async |client| match &command {
        LabelCommand::List(_) => {
            let labels = client.node_labels().await?;
            if common.output == Format::Json {
                let json = |label: &NodeLabel| json!({ "name": label.name, "exclusive": label.is_exclusive });
                return output::print_json(&labels.iter().map(json).collect::<Vec<_>>());
            }
            let mut table = output::table(&["Label", "Sharing"]);
            for label in &labels {
                let sharing = if label.is_exclusive { "exclusive" } else { "shared when idle" };
                table.add_row([output::plain(&label.name), sharing.to_owned()]);
            }
            output::print(&output::lines(&table))
        }
        LabelCommand::Add(args) => {
            let added = client.add_node_labels(args.labels.clone()).await?;
            tell(common, &format!("{} added", labels(added)), &json!({ "added_labels": added }))
        }
        LabelCommand::Remove(args) => {
            let removed =
                client.remove_node_labels(args.labels.clone()).await.map_err(|it| named(it, LABELS))?;
            tell(common, &format!("{} removed", labels(removed)), &json!({ "removed_labels": removed }))
        }
        LabelCommand::Set(args) => {
            let affected = client
                .replace_labels_on_nodes(args.nodes.clone(), args.fail_on_unknown_nodes)
                .await
                .map_err(|it| named(it, LABELS))?;
            // A name that is mistyped looks like a node that is still to come.
            let rest = if (affected as usize) < args.nodes.len() {
                "; a node that is not there gets its label when it registers"
            } else {
                ""
            };
            let text = format!("labels changed on {}{rest}", nodes(affected));
            tell(common, &text, &json!({ "affected_nodes": affected }))
        }
    })
}

/// Runs an administration command.
pub(super) fn run(command: AdminCommand) -> Result<(), CliError> {
    let common = command.common();
    with_client(common, async |client| match &command {
        AdminCommand::RefreshQueues(_) => {
            let done = client.refresh_queues().await?;
            let text = format!(
                "{} queues: {} added, {} removed, {} changed",
                done.queues, done.added_queues, done.removed_queues, done.changed_queues
            );
            tell(
                common,
                [text.as_str(), done.warnings.trim_end()].join("\n").trim_end(),
                &json!({
                    "queues": done.queues,
                    "added_queues": done.added_queues,
                    "removed_queues": done.removed_queues,
                    "changed_queues": done.changed_queues,
                    "warnings": done.warnings.lines().collect::<Vec<_>>(),
                }),
            )
        }
        AdminCommand::RefreshAdminAcls(_) => {
            client.refresh_admin_acls().await?;
            tell(common, "administrators read again", &json!({ "done": true }))
        }
        AdminCommand::RefreshGroups(_) => {
            client.refresh_groups().await?;
            tell(common, "groups read again", &json!({ "done": true }))
        }
        AdminCommand::RefreshMaxPriority(_) => {
            let priority = client.refresh_cluster_max_priority().await?;
            let text = format!("priorities of applications are at most {priority}");
            tell(common, &text, &json!({ "cluster_max_priority": priority }))
        }
        AdminCommand::Groups(args) => {
            let groups = client.groups_for_user(&args.user).await?;
            let text = output::plain(&format!("{} : {}", args.user, groups.join(" ")));
            tell(common, &text, &json!({ "user": args.user, "groups": groups }))
        }
        AdminCommand::UpdateNode(args) => {
            let node = NodeResource {
                node_id: args.node.clone(),
                capability: Resource::new(args.memory, args.vcores),
                over_commit_timeout_ms: None,
            };
            let affected = client.update_node_resource(vec![node]).await.map_err(|it| named(it, NODES))?;
            tell(common, &format!("{} changed", nodes(affected)), &json!({ "affected_nodes": affected }))
        }
    })
}

const LABELS: &str = "`heddle label list` shows every label, `heddle node list --all` every node";

const NODES: &str = "`heddle node list --all` shows every node";

/// An error of a name that is not known says where the names are.
fn named(error: ClientError, hint: &str) -> CliError {
    let error = CliError::from(error);
    if error.exit == Exit::NotFound && error.hint.is_none() { error.with_hint(hint) } else { error }
}

fn labels(count: impl Into<u64>) -> String {
    counted(count.into(), "label")
}

fn nodes(count: impl Into<u64>) -> String {
    counted(count.into(), "node")
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([nodes(0_u32), nodes(1_u32), labels(2_u32)], ["0 nodes", "1 node", "2 labels"]);
    }

    #[test]
    fn labels_are_read_with_how_they_are_shared() {
        assert!(label("gpu").unwrap().is_exclusive && !label("gpu:shared").unwrap().is_exclusive);
        assert!(label("gpu:maybe").is_err());
        let set = node_label("n1:45454=gpu").unwrap();
        assert_eq!((set.node_id, set.node_labels), (NodeId::new("n1", 45_454), vec!["gpu".to_owned()]));
        assert!(node_label("n1=").unwrap().node_labels.is_empty());
        assert!(node_label("n1").is_err() && node_label("n1:x=gpu").is_err());
    }
}

//! What administrators change in a running scheduler.
//! Owns: capability of nodes by order; below it queues, node labels and moves, a file each. Called by: `handle_command`, on
//! the scheduler's thread. Does not: check who asks, or read files. Invariants: a command is carried out whole or, with
//! every reason named, not at all; sums over queues, users, attempts and nodes are afterwards what a recount would give.

mod labels;
mod moves;
mod queues;
mod recount;

use heddle_wire::RejectCode;

pub(super) use self::labels::NodeLabels;
use super::face::SchedulerOutput;
use super::{Scheduler, done, refuse};
use crate::engine::event::{NodeCommand, NodeOrder, Resource};
use crate::engine::time::Instant;

/// Most reasons told; more are counted. An administrator mends a file in rounds anyhow, and a reply stays small.
const REASONS_MAX: usize = 100;

/// Why a command is refused: a reason per line.
#[derive(Debug, Default)]
struct Reasons {
    lines: Vec<String>,
    more: usize,
}

impl Reasons {
    fn push(&mut self, reason: String) {
        if self.lines.len() < REASONS_MAX {
            self.lines.push(reason);
        } else {
            self.more += 1;
        }
    }

    const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn text(mut self) -> String {
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        self.lines.join("\n")
    }
}

/// A node as an administrator names it.
fn named(host: &str, port: u16) -> String {
    if port == 0 { host.to_owned() } else { format!("{host}:{port}") }
}

impl Scheduler {
    /// Nodes of a name; port 0 = every `NodeManager` of the host.
    fn nodes_named(&self, host: &str, port: u16) -> Vec<u32> {
        let Some(name) = self.hosts.find(host) else { return Vec::new() };
        let is_meant = |index: &u32| {
            port == 0 || self.nodes.get(*index).is_some_and(|node| node.details.node_id.port == port)
        };
        self.nodes.on_host(name).iter().copied().filter(is_meant).collect()
    }

    /// Changes the capability of nodes, here and at the nodes themselves. What runs stays, also where it is more than the
    /// node has now; such a node is given nothing until it is below again.
    pub(super) fn update_node_resource(
        &mut self,
        now: Instant,
        token: u64,
        nodes: &[(Box<str>, u16, Resource)],
        out: &mut SchedulerOutput,
    ) {
        let mut reasons = Reasons::default();
        let mut code = RejectCode::NotFound;
        let mut found: Vec<(u32, &Resource)> = Vec::new();
        for (host, port, resource) in nodes {
            for extended in &resource.extended {
                if self.settings.resource_types.index(&extended.name).is_none() {
                    code = RejectCode::BadField;
                    reasons.push(format!(
                        "resource type {:?} of node {} is not one of the cluster's",
                        extended.name,
                        named(host, *port)
                    ));
                }
            }
            let of = self.nodes_named(host, *port);
            if of.is_empty() {
                reasons.push(format!("node {} is not known", named(host, *port)));
            }
            found.extend(of.into_iter().map(|index| (index, resource)));
        }
        if !reasons.is_empty() {
            return refuse(out, token, code, reasons.text());
        }
        let mut affected = 0;
        for (index, resource) in found {
            let capability = self.settings.resource_types.to_vector(resource);
            let Some(node) = self.nodes.get(index) else { continue };
            affected += i64::from(node.capability != capability);
            let order = NodeOrder::UpdateResource(resource.clone());
            out.node_commands.push(NodeCommand { node: node.handle, order, is_urgent: true });
            self.change_node(now, index, None, Some(capability), out);
        }
        done(out, token, affected);
    }
}

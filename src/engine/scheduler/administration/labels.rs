//! Node labels: which there are, and which node has which.
//! Owns: [`NodeLabels`], the making and ending of partitions. Called by: `handle_command`, and `node_events` when a node
//! comes; on the scheduler's thread. Does not: keep labels over a restart. Invariants: a node is in the partition of its
//! label; a partition whose label was removed has no node, keeps what is asked in it, and its number until nothing is.

use std::collections::BTreeMap;

use heddle_wire::RejectCode;
use heddle_wire::limits::{CLUSTER_LABELS_MAX, NAME_MAX};

use super::super::face::SchedulerOutput;
use super::super::partition::Partition;
use super::super::settings::QueueSettings;
use super::super::{Scheduler, done, refuse};
use super::{Reasons, named};
use crate::engine::time::Instant;

/// Most nodes whose label is remembered, there or not: ten times the largest cluster that is planned for.
const LABELLED_NODES_MAX: usize = 1 << 20;

/// Labels that an administrator gave, by host; kept over registrations.
#[derive(Debug, Default)]
pub(in crate::engine::scheduler) struct NodeLabels {
    hosts: BTreeMap<Box<str>, HostLabels>,
    /// Entries of all hosts.
    count: usize,
}

#[derive(Debug, Default)]
struct HostLabels {
    /// Of every `NodeManager` without an entry of its own.
    all: Option<Box<str>>,
    /// By port; `""` = the default partition, whatever `all` says.
    ports: BTreeMap<u16, Box<str>>,
}

impl HostLabels {
    fn len(&self) -> usize {
        self.ports.len() + usize::from(self.all.is_some())
    }
}

impl NodeLabels {
    /// The label given to a node.
    pub(in crate::engine::scheduler) fn get(&self, host: &str, port: u16) -> Option<&str> {
        let of = self.hosts.get(host)?;
        of.ports.get(&port).or(of.all.as_ref()).map(|label| &**label)
    }

    /// Gives a node (port 0: a host, with what its nodes had) a label; `""` is none.
    fn set(&mut self, host: &str, port: u16, label: &str) {
        let of = self.hosts.entry(host.into()).or_default();
        let before = of.len();
        match (port, label) {
            (0, "") => *of = HostLabels::default(),
            (0, label) => *of = HostLabels { all: Some(label.into()), ports: BTreeMap::new() },
            (port, "") if of.all.is_none() => {
                of.ports.remove(&port);
            }
            (port, label) => {
                of.ports.insert(port, label.into());
            }
        }
        let after = of.len();
        self.count = self.count + after - before;
        if after == 0 {
            self.hosts.remove(host);
        }
    }

    /// A label is gone.
    fn forget(&mut self, label: &str) {
        self.hosts.retain(|_, of| {
            if of.all.as_deref() == Some(label) {
                of.all = None;
            }
            of.ports.retain(|_, other| &**other != label);
            of.len() > 0
        });
        self.count = self.hosts.values().map(HostLabels::len).sum();
    }
}

/// A node as it is named (port 0 = every `NodeManager` of the host), and its new label.
type Labelled = (Box<str>, u16, Option<Box<str>>);

/// YARN's rule for names of labels.
fn is_name(label: &str) -> bool {
    let is_inner = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    label.len() <= NAME_MAX
        && label.starts_with(|char: char| char.is_ascii_alphanumeric())
        && label.chars().all(is_inner)
}

/// Whether a queue's settings name a label. `*` does not.
fn lists(queue: &QueueSettings, label: &str) -> bool {
    queue.accessible_node_labels.iter().flatten().any(|other| &**other == label)
        || queue.default_node_label_expression.as_deref() == Some(label)
        || queue.capacities.contains_key(label)
}

const DISABLED: &str = "node labels are disabled: yarn.node-labels.enabled is false";

impl Scheduler {
    /// Labels of the cluster, without the default partition.
    pub(in crate::engine::scheduler) fn cluster_labels(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().skip(1).filter(|partition| !partition.is_removed)
    }

    /// Adds labels. One that is there already may change whether it is exclusive while no node has it.
    pub(in crate::engine::scheduler) fn add_node_labels(
        &mut self,
        now: Instant,
        token: u64,
        labels: &[(Box<str>, bool)],
        out: &mut SchedulerOutput,
    ) {
        if !self.settings.node_labels_enabled {
            return refuse(out, token, RejectCode::WrongState, DISABLED);
        }
        let mut reasons = Reasons::default();
        let mut code = RejectCode::BadField;
        let mut added = 0;
        for (place, (label, is_exclusive)) in labels.iter().enumerate() {
            if !is_name(label) {
                reasons.push(format!(
                    "node label is {label:?}, accepted are letters, digits, - and _, a letter or digit first, at most \
                     {NAME_MAX}"
                ));
                continue;
            }
            let is_other = |before: &(Box<str>, bool)| before.0 == *label && before.1 != *is_exclusive;
            if labels[..place].iter().any(is_other) {
                reasons.push(format!("node label {label} is given twice, exclusive and not"));
            }
            match self.partition_of(label) {
                None => added += usize::from(labels[..place].iter().all(|before| before.0 != *label)),
                Some(number) => {
                    let is_same = self.partitions[usize::from(number)].is_exclusive == *is_exclusive;
                    let count = self.nodes.iter().filter(|(_, node)| node.partition == number).count();
                    if !is_same && count > 0 {
                        code = RejectCode::WrongState;
                        let is_now = if *is_exclusive { "not exclusive" } else { "exclusive" };
                        reasons.push(format!(
                            "node label {label} is {is_now} and {count} nodes have it: that may change while no node \
                             has it"
                        ));
                    }
                }
            }
        }
        let count = self.cluster_labels().count();
        if count + added > CLUSTER_LABELS_MAX {
            reasons
                .push(format!("{added} new node labels beside {count} are more than {CLUSTER_LABELS_MAX}"));
        }
        if !reasons.is_empty() {
            return refuse(out, token, code, reasons.text());
        }
        for (label, is_exclusive) in labels {
            if let Err(reason) = self.add_partition(label, *is_exclusive) {
                self.invite_guests(now);
                return refuse(out, token, RejectCode::Busy, reason);
            }
        }
        self.invite_guests(now);
        done(out, token, i64::try_from(added).unwrap_or(i64::MAX));
    }

    fn add_partition(&mut self, label: &str, is_exclusive: bool) -> Result<(), String> {
        let is_it = |partition: &Partition| partition.number > 0 && &*partition.label == label;
        let place = match self.partitions.iter().position(is_it) {
            Some(place) => {
                // What was asked in it while the label was away may be placed again.
                let partition = &mut self.partitions[place];
                partition.is_exclusive = is_exclusive;
                partition.is_removed = false;
                partition.refresh(&self.queues, &self.measures);
                return Ok(());
            }
            None => {
                self.partitions.iter().position(|partition| partition.is_removed && is_forgotten(partition))
            }
        };
        let place = place.unwrap_or(self.partitions.len());
        // Numbers of removed labels are given back when nobody asks for them any more.
        if place >= 2 * CLUSTER_LABELS_MAX {
            return Err(format!(
                "node label {label} cannot be added: applications still ask for {CLUSTER_LABELS_MAX} removed labels"
            ));
        }
        let number = place as u16;
        let partition = Partition::new(number, label, is_exclusive, &self.queues, &self.measures);
        match self.partitions.get_mut(place) {
            Some(of) => *of = partition,
            None => self.partitions.push(partition),
        }
        let rows: Vec<u32> = self.attempts.iter().map(|attempt| attempt.handle.row()).collect();
        for row in rows {
            self.set_app_key(row);
        }
        Ok(())
    }

    /// Removes labels from the cluster; their nodes are in the default partition then.
    pub(in crate::engine::scheduler) fn remove_node_labels(
        &mut self,
        now: Instant,
        token: u64,
        labels: &[Box<str>],
        out: &mut SchedulerOutput,
    ) {
        if !self.settings.node_labels_enabled {
            return refuse(out, token, RejectCode::WrongState, DISABLED);
        }
        let mut reasons = Reasons::default();
        let mut code = RejectCode::NotFound;
        for label in labels {
            if label.is_empty() || self.partition_of(label).is_none() {
                reasons.push(format!("node label {label:?} is not a label of the cluster"));
                continue;
            }
            for queue in self.queues.tree.queues.iter().filter(|queue| lists(queue, label)) {
                code = RejectCode::WrongState;
                reasons.push(format!(
                    "node label {label} is used by queue {}: take it out there first",
                    queue.path
                ));
            }
        }
        if !reasons.is_empty() {
            return refuse(out, token, code, reasons.text());
        }
        let mut affected = 0;
        for label in labels {
            let Some(number) = self.partition_of(label) else { continue };
            let has_it = self.nodes.iter().filter(|(_, node)| node.partition == number);
            let nodes: Vec<u32> = has_it.map(|(index, _)| index).collect();
            for index in nodes {
                self.set_label(now, index, "", out);
                affected += 1;
            }
            self.partitions[usize::from(number)].is_removed = true;
            self.labels.forget(label);
        }
        self.invite_guests(now);
        done(out, token, affected);
    }

    /// Replaces the labels of nodes. What runs on a node moves with it: it is charged to the new partition.
    pub(in crate::engine::scheduler) fn replace_labels_on_nodes(
        &mut self,
        now: Instant,
        token: u64,
        nodes: &[Labelled],
        fail_on_unknown_nodes: bool,
        out: &mut SchedulerOutput,
    ) {
        if !self.settings.node_labels_enabled {
            return refuse(out, token, RejectCode::WrongState, DISABLED);
        }
        if self.settings.distributed_labels {
            let text =
                "nodes report their labels themselves (yarn.node-labels.configuration-type is distributed)";
            return refuse(out, token, RejectCode::WrongState, text);
        }
        let mut reasons = Reasons::default();
        let mut code = RejectCode::NotFound;
        for (host, port, label) in nodes {
            if let Some(label) = label.as_deref().filter(|label| !label.is_empty())
                && self.partition_of(label).is_none()
            {
                reasons.push(format!(
                    "node label {label:?} of node {} is not a label of the cluster",
                    named(host, *port)
                ));
            }
            if fail_on_unknown_nodes && self.nodes_named(host, *port).is_empty() {
                reasons.push(format!("node {} is not known", named(host, *port)));
            }
        }
        if self.labels.count.saturating_add(nodes.len()) > LABELLED_NODES_MAX {
            code = RejectCode::BadField;
            reasons.push(format!(
                "{} nodes have labels, with {} more they are more than {LABELLED_NODES_MAX}",
                self.labels.count,
                nodes.len()
            ));
        }
        if !reasons.is_empty() {
            return refuse(out, token, code, reasons.text());
        }
        let mut affected = 0;
        for (host, port, label) in nodes {
            let label = label.as_deref().unwrap_or_default();
            self.labels.set(host, *port, label);
            for index in self.nodes_named(host, *port) {
                let before = self.nodes.get(index).map(|node| node.partition);
                self.set_label(now, index, label, out);
                affected += i64::from(before != self.nodes.get(index).map(|node| node.partition));
            }
        }
        done(out, token, affected);
    }
}

/// Whether nobody asks for a removed label any more.
fn is_forgotten(partition: &Partition) -> bool {
    partition.share(0).used.is_zero()
        && partition.shapes.iter().next().is_none()
        && partition
            .shares
            .iter()
            .filter_map(|share| share.leaf.as_deref())
            .all(|leaf| leaf.pending_containers == 0 && leaf.am_used.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_its_own_label_before_that_of_its_host() {
        let mut labels = NodeLabels::default();
        labels.set("h1", 0, "gpu");
        labels.set("h1", 2, "");
        labels.set("h2", 1, "ssd");
        assert_eq!((labels.get("h1", 1), labels.get("h1", 2)), (Some("gpu"), Some("")));
        assert_eq!((labels.get("h2", 1), labels.get("h2", 2), labels.count), (Some("ssd"), None, 3));
        labels.forget("gpu");
        assert_eq!((labels.get("h1", 1), labels.get("h1", 2), labels.count), (None, Some(""), 2));
        labels.set("h1", 2, "");
        labels.set("h2", 0, "");
        assert_eq!((labels.hosts.len(), labels.count), (0, 0));
    }

    #[test]
    fn names_are_yarns() {
        assert!(is_name("gpu-1_a") && is_name("1"));
        for bad in ["", "-a", "_a", "a b", "ä", "a.b", &"x".repeat(256)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}

//! Rules between queues: what adds up, what may stand below what, what a name finds.
//! Owns: every such rule. Called by: `queues`, after the tree is made. Does not: change the tree.
//! Invariants: each fault is told once, with every value that has a part in it, in the order of the tree.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Draft, LABELS_OFF, can_access, heaviest};
use super::{QueueContext, Report};
use crate::config::hadoop::Property;
use crate::engine::scheduler::calculator::Calculator;
use crate::engine::scheduler::capacity::CapacityRules;
use crate::engine::scheduler::resource::ResourceVector;
use crate::engine::scheduler::settings::{Capacity, MaximumCapacity, QueueSettings, QueueState, QueueTree};

/// How far percentages may add up beside 100, as in YARN.
const TOLERANCE: f64 = 0.05;

/// Most values named in one fault.
const VALUES_MAX: usize = 12;

/// Checks a tree; `drafts` say where each value stands, in the tree's order.
pub(super) fn check(tree: &QueueTree, drafts: &[Draft<'_>], context: &QueueContext, report: &mut Report) {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); tree.queues.len()];
    for (index, queue) in tree.queues.iter().enumerate() {
        if let Some(of_parent) = queue.parent.and_then(|parent| children.get_mut(parent as usize)) {
            of_parent.push(index);
        }
    }
    if let (Some(root), true) = (drafts.first(), tree.queues.len() == 1) {
        report.missing(&format!("{}{}.queues", super::keys::PREFIX, root.path), "names of queues below root");
    }
    let tree = Tree { tree, drafts, context };
    for index in 0..tree.drafts.len() {
        tree.check_queue(index, report);
        let below = children.get(index).map(Vec::as_slice).unwrap_or_default();
        if !below.is_empty() {
            for label in tree.labels(below) {
                tree.check_children(index, below, &label, report);
            }
        }
    }
    tree.check_bounds(report);
    tree.check_names(report);
}

struct Tree<'a, 'd> {
    tree: &'a QueueTree,
    drafts: &'a [Draft<'d>],
    context: &'a QueueContext,
}

impl<'d> Tree<'_, 'd> {
    fn queue(&self, index: usize) -> Option<(&QueueSettings, &Draft<'d>)> {
        Some((self.tree.queues.get(index)?, self.drafts.get(index)?))
    }

    /// Partitions these queues have a share of; the default one first.
    fn labels(&self, queues: &[usize]) -> BTreeSet<Box<str>> {
        let named = queues.iter().filter_map(|index| self.tree.queues.get(*index));
        named.flat_map(|queue| queue.capacities.keys().cloned()).collect()
    }

    /// A queue by itself and against its parent.
    fn check_queue(&self, index: usize, report: &mut Report) {
        let Some((queue, draft)) = self.queue(index) else { return };
        let parent = queue.parent.and_then(|parent| self.queue(parent as usize));
        if let Some((above, of_parent)) = parent {
            // A queue without a state has its parent's.
            if above.state == QueueState::Stopped && queue.state == QueueState::Running {
                let given = [draft.field("state"), of_parent.field("state")];
                report.impossible(
                    given.into_iter().flatten().collect(),
                    &format!("{} cannot be RUNNING below {}, which is STOPPED", queue.path, above.path),
                );
            }
            if let (Some(labels), Some(property)) =
                (&queue.accessible_node_labels, draft.field("accessible-node-labels"))
            {
                for label in labels.iter().filter(|label| !can_access(above, label)) {
                    let accepted = format!("labels that {} may use; {label} is none of them", above.path);
                    report.bad(property, &accepted);
                }
            }
        }
        if let (Some(label), Some(property)) =
            (&queue.default_node_label_expression, draft.field("default-node-label-expression"))
            && !can_access(queue, label)
        {
            report.bad(property, "a label that the queue may use (accessible-node-labels)");
        }
        for (suffix, property) in &draft.fields {
            let Some((label, _)) = super::keys::label_key(suffix) else { continue };
            if !can_access(queue, label) {
                let rule = format!("{} may not use label {label} (accessible-node-labels)", queue.path);
                report.impossible(vec![property], &rule);
            } else if !self.context.node_labels_enabled {
                report.warn(property, LABELS_OFF);
            } else if !self.context.node_labels.contains_key(label) {
                report.warn(
                    property,
                    "counts as soon as the cluster knows the label: `heddle label add`, or scheduler.node_labels",
                );
            }
        }
        if let (Some(usual), Some(most)) =
            (queue.default_application_lifetime_s, queue.maximum_application_lifetime_s)
            && usual > most
        {
            let given = ["default-application-lifetime", "maximum-application-lifetime"];
            report.impossible(
                given.iter().filter_map(|suffix| draft.field(suffix)).collect(),
                &format!(
                    "{}: the default lifetime {usual} s must not be above the maximum {most} s",
                    queue.path
                ),
            );
        }
        self.check_weights(index, report);
        let highest = self.tree.max_application_priority;
        if let Some(property) = draft
            .field("default-application-priority")
            .filter(|_| queue.default_application_priority > highest)
        {
            report.warn(
                property,
                format!(
                    "is taken as {highest}, the cluster's highest (yarn.cluster.max-application-priority)"
                ),
            );
        }
    }

    /// Weights of users that a queue without children takes over. Its own were checked as they were read.
    fn check_weights(&self, index: usize, report: &mut Report) {
        let Some((queue, draft)) = self.queue(index).filter(|(queue, _)| queue.is_leaf) else { return };
        let percent = queue.minimum_user_limit_percent;
        let most = heaviest(percent);
        for (user, weight) in queue.user_weights.iter().filter(|(_, weight)| **weight > most) {
            let key = format!("user-settings.{user}.weight");
            let above = core::iter::successors(draft.parent, |parent| self.drafts.get(*parent)?.parent);
            let given = above.filter_map(|above| self.drafts.get(above)?.field(&key)).next();
            let given = given.into_iter().chain(draft.field("minimum-user-limit-percent")).collect();
            let rule = format!(
                "{}: user {user} weighs {weight}, accepted is at most {most} (100 / minimum-user-limit-percent {percent})",
                queue.path
            );
            report.impossible(given, &rule);
        }
    }

    /// The children of a queue in one partition.
    fn check_children(&self, parent: usize, below: &[usize], label: &str, report: &mut Report) {
        let Some((above, of_parent)) = self.queue(parent) else { return };
        let key = capacity_key(label, "capacity");
        let of_label = if label.is_empty() { String::new() } else { format!(" of label {label}") };
        let (mut percents, mut weights, mut amounts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut sum_percent, mut sum_weight) = (0.0, 0.0);
        let mut sum = ResourceVector::ZERO;
        for index in below {
            let Some((queue, draft)) = self.queue(*index) else { continue };
            match queue.capacities.get(label).map(|share| &share.capacity) {
                Some(Capacity::Weight(weight)) => {
                    weights.extend(draft.field(&key));
                    sum_weight += f64::from(*weight);
                }
                Some(Capacity::Absolute(amount)) => {
                    amounts.extend(draft.field(&key));
                    sum.add(amount);
                }
                Some(Capacity::Percent(percent)) => {
                    sum_percent += f64::from(*percent);
                    // One without a value has nothing, whatever the others have.
                    percents.extend(draft.field(&key));
                }
                None => {}
            }
        }
        // Nothing is nothing in every form.
        if sum_percent == 0.0 && !(weights.is_empty() && amounts.is_empty()) {
            percents.clear();
        }
        let modes = [("percentage", &percents), ("weight", &weights), ("amount", &amounts)];
        let used: Vec<_> = modes.into_iter().filter(|(_, given)| !given.is_empty()).collect();
        if let [(first, of_first), (second, of_second), ..] = &used[..] {
            let given = of_first.iter().take(2).chain(of_second.iter().take(2)).copied().collect();
            let path = &above.path;
            let rule = format!(
                "queues below {path} have one form of capacity{of_label}, here are a {first} and a {second}"
            );
            report.impossible(given, &rule);
            return;
        }
        let of_above = above.capacities.get(label).map(|share| &share.capacity);
        let is_allowed = of_parent
            .field("allow-zero-capacity-sum")
            .is_some_and(|property| property.trimmed().eq_ignore_ascii_case("true"));
        // Below a queue that is guaranteed nothing, or what its weight comes to, nothing needs to be.
        let needs_nothing = above.parent.is_some()
            && matches!(of_above, None | Some(Capacity::Percent(0.0) | Capacity::Weight(_)));
        let may_be_zero = is_allowed || needs_nothing;
        match used.first() {
            Some(("percentage", given)) => {
                // Of a label that its parent has nothing of, a queue may have nothing either.
                let has_none = !label.is_empty()
                    && above.parent.is_some()
                    && matches!(of_above, None | Some(Capacity::Percent(0.0)));
                let is_zero = sum_percent == 0.0 && (may_be_zero || !label.is_empty());
                if has_none && sum_percent > 0.0 {
                    let rule =
                        format!("{} has nothing{of_label} to share: its own capacity is 0", above.path);
                    report.impossible(cut(given), &rule);
                } else if !has_none && !is_zero && (sum_percent - 100.0).abs() > TOLERANCE {
                    let rule = format!(
                        "capacities{of_label} below {} add up to {sum_percent} %, accepted is 100 %{}",
                        above.path,
                        if given.len() < below.len() { " (a queue without one has 0)" } else { "" }
                    );
                    report.impossible(cut(given), &rule);
                }
            }
            Some(("amount", given)) => match of_above {
                Some(Capacity::Absolute(most)) => {
                    for (at, kind) in self.context.resource_types.types().iter().enumerate() {
                        let (asked, most) = (sum.get(at), most.get(at));
                        if asked > most {
                            let mut given = cut(given);
                            given.extend(of_parent.field(&key));
                            let rule = format!(
                                "{}{of_label}: the queues below {} have {asked}, it has {most}",
                                kind.name, above.path
                            );
                            report.impossible(given, &rule);
                        }
                    }
                }
                _ if above.parent.is_none() => {}
                _ => {
                    let mut given = cut(given);
                    given.extend(of_parent.field(&key));
                    let rule =
                        format!("amounts{of_label} below {} need an amount for it as well", above.path);
                    report.impossible(given, &rule);
                }
            },
            Some((_, given)) if sum_weight == 0.0 => {
                let rule = format!("weights{of_label} below {} add up to 0: one must be more", above.path);
                report.impossible(cut(given), &rule);
            }
            Some(_) => {}
            None if label.is_empty() && !may_be_zero => {
                let first = below.first().and_then(|index| self.drafts.get(*index));
                let given = first.and_then(|draft| draft.listed).into_iter().collect();
                report.impossible(given, &format!("no queue below {} has a capacity", above.path));
            }
            None => {}
        }
        if matches!(of_above, Some(Capacity::Absolute(_)))
            && used.first().is_some_and(|(mode, _)| *mode != "amount")
        {
            let mut given = used.first().map(|(_, given)| cut(given)).unwrap_or_default();
            given.extend(of_parent.field(&key));
            let rule = format!("{} has an amount{of_label}, so the queues below it need amounts", above.path);
            report.impossible(given, &rule);
        }
    }

    /// No guarantee above its bound.
    fn check_bounds(&self, report: &mut Report) {
        let everywhere: Vec<usize> = (0..self.tree.queues.len()).collect();
        for label in self.labels(&everywhere) {
            // Shares do not depend on the size; any that is not 0 will do.
            let total = ResourceVector::from_amounts(&vec![1 << 40; self.context.resource_types.len()]);
            let effective = CapacityRules::new(self.tree, &label).effective(
                Calculator::Memory,
                &total,
                &ResourceVector::ZERO,
            );
            for (index, effective) in effective.iter().enumerate() {
                let Some((queue, draft)) = self.queue(index) else { continue };
                let Some(share) = queue.capacities.get(&label) else { continue };
                let given = || -> Vec<&Property> {
                    let keys = ["capacity", "maximum-capacity"].map(|key| capacity_key(&label, key));
                    keys.iter().filter_map(|key| draft.field(key)).collect()
                };
                match (&share.capacity, &share.maximum) {
                    (Capacity::Absolute(least), MaximumCapacity::Absolute(most)) => {
                        for (at, kind) in self.context.resource_types.types().iter().enumerate() {
                            let (least, most) = (least.get(at), most.get(at));
                            if least > most {
                                report.impossible(
                                    given(),
                                    &format!(
                                        "{}: {} guaranteed is above the maximum {most}",
                                        kind.name, least
                                    ),
                                );
                            }
                        }
                    }
                    (Capacity::Absolute(_), _) | (_, MaximumCapacity::Absolute(_)) => {}
                    _ => {
                        let (least, most) =
                            (effective.absolute_capacity, effective.absolute_maximum_capacity);
                        if least > most + 1e-6 {
                            report.impossible(
                                given(),
                                &format!(
                                    "{} is guaranteed {} of the cluster and may have {} of it",
                                    queue.path,
                                    percent(least),
                                    percent(most)
                                ),
                            );
                        }
                    }
                }
            }
        }
    }

    /// Last names that several queues have.
    fn check_names(&self, report: &mut Report) {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, queue) in self.tree.queues.iter().enumerate() {
            by_name.entry(queue.name()).or_default().push(index);
        }
        for (name, found) in by_name.iter().filter(|(_, found)| found.len() > 1) {
            let paths: Vec<&str> = found
                .iter()
                .take(VALUES_MAX)
                .filter_map(|at| Some(&*self.tree.queues.get(*at)?.path))
                .collect();
            let last = found.last().and_then(|index| self.drafts.get(*index)).and_then(|draft| draft.listed);
            if let Some(listed) = last {
                report.warn(
                    listed,
                    format!(
                        "{name} alone names no queue: {} end in it, give the full path",
                        paths.join(" and ")
                    ),
                );
            }
        }
    }
}

fn cut<'p>(given: &[&'p Property]) -> Vec<&'p Property> {
    given.iter().take(VALUES_MAX).copied().collect()
}

fn capacity_key(label: &str, key: &str) -> String {
    if label.is_empty() { key.to_owned() } else { format!("accessible-node-labels.{label}.{key}") }
}

/// A share as a percentage of at most 4 places.
fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

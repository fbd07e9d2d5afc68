//! The queues are replaced while applications run in them.
//! Owns: which changes are possible, and the carrying over of what a queue has. Called by: `handle_command`, on the
//! scheduler's thread. Does not: read files, or check a tree in itself beyond what would break sums. Invariants: nothing
//! changes when something is wrong; a leaf that stays keeps its applications, users and usage under its new settings.
//!
//! Queues are known by their index in the tree, and a new tree has new indices: everything that names a queue is mapped.
//! O(queues × partitions + attempts + users); administrators do it rarely.

use heddle_wire::RejectCode;

use super::super::attempt::AttemptState;
use super::super::face::SchedulerOutput;
use super::super::message::ApplicationEvent;
use super::super::partition::Partition;
use super::super::queue::{QueueIndex, Queues};
use super::super::settings::{QueueSettings, QueueState, QueueTree};
use super::super::share::{LeafShare, QueueShare};
use super::super::{Scheduler, done, refuse};
use super::Reasons;
use crate::engine::time::Instant;

/// By old index: the new one.
type Map = Vec<Option<QueueIndex>>;

impl Scheduler {
    /// Replaces the queues, or says everything that is wrong with that.
    pub(in crate::engine::scheduler) fn replace_queues(
        &mut self,
        now: Instant,
        token: u64,
        tree: QueueTree,
        out: &mut SchedulerOutput,
    ) {
        let map: Map = self
            .queues
            .tree
            .queues
            .iter()
            .map(|queue| {
                tree.queues.iter().position(|other| other.path == queue.path).map(|at| at as QueueIndex)
            })
            .collect();
        let mut reasons = Reasons::default();
        check_tree(&tree, &mut reasons);
        self.check_removed(&tree, &map, &mut reasons);
        self.check_labels(&tree, &mut reasons);
        if !reasons.is_empty() {
            return refuse(out, token, RejectCode::ConfigurationRefused, reasons.text());
        }
        out.application_events.push(ApplicationEvent::QueuesReplaced { queues: Box::new(tree.clone()) });
        let count = tree.queues.len() as i64;
        self.carry_over(now, tree, &map);
        done(out, token, count);
    }

    /// A queue that goes, or becomes a parent or a leaf, has to be stopped and empty.
    fn check_removed(&self, tree: &QueueTree, map: &Map, reasons: &mut Reasons) {
        for (index, before) in self.queues.tree.queues.iter().enumerate() {
            let after = map.get(index).copied().flatten().and_then(|after| tree.queues.get(after as usize));
            let what = match after {
                None => "be removed",
                Some(after) if after.is_leaf == before.is_leaf => continue,
                Some(_) if before.is_leaf => "become a parent",
                Some(_) => "become a leaf",
            };
            let path = &before.path;
            // YARN reads the state of the refused queue as it was before, and so an operator stops it first.
            if before.state != QueueState::Stopped {
                reasons.push(format!("queue {path} is RUNNING: it has to be STOPPED before it can {what}"));
            }
            let count = self.queues.get(index as QueueIndex).applications;
            if count > 0 {
                reasons.push(format!(
                    "queue {path} has {count} applications: it has to be empty before it can {what}"
                ));
            }
        }
    }

    fn check_labels(&self, tree: &QueueTree, reasons: &mut Reasons) {
        if !self.settings.node_labels_enabled {
            return;
        }
        for queue in &tree.queues {
            let mut labels: Vec<&str> =
                queue.accessible_node_labels.iter().flatten().map(|label| &**label).collect();
            labels.extend(queue.default_node_label_expression.as_deref());
            labels.extend(queue.capacities.keys().map(|label| &**label));
            labels.sort_unstable();
            labels.dedup();
            for label in labels {
                if !label.is_empty() && self.partition_of(label).is_none() {
                    let path = &queue.path;
                    reasons.push(format!(
                        "queue {path} names node label {label}, which is not a label of the cluster: add it first"
                    ));
                }
            }
        }
    }

    fn carry_over(&mut self, now: Instant, tree: QueueTree, map: &Map) {
        let mut before = core::mem::replace(&mut self.queues, Queues::new(tree));
        self.carry_queues(&mut before, map);
        for number in 0..self.partitions.len() {
            let leaves = self.take_leaves(number, map);
            self.put_leaves(number, leaves);
        }
        let is_reordered =
            |old: usize, new: QueueIndex| {
                before.tree.queues.get(old).is_none_or(|before| {
                    before.application_order != self.queues.settings(new).application_order
                })
            };
        let reordered: Vec<bool> =
            map.iter().enumerate().map(|(old, new)| new.is_some_and(|new| is_reordered(old, new))).collect();
        let mapped = |queue: QueueIndex| map.get(queue as usize).copied().flatten().unwrap_or(queue);
        let apps: Vec<u32> = self.apps.iter().map(|(index, _)| index).collect();
        for index in apps {
            if let Some(app) = self.apps.get_mut(index) {
                app.queue = mapped(app.queue);
            }
        }
        let rows: Vec<u32> = self.attempts.iter().map(|attempt| attempt.handle.row()).collect();
        for row in rows {
            let Some(attempt) = self.attempts.get_mut(row) else { continue };
            let old = attempt.queue;
            attempt.queue = mapped(old);
            if let AttemptState::NotRunnable { queue: Some(queue), .. } = &mut attempt.state {
                *queue = mapped(*queue);
            }
            if reordered.get(old as usize).copied().unwrap_or(false) {
                self.reorder(row);
            }
        }
        // Wider limits may let attempts run and be activated.
        self.to_activate = (0..self.queues.len() as QueueIndex).collect();
        self.let_run(now);
        if before.tree.reservations_continue_look_all_nodes
            != self.queues.tree.reservations_continue_look_all_nodes
        {
            self.look_anew(now);
        }
    }

    /// What a reservation means for its ask is another.
    fn look_anew(&mut self, now: Instant) {
        let has_reservation = |attempt: &&super::super::attempt::AttemptRow| {
            attempt.shares.iter().any(|share| !share.reserved.is_zero())
        };
        let keys: Vec<_> = self
            .attempts
            .iter()
            .filter(has_reservation)
            .flat_map(|attempt| attempt.asks.keys().map(|key| (attempt.handle.row(), *key)))
            .collect();
        for (row, key) in keys {
            self.refresh_key(now, row, key);
        }
    }

    /// Users, lists and counts.
    fn carry_queues(&mut self, before: &mut Queues, map: &Map) {
        for (old, new) in map.iter().enumerate() {
            let Some(new) = *new else { continue };
            let from = before.get_mut(old as QueueIndex);
            // Every application that was ever admitted below was so in a queue above; those of queues that are gone count on.
            self.queues.get_mut(new).submitted = from.submitted;
            if !self.queues.settings(new).is_leaf {
                continue;
            }
            let (applications, running) = (from.applications, from.running);
            if let Some(leaf) = from.leaf.take() {
                self.queues.get_mut(new).leaf = Some(leaf);
            }
            self.queues.count(new, |queue| {
                queue.applications += applications;
                queue.running += running;
            });
            let weights: Vec<Option<f64>> = self
                .queues
                .leaf(new)
                .into_iter()
                .flat_map(|leaf| &leaf.users)
                .map(|user| user.name.map(|name| self.queues.weight_of(new, self.users.name(name))))
                .collect();
            let Some(leaf) = self.queues.leaf_mut(new) else { continue };
            for (user, weight) in leaf.users.iter_mut().zip(weights) {
                user.weight = weight.unwrap_or(user.weight);
            }
        }
    }

    /// Takes the leaves of a partition out of the old order, by their new index.
    fn take_leaves(&mut self, number: usize, map: &Map) -> Vec<(QueueIndex, QueueShare)> {
        let partition = &mut self.partitions[number];
        let shapes: Vec<_> = partition.shapes.iter().map(|(id, _)| id).collect();
        for id in shapes {
            let leaves = &mut partition.shapes.get_mut(id).leaves;
            *leaves = leaves.iter().filter_map(|leaf| map.get(*leaf as usize).copied().flatten()).collect();
        }
        let shares = core::mem::take(&mut partition.shares);
        let new = |(old, share): (usize, QueueShare)| {
            let new = map.get(old).copied().flatten()?;
            share.leaf.is_some().then_some((new, share))
        };
        shares.into_iter().enumerate().filter_map(new).collect()
    }

    /// Puts them into the new tree; sums and offers of the queues above follow.
    fn put_leaves(&mut self, number: usize, leaves: Vec<(QueueIndex, QueueShare)>) {
        let queues = &self.queues;
        let partition: &mut Partition = &mut self.partitions[number];
        partition.shares.resize_with(queues.len(), QueueShare::default);
        for (index, share) in partition.shares.iter_mut().enumerate() {
            if queues.leaf(index as QueueIndex).is_some() {
                share.leaf = Some(Box::default());
            }
        }
        for (index, mut share) in leaves {
            if queues.leaf(index).is_none() {
                // It was empty, and is a parent now.
                continue;
            }
            if let (Some(of), Some(leaf)) = (share.leaf.as_deref_mut(), queues.leaf(index)) {
                reweigh(of, &leaf.users.iter().map(|user| user.weight).collect::<Vec<_>>());
            }
            share.children.clear();
            let (used, reserved, open_local) = (share.used.clone(), share.reserved.clone(), share.open_local);
            let bits: Vec<u32> = share.offers.iter().collect();
            partition.shares[index as usize] = share;
            for parent in queues.get(index).chain.iter().skip(1) {
                let parent = &mut partition.shares[*parent as usize];
                parent.used.add(&used);
                parent.reserved.add(&reserved);
                parent.open_local += open_local;
            }
            for bit in bits {
                for parent in queues.get(index).chain.iter().skip(1) {
                    if !partition.shares[*parent as usize].count_offer(bit, true) {
                        break;
                    }
                }
            }
        }
        partition.set_rules(queues, &self.measures);
        partition.is_resized = true;
    }
}

/// Users have other weights: so has the sum of those who want something.
fn reweigh(leaf: &mut LeafShare, weights: &[f64]) {
    leaf.active_weight = 0.0;
    for (user, weight) in leaf.users.iter_mut().zip(weights) {
        user.weight = *weight;
        if user.demanding > 0 {
            leaf.active_weight += weight;
        }
    }
    leaf.limit_block = None;
    leaf.user_limit_was = None;
    leaf.short_since = None;
}

/// What would break the tables, and states that do not go together.
fn check_tree(tree: &QueueTree, reasons: &mut Reasons) {
    if tree.queues.first().is_none_or(|root| &*root.path != "root" || root.is_leaf || root.parent.is_some()) {
        reasons.push("the first queue is not root, or root has no queues".to_owned());
    }
    let mut paths: Vec<&str> = tree.queues.iter().map(|queue| &*queue.path).collect();
    paths.sort_unstable();
    for pair in paths.windows(2).filter(|pair| pair[0] == pair[1]) {
        reasons.push(format!("queue {} is given twice", pair[0]));
    }
    for (index, queue) in tree.queues.iter().enumerate().skip(1) {
        let path = &queue.path;
        let parent = queue.parent.filter(|parent| (*parent as usize) < index);
        let Some(parent): Option<&QueueSettings> = parent.and_then(|parent| tree.queues.get(parent as usize))
        else {
            reasons.push(format!("queue {path} has no parent before it"));
            continue;
        };
        if parent.is_leaf {
            reasons.push(format!("queue {path} is below {}, which is a leaf", parent.path));
        }
        if parent.state == QueueState::Stopped && queue.state == QueueState::Running {
            reasons.push(format!(
                "queue {path} is RUNNING and its parent {} is STOPPED: accepted is STOPPED",
                parent.path
            ));
        }
    }
}

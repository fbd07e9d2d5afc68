//! The cluster as a scheduler sees it: every node event folded in its order.
//! Owns: [`SchedulerView`]: nodes, usability, capability, containers. Called by: the simulation, for every event polled.
//! Does not: give orders; the inventory does. Thread: the run's.
//! Invariants checked here: a node is added once and removed once; what is said of a node is said of one that is there;
//! a container is launched once, and complete once per registration.

use std::collections::{BTreeMap, BTreeSet};

use heddle::engine::event::{NodeEvent, Resource, Usability};
use heddle_wire::limits::CONTAINERS_PER_NODE_MAX;
use heddle_wire::record::{ContainerId, ContainerState, ContainersDigest, EXIT_STATUS_ABORTED, NodeHandle};

use crate::coverage::{Coverage, Kind};
use crate::node::node_of;

/// One node as the scheduler knows it.
#[derive(Clone, Debug)]
pub(crate) struct ViewNode {
    pub(crate) handle: NodeHandle,
    pub(crate) node: usize,
    pub(crate) usability: Usability,
    pub(crate) capability: Resource,
    pub(crate) running: BTreeSet<ContainerId>,
    /// Completions seen, with the registration they came under.
    completed: BTreeMap<ContainerId, NodeHandle>,
    /// Counts registrations that began anew for the scheduler, over all rows.
    pub(crate) lineage: u64,
}

impl ViewNode {
    pub(crate) fn digest(&self) -> ContainersDigest {
        let mut digest = ContainersDigest::default();
        self.running.iter().for_each(|id| digest.add(id));
        digest
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SchedulerView {
    pub(crate) nodes: BTreeMap<(u8, u32), ViewNode>,
    /// Completions seen since this ResourceManager started, and ever.
    pub(crate) seen: BTreeSet<ContainerId>,
    pub(crate) ever_seen: BTreeSet<ContainerId>,
    lineages: u64,
}

impl SchedulerView {
    /// The ResourceManager died, and its scheduler with it.
    pub(crate) fn restart(&mut self) {
        self.nodes.clear();
        self.seen.clear();
    }

    /// The node's entries: more than one while the end of an earlier registration, in another row, is on its way.
    pub(crate) fn all_of(&self, node: usize) -> impl Iterator<Item = &ViewNode> {
        self.nodes.values().filter(move |entry| entry.node == node)
    }

    /// The node's latest entry, if the scheduler has one.
    pub(crate) fn of(&self, node: usize) -> Option<&ViewNode> {
        self.all_of(node).max_by_key(|entry| entry.lineage)
    }

    /// Folds an event, its fields in their order.
    pub(crate) fn fold(&mut self, event: &NodeEvent, coverage: &mut Coverage) -> Result<(), String> {
        coverage.events += 1;
        let key = (event.node.shard(), event.node.row());
        let facts = usize::from(event.removed.is_some())
            + usize::from(event.added.is_some())
            + usize::from(event.was_interrupted)
            + usize::from(event.usability.is_some())
            + event.launched.len()
            + event.completed.len();
        let containers = event.launched.len() + event.completed.len();
        // Completions are refused from twice a node's containers on, launches are among them.
        if containers > 4 * CONTAINERS_PER_NODE_MAX {
            return Err(format!("an event of {} carries {containers} containers", event.node));
        }
        if facts > 3 {
            coverage.hit(Kind::Folded);
        }
        // Completions come first: they are about what ran before anything else the event tells.
        let before = self.nodes.get(&key).map(|entry| entry.handle);
        let is_one = event.removed.is_none() && event.added.is_none() && before == Some(event.node);
        self.see_completed(event, key, is_one, coverage)?;
        if let Some(removed) = &event.removed {
            let Some(old) = self.nodes.remove(&key) else {
                return Err(format!("{} is removed ({:?}) and was not there", removed.node, removed.reason));
            };
            if removed.node.row() != old.handle.row() {
                return Err(format!("{} is removed, {} was there", removed.node, old.handle));
            }
        }
        if let Some(added) = &event.added {
            let node = node_of(&added.host).ok_or_else(|| format!("{} is not ours", added.host))?;
            self.lineages += 1;
            let (Some(usability), Some(capability)) = (event.usability, event.capability.clone()) else {
                return Err(format!("{} is added without usability or capability", added.host));
            };
            let entry = ViewNode {
                handle: event.node,
                node,
                usability,
                capability,
                running: BTreeSet::new(),
                completed: BTreeMap::new(),
                lineage: self.lineages,
            };
            if let Some(other) = self.nodes.insert(key, entry) {
                return Err(format!("{} is added in the place of {}", event.node, other.handle));
            }
        }
        let Some(entry) = self.nodes.get_mut(&key) else {
            // Of a registration that ended before the scheduler heard of it, only the completions are told.
            let has_news = event.was_interrupted
                || event.usability.is_some()
                || event.capability.is_some()
                || !event.launched.is_empty()
                || !event.increased.is_empty();
            let is_empty = event.removed.is_none() && event.completed.is_empty();
            return if has_news || is_empty {
                Err(format!("news of {}, which is not there: {event:?}", event.node))
            } else {
                Ok(())
            };
        };
        entry.handle = event.node;
        if event.was_interrupted {
            coverage.hit(Kind::Interrupted);
            entry.running.clear();
        }
        if let Some(usability) = event.usability {
            entry.usability = usability;
        }
        if let Some(capability) = &event.capability {
            entry.capability.clone_from(capability);
        }
        for report in &event.launched {
            coverage.hit(Kind::Launched);
            if report.state == ContainerState::Complete || !entry.running.insert(report.container_id) {
                return Err(format!("{} is launched again on {}", report.container_id, event.node));
            }
            // A late copy of an old registration brings back what was complete by then; nothing else may.
            if entry.completed.remove(&report.container_id).is_some_and(|handle| handle == event.node) {
                return Err(format!(
                    "{} is launched on {} and was complete",
                    report.container_id, event.node
                ));
            }
        }
        if !event.increased.is_empty() {
            coverage.hit(Kind::Increased);
        }
        Ok(())
    }

    fn see_completed(
        &mut self,
        event: &NodeEvent,
        key: (u8, u32),
        is_one: bool,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        for report in &event.completed {
            coverage.hit(Kind::Completed);
            let id = report.container_id;
            if report.state != ContainerState::Complete {
                return Err(format!("{id} is complete and {:?}", report.state));
            }
            self.seen.insert(id);
            self.ever_seen.insert(id);
            let Some(entry) = self.nodes.get_mut(&key) else { continue };
            entry.running.remove(&id);
            // Where a registration ended or began within the event, its completions and those of the next are not told
            // apart. One the ResourceManager took for gone, or that a fence stopped, may turn out to run, and end again.
            let is_counted = is_one && report.exit_status != EXIT_STATUS_ABORTED;
            if is_counted && entry.completed.insert(id, event.node) == Some(event.node) {
                return Err(format!("{id} is complete again on {}", event.node));
            }
        }
        Ok(())
    }
}

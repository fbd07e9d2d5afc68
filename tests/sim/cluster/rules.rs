//! What may be granted, by the run's own books.
//! Owns: the sums of [`Books`] and the rule for nodes and queues; that for users is in `user_limits`, what may stay pending
//! in `progress`. Called by: the run, after steps of the scheduler.
//! Thread: the run's. Does not: change the books, read a sum of the engine's.
//! Invariant: where the books cannot tell, nothing is said: a complaint is a fault.

use heddle::engine::event::Usability;
use heddle::engine::scheduler::settings::{Capacity, MaximumCapacity, QueueSettings};
use heddle_wire::record::{ApplicationId, ContainerId};

use super::books::{Amount, Books, Held, Row, error};
use super::kinds::{Happening, Tally};

impl Books {
    pub(super) fn label_of(&self, row: Row) -> &str {
        let host = self.nodes.get(&row).map(|node| &node.host);
        host.and_then(|host| self.labels.get(host)).map_or("", String::as_str)
    }

    pub(super) fn on_node(&self, row: Row, with_leaving: bool) -> Amount {
        let leaving = self.leaving.values().chain(self.parting.values()).filter(|_| with_leaving);
        let on_it = self.held.values().chain(leaving).filter(|held| held.node == row);
        on_it.fold(Amount::default(), |sum, held| sum.plus(held.size))
    }

    /// What all nodes of a label have.
    pub(super) fn total(&self, label: &str) -> Amount {
        let of = self
            .nodes
            .iter()
            .filter(|(row, node)| node.usability != Usability::Unhealthy && self.label_of(**row) == label);
        of.fold(Amount::default(), |sum, (_, node)| sum.plus(node.capability))
    }

    pub(super) fn queue_of(&self, application: ApplicationId) -> Option<u32> {
        self.tree.find(&self.applications.get(&application)?.0).ok()
    }

    /// Whether a queue is `queue` or below it.
    pub(super) fn is_in(&self, leaf: u32, queue: u32) -> bool {
        self.tree.path(leaf).any(|(index, _)| index == queue)
    }

    /// What a queue uses of a label's nodes.
    pub(super) fn used(&self, queue: u32, label: &str, counts: impl Fn(&ContainerId) -> bool) -> Amount {
        self.sum(self.held.iter().filter(|(id, _)| counts(id)), queue, label)
    }

    /// What of these belongs to a queue and is on a label's nodes.
    pub(super) fn sum<'a>(
        &self,
        held: impl Iterator<Item = (&'a ContainerId, &'a Held)>,
        queue: u32,
        label: &str,
    ) -> Amount {
        let all = held.filter(|(_, held)| self.label_of(held.node) == label);
        let of_queue = all
            .filter(|(id, _)| self.queue_of(id.application_id()).is_some_and(|leaf| self.is_in(leaf, queue)));
        of_queue.fold(Amount::default(), |sum, (_, held)| sum.plus(held.size))
    }

    /// A queue's share of a label's nodes along its path.
    fn share(&self, queue: u32, of: impl Fn(&QueueSettings) -> f64) -> f64 {
        let below_root = self.tree.path(queue).filter(|(_, settings)| settings.parent.is_some());
        below_root.map(|(_, settings)| of(settings)).product()
    }

    pub(super) fn maximum(&self, queue: u32, label: &str) -> Amount {
        let share =
            self.share(queue, |settings| match settings.capacities.get(label).map(|one| &one.maximum) {
                Some(MaximumCapacity::Percent(percent)) => f64::from(*percent) / 100.0,
                _ => 1.0,
            });
        self.total(label).times(share)
    }

    pub(super) fn guarantee(&self, queue: u32, label: &str) -> Amount {
        let share =
            self.share(queue, |settings| match settings.capacities.get(label).map(|one| &one.capacity) {
                Some(Capacity::Percent(percent)) => f64::from(*percent) / 100.0,
                _ => 0.0,
            });
        self.total(label).times(share)
    }

    // What has to hold:

    /// After a step of the scheduler: nothing granted in it is on a node, in a queue, or a user's, that has no room for it.
    ///
    /// `held`: whether nodes were held for somebody when the step began, and are now.
    pub(super) fn check_grants(&mut self, held: (bool, bool), tally: &mut Tally) -> Result<(), String> {
        let fresh = core::mem::take(&mut self.fresh);
        self.has_resized &= held.0;
        self.is_held = held.1;
        for id in &fresh {
            let Some(held) = self.held.get(id) else { continue };
            let Some(node) = self.nodes.get(&held.node) else {
                return Err(error(format_args!("{id} is granted on a node that is not there")));
            };
            let used = self.on_node(held.node, false);
            if node.usability != Usability::Usable || !used.fits(node.capability, self.calculator) {
                let (host, has) = (&node.host, node.capability);
                return Err(error(format_args!(
                    "{id} is granted on {host}, {:?}, that has {has:?} and is used {used:?}",
                    node.usability
                )));
            }
            let label = self.label_of(held.node);
            let Some(leaf) = self.queue_of(id.application_id()) else {
                return Err(error(format_args!("{id} is granted and its application is in no queue")));
            };
            let is_guest = |id: &ContainerId| {
                self.held.get(id).is_some_and(|held| held.label != self.label_of(held.node))
            };
            if is_guest(id) && !held.label.is_empty() {
                return Err(error(format_args!(
                    "{id} wants label {:?} and is granted on {label:?}",
                    held.label
                )));
            }
            if is_guest(id) {
                tally.hit(Happening::GrantedAsGuest);
            } else if !label.is_empty() {
                tally.hit(Happening::GrantedOnLabel);
            }
            // Guests of a label are bounded by it alone; those of this step came after everybody else.
            let queues = self.tree.path(leaf).filter(|(_, queue)| !is_guest(id) && queue.parent.is_some());
            for (queue, settings) in queues {
                let used = self
                    .used(queue, label, |other| is_guest(id) || !is_guest(other) || !fresh.contains(other));
                let most = self.maximum(queue, label);
                if !used.fits(most, self.calculator) {
                    return Err(error(format_args!(
                        "{id} is granted: queue {} uses {used:?} of {most:?} of label {label:?}",
                        settings.path
                    )));
                }
            }
        }
        self.check_user_limits(&fresh, held, tally)?;
        self.ended.clear();
        Ok(())
    }
}

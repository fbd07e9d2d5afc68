//! What may be granted, and what may stay pending, by the run's own books.
//! Owns: the sums of [`Books`] and the two rules. Called by: the run, after steps of the scheduler and at quiet moments.
//! Thread: the run's. Does not: change the books, read a sum of the engine's.
//! Invariant: where the books cannot tell, nothing is said: a complaint is a fault.

use std::collections::BTreeSet;

use heddle::engine::event::Usability;
use heddle::engine::scheduler::settings::{Calculator, Capacity, MaximumCapacity, QueueSettings};
use heddle_wire::record::{ApplicationId, ContainerId};

use super::books::{Amount, Attempt, Books, Row, Wanted, error};
use super::kinds::{Happening, Tally};

/// An ask: whose, how much each, and what it is where it is not for the ApplicationMaster.
type Pending<'a> = (ApplicationId, Amount, Option<(&'a Attempt, &'a Wanted)>);

impl Books {
    fn label_of(&self, row: Row) -> &str {
        let host = self.nodes.get(&row).map(|node| &node.host);
        host.and_then(|host| self.labels.get(host)).map_or("", String::as_str)
    }

    fn on_node(&self, row: Row, with_leaving: bool) -> Amount {
        let leaving = self.leaving.values().filter(|_| with_leaving);
        let on_it = self.held.values().chain(leaving).filter(|held| held.node == row);
        on_it.fold(Amount::default(), |sum, held| sum.plus(held.size))
    }

    /// What all nodes of a label have.
    fn total(&self, label: &str) -> Amount {
        let of = self
            .nodes
            .iter()
            .filter(|(row, node)| node.usability != Usability::Unhealthy && self.label_of(**row) == label);
        of.fold(Amount::default(), |sum, (_, node)| sum.plus(node.capability))
    }

    fn queue_of(&self, application: ApplicationId) -> Option<u32> {
        self.tree.find(&self.applications.get(&application)?.0).ok()
    }

    /// Whether a queue is `queue` or below it.
    fn is_in(&self, leaf: u32, queue: u32) -> bool {
        self.tree.path(leaf).any(|(index, _)| index == queue)
    }

    /// What a queue uses of a label's nodes; `of_user`: only this user's.
    fn used(
        &self,
        queue: u32,
        label: &str,
        of_user: Option<&str>,
        counts: impl Fn(&ContainerId) -> bool,
    ) -> Amount {
        let all = self.held.iter().filter(|(id, held)| counts(id) && self.label_of(held.node) == label);
        let of_queue = all.filter(|(id, _)| {
            let user = self.applications.get(&id.application_id()).map(|entry| &*entry.1);
            self.queue_of(id.application_id()).is_some_and(|leaf| self.is_in(leaf, queue))
                && (of_user.is_none() || of_user == user)
        });
        of_queue.fold(Amount::default(), |sum, (_, held)| sum.plus(held.size))
    }

    /// A queue's share of a label's nodes along its path.
    fn share(&self, queue: u32, of: impl Fn(&QueueSettings) -> f64) -> f64 {
        let below_root = self.tree.path(queue).filter(|(_, settings)| settings.parent.is_some());
        below_root.map(|(_, settings)| of(settings)).product()
    }

    fn maximum(&self, queue: u32, label: &str) -> Amount {
        let share =
            self.share(queue, |settings| match settings.capacities.get(label).map(|one| &one.maximum) {
                Some(MaximumCapacity::Percent(percent)) => f64::from(*percent) / 100.0,
                _ => 1.0,
            });
        self.total(label).times(share)
    }

    fn guarantee(&self, queue: u32, label: &str) -> Amount {
        let share =
            self.share(queue, |settings| match settings.capacities.get(label).map(|one| &one.capacity) {
                Some(Capacity::Percent(percent)) => f64::from(*percent) / 100.0,
                _ => 0.0,
            });
        self.total(label).times(share)
    }

    // What has to hold:

    /// After a step of the scheduler: nothing granted in it is on a node, or in a queue, that has no room for it.
    pub(super) fn check_grants(&mut self, tally: &mut Tally) -> Result<(), String> {
        let fresh = core::mem::take(&mut self.fresh);
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
                let used = self.used(queue, label, None, |other| {
                    is_guest(id) || !is_guest(other) || !fresh.contains(other)
                });
                let most = self.maximum(queue, label);
                if !used.fits(most, self.calculator) {
                    return Err(error(format_args!(
                        "{id} is granted: queue {} uses {used:?} of {most:?} of label {label:?}",
                        settings.path
                    )));
                }
            }
        }
        Ok(())
    }

    /// A moment at which the scheduler has nothing to do: names what is pending and would fit where nothing keeps it from.
    ///
    /// `waits_us`: how long asks may wait for their places. Where anything in a label's order may be held back by a limit,
    /// nothing is said of that label: others may have to wait for it.
    pub(super) fn stranded(
        &self,
        now_us: u64,
        waits_us: u64,
        tally: &mut Tally,
    ) -> Option<(ApplicationId, String)> {
        let labels: BTreeSet<&str> = self.nodes.keys().map(|row| self.label_of(*row)).collect();
        labels.into_iter().find_map(|label| self.stranded_in(label, now_us, waits_us, tally))
    }

    /// Asks that are pending in a label.
    fn pending(&self, label: &str) -> Vec<Pending<'_>> {
        let live = self.attempts.values().filter(|attempt| attempt.is_active && !attempt.is_finishing);
        let asks = live.flat_map(|attempt| attempt.wanted.values().map(move |wanted| (attempt, wanted)));
        let open = asks.filter(|(_, wanted)| wanted.target > wanted.highest && wanted.label == label);
        let asks = open.map(|(attempt, wanted)| {
            let size = self.rounded(wanted.size);
            (attempt.id.application_id, size, Some((attempt, wanted)))
        });
        let masters = self.masters.iter().filter(|(_, (_, of))| of == label);
        asks.chain(masters.map(|(id, (size, _))| (id.application_id, *size, None))).collect()
    }

    /// Up to whole steps of the least container.
    fn rounded(&self, size: Amount) -> Amount {
        let up = |amount: u64, step: u64| amount.max(1).div_ceil(step.max(1)) * step.max(1);
        Amount(up(size.0, self.minimum.0), up(size.1, self.minimum.1))
    }

    /// Whether no limit of queue or user can be in the way of one container.
    fn is_free_of_limits(&self, application: ApplicationId, size: Amount, label: &str) -> bool {
        let Some(leaf) = self.queue_of(application) else { return false };
        let Some((_, user)) = self.applications.get(&application) else { return false };
        let slack = size.plus(self.minimum);
        let in_bounds = self.tree.path(leaf).all(|(queue, settings)| {
            let margin = if settings.parent.is_some() { slack } else { size };
            let used = self.used(queue, label, None, |_| true).plus(margin);
            used.fits(self.maximum(queue, label), Calculator::Dominant)
        });
        let of_leaf = self.live.iter().filter(|id| self.queue_of(**id) == Some(leaf));
        let users: BTreeSet<&str> =
            of_leaf.filter_map(|id| self.applications.get(id)).map(|entry| &*entry.1).collect();
        let settings = &self.tree.queues[leaf as usize];
        let factor = settings.user_limit_factor;
        let part = factor.map_or(1.0, f64::from).min(f64::from(settings.minimum_user_limit_percent) / 100.0);
        let limit = self.guarantee(leaf, label).times(part);
        let of_user = self.used(leaf, label, Some(user), |_| true).plus(slack);
        in_bounds && (users.len() == 1 && factor.is_none() || of_user.fits(limit, Calculator::Dominant))
    }

    fn stranded_in(
        &self,
        label: &str,
        now_us: u64,
        waits_us: u64,
        tally: &mut Tally,
    ) -> Option<(ApplicationId, String)> {
        let pending = self.pending(label);
        if !pending.iter().all(|(application, size, _)| self.is_free_of_limits(*application, *size, label)) {
            return None;
        }
        let asks =
            pending.iter().filter_map(|(_, size, ask)| ask.map(|(attempt, wanted)| (size, attempt, wanted)));
        let ripe = asks.filter(|(_, _, wanted)| wanted.relaxes && wanted.changed_us + waits_us < now_us);
        for (size, attempt, wanted) in ripe {
            tally.hit(Happening::PendingJudged);
            let node = self.nodes.iter().find(|(row, node)| {
                self.label_of(**row) == label
                    && node.usability == Usability::Usable
                    && !attempt.blacklist.contains(&node.host)
                    && !attempt.blacklist.contains(&node.rack)
                    && size.fits(node.capability.minus(self.on_node(**row, true)), self.calculator)
            });
            if let Some((row, node)) = node {
                let (host, has, used) = (&node.host, node.capability, self.on_node(*row, true));
                let open = wanted.target - wanted.highest;
                let text = format!(
                    "{} waits for {open} of {size:?} on label {label:?}, and {host} has {has:?} of which {used:?} are used",
                    attempt.id
                );
                return Some((attempt.id.application_id, text));
            }
        }
        None
    }
}

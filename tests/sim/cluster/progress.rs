//! What need not wait: at rest, whatever is pending has a limit in its way, or finds no room on any node.
//! Owns: the look for what is stranded, and what is known of who wants something. Called by: the run, when no role has
//! anything to do. Thread: the run's. Does not: change the books, read a sum or a limit of the engine's.
//! Invariant: what is named as stranded is kept back by nothing the books know, and they know everything that may.
//!
//! In the way of an ask may be, in this order: the limits for ApplicationMasters, while its attempt was given nothing; the
//! bounds of its queue and those above it; what is left for an ask that such a bound keeps back, in the same leaf
//! everything, beside it its leaf's headroom; its user's limit; and room. An ask larger than its queue or every node is
//! nobody's hindrance, nor is one whose user is over its limit.

use std::collections::{BTreeMap, BTreeSet};

use heddle::engine::event::Usability;
use heddle_wire::record::{ApplicationAttemptId, ApplicationId};

use super::books::{Amount, Attempt, Books, Wanted};
use super::kinds::{Happening, Tally};
use super::user_limits::Active;

/// Something outstanding in a label.
#[derive(Debug)]
struct Pending<'a> {
    application: ApplicationId,
    leaf: u32,
    user: &'a str,
    /// Of one container.
    size: Amount,
    /// Hosts and racks that are refused.
    blacklist: &'a BTreeSet<String>,
    /// `None`: an ApplicationMaster's container.
    ask: Option<(&'a Attempt, &'a Wanted)>,
    /// It is scheduled for certain.
    is_active: bool,
}

/// A user's limit and an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UserLimit {
    /// Not in its way.
    Free,
    /// In its way.
    Over,
    /// The books cannot tell.
    Unsure,
}

impl Books {
    /// A moment at which the scheduler has nothing to do and no node is held: names what is pending and would fit where
    /// nothing keeps it from. `waits_us`: how long asks for hosts or racks may wait for them.
    pub(super) fn stranded(
        &self,
        now_us: u64,
        waits_us: u64,
        tally: &mut Tally,
    ) -> Option<(ApplicationId, String)> {
        let is_open = |attempt: &Attempt| attempt.wanted.values().any(Wanted::is_open);
        if !self.attempts.values().any(is_open) && !self.masters.values().any(|master| master.is_waiting) {
            return None;
        }
        let labels: BTreeSet<&str> = self.nodes.keys().map(|row| self.label_of(*row)).collect();
        labels.into_iter().find_map(|label| self.stranded_in(label, now_us, waits_us, tally))
    }

    fn pending(&self, label: &str) -> Vec<Pending<'_>> {
        let asks = self.attempts.values().flat_map(|attempt| {
            let open = attempt.wanted.values().filter(|wanted| wanted.is_open());
            open.map(move |wanted| (attempt, wanted))
        });
        let asks = asks.filter(|(_, wanted)| wanted.label == label).filter_map(|(attempt, wanted)| {
            let application = attempt.id.application_id;
            let leaf = self.queue_of(application)?;
            let is_active = attempt.is_active || self.is_activated(&attempt.id, leaf);
            Some(Pending {
                application,
                leaf,
                user: &self.applications.get(&application)?.1,
                size: self.rounded(wanted.size),
                blacklist: &attempt.blacklist,
                ask: Some((attempt, wanted)),
                is_active: is_active && !attempt.is_finishing,
            })
        });
        let masters = self.masters.iter().filter(|(_, of)| of.is_waiting && of.label == label);
        let masters = masters.filter_map(|(id, master)| {
            let application = id.application_id;
            let leaf = self.queue_of(application)?;
            Some(Pending {
                application,
                leaf,
                user: &self.applications.get(&application)?.1,
                size: master.size,
                blacklist: &master.blacklist,
                ask: None,
                is_active: self.is_activated(id, leaf),
            })
        });
        asks.chain(masters).collect()
    }

    /// Who wants something of a label in a leaf.
    pub(super) fn active(&self, leaf: u32, label: &str) -> Active<'_> {
        Self::active_among(&self.pending(label), leaf)
    }

    fn active_among<'a>(pending: &[Pending<'a>], leaf: u32) -> Active<'a> {
        let of_leaf = || pending.iter().filter(|ask| ask.leaf == leaf);
        Active {
            certain: of_leaf().filter(|ask| ask.is_active).map(|ask| ask.user).collect(),
            possible: of_leaf().map(|ask| ask.user).collect(),
        }
    }

    /// Up to whole steps of the least container.
    fn rounded(&self, size: Amount) -> Amount {
        Amount(size.0.max(1), size.1.max(1)).up_to(self.minimum)
    }

    /// Whether the limits for ApplicationMasters admit an attempt for certain: with all others of its leaf counted in, no
    /// more than the guarantee to take a part of, and as many users as there are.
    fn is_activated(&self, id: &ApplicationAttemptId, leaf: u32) -> bool {
        // One that is outside of the cluster takes nothing.
        let master = self.masters.get(id);
        let (size, label) = master.map_or((Amount::default(), ""), |master| (master.size, &*master.label));
        let Some((_, user)) = self.applications.get(&id.application_id) else { return false };
        let (mut of_leaf, mut of_user) = (Amount::default(), Amount::default());
        for (other, master) in &self.masters {
            let Some((_, its_user)) = self.applications.get(&other.application_id) else { continue };
            if other == id || master.label != label || self.queue_of(other.application_id) != Some(leaf) {
                continue;
            }
            of_leaf = of_leaf.plus(master.size);
            if its_user == user {
                of_user = of_user.plus(master.size);
            }
        }
        // Nothing starts in a label that has nothing; where something does, the first one always.
        if of_leaf == Amount::default() {
            return self.total(label) != Amount::default();
        }
        let users: BTreeSet<&str> = self
            .live
            .iter()
            .filter(|live| self.queue_of(**live) == Some(leaf))
            .filter_map(|live| self.applications.get(live))
            .map(|entry| &*entry.1)
            .collect();
        let settings = &self.tree.queues[leaf as usize];
        let percent = settings.capacities.get(label).map_or(0.0, |of| of.maximum_am_resource_percent);
        let percent = f64::from(percent);
        let weight = settings.user_weights.get(&**user).map_or(1.0, |weight| f64::from(*weight));
        let least = f64::from(settings.minimum_user_limit_percent) / 100.0;
        let part = (least.max(1.0 / users.len().max(1) as f64) * weight).min(1.0);
        let of_factor = settings.user_limit_factor.map_or(1.0, |factor| part * f64::from(factor));
        let guarantee = self.guarantee(leaf, label);
        let limit = guarantee.times(percent).up_to(self.minimum);
        let user_limit = guarantee.times(percent * of_factor).up_to(self.minimum);
        of_leaf.plus(size).fits(limit, self.calculator)
            && of_user.plus(size).fits(limit, self.calculator)
            && of_user.plus(size).fits(user_limit, self.calculator)
    }

    /// Larger than a queue of its leaf's path may ever be, or than every node.
    fn is_hopeless(&self, ask: &Pending<'_>, label: &str) -> bool {
        let mut queues = self.tree.path(ask.leaf);
        let is_over = queues.any(|(queue, _)| !ask.size.fits(self.maximum(queue, label), self.calculator));
        let mut nodes = self
            .nodes
            .iter()
            .filter(|(row, node)| node.usability != Usability::Unhealthy && self.label_of(**row) == label);
        is_over || !nodes.any(|(_, node)| ask.size.fits(node.capability, self.calculator))
    }

    /// The user's limit and what is pending of a leaf in a label.
    fn user_limit<'a>(&'a self, ask: &Pending<'a>, label: &str, pending: &[Pending<'a>]) -> UserLimit {
        let is_parting = self.parting.iter().any(|(id, held)| {
            self.queue_of(id.application_id()) == Some(ask.leaf) && self.label_of(held.node) == label
        });
        let Some(users) = self.users(ask.leaf, label, |_| true).filter(|_| !is_parting) else {
            return UserLimit::Unsure;
        };
        match users.is_within(ask.user, &Self::active_among(pending, ask.leaf)) {
            (true, _) => UserLimit::Free,
            (_, false) => UserLimit::Over,
            _ => UserLimit::Unsure,
        }
    }

    fn stranded_in(
        &self,
        label: &str,
        now_us: u64,
        waits_us: u64,
        tally: &mut Tally,
    ) -> Option<(ApplicationId, String)> {
        let all = self.pending(label);
        let mut limits: BTreeMap<(u32, &str), UserLimit> = BTreeMap::new();
        for ask in &all {
            limits.entry((ask.leaf, ask.user)).or_insert_with(|| self.user_limit(ask, label, &all));
        }
        let limit_of = |ask: &Pending<'_>| limits.get(&(ask.leaf, ask.user)).copied();
        let mut pending = Vec::new();
        for ask in &all {
            if self.is_hopeless(ask, label) {
                tally.hit(Happening::PassedOver);
            } else if limit_of(ask) == Some(UserLimit::Over) {
                tally.hit(Happening::KeptByUserLimit);
            } else {
                pending.push(ask);
            }
        }
        let short = self.short_leaves(&pending, label);
        let is_beside_limit = all.iter().any(|ask| limit_of(ask) == Some(UserLimit::Over));
        for ask in pending {
            if short.contains(&ask.leaf) {
                tally.hit(Happening::KeptByQueue);
                continue;
            }
            let is_ripe = ask.ask.is_none_or(|(_, wanted)| {
                wanted.relaxes && (!wanted.has_places || wanted.changed_us + waits_us < now_us)
            });
            if !ask.is_active || !is_ripe || limit_of(ask) != Some(UserLimit::Free) {
                continue;
            }
            let of_whom = if ask.ask.is_some() { Happening::PendingJudged } else { Happening::MasterJudged };
            tally.hit(of_whom);
            if is_beside_limit {
                tally.hit(Happening::JudgedBesideUserLimit);
            }
            if !short.is_empty() {
                tally.hit(Happening::JudgedBesideQueue);
            }
            if let Some(text) = self.room_for(ask, label) {
                return Some((ask.application, text));
            }
        }
        None
    }

    /// The node that has room for an ask, in words.
    fn room_for(&self, ask: &Pending<'_>, label: &str) -> Option<String> {
        let (row, node) = self.nodes.iter().find(|(row, node)| {
            let is_refused = ask.blacklist.contains(&node.host) || ask.blacklist.contains(&node.rack);
            self.label_of(**row) == label
                && node.usability == Usability::Usable
                && !is_refused
                && ask.size.fits(node.capability.minus(self.on_node(**row, true)), self.calculator)
        })?;
        let (host, has, used) = (&node.host, node.capability, self.on_node(*row, true));
        let open = ask.ask.map_or(1, |(_, wanted)| wanted.target - wanted.highest);
        let who =
            ask.ask.map_or_else(|| format!("{} to start", ask.application), |(at, _)| at.id.to_string());
        let size = ask.size;
        Some(format!(
            "{who} waits for {open} of {size:?} on label {label:?}, and {host} has {has:?} of which {used:?} are used"
        ))
    }

    /// Leaves in which a bound, or what is left for another leaf that a bound keeps back, may be in the way of something.
    fn short_leaves(&self, pending: &[&Pending<'_>], label: &str) -> BTreeSet<u32> {
        let mut short = BTreeSet::new();
        loop {
            let is_short =
                |ask: &&&Pending<'_>| !short.contains(&ask.leaf) && !self.is_in_bounds(ask, label, &short);
            let Some(ask) = pending.iter().find(is_short) else { return short };
            short.insert(ask.leaf);
        }
    }

    fn is_in_bounds(&self, ask: &Pending<'_>, label: &str, short: &BTreeSet<u32>) -> bool {
        let mut below = None;
        self.tree.path(ask.leaf).all(|(queue, _)| {
            let beside = short.iter().filter(|leaf| {
                self.is_in(**leaf, queue) && !below.is_some_and(|below| self.is_in(**leaf, below))
            });
            let kept = beside.map(|leaf| self.headroom(*leaf, label));
            let kept = kept.fold(Amount::default(), Amount::plus);
            below = Some(queue);
            let used = self.sum(self.held.iter().chain(&self.parting), queue, label);
            let room = self.maximum(queue, label).minus(used).minus(kept);
            ask.size.fits(room, self.calculator)
        })
    }

    /// The most that may be left for a leaf.
    fn headroom(&self, leaf: u32, label: &str) -> Amount {
        let below_root = self.tree.path(leaf).filter(|(_, settings)| settings.parent.is_some());
        below_root.fold(self.total(label), |least, (queue, _)| {
            let room = self.maximum(queue, label).minus(self.used(queue, label, |_| true));
            Amount(least.0.min(room.0), least.1.min(room.1))
        })
    }
}

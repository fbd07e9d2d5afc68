//! What a user of a leaf may have of a label's nodes, by YARN's formulas and the run's own books.
//! Owns: [`Users`], the rule for grants. Called by: `rules` after steps of the scheduler, `progress` at quiet moments.
//! Thread: the run's. Does not: change the books, read a sum or a limit of the engine's.
//! Invariant: who else wanted something at the moment of a grant is not always known; then everybody who may have is
//! tried, and a complaint says that under none of it the grant was allowed.
//!
//! A user is given one more while it does not use more than its limit, so it may pass it by one container. The limit
//! depends on what all users of the leaf use and on who of them wants something. After a step this is known for the
//! container that was granted last in a leaf and a label, whichever it was. For every other grant, and where nodes are held
//! (what is held counts as used, and the books do not know it), the bound that nothing moves has to hold: the factor's.

use std::collections::{BTreeMap, BTreeSet};

use heddle::engine::scheduler::settings::{Calculator, QueueSettings};
use heddle_wire::record::ContainerId;

use super::books::{Amount, Books, error};
use super::kinds::{Happening, Tally};

/// Sums of shares are not exact: limits are computed a little below and above.
const NUDGES: [f64; 2] = [1.0 - 1e-9, 1.0 + 1e-9];

/// Users who want something of a label in a leaf: for certain, and others who may.
#[derive(Debug, Default)]
pub(super) struct Active<'a> {
    pub(super) certain: BTreeSet<&'a str>,
    pub(super) possible: BTreeSet<&'a str>,
}

/// The users of a leaf in a label, at some moment.
#[derive(Debug)]
pub(super) struct Users<'a> {
    settings: &'a QueueSettings,
    calculator: Calculator,
    minimum: Amount,
    total: Amount,
    guarantee: Amount,
    maximum: Amount,
    used: BTreeMap<&'a str, Amount>,
}

impl<'a> Users<'a> {
    pub(super) fn used(&self, user: &str) -> Amount {
        self.used.get(user).copied().unwrap_or_default()
    }

    fn take_back(&mut self, user: &'a str, size: Amount) {
        let used = self.used.entry(user).or_default();
        *used = used.minus(size);
    }

    fn weight(&self, user: &str) -> f64 {
        self.settings.user_weights.get(user).map_or(1.0, |weight| f64::from(*weight))
    }

    /// The guarantee, but no less than the least container.
    fn least_guarantee(&self) -> Amount {
        let is_less = self.minimum.is_more(self.guarantee, self.total, self.calculator);
        if is_less { self.minimum } else { self.guarantee }
    }

    /// What no user of weight 1 may pass, whoever else is there.
    fn ceiling(&self) -> Amount {
        match self.settings.user_limit_factor {
            Some(factor) if self.guarantee != Amount::default() => {
                self.least_guarantee().times(f64::from(factor))
            }
            _ => self.maximum.down_to(self.minimum),
        }
    }

    /// `userLimit` of a user, when these are the active ones.
    fn limit(&self, user: &str, active: &BTreeSet<&str>, nudge: f64) -> Amount {
        let of_total = |used: &Amount| {
            let memory = used.0 as f64 / self.total.0 as f64;
            let cores = used.1 as f64 / self.total.1 as f64;
            if matches!(self.calculator, Calculator::Memory) { memory } else { memory.max(cores) }
        };
        let share = self.used.values().map(of_total).sum::<f64>() * nudge;
        let consumed = self.total.rounded_times(share).up_to(self.minimum);
        let least = self.least_guarantee();
        let is_below = least.is_more(consumed, self.total, self.calculator);
        let current = if is_below { least } else { consumed.plus(self.minimum) };

        let wanted = active.iter().fold(self.minimum, |sum, user| sum.plus(self.used(user)));
        let equal = wanted.divided_up(active.iter().map(|user| self.weight(user)).sum());
        let of_percent = current.times(f64::from(self.settings.minimum_user_limit_percent)).divided_up(100.0);
        let is_more = of_percent.is_more(equal, self.total, self.calculator);
        let limit = if is_more { of_percent } else { equal };
        let ceiling = self.ceiling();
        let is_over = limit.is_more(ceiling, self.total, self.calculator);
        let of_one = if is_over { ceiling } else { limit };
        of_one.up_to(self.minimum).times(self.weight(user)).down_to(self.minimum)
    }

    /// Whether a user does not use more than its limit: in every case that is possible, and in any.
    pub(super) fn is_within(&self, user: &'a str, active: &Active<'a>) -> (bool, bool) {
        let mut within = (true, false);
        let unsure: Vec<&str> =
            active.possible.iter().filter(|other| !active.certain.contains(*other)).copied().collect();
        for of in 0..1u32 << unsure.len() {
            let some = unsure.iter().enumerate().filter(|(bit, _)| of >> bit & 1 == 1);
            let mut wanting = active.certain.clone();
            wanting.extend(some.map(|(_, user)| *user));
            wanting.insert(user);
            for nudge in NUDGES {
                let limit = self.limit(user, &wanting, nudge);
                let is_within = !self.used(user).is_more(limit, self.total, self.calculator);
                within = (within.0 && is_within, within.1 || is_within);
            }
        }
        within
    }

    /// Whether a user that uses so much may be given more as far as the factor's bound says.
    fn is_within_ceiling(&self, user: &str, used: Amount) -> bool {
        let weight = self.weight(user);
        match self.calculator {
            Calculator::Memory => {
                used.0 <= self.ceiling().up_to(self.minimum).times(weight).down_to(self.minimum).0
            }
            // Limits are the lesser by the dominant share, and rounded up type by type after that.
            Calculator::Dominant => {
                let share = |amount: Amount| {
                    let memory = amount.0 as f64 / self.total.0 as f64;
                    memory.max(amount.1 as f64 / self.total.1 as f64)
                };
                share(used) <= weight * (share(self.ceiling()) + share(self.minimum)) + 1e-9
            }
        }
    }
}

/// Containers, for people.
fn names(ids: &[ContainerId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Books {
    /// Who uses what in a leaf and a label, of the containers that count; `None` where the label has nothing of some type,
    /// so that shares of it say nothing.
    pub(super) fn users(
        &self,
        leaf: u32,
        label: &str,
        counts: impl Fn(&ContainerId) -> bool,
    ) -> Option<Users<'_>> {
        let total = self.total(label);
        if total.0 == 0 || total.1 == 0 {
            return None;
        }
        let mut used: BTreeMap<&str, Amount> = BTreeMap::new();
        for (id, held) in &self.held {
            let Some((queue, user)) = self.applications.get(&id.application_id()) else { continue };
            if counts(id) && self.tree.find(queue) == Ok(leaf) && self.label_of(held.node) == label {
                let of_user = used.entry(user).or_default();
                *of_user = of_user.plus(held.size);
            }
        }
        Some(Users {
            settings: &self.tree.queues[leaf as usize],
            calculator: self.calculator,
            minimum: self.minimum,
            total,
            guarantee: self.guarantee(leaf, label),
            maximum: self.maximum(leaf, label),
            used,
        })
    }

    fn user_of(&self, id: &ContainerId) -> &str {
        self.applications.get(&id.application_id()).map_or("", |entry| &entry.1)
    }

    /// After a step in which these were granted: nobody was over its limit when it was given something.
    ///
    /// `was_held`: nodes were held for somebody when the step began; `is_held`: they are now.
    pub(super) fn check_user_limits(
        &self,
        fresh: &[ContainerId],
        (was_held, is_held): (bool, bool),
        tally: &mut Tally,
    ) -> Result<(), String> {
        // Who holds a node was within the limit of then, and is given it whatever the limit is now.
        if was_held && self.has_resized {
            return Ok(());
        }
        let mut places: BTreeMap<(u32, &str), Vec<ContainerId>> = BTreeMap::new();
        for id in fresh {
            let (Some(held), Some(leaf)) = (self.held.get(id), self.queue_of(id.application_id())) else {
                continue;
            };
            places.entry((leaf, self.label_of(held.node))).or_default().push(*id);
        }
        for ((leaf, label), ids) in places {
            let is_guest = |id: &ContainerId| self.held.get(id).is_some_and(|held| held.label != label);
            let (guests, own): (Vec<ContainerId>, Vec<ContainerId>) = ids.into_iter().partition(is_guest);
            // Guests are bounded by the label alone.
            let Some(users) = self.users(leaf, label, |id| !guests.contains(id)) else { continue };
            self.check_ceilings(&users, (leaf, label), &own, was_held)?;
            let in_place = |id: &ContainerId, held: &super::books::Held| {
                self.queue_of(id.application_id()) == Some(leaf) && self.label_of(held.node) == label
            };
            let is_known = !was_held
                && !is_held
                && guests.is_empty()
                && !self.ended.iter().any(|(id, held)| in_place(id, held))
                && !self.parting.iter().any(|(id, held)| in_place(id, held));
            if is_known && !own.is_empty() {
                self.check_last(users, (leaf, label), &own, tally)?;
            }
        }
        Ok(())
    }

    /// Nobody who was given something had more than its factor allows.
    fn check_ceilings(
        &self,
        users: &Users<'_>,
        (leaf, label): (u32, &str),
        own: &[ContainerId],
        was_held: bool,
    ) -> Result<(), String> {
        let given: BTreeSet<&str> = own.iter().map(|id| self.user_of(id)).collect();
        for user in given {
            // A node that was held is given although its user passed the limit since, by what it was given elsewhere.
            let last = self.held.iter().filter(|(id, held)| {
                let is_here = self.label_of(held.node) == label && self.user_of(id) == user;
                own.contains(id) || was_held && is_here && self.queue_of(id.application_id()) == Some(leaf)
            });
            let mut before = last.map(|(_, held)| users.used(user).minus(held.size));
            if !before.any(|used| users.is_within_ceiling(user, used)) {
                let (used, ceiling) = (users.used(user), users.ceiling());
                let path = &self.tree.queues[leaf as usize].path;
                return Err(error(format_args!(
                    "{user} is granted {} and uses {used:?} of label {label:?} in {path}, its bound is {ceiling:?}",
                    names(own)
                )));
            }
        }
        Ok(())
    }

    /// The last one granted, whichever it was, went to a user that was not over its limit.
    fn check_last<'a>(
        &'a self,
        mut users: Users<'a>,
        (leaf, label): (u32, &str),
        own: &[ContainerId],
        tally: &mut Tally,
    ) -> Result<(), String> {
        let mut active = self.active(leaf, label);
        active.possible.extend(own.iter().map(|id| self.user_of(id)));
        let is_last = |id: &ContainerId| {
            let attempt = id.application_attempt_id;
            let later = |other: &ContainerId| {
                other.application_attempt_id == attempt && other.container_id > id.container_id
            };
            !own.iter().any(later)
        };
        tally.hit(Happening::UserLimitJudged);
        let mut is_allowed = false;
        for id in own.iter().filter(|id| is_last(id)) {
            let Some(held) = self.held.get(id) else { continue };
            let user = self.user_of(id);
            if !users.is_within(user, &active).1 {
                tally.hit(Happening::UserLimitPassed);
            }
            let after = users.used(user);
            users.take_back(user, held.size);
            is_allowed |= users.is_within(user, &active).1;
            users.used.insert(user, after);
        }
        if is_allowed {
            return Ok(());
        }
        let path = &self.tree.queues[leaf as usize].path;
        let used = &users.used;
        Err(error(format_args!(
            "granted are {}: of label {label:?} users of {path} have {used:?}, that of the last was over its limit \
             before; {active:?}",
            names(own)
        )))
    }
}

//! How much of a queue applications, ApplicationMasters and users may have: YARN's formulas as functions of their inputs.
//! Owns: the formulas. Called by: the scheduler, when an application comes, an ApplicationMaster is to start, usage or the
//! set of active users changes. Thread: the caller's. Does not: keep sums, cache, or know applications.
//! Invariant: every result is rounded to whole least containers where YARN's is, so that both decide alike.

use super::calculator::{Calculator, FixedShare};
use super::capacity::written;
use super::resource::ResourceVector;
use super::settings::{Capacity, QueueSettings, QueueTree};

/// Most applications of a queue, running and pending.
///
/// `absolute_capacities` are the queue's guaranteed shares of every partition it may use
/// ([`EffectiveCapacity::absolute_capacity`](super::capacity::EffectiveCapacity::absolute_capacity)).
#[must_use]
pub fn max_applications(
    tree: &QueueTree,
    queue: &QueueSettings,
    absolute_capacities: impl IntoIterator<Item = f64>,
) -> u32 {
    if let Some(most) = queue.maximum_applications {
        return most;
    }
    let base = base_applications(tree);
    let is_absolute =
        queue.capacities.get("").is_some_and(|share| matches!(share.capacity, Capacity::Absolute(_)));
    if tree.global_queue_maximum_applications.is_some() && !is_absolute {
        return base;
    }
    let of_share = |share: f64| (f64::from(base) * share + 1e-6).floor() as u32;
    absolute_capacities.into_iter().map(of_share).max().unwrap_or(0).min(base)
}

/// What shares of applications are taken from.
fn base_applications(tree: &QueueTree) -> u32 {
    let of_system = tree.maximum_applications;
    tree.global_queue_maximum_applications.map_or(of_system, |of_queue| of_queue.min(of_system))
}

/// Most applications of one user in a queue that takes `max_applications`.
#[must_use]
pub fn max_applications_per_user(queue: &QueueSettings, max_applications: u32) -> u32 {
    let Some(factor) = queue.user_limit_factor else { return max_applications };
    let share = written(queue.minimum_user_limit_percent) / 100.0 * written(factor);
    ((f64::from(max_applications) * share + 1e-6).floor() as u32).min(max_applications)
}

/// What the limits of a queue in a partition depend on besides usage.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits<'a> {
    /// How amounts are compared.
    pub calculator: Calculator,
    /// All of the partition.
    pub partition: &'a ResourceVector,
    /// Least container.
    pub minimum_allocation: &'a ResourceVector,
    /// The queue's guarantee.
    pub effective_min: &'a ResourceVector,
    /// The queue's bound.
    pub effective_max: &'a ResourceVector,
    /// Share for ApplicationMasters, 0 to 1.
    pub maximum_am_resource_fraction: f64,
    /// Least share of each user while others wait, percent.
    pub minimum_user_limit_percent: f32,
    /// How many times the guarantee one user may have; `None` = no such limit.
    pub user_limit_factor: Option<f32>,
}

/// What the limit of users depends on.
#[derive(Clone, Copy, Debug)]
pub struct UserLimitInput<'a> {
    /// Sum over all users of [`Calculator::ratio`] of what they use and the partition.
    pub users_share: FixedShare,
    /// Sum of what the users use that the limit is for: the active ones when scheduling.
    pub active_used: &'a ResourceVector,
    /// Sum of these users' weights.
    pub active_weight: f64,
    /// Idle nodes of a shared label are being used: only the partition itself is the limit.
    pub ignores_exclusivity: bool,
}

impl QueueLimits<'_> {
    /// `AMlimit`: most that ApplicationMasters of the queue may use together.
    ///
    /// `current_limit` is what the queue could use now ([`QueueLimits::current_limit`]); `None` in a partition that is not
    /// the default one, where only the guarantee counts.
    #[must_use]
    pub fn am_limit(&self, current_limit: Option<&ResourceVector>) -> ResourceVector {
        let base = match current_limit {
            Some(limit) if self.calculator.fits_in(self.effective_min, limit) => limit,
            _ => self.effective_min,
        };
        self.up(base, self.maximum_am_resource_fraction)
    }

    /// The same for one user. `active_users`: those with asks outstanding in active applications, and those that have only
    /// pending applications.
    #[must_use]
    pub fn user_am_limit(&self, am_limit: &ResourceVector, active_users: u32, weight: f64) -> ResourceVector {
        let of_user = match self.user_limit_factor {
            None => self.up(self.effective_min, self.maximum_am_resource_fraction),
            Some(factor) => {
                let percent = written(self.minimum_user_limit_percent) / 100.0;
                let equal = 1.0 / f64::from(active_users.max(1));
                let share = (percent.max(equal) * weight).min(1.0);
                let factor = self.maximum_am_resource_fraction * share * written(factor);
                self.up(self.effective_min, factor)
            }
        };
        of_user.component_min(am_limit)
    }

    /// What the queue could use now, were it alone: its bound, and what its parent offers.
    #[must_use]
    pub fn current_limit(&self, limit_from_parent: &ResourceVector) -> ResourceVector {
        self.down(self.effective_max).component_min(limit_from_parent)
    }

    /// `userLimit` of a user of weight 1. It moves with every grant while the queue is above its guarantee.
    #[must_use]
    pub fn user_limit(&self, input: &UserLimitInput<'_>) -> ResourceVector {
        self.whole_user_limit(&self.exact_user_limit(input))
    }

    /// The limit from what it was before it was rounded up.
    #[must_use]
    pub fn whole_user_limit(&self, exact: &ResourceVector) -> ResourceVector {
        self.calculator.round_up(exact, self.minimum_allocation)
    }

    /// The same before it is rounded up to whole least containers. It never falls while users use more and no other
    /// user becomes active.
    #[must_use]
    pub fn exact_user_limit(&self, input: &UserLimitInput<'_>) -> ResourceVector {
        let calculator = self.calculator;
        let guarantee = calculator.max(self.partition, self.effective_min, self.minimum_allocation);
        let consumed = self.up(self.partition, input.users_share.ratio().value());
        let is_below = !calculator.fits_in(guarantee, &consumed)
            && calculator.compare(self.partition, &consumed, guarantee).is_lt();
        let current = if is_below { guarantee.clone() } else { consumed.plus(self.minimum_allocation) };
        let wanted = input.active_used.plus(self.minimum_allocation);
        let equal = calculator.divide_and_ceil(&wanted, input.active_weight);
        // Truncated before it is divided, as in YARN: that is where its odd megabytes come from.
        let percent = written(self.minimum_user_limit_percent);
        let whole = calculator.multiply_and_normalize_down(&current, percent, &ResourceVector::ZERO);
        let least = calculator.divide_and_ceil(&whole, 100.0);
        let limit = calculator.max(self.partition, &equal, &least);
        let ceiling = match self.user_limit_factor {
            _ if input.ignores_exclusivity => self.partition.clone(),
            Some(factor) if !self.effective_min.is_zero() => {
                calculator.multiply_and_normalize_down(guarantee, written(factor), &ResourceVector::ZERO)
            }
            _ => self.down(self.effective_max),
        };
        calculator.min(self.partition, limit, &ceiling).clone()
    }

    /// The limit of a user of this weight. A user may be given more while it does not use **more** than this: it may pass
    /// it by one container.
    #[must_use]
    pub fn weighted_user_limit(&self, user_limit: &ResourceVector, weight: f64) -> ResourceVector {
        if weight == 1.0 {
            return user_limit.clone();
        }
        self.calculator.multiply_and_normalize_down(user_limit, weight, self.minimum_allocation)
    }

    fn up(&self, amount: &ResourceVector, factor: f64) -> ResourceVector {
        self.calculator.multiply_and_normalize_up(amount, factor, self.minimum_allocation)
    }

    fn down(&self, amount: &ResourceVector) -> ResourceVector {
        self.calculator.round_down(amount, self.minimum_allocation)
    }
}

/// A parent, as its children's limits depend on it.
#[derive(Clone, Copy, Debug)]
pub struct ParentUse<'a> {
    /// What its own parent offers it.
    pub limit: &'a ResourceVector,
    /// Its bound.
    pub effective_max: &'a ResourceVector,
    /// What it uses.
    pub used: &'a ResourceVector,
    /// Of it, what may be taken back at any time.
    pub killable: &'a ResourceVector,
    /// Room kept for children that are blocked by their own limit.
    pub blocked_headroom: &'a ResourceVector,
}

/// What a parent offers a child: in whole least containers, what the child uses included.
///
/// YARN takes the lesser of limit and bound as a whole; here it is the lesser of each type, so that neither is passed.
#[must_use]
pub fn child_limit(
    calculator: Calculator,
    parent: &ParentUse<'_>,
    used_by_child: &ResourceVector,
    minimum_allocation: &ResourceVector,
) -> ResourceVector {
    let most = parent.limit.component_min(parent.effective_max);
    // What is added comes first: amounts end at 0, and a difference in between may be below it.
    let limit =
        most.plus(parent.killable).plus(used_by_child).minus(&parent.blocked_headroom.plus(parent.used));
    calculator.round_down(&limit, minimum_allocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::scheduler::calculator::Ratio;

    const GB: u64 = 1_024;

    fn gb(memory: u64) -> ResourceVector {
        ResourceVector::new(memory * GB, memory)
    }

    /// Limits of a queue of a cluster, by memory, with the worked examples' defaults.
    struct Case {
        cluster: ResourceVector,
        guarantee: ResourceVector,
        bound: ResourceVector,
        percent: f32,
        factor: Option<f32>,
    }

    impl Case {
        fn limits<'a>(&'a self, minimum: &'a ResourceVector) -> QueueLimits<'a> {
            QueueLimits {
                calculator: Calculator::Memory,
                partition: &self.cluster,
                minimum_allocation: minimum,
                effective_min: &self.guarantee,
                effective_max: &self.bound,
                maximum_am_resource_fraction: 0.1,
                minimum_user_limit_percent: self.percent,
                user_limit_factor: self.factor,
            }
        }

        /// The limit of a user of weight 1 while active users use these amounts, GB.
        fn user_limit(&self, used: &[u64], active_weight: f64) -> u64 {
            let mut users_share = FixedShare::ZERO;
            for used in used {
                let ratio = Calculator::Memory.ratio(&gb(*used), &self.cluster);
                users_share.add(FixedShare::nearest(ratio));
            }
            let minimum = gb(1);
            let input = UserLimitInput {
                users_share,
                active_used: &gb(used.iter().sum()),
                active_weight,
                ignores_exclusivity: false,
            };
            let limit = self.limits(&minimum).user_limit(&input).memory_mb();
            assert_eq!(limit % GB, 0);
            limit / GB
        }
    }

    fn half_of_100(percent: f32, factor: Option<f32>) -> Case {
        Case { cluster: gb(100), guarantee: gb(50), bound: gb(100), percent, factor }
    }

    #[test]
    fn e06_one_user_and_the_factor() {
        let case = half_of_100(25.0, Some(1.0));
        for (used, limit) in [(0, 13), (20, 21), (49, 50), (50, 50)] {
            assert_eq!(case.user_limit(&[used], 1.0), limit, "used {used}");
        }
        // Growing by 1 GB while not over the limit stops at 51.
        let grown = |case: &Case| (0..100).find(|used| *used > case.user_limit(&[*used], 1.0)).unwrap_or(100);
        assert_eq!(grown(&case), 51);
        assert_eq!(grown(&half_of_100(25.0, Some(2.0))), 100);
        let bounded = Case { bound: gb(70), ..half_of_100(25.0, None) };
        assert_eq!(grown(&bounded), 71, "the queue's bound, which is checked by itself");
        assert_eq!(bounded.user_limit(&[90], 1.0), 70);
    }

    #[test]
    fn e07_two_users() {
        let case = half_of_100(25.0, Some(1.0));
        for (used, limit, of_first, of_second) in [
            (0, 13, false, true),
            (13, 17, false, true),
            (19, 20, true, true),
            (20, 21, true, true),
            (25, 23, true, false),
        ] {
            assert_eq!(case.user_limit(&[20, used], 2.0), limit, "second uses {used}");
            assert_eq!((20 <= limit, used <= limit), (of_first, of_second));
        }
        // From nothing, the first in order taking what it may: half-shares bind from the second grant on.
        let filled = |case: &Case| {
            let mut used = [0, 0];
            for _ in 0..100 {
                let limit = case.user_limit(&used, 2.0);
                match used.iter_mut().find(|used| **used <= limit) {
                    Some(user) => *user += 1,
                    None => break,
                }
            }
            used
        };
        assert_eq!(filled(&case), [51, 49]);
    }

    #[test]
    fn e09_user_weights() {
        let case =
            Case { cluster: gb(100), guarantee: gb(70), bound: gb(70), percent: 33.0, factor: Some(1.0) };
        assert_eq!(case.user_limit(&[0, 0, 0], 3.5), 24);
        let minimum = gb(1);
        let limits = case.limits(&minimum);
        let weighted = |weight| limits.weighted_user_limit(&gb(24), weight).memory_mb() / GB;
        assert_eq!([weighted(1.5), weighted(1.0)], [36, 24]);
        // Filled in order up to the queue's bound.
        let mut used = [0, 0, 0];
        while used.iter().sum::<u64>() < 70 {
            let limit = gb(case.user_limit(&used, 3.5));
            let next = (0..3)
                .find(|user| {
                    let weight = [1.5, 1.0, 1.0][*user];
                    used[*user] * GB <= limits.weighted_user_limit(&limit, weight).memory_mb()
                })
                .unwrap();
            used[next] += 1;
        }
        assert_eq!(used, [37, 25, 8]);
    }

    #[test]
    fn a_user_of_idle_shared_nodes_is_limited_by_the_partition_only() {
        let (case, minimum) = (half_of_100(25.0, Some(1.0)), gb(1));
        let input = UserLimitInput {
            users_share: FixedShare::nearest(Ratio::new(0.9)),
            active_used: &gb(90),
            active_weight: 1.0,
            ignores_exclusivity: true,
        };
        assert_eq!(case.limits(&minimum).user_limit(&input).memory_mb(), 91 * GB);
        // No active user at all divides by nothing.
        let nobody = UserLimitInput { active_weight: 0.0, active_used: &ResourceVector::ZERO, ..input };
        assert!(case.limits(&minimum).user_limit(&nobody).memory_mb() <= 100 * GB);
    }

    #[test]
    fn e10_am_limits() {
        let case =
            Case { cluster: gb(200), guarantee: gb(50), bound: gb(200), percent: 50.0, factor: Some(2.0) };
        let minimum = gb(1);
        let limits = case.limits(&minimum);
        let current = limits.current_limit(&gb(200));
        let am_limit = limits.am_limit(Some(&current));
        assert_eq!(am_limit.memory_mb(), 20 * GB);
        let of_user = |users, weight| limits.user_am_limit(&am_limit, users, weight).memory_mb() / GB;
        assert_eq!([of_user(0, 1.0), of_user(1, 1.0), of_user(2, 1.0), of_user(9, 1.0)], [10, 10, 5, 5]);
        assert_eq!(of_user(2, 1.5), 8, "7.5 rounded up");
        assert_eq!(of_user(2, 5.0), 10, "a weight does not lift a user above the queue");
        // A busy cluster offers less than the guarantee: then the guarantee counts; so it does in other partitions.
        assert_eq!(limits.am_limit(Some(&gb(20))).memory_mb(), 5 * GB);
        assert_eq!(limits.am_limit(None).memory_mb(), 5 * GB);
        let unlimited = Case { factor: None, ..case };
        assert_eq!(unlimited.limits(&minimum).user_am_limit(&am_limit, 3, 1.0).memory_mb(), 5 * GB);
    }

    #[test]
    fn e11_application_limits() {
        let mut tree = QueueTree::default();
        let mut queue = QueueSettings::leaf("root.a", Some(0), Capacity::Percent(25.0));
        (queue.minimum_user_limit_percent, queue.user_limit_factor) = (50.0, Some(2.0));
        let of = |tree: &QueueTree, queue: &QueueSettings| {
            let most = max_applications(tree, queue, [0.25]);
            (most, max_applications_per_user(queue, most))
        };
        assert_eq!(of(&tree, &queue), (2_500, 2_500));
        queue.user_limit_factor = Some(1.0);
        assert_eq!(of(&tree, &queue), (2_500, 1_250));
        queue.user_limit_factor = None;
        assert_eq!(of(&tree, &queue), (2_500, 2_500));
        queue.user_limit_factor = Some(1.0);
        queue.maximum_applications = Some(9_999);
        assert_eq!(of(&tree, &queue), (9_999, 4_999));
        queue.maximum_applications = None;
        tree.global_queue_maximum_applications = Some(700);
        assert_eq!(of(&tree, &queue).0, 700);
        tree.global_queue_maximum_applications = Some(70_000);
        assert_eq!(of(&tree, &queue).0, 10_000);
        tree.global_queue_maximum_applications = None;
        assert_eq!(max_applications(&tree, &queue, [0.25, 0.7, 0.1]), 7_000, "the largest partition counts");
    }

    #[test]
    fn e17_what_a_parent_offers_its_children() {
        let nothing = ResourceVector::ZERO;
        let offer = |blocked: u64, used_by_child: u64| {
            let parent = ParentUse {
                limit: &gb(100),
                effective_max: &gb(60),
                used: &gb(50),
                killable: &nothing,
                blocked_headroom: &gb(blocked),
            };
            child_limit(Calculator::Memory, &parent, &gb(used_by_child), &gb(1)).memory_mb() / GB
        };
        assert_eq!(offer(0, 30), 40, "a: 10 of headroom, too little for 12");
        assert_eq!(offer(10, 20), 20, "b: none, it is kept for a");
        assert_eq!(offer(60, 0), 0);
    }
}

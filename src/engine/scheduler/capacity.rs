//! From what is configured to what it means: each queue's guarantee and bound in one partition of a given size.
//! Owns: [`CapacityRules`] (a tree compiled for one partition), [`EffectiveCapacity`] (its result), [`QueueOrderKey`].
//! Called by: the scheduler when nodes come, go or change, and on every refresh of the queues; order keys at every grant.
//! Thread: the caller's. Does not: know what is used, or hold anything that changes between refreshes.
//! Invariants: children's guarantees add up to at most their parent's; a queue's bound is at most its parent's; the order of
//! keys among siblings is total.

use core::cmp::{Ordering, Reverse};

use super::calculator::{Calculator, Ratio, multiply_down};
use super::resource::ResourceVector;
use super::settings::{Capacity, MaximumCapacity, QueueOrder, QueueSettings, QueueTree};

/// The tree's capacities in one partition, ready to be applied to any size of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CapacityRules {
    queues: Vec<Rule>,
}

/// One queue's share, compiled.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    parent: Option<usize>,
    guarantee: Guarantee,
    bound: Bound,
    is_accessible: bool,
    maximum_am_resource_fraction: f64,
    rank: u32,
}

#[derive(Clone, Debug, PartialEq)]
enum Guarantee {
    /// Of the parent's, 0 to 1: percentages and weights.
    Fraction(f64),
    /// As written; scaled down where the parent cannot cover its children.
    Absolute(ResourceVector),
}

#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Fraction(f64),
    Absolute(ResourceVector),
}

/// What a queue may count on in a partition of a certain size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EffectiveCapacity {
    /// Guaranteed share of the partition, 0 to 1 (`absCapacity`).
    pub absolute_capacity: f64,
    /// Largest share (`absMaxCapacity`).
    pub absolute_maximum_capacity: f64,
    /// Guaranteed amount (`effMin`).
    pub effective_min: ResourceVector,
    /// Largest amount (`effMax`).
    pub effective_max: ResourceVector,
    /// Share of it for ApplicationMasters, 0 to 1.
    pub maximum_am_resource_fraction: f64,
    /// Whether the queue may use the partition at all.
    pub is_accessible: bool,
    /// Place among its siblings where everything else is equal; distinct among them.
    pub rank: u32,
    /// What used amounts are measured against: the guarantee, but at least one least container.
    measure: Measure,
}

/// Divisor of used capacity, prepared so that one division is left per decision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Measure {
    memory_mb: u64,
    share: Ratio,
}

impl EffectiveCapacity {
    /// `usedCapacity`: what is used (reservations included) of the guarantee; 1 where it is just met.
    #[must_use]
    #[inline]
    pub fn used_capacity(
        &self,
        calculator: Calculator,
        partition: &ResourceVector,
        used: &ResourceVector,
    ) -> Ratio {
        match calculator {
            // Amounts, not shares: exactly 1 where they are equal, below it where less is used.
            Calculator::Memory => Ratio::of(used.memory_mb(), self.measure.memory_mb),
            Calculator::Dominant => calculator.max_share(partition, used).divided_by(self.measure.share),
        }
    }
}

impl CapacityRules {
    /// Compiles a checked tree for one partition; `""` is the default one.
    #[must_use]
    pub fn new(tree: &QueueTree, partition: &str) -> Self {
        let parents: Vec<Option<usize>> =
            tree.queues.iter().map(|queue| queue.parent.map(|parent| parent as usize)).collect();
        let mut weights = vec![0.0; tree.queues.len()];
        for (queue, parent) in tree.queues.iter().zip(&parents) {
            if let (Some(Capacity::Weight(weight)), Some(sum)) =
                (capacity(queue, partition), parent.and_then(|parent| weights.get_mut(parent)))
            {
                *sum += written(*weight);
            }
        }
        let rank = ranks(tree, partition);
        let rules = tree.queues.iter().zip(&parents).zip(rank).map(|((queue, parent), rank)| {
            let is_root = parent.is_none();
            let share = queue.capacities.get(partition);
            let guarantee = match share.map(|share| &share.capacity) {
                // Root has everything of every partition, and a partition it does not name all the same.
                _ if is_root => Guarantee::Fraction(1.0),
                None => Guarantee::Fraction(0.0),
                Some(Capacity::Percent(percent)) => Guarantee::Fraction(fraction(*percent)),
                Some(Capacity::Weight(weight)) => {
                    let sum = parent.and_then(|parent| weights.get(parent)).copied().unwrap_or(0.0);
                    Guarantee::Fraction(if sum > 0.0 { written(*weight) / sum } else { 0.0 })
                }
                Some(Capacity::Absolute(amount)) => Guarantee::Absolute(amount.clone()),
            };
            let bound = match share.map(|share| &share.maximum) {
                _ if is_root => Bound::Fraction(1.0),
                None => Bound::Fraction(1.0),
                Some(MaximumCapacity::Percent(percent)) => Bound::Fraction(fraction(*percent)),
                Some(MaximumCapacity::Absolute(amount)) => Bound::Absolute(amount.clone()),
            };
            let am_fraction = share
                .or_else(|| queue.capacities.get(""))
                .map_or(0.1, |share| written(share.maximum_am_resource_percent));
            Rule {
                parent: *parent,
                guarantee,
                bound,
                is_accessible: is_accessible(queue, partition),
                maximum_am_resource_fraction: am_fraction,
                rank,
            }
        });
        Self { queues: rules.collect() }
    }

    /// Each queue's effective capacities, by its index in the tree, for a partition that has `total` in all.
    ///
    /// Costs O(queues × resource types). `minimum_allocation` is the least container.
    #[must_use]
    pub fn effective(
        &self,
        calculator: Calculator,
        total: &ResourceVector,
        minimum_allocation: &ResourceVector,
    ) -> Vec<EffectiveCapacity> {
        let mut sums = vec![ResourceVector::ZERO; self.queues.len()];
        for rule in &self.queues {
            if let (Guarantee::Absolute(amount), Some(sum)) =
                (&rule.guarantee, rule.parent.and_then(|parent| sums.get_mut(parent)))
            {
                sum.add(amount);
            }
        }
        let mut effective: Vec<EffectiveCapacity> = Vec::with_capacity(self.queues.len());
        // Whether the shares down to here are all fractions: then they apply to the total, without a rounding per level.
        let mut are_fractions: Vec<(bool, bool)> = Vec::with_capacity(self.queues.len());
        let nothing = EffectiveCapacity::default();
        for rule in &self.queues {
            // A checked tree has parents before their children; any other queue gets nothing.
            let above = match rule.parent {
                None => None,
                Some(parent) => Some((
                    effective.get(parent).unwrap_or(&nothing),
                    are_fractions.get(parent).copied().unwrap_or_default(),
                    sums.get(parent).unwrap_or(&ResourceVector::ZERO),
                )),
            };
            let (min, min_fraction) = guarantee(rule, calculator, total, above);
            let (max, max_fraction) = bound(rule, total, above);
            let least = calculator.max(total, &min, minimum_allocation);
            let measure = Measure { memory_mb: least.memory_mb(), share: calculator.max_share(total, least) };
            are_fractions.push((min_fraction.is_some(), max_fraction.is_some()));
            effective.push(EffectiveCapacity {
                absolute_capacity: min_fraction.unwrap_or_else(|| calculator.max_share(total, &min).value()),
                absolute_maximum_capacity: max_fraction
                    .unwrap_or_else(|| calculator.max_share(total, &max).value()),
                effective_min: min,
                effective_max: max,
                maximum_am_resource_fraction: rule.maximum_am_resource_fraction,
                is_accessible: rule.is_accessible,
                rank: rule.rank,
                measure,
            });
        }
        effective
    }
}

/// The parent's capacities, whether its (guarantee, bound) are plain fractions, and what its children ask in amounts.
type Above<'a> = (&'a EffectiveCapacity, (bool, bool), &'a ResourceVector);

/// Guaranteed amount, and its share of the total where it is one of fractions only.
fn guarantee(
    rule: &Rule,
    calculator: Calculator,
    total: &ResourceVector,
    above: Option<Above<'_>>,
) -> (ResourceVector, Option<f64>) {
    match (&rule.guarantee, above) {
        (Guarantee::Fraction(fraction), None) => (scaled(total, *fraction), Some(*fraction)),
        (Guarantee::Fraction(fraction), Some((parent, (true, _), _))) => {
            let fraction = fraction * parent.absolute_capacity;
            (scaled(total, fraction), Some(fraction))
        }
        (Guarantee::Fraction(fraction), Some((parent, ..))) => {
            (scaled(&parent.effective_min, *fraction), None)
        }
        (Guarantee::Absolute(amount), None) => (amount.component_min(total), None),
        (Guarantee::Absolute(amount), Some((parent, _, sum))) => {
            let length = amount.len().max(sum.len());
            let mut effective = amount.clone();
            for index in (0..length).filter(|index| calculator.counts(*index) || amount.get(*index) != 0) {
                let (of_parent, asked) = (parent.effective_min.get(index), sum.get(index));
                if asked > of_parent {
                    // Each type by itself, as in YARN; exact, so that the sum stays within the parent's.
                    let part = u128::from(amount.get(index)) * u128::from(of_parent) / u128::from(asked);
                    effective.set(index, u64::try_from(part).unwrap_or(u64::MAX));
                }
            }
            (effective, None)
        }
    }
}

/// The bound, and its share of the total where it is one of fractions only.
fn bound(rule: &Rule, total: &ResourceVector, above: Option<Above<'_>>) -> (ResourceVector, Option<f64>) {
    match (&rule.bound, above) {
        (Bound::Fraction(fraction), None) => (scaled(total, *fraction), Some(*fraction)),
        (Bound::Fraction(fraction), Some((parent, (_, true), _))) => {
            let fraction = fraction * parent.absolute_maximum_capacity;
            (scaled(total, fraction), Some(fraction))
        }
        (Bound::Fraction(fraction), Some((parent, ..))) => (scaled(&parent.effective_max, *fraction), None),
        (Bound::Absolute(amount), None) => (amount.component_min(total), None),
        (Bound::Absolute(amount), Some((parent, ..))) => (amount.component_min(&parent.effective_max), None),
    }
}

fn scaled(amount: &ResourceVector, fraction: f64) -> ResourceVector {
    if fraction >= 1.0 {
        return amount.clone();
    }
    amount.map(|amount| multiply_down(amount, fraction))
}

fn capacity<'a>(queue: &'a QueueSettings, partition: &str) -> Option<&'a Capacity> {
    queue.capacities.get(partition).map(|share| &share.capacity)
}

fn is_accessible(queue: &QueueSettings, partition: &str) -> bool {
    partition.is_empty()
        || queue.parent.is_none()
        || queue
            .accessible_node_labels
            .as_ref()
            .is_none_or(|labels| labels.iter().any(|label| **label == *partition))
}

/// The number that was written, not the `f32` next to it: 33.3 and not 33.29999923706…
pub(super) fn written(number: f32) -> f64 {
    // The shortest decimal that gives the same `f32` is what a person wrote. Not by way of text: user limits ask for it at
    // every grant.
    let exact = f64::from(number);
    let mut scale = 1.0;
    for _ in 0..8 {
        let decimal = (exact * scale).round() / scale;
        if decimal as f32 == number {
            return decimal;
        }
        scale *= 10.0;
    }
    exact
}

fn fraction(percent: f32) -> f64 {
    (written(percent) / 100.0).clamp(0.0, 1.0)
}

/// Places among all queues by the rule for ties: larger configured amount, then larger share, then the tree's order.
fn ranks(tree: &QueueTree, partition: &str) -> Vec<u32> {
    let size = |queue: &QueueSettings| match capacity(queue, partition) {
        Some(Capacity::Absolute(amount)) => {
            ((0..amount.len()).map(|index| amount.get(index)).collect::<Vec<_>>(), Ratio::ZERO)
        }
        // Among siblings, percentages and weights order as the shares they stand for.
        Some(Capacity::Percent(number) | Capacity::Weight(number)) => {
            (Vec::new(), Ratio::new(f64::from(*number)))
        }
        None => (Vec::new(), Ratio::ZERO),
    };
    let mut order: Vec<usize> = (0..tree.queues.len()).collect();
    let sizes: Vec<_> = tree.queues.iter().map(size).collect();
    order.sort_by(|one, other| sizes[*other].cmp(&sizes[*one]).then(one.cmp(other)));
    let mut ranks = vec![0; order.len()];
    for (rank, queue) in order.into_iter().enumerate() {
        ranks[queue] = u32::try_from(rank).unwrap_or(u32::MAX);
    }
    ranks
}

/// A queue's place among its siblings: the least is offered first.
///
/// YARN compares pairs (§6.3: accessible, has a guarantee, then priority among queues that are all under or all over
/// their guarantee, else usage). That is the same order as this key's, field by field, which makes it total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueOrderKey {
    is_inaccessible: bool,
    has_no_guarantee: bool,
    is_over: bool,
    priority: Reverse<i32>,
    used: Ratio,
    rank: u32,
}

impl QueueOrderKey {
    /// The key of a queue.
    ///
    /// `used_capacity` is [`EffectiveCapacity::used_capacity`], `absolute_used` the used share of the partition
    /// ([`Calculator::max_share`]), which counts for queues that are guaranteed nothing.
    #[must_use]
    #[inline]
    pub fn new(
        order: QueueOrder,
        capacity: &EffectiveCapacity,
        priority: i32,
        used_capacity: Ratio,
        absolute_used: Ratio,
    ) -> Self {
        let has_no_guarantee = capacity.absolute_capacity <= 0.0;
        let used = if has_no_guarantee { absolute_used } else { used_capacity };
        let by_priority = order == QueueOrder::PriorityUtilization;
        Self {
            is_inaccessible: !capacity.is_accessible,
            has_no_guarantee,
            // Without priorities the usage alone says the same.
            is_over: by_priority && used.cmp(&Ratio::ONE) != Ordering::Less,
            priority: Reverse(if by_priority { priority } else { 0 }),
            used,
            rank: capacity.rank,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::scheduler::settings::PartitionCapacity;

    const GB: u64 = 1_024;

    fn gb(memory: u64, cores: u64) -> ResourceVector {
        ResourceVector::new(memory * GB, cores)
    }

    fn share(capacity: Capacity, maximum: MaximumCapacity) -> PartitionCapacity {
        PartitionCapacity { capacity, maximum, maximum_am_resource_percent: 0.1 }
    }

    /// `root` with these queues below (path, capacity, maximum), parents first.
    fn tree(queues: &[(&str, Capacity, MaximumCapacity)]) -> QueueTree {
        let mut tree = QueueTree::default();
        tree.queues.truncate(1);
        for (path, capacity, maximum) in queues {
            let parent = path.rsplit_once('.').and_then(|(parent, _)| tree.find(parent).ok());
            if let Some(parent) = parent {
                tree.queues[parent as usize].is_leaf = false;
            }
            let mut queue = QueueSettings::leaf(path, parent, capacity.clone());
            queue.capacities = BTreeMap::from([("".into(), share(capacity.clone(), maximum.clone()))]);
            tree.queues.push(queue);
        }
        tree
    }

    fn percent(path: &str, capacity: f32, maximum: f32) -> (&str, Capacity, MaximumCapacity) {
        (path, Capacity::Percent(capacity), MaximumCapacity::Percent(maximum))
    }

    fn weight(path: &str, weight: f32) -> (&str, Capacity, MaximumCapacity) {
        (path, Capacity::Weight(weight), MaximumCapacity::Percent(100.0))
    }

    fn effective(tree: &QueueTree, total: &ResourceVector) -> Vec<EffectiveCapacity> {
        CapacityRules::new(tree, "").effective(Calculator::Dominant, total, &gb(1, 1))
    }

    #[test]
    fn percentages_multiply_down_the_tree() {
        let tree = tree(&[
            percent("root.a", 40.0, 60.0),
            percent("root.b", 60.0, 100.0),
            percent("root.a.x", 33.3, 50.0),
            percent("root.a.y", 66.7, 100.0),
        ]);
        let of = effective(&tree, &gb(1_000, 1_000));
        let told: Vec<_> = of
            .iter()
            .map(|one| (one.effective_min.virtual_cores(), one.effective_max.virtual_cores()))
            .collect();
        assert_eq!(told, [(1_000, 1_000), (400, 600), (600, 1_000), (133, 300), (266, 600)]);
        assert!((of[3].absolute_capacity - 0.1332).abs() < 1e-12, "{}", of[3].absolute_capacity);
        assert_eq!(of[3].absolute_maximum_capacity, 0.3);
        assert_eq!(of[3].effective_min.memory_mb(), 136_396);
        // A part of nothing.
        assert!(effective(&tree, &ResourceVector::ZERO).iter().all(|one| one.effective_max.is_zero()));
    }

    #[test]
    fn e19_weights_and_absolute_amounts() {
        let shares = |tree: &QueueTree| -> Vec<f64> {
            effective(tree, &gb(100, 100)).iter().skip(1).map(|one| one.absolute_capacity).collect()
        };
        let mut weights = vec![weight("root.a", 3.0), weight("root.b", 2.0), weight("root.c", 5.0)];
        assert_eq!(shares(&tree(&weights)), [0.3, 0.2, 0.5]);
        weights.push(weight("root.d", 10.0));
        assert_eq!(shares(&tree(&weights)), [0.15, 0.1, 0.25, 0.5]);

        let amount = |path| (path, Capacity::Absolute(gb(80, 0)), MaximumCapacity::Percent(100.0));
        let absolute = tree(&[amount("root.a"), amount("root.b")]);
        let memory = |total| -> Vec<u64> {
            let of =
                CapacityRules::new(&absolute, "").effective(Calculator::Memory, &gb(total, total), &gb(1, 1));
            of.iter().skip(1).map(|one| one.effective_min.memory_mb() / GB).collect()
        };
        assert_eq!(memory(80), [40, 40]);
        assert_eq!(memory(200), [80, 80]);
    }

    #[test]
    fn absolute_maxima_are_bounded_by_the_parents() {
        let amount = |path, min, max| (path, Capacity::Absolute(min), MaximumCapacity::Absolute(max));
        let tree = tree(&[
            amount("root.a", gb(40, 40), gb(60, 50)),
            amount("root.a.x", gb(40, 10), gb(90, 20)),
            ("root.a.y", Capacity::Percent(50.0), MaximumCapacity::Percent(50.0)),
        ]);
        let of = effective(&tree, &gb(100, 100));
        assert_eq!(of[2].effective_max, gb(60, 20));
        assert_eq!((of[2].absolute_capacity, of[2].absolute_maximum_capacity), (0.4, 0.6));
        assert_eq!((&of[3].effective_min, &of[3].effective_max), (&gb(20, 20), &gb(30, 25)));
    }

    #[test]
    fn a_partition_belongs_to_those_who_may_use_it_and_root_has_all_of_it() {
        let mut tree = tree(&[percent("root.a", 50.0, 100.0), percent("root.b", 50.0, 100.0)]);
        tree.queues[0].accessible_node_labels = None;
        tree.queues[1].accessible_node_labels = Some(vec!["gpu".into()]);
        let gpu = share(Capacity::Percent(100.0), MaximumCapacity::Percent(80.0));
        tree.queues[1].capacities.insert("gpu".into(), gpu);
        let of = CapacityRules::new(&tree, "gpu").effective(Calculator::Memory, &gb(10, 10), &gb(1, 1));
        let told: Vec<_> =
            of.iter().map(|one| (one.is_accessible, one.effective_min.memory_mb() / GB)).collect();
        assert_eq!(told, [(true, 10), (true, 10), (false, 0)]);
        assert_eq!(of[1].effective_max, gb(8, 8));
    }

    fn key(order: QueueOrder, used: f64, priority: i32, absolute_capacity: f64, rank: u32) -> QueueOrderKey {
        let capacity =
            EffectiveCapacity { absolute_capacity, is_accessible: true, rank, ..Default::default() };
        QueueOrderKey::new(order, &capacity, priority, Ratio::new(used), Ratio::new(used))
    }

    #[test]
    fn e04_dominant_queue_order() {
        let tree = tree(&[percent("root.a", 50.0, 100.0), percent("root.b", 50.0, 100.0)]);
        let total = gb(100, 100);
        for (calculator, of_a, of_b, is_b_first) in
            [(Calculator::Dominant, 0.8, 0.6, true), (Calculator::Memory, 0.2, 0.6, false)]
        {
            let of = CapacityRules::new(&tree, "").effective(calculator, &total, &gb(1, 1));
            let used = [gb(10, 40), gb(30, 5)];
            let keys: Vec<_> = (0..2)
                .map(|index| {
                    let capacity = &of[index + 1];
                    let ratio = capacity.used_capacity(calculator, &total, &used[index]);
                    assert!((ratio.value() - [of_a, of_b][index]).abs() < 1e-12);
                    let absolute = calculator.max_share(&total, &used[index]);
                    QueueOrderKey::new(QueueOrder::Utilization, capacity, 0, ratio, absolute)
                })
                .collect();
            assert_eq!(keys[1] < keys[0], is_b_first, "{calculator:?}");
        }
    }

    #[test]
    fn e05_priority_utilization() {
        for (one, other, is_one_first) in [
            ((0.4, 1, 0.5), (0.2, 0, 0.5), true),
            ((1.1, 1, 0.5), (0.9, 0, 0.5), false),
            ((1.1, 0, 0.5), (1.5, 1, 0.5), false),
            ((1.0, 5, 0.5), (0.99, 0, 0.5), false),
            ((0.4, 0, 0.0), (0.9, 0, 0.1), false),
        ] {
            let order = QueueOrder::PriorityUtilization;
            let keys = [one, other].map(|(used, priority, share)| key(order, used, priority, share, 0));
            assert_eq!(keys[0] < keys[1], is_one_first, "{one:?} {other:?}");
        }
        // Without the policy a priority says nothing.
        let order = QueueOrder::Utilization;
        assert!(key(order, 0.2, 0, 0.5, 0) < key(order, 0.4, 9, 0.5, 0));
    }

    #[test]
    fn equal_queues_are_ordered_by_size_and_then_as_configured() {
        let tree = tree(&[
            percent("root.a", 25.0, 100.0),
            percent("root.b", 50.0, 100.0),
            percent("root.c", 25.0, 100.0),
        ]);
        let of = effective(&tree, &gb(100, 100));
        let mut order = [1, 2, 3];
        order.sort_by_key(|index| {
            QueueOrderKey::new(QueueOrder::Utilization, &of[*index], 0, Ratio::ZERO, Ratio::ZERO)
        });
        assert_eq!(order, [2, 1, 3]);
    }

    #[test]
    fn a_guarantee_that_is_just_met_is_met_whatever_the_calculator() {
        let tree = tree(&[percent("root.a", 33.3, 100.0), percent("root.b", 66.7, 100.0)]);
        for total in [gb(7, 3), gb(99_991, 77_773), gb(1_234_567, 7)] {
            for calculator in [Calculator::Memory, Calculator::Dominant] {
                let of = CapacityRules::new(&tree, "").effective(calculator, &total, &ResourceVector::ZERO);
                for one in &of {
                    let used = one.used_capacity(calculator, &total, &one.effective_min);
                    assert_eq!(used, Ratio::ONE);
                    let less = one.effective_min.map(|amount| amount.saturating_sub(1));
                    assert!(one.used_capacity(calculator, &total, &less) < Ratio::ONE);
                }
            }
        }
    }

    fn capacities() -> impl Strategy<Value = Vec<Capacity>> {
        prop_oneof![
            prop::collection::vec((1..1_000u32).prop_map(|w| Capacity::Weight(w as f32)), 1..6),
            prop::collection::vec((1..1_000u32, 0..64u32), 1..6).prop_map(|parts| {
                parts.into_iter().map(|(m, c)| Capacity::Absolute(gb(m.into(), c.into()))).collect()
            }),
            prop::collection::vec(1..100u32, 1..6).prop_map(|parts| {
                let sum: u32 = parts.iter().sum();
                parts.into_iter().map(|part| Capacity::Percent(100.0 * part as f32 / sum as f32)).collect()
            }),
        ]
    }

    proptest! {
        #[test]
        fn guarantees_add_up_to_at_most_the_parents(
            upper in capacities(), lower in capacities(), memory in 0..5_000_000u64, cores in 0..100_000u64,
        ) {
            let paths: Vec<String> = (0..upper.len()).map(|index| format!("root.q{index}")).collect();
            let below: Vec<String> = (0..lower.len()).map(|index| format!("root.q0.x{index}")).collect();
            let queues: Vec<_> = paths.iter().zip(&upper).chain(below.iter().zip(&lower))
                .map(|(path, capacity)| (path.as_str(), capacity.clone(), MaximumCapacity::Percent(100.0)))
                .collect();
            let tree = tree(&queues);
            let total = ResourceVector::new(memory, cores);
            let of = effective(&tree, &total);
            for (index, parent) in tree.queues.iter().enumerate().filter(|(_, queue)| !queue.is_leaf) {
                let mut sum = ResourceVector::ZERO;
                for (child, _) in tree.queues.iter().enumerate().filter(|(_, q)| q.parent == Some(index as u32)) {
                    sum.add(&of[child].effective_min);
                    prop_assert!(of[child].effective_max.fits_in(&of[index].effective_max));
                }
                // Percentages of a checked tree may add up to a little more than 100.
                let slack = of[index].effective_min.map(|amount| amount + amount / 100_000 + 1);
                prop_assert!(sum.fits_in(&slack), "{}: {sum:?} of {:?}", parent.path, of[index].effective_min);
            }
        }
    }
}

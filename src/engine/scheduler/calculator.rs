//! Resource arithmetic: how amounts of several types are compared, divided, rounded and fitted.
//! Owns: the methods of [`Calculator`], and [`Ratio`] and [`FixedShare`], the numbers they give. Called by: the scheduler at
//! every decision, `capacity` and `limits`. Thread: the caller's; plain functions.
//! Does not: allocate (up to 16 resource types), know queues or users.
//! Invariants: comparing is exact (integers, cross-multiplied in 128 bits) and a total preorder for a given cluster; a
//! [`Ratio`] is never NaN and its order is total; equal input gives equal bits on every machine (IEEE 754 `f64`, no `f32`).

use core::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::resource::{MEMORY, ResourceVector};
pub use super::settings::Calculator;

/// Resource types that are compared without a heap allocation.
const TYPES_ON_STACK: usize = 16;

/// A quotient of two amounts: 0 or more, possibly infinite, never NaN, so that it can be a key of an order.
///
/// YARN has `f32` here. The order is the same except where `f32` calls two quotients equal that are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing of it.
    pub const ZERO: Self = Self(0.0);

    /// All of it.
    pub const ONE: Self = Self(1.0);

    /// More than any amount: something of nothing.
    pub const INFINITE: Self = Self(f64::INFINITY);

    /// `amount / of`; nothing of nothing is 0.
    #[must_use]
    #[inline]
    pub fn of(amount: u64, of: u64) -> Self {
        match (amount, of) {
            (0, _) => Self::ZERO,
            (_, 0) => Self::INFINITE,
            // Both are rounded to 53 bits: exact up to 8 ZiB in MiB.
            (amount, of) => Self(amount as f64 / of as f64),
        }
    }

    /// From a number; what is negative or no number is 0.
    #[must_use]
    pub fn new(value: f64) -> Self {
        // Also takes −0, which would come before 0 in the order.
        if value > 0.0 { Self(value) } else { Self::ZERO }
    }

    /// As a number.
    #[must_use]
    #[inline]
    pub const fn value(self) -> f64 {
        self.0
    }

    #[inline]
    pub(super) fn divided_by(self, other: Self) -> Self {
        if self == Self::ZERO {
            Self::ZERO
        } else if other == Self::ZERO {
            Self::INFINITE
        } else {
            Self::new(self.0 / other.0)
        }
    }
}

impl Eq for Ratio {}

impl PartialOrd for Ratio {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ratio {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A share of the cluster that can be added up and taken away again without drift: a whole number of 2^-56.
///
/// The sum of all users' shares is at most the number of resource types, so 256 as the largest sum is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FixedShare(u64);

impl FixedShare {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    const ONE: f64 = (1u64 << 56) as f64;

    /// The nearest one; saturates.
    #[must_use]
    #[inline]
    pub fn nearest(ratio: Ratio) -> Self {
        // `as` saturates, and there is no NaN to become 0. By hand: rounding is a call on the oldest machines we run on.
        let exact = ratio.value() * Self::ONE;
        let whole = exact as u64;
        Self(whole.saturating_add(u64::from(exact - whole as f64 >= 0.5)))
    }

    /// Adds; saturates.
    #[inline]
    pub fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }

    /// Takes away; stops at 0.
    #[inline]
    pub fn subtract(&mut self, other: Self) {
        self.0 = self.0.saturating_sub(other.0);
    }

    /// As a ratio.
    #[must_use]
    #[inline]
    pub fn ratio(self) -> Ratio {
        Ratio::new(self.0 as f64 / Self::ONE)
    }
}

/// A share as the exact fraction `amount / total`; `total` is not 0.
#[derive(Clone, Copy)]
struct Share {
    amount: u64,
    total: u64,
}

impl Share {
    const ZERO: Self = Self { amount: 0, total: 1 };

    #[inline]
    fn cmp(self, other: Self) -> Ordering {
        let of_self = u128::from(self.amount) * u128::from(other.total);
        let of_other = u128::from(other.amount) * u128::from(self.total);
        of_self.cmp(&of_other)
    }

    #[inline]
    fn ratio(self) -> Ratio {
        Ratio::of(self.amount, self.total)
    }
}

impl Calculator {
    /// Whether amounts of this type limit anything: all types for [`Calculator::Dominant`], else only memory.
    #[must_use]
    #[inline]
    pub const fn counts(self, index: usize) -> bool {
        matches!(self, Self::Dominant) || index == MEMORY
    }

    /// Which of two amounts is more, for a cluster of this size. Exact, and a total preorder for one cluster.
    ///
    /// Memory: the memory. Dominant: the largest share first, then the next, until one differs; a type the cluster has
    /// nothing of is passed over. Where it has nothing of anything: more if some amount is more and none is less.
    #[must_use]
    pub fn compare(self, cluster: &ResourceVector, a: &ResourceVector, b: &ResourceVector) -> Ordering {
        match self {
            Self::Memory => a.memory_mb().cmp(&b.memory_mb()),
            Self::Dominant => {
                if a == b {
                    return Ordering::Equal;
                }
                if cluster.is_zero() {
                    return a.partial_cmp(b).unwrap_or(Ordering::Equal);
                }
                // The largest shares nearly always differ; only a tie is worth sorting for.
                dominant(cluster, a)
                    .cmp(dominant(cluster, b))
                    .then_with(|| compare_sorted_shares(cluster, a, b))
            }
        }
    }

    /// As [`Calculator::compare`], by one type only: memory, or the dominant share.
    #[must_use]
    pub fn compare_single(
        self,
        cluster: &ResourceVector,
        a: &ResourceVector,
        b: &ResourceVector,
    ) -> Ordering {
        match self {
            Self::Memory => a.memory_mb().cmp(&b.memory_mb()),
            Self::Dominant if cluster.is_zero() => self.compare(cluster, a, b),
            Self::Dominant => dominant(cluster, a).cmp(dominant(cluster, b)),
        }
    }

    /// Whether `a` is more than `b` ([`Calculator::compare`]).
    #[must_use]
    #[inline]
    pub fn exceeds(self, cluster: &ResourceVector, a: &ResourceVector, b: &ResourceVector) -> bool {
        // Where nothing of it is more, no share is: no need to compute them.
        !self.fits_in(a, b) && self.compare(cluster, a, b) == Ordering::Greater
    }

    /// The operand that is less; `a` where they are equal.
    #[must_use]
    pub fn min<'a>(
        self,
        cluster: &ResourceVector,
        a: &'a ResourceVector,
        b: &'a ResourceVector,
    ) -> &'a ResourceVector {
        // Nothing of `a` is more: no share is.
        if self.fits_in(a, b) || self.compare(cluster, b, a) != Ordering::Less { a } else { b }
    }

    /// The operand that is more; `a` where they are equal.
    #[must_use]
    pub fn max<'a>(
        self,
        cluster: &ResourceVector,
        a: &'a ResourceVector,
        b: &'a ResourceVector,
    ) -> &'a ResourceVector {
        if self.exceeds(cluster, b, a) { b } else { a }
    }

    /// The largest share of the cluster; for [`Calculator::Memory`] that of memory. Types the cluster has nothing of do
    /// not count.
    #[must_use]
    #[inline]
    pub fn max_share(self, cluster: &ResourceVector, amount: &ResourceVector) -> Ratio {
        match self {
            Self::Memory if cluster.memory_mb() == 0 => Ratio::ZERO,
            Self::Memory => Ratio::of(amount.memory_mb(), cluster.memory_mb()),
            Self::Dominant => dominant(cluster, amount).ratio(),
        }
    }

    /// How many times as much: by memory, or by the largest share of each (which may be of different types).
    ///
    /// Something of nothing is infinite, nothing of nothing is 0. For one `cluster` and `b` it never falls as `a` grows.
    #[must_use]
    pub fn divide(self, cluster: &ResourceVector, a: &ResourceVector, b: &ResourceVector) -> Ratio {
        match self {
            Self::Memory => Ratio::of(a.memory_mb(), b.memory_mb()),
            Self::Dominant => {
                // Each step rounds the same way for every `a`, so the order of quotients is that of the shares.
                dominant(cluster, a).ratio().divided_by(dominant(cluster, b).ratio())
            }
        }
    }

    /// How many times as much in the type where it is most. Types that neither has do not count.
    #[must_use]
    pub fn ratio(self, a: &ResourceVector, b: &ResourceVector) -> Ratio {
        match self {
            Self::Memory => Ratio::of(a.memory_mb(), b.memory_mb()),
            Self::Dominant => (0..a.len().max(b.len()))
                .map(|index| Ratio::of(a.get(index), b.get(index)))
                .max()
                .unwrap_or_default(),
        }
    }

    /// Whether `small` fits into `big`.
    #[must_use]
    #[inline]
    pub fn fits_in(self, small: &ResourceVector, big: &ResourceVector) -> bool {
        match self {
            Self::Memory => small.memory_mb() <= big.memory_mb(),
            Self::Dominant => small.fits_in(big),
        }
    }

    /// How many containers of this size the amount is enough for, at most `i32::MAX` as in YARN. A size of nothing fits
    /// that often.
    #[must_use]
    pub fn compute_available_containers(self, available: &ResourceVector, required: &ResourceVector) -> u32 {
        let most = i32::MAX.unsigned_abs();
        let times = |index: usize| available.get(index).checked_div(required.get(index));
        let count = match self {
            Self::Memory => times(MEMORY),
            Self::Dominant => (0..required.len()).filter_map(times).min(),
        };
        count.and_then(|count| u32::try_from(count).ok()).map_or(most, |count| count.min(most))
    }

    /// A container's size as it is granted: at least `minimum`, in whole steps, at most `maximum`.
    ///
    /// [`Calculator::Memory`] grants 1 virtual core whatever was asked and nothing of other types, as in YARN: its clients
    /// count on it.
    #[must_use]
    pub fn normalize(
        self,
        asked: &ResourceVector,
        minimum: &ResourceVector,
        maximum: &ResourceVector,
        step: &ResourceVector,
    ) -> ResourceVector {
        let one = |index: usize| {
            let amount = asked.get(index).max(minimum.get(index));
            round_up(amount, step.get(index)).min(maximum.get(index))
        };
        match self {
            Self::Memory => memory(one(MEMORY)),
            Self::Dominant => {
                let length = asked.len().max(minimum.len()).max(step.len());
                build(length, one)
            }
        }
    }

    /// `factor` times as much, to the nearest whole, then up to whole steps.
    #[must_use]
    pub fn multiply_and_normalize_up(
        self,
        amount: &ResourceVector,
        factor: f64,
        step: &ResourceVector,
    ) -> ResourceVector {
        let one = |index: usize| match amount.get(index) {
            0 => 0,
            amount => round_up((amount as f64 * factor + 0.5) as u64, step.get(index)),
        };
        match self {
            Self::Memory => memory(one(MEMORY)),
            Self::Dominant => build(amount.len(), one),
        }
    }

    /// `factor` times as much, down to the whole, then down to whole steps.
    #[must_use]
    pub fn multiply_and_normalize_down(
        self,
        amount: &ResourceVector,
        factor: f64,
        step: &ResourceVector,
    ) -> ResourceVector {
        let one = |index: usize| round_down(multiply_down(amount.get(index), factor), step.get(index));
        match self {
            Self::Memory => memory(one(MEMORY)),
            Self::Dominant => build(amount.len(), one),
        }
    }

    /// Up to whole steps.
    #[must_use]
    pub fn round_up(self, amount: &ResourceVector, step: &ResourceVector) -> ResourceVector {
        let one = |index: usize| round_up(amount.get(index), step.get(index));
        match self {
            Self::Memory => memory(one(MEMORY)),
            Self::Dominant => build(amount.len(), one),
        }
    }

    /// Down to whole steps.
    #[must_use]
    pub fn round_down(self, amount: &ResourceVector, step: &ResourceVector) -> ResourceVector {
        let one = |index: usize| round_down(amount.get(index), step.get(index));
        match self {
            Self::Memory => memory(one(MEMORY)),
            Self::Dominant => build(amount.len(), one),
        }
    }

    /// One of `divisor` parts, up to the whole. A divisor of 0 or less gives all of it.
    #[must_use]
    pub fn divide_and_ceil(self, amount: &ResourceVector, divisor: f64) -> ResourceVector {
        // Whole divisors are the rule, and dividing whole numbers is cheaper; the quotient is the same.
        let whole = if divisor as u32 as f64 == divisor { u64::from(divisor as u32) } else { 0 };
        let one = |index: usize| {
            let amount = amount.get(index);
            if whole > 0 && amount < EXACT {
                return amount.div_ceil(whole);
            }
            if amount != 0 && divisor > 0.0 { whole_up(amount as f64 / divisor) } else { amount }
        };
        match self {
            Self::Memory => memory(one(MEMORY)),
            Self::Dominant => build(amount.len(), one),
        }
    }

    /// Whether nothing can be divided by it: memory is 0, or any of the first `types` amounts is.
    #[must_use]
    pub fn is_invalid_divisor(self, divisor: &ResourceVector, types: usize) -> bool {
        match self {
            Self::Memory => divisor.memory_mb() == 0,
            Self::Dominant => (0..types).any(|index| divisor.get(index) == 0),
        }
    }
}

/// Amounts below it are divided in `f64` as exactly as whole numbers are.
const EXACT: u64 = 1 << 50;

/// `factor` times as much, down to the whole. What the multiplication itself lost by rounding does not count: 70 % of
/// 100 is 70.
#[must_use]
#[inline]
pub(super) fn multiply_down(amount: u64, factor: f64) -> u64 {
    if amount == 0 {
        return 0;
    }
    let product = amount as f64 * factor;
    let forgiven = 1e-6_f64.max(product * 1e-12);
    // Cutting off is rounding down, as nothing here is below 0, and what is becomes 0.
    (product + forgiven) as u64
}

/// Up to the whole; for numbers that are 0 or more.
#[inline]
fn whole_up(number: f64) -> u64 {
    let whole = number as u64;
    whole.saturating_add(u64::from((whole as f64) < number))
}

#[inline]
fn round_up(amount: u64, step: u64) -> u64 {
    // A multiple beyond 64 bits is none: the amount stays.
    if step == 0 || amount == 0 { amount } else { amount.checked_next_multiple_of(step).unwrap_or(amount) }
}

#[inline]
const fn round_down(amount: u64, step: u64) -> u64 {
    if step == 0 || amount == 0 { amount } else { amount - amount % step }
}

/// What [`Calculator::Memory`] makes of an amount of memory.
fn memory(memory_mb: u64) -> ResourceVector {
    ResourceVector::new(memory_mb, u64::from(memory_mb != 0))
}

#[inline]
fn build(length: usize, amount: impl Fn(usize) -> u64) -> ResourceVector {
    ResourceVector::from_fn(length, amount)
}

/// The share in one type; none where the cluster has nothing of it.
#[inline]
fn share(cluster: &ResourceVector, amount: &ResourceVector, index: usize) -> Option<Share> {
    let total = cluster.get(index);
    (total != 0).then(|| Share { amount: amount.get(index), total })
}

/// The largest share.
#[inline]
fn dominant(cluster: &ResourceVector, amount: &ResourceVector) -> Share {
    let mut largest = Share::ZERO;
    for index in 0..cluster.len() {
        if let Some(share) = share(cluster, amount, index)
            && largest.cmp(share) == Ordering::Less
        {
            largest = share;
        }
    }
    largest
}

#[cold]
fn compare_sorted_shares(cluster: &ResourceVector, a: &ResourceVector, b: &ResourceVector) -> Ordering {
    let length = cluster.len();
    if length <= TYPES_ON_STACK {
        let (mut of_a, mut of_b) = ([Share::ZERO; TYPES_ON_STACK], [Share::ZERO; TYPES_ON_STACK]);
        compare_in(cluster, a, b, &mut of_a[..length], &mut of_b[..length])
    } else {
        compare_in(cluster, a, b, &mut vec![Share::ZERO; length], &mut vec![Share::ZERO; length])
    }
}

fn compare_in(
    cluster: &ResourceVector,
    a: &ResourceVector,
    b: &ResourceVector,
    of_a: &mut [Share],
    of_b: &mut [Share],
) -> Ordering {
    for (vector, shares) in [(a, &mut *of_a), (b, &mut *of_b)] {
        for (index, place) in shares.iter_mut().enumerate() {
            *place = share(cluster, vector, index).unwrap_or(Share::ZERO);
        }
        shares.sort_unstable_by(|one, other| other.cmp(*one));
    }
    of_a.iter()
        .zip(of_b.iter())
        .map(|(one, other)| one.cmp(*other))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests;

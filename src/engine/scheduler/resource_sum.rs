//! Sums of what is asked for, exact whatever is asked for.
//! Owns: [`ResourceSum`]. Called by: whoever counts asks or tells what is pending. Thread: the scheduler's.
//! Does not: hold what is used: a node bounds that, so that 64 bits do.
//! Invariant: a sum from which everything was taken again is nothing. An ask is below 2^31 containers, an attempt has at most
//! 2^18 keys, and there are at most 2^24 attempts: that leaves 2^55 for the size of each container.

use super::resource::{INLINE, MEMORY, ResourceVector};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct ResourceSum {
    head: [u128; INLINE],
    tail: Vec<u128>,
}

impl ResourceSum {
    /// Adds `count` times `size`.
    pub(super) fn add(&mut self, size: &ResourceVector, count: u64) {
        self.change(size.len(), |sum, index| {
            sum.saturating_add(u128::from(size.get(index)) * u128::from(count))
        });
    }

    /// Takes `count` times `size` away.
    pub(super) fn subtract(&mut self, size: &ResourceVector, count: u64) {
        self.change(size.len(), |sum, index| {
            sum.saturating_sub(u128::from(size.get(index)) * u128::from(count))
        });
    }

    /// Adds another sum.
    pub(super) fn add_sum(&mut self, other: &Self) {
        self.change(other.len(), |sum, index| sum.saturating_add(other.get(index)));
    }

    /// Takes another sum away.
    pub(super) fn subtract_sum(&mut self, other: &Self) {
        self.change(other.len(), |sum, index| sum.saturating_sub(other.get(index)));
    }

    /// Memory, MiB.
    pub(super) const fn memory_mb(&self) -> u128 {
        self.head[MEMORY]
    }

    /// As it is told: what is more than 64 bits hold is the most they hold.
    pub(super) fn to_vector(&self) -> ResourceVector {
        ResourceVector::from_fn(self.len(), |index| u64::try_from(self.get(index)).unwrap_or(u64::MAX))
    }

    fn len(&self) -> usize {
        INLINE + self.tail.len()
    }

    fn get(&self, index: usize) -> u128 {
        match self.head.get(index) {
            Some(amount) => *amount,
            None => self.tail.get(index - INLINE).copied().unwrap_or(0),
        }
    }

    fn change(&mut self, length: usize, change: impl Fn(u128, usize) -> u128) {
        for (index, sum) in self.head.iter_mut().enumerate() {
            *sum = change(*sum, index);
        }
        if length > self.len() {
            self.tail.resize(length - INLINE, 0);
        }
        for (index, sum) in self.tail.iter_mut().enumerate().take(length - INLINE) {
            *sum = change(*sum, INLINE + index);
        }
    }
}

impl PartialEq for ResourceSum {
    fn eq(&self, other: &Self) -> bool {
        (0..self.len().max(other.len())).all(|index| self.get(index) == other.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_can_be_taken_again_beyond_64_bits() {
        let size = ResourceVector::from_amounts(&[u64::MAX, 1, 0, 7, 0, u64::MAX]);
        let (mut sum, mut other) = (ResourceSum::default(), ResourceSum::default());
        other.add(&ResourceVector::new(3, 2), 5);
        for _ in 0..1_000 {
            sum.add(&size, 1 << 31);
        }
        sum.add_sum(&other);
        assert_eq!(sum.memory_mb(), (u128::from(u64::MAX) << 31) * 1_000 + 15);
        let most = u64::MAX;
        let told = [most, 1_000 * (1 << 31) + 10, 0, 7_000 * (1 << 31), 0, most];
        assert_eq!(sum.to_vector(), ResourceVector::from_amounts(&told));
        for _ in 0..1_000 {
            sum.subtract(&size, 1 << 31);
        }
        assert!(sum == other && sum != ResourceSum::default());
        sum.subtract_sum(&other);
        assert!(sum == ResourceSum::default());
    }
}

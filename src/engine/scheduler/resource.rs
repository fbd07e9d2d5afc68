//! Amounts as the scheduler calculates with them: one number per configured resource type, in the order of the type table.
//! Owns: [`ResourceVector`], [`ResourceTypes`]. Called by: every part of the scheduler, the application manager.
//! Does not: know shares or calculators (`calculator`). Thread: the caller's.
//! Invariant: two vectors made with the same table have the same length; memory is index 0, virtual cores index 1.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::engine::event::{ExtendedResource, Resource};

/// Types whose amounts lie in the vector itself; more are kept behind a pointer.
pub(super) const INLINE: usize = 4;

/// Index of memory, MiB.
pub const MEMORY: usize = 0;

/// Index of virtual cores.
pub const VIRTUAL_CORES: usize = 1;

/// One amount per resource type.
///
/// Up to four types (memory, virtual cores and two more) it is a plain value; beyond, a clone allocates.
#[derive(Clone, Default, Eq, Serialize, Deserialize)]
pub struct ResourceVector {
    head: [u64; INLINE],
    tail: Option<Box<[u64]>>,
}

impl ResourceVector {
    /// Nothing.
    pub const ZERO: Self = Self { head: [0; INLINE], tail: None };

    /// Memory and virtual cores.
    #[must_use]
    pub const fn new(memory_mb: u64, virtual_cores: u64) -> Self {
        Self { head: [memory_mb, virtual_cores, 0, 0], tail: None }
    }

    /// From amounts by type index; what is missing is 0.
    #[must_use]
    pub fn from_amounts(amounts: &[u64]) -> Self {
        let mut vector = Self::ZERO;
        for (index, amount) in amounts.iter().enumerate() {
            vector.set(index, *amount);
        }
        vector
    }

    /// The amounts of the first `length` types, by type index; the others are 0.
    #[must_use]
    #[inline]
    pub fn from_fn(length: usize, amount: impl Fn(usize) -> u64) -> Self {
        let mut head = [0; INLINE];
        for (index, place) in head.iter_mut().enumerate().take(length) {
            *place = amount(index);
        }
        let tail: Option<Box<[u64]>> = (length > INLINE).then(|| (INLINE..length).map(amount).collect());
        Self { head, tail: tail.filter(|tail| tail.iter().any(|amount| *amount != 0)) }
    }

    /// The amount of type `index`; 0 where there is none.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> u64 {
        match self.head.get(index) {
            Some(amount) => *amount,
            None => self.tail.as_ref().and_then(|tail| tail.get(index - INLINE)).copied().unwrap_or(0),
        }
    }

    /// Sets the amount of type `index`.
    pub fn set(&mut self, index: usize, amount: u64) {
        if let Some(place) = self.head.get_mut(index) {
            *place = amount;
            return;
        }
        let index = index - INLINE;
        if self.tail.as_ref().is_none_or(|tail| tail.len() <= index) {
            if amount == 0 {
                return;
            }
            let mut longer = self.tail.take().map(Vec::from).unwrap_or_default();
            longer.resize(index + 1, 0);
            self.tail = Some(longer.into());
        }
        if let Some(place) = self.tail.as_mut().and_then(|tail| tail.get_mut(index)) {
            *place = amount;
        }
    }

    /// Memory, MiB.
    #[must_use]
    #[inline]
    pub const fn memory_mb(&self) -> u64 {
        self.head[MEMORY]
    }

    /// Virtual cores.
    #[must_use]
    #[inline]
    pub const fn virtual_cores(&self) -> u64 {
        self.head[VIRTUAL_CORES]
    }

    /// Length up to which amounts may differ from 0.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        INLINE + self.tail.as_ref().map_or(0, |tail| tail.len())
    }

    /// True where every amount is 0.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.head == [0; INLINE]
            && self.tail.as_ref().is_none_or(|tail| tail.iter().all(|amount| *amount == 0))
    }

    /// [`ResourceVector::is_zero`], for lint's sake.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_zero()
    }

    /// Combines two vectors type by type.
    #[must_use]
    #[inline]
    pub fn zip_with(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let mut head = [0; INLINE];
        for (index, place) in head.iter_mut().enumerate() {
            *place = combine(self.head[index], other.head[index]);
        }
        if self.tail.is_none() && other.tail.is_none() {
            return Self { head, tail: None };
        }
        let length = self.len().max(other.len());
        let tail = (INLINE..length).map(|index| combine(self.get(index), other.get(index))).collect();
        Self { head, tail: Some(tail) }
    }

    /// The same for each amount.
    #[must_use]
    #[inline]
    pub fn map(&self, change: impl Fn(u64) -> u64) -> Self {
        self.zip_with(&Self::ZERO, |amount, _| change(amount))
    }

    /// Sum; saturates.
    #[must_use]
    #[inline]
    pub fn plus(&self, other: &Self) -> Self {
        self.zip_with(other, u64::saturating_add)
    }

    /// Difference; 0 where `other` is more.
    #[must_use]
    #[inline]
    pub fn minus(&self, other: &Self) -> Self {
        self.zip_with(other, u64::saturating_sub)
    }

    /// `count` times as much; saturates.
    #[must_use]
    #[inline]
    pub fn times(&self, count: u64) -> Self {
        self.map(|amount| amount.saturating_mul(count))
    }

    /// Adds in place; saturates.
    #[inline]
    pub fn add(&mut self, other: &Self) {
        if self.tail.is_none() && other.tail.is_none() {
            for (place, amount) in self.head.iter_mut().zip(other.head) {
                *place = place.saturating_add(amount);
            }
        } else {
            *self = self.plus(other);
        }
    }

    /// Takes away in place; stops at 0.
    #[inline]
    pub fn subtract(&mut self, other: &Self) {
        if self.tail.is_none() && other.tail.is_none() {
            for (place, amount) in self.head.iter_mut().zip(other.head) {
                *place = place.saturating_sub(amount);
            }
        } else {
            *self = self.minus(other);
        }
    }

    /// The smaller of each amount.
    #[must_use]
    #[inline]
    pub fn component_min(&self, other: &Self) -> Self {
        self.zip_with(other, u64::min)
    }

    /// The larger of each amount.
    #[must_use]
    #[inline]
    pub fn component_max(&self, other: &Self) -> Self {
        self.zip_with(other, u64::max)
    }

    /// An order without a meaning, type by type: for maps by size.
    #[inline]
    pub(super) fn cmp_amounts(&self, other: &Self) -> Ordering {
        let of_tail = || {
            let length = self.len().max(other.len());
            (INLINE..length).map(|kind| self.get(kind)).cmp((INLINE..length).map(|kind| other.get(kind)))
        };
        self.head.cmp(&other.head).then_with(of_tail)
    }

    /// True where no amount is more than that of `other`.
    #[must_use]
    #[inline]
    pub fn fits_in(&self, other: &Self) -> bool {
        let head = self.head.iter().zip(other.head).all(|(amount, of_other)| *amount <= of_other);
        head && self.tail.as_ref().is_none_or(|tail| {
            tail.iter().enumerate().all(|(index, amount)| *amount <= other.get(index + INLINE))
        })
    }
}

impl fmt::Debug for ResourceVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<memory:{}, vCores:{}", self.memory_mb(), self.virtual_cores())?;
        for index in 2..self.len() {
            if self.get(index) != 0 {
                write!(f, ", {index}:{}", self.get(index))?;
            }
        }
        f.write_str(">")
    }
}

/// The resource types of the cluster: memory, virtual cores, then the configured ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceTypes {
    types: Vec<ResourceType>,
}

/// A resource type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceType {
    /// Name, such as `memory-mb` or `yarn.io/gpu`.
    pub name: Box<str>,
    /// Unit of every amount of this type in the engine.
    pub units: Box<str>,
}

impl Default for ResourceTypes {
    /// Memory and virtual cores.
    fn default() -> Self {
        Self::new([])
    }
}

impl ResourceTypes {
    /// Memory and virtual cores, then `extended` in this order.
    #[must_use]
    pub fn new(extended: impl IntoIterator<Item = ResourceType>) -> Self {
        let own = [("memory-mb", "Mi"), ("vcores", "")]
            .map(|(name, units)| ResourceType { name: name.into(), units: units.into() });
        Self { types: own.into_iter().chain(extended).collect() }
    }

    /// Every type, by index.
    #[must_use]
    pub fn types(&self) -> &[ResourceType] {
        &self.types
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Never: memory and virtual cores are always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Index of a type.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        self.types.iter().position(|kind| &*kind.name == name)
    }

    /// A vector from an amount in the messages' shape. Types that are not in the table are left out, as in YARN.
    /// Units are converted; an amount that is not whole in our unit is rounded down.
    #[must_use]
    pub fn to_vector(&self, resource: &Resource) -> ResourceVector {
        let mut vector = ResourceVector::new(resource.memory_mb, u64::from(resource.virtual_cores));
        for extended in &resource.extended {
            if let Some((index, kind)) =
                self.types.iter().enumerate().skip(2).find(|(_, kind)| kind.name == extended.name)
            {
                vector.set(index, convert(extended.value, &extended.units, &kind.units));
            }
        }
        vector
    }

    /// The messages' shape of a vector.
    #[must_use]
    pub fn to_resource(&self, vector: &ResourceVector) -> Resource {
        let mut extended: Vec<ExtendedResource> = self
            .types
            .iter()
            .enumerate()
            .skip(2)
            .filter(|(index, _)| vector.get(*index) != 0)
            .map(|(index, kind)| ExtendedResource {
                name: kind.name.clone(),
                value: vector.get(index),
                units: kind.units.clone(),
            })
            .collect();
        extended.sort();
        Resource {
            memory_mb: vector.memory_mb(),
            virtual_cores: u32::try_from(vector.virtual_cores()).unwrap_or(u32::MAX),
            extended: extended.into(),
        }
    }
}

/// An amount in another unit. Unknown units count as none.
#[must_use]
pub fn convert(value: u64, from: &str, to: &str) -> u64 {
    if from == to {
        return value;
    }
    // As fractions over 10^12, so that pico is whole.
    let factor = |unit: &str| -> u128 {
        const ONE: u128 = 1_000_000_000_000;
        match unit {
            "p" => 1,
            "n" => 1_000,
            "u" => 1_000_000,
            "m" => 1_000_000_000,
            "k" => ONE * 1_000,
            "M" => ONE * 1_000_000,
            "G" => ONE * 1_000_000_000,
            "T" => ONE * 1_000_000_000_000,
            "P" => ONE * 1_000_000_000_000_000,
            "Ki" => ONE << 10,
            "Mi" => ONE << 20,
            "Gi" => ONE << 30,
            "Ti" => ONE << 40,
            "Pi" => ONE << 50,
            _ => ONE,
        }
    };
    let amount = u128::from(value).saturating_mul(factor(from)) / factor(to);
    u64::try_from(amount).unwrap_or(u64::MAX)
}

impl PartialEq for ResourceVector {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head
            && (INLINE..self.len().max(other.len())).all(|index| self.get(index) == other.get(index))
    }
}

impl Hash for ResourceVector {
    /// Equal vectors may differ in length by amounts of 0, so those at the end do not count.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.head.hash(state);
        let used = (INLINE..self.len()).rev().find(|index| self.get(*index) != 0);
        for index in INLINE..used.map_or(INLINE, |last| last + 1) {
            self.get(index).hash(state);
        }
    }
}

impl PartialOrd for ResourceVector {
    /// Component by component: `None` where some are more and some are less.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.fits_in(other), other.fits_in(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_longer_than_the_inline_part_count_as_well() {
        let long = ResourceVector::from_amounts(&[1, 2, 3, 4, 5, 6]);
        let short = ResourceVector::new(1, 2);
        assert_eq!(long.plus(&short), ResourceVector::from_amounts(&[2, 4, 3, 4, 5, 6]));
        assert!(short.fits_in(&long) && !long.fits_in(&short));
        assert_eq!(long.minus(&long).get(5), 0);
        assert!(long.minus(&long).is_zero());
        assert_eq!(short.partial_cmp(&ResourceVector::new(2, 1)), None);
    }

    #[test]
    fn units_are_converted_and_unknown_types_left_out() {
        let types = ResourceTypes::new([ResourceType { name: "disk".into(), units: "Gi".into() }]);
        let named = |name: &str, value, units: &str| ExtendedResource {
            name: name.into(),
            value,
            units: units.into(),
        };
        let resource = Resource {
            memory_mb: 1,
            virtual_cores: 2,
            extended: [named("disk", 2, "Ti"), named("ignored", 3, "")].into(),
        };
        let vector = types.to_vector(&resource);
        assert_eq!((vector.get(2), vector.len()), (2_048, 4));
        assert_eq!(&*types.to_resource(&vector).extended, [named("disk", 2_048, "Gi")]);
    }
}

//! Values that many nodes share (racks, versions, capabilities, label sets), kept once and counted.
//! Owns: [`Interner`]. Called by: `node_table`, `registration`, `heartbeat`, `containers`; on the shard's thread.
//! Does not: keep a value nobody uses: a peer that changes its rack with every registration grows nothing.
//! Invariants: an id in use names one value; entry 0 is the default value and lives for ever; ids depend on input only.

use core::borrow::Borrow;
use core::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// Names a value of one [`Interner`]. [`Interned::DEFAULT`] is the type's default value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Interned(u32);

impl Interned {
    /// The default value of the interner's type.
    pub(super) const DEFAULT: Self = Self(0);

    /// A dense index, for columns beside the interner.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    /// How many hold it; 0 = free.
    count: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Interner<T> {
    entries: Vec<Entry<T>>,
    index: HashTable<u32>,
    free: Vec<u32>,
    default: T,
}

impl<T: Hash + Eq + Default> Interner<T> {
    /// With only the default value.
    pub(super) fn new() -> Self {
        let entries = vec![Entry { value: T::default(), count: 1 }];
        Self { entries, index: HashTable::new(), free: Vec::new(), default: T::default() }
    }

    /// The id of `value`, which `make` builds when it is new. Give it back with [`Interner::release`].
    pub(super) fn intern<Q>(&mut self, value: &Q, make: impl FnOnce() -> T) -> Interned
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        if *value == *self.default.borrow() {
            return Interned::DEFAULT;
        }
        let hash = FxBuildHasher.hash_one(value);
        let entries = &self.entries;
        let same = |id: &u32| {
            entries.get(*id as usize).is_some_and(|entry| <T as Borrow<Q>>::borrow(&entry.value) == value)
        };
        if let Some(&id) = self.index.find(hash, same) {
            if let Some(entry) = self.entries.get_mut(id as usize) {
                entry.count += 1;
            }
            return Interned(id);
        }
        let entry = Entry { value: make(), count: 1 };
        let id = match self.free.pop() {
            Some(id) if (id as usize) < self.entries.len() => {
                self.entries[id as usize] = entry;
                id
            }
            _ => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let entries = &self.entries;
        self.index.insert_unique(hash, id, |id| {
            entries.get(*id as usize).map_or(0, |entry| FxBuildHasher.hash_one(entry.value.borrow()))
        });
        Interned(id)
    }

    /// The value behind an id.
    pub(super) fn value(&self, id: Interned) -> &T {
        self.entries.get(id.index()).map_or(&self.default, |entry| &entry.value)
    }

    /// One holder less.
    pub(super) fn release(&mut self, id: Interned) {
        if id == Interned::DEFAULT {
            return;
        }
        let Some(entry) = self.entries.get_mut(id.index()) else { return };
        debug_assert!(entry.count > 0, "released more often than interned");
        entry.count = entry.count.saturating_sub(1);
        if entry.count > 0 {
            return;
        }
        let value = core::mem::take(&mut entry.value);
        let hash = FxBuildHasher.hash_one(&value);
        if let Ok(found) = self.index.find_entry(hash, |other| *other == id.0) {
            found.remove();
        }
        self.free.push(id.0);
    }

    /// Heap used by the tables, without what the values point to.
    pub(super) fn heap_size(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<T>>()
            + self.index.allocation_size()
            + self.free.capacity() * 4
    }

    /// How many values are in use besides the default.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_once_and_forgotten_when_unused() {
        let mut interner = Interner::<Box<str>>::new();
        let intern = |interner: &mut Interner<Box<str>>, text: &str| interner.intern(text, || text.into());
        let a = intern(&mut interner, "a");
        assert_eq!(intern(&mut interner, "a"), a);
        let b = intern(&mut interner, "b");
        assert_ne!(a, b);
        assert_eq!((&**interner.value(a), &**interner.value(b), interner.len()), ("a", "b", 2));
        interner.release(a);
        assert_eq!(&**interner.value(a), "a");
        interner.release(a);
        assert_eq!(interner.len(), 1);
        assert_eq!(intern(&mut interner, "c"), a, "the entry is used again");
        assert_eq!(intern(&mut interner, ""), Interned::DEFAULT);
        for round in 0..10_000 {
            let id = intern(&mut interner, &format!("rack-{round}"));
            interner.release(id);
        }
        assert_eq!(interner.entries.len(), 4);
    }
}

//! Names that asks, nodes and users share (hosts, racks, users), kept once and counted.
//! Owns: [`Names`]. Called by: every table of the scheduler that would otherwise compare strings; on its thread.
//! Does not: keep a name nobody uses, so that an ApplicationMaster that invents hosts grows nothing when it stops.
//! Invariants: an id in use names one string; ids depend on input only. Ordered, not hashed: strangers choose the strings.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Names a string of one [`Names`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameId(u32);

impl NameId {
    /// A dense index, for columns beside the table.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    /// How many hold it; 0 = free.
    count: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Names {
    entries: Vec<Entry>,
    index: BTreeMap<Arc<str>, NameId>,
    free: Vec<NameId>,
}

impl Names {
    /// The id of a name, held once more. Give it back with [`Names::release`].
    pub(super) fn hold(&mut self, name: &str) -> NameId {
        if let Some(&id) = self.index.get(name) {
            self.entries[id.index()].count += 1;
            return id;
        }
        let shared: Arc<str> = name.into();
        let entry = Entry { name: Arc::clone(&shared), count: 1 };
        let id = if let Some(id) = self.free.pop() {
            self.entries[id.index()] = entry;
            id
        } else {
            self.entries.push(entry);
            NameId(self.entries.len() as u32 - 1)
        };
        self.index.insert(shared, id);
        id
    }

    /// The id of a name somebody holds.
    pub(super) fn find(&self, name: &str) -> Option<NameId> {
        self.index.get(name).copied()
    }

    /// Holds an id once more.
    pub(super) fn hold_again(&mut self, id: NameId) -> NameId {
        self.entries[id.index()].count += 1;
        id
    }

    /// Holds an id once less.
    pub(super) fn release(&mut self, id: NameId) {
        let entry = &mut self.entries[id.index()];
        entry.count -= 1;
        if entry.count == 0 {
            self.index.remove(&entry.name);
            entry.name = Arc::default();
            self.free.push(id);
        }
    }

    /// The string.
    pub(super) fn name(&self, id: NameId) -> &str {
        &self.entries[id.index()].name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lives_as_long_as_somebody_holds_it() {
        let mut names = Names::default();
        let a = names.hold("a");
        assert_eq!(names.hold("a"), a);
        let b = names.hold("b");
        names.release(a);
        assert_eq!((names.find("a"), names.name(b)), (Some(a), "b"));
        names.release(a);
        assert_eq!(names.find("a"), None);
        assert_eq!(names.hold("c"), a, "ids are used again");
    }
}

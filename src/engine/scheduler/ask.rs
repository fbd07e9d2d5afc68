//! What an attempt asks for under one key: a size, a count, and where.
//! Owns: [`KeyAsk`] and its rows. Called by: `demand` (rows come, stages change), `placement` (grants take away).
//! Does not: place; decide what may be placed now (`demand`). Thread: the scheduler's.
//! Invariants: the row for any place bounds the key; counts never go below 0; a grant takes from the rows of its node.

use super::container::{Locality, Relaxed};
use super::names::NameId;
use super::resource::ResourceVector;
use super::shape::{Reach, ShapeId};
use crate::engine::time::Instant;

/// A row for a host or a rack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaceRow {
    /// The host or rack.
    pub(super) name: NameId,
    /// Outstanding there.
    pub(super) count: u32,
    /// Racks: whether the rack will do. Hosts: always.
    pub(super) relax_locality: bool,
}

/// How far from the places it names an ask may be placed now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// On the hosts it names.
    #[default]
    Node,
    /// On their racks too.
    Rack,
    /// Anywhere.
    Any,
}

/// Shapes a spare ask keeps room for: one that names no place has one.
const SPARE_SHAPES_MAX: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct KeyAsk {
    /// Its partition.
    pub(super) partition: u16,
    /// Size of a container, rounded.
    pub(super) size: ResourceVector,
    /// Outstanding containers.
    pub(super) count: u32,
    /// Whether any node will do.
    pub(super) relax_locality: bool,
    /// It is the AM container.
    pub(super) is_am: bool,
    /// It named no label (and neither did its queue or application): it may use idle nodes of shared labels.
    pub(super) has_no_label: bool,
    /// Hosts it names, in the order of their numbers; with something outstanding.
    pub(super) hosts: Vec<PlaceRow>,
    /// Racks it names, in the order of their numbers; with something outstanding.
    pub(super) racks: Vec<PlaceRow>,
    /// Since when something is outstanding without a break.
    pub(super) since: Instant,
    /// Since when it waits for a near node.
    pub(super) waits_since: Instant,
    /// Since when it waits for the default partition.
    pub(super) shared_since: Instant,
    /// Where it is a guest: partition and shape.
    pub(super) guest_shapes: Vec<(u16, ShapeId)>,
    /// How far that has come.
    pub(super) stage: Stage,
    /// What its shapes were made for, besides its rows for hosts and racks: stage, and whether any node will do. `None` = it
    /// may not be placed now, and has none.
    pub(super) reached: Option<(Stage, bool)>,
    /// Its partition lists it as strict: it may be placed on some hosts or racks, and never elsewhere.
    pub(super) is_strict: bool,
    /// Nodes reserved for it.
    pub(super) reservations: Vec<u32>,
    /// Shapes it is registered with: of its hosts, then of its racks, then of any place.
    pub(super) shapes: Vec<ShapeId>,
    /// Deadlines it is listed under: when it looks further.
    pub(super) deadline: Option<Instant>,
}

/// Where the row of a name is, or would be. O(log rows): one ask may name every host of a cluster.
#[inline]
pub(super) fn place_of(rows: &[PlaceRow], name: NameId) -> Result<usize, usize> {
    rows.binary_search_by_key(&name, |row| row.name)
}

impl KeyAsk {
    /// A new one that begins now, in the memory of a spare one.
    pub(super) fn reuse(spare: Option<Box<Self>>, now: Instant) -> Box<Self> {
        let mut ask = spare.unwrap_or_default();
        (ask.since, ask.waits_since, ask.shared_since) = (now, now, now);
        ask
    }

    /// One that is done, to be kept for its memory. That of many places is given back.
    pub(super) fn into_spare(mut self: Box<Self>) -> Box<Self> {
        let mut shapes = core::mem::take(&mut self.shapes);
        shapes.clear();
        shapes.shrink_to(SPARE_SHAPES_MAX);
        *self = Self { shapes, ..Self::default() };
        self
    }

    /// Sets the row of a host or rack, or with a count of 0 takes it away. Returns the one there was.
    pub(super) fn set_row(rows: &mut Vec<PlaceRow>, row: PlaceRow) -> Option<PlaceRow> {
        match (place_of(rows, row.name), row.count) {
            (Ok(place), 0) => Some(rows.remove(place)),
            (Ok(place), _) => Some(core::mem::replace(&mut rows[place], row)),
            (Err(_), 0) => None,
            (Err(place), _) => {
                rows.insert(place, row);
                None
            }
        }
    }

    /// Where it may be placed now, in the order of its shapes.
    pub(super) fn reaches(&self) -> impl Iterator<Item = Reach> + '_ {
        let stage = self.reached.map(|(stage, _)| stage);
        let hosts = self.hosts.iter().filter(move |_| stage.is_some()).map(|host| Reach::Host(host.name));
        let racks = self.racks.iter().filter(move |rack| stage >= Some(Stage::Rack) && rack.relax_locality);
        let any = (self.reached == Some((Stage::Any, true))).then_some(Reach::Any);
        hosts.chain(racks.map(|rack| Reach::Rack(rack.name))).chain(any)
    }

    /// Whether it names a place.
    #[inline]
    pub(super) fn has_places(&self) -> bool {
        !self.hosts.is_empty() || !self.racks.is_empty()
    }

    /// How near a node is.
    #[inline]
    pub(super) fn locality(&self, host: NameId, rack: NameId) -> Locality {
        if place_of(&self.hosts, host).is_ok() {
            Locality::NodeLocal
        } else if place_of(&self.racks, rack).is_ok() {
            Locality::RackLocal
        } else {
            Locality::OffSwitch
        }
    }

    /// Whether its rows allow a node, after however long a wait.
    pub(super) fn may_be_placed_on(&self, host: NameId, rack: NameId) -> bool {
        self.relax_locality || place_of(&self.hosts, host).is_ok() || self.relaxed(rack).to_rack
    }

    /// How strict it is about a container on this rack.
    #[inline]
    pub(super) fn relaxed(&self, rack: NameId) -> Relaxed {
        let row = place_of(&self.racks, rack).ok().map(|place| &self.racks[place]);
        Relaxed { to_any: self.relax_locality, to_rack: row.is_some_and(|row| row.relax_locality) }
    }

    /// Takes one container away (`is_grant`) or puts it back; names of rows that are empty now are to be released.
    #[inline]
    pub(super) fn take(
        &mut self,
        locality: Locality,
        host: NameId,
        rack: NameId,
        emptied: &mut Vec<(bool, NameId)>,
    ) {
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            emptied.extend(self.hosts.drain(..).map(|row| (true, row.name)));
            emptied.extend(self.racks.drain(..).map(|row| (false, row.name)));
            return;
        }
        let mut take = |rows: &mut Vec<PlaceRow>, name: NameId, is_host: bool| {
            if let Ok(place) = place_of(rows, name) {
                rows[place].count = rows[place].count.saturating_sub(1);
                if rows[place].count == 0 {
                    rows.remove(place);
                    emptied.push((is_host, name));
                }
            }
        };
        if locality == Locality::NodeLocal {
            take(&mut self.hosts, host, true);
        }
        if locality <= Locality::RackLocal {
            take(&mut self.racks, rack, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ask that named 131,072 hosts kept 1.5 MiB when it was done, for as long as it was spare.
    #[test]
    fn a_spare_ask_keeps_no_room_for_places() {
        let mut ask = KeyAsk::reuse(None, Instant::from_millis(1));
        let row = PlaceRow { name: NameId::default(), count: 1, relax_locality: true };
        ask.hosts = vec![row; 10_000];
        ask.shapes = vec![ShapeId(0); 10_000];
        ask.count = 1;
        ask.take(Locality::OffSwitch, NameId::default(), NameId::default(), &mut Vec::new());
        assert!(ask.hosts.capacity() >= 10_000);
        let spare = ask.into_spare();
        assert_eq!(spare.hosts.capacity(), 0);
        assert!(spare.shapes.is_empty() && spare.shapes.capacity() <= 2 * SPARE_SHAPES_MAX);
        let again = KeyAsk::reuse(Some(spare), Instant::from_millis(2));
        assert_eq!((again.count, again.since, again.waits_since), (0, Instant::from_millis(2), again.since));
    }
}

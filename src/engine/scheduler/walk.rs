//! The search for a node on behalf of an application that does not want every node (a blacklist), in bounded pieces.
//! Owns: [`Walk`], and [`Partition::search`]. Called by: `placement` and `sharing`; on the scheduler's thread.
//! Does not: know blacklists: its callers say which node they accept. Invariants: a piece passes at most
//! [`REJECTED_MAX`] nodes, all pieces of a step [`REJECTED_PER_STEP`]; a walk is complete only when no node that had room
//! was left out, those that freed room meanwhile included.
//!
//! An application may name so many nodes that the walk to the one it accepts passes nearly all of the cluster. It goes
//! once around in pieces, one with each step, while others are served; where it ends, it goes on for the next container.
//! When it came around in vain, only nodes that free room are looked at.

use super::names::NameId;
use super::node_index::FANOUT;
use super::partition::Partition;
use super::shape::{Reach, ShapeId};

/// Most nodes with room that one piece of a walk passes because the application does not want them.
const REJECTED_MAX: u32 = 512;

/// Most nodes that all walks of a partition pass in one step: under a millisecond.
pub(super) const REJECTED_PER_STEP: u32 = 4_096;

/// Most nodes that freed room and are remembered for a walk; beyond, it begins anew.
const NOTED_MAX: usize = 32;

/// Who walks: an attempt's row, and whether it is a guest of the partition (`sharing`).
pub(super) type Walker = (u32, bool);

/// How far a search came. Positions are slots, or those of the rack's groups one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Walk {
    /// Where it began.
    begin: usize,
    /// Where it goes on.
    next: usize,
    /// It passed the end and is on its way to `begin`.
    is_wrapped: bool,
    /// It came around in vain.
    pub(super) is_complete: bool,
    /// The walker is out of the order until it is looked at again.
    pub(super) is_out: bool,
    /// Slots that have freed room since.
    noted: Vec<u32>,
}

impl Walk {
    /// A slot has more room; true where the walker has to be looked at again.
    pub(super) fn note(&mut self, slot: u32) -> bool {
        if !self.noted.contains(&slot) {
            if self.noted.len() == NOTED_MAX {
                self.begin_anew(self.next);
                return true;
            }
            self.noted.push(slot);
        }
        self.is_complete
    }

    /// Whether there is something to look at.
    pub(super) fn is_worth_a_look(&self) -> bool {
        !self.is_complete || !self.noted.is_empty()
    }

    fn begin_anew(&mut self, at: usize) {
        (self.begin, self.next, self.is_wrapped, self.is_complete) = (at, at, false, false);
        self.noted.clear();
    }
}

/// What a piece of a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// This slot.
    Found(usize),
    /// Nothing yet: it goes on with the next step.
    PutOff,
    /// No node with room is accepted.
    Avoided,
    /// No node has room.
    Nothing,
}

impl Partition {
    /// As [`Partition::find_slot`], for a walker that accepts some nodes only.
    pub(super) fn search(
        &mut self,
        (shape, walker): (ShapeId, Walker),
        spread: bool,
        on_host: impl Iterator<Item = usize> + Clone,
        accepts: &mut impl FnMut(u32) -> bool,
    ) -> Search {
        let of = self.shapes.get(shape);
        let is_bounded = match of.reach {
            // What it remembers is all there is.
            Reach::Any => of.is_hinted,
            Reach::Rack(_) => false,
            Reach::Host(_) => true,
        };
        if is_bounded {
            if let Some(slot) = self.find_slot(shape, false, on_host.clone(), accepts) {
                self.shapes.take_walk(shape, walker);
                return Search::Found(slot);
            }
            return self.came_around((shape, walker), on_host);
        }
        let walk = self.shapes.take_walk(shape, walker);
        let is_known = walk.is_some();
        let mut walk = walk.unwrap_or_else(|| {
            let begin = if spread { self.spread_from() } else { 0 };
            Walk { begin, next: begin, ..Walk::default() }
        });
        self.drop_rejected(shape, &mut walk, accepts);
        if let Some(slot) = walk.noted.first().copied() {
            self.shapes.keep_walk(shape, walker, walk);
            return Search::Found(slot as usize);
        }
        if walk.is_complete {
            self.shapes.keep_walk(shape, walker, walk);
            return self.came_around((shape, walker), on_host);
        }
        let allowed = REJECTED_MAX.min(self.rejections_left);
        let mut rejected = 0;
        // A group at least, or a rack's walk would not get on.
        let found = if allowed > FANOUT as u32 {
            self.go_on(shape, &mut walk, allowed, &mut rejected, accepts)
        } else {
            Search::PutOff
        };
        self.rejections_left -= rejected;
        match found {
            Search::Found(slot) => {
                // The next container is looked for from here; a short way is gone again, by the order of nodes.
                if is_known || rejected >= REJECTED_MAX / 2 {
                    walk.begin_anew(walk.next);
                    self.shapes.keep_walk(shape, walker, walk);
                } else if spread {
                    self.spread_to(slot + 1);
                }
                found
            }
            Search::PutOff => {
                self.shapes.keep_walk(shape, walker, walk);
                found
            }
            Search::Avoided | Search::Nothing => self.came_around((shape, walker), on_host),
        }
    }

    /// Nothing was found all around: is there something for others?
    fn came_around(
        &mut self,
        (shape, walker): (ShapeId, Walker),
        on_host: impl Iterator<Item = usize>,
    ) -> Search {
        if self.find_slot(shape, false, on_host, &mut |_| true).is_none() {
            self.shapes.take_walk(shape, walker);
            return Search::Nothing;
        }
        let walk = Walk { is_complete: true, ..Walk::default() };
        self.shapes.keep_walk(shape, walker, walk);
        Search::Avoided
    }

    /// One piece of a walk, of at most `allowed` nodes that are not accepted.
    fn go_on(
        &self,
        shape: ShapeId,
        walk: &mut Walk,
        allowed: u32,
        rejected: &mut u32,
        accepts: &mut impl FnMut(u32) -> bool,
    ) -> Search {
        let length = self.positions(shape);
        loop {
            let end = if walk.is_wrapped { walk.begin.min(length) } else { length };
            let mut is_stopped = false;
            let found = self.first_from(shape, walk.next, end, &mut |slot| {
                is_stopped = *rejected >= allowed;
                let is_end = is_stopped || accepts(self.node_at(slot));
                *rejected += u32::from(!is_end);
                is_end
            });
            if let Some((position, slot)) = found {
                walk.next = position;
                return if is_stopped { Search::PutOff } else { Search::Found(slot) };
            }
            if walk.is_wrapped {
                return Search::Avoided;
            }
            (walk.is_wrapped, walk.next) = (true, 0);
        }
    }

    /// Forgets the slots that a walker does not want, or that have no room any more.
    pub(super) fn drop_rejected(
        &self,
        shape: ShapeId,
        walk: &mut Walk,
        accepts: &mut impl FnMut(u32) -> bool,
    ) {
        walk.noted.retain(|slot| self.has_room(shape, *slot) && accepts(self.node_at(*slot as usize)));
    }

    /// Whether a walker that is out of the order has something to look at.
    pub(super) fn is_worth_a_look(
        &mut self,
        shape: ShapeId,
        walker: Walker,
        accepts: &mut impl FnMut(u32) -> bool,
    ) -> bool {
        // One that has no walk has another blacklist now.
        let Some(mut walk) = self.shapes.take_walk(shape, walker) else { return true };
        self.drop_rejected(shape, &mut walk, accepts);
        let is_worth = walk.is_worth_a_look();
        self.shapes.keep_walk(shape, walker, walk);
        is_worth
    }

    /// Takes a walker out of the order, or notes that it is back.
    pub(super) fn set_out(&mut self, shape: ShapeId, row: u32, is_out: bool) {
        if let Some(walk) = self.shapes.get_mut(shape).walks.get_mut(&(row, false)) {
            walk.is_out = is_out;
        }
    }

    /// A slot has more room: what walked past it has to look there. Returns those that are out of the order.
    pub(super) fn note_room(&mut self, slot: u32, (host, rack): (NameId, NameId)) -> Vec<(ShapeId, u32)> {
        let mut again = Vec::new();
        let walked: Vec<ShapeId> = self.shapes.walked().collect();
        for shape in walked {
            let is_reached = match self.shapes.get(shape).reach {
                Reach::Any => true,
                Reach::Rack(of) => of == rack,
                Reach::Host(of) => of == host,
            };
            if !is_reached || !self.has_room(shape, slot) {
                continue;
            }
            for ((row, is_guest), walk) in &mut self.shapes.get_mut(shape).walks {
                if walk.note(slot) && walk.is_out && !is_guest {
                    again.push((shape, *row));
                }
            }
        }
        again
    }
}

//! What the queues of a partition want of it: shapes, from the leaf that wants one up to the root.
//! Owns: the changes of offers. Called by: `demand` (asks come and go), `placement` (a shape fits nowhere), `nodes` (it fits
//! again); on the scheduler's thread. Does not: decide what may be wanted. Invariants: a queue offers a shape exactly when
//! a leaf at or below it does; a leaf keeps to itself what could never be placed for it; open shapes of racks and hosts
//! are counted up to the root.

use super::super::attempt::AppKey;
use super::super::queue::{LeafUserIndex, QueueIndex, Queues};
use super::super::shape::ShapeId;
use super::{Measures, Partition};
use crate::engine::time::Instant;

impl Partition {
    /// Opens or closes a shape.
    pub(in crate::engine::scheduler) fn set_open(
        &mut self,
        now: Instant,
        queues: &Queues,
        shape: ShapeId,
        is_open: bool,
    ) {
        let of = self.shapes.get(shape);
        if !is_open && !of.was_closed && of.bit.is_some() {
            self.look_again_for_nodes_to_hold();
        }
        if !self.shapes.set_open(now, shape, is_open) || self.shapes.get(shape).bit.is_some() {
            return;
        }
        for leaf in self.shapes.get(shape).leaves.clone() {
            self.count_open_local(queues, leaf, shape, is_open);
        }
    }

    fn count_open_local(&mut self, queues: &Queues, leaf: QueueIndex, shape: ShapeId, is_more: bool) {
        if let Some(leaf) = self.leaf_mut(leaf) {
            if is_more {
                leaf.open_local.insert(shape);
            } else {
                leaf.open_local.remove(shape);
            }
        }
        for queue in &queues.get(leaf).chain {
            let count = &mut self.shares[*queue as usize].open_local;
            *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// Whether a container of a shape could be placed for a leaf were everything empty.
    ///
    /// Differs from YARN: there an ask that its queue can never hold keeps back all others of the queue, because the
    /// first that does not fit below the bound ends the walk. Such an ask is passed over.
    pub(in crate::engine::scheduler) fn may_ever_fit(
        &self,
        measures: &Measures,
        queue: QueueIndex,
        shape: ShapeId,
    ) -> bool {
        let size = &self.shapes.get(shape).size;
        // A parent's bound is never less than the leaf's.
        measures.calculator.fits_in(size, &self.share(queue).capacity.effective_max)
            && self.has_node_for(measures.calculator, size)
    }

    /// The bound of a leaf is another, or the sizes of the nodes are: what it wants may have become possible, or (unless
    /// `is_more`) impossible.
    pub(super) fn reconsider(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
        is_more: bool,
    ) {
        let Some(leaf) = self.leaf(queue) else { return };
        let wanted: Vec<ShapeId> = if is_more {
            leaf.hopeless.iter().copied().collect()
        } else {
            leaf.demand.keys().copied().collect()
        };
        for shape in wanted {
            let was = self.leaf(queue).is_some_and(|leaf| !leaf.hopeless.contains(&shape));
            if was != self.may_ever_fit(measures, queue, shape) {
                // Takes back what was said, and says it anew.
                self.offer(queues, measures, queue, shape, false);
                self.offer(queues, measures, queue, shape, true);
            }
        }
    }

    /// A leaf begins to want a shape, or ceases to.
    pub(super) fn offer(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        queue: QueueIndex,
        shape: ShapeId,
        is_offered: bool,
    ) {
        let is_hopeless = is_offered && !self.may_ever_fit(measures, queue, shape);
        if let Some(leaf) = self.leaf_mut(queue) {
            if is_hopeless {
                leaf.hopeless.insert(shape);
                return;
            }
            if !is_offered && leaf.hopeless.remove(&shape) {
                return;
            }
        }
        let of = self.shapes.get_mut(shape);
        if let Some(bit) = of.bit {
            let mut chain = queues.get(queue).chain.iter();
            if let Some(leaf) = chain.next() {
                self.shares[*leaf as usize].offers.set(bit, is_offered);
            }
            for parent in chain {
                if !self.shares[*parent as usize].count_offer(bit, is_offered) {
                    break;
                }
            }
            return;
        }
        if is_offered {
            of.leaves.insert(queue);
        } else {
            of.leaves.remove(&queue);
        }
        if of.is_open {
            self.count_open_local(queues, queue, shape, is_offered);
        }
    }

    /// An attempt wants (or does not want any more) containers of a shape.
    pub(in crate::engine::scheduler) fn want(
        &mut self,
        queues: &Queues,
        measures: &Measures,
        (queue, user): (QueueIndex, LeafUserIndex),
        (shape, key): (ShapeId, AppKey),
        is_wanted: bool,
    ) {
        let Some(leaf) = self.leaf_mut(queue) else { return };
        let weight = queues.leaf(queue).map_or(1.0, |leaf| leaf.users[user as usize].weight);
        leaf.user_mut(user, weight);
        let change = leaf.change_wanted(user, shape, |wanted| {
            if is_wanted {
                wanted.insert(key);
            } else {
                wanted.remove(&key);
            }
        });
        leaf.limit_block = None;
        if let Some(is_offered) = change {
            self.offer(queues, measures, queue, shape, is_offered);
        }
        // What is withdrawn may have kept back what is behind it, in its queue and beside it.
        self.is_dirty = true;
        if is_wanted && !self.shapes.get(shape).is_open {
            self.look_again_for_nodes_to_hold();
        }
    }
}

//! What the queues of a partition want of it: shapes, from the leaf that wants one up to the root.
//! Owns: the changes of offers. Called by: `demand` (asks come and go), `placement` (a shape fits nowhere), `nodes` (it fits
//! again); on the scheduler's thread. Does not: decide what may be wanted. Invariants: a queue offers a shape exactly when
//! a leaf at or below it does; open shapes of racks and hosts are counted up to the root.

use super::super::attempt::AppKey;
use super::super::queue::{LeafUserIndex, QueueIndex, Queues};
use super::super::shape::ShapeId;
use super::Partition;
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
                leaf.open_local.remove(&shape);
            }
        }
        for queue in &queues.get(leaf).chain {
            let count = &mut self.shares[*queue as usize].open_local;
            *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    pub(super) fn offer(&mut self, queues: &Queues, queue: QueueIndex, shape: ShapeId, is_offered: bool) {
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
        queue: QueueIndex,
        user: LeafUserIndex,
        shape: ShapeId,
        key: AppKey,
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
            self.offer(queues, queue, shape, is_offered);
        }
        self.is_dirty |= is_wanted;
        if is_wanted && !self.shapes.get(shape).is_open {
            (self.reserve_after, self.reserve_pause) = (0, 0);
        }
    }
}

//! Many producers, one consumer, over `crossbeam`'s `ArrayQueue`. For control messages, never per beat: 20 times the
//! cost of a batch through an SPSC ring under contention.
//! Called by: any thread (offer), the owning role (poll). Does not: block.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::Full;

/// A queue many threads may offer to. Clones share it.
#[derive(Debug)]
pub struct MpscQueue<T>(Arc<ArrayQueue<T>>);

impl<T> Clone for MpscQueue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> MpscQueue<T> {
    /// A queue for `capacity` items.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(ArrayQueue::new(capacity.max(1))))
    }

    /// Sends an item.
    ///
    /// # Errors
    /// [`Full`] with the item.
    pub fn offer(&self, item: T) -> Result<(), Full<T>> {
        self.0.push(item).map_err(Full)
    }

    /// The oldest item. Only the owning role calls it.
    #[must_use]
    pub fn poll(&self) -> Option<T> {
        self.0.pop()
    }

    /// True when there is nothing to poll.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let queue = MpscQueue::new(2);
        assert_eq!((queue.offer(1), queue.offer(2), queue.offer(3)), (Ok(()), Ok(()), Err(Full(3))));
        assert_eq!((queue.poll(), queue.poll(), queue.poll()), (Some(1), Some(2), None));
        assert!(queue.is_empty());
    }
}

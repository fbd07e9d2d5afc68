//! One producer, one consumer, over `rtrb`. Wait-free on both ends.
//! Called by: the two threads that hold the ends. Does not: block or allocate after creation.

use super::Full;

/// A ring for `capacity` items.
#[must_use]
pub fn spsc<T>(capacity: usize) -> (SpscProducer<T>, SpscConsumer<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity.max(1));
    (SpscProducer(producer), SpscConsumer(consumer))
}

/// The sending end.
#[derive(Debug)]
pub struct SpscProducer<T>(rtrb::Producer<T>);

impl<T> SpscProducer<T> {
    /// Sends an item.
    ///
    /// # Errors
    /// [`Full`] with the item.
    pub fn offer(&mut self, item: T) -> Result<(), Full<T>> {
        self.0.push(item).map_err(|rtrb::PushError::Full(item)| Full(item))
    }

    /// True when the next [`SpscProducer::offer`] succeeds.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.0.is_full()
    }

    /// Items on their way.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.buffer().capacity() - self.0.slots()
    }

    /// True when the consumer is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct SpscConsumer<T>(rtrb::Consumer<T>);

impl<T> SpscConsumer<T> {
    /// The oldest item.
    pub fn poll(&mut self) -> Option<T> {
        self.0.pop().ok()
    }

    /// True when there is nothing to poll. Cost: one load of the producer's index.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Items waiting.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.slots()
    }

    /// True when the producer is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_like_a_bounded_queue(capacity in 1_usize..9, steps in prop::collection::vec(any::<bool>(), 0..200)) {
            let (mut producer, mut consumer) = spsc(capacity);
            let mut oracle = VecDeque::new();
            for (item, is_offer) in steps.into_iter().enumerate() {
                if is_offer {
                    let expected = if oracle.len() < capacity { oracle.push_back(item); Ok(()) } else { Err(Full(item)) };
                    prop_assert_eq!(producer.offer(item), expected);
                } else {
                    prop_assert_eq!(consumer.poll(), oracle.pop_front());
                }
                prop_assert_eq!(consumer.depth(), oracle.len());
                prop_assert_eq!(producer.depth(), oracle.len());
                prop_assert_eq!(producer.has_room(), oracle.len() < capacity);
                prop_assert_eq!(consumer.is_empty(), oracle.is_empty());
            }
        }
    }

    #[test]
    fn nothing_is_lost_or_reordered_between_two_threads() {
        const COUNT: u64 = 100_000;
        let (mut producer, mut consumer) = spsc(64);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for item in 0..COUNT {
                    let mut item = item;
                    while let Err(Full(back)) = producer.offer(item) {
                        item = back;
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < COUNT {
                match consumer.poll() {
                    Some(item) => {
                        assert_eq!(item, expected);
                        expected += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
    }
}

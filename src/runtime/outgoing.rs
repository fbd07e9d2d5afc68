//! What a role says over a ring that may be full: kept in order until there is room.
//! Owns: [`Outgoing`]. Called by: the duty cycles of the application manager's and the scheduler's role, on their threads.
//! Does not: wait, or bound what is kept: the role takes no input that makes more of it while something is held up.
//! Invariants: messages leave in the order they were put in; what nobody reads any more is dropped.

use std::collections::VecDeque;

use crate::ring::{Full, SpscProducer};

/// See the module.
pub(super) struct Outgoing<T> {
    ring: SpscProducer<T>,
    waiting: VecDeque<T>,
    sent: u64,
}

impl<T> Outgoing<T> {
    pub(super) const fn new(ring: SpscProducer<T>) -> Self {
        Self { ring, waiting: VecDeque::new(), sent: 0 }
    }

    /// Puts a message behind the others.
    pub(super) fn push(&mut self, message: T) {
        self.waiting.push_back(message);
    }

    /// Puts messages behind the others.
    pub(super) fn extend(&mut self, messages: impl IntoIterator<Item = T>) {
        self.waiting.extend(messages);
    }

    /// Sends what there is room for. `is_over` says that the reader takes nothing more. True if anything was tried.
    pub(super) fn send(&mut self, is_over: impl Fn() -> bool) -> bool {
        let has_something = !self.waiting.is_empty();
        while let Some(message) = self.waiting.pop_front() {
            match self.ring.offer(message) {
                Ok(()) => self.sent += 1,
                Err(Full(_)) if self.ring.is_abandoned() || is_over() => {}
                Err(Full(message)) => {
                    self.waiting.push_front(message);
                    break;
                }
            }
        }
        has_something
    }

    /// Something found no room.
    pub(super) fn is_held_up(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Something found no room before and would find it now.
    pub(super) fn can_send(&self) -> bool {
        self.is_held_up() && self.ring.has_room()
    }

    /// How many messages are held up.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Messages that went into the ring.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// The reader is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::spsc;

    #[test]
    fn messages_wait_in_order_and_are_dropped_when_nobody_reads() {
        let (ring, mut reader) = spsc(2);
        let mut out = Outgoing::new(ring);
        assert!(!out.send(|| false), "there is nothing to send");
        out.extend([1, 2, 3]);
        out.push(4);
        assert!(out.send(|| false));
        assert!((out.waiting(), out.sent(), out.can_send()) == (2, 2, false));
        assert_eq!(reader.poll(), Some(1));
        assert!(out.can_send() && out.send(|| false));
        assert_eq!([reader.poll(), reader.poll()], [Some(2), Some(3)]);
        out.extend([5, 6, 7]);
        out.send(|| true);
        assert!(!out.is_held_up(), "what has no room is not kept for one that has ended");
        assert_eq!([reader.poll(), reader.poll()], [Some(4), Some(5)]);
    }
}

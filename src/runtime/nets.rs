//! An engine role's ends towards every net thread: frames in, answers out, and what nobody asked for beside them.
//! Owns: [`Nets`]. Called by: each role's duty cycle, on its thread. Does not: know what a frame says, wait.
//! Invariant: what a role says to one net thread leaves in the order it was said, answers and unasked ones alike, where
//! they are [`Unasked::Kept`].

use super::proxy::NetPort;
use crate::engine::batch::{AnswerBatch, FrameBatch};

/// Frame batches taken from one net thread in a cycle.
const BATCHES_PER_CYCLE: usize = 8;

/// Bytes of what was not asked for that wait for one net thread.
pub(super) const WAITING_SIZE_MAX: usize = 1024 * 1024;

/// What becomes of frames nobody waits for, or that answer requests of earlier batches, when a net thread has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// Pushes that may be lost: dropped beyond the bound, counted. Something later carries the same.
    Droppable,
    /// Pushes that must arrive. The role asks [`Nets::are_behind`] and says no more meanwhile.
    Kept,
    /// Answers that come late. As kept; and each ends a request.
    LateAnswers,
}

/// See the module.
pub(super) struct Nets {
    nets: Vec<Net>,
    unasked: Unasked,
}

/// A role's end towards one net thread, and what is under way there.
struct Net {
    port: NetPort,
    /// A batch that was not taken whole: its answers filled a batch.
    in_hand: Option<(FrameBatch, usize)>,
    /// What nobody asked for, until there is an empty batch.
    waiting: AnswerBatch,
    has_sent: bool,
}

impl Net {
    /// True when a cycle would get further: without an empty batch for answers it would not.
    fn has_work(&self) -> bool {
        let has_input = self.in_hand.is_some() || self.port.has_frames() || !self.waiting.is_empty();
        has_input && self.port.has_empty() && !self.port.is_gone()
    }

    /// True when all that came is answered, or nobody is there to be answered.
    fn is_drained(&self) -> bool {
        self.port.is_gone() || (self.in_hand.is_none() && self.waiting.is_empty() && self.port.is_drained())
    }

    fn is_behind(&self) -> bool {
        !self.port.is_gone() && self.waiting.size() >= WAITING_SIZE_MAX
    }

    fn send_waiting(&mut self, unasked: Unasked) {
        if self.waiting.is_empty() {
            return;
        }
        if self.port.is_gone() {
            self.waiting.clear();
            return;
        }
        if let Some(mut batch) = self.port.poll_empty() {
            core::mem::swap(&mut batch, &mut self.waiting);
            if unasked != Unasked::LateAnswers {
                batch.mark_as_pushes();
            }
            self.port.offer_answers(batch);
            self.has_sent = true;
        }
    }
}

impl Nets {
    pub(super) fn new(ports: Vec<NetPort>, unasked: Unasked) -> Self {
        let nets = ports.into_iter().map(|port| Net {
            port,
            in_hand: None,
            waiting: AnswerBatch::default(),
            has_sent: false,
        });
        Self { nets: nets.collect(), unasked }
    }

    /// Takes frames of every net thread, at most some batches of each. `handle` answers a batch from an index on and
    /// says how many frames it took; what is left waits for the next cycle.
    /// Returns how many frames were taken.
    pub(super) fn take_frames(
        &mut self,
        mut handle: impl FnMut(&FrameBatch, usize, &mut AnswerBatch) -> usize,
    ) -> usize {
        let mut items = 0;
        for net in self.nets.iter_mut().filter(|net| !net.port.is_gone()) {
            if self.unasked != Unasked::Droppable {
                net.send_waiting(self.unasked);
                if !net.waiting.is_empty() {
                    // What was said before would be overtaken.
                    continue;
                }
            }
            for _ in 0..BATCHES_PER_CYCLE {
                if net.in_hand.is_none() && !net.port.has_frames() {
                    break;
                }
                // No empty batch: the net thread is behind with writing. It has to catch up first.
                let Some(mut answers) = net.port.poll_empty() else { break };
                let Some((batch, first)) =
                    net.in_hand.take().or_else(|| net.port.poll_frames().map(|batch| (batch, 0)))
                else {
                    break;
                };
                let taken = handle(&batch, first, &mut answers);
                items += taken;
                net.port.offer_answers(answers);
                net.has_sent = true;
                if first + taken < batch.len() && taken > 0 {
                    net.in_hand = Some((batch, first + taken));
                } else {
                    net.port.return_frames(batch);
                }
            }
        }
        items
    }

    /// Takes what nobody asked for, and empties `unasked`. Returns how many frames were dropped.
    pub(super) fn say(&mut self, unasked: &mut AnswerBatch) -> u64 {
        let mut dropped = 0;
        let is_bounded = self.unasked == Unasked::Droppable;
        for answer in unasked.answers() {
            match self.nets.get_mut(usize::from(answer.stream.net())) {
                Some(net) if !is_bounded || net.waiting.size() < WAITING_SIZE_MAX => {
                    net.waiting.push(answer.stream, unasked.answer_bytes(answer));
                }
                _ => dropped += 1,
            }
        }
        unasked.clear();
        dropped
    }

    /// Sends what waits, as far as there is room, and wakes the net threads that were sent something in this cycle.
    pub(super) fn send(&mut self) {
        for net in &mut self.nets {
            net.send_waiting(self.unasked);
            if core::mem::take(&mut net.has_sent) {
                net.port.wake();
            }
        }
    }

    /// True when so much waits for a net thread that nothing more should be said unasked. It ends when that thread takes
    /// its answers, which it does whatever its peers do, or is gone.
    pub(super) fn are_behind(&self) -> bool {
        self.nets.iter().any(Net::is_behind)
    }

    /// True when a cycle would get further.
    pub(super) fn has_work(&self) -> bool {
        self.nets.iter().any(Net::has_work)
    }

    /// True when what waits could be sent: for a role that takes no frames at the moment.
    pub(super) fn can_send(&self) -> bool {
        self.nets.iter().any(|net| !net.waiting.is_empty() && net.port.has_empty() && !net.port.is_gone())
    }

    /// True when every net thread has sent its last frame and all are answered.
    pub(super) fn are_drained(&self) -> bool {
        self.nets.iter().all(Net::is_drained)
    }

    /// Bytes that wait for a net thread.
    #[cfg(test)]
    pub(super) fn waiting_size(&self, net: usize) -> usize {
        self.nets[net].waiting.size()
    }

    /// True while a batch of a net thread was not taken whole.
    #[cfg(test)]
    pub(super) fn has_in_hand(&self, net: usize) -> bool {
        self.nets[net].in_hand.is_some()
    }

    /// Frame batches waiting.
    pub(super) fn depth(&self) -> usize {
        self.nets.iter().map(|net| net.port.depth()).sum()
    }
}

//! The clients' looks at the queues: their shares over time, for the report.
//! Owns: the look under way, and when the next is due. Called by: the driver (writes), the client (answers).
//! Does not: keep more than a bounded number of samples, or watch applications. Thread: the client's.
//! Invariants: one page is out at a time; a page that is refused for good is not asked for again.

use std::sync::Arc;

use heddle_wire::application_client::{GetQueueInfoRequest, GetQueueInfoResponse};
use heddle_wire::frame::Frame;
use heddle_wire::limits::QUEUES_PER_PAGE_MAX;
use heddle_wire::{Flags, RejectCode, decode, message, write_frame};

use super::{SimulatedClient, WAIT_US};

/// Marks the correlation id of a look at the queues.
pub(super) const QUEUES: u64 = 1 << 63;

/// Most samples of the queues; past it every second one is dropped and the next ones are taken half as often.
const SAMPLES_MAX: usize = 600;

/// The queues at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSample {
    /// When it was asked for.
    pub at_us: u64,
    /// Of every queue, parents before children: path, is a leaf, guaranteed share of the cluster, used share, containers
    /// wanted.
    pub queues: Vec<QueueShare>,
}

/// A queue at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueShare {
    /// Its path.
    pub path: Arc<str>,
    /// It holds applications.
    pub is_leaf: bool,
    /// Guaranteed share of the cluster.
    pub guaranteed: f32,
    /// Used share of the cluster.
    pub used: f32,
    /// Containers wanted and not granted.
    pub pending: u64,
}

/// The look at the queues that is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    is_awaiting: bool,
    expected: u64,
    next_us: u64,
    every_us: u64,
    start: u32,
    sample: Vec<QueueShare>,
    began_us: u64,
    /// The queues are not told; it is not asked again.
    is_refused: bool,
}

impl Look {
    /// Looks so often; 0 = never.
    pub(super) fn new(every_us: u64) -> Self {
        Self { every_us, ..Self::default() }
    }

    /// The first one is due.
    pub(super) const fn begin(&mut self, now_us: u64) {
        self.next_us = now_us;
    }

    /// When the next page is to be asked for; `None` = not any more.
    pub(super) fn next_us(&self) -> Option<u64> {
        (self.every_us > 0 && !self.is_refused).then_some(self.next_us)
    }
}

impl SimulatedClient {
    /// Writes the next page of a look at the queues when it is time. False when it is not.
    pub fn write_look(&mut self, now_us: u64, out: &mut Vec<u8>) -> bool {
        let look = &mut self.look;
        if look.every_us == 0 || look.is_refused || self.began_us.is_none() || now_us < look.next_us {
            return false;
        }
        if look.start == 0 && !look.is_awaiting {
            look.began_us = now_us;
        }
        self.serial = self.serial.wrapping_add(1) & 0x7fff_ffff;
        look.expected = QUEUES | u64::from(self.serial);
        look.is_awaiting = true;
        look.next_us = now_us.saturating_add(self.spec.retry_after_us);
        let request = GetQueueInfoRequest {
            queue_name: "root".to_owned(),
            include_child_queues: true,
            is_recursive: true,
            start: look.start,
            limit: QUEUES_PER_PAGE_MAX,
        };
        write_frame(out, Flags::REQUEST, look.expected, 0, &request);
        true
    }

    pub(super) fn handle_look(&mut self, now_us: u64, frame: &Frame<'_>) {
        if !self.look.is_awaiting || self.look.expected != frame.header.correlation_id {
            return;
        }
        self.look.is_awaiting = false;
        if frame.header.flags.is_reject() {
            if let Ok(reject) = message::decode_reject(frame.header.opcode, frame.body()) {
                let can_help = RejectCode::from_number(reject.code).is_some_and(RejectCode::is_retryable);
                self.look.is_refused = !can_help;
                self.counters.refusals.note(&reject.message);
            }
            (self.look.start, self.look.next_us) = (0, now_us.saturating_add(WAIT_US));
            self.look.sample.clear();
            return;
        }
        let Ok(answer) = decode::<GetQueueInfoResponse>(frame.body()) else {
            self.counters.unexpected += 1;
            return;
        };
        let paths = self.samples.last().map(|sample| sample.queues.as_slice()).unwrap_or_default();
        for queue in &answer.queues {
            let shares = queue.configurations.iter().find(|shares| shares.partition_name.is_empty());
            let known = paths.get(self.look.sample.len()).filter(|known| *known.path == *queue.queue_path);
            self.look.sample.push(QueueShare {
                path: known.map_or_else(|| queue.queue_path.as_str().into(), |known| Arc::clone(&known.path)),
                is_leaf: queue.is_leaf,
                guaranteed: shares.map_or(0.0, |shares| shares.absolute_capacity),
                used: shares.map_or(0.0, |shares| shares.absolute_used_capacity),
                pending: queue.statistics.pending_containers,
            });
        }
        match answer.next {
            // A page that does not get on would be asked for for ever.
            Some(next) if next > self.look.start => {
                self.look.start = next;
                self.look.next_us = now_us;
            }
            _ => {
                let queues = core::mem::take(&mut self.look.sample);
                self.samples.push(QueueSample { at_us: self.look.began_us, queues });
                self.look.start = 0;
                if self.samples.len() > SAMPLES_MAX {
                    let mut keep = false;
                    self.samples.retain(|_| {
                        keep = !keep;
                        keep
                    });
                    self.look.every_us = self.look.every_us.saturating_mul(2);
                }
                self.look.next_us = self.look.began_us.saturating_add(self.look.every_us).max(now_us);
            }
        }
    }
}

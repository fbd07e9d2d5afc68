//! Answers that nobody asked for: orders that do not wait for the next beat.
//! Owns: [`Pushes`], the rows in line for one. Called by: `node_command` (an urgent order came), the tick (time to send).
//! Does not: keep orders or repeat them; the answer to a beat does. Thread: the shard's.
//! Invariant: between two beats a node is pushed to at most [`PUSHES_PER_INTERVAL`] times, and once more for each tick in
//! which an order came that somebody waits for.
//!
//! A push carries everything that is not acknowledged, as an answer does. Without a pace a node with a hundred ends a
//! second would get a hundred pushes a second, each with all that came since its last beat. The pace goes by the node's
//! own beats, so that nodes whose containers end at the same moment are not all pushed to at the same moment again.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use heddle_wire::frame::Flags;
use heddle_wire::resource_tracker::{NodeHeartbeatResponse, NodeUpdates};
use heddle_wire::write_frame;

use super::node_table::RowFlags;
use super::{Outbox, Shard, resource};
use crate::engine::batch::StreamRef;
use crate::engine::time::{Duration, Instant};

/// Pushes of ends between two beats, one in each quarter of the interval: what is to end does so within a quarter, and is
/// told 2.5 times on average until it is acknowledged.
const PUSHES_PER_INTERVAL: u32 = 4;

/// Pushes that are put off leave together, at multiples of this.
const GRID: Duration = Duration::from_millis(10);

/// The rows in line for a push.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    /// With the next tick.
    due: Vec<u32>,
    /// From when on, soonest first.
    later: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Pushes {
    /// When the tick is wanted.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if self.due.is_empty() { self.later.peek().map(|Reverse((due, _))| *due) } else { Some(now) }
    }

    /// Heap used.
    pub(super) fn heap_size(&self) -> usize {
        self.due.capacity() * size_of::<u32>() + self.later.capacity() * size_of::<Reverse<(Instant, u32)>>()
    }
}

impl Shard {
    /// Puts a node in line: for the tick of this cycle when the order `is_awaited` or the node was not pushed to in this
    /// quarter of its interval, so that the orders of a cycle go together; else for the next quarter.
    pub(super) fn push_later(&mut self, row: u32, is_awaited: bool) {
        let live_now = self.live_now();
        let pushed_at = self.table.cold(row).outbound.as_ref().and_then(|outbound| outbound.pushed_at);
        let hot = &mut self.table.hot[row as usize];
        let quarter = Duration::from_millis(u64::from(hot.interval_ms / PUSHES_PER_INTERVAL));
        let quiet = live_now.since(hot.last_seen);
        let number = quiet.as_nanos() / quarter.as_nanos().max(1);
        let begins = hot.last_seen + quarter.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        if is_awaited || pushed_at.is_none_or(|at| at < begins) {
            if !hot.flags.has(RowFlags::PUSH_DUE) {
                hot.flags.set(RowFlags::PUSH_DUE);
                self.pushes.due.push(row);
            }
            return;
        }
        // In the last quarter the answer to the next beat is as soon as a push.
        let is_last = number + 1 >= u128::from(PUSHES_PER_INTERVAL);
        if !is_last && !hot.flags.has(RowFlags::PUSH_DUE.or(RowFlags::PUSH_LATER)) {
            hot.flags.set(RowFlags::PUSH_LATER);
            let due = self.now + (begins + quarter).since(live_now);
            let due = Instant::from_nanos(due.as_nanos().next_multiple_of(GRID.as_nanos() as u64));
            self.pushes.later.push(Reverse((due, row)));
        }
    }

    /// Sends the pushes that are due. Part of the tick.
    pub(super) fn send_pushes(&mut self, out: &mut Outbox) {
        while let Some(Reverse((due, row))) = self.pushes.later.peek().copied() {
            if due > self.now {
                break;
            }
            self.pushes.later.pop();
            let flags = &mut self.table.hot[row as usize].flags;
            // A row that was given to another node is not in line any more.
            if flags.has(RowFlags::PUSH_LATER) && !flags.has(RowFlags::PUSH_DUE) {
                flags.set(RowFlags::PUSH_DUE);
                self.pushes.due.push(row);
            }
            flags.clear(RowFlags::PUSH_LATER);
        }
        let mut due = core::mem::take(&mut self.pushes.due);
        for row in due.drain(..) {
            let hot = &mut self.table.hot[row as usize];
            hot.flags.clear(RowFlags::PUSH_DUE);
            let hot = *hot;
            let is_there = hot.state.is_active() && !hot.flags.has(RowFlags::FREE);
            let outbound = self.table.cold(row).outbound.as_ref();
            // An answer may have carried everything meanwhile.
            let has_news = hot.flags.has(RowFlags::TELL_CAPABILITY)
                || outbound.is_some_and(|outbound| outbound.has_unsent());
            if is_there && has_news && hot.stream != StreamRef::NONE {
                self.push(row, out);
            }
        }
        self.pushes.due = due;
    }

    /// What waits for the node, as an answer nobody asked for. It repeats the last response id and changes nothing.
    fn push(&mut self, row: u32, out: &mut Outbox) {
        let (live_now, handle) = (self.live_now(), self.table.handle(row));
        let hot = self.table.hot[row as usize];
        let capability =
            hot.flags.has(RowFlags::TELL_CAPABILITY).then(|| resource::to_wire(self.table.capability(row)));
        let (phase_ms, lease_ms) = (self.phase_ms(row, hot.interval_ms), self.lease_ms(hot.class));
        let outbound = self.table.cold_mut(row).outbound.get_or_insert_default();
        outbound.pushed_at = Some(live_now);
        let updates = capability.map(|capability| {
            Box::new(NodeUpdates { capability: Some(capability), ..NodeUpdates::default() })
        });
        let response = NodeHeartbeatResponse {
            response_id: hot.response_id,
            heartbeat_interval_ms: hot.interval_ms,
            next_heartbeat_ms: hot.next_ms,
            phase_ms,
            lease_ms,
            commands: outbound.commands(),
            updates,
            ..NodeHeartbeatResponse::default()
        };
        out.pushes.push_with(hot.stream, |bytes| {
            write_frame(bytes, Flags::PUSH, 0, handle.0, &response);
        });
    }
}

//! One simulated NodeManager in 64 bytes, and the wheel that says when it beats next.
//! Owner: [`Fleet`](super::Fleet). Called by: the fleet only, on the thread that owns it.
//! Does not: know frames or containers; those are in `frame` and `containers`.
//! Invariants: a row is linked into at most one slot; a linked row has the flag `SCHEDULED`.

/// No row: end of a slot's list.
const NONE: u32 = u32::MAX;

/// Slots of the wheel, one millisecond each. Beats further away than this stay in their slot for another turn.
const SLOTS: usize = 4_096;

/// Where a NodeManager is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Not started.
    Unregistered,
    /// Registration is planned or on its way.
    Registering,
    /// Registered, waiting for the time of its next beat.
    Beating,
    /// A beat is on its way, its answer has not come.
    AwaitingAnswer,
    /// Its lease ran out: containers are stopped, it goes on asking.
    Fenced,
    /// Stopped: told so, or dead by the script of the run.
    Stopped,
}

/// Where in its life, without the parts that are flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Unregistered,
    Registering,
    Registered,
    Stopped,
}

/// A request is out and its answer has not come.
pub(super) const AWAITING: u8 = 1;
/// Linked into the wheel.
pub(super) const SCHEDULED: u8 = 2;
/// The request that is out is stale on purpose.
pub(super) const STALE: u8 = 4;
/// The ResourceManager asked for a full report, or one is under way.
pub(super) const FULL_REPORT: u8 = 8;
/// Silent by the script of the run.
pub(super) const PAUSED: u8 = 16;
/// The lease ran out and no answer has come since.
pub(super) const FENCED: u8 = 32;
/// The script of the run kept it silent since its last answered beat: being lost is then no fault.
pub(super) const EXCUSED: u8 = 64;
/// The request that is out will be repeated for a known cause: it was rejected, or its connection is gone.
pub(super) const REPEAT: u8 = 128;

/// The hot part of a node: all that a beat with nothing to say reads and writes, in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Row {
    /// What the node is called on the wire; 0 before registration.
    pub handle: u64,
    /// When the next request is due, or when the one that is out was due.
    pub planned_us: u64,
    /// Sequence number of the system credentials the node has.
    pub token_sequence: u64,
    /// When the request that is out was sent.
    pub sent_ms: u32,
    /// When the last answered request was due, so never later than its first copy was sent: the lease counts from here.
    pub heard_ms: u32,
    pub response_id: u32,
    pub acknowledged_command: u32,
    pub interval_ms: u32,
    pub lease_ms: u32,
    pub container_token_key_id: u32,
    pub nm_token_key_id: u32,
    /// Next row of the same slot.
    next: u32,
    pub stage: Stage,
    pub flags: u8,
    /// Start of the ResourceManager it registered with, as counted by the fleet.
    pub epoch: u8,
    _pad: u8,
}

const _: () = assert!(size_of::<Row>() == 64);

impl Row {
    pub(super) const fn new() -> Self {
        Self {
            handle: 0,
            planned_us: 0,
            token_sequence: 0,
            sent_ms: 0,
            heard_ms: 0,
            response_id: 0,
            acknowledged_command: 0,
            interval_ms: 1_000,
            lease_ms: u32::MAX,
            container_token_key_id: 0,
            nm_token_key_id: 0,
            next: NONE,
            stage: Stage::Unregistered,
            flags: 0,
            epoch: 0,
            _pad: 0,
        }
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) const fn state(&self) -> NodeState {
        match self.stage {
            Stage::Unregistered => NodeState::Unregistered,
            Stage::Registering => NodeState::Registering,
            Stage::Stopped => NodeState::Stopped,
            Stage::Registered if self.has(FENCED) => NodeState::Fenced,
            Stage::Registered if self.has(AWAITING) => NodeState::AwaitingAnswer,
            Stage::Registered => NodeState::Beating,
        }
    }
}

/// Rows by the millisecond they are due in. Linking and firing cost a few loads; nothing is allocated after start.
#[derive(Clone, Debug)]
pub(super) struct Wheel {
    heads: Box<[u32]>,
    /// The first millisecond that has not been handed out yet.
    cursor_ms: u64,
    /// Rows linked now.
    pub len: u32,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { heads: vec![NONE; SLOTS].into_boxed_slice(), cursor_ms: 0, len: 0 }
    }

    /// Links a row at its planned time; a linked row stays where it is and finds its time when it fires.
    pub(super) fn link(&mut self, rows: &mut [Row], node: u32) {
        let row = &mut rows[node as usize];
        if row.has(SCHEDULED) {
            return;
        }
        row.flags |= SCHEDULED;
        self.len += 1;
        self.relink(rows, node);
    }

    fn relink(&mut self, rows: &mut [Row], node: u32) {
        let row = &mut rows[node as usize];
        let slot = row.planned_us.div_ceil(1_000).max(self.cursor_ms) as usize % SLOTS;
        row.next = self.heads[slot];
        self.heads[slot] = node;
    }

    /// Takes out rows that are due, oldest slot first, at most `limit`.
    pub(super) fn fire(&mut self, rows: &mut [Row], now_us: u64, limit: usize, due: &mut Vec<u32>) {
        let now_ms = now_us / 1_000;
        // After a gap longer than a turn, one turn sees every row.
        if now_ms >= self.cursor_ms + SLOTS as u64 {
            self.cursor_ms = now_ms + 1 - SLOTS as u64;
        }
        while self.cursor_ms <= now_ms {
            let slot = self.cursor_ms as usize % SLOTS;
            let mut node = core::mem::replace(&mut self.heads[slot], NONE);
            while node != NONE {
                let row = &mut rows[node as usize];
                let next = row.next;
                if row.planned_us > now_us {
                    self.relink(rows, node);
                } else if due.len() >= limit {
                    // The rest of the slot stays for the next call.
                    row.next = self.heads[slot];
                    self.heads[slot] = node;
                } else {
                    row.flags &= !SCHEDULED;
                    self.len -= 1;
                    due.push(node);
                }
                node = next;
            }
            if due.len() >= limit {
                return;
            }
            self.cursor_ms += 1;
        }
    }

    /// When [`Wheel::fire`] has something to do next, at the earliest; `None` for an empty wheel.
    pub(super) fn next_us(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let slots = SLOTS as u64;
        (self.cursor_ms..self.cursor_ms + slots)
            .find(|at| self.heads[*at as usize % SLOTS] != NONE)
            .map(|at| at * 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(planned_us: &[u64]) -> Vec<Row> {
        planned_us.iter().map(|&planned_us| Row { planned_us, ..Row::new() }).collect()
    }

    #[test]
    fn nothing_fires_early_and_everything_fires_once() {
        let mut rows = rows(&[0, 1, 1_000, 1_001, 4_096_000, 9_000_500, 3_000_000]);
        let mut wheel = Wheel::new();
        for node in 0..rows.len() as u32 {
            wheel.link(&mut rows, node);
            wheel.link(&mut rows, node);
        }
        let mut fired = vec![false; rows.len()];
        let mut now_us = 0;
        while let Some(next_us) = wheel.next_us() {
            now_us = next_us.max(now_us + 137);
            let mut due = Vec::new();
            wheel.fire(&mut rows, now_us, 2, &mut due);
            assert!(due.len() <= 2);
            for node in due {
                assert!(rows[node as usize].planned_us <= now_us);
                assert!(!core::mem::replace(&mut fired[node as usize], true), "fired twice");
            }
        }
        assert!(fired.into_iter().all(|fired| fired));
        assert_eq!(wheel.len, 0);
    }

    #[test]
    fn a_gap_longer_than_a_turn_loses_nothing() {
        let mut rows = rows(&[500, 5_000_000, 70_000_000, 71_000_000]);
        let mut wheel = Wheel::new();
        (0..4).for_each(|node| wheel.link(&mut rows, node));
        let mut due = Vec::new();
        wheel.fire(&mut rows, 70_000_000, 100, &mut due);
        due.sort_unstable();
        assert_eq!(due, [0, 1, 2]);
        wheel.fire(&mut rows, 71_000_000, 100, &mut due);
        assert_eq!(due, [0, 1, 2, 3]);
    }
}

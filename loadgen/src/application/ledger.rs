//! What an ApplicationMaster keeps of one ask, so that it gets exactly what it wants.
//! Owner: [`TaskPlan`](super::TaskPlan), one per key (priority and allocation request id). Called by: it and
//! [`SimulatedAm`](super::SimulatedAm).
//! Does not: know frames or containers, only numbers.
//! Invariants: `seen` is the highest grant number taken in; a grant is taken in once; while a request is out that lowered
//! the target, grants above it are void: the ResourceManager takes them back when it reads the request.

/// What became of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It is one that is wanted. So many numbers before it never came; 0 as it should be.
    Accepted {
        /// Numbers left out.
        missing: u64,
    },
    /// It was wanted when the ResourceManager was last told, and is not any more: it is to be released.
    Unwanted,
    /// The request that is out takes it back: it is to be dropped.
    Void,
    /// Its number came before.
    Repeated,
    /// Nobody ever asked for so many: the ResourceManager granted one too many.
    Surplus,
}

/// The counts of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskLedger {
    /// Highest grant number taken in.
    seen: u64,
    /// Wanted beyond `seen`.
    wanted: u32,
    /// Seen and wanted together as of the last request that was answered.
    told: u64,
    /// The same of the request that is out.
    in_flight: Option<u64>,
    /// The ResourceManager has to be told.
    is_dirty: bool,
}

impl AskLedger {
    /// Containers that are wanted and not granted.
    #[must_use]
    pub const fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Highest grant number taken in.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// True when a request should carry it.
    #[must_use]
    pub const fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// So many more are wanted.
    pub const fn raise(&mut self, count: u32) {
        self.wanted = self.wanted.saturating_add(count);
        self.is_dirty |= count > 0;
    }

    /// So many fewer, as far as there are any. Says how many fewer.
    pub fn lower(&mut self, count: u32) -> u32 {
        let count = count.min(self.wanted);
        self.wanted -= count;
        self.is_dirty |= count > 0;
        count
    }

    /// The row goes out with the next request: what it says is (count, grants seen).
    pub const fn tell(&mut self) -> (u32, u64) {
        self.in_flight = Some(self.seen + self.wanted as u64);
        self.is_dirty = false;
        (self.wanted, self.seen)
    }

    /// The request that carried it, if one did, was applied.
    pub const fn applied(&mut self) {
        if let Some(target) = self.in_flight.take() {
            self.told = target;
        }
    }

    /// The request was refused whole: nothing of it is in force.
    pub fn refused(&mut self) {
        if self.in_flight.take().is_some() {
            self.is_dirty = true;
        }
    }

    /// A new session: grants are counted anew, and all that is wanted has to be told.
    pub const fn forget(&mut self) {
        (self.seen, self.told, self.in_flight) = (0, 0, None);
        self.is_dirty = self.wanted > 0;
    }

    /// A grant arrived.
    pub const fn take(&mut self, number: u64) -> Grant {
        if number <= self.seen {
            return Grant::Repeated;
        }
        let last = match self.in_flight {
            Some(target) if target > self.told => target,
            _ => self.told,
        };
        if number > last {
            self.seen = number;
            return Grant::Surplus;
        }
        if let Some(target) = self.in_flight
            && number > target
        {
            return Grant::Void;
        }
        let missing = number - self.seen - 1;
        self.seen = number;
        if self.wanted == 0 {
            return Grant::Unwanted;
        }
        self.wanted -= 1;
        Grant::Accepted { missing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: Grant = Grant::Accepted { missing: 0 };

    #[test]
    fn grants_are_counted_once() {
        let mut ledger = AskLedger::default();
        ledger.raise(2);
        assert!(ledger.is_dirty());
        assert_eq!(ledger.tell(), (2, 0));
        // Pushed before the answer: the request may have been read already.
        assert_eq!(ledger.take(1), ACCEPTED);
        ledger.applied();
        assert_eq!(ledger.take(1), Grant::Repeated);
        assert_eq!(ledger.take(2), ACCEPTED);
        assert_eq!((ledger.wanted(), ledger.seen(), ledger.is_dirty()), (0, 2, false));
        assert_eq!(ledger.take(3), Grant::Surplus);
    }

    #[test]
    fn what_a_request_on_its_way_takes_back_is_void() {
        let mut ledger = AskLedger::default();
        ledger.raise(5);
        ledger.tell();
        ledger.applied();
        assert_eq!(ledger.take(1), ACCEPTED);
        assert_eq!(ledger.lower(3), 3);
        // Not told yet: the ResourceManager may still grant up to five.
        assert_eq!(ledger.tell(), (1, 1));
        assert_eq!(ledger.take(2), ACCEPTED);
        assert_eq!(ledger.take(3), Grant::Void);
        assert_eq!(ledger.take(6), Grant::Surplus);
    }

    #[test]
    fn after_the_answer_numbers_go_on_from_the_target() {
        let mut ledger = AskLedger::default();
        ledger.raise(5);
        ledger.tell();
        ledger.applied();
        ledger.lower(4);
        ledger.tell();
        assert_eq!(ledger.take(2), Grant::Void);
        ledger.applied();
        assert_eq!(ledger.take(1), ACCEPTED);
        ledger.raise(1);
        assert_eq!(ledger.tell(), (1, 1));
        ledger.applied();
        assert_eq!(ledger.take(2), ACCEPTED);
    }

    #[test]
    fn what_is_not_told_yet_is_given_back_and_not_too_many() {
        let mut ledger = AskLedger::default();
        ledger.raise(2);
        ledger.tell();
        ledger.applied();
        ledger.lower(2);
        assert_eq!(ledger.take(1), Grant::Unwanted);
        assert_eq!(ledger.tell(), (0, 1));
        assert_eq!(ledger.take(2), Grant::Void);
    }

    #[test]
    fn a_refused_request_is_told_again_and_a_new_session_tells_all() {
        let mut ledger = AskLedger::default();
        ledger.raise(2);
        ledger.tell();
        ledger.refused();
        assert!(ledger.is_dirty());
        assert_eq!(ledger.take(1), Grant::Surplus, "nothing is in force");
        let mut ledger = AskLedger::default();
        ledger.raise(3);
        ledger.tell();
        ledger.applied();
        ledger.take(1);
        ledger.forget();
        assert_eq!(ledger.tell(), (2, 0));
        assert_eq!(ledger.take(1), ACCEPTED);
    }

    #[test]
    fn a_number_left_out_is_told() {
        let mut ledger = AskLedger::default();
        ledger.raise(4);
        ledger.tell();
        ledger.applied();
        assert_eq!(ledger.take(3), Grant::Accepted { missing: 2 });
    }
}

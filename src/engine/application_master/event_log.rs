//! What happened for one ApplicationMaster and is not known to be taken in: grants and ends, in one numbered sequence.
//! Owns: [`EventLog`]. Called by: the session's files, on the scheduler's thread.
//! Does not: count grants by key (`ask`), know frames or streams.
//!
//! An event gets its number when it is first sent, so that a grant that comes to nothing before leaves no trace. What
//! was sent is kept until the ApplicationMaster says that it has taken it in, and is sent again under the same number on
//! another stream, or when the ApplicationMaster shows with a later answer that it never came.
//!
//! Invariants: numbers have no gaps: what is void after it was sent keeps its place and is sent again as an end; an event
//! is sent for the first time once; within a frame grants come before ends.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use heddle_wire::record::{ContainerId, NodeHandle};

use crate::engine::scheduler::face::{Finished, Granted, SchedulerKey};
use crate::engine::scheduler::resource::ResourceVector;

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) container_id: ContainerId,
    pub(super) node: NodeHandle,
    pub(super) key: SchedulerKey,
    pub(super) resource: ResourceVector,
    /// The how-manieth of its key; 0 while it was not sent.
    pub(super) number: u64,
    /// What its token says; 0 while it was not sent.
    pub(super) expires_at_ms: u64,
    /// The scheduler knows that it is on its way.
    pub(super) is_acquired: bool,
}

impl From<Granted> for Grant {
    fn from(granted: Granted) -> Self {
        Self {
            container_id: granted.container_id,
            node: granted.node,
            key: granted.key,
            resource: granted.resource,
            number: 0,
            expires_at_ms: 0,
            is_acquired: false,
        }
    }
}

/// The end of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) container_id: ContainerId,
    pub(super) node: NodeHandle,
    pub(super) exit_status: i32,
    pub(super) diagnostics: Cow<'static, str>,
    pub(super) resource: ResourceVector,
    pub(super) is_on_node: bool,
}

impl From<Finished> for End {
    fn from(finished: Finished) -> Self {
        Self {
            container_id: finished.container_id,
            node: finished.node,
            exit_status: finished.exit_status,
            diagnostics: finished.diagnostics,
            resource: finished.resource,
            is_on_node: finished.is_on_node,
        }
    }
}

/// An event that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A grant.
    Grant(Grant),
    /// An end.
    End(End),
    /// A grant that was taken back before the ApplicationMaster had seen it.
    Void(ContainerId),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    /// Every event up to this number was taken in.
    seen: u64,
    /// The events after it that were sent, without gaps.
    sent: VecDeque<Event>,
    /// Those from this index on are to be sent again.
    resend: usize,
    /// Not sent yet, oldest first.
    grants: VecDeque<Grant>,
    /// Not sent yet, oldest first.
    ends: VecDeque<End>,
}

impl EventLog {
    /// Number of the last event that was sent.
    pub(super) fn last_sent(&self) -> u64 {
        self.seen + self.sent.len() as u64
    }

    /// Events sent and not known to be taken in.
    pub(super) fn unseen(&self) -> usize {
        self.sent.len()
    }

    /// Events that are to be sent, for the first time or again.
    pub(super) fn waiting(&self) -> usize {
        self.unsent() + (self.sent.len() - self.resend)
    }

    /// Events that were never sent.
    pub(super) fn unsent(&self) -> usize {
        self.grants.len() + self.ends.len()
    }

    /// True when what was sent before has to be sent again first.
    pub(super) fn is_resending(&self) -> bool {
        self.resend < self.sent.len()
    }

    /// Number of the first event of the next frame.
    pub(super) fn next_number(&self) -> u64 {
        self.seen + self.resend as u64 + 1
    }

    pub(super) fn push_grant(&mut self, grant: Grant) {
        self.grants.push_back(grant);
    }

    pub(super) fn push_end(&mut self, end: End) {
        self.ends.push_back(end);
    }

    /// Takes out a grant that was not sent.
    pub(super) fn forget_unsent(&mut self, container_id: &ContainerId) -> Option<Grant> {
        let index = self.grants.iter().rposition(|grant| grant.container_id == *container_id)?;
        self.grants.remove(index)
    }

    /// The ApplicationMaster has taken in every event up to `number`, which is at most [`EventLog::last_sent`].
    pub(super) fn acknowledge(&mut self, number: u64, mut taken: impl FnMut(Event)) {
        while self.seen < number
            && let Some(event) = self.sent.pop_front()
        {
            self.seen += 1;
            self.resend = self.resend.saturating_sub(1);
            taken(event);
        }
    }

    /// What the ApplicationMaster has not taken in did not come: all of it from `number` on is sent again.
    pub(super) fn resend_from(&mut self, number: u64) {
        let index = usize::try_from(number.saturating_sub(self.seen + 1)).unwrap_or(usize::MAX);
        self.resend = self.resend.min(index);
    }

    /// The next event to be sent again, with what comes after it untouched.
    pub(super) fn resend_front(&self) -> Option<&Event> {
        self.sent.get(self.resend)
    }

    /// The event that [`EventLog::resend_front`] gave is in a frame.
    pub(super) fn advance_resend(&mut self) {
        self.resend = (self.resend + 1).min(self.sent.len());
    }

    pub(super) fn front_grant(&mut self) -> Option<&mut Grant> {
        self.grants.front_mut()
    }

    pub(super) fn drop_front_grant(&mut self) -> Option<Grant> {
        self.grants.pop_front()
    }

    pub(super) fn front_end(&self) -> Option<&End> {
        self.ends.front()
    }

    /// The grant in front is in a frame for the first time. Nothing waits to be sent again.
    pub(super) fn grant_sent(&mut self) {
        if let Some(grant) = self.grants.pop_front() {
            self.append(Event::Grant(grant));
        }
    }

    /// The end in front is in a frame for the first time. Nothing waits to be sent again.
    pub(super) fn end_sent(&mut self) {
        if let Some(end) = self.ends.pop_front() {
            self.append(Event::End(end));
        }
    }

    fn append(&mut self, event: Event) {
        debug_assert!(!self.is_resending(), "new events are numbered after those that are sent again");
        self.sent.push_back(event);
        self.resend = self.sent.len();
    }

    /// Takes back the last `count` grants of a key that were not taken in, latest first. Returns how many of them had not
    /// been sent.
    pub(super) fn void_last(
        &mut self,
        key: SchedulerKey,
        mut count: u64,
        mut voided: impl FnMut(&ContainerId),
    ) -> u32 {
        let mut unsent = 0;
        let mut index = self.grants.len();
        while count > 0 && index > 0 {
            index -= 1;
            if self.grants.get(index).is_some_and(|grant| grant.key == key)
                && let Some(grant) = self.grants.remove(index)
            {
                voided(&grant.container_id);
                (count, unsent) = (count - 1, unsent + 1);
            }
        }
        for event in self.sent.iter_mut().rev() {
            if count == 0 {
                break;
            }
            if let Event::Grant(grant) = event
                && grant.key == key
            {
                let container_id = grant.container_id;
                *event = Event::Void(container_id);
                voided(&container_id);
                count -= 1;
            }
        }
        unsent
    }

    /// Takes out the ends of these containers that were not sent.
    pub(super) fn forget_ends(&mut self, of: &BTreeSet<ContainerId>, mut forgotten: impl FnMut(&End)) {
        self.ends.retain(|end| {
            let is_one = of.contains(&end.container_id);
            if is_one {
                forgotten(end);
            }
            !is_one
        });
    }

    /// Grants that were not taken in.
    pub(super) fn unseen_grants(&self) -> impl Iterator<Item = &Grant> {
        let sent = self.sent.iter().filter_map(|event| match event {
            Event::Grant(grant) => Some(grant),
            Event::End(_) | Event::Void(_) => None,
        });
        sent.chain(&self.grants)
    }

    /// The ApplicationMaster begins anew, with number 1: what it has not taken in was never sent.
    pub(super) fn restart(&mut self) {
        for event in self.sent.drain(..).rev() {
            match event {
                Event::Grant(grant) => self.grants.push_front(Grant { number: 0, ..grant }),
                Event::End(end) => self.ends.push_front(end),
                Event::Void(_) => {}
            }
        }
        (self.seen, self.resend) = (0, 0);
    }

    /// Nothing is sent any more: takes out everything.
    pub(super) fn clear(&mut self, mut grant: impl FnMut(&Grant), mut end: impl FnMut(&End)) {
        self.seen = self.last_sent();
        self.resend = 0;
        for event in self.sent.drain(..) {
            if let Event::End(ended) = event {
                end(&ended);
            }
        }
        self.grants.drain(..).for_each(|granted| grant(&granted));
        self.ends.drain(..).for_each(|ended| end(&ended));
    }
}

#[cfg(test)]
mod tests {
    use heddle_wire::record::{ApplicationAttemptId, ApplicationId};

    use super::*;

    fn container(id: u64) -> ContainerId {
        let application_id = ApplicationId { cluster_timestamp: 1, id: 1 };
        ContainerId {
            application_attempt_id: ApplicationAttemptId { application_id, attempt_id: 1 },
            container_id: id,
        }
    }

    fn grant(id: u64, priority: i32) -> Grant {
        Grant {
            container_id: container(id),
            node: NodeHandle(1),
            key: SchedulerKey { priority, allocation_request_id: -1 },
            resource: ResourceVector::ZERO,
            number: 0,
            expires_at_ms: 0,
            is_acquired: false,
        }
    }

    #[test]
    fn numbers_have_no_gaps_and_a_void_grant_keeps_its_place() {
        let mut log = EventLog::default();
        (1..=4).for_each(|id| log.push_grant(grant(id, i32::try_from(id % 2).unwrap())));
        log.grant_sent();
        log.grant_sent();
        log.grant_sent();
        assert_eq!((log.last_sent(), log.next_number(), log.waiting()), (3, 4, 1));
        // Of priority 1 containers 1 and 3 are on their way, of priority 0 container 2 is and 4 is not.
        let mut voided = Vec::new();
        let unsent = log.void_last(grant(0, 0).key, 2, |id| voided.push(id.container_id));
        assert_eq!((unsent, voided), (1, vec![4, 2]));
        assert_eq!((log.last_sent(), log.waiting()), (3, 0));
        log.resend_from(2);
        assert_eq!((log.next_number(), log.waiting()), (2, 2));
        assert_eq!(log.resend_front(), Some(&Event::Void(container(2))));
        log.advance_resend();
        log.acknowledge(1, |_| ());
        assert_eq!((log.next_number(), log.waiting(), log.unseen()), (3, 1, 2));
        assert!(
            matches!(log.resend_front(), Some(Event::Grant(grant)) if grant.container_id == container(3))
        );
    }

    #[test]
    fn what_was_not_taken_in_is_new_after_a_restart() {
        let mut log = EventLog::default();
        (1..=3).for_each(|id| log.push_grant(grant(id, 0)));
        (0..3).for_each(|_| log.grant_sent());
        log.acknowledge(1, |_| ());
        log.void_last(grant(0, 0).key, 1, |_| ());
        log.push_grant(grant(9, 0));
        log.restart();
        let left: Vec<_> = log.unseen_grants().map(|grant| grant.container_id.container_id).collect();
        assert_eq!((left, log.last_sent(), log.next_number()), (vec![2, 9], 0, 1));
    }
}

//! One simulated ApplicationMaster: launched, registers, asks, starts containers, finishes, exits.
//! Owner: [`AmFleet`](super::AmFleet). Called by: it, on the thread that owns it.
//! Does not: decide when it speaks (the fleet of them does), trust the peer: what fits nothing is counted.
//! Invariants: at most one request is out, and it is repeated as it was until it is answered; the events of the session are
//! taken in once and in order; a grant that the request on its way takes back is kept aside until that is answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use heddle_wire::application_master::{
    ALREADY_REGISTERED, AllocateRequest, ArchivedAllocateDetails, ArchivedAllocateResponse,
    FinishApplicationMasterRequest, RegisterApplicationMasterRequest,
};
use heddle_wire::limits::{ASKS_MAX, EVENTS_PUSHED_MAX, RELEASES_MAX};
use heddle_wire::record::{
    ApplicationAttemptId, ArchivedCompletedContainer, ArchivedContainer, AttemptHandle, Container,
    ContainerId, FinalApplicationStatus, NodeHandle, TokenMac,
};
use heddle_wire::{Flags, write_frame};
use rkyv::rancor::BoxedError;

use crate::fleet::Chance;
use crate::workload::ApplicationSpec;

use super::am_fleet::{Churn, Launched};
use super::ask::{Bits, cancel_some, push_asks};
use super::ledger::{AskLedger, Grant};
use super::tasks::TaskPlan;
use super::{AmCounters, AmExit, ContainerStart, Note, NoteKind, Outbox};

/// Response ids are 31 bits wide.
const RESPONSE_ID_MASK: u32 = 0x7fff_ffff;

/// The sequence of a container id, without its epoch.
const SEQUENCE_MASK: u64 = (1 << 40) - 1;

/// Least exit status of YARN's own that is no fault of the task: aborted, preempted, killed by the ResourceManager, …
/// Source: YARN ContainerExitStatus.
const EXIT_STATUS_OWN: i32 = 0;

/// Where an ApplicationMaster is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Launched; its registration is planned or out.
    Registering,
    /// Registered.
    Running,
    /// It has said its last word, or is about to.
    Finishing,
    /// Over.
    Gone,
}

/// What it does with its containers.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Tasks of an application.
    Tasks(TaskPlan),
    /// Asks and gives back, over and over.
    Churn {
        churn: Churn,
        ledger: AskLedger,
        /// Planned time of the call that carried the present ask.
        asked_us: u64,
    },
}

/// One simulated ApplicationMaster. See the module.
#[derive(Clone, Debug)]
pub struct SimulatedAm {
    pub(super) stage: Stage,
    pub(super) attempt_id: ApplicationAttemptId,
    /// Routing key of its frames.
    pub(super) handle: AttemptHandle,
    /// Its own container and node; `None` for an unmanaged one.
    pub(super) container: Option<(ContainerId, NodeHandle)>,
    token: TokenMac,
    user: Arc<str>,
    pub(super) spec: Arc<ApplicationSpec>,
    work: Work,
    /// Id of the last answer taken in.
    response_id: u32,
    /// Number of the last event taken in.
    events_seen: u64,
    /// What the last call said of it.
    events_told: u64,
    /// The allocate call that is out.
    request: AllocateRequest,
    pub(super) is_awaiting: bool,
    /// The request that is out will be repeated for a known cause.
    pub(super) will_repeat: bool,
    /// The next frame is the first on its stream.
    pub(super) needs_token: bool,
    /// Correlation id of the request that is out.
    pub(super) expected: u64,
    /// When the next request is due, or when the one that is out was.
    pub(super) planned_us: u64,
    pub(super) sent_us: u64,
    registered_us: u64,
    /// Containers to be given back with the next call.
    releases: Vec<ContainerId>,
    /// Grants that the request on its way takes back; taken in after all when it is refused.
    void: Vec<Container>,
    /// Containers granted, and of them those told to have ended.
    granted: Bits,
    ended: Bits,
    /// Containers released whose end was not told yet.
    released: BTreeSet<ContainerId>,
    /// When groups become due by time alone.
    pub(super) unlock_us: Option<u64>,
    /// Counts lowered on purpose, to be raised again: (group, count).
    cancelled: Option<(u32, u32)>,
    final_status: FinalApplicationStatus,
}

/// What a step of an ApplicationMaster may use.
pub(super) struct Scope<'a> {
    pub now_us: u64,
    pub counters: &'a mut AmCounters,
    pub outbox: &'a mut Outbox,
}

impl SimulatedAm {
    pub(super) fn new(launched: Launched, churn: Option<Churn>) -> Self {
        let work = match churn {
            None => Work::Tasks(TaskPlan::new(&launched.spec.groups)),
            Some(churn) => Work::Churn { churn, ledger: AskLedger::default(), asked_us: 0 },
        };
        Self {
            stage: Stage::Registering,
            attempt_id: launched.attempt_id,
            handle: launched.handle,
            container: launched.container,
            token: launched.am_rm_token,
            user: launched.user,
            spec: launched.spec,
            work,
            response_id: 0,
            events_seen: 0,
            events_told: 0,
            request: AllocateRequest::default(),
            is_awaiting: false,
            will_repeat: false,
            needs_token: false,
            expected: 0,
            planned_us: 0,
            sent_us: 0,
            registered_us: 0,
            releases: Vec::new(),
            void: Vec::new(),
            granted: Bits::default(),
            ended: Bits::default(),
            released: BTreeSet::new(),
            unlock_us: None,
            cancelled: None,
            final_status: FinalApplicationStatus::Undefined,
        }
    }

    /// Its tasks; `None` for one that only churns.
    #[must_use]
    pub const fn plan(&self) -> Option<&TaskPlan> {
        match &self.work {
            Work::Tasks(plan) => Some(plan),
            Work::Churn { .. } => None,
        }
    }

    /// Its attempt.
    #[must_use]
    pub const fn attempt_id(&self) -> ApplicationAttemptId {
        self.attempt_id
    }

    /// The application it plays.
    #[must_use]
    pub fn spec(&self) -> &ApplicationSpec {
        &self.spec
    }

    /// Containers it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.work {
            Work::Tasks(plan) => plan.running_count(),
            Work::Churn { .. } => self.releases.len(),
        }
    }

    /// Containers it wants and was not granted.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        match &self.work {
            Work::Tasks(plan) => plan.wanted(),
            Work::Churn { ledger, .. } => u64::from(ledger.wanted()),
        }
    }

    /// True when it has something to say besides that it lives.
    pub(super) fn has_news(&self) -> bool {
        match &self.work {
            Work::Tasks(plan) => {
                !self.releases.is_empty() || self.cancelled.is_some() || plan.dirty().next().is_some()
            }
            // In closed loop: the whole batch is there and can be given back.
            Work::Churn { ledger, .. } => ledger.wanted() == 0,
        }
    }

    /// Writes what it has to say: for the first time, or what is out once more.
    pub(super) fn write(&mut self, now_us: u64, cancel: Option<&mut Chance>, out: &mut Vec<u8>) {
        match self.stage {
            Stage::Gone => {}
            Stage::Registering => {
                let request = RegisterApplicationMasterRequest {
                    application_attempt_id: self.attempt_id,
                    am_rm_token: self.token,
                    host: "loadgen".to_owned(),
                    rpc_port: -1,
                    tracking_url: String::new(),
                    placement_constraints: Vec::new(),
                };
                write_frame(out, Flags::REQUEST, self.expected, self.handle.0, &request);
            }
            Stage::Running => {
                if !self.is_awaiting {
                    self.compose(now_us, cancel);
                }
                self.request.am_rm_token = self.needs_token.then_some(self.token);
                write_frame(out, Flags::REQUEST, self.expected, self.handle.0, &self.request);
            }
            Stage::Finishing => {
                let request = FinishApplicationMasterRequest {
                    diagnostics: String::new(),
                    tracking_url: String::new(),
                    final_application_status: self.final_status,
                    am_rm_token: self.needs_token.then_some(self.token),
                };
                write_frame(out, Flags::REQUEST, self.expected, self.handle.0, &request);
            }
        }
        self.needs_token = false;
    }

    /// Fills in the next allocate call.
    fn compose(&mut self, now_us: u64, cancel: Option<&mut Chance>) {
        let planned_us = self.planned_us;
        let request = &mut self.request;
        request.response_id = self.response_id;
        request.events_seen = self.events_seen;
        self.events_told = self.events_seen;
        request.asks.clear();
        request.releases.clear();
        match &mut self.work {
            Work::Tasks(plan) => {
                self.unlock_us = plan.unlock(now_us);
                if let Some((group, count)) = self.cancelled.take() {
                    plan.raise(group, count);
                } else if let Some(chance) = cancel {
                    self.cancelled = cancel_some(plan, chance);
                }
                let (done, all) = plan.progress();
                request.progress = if all == 0 { 1.0 } else { done as f32 / all as f32 };
                let dirty: Vec<u32> = plan.dirty().collect();
                for group in dirty {
                    // The rows of one group go together, and all of them in a call or none.
                    let spec = &plan.groups()[group as usize];
                    let rows = 1 + if plan.ledger(group).seen() == 0 { 2 * spec.localities.len() } else { 0 };
                    if !request.asks.is_empty() && request.asks.len() + rows > ASKS_MAX {
                        break;
                    }
                    let is_first = plan.ledger(group).seen() == 0;
                    let (count, seen) = plan.tell(group, planned_us);
                    let spec = &plan.groups()[group as usize];
                    push_asks(&mut request.asks, spec, &self.spec, count, seen, is_first);
                }
            }
            Work::Churn { churn, ledger, asked_us } => {
                let missing = churn.batch.saturating_sub(ledger.wanted());
                ledger.raise(missing);
                *asked_us = planned_us;
                let (count, seen) = ledger.tell();
                let mut ask = churn.ask.clone();
                ask.num_containers = i32::try_from(count).unwrap_or(i32::MAX);
                ask.grants_seen = Some(seen);
                request.asks.push(ask);
            }
        }
        let count = self.releases.len().min(RELEASES_MAX);
        request.releases.extend(self.releases.drain(..count));
        self.released.extend(request.releases.iter().copied());
    }

    /// The registration is called a misuse: the answer to the same one was lost, or the attempt is none that may register.
    pub(super) fn registration_refused(&mut self, scope: &mut Scope<'_>, text: &str) {
        if text.starts_with(ALREADY_REGISTERED) {
            self.registered(scope, core::iter::empty());
            self.needs_token = true;
        } else {
            scope.counters.killed += 1;
            self.exit(scope, 0);
        }
    }

    /// The answer to its registration. Containers of earlier attempts are given back: their tasks are run anew.
    pub(super) fn registered(&mut self, scope: &mut Scope<'_>, inherited: impl Iterator<Item = ContainerId>) {
        self.stage = Stage::Running;
        self.is_awaiting = false;
        (self.response_id, self.events_seen, self.events_told) = (0, 0, 0);
        self.registered_us = scope.now_us;
        self.planned_us = scope.now_us;
        scope.counters.registered += 1;
        for id in inherited {
            if !self.is_known(&id) {
                self.releases.push(id);
            }
        }
        if let Work::Tasks(plan) = &mut self.work {
            self.unlock_us = plan.unlock(scope.now_us);
        }
    }

    fn is_known(&self, id: &ContainerId) -> bool {
        id.application_attempt_id == self.attempt_id && self.granted.contains(id.container_id & SEQUENCE_MASK)
    }

    /// The ResourceManager does not know it any more, as after a restart: it registers anew and says all it wants.
    pub(super) fn start_anew(&mut self, now_us: u64) {
        self.stage = Stage::Registering;
        self.is_awaiting = false;
        self.planned_us = now_us;
        self.void.clear();
        match &mut self.work {
            Work::Tasks(plan) => plan.forget(),
            Work::Churn { ledger, .. } => ledger.forget(),
        }
        // What was given back was perhaps not taken in.
        self.request.releases.clear();
        self.releases.extend(core::mem::take(&mut self.released));
    }

    /// The answer to the allocate call that is out. False when its id does not fit.
    pub(super) fn answered(&mut self, scope: &mut Scope<'_>, answer: &ArchivedAllocateResponse) -> bool {
        let expected = self.request.response_id.wrapping_add(1) & RESPONSE_ID_MASK;
        if answer.response_id.to_native() != expected {
            scope.counters.wrong_ids += 1;
            return false;
        }
        self.take_events(scope, answer, false);
        // Not before: the answer's own grants were numbered under the target of the call.
        match &mut self.work {
            Work::Tasks(plan) => plan.applied(),
            Work::Churn { ledger, .. } => ledger.applied(),
        }
        self.void.clear();
        self.response_id = expected;
        self.is_awaiting = false;
        scope.counters.allocates_answered += 1;
        scope.outbox.notes.push(Note { kind: NoteKind::Allocate, since_us: self.planned_us });
        if let Some(details) = answer.details.as_ref() {
            self.take_details(details);
        }
        true
    }

    /// The allocate call that is out was refused: nothing of it was done.
    pub(super) fn refused(&mut self, scope: &mut Scope<'_>) {
        self.is_awaiting = false;
        for id in self.request.releases.drain(..) {
            self.released.remove(&id);
            self.releases.push(id);
        }
        match &mut self.work {
            Work::Tasks(plan) => plan.refused(),
            Work::Churn { ledger, .. } => ledger.refused(),
        }
        // What it would have taken back is ours after all.
        for container in core::mem::take(&mut self.void) {
            self.take_grant(scope, container);
        }
    }

    fn take_details(&mut self, details: &ArchivedAllocateDetails) {
        if let Some(token) = details.am_rm_token.as_ref() {
            self.token = token.to_native();
        }
        for container in details.containers_from_previous_attempts.iter() {
            let id = container.container_id.to_native();
            if !self.is_known(&id) {
                self.releases.push(id);
            }
        }
    }

    /// Takes in what is new of the events of an answer or a push.
    pub(super) fn take_events(
        &mut self,
        scope: &mut Scope<'_>,
        answer: &ArchivedAllocateResponse,
        is_push: bool,
    ) {
        let mut number = answer.first_event.to_native();
        let is_empty =
            answer.allocated_containers.is_empty() && answer.completed_container_statuses.is_empty();
        if number > self.events_seen.saturating_add(1) && !is_empty {
            // The next answer brings what is missing, and these again.
            scope.counters.gaps += 1;
            return;
        }
        for container in answer.allocated_containers.iter() {
            if self.is_new(scope, number) {
                scope.counters.grants_pushed += u64::from(is_push);
                self.take_archived(scope, container);
            }
            number = number.saturating_add(1);
        }
        for status in answer.completed_container_statuses.iter() {
            if self.is_new(scope, number) {
                self.take_completion(scope, status);
            }
            number = number.saturating_add(1);
        }
    }

    /// It was pushed so much since its last call that little more may follow before the next.
    pub(super) const fn has_much_to_tell(&self) -> bool {
        self.events_seen.saturating_sub(self.events_told) >= EVENTS_PUSHED_MAX as u64 / 2
    }

    const fn is_new(&mut self, scope: &mut Scope<'_>, number: u64) -> bool {
        if number <= self.events_seen {
            scope.counters.repeated += 1;
            return false;
        }
        self.events_seen = number;
        true
    }

    fn take_archived(&mut self, scope: &mut Scope<'_>, container: &ArchivedContainer) {
        if let Work::Churn { ledger, asked_us, .. } = &mut self.work {
            // Nothing is started: the id is all that is needed.
            let id = container.container_id.to_native();
            scope.counters.grants += 1;
            scope.outbox.notes.push(Note { kind: NoteKind::AskToGrant, since_us: *asked_us });
            match ledger.take(container.grant_number.to_native()) {
                Grant::Accepted { missing } => scope.counters.lost += missing,
                Grant::Unwanted => scope.counters.unwanted += 1,
                Grant::Surplus => scope.counters.over_granted += 1,
                Grant::Void | Grant::Repeated => {
                    scope.counters.duplicated += 1;
                    return;
                }
            }
            if !self.granted.insert(id.container_id & SEQUENCE_MASK) {
                scope.counters.duplicated += 1;
            }
            self.releases.push(id);
            return;
        }
        match rkyv::deserialize::<Container, BoxedError>(container) {
            Ok(container) => self.take_grant(scope, container),
            Err(_) => scope.counters.unexpected += 1,
        }
    }

    fn take_grant(&mut self, scope: &mut Scope<'_>, container: Container) {
        let Work::Tasks(plan) = &mut self.work else { return };
        let sequence = container.container_id.container_id & SEQUENCE_MASK;
        let is_own = container.container_id.application_attempt_id == self.attempt_id;
        let group = plan.group_of(container.priority, container.allocation_request_id);
        let (Some(group), true) = (group, is_own) else {
            // Of an ask that was never made.
            scope.counters.over_granted += 1;
            self.releases.push(container.container_id);
            return;
        };
        match plan.ledger_mut(group).take(container.grant_number) {
            Grant::Void => {
                scope.counters.voided += 1;
                self.void.push(container);
                return;
            }
            Grant::Repeated => {
                scope.counters.duplicated += 1;
                return;
            }
            Grant::Surplus => {
                scope.counters.over_granted += 1;
                self.granted.insert(sequence);
                self.releases.push(container.container_id);
                return;
            }
            Grant::Unwanted => {
                scope.counters.unwanted += 1;
                self.granted.insert(sequence);
                self.releases.push(container.container_id);
                return;
            }
            Grant::Accepted { missing } => scope.counters.lost += missing,
        }
        if !self.granted.insert(sequence) {
            scope.counters.duplicated += 1;
            return;
        }
        scope.counters.grants += 1;
        let Some(start) = plan.start(group, container.container_id.container_id) else {
            self.releases.push(container.container_id);
            return;
        };
        scope.outbox.notes.push(Note { kind: NoteKind::AskToGrant, since_us: start.asked_us });
        scope.outbox.starts.push(ContainerStart {
            container,
            user: Arc::clone(&self.user),
            duration_us: start.duration_us,
            asked_us: start.asked_us,
            granted_us: scope.now_us,
        });
    }

    fn take_completion(&mut self, scope: &mut Scope<'_>, status: &ArchivedCompletedContainer) {
        let id = status.container_id.to_native();
        let sequence = id.container_id & SEQUENCE_MASK;
        let exit_status = status.exit_status.to_native();
        if self.released.remove(&id) {
            if self.is_known(&id) {
                self.ended.insert(sequence);
            }
            scope.counters.released += 1;
            return;
        }
        if !self.is_known(&id) {
            scope.counters.unknown_completions += 1;
            return;
        }
        if !self.ended.insert(sequence) {
            scope.counters.duplicated += 1;
            return;
        }
        // Its release crosses its end.
        self.releases.retain(|release| *release != id);
        scope.counters.completed += 1;
        scope.counters.aborted += u64::from(exit_status < EXIT_STATUS_OWN);
        if let Work::Tasks(plan) = &mut self.work
            && plan.ended(id.container_id, exit_status == 0, exit_status > EXIT_STATUS_OWN)
        {
            self.unlock_us = plan.unlock(scope.now_us);
        }
    }

    /// The node may forget a container that ended, so the ApplicationMaster was told. True when it was not.
    pub(super) fn is_untold(&self, container: u64) -> bool {
        matches!(self.stage, Stage::Running)
            && self.plan().is_some_and(|plan| plan.is_running(container))
            && !self.request.releases.iter().any(|id| id.container_id == container)
    }

    /// Whether it is time for its last word, and which.
    pub(super) fn wants_to_finish(&self, now_us: u64) -> Option<FinalApplicationStatus> {
        let Work::Tasks(plan) = &self.work else { return None };
        if plan.is_failed() {
            return Some(FinalApplicationStatus::Failed);
        }
        let least_us = self.spec.am.least_duration_ms.saturating_mul(1_000);
        let is_over = now_us >= self.registered_us.saturating_add(least_us);
        (plan.is_done() && is_over && self.releases.is_empty()).then_some(FinalApplicationStatus::Succeeded)
    }

    /// When its least duration is over.
    pub(super) fn least_end_us(&self) -> u64 {
        self.registered_us.saturating_add(self.spec.am.least_duration_ms.saturating_mul(1_000))
    }

    /// Its next request is its last word.
    pub(super) const fn finish(&mut self, now_us: u64, status: FinalApplicationStatus) {
        self.stage = Stage::Finishing;
        self.final_status = status;
        self.planned_us = now_us;
    }

    /// It ends by itself.
    pub(super) fn exit(&mut self, scope: &mut Scope<'_>, exit_status: i32) {
        self.stage = Stage::Gone;
        self.is_awaiting = false;
        if let Some((container_id, node)) = self.container {
            scope.outbox.exits.push(AmExit { node, container_id, exit_status });
        }
    }
}

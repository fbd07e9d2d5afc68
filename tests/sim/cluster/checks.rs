//! What has to hold of a whole cluster: exactness, capacity, order of storing and showing, progress, rest.
//! Owns: [`Seen`]: what was said, stored and done so far. Called by: the run, for everything a role says and at its end.
//! Does not: decide anything of the run. Thread: the run's.
//! Invariant: a violation says who, what was seen, and what would have been right.

use std::collections::{BTreeMap, BTreeSet};

use heddle::engine::application::message::UpdatePurpose;
use heddle::engine::application::{ApplicationReply, StoreEvent, StoreOperation};
use heddle::engine::batch::StreamRef;
use heddle::engine::event::{NodeCommand, NodeOrder};
use heddle::engine::scheduler::Totals;
use heddle::engine::scheduler::message::ApplicationEvent;
use heddle_wire::application_client::GetApplicationReportResponse;
use heddle_wire::application_master::{
    AllocateResponse, FinishApplicationMasterResponse, RegisterApplicationMasterResponse,
};
use heddle_wire::frame::Frame;
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ContainerId, FinalApplicationStatus, NodeHandle,
    YarnApplicationState,
};
use heddle_wire::{Opcode, RejectCode, decode, message};

use super::kinds::{Happening, Tally};
use super::world::{Link, World};

/// What was seen of a run.
#[derive(Debug)]
pub(crate) struct Seen {
    applications: usize,
    /// Number in the workload, by id.
    number_of: BTreeMap<ApplicationId, usize>,
    /// Applications that something was done to which may cost them their success.
    touched: BTreeSet<ApplicationId>,
    pub(super) queues_touched: bool,
    saved: BTreeSet<ApplicationId>,
    saved_attempts: BTreeSet<ApplicationAttemptId>,
    /// Final states in the store, as YARN numbers them.
    finals: BTreeMap<ApplicationId, u8>,
    /// What the last attempt said of itself.
    final_status: BTreeMap<ApplicationId, u8>,
    handles: BTreeMap<u64, ApplicationAttemptId>,
    /// Event numbers under which an attempt was told of a container's grant and end.
    granted: BTreeMap<(u64, ContainerId), u64>,
    ended: BTreeMap<(u64, ContainerId), u64>,
    /// Grants taken back before they were seen: an end was sent under their number.
    void: BTreeSet<(u64, ContainerId)>,
    /// ApplicationMasters that were launched, with container and node.
    pub(super) masters: BTreeMap<ApplicationAttemptId, Option<(ContainerId, NodeHandle)>>,
    /// Attempts the scheduler has removed: nobody has to be told of their containers any more.
    gone: BTreeSet<ApplicationAttemptId>,
    admin: BTreeMap<u64, Opcode>,
    expired: Vec<ApplicationAttemptId>,
}

fn short(id: &ApplicationId) -> u32 {
    id.id
}

impl Seen {
    pub(super) const fn new(applications: usize) -> Self {
        Self {
            applications,
            number_of: BTreeMap::new(),
            touched: BTreeSet::new(),
            queues_touched: false,
            saved: BTreeSet::new(),
            saved_attempts: BTreeSet::new(),
            finals: BTreeMap::new(),
            final_status: BTreeMap::new(),
            handles: BTreeMap::new(),
            granted: BTreeMap::new(),
            ended: BTreeMap::new(),
            void: BTreeSet::new(),
            masters: BTreeMap::new(),
            gone: BTreeSet::new(),
            admin: BTreeMap::new(),
            expired: Vec::new(),
        }
    }

    pub(super) fn touch(&mut self, id: ApplicationId) {
        self.touched.insert(id);
    }

    pub(super) fn note_master(
        &mut self,
        attempt: ApplicationAttemptId,
        container: Option<(ContainerId, NodeHandle)>,
    ) {
        self.masters.insert(attempt, container);
    }

    /// Whether an attempt has ended for the scheduler.
    pub(super) fn is_gone(&self, attempt: &ApplicationAttemptId) -> bool {
        self.gone.contains(attempt)
    }

    /// Whether a container's end was sent to an ApplicationMaster; what is lost on the way is sent again by its number.
    pub(super) fn is_told(&self, id: &ContainerId) -> bool {
        self.ended.keys().any(|(_, ended)| ended == id)
    }

    pub(super) fn granted(&self) -> impl Iterator<Item = ContainerId> {
        self.granted.keys().map(|(_, id)| *id)
    }

    /// Routing keys of all attempts there ever were.
    pub(super) fn handles(&self) -> impl Iterator<Item = u64> {
        self.handles.keys().copied()
    }

    // What administrators ask is answered once each:

    pub(super) fn admin_asked(&mut self, id: u64, opcode: Opcode) {
        self.admin.insert(id, opcode);
    }

    pub(super) fn admin_answered(&mut self, id: u64, opcode: Opcode) -> Result<(), String> {
        match self.admin.remove(&id) {
            Some(asked) if asked == opcode => Ok(()),
            asked => Err(format!("{opcode:?} {id} is answered, asked was {asked:?}")),
        }
    }

    /// Somebody who may nothing is refused, or shown what everybody may see.
    pub(super) fn stranger_answered(&mut self, frame: &Frame<'_>, tally: &mut Tally) -> Result<(), String> {
        let header = &frame.header;
        self.admin_answered(header.correlation_id, header.opcode)?;
        if header.flags.is_reject() {
            let reject =
                message::decode_reject(header.opcode, frame.body()).map_err(|error| error.to_string())?;
            return match RejectCode::from_number(reject.code) {
                Some(RejectCode::AccessControl) => {
                    tally.hit(Happening::Denied);
                    Ok(())
                }
                Some(RejectCode::ApplicationNotFound) => Ok(()),
                Some(code) if code.is_retryable() => Ok(()),
                code => Err(format!("a stranger is told {code:?}: {}", reject.message)),
            };
        }
        if header.opcode != Opcode::GetApplicationReport {
            return Err(format!("a stranger's {:?} is carried out", header.opcode));
        }
        let answer: GetApplicationReportResponse = decode(frame.body()).map_err(|error| error.to_string())?;
        let report = answer.application_report;
        let texts = [&report.host, &report.tracking_url, &report.original_tracking_url, &report.diagnostics];
        let is_secret = report.resource_usage.is_none()
            && report.am_rm_token.is_none()
            && report.attempt_handle.is_none()
            && report.rpc_port == -1;
        if !is_secret || texts.iter().any(|text| **text != "N/A") {
            return Err(format!("a stranger is shown {report:?}"));
        }
        tally.hit(Happening::Sanitised);
        Ok(())
    }

    // The store:

    /// An operation is durable.
    pub(super) fn stored(&mut self, operation: &StoreOperation) {
        match operation {
            StoreOperation::SaveApplication(record) => {
                let id = record.submission.application_id;
                self.saved.insert(id);
                if let Some(number) = record.submission.name.strip_prefix("app-") {
                    self.number_of.insert(id, number.parse().unwrap_or(usize::MAX));
                }
            }
            StoreOperation::UpdateApplication { state, purpose: UpdatePurpose::Final } => {
                self.finals.insert(state.application_id, state.final_state.unwrap_or(0));
            }
            StoreOperation::SaveAttempt(record) => {
                self.saved_attempts.insert(record.attempt_id);
            }
            StoreOperation::UpdateAttempt { record, purpose: UpdatePurpose::Final } => {
                self.final_status.insert(record.attempt_id.application_id, record.final_status);
            }
            _ => {}
        }
    }

    /// The store does not take an application: there may be one of that id already, which was forgotten here.
    pub(super) fn refused(&mut self, event: &StoreEvent) {
        if let StoreEvent::ApplicationSaved { application_id, result: Err(_) } = event {
            self.saved.remove(application_id);
        }
    }

    /// A client is answered: nothing is told that is not stored.
    pub(super) fn client_answered(&mut self, bytes: &[u8], tally: &mut Tally) -> Result<(), String> {
        let frame = Frame::from_slice(bytes).map_err(|error| error.to_string())?;
        if frame.header.flags.is_reject() {
            return Ok(());
        }
        match frame.header.opcode {
            Opcode::GetApplicationReport => {
                let answer: GetApplicationReportResponse =
                    decode(frame.body()).map_err(|error| error.to_string())?;
                let report = answer.application_report;
                let id = report.application_id;
                let expected = match report.state {
                    YarnApplicationState::Finished => 6,
                    YarnApplicationState::Failed => 7,
                    YarnApplicationState::Killed => 8,
                    YarnApplicationState::New | YarnApplicationState::NewSaving => return Ok(()),
                    state if !self.saved.contains(&id) => {
                        return Err(format!("application {} is shown {state:?} and not stored", short(&id)));
                    }
                    _ => return Ok(()),
                };
                // What the store refused for good is shown as such; to a stranger without the reason.
                let reason = &report.diagnostics;
                if !self.saved.contains(&id) && (reason.contains("store") || expected == 7 && reason == "N/A")
                {
                    return Ok(());
                }
                let stored = self.finals.get(&id);
                if stored != Some(&expected) {
                    let state = report.state;
                    return Err(format!(
                        "application {} is shown {state:?}, stored is {stored:?}",
                        short(&id)
                    ));
                }
            }
            Opcode::GetQueueInfo | Opcode::GetContainers | Opcode::ExplainApplication => {
                tally.hit(Happening::Queried);
            }
            Opcode::MoveApplicationAcrossQueues => tally.hit(Happening::Moved),
            Opcode::UpdateApplicationPriority => tally.hit(Happening::PriorityUpdated),
            Opcode::UpdateApplicationTimeouts => tally.hit(Happening::TimeoutUpdated),
            Opcode::SignalToContainer => tally.hit(Happening::Signalled),
            Opcode::KillApplication => tally.hit(Happening::Killed),
            Opcode::FailApplicationAttempt => tally.hit(Happening::AttemptFailed),
            Opcode::UpdateNodeResource => tally.hit(Happening::CapacityUpdated),
            Opcode::AddToClusterNodeLabels => tally.hit(Happening::LabelsAdded),
            Opcode::ReplaceLabelsOnNodes => tally.hit(Happening::LabelsReplaced),
            Opcode::RemoveFromClusterNodeLabels => tally.hit(Happening::LabelsRemoved),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn replied(&self, reply: &ApplicationReply, tally: &mut Tally) {
        if matches!(reply, ApplicationReply::QueuesReplaced { .. }) {
            tally.hit(Happening::QueuesReplaced);
        }
    }

    // The scheduler and the door:

    /// Nodes are ordered: an ApplicationMaster is launched when its attempt is stored.
    pub(super) fn ordered(&self, command: &NodeCommand) -> Result<(), String> {
        if let NodeOrder::LaunchContainer(order) = &command.order {
            let attempt_id = order.container_id.application_attempt_id;
            if !self.saved_attempts.contains(&attempt_id) {
                return Err(format!("{attempt_id} is launched and not stored"));
            }
        }
        Ok(())
    }

    pub(super) fn said(&mut self, event: &ApplicationEvent, tally: &mut Tally) {
        match event {
            ApplicationEvent::AttemptAdded { attempt_id, attempt } => {
                if attempt_id.attempt_id > 1 {
                    tally.hit(Happening::SecondAttempt);
                }
                self.handles.insert(attempt.0, *attempt_id);
            }
            ApplicationEvent::AttemptRemoved { attempt_id, .. } => {
                self.gone.insert(*attempt_id);
            }
            ApplicationEvent::Expired { attempt_id } => {
                tally.hit(Happening::MasterExpired);
                self.expired.push(*attempt_id);
            }
            _ => {}
        }
    }

    /// `is_gone`: the stream is, and nobody hears the answer.
    pub(super) fn master_answered(
        &mut self,
        stream: StreamRef,
        is_gone: bool,
        asked: &[u8],
        bytes: &[u8],
        tally: &mut Tally,
    ) -> Result<(), String> {
        let frame = Frame::from_slice(bytes).map_err(|error| error.to_string())?;
        let header = frame.header;
        let asked = Frame::from_slice(asked).map_err(|error| error.to_string())?.header;
        if (asked.opcode, asked.correlation_id) != (header.opcode, header.correlation_id) {
            return Err(format!("{:?} is answered with {:?}", asked.opcode, header.opcode));
        }
        let is_foreign = Link::of(stream) == Link::Admin;
        if header.flags.is_reject() {
            let reject =
                message::decode_reject(header.opcode, frame.body()).map_err(|error| error.to_string())?;
            let code = RejectCode::from_number(reject.code);
            let is_expected = match code {
                Some(RejectCode::ApplicationAttemptNotFound) => true,
                // An answer was lost, and the same is said again; or its attempt has ended meanwhile. Of allocates only one
                // that was late, and said again on the next stream before.
                Some(RejectCode::InvalidApplicationMasterRequest) => {
                    header.opcode != Opcode::Allocate || is_gone
                }
                // The last word of one whose attempt ended before it was registered.
                Some(RejectCode::NameNotAllowed) => header.opcode == Opcode::FinishApplicationMaster,
                // Late, and without a token: the next stream has the session.
                Some(RejectCode::InvalidToken) => is_gone,
                Some(code) => code.is_retryable(),
                None => false,
            };
            return if is_expected || is_foreign {
                Ok(())
            } else {
                Err(format!("an ApplicationMaster is told {code:?}: {}", reject.message))
            };
        }
        if is_foreign {
            return Err(format!("a stranger's {:?} is answered with {header:?}", header.opcode));
        }
        match header.opcode {
            Opcode::Allocate => self.events(&frame, false, tally),
            Opcode::RegisterApplicationMaster => {
                let answer: RegisterApplicationMasterResponse =
                    decode(frame.body()).map_err(|error| error.to_string())?;
                if !answer.containers_from_previous_attempts.is_empty() {
                    tally.hit(Happening::ContainersKept);
                }
                Ok(())
            }
            Opcode::FinishApplicationMaster => {
                let answer: FinishApplicationMasterResponse =
                    decode(frame.body()).map_err(|error| error.to_string())?;
                // An unmanaged one is let go at once.
                let attempt = self.handles.get(&header.routing_key);
                let attempt = attempt.filter(|attempt| matches!(self.masters.get(*attempt), Some(Some(_))));
                match attempt.map(|attempt| attempt.application_id) {
                    Some(id) if answer.is_unregistered && !self.finals.contains_key(&id) => {
                        Err(format!("application {} is unregistered and its end not stored", short(&id)))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    pub(super) fn pushed(&mut self, bytes: &[u8], tally: &mut Tally) -> Result<(), String> {
        let frame = Frame::from_slice(bytes).map_err(|error| error.to_string())?;
        if !frame.header.flags.is_push() || frame.header.opcode != Opcode::Allocate {
            return Err(format!("an ApplicationMaster is pushed {:?}", frame.header));
        }
        self.events(&frame, true, tally)
    }

    /// Grants and ends: each is told under one number, however often.
    fn events(&mut self, frame: &Frame<'_>, is_push: bool, tally: &mut Tally) -> Result<(), String> {
        let answer: AllocateResponse = decode(frame.body()).map_err(|error| error.to_string())?;
        let key = frame.header.routing_key;
        let mut number = answer.first_event;
        for container in &answer.allocated_containers {
            let id = container.container_id;
            if self.void.contains(&(key, id)) {
                return Err(format!("{id} was taken back, and is granted as event {number}"));
            }
            match self.granted.insert((key, id), number) {
                None => tally.hit(if is_push { Happening::GrantPushed } else { Happening::Granted }),
                Some(before) if before == number => tally.hit(Happening::EventRepeated),
                Some(before) => {
                    return Err(format!("{id} is granted as event {before} and again as {number}"));
                }
            }
            number += 1;
        }
        for status in &answer.completed_container_statuses {
            let id = status.container_id;
            // Containers of earlier attempts may end under this one.
            let is_own = self.handles.get(&key) == Some(&id.application_attempt_id);
            let granted = self.granted.get(&(key, id));
            if is_own && granted.is_none() {
                return Err(format!("{id} is told to have ended and was never granted"));
            }
            if granted == Some(&number) {
                self.void.insert((key, id));
                number += 1;
                continue;
            }
            match self.ended.insert((key, id), number) {
                None if self.void.contains(&(key, id)) => {
                    return Err(format!("{id} was taken back, and ends as event {number}"));
                }
                None => {}
                Some(before) if before == number => tally.hit(Happening::EventRepeated),
                Some(before) => return Err(format!("{id} ends as event {before} and again as {number}")),
            }
            number += 1;
        }
        Ok(())
    }
}

impl World {
    /// After every step of the scheduler.
    pub(super) fn check_scheduler(&mut self, totals: &Totals) -> Result<(), String> {
        let scheduler = self.rm.scheduling.scheduler();
        // Walks everything: after some of the steps, and at the end.
        if self.now_us.is_multiple_of(4)
            && let Some(first) = scheduler.inconsistencies().first()
        {
            return Err(format!("the scheduler's sums do not agree: {first}"));
        }
        if totals.impossible_transitions > 0 {
            return Err("something happened to a container that cannot happen in its state".to_owned());
        }
        if totals.reserved_containers > 0 {
            self.tally.hit(Happening::Reserved);
        }
        // An ApplicationMaster that speaks is never taken for silent.
        for attempt in core::mem::take(&mut self.seen.expired) {
            if self.masters.ams().any(|am| am.attempt_id() == attempt) {
                return Err(format!("{attempt} is expired and lives"));
            }
        }
        let counters = self.masters.counters();
        let wrong = [
            (counters.over_granted, "granted beyond what was asked for"),
            (counters.duplicated, "granted or ended twice"),
            (counters.lost, "lost"),
            (counters.wrong_ids, "answered with wrong ids"),
            (counters.unexpected, "not to be understood"),
        ];
        match wrong.iter().find(|(count, _)| *count > 0) {
            Some((count, what)) => {
                Err(format!("{count} containers or frames {what}: {:?}", counters.refusals.texts))
            }
            None => Ok(()),
        }
    }

    /// After every step of the application manager.
    pub(super) fn check_manager(&self) -> Result<(), String> {
        let counters = self.rm.manager.counters();
        if counters.impossible_pairs > 0 {
            return Err("something happened to an application that cannot happen in its state".to_owned());
        }
        if counters.queries_outstanding > self.plan.application.queries_max + 64 {
            return Err(format!("{} questions wait for the scheduler", counters.queries_outstanding));
        }
        Ok(())
    }

    /// What is not at rest yet, when it ought to be.
    pub(super) fn unrest(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut see = |is_so: bool, what: &dyn Fn() -> String| {
            if is_so {
                found.push(what());
            }
        };
        let totals = self.rm.scheduling.scheduler().totals();
        let counters = self.rm.manager.counters();
        see(!self.client.is_done(), &|| {
            format!("{} of {} applications ended", self.client.ended(), self.seen.applications)
        });
        for am in self.masters.ams() {
            let (id, held, wanted) = (am.attempt_id(), am.held(), am.wanted());
            see(true, &|| format!("{id} lives, holds {held} and wants {wanted} containers"));
        }
        see(!self.rm.is_idle(), &|| "something waits between roles".to_owned());
        see(totals.live_containers + totals.applications + totals.reserved_containers > 0, &|| {
            format!("{totals:?}")
        });
        see(totals.used_memory_mb + totals.pending_memory_mb > 0, &|| format!("{totals:?}"));
        see(counters.applications_by_state[..5].iter().any(|count| *count > 0), &|| format!("{counters:?}"));
        see(counters.queries_outstanding > 0, &|| format!("{} questions wait", counters.queries_outstanding));
        let (rm, seen) = (&self.rm, &self.seen);
        see(rm.calls.0 != rm.calls.1, &|| format!("{} calls, {} answers", rm.calls.0, rm.calls.1));
        see(rm.told.0 != rm.told.1, &|| format!("{} commands, {} replies", rm.told.0, rm.told.1));
        see(!seen.admin.is_empty(), &|| format!("not answered: {:?}", seen.admin));
        for node in (0..self.plan.nodes).filter(|node| !self.killed_nodes.contains(node)) {
            let (running, ended) = (self.fleet.digest(node).count, self.fleet.completed(node));
            see(running > 0 || ended > 0, &|| {
                format!("node {node} ({:?}) runs {running} and keeps {ended} ended", self.fleet.state(node))
            });
        }
        found
    }

    /// At rest: what came of it all.
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        if let Some(first) = self.rm.scheduling.scheduler().inconsistencies().first() {
            return Err(format!("at rest the scheduler's sums do not agree: {first}"));
        }
        let counters = self.rm.manager.counters();
        let kept: u32 = counters.applications_by_state[5..].iter().sum();
        let most = self.plan.application.max_completed_applications;
        if kept > most {
            return Err(format!("{kept} completed applications are kept, at most {most} may be"));
        }
        let stored = self.rm.store.applications().len();
        let is_store_whole = self.plan.store_fails_permille == 0;
        if is_store_whole && stored > self.plan.application.store_max_completed_applications as usize {
            return Err(format!("{stored} applications are left in the store"));
        }
        for (id, number) in &self.seen.number_of {
            let Some(end) = self.seen.finals.get(id) else {
                return Err(format!("app-{number} has no end in the store"));
            };
            let status = self.seen.final_status.get(id).copied();
            let is_success = *end == 6 && status == Some(FinalApplicationStatus::Succeeded as u8);
            if !is_success && !self.seen.touched.contains(id) && !self.seen.queues_touched {
                return Err(format!(
                    "app-{number} (application {}) came to state {end} with status {status:?}, and nobody did it any harm: {:?}",
                    short(id),
                    self.client.counters().refusals.texts
                ));
            }
        }
        let fleet = self.fleet.counters();
        if fleet.tokens_wrong > 0 {
            return Err(format!("{} wrong tokens", fleet.tokens_wrong));
        }
        let at_limit = [Happening::UserLimitPassed, Happening::KeptByUserLimit];
        if at_limit.iter().all(|happening| self.tally.count(*happening) > 0) {
            self.tally.hit(Happening::LimitedUsers);
        }
        let masters = self.masters.counters();
        self.tally
            .add(Happening::GrantVoided, self.rm.scheduling.application_master().counters().grants_voided);
        self.tally.add(Happening::EventGap, masters.gaps);
        self.tally.add(Happening::ContainerLost, masters.aborted);
        self.tally.add(Happening::ContainerReleased, masters.released);
        self.tally.add(Happening::Finished, counters.finished);
        self.tally.add(Happening::Failed, counters.failed);
        self.tally.add(Happening::KilledEnd, counters.killed);
        self.tally.add(Happening::Evicted, counters.evicted);
        Ok(())
    }
}

//! What clients ask: reports and lists of applications, attempts, containers and queues.
//! Owns: filters and pages. Called by: `client`. Thread: `rm-app`.
//! Does not: know what containers and queues are like; the scheduler is asked, and `reply` writes its answer.
//! Invariants: filters are applied in YARN's order; one call looks at a bounded number of applications, however many there
//! are, and says where to go on.

use core::ops::Bound;
use std::collections::BTreeSet;

use heddle_wire::application_client::*;
use heddle_wire::record::{
    ApplicationId, ArchivedYarnApplicationState, QueueAcl, QueueUserAclInfo, YarnApplicationState,
};
use heddle_wire::{Reject, RejectCode};

use super::access::AccessType;
use super::call::{Call, request};
use super::client::attempt_not_found;
use super::manager::ApplicationManager;
use super::message::ApplicationOutput;
use super::report::{attempt_report, size_of_attempt_report, size_of_report};
use super::rm_app::RmApp;
use super::waiting::Wait;
use crate::engine::batch::AnswerBatch;
use crate::engine::scheduler::message::Query;

/// Applications one GetApplications looks at. Where few pass the filters the page is short and says where to go on.
const APPLICATIONS_PER_CALL_MAX: usize = 16_384;

/// Estimated bytes of a page, below the largest body with room for what the estimate leaves out.
const PAGE_SIZE_MAX: usize = 768 * 1024;

impl ApplicationManager {
    pub(super) fn application_report(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let id = request!(GetApplicationReportRequest, body).application_id.to_native();
        let app = self.app(id)?;
        let may_view = self.life.access.may(call.user(), app, AccessType::View);
        if may_view && has_live_usage(app) {
            return self.query(call, Wait::Report(id), Query::Usage(vec![id]), out);
        }
        let application_report = self.life.report(app, call.user(), None);
        call.answer(answers, &GetApplicationReportResponse { application_report });
        Ok(())
    }

    pub(super) fn applications(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(GetApplicationsRequest, body);
        let filter = Filter::new(request, self);
        let after = request.after.as_ref().map(|id| id.to_native());
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = request.limit.to_native() as usize;
        let (mut ids, mut live) = (Vec::new(), Vec::new());
        let (mut next, mut size) = (None, 0);
        let mut seen = 0;
        let mut range = self.apps.range((from, Bound::Unbounded)).peekable();
        while let Some((id, app)) = range.next() {
            seen += 1;
            if filter.admits(call.user(), app, self) {
                ids.push(*id);
                // Usage is not known yet; it is bounded by the number of resource types.
                size += size_of_report(&self.life.report(app, call.user(), None)) + 1_024;
                if has_live_usage(app) && self.life.access.may(call.user(), app, AccessType::View) {
                    live.push(*id);
                }
            }
            let is_full = ids.len() >= limit || size > PAGE_SIZE_MAX || seen >= APPLICATIONS_PER_CALL_MAX;
            if is_full && range.peek().is_some() {
                next = Some(*id);
                break;
            }
        }
        drop(range);
        self.looked_at += seen;
        if live.is_empty() {
            self.answer_applications(call, &ids, &[], &[], next, answers);
            return Ok(());
        }
        let query = Query::Usage(live.clone());
        self.query(call, Wait::Applications { ids, live, next }, query, out)
    }

    pub(super) fn attempt_report(
        &self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
    ) -> Result<(), Reject> {
        let attempt_id =
            request!(GetApplicationAttemptReportRequest, body).application_attempt_id.to_native();
        let app = self.app_for(call, attempt_id.application_id, AccessType::View)?;
        let attempt = app.attempt_index(attempt_id).and_then(|index| app.attempts.get(index));
        let attempt = attempt.ok_or_else(|| attempt_not_found(attempt_id))?;
        let application_attempt_report = attempt_report(attempt);
        call.answer(answers, &GetApplicationAttemptReportResponse { application_attempt_report });
        Ok(())
    }

    pub(super) fn attempts(&self, call: &Call, body: &[u8], answers: &mut AnswerBatch) -> Result<(), Reject> {
        let request = request!(GetApplicationAttemptsRequest, body);
        let id = request.application_id.to_native();
        let app = self.app_for(call, id, AccessType::View)?;
        let after = request.after.as_ref().map_or(0, |id| id.to_native().attempt_id);
        let limit = request.limit.to_native() as usize;
        let rest = app.attempts.iter().filter(|attempt| attempt.id.attempt_id > after);
        let (application_attempts, is_more) = page(rest, limit, |attempt| {
            let report = attempt_report(attempt);
            let size = size_of_attempt_report(&report);
            (report, size)
        });
        let last = application_attempts.last().map(|report| report.application_attempt_id);
        let next = last.filter(|_| is_more);
        call.answer(answers, &GetApplicationAttemptsResponse { next, application_attempts });
        Ok(())
    }

    pub(super) fn queue_user_acls(
        &self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
    ) -> Result<(), Reject> {
        let request = request!(GetQueueUserAclsRequest, body);
        let (start, limit) = (request.start.to_native(), request.limit.to_native() as usize);
        let access = &self.life.access;
        let may_all = !access.is_enabled() || access.is_admin(call.user());
        let rest = access.queues_from(start as usize);
        let (queue_user_acls, is_more) = page(rest, limit, |(path, index)| {
            let wanted = [QueueAcl::SubmitApplications, QueueAcl::AdministerQueue];
            let may = |wanted: &QueueAcl| may_all || access.may_at(call.user(), index, *wanted);
            let user_acls = wanted.into_iter().filter(may).collect();
            (QueueUserAclInfo { queue_name: path.to_owned(), user_acls }, path.len() + 64)
        });
        let next = is_more.then(|| start.saturating_add(queue_user_acls.len() as u32));
        call.answer(answers, &GetQueueUserAclsResponse { next, queue_user_acls });
        Ok(())
    }

    pub(super) fn container_report(
        &mut self,
        call: &Call,
        body: &[u8],
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let container_id = request!(GetContainerReportRequest, body).container_id.to_native();
        self.app_for(call, container_id.application_id(), AccessType::View)?;
        self.query(call, Wait::Record, Query::Container(container_id), out)
    }

    pub(super) fn containers(
        &mut self,
        call: &Call,
        body: &[u8],
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(GetContainersRequest, body);
        let attempt_id = request.application_attempt_id.to_native();
        let app = self.app_for(call, attempt_id.application_id, AccessType::View)?;
        app.attempt_index(attempt_id).ok_or_else(|| attempt_not_found(attempt_id))?;
        let after = request.after.as_ref().map(|id| id.to_native());
        let query = Query::Containers { attempt_id, after, limit: request.limit.to_native() };
        self.query(call, Wait::Record, query, out)
    }

    pub(super) fn queue_info(
        &mut self,
        call: &Call,
        body: &[u8],
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(GetQueueInfoRequest, body);
        let query = Query::Queue {
            queue: request.queue_name.as_str().into(),
            with_children: request.include_child_queues,
            is_recursive: request.is_recursive,
            start: request.start.to_native(),
            limit: request.limit.to_native(),
        };
        self.query(call, Wait::QueueInfo, query, out)
    }

    pub(super) fn explain(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let request = request!(ExplainApplicationRequest, body);
        let application_id = request.application_id.to_native();
        let limit = request.limit.to_native();
        let app = self.app_for(call, application_id, AccessType::View)?;
        if app.is_in_scheduler {
            let query = Query::Explain { application_id, limit };
            return self.query(call, Wait::Explain(application_id), query, out);
        }
        let reason = match app.public_state() {
            YarnApplicationState::Finished | YarnApplicationState::Failed | YarnApplicationState::Killed => {
                "it has ended"
            }
            _ => "it waits for the state store",
        };
        let response = ExplainApplicationResponse {
            application_id,
            state: app.public_state(),
            queue: app.queue.to_string(),
            application_reason: Some(reason.to_owned()),
            partitions: Vec::new(),
            summary: Vec::new(),
            pending: Vec::new(),
            pending_total: 0,
        };
        call.answer(answers, &response);
        Ok(())
    }

    /// Writes a page of reports, as the applications are now. `usages` are those of `live`, in its order.
    pub(super) fn answer_applications(
        &self,
        call: &Call,
        ids: &[ApplicationId],
        live: &[ApplicationId],
        usages: &[crate::engine::scheduler::message::Usage],
        next: Option<ApplicationId>,
        answers: &mut AnswerBatch,
    ) {
        let usage_of = |id: &ApplicationId| {
            // Pages are in the order of ids.
            live.binary_search(id).ok().and_then(|index| usages.get(index))
        };
        // One that was forgotten meanwhile is left out.
        let reports = ids.iter().filter_map(|id| {
            let app = self.apps.get(id)?;
            Some(self.life.report(app, call.user(), usage_of(id)))
        });
        let mut response = GetApplicationsResponse { next, applications: reports.collect() };
        // The estimate holds but where texts grew meanwhile; then a page is cut until it fits.
        while call.try_answer(answers, &response).is_err() {
            let half = response.applications.len() / 2;
            if half == 0 {
                let text = "the report of one application is larger than a body".to_owned();
                return call.reject(answers, &Reject::new(RejectCode::Internal, text));
            }
            response.applications.truncate(half);
            response.next = response.applications.last().map(|report| report.application_id);
        }
    }
}

/// Records until there are `limit` of them or the page is large enough, each with its estimated size; and whether there is
/// more. At least one, so that every page gets on.
fn page<T, R>(
    items: impl Iterator<Item = T>,
    limit: usize,
    mut record_of: impl FnMut(T) -> (R, usize),
) -> (Vec<R>, bool) {
    let mut items = items.peekable();
    let (mut records, mut size) = (Vec::new(), 0);
    for item in items.by_ref() {
        let (record, more) = record_of(item);
        records.push(record);
        size += more;
        if records.len() >= limit || size > PAGE_SIZE_MAX {
            break;
        }
    }
    (records, items.peek().is_some())
}

/// Whether the scheduler knows what it uses.
fn has_live_usage(app: &RmApp) -> bool {
    app.is_in_scheduler && app.current_attempt().is_some_and(|attempt| !attempt.state.is_terminal())
}

/// The filters of a listing, prepared once.
struct Filter<'a> {
    request: &'a ArchivedGetApplicationsRequest,
    types: Vec<String>,
    tags: Vec<String>,
    states: Vec<YarnApplicationState>,
    users: BTreeSet<&'a str>,
    /// Full paths of queues that are known, and names as they are.
    queues: BTreeSet<&'a str>,
}

impl<'a> Filter<'a> {
    fn new(request: &'a ArchivedGetApplicationsRequest, manager: &'a ApplicationManager) -> Self {
        let state = |state: &ArchivedYarnApplicationState| {
            YarnApplicationState::ALL.into_iter().find(|known| *known as u8 == *state as u8)
        };
        let mut queues: BTreeSet<&str> = request.queues.iter().map(|queue| queue.as_str()).collect();
        let access = &manager.life.access;
        for queue in request.queues.iter() {
            let found = access.find(queue).and_then(|index| access.queues().queues.get(index as usize));
            queues.extend(found.map(|queue| &*queue.path));
        }
        Self {
            request,
            types: request.application_types.iter().map(|kind| kind.to_lowercase()).collect(),
            tags: request.application_tags.iter().map(|tag| tag.to_lowercase()).collect(),
            states: request.application_states.iter().filter_map(state).collect(),
            users: request.users.iter().map(|user| user.as_str()).collect(),
            queues,
        }
    }

    /// Whether a queue is wanted: as it is named, by its last name, or, where an application was never taken by its queue and
    /// has what was asked for, by its full path.
    fn admits_queue(&self, queue: &str, manager: &ApplicationManager) -> bool {
        let access = &manager.life.access;
        let last = queue.rsplit_once('.').map_or(queue, |(_, last)| last);
        let path = || access.queues().queues.get(access.find(queue)? as usize).map(|queue| &*queue.path);
        self.queues.is_empty()
            || self.queues.contains(queue)
            || self.queues.contains(last)
            || path().is_some_and(|path| self.queues.contains(path))
    }

    /// Scope OWN, queue, type, state, user, start, finish, tags, access, name: YARN's order.
    fn admits(&self, user: &str, app: &RmApp, manager: &ApplicationManager) -> bool {
        let request = self.request;
        let within = |value: u64, begin: Option<u64>, end: Option<u64>| {
            begin.is_none_or(|begin| value >= begin) && end.is_none_or(|end| value <= end)
        };
        let number = |value: &rkyv::option::ArchivedOption<rkyv::rend::unaligned::u64_ule>| {
            value.as_ref().map(|value| value.to_native())
        };
        let of = &app.submission;
        (request.scope != ArchivedApplicationsRequestScope::Own || *of.user == *user)
            && self.admits_queue(&app.queue, manager)
            && (self.types.is_empty() || self.types.contains(&of.application_type.to_lowercase()))
            && (self.states.is_empty() || self.states.contains(&app.public_state()))
            && (self.users.is_empty() || self.users.contains(&*of.user))
            && within(app.start_time_ms, number(&request.start_begin_ms), number(&request.start_end_ms))
            && within(app.finish_time_ms, number(&request.finish_begin_ms), number(&request.finish_end_ms))
            && (self.tags.is_empty() || self.tags.iter().any(|tag| of.tags.iter().any(|own| **own == **tag)))
            && (request.scope != ArchivedApplicationsRequestScope::Viewable
                || manager.life.access.may(user, app, AccessType::View))
            && request.name.as_ref().is_none_or(|name| *name.as_str() == *of.name)
    }
}

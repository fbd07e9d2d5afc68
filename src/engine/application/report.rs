//! Reports of applications and attempts: what who may see.
//! Owns: their making. Called by: `client`, `reply`, `audit`. Does not: ask the scheduler; usage is handed in.
//! Invariant: one who may not view gets identity, state and times, nothing of attempts, text or usage.

use heddle_wire::record::{
    ApplicationAttemptReport, ApplicationReport, ApplicationResourceUsageReport, ApplicationTimeout,
    ApplicationTimeoutType, AttemptHandle, LogAggregationStatus, Resource, ResourceSeconds, TokenMac,
};
use heddle_wire::token::{AmRmTokenIdentifier, Identifier as _, TokenKey};

use super::access::AccessType;
use super::call::resource_to;
use super::lifecycle::Lifecycle;
use super::rm_app::{RmApp, UsageTotals};
use super::rm_app_attempt::RmAppAttempt;
use super::rm_app_attempt_state::RmAppAttemptState;
use crate::engine::scheduler::message::Usage;

/// What is told where there is nothing to tell, or nothing to tell this user.
const NOT_AVAILABLE: &str = "N/A";

/// A text that is there only while an AM is, as YARN tells it.
fn or_not_available(text: &str) -> String {
    if text.is_empty() { NOT_AVAILABLE } else { text }.to_owned()
}

/// Where the AM of an attempt is, or that it is nowhere.
pub(super) fn am_host(attempt: Option<&RmAppAttempt>) -> String {
    or_not_available(attempt.map_or("", |attempt| &attempt.host))
}

/// Where people look at an attempt: where its AM said, while that one lives or has finished well. A dead AM is never
/// pointed at, and there are no pages of the ResourceManager to point at instead.
pub(super) fn tracking_url(attempt: Option<&RmAppAttempt>) -> String {
    let is_well = |state| {
        use RmAppAttemptState as S;
        matches!(state, S::Running | S::Finishing | S::Finished)
    };
    let is_pointed_at = |attempt: &&RmAppAttempt| {
        let is_ending = attempt.state == RmAppAttemptState::FinalSaving;
        is_well(if is_ending { attempt.target.state() } else { attempt.state })
    };
    or_not_available(attempt.filter(is_pointed_at).map_or("", |attempt| &attempt.original_tracking_url))
}

impl Lifecycle {
    /// The report of an application for `user`. `live` is what its current attempt uses; `None` = nothing.
    pub(super) fn report(&self, app: &RmApp, user: &str, live: Option<&Usage>) -> ApplicationReport {
        let may_view = self.access.may(user, app, AccessType::View);
        let attempt = app.current_attempt();
        let mut report = ApplicationReport {
            application_id: app.id(),
            current_application_attempt_id: None,
            user: app.submission.user.to_string(),
            queue: app.queue.to_string(),
            name: app.submission.name.to_string(),
            application_type: app.submission.application_type.to_string(),
            application_tags: app.submission.tags.iter().map(ToString::to_string).collect(),
            state: app.public_state(),
            final_application_status: app.final_status(),
            progress: 0.0,
            host: NOT_AVAILABLE.to_owned(),
            rpc_port: -1,
            tracking_url: NOT_AVAILABLE.to_owned(),
            original_tracking_url: NOT_AVAILABLE.to_owned(),
            diagnostics: NOT_AVAILABLE.to_owned(),
            submit_time_ms: app.submit_time_ms,
            start_time_ms: app.start_time_ms,
            launch_time_ms: app.launch_time_ms,
            finish_time_ms: app.finish_time_ms,
            resource_usage: None,
            log_aggregation_status: LogAggregationStatus::Disabled,
            is_unmanaged_am: app.submission.is_unmanaged,
            priority: app.priority,
            app_node_label_expression: app.submission.node_label_expression.as_deref().map(Into::into),
            am_node_label_expression: app
                .submission
                .am
                .as_ref()
                .and_then(|am| am.node_label.as_deref())
                .map(Into::into),
            application_timeouts: self.timeouts(app),
            attempt_handle: None,
            am_rm_token: None,
        };
        if !may_view {
            return report;
        }
        report.diagnostics = app.diagnostics.as_str().to_owned();
        report.resource_usage = Some(Box::new(usage_report(&app.used, live)));
        report.tracking_url = tracking_url(attempt);
        report.original_tracking_url = tracking_url(attempt);
        report.host = am_host(attempt);
        if let Some(attempt) = attempt {
            report.current_application_attempt_id = Some(attempt.id);
            report.progress = attempt.progress;
            report.rpc_port = attempt.rpc_port;
            if app.diagnostics.is_empty() {
                report.diagnostics = attempt.diagnostics.as_str().to_owned();
            }
            if app.submission.is_unmanaged
                && *app.submission.user == *user
                && attempt.state == RmAppAttemptState::Launched
            {
                report.attempt_handle = attempt.handle.map(|handle| AttemptHandle(handle.0));
                report.am_rm_token = self.am_rm_token(attempt);
            }
        }
        report
    }

    /// What an unmanaged AM registers with.
    fn am_rm_token(&self, attempt: &RmAppAttempt) -> Option<TokenMac> {
        let (key_id, secret) = self.settings.am_rm_token_keys.current.as_ref()?;
        let attempt_handle = AttemptHandle(attempt.handle?.0);
        let identifier = AmRmTokenIdentifier { application_attempt_id: attempt.id, attempt_handle };
        Some(identifier.sign(&TokenKey::new(*key_id, secret), &mut Vec::new()))
    }

    fn timeouts(&self, app: &RmApp) -> Vec<ApplicationTimeout> {
        let remaining_ms = app.expires_at_ms.map(|at_ms| {
            let until = if app.finish_time_ms == 0 { self.now_ms() } else { app.finish_time_ms };
            at_ms.saturating_sub(until)
        });
        let timeout_type = ApplicationTimeoutType::Lifetime;
        vec![ApplicationTimeout { timeout_type, expires_at_ms: app.expires_at_ms, remaining_ms }]
    }
}

/// The report of an attempt.
pub(super) fn attempt_report(attempt: &RmAppAttempt) -> ApplicationAttemptReport {
    ApplicationAttemptReport {
        application_attempt_id: attempt.id,
        state: attempt.public_state(),
        am_container_id: attempt.am_container,
        host: am_host(Some(attempt)),
        rpc_port: attempt.rpc_port,
        tracking_url: tracking_url(Some(attempt)),
        original_tracking_url: tracking_url(Some(attempt)),
        diagnostics: attempt.diagnostics.as_str().to_owned(),
        start_time_ms: attempt.start_time_ms,
        finish_time_ms: attempt.finish_time_ms,
    }
}

fn usage_report(used: &UsageTotals, live: Option<&Usage>) -> ApplicationResourceUsageReport {
    let sums = |ended: &std::collections::BTreeMap<Box<str>, u64>, live: Option<&[(Box<str>, u64)]>| {
        let mut all = ended.clone();
        for (name, seconds) in live.unwrap_or_default() {
            let sum = all.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*seconds);
        }
        let item = |(name, seconds): (Box<str>, u64)| ResourceSeconds { name: name.into(), seconds };
        all.into_iter().map(item).collect::<Vec<_>>()
    };
    let mut report = ApplicationResourceUsageReport {
        resource_seconds: sums(&used.resource_seconds, live.map(|live| live.resource_seconds.as_slice())),
        preempted_resource_seconds: sums(
            &used.preempted_resource_seconds,
            live.map(|live| live.preempted_resource_seconds.as_slice()),
        ),
        ..ApplicationResourceUsageReport::default()
    };
    let Some(live) = live else { return report };
    report.num_used_containers = live.containers_running;
    report.num_reserved_containers = live.containers_reserved;
    report.used_resources = resource_to(&live.used);
    report.reserved_resources = resource_to(&live.reserved);
    report.needed_resources =
        plus(&plus(&report.used_resources, &report.reserved_resources), &resource_to(&live.pending));
    report.queue_usage_percentage = live.queue_usage_percentage;
    report.cluster_usage_percentage = live.cluster_usage_percentage;
    report
}

fn plus(left: &Resource, right: &Resource) -> Resource {
    let mut sum = left.clone();
    sum.memory_mb = sum.memory_mb.saturating_add(right.memory_mb);
    sum.virtual_cores = sum.virtual_cores.saturating_add(right.virtual_cores);
    for item in &right.extended {
        match sum.extended.iter_mut().find(|known| known.name == item.name) {
            Some(known) => known.value = known.value.saturating_add(item.value),
            None => sum.extended.push(item.clone()),
        }
    }
    sum
}

/// An upper estimate of a report's share of an archive.
pub(super) fn size_of_report(report: &ApplicationReport) -> usize {
    let texts = [
        &report.user,
        &report.queue,
        &report.name,
        &report.application_type,
        &report.host,
        &report.tracking_url,
        &report.original_tracking_url,
        &report.diagnostics,
    ];
    let texts: usize = texts.iter().map(|text| text.len()).sum();
    let tags: usize = report.application_tags.iter().map(|tag| tag.len() + 8).sum();
    let usage = report.resource_usage.as_deref().map_or(0, |usage| {
        let seconds = usage.resource_seconds.iter().chain(&usage.preempted_resource_seconds);
        let amounts = [&usage.used_resources, &usage.reserved_resources, &usage.needed_resources];
        let amounts = amounts.iter().flat_map(|amount| &amount.extended);
        256 + seconds.map(|item| item.name.len() + 16).sum::<usize>()
            + amounts.map(|item| item.name.len() + item.units.len() + 24).sum::<usize>()
    });
    let labels = [&report.app_node_label_expression, &report.am_node_label_expression];
    let labels: usize = labels.iter().map(|label| label.as_ref().map_or(0, String::len)).sum();
    512 + texts + tags + usage + labels
}

/// The same for an attempt's report.
pub(super) const fn size_of_attempt_report(report: &ApplicationAttemptReport) -> usize {
    256 + report.host.len()
        + report.tracking_url.len()
        + report.original_tracking_url.len()
        + report.diagnostics.len()
}

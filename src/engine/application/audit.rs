//! Lines that tools read: the audit log's and the application summary.
//! Owns: their formats, as in YARN. Called by: the application manager, for every action and every completion.
//! Does not: write logs; the runtime does.
//! Invariant: a line is one line: what people chose is escaped.

use core::fmt::Write as _;
use core::net::IpAddr;

use heddle_wire::record::{ArchivedNodeId, FinalApplicationStatus};
use heddle_wire::{Reject, RejectCode};

use super::report;
use super::rm_app::RmApp;
use super::rm_app_state::RmAppState;
use crate::engine::batch::Caller;

/// An audit line in the making.
pub(super) struct Line(String);

impl Line {
    /// What a caller wanted of `target`, and whether it worked.
    pub(super) fn of<T>(caller: &Caller, operation: &str, target: &str, result: &Result<T, Reject>) -> Self {
        let line = Self::new(&caller.name, caller.address, operation, target, result.is_ok());
        let Err(reject) = result else { return line };
        match RejectCode::from_number(reject.code) {
            Some(RejectCode::AccessControl | RejectCode::RoleNotAllowed) => {
                line.failed("Unauthorized user", &reject.message)
            }
            _ => line.failed(&reject.message, "UNKNOWN"),
        }
    }

    /// What `user` did to `target`, and whether it worked.
    fn new(user: &str, address: Option<IpAddr>, operation: &str, target: &str, is_success: bool) -> Self {
        let mut line = Self(String::with_capacity(192));
        line.0.push_str("USER=");
        line.escape(user);
        if let Some(address) = address {
            let _ = write!(line.0, "\tIP={address}");
        }
        let result = if is_success { "SUCCESS" } else { "FAILURE" };
        let _ = write!(line.0, "\tOPERATION={operation}\tTARGET={target}\tRESULT={result}");
        line
    }

    /// Why it did not work: both pairs, in YARN's order and sense.
    fn failed(self, description: &str, permissions: &str) -> Self {
        self.with("DESCRIPTION", description).with("PERMISSIONS", permissions)
    }

    /// A further pair. Absent values are left out.
    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        if !value.is_empty() {
            let _ = write!(self.0, "\t{key}=");
            self.escape(value);
        }
        self
    }

    /// The line.
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Tabs and line ends would look like further pairs or lines.
    fn escape(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\t' => self.0.push_str("\\t"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                c => self.0.push(c),
            }
        }
    }
}

/// Nodes named in a line: a call may name a thousand, and a line is read by people.
const NODES_NAMED_MAX: usize = 10;

/// The nodes that a call names, for people: the first few, and how many more there are.
pub fn nodes_in_words<'a>(node_ids: impl ExactSizeIterator<Item = &'a ArchivedNodeId>) -> Box<str> {
    let mut text = String::new();
    let more = node_ids.len().saturating_sub(NODES_NAMED_MAX);
    for node_id in node_ids.take(NODES_NAMED_MAX) {
        let separator = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{separator}{}", node_id.host.as_str());
        // 0 = every NodeManager of the host.
        let port = node_id.port.to_native();
        if port != 0 {
            let _ = write!(text, ":{port}");
        }
    }
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text.into()
}

/// The line of an application's end: FINISHED and KILLED are successes, FAILED is a failure with diagnostics.
pub(super) fn completed(app: &RmApp) -> String {
    let user = &app.submission.user;
    let id = app.id().to_string();
    let line = match app.state {
        RmAppState::Finished => {
            Line::new(user, None, "Application Finished - Succeeded", "RMAppManager", true)
        }
        RmAppState::Killed => Line::new(user, None, "Application Finished - Killed", "RMAppManager", true),
        // The text has its place where YARN puts it: tools look for it there.
        _ => Line::new(user, None, "Application Finished - Failed", "RMAppManager", false)
            .failed("App failed with state: FAILED", app.diagnostics.as_str()),
    };
    line.with("APPID", &id).finish()
}

/// YARN's name of a final status.
pub(super) const fn final_status_name(status: FinalApplicationStatus) -> &'static str {
    match status {
        FinalApplicationStatus::Undefined => "UNDEFINED",
        FinalApplicationStatus::Succeeded => "SUCCEEDED",
        FinalApplicationStatus::Failed => "FAILED",
        FinalApplicationStatus::Killed => "KILLED",
        FinalApplicationStatus::Ended => "ENDED",
    }
}

/// The summary line of a completed application.
pub(super) fn summary(app: &RmApp) -> String {
    let attempt = app.current_attempt();
    let of = |amounts: &std::collections::BTreeMap<Box<str>, u64>, name: &str| {
        amounts.get(name).copied().unwrap_or(0)
    };
    let list = |amounts: &std::collections::BTreeMap<Box<str>, u64>| {
        let unit = |name: &str| match name {
            "memory-mb" => "MB".to_owned(),
            "vcores" => "vcore".to_owned(),
            name => name.to_owned(),
        };
        // Memory and virtual cores first, the others by name.
        let mut all = vec![("memory-mb", of(amounts, "memory-mb")), ("vcores", of(amounts, "vcores"))];
        let others = amounts.iter().filter(|(name, _)| !matches!(&***name, "memory-mb" | "vcores"));
        all.extend(others.map(|(name, seconds)| (&**name, *seconds)));
        let texts: Vec<String> =
            all.into_iter().map(|(name, seconds)| format!("{seconds} {}-seconds", unit(name))).collect();
        texts.join(", ")
    };
    let used = &app.used.resource_seconds;
    let preempted = &app.used.preempted_resource_seconds;
    let tags: Vec<&str> = app.submission.tags.iter().map(|tag| &**tag).collect();
    let mut line = String::with_capacity(512);
    let mut put = |key: &str, value: &str| {
        if !line.is_empty() {
            line.push(',');
        }
        line.push_str(key);
        line.push('=');
        for c in value.chars() {
            match c {
                ',' | '=' | '\\' => line.extend(['\\', c]),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                c => line.push(c),
            }
        }
    };
    put("appId", &app.id().to_string());
    put("name", &app.submission.name);
    put("user", &app.submission.user);
    put("queue", &app.queue);
    put("state", app.state.name());
    put("trackingUrl", &report::tracking_url(attempt));
    put("appMasterHost", &report::am_host(attempt));
    put("submitTime", &app.submit_time_ms.to_string());
    put("startTime", &app.start_time_ms.to_string());
    put("launchTime", &app.launch_time_ms.to_string());
    put("finishTime", &app.finish_time_ms.to_string());
    put("finalStatus", final_status_name(app.final_status()));
    put("memorySeconds", &of(used, "memory-mb").to_string());
    put("vcoreSeconds", &of(used, "vcores").to_string());
    put("preemptedMemorySeconds", &of(preempted, "memory-mb").to_string());
    put("preemptedVcoreSeconds", &of(preempted, "vcores").to_string());
    put("preemptedAMContainers", &app.preempted_am_containers.to_string());
    // Preemption of other containers is not there yet.
    put("preemptedNonAMContainers", "0");
    put("preemptedResources", "<memory:0, vCores:0>");
    put("applicationType", &app.submission.application_type);
    put("resourceSeconds", &list(used));
    put("preemptedResourceSeconds", &list(preempted));
    put("applicationTags", &tags.join(","));
    put("applicationNodeLabel", app.submission.node_label_expression.as_deref().unwrap_or(""));
    put("diagnostics", app.diagnostics.as_str());
    put("totalAllocatedContainers", &app.used.containers_allocated.to_string());
    line
}

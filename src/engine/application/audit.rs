//! Lines that tools read: the audit log's and the application summary.
//! Owns: their formats, as in YARN. Called by: the application manager, for every action and every completion.
//! Does not: write logs; the runtime does.
//! Invariant: a line is one line: what people chose is escaped.

use core::fmt::Write as _;

use heddle_wire::record::FinalApplicationStatus;

use super::rm_app::RmApp;
use super::rm_app_state::RmAppState;
use super::settings::ApplicationSettings;

/// An audit line in the making.
pub(super) struct Line(String);

impl Line {
    /// What `user` did to `target`, and whether it worked.
    pub(super) fn new(user: &str, operation: &str, target: &str, is_success: bool) -> Self {
        let mut line = Self(String::with_capacity(128));
        line.0.push_str("USER=");
        line.escape(user);
        let result = if is_success { "SUCCESS" } else { "FAILURE" };
        let _ = write!(line.0, "\tOPERATION={operation}\tTARGET={target}\tRESULT={result}");
        line
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

/// The line of an application's end: FINISHED and KILLED are successes, FAILED is a failure with diagnostics.
pub(super) fn completed(app: &RmApp) -> String {
    let user = &app.submission.user;
    let id = app.id().to_string();
    let line = match app.state {
        RmAppState::Finished => Line::new(user, "Application Finished - Succeeded", "RMAppManager", true),
        RmAppState::Killed => Line::new(user, "Application Finished - Killed", "RMAppManager", true),
        _ => Line::new(user, "Application Finished - Failed", "RMAppManager", false)
            .with("DESCRIPTION", &app.diagnostics)
            .with("PERMISSIONS", "App failed with state: FAILED"),
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
pub(super) fn summary(app: &RmApp, settings: &ApplicationSettings) -> String {
    let attempt = app.current_attempt();
    let of = |amounts: &std::collections::BTreeMap<Box<str>, u64>, name: &str| {
        amounts.get(name).copied().unwrap_or(0)
    };
    let list = |amounts: &std::collections::BTreeMap<Box<str>, u64>| {
        let unit = |name: &str| if name == "memory-mb" { "MB" } else { name }.to_owned();
        // Memory and virtual cores first, the others by name.
        let mut all = vec![("memory-mb", of(amounts, "memory-mb")), ("vcores", of(amounts, "vcores"))];
        let others = amounts.iter().filter(|(name, _)| !matches!(&***name, "memory-mb" | "vcores"));
        all.extend(others.map(|(name, seconds)| (&**name, *seconds)));
        let texts: Vec<String> =
            all.into_iter().map(|(name, seconds)| format!("{seconds} {}-seconds", unit(name))).collect();
        texts.join(", ")
    };
    let orna = |text: &str| if text.is_empty() { "N/A".to_owned() } else { text.to_owned() };
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
    put("trackingUrl", &orna(&super::report::tracking_url(app, attempt, settings)));
    put("appMasterHost", &orna(attempt.map_or("", |attempt| &attempt.host)));
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
    put("diagnostics", &app.diagnostics);
    put("totalAllocatedContainers", &app.used.containers_allocated.to_string());
    line
}

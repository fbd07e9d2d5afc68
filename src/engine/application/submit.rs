//! SubmitApplication: from a submission context to an application, in YARN's order of checks.
//! Owns: those checks. Called by: `client`. Thread: `rm-app`.
//! Does not: decide what the scheduler decides (queue states and limits); such a refusal is a FAILED application.
//! Invariants: a refused submission leaves nothing behind; every refusal names field, value and what is accepted.

use heddle_wire::application_client::{SubmitApplicationRequest, SubmitApplicationResponse};
use heddle_wire::record::{
    ApplicationAccessType, ApplicationSubmissionContext, ContainerLaunchContext, ResourceName,
    ResourceRequest,
};
use heddle_wire::{Reject, RejectCode};
use rkyv::rancor::BoxedError;

use super::audit::Line;
use super::call::{Call, request, resource_of};
use super::lifecycle::{AppInput, Lifecycle};
use super::manager::ApplicationManager;
use super::message::{AmRequest, ApplicationOutput, Submission};
use super::rm_app::RmApp;
use crate::engine::batch::AnswerBatch;
use crate::engine::scheduler::resource::{MEMORY, VIRTUAL_CORES};
use crate::engine::scheduler::settings::{Acl, QueueSettings};

/// YARN's name of the action in the audit log.
const OPERATION: &str = "Submit Application Request";

/// Longest application type, characters: longer ones are cut.
const TYPE_MAX: usize = 20;

impl ApplicationManager {
    pub(super) fn submit_application(
        &mut self,
        call: &Call,
        body: &[u8],
        answers: &mut AnswerBatch,
        out: &mut ApplicationOutput,
    ) -> Result<(), Reject> {
        let archived = request!(SubmitApplicationRequest, body);
        let id = archived.application_submission_context.application_id.to_native();
        // Known already: success, whoever asks and whatever it says. It is how a client repeats itself.
        if !self.apps.contains_key(&id) {
            let result = rkyv::deserialize::<SubmitApplicationRequest, BoxedError>(archived)
                .map_err(|error| Reject::new(RejectCode::BadBody, error.to_string()))
                .and_then(|request| self.take_submission(call, request.application_submission_context));
            let context = &archived.application_submission_context;
            let label = context.node_label_expression.as_ref().map_or("", |label| label.as_str());
            let line = Line::of(&call.caller, OPERATION, "ClientRMService", &result)
                .with("APPID", &id.to_string())
                .with("QUEUENAME", queue_of(context.queue.as_str()))
                .with("NODELABEL", label);
            out.audit.push(line.finish());
            result?;
            self.life.app_input(id, AppInput::Start);
            self.run(out);
        }
        call.answer(answers, &SubmitApplicationResponse {});
        Ok(())
    }

    fn take_submission(&mut self, call: &Call, context: ApplicationSubmissionContext) -> Result<(), Reject> {
        let settings = &self.life.settings;
        if self.active() >= settings.applications_max as usize {
            let text = format!(
                "{} applications have not completed, accepted are at most {}",
                self.active(),
                settings.applications_max
            );
            return Err(Reject::new(RejectCode::Busy, text).retry_after_ms(1_000));
        }
        let submission = self.life.check_submission(call.user(), context)?;
        let size = submission.launch_context.len() as u64;
        let kept = self.life.counters.launch_context_bytes;
        let accepted = self.life.settings.launch_context_bytes_max;
        if kept.saturating_add(size) > accepted {
            let text = format!(
                "launch contexts have {kept} bytes in all, with this one of {size}, accepted are at most {accepted}"
            );
            return Err(Reject::new(RejectCode::Busy, text).retry_after_ms(1_000));
        }
        self.life.counters.launch_context_bytes += size;
        self.life.counters.submitted += 1;
        let settings = &self.life.settings;
        let global = settings.global_am_max_attempts.max(1);
        let max_attempts = match submission.max_attempts {
            0 => settings.am_max_attempts.clamp(1, global),
            wanted => wanted.min(global),
        };
        let app = RmApp::new(submission, self.life.now_ms(), max_attempts);
        self.life.count_state(&app, true);
        self.apps.insert(app.id(), Box::new(app));
        Ok(())
    }
}

impl Lifecycle {
    /// The rest of YARN's checks, in its order: AM request, priority, queue ACL.
    fn check_submission(
        &self,
        user: &str,
        context: ApplicationSubmissionContext,
    ) -> Result<Submission, Reject> {
        let queue = queue_of(&context.queue);
        let known_queue = self.access.find(queue);
        let queue_settings = known_queue.and_then(|index| self.access.queues().queues.get(index as usize));
        let am = if context.is_unmanaged_am {
            None
        } else {
            Some(self.check_am_request(&context, queue_settings)?)
        };
        self.check_label("node_label_expression", context.node_label_expression.as_deref(), queue_settings)?;
        let maximum = self.access.queues().max_application_priority;
        let by_default = queue_settings.map(|settings| settings.default_application_priority);
        if let Some(index) = known_queue
            && !self.access.may_submit(user, index)
        {
            let text = format!(
                "User {user} does not have permission to submit {} to queue {queue}; accepted are its ACL \
                 submit-applications, its administrators and those of the queues above it",
                context.application_id
            );
            return Err(Reject::new(RejectCode::AccessControl, text));
        }
        let (mut view_acl, mut modify_acl, mut acls) = (Acl::default(), Acl::default(), Vec::new());
        for acl in &context.am_container_spec.application_acls {
            match acl.access_type {
                ApplicationAccessType::ViewApp => view_acl = Acl::parse(&acl.acl),
                ApplicationAccessType::ModifyApp => modify_acl = Acl::parse(&acl.acl),
            }
            acls.push((acl.access_type as u8, acl.acl.as_str().into()));
        }
        let launch_context =
            if context.is_unmanaged_am { Box::default() } else { archive(&context.am_container_spec)? };
        let orelse =
            |text: &str, default: &str| -> Box<str> { if text.is_empty() { default } else { text }.into() };
        Ok(Submission {
            application_id: context.application_id,
            user: user.into(),
            name: orelse(&context.application_name, "N/A"),
            application_type: orelse(&context.application_type, "YARN")
                .chars()
                .take(TYPE_MAX)
                .collect::<String>()
                .into(),
            queue: queue.into(),
            // What the queue gives is capped too. An unknown queue gives none: the scheduler refuses it.
            priority: context.priority.or(by_default).unwrap_or(0).min(maximum),
            is_unmanaged: context.is_unmanaged_am,
            max_attempts: context.max_app_attempts,
            am,
            keep_containers: context.keep_containers_across_application_attempts,
            tags: context.application_tags.iter().map(|tag| tag.to_lowercase().into()).collect(),
            failures_validity_interval_ms: context.attempt_failures_validity_interval_ms,
            node_label_expression: context.node_label_expression.map(Into::into),
            lifetime_s: context.application_timeouts.last().map(|timeout| timeout.timeout_s),
            view_acl,
            modify_acl,
            acls,
            launch_context,
        })
    }

    fn check_am_request(
        &self,
        context: &ApplicationSubmissionContext,
        queue: Option<&QueueSettings>,
    ) -> Result<AmRequest, Reject> {
        let invalid = |text: String| Reject::new(RejectCode::InvalidResourceRequest, text);
        let requests = &context.am_container_resource_requests;
        let is_any = |request: &&ResourceRequest| request.resource_name == ResourceName::Any;
        let any = match (requests.iter().filter(is_any).count(), &context.resource) {
            (1, _) => requests.iter().find(is_any),
            (0, Some(_)) if requests.is_empty() => None,
            (0, None) if requests.is_empty() => {
                return Err(invalid(
                    "UNKNOWN: neither resource nor am_container_resource_requests is given, one of them is needed"
                        .to_owned(),
                ));
            }
            (found, _) => {
                return Err(invalid(format!(
                    "UNKNOWN: am_container_resource_requests has {found} rows for any place, accepted is exactly 1"
                )));
            }
        };
        let Some(asked) = any.map(|row| &row.capability).or(context.resource.as_ref()) else {
            return Err(invalid("UNKNOWN: resource is missing".to_owned()));
        };
        let settings = &self.settings;
        let own_label = any.and_then(|row| row.node_label_expression.as_deref());
        let label = own_label
            .or(settings.am_default_node_label.as_deref())
            .or(context.node_label_expression.as_deref());
        self.check_label("am_container_resource_requests.node_label_expression", label, queue)?;
        let mut localities = Vec::new();
        for row in requests {
            let (name, is_rack) = match &row.resource_name {
                ResourceName::Any => continue,
                ResourceName::Rack(name) => (name, true),
                ResourceName::Host(name) => (name, false),
            };
            if row.node_label_expression.as_deref().is_some_and(|label| !label.is_empty()) {
                let text = format!(
                    "am_container_resource_requests.node_label_expression is set for {name:?}, accepted only for any \
                     place"
                );
                return Err(Reject::new(RejectCode::InvalidLabelResourceRequest, text));
            }
            localities.push((name.as_str().into(), is_rack, row.relax_locality));
        }
        let types = &settings.resource_types;
        if let Some(unknown) = asked.extended.iter().find(|item| types.index(&item.name).is_none()) {
            let known: Vec<&str> = types.types().iter().map(|kind| &*kind.name).collect();
            return Err(invalid(format!(
                "UNKNOWN: resource type {:?} is not known, accepted are {}",
                unknown.name,
                known.join(", ")
            )));
        }
        let asked = types.to_vector(&resource_of(asked));
        let maximum = match queue.and_then(|queue| queue.maximum_allocation.as_ref()) {
            Some(of_queue) => of_queue.component_min(&settings.maximum_allocation),
            None => settings.maximum_allocation.clone(),
        };
        if let Some((index, kind)) =
            types.types().iter().enumerate().find(|(index, _)| asked.get(*index) > maximum.get(*index))
        {
            return Err(invalid(format!(
                "GREATER_THEN_MAX_ALLOCATION: resource {} is {}, accepted is at most {}",
                kind.name,
                asked.get(index),
                maximum.get(index)
            )));
        }
        let minimum = &settings.minimum_allocation;
        let mut rounded = settings.calculator.normalize(&asked, minimum, &maximum, minimum);
        // A container of nothing would fit everywhere.
        if rounded.get(MEMORY) == 0 && rounded.get(VIRTUAL_CORES) == 0 {
            rounded.set(MEMORY, 1);
        }
        Ok(AmRequest {
            capability: types.to_resource(&rounded),
            node_label: label.map(Into::into),
            localities,
            relax_locality: any.is_none_or(|row| row.relax_locality),
        })
    }

    /// A label must be one label, in use, and accessible to the queue.
    fn check_label(
        &self,
        field: &str,
        label: Option<&str>,
        queue: Option<&QueueSettings>,
    ) -> Result<(), Reject> {
        let Some(label) = label.filter(|label| !label.is_empty()) else { return Ok(()) };
        let invalid = |accepted: String| {
            let text = format!("{field} is {label:?}, accepted is {accepted}");
            Err(Reject::new(RejectCode::InvalidLabelResourceRequest, text))
        };
        if !self.settings.node_labels_enabled {
            return invalid("none, node labels are not enabled".to_owned());
        }
        if label.contains("&&") {
            return invalid("one label".to_owned());
        }
        let Some(queue) = queue else { return Ok(()) };
        match &queue.accessible_node_labels {
            Some(labels) if !labels.iter().any(|known| **known == *label) => {
                invalid(format!("one that queue {} may use: {}", queue.path, labels.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

/// The queue of an application that names none.
const fn queue_of(asked: &str) -> &str {
    if asked.is_empty() { "default" } else { asked }
}

fn archive(context: &ContainerLaunchContext) -> Result<Box<[u8]>, Reject> {
    match rkyv::to_bytes::<BoxedError>(context) {
        Ok(bytes) => Ok(bytes.as_slice().into()),
        Err(error) => Err(Reject::new(RejectCode::Internal, error.to_string())),
    }
}

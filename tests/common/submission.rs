//! What a plain application is submitted with, for tests that change one thing about it.
//! Owns: [`submission`]. Called by: tests of the application manager and of real processes, each with a module of its own.
//! Does not: submit.

use heddle_wire::record::{ApplicationId, ApplicationSubmissionContext, ContainerLaunchContext, Resource};

/// An AM of 1,024 MiB and a core, in the queue that is named where none is; everything else is YARN's default.
pub(crate) fn submission(application_id: ApplicationId) -> ApplicationSubmissionContext {
    ApplicationSubmissionContext {
        application_id,
        application_name: "wordcount".to_owned(),
        application_type: String::new(),
        queue: String::new(),
        priority: None,
        am_container_spec: ContainerLaunchContext {
            commands: vec!["run".to_owned()],
            ..ContainerLaunchContext::default()
        },
        is_unmanaged_am: false,
        cancel_tokens_when_complete: true,
        max_app_attempts: 0,
        resource: Some(Resource::new(1_024, 1)),
        am_container_resource_requests: Vec::new(),
        keep_containers_across_application_attempts: false,
        application_tags: Vec::new(),
        attempt_failures_validity_interval_ms: None,
        node_label_expression: None,
        application_timeouts: Vec::new(),
        application_scheduling_properties: Vec::new(),
        log_aggregation_context: None,
    }
}

//! Checks that several protocols share: lengths of texts and lists, ranges of amounts, parts of requests.
//! Owns: those. Called by: the `check` of each request, on the thread that reads it in place.
//! Does not: know the cluster: whether a queue exists or a size may be granted is checked where that is known.
//! Invariant: a check allocates only where it fails.

use rkyv::string::ArchivedString;
use rkyv::vec::ArchivedVec;

use crate::error::DecodeError;
use crate::limits;
use crate::record::{
    ArchivedApplicationAcl, ArchivedContainerLaunchContext, ArchivedPlacementConstraintMapEntry,
    ArchivedResourceName, ArchivedResourceRequest, ArchivedSchedulingRequest, ArchivedStringPair,
};
pub(crate) use crate::resource_tracker::{check_node_id, check_resource, list, name, text};

/// Checks a URL: its length, and that it stays on one line.
pub(crate) fn url(field: &'static str, value: &str) -> Result<(), DecodeError> {
    line(field, value, limits::URL_MAX)
}

/// Checks a queue's name or path.
pub(crate) fn queue(field: &'static str, value: &str) -> Result<(), DecodeError> {
    line(field, value, limits::QUEUE_PATH_MAX)
}

/// Checks a text that stays on one line of a log or a listing.
pub(crate) fn line(field: &'static str, value: &str, accepted: usize) -> Result<(), DecodeError> {
    list(field, value.len(), accepted)?;
    if value.chars().any(char::is_control) {
        return Err(DecodeError::BadText {
            field,
            found: value.chars().take(64).collect(),
            accepted: "a text without control characters",
        });
    }
    Ok(())
}

/// Checks a list of names.
pub(crate) fn names(
    field: &'static str,
    values: &ArchivedVec<ArchivedString>,
    accepted: usize,
) -> Result<(), DecodeError> {
    list(field, values.len(), accepted)?;
    values.iter().try_for_each(|value| name(field, value))
}

/// Checks a number against a range.
pub(crate) fn range(field: &'static str, found: u64, min: u64, max: u64) -> Result<(), DecodeError> {
    if found < min || found > max {
        return Err(DecodeError::OutOfRange { field, found, min, max });
    }
    Ok(())
}

/// Checks a list of asks. Counts are the scheduler's to check.
pub(crate) fn check_resource_requests(
    field: &'static str,
    requests: &ArchivedVec<ArchivedResourceRequest>,
    accepted: usize,
) -> Result<(), DecodeError> {
    list(field, requests.len(), accepted)?;
    for request in requests.iter() {
        match &request.resource_name {
            ArchivedResourceName::Any => {}
            ArchivedResourceName::Rack(rack) => name("asks.resource_name", rack)?,
            ArchivedResourceName::Host(host) => name("asks.resource_name", host)?,
        }
        check_resource(&request.capability)?;
        if let Some(label) = request.node_label_expression.as_ref() {
            name("asks.node_label_expression", label)?;
        }
    }
    Ok(())
}

/// Checks a list of constraint-style asks.
pub(crate) fn check_scheduling_requests(
    requests: &ArchivedVec<ArchivedSchedulingRequest>,
) -> Result<(), DecodeError> {
    list("scheduling_requests", requests.len(), limits::SCHEDULING_REQUESTS_MAX)?;
    for request in requests.iter() {
        names(
            "scheduling_requests.allocation_tags",
            &request.allocation_tags,
            limits::CONTAINER_ATTRIBUTES_MAX,
        )?;
        check_resource(&request.resource_sizing.resources)?;
        text("scheduling_requests.placement_constraint", &request.placement_constraint)?;
    }
    Ok(())
}

/// Checks a constraint by tags.
pub(crate) fn check_placement_constraint(
    entry: &ArchivedPlacementConstraintMapEntry,
) -> Result<(), DecodeError> {
    names("placement_constraints.allocation_tags", &entry.allocation_tags, limits::CONTAINER_ATTRIBUTES_MAX)?;
    text("placement_constraints.placement_constraint", &entry.placement_constraint)
}

/// Checks pairs whose values are short texts.
pub(crate) fn check_pairs(
    field: &'static str,
    pairs: &ArchivedVec<ArchivedStringPair>,
    accepted: usize,
) -> Result<(), DecodeError> {
    list(field, pairs.len(), accepted)?;
    for pair in pairs.iter() {
        name(field, &pair.key)?;
        text(field, &pair.value)?;
    }
    Ok(())
}

fn check_acls(acls: &ArchivedVec<ArchivedApplicationAcl>) -> Result<(), DecodeError> {
    list("application_acls", acls.len(), limits::APPLICATION_ACLS_MAX)?;
    acls.iter().try_for_each(|acl| line("application_acls.acl", &acl.acl, limits::ACL_MAX))
}

/// Checks a launch context: every part, and all of it together.
pub(crate) fn check_launch_context(context: &ArchivedContainerLaunchContext) -> Result<(), DecodeError> {
    list("launch_context.commands", context.commands.len(), limits::LAUNCH_COMMANDS_MAX)?;
    for command in context.commands.iter() {
        list("launch_context.commands", command.len(), limits::LAUNCH_TEXT_MAX)?;
    }
    list("launch_context.environment", context.environment.len(), limits::LAUNCH_ENVIRONMENT_MAX)?;
    for pair in context.environment.iter() {
        name("launch_context.environment.key", &pair.key)?;
        list("launch_context.environment.value", pair.value.len(), limits::LAUNCH_TEXT_MAX)?;
    }
    list("launch_context.local_resources", context.local_resources.len(), limits::LOCAL_RESOURCES_MAX)?;
    for resource in context.local_resources.iter() {
        name("launch_context.local_resources.key", &resource.key)?;
        url("launch_context.local_resources.url", &resource.url)?;
        name("launch_context.local_resources.pattern", &resource.pattern)?;
    }
    list("launch_context.service_data", context.service_data.len(), limits::SERVICE_DATA_MAX)?;
    for data in context.service_data.iter() {
        name("launch_context.service_data.key", &data.key)?;
        list("launch_context.service_data.value", data.value.len(), limits::SECRET_MAX)?;
    }
    list("launch_context.tokens", context.tokens.len(), limits::LAUNCH_TEXT_MAX)?;
    check_acls(&context.application_acls)?;
    if let Some(retry) = context.container_retry_context.as_ref() {
        list(
            "launch_context.container_retry_context.error_codes",
            retry.error_codes.len(),
            limits::RETRY_ERROR_CODES_MAX,
        )?;
    }
    list("launch_context", context.size(), limits::LAUNCH_CONTEXT_MAX)
}

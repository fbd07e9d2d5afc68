//! Every key of `capacity-scheduler.xml`: what Heddle does with it, and if nothing, why and what to do instead.
//! Owns: the tables. Called by: `queues` (which properties belong to what), `toml` (which names are keys).
//! Does not: read values. Invariant: a key is in one table once.

/// Prefix of all keys.
pub(in crate::config) const PREFIX: &str = "yarn.scheduler.capacity.";

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Read.
    Read,
    /// Set a key of Heddle's own configuration (`yarn_site` does it).
    Setting,
    /// It would turn something on that Heddle does not have (yet); the values that leave it off say nothing.
    Unsupported(&'static str, &'static [&'static str]),
    /// What it tunes works differently here.
    NoEffect(&'static str),
}

use Use::{NoEffect, Read, Setting, Unsupported};

const OFF: &[&str] = &["false", ""];

const HEARTBEAT: &str =
    "has no effect: containers are granted when an ApplicationMaster asks or room appears, not per heartbeat";
const ASYNCHRONOUS: &str =
    "has no effect: scheduling is always asynchronous, on one thread for each partition";
const MAPPING: &str =
    "queue mapping rules are not supported yet: applications go to the queue that they name";
const PREEMPTION: &str = "preemption is not supported yet: nothing is preempted";
const AUTO_CREATION: &str =
    "queues are not created by themselves yet: list them in the file and refresh the queues";
const RESERVATION: &str = "time reservations are not supported yet";
const SORTING: &str =
    "node sorting policies are not supported: write node-placement (spread or bin-pack) for the queue";
const MUTABLE: &str = "the queues are always read from this file, on a refresh";

/// Keys without a queue.
const GLOBAL: &[(&str, Use)] = &[
    ("maximum-applications", Read),
    ("global-queue-max-application", Read),
    ("maximum-am-resource-percent", Read),
    ("minimum-user-limit-percent", Read),
    ("user-limit-factor", Read),
    ("max-parallel-apps", Read),
    ("user.max-parallel-apps", Read),
    ("reservations-continue-look-all-nodes", Read),
    ("rack-locality-full-reset", Read),
    ("resource-calculator", Setting),
    ("node-locality-delay", Setting),
    ("rack-locality-additional-delay", Setting),
    ("per-node-heartbeat.multiple-assignments-enabled", NoEffect(HEARTBEAT)),
    ("per-node-heartbeat.maximum-container-assignments", NoEffect(HEARTBEAT)),
    ("per-node-heartbeat.maximum-offswitch-assignments", NoEffect(HEARTBEAT)),
    ("multi-node-placement-enabled", Unsupported(SORTING, OFF)),
    ("lazy-preemption-enabled", Unsupported(PREEMPTION, OFF)),
    ("queue-mappings", Unsupported(MAPPING, &[""])),
    ("queue-mappings-override.enable", Unsupported(MAPPING, OFF)),
    ("mapping-rule-format", Unsupported(MAPPING, &["", "legacy"])),
    ("mapping-rule-json", Unsupported(MAPPING, &[""])),
    ("mapping-rule-json-file", Unsupported(MAPPING, &[""])),
    ("workflow-priority-mappings", Unsupported(MAPPING, &[""])),
    ("workflow-priority-mappings-override.enable", Unsupported(MAPPING, OFF)),
    (
        "application.fail-fast",
        NoEffect("has no effect: a refresh that removes a queue in use is refused, so nothing can fail"),
    ),
    (
        "user-metrics.enable",
        NoEffect("has no effect: usage by user is part of the queue's report, not of the metrics"),
    ),
    (
        "legacy-queue-mode.enabled",
        Unsupported(
            "capacity vectors are not supported: each queue has a percentage, a weight or absolute amounts",
            &["true", ""],
        ),
    ),
    ("auto-queue-creation-v2.queue-expiration-time", NoEffect(AUTO_CREATION)),
    (
        "queue.auto.refresh.monitoring-interval",
        NoEffect("has no effect: `heddle admin refresh-queues` reads it"),
    ),
];

/// Keys without a queue, by their beginning.
const GLOBAL_PREFIXES: &[(&str, Use)] = &[
    ("schedule-asynchronously.", NoEffect(ASYNCHRONOUS)),
    ("multi-node-sorting.", Unsupported(SORTING, &[""])),
    ("queue-management-policy.", NoEffect(AUTO_CREATION)),
    ("configuration.", NoEffect(MUTABLE)),
];

/// Keys of a queue.
const QUEUE: &[(&str, Use)] = &[
    ("queues", Read),
    ("capacity", Read),
    ("maximum-capacity", Read),
    ("minimum-user-limit-percent", Read),
    ("user-limit-factor", Read),
    ("maximum-allocation-mb", Read),
    ("maximum-allocation-vcores", Read),
    ("maximum-allocation", Read),
    ("maximum-applications", Read),
    ("maximum-am-resource-percent", Read),
    ("max-parallel-apps", Read),
    ("state", Read),
    ("acl_submit_applications", Read),
    ("acl_administer_queue", Read),
    ("ordering-policy", Read),
    ("ordering-policy.fair.enable-size-based-weight", Read),
    ("priority", Read),
    ("default-application-priority", Read),
    ("accessible-node-labels", Read),
    ("default-node-label-expression", Read),
    ("maximum-application-lifetime", Read),
    ("default-application-lifetime", Read),
    ("allow-zero-capacity-sum", Read),
    ("node-placement", Read),
    (
        "acl_application_max_priority",
        Unsupported(
            "priorities by user are not supported yet: everybody may use up to the cluster's highest",
            &["*"],
        ),
    ),
    ("acl_administer_reservations", Unsupported(RESERVATION, &["*", ""])),
    ("acl_list_reservations", Unsupported(RESERVATION, &["*", ""])),
    ("acl_submit_reservations", Unsupported(RESERVATION, &["*", ""])),
    ("disable_preemption", Unsupported(PREEMPTION, &["true", "false", ""])),
    ("intra-queue-preemption.disable_preemption", Unsupported(PREEMPTION, &["true", "false", ""])),
    ("reservable", Unsupported(RESERVATION, OFF)),
    ("multi-node-sorting.policy", Unsupported(SORTING, &[""])),
    (
        "ordering-policy.exclusive-enforced-partitions",
        Unsupported(
            "the policy fifo-with-partitions is not supported: applications are ordered per partition",
            &[""],
        ),
    ),
    ("auto-create-child-queue.enabled", Unsupported(AUTO_CREATION, OFF)),
    ("auto-queue-creation-v2.enabled", Unsupported(AUTO_CREATION, OFF)),
];

/// Keys of a queue, by their beginning.
const QUEUE_PREFIXES: &[(&str, Use)] = &[
    ("auto-create-child-queue.", NoEffect(AUTO_CREATION)),
    ("auto-queue-creation-v2.", NoEffect(AUTO_CREATION)),
    ("leaf-queue-template.", NoEffect(AUTO_CREATION)),
    ("reservation-", Unsupported(RESERVATION, &["", "false"])),
    ("instantaneous-max-capacity", Unsupported(RESERVATION, &[""])),
    ("average-capacity", Unsupported(RESERVATION, &[""])),
];

/// What becomes of a key without a queue, given without the prefix.
pub(super) fn of_cluster(key: &str) -> Option<Use> {
    if between(key, "user.", ".max-parallel-apps").is_some() {
        return Some(Read);
    }
    find(key, GLOBAL, GLOBAL_PREFIXES)
}

/// What becomes of a queue's key, given without the queue.
pub(super) fn of_queue(suffix: &str) -> Option<Use> {
    if user_weight(suffix).is_some() || label_key(suffix).is_some() {
        return Some(Read);
    }
    find(suffix, QUEUE, QUEUE_PREFIXES)
}

fn find(key: &str, exact: &[(&str, Use)], prefixes: &[(&str, Use)]) -> Option<Use> {
    let of_exact = exact.iter().find(|(known, _)| *known == key);
    of_exact.or_else(|| prefixes.iter().find(|(known, _)| key.starts_with(known))).map(|(_, found)| *found)
}

/// The user of `user-settings.<user>.weight`; names may have dots.
pub(super) fn user_weight(suffix: &str) -> Option<&str> {
    between(suffix, "user-settings.", ".weight")
}

/// Label and key of `accessible-node-labels.<label>.<key>`.
pub(super) fn label_key(suffix: &str) -> Option<(&str, &str)> {
    let rest = suffix.strip_prefix("accessible-node-labels.")?;
    let (label, key) = rest.rsplit_once('.')?;
    let is_known = ["capacity", "maximum-capacity", "maximum-am-resource-percent"].contains(&key);
    (is_known && !label.is_empty()).then_some((label, key))
}

/// What stands between, if it is something.
pub(super) fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.strip_suffix(end).filter(|middle| !middle.is_empty())
}

/// Names of the keys that are read, for hints.
pub(super) fn read_by_queues() -> impl Iterator<Item = &'static str> {
    QUEUE.iter().filter(|(_, used)| *used == Read).map(|(name, _)| *name)
}

/// Names of the keys without a queue that are read, for hints.
pub(super) fn read_by_cluster() -> impl Iterator<Item = &'static str> {
    GLOBAL.iter().filter(|(_, used)| matches!(used, Read | Setting)).map(|(name, _)| *name)
}

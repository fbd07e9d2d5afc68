//! Keys of `yarn-site.xml` (and settings in the queue file) that are keys of Heddle's own configuration.
//! Owns: the table of YARN's keys, how their values become ours, and what is said of those that do not. Called by:
//! `source`, after all of Heddle's own sources. Does not: check values (the key they set does).
//! Invariant: a value from here never replaces one that was given in `heddle.toml`, the environment or a flag.

use std::path::Path;

use super::error::ConfigWarning;
use super::hadoop::{Properties, Property};
use super::key::{self, Key};
use super::queues::keys::PREFIX;
use super::source::{ClassTable, Merged, Origin, PropertyPlace, Raw};

/// What becomes of a key.
#[derive(Clone, Copy)]
enum Use {
    /// The same value under our name.
    Same(&'static Key),
    /// A time, in milliseconds where it has no unit.
    Millis(&'static Key),
    /// A time, in seconds where it has no unit.
    Seconds(&'static Key),
    /// The name of a Java class: its last part stands for one of our words.
    Class(&'static Key, &'static [(&'static str, &'static str)]),
    /// Words that have others here.
    Words(&'static Key, &'static [(&'static str, &'static str)]),
    /// A number of missed scheduling opportunities: a time here.
    Opportunities(&'static Key, &'static str),
    /// A factor: thousandths here.
    Permille(&'static Key),
    /// It would turn something on that Heddle does not have; these values leave it off.
    Unsupported(&'static str, &'static [&'static str]),
    /// It is about something that is different here.
    NoEffect(&'static str),
    /// It is for other programs.
    Elsewhere,
}

use Use::{Class, Elsewhere, Millis, NoEffect, Opportunities, Permille, Same, Seconds, Unsupported, Words};

/// Milliseconds that one missed opportunity stands for. YARN's default of 40 is then Heddle's default of 3 s. In YARN a key
/// misses one with every heartbeat of a node that does not suit it, at most one for each node; here no heartbeat is
/// involved, and the time is the same on a small cluster and on a large one.
const OPPORTUNITY_MS: i64 = 75;

const CALCULATORS: &[(&str, &str)] =
    &[("DefaultResourceCalculator", "memory"), ("DominantResourceCalculator", "dominant")];

const LABELS_FROM: &[(&str, &str)] = &[("centralized", "administrator"), ("distributed", "nodes")];

const OFF: &[&str] = &["false", ""];

const DOOR: &str = "has no effect: there is one door for all protocols, listen.address";
const THREADS: &str = "has no effect: see runtime.net_threads and runtime.engine_threads";
const HTTP: &str = "has no effect: see http.address";
const STORE: &str = "is not read yet: the state is kept in memory";
const SECURITY: &str = "has no effect: peers prove themselves by certificates, see `heddle pki`";
const PLACEMENT: &str = "is not supported yet: placement constraints are refused by name";
const OPPORTUNISTIC: &str = "is not supported yet: opportunistic containers are refused by name";
const RESERVATION: &str = "is not supported yet: time reservations are refused by name";
const SCAN: &str = "has no effect: every expiry has its own deadline, nothing is scanned for";

/// YARN's keys, exact ones first in force.
const EXACT: &[(&str, Use)] = &[
    ("yarn.scheduler.minimum-allocation-mb", Same(key::MINIMUM_ALLOCATION_MB)),
    ("yarn.scheduler.minimum-allocation-vcores", Same(key::MINIMUM_ALLOCATION_VCORES)),
    ("yarn.scheduler.maximum-allocation-mb", Same(key::MAXIMUM_ALLOCATION_MB)),
    ("yarn.scheduler.maximum-allocation-vcores", Same(key::MAXIMUM_ALLOCATION_VCORES)),
    ("yarn.scheduler.capacity.resource-calculator", Class(key::CALCULATOR, CALCULATORS)),
    ("yarn.scheduler.capacity.node-locality-delay", Opportunities(key::NODE_LOCALITY, "40")),
    ("yarn.scheduler.capacity.rack-locality-additional-delay", Opportunities(key::RACK_LOCALITY, "-1")),
    (
        "yarn.scheduler.queue-placement-rules",
        Unsupported("is not supported yet: applications go to the queue that they name", &["", "user-group"]),
    ),
    ("yarn.scheduler.include-port-in-node-name", Unsupported("is not supported: asks name hosts", OFF)),
    ("yarn.scheduler.skip.node.multiplier", NoEffect("has no effect: see liveliness.suspect_after_ms")),
    (
        "yarn.scheduler.configuration.store.class",
        Unsupported("is not supported: the queues are read from the file", &["file", ""]),
    ),
    ("yarn.acl.enable", Same(key::ACL_ENABLED)),
    ("yarn.admin.acl", Same(key::ADMIN_ACL)),
    ("yarn.cluster.max-application-priority", Same(key::MAX_PRIORITY)),
    ("yarn.node-labels.enabled", Same(key::NODE_LABELS_ENABLED)),
    ("yarn.node-labels.configuration-type", Words(key::NODE_LABELS_FROM, LABELS_FROM)),
    ("yarn.nm.liveness-monitor.expiry-interval-ms", Millis(key::LOST_AFTER)),
    ("yarn.am.liveness-monitor.expiry-interval-ms", Millis(key::AM_EXPIRY)),
    ("yarn.resourcemanager.rm.container-allocation.expiry-interval-ms", Millis(key::ALLOCATION_EXPIRY)),
    ("yarn.resourcemanager.am.max-attempts", Same(key::AM_MAX_ATTEMPTS)),
    ("yarn.resourcemanager.am.global.max-attempts", Same(key::AM_GLOBAL_MAX_ATTEMPTS)),
    ("yarn.resourcemanager.max-completed-applications", Same(key::COMPLETED_MAX)),
    ("yarn.resourcemanager.state-store.max-completed-applications", Same(key::STORE_COMPLETED_MAX)),
    ("yarn.resourcemanager.application-timeouts.monitor.interval-ms", Millis(key::LIFETIME_CHECK)),
    ("yarn.resourcemanager.node-labels.am.default-node-label-expression", Same(key::AM_LABEL)),
    ("yarn.resourcemanager.nodes.include-path", Same(key::INCLUDE)),
    ("yarn.resourcemanager.nodes.exclude-path", Same(key::EXCLUDE)),
    ("yarn.resourcemanager.node-removal-untracked.timeout-ms", Seconds(key::UNTRACKED)),
    (
        "yarn.resourcemanager.nodemanager-graceful-decommission-timeout-secs",
        Seconds(key::DECOMMISSION_TIMEOUT),
    ),
    ("yarn.resourcemanager.nodemanager.minimum.version", Same(key::MINIMUM_VERSION)),
    ("yarn.resourcemanager.nodemanagers.heartbeat-interval-ms", Millis(key::INTERVAL)),
    ("yarn.resourcemanager.nodemanagers.heartbeat-interval-min-ms", Millis(key::INTERVAL_MIN)),
    ("yarn.resourcemanager.nodemanagers.heartbeat-interval-max-ms", Millis(key::INTERVAL_MAX)),
    ("yarn.resourcemanager.nodemanagers.heartbeat-interval-scaling-enable", Same(key::SCALING)),
    ("yarn.resourcemanager.nodemanagers.heartbeat-interval-speedup-factor", Permille(key::SPEEDUP)),
    ("yarn.resourcemanager.nodemanagers.heartbeat-interval-slowdown-factor", Permille(key::SLOWDOWN)),
    (
        "yarn.resourcemanager.scheduler.class",
        Unsupported(
            "is not supported: the scheduler is the CapacityScheduler",
            &["", "org.apache.hadoop.yarn.server.resourcemanager.scheduler.capacity.CapacityScheduler"],
        ),
    ),
    (
        "yarn.resourcemanager.scheduler.monitor.enable",
        Unsupported("is not supported yet: nothing is preempted", OFF),
    ),
    ("yarn.resourcemanager.resource-profiles.enabled", Unsupported("is not supported", OFF)),
    ("yarn.resourcemanager.placement-constraints.handler", Unsupported(PLACEMENT, &["", "disabled"])),
    ("yarn.resourcemanager.opportunistic-container-allocation.enabled", Unsupported(OPPORTUNISTIC, OFF)),
    ("yarn.resourcemanager.reservation-system.enable", Unsupported(RESERVATION, OFF)),
    ("yarn.resourcemanager.application-tag-based-placement.enable", Unsupported("is not supported yet", OFF)),
    ("yarn.resourcemanager.submission-preprocessor.enabled", Unsupported("is not supported", OFF)),
    (
        "yarn.resourcemanager.node-labels.am.allow-non-exclusive-allocation",
        Unsupported("is not supported yet: ApplicationMasters run in their own partition", OFF),
    ),
    ("yarn.resourcemanager.auto-update.containers", Unsupported("is not supported yet", OFF)),
    ("yarn.resourcemanager.recovery.enabled", Unsupported(STORE, OFF)),
    (
        "yarn.resourcemanager.ha.enabled",
        Unsupported("is not supported yet: there is one ResourceManager", OFF),
    ),
    ("yarn.resourcemanager.hostname", NoEffect(DOOR)),
    ("yarn.resourcemanager.address", NoEffect(DOOR)),
    ("yarn.resourcemanager.scheduler.address", NoEffect(DOOR)),
    ("yarn.resourcemanager.resource-tracker.address", NoEffect(DOOR)),
    ("yarn.resourcemanager.admin.address", NoEffect(DOOR)),
    ("yarn.resourcemanager.bind-host", NoEffect(DOOR)),
    ("yarn.resourcemanager.amliveness-monitor.interval-ms", NoEffect(SCAN)),
    ("yarn.resourcemanager.nm.liveness-monitor.interval-ms", NoEffect(SCAN)),
    ("yarn.resourcemanager.container.liveness-monitor.interval-ms", NoEffect(SCAN)),
    ("yarn.log-aggregation-enable", Elsewhere),
    ("yarn.http.policy", NoEffect(HTTP)),
];

/// And by their beginnings.
const PREFIXES: &[(&str, Use)] = &[
    ("yarn.nodemanager.", Elsewhere),
    ("yarn.app.", Elsewhere),
    ("yarn.application.", Elsewhere),
    ("yarn.client.", Elsewhere),
    ("yarn.log.", Elsewhere),
    ("yarn.log-aggregation.", Elsewhere),
    ("yarn.timeline-service.", NoEffect("has no effect: there is no timeline service")),
    ("yarn.sharedcache.", NoEffect("has no effect: there is no shared cache")),
    ("yarn.federation.", Unsupported("is not supported", OFF)),
    ("yarn.scheduler.fair.", NoEffect("has no effect: the scheduler is the CapacityScheduler")),
    ("yarn.node-labels.", NoEffect("is not read yet: give the cluster's labels in scheduler.node_labels")),
    ("yarn.resourcemanager.webapp.", NoEffect(HTTP)),
    ("yarn.resourcemanager.placement-constraints.", NoEffect(PLACEMENT)),
    ("yarn.resourcemanager.opportunistic", NoEffect(OPPORTUNISTIC)),
    ("yarn.resourcemanager.nm-container-queuing.", NoEffect(OPPORTUNISTIC)),
    ("yarn.resourcemanager.reservation-system.", NoEffect(RESERVATION)),
    ("yarn.resourcemanager.monitor.", NoEffect("is not supported yet: nothing is preempted")),
    ("yarn.resourcemanager.ha.", NoEffect("is not supported yet: there is one ResourceManager")),
    ("yarn.resourcemanager.fs.", NoEffect(STORE)),
    ("yarn.resourcemanager.zk-", NoEffect(STORE)),
    ("yarn.resourcemanager.leveldb-", NoEffect(STORE)),
    ("yarn.resourcemanager.store.", NoEffect(STORE)),
    ("yarn.resourcemanager.work-preserving-recovery.", NoEffect(STORE)),
    ("yarn.resourcemanager.delegation", NoEffect(SECURITY)),
    ("yarn.resourcemanager.principal", NoEffect(SECURITY)),
    ("yarn.resourcemanager.keytab", NoEffect(SECURITY)),
    ("yarn.resourcemanager.proxy", NoEffect(SECURITY)),
];

fn use_of(key: &str) -> Option<Use> {
    let found = EXACT.iter().find(|(known, _)| *known == key);
    if found.is_none() && key.starts_with("yarn.resourcemanager.") && key.ends_with(".thread-count") {
        return Some(NoEffect(THREADS));
    }
    found.or_else(|| PREFIXES.iter().find(|(known, _)| key.starts_with(known))).map(|(_, used)| *used)
}

/// Takes the settings out of `yarn-site.xml`; every other key that is there is named in a warning.
pub(super) fn apply(properties: &Properties, merged: &mut Merged) {
    let elsewhere: Vec<&Property> =
        properties.iter().filter(|property| matches!(use_of(&property.key), Some(Elsewhere))).collect();
    // One line for all of them: they are not the ResourceManager's, so nothing is lost.
    if let [first, others @ ..] = &elsewhere[..] {
        let rest = match others.len() {
            0 => String::new(),
            1 => ", like 1 other key".to_owned(),
            count => format!(", like {count} other keys"),
        };
        let text = format!("is for NodeManagers or clients and not read here{rest}");
        merged.warnings.push(ConfigWarning::new(first, text));
    }
    for property in properties.iter() {
        if !property.key.starts_with("yarn.") {
            let by_queues = merged.queues.as_ref().is_some_and(|queues| queues.is_named(&property.key));
            if !by_queues && !properties.is_named(&property.key) {
                merged.warnings.push(ConfigWarning::new(property, key::NOT_YARNS));
            }
            continue;
        }
        // `resource_types` reads these.
        if property.key == RESOURCE_TYPES || property.key.starts_with("yarn.resource-types.") {
            continue;
        }
        if property.key.starts_with(PREFIX) {
            let warning = ConfigWarning::new(property, "is not read here: it belongs into the queue file");
            merged.warnings.push(warning);
            continue;
        }
        set(property, merged);
    }
    resource_types(properties, merged);
}

/// Takes the settings out of a queue file; its other keys are the queues'.
pub(super) fn apply_queue_file(properties: &Properties, merged: &mut Merged) {
    for property in properties.iter() {
        if EXACT.iter().any(|(key, _)| key.starts_with(PREFIX) && *key == property.key) {
            set(property, merged);
        }
    }
}

fn set(property: &Property, merged: &mut Merged) {
    let value = property.trimmed();
    let mut warn = |text: &str| merged.warnings.push(ConfigWarning::new(property, text));
    let (key, text) = match use_of(&property.key) {
        Some(Same(key)) => {
            let is_switch = matches!(key.kind, key::Kind::Switch);
            (key, if is_switch { value.to_lowercase() } else { property.value.clone() })
        }
        Some(Millis(key)) => (key, time(value, 1, 1)),
        Some(Seconds(key)) => {
            let is_millis = property.key.ends_with("-ms");
            (key, time(value, if is_millis { 1 } else { 1_000 }, 1_000))
        }
        Some(Class(key, words)) => {
            let class = value.rsplit('.').next().unwrap_or_default();
            (key, word(class, value, words))
        }
        Some(Words(key, words)) => (key, word(value, value, words)),
        Some(Permille(key)) => {
            let factor = value.parse::<f64>().ok().filter(|factor| factor.is_finite());
            (key, factor.map_or_else(|| value.to_owned(), |factor| format!("{:.0}", factor * 1_000.0)))
        }
        Some(Opportunities(key, default)) => {
            if value == default {
                return;
            }
            let text = match value.parse::<i64>() {
                // −1: not by a count of opportunities; for the rack the default is right then.
                Ok(-1) if default == "-1" => return,
                Ok(count) if count <= 0 => "0".to_owned(),
                Ok(count) => count.saturating_mul(OPPORTUNITY_MS).to_string(),
                Err(_) => value.to_owned(),
            };
            if value.parse::<i64>().is_ok() {
                warn(&format!(
                    "is taken as {text} ms ({OPPORTUNITY_MS} ms for each opportunity): locality is waited for by time; {} sets it",
                    key.name
                ));
            }
            (key, text)
        }
        Some(Unsupported(_, harmless)) if harmless.iter().any(|ok| ok.eq_ignore_ascii_case(value)) => return,
        Some(Unsupported(reason, _) | NoEffect(reason)) => return warn(reason),
        Some(Elsewhere) => return,
        None => {
            let near = key::closest(&property.key, EXACT.iter().map(|(key, _)| *key));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return warn(&format!("has no effect: it is not known here{hint}"));
        }
    };
    if let Some((raw, origin)) = merged.values.get_mut(key.name)
        && *origin == Origin::Default
    {
        *raw = Raw::Text(text);
        *origin = hadoop_origin(property);
    }
}

fn word(word: &str, value: &str, words: &[(&str, &str)]) -> String {
    let found = words.iter().find(|(theirs, _)| *theirs == word);
    found.map_or_else(|| value.to_owned(), |(_, ours)| (*ours).to_owned())
}

/// A time as Hadoop writes it (`10s`, `600000`), in parts of `unit` milliseconds; as it is where it is none.
fn time(text: &str, default_ms: i64, unit: i64) -> String {
    let digits = text.strip_prefix('-').unwrap_or(text).bytes().take_while(u8::is_ascii_digit).count();
    let digits = digits + usize::from(text.starts_with('-'));
    let (number, suffix) = text.split_at_checked(digits).unwrap_or((text, ""));
    let factor = match suffix {
        "" => default_ms,
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return text.to_owned(),
    };
    match number.parse::<i64>() {
        // A negative time has no unit: it stands for never.
        Ok(number) if number < 0 => number.to_string(),
        Ok(number) => {
            number.checked_mul(factor).map_or_else(|| text.to_owned(), |ms| (ms / unit).to_string())
        }
        Err(_) => text.to_owned(),
    }
}

/// Where it stands and what it is called there.
fn hadoop_origin(property: &Property) -> Origin {
    match &property.origin {
        Origin::File(path, line) => Origin::Property(Box::new(PropertyPlace {
            path: path.clone(),
            line: *line,
            key: property.shown().to_owned(),
        })),
        other => other.clone(),
    }
}

const RESOURCE_TYPES: &str = "yarn.resource-types";

/// `yarn.resource-types` and its sub-keys, as `[[resource_type]]` tables; those of `heddle.toml` win as a whole.
fn resource_types(properties: &Properties, merged: &mut Merged) {
    let Some(list) = properties.get(RESOURCE_TYPES) else { return };
    if !merged.resource_types.is_empty() {
        let text = "does not count: the configuration has [[resource_type]] tables";
        merged.warnings.push(ConfigWarning::new(list, text));
        return;
    }
    let own = ["memory-mb", "memory", "vcores"];
    let names: Vec<&str> =
        list.value.split(',').map(str::trim).filter(|name| !name.is_empty() && !own.contains(name)).collect();
    for name in &names {
        let mut table = ClassTable::new();
        table.push(("name".to_owned(), Raw::String((*name).to_owned()), hadoop_origin(list)));
        for (theirs, ours) in [
            ("units", "units"),
            ("minimum-allocation", "minimum_allocation"),
            ("maximum-allocation", "maximum_allocation"),
        ] {
            let Some(property) = properties.get(&format!("{RESOURCE_TYPES}.{name}.{theirs}")) else {
                continue;
            };
            let value = property.trimmed();
            let raw = match value.parse() {
                Ok(number) if ours != "units" => Raw::Integer(number),
                _ => Raw::String(value.to_owned()),
            };
            table.push((ours.to_owned(), raw, hadoop_origin(property)));
        }
        merged.resource_types.push((table, hadoop_origin(list)));
    }
    for property in properties.iter() {
        let Some(rest) = property.key.strip_prefix("yarn.resource-types.") else { continue };
        let known = ["units", "minimum-allocation", "maximum-allocation"];
        let is_known =
            rest.rsplit_once('.').is_some_and(|(name, key)| names.contains(&name) && known.contains(&key));
        if !is_known {
            let text = if rest.ends_with(".increment-allocation") {
                "has no effect: sizes are rounded up to multiples of the minimum"
            } else {
                "has no effect: no such type is in yarn.resource-types, or the key is not known (memory and vcores have \
                 their own keys, yarn.scheduler.minimum-allocation-mb and so on)"
            };
            merged.warnings.push(ConfigWarning::new(property, text));
        }
    }
}

/// The file of resource types that Hadoop reads beside `yarn-site.xml`, if it is there.
pub(super) fn resource_types_file(yarn_site: &Path) -> Option<std::path::PathBuf> {
    let path = yarn_site.parent()?.join("resource-types.xml");
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_hadoops_units() {
        for (text, default_ms, unit, wanted) in [
            ("600000", 1, 1, "600000"),
            ("10s", 1, 1, "10000"),
            ("2m", 1_000, 1_000, "120"),
            ("3600", 1_000, 1_000, "3600"),
            ("60000", 1, 1_000, "60"),
            ("-1", 1_000, 1_000, "-1"),
            ("soon", 1, 1, "soon"),
            ("", 1, 1, ""),
            ("9223372036854775807d", 1, 1, "9223372036854775807d"),
            ("é", 1, 1, "é"),
        ] {
            assert_eq!(time(text, default_ms, unit), wanted, "{text}");
        }
    }

    #[test]
    fn keys_are_distinct_and_the_exact_ones_are_not_hidden() {
        for (index, (key, _)) in EXACT.iter().enumerate() {
            assert!(EXACT[index + 1..].iter().all(|(other, _)| other != key), "{key}");
        }
    }
}

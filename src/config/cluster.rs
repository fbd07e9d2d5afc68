//! From checked values to the settings of scheduler and application manager.
//! Owns: the rules between their keys, resource types, which value becomes which field. Called by: `check`. Thread: the
//! main one. Does not: read values of the queue file (`queues` does, with what is made here).
//! Invariant: settings are made only of values that are right in themselves.

use std::collections::BTreeMap;

use heddle_wire::limits::EXTENDED_RESOURCES_MAX;

use super::check::{Given, bad, entry};
use super::error::ConfigError;
use super::groups::GroupsFile;
use super::key::{self, RESOURCE_TYPE};
use super::queues::{QueueContext, value};
use super::source::{ClassTable, Entry, Origin, Raw};
use crate::engine::application::settings::{AmBlacklistSettings, ApplicationSettings};
use crate::engine::scheduler::resource::{ResourceType, ResourceTypes, ResourceVector};
use crate::engine::scheduler::settings::{Acl, Calculator, QueueTree, SchedulerSettings, UnknownContainers};

/// Largest amount of a type without a maximum: YARN's amounts are signed.
const AMOUNT_MAX: u64 = i64::MAX as u64;

/// Longest name of a resource type.
const NAME_MAX: usize = 255;

/// The types of the cluster with the least and the largest container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resources {
    types: ResourceTypes,
    minimum: ResourceVector,
    maximum: ResourceVector,
}

/// Reads the `[[resource_type]]` tables.
pub(super) fn resources(
    given: &Given,
    tables: &[(ClassTable, Origin)],
    entries: &mut Vec<Entry>,
    errors: &mut Vec<ConfigError>,
) -> Resources {
    let mut minimum = ResourceVector::new(
        given.number(key::MINIMUM_ALLOCATION_MB),
        given.number(key::MINIMUM_ALLOCATION_VCORES),
    );
    let mut maximum = ResourceVector::new(
        given.number(key::MAXIMUM_ALLOCATION_MB),
        given.number(key::MAXIMUM_ALLOCATION_VCORES),
    );
    let mut types: Vec<ResourceType> = Vec::new();
    if let Some((_, origin)) = tables.get(EXTENDED_RESOURCES_MAX) {
        errors.push(ConfigError::BadValue {
            key: RESOURCE_TYPE.to_owned(),
            value: format!("a list of {}", tables.len()),
            origin: origin.clone(),
            accepted: format!("at most {EXTENDED_RESOURCES_MAX} resource types"),
        });
    }
    for (index, (table, origin)) in tables.iter().take(EXTENDED_RESOURCES_MAX).enumerate() {
        let mut field = |name: &str| {
            let found = table.iter().find(|(key, ..)| key == name);
            let key = format!("{RESOURCE_TYPE}[{index}].{name}");
            if let Some((_, raw, place)) = found {
                let value = match raw {
                    Raw::String(text) => text.clone(),
                    other => other.to_string(),
                };
                entries.push(entry(&key, value, "", place, "Resource type."));
            }
            (key, found.map(|(_, raw, place)| (raw, place)))
        };
        let (name_key, name) = field("name");
        let (units_key, units) = field("units");
        let (minimum_key, least) = field("minimum_allocation");
        let (maximum_key, most) = field("maximum_allocation");
        let name = match name {
            Some((Raw::String(name), place)) => {
                if is_type_name(name) && types.iter().all(|other| *other.name != **name) {
                    name.as_str()
                } else {
                    let raw = Raw::String(name.clone());
                    errors.push(bad(&name_key, &raw, place, TYPE_NAME.to_owned()));
                    continue;
                }
            }
            Some((raw, place)) => {
                errors.push(bad(&name_key, raw, place, TYPE_NAME.to_owned()));
                continue;
            }
            None => {
                errors.push(bad(&name_key, &Raw::Other("missing value"), origin, TYPE_NAME.to_owned()));
                continue;
            }
        };
        let units = match units {
            None => "",
            Some((Raw::String(units), _)) if value::is_unit(units) => units.as_str(),
            Some((raw, place)) => {
                errors.push(bad(
                    &units_key,
                    raw,
                    place,
                    "p n u m k M G T P Ki Mi Gi Ti Pi, or none".to_owned(),
                ));
                ""
            }
        };
        let mut amount = |key: &str, given: Option<(&Raw, &Origin)>, default: u64| match given {
            None => default,
            Some((Raw::Integer(amount), _)) if *amount >= 0 => amount.unsigned_abs(),
            Some((Raw::String(text), _)) if value::with_unit(text, units).is_some() => {
                value::with_unit(text, units).unwrap_or(default)
            }
            Some((raw, place)) => {
                errors.push(bad(
                    key,
                    raw,
                    place,
                    "a whole number of 0 or more, with a unit or without".to_owned(),
                ));
                default
            }
        };
        let (least, most) = (amount(&minimum_key, least, 0), amount(&maximum_key, most, AMOUNT_MAX));
        if least > most {
            let told = |key: String, amount: u64| (key, amount.to_string(), origin.clone());
            errors.push(ConfigError::Impossible {
                values: vec![told(minimum_key, least), told(maximum_key, most)],
                rule: "the least container must not be above the largest".to_owned(),
            });
        }
        minimum.set(types.len() + 2, least);
        maximum.set(types.len() + 2, most);
        types.push(ResourceType { name: name.into(), units: units.into() });
    }
    Resources { types: ResourceTypes::new(types), minimum, maximum }
}

const TYPE_NAME: &str = "1 to 255 letters, digits and . _ - with one / at most, beginning with a letter, not memory, memory-mb or \
     vcores, and no other type's";

fn is_type_name(name: &str) -> bool {
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    (1..=NAME_MAX).contains(&name.len())
        && !["memory", "memory-mb", "vcores"].contains(&name)
        && name.split('/').count() <= 2
        && name.split('/').all(is_part)
}

/// The rules between these keys.
pub(super) fn rules(given: &Given, errors: &mut Vec<ConfigError>) {
    let mut ordered = |less: &key::Key, more: &key::Key, rule: &str| {
        if let (Some(low), Some(high)) = (given.optional(less), given.optional(more))
            && low > high
        {
            let values = vec![given.told(less), given.told(more)];
            errors.push(ConfigError::Impossible { values, rule: rule.to_owned() });
        }
    };
    let sizes = "the least container must not be above the largest";
    ordered(key::MINIMUM_ALLOCATION_MB, key::MAXIMUM_ALLOCATION_MB, sizes);
    ordered(key::MINIMUM_ALLOCATION_VCORES, key::MAXIMUM_ALLOCATION_VCORES, sizes);
    if !given.text(key::AM_LABEL).is_empty() && !given.switch(key::NODE_LABELS_ENABLED) {
        errors.push(ConfigError::Impossible {
            values: vec![given.told(key::AM_LABEL), given.told(key::NODE_LABELS_ENABLED)],
            rule:
                "every application would be refused: its ApplicationMaster needs a label, and labels are off"
                    .to_owned(),
        });
    }
}

/// What the queue file is read against.
pub(super) fn context(given: &Given, resources: &Resources) -> QueueContext {
    let acl_enabled = given.switch(key::ACL_ENABLED);
    let tree = QueueTree {
        max_application_priority: given.number(key::MAX_PRIORITY),
        acl_enabled,
        admin_acl: admin_acl(given),
        ..QueueTree::default()
    };
    QueueContext {
        resource_types: resources.types.clone(),
        minimum_allocation: resources.minimum.clone(),
        maximum_allocation: resources.maximum.clone(),
        node_labels_enabled: given.switch(key::NODE_LABELS_ENABLED),
        node_labels: labels(given.text(key::NODE_LABELS)).unwrap_or_default(),
        tree,
    }
}

fn admin_acl(given: &Given) -> Acl {
    Acl::parse(given.text(key::ADMIN_ACL))
}

/// `gpu,big:shared`; `None` where it is none.
pub(super) fn labels(text: &str) -> Option<BTreeMap<Box<str>, bool>> {
    let mut labels = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, is_exclusive) = match part.strip_suffix(":shared") {
            Some(name) => (name, false),
            None => (part, true),
        };
        if !value::is_label(name) {
            return None;
        }
        labels.insert(name.into(), is_exclusive);
    }
    Some(labels)
}

pub(super) fn calculator(given: &Given) -> Calculator {
    if given.text(key::CALCULATOR) == "dominant" { Calculator::Dominant } else { Calculator::Memory }
}

/// Settings of the scheduler, without its queues, start and keys.
pub(super) fn scheduler(given: &Given, context: &QueueContext) -> SchedulerSettings {
    SchedulerSettings {
        resource_types: context.resource_types.clone(),
        calculator: calculator(given),
        minimum_allocation: context.minimum_allocation.clone(),
        maximum_allocation: context.maximum_allocation.clone(),
        node_labels: context.node_labels.clone(),
        node_labels_enabled: context.node_labels_enabled,
        distributed_labels: given.text(key::NODE_LABELS_FROM) == "nodes",
        allocation_expiry: given.millis(key::ALLOCATION_EXPIRY),
        am_expiry: given.millis(key::AM_EXPIRY),
        node_locality_delay: given.millis(key::NODE_LOCALITY),
        rack_locality_additional_delay: given.millis(key::RACK_LOCALITY),
        non_exclusive_delay: given.millis(key::NON_EXCLUSIVE),
        unknown_containers: match given.text(key::UNKNOWN_CONTAINERS) {
            "accept" => UnknownContainers::Accept,
            _ => UnknownContainers::CleanUp,
        },
        attempts_max: given.number(key::ATTEMPTS_MAX),
        ..SchedulerSettings::default()
    }
}

/// Settings of the application manager, without its start, groups and keys.
pub(super) fn applications(given: &Given, context: &QueueContext) -> ApplicationSettings {
    let am_max_attempts: u32 = given.number(key::AM_MAX_ATTEMPTS);
    let completed: u32 = given.number(key::COMPLETED_MAX);
    let or = |key: &key::Key, auto: u32| given.optional(key).and_then(|n| n.try_into().ok()).unwrap_or(auto);
    let hosts_max: u32 = given.number(key::AM_BLACKLIST);
    let label = given.text(key::AM_LABEL);
    ApplicationSettings {
        resource_types: context.resource_types.clone(),
        calculator: calculator(given),
        minimum_allocation: context.minimum_allocation.clone(),
        maximum_allocation: context.maximum_allocation.clone(),
        node_labels_enabled: context.node_labels_enabled,
        am_max_attempts,
        global_am_max_attempts: or(key::AM_GLOBAL_MAX_ATTEMPTS, am_max_attempts),
        am_default_node_label: (!label.is_empty()).then(|| label.into()),
        am_blacklisting: (hosts_max > 0).then_some(AmBlacklistSettings { hosts_max }),
        am_finishing_expiry: given.millis(key::AM_FINISHING),
        lifetime_check_interval: given.millis(key::LIFETIME_CHECK),
        max_completed_applications: completed,
        store_max_completed_applications: or(key::STORE_COMPLETED_MAX, completed).min(completed),
        applications_max: given.number(key::ACTIVE_MAX),
        launch_context_bytes_max: given.number(key::LAUNCH_CONTEXTS),
        attempts_kept_max: given.number(key::ATTEMPTS_KEPT),
        diagnostics_size_max: given.number(key::DIAGNOSTICS_SIZE),
        queries_max: given.number(key::QUERIES_MAX),
        store_retry_interval: given.millis(key::STORE_RETRY),
        ..ApplicationSettings::default()
    }
}

/// Where groups are read from.
pub(super) fn groups(given: &Given) -> GroupsFile {
    GroupsFile { path: given.path(key::GROUPS_FILE) }
}

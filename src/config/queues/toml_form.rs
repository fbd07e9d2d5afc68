//! Heddle's own form of the queue file: TOML whose tables are the queues.
//! Owns: its shape, and how its names become YARN's keys. Called by: `queues`. Does not: read values (both forms share
//! that), know defaults.
//! Invariants: a name that is neither a key nor a table is refused; queues and keys are in the file's order.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use crate::config::error::{ConfigError, ConfigErrors};
use crate::config::hadoop::{Properties, Property, read_text};
use crate::config::key;
use crate::config::source::Origin;

/// Deepest table; deeper queues than the tree takes are refused there.
const DEPTH_MAX: usize = 64;

/// Keys of queues whose value may be a table.
const TABLES: [&str; 5] = ["capacity", "maximum_capacity", "maximum_allocation", "users", "labels"];

/// Keys with another name than YARN's.
const RENAMED: [(&str, &str); 2] = [
    ("size_based_weight", "ordering-policy.fair.enable-size-based-weight"),
    ("resource_calculator", "resource-calculator"),
];

/// Reads a queue file.
pub(super) fn read(path: &Path) -> Result<Properties, ConfigErrors> {
    let text = read_text(path)?;
    // Offsets of the ends of lines, so that a place is found without counting from the start again.
    let ends: Vec<usize> =
        text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    let line = |at: usize| ends.partition_point(|end| *end < at) + 1;
    let table = DeTable::parse(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line(error.span().map_or(0, |span| span.start)),
        format: "TOML",
        reason: error.message().to_owned(),
    })?;
    let origin = |at: usize| Origin::File(path.to_owned(), line(at));
    let mut reader = Reader { properties: Properties::default(), errors: Vec::new(), origin: &origin };
    for (name, value) in in_order(table.get_ref()) {
        let at = name.span().start;
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("scheduler", DeValue::Table(table)) => reader.cluster(table),
            ("queues", DeValue::Table(table)) => {
                for (name, value) in in_order(table) {
                    match (name.get_ref().as_ref(), value.get_ref()) {
                        ("root", DeValue::Table(queue)) => reader.queue("root", queue, 0),
                        (other, _) => {
                            let nearest = "queues.root: every queue is below it";
                            reader.unknown(&format!("queues.{other}"), name.span().start, Some(nearest));
                        }
                    }
                }
            }
            (other, _) => reader.unknown(other, at, Some("scheduler or queues")),
        }
    }
    if reader.errors.is_empty() { Ok(reader.properties) } else { Err(ConfigErrors(reader.errors)) }
}

type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// A table's entries as they stand in the file.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<Entry<'a, 'i>> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

struct Reader<'o> {
    properties: Properties,
    errors: Vec<ConfigError>,
    origin: &'o dyn Fn(usize) -> Origin,
}

impl Reader<'_> {
    fn cluster(&mut self, table: &DeTable<'_>) {
        for (name, value) in in_order(table) {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            let shown = format!("scheduler.{name}");
            if let ("users", DeValue::Table(users)) = (name, value.get_ref()) {
                self.users(&shown, users, "max_parallel_apps", &|user| {
                    format!("user.{user}.max-parallel-apps")
                });
                continue;
            }
            let key = yarn_name(name);
            if keys::of_cluster(&key).is_none() {
                let known = keys::read_by_cluster().map(|key| key.replace('-', "_"));
                let nearest = key::closest_of(name, known).map(|near| format!("scheduler.{near}"));
                self.unknown(&shown, at, nearest.as_deref());
            } else {
                self.set(&key, &shown, at, value);
            }
        }
    }

    fn queue(&mut self, path: &str, table: &DeTable<'_>, depth: usize) {
        let mut children: Vec<&str> = Vec::new();
        let mut first = None;
        for (name, value) in in_order(table) {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            let shown = format!("queues.{path}.{name}");
            match value.get_ref() {
                DeValue::Table(users) if name == "users" => {
                    let key = |user: &str| format!("{path}.user-settings.{user}.weight");
                    self.users(&shown, users, "weight", &key);
                }
                DeValue::Table(labels) if name == "labels" => self.labels(path, &shown, labels),
                DeValue::Table(child) if !TABLES.contains(&name) => {
                    if depth >= DEPTH_MAX {
                        self.errors.push(ConfigError::BadValue {
                            key: shown,
                            value: "a table".to_owned(),
                            origin: (self.origin)(at),
                            accepted: format!("at most {DEPTH_MAX} queues one below the other"),
                        });
                        continue;
                    }
                    children.push(name);
                    first = first.or(Some(at));
                    self.queue(&format!("{path}.{name}"), child, depth + 1);
                }
                _ => {
                    let key = yarn_name(name);
                    // Children are tables, never a list.
                    if key == "queues" || keys::of_queue(&key).is_none() {
                        let known = keys::read_by_queues().map(|key| key.replace('-', "_"));
                        let nearest = key::closest_of(name, known);
                        self.unknown(&shown, at, nearest.as_deref());
                    } else {
                        self.set(&format!("{path}.{key}"), &shown, at, value);
                    }
                }
            }
        }
        if let Some(at) = first {
            let value = children.join(",");
            self.put(&format!("{path}.queues"), &format!("queues.{path}"), at, value);
        }
    }

    /// `users.NAME.key = value`.
    fn users(&mut self, shown: &str, users: &DeTable<'_>, key: &str, yarn: &dyn Fn(&str) -> String) {
        for (user, settings) in in_order(users) {
            let (at, user) = (user.span().start, user.get_ref().as_ref());
            let DeValue::Table(settings) = settings.get_ref() else {
                self.unknown(&format!("{shown}.{user}"), at, Some(&format!("{shown}.{user}.{key}")));
                continue;
            };
            for (name, value) in in_order(settings) {
                let at = name.span().start;
                let full = format!("{shown}.{user}.{}", name.get_ref());
                if name.get_ref() == key {
                    self.set(&yarn(user), &full, at, value);
                } else {
                    self.unknown(&full, at, Some(&format!("{shown}.{user}.{key}")));
                }
            }
        }
    }

    /// `labels.NAME.capacity = …`
    fn labels(&mut self, path: &str, shown: &str, labels: &DeTable<'_>) {
        for (label, settings) in in_order(labels) {
            let (at, label) = (label.span().start, label.get_ref().as_ref());
            let nearest = format!("{shown}.{label}.capacity");
            let DeValue::Table(settings) = settings.get_ref() else {
                self.unknown(&format!("{shown}.{label}"), at, Some(&nearest));
                continue;
            };
            for (name, value) in in_order(settings) {
                let at = name.span().start;
                let key = yarn_name(name.get_ref());
                let full = format!("{shown}.{label}.{}", name.get_ref());
                let suffix = format!("accessible-node-labels.{label}.{key}");
                if keys::label_key(&suffix).is_some() {
                    self.set(&format!("{path}.{suffix}"), &full, at, value);
                } else {
                    self.unknown(&full, at, Some(&nearest));
                }
            }
        }
    }

    fn set(&mut self, key: &str, shown: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let is_allocation = key.ends_with(".maximum-allocation");
        match text_of(value.get_ref(), is_allocation) {
            Some(value) => self.put(key, shown, at, value),
            None => self.errors.push(ConfigError::BadValue {
                key: shown.to_owned(),
                value: format!("a {}", value.get_ref().type_str()),
                origin: (self.origin)(at),
                accepted: "a string, a number, true or false, a list of strings, or amounts such as \
                           { memory_mb = 10240, vcores = 12 }"
                    .to_owned(),
            }),
        }
    }

    fn put(&mut self, key: &str, shown: &str, at: usize, value: String) {
        let property = Property {
            key: format!("{}{key}", keys::PREFIX),
            shown: Some(shown.to_owned()),
            value,
            origin: (self.origin)(at),
            is_final: false,
        };
        // TOML has each key once, so nothing is overridden.
        self.properties.set(property, &mut Vec::new());
    }

    fn unknown(&mut self, key: &str, at: usize, nearest: Option<&str>) {
        self.errors.push(ConfigError::UnknownKey {
            key: key.escape_debug().to_string(),
            origin: (self.origin)(at),
            nearest: nearest.map(str::to_owned),
        });
    }
}

/// `maximum_capacity` is YARN's `maximum-capacity`; its access control lists have underscores themselves.
fn yarn_name(name: &str) -> String {
    if let Some((_, key)) = RENAMED.iter().find(|(own, _)| *own == name) {
        return (*key).to_owned();
    }
    if name.starts_with("acl_") || name == "disable_preemption" {
        name.to_owned()
    } else {
        name.replace('_', "-")
    }
}

/// The value as it would stand in XML.
fn text_of(value: &DeValue<'_>, is_allocation: bool) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok()?.to_string(),
        DeValue::Float(digits) => digits.as_str().to_owned(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            items?.join(",")
        }
        DeValue::Table(amounts) => {
            let mut parts = Vec::new();
            for (name, amount) in in_order(amounts) {
                let name = match name.get_ref().as_ref() {
                    "memory_mb" => "memory-mb",
                    other => other,
                };
                let amount = match amount.get_ref() {
                    DeValue::Table(_) | DeValue::Array(_) => return None,
                    plain => text_of(plain, false)?,
                };
                parts.push(format!("{name}={amount}"));
            }
            let parts = parts.join(",");
            if is_allocation { parts } else { format!("[{parts}]") }
        }
        DeValue::Datetime(_) => return None,
    })
}

//! Where values come from, and which one wins: flag over environment over file over Hadoop's files over default.
//! Owns: [`ConfigSources`], [`Origin`], the merged raw values. Called by: `RmConfig::load`. Thread: the main one.
//! Does not: check values (only that keys exist). Invariant: after merging, every key of the table has one value.

use core::fmt;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors, ConfigWarning};
use super::hadoop::{self, Properties};
use super::key::{self, Key, NODE_CLASS, NODE_CLASS_KEYS, RESOURCE_TYPE, RESOURCE_TYPE_KEYS};
use super::{queues, yarn_site};

/// Largest configuration file, bytes.
const FILE_SIZE_MAX: u64 = 1024 * 1024;

/// Prefix of environment variables.
const PREFIX: &str = "HEDDLE_";

/// Variables that clients use under their own name; one of them also sets a key.
const OTHER_VARIABLES: [(&str, Option<&str>); 4] = [
    ("HEDDLE_CONFIG", None),
    ("HEDDLE_RM_ADDRESS", None),
    ("HEDDLE_TIMEOUT_S", None),
    ("HEDDLE_PKI_DIR", Some("pki.dir")),
];

/// Where configuration is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigSources {
    /// `heddle.toml`.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with `HEDDLE_` are passed over.
    pub environment: Vec<(String, String)>,
    /// Values from flags: key, value, and the flag's name (`--listen`, `--set`). Later ones win.
    pub flags: Vec<(String, String, &'static str)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The table's default.
    Default,
    /// A line of a file.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
    /// A line of one of Hadoop's files, with the key that stands there.
    Property(Box<PropertyPlace>),
}

/// A place in one of Hadoop's files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PropertyPlace {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// The key that stands there.
    pub key: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Property(place) => write!(f, "{}:{}, {}", place.path.display(), place.line, place.key),
        }
    }
}

/// A key as it is in force, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Unit of its number; empty where it has none.
    pub unit: &'static str,
    /// Where the value came from.
    pub origin: Origin,
    /// What it is for.
    pub summary: &'static str,
}

/// A value before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// From the environment or a flag: any kind, as text.
    Text(String),
    /// A string of a file.
    String(String),
    /// An integer of a file.
    Integer(i64),
    /// A boolean of a file.
    Boolean(bool),
    /// Anything else of a file: the name of its type.
    Other(&'static str),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if !text.is_empty() => f.write_str(&text.escape_debug().to_string()),
            Self::Text(text) | Self::String(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(switch) => write!(f, "{switch}"),
            Self::Other(kind) => write!(f, "a {kind}"),
        }
    }
}

/// Values of a `[[node_class]]` or `[[resource_type]]` table: key, value, line.
pub(super) type ClassTable = Vec<(String, Raw, Origin)>;

/// All sources in one, unchecked.
#[derive(Debug)]
pub(super) struct Merged {
    /// Every key of the table.
    pub(super) values: BTreeMap<&'static str, (Raw, Origin)>,
    /// The classes, in the file's order, each with the origin of its table.
    pub(super) classes: Vec<(ClassTable, Origin)>,
    /// The resource types likewise.
    pub(super) resource_types: Vec<(ClassTable, Origin)>,
    /// The queue file, if there is one and it could be read.
    pub(super) queues: Option<Properties>,
    /// What `${…}` of a queue file may name: the properties of `yarn-site.xml`.
    pub(super) variables: Properties,
    /// What is odd about Hadoop's files.
    pub(super) warnings: Vec<ConfigWarning>,
}

/// Reads every source and merges them, as far as they can be read.
pub(super) fn merge(sources: &ConfigSources) -> (Merged, Vec<ConfigError>) {
    let defaults =
        key::ALL.iter().map(|key| (key.name, (Raw::Text(key.default.to_owned()), Origin::Default)));
    let mut merged = Merged {
        values: defaults.collect(),
        classes: Vec::new(),
        resource_types: Vec::new(),
        queues: None,
        variables: Properties::default(),
        warnings: Vec::new(),
    };
    let mut errors = Vec::new();
    if let Some(path) = &sources.file
        && let Err(found) = read_file(path, &mut merged, &mut errors)
    {
        errors.extend(found.0);
    }
    read_environment(&sources.environment, &mut merged, &mut errors);
    for (name, value, flag) in &sources.flags {
        set(&mut merged, &mut errors, name, Raw::Text(value.clone()), Origin::Flag(flag));
    }
    read_hadoop(sources, &mut merged, &mut errors);
    (merged, errors)
}

/// Reads `yarn-site.xml` and the queue file, whose names are known by now. What the queue file says counts before
/// `yarn-site.xml`, as it does in YARN for the keys that both may have.
fn read_hadoop(sources: &ConfigSources, merged: &mut Merged, errors: &mut Vec<ConfigError>) {
    let path = |merged: &Merged, key: &Key| match merged.values.get(key.name) {
        Some((Raw::Text(text) | Raw::String(text), _)) if !text.trim().is_empty() => {
            Some(PathBuf::from(text.trim()))
        }
        _ => None,
    };
    let mut site = Properties::default();
    if let Some(path) = path(merged, key::YARN_SITE) {
        // Hadoop reads the file of resource types first.
        for path in yarn_site::resource_types_file(&path).into_iter().chain([path]) {
            match hadoop::read(&path, &mut merged.warnings) {
                Ok(read) => read.iter().for_each(|property| site.set(property.clone(), &mut merged.warnings)),
                Err(found) => errors.extend(found.0),
            }
        }
        site.expand(None, &sources.environment, &mut merged.warnings);
    }
    if let Some(path) = path(merged, key::QUEUES_FILE) {
        match queues::properties(&path, &site, &sources.environment, &mut merged.warnings) {
            Ok(properties) => {
                yarn_site::apply_queue_file(&properties, merged);
                merged.queues = Some(properties);
            }
            Err(found) => errors.extend(found.0),
        }
    }
    yarn_site::apply(&site, merged);
    merged.variables = site;
}

fn set(merged: &mut Merged, errors: &mut Vec<ConfigError>, name: &str, value: Raw, origin: Origin) {
    match key::find(name) {
        Some(Key { name, .. }) => {
            merged.values.insert(name, (value, origin));
        }
        None => errors.push(unknown(name, origin)),
    }
}

fn unknown(name: &str, origin: Origin) -> ConfigError {
    let nearest = key::nearest(name).map(str::to_owned);
    ConfigError::UnknownKey { key: name.escape_debug().to_string(), origin, nearest }
}

fn read_environment(variables: &[(String, String)], merged: &mut Merged, errors: &mut Vec<ConfigError>) {
    for (variable, value) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let origin = Origin::Environment(variable.clone());
        if let Some((_, key)) = OTHER_VARIABLES.iter().find(|(name, _)| name == variable) {
            let explicit = key.map(|key| format!("{PREFIX}{}", key.to_uppercase().replace('.', "__")));
            let is_set = variables.iter().any(|(name, _)| Some(name) == explicit.as_ref());
            if let (Some(key), false) = (key, is_set) {
                set(merged, errors, key, Raw::Text(value.clone()), origin);
            }
            continue;
        }
        if rest.contains("__") {
            let name = rest.to_lowercase().replacen("__", ".", 1);
            set(merged, errors, &name, Raw::Text(value.clone()), origin);
        } else if let Some(key) = squeezed(rest) {
            // One underscore instead of two would otherwise be passed over in silence.
            let nearest = Some(format!("{PREFIX}{}", key.to_uppercase().replace('.', "__")));
            errors.push(ConfigError::UnknownKey { key: variable.clone(), origin, nearest });
        }
    }
}

/// The key that a variable without a section mark spells out.
fn squeezed(rest: &str) -> Option<&'static str> {
    let rest = rest.to_lowercase();
    key::ALL.iter().map(|key| key.name).find(|name| name.replace('.', "_") == rest)
}

fn read_file(path: &Path, merged: &mut Merged, errors: &mut Vec<ConfigError>) -> Result<(), ConfigErrors> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_SIZE_MAX {
        let reason = format!("it has {size} bytes, accepted are at most {FILE_SIZE_MAX}");
        return Err(unreadable(reason).into());
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let table = DeTable::parse(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line(error.span().map_or(0, |span| span.start)),
        format: "TOML",
        reason: error.message().to_owned(),
    })?;
    let origin = |at: usize| Origin::File(path.to_owned(), line(at));
    for (section, value) in table.get_ref() {
        let at = section.span().start;
        let section = section.get_ref();
        match value.get_ref() {
            DeValue::Table(keys) => {
                for (name, value) in keys {
                    let full = format!("{section}.{}", name.get_ref());
                    set(merged, errors, &full, raw(value), origin(name.span().start));
                }
            }
            DeValue::Array(tables) if section == NODE_CLASS || section == RESOURCE_TYPE => {
                for table in tables {
                    read_class(section, table, &origin, merged, errors);
                }
            }
            _ => errors.push(unknown(section, origin(at))),
        }
    }
    Ok(())
}

fn read_class(
    section: &str,
    class: &Spanned<DeValue<'_>>,
    origin: &dyn Fn(usize) -> Origin,
    merged: &mut Merged,
    errors: &mut Vec<ConfigError>,
) {
    let at = class.span().start;
    let is_class = section == NODE_CLASS;
    let known: &[&str] = if is_class { &NODE_CLASS_KEYS } else { &RESOURCE_TYPE_KEYS };
    let DeValue::Table(keys) = class.get_ref() else {
        errors.push(ConfigError::BadValue {
            key: section.to_owned(),
            value: raw(class).to_string(),
            origin: origin(at),
            accepted: format!("a table [[{section}]]"),
        });
        return;
    };
    let mut table = ClassTable::new();
    for (name, value) in keys {
        let place = origin(name.span().start);
        if known.contains(&name.get_ref().as_ref()) {
            table.push((name.get_ref().to_string(), raw(value), place));
        } else {
            errors.push(ConfigError::UnknownKey {
                key: format!("{section}.{}", name.get_ref().escape_debug()),
                origin: place,
                nearest: Some(format!("one of {}", known.join(", "))),
            });
        }
    }
    let tables = if is_class { &mut merged.classes } else { &mut merged.resource_types };
    tables.push((table, origin(at)));
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::String(text.to_string()),
        DeValue::Boolean(switch) => Raw::Boolean(*switch),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map_or(Raw::Other("number beyond 64 bits"), Raw::Integer),
        other => Raw::Other(other.type_str()),
    }
}

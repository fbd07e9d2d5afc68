//! From raw values to an [`RmConfig`]: kinds and ranges key by key, then the rules between keys.
//! Owns: every rule. Called by: `RmConfig::load`. Thread: the main one. Does not: read files or the environment.
//! Invariant: all faults are reported at once; a value that is wrong in itself is not complained of a second time.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::{Path, PathBuf};

use super::cluster;
use super::error::{ConfigError, ConfigErrors};
use super::groups::GroupsFile;
use super::key::{self, Key, Kind, NODE_CLASS};
use super::queues::{self, QueueFiles, QueueReading};
use super::settings::{
    HttpSettings, LogFormat, LogSettings, NodeListFiles, PkiFiles, RecorderSettings, RmConfig,
    RuntimeSettings, TransportSettings,
};
use super::source::{ClassTable, ConfigSources, Entry, Merged, Origin, Raw};
use crate::engine::application::settings::ApplicationSettings;
use crate::engine::scheduler::settings::SchedulerSettings;
use crate::engine::settings::{
    BrakeSettings, HeartbeatSettings, MinimumSettings, NodeClass, ScalingSettings, ShardSettings,
};

/// Most `[[node_class]]` tables: a registration tries them in turn.
const CLASSES_MAX: usize = 64;

/// Longest class name or host pattern, bytes.
const CLASS_TEXT_MAX: usize = 253;

const CLASS_PATTERN: &str =
    "a host, or a pattern with one * standing for any text, 1 to 253 visible characters";

/// Name of the class that every host belongs to which no other takes.
const DEFAULT_CLASS: &str = "default";

/// A value of the right kind, within its range.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Address(Option<SocketAddr>),
    Integer(Option<i64>),
    Switch(bool),
    Text(String),
}

/// Checks everything. What is odd is told in any case, and what could be read of the queues.
pub(super) fn check(
    mut merged: Merged,
    mut errors: Vec<ConfigError>,
    sources: &ConfigSources,
) -> (Result<RmConfig, ConfigErrors>, QueueReading) {
    let mut entries = Vec::new();
    let mut values = Vec::new();
    for key in key::ALL.iter().copied() {
        let Some((raw, origin)) = merged.values.get(key.name) else { continue };
        match value(key.kind, raw) {
            Some(value) => {
                entries.push(entry(key.name, show(&value), key.unit, origin, key.summary));
                values.push((key, value, origin.clone()));
            }
            None => {
                errors.push(bad(key.name, raw, origin, key.kind.to_string()));
                // What is read against this value is read against its default.
                let default = Raw::Text(key.default.to_owned());
                values.extend(value_of_default(key, &default));
            }
        }
    }
    let are_values_right = errors.is_empty();
    let given = Given(values);
    let classes = classes(&given, &merged.classes, &mut entries, &mut errors);
    let resources = cluster::resources(&given, &merged.resource_types, &mut entries, &mut errors);
    // Rules between keys need values that are right in themselves; classes and types are read in any case.
    if are_values_right {
        rules(&given, &classes, &mut errors);
        cluster::rules(&given, &mut errors);
    }
    let files = QueueFiles {
        path: given.path(key::QUEUES_FILE),
        context: cluster::context(&given, &resources),
        variables: std::mem::take(&mut merged.variables),
        environment: sources.environment.clone(),
    };
    let mut queues = match (&merged.queues, &files.path) {
        (Some(properties), Some(path)) => queues::read(properties, &files.context, queues::Report::of(path)),
        _ => QueueReading { tree: files.context.tree.clone(), ..QueueReading::default() },
    };
    queues.warnings.append(&mut merged.warnings);
    queues.sort();
    errors.append(&mut queues.errors);
    let groups_file = cluster::groups(&given);
    let groups = groups_file.read().map_err(|error| errors.push(error)).unwrap_or_default();
    if !errors.is_empty() {
        queues.errors.clone_from(&errors);
        return (Err(ConfigErrors(errors)), queues);
    }
    let classes = classes.into_iter().map(|class| class.class).collect();
    let mut config = build(&given, classes, entries);
    config.scheduler = cluster::scheduler(&given, &files.context);
    config.scheduler.queues = queues.tree.clone();
    config.applications = cluster::applications(&given, &files.context);
    config.applications.groups = groups;
    config.queue_files = files;
    config.groups_file = groups_file;
    config.warnings.clone_from(&queues.warnings);
    config.sources = sources.clone();
    (Ok(config), queues)
}

fn value_of_default(key: &'static Key, raw: &Raw) -> Option<(&'static Key, Value, Origin)> {
    value(key.kind, raw).map(|value| (key, value, Origin::Default))
}

/// Checked values by key.
pub(super) struct Given(Vec<(&'static Key, Value, Origin)>);

impl Given {
    fn at(&self, key: &Key) -> Option<&(&'static Key, Value, Origin)> {
        self.0.iter().find(|(found, ..)| found.name == key.name)
    }

    /// A number; `None` for `auto`.
    pub(super) fn optional(&self, key: &Key) -> Option<i64> {
        match self.at(key) {
            Some((_, Value::Integer(number), _)) => *number,
            _ => None,
        }
    }

    pub(super) fn number<T: TryFrom<i64> + Default>(&self, key: &Key) -> T {
        // The kind's range has been checked, and every range fits the type it is asked as (a test asks them all).
        self.optional(key).and_then(|number| T::try_from(number).ok()).unwrap_or_default()
    }

    pub(super) fn millis(&self, key: &Key) -> Duration {
        Duration::from_millis(self.number(key))
    }

    fn seconds(&self, key: &Key) -> Duration {
        Duration::from_secs(self.number(key))
    }

    pub(super) fn switch(&self, key: &Key) -> bool {
        matches!(self.at(key), Some((_, Value::Switch(true), _)))
    }

    pub(super) fn text(&self, key: &Key) -> &str {
        match self.at(key) {
            Some((_, Value::Text(text), _)) => text,
            _ => "",
        }
    }

    pub(super) fn path(&self, key: &Key) -> Option<PathBuf> {
        let text = self.text(key);
        (!text.is_empty()).then(|| PathBuf::from(text))
    }

    fn address(&self, key: &Key) -> Option<SocketAddr> {
        match self.at(key) {
            Some((_, Value::Address(address), _)) => *address,
            _ => None,
        }
    }

    /// Key, value and origin, for an error.
    pub(super) fn told(&self, key: &Key) -> (String, String, Origin) {
        let (value, origin) = self
            .at(key)
            .map_or((String::new(), Origin::Default), |(_, value, origin)| (show(value), origin.clone()));
        (key.name.to_owned(), value, origin)
    }
}

pub(super) fn entry(
    key: &str,
    value: String,
    unit: &'static str,
    origin: &Origin,
    summary: &'static str,
) -> Entry {
    Entry { key: key.to_owned(), value, unit, origin: origin.clone(), summary }
}

pub(super) fn bad(key: &str, raw: &Raw, origin: &Origin, accepted: String) -> ConfigError {
    ConfigError::BadValue { key: key.to_owned(), value: raw.to_string(), origin: origin.clone(), accepted }
}

fn show(value: &Value) -> String {
    match value {
        Value::Address(address) => address.map_or_else(|| "off".to_owned(), |address| address.to_string()),
        Value::Integer(number) => number.map_or_else(|| "auto".to_owned(), |number| number.to_string()),
        Value::Switch(switch) => switch.to_string(),
        Value::Text(text) => text.clone(),
    }
}

/// The value, if it is of this kind and within its range.
fn value(kind: Kind, raw: &Raw) -> Option<Value> {
    let text = match raw {
        Raw::Text(text) | Raw::String(text) => Some(text.trim()),
        _ => None,
    };
    Some(match kind {
        Kind::Address => Value::Address(Some(text?.parse().ok()?)),
        Kind::AddressOrOff if text == Some("off") => Value::Address(None),
        Kind::AddressOrOff => Value::Address(Some(text?.parse().ok()?)),
        Kind::IntegerOrAuto(..) if text == Some("auto") => Value::Integer(None),
        Kind::Integer(min, max) | Kind::IntegerOrAuto(min, max) => {
            let number = match raw {
                Raw::Integer(number) => *number,
                // Digits may be grouped, as in the file.
                Raw::Text(text) => text.trim().replace('_', "").parse().ok()?,
                _ => return None,
            };
            (min..=max).contains(&number).then_some(Value::Integer(Some(number)))?
        }
        Kind::Switch => Value::Switch(match raw {
            Raw::Boolean(switch) => *switch,
            Raw::Text(text) => text.trim().parse().ok()?,
            _ => return None,
        }),
        Kind::Path => Value::Text(text.filter(|text| !text.contains('\0'))?.to_owned()),
        Kind::Choice(words) => Value::Text((*words.iter().find(|word| text == Some(word))?).to_owned()),
        Kind::Version => Value::Text(text.filter(|text| is_version(text))?.to_owned()),
        Kind::Acl => {
            let (Raw::Text(text) | Raw::String(text)) = raw else { return None };
            Value::Text(queues::is_acl(text).then(|| text.clone())?)
        }
        Kind::Labels => Value::Text(text.filter(|text| cluster::labels(text).is_some())?.to_owned()),
        Kind::Label => {
            let is_label = |text: &&str| text.is_empty() || queues::value::is_label(text);
            Value::Text(text.filter(is_label)?.to_owned())
        }
        Kind::Filter => {
            let is_filter =
                |text: &&str| !text.is_empty() && text.parse::<tracing_subscriber::filter::Targets>().is_ok();
            Value::Text(text.filter(is_filter)?.to_owned())
        }
    })
}

fn is_version(text: &str) -> bool {
    let is_number =
        |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
    let dotted = text.split_once('-').map_or(text, |(dotted, _)| dotted);
    let parts = dotted.split('.').count();
    ["NONE", "EqualToRM"].contains(&text)
        || (text.len() <= 64 && (1..=4).contains(&parts) && dotted.split('.').all(is_number))
}

/// A class and where it was written.
struct PlacedClass {
    class: NodeClass,
    suspect: (String, String, Origin),
    lost: (String, String, Origin),
}

/// The classes of the file, then the one for everybody else.
fn classes(
    given: &Given,
    tables: &[(ClassTable, Origin)],
    entries: &mut Vec<Entry>,
    errors: &mut Vec<ConfigError>,
) -> Vec<PlacedClass> {
    let mut classes: Vec<PlacedClass> = Vec::new();
    if let Some((_, origin)) = tables.get(CLASSES_MAX) {
        errors.push(ConfigError::BadValue {
            key: NODE_CLASS.to_owned(),
            value: format!("a list of {}", tables.len()),
            origin: origin.clone(),
            accepted: format!("at most {CLASSES_MAX} tables"),
        });
        return classes;
    }
    for (index, (table, origin)) in tables.iter().enumerate() {
        let key = |name: &str| format!("{NODE_CLASS}[{index}].{name}");
        let mut text = |name: &str, accepted: &str, is_accepted: &dyn Fn(&str) -> bool| {
            let found = table.iter().find(|(key, ..)| key == name);
            match found {
                Some((_, Raw::String(text), place)) if is_accepted(text) => {
                    entries.push(entry(&key(name), text.clone(), "", place, "Class of nodes."));
                    Some((text.clone(), place.clone()))
                }
                Some((_, raw, place)) => {
                    errors.push(bad(&key(name), raw, place, accepted.to_owned()));
                    None
                }
                None => {
                    errors.push(bad(&key(name), &Raw::Other("missing value"), origin, accepted.to_owned()));
                    None
                }
            }
        };
        let is_free =
            |name: &str| name != DEFAULT_CLASS && classes.iter().all(|other| *other.class.name != *name);
        let name =
            text("name", "1 to 253 visible characters, not \"default\", and no other class's", &|name| {
                is_visible(name) && is_free(name)
            });
        // A pattern for every host would hide the classes after it: the default class is for that.
        let hosts = text("hosts", CLASS_PATTERN, &|hosts| {
            is_visible(hosts) && hosts.matches('*').count() <= 1 && hosts != "*"
        });
        let mut time = |name: &'static str, default: &Key| {
            let Kind::Integer(min, max) = default.kind else { return None };
            let (_, fallback, fallback_origin) = given.told(default);
            match table.iter().find(|(key, ..)| key == name) {
                None => Some((given.millis(default), (default.name.to_owned(), fallback, fallback_origin))),
                Some((_, Raw::Integer(number), place)) if (min..=max).contains(number) => {
                    entries.push(entry(&key(name), number.to_string(), "ms", place, "Class of nodes."));
                    let duration = Duration::from_millis(number.unsigned_abs());
                    Some((duration, (key(name), number.to_string(), place.clone())))
                }
                Some((_, raw, place)) => {
                    errors.push(bad(&key(name), raw, place, default.kind.to_string()));
                    None
                }
            }
        };
        let suspect = time("suspect_after_ms", key::SUSPECT_AFTER);
        let lost = time("lost_after_ms", key::LOST_AFTER);
        if let (Some((name, _)), Some((hosts, _)), Some(suspect), Some(lost)) = (name, hosts, suspect, lost) {
            let class = NodeClass {
                name: name.into(),
                hosts: hosts.into(),
                suspect_after: suspect.0,
                lost_after: lost.0,
            };
            classes.push(PlacedClass { class, suspect: suspect.1, lost: lost.1 });
        }
    }
    classes.push(PlacedClass {
        class: NodeClass {
            name: DEFAULT_CLASS.into(),
            hosts: "*".into(),
            suspect_after: given.millis(key::SUSPECT_AFTER),
            lost_after: given.millis(key::LOST_AFTER),
        },
        suspect: given.told(key::SUSPECT_AFTER),
        lost: given.told(key::LOST_AFTER),
    });
    classes
}

fn is_visible(text: &str) -> bool {
    (1..=CLASS_TEXT_MAX).contains(&text.len())
        && text.chars().all(|char| !char.is_whitespace() && !char.is_control())
}

/// The rules between keys.
fn rules(given: &Given, classes: &[PlacedClass], errors: &mut Vec<ConfigError>) {
    let mut refuse = |is_broken: bool, values: Vec<(String, String, Origin)>, rule: &str| {
        if is_broken {
            errors.push(ConfigError::Impossible { values, rule: rule.to_owned() });
        }
    };
    let mut ordered = |less: &Key, more: &Key, rule: &str| {
        let is_broken = given.number::<i64>(less) > given.number::<i64>(more);
        refuse(is_broken, vec![given.told(less), given.told(more)], rule);
    };
    ordered(key::INTERVAL_MIN, key::INTERVAL, "the least interval must not be above the interval");
    ordered(key::INTERVAL, key::INTERVAL_MAX, "the interval must not be above the most");
    ordered(
        key::STREAM_WINDOW,
        key::NODE_WINDOW,
        "a stream's window must not be above that of the connection, which bounds it anyway",
    );
    let idle = given.millis(key::IDLE);
    let interval_max = given.millis(key::INTERVAL_MAX);
    refuse(
        idle < interval_max * 2,
        vec![given.told(key::IDLE), given.told(key::INTERVAL_MAX)],
        "the idle timeout must be at least twice the longest interval, or connections close between two beats",
    );
    for PlacedClass { class, suspect, lost } in classes {
        refuse(
            class.suspect_after < interval_max,
            vec![suspect.clone(), given.told(key::INTERVAL_MAX)],
            "a node must not be suspect before its next beat is due: suspect_after must be at least the longest interval",
        );
        refuse(
            class.suspect_after >= class.lost_after,
            vec![suspect.clone(), lost.clone()],
            "a node must be suspect before it is lost: suspect_after must be below lost_after",
        );
    }
    let (include, exclude) = (given.path(key::INCLUDE), given.path(key::EXCLUDE));
    refuse(
        include.is_some() && include == exclude,
        vec![given.told(key::INCLUDE), given.told(key::EXCLUDE)],
        "the same file cannot say who may join and who may not",
    );
    refuse(
        given.path(key::PKI_CERTIFICATE).is_some() != given.path(key::PKI_KEY).is_some(),
        vec![given.told(key::PKI_CERTIFICATE), given.told(key::PKI_KEY)],
        "certificate and key are given together or not at all",
    );
    refuse(
        given.path(key::PKI_DIR).is_none()
            && [key::PKI_CERTIFICATE, key::PKI_CA].iter().any(|key| given.path(key).is_none()),
        vec![given.told(key::PKI_DIR), given.told(key::PKI_CERTIFICATE), given.told(key::PKI_CA)],
        "without a directory, certificate, key and authority must all be given",
    );
}

/// Threads.
fn threads(given: &Given) -> RuntimeSettings {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (net, engine) = RuntimeSettings::threads_for(cores);
    let or = |key: &Key, auto: usize| given.optional(key).and_then(|n| n.try_into().ok()).unwrap_or(auto);
    let scheduler = if cores <= 3 { 1 } else { 2 };
    RuntimeSettings {
        net_threads: or(key::NET_THREADS, net),
        engine_threads: or(key::ENGINE_THREADS, engine),
        scheduler_threads: or(key::SCHEDULER_THREADS, scheduler),
    }
}

fn build(given: &Given, classes: Box<[NodeClass]>, entries: Vec<Entry>) -> RmConfig {
    let runtime = threads(given);
    let listen = given.address(key::LISTEN).unwrap_or_else(|| ([127, 0, 0, 1], 8031).into());
    let dir = given.path(key::PKI_DIR).unwrap_or_default();
    let file = |key: &Key, name: &str| given.path(key).unwrap_or_else(|| Path::new(&dir).join(name));
    let transport = TransportSettings {
        idle_timeout: given.millis(key::IDLE),
        handshakes_per_second: given.number(key::HANDSHAKES),
        handshake_timeout: given.millis(key::HANDSHAKE_TIMEOUT),
        handshake_burst: given.number(key::HANDSHAKE_BURST),
        connections_max: given.number(key::CONNECTIONS),
        streams_per_connection: given.number(key::STREAMS),
        stream_receive_window: given.number(key::STREAM_WINDOW),
        node_receive_window: given.number(key::NODE_WINDOW),
        client_receive_window: given.number(key::CLIENT_WINDOW),
        admin_receive_window: given.number(key::ADMIN_WINDOW),
        send_window: given.number(key::SEND_WINDOW),
        slow_reader_size: given.number(key::SLOW_BYTES),
        slow_reader_timeout: given.millis(key::SLOW_TIME),
        frames_per_second: given.number(key::FRAME_RATE),
        socket_buffer_size: given.number(key::SOCKET_BUFFER),
        is_segmentation_offload: given.switch(key::GSO),
    };
    RmConfig {
        listen,
        http: given.address(key::HTTP_ADDRESS).map(|address| HttpSettings {
            address,
            request_timeout: given.millis(key::HTTP_TIMEOUT),
            requests_max: given.number(key::HTTP_REQUESTS),
        }),
        pki: PkiFiles {
            certificate: file(key::PKI_CERTIFICATE, "resourcemanager.pem"),
            key: file(key::PKI_KEY, "resourcemanager.key"),
            ca: file(key::PKI_CA, crate::pki::CA_CERTIFICATE_FILE),
        },
        runtime,
        transport,
        node_lists: NodeListFiles { include: given.path(key::INCLUDE), exclude: given.path(key::EXCLUDE) },
        recorder: given
            .path(key::RECORDER_DIR)
            .map(|dir| RecorderSettings { dir, size_max: given.number(key::RECORDER_SIZE) }),
        log: LogSettings {
            format: if given.text(key::LOG_FORMAT) == "json" { LogFormat::Json } else { LogFormat::Text },
            level: given.text(key::LOG_LEVEL).to_owned(),
        },
        shard: shard(given, runtime.engine_threads, classes),
        entries,
        scheduler: SchedulerSettings::default(),
        applications: ApplicationSettings::default(),
        queue_files: QueueFiles::default(),
        groups_file: GroupsFile::default(),
        warnings: Vec::new(),
        sources: ConfigSources::default(),
    }
}

fn shard(given: &Given, shards: usize, classes: Box<[NodeClass]>) -> ShardSettings {
    let defaults = ShardSettings::default();
    let nodes_max: u32 = given.number(key::NODES_MAX);
    let timeout: i64 = given.number(key::DECOMMISSION_TIMEOUT);
    let nm_version = match given.text(key::MINIMUM_VERSION) {
        "NONE" => None,
        "EqualToRM" => Some(defaults.rm_version.clone()),
        version => Some(version.into()),
    };
    ShardSettings {
        shard_count: u16::try_from(shards).unwrap_or(1),
        nodes_max: rows_per_shard(nodes_max, u32::try_from(shards).unwrap_or(1)),
        heartbeat: HeartbeatSettings {
            interval: given.millis(key::INTERVAL),
            interval_min: given.millis(key::INTERVAL_MIN),
            interval_max: given.millis(key::INTERVAL_MAX),
            scaling: given.switch(key::SCALING).then(|| ScalingSettings {
                speedup_permille: given.number(key::SPEEDUP),
                slowdown_permille: given.number(key::SLOWDOWN),
            }),
        },
        classes,
        brake: BrakeSettings {
            suspects_permille: given.number(key::BRAKE_PERMILLE),
            suspects_min: given.number(key::BRAKE_MIN),
            limit: given.seconds(key::BRAKE_LIMIT),
        },
        minimum: MinimumSettings {
            memory_mb: given.number(key::MINIMUM_MEMORY),
            virtual_cores: given.number(key::MINIMUM_CORES),
            nm_version,
        },
        decommission_timeout: u64::try_from(timeout).ok().map(Duration::from_secs),
        decommission_ignores_applications: given.switch(key::DECOMMISSION_IGNORES),
        resync_per_second: given.number(key::RESYNC_RATE),
        distributed_labels: given.switch(key::DISTRIBUTED_LABELS),
        untracked_timeout: given.seconds(key::UNTRACKED),
        ..defaults
    }
}

/// Rows of one shard: its part of `nodes_max`, and with several shards an eighth and 64 more, because hashing does not
/// spread nodes evenly: n nodes on a shard vary by about √n, which the 64 cover for small and the eighth for large n.
fn rows_per_shard(nodes_max: u32, shards: u32) -> u32 {
    if shards <= 1 {
        return nodes_max;
    }
    let part = nodes_max.div_ceil(shards);
    (part + part / 8 + 64).min(heddle_wire::limits::ROWS_PER_SHARD_MAX)
}

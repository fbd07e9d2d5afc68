//! Heddle's own scenarios: nodes, queues by levels or one by one, and kinds of applications that arrive, in TOML.
//! Owns: the form (`loadgen/samples/scenario.toml` explains every key) and its checks. Called by: `reader`. Thread: the
//! reader's. Does not: generate; that is `generate`.
//! Invariants: a key nobody knows is an error; what a scenario generates is bounded before it begins.

mod generate;
mod spread;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::sync::Arc;

use heddle_wire::limits::NAME_MAX;
use heddle_wire::record::{Resource, ResourceInformation};
use serde::Deserialize;
use toml::Spanned;

use super::json::is_name;
use super::queues::{Level, QUEUES_MAX};
use super::reader::Applications;
use super::sls::QUEUE_MAX;
use super::{
    AMOUNT_MAX, APPLICATIONS_MAX, GROUPS_MAX, MEMORY_MB_MAX, NODES_MAX, NodeSpec, PRIORITY_MAX,
    QueueTreeSpec, TASKS_MAX, VIRTUAL_CORES_MAX, WorkloadError,
};
use spread::{Amount, Ms, Time};

/// Longest scenario, bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Most users one kind of applications has.
const USERS_MAX: usize = 100_000;

/// The scenario of a run that is told nothing else: 10,000 nodes, a hundred leaf queues in three levels, about a thousand
/// applications at a time.
pub const DEFAULT_SCENARIO: &str = include_str!("../../../samples/default-scenario.toml");

/// A scenario as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    #[expect(dead_code, reason = "for whoever reads the file")]
    description: String,
    seed: Option<u64>,
    duration: Spanned<Ms>,
    #[serde(default)]
    nodes: Vec<Spanned<RawNodes>>,
    queues: Option<toml::Table>,
    #[serde(default)]
    queue_levels: Vec<Spanned<RawLevel>>,
    #[serde(default)]
    root: toml::Table,
    applications: Vec<Spanned<RawTemplate>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNodes {
    count: u64,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    racks: Option<u64>,
    memory_mb: u64,
    vcores: u64,
    #[serde(default)]
    resources: BTreeMap<String, u64>,
    #[serde(default)]
    label: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLevel {
    prefix: String,
    count: u64,
    #[serde(default)]
    skew: f64,
    #[serde(default)]
    settings: toml::Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTemplate {
    name: String,
    #[serde(rename = "type")]
    application_type: Option<String>,
    queues: Option<Vec<String>>,
    #[serde(default)]
    queue_skew: f64,
    users: RawUsers,
    #[serde(default)]
    user_skew: f64,
    arrivals: RawArrivals,
    priority: Option<i64>,
    label: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    lifetime: Option<Ms>,
    attempts: Option<u32>,
    #[serde(default)]
    keeps_containers: bool,
    #[serde(default)]
    am: RawAm,
    #[serde(default)]
    tasks: Vec<Spanned<RawTasks>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawUsers {
    Named(Vec<String>),
    Numbered { prefix: String, count: u64 },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArrivals {
    #[serde(default)]
    process: Process,
    #[serde(default)]
    per_minute: f64,
    #[serde(default = "one")]
    burst: u64,
    #[serde(default)]
    from: Ms,
    until: Option<Ms>,
    #[serde(default)]
    first: u64,
    #[serde(default)]
    ramp: Ms,
}

const fn one() -> u64 {
    1
}

/// How applications arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Process {
    /// Independently of one another.
    #[default]
    Poisson,
    /// At equal distances.
    Regular,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAm {
    memory_mb: u64,
    vcores: u64,
    resources: BTreeMap<String, u64>,
    start: Ms,
    least_duration: Ms,
    unmanaged: bool,
}

impl Default for RawAm {
    fn default() -> Self {
        Self {
            memory_mb: 1_024,
            vcores: 1,
            resources: BTreeMap::new(),
            start: Ms(0),
            least_duration: Ms(0),
            unmanaged: false,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTasks {
    name: String,
    count: Amount,
    duration: Time,
    #[serde(default = "twenty")]
    priority: i64,
    memory_mb: u64,
    vcores: u64,
    #[serde(default)]
    resources: BTreeMap<String, u64>,
    #[serde(default)]
    after: Vec<RawDependency>,
    #[serde(default)]
    delay: Ms,
    #[serde(default)]
    local: f64,
    #[serde(default = "yes")]
    relax_locality: bool,
    label: Option<String>,
    #[serde(default)]
    opportunistic: bool,
    #[serde(default = "three")]
    retries: u32,
}

const fn twenty() -> i64 {
    20
}

const fn yes() -> bool {
    true
}

const fn three() -> u32 {
    3
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawDependency {
    All(String),
    Part { tasks: String, completed: f64 },
}

/// What a scenario gives.
pub(super) struct Scenario {
    pub(super) nodes: Option<Vec<NodeSpec>>,
    pub(super) queues: Option<QueueTreeSpec>,
    pub(super) applications: Applications,
}

/// Where a part of the file stands, for errors.
struct Place<'a> {
    file: &'a str,
    line: u64,
    path: String,
}

impl Place<'_> {
    fn wrong(&self, key: &str, found: &str, accepted: impl Into<String>) -> WorkloadError {
        let field = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        WorkloadError::value(self.file, self.line, field, found, accepted)
    }

    fn whole(&self, key: &str, value: u64, min: u64, max: u64) -> Result<u64, WorkloadError> {
        if (min..=max).contains(&value) {
            return Ok(value);
        }
        Err(self.wrong(key, &value.to_string(), format!("a whole number from {min} to {max}")))
    }

    fn name(&self, key: &str, text: &str, max: usize) -> Result<Arc<str>, WorkloadError> {
        if is_name(text, max) {
            return Ok(text.into());
        }
        Err(self.wrong(key, text, format!("a text of 1 to {max} bytes without control characters")))
    }

    fn share(&self, key: &str, value: f64, max: f64) -> Result<f64, WorkloadError> {
        if (0.0..=max).contains(&value) {
            return Ok(value);
        }
        Err(self.wrong(key, &value.to_string(), format!("a number from 0 to {max}")))
    }

    fn resource(
        &self,
        memory_mb: u64,
        vcores: u64,
        others: &BTreeMap<String, u64>,
    ) -> Result<Resource, WorkloadError> {
        let memory_mb = self.whole("memory_mb", memory_mb, 1, MEMORY_MB_MAX)?;
        let vcores = self.whole("vcores", vcores, 0, VIRTUAL_CORES_MAX)?;
        let mut resource = Resource::new(memory_mb, vcores as u32);
        if others.len() > 30 {
            return Err(self.wrong("resources", &format!("{} types", others.len()), "at most 30"));
        }
        for (name, value) in others {
            self.name("resources", name, NAME_MAX)?;
            let value = self.whole(&format!("resources.{name:?}"), *value, 0, AMOUNT_MAX)?;
            resource.extended.push(ResourceInformation { name: name.clone(), value, units: String::new() });
        }
        Ok(resource)
    }
}

/// Line a byte of the text is on.
fn line_of(text: &str, at: usize) -> u64 {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1
}

/// Reads a scenario; its applications come by time.
pub(super) fn read(
    file: &Arc<str>,
    input: Box<dyn BufRead + Send>,
    seed: Option<u64>,
) -> Result<Scenario, WorkloadError> {
    let mut bytes = Vec::new();
    input
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| WorkloadError::Io { file: file.to_string(), error })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(WorkloadError::TooMany {
            file: file.to_string(),
            line: 1,
            what: "bytes",
            max: FILE_BYTES_MAX,
        });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        WorkloadError::Text { file: file.to_string(), line, reason: "this is not UTF-8".to_owned() }
    })?;
    let raw: Raw = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(&text, span.start));
        WorkloadError::Text { file: file.to_string(), line, reason: error.message().to_owned() }
    })?;
    let place = |at: usize, path: String| Place { file, line: line_of(&text, at), path };
    let nodes = nodes(&raw, &place)?;
    let queues = queues(&raw, &place)?;
    let hosts: Vec<(Arc<str>, Arc<str>)> =
        nodes.iter().map(|node| (Arc::clone(&node.rack), Arc::clone(&node.host))).collect();
    let duration_ms = raw.duration.get_ref().0;
    let mut expected = 0.0;
    let mut templates = Vec::new();
    for (index, template) in raw.applications.iter().enumerate() {
        let place = place(template.span().start, format!("applications[{index}]"));
        let template = generate::Template::check(
            template.get_ref(),
            &place,
            queues.as_ref(),
            duration_ms,
            |at, path| Place { file, line: line_of(&text, at), path },
        )?;
        expected += template.expected();
        if expected > APPLICATIONS_MAX as f64 {
            return Err(place.wrong(
                "arrivals",
                &format!("{expected:.0} applications in all"),
                format!("at most {APPLICATIONS_MAX}"),
            ));
        }
        templates.push(template);
    }
    let seed = seed.or(raw.seed).unwrap_or(1);
    Ok(Scenario {
        nodes: (!nodes.is_empty()).then_some(nodes),
        queues,
        applications: Box::new(generate::Generator::new(templates, hosts, seed).map(Ok)),
    })
}

fn nodes<'a>(raw: &Raw, place: &impl Fn(usize, String) -> Place<'a>) -> Result<Vec<NodeSpec>, WorkloadError> {
    let mut nodes: Vec<NodeSpec> = Vec::new();
    let mut prefixes = BTreeSet::new();
    for (index, group) in raw.nodes.iter().enumerate() {
        let place = place(group.span().start, format!("nodes[{index}]"));
        let group = group.get_ref();
        let count = place.whole("count", group.count, 1, (NODES_MAX - nodes.len()) as u64)?;
        let prefix = group.prefix.clone().unwrap_or_else(|| format!("node{index}-"));
        let is_host = prefix.len() <= 200
            && prefix.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':' && byte != b'/');
        // Numbers follow, so that one prefix must not be another with digits behind it.
        let stem = prefix.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        if !is_host || !prefixes.insert(stem) {
            return Err(place.wrong(
                "prefix",
                &prefix,
                "distinct visible ASCII characters without ':' and '/'",
            ));
        }
        let racks = place.whole("racks", group.racks.unwrap_or(count.div_ceil(40)), 1, count)?;
        let resource = place.resource(group.memory_mb, group.vcores, &group.resources)?;
        let label = group.label.as_ref().map(|label| place.name("label", label, NAME_MAX)).transpose()?;
        let names: Vec<Arc<str>> = (0..racks).map(|rack| format!("/{prefix}rack{rack:04}").into()).collect();
        nodes.extend((0..count).map(|number| NodeSpec {
            host: format!("{prefix}{number:06}").into(),
            rack: Arc::clone(&names[(number % racks) as usize]),
            label: label.clone(),
            resource: resource.clone(),
        }));
    }
    Ok(nodes)
}

fn queues<'a>(
    raw: &Raw,
    place: &impl Fn(usize, String) -> Place<'a>,
) -> Result<Option<QueueTreeSpec>, WorkloadError> {
    if let Some(queues) = &raw.queues {
        let place = place(0, "queues".to_owned());
        if !raw.queue_levels.is_empty() {
            return Err(place.wrong("", "queue_levels beside queues", "one of them"));
        }
        let mut file = toml::Table::new();
        file.insert("queues".to_owned(), queues.clone().into());
        let toml = toml::to_string(&file).map_err(|error| WorkloadError::Text {
            file: place.file.to_owned(),
            line: 1,
            reason: error.to_string(),
        })?;
        return Ok(Some(QueueTreeSpec { toml, leaves: leaves_of(queues) }));
    }
    let mut levels = Vec::new();
    let (mut all, mut here) = (1_usize, 1_usize);
    for (index, level) in raw.queue_levels.iter().enumerate() {
        let place = place(level.span().start, format!("queue_levels[{index}]"));
        let level = level.get_ref();
        let count = place.whole("count", level.count, 1, QUEUES_MAX as u64)? as usize;
        let is_name = !level.prefix.is_empty()
            && level.prefix.len() <= 100
            && level.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !is_name {
            return Err(place.wrong("prefix", &level.prefix, "1 to 100 letters, digits, '-' and '_'"));
        }
        let skew = place.share("skew", level.skew, 5.0)?;
        here = here.saturating_mul(count);
        all = all.saturating_add(here);
        if all > QUEUES_MAX || index >= 8 {
            return Err(place.wrong(
                "count",
                &format!("{all} queues in all"),
                format!("at most {QUEUES_MAX} in at most 8 levels"),
            ));
        }
        levels.push(Level { prefix: level.prefix.clone(), count, skew, settings: level.settings.clone() });
    }
    Ok((!levels.is_empty()).then(|| QueueTreeSpec::of_levels(&raw.root, &levels)))
}

/// Full paths of the leaves of `[queues.root…]`, sorted.
fn leaves_of(queues: &toml::Table) -> Vec<Arc<str>> {
    // Settings of a queue that are tables themselves.
    const SETTINGS: [&str; 5] = ["capacity", "maximum_capacity", "maximum_allocation", "users", "labels"];
    let mut leaves = Vec::new();
    let mut open: Vec<(String, &toml::Table)> = queues
        .get("root")
        .and_then(toml::Value::as_table)
        .map(|root| ("root".to_owned(), root))
        .into_iter()
        .collect();
    while let Some((path, table)) = open.pop() {
        let before = open.len();
        let children = table.iter().filter(|(name, _)| !SETTINGS.contains(&name.as_str()));
        open.extend(children.filter_map(|(name, value)| Some((format!("{path}.{name}"), value.as_table()?))));
        if open.len() == before {
            leaves.push(path.into());
        }
    }
    leaves.sort();
    leaves
}

/// Bounds that the generator's checks need as well.
const PRIORITIES: core::ops::RangeInclusive<i64> = -PRIORITY_MAX..=PRIORITY_MAX;
const TASKS: f64 = TASKS_MAX as f64;
const GROUPS: usize = GROUPS_MAX;
const QUEUE: usize = QUEUE_MAX;

#[cfg(test)]
mod tests;

//! Opens traces: which format a file has, its applications one by one or all in order, its nodes.
//! Owns: [`Format`], [`WorkloadReader`], [`ReadOptions`]. Called by: the command line, the simulator. Thread: the caller's;
//! a reader may be sent to another. Does not: know what a format's fields mean; that is the format's module.
//! Invariants: a reader holds one application at a time (SYNTH and scenarios: one small entry for each application); a
//! [`Workload`] is sorted by time of submission and begins at 0; what is not used is said once, in a bounded list.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    APPLICATIONS_MAX, ApplicationSpec, Durations, NODES_MAX, NodeSpec, QueueTreeSpec, Workload,
    WorkloadError, dynoyarn, openb, rumen, scenario, sls, synth,
};

/// How much of a file is looked at to tell its format, bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// Longest list of things a trace says and nobody uses.
const NOTICES_MAX: usize = 32;

/// Most durations a workload in memory lists one by one: 800 MB.
const LISTED_MAX: u64 = 100_000_000;

/// What a trace is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Format {
    /// The Scheduler Load Simulator's JSON.
    Sls,
    /// Job history as Rumen writes it, JSON.
    Rumen,
    /// The Scheduler Load Simulator's distributions, JSON.
    Synth,
    /// DynoYARN's lines of JSON.
    DynoYarn,
    /// The list of tasks of Alibaba's GPU trace of 2023, CSV.
    OpenB,
    /// Heddle's own, TOML.
    Scenario,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Sls, Self::Rumen, Self::Synth, Self::DynoYarn, Self::OpenB, Self::Scenario];

    /// What it is called on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sls => "sls",
            Self::Rumen => "rumen",
            Self::Synth => "synth",
            Self::DynoYarn => "dynoyarn",
            Self::OpenB => "openb",
            Self::Scenario => "scenario",
        }
    }

    /// The format of a file of this name that begins like this.
    #[must_use]
    pub fn detect(name: &str, head: &[u8]) -> Option<Self> {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("toml") => return Some(Self::Scenario),
            Some("csv") => return Some(Self::OpenB),
            _ => {}
        }
        let head = String::from_utf8_lossy(head);
        // By keys that only one of them has. What comes first decides: a key may be part of a later value.
        let keys = [
            ("\"workloads\"", Self::Synth),
            ("\"num_jobs\"", Self::Synth),
            ("\"num.nodes\"", Self::Sls),
            ("\"job.start.ms\"", Self::Sls),
            ("\"job.tasks\"", Self::Sls),
            ("\"am.type\"", Self::Sls),
            ("\"amResourceRequest\"", Self::DynoYarn),
            ("\"resourceRequestSpecs\"", Self::DynoYarn),
            ("\"mapTasks\"", Self::Rumen),
            ("\"jobID\"", Self::Rumen),
        ];
        let found = keys.iter().filter_map(|(key, format)| Some((head.find(key)?, *format))).min();
        found.map(|(_, format)| format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How a trace is read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Its format; `None` = by its name and its beginning.
    pub format: Option<Format>,
    /// Seed of what it leaves to chance; `None` = its own, or 1.
    pub seed: Option<u64>,
    /// A file of nodes: an SLS node file, a Rumen topology, a scenario, or a CSV with the header of Alibaba's node list.
    pub nodes: Option<PathBuf>,
}

/// Applications one by one.
pub(crate) type Applications = Box<dyn Iterator<Item = Result<ApplicationSpec, WorkloadError>> + Send>;

/// What a trace says and nobody uses: once for each key, with how often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(Arc<Mutex<BTreeMap<String, (String, u64)>>>);

impl Notices {
    /// Says something about `key`, unless it was said before or too much was.
    pub(crate) fn say_of(&mut self, key: &str, text: impl FnOnce() -> String) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = said.get_mut(key) {
            *count += 1;
        } else if said.len() < NOTICES_MAX {
            said.insert(super::error::cut(key), (text(), 1));
        }
    }

    /// What was said, sorted by key.
    pub(crate) fn list(&self) -> Vec<String> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = |count: u64| if count == 1 { String::new() } else { format!(" ({count} times)") };
        said.values().map(|(text, count)| format!("{text}{}", times(*count))).collect()
    }
}

/// Gives each application as often as it is to be submitted.
pub(crate) struct Repeated<I> {
    inner: I,
    present: Option<(ApplicationSpec, u32)>,
}

impl<I> Repeated<I> {
    pub(crate) const fn new(inner: I) -> Self {
        Self { inner, present: None }
    }
}

impl<I: Iterator<Item = Result<(ApplicationSpec, u32), WorkloadError>>> Iterator for Repeated<I> {
    type Item = Result<ApplicationSpec, WorkloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (spec, copies) = match self.present.take() {
            Some(present) => present,
            None => match self.inner.next()? {
                Ok(next) => next,
                Err(error) => return Some(Err(error)),
            },
        };
        if copies > 1 {
            self.present = Some((spec.clone(), copies - 1));
        }
        Some(Ok(spec))
    }
}

/// A trace, its applications one by one in the order of the file and with its times. It ends after the first error.
pub struct WorkloadReader {
    /// What it is written in.
    pub format: Format,
    /// The nodes, where the trace or a file beside it says.
    pub nodes: Option<Vec<NodeSpec>>,
    /// The queues, where the trace says.
    pub queues: Option<QueueTreeSpec>,
    applications: Applications,
    notices: Notices,
    is_over: bool,
}

impl fmt::Debug for WorkloadReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WorkloadReader").field("format", &self.format).finish_non_exhaustive()
    }
}

impl WorkloadReader {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, its format cannot be told, or what stands before its applications is wrong.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self, WorkloadError> {
        let file = path.display().to_string();
        let input = open(path, &file)?;
        Self::new(&file, input, options)
    }

    /// Reads a text that is in memory; `name` is what errors call it, and tells the format.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_text(
        name: &str,
        text: impl AsRef<[u8]> + Send + 'static,
        options: &ReadOptions,
    ) -> Result<Self, WorkloadError> {
        Self::new(name, Box::new(Cursor::new(text)), options)
    }

    fn new(
        file: &str,
        mut input: Box<dyn BufRead + Send>,
        options: &ReadOptions,
    ) -> Result<Self, WorkloadError> {
        let head = head(&mut input, file)?;
        let format = options.format.or_else(|| Format::detect(file, &head)).ok_or_else(|| {
            let accepted = Format::ALL.map(Format::name).join(", ");
            WorkloadError::UnknownFormat { file: file.to_owned(), accepted }
        })?;
        let mut notices = Notices::default();
        let name: Arc<str> = file.into();
        let input: Box<dyn BufRead + Send> =
            Box::new(BufReader::new(std::io::Read::chain(Cursor::new(head), input)));
        let mut queues = None;
        let (nodes, applications) = match format {
            Format::Sls => sls::read(name, input, notices.clone())?,
            Format::Rumen => (None, rumen::read(name, input, notices.clone())),
            Format::Synth => synth::read(&name, input, options.seed, &mut notices)?,
            Format::DynoYarn => (None, dynoyarn::read(name, input, notices.clone())),
            Format::OpenB => (None, openb::read(name, input, notices.clone())?),
            Format::Scenario => {
                let scenario = scenario::read(&name, input, options.seed)?;
                queues = scenario.queues;
                (scenario.nodes, scenario.applications)
            }
        };
        let nodes = match &options.nodes {
            Some(path) => {
                let (nodes, said) = read_nodes(path)?;
                for text in said {
                    notices.say_of(&text, || text.clone());
                }
                Some(nodes)
            }
            None => nodes,
        };
        Ok(Self { format, nodes, queues, applications, notices, is_over: false })
    }

    /// What was not used so far, and why; for a person.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        self.notices.list()
    }
}

impl Iterator for WorkloadReader {
    type Item = Result<ApplicationSpec, WorkloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let item = self.applications.next();
        self.is_over = !matches!(item, Some(Ok(_)));
        item
    }
}

fn open(path: &Path, file: &str) -> Result<Box<dyn BufRead + Send>, WorkloadError> {
    let input = File::open(path).map_err(|error| WorkloadError::Io { file: file.to_owned(), error })?;
    Ok(Box::new(BufReader::with_capacity(HEAD_BYTES, input)))
}

/// The beginning of a file; it is taken out of `input`.
fn head(input: &mut dyn BufRead, file: &str) -> Result<Vec<u8>, WorkloadError> {
    let mut head = vec![0; HEAD_BYTES];
    let mut length = 0;
    while length < head.len() {
        match input.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(WorkloadError::Io { file: file.to_owned(), error }),
        }
    }
    head.truncate(length);
    Ok(head)
}

/// Reads a file of nodes, with what of it is not used.
///
/// # Errors
/// It cannot be read, is none of the accepted forms, or a value in it is wrong.
pub fn read_nodes(path: &Path) -> Result<(Vec<NodeSpec>, Vec<String>), WorkloadError> {
    let file = path.display().to_string();
    nodes_from(&file, open(path, &file)?)
}

fn nodes_from(
    file: &str,
    mut input: Box<dyn BufRead + Send>,
) -> Result<(Vec<NodeSpec>, Vec<String>), WorkloadError> {
    let head = head(&mut input, file)?;
    let text = String::from_utf8_lossy(&head).into_owned();
    let name: Arc<str> = file.into();
    let mut notices = Notices::default();
    let input: Box<dyn BufRead + Send> =
        Box::new(BufReader::new(std::io::Read::chain(Cursor::new(head), input)));
    let nodes = if text.contains("\"children\"") {
        rumen::read_topology(&name, input)?
    } else if text.trim_start().starts_with('{') {
        sls::read_nodes(&name, input, &mut notices)?
    } else if text.contains("[[nodes]]") {
        let empty = || WorkloadError::Empty { file: file.to_owned(), what: "[[nodes]]" };
        scenario::read(&name, input, None)?.nodes.ok_or_else(empty)?
    } else {
        openb::read_nodes(&name, input)?
    };
    Ok((nodes, notices.list()))
}

impl Workload {
    /// Reads a whole trace: sorted by time of submission, beginning at 0. Where it does not tell of its nodes, they are
    /// those its tasks name.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, WorkloadError> {
        Self::collect(&path.display().to_string(), WorkloadReader::open(path, options)?)
    }

    /// The same from a text in memory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_text(
        name: &str,
        text: impl AsRef<[u8]> + Send + 'static,
        options: &ReadOptions,
    ) -> Result<Self, WorkloadError> {
        Self::collect(name, WorkloadReader::from_text(name, text, options)?)
    }

    fn collect(file: &str, mut reader: WorkloadReader) -> Result<Self, WorkloadError> {
        let mut applications = Vec::new();
        let mut listed = 0_u64;
        let too_many = |what, max| WorkloadError::TooMany { file: file.to_owned(), line: 0, what, max };
        for spec in reader.by_ref() {
            let spec = spec?;
            if applications.len() == APPLICATIONS_MAX {
                return Err(too_many("applications", APPLICATIONS_MAX as u64));
            }
            listed += spec
                .groups
                .iter()
                .map(|group| match &group.durations {
                    Durations::List(list) => list.len() as u64,
                    _ => 0,
                })
                .sum::<u64>();
            if listed > LISTED_MAX {
                return Err(too_many("durations", LISTED_MAX));
            }
            applications.push(spec);
        }
        if applications.is_empty() {
            return Err(WorkloadError::Empty { file: file.to_owned(), what: "applications" });
        }
        applications.sort_by_key(|spec| spec.submit_ms);
        let start = applications.first().map_or(0, |spec| spec.submit_ms);
        for spec in &mut applications {
            spec.submit_ms -= start;
        }
        let nodes = match reader.nodes.take() {
            Some(nodes) => Some(nodes),
            None => named_nodes(&applications),
        };
        Ok(Self { nodes, queues: reader.queues.take(), notices: reader.notices(), applications })
    }
}

/// The nodes that tasks name, sorted; `None` if they name none.
fn named_nodes(applications: &[ApplicationSpec]) -> Option<Vec<NodeSpec>> {
    let mut hosts: BTreeMap<&Arc<str>, &Arc<str>> = BTreeMap::new();
    for (host, rack) in applications.iter().flat_map(ApplicationSpec::hosts) {
        if hosts.len() == NODES_MAX {
            break;
        }
        hosts.entry(host).or_insert(rack);
    }
    let resource = sls::resource(None, None, sls::NODE);
    let node = |(host, rack): (&Arc<str>, &Arc<str>)| NodeSpec {
        host: Arc::clone(host),
        rack: Arc::clone(rack),
        label: None,
        resource: resource.clone(),
    };
    (!hosts.is_empty()).then(|| hosts.into_iter().map(node).collect())
}

//! What the parts of a ResourceManager are told: plain structs, one per part.
//! Owns: [`RmConfig`] and its parts. Called by: runtime, transport, web, recorder, each at its start.
//! Does not: read or check anything. Invariant: made by `config::check` only, so every value is within its range.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

use super::error::{ConfigErrors, ConfigWarning};
use super::groups::GroupsFile;
use super::queues::{QueueFiles, QueueReading};
use super::source::{ConfigSources, Entry};
use super::{check, key, source};
use crate::engine::application::settings::ApplicationSettings;
use crate::engine::scheduler::settings::{QueueTree, SchedulerSettings};
use crate::engine::settings::{NodeLists, ShardSettings};
use crate::pki::{Identity, PkiError};

/// The configuration of a ResourceManager, checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RmConfig {
    /// UDP address of the QUIC door.
    pub listen: SocketAddr,
    /// HTTP; `None` = off.
    pub http: Option<HttpSettings>,
    /// Certificate, key, authority.
    pub pki: PkiFiles,
    /// Threads.
    pub runtime: RuntimeSettings,
    /// Bounds of connections.
    pub transport: TransportSettings,
    /// Host lists, read at start and on every refresh.
    pub node_lists: NodeListFiles,
    /// Flight recorder; `None` = off.
    pub recorder: Option<RecorderSettings>,
    /// Logging.
    pub log: LogSettings,
    /// The shards' settings, without what differs between them.
    pub(super) shard: ShardSettings,
    /// Every key with its value and origin.
    pub(super) entries: Vec<Entry>,
    /// Where the queues are read from, for a refresh.
    pub queue_files: QueueFiles,
    /// Where groups of users are read from, for a refresh.
    pub groups_file: GroupsFile,
    /// The scheduler's settings, without its start and keys.
    pub(super) scheduler: SchedulerSettings,
    /// The application manager's, likewise.
    pub(super) applications: ApplicationSettings,
    /// What is odd about Hadoop's files.
    pub(super) warnings: Vec<ConfigWarning>,
    /// What it was made of.
    pub(super) sources: ConfigSources,
}

impl Default for RmConfig {
    /// The table's defaults, without a file or the environment.
    fn default() -> Self {
        match Self::load(&ConfigSources::default()) {
            Ok(config) => config,
            // The table is ours, and a test loads it.
            Err(errors) => unreachable!("the defaults do not pass the checks: {errors}"),
        }
    }
}

impl RmConfig {
    /// Reads, merges and checks.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub fn load(sources: &ConfigSources) -> Result<Self, ConfigErrors> {
        Self::examine(sources).0
    }

    /// Reads and checks as [`RmConfig::load`] does, and also gives what could be read of the queues where something is
    /// wrong: for who wants to see it all.
    pub fn examine(sources: &ConfigSources) -> (Result<Self, ConfigErrors>, QueueReading) {
        let (merged, errors) = source::merge(sources);
        check::check(merged, errors, sources)
    }

    /// Reads all sources again: what RefreshAdminAcls takes its list from ([`QueueTree::admin_acl`]).
    ///
    /// # Errors
    /// As [`RmConfig::load`].
    pub fn reload(&self) -> Result<Self, ConfigErrors> {
        Self::load(&self.sources)
    }

    /// What a refresh of the queues does not take over from this configuration, read anew, into a ResourceManager that runs
    /// with `running`: a line for each key that has another value now.
    ///
    /// # Errors
    /// The resource types are others: amounts of the queues would mean something else there.
    pub fn left_for_restart(&self, running: &Self) -> Result<Vec<String>, String> {
        let names = |config: &Self| {
            let types = config.scheduler.resource_types.types();
            types.iter().map(|kind| format!("{}[{}]", kind.name, kind.units)).collect::<Vec<_>>().join(", ")
        };
        if self.scheduler.resource_types != running.scheduler.resource_types {
            return Err(format!(
                "resource types are {} now, and {} since the start: accepted are the same ones until the next start",
                names(self),
                names(running)
            ));
        }
        // What is part of the tree of queues comes with it.
        let with_queues = [key::ACL_ENABLED, key::ADMIN_ACL, key::MAX_PRIORITY];
        let is_left = |entry: &&Entry| with_queues.iter().all(|key| key.name != entry.key);
        let before = |key: &str| running.entries.iter().find(|entry| entry.key == key);
        let changed = self.entries.iter().filter(is_left).filter_map(|entry| {
            let before = before(&entry.key).map_or("", |before| before.value.as_str());
            (before != entry.value).then(|| {
                let Entry { key, value, origin, .. } = entry;
                format!("{key} is {value} ({origin}): it stays {before} until the next start")
            })
        });
        Ok(changed.collect())
    }

    /// Keys of Hadoop's files that have no effect, or another than in YARN. To be told once at start.
    #[must_use]
    pub fn warnings(&self) -> &[ConfigWarning] {
        &self.warnings
    }

    /// The queues as they were read at start.
    #[must_use]
    pub fn queues(&self) -> &QueueTree {
        &self.scheduler.queues
    }

    /// Settings of the scheduler of a ResourceManager started at `rm_identifier` (milliseconds since 1970). The token
    /// keys are left empty.
    #[must_use]
    pub fn scheduler_settings(&self, rm_identifier: u64) -> SchedulerSettings {
        SchedulerSettings { rm_identifier, ..self.scheduler.clone() }
    }

    /// Settings of the application manager, likewise.
    #[must_use]
    pub fn application_settings(&self, rm_identifier: u64) -> ApplicationSettings {
        ApplicationSettings { rm_identifier, ..self.applications.clone() }
    }

    /// Every key with its value and origin, in the order of the table.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Settings of shard `index` for a ResourceManager started at `rm_identifier` (milliseconds since 1970) with
    /// these host lists. The token keys are left empty.
    #[must_use]
    pub fn shard_settings(&self, index: u8, rm_identifier: u64, lists: NodeLists) -> ShardSettings {
        ShardSettings { shard: index, rm_identifier, lists, ..self.shard.clone() }
    }
}

/// HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// TCP address.
    pub address: SocketAddr,
    /// Longest time for one request.
    pub request_timeout: Duration,
    /// Most requests at a time.
    pub requests_max: usize,
}

/// Files of the ResourceManager's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PkiFiles {
    /// Certificate with its chain.
    pub certificate: PathBuf,
    /// Key.
    pub key: PathBuf,
    /// Authority.
    pub ca: PathBuf,
}

impl PkiFiles {
    /// Reads the identity.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn load(&self) -> Result<Identity, PkiError> {
        Identity::load(&self.certificate, &self.key, &self.ca)
    }
}

/// Threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Threads that speak QUIC, 1 to 64.
    pub net_threads: usize,
    /// Threads that step shards, one shard each, 1 to 256.
    pub engine_threads: usize,
    /// Threads of the scheduler and the application manager: 0 = both on the first engine thread, 1 = both on one of
    /// their own, 2 = one each.
    pub scheduler_threads: usize,
}

impl RuntimeSettings {
    /// Net and engine threads for a machine of `cores`: one of each on up to three.
    ///
    /// A beat costs the engine about 0.1 µs and the door 0.3 (relays) to 13 µs (a connection per node), so of more cores
    /// a quarter steps shards, one is left to HTTP, logs and the kernel, and the rest speaks QUIC.
    #[must_use]
    pub fn threads_for(cores: usize) -> (usize, usize) {
        if cores <= 3 {
            return (1, 1);
        }
        let engine = (cores / 4).clamp(1, 16);
        ((cores - engine - 1).clamp(1, 64), engine)
    }
}

/// Bounds of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportSettings {
    /// A connection without a packet for this long is closed.
    pub idle_timeout: Duration,
    /// A handshake that takes longer is given up.
    pub handshake_timeout: Duration,
    /// Handshakes begun per second, over all net threads.
    pub handshakes_per_second: u32,
    /// Handshakes that may begin at once after a quiet time.
    pub handshake_burst: u32,
    /// Most connections, over all net threads.
    pub connections_max: usize,
    /// Most streams a peer may have open on a connection.
    pub streams_per_connection: u32,
    /// Receive window of a stream, bytes.
    pub stream_receive_window: usize,
    /// Receive window of a node's connection, bytes.
    pub node_receive_window: usize,
    /// Receive window of a client's connection, and of any connection before its role is known, bytes.
    pub client_receive_window: usize,
    /// Receive window of an administrator's connection, bytes.
    pub admin_receive_window: usize,
    /// Most bytes sent and not acknowledged, per connection.
    pub send_window: usize,
    /// A peer that leaves more answers than this unread is cut off, bytes.
    pub slow_reader_size: usize,
    /// A peer that reads nothing for this long while answers wait is cut off.
    pub slow_reader_timeout: Duration,
    /// Frames read per second and stream; 0 = no limit. A peer past it is read more slowly.
    pub frames_per_second: u32,
    /// Socket buffers wanted, bytes, each direction.
    pub socket_buffer_size: usize,
    /// UDP generic segmentation offload.
    pub is_segmentation_offload: bool,
}

impl TransportSettings {
    /// Receive window of a connection whose peer has this role, bytes.
    #[must_use]
    pub const fn receive_window(&self, role: crate::pki::Role) -> usize {
        match role {
            crate::pki::Role::Node => self.node_receive_window,
            crate::pki::Role::Admin => self.admin_receive_window,
            crate::pki::Role::Client | crate::pki::Role::ResourceManager => self.client_receive_window,
        }
    }
}

/// Files of the host lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeListFiles {
    /// Hosts that may join; `None` = every host.
    pub include: Option<PathBuf>,
    /// Hosts that may not.
    pub exclude: Option<PathBuf>,
}

/// Flight recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderSettings {
    /// Directory of the recording.
    pub dir: PathBuf,
    /// Most bytes of a recording.
    pub size_max: u64,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Form of a line.
    pub format: LogFormat,
    /// Filter, in `tracing`'s form.
    pub level: String,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

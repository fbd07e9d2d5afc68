//! Which roles run on which threads, and the rings between them.
//! Owns: [`ResourceManager`], a running one. Called by: the command line, the load generator, end-to-end tests.
//! Does not: contain a role's work. Every thread is named, every ring's size is written here or in `proxy`.
//!
//! ```text
//! rm-net-0 … N-1 ──frames──▶ rm-engine-0 … M-1 (shard each) ──node events──▶ scheduler (rm-sched-0)
//!                ◀─answers──                                ◀─orders───────     │        ▲
//!                ──frames──▶ scheduler, application manager                 events │        │ commands
//!                ◀─answers, pushes──                                            ▼        │
//!                                                              application manager (rm-app) and its store
//! ```
//!
//! On small machines roles share a thread: see [`RuntimeSettings::scheduler_threads`]. They speak over the same rings.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use super::duty_cycle;
use super::engine_threads::{RoleParts, connect_roles};
use super::proxy::NetWaker;
use crate::config::{NodeListFiles, RecorderSettings, RmConfig, RuntimeSettings, TransportSettings};
use crate::engine::application::ApplicationSettings;
use crate::engine::event::KeyPair;
use crate::engine::scheduler::settings::SchedulerSettings;
use crate::engine::settings::{NodeLists, ShardSettings};
use crate::metrics::{CycleStats, Metrics};
use crate::pki::{Identity, PkiError};
use crate::recorder::{
    self, ApplicationStepper, Header, RecorderThread, SchedulingStepper, TapeStatus, TapeWriter,
};
use crate::transport::{self, Doors, NetThread, NetThreadParts, NoFiles, ResetSecret, SchedulerFiles};

/// Messages for a whole shard, and administrators' for the application manager.
const ADMINISTRATION: usize = 64;

/// What a ResourceManager is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where NodeManagers, clients and administrators connect (QUIC, UDP). Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Threads.
    pub threads: RuntimeSettings,
    /// Bounds of connections.
    pub transport: TransportSettings,
    /// Settings of every shard, but for its index.
    pub shard: ShardSettings,
    /// Settings of the scheduler and of the ApplicationMasters' door.
    pub scheduler: SchedulerSettings,
    /// Settings of the application manager.
    pub application: ApplicationSettings,
    /// Files behind RefreshNodes.
    pub node_lists: NodeListFiles,
    /// Files behind RefreshQueues and its kin.
    pub files: Arc<dyn SchedulerFiles>,
    /// The flight recorder; `None` = nothing is recorded.
    pub recorder: Option<RecorderSettings>,
}

impl Options {
    /// Options from a configuration, for a ResourceManager that starts now with these host lists.
    #[must_use]
    pub fn new(config: &RmConfig, rm_identifier: u64, lists: NodeLists) -> Self {
        Self {
            listen: config.listen,
            threads: config.runtime,
            transport: config.transport,
            shard: config.shard_settings(0, rm_identifier, lists),
            scheduler: config.scheduler_settings(rm_identifier),
            application: config.application_settings(rm_identifier),
            node_lists: config.node_lists.clone(),
            files: Arc::new(NoFiles),
            recorder: config.recorder.clone(),
        }
    }
}

impl Options {
    /// Tells every role that makes or hands out tokens the keys it needs. Without keys no ApplicationMaster can start.
    pub fn set_token_keys(&mut self, container_token: &KeyPair, nm_token: &KeyPair, am_rm_token: &KeyPair) {
        self.shard.container_token_keys = container_token.clone();
        self.shard.nm_token_keys = nm_token.clone();
        self.scheduler.container_token_keys = container_token.clone();
        self.scheduler.nm_token_keys = nm_token.clone();
        self.scheduler.am_rm_token_keys = am_rm_token.clone();
        self.application.am_rm_token_keys = am_rm_token.clone();
    }
}

/// Why a ResourceManager did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A socket.
    #[error("{0}")]
    Socket(io::Error),
    /// The identity does not make a server.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The recording cannot be written.
    #[error("cannot record: {0}")]
    Recording(io::Error),
    /// A thread.
    #[error("cannot start thread {name}: {error}")]
    Thread {
        /// Its name.
        name: String,
        /// What the operating system said.
        error: io::Error,
    },
}

/// A running ResourceManager.
#[derive(Debug)]
pub struct ResourceManager {
    address: SocketAddr,
    metrics: Metrics,
    stop: watch::Sender<bool>,
    net_threads: Vec<JoinHandle<io::Result<()>>>,
    engine_threads: Vec<JoinHandle<CycleStats>>,
    recorder: Option<RecorderThread>,
    tapes: Vec<(String, TapeStatus)>,
}

impl ResourceManager {
    /// Starts every thread. Returns when the door is open.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(options: &Options, identity: &Identity, metrics: Metrics) -> Result<Self, StartError> {
        small_pages();
        let clock = Clock::start();
        let shard = &options.shard;
        let net_threads = options.threads.net_threads.max(1);
        let engine_threads = options.threads.engine_threads.max(1);
        // Budgets are over all net threads; each keeps its share.
        let share = u32::try_from(net_threads).unwrap_or(1);
        let transport = TransportSettings {
            handshakes_per_second: options.transport.handshakes_per_second.div_ceil(share),
            handshake_burst: options.transport.handshake_burst.div_ceil(share),
            connections_max: options.transport.connections_max.div_ceil(net_threads),
            ..options.transport
        };
        let server_config = transport::server_config(identity, &transport)?;
        let (sockets, address) = bind(options.listen, net_threads, &transport)?;
        let shards: Vec<ShardSettings> = (0..engine_threads)
            .map(|index| ShardSettings {
                shard: u8::try_from(index).unwrap_or(u8::MAX),
                shard_count: u16::try_from(engine_threads).unwrap_or(u16::MAX),
                ..shard.clone()
            })
            .collect();
        let (tapes, statuses, recorder) = record(options, &shards)?;
        let (stop, stopped) = watch::channel(false);
        let (shard_replies, replies) = mpsc::channel(ADMINISTRATION);

        let wakers: Vec<Arc<NetWaker>> = sockets.iter().map(|_| Arc::default()).collect();
        let (application_replies, answers_of_application) = mpsc::channel(ADMINISTRATION);
        let roles = connect_roles(RoleParts {
            shards: shards.into_iter().zip(tapes.shards).collect(),
            scheduling: SchedulingStepper::new(options.scheduler.clone(), tapes.scheduler),
            application: ApplicationStepper::new(
                options.application.clone(),
                options.scheduler.queues.clone(),
                tapes.application,
            ),
            scheduler_threads: options.threads.scheduler_threads,
            wakers: &wakers,
            shard_replies,
            application_replies,
            administration: ADMINISTRATION,
            clock,
            metrics: &metrics,
        });
        let (node_lists, service) = transport::node_lists_service(
            roles.shard_commands,
            replies,
            options.node_lists.clone(),
            shard.decommission_timeout,
        );
        let (files, files_service) = transport::files_service(
            roles.application_commands,
            answers_of_application,
            Arc::clone(&options.files),
        );
        let doors = Doors { node_lists, files };
        let mut services = Some((service, files_service));
        let mut engine_threads = Vec::new();
        for mut thread in roles.threads {
            engine_threads.push(spawn(thread.name.clone(), move || {
                let sleeper = Arc::clone(&thread.sleeper);
                sleeper.bind();
                duty_cycle::run(&mut thread, &clock, &sleeper)
            })?);
        }
        let (open, opened) = std::sync::mpsc::sync_channel(net_threads);
        let mut net_threads = Vec::new();
        for (index, ((socket, ports), waker)) in sockets.into_iter().zip(roles.ports).zip(wakers).enumerate()
        {
            let index = u8::try_from(index).unwrap_or(u8::MAX);
            let parts = NetThreadParts {
                index,
                socket,
                server_config: server_config.clone(),
                reset_secret: ResetSecret::new(identity),
                ports,
                waker,
                metrics: metrics.transport(usize::from(index)),
                role_metrics: metrics.role(&format!("rm-net-{index}")),
                settings: transport,
                doors: doors.clone(),
                services: services.take(),
                stop: stopped.clone(),
                open: open.clone(),
                clock,
            };
            let thread = spawn(format!("rm-net-{index}"), move || {
                let result = NetThread::new(parts).run();
                if let Err(error) = &result {
                    tracing::error!(%error, "net thread {index} ended");
                }
                result
            })?;
            net_threads.push(thread);
        }
        drop(open);
        let running = Self { address, metrics, stop, net_threads, engine_threads, recorder, tapes: statuses };
        // Every net thread says that its endpoint is open, or why not; one that dies before says nothing.
        for _ in 0..running.net_threads.len() {
            let result =
                opened.recv().unwrap_or_else(|_| Err(io::Error::other("a net thread ended at once")));
            if let Err(error) = result {
                running.stop();
                return Err(StartError::Socket(error));
            }
        }
        Ok(running)
    }

    /// Where it listens; with port 0 in the settings, the port the kernel gave.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its metrics.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What becomes of each tape, by its name.
    #[must_use]
    pub fn tapes(&self) -> &[(String, TapeStatus)] {
        &self.tapes
    }

    /// True while every thread runs. One that ended by itself is a fault: `/health` says so, and it is time to stop.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.net_threads.iter().any(JoinHandle::is_finished)
            && !self.engine_threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops: no new requests, everything accepted is answered and delivered, recordings are closed. Waits for it.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.net_threads {
            if thread.join().is_err() {
                tracing::error!("a net thread panicked");
            }
        }
        for thread in self.engine_threads {
            if thread.join().is_err() {
                tracing::error!("an engine thread panicked");
            }
        }
        if let Some(recorder) = self.recorder {
            recorder.join();
        }
    }
}

/// Asks the kernel for memory in small pages: the first touch of a huge one clears 2 MiB, which makes a thread that
/// answers stand still (5 ms on a virtual machine whose host has yet to find the memory). Our allocator asks for none; this
/// is for hosts that give them unasked.
fn small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "the kernel may give huge pages: answers may be late by milliseconds while memory grows");
    }
}

fn bind(
    listen: SocketAddr,
    net_threads: usize,
    transport: &TransportSettings,
) -> Result<(Vec<std::net::UdpSocket>, SocketAddr), StartError> {
    let is_shared = net_threads > 1;
    let mut address = listen;
    let mut sockets = Vec::new();
    for index in 0..net_threads {
        let (socket, buffers) =
            transport::bind(address, transport.socket_buffer_size, is_shared).map_err(StartError::Socket)?;
        address = socket.local_addr().map_err(StartError::Socket)?;
        if let (0, Some(advice)) = (index, buffers.advice()) {
            tracing::warn!("{advice}");
        }
        sockets.push(socket);
    }
    Ok((sockets, address))
}

/// A tape for every role, where there is a recording.
struct Tapes {
    shards: Vec<Option<TapeWriter>>,
    scheduler: Option<TapeWriter>,
    application: Option<TapeWriter>,
}

type Recording = (Tapes, Vec<(String, TapeStatus)>, Option<RecorderThread>);

fn record(options: &Options, shards: &[ShardSettings]) -> Result<Recording, StartError> {
    let Some(settings) = &options.recorder else {
        let shards = shards.iter().map(|_| None).collect();
        return Ok((Tapes { shards, scheduler: None, application: None }, Vec::new(), None));
    };
    // A folder for each start, so that a restart never finds tapes in its way.
    let folder = settings.dir.join(options.shard.rm_identifier.to_string());
    tracing::info!(folder = %folder.display(), "recording");
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut headers: Vec<(String, Header)> = shards
        .iter()
        .map(|settings| {
            let header = Header::Shard { version: version.clone(), settings: Box::new(settings.clone()) };
            (format!("shard-{}", settings.shard), header)
        })
        .collect();
    let scheduler = Box::new(options.scheduler.clone());
    let queues = Box::new(options.scheduler.queues.clone());
    headers.push((
        "scheduler-0".to_owned(),
        Header::Scheduling { version: version.clone(), settings: scheduler },
    ));
    let application = Box::new(options.application.clone());
    headers.push(("application".to_owned(), Header::Application { version, settings: application, queues }));
    let (mut writers, statuses, thread) =
        recorder::start(&folder, settings.size_max, &headers).map_err(StartError::Recording)?;
    let statuses = headers.into_iter().map(|(name, _)| name).zip(statuses).collect();
    let (application, scheduler) = (writers.pop(), writers.pop());
    let shards = writers.into_iter().map(Some).collect();
    Ok((Tapes { shards, scheduler, application }, statuses, Some(thread)))
}

fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    thread::Builder::new().name(name.clone()).spawn(run).map_err(|error| StartError::Thread { name, error })
}

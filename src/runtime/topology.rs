//! Which roles run on which threads, and the rings between them.
//! Owns: [`ResourceManager`], a running one. Called by: the command line, the load generator, end-to-end tests.
//! Does not: contain a role's work. Every thread is named, every ring's size is written here or in `proxy`.
//!
//! ```text
//! rm-net-0 … N-1 ──frames──▶ rm-engine-0 … M-1 (shard each) ──node events──▶ inventory (on rm-engine-0)
//!                ◀─answers──                                ◀─orders───────
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use super::duty_cycle::{self, DutyCycle};
use super::idle::Sleeper;
use super::inventory_role::{InventoryRole, ShardLink};
use super::proxy::{self, NetPort, NetWaker, ShardPort};
use super::shard_role::{ShardRole, ShardRoleParts};
use crate::config::{NodeListFiles, RecorderSettings, RmConfig, RuntimeSettings, TransportSettings};
use crate::engine::event::{CommandReply, NodeCommand, NodeEvent, ShardCommand};
use crate::engine::settings::{NodeLists, ShardSettings};
use crate::engine::time::Instant;
use crate::metrics::{CycleStats, Metrics, RoleMetrics};
use crate::pki::{Identity, PkiError};
use crate::recorder::{self, Header, InventoryStepper, RecorderThread, ShardStepper, TapeStatus, TapeWriter};
use crate::ring::{MpscQueue, SpscConsumer, SpscProducer, spsc};
use crate::transport::{self, NetThread, NetThreadParts, ResetSecret, ShardCommandPort};

/// Node events between a shard and the inventory.
const NODE_EVENTS: usize = 4_096;

/// Orders between the inventory and a shard.
const NODE_COMMANDS: usize = 16_384;

/// Messages for a whole shard.
const SHARD_COMMANDS: usize = 64;

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
    /// Files behind RefreshNodes.
    pub node_lists: NodeListFiles,
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
            node_lists: config.node_lists.clone(),
            recorder: config.recorder.clone(),
        }
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
        let (tapes, statuses, recorder) = record(options.recorder.as_ref(), shard.rm_identifier, &shards)?;
        let (stop, stopped) = watch::channel(false);
        let (reply_sender, replies) = mpsc::channel(SHARD_COMMANDS);

        let wakers: Vec<Arc<NetWaker>> = sockets.iter().map(|_| Arc::default()).collect();
        let engines = start_engines(EngineParts {
            shards,
            tapes,
            wakers: &wakers,
            reply_sender,
            clock,
            metrics: &metrics,
        })?;
        let commands = engines.iter().map(|engine| engine.commands.clone()).collect();
        let (node_lists, service) = transport::node_lists_service(
            commands,
            replies,
            options.node_lists.clone(),
            shard.decommission_timeout,
        );
        let mut service = Some(service);
        let mut engine_threads = Vec::new();
        let mut ports: Vec<Vec<ShardPort>> = sockets.iter().map(|_| Vec::new()).collect();
        for engine in engines {
            engine_threads.push(engine.thread);
            for (port, of_net) in engine.ports.into_iter().zip(&mut ports) {
                of_net.push(port);
            }
        }
        let (open, opened) = std::sync::mpsc::sync_channel(net_threads);
        let mut net_threads = Vec::new();
        for (index, ((socket, ports), waker)) in sockets.into_iter().zip(ports).zip(wakers).enumerate() {
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
                node_lists: node_lists.clone(),
                node_lists_service: service.take(),
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

type Recording = (Vec<Option<TapeWriter>>, Vec<(String, TapeStatus)>, Option<RecorderThread>);

/// Tapes for every shard and, last, for the inventory.
fn record(
    recorder: Option<&RecorderSettings>,
    rm_identifier: u64,
    shards: &[ShardSettings],
) -> Result<Recording, StartError> {
    let Some(settings) = recorder else {
        return Ok((shards.iter().map(|_| None).chain([None]).collect(), Vec::new(), None));
    };
    // A folder for each start, so that a restart never finds tapes in its way.
    let folder = settings.dir.join(rm_identifier.to_string());
    tracing::info!(folder = %folder.display(), "recording");
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut headers: Vec<(String, Header)> = shards
        .iter()
        .map(|settings| {
            let header = Header::Shard { version: version.clone(), settings: Box::new(settings.clone()) };
            (format!("shard-{}", settings.shard), header)
        })
        .collect();
    headers.push(("inventory".to_owned(), Header::Inventory { version }));
    let (writers, statuses, thread) =
        recorder::start(&folder, settings.size_max, &headers).map_err(StartError::Recording)?;
    let statuses = headers.into_iter().map(|(name, _)| name).zip(statuses).collect();
    Ok((writers.into_iter().map(Some).collect(), statuses, Some(thread)))
}

struct EngineParts<'a> {
    shards: Vec<ShardSettings>,
    /// One for each shard, one for the inventory.
    tapes: Vec<Option<TapeWriter>>,
    wakers: &'a [Arc<NetWaker>],
    reply_sender: mpsc::Sender<CommandReply>,
    clock: Clock,
    metrics: &'a Metrics,
}

struct Engine {
    thread: JoinHandle<CycleStats>,
    commands: ShardCommandPort,
    /// By net thread.
    ports: Vec<ShardPort>,
}

/// The ends of an engine thread's rings that are made before the thread is.
struct ShardEnds {
    settings: ShardSettings,
    tape: Option<TapeWriter>,
    commands: MpscQueue<ShardCommand>,
    node_commands: SpscConsumer<NodeCommand>,
    node_events: SpscProducer<NodeEvent>,
    /// Whom to wake for events; set by the thread that carries the inventory.
    inventory: Arc<OnceLock<Arc<Sleeper>>>,
}

/// Starts the engine threads. Each makes its own sleeper, so its ports come back from it.
fn start_engines(parts: EngineParts<'_>) -> Result<Vec<Engine>, StartError> {
    let mut tapes = parts.tapes;
    let inventory_tape = tapes.pop().flatten();
    let inventory_sleeper = Arc::<OnceLock<Arc<Sleeper>>>::default();
    let mut ends = Vec::new();
    let mut links = Vec::new();
    for (settings, tape) in parts.shards.into_iter().zip(tapes) {
        let (node_events, events) = spsc(NODE_EVENTS);
        let (commands, node_commands) = spsc(NODE_COMMANDS);
        let shard_commands = MpscQueue::new(SHARD_COMMANDS);
        links.push((events, commands, shard_commands.clone()));
        let inventory = Arc::clone(&inventory_sleeper);
        ends.push(ShardEnds {
            settings,
            tape,
            commands: shard_commands,
            node_commands,
            node_events,
            inventory,
        });
    }
    // The first engine thread carries the inventory and so needs the sleepers of all: it is started last.
    let mut engines = Vec::new();
    let mut sleepers = Vec::new();
    let mut first = None;
    for (index, ends) in ends.into_iter().enumerate() {
        if index == 0 {
            first = Some(ends);
            continue;
        }
        let (engine, sleeper) =
            start_engine(index, ends, None, parts.wakers, &parts.reply_sender, parts.clock, parts.metrics)?;
        engines.push(engine);
        sleepers.push(sleeper);
    }
    if let Some(ends) = first {
        let inventory = (InventoryStepper::new(inventory_tape), links, sleepers);
        let (engine, _) = start_engine(
            0,
            ends,
            Some(inventory),
            parts.wakers,
            &parts.reply_sender,
            parts.clock,
            parts.metrics,
        )?;
        engines.insert(0, engine);
    }
    Ok(engines)
}

type InventoryEnds = (InventoryStepper, Vec<InventoryRings>, Vec<Arc<Sleeper>>);

/// The inventory's rings from and to one shard.
type InventoryRings = (SpscConsumer<NodeEvent>, SpscProducer<NodeCommand>, MpscQueue<ShardCommand>);

fn start_engine(
    index: usize,
    ends: ShardEnds,
    inventory: Option<InventoryEnds>,
    wakers: &[Arc<NetWaker>],
    replies: &mpsc::Sender<CommandReply>,
    clock: Clock,
    metrics: &Metrics,
) -> Result<(Engine, Arc<Sleeper>), StartError> {
    let name = format!("rm-engine-{index}");
    let (gauge, role_metrics) = (metrics.shard(index), metrics.role(&name));
    let (wakers, replies) = (wakers.to_vec(), replies.clone());
    let commands = ends.commands.clone();
    let metrics = metrics.clone();
    let is_first = inventory.is_some();
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    let thread = spawn(name, move || {
        let sleeper = Arc::new(Sleeper::for_current_thread());
        let (ports, nets): (Vec<ShardPort>, Vec<NetPort>) =
            wakers.into_iter().map(|waker| proxy::connect(Arc::clone(&sleeper), waker)).unzip();
        // Whoever started us waits for this; if it is gone there is nothing to run for, and the ports say so.
        let _ = send.send((ports, Arc::clone(&sleeper)));
        if is_first {
            // Set once: there is one first thread.
            let _ = ends.inventory.set(Arc::clone(&sleeper));
        }
        let shard = ShardRole::new(ShardRoleParts {
            stepper: ShardStepper::new(ends.settings, ends.tape),
            nets,
            commands: ends.commands,
            replies,
            node_commands: ends.node_commands,
            node_events: ends.node_events,
            inventory: ends.inventory,
            gauge,
        });
        let inventory = inventory.map(|(stepper, rings, others)| {
            let sleepers = std::iter::once(Arc::clone(&sleeper)).chain(others);
            let links =
                rings.into_iter().zip(sleepers).map(|((events, commands, shard_commands), sleeper)| {
                    ShardLink {
                        events,
                        commands,
                        shard_commands,
                        sleeper,
                        told_permille: 0,
                        is_touched: false,
                    }
                });
            InventoryRole::new(stepper, links.collect())
        });
        let mut role = EngineThread { shard, inventory, metrics, role_metrics };
        duty_cycle::run(&mut role, &clock, &sleeper)
    })?;
    let (ports, sleeper) = receive.recv().map_err(|error| StartError::Thread {
        name: format!("rm-engine-{index}"),
        error: io::Error::other(error),
    })?;
    let engine =
        Engine { thread, commands: ShardCommandPort { commands, sleeper: Arc::clone(&sleeper) }, ports };
    Ok((engine, sleeper))
}

fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    thread::Builder::new().name(name.clone()).spawn(run).map_err(|error| StartError::Thread { name, error })
}

/// A composite duty cycle: a shard, and on the first thread the inventory.
struct EngineThread {
    shard: ShardRole,
    inventory: Option<InventoryRole>,
    metrics: Metrics,
    role_metrics: Arc<RoleMetrics>,
}

impl DutyCycle for EngineThread {
    fn do_work(&mut self, now: Instant, busy_permille: u16) -> usize {
        let items = self.shard.do_work(now, busy_permille);
        items + self.inventory.as_mut().map_or(0, |inventory| inventory.do_work(now))
    }

    fn has_work(&self) -> bool {
        self.shard.has_work() || self.inventory.as_ref().is_some_and(InventoryRole::has_work)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let of_inventory = self.inventory.as_ref().and_then(InventoryRole::next_deadline);
        self.shard.next_deadline().into_iter().chain(of_inventory).min()
    }

    fn is_done(&self) -> bool {
        self.shard.is_drained() && self.inventory.as_ref().is_none_or(InventoryRole::is_drained)
    }

    fn publish(&mut self, now: Instant, stats: &CycleStats) {
        self.shard.publish(now);
        self.role_metrics.publish(stats);
        if let Some(inventory) = &mut self.inventory {
            inventory.tell_load();
            inventory.flush_tape(now);
            self.metrics.inventory().publish(&inventory.inventory().totals());
        }
    }

    fn close(&mut self) {}
}

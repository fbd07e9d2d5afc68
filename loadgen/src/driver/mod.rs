//! The driver: a fleet against a ResourceManager over real QUIC, in open or closed loop.
//! Owns: the stages of a run (ramp, warm-up, measurement, drain), its client threads, what is sampled once a second.
//! Called by: the command line, on the main thread. Does not: know how a ResourceManager is started or a report looks.
//! Invariants: set-up is in no number but the handshake and registration ones; a beat that is never answered is in the
//! histogram with the time it waited and in [`RunOutcome::dropped`].

mod alarm;
mod applications;
mod control;
mod faults;
mod link;
pub mod quic;
mod recorder;
mod sampler;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use heddle::pki::{Identity, PkiError};
use thiserror::Error;

use crate::fleet::{APPLICATION_NODES, Capacities, FleetCounters, FleetSpec, Pace};
use crate::proc;
pub use applications::{ApplicationLoad, ApplicationsOutcome};
use applications::{ApplicationPlan, Mailboxes};
use control::{Control, Stage, Status};
use faults::Victims;
pub use faults::{Fault, Interval, ScriptError, parse_duration, parse_kill, parse_pause};
pub use recorder::{ApplicationSeries, LATENCY_US_MAX, Series, Slice, latency_histogram};
use sampler::Sampler;
pub(crate) use sampler::{memory, memory_at_rest};
use worker::{WorkerError, WorkerPlan, WorkerResult};

/// Names of client threads begin with this; it tells their CPU time from an embedded ResourceManager's.
pub const CLIENT_THREAD: &str = "lg-client";

/// How often the main thread looks.
const LOOK: Duration = Duration::from_millis(50);

/// A ramp that gets no further for this long is given up.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// A path without a sign of life for this long is made again.
const DEAD_AFTER: Duration = Duration::from_secs(5);

/// The same in runs in which the ResourceManager is killed: the time to be back should not be ours.
const DEAD_AFTER_KILL: Duration = Duration::from_secs(2);

/// Most slices of a run that have a histogram of their own.
const SLICES_MAX: u64 = 600;

/// What to run.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// Nodes.
    pub nodes: u32,
    /// Connections; as many as nodes means one each.
    pub connections: u32,
    /// Open or closed loop.
    pub interval: Interval,
    /// Most beats per write in closed loop.
    pub batch: u32,
    /// How long to measure.
    pub duration: Duration,
    /// Containers per node.
    pub containers_per_node: u32,
    /// Share of containers replaced per beat, millionths.
    pub churn_ppm: u32,
    /// What nodes offer.
    pub capacities: Capacities,
    /// Client threads.
    pub client_threads: u32,
    /// Handshakes at a time.
    pub handshakes: u32,
    /// Without any connection for this long the ResourceManager counts as unreachable.
    pub reach_within: Duration,
    /// Kills and pauses.
    pub faults: Vec<Fault>,
    /// Share of beats sent twice, millionths.
    pub duplicate_ppm: u32,
    /// Share of beats sent with an old id, millionths.
    pub stale_ppm: u32,
    /// When to kill the ResourceManager and start it again.
    pub kill_rm_at: Option<Duration>,
    /// Seed of everything random.
    pub seed: u64,
    /// Say farewell at the end.
    pub unregisters: bool,
    /// Applications beside the nodes; `None` = the nodes invent their containers.
    pub applications: Option<ApplicationLoad>,
}

/// With which certificates a run connects.
#[derive(Clone, Debug)]
pub struct Identities {
    /// Speaks for every node.
    pub nodes: Identity,
    /// Users who submit, in the order of [`SimulatedClient::users`](crate::application::SimulatedClient::users), or one for
    /// all; the first also carries ApplicationMasters. May be empty in a run without applications.
    pub clients: Vec<Identity>,
}

/// A ResourceManager to drive, as far as the driver cares.
pub trait Target {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
    /// Its process, where it is on this machine and known; the own one when it is embedded.
    fn pid(&self) -> Option<u32>;
    /// Whether a thread of that process belongs to it.
    fn is_server_thread(&self, name: &str) -> bool;
    /// Kills it without warning and starts it again.
    ///
    /// # Errors
    /// It cannot be started, or is not ours to kill.
    fn kill_and_restart(&mut self) -> io::Result<()>;
    /// Why it ended by itself; `None` while it runs, or where that is not known.
    fn ended(&mut self) -> Option<String>;
}

/// Who hears how far a run is.
pub trait Progress {
    /// Nodes connect and register.
    fn ramp(&mut self, connected: u32, registered: u32, nodes: u32);
    /// The measurement is `elapsed` of `duration` in.
    fn measure(&mut self, elapsed: Duration, duration: Duration, beats_per_second: f64, registered: u32);
    /// Something worth a line.
    fn note(&mut self, text: &str);
}

/// One second of what the main thread saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds since the measurement began.
    pub at_s: f64,
    /// Beats answered per second.
    pub beats_per_second: f64,
    /// Cores the ResourceManager used.
    pub server_cores: f64,
    /// Cores the load generator used.
    pub client_cores: f64,
    /// Nodes registered.
    pub registered: u32,
    /// Grants per second.
    pub grants_per_second: f64,
    /// ApplicationMasters that live.
    pub masters: u32,
}

/// A kill of the ResourceManager.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// When, from the start of the measurement.
    pub at: Duration,
    /// Until every node was registered again; `None` = not all came back in the run.
    pub all_back: Option<Duration>,
}

/// What a run measured.
#[derive(Debug)]
pub struct RunOutcome {
    /// What happened to the fleet, from the first connection on.
    pub counters: FleetCounters,
    /// Latencies from the planned send time.
    pub latencies: Histogram<u64>,
    /// The same per slice of [`RunOutcome::slice`].
    pub slices: Vec<Slice>,
    /// Length of a slice.
    pub slice: Duration,
    /// Beats answered that count.
    pub beats: u64,
    /// Beats that fell due while an earlier one waited.
    pub skipped: u64,
    /// Beats sent more than 5 ms after their planned time.
    pub late_sends: u64,
    /// Answers that took longer than the interval.
    pub late_answers: u64,
    /// Beats without an answer, in time or at all.
    pub dropped: u64,
    /// How long was measured.
    pub measured: Duration,
    /// CPU time of the ResourceManager in it; zero where its process is not known.
    pub server_cpu: Duration,
    /// CPU time of the load generator in it.
    pub client_cpu: Duration,
    /// Busiest client thread, share of a core.
    pub client_thread_busy: f64,
    /// Resident memory of the ResourceManager before the first connection; `None` where it has no process of its own, its
    /// process is not known, or it never came to rest.
    pub server_rss_base: Option<u64>,
    /// The same at the end.
    pub server_rss: Option<u64>,
    /// Datagrams the machine dropped on full socket buffers in the measurement.
    pub socket_drops: u64,
    /// From the first connection to the last.
    pub time_to_all_connected: Duration,
    /// From the first connection to the last registration.
    pub time_to_all_registered: Duration,
    /// Connections lost without being asked to.
    pub connections_lost: u64,
    /// Handshakes that failed and were repeated.
    pub connects_failed: u64,
    /// Longest interval told, ms.
    pub interval_ms_max: u32,
    /// Nodes registered at the end.
    pub registered: u32,
    /// Bytes on the streams, sent and received, since the start.
    pub bytes: (u64, u64),
    /// Once a second.
    pub samples: Vec<Sample>,
    /// The kill, when there was one.
    pub restart: Option<Restart>,
    /// First few error texts.
    pub errors: Vec<String>,
    /// What applications gave, and when the window they are measured in began, microseconds.
    pub applications: Option<(ApplicationsOutcome, ApplicationSeries)>,
    /// When the measurement began, microseconds since the run's start: samples of the queues count from there.
    pub from_us: u64,
}

/// A run that gives no numbers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// No connection came about.
    #[error("the ResourceManager at {address} is not reachable: {reason}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// The last reason.
        reason: String,
    },
    /// The ramp got stuck.
    #[error("only {registered} of {nodes} nodes came up, nothing more within {STALLED_AFTER:?}")]
    Stalled {
        /// So many registered.
        registered: u32,
        /// Of so many.
        nodes: u32,
    },
    /// The ApplicationMasters that the measurement needs did not come up.
    #[error(
        "only {masters} of {wanted} ApplicationMasters came up, nothing more within {STALLED_AFTER:?}: {reason}"
    )]
    Masters {
        /// So many registered.
        masters: u32,
        /// Of so many.
        wanted: u32,
        /// What was said.
        reason: String,
    },
    /// The ResourceManager ended.
    #[error("the ResourceManager ended: {0}")]
    Ended(String),
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A client thread could not be started.
    #[error("cannot start a client thread: {0}")]
    Thread(io::Error),
    /// A client thread gave up.
    #[error("a client thread gave up: {0}")]
    Client(String),
    /// The ResourceManager could not be restarted.
    #[error("cannot kill and restart the ResourceManager: {0}")]
    Restart(io::Error),
}

/// Runs `spec` against `target`, to the end.
///
/// # Errors
/// [`RunError`]; whatever can still be measured is no error but a number in the outcome.
pub fn run(
    spec: &RunSpec,
    identities: &Identities,
    target: &mut dyn Target,
    progress: &mut dyn Progress,
) -> Result<RunOutcome, RunError> {
    let address = target.address();
    let nodes_per_connection = spec.nodes.div_ceil(spec.connections.max(1));
    let client = quic::client_config(&identities.nodes, nodes_per_connection)?;
    let control = Arc::new(Control::new());
    let server_rss_base = memory_at_rest(target);
    let mut plans = plans(spec, address, &client);
    add_applications(spec, identities, &mut plans)?;
    let threads = Threads::start(plans, &control)?;
    let mut main = Main { spec, target, progress, control, threads, sampler: Sampler::default() };
    let ramp = main.ramp()?;
    main.warm_up()?;
    let window = main.measure()?;
    let server_rss = memory(main.target.pid());
    main.control.set_stage(Stage::Drain);
    let registered = main.threads.sum(|status| &status.registered);
    let connections_lost = main.threads.statuses().map(|status| status.connections_lost.load(Relaxed)).sum();
    let connects_failed = main.threads.statuses().map(|status| status.connects_failed.load(Relaxed)).sum();
    let results = main.threads.join()?;
    let mut outcome = RunOutcome {
        counters: FleetCounters::default(),
        latencies: latency_histogram(),
        slices: Vec::new(),
        slice: slice_of(spec.duration),
        beats: 0,
        skipped: 0,
        late_sends: 0,
        late_answers: 0,
        dropped: 0,
        measured: window.measured,
        server_cpu: window.server_cpu,
        client_cpu: window.client_cpu,
        client_thread_busy: window.client_thread_busy,
        server_rss_base,
        server_rss,
        socket_drops: window.socket_drops,
        time_to_all_connected: ramp.0,
        time_to_all_registered: ramp.1,
        connections_lost,
        connects_failed,
        interval_ms_max: 0,
        registered,
        bytes: (0, 0),
        samples: window.samples,
        restart: window.restart,
        errors: Vec::new(),
        applications: None,
        from_us: window.from_us,
    };
    results.into_iter().for_each(|result| outcome.merge(result));
    Ok(outcome)
}

impl RunOutcome {
    fn merge(&mut self, result: WorkerResult) {
        self.counters.merge(&result.counters);
        self.beats += result.beats;
        self.skipped += result.skipped;
        self.late_sends += result.late_sends;
        self.late_answers += result.late_answers;
        self.dropped += result.unanswered + result.counters.timeouts;
        self.bytes.0 += result.bytes_sent;
        self.bytes.1 += result.bytes_received;
        self.interval_ms_max = self.interval_ms_max.max(result.interval_ms_max);
        // Same bounds on both sides: adding cannot fail.
        if let Err(error) = self.latencies.add(&result.latencies) {
            unreachable!("{error}");
        }
        recorder::merge_slices(&mut self.slices, &result.slices);
        if let Some((outcome, series)) = result.applications {
            let (sum, sums) = self.applications.get_or_insert_default();
            sum.merge(outcome);
            sums.merge(&series);
        }
        for text in result.errors {
            if !self.errors.contains(&text) {
                self.errors.push(text);
            }
        }
    }
}

fn slice_of(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs().div_ceil(SLICES_MAX).max(1))
}

/// One plan per client thread: nodes and connections in equal parts, whole applications together.
fn plans(spec: &RunSpec, address: SocketAddr, client: &quinn::ClientConfig) -> Vec<WorkerPlan> {
    let threads = spec.client_threads.max(1);
    let share = spec.nodes.div_ceil(threads).next_multiple_of(APPLICATION_NODES);
    let (pace, interval_us) = match spec.interval {
        Interval::Every(interval) => (Pace::Told, interval.as_micros() as u64),
        Interval::Max => (Pace::Max, 1_000_000),
    };
    let victims = Victims::of(&spec.faults, spec.nodes);
    let mut plans = Vec::new();
    let mut first_node = 0;
    while first_node < spec.nodes {
        let nodes = share.min(spec.nodes - first_node);
        let links = (u64::from(spec.connections) * u64::from(nodes)).div_ceil(u64::from(spec.nodes)) as usize;
        let dead_after = if spec.kill_rm_at.is_some() { DEAD_AFTER_KILL } else { DEAD_AFTER };
        plans.push(WorkerPlan {
            address,
            client: client.clone(),
            fleet: FleetSpec {
                nodes,
                first_node,
                containers_per_node: spec.containers_per_node,
                churn_ppm: spec.churn_ppm,
                duplicate_ppm: spec.duplicate_ppm,
                stale_ppm: spec.stale_ppm,
                capacities: spec.capacities.clone(),
                pace,
                retry_after_ms: 5_000.max((interval_us / 1_000) as u32 * 2),
                runs_applications: spec.applications.is_some(),
                start_time_ms: spec.applications.is_some().then(heddle::runtime::clock::unix_time_ms),
            },
            seed: spec.seed ^ u64::from(first_node),
            links: links.clamp(1, nodes as usize),
            pace,
            batch: spec.batch.max(1),
            handshakes: (spec.handshakes.div_ceil(threads)).max(1) as usize,
            interval_us,
            slice_us: slice_of(spec.duration).as_micros() as u64,
            dead_after_us: dead_after.as_micros() as u64,
            faults: spec.faults.iter().copied().zip(victims.iter().copied()).collect(),
            unregisters: spec.unregisters,
            applications: None,
        });
        first_node += nodes;
    }
    plans
}

/// Windows of connections that carry ApplicationMasters: as of so many nodes.
const MASTER_WINDOW_NODES: u32 = 4_096;

/// Gives every thread its ApplicationMasters, and the first one the clients.
fn add_applications(
    spec: &RunSpec,
    identities: &Identities,
    plans: &mut [WorkerPlan],
) -> Result<(), RunError> {
    let (Some(load), Some(first)) = (&spec.applications, identities.clients.first()) else { return Ok(()) };
    let am_client = quic::client_config(first, MASTER_WINDOW_NODES)?;
    let threads = plans.len();
    let mailboxes = Arc::new(Mailboxes::new(threads));
    for (thread, plan) in plans.iter_mut().enumerate() {
        let clients = if thread == 0 { identities.clients.as_slice() } else { &[] };
        let clients = clients.iter().map(|identity| quic::client_config(identity, MASTER_WINDOW_NODES));
        plan.applications = Some(ApplicationPlan {
            load: load.clone(),
            am_links: (load.am_connections as usize).div_ceil(threads).max(1),
            am_client: am_client.clone(),
            clients: clients.collect::<Result<_, _>>()?,
            mailboxes: Arc::clone(&mailboxes),
            thread,
        });
    }
    Ok(())
}

type ClientThread = JoinHandle<Result<WorkerResult, WorkerError>>;

/// The client threads and what they say.
struct Threads {
    threads: Vec<(ClientThread, Arc<Status>)>,
    control: Arc<Control>,
}

impl Threads {
    fn start(plans: Vec<WorkerPlan>, control: &Arc<Control>) -> Result<Self, RunError> {
        let mut started = Self { threads: Vec::new(), control: Arc::clone(control) };
        for (index, plan) in plans.into_iter().enumerate() {
            let status = Arc::new(Status::default());
            let (control, its_status) = (Arc::clone(control), Arc::clone(&status));
            let thread = std::thread::Builder::new()
                .name(format!("{CLIENT_THREAD}-{index}"))
                .spawn(move || worker::run(plan, control, its_status))
                .map_err(RunError::Thread)?;
            started.threads.push((thread, status));
        }
        Ok(started)
    }

    fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.threads.iter().map(|(_, status)| &**status)
    }

    fn sum(&self, field: impl Fn(&Status) -> &std::sync::atomic::AtomicU32) -> u32 {
        self.statuses().map(|status| field(status).load(Relaxed)).sum()
    }

    fn grants(&self) -> u64 {
        self.statuses().map(|status| status.grants.load(Relaxed)).sum()
    }

    /// True when every application has ended.
    fn is_done(&self) -> bool {
        self.statuses().all(|status| status.is_done.load(Relaxed))
    }

    fn answered(&self) -> u64 {
        self.statuses().map(|status| status.answered.load(Relaxed)).sum()
    }

    /// True when one ended before it was told to.
    fn is_broken(&self) -> bool {
        self.threads.iter().any(|(thread, _)| thread.is_finished())
    }

    fn join(&mut self) -> Result<Vec<WorkerResult>, RunError> {
        let mut results = Vec::new();
        for (thread, _) in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(result)) => results.push(result),
                Ok(Err(error)) => return Err(RunError::Client(error.to_string())),
                Err(_) => return Err(RunError::Client("it panicked".to_owned())),
            }
        }
        Ok(results)
    }
}

impl Drop for Threads {
    /// A run that ends early takes its threads along.
    fn drop(&mut self) {
        self.control.set_stage(Stage::Stop);
        self.threads.drain(..).for_each(|(thread, _)| drop(thread.join()));
    }
}

/// The main thread's side of a run.
struct Main<'a> {
    spec: &'a RunSpec,
    target: &'a mut dyn Target,
    progress: &'a mut dyn Progress,
    control: Arc<Control>,
    threads: Threads,
    sampler: Sampler,
}

/// What the measurement gave on the main thread's side.
struct Window {
    measured: Duration,
    server_cpu: Duration,
    client_cpu: Duration,
    client_thread_busy: f64,
    socket_drops: u64,
    samples: Vec<Sample>,
    restart: Option<Restart>,
    from_us: u64,
}

impl Main<'_> {
    /// Until every node is registered. Gives the time until all were connected, and until all were registered.
    fn ramp(&mut self) -> Result<(Duration, Duration), RunError> {
        let start = Instant::now();
        let mut all_connected = None;
        let mut last = (0, 0, Instant::now());
        loop {
            let connected = self.threads.sum(|status| &status.connected);
            let stopped = self.threads.sum(|status| &status.stopped);
            let registered = self.threads.sum(|status| &status.registered);
            self.progress.ramp(connected, registered, self.spec.nodes);
            if connected >= self.spec.connections.min(self.spec.nodes) && all_connected.is_none() {
                all_connected = Some(start.elapsed());
            }
            if registered + stopped >= self.spec.nodes {
                let elapsed = start.elapsed();
                return Ok((all_connected.unwrap_or(elapsed), elapsed));
            }
            if let Some(reason) = self.target.ended() {
                return Err(RunError::Ended(reason));
            }
            if self.threads.is_broken() {
                self.control.set_stage(Stage::Stop);
                self.threads.join()?;
                return Err(RunError::Client("it ended".to_owned()));
            }
            if (connected, registered) != (last.0, last.1) {
                last = (connected, registered, Instant::now());
            }
            if connected == 0 && registered == 0 && start.elapsed() > self.spec.reach_within {
                self.control.set_stage(Stage::Stop);
                let errors = self.threads.join()?.into_iter().flat_map(|result| result.errors);
                let reason = errors.last().unwrap_or_else(|| "no answer".to_owned());
                return Err(RunError::Unreachable { address: self.target.address(), reason });
            }
            if last.2.elapsed() > STALLED_AFTER {
                return Err(RunError::Stalled { registered, nodes: self.spec.nodes });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// One interval, so that every node has beaten once and nothing of the ramp is left; and until the ApplicationMasters are
    /// there that have to be.
    fn warm_up(&mut self) -> Result<(), RunError> {
        self.control.set_stage(Stage::Warm);
        let interval = match self.spec.interval {
            Interval::Every(interval) => interval,
            Interval::Max => Duration::ZERO,
        };
        std::thread::sleep(interval + Duration::from_secs(1));
        let wanted = self.spec.applications.as_ref().map_or(0, |load| load.masters_before);
        let mut last = (0, Instant::now());
        loop {
            let masters = self.threads.sum(|status| &status.masters);
            if masters >= wanted {
                break;
            }
            if let Some(reason) = self.target.ended() {
                return Err(RunError::Ended(reason));
            }
            if masters != last.0 {
                last = (masters, Instant::now());
            }
            if last.1.elapsed() > STALLED_AFTER {
                self.control.set_stage(Stage::Stop);
                let results = self.threads.join()?;
                let texts = results
                    .into_iter()
                    .filter_map(|result| result.applications)
                    .flat_map(|(it, _)| it.clients.texts.into_iter().chain(it.masters.texts));
                let reason = texts.collect::<Vec<_>>().join("; ");
                return Err(RunError::Masters { masters, wanted, reason });
            }
            std::thread::sleep(LOOK);
        }
        if wanted > 0 {
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    fn measure(&mut self) -> Result<Window, RunError> {
        let drops_before = proc::udp_receive_buffer_errors();
        let count = self.threads.threads.len();
        let before = self.sampler.read(&*self.target, count);
        let answered_before = self.threads.answered();
        let from_us = self.control.now_us();
        let duration_us = self.spec.duration.as_micros() as u64;
        self.control.until_us.store(from_us + duration_us, Relaxed);
        self.control.from_us.store(from_us, Relaxed);
        self.control.set_stage(Stage::Measure);
        let mut samples = Vec::new();
        let mut restart: Option<Restart> = None;
        let mut last = (0.0, answered_before, before.clone());
        let mut grants = self.threads.grants();
        let until_done = self.spec.applications.as_ref().is_some_and(|load| load.until_done);
        loop {
            let elapsed_us = self.control.now_us() - from_us;
            let elapsed = Duration::from_micros(elapsed_us);
            let registered = self.threads.sum(|status| &status.registered);
            let at_s = elapsed.as_secs_f64();
            if at_s - last.0 >= 1.0 || elapsed_us >= duration_us {
                let (answered, cpu) = (self.threads.answered(), self.sampler.read(&*self.target, count));
                let span = (at_s - last.0).max(1e-3);
                let sample = Sample {
                    at_s,
                    beats_per_second: answered.saturating_sub(last.1) as f64 / span,
                    server_cores: cpu.server.saturating_sub(last.2.server).as_secs_f64() / span,
                    client_cores: cpu.client.saturating_sub(last.2.client).as_secs_f64() / span,
                    registered,
                    grants_per_second: self.threads.grants().saturating_sub(grants) as f64 / span,
                    masters: self.threads.sum(|status| &status.masters),
                };
                grants = self.threads.grants();
                // The rest of a second at the very end is too short for a rate.
                if span > 0.2 {
                    samples.push(sample);
                }
                self.progress.measure(elapsed, self.spec.duration, sample.beats_per_second, registered);
                last = (at_s, answered, cpu);
            }
            if let Some(at) = self.spec.kill_rm_at
                && elapsed >= at
                && restart.is_none()
            {
                restart = Some(Restart { at: elapsed, all_back: None });
                self.restart()?;
            }
            if let Some(restart) = restart.as_mut()
                && restart.all_back.is_none()
                // The threads publish 20 times a second; a count from before the kill must not be taken for the new one.
                && elapsed > restart.at + Duration::from_millis(250)
                && registered + self.threads.sum(|status| &status.stopped) >= self.spec.nodes
            {
                restart.all_back = Some(elapsed - restart.at);
                self.progress.note(&format!("all nodes are back after {:.1?}", elapsed - restart.at));
            }
            if let Some(reason) = self.target.ended() {
                return Err(RunError::Ended(reason));
            }
            if self.threads.is_broken() {
                self.control.set_stage(Stage::Stop);
                self.threads.join()?;
                return Err(RunError::Client("it ended".to_owned()));
            }
            // The threads publish 20 times a second; before they have begun nothing is done.
            let is_done = until_done && elapsed > Duration::from_millis(250) && self.threads.is_done();
            if is_done {
                self.control.until_us.store(self.control.now_us(), Relaxed);
            }
            if elapsed_us >= duration_us || is_done {
                break;
            }
            let left = Duration::from_micros(duration_us - elapsed_us);
            std::thread::sleep(LOOK.min(left));
        }
        let measured = Duration::from_micros(self.control.now_us() - from_us);
        let after = last.2;
        let busy =
            after.threads.iter().zip(&before.threads).map(|(after, before)| after.saturating_sub(*before));
        let busiest = busy.max().unwrap_or_default();
        Ok(Window {
            measured,
            server_cpu: after.server.saturating_sub(before.server),
            client_cpu: after.client.saturating_sub(before.client),
            client_thread_busy: busiest.as_secs_f64() / measured.as_secs_f64().max(1e-9),
            socket_drops: proc::udp_receive_buffer_errors().saturating_sub(drops_before),
            samples,
            restart,
            from_us,
        })
    }

    fn restart(&mut self) -> Result<(), RunError> {
        self.progress.note("killing the ResourceManager");
        let used = self.sampler.read(&*self.target, 0).server;
        self.control.restarts.fetch_add(1, Relaxed);
        self.target.kill_and_restart().map_err(RunError::Restart)?;
        self.sampler.server_before = used;
        Ok(())
    }
}

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
mod outcome;
mod plan;
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

use heddle::pki::{Identity, PkiError};
use thiserror::Error;

use crate::fleet::{Capacities, FleetCounters};
use crate::proc;
pub use applications::{ApplicationLoad, ApplicationsOutcome};
use control::{Control, Stage, Status};
pub use faults::{Fault, Interval, ScriptError, parse_duration, parse_kill, parse_pause};
pub use outcome::{Restart, RunOutcome, Sample};
use plan::{add_applications, plans, slice_of};
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

/// How far a measurement is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoFar {
    /// Since it began.
    pub elapsed: Duration,
    /// How long it takes; `None` = until every application has ended.
    pub duration: Option<Duration>,
    /// Applications that ended, of how many; `None` in a run without.
    pub applications: Option<(u64, u64)>,
    /// In the last second.
    pub beats_per_second: f64,
    /// In the last second.
    pub grants_per_second: f64,
    /// Nodes registered.
    pub registered: u32,
}

/// Who hears how far a run is.
pub trait Progress {
    /// Nodes connect and register.
    fn ramp(&mut self, connected: u32, registered: u32, nodes: u32);
    /// The measurement goes on; about once a second.
    fn measure(&mut self, so_far: &SoFar);
    /// Something worth a line.
    fn note(&mut self, text: &str);
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
    // Nodes beat when they are told to, which is never as rare as connections are let go.
    let client = quic::client_config(&identities.nodes, nodes_per_connection, Duration::ZERO)?;
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

    fn applications_ended(&self) -> u64 {
        self.statuses().map(|status| status.applications_ended.load(Relaxed)).sum()
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
                let texts =
                    results.into_iter().filter_map(|result| result.applications).flat_map(|(it, _)| {
                        it.clients.refusals.texts.into_iter().chain(it.masters.refusals.texts)
                    });
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
                self.progress.measure(&SoFar {
                    elapsed,
                    duration: (!until_done).then_some(self.spec.duration),
                    applications: self
                        .spec
                        .applications
                        .as_ref()
                        .map(|load| (self.threads.applications_ended(), load.applications.len() as u64)),
                    beats_per_second: sample.beats_per_second,
                    grants_per_second: sample.grants_per_second,
                    registered,
                });
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

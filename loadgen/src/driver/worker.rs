//! One client thread: a share of the fleet, its connections, and the tick that sends what is due.
//! Owner: its thread, `lg-client-N`; nothing of it is shared but [`Control`] and [`Status`].
//! Called by: [`super::run`], which starts the thread. Does not: decide how far the run is; the main thread does.
//! Invariants: node `i` lives on link `i % links`; a node that is due on a link without connection waits there.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use heddle::pki::SERVER_NAME;
use quinn::{ClientConfig, Endpoint};
use thiserror::Error;
use tokio::sync::Notify;

use super::alarm::Alarm;
use super::applications::{ApplicationPlan, Applications, ApplicationsOutcome, Kind, Need};
use super::control::{Control, Stage, Status};
use super::faults::{Fault, Victims};
use super::link::{Link, LinkEnd, serve};
use super::quic::{self, EndpointError};
use super::recorder::{ApplicationSeries, Recorder, Slice};
use crate::fleet::{Fleet, FleetCounters, FleetSpec, NodeState, Pace, WrittenKind};

/// How often the thread looks at least, microseconds.
const TICK_US: u64 = 1_000;

/// How often it looks at most, microseconds: what falls due in between is sent together.
const TICK_MIN_US: u64 = 100;

/// Most nodes one tick sends, so that a burst does not keep answers from being read.
const DUE_PER_TICK_MAX: usize = 4_096;

/// Bytes read at once from a stream.
const READ_SIZE: usize = 64 * 1024;

/// Registrations of one thread are started at most this fast, a second: the ResourceManager's queues are short.
const REGISTRATIONS_PER_SECOND: u64 = 40_000;

/// A handshake that takes longer than this is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Wait after the first failed attempt; doubled with each further one up to the second number.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// How long answers are waited for after the last beat.
const DRAIN: Duration = Duration::from_secs(5);

/// Error texts kept.
const ERRORS_MAX: usize = 8;

/// What a client thread is to do.
#[derive(Clone, Debug)]
pub(super) struct WorkerPlan {
    pub address: SocketAddr,
    pub client: ClientConfig,
    pub fleet: FleetSpec,
    pub seed: u64,
    pub links: usize,
    pub pace: Pace,
    pub batch: u32,
    /// Handshakes at a time.
    pub handshakes: usize,
    pub interval_us: u64,
    pub slice_us: u64,
    pub dead_after_us: u64,
    /// Faults, each with the nodes of the whole run that it hits.
    pub faults: Vec<(Fault, Victims)>,
    /// Say farewell at the end.
    pub unregisters: bool,
    /// ApplicationMasters and clients, where there are any.
    pub applications: Option<ApplicationPlan>,
}

/// What a client thread measured.
#[derive(Debug)]
pub(super) struct WorkerResult {
    pub counters: FleetCounters,
    pub latencies: hdrhistogram::Histogram<u64>,
    pub slices: Vec<Slice>,
    pub beats: u64,
    pub skipped: u64,
    pub late_sends: u64,
    pub late_answers: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Beats never answered.
    pub unanswered: u64,
    pub interval_ms_max: u32,
    pub errors: Vec<String>,
    pub applications: Option<(ApplicationsOutcome, ApplicationSeries)>,
}

/// A client thread that could not start.
#[derive(Debug, Error)]
pub(super) enum WorkerError {
    #[error("cannot start a runtime: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// The state of a client thread.
pub(super) struct Worker {
    pub plan: WorkerPlan,
    pub control: Arc<Control>,
    status: Arc<Status>,
    pub fleet: RefCell<Fleet>,
    pub recorder: RefCell<Recorder>,
    links: Vec<RefCell<Link>>,
    endpoints: Vec<Endpoint>,
    /// Links to be connected.
    queue: RefCell<VecDeque<usize>>,
    queue_grew: Notify,
    pub buffer: RefCell<Box<[u8]>>,
    /// Closed loop has begun.
    pub is_kicked: Cell<bool>,
    errors: RefCell<Vec<String>>,
    pub applications: Option<Applications>,
}

/// Runs a client thread to its end.
pub(super) fn run(
    plan: WorkerPlan,
    control: Arc<Control>,
    status: Arc<Status>,
) -> Result<WorkerResult, WorkerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(WorkerError::Runtime)?;
    runtime.block_on(async {
        let worker = Rc::new(Worker::new(plan, control, status)?);
        // The first client looks at the queues; other links of clients and ApplicationMasters are made when there are some.
        let is_wanted = |index: &usize| matches!(worker.kind(*index), Kind::Node | Kind::Client(0));
        (0..worker.links.len()).filter(is_wanted).for_each(|index| worker.want(index));
        for _ in 0..worker.plan.handshakes.clamp(1, worker.links.len().max(1)) {
            tokio::task::spawn_local(connector(Rc::clone(&worker)));
        }
        worker.tick_until_over().await;
        Ok(worker.finish().await)
    })
}

impl Worker {
    fn new(plan: WorkerPlan, control: Arc<Control>, status: Arc<Status>) -> Result<Self, WorkerError> {
        let local = quic::local_for(plan.address);
        let applications =
            plan.applications.clone().map(|applications| Applications::new(applications, plan.seed));
        let links = plan.links + applications.as_ref().map_or(0, Applications::links);
        let mut recorder = Recorder::new(plan.interval_us, plan.slice_us);
        recorder.applications = applications.is_some().then(Box::default);
        let endpoints = (0..quic::endpoint_count(links))
            .map(|_| quic::endpoint(local, None))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            fleet: RefCell::new(Fleet::new(plan.fleet.clone(), plan.seed)),
            recorder: RefCell::new(recorder),
            links: (0..links).map(|_| RefCell::default()).collect(),
            queue: RefCell::default(),
            queue_grew: Notify::new(),
            buffer: RefCell::new(vec![0; READ_SIZE].into_boxed_slice()),
            is_kicked: Cell::new(false),
            errors: RefCell::default(),
            applications,
            endpoints,
            plan,
            control,
            status,
        })
    }

    /// Whose frames a link carries.
    pub(super) fn kind(&self, index: usize) -> Kind {
        match (index.checked_sub(self.plan.links), &self.applications) {
            (Some(place), Some(applications)) => applications.kind(place),
            _ => Kind::Node,
        }
    }

    /// A link is needed from now on.
    pub(super) fn want(&self, index: usize) {
        if !core::mem::replace(&mut self.link(index).is_wanted, true) {
            self.enqueue(index);
        }
    }

    pub(super) fn link(&self, index: usize) -> RefMut<'_, Link> {
        self.links[index].borrow_mut()
    }

    pub(super) fn note_error(&self, text: &str) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < ERRORS_MAX && !errors.iter().any(|known| known == text) {
            errors.push(text.to_owned());
        }
    }

    fn nodes_of(&self, link: usize) -> impl Iterator<Item = u32> + use<> {
        (link as u32..self.plan.fleet.nodes).step_by(self.plan.links)
    }

    async fn tick_until_over(&self) {
        let alarm = Alarm::new();
        let mut tick = Tick::default();
        while !self.tick(&mut tick) {
            let now_us = self.control.now_us();
            alarm.wait(Duration::from_micros(self.next_tick_us(now_us) - now_us)).await;
        }
    }

    /// When something falls due, within the bounds of a tick.
    fn next_tick_us(&self, now_us: u64) -> u64 {
        let masters_us = self.applications.as_ref().and_then(Applications::next_due_us);
        let due_us = [self.fleet.borrow().next_due_us(), masters_us].into_iter().flatten().min();
        due_us.unwrap_or(u64::MAX).clamp(now_us + TICK_MIN_US, now_us + TICK_US)
    }

    /// True when the run is over.
    fn tick(&self, tick: &mut Tick) -> bool {
        let now_us = self.control.now_us();
        let stage = self.control.stage();
        let mut recorder = self.recorder.borrow_mut();
        let mut fleet = self.fleet.borrow_mut();
        recorder.from_us = self.control.from_us.load(Relaxed);
        recorder.until_us = self.control.until_us.load(Relaxed);
        recorder.roll(now_us);
        let restarts = self.control.restarts.load(Relaxed);
        while tick.restarts < restarts {
            tick.restarts += 1;
            fleet.note_restart();
        }
        if stage < Stage::Drain {
            self.faults(tick, &mut fleet, now_us, recorder.from_us);
            if self.plan.pace == Pace::Max && stage >= Stage::Warm && !self.is_kicked.replace(true) {
                tick.due.extend((0..fleet.len()).filter(|node| fleet.state(*node) == NodeState::Beating));
            }
            fleet.due(now_us, DUE_PER_TICK_MAX, &mut tick.due);
            self.send_due(tick, &mut fleet, &mut recorder, now_us);
        }
        if let Some(applications) = &self.applications {
            if stage == Stage::Drain && tick.drain_us.is_none() && self.plan.unregisters {
                applications.quit(now_us);
            }
            applications.tick(self, &mut fleet, &mut recorder, now_us, &mut tick.dirty);
            self.flush_dirty(tick);
        }
        if now_us >= tick.publish_us {
            tick.publish_us = now_us + 50_000;
            self.publish(&fleet);
        }
        self.check_paths(tick, now_us);
        match stage {
            Stage::Stop => true,
            Stage::Drain => {
                let drain_us = *tick.drain_us.get_or_insert(now_us + DRAIN.as_micros() as u64);
                let is_settled = || {
                    let applications = self.applications.as_ref();
                    applications.is_none_or(|it| it.is_settled(recorder.until_us, self.plan.unregisters))
                };
                now_us >= drain_us || (fleet.outstanding(recorder.until_us).next().is_none() && is_settled())
            }
            _ => false,
        }
    }

    fn send_due(&self, tick: &mut Tick, fleet: &mut Fleet, recorder: &mut Recorder, now_us: u64) {
        for node in tick.due.drain(..) {
            let index = node as usize % self.plan.links;
            let mut link = self.link(index);
            if !link.is_connected() {
                // What is out already is sent again when the connection is back.
                if !fleet.is_awaiting(node) {
                    link.waiting.push(node);
                }
                continue;
            }
            let planned_us = fleet.planned_us(node);
            let before = link.out().len();
            let written = fleet.write(node, now_us, link.out());
            recorder.bytes_sent += (link.out().len() - before) as u64;
            if written.kind == WrittenKind::Beat {
                recorder.sent(planned_us, written.late_us);
            }
            if !link.is_dirty && written.kind != WrittenKind::Nothing {
                link.is_dirty = true;
                tick.dirty.push(index);
            }
        }
        self.flush_dirty(tick);
    }

    fn flush_dirty(&self, tick: &mut Tick) {
        for index in tick.dirty.drain(..) {
            let mut link = self.link(index);
            link.is_dirty = false;
            link.flush();
        }
    }

    fn faults(&self, tick: &mut Tick, fleet: &mut Fleet, now_us: u64, from_us: u64) {
        let (Some(elapsed_us), first) = (now_us.checked_sub(from_us), self.plan.fleet.first_node) else {
            return;
        };
        let elapsed = Duration::from_micros(elapsed_us);
        tick.faults_done.resize(self.plan.faults.len(), (false, false));
        let own = fleet.len();
        for ((fault, victims), done) in self.plan.faults.iter().zip(&mut tick.faults_done) {
            let hit =
                || victims.nodes().filter_map(|node| node.checked_sub(first).filter(|node| *node < own));
            if elapsed >= fault.at && !core::mem::replace(&mut done.0, true) {
                for node in hit() {
                    if fault.pause.is_some() { fleet.pause(node) } else { fleet.kill(node) }
                }
            }
            let ends = fault.pause.map(|pause| fault.at + pause);
            if ends.is_some_and(|ends| elapsed >= ends) && !core::mem::replace(&mut done.1, true) {
                hit().for_each(|node| fleet.resume(node, now_us));
            }
        }
    }

    /// Looks at every link once a second.
    fn check_paths(&self, tick: &mut Tick, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(tick.checked_us).min(1_000_000);
        let count = (self.links.len() as u64 * elapsed_us / 1_000_000) as usize;
        if count == 0 {
            return;
        }
        // Only what was looked at is paid for, so that fractions of a link add up over the ticks.
        let paid_us = (count as u64 * 1_000_000).div_ceil(self.links.len() as u64);
        tick.checked_us = (tick.checked_us + paid_us).max(now_us.saturating_sub(1_000_000));
        for _ in 0..count {
            let index = tick.check_at % self.links.len();
            tick.check_at = index + 1;
            let mut link = self.link(index);
            if link.is_dead(now_us, self.plan.dead_after_us) {
                self.note_error("nothing came back on a connection, not even acknowledgements");
                link.close("silent");
            }
        }
    }

    fn publish(&self, fleet: &Fleet) {
        let status = &self.status;
        status.registered.store(fleet.registered(), Relaxed);
        status.stopped.store(fleet.stopped(), Relaxed);
        status.answered.store(fleet.counters().beats_answered, Relaxed);
        if let Some(applications) = &self.applications {
            let (grants, masters, ended, is_done) = applications.status();
            status.grants.store(grants, Relaxed);
            status.masters.store(masters, Relaxed);
            status.applications_ended.store(ended, Relaxed);
            status.is_done.store(is_done, Relaxed);
        }
    }

    async fn connect(self: &Rc<Self>, index: usize) -> Result<(), String> {
        let endpoint = &self.endpoints[index % self.endpoints.len()];
        let kind = self.kind(index);
        let config = self.applications.as_ref().and_then(|applications| applications.config(kind));
        let connecting = endpoint
            .connect_with(config.unwrap_or(&self.plan.client).clone(), self.plan.address, SERVER_NAME)
            .map_err(|error| error.to_string())?;
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| format!("no handshake within {CONNECT_TIMEOUT:?}"))?
            .map_err(|error| error.to_string())?;
        let (send, recv) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let now_us = self.control.now_us();
        let mut due = Vec::new();
        if let (Some(applications), true) = (&self.applications, kind != Kind::Node) {
            let mut link = self.link(index);
            let is_again = link.was_connected;
            link.connected(connection, send);
            applications.connected(kind, &mut link, is_again, now_us);
            link.flush();
        } else {
            let mut link = self.link(index);
            let mut fleet = self.fleet.borrow_mut();
            if link.was_connected {
                due.append(&mut link.waiting);
                self.nodes_of(index).for_each(|node| fleet.reconnect(node, now_us, &mut due));
            } else {
                let links = self.plan.links as u64;
                for (nth, node) in (0_u64..).zip(self.nodes_of(index)) {
                    fleet.start(node, now_us + nth * links * 1_000_000 / REGISTRATIONS_PER_SECOND);
                }
            }
            link.connected(connection, send);
            let mut recorder = self.recorder.borrow_mut();
            for node in due {
                let planned_us = fleet.planned_us(node);
                let written = fleet.write(node, now_us, link.out());
                if written.kind == WrittenKind::Beat {
                    recorder.sent(planned_us, written.late_us);
                }
            }
            link.flush();
        }
        if kind == Kind::Node {
            self.status.connected.fetch_add(1, Relaxed);
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let end = serve(Rc::clone(&worker), index, recv).await;
            worker.ended(index, &end);
        });
        Ok(())
    }

    /// A connection ended. One that somebody needs is to be made again, its nodes keep what they have; others came to rest,
    /// and are made when somebody does.
    fn ended(&self, index: usize, end: &LinkEnd) {
        let kind = self.kind(index);
        if kind == Kind::Node {
            self.status.connected.fetch_sub(1, Relaxed);
        }
        self.link(index).disconnected();
        if self.control.stage() >= Stage::Drain {
            return;
        }
        let need = self.applications.as_ref().map_or(Need::Answers, |applications| applications.need(kind));
        if need == Need::Answers || !end.is_timeout() {
            self.status.connections_lost.fetch_add(1, Relaxed);
            self.note_error(&end.to_string());
        }
        if need == Need::Nothing {
            self.link(index).is_wanted = false;
        } else {
            self.enqueue(index);
        }
    }

    fn enqueue(&self, index: usize) {
        self.queue.borrow_mut().push_back(index);
        self.queue_grew.notify_one();
    }

    async fn finish(&self) -> WorkerResult {
        let mut unanswered = 0;
        let applications;
        {
            let mut recorder = self.recorder.borrow_mut();
            let fleet = self.fleet.borrow();
            let now_us = self.control.now_us();
            for node in fleet.outstanding(recorder.until_us) {
                unanswered += 1;
                recorder.unanswered(now_us, fleet.planned_us(node));
            }
            applications = self.applications.as_ref().map(|it| it.finish(&mut recorder, now_us));
            recorder.close();
        }
        let counters = self.fleet.borrow().counters().clone();
        if self.plan.unregisters {
            self.say_farewell().await;
        }
        self.links.iter().for_each(|link| link.borrow().close("done"));
        // Time for the close frames to leave; a peer that misses one finds out by its idle timeout.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut recorder = self.recorder.borrow_mut();
        WorkerResult {
            counters,
            latencies: recorder.latencies.clone(),
            slices: core::mem::take(&mut recorder.slices),
            beats: recorder.beats,
            skipped: recorder.skipped,
            late_sends: recorder.late_sends,
            late_answers: recorder.late_answers,
            bytes_sent: recorder.bytes_sent,
            bytes_received: recorder.bytes_received,
            unanswered,
            interval_ms_max: self.fleet.borrow().interval_ms_max(),
            errors: self.errors.borrow().clone(),
            applications: applications.map(|outcome| {
                (outcome, recorder.applications.take().map(|series| *series).unwrap_or_default())
            }),
        }
    }

    /// Un-registers every node, so that a ResourceManager that lives on does not keep them.
    async fn say_farewell(&self) {
        for index in 0..self.plan.links {
            {
                let mut link = self.link(index);
                let mut fleet = self.fleet.borrow_mut();
                if link.is_connected() {
                    for node in self.nodes_of(index) {
                        fleet.write_unregistration(node, "the load test is over", link.out());
                    }
                    link.flush();
                }
            }
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What the tick keeps between calls.
#[derive(Default)]
struct Tick {
    due: Vec<u32>,
    dirty: Vec<usize>,
    restarts: u32,
    publish_us: u64,
    checked_us: u64,
    check_at: usize,
    drain_us: Option<u64>,
    faults_done: Vec<(bool, bool)>,
}

/// Connects links one after the other, for ever. Several run at a time.
async fn connector(worker: Rc<Worker>) {
    loop {
        let next = worker.queue.borrow_mut().pop_front();
        let Some(index) = next else {
            worker.queue_grew.notified().await;
            continue;
        };
        if let Err(reason) = worker.connect(index).await {
            worker.status.connects_failed.fetch_add(1, Relaxed);
            worker.note_error(&reason);
            let attempts = {
                let mut link = worker.link(index);
                link.attempts += 1;
                link.attempts
            };
            let wait = BACKOFF.0.saturating_mul(1 << attempts.min(8)).min(BACKOFF.1);
            tokio::time::sleep(wait).await;
            worker.enqueue(index);
        } else if !worker.queue.borrow().is_empty() {
            // Links that were lost together woke one connector only.
            worker.queue_grew.notify_one();
        }
    }
}

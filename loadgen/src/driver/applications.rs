//! ApplicationMasters and clients beside the NodeManagers of a client thread: their links, and what goes between them.
//! Owner: the thread's [`Worker`]. Called by: its tick and its links, on its thread; only [`Mailboxes`] are shared.
//! Does not: decide what an ApplicationMaster does, or when a node beats.
//! Invariants: an ApplicationMaster lives on the thread whose node launched it, in slot `s` on link `s % links`; what it
//! starts on another thread's node goes through that thread's mailbox, once.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use heddle_wire::frame::Frame;
use quinn::ClientConfig;

use super::control::Stage;
use super::link::Link;
use super::recorder::Recorder;
use super::worker::Worker;
use crate::application::{
    AmCounters, AmFleet, AmFleetSpec, AmPace, AmWritten, Churn, ClientCounters, ClientSpec, ContainerStart,
    QueueSample, SimulatedClient,
};
use crate::fleet::Fleet;
use crate::workload::ApplicationSpec;

/// Most requests of one kind that one tick sends.
const DUE_PER_TICK_MAX: usize = 4_096;

/// A request without an answer is repeated after this long, microseconds.
const RETRY_AFTER_US: u64 = 5_000_000;

/// Between two looks at an application and at the queues, microseconds.
const POLL_US: u64 = 1_000_000;

/// Containers starts that may wait for another thread. Beyond it they are dropped, and end when their grants expire.
const MAILBOX_MAX: usize = 1 << 20;

/// Applications of a run.
#[derive(Clone, Debug)]
pub struct ApplicationLoad {
    /// What is submitted, by time of submission.
    pub applications: Arc<[Arc<ApplicationSpec>]>,
    /// Connections the ApplicationMasters share; with more than there are of them each has its own.
    pub am_connections: u32,
    /// When they call.
    pub pace: AmPace,
    /// They only ask and give back.
    pub churn: Option<Churn>,
    /// Share of calls that take part of an ask back, millionths.
    pub cancel_ppm: u32,
    /// The measurement begins when so many ApplicationMasters are registered, and they are submitted before; 0 = they are
    /// submitted when it begins.
    pub masters_before: u32,
    /// The run is over when every application has ended.
    pub until_done: bool,
}

/// What applications gave.
#[derive(Debug, Default)]
pub struct ApplicationsOutcome {
    /// What happened to the ApplicationMasters.
    pub masters: AmCounters,
    /// What their clients saw.
    pub clients: ClientCounters,
    /// What the queues looked like.
    pub samples: Vec<QueueSample>,
    /// Grants in the measurement.
    pub grants: u64,
    /// ApplicationMasters that lived at the end.
    pub masters_live: u64,
    /// Allocate calls that were not answered.
    pub unanswered: u64,
    /// Every application ended.
    pub is_done: bool,
}

impl ApplicationsOutcome {
    pub(super) fn merge(&mut self, other: Self) {
        self.masters.merge(&other.masters);
        self.grants += other.grants;
        self.masters_live += other.masters_live;
        self.unanswered += other.unanswered;
        // One thread has the clients.
        if other.clients.requests > 0 {
            self.clients = other.clients;
            self.samples = other.samples;
            self.is_done = other.is_done;
        }
    }
}

/// What a client thread is to do about applications.
#[derive(Clone, Debug)]
pub(super) struct ApplicationPlan {
    pub load: ApplicationLoad,
    /// Connections of this thread's ApplicationMasters.
    pub am_links: usize,
    pub am_client: ClientConfig,
    /// This thread has the clients: a connection for each user, or one for all.
    pub clients: Vec<ClientConfig>,
    pub mailboxes: Arc<Mailboxes>,
    /// This thread's number.
    pub thread: usize,
}

/// Containers to be started on other threads' nodes, by thread.
#[derive(Debug, Default)]
pub(super) struct Mailboxes(Vec<Mutex<Vec<ContainerStart>>>);

impl Mailboxes {
    pub(super) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }

    fn post(&self, from: usize, start: &ContainerStart) {
        for (_, mailbox) in self.0.iter().enumerate().filter(|(thread, _)| *thread != from) {
            let mut mailbox = mailbox.lock().unwrap_or_else(PoisonError::into_inner);
            if mailbox.len() < MAILBOX_MAX {
                mailbox.push(start.clone());
            }
        }
    }

    fn take(&self, thread: usize) -> Vec<ContainerStart> {
        let Some(mailbox) = self.0.get(thread).filter(|_| self.0.len() > 1) else { return Vec::new() };
        core::mem::take(&mut *mailbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whose frames a link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Node,
    /// The place among the links of ApplicationMasters.
    Master(usize),
    /// The user.
    Client(usize),
}

/// What those on a link need it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nobody lives there.
    Nothing,
    /// Somebody lives there, and nothing is out.
    Pushes,
    /// Answers are out.
    Answers,
}

/// The ApplicationMasters and clients of a thread.
pub(super) struct Applications {
    pub plan: ApplicationPlan,
    ams: RefCell<AmFleet>,
    client: Option<RefCell<SimulatedClient>>,
    due: RefCell<Vec<u32>>,
}

impl Applications {
    pub(super) fn new(plan: ApplicationPlan, seed: u64) -> Self {
        let spec = AmFleetSpec {
            pace: plan.load.pace,
            churn: plan.load.churn.clone(),
            retry_after_us: RETRY_AFTER_US,
            cancel_ppm: plan.load.cancel_ppm,
            applications: Arc::clone(&plan.load.applications),
        };
        let client = (!plan.clients.is_empty()).then(|| {
            RefCell::new(SimulatedClient::new(ClientSpec {
                applications: Arc::clone(&plan.load.applications),
                poll_us: POLL_US,
                queues_us: POLL_US,
                retry_after_us: RETRY_AFTER_US,
            }))
        });
        Self { ams: RefCell::new(AmFleet::new(spec, seed)), client, due: RefCell::default(), plan }
    }

    /// Links behind those of the nodes.
    pub(super) fn links(&self) -> usize {
        self.plan.am_links + self.plan.clients.len()
    }

    /// What the link at this place behind those of the nodes carries.
    pub(super) fn kind(&self, place: usize) -> Kind {
        match place.checked_sub(self.plan.am_links) {
            None => Kind::Master(place),
            Some(user) => Kind::Client(user),
        }
    }

    pub(super) fn config(&self, kind: Kind) -> Option<&ClientConfig> {
        match kind {
            Kind::Node => None,
            Kind::Master(_) => Some(&self.plan.am_client),
            Kind::Client(user) => self.plan.clients.get(user),
        }
    }

    /// What a link is needed for. ApplicationMasters end, and their link waits for the next one; so does a user's for the
    /// next application.
    pub(super) fn need(&self, kind: Kind) -> Need {
        match (kind, &self.client) {
            (Kind::Master(place), _) => {
                let ams = self.ams.borrow();
                let on_link = || (place as u32..ams.slots()).step_by(self.plan.am_links.max(1));
                if on_link().any(|slot| ams.is_awaiting(slot)) {
                    Need::Answers
                } else if on_link().any(|slot| ams.am(slot).is_some()) {
                    Need::Pushes
                } else {
                    Need::Nothing
                }
            }
            // The first one looks at the queues besides.
            (Kind::Client(user), Some(client)) if user > 0 => {
                let client = client.borrow();
                let is_any = client.awaiting(user as u32, self.plan.clients.len() as u32).next().is_some();
                if is_any { Need::Answers } else { Need::Nothing }
            }
            (Kind::Client(_) | Kind::Node, _) => Need::Answers,
        }
    }

    /// A connection came about: what was out is sent again, what waited is sent.
    pub(super) fn connected(&self, kind: Kind, link: &mut Link, is_again: bool, now_us: u64) {
        let mut due = core::mem::take(&mut link.waiting);
        match (kind, &self.client) {
            (Kind::Master(place), _) => {
                let mut ams = self.ams.borrow_mut();
                if is_again {
                    let slots = (place as u32..ams.slots()).step_by(self.plan.am_links);
                    slots.for_each(|slot| ams.reconnect(slot, &mut due));
                }
                for slot in due {
                    ams.write(slot, now_us, link.out());
                }
            }
            (Kind::Client(user), Some(client)) => {
                let mut client = client.borrow_mut();
                if is_again {
                    due.extend(client.awaiting(user as u32, self.plan.clients.len() as u32));
                }
                for application in due {
                    client.write(application, now_us, link.out());
                }
            }
            (Kind::Client(_) | Kind::Node, _) => {}
        }
    }

    /// A frame arrived. True when something may have to be exchanged with the nodes.
    pub(super) fn handle_frame(&self, kind: Kind, now_us: u64, frame: &Frame<'_>, out: Option<&mut Vec<u8>>) {
        match (kind, &self.client) {
            (Kind::Master(_), _) => {
                let mut ams = self.ams.borrow_mut();
                let answer = ams.handle_frame(now_us, frame);
                if answer.is_due
                    && let (Some(slot), Some(out)) = (answer.slot, out)
                {
                    ams.write(slot, now_us, out);
                }
            }
            (Kind::Client(_), Some(client)) => {
                client.borrow_mut().handle_frame(now_us, frame);
            }
            (Kind::Client(_) | Kind::Node, _) => {}
        }
    }

    /// Carries between nodes and ApplicationMasters what they want of each other.
    pub(super) fn exchange(&self, worker: &Worker, fleet: &mut Fleet, recorder: &mut Recorder, now_us: u64) {
        let mut ams = self.ams.borrow_mut();
        if let Some(handover) = fleet.handover() {
            for (node, order) in handover.launches.drain(..) {
                if let Some(slot) = ams.launch(now_us, node, &order) {
                    worker.want(self.link_of(worker, slot));
                }
            }
            handover.killed.drain(..).for_each(|id| ams.container_killed(&id));
            handover.removed.drain(..).for_each(|id| ams.container_removed(&id));
            handover.notes.drain(..).for_each(|note| recorder.note(now_us, note));
        }
        if let Some(client) = &self.client {
            let launched = core::mem::take(&mut client.borrow_mut().launched);
            for launched in launched {
                let slot = ams.start(now_us, launched);
                worker.want(self.link_of(worker, slot));
            }
        }
        let outbox = &mut ams.outbox;
        for start in outbox.starts.drain(..) {
            if !fleet.start_task(now_us, &start) {
                self.plan.mailboxes.post(self.plan.thread, &start);
            }
        }
        outbox.exits.drain(..).for_each(|exit| fleet.exit(&exit));
        outbox.notes.drain(..).for_each(|note| recorder.note(now_us, note));
        if let Some(handover) = fleet.handover() {
            handover.notes.drain(..).for_each(|note| recorder.note(now_us, note));
        }
    }

    fn link_of(&self, worker: &Worker, slot: u32) -> usize {
        worker.plan.links + slot as usize % self.plan.am_links.max(1)
    }

    /// When an ApplicationMaster has something to send next.
    pub(super) fn next_due_us(&self) -> Option<u64> {
        self.ams.borrow().next_due_us()
    }

    /// Sends what is due. `dirty` gets the links that have to be flushed.
    pub(super) fn tick(
        &self,
        worker: &Worker,
        fleet: &mut Fleet,
        recorder: &mut Recorder,
        now_us: u64,
        dirty: &mut Vec<usize>,
    ) {
        for start in self.plan.mailboxes.take(self.plan.thread) {
            fleet.start_task(now_us, &start);
        }
        self.exchange(worker, fleet, recorder, now_us);
        let mut due = self.due.borrow_mut();
        let stage = worker.control.stage();
        if stage < Stage::Drain {
            let mut ams = self.ams.borrow_mut();
            due.clear();
            ams.due(now_us, DUE_PER_TICK_MAX, &mut due);
            for slot in due.drain(..) {
                let index = self.link_of(worker, slot);
                let mut link = worker.link(index);
                if !link.is_connected() {
                    if !ams.is_awaiting(slot) {
                        link.waiting.push(slot);
                    }
                    continue;
                }
                let before = link.out().len();
                let written = ams.write(slot, now_us, link.out());
                recorder.bytes_sent += (link.out().len() - before) as u64;
                if let AmWritten::Request { late_us } = written {
                    recorder.sent(now_us.saturating_sub(late_us), late_us);
                }
                mark(&mut link, index, dirty);
            }
        }
        let Some(client) = &self.client else { return };
        let mut client = client.borrow_mut();
        let begins = if self.plan.load.masters_before > 0 { Stage::Warm } else { Stage::Measure };
        if stage < begins || stage == Stage::Stop {
            return;
        }
        client.begin(now_us);
        if stage == Stage::Drain && !worker.plan.unregisters {
            return;
        }
        due.clear();
        client.due(now_us, DUE_PER_TICK_MAX, &mut due);
        let users = self.plan.clients.len();
        let first = worker.plan.links + self.plan.am_links;
        for application in due.drain(..) {
            let index = first + client.user_of(application) as usize % users;
            let mut link = worker.link(index);
            if link.is_connected() {
                client.write(application, now_us, link.out());
                mark(&mut link, index, dirty);
            } else {
                link.waiting.push(application);
                drop(link);
                worker.want(index);
            }
        }
        let mut link = worker.link(first);
        if link.is_connected() && client.write_look(now_us, link.out()) {
            mark(&mut link, first, dirty);
        }
    }

    /// The run ends: what lives at a ResourceManager that lives on is killed.
    pub(super) fn quit(&self, now_us: u64) {
        if let Some(client) = &self.client {
            client.borrow_mut().quit(now_us);
        }
    }

    /// True when nothing is waited for any more.
    pub(super) fn is_settled(&self, until_us: u64, is_quitting: bool) -> bool {
        let is_quiet = !is_quitting || self.client.as_ref().is_none_or(|client| client.borrow().live() == 0);
        is_quiet && self.ams.borrow().outstanding(until_us).next().is_none()
    }

    /// Grants so far, ApplicationMasters that live, applications that ended, and whether all have.
    pub(super) fn status(&self) -> (u64, u32, u64, bool) {
        let ams = self.ams.borrow();
        let (ended, is_done) = self
            .client
            .as_ref()
            .map_or((0, true), |client| (client.borrow().ended(), client.borrow().is_done()));
        let registered = ams.counters().registered.min(u64::from(ams.live()));
        (ams.counters().grants, registered as u32, ended, is_done)
    }

    /// What was measured. Allocate calls that are out count with the time they have waited.
    pub(super) fn finish(&self, recorder: &mut Recorder, now_us: u64) -> ApplicationsOutcome {
        let ams = self.ams.borrow();
        let mut unanswered = 0;
        for planned_us in ams.outstanding(recorder.until_us) {
            unanswered += u64::from(recorder.waited(now_us, planned_us));
        }
        let client = self.client.as_ref().map(RefCell::borrow);
        ApplicationsOutcome {
            masters: ams.counters().clone(),
            clients: client.as_ref().map(|client| client.counters().clone()).unwrap_or_default(),
            samples: client.as_ref().map(|client| client.samples().to_vec()).unwrap_or_default(),
            grants: recorder.grants,
            masters_live: u64::from(ams.live()),
            unanswered,
            is_done: client.is_some_and(|client| client.is_done()),
        }
    }
}

fn mark(link: &mut Link, index: usize, dirty: &mut Vec<usize>) {
    if !link.is_dirty {
        link.is_dirty = true;
        dirty.push(index);
    }
}

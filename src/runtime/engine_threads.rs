//! The engine's threads before they run: which carries which roles, with all rings between them.
//! Owns: [`EngineThread`], a composite duty cycle, and [`connect_roles`], which makes them all. Called by: topology.
//! Does not: start threads or step anything by itself. Every ring's size is written here or in `proxy`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::mpsc;

use super::application_role::{ApplicationRole, ApplicationRoleParts, SchedulerLink};
use super::clock::Clock;
use super::done::Done;
use super::duty_cycle::DutyCycle;
use super::idle::{NAP, NAP_SCHEDULER, Sleeper};
use super::outgoing::Outgoing;
use super::proxy::{self, NetPort, NetWaker, RolePort};
use super::scheduling_role::{ApplicationLink, SchedulingRole, ShardLink};
use super::shard_role::{ShardRole, ShardRoleParts};
use crate::engine::application::{ApplicationCommand, ApplicationReply};
use crate::engine::event::{CommandReply, ShardCommand};
use crate::engine::settings::ShardSettings;
use crate::engine::time::Instant;
use crate::metrics::{CycleStats, Metrics, RoleMetrics};
use crate::recorder::{ApplicationStepper, SchedulingStepper, ShardStepper, TapeWriter};
use crate::ring::{MpscQueue, spsc};
use crate::store::MemoryStore;
use crate::transport::ShardCommandPort;

/// Node events between a shard and the scheduler.
const NODE_EVENTS: usize = 4_096;

/// Orders between the scheduler and a shard.
const NODE_COMMANDS: usize = 16_384;

/// Commands between the application manager and the scheduler: a submission is two or three.
const SCHEDULER_COMMANDS: usize = 4_096;

/// Events between the scheduler and the application manager.
const APPLICATION_EVENTS: usize = 4_096;

type Scheduling = SchedulingRole<SchedulingStepper>;
type Application = ApplicationRole<ApplicationStepper, MemoryStore>;

/// What the roles are made of.
pub(super) struct RoleParts<'a> {
    /// One shard each, on a thread each.
    pub(super) shards: Vec<(ShardSettings, Option<TapeWriter>)>,
    pub(super) scheduling: SchedulingStepper,
    pub(super) application: ApplicationStepper,
    /// 0: the scheduler and the application manager run on the first shard's thread; 1: on one of their own; 2: on one
    /// each.
    pub(super) scheduler_threads: usize,
    /// Of the net threads.
    pub(super) wakers: &'a [Arc<NetWaker>],
    pub(super) shard_replies: mpsc::Sender<CommandReply>,
    pub(super) application_replies: mpsc::Sender<ApplicationReply>,
    /// Size of the queues of administrators' commands.
    pub(super) administration: usize,
    pub(super) clock: Clock,
    pub(super) metrics: &'a Metrics,
}

/// What came out of [`connect_roles`].
pub(super) struct Roles {
    pub(super) threads: Vec<EngineThread>,
    /// By net thread: ports to every shard, then to the scheduler, then to the application manager.
    pub(super) ports: Vec<Vec<RolePort>>,
    pub(super) shard_commands: Vec<ShardCommandPort>,
    pub(super) application_commands: ApplicationCommandPort,
}

/// Where an administrator's commands for the application manager go in.
#[derive(Clone, Debug)]
pub(crate) struct ApplicationCommandPort {
    pub(crate) commands: MpscQueue<ApplicationCommand>,
    pub(crate) sleeper: Arc<Sleeper>,
}

/// Makes every role with its ends of the rings, and says on which thread it runs.
pub(super) fn connect_roles(parts: RoleParts<'_>) -> Roles {
    let metrics = parts.metrics;
    let mut ports: Vec<Vec<RolePort>> = parts.wakers.iter().map(|_| Vec::new()).collect();
    let mut connect_nets = |sleeper: &Arc<Sleeper>| -> Vec<NetPort> {
        let ends = parts.wakers.iter().zip(&mut ports).map(|(waker, of_net)| {
            let (role_port, net_port) = proxy::connect(Arc::clone(sleeper), Arc::clone(waker));
            of_net.push(role_port);
            net_port
        });
        ends.collect()
    };
    let new_sleeper = || Arc::new(Sleeper::unbound());
    let shard_sleepers: Vec<Arc<Sleeper>> = parts.shards.iter().map(|_| new_sleeper()).collect();
    let first = shard_sleepers.first().cloned().unwrap_or_else(new_sleeper);
    let scheduler_sleeper = if parts.scheduler_threads == 0 { first } else { new_sleeper() };
    let application_sleeper =
        if parts.scheduler_threads < 2 { Arc::clone(&scheduler_sleeper) } else { new_sleeper() };

    let mut threads = Vec::new();
    let mut links = Vec::new();
    let mut shard_commands = Vec::new();
    for (index, ((settings, tape), sleeper)) in parts.shards.into_iter().zip(shard_sleepers).enumerate() {
        let (node_events, events) = spsc(NODE_EVENTS);
        let (commands, node_commands) = spsc(NODE_COMMANDS);
        let commands_in = MpscQueue::<ShardCommand>::new(parts.administration);
        let done = Arc::<Done>::default();
        links.push(ShardLink {
            events,
            commands: Outgoing::new(commands),
            shard_commands: commands_in.clone(),
            sleeper: Arc::clone(&sleeper),
            done: Arc::clone(&done),
        });
        shard_commands
            .push(ShardCommandPort { commands: commands_in.clone(), sleeper: Arc::clone(&sleeper) });
        let shard = ShardRole::new(ShardRoleParts {
            stepper: ShardStepper::new(settings, tape),
            nets: connect_nets(&sleeper),
            commands: commands_in,
            replies: parts.shard_replies.clone(),
            node_commands,
            node_events,
            scheduler: Arc::clone(&scheduler_sleeper),
            done,
            gauge: metrics.shard(index),
        });
        let mut thread = EngineThread::new(format!("rm-engine-{index}"), sleeper, metrics);
        thread.shard = Some(shard);
        threads.push(thread);
    }

    let (commands_out, commands) = spsc(SCHEDULER_COMMANDS);
    let (events, events_in) = spsc(APPLICATION_EVENTS);
    let (finished, done) = (Arc::<AtomicU64>::default(), Arc::<Done>::default());
    let to_application = ApplicationLink {
        commands,
        events: Outgoing::new(events),
        sleeper: Arc::clone(&application_sleeper),
        finished: Arc::clone(&finished),
        done: Arc::clone(&done),
    };
    let to_scheduler = SchedulerLink {
        commands: Outgoing::new(commands_out),
        events: events_in,
        sleeper: Arc::clone(&scheduler_sleeper),
        finished,
        done,
    };
    let mut scheduling =
        SchedulingRole::new(parts.scheduling, connect_nets(&scheduler_sleeper), links, to_application);
    scheduling.measure(parts.clock);
    let application_commands = ApplicationCommandPort {
        commands: MpscQueue::new(parts.administration),
        sleeper: Arc::clone(&application_sleeper),
    };
    let application = ApplicationRole::new(ApplicationRoleParts {
        stepper: parts.application,
        store: MemoryStore::default(),
        nets: connect_nets(&application_sleeper),
        scheduler: to_scheduler,
        commands: application_commands.commands.clone(),
        replies: parts.application_replies,
    });
    // Each net thread's ports are to the shards, to the scheduler, to the application manager.
    for port in ports.iter_mut().filter_map(|of_net| of_net.iter_mut().rev().nth(1)) {
        port.measure(parts.clock);
    }
    if parts.scheduler_threads > 0 {
        threads.push(EngineThread::new("rm-sched-0".to_owned(), scheduler_sleeper, metrics));
    }
    // The scheduler is on the first thread, or on the one that was just made.
    let carrier = if parts.scheduler_threads == 0 { threads.first_mut() } else { threads.last_mut() };
    if let Some(thread) = carrier {
        thread.scheduling = Some(scheduling);
        if parts.scheduler_threads < 2 {
            thread.application = Some(application);
            return Roles { threads, ports, shard_commands, application_commands };
        }
    }
    let mut thread = EngineThread::new("rm-app".to_owned(), application_sleeper, metrics);
    thread.application = Some(application);
    threads.push(thread);
    Roles { threads, ports, shard_commands, application_commands }
}

/// A composite duty cycle: the roles one thread carries, stepped in turn.
pub(super) struct EngineThread {
    pub(super) name: String,
    pub(super) sleeper: Arc<Sleeper>,
    shard: Option<ShardRole>,
    scheduling: Option<Scheduling>,
    application: Option<Application>,
    metrics: Metrics,
    role_metrics: Arc<RoleMetrics>,
}

impl EngineThread {
    fn new(name: String, sleeper: Arc<Sleeper>, metrics: &Metrics) -> Self {
        let (metrics, role_metrics) = (metrics.clone(), metrics.role(&name));
        Self { name, sleeper, shard: None, scheduling: None, application: None, metrics, role_metrics }
    }
}

impl DutyCycle for EngineThread {
    fn do_work(&mut self, now: Instant, busy_permille: u16) -> usize {
        let mut items = self.shard.as_mut().map_or(0, |shard| shard.do_work(now, busy_permille));
        items += self.scheduling.as_mut().map_or(0, |scheduling| scheduling.do_work(now));
        items + self.application.as_mut().map_or(0, |application| application.do_work(now))
    }

    fn has_work(&self) -> bool {
        self.shard.as_ref().is_some_and(ShardRole::has_work)
            || self.scheduling.as_ref().is_some_and(Scheduling::has_work)
            || self.application.as_ref().is_some_and(Application::has_work)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let of_shard = self.shard.as_ref().and_then(ShardRole::next_deadline);
        let of_scheduling = self.scheduling.as_ref().and_then(Scheduling::next_deadline);
        let of_application = self.application.as_ref().and_then(Application::next_deadline);
        [of_shard, of_scheduling, of_application].into_iter().flatten().min()
    }

    fn nap(&self) -> Duration {
        if self.scheduling.is_some() { NAP_SCHEDULER } else { NAP }
    }

    fn is_done(&self) -> bool {
        // Each is asked, also where another is not done: being drained is said to those who wait for it.
        let shard = self.shard.as_ref().is_none_or(ShardRole::is_drained);
        let application = self.application.as_ref().is_none_or(Application::is_drained);
        let scheduling = self.scheduling.as_ref().is_none_or(Scheduling::is_drained);
        shard && application && scheduling
    }

    fn publish(&mut self, now: Instant, stats: &CycleStats) {
        self.role_metrics.publish(stats);
        if let Some(shard) = &mut self.shard {
            shard.publish(now);
        }
        if let Some(scheduling) = &mut self.scheduling {
            scheduling.tell_load();
            scheduling.publish(now, &self.metrics.scheduler());
        }
        if let Some(application) = &mut self.application {
            application.publish(now, &self.metrics.applications());
        }
    }

    fn close(&mut self) {}
}

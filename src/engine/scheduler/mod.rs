//! The scheduler: capacity of the cluster, who may have it, and what is granted.
//! Owns: queues, users, asks, grants, free capacity of nodes, container states. Called by: the duty cycle of `rm-sched-N`,
//! the ApplicationMasters' door on the same thread, the simulator, benches.
//! Does not: know frames, sessions or clocks. Thread: its own.
//! Invariants: its output is a function of its input sequence; a container is charged to its node, queue, user and attempt
//! from its grant to its end, once; nothing that is wanted and may be placed stays unplaced after [`ResourceScheduler::schedule`](face::ResourceScheduler::schedule).
//!
//! One step: events and asks change the tables; what they free opens shapes of demand (`shape`); `placement` then walks
//! from the root down to the queue, application and ask that comes first among those whose shape may fit, until none is
//! left. Nothing on that path depends on how many nodes, containers or pending asks there are, but for logarithms.

mod activation;
mod administration;
mod admission;
mod allocation_expirer;
mod ask;
mod attempt;
mod audit;
pub mod calculator;
pub mod capacity;
mod completion;
pub mod container;
mod demand;
mod doors;
mod explain;
pub mod face;
pub mod limits;
mod local_order;
pub mod message;
mod names;
mod node_events;
mod node_index;
mod node_table;
mod partition;
mod placement;
mod query;
mod queue;
mod queue_usage;
mod reservation;
pub mod resource;
mod resource_sum;
pub mod settings;
mod shape;
mod share;
mod sharing;
mod strict;
mod totals;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use allocation_expirer::AllocationExpirer;
use attempt::{Apps, Attempts};
use container::Containers;
use face::{SchedulerKey, SchedulerOutput};
use heddle_wire::RejectCode;
use message::{ApplicationEvent, QueryReply, SchedulerCommand};
use names::Names;
use node_table::NodeTable;
use partition::{Measures, Partition};
use queue::Queues;
pub use queue_usage::QueueUsage;
use reservation::Reservations;
use settings::{QueueTree, SchedulerSettings};
pub use totals::Totals;

use super::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Scheduler {
    settings: SchedulerSettings,
    measures: Measures,
    queues: Queues,
    /// The default one first.
    partitions: Vec<Partition>,
    nodes: NodeTable,
    containers: Containers,
    reservations: Reservations,
    apps: Apps,
    attempts: Attempts,
    hosts: Names,
    racks: Names,
    users: Names,
    /// Labels an administrator gave to nodes, also to those that are not there.
    labels: administration::NodeLabels,
    /// By user: attempts that are not kept back, over all queues.
    running_of_user: BTreeMap<names::NameId, u32>,
    /// Granted containers their nodes have not reported.
    expirer: AllocationExpirer,
    /// Asks that look further at that time.
    waits: BTreeSet<(Instant, u32, SchedulerKey)>,
    /// Leaves in which an attempt may have become possible to activate.
    to_activate: BTreeSet<u32>,
    counts: totals::Counts,
    /// Asks that are done, for their memory.
    #[expect(clippy::vec_box, reason = "they go into an attempt's map and back without being moved")]
    spare_asks: Vec<Box<ask::KeyAsk>>,
    /// Reused: where an ask may be placed.
    reaches: Vec<shape::Reach>,
    /// Reused: the shapes of an ask.
    spare_shapes: Vec<shape::ShapeId>,
    /// Reused: the same, sorted.
    sorted_shapes: Vec<shape::ShapeId>,
    /// The partition whose turn is first in the next step.
    first_turn: usize,
}

impl Scheduler {
    /// Most grants of one [`ResourceScheduler::schedule`](face::ResourceScheduler::schedule): what is left is placed by the next one, so that a step stays short.
    pub const GRANTS_PER_STEP: u32 = 16_384;

    /// Most grants in one partition before the next has its turn: about a millisecond.
    pub const GRANTS_PER_TURN: u32 = 2_048;

    /// Without nodes and applications.
    #[must_use]
    pub fn new(mut settings: SchedulerSettings) -> Self {
        let queues = Queues::new(core::mem::take(&mut settings.queues));
        let measures = Measures {
            calculator: settings.calculator,
            minimum: settings.minimum_allocation.clone(),
            maximum: settings.maximum_allocation.clone(),
            types: settings.resource_types.len(),
        };
        let mut partitions = vec![Partition::new(0, "", true, &queues, &measures)];
        for (label, is_exclusive) in &settings.node_labels {
            let number = partitions.len() as u16;
            partitions.push(Partition::new(number, label, *is_exclusive, &queues, &measures));
        }
        Self {
            measures,
            queues,
            partitions,
            nodes: NodeTable::default(),
            containers: Containers::default(),
            reservations: Reservations::default(),
            apps: Apps::default(),
            attempts: Attempts::new(settings.index, settings.attempts_max),
            hosts: Names::default(),
            racks: Names::default(),
            users: Names::default(),
            labels: administration::NodeLabels::default(),
            running_of_user: BTreeMap::new(),
            expirer: AllocationExpirer::default(),
            waits: BTreeSet::new(),
            to_activate: BTreeSet::new(),
            counts: totals::Counts::default(),
            spare_asks: Vec::new(),
            reaches: Vec::new(),
            spare_shapes: Vec::new(),
            sorted_shapes: Vec::new(),
            first_turn: 0,
            settings,
        }
    }

    /// The queues in force.
    #[must_use]
    pub const fn queue_tree(&self) -> &QueueTree {
        &self.queues.tree
    }

    /// Does what the application manager or administration say.
    pub fn handle_command(&mut self, now: Instant, command: SchedulerCommand, out: &mut SchedulerOutput) {
        match command {
            SchedulerCommand::AddApplication(add) => self.add_application(*add, out),
            SchedulerCommand::AddAttempt(add) => self.add_attempt(now, *add, out),
            SchedulerCommand::LaunchAm(launch) => self.launch_am(now, *launch, out),
            SchedulerCommand::UnmanagedAttemptReady { attempt_id } => self.unmanaged_ready(attempt_id, out),
            SchedulerCommand::RemoveAttempt { attempt_id, keep_containers, stop_am_container } => {
                self.remove_attempt(now, attempt_id, keep_containers, stop_am_container, out);
            }
            SchedulerCommand::FinalStateStored { application_id } => {
                out.attempt_events.push(face::AttemptEvent::FinalStateStored(application_id));
            }
            SchedulerCommand::RemoveApplication { application_id } => {
                self.remove_application(now, application_id, out);
            }
            SchedulerCommand::UpdatePriority { token, application_id, priority } => {
                self.update_priority(token, application_id, priority, out);
            }
            SchedulerCommand::SignalContainer { token, container_id, command } => {
                self.signal_container(token, container_id, command, out);
            }
            SchedulerCommand::MoveApplication { token, application_id, queue, is_check_only } => {
                self.move_application(now, token, application_id, &queue, is_check_only, out);
            }
            SchedulerCommand::Query { token, query } => self.answer_query(now, token, query, out),
            SchedulerCommand::ReplaceQueues { token, queues } => {
                self.replace_queues(now, token, *queues, out);
            }
            SchedulerCommand::AddNodeLabels { token, labels } => {
                self.add_node_labels(now, token, &labels, out)
            }
            SchedulerCommand::RemoveNodeLabels { token, labels } => {
                self.remove_node_labels(now, token, &labels, out);
            }
            SchedulerCommand::ReplaceLabelsOnNodes { token, nodes, fail_on_unknown_nodes } => {
                self.replace_labels_on_nodes(now, token, &nodes, fail_on_unknown_nodes, out);
            }
            SchedulerCommand::UpdateNodeResource { token, nodes } => {
                self.update_node_resource(now, token, &nodes, out);
            }
        }
        self.activate(now, out);
    }

    /// Time has passed: takes back what was not launched, lets asks look further.
    pub fn handle_tick(&mut self, now: Instant, out: &mut SchedulerOutput) {
        self.expire(now, out);
        self.look_further(now);
        self.activate(now, out);
    }

    /// When [`Scheduler::handle_tick`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let expiry = self.expirer.first().map(|(at, _)| at);
        let wait = self.waits.first().map(|(at, ..)| *at);
        [expiry, wait].into_iter().flatten().min()
    }

    /// Whether another [`ResourceScheduler::schedule`](face::ResourceScheduler::schedule) would find something to do.
    #[must_use]
    pub fn wants_to_schedule(&self) -> bool {
        self.partitions.iter().any(|partition| partition.is_dirty)
    }
}

/// Answers a command that cannot be done.
fn refuse(out: &mut SchedulerOutput, token: u64, code: RejectCode, reasons: impl Into<Box<str>>) {
    let reply = QueryReply::Refused { code: code as u16, reasons: reasons.into() };
    out.application_events.push(ApplicationEvent::Reply { token, reply });
}

/// Answers a command that was done.
fn done(out: &mut SchedulerOutput, token: u64, number: i64) {
    out.application_events.push(ApplicationEvent::Reply { token, reply: QueryReply::Done(number) });
}

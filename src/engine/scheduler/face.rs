//! The seam between the ApplicationMasters' door and the scheduler that places their containers.
//! Owns: [`ResourceScheduler`], what passes through it. Called by: `application_master` on the scheduler's thread, which
//! is its only caller per allocate; implemented by `Scheduler`, and by fakes in tests.
//! Does not: know sessions, response ids, frames or tokens; those are the door's.
//! Invariant: counts given to [`ResourceScheduler::update_ask`] are outstanding containers: the door has already taken
//! away what the AM has not seen yet.

use std::borrow::Cow;

use heddle_wire::RejectCode;
use heddle_wire::record::{ApplicationAttemptId, ApplicationId, ContainerId, NodeHandle, NodeId};

use super::message::{ApplicationEvent, Attempt};
use super::resource::{ResourceTypes, ResourceVector};
use crate::engine::event::NodeCommand;
use crate::engine::time::Instant;

/// What an ask is about, besides its locality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchedulerKey {
    /// Within the application; 0 is the most urgent.
    pub priority: i32,
    /// Chosen by the AM; −1 = none.
    pub allocation_request_id: i64,
}

/// One row of an ask: the count wanted at one place. Replaces the former row of its key and place.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask<'a> {
    /// Its key.
    pub key: SchedulerKey,
    /// Where.
    pub place: Place<'a>,
    /// Size of each container as asked for; rounded by the scheduler.
    pub capability: ResourceVector,
    /// How many are outstanding; 0 takes the row away.
    pub count: u32,
    /// Whether a wider place will do.
    pub relax_locality: bool,
    /// A label; `None` = the application's, else the queue's.
    pub node_label: Option<&'a str>,
}

/// Where a container is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Anywhere; its count bounds the key.
    Any,
    /// On a rack.
    Rack(&'a str),
    /// On a host.
    Host(&'a str),
}

/// Why an ask, a release or a blacklist is refused. Nothing of the call is applied then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Goes on the wire.
    pub code: RejectCode,
    /// Field, value, and what is accepted.
    pub message: String,
}

/// A container was granted to an attempt. Delivered to the AM when the door has room for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// To whom.
    pub attempt: Attempt,
    /// The container.
    pub container_id: ContainerId,
    /// Its node.
    pub node: NodeHandle,
    /// For which ask.
    pub key: SchedulerKey,
    /// Its size.
    pub resource: ResourceVector,
}

/// A container of an attempt has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Whose it is now.
    pub attempt: Attempt,
    /// The container.
    pub container_id: ContainerId,
    /// Its node, for the acknowledgement.
    pub node: NodeHandle,
    /// Exit status, YARN's numbers.
    pub exit_status: i32,
    /// Text.
    pub diagnostics: Cow<'static, str>,
    /// Its size.
    pub resource: ResourceVector,
    /// It was granted and never acquired: its ask was put back. The door forgets the grant when it was not sent yet.
    pub was_restored: bool,
    /// The node knows it and waits for an acknowledgement ([`ResourceScheduler::acknowledge`]).
    pub is_on_node: bool,
}

/// The AM container of an attempt is to be started: its record is stored. The door adds the tokens and orders it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Whose it is.
    pub attempt: Attempt,
    /// The AM container.
    pub container_id: ContainerId,
    /// Its node.
    pub node: NodeHandle,
    /// Its size.
    pub resource: ResourceVector,
    /// Its priority within the application: 0.
    pub priority: i32,
    /// See [`LaunchAm::launch_context`](super::message::LaunchAm::launch_context).
    pub launch_context: Box<[u8]>,
}

/// What happened for the door, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEvent {
    /// A session opens.
    Added {
        /// The attempt.
        attempt_id: ApplicationAttemptId,
        /// Its handle.
        attempt: Attempt,
        /// Its owner.
        user: Box<str>,
        /// It has no AM container.
        is_unmanaged: bool,
        /// See [`AddAttempt::keep_containers`](super::message::AddAttempt::keep_containers).
        keep_containers: bool,
        /// See [`AddAttempt::acls`](super::message::AddAttempt::acls).
        acls: Vec<(u8, Box<str>)>,
    },
    /// An unmanaged attempt may register now; a managed one may from when its launch is ordered.
    Ready(Attempt),
    /// The AM container is to be started; from now on the attempt may register.
    Launch(Box<Launch>),
    /// The session ends: from now on the attempt is unknown.
    Removed(Attempt),
    /// The application's final state is stored.
    FinalStateStored(ApplicationId),
    /// A grant.
    Granted(Granted),
    /// An end.
    Finished(Finished),
    /// A node came, went or changed its usability; every session is told with its next answer.
    NodeUpdated {
        /// The node.
        node: NodeHandle,
        /// 0 usable, 1 unusable, 2 decommissioning.
        update_type: u8,
    },
    /// The application's priority is another.
    Priority(Attempt, i32),
}

/// What one step of the scheduler said, appended to by every call and emptied by the duty cycle.
#[derive(Debug, Default)]
pub struct SchedulerOutput {
    /// To the shards.
    pub node_commands: Vec<NodeCommand>,
    /// To the application manager.
    pub application_events: Vec<ApplicationEvent>,
    /// To the door, on the same thread.
    pub attempt_events: Vec<AttemptEvent>,
    /// Lines for the operator's log: impossible pairs, refused reports. Bounded by the step.
    pub notices: Vec<String>,
}

/// A node as told to AMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView<'a> {
    /// Its name.
    pub node_id: &'a NodeId,
    /// Port of its web server.
    pub http_port: u16,
    /// Its rack.
    pub rack_name: &'a str,
    /// Its label; `""` = default partition.
    pub node_label: &'a str,
    /// What it has.
    pub capability: &'a ResourceVector,
    /// What is used of it.
    pub used: &'a ResourceVector,
    /// Containers on it.
    pub containers: u32,
    /// YARN's number of its state.
    pub state: u8,
}

/// The scheduler, as the ApplicationMasters' door uses it.
pub trait ResourceScheduler {
    /// The cluster's resource types.
    fn resource_types(&self) -> &ResourceTypes;

    /// Least and largest container for an attempt, and its queue's path. `None` = unknown attempt.
    fn limits(&self, attempt: Attempt) -> Option<(ResourceVector, ResourceVector, &str)>;

    /// Checks a row; nothing is changed. Sizes may be below the least, not above the largest; labels must be known and
    /// accessible, on `Any` rows only.
    ///
    /// # Errors
    /// The row's fault.
    fn check_ask(&self, attempt: Attempt, ask: &Ask<'_>) -> Result<(), Refusal>;

    /// Sets a row that was checked. Nothing is placed yet.
    fn update_ask(&mut self, now: Instant, attempt: Attempt, ask: &Ask<'_>);

    /// The AM does not come for what it was granted: with `is_held` nothing more is placed for the attempt, until this
    /// is said with false. What is asked stays asked. A scheduler that places on all the same is bounded by what the
    /// cluster has.
    fn hold_grants(&mut self, _now: Instant, _attempt: Attempt, _is_held: bool) {}

    /// Outstanding containers of a key at `Any`.
    fn outstanding(&self, attempt: Attempt, key: SchedulerKey) -> u32;

    /// Checks what is to go onto the blacklist.
    ///
    /// # Errors
    /// More than is kept for an application.
    fn check_blacklist(&self, _attempt: Attempt, _additions: &[&str]) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether a container lives and is the attempt's application's.
    fn has_container(&self, attempt: Attempt, container_id: &ContainerId) -> bool;

    /// Checks a release.
    ///
    /// # Errors
    /// A container of another application (or attempt, unless containers are kept).
    fn check_release(&self, attempt: Attempt, container_id: &ContainerId) -> Result<(), Refusal>;

    /// Gives a container back: it ends with −100, told by a [`AttemptEvent::Finished`]. Unknown ones are ignored.
    fn release(
        &mut self,
        now: Instant,
        attempt: Attempt,
        container_id: &ContainerId,
        out: &mut SchedulerOutput,
    );

    /// Takes back a grant that the AM has not seen and does not want any more: as a release, without an event.
    fn void(&mut self, now: Instant, attempt: Attempt, container_id: &ContainerId, out: &mut SchedulerOutput);

    /// Hosts and racks nothing is to be placed on for this application.
    fn update_blacklist(&mut self, attempt: Attempt, additions: &[&str], removals: &[&str]);

    /// A grant is on its way to the AM: ALLOCATED → ACQUIRED, its expiry begins. False when it has ended meanwhile.
    /// Said once per grant.
    fn acquire(&mut self, now: Instant, attempt: Attempt, container_id: &ContainerId) -> bool;

    /// The AM has seen the end of a container: the node may forget it.
    fn acknowledge(&mut self, node: NodeHandle, container_id: &ContainerId, out: &mut SchedulerOutput);

    /// Places what can be placed: called after a batch of allocates and events, before their answers are written.
    fn schedule(&mut self, now: Instant, out: &mut SchedulerOutput);

    /// What the application could still get in its queue, in the partitions it asks in.
    fn headroom(&self, attempt: Attempt) -> ResourceVector;

    /// Usable nodes of the partition its asks without a label go to.
    fn num_cluster_nodes(&self, attempt: Attempt) -> u32;

    /// How busy the whole cluster is: containers all applications still want, virtual cores there are. `None` = not told.
    fn enhanced_headroom(&self) -> Option<(u64, u64)> {
        None
    }

    /// The application's priority.
    fn priority(&self, attempt: Attempt) -> i32;

    /// Live containers the attempt has now, without AM containers: what earlier attempts left, and, where an unmanaged
    /// AM registers again, what it was granted itself.
    fn transferred_containers(&self, attempt: Attempt) -> Vec<Granted>;

    /// The node of a handle's row, whatever registration of it the handle names.
    fn node(&self, node: NodeHandle) -> Option<NodeView<'_>>;
}

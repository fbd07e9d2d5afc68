//! Containers and applications on one node: what runs, what is complete but not forgotten, who keeps the node busy.
//! Owned by: a row of the node table. Called by: `registration`, `heartbeat`, `node_command`, `node_report`.
//! Does not: tell the scheduler (the callers do, by what the methods return), judge whether a container may run.
//! Invariants: a container is live or completed, never both; `used` is the sum over live containers; the sum of the
//! applications' counts is at most the number of live containers; at most 64 applications are idle. Source: YARN RMNodeImpl.handleContainerStatus.

use std::collections::{BTreeMap, BTreeSet};

use heddle_wire::record::{
    ApplicationId, ArchivedContainerState, ArchivedContainerStatus, ArchivedExecutionType,
    ArchivedNmContainerStatus, ArchivedResource, ContainerId, ContainerState, ExecutionType,
};

use super::interner::{Interned, Interner};
use super::resource;
use crate::engine::event::Resource;
use crate::engine::time::Instant;

/// Applications remembered without containers and keep-alives. Beyond it the lowest id is forgotten.
///
/// Differs from YARN, which keeps them until the application ends: here a node that runs thousands of short
/// applications costs a bounded amount of memory. 64 idle applications are 3 KiB.
const IDLE_APPLICATIONS_MAX: usize = 64;

/// A container that is not complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    capability: Interned,
    /// The full report that last named it.
    round: u32,
    /// Its state.
    pub(super) state: ContainerState,
    /// Its execution type.
    pub(super) execution_type: ExecutionType,
}

#[derive(Clone, Copy, Debug, Default)]
struct Application {
    /// Live containers.
    containers: u32,
    /// Until when the node asks to keep its tokens.
    keep_alive_until: Option<Instant>,
}

impl Application {
    const fn is_idle(&self) -> bool {
        self.containers == 0 && self.keep_alive_until.is_none()
    }
}

/// A container in a heartbeat or a registration, the same shape for both.
#[derive(Clone, Copy)]
pub(super) struct Report<'a> {
    pub(super) container_id: ContainerId,
    pub(super) state: ContainerState,
    pub(super) execution_type: ExecutionType,
    pub(super) exit_status: i32,
    pub(super) capability: &'a ArchivedResource,
    pub(super) diagnostics: &'a str,
}

const fn state(archived: &ArchivedContainerState) -> ContainerState {
    match archived {
        ArchivedContainerState::New => ContainerState::New,
        ArchivedContainerState::Running => ContainerState::Running,
        ArchivedContainerState::Complete => ContainerState::Complete,
    }
}

/// An execution type as a peer sent it.
pub(super) const fn execution_type(archived: &ArchivedExecutionType) -> ExecutionType {
    match archived {
        ArchivedExecutionType::Guaranteed => ExecutionType::Guaranteed,
        ArchivedExecutionType::Opportunistic => ExecutionType::Opportunistic,
    }
}

impl<'a> From<&'a ArchivedContainerStatus> for Report<'a> {
    fn from(status: &'a ArchivedContainerStatus) -> Self {
        Self {
            container_id: status.container_id.to_native(),
            state: state(&status.state),
            execution_type: execution_type(&status.execution_type),
            exit_status: status.exit_status.to_native(),
            capability: &status.capability,
            diagnostics: &status.diagnostics,
        }
    }
}

impl<'a> From<&'a ArchivedNmContainerStatus> for Report<'a> {
    fn from(status: &'a ArchivedNmContainerStatus) -> Self {
        Self {
            container_id: status.container_id.to_native(),
            state: state(&status.container_state),
            execution_type: execution_type(&status.execution_type),
            exit_status: status.exit_status.to_native(),
            capability: &status.capability,
            diagnostics: &status.diagnostics,
        }
    }
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing the scheduler has to hear.
    None,
    /// First sight of a live container.
    Launched,
    /// First sight of a completion.
    Completed {
        /// The container was live before.
        was_live: bool,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NodeContainers {
    live: BTreeMap<ContainerId, Live>,
    completed: BTreeSet<ContainerId>,
    applications: BTreeMap<ApplicationId, Application>,
    /// Applications without containers and keep-alives.
    idle: BTreeSet<ApplicationId>,
    used_memory_mb: u64,
    used_virtual_cores: u64,
    /// Counts full reports.
    round: u32,
}

impl NodeContainers {
    /// Containers known, live and completed: what [`limits::CONTAINERS_PER_NODE_MAX`] bounds.
    ///
    /// [`limits::CONTAINERS_PER_NODE_MAX`]: heddle_wire::limits::CONTAINERS_PER_NODE_MAX
    pub(super) fn len(&self) -> usize {
        self.live.len() + self.completed.len()
    }

    /// True where nothing is worth keeping.
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.completed.is_empty() && self.applications.is_empty()
    }

    /// True if the container is known, live or completed.
    pub(super) fn is_known(&self, container_id: &ContainerId) -> bool {
        self.live.contains_key(container_id) || self.completed.contains(container_id)
    }

    /// True if the container is live.
    pub(super) fn is_live(&self, container_id: &ContainerId) -> bool {
        self.live.contains_key(container_id)
    }

    /// Memory and virtual cores of all live containers.
    pub(super) const fn used(&self) -> (u64, u64) {
        (self.used_memory_mb, self.used_virtual_cores)
    }

    /// Takes in what the node says of one container.
    pub(super) fn report(&mut self, report: &Report<'_>, resources: &mut Interner<Resource>) -> Change {
        let id = report.container_id;
        if report.state == ContainerState::Complete {
            let was_live = self.remove_live(&id, resources);
            if !self.completed.insert(id) {
                return Change::None;
            }
            self.remember_application(id.application_id());
            return Change::Completed { was_live };
        }
        if let Some(live) = self.live.get_mut(&id) {
            live.round = self.round;
            live.state = report.state;
            live.execution_type = report.execution_type;
            let old = resources.value(live.capability);
            if !resource::is_same(old, report.capability) {
                let capability = resource::from_archived(report.capability);
                self.used_memory_mb = self.used_memory_mb - old.memory_mb + capability.memory_mb;
                self.used_virtual_cores = self.used_virtual_cores - u64::from(old.virtual_cores)
                    + u64::from(capability.virtual_cores);
                resources.release(live.capability);
                live.capability = resources.intern(&capability, || capability.clone());
            }
            return Change::None;
        }
        if self.completed.contains(&id) {
            // Late news of a container whose end is known: the end stands.
            return Change::None;
        }
        let capability = resource::from_archived(report.capability);
        self.used_memory_mb += capability.memory_mb;
        self.used_virtual_cores += u64::from(capability.virtual_cores);
        let live = Live {
            capability: resources.intern(&capability, || capability.clone()),
            round: self.round,
            state: report.state,
            execution_type: report.execution_type,
        };
        self.live.insert(id, live);
        self.applications.entry(id.application_id()).or_default().containers += 1;
        self.idle.remove(&id.application_id());
        Change::Launched
    }

    /// Begins a full report: what it does not name is found by [`NodeContainers::finish_full_report`].
    pub(super) const fn begin_full_report(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Ends a full report: containers it did not name are complete now. Returns them with type and size.
    ///
    /// Source: YARN RMNodeImpl.findLostContainers ("Container was running but not reported from" the node).
    pub(super) fn finish_full_report(
        &mut self,
        resources: &mut Interner<Resource>,
    ) -> Vec<(ContainerId, ExecutionType, Resource)> {
        let lost: Vec<_> = self
            .live
            .iter()
            .filter(|(_, live)| live.round != self.round)
            .map(|(id, live)| (*id, live.execution_type, resources.value(live.capability).clone()))
            .collect();
        for (id, _, _) in &lost {
            self.remove_live(id, resources);
            self.completed.insert(*id);
        }
        lost
    }

    /// The node was told to forget a completed container and did.
    pub(super) fn forget_completed(&mut self, container_id: &ContainerId) {
        self.completed.remove(container_id);
    }

    fn remove_live(&mut self, id: &ContainerId, resources: &mut Interner<Resource>) -> bool {
        let Some(live) = self.live.remove(id) else { return false };
        let capability = resources.value(live.capability);
        self.used_memory_mb -= capability.memory_mb;
        self.used_virtual_cores -= u64::from(capability.virtual_cores);
        resources.release(live.capability);
        if let Some(application) = self.applications.get_mut(&id.application_id()) {
            application.containers = application.containers.saturating_sub(1);
            if application.is_idle() {
                self.become_idle(id.application_id());
            }
        }
        true
    }

    /// The node keeps state of an application.
    pub(super) fn remember_application(&mut self, application_id: ApplicationId) {
        if self.applications.contains_key(&application_id) {
            return;
        }
        self.applications.insert(application_id, Application::default());
        self.become_idle(application_id);
    }

    fn become_idle(&mut self, application_id: ApplicationId) {
        self.idle.insert(application_id);
        if self.idle.len() > IDLE_APPLICATIONS_MAX
            && let Some(oldest) = self.idle.pop_first()
        {
            self.applications.remove(&oldest);
        }
    }

    /// The node asks to keep an application's tokens until `until`. Bounded: applications beyond
    /// [`limits::APPLICATIONS_MAX`](heddle_wire::limits::APPLICATIONS_MAX) are not kept alive.
    pub(super) fn keep_alive(&mut self, application_id: ApplicationId, until: Instant) {
        let has_room = self.applications.len() < heddle_wire::limits::APPLICATIONS_MAX;
        if has_room || self.applications.contains_key(&application_id) {
            self.applications.entry(application_id).or_default().keep_alive_until = Some(until);
            self.idle.remove(&application_id);
        }
    }

    /// Forgets keep-alives that ran out.
    pub(super) fn expire_keep_alives(&mut self, now: Instant) {
        for (id, application) in &mut self.applications {
            if application.keep_alive_until.take_if(|until| *until <= now).is_some() && application.is_idle()
            {
                self.idle.insert(*id);
            }
        }
    }

    /// An application has ended: it keeps the node busy no longer. Its live containers are killed by the order that
    /// follows, and until then they do.
    pub(super) fn cleanup_application(&mut self, application_id: &ApplicationId) {
        self.applications.remove(application_id);
        self.idle.remove(application_id);
    }

    /// How many applications the node keeps state of.
    pub(super) fn application_count(&self) -> usize {
        self.applications.len()
    }

    /// True where nothing keeps a DECOMMISSIONING node: no live container, no keep-alive and (unless ignored) no
    /// application.
    pub(super) fn is_drained(&self, now: Instant, ignore_applications: bool) -> bool {
        let blocks = |application: &Application| {
            !ignore_applications || application.keep_alive_until.is_some_and(|until| until > now)
        };
        self.live.is_empty() && !self.applications.values().any(blocks)
    }

    /// What keeps a DECOMMISSIONING node, for people: containers first, at most `count_max` lines.
    pub(super) fn blockers(&self, now: Instant, ignore_applications: bool, count_max: usize) -> Vec<String> {
        let containers = self.live.keys().map(ToString::to_string);
        let applications = self.applications.iter().filter_map(|(id, application)| {
            if application.keep_alive_until.is_some_and(|until| until > now) {
                return Some(format!("{id} (keep-alive)"));
            }
            (!ignore_applications && application.containers == 0).then(|| id.to_string())
        });
        containers.chain(applications).take(count_max).collect()
    }

    /// What runs is written off; what is complete stays known, so that it is not told as complete again.
    pub(super) fn interrupt(&mut self, resources: &mut Interner<Resource>) {
        let completed = core::mem::take(&mut self.completed);
        core::mem::take(self).release(resources);
        self.completed = completed;
    }

    /// Gives back what it holds of the shared table.
    pub(super) fn release(self, resources: &mut Interner<Resource>) {
        for live in self.live.values() {
            resources.release(live.capability);
        }
    }

    /// Heap used, with the box it lies in; an estimate, B-trees being what they are.
    pub(super) fn heap_size(&self) -> usize {
        size_of::<Self>()
            + self.live.len() * (size_of::<ContainerId>() + size_of::<Live>()) * 3 / 2
            + self.completed.len() * size_of::<ContainerId>() * 3 / 2
            + self.applications.len() * (size_of::<ApplicationId>() + size_of::<Application>()) * 3 / 2
    }
}

#[cfg(test)]
mod tests {
    use heddle_wire::record::{ApplicationAttemptId, Resource as WireResource};

    use super::*;

    fn application(id: u32) -> ApplicationId {
        ApplicationId { cluster_timestamp: 1, id }
    }

    /// A report of a container of an application of its own.
    fn report(
        containers: &mut NodeContainers,
        resources: &mut Interner<Resource>,
        id: u32,
        state: ContainerState,
    ) -> Change {
        let bytes = rkyv::to_bytes::<rkyv::rancor::BoxedError>(&WireResource::new(10, 1)).unwrap();
        let capability = rkyv::access::<ArchivedResource, rkyv::rancor::BoxedError>(&bytes).unwrap();
        let application_attempt_id = ApplicationAttemptId { application_id: application(id), attempt_id: 1 };
        let report = Report {
            container_id: ContainerId { application_attempt_id, container_id: 1 },
            state,
            execution_type: ExecutionType::Guaranteed,
            exit_status: 0,
            capability,
            diagnostics: "",
        };
        containers.report(&report, resources)
    }

    #[test]
    fn idle_applications_are_bounded_and_busy_ones_are_not_forgotten() {
        let (mut containers, mut resources) = (NodeContainers::default(), Interner::new());
        let now = Instant::from_millis(1);
        for id in 0..100 {
            report(&mut containers, &mut resources, id, ContainerState::Running);
        }
        containers.keep_alive(application(100), Instant::from_millis(5));
        assert_eq!(containers.application_count(), 101);
        for id in 1_000..3_000 {
            containers.remember_application(application(id));
        }
        assert_eq!(containers.application_count(), 101 + IDLE_APPLICATIONS_MAX);
        for id in 0..100 {
            report(&mut containers, &mut resources, id, ContainerState::Complete);
            assert!(containers.idle.len() <= IDLE_APPLICATIONS_MAX);
        }
        assert_eq!(containers.application_count(), IDLE_APPLICATIONS_MAX + 1);
        assert!(!containers.is_drained(now, true), "the keep-alive holds it");
        containers.expire_keep_alives(Instant::from_millis(5));
        assert!(containers.is_drained(Instant::from_millis(5), true));
        assert!(!containers.is_drained(Instant::from_millis(5), false));
        assert_eq!(containers.used(), (0, 0));
    }

    #[test]
    fn an_end_is_told_once_and_stands() {
        let (mut containers, mut resources) = (NodeContainers::default(), Interner::new());
        assert_eq!(report(&mut containers, &mut resources, 1, ContainerState::New), Change::Launched);
        assert_eq!(report(&mut containers, &mut resources, 1, ContainerState::Running), Change::None);
        assert_eq!(containers.used(), (10, 1));
        assert_eq!(
            report(&mut containers, &mut resources, 1, ContainerState::Complete),
            Change::Completed { was_live: true }
        );
        assert_eq!(report(&mut containers, &mut resources, 1, ContainerState::Complete), Change::None);
        assert_eq!(
            report(&mut containers, &mut resources, 1, ContainerState::Running),
            Change::None,
            "late news"
        );
        assert_eq!((containers.used(), containers.len()), ((0, 0), 1));
    }
}

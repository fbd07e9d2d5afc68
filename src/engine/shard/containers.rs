//! Containers and applications on one node: what runs, what is complete but not forgotten, who keeps the node busy.
//! Owned by: a row of the node table. Called by: `registration`, `heartbeat`, `node_command`, `node_report`.
//! Does not: tell the scheduler (the callers do, by what the methods return), judge whether a container may run.
//! Invariants: a container is live or completed, never both; `used` is the sum over live containers; the sum of the
//! applications' counts is at most the number of live containers. Source: YARN RMNodeImpl.handleContainerStatus.

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
        self.remember_application(id.application_id());
        if let Some(application) = self.applications.get_mut(&id.application_id()) {
            application.containers += 1;
        }
        Change::Launched
    }

    /// Begins a full report: what it does not name is found by [`NodeContainers::finish_full_report`].
    pub(super) const fn begin_full_report(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Ends a full report: containers it did not name are complete now. Returns them with type and size.
    ///
    /// Source: YARN RMNodeImpl.findLostContainers ("Container was running but not reported from <node>").
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
        }
        true
    }

    /// The node keeps state of an application.
    pub(super) fn remember_application(&mut self, application_id: ApplicationId) {
        if self.applications.contains_key(&application_id) {
            return;
        }
        if self.applications.len() >= IDLE_APPLICATIONS_MAX {
            let idle = |application: &Application| {
                application.containers == 0 && application.keep_alive_until.is_none()
            };
            let mut idle_ids = self.applications.iter().filter(|(_, application)| idle(application));
            let oldest = idle_ids.next().map(|(id, _)| *id);
            if idle_ids.count() + 1 >= IDLE_APPLICATIONS_MAX {
                oldest.map(|id| self.applications.remove(&id));
            }
        }
        self.applications.insert(application_id, Application::default());
    }

    /// The node asks to keep an application's tokens until `until`. Bounded: applications beyond
    /// [`limits::APPLICATIONS_MAX`](heddle_wire::limits::APPLICATIONS_MAX) are not kept alive.
    pub(super) fn keep_alive(&mut self, application_id: ApplicationId, until: Instant) {
        self.remember_application(application_id);
        let kept = self.applications.len() <= heddle_wire::limits::APPLICATIONS_MAX;
        if let Some(application) = self.applications.get_mut(&application_id)
            && (kept || application.keep_alive_until.is_some())
        {
            application.keep_alive_until = Some(until);
        }
    }

    /// Forgets keep-alives that ran out.
    pub(super) fn expire_keep_alives(&mut self, now: Instant) {
        for application in self.applications.values_mut() {
            application.keep_alive_until = application.keep_alive_until.filter(|until| *until > now);
        }
    }

    /// An application has ended: it keeps the node busy no longer. Its live containers are killed by the order that
    /// follows, and until then they do.
    pub(super) fn cleanup_application(&mut self, application_id: &ApplicationId) {
        self.applications.remove(application_id);
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

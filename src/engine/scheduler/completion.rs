//! The end of containers, whoever ends them: node, ApplicationMaster, ResourceManager or time.
//! Owns: what follows from an end. Called by: node events, the door, removal of attempts, the tick; on the scheduler's
//! thread. Does not: decide that something ends. Invariants: an end frees queue, user and attempt at once and the node when
//! nothing runs there any more; it is told once; an ask whose container was never acquired is outstanding again.

use std::borrow::Cow;

use heddle_wire::record::{ContainerId, NodeHandle};

use super::Scheduler;
use super::attempt::Unacknowledged;
use super::container::{ContainerIndex, RmContainer, RmContainerEvent, RmContainerState, Transition};
use super::face::{AttemptEvent, Finished, SchedulerOutput};
use super::message::ApplicationEvent;
use crate::engine::event::{NodeCommand, NodeOrder};
use crate::engine::time::Instant;

/// Exit status of a container that ended with its node, was released, or expired.
pub(super) const ABORTED: i32 = -100;

/// Exit status of a container its application left behind.
pub(super) const KILLED_AFTER_APP_COMPLETION: i32 = -107;

/// How a container ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// What happens to it.
    pub(super) event: RmContainerEvent,
    /// YARN's number.
    pub(super) exit_status: i32,
    /// Why: mostly a sentence of ours, else what its node said.
    pub(super) diagnostics: Cow<'static, str>,
    /// Its node is gone, with everything on it.
    pub(super) is_node_gone: bool,
    /// The ApplicationMaster is not told: it never knew.
    pub(super) is_silent: bool,
}

impl Scheduler {
    /// Ends a live container. False where that cannot happen to it.
    pub(super) fn end(
        &mut self,
        now: Instant,
        index: ContainerIndex,
        ending: Ending,
        out: &mut SchedulerOutput,
    ) -> bool {
        let container = self.containers.get(index);
        let before = container.state;
        let Transition::To(_) = before.on(ending.event) else {
            self.counts.impossible += 1;
            out.notices.push(format!("container {} is {before:?}: {:?} ignored", container.id, ending.event));
            return false;
        };
        let (app, id) = (container.app, container.id);
        if let Some(app) = self.apps.get_mut(app) {
            app.containers.remove(&id);
        }
        self.end_taken(now, index, ending, out);
        true
    }

    /// The same, for one that can end so and was taken out of its application's list.
    pub(super) fn end_taken(
        &mut self,
        now: Instant,
        index: ContainerIndex,
        ending: Ending,
        out: &mut SchedulerOutput,
    ) {
        let container = self.containers.remove(index);
        let before = container.state;
        self.counts.completed += 1;
        self.counts.running -= u64::from(before == RmContainerState::Running);
        self.expirer.forget(index);
        let node = self.leave_node(now, (index, &container), &ending, out);
        let owner = self.uncharge(now, &container);
        let is_restored = before == RmContainerState::Allocated
            && matches!(ending.event, RmContainerEvent::Kill | RmContainerEvent::Expire)
            && !ending.is_silent;
        let Some(row) = owner else {
            if ending.event == RmContainerEvent::Finish {
                forget_on_node(node, container.id, out);
            }
            return;
        };
        if container.is_am {
            return self.end_of_am(row, &container, ending, node, out);
        }
        if is_restored {
            self.restore_ask(now, row, &container);
        }
        let is_on_node = ending.event == RmContainerEvent::Finish;
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        if is_on_node {
            attempt.unacknowledged.insert(container.id, node);
        }
        if !ending.is_silent {
            out.attempt_events.push(AttemptEvent::Finished(Finished {
                attempt: attempt.handle,
                container_id: container.id,
                node,
                exit_status: ending.exit_status,
                diagnostics: ending.diagnostics,
                resource: container.resource,
                was_restored: is_restored,
                is_on_node,
            }));
        }
    }

    fn end_of_am(
        &mut self,
        row: u32,
        container: &RmContainer,
        ending: Ending,
        node: NodeHandle,
        out: &mut SchedulerOutput,
    ) {
        if ending.event == RmContainerEvent::Finish {
            forget_on_node(node, container.id, out);
        }
        let host = self.nodes.get(container.node).map(|node| node.details.node_id.host.as_str().into());
        if let Some(attempt) = self.attempts.get_mut(row) {
            if let Some(am) = &mut attempt.am {
                am.container = None;
            }
            out.application_events.push(ApplicationEvent::AmContainerFinished {
                attempt_id: attempt.attempt_id,
                container_id: container.id,
                exit_status: ending.exit_status,
                diagnostics: ending.diagnostics.into(),
                host: host.unwrap_or_default(),
            });
        }
    }

    /// Takes a container off its node, or leaves its room booked until the node reports the end.
    fn leave_node(
        &mut self,
        now: Instant,
        (index, container): (ContainerIndex, &RmContainer),
        ending: &Ending,
        out: &mut SchedulerOutput,
    ) -> NodeHandle {
        let before = container.state;
        let Some(node) = self.nodes.get_mut(container.node) else { return NodeHandle(0) };
        let handle = node.handle;
        // A list of indices is a cache line or two: looking through it is cheaper than to tell another container that it
        // has moved.
        if let Some(place) = node.containers.iter().position(|other| *other == index) {
            node.containers.swap_remove(place);
        }
        let is_by_us = ending.event != RmContainerEvent::Finish && !ending.is_node_gone;
        if is_by_us && before >= RmContainerState::Acquired {
            let order = NodeOrder::CleanupContainer(container.id);
            out.node_commands.push(NodeCommand { node: handle, order, is_urgent: true });
        }
        if is_by_us && before == RmContainerState::Running {
            node.details.leaving.insert(container.id, container.resource.clone());
            return handle;
        }
        node.used.subtract(&container.resource);
        if !ending.is_node_gone {
            self.publish_free(now, container.node);
        }
        handle
    }

    /// Frees queue, user and attempt. Returns the attempt's row, if it is still there.
    fn uncharge(&mut self, now: Instant, container: &RmContainer) -> Option<u32> {
        let app = self.apps.get(container.app)?;
        let place = (app.queue, app.leaf_user);
        let owner = app.current;
        let number = container.partition;
        if let Some(attempt) = owner.and_then(|row| self.attempts.get_mut(row)) {
            attempt.share_mut(number).used.subtract(&container.resource);
            attempt.count_time(now, &container.resource, false);
        }
        let partition = &mut self.partitions[usize::from(number)];
        partition.charge(&self.queues, &self.measures, place, &container.resource, false);
        if let Some(row) = owner
            && self.is_fair(place.0)
        {
            self.reorder(row);
        }
        owner
    }

    /// What is free on a node is more than before, or may be used again.
    pub(super) fn publish_free(&mut self, now: Instant, index: u32) {
        let Some(node) = self.nodes.get(index) else { return };
        let number = usize::from(node.partition);
        if let Some(reservation) = node.reservation {
            self.reservations.note_room(reservation);
            self.partitions[number].is_dirty = true;
            return;
        }
        let free = self.placeable(index);
        let partition = &mut self.partitions[number];
        partition.raise_free(now, &self.queues, node.slot, (node.host, node.rack), free.as_ref());
    }

    /// Takes back containers whose time to be launched is over.
    pub(super) fn expire(&mut self, now: Instant, out: &mut SchedulerOutput) {
        while let Some((at, index)) = self.expirer.first() {
            if at > now {
                break;
            }
            let ending = Ending {
                event: RmContainerEvent::Expire,
                exit_status: ABORTED,
                diagnostics: "Container expired since it was unused".into(),
                is_node_gone: false,
                is_silent: false,
            };
            if !self.end(now, index, ending, out) {
                self.expirer.forget(index);
            }
        }
    }

    /// Tells nodes to forget the ends an attempt has not acknowledged.
    pub(super) fn forget_unacknowledged(ends: &Unacknowledged, out: &mut SchedulerOutput) {
        let mut ends: Vec<_> = ends.iter().map(|(container_id, node)| (*container_id, *node)).collect();
        // The order of a hash is nobody's: by id.
        ends.sort_unstable();
        for (container_id, node) in ends {
            forget_on_node(node, container_id, out);
        }
    }
}

/// Tells a node that the end of a container was delivered.
pub(super) fn forget_on_node(node: NodeHandle, container_id: ContainerId, out: &mut SchedulerOutput) {
    let order = NodeOrder::RemoveContainer(container_id);
    out.node_commands.push(NodeCommand { node, order, is_urgent: false });
}

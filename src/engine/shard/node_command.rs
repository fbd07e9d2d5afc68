//! Orders for nodes: kept per node in sequence until the node acknowledges them, carried by answers and pushes.
//! Owns: [`Outbound`], the order queue and stored answer of a node. Called by: the duty cycle, `heartbeat`, `registration`.
//! Does not: decide what to order, or when to push (`push` does). Thread: the shard's.
//! Invariants: sequences count from 1 in each registration; what is sent is always a prefix of what waits, so that one
//! number acknowledges it; a completed container is forgotten only when its RemoveContainer is acknowledged.

use std::collections::VecDeque;

use heddle_wire::limits::{
    COMMANDS_PER_ANSWER_MAX, COMMANDS_PER_NODE_MAX, LAUNCH_BYTES_PER_ANSWER_MAX, LAUNCH_CONTEXT_MAX,
};
use heddle_wire::record::{
    ArchivedContainerLaunchContext, AttemptHandle, ContainerId, ContainerLaunch, ContainerLaunchContext,
    ContainerUpdate, SignalContainer, TokenMac,
};
use heddle_wire::resource_tracker::NodeCommands;

use super::node_table::RowFlags;
use super::resource;
use super::rm_node::{RmNodeEvent, transition};
use super::{Outbox, Shard};
use crate::engine::event::{LaunchOrder, NodeCommand, NodeOrder};
use crate::engine::time::Instant;

/// Most launches waiting for one node. Each may hold a context of 64 KiB, so a node that does not acknowledge holds
/// 16 MiB at most; the densest nodes run a few dozen ApplicationMasters. Beyond it the order is handed back.
const LAUNCHES_PER_NODE_MAX: usize = 256;

/// What a launch is besides its texts, bytes, rounded up.
const LAUNCH_FRAME_SIZE: usize = 256;

/// What waits for a node, and its last answer where that was not a fixed one.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Orders not acknowledged, the one with sequence `first` in front.
    queue: VecDeque<NodeOrder>,
    /// Sequence of the front (or of the next order when empty), minus one: the highest acknowledged.
    acknowledged: u32,
    /// Highest sequence ever sent. A node cannot acknowledge more.
    sent: u32,
    /// When it was last pushed to, in liveliness time.
    pub(super) pushed_at: Option<Instant>,
    /// Launches in the queue.
    launches: usize,
    /// Body of the last answer.
    pub(super) stored_answer: Vec<u8>,
}

impl Outbound {
    /// Capacities kept when empty: orders, and bytes of the stored answer.
    const KEPT_ORDERS_MAX: usize = 64;
    const KEPT_BYTES_MAX: usize = 4_096;

    fn next_sequence(&self) -> u32 {
        self.acknowledged.saturating_add(self.queue.len() as u32)
    }

    /// Something waits that no answer or push has carried yet.
    pub(super) fn has_unsent(&self) -> bool {
        self.next_sequence() > self.sent
    }

    /// Numbers what waits anew, from 1: the sequence begins again with a registration.
    ///
    /// A signal that was sent may have been carried out without the acknowledgement having come; under a new number it
    /// would be carried out again, so it is dropped: signals are delivered at most once. A launch that was sent waits on
    /// unless the node says that it has the container.
    fn restart(&mut self, has_container: impl Fn(&ContainerId) -> bool) {
        let (mut sequence, sent) = (self.acknowledged, self.sent);
        self.queue.retain(|order| {
            sequence += 1;
            sequence > sent
                || match order {
                    NodeOrder::SignalContainer(..) => false,
                    NodeOrder::LaunchContainer(launch) => !has_container(&launch.container_id),
                    _ => true,
                }
        });
        self.launches =
            self.queue.iter().filter(|order| matches!(order, NodeOrder::LaunchContainer(_))).count();
        self.acknowledged = 0;
        self.sent = 0;
        self.pushed_at = None;
    }

    /// The longest prefix that fits an answer.
    pub(super) fn commands(&mut self) -> Option<Box<NodeCommands>> {
        if self.queue.is_empty() {
            return None;
        }
        let mut commands = NodeCommands::default();
        let mut sequence = self.acknowledged;
        let mut launches_size = 0;
        for order in &self.queue {
            let full = match order {
                NodeOrder::CleanupContainer(_) => commands.containers_to_cleanup.len(),
                NodeOrder::CleanupApplication(_) => commands.applications_to_cleanup.len(),
                NodeOrder::RemoveContainer(_) => commands.containers_to_be_removed_from_nm.len(),
                NodeOrder::SignalContainer(..) => commands.containers_to_signal.len(),
                NodeOrder::UpdateContainer { .. } => commands.containers_to_update.len(),
                NodeOrder::LaunchContainer(_) => commands.containers_to_launch.len(),
                NodeOrder::UpdateResource(_) => 0,
            };
            if full >= COMMANDS_PER_ANSWER_MAX {
                break;
            }
            if let NodeOrder::LaunchContainer(launch) = order {
                launches_size += launch_size(launch);
                // The first one always fits; it would wait for ever otherwise.
                if full > 0 && launches_size > LAUNCH_BYTES_PER_ANSWER_MAX {
                    break;
                }
            }
            sequence += 1;
            match order {
                NodeOrder::CleanupContainer(id) => commands.containers_to_cleanup.push(*id),
                NodeOrder::CleanupApplication(id) => commands.applications_to_cleanup.push(*id),
                NodeOrder::RemoveContainer(id) => commands.containers_to_be_removed_from_nm.push(*id),
                NodeOrder::SignalContainer(container_id, command) => commands
                    .containers_to_signal
                    .push(SignalContainer { sequence, container_id: *container_id, command: *command }),
                NodeOrder::UpdateContainer { container_id, version, capability, execution_type } => {
                    commands.containers_to_update.push(ContainerUpdate {
                        container_id: *container_id,
                        version: *version,
                        capability: resource::to_wire(capability),
                        execution_type: *execution_type,
                    });
                }
                NodeOrder::LaunchContainer(launch) => {
                    commands.containers_to_launch.extend(container_launch(sequence, launch));
                }
                // Never queued: a capability travels as an update.
                NodeOrder::UpdateResource(_) => {}
            }
        }
        commands.last_sequence = sequence;
        self.sent = self.sent.max(sequence);
        Some(Box::new(commands))
    }

    /// Heap used, with the box it lies in.
    pub(super) fn heap_size(&self) -> usize {
        let launches = self.queue.iter().map(|order| match order {
            NodeOrder::LaunchContainer(launch) => size_of::<LaunchOrder>() + launch.launch_context.len(),
            _ => 0,
        });
        size_of::<Self>()
            + self.queue.capacity() * size_of::<NodeOrder>()
            + launches.sum::<usize>()
            + self.stored_answer.capacity()
    }
}

/// What a launch takes in an answer, at most.
fn launch_size(launch: &LaunchOrder) -> usize {
    let extended = launch.resource.extended.iter().map(|item| item.name.len() + item.units.len() + 32);
    launch.launch_context.len() + launch.user.len() + extended.sum::<usize>() + LAUNCH_FRAME_SIZE
}

/// The record of a launch; `None` for a context that is none, which is not let into the queue.
fn container_launch(sequence: u32, launch: &LaunchOrder) -> Option<ContainerLaunch> {
    let launch_context =
        rkyv::from_bytes::<ContainerLaunchContext, rkyv::rancor::Error>(&launch.launch_context).ok()?;
    let token = |(key_id, mac): (u32, [u8; 32])| TokenMac { key_id, mac };
    Some(ContainerLaunch {
        sequence,
        container_id: launch.container_id,
        attempt_handle: AttemptHandle(launch.attempt),
        user: launch.user.to_string(),
        resource: resource::to_wire(&launch.resource),
        priority: launch.priority,
        token: token(launch.container_token),
        expires_at_ms: launch.expires_at_ms,
        am_rm_token: token(launch.am_rm_token),
        launch_context,
    })
}

/// What is wrong with a launch, if anything. Its context was checked when the application was submitted.
fn check_launch(launch: &LaunchOrder) -> Result<(), String> {
    let size = launch.launch_context.len();
    if size > LAUNCH_CONTEXT_MAX {
        return Err(format!("its context has {size} bytes, accepted are at most {LAUNCH_CONTEXT_MAX}"));
    }
    rkyv::access::<ArchivedContainerLaunchContext, rkyv::rancor::Error>(&launch.launch_context)
        .map(|_| ())
        .map_err(|error| format!("its context is no ContainerLaunchContext: {error}"))
}

impl Shard {
    /// Takes an order for a node. An order for a registration that has ended is dropped and counted, one that the
    /// node's state has no row for is dropped with a notice.
    ///
    /// A node that registered again and kept its containers still takes orders for its earlier handle.
    ///
    /// # Errors
    /// The order itself, when [`COMMANDS_PER_NODE_MAX`] wait for the node, or 256 launches.
    pub fn handle_node_command(
        &mut self,
        now: Instant,
        command: NodeCommand,
        out: &mut Outbox,
    ) -> Result<(), NodeCommand> {
        self.advance(now, out);
        let generation = command.node.generation();
        let row = self.table.row_of(command.node).filter(|row| {
            let current = self.table.hot[*row as usize].generation;
            let added = self.table.cold(*row).added_generation;
            // Generations wrap to 1, so "between" is asked around the circle.
            let is_between = if added <= current {
                (added..=current).contains(&generation)
            } else {
                generation >= added || generation <= current
            };
            self.table.hot[*row as usize].state.is_active() && is_between
        });
        let Some(row) = row else {
            self.counters.commands_dropped += 1;
            return Ok(());
        };
        let event = match &command.order {
            NodeOrder::CleanupContainer(_) => RmNodeEvent::CleanupContainer,
            NodeOrder::CleanupApplication(_) => RmNodeEvent::CleanupApplication,
            NodeOrder::RemoveContainer(_) => RmNodeEvent::FinishedContainersPulledByAm,
            NodeOrder::SignalContainer(..) => RmNodeEvent::SignalContainer,
            NodeOrder::UpdateContainer { .. } => RmNodeEvent::UpdateContainer,
            NodeOrder::LaunchContainer(_) => RmNodeEvent::LaunchContainer,
            NodeOrder::UpdateResource(_) => RmNodeEvent::ResourceUpdate,
        };
        if transition(self.table.hot[row as usize].state, event).is_none() {
            self.note_invalid(row, event, out);
            return Ok(());
        }
        if let NodeOrder::LaunchContainer(launch) = &command.order
            && let Err(text) = check_launch(launch)
        {
            self.counters.commands_dropped += 1;
            let container_id = launch.container_id;
            self.notice(out, true, Some(row), || format!("{container_id} is not launched: {text}"));
            return Ok(());
        }
        // Somebody waits for a process to start or to hear; nobody does for one to end, its place is free already.
        let is_awaited =
            !matches!(command.order, NodeOrder::CleanupContainer(_) | NodeOrder::CleanupApplication(_));
        if let NodeOrder::UpdateResource(capability) = &command.order {
            self.set_capability(row, capability.clone());
            self.tell_capability(row);
            self.table.hot[row as usize].flags.set(RowFlags::TELL_CAPABILITY);
        } else {
            let outbound = self.table.cold_mut(row).outbound.get_or_insert_default();
            if outbound.queue.len() >= COMMANDS_PER_NODE_MAX || outbound.next_sequence() == u32::MAX {
                return Err(command);
            }
            if let NodeOrder::LaunchContainer(_) = &command.order {
                if outbound.launches >= LAUNCHES_PER_NODE_MAX {
                    return Err(command);
                }
                outbound.launches += 1;
            }
            let cleanup = match &command.order {
                NodeOrder::CleanupApplication(id) => Some(*id),
                _ => None,
            };
            outbound.queue.push_back(command.order);
            if let (Some(id), Some(containers)) = (cleanup, self.table.cold_mut(row).containers.as_mut()) {
                containers.cleanup_application(&id);
            }
            self.table.hot[row as usize].flags.set(RowFlags::COMMANDS);
        }
        if command.is_urgent {
            self.push_later(row, is_awaited);
        }
        Ok(())
    }

    /// The commands an answer carries.
    pub(super) fn commands(&mut self, row: u32) -> Option<Box<NodeCommands>> {
        self.table.cold_mut(row).outbound.as_mut()?.commands()
    }

    /// The node has carried out everything up to `sequence`. More than was ever sent is taken as all that was sent.
    pub(super) fn acknowledge_commands(&mut self, row: u32, sequence: u32) {
        let cold = self.table.cold_mut(row);
        let Some(outbound) = cold.outbound.as_mut() else { return };
        let upto = sequence.min(outbound.sent);
        while outbound.acknowledged < upto {
            let Some(order) = outbound.queue.pop_front() else { break };
            outbound.acknowledged += 1;
            if let NodeOrder::LaunchContainer(_) = &order {
                outbound.launches -= 1;
            }
            if let (NodeOrder::RemoveContainer(id), Some(containers)) = (&order, cold.containers.as_mut()) {
                containers.forget_completed(id);
            }
        }
        if outbound.queue.is_empty() {
            outbound.queue.shrink_to(Outbound::KEPT_ORDERS_MAX);
            self.table.hot[row as usize].flags.clear(RowFlags::COMMANDS);
        }
    }

    /// Keeps the body of an answer for a duplicate of its beat.
    pub(super) fn store_answer(&mut self, row: u32, body: &[u8]) {
        let stored = &mut self.table.cold_mut(row).outbound.get_or_insert_default().stored_answer;
        stored.clear();
        stored.shrink_to(Outbound::KEPT_BYTES_MAX);
        stored.extend_from_slice(body);
        self.table.hot[row as usize].flags.set(RowFlags::STORED_ANSWER);
    }

    /// The node registered again and kept its containers: its orders wait on, numbered from 1. `has_container` says
    /// which containers it names.
    pub(super) fn restart_commands(&mut self, row: u32, has_container: impl Fn(&ContainerId) -> bool) {
        if let Some(outbound) = self.table.cold_mut(row).outbound.as_mut() {
            outbound.restart(has_container);
            outbound.stored_answer = Vec::new();
        }
        self.table.hot[row as usize].flags.clear(RowFlags::STORED_ANSWER);
    }
}

//! The scheduler as the ApplicationMasters' door uses it: the checks of asks and releases, and what is told back.
//! Owns: the implementation of [`ResourceScheduler`]. Called by: the door; on the scheduler's thread.
//! Does not: know sessions. Invariants: a refused row changes nothing; an attempt has at most [`Scheduler::ROWS_MAX`]
//! keys and as many rows of hosts and racks in all, and what one call adds when it is close to that.

use heddle_wire::RejectCode;
use heddle_wire::record::{ContainerId, NodeHandle};

use super::Scheduler;
use super::attempt::AttemptRow;
use super::completion::{ABORTED, Ending, forget_on_node};
use super::container::{ContainerIndex, RmContainerEvent, RmContainerState, Transition};
use super::demand::{AM_KEY, Row, RowPlace};
use super::face::{Ask, Granted, NodeView, Place, Refusal, ResourceScheduler, SchedulerKey, SchedulerOutput};
use super::message::Attempt;
use super::queue::QueueIndex;
use super::resource::{ResourceTypes, ResourceVector};
use crate::engine::event::Usability;
use crate::engine::time::Instant;

impl Scheduler {
    /// Most keys of an attempt, and most rows for hosts and racks of all of them together. An ApplicationMaster that asks for
    /// each of its tasks under a key of its own stays below; beyond, memory would be its to spend.
    pub const ROWS_MAX: usize = 131_072;

    /// Most hosts and racks on an application's blacklist.
    pub const BLACKLIST_MAX: usize = 16_384;

    /// Largest container of a leaf.
    fn maximum_of(&self, queue: QueueIndex) -> ResourceVector {
        let maximum = &self.measures.maximum;
        match &self.queues.settings(queue).maximum_allocation {
            Some(of_queue) => of_queue.component_min(maximum),
            None => maximum.clone(),
        }
    }

    /// The label of asks that name none.
    fn label_by_default(&self, of: &AttemptRow) -> &str {
        let of_app = self.apps.get(of.app).and_then(|app| app.node_label.as_deref());
        let of_queue = || self.queues.settings(of.queue).default_node_label_expression.as_deref();
        of_app.or_else(of_queue).unwrap_or_default()
    }

    /// The partition of asks that name no label.
    fn partition_by_default(&self, of: &AttemptRow) -> u16 {
        self.partition_of(self.label_by_default(of)).unwrap_or(0)
    }

    /// The partition an ask is for, and whether nobody named a label.
    fn partition_of_ask(&self, attempt: Attempt, ask: &Ask<'_>) -> Result<(u16, bool), Refusal> {
        let refuse = |message: String| Refusal { code: RejectCode::InvalidLabelResourceRequest, message };
        let Some(of) = self.attempts.by_handle(attempt) else { return Ok((0, true)) };
        let settings = self.queues.settings(of.queue);
        if ask.node_label.is_some_and(|label| !label.is_empty()) && ask.place != Place::Any {
            return Err(refuse(format!(
                "node_label_expression is {:?} on a row for a host or rack, accepted are labels on rows for any place",
                ask.node_label.unwrap_or_default()
            )));
        }
        let label = ask.node_label.unwrap_or_else(|| self.label_by_default(of));
        if label.is_empty() {
            return Ok((0, true));
        }
        if label.contains("&&") {
            return Err(refuse(format!("node_label_expression is {label:?}, accepted is one label")));
        }
        if !self.settings.node_labels_enabled {
            return Err(refuse(format!(
                "node_label_expression is {label:?}, and node labels are disabled: accepted is none"
            )));
        }
        let number = self.partition_of(label).filter(|number| *number != 0).ok_or_else(|| {
            refuse(format!("node_label_expression is {label:?}, which is not a label of the cluster"))
        })?;
        if !self.partitions[usize::from(number)].share(of.queue).capacity.is_accessible {
            return Err(refuse(format!(
                "node_label_expression is {label:?}, which queue {} may not use; accepted are {}",
                settings.path,
                settings.accessible_node_labels.as_ref().map_or("all".into(), |labels| labels.join(", "))
            )));
        }
        Ok((number, false))
    }

    fn container_of(&self, attempt: Attempt, id: &ContainerId) -> Option<ContainerIndex> {
        let of = self.attempts.by_handle(attempt)?;
        self.apps.get(of.app).filter(|app| app.application_id == id.application_id())?.containers.get(id)
    }

    /// What an attempt could still get in one partition: within its user's limit, its queue's and those above.
    fn headroom_in(&self, of: &AttemptRow, number: u16) -> ResourceVector {
        let partition = &self.partitions[usize::from(number)];
        let share = partition.share(of.queue);
        let leaf = share.leaf.as_deref().filter(|_| share.capacity.is_accessible);
        let Some(leaf) = leaf else { return ResourceVector::ZERO };
        let user = leaf.user(of.leaf_user);
        let (used, weight) =
            user.map_or((ResourceVector::ZERO, 1.0), |user| (user.used.clone(), user.weight));
        let limit = match &leaf.user_limit {
            Some(limit) => limit.clone(),
            None => partition.compute_user_limit(&self.queues, &self.measures, of.queue),
        };
        let limits = partition.limits(&self.queues, &self.measures, of.queue);
        let of_user = limits.weighted_user_limit(&limit, weight).minus(&used);
        let of_queue = limits.current_limit(&self.offered(partition, of.queue)).minus(&share.used);
        let room = of_user.component_min(&of_queue);
        let free = partition.total.minus(&partition.share(0).used);
        self.measures.calculator.round_down(&room, &self.measures.minimum).component_min(&free)
    }

    fn give_back(
        &mut self,
        now: Instant,
        attempt: Attempt,
        id: &ContainerId,
        is_silent: bool,
        out: &mut SchedulerOutput,
    ) {
        let Some(of) = self.attempts.by_handle(attempt) else { return };
        let app = self.apps.get_mut(of.app).filter(|app| app.application_id == id.application_id());
        let Some(app) = app else { return };
        // Taken out at once: a list of many containers is searched once.
        let Some(index) = app.containers.remove(id) else { return };
        let container = self.containers.get(index);
        let may_end = matches!(container.state.on(RmContainerEvent::Release), Transition::To(_));
        if container.is_am || !may_end {
            app.containers.insert(id, index);
            return;
        }
        let ending = Ending {
            event: RmContainerEvent::Release,
            exit_status: ABORTED,
            diagnostics: "Container released by application".into(),
            is_node_gone: false,
            is_silent,
        };
        self.end_taken(now, index, ending, out);
    }
}

impl ResourceScheduler for Scheduler {
    fn resource_types(&self) -> &ResourceTypes {
        &self.settings.resource_types
    }

    fn limits(&self, attempt: Attempt) -> Option<(ResourceVector, ResourceVector, &str)> {
        let of = self.attempts.by_handle(attempt)?;
        let settings = self.queues.settings(of.queue);
        Some((self.measures.minimum.clone(), self.maximum_of(of.queue), &settings.path))
    }

    fn check_ask(&self, attempt: Attempt, ask: &Ask<'_>) -> Result<(), Refusal> {
        let Some(of) = self.attempts.by_handle(attempt) else {
            return Err(Refusal {
                code: RejectCode::ApplicationAttemptNotFound,
                message: "the attempt is not known to the scheduler".into(),
            });
        };
        let refuse = |message: String| Refusal { code: RejectCode::InvalidResourceRequest, message };
        let most = self.maximum_of(of.queue);
        for (index, kind) in self.settings.resource_types.types().iter().enumerate() {
            let (asked, most) = (ask.capability.get(index), most.get(index));
            if asked > most {
                return Err(refuse(format!(
                    "capability: {} is {asked} (GREATER_THEN_MAX_ALLOCATION), accepted in queue {} are at most {most}",
                    kind.name,
                    self.queues.settings(of.queue).path
                )));
            }
        }
        self.partition_of_ask(attempt, ask)?;
        let is_full = ask.place != Place::Any && of.places >= Self::ROWS_MAX
            || of.asks.len() >= Self::ROWS_MAX && !of.asks.contains_key(&ask.key);
        if is_full && ask.count > 0 {
            return Err(refuse(format!(
                "asks: {} keys are outstanding and {} hosts and racks named, accepted are at most {} of each",
                of.asks.len(),
                of.places,
                Self::ROWS_MAX
            )));
        }
        if ask.key == AM_KEY {
            return Err(refuse(format!("priority is {}, accepted are larger ones", ask.key.priority)));
        }
        Ok(())
    }

    fn update_ask(&mut self, now: Instant, attempt: Attempt, ask: &Ask<'_>) {
        let Ok((partition, has_no_label)) = self.partition_of_ask(attempt, ask) else { return };
        let Some(of) = self.attempts.by_handle(attempt) else { return };
        let maximum = self.maximum_of(of.queue);
        if ask.place == Place::Any
            && ask.count > 0
            && !of.asked_in.contains(&partition)
            && let Some(of) = self.attempts.get_mut(attempt.row())
        {
            of.asked_in.push(partition);
        }
        let minimum = &self.measures.minimum;
        let size = self.measures.calculator.normalize(&ask.capability, minimum, &maximum, minimum);
        let place = match ask.place {
            Place::Any => RowPlace::Any,
            Place::Rack(rack) => RowPlace::Rack(self.racks.hold(rack)),
            Place::Host(host) => RowPlace::Host(self.hosts.hold(host)),
        };
        let row = Row {
            place,
            partition,
            has_no_label,
            size,
            count: ask.count,
            relax_locality: ask.relax_locality,
            is_am: false,
        };
        self.set_row(now, attempt.row(), ask.key, row);
    }

    fn hold_grants(&mut self, now: Instant, attempt: Attempt, is_held: bool) {
        if self.attempts.by_handle(attempt).is_none() {
            return;
        }
        let Some(of) = self.attempts.get_mut(attempt.row()) else { return };
        if of.held_since.is_some() == is_held {
            return;
        }
        of.held_since = is_held.then_some(now);
        let keys: Vec<SchedulerKey> = of.asks.keys().copied().collect();
        for key in keys {
            self.refresh_key(now, attempt.row(), key);
        }
    }

    fn outstanding(&self, attempt: Attempt, key: SchedulerKey) -> u32 {
        let of = self.attempts.by_handle(attempt);
        of.and_then(|of| of.asks.get(&key)).map_or(0, |ask| ask.count)
    }

    fn check_blacklist(&self, attempt: Attempt, additions: &[&str]) -> Result<(), Refusal> {
        let Some(of) = self.attempts.by_handle(attempt) else { return Ok(()) };
        let hosts = &of.blacklist.hosts;
        if hosts.len() + additions.len() <= Self::BLACKLIST_MAX {
            return Ok(());
        }
        let is_there = |name: &str| self.hosts.find(name).is_some_and(|host| hosts.contains(&host));
        let count = additions.iter().filter(|name| !is_there(name)).count();
        if hosts.len() + count <= Self::BLACKLIST_MAX {
            return Ok(());
        }
        Err(Refusal {
            code: RejectCode::InvalidResourceBlacklistRequest,
            message: format!(
                "blacklist_additions names {count} hosts and racks that are not on the blacklist, which has {}, accepted \
                 are {} in all",
                hosts.len(),
                Self::BLACKLIST_MAX
            ),
        })
    }

    fn has_container(&self, attempt: Attempt, container_id: &ContainerId) -> bool {
        self.container_of(attempt, container_id).is_some()
    }

    fn check_release(&self, attempt: Attempt, container_id: &ContainerId) -> Result<(), Refusal> {
        let refuse = |message: String| Refusal { code: RejectCode::InvalidContainerRelease, message };
        let Some(of) = self.attempts.by_handle(attempt) else {
            return Err(refuse("the attempt is not known to the scheduler".into()));
        };
        let theirs = container_id.application_attempt_id;
        if theirs.application_id != of.attempt_id.application_id {
            return Err(refuse(format!(
                "container {container_id} is of another application, accepted are those of {}",
                of.attempt_id.application_id
            )));
        }
        if theirs.attempt_id != of.attempt_id.attempt_id && !of.keeps_containers {
            return Err(refuse(format!(
                "container {container_id} is of another attempt, accepted are those of {}",
                of.attempt_id
            )));
        }
        Ok(())
    }

    fn release(
        &mut self,
        now: Instant,
        attempt: Attempt,
        container_id: &ContainerId,
        out: &mut SchedulerOutput,
    ) {
        self.give_back(now, attempt, container_id, false, out);
    }

    fn void(
        &mut self,
        now: Instant,
        attempt: Attempt,
        container_id: &ContainerId,
        out: &mut SchedulerOutput,
    ) {
        self.give_back(now, attempt, container_id, true, out);
    }

    fn update_blacklist(&mut self, attempt: Attempt, additions: &[&str], removals: &[&str]) {
        if self.attempts.by_handle(attempt).is_none() {
            return;
        }
        let Some(of) = self.attempts.get_mut(attempt.row()) else { return };
        // A name may be a host's or a rack's; each is one or the other.
        for name in additions {
            if of.blacklist.hosts.len() < Self::BLACKLIST_MAX {
                let host = self.hosts.hold(name);
                if !of.blacklist.hosts.insert(host) {
                    self.hosts.release(host);
                }
                let rack = self.racks.hold(name);
                if !of.blacklist.racks.insert(rack) {
                    self.racks.release(rack);
                }
            }
        }
        for name in removals {
            if let Some(host) = self.hosts.find(name)
                && of.blacklist.hosts.remove(&host)
            {
                self.hosts.release(host);
            }
            if let Some(rack) = self.racks.find(name)
                && of.blacklist.racks.remove(&rack)
            {
                self.racks.release(rack);
            }
        }
        if removals.is_empty() {
            return;
        }
        // What was set aside for the blacklist's sake may be placed now.
        let wanted: Vec<_> = of
            .shares
            .iter()
            .flat_map(|share| share.wanted.iter().map(|(shape, _)| (share.partition, *shape)))
            .collect();
        for (number, shape) in wanted {
            let partition = &mut self.partitions[usize::from(number)];
            if partition.shapes.take_walk(shape, (attempt.row(), false)).is_some_and(|walk| walk.is_out) {
                partition.restored.push((shape, attempt.row()));
                partition.is_dirty = true;
            }
        }
        let guests: Vec<_> = of.asks.values().flat_map(|ask| ask.guest_shapes.iter().copied()).collect();
        for (number, shape) in guests {
            let partition = &mut self.partitions[usize::from(number)];
            if partition.shapes.take_walk(shape, (attempt.row(), true)).is_some() {
                partition.is_dirty = true;
            }
        }
    }

    fn acquire(&mut self, now: Instant, attempt: Attempt, container_id: &ContainerId) -> bool {
        self.container_of(attempt, container_id).is_some_and(|index| self.acquire_container(now, index))
    }

    fn acknowledge(&mut self, node: NodeHandle, container_id: &ContainerId, out: &mut SchedulerOutput) {
        let app = self.apps.find(&container_id.application_id()).and_then(|app| self.apps.get(app));
        if let Some(attempt) = app.and_then(|app| app.current).and_then(|row| self.attempts.get_mut(row))
            && attempt.unacknowledged.get(container_id) == Some(&node)
        {
            attempt.unacknowledged.remove(container_id);
            forget_on_node(node, *container_id, out);
        }
    }

    fn schedule(&mut self, now: Instant, out: &mut SchedulerOutput) {
        self.activate(now, out);
        self.place_all(now, out);
    }

    fn headroom(&self, attempt: Attempt) -> ResourceVector {
        let Some(of) = self.attempts.by_handle(attempt) else { return ResourceVector::ZERO };
        if of.asked_in.is_empty() {
            return self.headroom_in(of, self.partition_by_default(of));
        }
        let mut headroom = ResourceVector::ZERO;
        for number in &of.asked_in {
            headroom.add(&self.headroom_in(of, *number));
        }
        headroom
    }

    fn num_cluster_nodes(&self, attempt: Attempt) -> u32 {
        let number = self.attempts.by_handle(attempt).map_or(0, |of| self.partition_by_default(of));
        self.partitions[usize::from(number)].usable_nodes
    }

    fn enhanced_headroom(&self) -> Option<(u64, u64)> {
        let virtual_cores = self.partitions.iter().map(|partition| partition.total.virtual_cores()).sum();
        Some((self.counts.pending, virtual_cores))
    }

    fn priority(&self, attempt: Attempt) -> i32 {
        let of = self.attempts.by_handle(attempt);
        of.and_then(|of| self.apps.get(of.app)).map_or(0, |app| app.priority)
    }

    fn transferred_containers(&self, attempt: Attempt) -> Vec<Granted> {
        let Some(of) = self.attempts.by_handle(attempt) else { return Vec::new() };
        let Some(app) = self.apps.get(of.app) else { return Vec::new() };
        let live = app.containers.in_order().into_iter().map(|index| self.containers.get(index));
        live.filter(|container| !container.is_am && container.state >= RmContainerState::Acquired)
            .filter_map(|container| {
                Some(Granted {
                    attempt,
                    container_id: container.id,
                    node: self.nodes.get(container.node)?.handle,
                    key: container.key,
                    resource: container.resource.clone(),
                })
            })
            .collect()
    }

    fn node(&self, node: NodeHandle) -> Option<NodeView<'_>> {
        let of = self.nodes.get(self.nodes.find(node)?)?;
        let state = match of.usability {
            Usability::Usable | Usability::Suspect => 2,
            Usability::Unhealthy => 3,
            Usability::Decommissioning => 7,
        };
        Some(NodeView {
            node_id: &of.details.node_id,
            http_port: of.details.http_port,
            rack_name: self.racks.name(of.rack),
            node_label: &self.partitions[usize::from(of.partition)].label,
            capability: &of.capability,
            used: &of.used,
            containers: of.container_count(),
            state,
        })
    }
}

//! Applications and attempts come and go.
//! Owns: what the application manager's commands do, besides queries and administration. Called by: `handle_command`; on
//! the scheduler's thread. Does not: check access, cap priorities, or know why an attempt ends.
//! Invariants: an application is counted in its leaf and every queue above it from Accepted to RemoveApplication; an
//! attempt that is removed leaves no ask, reservation or session; containers left to the next attempt stay charged.

use heddle_wire::RejectCode;
use heddle_wire::record::{ApplicationAttemptId, ApplicationId, ContainerId, SignalContainerCommand};

use super::attempt::{
    AmContainer, App, AppKey, AttemptRow, AttemptState, Blacklist, LiveContainers, Unacknowledged, node_place,
};
use super::completion::{ABORTED, Ending, KILLED_AFTER_APP_COMPLETION};
use super::container::{ContainerIndex, RmContainerEvent, RmContainerState, Transition};
use super::face::{AttemptEvent, Launch, SchedulerOutput};
use super::limits::{max_applications, max_applications_per_user};
use super::message::{AddApplication, AddAttempt, ApplicationEvent, LaunchAm, Usage};
use super::queue::QueueIndex;
use super::resource::ResourceVector;
use super::resource_sum::ResourceSum;
use super::settings::{Capacity, FindQueueError};
use super::{Scheduler, done, refuse};
use crate::engine::event::{NodeCommand, NodeOrder};
use crate::engine::node_set::NodeSet;
use crate::engine::time::Instant;

impl Scheduler {
    pub(super) fn add_application(&mut self, add: AddApplication, out: &mut SchedulerOutput) {
        let application_id = add.application_id;
        match self.admit(&add) {
            Ok(queue) => {
                let user = self.users.hold(&add.user);
                let weight = self.queues.weight_of(queue, &add.user);
                let Some(leaf) = self.queues.leaf_mut(queue) else { return };
                let leaf_user = leaf.user(user, weight);
                leaf.users[leaf_user as usize].applications += 1;
                self.queues.count(queue, |queue| {
                    queue.applications += 1;
                    queue.submitted += 1;
                });
                self.apps.insert(App {
                    application_id,
                    user,
                    queue,
                    leaf_user,
                    priority: add.priority,
                    node_label: add.node_label_expression,
                    submit_time_ms: add.submit_time_ms,
                    current: None,
                    left_blacklist: Blacklist::default(),
                    containers: LiveContainers::default(),
                    nodes: NodeSet::default(),
                });
                let queue = self.queues.settings(queue).path.clone();
                out.application_events.push(ApplicationEvent::Accepted { application_id, queue });
            }
            Err(reason) => {
                let reason = reason.into();
                out.application_events.push(ApplicationEvent::Rejected { application_id, reason });
            }
        }
    }

    /// The leaf of a new application, or why it is not admitted. In YARN's order.
    fn admit(&self, add: &AddApplication) -> Result<QueueIndex, String> {
        let id = add.application_id;
        if self.apps.find(&id).is_some() {
            return Err(format!("application {id} is known already"));
        }
        let tree = &self.queues.tree;
        if self.apps.len() as u64 >= u64::from(tree.maximum_applications) {
            return Err(format!(
                "Maximum system application limit reached ({}), cannot accept submission of application: {id}",
                tree.maximum_applications
            ));
        }
        let queue = tree.find(&add.queue).map_err(|error| match error {
            FindQueueError::Unknown => {
                format!(
                    "Application {id} submitted by user {} to unknown queue: {}; accepted are leaf queues, by path or \
                     by a last name that only one has",
                    add.user, add.queue
                )
            }
            FindQueueError::Ambiguous => format!(
                "Application {id} submitted by user {} to ambiguous queue: {}; use its full path",
                add.user, add.queue
            ),
        })?;
        let settings = self.queues.settings(queue);
        if !settings.is_leaf {
            return Err(format!(
                "Application {id} submitted by user {} to non-leaf queue: {}; accepted is a queue without children",
                add.user, settings.path
            ));
        }
        if let Some(stopped) = self.queues.stopped(queue) {
            let path = &self.queues.settings(stopped).path;
            return Err(format!(
                "Queue {path} is STOPPED, accepted is RUNNING. Cannot accept submission of application: {id}"
            ));
        }
        if let Some(label) = add.am_node_label.as_deref() {
            let partition = self.partition_of(label).map(|number| &self.partitions[usize::from(number)]);
            if partition.is_none_or(|partition| !partition.share(queue).capacity.is_accessible) {
                return Err(format!(
                    "Application {id} asks for its AM container with node label {label:?}, accepted is a label of the \
                     cluster that queue {} may use",
                    settings.path
                ));
            }
        }
        self.has_room_for_application(queue, &add.user)
            .map_err(|reason| format!("{reason} cannot accept submission of application: {id}"))?;
        Ok(queue)
    }

    /// Whether a leaf may have one more application of this user.
    pub(super) fn has_room_for_application(&self, queue: QueueIndex, user: &str) -> Result<(), String> {
        let settings = self.queues.settings(queue);
        let most = self.max_applications(queue);
        let count = self.queues.get(queue).applications;
        if count >= most {
            return Err(format!(
                "Queue {} already has {count} applications of at most {most},",
                settings.path
            ));
        }
        let most = max_applications_per_user(settings, most);
        let of_user = self
            .users
            .find(user)
            .and_then(|name| self.queues.leaf(queue)?.find_user(name))
            .and_then(|index| self.queues.leaf(queue)?.users.get(index as usize))
            .map_or(0, |user| user.applications);
        if of_user >= most {
            return Err(format!(
                "Queue {} already has {of_user} applications from user {user} of at most {most},",
                settings.path
            ));
        }
        Ok(())
    }

    /// Most applications of a leaf.
    ///
    /// What part of a partition an amount is nobody knows while it has no nodes. Until then it counts as all of it: after a
    /// restart applications come before nodes do.
    pub(super) fn max_applications(&self, queue: QueueIndex) -> u32 {
        let of = self.queues.get(queue);
        let is_in_amounts = |label: &str| {
            of.chain.iter().any(|queue| {
                let share = self.queues.settings(*queue).capacities.get(label);
                share.is_some_and(|share| matches!(share.capacity, Capacity::Absolute(_)))
            })
        };
        let shares =
            self.partitions.iter().filter(|partition| !partition.is_removed).filter_map(|partition| {
                let capacity = &partition.share(queue).capacity;
                let is_unknown = partition.total.is_zero() && is_in_amounts(&partition.label);
                let share = if is_unknown { 1.0 } else { capacity.absolute_capacity };
                capacity.is_accessible.then_some(share)
            });
        max_applications(&self.queues.tree, self.queues.settings(queue), shares)
    }

    pub(super) fn add_attempt(&mut self, now: Instant, add: AddAttempt, out: &mut SchedulerOutput) {
        let attempt_id = add.attempt_id;
        let Some(app_index) = self.apps.find(&attempt_id.application_id) else {
            out.notices.push(format!("attempt {attempt_id} of an application that is not admitted: ignored"));
            return;
        };
        let Some(app) = self.apps.get(app_index) else { return };
        if app.current.is_some() {
            out.notices.push(format!("attempt {attempt_id} while another is current: ignored"));
            return;
        }
        let (queue, leaf_user, user) = (app.queue, app.leaf_user, app.user);
        // Known when the application was admitted, and removed since. Anywhere else is not where it was to be.
        if let Some(label) = add.am.as_ref().map(|am| &am.node_label)
            && self.partition_of(label).is_none()
        {
            let reason = format!(
                "Attempt {attempt_id} asks for its AM container with node label {label:?}, which is not a label of the \
                 cluster; accepted is one of them, or none"
            );
            out.application_events
                .push(ApplicationEvent::AttemptRejected { attempt_id, reason: reason.into() });
            return;
        }
        let Some(handle) = self.attempts.reserve() else {
            out.notices.push(format!("attempt {attempt_id}: every row of the attempt table is taken"));
            return;
        };
        let row = handle.row();
        let am = add.am.as_ref().map(|am| AmContainer {
            size: self.settings.resource_types.to_vector(&am.capability),
            partition: self.partition_of(&am.node_label).unwrap_or(0),
            container: None,
        });
        let am_blacklist =
            add.am.iter().flat_map(|am| &am.blacklist).map(|host| self.hosts.hold(host)).collect::<Vec<_>>();
        let mut attempt = AttemptRow {
            handle,
            attempt_id,
            app: app_index,
            queue,
            leaf_user,
            state: AttemptState::NotRunnable { since: now, queue: None },
            keeps_containers: add.keep_containers,
            held_since: None,
            am,
            asks: std::collections::BTreeMap::new(),
            places: 0,
            asked_in: Vec::new(),
            shares: Vec::new(),
            blacklist: Blacklist::default(),
            am_blacklist: std::collections::BTreeSet::new(),
            last_container: 0,
            allocated: 0,
            resource_millis: vec![0; self.measures.types],
            unacknowledged: Unacknowledged::default(),
        };
        for host in am_blacklist {
            if !attempt.am_blacklist.insert(host) {
                self.hosts.release(host);
            }
        }
        let left = self.apps.get_mut(app_index).map(|app| core::mem::take(&mut app.left_blacklist));
        let left = left.unwrap_or_default();
        if add.transfer_from_previous {
            attempt.blacklist = left;
            for index in self.apps.get(app_index).into_iter().flat_map(|app| app.containers.in_order()) {
                let container = self.containers.get(index);
                attempt.share_mut(container.partition).used.add(&container.resource);
                attempt.count_time(now, &container.resource, true);
            }
        } else {
            self.forget_blacklist(&left);
        }
        let am = attempt.am.clone();
        self.attempts.insert(attempt);
        if let Some(app) = self.apps.get_mut(app_index) {
            app.current = Some(row);
        }
        self.set_app_key(row);
        out.attempt_events.push(AttemptEvent::Added {
            attempt_id,
            attempt: handle,
            user: self.users.name(user).into(),
            is_unmanaged: add.am.is_none(),
            keep_containers: add.keep_containers,
            acls: add.acls,
        });
        out.application_events.push(ApplicationEvent::AttemptAdded { attempt_id, attempt: handle });
        if let (Some(ask), Some(am)) = (&add.am, am) {
            self.ask_for_am(now, row, ask, am.partition, &am.size);
        }
        match self.parallel_limit(queue, user) {
            None => self.make_pending(now, row, queue, user),
            Some(limit) => {
                let key = self.pending_key(row);
                if let Some(attempt) = self.attempts.get_mut(row) {
                    attempt.state = AttemptState::NotRunnable { since: now, queue: limit };
                }
                if let Some(leaf) = self.queues.leaf_mut(queue) {
                    leaf.not_runnable.insert(key);
                }
            }
        }
    }

    /// An attempt's place in the lists of its leaf: by priority, then age, whatever the leaf's order of active ones.
    pub(super) fn pending_key(&self, row: u32) -> AppKey {
        let app = self.attempts.get(row).and_then(|attempt| self.apps.get(attempt.app));
        app.map_or(AppKey::default(), |app| AppKey::fifo(app.priority, app.application_id, row))
    }

    fn current_row(&self, attempt_id: ApplicationAttemptId) -> Option<u32> {
        let app = self.apps.get(self.apps.find(&attempt_id.application_id)?)?;
        app.current.filter(|row| self.attempts.get(*row).is_some_and(|it| it.attempt_id == attempt_id))
    }

    pub(super) fn unmanaged_ready(&mut self, attempt_id: ApplicationAttemptId, out: &mut SchedulerOutput) {
        if let Some(attempt) = self.current_row(attempt_id).and_then(|row| self.attempts.get(row)) {
            out.attempt_events.push(AttemptEvent::Ready(attempt.handle));
        }
    }

    /// The AM container may start: it is acquired, and the door orders it from its node.
    pub(super) fn launch_am(&mut self, now: Instant, launch: LaunchAm, out: &mut SchedulerOutput) {
        // Where it has ended meanwhile, the application manager has been told.
        let Some(row) = self.current_row(launch.attempt_id) else { return };
        let Some(attempt) = self.attempts.get(row) else { return };
        let Some(index) = attempt.am.as_ref().and_then(|am| am.container) else { return };
        if self.containers.get(index).id != launch.container_id {
            return;
        }
        let handle = attempt.handle;
        if !self.acquire_container(now, index) {
            return;
        }
        let container = self.containers.get(index);
        let Some(node) = self.nodes.get(container.node) else { return };
        out.attempt_events.push(AttemptEvent::Launch(Box::new(Launch {
            attempt: handle,
            container_id: container.id,
            node: node.handle,
            resource: container.resource.clone(),
            priority: 0,
            launch_context: launch.launch_context,
        })));
    }

    /// ALLOCATED → ACQUIRED: from now on its node has to report it in time.
    pub(super) fn acquire_container(&mut self, now: Instant, index: ContainerIndex) -> bool {
        let container = self.containers.get_mut(index);
        let Transition::To(state) = container.state.on(RmContainerEvent::Acquire) else { return false };
        let is_first = container.state == RmContainerState::Allocated;
        container.state = state;
        if is_first {
            let (app, node) = (container.app, container.node);
            self.expirer.watch(now + self.settings.allocation_expiry, index);
            if let (Some(app), Some(node)) = (self.apps.get_mut(app), self.nodes.get(node)) {
                app.nodes.insert(node_place(node.handle));
            }
        }
        true
    }

    pub(super) fn remove_attempt(
        &mut self,
        now: Instant,
        attempt_id: ApplicationAttemptId,
        keep_containers: bool,
        stop_am_container: bool,
        out: &mut SchedulerOutput,
    ) {
        let Some(row) = self.current_row(attempt_id) else {
            out.application_events
                .push(ApplicationEvent::AttemptRemoved { attempt_id, usage: Usage::default() });
            return;
        };
        let keys: Vec<_> =
            self.attempts.get(row).map(|attempt| attempt.asks.keys().copied().collect()).unwrap_or_default();
        for key in keys {
            self.remove_key(now, row, key);
        }
        let Some(attempt) = self.attempts.get(row) else { return };
        let am = attempt.am.as_ref().and_then(|am| am.container);
        let containers: Vec<ContainerIndex> =
            self.apps.get(attempt.app).map(|app| app.containers.in_order()).unwrap_or_default();
        for index in containers {
            let container = self.containers.get(index);
            let stays = if Some(index) == am || container.is_am {
                !stop_am_container && container.state >= RmContainerState::Acquired
            } else {
                keep_containers && container.state == RmContainerState::Running
            };
            if !stays {
                let ending = Ending {
                    event: RmContainerEvent::Kill,
                    exit_status: KILLED_AFTER_APP_COMPLETION,
                    diagnostics: "Container of a completed application attempt".into(),
                    is_node_gone: false,
                    is_silent: true,
                };
                self.end(now, index, ending, out);
            }
        }
        // Ending containers may have put back asks of their own.
        let keys: Vec<_> =
            self.attempts.get(row).map(|attempt| attempt.asks.keys().copied().collect()).unwrap_or_default();
        for key in keys {
            self.remove_key(now, row, key);
        }
        let usage = self.usage(now, row);
        self.leave_leaf(row);
        let Some(attempt) = self.attempts.remove(row) else { return };
        for host in &attempt.am_blacklist {
            self.hosts.release(*host);
        }
        Self::forget_unacknowledged(&attempt.unacknowledged, out);
        let mut blacklist = attempt.blacklist;
        if let Some(app) = self.apps.get_mut(attempt.app) {
            app.current = None;
            if keep_containers {
                core::mem::swap(&mut app.left_blacklist, &mut blacklist);
            }
        }
        self.forget_blacklist(&blacklist);
        out.attempt_events.push(AttemptEvent::Removed(attempt.handle));
        out.application_events.push(ApplicationEvent::AttemptRemoved { attempt_id, usage });
        self.let_run(now);
    }

    /// Releases the names of a blacklist that nobody takes over.
    fn forget_blacklist(&mut self, blacklist: &Blacklist) {
        for host in &blacklist.hosts {
            self.hosts.release(*host);
        }
        for rack in &blacklist.racks {
            self.racks.release(*rack);
        }
    }

    /// Takes an attempt out of the lists and sums of its leaf.
    pub(super) fn leave_leaf(&mut self, row: u32) {
        let key = self.pending_key(row);
        let Some(attempt) = self.attempts.get(row) else { return };
        let (queue, leaf_user, state) = (attempt.queue, attempt.leaf_user, attempt.state);
        let user = self.apps.get(attempt.app).map(|app| app.user);
        let am = match &attempt.am {
            Some(am) => (am.partition, am.size.clone()),
            None => (0, ResourceVector::ZERO),
        };
        let Some(leaf) = self.queues.leaf_mut(queue) else { return };
        let of_user = &mut leaf.users[leaf_user as usize];
        match state {
            AttemptState::NotRunnable { .. } => {
                leaf.not_runnable.remove(&key);
            }
            AttemptState::Pending { .. } => {
                leaf.pending.remove(&key);
                of_user.pending -= 1;
            }
            AttemptState::Active => {
                leaf.active -= 1;
                of_user.active -= 1;
                self.charge_am((queue, leaf_user), am.0, &am.1, false);
                self.count_demand(row, false);
            }
        }
        if !matches!(state, AttemptState::NotRunnable { .. }) {
            self.queues.count(queue, |queue| queue.running -= 1);
            if let Some(user) = user
                && let Some(running) = self.running_of_user.get_mut(&user)
            {
                *running -= 1;
                if *running == 0 {
                    self.running_of_user.remove(&user);
                }
            }
        }
        self.to_activate.insert(queue);
    }

    /// What an attempt used until now.
    pub(super) fn usage(&self, now: Instant, row: u32) -> Usage {
        let Some(attempt) = self.attempts.get(row) else { return Usage::default() };
        let types = &self.settings.resource_types;
        let (mut used, mut reserved, mut pending) =
            (ResourceVector::ZERO, ResourceVector::ZERO, ResourceSum::default());
        for share in &attempt.shares {
            used.add(&share.used.minus(&share.reserved));
            reserved.add(&share.reserved);
            pending.add_sum(&share.pending);
        }
        let seconds = |kind: usize| u64::try_from(attempt.used_until(now, kind) / 1_000).unwrap_or(u64::MAX);
        let calculator = self.measures.calculator;
        let partition = &self.partitions[0];
        let guarantee = &partition.share(attempt.queue).capacity.effective_min;
        let percent = |of: &ResourceVector| {
            let share = calculator.divide(&partition.total, &used, of).value() * 100.0;
            if share.is_finite() { share as f32 } else { 0.0 }
        };
        let app = self.apps.get(attempt.app);
        Usage {
            resource_seconds: types
                .types()
                .iter()
                .enumerate()
                .map(|(kind, of)| (of.name.clone(), seconds(kind)))
                .collect(),
            preempted_resource_seconds: Vec::new(),
            containers_allocated: attempt.allocated,
            containers_running: app.map_or(0, |app| app.containers.len() as u32),
            containers_reserved: attempt.asks.values().map(|ask| ask.reservations.len() as u32).sum(),
            queue_usage_percentage: percent(guarantee),
            cluster_usage_percentage: percent(&partition.total),
            used: types.to_resource(&used),
            reserved: types.to_resource(&reserved),
            pending: types.to_resource(&pending.to_vector()),
        }
    }

    pub(super) fn remove_application(
        &mut self,
        now: Instant,
        application_id: ApplicationId,
        out: &mut SchedulerOutput,
    ) {
        let Some(index) = self.apps.find(&application_id) else { return };
        if let Some(attempt) = self.apps.get(index).and_then(|app| self.attempts.get(app.current?)) {
            let attempt_id = attempt.attempt_id;
            self.remove_attempt(now, attempt_id, false, true, out);
        }
        let left = self.apps.get(index).map(|app| app.containers.in_order()).unwrap_or_default();
        for container in left {
            let ending = Ending {
                event: RmContainerEvent::Kill,
                exit_status: ABORTED,
                diagnostics: "Container of a completed application".into(),
                is_node_gone: false,
                is_silent: true,
            };
            self.end(now, container, ending, out);
        }
        let Some(app) = self.apps.remove(index) else { return };
        self.forget_blacklist(&app.left_blacklist);
        for place in app.nodes.iter() {
            let node = self.nodes.find(place);
            if let Some(node) = node.and_then(|node| self.nodes.get(node)) {
                debug_assert_eq!(node_place(node.handle), place, "rows and nodes agree");
                let order = NodeOrder::CleanupApplication(application_id);
                out.node_commands.push(NodeCommand { node: node.handle, order, is_urgent: false });
            }
        }
        self.queues.count(app.queue, |queue| queue.applications -= 1);
        if let Some(leaf) = self.queues.leaf_mut(app.queue) {
            leaf.users[app.leaf_user as usize].applications -= 1;
            leaf.forget_user(app.leaf_user);
        }
        self.users.release(app.user);
    }

    pub(super) fn update_priority(
        &mut self,
        token: u64,
        application_id: ApplicationId,
        priority: i32,
        out: &mut SchedulerOutput,
    ) {
        let Some(index) = self.apps.find(&application_id) else {
            return refuse(
                out,
                token,
                RejectCode::ApplicationNotFound,
                format!("application {application_id} is not known to the scheduler"),
            );
        };
        let row = self.apps.get(index).and_then(|app| app.current);
        let before = row.map(|row| self.pending_key(row));
        if let Some(app) = self.apps.get_mut(index) {
            app.priority = priority;
        }
        if let (Some(row), Some(before)) = (row, before) {
            let after = self.pending_key(row);
            let Some(attempt) = self.attempts.get(row) else { return };
            let (queue, handle) = (attempt.queue, attempt.handle);
            if let Some(leaf) = self.queues.leaf_mut(queue) {
                for list in [&mut leaf.pending, &mut leaf.not_runnable] {
                    if list.remove(&before) {
                        list.insert(after);
                    }
                }
            }
            self.reorder(row);
            out.attempt_events.push(AttemptEvent::Priority(handle, priority));
        }
        done(out, token, i64::from(priority));
    }

    pub(super) fn signal_container(
        &mut self,
        token: u64,
        container_id: ContainerId,
        command: SignalContainerCommand,
        out: &mut SchedulerOutput,
    ) {
        let app = self.apps.find(&container_id.application_id()).and_then(|app| self.apps.get(app));
        let index = app.and_then(|app| app.containers.get(&container_id));
        let node = index.and_then(|index| self.nodes.get(self.containers.get(index).node));
        let Some(node) = node else {
            return refuse(
                out,
                token,
                RejectCode::ContainerNotFound,
                format!("container {container_id} is not live"),
            );
        };
        let order = NodeOrder::SignalContainer(container_id, command);
        out.node_commands.push(NodeCommand { node: node.handle, order, is_urgent: true });
        done(out, token, 1);
    }
}

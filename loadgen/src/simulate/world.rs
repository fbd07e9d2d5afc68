//! The loop of a simulation: who has something to say now, who hears it, and when it goes on.
//! Owner: [`simulate`](super::simulate). Called by: it. Does not: contain a rule of the cluster.
//! Invariants: everything that is said at a moment is heard at that moment, in one order, before time goes on; time goes on
//! to the earliest of what is planned; a simulation in which nothing can happen any more ends.

use std::time::Duration;

use heddle::engine::application::{ApplicationManager, ApplicationOutput, StoreOperation};
use heddle::engine::batch::{AnswerBatch, Caller, FrameBatch, PeerId, StreamRef};
use heddle::engine::event::{LaunchOrder, NodeCommand, NodeEvent, NodeOrder};
use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::message::{ApplicationEvent, Query, QueryReply, SchedulerCommand};
use heddle::engine::scheduling::Scheduling;
use heddle::engine::time::Instant;
use heddle::store::{MemoryStore, StateStore as _};
use heddle_wire::application_client::ExplainApplicationResponse;
use heddle_wire::decode;
use heddle_wire::frame::Frame;
use heddle_wire::limits::PENDING_ASKS_PER_ANSWER_MAX;
use heddle_wire::record::{
    ApplicationId, AttemptHandle, ContainerId, ContainerLaunch, ContainerLaunchContext, NodeHandle, TokenMac,
};
use heddle_wire::token::{ContainerTokenIdentifier, Identifier as _, TokenKey};
use rkyv::rancor::BoxedError;

use super::nodes::{Nodes, to_engine, to_wire};
use super::series::Recorder;
use super::waiting::Reasons;
use super::{IDLE, SimulationOutcome, SimulationSpec, micros, outcome_of};
use crate::application::{
    AmExit, AmFleet, AmFleetSpec, AmPace, ClientSpec, ContainerStart, NoteKind, SimulatedClient,
};
use crate::driver::ApplicationsOutcome;
use crate::fleet::FleetCounters;

/// Nothing is ever lost on the way, so nothing has to be said again.
const RETRY_AFTER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Clients look again after this without being told that something changed, which they are.
const POLL: Duration = Duration::from_secs(7 * 86_400);

/// Looks at the queues between the first and the last submission; more when it takes longer.
const LOOKS: u64 = 200;

/// Frames written at a time.
const DUE_MAX: usize = 1_024;

/// Events an ApplicationMaster is pushed before it calls to say that it has them. The scheduler stops pushing at 4,096.
const UNSEEN_MAX: u64 = 1_024;

/// Lines for the operator that are kept.
const NOTICES_MAX: usize = 8;

/// Exit status of a container that was ordered to end. Source: YARN ContainerExitStatus.
const KILLED_BY_RESOURCEMANAGER: i32 = -106;

/// Exit status of a container whose application ended. Source: YARN ContainerExitStatus.
const KILLED_AFTER_APP_COMPLETION: i32 = -107;

/// Net threads of the streams: clients' and ApplicationMasters'.
const CLIENTS: u8 = 0;
const MASTERS: u8 = 1;

/// See the module.
pub(super) struct World<'a> {
    spec: &'a SimulationSpec,
    now_us: u64,
    scheduling: Scheduling<Scheduler>,
    manager: ApplicationManager,
    manager_output: ApplicationOutput,
    store: MemoryStore,
    nodes: Nodes,
    ams: AmFleet,
    client: SimulatedClient,
    /// By user.
    callers: Vec<Caller>,
    /// Applications by number of their id.
    by_id: Vec<Option<u32>>,
    key: TokenKey,
    recorder: Recorder,
    counters: FleetCounters,
    /// Events pushed to the ApplicationMaster of a slot since it called.
    unseen: Vec<u64>,
    /// When something last happened besides signs of life.
    progress_us: u64,
    steps: u64,
    notices: Vec<String>,
    // Reused:
    frames: FrameBatch,
    answers: AnswerBatch,
    pushes: AnswerBatch,
    bytes: Vec<u8>,
    due: Vec<u32>,
}

impl<'a> World<'a> {
    pub(super) fn new(spec: &'a SimulationSpec) -> Self {
        let (scheduler, manager, container_keys) = spec.settings();
        let (key_id, secret) = container_keys.current.unwrap_or_default();
        let queues = scheduler.queues.clone();
        let last_ms = spec.applications.last().map_or(0, |spec| spec.submit_ms);
        let client = SimulatedClient::new(ClientSpec {
            applications: spec.applications.clone(),
            poll_us: micros(POLL),
            queues_us: (last_ms.saturating_mul(1_000) / LOOKS).max(1_000_000),
            retry_after_us: micros(RETRY_AFTER),
        });
        let callers = client.users().iter().zip(1..);
        let caller = |(name, peer): (&std::sync::Arc<str>, u64)| Caller::new(PeerId(peer), name, false);
        let ams = AmFleetSpec {
            pace: AmPace::OnNews { idle_us: micros(IDLE) },
            churn: None,
            retry_after_us: micros(RETRY_AFTER),
            cancel_ppm: spec.cancel_ppm,
            applications: spec.applications.clone(),
        };
        Self {
            now_us: 0,
            scheduling: Scheduling::new(&scheduler, Scheduler::new(scheduler.clone())),
            manager: ApplicationManager::new(manager, queues),
            manager_output: ApplicationOutput::default(),
            store: MemoryStore::default(),
            nodes: Nodes::default(),
            ams: AmFleet::new(ams, spec.seed),
            callers: callers.map(caller).collect(),
            client,
            by_id: Vec::new(),
            key: TokenKey::new(key_id, &secret),
            recorder: Recorder::default(),
            counters: FleetCounters::default(),
            unseen: Vec::new(),
            progress_us: 0,
            steps: 0,
            notices: Vec::new(),
            frames: FrameBatch::default(),
            answers: AnswerBatch::default(),
            pushes: AnswerBatch::default(),
            bytes: Vec::new(),
            due: Vec::new(),
            spec,
        }
    }

    /// From the first submission to the end.
    pub(super) fn run(&mut self) {
        for index in 0..self.spec.nodes {
            self.node_event(Nodes::added(&self.spec.capacities, index));
        }
        self.client.begin(0);
        let until_us = self.spec.until.map_or(u64::MAX, micros);
        let patience_us = self.patience_us();
        loop {
            self.settle();
            self.steps += 1;
            if self.client.is_done() && self.ams.live() == 0 {
                break;
            }
            let Some(next_us) = self.next_us() else { break };
            if next_us > until_us {
                self.now_us = until_us;
                break;
            }
            // Signs of life go on for ever; what waits will wait for ever.
            let is_stuck = self.nodes.next_end_us().is_none()
                && next_us > self.progress_us.saturating_add(patience_us)
                && !self.client.has_more();
            if is_stuck {
                break;
            }
            self.now_us = next_us.max(self.now_us + 1);
        }
    }

    /// The longest time after which something may still happen by itself.
    fn patience_us(&self) -> u64 {
        let longest = |spec: &crate::workload::ApplicationSpec| {
            let groups = spec.groups.iter().map(|group| group.delay_ms).max().unwrap_or(0);
            let lifetime_ms = spec.lifetime_s.unwrap_or(0).saturating_mul(1_000);
            groups.max(spec.am.least_duration_ms).max(spec.am.start_ms).max(lifetime_ms)
        };
        let longest_ms = self.spec.applications.iter().map(|spec| longest(spec)).max().unwrap_or(0);
        longest_ms.saturating_mul(1_000).saturating_add(2 * micros(IDLE))
    }

    /// When something is planned next.
    fn next_us(&self) -> Option<u64> {
        // Deadlines are in nanoseconds, and are over at the first microsecond that is not before them.
        let deadlines = [self.scheduling.next_deadline(), self.manager.next_deadline()];
        let deadlines = deadlines.map(|deadline| deadline.map(|at| at.as_nanos().div_ceil(1_000)));
        let planned = [self.nodes.next_end_us(), self.ams.next_due_us(), self.client.next_due_us()];
        deadlines.into_iter().chain(planned).flatten().min()
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.now_us.saturating_mul(1_000))
    }

    /// Everything that is said at this moment, until nobody has anything to say.
    fn settle(&mut self) {
        let now = self.now();
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_over(self.scheduling.next_deadline()) {
            self.scheduling.handle_tick(now);
        }
        if is_over(self.manager.next_deadline()) {
            self.manager.handle_tick(now, &mut self.manager_output);
        }
        while let Some(event) = self.nodes.next_ended(self.now_us) {
            self.progress_us = self.now_us;
            self.node_event(event);
        }
        loop {
            let mut is_busy = self.clients_speak();
            is_busy |= self.masters_speak();
            is_busy |= self.end_step();
            is_busy |= self.manager_speaks();
            is_busy |= self.scheduler_speaks();
            is_busy |= self.masters_act();
            if !is_busy {
                break;
            }
        }
    }

    fn node_event(&mut self, event: NodeEvent) {
        let now = self.now();
        self.scheduling.handle_node_event(now, event);
    }

    /// Clients' frames to the application manager, and its answers.
    fn clients_speak(&mut self) -> bool {
        let (now, now_us) = (self.now(), self.now_us);
        let Self { client, frames, bytes, due, callers, .. } = self;
        frames.clear();
        due.clear();
        client.due(now_us, DUE_MAX, due);
        for application in due.drain(..) {
            bytes.clear();
            let Some(caller) = callers.get(client.user_of(application) as usize) else { continue };
            if client.write(application, now_us, bytes) {
                frames.push_from(bytes, StreamRef::new(CLIENTS, application, 1), caller);
            }
        }
        bytes.clear();
        if client.write_look(now_us, bytes)
            && let Some(caller) = callers.first()
        {
            frames.push_from(bytes, StreamRef::new(CLIENTS, 0, 1), caller);
        }
        if frames.is_empty() {
            return false;
        }
        let submitted = self.client.counters().submitted;
        let mut first = 0;
        while first < self.frames.len() {
            self.answers.clear();
            let output = &mut self.manager_output;
            first += self.manager.handle_frames(now, &self.frames, first, &mut self.answers, output);
            let answers = core::mem::take(&mut self.answers);
            self.clients_hear(&answers);
            self.answers = answers;
        }
        // A look at what waits is a sign of life, no progress.
        if self.client.counters().submitted > submitted {
            self.progress_us = now_us;
        }
        true
    }

    fn clients_hear(&mut self, answers: &AnswerBatch) {
        for answer in answers.answers() {
            let Ok(frame) = Frame::from_slice(answers.answer_bytes(answer)) else {
                self.counters.unexpected += 1;
                continue;
            };
            let Some(application) = self.client.handle_frame(self.now_us, &frame) else { continue };
            let id = self.client.id_of(application).id as usize;
            if id >= self.by_id.len() {
                self.by_id.resize(id + 1, None);
            }
            self.by_id[id] = Some(application);
        }
    }

    /// ApplicationMasters' frames to their door, and its answers.
    fn masters_speak(&mut self) -> bool {
        let (now, now_us) = (self.now(), self.now_us);
        let mut due = core::mem::take(&mut self.due);
        due.clear();
        self.ams.due(now_us, DUE_MAX, &mut due);
        // A slot may fall due again with each answer: those go with the next batch.
        let is_busy = !due.is_empty();
        self.frames.clear();
        for slot in due.drain(..) {
            self.bytes.clear();
            self.ams.write(slot, now_us, &mut self.bytes);
            if !self.bytes.is_empty() {
                self.frames.push(&self.bytes, StreamRef::new(MASTERS, slot, 1), PeerId(1));
                if let Some(unseen) = self.unseen.get_mut(slot as usize) {
                    *unseen = 0;
                }
            }
        }
        self.due = due;
        let mut first = 0;
        while first < self.frames.len() {
            self.answers.clear();
            first += self.scheduling.handle_frames(now, &self.frames, first, &mut self.answers);
            let answers = core::mem::take(&mut self.answers);
            self.masters_hear(&answers);
            self.answers = answers;
        }
        is_busy
    }

    fn masters_hear(&mut self, answers: &AnswerBatch) {
        let events = |ams: &AmFleet| {
            let counters = ams.counters();
            counters.grants + counters.completed + counters.released
        };
        for answer in answers.answers() {
            let Ok(frame) = Frame::from_slice(answers.answer_bytes(answer)) else {
                self.counters.unexpected += 1;
                continue;
            };
            let before = events(&self.ams);
            let heard = self.ams.handle_frame(self.now_us, &frame);
            let Some(slot) = heard.slot else { continue };
            let new = events(&self.ams) - before;
            if new > 0 {
                self.progress_us = self.now_us;
            }
            if slot as usize >= self.unseen.len() {
                self.unseen.resize(slot as usize + 1, 0);
            }
            let unseen = &mut self.unseen[slot as usize];
            *unseen += new;
            if *unseen >= UNSEEN_MAX {
                self.ams.call_now(slot, self.now_us);
            }
        }
    }

    /// Places what can be placed, and hands out the pushes.
    fn end_step(&mut self) -> bool {
        let now = self.now();
        let mut is_busy = false;
        loop {
            self.pushes.clear();
            self.scheduling.end_step(now, &mut self.pushes);
            let pushes = core::mem::take(&mut self.pushes);
            is_busy |= !pushes.is_empty();
            self.masters_hear(&pushes);
            self.pushes = pushes;
            if !self.scheduling.has_work() {
                return is_busy;
            }
            is_busy = true;
        }
    }

    /// What the application manager says: to clients, to the store, to the scheduler.
    fn manager_speaks(&mut self) -> bool {
        let now = self.now();
        let mut is_busy = false;
        let mut events = Vec::new();
        loop {
            let operations = core::mem::take(&mut self.manager_output.store_operations);
            if operations.is_empty() {
                break;
            }
            is_busy = true;
            self.store.apply(&operations, &mut events);
            for event in events.drain(..) {
                self.manager.handle_store_event(now, event, &mut self.manager_output);
            }
            for operation in &operations {
                if let StoreOperation::UpdateApplication { state, .. } = operation
                    && state.final_state.is_some()
                {
                    self.progress_us = self.now_us;
                    self.look_at(state.application_id);
                }
            }
        }
        let late = core::mem::take(&mut self.manager_output.late_answers);
        is_busy |= !late.is_empty();
        self.clients_hear(&late);
        let commands = core::mem::take(&mut self.manager_output.scheduler_commands);
        is_busy |= !commands.is_empty();
        for command in commands {
            if let SchedulerCommand::UnmanagedAttemptReady { attempt_id } = &command {
                self.look_at(attempt_id.application_id);
            }
            self.scheduling.handle_command(now, command);
        }
        let notices = core::mem::take(&mut self.manager_output.notices);
        notices.into_iter().for_each(|text| self.note(text));
        self.manager_output.clear();
        is_busy
    }

    /// Whoever submitted an application hears that it changed. Real clients ask every second, which costs and tells the same.
    fn look_at(&mut self, id: ApplicationId) {
        if let Some(application) = self.by_id.get(id.id as usize).copied().flatten() {
            self.client.look_at(application, self.now_us);
        }
    }

    /// What the scheduler says: to the application manager, to nodes.
    fn scheduler_speaks(&mut self) -> bool {
        let now = self.now();
        let output = self.scheduling.output();
        let events = core::mem::take(&mut output.application_events);
        let commands = core::mem::take(&mut output.node_commands);
        let notices = core::mem::take(&mut output.notices);
        let is_busy = !events.is_empty() || !commands.is_empty();
        notices.into_iter().for_each(|text| self.note(text));
        for event in events {
            self.manager.handle_application_event(now, event, &mut self.manager_output);
        }
        for command in commands {
            self.node_hears(command);
        }
        is_busy
    }

    fn node_hears(&mut self, command: NodeCommand) {
        let node = command.node;
        match command.order {
            NodeOrder::LaunchContainer(order) => self.launch(node, &order),
            NodeOrder::CleanupContainer(id) => self.kill(node, id, KILLED_BY_RESOURCEMANAGER),
            NodeOrder::CleanupApplication(id) => {
                for id in self.nodes.of_application(node, id) {
                    self.kill(node, id, KILLED_AFTER_APP_COMPLETION);
                }
            }
            NodeOrder::RemoveContainer(id) => {
                self.counters.containers_removed += 1;
                self.ams.container_removed(&id);
            }
            NodeOrder::SignalContainer(..)
            | NodeOrder::UpdateContainer { .. }
            | NodeOrder::UpdateResource(_) => self.counters.unexpected += 1,
        }
    }

    fn kill(&mut self, node: NodeHandle, id: ContainerId, exit_status: i32) {
        if let Some(event) = self.nodes.end(node, id, exit_status) {
            self.ams.container_killed(&id);
            self.node_event(event);
        }
    }

    fn launch(&mut self, node: NodeHandle, order: &LaunchOrder) {
        let token = |(key_id, mac): (u32, [u8; 32])| TokenMac { key_id, mac };
        let Ok(launch_context) =
            rkyv::from_bytes::<ContainerLaunchContext, BoxedError>(&order.launch_context)
        else {
            self.counters.unexpected += 1;
            return;
        };
        let launch = ContainerLaunch {
            sequence: 0,
            container_id: order.container_id,
            attempt_handle: AttemptHandle(order.attempt),
            user: order.user.to_string(),
            resource: to_wire(&order.resource),
            priority: order.priority,
            token: token(order.container_token),
            expires_at_ms: order.expires_at_ms,
            am_rm_token: token(order.am_rm_token),
            launch_context,
        };
        if let Some(event) = self.nodes.start(node, order.container_id, order.resource.clone(), None) {
            self.progress_us = self.now_us;
            self.node_event(event);
            self.ams.launch(self.now_us, node, &launch);
        }
    }

    /// What ApplicationMasters want of the nodes.
    fn masters_act(&mut self) -> bool {
        for launched in core::mem::take(&mut self.client.launched) {
            self.ams.start(self.now_us, launched);
        }
        let outbox = core::mem::take(&mut self.ams.outbox);
        let is_busy = !outbox.starts.is_empty() || !outbox.exits.is_empty();
        let masters = self.ams.live();
        for note in &outbox.notes {
            self.recorder.note(self.now_us, note.kind, note.since_us, masters);
        }
        outbox.starts.iter().for_each(|start| self.start(start));
        outbox.exits.iter().for_each(|exit| self.exit(exit));
        is_busy
    }

    fn start(&mut self, start: &ContainerStart) {
        let container = &start.container;
        let node_id = Nodes::node_id(&self.spec.capacities, container.node.row());
        let identifier = ContainerTokenIdentifier::of(container, &node_id, &start.user);
        self.counters.tokens_checked += 1;
        if !identifier.verify(&self.key, &container.token, &mut self.bytes) {
            // As a node: it starts nothing and says nothing; the scheduler takes the grant back in its time.
            self.counters.tokens_wrong += 1;
            return;
        }
        let end_us = self.now_us.saturating_add(start.duration_us);
        let size = to_engine(&container.resource);
        if let Some(event) = self.nodes.start(container.node, container.container_id, size, Some(end_us)) {
            let masters = self.ams.live();
            self.recorder.note(self.now_us, NoteKind::ContainerStart, start.granted_us, masters);
            self.node_event(event);
        }
    }

    fn exit(&mut self, exit: &AmExit) {
        self.progress_us = self.now_us;
        if let Some(event) = self.nodes.end(exit.node, exit.container_id, exit.exit_status) {
            self.node_event(event);
        }
    }

    fn note(&mut self, text: String) {
        if self.notices.len() < NOTICES_MAX && !self.notices.contains(&text) {
            self.notices.push(text);
        }
    }

    /// What waits, by reason: the scheduler is asked about every application that has not ended.
    fn waiting(&mut self) -> Reasons {
        let now = self.now();
        let mut reasons = Reasons::default();
        let live: Vec<ApplicationId> = self.client.live_ids().collect();
        for application_id in live {
            let query = Query::Explain { application_id, limit: PENDING_ASKS_PER_ANSWER_MAX };
            self.scheduling.handle_command(now, SchedulerCommand::Query { token: 0, query });
            let events = core::mem::take(&mut self.scheduling.output().application_events);
            let explanation = events.iter().find_map(|event| match event {
                ApplicationEvent::Reply { token: 0, reply: QueryReply::Record(record) } => {
                    decode::<ExplainApplicationResponse>(record).ok()
                }
                _ => None,
            });
            match explanation {
                Some(explanation) => reasons.count(&explanation),
                None => reasons.count_unknown(),
            }
        }
        reasons
    }

    /// What came of it.
    pub(super) fn finish(mut self) -> SimulationOutcome {
        let waiting = self.waiting().into_list();
        let is_done = self.client.is_done();
        let is_cut = self.spec.until.is_some();
        let end_us = if is_cut && !is_done { self.now_us } else { self.progress_us };
        let measured = Duration::from_micros(end_us);
        self.counters.containers_started = self.nodes.started;
        self.counters.containers_completed = self.nodes.completed;
        let applications = ApplicationsOutcome {
            masters: self.ams.counters().clone(),
            clients: self.client.counters().clone(),
            samples: self.client.samples().to_vec(),
            grants: 0,
            masters_live: u64::from(self.ams.live()),
            unanswered: 0,
            is_done,
        };
        SimulationOutcome {
            spec: self.spec.to_run(measured, !is_cut),
            run: outcome_of(self.counters, self.spec.nodes, measured, self.recorder, applications),
            waiting,
            notices: self.notices,
            steps: self.steps,
        }
    }
}

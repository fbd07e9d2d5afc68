//! The ResourceManager of a whole cluster: shards, scheduler, application manager, state store, and what is between them.
//! Owns: [`ResourceManager`], the rings between its roles; the part of [`World`] that steps them. Called by: the run's loop.
//! Does not: decide what goes wrong. Thread: the run's.
//! Invariants: what is between two roles keeps its order; a role takes a bounded part of what waits; everything a role
//! says is looked at by `checks` before anybody hears it.

use std::collections::VecDeque;

use heddle::engine::application::{
    ApplicationCommand, ApplicationManager, ApplicationOutput, StoreEvent, StoreOperation,
};
use heddle::engine::batch::{AnswerBatch, Caller, FrameBatch, PeerId, StreamRef};
use heddle::engine::event::{NodeCommand, NodeEvent, ShardCommand};
use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::message::{ApplicationEvent, SchedulerCommand};
use heddle::engine::scheduling::Scheduling;
use heddle::engine::shard::{Outbox, Shard};
use heddle::engine::time::Instant;
use heddle::store::{MemoryStore, StateStore};
use heddle_wire::frame::Frame;
use heddle_wire::opcode::Protocol;
use heddle_wire::record::NodeHandle;
use heddle_wire::{Opcode, decode};

use super::kinds::Happening;
use super::plan::Plan;
use super::world::{Link, World, tell};
use crate::describe;

/// Events that wait for the scheduler; shards keep the rest folded.
const EVENTS_MAX: usize = 4;

/// A role of the ResourceManager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Shard(usize),
    Scheduler,
    Application,
    Store,
}

/// A frame that waits for its role.
struct Incoming {
    bytes: Vec<u8>,
    stream: StreamRef,
    caller: Caller,
}

/// Frames on their way into a role.
#[derive(Default)]
struct Inbox {
    waiting: VecDeque<Incoming>,
    batch: FrameBatch,
    /// The first frame of `batch` that was not taken yet.
    first: usize,
}

impl Inbox {
    /// Fills the batch when it is used up. False when there is nothing.
    fn fill(&mut self, size: u64) -> bool {
        if self.first >= self.batch.len() {
            self.batch.clear();
            self.first = 0;
            for _ in 0..size {
                let Some(frame) = self.waiting.pop_front() else { break };
                self.batch.push_from(&frame.bytes, frame.stream, &frame.caller);
            }
        }
        self.first < self.batch.len()
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.first >= self.batch.len()
    }
}

struct ShardRole {
    shard: Shard,
    inbox: Inbox,
    commands: VecDeque<NodeCommand>,
    out: Outbox,
}

/// See the module.
pub(crate) struct ResourceManager {
    shards: Vec<ShardRole>,
    pub(super) scheduling: Scheduling<Scheduler>,
    masters: Inbox,
    node_events: VecDeque<NodeEvent>,
    scheduler_commands: VecDeque<SchedulerCommand>,
    pub(super) manager: ApplicationManager,
    clients: Inbox,
    application_events: VecDeque<ApplicationEvent>,
    store_events: VecDeque<StoreEvent>,
    pub(super) commands: VecDeque<ApplicationCommand>,
    pub(super) store: MemoryStore,
    operations: VecDeque<StoreOperation>,
    /// Frames of clients taken in and answers to them given.
    pub(super) calls: (u64, u64),
    /// Commands of administration taken in and replies to them.
    pub(super) told: (u64, u64),
    /// Nodes are held for asks that fit nowhere, since the scheduler's last step; for whose, only the scheduler knows.
    pub(super) holds_nodes: bool,
    /// By role: a step is planned.
    planned: Vec<bool>,
}

impl ResourceManager {
    pub(super) fn new(plan: &Plan) -> Self {
        let shards = plan.shards.iter().map(|settings| ShardRole {
            shard: Shard::new(settings.clone()),
            inbox: Inbox::default(),
            commands: VecDeque::new(),
            out: Outbox::default(),
        });
        let scheduler = Scheduler::new(plan.scheduler.clone());
        Self {
            shards: shards.collect(),
            scheduling: Scheduling::new(&plan.scheduler, scheduler),
            masters: Inbox::default(),
            node_events: VecDeque::new(),
            scheduler_commands: VecDeque::new(),
            manager: ApplicationManager::new(plan.application.clone(), plan.scheduler.queues.clone()),
            clients: Inbox::default(),
            application_events: VecDeque::new(),
            store_events: VecDeque::new(),
            commands: VecDeque::new(),
            store: MemoryStore::default(),
            operations: VecDeque::new(),
            calls: (0, 0),
            told: (0, 0),
            holds_nodes: false,
            planned: vec![false; 3 + plan.shards.len()],
        }
    }

    fn place(role: Role) -> usize {
        match role {
            Role::Scheduler => 0,
            Role::Application => 1,
            Role::Store => 2,
            Role::Shard(shard) => 3 + shard,
        }
    }

    /// True when the role's next step was not planned yet: it is to be now.
    pub(super) fn wake(&mut self, role: Role) -> bool {
        !core::mem::replace(&mut self.planned[Self::place(role)], true)
    }

    pub(super) fn is_planned(&self, role: Role) -> bool {
        self.planned[Self::place(role)]
    }

    fn deadlines(&self) -> impl Iterator<Item = (Role, Instant)> {
        let scheduler = (Role::Scheduler, self.scheduling.next_deadline());
        let application = (Role::Application, self.manager.next_deadline());
        let shards = self.shards.iter().enumerate();
        let shards = shards.map(|(shard, role)| (Role::Shard(shard), role.shard.next_deadline()));
        let deadlines = [scheduler, application].into_iter().chain(shards);
        deadlines.filter_map(|(role, deadline)| Some((role, deadline?)))
    }

    /// When a role has something to do by time alone that is not planned yet.
    pub(super) fn next_deadline_us(&self) -> Option<u64> {
        let waiting = self.deadlines().filter(|(role, _)| !self.is_planned(*role));
        waiting.map(|(_, deadline)| deadline.as_nanos().div_ceil(1_000)).min()
    }

    /// Roles whose deadline has come.
    pub(super) fn due_roles(&self, now_us: u64) -> Vec<Role> {
        let due = self.deadlines().filter(|(_, deadline)| deadline.as_nanos() <= now_us * 1_000);
        due.map(|(role, _)| role).collect()
    }

    /// True when nothing waits between the roles.
    pub(super) fn is_idle(&self) -> bool {
        self.masters.is_empty()
            && self.clients.is_empty()
            && self.node_events.is_empty()
            && self.scheduler_commands.is_empty()
            && self.application_events.is_empty()
            && self.store_events.is_empty()
            && self.commands.is_empty()
            && self.operations.is_empty()
            && !self.scheduling.has_work()
            && self.shards.iter().all(|role| {
                role.inbox.is_empty() && role.commands.is_empty() && !role.shard.has_node_events()
            })
    }
}

fn parse(bytes: &[u8]) -> Result<Frame<'_>, String> {
    Frame::from_slice(bytes).map_err(|error| error.to_string())
}

pub(super) const fn instant(now_us: u64) -> Instant {
    Instant::from_nanos(now_us * 1_000)
}

impl World {
    /// Whose certificate a peer's frames come under.
    pub(super) fn caller(&self, link: Link) -> Caller {
        let caller = |number: u64, name: &str, is_admin| Caller::new(PeerId(number), name, is_admin);
        match link {
            Link::Node(node) => caller(100 + u64::from(node), "node", false),
            Link::Master(slot) => {
                let user = self.masters.am(slot).map_or("ada", |am| &*am.spec().user);
                caller(if user == "ada" { 1 } else { 2 }, user, false)
            }
            Link::Client(user) => {
                let name = self.client.users().get(user as usize).map_or("ada", |name| &**name);
                caller(if name == "ada" { 1 } else { 2 }, name, false)
            }
            Link::Admin => caller(3, "root", true),
            Link::Stranger => caller(4, "eve", false),
        }
    }

    /// A frame arrives at the ResourceManager: to the role that has to answer it.
    pub(super) fn take_frame(
        &mut self,
        caller: Caller,
        stream: StreamRef,
        bytes: Vec<u8>,
    ) -> Result<(), String> {
        let header = Frame::from_slice(&bytes).map_err(|error| error.to_string())?.header;
        let shards = self.rm.shards.len() as u64;
        let role = match (header.opcode.protocol(), header.opcode) {
            (_, Opcode::RegisterNodeManager) => Role::Shard((header.routing_key % shards) as usize),
            (_, Opcode::NodeHeartbeat | Opcode::UnRegisterNodeManager) => {
                Role::Shard((u64::from(NodeHandle(header.routing_key).shard()) % shards) as usize)
            }
            (Protocol::ApplicationMaster, _) => Role::Scheduler,
            _ => Role::Application,
        };
        let incoming = Incoming { bytes, stream, caller };
        match role {
            Role::Shard(shard) => self.rm.shards[shard].inbox.waiting.push_back(incoming),
            Role::Scheduler => self.rm.masters.waiting.push_back(incoming),
            Role::Application | Role::Store => {
                self.rm.clients.waiting.push_back(incoming);
            }
        }
        self.plan_step(role);
        Ok(())
    }

    pub(super) fn step(&mut self, role: Role) -> Result<(), String> {
        self.rm.planned[ResourceManager::place(role)] = false;
        match role {
            Role::Shard(shard) => self.step_shard(shard),
            Role::Scheduler => self.step_scheduler(),
            Role::Application => self.step_application(),
            Role::Store => {
                self.step_store();
                Ok(())
            }
        }
    }

    fn send_all(&mut self, answers: &AnswerBatch) -> Result<(), String> {
        answers
            .answers()
            .iter()
            .try_for_each(|answer| self.send_to_peer(answer.stream, answers.answer_bytes(answer)))
    }

    fn step_shard(&mut self, shard: usize) -> Result<(), String> {
        let now = instant(self.now_us);
        let size = self.chance.between(1, self.plan.batch_max);
        let role = &mut self.rm.shards[shard];
        let mut answers = AnswerBatch::default();
        for _ in 0..64 {
            let Some(command) = role.commands.pop_front() else { break };
            if let Err(command) = role.shard.handle_node_command(now, command, &mut role.out) {
                return Err(format!("shard {shard} has no room for {command:?}"));
            }
        }
        if role.inbox.fill(size) {
            let inbox = &mut role.inbox;
            inbox.first +=
                role.shard.handle_frames(now, &inbox.batch, inbox.first, &mut answers, &mut role.out);
        }
        if role.shard.next_deadline().is_some_and(|deadline| deadline <= now) {
            role.shard.handle_tick(now, 100, &mut role.out);
        }
        let is_behind = !role.inbox.is_empty() || !role.commands.is_empty();
        self.send_all(&answers)?;
        self.after_shard(shard)?;
        if is_behind {
            self.plan_step(Role::Shard(shard));
        }
        Ok(())
    }

    /// Every shard is told.
    pub(super) fn command_shards(&mut self, command: impl Fn(u64) -> ShardCommand) -> Result<(), String> {
        let now = instant(self.now_us);
        for shard in 0..self.rm.shards.len() {
            self.serial += 1;
            let role = &mut self.rm.shards[shard];
            role.shard.handle_shard_command(now, command(self.serial), &mut role.out);
            self.after_shard(shard)?;
        }
        Ok(())
    }

    /// Pushes leave, events go to the scheduler as far as there is room.
    fn after_shard(&mut self, shard: usize) -> Result<(), String> {
        let out = &mut self.rm.shards[shard].out;
        let pushes = core::mem::take(&mut out.pushes);
        out.replies.clear();
        for notice in core::mem::take(&mut out.notices) {
            tell!(self, "shard {shard} notes: {}", notice.text);
        }
        self.send_all(&pushes)?;
        self.poll_shard(shard);
        Ok(())
    }

    fn poll_shard(&mut self, shard: usize) {
        while self.rm.node_events.len() < EVENTS_MAX {
            let Some(event) = self.rm.shards[shard].shard.poll_node_event() else { break };
            tell!(self, "shard {shard} says {}", describe::event(&event));
            self.rm.node_events.push_back(event);
        }
        if !self.rm.node_events.is_empty() {
            self.plan_step(Role::Scheduler);
        }
    }

    fn step_scheduler(&mut self) -> Result<(), String> {
        let now = instant(self.now_us);
        let (most, size) = (self.chance.between(1, 16), self.chance.between(1, self.plan.batch_max));
        let mut heard = 0;
        for _ in 0..most {
            let Some(command) = self.rm.scheduler_commands.pop_front() else { break };
            tell!(self, "scheduler is told {command:?}");
            self.books.command(&command);
            self.rm.scheduling.handle_command(now, command);
            self.hear(&mut heard);
        }
        let events = self.chance.between(1, 4);
        for _ in 0..events {
            let Some(event) = self.rm.node_events.pop_front() else { break };
            self.books.node_event(&event);
            self.rm.scheduling.handle_node_event(now, event);
            self.hear(&mut heard);
        }
        let (mut answers, mut pushes) = (AnswerBatch::default(), AnswerBatch::default());
        let rm = &mut self.rm;
        let mut asked = Vec::new();
        if rm.masters.fill(size) {
            let inbox = &mut rm.masters;
            let taken = rm.scheduling.handle_frames(now, &inbox.batch, inbox.first, &mut answers);
            if taken != answers.len() {
                return Err(format!("{taken} frames of ApplicationMasters, {} answers", answers.len()));
            }
            for (frame, answer) in inbox.batch.frames()[inbox.first..].iter().zip(answers.answers()) {
                if frame.stream != answer.stream {
                    return Err(format!("asked on {:?}, answered on {:?}", frame.stream, answer.stream));
                }
                asked.push((frame.stream, inbox.batch.frame_bytes(frame).to_vec()));
            }
            inbox.first += taken;
        }
        if rm.scheduling.next_deadline().is_some_and(|deadline| deadline <= now) {
            rm.scheduling.handle_tick(now);
        }
        rm.scheduling.end_step(now, &mut pushes);
        self.hear(&mut heard);
        let output = self.rm.scheduling.output();
        let commands = core::mem::take(&mut output.node_commands);
        let events = core::mem::take(&mut output.application_events);
        let notices = core::mem::take(&mut output.notices);
        for notice in notices {
            tell!(self, "scheduler notes: {notice}");
        }
        for command in &commands {
            self.seen.ordered(command)?;
        }
        for event in &events {
            tell!(self, "scheduler says {event:?}");
            self.seen.said(event, &mut self.tally);
        }
        for ((stream, asked), answer) in asked.iter().zip(answers.answers()) {
            let bytes = answers.answer_bytes(answer);
            let is_gone = !self.is_current(*stream);
            self.seen.master_answered(*stream, is_gone, asked, bytes, &mut self.tally)?;
            self.book_answer(asked, bytes)?;
        }
        for push in pushes.answers() {
            let bytes = pushes.answer_bytes(push);
            self.seen.pushed(bytes, &mut self.tally)?;
            self.book_events(bytes)?;
        }
        let totals = self.rm.scheduling.scheduler().totals();
        let is_held = totals.reserved_containers > 0;
        let was_held = core::mem::replace(&mut self.rm.holds_nodes, is_held);
        self.books.check_grants((was_held, is_held), &mut self.tally)?;
        self.send_all(&answers)?;
        self.send_all(&pushes)?;
        for command in commands {
            let shard = usize::from(command.node.shard());
            self.rm.shards[shard].commands.push_back(command);
            self.plan_step(Role::Shard(shard));
        }
        if !events.is_empty() {
            self.rm.application_events.extend(events);
            self.plan_step(Role::Application);
        }
        self.check_scheduler(&totals)?;
        (0..self.rm.shards.len()).for_each(|shard| self.poll_shard(shard));
        let rm = &self.rm;
        if rm.scheduling.has_work()
            || !rm.scheduler_commands.is_empty()
            || !rm.node_events.is_empty()
            || !rm.masters.is_empty()
        {
            self.plan_step(Role::Scheduler);
        }
        Ok(())
    }

    /// The books hear what the scheduler said so far in this step: what a command did is before what came of a node after it.
    fn hear(&mut self, heard: &mut usize) {
        let events = &self.rm.scheduling.output().application_events;
        events[*heard..].iter().for_each(|event| self.books.said(event));
        *heard = events.len();
    }

    /// What an answer to an ApplicationMaster means for the books.
    fn book_answer(&mut self, asked: &[u8], bytes: &[u8]) -> Result<(), String> {
        let (asked, answer) = (parse(asked)?, parse(bytes)?);
        if answer.header.flags.is_reject() {
            return Ok(());
        }
        let key = asked.header.routing_key;
        match asked.header.opcode {
            Opcode::Allocate => {
                let request = decode(asked.body()).map_err(|error| error.to_string())?;
                self.books.allocated(self.now_us, key, &request);
                self.book_events(bytes)
            }
            Opcode::FinishApplicationMaster => {
                self.books.finishing(key);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn book_events(&mut self, bytes: &[u8]) -> Result<(), String> {
        let frame = parse(bytes)?;
        let events = decode(frame.body()).map_err(|error| error.to_string())?;
        self.books.told(self.now_us, frame.header.routing_key, &events)
    }

    fn step_application(&mut self) -> Result<(), String> {
        let now = instant(self.now_us);
        let (most, size) = (self.chance.between(1, 16), self.chance.between(1, self.plan.batch_max));
        let Self { rm, .. } = self;
        let (mut answers, mut out) = (AnswerBatch::default(), ApplicationOutput::default());
        for _ in 0..most {
            let Some(event) = rm.application_events.pop_front() else { break };
            rm.manager.handle_application_event(now, event, &mut out);
        }
        for _ in 0..most {
            let Some(event) = rm.store_events.pop_front() else { break };
            rm.manager.handle_store_event(now, event, &mut out);
        }
        if let Some(command) = rm.commands.pop_front() {
            rm.told.0 += 1;
            rm.manager.handle_command(now, command, &mut out);
        }
        if rm.clients.fill(size) {
            let inbox = &mut rm.clients;
            let taken = rm.manager.handle_frames(now, &inbox.batch, inbox.first, &mut answers, &mut out);
            inbox.first += taken;
            rm.calls.0 += taken as u64;
        }
        if rm.manager.next_deadline().is_some_and(|deadline| deadline <= now) {
            rm.manager.handle_tick(now, &mut out);
        }
        rm.calls.1 += (answers.len() + out.late_answers.len()) as u64;
        rm.told.1 += out.replies.len() as u64;
        for line in out.notices.iter().chain(&out.audit).chain(&out.summaries) {
            tell!(self, "application manager: {line}");
        }
        for batch in [&answers, &out.late_answers] {
            for answer in batch.answers() {
                self.seen.client_answered(batch.answer_bytes(answer), &mut self.tally)?;
            }
            self.send_all(batch)?;
        }
        for reply in &out.replies {
            self.seen.replied(reply, &mut self.tally);
        }
        self.check_manager()?;
        if !out.scheduler_commands.is_empty() {
            self.rm.scheduler_commands.extend(out.scheduler_commands);
            self.plan_step(Role::Scheduler);
        }
        if !out.store_operations.is_empty() {
            self.rm.operations.extend(out.store_operations);
            self.plan_step(Role::Store);
        }
        let rm = &self.rm;
        if !rm.application_events.is_empty()
            || !rm.store_events.is_empty()
            || !rm.commands.is_empty()
            || !rm.clients.is_empty()
        {
            self.plan_step(Role::Application);
        }
        Ok(())
    }

    /// A group of operations is carried out, or fails as a whole.
    fn step_store(&mut self) {
        let size = (self.chance.between(1, 8) as usize).min(self.rm.operations.len());
        let group: Vec<StoreOperation> = self.rm.operations.drain(..size).collect();
        let fails = !self.is_healed && self.chance.hits(self.plan.store_fails_permille);
        let mut events = Vec::new();
        if fails {
            self.tally.hit(Happening::StoreFailed);
            group.iter().for_each(|operation| events.extend(failed(operation)));
            for event in &events {
                match event {
                    StoreEvent::ApplicationSaved { application_id, .. } => self.seen.touch(*application_id),
                    StoreEvent::AttemptSaved { attempt_id, .. } => self.seen.touch(attempt_id.application_id),
                    _ => {}
                }
            }
        } else {
            self.rm.store.apply(&group, &mut events);
            group.iter().for_each(|operation| self.seen.stored(operation));
        }
        for event in &events {
            tell!(self, "store says {event:?}");
            self.seen.refused(event);
        }
        self.rm.store_events.extend(events);
        self.plan_step(Role::Application);
        if !self.rm.operations.is_empty() {
            self.plan_step(Role::Store);
        }
    }
}

/// What a store that does not work acknowledges.
fn failed(operation: &StoreOperation) -> Option<StoreEvent> {
    use heddle::engine::application::message::StoreError;
    let error = || StoreError::Unavailable("out of order".into());
    Some(match operation {
        StoreOperation::SaveApplication(record) => StoreEvent::ApplicationSaved {
            application_id: record.submission.application_id,
            result: Err(error()),
        },
        StoreOperation::UpdateApplication { state, purpose } => StoreEvent::ApplicationUpdated {
            application_id: state.application_id,
            purpose: *purpose,
            result: Err(error()),
        },
        StoreOperation::SaveAttempt(record) => {
            StoreEvent::AttemptSaved { attempt_id: record.attempt_id, result: Err(error()) }
        }
        StoreOperation::UpdateAttempt { record, purpose } => StoreEvent::AttemptUpdated {
            attempt_id: record.attempt_id,
            purpose: *purpose,
            result: Err(error()),
        },
        StoreOperation::RemoveAttempt(id) => {
            StoreEvent::RemoveFailed { application_id: id.application_id, error: error() }
        }
        StoreOperation::RemoveApplication(id) => {
            StoreEvent::RemoveFailed { application_id: *id, error: error() }
        }
    })
}

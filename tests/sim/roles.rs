//! The ResourceManager's side of a run: its roles are stepped, asked, killed and started.
//! Owns: nothing; it is the part of [`Simulation`] that calls into the engine. Called by: the run's loop. Thread: the run's.
//! Does not: decide when. Invariants: time is observed before every call into a shard, and counters, pushes and (when
//! something may have changed) the listing are checked after it.

use heddle::engine::batch::{AnswerBatch, FrameBatch, PeerId, StreamRef};
use heddle::engine::shard::Outbox;
use heddle_wire::application_client::{GetClusterNodesRequest, GetClusterNodesResponse};
use heddle_wire::frame::Frame;
use heddle_wire::message::write_reject;
use heddle_wire::record::{NodeHandle, NodeReport};
use heddle_wire::{Flags, Message, Opcode, Reject, RejectCode, WriteMessage, decode, write_frame};

use crate::checkers::{Cause, ShardModel};
use crate::coverage::Kind;
use crate::describe;
use crate::resource_manager::{Incoming, ResourceManager, StepFaults};
use crate::simulation::{ADMIN, ADMIN_SLOT, Event, Simulation, trace};

impl Simulation {
    pub(crate) fn arrive_at_rm(
        &mut self,
        stream: StreamRef,
        bytes: Vec<u8>,
        peer: PeerId,
    ) -> Result<(), String> {
        if !self.rm.is_up {
            return Ok(());
        }
        let Ok(frame) = Frame::from_slice(&bytes) else { return Ok(()) };
        let header = frame.header;
        let shards = self.models.len() as u64;
        let shard = match header.opcode {
            Opcode::RegisterNodeManager => header.routing_key % shards,
            _ => u64::from(NodeHandle(header.routing_key).shard()) % shards,
        } as usize;
        if self.rm.offer(shard, Incoming { bytes, stream, peer }).is_err() {
            if !self.plan.answers_busy {
                self.coverage.hit(Kind::RingFullDrop);
                return Ok(());
            }
            self.coverage.hit(Kind::RingFullBusy);
            let mut reject = Reject::new(RejectCode::Busy, "the shard's queue is full");
            reject.retry_after_ms = 300;
            let mut answer = Vec::new();
            write_reject(&mut answer, header.opcode, header.correlation_id, header.routing_key, &reject);
            return self.send_to_node(stream, &answer);
        }
        self.plan_step(shard);
        Ok(())
    }

    pub(crate) fn plan_step(&mut self, shard: usize) {
        if !self.step_is_planned[shard] {
            self.step_is_planned[shard] = true;
            let after_us = self.chance.between(20, self.plan.step_us_max);
            self.schedule(after_us, Event::Step(shard));
        }
    }

    /// Before every call into a shard.
    pub(crate) fn observe_time(&mut self, shard: usize) {
        let now = self.rm.clock.now(self.now_us);
        self.models[shard].observe_time(now);
    }

    pub(crate) fn step(&mut self, shard: usize) -> Result<(), String> {
        self.step_is_planned[shard] = false;
        if !self.rm.is_up {
            return Ok(());
        }
        self.observe_time(shard);
        let faults = StepFaults {
            batch_max: self.plan.batch_max,
            has_first_offset: self.plan.has_first_offset && !self.is_healed,
            may_fill_answers: self.plan.may_fill_answers && !self.is_healed,
        };
        let taken = self.rm.step(self.now_us, shard, faults, &mut self.chance, &mut self.coverage);
        let role = &mut self.rm.roles[shard];
        let answers = core::mem::take(&mut role.answers);
        let given = answers.len() - role.first_answer;
        if given != taken || taken > role.batch.len() - role.first {
            return Err(format!("{taken} frames were taken and {given} answers given"));
        }
        let mut frames = Vec::with_capacity(taken);
        for (at, answer) in answers.answers().iter().skip(role.first_answer).enumerate() {
            let frame = role.batch.frames()[role.first + at];
            if answer.stream != frame.stream {
                return Err(format!("asked on {:?}, answered on {:?}", frame.stream, answer.stream));
            }
            frames.push((role.batch.frame_bytes(&frame).to_vec(), frame.peer, *answer));
        }
        role.first += taken;
        for (frame, peer, answer) in frames {
            let bytes = answers.answer_bytes(&answer);
            trace!(
                self,
                "shard {shard}: {} from {peer:?} -> {}",
                describe::frame(&frame),
                describe::frame(bytes)
            );
            self.models[shard].observe_answer(&frame, peer, bytes, &mut self.coverage)?;
            self.send_to_node(answer.stream, bytes)?;
        }
        self.rm.roles[shard].answers = answers;
        self.after_call(shard, Cause::Frames)?;
        self.tick_if_due(shard)?;
        if self.plan.inventory_us_max < 10_000 {
            self.poll_events(shard, 64)?;
        }
        if !self.rm.roles[shard].is_idle() {
            self.plan_step(shard);
        }
        Ok(())
    }

    pub(crate) fn tick(&mut self) -> Result<(), String> {
        (0..self.models.len()).try_for_each(|shard| self.tick_shard(shard))
    }

    /// As a shard's thread ends its cycle.
    pub(crate) fn tick_if_due(&mut self, shard: usize) -> Result<(), String> {
        let now = self.rm.clock.now(self.now_us);
        let deadline = self.rm.roles[shard].shard.next_deadline();
        if deadline.is_some_and(|deadline| deadline <= now) { self.tick_shard(shard) } else { Ok(()) }
    }

    fn tick_shard(&mut self, shard: usize) -> Result<(), String> {
        if !self.rm.is_up {
            return Ok(());
        }
        self.observe_time(shard);
        let busy_permille = self.chance.below(self.plan.busy_permille_max + 1) as u16;
        if busy_permille > 850 {
            self.coverage.hit(Kind::BusyThread);
        }
        let now = self.rm.clock.now(self.now_us);
        let role = &mut self.rm.roles[shard];
        role.out.pushes.clear();
        role.out.replies.clear();
        role.out.notices.clear();
        role.shard.handle_tick(now, busy_permille, &mut role.out);
        self.after_call(shard, Cause::Tick)?;
        self.models[shard].check_silence(2 * self.plan.tick_us_max / 1_000 + 200)
    }

    /// After every call into a shard: pushes leave, counters and listing are compared.
    pub(crate) fn after_call(&mut self, shard: usize, cause: Cause) -> Result<(), String> {
        let pushes = core::mem::take(&mut self.rm.roles[shard].out.pushes);
        for push in pushes.answers() {
            let bytes = pushes.answer_bytes(push);
            let is_push = Frame::from_slice(bytes).is_ok_and(|frame| frame.header.flags.is_push());
            if !is_push {
                return Err(format!("shard {shard} pushes {}", describe::frame(bytes)));
            }
            trace!(self, "shard {shard} pushes {}", describe::frame(bytes));
            self.send_to_node(push.stream, bytes)?;
        }
        if self.is_traced() {
            for notice in core::mem::take(&mut self.rm.roles[shard].out.notices) {
                self.say(format!("shard {shard} notes: {}", notice.text));
            }
        }
        let counters = self.rm.counters(shard);
        let is_wanted =
            cause == Cause::Admin || self.models[shard].wants_listing(&counters) || self.chance.hits(10);
        self.models[shard].observe_counters(counters, &mut self.coverage)?;
        if is_wanted {
            let nodes = self.list(shard)?;
            let lost = self.models[shard].observe_listing(&nodes, cause, &mut self.coverage)?;
            for node in lost {
                trace!(self, "node {node} is LOST");
                self.check_lease(node)?;
            }
        }
        Ok(())
    }

    /// All nodes of a shard, page by page, as a client asks for them.
    pub(crate) fn list(&mut self, shard: usize) -> Result<Vec<NodeReport>, String> {
        let mut nodes = Vec::new();
        let mut next_row = Some(0);
        while let Some(start_row) = next_row {
            let limit = *self.chance.pick(&[3, 100]);
            let request = GetClusterNodesRequest { start_row, limit, ..Default::default() };
            let page: GetClusterNodesResponse = self.ask(shard, &request)?;
            if page.nodes.len() > limit as usize || page.next_row.is_some_and(|next| next <= start_row) {
                return Err(format!("a page of {} nodes from {start_row}", page.nodes.len()));
            }
            nodes.extend(page.nodes);
            next_row = page.next_row;
        }
        Ok(nodes)
    }

    /// An administrator's or client's question, answered at once.
    pub(crate) fn ask<Q, A>(&mut self, shard: usize, request: &Q) -> Result<A, String>
    where
        Q: WriteMessage,
        A: Message,
        A::Archived: rkyv::Portable
            + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rkyv::rancor::Failure>>
            + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rkyv::rancor::BoxedError>>
            + rkyv::Deserialize<A, rkyv::api::high::HighDeserializer<rkyv::rancor::BoxedError>>,
    {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Flags::REQUEST, 5, NodeHandle::new(shard as u8, 0, 0).0, request);
        self.observe_time(shard);
        let now = self.rm.clock.now(self.now_us);
        let (mut batch, mut answers, mut out) =
            (FrameBatch::default(), AnswerBatch::default(), Outbox::default());
        batch.push(&bytes, StreamRef::new(0, ADMIN_SLOT, 1), ADMIN);
        let role = &mut self.rm.roles[shard];
        let taken = role.shard.handle_frames(now, &batch, 0, &mut answers, &mut out);
        if taken != 1 || answers.len() != 1 {
            return Err(format!("{taken} of one question taken, {} answers", answers.len()));
        }
        let frame = Frame::from_slice(answers.bytes()).map_err(|error| error.to_string())?;
        if frame.header.flags.is_reject() {
            return Err(format!("{} was rejected: {}", Q::OPCODE.name(), describe::frame(answers.bytes())));
        }
        self.rm.roles[shard].out.pushes = out.pushes;
        self.rm.roles[shard].out.notices = out.notices;
        decode(frame.body()).map_err(|error| error.to_string())
    }

    pub(crate) fn poll_events(&mut self, shard: usize, most: usize) -> Result<(), String> {
        let (view, is_traced) = (&mut self.view, self.trace.is_some());
        let mut told = Vec::new();
        let mut rows = Vec::new();
        let result = self.rm.poll_events(shard, most, &mut self.coverage, |event, coverage| {
            if is_traced {
                told.push(describe::event(event));
            }
            let row = event.node.row();
            if rows.contains(&row) {
                return Err(format!("two events of {} were outstanding", event.node));
            }
            rows.push(row);
            view.fold(event, coverage)
        });
        told.into_iter().for_each(|line| self.say(line));
        result
    }

    pub(crate) fn step_inventory(&mut self) -> Result<(), String> {
        if !self.rm.is_up {
            return Ok(());
        }
        let most = if self.is_healed { 64 } else { self.plan.inventory_most };
        if most == 1 {
            self.coverage.hit(Kind::SlowInventory);
        }
        for shard in 0..self.models.len() {
            let most = self.chance.below(most + 1) as usize;
            self.poll_events(shard, most)?;
        }
        let most = self.chance.below(most + 1) as usize;
        self.rm.step_inventory(self.now_us, most)?;
        for _ in 0..self.chance.below(64) {
            let Some((shard, command)) = self.rm.commands.pop_front() else { break };
            self.order(shard, command)?;
        }
        (0..self.models.len()).try_for_each(|shard| self.tick_if_due(shard))
    }

    /// Moves everything that waits between the roles. False when it does not come to an end: a node has to beat before its
    /// shard has room for another order.
    pub(crate) fn drain_rings(&mut self) -> Result<bool, String> {
        for _ in 0..1_000 {
            let mut is_idle = true;
            for shard in 0..self.models.len() {
                let before = self.coverage.events;
                self.poll_events(shard, 64)?;
                is_idle &= self.coverage.events == before;
            }
            self.rm.step_inventory(self.now_us, 64)?;
            let waiting = self.rm.commands.len();
            is_idle &= waiting == 0;
            for _ in 0..waiting {
                let Some((shard, command)) = self.rm.commands.pop_front() else { break };
                self.order(shard, command)?;
            }
            if is_idle {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The ResourceManager dies; nothing of it is left.
    pub(crate) fn kill_rm(&mut self) {
        if !self.rm.is_up {
            return;
        }
        trace!(self, "the ResourceManager dies");
        self.coverage.hit(Kind::RmDeath);
        self.rm.is_up = false;
        for node in 0..self.nodes.len() {
            self.network.drop_connection(node);
        }
        self.view.restart();
        self.cleanups.clear();
        let after_us = self.chance.between(1_000, 12_000_000);
        self.schedule(after_us, Event::StartRm);
    }

    pub(crate) fn start_rm(&mut self) {
        if self.rm.is_up {
            return;
        }
        let epoch = self.rm.epoch + 1;
        trace!(self, "ResourceManager {epoch} starts");
        for settings in &mut self.plan.settings {
            settings.rm_identifier += 60_000;
            settings.lists = heddle::engine::settings::NodeLists::default();
        }
        self.rm = ResourceManager::new(self.now_us, &self.plan.settings, epoch);
        self.models = self.plan.settings.iter().map(ShardModel::new).collect();
        self.suspended_until_us = 0;
        self.jumped_at_us = None;
        self.step_is_planned.fill(false);
        for node in 0..self.nodes.len() {
            self.nodes[node].fleet.note_restart();
            let after_us = self.chance.between(1_000, 1_000_000);
            self.schedule(after_us, Event::Connect(node));
        }
    }

    /// A node that the ResourceManager declares LOST has stopped its containers: the lease rule.
    pub(crate) fn check_lease(&mut self, node: usize) -> Result<(), String> {
        let longest =
            self.plan.settings[0].classes.iter().map(|class| class.lost_after.as_micros() as u64).max();
        let is_ahead = self.jumped_at_us.is_some_and(|at_us| at_us + longest.unwrap_or(0) > self.now_us);
        // A lease runs out by itself: whatever is due by now has happened.
        self.wake(node)?;
        let agent = &self.nodes[node];
        if agent.is_gone() || !agent.was_registered || is_ahead {
            return Ok(());
        }
        self.coverage.hit(Kind::LostUnderLease);
        let running = agent.fleet.digest(0).count;
        if running > 0 {
            let state = agent.fleet.state(0);
            return Err(format!("node {node} is LOST and runs {running} containers ({state:?})"));
        }
        Ok(())
    }
}

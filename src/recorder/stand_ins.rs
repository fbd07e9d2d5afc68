//! Stands where the scheduler and the application manager will.

use heddle_wire::message::write_reject;
use heddle_wire::{Reject, RejectCode};

use crate::engine::batch::{AnswerBatch, FrameBatch};
use crate::engine::event::NodeEvent;
use crate::engine::inventory::{Inventory, Totals};
use crate::engine::scheduler::face::SchedulerOutput;
use crate::engine::scheduler::message::SchedulerCommand;
use crate::engine::scheduler::settings::SchedulerSettings;
use crate::engine::time::Instant;

fn refuse(batch: &FrameBatch, first: usize, answers: &mut AnswerBatch) -> usize {
    let frames = batch.frames().get(first..).unwrap_or_default();
    for frame in frames {
        if let Some(parsed) = batch.frame(frame) {
            let header = parsed.header;
            let reject = Reject::new(
                RejectCode::NotSupportedYet,
                format!("{} is not supported yet", header.opcode.name()),
            );
            answers.push_with(frame.stream, |out| {
                write_reject(out, header.opcode, header.correlation_id, header.routing_key, &reject);
            });
        }
    }
    frames.len()
}

/// Scheduler.
#[derive(Debug, Default)]
pub struct Scheduling {
    inventory: Inventory,
    output: SchedulerOutput,
}

#[allow(
    missing_docs,
    clippy::missing_const_for_fn,
    clippy::needless_pass_by_value,
    clippy::unused_self,
    unused,
    reason = "stand-in"
)]
impl Scheduling {
    pub fn new(_settings: SchedulerSettings) -> Self {
        Self::default()
    }
    pub fn handle_frames(
        &mut self,
        _now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize {
        refuse(batch, first, answers)
    }
    pub fn handle_node_event(&mut self, now: Instant, event: NodeEvent) {
        self.inventory.handle_node_event(now, event, &mut self.output.node_commands);
    }
    pub fn handle_command(&mut self, _now: Instant, _command: SchedulerCommand) {}
    pub fn handle_tick(&mut self, now: Instant) {
        self.inventory.handle_tick(now, &mut self.output.node_commands);
    }
    pub fn end_step(&mut self, _now: Instant, _pushes: &mut AnswerBatch) {}
    pub fn output(&mut self) -> &mut SchedulerOutput {
        &mut self.output
    }
    pub fn next_deadline(&self) -> Option<Instant> {
        self.inventory.next_deadline()
    }
    pub fn wants_to_schedule(&self) -> bool {
        false
    }
    pub fn totals(&self) -> Totals {
        self.inventory.totals()
    }
}

//! One shard: the nodes whose routing key leads to it, their identity, liveliness, reports and pending orders.
//! Owner: the duty cycle it runs in (`rm-engine-N`, or the simulator). Called by: that duty cycle only.
//! Does not: read clocks, send anything, know connections beyond the [`StreamRef`](super::batch::StreamRef) to answer to.

use heddle_wire::record::NodeHandle;

use super::batch::{AnswerBatch, FrameBatch};
use super::event::{CommandReply, NodeCommand, NodeEvent, ShardCommand};
use super::settings::ShardSettings;
use super::time::Instant;

/// Most bytes of answers after which [`Shard::handle_frames`] stops and says how far it came.
pub const ANSWERS_SIZE_MAX: usize = 4 * 1024 * 1024;

/// What a shard says besides answers. Reused; the caller takes out what it passes on.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Answers nobody asked for, for any net thread.
    pub pushes: AnswerBatch,
    /// Replies to shard commands.
    pub replies: Vec<CommandReply>,
    /// Things an operator should read: brake engaged, node lost, registration refused, … Never one per beat.
    pub notices: Vec<Notice>,
}

/// Something worth a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it is worth a warning.
    pub is_warning: bool,
    /// Node, where it is about one.
    pub node: Option<NodeHandle>,
    /// Text.
    pub text: String,
}

/// Counters of a shard: plain integers, read by the duty cycle that publishes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// Beats applied.
    pub heartbeats_fresh: u64,
    /// Beats answered with the stored answer.
    pub heartbeats_duplicate: u64,
    /// Beats answered RESYNC.
    pub heartbeats_resync: u64,
    /// Beats answered SHUTDOWN.
    pub heartbeats_shutdown: u64,
    /// Registrations accepted.
    pub registrations: u64,
    /// Registrations refused.
    pub registrations_refused: u64,
    /// Frames refused, any reason.
    pub rejects: u64,
    /// Full reports asked for.
    pub full_reports_requested: u64,
    /// Pairs of state and event that are not in the table.
    pub invalid_transitions: u64,
    /// Nodes that became SUSPECT.
    pub suspects: u64,
    /// Nodes that became LOST.
    pub losses: u64,
    /// Times the brake engaged.
    pub brakes: u64,
    /// Orders for registrations that had ended.
    pub commands_dropped: u64,
    /// Steps of the clock backwards, or forwards past [`Shard::CLOCK_JUMP`].
    pub clock_jumps: u64,
    /// Nodes by state, in the order of `NodeState::ALL`.
    pub nodes_by_state: [u32; 8],
    /// Active nodes that are suspect now.
    pub suspects_now: u32,
    /// 1 while the brake holds.
    pub is_brake_engaged: bool,
    /// Containers that are not complete.
    pub running_containers: u64,
}

/// The shard's public face. See the module.
pub trait ShardApi {
    /// A shard with no nodes.
    fn new(settings: ShardSettings) -> Self;
    /// Takes frames in their order, from `first` on, answering into `answers`. Returns how many it took: fewer than
    /// all when `answers` passed [`ANSWERS_SIZE_MAX`].
    fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) -> usize;
    /// Takes an order for a node. Gives it back when the node's list is full.
    fn handle_node_command(
        &mut self,
        now: Instant,
        command: NodeCommand,
        out: &mut Outbox,
    ) -> Result<(), NodeCommand>;
    /// Takes a message for the shard.
    fn handle_shard_command(&mut self, now: Instant, command: ShardCommand, out: &mut Outbox);
    /// Time has passed: sweep, brake, deadlines, pacing. `busy_permille` is the share of time the shard's thread
    /// worked since the last tick.
    fn handle_tick(&mut self, now: Instant, busy_permille: u16, out: &mut Outbox);
    /// The next node's event, oldest first.
    fn poll_node_event(&mut self) -> Option<NodeEvent>;
    /// When [`ShardApi::handle_tick`] wants to be called next at the latest.
    fn next_deadline(&self) -> Option<Instant>;
    /// Counters.
    fn counters(&self) -> ShardCounters;
}

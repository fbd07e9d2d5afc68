//! One shard: the nodes whose routing key leads to it, their identity, liveliness, reports and pending orders.
//! Owner: the duty cycle it runs in (`rm-engine-N`, or the simulator). Called by: that duty cycle only.
//! Does not: read clocks, send anything, know connections beyond the [`StreamRef`](super::batch::StreamRef) to answer to.
//! Invariants: output is a function of the input sequence; every request gets exactly one answer; a frame from a peer
//! can neither panic nor grow a table past its bound; each file below says what else it holds.
//!
//! | file | what is in it |
//! |---|---|
//! | `node_table` | hot, warm and cold rows; the index by host:port; lists of inactive and free rows |
//! | `interner` | racks, versions, capabilities, label sets: kept once, counted |
//! | `rm_node` | the state machine as a table |
//! | `registration` | RegisterNodeManager and UnRegisterNodeManager |
//! | `heartbeat` | NodeHeartbeat |
//! | `containers` | what runs on a node |
//! | `node_event` | what the scheduler is told, one outstanding event per node |
//! | `node_command` | orders for nodes, until they are acknowledged |
//! | `push` | answers nobody asked for, and their pace |
//! | `liveliness` | time, SUSPECT, LOST, the brake |
//! | `decommission` | lists, leaving, coming back |
//! | `pacing` | interval and phase |
//! | `answer` | prepared answers, rejects |
//! | `node_report` | queries |

mod answer;
mod containers;
mod decommission;
mod heartbeat;
mod interner;
mod liveliness;
mod node_command;
mod node_event;
mod node_report;
mod node_table;
mod pacing;
mod push;
mod registration;
mod resource;
mod rm_node;

use std::collections::BTreeMap;

use heddle_wire::frame::{Frame, HEADER_SIZE, offset};
use heddle_wire::message::write_frame_error;
use heddle_wire::record::{NodeHandle, NodeState};
use heddle_wire::{FrameError, FrameHeader, Opcode, Reject, RejectCode};

use self::answer::Templates;
use self::decommission::Draining;
use self::heartbeat::ResyncSlots;
use self::interner::Interned;
use self::liveliness::{Brake, Sweep};
use self::node_event::DirtyRows;
use self::node_table::{NodeTable, RowFlags};
use self::pacing::Pacing;
use self::push::Pushes;
use self::rm_node::{RmNodeEvent, transition};
use super::batch::{AnswerBatch, FrameBatch, FrameRef};
use super::event::{CommandReply, RemovedReason, ShardCommand};
use super::settings::ShardSettings;
use super::time::{Duration, Instant};

pub use super::batch::ANSWERS_SIZE_MAX;

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

/// Frames whose rows are brought in before the first of them is processed. 64 rows are 6 KiB of a 32 KiB cache, and
/// more misses than a core keeps in flight.
const WINDOW: usize = 64;

/// Notices between two refills, per second: a peer that is refused a thousand times a second does not fill the log.
const NOTICES_PER_SECOND: u64 = 100;

/// The nodes of one shard and their rules. See the module.
///
/// Time is an argument of every `handle_*`. What happened goes in, answers come out in `answers`, everything else in an
/// [`Outbox`]; events for the scheduler wait for [`Shard::poll_node_event`].
#[derive(Debug)]
pub struct Shard {
    settings: ShardSettings,
    /// Leases of the classes, milliseconds.
    lease_ms: Box<[u32]>,
    /// A roll-over of keys is pending.
    has_next_keys: bool,
    table: NodeTable,
    templates: Templates,
    dirty: DirtyRows,
    draining: Draining,
    pacing: Pacing,
    sweep: Sweep,
    brake: Brake,
    resync_slots: ResyncSlots,
    pushes: Pushes,
    /// Active rows.
    active: u32,
    /// RUNNING nodes by capability.
    running_by_capability: BTreeMap<Interned, u32>,
    /// Share of the cluster's virtual cores in use.
    cluster_load_permille: u16,
    /// The latest time believed.
    now: Instant,
    /// The time last told, believed or not.
    told_now: Instant,
    /// Time taken out of liveliness time.
    slept: Duration,
    counters: ShardCounters,
    /// Notices that may be said before the next refill, in thousandths.
    notice_budget: u64,
    notices_suppressed: u64,
}

impl Shard {
    /// A gap between two steps beyond which the shard takes itself, not the nodes, to have been away.
    pub const CLOCK_JUMP: Duration = Duration::from_secs(5);

    /// A shard with no nodes.
    #[must_use]
    pub fn new(settings: ShardSettings) -> Self {
        let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let rows_max = settings.nodes_max.min(heddle_wire::limits::ROWS_PER_SHARD_MAX);
        let mut shard = Self {
            lease_ms: settings.classes.iter().map(|class| ms(class.lost_after)).collect(),
            has_next_keys: settings.container_token_keys.next.is_some()
                || settings.nm_token_keys.next.is_some(),
            table: NodeTable::new(settings.shard, rows_max, settings.rm_identifier),
            templates: Templates::new(),
            dirty: DirtyRows::default(),
            draining: Draining::default(),
            pacing: Pacing::new(&settings.heartbeat),
            sweep: Sweep::default(),
            brake: Brake::default(),
            resync_slots: ResyncSlots::new(settings.resync_per_second),
            pushes: Pushes::default(),
            active: 0,
            running_by_capability: BTreeMap::new(),
            cluster_load_permille: 0,
            now: Instant::ZERO,
            told_now: Instant::ZERO,
            slept: Duration::ZERO,
            counters: ShardCounters::default(),
            notice_budget: NOTICES_PER_SECOND * 1_000,
            notices_suppressed: 0,
            settings,
        };
        let mut nowhere = Outbox::default();
        for index in 0..shard.settings.lists.exclude.len() {
            let host = shard.settings.lists.exclude[index].host.clone();
            shard.add_placeholder(&host, &mut nowhere);
        }
        shard
    }

    /// Takes frames in their order, from `first` on, answering into `answers`. Returns how many it took: fewer than
    /// all when `answers` passed [`ANSWERS_SIZE_MAX`].
    ///
    /// Cost: see `benches/heartbeat.rs`. Rows are touched a window ahead, which is worth three to four times at a
    /// million nodes.
    pub fn handle_frames(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) -> usize {
        self.advance(now, out);
        let frames = batch.frames().get(first..).unwrap_or_default();
        let mut taken = 0;
        for window in frames.chunks(WINDOW) {
            self.touch(batch, window);
            for frame in window {
                if answers.size() > ANSWERS_SIZE_MAX {
                    return taken;
                }
                self.handle_frame(batch, frame, answers, out);
                taken += 1;
            }
        }
        taken
    }

    /// Reads one word of every row the window is about, so that the misses overlap instead of queueing up.
    #[inline]
    fn touch(&self, batch: &FrameBatch, window: &[FrameRef]) {
        let mut sum = 0_u64;
        for frame in window {
            let bytes = batch.frame_bytes(frame);
            let Some(key) = bytes.get(offset::ROUTING_KEY..).and_then(|rest| rest.first_chunk::<8>()) else {
                continue;
            };
            let row = NodeHandle(u64::from_le_bytes(*key)).row() as usize;
            if let (Some(hot), Some(warm)) = (self.table.hot.get(row), self.table.warm.get(row)) {
                sum = sum
                    .wrapping_add(u64::from(hot.generation))
                    .wrapping_add(u64::from(warm.node_utilization.cpu_millicores));
            }
        }
        // The loads must not be optimised away; nothing else is done with them.
        core::hint::black_box(sum);
    }

    #[inline]
    fn handle_frame(
        &mut self,
        batch: &FrameBatch,
        frame: &FrameRef,
        answers: &mut AnswerBatch,
        out: &mut Outbox,
    ) {
        let header = match Frame::from_slice(batch.frame_bytes(frame)) {
            Ok(parsed) => parsed.header,
            Err(error) => return self.reject_frame(&error, frame, answers),
        };
        if header.flags.is_response() {
            return self.reject_direction(&header, frame, answers);
        }
        match header.opcode {
            Opcode::NodeHeartbeat => self.heartbeat(batch, frame, &header, answers, out),
            Opcode::RegisterNodeManager => self.register(batch, frame, &header, answers, out),
            Opcode::UnRegisterNodeManager => self.unregister(batch, frame, &header, answers, out),
            Opcode::GetClusterNodes => self.cluster_nodes(batch, frame, &header, answers),
            Opcode::GetClusterMetrics => self.cluster_metrics(batch, frame, &header, answers),
            Opcode::DecommissionNodes => self.decommission_nodes(batch, frame, &header, answers, out),
            Opcode::RecommissionNodes => self.recommission_nodes(batch, frame, &header, answers, out),
            other => {
                let text = format!("{} is not available yet", other.name());
                let reject = Reject::new(RejectCode::NotSupportedYet, text);
                self.reject(other, &header, frame, answers, &reject);
            }
        }
    }

    /// A frame that transport should not have let through. It is answered all the same.
    #[cold]
    fn reject_frame(&mut self, error: &FrameError, frame: &FrameRef, answers: &mut AnswerBatch) {
        self.counters.rejects += 1;
        answers.push_with(frame.stream, |bytes| {
            write_frame_error(bytes, error);
        });
    }

    #[cold]
    fn reject_direction(&mut self, header: &FrameHeader, frame: &FrameRef, answers: &mut AnswerBatch) {
        let text = format!("flags are {:#06x}, accepted of a peer is 0 (a request)", header.flags.bits());
        let reject = Reject::new(RejectCode::WrongDirection, text);
        self.reject(header.opcode, header, frame, answers, &reject);
    }

    /// Takes a message for the shard.
    pub fn handle_shard_command(&mut self, now: Instant, command: ShardCommand, out: &mut Outbox) {
        self.advance(now, out);
        match command {
            ShardCommand::SetNodeLists { token, lists, mode } => self.set_node_lists(token, lists, mode, out),
            ShardCommand::SetMasterKeys { container_token, nm_token } => {
                self.has_next_keys = container_token.next.is_some() || nm_token.next.is_some();
                self.settings.container_token_keys = container_token;
                self.settings.nm_token_keys = nm_token;
            }
            ShardCommand::SetClusterLoad { used_permille } => {
                self.cluster_load_permille = used_permille.min(1_000);
            }
        }
    }

    /// Counters.
    #[must_use]
    pub fn counters(&self) -> ShardCounters {
        ShardCounters { is_brake_engaged: self.brake.is_engaged(), ..self.counters.clone() }
    }

    /// An estimate of the heap the shard holds. Cost: a walk over all rows; for tests and reports, not per cycle.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.table.heap_size() + self.dirty.heap_size() + self.pushes.heap_size()
    }

    /// Lets an event happen to a node, if the table has a row for it. Returns whether it has.
    fn raise(&mut self, row: u32, event: RmNodeEvent, out: &mut Outbox) -> bool {
        let state = self.table.hot[row as usize].state;
        let Some(next) = transition(state, event) else {
            self.note_invalid(row, event, out);
            return false;
        };
        if next != state {
            self.enter(row, state, next);
        }
        true
    }

    /// Counts a pair that the table does not have. It is worth a look, and never a panic.
    #[cold]
    fn note_invalid(&mut self, row: u32, event: RmNodeEvent, out: &mut Outbox) {
        self.counters.invalid_transitions += 1;
        let state = self.table.hot[row as usize].state;
        self.notice(out, true, Some(row), || format!("no transition from {} on {event:?}", state.name()));
    }

    /// Everything that goes with a change of state.
    fn enter(&mut self, row: u32, from: NodeState, to: NodeState) {
        self.set_state(row, to);
        if from.is_active() && !to.is_active() {
            self.deactivate(row, to);
            return;
        }
        match (from, to) {
            (NodeState::Running, NodeState::Unhealthy) => {
                // What runs there is written off; when the node recovers it is asked for everything it has.
                self.tell_interrupted(row);
                self.interrupt_containers(row);
                self.tell_usability(row);
            }
            // Said by `added`, which follows.
            (NodeState::New, _) => {}
            _ => self.tell_usability(row),
        }
        if from == NodeState::Decommissioning {
            self.draining.remove(row);
            self.table.hot[row as usize].flags.clear(RowFlags::DRAINED_BY_NAME);
        }
    }

    /// The node leaves the live table: its record stays for listing, what it had goes.
    fn deactivate(&mut self, row: u32, to: NodeState) {
        let reason = match to {
            NodeState::Lost => RemovedReason::Lost,
            NodeState::Rebooted => RemovedReason::Rebooted,
            NodeState::Shutdown => RemovedReason::Shutdown,
            _ => RemovedReason::Decommissioned,
        };
        self.active -= 1;
        let flags = &mut self.table.hot[row as usize].flags;
        if flags.has(RowFlags::SUSPECT) {
            self.counters.suspects_now -= 1;
        }
        flags.clear(RowFlags::SUSPECT.or(RowFlags::TELL_CAPABILITY).or(RowFlags::DRAINED_BY_NAME));
        self.draining.remove(row);
        if flags.has(RowFlags::KNOWN) || self.table.cold(row).event.is_some() {
            self.tell_removed(row, reason);
        }
        self.drop_contents(row);
        self.table.enlist_inactive(row);
    }

    /// Counts a row that was just put into the table.
    fn begin_row(&mut self, row: u32) {
        self.active += 1;
        self.counters.nodes_by_state[index_of(NodeState::New)] += 1;
        self.table.hot[row as usize].flags.clear(RowFlags::PLACEHOLDER);
        self.table.cold_mut(row).changed_at = self.now - self.slept;
    }

    /// An inactive node is back: its record is a new one.
    fn renew(&mut self, row: u32) {
        self.table.delist_inactive(row);
        self.active += 1;
        self.become_new(row);
    }

    /// Back to state NEW, which no event leads to.
    fn become_new(&mut self, row: u32) {
        self.set_state(row, NodeState::New);
    }

    /// Forgets an inactive node.
    fn forget_inactive(&mut self, row: u32) {
        let state = self.table.hot[row as usize].state;
        debug_assert!(!state.is_active(), "only inactive rows are given back");
        self.counters.nodes_by_state[index_of(state)] -= 1;
        self.table.remove_inactive(row);
    }

    fn set_state(&mut self, row: u32, to: NodeState) {
        let capability = self.table.warm[row as usize].capability;
        let from = core::mem::replace(&mut self.table.hot[row as usize].state, to);
        self.counters.nodes_by_state[index_of(from)] -= 1;
        self.counters.nodes_by_state[index_of(to)] += 1;
        if from == NodeState::Running {
            self.count_capability(capability, false);
        }
        if to == NodeState::Running {
            self.count_capability(capability, true);
        }
        self.table.cold_mut(row).changed_at = self.now - self.slept;
    }

    /// One RUNNING node with this capability more or less.
    fn count_capability(&mut self, capability: Interned, is_more: bool) {
        let count = self.running_by_capability.entry(capability).or_default();
        *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.running_by_capability.remove(&capability);
        }
    }

    fn drop_contents(&mut self, row: u32) {
        self.counters.running_containers -= u64::from(self.table.drop_contents(row));
    }

    fn interrupt_containers(&mut self, row: u32) {
        self.counters.running_containers -= u64::from(self.table.interrupt_containers(row));
    }

    /// Says something worth a log line, within the budget. `text` is not made when there is none left.
    fn notice(
        &mut self,
        out: &mut Outbox,
        is_warning: bool,
        row: Option<u32>,
        text: impl FnOnce() -> String,
    ) {
        if self.notice_budget < 1_000 {
            self.notices_suppressed += 1;
            return;
        }
        self.notice_budget -= 1_000;
        let text = match row {
            None => text(),
            Some(row) => {
                let cold = self.table.cold(row);
                format!("{}:{} {}", cold.host, cold.port, text())
            }
        };
        out.notices.push(Notice { is_warning, node: row.map(|row| self.table.handle(row)), text });
    }

    /// Says something about the whole shard; never suppressed.
    fn notice_always(&mut self, out: &mut Outbox, is_warning: bool, text: String) {
        out.notices.push(Notice { is_warning, node: None, text });
    }

    fn renew_notice_budget(&mut self, elapsed: Duration, out: &mut Outbox) {
        let most = NOTICES_PER_SECOND * 1_000;
        let earned =
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).saturating_mul(NOTICES_PER_SECOND);
        self.notice_budget = self.notice_budget.saturating_add(earned).min(most);
        if self.notices_suppressed > 0 && self.notice_budget >= most / 2 {
            let count = core::mem::take(&mut self.notices_suppressed);
            self.notice_always(out, true, format!("{count} more notices were left out"));
        }
    }
}

/// A frame's body, as transport cut it.
#[inline]
fn body_of<'a>(batch: &'a FrameBatch, frame: &FrameRef) -> &'a [u8] {
    batch.frame_bytes(frame).get(HEADER_SIZE..).unwrap_or_default()
}

/// A state's place in [`NodeState::ALL`].
const fn index_of(state: NodeState) -> usize {
    state as usize - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_in_yarns_order() {
        for (index, state) in NodeState::ALL.into_iter().enumerate() {
            assert_eq!(index_of(state), index);
        }
    }
}

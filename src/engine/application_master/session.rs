//! Sessions: one per attempt, from the moment the attempt is known to the moment it is removed.
//! Owns: [`Session`], the table of them by handle, and what is remembered of those that ended. Called by: the other files
//! of the door, on the scheduler's thread. Does not: decide what a call is answered.
//!
//! States: opened (YARN: last response id −1) → registered → finishing → gone. A handle whose generation is not the
//! row's names no session.
//! Invariants: a row holds at most one session; of ended ones at most [`ENDED_MAX`] are remembered, the oldest forgotten.

use std::collections::{BTreeMap, VecDeque};

use heddle_wire::record::{ApplicationAttemptId, ApplicationId, NodeHandle, TokenMac, UpdateContainerError};

use super::event_log::EventLog;
use super::exact::KeyCounts;
use super::liveliness::Watch;
use crate::engine::batch::{PeerId, StreamRef};
use crate::engine::node_set::NodeSet;
use crate::engine::scheduler::face::Granted;
use crate::engine::scheduler::message::Attempt;
use crate::engine::time::Instant;

/// Ended sessions that are remembered, so that an ApplicationMaster that repeats its last word is told that it is
/// stored. At 100 ends a second that is ten minutes.
pub(super) const ENDED_MAX: usize = 65_536;

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionState {
    /// Known, not registered.
    Opened,
    /// Registered.
    Registered,
    /// It has said its last word.
    Finishing,
}

/// News of an ApplicationMaster that the application manager is told at most once a second.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// 0 to 1.
    pub(super) progress: f32,
    /// A new tracking URL that was not told yet.
    pub(super) tracking_url: Option<Box<str>>,
    /// The progress last told.
    pub(super) told_progress: f32,
    /// When the next one may be told.
    pub(super) next: Instant,
    /// It waits in the order of those to be told.
    pub(super) due: Option<Instant>,
}

/// Nodes of which the attempt has a token. One that registers anew is told of again.
#[derive(Debug, Default)]
pub(super) struct NodesTold {
    nodes: NodeSet,
    /// Number of the key the tokens were signed with.
    key_id: Option<u32>,
}

impl NodesTold {
    /// True when the attempt needs a token of the node; from now on it has one.
    pub(super) fn insert(&mut self, node: NodeHandle) -> bool {
        self.nodes.insert(node)
    }

    /// Forgets everything when the key is another one.
    pub(super) fn roll(&mut self, key_id: Option<u32>) {
        if self.key_id != key_id {
            self.key_id = key_id;
            self.nodes.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) attempt: Attempt,
    pub(super) attempt_id: ApplicationAttemptId,
    pub(super) user: Box<str>,
    pub(super) is_unmanaged: bool,
    pub(super) keep_containers: bool,
    pub(super) acls: Box<[(u8, Box<str>)]>,
    pub(super) state: SessionState,
    /// Its launch is ordered, or an unmanaged one may register.
    pub(super) is_ready: bool,
    pub(super) is_final_state_stored: bool,
    /// Where its token was last shown, or it registered.
    pub(super) stream: StreamRef,
    /// Where it was before. What still comes from there is late.
    pub(super) left: StreamRef,
    /// Under which certificate it registered.
    pub(super) peer: PeerId,
    /// Number of the key of the token last shown.
    pub(super) am_rm_key_id: u32,
    /// YARN's `last`, once registered.
    pub(super) response_id: u32,
    /// The last answer to allocate, whole.
    pub(super) last_answer: Vec<u8>,
    /// Number of the last event sent when that answer was written: whoever has that answer had all of them.
    pub(super) answered_up_to: u64,
    pub(super) log: EventLog,
    pub(super) keys: KeyCounts,
    pub(super) nodes_told: NodesTold,
    /// Inherited containers it was not told of yet.
    pub(super) retained: VecDeque<Granted>,
    /// To go with the answer that is being made.
    pub(super) update_errors: Vec<UpdateContainerError>,
    /// Changes of nodes up to here were told.
    pub(super) node_cursor: u64,
    pub(super) status: Status,
    /// When the cluster's headroom was last told, and what.
    pub(super) enhanced_headroom: (Option<Instant>, (u64, u64)),
    pub(super) watch: Watch,
    /// It is in the list of those with something to push.
    pub(super) is_to_push: bool,
    /// An answer to allocate is being made in this step.
    pub(super) is_answer_due: bool,
    /// The scheduler was told to hold back.
    pub(super) is_held: bool,
}

impl Session {
    /// It speaks on this stream from now on: on another one everything not taken in is sent again. `token` as the frame
    /// showed it. A frame that `is_repeated` does not bring it back to the stream it has left.
    pub(super) fn follow(&mut self, stream: StreamRef, token: Option<TokenMac>, is_repeated: bool) {
        if is_repeated && stream == self.left {
            return;
        }
        if self.stream != stream {
            self.left = core::mem::replace(&mut self.stream, stream);
            self.log.resend_from(0);
        }
        if let Some(token) = token {
            self.am_rm_key_id = token.key_id;
        }
    }
}

/// What is remembered of a session that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) attempt_id: ApplicationAttemptId,
    /// Where it was last, and as whom; `None` where it never registered.
    pub(super) seen: Option<(StreamRef, PeerId)>,
    pub(super) is_final_state_stored: bool,
}

/// A row of the table.
#[derive(Debug, Default)]
struct Slot {
    session: Option<Box<Session>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct SessionTable {
    rows_max: u32,
    slots: Vec<Slot>,
    count: u32,
    ended: BTreeMap<Attempt, Ended>,
    ended_order: VecDeque<Attempt>,
    /// The latest attempt of each application, while it is in the table or among the ended.
    latest: BTreeMap<ApplicationId, Attempt>,
}

impl SessionTable {
    pub(super) const fn new(rows_max: u32) -> Self {
        Self {
            rows_max,
            slots: Vec::new(),
            count: 0,
            ended: BTreeMap::new(),
            ended_order: VecDeque::new(),
            latest: BTreeMap::new(),
        }
    }

    pub(super) const fn len(&self) -> u32 {
        self.count
    }

    /// The session a handle names.
    #[inline]
    pub(super) fn find(&mut self, attempt: Attempt) -> Option<&mut Session> {
        let session = self.slots.get_mut(attempt.row() as usize)?.session.as_deref_mut()?;
        (session.attempt == attempt).then_some(session)
    }

    /// Puts a session into its row. False where the row is beyond the table or still in use: then it is not opened.
    pub(super) fn open(&mut self, session: Box<Session>) -> bool {
        let row = session.attempt.row();
        if row >= self.rows_max {
            return false;
        }
        let row = row as usize;
        if self.slots.len() <= row {
            self.slots.resize_with(row + 1, Slot::default);
        }
        let Some(slot) = self.slots.get_mut(row).filter(|slot| slot.session.is_none()) else { return false };
        self.latest.insert(session.attempt_id.application_id, session.attempt);
        slot.session = Some(session);
        self.count += 1;
        true
    }

    /// Takes a session out and remembers that it was there.
    pub(super) fn close(&mut self, attempt: Attempt) -> Option<Box<Session>> {
        self.find(attempt)?;
        let session = self.slots.get_mut(attempt.row() as usize)?.session.take()?;
        self.count -= 1;
        if self.ended_order.len() >= ENDED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
            && let Some(ended) = self.ended.remove(&oldest)
        {
            let application_id = ended.attempt_id.application_id;
            if self.latest.get(&application_id) == Some(&oldest) {
                self.latest.remove(&application_id);
            }
        }
        let ended = Ended {
            attempt_id: session.attempt_id,
            seen: (session.state != SessionState::Opened).then_some((session.stream, session.peer)),
            is_final_state_stored: session.is_final_state_stored,
        };
        if self.ended.insert(attempt, ended).is_none() {
            self.ended_order.push_back(attempt);
        }
        Some(session)
    }

    /// What is remembered of an ended session.
    pub(super) fn ended(&mut self, attempt: Attempt) -> Option<&mut Ended> {
        self.ended.get_mut(&attempt)
    }

    /// The final state of an application is stored: its latest attempt, live or ended, is told so when it asks.
    pub(super) fn final_state_stored(&mut self, application_id: ApplicationId) {
        let Some(attempt) = self.latest.get(&application_id).copied() else { return };
        if let Some(session) = self.find(attempt) {
            session.is_final_state_stored = true;
        } else if let Some(ended) = self.ended(attempt) {
            ended.is_final_state_stored = true;
        }
    }
}

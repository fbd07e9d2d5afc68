//! The ApplicationMasters' door: sessions, the response-id rule, exact asks, events and pushes, tokens, liveliness.
//! Owns: every session, the keys, the list of node changes. Called by: `Scheduling`, on the scheduler's thread; tests.
//! Does not: place containers (a [`ResourceScheduler`] does), decide what an application becomes (the application manager
//! does), read clocks, know connections beyond the stream an answer goes to.
//! Invariants: output is a function of the input sequence; every request gets exactly one answer; nothing a peer sends
//! panics or grows a table past its bound; nobody acts for an attempt who has not shown its AMRMToken on that stream.
//!
//! | file | what is in it |
//! |---|---|
//! | `attempt_events` | what the scheduler says |
//! | `session` | the table of sessions, and what is remembered of ended ones |
//! | `register`, `allocate`, `finish` | the three calls |
//! | `exact` | how many containers of a key are outstanding |
//! | `event_log` | grants and ends, numbered, until they are taken in |
//! | `answer` | frames out of it, with tokens |
//! | `node_updates` | changes of nodes, one list for all |
//! | `liveliness` | who is silent |
//! | `token` | keys, signing, checking |
//!
//! **Pushes.** What happens for a session between its calls is pushed, one frame per session and step. A push may be
//! lost; the numbers show it: a frame whose first event is beyond the next one expected is to be passed over, and what
//! was passed over is sent again with the answer after the next call, because `events_seen` is then behind what went
//! before the former answer. On another stream everything not taken in is sent again at once.
//!
//! **Bounds.** Beyond [`EVENTS_PUSHED_MAX`] events that a session has not taken in it is pushed nothing until it calls;
//! beyond [`HOLD_AT`] events that were not sent the scheduler is told to grant it nothing more until half of them are.

mod allocate;
mod answer;
mod attempt_events;
mod event_log;
mod exact;
mod finish;
mod liveliness;
mod node_updates;
mod register;
mod session;
mod token;

use std::collections::BTreeSet;

use heddle_wire::application_master::{AllocateResponse, FinishApplicationMasterResponse};
use heddle_wire::frame::{Frame, HEADER_SIZE, set_correlation_id};
use heddle_wire::limits::EVENTS_PUSHED_MAX;
use heddle_wire::message::{write_frame_error, write_reject};
use heddle_wire::record::{ApplicationAttemptId, TokenMac};
use heddle_wire::{Flags, FrameHeader, Opcode, Reject, RejectCode, write_frame};

use self::allocate::{Allocated, Scratch, tell_status};
use self::answer::{Kind, Writer};
use self::liveliness::Liveliness;
use self::node_updates::NodeUpdates;
use self::session::{Session, SessionState, SessionTable};
use self::token::Keys;
use super::batch::{AnswerBatch, FrameBatch, FrameRef, PeerId, StreamRef};
use super::event::KeyPair;
use super::scheduler::face::{AttemptEvent, ResourceScheduler, SchedulerOutput};
use super::scheduler::message::{ApplicationEvent, Attempt};
use super::scheduler::settings::{Calculator, SchedulerSettings};
use super::time::Instant;

/// Most frames of one step: their grants share one placement, and the last of them waits for it.
pub const FRAMES_PER_STEP: usize = 1_024;

// Of answers, or of pushes: a step carries no more events then; they follow with the next.
pub use super::batch::ANSWERS_SIZE_MAX;

/// Events of a session that may wait to be sent before the scheduler is told to hold back: 16 full frames, 2 MiB.
pub const HOLD_AT: usize = 16_384;

/// What the door has counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions there are.
    pub sessions: u32,
    /// Registrations accepted.
    pub registrations: u64,
    /// Calls to allocate applied.
    pub allocates_fresh: u64,
    /// Calls to allocate answered with the stored answer.
    pub allocates_duplicate: u64,
    /// Last words taken in.
    pub finished: u64,
    /// Frames refused, any reason.
    pub rejects: u64,
    /// Grants sent.
    pub grants_sent: u64,
    /// Ends sent.
    pub ends_sent: u64,
    /// Events sent again.
    pub events_resent: u64,
    /// Grants taken back because their ask was lowered before they were seen.
    pub grants_voided: u64,
    /// Grants that came to nothing before they were sent.
    pub grants_restored: u64,
    /// Frames pushed.
    pub pushes: u64,
    /// ApplicationMasters that were silent for too long.
    pub expired: u64,
    /// Times the scheduler was told to hold back.
    pub held: u64,
}

/// What a frame is answered, in the order of the frames.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// Bytes of `written`.
    Written { stream: StreamRef, start: u32, end: u32 },
    /// The answer to allocate, written after placement.
    Allocate { stream: StreamRef, attempt: Attempt, correlation_id: u64 },
}

/// See the module.
#[derive(Debug)]
pub struct ApplicationMasterService {
    index: u8,
    rm_identifier: u64,
    calculator: Calculator,
    sessions: SessionTable,
    keys: Keys,
    liveliness: Liveliness,
    node_updates: NodeUpdates,
    writer: Writer,
    scratch: Scratch,
    /// Sessions with news that the application manager is told later.
    status_due: BTreeSet<(Instant, Attempt)>,
    /// Sessions with events to push.
    to_push: Vec<Attempt>,
    /// Of the step.
    outcomes: Vec<Outcome>,
    /// Answers of the step that do not wait for placement.
    written: Vec<u8>,
    /// Keeps its memory.
    events: Vec<AttemptEvent>,
    counters: Counters,
}

/// What a frame shows of who sent it.
struct Shown {
    stream: StreamRef,
    peer: PeerId,
    token: Option<TokenMac>,
}

impl Shown {
    /// Checks it against where the attempt last showed its token.
    fn check(
        &self,
        stream: StreamRef,
        peer: PeerId,
        attempt_id: ApplicationAttemptId,
        attempt: Attempt,
        keys: &mut Keys,
    ) -> Result<(), Reject> {
        if self.peer != peer {
            let text = format!("{attempt_id} is registered under another certificate");
            return Err(refused(RejectCode::NameNotAllowed, text));
        }
        match &self.token {
            Some(token) if keys.verify_am_rm(attempt_id, attempt, token) => Ok(()),
            Some(token) => Err(invalid_token(attempt_id, token)),
            None if self.stream == stream => Ok(()),
            None => {
                let text = format!(
                    "am_rm_token is not there, accepted in the first frame on another stream than the one {attempt_id} \
                     registered on is its token"
                );
                Err(refused(RejectCode::InvalidToken, text))
            }
        }
    }
}

fn refused(code: RejectCode, text: String) -> Reject {
    Reject::new(code, text)
}

fn not_registered(attempt_id: ApplicationAttemptId) -> Reject {
    let text = format!("{attempt_id} is not registered, register again and say all that is wanted anew");
    refused(RejectCode::ApplicationMasterNotRegistered, text)
}

#[cold]
fn invalid_token(attempt_id: ApplicationAttemptId, token: &TokenMac) -> Reject {
    let text = format!(
        "am_rm_token, made with key {}, does not prove to be of {attempt_id}, or the key is not known any more",
        token.key_id
    );
    refused(RejectCode::InvalidToken, text)
}

impl ApplicationMasterService {
    /// A door without sessions.
    #[must_use]
    pub fn new(settings: &SchedulerSettings) -> Self {
        let keys =
            Keys::new(&settings.container_token_keys, &settings.nm_token_keys, &settings.am_rm_token_keys);
        Self {
            index: settings.index,
            rm_identifier: settings.rm_identifier,
            calculator: settings.calculator,
            sessions: SessionTable::new(settings.attempts_max),
            keys,
            liveliness: Liveliness::new(settings.am_expiry),
            node_updates: NodeUpdates::default(),
            writer: Writer::new(settings.rm_identifier, settings.allocation_expiry),
            scratch: Scratch::default(),
            status_due: BTreeSet::new(),
            to_push: Vec::new(),
            outcomes: Vec::new(),
            written: Vec::new(),
            events: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Begins or ends a roll-over of keys. Attempts are given new NM tokens when the key in force is another one, and a
    /// new AMRMToken while they have not shown one of the next key.
    pub fn set_keys(&mut self, container_token: &KeyPair, nm_token: &KeyPair, am_rm_token: &KeyPair) {
        self.keys = Keys::new(container_token, nm_token, am_rm_token);
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        Counters { sessions: self.sessions.len(), ..self.counters }
    }

    /// Takes frames in their order, from `first` on: applies them, places once for all of them, and answers. Returns how
    /// many it took: fewer than all beyond [`FRAMES_PER_STEP`] or [`ANSWERS_SIZE_MAX`], and when an attempt calls again
    /// whose answer is still being made.
    pub fn handle_frames<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
        scheduler: &mut S,
        out: &mut SchedulerOutput,
    ) -> usize {
        // What was said since the last step comes first: an ask is counted against grants that still stand.
        self.absorb(now, scheduler, out);
        self.outcomes.clear();
        self.written.clear();
        let (mut taken, mut has_allocates) = (0, false);
        for frame in batch.frames().get(first..).unwrap_or_default().iter().take(FRAMES_PER_STEP) {
            if answers.size() + self.written.len() > ANSWERS_SIZE_MAX || self.is_answer_due(batch, frame) {
                break;
            }
            has_allocates |= self.handle_frame(now, batch, frame, scheduler, out);
            taken += 1;
        }
        if has_allocates {
            scheduler.schedule(now, out);
        }
        self.absorb(now, scheduler, out);
        self.write_outcomes(now, answers, scheduler);
        taken
    }

    /// True when the frame calls for an attempt whose answer is still being made.
    fn is_answer_due(&mut self, batch: &FrameBatch, frame: &FrameRef) -> bool {
        batch
            .frame(frame)
            .filter(|parsed| parsed.header.opcode == Opcode::Allocate)
            .and_then(|parsed| self.sessions.find(Attempt(parsed.header.routing_key)))
            .is_some_and(|session| session.is_answer_due)
    }

    /// Applies a frame. True when it waits for placement.
    fn handle_frame<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        batch: &FrameBatch,
        frame: &FrameRef,
        scheduler: &mut S,
        out: &mut SchedulerOutput,
    ) -> bool {
        let start = self.written.len();
        let parsed = match Frame::from_slice(batch.frame_bytes(frame)) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.counters.rejects += 1;
                write_frame_error(&mut self.written, &error);
                self.push_written(frame, start);
                return false;
            }
        };
        let (header, body) = (parsed.header, parsed.body());
        let (correlation_id, key) = (header.correlation_id, header.routing_key);
        let result = if header.flags.is_response() {
            let text = format!("flags are {:#06x}, accepted of a peer is 0 (a request)", header.flags.bits());
            Err(refused(RejectCode::WrongDirection, text))
        } else {
            match header.opcode {
                Opcode::Allocate => match self.allocate(now, &header, frame, body, scheduler, out) {
                    Ok((attempt, Allocated::Fresh)) => {
                        self.outcomes.push(Outcome::Allocate {
                            stream: frame.stream,
                            attempt,
                            correlation_id,
                        });
                        return true;
                    }
                    Ok((attempt, Allocated::Duplicate)) => {
                        self.write_duplicate(attempt, &header);
                        Ok(())
                    }
                    Err(reject) => Err(reject),
                },
                Opcode::RegisterApplicationMaster => {
                    self.register(now, &header, frame, body, scheduler, out).map(|response| {
                        write_frame(&mut self.written, Flags::RESPONSE, correlation_id, key, &response);
                    })
                }
                Opcode::FinishApplicationMaster => {
                    let finished = self.finish(now, &header, frame, body, scheduler, out);
                    finished.map(|response: FinishApplicationMasterResponse| {
                        write_frame(&mut self.written, Flags::RESPONSE, correlation_id, key, &response);
                    })
                }
                other => {
                    let text = format!("{} is not a call of ApplicationMasters", other.name());
                    Err(refused(RejectCode::NotSupportedYet, text))
                }
            }
        };
        if let Err(reject) = result {
            self.counters.rejects += 1;
            write_reject(&mut self.written, header.opcode, correlation_id, key, &reject);
        }
        self.push_written(frame, start);
        false
    }

    fn push_written(&mut self, frame: &FrameRef, start: usize) {
        // Both below ANSWERS_SIZE_MAX and one frame.
        let (start, end) = (start as u32, self.written.len() as u32);
        self.outcomes.push(Outcome::Written { stream: frame.stream, start, end });
    }

    /// The stored answer once more, byte for byte but for the correlation id.
    fn write_duplicate(&mut self, attempt: Attempt, header: &FrameHeader) {
        let start = self.written.len();
        let Some(session) = self.sessions.find(attempt) else { return };
        if session.last_answer.len() < HEADER_SIZE {
            // Registered a moment ago: YARN's stored answer is an empty one then.
            let empty =
                AllocateResponse { response_id: session.response_id, first_event: 1, ..Default::default() };
            write_frame(&mut self.written, Flags::RESPONSE, header.correlation_id, attempt.0, &empty);
            return;
        }
        self.written.extend_from_slice(&session.last_answer);
        set_correlation_id(self.written.get_mut(start..).unwrap_or_default(), header.correlation_id);
    }

    /// Writes what every frame of the step is answered.
    fn write_outcomes<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        answers: &mut AnswerBatch,
        scheduler: &mut S,
    ) {
        let outcomes = core::mem::take(&mut self.outcomes);
        for outcome in &outcomes {
            match *outcome {
                Outcome::Written { stream, start, end } => {
                    let bytes = self.written.get(start as usize..end as usize).unwrap_or_default();
                    answers.push(stream, bytes);
                }
                Outcome::Allocate { stream, attempt, correlation_id } => {
                    let has_events = answers.size() <= ANSWERS_SIZE_MAX;
                    let Some(session) = self.sessions.find(attempt) else {
                        // It was removed in this very step.
                        let text = "the attempt of this routing_key has ended".to_owned();
                        let reject = refused(RejectCode::ApplicationAttemptNotFound, text);
                        answers.push_with(stream, |bytes| {
                            write_reject(bytes, Opcode::Allocate, correlation_id, attempt.0, &reject);
                        });
                        continue;
                    };
                    session.is_answer_due = false;
                    answers.push_with(stream, |bytes| {
                        self.writer.write(
                            now,
                            Kind::Answer { correlation_id },
                            has_events,
                            session,
                            &mut self.keys,
                            &self.node_updates,
                            scheduler,
                            &mut self.counters,
                            bytes,
                        );
                    });
                    Self::release_hold(now, session, scheduler);
                    if session.log.waiting() > 0 && !session.is_to_push {
                        session.is_to_push = true;
                        self.to_push.push(attempt);
                    }
                }
            }
        }
        self.outcomes = outcomes;
    }

    /// Takes in what the scheduler said and pushes what there is to push. Called after every step that may have made
    /// events; what finds no room waits for the next call, and [`Self::has_pushes`] is true until then.
    pub fn handle_attempt_events<S: ResourceScheduler>(
        &mut self,
        now: Instant,
        scheduler: &mut S,
        out: &mut SchedulerOutput,
        pushes: &mut AnswerBatch,
    ) {
        self.absorb(now, scheduler, out);
        if self.to_push.is_empty() {
            return;
        }
        pushes.mark_as_pushes();
        let mut to_push = core::mem::take(&mut self.to_push);
        to_push.retain(|attempt| {
            let Some(session) = self.sessions.find(*attempt) else { return false };
            session.is_to_push = false;
            while session.state == SessionState::Registered
                && !session.is_final_state_stored
                && session.log.waiting() > 0
                && (session.log.is_resending() || session.log.unseen() < EVENTS_PUSHED_MAX)
            {
                if pushes.size() > ANSWERS_SIZE_MAX {
                    session.is_to_push = true;
                    return true;
                }
                let waiting = session.log.waiting();
                pushes.push_with(session.stream, |bytes| {
                    self.writer.write(
                        now,
                        Kind::Push,
                        true,
                        session,
                        &mut self.keys,
                        &self.node_updates,
                        scheduler,
                        &mut self.counters,
                        bytes,
                    );
                });
                self.counters.pushes += 1;
                if session.log.waiting() >= waiting {
                    break;
                }
            }
            Self::release_hold(now, session, scheduler);
            false
        });
        self.to_push = to_push;
    }

    /// True while events wait for room in a batch of pushes.
    #[must_use]
    pub fn has_pushes(&self) -> bool {
        !self.to_push.is_empty()
    }

    /// Time has passed: silent ApplicationMasters expire, and news that was held back is told.
    pub fn handle_tick(&mut self, now: Instant, out: &mut SchedulerOutput) {
        while let Some((due, attempt)) = self.liveliness.pop_due(now) {
            let Some(session) = self.sessions.find(attempt) else { continue };
            if self.liveliness.is_expired(now, due, attempt, &mut session.watch) {
                self.counters.expired += 1;
                out.application_events.push(ApplicationEvent::Expired { attempt_id: session.attempt_id });
            }
        }
        while let Some((due, attempt)) = self.status_due.first().copied()
            && due <= now
        {
            self.status_due.pop_first();
            let Some(session) = self.sessions.find(attempt) else { continue };
            session.status.due = None;
            if let Some(due) = tell_status(now, session, out) {
                self.status_due.insert((due, attempt));
            }
        }
    }

    /// When [`Self::handle_tick`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let status = self.status_due.first().map(|(due, _)| *due);
        [self.liveliness.next_deadline(), status].into_iter().flatten().min()
    }

    fn mark_to_push(&mut self, attempt: Attempt) {
        if let Some(session) = self.sessions.find(attempt)
            && !core::mem::replace(&mut session.is_to_push, true)
        {
            self.to_push.push(attempt);
        }
    }

    fn release_hold<S: ResourceScheduler>(now: Instant, session: &mut Session, scheduler: &mut S) {
        if session.is_held && session.log.unsent() < HOLD_AT / 2 {
            session.is_held = false;
            scheduler.hold_grants(now, session.attempt, false);
        }
    }

    /// Whether the sender of a frame is the session's ApplicationMaster. False only where none was registered and the
    /// frame carries no token. Changes nothing: [`Session::follow`] does, once the frame is accepted.
    fn authenticate(
        session: &Session,
        keys: &mut Keys,
        frame: &FrameRef,
        token: Option<TokenMac>,
    ) -> Result<bool, Reject> {
        let (attempt, attempt_id) = (session.attempt, session.attempt_id);
        if session.state == SessionState::Opened {
            return match &token {
                None => Ok(false),
                Some(token) if keys.verify_am_rm(attempt_id, attempt, token) => Ok(true),
                Some(token) => Err(invalid_token(attempt_id, token)),
            };
        }
        let shown = Shown { stream: frame.stream, peer: frame.peer, token };
        shown.check(session.stream, session.peer, attempt_id, attempt, keys)?;
        Ok(true)
    }
}

//! The application role at the bounds of its rings, with a stand-in that says what a test wants.

use heddle_wire::record::ApplicationId;

use super::*;
use crate::engine::application::message::StoreError;
use crate::engine::batch::{Caller, PeerId, StreamRef};
use crate::engine::scheduler::message::QueryReply;
use crate::ring::{SpscProducer, spsc};
use crate::runtime::proxy::{BATCHES, RolePort, connect};

const STREAM: StreamRef = StreamRef::new(0, 1, 1);

fn application(id: u32) -> ApplicationId {
    ApplicationId { cluster_timestamp: 1, id }
}

/// Keeps nothing, acknowledges removals as if they were saves, and says how many groups there were.
#[derive(Default)]
struct Store {
    groups: Vec<usize>,
}

impl StateStore for Store {
    fn apply(&mut self, group: &[StoreOperation], events: &mut Vec<StoreEvent>) {
        self.groups.push(group.len());
        for operation in group {
            let StoreOperation::RemoveApplication(application_id) = operation else { continue };
            let error = StoreError::Unavailable("".into());
            events.push(StoreEvent::RemoveFailed { application_id: *application_id, error });
        }
    }
}

/// Stores for every frame, commands the scheduler when that is acknowledged, and answers late when the scheduler has
/// answered.
#[derive(Default)]
struct Relay {
    output: ApplicationOutput,
    next: u32,
    callers: Vec<Box<str>>,
    /// Commands that follow from an event without a number of ours.
    commands_per_event: usize,
}

impl ApplicationSteps for Relay {
    fn handle_frames(
        &mut self,
        _now: Instant,
        batch: &FrameBatch,
        first: usize,
        _answers: &mut AnswerBatch,
    ) -> usize {
        let frames = batch.frames().get(first..).unwrap_or_default();
        for frame in frames {
            self.callers.push(batch.caller(frame).unwrap().name.clone());
            self.next += 1;
            self.output.store_operations.push(StoreOperation::RemoveApplication(application(self.next)));
        }
        frames.len()
    }

    fn handle_application_event(&mut self, _now: Instant, event: ApplicationEvent) {
        match event {
            ApplicationEvent::Reply { reply: QueryReply::Record(page), .. } => {
                self.output.late_answers.push(STREAM, &page);
            }
            ApplicationEvent::Reply { token, .. } => {
                self.output.late_answers.push(STREAM, &token.to_le_bytes())
            }
            _ => {
                let command = SchedulerCommand::RemoveApplication { application_id: application(0) };
                self.output.scheduler_commands.extend(core::iter::repeat_n(command, self.commands_per_event));
            }
        }
    }

    fn handle_store_event(&mut self, _now: Instant, event: StoreEvent) {
        if let StoreEvent::RemoveFailed { application_id, .. } = event {
            self.output.scheduler_commands.push(SchedulerCommand::FinalStateStored { application_id });
        }
    }

    fn handle_command(&mut self, _now: Instant, command: ApplicationCommand) {
        self.output.replies.push(ApplicationReply::Done { token: command.token() });
    }

    fn handle_tick(&mut self, _now: Instant) {}

    fn end_cycle(&mut self) {
        assert!(self.output.store_operations.is_empty(), "a cycle ends after what it stores");
    }

    fn output(&mut self) -> &mut ApplicationOutput {
        &mut self.output
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }
}

struct Bench {
    role: ApplicationRole<Relay, Store>,
    port: RolePort,
    commands: SpscConsumer<SchedulerCommand>,
    events: SpscProducer<ApplicationEvent>,
    finished: Arc<AtomicU64>,
    done: Arc<Done>,
    administration: MpscQueue<ApplicationCommand>,
    replies: mpsc::Receiver<ApplicationReply>,
}

impl Bench {
    fn new(commands: usize) -> Self {
        let sleeper = Arc::new(Sleeper::for_current_thread());
        let (port, net) = connect(Arc::clone(&sleeper), Arc::default());
        let (commands_out, commands) = spsc(commands);
        let (events, events_in) = spsc(64);
        let (finished, done) = (Arc::<AtomicU64>::default(), Arc::<Done>::default());
        let administration = MpscQueue::new(4);
        let (reply_sender, replies) = mpsc::channel(4);
        let scheduler = SchedulerLink {
            commands: Outgoing::new(commands_out),
            events: events_in,
            sleeper,
            finished: Arc::clone(&finished),
            done: Arc::clone(&done),
        };
        let role = ApplicationRole::new(ApplicationRoleParts {
            stepper: Relay::default(),
            store: Store::default(),
            nets: vec![net],
            scheduler,
            commands: administration.clone(),
            replies: reply_sender,
        });
        Self { role, port, commands, events, finished, done, administration, replies }
    }

    fn step(&mut self) -> usize {
        self.role.do_work(Instant::from_millis(1))
    }

    fn send(&mut self, frames: usize) {
        for peer in 0..frames {
            let caller = Caller::new(PeerId(peer as u64), &format!("user-{peer}"), false);
            self.port.offer_frame_from(b"frame", STREAM, &caller).unwrap();
        }
        self.port.flush();
    }

    /// The scheduler: answers every command it finds.
    fn schedule(&mut self) -> usize {
        let mut count = 0;
        while let Some(command) = self.commands.poll() {
            if let SchedulerCommand::FinalStateStored { application_id } = command {
                let token = u64::from(application_id.id);
                self.events.offer(ApplicationEvent::Reply { token, reply: QueryReply::Done(0) }).unwrap();
            }
            count += 1;
        }
        self.finished.fetch_add(count as u64, Ordering::Release);
        count
    }

    fn late_answers(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(batch) = self.port.poll_answers() {
            assert!(!batch.is_pushes(), "a late answer is an answer");
            let answers = batch.answers().iter();
            numbers.extend(answers.map(|it| u64::from_le_bytes(batch.answer_bytes(it).try_into().unwrap())));
            self.port.return_answers(batch);
        }
        numbers
    }
}

#[test]
fn a_cycle_is_one_group_of_the_store_and_answers_come_when_the_scheduler_has_spoken() {
    let mut bench = Bench::new(64);
    bench.send(3);
    assert!(bench.role.has_work());
    bench.step();
    assert_eq!(bench.role.store.groups, [3]);
    assert_eq!(bench.role.stepper.callers, ["user-0".into(), "user-1".into(), "user-2".into()]);
    assert!(bench.late_answers().is_empty());
    assert_eq!(bench.schedule(), 3);
    assert!(bench.role.has_work());
    bench.step();
    assert_eq!(bench.late_answers(), [1, 2, 3]);
    assert!(!bench.role.has_work());
}

/// The other half of the circle: the scheduler takes no commands because we do not take its events.
#[test]
fn events_are_taken_while_commands_find_no_room_and_frames_wait() {
    let mut bench = Bench::new(2);
    bench.role.stepper.commands_per_event = 3;
    for _ in 0..10 {
        let attempt_id =
            heddle_wire::record::ApplicationAttemptId { application_id: application(9), attempt_id: 1 };
        bench.events.offer(ApplicationEvent::Expired { attempt_id }).unwrap();
    }
    bench.step();
    assert!(bench.events.has_room() && bench.role.scheduler.events.is_empty());
    assert_eq!(bench.role.scheduler.commands.waiting(), 28);
    bench.send(1);
    bench.step();
    assert!(bench.role.stepper.callers.is_empty(), "frames wait until the commands have gone");
    assert!(!bench.role.has_work());
    let mut taken = 0;
    for _ in 0..40 {
        taken += bench.schedule();
        assert!(!bench.role.scheduler.commands.is_held_up() || bench.role.has_work());
        bench.step();
    }
    assert_eq!((taken, bench.role.stepper.callers.len()), (31, 1));
    assert_eq!(bench.late_answers(), [1]);
}

/// All of a cycle's late answers were one batch, up to a thousand pages: more than is kept for a peer that reads slowly, so
/// that one who asks for many pages at once could have been cut for it.
#[test]
fn pages_that_come_at_once_go_out_in_batches_of_the_common_bound() {
    let mut bench = Bench::new(64);
    let page: Box<[u8]> = vec![7; 600 * 1024].into();
    for token in 0..5 {
        let reply = QueryReply::Record(page.clone());
        bench.events.offer(ApplicationEvent::Reply { token, reply }).unwrap();
    }
    let mut batches = Vec::new();
    while bench.role.has_work() {
        bench.step();
        while let Some(batch) = bench.port.poll_answers() {
            batches.push(batch.len());
            assert!(batch.size() <= ANSWERS_SIZE_MAX + page.len());
            bench.port.return_answers(batch);
        }
    }
    assert_eq!(batches, [2, 2, 1], "nothing is lost and nothing waits for something else to happen");
}

/// The net thread has every batch: late answers wait, are bounded by what was asked, and are written when it gives back.
#[test]
fn late_answers_wait_for_a_net_thread_that_is_behind() {
    let mut bench = Bench::new(64);
    let mut kept = Vec::new();
    while kept.len() < BATCHES {
        bench.send(1);
        bench.step();
        bench.schedule();
        bench.step();
        while let Some(batch) = bench.port.poll_answers() {
            kept.push(batch);
        }
    }
    bench.events.offer(ApplicationEvent::Reply { token: 77, reply: QueryReply::Done(0) }).unwrap();
    bench.step();
    assert!(bench.late_answers().is_empty() && !bench.role.has_work());
    for batch in kept {
        bench.port.return_answers(batch);
    }
    assert!(bench.role.has_work());
    bench.step();
    assert_eq!(bench.late_answers().last(), Some(&77));
}

#[test]
fn the_administration_service_is_answered() {
    let mut bench = Bench::new(4);
    let caller = Caller::new(PeerId(1), "root", true);
    bench
        .administration
        .offer(ApplicationCommand::ReplaceClusterMaxPriority { token: 9, caller, maximum: 1 })
        .unwrap();
    assert!(bench.role.has_work());
    bench.step();
    assert_eq!(bench.replies.try_recv().unwrap(), ApplicationReply::Done { token: 9 });
}

#[test]
fn it_ends_when_all_it_said_was_answered() {
    let mut bench = Bench::new(64);
    bench.send(1);
    bench.port.close();
    bench.step();
    assert!(!bench.role.is_drained(), "the scheduler has not answered");
    bench.schedule();
    assert!(!bench.role.is_drained(), "its answer was not taken");
    assert!(!bench.done.is_set());
    bench.step();
    assert!(bench.role.is_drained());
    assert!(bench.done.is_set());
    assert_eq!(bench.late_answers(), [1]);
}

#[test]
fn a_scheduler_that_died_does_not_hold_it_up() {
    let mut bench = Bench::new(1);
    bench.send(3);
    bench.step();
    let Bench { mut role, mut port, commands, events, .. } = bench;
    drop((commands, events));
    port.close();
    role.do_work(Instant::from_millis(2));
    assert!(role.is_drained());
}

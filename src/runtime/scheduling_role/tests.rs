//! The scheduling role at the bounds of its rings, with a stand-in that says what a test wants.

use heddle_wire::record::{ApplicationId, NodeHandle};

use super::*;
use crate::engine::batch::{PeerId, StreamRef};
use crate::engine::event::NodeOrder;
use crate::ring::{SpscProducer, spsc};
use crate::runtime::proxy::{BATCHES, RolePort, connect};

const STREAM: StreamRef = StreamRef::new(0, 1, 1);

/// Says for every node event one order to the same node and one event to the application manager, for every command one
/// event, for every frame an answer, and pushes a number at the end of a step.
#[derive(Default)]
struct Echo {
    output: SchedulerOutput,
    steps: u64,
    pushed: u64,
    /// Bytes of each push.
    push_size: usize,
    wants_step: bool,
    inputs: Vec<&'static str>,
}

fn application(id: u32) -> ApplicationId {
    ApplicationId { cluster_timestamp: 1, id }
}

fn reply(token: u64) -> ApplicationEvent {
    ApplicationEvent::Reply { token, reply: crate::engine::scheduler::message::QueryReply::Done(0) }
}

impl SchedulingSteps for Echo {
    fn handle_frames(
        &mut self,
        _now: Instant,
        batch: &FrameBatch,
        first: usize,
        answers: &mut AnswerBatch,
    ) -> usize {
        self.inputs.push("frames");
        let frames = batch.frames().get(first..).unwrap_or_default();
        for frame in frames {
            answers.push(frame.stream, batch.frame_bytes(frame));
        }
        frames.len()
    }

    fn handle_node_event(&mut self, _now: Instant, event: NodeEvent) {
        self.inputs.push("event");
        self.output.node_commands.push(NodeCommand {
            node: event.node,
            order: NodeOrder::CleanupApplication(application(event.node.row())),
            is_urgent: false,
        });
        self.output.application_events.push(reply(u64::from(event.node.row())));
    }

    fn handle_command(&mut self, _now: Instant, command: SchedulerCommand) {
        self.inputs.push("command");
        if let SchedulerCommand::FinalStateStored { application_id } = command {
            self.output.application_events.push(reply(u64::from(application_id.id)));
        }
    }

    fn handle_tick(&mut self, _now: Instant) {}

    fn end_step(&mut self, _now: Instant, pushes: &mut AnswerBatch) {
        self.steps += 1;
        self.wants_step = false;
        if self.push_size > 0 {
            self.pushed += 1;
            let mut bytes = vec![0; self.push_size];
            bytes[..8].copy_from_slice(&self.pushed.to_le_bytes());
            pushes.push(STREAM, &bytes);
        }
    }

    fn end_cycle(&mut self) {}

    fn output(&mut self) -> &mut SchedulerOutput {
        &mut self.output
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn wants_step(&self) -> bool {
        self.wants_step
    }

    fn used_permille(&self) -> u16 {
        500
    }
}

/// A role and the other end of everything it holds.
struct Bench {
    role: SchedulingRole<Echo>,
    port: Option<RolePort>,
    node_events: SpscProducer<NodeEvent>,
    node_commands: SpscConsumer<NodeCommand>,
    shard_commands: MpscQueue<ShardCommand>,
    shard_done: Arc<Done>,
    commands: SpscProducer<SchedulerCommand>,
    events: SpscConsumer<ApplicationEvent>,
    finished: Arc<AtomicU64>,
    application_done: Arc<Done>,
    now: Instant,
}

impl Bench {
    fn new(node_commands: usize, application_events: usize) -> Self {
        let sleeper = Arc::new(Sleeper::for_current_thread());
        let (port, net) = connect(Arc::clone(&sleeper), Arc::default());
        let (node_events, events_in) = spsc(64);
        let (orders, node_commands) = spsc(node_commands);
        let shard_commands = MpscQueue::new(4);
        let (commands, commands_in) = spsc(64);
        let (events_out, events) = spsc(application_events);
        let (shard_done, application_done, finished) =
            (Arc::<Done>::default(), Arc::<Done>::default(), Arc::<AtomicU64>::default());
        let shard = ShardLink {
            events: events_in,
            commands: Outgoing::new(orders),
            shard_commands: shard_commands.clone(),
            sleeper: Arc::clone(&sleeper),
            done: Arc::clone(&shard_done),
        };
        let application = ApplicationLink {
            commands: commands_in,
            events: Outgoing::new(events_out),
            sleeper,
            finished: Arc::clone(&finished),
            done: Arc::clone(&application_done),
        };
        Self {
            role: SchedulingRole::new(Echo::default(), vec![net], vec![shard], application),
            port: Some(port),
            node_events,
            node_commands,
            shard_commands,
            shard_done,
            commands,
            events,
            finished,
            application_done,
            now: Instant::ZERO,
        }
    }

    fn step(&mut self) -> usize {
        self.now = self.now + std::time::Duration::from_millis(1);
        self.role.do_work(self.now)
    }

    fn port(&mut self) -> &mut RolePort {
        self.port.as_mut().unwrap()
    }

    fn say_event(&mut self, row: u32) {
        self.node_events.offer(NodeEvent::new(NodeHandle::new(0, row, 1))).unwrap();
    }

    fn say_command(&mut self, id: u32) {
        let application_id = application(id);
        self.commands.offer(SchedulerCommand::FinalStateStored { application_id }).unwrap();
    }

    /// Everything the application manager was told, by number.
    fn heard(&mut self) -> Vec<u64> {
        core::iter::from_fn(|| self.events.poll())
            .map(|event| match event {
                ApplicationEvent::Reply { token, .. } => token,
                other => panic!("not said: {other:?}"),
            })
            .collect()
    }
}

#[test]
fn a_cycle_steps_once_whatever_came_in() {
    let mut bench = Bench::new(64, 64);
    assert_eq!(bench.step(), 0);
    bench.say_event(1);
    bench.say_event(2);
    bench.say_command(3);
    bench.port().offer_frame(b"frame", STREAM, PeerId(1)).unwrap();
    bench.port().flush();
    assert!(bench.role.has_work());
    bench.step();
    assert_eq!(bench.role.stepper.inputs, ["command", "event", "event", "frames"]);
    assert_eq!(bench.role.stepper.steps, 1);
    assert!(!bench.role.has_work());
    assert_eq!(bench.step(), 0);
    assert_eq!(bench.heard(), [3, 1, 2]);
}

/// The circle that could close: the application manager's ring is full, and it is the application manager that feeds us.
#[test]
fn a_full_ring_holds_input_back_and_nothing_is_lost() {
    let mut bench = Bench::new(64, 2);
    for id in 0..40 {
        bench.say_command(id);
    }
    let mut heard = Vec::new();
    let mut rounds = 0;
    while heard.len() < 40 {
        bench.step();
        bench.step();
        // Three at most were said and not taken: two in the ring, one in hand.
        assert!(bench.role.application.link.events.waiting() <= 1);
        heard.extend(bench.heard());
        assert!(heard.len() == 40 || bench.role.has_work());
        rounds += 1;
        assert!(rounds <= 40, "no progress: {heard:?}");
    }
    assert_eq!(heard, (0..40).collect::<Vec<_>>());
}

#[test]
fn orders_that_find_no_room_wait_and_hold_input_back() {
    let mut bench = Bench::new(2, 64);
    for row in 0..8 {
        bench.say_event(row);
    }
    bench.step();
    bench.step();
    assert_eq!(bench.role.stepper.inputs.len(), 3, "two orders in the ring, one in hand");
    assert!(!bench.role.has_work(), "nothing can be done before the shard makes room");
    let mut rows = Vec::new();
    for _ in 0..20 {
        while let Some(command) = bench.node_commands.poll() {
            rows.push(command.node.row());
        }
        assert!(rows.len() == 8 || bench.role.has_work());
        bench.step();
    }
    assert_eq!(rows, (0..8).collect::<Vec<_>>());
}

/// The ApplicationMasters' events are told once: a push that is written must not be dropped, and what comes after it
/// must not be before it.
#[test]
fn pushes_are_kept_in_order_while_a_net_thread_is_behind() {
    let mut bench = Bench::new(1_024, 1_024);
    bench.role.stepper.push_size = 300 * 1024;
    let mut kept = Vec::new();
    // Takes every empty batch out of circulation.
    while kept.len() < BATCHES {
        bench.say_event(0);
        bench.step();
        kept.extend(bench.port().poll_answers());
    }
    for _ in 0..50 {
        bench.say_event(0);
        bench.step();
    }
    let pushed = bench.role.stepper.pushed;
    assert!(pushed <= BATCHES as u64 + 4, "{pushed} pushes for a net thread that takes none");
    assert!(bench.role.owes_step && !bench.role.has_work());
    bench.port().offer_frame(&u64::MAX.to_le_bytes(), STREAM, PeerId(1)).unwrap();
    bench.port().flush();
    bench.step();
    let mut numbers = Vec::new();
    for _ in 0..100 {
        for batch in core::mem::take(&mut kept).into_iter().chain(bench.port().poll_answers()) {
            for answer in batch.answers() {
                let bytes = batch.answer_bytes(answer);
                assert_eq!(batch.is_pushes(), bytes.len() > 8);
                numbers.push(u64::from_le_bytes(bytes[..8].try_into().unwrap()));
            }
            bench.port().return_answers(batch);
        }
        bench.step();
    }
    let answer = numbers.iter().position(|number| *number == u64::MAX).expect("the frame was answered");
    numbers.remove(answer);
    assert!(answer as u64 >= pushed, "the answer overtook what was said before it");
    assert_eq!(numbers, (1..=bench.role.stepper.pushed).collect::<Vec<_>>());
    assert!(!bench.role.owes_step);
}

#[test]
fn a_step_that_stopped_at_its_bound_goes_on() {
    let mut bench = Bench::new(4, 4);
    bench.role.stepper.wants_step = true;
    assert!(bench.role.has_work());
    assert_eq!(bench.step(), 1);
    assert_eq!((bench.role.stepper.steps, bench.step()), (1, 0));
}

#[test]
fn load_is_told_when_it_changes() {
    let mut bench = Bench::new(4, 4);
    bench.role.tell_load();
    bench.role.tell_load();
    assert_eq!(bench.shard_commands.poll(), Some(ShardCommand::SetClusterLoad { used_permille: 500 }));
    assert_eq!(bench.shard_commands.poll(), None);
}

#[test]
fn it_ends_after_everybody_who_could_say_something() {
    let mut bench = Bench::new(4, 4);
    bench.say_command(1);
    bench.port().close();
    assert!(!bench.role.is_drained());
    bench.shard_done.set();
    assert!(!bench.role.is_drained(), "the application manager has not ended");
    bench.application_done.set();
    assert!(!bench.role.is_drained(), "a command waits");
    assert_eq!(bench.finished.load(Ordering::Acquire), 0);
    bench.step();
    assert_eq!(bench.finished.load(Ordering::Acquire), 1);
    assert!(bench.role.is_drained());
}

#[test]
fn others_that_died_do_not_hold_it_up() {
    let mut bench = Bench::new(1, 1);
    for row in 0..5 {
        bench.say_event(row);
    }
    let Bench { mut role, port, node_events, node_commands, commands, events, .. } = bench;
    drop((port, node_events, node_commands, commands, events));
    for _ in 0..10 {
        role.do_work(Instant::from_millis(1));
    }
    assert_eq!(role.stepper.inputs.len(), 5);
    assert!(role.is_drained());
}

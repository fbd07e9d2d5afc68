//! ApplicationMasters, clients and nodes together against a small ResourceManager, in virtual time, on a path that breaks.

use std::collections::VecDeque;

use heddle_wire::FrameDecoder;
use heddle_wire::frame::Frame;
use heddle_wire::record::{Resource, YarnApplicationState};

use super::fake_rm::FakeRm;
use super::*;
use crate::fleet::{Chance, Fleet, FleetSpec};
use crate::workload::{ApplicationSpec, Dependency, Durations, TaskGroup};

pub(crate) fn application(submit_ms: u64, maps: u32, reduces: u32) -> ApplicationSpec {
    let map = TaskGroup { count: maps, durations: Durations::Constant(700), ..TaskGroup::default() };
    let reduce = TaskGroup {
        priority: 10,
        count: reduces,
        durations: Durations::List([300, 900].into()),
        after: [Dependency { group: 0, completed_ppm: 800_000 }].into(),
        resource: Resource::new(2_048, 1),
        ..TaskGroup::default()
    };
    ApplicationSpec {
        submit_ms,
        name: "job".into(),
        user: "somebody".into(),
        queue: "default".into(),
        application_type: "TEST".into(),
        priority: None,
        label: None,
        tags: Arc::new([]),
        lifetime_s: None,
        attempts_max: None,
        keeps_containers: false,
        am: crate::workload::AmSpec { start_ms: 30, ..Default::default() },
        groups: Arc::new([map, reduce]),
    }
}

struct World {
    rm: FakeRm,
    fleet: Fleet,
    ams: AmFleet,
    client: SimulatedClient,
    chance: Chance,
    now_us: u64,
    /// By application: frames under way to the ResourceManager and back, in order, with their time of arrival.
    there: Vec<VecDeque<(u64, Vec<u8>)>>,
    back: Vec<VecDeque<(u64, Vec<u8>)>>,
    /// Share of milliseconds in which some stream breaks.
    break_ppm: u32,
    notes: Vec<Note>,
    sent_hash: u64,
    resets: u32,
}

struct Shape {
    per_node: u32,
    pace: AmPace,
    cancel_ppm: u32,
    break_ppm: u32,
    seed: u64,
}

impl World {
    fn new(applications: Vec<ApplicationSpec>, shape: &Shape) -> Self {
        let applications: Arc<[Arc<ApplicationSpec>]> = applications.into_iter().map(Arc::new).collect();
        let spec =
            FleetSpec { nodes: 5, runs_applications: true, start_time_ms: Some(0), ..FleetSpec::default() };
        let mut fleet = Fleet::new(spec, shape.seed);
        (0..5).for_each(|node| fleet.start(node, 0));
        let ams = AmFleetSpec {
            pace: shape.pace,
            churn: None,
            retry_after_us: 5_000_000,
            cancel_ppm: shape.cancel_ppm,
            applications: Arc::clone(&applications),
        };
        let client =
            ClientSpec { applications, poll_us: 500_000, queues_us: 1_000_000, retry_after_us: 5_000_000 };
        let mut client = SimulatedClient::new(client);
        client.begin(0);
        Self {
            rm: FakeRm::new(shape.per_node, shape.seed ^ 7, shape.cancel_ppm > 0),
            fleet,
            ams: AmFleet::new(ams, shape.seed),
            client,
            chance: Chance(shape.seed ^ 99),
            now_us: 0,
            there: Vec::new(),
            back: Vec::new(),
            break_ppm: shape.break_ppm,
            notes: Vec::new(),
            sent_hash: 0xcbf2_9ce4_8422_2325,
            resets: 0,
        }
    }

    fn step(&mut self) {
        self.now_us += 1_000;
        self.beat();
        self.exchange();
        self.submit();
        self.rm.step();
        self.rm.check();
        self.there.resize_with(self.rm.apps.len(), VecDeque::new);
        self.back.resize_with(self.rm.apps.len(), VecDeque::new);
        for (index, bytes) in core::mem::take(&mut self.rm.pushed) {
            self.send_back(index, bytes);
        }
        let mut due = Vec::new();
        self.ams.due(self.now_us, 3, &mut due);
        self.write(&due);
        for index in 0..self.there.len() {
            while self.there[index].front().is_some_and(|frame| frame.0 <= self.now_us) {
                let (_, bytes) = self.there[index].pop_front().unwrap();
                let answer = self.rm.am_frame(&bytes);
                self.send_back(index, answer);
            }
            while self.back[index].front().is_some_and(|frame| frame.0 <= self.now_us) {
                let (_, bytes) = self.back[index].pop_front().unwrap();
                let answer = self.ams.handle_frame(self.now_us, &Frame::from_slice(&bytes).unwrap());
                if let (true, Some(slot)) = (answer.is_due, answer.slot) {
                    self.write(&[slot]);
                }
            }
            if self.chance.hits(self.break_ppm) {
                self.reset(index);
            }
        }
        self.exchange();
    }

    /// A stream breaks: what is under way either way is gone.
    fn reset(&mut self, index: usize) {
        self.resets += 1;
        self.there[index].clear();
        self.back[index].clear();
        self.rm.lose_stream(index);
        let slot = (0..self.ams.slots())
            .find(|slot| self.ams.am(*slot).is_some_and(|am| am.handle.0 == index as u64));
        let mut due = Vec::new();
        if let Some(slot) = slot {
            self.ams.reconnect(slot, &mut due);
        }
        self.write(&due);
    }

    fn write(&mut self, slots: &[u32]) {
        for slot in slots {
            let mut bytes = Vec::new();
            self.ams.write(*slot, self.now_us, &mut bytes);
            for byte in &bytes {
                self.sent_hash = (self.sent_hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            if bytes.is_empty() {
                continue;
            }
            let index = FakeRm::app_of(Frame::from_slice(&bytes).unwrap().header.routing_key);
            let delay_us = u64::from(self.chance.below(4)) * 1_000;
            let after = self.there[index].back().map_or(0, |frame| frame.0);
            self.there[index].push_back(((self.now_us + delay_us).max(after), bytes));
        }
    }

    fn send_back(&mut self, index: usize, bytes: Vec<u8>) {
        let delay_us = u64::from(self.chance.below(4)) * 1_000;
        let after = self.back[index].back().map_or(0, |frame| frame.0);
        self.back[index].push_back(((self.now_us + delay_us).max(after), bytes));
    }

    fn beat(&mut self) {
        let mut due = Vec::new();
        self.fleet.due(self.now_us, usize::MAX, &mut due);
        for node in due {
            let mut bytes = Vec::new();
            self.fleet.write(node, self.now_us, &mut bytes);
            if !bytes.is_empty() {
                let answer = self.rm.node_frame(&bytes);
                self.fleet.handle_frame(self.now_us, &Frame::from_slice(&answer).unwrap());
            }
        }
    }

    fn submit(&mut self) {
        let mut due = Vec::new();
        self.client.due(self.now_us, usize::MAX, &mut due);
        let mut bytes = Vec::new();
        for application in due {
            self.client.write(application, self.now_us, &mut bytes);
        }
        self.client.write_look(self.now_us, &mut bytes);
        let (mut decoder, mut input) = (FrameDecoder::new(), &bytes[..]);
        let mut answers = Vec::new();
        while let Some(frame) = decoder.next_frame(&mut input).unwrap() {
            answers.push(self.rm.client_frame(frame.bytes));
        }
        for answer in answers {
            self.client.handle_frame(self.now_us, &Frame::from_slice(&answer).unwrap());
        }
    }

    fn exchange(&mut self) {
        let handover = core::mem::take(self.fleet.handover().unwrap());
        for (node, order) in handover.launches {
            self.ams.launch(self.now_us, node, &order).unwrap();
        }
        handover.killed.iter().for_each(|id| self.ams.container_killed(id));
        handover.removed.iter().for_each(|id| self.ams.container_removed(id));
        self.notes.extend(handover.notes);
        let outbox = core::mem::take(&mut self.ams.outbox);
        outbox.starts.iter().for_each(|start| assert!(self.fleet.start_task(self.now_us, start)));
        outbox.exits.iter().for_each(|exit| self.fleet.exit(exit));
        self.notes.extend(outbox.notes);
    }

    fn run_until_done(&mut self, limit_ms: u64) {
        for _ in 0..limit_ms {
            if self.client.is_done() {
                return;
            }
            self.step();
        }
        let states: Vec<YarnApplicationState> = self.rm.apps.iter().map(|app| app.state).collect();
        panic!("not done: {states:?} {:?} {:?}", self.ams.counters(), self.client.counters());
    }

    fn check_exact(&self, tasks: u64) {
        let counters = self.ams.counters();
        assert_eq!(
            (counters.over_granted, counters.duplicated, counters.lost, counters.wrong_ids),
            (0, 0, 0, 0),
            "{counters:?}"
        );
        assert_eq!(counters.unexpected, 0, "{counters:?}");
        // Every container was wanted: each task had one, and what was void or given back is all that is left.
        assert_eq!(self.rm.grants, tasks + self.rm.voided + counters.unwanted, "{counters:?}");
        assert_eq!((counters.grants, counters.aborted), (tasks, 0), "{counters:?}");
        let fleet = self.fleet.counters();
        assert_eq!((fleet.tokens_wrong, fleet.starts_late, fleet.starts_refused), (0, 0, 0), "{fleet:?}");
    }
}

fn count(notes: &[Note], kind: NoteKind) -> u64 {
    notes.iter().filter(|note| note.kind == kind).count() as u64
}

#[test]
fn applications_run_from_submission_to_their_end() {
    let every = AmPace::Every { interval_us: 1_000_000 };
    let shape = Shape { per_node: 6, pace: every, cancel_ppm: 0, break_ppm: 0, seed: 1 };
    let mut world = World::new(vec![application(0, 40, 6), application(2_000, 10, 1)], &shape);
    world.run_until_done(60_000);
    world.check_exact(57);
    let (counters, clients) = (world.ams.counters(), world.client.counters());
    assert_eq!(
        (counters.launched, counters.registered, counters.unregistered, world.ams.live()),
        (2, 2, 2, 0)
    );
    assert_eq!((clients.submitted, clients.finished, clients.failed, clients.rejected), (2, 2, 0, 0));
    assert_eq!((clients.makespan_ms(), clients.run_times_ms.as_slice()), (Some(4_000), &[4_000, 4_000][..]));
    assert_eq!(count(&world.notes, NoteKind::AskToGrant), 57);
    assert_eq!(count(&world.notes, NoteKind::Allocate), counters.allocates_answered);
    assert!(counters.grants_pushed > 0 && counters.grants_pushed < 57, "{counters:?}");
    // 30 containers fit at a time: the others had to wait for an end.
    assert!(count(&world.notes, NoteKind::ContainerStart) >= 50);
    assert_eq!(world.fleet.counters().masters_launched, 2);
    let sample = world.client.samples().last().unwrap();
    assert_eq!(sample.queues.iter().map(|queue| &*queue.path).collect::<Vec<_>>(), ["root", "root.default"]);
}

#[test]
fn an_ask_is_exact_whatever_is_cancelled_and_whenever_streams_break() {
    for seed in 0..21 {
        let pace = match seed % 3 {
            0 => AmPace::Every { interval_us: 100_000 },
            1 => AmPace::Every { interval_us: 10_000 },
            _ => AmPace::OnNews { idle_us: 2_000_000 },
        };
        let shape = Shape { per_node: 4, pace, cancel_ppm: 400_000, break_ppm: 3_000, seed };
        let mut world = World::new((0..4).map(|nth| application(nth * 400, 20, 5)).collect(), &shape);
        world.run_until_done(200_000);
        world.check_exact(100);
        assert_eq!(world.client.counters().finished, 4, "{seed}");
    }
}

#[test]
fn cancels_voids_and_repeats_do_occur_in_these_tests() {
    let (mut voided, mut unwanted, mut repeated, mut resets, mut repeats) = (0, 0, 0, 0, 0);
    for seed in 0..9 {
        let pace = AmPace::Every { interval_us: 10_000 };
        let shape = Shape { per_node: 4, pace, cancel_ppm: 400_000, break_ppm: 3_000, seed };
        let mut world = World::new((0..4).map(|nth| application(nth * 100, 20, 5)).collect(), &shape);
        world.run_until_done(200_000);
        let counters = world.ams.counters();
        voided += counters.voided;
        unwanted += counters.unwanted;
        repeated += counters.repeated;
        resets += u64::from(world.resets);
        repeats += world.rm.accepted_repeats;
    }
    assert!(
        voided > 0 && repeated > 0 && resets > 0 && repeats > 0,
        "{voided} {repeated} {resets} {repeats}"
    );
    assert_eq!(unwanted, 0, "asks are lowered in the call that says so");
}

/// Every push put the next call off, so that one who is pushed to often enough was silent until it was taken for gone.
#[test]
fn who_is_pushed_to_calls_all_the_same() {
    const IDLE_US: u64 = 1_000_000;
    let pace = AmPace::OnNews { idle_us: IDLE_US };
    let shape = Shape { per_node: 2, pace, cancel_ppm: 0, break_ppm: 0, seed: 3 };
    let mut world = World::new(vec![application(0, 200, 1)], &shape);
    world.run_until_done(200_000);
    let (counters, idles) = (world.ams.counters(), world.now_us / IDLE_US);
    assert!(counters.pushes > 2 * idles && idles > 10, "{} pushes, {idles}", counters.pushes);
    assert!(counters.allocates_sent > idles / 2, "{} in {idles}", counters.allocates_sent);
}

#[test]
fn the_same_seed_sends_the_same_bytes() {
    let run = |seed| {
        let pace = AmPace::OnNews { idle_us: 1_000_000 };
        let shape = Shape { per_node: 4, pace, cancel_ppm: 300_000, break_ppm: 2_000, seed };
        let mut world = World::new(vec![application(0, 30, 5), application(100, 9, 9)], &shape);
        world.run_until_done(100_000);
        world.sent_hash
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_waiting_grant_is_timed_from_the_report_of_the_end_that_made_room() {
    // One container per node besides the ApplicationMaster's: nodes count as full by their cores.
    let pace = AmPace::Every { interval_us: 1_000_000 };
    let shape = Shape { per_node: 2, pace, cancel_ppm: 0, break_ppm: 0, seed: 3 };
    let mut large = application(0, 30, 1);
    let mut groups = large.groups.to_vec();
    groups.iter_mut().for_each(|group| group.resource = Resource::new(60_000, 30));
    large.groups = groups.into();
    let mut world = World::new(vec![large], &shape);
    world.run_until_done(60_000);
    world.check_exact(31);
    let freed = count(&world.notes, NoteKind::FreeToGrant);
    assert!((5..=31).contains(&freed), "{freed}");
}

/// A ResourceManager pushes only so much beyond what it was told is seen. An ApplicationMaster that got thousands of
/// containers a second and called once a second had each second's last ones half a second late.
#[test]
fn who_is_pushed_much_calls_before_its_time_and_who_is_not_does_not() {
    let calls_of = |maps: u32| {
        let pace = AmPace::Every { interval_us: 60_000_000 };
        let shape = Shape { per_node: 1_000, pace, cancel_ppm: 0, break_ppm: 0, seed: 8 };
        let mut world = World::new(vec![application(0, maps, 0)], &shape);
        while world.ams.counters().grants < u64::from(maps) {
            assert!(world.now_us < 10_000_000, "{}", world.ams.counters().grants);
            world.step();
        }
        (0..20).for_each(|_| world.step());
        world.ams.counters().allocates_sent
    };
    assert_eq!((calls_of(1_000), calls_of(3_000)), (1, 2));
}

#[test]
fn a_killed_application_master_is_silent_and_its_slot_is_used_again() {
    let pace = AmPace::Every { interval_us: 50_000 };
    let shape = Shape { per_node: 6, pace, cancel_ppm: 0, break_ppm: 0, seed: 4 };
    let mut world = World::new(vec![application(0, 400, 5), application(5_000, 4, 1)], &shape);
    (0..3_000).for_each(|_| world.step());
    assert_eq!(world.ams.live(), 1);
    let am = world.ams.am(0).unwrap();
    assert!(am.held() > 0 && am.wanted() > 0);
    let container_id = am.container.unwrap().0;
    world.ams.container_killed(&container_id);
    let sent = world.ams.counters().allocates_sent;
    (0..1_500).for_each(|_| world.step());
    assert_eq!((world.ams.live(), world.ams.counters().allocates_sent), (0, sent));
    assert_eq!(world.ams.counters().killed, 1);
    let launched = Launched {
        attempt_id: container_id.application_attempt_id,
        handle: heddle_wire::record::AttemptHandle(9),
        am_rm_token: heddle_wire::record::TokenMac { key_id: 0, mac: [0; 32] },
        user: "somebody".into(),
        spec: Arc::new(application(0, 1, 1)),
        container: None,
    };
    assert_eq!((world.ams.start(world.now_us, launched), world.ams.slots()), (0, 1));
}

#[test]
fn any_frame_is_survived() {
    use heddle_wire::frame::FrameHeader;
    use heddle_wire::{Flags, Opcode};
    let pace = AmPace::Every { interval_us: 50_000 };
    let shape = Shape { per_node: 6, pace, cancel_ppm: 0, break_ppm: 0, seed: 8 };
    let mut world = World::new(vec![application(0, 40, 5)], &shape);
    (0..2_000).for_each(|_| world.step());
    let mut chance = Chance(3);
    for _ in 0..20_000 {
        let opcode = [
            Opcode::Allocate,
            Opcode::RegisterApplicationMaster,
            Opcode::FinishApplicationMaster,
            Opcode::GetApplicationReport,
            Opcode::GetQueueInfo,
            Opcode::NodeHeartbeat,
        ][chance.below(6) as usize];
        let flags = [Flags::REQUEST, Flags::RESPONSE, Flags::REJECT, Flags::PUSH][chance.below(4) as usize];
        let body: Vec<u8> = (0..chance.below(300)).map(|_| (chance.next() & 3) as u8).collect();
        let header = FrameHeader {
            opcode,
            flags,
            body_length: body.len() as u32,
            correlation_id: (chance.next() & 0x8000_0003_0000_0003) | 1 << 32,
            routing_key: chance.next() & 1,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&body);
        let frame = Frame::from_slice(&bytes).unwrap();
        world.ams.handle_frame(world.now_us, &frame);
        world.client.handle_frame(world.now_us, &frame);
    }
    assert!(world.ams.counters().unexpected > 0);
}

/// A registration that was refused as misuse was always taken for one whose answer was lost: the ApplicationMaster of an
/// attempt that had ended believed to be registered.
#[test]
fn only_who_is_told_to_be_registered_already_goes_on() {
    use heddle_wire::application_master::{ALREADY_REGISTERED, AllocateRequest};
    use heddle_wire::record::{ApplicationAttemptId, ApplicationId, AttemptHandle, TokenMac};
    use heddle_wire::{Opcode, RejectCode};

    let pace = AmPace::Every { interval_us: 1_000_000 };
    let applications = Arc::new([]);
    let spec = AmFleetSpec { pace, churn: None, retry_after_us: 1_000_000, cancel_ppm: 0, applications };
    let texts = [&format!("{ALREADY_REGISTERED} : application_1_0001"), "the attempt doesn't exist in cache"];
    for (text, lives) in texts.into_iter().zip([true, false]) {
        let mut ams = AmFleet::new(spec.clone(), 1);
        let application_id = ApplicationId { cluster_timestamp: 1, id: 1 };
        let launched = Launched {
            attempt_id: ApplicationAttemptId { application_id, attempt_id: 1 },
            handle: AttemptHandle::new(0, 7, 1),
            am_rm_token: TokenMac { key_id: 1, mac: [1; 32] },
            user: "ada".into(),
            spec: application(0, 1, 0).into(),
            container: None,
        };
        let slot = ams.start(0, launched);
        let (now_us, mut request) = (ams.next_due_us().unwrap(), Vec::new());
        ams.write(slot, now_us, &mut request);
        let asked = Frame::from_slice(&request).unwrap();
        assert_eq!(asked.header.opcode, Opcode::RegisterApplicationMaster);
        let refusal = fake_rm::reject(RejectCode::InvalidApplicationMasterRequest, text, &asked);
        ams.handle_frame(now_us, &Frame::from_slice(&refusal).unwrap());
        let counters = ams.counters();
        assert_eq!((ams.live(), counters.killed), if lives { (1, 0) } else { (0, 1) }, "{text}");
        if !lives {
            continue;
        }
        request.clear();
        ams.write(slot, ams.next_due_us().unwrap(), &mut request);
        let next = Frame::from_slice(&request).unwrap();
        assert_eq!(next.header.opcode, Opcode::Allocate);
        let next: AllocateRequest = heddle_wire::decode(next.body()).unwrap();
        assert!(next.am_rm_token.is_some(), "its stream may not be the one it registered on");
    }
}

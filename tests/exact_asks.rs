//! Exact asks: an ApplicationMaster that follows the protocol, against every interleaving of asks, cancels, grants and
//! frames that arrive late, twice or not at all. It never has one container more or fewer than it wanted.
//! Owns: [`World`] (an AM, a network, the door). Does not: test what the door says besides; `tests/application_master` does.

#[path = "application_master/fake.rs"]
mod fake;

use std::collections::{BTreeSet, VecDeque};

use fake::{Am, Door, ask};
use heddle::engine::batch::StreamRef;
use heddle_wire::RejectCode;
use heddle_wire::application_master::{AllocateRequest, AllocateResponse};
use heddle_wire::record::{Container, ContainerId};
use proptest::prelude::*;

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The AM wants one container more.
    More,
    /// The AM wants one fewer, where it has not got it yet.
    Fewer,
    /// The AM calls.
    Call,
    /// The AM calls with a fault besides: the call is refused whole.
    FaultyCall,
    /// The call arrives and is answered.
    Arrive,
    /// There is room for one more container.
    Room,
    /// A node goes before the AM is told of what was granted there, and another comes.
    Lose,
    /// The next frame arrives at the AM.
    Receive,
    /// The stream breaks with everything on it; the AM repeats its call on another.
    Break,
}

const ALL: [Action; 9] = [
    Action::More,
    Action::Fewer,
    Action::Call,
    Action::FaultyCall,
    Action::Arrive,
    Action::Room,
    Action::Lose,
    Action::Receive,
    Action::Break,
];

/// A call the AM waits for, and what it said.
#[derive(Clone)]
struct Outstanding {
    request: AllocateRequest,
    target: u64,
    has_arrived: bool,
    /// Grants above the target that came meanwhile: void, unless the call is refused.
    aside: Vec<Container>,
}

enum Sent {
    Answer(AllocateResponse),
    Refused,
    Push(AllocateResponse),
}

struct World {
    door: Door,
    am: Am,
    /// Containers wanted in all, those it has counted.
    wanted: u64,
    has: Vec<ContainerId>,
    outstanding: Option<Outstanding>,
    /// On their way to the AM.
    frames: VecDeque<Sent>,
    rows: u32,
    slot: u32,
}

impl World {
    fn new(wanted: u64) -> Self {
        let mut door = Door::default();
        let am = door.registered(0);
        let frames = VecDeque::new();
        Self { door, am, wanted, has: Vec::new(), outstanding: None, frames, rows: 0, slot: 1 }
    }

    fn seen(&self) -> u64 {
        self.has.len() as u64
    }

    /// Does it, where it can be done.
    fn act(&mut self, action: Action) -> bool {
        match action {
            Action::More => self.wanted += 1,
            Action::Fewer if self.wanted > self.seen() => self.wanted -= 1,
            Action::Call | Action::FaultyCall if self.outstanding.is_none() => {
                let count = i32::try_from(self.wanted - self.seen()).expect("a few");
                let mut request = self.am.allocate(vec![ask(1, count, Some(self.seen()))]);
                if action == Action::FaultyCall {
                    request.asks.push(ask(2, -1, None));
                }
                self.outstanding =
                    Some(Outstanding { request, target: self.wanted, has_arrived: false, aside: Vec::new() });
            }
            Action::Arrive => {
                let Some(call) = self.outstanding.as_mut().filter(|call| !call.has_arrived) else {
                    return false;
                };
                call.has_arrived = true;
                let reply = self.door.send(&self.am, &call.request.clone());
                self.frames.push_back(match reply.code() {
                    None => Sent::Answer(reply.allocate()),
                    Some(RejectCode::InvalidResourceRequest) => Sent::Refused,
                    Some(code) => panic!("{code:?}: {:?}", reply.reject()),
                });
                self.push();
            }
            Action::Room if self.rows < 40 => {
                self.rows += 1;
                self.door.add_node(self.rows, 1);
                self.push();
            }
            Action::Lose if self.rows < 40 => {
                self.rows += 2;
                let (lost, kept) = (self.rows - 1, self.rows);
                self.door.add_node(lost, 1);
                self.door.scheduler(|scheduler, out| {
                    let now = heddle::engine::time::Instant::ZERO;
                    heddle::engine::scheduler::face::ResourceScheduler::schedule(scheduler, now, out);
                    let node = heddle_wire::record::NodeHandle::new(0, lost, 1);
                    scheduler.lose_node(node, out);
                });
                self.door.add_node(kept, 1);
                self.push();
            }
            Action::Receive => {
                let Some(sent) = self.frames.pop_front() else { return false };
                self.receive(sent);
            }
            Action::Break if self.slot < 20 => {
                self.slot += 1;
                self.am.stream = StreamRef::new(0, self.slot, 1);
                self.frames.clear();
                let token = self.am.token();
                let Some(call) = &mut self.outstanding else {
                    // An AM with nothing to repeat calls at once, to be pushed to again.
                    self.act(Action::Call);
                    if let Some(call) = &mut self.outstanding {
                        call.request.am_rm_token = Some(token);
                    }
                    return true;
                };
                call.request.am_rm_token = Some(token);
                call.has_arrived = false;
            }
            _ => return false,
        }
        true
    }

    fn push(&mut self) {
        for push in self.door.pushes() {
            if push.stream == self.am.stream {
                self.frames.push_back(Sent::Push(push.allocate()));
            }
        }
    }

    fn receive(&mut self, sent: Sent) {
        match sent {
            Sent::Push(response) => {
                // A push repeats the id of the last answer; the AM goes by answers.
                let response_id = self.am.response_id;
                let grants = self.am.take_in(&response).0;
                self.am.response_id = response_id;
                self.take_grants(grants);
            }
            Sent::Answer(response) => {
                let grants = self.am.take_in(&response).0;
                self.take_grants(grants);
                // What was set aside is void: the answer says that the target holds.
                self.outstanding = None;
            }
            Sent::Refused => {
                let call = self.outstanding.take().expect("an answer to a call");
                self.take_grants(call.aside);
            }
        }
    }

    fn take_grants(&mut self, grants: Vec<Container>) {
        for grant in grants {
            if let Some(call) = &mut self.outstanding
                && grant.grant_number > call.target
            {
                call.aside.push(grant);
                continue;
            }
            assert_eq!(grant.grant_number, self.seen() + 1, "grants are numbered one after the other");
            self.has.push(grant.container_id);
            // What was on its way when it changed its mind, and before it said so, it has to take.
            self.wanted = self.wanted.max(self.seen());
        }
    }

    /// Everything arrives, there is room for all: then it has exactly what it wants.
    fn settle(mut self) -> Result<(), TestCaseError> {
        for round in 0..6 {
            self.act(Action::Arrive);
            while self.act(Action::Receive) {}
            if round == 1 {
                self.door.add_node(1_000, 1_000);
                self.push();
            }
            self.act(Action::Call);
        }
        let attempt = self.am.attempt;
        let mut live = BTreeSet::new();
        self.door.scheduler(|scheduler, _| live = scheduler.live(attempt));
        prop_assert_eq!(self.seen(), self.wanted, "one more or one fewer than wanted");
        prop_assert_eq!(live, self.has.into_iter().collect::<BTreeSet<_>>(), "both sides count the same");
        Ok(())
    }
}

/// From an AM whose first call is on its way, or is answered and waits for room.
fn run(is_answered: bool, actions: &[Action]) -> Option<World> {
    let mut world = World::new(if is_answered { 1 } else { 2 });
    world.act(Action::Call);
    if is_answered {
        world.act(Action::Arrive);
        world.act(Action::Receive);
    }
    actions.iter().all(|action| world.act(*action)).then_some(world)
}

/// Every sequence of so many actions that can happen. Five are enough for a cancel that crosses a grant.
fn every_interleaving(is_answered: bool) -> u32 {
    const DEPTH: usize = 5;
    let (mut path, mut count) = (Vec::new(), 0_u32);
    let mut next = vec![0_usize];
    while let Some(index) = next.last_mut() {
        let Some(action) = ALL.get(*index) else {
            next.pop();
            path.pop();
            continue;
        };
        *index += 1;
        path.push(*action);
        match run(is_answered, &path) {
            None => {
                path.pop();
            }
            Some(world) if path.len() == DEPTH => {
                world.settle().unwrap_or_else(|error| panic!("{path:?}: {error}"));
                count += 1;
                path.pop();
            }
            Some(_) => next.push(0),
        }
    }
    count
}

#[test]
fn every_short_interleaving_with_a_call_on_its_way_is_exact() {
    assert!(every_interleaving(false) > 5_000);
}

#[test]
fn every_short_interleaving_with_an_ask_that_waits_is_exact() {
    assert!(every_interleaving(true) > 5_000);
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => Just(Action::More),
        3 => Just(Action::Fewer),
        4 => Just(Action::Call),
        1 => Just(Action::FaultyCall),
        4 => Just(Action::Arrive),
        3 => Just(Action::Room),
        1 => Just(Action::Lose),
        6 => Just(Action::Receive),
        1 => Just(Action::Break),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn long_random_interleavings_are_exact(actions in prop::collection::vec(action(), 0..150)) {
        let mut world = World::new(3);
        for action in actions {
            world.act(action);
        }
        world.settle()?;
    }
}

/// Without the number of grants seen the same race gives one too many: the AM says "one more" while one is on its way.
#[test]
fn plain_counts_over_allocate_and_exact_ones_do_not() {
    for (seen, expected) in [(None, 2), (Some(0), 1)] {
        let mut door = Door::default();
        let am = door.registered(0);
        door.send(&am, &am.allocate(vec![ask(1, 1, seen)])).allocate();
        door.add_node(1, 5);
        assert_eq!(door.pushes().len(), 1);
        // Sent before the push came.
        let crossing = AllocateRequest { response_id: 1, ..am.allocate(vec![ask(1, 1, seen)]) };
        door.send(&am, &crossing).allocate();
        let attempt = am.attempt;
        door.scheduler(|scheduler, _| assert_eq!(scheduler.live(attempt).len(), expected));
    }
}

//! The network between nodes and the ResourceManager: when a message arrives, how often, or not at all.
//! Owns: [`Network`], one link per node and direction. Called by: the simulation. Thread: the run's.
//! Does not: look into messages. Invariants: a message of a connection that was dropped never arrives; without
//! reordering, messages of one direction of a connection arrive in their order; what is under way is bounded.

use super::chance::Chance;
use super::coverage::{Coverage, Kind};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToRm,
    ToNode,
}

/// What the network does, per thousand messages, until it is healed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) loss_permille: u64,
    pub(crate) duplicate_permille: u64,
    pub(crate) reorder_permille: u64,
    pub(crate) slow_permille: u64,
    /// Longest delay of a slow message, microseconds.
    pub(crate) slow_us_max: u64,
    /// Longest usual delay.
    pub(crate) delay_us_max: u64,
}

/// Shortest delay: an answer is never there before its request was sent by the clock of leases, which counts ms.
const DELAY_US_MIN: u64 = 1_100;

/// Most copies of messages under way. A node has one request out and each has at most a few copies.
const IN_FLIGHT_MAX: usize = 20_000;

#[derive(Clone, Debug)]
struct Link {
    generation: u32,
    is_up: bool,
    /// No message passes before, by direction.
    cut_until_us: [u64; 2],
    last_us: [u64; 2],
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    links: Vec<Link>,
    pub(crate) weather: Weather,
    in_flight: usize,
}

impl Network {
    pub(crate) fn new(nodes: usize, weather: Weather) -> Self {
        let link = Link { generation: 1, is_up: true, cut_until_us: [0; 2], last_us: [0; 2] };
        Self { links: vec![link; nodes], weather, in_flight: 0 }
    }

    pub(crate) fn generation(&self, node: usize) -> u32 {
        self.links[node].generation
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.links[node].is_up
    }

    /// The connection ends; what is under way on it is gone.
    pub(crate) fn drop_connection(&mut self, node: usize) {
        let link = &mut self.links[node];
        link.is_up = false;
        link.generation += 1;
        link.last_us = [0; 2];
    }

    /// There is a connection again.
    pub(crate) fn connect(&mut self, node: usize) {
        self.links[node].is_up = true;
    }

    /// Nothing passes in this direction before `until_us`.
    pub(crate) fn cut(&mut self, node: usize, direction: Direction, until_us: u64) {
        self.links[node].cut_until_us[direction as usize] = until_us;
    }

    /// All faults end; what is under way arrives.
    pub(crate) fn heal(&mut self) {
        let delay_us_max = self.weather.delay_us_max;
        self.weather = Weather { delay_us_max, ..Weather::default() };
        for link in &mut self.links {
            link.cut_until_us = [0; 2];
        }
    }

    /// When copies of a message sent now arrive; `None` twice when it is lost.
    pub(crate) fn send(
        &mut self,
        now_us: u64,
        node: usize,
        direction: Direction,
        chance: &mut Chance,
        coverage: &mut Coverage,
    ) -> Result<[Option<u64>; 2], String> {
        let weather = &self.weather;
        let link = &mut self.links[node];
        if !link.is_up {
            return Ok([None; 2]);
        }
        if now_us < link.cut_until_us[direction as usize] {
            let to_rm = direction == Direction::ToRm;
            coverage.hit(if to_rm { Kind::PartitionToRm } else { Kind::PartitionToNode });
            return Ok([None; 2]);
        }
        if chance.hits(weather.loss_permille) {
            coverage.hit(Kind::Loss);
            return Ok([None; 2]);
        }
        let mut at_us = now_us + DELAY_US_MIN + chance.below(weather.delay_us_max);
        if chance.hits(weather.slow_permille) {
            coverage.hit(Kind::Delay);
            at_us += chance.below(weather.slow_us_max);
        }
        let last_us = &mut link.last_us[direction as usize];
        if chance.hits(weather.reorder_permille) {
            if at_us < *last_us {
                coverage.hit(Kind::Reordering);
            }
        } else {
            at_us = at_us.max(*last_us);
        }
        *last_us = (*last_us).max(at_us);
        let mut copies = [Some(at_us), None];
        if chance.hits(weather.duplicate_permille) {
            coverage.hit(Kind::Duplication);
            copies[1] = Some(at_us + chance.below(weather.slow_us_max.max(1)));
        }
        self.in_flight += copies.iter().flatten().count();
        if self.in_flight > IN_FLIGHT_MAX {
            return Err(format!("{} messages are under way, at most {IN_FLIGHT_MAX} may be", self.in_flight));
        }
        Ok(copies)
    }

    /// A copy arrived. False when its connection was dropped in the meantime.
    pub(crate) fn arrive(&mut self, node: usize, generation: u32) -> bool {
        self.in_flight -= 1;
        self.links[node].generation == generation && self.links[node].is_up
    }
}

//! What a run does to its own nodes: kill or pause some of them at a time.
//! Owns: the form of the flags and which nodes are meant. Called by: the command line (parses), the driver (asks).
//! Does not: do it; the driver tells the fleet. Invariants: the same script and node count mean the same nodes; a fault
//! hits nodes that no earlier one of the script hit, as far as there are.

use core::fmt;
use core::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// Something done to `nodes` nodes, spread evenly over the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How many.
    pub nodes: u32,
    /// When, from the start of the measurement.
    pub at: Duration,
    /// Back after; `None` = dead for good.
    pub pause: Option<Duration>,
}

/// The nodes one fault is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Victims {
    /// Nodes of the whole run, and the step of the walk over them; the two have no common divisor.
    nodes: u32,
    stride: u32,
    /// The part of the walk that is meant.
    first: u32,
    count: u32,
}

impl Victims {
    /// The victims of each of `faults`, in their order: no node is meant twice before all are.
    pub(super) fn of(faults: &[Fault], nodes: u32) -> Vec<Self> {
        let nodes = nodes.max(1);
        let (stride, mut first) = (stride(nodes), 0);
        let mut all = Vec::with_capacity(faults.len());
        for fault in faults {
            let count = fault.nodes.min(nodes);
            all.push(Self { nodes, stride, first, count });
            first = ((u64::from(first) + u64::from(count)) % u64::from(nodes)) as u32;
        }
        all
    }

    /// Their numbers, each once.
    pub(super) fn nodes(self) -> impl Iterator<Item = u32> {
        let places = u64::from(self.first)..u64::from(self.first) + u64::from(self.count);
        places.map(move |place| (place * u64::from(self.stride) % u64::from(self.nodes)) as u32)
    }
}

/// A step that visits each of `nodes` once. Any piece of the walk is spread evenly, as it is near the golden section.
fn stride(nodes: u32) -> u32 {
    const fn divisor(left: u32, right: u32) -> u32 {
        if right == 0 { left } else { divisor(right, left % right) }
    }
    let golden = (f64::from(nodes) * 0.618_033_988_75) as u32;
    (golden.max(1)..=nodes).find(|stride| divisor(nodes, *stride) == 1).unwrap_or(1)
}

/// A text that is not a duration or a fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// Not a duration.
    #[error("{0:?} is not a duration, accepted are a number with a unit: 500us, 250ms, 30s, 5m, 1h")]
    Duration(String),
    /// Not `N@T`.
    #[error("{0:?} is not N@T, for example 100@10s")]
    Kill(String),
    /// Not `N@T:D`.
    #[error("{0:?} is not N@T:D, for example 100@10s:5s")]
    Pause(String),
}

/// Reads `500us`, `250ms`, `30s`, `5m`, `1h`, also with a fraction.
///
/// # Errors
/// [`ScriptError::Duration`].
pub fn parse_duration(text: &str) -> Result<Duration, ScriptError> {
    let bad = || ScriptError::Duration(text.chars().take(64).collect());
    let split = text.find(|symbol: char| symbol.is_ascii_alphabetic()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(bad()),
    };
    let number = number.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    Duration::try_from_secs_f64(number.ok_or_else(bad)? * scale).map_err(|_| bad())
}

/// Reads `N@T`: so many nodes die at that time.
///
/// # Errors
/// [`ScriptError`].
pub fn parse_kill(text: &str) -> Result<Fault, ScriptError> {
    let bad = || ScriptError::Kill(text.chars().take(64).collect());
    let (nodes, at) = text.split_once('@').ok_or_else(bad)?;
    Ok(Fault { nodes: nodes.parse().map_err(|_| bad())?, at: parse_duration(at)?, pause: None })
}

/// Reads `N@T:D`: so many nodes fall silent at that time for so long.
///
/// # Errors
/// [`ScriptError`].
pub fn parse_pause(text: &str) -> Result<Fault, ScriptError> {
    let bad = || ScriptError::Pause(text.chars().take(64).collect());
    let (nodes, rest) = text.split_once('@').ok_or_else(bad)?;
    let (at, pause) = rest.split_once(':').ok_or_else(bad)?;
    let pause = Some(parse_duration(pause)?);
    Ok(Fault { nodes: nodes.parse().map_err(|_| bad())?, at: parse_duration(at)?, pause })
}

/// How often a node beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Open loop: this often, by the ResourceManager's plan.
    Every(Duration),
    /// Closed loop: the next beat as soon as the answer came.
    Max,
}

impl FromStr for Interval {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        if text == "max" { Ok(Self::Max) } else { parse_duration(text).map(Self::Every) }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => write!(f, "{interval:?}"),
            Self::Max => write!(f, "max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        for bad in ["", "5", "s", "-1s", "1d", "NaNs", "infs", "1e400s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!("max".parse(), Ok(Interval::Max));
        assert!(parse_duration("5").unwrap_err().to_string().contains("250ms"));
    }

    #[test]
    fn faults() {
        let pause = Some(Duration::from_secs(5));
        assert_eq!(parse_pause("10@3s:5s"), Ok(Fault { nodes: 10, at: Duration::from_secs(3), pause }));
        assert_eq!(parse_kill("7@1m"), Ok(Fault { nodes: 7, at: Duration::from_secs(60), pause: None }));
        for bad in ["", "7", "@1s", "x@1s", "7@", "7@1"] {
            assert!(parse_kill(bad).is_err(), "{bad}");
        }
        assert!(parse_pause("7@1s").is_err());
    }

    fn victims(counts: &[u32], nodes: u32) -> Vec<Vec<u32>> {
        let fault = |count: &u32| Fault { nodes: *count, at: Duration::ZERO, pause: None };
        let faults: Vec<Fault> = counts.iter().map(fault).collect();
        Victims::of(&faults, nodes).into_iter().map(|victims| victims.nodes().collect()).collect()
    }

    #[test]
    fn exactly_as_many_nodes_are_hit() {
        for (hit, nodes) in [(0, 10), (1, 10), (3, 10), (7, 1_000), (10, 10), (12, 10), (1, 1), (2, 2)] {
            let mut hits = victims(&[hit], nodes).remove(0);
            hits.sort_unstable();
            hits.dedup();
            assert_eq!(hits.len() as u32, hit.min(nodes));
            assert!(hits.iter().all(|node| *node < nodes));
        }
    }

    #[test]
    fn further_faults_hit_nodes_that_are_left() {
        for nodes in [1, 2, 6, 100, 128, 997, 10_000] {
            let (third, half) = (nodes / 3, nodes / 2);
            let mut distinct: Vec<u32> = victims(&[third, third, third], nodes).concat();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len() as u32, third * 3, "{nodes}");
            // More than there are: every node is hit before one is hit again.
            let mut all: Vec<u32> = victims(&[half, nodes - half, 1], nodes).concat();
            assert_eq!(all.pop(), Some(all[0]));
            all.sort_unstable();
            assert_eq!(all, (0..nodes).collect::<Vec<_>>());
        }
    }

    #[test]
    fn they_are_spread_evenly() {
        for hits in victims(&[100, 100, 100], 10_000) {
            let tenths = (0..10).map(|tenth| hits.iter().filter(|node| **node / 1_000 == tenth).count());
            tenths.for_each(|count| assert!((7..=13).contains(&count), "{count}"));
        }
    }
}

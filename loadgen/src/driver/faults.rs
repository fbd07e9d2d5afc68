//! What a run does to its own nodes: kill or pause some of them at a time.
//! Owns: the form of the flags and which nodes are meant. Called by: the command line (parses), the driver (asks).
//! Does not: do it; the driver tells the fleet. Invariant: the same script and node count mean the same nodes.

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

impl Fault {
    /// Whether node `node` of `nodes` is meant.
    #[must_use]
    pub fn hits(&self, node: u32, nodes: u32) -> bool {
        // Bresenham's rule: exactly `self.nodes` of them, evenly spread.
        let (node, nodes, hit) = (u64::from(node), u64::from(nodes.max(1)), u64::from(self.nodes));
        hit >= nodes || (node + 1) * hit / nodes > node * hit / nodes
    }
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

    #[test]
    fn exactly_as_many_nodes_are_hit() {
        for (hit, nodes) in [(0, 10), (1, 10), (3, 10), (7, 1_000), (10, 10), (12, 10)] {
            let fault = Fault { nodes: hit, at: Duration::ZERO, pause: None };
            let count = (0..nodes).filter(|node| fault.hits(*node, nodes)).count();
            assert_eq!(count as u32, hit.min(nodes));
        }
    }
}

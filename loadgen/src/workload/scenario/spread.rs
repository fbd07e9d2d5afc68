//! Amounts of a scenario: a number, a time, or a distribution of either.
//! Owns: [`Amount`], [`Time`] and how both are written. Called by: the scenario's reader. Thread: the reader's.
//! Does not: draw. Invariant: every parameter is finite and not negative, least is not above most.

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Value;

use crate::workload::durations::{Distribution, Shape};
use crate::workload::{TASKS_MAX, TIME_MS_MAX};

/// What a scalar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Number,
    Milliseconds,
}

/// A distribution of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount(pub(super) Distribution);

/// A distribution of times, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) Distribution);

/// One time, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ms(pub(super) u64);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        parse(&Value::deserialize(input)?, Unit::Number).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        parse(&Value::deserialize(input)?, Unit::Milliseconds).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Ms {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let value = scalar(&Value::deserialize(input)?, Unit::Milliseconds).map_err(D::Error::custom)?;
        Ok(Self(value.round() as u64))
    }
}

/// A text such as `250ms`, `1.5s`, `10m`, `2h`, `1d`, as milliseconds.
fn milliseconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let factor = match text[digits..].trim() {
        "ms" => 1.0,
        "s" => 1e3,
        "m" | "min" => 60e3,
        "h" => 3_600e3,
        "d" => 86_400e3,
        _ => return None,
    };
    text[..digits].parse::<f64>().ok().map(|value| value * factor)
}

fn scalar(value: &Value, unit: Unit) -> Result<f64, String> {
    let (number, max, accepted) = match unit {
        Unit::Number => (None, TASKS_MAX as f64, "a number from 0 to 10000000"),
        Unit::Milliseconds => (
            value.as_str().and_then(milliseconds),
            TIME_MS_MAX as f64,
            "a time such as \"250ms\", \"1.5s\", \"10m\", up to a hundred years",
        ),
    };
    let number = match (unit, value) {
        (Unit::Number, Value::Integer(whole)) => Some(*whole as f64),
        (Unit::Number, Value::Float(real)) => Some(*real),
        // Nothing takes no time, whatever the unit.
        (Unit::Milliseconds, Value::Integer(0)) => Some(0.0),
        _ => number,
    };
    let number = number.filter(|number| (0.0..=max).contains(number));
    number.ok_or_else(|| format!("{} is not accepted, accepted is {accepted}", shown(value)))
}

fn shown(value: &Value) -> String {
    crate::workload::error::cut(&value.to_string())
}

fn parse(value: &Value, unit: Unit) -> Result<Distribution, String> {
    let Value::Table(table) = value else { return scalar(value, unit).map(Distribution::constant) };
    const KINDS: [&str; 6] = ["constant", "uniform", "exponential", "normal", "lognormal", "pareto"];
    if let Some(key) =
        table.keys().find(|key| !KINDS.contains(&key.as_str()) && *key != "min" && *key != "max")
    {
        let accepted = KINDS.join(", ");
        return Err(format!(
            "{:?} is not accepted, accepted are {accepted}, min and max",
            crate::workload::error::cut(key)
        ));
    }
    let mut kinds = KINDS.iter().filter_map(|kind| Some((*kind, table.get(*kind)?)));
    let (Some((kind, inner)), None) = (kinds.next(), kinds.next()) else {
        return Err(format!(
            "{} is not accepted, accepted is a table with one of {}",
            shown(value),
            KINDS.join(", ")
        ));
    };
    let bound = |name: &str, default: f64| table.get(name).map_or(Ok(default), |value| scalar(value, unit));
    let most = match unit {
        Unit::Number => TASKS_MAX as f64,
        Unit::Milliseconds => TIME_MS_MAX as f64,
    };
    let (mut min, mut max) = (bound("min", 0.0)?, bound("max", most)?);
    let part = |name: &str, unit: Unit| {
        let names = inner.as_table().filter(|table| table.len() == 2);
        let value = names.and_then(|table| table.get(name));
        let value =
            value.ok_or_else(|| format!("{kind} is {}, accepted is {}", shown(inner), written(kind)))?;
        scalar(value, unit).map_err(|reason| format!("{kind}.{name}: {reason}"))
    };
    let shape = match kind {
        "constant" => Shape::Constant(scalar(inner, unit)?),
        "uniform" => {
            let Some([low, high]) = inner.as_array().map(Vec::as_slice) else {
                return Err(format!("uniform is {}, accepted is {}", shown(inner), written(kind)));
            };
            (min, max) = (scalar(low, unit)?, scalar(high, unit)?);
            Shape::Uniform
        }
        "exponential" => Shape::Exponential { mean: scalar(inner, unit)? },
        "normal" => Shape::Normal { mean: part("mean", unit)?, deviation: part("deviation", unit)? },
        "lognormal" => {
            let (mean, deviation) = (part("mean", unit)?, part("deviation", unit)?);
            if mean <= 0.0 { Shape::Constant(0.0) } else { Shape::LogNormal { mean, deviation } }
        }
        _ => {
            let (least, alpha) = (part("least", unit)?, part("alpha", Unit::Number)?);
            if alpha <= 0.0 {
                return Err("pareto.alpha: 0 is not accepted, accepted is a number above 0".to_owned());
            }
            Shape::Pareto { least, alpha }
        }
    };
    if min > max {
        return Err(format!("min {min} is above max {max}"));
    }
    Ok(Distribution { shape, min, max })
}

/// How a kind is written.
fn written(kind: &str) -> &'static str {
    match kind {
        "uniform" => "[least, most]",
        "pareto" => "{ least, alpha }",
        _ => "{ mean, deviation }",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Result<Distribution, String> {
        let table: toml::Table =
            format!("x = {text}").parse().map_err(|error: toml::de::Error| error.to_string())?;
        parse(&table["x"], Unit::Milliseconds)
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(time("\"1.5s\""), Ok(Distribution::constant(1_500.0)));
        assert_eq!(time("0"), Ok(Distribution::constant(0.0)));
        let shape = |text: &str| time(text).unwrap().shape;
        assert_eq!(shape("{ exponential = \"2m\" }"), Shape::Exponential { mean: 120_000.0 });
        assert_eq!(
            shape("{ lognormal = { mean = \"1h\", deviation = \"1d\" } }"),
            Shape::LogNormal { mean: 3_600_000.0, deviation: 86_400_000.0 }
        );
        assert_eq!(
            shape("{ pareto = { least = \"1s\", alpha = 1.5 } }"),
            Shape::Pareto { least: 1_000.0, alpha: 1.5 }
        );
        let uniform = time("{ uniform = [\"1s\", \"3s\"] }").unwrap();
        assert_eq!((uniform.min, uniform.max, uniform.mean()), (1_000.0, 3_000.0, Some(2_000.0)));
        assert_eq!(time("{ exponential = \"2s\", min = \"1s\", max = \"5s\" }").unwrap().max, 5_000.0);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            let error = time(text).unwrap_err();
            assert!(error.contains(expected), "{error:?} should contain {expected:?}");
        };
        check("\"5 parsecs\"", "\"5 parsecs\" is not accepted, accepted is a time");
        check("5", "5 is not accepted");
        check("\"1e9s\"", "is not accepted");
        check("\"99999999999999d\"", "hundred years");
        check("{ cauchy = 1 }", "\"cauchy\" is not accepted, accepted are constant, uniform");
        check("{ exponential = \"1s\", normal = \"1s\" }", "a table with one of");
        check("{ normal = { mean = \"1s\" } }", "accepted is { mean, deviation }");
        check("{ uniform = [\"3s\", \"1s\"] }", "min 3000 is above max 1000");
        check("{ pareto = { least = \"1s\", alpha = 0 } }", "pareto.alpha");
        check("[]", "[] is not accepted");
    }
}

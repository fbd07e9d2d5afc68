//! Values of the queue file: percentages, weights, amounts, words.
//! Owns: their syntax, and the sentence that says what is accepted. Called by: `tree`. Does not: know other values.
//! Invariant: a number that is read is finite and within its range.

use crate::engine::scheduler::resource::{ResourceTypes, ResourceVector, convert};
use crate::engine::scheduler::settings::{Capacity, MaximumCapacity};

/// Largest weight, as in YARN.
const WEIGHT_MAX: f32 = 10_000.0;

const UNITS: [&str; 15] = ["", "p", "n", "u", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"];

pub(super) const CAPACITY: &str =
    "a percentage 0 to 100, a weight such as 3w (0 to 10000), or amounts such as [memory=10240,vcores=12]";

pub(super) const MAXIMUM_CAPACITY: &str =
    "a percentage 0 to 100 of the parent's maximum (-1 = 100), or amounts such as [memory=10240,vcores=12]";

/// `12.5` or `12.5%`, 0 to 100.
pub(super) fn percent(text: &str) -> Option<f32> {
    number(text.strip_suffix('%').unwrap_or(text).trim(), 0.0, 100.0)
}

/// A number within a range.
pub(super) fn number(text: &str, min: f32, max: f32) -> Option<f32> {
    let number: f32 = text.parse().ok()?;
    (number.is_finite() && (min..=max).contains(&number)).then_some(number)
}

/// A guarantee.
pub(super) fn capacity(text: &str, types: &ResourceTypes) -> Result<Capacity, String> {
    if let Some(amounts) = bracketed(text) {
        let amount = amounts_of(amounts, types, 0)?;
        if amount.memory_mb() == 0 {
            return Err(format!("{CAPACITY}; memory must be more than 0"));
        }
        return Ok(Capacity::Absolute(amount));
    }
    let capacity = match text.strip_suffix('w') {
        Some(weight) => number(weight.trim(), 0.0, WEIGHT_MAX).map(Capacity::Weight),
        None => percent(text).map(Capacity::Percent),
    };
    capacity.ok_or_else(|| CAPACITY.to_owned())
}

/// A bound. Amounts of types that are not named are not bounded.
pub(super) fn maximum_capacity(text: &str, types: &ResourceTypes) -> Result<MaximumCapacity, String> {
    if let Some(amounts) = bracketed(text) {
        return Ok(MaximumCapacity::Absolute(amounts_of(amounts, types, u64::MAX)?));
    }
    if text == "-1" {
        return Ok(MaximumCapacity::Percent(100.0));
    }
    percent(text).map(MaximumCapacity::Percent).ok_or_else(|| MAXIMUM_CAPACITY.to_owned())
}

fn bracketed(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// `memory=10240,vcores=12,yarn.io/gpu=4`; types that are not named have `other`.
pub(super) fn amounts_of(text: &str, types: &ResourceTypes, other: u64) -> Result<ResourceVector, String> {
    let known = || {
        let names: Vec<&str> = types.types().iter().map(|kind| &*kind.name).collect();
        format!("amounts name=number[unit] of {}", names.join(", "))
    };
    let mut vector = ResourceVector::ZERO;
    let mut is_named = vec![false; types.len()];
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, amount) = part.split_once('=').ok_or_else(known)?;
        let name = if name.trim() == "memory" { "memory-mb" } else { name.trim() };
        let index = types.index(name).ok_or_else(|| format!("{}; {name:?} is none of them", known()))?;
        let amount = amount.trim();
        if amount.ends_with('%') || amount.ends_with('w') {
            return Err(format!(
                "{}; shares within amounts (capacity vectors) are not supported, write the share for the whole queue",
                known()
            ));
        }
        let units = types.types().get(index).map_or("", |kind| &kind.units);
        let amount =
            with_unit(amount, units).ok_or_else(|| format!("{}; {part:?} has no such amount", known()))?;
        vector.set(index, amount);
        if let Some(place) = is_named.get_mut(index) {
            *place = true;
        }
    }
    if !is_named.contains(&true) {
        return Err(known());
    }
    for (index, _) in is_named.iter().enumerate().filter(|(_, is_named)| !**is_named) {
        vector.set(index, other);
    }
    Ok(vector)
}

/// A whole number with an optional unit, in `units`.
pub(in crate::config) fn with_unit(text: &str, units: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let amount: u64 = text.get(..digits)?.parse().ok()?;
    let unit = text.get(digits..)?.trim();
    match unit {
        "" => Some(amount),
        unit if UNITS.contains(&unit) => Some(convert(amount, unit, units)),
        _ => None,
    }
}

/// A unit of a resource type.
pub(in crate::config) fn is_unit(text: &str) -> bool {
    UNITS.contains(&text)
}

/// A name of a queue: what may stand between the dots of a path.
pub(super) fn is_queue_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.chars().any(|char| char.is_whitespace() || char.is_control() || ".,".contains(char))
}

/// A name of a label, as in YARN.
pub(in crate::config) fn is_label(name: &str) -> bool {
    let mut chars = name.chars();
    name.len() <= 255
        && chars.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && chars.all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::scheduler::resource::ResourceType;

    #[test]
    fn capacities_have_three_forms() {
        let gpu = ResourceType { name: "yarn.io/gpu".into(), units: "".into() };
        let types = ResourceTypes::new([gpu]);
        let of = |text: &str| capacity(text, &types);
        assert_eq!(of("12.5"), Ok(Capacity::Percent(12.5)));
        assert_eq!(of("40%"), Ok(Capacity::Percent(40.0)));
        assert_eq!(of("3w"), Ok(Capacity::Weight(3.0)));
        let amounts = ResourceVector::from_amounts(&[2_048, 3, 4]);
        assert_eq!(of("[memory=2Gi, vcores=3,yarn.io/gpu=4]"), Ok(Capacity::Absolute(amounts)));
        for bad in [
            "",
            "x",
            "-1",
            "101",
            "NaN",
            "inf",
            "-2w",
            "10001w",
            "w",
            "[]",
            "[memory=0]",
            "[vcores=2]",
            "[memory=5x]",
            "[disk=1]",
            "[memory=50%,vcores=1w]",
            "[memory=1",
            "1e400",
            "[memory=99999999999999999999]",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(maximum_capacity("-1", &types), Ok(MaximumCapacity::Percent(100.0)));
        let bound = ResourceVector::from_amounts(&[1, u64::MAX, u64::MAX]);
        assert_eq!(maximum_capacity("[memory=1]", &types), Ok(MaximumCapacity::Absolute(bound)));
        assert!(maximum_capacity("3w", &types).is_err());
    }

    #[test]
    fn names_are_what_may_stand_in_a_path_or_a_label() {
        assert!(is_queue_name("a-b_1") && is_queue_name("größe"));
        assert!(
            !is_queue_name("") && !is_queue_name("a.b") && !is_queue_name("a b") && !is_queue_name("a\n")
        );
        assert!(is_label("gpu-1") && !is_label("-x") && !is_label("") && !is_label("a b"));
    }
}

//! Whole numbers on the command line.
//! Owns: [`whole`], and what it says of a text that is none. Called by: the flags of every noun and of the load
//! generator. Thread: main.
//! Does not: know units; a flag's value name does. Invariant: what is refused is told what is accepted.

use core::fmt::Display;
use core::ops::RangeInclusive;
use core::str::FromStr;

/// Reads a whole number of `accepted`; the standard parser only says that a digit is invalid.
pub fn whole<T>(
    accepted: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        text.parse().ok().filter(|number| accepted.contains(number)).ok_or_else(|| {
            format!("accepted is a whole number from {} to {}", accepted.start(), accepted.end())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_or_out_of_range_is_told_what_is_accepted() {
        let seconds = whole(-1..=86_400_i32);
        assert_eq!((seconds("-1"), seconds("86400")), (Ok(-1), Ok(86_400)));
        for wrong in ["x", "", "10m", "-2", "86401", "99999999999"] {
            assert_eq!(
                seconds(wrong),
                Err("accepted is a whole number from -1 to 86400".to_owned()),
                "{wrong}"
            );
        }
    }
}

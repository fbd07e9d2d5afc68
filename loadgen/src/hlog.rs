//! Latencies as a histogram log, which HdrHistogram's tools of every language read.
//! Owns: the `.hlog` form. Called by: the command line, at the end. Does not: calculate.
//! Invariant: values are microseconds; intervals are in order and together hold every latency of the run.

use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};
use thiserror::Error;

use crate::driver::{ApplicationSeries, Slice};

/// Divides the maximum that stands in clear text in each line: microseconds to milliseconds.
const MAX_VALUE_DIVISOR: f64 = 1_000.0;

/// What lines are called that are not about beats, in the order of [`ApplicationSeries::all`].
const TAGS: [&str; 4] = ["allocate", "ask-to-grant", "free-to-grant", "container-start"];

/// A log that could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HlogError {
    /// The writer refused.
    #[error("cannot write the file: {0}")]
    Io(#[from] io::Error),
    /// A histogram does not serialise.
    #[error("cannot serialise a histogram: {0}")]
    Histogram(String),
}

/// Writes a log with one line per slice; `what` its latencies are, `base` is when the measurement began, `slice` how long
/// each is. Latencies of applications are the lines with a tag: `allocate`, `ask-to-grant`, `free-to-grant`, `container-start`.
///
/// # Errors
/// [`HlogError`].
pub fn write(
    mut out: impl io::Write,
    what: &str,
    slices: &[Slice],
    series: Option<&ApplicationSeries>,
    base: SystemTime,
    slice: Duration,
) -> Result<(), HlogError> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!("{what}; values in microseconds"))
        .with_base_time(base)
        .with_max_value_divisor(MAX_VALUE_DIVISOR)
        .begin_log_with(&mut out, &mut serializer)?;
    let tagged = series.into_iter().flat_map(|series| {
        TAGS.into_iter()
            .zip(series.all())
            .flat_map(|(tag, series)| series.slices.iter().map(move |entry| (entry, Tag::new(tag))))
    });
    let mut entries: Vec<_> = slices.iter().map(|entry| (entry, None)).chain(tagged).collect();
    // Intervals are in order, whatever their tag.
    entries.sort_by_key(|(entry, _)| entry.index);
    for (entry, tag) in entries {
        let start = slice * entry.index;
        log.write_histogram(&entry.latencies, start, slice, tag).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => HlogError::Io(error),
            other => HlogError::Histogram(format!("{other:?}")),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::driver::latency_histogram;

    #[test]
    fn what_is_written_is_read_back() {
        let slices: Vec<Slice> = (0..3)
            .map(|index| {
                let mut latencies = latency_histogram();
                latencies.record_n(1_000 * u64::from(index + 1), 10).unwrap();
                Slice { index: index * 2, latencies }
            })
            .collect();
        let mut bytes = Vec::new();
        write(&mut bytes, "Latencies", &slices, None, SystemTime::UNIX_EPOCH, Duration::from_secs(1))
            .unwrap();
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                use base64_lines::decode;
                let data = decode(interval.encoded_histogram());
                let histogram: Histogram<u64> =
                    Deserializer::new().deserialize(&mut io::Cursor::new(data)).unwrap();
                read.push((interval.start_timestamp().as_secs(), histogram.len(), histogram.max() / 1_000));
            }
        }
        assert_eq!(read, [(0, 10, 1), (2, 10, 2), (4, 10, 3)]);
    }

    /// Base64, so that the test needs no crate for it.
    mod base64_lines {
        pub(super) fn decode(text: &str) -> Vec<u8> {
            const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
            for symbol in text.bytes().filter(|symbol| *symbol != b'=') {
                let digit = DIGITS.iter().position(|known| *known == symbol).unwrap() as u32;
                bits = (bits << 6 | digit) & 0xff_ffff;
                count += 6;
                if count >= 8 {
                    count -= 8;
                    bytes.push((bits >> count & 0xff) as u8);
                }
            }
            bytes
        }
    }
}

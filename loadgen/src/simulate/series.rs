//! Latencies of a simulation, as a whole and over time, however long it takes.
//! Owner: [`World`](super::World). Called by: it, for every note. Does not: know what comes next.
//! Invariants: at most [`SLICES_MAX`] slices, all equally long: when there would be more, neighbours become one; every
//! latency is in one slice and in the whole.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::application::NoteKind;
use crate::driver::{ApplicationSeries, Sample, Series, Slice};

/// Most slices, as of a measured run.
const SLICES_MAX: usize = 600;

/// The shortest slice, microseconds.
const SLICE_US: u64 = 1_000_000;

/// Waits of days are waits: unlike in a measured run nothing is cut off.
fn histogram() -> Histogram<u64> {
    match Histogram::new(3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("{error}"),
    }
}

fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    // Both grow as they have to: adding cannot fail.
    if let Err(error) = sum.add(other) {
        unreachable!("{error}");
    }
}

/// Not `saturating_record`: that cuts off at what the histogram is large enough for at the moment.
fn record(histogram: &mut Histogram<u64>, value: u64) {
    // It grows as it has to: recording cannot fail.
    if let Err(error) = histogram.record(value) {
        unreachable!("{error}");
    }
}

/// A stretch of time.
#[derive(Clone, Debug)]
struct Stretch {
    index: u64,
    kinds: [Histogram<u64>; 4],
    /// ApplicationMasters that lived when something was last noted in it.
    masters: u32,
}

impl Stretch {
    fn new(index: u64) -> Self {
        Self { index, kinds: core::array::from_fn(|_| histogram()), masters: 0 }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    slice_us: u64,
    wholes: [Histogram<u64>; 4],
    stretches: Vec<Stretch>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { slice_us: SLICE_US, wholes: core::array::from_fn(|_| histogram()), stretches: Vec::new() }
    }
}

impl Recorder {
    /// Something took from `since_us` until now; `masters` live.
    pub(super) fn note(&mut self, now_us: u64, kind: NoteKind, since_us: u64, masters: u32) {
        while now_us / self.slice_us >= SLICES_MAX as u64 {
            self.coarsen();
        }
        let index = now_us / self.slice_us;
        if self.stretches.last().is_none_or(|last| last.index < index) {
            self.stretches.push(Stretch::new(index));
        }
        let latency_us = now_us.saturating_sub(since_us).max(1);
        let kind = match kind {
            NoteKind::Allocate => 0,
            NoteKind::AskToGrant => 1,
            NoteKind::FreeToGrant => 2,
            NoteKind::ContainerStart => 3,
        };
        record(&mut self.wholes[kind], latency_us);
        if let Some(stretch) = self.stretches.last_mut() {
            record(&mut stretch.kinds[kind], latency_us);
            stretch.masters = masters;
        }
    }

    /// Slices become twice as long.
    fn coarsen(&mut self) {
        self.slice_us *= 2;
        let mut merged: Vec<Stretch> = Vec::with_capacity(self.stretches.len() / 2 + 1);
        for mut stretch in self.stretches.drain(..) {
            stretch.index /= 2;
            match merged.last_mut().filter(|last| last.index == stretch.index) {
                Some(last) => {
                    last.kinds.iter_mut().zip(&stretch.kinds).for_each(|(sum, other)| add(sum, other));
                    last.masters = stretch.masters;
                }
                None => merged.push(stretch),
            }
        }
        self.stretches = merged;
    }

    /// How long a slice is.
    pub(super) const fn slice(&self) -> Duration {
        Duration::from_micros(self.slice_us)
    }

    /// Grants.
    pub(super) fn grants(&self) -> u64 {
        self.wholes[1].len()
    }

    /// What a measured run gives once a second, here for each slice in which something happened.
    pub(super) fn samples(&self, nodes: u32) -> Vec<Sample> {
        let seconds = self.slice().as_secs_f64();
        let sample = |stretch: &Stretch| Sample {
            at_s: (stretch.index + 1) as f64 * seconds,
            registered: nodes,
            grants_per_second: stretch.kinds[1].len() as f64 / seconds,
            masters: stretch.masters,
            ..Sample::default()
        };
        self.stretches.iter().map(sample).collect()
    }

    /// The latencies in the form of a measured run.
    pub(super) fn into_series(self) -> ApplicationSeries {
        let mut series = ApplicationSeries::default();
        let ApplicationSeries { allocate, ask_to_grant, free_to_grant, container_start } = &mut series;
        let targets: [&mut Series; 4] = [allocate, ask_to_grant, free_to_grant, container_start];
        for (at, (target, whole)) in targets.into_iter().zip(self.wholes).enumerate() {
            let slices = self.stretches.iter().filter(|stretch| !stretch.kinds[at].is_empty());
            let slice = |stretch: &Stretch| Slice {
                index: u32::try_from(stretch.index).unwrap_or(u32::MAX),
                latencies: stretch.kinds[at].clone(),
            };
            target.slices = slices.map(slice).collect();
            target.latencies = whole;
        }
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_few_however_long_it_takes_and_nothing_is_lost() {
        let mut recorder = Recorder::default();
        let day_us = 86_400_000_000;
        for hour in 0..24 * 150 {
            recorder.note(hour * day_us / 24, NoteKind::AskToGrant, 0, 7);
        }
        recorder.note(150 * day_us, NoteKind::Allocate, 150 * day_us, 8);
        assert!(recorder.slice() >= Duration::from_secs(150 * 86_400 / SLICES_MAX as u64));
        let samples = recorder.samples(3);
        assert!(samples.len() <= SLICES_MAX && samples.is_sorted_by(|left, right| left.at_s < right.at_s));
        assert_eq!(samples.last().map(|sample| sample.masters), Some(8));
        let series = recorder.into_series();
        let sum: u64 = series.ask_to_grant.slices.iter().map(|slice| slice.latencies.len()).sum();
        assert_eq!((sum, series.ask_to_grant.latencies.len()), (24 * 150, 24 * 150));
        assert!(series.ask_to_grant.latencies.max() >= 149 * day_us, "days are not cut off");
        assert_eq!((series.allocate.slices.len(), series.allocate.latencies.max()), (1, 1));
    }
}

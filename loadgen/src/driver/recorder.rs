//! Latencies and counts of one client thread.
//! Owner: the thread's worker. Called by: its links, once per answer. Does not: print or write files.
//! Invariants: latency counts from the planned time; a beat counts once, in the window its planned time lies in;
//! beats that were not sent because an earlier one waited count as waited for, as if they had been.

use hdrhistogram::Histogram;

use crate::application::{Note, NoteKind};

/// Largest latency told apart, microseconds: a minute. Longer ones count as this.
pub const LATENCY_US_MAX: u64 = 60_000_000;

/// A beat sent later than this after its planned time is a late send, microseconds.
pub(super) const LATE_SEND_US: u64 = 5_000;

/// A histogram of latencies: 1 µs to [`LATENCY_US_MAX`], three digits.
///
/// # Panics
/// Never: the bounds are valid.
#[must_use]
pub fn latency_histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LATENCY_US_MAX, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("{error}"),
    }
}

/// A slice of a run: a slice, or more in long runs.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Its place, from 0; each slice is equally long.
    pub index: u32,
    /// Latencies of the beats answered in it.
    pub latencies: Histogram<u64>,
}

/// Latencies of one kind, as a whole and by slice.
#[derive(Clone, Debug)]
pub struct Series {
    /// All of them.
    pub latencies: Histogram<u64>,
    /// By slice, without empty ones.
    pub slices: Vec<Slice>,
    slice: Slice,
}

impl Default for Series {
    fn default() -> Self {
        let slice = Slice { index: 0, latencies: latency_histogram() };
        Self { latencies: latency_histogram(), slices: Vec::new(), slice }
    }
}

impl Series {
    fn record(&mut self, latency_us: u64) {
        let latency_us = latency_us.clamp(1, LATENCY_US_MAX);
        self.latencies.saturating_record(latency_us);
        self.slice.latencies.saturating_record(latency_us);
    }

    fn close(&mut self) {
        if !self.slice.latencies.is_empty() {
            let mut latencies = Histogram::new_from(&self.slice.latencies);
            core::mem::swap(&mut latencies, &mut self.slice.latencies);
            self.slices.push(Slice { index: self.slice.index, latencies });
        }
    }

    /// Adds another thread's, which is closed.
    pub(super) fn merge(&mut self, other: &Self) {
        add(&mut self.latencies, &other.latencies);
        merge_slices(&mut self.slices, &other.slices);
    }
}

/// Adds histograms of the same bounds.
fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    // Same bounds on both sides: adding cannot fail.
    if let Err(error) = sum.add(other) {
        unreachable!("{error}");
    }
}

/// Adds slices to those of the same place.
pub(super) fn merge_slices(sum: &mut Vec<Slice>, other: &[Slice]) {
    for slice in other {
        match sum.iter_mut().find(|known| known.index == slice.index) {
            Some(known) => add(&mut known.latencies, &slice.latencies),
            None => sum.push(slice.clone()),
        }
    }
    sum.sort_by_key(|slice| slice.index);
}

/// Latencies of applications, by kind.
#[derive(Clone, Debug, Default)]
pub struct ApplicationSeries {
    /// Allocate calls, from the planned time to the answer.
    pub allocate: Series,
    /// From the call that asked to the grant.
    pub ask_to_grant: Series,
    /// From the report of an end to the grant it made room for.
    pub free_to_grant: Series,
    /// From the grant to the answered beat that reported the container running.
    pub container_start: Series,
}

impl ApplicationSeries {
    /// Every kind.
    #[must_use]
    pub const fn all(&self) -> [&Series; 4] {
        [&self.allocate, &self.ask_to_grant, &self.free_to_grant, &self.container_start]
    }

    const fn all_mut(&mut self) -> [&mut Series; 4] {
        [&mut self.allocate, &mut self.ask_to_grant, &mut self.free_to_grant, &mut self.container_start]
    }

    /// Adds another thread's.
    pub(super) fn merge(&mut self, other: &Self) {
        self.all_mut().into_iter().zip(other.all()).for_each(|(sum, other)| sum.merge(other));
    }
}

/// What a client thread measured.
#[derive(Debug)]
pub(super) struct Recorder {
    /// The window, microseconds since the run started.
    pub from_us: u64,
    pub until_us: u64,
    interval_us: u64,
    slice_us: u64,
    pub latencies: Histogram<u64>,
    slice: Slice,
    pub slices: Vec<Slice>,
    /// Beats answered that count.
    pub beats: u64,
    /// Beats that fell due while an earlier one waited; they are in the histogram and not in `beats`.
    pub skipped: u64,
    pub late_sends: u64,
    pub late_answers: u64,
    /// Bytes on the streams since the start, both ways.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Of applications; `None` in a run without any.
    pub applications: Option<Box<ApplicationSeries>>,
    /// Grants in the window.
    pub grants: u64,
}

impl Recorder {
    /// `interval_us` is what an answer may take before it is late, `slice_us` the length of a slice.
    pub(super) fn new(interval_us: u64, slice_us: u64) -> Self {
        Self {
            from_us: u64::MAX,
            until_us: u64::MAX,
            interval_us,
            slice_us: slice_us.max(1),
            latencies: latency_histogram(),
            slice: Slice { index: 0, latencies: latency_histogram() },
            slices: Vec::new(),
            beats: 0,
            skipped: 0,
            late_sends: 0,
            late_answers: 0,
            bytes_sent: 0,
            bytes_received: 0,
            applications: None,
            grants: 0,
        }
    }

    #[inline]
    const fn counts(&self, planned_us: u64) -> bool {
        planned_us >= self.from_us && planned_us < self.until_us
    }

    /// A beat went out.
    #[inline]
    pub(super) const fn sent(&mut self, planned_us: u64, late_us: u64) {
        if late_us > LATE_SEND_US && self.counts(planned_us) {
            self.late_sends += 1;
        }
    }

    /// A beat was answered.
    #[inline]
    pub(super) fn answered(&mut self, now_us: u64, planned_us: u64, skipped: u32, interval_us: u64) {
        if !self.counts(planned_us) {
            return;
        }
        self.beats += 1;
        self.record(now_us, planned_us);
        for nth in 1..=u64::from(skipped.min(600)) {
            let planned_us = planned_us + nth * interval_us;
            if self.counts(planned_us) {
                self.skipped += 1;
                self.record(now_us, planned_us);
            }
        }
    }

    /// A beat was not answered until the run ended: it waited at least this long.
    pub(super) fn unanswered(&mut self, now_us: u64, planned_us: u64) {
        if self.counts(planned_us) {
            self.record(now_us, planned_us);
        }
    }

    #[inline]
    fn record(&mut self, now_us: u64, planned_us: u64) {
        let latency_us = now_us.saturating_sub(planned_us).clamp(1, LATENCY_US_MAX);
        self.late_answers += u64::from(latency_us > self.interval_us);
        self.latencies.saturating_record(latency_us);
        self.slice.latencies.saturating_record(latency_us);
    }

    /// Something took until now. Allocate calls count by their planned time, all else by when it was over.
    pub(super) fn note(&mut self, now_us: u64, note: Note) {
        let at_us = if note.kind == NoteKind::Allocate { note.since_us } else { now_us };
        if !self.counts(at_us) {
            return;
        }
        self.grants += u64::from(note.kind == NoteKind::AskToGrant);
        if let Some(series) = self.applications.as_deref_mut() {
            let series = match note.kind {
                NoteKind::Allocate => &mut series.allocate,
                NoteKind::AskToGrant => &mut series.ask_to_grant,
                NoteKind::FreeToGrant => &mut series.free_to_grant,
                NoteKind::ContainerStart => &mut series.container_start,
            };
            series.record(now_us.saturating_sub(note.since_us));
        }
    }

    /// An allocate call was not answered until the run ended: it waited at least this long. False where it does not count.
    pub(super) fn waited(&mut self, now_us: u64, planned_us: u64) -> bool {
        let counts = self.counts(planned_us);
        self.note(now_us, Note { kind: NoteKind::Allocate, since_us: planned_us });
        counts
    }

    /// Closes slices that are over. Cost: one new histogram per slice.
    pub(super) fn roll(&mut self, now_us: u64) {
        if now_us < self.from_us {
            return;
        }
        let index = u32::try_from((now_us - self.from_us) / self.slice_us).unwrap_or(u32::MAX);
        if index > self.slice.index {
            self.close();
            self.slice.index = index;
            if let Some(series) = self.applications.as_deref_mut() {
                series.all_mut().into_iter().for_each(|series| series.slice.index = index);
            }
        }
    }

    /// Closes the last slice.
    pub(super) fn close(&mut self) {
        if !self.slice.latencies.is_empty() {
            let mut latencies = Histogram::new_from(&self.slice.latencies);
            core::mem::swap(&mut latencies, &mut self.slice.latencies);
            self.slices.push(Slice { index: self.slice.index, latencies });
        }
        if let Some(series) = self.applications.as_deref_mut() {
            series.all_mut().into_iter().for_each(Series::close);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts_and_waiting_is_not_omitted() {
        let mut recorder = Recorder::new(1_000_000, 1_000_000);
        (recorder.from_us, recorder.until_us) = (1_000_000, 6_000_000);
        recorder.answered(1_000_500, 999_999, 0, 1_000_000);
        assert_eq!(recorder.beats, 0);
        // Answered after 3.2 s: two more beats fell due meanwhile and waited 2.2 and 1.2 s.
        recorder.answered(4_200_000, 1_000_000, 2, 1_000_000);
        assert_eq!((recorder.beats, recorder.skipped, recorder.late_answers), (1, 2, 3));
        assert_eq!(recorder.latencies.len(), 3);
        recorder.answered(6_100_000, 5_999_999, 3, 1_000_000);
        assert_eq!((recorder.beats, recorder.skipped), (2, 2));
        recorder.unanswered(9_000_000, 5_000_000);
        assert!(recorder.latencies.max() >= 4_000_000);
        recorder.sent(2_000_000, 5_000);
        recorder.sent(2_000_000, 5_001);
        recorder.sent(7_000_000, 50_000);
        assert_eq!(recorder.late_sends, 1);
    }

    #[test]
    fn seconds_are_closed_once() {
        let mut recorder = Recorder::new(1_000_000, 1_000_000);
        (recorder.from_us, recorder.until_us) = (0, 10_000_000);
        for now_us in (0..3_000_000).step_by(250_000) {
            recorder.roll(now_us);
            recorder.answered(now_us + 100, now_us, 0, 1_000_000);
        }
        recorder.close();
        recorder.close();
        let slices: Vec<_> =
            recorder.slices.iter().map(|slice| (slice.index, slice.latencies.len())).collect();
        assert_eq!(slices, [(0, 4), (1, 4), (2, 4)]);
    }
}

//! How far a run is: a bar on a terminal, a line every few seconds elsewhere.
//! Owns: what is on standard error while a run goes on. Called by: the driver, through [`Progress`]. Thread: main.
//! Does not: influence the run.

use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::output;
use crate::driver::{Progress, SoFar};

/// Between lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far a run is.
pub(super) struct Shown {
    is_terminal: bool,
    bar: Option<ProgressBar>,
    stage: &'static str,
    last_line: Option<Instant>,
    measured_from: Option<SystemTime>,
}

impl Shown {
    pub(super) fn new() -> Self {
        let is_terminal = stderr().is_terminal();
        Self { is_terminal, bar: None, stage: "", last_line: None, measured_from: None }
    }

    /// When the measurement began.
    pub(super) fn measured_from(&self) -> SystemTime {
        self.measured_from.unwrap_or_else(|| Timestamp::now().into())
    }

    /// The run is over: the bar goes.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.stage = "";
    }

    fn show(&mut self, stage: &'static str, position: u64, length: u64, text: &str) {
        if self.stage != stage {
            self.finish();
            self.stage = stage;
            self.last_line = None;
        }
        if self.is_terminal {
            let bar = self.bar.get_or_insert_with(|| {
                // The template is a constant; should it ever be wrong, the plain bar does.
                let style = ProgressStyle::with_template("{prefix:10} {bar:32} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(length).with_style(style).with_prefix(stage)
            });
            bar.set_position(position);
            bar.set_message(text.to_owned());
        } else if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            output::say(&format!("{stage}: {text}"));
        }
    }
}

impl Progress for Shown {
    fn ramp(&mut self, connected: u32, registered: u32, nodes: u32) {
        let text = format!("{connected} connections, {registered} of {nodes} nodes registered");
        self.show("coming up", u64::from(registered), u64::from(nodes), &text);
    }

    fn measure(&mut self, so_far: &SoFar) {
        if self.stage != "measuring" {
            let elapsed = jiff::SignedDuration::try_from(so_far.elapsed).unwrap_or_default();
            self.measured_from = Some((Timestamp::now() - elapsed).into());
        }
        // A run that is over when its applications are is as far as they are.
        let (position, length) = match (so_far.duration, so_far.applications) {
            (Some(duration), _) => (so_far.elapsed.as_millis() as u64, duration.as_millis() as u64),
            (None, of) => of.unwrap_or((0, 1)),
        };
        self.show("measuring", position, length, &text_of(so_far));
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::say(text),
        }
    }
}

/// A line about how far a measurement is.
fn text_of(so_far: &SoFar) -> String {
    use core::fmt::Write as _;
    let mut text = format!("{:.0}", so_far.elapsed.as_secs_f64());
    let _ = match so_far.duration {
        Some(duration) => write!(text, " of {:.0} s", duration.as_secs_f64()),
        None => write!(text, " s"),
    };
    if let Some((ended, all)) = so_far.applications {
        let _ =
            write!(text, ", {ended} of {all} applications ended, {:.0} grants/s", so_far.grants_per_second);
    }
    let _ = write!(text, ", {:.0} beats/s, {} nodes", so_far.beats_per_second, so_far.registered);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_until_its_end_names_no_end() {
        let mut so_far = SoFar {
            elapsed: Duration::from_secs(12),
            duration: Some(Duration::from_secs(60)),
            applications: None,
            beats_per_second: 9_999.6,
            grants_per_second: 0.0,
            registered: 7,
        };
        assert_eq!(text_of(&so_far), "12 of 60 s, 10000 beats/s, 7 nodes");
        (so_far.duration, so_far.applications) = (None, Some((3, 5)));
        assert_eq!(text_of(&so_far), "12 s, 3 of 5 applications ended, 0 grants/s, 10000 beats/s, 7 nodes");
    }
}

//! The report as a table for people.
//! Owns: its lines and how numbers are written in them. Called by: the command line, at the end. Thread: main.
//! Does not: compute; every number is the report's. Invariant: an empty value begins a group.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Cell, CellAlignment, Table};

use super::Report;

/// Units of time, each with the milliseconds from which on it is used and those it has.
const UNITS: [(f64, f64, &str); 5] = [
    (2.0 * 86_400e3, 86_400e3, "days"),
    (2.0 * 3_600e3, 3_600e3, "h"),
    (2.0 * 60e3, 60e3, "min"),
    (1e3, 1e3, "s"),
    (0.0, 1.0, "ms"),
];

/// The unit in which people say a time, and the milliseconds it has.
pub(crate) fn unit_of_time(ms: f64) -> (f64, &'static str) {
    let fits = UNITS.iter().find(|(from, ..)| ms >= *from);
    fits.map_or((1.0, "ms"), |(_, scale, name)| (*scale, name))
}

/// A time as people say it: a trace takes seconds or months.
pub(crate) fn time_text(ms: f64) -> String {
    let (scale, unit) = unit_of_time(ms);
    let digits = usize::from(scale > 1.0);
    format!("{:.digits$} {unit}", ms / scale)
}

impl Report {
    /// Name and value of every line of the table; an empty value begins a group.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let ms = |us: u64| format!("{:.3} ms", us as f64 / 1e3);
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        let latency = &self.latency_us;
        let mut lines = vec![
            ("nodes", with_commas(u64::from(self.nodes))),
            ("connections", with_commas(u64::from(self.connections))),
            ("interval", self.interval.clone()),
            ("duration", time_text(self.duration_s * 1e3)),
            ("beats", with_commas(self.beats_total)),
            ("beats/s", with_commas(self.beats_per_second.round() as u64)),
            ("latency p50", ms(latency.p50)),
            ("latency p90", ms(latency.p90)),
            ("latency p99", ms(latency.p99)),
            ("latency p99.9", ms(latency.p999)),
            ("latency max", ms(latency.max)),
            ("server CPU per beat", or_dash(self.server_cpu_us_per_beat.map(|us| format!("{us:.2} µs")))),
            (
                "server CPU",
                or_dash(self.server_cpu_cores.map(|cores| format!("{:.1} % of a core", cores * 100.0))),
            ),
            ("load generator CPU per beat", format!("{:.2} µs", self.client_cpu_us_per_beat)),
            ("load generator CPU", format!("{:.1} % of a core", self.client_cpu_cores * 100.0)),
            ("dropped", with_commas(self.dropped)),
            ("rejected", with_commas(self.rejected)),
            ("late sends (> 5 ms)", with_commas(self.late_sends)),
            ("late answers (> interval)", with_commas(self.late_answers)),
            ("false losses", with_commas(self.false_losses)),
            ("socket buffer drops", with_commas(self.socket_drops)),
            ("server memory", or_dash(self.server_rss_bytes.map(in_mib))),
            ("server memory without nodes", or_dash(self.server_rss_base_bytes.map(in_mib))),
            ("memory per node", or_dash(self.rss_bytes_per_node.map(in_kib))),
            ("memory per connection", or_dash(self.rss_bytes_per_connection.map(in_kib))),
            ("handshakes/s", with_commas(self.handshakes_per_second.round() as u64)),
            ("all registered after", format!("{:.2} s", self.time_to_all_registered_ms / 1e3)),
        ];
        if self.connections_lost > 0 {
            lines.push(("connections lost", with_commas(self.connections_lost)));
        }
        if let Some(back) = self.time_to_all_back_ms {
            lines.push(("all back after the kill", format!("{:.2} s", back / 1e3)));
        }
        if let Some(floor) = self.floor_beats_per_second {
            lines.push(("floor beats/s", with_commas(floor.round() as u64)));
        }
        if let Some(ratio) = self.floor_ratio {
            lines.push(("share of the floor", format!("{ratio:.3}  (rounds {:?})", self.floor_ratios)));
        }
        if let Some(applications) = &self.applications {
            lines.extend(applications.lines());
        }
        lines
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        for (name, value) in self.lines() {
            table.add_row([Cell::new(name), Cell::new(value).set_alignment(CellAlignment::Right)]);
        }
        table.to_string()
    }
}

fn in_mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

fn in_kib(bytes: f64) -> String {
    format!("{:.2} KiB", bytes / 1_024.0)
}

/// Several times in a row, each in its own unit.
pub(super) fn times_text(times_ms: &[f64]) -> String {
    times_ms.iter().map(|ms| time_text(*ms)).collect::<Vec<_>>().join(" / ")
}

/// Digits in groups of three.
pub(super) fn with_commas(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_the_unit_of_their_size() {
        // What took a minute was told as "0.0 days".
        let times = [0.0, 5.0, 1_500.0, 60e3, 180e3, 7_200e3, 12.96e9];
        let texts = ["0 ms", "5 ms", "1.5 s", "60.0 s", "3.0 min", "2.0 h", "150.0 days"];
        assert_eq!(times.map(time_text), texts);
        assert_eq!(times_text(&[40.0, 3_600e3, 86_400e3]), "40 ms / 60.0 min / 24.0 h");
    }
}

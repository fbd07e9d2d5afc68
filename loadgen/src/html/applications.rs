//! The part of the page that is about applications: latencies of four kinds, grants, queues over time.
//! Owner: [`page`](super::page). Called by: it. Does not: calculate beyond scales.
//! Invariant: as the page's: every text that came from outside is escaped.

use std::fmt::Write as _;

use plotters::style::RGBColor;

use super::plot::{self, COLORS, PlotError, by_rarity, rarity_plot, short, time_plot};
use super::{escaped, rate_plot};
use crate::driver::ApplicationSeries;
use crate::report::{ApplicationsReport, Report};

/// A line of a plot: its name and its points. Its colour is that of its place.
type Line = (String, Vec<(f64, f64)>);

pub(super) fn tiles(applications: &ApplicationsReport) -> Vec<(String, &'static str)> {
    let ms = |us: u64| format!("{:.2} ms", us as f64 / 1e3);
    let mut tiles = vec![
        (short(applications.grants_per_second), "grants/s"),
        (ms(applications.allocate_latency_us.p99), "allocate p99"),
        (ms(applications.ask_to_grant_latency_us.p50), "ask to grant p50"),
    ];
    if applications.free_to_grant_latency_us.count > 0 {
        tiles.push((ms(applications.free_to_grant_latency_us.p99), "free to grant p99"));
    }
    if !applications.utilisation.is_empty() {
        tiles.push((format!("{:.0} %", applications.utilisation_mean * 100.0), "of the cluster used"));
    }
    tiles
}

pub(super) fn section(
    page: &mut String,
    report: &Report,
    applications: &ApplicationsReport,
    series: &ApplicationSeries,
) -> Result<(), PlotError> {
    let kinds = [
        ("allocate call", &series.allocate.latencies),
        ("ask to grant", &series.ask_to_grant.latencies),
        ("free to grant", &series.free_to_grant.latencies),
        ("container start", &series.container_start.latencies),
    ];
    let lines: Vec<Line> = kinds
        .into_iter()
        .filter(|(_, latencies)| !latencies.is_empty())
        .map(|(name, latencies)| (name.to_owned(), by_rarity(latencies)))
        .collect();
    if !lines.is_empty() {
        heading(page, "Applications: latencies, by percentile", &lines);
        page.push_str(&rarity_plot(&coloured(lines))?);
    }
    if report.seconds.len() > 1 {
        page.push_str("<h2>Grants per second</h2>");
        page.push_str(&rate_plot(&report.seconds, |point| point.grants_per_second)?);
    }
    let times = &applications.queue_times_s;
    if times.len() < 2 {
        return Ok(());
    }
    let over_time = |values: &[f64]| times.iter().copied().zip(values.iter().copied()).collect();
    let used: Vec<Line> = vec![("used".to_owned(), over_time(&applications.utilisation))];
    page.push_str("<h2>Used share of the cluster</h2>");
    page.push_str(&share_plot(used, 1.0)?);
    let queues: Vec<Line> = applications
        .queues
        .iter()
        .filter(|queue| !queue.used.is_empty())
        .take(COLORS.len())
        .map(|queue| (queue.name.clone(), over_time(&queue.used)))
        .collect();
    if !queues.is_empty() {
        heading(page, "Shares of the queues that used most", &queues);
        let high = applications.queues.iter().map(|queue| queue.used_max).fold(0.0, f64::max);
        page.push_str(&share_plot(queues, (high * 1.15).clamp(0.001, 1.0))?);
        queue_table(page, applications);
    }
    Ok(())
}

fn heading(page: &mut String, title: &str, lines: &[Line]) {
    let _ = write!(page, "<h2>{title}</h2><p class=\"sub\">");
    for ((name, _), color) in lines.iter().zip(COLORS) {
        let RGBColor(red, green, blue) = color;
        let name = escaped(name);
        let _ = write!(
            page,
            "<span style=\"color:#{red:02x}{green:02x}{blue:02x}\">&#9632; {name}</span> &nbsp; "
        );
    }
    page.push_str("</p>");
}

fn queue_table(page: &mut String, applications: &ApplicationsReport) {
    page.push_str("<table><tr><td>queue</td><td>guaranteed, used mean, used max, pending mean</td></tr>");
    for queue in applications.queues.iter().take(COLORS.len()) {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{:.2} %, {:.2} %, {:.2} %, {:.1}</td></tr>",
            escaped(&queue.name),
            queue.guaranteed * 100.0,
            queue.used_mean * 100.0,
            queue.used_max * 100.0,
            queue.pending_mean
        );
    }
    page.push_str("</table>");
}

fn coloured(lines: Vec<Line>) -> Vec<plot::Line> {
    lines.into_iter().zip(COLORS).map(|((_, points), color)| (color, points)).collect()
}

fn share_plot(lines: Vec<Line>, high: f64) -> Result<String, PlotError> {
    time_plot(&coloured(lines), 0.0..high, &|share| format!("{} %", short(share * 100.0)), false)
}

//! The part of the page that is about applications: latencies of four kinds, grants, queues over time.
//! Owner: [`page`](super::page). Called by: it. Does not: calculate beyond scales.
//! Invariant: as the page's: every text that came from outside is escaped.

use std::fmt::Write as _;
use std::ops::Range;

use hdrhistogram::Histogram;
use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::IntoDrawingArea;
use plotters::element::PathElement;
use plotters::series::LineSeries;
use plotters::style::RGBColor;

use super::{GRID, INK, PlotError, SIZE, escaped, percentile_label, rate_of, short, text, thick};
use crate::driver::ApplicationSeries;
use crate::report::{ApplicationsReport, Report};

/// Colours that are told apart also by those who see few of them; a line's is that of its place.
const COLORS: [RGBColor; 12] = [
    RGBColor(0x1f, 0x5f, 0xa8),
    RGBColor(0xd0, 0x7a, 0x1f),
    RGBColor(0x2e, 0x8b, 0x45),
    RGBColor(0xc2, 0x3b, 0x3b),
    RGBColor(0x7a, 0x4f, 0xa3),
    RGBColor(0x8c, 0x5a, 0x3c),
    RGBColor(0xd0, 0x6f, 0xb0),
    RGBColor(0x6b, 0x6f, 0x76),
    RGBColor(0xa8, 0xa0, 0x2a),
    RGBColor(0x2a, 0xa0, 0xa8),
    RGBColor(0x12, 0x2c, 0x4f),
    RGBColor(0x9a, 0xc4, 0x6a),
];

/// A line of a plot: its name and its points.
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
        page.push_str(&rarity_plot(&lines)?);
    }
    if report.seconds.len() > 1 {
        page.push_str("<h2>Grants per second</h2>");
        page.push_str(&rate_of(&report.seconds, &|point| point.grants_per_second)?);
    }
    let times = &applications.queue_times_s;
    if times.len() < 2 {
        return Ok(());
    }
    let over_time = |values: &[f64]| times.iter().copied().zip(values.iter().copied()).collect();
    let used: Vec<Line> = vec![("used".to_owned(), over_time(&applications.utilisation))];
    page.push_str("<h2>Used share of the cluster</h2>");
    page.push_str(&share_plot(&used, 1.0)?);
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
        page.push_str(&share_plot(&queues, (high * 1.15).clamp(0.001, 1.0))?);
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

/// Latency over 1/(1-q), milliseconds.
fn by_rarity(latencies: &Histogram<u64>) -> Vec<(f64, f64)> {
    let rarest = (latencies.len().max(10) as f64).min(1e7);
    let mut points = Vec::new();
    let mut rarity = 1.0;
    while rarity <= rarest {
        let us = latencies.value_at_quantile(1.0 - 1.0 / rarity).max(1);
        points.push((rarity, us as f64 / 1e3));
        rarity *= 1.04;
    }
    points.push((rarest, latencies.max().max(1) as f64 / 1e3));
    points
}

fn rarity_plot(lines: &[Line]) -> Result<String, PlotError> {
    let points = || lines.iter().flat_map(|line| line.1.iter());
    let rarest = points().map(|point| point.0).fold(10.0, f64::max);
    let low = points().map(|point| point.1).fold(f64::MAX, f64::min) * 0.7;
    let high = points().map(|point| point.1).fold(0.001, f64::max) * 1.4;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(28)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d((1.0..rarest).log_scale(), (low..high).log_scale())?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .light_line_style(plotters::style::TRANSPARENT)
            .bold_line_style(GRID)
            .label_style(text())
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|rarity| percentile_label(*rarity))
            .y_label_formatter(&|ms| format!("{} ms", short(*ms)))
            .draw()?;
        for ((_, points), color) in lines.iter().zip(COLORS) {
            chart.draw_series(LineSeries::new(points.iter().copied(), thick(color)))?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn share_plot(lines: &[Line], high: f64) -> Result<String, PlotError> {
    let last = lines.iter().flat_map(|line| line.1.last()).map(|point| point.0).fold(1.0, f64::max);
    let range: Range<f64> = 0.0..high;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(28)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..last, range)?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .light_line_style(plotters::style::TRANSPARENT)
            .bold_line_style(GRID)
            .label_style(text())
            .x_labels(10)
            .y_labels(6)
            .x_label_formatter(&|at_s| format!("{at_s:.0} s"))
            .y_label_formatter(&|share| format!("{} %", short(share * 100.0)))
            .draw()?;
        for ((_, points), color) in lines.iter().zip(COLORS) {
            chart.draw_series([PathElement::new(points.clone(), thick(color))])?;
        }
        area.present()?;
    }
    Ok(svg)
}

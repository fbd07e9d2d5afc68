//! The report as one HTML page: verdict, numbers, plots. Nothing is loaded from anywhere.
//! Owns: how it looks. Called by: the command line, at the end. Does not: measure, or calculate beyond scales.
//! Invariant: every text that came from outside is escaped.

mod applications;

use std::fmt::Write as _;
use std::ops::Range;

use hdrhistogram::Histogram;
use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::{DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::PathElement;
use plotters::series::{AreaSeries, LineSeries};
use plotters::style::{Color, RGBColor, ShapeStyle, TextStyle};
use thiserror::Error;

use crate::driver::ApplicationSeries;
use crate::report::{Point, Report};

const SIZE: (u32, u32) = (860, 300);
const SERVER: RGBColor = RGBColor(0x1f, 0x5f, 0xa8);
const CLIENT: RGBColor = RGBColor(0xd0, 0x7a, 0x1f);
const INK: RGBColor = RGBColor(0x33, 0x3a, 0x44);
const GRID: RGBColor = RGBColor(0xe3, 0xe7, 0xec);

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;color:#222a33;max-width:920px;margin:2em auto;padding:0 1em}\
h1{font-size:1.5em;margin-bottom:.2em}h2{font-size:1.1em;margin:1.8em 0 .4em}\
.sub{color:#66707c;margin-top:0}.verdict{padding:.7em 1em;border-left:5px solid;border-radius:3px}\
.good{background:#eaf6ec;border-color:#2e8b45}.bad{background:#fbeaea;border-color:#c23b3b}\
.tiles{display:flex;flex-wrap:wrap;gap:.8em;margin:1em 0}.tile{flex:1 1 150px;border:1px solid #dde2e8;border-radius:6px;padding:.6em .9em}\
.tile b{display:block;font-size:1.35em;white-space:nowrap}.tile span{color:#66707c;font-size:.88em}\
table{border-collapse:collapse;width:100%}td{padding:.22em .6em;border-bottom:1px solid #eceff2}td:last-child{text-align:right;font-variant-numeric:tabular-nums}\
svg{width:100%;height:auto}code{font-size:.9em;background:#f3f5f7;padding:.1em .3em;word-break:break-all}pre{background:#f3f5f7;padding:.8em;overflow-x:auto;font-size:.82em}";

/// A plot that could not be drawn.
#[derive(Debug, Error)]
#[error("cannot draw a plot: {0}")]
pub struct PlotError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

/// The page. `percentiles` is the text of [`crate::report::percentile_text`].
///
/// # Errors
/// [`PlotError`].
pub fn page(
    report: &Report,
    latencies: &Histogram<u64>,
    series: Option<&ApplicationSeries>,
    percentiles: &str,
) -> Result<String, PlotError> {
    let mut page = String::with_capacity(64 * 1024);
    let class = if report.is_good() { "good" } else { "bad" };
    page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let title = format!("Heddle: {} nodes, {} connections", report.nodes, report.connections);
    let _ = write!(page, "<title>{}</title><style>{STYLE}</style></head><body>", escaped(&title));
    let _ = write!(page, "<h1>{}</h1>", escaped(&title));
    let machine = &report.machine;
    let _ = write!(
        page,
        "<p class=\"sub\">{} &middot; {} cores, {}, {:.0} GiB, {}</p>",
        escaped(&report.finished),
        machine.cpus,
        escaped(&machine.cpu_model),
        machine.memory_bytes as f64 / f64::from(1 << 30),
        escaped(&machine.system)
    );
    let _ = write!(page, "<p class=\"verdict {class}\">{}</p>", escaped(&report.verdict()));
    tiles(&mut page, report);
    if let (Some(applications), Some(series)) = (&report.applications, series) {
        applications::section(&mut page, report, applications, series)?;
    }
    page.push_str("<h2>Heartbeats: latency from the planned send time, by percentile</h2>");
    page.push_str(&latency_plot(latencies)?);
    if report.seconds.len() > 1 {
        page.push_str("<h2>Beats answered per second</h2>");
        page.push_str(&rate_plot(&report.seconds)?);
        page.push_str(
            "<h2>CPU, cores: <span style=\"color:#1f5fa8\">ResourceManager</span>, \
             <span style=\"color:#d07a1f\">load generator</span></h2>",
        );
        page.push_str(&cpu_plot(&report.seconds)?);
    }
    page.push_str("<h2>All numbers</h2><table>");
    for (name, value) in report.lines() {
        let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(&value));
    }
    page.push_str("</table>");
    if !report.errors.is_empty() {
        page.push_str("<h2>What was said</h2><ul>");
        report.errors.iter().for_each(|text| {
            let _ = write!(page, "<li>{}</li>", escaped(text));
        });
        page.push_str("</ul>");
    }
    let _ = write!(page, "<h2>Command</h2><p><code>{}</code></p>", escaped(&report.command));
    let _ = writeln!(
        page,
        "<details><summary>Percentiles, milliseconds</summary><pre>{}</pre></details></body></html>",
        escaped(percentiles)
    );
    Ok(page)
}

fn tiles(page: &mut String, report: &Report) {
    if let Some(applications) = &report.applications {
        put_tiles(page, &applications::tiles(applications));
    }
    let ms = |us: u64| format!("{:.2} ms", us as f64 / 1e3);
    let server = report.server_cpu_us_per_beat.map_or_else(|| "?".to_owned(), |us| format!("{us:.2} µs"));
    let mut tiles = vec![
        (format!("{:.0}", report.beats_per_second), "beats/s"),
        (ms(report.latency_us.p50), "p50"),
        (ms(report.latency_us.p99), "p99"),
        (ms(report.latency_us.p999), "p99.9"),
        (server, "server CPU per beat"),
    ];
    if let Some(ratio) = report.floor_ratio {
        tiles.push((format!("{:.0} %", ratio * 100.0), "of the transport's floor"));
    }
    put_tiles(page, &tiles);
}

fn put_tiles(page: &mut String, tiles: &[(String, &'static str)]) {
    page.push_str("<div class=\"tiles\">");
    for (value, name) in tiles {
        let _ = write!(page, "<div class=\"tile\"><b>{}</b><span>{name}</span></div>", escaped(value));
    }
    page.push_str("</div>");
}

/// Latency over 1/(1-q), both logarithmic: each step to the right is ten times rarer.
fn latency_plot(latencies: &Histogram<u64>) -> Result<String, PlotError> {
    let rarest = (latencies.len().max(10) as f64).min(1e7);
    let mut points = Vec::new();
    let mut rarity = 1.0;
    while rarity <= rarest {
        let us = latencies.value_at_quantile(1.0 - 1.0 / rarity).max(1);
        points.push((rarity, us as f64 / 1e3));
        rarity *= 1.04;
    }
    points.push((rarest, latencies.max().max(1) as f64 / 1e3));
    let low = points.first().map_or(0.01, |point| point.1) * 0.7;
    let high = points.last().map_or(1.0, |point| point.1) * 1.4;
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
        chart.draw_series(LineSeries::new(points, thick(SERVER)))?;
        area.present()?;
    }
    Ok(svg)
}

fn rate_plot(points: &[Point]) -> Result<String, PlotError> {
    rate_of(points, &|point| point.beats_per_second)
}

/// A rate over time.
fn rate_of(points: &[Point], rate: &dyn Fn(&Point) -> f64) -> Result<String, PlotError> {
    let high = points.iter().map(rate).fold(1.0, f64::max) * 1.15;
    time_plot(points, 0.0..high, &|rate| short(*rate), &[(SERVER, rate)])
}

fn cpu_plot(points: &[Point]) -> Result<String, PlotError> {
    let high =
        points.iter().map(|point| point.server_cpu_cores.max(point.client_cpu_cores)).fold(0.1, f64::max);
    let lines: [Line<'_>; 2] =
        [(SERVER, &|point| point.server_cpu_cores), (CLIENT, &|point| point.client_cpu_cores)];
    time_plot(points, 0.0..high * 1.15, &|cores| format!("{cores:.2}"), &lines)
}

type Line<'a> = (RGBColor, &'a dyn Fn(&Point) -> f64);

fn time_plot(
    points: &[Point],
    range: Range<f64>,
    label: &dyn Fn(&f64) -> String,
    lines: &[Line<'_>],
) -> Result<String, PlotError> {
    let last = points.last().map_or(1.0, |point| point.at_s);
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
            .y_label_formatter(label)
            .draw()?;
        for (color, value) in lines {
            let data = points.iter().map(|point| (point.at_s, value(point)));
            if lines.len() == 1 {
                chart.draw_series(AreaSeries::new(data.clone(), 0.0, color.mix(0.12)))?;
            }
            chart.draw_series([PathElement::new(data.collect::<Vec<_>>(), thick(*color))])?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn text() -> TextStyle<'static> {
    TextStyle::from(("sans-serif", 13)).color(&INK)
}

fn thick(color: RGBColor) -> ShapeStyle {
    color.stroke_width(2)
}

/// `50 %`, `99.9 %`, … for 1/(1-q).
fn percentile_label(rarity: f64) -> String {
    let percent = 100.0 - 100.0 / rarity;
    let nines = rarity.log10().round().max(0.0) as usize;
    format!("{percent:.*} %", nines.saturating_sub(2))
}

/// A number with three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        1e6.. => format!("{} M", trimmed(value / 1e6)),
        1e4.. => format!("{} k", trimmed(value / 1e3)),
        100.0.. => format!("{value:.0}"),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 1.0 {
        1
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(percentile_label(1.0), "0 %");
        assert_eq!(percentile_label(10.0), "90 %");
        assert_eq!(percentile_label(1_000.0), "99.9 %");
        assert_eq!(percentile_label(100_000.0), "99.999 %");
        assert_eq!(short(2_500_000.0), "2.5 M");
        assert_eq!(short(10_000.0), "10 k");
        assert_eq!(short(0.25), "0.25");
        assert_eq!(short(120.0), "120");
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}

//! The report as one HTML page: verdict, numbers, plots. Nothing is loaded from anywhere.
//! Owns: how it looks. Called by: the command line, at the end. Does not: measure, or calculate beyond scales.
//! Invariant: every text that came from outside is escaped.

mod applications;
mod plot;

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::driver::ApplicationSeries;
use crate::report::{Point, Report};
pub use plot::PlotError;
use plot::{COLORS, Line, by_rarity, rarity_plot, short, time_plot};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;color:#222a33;max-width:920px;margin:2em auto;padding:0 1em}\
h1{font-size:1.5em;margin-bottom:.2em}h2{font-size:1.1em;margin:1.8em 0 .4em}\
.sub{color:#66707c;margin-top:0}.verdict{padding:.7em 1em;border-left:5px solid;border-radius:3px}\
.good{background:#eaf6ec;border-color:#2e8b45}.bad{background:#fbeaea;border-color:#c23b3b}\
.tiles{display:flex;flex-wrap:wrap;gap:.8em;margin:1em 0}.tile{flex:1 1 150px;border:1px solid #dde2e8;border-radius:6px;padding:.6em .9em}\
.tile b{display:block;font-size:1.35em;white-space:nowrap}.tile span{color:#66707c;font-size:.88em}\
table{border-collapse:collapse;width:100%}td{padding:.22em .6em;border-bottom:1px solid #eceff2}td:last-child{text-align:right;font-variant-numeric:tabular-nums}\
svg{width:100%;height:auto}code{font-size:.9em;background:#f3f5f7;padding:.1em .3em;word-break:break-all}pre{background:#f3f5f7;padding:.8em;overflow-x:auto;font-size:.82em}";

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
    page.push_str(&rarity_plot(&[(COLORS[0], by_rarity(latencies))])?);
    if report.seconds.len() > 1 {
        page.push_str("<h2>Beats answered per second</h2>");
        page.push_str(&rate_plot(&report.seconds, |point| point.beats_per_second)?);
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

/// A rate over time.
fn rate_plot(points: &[Point], rate: impl Fn(&Point) -> f64) -> Result<String, PlotError> {
    let line: Vec<(f64, f64)> = points.iter().map(|point| (point.at_s, rate(point))).collect();
    let high = line.iter().map(|point| point.1).fold(1.0, f64::max) * 1.15;
    time_plot(&[(COLORS[0], line)], 0.0..high, &|rate| short(*rate), true)
}

/// In the colours the heading names.
fn cpu_plot(points: &[Point]) -> Result<String, PlotError> {
    let server = points.iter().map(|point| (point.at_s, point.server_cpu_cores)).collect();
    let client = points.iter().map(|point| (point.at_s, point.client_cpu_cores)).collect();
    let lines: [Line; 2] = [(COLORS[0], server), (COLORS[1], client)];
    let high = lines.iter().flat_map(|line| &line.1).map(|point| point.1).fold(0.1, f64::max);
    time_plot(&lines, 0.0..high * 1.15, &|cores| format!("{cores:.2}"), true)
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
    fn what_came_from_outside_is_escaped() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}

//! The two kinds of plots of the page: latency by rarity, and a value over time.
//! Owns: scales, colours, labels. Called by: the page and its part about applications. Thread: main.
//! Does not: know what is plotted. Invariant: a plot of nothing is an empty frame, no error.

use std::ops::Range;

use hdrhistogram::Histogram;
use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::combinators::IntoLogRange;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::PathElement;
use plotters::series::{AreaSeries, LineSeries};
use plotters::style::{Color, RGBColor, ShapeStyle, TRANSPARENT, TextStyle};
use thiserror::Error;

use crate::report::unit_of_time;

const SIZE: (u32, u32) = (860, 300);
const INK: RGBColor = RGBColor(0x33, 0x3a, 0x44);
const GRID: RGBColor = RGBColor(0xe3, 0xe7, 0xec);

/// Colours that are told apart also by those who see few of them; a line's is that of its place.
pub(super) const COLORS: [RGBColor; 12] = [
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

/// A plot that could not be drawn.
#[derive(Debug, Error)]
#[error("cannot draw a plot: {0}")]
pub struct PlotError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

/// A line of a plot, by colour.
pub(super) type Line = (RGBColor, Vec<(f64, f64)>);

/// Latency over 1/(1-q), milliseconds: each step to the right is rarer.
pub(super) fn by_rarity(latencies: &Histogram<u64>) -> Vec<(f64, f64)> {
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

/// Lines of [`by_rarity`], both axes logarithmic: each mark to the right is ten times rarer.
pub(super) fn rarity_plot(lines: &[Line]) -> Result<String, PlotError> {
    let points = || lines.iter().flat_map(|line| line.1.iter());
    let rarest = points().map(|point| point.0).fold(10.0, f64::max);
    let high = points().map(|point| point.1).fold(0.001, f64::max) * 1.4;
    let low = points().map(|point| point.1).fold(high, f64::min) * 0.7;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart =
            framed(&area).build_cartesian_2d((1.0..rarest).log_scale(), (low..high).log_scale())?;
        mesh(&mut chart, 8, &|rarity| percentile_label(*rarity), &|ms| format!("{} ms", short(*ms)))?;
        for (color, points) in lines {
            chart.draw_series(LineSeries::new(points.iter().copied(), thick(*color)))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Values over seconds; a trace of months is shown in days. The area below a single line is filled where `is_filled`.
pub(super) fn time_plot(
    lines: &[Line],
    range: Range<f64>,
    label: &dyn Fn(&f64) -> String,
    is_filled: bool,
) -> Result<String, PlotError> {
    let last_s = lines.iter().filter_map(|line| line.1.last()).map(|point| point.0).fold(1.0, f64::max);
    // The axis is in the unit of its end, so that its marks stand at whole ones.
    let (unit_ms, unit) = unit_of_time(last_s * 1e3);
    let in_unit = |at_s: f64| at_s * 1e3 / unit_ms;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = framed(&area).build_cartesian_2d(0.0..in_unit(last_s), range)?;
        mesh(&mut chart, 10, &|at| format!("{} {unit}", short(*at)), label)?;
        for (color, points) in lines {
            let points: Vec<(f64, f64)> =
                points.iter().map(|(at_s, value)| (in_unit(*at_s), *value)).collect();
            if is_filled && lines.len() == 1 {
                chart.draw_series(AreaSeries::new(points.iter().copied(), 0.0, color.mix(0.12)))?;
            }
            chart.draw_series([PathElement::new(points, thick(*color))])?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Room around a plot for its labels.
fn framed<'a, 'b>(area: &'a DrawingArea<SVGBackend<'b>, Shift>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut chart = ChartBuilder::on(area);
    chart.margin(8).margin_right(28).x_label_area_size(36).y_label_area_size(64);
    chart
}

/// Axes, their labels, and the lines between them.
fn mesh<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    labels: usize,
    x_label: &dyn Fn(&f64) -> String,
    y_label: &dyn Fn(&f64) -> String,
) -> Result<(), PlotError>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .axis_style(INK)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .label_style(TextStyle::from(("sans-serif", 13)).color(&INK))
        .x_labels(labels)
        .y_labels(6)
        .x_label_formatter(x_label)
        .y_label_formatter(y_label)
        .draw()?;
    Ok(())
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
pub(super) fn short(value: f64) -> String {
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
    }

    #[test]
    fn a_plot_of_nothing_is_an_empty_frame() {
        assert!(rarity_plot(&[]).unwrap().starts_with("<svg"));
        assert!(time_plot(&[], 0.0..1.0, &|value| short(*value), true).unwrap().starts_with("<svg"));
    }

    #[test]
    fn an_axis_of_time_is_in_the_unit_of_its_end() {
        let axis = |last_s| {
            time_plot(&[(INK, vec![(0.0, 0.0), (last_s, 1.0)])], 0.0..1.0, &|value| short(*value), true)
                .unwrap()
        };
        assert!(axis(60.0).contains("60 s"));
        assert!(axis(100.0 * 86_400.0).contains("100 days"));
    }
}

//! Latency against rate, one line per system and storage, both axes logarithmic.

use plotters::prelude::*;

use super::Point;
use crate::failure::Failure;
use crate::table;

/// The plot as SVG.
pub(super) fn svg(points: &[Point]) -> Result<String, Failure> {
    let mut text = String::new();
    draw(&mut text, points).map_err(|e| Failure::new(format!("plot: {e}")))?;
    Ok(text)
}

fn draw(text: &mut String, points: &[Point]) -> Result<(), Box<dyn std::error::Error>> {
    let canvas = SVGBackend::with_string(text, (1160, 600)).into_drawing_area();
    canvas.fill(&WHITE)?;
    let (chart_area, legend) = canvas.split_horizontally(800);
    let points: Vec<&Point> = until_saturation(points);
    let range = |value: fn(&Point) -> f64| {
        let values = || points.iter().copied().map(value).filter(|v| *v > 0.0);
        let low = values().fold(f64::INFINITY, f64::min).min(1.0);
        let high = values().fold(0.0, f64::max).max(low * 10.0);
        (low * 0.8)..(high * 1.25)
    };
    let mut chart = ChartBuilder::on(&chart_area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(range(|p| p.rate).log_scale(), range(|p| p.latency_seconds).log_scale())?;
    chart.configure_mesh().x_desc("requests per second").y_desc("mean latency, seconds").draw()?;
    let mut systems: Vec<&str> = Vec::new();
    let mut lines: Vec<Vec<&Point>> = Vec::new();
    for &point in &points {
        match lines.last_mut() {
            Some(line)
                if line[0].system == point.system && line[0].client_storage == point.client_storage =>
            {
                line.push(point);
            }
            _ => lines.push(vec![point]),
        }
        if systems.last() != Some(&point.system.as_str()) {
            systems.push(&point.system);
        }
    }
    for (i, line) in lines.into_iter().enumerate() {
        let system = systems.iter().position(|s| *s == line[0].system).unwrap_or(0);
        // One colour per system, the darker the more storage.
        let storages: Vec<u64> = points.iter().map(|p| p.client_storage).collect();
        let (least, most) = (
            storages.iter().copied().min().unwrap_or(1).max(1) as f64,
            storages.iter().copied().max().unwrap_or(1).max(2) as f64,
        );
        let depth = ((line[0].client_storage.max(1) as f64 / least).ln() / (most / least).ln().max(1e-9))
            .clamp(0.0, 1.0);
        let colour = HSLColor((system as f64 * 0.28 + 0.58).fract(), 0.75, 0.68 - 0.38 * depth);
        let coordinates: Vec<(f64, f64)> = line.iter().map(|p| (p.rate, p.latency_seconds)).collect();
        chart.draw_series(LineSeries::new(coordinates.iter().copied(), colour.stroke_width(2)))?;
        let y = 24 + 18 * i as i32;
        legend.draw(&PathElement::new([(0, y), (20, y)], colour.stroke_width(2)))?;
        let words = format!("{}, {}", line[0].system, table::bytes(line[0].client_storage));
        legend.draw(&Text::new(words, (26, y - 7), ("sans-serif", 12)))?;
        let sustained: Vec<bool> = line.iter().map(|p| p.sustained).collect();
        // A cross where more than two requests are outstanding.
        let marks =
            coordinates.iter().zip(sustained).filter(|(_, s)| !s).map(|(at, _)| Cross::new(*at, 4, colour));
        chart.draw_series(marks)?;
    }
    canvas.present()?;
    Ok(())
}

/// Every line up to its first rate that is not sustained: beyond it, waiting only grows with the length of the day.
fn until_saturation(points: &[Point]) -> Vec<&Point> {
    let same = |a: &Point, b: &Point| a.system == b.system && a.client_storage == b.client_storage;
    let mut kept: Vec<&Point> = Vec::new();
    for point in points {
        if !kept.last().is_some_and(|last| !last.sustained && same(last, point)) {
            kept.push(point);
        }
    }
    kept
}

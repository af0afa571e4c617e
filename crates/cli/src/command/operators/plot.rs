//! Accuracy against multiplications, bytes and seconds: a line of charts per task, a bar over the seeds and a point at their
//! mean per operator.

use plotters::prelude::*;

use super::Row;
use crate::failure::Failure;

/// The plot as SVG.
pub(super) fn svg(rows: &[Row]) -> Result<String, Failure> {
    let mut text = String::new();
    draw(&mut text, rows).map_err(|e| Failure::new(format!("plot: {e}")))?;
    Ok(text)
}

/// A title and what it measures.
type Axis = (&'static str, fn(&Row) -> f64);

/// What the horizontal axes show.
const AXES: [Axis; 3] = [
    ("multiplications, millions", |row| row.macs as f64 / 1e6),
    ("megabytes, offline and online", |row| (row.offline_bytes + row.online_bytes) as f64 / 1e6),
    ("seconds, offline and online", |row| row.seconds),
];
const WIDTH: u32 = 400;
const HEIGHT: u32 = 320;

fn draw(text: &mut String, rows: &[Row]) -> Result<(), Box<dyn std::error::Error>> {
    let mut tasks: Vec<&str> = rows.iter().map(|row| row.task.as_str()).collect();
    tasks.dedup();
    let size = (WIDTH * AXES.len() as u32, HEIGHT * tasks.len() as u32);
    let canvas = SVGBackend::with_string(text, size).into_drawing_area();
    canvas.fill(&WHITE)?;
    let areas = canvas.split_evenly((tasks.len(), AXES.len()));
    for (task, areas) in tasks.iter().zip(areas.chunks(AXES.len())) {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.task == *task).collect();
        let least = rows.iter().map(|row| row.range[0]).fold(f64::INFINITY, f64::min);
        let most = rows.iter().map(|row| row.range[1]).fold(0.0, f64::max);
        for ((words, value), area) in AXES.iter().zip(areas) {
            let furthest = rows.iter().map(|row| value(row)).fold(1e-9, f64::max);
            let mut chart = ChartBuilder::on(area)
                .margin(10)
                .caption(task, ("sans-serif", 14))
                .x_label_area_size(36)
                .y_label_area_size(44)
                // Names stand to the right of their points.
                .build_cartesian_2d(0.0..furthest * 1.45, least - 0.5..most + 0.5)?;
            chart.configure_mesh().x_desc(*words).y_desc("accuracy, %").x_labels(6).draw()?;
            for (i, row) in rows.iter().enumerate() {
                let colour = HSLColor((i as f64 * 0.618).fract(), 0.8, 0.38);
                let x = value(row);
                let bar = [(x, row.range[0]), (x, row.range[1])];
                chart.draw_series(LineSeries::new(bar, colour.stroke_width(1)))?;
                chart.draw_series([Circle::new((x, row.accuracy), 3, colour.filled())])?;
                let name =
                    Text::new(row.operator.clone(), (x + furthest * 0.02, row.accuracy), ("sans-serif", 11));
                chart.draw_series([name])?;
            }
        }
    }
    canvas.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_named_on_every_axis() {
        let row = |task: &str, operator: &str| Row {
            task: task.to_owned(),
            operator: operator.to_owned(),
            accuracy: 90.0,
            range: [89.0, 91.0],
            macs: 1_000_000,
            activations: 5,
            offline_bytes: 3_000_000,
            online_bytes: 1_000_000,
            rounds: 3,
            seconds: 0.5,
        };
        let svg = svg(&[row("a", "standard"), row("a", "xop-a"), row("b", "standard")]).unwrap();
        assert_eq!((svg.matches("standard").count(), svg.matches("xop-a").count()), (6, 3));
    }
}

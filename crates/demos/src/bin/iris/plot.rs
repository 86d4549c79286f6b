//! A picture of the search: the accuracy over the learning rate.

use plotters::coord::Shift;
use plotters::prelude::*;
use rootstep_demos::axis::Axis;
use rootstep_demos::picture::Picture;
use rootstep_tuning::{Metric, Row, SearchResults};
use std::error::Error;

/// The score of each fold as a dot, the means as a line, and a standard deviation to both sides. Of
/// several rounds each candidate is drawn as in the last one that it took part in.
pub struct Scores<'a>(pub &'a [(usize, SearchResults<f64>)]);

impl Picture for Scores<'_> {
    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static,
    {
        let mut rows: Vec<&Row<f64>> = Vec::new();
        for row in self.0.iter().rev().flat_map(|(_, results)| results.rows()) {
            if rows.iter().all(|known| known.candidate != row.candidate) {
                rows.push(row);
            }
        }
        let rows = rows.iter().map(|row| (row.candidate, row.metric())).collect();
        draw(root, rows)
    }
}

fn draw<B: DrawingBackend>(
    root: &DrawingArea<B, Shift>,
    mut rows: Vec<(f64, &Metric)>,
) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    rows.retain(|(_, metric)| metric.mean.is_finite());
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    if rows.is_empty() {
        return Err("no learning rate has a score".into());
    }
    let axis = Axis::logarithmic(&rows.iter().map(|row| row.0).collect::<Vec<_>>())?;
    let scores = rows.iter().flat_map(|(_, metric)| metric.scores.iter().copied());
    let lowest = (scores.fold(1.0, f64::min) - 0.05).max(0.0);

    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(root)
        .caption("Accuracy in cross-validation", ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(60)
        .build_cartesian_2d(axis, lowest..1.02)?;
    chart
        .configure_mesh()
        .x_desc("learning rate")
        .y_desc("accuracy")
        .y_label_formatter(&|score| format!("{score:.2}"))
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    let fold = RGBColor(120, 150, 200);
    chart
        .draw_series(rows.iter().flat_map(|&(rate, metric)| {
            metric.scores.iter().map(move |&score| Circle::new((rate, score), 3, fold.filled()))
        }))?
        .label("each fold")
        .legend(move |(x, y)| Circle::new((x + 10, y), 3, fold.filled()));
    let mean = RGBColor(20, 60, 140);
    chart.draw_series(rows.iter().map(|&(rate, metric)| {
        let [low, high] = [-1.0, 1.0].map(|sign| metric.mean + sign * metric.standard_deviation);
        let style = mean.stroke_width(1);
        ErrorBar::new_vertical(rate, low.max(lowest), metric.mean, high, style, 8)
    }))?;
    chart
        .draw_series(LineSeries::new(
            rows.iter().map(|&(rate, metric)| (rate, metric.mean)),
            mean.stroke_width(2),
        ))?
        .label("mean ± standard deviation")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], mean.stroke_width(2)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .label_font(("sans-serif", 14))
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

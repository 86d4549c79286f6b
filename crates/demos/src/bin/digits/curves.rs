//! The formats beside each other: a table, a verdict, a picture.

use comfy_table::{CellAlignment, Table, presets};
use plotters::coord::Shift;
use plotters::prelude::*;
use rootstep_demos::axis::Axis;
use rootstep_demos::picture::Picture;
use std::error::Error;

/// Points of accuracy below the first format that still count as the same.
const TOLERANCE: f64 = 0.5;

/// The trainings in a format.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    /// For each parameter.
    pub bytes: f64,
    /// On held-out images, for each seed.
    pub accuracies: Vec<f64>,
    /// The mean loss of each epoch, for each seed.
    pub losses: Vec<Vec<f64>>,
}

impl Row {
    /// In percent.
    fn accuracy(&self) -> f64 {
        100.0 * mean(&self.accuracies)
    }

    /// The mean over the seeds, by epoch.
    fn curve(&self) -> Vec<f64> {
        let epochs = self.losses.iter().map(Vec::len).min().unwrap_or(0);
        let of_epoch = |epoch| self.losses.iter().map(|losses| losses[epoch]).collect::<Vec<_>>();
        (0..epochs).map(|epoch| mean(&of_epoch(epoch))).collect()
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// The first row is what the others are compared with.
#[derive(Debug)]
pub struct Formats(pub Vec<Row>);

impl Formats {
    /// A row for each format.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["format", "bytes per parameter", "accuracy", "range", "loss at the end"]);
        for row in &self.0 {
            let percents = || row.accuracies.iter().map(|accuracy| 100.0 * accuracy);
            let least = percents().fold(f64::INFINITY, f64::min);
            let most = percents().fold(f64::NEG_INFINITY, f64::max);
            let loss = row.curve().last().copied().unwrap_or(f64::NAN);
            table.add_row([
                row.name.to_owned(),
                format!("{:.2}", row.bytes),
                format!("{:.2}", row.accuracy()),
                format!("{least:.2} to {most:.2}"),
                format!("{loss:.4}"),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Which formats are as accurate as the first.
    pub fn verdict(&self) -> String {
        let Some((first, others)) = self.0.split_first() else { return String::new() };
        let compared = others.iter().map(|row| {
            let difference = row.accuracy() - first.accuracy();
            let word = if difference.abs() <= TOLERANCE { "within" } else { "not within" };
            format!(
                "- {}: {word} {TOLERANCE} points of {} ({difference:+.2}).",
                row.name, first.name
            )
        });
        compared.collect::<Vec<_>>().join("\n")
    }
}

/// The loss over the epochs, a line for each format.
impl Picture for Formats {
    fn size(&self) -> (u32, u32) {
        (820, 540)
    }

    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static,
    {
        // Without a logarithm, there is no point: a training that diverged, or has no loss left.
        let drawable = |&(_, loss): &(f64, f64)| loss.is_finite() && loss > 0.0;
        let points = |row: &Row| {
            let points = (1..).map(f64::from).zip(row.curve());
            points.filter(drawable).collect::<Vec<_>>()
        };
        let lines: Vec<_> = self.0.iter().map(|row| (row.name, points(row))).collect();
        let all = || lines.iter().flat_map(|(_, points)| points);
        if all().next().is_none() {
            return Err("no format has a loss".into());
        }
        let across = Axis::linear(&all().map(|point| point.0).collect::<Vec<_>>())?;
        let up = Axis::logarithmic(&all().map(|point| point.1).collect::<Vec<_>>())?;
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(root)
            .caption("Training on digits, by the format of the parameters", ("sans-serif", 20))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(across, up)?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .y_desc("log loss, mean of the epoch")
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE)
            .draw()?;
        for (i, (name, points)) in lines.into_iter().enumerate() {
            let style = style(i);
            chart
                .draw_series(LineSeries::new(points, style))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 14))
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        Ok(())
    }
}

/// Lines that lie on each other are to be seen: the first is the widest, and lies below.
fn style(line: usize) -> ShapeStyle {
    const STYLES: [(RGBColor, u32); 10] = [
        (RGBColor(205, 210, 220), 13),
        (RGBColor(200, 60, 40), 3),
        (RGBColor(120, 200, 140), 9),
        (RGBColor(20, 60, 140), 6),
        (RGBColor(240, 170, 40), 4),
        (RGBColor(90, 170, 220), 2),
        (RGBColor(150, 80, 170), 2),
        (RGBColor(120, 90, 60), 1),
        (RGBColor(0, 130, 130), 1),
        (RGBColor(0, 0, 0), 1),
    ];
    let (colour, width) = STYLES[line % STYLES.len()];
    colour.stroke_width(width)
}

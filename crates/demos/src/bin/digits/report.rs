//! The results: a table, a verdict, a picture.

use comfy_table::{CellAlignment, Table, presets};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rootstep_demos::axis::Axis;
use rootstep_demos::names::short;
use rootstep_demos::picture::Picture;
use rootstep_tuning::RangeTestResult;
use std::cmp::Ordering;
use std::error::Error;

/// Points below a rule's best accuracy that still count as good.
const TOLERANCE: f64 = 0.05;

#[derive(Debug)]
pub struct Results {
    pub rules: Vec<&'static str>,
    pub rates: Vec<f64>,
    /// For each rule, each rate and each seed.
    pub accuracies: Vec<Vec<Vec<f64>>>,
}

impl Results {
    /// The mean accuracies of a rule, by learning rate.
    fn means(&self, rule: usize) -> Vec<f64> {
        let mean = |seeds: &Vec<f64>| seeds.iter().sum::<f64>() / seeds.len() as f64;
        self.accuracies[rule].iter().map(mean).collect()
    }

    /// NaN if no training has an accuracy.
    pub fn best(&self, rule: usize) -> f64 {
        self.means(rule).into_iter().fold(f64::NAN, f64::max)
    }

    /// The rates at which a rule is near its best.
    fn good_rates(&self, rule: usize) -> usize {
        let best = self.best(rule);
        self.means(rule).iter().filter(|&&mean| mean >= best - TOLERANCE).count()
    }

    /// A row for each learning rate, a column for each rule.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let mut header = vec!["learning rate"];
        header.extend(&self.rules);
        table.set_header(header);
        let means: Vec<_> = (0..self.rules.len()).map(|rule| self.means(rule)).collect();
        for (i, rate) in self.rates.iter().enumerate() {
            let cells = means.iter().map(|means| percent(means[i], 1));
            table.add_row(std::iter::once(short(*rate, 2)).chain(cells));
        }
        let row = |name: &str, cell: &dyn Fn(usize) -> String| {
            std::iter::once(name.to_owned())
                .chain((0..self.rules.len()).map(cell))
                .collect::<Vec<_>>()
        };
        table.add_row(row("best", &|rule| percent(self.best(rule), 1)));
        let name = format!("rates within {} points of it", 100.0 * TOLERANCE);
        table.add_row(row(&name, &|rule| self.good_rates(rule).to_string()));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// What the table says about the claim that the power makes the result flatter: each rule with a
    /// power against the plain one.
    pub fn verdict(&self, pairs: &[(usize, usize)]) -> String {
        let compared = pairs.iter().map(|&(rule, plain)| {
            let (good, good_plain) = (self.good_rates(rule), self.good_rates(plain));
            let word = match good.cmp(&good_plain) {
                Ordering::Greater => "flatter than",
                Ordering::Equal => "as flat as",
                Ordering::Less => "less flat than",
            };
            let (rule, plain) = (self.rules[rule], self.rules[plain]);
            format!("- {rule} is {word} {plain}: good at {good} rates, against {good_plain}.")
        });
        compared.collect::<Vec<_>>().join("\n")
    }
}

/// An accuracy as the table and the picture show it.
fn percent(accuracy: f64, decimals: usize) -> String {
    if accuracy.is_nan() { "failed".to_owned() } else { format!("{:.decimals$}", 100.0 * accuracy) }
}

/// Where there is no accuracy.
const GREY: RGBColor = RGBColor(190, 190, 190);

/// A cell of the heat map, and where the first one begins, in pixels.
const CELL: (i32, i32) = (56, 40);
const CORNER: (i32, i32) = (190, 60);

/// A heat map: a row for each rule, a column for each learning rate.
impl Picture for Results {
    fn size(&self) -> (u32, u32) {
        let end = |corner: i32, cells: usize, cell: i32, margin: u32| {
            corner.unsigned_abs() + u32::try_from(cells).unwrap_or(0) * cell.unsigned_abs() + margin
        };
        (end(CORNER.0, self.rates.len(), CELL.0, 16), end(CORNER.1, self.rules.len(), CELL.1, 56))
    }

    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static,
    {
        let across = i32::try_from(self.rates.len())?;
        let down = i32::try_from(self.rules.len())?;
        let middle = (CORNER.0 + across * CELL.0 + 16) / 2;
        root.fill(&WHITE)?;
        let font = |size: i32, horizontal| {
            ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(horizontal, VPos::Center))
        };
        let title = "Accuracy on held-out digits in percent, by optimizer and learning rate";
        root.draw(&Text::new(title, (middle, 28), font(18, HPos::Center)))?;
        for (y, name) in (0..).zip(&self.rules) {
            let top = CORNER.1 + y * CELL.1;
            let middle = top + CELL.1 / 2;
            root.draw(&Text::new(*name, (CORNER.0 - 10, middle), font(15, HPos::Right)))?;
            for (x, mean) in (0..).zip(self.means(usize::try_from(y)?)) {
                let left = CORNER.0 + x * CELL.0;
                let area = [(left, top), (left + CELL.0 - 2, top + CELL.1 - 2)];
                // A training that failed has no accuracy.
                let colour = if mean.is_nan() { GREY } else { ViridisRGB.get_color(mean) };
                root.draw(&Rectangle::new(area, colour.filled()))?;
                let ink = if mean > 0.6 { BLACK } else { WHITE };
                let text = font(14, HPos::Center).color(&ink);
                let centre = (left + CELL.0 / 2 - 1, middle);
                root.draw(&Text::new(percent(mean, 0), centre, text))?;
            }
        }
        let bottom = CORNER.1 + down * CELL.1 + 14;
        for (x, rate) in (0..).zip(&self.rates) {
            let centre = CORNER.0 + x * CELL.0 + CELL.0 / 2 - 1;
            root.draw(&Text::new(short(*rate, 2), (centre, bottom), font(13, HPos::Center)))?;
        }
        let middle = CORNER.0 + across * CELL.0 / 2;
        root.draw(&Text::new("learning rate", (middle, bottom + 24), font(15, HPos::Center)))?;
        Ok(())
    }
}

/// The loss over the learning rate, smoothed and as it is, and the suggested rates.
pub struct RangeTestPicture<'a> {
    pub found: &'a RangeTestResult,
    pub suggestions: &'a [(&'a str, Option<f64>)],
}

impl Picture for RangeTestPicture<'_> {
    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static,
    {
        let points = self.found.points();
        if points.is_empty() {
            return Err("the range test has no points".into());
        }
        let rates: Vec<f64> = points.iter().map(|point| point.rate).collect();
        let across = Axis::logarithmic(&rates)?;
        let losses = points.iter().map(|point| point.smoothed).filter(|loss| loss.is_finite());
        let up = Axis::linear(&losses.chain([0.0]).collect::<Vec<_>>())?;
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(root)
            .caption("Range test of PowerStep on digits", ("sans-serif", 20))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(across, up)?;
        chart
            .configure_mesh()
            .x_desc("learning rate")
            .y_desc("log loss of the batch")
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE)
            .draw()?;
        let (pale, dark) = (RGBColor(180, 195, 220), RGBColor(20, 60, 140));
        let raw = points.iter().map(|point| (point.rate, point.loss));
        chart
            .draw_series(LineSeries::new(raw, pale.stroke_width(1)))?
            .label("loss")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], pale.stroke_width(1)));
        let smoothed = points.iter().map(|point| (point.rate, point.smoothed));
        chart
            .draw_series(LineSeries::new(smoothed, dark.stroke_width(2)))?
            .label("smoothed")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], dark.stroke_width(2)));
        let colours = [RGBColor(200, 60, 40), RGBColor(30, 140, 70), RGBColor(150, 80, 170)];
        for (&(name, rate), colour) in self.suggestions.iter().zip(colours) {
            if let Some(rate) = rate {
                chart
                    .draw_series([PathElement::new(
                        [(rate, f64::NEG_INFINITY), (rate, f64::INFINITY)],
                        colour.stroke_width(2),
                    )])?
                    .label(format!("{name}: {}", short(rate, 2)))
                    .legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2))
                    });
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 14))
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        Ok(())
    }
}

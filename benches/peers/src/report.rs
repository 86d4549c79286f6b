//! What came out: a table and a picture.

use crate::contender::{LIMIT, MOMENTUM, threads};
use crate::element::Element;
use crate::worker::{self, OWN_MOMENTUM};
use anyhow::{Error, Result, anyhow};
use comfy_table::Table;
use plotters::prelude::*;
use rootstep::Level;
use std::path::Path;

/// A contender at a length.
pub struct Cell {
    /// The share of elements with the specified bits.
    pub exact: f64,
    /// Seconds per step, turn by turn.
    pub times: Vec<f64>,
}

impl Cell {
    fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

pub struct Report {
    element: Element,
    lengths: Vec<usize>,
    rounds: u32,
    /// In the order of the contenders.
    rows: Vec<(String, Vec<(usize, Cell)>)>,
    skipped: Vec<String>,
}

impl Report {
    pub fn new(element: Element, lengths: &[usize], rounds: u32) -> Self {
        let (rows, skipped) = (Vec::new(), Vec::new());
        Self { element, lengths: lengths.to_vec(), rounds, rows, skipped }
    }

    pub fn add(&mut self, name: &str, length: usize, cell: Cell) {
        match self.rows.iter_mut().find(|(row, _)| row == name) {
            Some((_, cells)) => cells.push((length, cell)),
            None => self.rows.push((name.to_owned(), vec![(length, cell)])),
        }
    }

    pub fn skip(&mut self, name: &str, error: &Error) {
        self.skipped.push(format!("{name}: {error:#}"));
    }

    fn cell(&self, name: &str, length: usize) -> Option<&Cell> {
        let (_, cells) = self.rows.iter().find(|(row, _)| row == name)?;
        cells.iter().find(|(at, _)| *at == length).map(|(_, cell)| cell)
    }

    /// Nanoseconds per element (median of the turns), and how many times rootstep's: with momentum,
    /// those of its own step with momentum.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::ASCII_MARKDOWN);
        let heads = self.lengths.iter().map(|&length| binary(length));
        table.set_header(
            ["ns per element".to_owned()].into_iter().chain(heads).chain(["same bits".to_owned()]),
        );
        for (name, cells) in &self.rows {
            let mut row = vec![name.clone()];
            for &length in &self.lengths {
                row.push(self.cell(name, length).map_or(String::new(), |cell| {
                    let names = worker::names(self.element);
                    let own = if name.contains(MOMENTUM) { OWN_MOMENTUM } else { names[0] };
                    let own = self.cell(own, length).map_or(f64::NAN, Cell::median);
                    let time = cell.median() / length as f64 * 1e9;
                    format!("{time:.3} ({:.2}×)", cell.median() / own)
                }));
            }
            let exact = cells.iter().map(|(_, cell)| cell.exact).fold(1.0, f64::min);
            row.push(format!("{} %", (exact * 1000.0).floor() / 10.0));
            table.add_row(row);
        }
        let skipped = self.skipped.join("\n\nSkipped: ");
        let skipped = if skipped.is_empty() { skipped } else { format!("\n\nSkipped: {skipped}") };
        format!("{}\n\n{table}{skipped}", self.title())
    }

    fn title(&self) -> String {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let threads = threads();
        format!(
            "{}: {}, {} at best, {threads} threads; median of {} turns",
            self.element,
            model.map_or("unknown CPU", |(_, model)| model),
            Level::detect(),
            self.rounds
        )
    }

    /// Bytes per second over length, the axpy of the same traffic as the limit.
    pub fn plot(&self, file: &Path) -> Result<()> {
        // Plotters' errors borrow the drawing area.
        self.draw(file).map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
    }

    fn draw(&self, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::new(file, (960, 600)).into_drawing_area();
        root.fill(&WHITE)?;
        let bytes = self.element.bytes_per_element();
        let rate = |length: usize, cell: &Cell| bytes * length as f64 / cell.median() / 1e9;
        let rows = || self.rows.iter().filter(|(name, _)| !name.contains(MOMENTUM));
        let all = || rows().flat_map(|(_, cells)| cells).map(|(n, cell)| rate(*n, cell));
        let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
        let (first, last) = (self.lengths.iter().min(), self.lengths.iter().max());
        let (first, last) = (*first.ok_or("no lengths")? as f64, *last.ok_or("no lengths")? as f64);
        let mut chart = ChartBuilder::on(&root)
            .caption(format!("x ← x − lr·sign(g)·√|g|, {}", self.element), ("sans-serif", 22))
            .margin(12)
            .margin_right(240)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(
                (first..last).log_scale().base(2.0),
                (low / 1.3..high * 1.3).log_scale(),
            )?;
        chart
            .configure_mesh()
            .x_desc("elements")
            .y_desc(format!("GB/s ({bytes} bytes per element)"))
            .x_label_formatter(&|length| binary_power(*length))
            .y_label_formatter(&|rate| format!("{rate}"))
            .label_style(("sans-serif", 15))
            .light_line_style(WHITE)
            .draw()?;
        let mut labels = Vec::new();
        for (i, (name, cells)) in rows().enumerate() {
            let own = name == worker::names(self.element)[0];
            let hue = i as f64 / rows().count() as f64;
            let colour =
                if name == LIMIT { BLACK.to_rgba() } else { HSLColor(hue, 0.8, 0.4).to_rgba() };
            let style = colour.stroke_width(if own { 4 } else { 2 });
            let points = cells.iter().map(|(length, cell)| (*length as f64, rate(*length, cell)));
            if let Some(last) = points.clone().next_back() {
                let (right, height) = chart.backend_coord(&last);
                labels.push((height - 8, right + 8, name, colour));
            }
            if name == LIMIT {
                chart.draw_series(DashedLineSeries::new(points, 6, 5, style))?;
            } else {
                chart.draw_series(LineSeries::new(points, style))?;
            }
        }
        // Beside the ends of the lines, as near as the other labels allow.
        labels.sort_by_key(|&(height, ..)| height);
        let mut free = 0;
        for (height, right, name, colour) in labels {
            free = free.max(height);
            let font = ("sans-serif", 15).into_font().color(&colour);
            root.draw(&Text::new(name.as_str(), (right, free), font))?;
            free += 17;
        }
        root.present()?;
        Ok(())
    }
}

/// The label of a grid line, which is a power of two.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive whole number"
)]
fn binary_power(length: f64) -> String {
    binary(length as usize)
}

/// 65536 as 64 Ki.
fn binary(length: usize) -> String {
    match length {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => format!("{} Mi", n >> 20),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => format!("{} Ki", n >> 10),
        n => n.to_string(),
    }
}

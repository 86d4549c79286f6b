//! Draws learning-rate schedules over a hundred steps.
//!
//! `cargo run --release -p rootstep-demos --features plot --bin schedules -- schedules.svg`

use clap::{Arg, Command, value_parser};
use plotters::coord::Shift;
use plotters::prelude::*;
use rootstep::optimizer::Schedule;
use rootstep_demos::output::Files;
use rootstep_demos::picture::{Picture, PictureFile};
use rootstep_demos::report::Report;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const STEPS: u64 = 100;

fn main() -> ExitCode {
    let mut report = Report::default();
    let done = run(&file(), &mut report);
    report.attempt(done);
    report.exit_code()
}

fn run(file: &Path, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let file = PictureFile::check(&mut Files::default(), "FILE", file)?;
    Schedules(schedules()?).save(&file)?;
    report.print(&format!("The schedules are in {}.\n", file.path().display()));
    Ok(())
}

/// The file that the command line names. Where it is wrong, or asks for help, the process ends here.
fn file() -> PathBuf {
    let file = Arg::new("file")
        .value_name("FILE")
        .help("Where to draw them, as SVG or PNG")
        .default_value("schedules.svg")
        .value_parser(value_parser!(PathBuf));
    let mut matches = Command::new("schedules")
        .about("Draws learning-rate schedules over a hundred steps")
        .arg(file)
        .get_matches();
    matches.remove_one("file").expect("it has a default")
}

fn schedules() -> Result<Vec<(&'static str, Schedule)>, rootstep::Error> {
    Ok(vec![
        ("cosine, 10 steps of warm-up", Schedule::cosine(0.1, 0.0, 90)?.warm_up(0.0, 10)?),
        ("cosine with restarts", Schedule::cosine_restarts(0.1, 0.0, 14, 2)?),
        ("one cycle", Schedule::one_cycle(0.004, 0.1, 0.0, STEPS, 0.3)?),
        ("linear", Schedule::linear(0.1, 0.0, STEPS)?),
        ("exponential", Schedule::exponential(0.1, 0.96)?),
        ("multi-step", Schedule::multi_step(0.1, 0.4, [30, 60, 90])?),
        ("inverse square root", Schedule::inverse_sqrt(0.1, 10.0)?.warm_up(0.0, 10)?),
    ])
}

struct Schedules(Vec<(&'static str, Schedule)>);

impl Picture for Schedules {
    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static,
    {
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(root)
            .caption("Schedules", ("sans-serif", 20))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0..STEPS, 0.0..0.105)?;
        chart
            .configure_mesh()
            .x_desc("step")
            .y_desc("learning rate")
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE)
            .draw()?;
        for (i, (name, schedule)) in self.0.iter().enumerate() {
            let colour = HSLColor(i as f64 / self.0.len() as f64, 0.8, 0.4);
            let rates = (0..STEPS).map(|step| (step, schedule.at(step)));
            chart.draw_series(LineSeries::new(rates, colour.stroke_width(2)))?.label(*name).legend(
                move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)),
            );
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 13))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK)
            .draw()?;
        Ok(())
    }
}

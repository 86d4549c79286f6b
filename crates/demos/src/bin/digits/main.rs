//! Which optimizer forgives a wrong learning rate? Trains a small network on handwritten digits with
//! each of six rules at each of thirteen learning rates, and reports the accuracy on images that the
//! training has not seen: as a table, and as a heat map in an SVG file.
//!
//! The literature claims that the power makes the result flatter in the learning rate. Here it is
//! measured: by the rates, of those tried, at which a rule comes within five points of its best.
//!
//! `cargo run --release -p rootstep-demos --features plot --bin digits`
//!
//! With `--formats FILE`, instead: what do parameters of 16 bits cost in accuracy?

mod curves;
mod data;
mod formats;
mod network;
mod report;

use clap::{Arg, Command, value_parser};
use curves::{Formats, Row};
use data::Data;
use formats::{FORMATS, Format, Trained};
use network::{BATCH, Network};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use rayon::prelude::*;
use report::{RangeTestPicture, Results};
use rootstep::Executor;
use rootstep::optimizer::{Optimizer, Power, Rule};
use rootstep_demos::arguments::whole;
use rootstep_demos::names::short;
use rootstep_demos::output::Files;
use rootstep_demos::picture::{Picture as _, PictureFile};
use rootstep_demos::report::Report;
use rootstep_tuning::{Fold, RangeTest, StratifiedHoldOut, logarithmic_grid};
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Images that the training never sees.
const HELD_OUT: usize = 360;

/// What is asked for; the command line says the same in its help.
#[derive(Debug)]
struct Arguments {
    seeds: u64,
    epochs: u32,
    plot: PathBuf,
    range_test: Option<PathBuf>,
    formats: Option<PathBuf>,
}

impl Arguments {
    /// Those of the process. Where they are wrong, or ask for help, it ends here.
    fn parse() -> Self {
        let option = |name: &'static str, value: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name(value).help(help)
        };
        let mut matches = Command::new("digits")
            .about("Compares optimizers over learning rates, on handwritten digits")
            .args([
                option(
                    "seeds",
                    "SEEDS",
                    "Trainings of each rule at each learning rate, with other splits and other initial \
                     weights",
                )
                .default_value("5")
                .value_parser(whole::<u64>(1, 1000)),
                option("epochs", "EPOCHS", "Passes over the training images")
                    .default_value("20")
                    .value_parser(whole::<u32>(1, u64::from(u32::MAX))),
                option("plot", "FILE", "Where to draw the heat map")
                    .default_value("digits.svg")
                    .value_parser(value_parser!(PathBuf)),
                option(
                    "range-test",
                    "FILE",
                    "Instead of all this: a range test of PowerStep, drawn to this file",
                )
                .value_parser(value_parser!(PathBuf))
                .conflicts_with_all(["seeds", "epochs", "plot", "formats"]),
                option(
                    "formats",
                    "FILE",
                    "Instead of all this: trains with parameters in f32, bf16 and f16, and draws the losses \
                     to this file",
                )
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("plot"),
            ])
            .get_matches();
        Self {
            seeds: matches.remove_one("seeds").expect("it has a default"),
            epochs: matches.remove_one("epochs").expect("it has a default"),
            plot: matches.remove_one("plot").expect("it has a default"),
            range_test: matches.remove_one("range-test"),
            formats: matches.remove_one("formats"),
        }
    }
}

/// A rule for each learning rate.
type RuleOf = fn(f64) -> Rule;

const RULES: [(&str, RuleOf); 6] = [
    ("SGD", Rule::sgd),
    ("SGD, momentum", |rate| Rule::sgd(rate).with_momentum(0.9)),
    ("signSGD", Rule::sign_sgd),
    ("square root", |rate| Rule::pbsgd(rate, Power::Half)),
    ("square root, momentum", |rate| Rule::pbsgd(rate, Power::Half).with_momentum(0.9)),
    ("PowerStep", Rule::powerstep),
];

/// Each rule with a power, and the plain one that it is compared with.
const PAIRS: [(usize, usize); 4] = [(2, 0), (3, 0), (4, 1), (5, 1)];

fn main() -> ExitCode {
    let mut report = Report::default();
    let done = run(&Arguments::parse(), &mut report);
    report.attempt(done);
    report.exit_code()
}

/// Does what is asked for. The error is what leaves no answer; whatever else fails is in the report alone.
fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Box<dyn Error>> {
    rootstep_demos::level()?;
    let mut files = Files::default();
    if let Some(file) = &arguments.range_test {
        let file = PictureFile::check(&mut files, "--range-test", file)?;
        return range_test(&data::digits()?, &file, report);
    }
    if let Some(file) = &arguments.formats {
        let file = PictureFile::check(&mut files, "--formats", file)?;
        return compare_formats(arguments, &data::digits()?, &file, report);
    }
    let file = PictureFile::check(&mut files, "--plot", &arguments.plot)?;
    let data = data::digits()?;
    let results = compare(arguments, &data, report)?;
    let mut text = String::new();
    writeln!(
        text,
        "Handwritten digits: {} images, {HELD_OUT} of them held out. A network 64-64-10, {} epochs.\n\
         Accuracy on the held-out images in percent, the mean of {} seeds:\n",
        data.digits.len(),
        arguments.epochs,
        arguments.seeds
    )?;
    writeln!(text, "{}\n", results.table())?;
    report.print(&text);
    if report.attempt(results.save(&file)).is_some() {
        report.print(&format!("The heat map is in {}.\n\n", file.path().display()));
    }
    if let Some(rule) = (0..RULES.len()).find(|&rule| results.best(rule).is_nan()) {
        return Err(format!("every training by {} failed", RULES[rule].0).into());
    }
    report.print(&format!("{}\n", results.verdict(&PAIRS)));
    Ok(())
}

/// Trains by each rule at each rate, with each seed. What fails is named, and has no accuracy.
fn compare(
    arguments: &Arguments,
    data: &Data,
    report: &Report,
) -> Result<Results, rootstep_tuning::Error> {
    let rates = logarithmic_grid(1e-5, 10.0, 13)?;
    let splits = splits(arguments, data)?;
    let trainings: Vec<(usize, f64)> =
        (0..RULES.len()).flat_map(|rule| rates.iter().map(move |&rate| (rule, rate))).collect();
    let accuracies: Vec<Vec<f64>> = trainings
        .par_iter()
        .map(|&(rule, rate)| {
            let (name, rule) = (RULES[rule].0, RULES[rule].1(rate));
            let by_seed = splits.iter().zip(0..).map(|(split, seed)| {
                train(data, split, rule, seed, arguments.epochs).unwrap_or_else(|error| {
                    report.warn(format!("{name}, rate {}, seed {seed}: {error}", short(rate, 2)));
                    f64::NAN
                })
            });
            by_seed.collect()
        })
        .collect();
    Ok(Results {
        rules: RULES.map(|(name, _)| name).to_vec(),
        accuracies: accuracies.chunks(rates.len()).map(<[_]>::to_vec).collect(),
        rates,
    })
}

/// The training rows and the held-out ones, for each seed.
fn splits(arguments: &Arguments, data: &Data) -> Result<Vec<Fold>, rootstep_tuning::Error> {
    let split = |seed| StratifiedHoldOut::new(HELD_OUT, seed).split(&data.digits);
    (0..arguments.seeds).map(split).collect()
}

/// Trains in each format, with each seed; reports the accuracies, and draws the losses.
fn compare_formats(
    arguments: &Arguments,
    data: &Data,
    file: &PictureFile,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let splits = splits(arguments, data)?;
    let rows: Result<Vec<Row>, String> = FORMATS
        .par_iter()
        .map(|format| train_in(format, data, &splits, arguments.epochs))
        .collect();
    let formats = Formats(rows?);
    let rule = formats::rule();
    report.print(&format!(
        "Handwritten digits: {} images, {HELD_OUT} of them held out. A network 64-64-10, {} epochs of SGD, \
         rate {}, momentum {}.\nAccuracy on the held-out images in percent, mean and range of {} seeds:\n\n\
         {}\n\n",
        data.digits.len(),
        arguments.epochs,
        rule.learning_rate,
        rule.momentum,
        arguments.seeds,
        formats.table()
    ));
    if report.attempt(formats.save(file)).is_some() {
        report.print(&format!("The losses are in {}.\n\n", file.path().display()));
    }
    report.print(&format!("{}\n", formats.verdict()));
    Ok(())
}

/// Trains in one format, with each seed.
fn train_in(format: &Format, data: &Data, splits: &[Fold], epochs: u32) -> Result<Row, String> {
    let by_seed = splits.iter().zip(0..).map(|(split, seed)| {
        let trained = format.train(data, split, seed, epochs);
        trained.map_err(|error| format!("{}, seed {seed}: {error}", format.name))
    });
    let by_seed: Vec<Trained> = by_seed.collect::<Result<_, _>>()?;
    Ok(Row {
        name: format.name,
        bytes: by_seed.first().map_or(f64::NAN, |trained| trained.bytes),
        accuracies: by_seed.iter().map(|trained| trained.accuracy).collect(),
        losses: by_seed.into_iter().map(|trained| trained.losses).collect(),
    })
}

/// Lets the learning rate of PowerStep grow from batch to batch, over two passes, and draws the loss.
fn range_test(data: &Data, file: &PictureFile, report: &mut Report) -> Result<(), Box<dyn Error>> {
    const STEPS: usize = 90;
    let mut rows = StratifiedHoldOut::new(HELD_OUT, 0).split(&data.digits)?.train;
    rows.shuffle(&mut Pcg64::seed_from_u64(0));
    let mut batches = rows.chunks(BATCH).cycle();
    let mut network = Network::new(0)?;
    let mut optimizer = Optimizer::builder(Rule::powerstep(0.0)).build()?;
    let mut failure = None;
    let found = RangeTest::new(1e-5, 10.0, STEPS)?.smoothing(0.9)?.run(|rate| {
        let batch = batches.next().unwrap_or_default();
        let loss = optimizer
            .set_learning_rate(rate)
            .and_then(|()| network.train_batch(data, batch, &mut optimizer));
        // A loss that is not a number ends the test.
        loss.unwrap_or_else(|error| {
            failure = Some(error);
            f64::NAN
        })
    });
    if let Some(error) = failure {
        report.fail(format!("the range test ended after {} steps: {error}", found.points().len()));
    }
    let suggestions = [
        ("steepest", found.steepest()),
        ("valley", found.valley()),
        ("minimum / 10", found.minimum_tenth()),
    ];
    for (name, rate) in suggestions {
        let rate = rate.map_or_else(|| "none".to_owned(), |rate| format!("{rate:.2e}"));
        report.print(&format!("{name}: {rate}\n"));
    }
    report.attempt(RangeTestPicture { found: &found, suggestions: &suggestions }.save(file));
    if suggestions.iter().all(|(_, rate)| rate.is_none()) {
        return Err("the range test suggests no learning rate".into());
    }
    Ok(())
}

/// The accuracy after training with this rule.
fn train(
    data: &Data,
    split: &Fold,
    rule: Rule,
    seed: u64,
    epochs: u32,
) -> Result<f64, Box<dyn Error>> {
    // The trainings run side by side; each on one thread.
    let executor = Executor::default().serial();
    let mut optimizer = Optimizer::builder(rule).with_executor(executor).build()?;
    let mut network = Network::new(seed)?;
    let mut rows = split.train.clone();
    for _ in 0..epochs {
        network.train_epoch(data, &mut rows, &mut optimizer)?;
    }
    Ok(network.accuracy(data, &split.test))
}

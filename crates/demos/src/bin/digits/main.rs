//! Which optimizer forgives a wrong learning rate? Trains a small network on handwritten digits with
//! each of six rules at each of thirteen learning rates, and reports the accuracy on images that the
//! training has not seen: as a table, and as a heat map in an SVG file.
//!
//! The literature claims that the power makes the result flatter in the learning rate. Here it is
//! measured: by the rates, of those tried, at which a rule comes within five points of its best.
//!
//! `cargo run --release -p rootstep-demos --features plot --bin digits`

mod data;
mod network;
mod report;

use clap::{Arg, Command, value_parser};
use data::Data;
use network::{BATCH, Network};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use rayon::prelude::*;
use report::{RangeTestPicture, Results};
use rootstep::Executor;
use rootstep::optimizer::{Optimizer, Power, Rule};
use rootstep_demos::picture::Picture;
use rootstep_tuning::{Fold, RangeTest, StratifiedHoldOut, logarithmic_grid};
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Images that the training never sees.
const HELD_OUT: usize = 360;

/// What is asked for; the command line says the same in its help.
#[derive(Debug)]
struct Arguments {
    seeds: u64,
    epochs: u32,
    plot: PathBuf,
    range_test: Option<PathBuf>,
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
                .value_parser(value_parser!(u64).range(1..)),
                option("epochs", "EPOCHS", "Passes over the training images")
                    .default_value("20")
                    .value_parser(value_parser!(u32).range(1..)),
                option("plot", "FILE", "Where to draw the heat map")
                    .default_value("digits.svg")
                    .value_parser(value_parser!(PathBuf)),
                option(
                    "range-test",
                    "FILE",
                    "Instead of all this: a range test of PowerStep, drawn to this file",
                )
                .value_parser(value_parser!(PathBuf))
                .conflicts_with_all(["seeds", "epochs", "plot"]),
            ])
            .get_matches();
        Self {
            seeds: matches.remove_one("seeds").expect("it has a default"),
            epochs: matches.remove_one("epochs").expect("it has a default"),
            plot: matches.remove_one("plot").expect("it has a default"),
            range_test: matches.remove_one("range-test"),
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

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(2);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    rootstep_demos::level()?;
    let data = data::digits()?;
    if let Some(file) = &arguments.range_test {
        return range_test(&data, file);
    }
    let rates = logarithmic_grid(1e-5, 10.0, 13)?;
    let splits: Vec<Fold> = (0..arguments.seeds)
        .map(|seed| StratifiedHoldOut::new(HELD_OUT, seed).split(&data.digits))
        .collect::<Result<_, _>>()?;
    let trainings: Vec<(usize, f64)> =
        (0..RULES.len()).flat_map(|rule| rates.iter().map(move |&rate| (rule, rate))).collect();
    let accuracies = trainings
        .par_iter()
        .map(|&(rule, rate)| {
            let rule = RULES[rule].1(rate);
            let by_seed = splits.iter().zip(0..).map(|(split, seed)| {
                train(&data, split, rule, seed, arguments.epochs).map_err(|error| error.to_string())
            });
            by_seed.collect::<Result<Vec<f64>, _>>()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let results = Results {
        rules: RULES.map(|(name, _)| name).to_vec(),
        accuracies: accuracies.chunks(rates.len()).map(<[_]>::to_vec).collect(),
        rates,
    };
    let mut text = String::new();
    writeln!(
        text,
        "Handwritten digits: {} images, {HELD_OUT} of them held out. A network 64-64-10, {} epochs.\n\
         Accuracy on the held-out images in percent, the mean of {} seeds:\n",
        data.digits.len(),
        arguments.epochs,
        arguments.seeds
    )?;
    writeln!(text, "{}\n\n{}\n", results.table(), results.verdict(&PAIRS))?;
    // A reader that has seen enough, such as `head`, may have closed the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
    results.save(&arguments.plot)?;
    let _ = writeln!(std::io::stdout(), "The heat map is in {}.", arguments.plot.display());
    Ok(())
}

/// Lets the learning rate of PowerStep grow from batch to batch, over two passes, and draws the loss.
fn range_test(data: &Data, file: &Path) -> Result<(), Box<dyn Error>> {
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
        return Err(error.into());
    }
    let suggestions = [
        ("steepest", found.steepest()),
        ("valley", found.valley()),
        ("minimum / 10", found.minimum_tenth()),
    ];
    for (name, rate) in suggestions {
        let rate = rate.map_or_else(|| "none".to_owned(), |rate| format!("{rate:.2e}"));
        println!("{name}: {rate}");
    }
    RangeTestPicture { found: &found, suggestions: &suggestions }.save(file)
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

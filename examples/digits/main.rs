//! Which optimizer forgives a wrong learning rate? Trains a small network on handwritten digits with
//! each of six rules at each of thirteen learning rates, and reports the accuracy on images that the
//! training has not seen: as a table, and as a heat map in an SVG file.
//!
//! The literature claims that the power makes the result flatter in the learning rate. Here it is
//! measured: by the rates, of those tried, at which a rule comes within five points of its best.
//!
//! `cargo run --release --example digits`

mod data;
mod network;
mod report;

use clap::Parser;
use data::Data;
use network::Network;
use rayon::prelude::*;
use report::Results;
use rootstep::learning_rate::{Fold, StratifiedHoldOut, logarithmic_grid};
use rootstep::optimizer::{Optimizer, Power, Rule};
use rootstep::{Executor, Level};
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Images that the training never sees.
const HELD_OUT: usize = 360;

/// Compares optimizers over learning rates, on handwritten digits.
#[derive(Debug, Parser)]
struct Arguments {
    /// Trainings of each rule at each learning rate, with other splits and other initial weights
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,

    /// Passes over the training images
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,

    /// Where to draw the heat map
    #[arg(long, value_name = "FILE", default_value = "digits.svg")]
    plot: PathBuf,
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
    // Asked here, so that a wrong ROOTSTEP_LEVEL is an error like any other.
    Level::from_env().map_err(|error| format!("ROOTSTEP_LEVEL: {error}"))?;
    let data = data::digits()?;
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
    let file = arguments.plot.display();
    results.draw(&arguments.plot).map_err(|error| format!("cannot draw {file}: {error}"))?;
    let _ = writeln!(std::io::stdout(), "The heat map is in {file}.");
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
    let mut optimizer = Optimizer::builder(rule).executor(executor).build()?;
    let mut network = Network::new(seed)?;
    let mut rows = split.train.clone();
    for _ in 0..epochs {
        network.train_epoch(data, &mut rows, &mut optimizer)?;
    }
    Ok(network.accuracy(data, &split.test))
}

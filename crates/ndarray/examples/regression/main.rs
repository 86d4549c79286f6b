//! Linear and logistic regression on three tables: do these steps suit linear models?
//!
//! Each optimizer searches its learning rate by cross-validation over the training rows of each seed, trains on them
//! with that rate, which falls linearly to 0, and is measured on rows that neither has seen. Prints a table in
//! Markdown for each task.
//!
//! `cargo run --release -p rootstep-ndarray --example regression`

mod data;
mod optimizers;

use data::{Loss, Task};
use ndarray::{Array2, Axis};
use optimizers::{OPTIMIZERS, Optimizer};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_pcg::Pcg64;
use rootstep_tuning::{Fold, KFold, StratifiedHoldOut, logarithmic_grid, search};
use std::error::Error;

const SEEDS: u64 = 5;
const EPOCHS: usize = 30;
const BATCH: usize = 32;

/// Scores of a linear model: `x·weights + intercepts`.
struct Model {
    weights: Array2<f32>,
    intercepts: Array2<f32>,
}

impl Model {
    fn scores(&self, x: &Array2<f32>) -> Array2<f32> {
        x.dot(&self.weights) + &self.intercepts
    }

    /// Trains on these rows, in an order of the seed.
    fn train(
        loss: Loss,
        (x, y): (&Array2<f32>, &Array2<f32>),
        optimizer: &Optimizer,
        rate: f64,
        seed: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let mut model = Self {
            weights: Array2::zeros((x.ncols(), y.ncols())),
            intercepts: Array2::zeros((1, y.ncols())),
        };
        let mut states = [model.weights.clone(), model.intercepts.clone()]
            .map(|zeros| optimizers::State::of(&zeros));
        let mut random = Pcg64::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..x.nrows()).collect();
        let steps = EPOCHS * x.nrows().div_ceil(BATCH);
        let mut t = 0_u16;
        for _ in 0..EPOCHS {
            order.shuffle(&mut random);
            for batch in order.chunks(BATCH) {
                let (x, y) = (x.select(Axis(0), batch), y.select(Axis(0), batch));
                let slopes = loss.slopes(model.scores(&x), &y) / batch.len() as f32;
                let gradients = [x.t().dot(&slopes), slopes.sum_axis(Axis(0)).insert_axis(Axis(0))];
                let rate = rate * (1.0 - f64::from(t) / steps as f64);
                let parameters = [&mut model.weights, &mut model.intercepts];
                optimizer.step(rate, t, parameters, &gradients, &mut states)?;
                t += 1;
            }
        }
        Ok(model)
    }
}

/// What a training has come to: the loss on its rows, and the loss and the measure on the others.
type Outcome = [f64; 3];

/// Searches the rate on the training rows, trains on all of them, and measures on the others.
fn run(
    task: &Task,
    optimizer: &Optimizer,
    split: &Fold,
    seed: u64,
) -> Result<(f64, Outcome), Box<dyn Error>> {
    let rows = &split.train;
    let fit = |train: &[usize], test: &[usize], rate| -> Result<Outcome, Box<dyn Error>> {
        let [train, test] = task.standardised(train, test);
        let model = Model::train(task.loss, (&train.0, &train.1), optimizer, rate, seed)?;
        let (trained, others) = (model.scores(&train.0), model.scores(&test.0));
        let loss = task.loss;
        Ok([loss.of(&trained, &train.1), loss.of(&others, &test.1), loss.measure(&others, &test.1)])
    };
    let folds = KFold::new(3)?.shuffled(seed).split(rows.len())?;
    let rates = logarithmic_grid(1e-4, 10.0, 11)?;
    let found = search(rates, &folds, |&rate, fold| {
        let of = |indices: &[usize]| indices.iter().map(|&i| rows[i]).collect::<Vec<_>>();
        let outcome = fit(&of(&fold.train), &of(&fold.test), rate);
        outcome.map_or(f64::NAN, |[_, loss, _]| -loss)
    })?;
    let rate = found.best().ok_or("every training failed")?.candidate;
    Ok((rate, fit(rows, &split.test, rate)?))
}

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{EPOCHS} epochs of batches of {BATCH}; the best of eleven rates from 1e-4 to 10 by three folds of the \
         training rows;\nmeans and standard deviations of {SEEDS} seeds, each with a fifth of the rows held out."
    );
    for task in [Task::wine()?, Task::tumours()?, Task::digits()?] {
        let measure = if task.loss == Loss::Squares { "R²" } else { "accuracy" };
        println!("\n### {}\n", task.title);
        println!(
            "| optimizer | rates found | training loss | held-out loss | held-out {measure} |"
        );
        println!("|---|---|---|---|---|");
        for optimizer in &OPTIMIZERS {
            let mut runs = Vec::new();
            for seed in 0..SEEDS {
                let split =
                    StratifiedHoldOut::new(task.labels.len() / 5, seed).split(&task.labels)?;
                runs.push(run(&task, optimizer, &split, seed)?);
            }
            print_row(optimizer.name(), &runs);
        }
    }
    Ok(())
}

fn print_row(name: &str, runs: &[(f64, Outcome)]) {
    let rates = runs.iter().map(|run| run.0);
    let (least, most) =
        rates.fold((f64::INFINITY, 0.0_f64), |(a, b), rate| (a.min(rate), b.max(rate)));
    let rates =
        if least == most { format!("{least:.1e}") } else { format!("{least:.1e} to {most:.1e}") };
    let column = |i: usize| {
        let values = || runs.iter().map(move |run| run.1[i]);
        let mean = values().sum::<f64>() / runs.len() as f64;
        let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / runs.len() as f64;
        format!("{mean:.4} ± {:.4}", variance.sqrt())
    };
    let [train, test, measure] = [0, 1, 2].map(column);
    println!("| {name} | {rates} | {train} | {test} | {measure} |");
}

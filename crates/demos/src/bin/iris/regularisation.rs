//! The strength of regularisation by cross-validation: what scikit-learn's
//! `GridSearchCV(LogisticRegression(), {"C": [0.001, .., 1000]}, cv=5)` finds on standardised iris,
//! with the steps of rootstep.

use crate::data::Data;
use crate::model::{Standardisation, most_probable, probabilities};
use rootstep::optimizer::{Optimizer, Rule, Schedule};
use rootstep_tuning::{Fold, OnFailure, Progress, Search, SearchResults, StratifiedKFold};
use std::error::Error;

/// Inverse strengths of regularisation.
const STRENGTHS: [f64; 7] = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0];

/// The weights of each class, and its intercept.
struct Model {
    weights: Vec<f64>,
    intercepts: Vec<f64>,
}

/// The mean accuracies of all strengths over five folds, not shuffled.
pub fn search(
    data: &Data,
    report: &(dyn Fn(Progress) + Sync),
) -> Result<SearchResults<f64>, Box<dyn Error>> {
    let inputs = standardised(data);
    let folds = StratifiedKFold::new(5)?.split(&data.classes)?;
    let results = Search::new(&folds)
        .metrics(["accuracy"])
        .on_failure(OnFailure::Error)
        .progress(report)
        .run(
            STRENGTHS,
            |&strength, fold: &Fold| Model::fit(&inputs, data, &fold.train, strength),
            |model, rows| Ok(vec![model.accuracy(&inputs, data, rows)]),
        )?;
    Ok(results)
}

/// Every feature with mean 0 and variance 1, over all rows.
fn standardised(data: &Data) -> Vec<Vec<f64>> {
    let all: Vec<usize> = (0..data.features.len()).collect();
    let standardisation = Standardisation::of(data, &all);
    data.features.iter().map(|features| standardisation.apply(features).collect()).collect()
}

impl Model {
    /// Minimises `|weights|² / 2 + strength * (sum of the log losses)`, divided by `strength * rows`, to
    /// a gradient below 1e-6; an error if that takes too long.
    ///
    /// By Nesterov's method with the rate 1/L and the momentum (√L - √μ) / (√L + √μ), where μ and L
    /// bound the curvature (Nesterov, *Introductory Lectures on Convex Optimization*, 2004, section 2.2).
    fn fit(
        inputs: &[Vec<f64>],
        data: &Data,
        rows: &[usize],
        strength: f64,
    ) -> Result<Self, Box<dyn Error>> {
        const MOST_STEPS: u64 = 100_000;
        const CONVERGED: f64 = 1e-6;

        let decay = 1.0 / (strength * rows.len() as f64);
        // The mean log loss curves by at most half the largest eigenvalue of the inputs' second moments,
        // which is at most the mean of their squared lengths, the 1 of the intercept included.
        let square = |&row: &usize| 1.0 + inputs[row].iter().map(|x| x * x).sum::<f64>();
        let lengths = rows.iter().map(square).sum::<f64>() / rows.len() as f64;
        let curvature = lengths / 2.0 + decay;
        let momentum = (curvature.sqrt() - decay.sqrt()) / (curvature.sqrt() + decay.sqrt());
        let rule = Rule::sgd(1.0 / curvature).with_momentum(momentum).with_nesterov();
        // The intercepts are not regularised: a group of their own.
        let mut optimizer: Optimizer<f64> =
            Optimizer::builder(rule.with_weight_decay(decay)).with_group(rule, [1]).build()?;
        let schedule = Schedule::constant(1.0 / curvature)?.warm_up(0.1 / curvature, 10)?;

        let classes = data.class_names.len();
        let mut parameters = [vec![0.0; classes * data.width()], vec![0.0; classes]];
        for step in 0..MOST_STEPS {
            let gradients = gradients(&parameters, inputs, data, rows);
            let slope = |(gradient, weight): (&f64, &f64)| (gradient + decay * weight).abs();
            let of_weights = gradients[0].iter().zip(&parameters[0]).map(slope);
            let of_intercepts = gradients[1].iter().map(|gradient| gradient.abs());
            if of_weights.chain(of_intercepts).fold(0.0, f64::max) < CONVERGED {
                let [weights, intercepts] = parameters;
                return Ok(Self { weights, intercepts });
            }
            optimizer.set_learning_rate(schedule.at(step))?;
            optimizer.step(&mut parameters, &gradients)?;
        }
        Err(format!("C = {strength} has not converged in {MOST_STEPS} steps").into())
    }

    fn accuracy(&self, inputs: &[Vec<f64>], data: &Data, rows: &[usize]) -> f64 {
        let is_right = |&&row: &&usize| {
            let scores = scores([&self.weights, &self.intercepts], &inputs[row]);
            most_probable(&scores) == data.classes[row]
        };
        rows.iter().filter(is_right).count() as f64 / rows.len() as f64
    }
}

fn scores([weights, intercepts]: [&[f64]; 2], input: &[f64]) -> Vec<f64> {
    let product = |class: &[f64]| class.iter().zip(input).map(|(w, x)| w * x).sum::<f64>();
    weights.chunks(input.len()).zip(intercepts).map(|(class, b)| product(class) + b).collect()
}

/// The gradients of the mean log loss.
fn gradients(
    [weights, intercepts]: &[Vec<f64>; 2],
    inputs: &[Vec<f64>],
    data: &Data,
    rows: &[usize],
) -> [Vec<f64>; 2] {
    let mut gradients = [vec![0.0; weights.len()], vec![0.0; intercepts.len()]];
    for &row in rows {
        let probabilities = probabilities(&scores([weights, intercepts], &inputs[row]));
        for (k, probability) in probabilities.into_iter().enumerate() {
            let is_class = f64::from(u8::from(k == data.classes[row]));
            let error = (probability - is_class) / rows.len() as f64;
            let width = inputs[row].len();
            let of_class = &mut gradients[0][k * width..][..width];
            for (sum, x) in of_class.iter_mut().zip(&inputs[row]) {
                *sum += error * x;
            }
            gradients[1][k] += error;
        }
    }
    gradients
}

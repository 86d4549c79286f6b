//! The strength of regularisation by cross-validation: what scikit-learn's
//! `GridSearchCV(LogisticRegression(), {"C": [0.001, .., 1000]}, cv=5)` finds on standardised iris,
//! with the steps of rootstep.

use crate::data::Data;
use crate::model::{Standardisation, most_probable, probabilities, product};
use rootstep::optimizer::{Optimizer, Rule};
use rootstep_tuning::{Fold, Progress, Search, SearchResults, StratifiedKFold};
use std::collections::BTreeMap;
use std::error::Error;

/// Inverse strengths of regularisation.
const STRENGTHS: [f64; 7] = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0];

/// The mean accuracies of all strengths over five folds, not shuffled; and what did not go well. A fit that
/// fails has no accuracy. One that has not converged keeps that of its last step, as in scikit-learn.
pub fn search(
    data: &Data,
    report: &(dyn Fn(Progress) + Sync),
) -> Result<(SearchResults<f64>, Vec<String>), Box<dyn Error>> {
    let inputs = inputs(data);
    let splitter = StratifiedKFold::new(5)?;
    let folds = splitter.split(&data.classes)?;
    let results = Search::new(&folds).metrics(["accuracy", "converged"]).progress(report).run(
        STRENGTHS,
        |&strength, fold: &Fold| Model::fit(&inputs, data, &fold.train, strength),
        |model, rows| {
            let converged = if model.converged { 1.0 } else { 0.0 };
            Ok(vec![model.accuracy(&inputs, data, rows), converged])
        },
    )?;
    let warnings = splitter.warning(&data.classes).into_iter().chain(problems(&results)).collect();
    Ok((results, warnings))
}

/// Every feature with mean 0 and variance 1, over all rows; and 1 for the intercept.
fn inputs(data: &Data) -> Vec<Vec<f64>> {
    let all: Vec<usize> = (0..data.features.len()).collect();
    let standardisation = Standardisation::of(data, &all);
    let input = |features: &Vec<f64>| standardisation.apply(features).chain([1.0]).collect();
    data.features.iter().map(input).collect()
}

/// The fits that failed and those that have not converged, by fold and problem.
fn problems(results: &SearchResults<f64>) -> Vec<String> {
    let mut strengths = BTreeMap::<(usize, String), Vec<String>>::new();
    for row in results.rows() {
        let converged = &row.metrics[1].scores;
        for (fold, (failure, &converged)) in row.failures.iter().zip(converged).enumerate() {
            let problem = match failure {
                Some(failure) => failure.clone(),
                None if converged == 1.0 => continue,
                None => "not converged; its accuracy is that of the last step".to_owned(),
            };
            strengths.entry((fold, problem)).or_default().push(row.candidate.to_string());
        }
    }
    let text = |((fold, problem), strengths): ((usize, String), Vec<String>)| {
        format!("fold {}, C = {}: {problem}", fold + 1, strengths.join(", "))
    };
    strengths.into_iter().map(text).collect()
}

/// Newton's steps, at most; scikit-learn's `max_iter`.
const MOST_STEPS: usize = 100;

/// So small is the largest slope at the minimum. The loss may be as flat as the decay, 2e-6 on 500 rows at
/// C = 1000: scikit-learn's 1e-4 leaves some predictions undecided there.
const CONVERGED: f64 = 1e-8;

/// A linear score for each class that has rows in the training set. Of two classes the second one has the
/// score 0, so that a single weight vector is regularised: the binomial loss.
struct Model {
    /// Score by score: a weight for each feature, and the intercept.
    parameters: Vec<f64>,
    classes: Vec<usize>,
    converged: bool,
}

impl Model {
    /// Minimises `|weights|² / 2 + strength * (sum of the log losses)`, divided by `strength * rows`.
    ///
    /// By Newton's method, truncated: conjugate gradients give the direction, rootstep takes the step, at
    /// the first of the rates 1, 1/2, 1/4, .. that lowers the loss enough (Nocedal and Wright, *Numerical
    /// Optimization*, 2006, algorithm 7.1).
    fn fit(
        inputs: &[Vec<f64>],
        data: &Data,
        rows: &[usize],
        strength: f64,
    ) -> Result<Self, Box<dyn Error>> {
        let problem = Problem::new(inputs, data, rows, strength)?;
        let mut optimizer = Optimizer::builder(Rule::sgd(1.0)).build()?;
        let mut parameters = vec![0.0; problem.scored * problem.inputs[0].len()];
        let mut point = problem.at(&parameters);
        let is_minimum = |point: &Point| point.gradient.iter().all(|slope| slope.abs() < CONVERGED);
        for _ in 0..MOST_STEPS {
            if is_minimum(&point) {
                break;
            }
            let direction = problem.direction(&point);
            match problem.step(&mut optimizer, &parameters, &point, &direction)? {
                Some(next) => (parameters, point) = next,
                None => break,
            }
        }
        let converged = is_minimum(&point);
        Ok(Self { parameters, classes: problem.classes, converged })
    }

    fn accuracy(&self, inputs: &[Vec<f64>], data: &Data, rows: &[usize]) -> f64 {
        let is_right = |&&row: &&usize| {
            let scores = scores(&self.parameters, &inputs[row], self.classes.len());
            self.classes[most_probable(&scores)] == data.classes[row]
        };
        rows.iter().filter(is_right).count() as f64 / rows.len() as f64
    }
}

/// What is minimised.
struct Problem<'a> {
    inputs: Vec<&'a [f64]>,
    /// For each input the place of its class in `classes`.
    targets: Vec<usize>,
    /// Those that have rows.
    classes: Vec<usize>,
    /// How many of them have a score with weights.
    scored: usize,
    decay: f64,
}

/// The loss and its slopes at some parameters.
struct Point {
    loss: f64,
    gradient: Vec<f64>,
    /// Input by input, of each class.
    probabilities: Vec<f64>,
}

impl<'a> Problem<'a> {
    fn new(
        inputs: &'a [Vec<f64>],
        data: &Data,
        rows: &[usize],
        strength: f64,
    ) -> Result<Self, String> {
        let mut classes: Vec<usize> = rows.iter().map(|&row| data.classes[row]).collect();
        classes.sort_unstable();
        classes.dedup();
        let scored = match classes[..] {
            [] => return Err("no rows to train on".to_owned()),
            [class] => {
                let name = &data.class_names[class];
                return Err(format!("all rows to train on are of one class, `{name}`"));
            }
            [_, _] => 1,
            _ => classes.len(),
        };
        let targets = rows.iter().map(|&row| classes.partition_point(|&k| k < data.classes[row]));
        Ok(Self {
            inputs: rows.iter().map(|&row| &inputs[row][..]).collect(),
            targets: targets.collect(),
            classes,
            scored,
            decay: 1.0 / (strength * rows.len() as f64),
        })
    }

    /// The mean log loss plus `decay * |weights|² / 2`.
    fn at(&self, parameters: &[f64]) -> Point {
        let rows = self.inputs.len() as f64;
        let mut gradient = self.decayed(parameters);
        let mut loss = product(parameters, &gradient) / 2.0;
        let mut all = Vec::with_capacity(self.inputs.len() * self.classes.len());
        for (input, &target) in self.inputs.iter().zip(&self.targets) {
            let scores = scores(parameters, input, self.classes.len());
            let probabilities = probabilities(&scores);
            loss += log_loss(&scores, target) / rows;
            all.extend_from_slice(&probabilities);
            let mut errors = probabilities;
            errors[target] -= 1.0;
            add_outer(&errors, input, 1.0 / rows, &mut gradient);
        }
        Point { loss, gradient, probabilities: all }
    }

    /// The second derivatives at `point`, times `vector`.
    fn curvature(&self, point: &Point, vector: &[f64]) -> Vec<f64> {
        let mut result = self.decayed(vector);
        let probabilities = point.probabilities.chunks(self.classes.len());
        for (input, probabilities) in self.inputs.iter().zip(probabilities) {
            let mut change = scores(vector, input, self.classes.len());
            let mean = product(&change, probabilities);
            for (change, probability) in change.iter_mut().zip(probabilities) {
                *change = probability * (*change - mean);
            }
            add_outer(&change, input, 1.0 / self.inputs.len() as f64, &mut result);
        }
        result
    }

    /// The weights times the decay; the intercepts are not regularised.
    fn decayed(&self, parameters: &[f64]) -> Vec<f64> {
        let width = self.inputs[0].len();
        let decay = |(i, x): (usize, &f64)| if (i + 1) % width == 0 { 0.0 } else { self.decay * x };
        parameters.iter().enumerate().map(decay).collect()
    }

    /// The vector that the second derivatives turn into the gradient, by conjugate gradients: the more
    /// exactly, the smaller the gradient is.
    fn direction(&self, point: &Point) -> Vec<f64> {
        const MOST_PRODUCTS: usize = 1000;

        let mut direction = vec![0.0; point.gradient.len()];
        let mut residual = point.gradient.clone();
        let mut search = residual.clone();
        let mut square = product(&residual, &residual);
        let enough = square * square.sqrt().min(0.01);
        for _ in 0..MOST_PRODUCTS {
            let curved = self.curvature(point, &search);
            let length = square / product(&search, &curved);
            // Where the loss does not curve, or by more than a number can say.
            if !length.is_normal() || length < 0.0 {
                break;
            }
            rootstep::axpy(length, &search, &mut direction);
            rootstep::axpy(-length, &curved, &mut residual);
            let before = std::mem::replace(&mut square, product(&residual, &residual));
            if square <= enough {
                break;
            }
            for (search, residual) in search.iter_mut().zip(&residual) {
                *search = residual + square / before * *search;
            }
        }
        direction
    }

    /// The parameters a step further, and the loss there; `None` if no rate lowers it.
    fn step(
        &self,
        optimizer: &mut Optimizer<f64>,
        parameters: &[f64],
        point: &Point,
        direction: &[f64],
    ) -> Result<Option<(Vec<f64>, Point)>, rootstep::Error> {
        // At the minimum the loss changes by less than it is rounded by.
        let rounding = 1e-14 * point.loss;
        let slope = product(&point.gradient, direction);
        if slope.is_nan() || slope <= 0.0 {
            return Ok(None);
        }
        for halvings in 0..50 {
            let rate = 0.5_f64.powi(halvings);
            let mut next = parameters.to_vec();
            optimizer.set_learning_rate(rate)?;
            optimizer.step(&mut [&mut next[..]], &[direction])?;
            let there = self.at(&next);
            if there.loss <= point.loss - 1e-4 * rate * slope + rounding {
                return Ok(Some((next, there)));
            }
        }
        Ok(None)
    }
}

/// The scores of all classes. The last of two classes has no weights, and 0.
fn scores(parameters: &[f64], input: &[f64], classes: usize) -> Vec<f64> {
    let products = parameters.chunks(input.len()).map(|weights| product(weights, input));
    products.chain([0.0]).take(classes).collect()
}

/// The negative logarithm of the probability of the class.
fn log_loss(scores: &[f64], class: usize) -> f64 {
    let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - maximum).exp()).sum();
    sum.ln() + maximum - scores[class]
}

/// `sums[k][j] += factor * errors[k] * input[j]`, for each score that has weights.
fn add_outer(errors: &[f64], input: &[f64], factor: f64, sums: &mut [f64]) {
    for (sums, error) in sums.chunks_mut(input.len()).zip(errors) {
        for (sum, x) in sums.iter_mut().zip(input) {
            *sum += factor * error * x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: [[f64; 3]; 7] = [
        [-1.5, 0.2, 1.0],
        [-0.5, 1.0, 1.0],
        [0.3, -1.2, 1.0],
        [0.1, 0.4, 1.0],
        [0.7, -0.9, 1.0],
        [1.4, 0.6, 1.0],
        [-0.6, -0.3, 1.0],
    ];
    const TWO: [usize; 7] = [0, 1, 0, 1, 1, 1, 0];
    const THREE: [usize; 7] = [0, 1, 2, 1, 0, 2, 2];

    fn data(classes: &[usize]) -> Data {
        Data {
            features: INPUTS.iter().map(|input| input[..2].to_vec()).collect(),
            classes: classes.to_vec(),
            class_names: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            ..crate::data::iris().unwrap()
        }
    }

    fn fit(classes: &[usize], rows: &[usize]) -> Result<Model, Box<dyn Error>> {
        Model::fit(&INPUTS.map(Vec::from), &data(classes), rows, 10.0)
    }

    /// `coef_` and `intercept_` of scikit-learn 1.9.1's `LogisticRegression(C=10,
    /// solver="newton-cholesky", tol=1e-13)`.
    #[test]
    fn parameters_are_those_of_scikit_learn() {
        let two = [2.872_585_44, 2.436_371_32, 1.023_438_12];
        let three = [
            [-0.543_967_47, -1.178_162_04, -0.019_688_84],
            [-0.115_798_83, 1.940_339_47, -0.517_836_06],
            [0.659_766_3, -0.762_177_43, 0.537_524_9],
        ];
        // The score of the first of two classes is that of not being the second one.
        let two = two.map(|x: f64| -x);
        for (classes, expected) in [(TWO, &two[..]), (THREE, three.as_flattened())] {
            let model = fit(&classes, &[0, 1, 2, 3, 4, 5, 6]).unwrap();
            assert!(model.converged);
            assert_eq!(model.parameters.len(), expected.len());
            for (found, expected) in model.parameters.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-7, "{found} {expected}");
            }
        }
    }

    #[test]
    fn derivatives_are_slopes() {
        for classes in [TWO, THREE] {
            let (inputs, data) = (INPUTS.map(Vec::from), data(&classes));
            let problem = Problem::new(&inputs, &data, &[0, 1, 2, 3, 4, 5, 6], 2.0).unwrap();
            let count = 3 * problem.scored;
            let place: Vec<f64> = (0..count).map(|i| (i as f64 * 1.3).sin()).collect();
            let along: Vec<f64> = (0..count).map(|i| (i as f64 * 0.7).cos()).collect();
            let moved = |by: f64| {
                problem.at(&place.iter().zip(&along).map(|(x, v)| x + by * v).collect::<Vec<_>>())
            };
            let (point, up, down) = (moved(0.0), moved(1e-5), moved(-1e-5));
            let slope = (up.loss - down.loss) / 2e-5;
            assert!((product(&point.gradient, &along) - slope).abs() < 1e-9);
            for (i, curvature) in problem.curvature(&point, &along).iter().enumerate() {
                let slope = (up.gradient[i] - down.gradient[i]) / 2e-5;
                assert!((curvature - slope).abs() < 1e-9, "{i}: {curvature} {slope}");
            }
        }
    }

    /// A class that has no rows has no score: three classes of which two are left are two.
    #[test]
    fn only_classes_with_rows_are_fitted() {
        let rows = [0, 1, 3, 4];
        let [whole, part] = [[0, 3, 1, 3, 0, 1, 1], [0, 1, 0, 1, 0, 0, 0]]
            .map(|classes| fit(&classes, &rows).unwrap());
        assert_eq!((&whole.classes[..], &part.classes[..]), (&[0, 3][..], &[0, 1][..]));
        assert_eq!(whole.parameters, part.parameters);
        let data = data(&[0, 3, 1, 3, 0, 1, 1]);
        assert_eq!(whole.accuracy(&INPUTS.map(Vec::from), &data, &[0, 1, 2, 5, 6]), 2.0 / 5.0);
        let error = fit(&TWO, &[1, 3]).err().unwrap().to_string();
        assert_eq!(error, "all rows to train on are of one class, `b`");
    }

    /// Of numbers so large the slopes are rounded by more than they may be at the minimum.
    #[test]
    fn what_does_not_converge_ends_all_the_same() {
        for size in [1e30, 1e84, 1e100] {
            let inputs = INPUTS.map(|[a, b, one]| vec![size * a, b, one]);
            let model = Model::fit(&inputs, &data(&THREE), &[0, 1, 2, 3, 4, 5, 6], 1.0).unwrap();
            assert!(!model.converged);
            assert!(model.parameters.iter().all(|x| x.is_finite()), "{:?}", model.parameters);
        }
    }
}

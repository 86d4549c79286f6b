//! Multinomial logistic regression, trained with rootstep's step.

use crate::data::Data;

/// Steps over the whole training set.
pub const STEPS: u32 = 300;

/// A linear score per class, of standardised features.
#[derive(Debug)]
pub struct Model {
    standardisation: Standardisation,
    /// Class by class; of each class a weight for each feature, and the intercept.
    weights: Vec<f64>,
}

impl Model {
    /// Minimises the mean log loss over the training rows, with a learning rate that falls linearly
    /// from `learning_rate` to zero: the normalised step does not vanish at the minimum by itself.
    pub fn fit(data: &Data, rows: &[usize], learning_rate: f64) -> Self {
        Self::fit_in(data, rows, learning_rate, STEPS)
    }

    /// [`fit`](Self::fit) in so many steps.
    pub fn fit_in(data: &Data, rows: &[usize], learning_rate: f64, steps: u32) -> Self {
        let standardisation = Standardisation::of(data, rows);
        let weights = vec![0.0; data.class_names.len() * (data.width() + 1)];
        let mut model = Self { standardisation, weights };
        let inputs: Vec<_> = rows.iter().map(|&row| model.input(&data.features[row])).collect();
        let classes: Vec<_> = rows.iter().map(|&row| data.classes[row]).collect();
        for step in 0..steps {
            let rate = learning_rate * (1.0 - f64::from(step) / f64::from(steps));
            let gradient = gradient(&model.weights, &inputs, &classes);
            rootstep::descend(&mut model.weights, &gradient, rate);
        }
        model
    }

    /// The most probable class; the first of those that tie.
    pub fn predict(&self, features: &[f64]) -> usize {
        most_probable(&scores(&self.weights, &self.input(features)))
    }

    /// The share of rows whose class is predicted; NaN if the training diverged.
    pub fn accuracy(&self, data: &Data, rows: &[usize]) -> f64 {
        if self.weights.iter().any(|weight| !weight.is_finite()) {
            return f64::NAN;
        }
        let is_right = |&&row: &&usize| self.predict(&data.features[row]) == data.classes[row];
        rows.iter().filter(is_right).count() as f64 / rows.len() as f64
    }

    /// Standardised features, and 1 for the intercept.
    fn input(&self, features: &[f64]) -> Vec<f64> {
        self.standardisation.apply(features).chain([1.0]).collect()
    }
}

/// Mean and standard deviation of each feature over some rows.
#[derive(Debug)]
pub struct Standardisation {
    means: Vec<f64>,
    deviations: Vec<f64>,
}

impl Standardisation {
    /// Of the training set alone, nothing of the test rows leaks into the model.
    pub fn of(data: &Data, rows: &[usize]) -> Self {
        let mean_of = |value: &dyn Fn(&[f64]) -> f64| {
            rows.iter().map(|&row| value(&data.features[row])).sum::<f64>() / rows.len() as f64
        };
        let means: Vec<f64> = (0..data.width()).map(|i| mean_of(&|features| features[i])).collect();
        let deviation = |(i, mean): (usize, &f64)| {
            let deviation = mean_of(&|features| (features[i] - mean).powi(2)).sqrt();
            // A feature that never varies says nothing: it becomes zero. Rounding of the mean may make it
            // seem to vary, by this much at most.
            let rounding = rows.len() as f64 * f64::EPSILON * mean.abs();
            if deviation > rounding { deviation } else { f64::INFINITY }
        };
        let deviations = means.iter().enumerate().map(deviation).collect();
        Self { means, deviations }
    }

    /// The features, with mean 0 and variance 1 over those rows.
    pub fn apply(&self, features: &[f64]) -> impl Iterator<Item = f64> {
        let scales = self.means.iter().zip(&self.deviations);
        features.iter().zip(scales).map(|(x, (mean, deviation))| (x - mean) / deviation)
    }
}

/// The class with the highest score; the first of those that tie.
pub fn most_probable(scores: &[f64]) -> usize {
    let higher = |best, class| if scores[class] > scores[best] { class } else { best };
    (1..scores.len()).fold(0, higher)
}

/// The score of each class: the products of its weights with the input.
fn scores(weights: &[f64], input: &[f64]) -> Vec<f64> {
    let product = |class: &[f64]| class.iter().zip(input).map(|(w, x)| w * x).sum();
    weights.chunks(input.len()).map(product).collect()
}

/// The probabilities of the classes, the softmax of their scores.
pub fn probabilities(scores: &[f64]) -> Vec<f64> {
    // Without its maximum, no score overflows in the exponential.
    let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = scores.iter().map(|score| (score - maximum).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|exponential| exponential / sum).collect()
}

/// The gradient of the mean log loss: the mean of (probability - is the class) * input.
fn gradient(weights: &[f64], inputs: &[Vec<f64>], classes: &[usize]) -> Vec<f64> {
    let mut gradient = vec![0.0; weights.len()];
    for (input, &class) in inputs.iter().zip(classes) {
        let probabilities = probabilities(&scores(weights, input));
        for (k, part) in gradient.chunks_mut(input.len()).enumerate() {
            let error = probabilities[k] - if k == class { 1.0 } else { 0.0 };
            for (sum, x) in part.iter_mut().zip(input) {
                *sum += error * x / inputs.len() as f64;
            }
        }
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean log loss.
    fn loss(weights: &[f64], inputs: &[Vec<f64>], classes: &[usize]) -> f64 {
        let log_loss =
            |input: &[f64], class: usize| -probabilities(&scores(weights, input))[class].ln();
        let rows = inputs.iter().zip(classes);
        rows.map(|(input, &class)| log_loss(input, class)).sum::<f64>() / inputs.len() as f64
    }

    #[test]
    fn gradient_is_the_slope_of_the_loss() {
        let inputs =
            [[0.5, -1.0, 2.0, 0.1, 1.0], [-0.3, 0.7, -1.1, 0.9, 1.0], [1.5, 0.2, 0.4, -2.0, 1.0]]
                .map(Vec::from);
        let classes = [2, 0, 1];
        let weights: Vec<f64> = (0..3 * 5).map(|i| (f64::from(i) * 1.3).sin()).collect();
        let gradient = gradient(&weights, &inputs, &classes);
        for i in 0..weights.len() {
            let moved = |by: f64| {
                let mut weights = weights.clone();
                weights[i] += by;
                loss(&weights, &inputs, &classes)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((gradient[i] - slope).abs() < 1e-9, "{i}: {} {slope}", gradient[i]);
        }
    }

    /// Were the rate to stay at 10, the step would be as wide at the end, and the loss 0.09.
    #[test]
    fn the_decay_lets_the_training_settle() {
        let data = crate::data::iris().unwrap();
        let rows: Vec<usize> = (0..150).collect();
        let model = Model::fit(&data, &rows, 10.0);
        let inputs: Vec<_> = rows.iter().map(|&row| model.input(&data.features[row])).collect();
        let loss = loss(&model.weights, &inputs, &data.classes);
        assert!(loss < 0.05, "{loss}");
    }

    #[test]
    fn a_diverged_training_has_no_accuracy() {
        let data = crate::data::iris().unwrap();
        let model = Model::fit(&data, &[0, 60, 120, 1, 61, 121], f64::MAX);
        assert!(model.accuracy(&data, &[0, 60, 120]).is_nan());
    }

    #[test]
    fn training_rows_are_standardised() {
        let data = crate::data::iris().unwrap();
        let rows: Vec<usize> = (0..100).collect();
        let model = Model::fit(&data, &rows, 0.0);
        let inputs: Vec<_> = rows.iter().map(|&row| model.input(&data.features[row])).collect();
        for i in 0..4 {
            let mean = inputs.iter().map(|input| input[i]).sum::<f64>() / 100.0;
            let variance = inputs.iter().map(|input| input[i].powi(2)).sum::<f64>() / 100.0;
            assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12);
        }
    }
}

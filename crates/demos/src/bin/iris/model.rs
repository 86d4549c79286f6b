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
    moments: Vec<Moments>,
}

impl Standardisation {
    /// Of the training set alone, nothing of the test rows leaks into the model.
    pub fn of(data: &Data, rows: &[usize]) -> Self {
        let moments = |i| Moments::of(rows.iter().map(|&row| data.features[row][i]));
        Self { moments: (0..data.width()).map(moments).collect() }
    }

    /// The features, with mean 0 and variance 1 over those rows.
    pub fn apply(&self, features: &[f64]) -> impl Iterator<Item = f64> {
        features.iter().zip(&self.moments).map(|(x, moments)| moments.apply(*x))
    }
}

/// What a feature is standardised by.
#[derive(Debug)]
struct Moments {
    mean: f64,
    /// What the mean is rounded by: the rest of it.
    rest: f64,
    /// The standard deviation; 1 of a feature that is constant.
    scale: f64,
}

impl Moments {
    /// By two passes, the second over the differences from the first one's mean (Chan and others,
    /// *Algorithms for Computing the Sample Variance*, The American Statistician 37 (3), 1983): differences
    /// of numbers near each other are exact, however large the numbers are. So a constant becomes zero,
    /// although its mean is rounded.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let rest = values.clone().map(|x| x - mean).sum::<f64>() / count;
        let variance = values.map(|x| (x - mean - rest).powi(2)).sum::<f64>() / count;
        // As scikit-learn's `StandardScaler` has it: what the mean is rounded by may be all of the variance.
        let rounding = count * f64::EPSILON * variance + (count * mean * f64::EPSILON).powi(2);
        let scale = if variance <= rounding { 1.0 } else { variance.sqrt() };
        Self { mean, rest, scale }
    }

    fn apply(&self, x: f64) -> f64 {
        (x - self.mean - self.rest) / self.scale
    }
}

/// The class with the highest score; the first of those that tie.
pub fn most_probable(scores: &[f64]) -> usize {
    let higher = |best, class| if scores[class] > scores[best] { class } else { best };
    (1..scores.len()).fold(0, higher)
}

/// The score of each class: the products of its weights with the input.
fn scores(weights: &[f64], input: &[f64]) -> Vec<f64> {
    weights.chunks(input.len()).map(|class| product(class, input)).collect()
}

/// The inner product, in eight sums that a processor adds to side by side.
pub fn product(a: &[f64], b: &[f64]) -> f64 {
    let ((a, rest_of_a), (b, rest_of_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest = rest_of_a.iter().zip(rest_of_b).map(|(a, b)| a * b);
    sums.into_iter().chain(rest).sum()
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

    /// What scikit-learn 1.9.1's `StandardScaler` has as `scale_`. The last four columns vary by no more
    /// than their means are rounded by, or by a variance that is zero in f64.
    #[test]
    fn scales_are_those_of_scikit_learn() {
        for (column, scale) in [
            (vec![1e13, 1e13 + 0.5, 1e13 + 1.0], 0.408_248_290_463_863),
            (vec![1e100, 1e100, -1e100], 9.428_090_415_820_634e99),
            (vec![1e16, 1e16 + 2.0], 1.0),
            (vec![1e9, 1e9 + 1e-6], 1.0),
            (vec![0.3, 0.1 + 0.2], 1.0),
            (vec![5e-324, 0.0], 1.0),
        ] {
            // The more rows, the more is rounding: 1e9 and 1e9 + 1e-6 alone would count as two numbers.
            let values = column.iter().copied().cycle().take(20 * column.len());
            let found = Moments::of(values).scale;
            assert!((found / scale - 1.0).abs() < 1e-14, "{column:?}: {found}");
        }
    }

    #[test]
    fn large_means_leave_no_trace() {
        let near = Moments::of([0.0, 0.5, 1.0, 0.0, 0.0].into_iter());
        for mean in [1e9, -1e13, 2.0_f64.powi(44)] {
            let far = Moments::of([0.0, 0.5, 1.0, 0.0, 0.0].into_iter().map(|x| x + mean));
            for x in [0.0, 0.5, 1.0, 7.5] {
                let (near, far) = (near.apply(x), far.apply(x + mean));
                assert!((near - far).abs() < 1e-15 * near.abs().max(1.0), "{near} {far}");
            }
        }
        // The first value is far from all others.
        let outlier = Moments::of([1e13, 0.0, 1.0, 2.0, 3.0].into_iter());
        assert_eq!(outlier.mean + outlier.rest, (1e13 + 6.0) / 5.0);
    }

    /// The mean of so many is not the number itself, were it the sum divided by the count.
    #[test]
    fn a_constant_becomes_zero_and_keeps_its_scale() {
        for value in [0.1, 7.0, -1e100, 123_456.789] {
            for count in 1..300 {
                let moments = Moments::of(std::iter::repeat_n(value, count));
                assert_eq!((moments.apply(value), moments.scale), (0.0, 1.0), "{count} of {value}");
            }
        }
        assert_eq!(Moments::of(std::iter::repeat_n(7.0, 49)).apply(9.0), 2.0);
    }

    #[test]
    fn products_of_every_length() {
        for length in 0..40 {
            let a: Vec<f64> = (0..length).map(|i| f64::from(i) + 1.0).collect();
            let b: Vec<f64> = a.iter().map(|x| 2.0 * x - 3.0).collect();
            let expected: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(product(&a, &b), expected);
        }
    }
}

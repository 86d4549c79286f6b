//! A perceptron with one hidden layer, 64-64-10, its backward pass written by hand.

use crate::data::{CLASSES, Data, PIXELS};
use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use rootstep::optimizer::Optimizer;
use std::error::Error;

const HIDDEN: usize = 64;
pub const BATCH: usize = 32;

/// The places of the tensors: weights from each input to all outputs, and biases.
const W1: usize = 0;
const B1: usize = 1;
const W2: usize = 2;
const B2: usize = 3;

/// The parameters, or their gradients.
pub type Tensors = [Vec<f32>; 4];

#[derive(Debug)]
pub struct Network {
    pub parameters: Tensors,
    order: Pcg64,
}

/// What a pass through the network leaves: the hidden layer and the probability of each class.
struct Activations {
    hidden: [f32; HIDDEN],
    probabilities: [f32; CLASSES],
}

impl Network {
    /// Weights uniform within ±√(6 / inputs) (He et al., ICCV 2015), biases zero.
    pub fn new(seed: u64) -> Result<Self, Box<dyn Error>> {
        let mut random = Pcg64::seed_from_u64(seed);
        let mut weights = |inputs: usize, outputs: usize| {
            let limit = (6.0 / inputs as f32).sqrt();
            let uniform = Uniform::new_inclusive(-limit, limit)?;
            Ok::<_, Box<dyn Error>>(
                uniform.sample_iter(&mut random).take(inputs * outputs).collect::<Vec<f32>>(),
            )
        };
        let (w1, w2) = (weights(PIXELS, HIDDEN)?, weights(HIDDEN, CLASSES)?);
        let parameters = [w1, vec![0.0; HIDDEN], w2, vec![0.0; CLASSES]];
        Ok(Self { parameters, order: random })
    }

    /// The rows in random order, for a pass over them in batches.
    pub fn shuffle(&mut self, rows: &mut [usize]) {
        rows.shuffle(&mut self.order);
    }

    /// A pass over the training rows in random order, a step for each batch.
    pub fn train_epoch(
        &mut self,
        data: &Data,
        rows: &mut [usize],
        optimizer: &mut Optimizer<f32>,
    ) -> Result<(), rootstep::Error> {
        self.shuffle(rows);
        for batch in rows.chunks(BATCH) {
            self.train_batch(data, batch, optimizer)?;
        }
        Ok(())
    }

    /// A step, and the mean log loss before it.
    pub fn train_batch(
        &mut self,
        data: &Data,
        batch: &[usize],
        optimizer: &mut Optimizer<f32>,
    ) -> Result<f64, rootstep::Error> {
        let (loss, gradients) = self.gradients(data, batch);
        // The rows of a batch are added up: the optimizer averages.
        optimizer.set_gradient_scale(1.0 / batch.len() as f64)?;
        optimizer.step(&mut self.parameters, &gradients)?;
        Ok(loss)
    }

    /// The mean log loss of a batch, and the sum of the gradients of its rows.
    pub fn gradients(&self, data: &Data, batch: &[usize]) -> (f64, Tensors) {
        let mut gradients = self.parameters.each_ref().map(|tensor| vec![0.0; tensor.len()]);
        let mut loss = 0.0;
        for &row in batch {
            loss += self.add_gradient(&data.images[row], data.digits[row], &mut gradients);
        }
        (loss / batch.len() as f64, gradients)
    }

    /// The share of rows whose digit is the most probable one.
    pub fn accuracy(&self, data: &Data, rows: &[usize]) -> f64 {
        let is_right = |&&row: &&usize| {
            let Activations { probabilities, .. } = self.forward(&data.images[row]);
            // With a NaN among them, after divergence, the answer is wrong.
            let others = probabilities.iter().enumerate().filter(|&(i, _)| i != data.digits[row]);
            others.into_iter().all(|(_, &other)| probabilities[data.digits[row]] > other)
        };
        rows.iter().filter(is_right).count() as f64 / rows.len() as f64
    }

    fn forward(&self, image: &[f32; PIXELS]) -> Activations {
        let mut hidden = [0.0; HIDDEN];
        dense(image, &self.parameters[W1], &self.parameters[B1], &mut hidden);
        hidden = hidden.map(|value| value.max(0.0));
        let mut scores = [0.0; CLASSES];
        dense(&hidden, &self.parameters[W2], &self.parameters[B2], &mut scores);
        // Without its maximum, no score overflows in the exponential.
        let maximum = scores.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let exponentials = scores.map(|score| (score - maximum).exp());
        let sum: f32 = exponentials.iter().sum();
        Activations { hidden, probabilities: exponentials.map(|value| value / sum) }
    }

    /// Adds the gradient of the log loss of one image, and returns the loss.
    fn add_gradient(&self, image: &[f32; PIXELS], digit: usize, gradients: &mut Tensors) -> f64 {
        let Activations { hidden, probabilities } = self.forward(image);
        let mut of_scores = probabilities;
        of_scores[digit] -= 1.0;
        let mut of_hidden = [0.0; HIDDEN];
        let outgoing = self.parameters[W2].as_chunks::<CLASSES>().0;
        for ((of_hidden, weights), &value) in of_hidden.iter_mut().zip(outgoing).zip(&hidden) {
            if value > 0.0 {
                *of_hidden = weights.iter().zip(&of_scores).map(|(w, g)| w * g).sum();
            }
        }
        add_outer(&hidden, &of_scores, &mut gradients[W2]);
        add_outer(&[1.0], &of_scores, &mut gradients[B2]);
        add_outer(image, &of_hidden, &mut gradients[W1]);
        add_outer(&[1.0], &of_hidden, &mut gradients[B1]);
        -f64::from(probabilities[digit]).ln()
    }
}

/// `outputs = biases + inputs * weights`
fn dense<const N: usize>(inputs: &[f32], weights: &[f32], biases: &[f32], outputs: &mut [f32; N]) {
    outputs.copy_from_slice(biases);
    for (input, weights) in inputs.iter().zip(weights.as_chunks::<N>().0) {
        for (output, weight) in outputs.iter_mut().zip(weights) {
            *output += input * weight;
        }
    }
}

/// `sums[i][j] += inputs[i] * of_outputs[j]`
fn add_outer<const N: usize>(inputs: &[f32], of_outputs: &[f32; N], sums: &mut [f32]) {
    for (input, sums) in inputs.iter().zip(sums.as_chunks_mut::<N>().0) {
        for (sum, of_output) in sums.iter_mut().zip(of_outputs) {
            *sum += input * of_output;
        }
    }
}

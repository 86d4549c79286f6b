//! Handwritten digits, and a network of three layers on them, in plain Rust: every sum in a fixed order.

use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;
use std::ops::Range;

/// Each image has 8 × 8 pixels from 0 to 16, and its digit. (crates/demos/src/bin/digits/DATA.md)
const TABLE: &str = include_str!("../../../demos/src/bin/digits/digits.csv");
const TEST_IMAGES: usize = 360;

/// The widths of the layers: enough for several blocks of 32,768 parameters.
const WIDTHS: [usize; 4] = [64, 512, 160, 10];

pub struct Digits {
    images: Vec<[f32; WIDTHS[0]]>,
    digits: Vec<usize>,
}

impl Digits {
    pub fn read() -> Result<Self, csv::Error> {
        let (mut images, mut digits) = (Vec::new(), Vec::new());
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(TABLE.as_bytes());
        for row in reader.deserialize() {
            let numbers: Vec<u8> = row?;
            images.push(std::array::from_fn(|i| f32::from(numbers[i]) / 16.0));
            digits.push(usize::from(numbers[WIDTHS[0]]));
        }
        Ok(Self { images, digits })
    }

    /// The images of a micro-batch of a step: every epoch has them in another order.
    pub fn micro_batch(&self, step: u64, batch: usize, part: Range<usize>) -> Vec<usize> {
        let training = self.images.len() - TEST_IMAGES;
        let batches = (training / batch) as u64;
        let mut order: Vec<usize> = (0..training).collect();
        let mut random = Pcg64::seed_from_u64(step / batches);
        for i in (1..training).rev() {
            order.swap(
                i,
                usize::try_from(random.next_u64() % (i as u64 + 1)).expect("it is an index"),
            );
        }
        let start = usize::try_from(step % batches).expect("there are few") * batch;
        order[start + part.start..start + part.end].to_vec()
    }

    /// How many of the test images have the digit of the highest score, in percent.
    pub fn accuracy(&self, network: &Network) -> f64 {
        let test = self.images.len() - TEST_IMAGES..self.images.len();
        let right = test.filter(|&i| {
            let layers = network.forward(&self.images[i]);
            let best = (0..10).max_by(|&a, &b| layers[2][a].total_cmp(&layers[2][b]));
            best == Some(self.digits[i])
        });
        100.0 * right.count() as f64 / TEST_IMAGES as f64
    }
}

/// The weights of three layers, each of them `outputs × inputs`, and their biases: tensors 0 to 5.
pub struct Network(pub [Vec<f32>; 6]);

impl Network {
    pub fn random(seed: u64) -> Self {
        let mut random = Pcg64::seed_from_u64(seed);
        Self(std::array::from_fn(|tensor| {
            let (inputs, outputs) = (WIDTHS[tensor / 2], WIDTHS[tensor / 2 + 1]);
            if tensor % 2 == 1 {
                return vec![0.0; outputs];
            }
            let largest = (6.0 / inputs as f32).sqrt();
            let mut value = || (random.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0;
            (0..inputs * outputs).map(|_| largest * value()).collect()
        }))
    }

    fn forward(&self, image: &[f32]) -> [Vec<f32>; 3] {
        let first = self.layer(0, image, true);
        let second = self.layer(1, &first, true);
        let scores = self.layer(2, &second, false);
        [first, second, scores]
    }

    fn layer(&self, layer: usize, inputs: &[f32], rectified: bool) -> Vec<f32> {
        let rows = self.0[2 * layer].chunks_exact(inputs.len()).zip(&self.0[2 * layer + 1]);
        let output = |(row, &bias): (&[f32], &f32)| {
            let sum = row.iter().zip(inputs).map(|(w, x)| w * x).fold(bias, |sum, x| sum + x);
            if rectified { sum.max(0.0) } else { sum }
        };
        rows.map(output).collect()
    }

    /// The gradients of the cross-entropy of some images, the last layer first: each goes to `ready` once it is complete.
    pub fn gradients<E>(
        &self,
        digits: &Digits,
        chosen: &[usize],
        mut ready: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let layers: Vec<_> = chosen.iter().map(|&i| self.forward(&digits.images[i])).collect();
        let mut behind: Vec<Vec<f32>> = chosen
            .iter()
            .zip(&layers)
            .map(|(&i, layers)| {
                let mut errors = softmax(&layers[2]);
                errors[digits.digits[i]] -= 1.0;
                errors
            })
            .collect();
        for layer in (0..3).rev() {
            let (inputs, outputs) = (WIDTHS[layer], WIDTHS[layer + 1]);
            let (mut weights, mut biases) = (vec![0.0; inputs * outputs], vec![0.0; outputs]);
            for ((&i, layers), errors) in chosen.iter().zip(&layers).zip(&mut behind) {
                let before = if layer == 0 { &digits.images[i][..] } else { &layers[layer - 1] };
                let mut passed = vec![0.0; inputs];
                for (o, &error) in errors.iter().enumerate().filter(|(_, error)| **error != 0.0) {
                    biases[o] += error;
                    let row = o * inputs..(o + 1) * inputs;
                    axpy(error, before, &mut weights[row.clone()]);
                    axpy(error, &self.0[2 * layer][row], &mut passed);
                }
                // Of the rectifier.
                passed
                    .iter_mut()
                    .zip(before)
                    .for_each(|(p, &x)| *p = if x > 0.0 { *p } else { 0.0 });
                *errors = passed;
            }
            ready(2 * layer, &weights)?;
            ready(2 * layer + 1, &biases)?;
        }
        Ok(())
    }
}

fn axpy(alpha: f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x);
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let largest = scores.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let powers: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum = powers.iter().fold(0.0, |sum, x| sum + x);
    powers.iter().map(|x| x / sum).collect()
}

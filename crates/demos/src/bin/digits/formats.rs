//! The network trained in several formats: of its parameters, of what the optimizer keeps beside them, and of the
//! momentum.

use crate::data::Data;
use crate::network::{BATCH, Network};
use half::{bf16, f16};
use rootstep::optimizer::{MomentumFormat, Optimizer, Rule, Storage};
use rootstep::{Element, Executor};
use rootstep_tuning::Fold;
use std::error::Error;

/// Every format begins with the same weights, sees the same batches in the same order, and has this rule but for
/// its storage and the format of its momentum. The rate is a tenth of a good one: many of the steps are less than
/// half a last place of bf16.
pub fn rule() -> Rule {
    Rule::sgd(0.003).with_momentum(0.9)
}

/// Trains by a rule, with a seed, for so many epochs.
type Train = fn(&Data, &Fold, Rule, u64, u32) -> Result<Trained, Box<dyn Error>>;

/// How a network is stored.
#[derive(Debug)]
pub struct Format {
    pub name: &'static str,
    storage: fn(u64) -> Storage,
    momentum: MomentumFormat,
    train: Train,
}

impl Format {
    const fn new(name: &'static str, storage: fn(u64) -> Storage, train: Train) -> Self {
        Self { name, storage, momentum: MomentumFormat::Full, train }
    }

    const fn with_momentum(self, momentum: MomentumFormat) -> Self {
        Self { momentum, ..self }
    }

    /// `rule` in this format.
    pub fn rule(&self, rule: Rule, seed: u64) -> Rule {
        rule.with_storage((self.storage)(seed)).with_momentum_format(self.momentum)
    }

    /// Trains by [`rule`] in this format.
    pub fn train(
        &self,
        data: &Data,
        split: &Fold,
        seed: u64,
        epochs: u32,
    ) -> Result<Trained, Box<dyn Error>> {
        (self.train)(data, split, self.rule(rule(), seed), seed, epochs)
    }
}

const NEAREST: fn(u64) -> Storage = |_| Storage::Nearest;
const STOCHASTIC: fn(u64) -> Storage = |seed| Storage::Stochastic { seed };
const SPLIT16: fn(u64) -> Storage = |_| Storage::Split16;
const SPLIT8: fn(u64) -> Storage = |_| Storage::Split8;
const MASTER: fn(u64) -> Storage = |_| Storage::Master;

/// The first is what the others are compared with.
pub const FORMATS: [Format; 10] = [
    Format::new("f32", NEAREST, train::<f32>),
    Format::new("bf16, nearest", NEAREST, train::<bf16>),
    Format::new("bf16, stochastic", STOCHASTIC, train::<bf16>),
    Format::new("bf16, split 16+16", SPLIT16, train::<bf16>),
    Format::new("bf16, split 16+8", SPLIT8, train::<bf16>),
    Format::new("bf16 of an f32 master", MASTER, train::<bf16>),
    Format::new("f16, nearest", NEAREST, train::<f16>),
    Format::new("f16, stochastic", STOCHASTIC, train::<f16>),
    Format::new("f32, momentum int8", NEAREST, train::<f32>).with_momentum(MomentumFormat::Int8),
    Format::new("bf16, split 16+8, momentum int8", SPLIT8, train::<bf16>)
        .with_momentum(MomentumFormat::Int8),
];

/// What a training leaves.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The mean log loss of the steps of each epoch.
    pub losses: Vec<f64>,
    /// On the held-out images.
    pub accuracy: f64,
    /// Bytes for each parameter: itself, what is kept beside it, and its momentum.
    pub bytes: f64,
}

/// What the passes through the network read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The parameters as they are stored.
    Stored,
    /// The numbers that the parameters and what is kept beside them are together.
    #[allow(dead_code, reason = "for the test of equal gradients")]
    Joined,
}

/// A network whose parameters are stored as `T`. The gradients, and all that is computed, are in f32.
#[derive(Debug)]
pub struct Training<T: Element<Compute = f32>> {
    /// Its parameters are the numbers that the passes read.
    pub network: Network,
    reads: Reads,
    stored: [Vec<T>; 4],
    optimizer: Optimizer<T, f32>,
}

impl<T: Element<Compute = f32> + Into<f32>> Training<T> {
    /// The weights before the first step are those of an f32 network of this seed, as they can be stored.
    pub fn new(rule: Rule, seed: u64, reads: Reads) -> Result<Self, Box<dyn Error>> {
        let network = Network::new(seed)?;
        let mut stored =
            network.parameters.each_ref().map(|tensor| vec![T::default(); tensor.len()]);
        // The trainings run side by side; each on one thread.
        let mut optimizer = Optimizer::<T>::builder(rule)
            .with_gradients::<f32>()
            .with_names(["w1", "b1", "w2", "b2"])
            .with_executor(Executor::default().serial())
            .build()?;
        for (i, (numbers, stored)) in network.parameters.iter().zip(&mut stored).enumerate() {
            optimizer.write_master(i, numbers, stored)?;
        }
        let mut training = Self { network, reads, stored, optimizer };
        training.read()?;
        Ok(training)
    }

    /// Passes over the training rows in random order, a step for each batch. The mean loss before the steps.
    pub fn epoch(&mut self, data: &Data, rows: &mut [usize]) -> Result<f64, rootstep::Error> {
        self.network.shuffle(rows);
        let mut loss = 0.0;
        for batch in rows.chunks(BATCH) {
            let (of_batch, gradients) = self.network.gradients(data, batch);
            loss += of_batch;
            self.optimizer.set_gradient_scale(1.0 / batch.len() as f64)?;
            self.optimizer.step(&mut self.stored, &gradients)?;
            self.read()?;
        }
        Ok(loss / rows.chunks(BATCH).len() as f64)
    }

    fn read(&mut self) -> Result<(), rootstep::Error> {
        let tensors = self.network.parameters.iter_mut().zip(&self.stored).enumerate();
        for (i, (numbers, stored)) in tensors {
            match self.reads {
                Reads::Joined => self.optimizer.read_master(i, stored, numbers)?,
                Reads::Stored => {
                    for (number, &stored) in numbers.iter_mut().zip(stored) {
                        *number = stored.into();
                    }
                }
            }
        }
        Ok(())
    }

    /// See [`Trained::bytes`].
    fn bytes(&self) -> f64 {
        let elements: usize = self.stored.iter().map(Vec::len).sum();
        let kept = self.optimizer.storage_bytes() + self.optimizer.momentum_bytes();
        (elements * size_of::<T>() + kept) as f64 / elements as f64
    }
}

fn train<T: Element<Compute = f32> + Into<f32>>(
    data: &Data,
    split: &Fold,
    rule: Rule,
    seed: u64,
    epochs: u32,
) -> Result<Trained, Box<dyn Error>> {
    let mut training = Training::<T>::new(rule, seed, Reads::Stored)?;
    let mut rows = split.train.clone();
    let losses = (0..epochs).map(|_| training.epoch(data, &mut rows)).collect::<Result<_, _>>()?;
    let accuracy = training.network.accuracy(data, &split.test);
    Ok(Trained { losses, accuracy, bytes: training.bytes() })
}

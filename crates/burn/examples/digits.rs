//! A small convolutional network on handwritten digits: which optimizer, and at which learning rate?
//!
//! ```sh
//! # in crates/burn, with burn as fast as it is by default:
//! cargo run --release --features burn/rayon,burn/simd --example digits
//! cargo run --release --features burn/rayon,burn/simd --example digits -- --quick  # some seconds
//! ```
//!
//! Each contender trains at each rate of one grid, from several seeds. Its best rate is chosen on validation images;
//! the table has what this rate gives on test images. A rate is good if its mean validation accuracy is within 2
//! points of the best of all contenders.

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Int, Tensor};
use rand::seq::SliceRandom as _;
use rand::{Rng, SeedableRng as _};
use rand_pcg::Pcg64;
use rootstep::optimizer::{Optimizer, Power, Rule};
use rootstep_burn::WholeModule;
use std::error::Error;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SIDE: usize = 8;
const CLASSES: usize = 10;
const BATCH: usize = 32;
/// How many points of accuracy a good rate may be below the best.
const MARGIN: f64 = 2.0;

/// Two convolutions and a linear layer.
#[derive(Module, Debug)]
struct Network {
    first: Conv2d,
    second: Conv2d,
    scores: Linear,
}

impl Network {
    /// The parameters that a seed draws. burn has one generator for all threads, and draws when a parameter is first
    /// asked for.
    fn new(seed: u64, device: &Device) -> Result<Self> {
        static DRAWING: Mutex<()> = Mutex::new(());
        let _drawing = DRAWING.lock().map_err(|_| "a training has panicked")?;
        device.seed(seed);
        let convolution = |channels| {
            let config = Conv2dConfig::new(channels, [3, 3]);
            config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        let network = Self {
            first: convolution([1, 16]),
            second: convolution([16, 32]),
            scores: LinearConfig::new(32 * 2 * 2, CLASSES).init(device),
        };
        network.visit(&mut Drawn);
        Ok(network)
    }

    /// Of images of 8 × 8, scores for each digit.
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let halved = |images| max_pool2d(images, MaxPoolOptions::new([2, 2]).with_stride([2, 2]));
        let images = halved(relu(self.first.forward(images)));
        let images = halved(relu(self.second.forward(images)));
        self.scores.forward(images.flatten(1, 3))
    }
}

/// Has all parameters drawn.
struct Drawn;

impl ModuleVisitor for Drawn {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        param.val();
    }
}

/// Images and their digits.
#[derive(Clone)]
struct Images {
    grey: Vec<[f32; SIDE * SIDE]>,
    digits: Vec<i32>,
}

impl Images {
    /// The 1,797 images of the demonstrations, in an order of their own: see DATA.md there.
    fn all() -> Result<Self> {
        const TABLE: &str = include_str!("../../demos/src/bin/digits/digits.csv");
        let mut rows = Vec::new();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(TABLE.as_bytes());
        for record in reader.deserialize() {
            let values: Vec<u8> = record?;
            let (&digit, grey) = values.split_last().ok_or("an empty row")?;
            let grey: [u8; SIDE * SIDE] = grey.try_into()?;
            rows.push((grey.map(|grey| f32::from(grey) / 16.0), i32::from(digit)));
        }
        rows.shuffle(&mut Pcg64::seed_from_u64(0));
        let (grey, digits) = rows.into_iter().unzip();
        Ok(Self { grey, digits })
    }

    /// Takes the last images away.
    fn split_off(&mut self, count: usize) -> Self {
        let rest = self.grey.len() - count;
        Self { grey: self.grey.split_off(rest), digits: self.digits.split_off(rest) }
    }

    fn batch(&self, chosen: &[usize], device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
        let grey: Vec<f32> = chosen.iter().flat_map(|&i| self.grey[i]).collect();
        let digits: Vec<i32> = chosen.iter().map(|&i| self.digits[i]).collect();
        let images = Tensor::<1>::from_data(grey.as_slice(), device);
        let images = images.reshape([chosen.len(), 1, SIDE, SIDE]);
        (images, Tensor::from_data(digits.as_slice(), device))
    }

    /// The percentage of images that a network recognises.
    fn accuracy(&self, network: &Network, device: &Device) -> f64 {
        let all: Vec<usize> = (0..self.grey.len()).collect();
        let (images, digits) = self.batch(&all, device);
        let answers = network.forward(images).argmax(1).flatten::<1>(0, 1);
        let right = answers.equal(digits).int().sum().into_scalar::<i64>();
        100.0 * right as f64 / all.len() as f64
    }
}

struct Data {
    training: Images,
    validation: Images,
    test: Images,
}

impl Data {
    fn new() -> Result<Self> {
        let mut training = Images::all()?;
        let (validation, test) = (training.split_off(360), training.split_off(360));
        Ok(Self { training, validation, test })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Contender {
    BurnSgd,
    BurnAdamW,
    Ours(&'static str, Rule),
}

fn contenders() -> Vec<Contender> {
    let pbsgd = |power| Rule::pbsgd(0.0, power).with_momentum(0.9);
    vec![
        Contender::BurnSgd,
        Contender::BurnAdamW,
        Contender::Ours("PowerStep", Rule::powerstep(0.0)),
        Contender::Ours("pbSGD", pbsgd(Power::Half)),
        Contender::Ours("signSGD", pbsgd(Power::Zero)),
    ]
}

impl Contender {
    const fn name(self) -> &'static str {
        match self {
            Self::BurnSgd => "burn SGD",
            Self::BurnAdamW => "burn AdamW",
            Self::Ours(name, _) => name,
        }
    }

    fn stepper(self, network: &Network, rate: f64) -> Result<Stepper> {
        Ok(match self {
            Self::BurnSgd => {
                let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
                Stepper::Burn(SgdConfig::new().with_momentum(Some(momentum)).init(), rate)
            }
            Self::BurnAdamW => Stepper::Burn(AdamWConfig::new().init(), rate),
            Self::Ours(_, rule) => {
                let mut whole = WholeModule::new(Optimizer::builder(rule), network)?;
                whole.optimizer_mut().set_learning_rate(rate)?;
                Stepper::Ours(Box::new(whole))
            }
        })
    }
}

enum Stepper {
    Burn(ModuleOptimizer, f64),
    Ours(Box<WholeModule<f32>>),
}

impl Stepper {
    fn step(&mut self, network: Network, gradients: GradientsParams) -> Result<Network> {
        Ok(match self {
            Self::Burn(optimizer, rate) => optimizer.step(*rate, network, gradients),
            Self::Ours(whole) => {
                whole.step(network, gradients).map_err(|rejected| rejected.error)?.0
            }
        })
    }
}

/// The accuracies on validation and test images, in %.
#[derive(Debug, Clone, Copy)]
struct Scores {
    validation: f64,
    test: f64,
}

/// Trains a network. The seed decides its first parameters and the order of the images.
fn train(data: &Data, contender: Contender, rate: f64, seed: u64, epochs: usize) -> Result<Scores> {
    let device = Device::flex().autodiff();
    let mut network = Network::new(seed, &device)?;
    let mut stepper = contender.stepper(&network, rate)?;
    let mut generator = Pcg64::seed_from_u64(seed);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut order: Vec<usize> = (0..data.training.grey.len()).collect();
    for _ in 0..epochs {
        shuffle(&mut order, &mut generator);
        for chosen in order.chunks(BATCH) {
            let (images, digits) = data.training.batch(chosen, &device);
            let gradients = loss.forward(network.forward(images), digits).backward();
            let gradients = GradientsParams::from_grads(gradients, &network);
            network = stepper.step(network, gradients)?;
        }
    }
    let (network, device) = (network.valid(), Device::flex());
    let validation = data.validation.accuracy(&network, &device);
    Ok(Scores { validation, test: data.test.accuracy(&network, &device) })
}

fn shuffle(order: &mut [usize], generator: &mut impl Rng) {
    order.shuffle(generator);
}

/// The scores of a contender at each rate, one for each seed.
struct Row {
    contender: Contender,
    scores: Vec<Vec<Scores>>,
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

impl Row {
    fn curve(&self) -> Vec<f64> {
        let validation = |seeds: &Vec<Scores>| {
            mean(&seeds.iter().map(|scores| scores.validation).collect::<Vec<_>>())
        };
        self.scores.iter().map(validation).collect()
    }

    fn best(&self) -> usize {
        let curve = self.curve();
        (0..curve.len()).fold(0, |best, i| if curve[i] > curve[best] { i } else { best })
    }

    fn markdown(&self, rates: &[f64], best_of_all: f64) -> String {
        let (curve, best) = (self.curve(), self.best());
        let good = |i: usize| curve[i] >= best_of_all - MARGIN;
        let range = if good(best) {
            let first = (0..best).rev().take_while(|&i| good(i)).last().unwrap_or(best);
            let last = (best + 1..curve.len()).take_while(|&i| good(i)).last().unwrap_or(best);
            let (first, last) = (rates[first], rates[last]);
            format!("{} to {} | × {:.1}", short(first), short(last), last / first)
        } else {
            "none |".to_owned()
        };
        let test: Vec<f64> = self.scores[best].iter().map(|scores| scores.test).collect();
        let spread =
            if test.len() > 1 { format!(" ± {:.1}", deviation(&test)) } else { String::new() };
        format!(
            "| {} | {} | {:.1}{spread} | {range} |",
            self.contender.name(),
            short(rates[best]),
            mean(&test)
        )
    }
}

/// Two digits of a rate.
fn short(rate: f64) -> String {
    let two_digits: f64 = format!("{rate:.1e}").parse().unwrap_or(rate);
    two_digits.to_string()
}

/// The rates 10^lowest to 10^highest in equal factors.
fn grid(lowest: i32, highest: i32, per_decade: i32) -> Vec<f64> {
    let exponents = lowest * per_decade..=highest * per_decade;
    exponents.map(|k| 10_f64.powf(f64::from(k) / f64::from(per_decade))).collect()
}

/// The results of tasks, in their order: as many at a time as there are cores.
///
/// burn splits what it computes over the threads of rayon. For a small network they wait for each other most of the
/// time. So each task is in a pool of one thread.
fn side_by_side<T: Send>(tasks: usize, task: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, T)>> {
        let own = std::iter::repeat_with(|| next.fetch_add(1, Relaxed));
        let own = own.take_while(|&place| place < tasks);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        pool.install(|| own.map(|place| Ok((place, task(place)?))).collect())
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(tasks);
    let mut results = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            results.extend(worker.join().map_err(|_| "a training has panicked")??);
        }
        Result::Ok(())
    })?;
    results.sort_unstable_by_key(|(place, _)| *place);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (rates, seeds, epochs) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        [] => (grid(-4, 0, 3), 3, 8),
        ["--quick"] => (grid(-3, -1, 1), 1, 2),
        _ => return Err("usage: digits [--quick]".into()),
    };
    let data = Data::new()?;
    let mut tasks = Vec::new();
    for contender in contenders() {
        for &rate in &rates {
            tasks.extend((0..seeds).map(|seed| (contender, rate, seed as u64)));
        }
    }
    let scores = side_by_side(tasks.len(), |task| {
        let (contender, rate, seed) = tasks[task];
        train(&data, contender, rate, seed, epochs)
    })?;
    let at_rates: Vec<Vec<Scores>> = scores.chunks(seeds).map(<[Scores]>::to_vec).collect();
    let rows: Vec<Row> = contenders()
        .into_iter()
        .zip(at_rates.chunks(rates.len()))
        .map(|(contender, scores)| Row { contender, scores: scores.to_vec() })
        .collect();
    let best_of_all = rows.iter().flat_map(Row::curve).fold(0.0, f64::max);
    println!(
        "| optimizer | best rate | test accuracy, % | good rates | factor |\n|---|---|---|---|---|"
    );
    for row in &rows {
        println!("{}", row.markdown(&rates, best_of_all));
    }
    Ok(())
}

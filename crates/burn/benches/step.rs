//! How long a step takes beside the bare step on slices, and burn's own SGD beside its trait.
//!
//! ```sh
//! cargo bench    # in crates/burn
//! ```
//!
//! All ways take turns, and each ratio is the median over the rounds of two times that were taken one after the other.
//! Nothing here decides a test.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Device, Tensor, TensorData};
use rootstep::Executor;
use rootstep::optimizer::{Momentum, Optimizer, Rule, Step, TensorStep};
use rootstep_burn::{PerTensor, WholeModule};
use std::time::{Duration, Instant};

/// The layers of a transformer, as their parameters.
#[derive(Module, Debug)]
struct Layers {
    matrices: Vec<Param<Tensor<2>>>,
    vectors: Vec<Param<Tensor<1>>>,
}

/// Of each layer: 4 matrices of attention, 2 wider ones, and their biases, with 2 pairs of norms.
fn layers(count: usize, width: usize, device: &Device) -> Layers {
    let matrix = |rows: usize, columns: usize| {
        let values = numbers(rows * columns, 3);
        Param::from_tensor(Tensor::from_data(TensorData::new(values, [rows, columns]), device))
    };
    let vector = |length: usize| {
        Param::from_tensor(Tensor::from_data(numbers(length, 9).as_slice(), device))
    };
    let mut layers = Layers { matrices: Vec::new(), vectors: Vec::new() };
    for _ in 0..count {
        layers.matrices.extend((0..4).map(|_| matrix(width, width)));
        layers.matrices.extend([matrix(width, 4 * width), matrix(4 * width, width)]);
        layers.vectors.extend((0..9).map(|_| vector(width)));
        layers.vectors.push(vector(4 * width));
    }
    layers
}

fn numbers(length: usize, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    let mut draw = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        f32::from_bits(0x3f80_0000 | (state >> 9)) - 1.5
    };
    (0..length).map(|_| draw() + 1e-3).collect()
}

/// Gradients whose memory no one else has, as after a backward pass.
#[derive(Default)]
struct Fresh {
    gradients: GradientsParams,
    /// The same once more, if they are to be kept.
    kept: Option<Vec<BridgeTensor>>,
}

impl ModuleVisitor for Fresh {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.val().shape();
        let data = TensorData::new(numbers(shape.num_elements(), 77), shape);
        let gradient = Tensor::<D>::from_data(data, &Device::flex());
        if let Some(kept) = &mut self.kept {
            kept.push(gradient.clone().into_bridge());
        }
        self.gradients.register(param.id, gradient);
    }
}

fn timed<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// A module with an optimizer of burn's that steps it.
struct ByTrait {
    layers: Option<Layers>,
    optimizer: ModuleOptimizer,
}

impl ByTrait {
    fn time(&mut self) -> Duration {
        let Some(layers) = self.layers.take() else { return Duration::ZERO };
        let mut fresh = Fresh::default();
        layers.visit(&mut fresh);
        let gradients = fresh.gradients;
        let (time, layers) = timed(|| self.optimizer.step(1e-3, layers, gradients));
        self.layers = Some(layers);
        time
    }
}

struct InOnePass {
    layers: Option<Layers>,
    optimizer: WholeModule<f32>,
}

impl InOnePass {
    /// Without the time to free the gradients, which the bare step does not take.
    fn time(&mut self) -> Duration {
        let Some(layers) = self.layers.take() else { return Duration::ZERO };
        let mut fresh = Fresh { kept: Some(Vec::new()), ..Fresh::default() };
        layers.visit(&mut fresh);
        let gradients = fresh.gradients;
        let (time, taken) = timed(|| self.optimizer.step(layers, gradients));
        self.layers = taken.ok().map(|(layers, _)| layers);
        time
    }
}

struct Bare {
    parameters: Vec<Vec<f32>>,
    momenta: Vec<Momentum<f32>>,
    rule: Rule,
    is_first: bool,
}

impl Bare {
    fn new(layers: &Layers, rule: Rule) -> Self {
        let mut lengths = Lengths(Vec::new());
        layers.visit(&mut lengths);
        let parameters: Vec<Vec<f32>> =
            lengths.0.iter().map(|&length| numbers(length, 5)).collect();
        let momenta = lengths.0.iter().map(|&length| Momentum::new(&rule, length)).collect();
        Self { parameters, momenta, rule, is_first: true }
    }

    /// The memory of the gradients is new each time, as it is for the others.
    fn time(&mut self) -> Duration {
        let gradients: Vec<Vec<f32>> =
            self.parameters.iter().map(|x| numbers(x.len(), 77)).collect();
        let step = if self.is_first { Step::first(&self.rule) } else { Step::later(&self.rule) };
        let Ok(step) = step else { return Duration::ZERO };
        self.is_first = false;
        let (time, taken) = timed(|| {
            let pairs = self.parameters.iter_mut().zip(&gradients).zip(&mut self.momenta);
            let tensors =
                pairs.map(|((x, g), m)| TensorStep::new(step, &mut x[..], &g[..], m.as_mut()));
            let mut tensors: Vec<_> = tensors.collect();
            Executor::default().step_all(&mut tensors)
        });
        if taken.is_err() { Duration::ZERO } else { time }
    }
}

struct Lengths(Vec<usize>);

impl ModuleVisitor for Lengths {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().shape().num_elements());
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The times of all ways in all rounds: bare, in one pass, burn's trait, burn's SGD.
fn rounds(count: usize, width: usize, momentum: bool, rounds: usize) -> Vec<[f64; 4]> {
    let device = Device::flex().autodiff();
    let rule = if momentum {
        Rule::powerstep(1e-3)
    } else {
        Rule::pbsgd(1e-3, rootstep::optimizer::Power::Half)
    };
    let layers = || layers(count, width, &device);
    let sgd = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let sgd = SgdConfig::new().with_momentum(momentum.then_some(sgd)).init();
    let by_trait = |optimizer| ByTrait { layers: Some(layers()), optimizer };
    let (Ok(ours), Ok(whole)) =
        (PerTensor::new(rule), WholeModule::new(Optimizer::builder(rule), &layers()))
    else {
        return Vec::new();
    };
    let mut bare = Bare::new(&layers(), rule);
    let mut whole = InOnePass { layers: Some(layers()), optimizer: whole };
    let (mut ours, mut sgd) = (by_trait(ours.init()), by_trait(sgd));
    let mut times = Vec::new();
    for round in 0..rounds + 2 {
        let round_times = [bare.time(), whole.time(), ours.time(), sgd.time()];
        // The first two steps make what stays.
        if round >= 2 {
            times.push(round_times.map(|time| time.as_secs_f64()));
        }
    }
    times
}

fn main() {
    println!(
        "| tensors | elements | rule | bare, ms | one pass, ms | to bare | trait, ms | burn's SGD, ms | to burn's |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (count, width, many) in [(62, 32, 200), (62, 64, 60), (62, 128, 30)] {
        for momentum in [false, true] {
            let times = rounds(count, width, momentum, many);
            let column = |i: usize| 1e3 * median(times.iter().map(|round| round[i]).collect());
            let ratio = |i: usize, j: usize| {
                median(times.iter().map(|round| round[i] / round[j]).collect())
            };
            println!(
                "| {} | {} | {} | {:.3} | {:.3} | {:.2} | {:.3} | {:.3} | {:.2} |",
                16 * count,
                count * (12 * width * width + 13 * width),
                if momentum { "momentum" } else { "plain" },
                column(0),
                column(1),
                ratio(1, 0),
                column(2),
                column(3),
                ratio(2, 3)
            );
        }
    }
}

//! How long a step over a thousand variables takes, beside the same step on bare slices and beside candle's SGD:
//!
//! ```sh
//! cargo bench --bench step    # in crates/candle
//! ```
//!
//! The contenders take turns, so that what else the machine does meets all of them. Times are the least of the
//! rounds: those that nothing else has disturbed.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use candle_nn::{Optimizer, SGD};
use rootstep::optimizer::{Momentum, Step, TensorStep};
use rootstep_candle::{Config, Executor, RootStep, Rule};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 101;

/// The shapes of a transformer of this width, a thousand variables in all: 83 blocks of 12, and 4 others.
fn shapes(width: usize) -> Vec<Vec<usize>> {
    let block = [
        vec![width],
        vec![width],
        vec![3 * width, width],
        vec![3 * width],
        vec![width, width],
        vec![width],
        vec![width],
        vec![width],
        vec![4 * width, width],
        vec![4 * width],
        vec![width, 4 * width],
        vec![width],
    ];
    let ends = [vec![1024, width], vec![128, width], vec![width], vec![width]];
    std::iter::repeat_n(block, 83).flatten().chain(ends).collect()
}

/// Variables of these shapes, and a gradient for each.
fn model(shapes: &[Vec<usize>]) -> (Vec<Var>, GradStore) {
    let mut store = GradStore::default();
    let variable = |shape: &Vec<usize>| {
        let length: usize = shape.iter().product();
        let values: Vec<f32> = (0..length).map(|i| 1.0 + (i % 97) as f32 / 97.0).collect();
        let var = Var::from_slice(&values, &shape[..], &Device::Cpu).expect("a variable");
        let gradient: Vec<f32> = (0..length).map(|i| ((i % 89) as f32 - 44.5) / 89.0).collect();
        let gradient = Tensor::from_vec(gradient, &shape[..], &Device::Cpu).expect("a gradient");
        store.insert(&var, gradient);
        var
    };
    (shapes.iter().map(variable).collect(), store)
}

/// The same as slices.
struct Bare {
    parameters: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    momenta: Vec<Momentum<f32>>,
    rule: Rule,
    executor: Executor,
}

impl Bare {
    fn new(vars: &[Var], store: &GradStore, rule: Rule, executor: Executor) -> Self {
        let values = |tensor: &Tensor| -> Vec<f32> {
            tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
        };
        let parameters: Vec<_> = vars.iter().map(|var| values(var)).collect();
        let gradients = vars.iter().map(|var| values(store.get(var).expect("a gradient")));
        let momenta = parameters.iter().map(|values| Momentum::new(&rule, values.len()));
        let (gradients, momenta) = (gradients.collect(), momenta.collect());
        Self { parameters, gradients, momenta, rule, executor }
    }

    fn step(&mut self) {
        let step = Step::later(&self.rule).expect("a rule");
        let tensors = self.parameters.iter_mut().zip(&self.gradients).zip(&mut self.momenta);
        let mut tensors: Vec<_> = tensors
            .map(|((parameters, gradient), momentum)| {
                TensorStep::new(step, parameters, gradient, momentum.as_mut())
            })
            .collect();
        self.executor.step_all(&mut tensors).expect("a step");
    }
}

/// The time of a call, in µs.
fn time(call: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    call();
    begun.elapsed().as_secs_f64() * 1e6
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn compare(width: usize, rule: Rule, executor: Executor, name: &str) {
    let shapes = shapes(width);
    let elements: usize = shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
    let (vars, store) = model(&shapes);
    let (others, other_store) = model(&shapes);
    let mut bare = Bare::new(&vars, &store, rule, executor);
    let config = Config::new(rule).with_executor(executor);
    let mut own = RootStep::new(vars, config).expect("an optimizer");
    let mut sgd = SGD::new(others, 1e-4).expect("an optimizer");
    let mut times = [const { Vec::new() }; 3];
    for round in 0..ROUNDS + 3 {
        let mut taken = [0.0; 3];
        // Each one is the first in its turn: candle's threads still wait for work for a while behind a step.
        for turn in 0..3 {
            let contender = (round + turn) % 3;
            taken[contender] = match contender {
                0 => time(|| own.step(black_box(&store)).expect("a step")),
                1 => time(|| bare.step()),
                _ => time(|| sgd.step(black_box(&other_store)).expect("a step")),
            };
        }
        // The first rounds are to warm up.
        if round >= 3 {
            times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
        }
    }
    let [own, bare, sgd] = times.map(|times| least(&times));
    println!(
        "| {name} | {} | {elements} | {own:.0} | {bare:.0} | {sgd:.0} | {:.2} | {:.2} |",
        if executor.is_parallel() { "all" } else { "1" },
        own / bare,
        own / sgd
    );
}

fn main() {
    println!(
        "| rule | threads | elements | this, µs | slices, µs | candle's SGD, µs | to slices | to SGD |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for width in [32, 96, 192] {
        for executor in [Executor::default(), Executor::default().serial()] {
            compare(width, Rule::sgd(1e-4), executor, "SGD");
            compare(width, Rule::powerstep(1e-4), executor, "PowerStep");
        }
    }
}

//! How long a step over a thousand variables takes, beside the same step on bare slices and beside candle's SGD:
//!
//! ```sh
//! cargo bench --bench step    # in crates/candle
//! ```
//!
//! The contenders take turns, so that what else the machine does meets all of them. Times are the least of the
//! rounds: those that nothing else has disturbed. The slices are the memory of variables and gradients that is lent
//! before the clock starts: where parameters and gradients lie decides by a tenth how fast memory is. There are two
//! models, and half of the time the optimizer has the one and the slices the other.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Storage, Tensor, Var};
use candle_nn::{Optimizer, SGD};
use rootstep::optimizer::{Momentum, Step, TensorStep};
use rootstep_candle::{Config, Executor, RootStep, Rule};
use std::cell::RefCell;
use std::hint::black_box;
use std::time::Instant;

/// Of each half.
const ROUNDS: usize = 51;

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

/// Puts the storage of a variable and that in the cell in each other's place.
struct Exchange(RefCell<CpuStorage>);

impl InplaceOp1 for Exchange {
    fn name(&self) -> &'static str {
        "exchange"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        std::mem::swap(storage, &mut self.0.borrow_mut());
        Ok(())
    }
}

fn exchange(var: &Var, storage: CpuStorage) -> CpuStorage {
    let exchange = Exchange(RefCell::new(storage));
    var.inplace_op1(&exchange).expect("a variable");
    exchange.0.into_inner()
}

/// The step on bare slices.
struct Bare {
    vars: Vec<Var>,
    momenta: Vec<Momentum<f32>>,
    rule: Rule,
    executor: Executor,
}

impl Bare {
    fn new(vars: Vec<Var>, rule: Rule, executor: Executor) -> Self {
        let momenta = vars.iter().map(|var| Momentum::new(&rule, var.elem_count())).collect();
        Self { vars, momenta, rule, executor }
    }

    /// The time of a step, without that to get at the memory of the variables and gradients.
    fn time(&mut self, store: &GradStore) -> f64 {
        let nothing = || CpuStorage::F32(Vec::new());
        let mut storages: Vec<_> = self.vars.iter().map(|var| exchange(var, nothing())).collect();
        let gradients = self.vars.iter().map(|var| store.get(var).expect("a gradient"));
        let guards: Vec<_> = gradients.map(|gradient| gradient.storage_and_layout().0).collect();
        let parameters = storages.iter_mut().map(|storage| match storage {
            CpuStorage::F32(values) => &mut values[..],
            _ => panic!("another type"),
        });
        let mut parameters: Vec<_> = parameters.collect();
        let gradients = guards.iter().map(|storage| match &**storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[..],
            _ => panic!("another type"),
        });
        let gradients: Vec<_> = gradients.collect();
        let taken = time(|| {
            let step = Step::later(&self.rule).expect("a rule");
            let tensors = parameters.iter_mut().zip(&gradients).zip(&mut self.momenta);
            let mut tensors: Vec<_> = tensors
                .map(|((parameters, gradient), momentum)| {
                    TensorStep::new(step, parameters, gradient, momentum.as_mut())
                })
                .collect();
            self.executor.step_all(&mut tensors).expect("a step");
        });
        for (var, storage) in self.vars.iter().zip(storages) {
            exchange(var, storage);
        }
        taken
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
    let (others, of_others) = model(&shapes);
    let mut sgd = SGD::new(others, 1e-4).expect("an optimizer");
    let mut models = [(); 2].map(|()| {
        let (vars, store) = model(&shapes);
        let config = Config::new(rule).with_executor(executor);
        let own = RootStep::new(vars.clone(), config).expect("an optimizer");
        (own, Bare::new(vars, rule, executor), store)
    });
    let mut times = [const { Vec::new() }; 3];
    for half in 0..2 {
        for round in 0..ROUNDS + 3 {
            let mut taken = [0.0; 3];
            // Each one is the first in its turn: candle's threads still wait for work for a while behind a step.
            for turn in 0..3 {
                let contender = (round + turn) % 3;
                let (own, bare, store) = &mut models[(half + contender) % 2];
                taken[contender] = match contender {
                    0 => time(|| own.step(black_box(store)).expect("a step")),
                    1 => bare.time(store),
                    _ => time(|| sgd.step(black_box(&of_others)).expect("a step")),
                };
            }
            // The first rounds are to warm up.
            if round >= 3 {
                times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
            }
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

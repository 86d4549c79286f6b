//! `step_all` on tensors of mixed kinds, computed in f32: parameters, gradients and momentum in every type and
//! storage give the bits that the scalar functions of `reference` give, at every level, on one thread and on
//! several, and nothing outside of the tensors is written.

#![no_main]

use arbitrary::Arbitrary;
use half::{bf16, f16};
use rootstep::optimizer::{INT8_BLOCK, Power, Rule, Step};
use rootstep_fuzz::executor;
use rootstep_fuzz::number::Number;
use rootstep_fuzz::support::long_length;
use rootstep_fuzz::tensor::{
    GRADIENTS, MOMENTA, Momentum, Numbers, Place, STORED, Storage, Tensor,
};
use rootstep_fuzz::values::Values;

#[derive(Debug, Arbitrary)]
struct Case {
    executor: u8,
    /// One value of these makes the first tensor so long that it is split over threads.
    long: u8,
    tensors: Vec<Given>,
}

#[derive(Debug, Arbitrary)]
struct Given {
    /// Which parameters and storage, gradient, and momentum.
    kind: [u8; 3],
    length: u16,
    margin: u8,
    learning_rate: Number,
    weight_decay: Option<Number>,
    root: bool,
    first: bool,
    nesterov: bool,
    seed: u64,
    step: u64,
    tensor: u32,
    start: u64,
    parameters: Values,
    gradient: Values,
    /// The lower parts of parameters, or the master.
    beside: Values,
    momentum: Values,
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    let executor = executor(case.executor);
    let tensors = case.tensors.iter().take(8).enumerate();
    let before: Vec<Tensor> = tensors
        .map(|(i, given)| match (i, case.long) {
            (0, 7) => given.tensor(long_length::<f32>()),
            _ => given.tensor(usize::from(given.length % 1024)),
        })
        .collect();
    let mut stepped = before.clone();
    let mut steps: Vec<_> = stepped.iter_mut().map(Tensor::lend).collect();
    executor.step_all(&mut steps).expect("all fits");
    drop(steps);
    for (i, (mut specified, stepped)) in before.into_iter().zip(stepped).enumerate() {
        specified.step_by_reference();
        for (part, (a, b)) in stepped.written().iter().zip(specified.written()).enumerate() {
            let different = a.iter().zip(&b).position(|(a, b)| a != b);
            assert!(
                a.len() == b.len() && different.is_none(),
                "{executor:?}, tensor {i}, part {part}, element {different:?}"
            );
        }
    }
});

impl Given {
    fn tensor(&self, length: usize) -> Tensor {
        let margin = usize::from(self.margin);
        let all = length + 2 * margin;
        let [stored, gradient, momentum] = self.kind.map(usize::from);
        let (parameters, storage) = STORED[stored % STORED.len()];
        let bits = |values: &Values| -> Vec<u64> {
            values.of::<f64>(all).into_iter().map(f64::to_bits).collect()
        };
        let storage = match storage {
            "Nearest" => Storage::Nearest,
            "Stochastic" => {
                let Self { seed, step, tensor, start, .. } = *self;
                Storage::Stochastic(Place { seed, step, tensor, start })
            }
            "Split16" => Storage::Split16(bits(&self.beside).iter().map(|b| *b as i16).collect()),
            "Split8" => Storage::Split8(bits(&self.beside).iter().map(|b| *b as i8).collect()),
            _ => Storage::Master(self.beside.of(all)),
        };
        let format = MOMENTA[momentum % MOMENTA.len()];
        let momentum = match format {
            "None" => Momentum::None,
            "Full" => Momentum::Full(self.momentum.of(all)),
            "Bf16" => {
                Momentum::Bf16(bits(&self.momentum).iter().map(|b| (b >> 48) as u16).collect())
            }
            _ => Momentum::Int8(
                bits(&self.momentum).iter().map(|b| (b >> 45) as i8).collect(),
                self.momentum.of(length.div_ceil(INT8_BLOCK) + 2 * margin),
            ),
        };
        Tensor {
            step: self.step(format != "None"),
            margin,
            parameters: numbers(parameters, &self.parameters, all),
            storage,
            gradient: numbers(GRADIENTS[gradient % GRADIENTS.len()], &self.gradient, all),
            momentum,
        }
    }

    fn step(&self, with_momentum: bool) -> Step<f32> {
        let mut rule = Rule::sgd(self.learning_rate.tame(1e3));
        if self.root {
            rule = rule.with_power(Power::Half);
        }
        if with_momentum {
            rule = rule.with_momentum(0.9);
            if self.nesterov {
                rule = rule.with_nesterov();
            }
        }
        if let Some(decay) = self.weight_decay {
            rule = rule.with_weight_decay(decay.tame(1e3));
        }
        let make = if self.first { Step::first } else { Step::later };
        // Which rules are refused is for the target `optimizer`.
        let valid = Rule::sgd(0.1).with_momentum(rule.momentum);
        make(&rule).or_else(|_| make(&valid)).expect("valid")
    }
}

fn numbers(name: &str, values: &Values, length: usize) -> Numbers {
    match name {
        "f32" => Numbers::F32(values.of(length)),
        "bf16" => Numbers::Bf16(values.of::<bf16>(length)),
        _ => Numbers::F16(values.of::<f16>(length)),
    }
}

//! `step_all` gives the bits of `reference::step`, and stores the momentum as `reference` says, for any
//! tensors, steps and formats, at every level, on one thread and on several, and writes nothing outside
//! of them. It fails exactly where a length is wrong or a momentum is missing, and has written nothing
//! then.

#![no_main]

use arbitrary::Arbitrary;
use rootstep::optimizer::{INT8_BLOCK, MomentumMut, Power, PowerOf, Rule, Step, TensorStep};
use rootstep::{Error, reference};
use rootstep_fuzz::executor;
use rootstep_fuzz::number::Number;
use rootstep_fuzz::support::{Guarded, TestElement, long_length, same};
use rootstep_fuzz::values::Values;

#[derive(Debug, Arbitrary)]
struct Case {
    double: bool,
    executor: u8,
    /// One value of these makes the first tensor so long that it is split over threads.
    long: u8,
    tensors: Vec<Tensor>,
}

#[derive(Debug, Arbitrary)]
struct Tensor {
    length: u16,
    gradient_length: Length,
    /// Those of the parameters, the gradient, and the momentum.
    offsets: [u8; 3],
    recipe: Recipe,
    first: bool,
    gradient_factor: Option<Number>,
    clip_value: Option<Number>,
    momentum: Format,
    momentum_length: Length,
    scales_length: Length,
    parameters: Values,
    gradient: Values,
    /// What is in the momentum before, by its bits.
    before: Values,
}

/// Mostly the right length: one tensor that does not fit spoils all.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Length {
    kind: u8,
    by: u8,
}

impl Length {
    fn of(self, right: usize) -> usize {
        let by = 1 + usize::from(self.by);
        match self.kind {
            1..4 => right + by,
            4..7 => right.saturating_sub(by),
            7 => 0,
            _ => right,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Arbitrary)]
enum Format {
    None,
    Full,
    Bf16,
    Int8,
}

#[derive(Debug, Arbitrary)]
struct Recipe {
    learning_rate: Number,
    power: PowerKind,
    of_momentum: bool,
    momentum: Momentum,
    weight_decay: Option<Number>,
    decoupled_weight_decay: Option<Number>,
    maximize: bool,
}

#[derive(Debug, Arbitrary)]
enum PowerKind {
    Zero,
    Quarter,
    Half,
    ThreeQuarters,
    One,
    Smoothed(Number),
}

#[derive(Debug, Arbitrary)]
enum Momentum {
    None,
    Plain(Number),
    Dampened(Number, Number),
    Nesterov(Number),
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    if case.double {
        check::<f64>(&case);
    } else {
        check::<f32>(&case);
    }
});

fn check<T: TestElement>(case: &Case) {
    let executor = executor(case.executor);
    let tensors = case.tensors.iter().take(8).enumerate();
    let mut memory: Vec<Memory<T>> = tensors
        .map(|(i, tensor)| {
            let length = match (i, case.long) {
                (0, 7) => long_length::<T>(),
                _ => usize::from(tensor.length % 1024),
            };
            Memory::new(tensor, length)
        })
        .collect();
    let before = memory.clone();

    let mut steps: Vec<TensorStep<T>> = memory.iter_mut().map(Memory::step).collect();
    let result = executor.step_all(&mut steps);
    drop(steps);
    let wrong = before.iter().position(|tensor| !tensor.fits());
    match (&result, wrong) {
        (Ok(()), None) => {}
        (
            Err(Error::TensorLength { tensor, .. } | Error::InvalidMomentum { tensor, .. }),
            Some(wrong),
        ) => assert_eq!(*tensor, wrong, "{result:?}"),
        _ => panic!("{result:?}, but the first tensor that does not fit is {wrong:?}"),
    }
    for (i, (before, after)) in before.iter().zip(&memory).enumerate() {
        after.assert_intact();
        let (parameters, momentum) = if result.is_ok() {
            before.specified()
        } else {
            (before.parameters.slice().to_vec(), before.momentum.values())
        };
        let check = |what: &str, found: &[T], specified: &[T]| {
            assert_eq!(found.len(), specified.len());
            for (k, (&found, &specified)) in found.iter().zip(specified).enumerate() {
                assert!(
                    same(found, specified),
                    "{executor:?}, {what} {k} of tensor {i}: {:?} gave {found:?}, specified is \
                     {specified:?}",
                    before.step,
                );
            }
        };
        check("parameter", after.parameters.slice(), &parameters);
        check("momentum", &after.momentum.values(), &momentum);
        if result.is_err() || !before.step.has_momentum() {
            assert!(after.momentum.bits() == before.momentum.bits(), "momentum {i} was written");
        }
    }
}

/// All that a step on a tensor reads and writes.
#[derive(Clone)]
struct Memory<T> {
    step: Step<T>,
    parameters: Guarded<T>,
    gradient: Guarded<T>,
    momentum: Stored<T>,
}

#[derive(Clone)]
enum Stored<T> {
    None,
    Full(Guarded<T>),
    Bf16(Fenced<u16>),
    Int8(Fenced<i8>, Guarded<f32>),
}

impl<T: TestElement> Memory<T> {
    fn new(tensor: &Tensor, length: usize) -> Self {
        let [x, g, m] = tensor.offsets.map(|offset| usize::from(offset) % T::LANES);
        let gradient_length = tensor.gradient_length.of(length);
        let momentum_length = tensor.momentum_length.of(length);
        // The bits of any type: those of the f64 are cut to size.
        let bits = || tensor.before.of::<f64>(momentum_length).into_iter().map(f64::to_bits);
        let momentum = match tensor.momentum {
            Format::None => Stored::None,
            Format::Full => Stored::Full(Guarded::new(&tensor.before.of(momentum_length), m)),
            Format::Bf16 => {
                let upper_halves: Vec<u16> = bits().map(|bits| (bits >> 48) as u16).collect();
                Stored::Bf16(Fenced::new(&upper_halves, m, 0x7fa5))
            }
            Format::Int8 => {
                let codes: Vec<i8> = bits().map(|bits| (bits >> 45) as i8).collect();
                let blocks = momentum_length.div_ceil(INT8_BLOCK);
                let scales = tensor.before.of(tensor.scales_length.of(blocks));
                Stored::Int8(Fenced::new(&codes, m, 0x5a), Guarded::new(&scales, m % 8))
            }
        };
        Self {
            step: tensor.step(),
            parameters: Guarded::new(&tensor.parameters.of(length), x),
            gradient: Guarded::new(&tensor.gradient.of(gradient_length), g),
            momentum,
        }
    }

    fn step(&mut self) -> TensorStep<'_, T> {
        let momentum = match &mut self.momentum {
            Stored::None => MomentumMut::None,
            Stored::Full(momentum) => MomentumMut::Full(momentum.slice_mut()),
            Stored::Bf16(momentum) => MomentumMut::Bf16(momentum.slice_mut()),
            Stored::Int8(codes, scales) => {
                MomentumMut::Int8 { codes: codes.slice_mut(), scales: scales.slice_mut() }
            }
        };
        TensorStep::new(self.step, self.parameters.slice_mut(), self.gradient.slice(), momentum)
    }

    /// Whether every length is right and the momentum is there. What a step without momentum is given
    /// does not matter.
    fn fits(&self) -> bool {
        let length = self.parameters.slice().len();
        let momentum_fits = match &self.momentum {
            Stored::None => false,
            Stored::Full(momentum) => momentum.slice().len() == length,
            Stored::Bf16(momentum) => momentum.slice().len() == length,
            Stored::Int8(codes, scales) => {
                codes.slice().len() == length && scales.slice().len() == length.div_ceil(INT8_BLOCK)
            }
        };
        self.gradient.slice().len() == length && (momentum_fits || !self.step.has_momentum())
    }

    /// The parameters and the momentum that come of a step, if everything fits.
    fn specified(&self) -> (Vec<T>, Vec<T>) {
        let (x, g) = (self.parameters.slice(), self.gradient.slice());
        let old = self.momentum.values();
        if !self.step.has_momentum() {
            let step = |(&x, &g)| reference::step(&self.step, x, T::default(), g).0;
            return (x.iter().zip(g).map(step).collect(), old);
        }
        let elements = x.iter().zip(g).zip(&old);
        let (x, mut momentum): (Vec<T>, Vec<T>) =
            elements.map(|((&x, &g), &m)| reference::step(&self.step, x, m, g)).unzip();
        match self.momentum {
            Stored::None | Stored::Full(_) => {}
            Stored::Bf16(_) => momentum.iter_mut().for_each(|m| *m = reference::bf16_momentum(*m)),
            Stored::Int8(..) => momentum.chunks_mut(INT8_BLOCK).for_each(reference::int8_momentum),
        }
        (x, momentum)
    }

    fn assert_intact(&self) {
        self.parameters.assert_intact();
        self.gradient.assert_intact();
        match &self.momentum {
            Stored::None => {}
            Stored::Full(momentum) => momentum.assert_intact(),
            Stored::Bf16(momentum) => momentum.assert_intact(),
            Stored::Int8(codes, scales) => {
                codes.assert_intact();
                scales.assert_intact();
            }
        }
    }
}

impl<T: TestElement> Stored<T> {
    /// What the momentum is read as: of int8 what has a scale.
    fn values(&self) -> Vec<T> {
        match self {
            Self::None => Vec::new(),
            Self::Full(momentum) => momentum.slice().to_vec(),
            Self::Bf16(momentum) => {
                let read = |&half| T::from_f32(f32::from_bits(u32::from(half) << 16));
                momentum.slice().iter().map(read).collect()
            }
            Self::Int8(codes, scales) => {
                let blocks = codes.slice().chunks(INT8_BLOCK).zip(scales.slice());
                let read = |(codes, &scale): (&[i8], &f32)| {
                    let read = move |&code| T::from_f32(f32::from(code) * (scale / 127.0));
                    codes.iter().map(read).collect::<Vec<T>>()
                };
                blocks.flat_map(read).collect()
            }
        }
    }

    /// What is in memory, bit by bit.
    fn bits(&self) -> Vec<u64> {
        match self {
            Self::None => Vec::new(),
            Self::Full(momentum) => momentum.slice().iter().map(|m| m.to_bits()).collect(),
            Self::Bf16(momentum) => momentum.slice().iter().map(|&half| half.into()).collect(),
            Self::Int8(codes, scales) => {
                let codes = codes.slice().iter().map(|&code| u64::from(code.cast_unsigned()));
                codes.chain(scales.slice().iter().map(|scale| scale.to_bits().into())).collect()
            }
        }
    }
}

impl Tensor {
    fn step<T: TestElement>(&self) -> Step<T> {
        let rule = self.recipe.rule();
        let make = if self.first { Step::first } else { Step::later };
        // Which rules are refused is for the target `optimizer`.
        let mut step = make(&rule).or_else(|_| make(&Rule::powerstep(0.1))).expect("valid");
        assert_eq!(step.is_first(), self.first);
        if let Some(factor) = self.gradient_factor {
            step = step.with_gradient_factor(factor.tame(1e3)).unwrap_or(step);
        }
        if let Some(limit) = self.clip_value {
            step = step.with_clip_value(limit.tame(1e3)).unwrap_or(step);
        }
        step
    }
}

impl Recipe {
    fn rule(&self) -> Rule {
        let mut rule = Rule::sgd(self.learning_rate.tame(1e3))
            .with_power(match self.power {
                PowerKind::Zero => Power::Zero,
                PowerKind::Quarter => Power::Quarter,
                PowerKind::Half => Power::Half,
                PowerKind::ThreeQuarters => Power::ThreeQuarters,
                PowerKind::One => Power::One,
                PowerKind::Smoothed(epsilon) => Power::Smoothed { epsilon: epsilon.tame(1e3) },
            })
            .with_power_of(if self.of_momentum { PowerOf::Momentum } else { PowerOf::Gradient });
        rule = match self.momentum {
            Momentum::None => rule,
            Momentum::Plain(momentum) => rule.with_momentum(momentum.tame(0.999)),
            Momentum::Dampened(momentum, dampening) => {
                rule.with_momentum(momentum.tame(0.999)).with_dampening(dampening.tame(0.999))
            }
            Momentum::Nesterov(momentum) => {
                rule.with_momentum(momentum.tame(0.999)).with_nesterov()
            }
        };
        if let Some(decay) = self.weight_decay {
            rule = rule.with_weight_decay(decay.tame(1e3));
        }
        if let Some(decay) = self.decoupled_weight_decay {
            rule = rule.with_decoupled_weight_decay(decay.tame(1e3));
        }
        if self.maximize { rule.maximizing() } else { rule }
    }
}

/// As [`Guarded`], for elements that are no numbers of their own.
#[derive(Clone)]
struct Fenced<B> {
    memory: Vec<B>,
    start: usize,
    length: usize,
    sentinel: B,
}

impl<B: Copy + PartialEq> Fenced<B> {
    /// More than the largest block of registers could overrun by, which is one of int8.
    const GUARD: usize = 2 * INT8_BLOCK;

    fn new(elements: &[B], offset: usize, sentinel: B) -> Self {
        let mut memory = vec![sentinel; elements.len() + 3 * Self::GUARD];
        let aligned = memory.as_ptr().align_offset(64) % 64;
        let start = Self::GUARD + aligned + offset;
        memory[start..start + elements.len()].copy_from_slice(elements);
        Self { memory, start, length: elements.len(), sentinel }
    }

    fn slice(&self) -> &[B] {
        &self.memory[self.start..self.start + self.length]
    }

    fn slice_mut(&mut self) -> &mut [B] {
        &mut self.memory[self.start..self.start + self.length]
    }

    fn assert_intact(&self) {
        let (before, rest) = self.memory.split_at(self.start);
        let mut outside = before.iter().chain(&rest[self.length..]);
        assert!(
            outside.all(|element| *element == self.sentinel),
            "written outside of the momentum"
        );
    }
}

//! The step of an optimizer: everything that happens to an element, in one pass.

use super::block::Block;
use super::place::{Place, Source, Values, ValuesMut, take_front};
use super::stored::{
    Aligned, AnyGradient, AnyMomentum, AnyParameters, DrawBuffer, InParts, Int8, PairedParameters,
    Stochastic, WithCopy,
};
use super::sum::{SumMut, SummedStep, update};
use super::update::{CHUNK_BYTES, Operation, Part, Update, WorkingSet};
use crate::float::{Bf16, Bf16Pairs, F16};
use crate::format::{Bf16InF32, Format, Number};
use crate::level::Level;
use crate::simd::{Kernel, Simd};
use crate::step::{
    Gradient, INT8_BLOCK, MomentumMut, Parameters, Power, PowerOf, Step, StorageMut, TensorStep,
};
use std::iter;
use std::marker::PhantomData;

/// Without momentum: the parameters alone are written.
impl<C: Number> Operation<C, 0, 1> for Step<C> {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;
    const LONG: bool = true;

    #[inline(always)]
    fn apply<B: Block<C>>(self, x: B, []: [B; 0], [g]: [B; 1]) -> (B, [B; 0]) {
        (self.stepped(x, self.direction(x, g)), [])
    }
}

/// With momentum: the parameters and the momentum are written.
impl<C: Number> Operation<C, 1, 1> for Step<C> {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;
    const LONG: bool = true;

    #[inline(always)]
    fn apply<B: Block<C>>(self, x: B, [m]: [B; 1], [g]: [B; 1]) -> (B, [B; 1]) {
        let direction = self.direction(x, g);
        let momentum = m.splat(self.momentum);
        let m = if self.first { m.splat(C::from_f64(-0.0)) } else { m };
        let m = momentum * m + m.splat(self.one_minus_dampening) * direction;
        let direction = if self.nesterov { direction + momentum * m } else { m };
        (self.stepped(x, direction), [m])
    }
}

// What a step does is the same for all elements, and asked for once for several registers.
impl<C: Number> Step<C> {
    /// What goes into the momentum.
    #[inline(always)]
    fn direction<B: Block<C>>(self, x: B, g: B) -> B {
        let g = scaled(g, self.gradient_factor);
        let g = if self.clip_value.bits() == C::INFINITY_BITS {
            g
        } else {
            g.clamp_magnitude(self.clip_value)
        };
        let direction = if self.power_of == PowerOf::Gradient { self.power(g) } else { g };
        add_decay(direction, self.weight_decay, x)
    }

    /// The new parameters, from what comes out of the momentum.
    #[inline(always)]
    fn stepped<B: Block<C>>(self, x: B, direction: B) -> B {
        let direction =
            if self.power_of == PowerOf::Momentum { self.power(direction) } else { direction };
        let direction = add_decay(direction, self.decoupled_weight_decay, x);
        x - x.splat(self.learning_rate) * direction
    }

    #[inline(always)]
    fn power<B: Block<C>>(self, v: B) -> B {
        match self.power {
            Power::Zero => (v * v.splat(C::SUBNORMAL_SCALE) * v.splat(C::SUBNORMAL_SCALE))
                .clamp_magnitude(C::ONE),
            Power::Quarter => v.signed_sqrt().signed_sqrt(),
            Power::Half => v.signed_sqrt(),
            Power::ThreeQuarters => {
                let s = v.signed_sqrt();
                s * s.signed_sqrt().abs()
            }
            Power::One => v,
            Power::Smoothed { epsilon } => v / (v.abs() + v.splat(epsilon)).signed_sqrt(),
        }
    }
}

/// `factor * g`, left out where it is 1. (Bits are compared: the units for numbers have enough to do.)
#[inline(always)]
fn scaled<C: Number, B: Block<C>>(g: B, factor: C) -> B {
    if factor.bits() == C::ONE.bits() { g } else { g.splat(factor) * g }
}

/// `d + (decay * x)`, left out where there is none: 0 * ∞ is NaN.
#[inline(always)]
fn add_decay<C: Number, B: Block<C>>(d: B, decay: C, x: B) -> B {
    if decay.abs().bits() == C::default().bits() { d } else { d + x.splat(decay) * x }
}

/// A type that steps are computed in.
pub(crate) trait Stepped: Number {
    /// Takes a step on some elements of a tensor, whose gradient is no sum.
    fn step<S: Simd>(isa: S, part: StepPart<'_, Self>);
    /// Updates a slice by one of a gradient, which is no sum.
    fn update<S: Simd>(
        isa: S,
        operation: impl Operation<Self, 0, 1>,
        output: SumMut<'_, Self>,
        gradient: Gradient<'_, Self>,
    );
}

/// The step on some elements of a tensor.
#[derive(Debug)]
pub(crate) struct StepPart<'a, C> {
    pub(crate) step: Step<C>,
    pub(crate) parameters: Parameters<'a, C>,
    /// As many.
    pub(crate) gradient: Gradient<'a, C>,
    /// As many, or none if the step has none.
    pub(crate) momentum: MomentumMut<'a, C>,
    /// One that the parameters allow, with memory for as many.
    pub(crate) storage: StorageMut<'a>,
    pub(crate) working_set: WorkingSet,
}

impl<C: Stepped> Part for StepPart<'_, C> {
    fn bytes(&self) -> usize {
        self.parameters.len() * size_of::<C>()
    }

    /// Each enters the instruction set by itself: all that a step can do is long, and compiled once.
    fn run_all(level: Level, parts: impl Iterator<Item = Self>) {
        for part in parts {
            match part.gradient {
                Gradient::Sum(_) => level.run(SummedStep(part)),
                _ => level.run(part),
            }
        }
    }
}

impl<C: Stepped> Kernel for StepPart<'_, C> {
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        C::step(isa, self);
    }
}

/// An update that is a call, and a frame of its own on the stack.
#[inline(always)]
fn run<S, C, W, M, I, const STATES: usize>(
    isa: S,
    (operation, working_set): (Step<C>, WorkingSet),
    output: W,
    states: [M; STATES],
    input: I,
) where
    S: Simd,
    C: Number,
    W: Place<Compute = C>,
    M: Place<Compute = C>,
    I: Source<Compute = C>,
    Step<C>: Operation<C, STATES, 1>,
{
    isa.run(Update { operation, output, states, inputs: [input], working_set });
}

impl Stepped for f64 {
    #[inline(always)]
    fn step<S: Simd>(isa: S, part: StepPart<'_, f64>) {
        let StepPart { step, parameters, gradient, momentum, working_set, .. } = part;
        let (Parameters::Full(parameters), Gradient::Full(gradient)) = (parameters, gradient)
        else {
            unreachable!("no other format is computed in f64");
        };
        let (how, output) = ((step, working_set), ValuesMut::<f64, f64>(parameters));
        let input = Values::<f64, f64>(gradient);
        match momentum {
            MomentumMut::None => {
                let states: [ValuesMut<'static, f64, f64>; 0] = [];
                run(isa, how, output, states, input);
            }
            MomentumMut::Full(momentum) => {
                run(isa, how, output, [ValuesMut::<f64, f64>(momentum)], input);
            }
            MomentumMut::Bf16(momentum) => {
                run(isa, how, output, [ValuesMut::<f64, Bf16>(momentum)], input);
            }
            MomentumMut::Int8 { codes, scales } => {
                let block = &mut Aligned([0.0; INT8_BLOCK]);
                run(isa, how, output, [Int8::new(codes, scales, block)], input);
            }
        }
    }

    #[inline(always)]
    fn update<S: Simd>(
        isa: S,
        operation: impl Operation<f64, 0, 1>,
        output: SumMut<'_, f64>,
        gradient: Gradient<'_, f64>,
    ) {
        let (SumMut::Full(output), Gradient::Full(gradient)) = (output, gradient) else {
            unreachable!("no other format is computed in f64");
        };
        update(isa, operation, ValuesMut::<f64, f64>(output), Values::<f64, f64>(gradient));
    }
}

impl Stepped for f32 {
    /// What all is in f32, or has the momentum alone in bf16, has a loop of its own; the rest asks for its
    /// formats at every row.
    #[inline(always)]
    fn step<S: Simd>(isa: S, part: StepPart<'_, f32>) {
        let StepPart { step, parameters, gradient, momentum, storage, working_set } = part;
        let how = (step, working_set);
        let (x, g, momentum) = match (parameters, gradient, momentum) {
            (Parameters::Full(x), Gradient::Full(g), MomentumMut::None) => {
                return run(isa, how, in_f32_mut(x), NO_STATE, in_f32(g));
            }
            (Parameters::Full(x), Gradient::Full(g), MomentumMut::Full(m)) => {
                return run(isa, how, in_f32_mut(x), [in_f32_mut(m)], in_f32(g));
            }
            (Parameters::Full(x), Gradient::Full(g), MomentumMut::Bf16(m)) => {
                let states = [ValuesMut::<f32, Bf16>(m)];
                return run(isa, how, in_f32_mut(x), states, in_f32(g));
            }
            (Parameters::Full(x), Gradient::Full(g), MomentumMut::Int8 { codes, scales }) => {
                let block = &mut Aligned([0.0; INT8_BLOCK]);
                let states = [Int8::<f32>::new(codes, scales, block)];
                return run(isa, how, in_f32_mut(x), states, in_f32(g));
            }
            (Parameters::Bf16(x), Gradient::Bf16(g), momentum) if in_pairs(&momentum, &storage) => {
                return step_in_pairs(isa, how, (x, storage), g, momentum);
            }
            other => other,
        };
        let (buffer, block) = (&mut DrawBuffer::new(), &mut Aligned([0.0; INT8_BLOCK]));
        let output = any_parameters(x, storage, buffer);
        let input = any_gradient(g);
        let state = match momentum {
            MomentumMut::None => return run(isa, how, output, NO_STATE, input),
            MomentumMut::Full(m) => AnyMomentum::Full(ValuesMut(m)),
            MomentumMut::Bf16(m) => AnyMomentum::Bf16(ValuesMut(m)),
            MomentumMut::Int8 { codes, scales } => {
                AnyMomentum::Int8(Int8::new(codes, scales, block))
            }
        };
        run(isa, how, output, [state], input);
    }

    #[inline(always)]
    fn update<S: Simd>(
        isa: S,
        operation: impl Operation<f32, 0, 1>,
        output: SumMut<'_, f32>,
        gradient: Gradient<'_, f32>,
    ) {
        match output {
            SumMut::Full(sum) => update_by(isa, operation, in_f32_mut(sum), gradient),
            SumMut::Rounded(sum) => {
                update_by(isa, operation, ValuesMut::<f32, Bf16InF32>(sum), gradient);
            }
            SumMut::Bf16(sum) => update_by(isa, operation, ValuesMut::<f32, Bf16>(sum), gradient),
        }
    }
}

#[inline(always)]
fn update_by<S: Simd, W: Format<f32>>(
    isa: S,
    operation: impl Operation<f32, 0, 1>,
    output: ValuesMut<'_, f32, W>,
    gradient: Gradient<'_, f32>,
) {
    match gradient {
        Gradient::Full(g) => update(isa, operation, output, in_f32(g)),
        Gradient::Bf16(g) => update(isa, operation, output, Values::<f32, Bf16>(g)),
        Gradient::F16(g) => update(isa, operation, output, Values::<f32, F16>(g)),
        Gradient::Sum(_) => unreachable!("no term is a sum"),
    }
}

const NO_STATE: [ValuesMut<'static, f32, f32>; 0] = [];

/// Whether all memory of a step on bf16 by bf16 may be read in pairs.
const fn in_pairs(momentum: &MomentumMut<'_, f32>, storage: &StorageMut<'_>) -> bool {
    matches!(momentum, MomentumMut::None | MomentumMut::Bf16(_))
        && matches!(
            storage,
            StorageMut::Nearest | StorageMut::Stochastic(_) | StorageMut::Split16(_)
        )
}

#[inline(always)]
fn step_in_pairs<S: Simd>(
    isa: S,
    how: (Step<f32>, WorkingSet),
    (x, storage): (&mut [u16], StorageMut<'_>),
    g: &[u16],
    momentum: MomentumMut<'_, f32>,
) {
    let buffer = &mut DrawBuffer::new();
    let input = Values::<f32, Bf16Pairs>(g);
    let output = match storage {
        StorageMut::Stochastic(draws) => {
            PairedParameters::Stochastic(Stochastic::new(x, draws, buffer))
        }
        StorageMut::Split16(low) => {
            let low = bytemuck::cast_slice_mut(low);
            PairedParameters::Split16(InParts { high: x, low })
        }
        _ => {
            return with_momentum_in_pairs(
                isa,
                how,
                ValuesMut::<f32, Bf16Pairs>(x),
                input,
                momentum,
            );
        }
    };
    with_momentum_in_pairs(isa, how, output, input, momentum);
}

#[inline(always)]
fn with_momentum_in_pairs<S: Simd>(
    isa: S,
    how: (Step<f32>, WorkingSet),
    output: impl Place<Compute = f32>,
    input: Values<'_, f32, Bf16Pairs>,
    momentum: MomentumMut<'_, f32>,
) {
    match momentum {
        MomentumMut::Bf16(m) => {
            run(isa, how, output, [ValuesMut::<f32, Bf16Pairs>(m)], input);
        }
        _ => run(isa, how, output, NO_STATE, input),
    }
}

#[inline(always)]
const fn in_f32(slice: &[f32]) -> Values<'_, f32, f32> {
    Values(slice)
}

#[inline(always)]
const fn in_f32_mut(slice: &mut [f32]) -> ValuesMut<'_, f32, f32> {
    ValuesMut(slice)
}

#[inline(always)]
fn any_parameters<'a>(
    parameters: Parameters<'a, f32>,
    storage: StorageMut<'a>,
    buffer: &'a mut DrawBuffer,
) -> AnyParameters<'a> {
    match (parameters, storage) {
        (Parameters::Full(x), _) => AnyParameters::Full(ValuesMut(x)),
        (Parameters::Bf16(x), StorageMut::Nearest) => AnyParameters::Bf16(ValuesMut(x)),
        (Parameters::F16(x), StorageMut::Stochastic(draws)) => {
            AnyParameters::StochasticF16(Stochastic::new(x, draws, buffer))
        }
        (Parameters::Bf16(x), StorageMut::Stochastic(draws)) => {
            AnyParameters::StochasticBf16(Stochastic::new(x, draws, buffer))
        }
        (Parameters::Bf16(high), StorageMut::Split16(low)) => {
            AnyParameters::Split16(InParts { high, low: bytemuck::cast_slice_mut(low) })
        }
        (Parameters::Bf16(high), StorageMut::Split8(low)) => {
            AnyParameters::Split8(InParts { high, low: bytemuck::cast_slice_mut(low) })
        }
        (Parameters::Bf16(copy), StorageMut::Master(numbers)) => {
            AnyParameters::Bf16Copy(WithCopy { numbers, copy, half: PhantomData })
        }
        (Parameters::F16(copy), StorageMut::Master(numbers)) => {
            AnyParameters::F16Copy(WithCopy { numbers, copy, half: PhantomData })
        }
        // The executor lets no parts of f16 pass.
        (Parameters::F16(x), _) => AnyParameters::F16(ValuesMut(x)),
    }
}

#[inline(always)]
const fn any_gradient(gradient: Gradient<'_, f32>) -> AnyGradient<'_> {
    match gradient {
        Gradient::Full(g) => AnyGradient::Full(Values(g)),
        Gradient::Bf16(g) => AnyGradient::Bf16(Values(g)),
        Gradient::F16(g) => AnyGradient::F16(Values(g)),
        Gradient::Sum(_) => unreachable!(),
    }
}

impl<'a, C> StepPart<'a, C> {
    /// The step on all of a tensor.
    pub(crate) fn of(tensor: &'a mut TensorStep<'_, C>, working_set: WorkingSet) -> Self
    where
        C: Number,
    {
        let TensorStep { step, parameters, gradient, momentum, storage } = tensor;
        let momentum = if step.has_momentum() { momentum.reborrow() } else { MomentumMut::None };
        let (parameters, gradient) = (parameters.reborrow(), *gradient);
        Self {
            step: *step,
            parameters,
            gradient,
            momentum,
            storage: storage.reborrow(),
            working_set,
        }
    }

    /// The same step in parts that a thread takes at a time.
    pub(crate) fn chunks(mut self) -> impl Iterator<Item = Self> + Send
    where
        C: Number,
    {
        let length = CHUNK_BYTES / size_of::<C>();
        const { assert!((CHUNK_BYTES / size_of::<C>()).is_multiple_of(INT8_BLOCK)) };
        iter::from_fn(move || {
            let length = length.min(self.parameters.len());
            (length > 0).then(|| self.split_off(length))
        })
    }

    /// Takes the first `length` elements away: whole blocks, or all.
    #[inline(always)] // Sums are added up, and split, within a kernel.
    pub(super) fn split_off(&mut self, length: usize) -> Self
    where
        C: Number,
    {
        let gradient = split_off_gradient(&mut self.gradient, length);
        self.split_off_by(length, gradient)
    }

    /// Takes the first `length` elements away, to be stepped by `gradient`: their own stays.
    #[inline(always)]
    pub(super) fn split_off_by(&mut self, length: usize, gradient: Gradient<'a, C>) -> Self
    where
        C: Number,
    {
        let Self { step, working_set, .. } = *self;
        Self {
            step,
            parameters: split_off_parameters(&mut self.parameters, length),
            gradient,
            momentum: split_off_momentum(&mut self.momentum, length),
            storage: split_off_storage(&mut self.storage, length),
            working_set,
        }
    }
}

/// Takes the first `length` parameters away.
#[inline(always)]
pub(super) fn split_off_parameters<'a, C>(
    parameters: &mut Parameters<'a, C>,
    length: usize,
) -> Parameters<'a, C> {
    match parameters {
        Parameters::Full(parameters) => Parameters::Full(take_front(parameters, length)),
        Parameters::Bf16(bits) => Parameters::Bf16(take_front(bits, length)),
        Parameters::F16(bits) => Parameters::F16(take_front(bits, length)),
    }
}

/// Takes the gradient of the first `length` elements away.
#[inline(always)]
fn split_off_gradient<'a, C>(gradient: &mut Gradient<'a, C>, length: usize) -> Gradient<'a, C> {
    #[inline(always)]
    fn front<'a, E>(slice: &mut &'a [E], length: usize) -> &'a [E] {
        let (front, rest) = slice.split_at(length);
        *slice = rest;
        front
    }
    match gradient {
        Gradient::Full(gradient) => Gradient::Full(front(gradient, length)),
        Gradient::Bf16(bits) => Gradient::Bf16(front(bits, length)),
        Gradient::F16(bits) => Gradient::F16(front(bits, length)),
        Gradient::Sum(sum) => Gradient::Sum(sum.split_off(length)),
    }
}

/// Takes what is stored beside the first `length` parameters away.
#[inline(always)]
fn split_off_storage<'a>(storage: &mut StorageMut<'a>, length: usize) -> StorageMut<'a> {
    match storage {
        StorageMut::Nearest => StorageMut::Nearest,
        StorageMut::Stochastic(draws) => {
            let front = *draws;
            *draws = draws.skip(length);
            StorageMut::Stochastic(front)
        }
        StorageMut::Split16(low) => StorageMut::Split16(take_front(low, length)),
        StorageMut::Split8(low) => StorageMut::Split8(take_front(low, length)),
        StorageMut::Master(master) => StorageMut::Master(take_front(master, length)),
    }
}

/// Takes the momentum of the first `length` elements away: whole blocks, or all.
#[inline(always)]
fn split_off_momentum<'a, C>(
    momentum: &mut MomentumMut<'a, C>,
    length: usize,
) -> MomentumMut<'a, C> {
    match momentum {
        MomentumMut::None => MomentumMut::None,
        MomentumMut::Full(momentum) => MomentumMut::Full(take_front(momentum, length)),
        MomentumMut::Bf16(momentum) => MomentumMut::Bf16(take_front(momentum, length)),
        MomentumMut::Int8 { codes, scales } => MomentumMut::Int8 {
            codes: take_front(codes, length),
            scales: take_front(scales, length.div_ceil(INT8_BLOCK)),
        },
    }
}

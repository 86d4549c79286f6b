//! The step of an optimizer: everything that happens to an element, in one pass.

use super::block::Block;
use super::update::{CHUNK_BYTES, Operation, Part, Update, WorkingSet, take_front};
use crate::float::Bf16;
use crate::format::{Number, Stored};
use crate::level::Level;
use crate::simd::{Kernel, Simd};
use crate::step::{INT8_BLOCK, MomentumMut, Power, PowerOf, Step};
use std::iter;

/// Without momentum: the parameters alone are written.
impl<C: Number> Operation<C, 0, 1> for Step<C> {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<B: Block<C>>(self, x: B, []: [B; 0], [g]: [B; 1]) -> (B, [B; 0]) {
        (self.stepped(x, self.direction(x, g)), [])
    }
}

/// With momentum: the parameters and the momentum are written.
impl<C: Number> Operation<C, 1, 1> for Step<C> {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

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
        let g = (g.splat(self.gradient_factor) * g).clamp_magnitude(self.clip_value);
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

/// `d + (decay * x)`, left out where there is none: 0 * ∞ is NaN.
#[inline(always)]
fn add_decay<C: Number, B: Block<C>>(d: B, decay: C, x: B) -> B {
    if decay == C::default() { d } else { d + x.splat(decay) * x }
}

/// Elements of int8 momentum that are unpacked at a time: few enough to stay in L1, many enough that
/// the call of the step costs nothing.
const UNPACKED: usize = 8 * INT8_BLOCK;

/// The step on some elements of a tensor.
#[derive(Debug)]
pub(crate) struct StepPart<'a, X: Stored> {
    pub(crate) step: Step<X::Compute>,
    pub(crate) parameters: &'a mut [X],
    /// As many.
    pub(crate) gradient: &'a [X],
    /// As many, or none if the step has none.
    pub(crate) momentum: MomentumMut<'a, X::Compute>,
    pub(crate) working_set: WorkingSet,
}

impl<X: Stored> Part for StepPart<'_, X> {
    fn bytes(&self) -> usize {
        size_of_val(self.parameters)
    }

    /// Each enters the instruction set by itself: all that a step can do is long, and compiled once.
    fn run_all(level: Level, parts: impl Iterator<Item = Self>) {
        for part in parts {
            level.run(part);
        }
    }
}

impl<X: Stored> Kernel for StepPart<'_, X> {
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        let Self { step: operation, parameters: output, gradient, momentum, working_set } = self;
        let inputs = [gradient];
        // Each is a call, and a frame of its own on the stack.
        match momentum {
            MomentumMut::None => {
                let states: [&mut [X::Compute]; 0] = [];
                isa.run(Update { operation, output, states, inputs, working_set });
            }
            MomentumMut::Full(momentum) => {
                isa.run(Update { operation, output, states: [momentum], inputs, working_set });
            }
            MomentumMut::Bf16(momentum) => {
                let states = [bytemuck::cast_slice_mut::<u16, Bf16>(momentum)];
                isa.run(Update { operation, output, states, inputs, working_set });
            }
            MomentumMut::Int8 { mut codes, mut scales } => {
                let mut unpacked = [X::Compute::default(); UNPACKED];
                let gradients = gradient.chunks(UNPACKED);
                for (output, gradient) in output.chunks_mut(UNPACKED).zip(gradients) {
                    let full = &mut unpacked[..output.len()];
                    let codes = take_front(&mut codes, full.len());
                    let scales = take_front(&mut scales, full.len().div_ceil(INT8_BLOCK));
                    unpack_int8(codes, scales, full);
                    let (states, inputs) = ([&mut *full], [gradient]);
                    isa.run(Update { operation, output, states, inputs, working_set });
                    pack_int8(full, codes, scales);
                }
            }
        }
    }
}

impl<X: Stored> StepPart<'_, X> {
    /// The same step in parts that a thread takes at a time.
    pub(crate) fn chunks(mut self) -> impl Iterator<Item = Self> + Send {
        let length = CHUNK_BYTES / size_of::<X>();
        const { assert!((CHUNK_BYTES / size_of::<X>()).is_multiple_of(INT8_BLOCK)) };
        iter::from_fn(move || {
            let length = length.min(self.parameters.len());
            (length > 0).then(|| self.split_off(length))
        })
    }

    /// Takes the first `length` elements away: whole blocks, or all.
    fn split_off(&mut self, length: usize) -> Self {
        let Self { step, working_set, .. } = *self;
        let (gradient, rest) = self.gradient.split_at(length);
        self.gradient = rest;
        Self {
            step,
            parameters: take_front(&mut self.parameters, length),
            gradient,
            momentum: split_off_momentum(&mut self.momentum, length),
            working_set,
        }
    }
}

/// Takes the momentum of the first `length` elements away: whole blocks, or all.
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

/// Writes int8 momentum to `full`, which is as long.
#[inline(always)]
fn unpack_int8<C: Number>(codes: &[i8], scales: &[f32], full: &mut [C]) {
    let blocks = codes.chunks(INT8_BLOCK).zip(scales);
    for (full, (codes, scale)) in full.chunks_mut(INT8_BLOCK).zip(blocks) {
        let unit = scale / 127.0;
        for (full, &code) in full.iter_mut().zip(codes) {
            *full = C::from_f32(f32::from(code) * unit);
        }
    }
}

/// Takes int8 momentum from `full`, which is as long.
#[inline(always)]
fn pack_int8<C: Number>(full: &[C], codes: &mut [i8], scales: &mut [f32]) {
    let blocks = codes.chunks_mut(INT8_BLOCK).zip(scales);
    for (full, (codes, scale)) in full.chunks(INT8_BLOCK).zip(blocks) {
        // The bits of magnitudes are in the order of the magnitudes, NaN above all.
        let largest = full.iter().map(|m| m.to_f32().abs().to_bits()).fold(0, u32::max);
        *scale = f32::from_bits(largest);
        let factor = 127.0 / (*scale + 1e-12);
        for (code, m) in codes.iter_mut().zip(full) {
            *code = nearest_i8(m.to_f32() * factor);
        }
    }
}

/// The nearest integer, ties to even, of a number within ±127.5; 0 of all others.
#[inline(always)]
fn nearest_i8(value: f32) -> i8 {
    /// Where a float's last place is 1: adding it rounds to an integer, which is in the last byte.
    const INTEGERS: f32 = 1.5 * 8_388_608.0;
    let value = if value.abs() < 127.5 { value } else { 0.0 };
    (value + INTEGERS).to_bits().to_le_bytes()[0].cast_signed()
}

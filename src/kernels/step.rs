//! The step of an optimizer: everything that happens to an element, in one pass.

use super::update::take_front;
use super::{CHUNK_BYTES, Operation, Part, Place, Update};
use crate::optimizer::{Power, PowerOf};
use crate::reference::Step;
use crate::simd::{Kernel, Root, Simd, Vector};
use crate::{Element, Level};
use std::iter;

/// Without momentum: the parameters alone are written.
impl<T: Element> Operation<T, 1, 1> for Step<T> {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        refined: usize,
        [x]: [[V; N]; 1],
        [g]: [[V; N]; 1],
    ) -> [[V; N]; 1] {
        let direction = self.direction(isa, refined, x, g);
        [self.stepped(isa, refined, x, direction)]
    }
}

/// With momentum: the parameters and the momentum are written.
impl<T: Element> Operation<T, 2, 1> for Step<T> {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        refined: usize,
        [x, mut m]: [[V; N]; 2],
        [g]: [[V; N]; 1],
    ) -> [[V; N]; 2] {
        let mut direction = self.direction(isa, refined, x, g);
        let (momentum, share) = (V::splat(isa, self.momentum), V::splat(isa, self.share));
        for (m, direction) in m.iter_mut().zip(direction) {
            *m = momentum.mul(*m).add(share.mul(direction));
        }
        if self.nesterov {
            for (direction, m) in direction.iter_mut().zip(m) {
                *direction = direction.add(momentum.mul(m));
            }
        } else {
            direction = m;
        }
        [self.stepped(isa, refined, x, direction), m]
    }
}

// What a step does is the same for all elements, and asked for once for several registers.
impl<T: Element> Step<T> {
    /// What goes into the momentum.
    #[inline(always)]
    fn direction<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        refined: usize,
        x: [V; N],
        mut g: [V; N],
    ) -> [V; N] {
        let (factor, limit) = (V::splat(isa, self.gradient_factor), V::splat(isa, self.clip_value));
        for g in &mut g {
            *g = factor.mul(*g).clamp_magnitude(limit);
        }
        if self.power_of == PowerOf::Gradient {
            g = self.power(isa, refined, g);
        }
        add_decay(isa, g, self.weight_decay, x)
    }

    /// The new parameters, from what comes out of the momentum.
    #[inline(always)]
    fn stepped<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        refined: usize,
        mut x: [V; N],
        mut direction: [V; N],
    ) -> [V; N] {
        if self.power_of == PowerOf::Momentum {
            direction = self.power(isa, refined, direction);
        }
        let direction = add_decay(isa, direction, self.decoupled_weight_decay, x);
        let learning_rate = V::splat(isa, self.learning_rate);
        for (x, direction) in x.iter_mut().zip(direction) {
            *x = x.sub(learning_rate.mul(direction));
        }
        x
    }

    #[inline(always)]
    fn power<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        refined: usize,
        mut values: [V; N],
    ) -> [V; N] {
        match self.power {
            Power::Zero => {
                let (up, one) = (V::splat(isa, T::UP), V::splat(isa, T::ONE));
                for v in &mut values {
                    *v = v.mul(up).mul(up).clamp_magnitude(one);
                }
            }
            Power::Quarter => {
                for (i, v) in values.iter_mut().enumerate() {
                    let root = Root::of(i, refined);
                    *v = root.signed_sqrt(root.signed_sqrt(*v));
                }
            }
            Power::Half => {
                for (i, v) in values.iter_mut().enumerate() {
                    *v = Root::of(i, refined).signed_sqrt(*v);
                }
            }
            Power::ThreeQuarters => {
                for (i, v) in values.iter_mut().enumerate() {
                    let root = Root::of(i, refined);
                    let s = root.signed_sqrt(*v);
                    *v = s.mul(root.signed_sqrt(s).abs());
                }
            }
            Power::One => {}
            Power::Smoothed { epsilon } => {
                let epsilon = V::splat(isa, epsilon);
                for (i, v) in values.iter_mut().enumerate() {
                    *v = v.div(Root::of(i, refined).signed_sqrt(v.abs().add(epsilon)));
                }
            }
        }
        values
    }
}

/// `d + (decay * x)`, left out where there is none: 0 * ∞ is NaN.
#[inline(always)]
fn add_decay<T: Element, V: Vector<T>, const N: usize>(
    isa: V::Isa,
    mut d: [V; N],
    decay: T,
    x: [V; N],
) -> [V; N] {
    if decay != T::default() {
        let decay = V::splat(isa, decay);
        for (d, x) in d.iter_mut().zip(x) {
            *d = d.add(decay.mul(x));
        }
    }
    d
}

/// The momentum of some elements, in its format.
#[derive(Debug)]
pub enum MomentumMut<'a, T> {
    /// The rule has none.
    None,
    Full(&'a mut [T]),
    Lean(LeanMut<'a>),
}

/// Momentum in a smaller type, which is unpacked for the step and packed again.
#[derive(Debug)]
pub enum LeanMut<'a> {
    #[cfg(feature = "half")]
    Bf16(&'a mut [half::bf16]),
    /// With the scale of each block of [`INT8_BLOCK`].
    Int8 { codes: &'a mut [i8], scales: &'a mut [f32] },
}

/// The elements that share a scale.
pub(crate) const INT8_BLOCK: usize = 128;

/// Elements of lean momentum that are unpacked at a time: few enough to stay in L1, many enough that
/// the call of the step costs nothing.
const UNPACKED: usize = 8 * INT8_BLOCK;

/// The step on some elements of a tensor.
#[derive(Debug)]
pub struct StepPart<'a, T> {
    pub(crate) step: Step<T>,
    pub(crate) parameters: &'a mut [T],
    /// As many.
    pub(crate) gradient: &'a [T],
    /// As many.
    pub(crate) momentum: MomentumMut<'a, T>,
    pub(crate) place: Place,
}

impl<T: Element> Part for StepPart<'_, T> {
    fn bytes(&self) -> usize {
        size_of_val(self.parameters)
    }

    /// Each enters the instruction set by itself, in the one function that this crate holds for its
    /// element type: within the caller's, all that the step can do would be compiled for every type of
    /// tensor that anyone has.
    fn run_all(level: Level, parts: impl Iterator<Item = Self>) {
        for part in parts {
            T::run_step(level, part);
        }
    }
}

impl<T: Element> Kernel for StepPart<'_, T> {
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        let Self { step: operation, parameters, gradient, momentum, place } = self;
        let inputs = [gradient];
        match momentum {
            MomentumMut::None => {
                Update { operation, outputs: [parameters], inputs, place }.call(isa);
            }
            MomentumMut::Full(momentum) => {
                Update { operation, outputs: [parameters, momentum], inputs, place }.call(isa);
            }
            MomentumMut::Lean(mut momentum) => {
                let mut unpacked = [T::default(); UNPACKED];
                let gradients = gradient.chunks(UNPACKED);
                for (parameters, gradient) in parameters.chunks_mut(UNPACKED).zip(gradients) {
                    let full = &mut unpacked[..parameters.len()];
                    let mut lean = momentum.split_off(full.len());
                    lean.unpack(full);
                    let (outputs, inputs) = ([parameters, &mut *full], [gradient]);
                    // A call, so that the step is there once.
                    isa.run(Update { operation, outputs, inputs, place });
                    lean.pack(full);
                }
            }
        }
    }
}

impl<T: Element> StepPart<'_, T> {
    /// The same step in parts that a thread takes at a time.
    pub(crate) fn chunks(mut self) -> impl Iterator<Item = Self> + Send {
        let length = CHUNK_BYTES / size_of::<T>();
        const { assert!((CHUNK_BYTES / size_of::<T>()).is_multiple_of(INT8_BLOCK)) };
        iter::from_fn(move || {
            let length = length.min(self.parameters.len());
            (length > 0).then(|| self.split_off(length))
        })
    }

    /// Takes the first `length` elements away: whole blocks, or all.
    fn split_off(&mut self, length: usize) -> Self {
        let momentum = match &mut self.momentum {
            MomentumMut::None => MomentumMut::None,
            MomentumMut::Full(momentum) => MomentumMut::Full(take_front(momentum, length)),
            MomentumMut::Lean(momentum) => MomentumMut::Lean(momentum.split_off(length)),
        };
        let (gradient, rest) = self.gradient.split_at(length);
        self.gradient = rest;
        let Self { step, place, .. } = *self;
        Self {
            step,
            parameters: take_front(&mut self.parameters, length),
            gradient,
            momentum,
            place,
        }
    }
}

impl<'a> LeanMut<'a> {
    /// Takes the first `length` elements away: whole blocks, or all.
    #[inline(always)]
    fn split_off(&mut self, length: usize) -> LeanMut<'a> {
        match self {
            #[cfg(feature = "half")]
            Self::Bf16(values) => LeanMut::Bf16(take_front(values, length)),
            Self::Int8 { codes, scales } => LeanMut::Int8 {
                codes: take_front(codes, length),
                scales: take_front(scales, length.div_ceil(INT8_BLOCK)),
            },
        }
    }

    /// Writes the momentum to `full`, which is as long.
    #[inline(always)]
    fn unpack<T: Element>(&self, full: &mut [T]) {
        match self {
            #[cfg(feature = "half")]
            Self::Bf16(values) => {
                for (full, value) in full.iter_mut().zip(values.iter()) {
                    *full = T::from_f32(value.to_f32());
                }
            }
            Self::Int8 { codes, scales } => {
                let blocks = codes.chunks(INT8_BLOCK).zip(scales.iter());
                for (full, (codes, scale)) in full.chunks_mut(INT8_BLOCK).zip(blocks) {
                    let unit = scale / 127.0;
                    for (full, &code) in full.iter_mut().zip(codes) {
                        *full = T::from_f32(f32::from(code) * unit);
                    }
                }
            }
        }
    }

    /// Takes the momentum from `full`, which is as long.
    #[inline(always)]
    fn pack<T: Element>(&mut self, full: &[T]) {
        match self {
            #[cfg(feature = "half")]
            Self::Bf16(values) => {
                for (value, full) in values.iter_mut().zip(full) {
                    *value = half::bf16::from_f32(full.to_f32());
                }
            }
            Self::Int8 { codes, scales } => {
                let blocks = codes.chunks_mut(INT8_BLOCK).zip(scales.iter_mut());
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

//! **The specification**: every operation of this crate as a scalar one-liner.
//!
//! The slice operations return these bits, on every instruction set, at every length, offset and
//! alignment, in place and out of place, for any number of threads. The tests take this file as
//! their oracle, and it is written to be read.
//!
//! # Rounding
//!
//! `f32` and `f64` are the binary32 and binary64 formats of IEEE 754-2019, and each of `+`, `-`,
//! `*` and `sqrt` below is the operation of that standard, rounded once, to nearest, ties to even.
//! No multiplication is ever fused with an addition. Subnormal numbers are kept as they are, on
//! input and on output.
//!
//! # Special values
//!
//! | `g` | `signed_sqrt(g)` |
//! |---|---|
//! | ±0 | ±0, the sign kept |
//! | ±∞ | ±∞ |
//! | NaN | NaN; its sign and payload are not specified |
//!
//! In `axpy` and `descend` special values follow from the standard's rules for each operation; as
//! above, a NaN result is a NaN of unspecified sign and payload. There are no shortcuts:
//! `axpy(0, NaN, y)` is NaN.
//!
//! # Formats of 16 bits
//!
//! `bf16` and `f16` are computed in `f32`: read exactly ([`from_bf16`], [`from_f16`]), computed as below, and
//! rounded to the nearest ([`bf16()`], [`f16()`]). So a step on parameters in bf16 is
//! `bf16(descend(from_bf16(x), from_bf16(g), learning_rate))`. An optimizer's parameters can be stored in other
//! ways: [`stochastic_bf16`], [`split16`] and what stands next to them.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "formats are made of parts of bits"
)]

use crate::element::Element;
use crate::float::Float;
use crate::inspection::Inspection;
use crate::step::{Power, PowerOf, Step};

/// The sign-preserving square root, `copysign(sqrt(|g|), g)`: one rounding.
///
/// It is the continuous extension of the normalisation `g / sqrt(|g|)`: equal to it in exact
/// arithmetic wherever that quotient is defined, and defined at ±0 and ±∞ too, where the quotient
/// is NaN.
///
/// Source: the Powerball function `sign(g)*|g|^p` of Yuan, Li, Li and Smola, *On the Powerball
/// Method* (arXiv 1603.07421), at `p = 1/2`; the signed square root of Perronnin, Sánchez and
/// Mensink, *Improving the Fisher Kernel for Large-Scale Image Classification* (ECCV 2010).
///
/// ```
/// use rootstep::reference::signed_sqrt;
///
/// assert_eq!(signed_sqrt(9.0_f32), 3.0);
/// assert_eq!(signed_sqrt(-0.25_f64), -0.5);
/// assert_eq!(signed_sqrt(-0.0_f64).to_bits(), (-0.0_f64).to_bits());
/// assert_eq!(signed_sqrt(f32::NEG_INFINITY), f32::NEG_INFINITY);
/// ```
#[inline]
#[must_use]
pub fn signed_sqrt<T: Float>(g: T) -> T {
    g.abs().sqrt().copysign(g)
}

/// `y + (a * x)`: two roundings, never a fused multiply-add.
///
/// Source: `?axpy` of Lawson, Hanson, Kincaid and Krogh, *Basic Linear Algebra Subprograms for
/// Fortran Usage* (1979), with the rounding that it leaves open fixed.
///
/// ```
/// use rootstep::reference::axpy;
///
/// assert_eq!(axpy(2.0_f32, 3.0, 1.0), 7.0);
/// // The product is rounded before the sum: 0.1 * 10.0 rounds to 1, and a fused form would not.
/// assert_eq!(axpy(0.1_f64, 10.0, -1.0), 0.0);
/// assert_ne!(0.1_f64.mul_add(10.0, -1.0), 0.0);
/// ```
#[inline]
#[must_use]
pub fn axpy<T: Float>(a: T, x: T, y: T) -> T {
    y + (a * x)
}

/// One step of descent, `x - (learning_rate * signed_sqrt(g))`: three roundings.
///
/// Source: the Powerball gradient method at `p = 1/2` (arXiv 1603.07421); pbSGD of Zhou, Liu,
/// Yuan et al., *pbSGD: Powered Stochastic Gradient Descent Methods for Accelerated Non-Convex
/// Optimization* (IJCAI 2020).
///
/// ```
/// use rootstep::reference::descend;
///
/// assert_eq!(descend(1.0_f32, 4.0, 0.25), 0.5);
/// assert_eq!(descend(1.0_f64, -4.0, 0.25), 1.5);
/// ```
#[inline]
#[must_use]
pub fn descend<T: Float>(x: T, g: T, learning_rate: T) -> T {
    x - (learning_rate * signed_sqrt(g))
}

/// The sign-preserving power of the optimizer's rules, `sign(v)*|v|^p`.
///
/// | `power` | value | roundings |
/// |---|---|---|
/// | `Zero` | `v` if it is ±0 or NaN, else `copysign(1, v)` | none |
/// | `Quarter` | `signed_sqrt(signed_sqrt(v))` | two |
/// | `Half` | `signed_sqrt(v)` | one |
/// | `ThreeQuarters` | `s * sqrt(abs(s))` with `s = signed_sqrt(v)` | three |
/// | `One` | `v` | none |
/// | `Smoothed` | `v / sqrt(abs(v) + epsilon)`; NaN at ±∞ | three |
///
/// Source: the Powerball function, as for [`signed_sqrt`]; `Zero` is signSGD of Bernstein, Wang,
/// Azizzadenesheli and Anandkumar (ICML 2018); `Smoothed` is the step of Luo et al., *Stacey:
/// Promoting Stochastic Steepest Descent via Accelerated ℓp-Smooth Nonconvex Optimization* (ICML
/// 2025), at p = 3.
///
/// ```
/// use rootstep::optimizer::Power;
/// use rootstep::reference::power;
///
/// assert_eq!(power(Power::Zero, -16.0_f32), -1.0);
/// assert_eq!(power(Power::Quarter, -16.0_f32), -2.0);
/// assert_eq!(power(Power::Half, -16.0_f32), -4.0);
/// assert_eq!(power(Power::ThreeQuarters, -16.0_f32), -8.0);
/// assert_eq!(power(Power::One, -16.0_f32), -16.0);
/// assert_eq!(power(Power::Smoothed { epsilon: 9.0 }, -16.0_f32), -16.0 / 5.0);
/// ```
#[inline]
#[must_use]
pub fn power<T: Float>(power: Power<T>, v: T) -> T {
    match power {
        Power::Zero if v.abs() > T::default() => T::ONE.copysign(v),
        Power::Zero | Power::One => v,
        Power::Quarter => signed_sqrt(signed_sqrt(v)),
        Power::Half => signed_sqrt(v),
        Power::ThreeQuarters => {
            let s = signed_sqrt(v);
            s * s.abs().sqrt()
        }
        Power::Smoothed { epsilon } => v / (v.abs() + epsilon).sqrt(),
    }
}

/// The sum of `values` in the order of a binary tree over their numbers: the sum of the left half plus that of the right
/// one, each taken in the same way; the left half is the largest power of two below their number. 0 for none. Each
/// addition is rounded once.
///
/// So a sum of values that are in several hands does not depend on whose they are: whoever has a whole half adds it up.
/// The gradients of micro-batches are added up like this ([`sums`](crate::sums)).
///
/// Source: pairwise summation, Higham, *The Accuracy of Floating Point Summation* (SIAM Journal on Scientific Computing
/// 14, 1993), whose error grows with the logarithm of the number.
///
/// ```
/// use rootstep::reference::sum;
///
/// assert_eq!(sum(&[0.1, 0.2, 0.3, 0.4, 0.5]), ((0.1 + 0.2) + (0.3 + 0.4)) + 0.5);
/// assert_eq!(sum(&[0.1, 0.2, 0.3]), (0.1 + 0.2) + 0.3);
/// ```
#[must_use]
pub fn sum<T: Float>(values: &[T]) -> T {
    match values {
        [] => T::default(),
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
            sum(left) + sum(right)
        }
    }
}

/// The same sum with the value of each node of the tree rounded to the nearest [`bf16`], each of `values` first.
///
/// ```
/// use rootstep::reference::{bf16, from_bf16, sum_in_bf16};
///
/// let nearest = |x| from_bf16(bf16(x));
/// let expected = nearest(nearest(nearest(0.1) + nearest(0.2)) + nearest(0.3));
/// assert_eq!(sum_in_bf16(&[0.1, 0.2, 0.3]), expected);
/// ```
#[must_use]
pub fn sum_in_bf16(values: &[f32]) -> f32 {
    let exact = match values {
        [] => 0.0,
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
            sum_in_bf16(left) + sum_in_bf16(right)
        }
    };
    from_bf16(bf16(exact))
}

/// The sum of `values` from the left to the right: `((a + b) + c) + ..`, each addition rounded once; 0 for none, and one
/// value is its own sum.
///
/// The gradients of a row that is there several times in a batch are added up like this, in the order that they stand
/// in ([`RowsStep`](crate::optimizer::RowsStep)).
///
/// ```
/// assert_eq!(rootstep::reference::sum_left_to_right(&[1.0, 1e-16, 1e-16]), 1.0);
/// ```
#[must_use]
pub fn sum_left_to_right<T: Float>(values: &[T]) -> T {
    values.iter().copied().reduce(|sum, value| sum + value).unwrap_or_default()
}

/// One step of an optimizer: the new parameter and the new momentum, from the parameter `x`, the
/// momentum `m` and the gradient `g`. Each operation is rounded once.
///
/// ```text
/// g = gradient_factor * g
/// g = copysign(clip_value, g)       if abs(g) > clip_value
/// d = power(g)                      if the power is that of the gradient, else g
/// d = d + (weight_decay * x)        if weight_decay is not 0
/// m = (momentum * m) + (one_minus_dampening * d)  if momentum is not 0
/// u = m, or with Nesterov d + (momentum * m); without momentum d
/// u = power(u)                      if the power is that of the momentum
/// u = u + (decoupled_weight_decay * x)  if decoupled_weight_decay is not 0
/// x = x - (learning_rate * u)
/// ```
///
/// In the first step `m` counts as -0, whatever it is, and `one_minus_dampening` is 1, so that the first
/// momentum is `d` itself, its sign of zero included.
///
/// Source: with [`Power::One`] the steps of SGD as PyTorch's `torch.optim.SGD` orders them; with the
/// power of the gradient pbSGD and pbSGDM (see [`descend`]); with the power of the momentum
/// PowerStep of Lu, Fan, Zhang and Tian, *PowerStep: Memory-Efficient Adaptive Optimization via
/// ℓp-Norm Steepest Descent* (arXiv 2605.10335).
///
/// ```
/// use rootstep::optimizer::{Rule, Step};
/// use rootstep::reference::step;
///
/// # fn main() -> Result<(), rootstep::Error> {
/// let rule = Rule::powerstep(0.5).with_momentum(0.5);
/// let (x, m) = step(&Step::first(&rule)?, 10.0_f32, 0.0, 16.0);
/// assert_eq!((x, m), (8.0, 16.0)); // 10 - 0.5·√16
/// assert_eq!(step(&Step::later(&rule)?, x, m, 8.0), (6.0, 16.0)); // 8 - 0.5·√(0.5·16 + 8)
/// # Ok(())
/// # }
/// ```
#[inline]
#[must_use]
pub fn step<T: Float>(step: &Step<T>, x: T, m: T, g: T) -> (T, T) {
    let zero = T::default();
    let g = step.gradient_factor * g;
    let g = if g.abs() > step.clip_value { step.clip_value.copysign(g) } else { g };
    let direction = if step.power_of == PowerOf::Gradient { power(step.power, g) } else { g };
    let direction =
        if step.weight_decay == zero { direction } else { direction + (step.weight_decay * x) };
    let (m, u) = if step.momentum == zero {
        (m, direction)
    } else {
        let m = if step.first { -zero } else { m };
        let m = (step.momentum * m) + (step.one_minus_dampening * direction);
        (m, if step.nesterov { direction + (step.momentum * m) } else { m })
    };
    let u = if step.power_of == PowerOf::Momentum { power(step.power, u) } else { u };
    let decay = step.decoupled_weight_decay;
    let u = if decay == zero { u } else { u + (decay * x) };
    (x - (step.learning_rate * u), m)
}

/// Momentum as bf16: to the nearest, ties to even; f64 is rounded to f32 first.
///
/// ```
/// assert_eq!(rootstep::reference::bf16_momentum(1.0 + 1.0_f32 / 128.0 + 1.0 / 256.0), 1.015625);
/// ```
#[inline]
#[must_use]
pub fn bf16_momentum<T: Float>(m: T) -> T {
    let m = m.to_f32();
    if m.is_nan() {
        return T::NAN;
    }
    let bits = m.to_bits();
    let nearest = bits + 0x7fff + ((bits >> 16) & 1);
    T::from_f32(f32::from_bits(nearest & 0xffff_0000))
}

/// Momentum as int8: what is left of a block of at most 128 elements. f64 is rounded to f32 first,
/// and all arithmetic is that of f32, each operation rounded once.
///
/// The scale `s` of the block is its largest magnitude. An element is stored as the integer nearest to
/// `m * (127 / (s + 1e-12))`, ties to even, and read as that integer times `s / 127`. If an element is
/// NaN or infinite, all of the block become NaN.
///
/// Source: the published code of PowerStep (see [`step`]), for blocks of 128.
///
/// ```
/// let mut block = [127.0_f32, -1.4, 0.5];
/// rootstep::reference::int8_momentum(&mut block);
/// assert_eq!(block, [127.0, -1.0, 0.0]);
/// ```
#[allow(clippy::cast_possible_truncation, reason = "at most 127, or NaN, which becomes 0")]
pub fn int8_momentum<T: Float>(block: &mut [T]) {
    let nan_or_larger = |a: f32, b: f32| if a.is_nan() || a > b { a } else { b };
    let scale = block.iter().map(|m| m.to_f32().abs()).fold(0.0, nan_or_larger);
    let factor = 127.0 / (scale + 1e-12);
    for m in block {
        // Infinity times the factor zero is NaN, stored as 0; its scale makes it NaN again.
        let code = (m.to_f32() * factor).round_ties_even() as i8;
        *m = T::from_f32(f32::from(code) * (scale / 127.0));
    }
}

/// The bf16 nearest to a number, ties to even, by its bits. Too large becomes infinite, NaN a quiet NaN.
///
/// bf16 is the upper half of an f32.
///
/// ```
/// use rootstep::reference::{bf16, from_bf16};
///
/// assert_eq!(bf16(1.0 + 3.0 / 256.0), 0x3f82); // A tie: 1 + 2/128 is the even one.
/// assert_eq!(from_bf16(0x3f82), 1.0 + 2.0 / 128.0);
/// ```
#[inline]
#[must_use]
pub const fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() { quiet_nan(bits) } else { upper_half(bits + 0x7fff + (bits >> 16 & 1)) }
}

/// The number of a bf16: exact.
#[inline]
#[must_use]
pub const fn from_bf16(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

const fn quiet_nan(bits: u32) -> u16 {
    upper_half(bits | 0x0040_0000)
}

const fn upper_half(bits: u32) -> u16 {
    (bits >> 16) as u16
}

/// The f16 (binary16 of IEEE 754-2019) nearest to a number, ties to even, by its bits. Too large, from 65,520 on,
/// becomes infinite, NaN a quiet NaN; subnormal numbers are rounded as any others.
///
/// ```
/// use rootstep::reference::{f16, from_f16};
///
/// assert_eq!([1.0, 65_519.0, -65_520.0].map(f16), [0x3c00, 0x7bff, 0xfc00]);
/// assert_eq!(from_f16(0x0001), 2_f32.powi(-24));
/// ```
#[must_use]
pub fn f16(x: f32) -> u16 {
    f16_by(x, f64::round_ties_even)
}

/// The number of an f16: exact.
#[must_use]
pub fn from_f16(bits: u16) -> f32 {
    let (exponent, fraction) = (bits >> 10 & 0x1f, f32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * power_of_two(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1024.0 + fraction) * power_of_two(i32::from(exponent) - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// The f16 of a number whose magnitude, in units of the last place, is rounded by `round`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2048 units")]
fn f16_by(x: f32, round: impl Fn(f64) -> f64) -> u16 {
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    if x.is_nan() {
        return sign | 0x7e00;
    }
    // The exponent of the number, but no less than that of the smallest normal f16.
    let exponent = ((x.to_bits() >> 23 & 0xff) as i32 - 127).max(-14);
    if exponent > 15 {
        return sign | 0x7c00;
    }
    let units = round(f64::from(x.abs()) / f64::from(power_of_two(exponent - 10))) as u16;
    // A normal number has 1024 units or more; 2048 are the next exponent's 1024, or infinite.
    sign | ((exponent + 14) as u16 * 1024 + units)
}

fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}

/// The draw of an element, a number below 2^16: stochastic rounding has one for each element of each tensor at
/// each step.
///
/// It is a half of a word of Philox4x32 with 7 rounds, whose key is the `seed` (the lower word first). The counter
/// has the words `c` modulo 2^32, `c / 2^32` modulo 2^16 with bits 32 to 47 of the `step` above them, `tensor`,
/// and the `step` modulo 2^32, where `c = index / 128 * 16 + index % 32 / 2`. The draw is in word
/// `index % 128 / 32` of the output: its lower half if the index is even, else its upper one.
///
/// Source: Salmon, Moraes, Dror and Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3* (SC 2011). With 7 rounds
/// or more Philox4x32 passes all of `TestU01`'s `BigCrush` (their table 2).
///
/// ```
/// let draws: Vec<u16> = (0..4).map(|index| rootstep::reference::draw(7, 0, 0, index)).collect();
/// assert_eq!(draws, [32199, 21806, 19259, 23172]);
/// ```
#[must_use]
pub const fn draw(seed: u64, step: u64, tensor: u32, index: u64) -> u16 {
    let c = index / 128 * 16 + index % 32 / 2;
    let upper = (c >> 32) as u32 & 0xffff | (step >> 16) as u32 & 0xffff_0000;
    let words =
        philox4x32([c as u32, upper, tensor, step as u32], [seed as u32, (seed >> 32) as u32]);
    let word = words[(index % 128 / 32) as usize];
    (if index.is_multiple_of(2) { word } else { word >> 16 }) as u16
}

/// Philox4x32 with 7 rounds.
const fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < 7 {
        let a = 0xd251_1f53 * counter[0] as u64;
        let b = 0xcd9e_8d57 * counter[2] as u64;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        round += 1;
    }
    counter
}

/// One of the two bf16 next to a number, by its bits: the one away from 0 if `floor(2^16 * d) + draw` is 2^16 or
/// more, where `d` is the distance from the one towards 0, in units of the last place. So for draws that are
/// uniform below 2^16 the mean is the number itself. A number of bf16 stays what it is; NaN becomes a quiet NaN;
/// beyond the largest number, 2^128 counts as the next one, and is infinite.
///
/// ```
/// use rootstep::reference::{from_bf16, stochastic_bf16};
///
/// let x = 1.0 + 0.25 / 128.0;
/// let up = (0..=u16::MAX).filter(|&draw| from_bf16(stochastic_bf16(x, draw)) > 1.0).count();
/// assert_eq!(up, 65_536 / 4);
/// ```
#[inline]
#[must_use]
pub const fn stochastic_bf16(x: f32, draw: u16) -> u16 {
    if x.is_nan() { quiet_nan(x.to_bits()) } else { upper_half(x.to_bits() + draw as u32) }
}

/// One of the two f16 next to a number, by its bits, as for [`stochastic_bf16`]; beyond the largest number, 65,536
/// counts as the next one. For numbers below 2^-14 the mean is the number to within 2^-40, since `2^16 * d` is
/// rounded down; for all others it is the number itself.
///
/// ```
/// use rootstep::reference::{from_f16, stochastic_f16};
///
/// let x = 1.0 + 0.25 / 1024.0;
/// let up = (0..=u16::MAX).filter(|&draw| from_f16(stochastic_f16(x, draw)) > 1.0).count();
/// assert_eq!(up, 65_536 / 4);
/// ```
#[must_use]
pub fn stochastic_f16(x: f32, draw: u16) -> u16 {
    f16_by(x, |units| {
        let distance = ((units - units.floor()) * 65_536.0).floor();
        if distance + f64::from(draw) >= 65_536.0 { units.floor() + 1.0 } else { units.floor() }
    })
}

/// An f32 as a bf16 and 16 bits more: `high = (bits + 0x8000) >> 16` and `low = bits & 0xffff`, an integer with a
/// sign. `high` is the nearest bf16, ties away from 0. Nothing is lost, but that all NaN become one.
///
/// ```
/// use rootstep::reference::{join16, split16};
///
/// let (high, low) = split16(0.1);
/// assert_eq!((high, low), (0x3dcd, -0x3333));
/// assert_eq!(join16(high, low), 0.1);
/// ```
#[inline]
#[must_use]
pub const fn split16(x: f32) -> (u16, i16) {
    let bits = canonical(x);
    (upper_half(bits + 0x8000), bits as u16 as i16)
}

/// The number of [`split16`]: `bits = (high << 16) + low`.
#[inline]
#[must_use]
pub const fn join16(high: u16, low: i16) -> f32 {
    f32::from_bits(((high as u32) << 16).wrapping_add_signed(low as i32))
}

/// An f32 as a bf16 and 8 bits more: `bits` are rounded to their upper 24, ties to even, which are split as in
/// [`split16`]: `high = (upper + 0x80) >> 8` and `low = upper & 0xff`, an integer with a sign.
///
/// Source: the weights of `FlashOptim` (arXiv 2602.23349) have 24 bits, too: a bf16 and 8 bits of what it left out.
///
/// ```
/// use rootstep::reference::{join8, split8};
///
/// let (high, low) = split8(0.1);
/// assert_eq!((high, low), (0x3dcd, -0x33));
/// assert!((join8(high, low) / 0.1 - 1.0).abs() < 1.0 / 65_536.0);
/// ```
#[inline]
#[must_use]
pub const fn split8(x: f32) -> (u16, i8) {
    let bits = canonical(x);
    let upper = (bits + 0x7f + (bits >> 8 & 1)) >> 8;
    (((upper + 0x80) >> 8) as u16, upper as u8 as i8)
}

/// The number of [`split8`]: `upper = (high << 8) + low`, and 8 bits of 0 below.
#[inline]
#[must_use]
pub const fn join8(high: u16, low: i8) -> f32 {
    f32::from_bits(((high as u32) << 8).wrapping_add_signed(low as i32) << 8)
}

/// The bits of a number; those of one NaN for all.
const fn canonical(x: f32) -> u32 {
    if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }
}

/// The health of gradients: counts, the largest magnitude, and the L2 norm
/// `sqrt(sum((s * x)^2)) / s`, in f64, each operation rounded once.
///
/// The order of the sum is fixed. Each gradient is cut into blocks of 32,768 elements, the last one
/// shorter. Within a block there are 16 running sums: element `i` is added to sum `i % 16`. These are
/// added in pairs, `k` and `k + 8` first, then `k` and `k + 4`, and so on; and the sums of the blocks
/// one after the other.
///
/// The scale `s` is 1 if the largest magnitude `m` is 0, in [2^-480, 2^480], or not finite, or if an
/// element is NaN; else 2^-e, where e is the exponent field of `m` less 1023, or -1000 or 1000 if it
/// is beyond. So no square overflows, and none that matters underflows.
///
/// ```
/// use rootstep::reference::inspect;
///
/// let health = inspect(&[&[3e200_f64, 0.0], &[-4e200]]);
/// assert!((health.norm / 5e200 - 1.0).abs() < 1e-15);
/// assert_eq!((health.max_magnitude, health.zero), (4e200, 1));
/// ```
#[must_use]
pub fn inspect<T: Element>(gradients: &[&[T]]) -> Inspection {
    let mut found = Inspection::default();
    for (tensor, gradient) in gradients.iter().enumerate() {
        for (index, value) in gradient.iter().map(|value| value.widen().to_f64()).enumerate() {
            found.elements += 1;
            found.nan += u64::from(value.is_nan());
            found.infinite += u64::from(value.is_infinite());
            found.zero += u64::from(value == 0.0);
            let normal = value.abs() >= T::SMALLEST_NORMAL.to_f64();
            found.subnormal += u64::from(value.abs() > 0.0 && !normal);
            found.max_magnitude = found.max_magnitude.max(value.abs()); // NaN is left out.
            if !value.is_finite() && found.first_non_finite.is_none() {
                found.first_non_finite = Some((tensor, index));
            }
        }
    }
    let scale = found.scale();
    let mut squares = 0.0;
    for block in gradients.iter().flat_map(|gradient| gradient.chunks(32_768)) {
        let mut sums = [0.0; 16];
        for (i, value) in block.iter().enumerate() {
            let scaled = value.widen().to_f64() * scale;
            sums[i % 16] += scaled * scaled;
        }
        for width in [8, 4, 2, 1] {
            for k in 0..width {
                sums[k] += sums[k + width];
            }
        }
        squares += sums[0];
    }
    found.norm = squares.sqrt() / scale;
    found
}

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
pub fn inspect<T: Float>(gradients: &[&[T]]) -> Inspection {
    let mut found = Inspection::default();
    for (tensor, gradient) in gradients.iter().enumerate() {
        for (index, value) in gradient.iter().map(|value| value.to_f64()).enumerate() {
            found.elements += 1;
            found.nan += u64::from(value.is_nan());
            found.infinite += u64::from(value.is_infinite());
            found.zero += u64::from(value == 0.0);
            let normal = value.abs() >= T::MIN_POSITIVE.to_f64();
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
            let scaled = value.to_f64() * scale;
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

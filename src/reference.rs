//! **The specification**: every operation of this crate as a scalar one-liner.
//!
//! The slice operations return these bits, on every instruction set, at every length, offset and
//! alignment, in place and out of place, for any number of threads. All tests take this file as
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

use crate::{Element, Inspection};

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
pub fn signed_sqrt<T: Element>(g: T) -> T {
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
pub fn axpy<T: Element>(a: T, x: T, y: T) -> T {
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
pub fn descend<T: Element>(x: T, g: T, learning_rate: T) -> T {
    x - (learning_rate * signed_sqrt(g))
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
        for (index, value) in gradient.iter().map(|value| value.to_f64()).enumerate() {
            found.elements += 1;
            found.nan += u64::from(value.is_nan());
            found.infinite += u64::from(value.is_infinite());
            found.zero += u64::from(value == 0.0);
            let smallest = T::from_bits(T::MIN_POSITIVE_BITS).to_f64();
            found.subnormal += u64::from(value != 0.0 && value.abs() < smallest);
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

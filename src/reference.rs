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

use crate::Element;

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

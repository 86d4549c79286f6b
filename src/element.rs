//! The element types, f32 and f64, and the register that holds each.

use crate::simd::{Simd, Vector};

/// A floating-point type that the operations work on: `f32` or `f64`.
///
/// The trait is sealed: the contract is proven for these two types.
///
/// ```
/// fn halve<T: rootstep::Element>(half: T, values: &mut [T]) {
///     let copy = values.to_vec();
///     rootstep::axpy(half, &copy, values);
/// }
/// let mut values = [2.0_f32, -4.0];
/// halve(-0.5, &mut values);
/// assert_eq!(values, [1.0, -2.0]);
/// ```
pub trait Element: Sealed {}

impl Element for f32 {}
impl Element for f64 {}

/// What the specification and the kernels need of an element.
pub trait Sealed:
    Copy
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + std::fmt::Debug
    + std::fmt::Display
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + 'static
{
    /// The register of the instruction set `S` that holds this type.
    type Vector<S: Simd>: Vector<Self, Isa = S>;

    /// The magnitude.
    fn abs(self) -> Self;
    /// The correctly rounded square root.
    fn sqrt(self) -> Self;
    /// The magnitude of `self` with the sign of `sign`.
    fn copysign(self, sign: Self) -> Self;
}

impl Sealed for f32 {
    type Vector<S: Simd> = S::F32;

    #[inline]
    fn abs(self) -> Self {
        self.abs()
    }
    #[inline]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline]
    fn copysign(self, sign: Self) -> Self {
        self.copysign(sign)
    }
}

impl Sealed for f64 {
    type Vector<S: Simd> = S::F64;

    #[inline]
    fn abs(self) -> Self {
        self.abs()
    }
    #[inline]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline]
    fn copysign(self, sign: Self) -> Self {
        self.copysign(sign)
    }
}

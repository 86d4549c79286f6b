//! The element types, f32 and f64, and the register that holds each.

use crate::Level;
use crate::kernels::StepPart;
use crate::simd::{Lanes, Simd, Vector, Widening};

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
    + std::ops::Div<Output = Self>
    + 'static
{
    /// The register of the instruction set `S` that holds this type.
    type Vector<S: Simd>: Vector<Self, Isa = S>;

    /// An unsigned integer of the same size.
    type Bits: Copy + Default + Ord + Send + Sync + From<bool> + Into<u64> + std::ops::AddAssign;
    /// The name of the type.
    const TYPE_NAME: &'static str;
    /// One.
    const ONE: Self;
    /// A power of two that twice in a row makes the smallest subnormal number 1 or more.
    const UP: Self;
    /// The bits of the largest finite number.
    const MAX_BITS: Self::Bits;
    /// The bits of ∞.
    const INFINITY_BITS: Self::Bits;
    /// The bits of the smallest normal number.
    const MIN_POSITIVE_BITS: Self::Bits;

    /// The bits of the representation.
    fn to_bits(self) -> Self::Bits;
    /// The value of this representation.
    fn from_bits(bits: Self::Bits) -> Self;
    /// The same value as f64: exact.
    fn to_f64(self) -> f64;
    /// The nearest value.
    fn nearest(value: f64) -> Self;
    /// The nearest f32.
    fn to_f32(self) -> f32;
    /// The same value: exact.
    fn from_f32(value: f32) -> Self;
    /// What fills a register of f64, once widened.
    type Wide<S: Simd>: Lanes<Self> + 'static;
    /// The same values as f64: exact.
    fn widen<S: Simd>(isa: S, lanes: &Self::Wide<S>) -> S::F64;

    /// Takes the step of an optimizer.
    fn run_step(level: Level, part: StepPart<'_, Self>);

    /// The magnitude.
    fn abs(self) -> Self;
    /// The correctly rounded square root.
    fn sqrt(self) -> Self;
    /// The magnitude of `self` with the sign of `sign`.
    fn copysign(self, sign: Self) -> Self;
}

impl Sealed for f32 {
    type Vector<S: Simd> = S::F32;
    type Bits = u32;
    const TYPE_NAME: &'static str = "f32";
    const ONE: Self = 1.0;
    const UP: Self = Self::from_bits((127 + 75) << 23);
    const MAX_BITS: u32 = Self::MAX.to_bits();
    const INFINITY_BITS: u32 = Self::INFINITY.to_bits();
    const MIN_POSITIVE_BITS: u32 = Self::MIN_POSITIVE.to_bits();

    #[inline]
    fn to_bits(self) -> u32 {
        self.to_bits()
    }
    #[inline]
    fn from_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }
    #[inline]
    fn to_f64(self) -> f64 {
        self.into()
    }
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "rounding is meant")]
    fn nearest(value: f64) -> Self {
        value as Self
    }
    #[inline]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline]
    fn from_f32(value: f32) -> Self {
        value
    }

    type Wide<S: Simd> = <S::F64 as Widening>::Narrow;
    #[inline(always)]
    fn widen<S: Simd>(isa: S, lanes: &Self::Wide<S>) -> S::F64 {
        S::F64::widen(isa, lanes)
    }

    fn run_step(level: Level, part: StepPart<'_, Self>) {
        level.run(part);
    }

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
    type Bits = u64;
    const TYPE_NAME: &'static str = "f64";
    const ONE: Self = 1.0;
    const UP: Self = Self::from_bits((1023 + 537) << 52);
    const MAX_BITS: u64 = Self::MAX.to_bits();
    const INFINITY_BITS: u64 = Self::INFINITY.to_bits();
    const MIN_POSITIVE_BITS: u64 = Self::MIN_POSITIVE.to_bits();

    #[inline]
    fn to_bits(self) -> u64 {
        self.to_bits()
    }
    #[inline]
    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
    #[inline]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline]
    fn nearest(value: f64) -> Self {
        value
    }
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "rounding is meant")]
    fn to_f32(self) -> f32 {
        self as f32
    }
    #[inline]
    fn from_f32(value: f32) -> Self {
        value.into()
    }

    type Wide<S: Simd> = <S::F64 as Vector<f64>>::Lanes;
    #[inline(always)]
    fn widen<S: Simd>(isa: S, lanes: &Self::Wide<S>) -> S::F64 {
        S::F64::load(isa, lanes)
    }

    fn run_step(level: Level, part: StepPart<'_, Self>) {
        level.run(part);
    }

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

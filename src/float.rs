//! What a number type is: its bits, its limits, its arithmetic. The bottom of the crate.

use std::fmt::{Debug, Display, LowerExp};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A binary format of IEEE 754 that results are computed in: `f32` or `f64`.
///
/// Each operation is that of the standard, rounded once, to nearest, ties to even. The trait is
/// sealed: the contract of this crate is proven for these two types.
///
/// ```
/// use rootstep::Float;
///
/// fn ulp<T: Float>(value: T) -> T {
///     T::from_bits(value.to_bits() + 1) - value
/// }
/// assert_eq!(ulp(1.0_f32), f32::EPSILON);
/// assert_eq!(ulp(1.0_f64), f64::EPSILON);
/// ```
pub trait Float:
    Sealed
    + Copy
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + Debug
    + Display
    + LowerExp
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// The name of the type: `f32` or `f64`.
    const NAME: &'static str;
    /// How many bits a number has: 32 or 64.
    const BITS: u32;
    /// 1.
    const ONE: Self;
    /// The smallest positive normal number.
    const MIN_POSITIVE: Self;
    /// The largest finite number.
    const MAX: Self;
    /// +∞.
    const INFINITY: Self;
    /// A NaN.
    const NAN: Self;

    /// The bits of the representation, in the lower [`BITS`](Self::BITS) bits.
    fn to_bits(self) -> u64;
    /// The number with this representation: the lower [`BITS`](Self::BITS) bits.
    fn from_bits(bits: u64) -> Self;
    /// The same number as f64: exact.
    fn to_f64(self) -> f64;
    /// The number nearest to this one, ties to even.
    fn from_f64(value: f64) -> Self;
    /// The f32 nearest to this number, ties to even.
    fn to_f32(self) -> f32;
    /// The same number: exact.
    fn from_f32(value: f32) -> Self;
    /// The magnitude.
    #[must_use]
    fn abs(self) -> Self;
    /// The square root.
    #[must_use]
    fn sqrt(self) -> Self;
    /// The magnitude of `self` with the sign of `sign`.
    #[must_use]
    fn copysign(self, sign: Self) -> Self;
    /// Whether this is NaN.
    fn is_nan(self) -> bool;
    /// Whether this is neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

/// What only this crate implements.
pub trait Sealed: bytemuck::Pod {}

/// What stands in the standard library as methods of each type, gathered into the trait.
macro_rules! float {
    ($float:ident, $bits:ident) => {
        impl Sealed for $float {}

        #[allow(
            clippy::cast_possible_truncation,
            reason = "rounding, or the lower bits, are meant"
        )]
        #[allow(
            clippy::unnecessary_cast,
            clippy::cast_lossless,
            reason = "one of the types needs it"
        )]
        impl Float for $float {
            const NAME: &'static str = stringify!($float);
            const BITS: u32 = $bits::BITS;
            const ONE: Self = 1.0;
            const MIN_POSITIVE: Self = Self::MIN_POSITIVE;
            const MAX: Self = Self::MAX;
            const INFINITY: Self = Self::INFINITY;
            const NAN: Self = Self::NAN;

            #[inline]
            fn to_bits(self) -> u64 {
                self.to_bits() as u64
            }
            #[inline]
            fn from_bits(bits: u64) -> Self {
                Self::from_bits(bits as $bits)
            }
            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline]
            fn from_f64(value: f64) -> Self {
                value as Self
            }
            #[inline]
            fn to_f32(self) -> f32 {
                self as f32
            }
            #[inline]
            fn from_f32(value: f32) -> Self {
                value as Self
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
            #[inline]
            fn is_nan(self) -> bool {
                self.is_nan()
            }
            #[inline]
            fn is_finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}
float!(f32, u32);
float!(f64, u64);

/// A format of numbers in memory that are computed in the wider type `C`.
pub trait Narrow<C>: 'static {
    /// What lies in memory.
    type Memory: Copy;
    /// The same number: exact.
    fn widen(memory: Self::Memory) -> C;
    /// The number nearest to `wide`, ties to even; NaN stays NaN.
    fn narrow(wide: C) -> Self::Memory;
}

impl Narrow<f64> for f32 {
    type Memory = Self;

    #[inline(always)]
    fn widen(memory: Self) -> f64 {
        memory.into()
    }
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "rounding is meant")]
    fn narrow(wide: f64) -> Self {
        wide as Self
    }
}

/// bfloat16, the upper half of an f32: in memory by its bits.
#[derive(Debug, Clone, Copy)]
pub struct Bf16;

/// binary16 of IEEE 754: in memory by its bits.
#[derive(Debug, Clone, Copy)]
pub struct F16;

impl Narrow<f32> for Bf16 {
    type Memory = u16;

    #[inline(always)]
    fn widen(memory: u16) -> f32 {
        f32::from_bits(u32::from(memory) << 16)
    }
    #[inline(always)]
    fn narrow(wide: f32) -> u16 {
        let bits = wide.to_bits();
        let rounded = if wide.is_nan() {
            bits | 0x0040_0000 // Quiet, so that the upper half alone is a NaN too.
        } else {
            bits + 0x7fff + (bits >> 16 & 1)
        };
        let [high, low, ..] = rounded.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// bf16 in rows that take two registers' numbers as one register of words: one register has the numbers of the
/// lower halves, the next those of the upper ones, and no number changes its lane. Since the registers of a row hold
/// other numbers than those of other formats do, all memory of an operation must be in pairs.
#[derive(Debug, Clone, Copy)]
pub struct Bf16Pairs;

impl Narrow<f32> for Bf16Pairs {
    type Memory = u16;

    #[inline(always)]
    fn widen(memory: u16) -> f32 {
        <Bf16 as Narrow<f32>>::widen(memory)
    }
    #[inline(always)]
    fn narrow(wide: f32) -> u16 {
        <Bf16 as Narrow<f32>>::narrow(wide)
    }
}

/// Rounded to f32 first.
impl<H: Narrow<f32>> Narrow<f64> for H {
    type Memory = H::Memory;

    #[inline(always)]
    fn widen(memory: H::Memory) -> f64 {
        <H as Narrow<f32>>::widen(memory).into()
    }
    #[inline(always)]
    fn narrow(wide: f64) -> H::Memory {
        <H as Narrow<f32>>::narrow(<f32 as Narrow<f64>>::narrow(wide))
    }
}

//! The element types by their bits in memory, and their numbers by the conversions of the specification.

use half::{bf16, f16};
use rootstep::{Element, Float, reference};

/// An element type that can be looked at from outside, without a conversion of the library's.
pub trait Layout: Element {
    /// The bits of an element.
    const WIDTH: u32;
    /// Those of the fraction.
    const FRACTION: u32;

    fn bits(self) -> u64;
    /// The element of the lower bits.
    fn of_bits(bits: u64) -> Self;
    /// The number that it is.
    fn read(self) -> Self::Compute;
    /// What is stored of a result.
    fn rounded(result: Self::Compute) -> Self;
}

macro_rules! in_itself {
    ($($number:ident: $fraction:literal),*) => {$(
        impl Layout for $number {
            const WIDTH: u32 = <Self as Float>::BITS;
            const FRACTION: u32 = $fraction;

            fn bits(self) -> u64 {
                Float::to_bits(self)
            }
            fn of_bits(bits: u64) -> Self {
                Float::from_bits(bits)
            }
            fn read(self) -> Self {
                self
            }
            fn rounded(result: Self) -> Self {
                result
            }
        }
    )*};
}
in_itself!(f32: 23, f64: 52);

macro_rules! in_f32 {
    ($($half:ident: $fraction:literal, $read:ident),*) => {$(
        impl Layout for $half {
            const WIDTH: u32 = 16;
            const FRACTION: u32 = $fraction;

            fn bits(self) -> u64 {
                self.to_bits().into()
            }
            #[allow(clippy::cast_possible_truncation, reason = "the lower bits are meant")]
            fn of_bits(bits: u64) -> Self {
                Self::from_bits(bits as u16)
            }
            fn read(self) -> f32 {
                reference::$read(self.to_bits())
            }
            fn rounded(result: f32) -> Self {
                Self::from_bits(reference::$half(result))
            }
        }
    )*};
}
in_f32!(bf16: 7, from_bf16, f16: 10, from_f16);

//! The formats of numbers that arrays and digests can have.

use half::{bf16, f16};
use rootstep::Element;

/// A format of numbers, by `NumPy`'s names for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Float32,
    Float64,
    Float16,
    Bfloat16,
}

/// All of them, as errors list them.
pub const ALLOWED: &str = "float32, float64, float16, bfloat16";

impl Format {
    const ALL: [Self; 4] = [Self::Float32, Self::Float64, Self::Float16, Self::Bfloat16];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
        }
    }

    pub const fn bytes(self) -> usize {
        match self {
            Self::Float16 | Self::Bfloat16 => 2,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// The format of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// The type of the numbers of a format.
pub trait Number: Element {
    const FORMAT: Format;

    /// The number with these bits, those of its width.
    fn of_bits(bits: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! numbers {
    ($($number:ty, $bits:ident, $format:ident);*) => {$(
        impl Number for $number {
            const FORMAT: Format = Format::$format;

            #[allow(clippy::cast_possible_truncation, reason = "of its width")]
            fn of_bits(bits: u64) -> Self {
                Self::from_bits(bits as $bits)
            }
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
        }
    )*};
}
// The inherent functions on bits belong to no trait that the types have in common.
numbers!(f32, u32, Float32; f64, u64, Float64; f16, u16, Float16; bf16, u16, Bfloat16);

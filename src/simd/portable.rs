//! The portable level: `wide`, which picks SSE2, NEON, wasm SIMD or scalars when it is compiled.
//!
//! Its registers have 128 bits, the width that all of those share.

use super::{Kernel, Memory, Simd, Single, Vector, Words, pack_lanes, unpack_lanes};
use crate::float::Narrow;
use wide::{f32x4, f64x2, u32x4};

/// The token of the portable level. Every machine has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Portable;

impl Simd for Portable {
    type F32 = f32x4;
    type F64 = f64x2;

    // Never inlined, as the entries of the other sets cannot be: beside the rest of a call the loops
    // are compiled to more instructions.
    #[inline(never)]
    fn run<K: Kernel>(self, kernel: K) {
        kernel.call(self);
    }
}

/// The registers of `wide` have their methods in common, but no trait.
macro_rules! register {
    ($register:ident of $element:ident, $lanes:literal) => {
        impl Vector for $register {
            type Element = $element;
            type Isa = Portable;
            type Lanes = [$element; $lanes];

            #[inline(always)]
            fn splat(_: Portable, value: $element) -> Self {
                Self::splat(value)
            }
            #[inline(always)]
            fn load(_: Portable, lanes: &Self::Lanes) -> Self {
                Self::new(*lanes)
            }
            #[inline(always)]
            fn store(self, lanes: &mut Self::Lanes) {
                *lanes = self.to_array();
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                self / other
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self & !Self::splat(-0.0)
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                other.simd_gt(self).select(other, self)
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                other.simd_lt(self).select(other, self)
            }
            #[inline(always)]
            fn clamp_magnitude(self, limit: Self) -> Self {
                let sign = self & Self::splat(-0.0);
                (self ^ sign).simd_gt(limit).select(limit | sign, self)
            }
            #[inline(always)]
            fn signed_sqrt(self) -> Self {
                let sign = self & Self::splat(-0.0);
                (self ^ sign).sqrt() | sign
            }
        }

        impl<M: Narrow<$element>> Memory<M> for $register {
            type Packed = [M::Memory; $lanes];

            #[inline(always)]
            fn unpack(isa: Portable, packed: &Self::Packed) -> Self {
                unpack_lanes::<M, _, _, _>(isa, packed)
            }
            #[inline(always)]
            fn pack(self, packed: &mut Self::Packed) {
                pack_lanes::<M, _, _, _>(self, packed);
            }
        }
    };
}
register!(f32x4 of f32, 4);
register!(f64x2 of f64, 2);

impl Single for f32x4 {
    type Words = u32x4;

    #[inline(always)]
    fn to_words(self) -> u32x4 {
        u32x4::new(self.to_array().map(f32::to_bits))
    }
    #[inline(always)]
    fn from_words(words: u32x4) -> Self {
        Self::new(words.to_array().map(f32::from_bits))
    }
    #[inline(always)]
    fn truncate(self) -> u32x4 {
        u32x4::new(self.fast_trunc_int().to_array().map(i32::cast_unsigned))
    }
    #[inline(always)]
    fn unless_nan(self, usual: u32x4, nan: u32x4) -> u32x4 {
        self.simd_ne(self).to_words().select(nan, usual)
    }
    #[inline(always)]
    fn any_nan(self, other: Self) -> bool {
        (self.simd_ne(self) | other.simd_ne(other)).any()
    }
}

impl Words for u32x4 {
    type Isa = Portable;
    type Lanes = [u32; 4];
    type Halves = [u16; 4];
    type Bytes = [u8; 4];

    #[inline(always)]
    fn splat(_: Portable, value: u32) -> Self {
        Self::splat(value)
    }
    #[inline(always)]
    fn load(_: Portable, lanes: &[u32; 4]) -> Self {
        Self::new(*lanes)
    }
    #[inline(always)]
    fn load_halves(_: Portable, lanes: &[u16; 4]) -> Self {
        Self::new(lanes.map(u32::from))
    }
    #[inline(always)]
    fn load_bytes(_: Portable, lanes: &[u8; 4]) -> Self {
        Self::new(lanes.map(u32::from))
    }
    #[inline(always)]
    fn load_pair(_: Portable, lanes: &[[u16; 4]; 2]) -> Self {
        Self::new(bytemuck::cast(*lanes))
    }
    #[inline(always)]
    fn store_pair(self, lanes: &mut [[u16; 4]; 2]) {
        *lanes = bytemuck::cast(self.to_array());
    }
    #[inline(always)]
    fn store_halves(self, lanes: &mut [u16; 4]) {
        *lanes = self.to_array().map(|lane| lane as u16);
    }
    #[inline(always)]
    fn store_bytes(self, lanes: &mut [u8; 4]) {
        *lanes = self.to_array().map(|lane| lane as u8);
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self | other
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self::max(self, other)
    }
    #[inline(always)]
    fn largest(self) -> u32 {
        let [a, b, c, d] = self.to_array();
        a.max(b).max(c.max(d))
    }
    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        self << bits
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        self >> bits
    }
    #[inline(always)]
    fn if_above(self, than: Self, a: Self, b: Self) -> Self {
        self.simd_gt(than).select(a, b)
    }
}

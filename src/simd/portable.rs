//! The portable level: `wide`, which picks SSE2, NEON, wasm SIMD or scalars when it is compiled.
//!
//! Its registers have 128 bits, the width that all of those share.

use super::{Kernel, Simd, Vector, Widening};
use wide::{f32x4, f64x2};

/// The token of the portable level. Every machine has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Portable;

impl Simd for Portable {
    type F32 = f32x4;
    type F64 = f64x2;

    // Never inlined, as the entries of the other sets cannot be: beside the rest of a call the loops
    // were compiled to up to 1.08 times as many instructions, and an axpy in L1 took 1.4 times as long.
    #[inline(never)]
    fn run<K: Kernel>(self, kernel: K) {
        kernel.call(self);
    }
}

impl Vector<f32> for f32x4 {
    type Isa = Portable;
    type Lanes = [f32; 4];

    #[inline(always)]
    fn splat(_: Portable, value: f32) -> Self {
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

impl Vector<f64> for f64x2 {
    type Isa = Portable;
    type Lanes = [f64; 2];

    #[inline(always)]
    fn splat(_: Portable, value: f64) -> Self {
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

impl Widening for f64x2 {
    type Narrow = [f32; 2];

    #[inline(always)]
    fn widen(_: Portable, &[a, b]: &[f32; 2]) -> Self {
        Self::new([a.into(), b.into()])
    }
}

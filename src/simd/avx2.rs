//! AVX2: registers of 256 bits.

use super::{Kernel, Simd, Streaming, Vector};
use std::arch::x86_64::*;

/// The token of AVX2. Its private field makes [`Avx2::detect`] the only way to get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Avx2(());

impl Avx2 {
    /// The token, where the CPU and the operating system support AVX2.
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Simd for Avx2 {
    type F32 = F32x8;
    type F64 = F64x4;

    #[inline]
    fn run<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2")]
        fn enter<K: Kernel>(isa: Avx2, kernel: K) {
            kernel.call(isa);
        }
        // SAFETY: `self` exists only where `detect` found avx2, the one feature that `enter` needs.
        unsafe { enter(self, kernel) }
    }
}

/// Eight f32. Made from an [`Avx2`] token or from another register only.
#[derive(Debug, Clone, Copy)]
pub struct F32x8(__m256);

impl Vector<f32> for F32x8 {
    type Isa = Avx2;
    type Lanes = [f32; 8];

    #[inline(always)]
    fn splat(isa: Avx2, value: f32) -> Self {
        Self::load(isa, &[value; 8])
    }
    #[inline(always)]
    fn load(_: Avx2, lanes: &Self::Lanes) -> Self {
        Self(bytemuck::cast(*lanes))
    }
    #[inline(always)]
    fn store(self, lanes: &mut Self::Lanes) {
        *lanes = bytemuck::cast(self.0);
    }
    #[inline(always)]
    fn stream(self, lanes: &mut Self::Lanes, _: &Streaming) {
        let address = lanes.as_mut_ptr();
        if address.addr() % align_of::<__m256>() != 0 {
            return self.store(lanes);
        }
        // SAFETY: `self` was made from a token, which proves avx; `lanes` has the length of the
        // register and, as just checked, its alignment; the `Streaming` value outlives the write,
        // and orders it before all that follows when it is dropped.
        unsafe { _mm256_stream_ps(address, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn signed_sqrt(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx")]
        fn signed_sqrt(g: __m256) -> __m256 {
            let sign = _mm256_and_ps(g, _mm256_set1_ps(-0.0));
            _mm256_or_ps(_mm256_sqrt_ps(_mm256_xor_ps(g, sign)), sign)
        }
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { signed_sqrt(self.0) })
    }
}

/// Four f64. Made from an [`Avx2`] token or from another register only.
#[derive(Debug, Clone, Copy)]
pub struct F64x4(__m256d);

impl Vector<f64> for F64x4 {
    type Isa = Avx2;
    type Lanes = [f64; 4];

    #[inline(always)]
    fn splat(isa: Avx2, value: f64) -> Self {
        Self::load(isa, &[value; 4])
    }
    #[inline(always)]
    fn load(_: Avx2, lanes: &Self::Lanes) -> Self {
        Self(bytemuck::cast(*lanes))
    }
    #[inline(always)]
    fn store(self, lanes: &mut Self::Lanes) {
        *lanes = bytemuck::cast(self.0);
    }
    #[inline(always)]
    fn stream(self, lanes: &mut Self::Lanes, _: &Streaming) {
        let address = lanes.as_mut_ptr();
        if address.addr() % align_of::<__m256d>() != 0 {
            return self.store(lanes);
        }
        // SAFETY: `self` was made from a token, which proves avx; `lanes` has the length of the
        // register and, as just checked, its alignment; the `Streaming` value outlives the write,
        // and orders it before all that follows when it is dropped.
        unsafe { _mm256_stream_pd(address, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_add_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_sub_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_mul_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn signed_sqrt(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx")]
        fn signed_sqrt(g: __m256d) -> __m256d {
            let sign = _mm256_and_pd(g, _mm256_set1_pd(-0.0));
            _mm256_or_pd(_mm256_sqrt_pd(_mm256_xor_pd(g, sign)), sign)
        }
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { signed_sqrt(self.0) })
    }
}

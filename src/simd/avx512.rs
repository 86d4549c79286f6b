//! AVX-512, its foundation set alone (avx512f): registers of 512 bits.

use super::{Kernel, Simd, Streaming, Vector};
use std::arch::x86_64::*;

/// The token of AVX-512. Its private field makes [`Avx512::detect`] the only way to get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Avx512(());

impl Avx512 {
    /// The token, where the CPU and the operating system support avx512f.
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx512f").then_some(Self(()))
    }
}

impl Simd for Avx512 {
    type F32 = F32x16;
    type F64 = F64x8;

    #[inline]
    fn run<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx512f")]
        fn enter<K: Kernel>(isa: Avx512, kernel: K) {
            kernel.call(isa);
        }
        // SAFETY: `self` exists only where `detect` found avx512f, the one feature that `enter`
        // needs.
        unsafe { enter(self, kernel) }
    }
}

/// `(a & !mask) | (b & mask)`, as the truth table of `vpternlog` over (a, b, mask).
const SELECT_B_BY_MASK: i32 = 0b1101_1000;

/// Sixteen f32. Made from an [`Avx512`] token or from another register only.
#[derive(Debug, Clone, Copy)]
pub struct F32x16(__m512);

impl Vector<f32> for F32x16 {
    type Isa = Avx512;
    type Lanes = [f32; 16];

    #[inline(always)]
    fn splat(isa: Avx512, value: f32) -> Self {
        Self::load(isa, &[value; 16])
    }
    #[inline(always)]
    fn load(_: Avx512, lanes: &Self::Lanes) -> Self {
        Self(bytemuck::cast(*lanes))
    }
    #[inline(always)]
    fn store(self, lanes: &mut Self::Lanes) {
        *lanes = bytemuck::cast(self.0);
    }
    #[inline(always)]
    fn stream(self, lanes: &mut Self::Lanes, _: &Streaming) {
        let address = lanes.as_mut_ptr();
        if address.addr() % align_of::<__m512>() != 0 {
            return self.store(lanes);
        }
        // SAFETY: `self` was made from a token, which proves avx512f; `lanes` has the length of the
        // register and, as just checked, its alignment; the `Streaming` value outlives the write,
        // and orders it before all that follows when it is dropped.
        unsafe { _mm512_stream_ps(address, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn signed_sqrt(self) -> Self {
        // `_mm512_and_ps` would need avx512dq; the integer forms are in the foundation.
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn signed_sqrt(g: __m512) -> __m512 {
            let root = _mm512_castps_si512(_mm512_sqrt_ps(_mm512_abs_ps(g)));
            let sign = _mm512_set1_epi32(i32::MIN);
            let signed =
                _mm512_ternarylogic_epi32::<SELECT_B_BY_MASK>(root, _mm512_castps_si512(g), sign);
            _mm512_castsi512_ps(signed)
        }
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { signed_sqrt(self.0) })
    }
}

/// Eight f64. Made from an [`Avx512`] token or from another register only.
#[derive(Debug, Clone, Copy)]
pub struct F64x8(__m512d);

impl Vector<f64> for F64x8 {
    type Isa = Avx512;
    type Lanes = [f64; 8];

    #[inline(always)]
    fn splat(isa: Avx512, value: f64) -> Self {
        Self::load(isa, &[value; 8])
    }
    #[inline(always)]
    fn load(_: Avx512, lanes: &Self::Lanes) -> Self {
        Self(bytemuck::cast(*lanes))
    }
    #[inline(always)]
    fn store(self, lanes: &mut Self::Lanes) {
        *lanes = bytemuck::cast(self.0);
    }
    #[inline(always)]
    fn stream(self, lanes: &mut Self::Lanes, _: &Streaming) {
        let address = lanes.as_mut_ptr();
        if address.addr() % align_of::<__m512d>() != 0 {
            return self.store(lanes);
        }
        // SAFETY: `self` was made from a token, which proves avx512f; `lanes` has the length of the
        // register and, as just checked, its alignment; the `Streaming` value outlives the write,
        // and orders it before all that follows when it is dropped.
        unsafe { _mm512_stream_pd(address, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_add_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_sub_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_mul_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn signed_sqrt(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn signed_sqrt(g: __m512d) -> __m512d {
            let root = _mm512_castpd_si512(_mm512_sqrt_pd(_mm512_abs_pd(g)));
            let sign = _mm512_set1_epi64(i64::MIN);
            let signed =
                _mm512_ternarylogic_epi64::<SELECT_B_BY_MASK>(root, _mm512_castpd_si512(g), sign);
            _mm512_castsi512_pd(signed)
        }
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { signed_sqrt(self.0) })
    }
}

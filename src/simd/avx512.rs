//! AVX-512, its foundation set alone (avx512f): registers of 512 bits.

use super::refine::{self, Fused};
use super::{Kernel, Simd, Streaming, Vector, Widening};
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

// `_mm512_and_ps` would need avx512dq; the integer forms are in the foundation.
#[inline]
#[target_feature(enable = "avx512f")]
fn copysign_ps(magnitude: __m512, g: __m512) -> __m512 {
    let (magnitude, g) = (_mm512_castps_si512(magnitude), _mm512_castps_si512(g));
    let sign = _mm512_set1_epi32(i32::MIN);
    _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<SELECT_B_BY_MASK>(magnitude, g, sign))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn copysign_pd(magnitude: __m512d, g: __m512d) -> __m512d {
    let (magnitude, g) = (_mm512_castpd_si512(magnitude), _mm512_castpd_si512(g));
    let sign = _mm512_set1_epi64(i64::MIN);
    _mm512_castsi512_pd(_mm512_ternarylogic_epi64::<SELECT_B_BY_MASK>(magnitude, g, sign))
}

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
    fn div(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }
    // The maximum and the minimum are their second operand where one is NaN.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_max_ps(other.0, self.0) })
    }
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_min_ps(other.0, self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    fn clamp_magnitude(self, limit: Self) -> Self {
        // The minimum and the maximum are their second operand where one is NaN.
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn clamp(value: __m512, limit: __m512) -> __m512 {
            let lowest = _mm512_sub_ps(_mm512_setzero_ps(), limit);
            _mm512_max_ps(lowest, _mm512_min_ps(limit, value))
        }
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { clamp(self.0, limit.0) })
    }
    #[inline(always)]
    fn signed_sqrt(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn signed_sqrt(g: __m512) -> __m512 {
            copysign_ps(_mm512_sqrt_ps(_mm512_abs_ps(g)), g)
        }
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { signed_sqrt(self.0) })
    }

    /// The share and the block are those of a prototype on a Zen 4, where a `signed_sqrt` in L1 and L2
    /// took 0.64 times as long as with none, a step 0.77.
    const REFINED_OF_FOUR: usize = 2;
    const REFINED_OF_FOUR_FAR: usize = 2;

    #[inline(always)]
    fn signed_sqrt_refined(self) -> Self {
        /// From here on, the proof in `refine.rs` holds.
        const LOWEST: f32 = f32::from_bits((127 - 101) << 23);

        /// Magnitudes, estimates of 1/√ within 2^-14 + 2^-23, and whether they are good.
        ///
        /// The estimate itself is within 2^-14; that of the magnitude with its last bit set, within
        /// a little more. The bit is there for Bochs 2.7, the emulator of CI, which takes the root of
        /// an odd power of two for that of the even one next to it.
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn estimate(g: __m512) -> (__m512, __m512, bool) {
            let a = _mm512_abs_ps(g);
            let lowest = _mm512_set1_ps(LOWEST);
            let bits = _mm512_castps_si512(a);
            // One unsigned comparison for both ends; it takes zero for one, which needs no exception.
            let above = _mm512_sub_epi32(bits, _mm512_castps_si512(lowest));
            let span = f32::INFINITY.to_bits() - LOWEST.to_bits();
            let outside = _mm512_cmpge_epu32_mask(above, _mm512_set1_epi32(span.cast_signed()));
            let good = _mm512_mask_test_epi32_mask(outside, bits, bits) == 0;
            let near = _mm512_castps_si512(_mm512_max_ps(a, lowest));
            let near = _mm512_castsi512_ps(_mm512_or_epi32(near, _mm512_set1_epi32(1)));
            let estimate = _mm512_rsqrt14_ps(near);
            (a, estimate, good)
        }
        // SAFETY: `self` was made from a token, which proves avx512f.
        let (a, estimate, good) = unsafe { estimate(self.0) };
        if !good {
            return self.signed_sqrt();
        }
        let root = refine::sqrt::<_, _, { refine::F32_STEPS }>(
            Self(a),
            Self(estimate),
            Self::splat(Avx512(()), 0.5),
        );
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { copysign_ps(root.0, self.0) })
    }
}

impl Fused<f32> for F32x16 {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    fn sub_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_fnmadd_ps(a.0, b.0, self.0) })
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
    fn div(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_div_pd(self.0, other.0) })
    }
    // The maximum and the minimum are their second operand where one is NaN.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_max_pd(other.0, self.0) })
    }
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_min_pd(other.0, self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_abs_pd(self.0) })
    }
    #[inline(always)]
    fn clamp_magnitude(self, limit: Self) -> Self {
        // The minimum and the maximum are their second operand where one is NaN.
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn clamp(value: __m512d, limit: __m512d) -> __m512d {
            let lowest = _mm512_sub_pd(_mm512_setzero_pd(), limit);
            _mm512_max_pd(lowest, _mm512_min_pd(limit, value))
        }
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { clamp(self.0, limit.0) })
    }
    #[inline(always)]
    fn signed_sqrt(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn signed_sqrt(g: __m512d) -> __m512d {
            copysign_pd(_mm512_sqrt_pd(_mm512_abs_pd(g)), g)
        }
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { signed_sqrt(self.0) })
    }

    /// As for f32; the prototype took 0.5 times as long as with none.
    const REFINED_OF_FOUR: usize = 2;
    const REFINED_OF_FOUR_FAR: usize = 2;

    #[inline(always)]
    fn signed_sqrt_refined(self) -> Self {
        /// From here on, the proof in `refine.rs` holds.
        const LOWEST: f64 = f64::from_bits((1023 - 969) << 52);

        /// Magnitudes, estimates of 1/√ cut to 24 bits, within 2^-14 + 2^-23, and whether they are
        /// good. The last bit of the magnitude is set as for f32.
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn estimate(g: __m512d) -> (__m512d, __m512d, bool) {
            let a = _mm512_abs_pd(g);
            let lowest = _mm512_set1_pd(LOWEST);
            let bits = _mm512_castpd_si512(a);
            // One unsigned comparison for both ends; it takes zero for one, which needs no exception.
            let above = _mm512_sub_epi64(bits, _mm512_castpd_si512(lowest));
            let span = f64::INFINITY.to_bits() - LOWEST.to_bits();
            let outside = _mm512_cmpge_epu64_mask(above, _mm512_set1_epi64(span.cast_signed()));
            let good = _mm512_mask_test_epi64_mask(outside, bits, bits) == 0;
            let near = _mm512_castpd_si512(_mm512_max_pd(a, lowest));
            let near = _mm512_castsi512_pd(_mm512_or_epi64(near, _mm512_set1_epi64(1)));
            let estimate = _mm512_rsqrt14_pd(near);
            let upper = _mm512_set1_epi64(!0 << 29);
            let cut = _mm512_and_epi64(_mm512_castpd_si512(estimate), upper);
            (a, _mm512_castsi512_pd(cut), good)
        }
        // SAFETY: `self` was made from a token, which proves avx512f.
        let (a, estimate, good) = unsafe { estimate(self.0) };
        if !good {
            return self.signed_sqrt();
        }
        let root = refine::sqrt::<_, _, { refine::F64_STEPS }>(
            Self(a),
            Self(estimate),
            Self::splat(Avx512(()), 0.5),
        );
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { copysign_pd(root.0, self.0) })
    }
}

impl Widening for F64x8 {
    type Narrow = [f32; 8];

    #[inline(always)]
    fn widen(_: Avx512, lanes: &[f32; 8]) -> Self {
        let narrow: __m256 = bytemuck::cast(*lanes);
        // SAFETY: the token proves avx512f.
        Self(unsafe { _mm512_cvtps_pd(narrow) })
    }
}

impl Fused<f64> for F64x8 {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_fmadd_pd(a.0, b.0, self.0) })
    }
    #[inline(always)]
    fn sub_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx512f.
        Self(unsafe { _mm512_fnmadd_pd(a.0, b.0, self.0) })
    }
}

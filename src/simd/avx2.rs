//! AVX2 with FMA: registers of 256 bits.

use super::refine::{self, Fused};
use super::{Kernel, Simd, Streaming, Vector, Widening};
use std::arch::x86_64::*;

/// The token of AVX2. Its private field makes [`Avx2::detect`] the only way to get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Avx2(());

impl Avx2 {
    /// The token, where the CPU and the operating system support AVX2 and FMA. (All CPUs with AVX2
    /// but one line of VIA's have both.)
    pub(crate) fn detect() -> Option<Self> {
        let both = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma");
        both.then_some(Self(()))
    }
}

impl Simd for Avx2 {
    type F32 = F32x8;
    type F64 = F64x4;

    #[inline]
    fn run<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma")]
        fn enter<K: Kernel>(isa: Avx2, kernel: K) {
            kernel.call(isa);
        }
        // SAFETY: `self` exists only where `detect` found avx2 and fma, which `enter` needs.
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
    fn div(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }
    // The maximum and the minimum are their second operand where one is NaN.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_max_ps(other.0, self.0) })
    }
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_min_ps(other.0, self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx")]
        fn abs(value: __m256) -> __m256 {
            _mm256_andnot_ps(_mm256_set1_ps(-0.0), value)
        }
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { abs(self.0) })
    }
    #[inline(always)]
    fn clamp_magnitude(self, limit: Self) -> Self {
        // The minimum and the maximum are their second operand where one is NaN.
        #[inline]
        #[target_feature(enable = "avx")]
        fn clamp(value: __m256, limit: __m256) -> __m256 {
            let lowest = _mm256_xor_ps(limit, _mm256_set1_ps(-0.0));
            _mm256_max_ps(lowest, _mm256_min_ps(limit, value))
        }
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { clamp(self.0, limit.0) })
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
    fn div(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_div_pd(self.0, other.0) })
    }
    // The maximum and the minimum are their second operand where one is NaN.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_max_pd(other.0, self.0) })
    }
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { _mm256_min_pd(other.0, self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx")]
        fn abs(value: __m256d) -> __m256d {
            _mm256_andnot_pd(_mm256_set1_pd(-0.0), value)
        }
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { abs(self.0) })
    }
    #[inline(always)]
    fn clamp_magnitude(self, limit: Self) -> Self {
        // The minimum and the maximum are their second operand where one is NaN.
        #[inline]
        #[target_feature(enable = "avx")]
        fn clamp(value: __m256d, limit: __m256d) -> __m256d {
            let lowest = _mm256_xor_pd(limit, _mm256_set1_pd(-0.0));
            _mm256_max_pd(lowest, _mm256_min_pd(limit, value))
        }
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { clamp(self.0, limit.0) })
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

    /// On a Zen 3, in L1 and L2, a `signed_sqrt` took 0.77 to 0.81 times as long with one refined as
    /// with none, a `descend` 0.80 to 0.83. More fill the scheduler with roots. In memory, out of
    /// place, a `signed_sqrt` took 0.82 times as long; in place, a `descend` 1.13 times as long as an
    /// axpy, against 1.07 with none: none there.
    ///
    /// `F32x8` has none at all. Estimates within 1.5·2^-12 need a step of higher order for the proof
    /// (nine operations), and with one refined of four a `signed_sqrt` took 0.8 times as long, but a
    /// `descend` 0.96 to 1.05; with two, up to 1.5 times.
    const REFINED_OF_FOUR: usize = 1;

    #[inline(always)]
    fn signed_sqrt_refined(self) -> Self {
        /// From here on, the conversion to f32 is normal and so is its estimate.
        const LOWEST: f64 = f64::from_bits((1023 - 100) << 52);
        /// From here on, the conversion to f32 may overflow.
        const TOO_HIGH: f64 = f64::from_bits((1023 + 127) << 52);

        /// Magnitudes, estimates of 1/√ within 1.5·2^-12 + 2^-24, and whether they are good: the
        /// conversion to f32 is within 2^-24, which halves under the root, and `vrsqrtps` is within
        /// 1.5·2^-12 (Intel and AMD document the same bound).
        #[inline]
        #[target_feature(enable = "avx")]
        fn estimate(g: __m256d) -> (__m256d, __m256d, bool) {
            let a = _mm256_andnot_pd(_mm256_set1_pd(-0.0), g);
            let lowest = _mm256_set1_pd(LOWEST);
            let low = _mm256_cmp_pd::<_CMP_LT_OQ>(a, lowest);
            let low_nonzero =
                _mm256_and_pd(low, _mm256_cmp_pd::<_CMP_NEQ_OQ>(a, _mm256_setzero_pd()));
            let high = _mm256_cmp_pd::<_CMP_NLT_UQ>(a, _mm256_set1_pd(TOO_HIGH));
            let good = _mm256_movemask_pd(_mm256_or_pd(low_nonzero, high)) == 0;
            let narrow = _mm256_cvtpd_ps(_mm256_max_pd(a, lowest));
            (a, _mm256_cvtps_pd(_mm_rsqrt_ps(narrow)), good)
        }
        #[inline]
        #[target_feature(enable = "avx")]
        fn copysign(magnitude: __m256d, g: __m256d) -> __m256d {
            _mm256_or_pd(magnitude, _mm256_and_pd(_mm256_set1_pd(-0.0), g))
        }
        // SAFETY: `self` was made from a token, which proves avx.
        let (a, estimate, good) = unsafe { estimate(self.0) };
        if !good {
            return self.signed_sqrt();
        }
        let root = refine::sqrt::<_, _, { refine::F64_STEPS_FROM_AVX2 }>(
            Self(a),
            Self(estimate),
            Self::splat(Avx2(()), 0.5),
        );
        // SAFETY: `self` was made from a token, which proves avx.
        Self(unsafe { copysign(root.0, self.0) })
    }
}

impl Widening for F64x4 {
    type Narrow = [f32; 4];

    #[inline(always)]
    fn widen(_: Avx2, lanes: &[f32; 4]) -> Self {
        let narrow: __m128 = bytemuck::cast(*lanes);
        // SAFETY: the token proves avx.
        Self(unsafe { _mm256_cvtps_pd(narrow) })
    }
}

impl Fused<f64> for F64x4 {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves fma.
        Self(unsafe { _mm256_fmadd_pd(a.0, b.0, self.0) })
    }
    #[inline(always)]
    fn sub_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves fma.
        Self(unsafe { _mm256_fnmadd_pd(a.0, b.0, self.0) })
    }
}

#[cfg(test)]
impl Fused<f32> for F32x8 {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves fma.
        Self(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    fn sub_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` was made from a token, which proves fma.
        Self(unsafe { _mm256_fnmadd_ps(a.0, b.0, self.0) })
    }
}

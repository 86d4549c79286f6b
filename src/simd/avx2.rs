//! AVX2 with FMA: registers of 256 bits.

use super::refine::{self, Refine};
use super::token::{Proof, intrinsics, memory, reinterpret};
use super::{
    Avx2, Kernel, Memory, Simd, Single, Streaming, Vector, Words, pack_lanes, unpack_lanes,
};
use crate::float::Narrow;
use std::arch::x86_64::*;

/// Runs code compiled for AVX2, FMA and F16C, given a proof that the machine has them.
macro_rules! avx2 {
    ($proof:expr, ($($argument:ident: $type:ty = $value:expr),*) -> $result:ty $body:block) => {{
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_features($($argument: $type),*) -> $result $body
        let ($($argument,)*) = ($($value,)*);
        Proof::<Avx2>::proves($proof);
        // SAFETY: the proof exists only where `Avx2::detect` found avx2, fma and f16c, the features needed.
        unsafe { with_features($($argument),*) }
    }};
}

impl Simd for Avx2 {
    type F32 = F32x8;
    type F64 = F64x4;

    #[inline]
    fn run<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn enter<K: Kernel>(isa: Avx2, kernel: K) {
            kernel.call(isa);
        }
        // SAFETY: `self` exists only where `detect` found avx2, fma and f16c, the features needed.
        unsafe { enter(self, kernel) }
    }
}

/// Writes a register past the caches if the memory, of its size, is aligned to it.
#[inline(always)]
fn stream<R: bytemuck::Pod, T>(proof: impl Proof<Avx2>, register: R, lanes: &mut T) -> bool {
    const { assert!(size_of::<T>() == size_of::<R>() && size_of::<R>() == size_of::<__m256i>()) };
    let address = std::ptr::from_mut(lanes).cast::<__m256i>();
    let aligned = address.is_aligned();
    if aligned {
        let register = bytemuck::cast(register);
        avx2!(proof, (address: *mut __m256i = address, register: __m256i = register) -> () {
            // SAFETY: the address comes from a reference to as many bytes, and is aligned.
            unsafe { _mm256_stream_si256(address, register) }
        });
    }
    aligned
}

/// Eight f32. Made from an [`Avx2`] token or from another register only.
#[derive(Debug, Clone, Copy)]
pub struct F32x8(__m256);

impl Proof<Avx2> for F32x8 {}

impl Vector for F32x8 {
    memory!(Avx2, [f32; 8], __m256, stream);
    // The maximum and the minimum are their second operand where one is NaN.
    intrinsics! { avx2, __m256:
        add(a, b) { _mm256_add_ps(a, b) }
        sub(a, b) { _mm256_sub_ps(a, b) }
        mul(a, b) { _mm256_mul_ps(a, b) }
        div(a, b) { _mm256_div_ps(a, b) }
        larger(a, b) { _mm256_max_ps(b, a) }
        smaller(a, b) { _mm256_min_ps(b, a) }
        abs(a) { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
        clamp_magnitude(a, limit) {
            let lowest = _mm256_xor_ps(limit, _mm256_set1_ps(-0.0));
            _mm256_max_ps(lowest, _mm256_min_ps(limit, a))
        }
        signed_sqrt(g) {
            let sign = _mm256_and_ps(g, _mm256_set1_ps(-0.0));
            _mm256_or_ps(_mm256_sqrt_ps(_mm256_xor_ps(g, sign)), sign)
        }
    }
}

impl Single for F32x8 {
    type Words = U32x8;

    #[inline(always)]
    fn to_words(self) -> U32x8 {
        U32x8(avx2!(self, (value: __m256 = self.0) -> __m256i { _mm256_castps_si256(value) }))
    }
    #[inline(always)]
    fn from_words(words: U32x8) -> Self {
        Self(avx2!(words, (raw: __m256i = words.0) -> __m256 { _mm256_castsi256_ps(raw) }))
    }
    #[inline(always)]
    fn truncate(self) -> U32x8 {
        U32x8(avx2!(self, (value: __m256 = self.0) -> __m256i { _mm256_cvttps_epi32(value) }))
    }
    #[inline(always)]
    fn unless_nan(self, usual: U32x8, nan: U32x8) -> U32x8 {
        U32x8(
            avx2!(self, (value: __m256 = self.0, usual: __m256i = usual.0, nan: __m256i = nan.0) -> __m256i {
                _mm256_blendv_epi8(usual, nan, _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value)))
            }),
        )
    }
    #[inline(always)]
    fn any_nan(self, other: Self) -> bool {
        avx2!(self, (a: __m256 = self.0, b: __m256 = other.0) -> bool {
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(a, b)) != 0
        })
    }
    #[inline(always)]
    fn from_f16(_: Avx2, halves: U32x8) -> Self {
        Self(avx2!(halves, (words: __m256i = halves.0) -> __m256 {
            let packed = _mm256_packus_epi32(words, words);
            let lower = _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(packed));
            _mm256_cvtph_ps(lower)
        }))
    }
    #[inline(always)]
    fn to_f16(self, _: Avx2) -> U32x8 {
        U32x8(avx2!(self, (value: __m256 = self.0) -> __m256i {
            _mm256_cvtepu16_epi32(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value))
        }))
    }
}

/// Eight u32. Made from an [`Avx2`] token or from another register only.
#[derive(Debug, Clone, Copy)]
pub struct U32x8(__m256i);

impl Proof<Avx2> for U32x8 {}

impl Words for U32x8 {
    type Isa = Avx2;
    type Lanes = [u32; 8];
    type Halves = [u16; 8];
    type Bytes = [u8; 8];

    intrinsics! { avx2, __m256i:
        add(a, b) { _mm256_add_epi32(a, b) }
        sub(a, b) { _mm256_sub_epi32(a, b) }
        and(a, b) { _mm256_and_si256(a, b) }
        or(a, b) { _mm256_or_si256(a, b) }
        xor(a, b) { _mm256_xor_si256(a, b) }
        max(a, b) { _mm256_max_epu32(a, b) }
        if_above(value, than, a, b) {
            _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi32(value, than))
        }
    }

    #[inline(always)]
    fn largest(self) -> u32 {
        avx2!(self, (words: __m256i = self.0) -> u32 {
            let upper = _mm256_extracti128_si256::<1>(words);
            let four = _mm_max_epu32(_mm256_castsi256_si128(words), upper);
            let two = _mm_max_epu32(four, _mm_shuffle_epi32::<0b1110>(four));
            let one = _mm_max_epu32(two, _mm_shuffle_epi32::<0b01>(two));
            _mm_cvtsi128_si32(one).cast_unsigned()
        })
    }
    #[inline(always)]
    fn splat(isa: Avx2, value: u32) -> Self {
        Self::load(isa, &[value; 8])
    }
    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        Self(avx2!(self, (words: __m256i = self.0, bits: u32 = bits) -> __m256i {
            _mm256_sll_epi32(words, _mm_cvtsi32_si128(bits.cast_signed()))
        }))
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        Self(avx2!(self, (words: __m256i = self.0, bits: u32 = bits) -> __m256i {
            _mm256_srl_epi32(words, _mm_cvtsi32_si128(bits.cast_signed()))
        }))
    }
    #[inline(always)]
    fn load(_: Avx2, lanes: &Self::Lanes) -> Self {
        Self(reinterpret!(*lanes, [u32; 8] => __m256i))
    }
    #[inline(always)]
    fn load_halves(isa: Avx2, lanes: &Self::Halves) -> Self {
        Self(avx2!(isa, (halves: __m128i = reinterpret!(*lanes, [u16; 8] => __m128i)) -> __m256i {
            _mm256_cvtepu16_epi32(halves)
        }))
    }
    #[inline(always)]
    fn load_bytes(isa: Avx2, lanes: &Self::Bytes) -> Self {
        Self(avx2!(isa, (bytes: i64 = i64::from_ne_bytes(*lanes)) -> __m256i {
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes))
        }))
    }
    #[inline(always)]
    fn load_pair(_: Avx2, lanes: &[Self::Halves; 2]) -> Self {
        Self(reinterpret!(*lanes, [[u16; 8]; 2] => __m256i))
    }
    #[inline(always)]
    fn store_pair(self, lanes: &mut [Self::Halves; 2]) {
        *lanes = reinterpret!(self.0, __m256i => [[u16; 8]; 2]);
    }
    #[inline(always)]
    fn store_halves(self, lanes: &mut Self::Halves) {
        let halves = avx2!(self, (words: __m256i = self.0) -> __m128i {
            // Packing works within halves of the register, and saturates; the permutation brings them together.
            let lower = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
            let packed = _mm256_packus_epi32(lower, lower);
            _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(packed))
        });
        *lanes = reinterpret!(halves, __m128i => [u16; 8]);
    }
    #[inline(always)]
    fn store_bytes(self, lanes: &mut Self::Bytes) {
        let bytes = avx2!(self, (words: __m256i = self.0) -> i64 {
            let first = _mm256_set1_epi32(0x0c08_0400);
            let packed = _mm256_shuffle_epi8(words, first);
            let together = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 0, 0, 0, 0, 0, 0));
            _mm_cvtsi128_si64(_mm256_castsi256_si128(together))
        });
        *lanes = bytes.to_ne_bytes();
    }
}

/// Four f64. Made from an [`Avx2`] token or from another register only.
#[derive(Debug, Clone, Copy)]
pub struct F64x4(__m256d);

impl Proof<Avx2> for F64x4 {}

impl Vector for F64x4 {
    memory!(Avx2, [f64; 4], __m256d, stream);
    intrinsics! { avx2, __m256d:
        add(a, b) { _mm256_add_pd(a, b) }
        sub(a, b) { _mm256_sub_pd(a, b) }
        mul(a, b) { _mm256_mul_pd(a, b) }
        add_exact_square(a, b) { _mm256_fmadd_pd(b, b, a) }
        div(a, b) { _mm256_div_pd(a, b) }
        larger(a, b) { _mm256_max_pd(b, a) }
        smaller(a, b) { _mm256_min_pd(b, a) }
        abs(a) { _mm256_andnot_pd(_mm256_set1_pd(-0.0), a) }
        clamp_magnitude(a, limit) {
            let lowest = _mm256_xor_pd(limit, _mm256_set1_pd(-0.0));
            _mm256_max_pd(lowest, _mm256_min_pd(limit, a))
        }
        signed_sqrt(g) {
            let sign = _mm256_and_pd(g, _mm256_set1_pd(-0.0));
            _mm256_or_pd(_mm256_sqrt_pd(_mm256_xor_pd(g, sign)), sign)
        }
    }

    // In place beyond the caches it pays nothing, and `F32x8` has none at all: the step of higher order
    // that its proof would need fills the multiply-add units. Measured in docs/performance.md.
    #[inline(always)]
    fn refined_of_four(_: Avx2) -> usize {
        1
    }

    #[inline(always)]
    fn signed_sqrt_refined(self, isa: Avx2) -> Self {
        avx2!(self, (isa: Avx2 = isa, g: F64x4 = self) -> F64x4 {
            refine::signed_sqrt::<_, { refine::F64_STEPS_FROM_AVX2 }>(isa, g)
        })
    }
}

/// From here on, the conversion to f32 is normal and so is its estimate.
const LOWEST: f64 = f64::from_bits((1023 - 100) << 52);

impl Refine for F64x4 {
    const HALF: f64 = 0.5;

    intrinsics! { avx2, __m256d:
        add_product(c, a, b) { _mm256_fmadd_pd(a, b, c) }
        sub_product(c, a, b) { _mm256_fnmadd_pd(a, b, c) }
        halve(a) { _mm256_mul_pd(a, _mm256_set1_pd(0.5)) }

        /// `vrsqrtps` of the nearest f32. The conversion is within 2^-24, which halves under the root, and
        /// the estimate of f32 within 1.5·2^-12 (Intel and AMD document the same bound): together within
        /// 1.5·2^-12 + 2^-24. That of zero is finite, and so its root is zero.
        estimate(a) {
            let narrow = _mm256_cvtpd_ps(_mm256_max_pd(a, _mm256_set1_pd(LOWEST)));
            _mm256_cvtps_pd(_mm_rsqrt_ps(narrow))
        }
    }

    /// All lanes.
    type Mask = ();

    #[inline(always)]
    fn proven(self) -> ((), bool) {
        /// From here on, the conversion to f32 may overflow.
        const TOO_HIGH: f64 = f64::from_bits((1023 + 127) << 52);

        let good = avx2!(self, (a: __m256d = self.0) -> bool {
            let low = _mm256_cmp_pd::<_CMP_LT_OQ>(a, _mm256_set1_pd(LOWEST));
            let low_nonzero =
                _mm256_and_pd(low, _mm256_cmp_pd::<_CMP_NEQ_OQ>(a, _mm256_setzero_pd()));
            let high = _mm256_cmp_pd::<_CMP_NLT_UQ>(a, _mm256_set1_pd(TOO_HIGH));
            _mm256_movemask_pd(_mm256_or_pd(low_nonzero, high)) == 0
        });
        ((), good)
    }
    #[inline(always)]
    fn copysign(self, g: Self, (): ()) -> Self {
        Self(avx2!(self, (a: __m256d = self.0, g: __m256d = g.0) -> __m256d {
            _mm256_or_pd(a, _mm256_and_pd(_mm256_set1_pd(-0.0), g))
        }))
    }
}

impl Memory<f32> for F64x4 {
    type Packed = [f32; 4];

    #[inline(always)]
    fn unpack(isa: Avx2, packed: &Self::Packed) -> Self {
        Self(avx2!(isa, (packed: __m128 = reinterpret!(*packed, [f32; 4] => __m128)) -> __m256d {
            _mm256_cvtps_pd(packed)
        }))
    }
    #[inline(always)]
    fn pack(self, packed: &mut Self::Packed) {
        let narrow = avx2!(self, (value: __m256d = self.0) -> __m128 {
            _mm256_cvtpd_ps(value)
        });
        *packed = reinterpret!(narrow, __m128 => [f32; 4]);
    }
}

/// Halves, by way of f32.
impl<H: Narrow<f32, Memory = u16>> Memory<H> for F64x4 {
    type Packed = [u16; 4];

    #[inline(always)]
    fn unpack(isa: Avx2, packed: &Self::Packed) -> Self {
        unpack_lanes::<H, _, f64, _>(isa, packed)
    }
    #[inline(always)]
    fn pack(self, packed: &mut Self::Packed) {
        pack_lanes::<H, _, f64, _>(self, packed);
    }
}

#[cfg(test)]
impl Refine for F32x8 {
    const HALF: f32 = 0.5;

    intrinsics! { avx2, __m256:
        add_product(c, a, b) { _mm256_fmadd_ps(a, b, c) }
        sub_product(c, a, b) { _mm256_fnmadd_ps(a, b, c) }
        halve(a) { _mm256_mul_ps(a, _mm256_set1_ps(0.5)) }
    }

    // The proof for f32 runs here too; the estimates are its own.
    type Mask = ();

    fn estimate(self) -> Self {
        self
    }
    fn proven(self) -> ((), bool) {
        ((), false)
    }
    fn copysign(self, _: Self, (): ()) -> Self {
        self
    }
}

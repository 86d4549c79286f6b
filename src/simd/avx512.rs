//! AVX-512, its foundation set alone (avx512f): registers of 512 bits.

use super::refine::{self, Refine};
use super::token::{Maker, Proof, intrinsics, memory, reinterpret};
use super::{
    Avx512, Kernel, Memory, Simd, Single, Streaming, Vector, Words, pack_lanes, unpack_lanes,
};
use crate::float::Narrow;
use std::arch::x86_64::*;

/// Runs code compiled for avx512f, given a proof that the machine has it.
macro_rules! avx512 {
    ($proof:expr, ($($argument:ident: $type:ty = $value:expr),*) -> $result:ty $body:block) => {{
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn with_features($($argument: $type),*) -> $result $body
        let ($($argument,)*) = ($($value,)*);
        Proof::<Avx512>::proves($proof);
        // SAFETY: the proof exists only where `Avx512::detect` found avx512f, the one feature needed.
        unsafe { with_features($($argument),*) }
    }};
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
        // SAFETY: `self` exists only where `detect` found avx512f, the one feature needed.
        unsafe { enter(self, kernel) }
    }

    // Measured in docs/performance.md.
    #[inline(always)]
    fn prefetches(self) -> bool {
        self.maker() == Maker::Intel
    }
}

/// Writes a register past the caches if the memory, of its size, is aligned to it.
#[inline(always)]
fn stream<R: bytemuck::Pod, T>(proof: impl Proof<Avx512>, register: R, lanes: &mut T) -> bool {
    const { assert!(size_of::<T>() == size_of::<R>() && size_of::<R>() == size_of::<__m512i>()) };
    let address = std::ptr::from_mut(lanes).cast::<__m512i>();
    let aligned = address.is_aligned();
    if aligned {
        let register = bytemuck::cast(register);
        avx512!(proof, (address: *mut __m512i = address, register: __m512i = register) -> () {
            // SAFETY: the address comes from a reference to as many bytes, and is aligned.
            unsafe { _mm512_stream_si512(address, register) }
        });
    }
    aligned
}

/// `(a & !mask) | (b & mask)`, as the truth table of `vpternlog` over (a, b, mask).
const SELECT_B_BY_MASK: i32 = 0b1101_1000;

/// `(a & b) | (c & !b)`, as the truth table of `vpternlog` over (a, b, c).
const SELECT_A_BY_B: i32 = 0b1110_0010;

/// Bits that are set in a magnitude before its root is estimated: none. Bochs 2.7, which emulates AVX-512 in
/// `.ci/avx512`, takes the root of an odd power of two for that of the even one next to it. That run sets
/// the last bit (`--cfg rootstep_bochs`), for estimates within 2^-14 + 2^-23; its square-root unit is right.
const FOR_THE_EMULATOR: i32 = if cfg!(rootstep_bochs) { 1 } else { 0 };

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

impl Proof<Avx512> for F32x16 {}

impl Vector for F32x16 {
    memory!(Avx512, [f32; 16], __m512, stream);
    // The maximum and the minimum are their second operand where one is NaN.
    intrinsics! { avx512, __m512:
        add(a, b) { _mm512_add_ps(a, b) }
        sub(a, b) { _mm512_sub_ps(a, b) }
        mul(a, b) { _mm512_mul_ps(a, b) }
        div(a, b) { _mm512_div_ps(a, b) }
        larger(a, b) { _mm512_max_ps(b, a) }
        smaller(a, b) { _mm512_min_ps(b, a) }
        abs(a) { _mm512_abs_ps(a) }
        clamp_magnitude(a, limit) {
            let lowest = _mm512_sub_ps(_mm512_setzero_ps(), limit);
            _mm512_max_ps(lowest, _mm512_min_ps(limit, a))
        }
        signed_sqrt(g) { copysign_ps(_mm512_sqrt_ps(_mm512_abs_ps(g)), g) }
    }

    // Measured in docs/performance.md.
    #[inline(always)]
    fn refined_of_four(_: Avx512) -> usize {
        2
    }
    const REFINED_OF_FOUR_FAR: usize = 2;

    #[inline(always)]
    fn signed_sqrt_refined(self, isa: Avx512) -> Self {
        avx512!(self, (isa: Avx512 = isa, g: F32x16 = self) -> F32x16 {
            refine::signed_sqrt::<_, { refine::F32_STEPS }>(isa, g)
        })
    }
}

/// From here on, the proofs in `refine.rs` hold.
const LOWEST_F32: f32 = f32::from_bits((127 - 101) << 23);
const LOWEST_F64: f64 = f64::from_bits((1023 - 969) << 52);

impl Refine for F32x16 {
    const HALF: f32 = 0.5;

    intrinsics! { avx512, __m512:
        add_product(c, a, b) { _mm512_fmadd_ps(a, b, c) }
        sub_product(c, a, b) { _mm512_fnmadd_ps(a, b, c) }
        halve(a) {
            _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(1 << 23)))
        }

        /// `vrsqrt14ps`, within 2^-14.
        estimate(a) {
            let bits = _mm512_castps_si512(_mm512_max_ps(a, _mm512_set1_ps(LOWEST_F32)));
            let near = _mm512_or_epi32(bits, _mm512_set1_epi32(FOR_THE_EMULATOR));
            _mm512_rsqrt14_ps(_mm512_castsi512_ps(near))
        }
    }

    type Mask = __mmask16;

    #[inline(always)]
    fn proven(self) -> (__mmask16, bool) {
        avx512!(self, (a: __m512 = self.0) -> (__mmask16, bool) {
            let bits = _mm512_castps_si512(a);
            let lowest = LOWEST_F32.to_bits();
            let above = _mm512_sub_epi32(bits, _mm512_set1_epi32(lowest.cast_signed()));
            let span = _mm512_set1_epi32((f32::INFINITY.to_bits() - lowest).cast_signed());
            let proven = _mm512_cmplt_epu32_mask(above, span);
            let good = proven == !0 || _mm512_mask_test_epi32_mask(!proven, bits, bits) == 0;
            (proven, good)
        })
    }
    #[inline(always)]
    fn copysign(self, g: Self, proven: __mmask16) -> Self {
        Self(
            avx512!(self, (a: __m512 = self.0, g: __m512 = g.0, proven: __mmask16 = proven) -> __m512 {
                let (a, g) = (_mm512_castps_si512(a), _mm512_castps_si512(g));
                let sign = _mm512_set1_epi32(i32::MIN);
                _mm512_castsi512_ps(_mm512_mask_ternarylogic_epi32::<SELECT_A_BY_B>(g, proven, sign, a))
            }),
        )
    }
}

impl Single for F32x16 {
    type Words = U32x16;

    #[inline(always)]
    fn to_words(self) -> U32x16 {
        U32x16(avx512!(self, (value: __m512 = self.0) -> __m512i { _mm512_castps_si512(value) }))
    }
    #[inline(always)]
    fn from_words(words: U32x16) -> Self {
        Self(avx512!(words, (raw: __m512i = words.0) -> __m512 { _mm512_castsi512_ps(raw) }))
    }
    #[inline(always)]
    fn truncate(self) -> U32x16 {
        U32x16(avx512!(self, (value: __m512 = self.0) -> __m512i { _mm512_cvttps_epi32(value) }))
    }
    #[inline(always)]
    fn unless_nan(self, usual: U32x16, nan: U32x16) -> U32x16 {
        U32x16(
            avx512!(self, (value: __m512 = self.0, usual: __m512i = usual.0, nan: __m512i = nan.0) -> __m512i {
                _mm512_mask_blend_epi32(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value), usual, nan)
            }),
        )
    }
    #[inline(always)]
    fn any_nan(self, other: Self) -> bool {
        avx512!(self, (a: __m512 = self.0, b: __m512 = other.0) -> bool {
            _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b) != 0
        })
    }
    #[inline(always)]
    fn from_f16(_: Avx512, halves: U32x16) -> Self {
        Self(avx512!(halves, (words: __m512i = halves.0) -> __m512 {
            let lower = _mm512_cvtepi32_epi16(words);
            _mm512_cvtph_ps(lower)
        }))
    }
    #[inline(always)]
    fn to_f16(self, _: Avx512) -> U32x16 {
        U32x16(avx512!(self, (value: __m512 = self.0) -> __m512i {
            _mm512_cvtepu16_epi32(_mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value))
        }))
    }
}

/// Sixteen u32. Made from an [`Avx512`] token or from another register only.
#[derive(Debug, Clone, Copy)]
pub struct U32x16(__m512i);

impl Proof<Avx512> for U32x16 {}

impl Words for U32x16 {
    type Isa = Avx512;
    type Lanes = [u32; 16];
    type Halves = [u16; 16];
    type Bytes = [u8; 16];

    intrinsics! { avx512, __m512i:
        add(a, b) { _mm512_add_epi32(a, b) }
        sub(a, b) { _mm512_sub_epi32(a, b) }
        and(a, b) { _mm512_and_si512(a, b) }
        or(a, b) { _mm512_or_si512(a, b) }
        xor(a, b) { _mm512_xor_si512(a, b) }
        max(a, b) { _mm512_max_epu32(a, b) }
        if_above(value, than, a, b) {
            _mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(value, than), b, a)
        }
    }

    #[inline(always)]
    fn largest(self) -> u32 {
        avx512!(self, (words: __m512i = self.0) -> u32 { _mm512_reduce_max_epu32(words) })
    }
    #[inline(always)]
    fn splat(isa: Avx512, value: u32) -> Self {
        Self::load(isa, &[value; 16])
    }
    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        Self(avx512!(self, (words: __m512i = self.0, bits: u32 = bits) -> __m512i {
            _mm512_sll_epi32(words, _mm_cvtsi32_si128(bits.cast_signed()))
        }))
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        Self(avx512!(self, (words: __m512i = self.0, bits: u32 = bits) -> __m512i {
            _mm512_srl_epi32(words, _mm_cvtsi32_si128(bits.cast_signed()))
        }))
    }
    #[inline(always)]
    fn load(_: Avx512, lanes: &Self::Lanes) -> Self {
        Self(reinterpret!(*lanes, [u32; 16] => __m512i))
    }
    #[inline(always)]
    fn load_halves(isa: Avx512, lanes: &Self::Halves) -> Self {
        Self(
            avx512!(isa, (halves: __m256i = reinterpret!(*lanes, [u16; 16] => __m256i)) -> __m512i {
                _mm512_cvtepu16_epi32(halves)
            }),
        )
    }
    #[inline(always)]
    fn load_bytes(isa: Avx512, lanes: &Self::Bytes) -> Self {
        Self(avx512!(isa, (bytes: __m128i = reinterpret!(*lanes, [u8; 16] => __m128i)) -> __m512i {
            _mm512_cvtepu8_epi32(bytes)
        }))
    }
    #[inline(always)]
    fn load_pair(_: Avx512, lanes: &[Self::Halves; 2]) -> Self {
        Self(reinterpret!(*lanes, [[u16; 16]; 2] => __m512i))
    }
    #[inline(always)]
    fn store_pair(self, lanes: &mut [Self::Halves; 2]) {
        *lanes = reinterpret!(self.0, __m512i => [[u16; 16]; 2]);
    }
    #[inline(always)]
    fn store_halves(self, lanes: &mut Self::Halves) {
        let halves = avx512!(self, (words: __m512i = self.0) -> __m256i {
            _mm512_cvtepi32_epi16(words)
        });
        *lanes = reinterpret!(halves, __m256i => [u16; 16]);
    }
    #[inline(always)]
    fn store_bytes(self, lanes: &mut Self::Bytes) {
        let bytes = avx512!(self, (words: __m512i = self.0) -> __m128i {
            _mm512_cvtepi32_epi8(words)
        });
        *lanes = reinterpret!(bytes, __m128i => [u8; 16]);
    }
}

/// Eight f64. Made from an [`Avx512`] token or from another register only.
#[derive(Debug, Clone, Copy)]
pub struct F64x8(__m512d);

impl Proof<Avx512> for F64x8 {}

impl Vector for F64x8 {
    memory!(Avx512, [f64; 8], __m512d, stream);
    intrinsics! { avx512, __m512d:
        add(a, b) { _mm512_add_pd(a, b) }
        sub(a, b) { _mm512_sub_pd(a, b) }
        mul(a, b) { _mm512_mul_pd(a, b) }
        add_exact_square(a, b) { _mm512_fmadd_pd(b, b, a) }
        div(a, b) { _mm512_div_pd(a, b) }
        larger(a, b) { _mm512_max_pd(b, a) }
        smaller(a, b) { _mm512_min_pd(b, a) }
        abs(a) { _mm512_abs_pd(a) }
        clamp_magnitude(a, limit) {
            let lowest = _mm512_sub_pd(_mm512_setzero_pd(), limit);
            _mm512_max_pd(lowest, _mm512_min_pd(limit, a))
        }
        signed_sqrt(g) { copysign_pd(_mm512_sqrt_pd(_mm512_abs_pd(g)), g) }
    }

    // Measured in docs/performance.md.
    #[inline(always)]
    fn refined_of_four(isa: Avx512) -> usize {
        match isa.maker() {
            Maker::Intel => 3,
            Maker::Other => 2,
        }
    }
    const REFINED_OF_FOUR_FAR: usize = 2;

    #[inline(always)]
    fn signed_sqrt_refined(self, isa: Avx512) -> Self {
        avx512!(self, (isa: Avx512 = isa, g: F64x8 = self) -> F64x8 {
            refine::signed_sqrt::<_, { refine::F64_STEPS }>(isa, g)
        })
    }
}

impl Refine for F64x8 {
    const HALF: f64 = 0.5;

    intrinsics! { avx512, __m512d:
        add_product(c, a, b) { _mm512_fmadd_pd(a, b, c) }
        sub_product(c, a, b) { _mm512_fnmadd_pd(a, b, c) }
        halve(a) {
            _mm512_castsi512_pd(_mm512_sub_epi64(_mm512_castpd_si512(a), _mm512_set1_epi64(1 << 52)))
        }

        /// As for f32, cut to 24 bits: within 2^-14 + 2^-23.
        estimate(a) {
            let bits = _mm512_castpd_si512(_mm512_max_pd(a, _mm512_set1_pd(LOWEST_F64)));
            let near = _mm512_or_epi64(bits, _mm512_set1_epi64(FOR_THE_EMULATOR.into()));
            let estimate = _mm512_castpd_si512(_mm512_rsqrt14_pd(_mm512_castsi512_pd(near)));
            _mm512_castsi512_pd(_mm512_and_epi64(estimate, _mm512_set1_epi64(!0 << 29)))
        }
    }

    type Mask = __mmask8;

    #[inline(always)]
    fn proven(self) -> (__mmask8, bool) {
        avx512!(self, (a: __m512d = self.0) -> (__mmask8, bool) {
            let bits = _mm512_castpd_si512(a);
            let lowest = LOWEST_F64.to_bits();
            let above = _mm512_sub_epi64(bits, _mm512_set1_epi64(lowest.cast_signed()));
            let span = _mm512_set1_epi64((f64::INFINITY.to_bits() - lowest).cast_signed());
            let proven = _mm512_cmplt_epu64_mask(above, span);
            let good = proven == !0 || _mm512_mask_test_epi64_mask(!proven, bits, bits) == 0;
            (proven, good)
        })
    }
    #[inline(always)]
    fn copysign(self, g: Self, proven: __mmask8) -> Self {
        Self(
            avx512!(self, (a: __m512d = self.0, g: __m512d = g.0, proven: __mmask8 = proven) -> __m512d {
                let (a, g) = (_mm512_castpd_si512(a), _mm512_castpd_si512(g));
                let sign = _mm512_set1_epi64(i64::MIN);
                _mm512_castsi512_pd(_mm512_mask_ternarylogic_epi64::<SELECT_A_BY_B>(g, proven, sign, a))
            }),
        )
    }
}

impl Memory<f32> for F64x8 {
    type Packed = [f32; 8];

    #[inline(always)]
    fn unpack(isa: Avx512, packed: &Self::Packed) -> Self {
        Self(avx512!(isa, (packed: __m256 = reinterpret!(*packed, [f32; 8] => __m256)) -> __m512d {
            _mm512_cvtps_pd(packed)
        }))
    }
    #[inline(always)]
    fn pack(self, packed: &mut Self::Packed) {
        let narrow = avx512!(self, (value: __m512d = self.0) -> __m256 {
            _mm512_cvtpd_ps(value)
        });
        *packed = reinterpret!(narrow, __m256 => [f32; 8]);
    }
}

/// Halves, by way of f32.
impl<H: Narrow<f32, Memory = u16>> Memory<H> for F64x8 {
    type Packed = [u16; 8];

    #[inline(always)]
    fn unpack(isa: Avx512, packed: &Self::Packed) -> Self {
        unpack_lanes::<H, _, f64, _>(isa, packed)
    }
    #[inline(always)]
    fn pack(self, packed: &mut Self::Packed) {
        pack_lanes::<H, _, f64, _>(self, packed);
    }
}

//! Square roots without the square-root unit: an estimate of 1/√a, refined by fused multiply-adds.
//!
//! The square-root unit of a core is slow and not pipelined, and it runs beside the multiply-add
//! units. A loop that sends some registers to the one and some to the others takes more roots per
//! cycle than either gives.
//!
//! The result is the correctly rounded root, by proof and not by luck of the tests. The proof takes
//! nothing from the hardware but IEEE 754 and the documented relative error of its estimate, so it
//! holds on every CPU: vendors fill their tables differently.
//!
//! # Why a in [1, 4) is enough
//!
//! Scale a by 4^k and the estimate by 2^-k, and [`sqrt`] scales g, d and h by 2^k, 4^k and 2^-k and
//! leaves r as it is: every rounding happens at the same place, as long as nothing overflows and no
//! rounding moves because of a subnormal result. Only d, a small difference, can be subnormal: it is
//! a multiple of the square of the last place of g, so it rounds as it would without limit on the
//! exponent if that square is at least the smallest subnormal. That holds for f32 from a = 2^-101
//! on, for f64 from a = 2^-969 on. Registers with a value outside of what the instruction set's
//! estimate and this allow take the square-root unit; zeros, which are common, do not make them.
//!
//! # How AVX-512 sees where a value is
//!
//! By one unsigned comparison of the bits, less those of the lowest value: it tells both ends. Lanes outside stay
//! as they are if they are ±0, their own roots; else the register takes the square-root unit. Their estimates are
//! those of the lowest value: nothing is multiplied by an infinite one, which would be an invalid operation where
//! a program has made these trap.
//!
//! The estimates are normal, so they are halved by an integer subtraction from the exponent, which keeps the
//! multiply-add units free.
//!
//! # Proof for f32
//!
//! By exhaustion: every a in [1, 4), 2^24 of them, with *every* f32 within 2^-14 + 2^-23 of 1/√a,
//! 24 billion pairs: the test `every_f32_from_every_estimate`. (2^-14 is what the instruction promises;
//! f64 needs a little more, see below.)
//!
//! # Proof for f64
//!
//! Write g = √a·(1 + γ), h = (1 + η)/(2√a), u = 2^-53; let E bound |γ| and |η|, and K bound |γ - η|.
//! A step computes r = -(γ + η + γη)/2·(1 + θ), and the new errors are (1 + γ)·(1 + r)·(1 + θ') - 1
//! and the like: at most 1.5·E² + E³/2 + K/2 + u·(1 + E), and K grows by 2u. (K starts at u; factors
//! 1 + E are left out of terms of the size of u, for which the bounds below leave room.)
//! Two steps from E = 2^-14 + 2^-23 give E < 3.26e-16; three from 1.5·2^-12 + 2^-24, E < 3.89e-16.
//! The last line computes g + d·h, before its rounding √a·(1 + γ - (γ + γ²/2)·(1 + η)·(1 + θ)):
//! within E·(1.5·E + u) < 2^-101 of √a.
//!
//! So the result can differ from the rounded root only where a midpoint of two neighbouring f64 lies
//! within 2^-101 of √a. For a = A/2^52 in [1, 4) the midpoints are n/2^53 with odd n, and the
//! condition becomes |n² - A·2^54| ≤ 2^8. All such (n, A) are found by solving n² ≡ c modulo 2^54,
//! and 2^55 where a ≥ 2 and A is even, for each c ≡ 1 (mod 8). The test
//! `every_hard_f64_from_every_estimate` takes each, up to |c| = 2^13, with *every* estimate. (Estimates
//! are cut to 24 bits, so that they can be counted: that is where 2^-23 comes from.)
//!
//! Sources: P. Markstein, *IA-64 and Elementary Functions* (2000), for the sequence; the hard cases
//! as in Cornea, Harrison and Tang, *Scientific Computing on Itanium-Based Systems* (2002), ch. 8.

use super::Vector;

/// A register with fused multiply-adds and an estimate of 1/√.
pub trait Refine: Vector {
    /// 1/2.
    const HALF: Self::Element;
    /// `self + a * b`, rounded once.
    fn add_product(self, a: Self, b: Self) -> Self;
    /// `self - a * b`, rounded once.
    fn sub_product(self, a: Self, b: Self) -> Self;
    /// `self / 2`, of normal numbers whose halves are normal.
    fn halve(self) -> Self;
    /// Estimates of 1/√ of magnitudes for which the proofs hold; finite ones of zeros.
    fn estimate(self) -> Self;
    /// A choice of lanes.
    type Mask: Copy;
    /// The lanes of magnitudes for which the proofs hold, and whether all others are zero.
    fn proven(self) -> (Self::Mask, bool);
    /// The magnitudes of `self` with the signs of `g` in those lanes; in others, where `g` is ±0, that.
    fn copysign(self, g: Self, proven: Self::Mask) -> Self;
}

/// The steps that f32 needs from an estimate within 2^-14 + 2^-23.
pub const F32_STEPS: usize = 1;
/// The steps that f64 needs from an estimate of 24 bits within 2^-14 + 2^-23.
pub const F64_STEPS: usize = 2;
/// The steps that f64 needs from an estimate of 24 bits within 1.5·2^-12 + 2^-24.
pub const F64_STEPS_FROM_AVX2: usize = 3;

/// The bits of [`Vector::signed_sqrt`], by `STEPS` steps where that is proven to give them.
#[inline(always)]
pub fn signed_sqrt<V: Refine, const STEPS: usize>(isa: V::Isa, g: V) -> V {
    let a = g.abs();
    let (proven, good) = a.proven();
    if !good {
        return g.signed_sqrt();
    }
    let estimate = a.estimate();
    sqrt::<V, STEPS>(a, estimate, a.mul(estimate), V::splat(isa, V::HALF)).copysign(g, proven)
}

/// The correctly rounded square root of `a` from an `estimate` of 1/√a and their `product`, in `STEPS`
/// Newton steps and a last one from the exact remainder. `half` is 1/2 in each lane.
#[inline(always)]
fn sqrt<V: Refine, const STEPS: usize>(a: V, estimate: V, product: V, half: V) -> V {
    let mut g = product; // towards √a
    let mut h = estimate.halve(); // towards 1/(2√a)
    for _ in 0..STEPS {
        let r = half.sub_product(g, h);
        g = g.add_product(g, r);
        h = h.add_product(h, r);
    }
    let d = a.sub_product(g, g);
    g.add_product(d, h)
}

#[cfg(test)]
#[path = "../../tests/support/hard_roots.rs"]
mod hard_roots;

#[cfg(test)]
mod tests {
    use super::hard_roots::hard_roots;
    use super::*;
    use crate::float::Float;
    use crate::simd::{Avx2, Avx512, Kernel, Simd};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The relative errors that the proofs allow an estimate: on AVX-512, and on AVX2.
    const FINE: f64 = 1.0 / 16_384.0 + 1.0 / 8_388_608.0;
    const COARSE: f64 = 1.5 / 4096.0 + 1.0 / 16_777_216.0;

    /// Asserts that the refined root of `a` is the rounded one from each f32 `within` that relative
    /// error of 1/√a (and some beyond), and returns how many there are.
    #[inline(always)]
    fn prove<T, V, const N: usize, const STEPS: usize>(isa: V::Isa, a: T, within: f64) -> u64
    where
        T: Float,
        V: Refine<Element = T, Lanes = [T; N]>,
    {
        let (root, half) = (Float::sqrt(a), V::splat(isa, T::from_f64(0.5)));
        let exact = 1.0 / a.to_f64().sqrt();
        let first = ((exact * (1.0 - within)) as f32).next_down().to_bits();
        let last = ((exact * (1.0 + within)) as f32).next_up().to_bits();
        let mut right = true;
        for bits in (first..=last).step_by(N) {
            let estimates = std::array::from_fn(|i| T::from_f32(f32::from_bits(bits + i as u32)));
            let mut roots = [root; N];
            let (a, estimate) = (V::splat(isa, a), V::load(isa, &estimates));
            sqrt::<V, STEPS>(a, estimate, a.mul(estimate), half).store(&mut roots);
            for found in roots {
                right &= found == root;
            }
        }
        assert!(right, "an estimate of 1/√{a} gave another root than {root}");
        u64::from(last - first) + 1
    }

    /// A loop compiled for an instruction set.
    struct Compiled<F>(F);

    impl<F: FnOnce()> Kernel for Compiled<F> {
        #[inline(always)]
        fn call<S: Simd>(self, _: S) {
            (self.0)();
        }
    }

    /// The sum of `count` over the numbers below `parts`, on all cores, compiled for `isa`.
    fn on_all_cores(parts: u64, isa: impl Simd, count: impl Fn(u64) -> u64 + Sync) -> u64 {
        let (next, total) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    isa.run(Compiled(
                        #[inline(always)]
                        || loop {
                            let part = next.fetch_add(1, Ordering::Relaxed);
                            if part >= parts {
                                break;
                            }
                            total.fetch_add(count(part), Ordering::Relaxed);
                        },
                    ));
                });
            }
        });
        total.into_inner()
    }

    /// The proof for f32 with every `stride`th a.
    fn prove_f32<V: Refine<Element = f32, Lanes = [f32; N]>, const N: usize>(
        isa: V::Isa,
        stride: usize,
    ) -> u64 {
        const PARTS: u32 = 1 << 10;
        let (first, last) = (1_f32.to_bits(), 4_f32.to_bits());
        let length = (last - first) / PARTS;
        on_all_cores(
            PARTS.into(),
            isa,
            #[inline(always)]
            |part| {
                let start = first + part as u32 * length;
                let bits = (start..start + length).step_by(stride);
                bits.map(|bits| prove::<f32, V, N, F32_STEPS>(isa, f32::from_bits(bits), FINE))
                    .sum()
            },
        )
    }

    /// The proof for f64.
    fn prove_f64<V, const N: usize, const STEPS: usize>(isa: V::Isa, within: f64) -> u64
    where
        V: Refine<Element = f64, Lanes = [f64; N]>,
    {
        const LARGEST: i64 = 1 << 13;
        let stride = stride();
        on_all_cores(
            LARGEST as u64 / 4 / stride + 1,
            isa,
            #[inline(always)]
            |part| {
                let roots = hard_roots(8 * (part * stride) as i64 - LARGEST + 1);
                roots.map(|a| prove::<f64, V, N, STEPS>(isa, a, within)).sum()
            },
        )
    }

    /// `ROOTSTEP_STRIDE=N` takes every Nth value only, for slow machines.
    fn stride() -> u64 {
        std::env::var("ROOTSTEP_STRIDE").map_or(1, |stride| stride.parse().unwrap())
    }

    /// The proof for f32 at each level with fused multiply-adds.
    fn prove_f32_everywhere(stride: usize) -> Vec<u64> {
        let avx2 = Avx2::detect().map(|isa| prove_f32::<<Avx2 as Simd>::F32, 8>(isa, stride));
        let avx512 =
            Avx512::detect().map(|isa| prove_f32::<<Avx512 as Simd>::F32, 16>(isa, stride));
        avx2.into_iter().chain(avx512).collect()
    }

    /// A relative 2^-14 around 1/√a, in units of 2^-24, summed over a: 2^34·√2.
    const PAIRS: u64 = 24_295_700_000;

    #[test]
    fn some_f32_from_every_estimate() {
        let stride = 4096 * stride() as usize;
        for pairs in prove_f32_everywhere(stride) {
            assert!(pairs > PAIRS / 2 / stride as u64, "{pairs} pairs");
        }
    }

    #[test]
    #[ignore = "24 billion pairs a level: a quarter of a minute each, optimised"]
    fn every_f32_from_every_estimate() {
        assert!(!std::hint::black_box(cfg!(debug_assertions)), "run with --release");
        for pairs in prove_f32_everywhere(1) {
            println!("{pairs} pairs");
            assert!(pairs > PAIRS, "{pairs} pairs");
        }
    }

    /// The proof for f64 with both numbers of steps.
    fn prove_f64_sequences<V, const N: usize>(isa: V::Isa)
    where
        V: Refine<Element = f64, Lanes = [f64; N]>,
    {
        let least = [4_000_000, 20_000_000].map(|pairs| pairs / stride() / 2);
        let fine = prove_f64::<V, N, F64_STEPS>(isa, FINE);
        let coarse = prove_f64::<V, N, F64_STEPS_FROM_AVX2>(isa, COARSE);
        assert!(fine > least[0] && coarse > least[1], "{fine}, {coarse} pairs");
    }

    #[test]
    fn every_hard_f64_from_every_estimate() {
        if let Some(isa) = Avx2::detect() {
            prove_f64_sequences::<<Avx2 as Simd>::F64, 4>(isa);
        }
        if let Some(isa) = Avx512::detect() {
            prove_f64_sequences::<<Avx512 as Simd>::F64, 8>(isa);
        }
    }
}

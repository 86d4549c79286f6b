//! Instruction sets and their registers: with `parallel/door.rs` the only place where `unsafe` is allowed.
//!
//! A [`Simd`] value is a token: it exists only where its instruction set does, so holding one
//! proves that its instructions may run. A [`Vector`] is one register of such a set; it is made
//! from a token, so it is the same proof. A [`Kernel`] is code generic over the set. [`Simd::run`]
//! compiles it inside the one function that carries the set's target features, and all that it
//! calls is `#[inline(always)]`, so that it ends up in there.
//!
//! How to add an instruction set: ARCHITECTURE.md.

#![allow(
    clippy::wildcard_imports,
    reason = "intrinsics are imported as std::arch documents it: all of them"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "intrinsics take signed integers for what are masks and lane counts"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod binary16;
mod environment;

mod portable;
#[cfg(target_arch = "x86_64")]
mod refine;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod token;

use crate::float::{Bf16, Bf16Pairs, F16, Narrow};
#[cfg(test)]
#[allow(unused_imports, reason = "for the tests of threads, where there are threads")]
pub use environment::foreign;
pub use environment::{seems_default, untrapped};
pub use portable::Portable;
pub use scalar::Scalar;
#[cfg(target_arch = "x86_64")]
pub use token::{Avx2, Avx512};

/// An instruction set; a value proves that the machine has it.
pub trait Simd: Copy + Send + Sync {
    /// Its register of f32.
    type F32: Single<Isa = Self>;
    /// Its register of f64.
    type F64: Vector<Element = f64, Isa = Self>
        + Memory<f32>
        + Memory<Bf16>
        + Memory<Bf16Pairs>
        + Memory<F16>;

    /// Runs `kernel`, compiled for this instruction set.
    fn run<K: Kernel>(self, kernel: K);

    /// Whether loads that wait behind roots come sooner if they are prefetched.
    #[inline(always)]
    fn prefetches(self) -> bool {
        true
    }
}

/// Code that is generic over the instruction set.
pub trait Kernel {
    /// The body. Implementations are `#[inline(always)]`.
    fn call<S: Simd>(self, isa: S);
}

/// One register of numbers. Arithmetic is that of IEEE 754, lane by lane, each operation rounded once.
pub trait Vector: Copy {
    /// The type of a lane.
    type Element: Copy;
    /// The instruction set that this register belongs to.
    type Isa: Simd;
    /// The register as an array in memory.
    type Lanes: Lanes<Self::Element> + 'static;

    /// The same value in each lane.
    fn splat(isa: Self::Isa, value: Self::Element) -> Self;
    /// Reads a register from memory of any alignment.
    fn load(isa: Self::Isa, lanes: &Self::Lanes) -> Self;
    /// Writes a register to memory of any alignment.
    fn store(self, lanes: &mut Self::Lanes);
    /// The same past the caches, where the memory is aligned to the register and the instruction
    /// set has it.
    #[inline(always)]
    fn stream(self, lanes: &mut Self::Lanes, _: &Streaming) {
        self.store(lanes);
    }

    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// `self - other`
    fn sub(self, other: Self) -> Self;
    /// `self * other`
    fn mul(self, other: Self) -> Self;
    /// `self / other`
    fn div(self, other: Self) -> Self;
    /// `self + value * value`, where the product is exact: fused or not, the same bits.
    #[inline(always)]
    fn add_exact_square(self, value: Self) -> Self {
        self.add(value.mul(value))
    }
    /// `abs(self)`
    fn abs(self) -> Self;
    /// `copysign(limit, self)` where `abs(self) > limit`, else `self`: NaN stays NaN. The limit is
    /// positive.
    fn clamp_magnitude(self, limit: Self) -> Self;
    /// The larger one; `self` if `other` is NaN. (`self` is not.)
    fn larger(self, other: Self) -> Self;
    /// The smaller one; `self` if `other` is NaN. (`self` is not.)
    fn smaller(self, other: Self) -> Self;
    /// `copysign(sqrt(abs(self)), self)`
    fn signed_sqrt(self) -> Self;

    /// Of four registers in a row, how many are better refined: as many as keep the square-root unit and
    /// the multiply-add units busy for the same time.
    #[inline(always)]
    fn refined_of_four(_: Self::Isa) -> usize {
        0
    }
    /// The same in place and beyond the caches near the core.
    const REFINED_OF_FOUR_FAR: usize = 0;
    /// The bits of `signed_sqrt`, taken by the multiply-add units instead of the square-root unit.
    #[inline(always)]
    fn signed_sqrt_refined(self, _: Self::Isa) -> Self {
        self.signed_sqrt()
    }
}

/// A register of f32: what the formats that are computed in f32 need beside arithmetic.
pub trait Single: Vector<Element = f32, Lanes: 'static> {
    /// The integers that are the bits of the lanes.
    type Words: Words<Isa = Self::Isa>;

    /// The bits.
    fn to_words(self) -> Self::Words;
    /// The numbers of these bits.
    fn from_words(words: Self::Words) -> Self;
    /// The integers next to numbers of 0 or more and below 2^31, toward 0; anything of others.
    fn truncate(self) -> Self::Words;
    /// `usual`, but `nan` where this is NaN.
    fn unless_nan(self, usual: Self::Words, nan: Self::Words) -> Self::Words;
    /// Whether there is a NaN in `self` or in `other`.
    fn any_nan(self, other: Self) -> bool;
    /// The numbers of f16, from the lower halves; the upper ones are 0.
    #[inline(always)]
    fn from_f16(isa: Self::Isa, halves: Self::Words) -> Self {
        binary16::from_f16(isa, halves)
    }
    /// The nearest numbers of f16, ties to even, in the lower halves. (The upper ones are not specified.)
    #[inline(always)]
    fn to_f16(self, isa: Self::Isa) -> Self::Words {
        binary16::to_f16(isa, self)
    }
}

/// A register of u32: as many lanes as the register of f32 has.
pub trait Words: Copy {
    /// The instruction set that this register belongs to.
    type Isa: Simd;
    /// As many u32 in memory as there are lanes; u16 and u8.
    type Lanes: Lanes<u32> + 'static;
    type Halves: Lanes<u16> + 'static;
    type Bytes: Lanes<u8> + 'static;

    /// The same value in each lane.
    fn splat(isa: Self::Isa, value: u32) -> Self;
    /// Reads a register from memory of any alignment; from u16 and u8, the same numbers.
    fn load(isa: Self::Isa, lanes: &Self::Lanes) -> Self;
    fn load_halves(isa: Self::Isa, lanes: &Self::Halves) -> Self;
    fn load_bytes(isa: Self::Isa, lanes: &Self::Bytes) -> Self;
    /// Reads two u16 into each lane; where which of them is depends on the byte order of the machine.
    fn load_pair(isa: Self::Isa, lanes: &[Self::Halves; 2]) -> Self;
    /// Writes the lower bits of a register to memory of any alignment.
    fn store_halves(self, lanes: &mut Self::Halves);
    fn store_bytes(self, lanes: &mut Self::Bytes);
    /// Writes what [`load_pair`](Self::load_pair) reads.
    fn store_pair(self, lanes: &mut [Self::Halves; 2]);

    /// `self + other`, wrapping.
    fn add(self, other: Self) -> Self;
    /// `self - other`, wrapping.
    fn sub(self, other: Self) -> Self;
    /// `self & other`
    fn and(self, other: Self) -> Self;
    /// `self | other`
    fn or(self, other: Self) -> Self;
    /// `self ^ other`
    fn xor(self, other: Self) -> Self;
    /// The larger one.
    fn max(self, other: Self) -> Self;
    /// The largest of the lanes.
    fn largest(self) -> u32;
    /// `self << bits`, of less than 32.
    fn shl(self, bits: u32) -> Self;
    /// `self >> bits`, of less than 32.
    fn shr(self, bits: u32) -> Self;
    /// `if self > than { a } else { b }`, of `self` and `than` below 2^31.
    fn if_above(self, than: Self, a: Self, b: Self) -> Self;
}

/// The same value in each lane. (A closure would not be inlined.)
#[inline(always)]
pub fn word<W: Words>(isa: W::Isa, value: u32) -> W {
    W::splat(isa, value)
}

/// A register that is read from numbers of another format in memory, and rounded to them.
pub trait Memory<M: Narrow<Self::Element>>: Vector {
    /// As many as there are lanes.
    type Packed: Lanes<M::Memory> + 'static;

    /// Reads from memory of any alignment: the same numbers.
    fn unpack(isa: Self::Isa, packed: &Self::Packed) -> Self;
    /// Writes to memory of any alignment: the nearest numbers, ties to even.
    fn pack(self, packed: &mut Self::Packed);
}

/// [`Memory::unpack`] lane by lane.
#[inline(always)]
fn unpack_lanes<M, V, T, const N: usize>(isa: V::Isa, packed: &[M::Memory; N]) -> V
where
    V: Vector<Element = T, Lanes = [T; N]>,
    M: Narrow<T>,
{
    V::load(isa, &packed.map(M::widen))
}

/// [`Memory::pack`] lane by lane.
#[inline(always)]
fn pack_lanes<M, V, T, const N: usize>(register: V, packed: &mut [M::Memory; N])
where
    V: Vector<Element = T, Lanes = [T; N]>,
    M: Narrow<T>,
{
    let mut lanes = packed.map(M::widen);
    register.store(&mut lanes);
    *packed = lanes.map(M::narrow);
}

/// Which units of the core take a square root. The bits are the same.
#[derive(Debug, Clone, Copy)]
pub enum Root {
    /// The square-root unit.
    Direct,
    /// The multiply-add units.
    Refined,
}

impl Root {
    /// The units for register number `i` if the first `refined` take the multiply-add units.
    #[inline(always)]
    pub const fn of(i: usize, refined: usize) -> Self {
        if i < refined { Self::Refined } else { Self::Direct }
    }

    /// `copysign(sqrt(abs(value)), value)`
    #[inline(always)]
    pub fn signed_sqrt<V: Vector>(self, isa: V::Isa, value: V) -> V {
        match self {
            Self::Direct => value.signed_sqrt(),
            Self::Refined => value.signed_sqrt_refined(isa),
        }
    }
}

/// A register as an array in memory.
pub trait Lanes<T>: Copy {
    /// How many elements it has.
    const LENGTH: usize;
    /// Splits a slice into whole registers and a rest shorter than one.
    fn chunks(slice: &[T]) -> (&[Self], &[T]);
    /// The same, for writing.
    fn chunks_mut(slice: &mut [T]) -> (&mut [Self], &mut [T]);
}

impl<T: Copy, const N: usize> Lanes<T> for [T; N] {
    const LENGTH: usize = N;

    #[inline(always)]
    fn chunks(slice: &[T]) -> (&[Self], &[T]) {
        slice.as_chunks()
    }
    #[inline(always)]
    fn chunks_mut(slice: &mut [T]) -> (&mut [Self], &mut [T]) {
        slice.as_chunks_mut()
    }
}

/// Permission to write past the caches. Other threads may see such writes late, but not later than
/// anything that is written after this value has been dropped.
#[derive(Debug)]
pub struct Streaming(());

impl Streaming {
    #[inline(always)]
    pub fn start() -> Self {
        Self(())
    }
}

impl Drop for Streaming {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction is part of sse, which every x86-64 CPU has.
        unsafe {
            std::arch::x86_64::_mm_sfence();
        }
    }
}

/// Asks for the cache lines that lie `ahead` bytes behind the start of each line of `block`. A hint
/// that changes no result; nothing where the instruction set has none in stable Rust.
#[inline(always)]
pub fn prefetch<T>(block: &T, ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of::<T>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let address = std::ptr::from_ref(block).wrapping_byte_add(line + ahead);
        // SAFETY: a prefetch is a hint for any address: it accesses nothing and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (block, ahead);
}

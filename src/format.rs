//! What is stored, and what it is computed in.

use crate::float::{Bf16, Float};
use crate::simd::{Lanes, Memory, Simd, Streaming, Vector};

/// A type that kernels compute in.
pub trait Number: Float + Format<f64> {
    /// The register of the instruction set `S` that holds this type.
    type Vector<S: Simd>: Vector<Element = Self, Isa = S, Lanes: 'static> + Memory<Bf16>;
    /// An unsigned integer of the same size, so that loops that count take as many lanes.
    type Bits: Copy + Default + Ord + From<bool> + Into<u64> + std::ops::AddAssign;
    /// The bits of ∞.
    const INFINITY_BITS: Self::Bits;
    /// The bits of the smallest normal number.
    const MIN_POSITIVE_BITS: Self::Bits;
    /// A power of two that twice in a row makes the smallest subnormal number 1 or more.
    const SUBNORMAL_SCALE: Self;

    /// The bits of the representation.
    fn bits(self) -> Self::Bits;
    /// The number of these bits.
    fn of_bits(bits: Self::Bits) -> Self;
}

impl Number for f32 {
    type Vector<S: Simd> = S::F32;
    type Bits = u32;
    const INFINITY_BITS: u32 = Self::INFINITY.to_bits();
    const MIN_POSITIVE_BITS: u32 = Self::MIN_POSITIVE.to_bits();
    const SUBNORMAL_SCALE: Self = Self::from_bits((127 + 75) << 23);

    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }
    #[inline(always)]
    fn of_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }
}

impl Number for f64 {
    type Vector<S: Simd> = S::F64;
    type Bits = u64;
    const INFINITY_BITS: u64 = Self::INFINITY.to_bits();
    const MIN_POSITIVE_BITS: u64 = Self::MIN_POSITIVE.to_bits();
    const SUBNORMAL_SCALE: Self = Self::from_bits((1023 + 537) << 52);

    #[inline(always)]
    fn bits(self) -> u64 {
        self.to_bits()
    }
    #[inline(always)]
    fn of_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

/// A type of elements in memory, and the type that they are computed in.
pub trait Stored: Format<Self::Compute> {
    /// What they are computed in.
    type Compute: Number;
}

impl<C: Number> Stored for C {
    type Compute = Self;
}

/// Elements in memory that registers of `C` are read from and written to.
pub trait Format<C: Number>: Copy + Send + Sync + 'static {
    /// What fills a register of `S`.
    type Lanes<S: Simd>: Lanes<Self> + 'static;
    /// Reads the same numbers.
    fn load<S: Simd>(isa: S, lanes: &Self::Lanes<S>) -> C::Vector<S>;
    /// Writes the nearest numbers: past the caches, if there is permission and they fill a register.
    fn store<S: Simd>(
        register: C::Vector<S>,
        lanes: &mut Self::Lanes<S>,
        streaming: Option<&Streaming>,
    );
}

/// A number in itself.
impl<C: Number> Format<C> for C {
    type Lanes<S: Simd> = <C::Vector<S> as Vector>::Lanes;

    #[inline(always)]
    fn load<S: Simd>(isa: S, lanes: &Self::Lanes<S>) -> C::Vector<S> {
        C::Vector::<S>::load(isa, lanes)
    }
    #[inline(always)]
    fn store<S: Simd>(
        register: C::Vector<S>,
        lanes: &mut Self::Lanes<S>,
        streaming: Option<&Streaming>,
    ) {
        match streaming {
            Some(streaming) => register.stream(lanes, streaming),
            None => register.store(lanes),
        }
    }
}

impl<C: Number> Format<C> for Bf16 {
    type Lanes<S: Simd> = <C::Vector<S> as Memory<Self>>::Packed;

    #[inline(always)]
    fn load<S: Simd>(isa: S, lanes: &Self::Lanes<S>) -> C::Vector<S> {
        C::Vector::<S>::unpack(isa, lanes)
    }
    #[inline(always)]
    fn store<S: Simd>(register: C::Vector<S>, lanes: &mut Self::Lanes<S>, _: Option<&Streaming>) {
        register.pack(lanes);
    }
}

impl Format<f64> for f32 {
    type Lanes<S: Simd> = <S::F64 as Memory<Self>>::Packed;

    #[inline(always)]
    fn load<S: Simd>(isa: S, lanes: &Self::Lanes<S>) -> S::F64 {
        <S::F64 as Memory<Self>>::unpack(isa, lanes)
    }
    #[inline(always)]
    fn store<S: Simd>(register: S::F64, lanes: &mut Self::Lanes<S>, _: Option<&Streaming>) {
        <S::F64 as Memory<Self>>::pack(register, lanes);
    }
}

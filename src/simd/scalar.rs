//! One element at a time: the end of a slice, where no register fits any more.

use super::{Kernel, Memory, Simd, Single, Vector, Words, pack_lanes, unpack_lanes};
use crate::float::{Float, Narrow};

/// The token of scalar code. Every machine has it.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

impl Simd for Scalar {
    type F32 = Lane<f32>;
    type F64 = Lane<f64>;

    #[inline]
    fn run<K: Kernel>(self, kernel: K) {
        kernel.call(self);
    }
}

/// A register of one lane.
#[derive(Debug, Clone, Copy)]
pub struct Lane<T>(T);

impl<T: Float> Vector for Lane<T> {
    type Element = T;
    type Isa = Scalar;
    type Lanes = [T; 1];

    #[inline(always)]
    fn splat(_: Scalar, value: T) -> Self {
        Self(value)
    }
    #[inline(always)]
    fn load(_: Scalar, &[lane]: &[T; 1]) -> Self {
        Self(lane)
    }
    #[inline(always)]
    fn store(self, lanes: &mut [T; 1]) {
        *lanes = [self.0];
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(self.0 / other.0)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.abs())
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other.0 > self.0 { other } else { self }
    }
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }
    #[inline(always)]
    fn clamp_magnitude(self, limit: Self) -> Self {
        if self.0.abs() > limit.0 { Self(limit.0.copysign(self.0)) } else { self }
    }
    #[inline(always)]
    fn signed_sqrt(self) -> Self {
        Self(self.0.abs().sqrt().copysign(self.0))
    }
}

impl<T: Float, M: Narrow<T>> Memory<M> for Lane<T> {
    type Packed = [M::Memory; 1];

    #[inline(always)]
    fn unpack(isa: Scalar, packed: &Self::Packed) -> Self {
        unpack_lanes::<M, _, _, _>(isa, packed)
    }
    #[inline(always)]
    fn pack(self, packed: &mut Self::Packed) {
        pack_lanes::<M, _, _, _>(self, packed);
    }
}

impl Single for Lane<f32> {
    type Words = Lane<u32>;

    #[inline(always)]
    fn to_words(self) -> Lane<u32> {
        Lane(self.0.to_bits())
    }
    #[inline(always)]
    fn from_words(words: Lane<u32>) -> Self {
        Self(f32::from_bits(words.0))
    }
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is meant")]
    fn truncate(self) -> Lane<u32> {
        Lane(self.0 as u32)
    }
    #[inline(always)]
    fn unless_nan(self, usual: Lane<u32>, nan: Lane<u32>) -> Lane<u32> {
        if self.0.is_nan() { nan } else { usual }
    }
    #[inline(always)]
    fn any_nan(self, other: Self) -> bool {
        self.0.is_nan() || other.0.is_nan()
    }
}

impl Words for Lane<u32> {
    type Isa = Scalar;
    type Lanes = [u32; 1];
    type Halves = [u16; 1];
    type Bytes = [u8; 1];

    #[inline(always)]
    fn splat(_: Scalar, value: u32) -> Self {
        Self(value)
    }
    #[inline(always)]
    fn load(_: Scalar, &[lane]: &[u32; 1]) -> Self {
        Self(lane)
    }
    #[inline(always)]
    fn load_halves(_: Scalar, &[lane]: &[u16; 1]) -> Self {
        Self(lane.into())
    }
    #[inline(always)]
    fn load_bytes(_: Scalar, &[lane]: &[u8; 1]) -> Self {
        Self(lane.into())
    }
    #[inline(always)]
    fn load_pair(_: Scalar, lanes: &[[u16; 1]; 2]) -> Self {
        Self(bytemuck::cast(*lanes))
    }
    #[inline(always)]
    fn store_pair(self, lanes: &mut [[u16; 1]; 2]) {
        *lanes = bytemuck::cast(self.0);
    }
    #[inline(always)]
    fn store_halves(self, lanes: &mut [u16; 1]) {
        *lanes = [self.0 as u16];
    }
    #[inline(always)]
    fn store_bytes(self, lanes: &mut [u8; 1]) {
        *lanes = [self.0 as u8];
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
    #[inline(always)]
    fn largest(self) -> u32 {
        self.0
    }
    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        Self(self.0 << bits)
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        Self(self.0 >> bits)
    }
    #[inline(always)]
    fn if_above(self, than: Self, a: Self, b: Self) -> Self {
        if self.0 > than.0 { a } else { b }
    }
}

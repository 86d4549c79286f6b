//! One element at a time: the end of a slice, where no register fits any more.

use super::{Kernel, Memory, Simd, Vector, pack_lanes, unpack_lanes};
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

impl<T: Float, M: Narrow<T> + 'static> Memory<M> for Lane<T> {
    type Packed = [M; 1];

    #[inline(always)]
    fn unpack(isa: Scalar, packed: &[M; 1]) -> Self {
        unpack_lanes(isa, packed)
    }
    #[inline(always)]
    fn pack(self, packed: &mut [M; 1]) {
        pack_lanes(self, packed);
    }
}

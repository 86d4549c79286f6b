//! One element at a time: the end of a slice, where no register fits any more.

use super::{Kernel, Simd, Vector, Widening};
use crate::{Element, reference};

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

impl<T: Element> Vector<T> for Lane<T> {
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
        Self(reference::signed_sqrt(self.0))
    }
}

impl Widening for Lane<f64> {
    type Narrow = [f32; 1];

    #[inline(always)]
    fn widen(_: Scalar, &[lane]: &[f32; 1]) -> Self {
        Self(lane.into())
    }
}

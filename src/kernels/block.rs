//! Several registers worked on together, so that an operation is one expression over them.

use crate::simd::{Root, Vector};
use std::ops::{Add, Div, Mul, Sub};

/// Numbers that an operation takes and makes: lane by lane, each operation rounded once.
pub(crate) trait Block<C>:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// This value, as often as there are numbers in `self`.
    fn splat(self, value: C) -> Self;
    /// The magnitudes.
    fn abs(self) -> Self;
    /// `copysign(limit, self)` where `abs(self) > limit`, else `self`.
    fn clamp_magnitude(self, limit: C) -> Self;
    /// `copysign(sqrt(abs(self)), self)`
    fn signed_sqrt(self) -> Self;
}

/// The registers of a block, of which the first `refined` take roots by the multiply-add units.
#[derive(Clone, Copy)]
pub(super) struct Registers<V: Vector, const N: usize> {
    pub(super) isa: V::Isa,
    pub(super) refined: usize,
    pub(super) all: [V; N],
}

impl<V: Vector, const N: usize> Registers<V, N> {
    #[inline(always)]
    fn map(mut self, f: impl Fn(V) -> V) -> Self {
        for v in &mut self.all {
            *v = f(*v);
        }
        self
    }
    #[inline(always)]
    fn zip(mut self, other: Self, f: impl Fn(V, V) -> V) -> Self {
        for (v, other) in self.all.iter_mut().zip(other.all) {
            *v = f(*v, other);
        }
        self
    }
}

/// The operators of [`Registers`] are those of its registers.
macro_rules! operators {
    ($($trait:ident $method:ident),*) => {$(
        impl<V: Vector, const N: usize> $trait for Registers<V, N> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.zip(other, V::$method)
            }
        }
    )*};
}
operators!(Add add, Sub sub, Mul mul, Div div);

impl<V: Vector, const N: usize> Block<V::Element> for Registers<V, N> {
    #[inline(always)]
    fn splat(self, value: V::Element) -> Self {
        Self { all: [V::splat(self.isa, value); N], ..self }
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.map(V::abs)
    }
    #[inline(always)]
    fn clamp_magnitude(self, limit: V::Element) -> Self {
        let limit = V::splat(self.isa, limit);
        self.map(
            #[inline(always)]
            |v| v.clamp_magnitude(limit),
        )
    }
    #[inline(always)]
    fn signed_sqrt(mut self) -> Self {
        for (i, v) in self.all.iter_mut().enumerate() {
            *v = Root::of(i, self.refined).signed_sqrt(self.isa, *v);
        }
        self
    }
}

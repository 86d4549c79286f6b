//! The operations, each by the formula of its namesake in `reference.rs`.

use super::Operation;
use crate::Element;
use crate::simd::Vector;

/// `out = signed_sqrt(gradient)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedSqrt;

impl<T: Element> Operation<T, 1> for SignedSqrt {
    const ROOT: bool = true;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, _: V::Isa, _: V, [gradient]: [V; 1]) -> V {
        gradient.signed_sqrt()
    }
}

/// `values = signed_sqrt(values)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedSqrtInPlace;

impl<T: Element> Operation<T, 0> for SignedSqrtInPlace {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, _: V::Isa, value: V, []: [V; 0]) -> V {
        value.signed_sqrt()
    }
}

/// `y = y + (alpha * x)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axpy<T> {
    pub(crate) alpha: T,
}

impl<T: Element> Operation<T, 1> for Axpy<T> {
    const ROOT: bool = false;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, isa: V::Isa, y: V, [x]: [V; 1]) -> V {
        y.add(V::splat(isa, self.alpha).mul(x))
    }
}

/// `parameter = parameter - (learning_rate * signed_sqrt(gradient))`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descend<T> {
    pub(crate) learning_rate: T,
}

impl<T: Element> Operation<T, 1> for Descend<T> {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, isa: V::Isa, parameter: V, [gradient]: [V; 1]) -> V {
        parameter.sub(V::splat(isa, self.learning_rate).mul(gradient.signed_sqrt()))
    }
}

/// `out = parameter - (learning_rate * signed_sqrt(gradient))`
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescendInto<T> {
    pub(crate) learning_rate: T,
}

impl<T: Element> Operation<T, 2> for DescendInto<T> {
    const ROOT: bool = true;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, isa: V::Isa, _: V, [parameter, gradient]: [V; 2]) -> V {
        let Self { learning_rate } = self;
        Descend { learning_rate }.apply(isa, parameter, [gradient])
    }
}

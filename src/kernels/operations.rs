//! The operations, each by the formula of its namesake in `reference.rs`.

use super::Operation;
use crate::Element;
use crate::simd::{Root, Vector};

/// `out = signed_sqrt(gradient)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedSqrt;

impl<T: Element> Operation<T, 1, 1> for SignedSqrt {
    const ROOT: bool = true;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, _: V::Isa, root: Root, _: [V; 1], [gradient]: [V; 1]) -> [V; 1] {
        [root.signed_sqrt(gradient)]
    }
}

/// `values = signed_sqrt(values)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedSqrtInPlace;

impl<T: Element> Operation<T, 1, 0> for SignedSqrtInPlace {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, _: V::Isa, root: Root, [value]: [V; 1], []: [V; 0]) -> [V; 1] {
        [root.signed_sqrt(value)]
    }
}

/// `y = y + (alpha * x)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axpy<T> {
    pub(crate) alpha: T,
}

impl<T: Element> Operation<T, 1, 1> for Axpy<T> {
    const ROOT: bool = false;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, isa: V::Isa, _: Root, [y]: [V; 1], [x]: [V; 1]) -> [V; 1] {
        [y.add(V::splat(isa, self.alpha).mul(x))]
    }
}

/// `parameter = parameter - (learning_rate * signed_sqrt(gradient))`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descend<T> {
    pub(crate) learning_rate: T,
}

impl<T: Element> Operation<T, 1, 1> for Descend<T> {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>>(
        self,
        isa: V::Isa,
        root: Root,
        [parameter]: [V; 1],
        [gradient]: [V; 1],
    ) -> [V; 1] {
        [parameter.sub(V::splat(isa, self.learning_rate).mul(root.signed_sqrt(gradient)))]
    }
}

/// `out = parameter - (learning_rate * signed_sqrt(gradient))`
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescendInto<T> {
    pub(crate) learning_rate: T,
}

impl<T: Element> Operation<T, 1, 2> for DescendInto<T> {
    const ROOT: bool = true;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<V: Vector<T>>(
        self,
        isa: V::Isa,
        root: Root,
        _: [V; 1],
        [parameter, gradient]: [V; 2],
    ) -> [V; 1] {
        let Self { learning_rate } = self;
        Descend { learning_rate }.apply(isa, root, [parameter], [gradient])
    }
}

/// `out = y + (alpha * x)`: the traffic of [`DescendInto`] without its root, for the benches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AxpyInto<T> {
    pub(crate) alpha: T,
}

impl<T: Element> Operation<T, 1, 2> for AxpyInto<T> {
    const ROOT: bool = false;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, isa: V::Isa, root: Root, _: [V; 1], [y, x]: [V; 2]) -> [V; 1] {
        let Self { alpha } = self;
        Axpy { alpha }.apply(isa, root, [y], [x])
    }
}

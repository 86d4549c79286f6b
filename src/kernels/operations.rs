//! The operations, each by the formula of its namesake in `reference.rs`.

use super::Operation;
use crate::Element;
use crate::simd::{Root, Vector};

/// `out = signed_sqrt(gradient)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedSqrt;

impl<T: Element> Operation<T, 1> for SignedSqrt {
    const ROOT: bool = true;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, _: V::Isa, root: Root, _: V, [gradient]: [V; 1]) -> V {
        root.signed_sqrt(gradient)
    }
}

/// `values = signed_sqrt(values)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedSqrtInPlace;

impl<T: Element> Operation<T, 0> for SignedSqrtInPlace {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, _: V::Isa, root: Root, value: V, []: [V; 0]) -> V {
        root.signed_sqrt(value)
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
    fn apply<V: Vector<T>>(self, isa: V::Isa, _: Root, y: V, [x]: [V; 1]) -> V {
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
    fn apply<V: Vector<T>>(self, isa: V::Isa, root: Root, parameter: V, [gradient]: [V; 1]) -> V {
        parameter.sub(V::splat(isa, self.learning_rate).mul(root.signed_sqrt(gradient)))
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
    fn apply<V: Vector<T>>(
        self,
        isa: V::Isa,
        root: Root,
        _: V,
        [parameter, gradient]: [V; 2],
    ) -> V {
        let Self { learning_rate } = self;
        Descend { learning_rate }.apply(isa, root, parameter, [gradient])
    }
}

/// `out = y + (alpha * x)`: the traffic of [`DescendInto`] without its root, for the benches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AxpyInto<T> {
    pub(crate) alpha: T,
}

impl<T: Element> Operation<T, 2> for AxpyInto<T> {
    const ROOT: bool = false;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<V: Vector<T>>(self, isa: V::Isa, root: Root, _: V, [y, x]: [V; 2]) -> V {
        let Self { alpha } = self;
        Axpy { alpha }.apply(isa, root, y, [x])
    }
}

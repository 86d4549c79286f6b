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
    fn apply<V: Vector<T>, const N: usize>(
        self,
        _: V::Isa,
        refined: usize,
        _: [[V; N]; 1],
        [mut values]: [[V; N]; 1],
    ) -> [[V; N]; 1] {
        for (i, value) in values.iter_mut().enumerate() {
            *value = Root::of(i, refined).signed_sqrt(*value);
        }
        [values]
    }
}

/// `values = signed_sqrt(values)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedSqrtInPlace;

impl<T: Element> Operation<T, 1, 0> for SignedSqrtInPlace {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<V: Vector<T>, const N: usize>(
        self,
        _: V::Isa,
        refined: usize,
        [mut values]: [[V; N]; 1],
        []: [[V; N]; 0],
    ) -> [[V; N]; 1] {
        for (i, value) in values.iter_mut().enumerate() {
            *value = Root::of(i, refined).signed_sqrt(*value);
        }
        [values]
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
    fn apply<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        _: usize,
        [mut y]: [[V; N]; 1],
        [x]: [[V; N]; 1],
    ) -> [[V; N]; 1] {
        let alpha = V::splat(isa, self.alpha);
        for (y, x) in y.iter_mut().zip(x) {
            *y = y.add(alpha.mul(x));
        }
        [y]
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
    fn apply<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        refined: usize,
        [mut parameter]: [[V; N]; 1],
        [gradient]: [[V; N]; 1],
    ) -> [[V; N]; 1] {
        let learning_rate = V::splat(isa, self.learning_rate);
        for (i, parameter) in parameter.iter_mut().enumerate() {
            let root = Root::of(i, refined).signed_sqrt(gradient[i]);
            *parameter = parameter.sub(learning_rate.mul(root));
        }
        [parameter]
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
    fn apply<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        refined: usize,
        _: [[V; N]; 1],
        [parameter, gradient]: [[V; N]; 2],
    ) -> [[V; N]; 1] {
        let Self { learning_rate } = self;
        Descend { learning_rate }.apply(isa, refined, [parameter], [gradient])
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
    fn apply<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        refined: usize,
        _: [[V; N]; 1],
        [y, x]: [[V; N]; 2],
    ) -> [[V; N]; 1] {
        let Self { alpha } = self;
        Axpy { alpha }.apply(isa, refined, [y], [x])
    }
}

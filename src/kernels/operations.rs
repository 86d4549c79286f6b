//! The operations, each by the formula of its namesake in `reference.rs`.

use super::block::Block;
use super::update::Operation;
use crate::format::Number;

/// `out = signed_sqrt(gradient)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedSqrt;

impl<C: Number> Operation<C, 0, 1> for SignedSqrt {
    const ROOT: bool = true;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<B: Block<C>>(self, _: B, []: [B; 0], [gradient]: [B; 1]) -> (B, [B; 0]) {
        (gradient.signed_sqrt(), [])
    }
}

/// `values = signed_sqrt(values)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedSqrtInPlace;

impl<C: Number> Operation<C, 0, 0> for SignedSqrtInPlace {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<B: Block<C>>(self, values: B, []: [B; 0], []: [B; 0]) -> (B, [B; 0]) {
        (values.signed_sqrt(), [])
    }
}

/// `y = y + (alpha * x)`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axpy<C> {
    pub(crate) alpha: C,
}

impl<C: Number> Operation<C, 0, 1> for Axpy<C> {
    const ROOT: bool = false;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<B: Block<C>>(self, y: B, []: [B; 0], [x]: [B; 1]) -> (B, [B; 0]) {
        (y + x.splat(self.alpha) * x, [])
    }
}

/// `parameter = parameter - (learning_rate * signed_sqrt(gradient))`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descend<C> {
    pub(crate) learning_rate: C,
}

impl<C: Number> Operation<C, 0, 1> for Descend<C> {
    const ROOT: bool = true;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<B: Block<C>>(self, parameter: B, []: [B; 0], [gradient]: [B; 1]) -> (B, [B; 0]) {
        (parameter - parameter.splat(self.learning_rate) * gradient.signed_sqrt(), [])
    }
}

/// `out = parameter - (learning_rate * signed_sqrt(gradient))`
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescendInto<C> {
    pub(crate) learning_rate: C,
}

impl<C: Number> Operation<C, 0, 2> for DescendInto<C> {
    const ROOT: bool = true;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<B: Block<C>>(self, _: B, []: [B; 0], [x, g]: [B; 2]) -> (B, [B; 0]) {
        Descend { learning_rate: self.learning_rate }.apply(x, [], [g])
    }
}

//! The border of what is compiled in this crate: above it, code is generic over the element type and
//! compiled by whoever calls it; below it, everything is compiled here, once for each type, with the
//! profile of this crate.

use crate::error::Error;
use crate::executor::Executor;
use crate::float::Float;
use crate::inspection::Inspection;
use crate::kernels::{Axpy, Descend, DescendInto, SignedSqrt, SignedSqrtInPlace};
use crate::step::TensorStep;

/// A type of elements in memory that the operations work on: `f32` or `f64`.
///
/// The trait is sealed: the contract is proven for these two types. What can be done with a single
/// number of either is in [`Float`].
///
/// ```
/// fn halve<T: rootstep::Element<Compute = T>>(values: &mut [T]) {
///     let copy = values.to_vec();
///     rootstep::axpy(T::from_f64(-0.5), &copy, values);
/// }
/// let mut values = [2.0_f32, -4.0];
/// halve(&mut values);
/// assert_eq!(values, [1.0, -2.0]);
/// ```
///
/// What this crate compiles for each type is called by its own functions alone, which check the lengths:
///
/// ```compile_fail
/// fn unchecked<T: rootstep::Element>(x: &mut [T], g: &[T], rate: T::Compute) {
///     T::descend(rootstep::Executor::default(), x, g, rate);
/// }
/// ```
pub trait Element: Float + Compiled<Self::Compute> {
    /// The type that results are computed in, and that numbers such as a learning rate are given in.
    type Compute: Float;
}

impl Element for f32 {
    type Compute = Self;
}
impl Element for f64 {
    type Compute = Self;
}

/// Whoever has checked the lengths: this crate alone, so that no one else calls what is [`Compiled`].
#[derive(Debug, Clone, Copy)]
pub struct Checked(());

impl Checked {
    pub(crate) const fn lengths() -> Self {
        Self(())
    }
}

/// The functions that this crate compiles for an element type. The lengths of slices are equal.
pub trait Compiled<C>: Sized {
    fn signed_sqrt(_: Checked, executor: Executor, gradient: &[Self], out: &mut [Self]);
    fn signed_sqrt_in_place(_: Checked, executor: Executor, values: &mut [Self]);
    fn axpy(_: Checked, executor: Executor, alpha: C, x: &[Self], y: &mut [Self]);
    fn descend(
        _: Checked,
        executor: Executor,
        parameters: &mut [Self],
        gradient: &[Self],
        learning_rate: C,
    );
    fn descend_into(
        _: Checked,
        executor: Executor,
        parameters: &[Self],
        gradient: &[Self],
        learning_rate: C,
        out: &mut [Self],
    );
    fn descend_all(
        _: Checked,
        executor: Executor,
        tensors: &mut [(&mut [Self], &[Self])],
        learning_rate: C,
    );
    fn inspect(_: Checked, executor: Executor, gradients: &[&[Self]]) -> Inspection;
    fn step_all(
        _: Checked,
        executor: Executor,
        tensors: &mut [TensorStep<'_, Self, C>],
    ) -> Result<(), Error>;
}

/// A generic implementation would be compiled where it is called. Each entry runs what it calls in the default
/// floating-point environment, in line: a short slice pays for every call.
macro_rules! compile {
    ($($element:ty),*) => {$(
        impl Compiled<$element> for $element {
            fn signed_sqrt(_: Checked, executor: Executor, gradient: &[Self], out: &mut [Self]) {
                executor.in_default_environment(
                    #[inline(always)]
                    move || executor.update(SignedSqrt, out, [gradient]),
                );
            }
            fn signed_sqrt_in_place(_: Checked, executor: Executor, values: &mut [Self]) {
                executor.in_default_environment(
                    #[inline(always)]
                    move || executor.update(SignedSqrtInPlace, values, []),
                );
            }
            fn axpy(_: Checked, executor: Executor, alpha: $element, x: &[Self], y: &mut [Self]) {
                executor.in_default_environment(
                    #[inline(always)]
                    move || executor.update(Axpy { alpha }, y, [x]),
                );
            }
            fn descend(
                _: Checked,
                executor: Executor,
                parameters: &mut [Self],
                gradient: &[Self],
                learning_rate: $element,
            ) {
                executor.in_default_environment(
                    #[inline(always)]
                    move || executor.update(Descend { learning_rate }, parameters, [gradient]),
                );
            }
            fn descend_into(
                _: Checked,
                executor: Executor,
                parameters: &[Self],
                gradient: &[Self],
                learning_rate: $element,
                out: &mut [Self],
            ) {
                executor.in_default_environment(
                    #[inline(always)]
                    move || executor.update(DescendInto { learning_rate }, out, [parameters, gradient]),
                );
            }
            fn descend_all(
                _: Checked,
                executor: Executor,
                tensors: &mut [(&mut [Self], &[Self])],
                learning_rate: $element,
            ) {
                executor.in_default_environment(|| {
                    executor.descend_tensors(tensors, Descend { learning_rate });
                });
            }
            fn inspect(_: Checked, executor: Executor, gradients: &[&[Self]]) -> Inspection {
                executor.in_default_environment(|| executor.inspect_tensors(gradients))
            }
            fn step_all(
                _: Checked,
                executor: Executor,
                tensors: &mut [TensorStep<'_, Self, $element>],
            ) -> Result<(), Error> {
                executor.in_default_environment(|| executor.step_tensors(tensors))
            }
        }
    )*};
}
compile!(f32, f64);

//! The border of what is compiled in this crate: above it, code is generic over the element type and
//! compiled by whoever calls it; below it, everything is compiled here, once for each type, with the
//! profile of this crate.

use crate::error::Error;
use crate::executor::Executor;
use crate::float::Float;
use crate::format::Stored;
use crate::inspection::{BlockSums, Inspection};
use crate::kernels::{Axpy, Descend, DescendInto, SignedSqrt, SignedSqrtInPlace};
use crate::rows::RowsStep;
use crate::step::{Gradient, MomentumMut, Parameters, Step, StorageMut, Sum, TensorStep, Term};
use crate::sum_order::SumOrder;
use std::fmt::{Debug, Display};

/// A type of elements in memory that the operations work on: `f32`, `f64`, and with the feature `half`
/// `half::bf16` and `half::f16`.
///
/// `f32` and `f64` are computed in themselves, the others in `f32`: every operation reads them exactly, computes
/// as [`reference`](mod@crate::reference) specifies, and rounds the result to the nearest number of the type,
/// ties to even, once more.
///
/// The trait is sealed: the contract is proven for these types. What can be done with a single number that
/// results are computed in is in [`Float`].
///
/// ```
/// use rootstep::Element;
///
/// fn halve<T: Element>(values: &mut [T]) {
///     let copy = values.to_vec();
///     rootstep::axpy(T::Compute::from_f64(-0.5), &copy, values);
/// }
/// # use rootstep::Float;
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
pub trait Element:
    Copy
    + Default
    + PartialEq
    + PartialOrd
    + Debug
    + Display
    + Send
    + Sync
    + 'static
    + Compiled<Self::Compute>
{
    /// The type that results are computed in, and that numbers such as a learning rate are given in.
    type Compute: Float + Element<Compute = Self::Compute>;

    /// The name of the type: `f32`, `f64`, `bf16` or `f16`.
    const TYPE: &'static str;
    /// The smallest positive normal number.
    const SMALLEST_NORMAL: Self::Compute;

    /// The same number in the type that it is computed in: exact.
    fn widen(self) -> Self::Compute;
    /// The number nearest to this one, ties to even; too large becomes infinite, NaN stays NaN.
    fn nearest(value: Self::Compute) -> Self;
}

macro_rules! in_itself {
    ($($number:ident),*) => {$(
        impl Element for $number {
            type Compute = Self;
            const TYPE: &'static str = stringify!($number);
            const SMALLEST_NORMAL: Self = <Self as Stored>::MIN_POSITIVE;

            #[inline]
            fn widen(self) -> Self {
                self
            }
            #[inline]
            fn nearest(value: Self) -> Self {
                value
            }
        }
    )*};
}
in_itself!(f32, f64);

#[cfg(feature = "half")]
macro_rules! in_f32 {
    ($($half:ident),*) => {$(
        impl Element for half::$half {
            type Compute = f32;
            const TYPE: &'static str = stringify!($half);
            const SMALLEST_NORMAL: f32 = <Self as Stored>::MIN_POSITIVE;

            #[inline]
            fn widen(self) -> f32 {
                self.to_f32()
            }
            #[inline]
            fn nearest(value: f32) -> Self {
                Self::from_f32(value)
            }
        }
    )*};
}
#[cfg(feature = "half")]
in_f32!(bf16, f16);

impl<'a, C: Float> TensorStep<'a, C> {
    /// The `step` on these `parameters`, by their `gradient` and with their `momentum`. The types may differ, if
    /// they are computed in the same one. The parameters are stored as the nearest numbers of their type, unless
    /// [something else](Self::with_storage) is asked for.
    #[must_use]
    pub fn new<T: Element<Compute = C>, G: Element<Compute = C>>(
        step: Step<C>,
        parameters: &'a mut [T],
        gradient: &'a [G],
        momentum: MomentumMut<'a, C>,
    ) -> Self {
        let (parameters, gradient) = (T::parameters(parameters), G::gradient(gradient));
        Self { step, parameters, gradient, momentum, storage: StorageMut::Nearest }
    }
}

impl<'a, C: Float> TensorStep<'a, C> {
    /// As [`new`](Self::new), with the sum of `terms` in this order for a gradient: each element of it is
    /// [`reference::sum`](crate::reference::sum) of theirs, or [`reference::sum_in_bf16`](crate::reference::sum_in_bf16)
    /// if the order is [in bf16](SumOrder::in_bf16). It is taken in the same pass, and not kept.
    #[must_use]
    pub fn of_sum<T: Element<Compute = C>>(
        step: Step<C>,
        parameters: &'a mut [T],
        order: &'a SumOrder,
        terms: &'a [Term<'a, C>],
        momentum: MomentumMut<'a, C>,
    ) -> Self {
        let gradient = Gradient::Sum(Sum::new(order, terms, parameters.len()));
        let parameters = T::parameters(parameters);
        Self { step, parameters, gradient, momentum, storage: StorageMut::Nearest }
    }
}

impl<'a, C: Float> RowsStep<'a, C> {
    /// The `step` on those rows of a `table` that the `indices` name. A row has `width` elements; so has, for each index,
    /// the gradient `rows`, in the same order. The momentum is that of the whole table.
    #[must_use]
    pub fn new<T: Element<Compute = C>, G: Element<Compute = C>>(
        step: Step<C>,
        table: &'a mut [T],
        width: usize,
        indices: &'a [usize],
        rows: &'a [G],
        momentum: MomentumMut<'a, C>,
    ) -> Self {
        Self { table: TensorStep::new(step, table, rows, momentum), width, indices }
    }
}

impl<'a, C: Float> Term<'a, C> {
    /// The term in this slice.
    #[must_use]
    pub fn new<G: Element<Compute = C>>(values: &'a [G]) -> Self {
        Self(G::gradient(values))
    }
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
    fn inspect_blocks(
        _: Checked,
        executor: Executor,
        gradients: &[&[Self]],
        scale: f64,
    ) -> BlockSums;
    /// As what they are stored.
    fn parameters(parameters: &mut [Self]) -> Parameters<'_, C>;
    fn gradient(gradient: &[Self]) -> Gradient<'_, C>;
    /// The steps are those of all types that are computed in `C`.
    fn step_all(
        _: Checked,
        executor: Executor,
        tensors: &mut [TensorStep<'_, C>],
    ) -> Result<(), Error>;
    fn step_rows(
        _: Checked,
        executor: Executor,
        tables: &mut [RowsStep<'_, C>],
    ) -> Result<(), Error>;
    fn sum_all(
        _: Checked,
        executor: Executor,
        sum: Sum<'_, C>,
        out: Parameters<'_, C>,
    ) -> Result<(), Error>;
}

/// A generic implementation would be compiled where it is called. Each entry runs what it calls in the default
/// floating-point environment, in line: a short slice pays for every call.
macro_rules! compile {
    ($($element:ty as $format:ident in $compute:ident),*) => {$(
        impl Compiled<$compute> for $element {
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
            fn axpy(_: Checked, executor: Executor, alpha: $compute, x: &[Self], y: &mut [Self]) {
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
                learning_rate: $compute,
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
                learning_rate: $compute,
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
                learning_rate: $compute,
            ) {
                executor.in_default_environment(|| {
                    executor.descend_tensors(tensors, Descend { learning_rate });
                });
            }
            fn inspect(_: Checked, executor: Executor, gradients: &[&[Self]]) -> Inspection {
                executor.in_default_environment(|| executor.inspect_tensors(gradients))
            }
            fn inspect_blocks(
                _: Checked,
                executor: Executor,
                gradients: &[&[Self]],
                scale: f64,
            ) -> BlockSums {
                executor.in_default_environment(|| executor.inspect_blocks_of(gradients, scale))
            }
            fn parameters(parameters: &mut [Self]) -> Parameters<'_, $compute> {
                Parameters::$format(Self::memory_mut(parameters))
            }
            fn gradient(gradient: &[Self]) -> Gradient<'_, $compute> {
                Gradient::$format(Self::memory(gradient))
            }
            fn step_all(
                _: Checked,
                executor: Executor,
                tensors: &mut [TensorStep<'_, $compute>],
            ) -> Result<(), Error> {
                $compute::step_tensors(executor, tensors)
            }
            fn step_rows(
                _: Checked,
                executor: Executor,
                tables: &mut [RowsStep<'_, $compute>],
            ) -> Result<(), Error> {
                $compute::step_tables(executor, tables)
            }
            fn sum_all(
                _: Checked,
                executor: Executor,
                sum: Sum<'_, $compute>,
                out: Parameters<'_, $compute>,
            ) -> Result<(), Error> {
                $compute::sum_terms(executor, sum, out)
            }
        }
    )*};
}
compile!(f32 as Full in f32, f64 as Full in f64);
#[cfg(feature = "half")]
compile!(half::bf16 as Bf16 in f32, half::f16 as F16 in f32);

/// Compiled once for all types that are computed in the same one.
trait StepTensors: Sized {
    fn step_tensors(executor: Executor, tensors: &mut [TensorStep<'_, Self>]) -> Result<(), Error>;
    fn step_tables(executor: Executor, tables: &mut [RowsStep<'_, Self>]) -> Result<(), Error>;
    fn sum_terms(
        executor: Executor,
        sum: Sum<'_, Self>,
        out: Parameters<'_, Self>,
    ) -> Result<(), Error>;
}

macro_rules! compile_steps {
    ($($compute:ident),*) => {$(
        impl StepTensors for $compute {
            fn step_tensors(
                executor: Executor,
                tensors: &mut [TensorStep<'_, Self>],
            ) -> Result<(), Error> {
                executor.in_default_environment(|| executor.step_tensors(tensors))
            }
            fn step_tables(
                executor: Executor,
                tables: &mut [RowsStep<'_, Self>],
            ) -> Result<(), Error> {
                executor.in_default_environment(|| executor.step_tables(tables))
            }
            fn sum_terms(
                executor: Executor,
                sum: Sum<'_, Self>,
                out: Parameters<'_, Self>,
            ) -> Result<(), Error> {
                executor.in_default_environment(|| executor.sum_terms(sum, out))
            }
        }
    )*};
}
compile_steps!(f32, f64);

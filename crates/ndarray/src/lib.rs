#![doc = include_str!("../README.md")]
//!
//! # Memory orders
//!
//! | arrays | how they are stepped |
//! |---|---|
//! | all in one memory order without gaps (row-major, column-major, reversed ..) | as slices, where they are; over threads if they are long |
//! | others, with lanes of 128 elements or more that are contiguous in all of them | each lane as a slice, where it is |
//! | others | blocks of 128 elements are copied, stepped and written back |
//!
//! The bits are the same in each case. What depends on the place of an element (momentum in int8 with its blocks,
//! stochastic rounding, [`inspect`]) goes by the row-major order of the elements, whatever their order in memory: only
//! row-major arrays are stepped as slices then.
//!
//! [`step_all`] allocates nothing for up to 16 tensors of up to 4 axes. For others it allocates lists of them and of their axes.
//!
//! # Shapes
//!
//! Arrays of a call have the same shape, or the call is refused with both shapes in the [`Error`]. Nothing is
//! broadcast. (A view that the caller has broadcast to the shape is a gradient like any other.) On an error nothing
//! has been written, in any array.

mod arrays;
mod blocks;
mod error;
mod executor;
mod tensor;

pub use error::Error;
pub use executor::ArrayExecutor;
pub use rootstep;
pub use tensor::{Momentum, Storage, Tensor};

use ndarray::{ArrayRef, ArrayViewD, Dimension};
use rootstep::optimizer::Step;
use rootstep::{Element, Executor, Inspection};

/// `out = copysign(sqrt(abs(gradient)), gradient)` for each element: [`rootstep::signed_sqrt`].
///
/// # Errors
///
/// [`Error::Shape`] if the shapes differ. Nothing is written then.
///
/// ```
/// use ndarray::{Array2, arr2};
///
/// let mut out = Array2::zeros((2, 2));
/// rootstep_ndarray::signed_sqrt(&arr2(&[[4.0_f32, -9.0], [0.25, -0.0]]), &mut out)?;
/// assert_eq!(out, arr2(&[[2.0, -3.0], [0.5, -0.0]]));
/// # Ok::<(), rootstep_ndarray::Error>(())
/// ```
pub fn signed_sqrt<T: Element, D: Dimension, E: Dimension>(
    gradient: &ArrayRef<T, D>,
    out: &mut ArrayRef<T, E>,
) -> Result<(), Error> {
    Executor::default().signed_sqrt_array(gradient, out)
}

/// `y = y + (alpha * x)` for each element: [`rootstep::axpy`].
///
/// # Errors
///
/// [`Error::Shape`] if the shapes differ. Nothing is written then.
///
/// ```
/// use ndarray::{Array2, arr2, array};
///
/// let mut y = arr2(&[[1.0_f64, 2.0]]);
/// rootstep_ndarray::axpy(-0.5, &arr2(&[[4.0, 8.0]]), &mut y)?;
/// assert_eq!(y, arr2(&[[-1.0, -2.0]]));
///
/// let error = rootstep_ndarray::axpy(-0.5, &array![4.0, 8.0], &mut y).unwrap_err();
/// let message = "`x` has the shape [2] and `y` has [1, 2]; allowed: the same shape, since nothing is broadcast";
/// assert_eq!(error.to_string(), message);
/// # Ok::<(), rootstep_ndarray::Error>(())
/// ```
pub fn axpy<T: Element, D: Dimension, E: Dimension>(
    alpha: T::Compute,
    x: &ArrayRef<T, D>,
    y: &mut ArrayRef<T, E>,
) -> Result<(), Error> {
    Executor::default().axpy_array(alpha, x, y)
}

/// `parameters = parameters - (learning_rate * signed_sqrt(gradient))` for each element: [`rootstep::descend`].
///
/// # Errors
///
/// [`Error::Shape`] if the shapes differ. Nothing is written then.
///
/// ```
/// use ndarray::{arr2, s};
///
/// // The first column alone.
/// let mut w = arr2(&[[1.0_f32, 2.0], [3.0, 4.0]]);
/// let gradient = arr2(&[[4.0_f32, 4.0], [-16.0, 4.0]]);
/// rootstep_ndarray::descend(&mut w.slice_mut(s![.., 0]), &gradient.slice(s![.., 0]), 0.25)?;
/// assert_eq!(w, arr2(&[[0.5, 2.0], [4.0, 4.0]]));
/// # Ok::<(), rootstep_ndarray::Error>(())
/// ```
pub fn descend<T: Element, D: Dimension, E: Dimension>(
    parameters: &mut ArrayRef<T, D>,
    gradient: &ArrayRef<T, E>,
    learning_rate: T::Compute,
) -> Result<(), Error> {
    Executor::default().descend_array(parameters, gradient, learning_rate)
}

/// The health of a model's gradients: [`rootstep::inspect`] of their elements in row-major order.
///
/// Arrays that are not row-major are copied for it.
///
/// ```
/// use ndarray::{arr2, array};
///
/// let (w, b) = (arr2(&[[3.0_f32, 0.0]]), array![-4.0_f32]);
/// let health = rootstep_ndarray::inspect(&[w.view().into_dyn(), b.view().into_dyn()]);
/// assert_eq!((health.norm, health.zero, health.is_finite()), (5.0, 1, true));
/// ```
#[must_use]
pub fn inspect<T: Element>(gradients: &[ArrayViewD<'_, T>]) -> Inspection {
    Executor::default().inspect_arrays(gradients)
}

/// Takes the step of an optimizer on one tensor. For a model, [`step_all`] takes all tensors in one pass; it takes
/// gradients of another type, and other ways of storing the parameters, too.
///
/// Each element becomes what [`rootstep::reference::step`] specifies. A momentum given to a step without one stays
/// as it is.
///
/// # Errors
///
/// As [`step_all`]. Nothing is written then.
///
/// ```
/// use ndarray::{Array2, arr2};
/// use rootstep_ndarray::rootstep::optimizer::{Rule, Step};
/// use rootstep_ndarray::{Momentum, step};
///
/// let rule = Rule::sgd(0.5).with_momentum(0.5);
/// let (mut w, mut momentum) = (arr2(&[[1.0_f32, 2.0]]), Array2::zeros((1, 2)));
/// for t in 0..2 {
///     let numbers = if t == 0 { Step::first(&rule)? } else { Step::later(&rule)? };
///     step(&numbers, &mut w, &arr2(&[[1.0, -1.0]]), Momentum::full(&mut momentum))?;
/// }
/// assert_eq!((w, momentum), (arr2(&[[-0.25, 3.25]]), arr2(&[[1.5, -1.5]])));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn step<T: Element, D: Dimension, E: Dimension>(
    step: &Step<T::Compute>,
    parameters: &mut ArrayRef<T, D>,
    gradient: &ArrayRef<T, E>,
    momentum: Momentum<'_, T::Compute>,
) -> Result<(), Error> {
    Executor::default().step_array(step, parameters, gradient, momentum)
}

/// Takes the steps of several tensors: those that lie in memory without gaps in one parallel pass, then the others.
///
/// The bits are those of one [`step`] after the other.
///
/// # Errors
///
/// [`Error::Shape`] if a gradient, a momentum or what a storage keeps has not the shape of its parameters;
/// [`Error::Scales`] if momentum in int8 has another number of scales; [`Error::Step`] if a momentum is missing, or
/// a storage is one for other types. Nothing is written then, in any of them.
///
/// ```
/// use ndarray::{arr2, array};
/// use rootstep_ndarray::rootstep::optimizer::{Rule, Step};
/// use rootstep_ndarray::{Momentum, Tensor, step_all};
///
/// let (weights, biases) = (Step::first(&Rule::powerstep(0.25))?, Step::first(&Rule::sgd(1.0))?);
/// let (mut w, mut b) = (arr2(&[[1.0_f32, 1.0], [1.0, 1.0]]), array![0.0_f32]);
/// let mut momentum = w.map(|_| 0.0);
/// let (dw, db) = (arr2(&[[4.0_f32, -4.0], [16.0, 0.0]]), array![2.0_f32]);
/// step_all(&mut [
///     Tensor::new(weights, &mut w, &dw, Momentum::full(&mut momentum)),
///     Tensor::new(biases, &mut b, &db, Momentum::None),
/// ])?;
/// assert_eq!((w, b), (arr2(&[[0.5, 1.5], [0.0, 1.0]]), array![-2.0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn step_all<T, G>(tensors: &mut [Tensor<'_, T, G>]) -> Result<(), Error>
where
    T: Element,
    G: Element<Compute = T::Compute>,
{
    Executor::default().step_arrays(tensors)
}

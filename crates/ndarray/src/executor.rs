//! The operations as methods of the executor.

use crate::arrays::{Arrays, Part, Slices};
use crate::error::Error;
use crate::tensor::{Momentum, Storage, Tensor};
use ndarray::{ArrayRef, ArrayViewD, CowArray, Dimension, IxDyn};
use rootstep::optimizer::{Step, TensorStep};
use rootstep::{Element, Executor, Inspection};
use smallvec::SmallVec;
use std::slice::from_mut;

/// The functions of this crate at a chosen level, on one or several threads: methods of [`Executor`].
///
/// ```
/// use ndarray::array;
/// use rootstep_ndarray::ArrayExecutor as _;
/// use rootstep_ndarray::rootstep::{Executor, Level};
///
/// for &level in Level::available() {
///     let mut parameters = array![1.0_f32, 1.0];
///     Executor::new(level).serial().descend_array(&mut parameters, &array![4.0, -9.0], 0.5)?;
///     assert_eq!(parameters, array![0.0, 2.5]);
/// }
/// # Ok::<(), rootstep_ndarray::Error>(())
/// ```
pub trait ArrayExecutor: sealed::Sealed + Copy {
    /// As [`signed_sqrt`](crate::signed_sqrt).
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the shapes differ. Nothing is written then.
    fn signed_sqrt_array<T: Element, D: Dimension, E: Dimension>(
        self,
        gradient: &ArrayRef<T, D>,
        out: &mut ArrayRef<T, E>,
    ) -> Result<(), Error>;

    /// As [`axpy`](crate::axpy).
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the shapes differ. Nothing is written then.
    fn axpy_array<T: Element, D: Dimension, E: Dimension>(
        self,
        alpha: T::Compute,
        x: &ArrayRef<T, D>,
        y: &mut ArrayRef<T, E>,
    ) -> Result<(), Error>;

    /// As [`descend`](crate::descend).
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the shapes differ. Nothing is written then.
    fn descend_array<T: Element, D: Dimension, E: Dimension>(
        self,
        parameters: &mut ArrayRef<T, D>,
        gradient: &ArrayRef<T, E>,
        learning_rate: T::Compute,
    ) -> Result<(), Error>;

    /// As [`inspect`](crate::inspect).
    #[must_use]
    fn inspect_arrays<T: Element>(self, gradients: &[ArrayViewD<'_, T>]) -> Inspection;

    /// As [`step`](crate::step).
    ///
    /// # Errors
    ///
    /// As [`step_all`](crate::step_all). Nothing is written then.
    fn step_array<T: Element, D: Dimension, E: Dimension>(
        self,
        step: &Step<T::Compute>,
        parameters: &mut ArrayRef<T, D>,
        gradient: &ArrayRef<T, E>,
        momentum: Momentum<'_, T::Compute>,
    ) -> Result<(), Error>;

    /// As [`step_all`](crate::step_all).
    ///
    /// # Errors
    ///
    /// As [`step_all`](crate::step_all). Nothing is written then.
    fn step_arrays<T: Element, G: Element<Compute = T::Compute>>(
        self,
        tensors: &mut [Tensor<'_, T, G>],
    ) -> Result<(), Error>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for rootstep::Executor {}
}

impl ArrayExecutor for Executor {
    fn signed_sqrt_array<T: Element, D: Dimension, E: Dimension>(
        self,
        gradient: &ArrayRef<T, D>,
        out: &mut ArrayRef<T, E>,
    ) -> Result<(), Error> {
        pairs(("out", out), ("gradient", gradient), |out, gradient| self.signed_sqrt(gradient, out))
    }

    fn axpy_array<T: Element, D: Dimension, E: Dimension>(
        self,
        alpha: T::Compute,
        x: &ArrayRef<T, D>,
        y: &mut ArrayRef<T, E>,
    ) -> Result<(), Error> {
        pairs(("y", y), ("x", x), |y, x| self.axpy(alpha, x, y))
    }

    fn descend_array<T: Element, D: Dimension, E: Dimension>(
        self,
        parameters: &mut ArrayRef<T, D>,
        gradient: &ArrayRef<T, E>,
        learning_rate: T::Compute,
    ) -> Result<(), Error> {
        pairs(("parameters", parameters), ("gradient", gradient), |parameters, gradient| {
            self.descend(parameters, gradient, learning_rate);
        })
    }

    fn inspect_arrays<T: Element>(self, gradients: &[ArrayViewD<'_, T>]) -> Inspection {
        let in_order: SmallVec<[CowArray<'_, T, IxDyn>; 16]> =
            gradients.iter().map(|gradient| gradient.as_standard_layout()).collect();
        let slices = in_order.iter().map(|gradient| gradient.as_slice().expect("it is row-major"));
        self.inspect(&slices.collect::<SmallVec<[&[T]; 16]>>())
    }

    fn step_array<T: Element, D: Dimension, E: Dimension>(
        self,
        step: &Step<T::Compute>,
        parameters: &mut ArrayRef<T, D>,
        gradient: &ArrayRef<T, E>,
        mut momentum: Momentum<'_, T::Compute>,
    ) -> Result<(), Error> {
        let momentum = momentum.part(Part::All);
        self.step_arrays(&mut [Tensor::new(*step, parameters, gradient, momentum)])
    }

    fn step_arrays<T: Element, G: Element<Compute = T::Compute>>(
        self,
        tensors: &mut [Tensor<'_, T, G>],
    ) -> Result<(), Error> {
        for (i, tensor) in tensors.iter().enumerate() {
            tensor.check(i)?;
        }
        step_whole(self, tensors)?;
        for Tensor { step, arrays } in tensors {
            if !arrays.lie_together() {
                arrays.pieces(&mut |slices| self.step_all(from_mut(&mut slices.with(*step))))?;
            }
        }
        Ok(())
    }
}

/// Steps the tensors that lie together. The others take part with no elements: so all of them are checked before
/// anything is written, each by its index.
fn step_whole<T: Element, G: Element<Compute = T::Compute>>(
    executor: Executor,
    tensors: &mut [Tensor<'_, T, G>],
) -> Result<(), rootstep::Error> {
    let parts = tensors.iter_mut().map(|Tensor { step, arrays }| {
        let part = if arrays.lie_together() { Part::All } else { Part::Nothing };
        (*step, arrays.part(part))
    });
    let mut parts: SmallVec<[_; 16]> = parts.collect();
    let steps = parts.iter_mut().map(|(step, arrays)| arrays.slices(0).with(*step));
    executor.step_all(&mut steps.collect::<SmallVec<[TensorStep<'_, T::Compute>; 16]>>())
}

impl<'a, T: Element, G: Element<Compute = T::Compute>> Slices<'a, T, G> {
    fn with(self, step: Step<T::Compute>) -> TensorStep<'a, T::Compute> {
        TensorStep::new(step, self.parameters, self.gradient, self.momentum)
            .with_storage(self.storage)
    }
}

/// Applies an operation to the pieces of two arrays, the first of which is written.
fn pairs<T: Element, D: Dimension, E: Dimension>(
    (of, output): (&'static str, &mut ArrayRef<T, D>),
    (array, input): (&'static str, &ArrayRef<T, E>),
    mut operation: impl FnMut(&mut [T], &[T]),
) -> Result<(), Error> {
    if output.shape() != input.shape() {
        let (given, allowed) = (input.shape().to_vec(), output.shape().to_vec());
        return Err(Error::Shape { tensor: None, array, given, of, allowed });
    }
    if let (Some(output), Some(input)) = (output.as_slice_mut(), input.as_slice()) {
        operation(output, input);
        return Ok(());
    }
    let (parameters, gradient) = (output.view_mut().into_dyn(), input.view().into_dyn());
    let (momentum, storage) = (Momentum::None, Storage::Nearest);
    let mut arrays = Arrays { parameters, gradient, momentum, storage };
    arrays.pieces(&mut |slices| {
        operation(slices.parameters, slices.gradient);
        Ok(())
    })?;
    Ok(())
}

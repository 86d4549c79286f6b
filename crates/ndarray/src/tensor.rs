//! A tensor of a model, as arrays of the caller's.

use crate::arrays::Arrays;
use crate::error::Error;
use ndarray::{ArrayRef, ArrayViewMutD, Dimension};
use rootstep::Element;
use rootstep::optimizer::{Draws, INT8_BLOCK, Step};
use std::fmt;

/// The momentum of a tensor: an array of the shape of its parameters.
///
/// Elements are those of [`MomentumMut`](rootstep::optimizer::MomentumMut). What is in it before the first step does
/// not matter.
#[non_exhaustive]
pub enum Momentum<'a, C> {
    /// For a step without momentum.
    None,
    /// In the type that the step is computed in: f32 for parameters in f32, bf16 and f16.
    Full(ArrayViewMutD<'a, C>),
    /// In bf16, by its bits.
    Bf16(ArrayViewMutD<'a, u16>),
    /// In bytes with a scale for each block of 128, in row-major order whatever the layout.
    Int8 {
        /// One for each element.
        codes: ArrayViewMutD<'a, i8>,
        /// One for each block.
        scales: &'a mut [f32],
    },
}

impl<'a, C> Momentum<'a, C> {
    /// In the type that the step is computed in. With the strides of the parameters, as `w.map(|_| 0.0)` has them,
    /// it is stepped without a copy.
    pub fn full<D: Dimension>(momentum: &'a mut ArrayRef<C, D>) -> Self {
        Self::Full(momentum.view_mut().into_dyn())
    }

    /// In bf16, by its bits.
    pub fn bf16<D: Dimension>(bits: &'a mut ArrayRef<u16, D>) -> Self {
        Self::Bf16(bits.view_mut().into_dyn())
    }

    /// In bytes, with a scale for each block of 128 elements.
    ///
    /// ```
    /// use ndarray::{Array2, arr2};
    /// use rootstep_ndarray::rootstep::optimizer::{INT8_BLOCK, Rule, Step};
    /// use rootstep_ndarray::{Momentum, step};
    ///
    /// let mut w = arr2(&[[1.0_f32, 2.0]]);
    /// let (mut codes, mut scales) = (Array2::zeros((1, 2)), vec![0.0; w.len().div_ceil(INT8_BLOCK)]);
    /// let first = Step::first(&Rule::powerstep(0.5))?;
    /// step(&first, &mut w, &arr2(&[[4.0, -16.0]]), Momentum::int8(&mut codes, &mut scales))?;
    /// assert_eq!(w, arr2(&[[0.0, 4.0]]));
    /// assert_eq!((codes, scales), (arr2(&[[32, -127]]), vec![16.0]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn int8<D: Dimension>(codes: &'a mut ArrayRef<i8, D>, scales: &'a mut [f32]) -> Self {
        Self::Int8 { codes: codes.view_mut().into_dyn(), scales }
    }
}

/// How the parameters of a tensor are stored, with the arrays that it takes: each of the shape of the parameters.
///
/// The ways are those of [`StorageMut`](rootstep::optimizer::StorageMut). All but [`Nearest`](Self::Nearest) are for
/// parameters in bf16, and some for f16.
#[non_exhaustive]
pub enum Storage<'a> {
    /// The nearest number of the type.
    Nearest,
    /// One of the two next numbers, at random.
    Stochastic {
        /// Those of a seed, a step and a tensor. Where they start is set by `first`.
        draws: Draws,
        /// The index of the first element: 0, unless the array is a part of a tensor. The others follow in row-major
        /// order, whatever the layout.
        first: u64,
    },
    /// bf16, and these halves of f32.
    Split16(ArrayViewMutD<'a, i16>),
    /// bf16, and these bytes.
    Split8(ArrayViewMutD<'a, i8>),
    /// These are the parameters; the bf16 or f16 are a copy.
    Master(ArrayViewMutD<'a, f32>),
}

impl<'a> Storage<'a> {
    /// At random, by the draws of a whole tensor.
    #[must_use]
    pub const fn stochastic(draws: Draws) -> Self {
        Self::Stochastic { draws, first: 0 }
    }

    /// The other halves of the numbers.
    pub fn split16<D: Dimension>(low: &'a mut ArrayRef<i16, D>) -> Self {
        Self::Split16(low.view_mut().into_dyn())
    }

    /// A further byte of the numbers.
    pub fn split8<D: Dimension>(low: &'a mut ArrayRef<i8, D>) -> Self {
        Self::Split8(low.view_mut().into_dyn())
    }

    /// The parameters in f32.
    pub fn master<D: Dimension>(master: &'a mut ArrayRef<f32, D>) -> Self {
        Self::Master(master.view_mut().into_dyn())
    }
}

/// A step on one tensor of a model: what [`step_all`](crate::step_all) takes.
pub struct Tensor<'a, T: Element, G = T> {
    pub(crate) step: Step<T::Compute>,
    pub(crate) arrays: Arrays<'a, T, G>,
}

impl<'a, T: Element, G: Element<Compute = T::Compute>> Tensor<'a, T, G> {
    /// The `step` on these `parameters`, by their `gradient` and with their `momentum`. The types may differ, if they
    /// are computed in the same one. The shapes are compared when the step is taken.
    #[must_use]
    pub fn new<D: Dimension, E: Dimension>(
        step: Step<T::Compute>,
        parameters: &'a mut ArrayRef<T, D>,
        gradient: &'a ArrayRef<G, E>,
        momentum: Momentum<'a, T::Compute>,
    ) -> Self {
        let parameters = parameters.view_mut().into_dyn();
        let gradient = gradient.view().into_dyn();
        let momentum = if step.has_momentum() { momentum } else { Momentum::None };
        let storage = Storage::Nearest;
        Self { step, arrays: Arrays { parameters, gradient, momentum, storage } }
    }

    /// The same step, with the parameters stored in this way.
    #[must_use]
    pub fn with_storage(mut self, storage: Storage<'a>) -> Self {
        self.arrays.storage = storage;
        self
    }

    /// What is wrong with the shapes of tensor number `tensor`, if anything is.
    pub(crate) fn check(&self, tensor: usize) -> Result<(), Error> {
        let Arrays { parameters, gradient, momentum, storage } = &self.arrays;
        let shapes = [
            ("gradient", Some(gradient.shape())),
            ("momentum", momentum.layout().map(|(shape, _)| shape)),
            ("storage", storage.layout().map(|(shape, _)| shape)),
        ];
        for (array, shape) in shapes {
            if let Some(given) = shape.filter(|&shape| shape != parameters.shape()) {
                let (given, allowed) = (given.to_vec(), parameters.shape().to_vec());
                let (tensor, of) = (Some(tensor), "parameters");
                return Err(Error::Shape { tensor, array, given, of, allowed });
            }
        }
        match momentum {
            Momentum::Int8 { codes, scales } => {
                let (given, allowed) = (scales.len(), codes.len().div_ceil(INT8_BLOCK));
                if given == allowed {
                    Ok(())
                } else {
                    Err(Error::Scales { tensor, given, allowed })
                }
            }
            _ => Ok(()),
        }
    }
}

impl<T: Element, G> fmt::Debug for Tensor<'_, T, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arrays { parameters, momentum, storage, .. } = &self.arrays;
        f.debug_struct("Tensor")
            .field("step", &self.step)
            .field("shape", &parameters.shape())
            .field("momentum", momentum)
            .field("storage", storage)
            .finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Momentum<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Full(_) => "Full",
            Self::Bf16(_) => "Bf16",
            Self::Int8 { .. } => "Int8",
        })
    }
}

impl fmt::Debug for Storage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nearest => "Nearest",
            Self::Stochastic { .. } => "Stochastic",
            Self::Split16(_) => "Split16",
            Self::Split8(_) => "Split8",
            Self::Master(_) => "Master",
        })
    }
}

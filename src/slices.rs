//! The operations on slices, as methods of the executor: they check what they are given, and call what
//! this crate has compiled for the element type.

use crate::element::{Checked, Element};
use crate::error::Error;
use crate::executor::Executor;
use crate::inspection::{BlockSums, Inspection};
use crate::rows::RowsStep;
use crate::step::{MomentumMut, Step, Sum, TensorStep, Term};
use crate::sum_order::SumOrder;
use std::slice::from_mut;

impl Executor {
    /// As [`signed_sqrt`](crate::signed_sqrt).
    ///
    /// # Panics
    ///
    /// If the lengths differ. Nothing is written then.
    #[inline]
    pub fn signed_sqrt<T: Element>(self, gradient: &[T], out: &mut [T]) {
        assert_same_length("gradient", gradient.len(), "out", out.len());
        T::signed_sqrt(Checked::lengths(), self, gradient, out);
    }

    /// As [`signed_sqrt_in_place`](crate::signed_sqrt_in_place).
    #[inline]
    pub fn signed_sqrt_in_place<T: Element>(self, values: &mut [T]) {
        T::signed_sqrt_in_place(Checked::lengths(), self, values);
    }

    /// As [`axpy`](crate::axpy).
    ///
    /// # Panics
    ///
    /// If the lengths differ. Nothing is written then.
    #[inline]
    pub fn axpy<T: Element>(self, alpha: T::Compute, x: &[T], y: &mut [T]) {
        assert_same_length("x", x.len(), "y", y.len());
        T::axpy(Checked::lengths(), self, alpha, x, y);
    }

    /// As [`descend`](crate::descend).
    ///
    /// # Panics
    ///
    /// If the lengths differ. Nothing is written then.
    #[inline]
    pub fn descend<T: Element>(
        self,
        parameters: &mut [T],
        gradient: &[T],
        learning_rate: T::Compute,
    ) {
        assert_same_length("parameters", parameters.len(), "gradient", gradient.len());
        T::descend(Checked::lengths(), self, parameters, gradient, learning_rate);
    }

    /// As [`descend_into`](crate::descend_into).
    ///
    /// # Panics
    ///
    /// If the lengths differ. Nothing is written then.
    #[inline]
    pub fn descend_into<T: Element>(
        self,
        parameters: &[T],
        gradient: &[T],
        learning_rate: T::Compute,
        out: &mut [T],
    ) {
        assert_same_length("parameters", parameters.len(), "gradient", gradient.len());
        assert_same_length("parameters", parameters.len(), "out", out.len());
        T::descend_into(Checked::lengths(), self, parameters, gradient, learning_rate, out);
    }

    /// As [`descend_all`](crate::descend_all).
    ///
    /// # Panics
    ///
    /// If there are not as many gradients as tensors of parameters, or the lengths of a pair differ.
    /// Nothing is written then.
    pub fn descend_all<T, P, G>(
        self,
        parameters: &mut [P],
        gradients: &[G],
        learning_rate: T::Compute,
    ) where
        T: Element,
        P: AsMut<[T]>,
        G: AsRef<[T]>,
    {
        let (given, of_gradients) = (parameters.len(), gradients.len());
        assert!(
            given == of_gradients,
            "there are {given} tensors of parameters and {of_gradients} gradients; there must be as \
             many of each"
        );
        let mut tensors: Vec<(&mut [T], &[T])> = pairs(parameters, gradients).collect();
        for (i, (parameters, gradient)) in tensors.iter().enumerate() {
            if parameters.len() != gradient.len() {
                unequal_lengths(
                    &format!("parameters of tensor {i}"),
                    parameters.len(),
                    &format!("gradient of tensor {i}"),
                    gradient.len(),
                );
            }
        }
        T::descend_all(Checked::lengths(), self, &mut tensors, learning_rate);
    }

    /// As [`inspect`](crate::inspect).
    #[must_use]
    pub fn inspect<T: Element, G: AsRef<[T]>>(self, gradients: &[G]) -> Inspection {
        let gradients: Vec<&[T]> = gradients.iter().map(G::as_ref).collect();
        T::inspect(Checked::lengths(), self, &gradients)
    }

    /// What [`inspect`](crate::inspect) finds in gradients but the norm, and the sums of squares that this comes of, for each
    /// block of 32,768 elements: see [`BlockSums`]. The squares are those of `scale` times the elements, a power of two.
    #[must_use]
    pub fn inspect_blocks<T: Element, G: AsRef<[T]>>(
        self,
        gradients: &[G],
        scale: f64,
    ) -> BlockSums {
        let gradients: Vec<&[T]> = gradients.iter().map(G::as_ref).collect();
        T::inspect_blocks(Checked::lengths(), self, &gradients, scale)
    }

    /// Takes the step of an optimizer on one tensor, all of it in memory of the caller's: parameters,
    /// gradient and momentum. For a model, [`step_all`](Self::step_all) takes all tensors in one pass; it takes
    /// gradients of another type than the parameters', and other ways of storing these, too.
    ///
    /// Each element becomes what [`reference::step`](crate::reference::step) specifies. A momentum given
    /// to a step without one stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::TensorLength`] if the gradient is not as long as the parameters;
    /// [`Error::InvalidMomentum`] if the step has a momentum and the memory for it is missing or of
    /// another length. Nothing is written then.
    ///
    /// ```
    /// use rootstep::optimizer::{MomentumMut, Rule, Step};
    /// use rootstep::Executor;
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let rule = Rule::sgd(0.5).with_momentum(0.5);
    /// let (mut parameters, mut momentum) = ([1.0_f32, 2.0], [0.0; 2]);
    /// for t in 0..2 {
    ///     let step = if t == 0 { Step::first(&rule)? } else { Step::later(&rule)? };
    ///     let gradient = [1.0, -1.0];
    ///     let momentum = MomentumMut::Full(&mut momentum);
    ///     Executor::default().step(&step, &mut parameters, &gradient, momentum)?;
    /// }
    /// assert_eq!((parameters, momentum), ([-0.25, 3.25], [1.5, -1.5]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn step<T: Element>(
        self,
        step: &Step<T::Compute>,
        parameters: &mut [T],
        gradient: &[T],
        momentum: MomentumMut<'_, T::Compute>,
    ) -> Result<(), Error> {
        let mut tensor = TensorStep::new(*step, parameters, gradient, momentum);
        T::step_all(Checked::lengths(), self, from_mut(&mut tensor))
    }

    /// Takes the steps of several tensors in one parallel pass: small tensors are not dispatched one by
    /// one and large ones are split, so that the threads end together. Nothing is allocated for each tensor.
    ///
    /// The bits are those of one [`step`](Self::step) after the other.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step), with the index of the tensor; [`Error::InvalidStorage`] if the parameters cannot be
    /// stored as asked for, or the memory for it has another length. Nothing is written then, in any of them.
    ///
    /// ```
    /// use rootstep::optimizer::{MomentumMut, Rule, Step, TensorStep};
    /// use rootstep::Executor;
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let (weights, biases) = (Step::first(&Rule::powerstep(0.25))?, Step::first(&Rule::sgd(1.0))?);
    /// let (mut w, mut b, mut momentum) = ([1.0_f32; 3], [0.0_f32; 1], [0.0; 3]);
    /// Executor::default().step_all(&mut [
    ///     TensorStep::new(weights, &mut w, &[4.0_f32, -4.0, 16.0], MomentumMut::Full(&mut momentum)),
    ///     TensorStep::new(biases, &mut b, &[2.0_f32], MomentumMut::None),
    /// ])?;
    /// assert_eq!((w, b), ([0.5, 1.5, 0.0], [-2.0]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn step_all<C: Element<Compute = C>>(
        self,
        tensors: &mut [TensorStep<'_, C>],
    ) -> Result<(), Error> {
        C::step_all(Checked::lengths(), self, tensors)
    }

    /// Takes the steps on some rows of several tables, such as embeddings, in one parallel pass: no other row is read or
    /// written. [`RowsStep`](crate::optimizer::RowsStep) says what becomes of the momentum of the others, and has an
    /// example.
    ///
    /// The bits are those of a [step](Self::step_all) for each of the rows as a tensor of its own, by the
    /// [sum](crate::reference::sum_left_to_right) of its gradients. Indices that ascend are stepped as they stand; others
    /// are sorted, which takes some memory for each call. Nothing is allocated for each row.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRows`] with the number of the table if it is not whole rows, the gradient has not a row for each
    /// index, an index is none of a row, or rows that have momentum in int8 are not whole blocks;
    /// [`Error::InvalidMomentum`] and [`Error::InvalidStorage`] as for [`step_all`](Self::step_all). Nothing is written
    /// then, in any of the tables.
    ///
    /// ```
    /// use rootstep::Executor;
    /// use rootstep::optimizer::{MomentumMut, RowsStep, Rule, Step};
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let step = Step::first(&Rule::sgd(1.0))?;
    /// let mut table = [0.0_f32; 6];
    /// let mut take = |indices: &[usize], rows: &[f32]| {
    ///     let rows = RowsStep::new(step, &mut table, 2, indices, rows, MomentumMut::None);
    ///     Executor::default().step_rows(&mut [rows])
    /// };
    /// take(&[2, 0, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    /// let error = take(&[1, 3], &[1.0; 4]).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "the rows of tensor 0 do not fit: index 1 is 3; allowed: below 3, the rows of the table"
    /// );
    /// assert_eq!(table, [-3.0, -4.0, 0.0, 0.0, -6.0, -8.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn step_rows<C: Element<Compute = C>>(
        self,
        tables: &mut [RowsStep<'_, C>],
    ) -> Result<(), Error> {
        C::step_rows(Checked::lengths(), self, tables)
    }

    /// Writes the sum of `terms`, added up in this order, to `out`: each element is
    /// [`reference::sum`](crate::reference::sum) of theirs, or [`reference::sum_in_bf16`](crate::reference::sum_in_bf16)
    /// if the order is [in bf16](SumOrder::in_bf16).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSum`] if there are not as many terms as the order has, or one is not as long as `out`; if `out` is
    /// of f16, or of bf16 and the order is not; or the order is in bf16 and the terms are of f64. Nothing is written then.
    ///
    /// ```
    /// use rootstep::sums::{SumOrder, Term};
    ///
    /// let (a, b, c) = ([1.0_f32, 2.0], [0.5_f32, 0.25], [10.0_f32, 20.0]);
    /// let mut sum = [0.0_f32; 2];
    /// let order = SumOrder::of_terms(3).unwrap();
    /// let terms = [Term::new(&a), Term::new(&b), Term::new(&c)];
    /// rootstep::Executor::default().sum_all(&order, &terms, &mut sum).unwrap();
    /// assert_eq!(sum, [(1.0 + 0.5) + 10.0, (2.0 + 0.25) + 20.0]);
    /// ```
    pub fn sum_all<T: Element>(
        self,
        order: &SumOrder,
        terms: &[Term<'_, T::Compute>],
        out: &mut [T],
    ) -> Result<(), Error> {
        let sum = Sum::new(order, terms, out.len());
        T::sum_all(Checked::lengths(), self, sum, T::parameters(out))
    }
}

/// The slices of a model's tensors. Each is asked for once, on the calling thread: what the caller's
/// `as_mut` does is the caller's business.
pub(crate) fn slices<'a, T: 'a, P: AsMut<[T]>>(
    parameters: &'a mut [P],
) -> impl Iterator<Item = &'a mut [T]> {
    parameters.iter_mut().map(P::as_mut)
}

/// [`slices`] of parameters, each with its gradient.
pub(crate) fn pairs<'a, T: 'a, G: 'a, P: AsMut<[T]>, A: AsRef<[G]>>(
    parameters: &'a mut [P],
    gradients: &'a [A],
) -> impl Iterator<Item = (&'a mut [T], &'a [G])> {
    slices(parameters).zip(gradients.iter().map(A::as_ref))
}

#[inline]
fn assert_same_length(a: &str, a_length: usize, b: &str, b_length: usize) {
    if a_length != b_length {
        unequal_lengths(a, a_length, b, b_length);
    }
}

#[cold]
#[inline(never)]
fn unequal_lengths(a: &str, a_length: usize, b: &str, b_length: usize) -> ! {
    panic!("`{a}` has {a_length} elements and `{b}` has {b_length}; they must have the same length")
}

//! How a call runs: at which level, on how many threads.

use crate::error::Error;
use crate::format::{Number, Stored};
use crate::inspection::{BlockSums, Inspection};
use crate::kernels::{
    BLOCK_ELEMENTS, CHUNK_BYTES, Descend, Findings, InspectBlock, Operation, Part, RowParts,
    SliceUpdate, StepPart, Stepped, SumPart, WorkingSet,
};
use crate::level::Level;
use crate::parallel;
use crate::rows::{RowOrder, RowsStep};
use crate::simd::{seems_default, untrapped};
use crate::step::{Gradient, INT8_BLOCK, MomentumMut, Parameters, Sum, TensorStep};

/// The operations, at a chosen [`Level`] and on one or several threads.
///
/// The functions at the root of the crate are the methods of `Executor::default()`. Whatever the
/// executor, the bits are the same: it is a choice of speed (and of [traps](Self::untrapped)) alone.
///
/// ```
/// use rootstep::{Executor, Level};
///
/// let gradient = [4.0_f32, -9.0, 0.25];
/// for &level in Level::available() {
///     let mut parameters = [1.0_f32; 3];
///     Executor::new(level).serial().descend(&mut parameters, &gradient, 0.5);
///     assert_eq!(parameters, [0.0, 2.5, 0.75]);
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Executor {
    level: Level,
    parallel: bool,
    untrapped: bool,
}

impl Default for Executor {
    /// The level that `ROOTSTEP_LEVEL` names if this machine has it, else the best one; parallel.
    #[inline]
    fn default() -> Self {
        Self::new(Level::of_process())
    }
}

impl Executor {
    /// An executor at `level`, parallel.
    #[inline]
    #[must_use]
    pub const fn new(level: Level) -> Self {
        Self { level, parallel: true, untrapped: false }
    }

    /// The same level, on the calling thread alone.
    #[inline]
    #[must_use]
    pub const fn serial(self) -> Self {
        Self { parallel: false, ..self }
    }

    /// The same level; long slices are split over the threads of the current rayon pool (the
    /// caller's own inside `pool.install`), or over those that are lent by
    /// [`parallel::install`](crate::parallel::install). Without the feature `rayon` over the latter alone.
    #[inline]
    #[must_use]
    pub const fn parallel(self) -> Self {
        Self { parallel: true, ..self }
    }

    /// The same, with no trap of a floating-point exception within a call, whatever the thread has switched
    /// on: for calls from programs in which foreign code may have done so, such as a main program in Fortran
    /// with `-ffpe-trap`, or a layer for another language.
    ///
    /// The bits need no such care: they are the same in any floating-point environment. But to see whether
    /// traps are on takes a few nanoseconds, more than a call with some elements (docs/performance.md), so
    /// without this a call does not look: on x86, a trap that the thread has switched on may come within it.
    ///
    /// ```
    /// let executor = rootstep::Executor::default().untrapped();
    /// let mut parameters = [1.0_f32, f32::INFINITY];
    /// executor.descend(&mut parameters, &[4.0, f32::INFINITY], 0.25); // inf - inf: invalid, and NaN
    /// assert!(parameters[0] == 0.5 && parameters[1].is_nan());
    /// ```
    #[inline]
    #[must_use]
    pub const fn untrapped(self) -> Self {
        Self { untrapped: true, ..self }
    }

    /// The level.
    #[must_use]
    pub const fn level(self) -> Level {
        self.level
    }

    /// Whether long slices are split over threads.
    #[must_use]
    pub const fn is_parallel(self) -> bool {
        self.parallel
    }

    /// Whether no trap comes within a call, whatever the thread has switched on.
    #[must_use]
    pub const fn is_untrapped(self) -> bool {
        self.untrapped
    }

    /// Runs what computes in the floating-point environment that its bits are those of.
    #[inline(always)]
    pub(crate) fn in_default_environment<R>(self, compute: impl FnOnce() -> R) -> R {
        if !self.untrapped && seems_default() { compute() } else { untrapped(compute) }
    }

    /// Applies an operation to an output and to inputs of the same length.
    #[inline(always)]
    pub(crate) fn update<X, O, const INPUTS: usize>(
        self,
        operation: O,
        output: &mut [X],
        inputs: [&[X]; INPUTS],
    ) where
        X: Stored,
        O: Operation<X::Compute, 0, INPUTS>,
    {
        let bytes = size_of_val(output);
        let (output, inputs) = (X::memory_mut(output), inputs.map(X::memory));
        let mut update = SliceUpdate::<X::Compute, X::Format, O, INPUTS>::of_slices(
            operation,
            output,
            inputs,
            WorkingSet::Near,
        );
        if update.output.0.len() * size_of::<X::Compute>() < SHORT_BYTES {
            return update.tail();
        }
        let working_set = WorkingSet::of(bytes.saturating_mul(1 + INPUTS));
        update.working_set = working_set;
        // Narrower elements than what is computed are not written past the caches.
        let streams = size_of::<X>() == size_of::<X::Compute>();
        if !O::IN_PLACE && working_set != WorkingSet::Near && streams {
            update = update.aligned();
        }
        if self.parallel && parallel::pays(bytes) {
            return parallel::run(self.level, bytes, update.chunks(CHUNK_BYTES));
        }
        self.level.run(update);
    }

    /// [`Descend`] on pairs of parameters and gradient, each of one length.
    pub(crate) fn descend_tensors<X: Stored>(
        self,
        tensors: &mut [(&mut [X], &[X])],
        operation: Descend<X::Compute>,
    ) {
        let bytes: usize = tensors.iter().map(|(parameters, _)| size_of_val(*parameters)).sum();
        let working_set = WorkingSet::of(bytes.saturating_mul(2));
        let updates = tensors.iter_mut().map(|(output, gradient)| {
            let (output, inputs) = (X::memory_mut(output), [X::memory(gradient)]);
            SliceUpdate::<X::Compute, X::Format, _, 1>::of_slices(
                operation,
                output,
                inputs,
                working_set,
            )
        });
        self.run(bytes, updates.flat_map(|update| update.chunks(CHUNK_BYTES)));
    }

    /// The steps on several tensors, in one pass, if all of them are as they must be.
    pub(crate) fn step_tensors<C: Stepped>(
        self,
        tensors: &mut [TensorStep<'_, C>],
    ) -> Result<(), Error> {
        for (i, tensor) in tensors.iter().enumerate() {
            check_tensor(i, tensor)?;
        }
        let elements = tensors.iter().map(|tensor| tensor.parameters.len()).sum::<usize>();
        let bytes = elements.saturating_mul(size_of::<C>());
        let working_set = WorkingSet::of(bytes.saturating_mul(3));
        let parts = tensors.iter_mut().map(|tensor| StepPart::of(tensor, working_set));
        let parts = parts.flat_map(StepPart::chunks);
        self.run(bytes, parts);
        Ok(())
    }

    /// The steps on rows of several tables, in one pass, if all of them are as they must be.
    pub(crate) fn step_tables<C: Stepped>(
        self,
        tables: &mut [RowsStep<'_, C>],
    ) -> Result<(), Error> {
        for (tensor, rows) in tables.iter().enumerate() {
            if let Some(problem) = rows.problem() {
                return Err(Error::InvalidRows { tensor, problem });
            }
            check_memory(tensor, &rows.table)?;
        }
        let orders: Vec<_> = tables.iter().map(|rows| RowOrder::of(rows.indices)).collect();
        let elements = tables.iter().map(|rows| rows.table.gradient.len()).sum::<usize>();
        let parts = tables.iter_mut().zip(&orders);
        let parts = parts.flat_map(|(rows, order)| RowParts::new(rows, order));
        self.run(elements.saturating_mul(size_of::<C>()), parts);
        Ok(())
    }

    /// A sum, if its terms are as they must be.
    pub(crate) fn sum_terms<C: Stepped>(
        self,
        sum: Sum<'_, C>,
        out: Parameters<'_, C>,
    ) -> Result<(), Error> {
        if let Some(problem) = sum.problem_of(&out) {
            return Err(Error::InvalidSum { tensor: None, problem });
        }
        let part = SumPart { sum, out };
        self.run(part.bytes(), part.chunks());
        Ok(())
    }

    /// The health of gradients.
    pub(crate) fn inspect_tensors<X: Stored>(self, gradients: &[&[X]]) -> Inspection {
        let mut found = self.inspect_blocks_of(gradients, 1.0);
        let scale = found.inspection.scale();
        if scale != 1.0 {
            found = self.inspect_blocks_of(gradients, scale);
        }
        found.inspection.with_norm_of(scale, found.squares)
    }

    /// What there is in `gradients` but the norm, and the sums of the squares of elements times `scale`.
    pub(crate) fn inspect_blocks_of<X: Stored>(self, gradients: &[&[X]], scale: f64) -> BlockSums {
        let blocks = || {
            gradients.iter().enumerate().flat_map(|(tensor, gradient)| {
                let blocks = gradient.chunks(BLOCK_ELEMENTS).enumerate();
                blocks.map(move |(i, values)| (tensor, i * BLOCK_ELEMENTS, values))
            })
        };
        let mut findings = vec![Findings::default(); blocks().count()];
        let parts =
            blocks().zip(&mut findings).map(|((_, _, values), findings)| InspectBlock::<X> {
                values: X::memory(values),
                scale,
                findings,
            });
        // The same gradient may be there many times.
        let bytes = gradients.iter().map(|gradient| size_of_val(*gradient));
        self.run(bytes.fold(0, usize::saturating_add), parts);
        let mut inspection = Inspection::default();
        for ((tensor, start, _), block) in blocks().zip(&findings) {
            inspection.add(tensor, start, &block.inspection);
        }
        let squares = findings.iter().map(|block| block.squares).collect();
        BlockSums { inspection, squares }
    }

    /// Runs parts that have `bytes` together.
    fn run<P: Part>(self, bytes: usize, parts: impl Iterator<Item = P> + Send) {
        if self.parallel && parallel::pays(bytes) {
            return parallel::run(self.level, bytes, parts);
        }
        P::run_all(self.level, parts);
    }
}

/// Outputs of fewer bytes, as what is computed, are worked on without entering an instruction set, in registers of 128 bits,
/// which every level uses for what is left of a slice. Measured in docs/performance.md.
const SHORT_BYTES: usize = 64;

/// What is wrong with tensor number `i`, if anything is.
fn check_tensor<C: Number>(i: usize, tensor: &TensorStep<'_, C>) -> Result<(), Error> {
    let TensorStep { parameters, gradient, .. } = tensor;
    let elements = parameters.len();
    if elements != gradient.len() {
        let (parameters, gradient) = (elements, gradient.len());
        let (tensor, name, gradient, expected) = (i, None, Some(gradient), None);
        return Err(Error::TensorLength { tensor, name, parameters, gradient, expected });
    }
    if let Gradient::Sum(sum) = gradient
        && let Some(problem) = sum.problem()
    {
        return Err(Error::InvalidSum { tensor: Some(i), problem });
    }
    check_memory(i, tensor)
}

/// What is wrong with the memory beside the parameters of tensor number `i`, if anything is.
fn check_memory<C: Number>(i: usize, tensor: &TensorStep<'_, C>) -> Result<(), Error> {
    let TensorStep { step, parameters, momentum, storage, .. } = tensor;
    let elements = parameters.len();
    if let Some(problem) = storage.problem(parameters) {
        return Err(Error::InvalidStorage { tensor: i, name: None, problem });
    }
    if !step.has_momentum() {
        return Ok(());
    }
    let invalid = |problem| Err(Error::InvalidMomentum { tensor: i, name: None, problem });
    if matches!(momentum, MomentumMut::None) {
        return invalid("there is none; allowed: one, since its step has a momentum".to_owned());
    }
    if momentum.len() != elements {
        let given = momentum.len();
        return invalid(format!("it has {given} elements; allowed: {elements}, as the parameters"));
    }
    if let Some((given, blocks)) = momentum.view().wrong_scales() {
        return invalid(format!(
            "it has {given} scales; allowed: {blocks}, one for each block of {INT8_BLOCK}"
        ));
    }
    Ok(())
}

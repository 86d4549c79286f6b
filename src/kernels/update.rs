//! The loop: applies an operation to whole slices.

use crate::Element;
use crate::element::Sealed;
use crate::simd::{Kernel, Lanes, Portable, Scalar, Simd, Vector, prefetch};

/// What happens to one element of the output, as an expression over registers.
pub(crate) trait Operation<T: Element, const INPUTS: usize>: Copy + Send + Sync {
    /// The new value of the output, from its `old` value and the inputs. An operation that ignores
    /// `old` costs no read of it.
    fn apply<V: Vector<T>>(self, isa: V::Isa, old: V, inputs: [V; INPUTS]) -> V;

    /// Whether it takes a square root. A core waiting for roots reaches the next loads too late to
    /// keep the memory busy, so the loop prefetches for it.
    const ROOT: bool;
}

/// An operation and the slices it is applied to:
/// `output[i] = operation(output[i], [inputs[0][i], inputs[1][i], ..])`.
#[derive(Debug)]
pub(crate) struct Update<'a, T, O, const INPUTS: usize> {
    pub(crate) operation: O,
    pub(crate) output: &'a mut [T],
    /// Each as long as `output`.
    pub(crate) inputs: [&'a [T]; INPUTS],
    /// Where the slices are.
    pub(crate) place: Place,
}

/// Where the slices of a call are, as their length tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a cache, as far as anyone knows.
    Cache,
    /// Beyond the caches.
    Memory,
}

impl Place {
    /// Where slices of this many bytes are, taken together.
    pub(crate) fn of(bytes: usize) -> Self {
        if bytes < MEMORY_BYTES { Self::Cache } else { Self::Memory }
    }
}

impl<T: Element, O: Operation<T, INPUTS>, const INPUTS: usize> Kernel for Update<'_, T, O, INPUTS> {
    /// Registers of the widest kind while they fit, then those of 128 bits, then single elements.
    /// Each lane computes the same expression at every width, so an element's result does not
    /// depend on its place.
    ///
    /// The last register must not overlap the one before it, as a search would let it: in place,
    /// the shared lanes would be updated twice.
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        let rest = match self.place {
            Place::Cache => self.whole_registers::<S, false>(isa),
            Place::Memory => self.whole_registers::<S, true>(isa),
        };
        rest.whole_registers::<Portable, false>(Portable).whole_registers::<Scalar, false>(Scalar);
    }
}

/// Several updates, one after the other, within one entry into the instruction set.
pub(crate) struct Each<I>(pub(crate) I);

impl<I: Iterator<Item: Kernel>> Kernel for Each<I> {
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        for kernel in self.0 {
            kernel.call(isa);
        }
    }
}

/// Registers in an unrolled block: enough to hide the latency of an addition behind the others.
const BLOCK: usize = 4;

/// How far ahead of the loop to prefetch. `cargo bench --bench ratios -- DRAM`: without it a step
/// took 1.14 times as long as an axpy of the same traffic (f32 and f64, AVX2), from 1 KiB ahead on
/// 1.00 times. An axpy itself gains nothing, and in the caches loses up to 1.3 times.
const PREFETCH_AHEAD_BYTES: usize = 4096;

/// Slices of this many bytes or more, taken together, are beyond what the caches near the core
/// hold. With a root, prefetching costs nothing measurable on either side of it.
const MEMORY_BYTES: usize = 8 << 20;

type LanesOf<T, S> = <<T as Sealed>::Vector<S> as Vector<T>>::Lanes;

impl<T: Element, O: Operation<T, INPUTS>, const INPUTS: usize> Update<'_, T, O, INPUTS> {
    /// The same update in parts of `length` elements; the last may be shorter.
    #[cfg(feature = "rayon")]
    pub(crate) fn chunks(self, length: usize) -> impl Iterator<Item = Self> + Send {
        let Self { operation, output, inputs, place } = self;
        output.chunks_mut(length).enumerate().map(move |(i, output)| {
            let inputs = inputs.map(|input| &input[i * length..][..output.len()]);
            Self { operation, output, inputs, place }
        })
    }

    /// Updates the front of the slices in whole registers of `S`, and returns the rest.
    #[inline(always)]
    fn whole_registers<S: Simd, const PREFETCH: bool>(self, isa: S) -> Self {
        let Self { operation, output, inputs, place } = self;
        let length = output.len();
        let (registers, output) = LanesOf::<T, S>::chunks_mut(output);
        let inputs = inputs.map(|input| LanesOf::<T, S>::chunks(&input[..length]));
        let (blocks, singles) = registers.as_chunks_mut::<BLOCK>();
        let input_blocks = inputs.map(|(registers, _)| registers.as_chunks::<BLOCK>());

        for b in 0..blocks.len() {
            let block = &mut blocks[b];
            let inputs = input_blocks.map(|(blocks, _)| &blocks[b]);
            if PREFETCH && O::ROOT {
                prefetch(block, PREFETCH_AHEAD_BYTES);
                for input in inputs {
                    prefetch(input, PREFETCH_AHEAD_BYTES);
                }
            }
            apply_each(isa, operation, block, inputs.map(|input| &input[..]));
        }
        let input_singles = input_blocks.map(|(_, singles)| singles);
        apply_each(isa, operation, singles, input_singles);
        Self { operation, output, inputs: inputs.map(|(_, rest)| rest), place }
    }
}

/// Applies `operation` to each register.
#[inline(always)]
fn apply_each<T: Element, O: Operation<T, INPUTS>, S: Simd, const INPUTS: usize>(
    isa: S,
    operation: O,
    output: &mut [LanesOf<T, S>],
    inputs: [&[LanesOf<T, S>]; INPUTS],
) {
    for (i, lanes) in output.iter_mut().enumerate() {
        let old = T::Vector::<S>::load(isa, lanes);
        let inputs = inputs.map(|input| T::Vector::<S>::load(isa, &input[i]));
        operation.apply(isa, old, inputs).store(lanes);
    }
}

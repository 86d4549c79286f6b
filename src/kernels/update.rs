//! The loop: applies an operation to whole slices.

use crate::Element;
use crate::element::Sealed;
use crate::simd::{Kernel, Lanes, Portable, Scalar, Simd, Vector};

/// What happens to one element of the output, as an expression over registers.
pub(crate) trait Operation<T: Element, const INPUTS: usize>: Copy + Send + Sync {
    /// The new value of the output, from its `old` value and the inputs. An operation that ignores
    /// `old` costs no read of it.
    fn apply<V: Vector<T>>(self, isa: V::Isa, old: V, inputs: [V; INPUTS]) -> V;
}

/// An operation and the slices it is applied to:
/// `output[i] = operation(output[i], [inputs[0][i], inputs[1][i], ..])`.
#[derive(Debug)]
pub(crate) struct Update<'a, T, O, const INPUTS: usize> {
    pub(crate) operation: O,
    pub(crate) output: &'a mut [T],
    /// Each as long as `output`.
    pub(crate) inputs: [&'a [T]; INPUTS],
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
        self.whole_registers(isa)
            .whole_registers(Portable)
            .whole_registers(Scalar);
    }
}

/// Registers in an unrolled block: enough to hide the latency of an addition behind the others.
const BLOCK: usize = 4;

type LanesOf<T, S> = <<T as Sealed>::Vector<S> as Vector<T>>::Lanes;

impl<T: Element, O: Operation<T, INPUTS>, const INPUTS: usize> Update<'_, T, O, INPUTS> {
    /// Updates the front of the slices in whole registers of `S`, and returns the rest.
    #[inline(always)]
    fn whole_registers<S: Simd>(self, isa: S) -> Self {
        let Self {
            operation,
            output,
            inputs,
        } = self;
        let length = output.len();
        let (registers, output) = LanesOf::<T, S>::chunks_mut(output);
        let inputs = inputs.map(|input| LanesOf::<T, S>::chunks(&input[..length]));
        let (blocks, singles) = registers.as_chunks_mut::<BLOCK>();
        let input_blocks = inputs.map(|(registers, _)| registers.as_chunks::<BLOCK>());

        for (b, block) in blocks.iter_mut().enumerate() {
            let inputs = input_blocks.map(|(blocks, _)| &blocks[b][..]);
            apply_each(isa, operation, block, inputs);
        }
        let input_singles = input_blocks.map(|(_, singles)| singles);
        apply_each(isa, operation, singles, input_singles);
        Self {
            operation,
            output,
            inputs: inputs.map(|(_, rest)| rest),
        }
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

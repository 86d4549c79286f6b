//! The loop: applies an operation to whole slices.

use crate::Element;
use crate::element::Sealed;
use crate::simd::{Kernel, Lanes, Simd, Vector};

/// What happens to one element of the output, as an expression over registers.
pub(crate) trait Operation<T: Element, const INPUTS: usize>: Copy + Send + Sync {
    /// The new value of the output, from its `old` value and the inputs. An operation that ignores
    /// `old` costs no read of it.
    fn apply<V: Vector<T>>(self, isa: V::Isa, old: V, inputs: [V; INPUTS]) -> V;
}

/// An operation and the slices it is applied to: `output[i] = operation(output[i], inputs[..][i])`.
#[derive(Debug)]
pub(crate) struct Update<'a, T, O, const INPUTS: usize> {
    pub(crate) operation: O,
    pub(crate) output: &'a mut [T],
    /// Each at least as long as `output`.
    pub(crate) inputs: [&'a [T]; INPUTS],
}

/// Registers in an unrolled block.
const BLOCK: usize = 4;

type LanesOf<T, S> = <<T as Sealed>::Vector<S> as Vector<T>>::Lanes;

impl<T: Element, O: Operation<T, INPUTS>, const INPUTS: usize> Kernel for Update<'_, T, O, INPUTS> {
    /// Blocks of registers, then single registers, then the rest of the slice as one partial
    /// register: an element's result does not depend on which of the three computes it.
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        let Self {
            operation,
            output,
            inputs,
        } = self;
        let length = output.len();
        let (registers, rest) = LanesOf::<T, S>::chunks_mut(output);
        let mut input_registers: [&[LanesOf<T, S>]; INPUTS] = [&[]; INPUTS];
        let mut input_rests: [&[T]; INPUTS] = [&[]; INPUTS];
        for i in 0..INPUTS {
            (input_registers[i], input_rests[i]) = LanesOf::<T, S>::chunks(&inputs[i][..length]);
        }

        let (blocks, singles) = registers.as_chunks_mut::<BLOCK>();
        let mut input_blocks: [&[[LanesOf<T, S>; BLOCK]]; INPUTS] = [&[]; INPUTS];
        let mut input_singles: [&[LanesOf<T, S>]; INPUTS] = [&[]; INPUTS];
        for i in 0..INPUTS {
            (input_blocks[i], input_singles[i]) = input_registers[i].as_chunks::<BLOCK>();
        }

        for (b, block) in blocks.iter_mut().enumerate() {
            update_registers(isa, operation, block, input_blocks.map(|blocks| &blocks[b][..]));
        }
        update_registers(isa, operation, singles, input_singles);
        if !rest.is_empty() {
            let old = T::Vector::<S>::load_partial(isa, rest);
            let inputs = input_rests.map(|rest| T::Vector::<S>::load_partial(isa, rest));
            operation.apply(isa, old, inputs).store_partial(rest);
        }
    }
}

/// Applies `operation` to whole registers.
#[inline(always)]
fn update_registers<T: Element, O: Operation<T, INPUTS>, S: Simd, const INPUTS: usize>(
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

//! The operations: each is one expression over registers; the loop and its tail are written once.
//!
//! To add an operation: a type with an [`Operation`] impl here, a scalar one-liner in
//! `reference.rs`, and a method in `executor.rs`.

mod inspect;
mod operations;
mod step;
mod update;

pub(crate) use inspect::{BLOCK_ELEMENTS, Findings, InspectBlock};
pub(crate) use operations::{Axpy, AxpyInto, Descend, DescendInto, SignedSqrt, SignedSqrtInPlace};
pub(crate) use step::{INT8_BLOCK, LeanMut, MomentumMut, StepPart};
pub(crate) use update::{CHUNK_BYTES, Operation, Part, Place, Update};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::Rule;
    use crate::reference::Step;

    /// Work is cut into parts of a chunk, the last one shorter, which know their bytes.
    #[test]
    fn parts_are_chunks() {
        const REST: usize = 24;
        let length = (3 * CHUNK_BYTES + REST) / size_of::<f64>();
        let (mut values, gradient) = (vec![1.0_f64; length], vec![1.0_f64; length]);
        let expected = [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES, REST];

        let (outputs, inputs) = ([&mut values[..]], [&gradient[..]]);
        let operation = Axpy { alpha: 2.0 };
        let update = Update { operation, outputs, inputs, place: Place::Near };
        assert!(update.chunks(CHUNK_BYTES).map(|part| part.bytes()).eq(expected));

        let step = StepPart {
            step: Step::first(&Rule::sgd(0.1)),
            parameters: &mut values,
            gradient: &gradient,
            momentum: MomentumMut::None,
            place: Place::Near,
        };
        assert!(step.chunks().map(|part| part.bytes()).eq(expected));

        let findings = &mut Findings::default();
        let block = InspectBlock { values: &gradient[..7], scale: 1.0, findings };
        assert_eq!(block.bytes(), 56);
    }
}

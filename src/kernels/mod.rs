//! The kernels: each operation is one formula over registers; the loop and its tail are written once.
//!
//! How to add an operation: ARCHITECTURE.md.

mod block;
mod inspect;
mod operations;
mod step;
mod update;

pub(crate) use inspect::{BLOCK_ELEMENTS, Findings, InspectBlock};
pub(crate) use operations::{Axpy, Descend, DescendInto, SignedSqrt, SignedSqrtInPlace};
pub(crate) use step::StepPart;
pub(crate) use update::{CHUNK_BYTES, Operation, Part, Update, WorkingSet};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::{MomentumMut, Rule, Step};

    /// Work is cut into parts of a chunk, the last one shorter, which know their bytes.
    #[test]
    fn parts_are_chunks() {
        const REST: usize = 24;
        let length = (3 * CHUNK_BYTES + REST) / size_of::<f64>();
        let (mut values, gradient) = (vec![1.0_f64; length], vec![1.0_f64; length]);
        let expected = [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES, REST];

        let (output, inputs) = (&mut values[..], [&gradient[..]]);
        let (states, working_set): ([&mut [f64]; 0], _) = ([], WorkingSet::Near);
        let update = Update { operation: Axpy { alpha: 2.0 }, output, states, inputs, working_set };
        assert!(update.chunks(CHUNK_BYTES).map(|part| part.bytes()).eq(expected));

        let step = StepPart {
            step: Step::first(&Rule::sgd(0.1)).unwrap(),
            parameters: &mut values,
            gradient: &gradient,
            momentum: MomentumMut::None,
            working_set,
        };
        assert!(step.chunks().map(|part| part.bytes()).eq(expected));

        let findings = &mut Findings::default();
        let block = InspectBlock { values: &gradient[..7], scale: 1.0, findings };
        assert_eq!(block.bytes(), 56);
    }
}

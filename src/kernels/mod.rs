//! The kernels: each operation is one formula over registers; the loop and its tail are written once.
//!
//! How to add an operation: ARCHITECTURE.md.

mod block;
mod inspect;
mod operations;
mod place;
mod step;
mod stored;
mod update;

pub(crate) use inspect::{BLOCK_ELEMENTS, Findings, InspectBlock};
pub(crate) use operations::{Axpy, Descend, DescendInto, SignedSqrt, SignedSqrtInPlace};
pub(crate) use step::{StepPart, Stepped};
pub(crate) use update::{CHUNK_BYTES, Operation, Part, SliceUpdate, WorkingSet};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::{MomentumMut, Rule, Step, StorageMut};
    use crate::step::{Gradient, Parameters};

    /// Work is cut into parts of a chunk, the last one shorter, which know their bytes.
    #[test]
    fn parts_are_chunks() {
        const REST: usize = 24;
        let length = (3 * CHUNK_BYTES + REST) / size_of::<f64>();
        let (mut values, gradient) = (vec![1.0_f64; length], vec![1.0_f64; length]);
        let expected = [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES, REST];

        let (output, inputs, working_set) = (&mut values[..], [&gradient[..]], WorkingSet::Near);
        let axpy = Axpy { alpha: 2.0 };
        let update = SliceUpdate::<f64, f64, _, 1>::of_slices(axpy, output, inputs, working_set);
        assert!(update.chunks(CHUNK_BYTES).map(|part| part.bytes()).eq(expected));

        let step = StepPart {
            step: Step::first(&Rule::sgd(0.1)).unwrap(),
            parameters: Parameters::Full(&mut values),
            gradient: Gradient::Full(&gradient),
            momentum: MomentumMut::None,
            storage: StorageMut::Nearest,
            working_set,
        };
        assert!(step.chunks().map(|part| part.bytes()).eq(expected));

        let findings = &mut Findings::default();
        let block = InspectBlock::<f64> { values: &gradient[..7], scale: 1.0, findings };
        assert_eq!(block.bytes(), 56);
    }
}

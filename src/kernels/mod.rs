//! The kernels: each operation is one formula over registers; the loop and its tail are written once.
//!
//! How to add an operation: ARCHITECTURE.md.

mod block;
mod inspect;
mod operations;
mod place;
mod rows;
mod step;
mod stored;
mod sum;
mod update;

pub(crate) use inspect::{BLOCK_ELEMENTS, Findings, InspectBlock};
pub(crate) use operations::{Axpy, Descend, DescendInto, SignedSqrt, SignedSqrtInPlace};
pub(crate) use rows::RowParts;
pub(crate) use step::{StepPart, Stepped};
pub(crate) use sum::SumPart;
pub(crate) use update::{CHUNK_BYTES, Operation, Part, SliceUpdate, WorkingSet};

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "x86_64")]
    use crate::float::Float;
    use crate::optimizer::{MomentumMut, Rule, Step, StorageMut};
    use crate::step::{Gradient, Parameters};
    #[cfg(target_arch = "x86_64")]
    use crate::{
        format::Number,
        reference,
        simd::{Avx512, Simd},
    };

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

    /// Whoever made the CPU, and so however many registers of a block are refined: with each exception, and
    /// what is next to one, in each lane of a block.
    #[cfg(target_arch = "x86_64")]
    fn roots_for_all_makers<T: Number>(exceptions: &[T]) {
        const LENGTH: usize = 4 * 64 + 1;
        for isa in Avx512::of_all_makers() {
            for &exception in exceptions {
                for place in 0..LENGTH {
                    let mut values = [<T as Float>::from_f64(-2.0); LENGTH];
                    values[place] = exception;
                    let expected: Vec<T> =
                        values.iter().map(|&value| reference::signed_sqrt(value)).collect();
                    let mut out = [T::default(); LENGTH];
                    isa.run(SliceUpdate::<T, T, _, 1>::of_slices(
                        SignedSqrt,
                        &mut out,
                        [&values],
                        WorkingSet::Near,
                    ));
                    for (&found, &expected) in out.iter().zip(&expected) {
                        let both_nan =
                            Float::to_f64(found).is_nan() && Float::to_f64(expected).is_nan();
                        let same = Float::to_bits(found) == Float::to_bits(expected);
                        assert!(same || both_nan, "{isa:?}, {place}: {found:?}, not {expected:?}");
                    }
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn roots_are_the_same_whoever_made_the_cpu() {
        let two = 2_f64;
        let around = |exponent: i32| {
            let power = two.powi(exponent);
            [power.next_down(), power, power.next_up(), -power * 1.0625, power * 0.9375]
        };
        let far = [0.0, -0.0, f64::from_bits(1), f64::MAX, f64::INFINITY, -f64::INFINITY, f64::NAN];
        let f64s = [-1074, -1022, -969, -968, -967, 0, 1, 1023].into_iter().flat_map(around);
        roots_for_all_makers::<f64>(&f64s.chain(far).collect::<Vec<_>>());
        let f32s = [-149, -126, -101, -100, -99, 0, 1, 127].into_iter().flat_map(around);
        let f32s = f32s.chain(far).chain([f64::from(f32::MAX), f64::from(f32::MIN_POSITIVE)]);
        roots_for_all_makers::<f32>(&f32s.map(<f32 as Float>::from_f64).collect::<Vec<_>>());
    }
}

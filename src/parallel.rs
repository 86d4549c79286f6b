//! Long slices split over the threads of the current rayon pool.

use crate::kernels::{Operation, Update};
use crate::{Element, Level};

/// Runs `update` on the current pool's threads if it is long enough to gain by it.
#[cfg(feature = "rayon")]
#[inline]
pub(crate) fn run<T: Element, O: Operation<T, INPUTS>, const INPUTS: usize>(
    level: Level,
    update: Update<'_, T, O, INPUTS>,
) {
    if size_of_val(update.output) < THRESHOLD_BYTES || rayon::current_num_threads() == 1 {
        level.run(update);
    } else {
        split(level, update);
    }
}

/// Runs `update` on the calling thread.
#[cfg(not(feature = "rayon"))]
#[inline]
pub(crate) fn run<T: Element, O: Operation<T, INPUTS>, const INPUTS: usize>(
    level: Level,
    update: Update<'_, T, O, INPUTS>,
) {
    level.run(update);
}

/// Outputs of fewer bytes stay on the calling thread.
#[cfg(feature = "rayon")]
const THRESHOLD_BYTES: usize = 256 * 1024;

/// The part of the output that a thread takes at a time.
#[cfg(feature = "rayon")]
const CHUNK_BYTES: usize = 128 * 1024;

#[cfg(feature = "rayon")]
fn split<T: Element, O: Operation<T, INPUTS>, const INPUTS: usize>(
    level: Level,
    update: Update<'_, T, O, INPUTS>,
) {
    use rayon::prelude::*;

    let Update {
        operation,
        output,
        inputs,
    } = update;
    let length = CHUNK_BYTES / size_of::<T>();
    output
        .par_chunks_mut(length)
        .enumerate()
        .for_each(|(i, output)| {
            let inputs = inputs.map(|input| &input[i * length..][..output.len()]);
            level.run(Update {
                operation,
                output,
                inputs,
            });
        });
}

//! Long slices split over the threads of the current rayon pool.

use crate::kernels::{Operation, Update};
use crate::{Element, Level};
#[cfg(feature = "rayon")]
use std::sync::{Mutex, PoisonError};

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
///
/// `cargo bench --bench ratios -- 'parallel / serial'` with a lower threshold, on two threads of a
/// Zen 3: waking the pool and waiting for it took 15 to 45 µs, so that at 1 MiB an f32 axpy took 1.4
/// times as long as on one thread (median), at 2 MiB a `signed_sqrt` 1.5 times. At 4 MiB every
/// operation took 0.6 to 0.96 times as long.
#[cfg(feature = "rayon")]
const THRESHOLD_BYTES: usize = 4 << 20;

/// The part of the output that a thread takes at a time: some ten microseconds of work or more, so
/// that taking it costs nothing, and few enough that the threads end together.
#[cfg(feature = "rayon")]
const CHUNK_BYTES: usize = 128 * 1024;

/// The calling thread works from the start, and the pool's threads join it as they wake up: each
/// takes the next chunk when it is done with one. (A parallel iterator would have the caller sleep
/// until a thread of the pool has woken up, and that one wake the others.)
#[cfg(feature = "rayon")]
#[inline(never)] // The call of a short slice stays short.
fn split<T: Element, O: Operation<T, INPUTS>, const INPUTS: usize>(
    level: Level,
    update: Update<'_, T, O, INPUTS>,
) {
    let Update { operation, output, inputs, place } = update;
    let length = CHUNK_BYTES / size_of::<T>();
    let helpers = output.len().div_ceil(length).min(rayon::current_num_threads()) - 1;
    let chunks = Mutex::new(output.chunks_mut(length).enumerate());
    let next_chunk = || chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((i, output)) = next_chunk() {
            let inputs = inputs.map(|input| &input[i * length..][..output.len()]);
            level.run(Update { operation, output, inputs, place });
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| work());
        }
        work();
    });
}

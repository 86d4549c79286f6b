//! Long slices, and many slices, split over the threads of the current rayon pool.

use crate::Level;
use crate::kernels::{CHUNK_BYTES, Part};
use std::sync::{Mutex, PoisonError};

/// Outputs of fewer bytes stay on the calling thread.
///
/// `cargo bench --bench ratios -- 'parallel / serial'` with a lower threshold, on two threads of a
/// Zen 3: waking the pool and waiting for it took 15 to 45 µs, so that at 1 MiB an f32 axpy took 1.4
/// times as long as on one thread (median), at 2 MiB a `signed_sqrt` 1.5 times. At 4 MiB every
/// operation took 0.6 to 0.96 times as long.
const THRESHOLD_BYTES: usize = 4 << 20;

/// Whether [`run`] gains anything with outputs of `bytes` together.
#[inline]
pub(crate) fn pays(bytes: usize) -> bool {
    bytes >= THRESHOLD_BYTES && rayon::current_num_threads() > 1
}

/// Runs `parts`, which have `bytes` together, on the current pool's threads.
///
/// The calling thread works from the start, and the pool's threads join it as they wake up: each
/// takes the next chunk when it is done with one. (A parallel iterator would have the caller sleep
/// until a thread of the pool has woken up, and that one wake the others.)
///
/// A chunk is one part, or as many small ones as make up a chunk.
#[inline(never)] // The call of a short slice stays short.
pub(crate) fn run<P: Part>(level: Level, bytes: usize, parts: impl Iterator<Item = P> + Send) {
    let parts = Mutex::new(parts);
    let take_chunk = |chunk: &mut Vec<_>| {
        let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        while taken < CHUNK_BYTES
            && let Some(part) = parts.next()
        {
            taken += part.bytes();
            chunk.push(part);
        }
    };
    let work = || {
        let mut chunk = Vec::new();
        loop {
            take_chunk(&mut chunk);
            if chunk.is_empty() {
                break;
            }
            P::run_all(level, chunk.drain(..));
        }
    };
    let helpers = bytes.div_ceil(CHUNK_BYTES).min(rayon::current_num_threads()) - 1;
    rayon::in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| work());
        }
        work();
    });
}

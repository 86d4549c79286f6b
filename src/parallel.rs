//! Long slices, and many slices, split over the threads of the current rayon pool.

use crate::kernels::{CHUNK_BYTES, Part};
use crate::level::Level;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, Simd};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// A part of one chunk that ends when `parts` of its kind have begun: they need as many threads.
    struct Meeting<'a> {
        parts: usize,
        begun: &'a AtomicUsize,
        met: &'a AtomicUsize,
    }

    impl Kernel for Meeting<'_> {
        fn call<S: Simd>(self, _: S) {
            self.begun.fetch_add(1, Ordering::SeqCst);
            // A thread that does not come fails the test instead of stopping it.
            let end = Instant::now() + Duration::from_secs(20);
            while self.begun.load(Ordering::SeqCst) < self.parts {
                if Instant::now() > end {
                    return;
                }
                std::thread::yield_now();
            }
            self.met.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Part for Meeting<'_> {
        fn bytes(&self) -> usize {
            CHUNK_BYTES
        }
    }

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn each_thread_takes_a_chunk() {
        for threads in [1, 2, 5] {
            let (begun, met) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let parts = (0..threads).map(|_| Meeting { parts: threads, begun: &begun, met: &met });
            pool(threads).install(|| run(Level::portable(), threads * CHUNK_BYTES, parts));
            assert_eq!(met.into_inner(), threads);
        }
    }

    #[test]
    fn long_slices_pay_where_there_are_threads() {
        for (threads, bytes, expected) in [
            (1, usize::MAX, false),
            (2, THRESHOLD_BYTES, true),
            (2, usize::MAX, true),
            (2, THRESHOLD_BYTES - 1, false),
        ] {
            assert_eq!(pool(threads).install(|| pays(bytes)), expected, "{threads}, {bytes}");
        }
    }
}

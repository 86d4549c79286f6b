//! Long slices, and many slices, split over the threads of the current rayon pool.

#[allow(unsafe_code, reason = "helpers may outlive the work that they are called for")]
mod door;

use crate::kernels::{CHUNK_BYTES, Part};
use crate::level::Level;
use crate::simd::untrapped;
use door::work_together;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What `door` is made of; those of a model checker in `tests/loom`.
mod sync {
    pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
}

/// Outputs of fewer bytes, taken together, stay on the calling thread: there, waking the pool and waiting
/// for it takes longer than its help saves. Measured in docs/performance.md.
const THRESHOLD_BYTES: usize = 4 << 20;

/// Whether [`run`] gains anything with outputs of `bytes` together.
#[inline]
pub(crate) fn pays(bytes: usize) -> bool {
    bytes >= THRESHOLD_BYTES && threads() > 1
}

/// The threads of the current pool that this one may call; itself alone, if there are no others.
fn threads() -> usize {
    static GLOBAL: OnceLock<Pool> = OnceLock::new();
    thread_local! {
        /// A thread of a pool stays in it.
        static OWN: Pool = Pool::current();
    }
    if rayon::current_thread_index().is_some() {
        OWN.with(Pool::threads)
    } else {
        GLOBAL.get_or_init(Pool::current).threads()
    }
}

/// A pool, as it was at the first call.
struct Pool {
    threads: usize,
    process: u32,
}

impl Pool {
    /// Where the process may have no more threads, the global pool cannot be started: that is a panic of
    /// rayon's, at each use, and there is no other way to see it that leaves the pool as rayon makes it.
    /// (It is seen, and written to standard error, once.)
    fn current() -> Self {
        let threads = catch_unwind(rayon::current_num_threads).unwrap_or(1);
        Self { threads, process: process() }
    }

    /// In a forked process the pool is there, and its threads are not: its locks stay as they were, and to
    /// call a helper waits for ever if a thread was just falling asleep (4 of 3000 forks right after a
    /// call). Not seen here is a fork before the first call, of a pool that others had started.
    fn threads(&self) -> usize {
        if self.process == process() { self.threads } else { 1 }
    }
}

/// This process, where it may be a forked one.
fn process() -> u32 {
    if cfg!(unix) { std::process::id() } else { 0 }
}

/// Runs `parts`, which have `bytes` together, on the current pool's threads.
///
/// The calling thread works from the start, and the pool's threads join it as they wake up: each
/// takes the next chunk when it is done with one. (A parallel iterator would have the caller sleep
/// until a thread of the pool has woken up, and that one wake the others.) Those that have not come when
/// the work is done are not waited for: see [`door`].
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
    let helpers = bytes.div_ceil(CHUNK_BYTES).min(threads()) - 1;
    // Whoever calls on one thread calls the helpers of one pool.
    let called = CALLED.try_with(Arc::clone).unwrap_or_default();
    let helpers = helpers.min(MOST_CALLED.saturating_sub(Arc::strong_count(&called)));
    work_together(helpers, &|| untrapped(work), |helper| {
        let called = Arc::clone(&called);
        rayon::spawn(move || {
            drop(called);
            helper.help();
        });
    });
}

thread_local! {
    /// Held by each of the helpers that this thread has called, until it comes.
    static CALLED: Arc<()> = Arc::default();
}

/// The helpers that a thread may have called and that have not come. In a pool that is busy for as long as
/// the program runs each call would leave more of them behind. Far more than there are threads: in a pool
/// that works this never decides.
const MOST_CALLED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, Simd, foreign, seems_default};
    use std::panic::{AssertUnwindSafe, resume_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};
    use std::{iter, thread};

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

    #[test]
    fn threads_are_those_of_the_current_pool() {
        assert_eq!(pool(3).install(threads), 3);
        assert_eq!(threads(), rayon::current_num_threads());
    }

    #[test]
    fn threads_of_another_process_are_not_called() {
        let pool = Pool { threads: 3, ..Pool::current() };
        assert_eq!(pool.threads(), 3);
        #[cfg(unix)]
        assert_eq!(Pool { process: std::os::unix::process::parent_id(), ..pool }.threads(), 1);
    }

    /// A part of one chunk that calls a function.
    struct Call<F>(F);

    impl<F: FnOnce()> Kernel for Call<F> {
        fn call<S: Simd>(self, _: S) {
            self.0();
        }
    }

    impl<F: FnOnce() + Send> Part for Call<F> {
        fn bytes(&self) -> usize {
            CHUNK_BYTES
        }
    }

    /// What a call panics with in a pool of three threads, each of which has one part: `act`, which is told
    /// whether its thread is the caller's, and begins when all three have come.
    fn panic_of(act: impl Fn(bool) + Sync) -> &'static str {
        let result = pool(3).install(|| {
            let (caller, all) = (thread::current().id(), Barrier::new(3));
            let part = || {
                all.wait();
                act(thread::current().id() == caller);
            };
            let parts = (0..3).map(|_| Call(&part));
            catch_unwind(AssertUnwindSafe(|| run(Level::portable(), 3 * CHUNK_BYTES, parts)))
        });
        *result.expect_err("somebody panics").downcast().expect("it is a text of the test")
    }

    /// Each thread of a pool to which foreign code has left another floating-point environment works in the
    /// default one, and has its own again afterwards, also after a panic.
    #[test]
    fn each_thread_works_in_the_default_environment() {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(3);
        let pool = builder.start_handler(|_| foreign::switch_on()).build().unwrap();
        for panics in [false, true] {
            let (all, in_default) = (Barrier::new(3), AtomicUsize::new(0));
            let part = || {
                all.wait();
                in_default.fetch_add(usize::from(seems_default()), Ordering::SeqCst);
                if panics {
                    resume_unwind(Box::new("all"));
                }
            };
            let result = pool.install(|| {
                let parts = (0..3).map(|_| Call(&part));
                catch_unwind(AssertUnwindSafe(|| run(Level::portable(), 3 * CHUNK_BYTES, parts)))
            });
            assert_eq!((result.is_err(), in_default.into_inner()), (panics, 3));
            let foreign = !foreign::WORDS.is_empty();
            assert_eq!(pool.broadcast(|_| !seems_default()), [foreign; 3]);
        }
    }

    #[test]
    fn a_panic_of_a_helper_is_the_callers() {
        let panic = panic_of(|caller| {
            if !caller {
                resume_unwind(Box::new("a helper"));
            }
        });
        assert_eq!(panic, "a helper");
    }

    #[test]
    fn a_panic_of_the_caller_waits_for_helpers_and_wins() {
        let ended = AtomicUsize::new(0);
        let panic = panic_of(|caller| {
            if caller {
                resume_unwind(Box::new("the caller"));
            }
            thread::sleep(Duration::from_millis(50));
            ended.fetch_add(1, Ordering::SeqCst);
            resume_unwind(Box::new("a helper"));
        });
        assert_eq!((panic, ended.into_inner()), ("the caller", 2));
    }

    /// What a panic carries is dropped if it is not passed on, and has the process for itself while it is.
    #[test]
    fn panics_that_panic_when_they_are_dropped() {
        static DROPPED: AtomicUsize = AtomicUsize::new(0);
        struct Endless;
        impl Drop for Endless {
            fn drop(&mut self) {
                DROPPED.fetch_add(1, Ordering::SeqCst);
                resume_unwind(Box::new(Self));
            }
        }
        let panic = panic_of(|caller| {
            if caller {
                resume_unwind(Box::new("the caller"));
            }
            resume_unwind(Box::new(Endless));
        });
        assert_eq!((panic, DROPPED.load(Ordering::SeqCst)), ("the caller", 2));
    }

    /// The helpers that do not come are no more for many calls, and are gone when their pool has come to
    /// itself.
    #[test]
    fn helpers_that_do_not_come_are_few() {
        let (pool, gate) = (pool(2), Barrier::new(2));
        let awaited = |_: rayon::BroadcastContext<'_>| CALLED.with(Arc::strong_count) - 1;
        let most = pool.in_place_scope(|scope| {
            scope.spawn(|_| {
                gate.wait();
            });
            let most = pool.install(|| {
                for _ in 0..2 * MOST_CALLED {
                    run(Level::portable(), 2 * CHUNK_BYTES, iter::empty::<Meeting<'_>>());
                }
                CALLED.with(Arc::strong_count)
            });
            gate.wait();
            most
        });
        assert!((MOST_CALLED / 2..=MOST_CALLED).contains(&most), "{most}");
        let end = Instant::now() + Duration::from_secs(20);
        while pool.broadcast(awaited) != [0, 0] {
            assert!(Instant::now() < end, "the helpers never came");
            thread::yield_now();
        }
    }
}

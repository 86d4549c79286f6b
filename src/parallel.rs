//! Long slices, and many slices, split over threads.
//!
//! They are those of the current rayon pool (with the feature `rayon`): the global one, or the caller's own inside
//! `pool.install(..)`. A program that has threads of another kind, such as those of OpenMP, lends them by
//! [`install`].

#[cfg(feature = "rayon")]
#[allow(unsafe_code, reason = "helpers may outlive the work that they are called for")]
mod door;
#[cfg(feature = "rayon")]
mod rayon_pool;

use crate::kernels::{CHUNK_BYTES, Part};
use crate::level::Level;
use crate::simd::untrapped;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

/// What `door` is made of; those of a model checker in `tests/loom`.
#[cfg(feature = "rayon")]
mod sync {
    pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
}

/// Threads of the caller's, lent to calls inside [`install`].
///
/// Two pools in one process fight for its cores: threads that wait by spinning, as those of OpenMP do, hold up those
/// that are woken. So a call takes the threads of the pool that the program works with.
pub trait ThreadPool: Sync {
    /// How many threads [`broadcast`](Self::broadcast) calls, the calling one among them. 1 where there are no others,
    /// such as in a forked process.
    fn threads(&self) -> usize;

    /// Calls `work` on several threads at a time, at most once on each, and returns when all of these calls have
    /// ended. How many there are changes no bit: what they leave is done by the thread that calls. `work` does not panic.
    fn broadcast(&self, work: &(dyn Fn() + Sync));

    /// The least number of bytes, of all outputs together, for which the pool is called: about what one thread
    /// writes in ten times the time of an empty `broadcast`. At least 128 KiB, whatever this gives.
    fn threshold_bytes(&self) -> usize {
        THRESHOLD_BYTES
    }
}

/// Calls `f`, in which the calls of this thread split long slices over `pool`, also without the feature `rayon`.
///
/// The bits are the same. Calls of [serial](crate::Executor::serial) executors stay on their thread.
///
/// ```
/// use rootstep::parallel::{ThreadPool, install};
///
/// /// Starts its threads at each call, which takes longer than to wake them.
/// struct Started;
///
/// impl ThreadPool for Started {
///     fn threads(&self) -> usize {
///         2
///     }
///
///     fn broadcast(&self, work: &(dyn Fn() + Sync)) {
///         std::thread::scope(|scope| {
///             scope.spawn(work);
///             work();
///         });
///     }
/// }
///
/// let (mut parameters, gradient) = (vec![1.0_f32; 2_000_000], vec![4.0; 2_000_000]);
/// install(&Started, || rootstep::descend(&mut parameters, &gradient, 0.25));
/// assert!(parameters.iter().all(|&x| x == 0.5));
/// ```
pub fn install<R>(pool: &'static dyn ThreadPool, f: impl FnOnce() -> R) -> R {
    /// Puts back what was installed, also after a panic.
    struct Before(Installed);

    impl Drop for Before {
        fn drop(&mut self) {
            INSTALLED.set(self.0);
        }
    }

    let _before = Before(INSTALLED.replace(Some(pool)));
    f()
}

type Installed = Option<&'static dyn ThreadPool>;

thread_local! {
    static INSTALLED: Cell<Installed> = const { Cell::new(None) };
}

/// Outputs of fewer bytes, taken together, stay on the calling thread: there, waking the pool and waiting
/// for it takes longer than its help saves. Measured in docs/performance.md.
const THRESHOLD_BYTES: usize = 4 << 20;

/// Outputs of fewer bytes are not worth to look for a pool.
const LEAST_BYTES: usize = 128 << 10;

/// Whether [`run`] gains anything with outputs of `bytes` together.
#[inline]
pub(crate) fn pays(bytes: usize) -> bool {
    bytes >= LEAST_BYTES && pays_in_pool(bytes)
}

#[inline(never)] // The call of a short slice stays short.
fn pays_in_pool(bytes: usize) -> bool {
    INSTALLED.get().map_or_else(
        || bytes >= THRESHOLD_BYTES && threads_of_rayon() > 1,
        |pool| bytes >= pool.threshold_bytes() && pool.threads() > 1,
    )
}

/// Those of the current pool that this thread may call; itself alone, if there are no others.
fn threads_of_rayon() -> usize {
    #[cfg(feature = "rayon")]
    return rayon_pool::threads();
    #[cfg(not(feature = "rayon"))]
    1
}

/// Runs `parts`, which have `bytes` together, on the threads of the installed pool, or of the current one of rayon.
///
/// Each thread takes the next chunk when it is done with one. A chunk is one part, or as many small ones as make up a
/// chunk.
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
    let work = || untrapped(work);
    match INSTALLED.get() {
        Some(pool) => run_in(pool, &work),
        None => run_in_rayon(bytes, &work),
    }
}

/// Does `work` on the threads of a pool. A panic in it is passed on: the first one.
fn run_in(pool: &dyn ThreadPool, work: &(impl Fn() + Sync)) {
    let panic: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);
    // Foreign code is not unwound through.
    pool.broadcast(&|| {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
    });
    if let Some(payload) = panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(payload);
    }
    work();
}

#[cfg_attr(
    not(feature = "rayon"),
    allow(unused_variables, reason = "it is done by this thread anyway")
)]
fn run_in_rayon(bytes: usize, work: &(impl Fn() + Sync)) {
    #[cfg(feature = "rayon")]
    return rayon_pool::run(bytes.div_ceil(CHUNK_BYTES).min(rayon_pool::threads()) - 1, work);
    #[cfg(not(feature = "rayon"))]
    work();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, Simd, seems_default};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    /// Threads that are started at each call; the calling one works if `CALLER`.
    struct Started<const THREADS: usize, const CALLER: bool>;

    impl<const THREADS: usize, const CALLER: bool> ThreadPool for Started<THREADS, CALLER> {
        fn threads(&self) -> usize {
            THREADS
        }

        fn broadcast(&self, work: &(dyn Fn() + Sync)) {
            thread::scope(|scope| {
                (1..THREADS).for_each(|_| drop(scope.spawn(work)));
                if CALLER {
                    work();
                }
            });
        }

        fn threshold_bytes(&self) -> usize {
            1
        }
    }

    /// A part of one chunk that calls a function.
    pub(super) struct Call<F>(pub(super) F);

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

    fn run_calls(calls: usize, call: impl Fn() + Sync) {
        run(Level::portable(), calls * CHUNK_BYTES, (0..calls).map(|_| Call(&call)));
    }

    /// Three threads have one part each: none is done before all are begun.
    #[test]
    fn an_installed_pool_works() {
        let (all, done) = (Barrier::new(3), AtomicUsize::new(0));
        let call = || {
            all.wait();
            done.fetch_add(1, Ordering::SeqCst);
        };
        install(&Started::<3, true>, || run_calls(3, call));
        assert_eq!(done.into_inner(), 3);
    }

    #[test]
    fn what_an_installed_pool_leaves_is_done() {
        let (caller, done) = (thread::current().id(), AtomicUsize::new(0));
        install(&Started::<1, false>, || {
            run_calls(5, || {
                assert_eq!(thread::current().id(), caller);
                done.fetch_add(1, Ordering::SeqCst);
            });
        });
        assert_eq!(done.into_inner(), 5);
    }

    #[test]
    fn an_installed_pool_decides_what_pays() {
        let bytes = LEAST_BYTES;
        install(&Started::<2, true>, || {
            assert!(pays(bytes) && !pays(bytes - 1));
            install(&Started::<1, true>, || assert!(!pays(usize::MAX)));
            assert!(pays(bytes));
            let panic =
                catch_unwind(|| install(&Started::<1, true>, || resume_unwind(Box::new(()))));
            assert!(panic.is_err() && pays(bytes));
        });
        assert!(!pays(bytes));
    }

    /// In the default environment, as every call, and passed on.
    #[test]
    fn a_panic_in_an_installed_pool_is_the_callers() {
        let panic = catch_unwind(|| {
            install(&Started::<2, false>, || {
                run_calls(1, || {
                    assert!(seems_default());
                    resume_unwind(Box::new("a thread of the pool"));
                });
            });
        });
        let panic = panic.expect_err("it is passed on");
        assert_eq!(panic.downcast_ref(), Some(&"a thread of the pool"));
    }
}

#[cfg(all(test, feature = "rayon"))]
mod tests_of_rayon {
    use super::rayon_pool::threads;
    use super::tests::Call;
    use super::*;
    use crate::simd::{Kernel, Simd, foreign, seems_default};
    use std::panic::{AssertUnwindSafe, resume_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
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

    #[test]
    fn threads_are_those_of_the_current_pool() {
        assert_eq!(pool(3).install(threads), 3);
        assert_eq!(threads(), rayon::current_num_threads());
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
}

//! The threads of the current rayon pool.

use super::door::work_together;
use std::panic::catch_unwind;
use std::sync::{Arc, OnceLock};

/// The threads of the current pool that this one may call; itself alone, if there are no others.
pub(super) fn threads() -> usize {
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

/// Runs `work` on this thread, and on as many as `helpers` others that come in time.
///
/// The calling thread works from the start, and the pool's threads join it as they wake up. (A parallel iterator
/// would have the caller sleep until a thread of the pool has woken up, and that one wake the others.) Those that
/// have not come when the work is done are not waited for: see [`door`](super::door).
pub(super) fn run(helpers: usize, work: &(impl Fn() + Sync)) {
    // Whoever calls on one thread calls the helpers of one pool.
    let called = CALLED.try_with(Arc::clone).unwrap_or_default();
    let helpers = helpers.min(MOST_CALLED.saturating_sub(Arc::strong_count(&called)));
    work_together(helpers, work, |helper| {
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
    use std::sync::Barrier;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn threads_of_another_process_are_not_called() {
        let pool = Pool { threads: 3, ..Pool::current() };
        assert_eq!(pool.threads(), 3);
        #[cfg(unix)]
        assert_eq!(Pool { process: std::os::unix::process::parent_id(), ..pool }.threads(), 1);
    }

    /// The helpers that do not come are no more for many calls, and are gone when their pool has come to
    /// itself.
    #[test]
    fn helpers_that_do_not_come_are_few() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let gate = Barrier::new(2);
        let awaited = |_: rayon::BroadcastContext<'_>| CALLED.with(Arc::strong_count) - 1;
        let most = pool.in_place_scope(|scope| {
            scope.spawn(|_| {
                gate.wait();
            });
            let most = pool.install(|| {
                for _ in 0..2 * MOST_CALLED {
                    run(1, &|| ());
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

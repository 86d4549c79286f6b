//! A call never waits in vain: not for threads that are blocked, asleep or gone, and while it waits for
//! those that help it, its thread does nothing else. Each case hung, or waited for others, when it was
//! written.

use crate::own_process::in_own_process;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rootstep::optimizer::{Optimizer, Rule};
use rootstep_tuning::{KFold, Search};
use std::cell::Cell;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

/// The fewest f32 that are split over threads.
const SPLIT: usize = (4 << 20) / size_of::<f32>();

/// Threads of a pool, whatever the machine has.
const THREADS: usize = 4;

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().expect("there can be more threads")
}

fn start_global_pool() {
    ThreadPoolBuilder::new().num_threads(THREADS).build_global().expect("it is the first use");
}

/// Has every thread of the global pool begin `task`, before this returns.
fn occupy_global_pool(task: impl Fn() + Send + Sync + 'static) {
    let (task, begun) = (Arc::new(task), Arc::new(Barrier::new(THREADS + 1)));
    for _ in 0..THREADS {
        let (task, begun) = (Arc::clone(&task), Arc::clone(&begun));
        rayon::spawn(move || {
            begun.wait();
            task();
        });
    }
    begun.wait();
}

/// Parameters that a step of [`descend`] takes from a whole number to the one below.
fn parameters(length: usize) -> Vec<f32> {
    vec![0.0; length]
}

/// Subtracts 1, `times` times, and sees that it was done exactly as often.
fn descend(parameters: &mut [f32], times: usize) {
    let (before, gradient) = (parameters[0], vec![4.0; parameters.len()]);
    for _ in 0..times {
        rootstep::descend(parameters, &gradient, 0.5);
    }
    let expected = before - times as f32;
    assert!(parameters.iter().all(|&x| x == expected), "an element was not updated once a step");
}

/// A loader of data as is usual: the threads of the pool fill a channel of limited length, and who empties
/// it takes the steps.
#[test]
fn step_while_the_pool_blocks_on_its_results() {
    in_own_process("threads::step_while_the_pool_blocks_on_its_results", &[], || {
        start_global_pool();
        let (sender, batches) = sync_channel::<Vec<f32>>(0);
        occupy_global_pool(move || {
            for _ in 0..3 {
                sender.send(vec![4.0; SPLIT]).expect("somebody takes them");
            }
        });
        let mut optimizer = Optimizer::builder(Rule::sgd(0.25)).build().unwrap();
        let mut model = [parameters(SPLIT)];
        // Before the first batch is taken, all threads of the pool are blocked for good.
        optimizer.step(&mut model, &[vec![4.0; SPLIT]]).unwrap();
        for batch in batches {
            optimizer.step(&mut model, &[batch]).unwrap();
        }
        let steps = 1.0 + 3.0 * THREADS as f32;
        assert!(model[0].iter().all(|&x| x == -steps));
    });
}

/// The model of a parameter server: behind a lock, stepped by the tasks of a parallel iterator. A thread
/// that waited under the lock must not take another of these tasks.
#[test]
fn step_under_a_lock_that_other_tasks_want() {
    in_own_process("threads::step_under_a_lock_that_other_tasks_want", &[], || {
        let optimizer = Optimizer::builder(Rule::sgd(0.25)).build().unwrap();
        let shared = Mutex::new((optimizer, [parameters(SPLIT)]));
        let gradient = [vec![4.0; SPLIT]];
        let (rounds, tasks) = (200, 6);
        let pool = pool(THREADS);
        // At the end of each round there are threads without a task, which help.
        for _ in 0..rounds {
            let task = |_| {
                let mut shared = shared.lock().unwrap();
                let (optimizer, model) = &mut *shared;
                optimizer.step(model, &gradient).unwrap();
            };
            pool.install(|| (0..tasks).into_par_iter().for_each(task));
        }
        let (optimizer, model) = shared.into_inner().unwrap();
        assert_eq!(optimizer.steps(), rounds * tasks);
        assert!(model[0].iter().all(|&x| x == -((rounds * tasks) as f32)));
    });
}

/// The gate opens when the call is over, so a call that waits for the pool's threads waits for itself.
#[test]
fn descend_while_the_pool_sleeps() {
    in_own_process("threads::descend_while_the_pool_sleeps", &[], || {
        start_global_pool();
        let gate = Arc::new(Barrier::new(THREADS + 1));
        let sleepers = Arc::clone(&gate);
        occupy_global_pool(move || {
            sleepers.wait();
        });
        let mut x = parameters(2 * SPLIT);
        descend(&mut x, 3);
        gate.wait();
        // The helpers that come now find the work done; and others after them work as ever.
        descend(&mut x, 20);
    });
}

/// Forks this process, which is the test's own: a fork copies all locks as they are. Fails if `child` does.
#[cfg(unix)]
fn fork(child: impl FnOnce()) {
    let Ok(fork::Fork::Parent(child)) = fork::fork() else {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        std::process::exit(i32::from(result.is_err()));
    };
    assert_eq!(fork::waitpid(child).expect("it is a child of this process"), 0, "the child failed");
}

/// The threads of the pool are not there in the child, whoever the caller is.
#[cfg(unix)]
#[test]
fn descend_in_a_forked_process() {
    in_own_process("threads::descend_in_a_forked_process", &[], || {
        start_global_pool();
        let call = || descend(&mut parameters(SPLIT), 3);
        for _ in 0..20 {
            call();
            fork(call);
        }
        let own = pool(2);
        own.install(|| {
            call();
            fork(call);
            call();
        });
    });
}

/// A tensor that takes its time to say where it is, on the threads of the pool.
struct Busy(Vec<f32>);

impl AsMut<[f32]> for Busy {
    fn as_mut(&mut self) -> &mut [f32] {
        (0..64).into_par_iter().for_each(|_| {
            std::hint::black_box((0..2000).sum::<usize>());
        });
        &mut self.0
    }
}

#[test]
fn step_of_tensors_that_use_the_pool() {
    in_own_process("threads::step_of_tensors_that_use_the_pool", &[], || {
        let mut model: Vec<Busy> = (0..20).map(|_| Busy(parameters(SPLIT / 8))).collect();
        let gradients = vec![vec![4.0; SPLIT / 8]; 20];
        let mut optimizer = Optimizer::builder(Rule::sgd(0.25)).build().unwrap();
        pool(8).install(|| {
            for _ in 0..100 {
                optimizer.step(&mut model, &gradients).unwrap();
            }
        });
        assert!(model.iter().flat_map(|tensor| &tensor.0).all(|&x| x == -100.0));
    });
}

/// A process may have no more threads, here since none can have as large a stack: rayon panics then.
#[test]
#[cfg(target_pointer_width = "64")]
fn descend_without_a_pool() {
    let stack = [("RUST_MIN_STACK", "140737488355328")];
    in_own_process("threads::descend_without_a_pool", &stack, || {
        assert!(thread::Builder::new().spawn(|| ()).is_err(), "there is such a stack");
        let mut x = parameters(SPLIT);
        descend(&mut x, 3);
        // Not even a panic of the caller's own differs.
        assert!(std::panic::catch_unwind(rayon::current_num_threads).is_err());
        descend(&mut x, 3);
    });
}

#[test]
fn calls_from_pools_within_pools() {
    in_own_process("threads::calls_from_pools_within_pools", &[], || {
        let (outer, inner) = (pool(3), pool(2));
        let steps = AtomicUsize::new(0);
        let call = || {
            descend(&mut parameters(SPLIT), 5);
            steps.fetch_add(5, Ordering::Relaxed);
        };
        outer.install(|| {
            (0..6).into_par_iter().for_each(|_| {
                call();
                inner.install(|| rayon::join(call, || outer.install(call)));
            });
        });
        assert_eq!(steps.into_inner(), 6 * 3 * 5);
    });
}

/// Whoever drops a pool does not wait for what was spawned in it.
#[test]
fn calls_in_a_pool_that_is_dropped() {
    in_own_process("threads::calls_in_a_pool_that_is_dropped", &[], || {
        for _ in 0..20 {
            let (pool, (sender, ends)) = (pool(THREADS), channel());
            for _ in 0..2 {
                let sender = sender.clone();
                pool.spawn(move || {
                    descend(&mut parameters(SPLIT), 5);
                    sender.send(()).expect("somebody waits");
                });
            }
            drop((pool, sender));
            assert_eq!(ends.iter().count(), 2);
        }
    });
}

#[test]
fn calls_from_many_threads_at_a_time() {
    in_own_process("threads::calls_from_many_threads_at_a_time", &[], || {
        let pool = &pool(THREADS);
        thread::scope(|scope| {
            // Foreign tasks keep the pool's threads from coming at once when they are called.
            scope.spawn(|| {
                for _ in 0..2000 {
                    pool.install(|| (0..64).into_par_iter().for_each(|_| thread::yield_now()));
                }
            });
            for user in 0..8 {
                let call = move || descend(&mut parameters(SPLIT + user), 30);
                scope.spawn(move || if user % 2 == 0 { call() } else { pool.install(call) });
            }
        });
    });
}

thread_local! {
    /// Whether a fit has begun on this thread and not ended.
    static FITTING: Cell<bool> = const { Cell::new(false) };
}

/// The time of a fit is its own: while it waits for the threads that help it, its thread begins no other.
#[test]
fn no_fit_begins_within_another() {
    in_own_process("threads::no_fit_begins_within_another", &[], || {
        let folds = KFold::new(8).unwrap().split(8).unwrap();
        let gradient = vec![4.0; 1 << 20];
        let fit = |_: &u8, _: &_| {
            let nested = FITTING.replace(true);
            let mut x = vec![0.0_f32; gradient.len()];
            for _ in 0..4 {
                rootstep::descend(&mut x, &gradient, 0.5);
            }
            FITTING.set(nested);
            Ok::<bool, Infallible>(nested)
        };
        let pool = ThreadPoolBuilder::new().num_threads(8).build().unwrap();
        let search = Search::new(&folds);
        let score = |&nested: &bool, _: &[usize]| Ok(vec![f64::from(u8::from(nested))]);
        let results = pool.install(|| search.run(0..16, fit, score)).unwrap();
        let nested: f64 =
            results.rows().iter().map(|row| row.metric().scores.iter().sum::<f64>()).sum();
        assert_eq!(nested, 0.0, "fits began within others, of 128");
    });
}

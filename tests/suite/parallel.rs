//! Threads change nothing: the same bits for any number of them, in the caller's own pool.

use crate::own_process::in_own_process;
use crate::support::{Operation, TestFormat, check, long_length, random_values, some_rate};
use half::{bf16, f16};
use rayon::ThreadPoolBuilder;
use rootstep::parallel::{ThreadPool, install};
use rootstep::{Executor, Level};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn same_bits_for_any_number_of_threads<T: TestFormat>(numbers: &[usize]) {
    let rate = some_rate::<T::Compute>();
    for &threads in numbers {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for &level in Level::available() {
            for (i, operation) in Operation::all(rate).into_iter().enumerate() {
                let length = long_length::<T>() + i;
                let x = random_values::<T>(length, 10);
                let g = random_values::<T>(length, 11);
                let offsets = [threads % T::LANES, 1, i];
                pool.install(|| check(operation, Executor::new(level), &x, &g, offsets));
            }
        }
    }
}

#[test]
fn same_bits_for_any_number_of_threads_f32() {
    same_bits_for_any_number_of_threads::<f32>(&[1, 2, 3, 8]);
}

#[test]
fn same_bits_for_any_number_of_threads_f64() {
    same_bits_for_any_number_of_threads::<f64>(&[1, 2, 3, 8]);
}

#[test]
fn same_bits_for_any_number_of_threads_bf16() {
    same_bits_for_any_number_of_threads::<bf16>(&[3]);
}

#[test]
fn same_bits_for_any_number_of_threads_f16() {
    same_bits_for_any_number_of_threads::<f16>(&[3]);
}

/// A call inside `pool.install` starts nothing in the global pool, and works from within a task. A serial
/// call starts nothing anywhere.
#[test]
fn the_callers_pool_is_used() {
    in_own_process("parallel::the_callers_pool_is_used", &[], the_callers_pool_and_no_other);
}

fn the_callers_pool_and_no_other() {
    let pool = ThreadPoolBuilder::new()
        .num_threads(2)
        .thread_name(|i| format!("mine {i}"))
        .build()
        .unwrap();
    let x = random_values::<f32>(long_length::<f32>(), 12);
    let g = random_values::<f32>(long_length::<f32>(), 13);
    let call = || check(Operation::Descend(0.1), Executor::default(), &x, &g, [0; 3]);
    pool.install(|| rayon::join(call, call));
    let mut out = x.clone();
    pool.install(|| Executor::default().descend(&mut out, &g, 0.1));

    let serial = Executor::default().serial();
    for operation in Operation::all(0.1) {
        check(operation, serial, &x, &g, [0; 3]);
    }
    serial.descend_all(&mut [&mut out], &[&g], 0.1);
    assert_eq!(serial.inspect(&[&g]).elements, g.len() as u64);
    let global_pool_is_mine = ThreadPoolBuilder::new().num_threads(1).build_global();
    assert!(global_pool_is_mine.is_ok(), "a call started the global pool");
}

/// Three threads, started at each call, of which the calling one does nothing.
#[derive(Default)]
struct Started {
    calls: AtomicUsize,
}

impl ThreadPool for Started {
    fn threads(&self) -> usize {
        3
    }

    fn broadcast(&self, work: &(dyn Fn() + Sync)) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(work))));
    }
}

#[test]
fn same_bits_in_an_installed_pool() {
    static POOL: Started = Started { calls: AtomicUsize::new(0) };
    let x = random_values::<f32>(long_length::<f32>(), 16);
    let g = random_values::<f32>(long_length::<f32>(), 17);
    let mut calls = 0;
    for &level in Level::available() {
        for operation in Operation::all(0.1) {
            let executor = Executor::new(level);
            install(&POOL, || check(operation, executor.serial(), &x, &g, [0; 3]));
            assert_eq!(
                POOL.calls.load(Ordering::Relaxed),
                calls,
                "a serial call is no business of threads"
            );
            install(&POOL, || check(operation, executor, &x, &g, [0; 3]));
            assert!(POOL.calls.load(Ordering::Relaxed) > calls, "it was not split");
            calls = POOL.calls.load(Ordering::Relaxed);
        }
    }
}

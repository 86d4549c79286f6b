//! Every operation at every level, for both element types, at sizes from L1 to DRAM, in bytes per
//! second; beside it the scalar loop of the specification, the loop that the compiler vectorises
//! for each level, and a copy and an axpy, which show what the memory gives at that size.
//!
//! `cargo bench --bench kernels` runs it all; a filter behind `--` picks: `-- descend/f32/L1`.
//! Criterion measures one contender after the other; for ratios that hold on a noisy machine see
//! `ratios.rs`.

use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkGroup, Criterion, Throughput};
use rootstep::{Executor, Level};
use rootstep_benches::{Number, Operation, SIZES, Slices, check_level, cpu, time};
use std::cell::RefCell;
use std::time::Duration;

fn bench_operation<T: Number>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    operation: Operation,
    bytes: usize,
) {
    let slices = &mut Slices::<T>::new(bytes / size_of::<T>());
    group.throughput(Throughput::Bytes((operation.streams() * bytes) as u64));
    for &level in Level::available() {
        let executor = Executor::new(level);
        group.bench_function(format!("{level}"), |b| {
            iterate(b, slices, operation, |slices| slices.call(operation, executor.serial()));
        });
        group.bench_function(format!("{level}, parallel"), |b| {
            iterate(b, slices, operation, |slices| slices.call(operation, executor));
        });
        group.bench_function(format!("plain loop for {level}"), |b| {
            iterate(b, slices, operation, |slices| slices.autovectorized(operation, level));
        });
    }
    group.bench_function("scalar reference", |b| {
        iterate(b, slices, operation, |slices| slices.scalar(operation));
    });
    group.bench_function("axpy of the same size", |b| {
        let executor = Executor::new(Level::detect()).serial();
        b.iter(|| slices.call(Operation::Axpy, executor));
    });
    group.bench_function("copy of the same size", |b| {
        b.iter(|| slices.out.copy_from_slice(&slices.gradient));
    });
}

/// Times `call` on values that are fresh for the operation.
fn iterate<T: Number>(
    bencher: &mut Bencher<'_>,
    slices: &mut Slices<T>,
    operation: Operation,
    call: impl Fn(&mut Slices<T>),
) {
    let slices = RefCell::new(slices);
    bencher.iter_custom(|calls| {
        let refresh = || slices.borrow_mut().refresh();
        let refresh = operation.wears_out().then_some(&refresh as &dyn Fn());
        time(calls, refresh, &mut || call(&mut slices.borrow_mut()))
    });
}

fn bench_type<T: Number>(criterion: &mut Criterion) {
    for operation in Operation::ALL {
        for (place, bytes) in SIZES {
            let name = format!("{}/{}/{place}", operation.name(), T::NAME);
            let mut group = criterion.benchmark_group(name);
            bench_operation::<T>(&mut group, operation, bytes);
            group.finish();
        }
    }
}

fn main() {
    check_level();
    println!("{}", cpu());
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    bench_type::<f32>(&mut criterion);
    bench_type::<f64>(&mut criterion);
    criterion.final_summary();
}

//! The published digests are those of every level, serial and parallel, and of the specification.

#[path = "../support/streams.rs"]
mod streams;

use crate::support::executors;
use crate::tensor::Tensor;
use half::{bf16, f16};
use rootstep::{Executor, Inspection, Level, reference};
use std::collections::BTreeSet;
use streams::{
    ALL_F32, Computed, Number, Operations, Row, of_all_f32, of_operations, of_optimizer, of_steps,
    published,
};

/// The operations of [`reference`], element by element.
#[derive(Debug)]
struct Reference;

impl Operations for Reference {
    fn signed_sqrt<T: Number>(&self, g: &[T], out: &mut [T]) {
        for (out, &g) in out.iter_mut().zip(g) {
            *out = T::rounded(reference::signed_sqrt(g.read()));
        }
    }
    fn signed_sqrt_in_place<T: Number>(&self, values: &mut [T]) {
        for value in values {
            *value = T::rounded(reference::signed_sqrt(value.read()));
        }
    }
    fn axpy<T: Number>(&self, alpha: T::Compute, x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = T::rounded(reference::axpy(alpha, x.read(), y.read()));
        }
    }
    fn descend<T: Number>(&self, x: &mut [T], g: &[T], rate: T::Compute) {
        for (x, &g) in x.iter_mut().zip(g) {
            *x = T::rounded(reference::descend(x.read(), g.read(), rate));
        }
    }
    fn descend_into<T: Number>(&self, x: &[T], g: &[T], rate: T::Compute, out: &mut [T]) {
        out.copy_from_slice(x);
        self.descend(out, g, rate);
    }
    fn descend_all<T: Number>(
        &self,
        parameters: &mut [Vec<T>],
        gradients: &[Vec<T>],
        rate: T::Compute,
    ) {
        for (x, g) in parameters.iter_mut().zip(gradients) {
            self.descend(x, g, rate);
        }
    }
    fn inspect<T: Number>(&self, gradients: &[&[T]]) -> Inspection {
        reference::inspect(gradients)
    }
    fn step_all(&self, tensors: &mut [Tensor]) {
        tensors.iter_mut().for_each(Tensor::step_by_reference);
    }
}

fn assert_published(rows: &[Row], by: &dyn std::fmt::Debug) {
    let published = published();
    let different: Vec<&Row> = rows.iter().filter(|row| !published.contains(row)).collect();
    assert!(different.is_empty(), "{by:?}: not as in PROMISES.md: {different:#?}");
}

/// On several threads, however many cores there are.
fn on_threads(run: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap().install(run);
}

fn operations<T: Number>() {
    assert_published(&of_operations::<T>(&Reference), &Reference);
    for executor in executors() {
        on_threads(|| assert_published(&of_operations::<T>(&executor), &executor));
    }
}

#[test]
fn operations_f32() {
    operations::<f32>();
}

#[test]
fn operations_f64() {
    operations::<f64>();
}

#[test]
fn operations_bf16() {
    operations::<bf16>();
}

#[test]
fn operations_f16() {
    operations::<f16>();
}

#[test]
fn steps() {
    assert_published(&of_steps(&Reference), &Reference);
    for executor in executors() {
        assert_published(&of_steps(&executor), &executor);
    }
}

fn optimizer<T: Computed>() {
    for executor in executors() {
        on_threads(|| assert_published(&of_optimizer::<T>(executor), &executor));
    }
}

#[test]
fn optimizer_f32() {
    optimizer::<f32>();
}

#[test]
fn optimizer_f64() {
    optimizer::<f64>();
}

/// Each row of the table is one that the tests here compute, and is there once.
#[test]
fn no_row_is_left_over() {
    let executor = Executor::default();
    let mut rows = of_operations::<f32>(&executor);
    rows.extend(of_operations::<f64>(&executor));
    rows.extend(of_operations::<bf16>(&executor));
    rows.extend(of_operations::<f16>(&executor));
    rows.extend(of_steps(&executor));
    rows.extend(of_optimizer::<f32>(executor));
    rows.extend(of_optimizer::<f64>(executor));
    let mut expected: BTreeSet<String> = rows.into_iter().map(|row| row.name).collect();
    expected.insert(ALL_F32.to_owned());
    let published = published();
    assert_eq!(published.len(), expected.len());
    assert_eq!(published.into_iter().map(|row| row.name).collect::<BTreeSet<_>>(), expected);
}

#[test]
#[ignore = "2^32 values a level: some ten seconds each on two cores, optimised"]
fn all_f32() {
    assert!(!std::hint::black_box(cfg!(debug_assertions)), "run with --release");
    for &level in Level::available() {
        assert_published(&[of_all_f32(level)], &level);
        println!("{level}: as published");
    }
}

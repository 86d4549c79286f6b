//! `descend_all`: a whole model in one pass, with the bits of `descend` on each tensor.

use crate::support::{Guarded, Operation, TestFormat, executors, random_values, same};
use half::{bf16, f16};
use proptest::prelude::*;
use rootstep::Executor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Steps tensors of these lengths, guarded on both sides, and compares with the specification.
fn check_all<T: TestFormat>(executor: Executor, lengths: &[usize], rate: T::Compute) {
    let values = |seed: u64| {
        let tensor = move |(i, &length): (usize, &usize)| {
            Guarded::new(&random_values::<T>(length, seed + i as u64), i % T::LANES)
        };
        lengths.iter().enumerate().map(tensor).collect::<Vec<_>>()
    };
    let (before, gradients) = (values(100), values(200_000));
    let mut model = before.clone();
    let mut parameters: Vec<_> = model.iter_mut().map(Guarded::slice_mut).collect();
    let slices: Vec<_> = gradients.iter().map(Guarded::slice).collect();
    executor.descend_all(&mut parameters, &slices, rate);
    for (i, tensor) in model.iter().enumerate() {
        tensor.assert_intact();
        let inputs = before[i].slice().iter().zip(gradients[i].slice());
        for (&after, (&x, &g)) in tensor.slice().iter().zip(inputs) {
            let specified = Operation::Descend(rate).specified(x, g);
            assert!(same(after, specified), "{executor:?}, tensor {i}: {after:?} {specified:?}");
        }
    }
}

/// The lengths in a transformer, short and long in turn, and some of none.
fn transformer<T>(tensors: usize) -> Vec<usize> {
    let lengths = [10, 64, 768, 0, 3072, 1, 65536, 589_824];
    (0..tensors).map(|i| lengths[i * 5 % 8] * 4 / size_of::<T>()).collect()
}

#[test]
fn a_transformer() {
    for executor in executors() {
        check_all::<f32>(executor, &transformer::<f32>(24), 0.1);
        check_all::<f64>(executor, &transformer::<f64>(24), 0.1);
        check_all::<bf16>(executor, &transformer::<bf16>(24), 0.1);
        check_all::<f16>(executor, &transformer::<f16>(24), 0.1);
    }
}

#[test]
fn nothing_at_all() {
    for executor in executors() {
        check_all::<f32>(executor, &[], 0.1);
        check_all::<f32>(executor, &[0, 0, 0], 0.1);
    }
}

#[test]
fn many_tiny_tensors_are_split_over_threads_too() {
    let lengths: Vec<usize> = (0..60_000).map(|i| i % 61).collect();
    for executor in executors() {
        check_all::<f32>(executor, &lengths, 0.1);
    }
}

#[test]
fn the_root_function_is_the_same() {
    let mut parameters = [vec![1.0_f64; 5], vec![2.0; 9]];
    let gradient = [vec![4.0_f64; 5], vec![-9.0; 9]];
    rootstep::descend_all(&mut parameters, &gradient, 0.5);
    assert_eq!(parameters, [vec![0.0; 5], vec![3.5; 9]]);
}

#[cfg(feature = "rayon")]
#[test]
fn same_bits_for_any_number_of_threads() {
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for &level in rootstep::Level::available() {
            let executor = Executor::new(level);
            pool.install(|| check_all::<f32>(executor, &transformer::<f32>(16), 0.1));
            pool.install(|| check_all::<f64>(executor, &transformer::<f64>(16), 0.1));
            pool.install(|| check_all::<bf16>(executor, &transformer::<bf16>(16), 0.1));
            pool.install(|| check_all::<f16>(executor, &transformer::<f16>(16), 0.1));
        }
    }
}

/// The message names the tensor and both lengths, and no tensor is touched.
#[test]
fn length_mismatch() {
    for executor in executors() {
        let mut model = [vec![1.0_f32; 7], vec![1.0; 100], vec![1.0; 3]];
        let gradients = [vec![4.0_f32; 7], vec![4.0; 99], vec![4.0; 3]];
        let panic = catch_unwind(AssertUnwindSafe(|| {
            executor.descend_all(&mut model, &gradients, 0.5);
        }));
        let message = panic.unwrap_err();
        assert_eq!(
            message.downcast_ref::<String>().unwrap(),
            "`parameters of tensor 1` has 100 elements and `gradient of tensor 1` has 99; \
             they must have the same length"
        );
        let panic = catch_unwind(AssertUnwindSafe(|| {
            executor.descend_all(&mut model, &gradients[..2], 0.5);
        }));
        assert_eq!(
            panic.unwrap_err().downcast_ref::<String>().unwrap(),
            "there are 3 tensors of parameters and 2 gradients; there must be as many of each"
        );
        assert!(model.iter().flatten().all(|value| value.to_bits() == 1.0_f32.to_bits()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_lengths(
        lengths in prop::collection::vec(0..200_usize, 0..30),
        rate in any::<f32>(),
        executor in prop::sample::select(executors().collect::<Vec<_>>()),
    ) {
        check_all::<f32>(executor, &lengths, rate);
        check_all::<f64>(executor, &lengths, f64::from(rate));
        check_all::<bf16>(executor, &lengths, rate);
        check_all::<f16>(executor, &lengths, rate);
    }
}

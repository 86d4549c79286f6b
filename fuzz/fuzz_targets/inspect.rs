//! `inspect` finds what `reference::inspect` finds in any list of tensors, the norm bit by bit, at
//! every level, on one thread and on several.

#![no_main]

use arbitrary::Arbitrary;
use rootstep::reference;
use rootstep_fuzz::executor;
use rootstep_fuzz::support::{TestElement, long_length, same_inspection};
use rootstep_fuzz::values::Values;

#[derive(Debug, Arbitrary)]
struct Case {
    double: bool,
    executor: u8,
    /// One value of these makes the first tensor so long that it is split over threads.
    long: u8,
    /// A power of two that all elements are multiplied by: sums of squares that would not fit.
    exponent: i16,
    tensors: Vec<(u16, Values)>,
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    if case.double {
        check::<f64>(&case);
    } else {
        check::<f32>(&case);
    }
});

fn check<T: TestElement>(case: &Case) {
    let executor = executor(case.executor);
    let factor = T::from_f64(2_f64.powi((case.exponent % 1074).into()));
    let tensors = case.tensors.iter().take(12).enumerate().map(|(i, (length, values))| {
        // More than a block of the specification's sum, but seldom.
        let length = match (i, case.long) {
            (0, 7) => long_length::<T>(),
            (_, 8) => usize::from(*length),
            _ => usize::from(*length % 1024),
        };
        let values = values.of::<T>(length);
        values.into_iter().map(|value| value * factor).collect::<Vec<T>>()
    });
    let tensors: Vec<Vec<T>> = tensors.collect();
    let gradients: Vec<&[T]> = tensors.iter().map(Vec::as_slice).collect();
    let (found, specified) = (executor.inspect(&gradients), reference::inspect(&gradients));
    assert!(
        same_inspection(&found, &specified),
        "{executor:?} found {found:?}, specified is {specified:?}"
    );
}

//! `descend_all` gives the bits of `reference::descend` for any list of tensors, at every level, on
//! one thread and on several, and writes nothing outside of them.

#![no_main]

use arbitrary::Arbitrary;
use rootstep::reference;
use rootstep_fuzz::number::Number;
use rootstep_fuzz::support::{Float, Guarded, executors, long_length, same};
use rootstep_fuzz::values::Values;

#[derive(Debug, Arbitrary)]
struct Case {
    double: bool,
    executor: u8,
    rate: Number,
    /// One value of these makes the first tensor so long that it is split over threads.
    long: u8,
    tensors: Vec<Tensor>,
}

#[derive(Debug, Arbitrary)]
struct Tensor {
    length: u16,
    offsets: [u8; 2],
    x: Values,
    g: Values,
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    if case.double {
        check::<f64>(&case);
    } else {
        check::<f32>(&case);
    }
});

fn check<T: Float>(case: &Case) {
    let executors: Vec<_> = executors().collect();
    let executor = executors[usize::from(case.executor) % executors.len()];
    let rate = T::from_f64(case.rate.value());
    let length = |i: usize, tensor: &Tensor| match (i, case.long) {
        (0, 7) => long_length::<T>(),
        _ => usize::from(tensor.length % 2048),
    };
    let guarded = |values: &Values, length, offset: u8| {
        Guarded::new(&values.of::<T>(length), usize::from(offset) % T::LANES)
    };
    let tensors = || case.tensors.iter().take(30).enumerate();
    let before: Vec<_> =
        tensors().map(|(i, t)| guarded(&t.x, length(i, t), t.offsets[0])).collect();
    let gradients: Vec<_> =
        tensors().map(|(i, t)| guarded(&t.g, length(i, t), t.offsets[1])).collect();
    let mut model = before.clone();
    let parameters = model.iter_mut().map(Guarded::slice_mut);
    let mut pairs: Vec<_> = parameters.zip(gradients.iter().map(Guarded::slice)).collect();
    executor.descend_all(&mut pairs, rate);
    for (i, after) in model.iter().enumerate() {
        after.assert_intact();
        let elements = before[i].slice().iter().zip(gradients[i].slice()).zip(after.slice());
        for (k, ((&x, &g), &after)) in elements.enumerate() {
            let specified = reference::descend(x, g, rate);
            assert!(
                same(after, specified),
                "{executor:?}, element {k} of tensor {i}: x = {x:?}, g = {g:?}, rate {rate:?} gave \
                 {after:?}, specified is {specified:?}"
            );
        }
    }
}

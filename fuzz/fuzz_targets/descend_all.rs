//! `descend_all` gives the bits of `reference::descend` for any list of tensors, at every level, on
//! one thread and on several, and writes nothing outside of them.

#![no_main]

use arbitrary::Arbitrary;
use rootstep::reference;
use rootstep_fuzz::executor;
use rootstep_fuzz::number::Number;
use rootstep_fuzz::support::{Guarded, TestElement, long_length, same};
use rootstep_fuzz::values::Values;

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    double: bool,
    executor: u8,
    rate: Number,
    /// One value of these makes the first tensor so long that it is split over threads.
    long: u8,
    x: Values,
    g: Values,
    /// For each tensor two bytes of its length, and one of the offsets of its slices.
    tensors: &'a [u8],
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
    let rate = T::from_f64(case.rate.value());
    let shapes = case.tensors.as_chunks::<3>().0.iter().take(64).enumerate();
    let shapes = shapes.map(|(i, &[low, high, offsets])| match (i, case.long) {
        (0, 7) => (long_length::<T>(), usize::from(offsets)),
        _ => (usize::from(u16::from_le_bytes([low, high]) % 2048), usize::from(offsets)),
    });
    let shapes: Vec<(usize, usize)> = shapes.collect();
    let guarded = |values: &Values, shift: usize| -> Vec<Guarded<T>> {
        let all = values.of::<T>(shapes.iter().map(|(length, _)| length).sum());
        let mut rest = &all[..];
        let tensor = |&(length, offsets): &(usize, usize)| {
            let tensor;
            (tensor, rest) = rest.split_at(length);
            Guarded::new(tensor, (offsets >> shift) % T::LANES)
        };
        shapes.iter().map(tensor).collect()
    };
    let (before, gradients) = (guarded(&case.x, 0), guarded(&case.g, 4));
    let mut model = before.clone();
    let mut parameters: Vec<_> = model.iter_mut().map(Guarded::slice_mut).collect();
    let slices: Vec<_> = gradients.iter().map(Guarded::slice).collect();
    executor.descend_all(&mut parameters, &slices, rate);
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

//! `inspect`: the findings of `reference::inspect`, bit by bit, at every level and on any number of
//! threads; and those of a reader who counts on his fingers.

use crate::support::{
    TestFormat, executors, long_length, random_values, same_inspection, unit_values,
};
use half::{bf16, f16};
use proptest::prelude::*;
use rootstep::sums::SHARD_ELEMENTS;
use rootstep::{Executor, Float as _, Inspection, Level, inspect, reference};
use std::iter;
use std::num::FpCategory;

fn check<T: TestFormat>(executor: Executor, gradients: &[&[T]]) -> Inspection {
    let (found, specified) = (executor.inspect(gradients), reference::inspect(gradients));
    assert!(
        same_inspection(&found, &specified),
        "{executor:?} found {found:?}, specified is {specified:?}"
    );
    found
}

/// Values of many magnitudes, none so large that the norm of a million would not be finite.
fn finite<T: TestFormat>(length: usize, seed: u64) -> Vec<T> {
    let values = random_values::<T>(2 * length + 100, seed);
    let largest = T::Compute::MAX.to_f64() / 1024.0;
    let small = |value: &T| value.read().to_f64().abs() < largest;
    values.into_iter().filter(small).take(length).collect()
}

/// Values whose squares neither overflow nor underflow: there is nothing to count.
fn ordinary<T: TestFormat>(length: usize, seed: u64) -> Vec<T> {
    iter::repeat_with(unit_values(seed)).take(length).collect()
}

fn every_length<T: TestFormat>() {
    for length in (0..70).chain([32_767, 32_768, 32_769, 70_000]) {
        let values = random_values::<T>(length, 1);
        for executor in executors() {
            check(executor, &[&values]);
            check(executor, &[&values[..length / 3], &[], &values[length / 3..]]);
            check(executor, &[&finite::<T>(length, 2)]);
            check(executor, &[&ordinary::<T>(length, 3)]);
        }
    }
}

#[test]
fn every_length_f32() {
    every_length::<f32>();
}

#[test]
fn every_length_f64() {
    every_length::<f64>();
}

#[test]
fn every_length_bf16() {
    every_length::<bf16>();
}

#[test]
fn every_length_f16() {
    every_length::<f16>();
}

/// Every element of 16 bits alone is counted as what it is, by the crate `half`; f16 has subnormal numbers that are
/// normal as f32.
#[test]
fn every_class_of_16_bits() {
    use FpCategory::{Infinite, Nan, Normal, Subnormal, Zero};
    fn check_one<T: TestFormat>(value: T, class: FpCategory, size: f64, executor: Executor) {
        // Among others, so that registers are filled.
        let mut values = [T::rounded(T::Compute::ONE); 40];
        values[17] = value;
        let found = check(executor, &[&values]);
        let counts = [found.nan, found.infinite, found.zero, found.subnormal];
        assert_eq!(counts, [Nan, Infinite, Zero, Subnormal].map(|c| u64::from(c == class)));
        let largest = if class == Nan { 1.0 } else { size.max(1.0) };
        assert_eq!(found.max_magnitude, largest, "{value:?}");
        assert_eq!(found.is_finite(), matches!(class, Normal | Subnormal | Zero));
    }
    for executor in Level::available().iter().map(|&level| Executor::new(level).serial()) {
        for bits in 0..=u16::MAX {
            let (b, f) = (bf16::from_bits(bits), f16::from_bits(bits));
            check_one(b, b.classify(), b.to_f64().abs(), executor);
            check_one(f, f.classify(), f.to_f64().abs(), executor);
        }
    }
}

/// The norm of small and large numbers, which no element of 16 bits is itself.
#[test]
fn norms_of_16_bits() {
    for executor in executors() {
        let smallest = vec![f16::from_bits(1); 10_000];
        assert_eq!(check(executor, &[&smallest]).norm, 100.0 * 2_f64.powi(-24));
        assert_eq!(check(executor, &[&smallest]).subnormal, 10_000);
        assert_eq!(check(executor, &[&[f16::MAX; 4]]).norm, 131_008.0);
        let smallest = vec![bf16::from_bits(1); 10_000];
        assert_eq!(check(executor, &[&smallest]).norm, 100.0 * 2_f64.powi(-133));
        let largest = 2.0 * bf16::MAX.to_f64();
        assert_eq!(check(executor, &[&[bf16::MAX; 4]]).norm, largest);
    }
}

/// Long enough to be split, in any number of threads.
#[test]
fn any_threads() {
    let long = finite::<f32>(3 * long_length::<f32>(), 3);
    let gradients = [&long[..], &long[5..77], &long[7..100_000]];
    let halves = random_values::<f16>(2 * long_length::<f16>(), 4);
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for executor in executors() {
            pool.install(|| check(executor, &gradients));
            pool.install(|| check(executor, &[&halves[..], &halves[3..99_999]]));
        }
    }
    // With squares that fit, and with squares that are beyond the numbers or below them in every block.
    for exponent in [0, 600, -600] {
        let unit = ordinary::<f64>(2 * long_length::<f64>(), 4);
        let long: Vec<f64> = unit.into_iter().map(|value| value * 2_f64.powi(exponent)).collect();
        let gradients = [&long[..], &long[5..77], &long[7..100_000]];
        for threads in [2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for executor in executors() {
                let found = pool.install(|| check(executor, &gradients));
                assert!(found.norm > 0.0 && found.is_finite() && found.norm.is_finite());
            }
        }
    }
}

/// The norm is that of arithmetic with more room, also where squares would not fit.
#[test]
fn no_norm_overflows_or_underflows() {
    for exponent in [-1070, -1022, -500, -481, -480, 0, 480, 481, 700, 1000, 1014] {
        let unit = 2_f64.powi(exponent);
        for executor in executors() {
            let values: Vec<f64> = [3.0, -4.0, 12.0].map(|value| value * unit).into();
            assert_eq!(check(executor, &[&values]).norm, 13.0 * unit, "2^{exponent}");
            // 3^2 + 4^2 + 12^2, each a thousand times over ten thousand zeros.
            let long: Vec<f64> = (0..13_000).map(|i| *values.get(i % 13).unwrap_or(&0.0)).collect();
            let norm = check(executor, &[&long]).norm;
            let exact = 169_000_f64.sqrt() * unit;
            assert!(
                (norm / exact - 1.0).abs() < 1e-14 || exponent == -1070,
                "2^{exponent}: {norm}"
            );
        }
    }
    assert_eq!(inspect(&[&[f32::MAX; 4][..]]).norm, 2.0 * f64::from(f32::MAX));
    assert_eq!(inspect(&[&[f64::MAX; 4][..]]).norm, f64::INFINITY);
}

#[test]
fn what_is_not_finite_is_named() {
    let mut values = [vec![1.0_f32; 10], vec![2.0; 50_000], vec![3.0; 7]];
    values[1][40_000] = f32::NEG_INFINITY;
    values[1][45_000] = f32::NAN;
    values[2][0] = f32::INFINITY;
    values[0][3] = -0.0;
    values[2][1] = 1e-40;
    for executor in executors() {
        let gradients: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        let found = check(executor, &gradients);
        assert_eq!(found.first_non_finite, Some((1, 40_000)));
        assert_eq!((found.nan, found.infinite, found.zero, found.subnormal), (1, 2, 1, 1));
        assert!(found.norm.is_nan() && found.max_magnitude == f64::INFINITY && !found.is_finite());
        let found = check(executor, &gradients[..1]);
        assert_eq!((found.elements, found.norm, found.max_magnitude), (10, 3.0, 1.0));
        assert!(found.is_finite());
    }
}

/// What shards find, on machines of any level, makes up what is found in the whole: wherever tensors are split.
fn shards<T: TestFormat>(tensors: &[Vec<T>]) {
    let whole: Vec<&[T]> = tensors.iter().map(Vec::as_slice).collect();
    for executor in executors() {
        let expected = check(executor, &whole);
        for blocks in [1, 2, 3] {
            let levels: Vec<_> = executors().collect();
            let shards: Vec<_> = (whole.iter().enumerate())
                .flat_map(|(tensor, values)| {
                    let length = blocks * SHARD_ELEMENTS;
                    values.chunks(length).enumerate().map(move |(i, v)| (tensor, i * length, v))
                })
                .zip(levels.into_iter().cycle())
                .collect();
            let found = |scale: f64| {
                let inspect =
                    |&((tensor, start, values), level): &((usize, usize, &[T]), Executor)| {
                        let mut found = level.inspect_blocks(&[values], scale);
                        let first = found.inspection.first_non_finite;
                        found.inspection.first_non_finite = first.map(|(_, i)| (tensor, start + i));
                        found
                    };
                shards.iter().map(inspect).collect::<Vec<_>>()
            };
            let mut parts = found(1.0);
            let all = Inspection::of_parts(parts.iter().map(|part| part.inspection));
            let scale = all.scale();
            if scale != 1.0 {
                parts = found(scale);
            }
            let all = all.with_norm_of(scale, parts.into_iter().flat_map(|part| part.squares));
            assert!(same_inspection(&all, &expected), "{executor:?}: {all:?}, not {expected:?}");
        }
    }
}

#[test]
fn shards_make_up_the_whole() {
    let lengths = [70_000, 5, 0, 32_768, 100_001];
    let tensors = |unit: f64| -> Vec<Vec<f64>> {
        let seeds = lengths.iter().zip(3..);
        let tensors = seeds.map(|(&length, seed)| ordinary::<f64>(length, seed));
        tensors.map(|tensor| tensor.iter().map(|value| value * unit).collect()).collect()
    };
    // Squares of the second ones overflow, of the third ones underflow.
    for unit in [1.0, 2_f64.powi(700), 2_f64.powi(-700)] {
        shards(&tensors(unit));
    }
    let mut not_finite = tensors(1.0);
    not_finite[4][90_000] = f64::INFINITY;
    shards(&not_finite);
    not_finite[0][69_999] = f64::NAN;
    shards(&not_finite);
    let seeds = lengths.iter().zip(1..);
    shards(&seeds.map(|(&length, seed)| ordinary::<bf16>(length, seed)).collect::<Vec<_>>());
}

#[test]
fn nothing_at_all() {
    for executor in executors() {
        assert_eq!(executor.inspect::<f32, Vec<f32>>(&[]), Inspection::default());
        assert_eq!(executor.inspect(&[Vec::<f64>::new(), Vec::new()]), Inspection::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tensors(
        tensors in prop::collection::vec((0..200_usize, any::<u64>(), any::<bool>()), 0..6),
        executor in prop::sample::select(executors().collect::<Vec<_>>()),
    ) {
        // Where some are of every class, most norms are NaN: half of the cases have none such.
        let any = tensors.iter().any(|&(length, _, all)| all && length % 2 == 0);
        let tensors: Vec<Vec<f64>> = tensors
            .into_iter()
            .map(|(length, seed, all)| {
                if any && all { random_values(length, seed) } else { finite(length, seed) }
            })
            .collect();
        let found = check(executor, &tensors.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert!(any || found.norm.is_finite());
    }

    /// Values of about one magnitude, be their squares beyond the numbers or below them: the norm is finite, and
    /// each tensor has its part in it.
    #[test]
    fn any_magnitude(
        lengths in prop::collection::vec(0..200_usize, 0..8),
        seed in any::<u64>(),
        exponent in -1060..1000_i32,
        executor in prop::sample::select(executors().collect::<Vec<_>>()),
    ) {
        let mut unit = unit_values::<f64>(seed);
        let tensor = |length| iter::repeat_with(&mut unit).take(length).collect();
        let mut tensors: Vec<Vec<f64>> = lengths.into_iter().map(tensor).collect();
        let scale = 2_f64.powi(exponent / 2);
        for value in tensors.iter_mut().flatten() {
            *value = *value * scale * 2_f64.powi(exponent - exponent / 2);
        }
        let slices: Vec<&[f64]> = tensors.iter().map(Vec::as_slice).collect();
        let found = check(executor, &slices);
        prop_assert!(found.norm.is_finite());
        let without_last = check(executor, &slices[..slices.len().saturating_sub(1)]);
        let last = slices.last().map_or(0.0, |last| reference::inspect(&[last]).norm);
        prop_assert!(found.norm >= without_last.norm.max(last) * (1.0 - 1e-12));
    }
}

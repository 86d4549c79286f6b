//! Every operation, at every level and for all element types, gives the bits of `reference`, and
//! writes nothing else.

#[path = "../support/hard_roots.rs"]
mod hard_roots;

use crate::support::{
    Operation, TestFormat, check, executors, random_bits, random_scalar, random_values, same,
    some_rate, special_scalars,
};
use half::{bf16, f16};
use hard_roots::hard_roots;
use proptest::prelude::*;
use rootstep::{Executor, Float, Level};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Every length from nothing to beyond three blocks of four of the widest registers.
fn every_length<T: TestFormat>() {
    let rate = some_rate::<T::Compute>();
    for length in 0..=13 * T::LANES + 3 {
        let x = random_values::<T>(length, 1);
        let g = random_values::<T>(length, 2);
        for executor in executors() {
            for operation in Operation::all(rate) {
                check(operation, executor, &x, &g, [0; 3]);
            }
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

/// Every place of the output within a register, against other places of the inputs.
fn every_offset<T: TestFormat>() {
    let rate = some_rate::<T::Compute>();
    for offset in 0..T::LANES {
        for length in [1, 3, 7, 8, 15, 16, 17, 63, 64, 65, 100, 130] {
            let x = random_values::<T>(length, 3);
            let g = random_values::<T>(length, 4);
            let offsets = [(offset * 5 + 1) % T::LANES, (offset * 3) % T::LANES, offset];
            for executor in executors() {
                for operation in Operation::all(rate) {
                    check(operation, executor, &x, &g, offsets);
                }
            }
        }
    }
}

#[test]
fn every_offset_f32() {
    every_offset::<f32>();
}

#[test]
fn every_offset_f64() {
    every_offset::<f64>();
}

#[test]
fn every_offset_bf16() {
    every_offset::<bf16>();
}

#[test]
fn every_offset_f16() {
    every_offset::<f16>();
}

/// Every pair of special values, with every special scalar.
fn every_special_value<T: TestFormat>() {
    let special = T::special();
    let x: Vec<T> = special.iter().flat_map(|&x| vec![x; special.len()]).collect();
    let g: Vec<T> = special.iter().flat_map(|_| special.clone()).collect();
    for executor in executors() {
        for scalar in special_scalars::<T::Compute>() {
            for operation in Operation::all(scalar) {
                check(operation, executor, &x, &g, [0; 3]);
            }
        }
    }
}

#[test]
fn every_special_value_f32() {
    every_special_value::<f32>();
}

#[test]
fn every_special_value_f64() {
    every_special_value::<f64>();
}

#[test]
fn every_special_value_bf16() {
    every_special_value::<bf16>();
}

#[test]
fn every_special_value_f16() {
    every_special_value::<f16>();
}

/// Each special value alone, with zeros between, and with one other value among them: a register
/// takes its roots in one way only if all of its lanes allow it.
fn every_special_value_in_company<T: TestFormat>() {
    let special = T::special();
    let rate = some_rate::<T::Compute>();
    let one = T::rounded(rate);
    let length = 9 * T::LANES + 3;
    for &value in &special {
        let alone = vec![value; length];
        let zeros: Vec<T> =
            (0..length).map(|i| if i % 3 == 0 { T::default() } else { value }).collect();
        let mut other = vec![one; length];
        other.iter_mut().step_by(7).for_each(|other| *other = value);
        for executor in executors() {
            for operation in Operation::all(rate) {
                for g in [&alone, &zeros, &other] {
                    check(operation, executor, g, g, [0; 3]);
                }
            }
        }
    }
}

#[test]
fn every_special_value_in_company_f32() {
    every_special_value_in_company::<f32>();
}

#[test]
fn every_special_value_in_company_f64() {
    every_special_value_in_company::<f64>();
}

#[test]
fn every_special_value_in_company_bf16() {
    every_special_value_in_company::<bf16>();
}

#[test]
fn every_special_value_in_company_f16() {
    every_special_value_in_company::<f16>();
}

/// The roots nearest to a midpoint of two neighbours, at several exponents and at every place within
/// a block.
#[test]
fn hard_roots_f64() {
    let roots: Vec<f64> = (-1024..=1024).flat_map(|i| hard_roots(8 * i + 1)).collect();
    assert!(roots.len() > 2000);
    let everywhere = [-1022, -968, -500, -100, -40, 0, 40, 124, 500, 1022];
    // Where roots are no longer refined, since the square of what is left would be lost.
    let below = (-1000..-960).step_by(2);
    for exponent in everywhere.into_iter().chain(below) {
        let values: Vec<f64> = roots.iter().map(|a| a * 2_f64.powi(exponent)).collect();
        // Of the four registers of a block some are refined: two places are enough for each value to be in one.
        let step = if everywhere.contains(&exponent) { 2 } else { 2 * f64::LANES };
        for executor in executors() {
            for start in (0..4 * f64::LANES).step_by(step) {
                let g = &values[start..];
                for operation in [Operation::SignedSqrt, Operation::Descend(0.1)] {
                    check(operation, executor, g, g, [0; 3]);
                }
            }
        }
    }
}

/// A float of any class.
fn any_float<T: TestFormat>() -> impl Strategy<Value = T> {
    prop_oneof![
        3 => any::<u64>().prop_map(T::from_random),
        1 => prop::sample::select(T::special()),
    ]
}

/// `x` and `g` of the same length: up to several blocks.
fn any_slices<T: TestFormat>() -> impl Strategy<Value = Vec<(T, T)>> {
    prop::collection::vec((any_float(), any_float()), 0..20 * T::LANES)
}

fn any_executor() -> impl Strategy<Value = Executor> {
    prop::sample::select(executors().collect::<Vec<_>>())
}

fn any_operation<C: Float>() -> impl Strategy<Value = Operation<C>> {
    let any_scalar = prop_oneof![
        3 => any::<u64>().prop_map(random_scalar),
        1 => prop::sample::select(special_scalars::<C>()),
    ];
    (0..5_usize, any_scalar).prop_map(|(i, scalar)| Operation::all(scalar)[i])
}

fn any_offsets<T: TestFormat>() -> impl Strategy<Value = [usize; 3]> {
    prop::array::uniform3(0..T::LANES)
}

/// Two calls on the parts of a slice give the bits of one call on the whole.
fn check_split<T: TestFormat>(
    operation: Operation<T::Compute>,
    executor: Executor,
    slices: Vec<(T, T)>,
    at: prop::sample::Index,
) {
    let (x, g): (Vec<T>, Vec<T>) = slices.into_iter().unzip();
    let middle = at.index(x.len() + 1);
    let mut whole = x.clone();
    operation.call(executor, &x, &g, &mut whole);
    let mut parts = x.clone();
    let (front, back) = parts.split_at_mut(middle);
    operation.call(executor, &x[..middle], &g[..middle], front);
    operation.call(executor, &x[middle..], &g[middle..], back);
    assert!(whole.iter().zip(&parts).all(|(&whole, &parts)| same(parts, whole)));
}

/// A call is quick: many more cases than proptest's default, unless the environment says otherwise. (Of 16 bits all
/// values are in other tests.)
fn config<T: TestFormat>() -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases: if T::WIDTH == 16 { 500 } else { 2000 }, ..default },
    }
}

fn any_call<T: TestFormat>() {
    proptest!(config::<T>(), |(
        operation in any_operation::<T::Compute>(), executor in any_executor(),
        slices in any_slices::<T>(), offsets in any_offsets::<T>(),
    )| {
        let (x, g): (Vec<_>, Vec<_>) = slices.into_iter().unzip();
        check(operation, executor, &x, &g, offsets);
    });
}

fn any_split<T: TestFormat>() {
    proptest!(config::<T>(), |(
        operation in any_operation::<T::Compute>(), executor in any_executor(),
        slices in any_slices::<T>(), at in any::<prop::sample::Index>(),
    )| {
        check_split(operation, executor, slices, at);
    });
}

#[test]
fn any_call_f32() {
    any_call::<f32>();
}

#[test]
fn any_call_f64() {
    any_call::<f64>();
}

#[test]
fn any_call_bf16() {
    any_call::<bf16>();
}

#[test]
fn any_call_f16() {
    any_call::<f16>();
}

#[test]
fn any_split_f32() {
    any_split::<f32>();
}

#[test]
fn any_split_f64() {
    any_split::<f64>();
}

#[test]
fn any_split_bf16() {
    any_split::<bf16>();
}

#[test]
fn any_split_f16() {
    any_split::<f16>();
}

/// The functions at the root of the crate are the operations of the same name.
#[test]
fn root_functions() {
    let x = random_values::<f32>(100, 5);
    let g = random_values::<f32>(100, 6);
    for operation in Operation::all(0.1) {
        let mut out = x.clone();
        match operation {
            Operation::SignedSqrt => rootstep::signed_sqrt(&g, &mut out),
            Operation::SignedSqrtInPlace => rootstep::signed_sqrt_in_place(&mut out),
            Operation::Axpy(alpha) => rootstep::axpy(alpha, &g, &mut out),
            Operation::Descend(rate) => rootstep::descend(&mut out, &g, rate),
            Operation::DescendInto(rate) => rootstep::descend_into(&x, &g, rate, &mut out),
        }
        for ((&x, &g), &out) in x.iter().zip(&g).zip(&out) {
            assert!(same(out, operation.specified(x, g)), "{operation:?}");
        }
    }
}

/// A length mismatch panics with both names and lengths, and nothing is written.
fn length_mismatch_of<T: TestFormat>() {
    let before = random_values::<T>(100, 7);
    let rate = T::Compute::from_f64(0.1);
    for executor in executors() {
        for wrong in [0, 1, 99, 101] {
            let other = vec![T::default(); wrong];
            let attempt = |a: (&str, usize), b: (&str, usize), call: &dyn Fn(&mut [T])| {
                let mut out = before.clone();
                let panic = catch_unwind(AssertUnwindSafe(|| call(&mut out))).unwrap_err();
                let message = panic.downcast_ref::<String>().expect("a formatted message");
                let ((a, a_length), (b, b_length)) = (a, b);
                assert_eq!(
                    *message,
                    format!(
                        "`{a}` has {a_length} elements and `{b}` has {b_length}; \
                         they must have the same length"
                    )
                );
                assert!(out.iter().zip(&before).all(|(a, b)| a.bits() == b.bits()));
            };
            attempt(("gradient", wrong), ("out", 100), &|out| {
                executor.signed_sqrt(&other, out);
            });
            attempt(("x", wrong), ("y", 100), &|out| {
                executor.axpy(rate, &other, out);
            });
            attempt(("parameters", 100), ("gradient", wrong), &|out| {
                executor.descend(out, &other, rate);
            });
            attempt(("parameters", 100), ("gradient", wrong), &|out| {
                executor.descend_into(&before, &other, rate, out);
            });
            attempt(("parameters", wrong), ("out", 100), &|out| {
                executor.descend_into(&other, &other, rate, out);
            });
        }
    }
}

#[test]
fn length_mismatch() {
    length_mismatch_of::<f32>();
    length_mismatch_of::<f64>();
    length_mismatch_of::<bf16>();
    length_mismatch_of::<f16>();
}

/// Every element of 16 bits as `x`, with others in turn as `g`, so that each is in every operation and place.
fn every_half<T: TestFormat>() {
    let all: Vec<T> = (0..1 << 16).map(T::of_bits).collect();
    let rates = [0.1, -1.0, 3.0e-5].map(T::Compute::from_f64);
    for (rate, shuffle) in rates.into_iter().zip([1, 0x6d2b, 0xb529_u64]) {
        let g: Vec<T> = (0..1 << 16).map(|i| T::of_bits((i * shuffle) & 0xffff)).collect();
        for executor in executors() {
            for operation in Operation::all(rate) {
                check(operation, executor, &all, &g, [0; 3]);
            }
        }
    }
}

#[test]
fn every_bf16() {
    every_half::<bf16>();
}

#[test]
fn every_f16() {
    every_half::<f16>();
}

/// Longer than twice the last-level cache of most CPUs, out of place, from a place within a cache line to another: the
/// bits of the call in place. (Whatever the cache, f32 and f64 are tested beside the loop.)
#[test]
fn beyond_common_caches() {
    fn check_long<T: TestFormat>() {
        let length = (17 << 20) + 77;
        let rate = some_rate::<T::Compute>();
        let values: Vec<T> = random_values::<T>(4099, 9).into_iter().cycle().take(length).collect();
        let (x, g) = (&values[5..], &values[..length - 5]);
        for executor in Level::available().iter().map(|&level| Executor::new(level)) {
            let mut in_place = x.to_vec();
            executor.descend(&mut in_place, g, rate);
            let mut out = vec![T::default(); length];
            executor.descend_into(x, g, rate, &mut out[5..]);
            assert!(out[5..].iter().zip(&in_place).all(|(&a, &b)| same(a, b)), "{executor:?}");
        }
    }
    check_long::<bf16>();
    check_long::<f16>();
}

/// The textbook quotient g / sqrt(|g|) is within one unit in the last place wherever it is finite.
#[test]
fn textbook_quotient() {
    for g in random_values::<f32>(1_000_000, 8) {
        let quotient = g / g.abs().sqrt();
        if quotient.is_finite() {
            let mut root = [g];
            rootstep::signed_sqrt_in_place(&mut root);
            assert!(root[0].to_bits().abs_diff(quotient.to_bits()) <= 1, "{g:?}");
        }
    }
    for g in random_values::<f64>(1_000_000, 9) {
        let quotient = g / g.abs().sqrt();
        if quotient.is_finite() {
            let mut root = [g];
            rootstep::signed_sqrt_in_place(&mut root);
            assert!(root[0].to_bits().abs_diff(quotient.to_bits()) <= 1, "{g:?}");
        }
    }
}

/// Where an estimate of a root is no longer refined, since the square of what is left would be lost: a quarter of a
/// million f32 of each exponent around that, and around the subnormal numbers. Against the root in f64.
#[test]
#[allow(clippy::cast_possible_truncation, reason = "the lower bits, and rounding, are meant")]
fn roots_of_small_f32() {
    const PER_EXPONENT: usize = 1 << 18;
    let mut bits = random_bits(112);
    for exponent in (0..40_u32).chain([126, 127, 253, 254]) {
        let mut value = || {
            let random = bits() as u32;
            f32::from_bits(random & 0x807f_ffff | exponent << 23)
        };
        let values: Vec<f32> = (0..PER_EXPONENT).map(|_| value()).collect();
        let root = |&value: &f32| f64::from(value.abs()).sqrt().copysign(value.into()) as f32;
        let expected: Vec<u32> = values.iter().map(|value| root(value).to_bits()).collect();
        for &level in Level::available() {
            let mut roots = vec![0.0; PER_EXPONENT];
            Executor::new(level).serial().signed_sqrt(&values, &mut roots);
            for ((value, root), expected) in values.iter().zip(&roots).zip(&expected) {
                assert_eq!(root.to_bits(), *expected, "{level:?}, {value:e}");
            }
        }
    }
}

/// All 2^32 f32, at every level, against the specification and against an oracle that shares no
/// operation with it: the root in f64, rounded to f32. (53 >= 2*24 + 2 bits make the second
/// rounding harmless: Figueroa, *When is double rounding innocuous?*, SIGNUM 1995.)
///
/// `ROOTSTEP_STRIDE=N` takes every Nth value only, for slow machines.
#[test]
#[ignore = "2^32 values a level, twice: a minute each, optimised"]
fn signed_sqrt_of_every_f32() {
    const BLOCK: usize = 1 << 16;
    /// Two registers: of four, some take their roots in one way, some in the other.
    const SHIFT: usize = 2 * f32::LANES;
    assert!(!std::hint::black_box(cfg!(debug_assertions)), "run with --release");
    let stride = std::env::var("ROOTSTEP_STRIDE").map_or(1, |stride| stride.parse().unwrap());
    let mut values = vec![1.0; SHIFT + BLOCK];
    let mut out = vec![0.0; SHIFT + BLOCK];
    for &level in Level::available() {
        let mut bits = (0..=u32::MAX).step_by(stride);
        let mut count = 0_u64;
        loop {
            let fill = |(value, bits): (&mut f32, u32)| *value = f32::from_bits(bits);
            let filled = values[SHIFT..].iter_mut().zip(&mut bits).map(fill).count();
            if filled == 0 {
                break;
            }
            for start in [0, SHIFT] {
                let values = &values[start..SHIFT + filled];
                let out = &mut out[start..SHIFT + filled];
                Executor::new(level).signed_sqrt(values, out);
                for (&g, &root) in values.iter().zip(&*out) {
                    #[allow(clippy::cast_possible_truncation, reason = "the rounding is meant")]
                    let oracle = (f64::from(g).abs().sqrt() as f32).copysign(g);
                    let specified = rootstep::reference::signed_sqrt(g);
                    let good = same(root, specified) && same(root, oracle);
                    assert!(good, "{level} {:#x} gave {:#x}", g.to_bits(), root.to_bits());
                }
            }
            count += filled as u64;
        }
        assert_eq!(count, (1_u64 << 32).div_ceil(stride as u64));
        println!("{level}: {count} values, at two places");
    }
}

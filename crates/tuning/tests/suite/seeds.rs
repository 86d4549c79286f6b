//! A seed is a promise: the same rows and values for good, in every version and on every machine.

use crate::own_process::{WITHOUT_FMA, in_own_process};
use rootstep_tuning::{
    Fold, HoldOut, KFold, StratifiedHoldOut, StratifiedKFold, linear_grid, log_uniform,
    logarithmic_grid, repeated, uniform,
};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const SEEDS: [u64; 6] = [0, 1, 2, 42, 1 << 63, u64::MAX];

/// Ranges of the sizes and ratios that are in use, some at the ends of the numbers, and many of no
/// particular ends.
fn ranges() -> impl Iterator<Item = (f64, f64)> {
    let ranges =
        [(1e-5, 10.0), (1e-4, 0.1), (0.3, 0.7), (2.0, 1000.0), (1e-300, 1e300), (5e-324, f64::MAX)];
    let others = (1..200).map(|i| (0.001 * f64::from(i), 0.7 * f64::from(i + 10)));
    ranges.into_iter().chain(others)
}

/// The first 16 digits of the SHA-256 digest of numbers of 64 bits, little-endian.
fn digest(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut hash = Sha256::new();
    for number in numbers {
        hash.update(number.to_le_bytes());
    }
    let mut text = String::new();
    for byte in &hash.finalize()[..8] {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn of_folds(folds: impl IntoIterator<Item = Fold>) -> String {
    digest(folds.into_iter().flat_map(|fold| {
        let sides = [fold.train, fold.test].into_iter();
        sides.flat_map(|rows| [rows.len()].into_iter().chain(rows)).map(|row| row as u64)
    }))
}

fn of_values(values: impl IntoIterator<Item = Vec<f64>>) -> String {
    digest(values.into_iter().flatten().map(f64::to_bits))
}

fn digests() -> [(&'static str, String); 8] {
    let labels: Vec<usize> = (0..150).map(|row| row * row % 7 % 4).collect();
    let seeds = || SEEDS.into_iter();
    let k_fold = |seed| KFold::new(5).unwrap().shuffled(seed).split(150);
    let stratified = |seed| StratifiedKFold::new(5).unwrap().shuffled(seed).split(&labels);
    let hold_out = |seed| HoldOut::new(37, seed).split(150).unwrap();
    let stratified_hold_out = |seed| StratifiedHoldOut::new(37, seed).split(&labels).unwrap();
    let random = |draw: fn(f64, f64, usize, u64) -> Result<Vec<f64>, _>| {
        let of_seeds = |(from, to)| seeds().map(move |seed| draw(from, to, 100, seed).unwrap());
        of_values(ranges().flat_map(of_seeds))
    };
    let grids = |grid: fn(f64, f64, usize) -> Result<Vec<f64>, _>| {
        let counts = [2, 3, 7, 50, 200].into_iter();
        let of_counts =
            |(from, to)| counts.clone().map(move |count| grid(from, to, count).unwrap());
        of_values(ranges().flat_map(of_counts))
    };
    [
        ("KFold::shuffled", of_folds(seeds().flat_map(|seed| k_fold(seed).unwrap()))),
        ("StratifiedKFold::shuffled", of_folds(seeds().flat_map(|seed| stratified(seed).unwrap()))),
        ("repeated", of_folds(seeds().flat_map(|seed| repeated(3, seed, k_fold).unwrap()))),
        ("HoldOut", of_folds(seeds().map(hold_out))),
        ("StratifiedHoldOut", of_folds(seeds().map(stratified_hold_out))),
        ("uniform", random(uniform)),
        ("log_uniform", random(log_uniform)),
        ("logarithmic_grid and linear_grid", grids(logarithmic_grid) + &grids(linear_grid)),
    ]
}

/// Of the version that made the promise. They never change.
const PROMISED: [(&str, &str); 8] = [
    ("KFold::shuffled", "dc0be4eef2e1d4a6"),
    ("StratifiedKFold::shuffled", "709713e25563ea13"),
    ("repeated", "fc1c938f20c92f92"),
    ("HoldOut", "2904e041ecaf96a5"),
    ("StratifiedHoldOut", "2304e1e8f200ec55"),
    ("uniform", "b457c644b1372f81"),
    ("log_uniform", "4e9b9ee7e18a301d"),
    ("logarithmic_grid and linear_grid", "9fee45e559324665f4ac38d2acebdff2"),
];

fn assert_promised() {
    let digests = digests();
    assert_eq!(digests.each_ref().map(|(name, digest)| (*name, digest.as_str())), PROMISED);
}

#[test]
fn seeds_keep_their_promise() {
    assert_promised();
}

/// The C library chooses its `exp`, `log` and `pow` by the CPU: the digests are those of every choice.
#[test]
fn seeds_keep_their_promise_on_a_cpu_without_fma() {
    const UNMASKED: &str = "ROOTSTEP_TEST_UNMASKED";
    let unmasked = of_the_platform();
    in_own_process(
        "seeds::seeds_keep_their_promise_on_a_cpu_without_fma",
        &[WITHOUT_FMA, (UNMASKED, &unmasked)],
        || {
            // Where the C library has a choice, it has made another one: else this would test nothing.
            #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
            if is_x86_feature_detected!("fma") {
                assert_ne!(Ok(of_the_platform()), std::env::var(UNMASKED), "it is not masked");
            }
            assert_promised();
        },
    );
}

/// Of the exponential, the logarithm and the power as the C library has them.
fn of_the_platform() -> String {
    let values = (1..20_000).map(|i| std::hint::black_box(f64::from(i) * 1e-3));
    digest(values.flat_map(|x| [x.exp(), x.ln(), 10_f64.powf(x)]).map(f64::to_bits))
}

/// Whole powers of ten are the numbers that are written so.
#[test]
fn decades_are_exact() {
    for (from, to) in [(-307, 308), (-5, 1), (-11, 3), (0, 22), (-100, -1), (29, 61)] {
        let decade = |exponent: i32| format!("1e{exponent}").parse::<f64>().unwrap();
        for per_decade in 1..5 {
            let count = usize::try_from((to - from) * per_decade + 1).unwrap();
            let grid = logarithmic_grid(decade(from), decade(to), count).unwrap();
            let every = usize::try_from(per_decade).unwrap();
            for (value, exponent) in grid.into_iter().step_by(every).zip(from..=to) {
                assert_eq!(value, decade(exponent));
            }
        }
    }
    // From each power that is a normal number to that two decades above it.
    for exponent in -307..=306 {
        let decade = |exponent: i32| format!("1e{exponent}").parse::<f64>().unwrap();
        let grid = logarithmic_grid(decade(exponent), decade(exponent + 2), 3).unwrap();
        assert_eq!(grid[1], decade(exponent + 1));
    }
}

/// `repeated` gives each split the seed behind that of the one before, and the largest is followed by 0.
#[test]
fn repetitions_have_seeds_in_a_row() {
    for seed in [0, 1, 5, 6, 7, 42, u64::MAX - 2, u64::MAX] {
        let mut seeds = Vec::new();
        let fold = |test| Fold { train: vec![0], test: vec![test] };
        let folds = repeated(9, seed, |seed| {
            seeds.push(seed);
            Ok(vec![fold(seeds.len())])
        });
        assert_eq!(folds.unwrap(), (1..=9).map(fold).collect::<Vec<_>>());
        let expected: Vec<u64> = (0..9).map(|i| seed.wrapping_add(i)).collect();
        assert_eq!(seeds, expected);
    }
}

/// Values of the narrowest ranges: rounding carries none of them beyond the ends.
#[test]
fn values_stay_in_narrow_ranges() {
    let mut beyond = 0;
    for (seed, from) in (0..).zip((0..200).map(|i| 1e-9 * 1.3_f64.powi(i))) {
        for to in [from.next_up(), from.next_up().next_up(), from * (1.0 + 1e-14)] {
            for draw in [uniform, log_uniform] {
                let values = draw(from, to, 20, seed).unwrap();
                assert!(values.iter().all(|value| (from..=to).contains(value)), "{from} {to}");
            }
            let unclamped = (from.ln() + (to.ln() - from.ln()) * 0.5).exp();
            beyond += u32::from(!(from..=to).contains(&unclamped));
        }
    }
    assert!(beyond > 100, "these must be cases of rounding");
}

/// Of classes with equal remainders the first seen has the row, wherever its rows are.
#[test]
fn ties_of_held_out_shares_go_to_the_first_class() {
    for classes in 2..6_usize {
        for order in [0..classes, 1..classes + 1] {
            // The first seen may be any of them.
            let labels: Vec<usize> = (0..3)
                .flat_map(|_| order.clone().map(|class| (classes - class) % classes))
                .collect();
            for rows in 1..labels.len() {
                let fold = StratifiedHoldOut::new(rows, 9).split(&labels).unwrap();
                for (place, class) in labels[..classes].iter().enumerate() {
                    let own = fold.test.iter().filter(|&&row| labels[row] == *class).count();
                    let expected = rows / classes + usize::from(place < rows % classes);
                    assert_eq!(own, expected, "class {class} of {labels:?}, {rows} rows");
                }
            }
        }
    }
}

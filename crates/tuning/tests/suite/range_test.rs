//! The range test: fastai's suggestions, and none where the loss does not fall.

use crate::random_bits::random_bits;
use proptest::prelude::*;
use rootstep_tuning::{Error, RangeTest, RangeTestResult};

fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

struct Curve {
    name: String,
    steps: usize,
    smoothing: f64,
    losses: Vec<f64>,
    /// Steepest, valley, minimum / 10.
    suggestions: [f64; 3],
}

/// Read by hand: `derive` would need a compiler of macros in every build of the tests.
fn curves() -> Vec<Curve> {
    let recorded: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(include_str!("range_test/recorded.json")).unwrap();
    let floats = |value: &serde_json::Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let curve = |recorded: &serde_json::Map<String, serde_json::Value>| Curve {
        name: recorded["name"].as_str().unwrap().to_owned(),
        steps: usize::try_from(recorded["steps"].as_u64().unwrap()).unwrap(),
        smoothing: recorded["smoothing"].as_f64().unwrap(),
        losses: floats(&recorded["losses"]),
        suggestions: floats(&recorded["suggestions"]).try_into().unwrap(),
    };
    recorded.iter().map(curve).collect()
}

/// Curves of many kinds, with the suggestions of fastai, as `range_test/record.py` has recorded them.
#[test]
fn suggestions_of_the_range_test_are_those_of_fastai() {
    for Curve { name, steps, smoothing, losses, suggestions } in curves() {
        let test = RangeTest::new(1e-6, 10.0, steps).unwrap().smoothing(smoothing).unwrap();
        let mut next = losses.iter();
        let found = test.run(|_| *next.next().expect("the test ends where fastai's does"));
        assert_eq!(found.points().len(), losses.len(), "{name}");
        assert_eq!(found.diverged(), losses.len() < steps, "{name}");
        let own = [found.steepest(), found.valley(), found.minimum_tenth()].map(Option::unwrap);
        for (own, expected) in own.into_iter().zip(suggestions) {
            assert!((own / expected - 1.0).abs() < 1e-9, "{name}: {own}, not {expected}");
        }
    }
}

/// Losses below 0, such as accuracies negated.
#[test]
fn negative_losses() {
    let mut loss = -1.0;
    let found = RangeTest::new(0.1, 1.0, 30).unwrap().smoothing(0.0).unwrap().run(|_| {
        loss *= if loss > -5.0 { 1.1 } else { -3.5 }; // to -5.05, then 17.7, above -5.05 + 3·5.05
        loss
    });
    assert_eq!((found.points().len(), found.diverged()), (18, true));
    // From -1 with a divergence of 4 up to 2, and not beyond.
    let mut losses = [-1.0, 2.0, -0.5, 1.9, 2.1, 0.0].into_iter();
    let test = RangeTest::new(0.1, 1.0, 6).unwrap().smoothing(0.0).unwrap();
    let found = test.run(|_| losses.next().unwrap());
    assert_eq!((found.points().len(), found.diverged()), (5, true));
}

#[test]
fn smoothing_and_the_end_of_the_range_test() {
    let losses = [4.0, 2.0, 1.0, 3.0, 30.0, 1.0];
    let mut next = losses.iter();
    let test = RangeTest::new(0.1, 3.2, 6).unwrap().smoothing(0.5).unwrap();
    let found = test.run(|_| *next.next().unwrap());
    // (sum of 0.5^(n-k) loss_k) / (sum of 0.5^(n-k)), k from 1 to n.
    let smoothed = [4.0, 8.0 / 3.0, 12.0 / 7.0, 36.0 / 15.0, 516.0 / 31.0];
    assert_eq!(found.points().len(), 5);
    for (point, (expected, loss)) in found.points().iter().zip(smoothed.iter().zip(losses)) {
        assert!((point.smoothed - expected).abs() < 1e-14);
        assert_eq!(point.loss, loss);
    }
    assert!(found.diverged());
    // Five points suggest nothing.
    assert_eq!((found.steepest(), found.valley(), found.minimum_tenth()), (None, None, None));

    let mut calls = 0;
    let found = RangeTest::new(0.1, 1.0, 50).unwrap().run(|_| {
        calls += 1;
        if calls == 7 { f64::NAN } else { 1.0 }
    });
    assert_eq!((found.points().len(), found.diverged(), calls), (7, true, 7));

    // Above three times the lowest, not at it.
    let test = RangeTest::new(0.1, 1.0, 10).unwrap().smoothing(0.0).unwrap();
    let mut losses = [2.0, 1.0, 3.0, 3.1, 1.0].into_iter();
    let found = test.divergence(3.0).unwrap().run(|_| losses.next().unwrap());
    assert_eq!((found.points().len(), found.diverged()), (4, true));

    let flat = RangeTest::new(0.1, 1.0, 50).unwrap().smoothing(0.0).unwrap();
    let found = flat.run(|_| 1.0);
    assert_eq!((found.points().len(), found.diverged()), (50, false));
    assert_eq!(found.points()[49].rate, 1.0);
    assert_eq!((found.steepest(), found.valley()), (None, None));
    assert!(RangeTest::new(0.1, 1.0, 1).is_err());
    let test = RangeTest::new(0.1, 1.0, 5).unwrap();
    assert_eq!(
        message(test.clone().smoothing(1.0)),
        "the smoothing of a range test is 1; allowed: 0 or more, below 1"
    );
    assert_eq!(
        message(test.divergence(1.0)),
        "the divergence of a range test is 1; allowed: a finite number above 1"
    );
}

/// A test of these losses, stopped by their end at the latest.
fn test_of(losses: &[f64], smoothing: f64) -> RangeTestResult {
    let test = RangeTest::new(1e-4, 10.0, losses.len()).unwrap().smoothing(smoothing).unwrap();
    let mut next = losses.iter();
    test.run(|_| *next.next().unwrap())
}

fn suggestions(found: &RangeTestResult) -> [Option<f64>; 3] {
    [found.steepest(), found.valley(), found.minimum_tenth()]
}

/// Of a loss that does not fall beyond rounding nothing is suggested, whatever it is and however it is
/// smoothed.
#[test]
fn losses_that_never_fall_suggest_nothing() {
    let mut bits = random_bits(3);
    for constant in [0.25, 0.3, 1.0, 1e-300, 5e-324, 1e300, 0.0, -0.0, -0.7, -1e10, 2.0 / 3.0] {
        for smoothing in [0.0, 0.3, 0.5, 0.9, 0.98, 0.999_999, 1.0 - f64::EPSILON / 2.0] {
            let flat = vec![constant; 300];
            let noisy = flat.iter().map(|&loss: &f64| match bits() % 3 {
                0 => loss.next_up(),
                1 => loss.next_down(),
                _ => loss,
            });
            // (Noise around 0 is no rounding.)
            let noisy = if constant.abs() > 1e-307 { noisy.collect() } else { flat.clone() };
            let rises: Vec<f64> =
                (0..300).map(|i| constant + constant.abs() * f64::from(i) / 400.0).collect();
            let explodes = [&flat[..], &[1e3, 1e6, 1e9, 1e12, f64::INFINITY]].concat();
            for losses in [flat, noisy, rises, explodes] {
                let found = test_of(&losses, smoothing);
                assert_eq!(suggestions(&found), [None; 3], "{constant}, smoothed by {smoothing}");
            }
        }
    }
}

/// The average of a constant is that constant.
#[test]
fn constants_are_smoothed_to_themselves() {
    for constant in [0.1, 0.25, -0.3, 1e300, 5e-324] {
        for smoothing in [0.0, 0.1, 0.7, 0.98, 0.999_99] {
            let found = test_of(&[constant; 500], smoothing);
            assert!(found.points().iter().all(|point| point.smoothed == constant));
        }
    }
}

/// A fall above rounding is one, however small; and of losses on both sides of 0.
#[test]
fn small_falls_are_falls() {
    for (from, fall) in [(1.0, 1e-12), (-1.0, 1e-12), (1e-200, 1e-213), (1e300, 1e288)] {
        // It stands at first: a fall in the first tenth would count for nothing.
        let loss = |i: i32| from - fall * f64::from((i - 50).clamp(0, 100));
        let losses: Vec<f64> = (0..200).map(loss).collect();
        for smoothing in [0.0, 0.98] {
            let found = test_of(&losses, smoothing);
            assert!(suggestions(&found).iter().all(Option::is_some), "{from}, {fall}");
        }
    }
    let through_zero: Vec<f64> = (0..200).map(|i| 1.0 - f64::from(i) / 100.0).collect();
    assert!(suggestions(&test_of(&through_zero, 0.0)).iter().all(Option::is_some));
}

/// Losses that end a test at once or are near the end of the numbers make no panic, and no rate that was
/// not tried.
#[test]
fn extreme_losses() {
    let max = f64::MAX;
    for losses in [
        [f64::INFINITY; 40],
        [f64::NEG_INFINITY; 40],
        [f64::NAN; 40],
        std::array::from_fn(|i| if i % 2 == 0 { max } else { -max }),
        std::array::from_fn(|i| if i % 2 == 0 { -max } else { max }),
        std::array::from_fn(|i| if i < 20 { max } else { -max }),
        std::array::from_fn(|i| f64::from_bits(40 - i as u64)),
    ] {
        for smoothing in [0.0, 0.5, 0.98] {
            let found = test_of(&losses, smoothing);
            let (last, before) = found.points().split_last().unwrap();
            assert!(before.iter().all(|point| point.smoothed.is_finite()), "{losses:?}");
            assert!(last.smoothed.is_finite() || found.diverged());
            for rate in suggestions(&found).into_iter().flatten() {
                assert!((1e-5..=10.0).contains(&rate));
            }
        }
    }
}

/// The convex combination does not overflow where its difference does.
#[test]
fn averages_of_opposite_extremes_are_finite() {
    let found = test_of(&[f64::MAX, -f64::MAX, 0.0], 0.5);
    // (0.5 max - max) / 1.5
    assert!((found.points()[1].smoothed / f64::MAX + 1.0 / 3.0).abs() < 1e-15);
}

/// The middle of the longest valley, by comparing each point with all before it: a fall is one of more
/// than 16 epsilons of the smaller magnitude, at least.
fn valley_by_pairs(found: &RangeTestResult, steps: usize) -> Option<f64> {
    let points = found.points().get(steps / 10..).unwrap_or_default();
    let points = &points[..points.len().saturating_sub(5)];
    let band = |value: f64| 8.0 * f64::EPSILON * value.abs();
    let falls = |from: f64, to: f64| from - band(from) > to + band(to);
    let mut lengths = vec![1_usize; points.len()];
    for i in 1..points.len() {
        let before = (0..i).filter(|&j| falls(points[j].smoothed, points[i].smoothed));
        lengths[i] = before.map(|j| lengths[j] + 1).max().unwrap_or(1);
    }
    let length = lengths.iter().copied().max().filter(|&length| length > 1)?;
    let end = lengths.iter().position(|&at| at == length)?;
    Some(points[(end + length / 3 + length / 6).saturating_sub(length)].rate)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Values with many ties, of any kind, and within rounding of each other.
    #[test]
    fn valleys_are_those_of_comparing_all_pairs(
        kinds in prop::collection::vec(0..4_u8, 2..8),
        values in prop::collection::vec((0..6_i64, any::<f64>()), 2..150),
        smoothing in prop_oneof![Just(0.0), 0.0..0.999_f64],
    ) {
        let loss = |(i, &(small, any)): (usize, &(i64, f64))| match kinds[i % kinds.len()] {
            0 => small as f64,
            1 => 1.0 + 4.0 * f64::EPSILON * small as f64,
            2 => if any.is_finite() { 1.0 + any.rem_euclid(2.0) } else { 1.0 },
            _ => 3.0 - i as f64 / 100.0,
        };
        let losses: Vec<f64> = values.iter().enumerate().map(loss).collect();
        // Else a fall to 0 would end it.
        let test = RangeTest::new(1e-4, 10.0, losses.len()).unwrap().smoothing(smoothing).unwrap();
        let mut next = losses.iter();
        let found = test.divergence(1e300).unwrap().run(|_| *next.next().unwrap());
        prop_assert_eq!(found.valley(), valley_by_pairs(&found, losses.len()));
    }
}

/// Falling, rising, sawtooth, runs of ties, stairs within rounding.
#[test]
fn adversarial_valleys() {
    let count = 700;
    let epsilon = f64::EPSILON;
    let sequences: [&dyn Fn(i32) -> f64; 8] = [
        &|i| 800.0 - f64::from(i),
        &|i| 800.0 + f64::from(i),
        &|i| 800.0 - f64::from(i % 30) + f64::from(i / 30),
        &|i| 800.0 - f64::from(i / 7),
        &|i| 1.0 - epsilon * f64::from(i),
        &|i| 1.0 - 5.0 * epsilon * f64::from(i % 40) + 3.0 * epsilon * f64::from(i / 40),
        &|i| f64::from(i * 7919 % 701 + 300),
        &|i| f64::from(if i % 2 == 0 { 500 - i / 2 } else { 100 + i / 2 }),
    ];
    for (number, sequence) in sequences.iter().enumerate() {
        let losses: Vec<f64> = (0..count).map(sequence).collect();
        let test = RangeTest::new(1e-4, 10.0, losses.len()).unwrap().smoothing(0.0).unwrap();
        let mut next = losses.iter();
        let found = test.divergence(1e300).unwrap().run(|_| *next.next().unwrap());
        assert_eq!(found.points().len(), losses.len());
        assert_eq!(found.valley(), valley_by_pairs(&found, losses.len()), "sequence {number}");
    }
}

/// A million steps have their valley at once. (By comparing all pairs it would take a quarter of an hour.)
#[test]
fn long_tests_have_a_valley_soon() {
    let mut bits = random_bits(1);
    let steps = 1_000_000;
    let test = RangeTest::new(1e-6, 10.0, steps).unwrap();
    let found = test.run(|rate| 1.0 / (1.0 + rate) + (bits() % 1000) as f64 / 10_000.0);
    let start = std::time::Instant::now();
    assert!(found.valley().is_some());
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

//! Grids, folds and the search: their promises, and scikit-learn's indices and ranks.

use proptest::prelude::*;
use rootstep_tuning::{
    Error, Fold, GroupKFold, HoldOut, KFold, OnFailure, Row, Search, StratifiedHoldOut,
    StratifiedKFold, TimeSeriesSplit, leave_one_out, linear_grid, log_uniform, logarithmic_grid,
    product, repeated, search, uniform,
};

fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

fn tests(folds: &[Fold]) -> Vec<Vec<usize>> {
    folds.iter().map(|fold| fold.test.clone()).collect()
}

/// `StratifiedKFold(5).split(y, y)` of scikit-learn 1.9.1 for the species of iris.
#[test]
fn iris_folds_are_those_of_scikit_learn() {
    let species: Vec<usize> = (0..150).map(|row| row / 50).collect();
    let folds = StratifiedKFold::new(5).unwrap().split(&species).unwrap();
    for (k, fold) in folds.iter().enumerate() {
        let rows_of = |class: usize| (50 * class + 10 * k)..(50 * class + 10 * k + 10);
        let test: Vec<usize> = (0..3).flat_map(rows_of).collect();
        let train: Vec<usize> = (0..150).filter(|row| !test.contains(row)).collect();
        assert_eq!((&fold.test, &fold.train), (&test, &train));
    }
}

/// `StratifiedKFold(k).split(y, y)` of scikit-learn 1.9.1 for labels out of order, of unequal
/// classes, one of them smaller than k.
#[test]
fn awkward_folds_are_those_of_scikit_learn() {
    let labels = [2, 7, 7, 2, 0, 7, 0, 0, 2, 7, 7, 7, 0, 7, 5, 2, 7, 0, 5, 7, 7, 2, 0];
    let of = |k| tests(&StratifiedKFold::new(k).unwrap().split(&labels).unwrap());
    assert_eq!(
        of(2),
        [
            vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14],
            vec![11, 12, 13, 15, 16, 17, 18, 19, 20, 21, 22]
        ]
    );
    assert_eq!(
        of(3),
        [
            vec![0, 1, 2, 3, 4, 5, 6, 14],
            vec![7, 8, 9, 10, 11, 12, 15, 18],
            vec![13, 16, 17, 19, 20, 21, 22]
        ]
    );
    assert_eq!(
        of(4),
        [
            vec![0, 1, 2, 3, 4, 6],
            vec![5, 7, 8, 9, 10, 14],
            vec![11, 12, 13, 15, 16, 18],
            vec![17, 19, 20, 21, 22]
        ]
    );
    assert_eq!(
        of(7),
        [
            vec![0, 1, 2, 14],
            vec![3, 4, 5, 18],
            vec![6, 8, 9],
            vec![7, 10, 15],
            vec![11, 12, 21],
            vec![13, 16, 17],
            vec![19, 20, 22]
        ]
    );
}

#[test]
fn wrong_numbers_of_folds_are_errors() {
    let labels = ["a", "b", "b", "b", "a"];
    for folds in [0, 1] {
        assert_eq!(
            message(StratifiedKFold::new(folds)),
            format!("number of folds is {folds}; allowed: at least 2")
        );
    }
    assert_eq!(
        message(StratifiedKFold::new(4).unwrap().split(&labels)),
        "number of folds is 4; allowed: at most 3, the size of the largest class of 5 rows"
    );
    assert!(StratifiedKFold::new(3).unwrap().split(&labels).is_ok());
    let nothing: [u8; 0] = [];
    assert!(message(StratifiedKFold::new(2).unwrap().split(&nothing)).contains("at most 0"));
}

#[test]
fn wrong_numbers_of_rows_held_out_are_errors() {
    for rows in [0, 5, 6] {
        assert_eq!(
            message(StratifiedHoldOut::new(rows, 0).split(&[1, 2, 1, 2, 1])),
            format!(
                "number of rows held out is {rows}; allowed: at least 1 and fewer than the 5 rows"
            )
        );
    }
}

#[test]
fn wrong_grids_are_errors() {
    for (result, part) in [
        (logarithmic_grid(0.0, 1.0, 3), "start of the grid is 0; allowed: finite and greater"),
        (logarithmic_grid(-1.0, 1.0, 3), "start of the grid is -1;"),
        (logarithmic_grid(f64::NAN, 1.0, 3), "start of the grid is NaN;"),
        (logarithmic_grid(1.0, 1.0, 3), "end of the grid is 1; allowed: finite and greater"),
        (logarithmic_grid(1.0, f64::INFINITY, 3), "end of the grid is inf;"),
        (logarithmic_grid(1.0, f64::NAN, 3), "end of the grid is NaN;"),
        (
            logarithmic_grid(1.0, 2.0, 1),
            "number of values in the grid is 1; allowed: at least 2 and at most 1000000",
        ),
        (linear_grid(f64::NEG_INFINITY, 1.0, 3), "start of the grid is -inf; allowed: finite"),
        (linear_grid(2.0, 1.0, 3), "end of the grid is 1; allowed: finite and greater than"),
        (linear_grid(0.0, 1.0, usize::MAX), "; allowed: at least 2 and at most 1000000"),
        (
            linear_grid(1.0, 1.0_f64.next_up(), 5),
            "allowed: so few that values between 1 and 1.00000",
        ),
        (logarithmic_grid(1.0, 1.0_f64.next_up(), 5), "allowed: so few that values between 1 and"),
        (linear_grid(0.0, 1.0, 0), "number of values in the grid is 0; allowed: at least 2 and"),
    ] {
        let message = message(result);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn logarithmic_grids_have_exact_ends() {
    for i in 1..1000 {
        let (from, to) = (0.001 * f64::from(i), 0.7 * f64::from(i + 10));
        let grid = logarithmic_grid(from, to, 4).unwrap();
        assert_eq!((grid[0], grid[3]), (from, to));
    }
}

#[test]
fn linear_grids_have_equal_distances() {
    assert_eq!(linear_grid(1.0, 3.0, 5).unwrap(), [1.0, 1.5, 2.0, 2.5, 3.0]);
    assert_eq!(linear_grid(-2.0, 6.0, 5).unwrap(), [-2.0, 0.0, 2.0, 4.0, 6.0]);
    assert_eq!(linear_grid(-f64::MAX, f64::MAX, 3).unwrap(), [-f64::MAX, 0.0, f64::MAX]);
}

/// Of 4,000 values each tenth of the range has 400, some more or less: 19 is a standard deviation.
#[test]
fn random_values_are_spread_evenly() {
    let assert_even = |positions: Vec<f64>| {
        for tenth in 0..10 {
            let range = f64::from(tenth) / 10.0..f64::from(tenth + 1) / 10.0;
            let count = positions.iter().filter(|position| range.contains(position)).count();
            assert!(count.abs_diff(400) < 80, "{count} in {range:?}");
        }
    };
    for seed in 0..10 {
        let values = uniform(2.0, 10.0, 4000, seed).unwrap();
        assert_even(values.iter().map(|value| (value - 2.0) / 8.0).collect());
        let values = uniform(-9.0, -4.0, 4000, seed).unwrap();
        assert_even(values.iter().map(|value| (value + 9.0) / 5.0).collect());
        let values = log_uniform(2.0, 10.0, 4000, seed).unwrap();
        assert_even(values.iter().map(|value| (value / 2.0).ln() / 5_f64.ln()).collect());
        let values = log_uniform(1e-5, 0.3, 4000, seed).unwrap();
        assert_even(values.iter().map(|value| (value / 1e-5).ln() / 3e4_f64.ln()).collect());
    }
}

/// Every bit of the seed, and the range, change what is drawn.
#[test]
fn every_seed_draws_others() {
    let seeds = || std::iter::once(0).chain((0..64).map(|bit| 1_u64 << bit));
    let draws = seeds().flat_map(|seed| {
        // The bits of the last end are those of both ends before it.
        let near_two = f64::from_bits(0x4000_0000_3ff0_0000);
        [(0.0, 1.0), (0.1, 0.9), (1.0, 2.0), (1.0, near_two)].map(|(from, to)| {
            let share = (uniform(from, to, 1, seed).unwrap()[0] - from) / (to - from);
            format!("{share:.9}")
        })
    });
    let different: std::collections::HashSet<String> = draws.collect();
    assert_eq!(different.len(), 65 * 4);
}

#[test]
fn k_folds_are_shuffled_by_their_seed() {
    let folds = KFold::new(4).unwrap();
    let plain = folds.split(60).unwrap();
    let shuffled = |seed| folds.shuffled(seed).split(60).unwrap();
    assert_eq!(tests(&plain)[1], (15..30).collect::<Vec<_>>());
    assert_ne!(shuffled(1), plain);
    assert_ne!(shuffled(1), shuffled(2));
    assert_eq!(shuffled(1), shuffled(1));
}

/// Of what rounding down leaves over, the class with the largest remainder has the first.
#[test]
fn held_out_shares_are_rounded_by_the_largest_remainder() {
    // 4 of 9 + 6 rows: 2.4 and 1.6. 5 of 11 + 2 + 7: 2.75, 0.5 and 1.75.
    for (sizes, rows, expected) in [
        (vec![9, 6], 4, vec![2, 2]),
        (vec![11, 2, 7], 5, vec![3, 0, 2]),
        (vec![2, 11, 7], 3, vec![0, 2, 1]),
    ] {
        let classes = sizes.iter().enumerate();
        let labels: Vec<usize> = classes.flat_map(|(class, &size)| vec![class; size]).collect();
        for seed in 0..20 {
            let fold = StratifiedHoldOut::new(rows, seed).split(&labels).unwrap();
            let mut counts = vec![0; sizes.len()];
            fold.test.iter().for_each(|&row| counts[labels[row]] += 1);
            assert_eq!(counts, expected, "{sizes:?}");
        }
    }
}

#[test]
fn a_search_without_candidates_or_folds_is_an_error() {
    let fold = Fold { train: vec![0], test: vec![1] };
    let none: [f64; 0] = [];
    assert_eq!(
        message(search(none, &[fold], |_, _| 0.0)),
        "number of candidates is 0; allowed: at least 1"
    );
    assert_eq!(
        message(search([1.0], &[], |_, _| 0.0)),
        "number of folds is 0; allowed: at least 1"
    );
}

/// Folds whose first test row is their number, so that a score function can look values up.
fn numbered_folds(count: usize) -> Vec<Fold> {
    let fold = |test| Fold { train: vec![], test: vec![test] };
    (0..count).map(fold).collect()
}

/// Ranks as `GridSearchCV` gives them: ties share the lower rank, and the one behind them skips.
#[test]
fn ties_share_a_rank_and_the_first_wins() {
    let means = [1.0, 3.0, 2.0, 3.0, 0.5];
    let results = search(means, &numbered_folds(4), |&mean, _| mean).unwrap();
    let ranks: Vec<usize> = results.rows().iter().map(|row| row.metric().rank).collect();
    assert_eq!(ranks, [4, 1, 3, 1, 5]);
    assert!(std::ptr::eq(results.best().unwrap(), &raw const results.rows()[1]));
}

#[test]
fn means_that_are_not_finite_rank_last_and_never_win() {
    let means = [f64::NAN, f64::NEG_INFINITY, 1.0, f64::INFINITY];
    let results = search(means, &numbered_folds(2), |&mean, _| mean).unwrap();
    let ranks: Vec<usize> = results.rows().iter().map(|row| row.metric().rank).collect();
    assert_eq!(ranks, [2, 2, 1, 2]);
    let one_nan =
        search([5.0], &numbered_folds(2), |&x, fold| if fold.test[0] == 0 { f64::NAN } else { x });
    assert!(one_nan.unwrap().best().is_none());
}

#[test]
fn mean_and_deviation() {
    let scores = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
    let results = search([()], &numbered_folds(8), |(), fold| scores[fold.test[0]]).unwrap();
    let row = results.best().unwrap();
    assert_eq!((row.metric().mean, row.metric().standard_deviation), (5.0, 2.0));
    assert_eq!(row.metric().scores, scores);
}

#[cfg(feature = "rayon")]
#[test]
fn threads_do_not_change_the_table() {
    let labels: Vec<usize> = (0..97).map(|row| row * row % 5).collect();
    let folds = StratifiedKFold::new(5).unwrap().shuffled(3).split(&labels).unwrap();
    let table = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let score = |&rate: &f64, fold: &Fold| {
            let sum = fold.train.iter().map(|&row| (row as f64 * rate).sin()).sum::<f64>();
            if rate > 9.0 { f64::NAN } else { sum }
        };
        let rates = logarithmic_grid(1e-3, 10.0, 40).unwrap();
        pool.install(|| search(rates, &folds, score).unwrap())
    };
    // By bits, so that it holds for NaN as well.
    let bits = |threads| {
        let table = table(threads);
        let of = |row: &Row<f64>| {
            let row = row.metric();
            let floats = row.scores.iter().chain([&row.mean, &row.standard_deviation]);
            (row.rank, floats.map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        table.rows().iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(bits(1), bits(8));
}

/// The generator and the way it is used are documented: a seed must give the same rows for good.
#[test]
fn seeds_give_these_rows() {
    let labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1];
    let folds = StratifiedKFold::new(3).unwrap().shuffled(42).split(&labels).unwrap();
    assert_eq!(tests(&folds), [[0, 2, 6, 9], [3, 5, 7, 10], [1, 4, 8, 11]]);
    let fold = StratifiedHoldOut::new(4, 42).split(&labels).unwrap();
    assert_eq!(fold.test, [3, 5, 7, 9]);
}

fn any_labels() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..4_u8, 2..120)
}

/// How many of `rows` are of each class.
fn class_counts(labels: &[u8], rows: &[usize]) -> [usize; 4] {
    let mut counts = [0; 4];
    for &row in rows {
        counts[usize::from(labels[row])] += 1;
    }
    counts
}

fn is_ascending(rows: &[usize]) -> bool {
    rows.windows(2).all(|pair| pair[0] < pair[1])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn folds_partition_the_rows_and_keep_the_shares(
        labels in any_labels(), k in 2..8_usize, seed in any::<Option<u64>>(),
    ) {
        let kfold = StratifiedKFold::new(k).unwrap();
        let kfold = seed.map_or(kfold, |seed| kfold.shuffled(seed));
        let Ok(folds) = kfold.split(&labels) else {
            let all: Vec<usize> = (0..labels.len()).collect();
            prop_assert!(class_counts(&labels, &all).into_iter().all(|count| count < k));
            return Ok(());
        };
        prop_assert_eq!(&folds, &kfold.split(&labels).unwrap(), "the same seed, the same folds");
        prop_assert_eq!(folds.len(), k);
        let mut tested = vec![0; labels.len()];
        let totals = class_counts(&labels, &(0..labels.len()).collect::<Vec<_>>());
        for fold in &folds {
            prop_assert!(is_ascending(&fold.train) && is_ascending(&fold.test));
            prop_assert_eq!(fold.train.len() + fold.test.len(), labels.len());
            prop_assert!(fold.train.iter().all(|row| !fold.test.contains(row)));
            prop_assert!(fold.test.len().abs_diff(labels.len() / k) <= 1);
            for (count, total) in class_counts(&labels, &fold.test).into_iter().zip(totals) {
                prop_assert!(count == total / k || count == total.div_ceil(k));
            }
            for &row in &fold.test {
                tested[row] += 1;
            }
        }
        prop_assert!(tested.iter().all(|&times| times == 1));
    }

    #[test]
    fn hold_out_keeps_the_shares(labels in any_labels(), at in any::<prop::sample::Index>(), seed: u64) {
        let test_rows = 1 + at.index(labels.len() - 1);
        let hold_out = StratifiedHoldOut::new(test_rows, seed);
        let fold = hold_out.split(&labels).unwrap();
        prop_assert_eq!(&fold, &hold_out.split(&labels).unwrap());
        prop_assert!(is_ascending(&fold.train) && is_ascending(&fold.test));
        prop_assert_eq!(fold.test.len(), test_rows);
        prop_assert_eq!(fold.train.len(), labels.len() - test_rows);
        prop_assert!(fold.train.iter().all(|row| !fold.test.contains(row)));
        let totals = class_counts(&labels, &(0..labels.len()).collect::<Vec<_>>());
        for (count, total) in class_counts(&labels, &fold.test).into_iter().zip(totals) {
            let share = total * test_rows;
            prop_assert!(count == share / labels.len() || count == share.div_ceil(labels.len()));
        }
    }

    #[test]
    fn shuffles_differ(seed: u64) {
        let labels = vec![0_u8; 60];
        let of = |seed| StratifiedKFold::new(3).unwrap().shuffled(seed).split(&labels).unwrap();
        prop_assert_ne!(of(seed), of(seed.wrapping_add(1)));
        let held_out = |seed| StratifiedHoldOut::new(20, seed).split(&labels).unwrap();
        prop_assert_ne!(held_out(seed), held_out(seed.wrapping_add(1)));
    }

    #[test]
    fn grids_ascend_between_their_ends(
        from in -300.0..300.0_f64, decades in 0.001..300.0_f64, count in 2..50_usize,
    ) {
        let (low, high) = (10_f64.powf(from), 10_f64.powf((from + decades).min(308.0)));
        prop_assume!(low < high);
        for grid in [logarithmic_grid(low, high, count), linear_grid(low, high, count)] {
            let grid = grid.unwrap();
            prop_assert_eq!(grid.len(), count);
            prop_assert_eq!((grid[0], grid[count - 1]), (low, high));
            prop_assert!(grid.windows(2).all(|pair| pair[0] < pair[1]));
        }
        let grid = logarithmic_grid(low, high, count).unwrap();
        let ratio = (high.log10() - low.log10()) / (count - 1) as f64;
        for pair in grid.windows(2) {
            prop_assert!((pair[1].log10() - pair[0].log10() - ratio).abs() < 1e-9);
        }
    }
}

/// Candidate 1 fails on fold 1, candidate 2 has a score of NaN on fold 0 by the second metric.
fn with_failures(policy: OnFailure) -> Result<Vec<[f64; 4]>, Error> {
    let folds = numbered_folds(2);
    let results = Search::new(&folds).metrics(["a", "b"]).on_failure(policy).run(
        [0, 1, 2],
        |&candidate, fold| match (candidate, fold.test[0]) {
            (1, 1) => Err("no luck"),
            fitted => Ok(fitted),
        },
        |&(candidate, fold), rows| {
            assert_eq!(rows, [fold]);
            let a = f64::from(candidate) + fold as f64;
            Ok(vec![a, if (candidate, fold) == (2, 0) { f64::NAN } else { -a }])
        },
    )?;
    let failures: Vec<_> = results.rows().iter().map(|row| row.failures.clone()).collect();
    let named = |text: &str| Some(text.to_owned());
    assert_eq!(
        failures,
        [vec![None, None], vec![None, named("no luck")], vec![named("b is NaN"), None]]
    );
    let of = |row: &Row<i32>| {
        let [a, b] = &row.metrics[..] else { panic!("two metrics") };
        [a.mean, a.rank as f64, b.mean, b.rank as f64]
    };
    Ok(results.rows().iter().map(of).collect())
}

/// NaN as bits, so that it equals itself.
fn bits(rows: &[[f64; 4]]) -> Vec<[u64; 4]> {
    rows.iter().map(|row| row.map(f64::to_bits)).collect()
}

#[test]
fn failed_fits_by_policy() {
    let nan = f64::NAN;
    let rows = with_failures(OnFailure::Keep).unwrap();
    assert_eq!(
        bits(&rows),
        bits(&[[0.5, 2.0, -0.5, 1.0], [nan, 3.0, nan, 2.0], [2.5, 1.0, nan, 2.0]])
    );
    // The worst of all: 0 by a, -3 by b.
    let rows = with_failures(OnFailure::Worst).unwrap();
    assert_eq!(rows, [[0.5, 2.0, -0.5, 1.0], [0.5, 2.0, -2.0, 2.0], [2.5, 1.0, -3.0, 3.0]]);
    let rows = with_failures(OnFailure::Skip).unwrap();
    assert_eq!(rows, [[0.5, 3.0, -0.5, 1.0], [1.0, 2.0, -1.0, 2.0], [2.5, 1.0, -3.0, 3.0]]);
    let error = with_failures(OnFailure::Error).unwrap_err().to_string();
    assert_eq!(error, "candidate 1 failed on fold 1: no luck");
}

/// Of fits that fail, the error names the first, on any number of threads.
#[test]
fn the_first_error_is_returned() {
    let folds = numbered_folds(5);
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for _ in 0..20 {
            let fit = |&candidate: &usize, fold: &Fold| match (candidate, fold.test[0]) {
                (1, 3) => {
                    // Later than the others.
                    std::thread::sleep(std::time::Duration::from_micros(300));
                    Err("first")
                }
                (candidate, 4) if candidate > 0 => Err("later"),
                _ => Ok(0.0),
            };
            let search = Search::new(&folds).on_failure(OnFailure::Error);
            let result = pool.install(|| search.run(0..9_usize, fit, |&model, _| Ok(vec![model])));
            assert_eq!(message(result), "candidate 1 failed on fold 3: first");
        }
    }
}

/// The mean and the deviation of scores that differ in their last digits.
#[test]
fn deviations_are_not_lost_in_the_mean() {
    let folds = numbered_folds(2);
    let scores = [0.1, 0.1 + 1e-12];
    let fit = |_: &u8, fold: &Fold| scores[fold.test[0]];
    let results = search([0_u8], &folds, fit).unwrap();
    let metric = results.rows()[0].metric();
    let expected = (scores[1] - scores[0]) / 2.0;
    assert!((metric.standard_deviation / expected - 1.0).abs() < 1e-8);
    assert!((metric.mean - 0.1 - expected).abs() < 1e-16);
}

/// The same cells as those of the table.
#[cfg(feature = "csv")]
#[test]
fn csv_files_hold_the_table() {
    let folds = numbered_folds(3);
    let fit = |&rate: &f64, fold: &Fold| rate * fold.test[0] as f64;
    let results = search([0.1, 0.7], &folds, fit).unwrap();
    let parameters = |rate: &f64| vec![("rate, \"first\"".to_owned(), rate.to_string())];
    let mut file = Vec::new();
    results.write_csv(&mut file, parameters).unwrap();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&file[..]);
    let read: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(read, results.table(parameters).unwrap());
    assert_eq!(read.len(), 3);
}

/// After an error nothing behind it is begun.
#[test]
fn an_error_ends_the_search() {
    let folds = numbered_folds(5);
    let fits = std::sync::atomic::AtomicUsize::new(0);
    let fit = |&candidate: &usize, fold: &Fold| {
        fits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if (candidate, fold.test[0]) == (1, 3) { Err("no luck") } else { Ok(0.0) }
    };
    let search = Search::new(&folds).on_failure(OnFailure::Error);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let result = pool.install(|| search.run(0..9_usize, fit, |&model, _| Ok(vec![model])));
    assert_eq!(message(result), "candidate 1 failed on fold 3: no luck");
    assert_eq!(fits.into_inner(), 5 + 3 + 1);
}

#[test]
fn a_search_is_shown_without_its_rows() {
    let folds = numbered_folds(5);
    assert_eq!(
        format!("{:?}", Search::new(&folds).metrics(["loss"])),
        "Search { folds: 5, metrics: [\"loss\"], on_failure: Keep, .. }"
    );
}

/// Whatever the policy and the order: a candidate that failed everywhere is never the best, nor one
/// whose scores are infinite; of candidates that tie, one without failures is.
#[test]
fn failures_never_win() {
    let folds = numbered_folds(3);
    let fit = |&candidate: &&str, fold: &Fold| match candidate {
        "fails" => Err("diverged"),
        "infinite" => Ok(f64::INFINITY),
        "once" if fold.test[0] == 1 => Err("diverged"),
        "once" => Ok(1.0),
        good => Ok(good.len() as f64 - 3.0),
    };
    for policy in [OnFailure::Keep, OnFailure::Worst, OnFailure::Skip] {
        let search = Search::new(&folds).on_failure(policy);
        let results = search
            .run(["infinite", "fails", "once", "good"], fit, |&model, _| Ok(vec![model]))
            .unwrap();
        assert_eq!(results.best().unwrap().candidate, "good", "{policy:?}");
        assert_eq!(
            results.refit(7, |&candidate, fold| (candidate, fold.train.len())).unwrap(),
            ("good", 7)
        );
        let results = search.run(["infinite", "fails"], fit, |&model, _| Ok(vec![model])).unwrap();
        assert!(results.best().is_none(), "{policy:?}");
        assert!(matches!(results.refit(7, |_, _| ()), Err(Error::NoBest { .. })));
    }
}

#[test]
fn all_folds_of_a_candidate_failed() {
    for policy in [OnFailure::Keep, OnFailure::Worst, OnFailure::Skip] {
        let folds = numbered_folds(3);
        let results = Search::new(&folds).on_failure(policy).run(
            [1.0, 2.0],
            |&x, _| if x > 1.0 { Err("never") } else { Ok(x) },
            |&x, _| Ok(vec![x]),
        );
        let results = results.unwrap();
        assert_eq!(results.best().unwrap().candidate, 1.0);
        let none = Search::new(&folds).on_failure(policy).run(
            [1.0],
            |_, _| Err::<f64, _>("never"),
            |&x, _| Ok(vec![x]),
        );
        assert!(none.unwrap().best().is_none());
    }
}

/// The message names the candidate and the fold, and the next search works.
#[test]
fn a_panic_in_a_score_is_an_error() {
    let folds = numbered_folds(3);
    for _ in 0..3 {
        let result = search([5, 6, 7], &folds, |&candidate, fold| {
            assert!((candidate, fold.test[0]) != (6, 2), "six and two");
            0.0
        });
        assert_eq!(message(result), "candidate 1 failed on fold 2: it panicked: six and two");
        assert!(search([1], &folds, |_, _| 0.0).is_ok());
    }
}

#[test]
fn as_many_scores_as_metrics() {
    let folds = numbered_folds(2);
    let run = |metrics: &[&str]| {
        let search = Search::new(&folds).metrics(metrics.iter().copied());
        search.run([0], |_, _| Ok::<_, String>(()), |(), _| Ok(vec![1.0, 2.0]))
    };
    assert!(run(&["a", "b"]).is_ok());
    assert_eq!(message(run(&["a"])), "number of scores is 2; allowed: 1, as many as metrics");
    assert_eq!(message(run(&[])), "number of metrics is 0; allowed: at least 1");
}

#[test]
fn train_scores_progress_and_the_table() {
    let folds =
        [Fold { train: vec![1, 2], test: vec![0] }, Fold { train: vec![0], test: vec![1, 2] }];
    let reports = std::sync::Mutex::new(Vec::new());
    let report = |progress: rootstep_tuning::Progress| {
        assert_eq!(progress.total, 4);
        reports.lock().unwrap().push(progress.done);
    };
    let results = Search::new(&folds)
        .metrics(["rows", "other"])
        .train_scores()
        .progress(&report)
        .run(
            [10.0, 20.0],
            |&x, _| Ok::<_, String>(x),
            |x, rows| Ok(vec![x * rows.len() as f64, -0.5]),
        )
        .unwrap();
    let mut reports = reports.into_inner().unwrap();
    reports.sort_unstable();
    assert_eq!(reports, [1, 2, 3, 4]);
    assert_eq!(results.metrics(), ["rows", "other"]);
    let metric = &results.rows()[1].metrics[0];
    assert_eq!(
        (&metric.scores[..], &metric.train_scores[..]),
        (&[20.0, 40.0][..], &[40.0, 20.0][..])
    );
    assert_eq!((metric.train_mean, metric.train_standard_deviation), (30.0, 10.0));
    let table = results.table(|x| vec![("x".to_owned(), x.to_string())]).unwrap();
    assert_eq!(table.len(), 3);
    assert_eq!(
        table[0],
        [
            "mean_fit_time",
            "std_fit_time",
            "mean_score_time",
            "std_score_time",
            "param_x",
            "params",
            "split0_test_rows",
            "split1_test_rows",
            "mean_test_rows",
            "std_test_rows",
            "rank_test_rows",
            "split0_train_rows",
            "split1_train_rows",
            "mean_train_rows",
            "std_train_rows",
            "split0_test_other",
            "split1_test_other",
            "mean_test_other",
            "std_test_other",
            "rank_test_other",
            "split0_train_other",
            "split1_train_other",
            "mean_train_other",
            "std_train_other",
            "failures",
        ]
    );
    assert_eq!(table[2][4..10], ["20", "x=20", "20", "40", "30", "10"]);
    assert!(table[1][..4].iter().all(|seconds| seconds.parse::<f64>().unwrap() >= 0.0));
}

#[test]
fn halving_keeps_the_best() {
    let folds = numbered_folds(2);
    let fits = std::sync::Mutex::new(Vec::new());
    let halve = |candidates: Vec<i32>, budgets| {
        Search::new(&folds).halving(
            candidates,
            budgets,
            |&candidate, _, budget| {
                fits.lock().unwrap().push(budget);
                Ok::<_, String>(candidate)
            },
            // 3 and 4 tie.
            |&candidate, _| Ok(vec![-f64::from((2 * candidate - 7).abs())]),
        )
    };
    let rounds = halve((0..10).collect(), (5, 50, 3)).unwrap();
    let candidates = |results: &rootstep_tuning::SearchResults<i32>| {
        results.rows().iter().map(|row| row.candidate).collect::<Vec<_>>()
    };
    let found: Vec<_> =
        rounds.iter().map(|(budget, results)| (*budget, candidates(results))).collect();
    assert_eq!(found, [(5, (0..10).collect::<Vec<_>>()), (15, vec![2, 3, 4, 5]), (45, vec![3, 4])]);
    assert_eq!(fits.lock().unwrap().len(), 2 * (10 + 4 + 2));
    assert_eq!(halve(vec![7], (1, 1000, 2)).unwrap().len(), 1);
    assert_eq!(halve(vec![7, 8], (5, 5, 2)).unwrap().len(), 1);
    assert_eq!(message(halve(vec![7], (0, 10, 2))), "first budget is 0; allowed: at least 1");
    assert_eq!(
        message(halve(vec![7], (5, 4, 2))),
        "last budget is 4; allowed: 5, the first budget, or more"
    );
    assert_eq!(
        message(halve(vec![7], (5, 9, 1))),
        "factor of the budgets is 1; allowed: at least 2"
    );
}

/// `KFold`, `GroupKFold` and `TimeSeriesSplit` of scikit-learn 1.9.1.
#[test]
fn other_folds_are_those_of_scikit_learn() {
    assert_eq!(
        tests(&KFold::new(4).unwrap().split(13).unwrap()),
        [vec![0, 1, 2, 3], vec![4, 5, 6], vec![7, 8, 9], vec![10, 11, 12]]
    );
    let groups = [2, 7, 7, 2, 0, 7, 0, 0, 2, 7, 7, 7, 0, 7, 5, 2, 7, 0, 5, 7, 7, 2, 0];
    let of = |k| tests(&GroupKFold::new(k).unwrap().split(&groups).unwrap());
    assert_eq!(
        of(2),
        [
            vec![1, 2, 5, 9, 10, 11, 13, 14, 16, 18, 19, 20],
            vec![0, 3, 4, 6, 7, 8, 12, 15, 17, 21, 22]
        ]
    );
    assert_eq!(
        of(3),
        [
            vec![1, 2, 5, 9, 10, 11, 13, 16, 19, 20],
            vec![4, 6, 7, 12, 17, 22],
            vec![0, 3, 8, 14, 15, 18, 21]
        ]
    );
    assert_eq!(
        of(4),
        [
            vec![1, 2, 5, 9, 10, 11, 13, 16, 19, 20],
            vec![4, 6, 7, 12, 17, 22],
            vec![0, 3, 8, 15, 21],
            vec![14, 18]
        ]
    );
    // Eleven groups, of which seven have four rows and four have three.
    let groups: Vec<usize> = (0..40).map(|row| row % 11).collect();
    assert_eq!(
        tests(&GroupKFold::new(3).unwrap().split(&groups).unwrap()),
        [
            vec![0, 3, 6, 11, 14, 17, 22, 25, 28, 33, 36, 39],
            vec![2, 5, 8, 10, 13, 16, 19, 21, 24, 27, 30, 32, 35, 38],
            vec![1, 4, 7, 9, 12, 15, 18, 20, 23, 26, 29, 31, 34, 37]
        ]
    );
    for gap in [0, 2] {
        let folds = TimeSeriesSplit::new(4).unwrap().gap(gap).split(23).unwrap();
        for (fold, start) in folds.iter().zip([7, 11, 15, 19]) {
            assert_eq!(fold.train, (0..start - gap).collect::<Vec<_>>());
            assert_eq!(fold.test, (start..start + 4).collect::<Vec<_>>());
        }
        assert_eq!(folds.len(), 4);
    }
}

#[test]
fn wrong_settings_of_other_folds_are_errors() {
    let two = "number of folds is 1; allowed: at least 2";
    assert_eq!(message(KFold::new(1)), two);
    assert_eq!(message(GroupKFold::new(1)), two);
    assert_eq!(message(TimeSeriesSplit::new(1)), two);
    assert_eq!(
        message(KFold::new(4).unwrap().split(3)),
        "number of folds is 4; allowed: at most 3, the number of rows"
    );
    assert_eq!(
        message(GroupKFold::new(3).unwrap().split(&["a", "b", "a"])),
        "number of folds is 3; allowed: at most 2, the number of groups"
    );
    assert_eq!(
        message(TimeSeriesSplit::new(3).unwrap().split(3)),
        "number of folds is 3; allowed: at most 2, the number of rows less one"
    );
    assert_eq!(
        message(TimeSeriesSplit::new(2).unwrap().gap(3).split(7)),
        "the gap before the test is 3; allowed: less than 3, the rows before the first test"
    );
    assert_eq!(message(leave_one_out(1)), "number of rows is 1; allowed: at least 2");
    assert_eq!(
        message(repeated(0, 1, |_| leave_one_out(5))),
        "number of repetitions is 0; allowed: at least 1"
    );
    assert_eq!(
        message(HoldOut::new(5, 1).split(5)),
        "number of rows held out is 5; allowed: at least 1 and fewer than the 5 rows"
    );
}

#[test]
fn wrong_ranges_of_random_values_are_errors() {
    assert_eq!(
        message(log_uniform(0.0, 1.0, 5, 0)),
        "start of the range is 0; allowed: finite and greater than 0"
    );
    assert_eq!(message(uniform(f64::NAN, 1.0, 5, 0)), "start of the range is NaN; allowed: finite");
    assert_eq!(
        message(uniform(1.0, 1.0, 5, 0)),
        "end of the range is 1; allowed: finite and greater than its start, 1"
    );
    assert_eq!(
        message(uniform(0.0, 1.0, 0, 0)),
        "number of random values is 0; allowed: at least 1 and at most 1000000"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Every row is tested on once, and trained on in all other folds; sizes differ by one at most.
    #[test]
    fn k_folds_partition_the_rows(rows in 2..300_usize, k in 2..20_usize, seed in any::<Option<u64>>()) {
        prop_assume!(k <= rows);
        let splitter = KFold::new(k).unwrap();
        let splitter = seed.map_or(splitter, |seed| splitter.shuffled(seed));
        let folds = splitter.split(rows).unwrap();
        let mut tested: Vec<usize> = tests(&folds).concat();
        tested.sort_unstable();
        prop_assert_eq!(tested, (0..rows).collect::<Vec<_>>());
        for fold in &folds {
            prop_assert!((rows / k..=rows.div_ceil(k)).contains(&fold.test.len()));
            let mut all = [&fold.train[..], &fold.test].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..rows).collect::<Vec<_>>());
        }
        prop_assert_eq!(splitter.split(rows).unwrap(), folds);
    }

    /// No group is on both sides, and every row is tested on once.
    #[test]
    fn groups_stay_together(groups in prop::collection::vec(0..12_u8, 20..200), k in 2..4_usize) {
        let folds = GroupKFold::new(k).unwrap().split(&groups);
        prop_assume!(folds.is_ok());
        let folds = folds.unwrap();
        let mut tested: Vec<usize> = tests(&folds).concat();
        tested.sort_unstable();
        prop_assert_eq!(tested, (0..groups.len()).collect::<Vec<_>>());
        for fold in folds {
            let of = |rows: &[usize]| rows.iter().map(|&row| groups[row]).collect::<std::collections::BTreeSet<_>>();
            prop_assert!(of(&fold.train).is_disjoint(&of(&fold.test)));
            prop_assert_eq!(fold.train.len() + fold.test.len(), groups.len());
        }
    }

    #[test]
    fn tests_follow_their_training(rows in 3..300_usize, k in 2..20_usize, gap in 0..5_usize) {
        let folds = TimeSeriesSplit::new(k).unwrap().gap(gap).split(rows);
        prop_assume!(folds.is_ok());
        let folds = folds.unwrap();
        prop_assert_eq!(folds.last().unwrap().test.last(), Some(&(rows - 1)));
        for pair in folds.windows(2) {
            prop_assert_eq!(pair[0].test.last().unwrap() + 1, pair[1].test[0]);
        }
        for fold in folds {
            prop_assert_eq!(fold.train.last().unwrap() + 1 + gap, fold.test[0]);
        }
    }

    /// Within the range, the same for the same seed, others for another.
    #[test]
    fn random_values_stay_in_their_range(
        from in 1e-300..1e3_f64,
        ratio in 1.001..1e200_f64,
        seed in any::<u64>(),
    ) {
        let to = from * ratio;
        for draw in [uniform, log_uniform] {
            let values = draw(from, to, 50, seed).unwrap();
            prop_assert!(values.iter().all(|value| (from..=to).contains(value)));
            prop_assert_eq!(&values, &draw(from, to, 50, seed).unwrap());
            prop_assert_ne!(&values, &draw(from, to, 50, seed ^ 1).unwrap());
            // More values begin with the same.
            prop_assert_eq!(&values[..], &draw(from, to, 60, seed).unwrap()[..50]);
        }
    }

    #[test]
    fn products_hold_every_pair_in_order(first in prop::collection::vec(any::<u8>(), 0..9), second in prop::collection::vec(any::<i16>(), 0..9)) {
        let pairs = product(&first, &second).unwrap();
        prop_assert_eq!(pairs.len(), first.len() * second.len());
        for (i, &(a, b)) in pairs.iter().enumerate() {
            prop_assert_eq!((a, b), (first[i / second.len()], second[i % second.len()]));
        }
    }

    #[test]
    fn held_out_rows_are_as_many_as_asked(rows in 2..300_usize, seed in any::<u64>()) {
        let test_rows = rows / 3 + 1;
        let fold = HoldOut::new(test_rows, seed).split(rows).unwrap();
        prop_assert_eq!((fold.test.len(), fold.train.len()), (test_rows, rows - test_rows));
        prop_assert!(fold.test.iter().all(|row| !fold.train.contains(row)));
    }
}

/// What scikit-learn warns of, and only that.
#[test]
fn small_classes_are_warned_of() {
    let warning = |labels: &str| StratifiedKFold::new(3).unwrap().warning(labels.as_bytes());
    assert_eq!(warning("aaabbb"), None);
    assert_eq!(
        warning("aaaabb").as_deref(),
        Some("the smallest class has 2 rows, fewer than the 3 folds")
    );
    assert_eq!(warning(""), None);
}

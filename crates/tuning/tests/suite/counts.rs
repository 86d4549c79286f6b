//! Counts beyond all means: an error that says what is allowed, never a panic or the end of the memory.

use rootstep_tuning::{
    Error, Fold, GroupKFold, HoldOut, KFold, RangeTest, Search, StratifiedHoldOut, StratifiedKFold,
    TimeSeriesSplit, leave_one_out, linear_grid, log_uniform, logarithmic_grid, product, repeated,
    search, uniform,
};
use std::sync::Mutex;

const MAX: usize = usize::MAX;

fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

/// Of counts near the ends of what a number, an address and a memory hold.
fn huge() -> impl Iterator<Item = usize> {
    [MAX, MAX - 1, MAX / 2, MAX / 2 + 1, MAX / 8, MAX / 8 + 1, MAX / 16, 1 << 50, 1 << 40, 1 << 33]
        .into_iter()
}

/// As many labels as anyone could ask for: they take no memory.
fn labels(rows: usize) -> Vec<()> {
    vec![(); rows]
}

#[test]
fn folds_of_too_many_rows_are_errors() {
    let most = "allowed: at most 4294967296, for which 32 GiB are needed";
    let refused = |folds: usize, rows: usize, result: Result<Vec<Fold>, Error>| {
        let places = folds as u128 * rows as u128;
        let expected = format!("number of rows in all folds is {places}; {most}");
        assert_eq!(message(result), expected);
    };
    for rows in huge() {
        for folds in [2, 3, rows / 3, rows - 1] {
            refused(folds, rows, KFold::new(folds).unwrap().split(rows));
            refused(folds, rows, KFold::new(folds).unwrap().shuffled(1).split(rows));
            refused(folds, rows, TimeSeriesSplit::new(folds).unwrap().split(rows));
            refused(folds, rows, StratifiedKFold::new(folds).unwrap().split(&labels(rows)));
            refused(folds, rows, GroupKFold::new(folds).unwrap().split(&labels(rows)));
        }
        refused(rows, rows, leave_one_out(rows));
        let held_out = |result: Result<Fold, Error>| result.map(|fold| vec![fold]);
        refused(1, rows, held_out(HoldOut::new(1, 0).split(rows)));
        refused(1, rows, held_out(StratifiedHoldOut::new(rows - 1, 0).split(&labels(rows))));
        let times = rows as u64;
        let split = |_| KFold::new(5)?.split(10);
        let expected = format!("number of rows in all folds is {}; {most}", u128::from(times) * 50);
        assert_eq!(message(repeated(times, 7, split)), expected);
    }
    refused(65_537, 65_537, leave_one_out(65_537));
    // Nothing but what was wrong before.
    assert!(message(KFold::new(MAX).unwrap().split(3)).contains("at most 3, the number of rows"));
    assert!(message(HoldOut::new(MAX, 0).split(3)).contains("fewer than the 3 rows"));
    let gap = TimeSeriesSplit::new(2).unwrap().gap(MAX).split(9);
    assert!(message(gap).contains("less than 3, the rows before the first test"));
}

/// Splits without folds, again and again: no fold, and no end of the time.
#[test]
fn repetitions_without_folds_end() {
    assert_eq!(
        message(repeated(u64::MAX, 0, |_| Ok(Vec::new()))),
        "number of repetitions is 18446744073709551615; allowed: at most 1000000 of splits without rows"
    );
    assert_eq!(repeated(3, 0, |_| Ok(Vec::new())).unwrap(), []);
}

#[test]
fn too_many_values_are_errors() {
    for count in huge() {
        let allowed = |least| format!("is {count}; allowed: at least {least} and at most 1000000");
        for result in [linear_grid(0.0, 1.0, count), logarithmic_grid(0.1, 1.0, count)] {
            assert_eq!(message(result), format!("number of values in the grid {}", allowed(2)));
        }
        for result in [uniform(0.0, 1.0, count, 1), log_uniform(0.1, 1.0, count, 1)] {
            assert_eq!(message(result), format!("number of random values {}", allowed(1)));
        }
        assert!(message(RangeTest::new(0.1, 1.0, count)).ends_with(&allowed(2)));
    }
}

#[test]
fn products_of_too_many_values_are_errors() {
    for (first, second) in huge().flat_map(|count| [(count, 1), (1, count), (count, MAX)]) {
        let pairs = first as u128 * second as u128;
        assert_eq!(
            message(product(&labels(first), &labels(second))),
            format!("number of pairs is {pairs}; allowed: at most 100000000")
        );
    }
    assert_eq!(product(&labels(MAX), &[0_u8; 0]).unwrap(), []);
    assert_eq!(product(&labels(1000), &labels(1000)).unwrap().len(), 1_000_000);
}

#[test]
fn too_many_candidates_are_errors() {
    let folds = KFold::new(2).unwrap().split(4).unwrap();
    let score = |(): &(), _: &Fold| -> f64 { panic!("nothing is to be fitted") };
    let allowed = "allowed: at most 100000000";
    for count in huge() {
        let expected = format!("number of candidates is {count}; {allowed}");
        assert_eq!(message(search(labels(count), &folds, score)), expected);
        assert_eq!(message(search((0..count).map(|_| ()), &folds, score)), expected);
    }
    // Without an end, and with one that is not known.
    let more = format!("number of candidates is more than 100000000; {allowed}");
    let endless = std::iter::from_fn(|| Some(()));
    assert_eq!(message(search(endless, &folds, score)), more);
    let search = Search::new(&folds);
    let fit = |(): &(), _: &Fold, _: usize| Ok::<_, Error>(());
    let halved = search.halving(labels(MAX), (1, 2, 2), fit, |(), _| Ok(vec![0.0]));
    assert_eq!(message(halved), format!("number of candidates is {MAX}; {allowed}"));
    // Few enough, and still too many fits.
    let many = vec![folds[0].clone(); 100];
    assert_eq!(
        message(rootstep_tuning::search(labels(50_000_000), &many, score)),
        "number of fits is 5000000000; allowed: at most 4294967296"
    );
}

#[test]
fn a_refit_on_too_many_rows_is_an_error() {
    let folds = KFold::new(2).unwrap().split(4).unwrap();
    let results = search([1.0], &folds, |&score, _| score).unwrap();
    for rows in huge() {
        assert_eq!(
            message(results.refit(rows, |_, _| ())),
            format!(
                "number of rows in all folds is {rows}; allowed: at most 4294967296, for which 32 GiB are \
                 needed"
            )
        );
    }
}

/// No budget is above the last one, none is run twice, and each is the one before times the factor.
#[test]
fn budgets_end_where_numbers_do() {
    let folds = KFold::new(2).unwrap().split(4).unwrap();
    let search = Search::new(&folds);
    let budgets = |first: usize, last: usize, factor: usize| {
        let used = Mutex::new(Vec::new());
        let fit = |&candidate: &u32, _: &Fold, budget: usize| {
            used.lock().unwrap().push(budget);
            Ok::<_, String>(f64::from(candidate))
        };
        let rounds = search.halving(0..64, (first, last, factor), fit, |&model, _| Ok(vec![model]));
        let rounds: Vec<usize> = rounds.unwrap().into_iter().map(|(budget, _)| budget).collect();
        let mut used = used.into_inner().unwrap();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used, rounds);
        rounds
    };
    let half = MAX / 2 + 1;
    for (first, last, factor, expected) in [
        (MAX, MAX, 2, vec![MAX]),
        (MAX - 1, MAX, MAX, vec![MAX - 1]),
        (half, MAX, 2, vec![half]),
        (half / 2, MAX, 2, vec![half / 2, half]),
        (MAX / 3, MAX, 3, vec![MAX / 3, MAX]),
        (MAX / 3 + 1, MAX, 3, vec![MAX / 3 + 1]),
        (1, MAX, half, vec![1, half]),
        (3, MAX, MAX / 2, vec![3]),
        (1, 40, 3, vec![1, 3, 9, 27]),
    ] {
        assert_eq!(budgets(first, last, factor), expected, "from {first} to {last} by {factor}");
    }
}

//! What wrong uses of the library say: the exact messages, each with what is allowed instead.

use rootstep_tuning::{
    Error, Fold, GroupKFold, HoldOut, KFold, OnFailure, RangeTest, Search, SearchResults,
    StratifiedHoldOut, StratifiedKFold, TimeSeriesSplit, leave_one_out, linear_grid, log_uniform,
    logarithmic_grid, product, repeated, search, uniform,
};

/// A search of two candidates on two folds, by these metrics, with scores as many as `test` and `train`
/// say.
fn searched(metrics: &[&str], test: usize, train: usize) -> Result<SearchResults<i32>, Error> {
    let folds = KFold::new(2)?.split(6)?;
    let search = Search::new(&folds).metrics(metrics.iter().copied()).train_scores();
    let fit = |_: &i32, fold: &Fold| Ok::<_, String>(fold.test.clone());
    let score = |tested: &Vec<usize>, rows: &[usize]| {
        Ok(vec![0.5; if tested == rows { test } else { train }])
    };
    search.run([1, 2], fit, score)
}

/// A search that fails by this policy.
fn failing(policy: OnFailure) -> Result<SearchResults<i32>, Error> {
    let folds = KFold::new(2)?.split(6)?;
    let fit = |_: &i32, fold: &Fold| match fold.test[0] {
        0 => Ok(f64::NAN),
        _ => Err("the loss exploded"),
    };
    Search::new(&folds).on_failure(policy).run([7], fit, |&model, _| Ok(vec![model]))
}

fn halved(budgets: (usize, usize, usize)) -> Result<(), Error> {
    let folds = KFold::new(2)?.split(6)?;
    let fit = |&rate: &f64, _: &Fold, _: usize| Ok::<_, String>(rate);
    Search::new(&folds).halving([0.1], budgets, fit, |&model, _| Ok(vec![model])).map(drop)
}

fn panicking() -> Result<(), Error> {
    let folds = KFold::new(2)?.split(6)?;
    search([1, 0], &folds, |&parts, fold| (fold.test.len() / parts) as f64).map(drop)
}

fn table(names: &[&str]) -> Result<Vec<Vec<String>>, Error> {
    let parameters =
        |_: &i32| names.iter().map(|&name| (name.to_owned(), "1".to_owned())).collect();
    searched(&["score"], 1, 1)?.table(parameters)
}

fn assert_messages<const CASES: usize>(cases: [(Result<(), Error>, &str); CASES]) {
    for (result, expected) in cases {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}

#[test]
fn candidates() {
    assert_messages([
        (
            logarithmic_grid(0.0, 1.0, 5).map(drop),
            "start of the grid is 0; allowed: finite and greater than 0",
        ),
        (
            logarithmic_grid(1.0, 0.001, 5).map(drop),
            "end of the grid is 0.001; allowed: finite and greater than its start, 1",
        ),
        (
            logarithmic_grid(0.001, 1.0, 1).map(drop),
            "number of values in the grid is 1; allowed: at least 2 and at most 1000000",
        ),
        (linear_grid(f64::NAN, 1.0, 5).map(drop), "start of the grid is NaN; allowed: finite"),
        (
            linear_grid(1.0, 1.0_f64.next_up(), 3).map(drop),
            "number of values in the grid is 3; allowed: so few that values between 1 and \
             1.0000000000000002 differ",
        ),
        (
            uniform(0.9, 0.5, 20, 1).map(drop),
            "end of the range is 0.5; allowed: finite and greater than its start, 0.9",
        ),
        (
            uniform(0.5, 0.9, 2_000_000, 1).map(drop),
            "number of random values is 2000000; allowed: at least 1 and at most 1000000",
        ),
        (
            log_uniform(-1.0, 1.0, 20, 1).map(drop),
            "start of the range is -1; allowed: finite and greater than 0",
        ),
        (
            product(&vec![0_u8; 1 << 16], &vec![0_u8; 1 << 16]).map(drop),
            "number of pairs is 4294967296; allowed: at most 100000000",
        ),
    ]);
}

#[test]
fn folds() {
    assert_messages([
        (KFold::new(1).map(drop), "number of folds is 1; allowed: at least 2"),
        (
            KFold::new(10).and_then(|split| split.split(9)).map(drop),
            "number of folds is 10; allowed: at most 9, the number of rows",
        ),
        (
            KFold::new(5).and_then(|split| split.split(usize::MAX / 8)).map(drop),
            "number of rows in all folds is 11529215046068469755; allowed: at most 4294967296, for which 32 \
             GiB are needed",
        ),
        (
            StratifiedKFold::new(3).and_then(|split| split.split(&["a", "b", "a"])).map(drop),
            "number of folds is 3; allowed: at most 2, the size of the largest class of 3 rows",
        ),
        (
            GroupKFold::new(3).and_then(|split| split.split(&["a", "b", "a"])).map(drop),
            "number of folds is 3; allowed: at most 2, the number of groups",
        ),
        (
            TimeSeriesSplit::new(3).and_then(|split| split.gap(9).split(12)).map(drop),
            "the gap before the test is 9; allowed: less than 3, the rows before the first test",
        ),
        (leave_one_out(1).map(drop), "number of rows is 1; allowed: at least 2"),
        (
            repeated(0, 1, |_| leave_one_out(5)).map(drop),
            "number of repetitions is 0; allowed: at least 1",
        ),
        (
            HoldOut::new(150, 1).split(150).map(drop),
            "number of rows held out is 150; allowed: at least 1 and fewer than the 150 rows",
        ),
        (
            StratifiedHoldOut::new(0, 1).split(&[1, 2, 1]).map(drop),
            "number of rows held out is 0; allowed: at least 1 and fewer than the 3 rows",
        ),
    ]);
}

#[test]
fn searches() {
    let (none, nothing): ([f64; 0], [Fold; 0]) = ([], []);
    let pair = || KFold::new(2)?.split(4);
    assert_messages([
        (
            pair().and_then(|folds| search(none, &folds, |_, _| 0.0)).map(drop),
            "number of candidates is 0; allowed: at least 1",
        ),
        (search([1], &nothing, |_, _| 0.0).map(drop), "number of folds is 0; allowed: at least 1"),
        (searched(&[], 1, 1).map(drop), "number of metrics is 0; allowed: at least 1"),
        (
            searched(&["loss", "loss"], 2, 2).map(drop),
            "name of a metric is \"loss\" twice; allowed: each name once",
        ),
        (
            searched(&["a", "b"], 1, 2).map(drop),
            "number of scores is 1; allowed: 2, as many as metrics",
        ),
        (
            searched(&["a", "b"], 2, 3).map(drop),
            "number of scores is 3; allowed: 2, as many as metrics",
        ),
        (
            table(&["rate", "rate"]).map(drop),
            "name of a parameter is \"rate\" twice in candidate 0; allowed: each name once",
        ),
    ]);
}

#[test]
fn failures() {
    assert_messages([
        (failing(OnFailure::Error).map(drop), "candidate 0 failed on fold 0: score is NaN"),
        (
            failing(OnFailure::Keep).and_then(|results| results.best_or_error().map(drop)),
            "no candidate has a finite mean: of 2 fits 2 failed, first that of candidate 0 on fold 0: score \
             is NaN",
        ),
        (
            failing(OnFailure::Skip).and_then(|results| results.refit(6, |_, _| ())),
            "no candidate has a finite mean: of 2 fits 2 failed, first that of candidate 0 on fold 0: score \
             is NaN",
        ),
        (panicking(), "candidate 1 failed on fold 0: it panicked: attempt to divide by zero"),
    ]);
}

#[test]
fn halving_and_range_tests() {
    let rate = || RangeTest::new(1e-4, 1.0, 50);
    assert_messages([
        (halved((0, 100, 2)), "first budget is 0; allowed: at least 1"),
        (halved((50, 20, 2)), "last budget is 20; allowed: 50, the first budget, or more"),
        (halved((1, 100, 1)), "factor of the budgets is 1; allowed: at least 2"),
        (
            rate().and_then(|test| test.smoothing(1.0)).map(drop),
            "the smoothing of a range test is 1; allowed: 0 or more, below 1",
        ),
        (
            rate().and_then(|test| test.divergence(0.5)).map(drop),
            "the divergence of a range test is 0.5; allowed: a finite number above 1",
        ),
    ]);
}

//! A fit that fails takes no other with it.

use rootstep_tuning::{Error, Fold, OnFailure, Search};
use std::sync::Mutex;

fn numbered_folds(count: usize) -> Vec<Fold> {
    let fold = |test| Fold { train: vec![], test: vec![test] };
    (0..count).map(fold).collect()
}

/// A fit that fails in each way there is; all others are good.
fn fit(&candidate: &&'static str, fold: &Fold) -> Result<f64, String> {
    match (candidate, fold.test[0]) {
        ("refuses", 1) => Err("refused".to_owned()),
        ("panics", 1) => panic!("no luck"),
        ("nan", 1) => Ok(f64::NAN),
        ("infinite", 1) => Ok(f64::NEG_INFINITY),
        (candidate, fold) => Ok(candidate.len() as f64 + fold as f64),
    }
}

const CANDIDATES: [&str; 5] = ["refuses", "panics", "nan", "infinite", "good"];

/// Whatever fails: all scores of the others are there, and each failure is named.
#[test]
fn one_failure_throws_nothing_away() {
    let folds = numbered_folds(3);
    for policy in [OnFailure::Keep, OnFailure::Worst, OnFailure::Skip] {
        let search = Search::new(&folds).on_failure(policy).catch_panics();
        let results = search.run(CANDIDATES, fit, |&model, _| Ok(vec![model])).unwrap();
        assert_eq!(
            results.failures().collect::<Vec<_>>(),
            [
                (0, 1, "refused"),
                (1, 1, "it panicked: no luck"),
                (2, 1, "score is NaN"),
                (3, 1, "score is -inf"),
            ]
        );
        for row in results.rows() {
            let length = row.candidate.len() as f64;
            let scores = &row.metric().scores;
            assert_eq!((scores[0], scores[2]), (length, length + 2.0));
            let failed = match policy {
                OnFailure::Worst => 3.0, // that of "nan" on fold 0
                _ if row.candidate == "infinite" => f64::NEG_INFINITY,
                _ => f64::NAN,
            };
            let expected = if row.candidate == "good" { 5.0 } else { failed };
            assert!(scores[1] == expected || (scores[1].is_nan() && expected.is_nan()), "{row:?}");
            let mean = match policy {
                OnFailure::Skip => length + 1.0,
                _ => (length + length + 2.0 + expected) / 3.0,
            };
            let own = row.metric().mean;
            assert!(own == mean || (own.is_nan() && mean.is_nan()), "{policy:?} {row:?}");
        }
        let best = results.best_or_error().unwrap();
        let expected = if policy == OnFailure::Keep { "good" } else { "infinite" };
        assert_eq!(best.candidate, expected, "{policy:?}");
    }
}

/// A panic counts as the policy says, and ends the search with the same error as without.
#[test]
fn panics_by_policy() {
    let folds = numbered_folds(2);
    let score = |&model: &f64, _: &[usize]| Ok(vec![model]);
    let caught = Search::new(&folds).on_failure(OnFailure::Error).catch_panics();
    for search in [Search::new(&folds), caught] {
        let error = search.run(["good", "panics"], fit, score).unwrap_err().to_string();
        assert_eq!(error, "candidate 1 failed on fold 1: it panicked: no luck");
    }
    // In scoring, too, with as many scores as were asked for.
    let search = Search::new(&folds).metrics(["a", "b"]).train_scores().catch_panics();
    let score = |&model: &f64, _: &[usize]| {
        assert!(model < 5.0, "too good");
        Ok(vec![model; 2])
    };
    let results = search.run(["bad", "good"], fit, score).unwrap();
    let row = &results.rows()[1];
    assert_eq!(row.failures, [None, Some("it panicked: too good".to_owned())]);
    for metric in &row.metrics {
        assert_eq!((metric.scores[0], metric.train_scores[0]), (4.0, 4.0));
        assert!(metric.scores[1].is_nan() && metric.train_scores[1].is_nan());
    }
}

/// Panics when it is dropped, with another of its kind.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::panic_any(Bomb(self.0 - 1));
        }
    }
}

/// What is thrown may throw again when it is dropped: none of it leaves the search.
#[test]
fn what_panics_when_dropped_does_not_escape() {
    let folds = numbered_folds(2);
    for depth in 0..4 {
        let fit = |_: &i32, _: &Fold| -> Result<(), String> { std::panic::panic_any(Bomb(depth)) };
        let score = |(): &(), _: &[usize]| Ok(vec![0.0]);
        let error = Search::new(&folds).run([1, 2], fit, score).unwrap_err().to_string();
        assert_eq!(error, "candidate 0 failed on fold 0: it panicked: without a message");
        let results = Search::new(&folds).catch_panics().run([1, 2], fit, score).unwrap();
        assert_eq!(results.failures().count(), 4);
    }
}

/// Why there is no best candidate.
#[test]
fn no_best_is_explained() {
    let folds = numbered_folds(2);
    let message = |scores: &[[f64; 2]]| {
        let fit = |scores: &[f64; 2], fold: &Fold| Ok::<_, Error>(scores[fold.test[0]]);
        let results = Search::new(&folds).run(scores.to_vec(), fit, |&score, _| Ok(vec![score]));
        results.unwrap().best_or_error().unwrap_err().to_string()
    };
    assert_eq!(
        message(&[[0.5, f64::NAN], [f64::INFINITY, f64::NAN]]),
        "no candidate has a finite mean: of 4 fits 3 failed, first that of candidate 0 on fold 1: \
         score is NaN"
    );
    assert_eq!(
        message(&[[f64::MAX, f64::MAX]]),
        "no candidate has a finite mean: the scores are finite, but too large"
    );
}

/// Candidates that failed take no place in the next round, and what earlier rounds found is returned.
#[test]
fn failures_leave_the_rounds() {
    let folds = numbered_folds(2);
    let search = Search::new(&folds);
    let fitted = Mutex::new(Vec::new());
    let halve = |candidates: Vec<i32>, fails: &(dyn Fn(i32, usize) -> bool + Sync)| {
        let fit = |&candidate: &i32, _: &Fold, budget: usize| {
            fitted.lock().unwrap().push((candidate, budget));
            if fails(candidate, budget) { Err("diverged") } else { Ok(f64::from(candidate)) }
        };
        let rounds =
            search.halving(candidates, (1, 8, 2), fit, |&model, _| Ok(vec![model])).unwrap();
        let candidates = rounds.iter().map(|(budget, results)| {
            (*budget, results.rows().iter().map(|row| row.candidate).collect::<Vec<_>>())
        });
        (candidates.collect::<Vec<_>>(), rounds.last().unwrap().1.best().map(|row| row.candidate))
    };
    let all: Vec<i32> = (0..8).collect();
    // Six of eight fail at once: two go on where there would be room for four.
    assert_eq!(
        halve(all.clone(), &|candidate, _| candidate != 2 && candidate != 5),
        (vec![(1, all.clone()), (2, vec![2, 5]), (4, vec![5])], Some(5))
    );
    // None goes on: the round that was run is there, with its failures, and nothing more is tried.
    fitted.lock().unwrap().clear();
    assert_eq!(halve(all.clone(), &|_, _| true), (vec![(1, all.clone())], None));
    assert_eq!(fitted.lock().unwrap().len(), 16);
    // All fail in the second round: what the first found is not lost.
    assert_eq!(
        halve(all.clone(), &|_, budget| budget == 2),
        (vec![(1, all), (2, vec![4, 5, 6, 7])], None)
    );
}

/// The worst of a metric is that of its own side and of finite scores: of the test for the test, of the
/// training for the training.
#[test]
fn the_worst_is_that_of_its_side() {
    let folds = [Fold { train: vec![9], test: vec![0] }, Fold { train: vec![9], test: vec![1] }];
    let search =
        Search::new(&folds).metrics(["a", "b"]).train_scores().on_failure(OnFailure::Worst);
    let infinity = f64::INFINITY;
    let fit = |&candidate: &i32, fold: &Fold| match (candidate, fold.test[0]) {
        (0, 1) => Err("diverged"),
        fitted => Ok(fitted),
    };
    let score = |&(candidate, fold): &(i32, usize), rows: &[usize]| {
        let side = if rows == [9] { 100.0 } else { 0.0 };
        Ok(match (candidate, fold) {
            (1, 1) => vec![infinity, f64::NAN],
            (2, 0) => vec![-infinity, -infinity],
            _ => vec![side + f64::from(candidate), -side - f64::from(candidate)],
        })
    };
    let results = search.run([0, 1, 2], fit, score).unwrap();
    let scores: Vec<_> = results.rows().iter().map(|row| row.metrics.clone()).collect();
    // Of a the worst is that of candidate 0, of b that of candidate 2.
    for (metric, expected) in [
        (
            0,
            [
                ([0.0, 0.0], [100.0, 100.0]),
                ([1.0, 0.0], [101.0, 100.0]),
                ([0.0, 2.0], [100.0, 102.0]),
            ],
        ),
        (
            1,
            [
                ([0.0, -2.0], [-100.0, -102.0]),
                ([-1.0, -2.0], [-101.0, -102.0]),
                ([-2.0, -2.0], [-102.0, -102.0]),
            ],
        ),
    ] {
        for (metrics, (test, train)) in scores.iter().zip(expected) {
            assert_eq!(
                (&metrics[metric].scores[..], &metrics[metric].train_scores[..]),
                (&test[..], &train[..])
            );
        }
    }
}

//! Ranks: what is equal in exact arithmetic ties, what differs does not, and the best follows from them.

use crate::random_bits::random_bits;
use rootstep_tuning::{Fold, OnFailure, Search, SearchResults, search};

/// Folds whose first test row is their number, so that a score function can look values up.
fn numbered_folds(count: usize) -> Vec<Fold> {
    let fold = |test| Fold { train: vec![], test: vec![test] };
    (0..count).map(fold).collect()
}

/// The results of candidates with these scores on each fold.
fn results(scores: Vec<Vec<f64>>) -> SearchResults<Vec<f64>> {
    let folds = numbered_folds(scores[0].len());
    search(scores, &folds, |scores, fold| scores[fold.test[0]]).unwrap()
}

fn ranks(scores: Vec<Vec<f64>>) -> Vec<usize> {
    results(scores).rows().iter().map(|row| row.metric().rank).collect()
}

/// `total` right answers, spread at random over folds of `rows` rows.
fn spread(total: u64, folds: usize, rows: u64, bits: &mut impl FnMut() -> u64) -> Vec<u64> {
    let count = folds as u64;
    let mut right: Vec<u64> = (0..count).map(|fold| (total + fold) / count).collect();
    for _ in 0..4 * folds {
        let mut fold = || usize::try_from(bits() % count).unwrap();
        let (from, to) = (fold(), fold());
        let most = right[from].min(rows - right[to]);
        let moved = if most == 0 { 0 } else { bits() % (most + 1) };
        right[from] -= moved;
        right[to] += moved;
    }
    right
}

/// A score of so many right answers in so many rows.
type Formula = fn(u64, u64) -> f64;

/// However the right answers are spread over the folds, and by whichever formula they are scored: the
/// same number ties, and one answer more is better.
#[test]
fn the_same_number_of_right_answers_ties() {
    let formulas: [(&str, Formula); 5] = [
        ("accuracy", |right, rows| right as f64 / rows as f64),
        ("percent", |right, rows| 100.0 * right as f64 / rows as f64),
        ("percent of a share", |right, rows| right as f64 / rows as f64 * 100.0),
        ("error", |right, rows| -((rows - right) as f64 / rows as f64)),
        ("error by the accuracy", |right, rows| right as f64 / rows as f64 - 1.0),
    ];
    let mut bits = random_bits(8);
    for (folds, rows) in [(2, 3), (3, 7), (5, 24), (8, 5120), (10, 1013), (64, 97), (5, 10_000_019)]
    {
        for (name, formula) in formulas {
            // A share of a million of rows is not known to the last answer where it is near 1.
            if name == "error by the accuracy" && rows > 5120 {
                continue;
            }
            for _ in 0..60 {
                let total = 1 + bits() % (folds as u64 * rows - 1);
                let mut scores = |total| -> Vec<f64> {
                    let right = spread(total, folds, rows, &mut bits);
                    assert_eq!(right.iter().sum::<u64>(), total);
                    right.into_iter().map(|right| formula(right, rows)).collect()
                };
                let candidates = [total - 1, total, total, total + 1, total, total + 1]
                    .map(&mut scores)
                    .to_vec();
                let ranks = ranks(candidates);
                assert_eq!(ranks, [6, 3, 3, 1, 3, 1], "{total} right of {folds} · {rows}, {name}");
            }
        }
    }
}

/// Means near 0 of scores of both signs: what the sums lose is measured by the scores.
#[test]
fn means_near_zero_tie() {
    let tenths = |tenths: [i32; 4]| tenths.map(|tenths| f64::from(tenths) / 10.0).to_vec();
    let sums_to_zero = [tenths([1, 2, -3, 0]), tenths([7, -3, -4, 0]), tenths([0, 0, 0, 0])];
    let better = tenths([1, 2, -2, 0]);
    let all = [&sums_to_zero[..], &[better]].concat();
    let means: Vec<f64> = results(all.clone()).rows().iter().map(|row| row.metric().mean).collect();
    assert!(means[0] != means[2] || means[1] != means[2], "this must be a case of rounding");
    assert_eq!(ranks(all), [2, 2, 2, 1]);
}

/// Nine digits are not enough to tie, nor is a candidate that is far away.
#[test]
fn what_differs_does_not_tie() {
    for scale in [1.0, -1.0, 1e-300, 1e300] {
        let mut means: Vec<f64> = (0..50).map(|i| scale * (1.0 + 1e-10 * f64::from(i))).collect();
        means.sort_by(|a, b| b.total_cmp(a));
        let expected: Vec<usize> = (1..=50).collect();
        assert_eq!(ranks(means.iter().map(|&mean| vec![mean; 3]).collect()), expected);
    }
    let far_away = [vec![0.5, 0.5], vec![-1e200, -1e200], vec![0.500_000_000_1, 0.5]];
    assert_eq!(ranks(far_away.to_vec()), [2, 3, 1]);
    assert_eq!(ranks(vec![vec![1e300], vec![0.0], vec![-0.0], vec![1e-300]]), [1, 3, 3, 2]);
}

/// Ties are transitive: the ends of a chain share a rank, though they alone would not. The order of the
/// candidates does not matter.
#[test]
fn chains_tie() {
    let step = |i: i32| vec![1.0 + 1e-12 * f64::from(i); 2];
    assert_eq!(ranks(vec![step(0), step(5)]), [2, 1]);
    assert_eq!(ranks((0..6).map(step).collect()), [1; 6]);
    assert_eq!(ranks([0, 5, 2, 20, 4, 1, 3].map(step).to_vec()), [2, 2, 2, 1, 2, 2, 2]);
}

/// A mean that is known badly ties with all within its reach, and so these with each other.
#[test]
fn badly_known_means_join_others() {
    let narrow = |i: i32| vec![0.5 + 1e-7 * f64::from(i); 2];
    assert_eq!(ranks([0, 1, -1, 30].map(narrow).to_vec()), [3, 2, 4, 1]);
    // Known to 1e-6 only: their magnitudes are a million.
    let wide = vec![1e6 + 0.5, -1e6 + 0.5];
    assert_eq!(ranks(vec![narrow(0), narrow(1), wide, narrow(-1), narrow(30)]), [2, 2, 2, 2, 1]);
    // The sum of the magnitudes would be infinite, and then all would tie.
    let large = f64::MAX;
    let opposite = vec![large, -large, large, -large];
    assert_eq!(ranks(vec![opposite, vec![1e300; 4], vec![0.0; 4]]), [2, 1, 2]);
}

/// The rank is one more than the number of better candidates, by whatever policy; and the best is the
/// first of rank 1.
#[test]
fn the_best_and_the_rounds_follow_the_ranks() {
    // 23 of 24 on average, by different roundings.
    let right =
        [[22, 24, 22, 24, 23], [24, 24, 24, 22, 21], [23; 5], [22; 5], [24, 24, 22, 22, 23]];
    let folds = numbered_folds(5);
    let fit = |right: &[i32; 5], fold: &Fold, _: usize| Ok::<_, String>(right[fold.test[0]]);
    let score = |&right: &i32, _: &[usize]| Ok(vec![f64::from(right) / 24.0]);
    for policy in [OnFailure::Keep, OnFailure::Worst, OnFailure::Skip, OnFailure::Error] {
        let search = Search::new(&folds).on_failure(policy);
        for rotation in 0..right.len() {
            let mut candidates = right;
            candidates.rotate_left(rotation);
            let rounds = search.halving(candidates, (1, 3, 3), fit, score).unwrap();
            let [(1, first), (3, second)] = &rounds[..] else { panic!("two rounds") };
            let ranks: Vec<usize> = first.rows().iter().map(|row| row.metric().rank).collect();
            let expected = candidates.map(|right| if right == [22; 5] { 5 } else { 1 });
            assert_eq!(ranks, expected);
            let tied: Vec<_> = candidates.into_iter().filter(|&right| right != [22; 5]).collect();
            assert_eq!(first.best().unwrap().candidate, tied[0]);
            let staying: Vec<_> = second.rows().iter().map(|row| row.candidate).collect();
            assert_eq!(staying, tied[..2], "of those that tie the first");
        }
    }
}

//! The cross-validated search.

use super::Fold;
use crate::Error;
#[cfg(feature = "rayon")]
use rayon::prelude::*;

/// What [`search`] found: a row for each candidate, in the order of the candidates.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchResults<C> {
    rows: Vec<Row<C>>,
}

/// A candidate and how it scored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Row<C> {
    /// The candidate.
    pub candidate: C,
    /// Its score on each fold.
    pub scores: Vec<f64>,
    /// The arithmetic mean of the scores.
    pub mean: f64,
    /// Their standard deviation, `sqrt(sum((score - mean)^2) / folds)`: that of the population, as
    /// in scikit-learn's `std_test_score`.
    pub standard_deviation: f64,
    /// 1 + the number of candidates with a greater mean: candidates that tie share a rank, as in
    /// scikit-learn's `rank_test_score`. Unlike there, means equal to 12 significant digits tie. A
    /// mean that is NaN ranks behind all numbers.
    pub rank: usize,
}

/// Scores every candidate on every fold, and ranks the candidates by their mean score.
///
/// `score` fits a candidate on the rows `fold.train` and returns how good the fit is on the rows
/// `fold.test`; greater is better. With the feature `rayon` it runs on the threads of the current
/// pool. The result depends on what `score` returns alone, not on the threads or their order.
///
/// Source: M. Stone, *Cross-Validatory Choice and Assessment of Statistical Predictions* (Journal of
/// the Royal Statistical Society B 36, 1974); the columns are those of scikit-learn's `GridSearchCV`.
///
/// # Errors
///
/// [`Error::InvalidSetting`] if there are no candidates or no folds.
///
/// # Panics
///
/// If `score` does.
///
/// ```
/// use rootstep::learning_rate::{Fold, search};
///
/// let folds = [Fold { train: vec![0, 1], test: vec![2] }, Fold { train: vec![1, 2], test: vec![0] }];
/// let results = search(["worse", "better"], &folds, |candidate, fold| {
///     candidate.len() as f64 - fold.test[0] as f64
/// })?;
/// let best = results.best().expect("no score is NaN");
/// assert_eq!(best.candidate, "better");
/// assert_eq!(best.scores, [4.0, 6.0]);
/// assert_eq!((best.mean, best.standard_deviation, best.rank), (5.0, 1.0, 1));
/// # Ok::<(), rootstep::Error>(())
/// ```
pub fn search<C, F>(
    candidates: impl IntoIterator<Item = C>,
    folds: &[Fold],
    score: F,
) -> Result<SearchResults<C>, Error>
where
    C: Sync,
    F: Fn(&C, &Fold) -> f64 + Sync,
{
    let candidates: Vec<C> = candidates.into_iter().collect();
    at_least_one("number of candidates", candidates.len())?;
    at_least_one("number of folds", folds.len())?;

    // Each fit by itself is a task: the slow fits of one candidate are spread over the threads.
    let fits = 0..candidates.len() * folds.len();
    #[cfg(feature = "rayon")]
    let fits = fits.into_par_iter();
    let scores: Vec<f64> =
        fits.map(|fit| score(&candidates[fit / folds.len()], &folds[fit % folds.len()])).collect();

    let scores = scores.chunks(folds.len()).map(<[f64]>::to_vec);
    let mut rows: Vec<Row<C>> = candidates
        .into_iter()
        .zip(scores)
        .map(|(candidate, scores)| Row::new(candidate, scores))
        .collect();
    rank(&mut rows);
    Ok(SearchResults { rows })
}

impl<C> SearchResults<C> {
    /// A row for each candidate, in the order of the candidates.
    #[must_use]
    pub fn rows(&self) -> &[Row<C>] {
        &self.rows
    }

    /// The first of the rows of rank 1; `None` if the mean of every candidate is NaN.
    #[must_use]
    pub fn best(&self) -> Option<&Row<C>> {
        self.rows.iter().find(|row| row.rank == 1 && !row.mean.is_nan())
    }
}

impl<C> Row<C> {
    fn new(candidate: C, scores: Vec<f64>) -> Self {
        let mean_of =
            |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / scores.len() as f64;
        let mean = mean_of(&mut scores.iter().copied());
        let variance = mean_of(&mut scores.iter().map(|score| (score - mean) * (score - mean)));
        Self { candidate, mean, standard_deviation: variance.sqrt(), rank: 0, scores }
    }
}

/// Gives each row its rank.
fn rank<C>(rows: &mut [Row<C>]) {
    let means: Vec<f64> = rows.iter().map(|row| rounded(row.mean)).collect();
    for (row, own) in rows.iter_mut().zip(&means) {
        let is_better = |&&mean: &&f64| mean > *own || (own.is_nan() && !mean.is_nan());
        row.rank = 1 + means.iter().filter(is_better).count();
    }
}

/// To 12 significant digits. Accuracies of the same number of right answers, spread differently over
/// the folds, have means that differ by the rounding of their sums: that must not decide a tie.
fn rounded(mean: f64) -> f64 {
    format!("{mean:.11e}").parse().unwrap_or(mean)
}

fn at_least_one(setting: &'static str, given: usize) -> Result<(), Error> {
    if given == 0 {
        return Err(Error::invalid(setting, given, "at least 1"));
    }
    Ok(())
}

//! What a search found: its rows, the best of them, and the table.

use crate::Error;
use crate::folds::Fold;
use crate::setting::room_for_rows;
use std::collections::HashMap;

/// What a search found: a row for each candidate, in the order of the candidates.
///
/// With the feature `serde` it can be serialised, say as JSON, where NaN becomes `null`; with the feature
/// `csv` it has the method `write_csv`.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SearchResults<C> {
    pub(crate) metrics: Vec<String>,
    pub(crate) rows: Vec<Row<C>>,
}

/// A candidate and how it scored.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Row<C> {
    /// The candidate.
    pub candidate: C,
    /// Its scores by each metric.
    pub metrics: Vec<Metric>,
    /// Seconds that each fit took.
    pub fit_seconds: Vec<f64>,
    /// Seconds that scoring each fit took.
    pub score_seconds: Vec<f64>,
    /// For each fold why it failed, if it did.
    pub failures: Vec<Option<String>>,
}

/// The scores of a candidate by one metric.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Metric {
    /// Its score on each fold.
    pub scores: Vec<f64>,
    /// The arithmetic mean of the scores.
    pub mean: f64,
    /// Their standard deviation, `sqrt(sum((score - mean)^2) / folds)`: that of the population, as
    /// in scikit-learn's `std_test_score`.
    pub standard_deviation: f64,
    /// 1 + the number of candidates that are better: candidates that tie share a rank, as in
    /// scikit-learn's `rank_test_score`. A mean that is NaN or infinite ranks behind all others.
    ///
    /// Unlike there, rounding breaks no tie. A mean is taken as known to within `(4096 + n) epsilon m`,
    /// with `n` the number of the scores, `m` the mean of their magnitudes and [epsilon](f64::EPSILON),
    /// which is some 12 digits, and means tie that may be equal as far as they are known. So candidates
    /// that have as many right answers tie, however these are spread over the folds, and one right
    /// answer in a hundred thousand million decides. Ties are transitive: all candidates of a chain in
    /// which each ties with the next share a rank.
    pub rank: usize,
    /// Its score on the rows that each fold was trained on; empty unless
    /// [asked for](crate::Search::train_scores).
    pub train_scores: Vec<f64>,
    /// Their mean; NaN if there are none.
    pub train_mean: f64,
    /// Their standard deviation; NaN if there are none.
    pub train_standard_deviation: f64,
}

impl<C> SearchResults<C> {
    /// A row for each candidate, in the order of the candidates.
    #[must_use]
    pub fn rows(&self) -> &[Row<C>] {
        &self.rows
    }

    /// The names of the metrics.
    #[must_use]
    pub fn metrics(&self) -> &[String] {
        &self.metrics
    }

    /// The first of the rows of rank 1 by the first metric, one without failures if there is any; `None`
    /// if no candidate has a finite mean.
    #[must_use]
    pub fn best(&self) -> Option<&Row<C>> {
        let best = self.rows.iter().min_by_key(|row| row.order());
        best.filter(|row| row.metric().mean.is_finite())
    }

    /// Fits the [best](Self::best) candidate on all of `rows` rows; `fit` may be the function that the
    /// search was run with: its fold trains on all rows and tests on none.
    ///
    /// # Errors
    ///
    /// [`Error::NoBest`] if no candidate is best; [`Error::InvalidSetting`] if there is no memory for the
    /// numbers of so many rows.
    ///
    /// ```
    /// use rootstep_tuning::{Fold, KFold, search};
    ///
    /// let fit = |rate: &f64, fold: &Fold| rate * fold.train.len() as f64;
    /// let results = search([0.1, 0.5], &KFold::new(5)?.split(10)?, fit)?;
    /// assert_eq!(results.refit(10, fit)?, 0.5 * 10.0);
    /// # Ok::<(), rootstep_tuning::Error>(())
    /// ```
    pub fn refit<M>(&self, rows: usize, fit: impl FnOnce(&C, &Fold) -> M) -> Result<M, Error> {
        let best = self.best_or_error()?;
        room_for_rows(1, rows)?;
        let all = Fold { train: (0..rows).collect(), test: Vec::new() };
        Ok(fit(&best.candidate, &all))
    }

    /// The [best](Self::best) row, or an error that says why there is none.
    ///
    /// # Errors
    ///
    /// [`Error::NoBest`] if no candidate has a finite mean.
    ///
    /// ```
    /// use rootstep_tuning::{KFold, Search};
    ///
    /// let folds = KFold::new(2)?.split(4)?;
    /// let diverges = |_: &f64, _: &_| Err::<f64, _>("diverged");
    /// let results = Search::new(&folds).run([0.1, 0.2], diverges, |model, _| Ok(vec![*model]))?;
    /// assert_eq!(
    ///     results.best_or_error().unwrap_err().to_string(),
    ///     "no candidate has a finite mean: of 4 fits 4 failed, first that of candidate 0 on fold 0: diverged"
    /// );
    /// # Ok::<(), rootstep_tuning::Error>(())
    /// ```
    pub fn best_or_error(&self) -> Result<&Row<C>, Error> {
        self.best().ok_or_else(|| Error::NoBest {
            fits: self.rows.iter().map(|row| row.failures.len()).sum(),
            failed: self.failures().count(),
            first: self
                .failures()
                .next()
                .map(|(candidate, fold, problem)| (candidate, fold, problem.to_owned())),
        })
    }

    /// All fits that failed: the places of the candidate and of the fold, and what went wrong.
    pub fn failures(&self) -> impl Iterator<Item = (usize, usize, &str)> {
        self.rows.iter().enumerate().flat_map(|(candidate, row)| {
            let of_folds = row.failures.iter().enumerate();
            of_folds.filter_map(move |(fold, failure)| Some((candidate, fold, failure.as_deref()?)))
        })
    }

    /// The candidates of the `count` best rows by the first metric, in their order; fewer if fewer have
    /// a finite mean.
    pub(crate) fn best_rows(&self, count: usize) -> Vec<C>
    where
        C: Clone,
    {
        let is_finite = |&row: &usize| self.rows[row].metric().mean.is_finite();
        let mut order: Vec<usize> = (0..self.rows.len()).filter(is_finite).collect();
        order.sort_by_key(|&row| self.rows[row].order());
        order.truncate(count);
        order.sort_unstable();
        order.into_iter().map(|row| self.rows[row].candidate.clone()).collect()
    }

    /// The table as text, a header and a row for each candidate, with the columns of scikit-learn's
    /// `cv_results_` and `failures`. `parameters` gives the names and the values of a candidate. Floats are
    /// written so that they read back as they are.
    ///
    /// Candidates may have parameters of different names: each name has a column, in the order in which
    /// the names are met, and a candidate without it an empty cell there.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if a candidate has two parameters of one name.
    ///
    /// ```
    /// use rootstep_tuning::{KFold, search};
    ///
    /// let results = search([0.1, 0.2], &KFold::new(2)?.split(4)?, |&rate, _| rate)?;
    /// let table = results.table(|rate| vec![("rate".to_owned(), rate.to_string())])?;
    /// assert_eq!(table[0][4..8], ["param_rate", "params", "split0_test_score", "split1_test_score"]);
    /// assert_eq!(table[2][4..8], ["0.2", "rate=0.2", "0.2", "0.2"]);
    /// # Ok::<(), rootstep_tuning::Error>(())
    /// ```
    pub fn table(
        &self,
        parameters: impl Fn(&C) -> Vec<(String, String)>,
    ) -> Result<Vec<Vec<String>>, Error> {
        let parameters: Vec<_> = self.rows.iter().map(|row| parameters(&row.candidate)).collect();
        let names = names(&parameters)?;
        let rows: Vec<Vec<(String, String)>> = (self.rows.iter().zip(&parameters))
            .map(|(row, parameters)| self.columns(row, &names, parameters))
            .collect();
        let header = rows.first().map(|row| row.iter().map(|(name, _)| name.clone()).collect());
        let cells = rows.into_iter().map(|row| row.into_iter().map(|(_, cell)| cell).collect());
        Ok(header.into_iter().chain(cells).collect())
    }

    /// Writes the [table](Self::table) as CSV.
    ///
    /// # Errors
    ///
    /// Those of `writer`; and that of [`table`](Self::table), as [`InvalidInput`](std::io::ErrorKind),
    /// before anything is written.
    ///
    /// ```
    /// use rootstep_tuning::{KFold, search};
    ///
    /// let results = search([0.1, 0.2], &KFold::new(2)?.split(4)?, |&rate, _| rate)?;
    /// let mut file = Vec::new();
    /// results.write_csv(&mut file, |rate| vec![("rate".to_owned(), rate.to_string())])?;
    /// assert!(file.starts_with(b"mean_fit_time,std_fit_time,"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "csv")]
    pub fn write_csv(
        &self,
        writer: impl std::io::Write,
        parameters: impl Fn(&C) -> Vec<(String, String)>,
    ) -> std::io::Result<()> {
        let table = self.table(parameters);
        let table =
            table.map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        let mut writer = csv::Writer::from_writer(writer);
        for row in table {
            writer.write_record(row)?;
        }
        writer.flush()
    }

    /// The names and the cells of a row, whose parameters are some of those with these names.
    ///
    /// No two columns have one name: those of the parameters have a prefix of their own, and the metrics
    /// differ.
    fn columns(
        &self,
        row: &Row<C>,
        names: &[&str],
        parameters: &[(String, String)],
    ) -> Vec<(String, String)> {
        let mut columns = Vec::new();
        let mut add = |name: String, value: f64| columns.push((name, value.to_string()));
        for (name, seconds) in [("fit", &row.fit_seconds), ("score", &row.score_seconds)] {
            let (mean, deviation) = moments(seconds);
            add(format!("mean_{name}_time"), mean);
            add(format!("std_{name}_time"), deviation);
        }
        let settings = parameters.iter().map(|(name, text)| format!("{name}={text}"));
        let settings = settings.collect::<Vec<_>>().join(", ");
        columns.extend(names.iter().map(|&name| {
            let text = parameters.iter().find(|(own, _)| own == name).map(|(_, text)| text.clone());
            (format!("param_{name}"), text.unwrap_or_default())
        }));
        columns.push(("params".to_owned(), settings));
        for (name, metric) in self.metrics.iter().zip(&row.metrics) {
            let sides = [
                ("test", &metric.scores, metric.mean, metric.standard_deviation),
                ("train", &metric.train_scores, metric.train_mean, metric.train_standard_deviation),
            ];
            for (side, scores, mean, deviation) in sides {
                if scores.is_empty() {
                    continue;
                }
                let mut add = |name: String, value: f64| columns.push((name, value.to_string()));
                for (fold, &score) in scores.iter().enumerate() {
                    add(format!("split{fold}_{side}_{name}"), score);
                }
                add(format!("mean_{side}_{name}"), mean);
                add(format!("std_{side}_{name}"), deviation);
                if side == "test" {
                    columns.push((format!("rank_test_{name}"), metric.rank.to_string()));
                }
            }
        }
        let failures = row.failures.iter().enumerate().filter_map(|(fold, failure)| {
            failure.as_ref().map(|failure| format!("fold {fold}: {failure}"))
        });
        columns.push(("failures".to_owned(), failures.collect::<Vec<_>>().join("; ")));
        columns
    }
}

impl<C> Row<C> {
    /// What the better of two rows has less of.
    fn order(&self) -> (usize, bool) {
        (self.metric().rank, self.failures.iter().any(Option::is_some))
    }

    /// The scores by the first metric.
    ///
    /// # Panics
    ///
    /// Never: a search has at least one metric.
    #[must_use]
    pub fn metric(&self) -> &Metric {
        &self.metrics[0]
    }
}

/// The names of all parameters, in the order in which they are met.
fn names(parameters: &[Vec<(String, String)>]) -> Result<Vec<&str>, Error> {
    let mut names = Vec::new();
    // Which candidate had a name last.
    let mut last = HashMap::new();
    for (candidate, parameters) in parameters.iter().enumerate() {
        for (name, _) in parameters {
            match last.insert(name.as_str(), candidate) {
                None => names.push(name.as_str()),
                Some(before) if before == candidate => {
                    let given = format!("{name:?} twice in candidate {candidate}");
                    return Err(Error::invalid("name of a parameter", given, "each name once"));
                }
                Some(_) => {}
            }
        }
    }
    Ok(names)
}

/// The mean and the standard deviation of the population; NaN if it is empty.
pub(crate) fn moments(values: &[f64]) -> (f64, f64) {
    let mean_of =
        |values: &mut dyn Iterator<Item = f64>, count: usize| values.sum::<f64>() / count as f64;
    let mean = mean_of(&mut values.iter().copied(), values.len());
    let squares = &mut values.iter().map(|value| (value - mean) * (value - mean));
    (mean, mean_of(squares, values.len()).sqrt())
}

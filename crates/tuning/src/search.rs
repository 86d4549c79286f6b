//! The cross-validated search.

use crate::Error;
use crate::fit::Fit;
use crate::folds::Fold;
#[cfg(feature = "journal")]
use crate::journal::{Header, Journal};
use crate::rank::{Band, ranks};
use crate::results::{Metric, Row, SearchResults, moments};
use crate::setting::{MOST_CANDIDATES, at_least, room_for_fits, too_many};
#[cfg(feature = "rayon")]
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(feature = "journal")]
use std::path::Path;
#[cfg(feature = "rayon")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Scores every candidate on every fold, and ranks the candidates by their mean score: a [`Search`] of
/// one metric, whose scores are taken as they are.
///
/// `score` fits a candidate on the rows `fold.train` and returns how good the fit is on the rows
/// `fold.test`; greater is better. With the feature `rayon` it runs on the threads of the current
/// pool. The result depends on what `score` returns alone, not on the threads or their order (but for the
/// seconds that were taken).
///
/// # Errors
///
/// [`Error::InvalidSetting`] if there are no candidates or no folds; [`Error::FailedFit`] if `score`
/// panics.
///
/// ```
/// use rootstep_tuning::{Fold, search};
///
/// let folds = [Fold { train: vec![0, 1], test: vec![2] }, Fold { train: vec![1, 2], test: vec![0] }];
/// let results = search(["worse", "better"], &folds, |candidate, fold| {
///     candidate.len() as f64 - fold.test[0] as f64
/// })?;
/// let best = results.best().expect("no score is NaN");
/// assert_eq!(best.candidate, "better");
/// assert_eq!(best.metric().scores, [4.0, 6.0]);
/// assert_eq!((best.metric().mean, best.metric().standard_deviation), (5.0, 1.0));
/// # Ok::<(), rootstep_tuning::Error>(())
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
    let fit = |candidate: &C, fold: &Fold| Ok::<f64, Infallible>(score(candidate, fold));
    Search::new(folds).run(candidates, fit, |&score, _| Ok(vec![score]))
}

/// A search: candidates × folds × your functions.
///
/// Source: M. Stone, *Cross-Validatory Choice and Assessment of Statistical Predictions* (Journal of
/// the Royal Statistical Society B 36, 1974); the columns are those of scikit-learn's `GridSearchCV`.
///
/// ```
/// use rootstep_tuning::{KFold, OnFailure, Search, logarithmic_grid};
///
/// let folds = KFold::new(3)?.split(30)?;
/// let results = Search::new(&folds)
///     .metrics(["accuracy", "loss"])
///     .train_scores()
///     .on_failure(OnFailure::Worst)
///     .run(
///         logarithmic_grid(0.01, 1.0, 3)?,
///         // Stands for a model fitted with this rate on the rows `fold.train`.
///         |&rate, fold| if rate < 1.0 { Ok(rate * fold.train.len() as f64) } else { Err("diverged") },
///         |model, rows| Ok(vec![*model, -1.0 / model - rows.len() as f64]),
///     )?;
/// assert_eq!(results.best().expect("not all have failed").candidate, 0.1);
/// assert_eq!(results.rows()[2].failures[0].as_deref(), Some("diverged"));
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Search<'a> {
    folds: &'a [Fold],
    metrics: Vec<String>,
    train_scores: bool,
    on_failure: OnFailure,
    catch_panics: bool,
    progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    #[cfg(feature = "journal")]
    context: String,
}

/// What becomes of a fold on which a candidate could not be fitted or scored, or has a score that is NaN
/// or infinite. A panic of `fit` or `score` ends the search with an error, unless
/// [caught](Search::catch_panics); one of your other functions is passed on.
///
/// [`SearchResults::failures`] names all fits that failed, and what went wrong.
///
/// By any of them a candidate whose mean is not finite ranks last and is never the best, and of
/// candidates that tie the first one without failures is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnFailure {
    /// Its score is NaN, or what it is; a mean of NaN ranks last. As in scikit-learn.
    #[default]
    Keep,
    /// It counts as the worst of the finite scores that any candidate has on any fold. A candidate that has failed on
    /// every fold has a mean of NaN.
    Worst,
    /// It is left out of the mean.
    Skip,
    /// The search ends with an error: of several the one of the first candidate, on its first fold.
    Error,
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Fits that are done, those that a journal had included: they are not reported one by one.
    pub done: usize,
    /// All fits: candidates times folds.
    pub total: usize,
}

impl fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("folds", &self.folds.len())
            .field("metrics", &self.metrics)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}

impl<'a> Search<'a> {
    /// A search on these folds, by one metric called `score`.
    pub fn new(folds: &'a [Fold]) -> Self {
        Self {
            folds,
            metrics: vec!["score".to_owned()],
            train_scores: false,
            on_failure: OnFailure::default(),
            catch_panics: false,
            progress: None,
            #[cfg(feature = "journal")]
            context: String::new(),
        }
    }

    /// What else the scores depend on: say a hash of the data, and the settings of the model. A
    /// [journal](Self::run_with_journal) of a search with another context is refused.
    #[cfg(feature = "journal")]
    pub fn context(mut self, text: impl Into<String>) -> Self {
        self.context = text.into();
        self
    }

    /// The names of the metrics, in the order of the scores. The first one decides which candidate is
    /// best; of all, greater is better.
    pub fn metrics<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.metrics = names.into_iter().map(Into::into).collect();
        self
    }

    /// Scores the rows that were trained on, too.
    pub const fn train_scores(mut self) -> Self {
        self.train_scores = true;
        self
    }

    /// What becomes of a fold on which a candidate fails.
    pub const fn on_failure(mut self, policy: OnFailure) -> Self {
        self.on_failure = policy;
        self
    }

    /// A panic in `fit` or `score` makes the fit a failed one, of which the [policy](OnFailure) says what
    /// becomes, and does not end the search: the other fits are not lost. (The panic hook has printed its
    /// message all the same.)
    ///
    /// ```
    /// use rootstep_tuning::{KFold, Search};
    ///
    /// let folds = KFold::new(2)?.split(10)?;
    /// let results = Search::new(&folds).catch_panics().run(
    ///     [2, 0],
    ///     |&parts, _| Ok::<i32, String>(10 / parts),
    ///     |&model, _| Ok(vec![f64::from(model)]),
    /// )?;
    /// assert_eq!(results.best().expect("not all have failed").candidate, 2);
    /// let (candidate, fold, problem) = results.failures().next().expect("a division by zero");
    /// assert_eq!((candidate, fold), (1, 0));
    /// assert_eq!(problem, "it panicked: attempt to divide by zero");
    /// # Ok::<(), rootstep_tuning::Error>(())
    /// ```
    pub const fn catch_panics(mut self) -> Self {
        self.catch_panics = true;
        self
    }

    /// Calls `report` after each fit, on the thread that has done it. A panic of it is passed on.
    ///
    /// ```
    /// use rootstep_tuning::{KFold, Progress, Search};
    ///
    /// let folds = KFold::new(2)?.split(10)?;
    /// let report = |Progress { done, total, .. }| println!("{done} of {total}");
    /// Search::new(&folds).progress(&report).run(
    ///     [0.1, 0.2],
    ///     |&rate, _| Ok::<f64, String>(rate),
    ///     |model, _| Ok(vec![*model]),
    /// )?;
    /// # Ok::<(), rootstep_tuning::Error>(())
    /// ```
    pub fn progress(mut self, report: &'a (dyn Fn(Progress) + Sync)) -> Self {
        self.progress = Some(report);
        self
    }

    /// Runs the search: `fit` makes a model of a candidate on the rows `fold.train`, and `score` says how
    /// good it is on the rows that it is given, by each of the metrics.
    ///
    /// With the feature `rayon` they run on the threads of the current pool. The result depends on what
    /// they return alone, not on the threads or their order (but for the seconds that were taken). In a process that was forked after a search they run
    /// on the calling thread, as where there can be no threads; a process must not fork between the first use
    /// of a rayon pool and its first search.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there are no candidates, folds or metrics, more than 100,000,000
    /// candidates or more fits than there is memory for, two metrics of one name, or not as many scores as
    /// metrics; [`Error::FailedFit`] if `fit` or `score` panics, or fails and that is
    /// [an error](OnFailure::Error).
    pub fn run<C, M, E>(
        &self,
        candidates: impl IntoIterator<Item = C>,
        fit: impl Fn(&C, &Fold) -> Result<M, E> + Sync,
        score: impl Fn(&M, &[usize]) -> Result<Vec<f64>, E> + Sync,
    ) -> Result<SearchResults<C>, Error>
    where
        C: Sync,
        E: fmt::Display,
    {
        let candidates = gathered(candidates)?;
        self.check(candidates.len())?;
        self.run_unknown(candidates, &fit, &score, HashMap::new(), &|_, _| Ok(()))
    }

    /// [`run`](Self::run), with a journal: each fit is written to `file` when it is done. If the file is
    /// there, the fits that it has are not done again, so that an interrupted search goes on, and ends
    /// with the same scores. A last line that was not written to its end is dropped.
    ///
    /// A search is recognised by its folds, its metrics, the `Debug` texts of its candidates and its
    /// [context](Self::context): what else the scores depend on belongs there. Numbers are written by
    /// their bits. Fits that end the search with an error are not written, but tried again.
    ///
    /// Each line has a checksum: one that is damaged is refused, with its number. (Lines without one are
    /// taken in a journal whose first line has none.) A fit has one line; the same line again changes
    /// nothing, and a failure may be followed by what came of the next attempt. Other lines of one fit
    /// contradict each other, and are refused.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); [`Error::Journal`] if the file cannot be read or written, is that of
    /// another search or none, is damaged, or is in use by another process. One that is refused is not changed.
    ///
    /// ```
    /// use rootstep_tuning::{KFold, Search};
    ///
    /// let file = std::env::temp_dir().join("rootstep-example.journal");
    /// # let _ = std::fs::remove_file(&file);
    /// let folds = KFold::new(2)?.split(10)?;
    /// let search = Search::new(&folds).context("my data, 300 steps");
    /// let fit = |&rate: &f64, _: &_| Ok::<f64, String>(rate);
    /// let first = search.run_with_journal(&file, [0.1, 0.2], fit, |model, _| Ok(vec![*model]))?;
    /// let never = |_: &f64, _: &_| -> Result<f64, String> { panic!("all fits are in the journal") };
    /// let again = search.run_with_journal(&file, [0.1, 0.2], never, |model, _| Ok(vec![*model]))?;
    /// assert_eq!(again.rows()[1].metric().scores, [0.2, 0.2]);
    /// assert_eq!(again.rows()[1].fit_seconds, first.rows()[1].fit_seconds);
    /// # std::fs::remove_file(&file).unwrap();
    /// # Ok::<(), rootstep_tuning::Error>(())
    /// ```
    #[cfg(feature = "journal")]
    pub fn run_with_journal<C, M, E>(
        &self,
        file: &Path,
        candidates: impl IntoIterator<Item = C>,
        fit: impl Fn(&C, &Fold) -> Result<M, E> + Sync,
        score: impl Fn(&M, &[usize]) -> Result<Vec<f64>, E> + Sync,
    ) -> Result<SearchResults<C>, Error>
    where
        C: Sync + fmt::Debug,
        E: fmt::Display,
    {
        let candidates = gathered(candidates)?;
        self.check(candidates.len())?;
        let texts = candidates.iter().map(|candidate| format!("{candidate:?}"));
        let (metrics, context) = (self.metrics.clone(), self.context.clone());
        let header = Header::new(texts, self.folds, metrics, self.train_scores, context);
        let (journal, known) = Journal::open(file, &header)?;
        let record = |number: usize, fit: &Fit| journal.append(number, fit);
        self.run_unknown(candidates, &fit, &score, known, &record)
    }

    /// Successive halving: all candidates with the first budget, the best of them with a larger one, and
    /// so on, until one is left or the next budget would be above the last one. Returns the budgets and
    /// the results of each round.
    ///
    /// From round to round the budget grows by `factor`, and one of `factor` candidates stays, rounded
    /// up; of candidates that tie the first stays. One whose mean is not finite, as it has failed, does not
    /// stay, and if none does the rounds end.
    ///
    /// Source: Jamieson and Talwalkar, *Non-stochastic Best Arm Identification and Hyperparameter
    /// Optimization* (AISTATS 2016).
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); [`Error::InvalidSetting`] unless `1 <= first <= last` and `factor >= 2`.
    /// An error in a round takes the rounds before it with it: where that is too dear, let failures be
    /// [kept](OnFailure::Keep) and panics [caught](Self::catch_panics), or keep a journal.
    ///
    /// ```
    /// use rootstep_tuning::{KFold, Search, logarithmic_grid};
    ///
    /// let folds = KFold::new(2)?.split(10)?;
    /// let rounds = Search::new(&folds).halving(
    ///     logarithmic_grid(1e-4, 1.0, 9)?,
    ///     (10, 100, 3),
    ///     // Stands for a model fitted in so many steps.
    ///     |&rate, _, steps| Ok::<f64, String>(rate.log10() + 2.0 / steps as f64),
    ///     |model, _| Ok(vec![-(model + 1.0).abs()]),
    /// )?;
    /// let sizes = rounds.iter().map(|(budget, results)| (*budget, results.rows().len()));
    /// assert_eq!(sizes.collect::<Vec<_>>(), [(10, 9), (30, 3), (90, 1)]);
    /// # Ok::<(), rootstep_tuning::Error>(())
    /// ```
    #[allow(clippy::type_complexity, reason = "a budget and what came of it")]
    pub fn halving<C, M, E>(
        &self,
        candidates: impl IntoIterator<Item = C>,
        (first, last, factor): (usize, usize, usize),
        fit: impl Fn(&C, &Fold, usize) -> Result<M, E> + Sync,
        score: impl Fn(&M, &[usize]) -> Result<Vec<f64>, E> + Sync,
    ) -> Result<Vec<(usize, SearchResults<C>)>, Error>
    where
        C: Clone + Sync,
        E: fmt::Display,
    {
        let round = |candidates: Vec<C>, budget: usize| {
            self.run(candidates, |candidate, fold| fit(candidate, fold, budget), &score)
        };
        rounds(gathered(candidates)?, (first, last, factor), round)
    }

    /// [`halving`](Self::halving), with a [journal](Self::run_with_journal) for each round: `file`, with
    /// the budget of the round as a further extension.
    ///
    /// # Errors
    ///
    /// As [`halving`](Self::halving) and [`run_with_journal`](Self::run_with_journal).
    #[cfg(feature = "journal")]
    #[allow(clippy::type_complexity, reason = "a budget and what came of it")]
    pub fn halving_with_journal<C, M, E>(
        &self,
        file: &Path,
        candidates: impl IntoIterator<Item = C>,
        (first, last, factor): (usize, usize, usize),
        fit: impl Fn(&C, &Fold, usize) -> Result<M, E> + Sync,
        score: impl Fn(&M, &[usize]) -> Result<Vec<f64>, E> + Sync,
    ) -> Result<Vec<(usize, SearchResults<C>)>, Error>
    where
        C: Clone + Sync + fmt::Debug,
        E: fmt::Display,
    {
        let round = |candidates: Vec<C>, budget: usize| {
            let mut name = file.as_os_str().to_owned();
            name.push(format!(".{budget}"));
            let search = self.clone().context(format!("{}, budget {budget}", self.context));
            let fit = |candidate: &C, fold: &Fold| fit(candidate, fold, budget);
            search.run_with_journal(Path::new(&name), candidates, fit, &score)
        };
        rounds(gathered(candidates)?, (first, last, factor), round)
    }

    /// That there is something to search.
    fn check(&self, candidates: usize) -> Result<(), Error> {
        at_least("number of candidates", candidates, 1)?;
        at_least("number of folds", self.folds.len(), 1)?;
        at_least("number of metrics", self.metrics.len(), 1)?;
        room_for_fits::<Fit>(candidates, self.folds.len())?;
        let mut names = HashSet::new();
        match self.metrics.iter().find(|&name| !names.insert(name)) {
            Some(name) => {
                Err(Error::invalid("name of a metric", format!("{name:?} twice"), "each name once"))
            }
            None => Ok(()),
        }
    }

    /// Runs all fits but those that are `known`, and lets the others be recorded.
    fn run_unknown<C, M, E>(
        &self,
        candidates: Vec<C>,
        fit: &(impl Fn(&C, &Fold) -> Result<M, E> + Sync),
        score: &(impl Fn(&M, &[usize]) -> Result<Vec<f64>, E> + Sync),
        mut known: HashMap<usize, Fit>,
        record: &(impl Fn(usize, &Fit) -> Result<(), Error> + Sync),
    ) -> Result<SearchResults<C>, Error>
    where
        C: Sync,
        E: fmt::Display,
    {
        let total = candidates.len() * self.folds.len();
        // Where a failure ends the search, one that a journal has from a search that went on is retried.
        let ends = |fit: &Fit| fit.failure.is_some() && self.on_failure == OnFailure::Error;
        known.retain(|_, fit| !ends(fit));
        let done = AtomicUsize::new(known.len());
        let one = |number: usize| {
            if let Some(fit) = known.get(&number) {
                return Ok(fit.clone());
            }
            let (candidate, fold) = (number / self.folds.len(), number % self.folds.len());
            let failed = |problem| Error::FailedFit { candidate, fold, problem };
            let start = Instant::now();
            let attempt = || self.one(&candidates[candidate], &self.folds[fold], fit, score);
            let result = match caught(attempt) {
                Ok(result) => result?,
                Err(problem) if self.catch_panics => self.failed(problem, start.elapsed()),
                Err(problem) => return Err(failed(problem)),
            };
            if let (true, Some(problem)) = (ends(&result), &result.failure) {
                return Err(failed(problem.clone()));
            }
            record(number, &result)?;
            if let Some(report) = self.progress {
                report(Progress { done: done.fetch_add(1, Ordering::Relaxed) + 1, total });
            }
            Ok(result)
        };
        // After an error only the fits before it go on: which error is returned is not left to chance.
        let first_error = AtomicUsize::new(usize::MAX);
        let one_before_error = |number: usize| {
            if number > first_error.load(Ordering::Relaxed) {
                return None;
            }
            let result = one(number);
            if result.is_err() {
                first_error.fetch_min(number, Ordering::Relaxed);
            }
            Some(result)
        };
        // Each fit by itself is a task: the slow fits of one candidate are spread over the threads.
        #[cfg(feature = "rayon")]
        let fits: Vec<_> = if has_threads() {
            (0..total).into_par_iter().map(one_before_error).collect()
        } else {
            (0..total).map(one_before_error).collect()
        };
        #[cfg(not(feature = "rayon"))]
        let fits: Vec<_> = (0..total).map(one_before_error).collect();
        let fits = fits.into_iter().flatten().collect::<Result<Vec<Fit>, Error>>()?;
        Ok(self.results(candidates, &fits))
    }

    /// One fit, scored.
    fn one<C, M, E: fmt::Display>(
        &self,
        candidate: &C,
        fold: &Fold,
        fit: &impl Fn(&C, &Fold) -> Result<M, E>,
        score: &impl Fn(&M, &[usize]) -> Result<Vec<f64>, E>,
    ) -> Result<Fit, Error> {
        let start = Instant::now();
        let model = fit(candidate, fold);
        let fit_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let scores = model.and_then(|model| {
            let test = score(&model, &fold.test)?;
            let train = if self.train_scores { Some(score(&model, &fold.train)?) } else { None };
            Ok((test, train))
        });
        let score_seconds = start.elapsed().as_secs_f64();
        let nan = vec![f64::NAN; self.metrics.len()];
        let (test, train, mut failure) = match scores {
            Ok((test, train)) => (test, train, None),
            Err(error) => (nan.clone(), self.train_scores.then_some(nan), Some(error.to_string())),
        };
        for scores in [Some(&test), train.as_ref()].into_iter().flatten() {
            if scores.len() != self.metrics.len() {
                let allowed = format!("{}, as many as metrics", self.metrics.len());
                return Err(Error::invalid("number of scores", scores.len(), allowed));
            }
            let bad = scores.iter().zip(&self.metrics).find(|(score, _)| !score.is_finite());
            if let (Some((score, metric)), None) = (bad, &failure) {
                failure = Some(format!("{metric} is {score}"));
            }
        }
        Ok(Fit { test, train, seconds: fit_seconds, score_seconds, failure })
    }

    /// A fit without scores.
    fn failed(&self, problem: String, taken: Duration) -> Fit {
        let nan = vec![f64::NAN; self.metrics.len()];
        Fit {
            test: nan.clone(),
            train: self.train_scores.then_some(nan),
            seconds: taken.as_secs_f64(),
            score_seconds: 0.0,
            failure: Some(problem),
        }
    }

    /// The table of all fits, in the order of the candidates and folds.
    fn results<C>(&self, candidates: Vec<C>, fits: &[Fit]) -> SearchResults<C> {
        let metrics = 0..self.metrics.len();
        let of_test = |fit: &Fit, metric: usize| fit.test[metric];
        let of_train =
            |fit: &Fit, metric: usize| fit.train.as_ref().map_or(f64::NAN, |train| train[metric]);
        let worst = |of: &dyn Fn(&Fit, usize) -> f64, metric| {
            let finite = fits.iter().map(|fit| of(fit, metric)).filter(|score| score.is_finite());
            finite.reduce(f64::min).unwrap_or(f64::NAN)
        };
        let worst_test: Vec<f64> = metrics.clone().map(|metric| worst(&of_test, metric)).collect();
        let worst_train: Vec<f64> =
            metrics.clone().map(|metric| worst(&of_train, metric)).collect();
        let counted = |score: f64, worst: f64| match self.on_failure {
            OnFailure::Worst if !score.is_finite() => worst,
            _ => score,
        };
        let row = |(candidate, fits): (C, &[Fit])| Row {
            candidate,
            metrics: metrics
                .clone()
                .map(|metric| {
                    let column = |of: &dyn Fn(&Fit, usize) -> f64, worst: f64| {
                        let scores = fits.iter().map(|fit| of(fit, metric));
                        // Else one that has failed on every fold would tie with the worst of all.
                        let any = scores.clone().any(f64::is_finite);
                        let worst = if any { worst } else { f64::NAN };
                        scores.map(|score| counted(score, worst)).collect::<Vec<_>>()
                    };
                    let scores = column(&of_test, worst_test[metric]);
                    let train_scores = if self.train_scores {
                        column(&of_train, worst_train[metric])
                    } else {
                        Vec::new()
                    };
                    let (mean, standard_deviation) = self.moments(&scores);
                    let (train_mean, train_standard_deviation) = self.moments(&train_scores);
                    Metric {
                        scores,
                        mean,
                        standard_deviation,
                        rank: 0,
                        train_scores,
                        train_mean,
                        train_standard_deviation,
                    }
                })
                .collect(),
            fit_seconds: fits.iter().map(|fit| fit.seconds).collect(),
            score_seconds: fits.iter().map(|fit| fit.score_seconds).collect(),
            failures: fits.iter().map(|fit| fit.failure.clone()).collect(),
        };
        let rows = candidates.into_iter().zip(fits.chunks(self.folds.len()));
        let mut results =
            SearchResults { metrics: self.metrics.clone(), rows: rows.map(row).collect() };
        for metric in metrics {
            let bands: Vec<_> =
                results.rows.iter().map(|row| self.band(&row.metrics[metric])).collect();
            for (row, rank) in results.rows.iter_mut().zip(ranks(&bands)) {
                row.metrics[metric].rank = rank;
            }
        }
        results
    }

    /// The mean of the scores that count, as far as they are known.
    fn band(&self, metric: &Metric) -> Option<Band> {
        Band::of(metric.mean, self.counted(&metric.scores).into_iter())
    }

    /// The mean and the standard deviation of the scores that count.
    fn moments(&self, scores: &[f64]) -> (f64, f64) {
        moments(&self.counted(scores))
    }

    /// The scores that count.
    fn counted(&self, scores: &[f64]) -> Vec<f64> {
        let counts = |score: &&f64| self.on_failure != OnFailure::Skip || score.is_finite();
        scores.iter().filter(counts).copied().collect()
    }
}

/// All candidates; an error if there is no end of them.
fn gathered<C>(candidates: impl IntoIterator<Item = C>) -> Result<Vec<C>, Error> {
    const COUNT: &str = "number of candidates";
    let candidates = candidates.into_iter();
    let (least, _) = candidates.size_hint();
    if least > MOST_CANDIDATES {
        return Err(too_many(COUNT, least));
    }
    let candidates: Vec<C> = candidates.take(MOST_CANDIDATES + 1).collect();
    if candidates.len() > MOST_CANDIDATES {
        return Err(too_many(COUNT, format_args!("more than {MOST_CANDIDATES}")));
    }
    Ok(candidates)
}

/// The rounds of successive halving.
fn rounds<C: Clone>(
    mut candidates: Vec<C>,
    (first, last, factor): (usize, usize, usize),
    round: impl Fn(Vec<C>, usize) -> Result<SearchResults<C>, Error>,
) -> Result<Vec<(usize, SearchResults<C>)>, Error> {
    at_least("first budget", first, 1)?;
    if last < first {
        let allowed = format!("{first}, the first budget, or more");
        return Err(Error::invalid("last budget", last, allowed));
    }
    at_least("factor of the budgets", factor, 2)?;
    let (mut rounds, mut budget) = (Vec::new(), first);
    loop {
        let left = candidates.len();
        let results = round(candidates, budget)?;
        candidates = results.best_rows(left.div_ceil(factor));
        rounds.push((budget, results));
        match budget.checked_mul(factor) {
            Some(next) if next <= last && left > 1 && !candidates.is_empty() => budget = next,
            _ => return Ok(rounds),
        }
    }
}

/// What `body` returns, or that it panicked, and with which message.
fn caught<R>(body: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let problem = format!("it panicked: {}", panic_text(&*panic));
        // What was thrown may panic when it is dropped. What is thrown then is left alone.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(second);
        }
        problem
    })
}

/// The message of a panic, if it has one.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// Whether the fits can be spread over the threads of the current pool. Not where the process may have no more
/// threads: the global pool cannot be started then, which is a panic of rayon's. And not in a process that was
/// forked after a search: its pools are there, and their threads are not, so that to wait for them is for ever.
#[cfg(feature = "rayon")]
fn has_threads() -> bool {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    let process = if cfg!(unix) { std::process::id() } else { 0 };
    *PROCESS.get_or_init(|| process) == process && catch_unwind(rayon::current_num_threads).is_ok()
}

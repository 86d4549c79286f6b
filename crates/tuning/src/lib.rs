//! The choice of a learning rate, or of any setting, from three small pieces: **candidates × folds × a
//! score**.
//!
//! ```
//! use rootstep_tuning::{StratifiedKFold, logarithmic_grid, search};
//!
//! let labels = [0, 1, 0, 1, 0, 1, 0, 1];
//! let folds = StratifiedKFold::new(4)?.split(&labels)?;
//! let rates = logarithmic_grid(1e-4, 1.0, 9)?;
//! let results = search(rates, &folds, |&rate, fold| {
//!     // Stands for: fit on `fold.train`, measure on `fold.test`.
//!     -(rate.log10() + 1.5).abs() - fold.test.len() as f64
//! })?;
//! let best = results.best().expect("no score is NaN");
//! assert!((best.candidate.log10() + 1.5).abs() < 1e-12);
//! # Ok::<(), rootstep_tuning::Error>(())
//! ```
//!
//! - Candidates are values of any type that you want compared: the rates of a
//!   [`logarithmic_grid`] or a [`linear_grid`], random ones by [`log_uniform`] or [`uniform`], every
//!   [`product`] of these, or structs of your own.
//! - Folds are index sets: [`KFold`], [`StratifiedKFold`], [`GroupKFold`], [`TimeSeriesSplit`] and
//!   [`leave_one_out`] split the rows for cross-validation, [`repeated`] does so many times, and
//!   [`HoldOut`] and [`StratifiedHoldOut`] set rows aside for the final test.
//! - The score is your function of a candidate and a fold: fit on `fold.train`, return how good the
//!   fit is on `fold.test` (greater is better).
//!
//! [`search`] scores every candidate on every fold, in parallel, and ranks them; a [`Search`] does so by
//! several metrics, with scores of the training, a [policy](OnFailure) for failed fits,
//! [progress](Search::progress), a journal from which an interrupted search goes on (`run_with_journal`,
//! feature `journal`), and [successive halving](Search::halving). Its [results](SearchResults) have [the
//! best](SearchResults::best), [a refit](SearchResults::refit) on all rows and
//! [the table](SearchResults::table), as CSV (feature `csv`) or JSON (feature `serde`).
//!
//! Where a single training is all that you can afford, a [`RangeTest`] suggests a rate.
//!
//! It knows no model and no optimizer: the step that it was made for, and schedules that let the rate
//! change in the training, are in the package `rootstep`.
//!
//! # What is guaranteed
//!
//! - **The threads decide nothing.** A result depends on what your functions return, not on the threads
//!   or their order (but for the seconds that were taken); so does the error, where there are several.
//! - **The same seed, the same rows and values**, on every machine and in every version: by PCG64, and by
//!   logarithms and powers that are written in Rust (of the package `libm`), not those of the platform.
//! - **The indices of scikit-learn**: folds that are not shuffled are exactly its folds.
//! - **Rounding breaks no tie.** Candidates with as many right answers share a [rank](Metric::rank), however
//!   these are spread over the folds.
//! - **Nothing is lost.** A search that is killed at any time goes on from its journal, and ends with the
//!   same scores; a journal of another search, or none, is refused and not changed, and so is one in which
//!   a bit is another (but for the end of its last line, which then counts as torn: its fit is done again). A fit that fails takes no other with it, unless you ask for [an
//!   error](OnFailure::Error).
//! - **Nothing panics** but your functions. A panic of a fit or a score ends a search with an [`Error`] that
//!   names the candidate and the fold, or is one of its [failures](Search::catch_panics); one of your other
//!   functions and iterators is passed on. Counts beyond those that are documented are errors. There is no `unsafe` code.
//!
//! # Features
//!
//! - `rayon` (default): the fits run on the threads of the current rayon pool.
//! - `journal`: searches that go on where they were interrupted.
//! - `csv`: the table of a search as CSV.
//! - `serde`: the results of a search and of a range test can be serialised.

mod error;
mod fit;
mod folds;
mod grid;
#[cfg(feature = "journal")]
mod journal;
mod random;
mod range_test;
mod rank;
mod results;
mod search;
mod setting;

pub use error::Error;
pub use folds::{
    Fold, GroupKFold, HoldOut, KFold, StratifiedHoldOut, StratifiedKFold, TimeSeriesSplit,
    leave_one_out, repeated,
};
pub use grid::{linear_grid, logarithmic_grid};
pub use random::{log_uniform, product, uniform};
pub use range_test::{RangePoint, RangeTest, RangeTestResult};
pub use results::{Metric, Row, SearchResults};
pub use search::{OnFailure, Progress, Search, search};

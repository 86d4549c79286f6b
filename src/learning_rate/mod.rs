//! The choice of the learning rate, from three small pieces: **candidates × folds × a score**.
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
//! several metrics, with scores of the training, a policy for failed fits, progress, a journal from which
//! an interrupted search goes on, and successive halving. Where a single training
//! is all that you can afford, a [`RangeTest`] suggests a rate. In the training itself a [`Schedule`] or
//! a [`Plateau`] lets it change.
//!
//! ```
//! use rootstep::learning_rate::{StratifiedKFold, logarithmic_grid, search};
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
//! # Ok::<(), rootstep::Error>(())
//! ```

mod folds;
mod grid;
#[cfg(feature = "journal")]
mod journal;
mod random;
mod range_test;
mod schedule;
mod search;

pub use folds::{
    Fold, GroupKFold, HoldOut, KFold, StratifiedHoldOut, StratifiedKFold, TimeSeriesSplit,
    leave_one_out, repeated,
};
pub use grid::{linear_grid, logarithmic_grid};
pub use random::{log_uniform, product, uniform};
pub use range_test::{RangePoint, RangeTest, RangeTestResult};
pub use schedule::{Plateau, Schedule};
pub use search::{Metric, OnFailure, Progress, Row, Search, SearchResults, search};

//! The range test over a function of Python.

use crate::schedule::{Steps, type_of};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use rootstep_tuning::{Error, RangeTest};

/// The points, whether the loss diverged, and the suggestions: steepest, a tenth of the minimum, valley.
type Found = (Vec<(f64, f64, f64)>, bool, Option<f64>, Option<f64>, Option<f64>);

/// Runs the test. It ends at once when `train` raises, and that is what it raises.
#[pyfunction]
pub fn range_test(
    train: &Bound<'_, PyAny>,
    low: f64,
    high: f64,
    steps: Steps,
    smoothing: f64,
    divergence: f64,
) -> PyResult<Found> {
    // More than the test allows, however wide a `usize` is.
    let steps = usize::try_from(steps.0).unwrap_or(usize::MAX);
    let test = RangeTest::new(low, high, steps)
        .and_then(|test| test.smoothing(smoothing))
        .and_then(|test| test.divergence(divergence));
    let test = test.map_err(|error: Error| PyValueError::new_err(error.to_string()))?;
    let mut raised = None;
    let found = test.run(|rate| {
        let loss = train.call1((rate,)).and_then(|loss| loss_of(&loss));
        // The test ends at a loss that is not finite.
        loss.unwrap_or_else(|error| {
            raised = Some(error);
            f64::NAN
        })
    });
    if let Some(error) = raised {
        return Err(error);
    }
    let points = found.points().iter().map(|point| (point.rate, point.loss, point.smoothed));
    let points = points.collect();
    Ok((points, found.diverged(), found.steepest(), found.minimum_tenth(), found.valley()))
}

/// A number of Python or of `NumPy`, or a tensor of one element.
fn loss_of(loss: &Bound<'_, PyAny>) -> PyResult<f64> {
    // By this a tensor that belongs to a graph is no reason for a warning.
    let item = intern!(loss.py(), "item");
    let loss = if loss.hasattr(item)? { &loss.call_method0(item)? } else { loss };
    loss.extract::<f64>().map_err(|error: PyErr| {
        if !error.is_instance_of::<PyTypeError>(loss.py()) {
            return error;
        }
        let given = type_of(loss);
        PyTypeError::new_err(format!("`train` returned a {given}; allowed: the loss, a number"))
    })
}

//! Schedules of the learning rate.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use rootstep::Error;
use rootstep::optimizer::Schedule as Core;

/// A number of steps, from Python.
#[derive(Debug, Clone, Copy)]
pub struct Steps(pub u64);

impl<'py> FromPyObject<'_, 'py> for Steps {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let index = given.call_method0("__index__").map_err(|_| {
            let given = type_of(&given);
            PyTypeError::new_err(format!("a number of steps is a {given}; allowed: an int"))
        })?;
        index.extract::<u64>().map(Self).map_err(|_| {
            let allowed = format!("0 to {}", u64::MAX);
            PyValueError::new_err(format!("a number of steps is {index}; allowed: {allowed}"))
        })
    }
}

/// The name of an object's type, for errors.
pub fn type_of(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

/// A learning rate for each step.
#[pyclass(frozen, eq, module = "rootstep._rootstep")]
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(Core);

impl Schedule {
    fn of(schedule: Result<Core, Error>) -> PyResult<Self> {
        schedule.map(Self).map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

#[pymethods]
#[allow(clippy::needless_pass_by_value, reason = "lists of Python become vectors")]
impl Schedule {
    #[staticmethod]
    fn constant(rate: f64) -> PyResult<Self> {
        Self::of(Core::constant(rate))
    }

    #[staticmethod]
    fn linear(start: f64, end: f64, steps: Steps) -> PyResult<Self> {
        Self::of(Core::linear(start, end, steps.0))
    }

    #[staticmethod]
    fn polynomial(start: f64, end: f64, steps: Steps, power: f64) -> PyResult<Self> {
        Self::of(Core::polynomial(start, end, steps.0, power))
    }

    #[staticmethod]
    fn step(start: f64, factor: f64, every: Steps) -> PyResult<Self> {
        Self::of(Core::step(start, factor, every.0))
    }

    #[staticmethod]
    fn multi_step(start: f64, factor: f64, milestones: Vec<Steps>) -> PyResult<Self> {
        Self::of(Core::multi_step(start, factor, milestones.iter().map(|step| step.0)))
    }

    #[staticmethod]
    fn piecewise(first: f64, later: Vec<(Steps, f64)>) -> PyResult<Self> {
        Self::of(Core::piecewise(first, later.iter().map(|&(step, rate)| (step.0, rate))))
    }

    #[staticmethod]
    fn exponential(start: f64, factor: f64) -> PyResult<Self> {
        Self::of(Core::exponential(start, factor))
    }

    #[staticmethod]
    fn cosine(start: f64, end: f64, steps: Steps) -> PyResult<Self> {
        Self::of(Core::cosine(start, end, steps.0))
    }

    #[staticmethod]
    fn cosine_restarts(start: f64, end: f64, period: Steps, growth: Steps) -> PyResult<Self> {
        Self::of(Core::cosine_restarts(start, end, period.0, growth.0))
    }

    #[staticmethod]
    fn one_cycle(
        initial: f64,
        peak: f64,
        last: f64,
        steps: Steps,
        warm_up_share: f64,
    ) -> PyResult<Self> {
        Self::of(Core::one_cycle(initial, peak, last, steps.0, warm_up_share))
    }

    #[staticmethod]
    fn inverse_sqrt(start: f64, shift: f64) -> PyResult<Self> {
        Self::of(Core::inverse_sqrt(start, shift))
    }

    #[staticmethod]
    fn sequence(parts: Vec<(PyRef<'_, Self>, Steps)>, last: &Self) -> PyResult<Self> {
        let parts = parts.iter().map(|(part, steps)| (part.0.clone(), steps.0));
        Self::of(Core::sequence(parts, last.0.clone()))
    }

    fn warm_up(&self, start: f64, steps: Steps) -> PyResult<Self> {
        Self::of(self.0.clone().warm_up(start, steps.0))
    }

    fn at(&self, step: Steps) -> f64 {
        self.0.at(step.0)
    }
}

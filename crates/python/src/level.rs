//! The level that calls run at, for each thread of Python's.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rootstep::{Executor, Level};
use std::cell::Cell;

thread_local! {
    static PINNED: Cell<Option<Level>> = const { Cell::new(None) };
}

/// The names of the levels that this machine has, the narrowest registers first.
#[pyfunction]
pub fn levels() -> Vec<&'static str> {
    Level::available().iter().map(|level| level.name()).collect()
}

/// The level that calls of this thread run at.
#[pyfunction]
pub fn level() -> &'static str {
    executor().level().name()
}

/// Pins the level of this thread by its name; None takes the process's own again. Gives back the name that was
/// pinned before, if any.
#[pyfunction]
#[pyo3(signature = (name))]
pub fn set_level(name: Option<&str>) -> PyResult<Option<&'static str>> {
    let level = name.map(str::parse).transpose();
    let level = level.map_err(|error: rootstep::Error| PyValueError::new_err(error.to_string()))?;
    Ok(PINNED.replace(level).map(Level::name))
}

/// How calls of this thread run. Who calls from Python may have any floating-point environment.
pub fn executor() -> Executor {
    PINNED.get().map_or_else(Executor::default, Executor::new).untrapped()
}

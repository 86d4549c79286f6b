//! The instruction set that the calls of a thread run on.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rootstep::{Executor, Level};
use std::cell::Cell;

thread_local! {
    static PINNED: Cell<Option<Level>> = const { Cell::new(None) };
}

/// The executor of this thread: at the level that it has pinned, else at that of the process. Other libraries in the
/// process may have switched traps on: none comes within a call.
pub fn executor() -> Executor {
    PINNED.get().map_or_else(Executor::default, Executor::new).untrapped()
}

/// The names of the levels that this machine has, the narrowest registers first.
#[pyfunction]
pub fn levels() -> Vec<&'static str> {
    Level::available().iter().map(|level| level.name()).collect()
}

/// Pins the level of this thread, or with `None` no longer; returns the one that was pinned before.
#[pyfunction]
#[pyo3(signature = (name))]
pub fn set_level(name: Option<&str>) -> PyResult<Option<&'static str>> {
    let parsed = name.map(str::parse::<Level>).transpose();
    let level = parsed.map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PINNED.replace(level).map(Level::name))
}

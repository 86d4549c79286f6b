//! The compiled part of the Python package `rootstep`.

use pyo3::prelude::*;

#[pymodule]
mod _rootstep {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

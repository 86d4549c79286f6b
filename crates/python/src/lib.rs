//! The compiled part of the Python package `rootstep`.

use pyo3::prelude::*;

mod arrays;
mod check;
mod level;
mod memory;
mod number;
mod range_test;
mod schedule;
mod specification;

#[pymodule]
mod _rootstep {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::arrays::{axpy, descend, inspect, signed_sqrt};
    #[pymodule_export]
    use super::check::{current_level, results, threads};
    #[pymodule_export]
    use super::level::{levels, set_level};
    #[pymodule_export]
    use super::range_test::range_test;
    #[pymodule_export]
    use super::schedule::Schedule;
    #[pymodule_export]
    use super::specification::{_reference, _reference_inspect};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

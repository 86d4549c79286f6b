//! The compiled part of the Python package `rootstep`.

mod arrays;
mod check;
mod group;
mod level;
mod limits;
#[allow(
    unsafe_code,
    reason = "the memory of tensors and arrays, and the C functions that describe it"
)]
mod memory;
mod number;
#[allow(unsafe_code, reason = "the functions of a library that is in the process")]
mod openmp;
mod range_test;
mod reference;
mod schedule;
mod specification;
mod step;
mod sums;
mod tensor;

use pyo3::prelude::*;

#[pymodule]
mod _rootstep {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::arrays::{axpy, descend, inspect, signed_sqrt};
    #[pymodule_export]
    use super::check::{results, threads};
    #[pymodule_export]
    use super::level::{level, levels, set_level};
    #[pymodule_export]
    use super::range_test::range_test;
    #[pymodule_export]
    use super::reference::reference_step;
    #[pymodule_export]
    use super::schedule::Schedule;
    #[pymodule_export]
    use super::specification::{_reference, _reference_inspect};
    #[pymodule_export]
    use super::step::Stepper;
    #[pymodule_export]
    use super::sums::{Sums, decide, nodes, shard_elements, whole};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::openmp::begin();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

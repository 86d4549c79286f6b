//! The compiled part of the Python package `rootstep`.

mod group;
mod level;
mod limits;
#[allow(unsafe_code, reason = "the memory of tensors, and the C functions that describe it")]
mod memory;
mod reference;
mod step;
mod tensor;

use pyo3::prelude::*;

#[pymodule]
mod _rootstep {
    #[pymodule_export]
    use super::level::{level, levels, set_level};
    #[pymodule_export]
    use super::reference::reference_step;
    #[pymodule_export]
    use super::step::Stepper;
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

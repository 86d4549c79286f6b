//! The operations on arrays of `NumPy`.

use crate::level::executor;
use crate::memory::arrays::{Array, Input, inputs, output_and_inputs};
use crate::number::{Format, Number};
use crate::openmp;
use half::{bf16, f16};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use rootstep::{Float, Inspection};

/// Writes the sign-preserving root of `x` to `out`.
#[pyfunction]
pub fn signed_sqrt<'py>(x: &Bound<'py, PyAny>, out: &Bound<'py, PyAny>) -> PyResult<()> {
    let (py, x, mut out) = (x.py(), Array::of("x", x)?, Array::of("out", out)?);
    match x.format() {
        Format::Float32 => signed_sqrt_of::<f32>(py, &x, &mut out),
        Format::Float64 => signed_sqrt_of::<f64>(py, &x, &mut out),
        Format::Float16 => signed_sqrt_of::<f16>(py, &x, &mut out),
        Format::Bfloat16 => signed_sqrt_of::<bf16>(py, &x, &mut out),
    }
}

/// Writes `x - lr * signed_sqrt(g)` to `out`.
#[pyfunction]
pub fn descend<'py>(
    x: &Bound<'py, PyAny>,
    g: &Bound<'py, PyAny>,
    lr: f64,
    out: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let (py, x, g) = (x.py(), Array::of("x", x)?, Array::of("g", g)?);
    let mut out = Array::of("out", out)?;
    match x.format() {
        Format::Float32 => descend_of::<f32>(py, &x, &g, lr, &mut out),
        Format::Float64 => descend_of::<f64>(py, &x, &g, lr, &mut out),
        Format::Float16 => descend_of::<f16>(py, &x, &g, lr, &mut out),
        Format::Bfloat16 => descend_of::<bf16>(py, &x, &g, lr, &mut out),
    }
}

/// Writes `y + alpha * x` to `out`.
#[pyfunction]
pub fn axpy<'py>(
    alpha: f64,
    x: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
    out: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let (py, x, y) = (x.py(), Array::of("x", x)?, Array::of("y", y)?);
    let mut out = Array::of("out", out)?;
    match x.format() {
        Format::Float32 => axpy_of::<f32>(py, alpha, &x, &y, &mut out),
        Format::Float64 => axpy_of::<f64>(py, alpha, &x, &y, &mut out),
        Format::Float16 => axpy_of::<f16>(py, alpha, &x, &y, &mut out),
        Format::Bfloat16 => axpy_of::<bf16>(py, alpha, &x, &y, &mut out),
    }
}

/// What [`Inspection`] has, in the order of its fields.
pub type Findings = (u64, f64, f64, u64, u64, u64, u64, Option<(usize, usize)>);

/// The health of gradients, all of one type.
#[allow(clippy::needless_pass_by_value, reason = "lists of Python become vectors")]
#[pyfunction]
pub fn inspect<'py>(py: Python<'py>, gradients: Vec<Bound<'py, PyAny>>) -> PyResult<Findings> {
    let arrays: Vec<_> =
        gradients.iter().map(|array| Array::of("gradient", array)).collect::<PyResult<_>>()?;
    let Some(first) = arrays.first() else {
        return Err(PyValueError::new_err("there are 0 gradients; allowed: 1 or more"));
    };
    let found = match first.format() {
        Format::Float32 => inspect_of::<f32>(py, &arrays),
        Format::Float64 => inspect_of::<f64>(py, &arrays),
        Format::Float16 => inspect_of::<f16>(py, &arrays),
        Format::Bfloat16 => inspect_of::<bf16>(py, &arrays),
    };
    found.map(|found| findings(&found))
}

pub const fn findings(found: &Inspection) -> Findings {
    let &Inspection { elements, norm, max_magnitude, nan, infinite, zero, subnormal, .. } = found;
    (elements, norm, max_magnitude, nan, infinite, zero, subnormal, found.first_non_finite)
}

fn signed_sqrt_of<T: Number>(py: Python<'_>, x: &Array<'_>, out: &mut Array<'_>) -> PyResult<()> {
    let (out, [x]) = output_and_inputs::<T, 1>(out, [x])?;
    let executor = executor();
    openmp::detach(py, || match x {
        Input::Apart(x) => executor.signed_sqrt(x, out),
        Input::Output => executor.signed_sqrt_in_place(out),
    });
    Ok(())
}

fn descend_of<T: Number>(
    py: Python<'_>,
    x: &Array<'_>,
    g: &Array<'_>,
    lr: f64,
    out: &mut Array<'_>,
) -> PyResult<()> {
    g.fits(x)?;
    let (out, [x, g]) = output_and_inputs::<T, 2>(out, [x, g])?;
    let (executor, rate) = (executor(), T::Compute::from_f64(lr));
    let kept = if matches!(g, Input::Output) { copied(out)? } else { Vec::new() };
    openmp::detach(py, || {
        let g = if let Input::Apart(g) = g { g } else { &kept };
        match x {
            Input::Apart(x) => executor.descend_into(x, g, rate, out),
            Input::Output => executor.descend(out, g, rate),
        }
    });
    Ok(())
}

fn axpy_of<T: Number>(
    py: Python<'_>,
    alpha: f64,
    x: &Array<'_>,
    y: &Array<'_>,
    out: &mut Array<'_>,
) -> PyResult<()> {
    x.fits(y)?;
    let (out, [x, y]) = output_and_inputs::<T, 2>(out, [x, y])?;
    let (executor, alpha) = (executor(), T::Compute::from_f64(alpha));
    let kept = if matches!(x, Input::Output) { copied(out)? } else { Vec::new() };
    openmp::detach(py, || {
        let x = if let Input::Apart(x) = x { x } else { &kept };
        if let Input::Apart(y) = y {
            out.copy_from_slice(y);
        }
        executor.axpy(alpha, x, out);
    });
    Ok(())
}

fn inspect_of<T: Number>(py: Python<'_>, arrays: &[Array<'_>]) -> PyResult<Inspection> {
    let (gradients, executor) = (inputs::<T>(arrays)?, executor());
    Ok(openmp::detach(py, || executor.inspect(&gradients)))
}

/// An input that the output is written over.
fn copied<T: Number>(values: &[T]) -> PyResult<Vec<T>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(values.len()).map_err(|_| {
        let bytes = size_of_val(values);
        PyMemoryError::new_err(format!("there is no memory for a copy of {bytes} bytes"))
    })?;
    copy.extend_from_slice(values);
    Ok(copy)
}

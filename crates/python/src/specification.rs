//! The scalar functions of [`rootstep::reference`], for tests: numbers are given and returned by their bits.

use crate::arrays::{Findings, findings};
use crate::number::{ALLOWED, Format, Number};
use half::{bf16, f16};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rootstep::{Float, reference};

/// The format of this name.
pub fn format(name: &str) -> PyResult<Format> {
    Format::named(name)
        .ok_or_else(|| PyValueError::new_err(format!("the format is `{name}`; allowed: {ALLOWED}")))
}

/// The bits of `operation` of `a`, `b` and a scalar: `signed_sqrt(a)`, `descend(a, b, scalar)` or
/// `axpy(scalar, a, b)`.
#[pyfunction]
pub fn _reference(
    operation: &str,
    format_name: &str,
    a: u64,
    b: u64,
    scalar: f64,
) -> PyResult<u64> {
    match format(format_name)? {
        Format::Float32 => reference_of::<f32>(operation, a, b, scalar),
        Format::Float64 => reference_of::<f64>(operation, a, b, scalar),
        Format::Float16 => reference_of::<f16>(operation, a, b, scalar),
        Format::Bfloat16 => reference_of::<bf16>(operation, a, b, scalar),
    }
}

fn reference_of<T: Number>(operation: &str, a: u64, b: u64, scalar: f64) -> PyResult<u64> {
    let (a, b) = (T::of_bits(a).widen(), T::of_bits(b).widen());
    let scalar = T::Compute::from_f64(scalar);
    let result = match operation {
        "signed_sqrt" => reference::signed_sqrt(a),
        "descend" => reference::descend(a, b, scalar),
        "axpy" => reference::axpy(scalar, a, b),
        other => {
            let allowed = "signed_sqrt, descend, axpy";
            let message = format!("the operation is `{other}`; allowed: {allowed}");
            return Err(PyValueError::new_err(message));
        }
    };
    Ok(T::nearest(result).bits())
}

/// What `inspect` finds in gradients of these bits.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "lists of Python become vectors")]
pub fn _reference_inspect(format_name: &str, gradients: Vec<Vec<u64>>) -> PyResult<Findings> {
    Ok(match format(format_name)? {
        Format::Float32 => inspect_of::<f32>(&gradients),
        Format::Float64 => inspect_of::<f64>(&gradients),
        Format::Float16 => inspect_of::<f16>(&gradients),
        Format::Bfloat16 => inspect_of::<bf16>(&gradients),
    })
}

fn inspect_of<T: Number>(gradients: &[Vec<u64>]) -> Findings {
    let of_bits = |bits: &Vec<u64>| bits.iter().map(|&bits| T::of_bits(bits)).collect();
    let gradients: Vec<Vec<T>> = gradients.iter().map(of_bits).collect();
    let gradients: Vec<&[T]> = gradients.iter().map(Vec::as_slice).collect();
    findings(&reference::inspect(&gradients))
}

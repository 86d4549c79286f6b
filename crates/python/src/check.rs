//! What `python -m rootstep` says of the installation.

use crate::level::executor;
use crate::number::{Format, Number};
use crate::openmp;
use crate::specification::format;
use half::{bf16, f16};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rootstep::{Executor, Float};
use std::iter;

/// How many threads a long call may use.
#[pyfunction]
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// What a row of the published digests is the hash of: the results of an operation on fixed numbers, at this thread's
/// level, each in its bytes, the lowest first. NaN is the quiet one: its sign and payload are not specified.
///
/// The numbers are mixed streams of 1,100,003 elements from the seeds 1 (`x`) and 2 (`g`), and the scalar is 0.1.
#[pyfunction]
pub fn results<'py>(
    py: Python<'py>,
    operation: &str,
    format_name: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    if !["signed_sqrt", "axpy", "descend"].contains(&operation) {
        let message =
            format!("the operation is `{operation}`; allowed: signed_sqrt, axpy, descend");
        return Err(PyValueError::new_err(message));
    }
    let (executor, format) = (executor(), format(format_name)?);
    let bytes = openmp::detach(py, || match format {
        Format::Float32 => results_of::<f32>(executor, operation),
        Format::Float64 => results_of::<f64>(executor, operation),
        Format::Float16 => results_of::<f16>(executor, operation),
        Format::Bfloat16 => results_of::<bf16>(executor, operation),
    });
    Ok(PyBytes::new(py, &bytes))
}

/// Elements of a stream: enough to be split over threads.
const LENGTH: usize = 1_100_003;

fn results_of<T: Number>(executor: Executor, operation: &str) -> Vec<u8> {
    let (mut x, g) = (mixed::<T>(1), mixed::<T>(2));
    let scalar = T::Compute::from_f64(0.1);
    match operation {
        "signed_sqrt" => executor.signed_sqrt(&g, &mut x),
        "axpy" => executor.axpy(scalar, &g, &mut x),
        _ => executor.descend(&mut x, &g, scalar),
    }
    let bytes = T::FORMAT.bytes();
    x.into_iter().flat_map(|value| canonical(value).to_le_bytes().into_iter().take(bytes)).collect()
}

/// The bits of a number; those of one NaN for all.
fn canonical<T: Number>(value: T) -> u64 {
    #[allow(clippy::eq_op, reason = "NaN alone is not equal to itself")]
    if value == value {
        return value.bits();
    }
    match T::FORMAT {
        Format::Float32 => 0x7fc0_0000,
        Format::Float64 => 0x7ff8_0000_0000_0000,
        Format::Float16 => 0x7e00,
        Format::Bfloat16 => 0x7fc0,
    }
}

/// Any pattern of bits and values within [-1, 1) in turn.
fn mixed<T: Number>(seed: u64) -> Vec<T> {
    let width = 8 * T::FORMAT.bytes();
    let element = |(i, bits): (usize, u64)| {
        if i.is_multiple_of(2) {
            return T::of_bits(bits >> (64 - width));
        }
        let near = (bits >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0;
        T::nearest(T::Compute::from_f64(near))
    };
    split_mix(seed).take(LENGTH).enumerate().map(element).collect()
}

/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
fn split_mix(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}

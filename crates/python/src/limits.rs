//! What the gradients of a whole model are subject to: clipping, and what happens if they are not finite.

use crate::arrays::{Findings, findings};
use crate::openmp;
use crate::step::Gradient;
use half::{bf16, f16};
use pyo3::exceptions::{PyFloatingPointError, PyValueError};
use pyo3::prelude::*;
use rootstep::{Element, Executor, Inspection};

/// What happens if a gradient is NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NonFinite {
    Propagate,
    Skip,
    Error,
}

/// The settings of an optimizer that concern all gradients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    non_finite: NonFinite,
}

/// Whether the step was taken, what clipping by norm multiplied the gradients by, and what was found in them:
/// elements, norm, largest magnitude, NaN, infinite, zero, subnormal, and the place of the first element that is
/// not finite (the number of the gradient among those that there are, and the index in it).
pub type Report = (bool, f64, Findings);

impl Limits {
    /// # Errors
    ///
    /// An exception that names the setting.
    pub fn new(
        clip_norm: Option<f64>,
        clip_value: Option<f64>,
        non_finite: &str,
    ) -> PyResult<Self> {
        for (name, limit) in [("clip_norm", clip_norm), ("clip_value", clip_value)] {
            if let Some(limit) = limit.filter(|limit| !(*limit > 0.0 && limit.is_finite())) {
                let message =
                    format!("`{name}` is {limit}; allowed: None, or a finite number above 0");
                return Err(PyValueError::new_err(message));
            }
        }
        let non_finite = match non_finite {
            "propagate" => NonFinite::Propagate,
            "skip" => NonFinite::Skip,
            "error" => NonFinite::Error,
            other => {
                let allowed = "allowed: \"propagate\", \"skip\" or \"error\"";
                return Err(PyValueError::new_err(format!("`non_finite` is {other:?}; {allowed}")));
            }
        };
        Ok(Self { clip_norm, clip_value, non_finite })
    }

    /// The limit of the magnitude of an element, if there is one.
    pub const fn clip_value(&self) -> Option<f64> {
        self.clip_value
    }

    /// Looks at the gradients if that is asked for: gives their factor, and what was found. `label` is what a
    /// message calls the parameter of a gradient.
    ///
    /// # Errors
    ///
    /// `FloatingPointError` if a gradient is not finite and that is an error.
    pub fn look(
        &self,
        py: Python<'_>,
        executor: Executor,
        gradients: &[Gradient<'_>],
        label: impl Fn(usize) -> String,
    ) -> PyResult<(f64, Option<Report>)> {
        if self.clip_norm.is_none() && self.non_finite == NonFinite::Propagate {
            return Ok((1.0, None));
        }
        let found = openmp::detach(py, || inspect(executor, gradients));
        let single = gradients.iter().any(|gradient| !matches!(gradient, Gradient::F64(_)));
        let describe = |gradient: usize, index| (gradients[gradient].show(index), label(gradient));
        self.decide(&found, single, describe).map(|report| (report.1, Some(report)))
    }

    /// What follows from what was found in all gradients. `single` says whether one of them is computed in f32, and
    /// `describe` shows an element of one, and what a message calls its parameter.
    ///
    /// # Errors
    ///
    /// `FloatingPointError` if a gradient is not finite and that is an error; `ValueError` if clipping would leave
    /// nothing of them.
    pub fn decide(
        &self,
        found: &Inspection,
        single: bool,
        describe: impl FnOnce(usize, usize) -> (String, String),
    ) -> PyResult<Report> {
        let report = |taken, factor| (taken, factor, findings(found));
        if let Some((gradient, index)) = found.first_non_finite {
            match self.non_finite {
                NonFinite::Propagate => {}
                NonFinite::Skip => return Ok(report(false, 1.0)),
                NonFinite::Error => {
                    let (given, label) = describe(gradient, index);
                    return Err(PyFloatingPointError::new_err(format!(
                        "element {index} of the gradient of {label} is {given}; allowed: finite numbers"
                    )));
                }
            }
        }
        Ok(report(true, self.factor(found, single)?))
    }

    /// What clipping by norm multiplies the gradients by.
    fn factor(&self, found: &Inspection, single: bool) -> PyResult<f64> {
        let norm = found.norm;
        let Some(limit) = self.clip_norm.filter(|&limit| norm > limit || norm.is_nan()) else {
            return Ok(1.0);
        };
        let factor = limit / norm;
        let rounded = rootstep::Float::to_f64(<f32 as rootstep::Float>::from_f64(factor));
        if found.is_finite() && (factor == 0.0 || single && rounded == 0.0) {
            return Err(PyValueError::new_err(format!(
                "`clip_norm` is {limit:e}; allowed: more for gradients whose norm is {norm:e}: their factor is 0"
            )));
        }
        Ok(factor)
    }
}

/// What is found in gradients: those of each type in one pass.
fn inspect(executor: Executor, gradients: &[Gradient<'_>]) -> Inspection {
    let parts = [
        inspect_type::<f32>(executor, gradients, |gradient| match gradient {
            Gradient::F32(values) => Some(values),
            _ => None,
        }),
        inspect_type::<f64>(executor, gradients, |gradient| match gradient {
            Gradient::F64(values) => Some(values),
            _ => None,
        }),
        inspect_type::<bf16>(executor, gradients, |gradient| match gradient {
            Gradient::Bf16(values) => Some(values),
            _ => None,
        }),
        inspect_type::<f16>(executor, gradients, |gradient| match gradient {
            Gradient::F16(values) => Some(values),
            _ => None,
        }),
    ];
    Inspection::of_parts(parts.into_iter().flatten())
}

fn inspect_type<'t, T: Element>(
    executor: Executor,
    gradients: &[Gradient<'t>],
    of_type: impl Fn(Gradient<'t>) -> Option<&'t [T]>,
) -> Option<Inspection> {
    let places = gradients.iter().enumerate();
    let (places, values): (Vec<usize>, Vec<&[T]>) =
        places.filter_map(|(i, gradient)| Some((i, of_type(*gradient)?))).unzip();
    if values.is_empty() {
        return None;
    }
    let mut found = executor.inspect(&values);
    if let Some((gradient, _)) = &mut found.first_non_finite {
        *gradient = places[*gradient];
    }
    Some(found)
}

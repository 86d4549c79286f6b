//! The operations on slices.

#![allow(unsafe_code, reason = "pointers of the caller, and names that C links to")]

use crate::executor::{Executor, run};
use crate::memory::{Plain, lend};
use crate::status::{Status, guarded};
use half::{bf16, f16};
use rootstep::Element;

/// # Safety
///
/// As for [`rootstep_signed_sqrt_f32`].
#[inline]
unsafe fn signed_sqrt<T: Element + Plain>(
    executor: *const Executor,
    gradient: *const T,
    out: *mut T,
    length: usize,
) -> Status {
    guarded(|| {
        // SAFETY: as of the caller.
        let (out, [gradient]) = unsafe { lend(length, ("out", out), [("gradient", gradient)]) }?;
        // SAFETY: as of the caller.
        unsafe { run(executor, size_of_val(out), |core| core.signed_sqrt(gradient, out)) };
        Ok(())
    })
}

/// # Safety
///
/// As for [`rootstep_signed_sqrt_in_place_f32`].
#[inline]
unsafe fn signed_sqrt_in_place<T: Element + Plain>(
    executor: *const Executor,
    values: *mut T,
    length: usize,
) -> Status {
    guarded(|| {
        // SAFETY: as of the caller.
        let (values, []) = unsafe { lend(length, ("values", values), []) }?;
        // SAFETY: as of the caller.
        unsafe { run(executor, size_of_val(values), |core| core.signed_sqrt_in_place(values)) };
        Ok(())
    })
}

/// # Safety
///
/// As for [`rootstep_axpy_f32`].
#[inline]
unsafe fn axpy<T: Element + Plain>(
    executor: *const Executor,
    alpha: T::Compute,
    x: *const T,
    y: *mut T,
    length: usize,
) -> Status {
    guarded(|| {
        // SAFETY: as of the caller.
        let (y, [x]) = unsafe { lend(length, ("y", y), [("x", x)]) }?;
        // SAFETY: as of the caller.
        unsafe { run(executor, size_of_val(y), |core| core.axpy(alpha, x, y)) };
        Ok(())
    })
}

/// # Safety
///
/// As for [`rootstep_descend_f32`].
#[inline]
unsafe fn descend<T: Element + Plain>(
    executor: *const Executor,
    parameters: *mut T,
    gradient: *const T,
    length: usize,
    learning_rate: T::Compute,
) -> Status {
    guarded(|| {
        // SAFETY: as of the caller.
        let lent = unsafe { lend(length, ("parameters", parameters), [("gradient", gradient)]) };
        let (parameters, [gradient]) = lent?;
        let bytes = size_of_val(parameters);
        // SAFETY: as of the caller.
        unsafe { run(executor, bytes, |core| core.descend(parameters, gradient, learning_rate)) };
        Ok(())
    })
}

/// # Safety
///
/// As for [`rootstep_descend_into_f32`].
#[inline]
unsafe fn descend_into<T: Element + Plain>(
    executor: *const Executor,
    parameters: *const T,
    gradient: *const T,
    length: usize,
    learning_rate: T::Compute,
    out: *mut T,
) -> Status {
    guarded(|| {
        let inputs = [("parameters", parameters), ("gradient", gradient)];
        // SAFETY: as of the caller.
        let (out, [parameters, gradient]) = unsafe { lend(length, ("out", out), inputs) }?;
        let bytes = size_of_val(out);
        let work = |core: rootstep::Executor| {
            core.descend_into(parameters, gradient, learning_rate, out);
        };
        // SAFETY: as of the caller.
        unsafe { run(executor, bytes, work) };
        Ok(())
    })
}

/// `out[i] = copysign(sqrt(abs(gradient[i])), gradient[i])`, rounded once. `out` may not overlap with `gradient`:
/// `rootstep_signed_sqrt_in_place_f32` is for that.
///
/// `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_signed_sqrt_f32(
    executor: *const Executor,
    gradient: *const f32,
    out: *mut f32,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { signed_sqrt(executor, gradient, out, length) }
}

/// `out[i] = copysign(sqrt(abs(gradient[i])), gradient[i])`, rounded once. `out` may not overlap with `gradient`:
/// `rootstep_signed_sqrt_in_place_f64` is for that.
///
/// `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_signed_sqrt_f64(
    executor: *const Executor,
    gradient: *const f64,
    out: *mut f64,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { signed_sqrt(executor, gradient, out, length) }
}

/// `out[i] = copysign(sqrt(abs(gradient[i])), gradient[i])`, rounded once. `out` may not overlap with `gradient`:
/// `rootstep_signed_sqrt_in_place_bf16` is for that.
///
/// The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_signed_sqrt_bf16(
    executor: *const Executor,
    gradient: *const u16,
    out: *mut u16,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { signed_sqrt(executor, gradient.cast::<bf16>(), out.cast::<bf16>(), length) }
}

/// `out[i] = copysign(sqrt(abs(gradient[i])), gradient[i])`, rounded once. `out` may not overlap with `gradient`:
/// `rootstep_signed_sqrt_in_place_f16` is for that.
///
/// The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_signed_sqrt_f16(
    executor: *const Executor,
    gradient: *const u16,
    out: *mut u16,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { signed_sqrt(executor, gradient.cast::<f16>(), out.cast::<f16>(), length) }
}

/// `values[i] = copysign(sqrt(abs(values[i])), values[i])`, rounded once.
///
/// `values` has `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_signed_sqrt_in_place_f32(
    executor: *const Executor,
    values: *mut f32,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { signed_sqrt_in_place(executor, values, length) }
}

/// `values[i] = copysign(sqrt(abs(values[i])), values[i])`, rounded once.
///
/// `values` has `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_signed_sqrt_in_place_f64(
    executor: *const Executor,
    values: *mut f64,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { signed_sqrt_in_place(executor, values, length) }
}

/// `values[i] = copysign(sqrt(abs(values[i])), values[i])`, rounded once.
///
/// The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `values` has `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_signed_sqrt_in_place_bf16(
    executor: *const Executor,
    values: *mut u16,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { signed_sqrt_in_place(executor, values.cast::<bf16>(), length) }
}

/// `values[i] = copysign(sqrt(abs(values[i])), values[i])`, rounded once.
///
/// The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `values` has `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_signed_sqrt_in_place_f16(
    executor: *const Executor,
    values: *mut u16,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { signed_sqrt_in_place(executor, values.cast::<f16>(), length) }
}

/// `y[i] = y[i] + (alpha * x[i])`, rounded twice, never fused: the plain gradient step with `alpha = -learning_rate`.
///
/// `x` and `y` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_axpy_f32(
    executor: *const Executor,
    alpha: f32,
    x: *const f32,
    y: *mut f32,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { axpy(executor, alpha, x, y, length) }
}

/// `y[i] = y[i] + (alpha * x[i])`, rounded twice, never fused: the plain gradient step with `alpha = -learning_rate`.
///
/// `x` and `y` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_axpy_f64(
    executor: *const Executor,
    alpha: f64,
    x: *const f64,
    y: *mut f64,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { axpy(executor, alpha, x, y, length) }
}

/// `y[i] = y[i] + (alpha * x[i])`, rounded twice, never fused: the plain gradient step with `alpha = -learning_rate`.
///
/// The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `x` and `y` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_axpy_bf16(
    executor: *const Executor,
    alpha: f32,
    x: *const u16,
    y: *mut u16,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { axpy(executor, alpha, x.cast::<bf16>(), y.cast::<bf16>(), length) }
}

/// `y[i] = y[i] + (alpha * x[i])`, rounded twice, never fused: the plain gradient step with `alpha = -learning_rate`.
///
/// The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `x` and `y` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_axpy_f16(
    executor: *const Executor,
    alpha: f32,
    x: *const u16,
    y: *mut u16,
    length: usize,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { axpy(executor, alpha, x.cast::<f16>(), y.cast::<f16>(), length) }
}

/// `parameters[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times.
///
/// `parameters` and `gradient` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_descend_f32(
    executor: *const Executor,
    parameters: *mut f32,
    gradient: *const f32,
    length: usize,
    learning_rate: f32,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { descend(executor, parameters, gradient, length, learning_rate) }
}

/// `parameters[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times.
///
/// `parameters` and `gradient` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_descend_f64(
    executor: *const Executor,
    parameters: *mut f64,
    gradient: *const f64,
    length: usize,
    learning_rate: f64,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { descend(executor, parameters, gradient, length, learning_rate) }
}

/// `parameters[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times.
///
/// The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `parameters` and `gradient` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_descend_bf16(
    executor: *const Executor,
    parameters: *mut u16,
    gradient: *const u16,
    length: usize,
    learning_rate: f32,
) -> Status {
    // SAFETY: as of the caller.
    unsafe {
        descend(executor, parameters.cast::<bf16>(), gradient.cast::<bf16>(), length, learning_rate)
    }
}

/// `parameters[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times.
///
/// The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `parameters` and `gradient` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_descend_f16(
    executor: *const Executor,
    parameters: *mut u16,
    gradient: *const u16,
    length: usize,
    learning_rate: f32,
) -> Status {
    // SAFETY: as of the caller.
    unsafe {
        descend(executor, parameters.cast::<f16>(), gradient.cast::<f16>(), length, learning_rate)
    }
}

/// `out[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times:
/// `rootstep_descend_f32` out of place, with the same bits.
///
/// `parameters`, `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_descend_into_f32(
    executor: *const Executor,
    parameters: *const f32,
    gradient: *const f32,
    length: usize,
    learning_rate: f32,
    out: *mut f32,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { descend_into(executor, parameters, gradient, length, learning_rate, out) }
}

/// `out[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times:
/// `rootstep_descend_f64` out of place, with the same bits.
///
/// `parameters`, `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_descend_into_f64(
    executor: *const Executor,
    parameters: *const f64,
    gradient: *const f64,
    length: usize,
    learning_rate: f64,
    out: *mut f64,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { descend_into(executor, parameters, gradient, length, learning_rate, out) }
}

/// `out[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times:
/// `rootstep_descend_bf16` out of place, with the same bits.
///
/// The elements are bf16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `parameters`, `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_descend_into_bf16(
    executor: *const Executor,
    parameters: *const u16,
    gradient: *const u16,
    length: usize,
    learning_rate: f32,
    out: *mut u16,
) -> Status {
    // SAFETY: as of the caller.
    unsafe {
        descend_into(
            executor,
            parameters.cast::<bf16>(),
            gradient.cast::<bf16>(),
            length,
            learning_rate,
            out.cast::<bf16>(),
        )
    }
}

/// `out[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times:
/// `rootstep_descend_f16` out of place, with the same bits.
///
/// The elements are f16, by their bits: read exactly, computed in f32, and rounded to the nearest, ties to even, once
/// more.
///
/// `parameters`, `gradient` and `out` have `length` elements. With 0 the pointers may be anything.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; `length` elements cannot be there; what is
/// written overlaps with the rest.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and
/// no other thread may write to it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_descend_into_f16(
    executor: *const Executor,
    parameters: *const u16,
    gradient: *const u16,
    length: usize,
    learning_rate: f32,
    out: *mut u16,
) -> Status {
    // SAFETY: as of the caller.
    unsafe {
        descend_into(
            executor,
            parameters.cast::<f16>(),
            gradient.cast::<f16>(),
            length,
            learning_rate,
            out.cast::<f16>(),
        )
    }
}

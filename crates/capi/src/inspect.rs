//! The health of a model's gradients.

#![allow(unsafe_code, reason = "pointers of the caller, and names that C links to")]

use crate::executor::{Executor, run};
use crate::memory::{Name, Plain, Span, no_memory};
use crate::sized::{Versioned, size_of_given, write};
use crate::status::{Problem, Status, guarded};
use half::{bf16, f16};
use rootstep::Element;

/// What was found in gradients. Set `size` before the call.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inspection {
    /// `sizeof(rootstep_inspection)`.
    pub size: usize,
    /// How many elements there are.
    pub elements: u64,
    /// The L2 norm of all, with the same bits on every instruction set and for any number of threads: NaN if an
    /// element is NaN, infinite if one is infinite and none NaN. It does not overflow or underflow where the norm
    /// itself is a finite double.
    pub norm: f64,
    /// The largest magnitude of the elements that are not NaN; 0 if there are none.
    pub max_magnitude: f64,
    /// How many are NaN.
    pub nan: u64,
    /// How many are infinite.
    pub infinite: u64,
    /// How many are 0 or -0.
    pub zero: u64,
    /// How many are subnormal.
    pub subnormal: u64,
    /// The tensor of the first element that is not finite; `UINT64_MAX` if there is none.
    pub first_non_finite_tensor: u64,
    /// Its index in the tensor; `UINT64_MAX` if there is none.
    pub first_non_finite_index: u64,
}

// SAFETY: `repr(C)`, begins with its size, numbers alone. It is written, not read.
unsafe impl Versioned for Inspection {
    const NAME: &'static str = "found";
    const FIRST: usize = size_of::<usize>() + 72;
}

impl Inspection {
    fn of(size: usize, found: &rootstep::Inspection) -> Self {
        let place = found.first_non_finite.map(|(tensor, index)| (tensor as u64, index as u64));
        let (tensor, index) = place.unwrap_or((u64::MAX, u64::MAX));
        Self {
            size,
            elements: found.elements,
            norm: found.norm,
            max_magnitude: found.max_magnitude,
            nan: found.nan,
            infinite: found.infinite,
            zero: found.zero,
            subnormal: found.subnormal,
            first_non_finite_tensor: tensor,
            first_non_finite_index: index,
        }
    }
}

/// # Safety
///
/// As for [`rootstep_inspect_f32`].
unsafe fn inspect<T: Element + Plain>(
    executor: *const Executor,
    gradients: *const *const T,
    lengths: *const usize,
    count: usize,
    found: *mut Inspection,
) -> Status {
    guarded(|| {
        // SAFETY: as of the caller.
        let size = unsafe { size_of_given(found) }?;
        // SAFETY: as of the caller.
        let gradients = unsafe { lend_all(gradients, lengths, count) }?;
        let bytes = gradients.iter().fold(0, |sum: usize, g| sum.saturating_add(size_of_val(*g)));
        // SAFETY: as of the caller.
        let inspection = unsafe { run(executor, bytes, |core| core.inspect(&gradients)) };
        // SAFETY: the caller says that it may be written; its size has been checked.
        unsafe { write(found, size, &Inspection::of(size, &inspection)) };
        Ok(())
    })
}

/// Gradients to be read.
///
/// # Safety
///
/// The arrays and the gradients must be there for all of `'a`, and nobody may write to them in the meantime.
unsafe fn lend_all<'a, T: Plain>(
    gradients: *const *const T,
    lengths: *const usize,
    count: usize,
) -> Result<Vec<&'a [T]>, Problem> {
    // SAFETY: as of the caller.
    let gradients = unsafe { Span::new("gradients", gradients, count)?.read() };
    // SAFETY: as of the caller.
    let lengths = unsafe { Span::new("lengths", lengths, count)?.read() };
    let mut lent = Vec::new();
    lent.try_reserve(count).map_err(|_| no_memory())?;
    for (tensor, (&gradient, &length)) in gradients.iter().zip(lengths).enumerate() {
        let name = Name { field: "gradient", tensor: Some(tensor) };
        // SAFETY: as of the caller.
        lent.push(unsafe { Span::new(name, gradient, length)?.read() });
    }
    Ok(lent)
}

/// The health of `count` gradients of a model, in one pass (two, where squares would overflow or be lost): `gradients[i]`
/// has `lengths[i]` elements.
///
/// It needs memory of its own: some 100 bytes for each 32768 elements, which are freed.
///
/// Errors: a pointer is NULL or not aligned; a gradient cannot have so many elements; the size of `found` is not set.
/// Nothing is written then.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and no other thread may write to
/// it during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_inspect_f32(
    executor: *const Executor,
    gradients: *const *const f32,
    lengths: *const usize,
    count: usize,
    found: *mut Inspection,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { inspect(executor, gradients, lengths, count, found) }
}

/// The health of `count` gradients of a model, in one pass (two, where squares would overflow or be lost): `gradients[i]`
/// has `lengths[i]` elements.
///
/// It needs memory of its own: some 100 bytes for each 32768 elements, which are freed.
///
/// Errors: a pointer is NULL or not aligned; a gradient cannot have so many elements; the size of `found` is not set.
/// Nothing is written then.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and no other thread may write to
/// it during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_inspect_f64(
    executor: *const Executor,
    gradients: *const *const f64,
    lengths: *const usize,
    count: usize,
    found: *mut Inspection,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { inspect(executor, gradients, lengths, count, found) }
}

/// The health of `count` gradients of a model, in one pass (two, where squares would overflow or be lost): `gradients[i]`
/// has `lengths[i]` elements of bf16, by their bits.
///
/// It needs memory of its own: some 100 bytes for each 32768 elements, which are freed.
///
/// Errors: a pointer is NULL or not aligned; a gradient cannot have so many elements; the size of `found` is not set.
/// Nothing is written then.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and no other thread may write to
/// it during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_inspect_bf16(
    executor: *const Executor,
    gradients: *const *const u16,
    lengths: *const usize,
    count: usize,
    found: *mut Inspection,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { inspect(executor, gradients.cast::<*const bf16>(), lengths, count, found) }
}

/// The health of `count` gradients of a model, in one pass (two, where squares would overflow or be lost): `gradients[i]`
/// has `lengths[i]` elements of f16, by their bits.
///
/// It needs memory of its own: some 100 bytes for each 32768 elements, which are freed.
///
/// Errors: a pointer is NULL or not aligned; a gradient cannot have so many elements; the size of `found` is not set.
/// Nothing is written then.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The memory must be there, and no other thread may write to
/// it during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_inspect_f16(
    executor: *const Executor,
    gradients: *const *const u16,
    lengths: *const usize,
    count: usize,
    found: *mut Inspection,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { inspect(executor, gradients.cast::<*const f16>(), lengths, count, found) }
}

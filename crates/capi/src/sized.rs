//! Structs of the caller's that begin with their own size, as `clone3` and `openat2` have them.

#![allow(unsafe_code, reason = "the memory of the caller")]

use crate::status::{Problem, Status};
use std::mem::MaybeUninit;
use std::ptr;

/// A struct of the interface.
///
/// # Safety
///
/// It is `repr(C)`; its first field is the `usize` that [`size`](Self::SIZE) is read from; all bits
/// are values of all fields, and those of zeros say of a field what it was like before there was such a field.
pub unsafe trait Versioned: Copy {
    /// What messages call it.
    const NAME: &'static str;
    /// The size of its first version.
    const FIRST: usize;
    const SIZE: usize = size_of::<Self>();
}

/// More than any version will have: what lies there is no size.
const MOST: usize = 4096;

/// The size that a struct says it has.
///
/// # Errors
///
/// If it is NULL or not aligned, or the size is none that it can have.
///
/// # Safety
///
/// A pointer that is not NULL must be one to a struct whose size is set.
#[inline]
pub unsafe fn size_of_given<T: Versioned>(given: *const T) -> Result<usize, Problem> {
    check_pointer(given)?;
    // SAFETY: it begins with this field; not NULL and aligned, as has been seen.
    let size = unsafe { given.cast::<usize>().read() };
    check_size::<T>(size)?;
    Ok(size)
}

/// # Errors
///
/// If it is NULL or not aligned.
#[inline]
pub fn check_pointer<T: Versioned>(given: *const T) -> Result<(), Problem> {
    if given.is_null() {
        let message = format!("`{}` is NULL; allowed: a struct", T::NAME);
        return Err(Problem::new(Status::NullPointer, message));
    }
    if !given.is_aligned() {
        let (address, align) = (given.addr(), align_of::<T>());
        let message = format!("`{}` is at {address:#x}; allowed: a multiple of {align}", T::NAME);
        return Err(Problem::new(Status::Misaligned, message));
    }
    Ok(())
}

/// # Errors
///
/// If it is no size of such a struct.
#[inline]
pub fn check_size<T: Versioned>(size: usize) -> Result<(), Problem> {
    if size < T::FIRST || size > MOST || !size.is_multiple_of(align_of::<T>()) {
        let (name, first) = (T::NAME, T::FIRST);
        let message = format!(
            "the size of `{name}` is {size}; allowed: the `sizeof` of the struct, which is {first} or more"
        );
        return Err(Problem::new(Status::Size, message));
    }
    Ok(())
}

/// A struct of `size` bytes: the caller's own if it is of this version, else what this version knows of it, in `own`.
///
/// # Errors
///
/// If there is something behind the fields that this version knows.
///
/// # Safety
///
/// The pointer must be one to a struct of that size, which [`size_of_given`] has given, and nobody may write to it while
/// the result is there.
#[inline]
pub unsafe fn read<T: Versioned>(
    given: *const T,
    size: usize,
    own: &mut MaybeUninit<T>,
) -> Result<&T, Problem> {
    if size == T::SIZE {
        // SAFETY: there are so many bytes, all of which are values; aligned, as has been seen.
        return Ok(unsafe { &*given });
    }
    // SAFETY: as of the caller.
    Ok(own.write(unsafe { read_other(given, size) }?))
}

/// [`read`] of another version's.
///
/// # Safety
///
/// As for [`read`].
#[cold]
unsafe fn read_other<T: Versioned>(given: *const T, size: usize) -> Result<T, Problem> {
    let known = size.min(T::SIZE);
    for i in known..size {
        // SAFETY: within the struct of `size` bytes.
        let byte = unsafe { given.cast::<u8>().add(i) };
        // SAFETY: as above.
        let byte = unsafe { byte.read() };
        if byte != 0 {
            let message = format!(
                "byte {i} of `{}` is {byte}; allowed: 0, since this version of the library knows {} bytes",
                T::NAME,
                T::SIZE
            );
            return Err(Problem::new(Status::Size, message));
        }
    }
    let mut own = MaybeUninit::<T>::zeroed();
    // SAFETY: both have as many bytes, and are two.
    unsafe { ptr::copy_nonoverlapping(given.cast::<u8>(), own.as_mut_ptr().cast::<u8>(), known) };
    // SAFETY: all bits are values, and all are set: the rest are zeros.
    Ok(unsafe { own.assume_init() })
}

/// Writes a struct of `size` bytes: what this version does not know becomes zeros, what the caller does not know is
/// left out.
///
/// # Safety
///
/// The pointer must be one to memory of that size, which has been checked, as has the size.
pub unsafe fn write<T: Versioned>(given: *mut T, size: usize, value: &T) {
    let known = size.min(T::SIZE);
    // SAFETY: both have as many bytes, and are two.
    unsafe { ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), given.cast(), known) };
    // SAFETY: within the memory of `size` bytes.
    let rest = unsafe { given.cast::<u8>().add(known) };
    // SAFETY: what is left of it.
    unsafe { ptr::write_bytes(rest, 0, size - known) };
}

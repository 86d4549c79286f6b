//! What a call gives back, and the message of the last error of each thread.

#![allow(unsafe_code, reason = "names that C links to")]

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{fmt, mem};

/// What a call gives back. Later versions may add others: take whatever is not `ROOTSTEP_STATUS_OK` for an error.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A pointer is NULL where there are elements, or a struct must be.
    NullPointer = 1,
    /// A pointer is not aligned as its type must be.
    Misaligned = 2,
    /// A number of elements is more than memory can hold, or does not fit another one.
    Length = 3,
    /// Memory that is written overlaps with other memory of the call.
    Overlap = 4,
    /// The `size` of a struct is none that it can have, or what is behind the fields that this version knows is not
    /// zero.
    Size = 5,
    /// An integer stands for none of the constants of its kind.
    Constant = 6,
    /// A number of a rule is out of its range, or the numbers do not fit each other.
    Setting = 7,
    /// The momentum of a tensor does not fit its step.
    Momentum = 8,
    /// How the parameters of a tensor are stored does not fit their type.
    Storage = 9,
    /// This machine does not have the instruction set.
    Level = 10,
    /// The threads cannot be started.
    Threads = 11,
    /// There is no memory for what a call needs beside the caller's.
    OutOfMemory = 12,
    /// An error of the library itself. What the call was to write may be half-written.
    Internal = 13,
}

impl Status {
    const fn name(self) -> &'static CStr {
        match self {
            Self::Ok => c"ROOTSTEP_STATUS_OK",
            Self::NullPointer => c"ROOTSTEP_STATUS_NULL_POINTER",
            Self::Misaligned => c"ROOTSTEP_STATUS_MISALIGNED",
            Self::Length => c"ROOTSTEP_STATUS_LENGTH",
            Self::Overlap => c"ROOTSTEP_STATUS_OVERLAP",
            Self::Size => c"ROOTSTEP_STATUS_SIZE",
            Self::Constant => c"ROOTSTEP_STATUS_CONSTANT",
            Self::Setting => c"ROOTSTEP_STATUS_SETTING",
            Self::Momentum => c"ROOTSTEP_STATUS_MOMENTUM",
            Self::Storage => c"ROOTSTEP_STATUS_STORAGE",
            Self::Level => c"ROOTSTEP_STATUS_LEVEL",
            Self::Threads => c"ROOTSTEP_STATUS_THREADS",
            Self::OutOfMemory => c"ROOTSTEP_STATUS_OUT_OF_MEMORY",
            Self::Internal => c"ROOTSTEP_STATUS_INTERNAL",
        }
    }

    const ALL: [Self; 14] = [
        Self::Ok,
        Self::NullPointer,
        Self::Misaligned,
        Self::Length,
        Self::Overlap,
        Self::Size,
        Self::Constant,
        Self::Setting,
        Self::Momentum,
        Self::Storage,
        Self::Level,
        Self::Threads,
        Self::OutOfMemory,
        Self::Internal,
    ];
}

/// Why a call is refused.
#[derive(Debug)]
pub struct Problem {
    pub status: Status,
    pub message: String,
}

impl Problem {
    #[cold]
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// One of the core's.
    #[cold]
    pub fn of(error: &rootstep::Error) -> Self {
        use rootstep::Error;
        let status = match error {
            Error::InvalidSetting { .. } => Status::Setting,
            Error::InvalidMomentum { .. } => Status::Momentum,
            Error::InvalidStorage { .. } => Status::Storage,
            Error::TensorLength { .. } => Status::Length,
            Error::UnknownLevel { .. } | Error::UnavailableLevel { .. } => Status::Level,
            _ => Status::Internal,
        };
        Self::new(status, error.to_string())
    }

    /// The same, of something that the message names first.
    #[cold]
    pub fn of_part(self, part: impl fmt::Display) -> Self {
        Self { message: format!("{part}: {}", self.message), ..self }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Does the work of a call. Neither a problem nor a panic goes through: they become a status and a message.
#[inline]
pub fn guarded(work: impl FnOnce() -> Result<(), Problem>) -> Status {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(problem)) => keep(problem),
        Err(payload) => keep(Problem::new(Status::Internal, text_of(payload))),
    }
}

/// What a panic says.
#[cold]
fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    let text = format!("an error of the library itself: {text}");
    // To drop it may panic in turn.
    mem::forget(payload);
    text
}

#[cold]
fn keep(Problem { status, message }: Problem) -> Status {
    let mut message = message.into_bytes();
    message.retain(|&byte| byte != 0);
    let message = CString::new(message).unwrap_or_default();
    // In a thread that ends there may be no place for it any more.
    let _ = LAST.try_with(|last| last.replace(message));
    status
}

/// What was wrong with the last call of this thread that gave another status than `ROOTSTEP_STATUS_OK`, and what is
/// allowed. It is empty if there was none. Calls that succeed leave it as it is.
///
/// The text is the library's: it stays until the thread's next call that fails, or the thread ends.
#[unsafe(no_mangle)]
pub extern "C" fn rootstep_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// The name of a status, such as `ROOTSTEP_STATUS_OVERLAP`; NULL for an integer that is none. It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn rootstep_status_name(status: i32) -> *const c_char {
    let found = Status::ALL.into_iter().find(|known| *known as i32 == status);
    found.map_or(std::ptr::null(), |status| status.name().as_ptr())
}

/// The version of the library, such as "0.1.0". That of the header is in `ROOTSTEP_MAJOR`, `ROOTSTEP_MINOR` and
/// `ROOTSTEP_PATCH`. It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn rootstep_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version has no zeros"),
        };
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{panic_any, resume_unwind};
    use std::thread;

    fn last() -> String {
        LAST.with(|last| last.borrow().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_panic_is_a_status() {
        assert_eq!(guarded(|| resume_unwind(Box::new("a text"))), Status::Internal);
        assert_eq!(last(), "an error of the library itself: a text");
        assert_eq!(guarded(|| resume_unwind(Box::new(format!("text {}", 2)))), Status::Internal);
        assert_eq!(last(), "an error of the library itself: text 2");
    }

    #[test]
    fn a_panic_whose_payload_panics_is_one_too() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic_any("dropped");
            }
        }
        assert_eq!(guarded(|| resume_unwind(Box::new(Bomb))), Status::Internal);
        assert_eq!(last(), "an error of the library itself: a panic");
    }

    #[test]
    fn each_thread_has_its_own_message() {
        let fail = |text: &str| guarded(|| Err(Problem::new(Status::Level, text)));
        assert_eq!(fail("of\0 one"), Status::Level);
        thread::spawn(move || {
            assert_eq!(last(), "");
            fail("of another");
            assert_eq!(guarded(|| Ok(())), Status::Ok);
            assert_eq!(last(), "of another");
        })
        .join()
        .unwrap();
        assert_eq!(last(), "of one");
    }
}

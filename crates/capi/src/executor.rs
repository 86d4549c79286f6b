//! How calls run: the instruction set and the threads.

#![allow(unsafe_code, reason = "pointers of the caller, and names that C links to")]

use crate::memory::Span;
use crate::status::{Problem, Status, guarded};
use rayon::{ThreadPool, ThreadPoolBuilder};
use rootstep::Executor as Core;
use std::ffi::{CStr, c_char};
use std::{fmt, mem, process, ptr};

/// The instruction sets. All give the same bits.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The one that the environment variable `ROOTSTEP_LEVEL` names, if this machine has it, else the best one.
    Default = 0,
    /// Registers of 128 bits, or none: every machine has it.
    Portable = 1,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2 = 2,
    /// x86-64 with AVX-512F.
    Avx512 = 3,
}

impl Level {
    const NAMES: [(Self, &'static CStr); 4] = [
        (Self::Default, c"default"),
        (Self::Portable, c"portable"),
        (Self::Avx2, c"avx2"),
        (Self::Avx512, c"avx512"),
    ];

    fn name(level: i32) -> Option<&'static CStr> {
        let found = Self::NAMES.into_iter().find(|(known, _)| *known as i32 == level);
        found.map(|(_, name)| name)
    }

    /// The executor at this level, which no trap comes from.
    fn executor(level: i32) -> Result<Core, Problem> {
        let name = Self::name(level).ok_or_else(|| {
            let message = format!("`level` is {level}; allowed: one of `rootstep_level`");
            Problem::new(Status::Constant, message)
        })?;
        if level == Self::Default as i32 {
            return Ok(Core::default().untrapped());
        }
        let name = name.to_str().unwrap_or_default();
        let level: rootstep::Level = name.parse().map_err(|error| Problem::of(&error))?;
        Ok(Core::new(level).untrapped())
    }
}

/// Outputs of fewer bytes are worked on by the calling thread: to hand them to a pool and to sleep until it is done
/// takes longer than its help saves.
const POOL_BYTES: usize = 4 << 20;

/// More threads than any machine has cores: what was given is no number of threads.
const MOST_THREADS: usize = 4096;

/// How calls run: an instruction set, and threads. Calls from several threads may share one.
///
/// Wherever a function takes one, NULL is the default: the best instruction set, and the threads of the process.
#[derive(Debug)]
pub struct Executor {
    core: Core,
    pool: Option<Pool>,
}

/// Threads of its own.
struct Pool {
    threads: mem::ManuallyDrop<ThreadPool>,
    /// The process that they are in.
    process: u32,
}

impl Pool {
    fn new(threads: usize) -> Result<Self, Problem> {
        let named = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("rootstep-{i}"))
            .build();
        let threads = named.map_err(|error| {
            let message = format!("{threads} threads cannot be started: {error}");
            Problem::new(Status::Threads, message)
        })?;
        Ok(Self { threads: mem::ManuallyDrop::new(threads), process: process::id() })
    }

    /// In a forked process there is the pool, and its threads are not.
    fn is_here(&self) -> bool {
        self.process == process::id()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.threads.current_num_threads();
        f.debug_struct("Pool").field("threads", &threads).field("process", &self.process).finish()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: it is dropped here alone, and not used again.
            unsafe { mem::ManuallyDrop::drop(&mut self.threads) };
        }
    }
}

impl Executor {
    fn new(level: i32, threads: usize) -> Result<Self, Problem> {
        let core = Level::executor(level)?;
        Ok(match threads {
            0 => Self { core, pool: None },
            1 => Self { core: core.serial(), pool: None },
            2..=MOST_THREADS => Self { core, pool: Some(Pool::new(threads)?) },
            _ => {
                let message = format!("`threads` is {threads}; allowed: 0 to {MOST_THREADS}");
                return Err(Problem::new(Status::Threads, message));
            }
        })
    }
}

/// Does work that writes, or reads, so many bytes.
///
/// # Safety
///
/// `executor` must be NULL or one that `rootstep_executor_new` has made and nobody has freed.
#[inline]
pub unsafe fn run<R: Send>(
    executor: *const Executor,
    bytes: usize,
    work: impl FnOnce(Core) -> R + Send,
) -> R {
    // SAFETY: as of the caller.
    let Some(executor) = (unsafe { executor.as_ref() }) else {
        return work(Core::default().untrapped());
    };
    match &executor.pool {
        None => work(executor.core),
        Some(pool) if bytes >= POOL_BYTES && pool.is_here() => {
            pool.threads.install(|| work(executor.core))
        }
        Some(_) => work(executor.core.serial()),
    }
}

/// Makes an executor, to be freed by `rootstep_executor_free`.
///
/// `level` is one of `rootstep_level`. `threads` is how many work on a call that is long enough to gain:
///
/// - 0: those that the process shares, as many as cores, or as the environment variable `RAYON_NUM_THREADS` says
///   when they are first needed. The calling thread is one of those that work.
/// - 1: the calling thread alone.
/// - 2 to 4096: so many threads of the executor's own, which sleep between the calls. The calling thread waits.
///
/// Outputs of less than 4 MiB are always worked on by the calling thread, and so are all in a forked process whose
/// parent has made the executor. The bits are the same for any level and number of threads.
///
/// Errors: `executor` is NULL or not aligned; `ROOTSTEP_STATUS_CONSTANT` if there is no such level,
/// `ROOTSTEP_STATUS_LEVEL` if this machine does not have it; `ROOTSTEP_STATUS_THREADS` if there are more than 4096
/// threads, or they cannot be started. `*executor` becomes NULL then.
///
/// # Safety
///
/// `executor` must be one to a pointer that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_executor_new(
    level: i32,
    threads: usize,
    executor: *mut *mut Executor,
) -> Status {
    guarded(|| {
        Span::new("executor", executor, 1)?;
        let new = Executor::new(level, threads);
        let (made, result) = match new {
            Ok(new) => (Box::into_raw(Box::new(new)), Ok(())),
            Err(problem) => (ptr::null_mut(), Err(problem)),
        };
        // SAFETY: not NULL and aligned, as has been seen; the caller says that it may be written.
        unsafe { executor.write(made) };
        result
    })
}

/// Frees an executor, and waits for nothing. NULL is none.
///
/// # Safety
///
/// `executor` must be NULL, or one that `rootstep_executor_new` has made, that has not been freed, and that no call is
/// using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_executor_free(executor: *mut Executor) {
    guarded(|| {
        if !executor.is_null() {
            // SAFETY: the caller says that it was made by `Box::into_raw`, and that this is its end.
            drop(unsafe { Box::from_raw(executor) });
        }
        Ok(())
    });
}

/// The instruction set of an executor, one of `rootstep_level` but not `ROOTSTEP_LEVEL_DEFAULT`.
///
/// # Safety
///
/// `executor` must be NULL, which is the default one, or one that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_executor_level(executor: *const Executor) -> i32 {
    let mut level = Level::Portable as i32;
    guarded(|| {
        // SAFETY: as of the caller.
        let core = unsafe { executor.as_ref() }.map_or_else(Core::default, |own| own.core);
        let found = Level::NAMES
            .into_iter()
            .find(|(_, name)| name.to_bytes() == core.level().name().as_bytes());
        level = found.map_or(level, |(found, _)| found as i32);
        Ok(())
    });
    level
}

/// Whether this machine has a level of `rootstep_level`. It has none that is not one of them.
#[unsafe(no_mangle)]
pub extern "C" fn rootstep_level_available(level: i32) -> bool {
    let mut available = false;
    guarded(|| {
        available = match Level::name(level) {
            Some(_) if level == Level::Default as i32 => true,
            Some(name) => {
                let mut levels = rootstep::Level::available().iter();
                levels.any(|level| level.name().as_bytes() == name.to_bytes())
            }
            None => false,
        };
        Ok(())
    });
    available
}

/// The name of a level of `rootstep_level`, as `ROOTSTEP_LEVEL` takes it: "portable", "avx2" or "avx512", and
/// "default"; NULL for an integer that is none. It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn rootstep_level_name(level: i32) -> *const c_char {
    Level::name(level).map_or(ptr::null(), CStr::as_ptr)
}

//! The threads that PyTorch works with on the CPU: those of the OpenMP that is in its process.
//!
//! They wait by spinning. Threads of another pool would be woken on cores that they hold.

use pyo3::Python;
use rootstep::parallel::{self, ThreadPool};
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::mem::transmute;
use std::process;
use std::sync::OnceLock;

/// What GCC's compiled code calls for a parallel region; LLVM's library has it, too.
type Parallel = unsafe extern "C" fn(
    work: extern "C" fn(*mut c_void),
    data: *mut c_void,
    threads: c_uint,
    flags: c_uint,
);
type MaxThreads = unsafe extern "C" fn() -> c_int;

/// The functions of an OpenMP library.
struct OpenMp {
    parallel: Parallel,
    max_threads: MaxThreads,
}

static FOUND: OnceLock<Option<OpenMp>> = OnceLock::new();

/// The process in which this module was loaded. In one that is forked from it the threads are gone, and OpenMP waits for
/// them.
static PROCESS: OnceLock<u32> = OnceLock::new();

/// To be called when the module is loaded.
pub fn begin() {
    PROCESS.get_or_init(process::id);
}

/// Looks for OpenMP in the process, once, after PyTorch has been loaded; whether it is there.
pub fn find() -> bool {
    FOUND.get_or_init(OpenMp::find).is_some()
}

/// Calls `f` without the interpreter's lock. Its long slices are split over the threads of OpenMP, if that has been
/// found.
pub fn detach<R: Send>(py: Python<'_>, f: impl FnOnce() -> R + Send) -> R {
    py.detach(|| match FOUND.get() {
        Some(Some(pool)) => parallel::install(pool, f),
        _ => f(),
    })
}

impl OpenMp {
    fn find() -> Option<Self> {
        let (parallel, max_threads) = (symbol(c"GOMP_parallel")?, symbol(c"omp_get_max_threads")?);
        // SAFETY: these are names of the interface between compilers and OpenMP's libraries, and of the standard of
        // OpenMP: who has them in a process has functions of these types.
        let parallel = unsafe { transmute::<*mut c_void, Parallel>(parallel) };
        // SAFETY: as above.
        let max_threads = unsafe { transmute::<*mut c_void, MaxThreads>(max_threads) };
        Some(Self { parallel, max_threads })
    }
}

/// What the process has by this name.
#[cfg(unix)]
fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `name` ends with 0. Nothing is loaded, so no code of a library runs.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

#[cfg(not(unix))]
fn symbol(_: &CStr) -> Option<*mut c_void> {
    None
}

impl ThreadPool for OpenMp {
    /// As `torch.set_num_threads` says.
    fn threads(&self) -> usize {
        if PROCESS.get() != Some(&process::id()) {
            return 1;
        }
        // SAFETY: a function without arguments, which reads a setting of this thread.
        let threads = unsafe { (self.max_threads)() };
        usize::try_from(threads).unwrap_or(1)
    }

    fn broadcast(&self, work: &(dyn Fn() + Sync)) {
        extern "C" fn call(work: *mut c_void) {
            // SAFETY: it is the address of the reference below, which is there until all threads have returned.
            let work = unsafe { *work.cast::<&(dyn Fn() + Sync)>() };
            // It does not panic, as `ThreadPool` says.
            work();
        }
        let data = (&raw const work).cast_mut().cast();
        // SAFETY: the function takes what it is given for the address that it is. `work` may be called by several
        // threads at a time, since it is `Sync`. All of them have returned when this does: a parallel region ends
        // with a barrier. 0 threads are as many as the setting says.
        unsafe { (self.parallel)(call, data, 0, 0) }
    }

    /// Measured in docs/performance.md.
    fn threshold_bytes(&self) -> usize {
        1 << 20
    }
}

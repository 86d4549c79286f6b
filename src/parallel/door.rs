//! Work that helpers may join while its door is open.
//!
//! Who calls does the work, and others may come to help: each by [`Helper::help`], at any time, or never.
//! The work is behind a door. A helper that finds it open goes in, takes part, and leaves; when the caller
//! has done its own part it closes the door, and waits for those inside, doing nothing else meanwhile. A
//! helper that comes later finds the door closed, and goes. So the caller waits only for helpers that run,
//! and not for one that may never come: its pool may be blocked, or asleep, or not there any more.
//!
//! The work borrows what the caller has, and a helper may outlive it: the borrow checker cannot see that
//! the door keeps them apart. `tests/loom` has every interleaving.

use super::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::PoisonError;

/// Runs `work` on this thread, and on those on which a [`Helper`] comes in time: `call_helper` is given
/// `helpers` of them.
///
/// Returns when nobody is at work any more. A panic of `work` is passed on: this thread's own before that
/// of a helper, the first of several of those.
pub(super) fn work_together<W: Fn() + Sync>(
    helpers: usize,
    work: &W,
    mut call_helper: impl FnMut(Helper),
) {
    let job = Arc::new(Job::new(work));
    let open = Open(&job);
    for _ in 0..helpers {
        call_helper(Helper(Arc::clone(&job)));
    }
    work();
    if let Some(panic) = open.close() {
        resume_unwind(panic);
    }
}

/// One who may help, wherever and whenever it likes.
pub(super) struct Helper(Arc<Job>);

impl Helper {
    /// Takes part in the work, if that is not over. Does not panic.
    pub(super) fn help(self) {
        if let Some(inside) = self.0.enter() {
            inside.work();
        }
    }
}

/// What a panic carries.
type Payload = Box<dyn Any + Send>;

/// What the caller and its helpers share.
struct Job {
    door: Mutex<Door>,
    /// The last helper has left, and the door is closed.
    empty: Condvar,
    work: Work,
}

#[derive(Default)]
struct Door {
    /// The helpers that have come in and not left.
    inside: usize,
    closed: bool,
    /// The first panic of a helper.
    panic: Option<Payload>,
}

impl Job {
    fn new<W: Fn() + Sync>(work: &W) -> Self {
        Self { door: Mutex::new(Door::default()), empty: Condvar::new(), work: Work::new(work) }
    }

    /// Nothing that can panic runs under this lock, and the door is in order after each statement.
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes in, unless the door is closed.
    fn enter(&self) -> Option<Inside<'_>> {
        let mut door = self.door();
        if door.closed {
            return None;
        }
        door.inside += 1;
        Some(Inside(self))
    }

    fn leave(&self) {
        let mut door = self.door();
        door.inside -= 1;
        if door.closed && door.inside == 0 {
            self.empty.notify_one();
        }
    }

    /// Closes the door, and waits until nobody is inside. The panic of a helper is given once.
    fn close(&self) -> Option<Payload> {
        let mut door = self.door();
        door.closed = true;
        while door.inside > 0 {
            door = self.empty.wait(door).unwrap_or_else(PoisonError::into_inner);
        }
        door.panic.take()
    }

    /// Keeps the panic of a helper for the caller, if it is the first.
    fn keep(&self, panic: Payload) {
        let later = {
            let mut door = self.door();
            match door.panic {
                None => door.panic.replace(panic),
                Some(_) => Some(panic),
            }
        };
        if let Some(panic) = later {
            discard(panic);
        }
    }
}

/// The caller's side of a door: closed, and nobody inside, when this is gone, also by a panic.
struct Open<'a>(&'a Job);

impl Open<'_> {
    fn close(self) -> Option<Payload> {
        let panic = self.0.close();
        mem::forget(self); // It was the last thing to do.
        panic
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // After a panic of the caller's own, which wins.
        if let Some(panic) = self.0.close() {
            discard(panic);
        }
    }
}

/// A helper that has come in, and leaves when this is gone.
struct Inside<'a>(&'a Job);

impl Inside<'_> {
    fn work(self) {
        let job = self.0;
        // SAFETY: an `Inside` is made by `Job::enter` alone, after it was counted under an open door, and
        // uncounted by its own drop alone, which comes after this call. `Open` ends only when the door is
        // closed and the count is 0, and it ends, also by a panic, before the borrow that the work was
        // made of: `work_together` holds both.
        let work = || unsafe { job.work.run() };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            job.keep(panic);
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A `&W` whose type and lifetime are forgotten.
struct Work {
    closure: *const (),
    /// Made for the type of `closure`.
    run: unsafe fn(*const ()),
}

// SAFETY: all that can be done with a `Work` is to call it, from several threads at a time, which `W: Sync`
// of its constructor allows.
unsafe impl Send for Work {}
// SAFETY: as above.
unsafe impl Sync for Work {}

impl Work {
    fn new<W: Fn() + Sync>(work: &W) -> Self {
        Self { closure: ptr::from_ref(work).cast(), run: run::<W> }
    }

    /// # Safety
    ///
    /// The borrow that this was made of must not have ended.
    unsafe fn run(&self) {
        // SAFETY: `closure` comes from a `&W` of the `W` that `run` is made for, in the constructor, and the
        // caller promises that it is still one.
        unsafe { (self.run)(self.closure) }
    }
}

/// # Safety
///
/// `work` must be a `&W`.
unsafe fn run<W: Fn()>(work: *const ()) {
    // SAFETY: as the caller promises.
    let work = unsafe { &*work.cast::<W>() };
    work();
}

/// Drops what a panic carried. It is somebody else's, and may panic in turn.
fn discard(panic: Payload) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // There need not be an end to this.
        mem::forget(next);
    }
}

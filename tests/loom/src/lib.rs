//! `src/parallel/door.rs` on loom's threads and locks: each model runs in every order that its threads can
//! take, and every relaxed load gives every value that it may.
#![cfg(test)]

#[path = "../../../src/parallel/door.rs"]
mod door;

mod sync {
    pub(super) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
}

use door::{Helper, work_together};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread::{self, JoinHandle, ThreadId};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What the caller lends to its helpers. All is relaxed: that the caller sees what they did, and they
/// nothing of what it does later, has to come of the door.
struct Lent {
    next: AtomicUsize,
    /// How often each part was done.
    done: Vec<AtomicUsize>,
    /// The caller has not returned.
    in_call: AtomicBool,
    caller: ThreadId,
}

impl Lent {
    fn new(parts: usize) -> Self {
        Self {
            next: AtomicUsize::new(0),
            done: (0..parts).map(|_| AtomicUsize::new(0)).collect(),
            in_call: AtomicBool::new(true),
            caller: thread::current().id(),
        }
    }

    /// Does parts until there are none; after each comes `then`.
    fn work(&self, then: impl Fn(&Self)) {
        loop {
            assert!(self.in_call.load(Relaxed), "the caller has returned");
            let part = self.next.fetch_add(1, Relaxed);
            let Some(done) = self.done.get(part) else { break };
            done.store(done.load(Relaxed) + 1, Relaxed);
            then(self);
        }
    }

    fn by_caller(&self) -> bool {
        thread::current().id() == self.caller
    }

    /// How often the parts were done that somebody has taken.
    fn taken(&self) -> Vec<usize> {
        let taken = self.next.load(Relaxed).min(self.done.len());
        self.done[..taken].iter().map(|done| done.load(Relaxed)).collect()
    }
}

/// A call with threads as helpers. `then` comes after each part that somebody has done, and `returned` gets
/// what the call has panicked with. All is done that was begun, once, when it returns; nothing later.
fn call(
    parts: usize,
    helpers: usize,
    then: fn(&Lent),
    returned: impl Fn(&Lent, Option<&str>) + Send + Sync + 'static,
) {
    loom::model(move || {
        let lent = Arc::new(Lent::new(parts));
        // It outlives the helpers, so that a fault of the door is none of this model.
        let work = || lent.work(then);
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        let begin = |helper: Helper| threads.push(thread::spawn(move || helper.help()));
        let result = catch_unwind(AssertUnwindSafe(|| work_together(helpers, &work, begin)));
        lent.in_call.store(false, Relaxed);
        let panic = result.err().map(|panic| *panic.downcast::<&str>().expect("this model's"));
        assert!(lent.taken().iter().all(|&times| times == 1), "a part was not done once");
        returned(&lent, panic);
        for thread in threads {
            thread.join().expect("a helper does not panic");
        }
    });
}

fn panic_with(text: &'static str) {
    resume_unwind(Box::new(text));
}

fn nothing(_: &Lent) {}

/// All work is done, and has been seen to be, when the call returns.
fn complete(lent: &Lent, panic: Option<&str>) {
    assert_eq!((lent.taken().len(), panic), (lent.done.len(), None));
}

#[test]
fn one_helper() {
    call(2, 1, nothing, complete);
}

/// Those that come after the call, and those that never come.
#[test]
fn late_helpers() {
    loom::model(|| {
        let lent = Lent::new(2);
        let mut helpers = Vec::new();
        work_together(3, &|| lent.work(nothing), |helper| helpers.push(helper));
        lent.in_call.store(false, Relaxed);
        complete(&lent, None);
        helpers.pop().expect("there are three").help();
        let late = helpers.pop().expect("there are two");
        thread::spawn(|| late.help()).join().expect("a helper does not panic");
    });
}

#[test]
fn a_helpers_panic_is_the_callers() {
    let helper_panics = |lent: &Lent| {
        if !lent.by_caller() {
            panic_with("a helper");
        }
    };
    // The one of two that panics leaves the other part, if there is one, to the caller.
    call(2, 1, helper_panics, |lent, panic| {
        assert_eq!(lent.taken().len(), 2);
        assert!(panic.is_none_or(|panic| panic == "a helper"));
    });
}

/// With two helpers each only looks in, or there would be too many orders; if they panic, those in which
/// threads are interrupted at most five times.
fn visits(panics: bool) {
    let mut orders = loom::model::Builder::new();
    orders.preemption_bound = panics.then_some(5);
    orders.check(move || {
        let lent = Arc::new(Lent::new(0));
        let work = || {
            assert!(lent.in_call.load(Relaxed), "the caller has returned");
            lent.next.fetch_add(1, Relaxed);
            if panics && !lent.by_caller() {
                panic_with("a helper");
            }
        };
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        let begin = |helper: Helper| threads.push(thread::spawn(move || helper.help()));
        let result = catch_unwind(AssertUnwindSafe(|| work_together(2, &work, begin)));
        let visits = lent.next.load(Relaxed);
        lent.in_call.store(false, Relaxed);
        assert_eq!(result.is_err(), panics && visits > 1, "a panic was lost");
        for thread in threads {
            thread.join().expect("a helper does not panic");
        }
        assert_eq!(lent.next.load(Relaxed), visits, "somebody has come later");
    });
}

#[test]
fn two_helpers() {
    visits(false);
}

#[test]
fn a_panic_of_two_helpers_is_the_callers() {
    visits(true);
}

/// It waits for the helpers that have begun, and its own panic is the one that is passed on.
#[test]
fn a_callers_panic_waits() {
    let both_panic = |lent: &Lent| {
        panic_with(if lent.by_caller() { "the caller" } else { "a helper" });
    };
    call(2, 1, both_panic, |lent, panic| {
        // One alone has done a part only if the other found none, or came late.
        assert!(panic.is_some() && (panic == Some("the caller") || lent.taken().len() == 2));
    });
    let caller_panics = |lent: &Lent| {
        if lent.by_caller() {
            panic_with("the caller");
        }
    };
    call(3, 1, caller_panics, |lent, panic| {
        assert!(panic == Some("the caller") || (panic.is_none() && lent.taken().len() == 3));
    });
}

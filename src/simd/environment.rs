//! The floating-point environment of a thread: whether subnormal numbers are flushed to zero, how results are
//! rounded, and which exceptions end in a trap.
//!
//! Rust code runs in the default one, in which nothing is flushed, results are rounded to nearest, and no
//! exception traps; the bits of this crate are those of that one. Foreign code may have left another to the
//! thread that calls, or to the threads of its pool. So what computes is run [`in_default`] or [`untrapped`].
//!
//! Status flags are left as they come: their state after a call is not specified.

pub use control::seems_default;
use std::hint::black_box;

/// Runs `f` in the default environment.
///
/// What must run in there is behind a call, so that the compiler, to which all environments are the same,
/// does not move it past the writing of the register.
#[cold]
#[inline(never)]
pub fn untrapped<R>(f: impl FnOnce() -> R) -> R {
    #[inline(never)]
    fn call<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
    let _foreign = Foreign::leave();
    black_box(call(f))
}

/// The environment that was there; there again when this is gone, also by a panic. None if it was the
/// default one.
struct Foreign(Option<control::Word>);

impl Foreign {
    fn leave() -> Self {
        let word = control::read();
        if control::is_default(word) {
            return Self(None);
        }
        control::write(control::DEFAULT);
        Self(Some(word))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some(word) = self.0 {
            control::write(word);
        }
    }
}

/// The register MXCSR.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod control {
    use std::arch::asm;

    pub(super) type Word = u32;

    /// All exceptions are masked; to nearest; nothing is flushed. No flag is set.
    pub(super) const DEFAULT: Word = 0x1f80;

    /// The status flags, which arithmetic sets.
    const FLAGS: Word = 0x3f;

    pub(super) const fn is_default(word: Word) -> bool {
        word & !FLAGS == DEFAULT
    }

    pub(super) fn read() -> Word {
        let mut word = 0;
        // SAFETY: the instruction is part of sse, which every CPU has that this crate is compiled for. It
        // writes four bytes, to a u32.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags));
        }
        word
    }

    pub(super) fn write(word: Word) {
        // SAFETY: as above; it reads four bytes, of a u32. `word` is the default, or what was read from the
        // register, so no reserved bit is set. The compiler takes the environment for the default one: that
        // is made true, or what it was before.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack));
        }
    }

    /// Four sums at a time; their bits show how each mode is set.
    #[repr(align(16))]
    struct Probe([u32; 4]);

    /// 1, 1, the smallest subnormal, and 1.5 times the smallest normal.
    static LEFT: Probe = Probe([0x3f80_0000, 0x3f80_0000, 0x0000_0001, 0x00c0_0000]);
    /// A quarter and three quarters of the last place of 1, 0, and minus the smallest normal.
    static RIGHT: Probe = Probe([0x3300_0000, 0x33c0_0000, 0x0000_0000, 0x8080_0000]);
    /// 1 unless rounded upwards, the next number unless downwards or to zero, the same unless a subnormal
    /// operand counts as zero, and a subnormal unless such results are flushed.
    static SUMS: Probe = Probe([0x3f80_0000, 0x3f80_0001, 0x0000_0001, 0x0040_0000]);

    /// Whether results are rounded and kept as in the default environment. Traps do not show.
    ///
    /// Reading the register takes longer than a short call may: it waits for all arithmetic before it. So
    /// the modes are seen by what they do. (Measured in docs/performance.md.)
    #[inline(always)]
    pub fn seems_default() -> bool {
        let equal: u32;
        // SAFETY: the instructions are part of sse and sse2, which every CPU has that this crate is compiled
        // for. They read 16 aligned bytes each, of statics.
        unsafe {
            asm!(
                "movaps {sums}, [{left}]",
                "addps {sums}, [{right}]",
                "pcmpeqd {sums}, [{expected}]",
                "movmskps {equal:e}, {sums}",
                left = in(reg) &raw const LEFT.0,
                right = in(reg) &raw const RIGHT.0,
                expected = in(reg) &raw const SUMS.0,
                sums = out(xmm_reg) _,
                equal = lateout(reg) equal,
                options(nostack, readonly),
            );
        }
        equal == 0b1111
    }
}

/// The register FPCR.
#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    pub(super) type Word = u64;

    /// No exception traps; to nearest; nothing is flushed; a NaN keeps its payload.
    pub(super) const DEFAULT: Word = 0;

    pub(super) const fn is_default(word: Word) -> bool {
        word == DEFAULT
    }

    #[inline(always)]
    pub(super) fn read() -> Word {
        let word;
        // SAFETY: every aarch64 CPU has the register, and any program may read it.
        unsafe {
            asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags));
        }
        word
    }

    pub(super) fn write(word: Word) {
        // SAFETY: as above, or write it. `word` is the default, or what was read from the register. The
        // compiler takes the environment for the default one: that is made true, or what it was before.
        unsafe {
            asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    pub fn seems_default() -> bool {
        is_default(read())
    }
}

/// The register FPC. Nothing is flushed by these CPUs.
#[cfg(target_arch = "s390x")]
mod control {
    use std::arch::asm;

    pub(super) type Word = u32;

    /// No exception traps; to nearest. No flag is set.
    pub(super) const DEFAULT: Word = 0;

    /// The masks of the exceptions, and the rounding of binary numbers. (Between them are flags, the code of
    /// the last exception and the rounding of decimal numbers.)
    const CONTROL: Word = 0xfc00_0007;

    pub(super) const fn is_default(word: Word) -> bool {
        word & CONTROL == DEFAULT
    }

    #[inline(always)]
    pub(super) fn read() -> Word {
        let word;
        // SAFETY: every s390x CPU has the register, and any program may read it.
        unsafe {
            asm!("efpc {}", out(reg) word, options(nomem, nostack, preserves_flags));
        }
        word
    }

    pub(super) fn write(word: Word) {
        // SAFETY: as above, or write it. `word` is the default, or what was read from the register. The
        // compiler takes the environment for the default one: that is made true, or what it was before.
        unsafe {
            asm!("sfpc {}", in(reg) word, options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    pub fn seems_default() -> bool {
        is_default(read())
    }
}

/// wasm has one environment, the default. Those of other CPUs are as the thread has them.
#[cfg(not(any(
    target_arch = "x86",
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "s390x"
)))]
mod control {
    pub(super) type Word = ();

    pub(super) const DEFAULT: Word = ();

    pub(super) const fn is_default((): Word) -> bool {
        true
    }

    pub(super) const fn read() -> Word {}

    pub(super) const fn write((): Word) {}

    #[inline(always)]
    pub const fn seems_default() -> bool {
        true
    }
}

/// Others, as foreign code leaves them to a thread; none where there are none.
#[cfg(test)]
pub mod foreign {
    use super::control;

    /// Each unlike the default in one respect, and one in all. The first shows in arithmetic.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    pub const WORDS: &[control::Word] = &[
        0x5f80, 0x3f80, 0x7f80, 0x9f80, 0x1fc0, 0x1f00, 0x1e80, 0x1d80, 0x1b80, 0x1780, 0x0f80,
        0xc040,
    ];
    #[cfg(target_arch = "aarch64")]
    pub const WORDS: &[control::Word] = &[1 << 22, 2 << 22, 3 << 22, 1 << 24, 1 << 25];
    #[cfg(target_arch = "s390x")]
    pub const WORDS: &[control::Word] = &[2, 1, 3, 0x0800_0000, 0x8000_0000];
    #[cfg(not(any(
        target_arch = "x86",
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "s390x"
    )))]
    pub const WORDS: &[control::Word] = &[];

    /// Makes the first this thread's.
    #[allow(dead_code, reason = "for the tests of threads, where there are threads")]
    pub fn switch_on() {
        if let Some(&word) = WORDS.first() {
            control::write(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    /// This thread, with its environment as it was when this is gone.
    fn restore() -> Foreign {
        Foreign(Some(control::read()))
    }

    #[test]
    fn the_default_environment_is_within_and_the_other_one_without() {
        let (mut inside, mut after) = (Vec::new(), Vec::new());
        for &word in foreign::WORDS {
            let thread = restore();
            control::write(word);
            inside.push(untrapped(|| control::is_default(control::read())));
            after.push(control::read());
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                untrapped(|| resume_unwind(Box::new(control::is_default(control::read()))))
            }));
            inside.push(panicked.is_err_and(|panic| *panic.downcast::<bool>().unwrap()));
            after.push(control::read());
            drop(thread);
        }
        assert_eq!(inside, vec![true; 2 * foreign::WORDS.len()]);
        let twice: Vec<_> = foreign::WORDS.iter().flat_map(|&word| [word, word]).collect();
        assert_eq!(after, twice);
    }

    #[test]
    fn the_default_environment_stays_as_it_is() {
        let before = control::read();
        assert!(control::is_default(before) && seems_default());
        assert!(untrapped(seems_default));
        assert!(control::is_default(control::read()));
    }

    /// Each mode of rounding and flushing shows, with and without status flags.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    #[test]
    fn modes_show_in_sums() {
        for modes in (1..8)
            .map(|modes: u32| (modes & 3) << 13 | (modes & 4) << 13)
            .chain([0x40, 0x8040, 0x2040])
        {
            for flags in [0, 1, 0x3f] {
                let thread = restore();
                control::write(control::DEFAULT | modes | flags);
                let seems_default = seems_default();
                drop(thread);
                assert!(!seems_default, "{modes:#x}");
            }
        }
    }
}

//! The floating-point environment of a thread, as foreign code changes it.

#![allow(unsafe_code, reason = "only foreign code can do what these tests are about")]

/// What foreign code may write to the control register of this CPU.
#[derive(Debug, Clone, Copy)]
pub struct Environment {
    pub name: &'static str,
    /// Whether arithmetic may end in a trap.
    pub traps: bool,
    word: register::Word,
}

impl Environment {
    /// Each mode by itself, and all together; none where there are none.
    pub fn all() -> Vec<Self> {
        let environment = |&(name, traps, word)| Self { name, traps, word };
        register::ENVIRONMENTS.iter().map(environment).collect()
    }

    /// The hardest, with and without traps.
    pub fn hardest() -> Vec<Self> {
        let all = Self::all();
        let last = |traps| all.iter().rfind(|environment| environment.traps == traps).copied();
        [last(false), last(true)].into_iter().flatten().collect()
    }

    /// That of this thread, its status flags left out.
    pub fn of_this_thread() -> register::Word {
        register::read() & register::CONTROL
    }

    /// Makes it this thread's.
    pub fn switch_on(self) {
        register::write(self.word);
    }

    /// Runs `call` in it, and sees that it is still there afterwards.
    pub fn around(self, call: &mut dyn FnMut()) {
        let restore = Restore(register::read());
        self.switch_on();
        let before = Self::of_this_thread();
        call();
        let after = Self::of_this_thread();
        drop(restore);
        assert_eq!(after, before, "{}: the environment of the caller has changed", self.name);
    }
}

struct Restore(register::Word);

impl Drop for Restore {
    fn drop(&mut self) {
        register::write(self.0);
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod register {
    use std::arch::asm;

    pub type Word = u32;

    pub const CONTROL: Word = !0x3f;

    const MASKED: Word = 0x1f80;

    pub const ENVIRONMENTS: &[(&str, bool, Word)] = &[
        ("flush to zero", false, MASKED | 0x8000),
        ("denormals are zero", false, MASKED | 0x40),
        ("both", false, MASKED | 0x8040),
        ("downwards", false, MASKED | 0x2000),
        ("upwards", false, MASKED | 0x4000),
        ("to zero", false, MASKED | 0x6000),
        ("flushed and upwards, with a status flag", false, MASKED | 0xc040 | 1),
        ("traps of what is invalid, infinite or too large", false, MASKED & !0x680),
        ("flushed and upwards, with those traps", false, MASKED & !0x680 | 0xc040),
        ("traps", true, 0),
        ("all at once, with status flags", true, 0xc040 | 0x3f),
    ];

    pub fn read() -> Word {
        let mut word = 0;
        // SAFETY: it writes four bytes, to a u32.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack)) };
        word
    }

    pub fn write(word: Word) {
        // SAFETY: it reads four bytes, of a u32 with no reserved bit. What runs until it is undone is either
        // a call that must hold in any environment, or computes with no float.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    pub type Word = u64;

    pub const CONTROL: Word = !0;

    pub const ENVIRONMENTS: &[(&str, bool, Word)] = &[
        ("flush to zero", false, 1 << 24),
        ("flush half precision to zero", false, 1 << 19),
        ("default NaN", false, 1 << 25),
        ("upwards", false, 1 << 22),
        ("downwards", false, 2 << 22),
        ("to zero", false, 3 << 22),
        ("all at once", true, 1 << 25 | 1 << 24 | 1 << 22 | 1 << 19 | 0x9f00),
    ];

    pub fn read() -> Word {
        let word;
        // SAFETY: any program may read it.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nostack)) };
        word
    }

    pub fn write(word: Word) {
        // SAFETY: any program may write it. What runs until it is undone is either a call that must hold in
        // any environment, or computes with no float.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack)) };
    }
}

#[cfg(target_arch = "s390x")]
mod register {
    use std::arch::asm;

    pub type Word = u32;

    pub const CONTROL: Word = 0xfc00_0007;

    pub const ENVIRONMENTS: &[(&str, bool, Word)] = &[
        ("to zero", false, 1),
        ("upwards", false, 2),
        ("downwards", false, 3),
        ("upwards, with traps and status flags", true, 0xf8f8_0002),
    ];

    pub fn read() -> Word {
        let word;
        // SAFETY: any program may read it.
        unsafe { asm!("efpc {}", out(reg) word, options(nostack)) };
        word
    }

    pub fn write(word: Word) {
        // SAFETY: any program may write it. What runs until it is undone is either a call that must hold in
        // any environment, or computes with no float.
        unsafe { asm!("sfpc {}", in(reg) word, options(nostack)) };
    }
}

#[cfg(not(any(
    target_arch = "x86",
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "s390x"
)))]
mod register {
    pub type Word = u32;

    pub const CONTROL: Word = 0;

    pub const ENVIRONMENTS: &[(&str, bool, Word)] = &[];

    pub fn read() -> Word {
        0
    }

    pub fn write(_: Word) {}
}

//! Which instruction set runs: detection, the list of those available, and a pin by name.

use crate::error::Error;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Kernel, Portable, Simd};
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// An instruction set that this machine has.
///
/// A value is a proof: it comes from detection alone, so whatever runs at a `Level` never meets an
/// illegal instruction. Every level computes the same bits.
///
/// | name | registers | where |
/// |---|---|---|
/// | `portable` | 128 bits: SSE2, NEON, wasm SIMD, or scalars | everywhere |
/// | `avx2` | 256 bits (avx2, fma and f16c) | x86-64, detected at run time |
/// | `avx512` | 512 bits (avx512f) | x86-64, detected at run time |
///
/// ```
/// use rootstep::Level;
///
/// println!("{} of {:?}", Level::detect(), Level::available());
/// assert_eq!("portable".parse(), Ok(Level::portable()));
/// assert!("sse9".parse::<Level>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level(Token);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Token {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// The names of all levels, whether this machine has them or not.
const NAMES: [&str; 3] = ["portable", "avx2", "avx512"];

/// The variable that pins the level of a process.
const VARIABLE: &str = "ROOTSTEP_LEVEL";

impl Level {
    /// The level that every machine has.
    #[must_use]
    pub const fn portable() -> Self {
        Self(Token::Portable(Portable))
    }

    /// The best level of this machine.
    ///
    /// # Panics
    ///
    /// Never: there is always the portable level.
    #[must_use]
    pub fn detect() -> Self {
        *Self::available().last().expect("the portable level is everywhere")
    }

    /// All levels of this machine, the narrowest registers first.
    #[must_use]
    pub fn available() -> &'static [Self] {
        static AVAILABLE: OnceLock<Vec<Level>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            let levels = [
                Some(Self::portable()),
                #[cfg(target_arch = "x86_64")]
                Avx2::detect().map(|token| Self(Token::Avx2(token))),
                #[cfg(target_arch = "x86_64")]
                Avx512::detect().map(|token| Self(Token::Avx512(token))),
            ];
            levels.into_iter().flatten().collect()
        })
    }

    /// The level that the environment variable `ROOTSTEP_LEVEL` names, or the best one where it is
    /// not set: for programs, so that a wrong name is an error of theirs. The functions of this crate
    /// take the best level then.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownLevel`] and [`Error::UnavailableLevel`], as for [`str::parse`].
    pub fn from_env() -> Result<Self, Error> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Self::detect()),
            Some(name) => name.to_string_lossy().parse(),
        }
    }

    /// The level of this process, found at the first call and kept: the one that `ROOTSTEP_LEVEL` names
    /// if this machine has it, else the best one. (A library is a guest: programs that want to hear of a
    /// wrong name ask [`Level::from_env`].)
    #[inline]
    pub(crate) fn of_process() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| Self::from_env().unwrap_or_else(|_| Self::detect()))
    }

    /// The name: `portable`, `avx2` or `avx512`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Token::Portable(_) => NAMES[0],
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => NAMES[1],
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => NAMES[2],
        }
    }

    /// Runs `kernel` at this level.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) {
        match self.0 {
            Token::Portable(isa) => isa.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(isa) => isa.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(isa) => isa.run(kernel),
        }
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::available().iter().find(|level| level.name() == name);
        found.copied().ok_or_else(|| {
            let given = name.to_owned();
            let available = Self::available().iter().map(|level| level.name()).collect();
            if NAMES.contains(&name) {
                Error::UnavailableLevel { given, available }
            } else {
                Error::UnknownLevel { given, available }
            }
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! The one error type of the crate.

use std::fmt;

/// What was wrong with a configuration or with data from outside.
///
/// The message names what was given and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No instruction set has this name.
    UnknownLevel {
        /// The name that was given.
        given: String,
        /// The names of the levels that this machine has.
        available: Vec<&'static str>,
    },
    /// The instruction set exists, but not on this machine.
    UnavailableLevel {
        /// The name that was given.
        given: String,
        /// The names of the levels that this machine has.
        available: Vec<&'static str>,
    },
    /// A setting lies outside its allowed range.
    InvalidSetting {
        /// The name of the setting.
        setting: &'static str,
        /// The value that was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
}

impl Error {
    #[cfg(feature = "learning-rate")]
    pub(crate) fn invalid(
        setting: &'static str,
        given: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self::InvalidSetting { setting, given: given.to_string(), allowed: allowed.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownLevel { given, available } => write!(
                f,
                "unknown instruction set `{given}`; this machine has: {}",
                available.join(", ")
            ),
            Self::UnavailableLevel { given, available } => write!(
                f,
                "this machine does not have the instruction set `{given}`; it has: {}",
                available.join(", ")
            ),
            Self::InvalidSetting { setting, given, allowed } => {
                write!(f, "{setting} is {given}; allowed: {allowed}")
            }
        }
    }
}

impl std::error::Error for Error {}

//! The one error type of the crate.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// What was wrong with a setting, with a fit, or with a journal.
///
/// The message names what was given and what is allowed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting lies outside its allowed range.
    #[non_exhaustive]
    InvalidSetting {
        /// The name of the setting.
        setting: &'static str,
        /// The value that was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// A candidate of a search failed on a fold.
    #[non_exhaustive]
    FailedFit {
        /// The place of the candidate.
        candidate: usize,
        /// The place of the fold.
        fold: usize,
        /// What went wrong.
        problem: String,
    },
    /// No candidate of a search has a finite mean.
    #[non_exhaustive]
    NoBest {
        /// How many fits there were.
        fits: usize,
        /// How many of them failed.
        failed: usize,
        /// The first of these: the places of its candidate and of its fold, and what went wrong. `None`
        /// if the scores are finite, and so large that their means are not.
        first: Option<(usize, usize, String)>,
    },
    /// The journal of a search cannot be read or written, or is that of another search.
    #[non_exhaustive]
    Journal {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// The error of the operating system or of the reader of JSON, if there is one. The problem has
        /// its text.
        source: Option<io::Error>,
    },
}

impl Error {
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
            Self::InvalidSetting { setting, given, allowed } => {
                write!(f, "{setting} is {given}; allowed: {allowed}")
            }
            Self::FailedFit { candidate, fold, problem } => {
                write!(f, "candidate {candidate} failed on fold {fold}: {problem}")
            }
            Self::NoBest { fits, failed, first: Some((candidate, fold, problem)) } => write!(
                f,
                "no candidate has a finite mean: of {fits} fits {failed} failed, first that of candidate \
                 {candidate} on fold {fold}: {problem}"
            ),
            Self::NoBest { .. } => {
                f.write_str("no candidate has a finite mean: the scores are finite, but too large")
            }
            Self::Journal { file, problem, .. } => {
                write!(f, "the journal {} cannot be used: {problem}", file.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Journal { source, .. } => source.as_ref().map(|source| source as _),
            Self::InvalidSetting { .. } | Self::FailedFit { .. } | Self::NoBest { .. } => None,
        }
    }
}

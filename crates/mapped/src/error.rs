//! What can go wrong.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// What an error of the caller's is.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a model could not be created, opened, read or stepped.
///
/// The message names the file, what was found, and what is allowed. Whatever it is, the committed step is still there.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refuses.
    #[non_exhaustive]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it says: a full disk is [`io::ErrorKind::StorageFull`].
        source: io::Error,
    },
    /// Another process, or another value in this one, has the model open.
    #[non_exhaustive]
    Locked {
        /// The file that is locked.
        path: PathBuf,
    },
    /// There is a model already.
    #[non_exhaustive]
    Exists {
        /// Its header.
        path: PathBuf,
    },
    /// A file is not as long as it was made.
    #[non_exhaustive]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        given: u64,
        /// The length that it must have.
        expected: u64,
    },
    /// The header, or every commit, is not as it was written.
    #[non_exhaustive]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting, or what describes a tensor, is not allowed.
    #[non_exhaustive]
    Setting {
        /// Which.
        setting: String,
        /// Its value.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// The step itself is not possible.
    Step(rootstep::Error),
    /// What the caller gives gradients or parameters with has failed.
    #[non_exhaustive]
    Given {
        /// The number of the tensor.
        tensor: usize,
        /// The first element that was asked for.
        start: usize,
        /// The caller's error.
        source: Cause,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn setting(
        setting: impl Into<String>,
        given: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        let (setting, allowed) = (setting.into(), allowed.into());
        Self::Setting { setting, given: given.to_string(), allowed }
    }

    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, path, source } => {
                write!(f, "cannot {action} `{}`: {source}", path.display())
            }
            Self::Locked { path } => {
                write!(
                    f,
                    "`{}` is locked; allowed: one process with the model at a time",
                    path.display()
                )
            }
            Self::Exists { path } => {
                write!(
                    f,
                    "there is a model already: `{}`; allowed: a folder without one",
                    path.display()
                )
            }
            Self::Length { path, given, expected } => {
                write!(
                    f,
                    "`{}` has {given} bytes; allowed: {expected}, as it was made",
                    path.display()
                )
            }
            Self::Damaged { path, problem } => {
                write!(f, "`{}` is damaged: {problem}", path.display())
            }
            Self::Setting { setting, given, allowed } => {
                write!(f, "{setting} is {given}; allowed: {allowed}")
            }
            Self::Step(error) => error.fmt(f),
            Self::Given { tensor, start, source } => {
                write!(f, "what gives tensor {tensor} from element {start} on has failed: {source}")
            }
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Step(error) => Some(error),
            Self::Given { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

//! What can be wrong.

use std::fmt;

/// Why an optimizer could not be made, or did not do what it was told. Nothing was written then, neither to a
/// variable nor to the state.
///
/// In a function that returns candle's `Result`, `?` turns it into candle's error.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its range, or settings contradict each other.
    Setting(rootstep::Error),
    /// Something is wrong with a variable, or with its gradient.
    #[non_exhaustive]
    Variable {
        /// Its name, or its place among the variables if it has none.
        name: String,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// A gradient is NaN or infinite, and that is [an error](rootstep::optimizer::NonFinite::Error).
    #[non_exhaustive]
    NonFiniteGradient {
        /// The name of the variable, or its place among the variables if it has none.
        name: String,
        /// The index of the first such element, in the order of the gradient's elements.
        index: usize,
        /// The element.
        given: String,
    },
    /// The norm of the gradients is so far above the limit of clipping that their factor would be 0.
    #[non_exhaustive]
    Clip {
        /// The limit of the norm.
        limit: f64,
        /// The norm of the gradients as they were given.
        norm: f64,
    },
    /// There is no such group.
    #[non_exhaustive]
    Group {
        /// The index that was given.
        group: usize,
        /// How many groups there are.
        groups: usize,
    },
    /// A state can be neither saved nor loaded.
    #[non_exhaustive]
    State {
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// An operation of candle's failed.
    Candle(candle_core::Error),
}

/// The result of what an optimizer does.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn variable(name: &str, problem: impl Into<String>) -> Self {
        Self::Variable { name: name.to_owned(), problem: problem.into() }
    }

    pub(crate) fn state(problem: impl Into<String>) -> Self {
        Self::State { problem: problem.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(error) => error.fmt(f),
            Self::Variable { name, problem } => write!(f, "variable `{name}` {problem}"),
            Self::NonFiniteGradient { name, index, given } => write!(
                f,
                "element {index} of the gradient of variable `{name}` is {given}; allowed: finite numbers"
            ),
            Self::Clip { limit, norm } => write!(
                f,
                "the limit of the norm is {limit:e}; allowed: more for gradients whose norm is {norm:e}: their \
                 factor is 0"
            ),
            Self::Group { group, groups } => {
                write!(f, "the group is {group}; allowed: below {groups}, the number of groups")
            }
            Self::State { problem } => write!(f, "the state of the optimizer: {problem}"),
            Self::Candle(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Candle(error) => Some(error),
            _ => None,
        }
    }
}

impl From<rootstep::Error> for Error {
    fn from(error: rootstep::Error) -> Self {
        Self::Setting(error)
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(error)
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            error => Self::wrap(error),
        }
    }
}

//! What can be wrong.

use std::fmt;

/// What was wrong with a setting, a parameter or a gradient. The message names what was given and what is allowed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A parameter, or its gradient, cannot be stepped.
    #[non_exhaustive]
    Parameter {
        /// The path of the parameter in its module, such as `conv.weight`.
        name: String,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// A setting does not fit this way to step.
    #[non_exhaustive]
    Setting {
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// A saved state of burn's cannot be used.
    #[non_exhaustive]
    Record {
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// As rootstep says it. Tensors have the paths of their parameters as names.
    Step(rootstep::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter { name, problem } => write!(f, "the parameter `{name}` {problem}"),
            Self::Setting { problem } => f.write_str(problem),
            Self::Record { problem } => write!(f, "the record of the optimizer {problem}"),
            Self::Step(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<rootstep::Error> for Error {
    fn from(error: rootstep::Error) -> Self {
        Self::Step(error)
    }
}

/// A step that was not taken: the module as it was, and why.
pub struct Rejected<M> {
    /// What was wrong.
    pub error: Error,
    /// The module, all of whose parameters are what they were.
    pub module: Box<M>,
}

/// The error alone: there may be millions of parameters.
impl<M> fmt::Debug for Rejected<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for Rejected<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<M> std::error::Error for Rejected<M> {}

/// Drops the module.
impl<M> From<Rejected<M>> for Error {
    fn from(rejected: Rejected<M>) -> Self {
        rejected.error
    }
}

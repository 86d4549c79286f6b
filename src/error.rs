//! The one error type of the crate.

use std::fmt;

/// What was wrong with a configuration or with data from outside.
///
/// The message names what was given and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No instruction set has this name.
    #[non_exhaustive]
    UnknownLevel {
        /// The name that was given.
        given: String,
        /// The names of the levels that this machine has.
        available: Vec<&'static str>,
    },
    /// The instruction set exists, but not on this machine.
    #[non_exhaustive]
    UnavailableLevel {
        /// The name that was given.
        given: String,
        /// The names of the levels that this machine has.
        available: Vec<&'static str>,
    },
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
    /// The numbers of tensors do not fit.
    #[non_exhaustive]
    TensorCount {
        /// How many tensors of parameters were given.
        parameters: usize,
        /// How many gradients were given.
        gradients: usize,
        /// How many there were at the last step.
        expected: Option<usize>,
        /// How many the groups of the optimizer name.
        least: usize,
    },
    /// The lengths of a tensor do not fit.
    #[non_exhaustive]
    TensorLength {
        /// The index of the tensor in the model.
        tensor: usize,
        /// The length of its parameters.
        parameters: usize,
        /// The length of its gradient.
        gradient: usize,
        /// Its length at the last step.
        expected: Option<usize>,
    },
    /// A gradient is NaN or infinite.
    #[non_exhaustive]
    NonFiniteGradient {
        /// The index of the tensor in the model.
        tensor: usize,
        /// The index of the first such element in the tensor.
        index: usize,
        /// The element.
        given: String,
    },
    /// The momentum of a tensor does not fit its step or its parameters.
    #[non_exhaustive]
    InvalidMomentum {
        /// The index of the tensor in the model.
        tensor: usize,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// A saved state cannot be restored.
    #[non_exhaustive]
    InvalidState {
        /// What is wrong with it.
        problem: String,
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
            Self::TensorCount { parameters, gradients, expected, least } => {
                write!(
                    f,
                    "there are {parameters} tensors of parameters and {gradients} gradients; allowed: as \
                     many gradients as tensors"
                )?;
                match expected {
                    Some(expected) => write!(f, ", {expected} as at the last step"),
                    None if *least > 0 => write!(f, ", {least} or more, which the groups name"),
                    None => Ok(()),
                }
            }
            Self::TensorLength { tensor, parameters, gradient, expected } => {
                write!(
                    f,
                    "tensor {tensor} has {parameters} parameters and a gradient of {gradient} elements; \
                     allowed: the same number"
                )?;
                expected.map_or(Ok(()), |expected| write!(f, ", {expected} as at the last step"))
            }
            Self::NonFiniteGradient { tensor, index, given } => write!(
                f,
                "element {index} of the gradient of tensor {tensor} is {given}; allowed: finite numbers"
            ),
            Self::InvalidMomentum { tensor, problem } => {
                write!(f, "the momentum of tensor {tensor} does not fit: {problem}")
            }
            Self::InvalidState { problem } => {
                write!(f, "the optimizer's state cannot be restored: {problem}")
            }
        }
    }
}

impl std::error::Error for Error {}

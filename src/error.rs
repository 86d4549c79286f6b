//! The one error type of the crate.

use std::borrow::Cow;
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
        setting: Cow<'static, str>,
        /// The value that was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// A name of a tensor is unknown, or there twice.
    #[non_exhaustive]
    TensorName {
        /// The name that was given.
        name: String,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// The numbers of tensors do not fit.
    #[non_exhaustive]
    TensorCount {
        /// How many tensors of parameters were given.
        parameters: usize,
        /// How many gradients were given.
        gradients: usize,
        /// How many the optimizer has.
        expected: Option<usize>,
        /// How many the groups of the optimizer name.
        least: usize,
    },
    /// The lengths of a tensor do not fit.
    #[non_exhaustive]
    TensorLength {
        /// The index of the tensor in the model.
        tensor: usize,
        /// Its name, if the tensors of the optimizer have names.
        name: Option<String>,
        /// The length of its parameters.
        parameters: usize,
        /// The length of its gradient, if it has one.
        gradient: Option<usize>,
        /// Its length at the steps before.
        expected: Option<usize>,
    },
    /// A gradient is NaN or infinite.
    #[non_exhaustive]
    NonFiniteGradient {
        /// The index of the tensor in the model.
        tensor: usize,
        /// Its name, if the tensors of the optimizer have names.
        name: Option<String>,
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
        /// Its name, if the tensors of the optimizer have names.
        name: Option<String>,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// How the parameters of a tensor are stored does not fit them.
    #[non_exhaustive]
    InvalidStorage {
        /// The index of the tensor in the model.
        tensor: usize,
        /// Its name, if the tensors of the optimizer have names.
        name: Option<String>,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// The terms of a sum do not fit.
    #[non_exhaustive]
    InvalidSum {
        /// The index of the tensor in the model, if it is the gradient of one.
        tensor: Option<usize>,
        /// What is wrong with them, and what is allowed.
        problem: String,
    },
    /// The rows of a table, or their indices, do not fit it.
    #[non_exhaustive]
    InvalidRows {
        /// The index of the table among those that are stepped.
        tensor: usize,
        /// What is wrong with them, and what is allowed.
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
        setting: impl Into<Cow<'static, str>>,
        given: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self::InvalidSetting {
            setting: setting.into(),
            given: given.to_string(),
            allowed: allowed.into(),
        }
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
                    Some(expected) => write!(f, ", {expected} as the optimizer has"),
                    None if *least > 0 => write!(f, ", {least} or more since the groups name them"),
                    None => Ok(()),
                }
            }
            Self::TensorName { name, problem } => {
                write!(f, "the name of a tensor is `{name}`; {problem}")
            }
            Self::TensorLength { tensor, name, parameters, gradient, expected } => {
                write!(f, "{} has {parameters} parameters", Tensor(*tensor, name))?;
                if let Some(gradient) = gradient {
                    write!(f, " and a gradient of {gradient} elements")?;
                }
                f.write_str("; allowed: the same number")?;
                expected.map_or(Ok(()), |expected| write!(f, ", {expected} as before"))
            }
            Self::NonFiniteGradient { tensor, name, index, given } => {
                let tensor = Tensor(*tensor, name);
                write!(
                    f,
                    "element {index} of the gradient of {tensor} is {given}; allowed: finite numbers"
                )
            }
            Self::InvalidMomentum { tensor, name, problem } => {
                write!(f, "the momentum of {} does not fit: {problem}", Tensor(*tensor, name))
            }
            Self::InvalidStorage { tensor, name, problem } => {
                write!(f, "the storage of {} does not fit: {problem}", Tensor(*tensor, name))
            }
            Self::InvalidSum { tensor: None, problem } => {
                write!(f, "the sum does not fit: {problem}")
            }
            Self::InvalidSum { tensor: Some(tensor), problem } => {
                write!(f, "the sum of gradients of tensor {tensor} does not fit: {problem}")
            }
            Self::InvalidRows { tensor, problem } => {
                write!(f, "the rows of tensor {tensor} do not fit: {problem}")
            }
            Self::InvalidState { problem } => {
                write!(f, "the optimizer's state cannot be restored: {problem}")
            }
        }
    }
}

/// What a message calls a tensor.
struct Tensor<'a>(usize, &'a Option<String>);

impl fmt::Display for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor {}", self.0)?;
        self.1.as_ref().map_or(Ok(()), |name| write!(f, " (`{name}`)"))
    }
}

impl std::error::Error for Error {}

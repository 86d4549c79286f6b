//! What was wrong with arrays.

use std::fmt;

/// What was wrong with the arrays of a call, or with a step on them. Nothing has been written then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Two arrays that must have the same shape have not.
    #[non_exhaustive]
    Shape {
        /// The index of the tensor, where a call takes several.
        tensor: Option<usize>,
        /// Which array it is, such as "gradient".
        array: &'static str,
        /// Its shape.
        given: Vec<usize>,
        /// Which array it must have the shape of, such as "parameters".
        of: &'static str,
        /// The shape of that one.
        allowed: Vec<usize>,
    },
    /// Momentum in int8 has another number of scales than its codes need.
    #[non_exhaustive]
    Scales {
        /// The index of the tensor.
        tensor: usize,
        /// How many there are.
        given: usize,
        /// How many there must be: one for each block of 128 elements, the last one shorter.
        allowed: usize,
    },
    /// What else [`step_all`](rootstep::Executor::step_all) refuses: a momentum that is missing, or a storage that
    /// is one for other types.
    Step(rootstep::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { tensor, array, given, of, allowed } => {
                write!(f, "`{array}`")?;
                tensor.map_or(Ok(()), |tensor| write!(f, " of tensor {tensor}"))?;
                write!(
                    f,
                    " has the shape {given:?} and `{of}` has {allowed:?}; allowed: the same shape, since nothing \
                     is broadcast"
                )
            }
            Self::Scales { tensor, given, allowed } => write!(
                f,
                "the momentum of tensor {tensor} has {given} scales; allowed: {allowed}, one for each block of 128"
            ),
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

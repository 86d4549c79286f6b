//! What can go wrong, on this rank or on another.

use std::fmt;
use std::time::Duration;

/// What the ranks do together when something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The agreement before the first step.
    Agreement,
    /// The exchange of the sums of gradients.
    Gradients,
    /// The exchange of what was found in the gradients, for clipping and policies.
    Health,
    /// The exchange of the parameters.
    Parameters,
    /// The saving of a checkpoint.
    Checkpoint,
    /// The loading of a checkpoint.
    Resuming,
    /// The end of the training.
    Finish,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agreement => "the agreement before the first step",
            Self::Gradients => "the exchange of the sums of gradients",
            Self::Health => "the exchange of what was found in the gradients",
            Self::Parameters => "the exchange of the parameters",
            Self::Checkpoint => "the saving of a checkpoint",
            Self::Resuming => "the loading of a checkpoint",
            Self::Finish => "the end of the training",
        })
    }
}

/// What was wrong, on this rank or on another.
///
/// After an error for which [`is_fatal`](Self::is_fatal) holds the ranks are no longer together: end the process by
/// [`leave`](crate::leave), and go on from a checkpoint.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A setting, a rule or a gradient, as [`rootstep`] says. Of what all ranks have in common (a gradient that is not
    /// finite), all ranks get the same error.
    Step(rootstep::Error),
    /// What a call was given does not fit; nothing was changed.
    #[non_exhaustive]
    Invalid {
        /// What it is that does not fit.
        what: String,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// The ranks do not agree on what they compute. All of them get this error.
    #[non_exhaustive]
    Disagreement {
        /// What differs, and on which ranks.
        problem: String,
    },
    /// Nothing came for longer than the time limit.
    #[non_exhaustive]
    TimedOut {
        /// What was waited for.
        phase: Phase,
        /// The steps taken until then.
        steps: u64,
        /// The ranks that were waited for, as far as this rank knows.
        ranks: Vec<usize>,
        /// The limit.
        limit: Duration,
    },
    /// Another rank has ended, and said why.
    #[non_exhaustive]
    Left {
        /// The rank.
        rank: usize,
        /// What it said.
        reason: String,
        /// What this rank was at.
        phase: Phase,
    },
    /// A call of MPI has failed.
    #[non_exhaustive]
    Mpi {
        /// What this rank was at.
        phase: Phase,
        /// What MPI says.
        problem: String,
    },
    /// A checkpoint cannot be saved or loaded. All ranks get this error.
    #[non_exhaustive]
    Checkpoint {
        /// What is wrong with it, and on which rank that was found.
        problem: String,
    },
    /// There was an error before, after which this trainer cannot go on.
    #[non_exhaustive]
    Broken {
        /// That error.
        problem: String,
    },
}

impl Error {
    pub(crate) fn invalid(
        what: impl Into<String>,
        given: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Invalid { what: what.into(), given: given.to_string(), allowed: allowed.into() }
    }

    /// Whether the ranks are no longer together, so that no call of this trainer can succeed any more.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::Step(_) | Self::Invalid { .. } | Self::Checkpoint { .. })
    }
}

impl From<rootstep::Error> for Error {
    fn from(error: rootstep::Error) -> Self {
        Self::Step(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(error) => error.fmt(f),
            Self::Invalid { what, given, allowed } => {
                write!(f, "{what} is {given}; allowed: {allowed}")
            }
            Self::Disagreement { problem } => write!(f, "the ranks do not agree: {problem}"),
            Self::TimedOut { phase, steps, ranks, limit } => {
                let ranks = Ranks(ranks);
                write!(
                    f,
                    "nothing came from {ranks} within {limit:?}, in {phase}, after {steps} steps"
                )
            }
            Self::Left { rank, reason, phase } => {
                write!(f, "rank {rank} has ended, in {phase}: {reason}")
            }
            Self::Mpi { phase, problem } => write!(f, "MPI has failed, in {phase}: {problem}"),
            Self::Checkpoint { problem } => write!(f, "the checkpoint: {problem}"),
            Self::Broken { problem } => {
                write!(f, "the training has ended before, by an error: {problem}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Step(error) => Some(error),
            _ => None,
        }
    }
}

/// Some ranks in a message.
pub(crate) struct Ranks<'a>(pub(crate) &'a [usize]);

impl fmt::Display for Ranks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        match self.0 {
            [] => return f.write_str("other ranks"),
            [one] => return write!(f, "rank {one}"),
            _ => f.write_str("ranks ")?,
        }
        for (i, rank) in self.0.iter().take(SHOWN).enumerate() {
            let before = match i {
                0 => "",
                i if i + 1 == self.0.len() => " and ",
                _ => ", ",
            };
            write!(f, "{before}{rank}")?;
        }
        if self.0.len() > SHOWN {
            write!(f, " and {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}
